//! The store as its users see it, and what its threads share.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use fjall::{Database, Keyspace};
use parking_lot::{Condvar, Mutex};
use wireglot_model::limits;

use crate::arrivals::Arrivals;
use crate::batch::Batch;
use crate::dead::Graveyard;
use crate::departed::Departed;
use crate::dictionary::{Cache, Dictionary};
use crate::error::{CommitError, OpenError};
use crate::files::Files;
use crate::lane::{self, Committed, Lane, LaneDriver};
use crate::queue::{Admission, LaneQueue, Pending, Queue, Refused, State};
use crate::recent::Recent;
use crate::revise::Defined;

/// When a commit counts as durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// When the disk has it: survives a power cut.
    Commit,
    /// When the operating system has it: survives a crash of the process; synced every so many milliseconds.
    IntervalMs(u32),
    /// When the operating system has it; synced when the system likes.
    Os,
}

/// How a store behaves. `Default` is what production uses.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    pub durability: Durability,
    /// Two commits start at least this far apart, unless the queue fills: a sync costs more than it carries
    /// when it carries one message.
    pub gather: Duration,
    /// The same while batches come by the thousands a second, if it is longer.
    pub gather_busy: Duration,
    /// Log bytes after which recent messages become chunks; also about what a restart has to read.
    pub log_bytes_max: usize,
    pub queue_bytes_max: usize,
    pub queue_batches_max: usize,
    pub keys_max: usize,
    pub dead_letters_max: usize,
    pub dead_letter_bytes_max: usize,
    /// Raw frames on disk, in bytes; past it, the oldest go.
    pub raw_bytes_max: u64,
    /// Memory for blocks of the engine that are read often.
    pub cache_bytes: u64,
    /// What one read may hold of what was stored out of order; past it, the far part is read again later.
    pub read_bytes_held_max: usize,
    /// Checkpoints that deletions of recent points need start at least this far apart; who waits shares the next.
    pub erasure_checkpoints_apart: Duration,
    /// Largest of the files beside the records.
    pub file_bytes_max: u64,
    /// All of them together.
    pub files_bytes_max: u64,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            durability: Durability::Commit,
            gather: Duration::from_millis(2),
            gather_busy: Duration::from_millis(5),
            log_bytes_max: 16 * 1024 * 1024,
            queue_bytes_max: limits::COMMIT_QUEUE_BYTES_MAX,
            queue_batches_max: limits::COMMIT_QUEUE_BATCHES_MAX,
            keys_max: limits::KEYS_MAX,
            dead_letters_max: limits::DEAD_LETTERS_MAX,
            dead_letter_bytes_max: limits::DEAD_LETTER_BYTES_MAX,
            raw_bytes_max: limits::RAW_FRAME_BYTES_MAX,
            cache_bytes: 32 * 1024 * 1024,
            read_bytes_held_max: limits::READ_BYTES_HELD_MAX,
            erasure_checkpoints_apart: Duration::from_secs(1),
            file_bytes_max: 256 * 1024 * 1024,
            files_bytes_max: 10 * 1024 * 1024 * 1024,
        }
    }
}

/// An open data folder. Clones are handles of the same store; the last one closes it.
#[derive(Clone)]
pub struct Store {
    handle: Arc<Handle>,
}

const _: fn() = || {
    fn crosses_threads<T: Send + Sync>() {}
    crosses_threads::<Store>();
};

struct Handle {
    core: Arc<Core>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the threads of a store share.
pub(crate) struct Core {
    pub(crate) config: StoreConfig,
    pub(crate) db: Database,
    pub(crate) records: Keyspace,
    pub(crate) log: Keyspace,
    pub(crate) chunks: Keyspace,
    pub(crate) dead: Keyspace,
    pub(crate) raw: Keyspace,
    pub(crate) files: Files,
    pub(crate) dictionary: Dictionary,
    pub(crate) queue: Queue,
    pub(crate) recent: Recent,
    pub(crate) graveyard: Mutex<Graveyard>,
    pub(crate) departed: Departed,
    pub(crate) counts: Counts,
    /// Held by whoever replaces or removes chunks, from the first look to the last: deletion, replay or retention sweep. Taken
    /// before `chunk_writer`, which the checkpoint needs too, and which is let go of in between.
    pub(crate) chunk_replacer: Mutex<()>,
    /// Held by whoever writes chunks.
    pub(crate) chunk_writer: Mutex<Arrivals>,
    epoch: AtomicU32,
    shared: Shared,
    checkpoint: Bed,
    closing: AtomicBool,
}

/// The lane of `Store::commit`.
pub(crate) struct Shared {
    pub(crate) queue: Arc<LaneQueue>,
    pub(crate) cache: Mutex<Cache>,
}

/// Where the checkpoint thread sleeps.
#[derive(Default)]
struct Bed {
    due: Mutex<Option<Chore>>,
    called: Condvar,
}

/// What the checkpoint thread is woken for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Chore {
    /// To shorten the log, after a checkpoint that another thread made.
    Trim,
    Checkpoint,
}

/// Running totals since the store was opened.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) commits: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) messages: AtomicU64,
    pub(crate) log_bytes: AtomicU64,
    pub(crate) commit_nanos: AtomicU64,
    pub(crate) checkpoints: AtomicU64,
    pub(crate) chunks: AtomicU64,
    pub(crate) chunk_bytes: AtomicU64,
}

/// Figures for the metrics page.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct StoreCounters {
    /// Groups written; each cost one sync.
    pub commits: u64,
    pub batches: u64,
    pub messages: u64,
    pub log_bytes: u64,
    /// Time spent writing and syncing.
    pub commit_nanos: u64,
    pub checkpoints: u64,
    pub chunks: u64,
    pub chunk_bytes: u64,
    /// Batches queued or being committed, now.
    pub queue_batches: usize,
    pub queue_bytes: usize,
    /// Messages that are not in chunks yet, now.
    pub recent_bytes: usize,
    pub devices: usize,
    pub keys: usize,
    pub dead_letters: usize,
    pub dead_letters_evicted: u64,
    /// What raw frames occupy on disk, now.
    pub raw_bytes: u64,
    /// What the engine occupies on disk, now.
    pub disk_bytes: u64,
}

impl Store {
    /// Opens the folder, or makes it. Blocks while the log is read back.
    pub fn open(dir: &Path, config: StoreConfig) -> Result<Self, OpenError> {
        let (core, next) = crate::recover::open(dir, config)?;
        let mut threads = Vec::new();
        let committer = crate::commit::Committer::new(core.clone(), next);
        let checkpointer = core.clone();
        let spawned = spawn("store-commit", move || committer.run())
            .and_then(|thread| {
                threads.push(thread);
                spawn("store-checkpoint", move || crate::checkpoint::run(&checkpointer))
            })
            .map(|thread| threads.push(thread));
        let handle = Handle { core, threads: Mutex::new(threads) };
        // A handle that is dropped stops the threads that did start.
        spawned.map_err(OpenError::Thread)?;
        Ok(Self { handle: Arc::new(handle) })
    }

    /// Makes durable what is queued and ends the store's threads. Other handles get `CommitError::Closed` from now
    /// on; the folder is free when the last of them is gone.
    pub fn close(self) {
        self.handle.stop();
    }

    /// Waits until the batch is durable; for any thread and any executor. Workers have lanes, which cost less.
    pub fn commit(
        &self,
        batch: Batch,
    ) -> impl Future<Output = Result<Committed, CommitError>> + Send + 'static + use<> {
        lane::commit_from_anywhere(self.handle.core.clone(), batch)
    }

    /// The same, queued before this returns, whether there is room or not: batches that are made under a lock are stored in
    /// the order in which they were made. Whoever calls this waits for the commit, so as many are queued as there are callers.
    pub fn commit_at_once(
        &self,
        batch: Batch,
    ) -> impl Future<Output = Result<Committed, CommitError>> + Send + 'static + use<> {
        lane::commit_at_once(&self.handle.core, batch)
    }

    /// Waits until all that drafts have defined so far is committed; for any thread and any executor. A commit of nothing
    /// would be done at once, and what a draft has defined is not in the batch that it was made of.
    pub fn define(&self) -> impl Future<Output = Result<Defined, CommitError>> + Send + 'static + use<> {
        let committed = lane::commit_in_turn(self.handle.core.clone(), Batch::default());
        async move { committed.await.map(|_| Defined(())) }
    }

    /// Resolves when all that was queued before the call can be read, or nothing will be any more.
    pub fn settled(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        lane::settled(self.handle.core.clone())
    }

    /// The cheap way to commit for one worker, and the future that the worker spawns for it.
    pub fn lane<T>(&self) -> (Lane<T>, LaneDriver<T>) {
        lane::new(&self.handle.core)
    }

    /// `false` after a failed commit: nothing will be accepted until the store is opened again.
    pub fn healthy(&self) -> bool {
        self.core().queue.state() == State::Open
    }

    pub fn counters(&self) -> StoreCounters {
        let core = self.core();
        let (queue_batches, queue_bytes) = core.queue.depth();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let graveyard = core.graveyard.lock();
        StoreCounters {
            commits: read(&core.counts.commits),
            batches: read(&core.counts.batches),
            messages: read(&core.counts.messages),
            log_bytes: read(&core.counts.log_bytes),
            commit_nanos: read(&core.counts.commit_nanos),
            checkpoints: read(&core.counts.checkpoints),
            chunks: read(&core.counts.chunks),
            chunk_bytes: read(&core.counts.chunk_bytes),
            queue_batches,
            queue_bytes,
            recent_bytes: core.recent.bytes(),
            devices: core.dictionary.device_count(),
            keys: core.dictionary.key_count(),
            dead_letters: graveyard.len(),
            dead_letters_evicted: graveyard.evicted,
            raw_bytes: core.raw.disk_space(),
            disk_bytes: core.db.disk_space().unwrap_or_default(),
        }
    }

    /// What is too large for a record.
    pub fn files(&self) -> &Files {
        &self.core().files
    }

    pub(crate) fn core(&self) -> &Core {
        &self.handle.core
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}

impl Handle {
    fn stop(&self) {
        self.core.closing.store(true, Ordering::SeqCst);
        self.core.queue.close();
        self.core.wake_checkpoint();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            if thread.join().is_err() {
                tracing::error!("A thread of the store ended by a panic.");
            }
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What recovery found: the parts of a `Core` that it does not make itself.
pub(crate) struct Opened {
    pub(crate) db: Database,
    pub(crate) records: Keyspace,
    pub(crate) log: Keyspace,
    pub(crate) chunks: Keyspace,
    pub(crate) dead: Keyspace,
    pub(crate) raw: Keyspace,
}

impl Core {
    pub(crate) fn new(config: StoreConfig, opened: Opened, files: Files) -> Self {
        let queue = Queue::new(config.queue_batches_max, config.queue_bytes_max);
        let shared = Shared { queue: queue.add_lane(), cache: Mutex::default() };
        Self {
            dictionary: Dictionary::new(config.keys_max),
            config,
            db: opened.db,
            records: opened.records,
            log: opened.log,
            chunks: opened.chunks,
            dead: opened.dead,
            raw: opened.raw,
            files,
            queue,
            recent: Recent::default(),
            graveyard: Mutex::default(),
            departed: Departed::default(),
            counts: Counts::default(),
            chunk_replacer: Mutex::default(),
            chunk_writer: Mutex::default(),
            epoch: AtomicU32::new(0),
            shared,
            checkpoint: Bed::default(),
            closing: AtomicBool::new(false),
        }
    }

    /// The epoch of the generation that takes in messages now, or the one before while it changes.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::SeqCst)
    }

    pub(crate) fn set_epoch(&self, epoch: u32) {
        self.epoch.store(epoch, Ordering::SeqCst);
    }

    pub(crate) fn offer_shared(&self, batch: Batch, way: Admission<'_>) -> Result<u64, Refused> {
        let cache = &mut self.shared.cache.lock();
        self.queue.offer(&self.shared.queue, batch, &self.dictionary, cache, way, self.epoch())
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    /// Nothing is accepted any more, and nobody waits for what will not come.
    pub(crate) fn fail(&self) {
        self.queue.fail();
        self.recent.abandon();
    }

    pub(crate) fn wake_checkpoint(&self) {
        self.wake_for(Chore::Checkpoint);
    }

    pub(crate) fn wake_for(&self, chore: Chore) {
        let mut due = self.checkpoint.due.lock();
        *due = (*due).max(Some(chore));
        drop(due);
        self.checkpoint.called.notify_one();
    }

    /// Sleeps until something is to be done or the store closes.
    pub(crate) fn wait_for_chore(&self) -> Chore {
        let mut due = self.checkpoint.due.lock();
        loop {
            if let Some(chore) = due.take() {
                return chore;
            }
            self.checkpoint.called.wait(&mut due);
        }
    }
}

impl Counts {
    pub(crate) fn committed(&self, groups: &[(Arc<LaneQueue>, Pending)], log_bytes: usize, took: Duration) {
        let add = |counter: &AtomicU64, more: u64| counter.fetch_add(more, Ordering::Relaxed);
        add(&self.commits, 1);
        add(&self.batches, groups.iter().map(|(_, pending)| pending.batches as u64).sum());
        add(&self.messages, groups.iter().map(|(_, pending)| pending.messages as u64).sum());
        add(&self.log_bytes, log_bytes as u64);
        add(&self.commit_nanos, u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn chunk(&self, bytes: usize) {
        self.chunks.fetch_add(1, Ordering::Relaxed);
        self.chunk_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
