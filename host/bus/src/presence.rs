//! Which worker holds the session of a device: at most one session per device (device API §4.1).

use std::collections::HashMap;

use parking_lot::RwLock;
use wireglot_model::downlink::CloseReason;
use wireglot_model::{DeviceId, Downlink, SessionId};

use crate::Delivery;
use crate::mailbox::{Mailbox, Undelivered};

/// Bounded by the connections that the listener admits.
#[derive(Default)]
pub(crate) struct Presence {
    sessions: RwLock<HashMap<DeviceId, Place>>,
}

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
            let Some(place) = self.sessions.write().remove(&device) else { return Delivery::NotConnected };
            return close(&place, reason);
        }
        let sessions = self.sessions.read();
        let Some(place) = sessions.get(&device) else { return Delivery::NotConnected };
        deliver(place, downlink)
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
