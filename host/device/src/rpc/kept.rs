//! Which persistent RPCs there are, and how many there may be. The records themselves are in the store.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use wireglot_model::limits::{RPC_KEPT_BYTES_MAX, RPCS_KEPT_MAX};
use wireglot_model::{DeviceId, RpcId, RpcRecord, RpcStatus, Timestamp};

/// An index in memory. Whoever looks into it holds the lock that every RPC needs, so nothing here goes through all.
#[derive(Default)]
pub(crate) struct Kept {
    facts: HashMap<RpcId, Facts>,
    /// By number: oldest first.
    by_device: HashMap<DeviceId, BTreeMap<u64, RpcId>>,
    finished: BTreeMap<u64, RpcId>,
    bytes: usize,
    last_number: u64,
}

#[derive(Clone, Copy)]
struct Facts {
    device: DeviceId,
    number: u64,
    expires: Timestamp,
    bytes: usize,
    status: RpcStatus,
}

impl Kept {
    /// A record is another one now, or new.
    pub(crate) fn note(&mut self, record: &RpcRecord) {
        let RpcRecord { id, number, device, expires, status, .. } = *record;
        let facts = Facts { device, number, expires, bytes: record.bytes(), status };
        let before = self.facts.insert(id, facts).map_or(0, |before| before.bytes);
        self.by_device.entry(device).or_default().insert(number, id);
        if record.is_finished() {
            self.finished.insert(number, id);
        }
        self.bytes = self.bytes + facts.bytes - before;
        self.last_number = self.last_number.max(number);
    }

    /// Forgets one. Of whom it was asked, and when it would have expired; `None`: there is none.
    pub(crate) fn remove(&mut self, id: RpcId) -> Option<(DeviceId, Timestamp)> {
        let Facts { device, number, expires, bytes, .. } = self.facts.remove(&id)?;
        if let Entry::Occupied(mut of_device) = self.by_device.entry(device) {
            of_device.get_mut().remove(&number);
            if of_device.get().is_empty() {
                of_device.remove();
            }
        }
        self.finished.remove(&number);
        self.bytes -= bytes;
        Some((device, expires))
    }

    pub(crate) fn device(&self, id: RpcId) -> Option<DeviceId> {
        self.facts.get(&id).map(|facts| facts.device)
    }

    /// Those of a device that are wanted, oldest first.
    pub(crate) fn of_device(
        &self,
        device: DeviceId,
        is_wanted: impl Fn(RpcId, RpcStatus) -> bool,
    ) -> Vec<RpcId> {
        let is_wanted = |id: &&RpcId| self.facts.get(id).is_some_and(|facts| is_wanted(**id, facts.status));
        self.by_device
            .get(&device)
            .into_iter()
            .flat_map(BTreeMap::values)
            .filter(is_wanted)
            .copied()
            .collect()
    }

    /// That of the newest one there ever was.
    pub(crate) fn last_number(&self) -> u64 {
        self.last_number
    }

    /// Which have to go so that a record of so many bytes has room: the oldest finished ones. `None`: even without them
    /// there is none.
    pub(crate) fn surplus(&self, bytes: usize) -> Option<Vec<RpcId>> {
        let (mut count, mut held) = (self.facts.len() + 1, self.bytes + bytes);
        let mut surplus = Vec::new();
        let mut finished = self.finished.values();
        while count > RPCS_KEPT_MAX || held > RPC_KEPT_BYTES_MAX {
            let id = finished.next()?;
            surplus.push(*id);
            (count, held) = (count - 1, held - self.facts.get(id).map_or(0, |facts| facts.bytes));
        }
        Some(surplus)
    }
}

#[cfg(test)]
mod tests {
    use wireglot_model::limits::RPC_PARAMS_BYTES_MAX;

    use super::*;

    fn record(number: u64, status: RpcStatus, params_bytes: usize) -> RpcRecord {
        RpcRecord {
            id: RpcId(uuid::Uuid::from_u128(number.into())),
            number,
            device: DeviceId(uuid::Uuid::from_u128(1)),
            created: Timestamp(0),
            expires: Timestamp(1),
            method: "m".into(),
            params: "1".repeat(params_bytes),
            is_one_way: false,
            retries: None,
            additional_info: None,
            status,
            response: None,
        }
    }

    fn id(number: u64) -> RpcId {
        record(number, RpcStatus::Queued, 0).id
    }

    #[test]
    fn the_oldest_finished_ones_make_room() {
        let mut kept = Kept::default();
        for number in 0..RPCS_KEPT_MAX as u64 {
            let status = if number < 2 { RpcStatus::Queued } else { RpcStatus::Successful };
            kept.note(&record(number, status, 1));
        }
        assert_eq!(kept.surplus(1), Some(vec![id(2)]));
        assert!(kept.remove(id(2)).is_some() && kept.remove(id(2)).is_none());
        assert_eq!(kept.surplus(1), Some(vec![]));
        kept.remove(id(RPCS_KEPT_MAX as u64 - 1));
        assert_eq!(kept.last_number(), RPCS_KEPT_MAX as u64 - 1, "no number is given twice");
    }

    #[test]
    fn bytes_are_bounded_too_and_what_is_unfinished_stays() {
        let mut kept = Kept::default();
        let mut number = 0;
        while kept.surplus(RPC_PARAMS_BYTES_MAX) == Some(vec![]) {
            kept.note(&record(number, RpcStatus::Sent, RPC_PARAMS_BYTES_MAX));
            number += 1;
        }
        assert!(number as usize <= RPC_KEPT_BYTES_MAX / RPC_PARAMS_BYTES_MAX);
        assert_eq!(kept.surplus(RPC_PARAMS_BYTES_MAX), None);
        assert_eq!(kept.of_device(DeviceId(uuid::Uuid::from_u128(2)), |_, _| true), []);
        kept.note(&record(7, RpcStatus::Expired, RPC_PARAMS_BYTES_MAX));
        assert_eq!(kept.surplus(RPC_PARAMS_BYTES_MAX), Some(vec![id(7)]), "a record is counted once");
        let device = DeviceId(uuid::Uuid::from_u128(1));
        assert_eq!(kept.of_device(device, |_, status| status == RpcStatus::Expired), [id(7)]);
        assert_eq!(kept.of_device(device, |_, _| true).len(), number as usize);
    }
}
