//! Which worker holds the session of a device: at most one session per device (device API §4.1), and beside it a few
//! requests that wait for one thing to be told.

use std::collections::HashMap;

use parking_lot::RwLock;
use wireglot_model::downlink::CloseReason;
use wireglot_model::limits::{POLLS_MAX, POLLS_PER_DEVICE_MAX};
use wireglot_model::{DeviceId, Downlink, SessionId};

use crate::Delivery;
use crate::mailbox::{Mailbox, Undelivered};

/// Bounded by the connections that the listener admits.
#[derive(Default)]
pub(crate) struct Presence {
    sessions: RwLock<HashMap<DeviceId, Place>>,
    polls: RwLock<Polls>,
}

/// The requests that wait.
#[derive(Default)]
struct Polls {
    of: HashMap<DeviceId, Vec<Place>>,
    count: usize,
}

/// As many requests wait as may, of all devices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooManyPolls;

struct Place {
    session: SessionId,
    mailbox: Mailbox,
}

impl Presence {
    pub(crate) fn attach(
        &self,
        device: DeviceId,
        session: SessionId,
        mailbox: &Mailbox,
    ) -> Option<SessionId> {
        let place = Place { session, mailbox: mailbox.clone() };
        let evicted = self.sessions.write().insert(device, place)?;
        if evicted.session == session {
            return None;
        }
        close(&evicted, CloseReason::TakenOver);
        Some(evicted.session)
    }

    pub(crate) fn detach(&self, device: DeviceId, session: SessionId) -> bool {
        let mut sessions = self.sessions.write();
        let is_current = sessions.get(&device).is_some_and(|place| place.session == session);
        if is_current {
            sessions.remove(&device);
        }
        is_current
    }

    pub(crate) fn send(&self, device: DeviceId, downlink: Downlink) -> Delivery {
        if let Downlink::Close(reason) = downlink {
            self.close_polls(device, reason);
            let Some(place) = self.sessions.write().remove(&device) else { return Delivery::NotConnected };
            return close(&place, reason);
        }
        self.tell_polls(device, &downlink);
        let sessions = self.sessions.read();
        let Some(place) = sessions.get(&device) else { return Delivery::NotConnected };
        deliver(place, downlink)
    }

    pub(crate) fn attach_poll(
        &self,
        device: DeviceId,
        poll: SessionId,
        mailbox: &Mailbox,
    ) -> Result<(), TooManyPolls> {
        let mut polls = self.polls.write();
        let Polls { of, count } = &mut *polls;
        let mut waiting = of.get_mut(&device);
        if let Some(waiting) = waiting.as_mut().filter(|waiting| waiting.len() >= POLLS_PER_DEVICE_MAX) {
            // Its connection may have broken off without a word, and the device must not wait until that is noticed.
            close(&waiting.remove(0), CloseReason::TakenOver);
            *count -= 1;
        }
        if *count >= POLLS_MAX {
            return Err(TooManyPolls);
        }
        of.entry(device).or_default().push(Place { session: poll, mailbox: mailbox.clone() });
        *count += 1;
        Ok(())
    }

    pub(crate) fn detach_poll(&self, device: DeviceId, poll: SessionId) {
        let mut polls = self.polls.write();
        let Some(waiting) = polls.of.get_mut(&device) else { return };
        let before = waiting.len();
        waiting.retain(|place| place.session != poll);
        let gone = before - waiting.len();
        if waiting.is_empty() {
            polls.of.remove(&device);
        }
        polls.count -= gone;
    }

    pub(crate) fn send_to_poll(&self, device: DeviceId, poll: SessionId, downlink: Downlink) -> Delivery {
        let polls = self.polls.read();
        let mut waiting = polls.of.get(&device).into_iter().flatten();
        match waiting.find(|place| place.session == poll) {
            Some(place) => deliver(place, downlink),
            None => Delivery::NotConnected,
        }
    }

    pub(crate) fn polls(&self) -> usize {
        self.polls.read().count
    }

    /// What a request misses that is told while its worker has fallen behind is not told again: it asks for the state.
    fn tell_polls(&self, device: DeviceId, downlink: &Downlink) {
        match downlink {
            Downlink::AttributeUpdate(_) | Downlink::AttributeDelete(_) => {}
            Downlink::AttributeResponse { .. }
            | Downlink::RpcRequest { .. }
            | Downlink::ClientRpcAnswer { .. }
            | Downlink::Close(_) => return,
        }
        for place in self.polls.read().of.get(&device).into_iter().flatten() {
            deliver(place, downlink.clone());
        }
    }

    fn close_polls(&self, device: DeviceId, reason: CloseReason) {
        match reason {
            CloseReason::Administrative | CloseReason::ShuttingDown => {}
            // Of the one session.
            CloseReason::TakenOver | CloseReason::Inactive | CloseReason::RpcUnacknowledged => return,
        }
        let mut polls = self.polls.write();
        let waiting = polls.of.remove(&device).unwrap_or_default();
        polls.count -= waiting.len();
        for place in &waiting {
            close(place, reason);
        }
    }

    pub(crate) fn connected(&self) -> usize {
        self.sessions.read().len()
    }

    pub(crate) fn is_connected(&self, device: DeviceId) -> bool {
        self.sessions.read().contains_key(&device)
    }
}

fn close(place: &Place, reason: CloseReason) -> Delivery {
    deliver(place, Downlink::Close(reason))
}

fn deliver(place: &Place, downlink: Downlink) -> Delivery {
    match place.mailbox.put(place.session, downlink) {
        Ok(()) => Delivery::Sent,
        Err(Undelivered::Full) => Delivery::MailboxFull,
        // The worker has ended, and its sessions with it.
        Err(Undelivered::Gone) => Delivery::NotConnected,
    }
}
