//! Codecs: what turns a device's bytes into values, and commands into bytes. The only crate that knows wasmtime.
//!
//! Read in this order: the contract (`bindings`, `convert`), what bounds a codec (`engine`), one instance of it
//! (`guest`) and what it is one of (`world`), what answers a component that insists on WASI (`wasi`), how a file becomes a codec (`load`, `vectors`,
//! `folder`), how it goes live (`swap`), which versions there were (`history`, `versions`, `rollback`, `pins`), how
//! workers call it (`instance`, `breaker`), how a new version is tried beside it (`shadow`, `canary`, `candidate`), and
//! what is counted (`counters`) and told of a codec's keys (`described`). `native` reads the built-in JSON payloads,
//! without WASM; `envelope` takes frames out of what network servers publish.
//!
//! The sandbox is the trust border: a codec can waste its own budget and nothing else.
#![warn(missing_docs)]

mod bindings;
mod breaker;
mod cache;
mod canary;
mod candidate;
mod compiler;
mod convert;
mod counters;
mod described;
mod engine;
pub mod envelope;
mod error;
mod examples;
mod files;
pub mod folder;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod guest;
mod history;
mod instance;
mod load;
pub mod native;
mod pins;
mod renewing;
mod rollback;
mod script;
mod shadow;
mod swap;
mod vectors;
mod versions;
mod wasi;
mod world;

#[cfg(test)]
mod tests;

use guest::Guest;
use wireglot_model::{CodecStamp, Decoded, Downlink, Timestamp};

pub use cache::CompiledCache;
pub use canary::{CanaryNumbers, CanaryPlan, CanaryState, CanaryStatus, OnSuccess, Share};
pub use candidate::{CandidateError, CandidateState, CandidateStatus};
pub use compiler::compile_for_another_process;
pub use counters::{
    CallCounts, CodecCounters, DECODE_TIME_BOUNDS_US, FAILURE_STAGES, FileCounts, LiveVersion, VersionCounts,
};
pub use described::DescribedKeys;
pub use engine::{CodecEngine, CodecLimits};
pub use error::{DecodeFailure, LoadError, OpenError};
pub use folder::{CodecFolder, ScanReport};
pub use history::{CodecOutcome, HistoryEntry, HistoryEvent};
pub use instance::{CodecBinding, WorkerCodecs};
pub use load::{
    CodecMetadata, KeyDescription, KeyType, LoadedCodec, ProvenCodec, RESPONDER_WORLD, VECTORS_SECTION, WORLD,
};
pub use renewing::RenewingSession;
pub use rollback::{RollbackError, RolledBack};
pub use script::SCRIPT_ENGINE;
pub use shadow::{DifferenceCounts, Example, FrameCounts, ShadowReport, SideReport};
pub use swap::{CodecConfig, CodecState, CodecStatus, CodecTable, Observer};
pub use vectors::{Difference, VectorFile, VectorOutcome};
pub use versions::VersionError;

/// One frame of a device and what is known about it: all that a codec sees.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The payload as published.
    pub payload: &'a [u8],
    /// The topic it was published on.
    pub topic: &'a str,
    /// When it came; the only clock there is.
    pub received: Timestamp,
    /// The device's name.
    pub device: &'a str,
    /// The name of its profile.
    pub profile: &'a str,
    /// Further facts.
    pub metadata: &'a [(String, String)],
}

/// One frame that a codec wants published.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outgoing {
    /// Where to; `None` means the profile's default for the command.
    pub topic: Option<String>,
    /// The bytes.
    pub payload: Vec<u8>,
    /// Hints for the transport behind the topic.
    pub metadata: Vec<(String, String)>,
}

/// One call of a device, and what is known about it: all that a responder sees.
#[derive(Clone, Copy, Debug)]
pub struct RpcCall<'a> {
    /// Chosen by the device.
    pub id: i32,
    /// What to do.
    pub method: &'a str,
    /// JSON text.
    pub params: &'a str,
    /// The device's name.
    pub device: &'a str,
    /// The name of its profile.
    pub profile: &'a str,
    /// When it is asked; the only clock there is.
    pub now: Timestamp,
    /// The shared attributes that the responder asked for, a JSON object.
    pub shared: &'a str,
}

/// What a responder makes of a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RpcAnswer {
    /// JSON text for the device.
    Json(String),
    /// It does not know the method.
    UnknownMethod,
    /// It knows the method, and this is why there is no answer.
    Failed(String),
}

/// One configured instance outside the table, for one thread: for the author's tools, vectors and measuring.
pub struct Session {
    guest: Guest,
    stamp: CodecStamp,
}

impl Session {
    /// Translates one frame, under the same limits as in the server. After any failure but a refusal the session is
    /// of no more use.
    pub fn decode(&mut self, frame: &Frame<'_>) -> Result<Decoded, DecodeFailure> {
        let result = self.guest.decode(frame);
        result.map_err(|failure| self.failure(failure))
    }

    /// Translates one command for the named device.
    pub fn encode(
        &mut self,
        downlink: &Downlink,
        device: &str,
        profile: &str,
        now: Timestamp,
    ) -> Result<Vec<Outgoing>, DecodeFailure> {
        let result = self.guest.encode(downlink, device, profile, now);
        result.map_err(|failure| self.failure(failure))
    }

    /// Answers one call.
    pub fn answer(&mut self, call: &RpcCall<'_>) -> Result<RpcAnswer, DecodeFailure> {
        let result = self.guest.answer(call);
        result.map_err(|failure| self.failure(failure))
    }

    /// Linear memory of the instance. It never shrinks.
    pub fn memory_bytes(&self) -> usize {
        self.guest.memory_bytes()
    }

    /// What the last call took of the fuel that a call has.
    pub fn fuel_used(&self) -> u64 {
        self.guest.fuel_used()
    }

    fn failure(&self, failure: guest::CallFailure) -> DecodeFailure {
        DecodeFailure { stage: failure.stage, stamp: Some(self.stamp.clone()), reason: failure.reason }
    }
}

// The border between threads: a table is shared, a proven codec is handed over.
const _: fn() = || {
    fn crosses_threads<T: Send + Sync>() {}
    crosses_threads::<CodecTable>();
    crosses_threads::<LoadedCodec>();
    crosses_threads::<CodecBinding>();
};
