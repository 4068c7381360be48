//! Payloads of Sparkplug B: bytes to metrics, a metric to a value, and a value to the bytes of a command.
//!
//! The structures in `sparkplug/wire.rs` are the wire format; its numbers never change. Every type of metric has a value
//! here: scalars are what they are, and what is more than a scalar is JSON (`sparkplug/json.rs`). What the writers of
//! the many libraries disagree about is read either way: the width of negative integers, which of the two integer fields
//! holds one, and whether a message behind a birth repeats its types.
//!
//! Not here: what a metric is called that comes by its alias, and what its birth said (`mqtt`).

mod command;
mod json;
mod wire;

pub use command::{SparkplugCommand, sparkplug_params, sparkplug_wrapped};

use prost::Message as _;
use wireglot_model::{Timestamp, Value};

use crate::ProtoRefusal;
use crate::print::{double, float, unsigned};
use json::Budget;

const PAYLOAD: &str = "org.eclipse.tahu.protobuf.Payload";

macro_rules! data_types {
    ($($number:literal $kind:ident $name:literal $what:literal,)+) => {
        /// The type of a metric.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum DataType {
            $(#[doc = $what] $kind,)+
        }

        impl DataType {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind,)+];

            /// The type of this number; `None` where it is none of a metric.
            pub fn of(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$kind),)+
                    _ => None,
                }
            }

            /// Its number in payloads.
            pub fn number(self) -> u32 {
                match self {
                    $(Self::$kind => $number,)+
                }
            }

            /// Its name in the specification of Sparkplug.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }
        }
    };
}

data_types! {
    1 Int8 "Int8" "8 bits, signed.",
    2 Int16 "Int16" "16 bits, signed.",
    3 Int32 "Int32" "32 bits, signed.",
    4 Int64 "Int64" "64 bits, signed.",
    5 UInt8 "UInt8" "8 bits.",
    6 UInt16 "UInt16" "16 bits.",
    7 UInt32 "UInt32" "32 bits.",
    8 UInt64 "UInt64" "64 bits.",
    9 Float "Float" "A number of single precision.",
    10 Double "Double" "A number of double precision.",
    11 Boolean "Boolean" "True or false.",
    12 String "String" "A text.",
    13 DateTime "DateTime" "Milliseconds since 1970.",
    14 Text "Text" "A text.",
    15 Uuid "UUID" "A text.",
    16 DataSet "DataSet" "Rows of named columns.",
    17 Bytes "Bytes" "Bytes.",
    18 File "File" "Bytes that are a file.",
    19 Template "Template" "Metrics within a metric.",
    22 Int8Array "Int8Array" "Several of 8 bits, signed.",
    23 Int16Array "Int16Array" "Several of 16 bits, signed.",
    24 Int32Array "Int32Array" "Several of 32 bits, signed.",
    25 Int64Array "Int64Array" "Several of 64 bits, signed.",
    26 UInt8Array "UInt8Array" "Several of 8 bits.",
    27 UInt16Array "UInt16Array" "Several of 16 bits.",
    28 UInt32Array "UInt32Array" "Several of 32 bits.",
    29 UInt64Array "UInt64Array" "Several of 64 bits.",
    30 FloatArray "FloatArray" "Several numbers of single precision.",
    31 DoubleArray "DoubleArray" "Several numbers of double precision.",
    32 BooleanArray "BooleanArray" "Several of true and false.",
    33 StringArray "StringArray" "Several texts.",
    34 DateTimeArray "DateTimeArray" "Several times.",
}

/// A payload, not yet understood metric by metric.
#[derive(Clone, PartialEq, Debug)]
pub struct SparkplugPayload {
    /// When the node wrote it.
    pub timestamp: Option<Timestamp>,
    /// Counts the messages of a node, 0 to 255 and again.
    pub seq: Option<u64>,
    /// In the order of the payload.
    pub metrics: Vec<SparkplugMetric>,
}

/// One metric.
#[derive(Clone, PartialEq, Debug)]
pub struct SparkplugMetric(wire::Metric);

impl SparkplugPayload {
    /// Reads a payload.
    pub fn read(payload: &[u8]) -> Result<Self, ProtoRefusal> {
        let wire::Payload { timestamp, metrics, seq } =
            wire::Payload::decode(payload).map_err(|error| ProtoRefusal::malformed(PAYLOAD, error))?;
        Ok(Self {
            timestamp: timestamp.and_then(time),
            seq,
            metrics: metrics.into_iter().map(SparkplugMetric).collect(),
        })
    }

    /// Its bytes.
    pub fn write(self) -> Vec<u8> {
        let timestamp = self.timestamp.and_then(|ts| u64::try_from(ts.0).ok());
        let metrics = self.metrics.into_iter().map(|metric| metric.0).collect();
        wire::Payload { timestamp, metrics, seq: self.seq }.encode_to_vec()
    }

    /// The number of the session between a node and its hosts, from the metric `bdSeq`.
    pub fn bd_seq(&self) -> Option<i64> {
        let metric = self.metrics.iter().find(|metric| metric.name() == Some(BD_SEQ))?;
        match metric.value(DataType::UInt64, &mut SparkplugValues::default()) {
            Ok(Some(Value::Long(number))) => Some(number),
            Ok(_) | Err(_) => None,
        }
    }
}

/// The metric by which a death is known to belong to its birth.
pub const BD_SEQ: &str = "bdSeq";

/// Reads the values of one payload, and bounds what they and the names of their metrics become together.
#[derive(Default)]
pub struct SparkplugValues(Budget);

impl SparkplugValues {
    /// Counts the name of a metric: an alias stands for a name that is many times as long.
    pub fn count_name(&mut self, name: &str) -> Result<(), ProtoRefusal> {
        self.0.spend(name.len()).map_err(|problem| ProtoRefusal::content("Metric", "name", problem))
    }
}

impl SparkplugMetric {
    /// Its name; a metric after a birth may have none.
    pub fn name(&self) -> Option<&str> {
        self.0.name.as_deref().filter(|name| !name.is_empty())
    }

    /// What it is called after its birth.
    pub fn alias(&self) -> Option<u64> {
        self.0.alias
    }

    /// When it was so; `None`: nobody said.
    pub fn ts(&self) -> Option<Timestamp> {
        self.0.timestamp.and_then(time)
    }

    /// Its type: as it says, as its birth said, or as its value shows. `None`: a type that no metric has.
    pub fn kind(&self, born: Option<DataType>) -> Option<DataType> {
        match self.0.datatype {
            Some(number @ 1..) => DataType::of(number),
            Some(0) | None => born.or_else(|| self.0.value.as_ref().map(shown)),
        }
    }

    /// The number of the type that it says it is of.
    pub fn stated_type(&self) -> u32 {
        self.0.datatype.unwrap_or_default()
    }

    /// Whether it is a small negative integer that fills its field, which is wider than its type.
    pub fn fills_field(&self, kind: DataType) -> bool {
        let is_small = matches!(kind, DataType::Int8 | DataType::Int16);
        is_small && matches!(self.0.value, Some(wire::metric::Value::Int(value)) if value >> 31 == 1)
    }

    /// What it is; `None` where it is null or has no value.
    pub fn value(&self, kind: DataType, values: &mut SparkplugValues) -> Result<Option<Value>, ProtoRefusal> {
        let refused = |problem: String| {
            let field = self
                .name()
                .map_or_else(|| format!("alias {}", self.0.alias.unwrap_or_default()), str::to_owned);
            ProtoRefusal::content("Metric", &field, problem)
        };
        value(&self.0, kind, &mut values.0).map_err(refused)
    }
}

/// What a payload says where it has a time; 0 is none.
fn time(ms: u64) -> Option<Timestamp> {
    i64::try_from(ms).ok().filter(|ms| *ms > 0).map(Timestamp)
}

/// The type of a metric that nobody has told.
fn shown(value: &wire::metric::Value) -> DataType {
    use wire::metric::Value as Wire;
    match value {
        Wire::Int(_) => DataType::UInt32,
        Wire::Long(_) => DataType::UInt64,
        Wire::Float(_) => DataType::Float,
        Wire::Double(_) => DataType::Double,
        Wire::Boolean(_) => DataType::Boolean,
        Wire::Text(_) => DataType::String,
        Wire::Bytes(_) => DataType::Bytes,
        Wire::DataSet(_) => DataType::DataSet,
        Wire::Template(_) => DataType::Template,
    }
}

fn value(metric: &wire::Metric, kind: DataType, budget: &mut Budget) -> Result<Option<Value>, String> {
    use wire::metric::Value as Wire;
    let Some(value) = metric.value.as_ref().filter(|_| metric.is_null != Some(true)) else { return Ok(None) };
    let raw = match value {
        Wire::Int(value) => Raw::Int(*value),
        Wire::Long(value) => Raw::Long(*value),
        Wire::Float(value) => Raw::Float(*value),
        Wire::Double(value) => Raw::Double(*value),
        Wire::Boolean(value) => Raw::Boolean(*value),
        Wire::Text(value) => {
            budget.spend(value.len())?;
            Raw::Text(value)
        }
        Wire::Bytes(bytes) => return json::bytes(kind, bytes, budget).map(Value::Json).map(Some),
        Wire::DataSet(set) if kind == DataType::DataSet => {
            return json::data_set(set, budget).map(Value::Json).map(Some);
        }
        Wire::Template(template) if kind == DataType::Template => {
            return json::template(template, budget).map(Value::Json).map(Some);
        }
        Wire::DataSet(_) => return Err(mismatch(kind, "a DataSet")),
        Wire::Template(_) => return Err(mismatch(kind, "a Template")),
    };
    scalar(kind, &raw).map(Some)
}

/// The scalars of a payload, wherever in it they stand.
enum Raw<'a> {
    Int(u32),
    Long(u64),
    Float(f32),
    Double(f64),
    Boolean(bool),
    Text(&'a str),
}

fn scalar(kind: DataType, raw: &Raw<'_>) -> Result<Value, String> {
    match raw {
        Raw::Int(value) => integer(kind, u64::from(*value), 32),
        Raw::Long(value) => integer(kind, *value, 64),
        Raw::Float(value) if matches!(kind, DataType::Float | DataType::Double) => Ok(float(*value)),
        Raw::Double(value) if matches!(kind, DataType::Float | DataType::Double) => Ok(double(*value)),
        Raw::Boolean(value) if kind == DataType::Boolean => Ok(Value::Bool(*value)),
        Raw::Text(value) if matches!(kind, DataType::String | DataType::Text | DataType::Uuid) => {
            Ok(Value::Text((*value).to_owned()))
        }
        Raw::Float(_) | Raw::Double(_) => Err(mismatch(kind, "a number with a point")),
        Raw::Boolean(_) => Err(mismatch(kind, "true or false")),
        Raw::Text(_) => Err(mismatch(kind, "a text")),
    }
}

fn mismatch(kind: DataType, found: &str) -> String {
    format!("the type is {}, the value {found}", kind.name())
}

/// `bits` of the field that holds it. A negative number is two's complement, in the width of its type with some writers,
/// in that of the field with others; a number that its type cannot hold is taken by the field.
fn integer(kind: DataType, value: u64, bits: u32) -> Result<Value, String> {
    let width = match kind {
        DataType::Int8 => 8,
        DataType::Int16 => 16,
        DataType::Int32 => 32,
        // Times before 1970 are negative.
        DataType::Int64 | DataType::DateTime => bits,
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => {
            return Ok(unsigned(value));
        }
        other => return Err(mismatch(other, "a whole number")),
    };
    let fits = width == 64 || value >> width == 0;
    Ok(Value::Long(sign_extended(value, if fits { width } else { bits })))
}

/// The lowest `bits`, 1 to 64 of them, as two's complement.
fn sign_extended(value: u64, bits: u32) -> i64 {
    let unused = 64 - bits;
    (value << unused).cast_signed() >> unused
}

#[cfg(test)]
mod tests;
