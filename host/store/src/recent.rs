//! The messages that are in the log but not yet in a chunk, by device, as the log has them.
//!
//! They form two generations: the active one takes in what was committed, the frozen one is being made into chunks
//! of its epoch. A reader takes its copy here first and then ignores chunks of those epochs, so it sees every
//! message once, whatever the checkpoint does meanwhile.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use crate::coding::{Reader, put_bytes};
use crate::dictionary::Hasher;
use crate::error::ReadError;

#[derive(Default)]
pub(crate) struct Recent {
    generations: Mutex<Generations>,
    /// A generation was frozen, or is in chunks, or none will be any more.
    moved: Condvar,
}

#[derive(Default)]
struct Generations {
    active: Generation,
    frozen: Option<Arc<Generation>>,
    /// The last commit whose messages are in chunks.
    folded: u64,
    /// How many wait for a generation to move on.
    waiting: usize,
    /// Nobody will freeze or thaw a generation any more.
    abandoned: bool,
}

/// What was committed between two checkpoints.
#[derive(Default, Debug)]
pub(crate) struct Generation {
    pub(crate) epoch: u32,
    /// Bodies of messages, each with its length, by device number.
    pub(crate) tails: HashMap<u32, Vec<u8>, Hasher>,
    pub(crate) bytes: usize,
    /// The last commit whose messages are here.
    pub(crate) last: u64,
}

impl Generation {
    pub(crate) fn bodies(&self, device: u32) -> &[u8] {
        self.tails.get(&device).map(Vec::as_slice).unwrap_or_default()
    }
}

/// One device's recent messages: a copy.
#[derive(Debug)]
pub(crate) struct Tail {
    /// Older first.
    pub(crate) bodies: Vec<u8>,
    /// Chunks of this epoch and later ones hold nothing that is not in `bodies`.
    pub(crate) epoch: u32,
}

impl Tail {
    /// For whoever looks at chunks only, and at all of them.
    pub(crate) fn none() -> Self {
        Self { bodies: Vec::new(), epoch: u32::MAX }
    }
}

impl Recent {
    pub(crate) fn restore(&self, epoch: u32, folded: u64) {
        let mut generations = self.generations.lock();
        generations.active.epoch = epoch;
        generations.folded = folded;
    }

    /// Takes in the messages of one commit and returns how many bytes are waiting for the next checkpoint.
    pub(crate) fn absorb<'a>(
        &self,
        commit: u64,
        segments: impl Iterator<Item = &'a [u8]>,
    ) -> Result<usize, ReadError> {
        let mut generations = self.generations.lock();
        let active = &mut generations.active;
        for segment in segments {
            let mut reader = Reader::new(segment);
            while !reader.is_empty() {
                let device = reader.varint_u32()?;
                put_bytes(active.tails.entry(device).or_default(), reader.bytes()?);
            }
            active.bytes += segment.len();
        }
        active.last = commit;
        Ok(active.bytes)
    }

    /// The last commit that has messages here, or 0.
    pub(crate) fn last(&self) -> u64 {
        let generations = self.generations.lock();
        let frozen = generations.frozen.as_ref().map_or(0, |frozen| frozen.last);
        frozen.max(generations.active.last)
    }

    /// Starts a new generation and returns the one to make into chunks, or `None` if there is nothing in it.
    pub(crate) fn freeze(&self) -> Option<Arc<Generation>> {
        let mut generations = self.generations.lock();
        if let Some(frozen) = &generations.frozen {
            return Some(frozen.clone());
        }
        if generations.active.tails.is_empty() {
            return None;
        }
        let next = Generation { epoch: generations.active.epoch + 1, ..Generation::default() };
        let frozen = Arc::new(std::mem::replace(&mut generations.active, next));
        generations.frozen = Some(frozen.clone());
        self.moved.notify_all();
        Some(frozen)
    }

    /// The frozen generation is in chunks.
    pub(crate) fn thaw(&self) {
        let mut generations = self.generations.lock();
        let frozen = generations.frozen.take();
        generations.folded = frozen.as_ref().map_or(generations.folded, |frozen| frozen.last);
        drop(generations);
        self.moved.notify_all();
        // Freed here, outside the lock: it is large.
        drop(frozen);
    }

    /// No checkpoint will come any more: nobody may wait for one.
    pub(crate) fn abandon(&self) {
        self.generations.lock().abandoned = true;
        self.moved.notify_all();
    }

    /// Waits while the active generation is larger than `bytes_max`, whoever keeps the checkpoint from starting.
    ///
    /// It is asked for again whenever one is over: that one may have made up for an earlier one only.
    pub(crate) fn wait_below(&self, bytes_max: usize, ask_for_checkpoint: impl Fn()) {
        let mut generations = self.generations.lock();
        while generations.active.bytes > bytes_max && !generations.abandoned {
            ask_for_checkpoint();
            generations.waiting += 1;
            self.moved.wait(&mut generations);
            generations.waiting -= 1;
        }
    }

    /// Whether the messages up to `commit` are in chunks.
    pub(crate) fn has_folded(&self, commit: u64) -> bool {
        self.generations.lock().folded >= commit
    }

    /// Waits until they are, or until `due`, and says whether it is worth waiting on.
    pub(crate) fn wait_folded(&self, commit: u64, due: Instant) -> bool {
        let mut generations = self.generations.lock();
        while generations.folded < commit && !generations.abandoned {
            generations.waiting += 1;
            let is_due = self.moved.wait_until(&mut generations, due).timed_out();
            generations.waiting -= 1;
            if is_due {
                return false;
            }
        }
        !generations.abandoned
    }

    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.generations.lock().waiting
    }

    pub(crate) fn tail(&self, device: u32) -> Tail {
        let generations = self.generations.lock();
        let frozen = generations.frozen.clone();
        let active = generations.active.bodies(device).to_vec();
        let epoch = frozen.as_ref().map_or(generations.active.epoch, |frozen| frozen.epoch);
        drop(generations);
        // The frozen part does not change any more: it is copied while nobody waits for the lock.
        let Some(frozen) = frozen else { return Tail { bodies: active, epoch } };
        let mut bodies = frozen.bodies(device).to_vec();
        bodies.extend_from_slice(&active);
        Tail { bodies, epoch }
    }

    pub(crate) fn bytes(&self) -> usize {
        let generations = self.generations.lock();
        generations.active.bytes + generations.frozen.as_ref().map_or(0, |frozen| frozen.bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn commits_wait_for_a_checkpoint_that_has_not_begun() {
        let recent = Recent::default();
        let absorb = |commit: u64| {
            let mut segment = vec![1];
            put_bytes(&mut segment, &[0; 100]);
            recent.absorb(commit, std::iter::once(segment.as_slice())).unwrap();
        };
        // Whoever does not wait lets go of the sender, so nobody waits for it in vain.
        let wait = |asked: mpsc::Sender<()>| recent.wait_below(100, || asked.send(()).unwrap());
        absorb(1);
        std::thread::scope(|scope| {
            let (asked, was_asked) = mpsc::channel();
            let waiting = scope.spawn(move || wait(asked));
            was_asked.recv().unwrap();
            assert!(!waiting.is_finished());
            recent.freeze().unwrap();
            waiting.join().unwrap();
        });
        // An earlier one that failed is in the way: it is asked for again when that is over.
        absorb(2);
        std::thread::scope(|scope| {
            let (asked, was_asked) = mpsc::channel();
            let waiting = scope.spawn(move || wait(asked));
            was_asked.recv().unwrap();
            recent.thaw();
            was_asked.recv().unwrap();
            assert!(!waiting.is_finished());
            recent.abandon();
            waiting.join().unwrap();
        });
    }
}
