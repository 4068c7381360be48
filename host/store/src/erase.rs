//! Deletes points of some keys in a range of time, in chunks.
//!
//! What is to be deleted is brought into chunks first, so that no log has it that a restart would read back; then the
//! chunks that have it are replaced, a bounded number of them in one step of the engine. Only chunks that were there in the
//! beginning are looked at: what is stored meanwhile stays, whatever its time is. A deletion that is cut short has deleted a
//! part, and does the rest when it is asked again.
//!
//! A checkpoint waits for one step at most, whatever is deleted: the lock that it needs is never held over a whole history.

use std::collections::BTreeMap;
use std::time::Instant;

use wireglot_model::{DeviceId, Timestamp};

use crate::arrivals::Newest;
use crate::checkpoint::{fold, read_mark};
use crate::chunk::{Columns, Rows, pack, read_header};
use crate::coding::{Reader, Scalar};
use crate::error::{ReadError, Source};
use crate::flow::Want;
use crate::head::Head;
use crate::keys::{self, ChunkKey};
use crate::recent::Tail;
use crate::revise::{Changes, free, write};
use crate::series::TimeRange;
use crate::store::{Chore, Core, Store};

/// Bytes of chunks that are read between two steps: the checkpoint waits meanwhile.
pub(crate) const STEP_BYTES: usize = 4 * 1024 * 1024;

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
        let Some(mut eraser) = Eraser::new(self.core(), erasure) else { return Ok(0) };
        eraser.bring_in()?;
        let _replacer = self.core().chunk_replacer.lock();
        eraser.begin()?;
        while eraser.step()? {}
        if erasure.latest != LatestAfter::Kept {
            eraser.renew_latest()?;
        }
        Ok(eraser.went)
    }
}

pub(crate) struct Eraser<'e> {
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

impl<'e> Eraser<'e> {
    /// Nothing where nobody ever sent what is to be deleted.
    pub(crate) fn new(core: &'e Core, erasure: &'e Erasure) -> Option<Self> {
        let keys: Vec<u32> = erasure.keys.iter().filter_map(|key| core.dictionary.key(key)).collect();
        let device = core.dictionary.device(erasure.device).filter(|_| !keys.is_empty())?;
        Some(Self { core, device, keys, erasure, epoch: 0, next: Vec::new(), went: 0 })
    }

    fn is_meant(&self, ts: Timestamp) -> bool {
        (self.erasure.first..=self.erasure.last).contains(&ts)
    }

    /// Everything that is to be deleted and was stored before is in chunks after this.
    fn bring_in(&self) -> Result<(), ReadError> {
        let engine = |error: Source| ReadError::Engine(error);
        let last = self.core.recent.last();
        let mut is_worth_waiting = true;
        loop {
            let mut arrivals = self.core.chunk_writer.lock();
            if self.core.recent.has_folded(last) || !self.is_recent()? {
                return Ok(());
            }
            // A checkpoint makes chunks of what all devices sent, so one after the other would leave them in crumbs.
            let before = arrivals.checkpoint_for_erasure;
            let due =
                before.and_then(|before| before.checked_add(self.core.config.erasure_checkpoints_apart));
            if let Some(due) = due.filter(|due| is_worth_waiting && Instant::now() < *due) {
                drop(arrivals);
                is_worth_waiting = self.core.recent.wait_folded(last, due);
                continue;
            }
            arrivals.checkpoint_for_erasure = Some(Instant::now());
            // One checkpoint may only make up for another that failed.
            while fold(self.core, &mut arrivals).map_err(engine)? < last {}
            // Nothing was deleted as long as the log has it.
            self.core.wake_for(Chore::Trim);
        }
    }

    /// What is in chunks now is looked at, up to `epoch`.
    pub(crate) fn begin(&mut self) -> Result<(), ReadError> {
        let _arrivals = self.core.chunk_writer.lock();
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
    pub(crate) fn step(&mut self) -> Result<bool, ReadError> {
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

    /// Takes latest values away whose points are gone. Nobody waits for the look through what is left: what comes into
    /// chunks meanwhile is told by the checkpoints that bring it.
    fn renew_latest(&self) -> Result<(), ReadError> {
        let meant = self.begin_look()?;
        let left = self.look(&meant);
        self.end_look(&meant, left)
    }

    /// The keys whose latest point was meant, and when it was.
    pub(crate) fn begin_look(&self) -> Result<BTreeMap<u32, Timestamp>, ReadError> {
        let mut arrivals = self.core.chunk_writer.lock();
        let Some(head) = self.core.chunks.get(keys::head(self.device))? else { return Ok(BTreeMap::new()) };
        let latest = Head::read(&head)?.latest.into_iter().map(|(key, (ts, _))| (key, ts));
        let is_lost = |(key, ts): &(u32, Timestamp)| self.keys.contains(key) && self.is_meant(*ts);
        let meant: BTreeMap<u32, Timestamp> = latest.filter(is_lost).collect();
        arrivals.watch(self.device, meant.keys().copied().collect());
        Ok(meant)
    }

    /// The newest points in chunks that may take the place of those, or prove that they are there again.
    pub(crate) fn look(&self, meant: &BTreeMap<u32, Timestamp>) -> Result<Newest, ReadError> {
        let mut newest = Newest::new();
        let mut find = |keys: Vec<u32>, start: Timestamp, last: Timestamp| {
            let end = Timestamp(last.0.saturating_add(1));
            let range = TimeRange { start, end, descending: true };
            let places = keys.iter().copied().enumerate().collect();
            self.core.each_point(self.device, &Tail::none(), places, range, &mut |place, ts, value| {
                newest.extend(keys.get(place).map(|key| (*key, (ts, value))));
                Want::OtherKeys
            })
        };
        match self.erasure.latest {
            LatestAfter::Kept => {}
            // One of the same time may have been stored after the deletion began.
            LatestAfter::Removed => {
                meant.iter().try_for_each(|(key, ts)| find(vec![*key], *ts, *ts))?;
            }
            LatestAfter::Rewritten => {
                if let Some(last) = meant.values().max() {
                    find(meant.keys().copied().collect(), Timestamp(i64::MIN), *last)?;
                }
            }
        }
        Ok(newest)
    }

    pub(crate) fn end_look(
        &self,
        meant: &BTreeMap<u32, Timestamp>,
        left: Result<Newest, ReadError>,
    ) -> Result<(), ReadError> {
        let mut arrivals = self.core.chunk_writer.lock();
        let arrived = arrivals.end_watch();
        let mut newest = left?;
        for (key, (ts, value)) in arrived {
            // Of two of one time it is the one that came later.
            if newest.get(&key).is_none_or(|(left, _)| *left <= ts) {
                newest.insert(key, (ts, value));
            }
        }
        let head = self.core.chunks.get(keys::head(self.device))?;
        let Some(head) = head.filter(|_| !self.core.dictionary.is_deleted(self.device)) else {
            return Ok(());
        };
        // Where it is there again, or a newer one, the head has that already.
        let is_there =
            |(key, ts): &(&u32, &Timestamp)| newest.get(key).is_some_and(|(newest, _)| newest >= ts);
        let mut lost = meant.iter().filter(|meant| !is_there(meant)).peekable();
        if lost.peek().is_none() {
            return Ok(());
        }
        let mut head = Head::read(&head)?;
        for (key, _) in lost {
            match newest.get(key) {
                Some((ts, value)) => head.latest.insert(*key, (*ts, Scalar::of(value))),
                None => head.latest.remove(key),
            };
        }
        write(self.core, Changes::from([(keys::head(self.device).to_vec(), Some(head.to_bytes()))]))
    }
}
