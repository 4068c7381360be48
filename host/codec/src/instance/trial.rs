//! What a worker does for a candidate: serves the canary's devices with it, and copies frames for the comparison.
//!
//! A message still meets exactly one version: which one is decided by its device before anything is called.

use std::sync::Arc;
use std::time::Instant;

use wireglot_model::limits::CANARY_HARD_FAILURES_MAX;
use wireglot_model::{CodecStamp, FailureStage, ProfileId};

use super::{Slot, Worker};
use crate::Frame;
use crate::canary::mixed;
use crate::candidate::{CanaryShard, Candidate, Link, Queue};
use crate::error::DecodeFailure;
use crate::guest::{CallFailure, Guest};
use crate::swap::{CodecTable, LiveMap};

/// What a worker keeps for one profile whose codec has a candidate.
pub(super) struct Trial {
    candidate: Arc<Candidate>,
    link: Arc<Link>,
    queue: Arc<Queue>,
    /// The candidate's instance, from the first device on that it serves.
    serving: Option<Slot>,
    counts: Arc<CanaryShard>,
    /// Frames looked at; their number, well mixed, chooses those that are compared.
    frames: u64,
}

impl Slot {
    pub(super) fn instances(&self) -> usize {
        1 + usize::from(self.trial.as_ref().is_some_and(|trial| trial.serving.is_some()))
    }

    /// Brings the slot in line with the candidate that there is now.
    pub(super) fn follow_candidate(&mut self, table: &CodecTable, live: &LiveMap) {
        // A profile that is pinned to a version stays with it.
        let is_pinned = self.binding.version.is_some();
        let candidate = live.candidates.get(&self.binding.codec).filter(|_| !is_pinned);
        let known = self.trial.as_ref().map(|trial| &trial.candidate);
        if known.map(Arc::as_ptr) == candidate.map(Arc::as_ptr) {
            return;
        }
        self.trial = candidate.zip(table.0.trials.queue()).map(|(candidate, queue)| {
            Box::new(Trial {
                candidate: Arc::clone(candidate),
                link: Arc::new(Link {
                    binding: self.binding.clone(),
                    live: Arc::clone(&self.version),
                    candidate: Arc::clone(candidate),
                }),
                queue,
                serving: None,
                counts: candidate.shard(),
                frames: 0,
            })
        });
    }
}

impl Worker {
    /// A call of a profile whose codec has a candidate.
    pub(super) fn call_on_trial<R>(
        &mut self,
        profile: ProfileId,
        device: &str,
        frame: Option<&Frame<'_>>,
        work: impl FnOnce(&mut Guest) -> Result<R, CallFailure>,
    ) -> Result<(R, CodecStamp), DecodeFailure> {
        let is_canary = self.trial(profile).candidate.serves(device);
        if is_canary && self.trial(profile).serving.is_none() {
            self.make_room(profile);
            let version = Arc::clone(&self.trial(profile).candidate.codec);
            let binding = self.slot(profile).binding.clone();
            let fresh = Slot::new(&self.table, &binding, version);
            self.trial(profile).serving = Some(fresh);
        }
        let slot = self.slot(profile);
        let result = match slot.trial.as_mut() {
            Some(trial) if is_canary => {
                slot.last_used = Instant::now();
                trial.serve(work)
            }
            Some(_) | None => slot.call(work),
        };
        if let Some(frame) = frame {
            self.trial(profile).offer(frame, is_canary);
        }
        result
    }

    fn slot(&mut self, profile: ProfileId) -> &mut Slot {
        self.slots.get_mut(&profile).expect("`call` has just found it, and room is made among the others")
    }

    fn trial(&mut self, profile: ProfileId) -> &mut Trial {
        self.slot(profile).trial.as_mut().expect("`call` has just seen it")
    }

    fn make_room(&mut self, profile: ProfileId) {
        if self.instances() < self.share() {
            return;
        }
        let others = self.slots.iter().filter(|(other, _)| **other != profile);
        if let Some(other) = others.min_by_key(|(_, slot)| slot.last_used).map(|(&id, _)| id) {
            self.slots.remove(&other);
        }
    }
}

impl Trial {
    fn serve<R>(
        &mut self,
        work: impl FnOnce(&mut Guest) -> Result<R, CallFailure>,
    ) -> Result<(R, CodecStamp), DecodeFailure> {
        let result = self.serving.as_mut().expect("made before the first call").call(work);
        self.counts.count(result.is_err());
        if let Err(failure) = &result {
            match failure.stage {
                FailureStage::Trapped | FailureStage::Deadline | FailureStage::OverLarge => {
                    self.candidate.failed_hard(&failure.reason, CANARY_HARD_FAILURES_MAX);
                }
                // It does not start under this profile's settings, and will not with the next message either.
                FailureStage::NoCodec => self.candidate.failed_hard(&failure.reason, 0),
                FailureStage::Refused | FailureStage::InvalidResult | FailureStage::NotAccepted => {}
            }
        }
        result
    }

    fn offer(&mut self, frame: &Frame<'_>, is_canary: bool) {
        self.frames = self.frames.wrapping_add(1);
        let canary = self.candidate.canary();
        let is_wanted = match canary {
            // A verdict waits for these; the frames of other devices would only be in the way.
            Some(_) => is_canary,
            None => self.candidate.shadow_share().takes(mixed(self.frames)),
        };
        if is_wanted {
            self.queue.offer(&self.link, frame, canary);
        }
    }
}
