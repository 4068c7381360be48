//! Time series: keys, latest values, saving, deleting (REST §2.5); stored messages. Histories: `history.rs`.

use std::collections::HashMap;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use wireglot_codec::native;
use wireglot_device::{Erasure, Latest, LatestAfter, Message};
use wireglot_model::value::write_json_string;
use wireglot_model::{CodecStamp, DeviceId, Timestamp, Value};

use crate::Api;
use crate::attributes::write_keys;
use crate::error::{ApiError, ErrorBody};
use crate::history::{self, LIMIT};
use crate::openapi::{params, schemas};
use crate::request::{Body, JsonText, Params, blocking, carried_through, entity};
use crate::state;
use wireglot_device::now;

/// Stored messages in one answer.
const MESSAGES_MAX: usize = 1_000;

/// How values are written: as text, or with their JSON type.
#[derive(Clone, Copy)]
pub(crate) enum Typing {
    Text,
    Strict,
}

/// Lists the keys of a device.
#[utoipa::path(
    get,
    path = "/api/plugins/telemetry/{entityType}/{entityId}/keys/timeseries",
    operation_id = "listTelemetryKeys",
    tag = "Telemetry",
    params(params::EntityPath),
    responses((status = 200, description = "The keys.", body = Vec<String>)),
)]
pub(crate) async fn keys(
    State(api): State<Api>,
    Path((kind, device)): Path<(String, String)>,
) -> Result<JsonText, ApiError> {
    let device = entity(&kind, &device)?;
    let devices = api.devices.clone();
    let keys = api.short_reads.read(move || devices.keys(device)).await?;
    Ok(write_keys(keys.iter().map(String::as_str)))
}

/// Gives the latest values of a device, or their history where a range is given.
#[utoipa::path(
    get,
    path = "/api/plugins/telemetry/{entityType}/{entityId}/values/timeseries",
    operation_id = "readTelemetry",
    tag = "Telemetry",
    params(
        params::EntityPath,
        params::Keys,
        params::Typing,
        params::OptionalTimeRange,
        params::HistoryFilter,
    ),
    responses(
        (status = 200, description = "The values by key.", body = schemas::Series),
        (status = 429, description = "Clients that are slow to take their answers leave no room; `Retry-After` says when to come again.", body = ErrorBody),
    ),
)]
pub(crate) async fn values(
    State(api): State<Api>,
    Path((kind, device)): Path<(String, String)>,
    params: Params,
) -> Result<Response, ApiError> {
    if params.text("startTs").is_some() && params.text("endTs").is_some() {
        return history::read(State(api), Path((kind, device)), params).await;
    }
    let device = entity(&kind, &device)?;
    let keys = params.keys();
    let typing = params.typing()?;
    let (mut found, room) = state::latest(&api, device, keys.clone()).await?;
    found.sort_by(|one, other| one.key.cmp(&other.key));
    let answer = write_latest(&found, keys.as_deref(), typing, now());
    Ok(match room {
        None => answer.into_response(),
        Some(room) => history::send(answer.0, room),
    })
}

fn write_latest(found: &[Latest], wanted: Option<&[String]>, typing: Typing, now: Timestamp) -> JsonText {
    let mut out = String::from("{");
    let mut write = |key: &str, ts, value: Option<&Value>| {
        if out.len() > 1 {
            out.push(',');
        }
        write_json_string(key, &mut out);
        out.push_str(":[");
        write_point(ts, value, typing, &mut out);
        out.push(']');
    };
    match wanted {
        None => found.iter().for_each(|latest| write(&latest.key, latest.ts, Some(&latest.value))),
        Some(wanted) => {
            let found: HashMap<&str, &Latest> =
                found.iter().map(|latest| (latest.key.as_str(), latest)).collect();
            for key in wanted {
                match found.get(key.as_str()) {
                    Some(latest) => write(key, latest.ts, Some(&latest.value)),
                    None => write(key, now, None),
                }
            }
        }
    }
    out.push('}');
    JsonText(out)
}

/// `{"ts":…,"value":…}`
pub(crate) fn write_point(ts: Timestamp, value: Option<&Value>, typing: Typing, out: &mut String) {
    out.push_str("{\"ts\":");
    out.push_str(&ts.to_string());
    out.push_str(",\"value\":");
    match (value, typing) {
        (None, _) => out.push_str("null"),
        (Some(value), Typing::Strict) => value.write_json(out),
        (Some(value), Typing::Text) => write_json_string(&value.to_text(), out),
    }
    out.push('}');
}

/// Saves telemetry of a device.
#[utoipa::path(
    post,
    path = "/api/plugins/telemetry/{entityType}/{entityId}/timeseries/{scope}",
    operation_id = "saveTelemetry",
    tag = "Telemetry",
    params(
        params::EntityPath,
        ("scope" = String, Path, description = "Any text; there is one scope of telemetry."),
    ),
    request_body(content((schemas::TelemetryBody = "application/json"), (String = "text/plain"))),
    responses((status = 200, description = "Done.")),
)]
pub(crate) async fn save(
    State(api): State<Api>,
    Path((kind, device, _any)): Path<(String, String, String)>,
    body: Body,
) -> Result<(), ApiError> {
    save_body(&api, entity(&kind, &device)?, &body).await
}

/// Saves telemetry of a device, in the spelling with a time to live.
///
/// The time to live is checked and not followed: how long telemetry is kept is the decision of the profile.
#[utoipa::path(
    post,
    path = "/api/plugins/telemetry/{entityType}/{entityId}/timeseries/{scope}/{ttl}",
    operation_id = "saveTelemetryWithTtl",
    tag = "Telemetry",
    params(
        params::EntityPath,
        ("scope" = String, Path, description = "Any text; there is one scope of telemetry."),
        ("ttl" = u64, Path, description = "Seconds.", minimum = 0),
    ),
    request_body(content((schemas::TelemetryBody = "application/json"), (String = "text/plain"))),
    responses((status = 200, description = "Done.")),
)]
pub(crate) async fn save_with_ttl(
    State(api): State<Api>,
    Path((kind, device, _any, ttl)): Path<(String, String, String, String)>,
    body: Body,
) -> Result<(), ApiError> {
    if !ttl.parse::<i64>().is_ok_and(|seconds| seconds >= 0) {
        return Err(ApiError::bad_request(format!(
            "Invalid time to live: '{ttl}' is not a number of seconds"
        )));
    }
    save_body(&api, entity(&kind, &device)?, &body).await
}

/// Deletes time series of a device: ranges of them, or all.
#[utoipa::path(
    delete,
    path = "/api/plugins/telemetry/{entityType}/{entityId}/timeseries/delete",
    operation_id = "deleteTelemetry",
    tag = "Telemetry",
    params(params::EntityPath, params::NamedKeys, params::ErasureQuery),
    responses((status = 200, description = "Done.")),
)]
pub(crate) async fn delete(
    State(api): State<Api>,
    Path((kind, device)): Path<(String, String)>,
    params: Params,
) -> Result<(), ApiError> {
    let device = entity(&kind, &device)?;
    let keys = params.keys().ok_or_else(|| ApiError::bad_request("Empty keys: []"))?;
    let (first, last) = deleted_range(&params)?;
    let latest = match (params.flag("deleteLatest", true)?, params.flag("rewriteLatestIfDeleted", false)?) {
        (false, _) => LatestAfter::Kept,
        (true, false) => LatestAfter::Removed,
        (true, true) => LatestAfter::Rewritten,
    };
    let erasure = Erasure { device, keys, first, last, latest };
    // Some at a time: each keeps a thread, and those that wait for a checkpoint share it.
    let turn = api.erasures.clone().acquire_owned().await.map_err(|closed| ApiError::internal(&closed))?;
    let devices = api.devices.clone();
    let erase = move || {
        // It goes along: a deletion that has begun is finished, whether or not its client is still there.
        let _turn = turn;
        devices.erase(&erasure)
    };
    blocking(erase).await.map(drop)
}

/// From the first time to the last one that is deleted.
fn deleted_range(params: &Params) -> Result<(Timestamp, Timestamp), ApiError> {
    if params.flag("deleteAllDataForKeys", false)? {
        return Ok((Timestamp(i64::MIN), Timestamp(i64::MAX)));
    }
    let (Some(start), Some(end)) = (params.parsed::<i64>("startTs")?, params.parsed::<i64>("endTs")?) else {
        return Err(ApiError::bad_request(
            "When deleteAllDataForKeys is false, start and end timestamp values shouldn't be empty",
        ));
    };
    if start > end {
        return Err(ApiError::bad_request("'startTs' must not be after 'endTs'"));
    }
    // `endTs` itself does not belong to the range; where it is the beginning as well, nothing does.
    Ok(match end.checked_sub(1) {
        Some(last) => (Timestamp(start), Timestamp(last)),
        None => (Timestamp(i64::MAX), Timestamp(i64::MIN)),
    })
}

async fn save_body(api: &Api, device: DeviceId, body: &Body) -> Result<(), ApiError> {
    let measurements = native::saved_telemetry(&body.0)
        .map_err(|refusal| ApiError::bad_request(format!("Unable to parse timeseries payload: {refusal}")))?;
    if measurements.is_empty() {
        return Err(ApiError::bad_request("No timeseries data found in request body!"));
    }
    let devices = api.devices.clone();
    carried_through(async move { devices.save_telemetry(device, measurements, now()).await }).await
}

/// Lists messages as they were stored, oldest first, each with the codec version that decoded it.
#[utoipa::path(
    get,
    path = "/api/device/{deviceId}/messages",
    operation_id = "listDeviceMessages",
    tag = "Telemetry",
    params(
        params::DevicePath,
        params::OptionalTimeRange,
        ("limit" = Option<u64>, Query, description = "How many at most; 100 where nothing is said, never more than 1000."),
    ),
    responses((status = 200, description = "The messages.", body = Vec<schemas::StoredMessage>)),
)]
pub(crate) async fn messages(
    State(api): State<Api>,
    Path(device): Path<String>,
    params: Params,
) -> Result<JsonText, ApiError> {
    let device = api.device(&device)?.id();
    let start = Timestamp(params.parsed("startTs")?.unwrap_or(i64::MIN));
    let end = Timestamp(params.parsed("endTs")?.unwrap_or(i64::MAX));
    let limit = params.parsed("limit")?.unwrap_or(LIMIT).min(MESSAGES_MAX);
    let devices = api.devices.clone();
    let found = api.long_reads.read(move || devices.messages(device, start, end, limit)).await?;
    let mut out = String::from("[");
    for message in &found {
        write_message(message, &mut out);
    }
    close_list(&mut out);
    Ok(JsonText(out))
}

fn write_message(message: &Message, out: &mut String) {
    out.push_str(&format!("{{\"ts\":{},\"receivedTs\":{},\"codec\":", message.ts, message.received));
    match &message.codec {
        Some(stamp) => out.push_str(&codec(stamp).to_string()),
        None => out.push_str("null"),
    }
    out.push_str(",\"values\":{");
    for (index, sample) in message.samples.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_json_string(&sample.key, out);
        out.push(':');
        sample.value.write_json(out);
    }
    out.push_str("}},");
}

/// A codec version.
pub(crate) fn codec(stamp: &CodecStamp) -> serde_json::Value {
    serde_json::json!({"name": stamp.name.as_str(), "version": &*stamp.version, "hash": stamp.hash.to_string()})
}

/// Ends a list whose items each left a comma behind.
fn close_list(out: &mut String) {
    if out.ends_with(',') {
        out.pop();
    }
    out.push(']');
}
