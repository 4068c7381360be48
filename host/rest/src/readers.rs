//! Reads take turns: a few threads of their own, so that no number of readers takes memory or processors from devices.
//!
//! They run at a low priority, which they keep for good; that is why the pool of the runtime does not do it. Long reads
//! (histories) and short ones (latest values) wait for their turn apart, each in the order of asking.

use std::sync::{Arc, OnceLock, mpsc};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};
use tracing::{debug, error};
use wireglot_device::DeviceError;

use crate::error::ApiError;

/// Below devices, above candidates of codecs.
const NICE: i32 = 5;

type Job = Box<dyn FnOnce() + Send>;

/// Threads for one kind of reads, started by the first one.
pub(crate) struct Readers {
    name: &'static str,
    threads: usize,
    turns: Semaphore,
    jobs: OnceLock<mpsc::Sender<Job>>,
}

#[derive(Debug, thiserror::Error)]
#[error("no thread reads the store for the management side")]
struct NoReader;

impl Readers {
    pub(crate) fn new(name: &'static str, threads: usize) -> Self {
        Self { name, threads, turns: Semaphore::new(threads), jobs: OnceLock::new() }
    }

    /// Reads when it is its turn. Whoever goes away while waiting gives the turn up.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, DeviceError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let _turn = self.turn().await?;
        self.read_in_turn(read).await
    }

    /// A place among those that may read now.
    pub(crate) async fn turn(&self) -> Result<tokio::sync::SemaphorePermit<'_>, ApiError> {
        // Fails only where it was closed, which nobody does.
        self.turns.acquire().await.map_err(|closed| ApiError::internal(&closed))
    }

    /// The same for who holds a turn already.
    pub(crate) async fn read_in_turn<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, DeviceError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let (done, outcome) = oneshot::channel();
        // A client that has gone away does not wait for it.
        let job: Job = Box::new(move || drop(done.send(read())));
        self.jobs().send(job).map_err(|_| ApiError::internal(&NoReader))?;
        Ok(outcome.await.map_err(|_| ApiError::internal(&NoReader))??)
    }

    fn jobs(&self) -> &mpsc::Sender<Job> {
        self.jobs.get_or_init(|| {
            let (jobs, waiting) = mpsc::channel::<Job>();
            let waiting = Arc::new(Mutex::new(waiting));
            for number in 0..self.threads {
                let waiting = waiting.clone();
                let name = format!("{}-{number}", self.name);
                // They end when the sender is dropped.
                let thread = std::thread::Builder::new().name(name).spawn(move || work(&waiting));
                if let Err(error) = thread {
                    error!(%error, "A thread that reads for the management side cannot be started.");
                }
            }
            jobs
        })
    }
}

fn work(waiting: &Mutex<mpsc::Receiver<Job>>) {
    if let Err(error) = rustix::process::nice(NICE) {
        debug!(%error, "A thread that reads for the management side keeps its priority.");
    }
    loop {
        // One of them waits for the next job, the others for their turn.
        let next = waiting.lock().recv();
        match next {
            Ok(job) => job(),
            Err(_closed) => return,
        }
    }
}
