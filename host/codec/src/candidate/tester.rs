//! The thread that tries candidates: lets both versions decode what waits, and judges canaries.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use tracing::debug;
use wireglot_model::limits::SHADOW_PROFILES_MAX;
use wireglot_model::{Actor, ProfileId, Timestamp};

use super::queue::{Job, Link, Queue};
use super::{Canary, Candidate, RENAMED, told};
use crate::CodecBinding;
use crate::canary::{CanaryState, OnSuccess, Verdict, judge};
use crate::counters::Shard;
use crate::engine::thread_time;
use crate::folder::CodecFolder;
use crate::load::LoadedCodec;
use crate::renewing::RenewingSession;
use crate::shadow::{ShadowReport, decode_both};
use crate::swap::{CodecTable, Shared};

/// How long the thread decodes before it looks at its canaries again.
const SLICE: Duration = Duration::from_millis(5);
/// How often it looks into the queue. It is not woken, because that would cost the worker a system call.
const TURN: Duration = Duration::from_millis(10);
/// Its pause after work, as a multiple of the work: it has a quarter of one core at most.
const PAUSE_PER_WORK: u32 = 3;
/// Far below that of the workers; the lowest would keep a canary from being judged on a machine that is busy for long.
const NICE: i32 = 10;

/// The thread.
pub(super) struct Tester {
    pub(super) shared: Weak<Shared>,
    pub(super) queue: Arc<Queue>,
    pub(super) jobs: Receiver<Job>,
    pub(super) is_stopping: Arc<AtomicBool>,
    /// The least recently used first.
    pub(super) sides: Vec<Sides>,
}

/// Both versions for one profile.
pub(super) struct Sides {
    binding: CodecBinding,
    old: RenewingSession,
    new: RenewingSession,
    shard: Arc<Shard>,
}

impl Tester {
    pub(super) fn run(mut self) {
        if let Err(error) = rustix::process::nice(NICE) {
            // The pauses still leave the machine to the others.
            debug!(%error, "The thread of the candidates keeps its priority.");
        }
        while !self.is_stopping.load(Ordering::Relaxed) {
            let Some(shared) = self.shared.upgrade() else { return };
            let table = CodecTable(shared);
            let started = thread_time();
            self.decode_waiting(&table, started);
            let candidates = table.candidates();
            candidates.iter().for_each(|candidate| watch(&table, candidate));
            drop(table);
            if candidates.is_empty() && self.queue.is_empty() {
                self.sides.clear();
                std::thread::park();
            } else {
                // Of its own time: while it waits for a core it keeps nobody from anything.
                let work = thread_time().saturating_sub(started);
                std::thread::park_timeout(TURN.max(work * PAUSE_PER_WORK));
            }
        }
    }

    fn decode_waiting(&mut self, table: &CodecTable, started: Duration) {
        while thread_time().saturating_sub(started) < SLICE
            && let Ok(job) = self.jobs.try_recv()
        {
            self.queue.taken(&job);
            self.decode(table, &job);
        }
    }

    fn decode(&mut self, table: &CodecTable, job: &Job) {
        let link = &job.link;
        let (live, candidate) = (&link.live, &link.candidate);
        let still = |now: Option<Arc<LoadedCodec>>| now.is_some_and(|now| Arc::ptr_eq(&now, live));
        let is_current =
            table.candidate_of(&link.binding.codec).is_some_and(|now| Arc::ptr_eq(&now, candidate));
        // What waited for longer than its versions or its canary lived says nothing about those that there are now, and
        // a verdict would wait for it.
        if !is_current || !still(table.live(&link.binding.codec)) || job.canary != candidate.canary() {
            self.queue.passed_over(job);
            return;
        }
        let sides = self.sides(table, link);
        let frame = job.frame();
        let new_first = frame.received.0 % 2 == 1;
        let (old, new) = decode_both(&mut sides.old, &mut sides.new, &frame, new_first);
        if let Some(time) = new.time {
            sides.shard.called(time);
        }
        if let Err(failure) = &new.result {
            sides.shard.failed(failure.stage);
        }
        table.0.trials.frames_compared.fetch_add(1, Ordering::Relaxed);
        let mut trial = candidate.trial.lock();
        if trial.against.as_ref() != Some(live.stamp()) {
            (trial.against, trial.report) = (Some(live.stamp().clone()), ShadowReport::default());
        }
        trial.report.note(&frame, &old, &new);
        let is_of =
            |canary: &&mut Canary| job.canary == Some(canary.number) && canary.live == live.stamp().hash;
        if let Some(canary) = trial.canary.as_mut().filter(is_of) {
            canary.report.note(&frame, &old, &new);
        }
    }

    /// The two versions under the profile's settings, kept for as long as nothing of it changes.
    fn sides(&mut self, table: &CodecTable, link: &Link) -> &mut Sides {
        let profile: ProfileId = link.binding.profile;
        let found = self.sides.iter().position(|sides| sides.binding.profile == profile);
        let kept = found.map(|index| self.sides.remove(index)).filter(|sides| {
            sides.binding == link.binding
                && Arc::ptr_eq(sides.old.codec(), &link.live)
                && Arc::ptr_eq(sides.new.codec(), &link.candidate.codec)
        });
        let sides = kept.unwrap_or_else(|| {
            if self.sides.len() >= SHADOW_PROFILES_MAX {
                self.sides.remove(0);
            }
            let CodecBinding { settings, limits, isolate_messages, .. } = &link.binding;
            let side = |codec: &Arc<LoadedCodec>| {
                RenewingSession::new(Arc::clone(codec), settings, limits, *isolate_messages)
            };
            Sides {
                binding: link.binding.clone(),
                old: side(&link.live),
                new: side(&link.candidate.codec),
                shard: table.0.counters.shard(link.candidate.codec.stamp()),
            }
        });
        self.sides.push(sides);
        self.sides.last_mut().expect("it was pushed on the line above")
    }
}

/// Looks whether a candidate's canary has to end.
fn watch(table: &CodecTable, candidate: &Candidate) {
    let counted = candidate.counted();
    let (verdict, plan) = {
        let trial = candidate.trial.lock();
        let Some(canary) = &trial.canary else { return };
        let live = table.live(candidate.name()).map(|live| live.stamp().hash);
        let verdict = if live == Some(candidate.hash()) {
            // Its file was renamed over the codec's; the scan that found it takes the candidate away next.
            Verdict::Kept
        } else if live != Some(canary.live) {
            Verdict::Passed("the live version was replaced while the canary was running".to_owned())
        } else if candidate.canary_share.load(Ordering::Relaxed) == 0 {
            let failures = candidate.hard_failures.load(Ordering::Relaxed);
            let last = trial.last_hard_failure.as_deref().unwrap_or("see the dead letters");
            Verdict::Passed(format!("{failures} messages trapped or were cut off; the last: {last}"))
        } else {
            judge(&canary.status.plan, &canary.numbers(counted), canary.began.elapsed().as_secs())
        };
        (verdict, canary.status.plan.clone())
    };
    let now = Timestamp::from_system(SystemTime::now());
    let is_live = table.live(candidate.name()).is_some_and(|live| live.stamp().hash == candidate.hash());
    match (verdict, plan.on_success) {
        (Verdict::GoOn, _) => {}
        (Verdict::Kept, _) if is_live => {
            let reason = Some(RENAMED.to_owned());
            drop(table.end_canary(candidate, CanaryState::Promoted, reason, Actor::Server, now));
        }
        (Verdict::Passed(reason), _) => {
            drop(table.end_canary(candidate, CanaryState::RolledBack, Some(reason), Actor::Server, now));
        }
        (Verdict::Kept, OnSuccess::Hold) => {
            hold(table, candidate, "all budgets were kept; promote it or end the canary");
        }
        (Verdict::Kept, OnSuccess::Promote) => {
            if is_held(candidate) {
                return;
            }
            let reason = "all budgets were kept";
            let folder = CodecFolder::new(table.clone());
            if let Err(error) =
                folder.promote(candidate.name(), Some(candidate.hash()), Actor::Server, reason, now)
            {
                let reason = format!("all budgets were kept, but it cannot be promoted: {error}");
                hold(table, candidate, &reason);
            }
        }
    }
}

fn is_held(candidate: &Candidate) -> bool {
    let trial = candidate.trial.lock();
    trial.canary.as_ref().is_some_and(|canary| canary.status.state == CanaryState::Held)
}

fn hold(table: &CodecTable, candidate: &Candidate, reason: &str) {
    let counted = candidate.counted();
    let mut trial = candidate.trial.lock();
    let Some(canary) = trial.canary.as_mut().filter(|canary| canary.status.state == CanaryState::Running)
    else {
        return;
    };
    (canary.status.state, canary.status.reason) = (CanaryState::Held, Some(reason.to_owned()));
    let status = told(canary, counted);
    table.0.trials.keep(candidate.name(), &status);
    drop(trial);
    table.tell_canary(candidate.name(), &status, Actor::Server, Timestamp::from_system(SystemTime::now()));
}
