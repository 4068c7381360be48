//! Live feeds: WebSockets (`socket`) and streams of events (`events`), for those who may see the devices they follow.
//!
//! Both are followers on the bus: they read the state of a device, and hear of every change from then on. Whether the
//! user may still listen is asked before anything is told, and every second. Bounded here: feeds in all and of one user,
//! and sockets whose user is not known yet. What waits for a slow client is bounded by the bus; how long it may be slow,
//! by whoever sends.

pub(crate) mod command;
pub(crate) mod events;
pub(crate) mod socket;
pub(crate) mod subscription;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use wireglot_device::DeviceHandle;
use wireglot_model::UserId;
use wireglot_model::limits::{
    LIVE_FEEDS_MAX, LIVE_FEEDS_PER_USER_MAX, LIVE_SEND_TIMEOUT_S, LIVE_STRANGERS_MAX,
};

use crate::Api;
use crate::access::{Caller, authenticate};
use crate::error::ApiError;

/// How often a feed asks whether it may go on, and how often at most it tells the whole state to a client that lags.
pub(crate) const PERIOD: Duration = Duration::from_secs(1);
/// How long a client may take to read one message.
pub(crate) const SEND_TIMEOUT: Duration = Duration::from_secs(LIVE_SEND_TIMEOUT_S);
/// How soon a client that was turned away may ask again.
const RETRY_S: u64 = 5;

/// Resolves when the server stops.
async fn stop(stopping: &mut watch::Receiver<bool>) {
    // It also stops where nobody is left who could say so.
    drop(stopping.wait_for(|stopping| *stopping).await);
}

/// The places of all feeds.
pub(crate) struct Places {
    feeds: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    users: Arc<Mutex<HashMap<UserId, usize>>>,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            feeds: Arc::new(Semaphore::new(LIVE_FEEDS_MAX)),
            strangers: Arc::new(Semaphore::new(LIVE_STRANGERS_MAX)),
            users: Arc::default(),
        }
    }
}

impl Places {
    /// For a socket that has not said whose it is.
    fn stranger(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let place = self.strangers.clone().try_acquire_owned();
        place.map_err(|_full| ApiError::too_many_requests(RETRY_S))
    }

    pub(crate) fn of_user(&self, user: UserId) -> Result<Place, ApiError> {
        let feed = self.feeds.clone().try_acquire_owned();
        let feed = feed.map_err(|_full| ApiError::too_many_requests(RETRY_S))?;
        let mut users = self.users.lock();
        let feeds = users.entry(user).or_default();
        if *feeds >= LIVE_FEEDS_PER_USER_MAX {
            return Err(ApiError::too_many_requests(RETRY_S));
        }
        *feeds += 1;
        Ok(Place { _feed: feed, user, users: self.users.clone() })
    }

    /// Resolves when no feed is open any more.
    pub(crate) async fn empty(&self) {
        let all = |places: usize| u32::try_from(places).unwrap_or(u32::MAX);
        // Nobody closes them.
        self.feeds.acquire_many(all(LIVE_FEEDS_MAX)).await.ok();
        self.strangers.acquire_many(all(LIVE_STRANGERS_MAX)).await.ok();
    }

    /// How many feeds are open.
    pub(crate) fn taken(&self) -> usize {
        LIVE_FEEDS_MAX - self.feeds.available_permits()
    }
}

/// The place of one feed; free again when it is dropped.
pub(crate) struct Place {
    _feed: OwnedSemaphorePermit,
    user: UserId,
    users: Arc<Mutex<HashMap<UserId, usize>>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut users = self.users.lock();
        if let Some(feeds) = users.get_mut(&self.user) {
            *feeds -= 1;
            if *feeds == 0 {
                users.remove(&self.user);
            }
        }
    }
}

/// Who listens, and what proved it.
pub(crate) struct Guest {
    caller: Caller,
    shown: HeaderMap,
    _place: Place,
}

impl Guest {
    /// `shown` are the headers of a request, or what a socket said in their form.
    pub(crate) fn admit(api: &Api, shown: HeaderMap) -> Result<Self, ApiError> {
        let caller = authenticate(api, &shown)?;
        let place = api.live.of_user(caller.user.id)?;
        Ok(Self { caller, shown, _place: place })
    }

    /// Whether it may go on.
    pub(crate) fn ask_again(&mut self, api: &Api) -> Result<(), ApiError> {
        self.caller = api.still(&self.caller, &self.shown)?;
        Ok(())
    }

    /// Whether it may see this device now.
    pub(crate) fn may_see(&self, device: &DeviceHandle) -> Result<(), ApiError> {
        if device.is_deleted() {
            return Err(ApiError::not_found());
        }
        self.caller.may_see(device.customer())
    }

    /// A device by whatever names it: users of customers are not told which of those that are not theirs exist.
    pub(crate) fn device(&self, found: Option<DeviceHandle>) -> Result<DeviceHandle, ApiError> {
        self.caller.may_see(found.as_ref().and_then(DeviceHandle::customer))?;
        found.ok_or_else(ApiError::not_found)
    }
}
