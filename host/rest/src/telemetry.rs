//! Time series: keys, latest values, history with or without aggregation, saving (REST §2.5); stored messages.

use axum::extract::{Path, State};
use wireglot_codec::native;
use wireglot_device::{HistoryQuery, Latest, Message};
use wireglot_model::limits::HISTORY_POINTS_MAX;
use wireglot_model::value::write_json_string;
use wireglot_model::{CodecStamp, DeviceId, Timestamp, Value};

use crate::Api;
use crate::aggregate::{Aggregation, aggregate};
use crate::attributes::write_keys;
use crate::error::ApiError;
use crate::request::{Body, JsonText, Params, blocking, carried_through, entity};
use wireglot_device::now;

/// Points per key where nobody says how many.
const LIMIT: usize = 100;
/// Stored messages in one answer.
const MESSAGES_MAX: usize = 1_000;

/// How values are written: as text, or with their JSON type.
#[derive(Clone, Copy)]
enum Typing {
    Text,
    Strict,
}

/// `GET …/keys/timeseries`
pub(crate) async fn keys(
    State(api): State<Api>,
    Path((kind, device)): Path<(String, String)>,
) -> Result<JsonText, ApiError> {
    let device = entity(&kind, &device)?;
    let devices = api.devices.clone();
    let keys = blocking(move || devices.keys(device)).await?;
    Ok(write_keys(keys.iter().map(String::as_str)))
}

/// `GET …/values/timeseries`: latest values, or the history where a range is given.
pub(crate) async fn values(
    state: State<Api>,
    Path((kind, device)): Path<(String, String)>,
    params: Params,
) -> Result<JsonText, ApiError> {
    if params.text("startTs").is_some() && params.text("endTs").is_some() {
        return history(state, Path((kind, device)), params).await;
    }
    let device = entity(&kind, &device)?;
    let keys = params.keys();
    let (devices, wanted) = (state.devices.clone(), keys.clone());
    let mut found = blocking(move || devices.latest(device, wanted.as_deref())).await?;
    found.sort_by(|one, other| one.key.cmp(&other.key));
    Ok(write_latest(&found, keys.as_deref(), typing(&params), now()))
}

fn write_latest(found: &[Latest], wanted: Option<&[String]>, typing: Typing, now: Timestamp) -> JsonText {
    let mut out = Series::new(typing);
    match wanted {
        None => {
            for latest in found {
                out.key(&latest.key);
                out.point(latest.ts, Some(&latest.value));
            }
        }
        Some(wanted) => {
            for key in wanted {
                out.key(key);
                match found.iter().find(|latest| latest.key == *key) {
                    Some(latest) => out.point(latest.ts, Some(&latest.value)),
                    None => out.point(now, None),
                }
            }
        }
    }
    out.finish()
}

/// `GET …/values/timeseries/history`
pub(crate) async fn history(
    State(api): State<Api>,
    Path((kind, device)): Path<(String, String)>,
    params: Params,
) -> Result<JsonText, ApiError> {
    let device = entity(&kind, &device)?;
    let (start, end) = (params.required("startTs")?, params.required("endTs")?);
    let aggregation = Aggregation::from_params(&params)?;
    let limit = params.parsed("limit")?.unwrap_or(LIMIT);
    let descending = match params.text("orderBy").map(str::to_ascii_uppercase).as_deref() {
        None | Some("DESC") => true,
        Some("ASC") => false,
        Some(other) => return Err(ApiError::bad_request(format!("Unsupported order '{other}'"))),
    };
    let (devices, wanted) = (api.devices.clone(), params.keys());
    let found = blocking(move || {
        let keys = wanted.map_or_else(|| devices.keys(device), Ok)?;
        let share = HISTORY_POINTS_MAX / keys.len().max(1);
        let mut query = HistoryQuery {
            keys,
            start: Timestamp(start),
            end: Timestamp(end),
            limit: limit.min(share),
            descending,
        };
        if aggregation.is_some() {
            (query.limit, query.descending) = (share, false);
        }
        devices.history(device, &query)
    })
    .await?;
    let mut out = Series::new(typing(&params));
    for (key, points) in found {
        let points = match &aggregation {
            None => points,
            Some(aggregation) => aggregate(aggregation, start, end, &points),
        };
        if points.is_empty() {
            continue;
        }
        out.key(&key);
        for (ts, value) in &points {
            out.point(*ts, Some(value));
        }
    }
    Ok(out.finish())
}

/// `POST …/timeseries/{any}`
pub(crate) async fn save(
    State(api): State<Api>,
    Path((kind, device, _any)): Path<(String, String, String)>,
    body: Body,
) -> Result<(), ApiError> {
    save_body(&api, entity(&kind, &device)?, &body).await
}

/// `POST …/timeseries/{any}/{ttl}`: how long telemetry is kept is the profile's decision, whatever `ttl` says.
pub(crate) async fn save_with_ttl(
    State(api): State<Api>,
    Path((kind, device, _any, _ttl)): Path<(String, String, String, String)>,
    body: Body,
) -> Result<(), ApiError> {
    save_body(&api, entity(&kind, &device)?, &body).await
}

async fn save_body(api: &Api, device: DeviceId, body: &Body) -> Result<(), ApiError> {
    let measurements = native::telemetry(&body.0)
        .map_err(|refusal| ApiError::bad_request(format!("Unable to parse timeseries payload: {refusal}")))?;
    if measurements.iter().all(|measurement| measurement.samples.is_empty()) {
        return Err(ApiError::bad_request("No timeseries data found in request body!"));
    }
    // Devices may send nulls, which are skipped; a client that sends one has made a mistake.
    if serde_json::from_slice(&body.0).is_ok_and(|json| has_null(&json)) {
        return Err(ApiError::bad_request("Null values are not allowed in timeseries"));
    }
    let devices = api.devices.clone();
    carried_through(async move { devices.save_telemetry(device, measurements, now()).await }).await
}

/// Whether a value of a record is null; nulls within JSON values are values.
fn has_null(body: &serde_json::Value) -> bool {
    match body {
        serde_json::Value::Array(records) => records.iter().any(has_null),
        serde_json::Value::Object(record) => {
            let values = record.contains_key("ts").then(|| record.get("values")).flatten();
            let values = values.and_then(serde_json::Value::as_object).unwrap_or(record);
            values.values().any(serde_json::Value::is_null)
        }
        _ => false,
    }
}

/// `GET /api/device/{id}/messages?startTs&endTs&limit`: messages as they were stored, oldest first, each with the
/// codec version that decoded it.
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
    let found = blocking(move || devices.messages(device, start, end, limit)).await?;
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

fn typing(params: &Params) -> Typing {
    if params.is_set("useStrictDataTypes") { Typing::Strict } else { Typing::Text }
}

/// Writes `{"key":[{"ts":…,"value":…},…],…}`.
struct Series {
    out: String,
    typing: Typing,
    is_first_key: bool,
}

impl Series {
    fn new(typing: Typing) -> Self {
        Self { out: "{".into(), typing, is_first_key: true }
    }

    fn key(&mut self, key: &str) {
        if !self.is_first_key {
            close_list(&mut self.out);
            self.out.push(',');
        }
        self.is_first_key = false;
        write_json_string(key, &mut self.out);
        self.out.push_str(":[");
    }

    fn point(&mut self, ts: Timestamp, value: Option<&Value>) {
        self.out.push_str("{\"ts\":");
        self.out.push_str(&ts.to_string());
        self.out.push_str(",\"value\":");
        match (value, self.typing) {
            (None, _) => self.out.push_str("null"),
            (Some(value), Typing::Strict) => value.write_json(&mut self.out),
            (Some(value), Typing::Text) => write_json_string(&value.to_text(), &mut self.out),
        }
        self.out.push_str("},");
    }

    fn finish(mut self) -> JsonText {
        if !self.is_first_key {
            close_list(&mut self.out);
        }
        self.out.push('}');
        JsonText(self.out)
    }
}

/// Ends a list whose items each left a comma behind.
fn close_list(out: &mut String) {
    if out.ends_with(',') {
        out.pop();
    }
    out.push(']');
}
