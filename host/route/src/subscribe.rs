//! What a SUBSCRIBE filter gets: the exact strings of device API §5.3, and the profile's own one before them.

use crate::gateway::{GATEWAY_ATTRIBUTES, GATEWAY_ATTRIBUTES_RESPONSE, GATEWAY_RPC};
use crate::{Family, ProfileTopics, device_v1, device_v2};

/// What a granted filter means.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Subscription {
    /// Shared-attribute updates, on the topic of this family.
    AttributeUpdates(Family),
    /// Shared-attribute updates by the profile's own filter. They go out on `v1/devices/me/attributes` all the
    /// same, and an UNSUBSCRIBE of this filter is not one of the allowed strings (§5.4).
    AttributeUpdatesCustom,
    /// Server-side RPCs, on the topic of this family.
    Rpc(Family),
    /// Only fixes the QoS of what is published there anyway.
    Passive,
}

/// What a device of this profile gets for `filter`; `None` where it is refused.
pub fn subscription(topics: &ProfileTopics, filter: &str) -> Option<Subscription> {
    // The filter's text is tested as if it were a topic, and before the fixed strings: a profile with `#` turns
    // every subscription into one for attribute updates. The default topic says the same either way.
    if filter != device_v1::ATTRIBUTES && topics.attributes_subscribe.matches(filter) {
        return Some(Subscription::AttributeUpdatesCustom);
    }
    Some(match filter {
        device_v1::ATTRIBUTES => Subscription::AttributeUpdates(Family::V1),
        device_v2::ATTRIBUTES => Subscription::AttributeUpdates(Family::V2),
        device_v2::ATTRIBUTES_JSON => Subscription::AttributeUpdates(Family::V2Json),
        device_v2::ATTRIBUTES_PROTOBUF => Subscription::AttributeUpdates(Family::V2Protobuf),
        "v1/devices/me/rpc/request/+" => Subscription::Rpc(Family::V1),
        "v2/r/req/+" => Subscription::Rpc(Family::V2),
        "v2/r/req/j/+" => Subscription::Rpc(Family::V2Json),
        "v2/r/req/p/+" => Subscription::Rpc(Family::V2Protobuf),
        "v1/devices/me/rpc/response/+" | "v2/r/res/+" | "v2/r/res/j/+" | "v2/r/res/p/+" => {
            Subscription::Passive
        }
        "v1/devices/me/attributes/response/+" | "v2/a/res/+" | "v2/a/res/j/+" | "v2/a/res/p/+" => {
            Subscription::Passive
        }
        "v2/fw/response/+/chunk/+" | "v2/fw/error" | "v2/sw/response/+/chunk/+" | "v2/sw/error" => {
            Subscription::Passive
        }
        GATEWAY_ATTRIBUTES | GATEWAY_ATTRIBUTES_RESPONSE | GATEWAY_RPC | "v1/gateway/raw/+" => {
            Subscription::Passive
        }
        // A network server listens for what to send to its devices, and may not start where it is refused.
        _ if topics.is_wrapped => Subscription::Passive,
        _ => return None,
    })
}
