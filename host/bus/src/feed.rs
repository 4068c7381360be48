//! Live events for whoever watches, filtered where they happen: an event that nobody asked for is not even made.
//!
//! Each listener has a queue of its own, bounded in events and bytes. One that lags loses its oldest events and is told
//! how many; nobody waits for it. While nobody listens, a message costs one load of `wanted`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use parking_lot::RwLock;
use wireglot_model::limits::{FEED_BYTES_MAX, FEED_EVENTS_MAX};
use wireglot_model::{
    CodecName, CodecStamp, DeviceId, FailureStage, Sample, Scope, Timestamp, Uplink, UplinkBody,
};

use crate::Shared;
use crate::follow::Followers;
use crate::queue::{Inbox, Queue};

/// Something that happened.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// A frame became values. Told as soon as it is read, before anything of it is stored.
    Decoded {
        frame: FrameFacts,
        /// What it became, as far as it is shown.
        uplinks: Vec<Uplink>,
        values_left_out: usize,
        warnings: Vec<String>,
    },
    /// A frame was not read or not accepted; it goes to the dead letters.
    Failed { frame: FrameFacts, stage: FailureStage, reason: String },
    /// Values of one point in time were stored.
    Telemetry {
        device: DeviceId,
        device_name: Arc<str>,
        profile: Arc<str>,
        ts: Timestamp,
        codec: Option<CodecStamp>,
        samples: Vec<Sample>,
    },
    /// Attributes were stored.
    Attributes {
        device: DeviceId,
        device_name: Arc<str>,
        profile: Arc<str>,
        ts: Timestamp,
        scope: Scope,
        samples: Vec<Sample>,
    },
    /// Attributes were deleted.
    AttributesDeleted {
        device: DeviceId,
        device_name: Arc<str>,
        profile: Arc<str>,
        scope: Scope,
        keys: Vec<String>,
    },
    /// A device opened its session.
    Connected { device: DeviceId, device_name: Arc<str>, profile: Arc<str>, ts: Timestamp },
    /// A device's session ended.
    Disconnected { device: DeviceId, device_name: Arc<str>, profile: Arc<str>, ts: Timestamp },
}

/// A frame and how it was read.
#[derive(Clone, PartialEq, Debug)]
pub struct FrameFacts {
    pub device: DeviceId,
    pub device_name: Arc<str>,
    pub profile: Arc<str>,
    pub topic: String,
    /// When it came.
    pub ts: Timestamp,
    /// Its first bytes.
    pub payload: Vec<u8>,
    /// How many it had.
    pub payload_bytes: usize,
    /// The codec that its profile names; `None` for the built-in JSON.
    pub codec: Option<CodecName>,
    /// The version that was called, where one was.
    pub stamp: Option<CodecStamp>,
    pub nanoseconds: u64,
}

/// Kinds of events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kinds(u8);

impl Kinds {
    pub const DECODED: Self = Self(1);
    pub const FAILED: Self = Self(2);
    pub const TELEMETRY: Self = Self(4);
    pub const ATTRIBUTES: Self = Self(8);
    pub const CONNECTED: Self = Self(16);
    pub const DISCONNECTED: Self = Self(32);
    /// Whatever changes the state of a device.
    pub const STATE: Self =
        Self::TELEMETRY.and(Self::ATTRIBUTES).and(Self::CONNECTED).and(Self::DISCONNECTED);

    /// These and those.
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    pub(crate) fn has_any_of(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }
}

/// What a listener asks for; `None` is content with anything.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Filter {
    pub kinds: Kinds,
    /// The name of a device, or of one behind it that a frame speaks of.
    pub device: Option<String>,
    pub profile: Option<String>,
    pub codec: Option<CodecName>,
    /// Only failures, and of them only those at this stage.
    pub stage: Option<FailureStage>,
}

impl Filter {
    /// Everything of these kinds.
    pub fn of(kinds: Kinds) -> Self {
        Self { kinds, device: None, profile: None, codec: None, stage: None }
    }

    fn takes(&self, subject: &Subject<'_>) -> bool {
        self.kinds.has_any_of(subject.kind)
            && self.device.as_deref().is_none_or(|device| subject.is_about(device))
            && self.profile.as_deref().is_none_or(|profile| profile == subject.profile)
            && self.codec.as_ref().is_none_or(|codec| Some(codec) == subject.codec)
            && self.stage.is_none_or(|stage| Some(stage) == subject.stage)
    }
}

/// What of an event a filter looks at, so that it can be asked before the event is made.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub kind: Kinds,
    pub device: &'a str,
    /// What a frame became: it may speak of devices behind the one that sent it.
    pub uplinks: &'a [Uplink],
    pub profile: &'a str,
    pub codec: Option<&'a CodecName>,
    pub stage: Option<FailureStage>,
}

impl Subject<'_> {
    fn is_about(&self, device: &str) -> bool {
        self.device == device || self.uplinks.iter().any(|uplink| uplink.child.as_deref() == Some(device))
    }
}

impl Event {
    fn subject(&self) -> Subject<'_> {
        let about =
            |kind, device, profile| Subject { kind, device, uplinks: &[], profile, codec: None, stage: None };
        match self {
            Event::Decoded { frame, uplinks, .. } => Subject {
                uplinks,
                codec: frame.codec.as_ref(),
                ..about(Kinds::DECODED, &frame.device_name, &frame.profile)
            },
            Event::Failed { frame, stage, .. } => {
                let facts = about(Kinds::FAILED, &frame.device_name, &frame.profile);
                Subject { codec: frame.codec.as_ref(), stage: Some(*stage), ..facts }
            }
            Event::Telemetry { device_name, profile, codec, .. } => {
                let codec = codec.as_ref().map(|stamp| &stamp.name);
                Subject { codec, ..about(Kinds::TELEMETRY, device_name, profile) }
            }
            Event::Attributes { device_name, profile, .. }
            | Event::AttributesDeleted { device_name, profile, .. } => {
                about(Kinds::ATTRIBUTES, device_name, profile)
            }
            Event::Connected { device_name, profile, .. } => about(Kinds::CONNECTED, device_name, profile),
            Event::Disconnected { device_name, profile, .. } => {
                about(Kinds::DISCONNECTED, device_name, profile)
            }
        }
    }

    /// The device whose state this is about; a frame is about none.
    fn device(&self) -> Option<DeviceId> {
        match self {
            Event::Decoded { .. } | Event::Failed { .. } => None,
            Event::Telemetry { device, .. }
            | Event::Attributes { device, .. }
            | Event::AttributesDeleted { device, .. }
            | Event::Connected { device, .. }
            | Event::Disconnected { device, .. } => Some(*device),
        }
    }

    /// About what it occupies.
    fn bytes(&self) -> usize {
        let texts = match self {
            Event::Decoded { frame, uplinks, warnings, .. } => {
                frame.bytes()
                    + uplinks.iter().map(uplink_bytes).sum::<usize>()
                    + warnings.iter().map(String::len).sum::<usize>()
            }
            Event::Failed { frame, reason, .. } => frame.bytes() + reason.len(),
            Event::Telemetry { samples, .. } | Event::Attributes { samples, .. } => samples_bytes(samples),
            Event::AttributesDeleted { keys, .. } => {
                keys.iter().map(|key| size_of_val(key) + key.len()).sum()
            }
            Event::Connected { .. } | Event::Disconnected { .. } => 0,
        };
        size_of::<Self>() + texts
    }
}

impl FrameFacts {
    fn bytes(&self) -> usize {
        self.topic.len() + self.payload.len()
    }
}

fn uplink_bytes(uplink: &Uplink) -> usize {
    let body = match &uplink.body {
        UplinkBody::Telemetry(measurements) => measurements
            .iter()
            .map(|measurement| size_of_val(measurement) + samples_bytes(&measurement.samples))
            .sum(),
        UplinkBody::Attributes(samples) | UplinkBody::SharedAttributes(samples) => samples_bytes(samples),
        UplinkBody::RpcResponse { payload, .. } => payload.len(),
        UplinkBody::AttributeRequest { client_keys, shared_keys, .. } => {
            client_keys.iter().chain(shared_keys).map(|key| size_of_val(key) + key.len()).sum()
        }
        UplinkBody::ClientRpc { method, params, .. } => method.len() + params.len(),
        UplinkBody::Claim { secret, .. } => secret.len(),
    };
    size_of_val(uplink) + uplink.child.as_ref().map_or(0, String::len) + body
}

fn samples_bytes(samples: &[Sample]) -> usize {
    samples.iter().map(|sample| size_of_val(sample) + sample.key.len() + sample.value.text_bytes()).sum()
}

/// What a listener gets.
#[derive(Clone, PartialEq, Debug)]
pub enum FeedItem {
    /// The next event.
    Event(Arc<Event>),
    /// So many events are missing here, because the listener was too slow.
    Missed(u64),
}

/// The listeners, and what any of them wants.
#[derive(Default)]
pub(crate) struct Feed {
    /// The kinds that listeners want, and eight bits higher those that followers want: one load tells of both.
    wanted: AtomicU16,
    listeners: RwLock<Vec<Arc<Listener>>>,
    pub(crate) followers: Followers,
}

struct Listener {
    filter: Filter,
    inbox: Inbox,
}

impl Feed {
    pub(crate) fn wants(&self, kinds: Kinds) -> bool {
        let [followed, listened] = self.wanted.load(Ordering::Relaxed).to_be_bytes();
        kinds.has_any_of(Kinds(followed | listened))
    }

    /// Whether anybody may hear of this device: listeners are not asked for their filters.
    pub(crate) fn is_heard(&self, device: DeviceId, kinds: Kinds) -> bool {
        let [followed, listened] = self.wanted.load(Ordering::Relaxed).to_be_bytes();
        kinds.has_any_of(Kinds(listened))
            || (kinds.has_any_of(Kinds(followed)) && self.followers.follow(device, kinds))
    }

    /// Some follower wants these kinds too.
    pub(crate) fn add_followed(&self, kinds: Kinds) {
        self.set_wanted(|[followed, listened]| [followed | kinds.0, listened]);
    }

    /// No device is followed any more.
    pub(crate) fn end_followed(&self) {
        self.set_wanted(|[_, listened]| [0, listened]);
    }

    fn set_wanted(&self, change: impl Fn([u8; 2]) -> [u8; 2]) {
        let change = |wanted: u16| Some(u16::from_be_bytes(change(wanted.to_be_bytes())));
        // It always gives a value, so this never fails.
        self.wanted.fetch_update(Ordering::AcqRel, Ordering::Acquire, change).ok();
    }

    pub(crate) fn is_followed(&self, subject: &Subject<'_>) -> bool {
        self.wants(subject.kind)
            && self.listeners.read().iter().any(|listener| listener.filter.takes(subject))
    }

    pub(crate) fn announce(&self, event: Event) {
        let subject = event.subject();
        if !self.wants(subject.kind) {
            return;
        }
        let listeners = self.listeners.read();
        let takers: Vec<&Arc<Listener>> =
            listeners.iter().filter(|listener| listener.filter.takes(&subject)).collect();
        let followed = event.device().filter(|device| self.followers.follow(*device, subject.kind));
        if takers.is_empty() && followed.is_none() {
            return;
        }
        let (kind, bytes, event) = (subject.kind, event.bytes(), Arc::new(event));
        for listener in takers {
            listener.inbox.change(|queue| push(queue, bytes, Arc::clone(&event)));
        }
        if let Some(device) = followed {
            self.followers.tell(device, kind, bytes, &event);
        }
    }

    fn add(&self, listener: Arc<Listener>) {
        let mut listeners = self.listeners.write();
        listeners.push(listener);
        self.sum_up(&listeners);
    }

    fn remove(&self, listener: &Arc<Listener>) {
        let mut listeners = self.listeners.write();
        listeners.retain(|other| !Arc::ptr_eq(other, listener));
        self.sum_up(&listeners);
    }

    fn sum_up(&self, listeners: &[Arc<Listener>]) {
        let wanted = listeners.iter().fold(0, |wanted, listener| wanted | listener.filter.kinds.0);
        self.set_wanted(|[followed, _]| [followed, wanted]);
    }
}

/// The oldest events make room for the newest.
fn push(queue: &mut Queue, bytes: usize, event: Arc<Event>) {
    while !queue.has_room(bytes, FEED_EVENTS_MAX, FEED_BYTES_MAX) && queue.lose_oldest() {}
    queue.push(bytes, event);
}

/// One listener's end; dropping it ends the listening.
pub struct FeedReceiver {
    bus: Arc<Shared>,
    listener: Arc<Listener>,
}

impl FeedReceiver {
    pub(crate) fn listen(bus: Arc<Shared>, filter: Filter) -> Self {
        let listener = Arc::new(Listener { filter, inbox: Inbox::default() });
        bus.feed.add(Arc::clone(&listener));
        Self { bus, listener }
    }

    /// The next event or gap.
    pub async fn recv(&mut self) -> FeedItem {
        self.listener.inbox.recv().await
    }
}

impl Drop for FeedReceiver {
    fn drop(&mut self) {
        self.bus.feed.remove(&self.listener);
    }
}
