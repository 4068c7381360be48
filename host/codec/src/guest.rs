//! One instance of one codec: made, configured, called, and every way in which a call ends told apart.
//!
//! After any failure but a refusal the instance is unusable, and its owner throws it away.
//! Not here: reuse (`instance.rs`), what a valid result is (`convert.rs`).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use wasmtime::{PoolConcurrencyLimitError, Store, Trap};
use wireglot_model::{Decoded, Downlink, FailureStage, Timestamp};

use crate::bindings::responder::wireglot::codec::calls;
use crate::bindings::wireglot::codec::types as wit;
use crate::convert::{self, Invalid};
use crate::engine::{CodecLimits, EngineParts, GuestState, MemoryLimit, TableLimit, arm, bounded_store};
use crate::error::bounded;
use crate::wasi::Denied;
use crate::world::{Said, World, WorldPre};
use crate::{Frame, Outgoing, RpcAnswer, RpcCall};

/// The time while there is no message.
const NO_MESSAGE: Timestamp = Timestamp(0);

/// A live instance.
pub(crate) struct Guest {
    store: Store<GuestState>,
    world: World,
    parts: Arc<EngineParts>,
    limits: CodecLimits,
    /// What it took before the first message.
    memory_at_start: usize,
}

/// How a call failed.
#[derive(Debug)]
pub(crate) struct CallFailure {
    pub(crate) stage: FailureStage,
    pub(crate) reason: String,
    /// The instance may be called again.
    pub(crate) reusable: bool,
}

/// How making an instance failed.
#[derive(Debug)]
pub(crate) enum StartFailure {
    /// The codec does not take these settings: the operator's to correct, the same on every try.
    Settings(String),
    Call(CallFailure),
}

impl From<Invalid> for CallFailure {
    fn from(invalid: Invalid) -> Self {
        Self { stage: invalid.stage, reason: bounded(invalid.reason), reusable: false }
    }
}

impl Guest {
    /// A fresh instance that nothing was said to yet.
    pub(crate) fn start(
        parts: &Arc<EngineParts>,
        pre: &WorldPre,
        limits: &CodecLimits,
    ) -> Result<Self, CallFailure> {
        let mut store = bounded_store(parts, limits);
        arm(&mut store, limits, NO_MESSAGE);
        let world = pre.instantiate(&mut store).map_err(|error| classify(&error, limits))?;
        parts.shared.live_instances.fetch_add(1, Ordering::Relaxed);
        let memory_at_start = store.data().memory_bytes;
        Ok(Self { store, world, parts: Arc::clone(parts), limits: *limits, memory_at_start })
    }

    /// A fresh instance that has taken these settings.
    pub(crate) fn configured(
        parts: &Arc<EngineParts>,
        pre: &WorldPre,
        settings: &str,
        limits: &CodecLimits,
    ) -> Result<Self, StartFailure> {
        let mut guest = Self::start(parts, pre, limits).map_err(StartFailure::Call)?;
        arm(&mut guest.store, limits, NO_MESSAGE);
        match guest.world.configure(&mut guest.store, settings) {
            Ok(Ok(())) => {
                guest.memory_at_start = guest.memory_bytes();
                Ok(guest)
            }
            Ok(Err(reason)) => Err(StartFailure::Settings(bounded(reason))),
            Err(error) => Err(StartFailure::Call(classify(&error, limits))),
        }
    }

    /// What the codec says of itself.
    pub(crate) fn describe(&mut self) -> Result<Said, CallFailure> {
        arm(&mut self.store, &self.limits, NO_MESSAGE);
        self.world.describe(&mut self.store).map_err(|error| classify(&error, &self.limits))
    }

    /// Translates one frame.
    pub(crate) fn decode(&mut self, frame: &Frame<'_>) -> Result<Decoded, CallFailure> {
        let World::Codec(codec) = &self.world else { return Err(not_a("codec", "responder")) };
        arm(&mut self.store, &self.limits, frame.received);
        let metadata = borrowed(frame.metadata);
        let uplink = convert::uplink(frame, &metadata);
        match codec.call_decode(&mut self.store, uplink) {
            Ok(Ok(result)) => Ok(convert::decoded(result, &self.limits)?),
            Ok(Err(refusal)) => Err(refused(refusal)),
            Err(error) => Err(classify(&error, &self.limits)),
        }
    }

    /// Translates one command. What never reaches a codec gives nothing to send.
    pub(crate) fn encode(
        &mut self,
        downlink: &Downlink,
        device: &str,
        profile: &str,
        now: Timestamp,
    ) -> Result<Vec<Outgoing>, CallFailure> {
        let World::Codec(codec) = &self.world else { return Err(not_a("codec", "responder")) };
        let Some(parts) = convert::command(downlink) else { return Ok(Vec::new()) };
        arm(&mut self.store, &self.limits, now);
        let downlink = wit::Downlink {
            device: None,
            command: parts.command(),
            connected_device: device,
            profile,
            now_ms: now.0,
            metadata: &[],
        };
        match codec.call_encode(&mut self.store, downlink) {
            Ok(Ok(result)) => Ok(convert::outgoing(result, &self.limits)?),
            Ok(Err(refusal)) => Err(refused(refusal)),
            Err(error) => Err(classify(&error, &self.limits)),
        }
    }

    /// Answers a device's call.
    pub(crate) fn answer(&mut self, call: &RpcCall<'_>) -> Result<RpcAnswer, CallFailure> {
        let World::Responder(responder) = &self.world else { return Err(not_a("responder", "codec")) };
        arm(&mut self.store, &self.limits, call.now);
        let asked = calls::Call {
            id: call.id,
            method: call.method,
            params: call.params,
            device: call.device,
            profile: call.profile,
            now_ms: call.now.0,
            shared: call.shared,
        };
        match responder.call_answer(&mut self.store, asked) {
            Ok(Ok(answer)) => Ok(RpcAnswer::Json(convert::answer(answer)?)),
            Ok(Err(calls::Failure::UnknownMethod)) => Ok(RpcAnswer::UnknownMethod),
            Ok(Err(calls::Failure::Failed(reason))) => Ok(RpcAnswer::Failed(bounded(reason))),
            Err(error) => Err(classify(&error, &self.limits)),
        }
    }

    /// What its linear memories take; they never shrink.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.store.data().memory_bytes
    }

    pub(crate) fn fuel_used(&self) -> u64 {
        let left = self.store.get_fuel().expect("`base` switches fuel on for every engine");
        self.limits.fuel_per_call.saturating_sub(left)
    }

    /// More than half of the memory that was free at first is taken: time for a fresh instance.
    pub(crate) fn past_memory_mark(&self) -> bool {
        let room = self.limits.memory_bytes_max.saturating_sub(self.memory_at_start);
        self.memory_bytes() > self.memory_at_start + room / 2
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.parts.shared.live_instances.fetch_sub(1, Ordering::Relaxed);
    }
}

fn borrowed(pairs: &[(String, String)]) -> Vec<(&str, &str)> {
    pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn refused(refusal: wit::Refusal) -> CallFailure {
    CallFailure { stage: FailureStage::Refused, reason: convert::refusal(refusal), reusable: true }
}

/// A profile names a component for what it is not.
fn not_a(wanted: &str, is: &str) -> CallFailure {
    CallFailure {
        stage: FailureStage::NoCodec,
        reason: format!("what the profile names as its {wanted} is a {is}"),
        reusable: true,
    }
}

/// Which limit or rule ended the call.
fn classify(error: &wasmtime::Error, limits: &CodecLimits) -> CallFailure {
    let (stage, reason) = if let Some(limit) = error.downcast_ref::<MemoryLimit>() {
        (FailureStage::Trapped, limit.to_string())
    } else if let Some(limit) = error.downcast_ref::<TableLimit>() {
        (FailureStage::Trapped, limit.to_string())
    } else if let Some(denied) = error.downcast_ref::<Denied>() {
        (FailureStage::Trapped, denied.to_string())
    } else if error.is::<PoolConcurrencyLimitError>() {
        (
            FailureStage::NoCodec,
            format!("all {} instances that there may be are in use", limits.instances_max),
        )
    } else {
        match error.downcast_ref::<Trap>() {
            Some(Trap::OutOfFuel) => {
                let (fuel, ms) = (limits.fuel_per_call, limits.deadline_ticks);
                (FailureStage::Deadline, format!("the call used up its fuel of {fuel}, meant for {ms} ms"))
            }
            Some(Trap::Interrupt) => (
                FailureStage::Deadline,
                format!("the call passed its deadline of {} ms", limits.deadline_ticks),
            ),
            Some(Trap::StackOverflow) => (
                FailureStage::Trapped,
                format!("the call needs more than {} KiB of stack", limits.stack_bytes_max / 1024),
            ),
            Some(trap) => (FailureStage::Trapped, trap.to_string()),
            // The error's type is private to wasmtime; its version is pinned and a test crosses this limit.
            None if format!("{error:#}").contains("fuel allocated for hostcalls has been exhausted") => (
                FailureStage::OverLarge,
                format!("the result is larger than {} KiB", limits.result_bytes_max / 1024),
            ),
            // Not a trap: the result could not be read as what the contract says.
            None => (FailureStage::InvalidResult, format!("{error:#}")),
        }
    };
    CallFailure { stage, reason: bounded(reason), reusable: false }
}
