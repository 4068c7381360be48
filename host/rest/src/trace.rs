//! The live trace: what happens, as server-sent events, until the client leaves or the server stops.

use std::convert::Infallible;

use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{Event as SseEvent, KeepAlive};
use futures_util::Stream;
use serde_json::{Map, Value as Json, json};
use tokio::sync::{OwnedSemaphorePermit, watch};
use wireglot_bus::{Event, FeedItem, FeedReceiver};
use wireglot_model::Sample;

use crate::Api;
use crate::attributes::scope_name;
use crate::error::ApiError;
use crate::request::Params;
use crate::telemetry::codec;

/// How soon a client that was turned away may ask again.
const RETRY_S: u64 = 5;

/// One listener; its place is free again when it is dropped.
struct Listener {
    feed: FeedReceiver,
    device: Option<String>,
    stopping: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
}

/// `GET /api/trace?deviceName=`
pub(crate) async fn listen(
    State(api): State<Api>,
    params: Params,
) -> Result<Sse<impl Stream<Item = Result<SseEvent, Infallible>>>, ApiError> {
    let place = api.traces.clone().try_acquire_owned();
    let listener = Listener {
        _place: place.map_err(|_full| ApiError::too_many_requests(RETRY_S))?,
        feed: api.bus.feed(),
        device: params.text("deviceName").map(str::to_owned),
        stopping: api.stopping.clone(),
    };
    let events = futures_util::stream::unfold(listener, |mut listener| async move {
        let (name, data) = listener.next().await?;
        let event = SseEvent::default().event(name).data(data.to_string());
        Some((Ok(event), listener))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

impl Listener {
    async fn next(&mut self) -> Option<(&'static str, Json)> {
        loop {
            let item = tokio::select! {
                item = self.feed.recv() => item?,
                _ = self.stopping.wait_for(|stopping| *stopping) => return None,
            };
            match item {
                FeedItem::Missed(events) => return Some(("missed", json!({"events": events}))),
                FeedItem::Event(event) => {
                    if self.device.as_deref().is_none_or(|device| device == device_name(&event)) {
                        return Some(write(&event));
                    }
                }
            }
        }
    }
}

fn device_name(event: &Event) -> &str {
    match event {
        Event::Telemetry { device_name, .. }
        | Event::Attributes { device_name, .. }
        | Event::Failed { device_name, .. }
        | Event::Connected { device_name, .. }
        | Event::Disconnected { device_name, .. } => device_name,
    }
}

fn write(event: &Event) -> (&'static str, Json) {
    match event {
        Event::Telemetry { device, device_name, profile, ts, codec: stamp, samples } => (
            "telemetry",
            json!({
                "deviceId": device.to_string(),
                "deviceName": &**device_name,
                "deviceProfileName": &**profile,
                "ts": ts.0,
                "codec": stamp.as_ref().map(codec),
                "values": values(samples),
            }),
        ),
        Event::Attributes { device, device_name, ts, scope, samples } => (
            "attributes",
            json!({
                "deviceId": device.to_string(),
                "deviceName": &**device_name,
                "ts": ts.0,
                "scope": scope_name(*scope),
                "values": values(samples),
            }),
        ),
        Event::Failed {
            device,
            device_name,
            profile,
            topic,
            ts,
            codec: stamp,
            stage,
            reason,
            payload_bytes,
        } => (
            "failed",
            json!({
                "deviceId": device.to_string(),
                "deviceName": &**device_name,
                "deviceProfileName": &**profile,
                "topic": topic,
                "ts": ts.0,
                "codec": stamp.as_ref().map(codec),
                "stage": stage,
                "reason": reason,
                "payloadBytes": payload_bytes,
            }),
        ),
        Event::Connected { device, device_name, ts } => {
            ("connected", json!({"deviceId": device.to_string(), "deviceName": &**device_name, "ts": ts.0}))
        }
        Event::Disconnected { device, device_name, ts } => (
            "disconnected",
            json!({"deviceId": device.to_string(), "deviceName": &**device_name, "ts": ts.0}),
        ),
    }
}

fn values(samples: &[Sample]) -> Json {
    let mut values = Map::new();
    for sample in samples {
        let mut text = String::new();
        sample.value.write_json(&mut text);
        // What `write_json` writes is JSON.
        values.insert(sample.key.clone(), serde_json::from_str(&text).unwrap_or(Json::String(text)));
    }
    Json::Object(values)
}
