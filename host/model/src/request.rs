//! One request of a device that holds no connection, and what it is answered; neither HTTP nor MQTT.

use std::net::IpAddr;
use std::sync::Arc;

use crate::ota::{OtaKind, OtaPackage};

/// A request on its way to the worker that serves it.
pub struct DeviceRequest {
    /// From where.
    pub address: Option<IpAddr>,
    /// What for.
    pub wish: Wish,
}

/// What is wanted, and by whom.
pub enum Wish {
    /// Somebody without a device asks for one, in the words of the device API.
    Provision(Vec<u8>),
    /// The device of this access token wants something.
    OfDevice {
        /// As it was sent.
        token: String,
        /// The device insists on JSON where its profile speaks in other bytes.
        is_json: bool,
        /// What it wants.
        call: DeviceCall,
    },
}

/// What a device can want of one request. Payloads are as a publish of the device would have them.
pub enum DeviceCall {
    /// Nothing: whether the token is known is all that it tells.
    Greeting,
    /// Takes telemetry.
    Telemetry {
        /// As the profile reads it.
        payload: Vec<u8>,
        /// What a network server calls the event, where it says so beside the payload.
        event: Option<String>,
    },
    /// Takes client attributes.
    Attributes(Vec<u8>),
    /// Tells attributes; all of them where no key is named.
    ReadAttributes {
        /// Of the client scope.
        client_keys: Vec<String>,
        /// Of the shared scope.
        shared_keys: Vec<String>,
    },
    /// Waits for the next change of shared attributes.
    AwaitUpdate {
        /// For so long.
        timeout_ms: u32,
    },
    /// Waits for the next server-side RPC.
    AwaitRpc {
        /// For so long.
        timeout_ms: u32,
    },
    /// Takes the answer to a server-side RPC.
    RpcResponse {
        /// The request id of the RPC.
        id: i32,
        /// The answer.
        payload: Vec<u8>,
    },
    /// Answers a client-side RPC.
    ClientRpc(Vec<u8>),
    /// Lets whoever knows a secret claim the device.
    Claim(Vec<u8>),
    /// Tells where a part of the device's package is.
    Package {
        /// Which package.
        kind: OtaKind,
        /// The number of the part.
        chunk: u32,
        /// Its length in bytes; 0: everything.
        size: u64,
    },
}

/// What a request is answered.
#[derive(Clone, PartialEq, Debug)]
pub enum DeviceAnswer {
    /// What it says is taken, and what that changes is durable.
    Taken,
    /// This.
    Said {
        /// As a publish to the device would have it.
        payload: Vec<u8>,
        /// The request id, where it is a server-side RPC.
        rpc: Option<i32>,
    },
    /// A part of the file of this package.
    Part {
        /// Whose file it is.
        package: Arc<OtaPackage>,
        /// Where the part begins.
        offset: u64,
        /// How long it is.
        bytes: u64,
    },
    /// Nothing of it.
    Refused(RequestRefusal),
}

/// Why a request is not served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RequestRefusal {
    /// No device has this token, or none any more.
    UnknownToken,
    /// The device is of a kind that speaks another protocol.
    OtherTransport,
    /// Too many unknown tokens in a row came from this address.
    AddressBlocked,
    /// A rate limit was passed.
    RateLimited,
    /// What was said cannot be used, for this reason.
    Unusable(String),
    /// There was nothing to say in time, or a newer request waits in its place.
    NoAnswer,
    /// As many requests of all devices wait as may.
    TooManyWaiting,
    /// The device is to have no package of this kind, or none with a file.
    NoPackage,
    /// As many requests wait for a worker as may.
    Busy,
    /// The server stops.
    Stopping,
    /// We could not do our part.
    Failed,
}
