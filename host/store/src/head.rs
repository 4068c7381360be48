//! The head of a device's series: its latest values as of the last checkpoint, and how far its chunks reach.
//!
//! It is written with the chunks. The latest values of now are the head with the recent messages on top, so nothing
//! has to be kept in memory or updated per message for them.

use std::collections::BTreeMap;

use wireglot_model::Timestamp;

use crate::chunk::{Row, Rows};
use crate::coding::{Reader, Scalar, put_signed, put_value, put_varint, read_single};
use crate::error::ReadError;

#[derive(Default, Debug, PartialEq)]
pub(crate) struct Head<'a> {
    /// No chunk of the device covers more time than this.
    pub(crate) span: u64,
    /// By key: when, and what.
    pub(crate) latest: BTreeMap<u32, (Timestamp, Scalar<'a>)>,
}

impl<'a> Head<'a> {
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::new(bytes);
        let mut head = Self { span: reader.varint()?, latest: BTreeMap::new() };
        while !reader.is_empty() {
            let key = reader.varint_u32()?;
            let ts = Timestamp(reader.signed()?);
            head.latest.insert(key, (ts, read_single(&mut reader)?));
        }
        Ok(head)
    }

    /// The first field alone, which is all that a history needs.
    pub(crate) fn read_span(bytes: &[u8]) -> Result<u64, ReadError> {
        Reader::new(bytes).varint()
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4 + 12 * self.latest.len());
        put_varint(&mut bytes, self.span);
        for (key, (ts, value)) in &self.latest {
            put_varint(&mut bytes, u64::from(*key));
            put_signed(&mut bytes, ts.0);
            put_value(&mut bytes, *value);
        }
        bytes
    }

    /// Brings the latest values up to date with rows that are sorted by time and came later than the head.
    pub(crate) fn fold(&mut self, rows: &Rows<'a>) {
        // Of all rows with one shape only the last counts, so most rows need no look at their values.
        let mut seen = vec![false; rows.shapes.len()];
        let mut lasts: Vec<&Row> = Vec::new();
        let mut unseen = seen.len();
        for row in rows.rows.iter().rev() {
            if unseen == 0 {
                break;
            }
            if let Some(seen) = seen.get_mut(row.shape).filter(|seen| !**seen) {
                *seen = true;
                unseen -= 1;
                lasts.push(row);
            }
        }
        for row in lasts.into_iter().rev() {
            for (key, value) in rows.keys(row.shape).iter().zip(rows.values_of(row)) {
                let entry = self.latest.entry(*key).or_insert((row.ts, *value));
                if entry.0 <= row.ts {
                    *entry = (row.ts, *value);
                }
            }
        }
    }
}
