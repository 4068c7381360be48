//! Device profiles (REST §2.4).

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use wireglot_device::ProfileState;
use wireglot_model::{ProfileId, TenantId};

use crate::Api;
use crate::access::Caller;
use crate::error::{ApiError, ErrorBody};
use crate::openapi::{params, schemas};
use crate::page::Page;
use crate::pins::pinned;
use crate::profile_shape::{profile, profile_draft, profile_info, transport_word};
use crate::request::{Body, Params, blocking, carried_through, id};
use crate::settings::settings_taken;
use crate::shape::{EntityRef, entity};
use wireglot_device::now;

/// Which version of which profile is changed; the rest of the body is read by `profile_shape`.
#[derive(Deserialize)]
struct Target {
    id: Option<EntityRef>,
    version: Option<u64>,
}

/// Makes a device profile, or replaces the one whose id is given.
#[utoipa::path(
    post,
    path = "/api/deviceProfile",
    operation_id = "saveDeviceProfile",
    tag = "Device profiles",
    request_body = schemas::DeviceProfileBody,
    responses(
        (status = 200, description = "The profile as it is now.", body = schemas::DeviceProfile),
        (status = 404, description = "There is no profile of this id.", body = ErrorBody),
        (status = 409, description = "The profile has been changed meanwhile.", body = ErrorBody),
    ),
)]
pub(crate) async fn save(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let Target { id: known, version: expected } = body.json()?;
    let known: Option<ProfileId> = known.map(|known| id(&known.id)).transpose()?;
    let shape: Value = body.json()?;
    let draft = profile_draft(&shape).map_err(|error| ApiError::bad_request(error.to_string()))?;
    let stored = known.and_then(|known| api.devices.profile(known));
    let draft = pinned(draft, stored.clone(), &api.codecs)
        .await
        .map_err(|error| ApiError::bad_request(crate::error::chain(&error)))?;
    settings_taken(&draft, stored, &api.codecs).await?;
    let devices = api.devices.acting_for(caller.actor());
    let saved = carried_through(async move {
        match known {
            Some(known) => devices.update_profile(known, draft, expected, now()).await,
            None => devices.create_profile(draft, now()).await,
        }
    });
    Ok(Json(profile(&*saved.await?, api.devices.tenant())))
}

/// Shows a device profile.
#[utoipa::path(
    get,
    path = "/api/deviceProfile/{deviceProfileId}",
    operation_id = "readDeviceProfile",
    tag = "Device profiles",
    params(params::ProfilePath),
    responses((status = 200, description = "The profile.", body = schemas::DeviceProfile)),
)]
pub(crate) async fn read(State(api): State<Api>, Path(known): Path<String>) -> Result<Json<Value>, ApiError> {
    Ok(Json(profile(&*find(&api, &known)?, api.devices.tenant())))
}

/// Shows the short form of a device profile.
#[utoipa::path(
    get,
    path = "/api/deviceProfileInfo/{deviceProfileId}",
    operation_id = "readDeviceProfileInfo",
    tag = "Device profiles",
    params(params::ProfilePath),
    responses((status = 200, description = "The profile.", body = schemas::DeviceProfileInfo)),
)]
pub(crate) async fn read_info(
    State(api): State<Api>,
    Path(known): Path<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(profile_info(&*find(&api, &known)?, api.devices.tenant())))
}

/// Shows the short form of the default profile.
#[utoipa::path(
    get,
    path = "/api/deviceProfileInfo/default",
    operation_id = "readDefaultDeviceProfileInfo",
    tag = "Device profiles",
    responses((status = 200, description = "The profile.", body = schemas::DeviceProfileInfo)),
)]
pub(crate) async fn read_default_info(State(api): State<Api>) -> Json<Value> {
    Json(profile_info(&api.devices.default_profile(), api.devices.tenant()))
}

/// Deletes a device profile that no device uses.
#[utoipa::path(
    delete,
    path = "/api/deviceProfile/{deviceProfileId}",
    operation_id = "deleteDeviceProfile",
    tag = "Device profiles",
    params(params::ProfilePath),
    responses((status = 200, description = "Done.")),
)]
pub(crate) async fn delete(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(known): Path<String>,
) -> Result<(), ApiError> {
    let known = id(&known)?;
    let devices = api.devices.acting_for(caller.actor());
    carried_through(async move { devices.delete_profile(known, now()).await }).await
}

/// Makes a device profile that of devices which name none.
#[utoipa::path(
    post,
    path = "/api/deviceProfile/{deviceProfileId}/default",
    operation_id = "makeDeviceProfileDefault",
    tag = "Device profiles",
    params(params::ProfilePath),
    responses((status = 200, description = "The profile as it is now.", body = schemas::DeviceProfile)),
)]
pub(crate) async fn make_default(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(known): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let known = id(&known)?;
    let devices = api.devices.acting_for(caller.actor());
    let state = carried_through(async move { devices.make_default_profile(known, now()).await }).await?;
    Ok(Json(profile(&state, api.devices.tenant())))
}

/// Lists device profiles.
#[utoipa::path(
    get,
    path = "/api/deviceProfiles",
    operation_id = "listDeviceProfiles",
    tag = "Device profiles",
    params(
        params::Paging,
        params::ProfileSort,
        ("transportType" = Option<String>, Query, description = "Only profiles of this transport."),
    ),
    responses(
        (status = 200, description = "A page of profiles.", body = schemas::PageOf<schemas::DeviceProfile>),
    ),
)]
pub(crate) async fn list(State(api): State<Api>, params: Params) -> Result<Json<Value>, ApiError> {
    page(api, &params, profile).await
}

/// Lists device profiles in their short form.
#[utoipa::path(
    get,
    path = "/api/deviceProfileInfos",
    operation_id = "listDeviceProfileInfos",
    tag = "Device profiles",
    params(
        params::Paging,
        params::ProfileSort,
        ("transportType" = Option<String>, Query, description = "Only profiles of this transport."),
    ),
    responses(
        (status = 200, description = "A page of profiles.", body = schemas::PageOf<schemas::DeviceProfileInfo>),
    ),
)]
pub(crate) async fn list_infos(State(api): State<Api>, params: Params) -> Result<Json<Value>, ApiError> {
    page(api, &params, profile_info).await
}

/// Shows the short forms of several device profiles: those that are there.
#[utoipa::path(
    get,
    path = "/api/deviceProfileInfos/list",
    operation_id = "readDeviceProfileInfos",
    tag = "Device profiles",
    params(
        ("deviceProfileIds" = String, Query, description = "Ids of at most 1000 profiles, with commas between them."),
    ),
    responses(
        (status = 200, description = "The profiles.", body = Vec<schemas::DeviceProfileInfo>),
    ),
)]
pub(crate) async fn infos_by_ids(State(api): State<Api>, params: Params) -> Result<Json<Value>, ApiError> {
    let wanted: Vec<ProfileId> = params.ids("deviceProfileIds")?;
    let found = wanted.into_iter().filter_map(|id| api.devices.profile(id));
    Ok(Json(found.map(|state| profile_info(&state, api.devices.tenant())).collect()))
}

/// Lists the ids and names of device profiles.
#[utoipa::path(
    get,
    path = "/api/deviceProfile/names",
    operation_id = "listDeviceProfileNames",
    tag = "Device profiles",
    params(
        ("activeOnly" = Option<bool>, Query, description = "Only profiles that devices have."),
    ),
    responses(
        (status = 200, description = "The names.", body = Vec<schemas::DeviceProfileName>),
    ),
)]
pub(crate) async fn names(State(api): State<Api>, params: Params) -> Result<Json<Value>, ApiError> {
    let is_active_only = params.is_set("activeOnly");
    // It may look at every device there is.
    let listing = blocking(move || {
        let mut found = api.devices.profiles();
        if is_active_only {
            let mut used: HashSet<ProfileId> = HashSet::new();
            api.devices.each_device(&mut |device| {
                used.insert(device.view().device().profile);
            });
            found.retain(|state| used.contains(&state.profile.id));
        }
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    });
    let found = listing.await?;
    let one = |state: Arc<ProfileState>| json!({"id": entity("DEVICE_PROFILE", state.profile.id), "name": &*state.name});
    Ok(Json(found.into_iter().map(one).collect()))
}

/// A page of all profiles, on a thread that may take its time: they may be many, and each may be large.
async fn page(
    api: Api,
    params: &Params,
    write: fn(&ProfileState, TenantId) -> Value,
) -> Result<Json<Value>, ApiError> {
    let page = Page::from_params(params)?;
    let transport = params.text("transportType").map(str::to_owned);
    let listing = blocking(move || {
        let mut found = api.devices.profiles();
        found.retain(|state| {
            let is_wanted = transport.as_ref().is_none_or(|kind| kind == transport_word(&state.profile));
            is_wanted && page.finds(&[&state.name])
        });
        Ok(page.answer(found, compare, |state| write(state, api.devices.tenant())))
    });
    listing.await?.map(Json)
}

fn compare(property: &str, one: &Arc<ProfileState>, other: &Arc<ProfileState>) -> Option<Ordering> {
    let (one, other) = (&one.profile, &other.profile);
    let order = match property {
        "createdTime" => (one.created, one.id).cmp(&(other.created, other.id)),
        "name" => one.name.cmp(&other.name),
        "description" => one.description.cmp(&other.description),
        // All profiles are of one type.
        "type" | "transportType" => Ordering::Equal,
        "isDefault" | "default" => one.is_default.cmp(&other.is_default),
        _ => return None,
    };
    Some(order)
}

fn find(api: &Api, known: &str) -> Result<Arc<ProfileState>, ApiError> {
    api.devices.profile(id(known)?).ok_or_else(ApiError::not_found)
}
