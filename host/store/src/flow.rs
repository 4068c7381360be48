//! Points of some keys, one after the other in the order of time, each time once.
//!
//! However long the range is, only what may still be overtaken is held: chunks come in the order of their first time, so
//! a point is settled when the next chunk begins behind it. What was stored out of order has to wait for its turn, and is
//! bounded in bytes.

use wireglot_model::limits::READ_BYTES_HELD_MAX;
use wireglot_model::{DeviceId, Timestamp, Value};

use crate::chunk::{Columns, Rows};
use crate::error::ReadError;
use crate::series::{Place, RECENT, Step, TimeRange};
use crate::store::Store;

/// Which points, and from which end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PointsQuery {
    pub keys: Vec<String>,
    /// The first time that belongs to the answer.
    pub start: Timestamp,
    /// The first time that does not.
    pub end: Timestamp,
    /// Newest first.
    pub descending: bool,
}

/// What whoever is shown a point wants to see next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Want {
    More,
    /// More, but nothing more of this key.
    OtherKeys,
    Nothing,
}

impl Store {
    /// Shows points with the places of their keys in the query. Of two values of one time the one that came later is
    /// shown. An unknown device has none.
    pub fn each_point(
        &self,
        device: DeviceId,
        query: &PointsQuery,
        show: &mut dyn FnMut(usize, Timestamp, Value) -> Want,
    ) -> Result<(), ReadError> {
        let core = self.core();
        let range = TimeRange { start: query.start, end: query.end, descending: query.descending };
        let found = query.keys.iter().map(|key| core.dictionary.key(key)).enumerate();
        let streams = found.filter_map(|(place, key)| Some(Stream::new(place, key?))).collect();
        let mut flow = Flow { range, streams, show };
        let keys: Vec<u32> = flow.streams.iter().map(|stream| stream.key).collect();
        let Some(number) = core.dictionary.device(device).filter(|_| !keys.is_empty()) else { return Ok(()) };
        core.visit(number, range, Columns::Only(&keys), |step| match step {
            Step::Rows { rows, epoch } => flow.take_in(rows, epoch).map(|()| false),
            Step::Nothing { nearer_than } => Ok(flow.pass_on(Some(nearer_than))),
        })?;
        flow.pass_on(None);
        Ok(())
    }
}

struct Flow<'f> {
    range: TimeRange,
    /// Of the keys of which more is wanted.
    streams: Vec<Stream>,
    show: &'f mut dyn FnMut(usize, Timestamp, Value) -> Want,
}

/// One key: what was read of it and not shown yet.
struct Stream {
    place: usize,
    key: u32,
    /// What is not in chunks yet, with the point to be shown next at the end. It came later than everything in chunks.
    recent: Vec<(Timestamp, Value)>,
    /// From chunks, in the direction of the range once it is settled.
    pending: Vec<((Timestamp, Place), Value)>,
    /// What both take; the recent ones as they were in the beginning.
    recent_bytes: usize,
    pending_bytes: usize,
}

impl Flow<'_> {
    fn take_in(&mut self, rows: &Rows<'_>, epoch: u64) -> Result<(), ReadError> {
        for stream in &mut self.streams {
            stream.collect(rows, self.range, epoch);
            if epoch == RECENT {
                stream.settle(self.range.descending);
                stream.recent = stream.pending.drain(..).rev().map(|((ts, _), value)| (ts, value)).collect();
                stream.recent_bytes = std::mem::take(&mut stream.pending_bytes);
            }
        }
        let held = self.streams.iter().map(|stream| stream.recent_bytes + stream.pending_bytes);
        if held.sum::<usize>() > READ_BYTES_HELD_MAX {
            return Err(ReadError::TooMuchOutOfOrder);
        }
        Ok(())
    }

    /// Shows what is settled, as nothing that is nearer than this will come, and says whether nothing more is wanted.
    fn pass_on(&mut self, nearer_than: Option<Timestamp>) -> bool {
        let Self { range, streams, show } = self;
        let descending = range.descending;
        let is_settled = |ts: Timestamp| match nearer_than {
            None => true,
            Some(bound) => {
                if descending {
                    ts > bound
                } else {
                    ts < bound
                }
            }
        };
        let mut is_over = false;
        streams.retain_mut(|stream| {
            if is_over || !stream.has_settled(is_settled) {
                return true;
            }
            stream.settle(descending);
            match stream.show(descending, is_settled, &mut **show) {
                Want::More => true,
                Want::OtherKeys => false,
                Want::Nothing => {
                    is_over = true;
                    true
                }
            }
        });
        if is_over {
            streams.clear();
        }
        streams.is_empty()
    }
}

impl Stream {
    fn new(place: usize, key: u32) -> Self {
        Self { place, key, recent: Vec::new(), pending: Vec::new(), recent_bytes: 0, pending_bytes: 0 }
    }

    fn collect(&mut self, rows: &Rows<'_>, range: TimeRange, epoch: u64) {
        // Where the key stands in each shape; the last place, as the later of two samples with one key wins.
        let places: Vec<Option<usize>> = rows
            .shapes
            .iter()
            .map(|list| list.keys.iter().rposition(|candidate| *candidate == self.key))
            .collect();
        let mut bytes = 0;
        let point = |(index, row): (usize, &crate::chunk::Row)| {
            let place = places.get(row.shape).copied().flatten().filter(|_| range.holds(row.ts))?;
            let value = rows.values_of(row).get(place)?.to_value();
            bytes += weight(&value);
            Some(((row.ts, Place { epoch, index }), value))
        };
        let rows = rows.rows.iter().enumerate();
        if range.descending {
            self.pending.extend(rows.rev().filter_map(point));
        } else {
            self.pending.extend(rows.filter_map(point));
        }
        self.pending_bytes += bytes;
    }

    fn has_settled(&self, is_settled: impl Fn(Timestamp) -> bool) -> bool {
        self.recent.last().is_some_and(|(ts, _)| is_settled(*ts))
            || self.pending.iter().any(|((ts, _), _)| is_settled(*ts))
    }

    /// Sorts in the direction of the range and keeps the latest arrival of each time.
    fn settle(&mut self, descending: bool) {
        let before = self.pending.len();
        if descending {
            if !self.pending.is_sorted_by(|(one, _), (other, _)| one >= other) {
                self.pending.sort_by_key(|(place, _)| std::cmp::Reverse(*place));
            }
            // The later arrival stands first, which is the one that stays.
            self.pending.dedup_by_key(|((ts, _), _)| *ts);
        } else {
            if !self.pending.is_sorted_by_key(|(place, _)| *place) {
                self.pending.sort_by_key(|(place, _)| *place);
            }
            self.pending.dedup_by(|later, earlier| {
                let same_time = later.0.0 == earlier.0.0;
                if same_time {
                    std::mem::swap(later, earlier);
                }
                same_time
            });
        }
        if self.pending.len() < before {
            self.pending_bytes = self.pending.iter().map(|(_, value)| weight(value)).sum();
        }
    }

    /// Shows what is settled, as long as it is wanted.
    fn show(
        &mut self,
        descending: bool,
        is_settled: impl Fn(Timestamp) -> bool,
        show: &mut dyn FnMut(usize, Timestamp, Value) -> Want,
    ) -> Want {
        let settled = self.pending.partition_point(|((ts, _), _)| is_settled(*ts));
        let mut chunked = self.pending.drain(..settled).peekable();
        let mut want = Want::More;
        while want == Want::More {
            let recent = self.recent.last().map(|(ts, _)| *ts).filter(|ts| is_settled(*ts));
            let next = match (recent, chunked.peek().map(|((ts, _), _)| *ts)) {
                (None, None) => break,
                (Some(recent), Some(chunked)) if recent == chunked => Next::Both,
                (Some(recent), Some(chunked)) if (recent < chunked) == descending => Next::Chunked,
                (Some(_), _) => Next::Recent,
                (None, Some(_)) => Next::Chunked,
            };
            let older = if next == Next::Recent { None } else { chunked.next() };
            self.pending_bytes -= older.as_ref().map_or(0, |(_, value)| weight(value));
            let point = if next == Next::Chunked { None } else { self.recent.pop() };
            let Some((ts, value)) = point.or(older.map(|((ts, _), value)| (ts, value))) else { break };
            want = show(self.place, ts, value);
        }
        drop(chunked);
        want
    }
}

/// Where the point that is shown next comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Recent,
    Chunked,
    /// Two of one time.
    Both,
}

/// About what a point takes while it is held.
fn weight(value: &Value) -> usize {
    const FIXED: usize = size_of::<((Timestamp, Place), Value)>();
    FIXED + value.text_bytes()
}
