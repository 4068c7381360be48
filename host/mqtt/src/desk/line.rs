//! The answer of one request, as the line of its session: the first thing that is written is all that is.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll};

use ntex::task::LocalWaker;
use wireglot_bus::AnswerTo;
use wireglot_device::now;
use wireglot_model::{DeviceAnswer, Downlink, RequestRefusal};
use wireglot_route::Family;

use super::Awaited;
use crate::ack::Close;
use crate::deliver::{compose, give_up};
use crate::publish::Answer;
use crate::session::{Publication, Session};

/// The way back to whoever has asked.
pub(crate) struct Line {
    reply: RefCell<Option<AnswerTo>>,
    awaited: Option<Awaited>,
    /// What the request says is durable.
    is_taken: Cell<bool>,
    /// Why what was said cannot be used.
    reason: Cell<Option<String>>,
    done: LocalWaker,
}

impl Line {
    pub(super) fn new(reply: AnswerTo, awaited: Option<Awaited>) -> Self {
        Self {
            reply: RefCell::new(Some(reply)),
            awaited,
            is_taken: Cell::new(false),
            reason: Cell::new(None),
            done: LocalWaker::new(),
        }
    }

    /// What the request waits for beside the device's session.
    pub(super) fn awaited(&self) -> Option<Awaited> {
        self.awaited
    }

    /// Gives the one answer; whether somebody takes it.
    pub(crate) fn give(&self, answer: DeviceAnswer) -> bool {
        let Some(reply) = self.reply.take() else { return false };
        self.done.wake();
        reply.give(answer)
    }

    /// Says no, unless there is an answer already.
    pub(crate) fn refuse(&self, refusal: RequestRefusal) {
        let _unheard = self.give(DeviceAnswer::Refused(refusal));
    }

    /// Notes why what was said cannot be used, for the answer that is to come.
    pub(crate) fn explain(&self, reason: &str) {
        self.reason.set(Some(reason.to_owned()));
    }

    pub(crate) fn publish(&self, publication: Publication) {
        self.give(DeviceAnswer::Said { payload: publication.payload.to_vec(), rpc: None });
    }

    pub(crate) fn answer(&self, answer: Answer) {
        let (Answer::Acknowledged(_, ack) | Answer::Received(_, ack)) = answer else { return };
        match ack.refusal(self.reason.take()) {
            None => {
                // What it asks for comes after its acknowledgement, and is the answer then.
                self.is_taken.set(true);
                self.done.wake();
            }
            Some(refusal) => self.refuse(refusal),
        }
    }

    /// Whether what the request says is durable.
    pub(super) fn is_taken(&self) -> bool {
        self.is_taken.get()
    }

    pub(crate) fn close(&self, reason: Option<Close>) {
        let refusal = reason.map_or(RequestRefusal::Failed, Close::refusal);
        self.refuse(refusal);
    }

    /// Whether somebody still waits.
    fn is_open(&self) -> bool {
        self.reply.borrow().as_ref().is_some_and(|reply| !reply.is_gone())
    }

    /// Resolves when there is an answer, or nobody waits for one.
    pub(super) fn poll_done(&self, context: &mut Context<'_>) -> Poll<()> {
        self.done.register(context.waker());
        match self.reply.borrow_mut().as_mut() {
            Some(reply) => reply.poll_gone(context),
            None => Poll::Ready(()),
        }
    }
}

/// Answers with what a publish to the device would say.
pub(crate) fn tell(session: &Session, line: &Line, family: Family, downlink: &Downlink) {
    match one(session, family, downlink) {
        Ok(Some(payload)) => {
            session.worker.counters.downlinks_sent.count();
            line.give(DeviceAnswer::Said { payload, rpc: None });
        }
        Ok(None) => {
            line.give(DeviceAnswer::Taken);
        }
        Err(reason) => {
            give_up(session, &reason);
            line.refuse(RequestRefusal::Unusable(reason));
        }
    }
}

/// Answers with an attribute update. What the codec has no words for is passed over.
pub(super) fn tell_awaited(session: &Session, line: &Line, downlink: &Downlink) {
    let family = session.subscriptions.borrow().updates();
    let Some(family) = family.filter(|_| line.is_open()) else { return };
    match one(session, family, downlink) {
        Ok(Some(payload)) => {
            session.worker.counters.downlinks_sent.count();
            line.give(DeviceAnswer::Said { payload, rpc: None });
        }
        Ok(None) => {}
        Err(reason) => give_up(session, &reason),
    }
}

/// Answers with an RPC. One that nobody waits for is given back when the request leaves.
pub(super) fn tell_rpc(session: &Session, line: &Line, id: i32, downlink: &Downlink) {
    let (devices, device) = (&session.worker.devices, &session.device);
    let family = session.subscriptions.borrow().rpcs();
    let Some(family) = family.filter(|_| line.is_open()) else { return };
    match one(session, family, downlink) {
        Ok(Some(payload)) => {
            if line.give(DeviceAnswer::Said { payload, rpc: Some(id) }) {
                session.worker.counters.downlinks_sent.count();
                devices.rpc_taken(device.id(), id, now());
            }
            return;
        }
        // The codec has nothing to say, and has said it.
        Ok(None) => devices.rpc_taken(device.id(), id, now()),
        Err(reason) => {
            give_up(session, &reason);
            devices.rpc_failed(device.id(), id, &reason, now());
        }
    }
    devices.rpc_awaited(device, session.id, now());
}

/// The one payload that a downlink is.
fn one(session: &Session, family: Family, downlink: &Downlink) -> Result<Option<Vec<u8>>, String> {
    let mut publishes = compose(session, family, downlink)?;
    match publishes.len() {
        0 | 1 => Ok(publishes.pop().map(|(_, payload)| payload.to_vec())),
        count => Err(format!("the codec makes {count} frames of it, and a request has one answer")),
    }
}
