//! The live trace: frames and what they become, as server-sent events, until the client leaves or the server stops.

use std::convert::Infallible;

use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{Event as SseEvent, KeepAlive};
use futures_util::Stream;
use serde_json::{Map, Value as Json, json};
use tokio::sync::{OwnedSemaphorePermit, watch};
use wireglot_bus::{Event, FeedItem, FeedReceiver, Filter, FrameFacts, Kinds};
use wireglot_codec::FAILURE_STAGES;
use wireglot_model::{
    CodecName, CodecStamp, DeviceId, FailureStage, PayloadKind, Sample, Timestamp, Uplink, UplinkBody, Value,
};

use crate::Api;
use crate::attributes::scope_name;
use crate::error::{ApiError, ErrorBody};
use crate::openapi::schemas;
use crate::request::Params;
use crate::telemetry::codec;
use wireglot_device::now;

/// How soon a client that was turned away may ask again.
const RETRY_S: u64 = 5;
const PARAMETERS: [&str; 5] = ["deviceName", "deviceProfileName", "codec", "stage", "events"];
/// The events, by name; a listener that names none gets the first four.
const EVENTS: [(&str, Kinds); 6] = [
    ("decoded", Kinds::DECODED),
    ("failed", Kinds::FAILED),
    ("connected", Kinds::CONNECTED),
    ("disconnected", Kinds::DISCONNECTED),
    ("telemetry", Kinds::TELEMETRY),
    ("attributes", Kinds::ATTRIBUTES),
];
const USUAL: Kinds = Kinds::DECODED.and(Kinds::FAILED).and(Kinds::CONNECTED).and(Kinds::DISCONNECTED);

/// One listener; its place is free again when it is dropped.
struct Listener {
    feed: FeedReceiver,
    stopping: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
}

/// Sends frames and what they become as server-sent events, until the client leaves.
///
/// Other query parameters than those listed are refused.
#[utoipa::path(
    get,
    path = "/api/trace",
    operation_id = "listenToTrace",
    tag = "Live",
    params(
        ("deviceName" = Option<String>, Query, description = "Only what this device does."),
        ("deviceProfileName" = Option<String>, Query, description = "Only what devices of this profile do."),
        ("codec" = Option<String>, Query, description = "Only what this codec decodes."),
        ("stage" = inline(Option<schemas::Stage>), Query, description = "Only failures at this stage."),
        ("events" = Option<String>, Query, description = "Which events, with commas between them: decoded, failed, connected, disconnected, telemetry, attributes. The first four where nothing is said."),
    ),
    responses(
        (status = 200, description = "The events.", body = String, content_type = "text/event-stream"),
        (status = 404, description = "There is no device, profile or codec of this name.", body = ErrorBody),
        (status = 429, description = "Too many are listening; `Retry-After` says when to try again.", body = ErrorBody),
    ),
)]
pub(crate) async fn listen(
    State(api): State<Api>,
    params: Params,
) -> Result<Sse<impl Stream<Item = Result<SseEvent, Infallible>>>, ApiError> {
    let filter = filter(&api, &params)?;
    let place = api.traces.clone().try_acquire_owned();
    let listener = Listener {
        _place: place.map_err(|_full| ApiError::too_many_requests(RETRY_S))?,
        feed: api.bus.feed(filter),
        stopping: api.stopping.clone(),
    };
    let events = futures_util::stream::unfold(listener, |mut listener| async move {
        let (name, data) = listener.next().await?;
        let event = SseEvent::default().event(name).data(data.to_string());
        Some((Ok(event), listener))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

/// A filter for what does not exist would wait in silence for ever, so it is refused.
fn filter(api: &Api, params: &Params) -> Result<Filter, ApiError> {
    params.only(&PARAMETERS)?;
    let device = params.text("deviceName");
    if let Some(name) = device
        && api.devices.device_by_name(name).is_none()
    {
        return Err(ApiError::unknown(format!("There is no device '{name}'")));
    }
    let profile = params.text("deviceProfileName");
    if let Some(name) = profile
        && api.devices.profile_by_name(name).is_none()
    {
        return Err(ApiError::unknown(format!("There is no device profile '{name}'")));
    }
    let codec = params.text("codec").map(|name| known_codec(api, name)).transpose()?;
    let stage = params.text("stage").map(stage).transpose()?;
    let kinds = match (params.text("events"), stage) {
        (None, None) => USUAL,
        (None, Some(_)) => Kinds::FAILED,
        (Some(names), stage) => kinds(names, stage)?,
    };
    Ok(Filter { kinds, device: device.map(str::to_owned), profile: profile.map(str::to_owned), codec, stage })
}

/// A codec that is live or was, or one that a profile waits for.
fn known_codec(api: &Api, name: &str) -> Result<CodecName, ApiError> {
    let codec = CodecName::parse(name).map_err(|error| ApiError::bad_request(error.to_string()))?;
    let is_named = || {
        let profiles = api.devices.profiles();
        profiles.iter().filter_map(|state| state.profile.mqtt()).any(|mqtt| match mqtt.payload {
            PayloadKind::Codec { codec: named, .. } => named == codec,
            PayloadKind::Json | PayloadKind::Protobuf(_) => false,
        })
    };
    if api.codecs.status(&codec).is_some() || is_named() {
        Ok(codec)
    } else {
        Err(ApiError::unknown(format!("There is no codec '{name}', and no profile names it")))
    }
}

fn stage(name: &str) -> Result<FailureStage, ApiError> {
    let known = FAILURE_STAGES.map(|stage| (json!(stage).as_str().unwrap_or_default().to_owned(), stage));
    let found = known.iter().find(|(known, _)| known == name).map(|(_, stage)| *stage);
    found.ok_or_else(|| {
        let known = known.map(|(name, _)| name).join(", ");
        ApiError::bad_request(format!("There is no stage '{name}'; the stages are {known}"))
    })
}

fn kinds(names: &str, stage: Option<FailureStage>) -> Result<Kinds, ApiError> {
    let mut kinds: Option<Kinds> = None;
    for name in names.split(',') {
        let Some((_, kind)) = EVENTS.iter().find(|(known, _)| *known == name) else {
            let known = EVENTS.map(|(known, _)| known).join(", ");
            return Err(ApiError::bad_request(format!("There is no event '{name}'; the events are {known}")));
        };
        kinds = Some(kinds.map_or(*kind, |kinds| kinds.and(*kind)));
    }
    match (kinds, stage) {
        (Some(kinds), None) => Ok(kinds),
        (Some(Kinds::FAILED), Some(_)) => Ok(Kinds::FAILED),
        (_, _) => Err(ApiError::bad_request("Only the event 'failed' has a stage")),
    }
}

impl Listener {
    async fn next(&mut self) -> Option<(&'static str, Json)> {
        let item = tokio::select! {
            item = self.feed.recv() => item,
            _ = self.stopping.wait_for(|stopping| *stopping) => return None,
        };
        Some(match item {
            FeedItem::Missed(events) => ("lost", json!({"events": events})),
            FeedItem::Event(event) => write(&event),
        })
    }
}

fn write(event: &Event) -> (&'static str, Json) {
    match event {
        Event::Decoded { frame, uplinks, values_left_out, warnings } => (
            "decoded",
            with(
                write_frame(frame),
                json!({
                    "messages": uplinks.iter().map(write_uplink).collect::<Vec<_>>(),
                    "valuesLeftOut": values_left_out,
                    "warnings": warnings,
                }),
            ),
        ),
        Event::Failed { frame, stage, reason } => {
            ("failed", with(write_frame(frame), json!({"stage": stage, "reason": reason})))
        }
        Event::Telemetry { device, device_name, profile, ts, codec: stamp, samples } => {
            let more = json!({"codec": stamp.as_ref().map(codec), "values": values(samples)});
            ("telemetry", with(about(*device, device_name, profile, *ts), more))
        }
        Event::Attributes { device, device_name, profile, ts, scope, samples } => {
            let more = json!({"scope": scope_name(*scope), "values": values(samples)});
            ("attributes", with(about(*device, device_name, profile, *ts), more))
        }
        Event::AttributesDeleted { device, device_name, profile, scope, keys } => {
            let more = json!({"scope": scope_name(*scope), "deleted": keys});
            ("attributes", with(about(*device, device_name, profile, now()), more))
        }
        Event::Connected { device, device_name, profile, ts } => {
            ("connected", about(*device, device_name, profile, *ts))
        }
        Event::Disconnected { device, device_name, profile, ts } => {
            ("disconnected", about(*device, device_name, profile, *ts))
        }
    }
}

fn about(device: DeviceId, device_name: &str, profile: &str, ts: Timestamp) -> Json {
    json!({
        "deviceId": device.to_string(),
        "deviceName": device_name,
        "deviceProfileName": profile,
        "ts": ts.0,
    })
}

fn write_frame(frame: &FrameFacts) -> Json {
    let more = json!({
        "topic": frame.topic,
        "payload": hex::encode(&frame.payload),
        "payloadBytes": frame.payload_bytes,
        "codec": write_codec(frame.codec.as_ref(), frame.stamp.as_ref()),
        "micros": micros(frame.nanoseconds),
    });
    with(about(frame.device, &frame.device_name, &frame.profile, frame.ts), more)
}

/// A codec that is not there has a name only; the built-in JSON has not even that.
fn write_codec(name: Option<&CodecName>, stamp: Option<&CodecStamp>) -> Json {
    match (stamp, name) {
        (Some(stamp), _) => codec(stamp),
        (None, Some(name)) => json!({"name": name.as_str(), "version": null, "hash": null}),
        (None, None) => Json::Null,
    }
}

/// With one place, which is as exact as it makes sense.
#[expect(clippy::cast_precision_loss, reason = "a tenth of a microsecond is shown")]
fn micros(nanoseconds: u64) -> f64 {
    (nanoseconds / 100) as f64 / 10.0
}

fn write_uplink(uplink: &Uplink) -> Json {
    let mut message = match &uplink.body {
        UplinkBody::Telemetry(measurements) => {
            let written = measurements.iter().map(|measurement| {
                json!({"ts": measurement.ts.map(|ts| ts.0), "values": values(&measurement.samples)})
            });
            json!({"telemetry": written.collect::<Vec<_>>()})
        }
        UplinkBody::Attributes(samples) => json!({"attributes": values(samples)}),
        UplinkBody::SharedAttributes(samples) => json!({"sharedAttributes": values(samples)}),
        UplinkBody::RpcResponse { id, payload } => json!({"rpcResponse": {"id": id, "payload": payload}}),
        UplinkBody::AttributeRequest { id, client_keys, shared_keys } => {
            json!({"attributeRequest": {"id": id, "clientKeys": client_keys, "sharedKeys": shared_keys}})
        }
        UplinkBody::ClientRpc { id, method, params } => {
            json!({"clientRpc": {"id": id, "method": method, "params": params}})
        }
        UplinkBody::Claim { duration_ms, .. } => json!({"claim": {"durationMs": duration_ms}}),
    };
    if let (Some(child), Some(members)) = (&uplink.child, message.as_object_mut()) {
        members.insert("deviceName".into(), json!(child));
    }
    message
}

fn with(mut object: Json, more: Json) -> Json {
    if let (Json::Object(members), Json::Object(more)) = (&mut object, more) {
        members.extend(more);
    }
    object
}

fn values(samples: &[Sample]) -> Json {
    let mut values = Map::new();
    for sample in samples {
        values.insert(sample.key.clone(), value_json(&sample.value));
    }
    Json::Object(values)
}

/// A value with its JSON type.
pub(crate) fn value_json(value: &Value) -> Json {
    let mut text = String::new();
    value.write_json(&mut text);
    // What `write_json` writes is JSON.
    serde_json::from_str(&text).unwrap_or(Json::String(text))
}
