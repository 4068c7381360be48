//! Which persistent RPCs there are, and how many there may be. The records themselves are in the store.

use std::collections::{BTreeMap, HashMap};

use wireglot_model::limits::{RPC_KEPT_BYTES_MAX, RPCS_KEPT_MAX};
use wireglot_model::{DeviceId, RpcId, RpcRecord, RpcStatus};

/// An index in memory.
#[derive(Default)]
pub(crate) struct Kept {
    facts: HashMap<RpcId, Facts>,
    /// By number: oldest first.
    order: BTreeMap<u64, RpcId>,
    bytes: usize,
}

#[derive(Clone, Copy)]
struct Facts {
    device: DeviceId,
    number: u64,
    bytes: usize,
    status: RpcStatus,
    is_finished: bool,
}

impl Kept {
    /// A record is another one now, or new.
    pub(crate) fn note(&mut self, record: &RpcRecord) {
        let facts = Facts {
            device: record.device,
            number: record.number,
            bytes: record.bytes(),
            status: record.status,
            is_finished: record.is_finished(),
        };
        let before = self.facts.insert(record.id, facts).map_or(0, |before| before.bytes);
        self.order.insert(record.number, record.id);
        self.bytes = self.bytes + facts.bytes - before;
    }

    /// Whether there was one.
    pub(crate) fn remove(&mut self, id: RpcId) -> bool {
        let Some(facts) = self.facts.remove(&id) else { return false };
        self.order.remove(&facts.number);
        self.bytes -= facts.bytes;
        true
    }

    pub(crate) fn device(&self, id: RpcId) -> Option<DeviceId> {
        self.facts.get(&id).map(|facts| facts.device)
    }

    /// Those of a device, oldest first.
    pub(crate) fn of_device(&self, device: DeviceId, status: Option<RpcStatus>) -> Vec<RpcId> {
        let is_wanted =
            |facts: &Facts| facts.device == device && status.is_none_or(|status| status == facts.status);
        self.order.values().filter(|id| self.facts.get(id).is_some_and(is_wanted)).copied().collect()
    }

    pub(crate) fn last_number(&self) -> u64 {
        self.order.last_key_value().map_or(0, |(number, _)| *number)
    }

    /// Which have to go so that a record of so many bytes has room: the oldest finished ones. `None`: even without them
    /// there is none.
    pub(crate) fn surplus(&self, bytes: usize) -> Option<Vec<RpcId>> {
        let (mut count, mut held) = (self.facts.len() + 1, self.bytes + bytes);
        let mut surplus = Vec::new();
        let is_over = |count: usize, held: usize| count > RPCS_KEPT_MAX || held > RPC_KEPT_BYTES_MAX;
        if !is_over(count, held) {
            return Some(surplus);
        }
        for id in self.order.values() {
            if let Some(facts) = self.facts.get(id).filter(|facts| facts.is_finished) {
                surplus.push(*id);
                (count, held) = (count - 1, held - facts.bytes);
                if !is_over(count, held) {
                    return Some(surplus);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use wireglot_model::Timestamp;
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
        assert!(kept.remove(id(2)) && !kept.remove(id(2)));
        assert_eq!(kept.surplus(1), Some(vec![]));
        assert_eq!(kept.last_number(), RPCS_KEPT_MAX as u64 - 1);
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
        kept.note(&record(7, RpcStatus::Expired, RPC_PARAMS_BYTES_MAX));
        assert_eq!(kept.surplus(RPC_PARAMS_BYTES_MAX), Some(vec![id(7)]), "a record is counted once");
        let device = DeviceId(uuid::Uuid::from_u128(1));
        assert_eq!(kept.of_device(device, Some(RpcStatus::Expired)), [id(7)]);
        assert_eq!(kept.of_device(device, None).len(), number as usize);
    }
}
