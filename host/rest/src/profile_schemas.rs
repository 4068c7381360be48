//! The protobuf part of a profile's JSON: four schemas and two flags (device profile §1.1, §3).
//!
//! Not here: whether a schema is valid, which is checked where a profile is saved (`device`).

use serde_json::{Value as Json, json};
use wireglot_model::protobuf::{RPC_REQUEST_SCHEMA, RPC_RESPONSE_SCHEMA};
use wireglot_model::{JsonCompatibility, SchemaTexts};

use crate::profile_shape::{InvalidShape, invalid, text};

const TELEMETRY: &str = "deviceTelemetryProtoSchema";
const ATTRIBUTES: &str = "deviceAttributesProtoSchema";
const RPC_REQUEST: &str = "deviceRpcRequestProtoSchema";
const RPC_RESPONSE: &str = "deviceRpcResponseProtoSchema";
const UPLINKS: &str = "enableCompatibilityWithJsonPayloadFormat";
const V1_DOWNLINKS: &str = "useJsonPayloadFormatForDefaultDownlinkTopics";

/// One that is null or empty is not given.
pub(crate) fn read_schemas(payload: &Json) -> Result<SchemaTexts, InvalidShape> {
    if !matches!(text(payload, "transportPayloadType")?, Some("PROTOBUF" | "CODEC")) {
        return Ok(SchemaTexts::default());
    }
    let schema = |name| Ok(text(payload, name)?.filter(|schema| !schema.is_empty()).map(str::to_owned));
    Ok(SchemaTexts {
        telemetry: schema(TELEMETRY)?,
        attributes: schema(ATTRIBUTES)?,
        rpc_request: schema(RPC_REQUEST)?,
        rpc_response: schema(RPC_RESPONSE)?,
    })
}

pub(crate) fn read_compatibility(payload: &Json) -> Result<JsonCompatibility, InvalidShape> {
    let flag = |name: &str| match payload.get(name) {
        None | Some(Json::Null) => Ok(false),
        Some(flag) => flag
            .as_bool()
            .ok_or_else(|| invalid(format!("[Transport Configuration] '{name}' is true or false"))),
    };
    Ok(JsonCompatibility { uplinks: flag(UPLINKS)?, v1_downlinks: flag(V1_DOWNLINKS)? })
}

/// The schemas of RPCs are shown as they are in force, with their defaults.
pub(crate) fn write_schemas(schemas: &SchemaTexts) -> Json {
    json!({
        TELEMETRY: schemas.telemetry,
        ATTRIBUTES: schemas.attributes,
        RPC_REQUEST: schemas.rpc_request.as_deref().unwrap_or(RPC_REQUEST_SCHEMA),
        RPC_RESPONSE: schemas.rpc_response.as_deref().unwrap_or(RPC_RESPONSE_SCHEMA),
    })
}

pub(crate) fn write_compatibility(compatibility: JsonCompatibility) -> Json {
    json!({UPLINKS: compatibility.uplinks, V1_DOWNLINKS: compatibility.v1_downlinks})
}
