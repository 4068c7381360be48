//! Reads of time series: latest values, histories, whole messages. They block; callers keep them off the workers.
//!
//! A read takes a copy of the device's recent messages first and then the chunks, without those of the copy's epochs:
//! see `recent.rs`.

use std::collections::{BTreeSet, BinaryHeap};

use fjall::{Guard, Readable, Snapshot, UserValue};
use wireglot_model::{CodecStamp, DeviceId, Sample, Timestamp, Value};

use crate::chunk::{Columns, Row, Rows, read_header};
use crate::coding::{Reader, Scalar};
use crate::error::ReadError;
use crate::flow::{PointsQuery, Want};
use crate::head::Head;
use crate::keys::{self, ChunkKey};
use crate::recent::Tail;
use crate::store::{Core, Store};

/// The newest value of a key: the one with the greatest timestamp; of two with the same, the one that came later.
#[derive(Clone, PartialEq, Debug)]
pub struct Latest {
    pub key: String,
    pub ts: Timestamp,
    pub value: Value,
}

/// Which part of which series.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HistoryQuery {
    pub keys: Vec<String>,
    /// The first time that belongs to the answer.
    pub start: Timestamp,
    /// The first time that does not.
    pub end: Timestamp,
    /// Points per key.
    pub limit: usize,
    /// Newest first; the limit then keeps the newest.
    pub descending: bool,
}

/// A key and its points.
pub type Series = (String, Vec<(Timestamp, Value)>);

/// A measurement as it was decoded.
#[derive(Clone, PartialEq, Debug)]
pub struct StoredMessage {
    pub ts: Timestamp,
    pub received: Timestamp,
    /// Which codec version decoded it; `None` for the built-in JSON.
    pub codec: Option<CodecStamp>,
    pub samples: Vec<Sample>,
}

impl Store {
    /// The latest values of some keys, or of all. An unknown device has none.
    pub fn latest(&self, device: DeviceId, keys: Option<&[String]>) -> Result<Vec<Latest>, ReadError> {
        let core = self.core();
        let Some(number) = core.dictionary.device(device) else { return Ok(Vec::new()) };
        let wanted: Option<BTreeSet<u32>> =
            keys.map(|keys| keys.iter().filter_map(|key| core.dictionary.key(key)).collect());
        let mut found = Vec::new();
        core.with_head(number, |head| {
            for (key, (ts, value)) in &head.latest {
                if wanted.as_ref().is_none_or(|wanted| wanted.contains(key)) {
                    let name = core.dictionary.key_name(*key)?;
                    found.push(Latest { key: name.to_string(), ts: *ts, value: value.to_value() });
                }
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Every key that the device ever sent, by name.
    pub fn keys(&self, device: DeviceId) -> Result<Vec<String>, ReadError> {
        let mut keys: Vec<String> = self.latest(device, None)?.into_iter().map(|latest| latest.key).collect();
        keys.sort_unstable();
        Ok(keys)
    }

    /// The points of some keys. A key without points is in the answer with none.
    pub fn history(&self, device: DeviceId, query: &HistoryQuery) -> Result<Vec<Series>, ReadError> {
        let HistoryQuery { keys, start, end, limit, descending } = query.clone();
        let mut found: Vec<Series> = keys.iter().map(|key| (key.clone(), Vec::new())).collect();
        if limit > 0 {
            let points = PointsQuery { keys, start, end, descending };
            self.each_point(device, &points, &mut |place, ts, value| {
                let Some((_, points)) = found.get_mut(place) else { return Want::OtherKeys };
                points.push((ts, value));
                if points.len() < limit { Want::More } else { Want::OtherKeys }
            })?;
        }
        Ok(found)
    }

    /// Whole messages, oldest first; of two with the same time the one that came first.
    pub fn messages(
        &self,
        device: DeviceId,
        start: Timestamp,
        end: Timestamp,
        limit: usize,
    ) -> Result<Vec<StoredMessage>, ReadError> {
        let core = self.core();
        let Some(number) = core.dictionary.device(device) else { return Ok(Vec::new()) };
        let range = TimeRange { start, end, descending: false };
        let mut found: Vec<((Timestamp, Place), StoredMessage)> = Vec::new();
        let recent = core.recent.tail(number);
        core.visit(&core.db.snapshot(), number, &recent, range, Columns::All, |step| {
            match step {
                Step::Rows { rows, epoch } => {
                    for (index, row) in rows.rows.iter().enumerate().filter(|(_, row)| range.holds(row.ts)) {
                        found.push(((row.ts, Place { epoch, index }), core.message(rows, row)?));
                    }
                }
                Step::Nothing { nearer_than } => {
                    found.sort_by_key(|(place, _)| *place);
                    return Ok(found.partition_point(|((ts, _), _)| *ts < nearer_than) >= limit);
                }
            }
            Ok(false)
        })?;
        found.sort_by_key(|(place, _)| *place);
        found.truncate(limit);
        Ok(found.into_iter().map(|(_, message)| message).collect())
    }
}

/// Which message came later, among those of one time: first by when it was written, then by its row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Place {
    /// Chunks have theirs; recent messages come after every chunk.
    pub(crate) epoch: u64,
    pub(crate) index: usize,
}

pub(crate) const RECENT: u64 = u64::MAX;

#[derive(Clone, Copy)]
pub(crate) struct TimeRange {
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    pub(crate) descending: bool,
}

impl TimeRange {
    pub(crate) fn holds(self, ts: Timestamp) -> bool {
        self.start <= ts && ts < self.end
    }
}

/// What a visit comes across.
pub(crate) enum Step<'v, 'a> {
    /// Rows, some of them perhaps out of range.
    Rows { rows: &'v Rows<'a>, epoch: u64 },
    /// No more rows will come that are before this time (ascending) or after it (descending).
    Nothing { nearer_than: Timestamp },
}

impl Core {
    /// The device's latest values as of now.
    fn with_head(
        &self,
        device: u32,
        read: impl FnOnce(&Head<'_>) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let tail = self.recent.tail(device);
        let stored = self.chunks.get(keys::head(device))?;
        let mut head = stored.as_deref().map(Head::read).transpose()?.unwrap_or_default();
        let mut rows = Rows::read_tail(&tail.bodies, &self.dictionary, Columns::All)?;
        rows.sort();
        head.fold(&rows);
        read(&head)
    }

    /// Shows the device's rows that may be in the range, in the range's direction, until `visitor` has enough.
    ///
    /// The view of the chunks must be younger than the copy of what is recent.
    pub(crate) fn visit(
        &self,
        view: &Snapshot,
        device: u32,
        recent: &Tail,
        range: TimeRange,
        columns: Columns<'_>,
        mut visitor: impl FnMut(Step<'_, '_>) -> Result<bool, ReadError>,
    ) -> Result<(), ReadError> {
        if range.start >= range.end {
            return Ok(());
        }
        let mut rows = Rows::read_tail(&recent.bodies, &self.dictionary, columns)?;
        rows.sort();
        visitor(Step::Rows { rows: &rows, epoch: RECENT })?;
        drop(rows);
        let Some(head) = view.get(&self.chunks, keys::head(device))? else { return Ok(()) };
        let span = Head::read_span(&head)?;
        let visit = Visit { core: self, view, span, epoch: recent.epoch, range, columns };
        if range.descending {
            visit.backwards(device, &mut visitor)
        } else {
            visit.forwards(device, &mut visitor)
        }
    }

    fn message(&self, rows: &Rows<'_>, row: &Row) -> Result<StoredMessage, ReadError> {
        let sample = |(key, value): (&u32, &Scalar<'_>)| {
            let key = self.dictionary.key_name(*key)?.to_string();
            Ok(Sample { key, value: value.to_value() })
        };
        let pairs = rows.keys(row.shape).iter().zip(rows.values_of(row));
        Ok(StoredMessage {
            ts: row.ts,
            received: row.received,
            codec: self.dictionary.stamp(row.stamp)?,
            samples: pairs.map(sample).collect::<Result<_, ReadError>>()?,
        })
    }
}

/// One look at the chunks of a device.
struct Visit<'v> {
    core: &'v Core,
    view: &'v Snapshot,
    /// No chunk of the device is longer.
    span: u64,
    /// Chunks of this epoch and later ones are not shown.
    epoch: u32,
    range: TimeRange,
    columns: Columns<'v>,
}

type Visitor<'v> = dyn FnMut(Step<'_, '_>) -> Result<bool, ReadError> + 'v;

impl Visit<'_> {
    /// All chunks that may reach into the range.
    fn chunks(&self, device: u32) -> fjall::Iter {
        // One that begins before the range may reach into it, but not from further away than the longest.
        let low = ChunkKey::lowest(device, Timestamp(self.range.start.0.saturating_sub_unsigned(self.span)));
        let high = ChunkKey::lowest(device, self.range.end);
        self.view.range(&self.core.chunks, low.to_bytes()..high.to_bytes())
    }

    /// When a chunk ends, if it is to be shown.
    fn end_of(&self, key: ChunkKey, chunk: &[u8]) -> Result<Option<Timestamp>, ReadError> {
        let (reach, _) = read_header(&mut Reader::new(chunk))?;
        let end = Timestamp(key.first.0.saturating_add_unsigned(reach));
        Ok((key.epoch < self.epoch && end >= self.range.start).then_some(end))
    }

    fn show(&self, key: ChunkKey, chunk: &[u8], visitor: &mut Visitor<'_>) -> Result<(), ReadError> {
        let rows = Rows::read_chunk(key.first, chunk, &self.core.dictionary, self.columns)?;
        let epoch = u64::from(key.epoch) << 32 | u64::from(key.index);
        visitor(Step::Rows { rows: &rows, epoch }).map(drop)
    }

    /// Chunks lie in the order of their first time.
    fn forwards(&self, device: u32, visitor: &mut Visitor<'_>) -> Result<(), ReadError> {
        for guard in self.chunks(device) {
            let (key, chunk) = read_entry(guard)?;
            if visitor(Step::Nothing { nearer_than: key.first })? {
                break;
            }
            if self.end_of(key, &chunk)?.is_some() {
                self.show(key, &chunk, visitor)?;
            }
        }
        Ok(())
    }

    /// By their last time, which does not follow from where they lie: headers are read ahead until no chunk that is further
    /// away can reach over the one that is shown next.
    fn backwards(&self, device: u32, visitor: &mut Visitor<'_>) -> Result<(), ReadError> {
        let ahead_max = (self.core.config.read_bytes_held_max / BYTES_PER_CHUNK_AHEAD).max(1);
        let mut ahead: BinaryHeap<(Timestamp, ChunkKey)> = BinaryHeap::new();
        let mut chunks = self.chunks(device);
        let mut unread = chunks.next_back().map(read_entry).transpose()?;
        loop {
            while let Some((key, chunk)) = &unread {
                let reached = Timestamp(key.first.0.saturating_add_unsigned(self.span));
                if ahead.peek().is_some_and(|(end, _)| *end > reached) || ahead.len() == ahead_max {
                    break;
                }
                ahead.extend(self.end_of(*key, chunk)?.map(|end| (end, *key)));
                unread = chunks.next_back().map(read_entry).transpose()?;
            }
            let Some((end, key)) = ahead.pop() else { return Ok(()) };
            let reached = unread.as_ref().map(|(key, _)| key.first.0.saturating_add_unsigned(self.span));
            let nearer_than = reached.map_or(end, |reached| end.max(Timestamp(reached)));
            if visitor(Step::Nothing { nearer_than })? {
                return Ok(());
            }
            let chunk = self.view.get(&self.core.chunks, key.to_bytes())?;
            let chunk = chunk.ok_or(ReadError::Damaged { what: "a chunk that was there is gone" })?;
            self.show(key, &chunk, visitor)?;
        }
    }
}

/// How many headers are read ahead follows from what a read may hold: one for as many bytes of it as a chunk has.
const BYTES_PER_CHUNK_AHEAD: usize = 1024;

fn read_entry(guard: Guard) -> Result<(ChunkKey, UserValue), ReadError> {
    let (key, chunk) = guard.into_inner()?;
    Ok((ChunkKey::parse(&key)?, chunk))
}
