//! How many questions are out for each device, whatever it still waits for.
//!
//! An id that is used again, a time-out or a new connection ends the waiting, but takes no question back: the webhook has
//! it, or will have it. So a place is held by the way back of its question, and is free when that is gone.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use parking_lot::Mutex;
use wireglot_model::DeviceId;
use wireglot_model::limits::CLIENT_RPC_WAITING_MAX;

/// The places of all devices. Clones are the same places.
#[derive(Clone, Default)]
pub struct CallPlaces(Arc<Mutex<HashMap<DeviceId, usize>>>);

/// One that is taken.
pub(crate) struct CallPlace {
    all: CallPlaces,
    device: DeviceId,
}

impl CallPlaces {
    /// A place for one more question; `None` where as many are out for this device as may be.
    pub(crate) fn take(&self, device: DeviceId) -> Option<CallPlace> {
        let mut taken = self.0.lock();
        let taken = taken.entry(device).or_default();
        if *taken >= CLIENT_RPC_WAITING_MAX {
            return None;
        }
        *taken += 1;
        Some(CallPlace { all: self.clone(), device })
    }
}

impl Drop for CallPlace {
    fn drop(&mut self) {
        if let Entry::Occupied(mut taken) = self.all.0.lock().entry(self.device) {
            *taken.get_mut() -= 1;
            if *taken.get() == 0 {
                taken.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_its_own_places_and_leaves_nothing_behind() {
        let places = CallPlaces::default();
        let [one, other] = [1, 2].map(|number| DeviceId(uuid::Uuid::from_u128(number)));
        let mut taken: Vec<CallPlace> =
            (0..CLIENT_RPC_WAITING_MAX).filter_map(|_| places.take(one)).collect();
        assert_eq!(taken.len(), CLIENT_RPC_WAITING_MAX);
        assert!(places.take(one).is_none());
        assert!(places.take(other).is_some());
        taken.pop();
        taken.push(places.take(one).expect("one is free again"));
        assert!(places.take(one).is_none());
        drop(taken);
        assert!(places.0.lock().is_empty());
    }
}
