//! The way of a frame from a worker to the candidates' thread: bounded, and never waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;

use wireglot_model::Timestamp;
use wireglot_model::limits::{SHADOW_QUEUE_BYTES_MAX, SHADOW_QUEUE_FRAMES_MAX};

use super::{CanaryNumber, Candidate};
use crate::load::LoadedCodec;
use crate::{CodecBinding, Frame};

/// What frames of one profile are compared with, made once by each worker.
pub(crate) struct Link {
    pub(crate) binding: CodecBinding,
    pub(crate) live: Arc<LoadedCodec>,
    pub(crate) candidate: Arc<Candidate>,
}

/// A copy of a frame.
pub(crate) struct Job {
    pub(crate) link: Arc<Link>,
    /// The canary in which the candidate served it.
    pub(crate) canary: Option<CanaryNumber>,
    received: Timestamp,
    payload: Box<[u8]>,
    topic: Box<str>,
    device: Box<str>,
    profile: Box<str>,
    metadata: Box<[(String, String)]>,
}

impl Job {
    pub(crate) fn frame(&self) -> Frame<'_> {
        Frame {
            payload: &self.payload,
            topic: &self.topic,
            received: self.received,
            device: &self.device,
            profile: &self.profile,
            metadata: &self.metadata,
        }
    }

    fn bytes(&self) -> usize {
        bytes_of(&self.frame())
    }
}

fn bytes_of(frame: &Frame<'_>) -> usize {
    let metadata: usize = frame.metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
    frame.payload.len() + frame.topic.len() + frame.device.len() + frame.profile.len() + metadata
}

/// The sending end, shared by all workers.
pub(crate) struct Queue {
    sender: SyncSender<Job>,
    frames: AtomicUsize,
    bytes: AtomicUsize,
    pub(crate) frames_dropped: AtomicU64,
}

impl Queue {
    pub(crate) fn new(sender: SyncSender<Job>) -> Self {
        let (frames, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { sender, frames, bytes, frames_dropped: AtomicU64::new(0) }
    }

    /// Copies a frame into the queue if there is room. Looks first, so that a full queue costs no copy.
    pub(crate) fn offer(&self, link: &Arc<Link>, frame: &Frame<'_>, canary: Option<CanaryNumber>) {
        let bytes = bytes_of(frame);
        let has_room = self.frames.load(Ordering::Relaxed) < SHADOW_QUEUE_FRAMES_MAX
            && self.bytes.load(Ordering::Relaxed) + bytes <= SHADOW_QUEUE_BYTES_MAX;
        if has_room {
            let job = Job {
                link: Arc::clone(link),
                canary,
                received: frame.received,
                payload: frame.payload.into(),
                topic: frame.topic.into(),
                device: frame.device.into(),
                profile: frame.profile.into(),
                metadata: frame.metadata.into(),
            };
            self.frames.fetch_add(1, Ordering::Relaxed);
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            match self.sender.try_send(job) {
                Ok(()) => return,
                Err(_full) => self.gone(bytes),
            }
        }
        self.dropped(link);
    }

    /// A job came too late to be of use.
    pub(crate) fn passed_over(&self, job: &Job) {
        self.dropped(&job.link);
    }

    fn dropped(&self, link: &Link) {
        self.frames_dropped.fetch_add(1, Ordering::Relaxed);
        link.candidate.frames_dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// The thread has taken a job out.
    pub(crate) fn taken(&self, job: &Job) {
        self.gone(job.bytes());
    }

    fn gone(&self, bytes: usize) {
        self.frames.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.load(Ordering::Relaxed) == 0
    }
}
