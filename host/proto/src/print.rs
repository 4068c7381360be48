//! Proto3 JSON as upstream prints it, and what a printed value is stored as.
//!
//! A message is printed with its fields in the order of their numbers; what has no presence is printed with its default,
//! what has one only when it was set. Numbers are spelled as the server spells them everywhere.

use std::borrow::Cow;

use std::fmt::{self, Write as _};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use prost_reflect::{DynamicMessage, Kind, MapKey, MessageDescriptor, ReflectMessage as _, Value as Proto};
use wireglot_model::limits::{PROTO_DEPTH_MAX, PROTO_JSON_BYTES_MAX};
use wireglot_model::number::{cast, positive_zero};
use wireglot_model::value::write_json_string;
use wireglot_model::{Sample, Value, is_storable_key};

use crate::shape::{AliasNames, is_null};

type Problem = &'static str;

const TOO_LARGE: Problem = "its nested values are more than 1 MiB of JSON";
const TOO_DEEP: Problem = "its values are nested too deeply";

/// A well-known type that is not printed as the object that it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Special {
    /// Printed as what it wraps: its only field.
    Transparent,
    /// `google.protobuf.Value`: printed as whichever of its fields is set.
    AnyJson,
    /// A text with rules of its own.
    Text,
    /// A message of any type, with the name of that type.
    Any,
}

impl Special {
    pub(crate) fn of(message: &MessageDescriptor) -> Option<Self> {
        match message.full_name().strip_prefix("google.protobuf.")? {
            "BoolValue" | "Int32Value" | "Int64Value" | "UInt32Value" | "UInt64Value" | "FloatValue"
            | "DoubleValue" | "StringValue" | "BytesValue" | "Struct" | "ListValue" => {
                Some(Self::Transparent)
            }
            "Value" => Some(Self::AnyJson),
            "Timestamp" | "Duration" | "FieldMask" => Some(Self::Text),
            "Any" => Some(Self::Any),
            _ => None,
        }
    }
}

/// Prints the values of one message, all of them together within bounds.
pub(crate) struct Printer<'a> {
    names: &'a AliasNames,
    bytes: usize,
    depth: usize,
}

impl<'a> Printer<'a> {
    pub(crate) fn new(names: &'a AliasNames) -> Self {
        Self { names, bytes: 0, depth: 0 }
    }

    /// What a value is stored as; `None` for null, which is not stored.
    pub(crate) fn typed(&mut self, kind: &Kind, value: &Proto) -> Result<Option<Value>, Problem> {
        Ok(Some(match value {
            Proto::Bool(value) => Value::Bool(*value),
            Proto::I32(value) => Value::Long(i64::from(*value)),
            Proto::U32(value) => Value::Long(i64::from(*value)),
            Proto::I64(value) => Value::Long(*value),
            Proto::U64(value) => unsigned(*value),
            Proto::F32(value) => float(*value),
            Proto::F64(value) => double(*value),
            Proto::String(text) => cast(text.as_str().into()),
            Proto::Bytes(bytes) => Value::Text(BASE64_STANDARD.encode(bytes)),
            Proto::EnumNumber(number) => match kind {
                Kind::Enum(kind) if is_null(kind) => return Ok(None),
                Kind::Enum(kind) => match self.names.name(kind, *number) {
                    Some(name) => Value::Text(name),
                    None => Value::Long(i64::from(*number)),
                },
                _ => Value::Long(i64::from(*number)),
            },
            Proto::List(_) | Proto::Map(_) => self.json(kind, value)?,
            Proto::Message(message) => match Special::of(&message.descriptor()) {
                Some(Special::Transparent | Special::AnyJson) => match self.held(message) {
                    Some((kind, held)) => return self.deeper(|printer| printer.typed(&kind, &held)),
                    None => return Ok(None),
                },
                Some(Special::Text) => Value::Text(text(message)?),
                Some(Special::Any) | None => self.json(kind, value)?,
            },
        }))
    }

    /// The members that a value has as a JSON object; `None` if it is none.
    pub(crate) fn members(&mut self, kind: &Kind, value: &Proto) -> Result<Option<Vec<Sample>>, Problem> {
        let mut samples = Vec::new();
        match value {
            Proto::Map(entries) => {
                let value_kind = map_value_kind(kind);
                for (key, value) in sorted(entries) {
                    let key = key_text(key);
                    if let Some(value) = self.typed(&value_kind, value)?
                        && is_storable_key(&key)
                    {
                        samples.push(Sample { key, value });
                    }
                }
            }
            Proto::Message(message) => match Special::of(&message.descriptor()) {
                Some(Special::Transparent | Special::AnyJson) => {
                    return match self.held(message) {
                        Some((kind, held)) => self.deeper(|printer| printer.members(&kind, &held)),
                        None => Ok(None),
                    };
                }
                Some(Special::Text | Special::Any) => return Ok(None),
                None => {
                    for field in message.descriptor().fields() {
                        if field.supports_presence() && !message.has_field(&field) {
                            continue;
                        }
                        if let Some(value) = self.typed(&field.kind(), &message.get_field(&field))?
                            && is_storable_key(field.json_name())
                        {
                            samples.push(Sample { key: field.json_name().to_owned(), value });
                        }
                    }
                }
            },
            _ => return Ok(None),
        }
        Ok(Some(samples))
    }

    fn json(&mut self, kind: &Kind, value: &Proto) -> Result<Value, Problem> {
        let mut out = String::new();
        self.value(kind, value, &mut out)?;
        self.bytes += out.len();
        Ok(Value::Json(out))
    }

    /// The whole message as a JSON object.
    pub(crate) fn message(&mut self, message: &DynamicMessage, out: &mut String) -> Result<(), Problem> {
        out.push('{');
        self.fields(message, out)?;
        out.push('}');
        Ok(())
    }

    fn fields(&mut self, message: &DynamicMessage, out: &mut String) -> Result<(), Problem> {
        for field in message.descriptor().fields() {
            if field.supports_presence() && !message.has_field(&field) {
                continue;
            }
            let (kind, value) = (field.kind(), message.get_field(&field));
            if self.is_null(&kind, &value) {
                continue;
            }
            separate(out);
            write_json_string(field.json_name(), out);
            out.push(':');
            self.value(&kind, &value, out)?;
        }
        Ok(())
    }

    fn value(&mut self, kind: &Kind, value: &Proto, out: &mut String) -> Result<(), Problem> {
        if self.bytes + out.len() > PROTO_JSON_BYTES_MAX {
            return Err(TOO_LARGE);
        }
        match value {
            Proto::List(elements) => {
                out.push('[');
                for element in elements {
                    separate(out);
                    self.deeper(|printer| printer.value(kind, element, out))?;
                }
                out.push(']');
            }
            Proto::Map(entries) => self.map(kind, entries, out)?,
            Proto::Message(message) => self.deeper(|printer| printer.nested(message, out))?,
            Proto::Bool(_) | Proto::I32(_) | Proto::U32(_) => write_plain(value, out),
            Proto::I64(long) => push(out, format_args!("\"{long}\"")),
            Proto::U64(long) => push(out, format_args!("\"{long}\"")),
            Proto::F32(_) | Proto::F64(_) | Proto::String(_) | Proto::Bytes(_) | Proto::EnumNumber(_) => {
                self.scalar(kind, value, out)?;
            }
        }
        Ok(())
    }

    fn scalar(&mut self, kind: &Kind, value: &Proto, out: &mut String) -> Result<(), Problem> {
        match value {
            // A text stays one inside of JSON, whatever it looks like.
            Proto::String(text) => write_json_string(text, out),
            other => match self.typed(kind, other)? {
                Some(value) => value.write_json(out),
                None => out.push_str("null"),
            },
        }
        Ok(())
    }

    fn map(
        &mut self,
        kind: &Kind,
        entries: &std::collections::HashMap<MapKey, Proto>,
        out: &mut String,
    ) -> Result<(), Problem> {
        let value_kind = map_value_kind(kind);
        out.push('{');
        for (key, value) in sorted(entries) {
            if self.is_null(&value_kind, value) {
                continue;
            }
            separate(out);
            write_json_string(&key_text(key), out);
            out.push(':');
            self.deeper(|printer| printer.value(&value_kind, value, out))?;
        }
        out.push('}');
        Ok(())
    }

    fn nested(&mut self, message: &DynamicMessage, out: &mut String) -> Result<(), Problem> {
        match Special::of(&message.descriptor()) {
            None => self.message(message, out),
            Some(Special::Transparent | Special::AnyJson) => match self.held(message) {
                Some((kind, held)) => self.value(&kind, &held, out),
                None => {
                    out.push_str("null");
                    Ok(())
                }
            },
            Some(Special::Text) => {
                write_json_string(&text(message)?, out);
                Ok(())
            }
            Some(Special::Any) => self.any(message, out),
        }
    }

    /// `{"@type":…}` with the fields of the message inside, or with its `value` where it is not printed as an object.
    fn any(&mut self, message: &DynamicMessage, out: &mut String) -> Result<(), Problem> {
        let (url, payload) = match (message.get_field_by_number(1), message.get_field_by_number(2)) {
            (Some(url), Some(payload)) => (url, payload),
            (None, _) | (_, None) => return Err("its Any is another message than google.protobuf.Any"),
        };
        let (Some(url), Some(payload)) = (url.as_str(), payload.as_bytes()) else {
            return Err("its Any is another message than google.protobuf.Any");
        };
        if url.is_empty() && payload.is_empty() {
            out.push_str("{}");
            return Ok(());
        }
        let name = url.rsplit('/').next().unwrap_or_default();
        let pool = message.descriptor().parent_pool().clone();
        let known =
            pool.get_message_by_name(name).ok_or("its Any holds a message that the schema does not have")?;
        let special = Special::of(&known).is_some();
        let inner = DynamicMessage::decode(known, payload.clone())
            .map_err(|_| "its Any does not hold the message that it names")?;
        out.push_str("{\"@type\":");
        write_json_string(url, out);
        if special {
            out.push_str(",\"value\":");
            self.deeper(|printer| printer.nested(&inner, out))?;
        } else {
            self.fields(&inner, out)?;
        }
        out.push('}');
        Ok(())
    }

    /// What a transparent message holds, and of what kind that is; `None` for null.
    fn held<'m>(&self, message: &'m DynamicMessage) -> Option<(Kind, Cow<'m, Proto>)> {
        let descriptor = message.descriptor();
        let field = match Special::of(&descriptor) {
            Some(Special::AnyJson) => descriptor.fields().find(|field| message.has_field(field)),
            Some(_) | None => descriptor.get_field(1),
        }?;
        let (kind, value) = (field.kind(), message.get_field(&field));
        let is_null = matches!(&kind, Kind::Enum(kind) if is_null(kind));
        (!is_null).then_some((kind, value))
    }

    /// Members of objects are left out where they are null (device API §8.3).
    fn is_null(&self, kind: &Kind, value: &Proto) -> bool {
        match (kind, value) {
            (Kind::Enum(kind), Proto::EnumNumber(_)) => is_null(kind),
            (_, Proto::Message(message)) => {
                Special::of(&message.descriptor()) == Some(Special::AnyJson) && self.held(message).is_none()
            }
            _ => false,
        }
    }

    fn deeper<T>(&mut self, print: impl FnOnce(&mut Self) -> Result<T, Problem>) -> Result<T, Problem> {
        if self.depth == 2 * PROTO_DEPTH_MAX {
            return Err(TOO_DEEP);
        }
        self.depth += 1;
        let printed = print(self);
        self.depth -= 1;
        printed
    }
}

/// Timestamps, durations and field masks have rules for their text, and values that break them.
fn text(message: &DynamicMessage) -> Result<String, Problem> {
    match serde_json::to_value(message) {
        Ok(serde_json::Value::String(text)) => Ok(text),
        Ok(_) | Err(_) => Err("a timestamp, a duration or a field mask is out of range"),
    }
}

pub(crate) fn unsigned(value: u64) -> Value {
    i64::try_from(value).map_or_else(|_| Value::Text(value.to_string()), Value::Long)
}

pub(crate) fn double(value: f64) -> Value {
    if value.is_finite() {
        Value::Double(positive_zero(value))
    } else if value.is_nan() {
        Value::Text("NaN".into())
    } else {
        Value::Text(if value > 0.0 { "Infinity" } else { "-Infinity" }.into())
    }
}

/// The double with the fewest digits that is this float: 27.2 and not 27.200000762939453.
pub(crate) fn float(value: f32) -> Value {
    if !value.is_finite() {
        return double(f64::from(value));
    }
    let mut digits = Digits { bytes: [0; 32], length: 0 };
    let written = write!(digits, "{value:e}").ok().and_then(|()| digits.as_str().parse().ok());
    double(written.unwrap_or(f64::from(value)))
}

/// A short text on the stack.
struct Digits {
    bytes: [u8; 32],
    length: usize,
}

impl Digits {
    fn as_str(&self) -> &str {
        self.bytes.get(..self.length).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

impl fmt::Write for Digits {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

fn write_plain(value: &Proto, out: &mut String) {
    match value {
        Proto::Bool(value) => push(out, format_args!("{value}")),
        Proto::I32(value) => push(out, format_args!("{value}")),
        Proto::U32(value) => push(out, format_args!("{value}")),
        _ => {}
    }
}

fn push(out: &mut String, text: fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a String cannot fail");
}

/// A comma, unless something has just been opened.
fn separate(out: &mut String) {
    if !out.ends_with(['{', '[']) {
        out.push(',');
    }
}

fn map_value_kind(kind: &Kind) -> Kind {
    match kind {
        Kind::Message(entry) if entry.is_map_entry() => entry.map_entry_value_field().kind(),
        other => other.clone(),
    }
}

/// A map has no order, and the same payload has to give the same text.
fn sorted(entries: &std::collections::HashMap<MapKey, Proto>) -> Vec<(&MapKey, &Proto)> {
    let mut sorted: Vec<_> = entries.iter().collect();
    sorted.sort_unstable_by(|one, other| one.0.cmp(other.0));
    sorted
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}
