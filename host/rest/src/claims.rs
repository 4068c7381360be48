//! Users of a customer claim devices, and give them back (REST §2.9, device API §14).

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;
use wireglot_device::{ClaimOutcome, DeviceError, Rule};

use crate::Api;
use crate::access::Caller;
use crate::error::ApiError;
use crate::openapi::schemas;
use crate::request::{Body, carried_through};
use crate::shape;
use wireglot_device::now;

#[derive(Deserialize, Default, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Claim {
    /// The key that the device announced; none where it announced none.
    secret_key: Option<String>,
}

/// Claims a device for the customer of the caller.
///
/// Only for users of a customer.
#[utoipa::path(
    post,
    path = "/api/customer/device/{deviceName}/claim",
    operation_id = "claimDevice",
    tag = "Customers",
    params(("deviceName" = String, Path, description = "Name of the device.")),
    request_body = Option<Claim>,
    responses(
        (status = 200, description = "The device belongs to the customer.", body = schemas::ClaimResult),
        (status = 400, description = "The claim is refused.", body = schemas::ClaimRefused),
    ),
)]
pub(crate) async fn claim(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Body,
) -> Result<Response, ApiError> {
    // An administrator's devices are everybody's already.
    let customer = caller.customer().ok_or_else(ApiError::forbidden)?;
    // Clients that know no secret send nothing, or nothing as JSON.
    let claim: Claim = match body.0.trim_ascii() {
        b"" | b"null" => Claim::default(),
        _ => body.json()?,
    };
    let secret = claim.secret_key.unwrap_or_default();
    let devices = api.devices.clone();
    let outcome = carried_through(async move { devices.claim(&name, customer, &secret, now()).await });
    Ok(match outcome.await? {
        ClaimOutcome::Success(device) => {
            let device = shape::device(&device, api.devices.tenant());
            Json(json!({"device": device, "response": "SUCCESS"})).into_response()
        }
        ClaimOutcome::Failure => (StatusCode::BAD_REQUEST, Json("FAILURE")).into_response(),
        ClaimOutcome::Claimed => (StatusCode::BAD_REQUEST, Json("CLAIMED")).into_response(),
    })
}

/// Gives a claimed device back.
#[utoipa::path(
    delete,
    path = "/api/customer/device/{deviceName}/claim",
    operation_id = "reclaimDevice",
    tag = "Customers",
    params(("deviceName" = String, Path, description = "Name of the device.")),
    responses(
        (status = 200, description = "The device belongs to nobody.", body = schemas::ReclaimResult),
        (status = 400, description = "The device belongs to nobody anyway.", body = schemas::ClaimRefused),
    ),
)]
pub(crate) async fn reclaim(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let (devices, by) = (api.devices.clone(), caller.customer());
    let reclaimed = carried_through(async move {
        match devices.reclaim(&name, by, now()).await {
            Ok(()) => Ok(true),
            Err(DeviceError::Invalid(Rule::NotAssigned)) => Ok(false),
            Err(error) => Err(error),
        }
    });
    Ok(if reclaimed.await? {
        Json("SUCCESS").into_response()
    } else {
        (StatusCode::BAD_REQUEST, Json("FAILURE")).into_response()
    })
}
