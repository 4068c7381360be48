//! Candidates: versions that are tried beside the live one, and what is found out about them.
//!
//! A worker only copies a frame into a bounded queue, and only while a candidate of that codec exists; where the queue
//! is full, the frame is dropped and counted. The thread takes the frames out, lets both versions decode them, judges
//! canaries, and gives way to everything else: it runs at a low priority and for a quarter of the time at most.
//! Not here: the thread itself (`candidate/tester.rs`), which device a canary serves (`instance/trial.rs`), the files (`folder/candidates.rs`).

mod queue;
mod tester;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::Mutex;
use serde::Serialize;
use tracing::{info, warn};
use wireglot_model::limits::SHADOW_QUEUE_FRAMES_MAX;
use wireglot_model::{Actor, CodecHash, CodecName, CodecStamp, Timestamp};

use crate::canary::{
    CanaryBook, CanaryNumbers, CanaryPlan, CanaryState, CanaryStatus, Share, note_change, rank,
};
use crate::history::{CodecOutcome, HistoryEvent};
use crate::load::LoadedCodec;
use crate::shadow::ShadowReport;
use crate::swap::{CodecTable, Shared};

pub(crate) use queue::{Link, Queue};
use tester::Tester;

/// Why a canary ends whose candidate became the live version without being asked for.
pub(crate) const RENAMED: &str = "its file was renamed";

/// A version that is tried.
pub(crate) struct Candidate {
    pub(crate) codec: Arc<LoadedCodec>,
    file: String,
    loaded_at: Timestamp,
    /// In ten-thousandths, as are all shares here.
    shadow_share: AtomicU32,
    /// Zero: no canary is running.
    canary_share: AtomicU32,
    /// Canaries of this candidate so far.
    canaries: AtomicU64,
    hard_failures: AtomicU32,
    pub(crate) frames_dropped: AtomicU64,
    shards: Mutex<CanaryShards>,
    /// A worker never waits for it.
    trial: Mutex<Trial>,
}

/// What is found out about a candidate.
#[derive(Default)]
struct Trial {
    /// The version that the report compares with.
    against: Option<CodecStamp>,
    report: ShadowReport,
    canary: Option<Canary>,
    last_hard_failure: Option<String>,
}

/// Tells a candidate's canaries apart: what still waits in the queue may be of an earlier one.
pub(crate) type CanaryNumber = u64;

/// A canary that is running.
struct Canary {
    number: CanaryNumber,
    status: CanaryStatus,
    live: CodecHash,
    began: Instant,
    /// Frames of its devices only.
    report: ShadowReport,
    messages_before: u64,
    errors_before: u64,
}

/// Messages and errors of all workers: those that are being counted, and the sum of those that no worker counts any more.
#[derive(Default)]
struct CanaryShards {
    written: Vec<Arc<CanaryShard>>,
    folded: (u64, u64),
}

/// What one worker counts of one profile's canary messages; it has one writer.
#[derive(Default)]
pub(crate) struct CanaryShard {
    messages: AtomicU64,
    errors: AtomicU64,
}

impl CanaryShard {
    pub(crate) fn count(&self, failed: bool) {
        let add = |counter: &AtomicU64, more: u64| {
            counter.store(counter.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
        };
        add(&self.messages, 1);
        add(&self.errors, u64::from(failed));
    }

    fn added_to(&self, (messages, errors): (u64, u64)) -> (u64, u64) {
        (messages + self.messages.load(Ordering::Relaxed), errors + self.errors.load(Ordering::Relaxed))
    }
}

impl Candidate {
    pub(crate) fn new(codec: Arc<LoadedCodec>, file: &str, loaded_at: Timestamp) -> Self {
        Self {
            codec,
            file: file.to_owned(),
            loaded_at,
            shadow_share: AtomicU32::new(Share::ALL.parts()),
            canary_share: AtomicU32::new(0),
            canaries: AtomicU64::new(0),
            hard_failures: AtomicU32::new(0),
            frames_dropped: AtomicU64::new(0),
            shards: Mutex::default(),
            trial: Mutex::default(),
        }
    }

    fn name(&self) -> &CodecName {
        &self.codec.stamp().name
    }

    pub(crate) fn file(&self) -> &OsStr {
        OsStr::new(&self.file)
    }

    pub(crate) fn hash(&self) -> CodecHash {
        self.codec.stamp().hash
    }

    pub(crate) fn shadow_share(&self) -> Share {
        Share::of_parts(self.shadow_share.load(Ordering::Relaxed))
    }

    /// The canary that is running.
    pub(crate) fn canary(&self) -> Option<CanaryNumber> {
        let is_running = self.canary_share.load(Ordering::Relaxed) > 0;
        is_running.then(|| self.canaries.load(Ordering::Relaxed))
    }

    /// Whether the candidate serves this device.
    pub(crate) fn serves(&self, device: &str) -> bool {
        let share = Share::of_parts(self.canary_share.load(Ordering::Relaxed));
        share.parts() > 0 && share.takes(rank(self.name(), device))
    }

    pub(crate) fn shard(&self) -> Arc<CanaryShard> {
        let shard = Arc::new(CanaryShard::default());
        let CanaryShards { written, folded } = &mut *self.shards.lock();
        written.retain(|shard| {
            let is_written = Arc::strong_count(shard) > 1;
            if !is_written {
                *folded = shard.added_to(*folded);
            }
            is_written
        });
        written.push(Arc::clone(&shard));
        shard
    }

    /// A message had to be ended by force. Too many of them, and no further one meets the candidate; the rest of the
    /// rollback follows on the candidates' thread.
    pub(crate) fn failed_hard(&self, reason: &str, failures_max: u32) {
        if self.hard_failures.fetch_add(1, Ordering::Relaxed) >= failures_max {
            // The thread may be holding it for a comparison; the share must not wait for that.
            if let Some(mut trial) = self.trial.try_lock() {
                trial.last_hard_failure = Some(reason.to_owned());
            }
            self.canary_share.store(0, Ordering::Relaxed);
        }
    }

    /// Messages and errors of all canaries of this candidate.
    fn counted(&self) -> (u64, u64) {
        let shards = self.shards.lock();
        shards.written.iter().fold(shards.folded, |sum, shard| shard.added_to(sum))
    }
}

impl Canary {
    fn numbers(&self, (messages, errors): (u64, u64)) -> CanaryNumbers {
        // What was counted may have been looked at before the canary began.
        let messages = messages.saturating_sub(self.messages_before);
        let errors = errors.saturating_sub(self.errors_before);
        CanaryNumbers::of(messages, errors, &self.report)
    }
}

/// A candidate, as operators see it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CandidateStatus {
    /// Of which codec.
    pub name: CodecName,
    /// Where it stands.
    pub state: CandidateState,
    /// Its version as it describes itself.
    pub version: Option<String>,
    /// Its identity.
    pub hash: Option<CodecHash>,
    /// Its file.
    pub file: String,
    /// Why it was rejected.
    pub error: Option<String>,
    /// When it was found good.
    pub loaded_at: Option<Timestamp>,
    /// The share of the live frames that is compared, from 0 to 1.
    pub share: f64,
    /// Frames that were not compared, because the thread was behind.
    pub frames_dropped: u64,
    /// What the comparison with the live version has found since the candidate, or the live version, was loaded.
    pub report: Option<ShadowReport>,
    /// Its canary, or the last one of this codec.
    pub canary: Option<CanaryStatus>,
}

/// Where a candidate stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CandidateState {
    /// It decodes beside the live version; no device is served by it.
    Shadow,
    /// It serves a share of the devices.
    Canary,
    /// Its file was refused.
    Rejected,
}

/// Why a candidate cannot be treated as asked.
#[derive(Debug, thiserror::Error)]
pub enum CandidateError {
    /// There is none that is loaded.
    #[error("no candidate of {0} is tried: there is no {0}.next.wasm or {0}.next.js, or it was rejected")]
    None(CodecName),
    /// No canary is running.
    #[error("no canary of {0} is running")]
    NoCanary(CodecName),
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// Not as things stand.
    #[error("{0}")]
    Refused(String),
    /// The folder cannot be changed.
    #[error("the codecs folder cannot be written")]
    Folder(#[source] std::io::Error),
}

/// Everything about candidates that a table shares.
pub(crate) struct Trials {
    queue: OnceLock<Arc<Queue>>,
    rejected: Mutex<BTreeMap<CodecName, (String, String)>>,
    book: Mutex<CanaryBook>,
    thread: Mutex<Option<JoinHandle<()>>>,
    is_stopping: Arc<AtomicBool>,
    pub(crate) frames_compared: AtomicU64,
    pub(crate) promoted: AtomicU64,
    pub(crate) rolled_back: AtomicU64,
}

impl Trials {
    pub(crate) fn open(versions_dir: &std::path::Path) -> Self {
        Self {
            queue: OnceLock::new(),
            rejected: Mutex::default(),
            book: Mutex::new(CanaryBook::open(versions_dir)),
            thread: Mutex::default(),
            is_stopping: Arc::default(),
            frames_compared: AtomicU64::new(0),
            promoted: AtomicU64::new(0),
            rolled_back: AtomicU64::new(0),
        }
    }

    pub(crate) fn frames_dropped(&self) -> u64 {
        self.queue.get().map_or(0, |queue| queue.frames_dropped.load(Ordering::Relaxed))
    }

    pub(crate) fn queue(&self) -> Option<Arc<Queue>> {
        self.queue.get().cloned()
    }

    /// Starts the thread with the first candidate.
    pub(crate) fn start(&self, shared: &Arc<Shared>) -> std::io::Result<()> {
        let mut thread = self.thread.lock();
        if thread.is_some() {
            return Ok(());
        }
        let (sender, jobs) = sync_channel(SHADOW_QUEUE_FRAMES_MAX);
        let queue = Arc::clone(self.queue.get_or_init(|| Arc::new(Queue::new(sender))));
        let (shared, is_stopping) = (Arc::downgrade(shared), Arc::clone(&self.is_stopping));
        let work = move || Tester { shared, queue, jobs, is_stopping, sides: Vec::new() }.run();
        *thread = Some(std::thread::Builder::new().name("codec-candidates".into()).spawn(work)?);
        Ok(())
    }

    /// Wakes the thread once there is something to try: without a candidate it sleeps until it is woken.
    pub(crate) fn wake(&self) {
        if let Some(thread) = self.thread.lock().as_ref() {
            thread.thread().unpark();
        }
    }

    pub(crate) fn reject(&self, name: &CodecName, file: &str, reason: String) {
        self.rejected.lock().insert(name.clone(), (file.to_owned(), reason));
    }

    pub(crate) fn forget_rejected(&self, name: &CodecName) {
        self.rejected.lock().remove(name);
    }

    fn keep(&self, name: &CodecName, status: &CanaryStatus) {
        match status.state {
            CanaryState::Promoted => drop(self.promoted.fetch_add(1, Ordering::Relaxed)),
            CanaryState::RolledBack => drop(self.rolled_back.fetch_add(1, Ordering::Relaxed)),
            CanaryState::Running | CanaryState::Held | CanaryState::Stopped => {}
        }
        note_change(name, status);
        self.book.lock().keep(name, status);
    }
}

impl Drop for Trials {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.get_mut().take() else { return };
        // The thread holds the table while it works, so it may be the last to let go of it.
        if thread.thread().id() == std::thread::current().id() {
            return;
        }
        thread.thread().unpark();
        if thread.join().is_err() {
            warn!("The thread of the candidates had panicked.");
        }
    }
}

impl CodecTable {
    /// What is told of a codec's candidate.
    pub fn candidate(&self, name: &CodecName) -> Option<CandidateStatus> {
        let trials = &self.0.trials;
        let canary = || trials.book.lock().last(name);
        let Some(candidate) = self.candidate_of(name) else {
            let (file, error) = trials.rejected.lock().get(name).cloned()?;
            return Some(CandidateStatus {
                name: name.clone(),
                state: CandidateState::Rejected,
                version: None,
                hash: None,
                file,
                error: Some(error),
                loaded_at: None,
                share: 0.0,
                frames_dropped: 0,
                report: None,
                canary: canary(),
            });
        };
        let counted = candidate.counted();
        let trial = candidate.trial.lock();
        let running = trial.canary.as_ref().map(|canary| told(canary, counted));
        let stamp = candidate.codec.stamp();
        Some(CandidateStatus {
            name: name.clone(),
            state: if running.is_some() { CandidateState::Canary } else { CandidateState::Shadow },
            version: Some(stamp.version.as_ref().to_owned()),
            hash: Some(stamp.hash),
            file: candidate.file.clone(),
            error: None,
            loaded_at: Some(candidate.loaded_at),
            share: candidate.shadow_share().fraction(),
            frames_dropped: candidate.frames_dropped.load(Ordering::Relaxed),
            report: Some(trial.report.told()),
            canary: running.or_else(canary),
        })
    }

    /// The canary of a codec that is running, or its last one.
    pub fn canary(&self, name: &CodecName) -> Option<CanaryStatus> {
        self.candidate(name)
            .and_then(|candidate| candidate.canary)
            .or_else(|| self.0.trials.book.lock().last(name))
    }

    /// Sets which share of the live frames is compared.
    pub fn set_shadow_share(&self, name: &CodecName, share: f64) -> Result<(), CandidateError> {
        let candidate = self.candidate_of(name).ok_or_else(|| CandidateError::None(name.clone()))?;
        let share = Share::parse(share)
            .ok_or_else(|| CandidateError::Invalid(format!("share must be from 0 to 1, not {share}")))?;
        candidate.shadow_share.store(share.parts(), Ordering::Relaxed);
        Ok(())
    }

    /// Lets the candidate serve a share of the devices. A canary that is running takes the new plan, as long as its
    /// share does not shrink.
    pub fn start_canary(
        &self,
        name: &CodecName,
        plan: CanaryPlan,
        by: Actor,
        now: Timestamp,
    ) -> Result<CanaryStatus, CandidateError> {
        let share = plan.checked().map_err(CandidateError::Invalid)?;
        let candidate = self.candidate_of(name).ok_or_else(|| CandidateError::None(name.clone()))?;
        let live = self.live(name).ok_or_else(|| {
            CandidateError::Refused(format!("no version of {name} is live; promote instead"))
        })?;
        if live.stamp().hash == candidate.hash() {
            return Err(CandidateError::Refused("the candidate is the live version already".to_owned()));
        }
        let counted = candidate.counted();
        let mut trial = candidate.trial.lock();
        let status = match &mut trial.canary {
            Some(canary) => {
                let running = canary.status.plan.share;
                if plan.share < running {
                    return Err(CandidateError::Refused(format!(
                        "the canary has a share of {running}, which only grows: a device must not change its version \
                         back and forth; end the canary first"
                    )));
                }
                // Zero means that it is about to be rolled back.
                let grown =
                    candidate.canary_share.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |parts| {
                        (parts > 0).then_some(share.parts())
                    });
                if grown.is_err() {
                    return Err(CandidateError::Refused("the canary is being rolled back".to_owned()));
                }
                canary.status.plan = plan;
                (canary.status.state, canary.status.reason) = (CanaryState::Running, None);
                told(canary, counted)
            }
            none @ None => {
                let stamp = candidate.codec.stamp();
                let status = CanaryStatus {
                    state: CanaryState::Running,
                    reason: None,
                    hash: stamp.hash,
                    version: stamp.version.as_ref().to_owned(),
                    plan,
                    started_at: now,
                    ended_at: None,
                    numbers: CanaryNumbers::default(),
                };
                *none = Some(Canary {
                    number: candidate.canaries.fetch_add(1, Ordering::Relaxed) + 1,
                    status: status.clone(),
                    live: live.stamp().hash,
                    began: Instant::now(),
                    report: ShadowReport::default(),
                    messages_before: counted.0,
                    errors_before: counted.1,
                });
                candidate.hard_failures.store(0, Ordering::Relaxed);
                candidate.canary_share.store(share.parts(), Ordering::Relaxed);
                status
            }
        };
        self.0.trials.keep(name, &status);
        drop(trial);
        self.tell_canary(name, &status, by, now);
        Ok(status)
    }

    /// Gives every device back to the live version.
    pub fn stop_canary(
        &self,
        name: &CodecName,
        by: Actor,
        now: Timestamp,
    ) -> Result<CanaryStatus, CandidateError> {
        let none = || CandidateError::NoCanary(name.clone());
        let candidate = self.candidate_of(name).ok_or_else(none)?;
        self.end_canary(&candidate, CanaryState::Stopped, None, by, now).ok_or_else(none)
    }

    /// Ends a candidate's canary, if one is running.
    pub(crate) fn end_canary(
        &self,
        candidate: &Candidate,
        state: CanaryState,
        reason: Option<String>,
        by: Actor,
        now: Timestamp,
    ) -> Option<CanaryStatus> {
        let mut trial = candidate.trial.lock();
        // A worker may have begun a message before it could see the promotion. The candidate serves on there: with the
        // version before, the device would go back for one message.
        if state != CanaryState::Promoted {
            candidate.canary_share.store(0, Ordering::Relaxed);
        }
        let canary = trial.canary.take()?;
        let mut status = told(&canary, candidate.counted());
        (status.state, status.reason, status.ended_at) = (state, reason, Some(now));
        self.0.trials.keep(candidate.name(), &status);
        drop(trial);
        self.tell_canary(candidate.name(), &status, by, now);
        Some(status)
    }

    /// Puts where a canary stands into the codec's history and the audit log. A promotion is there already.
    fn tell_canary(&self, name: &CodecName, status: &CanaryStatus, by: Actor, at: Timestamp) {
        let outcome = match status.state {
            CanaryState::Running => CodecOutcome::CanaryStarted,
            CanaryState::Held => CodecOutcome::CanaryHeld,
            CanaryState::RolledBack => CodecOutcome::CanaryRolledBack,
            CanaryState::Stopped => CodecOutcome::CanaryStopped,
            CanaryState::Promoted => return,
        };
        let asked = || format!("a share of {} of the devices", status.plan.share);
        let reason = status.reason.clone().unwrap_or_else(asked);
        let (hash, version) = (Some(status.hash), Some(status.version.clone()));
        self.happened(name, HistoryEvent { at, outcome, hash, version, by, reason });
    }

    /// Notes something that happened to a codec without making a version live.
    pub(crate) fn happened(&self, name: &CodecName, event: HistoryEvent) {
        if self.0.history.lock().note(name, event.clone()) {
            self.tell(name.as_str(), &event);
        }
    }

    /// Whether there is a candidate, one that was rejected among them.
    pub(crate) fn has_candidate(&self, name: &CodecName) -> bool {
        self.candidate_of(name).is_some() || self.0.trials.rejected.lock().contains_key(name)
    }

    /// Takes a candidate out of its trial: its file is gone, changed, or was refused.
    pub(crate) fn withdraw_candidate(&self, name: &CodecName, reason: &str, now: Timestamp) {
        self.0.trials.forget_rejected(name);
        let Some(candidate) = self.candidate_of(name) else { return };
        self.remove_candidate(name);
        self.end_canary(&candidate, CanaryState::RolledBack, Some(reason.to_owned()), Actor::Server, now);
        info!(codec = %name, version = %candidate.codec.stamp().version, reason, "The candidate is no longer tried.");
    }
}

fn told(canary: &Canary, counted: (u64, u64)) -> CanaryStatus {
    CanaryStatus { numbers: canary.numbers(counted), ..canary.status.clone() }
}
