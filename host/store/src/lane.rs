//! How a commit is waited for: cheaply on a worker's own thread, or from anywhere.
//!
//! A worker has a `Lane`. Whatever it wants to finish once a batch is durable goes in with the batch and comes out of
//! the lane's driver, a future on the worker's own executor that the commit thread wakes once per commit: a message
//! costs no task and no waker of its own. What was submitted comes out in the order in which it went in.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::batch::Batch;
use crate::dictionary::Cache;
use crate::error::CommitError;
use crate::queue::{Admission, LaneQueue, Refused, State};
use crate::store::Core;

/// Proof that a batch is durable. Only a commit makes one.
#[must_use]
#[derive(Debug)]
pub struct Committed(());

/// A worker's way to the commit thread. Stays on the thread that made it. `T` is what the worker has to finish.
pub struct Lane<T> {
    inner: Rc<Inner<T>>,
}

/// Where what was submitted comes out. Drops all of it that is left when it is dropped.
#[must_use = "a lane without a running driver never reports a commit"]
pub struct LaneDriver<T> {
    inner: Rc<Inner<T>>,
}

struct Inner<T> {
    core: Arc<Core>,
    queue: Arc<LaneQueue>,
    local: RefCell<Local<T>>,
}

struct Local<T> {
    cache: Cache,
    /// What waits for which ticket, in the order of the tickets.
    waiting: VecDeque<(u64, T)>,
    last_ticket: u64,
    /// Who waits for room.
    roomless: Vec<Waker>,
    driver: Option<Waker>,
    closed: bool,
}

pub(crate) fn new<T>(core: &Arc<Core>) -> (Lane<T>, LaneDriver<T>) {
    let queue = core.queue.add_lane();
    let local = Local {
        cache: Cache::default(),
        waiting: VecDeque::new(),
        last_ticket: 0,
        roomless: Vec::new(),
        driver: None,
        closed: false,
    };
    let inner = Rc::new(Inner { core: core.clone(), queue, local: RefCell::new(local) });
    (Lane { inner: inner.clone() }, LaneDriver { inner })
}

impl<T> Lane<T> {
    /// Queues the batch. `then` comes out of the driver when the batch is durable or lost, and is given back with the
    /// reason where the batch is refused. An empty batch is durable with everything that was submitted before it.
    ///
    /// The bound of the queue is the caller's to respect: a worker that asks `poll_room` before it reads its next
    /// message exceeds it by one message at most.
    pub fn submit(&self, batch: Batch, then: T) -> Result<(), (CommitError, T)> {
        let core = &self.inner.core;
        let mut local = self.inner.local.borrow_mut();
        if !batch.is_empty() {
            let queue = &self.inner.queue;
            let way = Admission::Anyway;
            match core.queue.offer(queue, batch, &core.dictionary, &mut local.cache, way, core.epoch()) {
                Ok(ticket) => local.last_ticket = ticket,
                Err(Refused::Error(error)) => return Err((error, then)),
                Err(Refused::NoRoom(_)) => unreachable!("it was let in anyway"),
            }
        }
        let ticket = local.last_ticket;
        local.waiting.push_back((ticket, then));
        // Nothing that is still to be committed would wake the driver.
        let is_due = self.inner.is_settled(ticket);
        let driver = is_due.then(|| local.driver.take()).flatten();
        drop(local);
        if let Some(driver) = driver {
            driver.wake();
        }
        Ok(())
    }

    /// Whether the queue takes more.
    pub fn has_room(&self) -> bool {
        self.inner.core.queue.has_room()
    }

    /// Resolves when the queue takes more, or nothing at all any more.
    pub fn poll_room(&self, context: &Context<'_>) -> Poll<()> {
        if self.has_room() {
            return Poll::Ready(());
        }
        // Announced before the second look: room that is freed in between is then not missed.
        self.inner.queue.wants_room.store(true, Ordering::SeqCst);
        self.inner.local.borrow_mut().roomless.push(context.waker().clone());
        if self.has_room() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl<T> Drop for Lane<T> {
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

impl<T> LaneDriver<T> {
    /// Hands out what is durable or lost, until the lane is dropped. The worker spawns it on its own executor.
    pub async fn run(self, mut finish: impl FnMut(T, Result<Committed, CommitError>)) {
        poll_fn(|context| self.poll(context, &mut finish)).await;
    }

    fn poll(
        &self,
        context: &mut Context<'_>,
        finish: &mut impl FnMut(T, Result<Committed, CommitError>),
    ) -> Poll<()> {
        let inner = &self.inner;
        // Registered before looking: what becomes durable in between wakes us again.
        *inner.queue.driver.lock() = Some(context.waker().clone());
        inner.local.borrow_mut().driver = Some(context.waker().clone());
        let has_failed = inner.core.queue.state() == State::Failed;
        let durable = inner.queue.durable.load(Ordering::SeqCst);
        let last = if has_failed { u64::MAX } else { durable };
        // One by one, and without a borrow: what is finished may submit more.
        while let Some((ticket, then)) = inner.next_until(last) {
            finish(then, if ticket <= durable { Ok(Committed(())) } else { Err(CommitError::Failed) });
        }
        let mut local = inner.local.borrow_mut();
        let queue = &inner.core.queue;
        let has_room = !local.roomless.is_empty()
            && (queue.has_room() || {
                // Another lane was faster. Announced again before the second look, as in `poll_room`.
                inner.queue.wants_room.store(true, Ordering::SeqCst);
                queue.has_room()
            });
        let roomless = if has_room { std::mem::take(&mut local.roomless) } else { Vec::new() };
        let closed = local.closed;
        drop(local);
        roomless.into_iter().for_each(Waker::wake);
        if closed { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl<T> Drop for LaneDriver<T> {
    fn drop(&mut self) {
        let mut local = self.inner.local.borrow_mut();
        let left = std::mem::take(&mut local.waiting);
        drop(local);
        // It may hold on to the lane itself.
        drop(left);
    }
}

impl<T> Inner<T> {
    fn is_settled(&self, ticket: u64) -> bool {
        self.queue.durable.load(Ordering::SeqCst) >= ticket || self.core.queue.state() == State::Failed
    }

    fn next_until(&self, last: u64) -> Option<(u64, T)> {
        self.local.borrow_mut().waiting.pop_front_if(|(ticket, _)| *ticket <= last)
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
    if batch.is_empty() { Ok(Committed(())) } else { commit_in_turn(core, batch).await }
}

/// The same, behind everything that was queued before, whatever is in the batch.
pub(crate) async fn commit_in_turn(core: Arc<Core>, batch: Batch) -> Result<Committed, CommitError> {
    let shot = Arc::new(Shot::default());
    let mut offered = Some(batch);
    std::future::poll_fn(|context| {
        let batch = offered.take().expect("a future that is done is not polled again");
        let admitted = match core.offer_shared(batch, Admission::WithRoom(&shot)) {
            Err(Refused::NoRoom(batch)) => {
                // Registered before the second attempt: room that is freed in between is then not missed.
                core.queue.wait_for_room(context.waker());
                core.offer_shared(batch, Admission::WithRoom(&shot))
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

/// The path of `Store::commit_at_once`: queued when this returns.
pub(crate) fn commit_at_once(
    core: &Core,
    batch: Batch,
) -> impl Future<Output = Result<Committed, CommitError>> + Send + 'static + use<> {
    let shot = Arc::new(Shot::default());
    let has_changes = !batch.is_empty();
    let offered = if has_changes {
        core.offer_shared(batch, Admission::AtOnce(&shot)).map(drop).map_err(|refused| match refused {
            Refused::Error(error) => error,
            Refused::NoRoom(_) => unreachable!("what is let in at once does not ask for room"),
        })
    } else {
        Ok(())
    };
    async move {
        offered?;
        if !has_changes {
            return Ok(Committed(()));
        }
        std::future::poll_fn(|context| shot.poll(context)).await
    }
}

/// The path of `Store::settled`.
pub(crate) async fn settled(core: Arc<Core>) {
    let mut due = core.queue.last_tickets();
    std::future::poll_fn(|context| {
        // Registered before looking: a commit in between wakes us again.
        core.queue.wait_for_room(context.waker());
        due.retain(|(lane, ticket)| lane.durable.load(Ordering::SeqCst) < *ticket);
        if due.is_empty() || core.queue.state() == State::Failed { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
