//! The topics of gateways (gateway API §2), which are compared exactly.

/// What a publish of a gateway is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum GatewayUplink<'t> {
    /// A message in the format of the gateway.
    Call(GatewayRoute),
    /// A frame of the device of this name, for the codec of its profile.
    Raw(&'t str),
}

/// What a message of a gateway means for the devices behind it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum GatewayRoute {
    /// A device is there.
    Connect,
    /// A device has gone.
    Disconnect,
    /// Telemetry of some devices.
    Telemetry,
    /// Client attributes of some devices.
    Attributes,
    /// A device asks for attribute values.
    AttributeRequest,
    /// A device answers a server-side RPC.
    RpcResponse,
    /// Some devices may be claimed.
    Claim,
}

/// The beginning of all of them, which no filter of a profile takes.
pub const GATEWAY_PREFIX: &str = "v1/gateway";
/// Where shared-attribute updates of devices behind a gateway go.
pub const GATEWAY_ATTRIBUTES: &str = "v1/gateway/attributes";
/// Where answers to their attribute requests go.
pub const GATEWAY_ATTRIBUTES_RESPONSE: &str = "v1/gateway/attributes/response";
/// Where their RPCs go, and where they are answered.
pub const GATEWAY_RPC: &str = "v1/gateway/rpc";
/// Where a device goes, and where the server tells that it has let one go.
pub const GATEWAY_DISCONNECT: &str = "v1/gateway/disconnect";
const RAW: &str = "v1/gateway/raw/";

/// What a publish on `topic` means; `None`: nothing.
pub fn gateway_uplink(topic: &str) -> Option<GatewayUplink<'_>> {
    Some(GatewayUplink::Call(match topic {
        GATEWAY_ATTRIBUTES => GatewayRoute::Attributes,
        GATEWAY_RPC => GatewayRoute::RpcResponse,
        GATEWAY_DISCONNECT => GatewayRoute::Disconnect,
        "v1/gateway/connect" => GatewayRoute::Connect,
        "v1/gateway/telemetry" => GatewayRoute::Telemetry,
        "v1/gateway/attributes/request" => GatewayRoute::AttributeRequest,
        "v1/gateway/claim" => GatewayRoute::Claim,
        _ => {
            let device = topic.strip_prefix(RAW).filter(|name| !name.is_empty())?;
            return Some(GatewayUplink::Raw(device));
        }
    }))
}

/// Where bytes of a codec go to the device of this name, and where its frames come from.
pub fn gateway_raw_topic(device: &str) -> String {
    format!("{RAW}{device}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_of_gateways_are_compared_exactly() {
        for (topic, route) in [
            ("v1/gateway/connect", Some(GatewayUplink::Call(GatewayRoute::Connect))),
            ("v1/gateway/disconnect", Some(GatewayUplink::Call(GatewayRoute::Disconnect))),
            ("v1/gateway/telemetry", Some(GatewayUplink::Call(GatewayRoute::Telemetry))),
            ("v1/gateway/attributes", Some(GatewayUplink::Call(GatewayRoute::Attributes))),
            ("v1/gateway/attributes/request", Some(GatewayUplink::Call(GatewayRoute::AttributeRequest))),
            ("v1/gateway/rpc", Some(GatewayUplink::Call(GatewayRoute::RpcResponse))),
            ("v1/gateway/claim", Some(GatewayUplink::Call(GatewayRoute::Claim))),
            ("v1/gateway/raw/Device A/1", Some(GatewayUplink::Raw("Device A/1"))),
            ("v1/gateway/raw/", None),
            ("v1/gateway/raw", None),
            ("v1/gateway", None),
            ("v1/gateway/foo", None), // 374
            ("v1/gateway/telemetry/", None),
            ("v1/gateway/attributes/response", None),
            ("v2/gateway/telemetry", None),
        ] {
            assert_eq!(gateway_uplink(topic), route, "{topic}");
        }
        assert_eq!(gateway_uplink(&gateway_raw_topic("a/b")), Some(GatewayUplink::Raw("a/b")));
    }
}
