//! Commands: metrics with values that somebody else chose, in the types that the birth has given them.
//!
//! Nothing is cut off: what the type cannot hold is refused, and says so.

use serde_json::Value as Json;
use wireglot_model::{Timestamp, Value};

use super::{DataType, SparkplugMetric, SparkplugPayload, wire};

/// A metric that is to be set.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SparkplugCommand<'a> {
    /// As its birth has it.
    pub name: &'a str,
    /// Takes the place of the name where the birth has given one.
    pub alias: Option<u64>,
    /// As its birth has it.
    pub kind: DataType,
    /// What it is to be.
    pub value: &'a Value,
    /// A negative integer fills its field, as the node writes them itself. Clients read only one or the other.
    pub fills_field: bool,
    /// When that was said.
    pub ts: Timestamp,
}

impl SparkplugCommand<'_> {
    /// The payload of a command that sets nothing else. The error says why the value is none of this type.
    pub fn write(&self) -> Result<Vec<u8>, String> {
        let payload = SparkplugPayload { timestamp: Some(self.ts), seq: None, metrics: vec![self.metric()?] };
        Ok(payload.write())
    }

    /// The metric, for a command that sets several.
    pub fn metric(&self) -> Result<SparkplugMetric, String> {
        let Self { name, alias, kind, value, fills_field, ts } = *self;
        let value = convert(kind, value)
            .map_err(|problem| format!("the metric '{name}' is {}: {problem}", kind.name()))?;
        let value = match (value, kind) {
            (wire::metric::Value::Int(small), DataType::Int8) if fills_field => {
                wire::metric::Value::Int(filled(small, 8))
            }
            (wire::metric::Value::Int(small), DataType::Int16) if fills_field => {
                wire::metric::Value::Int(filled(small, 16))
            }
            (value, _) => value,
        };
        Ok(SparkplugMetric(wire::Metric {
            name: alias.is_none().then(|| name.to_owned()),
            alias,
            timestamp: u64::try_from(ts.0).ok(),
            datatype: Some(kind.number()),
            is_null: None,
            value: Some(value),
        }))
    }
}

/// The metric and the value that the `params` of an RPC name: `{"metricName":"Outputs/0","value":true}`.
pub fn sparkplug_params(params: &str) -> Option<(String, Value)> {
    let Ok(Json::Object(mut members)) = serde_json::from_str(params) else { return None };
    let Some(Json::String(name)) = members.remove("metricName") else { return None };
    Some((name, of_json(members.remove("value")?)))
}

/// The metric and the value that a JSON attribute wraps as its single member.
pub fn sparkplug_wrapped(json: &str) -> Option<(String, Value)> {
    let Ok(Json::Object(members)) = serde_json::from_str(json) else { return None };
    let mut members = members.into_iter();
    let (name, value) = members.next()?;
    members.next().is_none().then(|| (name, of_json(value)))
}

/// The lowest `bits` of `small` as two's complement in 32.
fn filled(small: u32, bits: u32) -> u32 {
    let unused = 32 - bits;
    ((small << unused).cast_signed() >> unused).cast_unsigned()
}

fn convert(kind: DataType, value: &Value) -> Result<wire::metric::Value, String> {
    use wire::metric::Value as Wire;
    Ok(match kind {
        DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32 => {
            let (bytes, _) = packed(kind, value)?;
            Wire::Int(bytes.iter().rev().fold(0, |all, byte| all << 8 | u32::from(*byte)))
        }
        DataType::Int64 | DataType::UInt64 | DataType::DateTime => {
            let (bytes, _) = packed(kind, value)?;
            Wire::Long(bytes.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte)))
        }
        DataType::Float => Wire::Float(single(value)?),
        DataType::Double => Wire::Double(number(value)?),
        DataType::Boolean => Wire::Boolean(truth(value)?),
        DataType::String | DataType::Text | DataType::Uuid => Wire::Text(value.to_text()),
        DataType::Bytes | DataType::File => {
            let byte = |value: &Value| {
                let number = integer(value)?;
                let unsigned = u8::try_from(number).ok();
                let byte = unsigned.or_else(|| i8::try_from(number).ok().map(i8::cast_unsigned));
                byte.ok_or_else(|| format!("{number} is no byte, which is -128 to 255"))
            };
            Wire::Bytes(elements(value)?.iter().map(byte).collect::<Result<_, _>>()?)
        }
        DataType::Int8Array => array(value, DataType::Int8)?,
        DataType::Int16Array => array(value, DataType::Int16)?,
        DataType::Int32Array => array(value, DataType::Int32)?,
        DataType::Int64Array => array(value, DataType::Int64)?,
        DataType::UInt8Array => array(value, DataType::UInt8)?,
        DataType::UInt16Array => array(value, DataType::UInt16)?,
        DataType::UInt32Array => array(value, DataType::UInt32)?,
        DataType::UInt64Array => array(value, DataType::UInt64)?,
        DataType::DateTimeArray => array(value, DataType::DateTime)?,
        DataType::FloatArray => array(value, DataType::Float)?,
        DataType::DoubleArray => array(value, DataType::Double)?,
        DataType::BooleanArray => Wire::Bytes(booleans(&elements(value)?)?),
        DataType::StringArray => Wire::Bytes(texts(&elements(value)?)?),
        DataType::DataSet | DataType::Template => return Err("no command can set one".to_owned()),
    })
}

/// The bytes of a number, the lowest first, and how many of them its type has.
fn packed(kind: DataType, value: &Value) -> Result<([u8; 8], usize), String> {
    let (lowest, highest, width) = match kind {
        DataType::Int8 => (i8::MIN.into(), i8::MAX.into(), 1),
        DataType::Int16 => (i16::MIN.into(), i16::MAX.into(), 2),
        DataType::Int32 => (i32::MIN.into(), i32::MAX.into(), 4),
        DataType::Int64 | DataType::DateTime => (i64::MIN.into(), i64::MAX.into(), 8),
        DataType::UInt8 => (0, u8::MAX.into(), 1),
        DataType::UInt16 => (0, u16::MAX.into(), 2),
        DataType::UInt32 => (0, u32::MAX.into(), 4),
        DataType::UInt64 => (0, u64::MAX.into(), 8),
        DataType::Float => return Ok((u64::from(single(value)?.to_bits()).to_le_bytes(), 4)),
        DataType::Double => return Ok((number(value)?.to_bits().to_le_bytes(), 8)),
        other => return Err(format!("{} is no number", other.name())),
    };
    let number: i128 = integer(value)?;
    if !(lowest..=highest).contains(&number) {
        return Err(format!("{number} is not from {lowest} to {highest}"));
    }
    // In the width of the type: clients read a negative number by that, or drop what is above it.
    let mut bytes = [0; 8];
    let le = number.to_le_bytes();
    bytes.iter_mut().zip(le).take(width).for_each(|(byte, of_number)| *byte = of_number);
    Ok((bytes, width))
}

fn array(value: &Value, kind: DataType) -> Result<wire::metric::Value, String> {
    let mut all = Vec::new();
    for element in elements(value)? {
        let (bytes, width) = packed(kind, &element)?;
        all.extend(bytes.iter().take(width));
    }
    Ok(wire::metric::Value::Bytes(all))
}

fn booleans(elements: &[Value]) -> Result<Vec<u8>, String> {
    let count = u32::try_from(elements.len()).map_err(|_| "there are too many".to_owned())?;
    let mut bytes = count.to_le_bytes().to_vec();
    for eight in elements.chunks(8) {
        let mut byte = 0;
        for (index, element) in eight.iter().enumerate() {
            byte |= u8::from(truth(element)?) << (7 - index);
        }
        bytes.push(byte);
    }
    Ok(bytes)
}

fn texts(elements: &[Value]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for element in elements {
        let text = element.to_text();
        if text.contains('\0') {
            return Err("a text with a zero character has no place in a StringArray".to_owned());
        }
        bytes.extend(text.bytes());
        bytes.push(0);
    }
    Ok(bytes)
}

fn elements(value: &Value) -> Result<Vec<Value>, String> {
    let text = match value {
        Value::Json(text) | Value::Text(text) => text.as_str(),
        Value::Bool(_) | Value::Long(_) | Value::Double(_) => "",
    };
    match serde_json::from_str(text) {
        Ok(Json::Array(elements)) => Ok(elements.into_iter().map(of_json).collect()),
        Ok(_) | Err(_) => Err("a JSON array is due".to_owned()),
    }
}

/// A JSON value as the device API types it; a number that fits nothing keeps its digits.
fn of_json(json: Json) -> Value {
    match json {
        Json::Bool(value) => Value::Bool(value),
        Json::String(value) => Value::Text(value),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(long), _) => Value::Long(long),
            (None, Some(double)) if number.is_f64() => Value::Double(double),
            (None, _) => Value::Text(number.to_string()),
        },
        Json::Null | Json::Array(_) | Json::Object(_) => Value::Json(json.to_string()),
    }
}

fn integer(value: &Value) -> Result<i128, String> {
    let whole = |double: f64| {
        // Beyond these no type here has a number, and within them the conversion is exact.
        let fits = double.fract() == 0.0 && double.abs() < 1e30;
        #[expect(clippy::cast_possible_truncation, reason = "the line before has looked")]
        let whole = double as i128;
        fits.then_some(whole)
    };
    let number = match value {
        Value::Long(long) => Some(i128::from(*long)),
        Value::Bool(value) => Some(i128::from(*value)),
        Value::Double(double) => whole(*double),
        Value::Text(text) => text
            .parse()
            .ok()
            .or_else(|| text.parse().ok().and_then(whole))
            .or_else(|| word(text).map(i128::from)),
        Value::Json(_) => None,
    };
    number.ok_or_else(|| format!("{} is no whole number", excerpt(value)))
}

fn number(value: &Value) -> Result<f64, String> {
    let number = match value {
        Value::Long(long) => {
            #[expect(clippy::cast_precision_loss, reason = "the next line looks whether it comes back")]
            let double = *long as f64;
            if integer(&Value::Double(double)) != Ok(i128::from(*long)) {
                return Err(format!("{long} has more digits than double precision"));
            }
            Some(double)
        }
        Value::Bool(value) => Some(f64::from(u8::from(*value))),
        Value::Double(double) => Some(*double),
        Value::Text(text) => text.parse().ok().or_else(|| word(text).map(|word| f64::from(u8::from(word)))),
        Value::Json(_) => None,
    };
    number.ok_or_else(|| format!("{} is no number", excerpt(value)))
}

fn single(value: &Value) -> Result<f32, String> {
    let double = number(value)?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "digits beyond the type's own are lost by the type's choice"
    )]
    let single = double as f32;
    if double.is_finite() && !single.is_finite() {
        return Err(format!("{double} is beyond single precision"));
    }
    if matches!(value, Value::Long(_)) && f64::from(single) != double {
        return Err(format!("{double} has more digits than single precision"));
    }
    Ok(single)
}

fn truth(value: &Value) -> Result<bool, String> {
    let truth = match value {
        Value::Bool(value) => Some(*value),
        Value::Long(long) => Some(*long != 0),
        Value::Double(double) => Some(*double != 0.0),
        Value::Text(text) => word(text).or_else(|| text.parse().ok().map(|number: f64| number != 0.0)),
        Value::Json(_) => None,
    };
    truth.ok_or_else(|| format!("{} is neither true nor false", excerpt(value)))
}

fn word(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// Enough of a value to know it again.
fn excerpt(value: &Value) -> String {
    const CHARS_MAX: usize = 40;
    let text = value.to_text();
    let mut short: String = text.chars().take(CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("'{short}'")
}
