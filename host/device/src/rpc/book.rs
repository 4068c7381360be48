//! The queues of all devices, when something happens in them by itself, and what is still to be written to the store.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use wireglot_bus::{Bus, Delivery};
use wireglot_model::downlink::CloseReason;
use wireglot_model::limits::{RPC_PENDING_BYTES_MAX, RPCS_PENDING_PER_DEVICE_MAX};
use wireglot_model::{DeviceId, Downlink, RpcId, RpcRecord, RpcStatus, Timestamp};
use wireglot_store::Batch;

use super::kept::Kept;
use super::queue::{Effects, Queue, Waiter};
use super::{RpcOutcome, RpcRefusal, RpcRules};

/// After a worker's mailbox was full, its devices are tried again this much later.
const AGAIN_MS: i64 = 500;

/// Guarded by one lock, which nobody holds while they wait for anything.
pub(crate) struct Book {
    bus: Bus,
    pub(crate) rules: RpcRules,
    /// Devices that took, or were asked for, an RPC since the start: their request ids go on.
    queues: HashMap<DeviceId, Place>,
    due: BTreeSet<(Timestamp, DeviceId)>,
    pending_bytes: usize,
    pub(crate) kept: Kept,
    /// What was on its way when the server ended: nobody knows whether the device has it, so it is not sent again.
    stranded: BTreeMap<(Timestamp, RpcId), RpcRecord>,
    /// What the store does not have yet; `None` is to be removed.
    unwritten: HashMap<RpcId, Option<RpcRecord>>,
}

#[derive(Default)]
struct Place {
    queue: Queue,
    due: Option<Timestamp>,
    bytes: usize,
}

impl Book {
    pub(crate) fn new(bus: Bus) -> Self {
        Self {
            bus,
            rules: RpcRules::default(),
            queues: HashMap::new(),
            due: BTreeSet::new(),
            pending_bytes: 0,
            kept: Kept::default(),
            stranded: BTreeMap::new(),
            unwritten: HashMap::new(),
        }
    }

    /// Takes over what the last run has left behind, in the order in which it was asked for.
    pub(crate) fn load(&mut self, records: Vec<RpcRecord>) {
        for record in records {
            self.kept.note(&record);
            match record.status {
                RpcStatus::Queued => drop(self.begin(record, None)),
                RpcStatus::Sent | RpcStatus::Timeout | RpcStatus::Delivered if !record.is_finished() => {
                    self.stranded.insert((record.expires, record.id), record);
                }
                RpcStatus::Sent
                | RpcStatus::Timeout
                | RpcStatus::Delivered
                | RpcStatus::Successful
                | RpcStatus::Expired
                | RpcStatus::Failed => {}
            }
        }
    }

    /// Whether another RPC of so many bytes may wait for this device.
    pub(crate) fn check_room(&self, device: DeviceId, bytes: usize) -> Result<(), RpcRefusal> {
        let waiting = self.queues.get(&device).map_or(0, |place| place.queue.load().0);
        if waiting >= RPCS_PENDING_PER_DEVICE_MAX {
            return Err(RpcRefusal::TooManyPending);
        }
        if self.pending_bytes + bytes > RPC_PENDING_BYTES_MAX {
            return Err(RpcRefusal::TooManyBytes);
        }
        Ok(())
    }

    /// Makes room for a persistent RPC and gives the ids of those that have to go for it.
    pub(crate) fn reserve(&mut self, record: &RpcRecord) -> Result<Vec<RpcId>, RpcRefusal> {
        if self.kept.device(record.id).is_some() {
            return Err(RpcRefusal::DuplicateId);
        }
        let surplus = self.kept.surplus(record.bytes()).ok_or(RpcRefusal::TooManyKept)?;
        for id in &surplus {
            self.kept.remove(*id);
            self.unwritten.remove(id);
        }
        self.kept.note(record);
        Ok(surplus)
    }

    /// A new RPC that may be sent, and its request id.
    pub(crate) fn begin(
        &mut self,
        record: RpcRecord,
        waiter: Option<Waiter>,
    ) -> (Option<i32>, Vec<(Waiter, RpcOutcome)>) {
        let device = record.device;
        self.queues.entry(device).or_default();
        self.step(device, record.created, |queue, rules, out| queue.arrive(record, waiter, rules, out))
    }

    /// Lets something happen to a device, and does what follows but for the answers, which are for the caller to give.
    pub(crate) fn step<R>(
        &mut self,
        device: DeviceId,
        now: Timestamp,
        step: impl FnOnce(&mut Queue, &RpcRules, &mut Effects) -> R,
    ) -> (Option<R>, Vec<(Waiter, RpcOutcome)>) {
        let mut out = Effects::default();
        let Some(place) = self.queues.get_mut(&device) else { return (None, Vec::new()) };
        let result = step(&mut place.queue, &self.rules, &mut out);
        // A close reaches the session before what is sent after it, and ends its interest.
        if out.closes {
            self.bus.send(device, Downlink::Close(CloseReason::RpcUnacknowledged));
        }
        for send in out.sends {
            let Downlink::RpcRequest { id, .. } = &send else { continue };
            let id = *id;
            match self.bus.send(device, send) {
                Delivery::Sent => {}
                Delivery::NotConnected => place.queue.lose_listener(),
                Delivery::MailboxFull => {
                    place.queue.give_back(id, Some(Timestamp(now.0.saturating_add(AGAIN_MS))));
                }
            }
        }
        for (poll, send) in out.polls {
            match self.bus.send_to_poll(device, poll, send) {
                Delivery::Sent => {}
                Delivery::NotConnected | Delivery::MailboxFull => place.queue.give_up(poll),
            }
        }
        let bytes = place.queue.load().1;
        self.pending_bytes = self.pending_bytes - place.bytes + bytes;
        place.bytes = bytes;
        let due = place.queue.next_due();
        if due != place.due {
            place.due.map(|due| self.due.remove(&(due, device)));
            due.map(|due| self.due.insert((due, device)));
            place.due = due;
        }
        out.changed.into_iter().for_each(|record| self.write(record));
        (Some(result), out.answers)
    }

    /// A device that takes RPCs from now on has a queue.
    pub(crate) fn open(&mut self, device: DeviceId) {
        self.queues.entry(device).or_default();
    }

    /// What happens by itself until now.
    pub(crate) fn turn(&mut self, now: Timestamp) -> Vec<(Waiter, RpcOutcome)> {
        let mut answers = Vec::new();
        while let Some((due, device)) = self.due.first().copied()
            && due <= now
        {
            answers.extend(self.step(device, now, |queue, rules, out| queue.turn(now, rules, out)).1);
        }
        while let Some(entry) = self.stranded.first_entry()
            && entry.key().0 <= now
        {
            let record = RpcRecord { status: RpcStatus::Expired, ..entry.remove() };
            self.write(record);
        }
        answers
    }

    /// When `turn` has something to do next.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        let stranded = self.stranded.keys().next().map(|(due, _)| *due);
        self.due.first().map(|(due, _)| *due).into_iter().chain(stranded).min()
    }

    /// What the store does not have yet.
    pub(crate) fn take_unwritten(&mut self) -> Batch {
        let mut batch = Batch::default();
        for (id, record) in std::mem::take(&mut self.unwritten) {
            match record {
                Some(record) => batch.put_rpc(&record),
                None => batch.delete_rpc(id),
            }
        }
        batch
    }

    pub(crate) fn has_unwritten(&self) -> bool {
        !self.unwritten.is_empty()
    }

    /// A persistent RPC as it is now, where that is not what the store has.
    pub(crate) fn newest(&self, id: RpcId) -> Option<RpcRecord> {
        self.ahead(id).cloned()
    }

    fn ahead(&self, id: RpcId) -> Option<&RpcRecord> {
        if let Some(record) = self.unwritten.get(&id) {
            return record.as_ref();
        }
        let place = self.queues.get(&self.kept.device(id)?)?;
        place.queue.id_of(id).and_then(|id| place.queue.record(id))
    }

    /// The persistent RPCs of a device, oldest first, or those that have this status now.
    pub(crate) fn of_device(&self, device: DeviceId, status: Option<RpcStatus>) -> Vec<RpcId> {
        let now = |id, written| self.ahead(id).map_or(written, |record| record.status);
        self.kept.of_device(device, |id, written| status.is_none_or(|wanted| now(id, written) == wanted))
    }

    /// Forgets a persistent RPC. Whether there was one.
    pub(crate) fn delete(&mut self, id: RpcId, now: Timestamp) -> bool {
        let Some((device, expires)) = self.kept.remove(id) else { return false };
        self.stranded.remove(&(expires, id));
        self.step(device, now, |queue, rules, out| {
            if let Some(waiting) = queue.id_of(id) {
                queue.withdraw(waiting, rules, out);
            }
        });
        self.unwritten.insert(id, None);
        true
    }

    /// Forgets a device with all its RPCs.
    pub(crate) fn forget(&mut self, device: DeviceId, batch: &mut Batch) -> Vec<(Waiter, RpcOutcome)> {
        for id in self.kept.of_device(device, |_, _| true) {
            if let Some((_, expires)) = self.kept.remove(id) {
                self.stranded.remove(&(expires, id));
            }
            self.unwritten.remove(&id);
            batch.delete_rpc(id);
        }
        let mut out = Effects::default();
        if let Some(place) = self.queues.remove(&device) {
            place.due.map(|due| self.due.remove(&(due, device)));
            self.pending_bytes -= place.bytes;
            place.queue.end(&mut out);
        }
        out.answers
    }

    fn write(&mut self, record: RpcRecord) {
        // One that was deleted meanwhile stays deleted.
        if self.kept.device(record.id).is_some() {
            self.kept.note(&record);
            self.unwritten.insert(record.id, Some(record));
        }
    }
}
