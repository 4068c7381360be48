//! The messages of gateways (gateway API §8), which are the same for all profiles.
//!
//! The structures below are the wire format: their numbers are the gateway API's and never change.

use std::collections::HashSet;

use prost::Message as _;
use wireglot_model::gateway::{GatewayAttributeRequest, GatewayPart, GatewaySaid, PartBody};
use wireglot_model::{Measurement, Sample, Timestamp, Value, is_storable_key};

use crate::ProtoRefusal;
use crate::fixed::{attribute_delete, attribute_response, attribute_update, read, wire as fixed};

mod wire {
    //! Field by field as gateway API §8 and device API §9 have them.

    use crate::fixed::wire::{
        AttributeUpdateNotification, ClaimDevice, GetAttributeResponse, KeyValue, ToDeviceRpcRequest,
    };

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Connect {
        #[prost(string, tag = "1")]
        pub(super) device_name: String,
        #[prost(string, tag = "2")]
        pub(super) device_type: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Disconnect {
        #[prost(string, tag = "1")]
        pub(super) device_name: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct GatewayDisconnectDevice {
        #[prost(string, tag = "1")]
        pub(super) device_name: String,
        #[prost(int32, tag = "2")]
        pub(super) reason_code: i32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct TsKvList {
        #[prost(int64, tag = "1")]
        pub(super) ts: i64,
        #[prost(message, repeated, tag = "2")]
        pub(super) kv: Vec<KeyValue>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct PostTelemetry {
        #[prost(message, repeated, tag = "1")]
        pub(super) list: Vec<TsKvList>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Telemetry {
        #[prost(string, tag = "1")]
        pub(super) device_name: String,
        #[prost(message, optional, tag = "3")]
        pub(super) msg: Option<PostTelemetry>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct GatewayTelemetry {
        #[prost(message, repeated, tag = "1")]
        pub(super) msg: Vec<Telemetry>,
    }

    /// `shared` is not read: a device writes its own attributes only.
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct PostAttribute {
        #[prost(message, repeated, tag = "1")]
        pub(super) kv: Vec<KeyValue>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Attributes {
        #[prost(string, tag = "1")]
        pub(super) device_name: String,
        #[prost(message, optional, tag = "2")]
        pub(super) msg: Option<PostAttribute>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct GatewayAttributes {
        #[prost(message, repeated, tag = "1")]
        pub(super) msg: Vec<Attributes>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct GatewayAttributesRequest {
        #[prost(int32, tag = "1")]
        pub(super) id: i32,
        #[prost(string, tag = "2")]
        pub(super) device_name: String,
        #[prost(bool, tag = "3")]
        pub(super) client: bool,
        #[prost(string, repeated, tag = "4")]
        pub(super) keys: Vec<String>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct GatewayAttributeResponse {
        #[prost(string, tag = "1")]
        pub(super) device_name: String,
        #[prost(message, optional, tag = "2")]
        pub(super) response: Option<GetAttributeResponse>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct GatewayAttributeUpdate {
        #[prost(string, tag = "1")]
        pub(super) device_name: String,
        #[prost(message, optional, tag = "2")]
        pub(super) notification: Option<AttributeUpdateNotification>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct GatewayDeviceRpcRequest {
        #[prost(string, tag = "1")]
        pub(super) device_name: String,
        #[prost(message, optional, tag = "2")]
        pub(super) request: Option<ToDeviceRpcRequest>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct GatewayRpcResponse {
        #[prost(string, tag = "1")]
        pub(super) device_name: String,
        #[prost(int32, tag = "2")]
        pub(super) id: i32,
        #[prost(string, tag = "3")]
        pub(super) data: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ClaimOfDevice {
        #[prost(string, tag = "1")]
        pub(super) device_name: String,
        #[prost(message, optional, tag = "2")]
        pub(super) request: Option<ClaimDevice>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct GatewayClaim {
        #[prost(message, repeated, tag = "1")]
        pub(super) msg: Vec<ClaimOfDevice>,
    }
}

/// A ConnectMsg.
pub fn gateway_connect(payload: &[u8]) -> Result<GatewaySaid, ProtoRefusal> {
    const NAME: &str = "transportapi.ConnectMsg";
    let wire::Connect { device_name, device_type } = read(NAME, payload)?;
    let profile = Some(device_type).filter(|profile| !profile.trim().is_empty());
    Ok(GatewaySaid::Connect { device: named(NAME, device_name)?, profile })
}

/// A DisconnectMsg.
pub fn gateway_disconnect(payload: &[u8]) -> Result<GatewaySaid, ProtoRefusal> {
    const NAME: &str = "transportapi.DisconnectMsg";
    let wire::Disconnect { device_name } = read(NAME, payload)?;
    Ok(GatewaySaid::Disconnect { device: named(NAME, device_name)? })
}

/// A GatewayTelemetryMsg.
pub fn gateway_telemetry(payload: &[u8]) -> Result<GatewaySaid, ProtoRefusal> {
    const NAME: &str = "transportapi.GatewayTelemetryMsg";
    let message: wire::GatewayTelemetry = read(NAME, payload)?;
    parts(NAME, message.msg, |wire::Telemetry { device_name, msg }| {
        (device_name, measurements(msg.unwrap_or_default()))
    })
}

/// A GatewayAttributesMsg.
pub fn gateway_attributes(payload: &[u8]) -> Result<GatewaySaid, ProtoRefusal> {
    const NAME: &str = "transportapi.GatewayAttributesMsg";
    let message: wire::GatewayAttributes = read(NAME, payload)?;
    parts(NAME, message.msg, |wire::Attributes { device_name, msg }| {
        (device_name, samples(msg.unwrap_or_default().kv).map(PartBody::Attributes))
    })
}

/// A GatewayClaimMsg.
pub fn gateway_claim(payload: &[u8]) -> Result<GatewaySaid, ProtoRefusal> {
    const NAME: &str = "transportapi.GatewayClaimMsg";
    let message: wire::GatewayClaim = read(NAME, payload)?;
    parts(NAME, message.msg, |wire::ClaimOfDevice { device_name, request }| {
        let fixed::ClaimDevice { secret_key: secret, duration_ms } = request.unwrap_or_default();
        (device_name, Ok(PartBody::Claim { secret, duration_ms }))
    })
}

/// A GatewayAttributesRequestMsg.
pub fn gateway_attribute_request(payload: &[u8]) -> Result<GatewaySaid, ProtoRefusal> {
    const NAME: &str = "transportapi.GatewayAttributesRequestMsg";
    let wire::GatewayAttributesRequest { id, device_name, client, mut keys } = read(NAME, payload)?;
    let mut seen = HashSet::new();
    keys.retain(|key| seen.insert(key.clone()));
    let device = named(NAME, device_name)?;
    Ok(GatewaySaid::AttributeRequest(GatewayAttributeRequest::of_scope(device, id, client, keys)))
}

/// A GatewayRpcResponseMsg.
pub fn gateway_rpc_response(payload: &[u8]) -> Result<GatewaySaid, ProtoRefusal> {
    const NAME: &str = "transportapi.GatewayRpcResponseMsg";
    let wire::GatewayRpcResponse { device_name, id, data } = read(NAME, payload)?;
    Ok(GatewaySaid::RpcResponse { device: named(NAME, device_name)?, id, payload: data })
}

/// The parts of a message at these places, each as a message of its own. All three messages about many devices look the
/// same so far.
pub fn gateway_part_payloads(payload: &[u8], wanted: &[usize]) -> Vec<Vec<u8>> {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Parts {
        #[prost(bytes = "vec", repeated, tag = "1")]
        msg: Vec<Vec<u8>>,
    }
    let Ok(whole) = Parts::decode(payload) else { return Vec::new() };
    let one = |index: &usize| Some(Parts { msg: vec![whole.msg.get(*index)?.clone()] }.encode_to_vec());
    wanted.iter().filter_map(one).collect()
}

/// A GatewayAttributeUpdateNotificationMsg with what was written.
pub fn write_gateway_attribute_update(device: &str, samples: &[Sample]) -> Vec<u8> {
    notification(device, attribute_update(samples))
}

/// A GatewayAttributeUpdateNotificationMsg with what was deleted.
pub fn write_gateway_attribute_delete(device: &str, keys: &[String]) -> Vec<u8> {
    notification(device, attribute_delete(keys))
}

/// A GatewayDeviceRpcRequestMsg; `params` is JSON text.
pub fn write_gateway_rpc_request(device: &str, id: i32, method: &str, params: &str) -> Vec<u8> {
    let (method_name, params) = (method.to_owned(), params.to_owned());
    let request = Some(fixed::ToDeviceRpcRequest { request_id: id, method_name, params });
    wire::GatewayDeviceRpcRequest { device_name: device.to_owned(), request }.encode_to_vec()
}

/// A GatewayAttributeResponseMsg.
pub fn write_gateway_attribute_response(
    request: &GatewayAttributeRequest,
    client: &[Sample],
    shared: &[Sample],
) -> Vec<u8> {
    let mut response = attribute_response(request.id, client, shared);
    response.is_multiple = request.is_multiple(client, shared);
    wire::GatewayAttributeResponse { device_name: request.device.clone(), response: Some(response) }
        .encode_to_vec()
}

/// A GatewayDisconnectDeviceMsg.
pub fn write_gateway_disconnect(device: &str, reason: u8) -> Vec<u8> {
    let reason_code = reason.into();
    wire::GatewayDisconnectDevice { device_name: device.to_owned(), reason_code }.encode_to_vec()
}

fn notification(device: &str, notification: fixed::AttributeUpdateNotification) -> Vec<u8> {
    wire::GatewayAttributeUpdate { device_name: device.to_owned(), notification: Some(notification) }
        .encode_to_vec()
}

/// An empty list says nothing, and a part without a name is of nobody: neither can be used at all.
fn parts<P>(
    name: &str,
    messages: Vec<P>,
    read: impl Fn(P) -> (String, Result<PartBody, String>),
) -> Result<GatewaySaid, ProtoRefusal> {
    let mut parts = Vec::with_capacity(messages.len());
    for message in messages {
        let (device, body) = read(message);
        parts.push(GatewayPart { device: named(name, device)?, body });
    }
    if parts.is_empty() {
        return Err(ProtoRefusal::content(name, "msg", "says nothing of any device"));
    }
    Ok(GatewaySaid::Parts(parts))
}

fn named(name: &str, device: String) -> Result<String, ProtoRefusal> {
    if device.is_empty() {
        return Err(ProtoRefusal::content(name, "deviceName", "must not be empty"));
    }
    Ok(device)
}

fn measurements(message: wire::PostTelemetry) -> Result<PartBody, String> {
    if message.list.is_empty() {
        return Err("PostTelemetryMsg.tsKvList: is empty".to_owned());
    }
    let mut measurements = Vec::with_capacity(message.list.len());
    for wire::TsKvList { ts, kv } in message.list {
        let ts = (ts != 0).then_some(Timestamp(ts));
        measurements.push(Measurement { ts, samples: samples(kv)? });
    }
    Ok(PartBody::Telemetry { measurements, frames: Vec::new(), transits: Vec::new() })
}

fn samples(values: Vec<fixed::KeyValue>) -> Result<Vec<Sample>, String> {
    if values.is_empty() {
        return Err("kv: is empty".to_owned());
    }
    values.into_iter().map(sample).collect()
}

fn sample(value: fixed::KeyValue) -> Result<Sample, String> {
    use fixed::KeyValueType;
    let fixed::KeyValue { key, kind, bool_v, long_v, double_v, string_v, json_v } = value;
    if !is_storable_key(&key) {
        return Err("KeyValueProto.key: must be a text that is not blank".to_owned());
    }
    let value = match KeyValueType::try_from(kind) {
        Ok(KeyValueType::Boolean) => Value::Bool(bool_v),
        Ok(KeyValueType::Long) => Value::Long(long_v),
        Ok(KeyValueType::Double) => Value::Double(double_v),
        Ok(KeyValueType::Text) => Value::Text(string_v),
        Ok(KeyValueType::Json) => match serde_json::from_str::<&serde_json::value::RawValue>(&json_v) {
            Ok(_) => Value::Json(json_v),
            Err(error) => return Err(format!("KeyValueProto.json_v of '{key}': {error}")),
        },
        Err(_) => return Err(format!("KeyValueProto.type of '{key}': {kind} is no type")),
    };
    Ok(Sample { key, value })
}

#[cfg(test)]
mod tests;
