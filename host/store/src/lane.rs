//! How a commit is waited for: cheaply on a worker's own thread, or from anywhere.
//!
//! A worker has a `Lane`. Each of its batches gets a ticket, the commit thread moves the lane's durable ticket on
//! and wakes the lane's driver once per commit; the driver, a future on the worker's own executor, wakes the local
//! waiters. Any waiter may be dropped at any time: its batch stays queued and becomes durable all the same.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::batch::Batch;
use crate::dictionary::Cache;
use crate::error::CommitError;
use crate::queue::{LaneQueue, Refused, State};
use crate::store::Core;

/// Proof that a batch is durable. Only a commit makes one.
#[must_use]
#[derive(Debug)]
pub struct Committed(());

/// A worker's way to the commit thread. Stays on the thread that made it.
pub struct Lane {
    inner: Rc<Inner>,
}

/// Wakes the waiters of a lane. The worker spawns it on its own executor; it ends when the lane is dropped.
#[must_use = "a lane without a running driver never reports a commit"]
pub struct LaneDriver {
    inner: Rc<Inner>,
}

struct Inner {
    core: Arc<Core>,
    queue: Arc<LaneQueue>,
    local: RefCell<Local>,
}

#[derive(Default)]
struct Local {
    cache: Cache,
    /// Who waits for which ticket, in the order of the tickets; `None` once dropped.
    waiting: VecDeque<(u64, Option<Waker>)>,
    /// Who waits for room, in the order of arrival, so that a device's messages stay in order.
    roomless: VecDeque<(u64, Option<Waker>)>,
    next_roomless: u64,
    driver: Option<Waker>,
    closed: bool,
}

pub(crate) fn new(core: &Arc<Core>) -> (Lane, LaneDriver) {
    let queue = core.queue.add_lane();
    let inner = Rc::new(Inner { core: core.clone(), queue, local: RefCell::default() });
    (Lane { inner: inner.clone() }, LaneDriver { inner })
}

impl Lane {
    /// Waits until the batch is durable; first for room in the queue, if there is none.
    pub async fn commit(&self, batch: Batch) -> Result<Committed, CommitError> {
        if batch.is_empty() {
            return Ok(Committed(()));
        }
        let ticket = Admission { lane: &self.inner, batch: Some(batch), place: None }.await?;
        Durable { lane: &self.inner, ticket, waiting: false }.await
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.inner.queue.closed.store(true, Ordering::SeqCst);
        let mut local = self.inner.local.borrow_mut();
        local.closed = true;
        let driver = local.driver.take();
        drop(local);
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}

impl Inner {
    fn offer(&self, batch: Batch) -> Result<u64, Refused> {
        let cache = &mut self.local.borrow_mut().cache;
        self.core.queue.offer(&self.queue, batch, &self.core.dictionary, cache, None, self.core.epoch())
    }
}

/// Brings a batch into the queue, in its turn.
struct Admission<'l> {
    lane: &'l Inner,
    batch: Option<Batch>,
    place: Option<u64>,
}

impl Future for Admission<'_> {
    type Output = Result<u64, CommitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.is_first() {
            self.wait(context.waker());
            return Poll::Pending;
        }
        // Announced before the attempt: room that is freed in between is then not missed.
        if self.place.is_some() {
            self.lane.queue.wants_room.store(true, Ordering::SeqCst);
        }
        let batch = self.batch.take().expect("a future that is done is not polled again");
        match self.lane.offer(batch) {
            Ok(ticket) => {
                self.leave();
                Poll::Ready(Ok(ticket))
            }
            Err(Refused::Error(error)) => {
                self.leave();
                Poll::Ready(Err(error))
            }
            Err(Refused::NoRoom(batch)) => {
                self.batch = Some(batch);
                let newcomer = self.place.is_none();
                self.wait(context.waker());
                if newcomer {
                    // Tried without announcing: try once more, now that the commit thread knows.
                    context.waker().wake_by_ref();
                }
                Poll::Pending
            }
        }
    }
}

impl Admission<'_> {
    fn is_first(&self) -> bool {
        let local = self.lane.local.borrow();
        match (local.roomless.front(), self.place) {
            (None, _) => true,
            (Some((front, _)), Some(place)) => *front == place,
            (Some(_), None) => false,
        }
    }

    fn wait(&mut self, waker: &Waker) {
        let mut local = self.lane.local.borrow_mut();
        match self.place {
            Some(place) => {
                if let Some(entry) = local.roomless.iter_mut().find(|(id, _)| *id == place) {
                    entry.1 = Some(waker.clone());
                }
            }
            None => {
                let place = local.next_roomless;
                local.next_roomless += 1;
                local.roomless.push_back((place, Some(waker.clone())));
                self.place = Some(place);
            }
        }
    }

    /// Gives up the place in the line and lets the next one try.
    fn leave(&mut self) {
        let Some(place) = self.place.take() else { return };
        let mut local = self.lane.local.borrow_mut();
        local.roomless.retain(|(id, _)| *id != place);
        let next = local.roomless.front_mut().and_then(|(_, waker)| waker.take());
        drop(local);
        if let Some(next) = next {
            next.wake();
        }
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Waits for a ticket.
struct Durable<'l> {
    lane: &'l Inner,
    ticket: u64,
    waiting: bool,
}

impl Future for Durable<'_> {
    type Output = Result<Committed, CommitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.lane.queue.durable.load(Ordering::SeqCst) >= self.ticket {
            return Poll::Ready(Ok(Committed(())));
        }
        if self.lane.core.queue.state() == State::Failed {
            return Poll::Ready(Err(CommitError::Failed));
        }
        let mut local = self.lane.local.borrow_mut();
        // A batch is waited for as soon as it has its ticket, so a new one is the highest.
        if !self.waiting {
            local.waiting.push_back((self.ticket, Some(context.waker().clone())));
        } else if let Some(entry) = local.entry(self.ticket) {
            *entry = Some(context.waker().clone());
        } else {
            // The driver took the entry for a commit that this look did not see yet.
            context.waker().wake_by_ref();
        }
        drop(local);
        self.waiting = true;
        Poll::Pending
    }
}

impl Drop for Durable<'_> {
    fn drop(&mut self) {
        // The usual end: the driver has taken the entry, and everything before it.
        if !self.waiting || self.lane.queue.durable.load(Ordering::SeqCst) >= self.ticket {
            return;
        }
        if let Some(entry) = self.lane.local.borrow_mut().entry(self.ticket) {
            *entry = None;
        }
    }
}

impl Local {
    fn entry(&mut self, ticket: u64) -> Option<&mut Option<Waker>> {
        let place = self.waiting.binary_search_by_key(&ticket, |(waiting, _)| *waiting).ok()?;
        self.waiting.get_mut(place).map(|(_, waker)| waker)
    }
}

impl Future for LaneDriver {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // Registered before looking: what becomes durable in between wakes us again.
        *self.inner.queue.driver.lock() = Some(context.waker().clone());
        let failed = self.inner.core.queue.state() == State::Failed;
        let durable = if failed { u64::MAX } else { self.inner.queue.durable.load(Ordering::SeqCst) };
        let mut local = self.inner.local.borrow_mut();
        if local.closed {
            return Poll::Ready(());
        }
        local.driver = Some(context.waker().clone());
        // Waking only marks a task on this thread's own executor, but nothing says so: let go of the borrow first.
        let settled = local.waiting.partition_point(|(ticket, _)| *ticket <= durable);
        let mut due: Vec<Waker> = local.waiting.drain(..settled).filter_map(|(_, waker)| waker).collect();
        due.extend(local.roomless.front_mut().and_then(|(_, waker)| waker.take()));
        drop(local);
        due.into_iter().for_each(Waker::wake);
        Poll::Pending
    }
}

/// The answer to one `Store::commit`.
#[derive(Default)]
pub(crate) struct Shot {
    state: Mutex<ShotState>,
}

#[derive(Default)]
struct ShotState {
    result: Option<Result<(), CommitError>>,
    waiter: Option<Waker>,
}

impl Shot {
    pub(crate) fn settle(&self, result: Result<(), CommitError>) {
        let mut state = self.state.lock();
        state.result = Some(result);
        let waiter = state.waiter.take();
        drop(state);
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }

    fn poll(&self, context: &Context<'_>) -> Poll<Result<Committed, CommitError>> {
        let mut state = self.state.lock();
        match state.result {
            Some(result) => Poll::Ready(result.map(Committed)),
            None => {
                state.waiter = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// The path of `Store::commit`: any thread, any executor.
pub(crate) async fn commit_from_anywhere(core: Arc<Core>, batch: Batch) -> Result<Committed, CommitError> {
    if batch.is_empty() {
        return Ok(Committed(()));
    }
    let shot = Arc::new(Shot::default());
    let mut offered = Some(batch);
    std::future::poll_fn(|context| {
        let batch = offered.take().expect("a future that is done is not polled again");
        let admitted = match core.offer_shared(batch, &shot) {
            Err(Refused::NoRoom(batch)) => {
                // Registered before the second attempt: room that is freed in between is then not missed.
                core.queue.wait_for_room(context.waker());
                core.offer_shared(batch, &shot)
            }
            settled => settled,
        };
        match admitted {
            Ok(_) => Poll::Ready(Ok(())),
            Err(Refused::Error(error)) => Poll::Ready(Err(error)),
            Err(Refused::NoRoom(batch)) => {
                offered = Some(batch);
                Poll::Pending
            }
        }
    })
    .await?;
    std::future::poll_fn(|context| shot.poll(context)).await
}
