//! Dead letters: payloads that were not decoded, newest first.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use wireglot_model::DeadLetter;
use wireglot_model::limits::PAGE_ITEMS_MAX;

use crate::Api;
use crate::error::ApiError;
use crate::request::{Params, blocking};
use crate::shape::entity;
use crate::telemetry::codec;

/// Letters where nobody says how many.
const LIMIT: usize = 100;

/// `GET /api/dead-letters?deviceName&limit`
pub(crate) async fn list(State(api): State<Api>, params: Params) -> Result<Json<Value>, ApiError> {
    let device = match params.text("deviceName") {
        Some(name) => Some(api.devices.device_by_name(name).ok_or_else(ApiError::not_found)?.id()),
        None => None,
    };
    let limit = params.parsed("limit")?.unwrap_or(LIMIT).min(PAGE_ITEMS_MAX);
    let devices = api.devices.clone();
    let found = blocking(move || devices.dead_letters(device, limit)).await?;
    Ok(Json(found.iter().map(|(sequence, letter)| write(*sequence, letter)).collect()))
}

fn write(sequence: u64, letter: &DeadLetter) -> Value {
    json!({
        "sequence": sequence,
        "deviceId": entity("DEVICE", letter.device),
        "deviceName": letter.device_name,
        "deviceProfileName": letter.profile,
        "topic": letter.topic,
        "payloadHex": hex::encode(&letter.payload),
        "receivedTs": letter.received.0,
        "codec": letter.codec.as_ref().map(codec),
        "stage": letter.stage,
        "reason": letter.reason,
    })
}
