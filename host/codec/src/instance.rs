//! Instances of one worker: when one is made, reused and thrown away is decided here only.
//!
//! A worker keeps one instance per profile, because settings are taken once per instance. A call costs one look at
//! the table, one look-up by profile, and the call itself; a message meets the version that was live when it began.
//! While a candidate of the codec exists, a look at it comes on top (`instance/trial.rs`).
//! Not here: the limits of a call (`engine.rs`), how its end is told apart (`guest.rs`).

mod trial;

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use arc_swap::{ArcSwap, Cache};
use tracing::warn;
use wireglot_model::{
    CodecHash, CodecName, CodecStamp, Decoded, Downlink, FailureStage, ProfileId, ProfileLimits, Timestamp,
};

use crate::breaker::{Breaker, Permit, Verdict};
use crate::counters::Shard;
use crate::engine::CodecLimits;
use crate::error::DecodeFailure;
use crate::guest::{CallFailure, Guest, StartFailure};
use crate::load::{LoadedCodec, settings_refused};
use crate::swap::{CodecTable, LiveMap};
use crate::{Frame, Outgoing, RpcAnswer, RpcCall};
use trial::Trial;

/// Which codec a profile's payloads go through. Made once per profile version; clones share the settings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CodecBinding {
    /// Whose instance this is.
    pub profile: ProfileId,
    /// Which codec.
    pub codec: CodecName,
    /// The version that the profile is pinned to; `None` for the live one.
    pub version: Option<CodecHash>,
    /// A JSON object for `configure`.
    pub settings: Arc<str>,
    /// A fresh instance for every message.
    pub isolate_messages: bool,
    /// What the profile sets in place of the limits of the kind of codec.
    pub limits: Arc<ProfileLimits>,
}

/// The codecs of one worker thread. Clones share the instances; it does not leave its thread.
#[derive(Clone)]
pub struct WorkerCodecs(Rc<RefCell<Worker>>);

struct Worker {
    table: CodecTable,
    live: Cache<Arc<ArcSwap<LiveMap>>, Arc<LiveMap>>,
    generation: u64,
    slots: HashMap<ProfileId, Slot, BuildHasherDefault<IdHasher>>,
}

/// What a worker keeps for one profile.
struct Slot {
    binding: CodecBinding,
    version: Arc<LoadedCodec>,
    /// Of the version's kind, under the profile.
    limits: CodecLimits,
    breaker: Arc<Breaker>,
    /// A copy of the worker's own: every message takes clones of it, and counting references to the shared one
    /// would pass its cache line between the workers.
    stamp: CodecStamp,
    shard: Arc<Shard>,
    guest: Option<Guest>,
    calls: u32,
    settings_refused: Option<String>,
    last_used: Instant,
    /// While the codec has a candidate.
    trial: Option<Box<Trial>>,
}

impl WorkerCodecs {
    pub(crate) fn new(table: CodecTable, live: Arc<ArcSwap<LiveMap>>) -> Self {
        table.0.workers.fetch_add(1, Ordering::Relaxed);
        let live = Cache::new(live);
        Self(Rc::new(RefCell::new(Worker { table, live, generation: 0, slots: HashMap::default() })))
    }

    /// Translates one frame by the version that is live now, and says which one it was.
    pub fn decode(
        &self,
        binding: &CodecBinding,
        frame: &Frame<'_>,
    ) -> Result<(Decoded, CodecStamp), DecodeFailure> {
        self.0.borrow_mut().call(binding, frame.device, Some(frame), |guest| guest.decode(frame))
    }

    /// Translates one command for the named device.
    pub fn encode(
        &self,
        binding: &CodecBinding,
        downlink: &Downlink,
        device: &str,
        profile: &str,
        now: Timestamp,
    ) -> Result<Vec<Outgoing>, DecodeFailure> {
        self.0
            .borrow_mut()
            .call(binding, device, None, |guest| guest.encode(downlink, device, profile, now))
            .map(|(outgoing, _)| outgoing)
    }

    /// Answers a device's call by the version of the responder that is live now.
    pub fn respond(&self, binding: &CodecBinding, call: &RpcCall<'_>) -> Result<RpcAnswer, DecodeFailure> {
        let answered = self.0.borrow_mut().call(binding, call.device, None, |guest| guest.answer(call));
        answered.map(|(answer, _)| answer)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.table.0.workers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Worker {
    fn call<R>(
        &mut self,
        binding: &CodecBinding,
        device: &str,
        frame: Option<&Frame<'_>>,
        work: impl FnOnce(&mut Guest) -> Result<R, CallFailure>,
    ) -> Result<(R, CodecStamp), DecodeFailure> {
        self.drop_replaced();
        if !self.slots.get(&binding.profile).is_some_and(|slot| slot.binding == *binding) {
            self.make_slot(binding)?;
        }
        let slot = self.slots.get_mut(&binding.profile).expect("`make_slot` has just put it there");
        if slot.trial.is_some() {
            return self.call_on_trial(binding.profile, device, frame, work);
        }
        slot.call(work)
    }

    /// After a swap, nothing of a replaced version stays behind: that is how an old version becomes idle.
    fn drop_replaced(&mut self) {
        let live = self.live.load();
        if live.generation != self.generation {
            self.generation = live.generation;
            self.slots.retain(|_, slot| {
                live.serving(&slot.binding).is_some_and(|version| Arc::ptr_eq(version, &slot.version))
            });
            self.slots.values_mut().for_each(|slot| slot.follow_candidate(&self.table, live));
        }
    }

    fn make_slot(&mut self, binding: &CodecBinding) -> Result<(), DecodeFailure> {
        let Some(version) = self.live.load().serving(binding).map(Arc::clone) else {
            self.table.0.counters.without_codec.fetch_add(1, Ordering::Relaxed);
            let reason = match binding.version {
                None => format!("no codec named {} is live", binding.codec),
                Some(hash) => {
                    format!(
                        "version {hash} of codec {}, which the profile is pinned to, cannot be loaded",
                        binding.codec
                    )
                }
            };
            return Err(DecodeFailure { stage: FailureStage::NoCodec, stamp: None, reason });
        };
        if self.instances() >= self.share() {
            self.drop_longest_unused();
        }
        let mut slot = Slot::new(&self.table, binding, version);
        slot.follow_candidate(&self.table, self.live.load());
        self.slots.insert(binding.profile, slot);
        Ok(())
    }

    /// Instances that this worker has, or will have with the next message of each of its profiles.
    fn instances(&self) -> usize {
        self.slots.values().map(Slot::instances).sum()
    }

    /// This worker's part of the instances that the process may have.
    fn share(&self) -> usize {
        let workers = self.table.0.workers.load(Ordering::Relaxed).max(1);
        (self.table.0.engine.limits().instances_max as usize / workers).max(1)
    }

    fn drop_longest_unused(&mut self) {
        if let Some(profile) = self.slots.iter().min_by_key(|(_, slot)| slot.last_used).map(|(&id, _)| id) {
            self.slots.remove(&profile);
        }
    }
}

impl Slot {
    fn new(table: &CodecTable, binding: &CodecBinding, version: Arc<LoadedCodec>) -> Self {
        let shared = version.stamp();
        let stamp = CodecStamp {
            name: CodecName::parse(shared.name.as_str()).expect("it is the text of a parsed name"),
            version: shared.version.as_ref().into(),
            hash: shared.hash,
        };
        let shard = table.0.counters.shard(shared);
        let limits = version.limits().under(&binding.limits);
        Self {
            binding: binding.clone(),
            limits,
            breaker: version.breakers.of(binding, &limits),
            version,
            stamp,
            shard,
            guest: None,
            calls: 0,
            settings_refused: None,
            last_used: Instant::now(),
            trial: None,
        }
    }

    fn call<R>(
        &mut self,
        work: impl FnOnce(&mut Guest) -> Result<R, CallFailure>,
    ) -> Result<(R, CodecStamp), DecodeFailure> {
        if let Some(reason) = &self.settings_refused {
            let reason = reason.clone();
            return Err(self.failure(FailureStage::NoCodec, reason));
        }
        if let Permit::Pause { left_ms } = self.breaker.permit() {
            self.shard.paused();
            let reason = format!("the codec keeps failing and is not called for another {left_ms} ms");
            let stamp = Some(self.stamp.clone());
            return Err(DecodeFailure { stage: FailureStage::Trapped, stamp, reason });
        }
        let started = Instant::now();
        let result = match self.ready_guest() {
            Ok(guest) => work(guest),
            Err(StartFailure::Settings(reason)) => return Err(self.refuse_settings(&reason)),
            Err(StartFailure::Call(failure)) => Err(failure),
        };
        let ended = Instant::now();
        self.shard.called(ended.duration_since(started));
        self.last_used = ended;
        if let Some(guest) = &self.guest {
            self.shard.took(guest.memory_bytes());
        }
        match result {
            Ok(value) => {
                self.breaker.succeeded();
                self.recycle_if_due();
                Ok((value, self.stamp.clone()))
            }
            Err(failure) => {
                self.judge(&failure);
                Err(self.failure(failure.stage, failure.reason))
            }
        }
    }

    fn ready_guest(&mut self) -> Result<&mut Guest, StartFailure> {
        let version = &self.version;
        match &mut self.guest {
            Some(guest) => Ok(guest),
            empty @ None => {
                self.calls = 0;
                let fresh = version.start(&self.binding.settings, &self.limits)?;
                self.shard.holds(1);
                Ok(empty.insert(fresh))
            }
        }
    }

    fn recycle_if_due(&mut self) {
        self.calls = self.calls.saturating_add(1);
        if self.binding.isolate_messages {
            self.drop_guest();
        } else if self.calls >= self.limits.calls_per_instance_max
            || self.guest.as_ref().is_some_and(Guest::past_memory_mark)
        {
            self.drop_guest();
            self.shard.recycled();
        }
    }

    fn drop_guest(&mut self) {
        self.guest = None;
        self.shard.holds(0);
    }

    fn judge(&mut self, failure: &CallFailure) {
        if failure.reusable {
            self.recycle_if_due();
        } else {
            self.drop_guest();
            self.shard.recycled();
        }
        match failure.stage {
            FailureStage::Trapped | FailureStage::Deadline | FailureStage::OverLarge => {
                self.count_trap(failure)
            }
            // It came back by itself. One device with a broken sensor must not pause the codec of all the others.
            FailureStage::Refused
            | FailureStage::InvalidResult
            | FailureStage::NoCodec
            | FailureStage::NotAccepted => self.breaker.succeeded(),
        }
    }

    fn count_trap(&self, failure: &CallFailure) {
        if let Verdict::Opened { pause_ms } = self.breaker.failed() {
            self.shard.opened();
            warn!(codec = %self.stamp.name, version = %self.stamp.version, profile = %self.binding.profile, pause_ms, reason = failure.reason, "Codec keeps failing; it is not called for a while for devices of this profile.");
        }
    }

    fn refuse_settings(&mut self, reason: &str) -> DecodeFailure {
        warn!(codec = %self.stamp.name, version = %self.stamp.version, profile = %self.binding.profile, reason, "Codec refuses the profile's settings; no message of this profile is decoded.");
        let reason = settings_refused(reason);
        self.settings_refused = Some(reason.clone());
        self.failure(FailureStage::NoCodec, reason)
    }

    fn failure(&self, stage: FailureStage, reason: String) -> DecodeFailure {
        self.shard.failed(stage);
        DecodeFailure { stage, stamp: Some(self.stamp.clone()), reason }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.drop_guest();
    }
}

/// Profile ids are made by us and random already, so their bits are only folded.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let word = chunk.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
            self.0 = self.0.rotate_left(23) ^ word;
        }
    }

    fn finish(&self) -> u64 {
        self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}
