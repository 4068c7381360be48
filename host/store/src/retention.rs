//! The retention sweep: removes telemetry, raw frames and dead letters that are older than their profile keeps them.

use std::collections::HashMap;
use std::ops::Range;

use parking_lot::MutexGuard;
use wireglot_model::{DeadLetterBounds, Profile, ProfileId, Timestamp};

use crate::arrivals::Arrivals;
use crate::chunk::{Columns, Rows, pack, read_header};
use crate::coding::Reader;
use crate::erase::STEP_BYTES;
use crate::error::ReadError;
use crate::keys::{self, ChunkKey, prefix};
use crate::raw::RawKey;
use crate::records::read_device;
use crate::revise::{Changes, free, write};
use crate::store::{Core, Store};

const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;
/// Removals per batch: the commit thread waits while one is written.
pub(crate) const REMOVALS: usize = 512;

/// What a look for chunks of a device counts as, in bytes of chunks.
const LOOK_BYTES: usize = 4 * 1024;

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
        let days = |profile: &Profile| profile.retention_days.map(|days| (profile.id, i64::from(days)));
        let days: HashMap<ProfileId, i64> = profiles.iter().filter_map(days).collect();
        let mut sweep = Sweep { core, step: None, removed: Retained::default() };
        core.each(prefix::DEVICE, |_, record| {
            let (number, device) = read_device(record)?;
            match days.get(&device.profile) {
                Some(days) => {
                    sweep.device(number, Timestamp(now.0.saturating_sub(days.saturating_mul(DAY_MS))))
                }
                None => Ok(()),
            }
        })?;
        sweep.end_step()?;
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

/// What is too old goes in steps, each over as many devices as it takes: the checkpoint waits for one of them at most.
struct Sweep<'c> {
    core: &'c Core,
    step: Option<Step<'c>>,
    removed: Retained,
}

struct Step<'c> {
    _writer: MutexGuard<'c, Arrivals>,
    changes: Changes,
    /// Of chunks that were read.
    bytes: usize,
}

impl Sweep<'_> {
    fn device(&mut self, device: u32, oldest: Timestamp) -> Result<(), ReadError> {
        let mut next = Some(ChunkKey::lowest(device, Timestamp(i64::MIN)).to_bytes());
        let end = ChunkKey::lowest(device, oldest).to_bytes();
        while let Some(low) = next {
            next = self.part(device, low..end.clone(), oldest)?;
            if self.step.as_ref().is_some_and(|step| step.bytes > STEP_BYTES) {
                self.end_step()?;
            }
        }
        Ok(())
    }

    /// Looks at chunks of a device; where the step ends before them, it says where to go on.
    fn part(
        &mut self,
        device: u32,
        chunks: Range<Vec<u8>>,
        oldest: Timestamp,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        let core = self.core;
        let step = self.step.get_or_insert_with(|| Step {
            _writer: core.chunk_writer.lock(),
            changes: Changes::new(),
            bytes: 0,
        });
        step.bytes += LOOK_BYTES;
        if core.dictionary.is_deleted(device) {
            return Ok(None);
        }
        for guard in core.chunks.range(chunks) {
            let (bytes, chunk) = guard.into_inner()?;
            let key = ChunkKey::parse(&bytes)?;
            if step.bytes > STEP_BYTES {
                return Ok(Some(key.to_bytes()));
            }
            step.bytes += chunk.len();
            let (span, count) = read_header(&mut Reader::new(&chunk))?;
            step.changes.insert(bytes.to_vec(), None);
            if key.first.0.saturating_add_unsigned(span) >= oldest.0 {
                self.removed.messages += step.shorten(core, key, &chunk, oldest)?;
            } else {
                self.removed.messages += usize::try_from(count).unwrap_or(usize::MAX);
                self.removed.chunks += 1;
            }
        }
        Ok(None)
    }

    fn end_step(&mut self) -> Result<(), ReadError> {
        match self.step.take() {
            Some(step) => write(self.core, step.changes),
            None => Ok(()),
        }
    }
}

impl Step<'_> {
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
            // Epoch and index stay where they can: of two messages of one time the order must not change.
            let moved = free(core, &self.changes, ChunkKey { first: packed.first, ..key })?;
            self.changes.insert(moved.to_bytes(), Some(packed.bytes));
        }
        Ok(before - rows.rows.len())
    }
}
