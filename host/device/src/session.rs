//! Sessions of devices, as far as the domain cares: one per device, and only while its credentials stand.

use wireglot_bus::{Event, Kinds, Mailbox};
use wireglot_model::{SessionId, Timestamp};

use crate::Devices;
use crate::registry::DeviceHandle;

/// The device was deleted, or its credentials changed, between its login and its session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the credentials are no longer valid")]
pub struct Revoked;

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
        if device.is_deleted() || device.state.credentials.load().version != device.admitted_by {
            self.0.bus.detach(device.id(), session);
            return Err(Revoked);
        }
        if self.0.bus.wants(Kinds::CONNECTED) {
            self.0.bus.announce(Event::Connected {
                device: device.id(),
                device_name: device.name(),
                profile: device.profile().name.clone(),
                ts: now,
            });
        }
        Ok(())
    }

    /// The session has ended, whoever ended it.
    pub fn close_session(&self, device: &DeviceHandle, session: SessionId, now: Timestamp) {
        self.0.bus.detach(device.id(), session);
        if self.0.bus.wants(Kinds::DISCONNECTED) {
            self.0.bus.announce(Event::Disconnected {
                device: device.id(),
                device_name: device.name(),
                profile: device.profile().name.clone(),
                ts: now,
            });
        }
    }
}
