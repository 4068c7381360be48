//! The rate limits of the installation, in the words of a tenant profile's configuration (device API §17).

use axum::extract::State;
use axum::{Extension, Json};
use wireglot_model::RateLimits;

use crate::Api;
use crate::access::Caller;
use crate::error::ApiError;
use crate::openapi::schemas;
use crate::request::{Body, carried_through};
use wireglot_device::now;

/// Shows the rate limits of the installation.
#[utoipa::path(
    get,
    path = "/api/rateLimits",
    operation_id = "readRateLimits",
    tag = "Operation",
    responses((status = 200, description = "All twelve.", body = schemas::RateLimitTexts)),
)]
pub(crate) async fn read(State(api): State<Api>) -> Json<RateLimits> {
    Json(api.devices.rate_limits())
}

/// Replaces the rate limits of the installation.
///
/// What is left out is no limit. Sessions go on.
#[utoipa::path(
    post,
    path = "/api/rateLimits",
    operation_id = "saveRateLimits",
    tag = "Operation",
    request_body = schemas::RateLimitTexts,
    responses((status = 200, description = "They are in force.", body = schemas::RateLimitTexts)),
)]
pub(crate) async fn save(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Json<RateLimits>, ApiError> {
    let limits: RateLimits = body.json()?;
    let devices = api.devices.acting_for(caller.actor());
    let saved = limits.clone();
    carried_through(async move { devices.set_rate_limits(limits, now()).await }).await?;
    Ok(Json(saved))
}
