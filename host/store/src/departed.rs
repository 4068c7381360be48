//! Devices that were deleted and may have left raw frames behind, which lie by time and are looked for by the sweep.
//!
//! A note lasts for two sweeps: what a device was still saying when it was deleted is not kept meanwhile.

use std::collections::HashMap;

use parking_lot::Mutex;
use wireglot_model::DeviceId;

use crate::coding::Reader;
use crate::error::ReadError;
use crate::keys;
use crate::retention::REMOVALS;
use crate::store::Core;

#[derive(Default)]
pub(crate) struct Departed(Mutex<HashMap<DeviceId, Sweeps>>);

/// How often frames of a device were looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sweeps {
    None,
    One,
}

impl Departed {
    pub(crate) fn note(&self, device: DeviceId) {
        self.0.lock().insert(device, Sweeps::None);
    }

    /// The device is there again; whether there was a note of it.
    pub(crate) fn forget(&self, device: DeviceId) -> bool {
        self.0.lock().remove(&device).is_some()
    }

    pub(crate) fn has(&self, device: DeviceId) -> bool {
        self.0.lock().contains_key(&device)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// Whether a frame, as it is stored, is of such a device.
    pub(crate) fn has_sent(&self, frame: &[u8]) -> bool {
        sender(frame).is_ok_and(|device| self.has(device))
    }

    /// The devices whose note is not needed any more after this sweep.
    fn swept(&self, looked_for: &HashMap<DeviceId, Sweeps>) -> Vec<DeviceId> {
        let mut noted = self.0.lock();
        for device in looked_for.keys() {
            noted.entry(*device).and_modify(|sweeps| *sweeps = Sweeps::One);
        }
        looked_for.iter().filter(|(_, sweeps)| **sweeps == Sweeps::One).map(|(device, _)| *device).collect()
    }
}

/// A stored frame begins with the device that sent it.
fn sender(frame: &[u8]) -> Result<DeviceId, ReadError> {
    Ok(DeviceId(uuid::Uuid::from_bytes(Reader::new(frame).array()?)))
}

impl Core {
    /// Removes raw frames of deleted devices and returns how many there were.
    pub(crate) fn sweep_departed(&self) -> Result<usize, ReadError> {
        let looked_for = self.departed.0.lock().clone();
        if looked_for.is_empty() {
            return Ok(0);
        }
        let mut removed = 0;
        let mut batch = self.db.batch();
        let mut in_batch = 0;
        for guard in self.raw.iter() {
            let (key, frame) = guard.into_inner()?;
            if looked_for.contains_key(&sender(&frame)?) {
                batch.remove(&self.raw, key);
                in_batch += 1;
            }
            if in_batch == REMOVALS {
                std::mem::replace(&mut batch, self.db.batch()).commit()?;
                removed += std::mem::take(&mut in_batch);
            }
        }
        let swept = self.departed.swept(&looked_for);
        for device in &swept {
            batch.remove(&self.records, keys::departed(*device));
        }
        batch.commit()?;
        let mut noted = self.departed.0.lock();
        noted.retain(|device, _| !swept.contains(device));
        Ok(removed + in_batch)
    }
}
