//! Who of a connection is online, and what is written when it is not any more.
//!
//! A birth says that its owner is online, at a time of the node's clock, and `OFFLINE` has to come after that whatever this
//! clock shows: it is written now, or right after the birth where that is later, or where a successor tells the rest.

use std::collections::BTreeMap;
use std::rc::Rc;

use ntex::time::{Millis, sleep};
use wireglot_device::{DeviceHandle, Parts, now};
use wireglot_model::Timestamp;

use super::{Node, OFFLINE, state, telemetry};
use crate::children;
use crate::publish::of_server;
use crate::session::Session;

/// How long a device has to be born again after its node was.
const REBORN_WITHIN: Millis = Millis(5_000);
/// Devices that are told offline at once: the worker serves others in between.
const LOST_AT_ONCE: usize = 256;

/// A device behind a node that was heard and has not died.
struct Alive {
    device: DeviceHandle,
    /// When its last birth was; `None`: it had none here.
    online: Option<Timestamp>,
}

/// The devices behind a node that were heard and have not died, by their short names. Each has a sub-session.
#[derive(Default)]
pub(super) struct Life(BTreeMap<Box<str>, Alive>);

impl Life {
    /// The device was heard. One that was made again under its name is another one.
    pub(super) fn hear(&mut self, short: &str, device: &DeviceHandle) {
        if self.0.get(short).is_none_or(|alive| alive.device.id() != device.id()) {
            self.0.insert(short.into(), Alive { device: device.clone(), online: None });
        }
    }

    /// The device was born at this time.
    pub(super) fn be_born(&mut self, short: &str, at: Timestamp) {
        if let Some(alive) = self.0.get_mut(short) {
            alive.online = Some(at);
        }
    }

    pub(super) fn born(&self, short: &str) -> Option<Timestamp> {
        self.0.get(short)?.online
    }

    pub(super) fn remove(&mut self, short: &str) {
        self.0.remove(short);
    }
}

/// When that was after which something else is said at `at`.
pub(super) fn after(online: Option<Timestamp>, at: Timestamp) -> Timestamp {
    online.map_or(at, |online| at.max(Timestamp(online.0.saturating_add(1))))
}

/// The session of the device behind the node has ended, as another connection has it now, or as it was deleted.
pub(crate) fn forget(node: &Node, name: &str) {
    node.life.borrow_mut().remove(node.short(name));
}

/// The node was born again. The devices behind it take commands from their next birth on, and whichever has none within
/// some seconds is offline.
pub(super) fn void_devices(session: &Rc<Session>, node: &Node) {
    let names = node.births.borrow_mut().void_devices();
    for short in &names {
        children::cease_one(session, &node.full(short));
    }
    if names.is_empty() || node.is_voiding.replace(true) {
        return;
    }
    let session = session.clone();
    ntex::rt::spawn(async move {
        sleep(REBORN_WITHIN).await;
        let Some(node) = &session.sparkplug else { return };
        node.is_voiding.set(false);
        let names: Vec<Box<str>> = node.life.borrow().0.keys().cloned().collect();
        for some in names.chunks(LOST_AT_ONCE) {
            // The end of the session tells of all of them.
            if session.is_closing() {
                return;
            }
            lose_unborn(&session, node, some);
            sleep(Millis(1)).await;
        }
    });
}

/// Those of these devices are offline that were not born since their node was.
fn lose_unborn(session: &Rc<Session>, node: &Node, names: &[Box<str>]) {
    let mut lost = Vec::new();
    let since = node.online.get().unwrap_or_else(now);
    for short in names {
        let is_unborn = node.births.borrow().of(Some(&**short)).is_none();
        if let Some(alive) = node.life.borrow_mut().0.get_mut(short).filter(|_| is_unborn)
            && let Some(online) = alive.online.take()
        {
            lost.push((alive.device.clone(), after(Some(online), since)));
        }
    }
    write(session, lost);
}

/// These sub-sessions have ended with the connection: their devices are offline, unless another connection has them.
pub(crate) fn lose<'a>(session: &Rc<Session>, names: impl Iterator<Item = &'a str>) {
    let Some(node) = &session.sparkplug else { return };
    let devices = &session.worker.devices;
    let mut lost = Vec::new();
    for name in names {
        let Some(alive) = node.life.borrow_mut().0.remove(node.short(name)) else { continue };
        if !devices.is_connected(alive.device.id())
            && let Some(at) = end_of(session, alive.online)
        {
            lost.push((alive.device, at));
        }
    }
    write(session, lost);
}

/// The session has ended, by whatever death: the node is offline.
pub(crate) fn end(session: &Rc<Session>) {
    let Some(node) = &session.sparkplug else { return };
    if node.born.take().is_some()
        && let Some(at) = end_of(session, node.online.get())
    {
        write(session, vec![(session.device.clone(), at)]);
    }
}

/// When somebody went offline with the session; `None`: that is not known to have been online. What takes the session over
/// may have told of its own births already, so nothing is said that comes after them.
fn end_of(session: &Session, online: Option<Timestamp>) -> Option<Timestamp> {
    let at = now();
    let is_taken_over = session.worker.devices.is_connected(session.device.id());
    if is_taken_over { online.map(|online| after(Some(online), online)) } else { Some(after(online, at)) }
}

fn write(session: &Rc<Session>, lost: Vec<(DeviceHandle, Timestamp)>) {
    if lost.is_empty() {
        return;
    }
    let ingest = &session.worker.ingest;
    let (mut parts, received) = (Parts::default(), now());
    for (device, at) in lost {
        let said = telemetry(vec![state(Some(at), OFFLINE)]);
        if let Err(error) = ingest.add(&mut parts, &device, received, None, said, None) {
            tracing::debug!(device = %device.id(), %error, "The end of a Sparkplug device is not written.");
        }
    }
    if let Err((error, _)) = ingest.accept_parts(parts, of_server(session)) {
        tracing::warn!(device = %session.device.id(), %error, "The end of a Sparkplug session is not written.");
    }
}
