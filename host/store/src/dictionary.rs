//! Numbers for what repeats: devices, keys, shapes (which keys a message has, in order) and codec stamps.
//!
//! A definition becomes durable with the commit that first uses it or with an earlier one: a lane defines before
//! it queues a message, and the commit thread collects the new definitions after it has taken the queue.
//! Numbers are never given twice, so a deleted device's leftovers can never be read as another's.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use wireglot_model::{CodecStamp, DeviceId};

use crate::coding::{Reader, put_varint};
use crate::error::{CommitError, ReadError};
use crate::keys::{self, prefix};

pub(crate) type Hasher = foldhash::fast::RandomState;

/// Shapes beyond these bounds are spelled out in every message instead of being kept for ever.
const SHAPES_MAX: usize = 65_536;
const SHAPE_KEYS_MAX: usize = 64;
/// Written in place of a shape or stamp number.
pub(crate) const SPELLED_OUT: u32 = 0;
pub(crate) const NO_STAMP: u32 = 0;

/// A key and a value for the `records` keyspace.
pub(crate) type Definition = (Vec<u8>, Vec<u8>);

#[derive(Debug)]
pub(crate) struct Dictionary {
    tables: RwLock<Tables>,
    /// Counts deletions of devices, so that the caches of the lanes know when to forget.
    pub(crate) deletions: AtomicU64,
    keys_max: usize,
}

#[derive(Default, Debug)]
struct Tables {
    devices: HashMap<DeviceId, u32, Hasher>,
    /// Deleted devices whose series is not cleaned up yet, with the epoch in which they were deleted.
    deleted: HashMap<u32, u32, Hasher>,
    next_device: u32,
    keys: HashMap<Arc<str>, u32, Hasher>,
    key_names: Vec<Arc<str>>,
    shapes: HashMap<Arc<[u32]>, u32, Hasher>,
    shape_keys: Vec<Arc<[u32]>>,
    stamps: HashMap<CodecStamp, u32, Hasher>,
    stamp_list: Vec<CodecStamp>,
    /// Not yet taken by the commit thread.
    undefined: Vec<Definition>,
}

/// The keys of a message: a number, or spelled out where the table of shapes is full or the message is unusual.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    Known(u32),
    SpelledOut(Arc<[u32]>),
}

impl Dictionary {
    pub(crate) fn new(keys_max: usize) -> Self {
        let tables = RwLock::new(Tables { next_device: 1, ..Tables::default() });
        Self { tables, deletions: AtomicU64::new(0), keys_max }
    }

    // Devices.

    pub(crate) fn device(&self, id: DeviceId) -> Option<u32> {
        self.tables.read().devices.get(&id).copied()
    }

    /// The device's number, a new one if it has none.
    pub(crate) fn define_device(&self, id: DeviceId) -> u32 {
        let mut tables = self.tables.write();
        if let Some(number) = tables.devices.get(&id) {
            return *number;
        }
        let number = tables.next_device;
        tables.next_device += 1;
        tables.devices.insert(id, number);
        let next = tables.next_device.to_be_bytes().to_vec();
        tables.undefined.push((vec![prefix::NEXT_DEVICE], next));
        number
    }

    /// Forgets the device and returns the number under which its series lies.
    pub(crate) fn delete_device(&self, id: DeviceId, epoch: u32) -> Option<u32> {
        let mut tables = self.tables.write();
        let number = tables.devices.remove(&id)?;
        tables.deleted.insert(number, epoch);
        self.deletions.fetch_add(1, Ordering::SeqCst);
        Some(number)
    }

    pub(crate) fn is_deleted(&self, number: u32) -> bool {
        self.tables.read().deleted.contains_key(&number)
    }

    pub(crate) fn deleted(&self) -> Vec<(u32, u32)> {
        self.tables.read().deleted.iter().map(|(number, epoch)| (*number, *epoch)).collect()
    }

    /// The series of a deleted device is gone, and nothing of it is on its way.
    pub(crate) fn forget_deleted(&self, number: u32) {
        self.tables.write().deleted.remove(&number);
    }

    // Shapes, keys and stamps.

    /// The shape of a message whose keys lie one after the other in `spelled`, each with its length.
    pub(crate) fn define_shape(&self, spelled: &[u8]) -> Result<Shape, CommitError> {
        let mut tables = self.tables.write();
        let mut reader = Reader::new(spelled);
        let mut numbers = Vec::new();
        while !reader.is_empty() {
            let key = reader.bytes().ok().and_then(|bytes| std::str::from_utf8(bytes).ok());
            let key = key.expect("the batch wrote the keys from texts");
            numbers.push(tables.define_key(key, self.keys_max)?);
        }
        if let Some(number) = tables.shapes.get(numbers.as_slice()) {
            return Ok(Shape::Known(*number));
        }
        let numbers: Arc<[u32]> = numbers.into();
        if numbers.len() > SHAPE_KEYS_MAX || tables.shape_keys.len() >= SHAPES_MAX {
            return Ok(Shape::SpelledOut(numbers));
        }
        let mut value = Vec::new();
        numbers.iter().for_each(|key| put_varint(&mut value, u64::from(*key)));
        let number = tables.add_shape(numbers);
        tables.undefined.push((keys::numbered(prefix::SHAPE, number), value));
        Ok(Shape::Known(number))
    }

    pub(crate) fn define_stamp(&self, stamp: &CodecStamp) -> u32 {
        if let Some(number) = self.tables.read().stamps.get(stamp) {
            return *number;
        }
        let mut tables = self.tables.write();
        if let Some(number) = tables.stamps.get(stamp) {
            return *number;
        }
        let number = tables.add_stamp(stamp.clone());
        tables.undefined.push((keys::numbered(prefix::STAMP, number), crate::batch::json(stamp)));
        number
    }

    /// What was defined since the last call. Must be called after the queue was taken.
    pub(crate) fn take_undefined(&self) -> Vec<Definition> {
        if self.tables.read().undefined.is_empty() {
            return Vec::new();
        }
        std::mem::take(&mut self.tables.write().undefined)
    }

    pub(crate) fn key(&self, name: &str) -> Option<u32> {
        self.tables.read().keys.get(name).copied()
    }

    pub(crate) fn key_name(&self, key: u32) -> Result<Arc<str>, ReadError> {
        let name = self.tables.read().key_names.get(place(key)?).cloned();
        name.ok_or(ReadError::Damaged { what: "a key that was never defined" })
    }

    pub(crate) fn shape(&self, shape: u32) -> Result<Arc<[u32]>, ReadError> {
        let keys = self.tables.read().shape_keys.get(place(shape)?).cloned();
        keys.ok_or(ReadError::Damaged { what: "a shape that was never defined" })
    }

    pub(crate) fn stamp(&self, stamp: u32) -> Result<Option<CodecStamp>, ReadError> {
        if stamp == NO_STAMP {
            return Ok(None);
        }
        let found = self.tables.read().stamp_list.get(place(stamp)?).cloned();
        found.map(Some).ok_or(ReadError::Damaged { what: "a codec stamp that was never defined" })
    }

    pub(crate) fn key_count(&self) -> usize {
        self.tables.read().key_names.len()
    }

    pub(crate) fn device_count(&self) -> usize {
        self.tables.read().devices.len()
    }

    // Recovery: every entry comes back in the order of its number.

    pub(crate) fn restore_device(&self, id: DeviceId, number: u32) {
        self.tables.write().devices.insert(id, number);
    }

    pub(crate) fn restore_deleted(&self, number: u32) {
        self.tables.write().deleted.insert(number, 0);
    }

    pub(crate) fn restore_next_device(&self, number: u32) {
        self.tables.write().next_device = number;
    }

    pub(crate) fn restore_key(&self, number: u32, name: &str) -> Result<(), ReadError> {
        let mut tables = self.tables.write();
        let added = tables.add_key(name);
        in_order(number, added)
    }

    pub(crate) fn restore_shape(&self, number: u32, keys: &[u8]) -> Result<(), ReadError> {
        let mut reader = Reader::new(keys);
        let mut numbers = Vec::new();
        while !reader.is_empty() {
            numbers.push(reader.varint_u32()?);
        }
        let added = self.tables.write().add_shape(numbers.into());
        in_order(number, added)
    }

    pub(crate) fn restore_stamp(&self, number: u32, stamp: CodecStamp) -> Result<(), ReadError> {
        let added = self.tables.write().add_stamp(stamp);
        in_order(number, added)
    }
}

impl Tables {
    fn define_key(&mut self, name: &str, keys_max: usize) -> Result<u32, CommitError> {
        if let Some(number) = self.keys.get(name) {
            return Ok(*number);
        }
        if self.key_names.len() >= keys_max {
            return Err(CommitError::TooManyKeys);
        }
        let number = self.add_key(name);
        self.undefined.push((keys::numbered(prefix::KEY, number), name.as_bytes().to_vec()));
        Ok(number)
    }

    fn add_key(&mut self, name: &str) -> u32 {
        let name: Arc<str> = name.into();
        self.key_names.push(name.clone());
        let number = count(self.key_names.len());
        self.keys.insert(name, number);
        number
    }

    fn add_shape(&mut self, keys: Arc<[u32]>) -> u32 {
        self.shape_keys.push(keys.clone());
        let number = count(self.shape_keys.len());
        self.shapes.insert(keys, number);
        number
    }

    fn add_stamp(&mut self, stamp: CodecStamp) -> u32 {
        self.stamp_list.push(stamp.clone());
        let number = count(self.stamp_list.len());
        self.stamps.insert(stamp, number);
        number
    }
}

/// Numbers start at 1, because 0 says "none" or "spelled out".
fn place(number: u32) -> Result<usize, ReadError> {
    number
        .checked_sub(1)
        .map(|place| place as usize)
        .ok_or(ReadError::Damaged { what: "a dictionary number of zero" })
}

fn count(entries: usize) -> u32 {
    u32::try_from(entries).expect("the dictionary is bounded far below 2^32 entries")
}

fn in_order(number: u32, added: u32) -> Result<(), ReadError> {
    if number == added { Ok(()) } else { Err(ReadError::Damaged { what: "the dictionary has a gap" }) }
}

/// A lane's own copy of what it meets again and again; spares it the shared lock.
#[derive(Default, Debug)]
pub(crate) struct Cache {
    devices: HashMap<DeviceId, u32, Hasher>,
    shapes: HashMap<Box<[u8]>, Shape, Hasher>,
    /// As batches spell them.
    stamps: Vec<(Box<[u8]>, u32)>,
    deletions: u64,
}

const CACHED_DEVICES_MAX: usize = 65_536;
const CACHED_SHAPES_MAX: usize = 4_096;
const CACHED_STAMPS_MAX: usize = 64;

impl Cache {
    /// The number of a device that was put and not deleted.
    pub(crate) fn device(&mut self, dictionary: &Dictionary, id: DeviceId) -> Option<u32> {
        let deletions = dictionary.deletions.load(Ordering::SeqCst);
        if deletions != self.deletions || self.devices.len() > CACHED_DEVICES_MAX {
            self.devices.clear();
            self.deletions = deletions;
        }
        if let Some(number) = self.devices.get(&id) {
            return Some(*number);
        }
        let number = dictionary.device(id)?;
        self.devices.insert(id, number);
        Some(number)
    }

    pub(crate) fn shape(&mut self, dictionary: &Dictionary, spelled: &[u8]) -> Result<Shape, CommitError> {
        if let Some(shape) = self.shapes.get(spelled) {
            return Ok(shape.clone());
        }
        let shape = dictionary.define_shape(spelled)?;
        if self.shapes.len() >= CACHED_SHAPES_MAX {
            self.shapes.clear();
        }
        self.shapes.insert(spelled.into(), shape.clone());
        Ok(shape)
    }

    pub(crate) fn stamp(&mut self, dictionary: &Dictionary, spelled: &[u8]) -> u32 {
        if spelled.is_empty() {
            return NO_STAMP;
        }
        if let Some((_, number)) = self.stamps.iter().find(|(cached, _)| **cached == *spelled) {
            return *number;
        }
        let stamp = crate::batch::read_stamp(spelled).expect("the batch spelled the stamp");
        let number = dictionary.define_stamp(&stamp);
        if self.stamps.len() >= CACHED_STAMPS_MAX {
            self.stamps.clear();
        }
        self.stamps.push((spelled.into(), number));
        number
    }
}
