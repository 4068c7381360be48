//! Time series: reading them, writing them from the management side, and what is kept how long.
//!
//! All reads may wait for the disk: never call them on a worker.

use wireglot_bus::{Bus, Event, Follower, Kinds};
use wireglot_model::limits::KEY_CHARS_MAX;
use wireglot_model::{CodecStamp, DeviceId, Measurement, Timestamp, Value};
use wireglot_store::Batch;

pub use wireglot_store::{
    Erasure, Latest, LatestAfter, PointsQuery, Retained, StoredMessage as Message, Want,
};

use crate::Devices;
use crate::error::{DeviceError, Rule};
use crate::registry::DeviceHandle;

impl Devices {
    /// The newest value of each key, of all or of those named.
    pub fn latest(&self, device: DeviceId, keys: Option<&[String]>) -> Result<Vec<Latest>, DeviceError> {
        Ok(self.0.store.latest(self.known(device)?, keys)?)
    }

    /// Shows points in the order of time, each with the place of its key in the query.
    pub fn each_point(
        &self,
        device: DeviceId,
        query: &PointsQuery,
        show: &mut dyn FnMut(usize, Timestamp, Value) -> Want,
    ) -> Result<(), DeviceError> {
        Ok(self.0.store.each_point(self.known(device)?, query, show)?)
    }

    /// Deletes points of a device, and returns how many there were; for good when this is done.
    pub fn erase(&self, erasure: &Erasure) -> Result<u64, DeviceError> {
        self.known(erasure.device)?;
        let erased = self.0.store.erase(erasure)?;
        self.0.bus.refresh(erasure.device);
        Ok(erased)
    }

    fn known(&self, device: DeviceId) -> Result<DeviceId, DeviceError> {
        self.device(device).map(|device| device.id()).ok_or(DeviceError::NotFound)
    }

    /// Stored messages with the codec version that decoded each.
    pub fn messages(
        &self,
        device: DeviceId,
        start: Timestamp,
        end: Timestamp,
        limit: usize,
    ) -> Result<Vec<Message>, DeviceError> {
        Ok(self.0.store.messages(device, start, end, limit)?)
    }

    /// The keys that a device has time series of.
    pub fn keys(&self, device: DeviceId) -> Result<Vec<String>, DeviceError> {
        Ok(self.0.store.keys(self.known(device)?)?)
    }

    /// Removes what is older than its profile keeps.
    pub fn retain(&self, now: Timestamp) -> Result<Retained, DeviceError> {
        Ok(self.0.store.retain(now)?)
    }

    /// Resolves when all that was accepted before the call can be read.
    pub async fn settled(&self) {
        self.0.store.settled().await;
    }

    /// Hears of what changes the devices that it will follow.
    pub fn follower(&self) -> Follower {
        self.0.bus.follower()
    }

    /// Writes telemetry from the management side.
    pub async fn save_telemetry(
        &self,
        device: DeviceId,
        measurements: Vec<Measurement>,
        now: Timestamp,
    ) -> Result<(), DeviceError> {
        let device = self.device(device).ok_or(DeviceError::NotFound)?;
        if !measurements.iter().all(has_valid_keys) {
            return Err(Rule::InvalidKey.into());
        }
        let mut batch = Batch::default();
        batch.telemetry(device.id(), now, None, &measurements);
        self.0.queue(batch).await?;
        announce(&self.0.bus, &device, now, None, measurements);
        Ok(())
    }
}

/// Tells listeners, if there are any, what has been stored.
pub(crate) fn announce(
    bus: &Bus,
    device: &DeviceHandle,
    received: Timestamp,
    codec: Option<&CodecStamp>,
    measurements: Vec<Measurement>,
) {
    if !bus.is_heard(device.id(), Kinds::TELEMETRY) {
        return;
    }
    let (device_name, profile) = (device.name(), device.profile().name.clone());
    for measurement in measurements {
        bus.announce(Event::Telemetry {
            device: device.id(),
            device_name: device_name.clone(),
            profile: profile.clone(),
            ts: measurement.ts.unwrap_or(received),
            codec: codec.cloned(),
            samples: measurement.samples,
        });
    }
}

pub(crate) fn has_valid_keys(measurement: &Measurement) -> bool {
    measurement.samples.iter().all(|sample| is_valid_key(&sample.key))
}

/// The rule for keys (device API §8.4), cheapest test first: nearly every key is short.
pub(crate) fn is_valid_key(key: &str) -> bool {
    (key.len() <= KEY_CHARS_MAX || key.chars().count() <= KEY_CHARS_MAX)
        && key.chars().any(|character| !character.is_whitespace())
}
