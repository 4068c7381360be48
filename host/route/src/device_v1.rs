//! The long topics, `v1/devices/me/…`. Attributes and telemetry are not here: they are filters of the profile,
//! whose defaults they are.

use crate::{Family, Route, RouteError, attribute_request, rpc_request, rpc_response};

pub(crate) const ATTRIBUTES: &str = wireglot_model::profile::ATTRIBUTES_TOPIC;
pub(crate) const ATTRIBUTES_REQUEST: &str = "v1/devices/me/attributes/request/";
pub(crate) const ATTRIBUTES_RESPONSE: &str = "v1/devices/me/attributes/response/";
pub(crate) const RPC_REQUEST: &str = "v1/devices/me/rpc/request/";
pub(crate) const RPC_RESPONSE: &str = "v1/devices/me/rpc/response/";
pub(crate) const CLAIM: &str = "v1/devices/me/claim";

/// `None`: not a call of this family.
pub(crate) fn uplink(topic: &str) -> Option<Result<Route, RouteError>> {
    if let Some(id) = topic.strip_prefix(ATTRIBUTES_REQUEST) {
        return Some(attribute_request(id, Family::V1));
    }
    if let Some(id) = topic.strip_prefix(RPC_RESPONSE) {
        return Some(rpc_response(id, Family::V1));
    }
    if let Some(id) = topic.strip_prefix(RPC_REQUEST) {
        return Some(rpc_request(id, Family::V1));
    }
    (topic == CLAIM).then_some(Ok(Route::Claim))
}
