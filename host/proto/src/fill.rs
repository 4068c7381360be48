//! JSON → a message, as upstream merges a server-side RPC into a profile's schema (device API §12.2).
//!
//! Names may be those of the schema or of JSON, members that the message does not have are left out, and a number or a
//! boolean is taken where a text is due.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use prost::Message as _;
use prost_reflect::{
    DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value,
};
use serde_json::Value as Json;
use wireglot_model::number::{Numeric, numeric};

use crate::ProtoRefusal;
use crate::print::Special;

/// The fields `method`, `requestId` and `params` of a request, filled.
pub(crate) fn rpc_request(
    descriptor: &MessageDescriptor,
    id: i32,
    method: &str,
    params: &str,
) -> Result<Vec<u8>, ProtoRefusal> {
    let refused =
        |field: &str, problem: String| ProtoRefusal::content(descriptor.full_name(), field, problem);
    let params: Json =
        serde_json::from_str(params).map_err(|error| refused("params", format!("not JSON: {error}")))?;
    let mut message = DynamicMessage::new(descriptor.clone());
    for (name, value) in [("method", Json::from(method)), ("requestId", Json::from(id)), ("params", params)] {
        if let Some(field) = descriptor.get_field_by_name(name)
            && let Some(value) = field_value(&field, &value).map_err(|problem| refused(name, problem))?
        {
            message.set_field(&field, value);
        }
    }
    Ok(message.encode_to_vec())
}

/// `None`: null, which leaves the field as it is.
fn field_value(field: &FieldDescriptor, json: &Json) -> Result<Option<Value>, String> {
    let kind = field.kind();
    if json.is_null() && !takes_null(&kind) {
        return Ok(None);
    }
    if field.is_map() {
        return map(&kind, json).map(Some);
    }
    if field.is_list() {
        let elements = json.as_array().ok_or_else(|| unfit("an array", json))?;
        let elements: Result<_, _> = elements.iter().map(|element| value(&kind, element)).collect();
        return elements.map(Value::List).map(Some);
    }
    value(&kind, json).map(Some)
}

fn takes_null(kind: &Kind) -> bool {
    match kind {
        Kind::Message(message) => Special::of(message) == Some(Special::AnyJson),
        Kind::Enum(kind) => crate::shape::is_null(kind),
        _ => false,
    }
}

fn map(kind: &Kind, json: &Json) -> Result<Value, String> {
    let (Kind::Message(entry), Json::Object(members)) = (kind, json) else {
        return Err(unfit("an object", json));
    };
    let (key_kind, value_kind) = (entry.map_entry_key_field().kind(), entry.map_entry_value_field().kind());
    let mut entries = std::collections::HashMap::with_capacity(members.len());
    for (name, member) in members {
        let key = map_key(&key_kind, name).ok_or_else(|| format!("'{name}' is not a key of this map"))?;
        entries.insert(key, value(&value_kind, member)?);
    }
    Ok(Value::Map(entries))
}

fn map_key(kind: &Kind, name: &str) -> Option<MapKey> {
    value(kind, &Json::from(name)).ok()?.into_map_key()
}

fn value(kind: &Kind, json: &Json) -> Result<Value, String> {
    Ok(match kind {
        Kind::Bool => Value::Bool(boolean(json)?),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(whole(json)?),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(whole(json)?),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(whole(json)?),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(whole(json)?),
        #[expect(clippy::cast_possible_truncation, reason = "a float is what the schema asks for")]
        Kind::Float => Value::F32(real(json)? as f32),
        Kind::Double => Value::F64(real(json)?),
        Kind::String => Value::String(plain(json).ok_or_else(|| unfit("a text", json))?),
        Kind::Bytes => Value::Bytes(bytes(json)?.into()),
        Kind::Enum(kind) => Value::EnumNumber(enum_number(kind, json)?),
        Kind::Message(descriptor) => Value::Message(message(descriptor, json)?),
    })
}

fn message(descriptor: &MessageDescriptor, json: &Json) -> Result<DynamicMessage, String> {
    match Special::of(descriptor) {
        Some(Special::Transparent) => {
            let mut message = DynamicMessage::new(descriptor.clone());
            if let Some(field) = descriptor.get_field(1)
                && let Some(value) = field_value(&field, json)?
            {
                message.set_field(&field, value);
            }
            Ok(message)
        }
        Some(Special::AnyJson) => any_json(descriptor, json),
        Some(Special::Text) => {
            let text = json.as_str().ok_or_else(|| unfit("a text", json))?;
            DynamicMessage::deserialize(descriptor.clone(), Json::from(text))
                .map_err(|error| error.to_string())
        }
        Some(Special::Any) => any(descriptor, json),
        None => fields(descriptor, json),
    }
}

fn fields(descriptor: &MessageDescriptor, json: &Json) -> Result<DynamicMessage, String> {
    let members = json.as_object().ok_or_else(|| unfit("an object", json))?;
    let mut message = DynamicMessage::new(descriptor.clone());
    for (name, member) in members {
        let field = descriptor.get_field_by_json_name(name).or_else(|| descriptor.get_field_by_name(name));
        if let Some(field) = field
            && let Some(value) =
                field_value(&field, member).map_err(|problem| format!("{name}: {problem}"))?
        {
            message.set_field(&field, value);
        }
    }
    Ok(message)
}

/// `google.protobuf.Value`.
fn any_json(descriptor: &MessageDescriptor, json: &Json) -> Result<DynamicMessage, String> {
    let name = match json {
        Json::Null => "null_value",
        Json::Bool(_) => "bool_value",
        Json::Number(_) => "number_value",
        Json::String(_) => "string_value",
        Json::Object(_) => "struct_value",
        Json::Array(_) => "list_value",
    };
    let mut message = DynamicMessage::new(descriptor.clone());
    let field = descriptor.get_field_by_name(name);
    let field = field.ok_or("the message google.protobuf.Value is another one")?;
    let value = value(&field.kind(), json)?;
    message.try_set_field(&field, value).map_err(|_| "the message google.protobuf.Value is another one")?;
    Ok(message)
}

/// An object whose `@type` names its message.
fn any(descriptor: &MessageDescriptor, json: &Json) -> Result<DynamicMessage, String> {
    let url = json.get("@type").and_then(Json::as_str).ok_or("an Any is an object with '@type'")?;
    let name = url.rsplit('/').next().unwrap_or_default();
    let known = descriptor.parent_pool().get_message_by_name(name);
    let known = known.ok_or_else(|| format!("the schema has no message '{name}'"))?;
    let inner = match Special::of(&known) {
        Some(_) => message(&known, json.get("value").unwrap_or(&Json::Null))?,
        None => fields(&known, json)?,
    };
    let mut message = DynamicMessage::new(descriptor.clone());
    let url = Value::String(url.to_owned());
    let filled = message
        .try_set_field_by_number(1, url)
        .and_then(|()| message.try_set_field_by_number(2, Value::Bytes(inner.encode_to_vec().into())));
    filled.map_err(|_| "the message google.protobuf.Any is another one")?;
    Ok(message)
}

fn boolean(json: &Json) -> Result<bool, String> {
    match plain(json).as_deref() {
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(_) | None => Err(unfit("true or false", json)),
    }
}

/// A number without a fraction, however it is written.
fn whole<T: TryFrom<i128>>(json: &Json) -> Result<T, String> {
    let expected = || unfit("a whole number in the range of the field", json);
    let text = json.as_number().map(ToString::to_string).or_else(|| json.as_str().map(str::to_owned));
    let text = text.ok_or_else(expected)?;
    let is_number = json.is_number() || text.parse::<i128>().is_ok();
    let number = match numeric(&text) {
        _ if !is_number => None,
        Ok(Numeric::Long(long)) => Some(i128::from(long)),
        Ok(Numeric::Digits(digits)) => digits.parse().ok(),
        #[expect(clippy::cast_possible_truncation, reason = "it has no fraction and is below 2^53")]
        Ok(Numeric::Double(double)) if double.fract() == 0.0 && double.abs() < 9.0e15 => Some(double as i128),
        Ok(Numeric::Double(_)) | Err(_) => None,
    };
    number.and_then(|number| T::try_from(number).ok()).ok_or_else(expected)
}

fn real(json: &Json) -> Result<f64, String> {
    let expected = || unfit("a number", json);
    match json {
        Json::Number(number) => number.as_f64().ok_or_else(expected),
        Json::String(text) => match text.as_str() {
            "NaN" => Ok(f64::NAN),
            "Infinity" => Ok(f64::INFINITY),
            "-Infinity" => Ok(f64::NEG_INFINITY),
            text => text.parse().ok().filter(|number: &f64| number.is_finite()).ok_or_else(expected),
        },
        _ => Err(expected()),
    }
}

/// What is a text, or is taken as one.
fn plain(json: &Json) -> Option<String> {
    match json {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        Json::Bool(value) => Some(value.to_string()),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

fn bytes(json: &Json) -> Result<Vec<u8>, String> {
    let expected = || unfit("a text in base64", json);
    let text = json.as_str().ok_or_else(expected)?.trim_end_matches('=');
    let decoded = BASE64_STANDARD_NO_PAD.decode(text).or_else(|_| BASE64_URL_SAFE_NO_PAD.decode(text));
    decoded.map_err(|_| expected())
}

fn enum_number(kind: &EnumDescriptor, json: &Json) -> Result<i32, String> {
    if json.is_null() && crate::shape::is_null(kind) {
        return Ok(0);
    }
    match json {
        Json::String(name) => match kind.get_value_by_name(name) {
            Some(value) => Ok(value.number()),
            None => Err(format!("'{name}' is not a value of the enum {}", kind.full_name())),
        },
        other => whole(other),
    }
}

fn unfit(expected: &str, json: &Json) -> String {
    let found = match json {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    };
    format!("{expected} is due here, not {found}")
}
