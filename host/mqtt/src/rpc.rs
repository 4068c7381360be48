//! What a device is asked, as far as its session goes: which RPCs it takes, how one goes out, and what is told of it.
//!
//! What becomes of an RPC is `wireglot_device`'s to say; here it is told by its request id.

use std::num::NonZeroU16;

use wireglot_device::{Written, now};
use wireglot_model::Downlink;

use crate::deliver::{compose, give_up, push};
use crate::session::Session;

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

/// The session ends.
pub(crate) fn end_interest(session: &Session) {
    if session.subscriptions.borrow_mut().forget_rpcs() {
        session.worker.devices.rpc_ceases(session.device.id(), session.id, now());
    }
}

/// Delivers an RPC that came through the mailbox.
pub(crate) fn deliver(session: &Session, call: i32, downlink: &Downlink) {
    let family = session.subscriptions.borrow().rpcs().filter(|_| !session.is_closing());
    let Some(family) = family else {
        // It was sent to the session before this one, or the subscription has gone meanwhile.
        return session.worker.devices.rpc_undelivered(session.device.id(), call, now());
    };
    match compose(session, family, downlink) {
        Ok(publishes) if publishes.is_empty() => written(session, call, None),
        Ok(publishes) => push(session, publishes, Some(call)),
        Err(reason) => {
            give_up(session, &reason);
            session.worker.devices.rpc_failed(session.device.id(), call, &reason, now());
        }
    }
}

/// The last publish of an RPC is written, with this packet id if the device is to acknowledge it.
pub(crate) fn written(session: &Session, call: i32, id: Option<NonZeroU16>) {
    let how = match id {
        Some(id) => {
            session.outbox.borrow_mut().expect(id, call);
            Written::Unacknowledged
        }
        None => Written::Finally,
    };
    session.worker.devices.rpc_written(session.device.id(), call, how, now());
}

/// A publish of an RPC cannot be written: it is longer than the device takes.
pub(crate) fn unsendable(session: &Session, call: i32) {
    session.worker.devices.rpc_unsendable(session.device.id(), call, now());
}

/// The device has acknowledged the last publish of an RPC.
pub(crate) fn acknowledged(session: &Session, call: i32) {
    session.worker.devices.rpc_acknowledged(session.device.id(), call, now());
}
