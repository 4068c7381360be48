//! The retention sweep: removes telemetry, raw frames and dead letters that are older than their profile keeps them.

use std::collections::{BTreeMap, HashMap};

use wireglot_model::{DeadLetterBounds, Profile, ProfileId, Timestamp};

use crate::chunk::{Columns, Rows, pack, read_header};
use crate::coding::Reader;
use crate::error::ReadError;
use crate::keys::{self, ChunkKey, prefix};
use crate::raw::RawKey;
use crate::records::read_device;
use crate::store::{Core, Store};

const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;
/// Removals per batch: the commit thread waits while one is written.
pub(crate) const REMOVALS: usize = 512;

/// What a sweep removed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Retained {
    pub chunks: usize,
    pub messages: usize,
    pub dead_letters: usize,
    pub raw_frames: usize,
}

impl Store {
    /// Removes what is too old at `now`, and raw frames of devices that were deleted. Blocks; called now and then, off the workers.
    ///
    /// Recent messages, which are not in chunks yet, are left to a later sweep. Latest values stay.
    pub fn retain(&self, now: Timestamp) -> Result<Retained, ReadError> {
        let core = self.core();
        let profiles = self.profiles()?;
        let dead_letters = core.sweep_letters(&profiles, now)?;
        let raw_frames = core.sweep_departed()? + core.sweep_raw(&profiles, now)?;
        let removed = self.sweep_telemetry(&profiles, now)?;
        Ok(Retained { dead_letters, raw_frames, ..removed })
    }

    fn sweep_telemetry(&self, profiles: &[Profile], now: Timestamp) -> Result<Retained, ReadError> {
        let core = self.core();
        let _replacer = core.chunk_replacer.lock();
        let _writer = core.chunk_writer.lock();
        let days = |profile: &Profile| profile.retention_days.map(|days| (profile.id, i64::from(days)));
        let days: HashMap<ProfileId, i64> = profiles.iter().filter_map(days).collect();
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

impl Core {
    /// Letters past the age that their profile keeps them. Those of a deleted profile go by the default.
    fn sweep_letters(&self, profiles: &[Profile], now: Timestamp) -> Result<usize, ReadError> {
        let bounds: HashMap<ProfileId, DeadLetterBounds> =
            profiles.iter().map(|profile| (profile.id, profile.dead_letters)).collect();
        let gone: Vec<u64> = {
            let mut graveyard = self.graveyard.lock();
            let known = graveyard.profiles();
            let tidy = |profile| {
                graveyard.tidy_profile(profile, bounds.get(&profile).copied().unwrap_or_default(), now)
            };
            known.into_iter().flat_map(tidy).collect()
        };
        for bite in gone.chunks(REMOVALS) {
            let mut batch = self.db.batch();
            for sequence in bite {
                batch.remove(&self.dead, keys::sequenced(prefix::DEAD_FACTS, *sequence));
                batch.remove(&self.dead, keys::sequenced(prefix::DEAD_LETTER, *sequence));
            }
            batch.commit()?;
        }
        Ok(gone.len())
    }

    /// Raw frames past the time that their profile keeps them, and the oldest of all while there are too many.
    fn sweep_raw(&self, profiles: &[Profile], now: Timestamp) -> Result<usize, ReadError> {
        let keeps = |profile: &Profile| {
            let hours = i64::from(profile.raw_retention_hours?);
            Some((profile.id, Timestamp(now.0.saturating_sub(hours.saturating_mul(HOUR_MS)))))
        };
        let keeps: HashMap<ProfileId, Timestamp> = profiles.iter().filter_map(keeps).collect();
        let newest_kept = keeps.values().max().copied().unwrap_or(Timestamp(i64::MAX));
        let is_old = |key: &RawKey| keeps.get(&key.profile).is_none_or(|oldest| key.received < *oldest);
        let mut removed = self.remove_raw(Some(newest_kept), is_old, usize::MAX)?;
        let bytes = self.raw.disk_space();
        if bytes > self.config.raw_bytes_max {
            // Frames are about of one size, and what goes now is only gone from the disk after a compaction.
            let surplus = (bytes - self.config.raw_bytes_max) as f64 / bytes as f64 + RAW_SURPLUS;
            let count = self.raw.approximate_len() as f64 * surplus.min(1.0);
            removed += self.remove_raw(None, |_| true, count as usize)?;
        }
        Ok(removed)
    }

    /// Removes raw frames in the order of their time, up to some time and up to so many.
    fn remove_raw(
        &self,
        until: Option<Timestamp>,
        goes: impl Fn(&RawKey) -> bool,
        mut count: usize,
    ) -> Result<usize, ReadError> {
        let (mut removed, mut low) = (0, Vec::new());
        let high = until.map_or(vec![u8::MAX; 33], |until| RawKey::lowest(until).to_bytes());
        while count > 0 && low < high {
            let mut batch = self.db.batch();
            let mut seen = 0;
            for guard in self.raw.range(low.clone()..high.clone()).take(REMOVALS.min(count)) {
                let key = guard.key()?;
                if goes(&RawKey::parse(&key)?) {
                    batch.remove(&self.raw, key.clone());
                    removed += 1;
                }
                seen += 1;
                low = key.to_vec();
                low.push(0);
            }
            if !batch.is_empty() {
                batch.commit()?;
            }
            if seen < REMOVALS {
                break;
            }
            count -= seen;
        }
        Ok(removed)
    }
}

/// What is removed beyond the surplus, so that not every sweep has to.
const RAW_SURPLUS: f64 = 0.05;

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
