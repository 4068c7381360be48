//! Replaces values that are stored already: what a frame was decoded into, by what it is decoded into now.
//!
//! Old and new change places in one step of the engine, so a reader or a crash finds the one or the other. Doing it
//! again changes nothing more: what is removed is told by the time of receipt, which the new values have too.
//!
//! The new values go where chunks are, not through the log: a commit could not remove the old ones.

use std::collections::{BTreeMap, BTreeSet};

use fjall::PersistMode;
use wireglot_model::{DeviceId, Timestamp};

use crate::batch::Batch;
use crate::chunk::{Columns, Row, Rows, pack, read_header};
use crate::coding::{Reader, Scalar, put_bytes};
use crate::dictionary::{Cache, NO_STAMP};
use crate::error::{CommitError, ReadError, Source};
use crate::head::Head;
use crate::keys::{self, ChunkKey};
use crate::queue::Pending;
use crate::store::{Chore, Core, Store};

/// Which values of a device go: those that a codec made of what was received at one of these times.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Removal {
    pub device: DeviceId,
    pub received: BTreeSet<Timestamp>,
    /// The values' own times: from here
    pub first: Timestamp,
    /// to here.
    pub last: Timestamp,
}

/// New values in their stored form, by device number.
pub struct Draft(BTreeMap<u32, Vec<u8>>);

/// The proof that what drafts have defined is in the journal.
#[must_use]
pub struct Defined(pub(crate) ());

/// Changes of `chunks`, in the order that the engine wants; `None` removes.
pub(crate) type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

impl Store {
    /// Brings the telemetry of a batch into its stored form; its other changes are ignored. Devices that the store
    /// does not know are left out. What it defines becomes durable with `define`.
    pub fn draft(&self, batch: &Batch) -> Result<Draft, CommitError> {
        let dictionary = &self.core().dictionary;
        let (mut framed, mut cache) = (Pending::default(), Cache::default());
        for message in batch.messages() {
            framed.frame(&message, dictionary, &mut cache)?;
        }
        let mut bodies: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        let mut reader = Reader::new(&framed.log);
        while !reader.is_empty() {
            let framed = reader.varint_u32().and_then(|device| Ok((device, reader.bytes()?)));
            let (device, body) = framed.expect("`frame` wrote it");
            put_bytes(bodies.entry(device).or_default(), body);
        }
        Ok(Draft(bodies))
    }

    /// Removes old values and puts the draft in their place. `_defined` is the proof of `define` after the draft.
    /// Blocks; off the workers.
    pub fn revise(&self, removals: &[Removal], draft: &Draft, _defined: Defined) -> Result<(), ReadError> {
        let core = self.core();
        let _replacer = core.chunk_replacer.lock();
        let engine = |error: Source| ReadError::Engine(error);
        // What is to be removed may still be recent. One checkpoint may only make up for another that failed.
        let last = core.recent.last();
        while crate::checkpoint::checkpoint(core).map_err(engine)? < last {}
        // The thread of checkpoints is the one that trims the log.
        core.wake_for(Chore::Trim);
        let _writer = core.chunk_writer.lock();
        // Chunks use definitions that are in the journal only: they must not be the more durable ones.
        core.db.persist(PersistMode::SyncData)?;
        let epoch = crate::checkpoint::read_mark(core)?.epoch;
        let mut by_device: BTreeMap<u32, Vec<&Removal>> = BTreeMap::new();
        for removal in removals {
            if let Some(number) = core.dictionary.device(removal.device) {
                by_device.entry(number).or_default().push(removal);
            }
        }
        let devices: BTreeSet<u32> = by_device.keys().chain(draft.0.keys()).copied().collect();
        let mut changes = Changes::new();
        for device in devices.into_iter().filter(|device| !core.dictionary.is_deleted(*device)) {
            let removals = by_device.get(&device).map_or(&[][..], Vec::as_slice);
            let bodies = draft.0.get(&device).map_or(&[][..], Vec::as_slice);
            changes.append(&mut Revision::new(core, device, epoch)?.make(removals, bodies)?);
        }
        write(core, changes)
    }
}

/// One step of the engine.
pub(crate) fn write(core: &Core, changes: Changes) -> Result<(), ReadError> {
    if changes.is_empty() {
        return Ok(());
    }
    let mut ingestion = core.chunks.start_ingestion()?;
    for (key, value) in changes {
        match value {
            Some(value) => ingestion.write(key, value)?,
            None => ingestion.write_tombstone(key)?,
        }
    }
    ingestion.finish()?;
    Ok(())
}

/// The next key like this one that no chunk has.
pub(crate) fn free(core: &Core, changes: &Changes, mut key: ChunkKey) -> Result<ChunkKey, ReadError> {
    loop {
        let bytes = key.to_bytes();
        let is_taken = match changes.get(&bytes) {
            Some(change) => change.is_some(),
            None => core.chunks.contains_key(&bytes)?,
        };
        if !is_taken {
            return Ok(key);
        }
        key.index = key.index.wrapping_add(1);
    }
}

/// Of two values of one time the later arrival wins: time, epoch and index of the chunk, row.
type Arrival = (Timestamp, u32, u32, usize);

/// The revision of one device's series.
struct Revision<'c> {
    core: &'c Core,
    device: u32,
    /// Of chunks that belong to no older one.
    epoch: u32,
    /// As it was read.
    head: Vec<u8>,
    span: u64,
    changes: Changes,
    /// Keys whose latest value went.
    bereft: BTreeSet<u32>,
}

impl<'c> Revision<'c> {
    fn new(core: &'c Core, device: u32, epoch: u32) -> Result<Self, ReadError> {
        let head = core.chunks.get(keys::head(device))?.map(|head| head.to_vec()).unwrap_or_default();
        let span = if head.is_empty() { 0 } else { Head::read_span(&head)? };
        Ok(Self { core, device, epoch, head, span, changes: Changes::new(), bereft: BTreeSet::new() })
    }

    fn make(mut self, removals: &[&Removal], bodies: &[u8]) -> Result<Changes, ReadError> {
        for removal in removals {
            self.remove(removal)?;
        }
        let mut rows = Rows::read_tail(bodies, &self.core.dictionary, Columns::All)?;
        rows.sort();
        for packed in pack(&rows) {
            self.span = self.span.max(packed.span);
            let key = ChunkKey { device: self.device, first: packed.first, epoch: self.epoch, index: 0 };
            let key = free(self.core, &self.changes, key)?;
            self.changes.insert(key.to_bytes(), Some(packed.bytes));
        }
        if self.changes.is_empty() {
            return Ok(self.changes);
        }
        let head = self.new_head(&rows)?;
        self.changes.insert(keys::head(self.device).to_vec(), Some(head));
        Ok(self.changes)
    }

    fn remove(&mut self, removal: &Removal) -> Result<(), ReadError> {
        let low = Timestamp(removal.first.0.saturating_sub_unsigned(self.span));
        let high = Timestamp(removal.last.0.saturating_add(1));
        for (key, chunk) in self.chunks(low, high)? {
            let (reach, _) = read_header(&mut Reader::new(&chunk))?;
            if key.first.0.saturating_add_unsigned(reach) < removal.first.0 {
                continue;
            }
            let mut rows = Rows::read_chunk(key.first, &chunk, &self.core.dictionary, Columns::All)?;
            let goes = |row: &Row| {
                row.stamp != NO_STAMP
                    && removal.received.contains(&row.received)
                    && (removal.first..=removal.last).contains(&row.ts)
            };
            if !rows.rows.iter().any(goes) {
                continue;
            }
            self.mourn(&rows, goes)?;
            rows.rows.retain(|row| !goes(row));
            self.changes.insert(key.to_bytes(), None);
            for packed in pack(&rows) {
                // Epoch and index stay where they can: of two messages of one time the order must not change.
                let moved = free(self.core, &self.changes, ChunkKey { first: packed.first, ..key })?;
                self.changes.insert(moved.to_bytes(), Some(packed.bytes));
            }
        }
        Ok(())
    }

    /// Notes the keys that lose their latest value.
    fn mourn(&mut self, rows: &Rows<'_>, goes: impl Fn(&Row) -> bool) -> Result<(), ReadError> {
        let head = self.read_head()?;
        let mut bereft = Vec::new();
        for row in rows.rows.iter().filter(|row| goes(row)) {
            let is_latest = |key: &&u32| head.latest.get(key).is_some_and(|(ts, _)| *ts == row.ts);
            bereft.extend(rows.keys(row.shape).iter().filter(is_latest).copied());
        }
        self.bereft.extend(bereft);
        Ok(())
    }

    fn read_head(&self) -> Result<Head<'_>, ReadError> {
        if self.head.is_empty() { Ok(Head::default()) } else { Head::read(&self.head) }
    }

    /// The device's chunks that begin in this range, as they are with the changes so far, in ascending order.
    fn chunks(&self, low: Timestamp, high: Timestamp) -> Result<Vec<(ChunkKey, Vec<u8>)>, ReadError> {
        let low = ChunkKey::lowest(self.device, low).to_bytes();
        let high = ChunkKey::lowest(self.device, high).to_bytes();
        let mut chunks: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for guard in self.core.chunks.range(low.clone()..high.clone()) {
            let (key, chunk) = guard.into_inner()?;
            chunks.insert(key.to_vec(), chunk.to_vec());
        }
        for (key, change) in self.changes.range(low..high) {
            match change {
                Some(chunk) => drop(chunks.insert(key.clone(), chunk.clone())),
                None => drop(chunks.remove(key)),
            }
        }
        chunks.into_iter().map(|(key, chunk)| Ok((ChunkKey::parse(&key)?, chunk))).collect()
    }

    fn new_head(&self, rows: &Rows<'_>) -> Result<Vec<u8>, ReadError> {
        let mut head = self.read_head()?;
        head.span = self.span;
        head.latest.retain(|key, _| !self.bereft.contains(key));
        let chunks;
        if !self.bereft.is_empty() {
            chunks = self.chunks(Timestamp(i64::MIN), Timestamp(i64::MAX))?;
            self.find_latest(&chunks, &mut head)?;
        }
        head.fold(rows);
        Ok(head.to_bytes())
    }

    /// Finds the latest values of bereft keys, looking back only as far as one may be found.
    fn find_latest<'b>(
        &self,
        chunks: &'b [(ChunkKey, Vec<u8>)],
        head: &mut Head<'b>,
    ) -> Result<(), ReadError> {
        let keys: Vec<u32> = self.bereft.iter().copied().collect();
        let mut found: BTreeMap<u32, (Arrival, Scalar<'b>)> = BTreeMap::new();
        for (key, chunk) in chunks.iter().rev() {
            let reach = Timestamp(key.first.0.saturating_add_unsigned(self.span));
            if found.len() == keys.len() && found.values().all(|((ts, ..), _)| *ts > reach) {
                break;
            }
            let rows = Rows::read_chunk(key.first, chunk, &self.core.dictionary, Columns::Only(&keys))?;
            for (index, row) in rows.rows.iter().enumerate() {
                let place = (row.ts, key.epoch, key.index, index);
                for (key, value) in rows.keys(row.shape).iter().zip(rows.values_of(row)) {
                    if found.get(key).is_none_or(|(best, _)| *best <= place) {
                        found.insert(*key, (place, *value));
                    }
                }
            }
        }
        head.latest.extend(found.into_iter().map(|(key, ((ts, ..), value))| (key, (ts, value))));
        Ok(())
    }
}
