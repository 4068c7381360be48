//! What the keys of a device mean: those that it has, each under the description that its profile's codec gives.

use std::collections::HashSet;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use wireglot_codec::{CodecStatus, DescribedKeys, KeyDescription};
use wireglot_model::{CodecName, PayloadKind};

use crate::Api;
use crate::error::ApiError;
use crate::openapi::{params, schemas};
use crate::request::entity;

/// Tells what the keys of a device mean, as the codec of its profile describes them.
#[utoipa::path(
    get,
    path = "/api/plugins/telemetry/{entityType}/{entityId}/keys/timeseries/descriptions",
    operation_id = "describeTelemetryKeys",
    tag = "Telemetry",
    params(params::EntityPath),
    responses((status = 200, description = "The keys.", body = schemas::DescribedKeys)),
)]
pub(crate) async fn read(
    State(api): State<Api>,
    Path((kind, device)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let device = api.devices.device(entity(&kind, &device)?).ok_or_else(ApiError::not_found)?;
    let codec = match device.profile().profile.mqtt().map(|mqtt| mqtt.payload) {
        Some(PayloadKind::Codec { codec, .. }) => Some(codec),
        Some(PayloadKind::Json | PayloadKind::Protobuf(_)) | None => None,
    };
    let status = codec.as_ref().and_then(|codec| api.codecs.status(codec));
    let (devices, id) = (api.devices.clone(), device.id());
    let read = move || Ok(Json(write(codec.as_ref(), status.as_ref(), devices.keys(id)?)));
    api.short_reads.read(read).await
}

fn write(codec: Option<&CodecName>, status: Option<&CodecStatus>, mut keys: Vec<String>) -> Value {
    let metadata = status.and_then(|status| status.metadata.as_deref());
    let all = metadata.map_or(&[][..], |metadata| &metadata.keys);
    let described = DescribedKeys::new(all);
    keys.sort();
    let mut seen = HashSet::new();
    let present: Vec<Value> = keys
        .iter()
        .map(|key| {
            let description = described.of(key);
            seen.extend(description.map(|found| found.key.as_str()));
            write_key(key, description)
        })
        .collect();
    let absent = all.iter().filter(|key| !seen.contains(key.key.as_str()));
    json!({
        "codec": codec.map(|name| json!({
            "name": name.as_str(),
            "version": status.and_then(|status| status.version.as_deref()),
            "hash": status.and_then(|status| status.hash).map(|hash| hash.to_string()),
        })),
        "keys": present,
        "notSeen": absent.collect::<Vec<&KeyDescription>>(),
    })
}

fn write_key(key: &str, description: Option<&KeyDescription>) -> Value {
    json!({
        "key": key,
        "describedAs": description.map(|found| &found.key),
        "type": description.map(|found| found.value_type),
        "unit": description.and_then(|found| found.unit.as_ref()),
        "label": description.and_then(|found| found.label.as_ref()),
    })
}
