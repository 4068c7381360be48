//! All that can be said to a device, before it becomes bytes.

use crate::value::Sample;

/// One command or answer on its way to a device.
#[derive(Clone, PartialEq, Debug)]
pub enum Downlink {
    /// Shared attributes were written: all keys of one write.
    AttributeUpdate(Vec<Sample>),
    /// Shared attributes were deleted.
    AttributeDelete(Vec<String>),
    /// The answer to an attribute request.
    AttributeResponse {
        /// As the device chose it.
        id: i32,
        /// Client attributes found.
        client: Vec<Sample>,
        /// Shared attributes found.
        shared: Vec<Sample>,
    },
    /// A server-side RPC.
    RpcRequest {
        /// Counted per device; comes back with the response.
        id: i32,
        /// What to call.
        method: String,
        /// JSON text.
        params: String,
    },
    /// The answer to a client-side RPC.
    ClientRpcAnswer {
        /// As the device chose it.
        id: i32,
        /// Which of the calls with this id is answered: a second one replaces the first.
        ticket: u64,
        /// JSON text.
        payload: String,
    },
    /// The session ends now, for this reason.
    Close(CloseReason),
}

/// Why the server ends a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseReason {
    /// Another session of the same device took its place (0x8E).
    TakenOver,
    /// Credentials changed or the device was deleted (0x98).
    Administrative,
    /// Nothing was heard for the inactivity time-out (0x83).
    Inactive,
    /// The device did not acknowledge an RPC, and the server is set to end its sessions then (0x98).
    RpcUnacknowledged,
    /// The server shuts down (0x8B).
    ShuttingDown,
}
