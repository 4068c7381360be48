//! The bounded queue in front of the commit thread: one buffer per lane, one bell, one limit for all.
//!
//! A batch enters its lane's buffer in its final form, so the commit thread only concatenates. What is queued or
//! being committed counts against the limit until it is durable; who finds no room waits and is woken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use wireglot_model::DeviceId;

use crate::batch::{Batch, Change, Message};
use crate::coding::put_varint;
use crate::dictionary::{Cache, Dictionary, SPELLED_OUT, Shape};
use crate::error::CommitError;
use crate::keys;
use crate::lane::Shot;

/// A group that is this large already is not made to wait for more.
const URGENT_BATCHES: usize = 512;
const URGENT_BYTES: usize = 512 * 1024;

pub(crate) struct Queue {
    lanes: Mutex<Vec<Arc<LaneQueue>>>,
    bell: Bell,
    state: AtomicU8,
    load: Load,
    batches_max: usize,
    bytes_max: usize,
    /// Callers of `Store::commit` that found no room, and of `Store::settled`: all are woken after every commit.
    roomless: Mutex<Vec<Waker>>,
}

/// What one lane shares with the commit thread.
#[derive(Default)]
pub(crate) struct LaneQueue {
    pending: Mutex<Pending>,
    /// Every ticket up to this one is durable.
    pub(crate) durable: AtomicU64,
    pub(crate) wants_room: AtomicBool,
    pub(crate) driver: Mutex<Option<Waker>>,
    pub(crate) closed: AtomicBool,
}

/// What gathered in one lane since the commit thread came by.
#[derive(Default)]
pub(crate) struct Pending {
    /// Framed messages, as they go to the log.
    pub(crate) log: Vec<u8>,
    pub(crate) messages: usize,
    pub(crate) changes: Vec<Staged>,
    pub(crate) shots: Vec<Arc<Shot>>,
    pub(crate) batches: usize,
    pub(crate) bytes: usize,
    /// The last ticket given out; tickets start at 1.
    pub(crate) ticket: u64,
}

/// A change whose device has its number.
pub(crate) enum Staged {
    Plain(Change),
    PutDevice { id: DeviceId, number: u32, value: Vec<u8> },
    DeleteDevice { id: DeviceId, number: u32 },
}

/// How a batch is let in.
pub(crate) enum Admission<'s> {
    /// If there is room.
    WithRoom(&'s Arc<Shot>),
    /// Whether there is room or not: who offers it keeps an order that must not change while it waits.
    AtOnce(&'s Arc<Shot>),
    /// Whether there is room or not; its lane has asked for room, and hears of the commit through its driver.
    Anyway,
}

/// Why a batch was not taken in.
pub(crate) enum Refused {
    /// It comes back, to be offered again.
    NoRoom(Batch),
    Error(CommitError),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Open,
    /// No batch is taken in any more; those that are in become durable.
    Closing,
    Failed,
}

impl Queue {
    pub(crate) fn new(batches_max: usize, bytes_max: usize) -> Self {
        Self {
            lanes: Mutex::default(),
            bell: Bell::default(),
            state: AtomicU8::new(State::Open as u8),
            load: Load::default(),
            batches_max,
            bytes_max,
            roomless: Mutex::default(),
        }
    }

    pub(crate) fn add_lane(&self) -> Arc<LaneQueue> {
        let lane = Arc::new(LaneQueue::default());
        self.lanes.lock().push(lane.clone());
        lane
    }

    pub(crate) fn state(&self) -> State {
        match self.state.load(Ordering::SeqCst) {
            0 => State::Open,
            1 => State::Closing,
            _ => State::Failed,
        }
    }

    /// From now on nothing is taken in. A store that failed stays failed.
    pub(crate) fn close(&self) {
        let (open, closing) = (State::Open as u8, State::Closing as u8);
        let closed_now =
            self.state.compare_exchange(open, closing, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if closed_now {
            self.wake_roomless();
        }
        self.bell.ring_loudly();
    }

    pub(crate) fn fail(&self) {
        self.state.store(State::Failed as u8, Ordering::SeqCst);
        for lane in self.lanes.lock().iter() {
            lane.wake_driver();
        }
        self.wake_roomless();
        self.bell.ring_loudly();
    }

    pub(crate) fn depth(&self) -> (usize, usize) {
        self.load.read()
    }

    /// Takes the batch in and returns its ticket, or gives it back unchanged.
    pub(crate) fn offer(
        &self,
        lane: &LaneQueue,
        batch: Batch,
        dictionary: &Dictionary,
        cache: &mut Cache,
        admission: Admission<'_>,
        epoch: u32,
    ) -> Result<u64, Refused> {
        self.check_open()?;
        let weight = batch.weight();
        if weight > self.bytes_max {
            return Err(Refused::Error(CommitError::TooLarge));
        }
        let (batches, bytes) = self.load.add(1, weight);
        let is_over = batches > self.batches_max || bytes > self.bytes_max;
        if is_over && matches!(admission, Admission::WithRoom(_)) {
            self.load.remove(1, weight);
            return Err(Refused::NoRoom(batch));
        }
        let mut pending = lane.pending.lock();
        // Asked again under the lane's lock: the commit thread's last look comes after the state changed.
        let absorbed = self
            .check_open()
            .and_then(|()| pending.absorb(batch, dictionary, cache, epoch).map_err(Refused::Error));
        if let Err(refused) = absorbed {
            drop(pending);
            self.load.remove(1, weight);
            return Err(refused);
        }
        pending.batches += 1;
        pending.bytes += weight;
        pending.ticket += 1;
        let ticket = pending.ticket;
        if let Admission::WithRoom(shot) | Admission::AtOnce(shot) = admission {
            pending.shots.push(shot.clone());
        }
        drop(pending);
        self.bell.ring(batches, bytes);
        Ok(ticket)
    }

    fn check_open(&self) -> Result<(), Refused> {
        match self.state() {
            State::Open => Ok(()),
            State::Closing => Err(Refused::Error(CommitError::Closed)),
            State::Failed => Err(Refused::Error(CommitError::Failed)),
        }
    }

    /// Gives back the room of batches that are settled.
    pub(crate) fn free(&self, batches: usize, bytes: usize) {
        self.load.remove(batches, bytes);
    }

    /// Whether a lane may bring its next batch. A queue that takes in nothing refuses it right away.
    pub(crate) fn has_room(&self) -> bool {
        let (batches, bytes) = self.load.read();
        (batches < self.batches_max && bytes < self.bytes_max) || self.state() != State::Open
    }

    pub(crate) fn wait_for_room(&self, waker: &Waker) {
        self.roomless.lock().push(waker.clone());
    }

    /// The last ticket of every lane that has one to wait for.
    pub(crate) fn last_tickets(&self) -> Vec<(Arc<LaneQueue>, u64)> {
        let lanes = self.lanes.lock();
        let last = lanes.iter().map(|lane| (lane.clone(), lane.pending.lock().ticket));
        last.filter(|(lane, ticket)| lane.durable.load(Ordering::SeqCst) < *ticket).collect()
    }

    /// Wakes who waits for room: callers of `Store::commit`, and lanes, even those that had nothing in the group.
    pub(crate) fn wake_roomless(&self) {
        let waiting = std::mem::take(&mut *self.roomless.lock());
        waiting.into_iter().for_each(Waker::wake);
        for lane in self.lanes.lock().iter() {
            if lane.wants_room.load(Ordering::SeqCst) && lane.wants_room.swap(false, Ordering::SeqCst) {
                lane.wake_driver();
            }
        }
    }

    /// Takes everything that is queued; `reuse` are emptied log buffers of earlier groups.
    pub(crate) fn take(&self, reuse: &mut Vec<Vec<u8>>) -> Vec<(Arc<LaneQueue>, Pending)> {
        self.bell.hush();
        let mut lanes = self.lanes.lock();
        let mut taken = Vec::with_capacity(lanes.len());
        lanes.retain(|lane| {
            let mut pending = lane.pending.lock();
            if pending.batches == 0 {
                return !lane.closed.load(Ordering::SeqCst);
            }
            let fresh = Pending {
                log: reuse.pop().unwrap_or_default(),
                ticket: pending.ticket,
                ..Pending::default()
            };
            taken.push((lane.clone(), std::mem::replace(&mut *pending, fresh)));
            true
        });
        taken
    }

    /// Waits until something is queued, the store closes, or `until` is reached.
    pub(crate) fn wait(&self, until: Option<Instant>) {
        self.bell.wait(until);
    }

    /// Waits until `until`, or until the group is large enough, or the store closes.
    pub(crate) fn gather(&self, until: Instant) {
        self.bell.gather(until, || {
            let (batches, bytes) = self.depth();
            batches >= URGENT_BATCHES || bytes >= URGENT_BYTES || self.state() != State::Open
        });
    }
}

impl LaneQueue {
    pub(crate) fn wake_driver(&self) {
        let driver = self.driver.lock().take();
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}

impl Pending {
    /// Brings the batch into its final form. All or nothing: a refused batch leaves no trace.
    ///
    /// The device's number is read while this lane is locked. The commit thread locks every lane after a
    /// deletion was queued, so at most the commit after the deletion can still hold messages of the device.
    fn absorb(
        &mut self,
        mut batch: Batch,
        dictionary: &Dictionary,
        cache: &mut Cache,
        epoch: u32,
    ) -> Result<(), CommitError> {
        // Whatever can be refused is refused before the first change is made.
        if batch.message_count > 1 || !batch.changes.is_empty() {
            batch.messages().try_for_each(|message| cache.shape(dictionary, message.keys).map(drop))?;
        }
        let first = self.changes.len();
        for change in std::mem::take(&mut batch.changes) {
            self.stage(change, dictionary, epoch);
        }
        self.drop_orphans(first, dictionary);
        self.messages += batch.message_count;
        batch.messages().try_for_each(|message| self.frame(&message, dictionary, cache))
    }

    /// Leaves out what belongs to devices that are not there: a device that was deleted may still have been speaking.
    fn drop_orphans(&mut self, first: usize, dictionary: &Dictionary) {
        let is_orphan = |staged: &Staged| match staged {
            Staged::Plain(Change::Put { key, .. }) => {
                keys::owner(key).is_some_and(|device| dictionary.device(device).is_none())
            }
            Staged::Plain(_) | Staged::PutDevice { .. } | Staged::DeleteDevice { .. } => false,
        };
        if self.changes.iter().skip(first).any(is_orphan) {
            let staged = self.changes.split_off(first);
            self.changes.extend(staged.into_iter().filter(|staged| !is_orphan(staged)));
        }
    }

    fn stage(&mut self, change: Change, dictionary: &Dictionary, epoch: u32) {
        match change {
            Change::PutDevice { id, value } => {
                let number = dictionary.define_device(id);
                self.changes.push(Staged::PutDevice { id, number, value });
            }
            Change::DeleteDevice { id } => {
                if let Some(number) = dictionary.delete_device(id, epoch) {
                    self.changes.push(Staged::DeleteDevice { id, number });
                }
            }
            plain @ (Change::Put { .. }
            | Change::Remove { .. }
            | Change::Bury { .. }
            | Change::Exhume { .. }
            | Change::KeepRaw { .. }) => {
                self.changes.push(Staged::Plain(plain));
            }
        }
    }

    pub(crate) fn frame(
        &mut self,
        message: &Message<'_>,
        dictionary: &Dictionary,
        cache: &mut Cache,
    ) -> Result<(), CommitError> {
        let Some(device) = cache.device(dictionary, message.device) else { return Ok(()) };
        let stamp = cache.stamp(dictionary, message.stamp);
        let mut spelled = Vec::new();
        let shape = match cache.shape(dictionary, message.keys)? {
            Shape::Known(number) => number,
            Shape::SpelledOut(keys) => {
                put_varint(&mut spelled, keys.len() as u64);
                keys.iter().for_each(|key| put_varint(&mut spelled, u64::from(*key)));
                SPELLED_OUT
            }
        };
        let (times, values) = (message.times, message.values);
        let body = times.len() + varint_len(stamp) + varint_len(shape) + spelled.len() + values.len();
        put_varint(&mut self.log, u64::from(device));
        put_varint(&mut self.log, body as u64);
        self.log.extend_from_slice(times);
        put_varint(&mut self.log, u64::from(stamp));
        put_varint(&mut self.log, u64::from(shape));
        self.log.extend_from_slice(&spelled);
        self.log.extend_from_slice(values);
        Ok(())
    }
}

fn varint_len(value: u32) -> usize {
    let bits = 32 - value.leading_zeros().min(31);
    bits.div_ceil(7) as usize
}

/// How many batches are queued or being committed and what they weigh, in one word: all workers touch it for every
/// message, and two words would cost twice.
#[derive(Default)]
struct Load(AtomicU64);

const WEIGHT_BITS: u32 = 40;

impl Load {
    fn word(batches: usize, bytes: usize) -> u64 {
        (batches as u64) << WEIGHT_BITS | bytes as u64
    }

    fn split(word: u64) -> (usize, usize) {
        ((word >> WEIGHT_BITS) as usize, (word & ((1 << WEIGHT_BITS) - 1)) as usize)
    }

    fn add(&self, batches: usize, bytes: usize) -> (usize, usize) {
        let more = Self::word(batches, bytes);
        Self::split(self.0.fetch_add(more, Ordering::SeqCst) + more)
    }

    fn remove(&self, batches: usize, bytes: usize) {
        self.0.fetch_sub(Self::word(batches, bytes), Ordering::SeqCst);
    }

    fn read(&self) -> (usize, usize) {
        Self::split(self.0.load(Ordering::SeqCst))
    }
}

/// Wakes the commit thread, and costs an atomic read while it is awake.
#[derive(Default)]
struct Bell {
    rung: AtomicBool,
    lock: Mutex<()>,
    heard: Condvar,
}

impl Bell {
    fn ring(&self, batches: usize, bytes: usize) {
        let urgent = batches == URGENT_BATCHES || bytes >= URGENT_BYTES;
        // The commit thread hushes the bell before it locks the lanes: whoever still sees it rung has put its
        // batch where that thread is about to look.
        let first = !self.rung.load(Ordering::SeqCst) && !self.rung.swap(true, Ordering::SeqCst);
        if first || urgent {
            drop(self.lock.lock());
            self.heard.notify_one();
        }
    }

    fn ring_loudly(&self) {
        self.rung.store(true, Ordering::SeqCst);
        drop(self.lock.lock());
        self.heard.notify_all();
    }

    fn hush(&self) {
        self.rung.store(false, Ordering::SeqCst);
    }

    fn wait(&self, until: Option<Instant>) {
        let mut guard = self.lock.lock();
        while !self.rung.load(Ordering::SeqCst) {
            match until {
                None => self.heard.wait(&mut guard),
                Some(until) => {
                    if self.heard.wait_until(&mut guard, until).timed_out() {
                        return;
                    }
                }
            }
        }
    }

    fn gather(&self, until: Instant, enough: impl Fn() -> bool) {
        let mut guard = self.lock.lock();
        while !enough() {
            let left = until.saturating_duration_since(Instant::now());
            if left < Duration::from_micros(20) || self.heard.wait_for(&mut guard, left).timed_out() {
                return;
            }
        }
    }
}
