//! All that a device can say, whatever bytes it said it with.

use std::collections::HashSet;

use crate::time::Timestamp;
use crate::value::Sample;

/// Samples that share one point in time.
#[derive(Clone, PartialEq, Debug)]
pub struct Measurement {
    /// `None`: the time of receipt.
    pub ts: Option<Timestamp>,
    /// In the order of the frame; of two samples with one key the later wins.
    pub samples: Vec<Sample>,
}

/// One message of a device, or of a device behind it.
#[derive(Clone, PartialEq, Debug)]
pub struct Uplink {
    /// The name of the device behind the connected one; `None`: the connected device itself.
    pub child: Option<String>,
    /// What it says.
    pub body: UplinkBody,
}

/// What a message says.
#[derive(Clone, PartialEq, Debug)]
pub enum UplinkBody {
    /// Time series.
    Telemetry(Vec<Measurement>),
    /// Client attributes.
    Attributes(Vec<Sample>),
    /// Shared attributes, which a Sparkplug node reports and the server may write. They are not told back to it.
    SharedAttributes(Vec<Sample>),
    /// The answer to a server-side RPC, as JSON text.
    RpcResponse {
        /// As it came with the request.
        id: i32,
        /// JSON text.
        payload: String,
    },
    /// A request for attribute values. Both lists empty: everything of both scopes.
    AttributeRequest {
        /// Chosen by the device.
        id: i32,
        /// Client attributes asked for.
        client_keys: Vec<String>,
        /// Shared attributes asked for.
        shared_keys: Vec<String>,
    },
    /// A client-side RPC.
    ClientRpc {
        /// Chosen by the device.
        id: i32,
        /// What to call.
        method: String,
        /// JSON text.
        params: String,
    },
    /// Whoever knows the secret may claim the device.
    Claim {
        /// May be empty.
        secret: String,
        /// For how long, in milliseconds; 0 or less: as long as the server allows by default.
        duration_ms: i64,
    },
}

/// What one frame meant.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Decoded {
    /// In the order of the frame.
    pub uplinks: Vec<Uplink>,
    /// Remarks for the operator.
    pub warnings: Vec<String>,
}

/// The keys of an attribute request, split as Java splits: no trimming, trailing empty pieces dropped, an empty text is
/// one empty piece. Duplicates merge.
pub fn split_keys(list: &str) -> Vec<String> {
    let list = if list.is_empty() { list } else { list.trim_end_matches(',') };
    let mut seen = HashSet::new();
    let pieces = list.split(',').filter(|piece| seen.insert(*piece));
    pieces.map(str::to_owned).collect()
}
