//! Replays: decoding again what was kept. One at a time; what it does is told while it runs and afterwards.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;
use wireglot_model::Timestamp;
use wireglot_replay::{CodecChoice, ReplayOrder, ReplayStatus, Source, StartError};

use crate::Api;
use crate::error::{ApiError, ErrorBody};
use crate::letters::{check_range, stage};
use crate::openapi::schemas::{self, Stage};
use crate::request::Body;

/// The body of an order.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = ReplayOrder)]
struct Order {
    device_profile_name: String,
    /// Only what this device sent.
    device_name: Option<String>,
    /// `NAME` or `NAME@VERSION`; absent: what serves the profile now.
    codec: Option<String>,
    /// Only frames received from this time on, in milliseconds since 1970.
    since: Option<i64>,
    /// Only frames received up to this time, in milliseconds since 1970.
    until: Option<i64>,
    /// Only letters that failed at this stage.
    #[schema(inline, value_type = Option<Stage>)]
    stage: Option<String>,
    /// Only the last so many frames.
    last: Option<usize>,
    /// Raw frames instead of dead letters.
    #[serde(default)]
    all: bool,
    /// Only tell what would change.
    #[serde(default)]
    dry_run: bool,
}

/// Decodes again what was kept.
///
/// One replay runs at a time.
#[utoipa::path(
    post,
    path = "/api/replay",
    operation_id = "startReplay",
    tag = "Replay",
    request_body = Order,
    responses(
        (status = 202, description = "The replay runs.", body = schemas::Replay),
        (status = 409, description = "Another replay is running.", body = ErrorBody),
    ),
)]
pub(crate) async fn start(
    State(api): State<Api>,
    body: Body,
) -> Result<(StatusCode, Json<ReplayStatus>), ApiError> {
    let order = read(&api, body.json()?)?;
    // The codec may have to be compiled.
    let started = tokio::task::spawn_blocking(move || api.replays.start(order)).await;
    match started {
        Ok(Ok(status)) => Ok((StatusCode::ACCEPTED, Json(status))),
        Ok(Err(refused)) => Err(refusal(&refused)),
        Err(broken) => Err(ApiError::internal(&broken)),
    }
}

/// Shows the replay that is running, or the last one.
#[utoipa::path(
    get,
    path = "/api/replay",
    operation_id = "readReplay",
    tag = "Replay",
    responses(
        (status = 200, description = "The replay.", body = schemas::Replay),
        (status = 404, description = "There was none since the start.", body = ErrorBody),
    ),
)]
pub(crate) async fn status(State(api): State<Api>) -> Result<Json<ReplayStatus>, ApiError> {
    let none = || ApiError::unknown("No replay has been started since the server was".into());
    api.replays.status().map(Json).ok_or_else(none)
}

/// Ends the replay that is running.
#[utoipa::path(
    delete,
    path = "/api/replay",
    operation_id = "cancelReplay",
    tag = "Replay",
    responses(
        (status = 200, description = "The replay.", body = schemas::Replay),
        (status = 404, description = "There was none since the start.", body = ErrorBody),
    ),
)]
pub(crate) async fn cancel(State(api): State<Api>) -> Result<Json<ReplayStatus>, ApiError> {
    api.replays.cancel().map(Json).ok_or_else(|| ApiError::unknown("No replay is running".into()))
}

fn read(api: &Api, order: Order) -> Result<ReplayOrder, ApiError> {
    let profile = api.devices.profile_by_name(&order.device_profile_name).ok_or_else(|| {
        ApiError::bad_request(format!("There is no device profile '{}'", order.device_profile_name))
    })?;
    let device = match &order.device_name {
        Some(name) => {
            let found = api.devices.device_by_name(name);
            Some(found.ok_or_else(|| ApiError::bad_request(format!("There is no device '{name}'")))?.id())
        }
        None => None,
    };
    let codec = order.codec.as_deref().map(CodecChoice::parse).transpose().map_err(ApiError::bad_request)?;
    let stage = order.stage.as_deref().map(stage).transpose()?;
    let source = match (order.all, stage) {
        (false, stage) => Source::DeadLetters { stage },
        (true, None) => Source::RawFrames,
        (true, Some(_)) => {
            return Err(ApiError::bad_request("'stage' is for dead letters; raw frames have none"));
        }
    };
    if order.all && profile.profile.raw_retention_hours.is_none() {
        return Err(ApiError::bad_request(format!(
            "Device profile '{}' keeps no raw frames: set its rawRetentionHours",
            profile.name
        )));
    }
    let time = |time: Option<i64>| time.map(Timestamp);
    let (since, until) = (time(order.since), time(order.until));
    check_range(since, until)?;
    if order.last == Some(0) {
        return Err(ApiError::bad_request("'last' must be greater than 0"));
    }
    let (last, is_dry_run) = (order.last, order.dry_run);
    Ok(ReplayOrder { profile, device, since, until, last, codec, source, is_dry_run })
}

fn refusal(refused: &StartError) -> ApiError {
    match refused {
        StartError::Running => ApiError::conflict(refused.to_string()),
        StartError::NoCodecNamed
        | StartError::NoCandidate(_)
        | StartError::NotLive(_)
        | StartError::Version(_)
        | StartError::Settings(_) => ApiError::bad_request(refused.to_string()),
        StartError::Thread(_) => ApiError::internal(refused),
    }
}
