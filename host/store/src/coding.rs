//! Bytes of one message: variable-length integers, typed values, and rows that lean on the row before them.
//!
//! docs/storage.md shows the same tables. Everything that is read here comes from our own disk, but a damaged
//! disk must not become a panic: every read is checked and ends in `ReadError::Damaged`.

use wireglot_model::{Timestamp, Value};

use crate::error::ReadError;

/// 2020-01-01T00:00:00Z: times of receipt are counted from here, which saves a byte per message.
const ORIGIN_MS: i64 = 1_577_836_800_000;
/// Up to this many decimal places, and with at most 53 significant bits, a double is kept as an integer.
const PLACES_MAX: u8 = 6;
const DIGITS_MAX: f64 = 9_007_199_254_740_992.0;
const POWERS: [f64; 7] = [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6];
const INTEGER_POWERS: [i64; 7] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000];

/// The four-bit kind of a stored value.
mod tag {
    pub(super) const FALSE: u8 = 0;
    pub(super) const TRUE: u8 = 1;
    pub(super) const LONG: u8 = 2;
    pub(super) const DOUBLE: u8 = 3;
    pub(super) const TEXT: u8 = 4;
    pub(super) const JSON: u8 = 5;
    /// Equal to the value at the same place of the row before.
    pub(super) const SAME: u8 = 6;
    /// A long, or a decimal of as many places, as a difference to the same place of the row before.
    pub(super) const STEP: u8 = 7;
    /// 8 to 14: a decimal with 0 to 6 places.
    pub(super) const DECIMAL: u8 = 8;
}

/// A value as it is stored; text still lies in the buffer it came from.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Scalar<'a> {
    Bool(bool),
    Long(i64),
    /// `digits / 10^places`, kept only where that gives back the very same double.
    Decimal {
        digits: i64,
        places: u8,
    },
    Double(f64),
    Text(&'a str),
    Json(&'a str),
}

impl<'a> Scalar<'a> {
    pub(crate) fn of(value: &'a Value) -> Self {
        match value {
            Value::Bool(value) => Scalar::Bool(*value),
            Value::Long(value) => Scalar::Long(*value),
            Value::Double(value) => decimal(*value).unwrap_or(Scalar::Double(*value)),
            Value::Text(text) => Scalar::Text(text),
            Value::Json(text) => Scalar::Json(text),
        }
    }

    pub(crate) fn to_value(self) -> Value {
        match self {
            Scalar::Bool(value) => Value::Bool(value),
            Scalar::Long(value) => Value::Long(value),
            Scalar::Decimal { digits, places } => Value::Double(undecimal(digits, places)),
            Scalar::Double(value) => Value::Double(value),
            Scalar::Text(text) => Value::Text(text.to_owned()),
            Scalar::Json(text) => Value::Json(text.to_owned()),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "`digits` has at most 53 bits: `decimal` made it")]
fn undecimal(digits: i64, places: u8) -> f64 {
    digits as f64 / POWERS.get(usize::from(places)).copied().unwrap_or(f64::NAN)
}

/// The double as a short decimal, if that loses no bit.
///
/// A quotient of two exact integers is rounded once, so every spelling of one decimal gives the same double: trying
/// more places than needed finds it too, and trailing zeros may then be dropped. Three places come first, as few
/// sensors have more.
fn decimal(value: f64) -> Option<Scalar<'static>> {
    if value == 0.0 {
        // Minus zero has no integer.
        return value.is_sign_positive().then_some(Scalar::Decimal { digits: 0, places: 0 });
    }
    let (mut digits, mut places) =
        [3, PLACES_MAX, 0].into_iter().find_map(|places| exactly(value, places))?;
    while places > 0 && digits % 10 == 0 {
        digits /= 10;
        places -= 1;
    }
    Some(Scalar::Decimal { digits, places })
}

#[expect(clippy::cast_possible_truncation, reason = "a digit too many is found out by the comparison")]
fn exactly(value: f64, places: u8) -> Option<(i64, u8)> {
    let scaled = value * POWERS.get(usize::from(places))?;
    // Also false for what is not a number.
    if scaled.abs() < DIGITS_MAX {
        let digits = (scaled + 0.5f64.copysign(scaled)) as i64;
        return (undecimal(digits, places).to_bits() == value.to_bits()).then_some((digits, places));
    }
    None
}

/// Spells `current` with as many places as `previous`, so that the two can be subtracted.
fn aligned<'a>(current: Scalar<'a>, previous: Scalar<'_>) -> Scalar<'a> {
    let (Scalar::Decimal { digits, places }, Scalar::Decimal { places: wanted, .. }) = (current, previous)
    else {
        return current;
    };
    let spelled = wanted
        .checked_sub(places)
        .and_then(|more| INTEGER_POWERS.get(usize::from(more)))
        .and_then(|power| digits.checked_mul(*power))
        .filter(|digits| digits.unsigned_abs() < DIGITS_MAX as u64);
    match spelled {
        Some(digits) => Scalar::Decimal { digits, places: wanted },
        None => current,
    }
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    // Most integers are short, and one append of a known length costs less than several.
    match value {
        0..0x80 => return out.push(value as u8),
        0x80..0x4000 => return out.extend_from_slice(&[value as u8 | 0x80, (value >> 7) as u8]),
        0x4000..0x20_0000 => {
            let bytes = [value as u8 | 0x80, (value >> 7) as u8 | 0x80, (value >> 14) as u8];
            return out.extend_from_slice(&bytes);
        }
        _ => {}
    }
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, (value.wrapping_shl(1) ^ (value >> 63)) as u64);
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads what the `put_…` functions wrote.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

const CUT_SHORT: ReadError = ReadError::Damaged { what: "a record ends too early" };

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn byte(&mut self) -> Result<u8, ReadError> {
        let (&byte, rest) = self.rest.split_first().ok_or(CUT_SHORT)?;
        self.rest = rest;
        Ok(byte)
    }

    pub(crate) fn varint(&mut self) -> Result<u64, ReadError> {
        match self.rest {
            [one, rest @ ..] if *one < 0x80 => {
                self.rest = rest;
                return Ok(u64::from(*one));
            }
            [one, two, rest @ ..] if *two < 0x80 => {
                self.rest = rest;
                return Ok(u64::from(*one & 0x7f) | u64::from(*two) << 7);
            }
            _ => {}
        }
        let mut value = 0u64;
        let mut shift = 0u32;
        loop {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                return Err(ReadError::Damaged { what: "an integer is too long" });
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
            shift += 7;
        }
    }

    pub(crate) fn varint_u32(&mut self) -> Result<u32, ReadError> {
        u32::try_from(self.varint()?).map_err(|_| ReadError::Damaged { what: "an integer is too large" })
    }

    pub(crate) fn signed(&mut self) -> Result<i64, ReadError> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], ReadError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(CUT_SHORT)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(CUT_SHORT)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], ReadError> {
        let count = usize::try_from(self.varint()?).map_err(|_| CUT_SHORT)?;
        self.take(count)
    }

    fn text(&mut self) -> Result<&'a str, ReadError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| ReadError::Damaged { what: "a text is not UTF-8" })
    }
}

/// Writes the values of one row: first all tags, two to a byte, then what the tags need.
pub(crate) struct ValueWriter<'o> {
    out: &'o mut Vec<u8>,
    tags: usize,
    written: usize,
}

impl<'o> ValueWriter<'o> {
    pub(crate) fn new(out: &'o mut Vec<u8>, count: usize) -> Self {
        let tags = out.len();
        out.resize(tags + count.div_ceil(2), 0);
        Self { out, tags, written: 0 }
    }

    /// Writes a value that leans on nothing.
    pub(crate) fn push(&mut self, value: Scalar<'_>) {
        let tag = self.plain(value);
        self.tag(tag);
    }

    /// Writes a value that follows another, and returns it as its reader will see it: the next one leans on that.
    pub(crate) fn push_after<'a>(&mut self, value: Scalar<'a>, before: Scalar<'_>) -> Scalar<'a> {
        let value = aligned(value, before);
        let tag = match (value, before) {
            (value, before) if same(value, before) => tag::SAME,
            (Scalar::Long(new), Scalar::Long(old)) => self.step(new, old),
            (Scalar::Decimal { digits, places }, Scalar::Decimal { digits: old, places: as_before })
                if places == as_before =>
            {
                self.step(digits, old)
            }
            (value, _) => self.plain(value),
        };
        self.tag(tag);
        value
    }

    fn tag(&mut self, tag: u8) {
        let place = self.tags + self.written / 2;
        let byte = self.out.get_mut(place).expect("`new` reserved the tags of `count` values");
        *byte |= tag << (4 * (self.written % 2));
        self.written += 1;
    }

    fn step(&mut self, new: i64, old: i64) -> u8 {
        put_signed(self.out, new.wrapping_sub(old));
        tag::STEP
    }

    fn plain(&mut self, value: Scalar<'_>) -> u8 {
        match value {
            Scalar::Bool(false) => tag::FALSE,
            Scalar::Bool(true) => tag::TRUE,
            Scalar::Long(value) => {
                put_signed(self.out, value);
                tag::LONG
            }
            Scalar::Decimal { digits, places } => {
                put_signed(self.out, digits);
                tag::DECIMAL + places
            }
            Scalar::Double(value) => {
                self.out.extend_from_slice(&value.to_bits().to_le_bytes());
                tag::DOUBLE
            }
            Scalar::Text(text) => {
                put_bytes(self.out, text.as_bytes());
                tag::TEXT
            }
            Scalar::Json(text) => {
                put_bytes(self.out, text.as_bytes());
                tag::JSON
            }
        }
    }
}

/// Equality by bits: `==` on doubles would take minus zero for zero.
fn same(one: Scalar<'_>, other: Scalar<'_>) -> bool {
    match (one, other) {
        (Scalar::Double(one), Scalar::Double(other)) => one.to_bits() == other.to_bits(),
        (one, other) => one == other,
    }
}

/// Which values of a row are read; the others are passed over.
#[derive(Clone, Copy)]
pub(crate) enum Picked<'p> {
    All(usize),
    /// One for each value.
    Some(&'p [bool]),
}

/// Reads the picked values of a row onto the end of `into`; `before` are those of the row before, if it has the same
/// shape.
pub(crate) fn read_values<'a>(
    reader: &mut Reader<'a>,
    picked: Picked<'_>,
    before: std::ops::Range<usize>,
    into: &mut Vec<Scalar<'a>>,
) -> Result<(), ReadError> {
    let count = match picked {
        Picked::All(count) => count,
        Picked::Some(places) => places.len(),
    };
    let tags = reader.take(count.div_ceil(2))?;
    let tags = tags.iter().flat_map(|pair| [pair & 0x0f, pair >> 4]);
    let mut before = before;
    match picked {
        Picked::All(count) => {
            into.reserve(count);
            for tag in tags.take(count) {
                let before = before.next().and_then(|at| into.get(at)).copied();
                into.push(read_value(reader, tag, before)?);
            }
        }
        Picked::Some(places) => {
            for (tag, picked) in tags.zip(places) {
                if *picked {
                    let before = before.next().and_then(|at| into.get(at)).copied();
                    into.push(read_value(reader, tag, before)?);
                } else {
                    pass_over(reader, tag)?;
                }
            }
        }
    }
    Ok(())
}

fn pass_over(reader: &mut Reader<'_>, tag: u8) -> Result<(), ReadError> {
    match tag {
        tag::FALSE | tag::TRUE | tag::SAME => Ok(()),
        tag::DOUBLE => reader.take(8).map(drop),
        tag::TEXT | tag::JSON => reader.bytes().map(drop),
        _ => reader.varint().map(drop),
    }
}

fn read_value<'a>(
    reader: &mut Reader<'a>,
    tag: u8,
    before: Option<Scalar<'a>>,
) -> Result<Scalar<'a>, ReadError> {
    Ok(match tag {
        tag::FALSE => Scalar::Bool(false),
        tag::TRUE => Scalar::Bool(true),
        tag::LONG => Scalar::Long(reader.signed()?),
        tag::DOUBLE => Scalar::Double(f64::from_bits(u64::from_le_bytes(reader.array()?))),
        tag::TEXT => Scalar::Text(reader.text()?),
        tag::JSON => Scalar::Json(reader.text()?),
        tag::SAME => before.ok_or(ReadError::Damaged { what: "a value repeats nothing" })?,
        tag::STEP => {
            let step = reader.signed()?;
            match before {
                Some(Scalar::Long(old)) => Scalar::Long(old.wrapping_add(step)),
                Some(Scalar::Decimal { digits, places }) => {
                    Scalar::Decimal { digits: digits.wrapping_add(step), places }
                }
                Some(Scalar::Bool(_) | Scalar::Double(_) | Scalar::Text(_) | Scalar::Json(_)) | None => {
                    return Err(ReadError::Damaged { what: "a value is a step from nothing" });
                }
            }
        }
        decimal => {
            let places = decimal - tag::DECIMAL;
            if places > PLACES_MAX {
                return Err(ReadError::Damaged { what: "a value of unknown kind" });
            }
            Scalar::Decimal { digits: reader.signed()?, places }
        }
    })
}

/// One value on its own, as attributes and latest values are kept.
pub(crate) fn put_value(out: &mut Vec<u8>, value: Scalar<'_>) {
    ValueWriter::new(out, 1).push(value);
}

pub(crate) fn read_single<'a>(reader: &mut Reader<'a>) -> Result<Scalar<'a>, ReadError> {
    let tag = reader.byte()?;
    read_value(reader, tag, None)
}

/// The two times of a message on their own: receipt since 2020, measurement as a difference to it.
pub(crate) fn put_times(out: &mut Vec<u8>, received: Timestamp, ts: Timestamp) {
    put_signed(out, received.0.wrapping_sub(ORIGIN_MS));
    put_signed(out, ts.0.wrapping_sub(received.0));
}

pub(crate) fn read_times(reader: &mut Reader<'_>) -> Result<(Timestamp, Timestamp), ReadError> {
    let received = reader.signed()?.wrapping_add(ORIGIN_MS);
    let ts = reader.signed()?.wrapping_add(received);
    Ok((Timestamp(received), Timestamp(ts)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes the value alone and after each of the others, reads it back, and counts its bytes alone.
    #[track_caller]
    fn check(value: Value, bytes: usize) {
        let mut out = Vec::new();
        put_value(&mut out, Scalar::of(&value));
        assert_eq!(out.len(), bytes, "{value:?}");
        assert_bits(&read_single(&mut Reader::new(&out)).unwrap().to_value(), &value);
        for before in others() {
            let mut out = Vec::new();
            let mut writer = ValueWriter::new(&mut out, 1);
            let written = writer.push_after(Scalar::of(&value), Scalar::of(&before));
            let mut values = vec![Scalar::of(&before)];
            read_values(&mut Reader::new(&out), Picked::All(1), 0..1, &mut values).unwrap();
            assert_bits(&values[1].to_value(), &value);
            assert!(same(values[1], written), "the writer knows what the reader sees");
        }
    }

    #[track_caller]
    fn assert_bits(found: &Value, expected: &Value) {
        match (found, expected) {
            (Value::Double(found), Value::Double(expected)) => {
                assert_eq!(found.to_bits(), expected.to_bits(), "{found} {expected}");
            }
            (found, expected) => assert_eq!(found, expected),
        }
    }

    fn others() -> Vec<Value> {
        vec![
            Value::Bool(true),
            Value::Long(-3),
            Value::Long(i64::MAX),
            Value::Double(0.0),
            Value::Double(-0.0),
            Value::Double(24.31),
            Value::Double(0.123_456),
            Value::Double(0.1 + 0.2),
            Value::Double(9e15),
            Value::Text("x".to_owned()),
            Value::Json("{}".to_owned()),
        ]
    }

    #[test]
    fn the_page_about_storage_has_every_tag() {
        let page = include_str!("../../../docs/storage.md");
        let kinds = [
            (tag::FALSE, "false"),
            (tag::TRUE, "true"),
            (tag::LONG, "long"),
            (tag::DOUBLE, "double"),
            (tag::TEXT, "text"),
            (tag::JSON, "JSON"),
            (tag::SAME, "the same as"),
            (tag::STEP, "a step from"),
            (tag::DECIMAL, "decimal with 0 to 6 places"),
        ];
        for (tag, kind) in kinds {
            assert!(page.contains(&format!("| {tag} | {kind}")), "{tag} {kind}");
        }
    }

    #[test]
    fn values_come_back_to_the_bit() {
        check(Value::Bool(false), 1);
        check(Value::Bool(true), 1);
        check(Value::Long(0), 2);
        check(Value::Long(-64), 2);
        check(Value::Long(64), 3);
        check(Value::Long(i64::MIN), 11);
        check(Value::Long(i64::MAX), 11);
        check(Value::Text("ä€".to_owned()), 7);
        check(Value::Json("{\"a\":[1]}".to_owned()), 11);
    }

    #[test]
    fn decimals_are_short_and_exact() {
        check(Value::Double(0.0), 2);
        check(Value::Double(24.3), 3);
        check(Value::Double(-24.31), 3);
        check(Value::Double(1_000_000.0), 4);
        check(Value::Double(0.000_001), 2);
        check(Value::Double(9_007_199_254_740_991.0), 9);
    }

    #[test]
    fn other_doubles_keep_their_bits() {
        for double in
            [-0.0, 0.1 + 0.2, 1e300, 5e-324, f64::MAX, f64::INFINITY, f64::NAN, 9_007_199_254_740_992.0, 1e-7]
        {
            check(Value::Double(double), 9);
        }
    }

    #[test]
    fn every_short_decimal_is_found() {
        for power in POWERS {
            for digits in (-50_000..50_000).step_by(7) {
                let value = f64::from(digits) / power;
                assert!(
                    matches!(Scalar::of(&Value::Double(value)), Scalar::Decimal { .. })
                        || value.to_bits() == (-0.0f64).to_bits()
                );
                assert_bits(&Scalar::of(&Value::Double(value)).to_value(), &Value::Double(value));
            }
        }
    }

    #[test]
    fn integers_of_every_length() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1u64 << shift) - 1, u64::MAX >> shift] {
                let mut out = Vec::new();
                put_varint(&mut out, value);
                put_signed(&mut out, value as i64);
                let mut reader = Reader::new(&out);
                assert_eq!(reader.varint().unwrap(), value);
                assert_eq!(reader.signed().unwrap(), value as i64);
                assert!(reader.is_empty());
            }
        }
    }

    #[test]
    fn damaged_bytes_are_an_error_and_never_a_panic() {
        let mut out = Vec::new();
        let mut writer = ValueWriter::new(&mut out, 3);
        writer.push(Scalar::Text("text"));
        writer.push(Scalar::Long(-1_000_000));
        writer.push(Scalar::Double(0.3));
        for place in 0..out.len() {
            for flip in 1..=255u8 {
                let mut damaged = out.clone();
                damaged[place] ^= flip;
                // Whatever it reads, it ends, and has read no more than there is.
                let mut values = Vec::new();
                let read = read_values(&mut Reader::new(&damaged), Picked::All(3), 0..0, &mut values);
                assert!(values.len() <= 3 && (read.is_err() || values.len() == 3));
            }
            let cut = read_values(&mut Reader::new(&out[..place]), Picked::All(3), 0..0, &mut Vec::new());
            assert!(cut.is_err());
        }
        assert!(Reader::new(&[0xff; 11]).varint().is_err());
    }
}
