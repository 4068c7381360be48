//! Devices and their credentials (REST §2.2, §2.3).

use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use wireglot_device::{
    CredentialsDraft, DeviceDraft, DeviceError, DeviceHandle, Devices, ProfileChoice, Rule,
};
use wireglot_model::{DeviceId, ProfileId, Timestamp};

use crate::Api;
use crate::access::Caller;
use crate::error::{ApiError, ErrorBody};
use crate::openapi::{params, schemas};
use crate::request::{Body, Params, carried_through, id};
use crate::shape::{self, CredentialsBody, DeviceBody, EntityRef};
use wireglot_device::now;

/// How many names are tried before a taken one is given up.
const UNIQUE_NAMES_TRIED_MAX: u32 = 100;

/// Members of a device's additional info that say what it may do.
const POWERS: [&str; 4] = ["gateway", "lastConnectedGateway", "devEui", "overwriteActivityTime"];

/// Makes a device, or replaces the one whose id is given.
///
/// The profile is `deviceProfileId`, or the one that is called as `type` says, which is made if it is not there, or
/// else the default profile. A new device gets a random access token, unless one is given.
#[utoipa::path(
    post,
    path = "/api/device",
    operation_id = "saveDevice",
    tag = "Devices",
    params(
        ("accessToken" = Option<String>, Query, description = "The access token of the device."),
        params::NameConflict,
    ),
    request_body = DeviceBody,
    responses(
        (status = 200, description = "The device as it is now.", body = schemas::Device),
        (status = 404, description = "There is no device of this id.", body = ErrorBody),
        (status = 409, description = "The device has been changed meanwhile.", body = ErrorBody),
    ),
)]
pub(crate) async fn save(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    params: Params,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let devices = api.devices.acting_for(caller.actor());
    let token = params.text("accessToken").map(|token| CredentialsDraft::AccessToken(token.to_owned()));
    let mut body: DeviceBody = body.json()?;
    if caller.customer().is_some() {
        let (version, profile) = own_version(&api, &caller, &body, token.is_some())?;
        body.version = Some(version);
        body.device_profile_id = Some(EntityRef { id: profile.to_string() });
    }
    save_body(devices, body, token, Conflict::from_params(&params)?).await
}

/// The version of a device that a user of its customer may save like this, and its profile, which stays.
fn own_version(
    api: &Api,
    caller: &Caller,
    body: &DeviceBody,
    has_credentials: bool,
) -> Result<(u64, ProfileId), ApiError> {
    let known = body.id.as_ref().ok_or_else(ApiError::forbidden)?;
    // All that is looked at is of one version of the device.
    let view = api.devices.device(id(&known.id)?).map(|device| device.view());
    caller.may_see(view.as_ref().and_then(|view| view.device().customer))?;
    let view = view.ok_or_else(ApiError::not_found)?;
    let (stored, wanted) = (view.device(), body.to_draft()?);
    let is_same_profile = match &wanted.profile {
        ProfileChoice::Id(profile) => *profile == stored.profile,
        ProfileChoice::Name(name) => **name == *view.profile.name,
        ProfileChoice::Default => view.profile.profile.is_default,
    };
    let power = |info: &str, name: &str| {
        let info: Value = serde_json::from_str(info).unwrap_or_default();
        info.get(name).cloned()
    };
    let is_as_powerful = POWERS
        .iter()
        .all(|name| power(&stored.additional_info, name) == power(&wanted.additional_info, name));
    if has_credentials || !is_same_profile || !is_as_powerful || wanted.ota != stored.ota {
        return Err(ApiError::forbidden());
    }
    // Whoever takes the device away meanwhile changes its version.
    match body.version {
        Some(version) if version != stored.version => Err(DeviceError::VersionConflict.into()),
        Some(_) | None => Ok((stored.version, stored.profile)),
    }
}

#[derive(Deserialize, ToSchema)]
struct WithCredentials {
    device: DeviceBody,
    credentials: CredentialsBody,
}

/// Makes a device with credentials, or replaces one.
#[utoipa::path(
    post,
    path = "/api/device-with-credentials",
    operation_id = "saveDeviceWithCredentials",
    tag = "Devices",
    params(params::NameConflict),
    request_body = WithCredentials,
    responses(
        (status = 200, description = "The device as it is now.", body = schemas::Device),
        (status = 404, description = "There is no device of this id.", body = ErrorBody),
        (status = 409, description = "The device has been changed meanwhile.", body = ErrorBody),
    ),
)]
pub(crate) async fn save_with_credentials(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    params: Params,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let devices = api.devices.acting_for(caller.actor());
    let WithCredentials { device, credentials } = body.json()?;
    let credentials = credentials.into_draft()?;
    save_body(devices, device, Some(credentials), Conflict::from_params(&params)?).await
}

async fn save_body(
    devices: Devices,
    body: DeviceBody,
    credentials: Option<CredentialsDraft>,
    conflict: Conflict,
) -> Result<Json<Value>, ApiError> {
    let expected = body.version;
    let known: Option<DeviceId> = body.id.as_ref().map(|known| id(&known.id)).transpose()?;
    let draft = body.to_draft()?;
    let tenant = devices.tenant();
    let saved = carried_through(async move {
        let Some(known) = known else { return create(&devices, draft, credentials, &conflict, now()).await };
        if let Some(credentials) = &credentials {
            // Or half of the change would be made.
            devices.check_credentials(known, credentials)?;
        }
        let saved = devices.update_device(known, draft, expected, now()).await?;
        if let Some(credentials) = credentials {
            devices.set_credentials(known, credentials, None).await?;
        }
        Ok(saved)
    });
    Ok(Json(shape::device(&saved.await?, tenant)))
}

/// What happens where the name is taken.
enum Conflict {
    Fail,
    Uniquify { separator: String, counts: bool },
}

impl Conflict {
    fn from_params(params: &Params) -> Result<Self, ApiError> {
        match params.text("nameConflictPolicy") {
            None | Some("FAIL") => Ok(Self::Fail),
            Some("UNIQUIFY") => Ok(Self::Uniquify {
                separator: params.text("uniquifySeparator").unwrap_or("_").to_owned(),
                counts: match params.text("uniquifyStrategy") {
                    None | Some("RANDOM") => false,
                    Some("INCREMENTAL") => true,
                    Some(other) => {
                        let known = "RANDOM and INCREMENTAL";
                        let wrong = format!("Unsupported uniquify strategy '{other}': there are {known}");
                        return Err(ApiError::bad_request(wrong));
                    }
                },
            }),
            Some(other) => Err(ApiError::bad_request(format!("Unsupported name conflict policy '{other}'"))),
        }
    }
}

async fn create(
    devices: &Devices,
    draft: DeviceDraft,
    credentials: Option<CredentialsDraft>,
    conflict: &Conflict,
    now: Timestamp,
) -> Result<DeviceHandle, DeviceError> {
    let mut outcome = devices.create_device(draft.clone(), credentials.clone(), now).await;
    let Conflict::Uniquify { separator, counts } = conflict else { return outcome };
    for attempt in 1..=UNIQUE_NAMES_TRIED_MAX {
        let Err(DeviceError::Invalid(Rule::DeviceNameTaken)) = outcome else { return outcome };
        let random = uuid::Uuid::new_v4().simple().to_string();
        let suffix = if *counts { attempt.to_string() } else { random.chars().take(6).collect() };
        let name = format!("{}{separator}{suffix}", draft.name);
        outcome =
            devices.create_device(DeviceDraft { name, ..draft.clone() }, credentials.clone(), now).await;
    }
    outcome
}

/// Shows a device.
#[utoipa::path(
    get,
    path = "/api/device/{deviceId}",
    operation_id = "readDevice",
    tag = "Devices",
    params(params::DevicePath),
    responses((status = 200, description = "The device.", body = schemas::Device)),
)]
pub(crate) async fn read(
    State(api): State<Api>,
    Path(device): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let device = api.device(&device)?;
    Ok(Json(shape::device(&device, api.devices.tenant())))
}

/// Shows a device with the names of its customer and profile, and whether it is connected.
#[utoipa::path(
    get,
    path = "/api/device/info/{deviceId}",
    operation_id = "readDeviceInfo",
    tag = "Devices",
    params(params::DevicePath),
    responses((status = 200, description = "The device.", body = schemas::DeviceInfo)),
)]
pub(crate) async fn read_info(
    State(api): State<Api>,
    Path(device): Path<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(info(&api, &api.device(&device)?)))
}

/// Deletes a device with all its data and ends its sessions.
#[utoipa::path(
    delete,
    path = "/api/device/{deviceId}",
    operation_id = "deleteDevice",
    tag = "Devices",
    params(params::DevicePath),
    responses((status = 200, description = "Done.")),
)]
pub(crate) async fn delete(State(api): State<Api>, Path(device): Path<String>) -> Result<(), ApiError> {
    let device = id(&device)?;
    let devices = api.devices.clone();
    carried_through(async move { devices.delete_device(device, now()).await }).await
}

/// Finds a device by its name.
#[utoipa::path(
    get,
    path = "/api/tenant/device",
    operation_id = "findDevice",
    tag = "Devices",
    params(("deviceName" = String, Query, description = "Name of the device.")),
    responses(
        (status = 200, description = "The device.", body = schemas::Device),
        (status = 404, description = "There is none of this name.", body = ErrorBody),
    ),
)]
pub(crate) async fn find(State(api): State<Api>, params: Params) -> Result<Json<Value>, ApiError> {
    let name: String = params.required("deviceName")?;
    let device = api.devices.device_by_name(&name).ok_or_else(ApiError::not_found)?;
    Ok(Json(shape::device(&device, api.devices.tenant())))
}

/// A device with what belongs to it.
pub(crate) fn info(api: &Api, device: &DeviceHandle) -> Value {
    let mut shape = shape::device(device, api.devices.tenant());
    if let Some(members) = shape.as_object_mut() {
        let customer = device.customer().and_then(|customer| api.devices.customer(customer));
        members.insert("customerTitle".into(), json!(customer.map(|customer| customer.title.clone())));
        members.insert("customerIsPublic".into(), json!(false));
        members.insert("deviceProfileName".into(), json!(&*device.profile().name));
        members.insert("active".into(), json!(device.is_active()));
    }
    shape
}

/// Shows the credentials of a device.
#[utoipa::path(
    get,
    path = "/api/device/{deviceId}/credentials",
    operation_id = "readDeviceCredentials",
    tag = "Devices",
    params(params::DevicePath),
    responses((status = 200, description = "The credentials.", body = schemas::DeviceCredentials)),
)]
pub(crate) async fn read_credentials(
    State(api): State<Api>,
    Path(device): Path<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(shape::credentials(&api.devices.credentials(id(&device)?)?)))
}

/// Changes the credentials of a device, and ends the sessions that used the old ones.
#[utoipa::path(
    post,
    path = "/api/device/credentials",
    operation_id = "saveDeviceCredentials",
    tag = "Devices",
    request_body = CredentialsBody,
    responses(
        (status = 200, description = "The credentials as they are now.", body = schemas::DeviceCredentials),
        (status = 404, description = "There is no device of this id.", body = ErrorBody),
        (status = 409, description = "They have been changed meanwhile.", body = ErrorBody),
    ),
)]
pub(crate) async fn save_credentials(State(api): State<Api>, body: Body) -> Result<Json<Value>, ApiError> {
    let body: CredentialsBody = body.json()?;
    let device = body.device_id.as_ref();
    let device =
        device.ok_or_else(|| ApiError::bad_request("Device credentials should be assigned to device!"))?;
    let device = id(&device.id)?;
    let expected = body.version;
    let draft = body.into_draft()?;
    let devices = api.devices.clone();
    let saved = carried_through(async move { devices.set_credentials(device, draft, expected).await });
    Ok(Json(shape::credentials(&saved.await?)))
}
