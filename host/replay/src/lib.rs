//! Decodes again what is kept: dead letters after a fix, or raw frames whose values turned out to be wrong.
//!
//! Read in this order: what is ordered and what is told of it (`order`, `report`), the one job that may run (here),
//! how a frame is decoded outside the workers (`decode`), and the two walks (`letters`, `frames`).
//!
//! A replay may be killed at any point and run again: a letter leaves in the commit that stores its values, and the
//! values of a raw frame take the place of those that were made of it before. It has a thread of its own and calls the
//! codec in instances of its own, so no device waits for it.

mod decode;
mod frames;
mod letters;
mod order;
mod report;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tracing::{info, warn};
use wireglot_codec::CodecTable;
use wireglot_device::{DeviceError, Devices, now};

pub use order::{CodecChoice, ReplayOrder, Source, StartError};
pub use report::{FrameFailure, ReplayReport, ReplayState, ReplayStatus, ValueChange};

use decode::Decoder;
use report::Progress;

/// The replays of an installation: one at a time, because two could store the same letter.
pub struct Replays {
    devices: Devices,
    codecs: CodecTable,
    last: Mutex<Option<Job>>,
}

struct Job {
    id: u64,
    progress: Arc<Progress>,
    cancel: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What a walk works with.
pub(crate) struct Run {
    pub(crate) devices: Devices,
    pub(crate) order: ReplayOrder,
    pub(crate) decoder: Decoder,
    pub(crate) progress: Arc<Progress>,
    pub(crate) cancel: Arc<AtomicBool>,
}

impl Replays {
    pub fn new(devices: Devices, codecs: CodecTable) -> Self {
        Self { devices, codecs, last: Mutex::new(None) }
    }

    /// Begins a replay. The codec is loaded first, which may take a while: not for workers.
    pub fn start(&self, order: ReplayOrder) -> Result<ReplayStatus, StartError> {
        let mut last = self.last.lock();
        if last.as_ref().is_some_and(Job::is_running) {
            return Err(StartError::Running);
        }
        let decoder = Decoder::open(&self.codecs, &order)?;
        let id = last.as_ref().map_or(1, |job| job.id + 1);
        let progress = Arc::new(Progress::new(id, &order, decoder.stamp(), now()));
        let cancel = Arc::new(AtomicBool::new(false));
        let run = Run {
            devices: self.devices.clone(),
            order,
            decoder,
            progress: progress.clone(),
            cancel: cancel.clone(),
        };
        let thread = std::thread::Builder::new().name("replay".to_owned()).spawn(move || run.run());
        let thread = Some(thread.map_err(StartError::Thread)?);
        let status = progress.status();
        *last = Some(Job { id, progress, cancel, thread });
        Ok(status)
    }

    /// The replay that runs, or the one that ran last since the start of the process.
    pub fn status(&self) -> Option<ReplayStatus> {
        self.last.lock().as_ref().map(|job| job.progress.status())
    }

    /// Stops the replay that runs; what it has stored stays. `None`: there is none.
    pub fn cancel(&self) -> Option<ReplayStatus> {
        let last = self.last.lock();
        let job = last.as_ref().filter(|job| job.is_running())?;
        job.cancel.store(true, Ordering::Relaxed);
        Some(job.progress.status())
    }
}

impl Job {
    fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.cancel.store(true, Ordering::Relaxed);
        if let Some(Err(_panic)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("A replay ended by a panic.");
        }
    }
}

impl Run {
    fn run(mut self) {
        let outcome = match self.order.source {
            Source::DeadLetters { .. } => self.letters(),
            Source::RawFrames => self.frames(),
        };
        let state = match &outcome {
            Ok(()) if self.is_cancelled() => ReplayState::Cancelled,
            Ok(()) => ReplayState::Done,
            Err(_) => ReplayState::Failed,
        };
        let error = outcome.err().map(|error| chain(&error));
        if let Some(error) = &error {
            warn!(error, "A replay broke off; it can be run again.");
        }
        let status = self.progress.finish(state, error, now());
        let report = &status.report;
        info!(
            profile = status.profile,
            frames = report.frames,
            decoded = report.decoded,
            failed = report.failed,
            "A replay has ended."
        );
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }
}

fn chain(error: &DeviceError) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
