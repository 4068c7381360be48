//! The way of a device's single request into a worker, and of its answer back: bounded, and known to be pointless as soon
//! as whoever asked has gone.
//!
//! The requests of one token all go to the same worker, so they meet the same instances and what the worker knows already.

use std::future::Future;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::pin::Pin;
use std::task::{Context, Poll};

use parking_lot::RwLock;
use tokio::sync::{mpsc, oneshot};
use wireglot_model::limits::DESK_REQUESTS_MAX;
use wireglot_model::{DeviceAnswer, DeviceRequest, RequestRefusal, Wish};

/// Where workers take requests, one desk each.
#[derive(Default)]
pub(crate) struct Desks(RwLock<Vec<mpsc::Sender<Brought>>>);

/// A request at its worker.
pub struct Brought {
    /// What is asked.
    pub request: DeviceRequest,
    /// Where the answer goes.
    pub reply: AnswerTo,
}

/// The way back of one answer.
pub struct AnswerTo(oneshot::Sender<DeviceAnswer>);

/// The answer that is to come. Who drops it does not want it any more.
pub struct AnswerAwaited(oneshot::Receiver<DeviceAnswer>);

/// The requests of one worker; it stays there.
pub struct Desk(mpsc::Receiver<Brought>);

impl Desks {
    pub(crate) fn open(&self) -> Desk {
        let (to, desk) = mpsc::channel(DESK_REQUESTS_MAX);
        let mut desks = self.0.write();
        // Those of workers that have ended.
        desks.retain(|desk| !desk.is_closed());
        desks.push(to);
        Desk(desk)
    }

    pub(crate) fn bring(&self, request: DeviceRequest) -> Result<AnswerAwaited, RequestRefusal> {
        let (reply, answer) = oneshot::channel();
        let desks = self.0.read();
        let count = desks.len() as u64;
        let number = digest(&request.wish).checked_rem(count).and_then(|number| usize::try_from(number).ok());
        // Before the workers are there, and when they have ended.
        let desk = number.and_then(|number| desks.get(number)).ok_or(RequestRefusal::Stopping)?;
        match desk.try_send(Brought { request, reply: AnswerTo(reply) }) {
            Ok(()) => Ok(AnswerAwaited(answer)),
            Err(mpsc::error::TrySendError::Full(_)) => Err(RequestRefusal::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(RequestRefusal::Stopping),
        }
    }
}

fn digest(wish: &Wish) -> u64 {
    let mut hasher = DefaultHasher::new();
    match wish {
        Wish::OfDevice { token, .. } => token.hash(&mut hasher),
        Wish::Provision(payload) => payload.hash(&mut hasher),
    }
    hasher.finish()
}

impl Desk {
    /// The next request; `None` when nobody can bring one any more.
    pub async fn next(&mut self) -> Option<Brought> {
        self.0.recv().await
    }
}

impl AnswerTo {
    /// Gives the answer; whether somebody still waited for it.
    pub fn give(self, answer: DeviceAnswer) -> bool {
        self.0.send(answer).is_ok()
    }

    /// Whether nobody waits any more.
    pub fn is_gone(&self) -> bool {
        self.0.is_closed()
    }

    /// Resolves when nobody waits any more.
    pub fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.0.poll_closed(context)
    }
}

impl Future for AnswerAwaited {
    type Output = DeviceAnswer;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<DeviceAnswer> {
        // A worker that ends without an answer may have kept what was said or not: whoever said it says it again.
        let lost = |_| DeviceAnswer::Refused(RequestRefusal::Stopping);
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or_else(lost))
    }
}
