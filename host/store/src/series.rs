//! Reads of time series: latest values, histories, whole messages. They block; callers keep them off the workers.
//!
//! A read takes a copy of the device's recent messages first and then the chunks, without those of the copy's epochs:
//! see `recent.rs`.

use std::collections::BTreeSet;

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
    pub(crate) fn visit(
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
