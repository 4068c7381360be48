//! What one caller wants to become durable together.
//!
//! Telemetry is brought into its stored form here, on the caller's thread; only the numbers of the dictionary
//! (device, shape, codec stamp) are still missing, because a batch knows no store.

use std::ops::Range;

use serde::Serialize;
use wireglot_model::{
    Attribute, CodecStamp, Credentials, CredentialsId, DeadLetter, Device, DeviceId, Measurement, Profile,
    ProfileId, Scope, Timestamp, User, UserId,
};

use crate::coding::{Scalar, ValueWriter, put_bytes, put_times, put_value};
use crate::keys;

/// Changes that are committed together or not at all, in the order in which they were added.
#[derive(Default, Debug)]
pub struct Batch {
    pub(crate) changes: Vec<Change>,
    pub(crate) messages: Vec<Message>,
    /// Keys and values of all messages, one after the other.
    pub(crate) bytes: Vec<u8>,
}

/// A change of a small record.
#[derive(Debug)]
pub(crate) enum Change {
    Put {
        key: Vec<u8>,
        value: Vec<u8>,
    },
    Remove {
        key: Vec<u8>,
    },
    /// The record without the device's number, which the dictionary knows or gives.
    PutDevice {
        id: DeviceId,
        value: Vec<u8>,
    },
    DeleteDevice {
        id: DeviceId,
    },
    Bury {
        device: DeviceId,
        letter: Vec<u8>,
    },
}

/// One measurement of a device.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) device: DeviceId,
    pub(crate) stamp: Option<CodecStamp>,
    /// In `Batch::bytes`: every key with its length.
    pub(crate) keys: Range<usize>,
    /// In `Batch::bytes`: both times.
    pub(crate) times: Range<usize>,
    /// In `Batch::bytes`: tags and values.
    pub(crate) values: Range<usize>,
}

/// A guess that suits most messages: it saves growing the buffer step by step.
const BYTES_PER_MESSAGE: usize = 224;

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.messages.is_empty()
    }

    pub fn put_device(&mut self, device: &Device) {
        self.changes.push(Change::PutDevice { id: device.id, value: json(device) });
    }

    /// Drops the device with its series and attributes. Credentials have their own record.
    pub fn delete_device(&mut self, id: DeviceId) {
        self.changes.push(Change::DeleteDevice { id });
    }

    pub fn put_profile(&mut self, profile: &Profile) {
        self.put(keys::profile(profile.id), json(profile));
    }

    pub fn delete_profile(&mut self, id: ProfileId) {
        self.remove(keys::profile(id));
    }

    pub fn put_credentials(&mut self, credentials: &Credentials) {
        self.put(keys::credentials(credentials.id), json(credentials));
    }

    pub fn delete_credentials(&mut self, id: CredentialsId) {
        self.remove(keys::credentials(id));
    }

    pub fn put_user(&mut self, user: &User) {
        self.put(keys::user(user.id), json(user));
    }

    pub fn delete_user(&mut self, id: UserId) {
        self.remove(keys::user(id));
    }

    pub fn put_setting(&mut self, name: &str, value: &[u8]) {
        self.put(keys::setting(name), value.to_vec());
    }

    pub fn put_attribute(&mut self, device: DeviceId, scope: Scope, attribute: &Attribute) {
        let mut value = attribute.updated.0.to_le_bytes().to_vec();
        put_value(&mut value, Scalar::of(&attribute.value));
        self.put(keys::attribute(device, scope, &attribute.key), value);
    }

    pub fn delete_attribute(&mut self, device: DeviceId, scope: Scope, key: &str) {
        self.remove(keys::attribute(device, scope, key));
    }

    /// Adds measurements of a device that was put before. Those of an unknown or deleted device are left out.
    ///
    /// A measurement without samples says nothing and is left out too.
    pub fn telemetry(
        &mut self,
        device: DeviceId,
        received: Timestamp,
        codec: Option<&CodecStamp>,
        measurements: &[Measurement],
    ) {
        if self.bytes.capacity() == 0 {
            self.bytes.reserve(BYTES_PER_MESSAGE * measurements.len());
        }
        self.messages.reserve(measurements.len());
        for measurement in measurements.iter().filter(|measurement| !measurement.samples.is_empty()) {
            self.measurement(device, received, codec, measurement);
        }
    }

    fn measurement(
        &mut self,
        device: DeviceId,
        received: Timestamp,
        codec: Option<&CodecStamp>,
        measurement: &Measurement,
    ) {
        let samples = measurement.samples.as_slice();
        let keys = self.bytes.len();
        for sample in samples {
            put_bytes(&mut self.bytes, sample.key.as_bytes());
        }
        let times = self.bytes.len();
        put_times(&mut self.bytes, received, measurement.ts.unwrap_or(received));
        let values = self.bytes.len();
        let mut writer = ValueWriter::new(&mut self.bytes, samples.len());
        for sample in samples {
            writer.push(Scalar::of(&sample.value), None);
        }
        self.messages.push(Message {
            device,
            stamp: codec.cloned(),
            keys: keys..times,
            times: times..values,
            values: values..self.bytes.len(),
        });
    }

    pub fn dead_letter(&mut self, letter: &DeadLetter) {
        self.changes.push(Change::Bury { device: letter.device, letter: crate::dead::encode(letter) });
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.changes.push(Change::Put { key, value });
    }

    fn remove(&mut self, key: Vec<u8>) {
        self.changes.push(Change::Remove { key });
    }

    /// What the batch weighs in the commit queue.
    pub(crate) fn weight(&self) -> usize {
        let changes = self.changes.iter().map(Change::weight).sum::<usize>();
        self.bytes.len() + changes
    }
}

impl Change {
    fn weight(&self) -> usize {
        const FIXED: usize = 64;
        FIXED
            + match self {
                Change::Put { key, value } => key.len() + value.len(),
                Change::Remove { key } => key.len(),
                Change::PutDevice { value, .. } => value.len(),
                Change::DeleteDevice { .. } => 0,
                Change::Bury { letter, .. } => letter.len(),
            }
    }
}

pub(crate) fn json<T: Serialize>(record: &T) -> Vec<u8> {
    serde_json::to_vec(record).expect("records have text keys only, and a Vec takes every byte")
}
