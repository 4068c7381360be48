//! Activity: what the server attributes tell of when a device was there (device API §18).
//!
//! `active`, `lastConnectTime`, `lastDisconnectTime`, `lastActivityTime` and `inactivityAlarmTime` are written, and
//! `inactivityTimeout` is read. Sessions report what they heard now and then, and all reports wait in one book until they
//! are written together: thousands of devices that come at once cost some commits, not thousands. The attributes are the
//! state, so a restart goes on where it was; a `lastActivityTime` that only moves on is written once a minute.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use wireglot_bus::Kinds;
use wireglot_model::limits::ACTIVITY_DEVICES_PER_COMMIT;
use wireglot_model::{DeviceId, Sample, Scope, Timestamp, Value};
use wireglot_store::Batch;

use crate::Devices;
use crate::attributes::{Attributes, announce};
use crate::error::DeviceError;
use crate::registry::DeviceHandle;

const ACTIVE: &str = "active";
const LAST_ACTIVITY: &str = "lastActivityTime";
const LAST_CONNECT: &str = "lastConnectTime";
const LAST_DISCONNECT: &str = "lastDisconnectTime";
const INACTIVITY_ALARM: &str = "inactivityAlarmTime";
const INACTIVITY_TIMEOUT: &str = "inactivityTimeout";
/// Those that are written here.
const KEYS: [&str; 5] = [ACTIVE, LAST_ACTIVITY, LAST_CONNECT, LAST_DISCONNECT, INACTIVITY_ALARM];

/// How old a kept `lastActivityTime` may become while its device goes on.
const SAVED_EVERY_MS: i64 = 60_000;

/// What happened since it was last written; at most one entry per device.
#[derive(Default)]
pub(crate) struct ActivityBook {
    news: Mutex<HashMap<DeviceId, (DeviceHandle, News)>>,
    saved: AtomicU64,
    inactive: AtomicU64,
}

#[derive(Clone, Copy, Default)]
struct News {
    heard: Option<Timestamp>,
    connected: Option<Timestamp>,
    disconnected: Option<Timestamp>,
}

/// What the book has counted since the start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ActivityCounters {
    /// Devices whose activity was written, once per commit.
    pub saved: u64,
    /// Devices that became inactive.
    pub inactive: u64,
}

impl ActivityBook {
    fn note(&self, device: &DeviceHandle, note: impl FnOnce(&mut News)) {
        let mut news = self.news.lock();
        note(&mut news.entry(device.id()).or_insert_with(|| (device.clone(), News::default())).1);
    }

    /// The number of sessions of a device went from none to one.
    pub(crate) fn connected(&self, device: &DeviceHandle, at: Timestamp) {
        self.note(device, |news| {
            news.connected = Some(at);
            news.heard = news.heard.max(Some(at));
        });
    }

    /// The last session of a device ended.
    pub(crate) fn disconnected(&self, device: &DeviceHandle, at: Timestamp) {
        self.note(device, |news| news.disconnected = Some(at));
    }

    /// Some of what waits; what is reported meanwhile waits for the next call.
    fn take(&self) -> Vec<(DeviceHandle, News)> {
        let mut news = self.news.lock();
        let some: Vec<DeviceId> = news.keys().take(ACTIVITY_DEVICES_PER_COMMIT).copied().collect();
        some.iter().filter_map(|device| news.remove(device)).collect()
    }
}

impl News {
    /// Brings the attributes up to date; what has to be kept goes into `batch`.
    fn write(&self, device: &DeviceHandle, now: Timestamp, batch: &mut Batch) {
        let mut attributes = device.state.attributes.lock();
        let mut put = |key, value, batch: Option<&mut Batch>| {
            attributes.write_server(device.id(), key, value, now, batch)
        };
        if let Some(at) = self.connected {
            put(LAST_CONNECT, Value::Long(at.0), Some(&mut *batch));
        }
        if let Some(at) = self.disconnected {
            put(LAST_DISCONNECT, Value::Long(at.0), Some(&mut *batch));
        }
        if self.heard.is_some() && attributes.server(ACTIVE) != Some(&Value::Bool(true)) {
            attributes.write_server(device.id(), ACTIVE, Value::Bool(true), now, Some(&mut *batch));
        }
        let known = number(&attributes, LAST_ACTIVITY);
        let Some(last) = known.max(self.heard.map(|heard| heard.0)) else { return };
        let saved = device.state.activity_saved.load(Ordering::Relaxed);
        let is_event = self.connected.is_some() || self.disconnected.is_some();
        if last > saved && (is_event || last - saved >= SAVED_EVERY_MS) {
            attributes.write_server(device.id(), LAST_ACTIVITY, Value::Long(last), now, Some(batch));
            device.state.activity_saved.store(last, Ordering::Relaxed);
        } else if known != Some(last) {
            attributes.write_server(device.id(), LAST_ACTIVITY, Value::Long(last), now, None);
        }
    }
}

impl DeviceHandle {
    /// Whether it is active, as its server attribute of that name says.
    pub fn is_active(&self) -> bool {
        self.state.attributes.lock().server(ACTIVE) == Some(&Value::Bool(true))
    }
}

impl Devices {
    /// What a worker has heard of devices lately.
    pub fn heard<'d>(&self, reports: impl IntoIterator<Item = (&'d DeviceHandle, Timestamp)>) {
        let mut news = self.0.activity.news.lock();
        for (device, at) in reports {
            let (_, news) = news.entry(device.id()).or_insert_with(|| (device.clone(), News::default()));
            news.heard = news.heard.max(Some(at));
        }
    }

    /// Writes what has been reported. Gives the number of devices.
    pub async fn save_activity(&self, now: Timestamp) -> Result<u64, DeviceError> {
        let mut saved = 0;
        loop {
            let some = self.0.activity.take();
            if some.is_empty() {
                return Ok(saved);
            }
            let mut batch = Batch::default();
            for (device, news) in some.iter().filter(|(device, _)| !device.is_deleted()) {
                news.write(device, now, &mut batch);
                saved += 1;
            }
            if !batch.is_empty() {
                self.0.queue(batch).await?;
            }
            some.iter().for_each(|(device, _)| self.announce_activity(device, now));
            self.0.activity.saved.fetch_add(some.len() as u64, Ordering::Relaxed);
        }
    }

    /// The active devices that have not been heard of for their `inactivityTimeout`, or else for `otherwise`. Looks at all
    /// devices: not for a worker.
    pub fn overdue(&self, now: Timestamp, otherwise: Duration) -> Vec<DeviceHandle> {
        let mut devices = self.devices();
        devices.retain(|device| is_overdue(&device.state.attributes.lock(), now, otherwise));
        devices
    }

    /// Writes that these devices are inactive, unless they have been heard of meanwhile. Gives their number.
    pub async fn turn_inactive(
        &self,
        devices: &[DeviceHandle],
        now: Timestamp,
        otherwise: Duration,
    ) -> Result<u64, DeviceError> {
        let mut turned = 0;
        for some in devices.chunks(ACTIVITY_DEVICES_PER_COMMIT) {
            let mut batch = Batch::default();
            for device in some.iter().filter(|device| !device.is_deleted()) {
                let mut attributes = device.state.attributes.lock();
                if is_overdue(&attributes, now, otherwise) {
                    let id = device.id();
                    attributes.write_server(id, ACTIVE, Value::Bool(false), now, Some(&mut batch));
                    attributes.write_server(id, INACTIVITY_ALARM, Value::Long(now.0), now, Some(&mut batch));
                    turned += 1;
                }
            }
            if !batch.is_empty() {
                self.0.queue(batch).await?;
            }
            some.iter().for_each(|device| self.announce_activity(device, now));
        }
        self.0.activity.inactive.fetch_add(turned, Ordering::Relaxed);
        Ok(turned)
    }

    /// Tells listeners, if there are any, what of a device's activity was written at this time.
    fn announce_activity(&self, device: &DeviceHandle, at: Timestamp) {
        if self.0.bus.is_heard(device.id(), Kinds::ATTRIBUTES) {
            let keys = KEYS.map(str::to_owned);
            let held = device.state.attributes.lock().select(Scope::Server, Some(&keys));
            let written = held.into_iter().filter(|attribute| attribute.updated == at);
            let written: Vec<Sample> =
                written.map(|attribute| Sample { key: attribute.key, value: attribute.value }).collect();
            announce(&self.0.bus, device, at, Scope::Server, &written);
        }
    }

    /// What has been counted since the start.
    pub fn activity_counters(&self) -> ActivityCounters {
        let book = &self.0.activity;
        ActivityCounters {
            saved: book.saved.load(Ordering::Relaxed),
            inactive: book.inactive.load(Ordering::Relaxed),
        }
    }
}

fn is_overdue(attributes: &Attributes, now: Timestamp, otherwise: Duration) -> bool {
    if attributes.server(ACTIVE) != Some(&Value::Bool(true)) {
        return false;
    }
    let otherwise = i64::try_from(otherwise.as_millis()).unwrap_or(i64::MAX);
    let timeout = number(attributes, INACTIVITY_TIMEOUT).filter(|own| *own > 0).unwrap_or(otherwise);
    let last = number(attributes, LAST_ACTIVITY).unwrap_or(0);
    last.saturating_add(timeout) < now.0
}

fn number(attributes: &Attributes, key: &str) -> Option<i64> {
    match attributes.server(key)? {
        Value::Long(number) => Some(*number),
        // As good as the whole number that was meant; what is none is read as the nearest one.
        Value::Double(number) => Some(*number as i64),
        Value::Bool(_) | Value::Text(_) | Value::Json(_) => None,
    }
}
