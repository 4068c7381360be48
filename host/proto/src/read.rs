//! Bytes → samples, by the shape of their message.
//!
//! Fields of one scalar are read from the wire straight into values. The bytes of all others are gathered as they came and
//! read by way of a dynamic message, so that merging, packing and the members of a oneof are as the library has them.

use std::borrow::Cow;

use prost::DecodeError;
use prost::encoding::WireType;
use prost_reflect::{DynamicMessage, Kind, Value as Proto};
use wireglot_model::limits::PROTO_DEPTH_MAX;
use wireglot_model::number::{cast, integer, truncated};
use wireglot_model::{Measurement, Sample, Timestamp, Value};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::ProtoRefusal;
use crate::print::{Printer, double, float, unsigned};
use crate::shape::{Field, Reading, Shape, Timed};

type Problem = &'static str;

const CUT_SHORT: Problem = "the bytes end within a field";
const WRONG_TYPE: Problem = "a field is of another type than the schema says";

/// The record of a telemetry message: timestamped if it has `ts` and `values` and both are there.
pub(crate) fn measurement(shape: &Shape, payload: &[u8]) -> Result<Measurement, ProtoRefusal> {
    if let Some(timed) = &shape.timed {
        let record = match &timed.inner {
            Some(inner) => direct_record(shape, timed, inner, payload)?,
            None => dynamic_record(shape, timed, payload)?,
        };
        if let Some(record) = record {
            return Ok(record);
        }
    }
    Ok(Measurement { ts: None, samples: samples(shape, payload)? })
}

/// All fields of a message.
pub(crate) fn samples(shape: &Shape, payload: &[u8]) -> Result<Vec<Sample>, ProtoRefusal> {
    let mut reader = Reader::new(shape);
    reader.merge(payload, None).map_err(|problem| malformed(shape, problem))?;
    reader.finish()
}

fn malformed(shape: &Shape, problem: impl ToString) -> ProtoRefusal {
    ProtoRefusal::malformed(shape.descriptor.full_name(), problem)
}

/// `values` is a message of its own fields, which are read in the same pass.
fn direct_record(
    shape: &Shape,
    timed: &Timed,
    inner: &Shape,
    payload: &[u8],
) -> Result<Option<Measurement>, ProtoRefusal> {
    let mut outer = Reader::new(shape);
    let mut values = Values { number: timed.values.number(), reader: Reader::new(inner), is_there: false };
    outer.merge(payload, Some(&mut values)).map_err(|problem| malformed(shape, problem))?;
    if !values.is_there {
        return Ok(None);
    }
    let place = shape.place(timed.ts.number());
    let ts = match place.and_then(|place| shape.fields.get(place).zip(outer.slots.get_mut(place))) {
        Some((Field { reading: Reading::Dynamic(_), .. }, _)) | None => {
            return dynamic_record(shape, timed, payload);
        }
        Some((field, slot)) => slot.take().or_else(|| field.absent.clone()),
    };
    let Some(ts) = ts else { return Ok(None) };
    let ts = timestamp(shape, &ts)?;
    Ok(Some(Measurement { ts: Some(ts), samples: values.reader.finish()? }))
}

fn dynamic_record(shape: &Shape, timed: &Timed, payload: &[u8]) -> Result<Option<Measurement>, ProtoRefusal> {
    let message = DynamicMessage::decode(shape.descriptor.clone(), payload)
        .map_err(|error: DecodeError| malformed(shape, error))?;
    let is_there =
        |field: &prost_reflect::FieldDescriptor| !field.supports_presence() || message.has_field(field);
    if !is_there(&timed.ts) || !is_there(&timed.values) {
        return Ok(None);
    }
    let mut printer = Printer::new(&shape.names);
    let ts = printer.typed(&timed.ts.kind(), &message.get_field(&timed.ts));
    // A null is there, but no time.
    let ts =
        timestamp(shape, &ts.map_err(|problem| malformed(shape, problem))?.unwrap_or(Value::Bool(false)))?;
    let (kind, values): (Kind, Cow<'_, Proto>) = (timed.values.kind(), message.get_field(&timed.values));
    match printer.members(&kind, &values).map_err(|problem| malformed(shape, problem))? {
        Some(samples) if !timed.values.is_list() => Ok(Some(Measurement { ts: Some(ts), samples })),
        Some(_) | None => {
            let problem = "the values of a timestamped record must be an object";
            Err(ProtoRefusal::content(shape.descriptor.full_name(), "values", problem))
        }
    }
}

/// As in JSON (device API §8.2): a number, or an integer in a text.
fn timestamp(shape: &Shape, value: &Value) -> Result<Timestamp, ProtoRefusal> {
    let millis = match value {
        Value::Long(long) => Some(*long),
        Value::Double(_) => truncated(&value.to_text().replace('E', "e")),
        Value::Text(text) => integer(text),
        Value::Bool(_) | Value::Json(_) => None,
    };
    let problem = "the time must be a 64-bit integer, in milliseconds since 1970";
    millis.map(Timestamp).ok_or_else(|| ProtoRefusal::content(shape.descriptor.full_name(), "ts", problem))
}

/// The values of one message as they come in.
struct Reader<'s> {
    shape: &'s Shape,
    /// One for each field of the shape.
    slots: Vec<Option<Value>>,
    /// The fields that are not read here, with their keys.
    dynamic: Vec<u8>,
}

/// The `values` of a timestamped record, read while the record is.
struct Values<'s> {
    number: u32,
    reader: Reader<'s>,
    is_there: bool,
}

impl<'s> Reader<'s> {
    fn new(shape: &'s Shape) -> Self {
        Self {
            shape,
            slots: std::iter::repeat_with(|| None).take(shape.fields.len()).collect(),
            dynamic: Vec::new(),
        }
    }

    /// Reads a message on top of what was read before: a later value of a field replaces an earlier one.
    fn merge(&mut self, payload: &[u8], mut values: Option<&mut Values<'_>>) -> Result<(), Problem> {
        let mut wire = Wire { rest: payload };
        while !wire.rest.is_empty() {
            let start = wire.rest;
            let (number, kind) = wire.key()?;
            if let Some(values) = values.as_deref_mut()
                && values.number == number
            {
                values.is_there = true;
                values.reader.merge(wire.delimited(kind)?, None)?;
                continue;
            }
            let Some(place) = self.shape.place(number) else {
                wire.skip(number, kind, 0)?;
                continue;
            };
            let (Some(field), Some(slot)) = (self.shape.fields.get(place), self.slots.get_mut(place)) else {
                continue;
            };
            if let Reading::Dynamic(on_wire) = field.reading {
                // The library reads a map as one whatever its type on the wire.
                let is_packed = on_wire.may_be_packed && kind == WireType::LengthDelimited;
                if kind != on_wire.own && !is_packed {
                    return Err(WRONG_TYPE);
                }
                wire.skip(number, kind, 0)?;
                let length = start.len() - wire.rest.len();
                self.dynamic.extend_from_slice(start.get(..length).unwrap_or_default());
            } else {
                *slot = Some(wire.scalar(&field.reading, kind)?);
            }
        }
        Ok(())
    }

    /// What was sent and what is printed without having been sent, in the order of the numbers.
    fn finish(self) -> Result<Vec<Sample>, ProtoRefusal> {
        let shape = self.shape;
        let message = match self.dynamic.is_empty() {
            true => None,
            false => Some(
                DynamicMessage::decode(shape.descriptor.clone(), self.dynamic.as_slice())
                    .map_err(|error: DecodeError| malformed(shape, error))?,
            ),
        };
        let mut printer = Printer::new(&shape.names);
        let mut samples = Vec::with_capacity(shape.fields.len());
        for (field, slot) in shape.fields.iter().zip(self.slots) {
            if !field.is_stored {
                continue;
            }
            let value = match (&field.reading, &message) {
                (Reading::Dynamic(_), Some(message)) if message.has_field(&field.descriptor) => {
                    let value = message.get_field(&field.descriptor);
                    let typed = printer.typed(&field.descriptor.kind(), &value);
                    typed.map_err(|problem| malformed(shape, problem))?
                }
                _ => slot.or_else(|| field.absent.clone()),
            };
            if let Some(value) = value {
                samples.push(Sample { key: field.key.to_string(), value });
            }
        }
        Ok(samples)
    }
}

/// The rest of a message.
struct Wire<'a> {
    rest: &'a [u8],
}

impl<'a> Wire<'a> {
    #[inline]
    fn varint(&mut self) -> Result<u64, Problem> {
        match self.rest {
            [byte, rest @ ..] if *byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Problem> {
        let mut value = 0u64;
        for (index, byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if *byte < 0x80 {
                if index == 9 && *byte > 1 {
                    break;
                }
                self.rest = self.rest.get(index + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        Err(if self.rest.len() < 10 { CUT_SHORT } else { "a number is longer than 64 bits" })
    }

    fn key(&mut self) -> Result<(u32, WireType), Problem> {
        let key = u32::try_from(self.varint()?).map_err(|_| "a field number is out of range")?;
        let kind = match key & 7 {
            0 => WireType::Varint,
            1 => WireType::SixtyFourBit,
            2 => WireType::LengthDelimited,
            3 => WireType::StartGroup,
            4 => WireType::EndGroup,
            5 => WireType::ThirtyTwoBit,
            _ => return Err("a field is of a type that does not exist"),
        };
        match key >> 3 {
            0 => Err("a field number is out of range"),
            number => Ok((number, kind)),
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or(CUT_SHORT)?;
        self.rest = rest;
        Ok(*bytes)
    }

    fn delimited(&mut self, kind: WireType) -> Result<&'a [u8], Problem> {
        if kind != WireType::LengthDelimited {
            return Err(WRONG_TYPE);
        }
        let length = usize::try_from(self.varint()?).map_err(|_| CUT_SHORT)?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(CUT_SHORT)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn number(&mut self, kind: WireType) -> Result<u64, Problem> {
        if kind == WireType::Varint { self.varint() } else { Err(WRONG_TYPE) }
    }

    fn thirty_two(&mut self, kind: WireType) -> Result<[u8; 4], Problem> {
        if kind == WireType::ThirtyTwoBit { self.take() } else { Err(WRONG_TYPE) }
    }

    fn sixty_four(&mut self, kind: WireType) -> Result<[u8; 8], Problem> {
        if kind == WireType::SixtyFourBit { self.take() } else { Err(WRONG_TYPE) }
    }

    /// A varint of a 32-bit type is as long as it likes; only its last 32 bits count.
    #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "as protobuf defines it")]
    fn scalar(&mut self, reading: &Reading, kind: WireType) -> Result<Value, Problem> {
        Ok(match reading {
            Reading::Bool => Value::Bool(self.number(kind)? != 0),
            Reading::Int32 => Value::Long(i64::from(self.number(kind)? as i32)),
            Reading::Int64 => Value::Long(self.number(kind)? as i64),
            Reading::Uint32 => Value::Long(i64::from(self.number(kind)? as u32)),
            Reading::Uint64 => unsigned(self.number(kind)?),
            Reading::Sint32 => {
                let number = self.number(kind)? as u32;
                Value::Long(i64::from((number >> 1) as i32 ^ -((number & 1) as i32)))
            }
            Reading::Sint64 => {
                let number = self.number(kind)?;
                Value::Long((number >> 1) as i64 ^ -((number & 1) as i64))
            }
            Reading::Fixed32 => Value::Long(i64::from(u32::from_le_bytes(self.thirty_two(kind)?))),
            Reading::Sfixed32 => Value::Long(i64::from(i32::from_le_bytes(self.thirty_two(kind)?))),
            Reading::Fixed64 => unsigned(u64::from_le_bytes(self.sixty_four(kind)?)),
            Reading::Sfixed64 => Value::Long(i64::from_le_bytes(self.sixty_four(kind)?)),
            Reading::Float => float(f32::from_le_bytes(self.thirty_two(kind)?)),
            Reading::Double => double(f64::from_le_bytes(self.sixty_four(kind)?)),
            Reading::Text => {
                let text = std::str::from_utf8(self.delimited(kind)?);
                cast(text.map_err(|_| "a text is not UTF-8")?.into())
            }
            Reading::Bytes => Value::Text(BASE64_STANDARD.encode(self.delimited(kind)?)),
            Reading::Enum(names) => {
                let number = self.number(kind)? as i32;
                match names.get(&number) {
                    Some(name) => Value::Text(name.to_string()),
                    None => Value::Long(i64::from(number)),
                }
            }
            Reading::Dynamic(_) => return Err(WRONG_TYPE),
        })
    }

    /// Over a field that is not read here. A group ends with the number that it began with.
    fn skip(&mut self, number: u32, kind: WireType, depth: usize) -> Result<(), Problem> {
        if depth == PROTO_DEPTH_MAX {
            return Err("groups are nested too deeply");
        }
        match kind {
            WireType::Varint => self.varint().map(drop),
            WireType::SixtyFourBit => self.take::<8>().map(drop),
            WireType::ThirtyTwoBit => self.take::<4>().map(drop),
            WireType::LengthDelimited => self.delimited(kind).map(drop),
            WireType::EndGroup => Err("a group ends that has not begun"),
            WireType::StartGroup => loop {
                match self.key()? {
                    (end, WireType::EndGroup) if end == number => return Ok(()),
                    (inner, kind) => self.skip(inner, kind, depth + 1)?,
                }
            },
        }
    }
}
