//! What the fuzz targets check. The unit tests of the crates include these files too, and replay the corpora with
//! them, so that a finding stays found without a nightly toolchain.

pub mod json_conversion;
pub mod protobuf_payload;
pub mod provision_body;
pub mod rpc_body;
pub mod sparkplug_payload;
pub mod topic_routing;

#[cfg(feature = "codec")]
pub mod codec_result;

// The module alone builds in seconds; the crate around it brings wasmtime.
#[path = "../../../host/codec/src"]
mod codec {
    pub mod native;
}
pub use codec::native;
#[cfg(feature = "codec")]
pub use wireglot_codec::fuzzing;

pub use wireglot_proto as proto;
pub use wireglot_proto::{
    DataType, ProtoSchemas, SparkplugCommand, SparkplugPayload, SparkplugValues, attribute_request, claim,
    client_rpc, provision_request, sparkplug_params, sparkplug_wrapped,
};

// A target names its subject as `crate::…`, which is the same path here and in the crate under test.
pub use wireglot_route::{
    Family, Format, ProfileTopics, Route, RouteError, Subscription, attribute_response_topic,
    attribute_update_topic, facts, matches, ota_request_id, rpc_request_topic, rpc_response_topic,
    subscription, uplink,
};
