//! Points of some keys, one after the other in the order of time, each time once.
//!
//! However long the range is, only what may still be overtaken is held: a point is settled when no chunk that is still to
//! come reaches over it. What was stored out of order has to wait for its turn, and is bounded in bytes: past the bound the
//! far part is let go, and read again in another pass over the chunks of what is left of the range.

use std::ops::Range;

use wireglot_model::{DeviceId, Timestamp, Value};

use crate::chunk::{Columns, Rows};
use crate::error::ReadError;
use crate::recent::Tail;
use crate::series::{Place, RECENT, Step, TimeRange};
use crate::store::{Core, Store};

/// Rows that are taken in before what is held is weighed again.
const ROWS_AT_ONCE: usize = 4096;

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
        let Some(number) = core.dictionary.device(device) else { return Ok(()) };
        let range = TimeRange { start: query.start, end: query.end, descending: query.descending };
        let found = query.keys.iter().map(|key| core.dictionary.key(key)).enumerate();
        let keys = found.filter_map(|(place, key)| Some((place, key?))).collect();
        core.each_point(number, &core.recent.tail(number), keys, range, show)
    }
}

impl Core {
    /// The same for keys by number, each with the place that it is shown with, of which `recent` is not in chunks yet.
    pub(crate) fn each_point(
        &self,
        device: u32,
        recent: &Tail,
        keys: Vec<(usize, u32)>,
        range: TimeRange,
        show: &mut dyn FnMut(usize, Timestamp, Value) -> Want,
    ) -> Result<(), ReadError> {
        // All passes see the same chunks.
        let view = self.db.snapshot();
        let streams = keys.into_iter().map(|(place, key)| Stream::new(place, key)).collect();
        let bytes_max = self.config.read_bytes_held_max;
        let mut flow = Flow { whole: range, range, bytes_max, streams, show };
        while flow.begin_pass() {
            let keys: Vec<u32> = flow.streams.iter().map(|stream| stream.key).collect();
            self.visit(&view, device, recent, flow.range, Columns::Only(&keys), |step| match step {
                Step::Rows { rows, epoch } => flow.take_in(rows, epoch).map(|()| false),
                Step::Nothing { nearer_than } => Ok(flow.pass_on(Some(nearer_than))),
            })?;
            flow.pass_on(None);
            flow.end_pass();
        }
        Ok(())
    }
}

struct Flow<'f> {
    /// What is to be shown from this pass on.
    whole: TimeRange,
    /// What this pass shows: less where more would have to be held than is allowed.
    range: TimeRange,
    bytes_max: usize,
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
    /// The time among them that is shown first.
    nearest: Option<Timestamp>,
    /// What both take.
    bytes: usize,
}

impl Flow<'_> {
    /// Whether anything is left to be shown.
    fn begin_pass(&mut self) -> bool {
        self.range = self.whole;
        self.whole.start < self.whole.end && !self.streams.is_empty()
    }

    fn end_pass(&mut self) {
        if self.whole.descending {
            self.whole.end = self.range.start;
        } else {
            self.whole.start = self.range.end;
        }
    }

    fn take_in(&mut self, rows: &Rows<'_>, epoch: u64) -> Result<(), ReadError> {
        let pieces = rows.rows.len().div_ceil(ROWS_AT_ONCE);
        for piece in 0..pieces {
            let piece = if self.range.descending { pieces - 1 - piece } else { piece };
            let first = piece * ROWS_AT_ONCE;
            for stream in &mut self.streams {
                stream.collect(rows, first..first + ROWS_AT_ONCE, self.range, epoch);
            }
            self.shed()?;
        }
        if epoch == RECENT {
            for stream in &mut self.streams {
                stream.settle(self.range.descending);
                stream.recent = stream.pending.drain(..).rev().map(|((ts, _), value)| (ts, value)).collect();
                stream.nearest = None;
            }
        }
        Ok(())
    }

    fn held(&self) -> usize {
        self.streams.iter().map(|stream| stream.bytes).sum()
    }

    /// Leaves the far half of what is held to the next pass, where it is too much.
    fn shed(&mut self) -> Result<(), ReadError> {
        if self.held() <= self.bytes_max {
            return Ok(());
        }
        self.streams.iter_mut().for_each(|stream| stream.settle(self.range.descending));
        while self.held() > self.bytes_max {
            let mut held: Vec<(Timestamp, usize)> = self.streams.iter().flat_map(Stream::weights).collect();
            held.sort_unstable_by_key(|(ts, _)| *ts);
            if self.range.descending {
                held.reverse();
            }
            let nearest = held.first().map(|(ts, _)| *ts);
            let mut bytes = 0;
            let far = held.into_iter().map(|(ts, weight)| {
                bytes += weight;
                (ts, bytes)
            });
            // At least the nearest time stays, or there would be no end of passes.
            let cut =
                far.filter(|(ts, _)| Some(*ts) != nearest).find(|(_, bytes)| *bytes > self.bytes_max / 2);
            let (cut, _) = cut.ok_or(ReadError::TooMuchAtOneTime)?;
            if self.range.descending {
                self.range.start = Timestamp(cut.0.saturating_add(1));
            } else {
                self.range.end = cut;
            }
            self.streams.iter_mut().for_each(|stream| stream.keep(self.range));
        }
        Ok(())
    }

    /// Shows what is settled, as nothing that is nearer than this will come, and says whether nothing more is wanted.
    fn pass_on(&mut self, nearer_than: Option<Timestamp>) -> bool {
        let Self { range, streams, show, .. } = self;
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
        // What is farther than this pass goes is not worth reading in it.
        let is_behind = nearer_than
            .is_some_and(|bound| if descending { bound < range.start } else { bound >= range.end });
        streams.is_empty() || is_behind
    }
}

impl Stream {
    fn new(place: usize, key: u32) -> Self {
        Self { place, key, recent: Vec::new(), pending: Vec::new(), nearest: None, bytes: 0 }
    }

    fn collect(&mut self, rows: &Rows<'_>, piece: Range<usize>, range: TimeRange, epoch: u64) {
        // Where the key stands in each shape; the last place, as the later of two samples with one key wins.
        let places: Vec<Option<usize>> = rows
            .shapes
            .iter()
            .map(|list| list.keys.iter().rposition(|candidate| *candidate == self.key))
            .collect();
        let before = self.pending.len();
        let point = |(index, row): (usize, &crate::chunk::Row)| {
            let place = places.get(row.shape).copied().flatten().filter(|_| range.holds(row.ts))?;
            let value = rows.values_of(row).get(place)?.to_value();
            Some(((row.ts, Place { epoch, index }), value))
        };
        let rows = rows.rows.iter().enumerate().take(piece.end).skip(piece.start);
        if range.descending {
            self.pending.extend(rows.rev().filter_map(point));
        } else {
            self.pending.extend(rows.filter_map(point));
        }
        // Rows are sorted: the first that came in is the nearest of them.
        let Some(fresh) = self.pending.get(before..) else { return };
        self.bytes += fresh.iter().map(|(_, value)| weight(value)).sum::<usize>();
        if let Some(((first, _), _)) = fresh.first() {
            let is_nearer = |held: Timestamp| if range.descending { *first > held } else { *first < held };
            if self.nearest.is_none_or(is_nearer) {
                self.nearest = Some(*first);
            }
        }
    }

    fn has_settled(&self, is_settled: impl Fn(Timestamp) -> bool) -> bool {
        self.recent.last().is_some_and(|(ts, _)| is_settled(*ts)) || self.nearest.is_some_and(is_settled)
    }

    /// When each point is that is held, and what it takes.
    fn weights(&self) -> impl Iterator<Item = (Timestamp, usize)> {
        let recent = self.recent.iter().map(|(ts, value)| (*ts, weight(value)));
        recent.chain(self.pending.iter().map(|((ts, _), value)| (*ts, weight(value))))
    }

    /// Lets go of what is out of the range.
    fn keep(&mut self, range: TimeRange) {
        self.recent.retain(|(ts, _)| range.holds(*ts));
        self.pending.retain(|((ts, _), _)| range.holds(*ts));
        self.bytes = self.weights().map(|(_, weight)| weight).sum();
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
            self.bytes = self.weights().map(|(_, weight)| weight).sum();
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
            let newer = if next == Next::Chunked { None } else { self.recent.pop() };
            let shown = [older.as_ref().map(|(_, value)| value), newer.as_ref().map(|(_, value)| value)];
            self.bytes -= shown.into_iter().flatten().map(weight).sum::<usize>();
            let Some((ts, value)) = newer.or(older.map(|((ts, _), value)| (ts, value))) else { break };
            want = show(self.place, ts, value);
        }
        drop(chunked);
        self.nearest = self.pending.first().map(|((ts, _), _)| *ts);
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
