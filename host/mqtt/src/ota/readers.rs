//! The threads that read parts of packages from the disk, and the memory that such parts may take.
//!
//! Two threads for the whole process, started by the first download. What they have to do is bounded by the places:
//! nobody asks for a part before there is room for it.

use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};

use ntex::util::{Bytes, BytesMut};
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use uuid::Uuid;
use wireglot_device::{Files, StoredFile};
use wireglot_model::limits::OTA_BYTES_IN_FLIGHT_MAX;

const THREADS: usize = 2;
/// Memory is given out in pieces of this size.
const PIECE_BYTES: u64 = 1_024;

/// What was read, with the file, so that nobody has to look for it again.
type Read = io::Result<(Arc<StoredFile>, Bytes)>;

/// The readers of a process.
pub(crate) struct Readers {
    files: Files,
    room: Semaphore,
    jobs: OnceLock<mpsc::Sender<Job>>,
}

struct Job {
    name: Uuid,
    file: Option<Arc<StoredFile>>,
    offset: u64,
    bytes: usize,
    done: oneshot::Sender<Read>,
}

impl Readers {
    pub(crate) fn new(files: Files) -> Self {
        let pieces = usize::try_from(OTA_BYTES_IN_FLIGHT_MAX / PIECE_BYTES).unwrap_or(usize::MAX);
        Self { files, room: Semaphore::new(pieces), jobs: OnceLock::new() }
    }

    /// Waits for room for so many bytes, in the order of asking. It is given back when the place is dropped.
    pub(crate) async fn place(&self, bytes: u64) -> Option<SemaphorePermit<'_>> {
        let pieces =
            u32::try_from(bytes.min(OTA_BYTES_IN_FLIGHT_MAX).div_ceil(PIECE_BYTES)).unwrap_or(u32::MAX);
        // Fails only where it was closed, which nobody does.
        self.room.acquire_many(pieces).await.ok()
    }

    /// Reads a part of a file on another thread; `file` is the open one where it was read before.
    pub(crate) async fn read(
        &self,
        name: Uuid,
        file: Option<Arc<StoredFile>>,
        offset: u64,
        bytes: u64,
    ) -> Read {
        let (done, read) = oneshot::channel();
        let bytes = usize::try_from(bytes).map_err(io::Error::other)?;
        let job = Job { name, file, offset, bytes, done };
        let ended = || io::Error::other("no thread reads packages");
        self.jobs().send(job).map_err(|_| ended())?;
        read.await.map_err(|_| ended())?
    }

    fn jobs(&self) -> &mpsc::Sender<Job> {
        self.jobs.get_or_init(|| {
            let (jobs, waiting) = mpsc::channel();
            let waiting = Arc::new(Mutex::new(waiting));
            for number in 0..THREADS {
                let (waiting, files) = (waiting.clone(), self.files.clone());
                let name = format!("ota-reader-{number}");
                // They end when the sender is dropped.
                let thread = std::thread::Builder::new().name(name).spawn(move || work(&waiting, &files));
                if let Err(error) = thread {
                    tracing::error!(%error, "A thread that reads packages cannot be started.");
                }
            }
            jobs
        })
    }
}

fn work(waiting: &Mutex<mpsc::Receiver<Job>>, files: &Files) {
    loop {
        // One of them waits for the next job, the other one for its turn.
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { name, file, offset, bytes, done }) = next else { return };
        let read = || -> Read {
            let file = file.map_or_else(|| files.read(name), Ok)?;
            let mut part = BytesMut::with_capacity(bytes);
            part.resize(bytes, 0);
            file.read_at(&mut part, offset)?;
            Ok((file, part.freeze()))
        };
        // A session that has ended does not wait for it.
        drop(done.send(read()));
    }
}

const _: fn() = || {
    fn crosses_threads<T: Send + Sync>() {}
    crosses_threads::<Readers>();
};
