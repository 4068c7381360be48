//! Attributes by scope: held in memory, written by devices (client) and by the management side (shared, server).
//!
//! A value that a device repeats keeps its time and is not written again, once it is known to be durable.

use std::collections::BTreeMap;

use wireglot_bus::{Bus, Event, Kinds};
use wireglot_model::limits::ATTRIBUTES_PER_SCOPE_MAX;
use wireglot_model::{Attribute, DeviceId, Downlink, Sample, Scope, Timestamp, Value};
use wireglot_store::Batch;

use crate::Devices;
use crate::error::{DeviceError, Rule};
use crate::registry::DeviceHandle;
use crate::telemetry::is_valid_key;

/// All attributes of one device.
#[derive(Default)]
pub(crate) struct Attributes {
    client: BTreeMap<String, Held>,
    shared: BTreeMap<String, Held>,
    server: BTreeMap<String, Held>,
}

struct Held {
    attribute: Attribute,
    durable: bool,
}

impl Attributes {
    /// Takes one over from the store.
    pub(crate) fn load(&mut self, scope: Scope, attribute: Attribute) {
        self.scope_mut(scope).insert(attribute.key.clone(), Held { attribute, durable: true });
    }

    /// Whether `samples` may join the scope.
    pub(crate) fn has_room(&self, scope: Scope, samples: &[Sample]) -> bool {
        let held = self.scope(scope);
        held.len() + samples.len() <= ATTRIBUTES_PER_SCOPE_MAX
            || held.len() + samples.iter().filter(|sample| !held.contains_key(&sample.key)).count()
                <= ATTRIBUTES_PER_SCOPE_MAX
    }

    /// Writes what changed, with `now` as its time, and puts into `batch` whatever is not known to be durable.
    pub(crate) fn write_changes(
        &mut self,
        device: DeviceId,
        scope: Scope,
        samples: &[Sample],
        now: Timestamp,
        batch: &mut Batch,
    ) {
        let held = self.scope_mut(scope);
        for sample in samples {
            match held.get(&sample.key) {
                Some(same) if same.attribute.value == sample.value => {
                    if !same.durable {
                        batch.put_attribute(device, scope, &same.attribute);
                    }
                }
                Some(_) | None => write(held, device, scope, sample, now, batch),
            }
        }
    }

    /// Writes all, changed or not.
    pub(crate) fn write_all(
        &mut self,
        device: DeviceId,
        scope: Scope,
        samples: &[Sample],
        now: Timestamp,
        batch: &mut Batch,
    ) {
        let held = self.scope_mut(scope);
        for sample in samples {
            write(held, device, scope, sample, now, batch);
        }
    }

    /// One of the server's own.
    pub(crate) fn server(&self, key: &str) -> Option<&Value> {
        self.server.get(key).map(|held| &held.attribute.value)
    }

    /// Writes what the server itself knows of the device; without a batch, only for those who ask before it stops. The few
    /// keys of this kind are beside the bound on what others write.
    pub(crate) fn write_server(
        &mut self,
        device: DeviceId,
        key: &str,
        value: Value,
        now: Timestamp,
        batch: Option<&mut Batch>,
    ) {
        let attribute = Attribute { key: key.to_owned(), value, updated: now };
        if let Some(batch) = batch {
            batch.put_attribute(device, Scope::Server, &attribute);
        }
        self.server.insert(attribute.key.clone(), Held { attribute, durable: false });
    }

    /// Those of the device's own attributes that have not been written after `received`.
    pub(crate) fn not_newer(&self, samples: &[Sample], received: Timestamp) -> Vec<Sample> {
        let is_newer = |sample: &&Sample| {
            self.client.get(&sample.key).is_some_and(|held| held.attribute.updated > received)
        };
        samples.iter().filter(|sample| !is_newer(sample)).cloned().collect()
    }

    /// `samples` have been committed.
    pub(crate) fn settle(&mut self, scope: Scope, samples: &[Sample]) {
        let held = self.scope_mut(scope);
        for sample in samples {
            if let Some(same) = held.get_mut(&sample.key)
                && same.attribute.value == sample.value
            {
                same.durable = true;
            }
        }
    }

    /// The value of one.
    pub(crate) fn value(&self, scope: Scope, key: &str) -> Option<&Value> {
        self.scope(scope).get(key).map(|held| &held.attribute.value)
    }

    pub(crate) fn remove(
        &mut self,
        device: DeviceId,
        scope: Scope,
        keys: &[impl AsRef<str>],
        batch: &mut Batch,
    ) {
        for key in keys {
            let key = key.as_ref();
            if self.scope_mut(scope).remove(key).is_some() {
                batch.delete_attribute(device, scope, key);
            }
        }
    }

    pub(crate) fn select(&self, scope: Scope, keys: Option<&[String]>) -> Vec<Attribute> {
        let held = self.scope(scope);
        match keys {
            None => held.values().map(|held| held.attribute.clone()).collect(),
            Some(keys) => {
                keys.iter().filter_map(|key| held.get(key)).map(|held| held.attribute.clone()).collect()
            }
        }
    }

    fn scope(&self, scope: Scope) -> &BTreeMap<String, Held> {
        match scope {
            Scope::Client => &self.client,
            Scope::Shared => &self.shared,
            Scope::Server => &self.server,
        }
    }

    fn scope_mut(&mut self, scope: Scope) -> &mut BTreeMap<String, Held> {
        match scope {
            Scope::Client => &mut self.client,
            Scope::Shared => &mut self.shared,
            Scope::Server => &mut self.server,
        }
    }
}

fn write(
    held: &mut BTreeMap<String, Held>,
    device: DeviceId,
    scope: Scope,
    sample: &Sample,
    now: Timestamp,
    batch: &mut Batch,
) {
    let attribute = Attribute { key: sample.key.clone(), value: sample.value.clone(), updated: now };
    batch.put_attribute(device, scope, &attribute);
    held.insert(attribute.key.clone(), Held { attribute, durable: false });
}

/// The answer to a device that asks: nothing named means everything of both scopes (device API §11.2).
pub(crate) fn answer(
    device: &DeviceHandle,
    id: i32,
    client_keys: &[String],
    shared_keys: &[String],
) -> Downlink {
    let everything = client_keys.is_empty() && shared_keys.is_empty();
    let attributes = device.state.attributes.lock();
    let samples = |scope, keys: &[String]| {
        let selected = attributes.select(scope, (!everything).then_some(keys));
        selected.into_iter().map(|found| Sample { key: found.key, value: found.value }).collect()
    };
    Downlink::AttributeResponse {
        id,
        client: samples(Scope::Client, client_keys),
        shared: samples(Scope::Shared, shared_keys),
    }
}

impl Devices {
    /// Attributes of one scope, all or those named, in the order of their keys or as named.
    pub fn attributes(
        &self,
        device: DeviceId,
        scope: Scope,
        keys: Option<&[String]>,
    ) -> Result<Vec<Attribute>, DeviceError> {
        let device = self.device(device).ok_or(DeviceError::NotFound)?;
        let selected = device.state.attributes.lock().select(scope, keys);
        Ok(selected)
    }

    /// Writes attributes from the management side. A write of shared ones is told to the device as one message, even
    /// where no value changed (device API §11.3).
    pub async fn write_attributes(
        &self,
        device: DeviceId,
        scope: Scope,
        samples: Vec<Sample>,
        now: Timestamp,
    ) -> Result<(), DeviceError> {
        let device = self.device(device).ok_or(DeviceError::NotFound)?;
        if !samples.iter().all(|sample| is_valid_key(&sample.key)) {
            return Err(Rule::InvalidKey.into());
        }
        let committed = {
            let mut batch = Batch::default();
            let mut attributes = device.state.attributes.lock();
            if !attributes.has_room(scope, &samples) {
                return Err(DeviceError::TooManyAttributes);
            }
            attributes.write_all(device.id(), scope, &samples, now, &mut batch);
            self.0.queue(batch)
        };
        committed.await?;
        device.state.attributes.lock().settle(scope, &samples);
        announce(&self.0.bus, &device, now, scope, &samples);
        if scope == Scope::Shared && !samples.is_empty() {
            // Updates during a disconnect are lost by contract: a device asks for the state when it is back.
            self.0.bus.send(device.id(), Downlink::AttributeUpdate(samples));
        }
        Ok(())
    }

    /// Deletes attributes; unknown keys are no error. The device is told of shared ones.
    pub async fn delete_attributes(
        &self,
        device: DeviceId,
        scope: Scope,
        keys: Vec<String>,
    ) -> Result<(), DeviceError> {
        let device = self.device(device).ok_or(DeviceError::NotFound)?;
        let committed = {
            let mut batch = Batch::default();
            device.state.attributes.lock().remove(device.id(), scope, &keys, &mut batch);
            self.0.queue(batch)
        };
        committed.await?;
        announce_deleted(&self.0.bus, &device, scope, &keys);
        if scope == Scope::Shared && !keys.is_empty() {
            self.0.bus.send(device.id(), Downlink::AttributeDelete(keys));
        }
        Ok(())
    }
}

/// Tells listeners, if there are any, what has been stored.
pub(crate) fn announce(bus: &Bus, device: &DeviceHandle, ts: Timestamp, scope: Scope, samples: &[Sample]) {
    if !samples.is_empty() && bus.is_heard(device.id(), Kinds::ATTRIBUTES) {
        bus.announce(Event::Attributes {
            device: device.id(),
            device_name: device.name(),
            profile: device.profile().name.clone(),
            ts,
            scope,
            samples: samples.to_vec(),
        });
    }
}

/// Tells listeners, if there are any, what has been deleted, or was not there.
pub(crate) fn announce_deleted(bus: &Bus, device: &DeviceHandle, scope: Scope, keys: &[String]) {
    if !keys.is_empty() && bus.is_heard(device.id(), Kinds::ATTRIBUTES) {
        bus.announce(Event::AttributesDeleted {
            device: device.id(),
            device_name: device.name(),
            profile: device.profile().name.clone(),
            scope,
            keys: keys.to_vec(),
        });
    }
}
