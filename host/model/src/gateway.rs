//! What a gateway says for the devices behind it (gateway API §3), whatever bytes it said it with.

use crate::time::Timestamp;
use crate::uplink::Measurement;
use crate::value::Sample;

/// One message of a gateway.
#[derive(Clone, PartialEq, Debug)]
pub enum GatewaySaid {
    /// A device is there.
    Connect {
        /// Its name.
        device: String,
        /// The name of the profile that it gets where it is new; `None`: the default one.
        profile: Option<String>,
    },
    /// A device has gone.
    Disconnect {
        /// Its name.
        device: String,
    },
    /// What some devices say. Never empty.
    Parts(Vec<GatewayPart>),
    /// A device asks for attribute values.
    AttributeRequest(GatewayAttributeRequest),
    /// A device answers a server-side RPC.
    RpcResponse {
        /// Its name.
        device: String,
        /// As it came with the request.
        id: i32,
        /// JSON text, or whatever text a protobuf message had.
        payload: String,
    },
}

/// What one device says in a message about many.
#[derive(Clone, PartialEq, Debug)]
pub struct GatewayPart {
    /// Its name; not looked at yet.
    pub device: String,
    /// What it says, or why that cannot be read.
    pub body: Result<PartBody, String>,
}

/// What a part says.
#[derive(Clone, PartialEq, Debug)]
pub enum PartBody {
    /// Time series.
    Telemetry {
        /// Values, those of `frames` left out.
        measurements: Vec<Measurement>,
        /// Elements that are frames for a codec, if the device has one.
        frames: Vec<RawElement>,
        /// How long the elements took to come here, as far as the gateway says.
        transits: Vec<Transit>,
    },
    /// Client attributes.
    Attributes(Vec<Sample>),
    /// Whoever knows the secret may claim the device.
    Claim {
        /// May be empty.
        secret: String,
        /// For how long, in milliseconds; 0 or less: as long as the server allows by default.
        duration_ms: i64,
    },
}

/// An element that says only `raw`: a frame of a device that has a codec, a value of any other.
#[derive(Clone, PartialEq, Debug)]
pub struct RawElement {
    /// When the frame was received; `None`: now.
    pub ts: Option<Timestamp>,
    /// The frame in base64.
    pub base64: String,
    /// What it is where there is no codec.
    pub otherwise: Measurement,
}

/// When an element passed through the gateway, in milliseconds since 1970.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transit {
    /// The gateway's connector.
    pub connector: String,
    /// When the gateway got it.
    pub received: i64,
    /// When the gateway published it.
    pub published: i64,
}

/// A device behind a gateway asks for attribute values.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GatewayAttributeRequest {
    /// Its name.
    pub device: String,
    /// Chosen by the gateway.
    pub id: i32,
    /// Client attributes asked for, each once.
    pub client_keys: Vec<String>,
    /// Shared attributes asked for, each once. Both lists empty: everything of both scopes.
    pub shared_keys: Vec<String>,
}

impl GatewayAttributeRequest {
    /// One scope, or everything where there are no keys.
    pub fn of_scope(device: String, id: i32, is_client: bool, keys: Vec<String>) -> Self {
        let (client_keys, shared_keys) = if is_client { (keys, Vec::new()) } else { (Vec::new(), keys) };
        Self { device, id, client_keys, shared_keys }
    }

    /// Whether the answer has `values`, not one `value`: several keys were asked for, or everything, and a scope has
    /// several.
    pub fn is_multiple(&self, client: &[Sample], shared: &[Sample]) -> bool {
        match self.client_keys.len() + self.shared_keys.len() {
            0 => client.len() > 1 || shared.len() > 1,
            keys => keys > 1,
        }
    }
}

/// Why a message of a gateway cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GatewayRefusal {
    /// The bytes are not of the format that is due.
    Malformed(String),
    /// They are, but do not say what the call takes.
    Structure(String),
}
