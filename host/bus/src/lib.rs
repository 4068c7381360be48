//! Who is connected where, and who listens: the only ways from one thread into another one's sessions.
//!
//! `mailbox` is the bounded way into a worker, `presence` knows which worker holds a device's session,
//! `feed` carries live events to REST, `follow` those of single devices, `desk` takes single requests of devices to a worker
//! and their answers back. Nothing here waits: a full mailbox is an answer, a slow listener loses events.

mod desk;
mod feed;
mod follow;
mod mailbox;
mod presence;
mod queue;

pub use desk::{AnswerAwaited, AnswerTo, Brought, Desk};
pub use feed::{Event, FeedItem, FeedReceiver, Filter, FrameFacts, Kinds, Subject};
pub use follow::Follower;
pub use mailbox::{Mailbox, MailboxReceiver, Undelivered, mailbox};
pub use presence::TooManyPolls;

use std::sync::Arc;

use wireglot_model::{DeviceId, DeviceRequest, Downlink, RequestRefusal, SessionId};

use desk::Desks;
use feed::Feed;
use presence::Presence;

/// What became of a downlink.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// The device has no session here.
    NotConnected,
    /// It lies in the mailbox of the worker that holds the session.
    Sent,
    /// The worker has fallen behind; the downlink was dropped.
    MailboxFull,
}

/// The doors between threads. Cheap to clone; all clones are the same bus.
#[derive(Clone, Default)]
pub struct Bus(Arc<Shared>);

#[derive(Default)]
pub(crate) struct Shared {
    presence: Presence,
    feed: Feed,
    desks: Desks,
}

impl Bus {
    /// A bus with nobody on it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes `session` the one session of `device`. An older one is told to close (taken over) and returned.
    pub fn attach(&self, device: DeviceId, session: SessionId, mailbox: &Mailbox) -> Option<SessionId> {
        self.0.presence.attach(device, session, mailbox)
    }

    /// Forgets `session`, unless another one has taken its place. Says whether it was still the device's session.
    pub fn detach(&self, device: DeviceId, session: SessionId) -> bool {
        self.0.presence.detach(device, session)
    }

    /// Lets a request of the device wait beside its session, whatever that is. It is told of attribute updates and of
    /// closes, and of those RPCs that `send_to_poll` sends. Where as many of the device wait as may, the oldest is told to
    /// close (taken over).
    pub fn attach_poll(
        &self,
        device: DeviceId,
        poll: SessionId,
        mailbox: &Mailbox,
    ) -> Result<(), TooManyPolls> {
        self.0.presence.attach_poll(device, poll, mailbox)
    }

    /// Forgets a request that waits.
    pub fn detach_poll(&self, device: DeviceId, poll: SessionId) {
        self.0.presence.detach_poll(device, poll);
    }

    /// Puts `downlink` into the mailbox of the worker where this request of the device waits.
    pub fn send_to_poll(&self, device: DeviceId, poll: SessionId, downlink: Downlink) -> Delivery {
        self.0.presence.send_to_poll(device, poll, downlink)
    }

    /// Requests of devices that wait.
    pub fn polls(&self) -> usize {
        self.0.presence.polls()
    }

    /// The desk of one worker: from now on requests come there.
    pub fn open_desk(&self) -> Desk {
        self.0.desks.open()
    }

    /// Takes a request of a device to the worker that serves it.
    pub fn bring(&self, request: DeviceRequest) -> Result<AnswerAwaited, RequestRefusal> {
        self.0.desks.bring(request)
    }

    /// Puts `downlink` into the mailbox of the worker that holds the device's session; of attribute updates, the device's
    /// waiting requests are told too.
    ///
    /// A `Close` always arrives, and the session counts as gone from here on.
    pub fn send(&self, device: DeviceId, downlink: Downlink) -> Delivery {
        self.0.presence.send(device, downlink)
    }

    /// How many devices have a session.
    pub fn connected(&self) -> usize {
        self.0.presence.connected()
    }

    /// Whether `device` has a session.
    pub fn is_connected(&self, device: DeviceId) -> bool {
        self.0.presence.is_connected(device)
    }

    /// Hands `event` to every listener that asked for it. Check `wants` or `is_followed` before building one.
    pub fn announce(&self, event: Event) {
        self.0.feed.announce(event);
    }

    /// Whether anybody listens to events of one of these kinds: one load.
    pub fn wants(&self, kinds: Kinds) -> bool {
        self.0.feed.wants(kinds)
    }

    /// Whether an event about this would reach anybody.
    pub fn is_followed(&self, subject: &Subject<'_>) -> bool {
        self.0.feed.is_followed(subject)
    }

    /// Whether an event of one of these kinds about this device may reach anybody.
    pub fn is_heard(&self, device: DeviceId, kinds: Kinds) -> bool {
        self.0.feed.is_heard(device, kinds)
    }

    /// Somebody who will follow devices.
    pub fn follower(&self) -> Follower {
        Follower::new(Arc::clone(&self.0))
    }

    /// The state of a device changed in a way that no event tells: its followers read it anew.
    pub fn refresh(&self, device: DeviceId) {
        if self.is_heard(device, Kinds::STATE) {
            self.0.feed.followers.refresh(device);
        }
    }

    /// How many followings have begun so far: one load. To be asked before `is_heard`.
    pub fn followings(&self) -> u64 {
        self.0.feed.followers.begun()
    }

    /// Lets those who began to follow `device` since `followings` was asked read the state anew; without one, whatever they
    /// follow. To be called once the message is queued for which `is_heard` was asked in between; one load unless
    /// somebody began.
    pub fn tell_newcomers(&self, device: Option<DeviceId>, followings: u64) {
        self.0.feed.followers.tell_newcomers(device, followings);
    }

    /// Listens from now on to the events that the filter takes.
    pub fn feed(&self, filter: Filter) -> FeedReceiver {
        FeedReceiver::listen(Arc::clone(&self.0), filter)
    }
}

const _: fn() = || {
    fn crosses_threads<T: Send + Sync>() {}
    crosses_threads::<Bus>();
    crosses_threads::<Mailbox>();
    crosses_threads::<Brought>();
};

#[cfg(test)]
mod tests;
