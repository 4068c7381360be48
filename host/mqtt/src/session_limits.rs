//! `getSessionLimits`: a client-side RPC that the server answers itself, for every device and whatever its profile
//! (device API §13.1).
//!
//! It is asked before anything is counted or taken for a sign of life, in JSON or, where the profile is, in protobuf.

use std::fmt::Write as _;

use ntex::util::ByteString;
use wireglot_codec::native;
use wireglot_model::limits::{IN_FLIGHT_MAX, PACKET_BYTES_MAX};
use wireglot_model::{LevelLimits, RateKind, RateLimit, Value};
use wireglot_proto as proto;
use wireglot_route::{Family, Format, Route, rpc_response_topic, uplink};

use crate::deliver;
use crate::profile::ProfileView;
use crate::publish::Incoming;
use crate::session::Session;

const TOPIC: &str = "v1/devices/me/rpc/request/";
const METHOD: &str = "getSessionLimits";

/// The id of the request, where this is one. On the short topics it is a method like any other.
pub(crate) fn asked(view: &ProfileView, incoming: &Incoming<'_>) -> Option<i32> {
    if !incoming.topic.starts_with(TOPIC) {
        return None;
    }
    let Ok(Route::RpcRequest { id, family: Family::V1 }) = uplink(&view.topics, incoming.topic) else {
        return None;
    };
    if view.dialect.reads(Format::Profile)
        && let Ok((method, _)) = proto::client_rpc(incoming.payload)
    {
        return (method == METHOD).then_some(id);
    }
    if view.dialect.reads(Format::Profile) && !view.dialect.reads_json_too(Format::Profile) {
        return None;
    }
    let members = native::attributes(incoming.payload).ok()?;
    let method = members.iter().find(|member| member.key == "method")?;
    matches!(&method.value, Value::Text(method) if method == METHOD).then_some(id)
}

/// Publishes the answer.
pub(crate) fn answer(session: &Session, id: i32) {
    let limits = session.worker.devices.rate_limits();
    let is_gateway = session.device.is_gateway();
    let mut json = format!(
        "{{\"maxPayloadSize\":{PACKET_BYTES_MAX},\"maxInflightMessages\":{IN_FLIGHT_MAX},\"rateLimits\":"
    );
    // Ruling 3: a gateway's own come first, those of the devices behind it after them.
    write_level(&mut json, if is_gateway { &limits.gateway } else { &limits.device });
    if is_gateway {
        json.push_str(",\"gatewayRateLimits\":");
        write_level(&mut json, &limits.gateway_device);
    }
    json.push('}');
    let is_protobuf = session.view().dialect.writes(Family::V1);
    let payload = if is_protobuf { proto::write_client_rpc_answer(id, &json).into() } else { json.into() };
    deliver::publish(session, ByteString::from(rpc_response_topic(Family::V1, id)), payload);
}

fn write_level(json: &mut String, limits: &LevelLimits) {
    let names = ["messages", "telemetryMessages", "telemetryDataPoints"];
    for (index, (name, kind)) in names.into_iter().zip(RateKind::ALL).enumerate() {
        json.push(if index == 0 { '{' } else { ',' });
        // A limit is digits, colons and commas: nothing to escape.
        match limits.of(kind).map(RateLimit::text) {
            Some(text) => write!(json, "\"{name}\":\"{text}\""),
            None => write!(json, "\"{name}\":null"),
        }
        .expect("writing to a String cannot fail");
    }
    json.push('}');
}
