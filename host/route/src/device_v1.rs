//! The long topics, `v1/devices/me/…`. Attributes and telemetry are not here: they are filters of the profile,
//! whose defaults they are.

use crate::{Family, Route, RouteError, attribute_request};

pub(crate) const ATTRIBUTES: &str = wireglot_model::profile::ATTRIBUTES_TOPIC;
const ATTRIBUTES_REQUEST: &str = "v1/devices/me/attributes/request/";
pub(crate) const ATTRIBUTES_RESPONSE: &str = "v1/devices/me/attributes/response/";

/// `None`: not a call of this family.
pub(crate) fn uplink(topic: &str) -> Option<Result<Route, RouteError>> {
    topic.strip_prefix(ATTRIBUTES_REQUEST).map(|id| attribute_request(id, Family::V1))
}
