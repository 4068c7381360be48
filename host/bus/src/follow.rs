//! Following devices: live changes of the devices that somebody looks at, and of no others.
//!
//! Whoever follows reads the state once and then hears of what changes it. A follower has one queue, bounded in events
//! and bytes. One that lags loses all of it at once and is told to read the state anew: what is newest always arrives,
//! and nobody waits for anybody. A message about a device that nobody follows costs one load, and one look into a map
//! while others are followed.
//!
//! No change falls between the look at the state and the first event: who follows first and then waits until all that was
//! queued before can be read (`Devices::settled`) finds in the state what was queued before, and is told of the rest. A
//! message that was looked at just before the following began, and queued just after, is what `tell_newcomers` is for.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use wireglot_model::DeviceId;
use wireglot_model::limits::{LIVE_QUEUE_BYTES_MAX, LIVE_QUEUE_EVENTS_MAX};

use crate::Shared;
use crate::feed::{Event, FeedItem, Kinds};
use crate::queue::Inbox;

/// Who follows which device.
#[derive(Default)]
pub(crate) struct Followers {
    devices: RwLock<HashMap<DeviceId, Vec<Following>>>,
    /// Counts followings that began.
    begun: AtomicU64,
}

struct Following {
    kinds: Kinds,
    tail: Arc<Tail>,
}

/// Where events wait for one follower.
#[derive(Default)]
struct Tail {
    inbox: Inbox,
    /// When, in the count of followings, it last began to follow a device.
    newest: AtomicU64,
}

impl Followers {
    /// Whether somebody follows one of these kinds of this device.
    pub(crate) fn follow(&self, device: DeviceId, kinds: Kinds) -> bool {
        let devices = self.devices.read();
        devices.get(&device).is_some_and(|all| all.iter().any(|following| following.kinds.has_any_of(kinds)))
    }

    pub(crate) fn tell(&self, device: DeviceId, kind: Kinds, bytes: usize, event: &Arc<Event>) {
        let devices = self.devices.read();
        for following in devices.get(&device).into_iter().flatten() {
            if following.kinds.has_any_of(kind) {
                following.tail.push(bytes, event);
            }
        }
    }

    pub(crate) fn refresh(&self, device: DeviceId) {
        let devices = self.devices.read();
        devices.get(&device).into_iter().flatten().for_each(|following| following.tail.lose());
    }

    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Acquire)
    }

    pub(crate) fn tell_newcomers(&self, device: Option<DeviceId>, begun: u64) {
        if self.begun() == begun {
            return;
        }
        let devices = self.devices.read();
        let only = device.map(|device| devices.get(&device).into_iter().flatten());
        let all = device.is_none().then(|| devices.values().flatten());
        for following in only.into_iter().flatten().chain(all.into_iter().flatten()) {
            if following.tail.newest.load(Ordering::Acquire) > begun {
                following.tail.lose();
            }
        }
    }
}

impl Tail {
    fn push(&self, bytes: usize, event: &Arc<Event>) {
        self.inbox.change(|queue| {
            if queue.missed() > 0 {
                // The state will be read after this.
                queue.miss();
            } else if queue.has_room(bytes, LIVE_QUEUE_EVENTS_MAX, LIVE_QUEUE_BYTES_MAX) {
                queue.push(bytes, Arc::clone(event));
            } else {
                queue.lose_all();
                queue.miss();
            }
        });
    }

    /// Whatever waits is given up: the state has to be read anew.
    fn lose(&self) {
        self.inbox.change(|queue| {
            queue.lose_all();
            if queue.missed() == 0 {
                queue.miss();
            }
        });
    }
}

/// One follower's end; dropping it ends all of its followings.
pub struct Follower {
    bus: Arc<Shared>,
    tail: Arc<Tail>,
    devices: HashSet<DeviceId>,
}

impl Follower {
    pub(crate) fn new(bus: Arc<Shared>) -> Self {
        Self { bus, tail: Arc::default(), devices: HashSet::new() }
    }

    /// Hears of these kinds of events of a device from now on, instead of those that it heard of before.
    pub fn follow(&mut self, device: DeviceId, kinds: Kinds) {
        let feed = &self.bus.feed;
        let mut devices = feed.followers.devices.write();
        let all = devices.entry(device).or_default();
        all.retain(|following| !Arc::ptr_eq(&following.tail, &self.tail));
        all.push(Following { kinds, tail: Arc::clone(&self.tail) });
        self.devices.insert(device);
        feed.add_followed(kinds);
        // Counted last: who sees this count sees the following.
        let begun = feed.followers.begun.fetch_add(1, Ordering::AcqRel) + 1;
        self.tail.newest.store(begun, Ordering::Release);
    }

    /// Hears no more of a device.
    pub fn leave(&mut self, device: DeviceId) {
        if self.devices.remove(&device) {
            let mut devices = self.bus.feed.followers.devices.write();
            self.remove(&mut devices, device);
        }
    }

    /// Takes a following out. What its kinds were goes on being looked up until nobody follows anything: that is cheap.
    fn remove(&self, devices: &mut HashMap<DeviceId, Vec<Following>>, device: DeviceId) {
        let Some(all) = devices.get_mut(&device) else { return };
        all.retain(|following| !Arc::ptr_eq(&following.tail, &self.tail));
        if all.is_empty() {
            devices.remove(&device);
        }
        if devices.is_empty() {
            self.bus.feed.end_followed();
        }
    }

    /// The next event, or that so many are missing and the state has to be read anew.
    pub async fn recv(&mut self) -> FeedItem {
        self.tail.inbox.recv().await
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut devices = self.bus.feed.followers.devices.write();
        for device in &self.devices {
            self.remove(&mut devices, *device);
        }
    }
}
