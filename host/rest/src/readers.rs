//! Reads take turns: a few threads of their own, so that no number of readers takes memory or processors from devices.
//!
//! They run at a low priority, which they keep for good; that is why the pool of the runtime does not do it. Long reads
//! (histories) and short ones (latest values) wait for their turn apart, each in the order of asking.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock, mpsc};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tracing::{debug, error};
use wireglot_device::DeviceError;

use crate::error::ApiError;

/// Below devices, above candidates of codecs.
const NICE: i32 = 5;

type Job = Box<dyn FnOnce() + Send>;

/// The right to read.
pub(crate) type Turn = OwnedSemaphorePermit;

/// Threads for one kind of reads, started by the first one.
pub(crate) struct Readers {
    name: &'static str,
    threads: usize,
    turns: Arc<Semaphore>,
    jobs: OnceLock<mpsc::Sender<Job>>,
}

#[derive(Debug, thiserror::Error)]
#[error("no thread reads the store for the management side")]
struct NoReader;

impl Readers {
    pub(crate) fn new(name: &'static str, threads: usize) -> Self {
        Self { name, threads, turns: Arc::new(Semaphore::new(threads)), jobs: OnceLock::new() }
    }

    /// Reads when it is its turn. Whoever goes away while waiting gives the turn up.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, DeviceError> + Send + 'static,
    ) -> Result<T, ApiError> {
        Ok(self.read_and_hold(read).await?.0)
    }

    /// The same, with the turn, which lasts until it is dropped.
    pub(crate) async fn read_and_hold<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, DeviceError> + Send + 'static,
    ) -> Result<(T, Turn), ApiError> {
        let turn = self.turn().await?;
        let (done, outcome) = oneshot::channel();
        // The turn goes along: a read whose client has gone away still takes a thread.
        let job: Job = Box::new(move || {
            if !done.is_closed() {
                drop(done.send((read(), turn)));
            }
        });
        self.jobs().send(job).map_err(|_| ApiError::internal(&NoReader))?;
        let (read, turn) = outcome.await.map_err(|_| ApiError::internal(&NoReader))?;
        Ok((read?, turn))
    }

    /// A place among those that may read now.
    pub(crate) async fn turn(&self) -> Result<Turn, ApiError> {
        // Fails only where it was closed, which nobody does.
        self.turns.clone().acquire_owned().await.map_err(|closed| ApiError::internal(&closed))
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
            // The next one needs the thread, whatever became of this one.
            Ok(job) => {
                if std::panic::catch_unwind(AssertUnwindSafe(job)).is_err() {
                    error!("A read for the management side broke off.");
                }
            }
            Err(_closed) => return,
        }
    }
}
