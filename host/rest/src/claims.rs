//! Users of a customer claim devices, and give them back (REST §2.9, device API §14).
//!
//! Tries that fail are counted for the customer and for the device. Both matter where a server attribute is the
//! registration: it stays until its time is over, whatever is guessed. What a device announced ends with one wrong secret.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;
use wireglot_device::{ClaimOutcome, DeviceError, Rule};
use wireglot_model::limits::{CLAIMS_PER_CUSTOMER_AND_MINUTE_MAX, CLAIMS_PER_DEVICE_AND_MINUTE_MAX};
use wireglot_model::{CustomerId, Timestamp};

use crate::Api;
use crate::access::Caller;
use crate::error::{ApiError, ErrorBody};
use crate::openapi::schemas;
use crate::request::{Body, carried_through};
use crate::shape;
use crate::tries::{Tries, Try};
use wireglot_device::now;

/// Tries to claim that failed.
pub(crate) struct ClaimTries {
    by_customer: Tries,
    of_device: Tries,
}

impl Default for ClaimTries {
    fn default() -> Self {
        Self {
            by_customer: Tries::new(CLAIMS_PER_CUSTOMER_AND_MINUTE_MAX),
            of_device: Tries::new(CLAIMS_PER_DEVICE_AND_MINUTE_MAX),
        }
    }
}

impl ClaimTries {
    /// Whether a customer may try to claim the device of this name now.
    fn admit(&self, customer: CustomerId, name: &str, now: Timestamp) -> Result<[Try; 2], ApiError> {
        let by_customer = self.by_customer.admit(customer, now)?;
        match self.of_device.admit(name, now) {
            Ok(of_device) => Ok([by_customer, of_device]),
            Err(refusal) => {
                self.by_customer.give_back(by_customer);
                Err(refusal)
            }
        }
    }

    /// The try has succeeded.
    fn give_back(&self, [by_customer, of_device]: [Try; 2]) {
        self.by_customer.give_back(by_customer);
        self.of_device.give_back(of_device);
    }
}

#[derive(Deserialize, Default, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Claim {
    /// The key that the device announced; none where it announced none.
    secret_key: Option<String>,
}

/// Claims a device for the customer of the caller.
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
        (status = 429, description = "Too many claims of this customer, or of this device, have failed; `Retry-After` says when there may be another.", body = ErrorBody),
    ),
)]
pub(crate) async fn claim(
    State(api): State<Api>,
    Extension(customer): Extension<CustomerId>,
    Path(name): Path<String>,
    body: Body,
) -> Result<Response, ApiError> {
    // Clients that know no secret send nothing, or nothing as JSON.
    let claim: Claim = match body.0.trim_ascii() {
        b"" | b"null" => Claim::default(),
        _ => body.json()?,
    };
    let secret = claim.secret_key.unwrap_or_default();
    let tries = api.claim_tries.admit(customer, &name, now())?;
    let devices = api.devices.clone();
    let outcome = carried_through(async move { devices.claim(&name, customer, &secret, now()).await });
    Ok(match outcome.await? {
        ClaimOutcome::Success(device) => {
            api.claim_tries.give_back(tries);
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
