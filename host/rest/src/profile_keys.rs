//! Keys of telemetry and of attributes that devices of a profile have: what a client offers to choose from.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use wireglot_device::{DeviceError, DeviceHandle, Devices};
use wireglot_model::limits::PROFILE_KEYS_DEVICES_MAX;
use wireglot_model::{ProfileId, Scope};

use crate::Api;
use crate::error::{ApiError, ErrorBody};
use crate::request::{Params, blocking, id};

/// Lists the keys of telemetry that devices of a profile have.
///
/// No more than 100 of its devices are looked at.
#[utoipa::path(
    get,
    path = "/api/deviceProfile/devices/keys/timeseries",
    operation_id = "listDeviceProfileTelemetryKeys",
    tag = "Device profiles",
    params(
        ("deviceProfileId" = Option<String>, Query, description = "Only devices of this profile.", format = "uuid"),
    ),
    responses(
        (status = 200, description = "The keys.", body = Vec<String>),
        (status = 404, description = "There is no profile of this id.", body = ErrorBody),
    ),
)]
pub(crate) async fn telemetry(
    State(api): State<Api>,
    params: Params,
) -> Result<Json<BTreeSet<String>>, ApiError> {
    gather(api, &params, &|devices, device| devices.keys(device.id())).await
}

/// Lists the keys of attributes that devices of a profile have.
///
/// No more than 100 of its devices are looked at.
#[utoipa::path(
    get,
    path = "/api/deviceProfile/devices/keys/attributes",
    operation_id = "listDeviceProfileAttributeKeys",
    tag = "Device profiles",
    params(
        ("deviceProfileId" = Option<String>, Query, description = "Only devices of this profile.", format = "uuid"),
    ),
    responses(
        (status = 200, description = "The keys.", body = Vec<String>),
        (status = 404, description = "There is no profile of this id.", body = ErrorBody),
    ),
)]
pub(crate) async fn attributes(
    State(api): State<Api>,
    params: Params,
) -> Result<Json<BTreeSet<String>>, ApiError> {
    gather(api, &params, &|devices, device| {
        let mut keys = Vec::new();
        for scope in Scope::ALL {
            let found = devices.attributes(device.id(), scope, None)?;
            keys.extend(found.into_iter().map(|attribute| attribute.key));
        }
        Ok(keys)
    })
    .await
}

/// The keys that a device has.
type KeysOf = dyn Fn(&Devices, &DeviceHandle) -> Result<Vec<String>, DeviceError> + Sync;

/// The keys of some devices of the profile, or of all profiles: devices of one kind are alike.
async fn gather(
    api: Api,
    params: &Params,
    keys: &'static KeysOf,
) -> Result<Json<BTreeSet<String>>, ApiError> {
    let profile: Option<ProfileId> = params.text("deviceProfileId").map(id).transpose()?;
    if profile.is_some_and(|profile| api.devices.profile(profile).is_none()) {
        return Err(ApiError::not_found());
    }
    let devices = api.devices.clone();
    let gathered = blocking(move || {
        let mut chosen: Vec<DeviceHandle> = Vec::new();
        devices.each_device(&mut |device| {
            let is_wanted = || profile.is_none_or(|profile| device.view().device().profile == profile);
            if chosen.len() < PROFILE_KEYS_DEVICES_MAX && is_wanted() {
                chosen.push(device.clone());
            }
        });
        let mut found = BTreeSet::new();
        for device in chosen {
            match keys(&devices, &device) {
                Ok(keys) => found.extend(keys),
                // Deleted since.
                Err(DeviceError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    });
    gathered.await.map(Json)
}
