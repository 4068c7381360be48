//! The retention sweep: removes telemetry that is older than its device's profile keeps.

use std::collections::{BTreeMap, HashMap};

use wireglot_model::{ProfileId, Timestamp};

use crate::chunk::{Columns, Rows, pack, read_header};
use crate::coding::Reader;
use crate::error::ReadError;
use crate::keys::{ChunkKey, prefix};
use crate::records::read_device;
use crate::store::{Core, Store};

const DAY_MS: i64 = 86_400_000;

/// What a sweep removed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Retained {
    pub chunks: usize,
    pub messages: usize,
}

impl Store {
    /// Removes what is too old at `now`. Blocks; called now and then, off the workers.
    ///
    /// Recent messages, which are not in chunks yet, are left to a later sweep. Latest values stay.
    pub fn retain(&self, now: Timestamp) -> Result<Retained, ReadError> {
        let core = self.core();
        let _writer = core.chunk_writer.lock();
        let mut days: HashMap<ProfileId, i64> = HashMap::new();
        for profile in self.profiles()? {
            days.extend(profile.retention_days.map(|days| (profile.id, i64::from(days))));
        }
        let mut sweep = Sweep::default();
        core.each(prefix::DEVICE, |_, record| {
            let (number, device) = read_device(record)?;
            if let Some(days) = days.get(&device.profile) {
                sweep.device(core, number, Timestamp(now.0.saturating_sub(days.saturating_mul(DAY_MS))))?;
            }
            Ok(())
        })?;
        sweep.write(core)?;
        Ok(sweep.removed)
    }
}

#[derive(Default)]
struct Sweep {
    /// In the order that the engine wants; `None` removes.
    changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    removed: Retained,
}

impl Sweep {
    fn device(&mut self, core: &Core, device: u32, oldest: Timestamp) -> Result<(), ReadError> {
        let (low, high) = (ChunkKey::lowest(device, Timestamp(i64::MIN)), ChunkKey::lowest(device, oldest));
        for guard in core.chunks.range(low.to_bytes()..high.to_bytes()) {
            let (bytes, chunk) = guard.into_inner()?;
            let key = ChunkKey::parse(&bytes)?;
            let (span, count) = read_header(&mut Reader::new(&chunk))?;
            self.changes.insert(bytes.to_vec(), None);
            let mut removed = usize::try_from(count).unwrap_or(usize::MAX);
            if key.first.0.saturating_add_unsigned(span) >= oldest.0 {
                removed = self.shorten(core, key, &chunk, oldest)?;
            } else {
                self.removed.chunks += 1;
            }
            self.removed.messages += removed;
        }
        Ok(())
    }

    /// Puts what is young enough into a chunk of its own, and returns how many messages are not.
    fn shorten(
        &mut self,
        core: &Core,
        key: ChunkKey,
        chunk: &[u8],
        oldest: Timestamp,
    ) -> Result<usize, ReadError> {
        let mut rows = Rows::read_chunk(key.first, chunk, &core.dictionary, Columns::All)?;
        let before = rows.rows.len();
        rows.rows.retain(|row| row.ts >= oldest);
        for packed in pack(&rows) {
            // Epoch and index stay: of two messages of one time the order must not change.
            let moved = ChunkKey { first: packed.first, ..key };
            self.changes.insert(moved.to_bytes(), Some(packed.bytes));
        }
        Ok(before - rows.rows.len())
    }

    fn write(&mut self, core: &Core) -> Result<(), ReadError> {
        if self.changes.is_empty() {
            return Ok(());
        }
        let mut ingestion = core.chunks.start_ingestion()?;
        for (key, value) in std::mem::take(&mut self.changes) {
            match value {
                Some(value) => ingestion.write(key, value)?,
                None => ingestion.write_tombstone(key)?,
            }
        }
        ingestion.finish()?;
        Ok(())
    }
}
