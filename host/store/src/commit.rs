//! Group commit: gathers batches from all lanes, syncs once, wakes every waiter.
//!
//! A waiter holds a device's acknowledgement, so none is woken before the sync returns.
//! Not here: what is queued and who waits (`queue.rs`, `lane.rs`), reading back after a crash (`recover.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fjall::PersistMode;
use wireglot_model::{DeadLetterBounds, DeviceId, OtaKind, ProfileId, Timestamp};

use crate::batch::Change;
use crate::dead;
use crate::error::{CommitError, Source};
use crate::keys::{self, prefix};
use crate::queue::{LaneQueue, Pending, Staged, State};
use crate::store::{Core, Durability};

/// Log buffers kept for the next group; larger ones go back to the allocator.
const KEPT_BUFFERS_MAX: usize = 16;
const KEPT_BUFFER_BYTES_MAX: usize = 1024 * 1024;

/// From here on the time between two commits is `gather_busy`: each of them carries enough.
const BUSY_BATCHES_PER_SECOND: f64 = 8_000.0;

/// Small records to write, or `None` for one to remove.
type Records = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// A letter to write, or `None` for one to remove.
type Burial<'g> = Option<(dead::Facts, &'g [u8])>;

/// What a group does to the dead letters, and the profiles that may have too many now.
#[derive(Default)]
struct Burials<'g> {
    letters: BTreeMap<u64, Burial<'g>>,
    profiles: BTreeMap<ProfileId, (DeadLetterBounds, Timestamp)>,
}

/// What the commit thread remembers from group to group.
pub(crate) struct Committer {
    core: Arc<Core>,
    /// The sequence number of the next log record.
    next: u64,
    buffers: Vec<Vec<u8>>,
    started: Instant,
    /// Whether the last group came at a rate at which waiting longer spares more than it costs.
    is_busy: bool,
    /// Since when something is written but not synced, where syncing is by interval.
    unsynced: Option<Instant>,
}

impl Committer {
    pub(crate) fn new(core: Arc<Core>, next: u64) -> Self {
        // The first commit need not keep a distance to any other.
        let started = Instant::now().checked_sub(core.config.gather).unwrap_or_else(Instant::now);
        Self { core, next, buffers: Vec::new(), started, is_busy: false, unsynced: None }
    }

    /// Runs until the store is closed and everything that was queued is settled.
    pub(crate) fn run(mut self) {
        loop {
            self.core.queue.wait(self.sync_due());
            if self.core.queue.state() == State::Open {
                self.core.queue.gather(self.started + self.gather());
            }
            self.sync_if_due();
            // Looked at before taking: what is queued after this look is refused, not forgotten.
            let state = self.core.queue.state();
            let closing = state != State::Open && self.core.is_closing();
            let before = std::mem::replace(&mut self.started, Instant::now());
            let groups = self.core.queue.take(&mut self.buffers);
            let batches: usize = groups.iter().map(|(_, pending)| pending.batches).sum();
            let per_second = batches as f64 / self.started.duration_since(before).as_secs_f64();
            self.is_busy = per_second >= BUSY_BATCHES_PER_SECOND;
            if !groups.is_empty() {
                self.settle(groups, state);
            }
            if closing {
                break;
            }
        }
        self.sync_now();
    }

    fn gather(&self) -> Duration {
        let config = &self.core.config;
        if self.is_busy { config.gather.max(config.gather_busy) } else { config.gather }
    }

    fn settle(&mut self, mut groups: Vec<(Arc<LaneQueue>, Pending)>, state: State) {
        let outcome = match state {
            State::Failed => Err(CommitError::Failed),
            State::Open | State::Closing => self.write(&groups).map_err(|error| {
                let error = crate::error::chain(error.as_ref());
                tracing::error!(%error, "A commit failed; the store accepts nothing more.");
                self.core.fail();
                CommitError::Failed
            }),
        };
        for (lane, pending) in &groups {
            self.core.queue.free(pending.batches, pending.bytes);
            if outcome.is_ok() {
                lane.durable.store(pending.ticket, Ordering::SeqCst);
            }
            lane.wake_driver();
            pending.shots.iter().for_each(|shot| shot.settle(outcome));
        }
        self.core.queue.wake_roomless();
        for (_, pending) in &mut groups {
            let mut buffer = std::mem::take(&mut pending.log);
            if self.buffers.len() < KEPT_BUFFERS_MAX && buffer.capacity() <= KEPT_BUFFER_BYTES_MAX {
                buffer.clear();
                self.buffers.push(buffer);
            }
        }
    }

    /// Makes the group durable and visible to readers.
    fn write(&mut self, groups: &[(Arc<LaneQueue>, Pending)]) -> Result<(), Source> {
        // Taken after the queue: every definition that the group uses is in it.
        let definitions = self.core.dictionary.take_undefined();
        let durability = self.core.config.durability;
        let mut batch = self.core.db.batch().durability(Some(match durability {
            Durability::Commit => PersistMode::SyncData,
            Durability::IntervalMs(_) | Durability::Os => PersistMode::Buffer,
        }));
        for (key, value) in definitions {
            batch.insert(&self.core.records, key, value);
        }
        self.add_changes(groups, &mut batch)?;
        let bytes: usize = groups.iter().map(|(_, pending)| pending.log.len()).sum();
        if bytes > 0 {
            let mut record = Vec::with_capacity(bytes);
            groups.iter().for_each(|(_, pending)| record.extend_from_slice(&pending.log));
            batch.insert(&self.core.log, self.next.to_be_bytes(), record);
        }
        let started = Instant::now();
        batch.commit()?;
        self.core.counts.committed(groups, bytes, started.elapsed());
        if matches!(durability, Durability::IntervalMs(_)) && self.unsynced.is_none() {
            self.unsynced = Some(started);
        }
        if bytes > 0 {
            self.publish(groups)?;
        }
        Ok(())
    }

    /// Lets readers see the messages, and slows down while the checkpoint lags behind.
    fn publish(&mut self, groups: &[(Arc<LaneQueue>, Pending)]) -> Result<(), Source> {
        let segments = groups.iter().map(|(_, pending)| pending.log.as_slice());
        let waiting = self.core.recent.absorb(self.next, segments)?;
        self.next += 1;
        let log_bytes_max = self.core.config.log_bytes_max;
        if waiting > log_bytes_max {
            self.core.wake_checkpoint();
            self.core.recent.wait_below(2 * log_bytes_max, || self.core.wake_checkpoint());
        }
        Ok(())
    }

    fn add_changes(
        &self,
        groups: &[(Arc<LaneQueue>, Pending)],
        batch: &mut fjall::OwnedWriteBatch,
    ) -> Result<(), Source> {
        if groups.iter().all(|(_, pending)| pending.changes.is_empty()) {
            return Ok(());
        }
        // The engine gives all writes of a batch one sequence number, so each key may occur once: the last wins.
        let mut records = Records::new();
        let mut burials = Burials::default();
        for change in groups.iter().flat_map(|(_, pending)| &pending.changes) {
            match change {
                Staged::Plain(Change::Put { key, value }) => {
                    records.insert(key.clone(), Some(value.clone()));
                }
                Staged::Plain(Change::Remove { key }) => {
                    records.insert(key.clone(), None);
                }
                Staged::PutDevice { id, number, value } => {
                    if self.core.departed.forget(*id) {
                        records.insert(keys::departed(*id), None);
                    }
                    let mut record = number.to_be_bytes().to_vec();
                    record.extend_from_slice(value);
                    records.insert(keys::device(*id), Some(record));
                }
                Staged::DeleteDevice { id, number } => {
                    self.delete_device(*id, *number, &mut records, &mut burials)?;
                }
                Staged::Plain(Change::Bury { letter, .. }) if self.core.departed.has(letter.device) => {}
                Staged::Plain(Change::KeepRaw { frame, .. }) if self.core.departed.has_sent(frame) => {}
                Staged::Plain(Change::Bury { letter, bytes, bounds }) => {
                    let facts = self.core.graveyard.lock().bury(letter, bytes.len());
                    burials.letters.insert(facts.sequence, Some((facts, bytes)));
                    burials.profiles.insert(letter.profile_id, (*bounds, letter.received));
                }
                Staged::Plain(Change::Exhume { sequence }) => {
                    if self.core.graveyard.lock().exhume(*sequence) {
                        burials.letters.insert(*sequence, None);
                    }
                }
                // Keys of raw frames repeat only where the same frame is kept again, in a later commit.
                Staged::Plain(Change::KeepRaw { key, frame }) => {
                    batch.insert(&self.core.raw, key.clone(), frame.clone());
                }
                Staged::Plain(Change::PutDevice { .. } | Change::DeleteDevice { .. }) => {
                    unreachable!("`Pending::stage` gives every change of a device its number")
                }
            }
        }
        if !self.core.departed.is_empty() {
            // What a lane brought for a device while its deletion came by another one: it may stand behind it here.
            let is_left =
                |key: &[u8]| keys::property_of(key).is_some_and(|device| self.core.departed.has(device));
            records.retain(|key, value| value.is_none() || !is_left(key));
        }
        for (key, value) in records {
            match value {
                Some(value) => batch.insert(&self.core.records, key, value),
                None => batch.remove(&self.core.records, key),
            }
        }
        self.add_letters(burials, batch);
        Ok(())
    }

    fn add_letters(&self, burials: Burials<'_>, batch: &mut fjall::OwnedWriteBatch) {
        let Burials { mut letters, profiles } = burials;
        let config = &self.core.config;
        let mut graveyard = self.core.graveyard.lock();
        let mut evicted = Vec::new();
        for (profile, (bounds, now)) in profiles {
            evicted.extend(graveyard.tidy_profile(profile, bounds, now));
        }
        evicted.extend(graveyard.tidy_all(config.dead_letters_max, config.dead_letter_bytes_max));
        for sequence in evicted {
            // A letter of this very group needs no removal: it was never written.
            if letters.remove(&sequence).is_none() {
                letters.insert(sequence, None);
            }
        }
        let dead = &self.core.dead;
        for (sequence, burial) in letters {
            let index = keys::sequenced(prefix::DEAD_FACTS, sequence);
            let key = keys::sequenced(prefix::DEAD_LETTER, sequence);
            match burial {
                Some((facts, letter)) => {
                    batch.insert(dead, index, dead::encode_facts(facts));
                    batch.insert(dead, key, letter);
                }
                None => {
                    batch.remove(dead, index);
                    batch.remove(dead, key);
                }
            }
        }
    }

    /// Everything of a device that can be found by it; its series and its raw frames are noted.
    fn delete_device(
        &self,
        id: DeviceId,
        number: u32,
        records: &mut Records,
        burials: &mut Burials<'_>,
    ) -> Result<(), Source> {
        records.insert(keys::device(id), None);
        records.insert(keys::numbered(prefix::DELETED, number), Some(Vec::new()));
        records.insert(keys::departed(id), Some(Vec::new()));
        records.insert(keys::claim(id), None);
        for kind in OtaKind::ALL {
            records.insert(keys::ota_update(id, kind), None);
        }
        self.delete_attributes(&keys::attributes_of(id), records)?;
        self.core.departed.note(id);
        self.delete_letters(id, burials);
        Ok(())
    }

    fn delete_letters(&self, device: DeviceId, burials: &mut Burials<'_>) {
        let gone = self.core.graveyard.lock().exhume_device(device);
        for sequence in gone {
            // One of this very group was never written.
            if burials.letters.remove(&sequence).is_none() {
                burials.letters.insert(sequence, None);
            }
        }
    }

    fn delete_attributes(&self, prefix: &[u8], records: &mut Records) -> Result<(), Source> {
        for guard in self.core.records.prefix(prefix) {
            records.insert(guard.key()?.to_vec(), None);
        }
        for (key, value) in records.range_mut(prefix.to_vec()..) {
            if !key.starts_with(prefix) {
                break;
            }
            *value = None;
        }
        Ok(())
    }

    fn sync_due(&self) -> Option<Instant> {
        match self.core.config.durability {
            Durability::IntervalMs(interval) => {
                self.unsynced.map(|since| since + Duration::from_millis(u64::from(interval)))
            }
            Durability::Commit | Durability::Os => None,
        }
    }

    fn sync_if_due(&mut self) {
        if self.sync_due().is_some_and(|due| due <= Instant::now()) {
            self.sync_now();
        }
    }

    fn sync_now(&mut self) {
        if self.core.queue.state() == State::Failed {
            return;
        }
        self.unsynced = None;
        if let Err(error) = self.core.db.persist(PersistMode::SyncData) {
            tracing::error!(%error, "A sync failed; the store accepts nothing more.");
            self.core.fail();
        }
    }
}
