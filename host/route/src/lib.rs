//! Topics to meanings and back. Pure: no payload, no I/O, no allocation on the way up.
//!
//! Read in this order: what a profile brings along (`ProfileTopics`), what a publish means (`uplink`, `facts`), what a
//! SUBSCRIBE gets (`subscription`), what gateways say (`gateway.rs`) and what edge nodes of Sparkplug (`sparkplug.rs`),
//! where answers go (the two `…_topic` functions), and how a filter matches
//! (`filter.rs`). The order of the tests in `uplink` is the order of device API §5.1 and is visible to devices:
//! a wide filter of a profile takes the topics of the calls that come after it.

mod device_v1;
mod device_v2;
mod filter;
mod gateway;
mod sparkplug;
mod subscribe;

pub use filter::matches;
pub use gateway::{
    GATEWAY_ATTRIBUTES, GATEWAY_ATTRIBUTES_RESPONSE, GATEWAY_DISCONNECT, GATEWAY_PREFIX, GATEWAY_RPC,
    GatewayRoute, GatewayUplink, gateway_raw_topic, gateway_uplink,
};
pub use sparkplug::{
    SparkplugRoute, SparkplugTopic, SparkplugTopicError, SparkplugType, Verb, is_sparkplug_filter, sparkplug,
    sparkplug_command_topic,
};
pub use subscribe::{Subscription, subscription};

use filter::{NamedTopicFilter, TopicFilter};
use wireglot_model::OtaKind;
use wireglot_model::profile::{MqttTransport, PayloadKind};

/// The topics of one profile, parsed once.
#[derive(Clone, Debug)]
pub struct ProfileTopics {
    attributes: NamedTopicFilter,
    telemetry: NamedTopicFilter,
    attributes_subscribe: TopicFilter,
    is_wrapped: bool,
}

impl ProfileTopics {
    pub fn new(mqtt: &MqttTransport) -> Self {
        Self {
            attributes: NamedTopicFilter::new(&mqtt.attributes_topic),
            telemetry: NamedTopicFilter::new(&mqtt.telemetry_topic),
            attributes_subscribe: TopicFilter::new(&mqtt.attributes_subscribe_topic),
            is_wrapped: matches!(mqtt.payload, PayloadKind::Codec { wrapping: Some(_), .. }),
        }
    }

    /// A topic for telemetry that came without one: the profile's own, where it is one, or else the short one.
    pub fn telemetry_topic(&self) -> &str {
        self.telemetry.fixed().unwrap_or(device_v2::TELEMETRY)
    }

    /// A topic for client attributes that came without one, likewise.
    pub fn attributes_topic(&self) -> &str {
        self.attributes.fixed().unwrap_or(device_v2::ATTRIBUTES)
    }
}

/// How a payload is read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Format {
    /// As the profile says.
    Profile,
    /// JSON, whatever the profile says.
    Json,
    /// Protobuf, whatever the profile says.
    Protobuf,
}

/// The spellings of the device API. An answer goes out in the family that its request came in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Family {
    /// `v1/devices/me/…`
    V1,
    /// `v2/…`
    V2,
    /// `v2/…/j`
    V2Json,
    /// `v2/…/p`
    V2Protobuf,
}

impl Family {
    /// How payloads of this family are read and written.
    pub fn format(self) -> Format {
        match self {
            Family::V1 | Family::V2 => Format::Profile,
            Family::V2Json => Format::Json,
            Family::V2Protobuf => Format::Protobuf,
        }
    }
}

/// What a publish of a device means.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Route {
    Telemetry(Format),
    Attributes(Format),
    /// The device asks for attribute values. A negative `id` is acknowledged but never answered (§11.2).
    AttributeRequest {
        id: i32,
        family: Family,
    },
    /// The answer to a server-side RPC.
    RpcResponse {
        id: i32,
        family: Family,
    },
    /// A client-side RPC.
    RpcRequest {
        id: i32,
        family: Family,
    },
    /// The device lets whoever knows its secret claim it.
    Claim,
    /// One chunk of a firmware or software package; `ota_request_id` gives the id of the download.
    OtaChunk {
        kind: OtaKind,
        chunk: u32,
    },
}

/// Why a publish has no meaning.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RouteError {
    /// Nothing listens there; the session goes on (§5.1, row 16).
    #[error("the topic belongs to no call of the device API and to no filter of the profile")]
    UnknownTopic,
    /// Answered like a payload that cannot be read (§6.3).
    #[error("the request id in the topic is not a 32-bit signed integer")]
    InvalidId,
}

/// What a publish on `topic` means for a device of this profile.
pub fn uplink(topics: &ProfileTopics, topic: &str) -> Result<Route, RouteError> {
    // The gateway API is out of reach of every filter, `#` included.
    if topic.starts_with(GATEWAY_PREFIX) {
        return Err(RouteError::UnknownTopic);
    }
    if topics.attributes.matches(topic) {
        return Ok(Route::Attributes(Format::Profile));
    }
    if topics.telemetry.matches(topic) {
        return Ok(Route::Telemetry(Format::Profile));
    }
    device_v1::uplink(topic).or_else(|| device_v2::uplink(topic)).unwrap_or(Err(RouteError::UnknownTopic))
}

/// What the named segments of the profile's filter say about a publish on `topic`: name and value.
pub fn facts<'a>(topics: &'a ProfileTopics, topic: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let ProfileTopics { attributes, telemetry, .. } = topics;
    let has_names = attributes.has_names() || telemetry.has_names();
    // The same order as in `uplink`. Most profiles have no names, and then nothing is compared.
    let filter = if has_names && attributes.matches(topic) { attributes } else { telemetry };
    filter.facts(topic)
}

/// Where shared-attribute updates go to a device that subscribed in this family.
pub fn attribute_update_topic(family: Family) -> &'static str {
    match family {
        Family::V1 => device_v1::ATTRIBUTES,
        Family::V2 => device_v2::ATTRIBUTES,
        Family::V2Json => device_v2::ATTRIBUTES_JSON,
        Family::V2Protobuf => device_v2::ATTRIBUTES_PROTOBUF,
    }
}

/// Where a device asks for attributes in this family.
pub fn attribute_request_topic(family: Family, id: i32) -> String {
    let prefix = match family {
        Family::V1 => device_v1::ATTRIBUTES_REQUEST,
        Family::V2 => device_v2::ATTRIBUTES_REQUEST,
        Family::V2Json => device_v2::ATTRIBUTES_REQUEST_JSON,
        Family::V2Protobuf => device_v2::ATTRIBUTES_REQUEST_PROTOBUF,
    };
    format!("{prefix}{id}")
}

/// Where the answer to an attribute request of this family goes.
pub fn attribute_response_topic(family: Family, id: i32) -> String {
    let prefix = match family {
        Family::V1 => device_v1::ATTRIBUTES_RESPONSE,
        Family::V2 => device_v2::ATTRIBUTES_RESPONSE,
        Family::V2Json => device_v2::ATTRIBUTES_RESPONSE_JSON,
        Family::V2Protobuf => device_v2::ATTRIBUTES_RESPONSE_PROTOBUF,
    };
    format!("{prefix}{id}")
}

/// Where a server-side RPC goes to a device that subscribed in this family.
pub fn rpc_request_topic(family: Family, id: i32) -> String {
    let prefix = match family {
        Family::V1 => device_v1::RPC_REQUEST,
        Family::V2 => device_v2::RPC_REQUEST,
        Family::V2Json => device_v2::RPC_REQUEST_JSON,
        Family::V2Protobuf => device_v2::RPC_REQUEST_PROTOBUF,
    };
    format!("{prefix}{id}")
}

/// Where the answer to a client-side RPC of this family goes.
pub fn rpc_response_topic(family: Family, id: i32) -> String {
    let prefix = match family {
        Family::V1 => device_v1::RPC_RESPONSE,
        Family::V2 => device_v2::RPC_RESPONSE,
        Family::V2Json => device_v2::RPC_RESPONSE_JSON,
        Family::V2Protobuf => device_v2::RPC_RESPONSE_PROTOBUF,
    };
    format!("{prefix}{id}")
}

/// Where a device lets itself be claimed.
pub const CLAIM: &str = device_v1::CLAIM;

/// The id that a device gave to its download, digits of any length, in a topic that is an `OtaChunk`.
pub fn ota_request_id(topic: &str) -> &str {
    device_v2::ota_request_id(topic)
}

/// Where a chunk goes: `id` and `chunk` as the device asked for it.
pub fn ota_response_topic(kind: OtaKind, id: &str, chunk: u32) -> String {
    format!("v2/{}/response/{id}/chunk/{chunk}", kind.prefix())
}

/// Where a device is told that it gets no chunk.
pub fn ota_error_topic(kind: OtaKind) -> &'static str {
    match kind {
        OtaKind::Firmware => "v2/fw/error",
        OtaKind::Software => "v2/sw/error",
    }
}

fn attribute_request(id: &str, family: Family) -> Result<Route, RouteError> {
    let id = id.parse().map_err(|_| RouteError::InvalidId)?;
    Ok(Route::AttributeRequest { id, family })
}

fn rpc_request(id: &str, family: Family) -> Result<Route, RouteError> {
    let id = id.parse().map_err(|_| RouteError::InvalidId)?;
    Ok(Route::RpcRequest { id, family })
}

fn rpc_response(id: &str, family: Family) -> Result<Route, RouteError> {
    let id = id.parse().map_err(|_| RouteError::InvalidId)?;
    Ok(Route::RpcResponse { id, family })
}

#[cfg(test)]
mod tests;
