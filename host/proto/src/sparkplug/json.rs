//! Metrics that are more than a scalar, as JSON: bytes, arrays, data sets and templates.
//!
//! One payload may become `PROTO_JSON_BYTES_MAX` at most, its names and texts with it: an array of bits is 48 times as
//! long here.

use wireglot_model::Value;
use wireglot_model::limits::PROTO_JSON_BYTES_MAX;
use wireglot_model::value::write_json_string;

use super::{DataType, Raw, scalar, sign_extended, value, wire};
use crate::print::{double, float, unsigned};

/// What is written so far.
#[derive(Default)]
pub(super) struct Budget {
    spent: usize,
}

impl Budget {
    pub(super) fn spend(&mut self, bytes: usize) -> Result<(), String> {
        self.spent += bytes;
        if self.spent > PROTO_JSON_BYTES_MAX {
            return Err(format!(
                "the names and values become more than {PROTO_JSON_BYTES_MAX} bytes of JSON"
            ));
        }
        Ok(())
    }
}

/// A list, or an object, whose members are written one by one.
struct List<'a> {
    out: String,
    budget: &'a mut Budget,
}

impl<'a> List<'a> {
    fn new(budget: &'a mut Budget) -> Self {
        Self { out: "[".to_owned(), budget }
    }

    fn push(&mut self, value: &Value) -> Result<(), String> {
        let before = self.out.len();
        if before > 1 {
            self.out.push(',');
        }
        value.write_json(&mut self.out);
        self.budget.spend(self.out.len() - before)
    }

    fn end(mut self) -> String {
        self.out.push(']');
        self.out
    }
}

/// What `bytes_value` holds: bytes, or an array of one of the types of fixed width, packed with the lowest byte first.
pub(super) fn bytes(kind: DataType, bytes: &[u8], budget: &mut Budget) -> Result<String, String> {
    let mut list = List::new(budget);
    match kind {
        DataType::Bytes | DataType::File | DataType::Int8Array => {
            bytes.iter().try_for_each(|byte| list.push(&Value::Long(i64::from(byte.cast_signed()))))?;
        }
        DataType::UInt8Array => {
            bytes.iter().try_for_each(|byte| list.push(&Value::Long(i64::from(*byte))))?;
        }
        DataType::Int16Array => {
            packed::<2>(kind, bytes, &mut list, |raw| Value::Long(sign_extended(raw, 16)))?
        }
        DataType::Int32Array => {
            packed::<4>(kind, bytes, &mut list, |raw| Value::Long(sign_extended(raw, 32)))?
        }
        DataType::Int64Array | DataType::DateTimeArray => {
            packed::<8>(kind, bytes, &mut list, |raw| Value::Long(raw.cast_signed()))?
        }
        DataType::UInt16Array => packed::<2>(kind, bytes, &mut list, unsigned)?,
        DataType::UInt32Array => packed::<4>(kind, bytes, &mut list, unsigned)?,
        DataType::UInt64Array => packed::<8>(kind, bytes, &mut list, unsigned)?,
        DataType::FloatArray => packed::<4>(kind, bytes, &mut list, |raw| {
            // Four bytes were read into it.
            float(f32::from_bits(u32::try_from(raw).unwrap_or_default()))
        })?,
        DataType::DoubleArray => packed::<8>(kind, bytes, &mut list, |raw| double(f64::from_bits(raw)))?,
        DataType::BooleanArray => booleans(bytes, &mut list)?,
        DataType::StringArray => texts(bytes, &mut list)?,
        other => return Err(super::mismatch(other, "bytes")),
    }
    Ok(list.end())
}

fn packed<const WIDTH: usize>(
    kind: DataType,
    bytes: &[u8],
    list: &mut List<'_>,
    value: impl Fn(u64) -> Value,
) -> Result<(), String> {
    let (elements, rest) = bytes.as_chunks::<WIDTH>();
    if !rest.is_empty() {
        return Err(format!("{} bytes are no {}, whose elements have {WIDTH}", bytes.len(), kind.name()));
    }
    elements.iter().try_for_each(|element| {
        let raw = element.iter().rev().fold(0, |raw, byte| raw << 8 | u64::from(*byte));
        list.push(&value(raw))
    })
}

/// Four bytes that count, then the bits, the highest first.
fn booleans(bytes: &[u8], list: &mut List<'_>) -> Result<(), String> {
    let wrong = || "a BooleanArray begins with how many there are, and has a bit for each".to_owned();
    let (count, bits) = bytes.split_first_chunk::<4>().ok_or_else(wrong)?;
    let count = usize::try_from(u32::from_le_bytes(*count)).map_err(|_| wrong())?;
    if count.div_ceil(8) != bits.len() {
        return Err(wrong());
    }
    let bits = bits.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1));
    bits.take(count).try_for_each(|bit| list.push(&Value::Bool(bit)))
}

/// Each ends with a zero byte; the last one may leave it out.
fn texts(bytes: &[u8], list: &mut List<'_>) -> Result<(), String> {
    if bytes.is_empty() {
        return Ok(());
    }
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    bytes.split(|byte| *byte == 0).try_for_each(|text| {
        let text = std::str::from_utf8(text).map_err(|_| "a StringArray is not UTF-8".to_owned())?;
        list.push(&Value::Text(text.to_owned()))
    })
}

/// `{"columns":[…],"types":[…],"rows":[[…],…]}`
pub(super) fn data_set(set: &wire::DataSet, budget: &mut Budget) -> Result<String, String> {
    let mut columns = List::new(budget);
    set.columns.iter().try_for_each(|column| columns.push(&Value::Text(column.clone())))?;
    let columns = columns.end();
    let mut types = List::new(budget);
    set.types.iter().try_for_each(|number| types.push(&type_name(*number)))?;
    let types = types.end();
    let mut rows = Vec::with_capacity(set.rows.len());
    for row in &set.rows {
        budget.spend(3)?;
        let mut cells = List::new(budget);
        for (index, element) in row.elements.iter().enumerate() {
            cells.push(&cell(set.types.get(index).copied(), element)?)?;
        }
        rows.push(cells.end());
    }
    let rows = rows.join(",");
    Ok(format!("{{\"columns\":{columns},\"types\":{types},\"rows\":[{rows}]}}"))
}

fn cell(kind: Option<u32>, element: &wire::Element) -> Result<Value, String> {
    use wire::element::Value as Wire;
    let Some(value) = &element.value else { return Ok(Value::Json("null".into())) };
    let (raw, shown) = match value {
        Wire::Int(value) => (Raw::Int(*value), DataType::UInt32),
        Wire::Long(value) => (Raw::Long(*value), DataType::UInt64),
        Wire::Float(value) => (Raw::Float(*value), DataType::Float),
        Wire::Double(value) => (Raw::Double(*value), DataType::Double),
        Wire::Boolean(value) => (Raw::Boolean(*value), DataType::Boolean),
        Wire::Text(value) => (Raw::Text(value), DataType::String),
    };
    scalar(kind.and_then(DataType::of).unwrap_or(shown), &raw)
}

fn type_name(number: u32) -> Value {
    match DataType::of(number) {
        Some(kind) => Value::Text(kind.name().to_owned()),
        None => Value::Long(number.into()),
    }
}

/// `{"version":…,"templateRef":…,"isDefinition":…,"metrics":[{"name":…,"type":…,"value":…},…],"parameters":[…]}`. It nests
/// no deeper than protobuf lets it.
pub(super) fn template(template: &wire::Template, budget: &mut Budget) -> Result<String, String> {
    let wire::Template { version, metrics, parameters, template_ref, is_definition } = template;
    let mut out = String::from("{\"version\":");
    text_or_null(version.as_deref(), &mut out);
    out.push_str(",\"templateRef\":");
    text_or_null(template_ref.as_deref(), &mut out);
    let is_definition = is_definition.unwrap_or_default();
    out.push_str(if is_definition { ",\"isDefinition\":true" } else { ",\"isDefinition\":false" });
    out.push_str(",\"metrics\":[");
    budget.spend(out.len())?;
    for (index, metric) in metrics.iter().enumerate() {
        let shown = || metric.value.as_ref().map(super::shown);
        let kind = metric.datatype.and_then(DataType::of).or_else(shown);
        let value = match kind {
            Some(kind) => value(metric, kind, budget)?,
            None => None,
        };
        member(index, metric.name.as_deref(), metric.datatype, value, &mut out, budget)?;
    }
    out.push_str("],\"parameters\":[");
    for (index, parameter) in parameters.iter().enumerate() {
        let value = parameter_value(parameter)?;
        member(index, parameter.name.as_deref(), parameter.kind, value, &mut out, budget)?;
    }
    out.push_str("]}");
    Ok(out)
}

fn member(
    index: usize,
    name: Option<&str>,
    kind: Option<u32>,
    value: Option<Value>,
    out: &mut String,
    budget: &mut Budget,
) -> Result<(), String> {
    let before = out.len();
    out.push_str(if index == 0 { "{\"name\":" } else { ",{\"name\":" });
    text_or_null(name, out);
    out.push_str(",\"type\":");
    type_name(kind.unwrap_or_default()).write_json(out);
    out.push_str(",\"value\":");
    value.unwrap_or(Value::Json("null".into())).write_json(out);
    out.push('}');
    budget.spend(out.len() - before)
}

fn parameter_value(parameter: &wire::Parameter) -> Result<Option<Value>, String> {
    use wire::parameter::Value as Wire;
    let Some(value) = &parameter.value else { return Ok(None) };
    let (raw, shown) = match value {
        Wire::Int(value) => (Raw::Int(*value), DataType::UInt32),
        Wire::Long(value) => (Raw::Long(*value), DataType::UInt64),
        Wire::Float(value) => (Raw::Float(*value), DataType::Float),
        Wire::Double(value) => (Raw::Double(*value), DataType::Double),
        Wire::Boolean(value) => (Raw::Boolean(*value), DataType::Boolean),
        Wire::Text(value) => (Raw::Text(value), DataType::String),
    };
    scalar(parameter.kind.and_then(DataType::of).unwrap_or(shown), &raw).map(Some)
}

fn text_or_null(text: Option<&str>, out: &mut String) {
    match text {
        Some(text) => write_json_string(text, out),
        None => out.push_str("null"),
    }
}
