//! What a device is asked, as far as its session goes: which RPCs it takes, how one goes out, and what is told of it.
//!
//! What becomes of an RPC is `wireglot_device`'s to say; here it is told by its request id.

use std::num::NonZeroU16;

use ntex::util::{ByteString, Bytes};
use wireglot_device::{Written, now};
use wireglot_model::{DeviceId, Downlink};

use crate::deliver::{compose, give_up, push};
use crate::session::Session;
use crate::{children, limit, sparkplug};

/// An RPC on its way to a device: the session's own, or one behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Asked {
    pub(crate) device: DeviceId,
    /// Its request id.
    pub(crate) id: i32,
}

/// After a SUBSCRIBE or UNSUBSCRIBE, before it is acknowledged: tells whether the session takes RPCs.
pub(crate) fn note_interest(session: &Session) {
    let (has_news, takes_rpcs) = {
        let mut subscriptions = session.subscriptions.borrow_mut();
        (subscriptions.take_news(), subscriptions.rpcs().is_some())
    };
    match (has_news, takes_rpcs) {
        (false, _) => {}
        (true, true) => session.worker.devices.rpc_listens(&session.device, session.id, now()),
        (true, false) => session.worker.devices.rpc_ceases(session.device.id(), session.id, now()),
    }
}

/// The session ends, and those behind it with it.
pub(crate) fn end_interest(session: &Session) {
    children::end_interest(session);
    if session.subscriptions.borrow_mut().forget_rpcs() {
        session.worker.devices.rpc_ceases(session.device.id(), session.id, now());
    }
}

/// Delivers an RPC that came through the mailbox.
pub(crate) fn deliver(session: &Session, id: i32, downlink: &Downlink) {
    let asked = Asked { device: session.device.id(), id };
    let family = session.subscriptions.borrow().rpcs().filter(|_| !session.is_closing());
    let Some(family) = family else {
        // It was sent to the session before this one, or the subscription has gone meanwhile.
        return session.worker.devices.rpc_undelivered(asked.device, id, now());
    };
    match &session.sparkplug {
        None => publish(session, asked, compose(session, family, downlink)),
        Some(node) => sparkplug::tell(session, node, None, asked.device, downlink),
    }
}

/// Publishes an RPC; the error says why there is nothing to publish.
pub(crate) fn publish(session: &Session, asked: Asked, composed: Result<Vec<(ByteString, Bytes)>, String>) {
    match composed {
        Ok(publishes) if publishes.is_empty() => written(session, asked, None),
        Ok(publishes) => push(session, publishes, Some(asked)),
        Err(reason) => {
            give_up(session, &reason);
            session.worker.devices.rpc_failed(asked.device, asked.id, &reason, now());
        }
    }
}

/// The last publish of an RPC is written, with this packet id if the device is to acknowledge it.
pub(crate) fn written(session: &Session, asked: Asked, id: Option<NonZeroU16>) {
    let how = match id {
        Some(id) => {
            session.outbox.borrow_mut().expect(id, asked, children::count(session));
            Written::Unacknowledged
        }
        None => Written::Finally,
    };
    session.worker.devices.rpc_written(asked.device, asked.id, how, now());
    if session.sparkplug.is_some() {
        sparkplug::answer(session, asked);
    }
}

/// A publish of an RPC cannot be written: it is longer than the device takes.
pub(crate) fn unsendable(session: &Session, asked: Asked) {
    session.worker.devices.rpc_unsendable(asked.device, asked.id, now());
}

/// The device has acknowledged the last publish of an RPC.
pub(crate) fn acknowledged(session: &Session, asked: Asked) {
    // A report beyond the rate limit is lost: the RPC runs into its time-out (device API §17).
    let is_own = asked.device == session.device.id();
    let counted = if is_own { limit::message(session) } else { limit::child_message(session, None) };
    if counted.is_ok() {
        session.worker.devices.rpc_acknowledged(asked.device, asked.id, now());
    }
}
