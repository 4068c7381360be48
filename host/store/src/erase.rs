//! Deletes points of some keys in a range of time, in chunks.
//!
//! What is to be deleted is brought into chunks first, so that no log has it that a restart would read back; then the
//! chunks that have it are replaced, a bounded number of them in one step of the engine. Only chunks that were there in the
//! beginning are looked at: what is stored meanwhile stays, whatever its time is. A deletion that is cut short has deleted a
//! part, and does the rest when it is asked again.

use wireglot_model::{DeviceId, Timestamp, Value};

use crate::checkpoint::{fold, read_mark};
use crate::chunk::{Columns, Rows, pack, read_header};
use crate::coding::{Reader, Scalar};
use crate::error::{ReadError, Source};
use crate::flow::{PointsQuery, Want};
use crate::head::Head;
use crate::keys::{self, ChunkKey};
use crate::revise::{Changes, free, write};
use crate::store::{Core, Store};

/// Bytes of chunks that are read between two steps: the checkpoint waits meanwhile.
const STEP_BYTES: usize = 4 * 1024 * 1024;
/// Looks for what is left without keeping the checkpoint waiting; the last one keeps it.
const LOOKS: usize = 4;

/// Which points of a device go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Erasure {
    pub device: DeviceId,
    pub keys: Vec<String>,
    /// From here
    pub first: Timestamp,
    /// to here.
    pub last: Timestamp,
    pub latest: LatestAfter,
}

/// What becomes of the latest value of a key when its point goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LatestAfter {
    /// It stays, though no history has it.
    Kept,
    /// The key has none until its next point.
    Removed,
    /// The newest point that is left takes its place.
    Rewritten,
}

impl Store {
    /// Deletes points and returns how many there were. They are gone for good when this returns. Blocks; off the workers.
    pub fn erase(&self, erasure: &Erasure) -> Result<u64, ReadError> {
        let core = self.core();
        let names = erasure.keys.iter().filter_map(|key| Some((core.dictionary.key(key)?, key.as_str())));
        let names: Vec<(u32, &str)> = names.collect();
        let Some(device) = core.dictionary.device(erasure.device).filter(|_| !names.is_empty()) else {
            return Ok(0);
        };
        let keys = names.iter().map(|(key, _)| *key).collect();
        let mut eraser = Eraser { core, device, keys, erasure, epoch: 0, next: Vec::new(), went: 0 };
        eraser.begin()?;
        while eraser.step()? {}
        if erasure.latest != LatestAfter::Kept {
            eraser.renew_latest(self, &names)?;
        }
        Ok(eraser.went)
    }
}

struct Eraser<'e> {
    core: &'e Core,
    device: u32,
    keys: Vec<u32>,
    erasure: &'e Erasure,
    /// No chunk of a later one is touched.
    epoch: u32,
    /// The key of the chunk to go on with.
    next: Vec<u8>,
    went: u64,
}

impl Eraser<'_> {
    fn is_meant(&self, ts: Timestamp) -> bool {
        (self.erasure.first..=self.erasure.last).contains(&ts)
    }

    /// Everything that is to be deleted is in chunks after this, up to `epoch`.
    fn begin(&mut self) -> Result<(), ReadError> {
        let engine = |error: Source| ReadError::Engine(error);
        let _writer = self.core.chunk_writer.lock();
        if self.is_recent()? {
            let last = self.core.recent.last();
            // One checkpoint may only make up for another that failed.
            while fold(self.core).map_err(engine)? < last {}
            // Nothing was deleted as long as the log has it.
            self.core.wake_checkpoint();
        }
        self.epoch = read_mark(self.core)?.epoch;
        let head = self.core.chunks.get(keys::head(self.device))?;
        let span = head.map_or(Ok(0), |head| Head::read_span(&head))?;
        let low = Timestamp(self.erasure.first.0.saturating_sub_unsigned(span));
        self.next = ChunkKey::lowest(self.device, low).to_bytes();
        Ok(())
    }

    /// Whether something that is to be deleted is not in chunks yet.
    fn is_recent(&self) -> Result<bool, ReadError> {
        let tail = self.core.recent.tail(self.device);
        let rows = Rows::read_tail(&tail.bodies, &self.core.dictionary, Columns::Only(&self.keys))?;
        Ok(rows.rows.iter().any(|row| !row.values.is_empty() && self.is_meant(row.ts)))
    }

    /// Replaces some chunks, and says whether there are more.
    fn step(&mut self) -> Result<bool, ReadError> {
        let core = self.core;
        let _writer = core.chunk_writer.lock();
        if core.dictionary.is_deleted(self.device) {
            return Ok(false);
        }
        let end = match self.erasure.last.0.checked_add(1) {
            Some(end) => ChunkKey::lowest(self.device, Timestamp(end)).to_bytes(),
            None => {
                ChunkKey { device: self.device, first: self.erasure.last, epoch: u32::MAX, index: u32::MAX }
                    .to_bytes()
            }
        };
        let (mut changes, mut bytes) = (Changes::new(), 0);
        if self.next < end {
            for guard in core.chunks.range(self.next.clone()..end) {
                let (key, chunk) = guard.into_inner()?;
                if bytes > STEP_BYTES {
                    self.next = key.to_vec();
                    write(core, changes)?;
                    return Ok(true);
                }
                bytes += chunk.len();
                self.shorten(ChunkKey::parse(&key)?, &chunk, &mut changes)?;
            }
        }
        write(core, changes)?;
        Ok(false)
    }

    fn shorten(&mut self, key: ChunkKey, chunk: &[u8], changes: &mut Changes) -> Result<(), ReadError> {
        let (reach, _) = read_header(&mut Reader::new(chunk))?;
        if key.epoch > self.epoch || key.first.0.saturating_add_unsigned(reach) < self.erasure.first.0 {
            return Ok(());
        }
        let mut rows = Rows::read_chunk(key.first, chunk, &self.core.dictionary, Columns::All)?;
        let went = rows.take_out(&self.keys, |row| self.is_meant(row.ts));
        if went == 0 {
            return Ok(());
        }
        self.went += went;
        changes.insert(key.to_bytes(), None);
        for packed in pack(&rows) {
            // Epoch and index stay where they can: of two messages of one time the order must not change.
            let moved = free(self.core, changes, ChunkKey { first: packed.first, ..key })?;
            changes.insert(moved.to_bytes(), Some(packed.bytes));
        }
        Ok(())
    }

    /// Takes latest values away whose points are gone.
    fn renew_latest(&self, store: &Store, names: &[(u32, &str)]) -> Result<(), ReadError> {
        for look in 1..=LOOKS {
            let mut writer = (look == LOOKS).then(|| self.core.chunk_writer.lock());
            let epoch = read_mark(self.core)?.epoch;
            let Some(head) = self.core.chunks.get(keys::head(self.device))? else { break };
            let renewed = self.look_for_latest(store, names, &head)?;
            if renewed.is_empty() {
                break;
            }
            writer.get_or_insert_with(|| self.core.chunk_writer.lock());
            // What was brought in meanwhile may be the newest that is left.
            let is_same = read_mark(self.core)?.epoch == epoch
                && self.core.chunks.get(keys::head(self.device))?.is_some_and(|now| *now == *head);
            if look == LOOKS || is_same {
                return self.write_latest(&head, &renewed);
            }
        }
        Ok(())
    }

    /// For each key that loses its latest value, what takes its place.
    fn look_for_latest(
        &self,
        store: &Store,
        names: &[(u32, &str)],
        head: &[u8],
    ) -> Result<Vec<Renewed>, ReadError> {
        let head = Head::read(head)?;
        let mut renewed = Vec::new();
        for (key, name) in names {
            let Some((ts, _)) = head.latest.get(key).filter(|(ts, _)| self.is_meant(*ts)) else { continue };
            let (start, end) = match self.erasure.latest {
                LatestAfter::Rewritten => (Timestamp(i64::MIN), Timestamp(i64::MAX)),
                LatestAfter::Kept | LatestAfter::Removed => (*ts, Timestamp(ts.0.saturating_add(1))),
            };
            let newest = PointsQuery { keys: vec![(*name).to_owned()], start, end, descending: true };
            let mut left = None;
            store.each_point(self.erasure.device, &newest, &mut |_, ts, value| {
                left = Some((ts, value));
                Want::Nothing
            })?;
            // One of the same time was stored after the deletion began.
            if left.as_ref().is_none_or(|(left, _)| left != ts) {
                renewed.push(Renewed { key: *key, left });
            }
        }
        Ok(renewed)
    }

    fn write_latest(&self, head: &[u8], renewed: &[Renewed]) -> Result<(), ReadError> {
        if self.core.dictionary.is_deleted(self.device) {
            return Ok(());
        }
        let mut head = Head::read(head)?;
        for Renewed { key, left } in renewed {
            match left {
                Some((ts, value)) => head.latest.insert(*key, (*ts, Scalar::of(value))),
                None => head.latest.remove(key),
            };
        }
        let head = head.to_bytes();
        write(self.core, Changes::from([(keys::head(self.device).to_vec(), Some(head))]))
    }
}

/// A key whose latest value goes, and the point that takes its place.
struct Renewed {
    key: u32,
    left: Option<(Timestamp, Value)>,
}
