//! Sessions of devices, as far as the domain cares: one per device, and only while its credentials stand. Beside it a few
//! requests may wait that hold no connection; they are no sessions, and neither begin nor end one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU16, Ordering};

use wireglot_bus::{Event, Kinds, Mailbox, TooManyPolls};
use wireglot_model::limits::SESSION_CLIENT_ID_CHARS_MAX;
use wireglot_model::{SessionId, Timestamp};

use crate::Devices;
use crate::registry::DeviceHandle;

/// The device was deleted, or its credentials changed, between its login and its session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the credentials are no longer valid")]
pub struct Revoked;

/// Why a request does not wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PollRefusal {
    #[error(transparent)]
    Revoked(#[from] Revoked),
    #[error("too many requests wait already")]
    TooMany,
}

/// What is told of a session. Its worker writes the two numbers, whoever lists sessions reads them.
#[derive(Debug)]
pub struct SessionFacts {
    /// Which one.
    pub id: SessionId,
    /// As the client named itself, shortened where it is longer than anybody reads; may be empty.
    pub client_id: Box<str>,
    /// Where it comes from, as far as the connection still says.
    pub address: Option<SocketAddr>,
    /// When it began.
    pub since: Timestamp,
    /// The version of its protocol.
    pub protocol: &'static str,
    heard: AtomicI64,
    in_flight: AtomicU16,
}

impl SessionFacts {
    /// Of a session that begins.
    pub fn new(
        id: SessionId,
        client_id: &str,
        address: Option<SocketAddr>,
        since: Timestamp,
        protocol: &'static str,
    ) -> Self {
        let client_id = client_id.chars().take(SESSION_CLIENT_ID_CHARS_MAX).collect::<String>().into();
        let (heard, in_flight) = (AtomicI64::new(since.0), AtomicU16::new(0));
        Self { id, client_id, address, since, protocol, heard, in_flight }
    }

    /// The device was heard.
    pub fn hear(&self, at: Timestamp) {
        self.heard.store(at.0, Ordering::Relaxed);
    }

    /// When the device was last heard.
    pub fn heard(&self) -> Timestamp {
        Timestamp(self.heard.load(Ordering::Relaxed))
    }

    /// So many publishes wait for their acknowledgement.
    pub fn set_in_flight(&self, count: u16) {
        self.in_flight.store(count, Ordering::Relaxed);
    }

    /// How many publishes wait for their acknowledgement.
    pub fn in_flight(&self) -> u16 {
        self.in_flight.load(Ordering::Relaxed)
    }
}

impl Devices {
    /// Makes `session` the one session of a device that `authenticate` has let in; an older one is told to close.
    pub fn open_session(
        &self,
        device: &DeviceHandle,
        session: SessionId,
        mailbox: &Mailbox,
        now: Timestamp,
    ) -> Result<(), Revoked> {
        self.0.bus.attach(device.id(), session, mailbox);
        // Looked at after attaching: a change from here on finds the session and closes it.
        if device.is_revoked() {
            self.0.bus.detach(device.id(), session);
            return Err(Revoked);
        }
        if device.state.sessions.fetch_add(1, Ordering::AcqRel) == 0 {
            self.0.activity.connected(device, now);
        } else {
            self.heard([(device, now)]);
        }
        if self.0.bus.is_heard(device.id(), Kinds::CONNECTED) {
            self.0.bus.announce(Event::Connected {
                device: device.id(),
                device_name: device.name(),
                profile: device.profile().name.clone(),
                ts: now,
            });
        }
        Ok(())
    }

    /// Lets a request of a device that `authenticate_token` has let in wait for what the device is told.
    pub fn open_poll(
        &self,
        device: &DeviceHandle,
        poll: SessionId,
        mailbox: &Mailbox,
    ) -> Result<(), PollRefusal> {
        self.0.bus.attach_poll(device.id(), poll, mailbox).map_err(|TooManyPolls| PollRefusal::TooMany)?;
        if device.is_revoked() {
            self.0.bus.detach_poll(device.id(), poll);
            return Err(Revoked.into());
        }
        Ok(())
    }

    /// The request waits no longer.
    pub fn close_poll(&self, device: &DeviceHandle, poll: SessionId) {
        self.0.bus.detach_poll(device.id(), poll);
    }

    /// Lets the session of a device be listed, until it is closed or another one takes its place.
    pub fn show_session(&self, device: &DeviceHandle, facts: Arc<SessionFacts>) {
        device.state.session.store(Some(facts));
    }

    /// The sessions that are open, in no order.
    pub fn sessions(&self) -> Vec<(DeviceHandle, Arc<SessionFacts>)> {
        let tables = self.0.tables.read();
        let facts = |device: &DeviceHandle| Some((device.clone(), device.state.session.load_full()?));
        tables.devices().filter_map(facts).collect()
    }

    /// The session has ended, whoever ended it.
    pub fn close_session(&self, device: &DeviceHandle, session: SessionId, now: Timestamp) {
        self.0.bus.detach(device.id(), session);
        device.state.session.rcu(|shown| shown.clone().filter(|facts| facts.id != session));
        if device.state.sessions.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.activity.disconnected(device, now);
        }
        if self.0.bus.is_heard(device.id(), Kinds::DISCONNECTED) {
            self.0.bus.announce(Event::Disconnected {
                device: device.id(),
                device_name: device.name(),
                profile: device.profile().name.clone(),
                ts: now,
            });
        }
    }
}
