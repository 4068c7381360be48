//! Typed reads of the small records. They block; callers keep them off the workers.

use serde::de::DeserializeOwned;
use wireglot_model::{Attribute, Credentials, DeadLetter, Device, DeviceId, Profile, Scope, Timestamp, User};

use crate::coding::{Reader, read_single};
use crate::dead;
use crate::error::ReadError;
use crate::keys::{self, prefix};
use crate::store::{Core, Store};

impl Store {
    pub fn devices(&self) -> Result<Vec<Device>, ReadError> {
        let mut devices = Vec::new();
        self.core().each(prefix::DEVICE, |_, value| {
            let (_, device) = read_device(value)?;
            devices.push(device);
            Ok(())
        })?;
        Ok(devices)
    }

    pub fn profiles(&self) -> Result<Vec<Profile>, ReadError> {
        self.core().all(prefix::PROFILE)
    }

    pub fn credentials(&self) -> Result<Vec<Credentials>, ReadError> {
        self.core().all(prefix::CREDENTIALS)
    }

    pub fn users(&self) -> Result<Vec<User>, ReadError> {
        self.core().all(prefix::USER)
    }

    pub fn attributes_all(&self) -> Result<Vec<(DeviceId, Scope, Attribute)>, ReadError> {
        let mut attributes = Vec::new();
        self.core().each(prefix::ATTRIBUTE, |key, value| {
            let (device, scope, name) = keys::read_attribute(key)?;
            let mut reader = Reader::new(value);
            let updated = Timestamp(i64::from_le_bytes(reader.array()?));
            let value = read_single(&mut reader)?.to_value();
            attributes.push((device, scope, Attribute { key: name.to_owned(), value, updated }));
            Ok(())
        })?;
        Ok(attributes)
    }

    /// A named setting, such as a signing key.
    pub fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.core().records.get(keys::setting(name))?.map(|value| value.to_vec()))
    }

    /// The newest dead letters first, of one device or of all, each with its sequence number.
    pub fn dead_letters(
        &self,
        device: Option<DeviceId>,
        limit: usize,
    ) -> Result<Vec<(u64, DeadLetter)>, ReadError> {
        let core = self.core();
        let sequences: Vec<u64> = {
            let graveyard = core.graveyard.lock();
            let wanted = |facts: &&dead::Facts| device.is_none_or(|device| facts.device == device);
            graveyard.kept.iter().rev().filter(wanted).map(|facts| facts.sequence).take(limit).collect()
        };
        let mut letters = Vec::with_capacity(sequences.len());
        for sequence in sequences {
            // A letter may be evicted, or not yet be written, between the look and the read.
            if let Some(letter) = core.dead.get(keys::sequenced(prefix::DEAD_LETTER, sequence))? {
                letters.push((sequence, dead::decode(&letter)?));
            }
        }
        Ok(letters)
    }
}

/// The device's number and the device.
pub(crate) fn read_device(value: &[u8]) -> Result<(u32, Device), ReadError> {
    let mut reader = Reader::new(value);
    let number = u32::from_be_bytes(reader.array()?);
    Ok((number, parse(reader.rest())?))
}

pub(crate) fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, ReadError> {
    serde_json::from_slice(json).map_err(|_| ReadError::Damaged { what: "a record is not what its key says" })
}

impl Core {
    fn all<T: DeserializeOwned>(&self, prefix: u8) -> Result<Vec<T>, ReadError> {
        let mut records = Vec::new();
        self.each(prefix, |_, value| {
            records.push(parse(value)?);
            Ok(())
        })?;
        Ok(records)
    }

    pub(crate) fn each(
        &self,
        prefix: u8,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        for guard in self.records.prefix([prefix]) {
            let (key, value) = guard.into_inner()?;
            visit(&key, &value)?;
        }
        Ok(())
    }
}
