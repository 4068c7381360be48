//! The short topics, `v2/…`, which work whatever filters the profile has.

use crate::{Family, Format, Route, RouteError, attribute_request};

pub(crate) const ATTRIBUTES: &str = "v2/a";
pub(crate) const ATTRIBUTES_JSON: &str = "v2/a/j";
pub(crate) const ATTRIBUTES_PROTOBUF: &str = "v2/a/p";
pub(crate) const ATTRIBUTES_RESPONSE: &str = "v2/a/res/";
pub(crate) const ATTRIBUTES_RESPONSE_JSON: &str = "v2/a/res/j/";
pub(crate) const ATTRIBUTES_RESPONSE_PROTOBUF: &str = "v2/a/res/p/";

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
        other => return other.strip_prefix("a/req/").map(request),
    };
    Some(Ok(route))
}

fn request(rest: &str) -> Result<Route, RouteError> {
    if let Some(id) = rest.strip_prefix("j/") {
        attribute_request(id, Family::V2Json)
    } else if let Some(id) = rest.strip_prefix("p/") {
        attribute_request(id, Family::V2Protobuf)
    } else {
        attribute_request(rest, Family::V2)
    }
}
