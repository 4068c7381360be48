//! Reads of time series: latest values, histories, whole messages. They block; callers keep them off the workers.
//!
//! A read takes a copy of the device's recent messages first and then the chunks, without those of the copy's epochs:
//! see `recent.rs`.

use std::collections::BTreeSet;

use wireglot_model::{CodecStamp, DeviceId, Sample, Timestamp, Value};

use crate::chunk::{Columns, Row, Rows, read_header};
use crate::coding::{Reader, Scalar};
use crate::error::ReadError;
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
        let core = self.core();
        let mut wanted: Vec<Wanted> =
            query.keys.iter().map(|key| Wanted::new(core.dictionary.key(key))).collect();
        let keys: Vec<u32> = wanted.iter().filter_map(|wanted| wanted.key).collect();
        if let Some(number) = core.dictionary.device(device)
            && query.limit > 0
            && !keys.is_empty()
        {
            let range = TimeRange { start: query.start, end: query.end, descending: query.descending };
            core.visit(number, range, Columns::Only(&keys), |step| {
                for wanted in wanted.iter_mut().filter(|wanted| !wanted.is_complete) {
                    match &step {
                        Step::Rows { rows, epoch } => wanted.collect(rows, range, *epoch),
                        Step::Nothing { nearer_than } => wanted.check(range, query.limit, *nearer_than),
                    }
                }
                Ok(wanted.iter().all(|wanted| wanted.is_complete))
            })?;
        }
        let points = wanted.into_iter().map(|wanted| wanted.finish(query));
        Ok(query.keys.iter().cloned().zip(points).collect())
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
        core.visit(number, range, Columns::All, |step| {
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
struct Place {
    /// Chunks have theirs; recent messages come after every chunk.
    epoch: u64,
    index: usize,
}

const RECENT: u64 = u64::MAX;

#[derive(Clone, Copy)]
struct TimeRange {
    start: Timestamp,
    end: Timestamp,
    descending: bool,
}

impl TimeRange {
    fn holds(self, ts: Timestamp) -> bool {
        self.start <= ts && ts < self.end
    }
}

/// What a visit comes across.
enum Step<'v, 'a> {
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
    fn visit(
        &self,
        device: u32,
        range: TimeRange,
        columns: Columns<'_>,
        mut visitor: impl FnMut(Step<'_, '_>) -> Result<bool, ReadError>,
    ) -> Result<(), ReadError> {
        if range.start >= range.end {
            return Ok(());
        }
        let tail: Tail = self.recent.tail(device);
        let mut recent = Rows::read_tail(&tail.bodies, &self.dictionary, columns)?;
        recent.sort();
        visitor(Step::Rows { rows: &recent, epoch: RECENT })?;
        let Some(head) = self.chunks.get(keys::head(device))? else { return Ok(()) };
        let span = Head::read_span(&head)?;
        // A chunk that begins before the range may reach into it, but not from further away than the longest.
        let low = ChunkKey::lowest(device, Timestamp(range.start.0.saturating_sub_unsigned(span)));
        let high = ChunkKey::lowest(device, range.end);
        let mut chunks = self.chunks.range(low.to_bytes()..high.to_bytes());
        while let Some(guard) = if range.descending { chunks.next_back() } else { chunks.next() } {
            let (key, chunk) = guard.into_inner()?;
            let key = ChunkKey::parse(&key)?;
            let nearer_than = if range.descending {
                Timestamp(key.first.0.saturating_add_unsigned(span))
            } else {
                key.first
            };
            if visitor(Step::Nothing { nearer_than })? {
                break;
            }
            let (reach, _) = read_header(&mut Reader::new(&chunk))?;
            if key.epoch >= tail.epoch || key.first.0.saturating_add_unsigned(reach) < range.start.0 {
                continue;
            }
            let rows = Rows::read_chunk(key.first, &chunk, &self.dictionary, columns)?;
            visitor(Step::Rows { rows: &rows, epoch: u64::from(key.epoch) << 32 | u64::from(key.index) })?;
        }
        Ok(())
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

/// One key of a history, as far as it is read.
struct Wanted {
    key: Option<u32>,
    /// Mostly in the direction of the range already, because the rows come so.
    points: Vec<((Timestamp, Place), Value)>,
    is_complete: bool,
}

impl Wanted {
    fn new(key: Option<u32>) -> Self {
        Self { key, points: Vec::new(), is_complete: key.is_none() }
    }

    fn collect(&mut self, rows: &Rows<'_>, range: TimeRange, epoch: u64) {
        let Some(key) = self.key else { return };
        // Where the key stands in each shape; the last place, as the later of two samples with one key wins.
        let places: Vec<Option<usize>> = rows
            .shapes
            .iter()
            .map(|list| list.keys.iter().rposition(|candidate| *candidate == key))
            .collect();
        let point = |(index, row): (usize, &Row)| {
            let place = places.get(row.shape).copied().flatten().filter(|_| range.holds(row.ts))?;
            let value = rows.values_of(row).get(place)?;
            Some(((row.ts, Place { epoch, index }), value.to_value()))
        };
        let rows = rows.rows.iter().enumerate();
        if range.descending {
            self.points.extend(rows.rev().filter_map(point));
        } else {
            self.points.extend(rows.filter_map(point));
        }
    }

    /// Notices when `limit` points are settled, because nothing nearer to the beginning can come.
    fn check(&mut self, range: TimeRange, limit: usize, nearer_than: Timestamp) {
        if self.points.len() < limit {
            return;
        }
        self.settle(range.descending);
        let settled =
            self.points.partition_point(
                |((ts, _), _)| {
                    if range.descending { *ts > nearer_than } else { *ts < nearer_than }
                },
            );
        self.is_complete = settled >= limit;
    }

    /// Sorts in the direction of the range and keeps the latest arrival of each time.
    fn settle(&mut self, descending: bool) {
        if descending {
            if !self.points.is_sorted_by(|(one, _), (other, _)| one >= other) {
                self.points.sort_by_key(|(place, _)| std::cmp::Reverse(*place));
            }
            // The later arrival stands first, which is the one that stays.
            self.points.dedup_by_key(|((ts, _), _)| *ts);
        } else {
            if !self.points.is_sorted_by_key(|(place, _)| *place) {
                self.points.sort_by_key(|(place, _)| *place);
            }
            self.points.dedup_by(|later, earlier| {
                let same_time = later.0.0 == earlier.0.0;
                if same_time {
                    std::mem::swap(later, earlier);
                }
                same_time
            });
        }
    }

    fn finish(mut self, query: &HistoryQuery) -> Vec<(Timestamp, Value)> {
        self.settle(query.descending);
        self.points.truncate(query.limit);
        self.points.into_iter().map(|((ts, _), value)| (ts, value)).collect()
    }
}
