//! Live events for whoever watches. A listener that lags loses the oldest ones and is told how many; nobody waits.

use std::sync::Arc;

use tokio::sync::broadcast;
use wireglot_model::limits::FEED_EVENTS_MAX;
use wireglot_model::{CodecStamp, DeviceId, FailureStage, Sample, Scope, Timestamp};

/// Something that happened, after it became durable.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// Values of one point in time were stored.
    Telemetry {
        device: DeviceId,
        device_name: Arc<str>,
        profile: Arc<str>,
        ts: Timestamp,
        codec: Option<CodecStamp>,
        samples: Vec<Sample>,
    },
    /// Attributes were written.
    Attributes { device: DeviceId, device_name: Arc<str>, ts: Timestamp, scope: Scope, samples: Vec<Sample> },
    /// A payload went to the dead letters.
    Failed {
        device: DeviceId,
        device_name: Arc<str>,
        profile: Arc<str>,
        topic: String,
        ts: Timestamp,
        codec: Option<CodecStamp>,
        stage: FailureStage,
        reason: String,
        payload_bytes: usize,
    },
    /// A device opened its session.
    Connected { device: DeviceId, device_name: Arc<str>, ts: Timestamp },
    /// A device's session ended.
    Disconnected { device: DeviceId, device_name: Arc<str>, ts: Timestamp },
}

/// What a listener gets.
#[derive(Clone, PartialEq, Debug)]
pub enum FeedItem {
    /// The next event.
    Event(Arc<Event>),
    /// So many events are missing here, because the listener was too slow.
    Missed(u64),
}

pub(crate) struct Feed(broadcast::Sender<Arc<Event>>);

/// One listener's end.
pub struct FeedReceiver(broadcast::Receiver<Arc<Event>>);

impl Default for Feed {
    fn default() -> Self {
        Self(broadcast::Sender::new(FEED_EVENTS_MAX))
    }
}

impl Feed {
    pub(crate) fn announce(&self, event: Event) {
        if self.has_listeners() {
            // An error means that the last listener has just left.
            drop(self.0.send(Arc::new(event)));
        }
    }

    pub(crate) fn has_listeners(&self) -> bool {
        self.0.receiver_count() > 0
    }

    pub(crate) fn listen(&self) -> FeedReceiver {
        FeedReceiver(self.0.subscribe())
    }
}

impl FeedReceiver {
    /// The next event or gap; `None` when the bus is gone.
    pub async fn recv(&mut self) -> Option<FeedItem> {
        match self.0.recv().await {
            Ok(event) => Some(FeedItem::Event(event)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(FeedItem::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
