//! Device profiles (REST §2.4).

use std::cmp::Ordering;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde_json::Value;
use wireglot_device::ProfileState;
use wireglot_model::{ProfileId, TenantId};

use crate::Api;
use crate::access::Caller;
use crate::error::{ApiError, ErrorBody};
use crate::openapi::{params, schemas};
use crate::page::Page;
use crate::pins::pinned;
use crate::profile_shape::{profile, profile_draft, profile_info};
use crate::request::{Body, Params, carried_through, id};
use wireglot_device::now;

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
    let shape: Value = body.json()?;
    let known = shape.pointer("/id/id").and_then(Value::as_str);
    let known: Option<ProfileId> = known.map(id).transpose()?;
    let expected = shape.get("version").and_then(Value::as_u64);
    let draft = profile_draft(&shape).map_err(|error| ApiError::bad_request(error.to_string()))?;
    let stored = known.and_then(|known| api.devices.profile(known));
    let draft = pinned(draft, stored, &api.codecs)
        .await
        .map_err(|error| ApiError::bad_request(crate::error::chain(&error)))?;
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
        ("sortProperty" = inline(Option<params::ProfileSort>), Query, description = "What the items are sorted by."),
    ),
    responses(
        (status = 200, description = "A page of profiles.", body = schemas::PageOf<schemas::DeviceProfile>),
    ),
)]
pub(crate) async fn list(State(api): State<Api>, params: Params) -> Result<Json<Value>, ApiError> {
    page(&api, &params, profile)
}

/// Lists device profiles in their short form.
#[utoipa::path(
    get,
    path = "/api/deviceProfileInfos",
    operation_id = "listDeviceProfileInfos",
    tag = "Device profiles",
    params(
        params::Paging,
        ("sortProperty" = inline(Option<params::ProfileSort>), Query, description = "What the items are sorted by."),
    ),
    responses(
        (status = 200, description = "A page of profiles.", body = schemas::PageOf<schemas::DeviceProfileInfo>),
    ),
)]
pub(crate) async fn list_infos(State(api): State<Api>, params: Params) -> Result<Json<Value>, ApiError> {
    page(&api, &params, profile_info)
}

fn page(
    api: &Api,
    params: &Params,
    write: fn(&ProfileState, TenantId) -> Value,
) -> Result<Json<Value>, ApiError> {
    let page = Page::from_params(params)?;
    let mut found = api.devices.profiles();
    found.retain(|state| page.finds(&[&state.name]));
    Ok(Json(page.answer(found, compare, |state| write(state, api.devices.tenant()))?))
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
