//! Messages of one device as rows: read from the log's form or from a chunk, sorted, and packed into chunks.
//!
//! A row of a chunk leans on the row before it: times are differences, and a value that changed by little costs a
//! byte. That makes a chunk half as large as the messages it was made of, and still quick to read in full.

use std::ops::Range;
use std::sync::Arc;

use wireglot_model::Timestamp;

use crate::coding::{Picked, Reader, Scalar, ValueWriter, put_signed, put_varint, read_times, read_values};
use crate::dictionary::{Dictionary, NO_STAMP, SPELLED_OUT, Shape};
use crate::error::ReadError;

/// A chunk is closed when it holds this many points, this many bytes, or this much time.
///
/// The bound on time is what a reader has to look back for chunks that begin before its range.
const CHUNK_POINTS: usize = 512;
const CHUNK_BYTES: usize = 64 * 1024;
const CHUNK_SPAN_MS: u64 = 3_600_000;

#[cfg(test)]
thread_local! {
    /// How many chunks this thread has read: what is promised of reads is counted in it.
    pub(crate) static CHUNKS_READ: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// What a row shares with the row before it.
mod shared {
    pub(super) const DELAY: u8 = 1;
    pub(super) const STAMP: u8 = 2;
    pub(super) const SHAPE: u8 = 4;
}

/// Which values are read: a history of one key need not decode the others.
#[derive(Clone, Copy, Default)]
pub(crate) enum Columns<'k> {
    #[default]
    All,
    Only(&'k [u32]),
}

/// Decoded messages; their texts still lie in the bytes they were read from.
#[derive(Default)]
pub(crate) struct Rows<'a> {
    pub(crate) rows: Vec<Row>,
    pub(crate) values: Vec<Scalar<'a>>,
    pub(crate) shapes: Vec<KeyList>,
}

#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) ts: Timestamp,
    pub(crate) received: Timestamp,
    pub(crate) stamp: u32,
    /// Place in `Rows::shapes`.
    pub(crate) shape: usize,
    /// Place in `Rows::values`.
    pub(crate) values: Range<usize>,
}

/// The keys of a row, and how they are written.
#[derive(Clone, Debug)]
pub(crate) struct KeyList {
    shape: Shape,
    /// Those that were read.
    pub(crate) keys: Arc<[u32]>,
    /// Which of all keys those are; empty where they are all.
    picked: Vec<bool>,
}

impl KeyList {
    fn new(shape: Shape, keys: Arc<[u32]>, columns: Columns<'_>) -> Self {
        let Columns::Only(only) = columns else { return Self { shape, keys, picked: Vec::new() } };
        let picked = keys.iter().map(|key| only.contains(key)).collect();
        let keys = keys.iter().copied().filter(|key| only.contains(key)).collect();
        Self { shape, keys, picked }
    }

    fn picked(&self) -> Picked<'_> {
        if self.picked.is_empty() { Picked::All(self.keys.len()) } else { Picked::Some(&self.picked) }
    }

    fn same_as(&self, other: &Self) -> bool {
        match (&self.shape, &other.shape) {
            (Shape::Known(one), Shape::Known(other)) => one == other,
            (Shape::SpelledOut(one), Shape::SpelledOut(other)) => one == other,
            (Shape::Known(_), Shape::SpelledOut(_)) | (Shape::SpelledOut(_), Shape::Known(_)) => false,
        }
    }
}

impl<'a> Rows<'a> {
    /// Reads messages as the log has them, each with its length.
    pub(crate) fn read_tail(
        bodies: &'a [u8],
        dictionary: &Dictionary,
        columns: Columns<'_>,
    ) -> Result<Self, ReadError> {
        let mut rows = Self::default();
        let mut reader = Reader::new(bodies);
        while !reader.is_empty() {
            let mut body = Reader::new(reader.bytes()?);
            let (received, ts) = read_times(&mut body)?;
            let stamp = body.varint_u32()?;
            let shape = rows.read_shape(&mut body, dictionary, columns)?;
            let values = rows.read_row_values(&mut body, shape, 0..0)?;
            rows.rows.push(Row { ts, received, stamp, shape, values });
        }
        Ok(rows)
    }

    /// Reads a chunk that begins at `first`.
    pub(crate) fn read_chunk(
        first: Timestamp,
        chunk: &'a [u8],
        dictionary: &Dictionary,
        columns: Columns<'_>,
    ) -> Result<Self, ReadError> {
        #[cfg(test)]
        CHUNKS_READ.set(CHUNKS_READ.get() + 1);
        let mut rows = Self::default();
        let mut reader = Reader::new(chunk);
        let (_, count) = read_header(&mut reader)?;
        // Bounded by what is there: a damaged count must not reserve the world.
        rows.rows.reserve(usize::try_from(count).unwrap_or(0).min(chunk.len()));
        let (mut ts, mut delay, mut stamp) = (first.0, 0i64, NO_STAMP);
        let mut before: Option<(usize, Range<usize>)> = None;
        for _ in 0..count {
            let flags = reader.byte()?;
            ts = ts.wrapping_add(reader.varint()? as i64);
            if flags & shared::DELAY == 0 {
                delay = delay.wrapping_add(reader.signed()?);
            }
            if flags & shared::STAMP == 0 {
                stamp = reader.varint_u32()?;
            }
            let (shape, previous) = match (flags & shared::SHAPE, before) {
                (0, _) => (rows.read_shape(&mut reader, dictionary, columns)?, 0..0),
                (_, Some(before)) => before,
                (_, None) => return Err(ReadError::Damaged { what: "a chunk begins with a repetition" }),
            };
            let values = rows.read_row_values(&mut reader, shape, previous)?;
            before = Some((shape, values.clone()));
            let received = Timestamp(ts.wrapping_add(delay));
            rows.rows.push(Row { ts: Timestamp(ts), received, stamp, shape, values });
        }
        Ok(rows)
    }

    fn read_shape(
        &mut self,
        reader: &mut Reader<'a>,
        dictionary: &Dictionary,
        columns: Columns<'_>,
    ) -> Result<usize, ReadError> {
        let number = reader.varint_u32()?;
        if number != SPELLED_OUT {
            let known = |list: &KeyList| matches!(list.shape, Shape::Known(known) if known == number);
            // The last one first: a device mostly says the same thing again.
            if let Some(place) = self.shapes.iter().rposition(known) {
                return Ok(place);
            }
            self.shapes.push(KeyList::new(Shape::Known(number), dictionary.shape(number)?, columns));
            return Ok(self.shapes.len() - 1);
        }
        let count = reader.varint()?;
        let keys = (0..count).map(|_| reader.varint_u32()).collect::<Result<Arc<[u32]>, ReadError>>()?;
        self.shapes.push(KeyList::new(Shape::SpelledOut(keys.clone()), keys, columns));
        Ok(self.shapes.len() - 1)
    }

    fn read_row_values(
        &mut self,
        reader: &mut Reader<'a>,
        shape: usize,
        previous: Range<usize>,
    ) -> Result<Range<usize>, ReadError> {
        let picked = self.shapes.get(shape).map_or(Picked::All(0), KeyList::picked);
        let start = self.values.len();
        read_values(reader, picked, previous, &mut self.values)?;
        Ok(start..self.values.len())
    }

    pub(crate) fn keys(&self, shape: usize) -> &[u32] {
        self.shapes.get(shape).map_or(&[], |list| &list.keys)
    }

    pub(crate) fn values_of(&self, row: &Row) -> &[Scalar<'a>] {
        self.values.get(row.values.clone()).unwrap_or_default()
    }

    /// Takes some keys out of the rows that are meant, and rows that have no other out as a whole. How many values went.
    pub(crate) fn take_out(&mut self, keys: &[u32], is_meant: impl Fn(&Row) -> bool) -> u64 {
        let mut went = 0;
        // What is left of each shape: spelled out, because a new definition would have to be durable before the chunk.
        let left: Vec<Vec<bool>> = self
            .shapes
            .iter()
            .map(|list| list.keys.iter().map(|key| !keys.contains(key)).collect())
            .collect();
        let mut shortened: Vec<Option<usize>> = vec![None; left.len()];
        let mut rows = std::mem::take(&mut self.rows);
        rows.retain_mut(|row| {
            let Some(stays) = left.get(row.shape) else { return true };
            let staying = stays.iter().filter(|stays| **stays).count();
            if staying == stays.len() || !is_meant(row) {
                return true;
            }
            went += (stays.len() - staying) as u64;
            self.shorten(row, stays, &mut shortened);
            staying > 0
        });
        self.rows = rows;
        went
    }

    fn shorten(&mut self, row: &mut Row, stays: &[bool], shortened: &mut [Option<usize>]) {
        let kept: Vec<Scalar<'a>> = self
            .values_of(row)
            .iter()
            .zip(stays)
            .filter(|(_, stays)| **stays)
            .map(|(value, _)| *value)
            .collect();
        let start = self.values.len();
        self.values.extend(kept);
        row.values = start..self.values.len();
        let Some(known) = shortened.get_mut(row.shape) else { return };
        row.shape = *known.get_or_insert_with(|| {
            let old = self.shapes.get(row.shape).map_or(&[][..], |list| &list.keys);
            let keys: Arc<[u32]> =
                old.iter().zip(stays).filter(|(_, stays)| **stays).map(|(key, _)| *key).collect();
            self.shapes.push(KeyList::new(Shape::SpelledOut(keys.clone()), keys, Columns::All));
            self.shapes.len() - 1
        });
    }

    /// By time; rows of the same time stay in the order in which they came.
    pub(crate) fn sort(&mut self) {
        if !self.rows.is_sorted_by_key(|row| row.ts) {
            self.rows.sort_by_key(|row| row.ts);
        }
    }
}

/// One packed chunk.
#[derive(Debug, PartialEq)]
pub(crate) struct Packed {
    pub(crate) first: Timestamp,
    /// From the first message to the last.
    pub(crate) span: u64,
    pub(crate) bytes: Vec<u8>,
}

/// How long the chunk's time is, and how many messages it has.
pub(crate) fn read_header(reader: &mut Reader<'_>) -> Result<(u64, u64), ReadError> {
    Ok((reader.varint()?, reader.varint()?))
}

/// Packs sorted rows.
pub(crate) fn pack(rows: &Rows<'_>) -> Vec<Packed> {
    let mut chunks = Vec::new();
    let mut packer: Option<Packer<'_, '_>> = None;
    for row in &rows.rows {
        if let Some(full) = packer.take_if(|packer| packer.is_full(row)) {
            chunks.push(full.finish());
        }
        packer.get_or_insert_with(|| Packer::new(rows, row.ts)).push(row);
    }
    chunks.extend(packer.map(Packer::finish));
    chunks
}

struct Packer<'r, 'a> {
    rows: &'r Rows<'a>,
    first: Timestamp,
    last: Timestamp,
    delay: i64,
    stamp: u32,
    shape: Option<usize>,
    /// The values of the row before, as its reader sees them.
    before: Vec<Scalar<'a>>,
    messages: u64,
    points: usize,
    body: Vec<u8>,
}

impl<'r, 'a> Packer<'r, 'a> {
    fn new(rows: &'r Rows<'a>, first: Timestamp) -> Self {
        Self {
            rows,
            first,
            last: first,
            delay: 0,
            stamp: NO_STAMP,
            shape: None,
            before: Vec::new(),
            messages: 0,
            points: 0,
            body: Vec::with_capacity(2 * CHUNK_POINTS),
        }
    }

    fn is_full(&self, next: &Row) -> bool {
        self.points >= CHUNK_POINTS
            || self.body.len() >= CHUNK_BYTES
            || next.ts.0.wrapping_sub(self.first.0) as u64 > CHUNK_SPAN_MS
    }

    fn push(&mut self, row: &Row) {
        let delay = row.received.0.wrapping_sub(row.ts.0);
        let list = |shape: usize| self.rows.shapes.get(shape);
        let same_shape = match (self.shape.and_then(list), list(row.shape)) {
            (Some(before), Some(now)) => self.shape == Some(row.shape) || before.same_as(now),
            (None, _) | (_, None) => false,
        };
        let mut flags = 0;
        flags |= if delay == self.delay { shared::DELAY } else { 0 };
        flags |= if row.stamp == self.stamp { shared::STAMP } else { 0 };
        flags |= if same_shape { shared::SHAPE } else { 0 };
        self.body.push(flags);
        put_varint(&mut self.body, row.ts.0.wrapping_sub(self.last.0) as u64);
        if delay != self.delay {
            put_signed(&mut self.body, delay.wrapping_sub(self.delay));
        }
        if row.stamp != self.stamp {
            put_varint(&mut self.body, u64::from(row.stamp));
        }
        if !same_shape {
            self.before.clear();
            if let Some(list) = self.rows.shapes.get(row.shape) {
                put_shape(&mut self.body, &list.shape);
            }
        }
        let values = self.rows.values_of(row);
        self.before.resize(values.len(), Scalar::Bool(false));
        let mut writer = ValueWriter::new(&mut self.body, values.len());
        for (value, before) in values.iter().zip(&mut self.before) {
            if same_shape {
                *before = writer.push_after(*value, *before);
            } else {
                writer.push(*value);
                *before = *value;
            }
        }
        (self.last, self.delay, self.stamp, self.shape) = (row.ts, delay, row.stamp, Some(row.shape));
        self.messages += 1;
        self.points += values.len();
    }

    fn finish(self) -> Packed {
        let span = self.last.0.wrapping_sub(self.first.0) as u64;
        let mut bytes = Vec::with_capacity(self.body.len() + 8);
        put_varint(&mut bytes, span);
        put_varint(&mut bytes, self.messages);
        bytes.extend_from_slice(&self.body);
        Packed { first: self.first, span, bytes }
    }
}

fn put_shape(out: &mut Vec<u8>, shape: &Shape) {
    match shape {
        Shape::Known(number) => put_varint(out, u64::from(*number)),
        Shape::SpelledOut(keys) => {
            put_varint(out, u64::from(SPELLED_OUT));
            put_varint(out, keys.len() as u64);
            keys.iter().for_each(|key| put_varint(out, u64::from(*key)));
        }
    }
}
