//! The short topics, `v2/…`, which work whatever filters the profile has.

use wireglot_model::OtaKind;

use crate::{Family, Format, Route, RouteError, attribute_request, rpc_request, rpc_response};

pub(crate) const TELEMETRY: &str = "v2/t";
pub(crate) const ATTRIBUTES: &str = "v2/a";
pub(crate) const ATTRIBUTES_JSON: &str = "v2/a/j";
pub(crate) const ATTRIBUTES_PROTOBUF: &str = "v2/a/p";
pub(crate) const ATTRIBUTES_REQUEST: &str = "v2/a/req/";
pub(crate) const ATTRIBUTES_REQUEST_JSON: &str = "v2/a/req/j/";
pub(crate) const ATTRIBUTES_REQUEST_PROTOBUF: &str = "v2/a/req/p/";
pub(crate) const ATTRIBUTES_RESPONSE: &str = "v2/a/res/";
pub(crate) const ATTRIBUTES_RESPONSE_JSON: &str = "v2/a/res/j/";
pub(crate) const ATTRIBUTES_RESPONSE_PROTOBUF: &str = "v2/a/res/p/";
pub(crate) const RPC_REQUEST: &str = "v2/r/req/";
pub(crate) const RPC_REQUEST_JSON: &str = "v2/r/req/j/";
pub(crate) const RPC_REQUEST_PROTOBUF: &str = "v2/r/req/p/";
pub(crate) const RPC_RESPONSE: &str = "v2/r/res/";
pub(crate) const RPC_RESPONSE_JSON: &str = "v2/r/res/j/";
pub(crate) const RPC_RESPONSE_PROTOBUF: &str = "v2/r/res/p/";

/// `None`: not a call of this family.
pub(crate) fn uplink(topic: &str) -> Option<Result<Route, RouteError>> {
    let call = topic.strip_prefix("v2/")?;
    let route = match call {
        "t" => Route::Telemetry(Format::Profile),
        "t/j" => Route::Telemetry(Format::Json),
        "t/p" => Route::Telemetry(Format::Protobuf),
        "a" => Route::Attributes(Format::Profile),
        "a/j" => Route::Attributes(Format::Json),
        "a/p" => Route::Attributes(Format::Protobuf),
        other => return numbered(other),
    };
    Some(Ok(route))
}

fn numbered(call: &str) -> Option<Result<Route, RouteError>> {
    if let Some(rest) = call.strip_prefix("fw/") {
        return ota_chunk(OtaKind::Firmware, rest);
    }
    if let Some(rest) = call.strip_prefix("sw/") {
        return ota_chunk(OtaKind::Software, rest);
    }
    if let Some(rest) = call.strip_prefix("r/res/") {
        return Some(in_family(rest, rpc_response));
    }
    if let Some(rest) = call.strip_prefix("r/req/") {
        return Some(in_family(rest, rpc_request));
    }
    call.strip_prefix("a/req/").map(|rest| in_family(rest, attribute_request))
}

fn in_family(
    rest: &str,
    request: fn(&str, Family) -> Result<Route, RouteError>,
) -> Result<Route, RouteError> {
    if let Some(id) = rest.strip_prefix("j/") {
        request(id, Family::V2Json)
    } else if let Some(id) = rest.strip_prefix("p/") {
        request(id, Family::V2Protobuf)
    } else {
        request(rest, Family::V2)
    }
}

/// `request/{id}/chunk/{number}`, both of them digits.
fn ota_chunk(kind: OtaKind, rest: &str) -> Option<Result<Route, RouteError>> {
    let (id, number) = rest.strip_prefix("request/")?.split_once("/chunk/")?;
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(id) || !is_digits(number) {
        return None;
    }
    let chunk = number.parse().ok().filter(|number| i32::try_from(*number).is_ok());
    Some(chunk.map(|chunk| Route::OtaChunk { kind, chunk }).ok_or(RouteError::InvalidId))
}

/// The id that a device gave to its download, in a topic that is an `OtaChunk`.
pub(crate) fn ota_request_id(topic: &str) -> &str {
    topic.split('/').nth(3).unwrap_or_default()
}
