//! The protobuf schemas of a profile as they were written, and the JSON that its devices may use beside them.
//!
//! Not here: what a schema means and which ones are valid (`wireglot-proto`).

use serde::{Deserialize, Serialize};

/// The schema of server-side RPC requests where a profile has none of its own (device profile §4.1).
pub const RPC_REQUEST_SCHEMA: &str = "syntax =\"proto3\";\npackage rpc;\n\nmessage RpcRequestMsg {\n  \
     optional string method = 1;\n  optional int32 requestId = 2;\n  optional string params = 3;\n}";
/// The schema of the answers of devices where a profile has none of its own.
pub const RPC_RESPONSE_SCHEMA: &str =
    "syntax =\"proto3\";\npackage rpc;\n\nmessage RpcResponseMsg {\n  optional string payload = 1;\n}";

/// The schemas of a profile, as text; `None`: not given. The last top-level message of each is the one that counts.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SchemaTexts {
    /// Of telemetry.
    pub telemetry: Option<String>,
    /// Of client attributes.
    pub attributes: Option<String>,
    /// Of server-side RPCs, on their way down; [`RPC_REQUEST_SCHEMA`] by default.
    pub rpc_request: Option<String>,
    /// Of what devices answer to them; [`RPC_RESPONSE_SCHEMA`] by default.
    pub rpc_response: Option<String>,
}

impl SchemaTexts {
    /// No schema was given at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Where the devices of a protobuf profile may use JSON (device profile §3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct JsonCompatibility {
    /// A payload that is not the protobuf message is read as JSON.
    pub uplinks: bool,
    /// Downlinks of the v1 family are JSON. Counts only together with `uplinks`.
    pub v1_downlinks: bool,
}
