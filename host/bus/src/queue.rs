//! What waits for one listener: events in their order, and how many are missing before the first of them.
//!
//! Whoever pushes bounds it, and gives up other events where there is no room: the oldest (`feed`) or all (`follow`).

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::feed::{Event, FeedItem};

/// Where events wait for one listener.
#[derive(Default)]
pub(crate) struct Inbox {
    queue: Mutex<Queue>,
    arrived: Notify,
}

/// The events that wait, each with the bytes that it counts for.
#[derive(Default)]
pub(crate) struct Queue {
    events: VecDeque<(usize, Arc<Event>)>,
    bytes: usize,
    missed: u64,
}

impl Inbox {
    /// Changes what waits, and wakes the listener.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Queue)) {
        change(&mut self.queue.lock());
        self.arrived.notify_one();
    }

    /// The next event or gap.
    pub(crate) async fn recv(&self) -> FeedItem {
        loop {
            // An event that comes between the look and the wait leaves a permit, which ends the wait at once.
            if let Some(item) = self.queue.lock().next() {
                return item;
            }
            self.arrived.notified().await;
        }
    }
}

impl Queue {
    /// Whether one more event of so many bytes is within the bounds; one that is larger than all of them may wait alone.
    pub(crate) fn has_room(&self, bytes: usize, events_max: usize, bytes_max: usize) -> bool {
        self.events.is_empty() || (self.events.len() < events_max && self.bytes + bytes <= bytes_max)
    }

    pub(crate) fn push(&mut self, bytes: usize, event: Arc<Event>) {
        self.bytes += bytes;
        self.events.push_back((bytes, event));
    }

    /// Gives up the oldest event; whether there was one.
    pub(crate) fn lose_oldest(&mut self) -> bool {
        let Some((bytes, _oldest)) = self.events.pop_front() else { return false };
        self.bytes -= bytes;
        self.missed += 1;
        true
    }

    pub(crate) fn lose_all(&mut self) {
        while self.lose_oldest() {}
    }

    /// One more event is missing that never waited here.
    pub(crate) fn miss(&mut self) {
        self.missed += 1;
    }

    pub(crate) fn missed(&self) -> u64 {
        self.missed
    }

    fn next(&mut self) -> Option<FeedItem> {
        if self.missed > 0 {
            return Some(FeedItem::Missed(std::mem::take(&mut self.missed)));
        }
        let (bytes, event) = self.events.pop_front()?;
        self.bytes -= bytes;
        Some(FeedItem::Event(event))
    }
}
