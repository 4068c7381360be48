//! JavaScript's values as values of the contract, and back.
//!
//! | JavaScript | Value |
//! |---|---|
//! | number without a fraction, up to 2⁵³ either way | long |
//! | any other finite number | double |
//! | NaN, infinities | left out, with a warning |
//! | bigint | long; text where it needs more than 64 bits |
//! | boolean, string | the same; a half of a surrogate pair becomes U+FFFD |
//! | array, object | JSON, as `JSON.stringify` writes it |
//! | what has `toJSON`, such as a date | what `JSON.stringify` makes of it: for a date its ISO text |
//! | undefined, null, function, symbol | left out |

use rquickjs::{qjs, Array, BigInt, Coerced, Ctx, Object, Type, Value as Js};
use wireglot_sdk::{malformed, Refusal, Samples, Value};

use crate::machine::Call;

/// The largest integer up to which every integer is a number of JavaScript's.
const INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

/// The named values of an object.
pub(crate) fn samples<'js>(
    call: &Call<'_, 'js>,
    data: &Object<'js>,
    warnings: &mut Vec<String>,
) -> Result<Samples, Refusal> {
    let mut samples = Samples::new();
    for name in data.keys::<Js>() {
        let name = name.map_err(|error| call.refused(&error))?;
        let value: Js = data.get(name.clone()).map_err(|error| call.refused(&error))?;
        let name = text_of(&name).unwrap_or_default();
        if let Some(value) = sample(call, &name, &value, warnings)? {
            samples.add(&name, value);
        }
    }
    Ok(samples)
}

/// The named values of an object and of the objects in it, their names joined by dots. The outermost object's `time`
/// is left out: it is when the values were measured.
pub(crate) fn flattened<'js>(
    call: &Call<'_, 'js>,
    prefix: &str,
    data: &Object<'js>,
    depth_left: u8,
    warnings: &mut Vec<String>,
    samples: &mut Samples,
) -> Result<(), Refusal> {
    for name in data.keys::<Js>() {
        let name = name.map_err(|error| call.refused(&error))?;
        let value: Js = data.get(name.clone()).map_err(|error| call.refused(&error))?;
        let name = format!("{prefix}{}", text_of(&name).unwrap_or_default());
        if name == "time" {
            continue;
        }
        let inner = value.as_object().filter(|_| depth_left > 0 && is_plain(&value));
        if let Some(inner) = inner {
            flattened(call, &format!("{name}."), inner, depth_left - 1, warnings, samples)?;
        } else if let Some(value) = sample(call, &name, &value, warnings)? {
            samples.add(&name, value);
        }
    }
    Ok(())
}

fn is_plain(value: &Js<'_>) -> bool {
    // SAFETY: it only looks at the class of a value that we hold.
    #[allow(unsafe_code, reason = "the safe interface does not tell dates")]
    let date = unsafe { qjs::JS_IsDate(value.as_raw()) };
    !date && !value.is_array() && !value.is_function() && !value.is_error()
}

fn sample<'js>(
    call: &Call<'_, 'js>,
    name: &str,
    value: &Js<'js>,
    warnings: &mut Vec<String>,
) -> Result<Option<Value>, Refusal> {
    Ok(match value.type_of() {
        Type::Bool => value.as_bool().map(Value::Boolean),
        Type::Int => value.as_int().map(|number| Value::Long(number.into())),
        Type::Float => match value.as_float() {
            Some(number) if number.is_finite() => Some(number_value(number)),
            number => {
                let shown = number.map_or("no number", |n| if n.is_nan() { "NaN" } else { "infinite" });
                warnings.push(format!("{name} is {shown}; left out"));
                None
            }
        },
        Type::String => text_of(value).map(Value::Text),
        Type::BigInt => value.as_big_int().and_then(big_value),
        Type::Undefined | Type::Uninitialized | Type::Null | Type::Symbol | Type::Function => None,
        Type::Constructor | Type::Module | Type::Unknown => None,
        Type::Array | Type::Promise | Type::Exception | Type::Object | Type::Proxy => {
            json_value(call, value)?
        }
    })
}

fn number_value(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() <= INTEGER_MAX {
        Value::Long(number as i64)
    } else {
        Value::Double(number)
    }
}

fn big_value(number: &BigInt<'_>) -> Option<Value> {
    let digits = text_of(number)?;
    Some(digits.parse().map(Value::Long).unwrap_or(Value::Text(digits)))
}

fn json_value<'js>(call: &Call<'_, 'js>, value: &Js<'js>) -> Result<Option<Value>, Refusal> {
    let text = call.ctx.json_stringify(value.clone()).map_err(|error| call.refused(&error))?;
    let Some(text) = text.and_then(|text| text_of(&text)) else { return Ok(None) };
    if text.starts_with(['{', '[']) {
        return Ok(Some(Value::Json(whole_characters(text))));
    }
    // `toJSON` gave a simple value, or it is an object around one. It has no getters any more.
    let simple = call.ctx.json_parse(text).map_err(|error| call.refused(&error))?;
    sample(call, "", &simple, &mut Vec::new())
}

/// JSON with the escape of half a surrogate pair, which `JSON.stringify` may write, is not JSON to everyone.
fn whole_characters(json: String) -> String {
    if !json.contains("\\ud") {
        return json;
    }
    let mut whole = String::with_capacity(json.len());
    let mut rest = json.as_str();
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        whole.push_str(before);
        let half = escape.starts_with("\\ud");
        let length = if half { 6 } else { 2 };
        let (escape, after) = escape.split_at_checked(length).unwrap_or((escape, ""));
        whole.push_str(if half { "\\ufffd" } else { escape });
        rest = after;
    }
    whole.push_str(rest);
    whole
}

/// What `String(value)` gives; `None` where that throws, with the exception pending.
///
/// QuickJS writes half a surrogate pair in the manner of UTF-8, which it is not: it becomes U+FFFD.
pub(crate) fn text_of(value: &Js<'_>) -> Option<String> {
    let ctx = value.ctx().as_raw().as_ptr();
    let mut length = 0;
    // SAFETY: value and context belong together; QuickJS gives NULL, or `length` bytes that stay until they are
    // freed, once, below.
    #[allow(unsafe_code, reason = "the safe interface takes it for granted that every string is UTF-8")]
    unsafe {
        let start = qjs::JS_ToCStringLen(ctx, &mut length, value.as_raw());
        if start.is_null() {
            return None;
        }
        let text = utf8(core::slice::from_raw_parts(start.cast::<u8>(), length as usize));
        qjs::JS_FreeCString(ctx, start);
        Some(text)
    }
}

fn utf8(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    loop {
        match core::str::from_utf8(rest) {
            Ok(valid) => {
                text.push_str(valid);
                return text;
            }
            Err(error) => {
                let (valid, broken) = rest.split_at(error.valid_up_to());
                text.push_str(&String::from_utf8_lossy(valid));
                text.push('\u{fffd}');
                // Half a pair takes three bytes.
                let half = matches!(broken, [0xED, 0xA0..=0xBF, 0x80..=0xBF, ..]);
                rest = broken.get(if half { 3 } else { 1 }..).unwrap_or_default();
            }
        }
    }
}

/// The texts in a list, as remarks are given; anything that is no list is one text.
pub(crate) fn texts<'js>(call: &Call<'_, 'js>, value: &Js<'js>) -> Result<Vec<String>, Refusal> {
    /// More are not kept anyway.
    const TEXTS_MAX: u32 = 64;
    if value.is_undefined() || value.is_null() {
        return Ok(Vec::new());
    }
    let Some(list) = value.as_object().filter(|_| value.is_array()) else {
        return Ok(text_of(value).filter(|text| !text.is_empty()).into_iter().collect());
    };
    let mut texts = Vec::new();
    for index in 0..length(call, list)?.min(TEXTS_MAX) {
        let item: Js = list.get(index).map_err(|error| call.refused(&error))?;
        match text_of(&item) {
            Some(text) => texts.push(text),
            None => return Err(call.refused(&rquickjs::Error::Exception)),
        }
    }
    Ok(texts)
}

/// The bytes of a list of numbers, a `Buffer` or any typed array, each cut to eight bits.
pub(crate) fn bytes<'js>(call: &Call<'_, 'js>, value: &Js<'js>, whose: &str) -> Result<Vec<u8>, Refusal> {
    /// More fit no frame.
    const BYTES_MAX: u32 = 65_536;
    let wanted = || malformed(format!("{whose} must be a list of bytes"));
    let list = value.as_object().ok_or_else(wanted)?;
    let length = length(call, list)?;
    if length > BYTES_MAX {
        return Err(malformed(format!("{whose} has {length} bytes; at most {BYTES_MAX} can be sent")));
    }
    let mut bytes = Vec::with_capacity(length as usize);
    for index in 0..length {
        let item: Js = list.get(index).map_err(|error| call.refused(&error))?;
        let byte = item.as_number().ok_or_else(wanted)?;
        bytes.push((byte as i64) as u8);
    }
    Ok(bytes)
}

pub(crate) fn length<'js>(call: &Call<'_, 'js>, list: &Object<'js>) -> Result<u32, Refusal> {
    let length: Js = list.get("length").map_err(|error| call.refused(&error))?;
    let length = length.as_number().ok_or_else(|| malformed("a list has no length"))?;
    Ok(length.clamp(0.0, f64::from(u32::MAX)) as u32)
}

/// A list of numbers, as scripts expect the payload: `bytes.slice`, `bytes.map` and the rest must work on it.
pub(crate) fn byte_array<'js>(ctx: &Ctx<'js>, bytes: &[u8]) -> rquickjs::Result<Array<'js>> {
    let array = Array::new(ctx.clone())?;
    for (index, byte) in bytes.iter().enumerate() {
        array.set(index, i32::from(*byte))?;
    }
    Ok(array)
}

/// A `Date`.
pub(crate) fn date<'js>(ctx: &Ctx<'js>, ms: i64) -> Js<'js> {
    // SAFETY: the new value is ours, and of this context.
    #[allow(unsafe_code, reason = "the safe interface would ask the script's own `Date`")]
    unsafe {
        Js::from_raw(ctx.clone(), qjs::JS_NewDate(ctx.as_raw().as_ptr(), ms as f64))
    }
}

/// Values of the contract as an object.
pub(crate) fn object_of<'js>(
    ctx: &Ctx<'js>,
    samples: &[wireglot_sdk::Sample],
) -> rquickjs::Result<Object<'js>> {
    let object = Object::new(ctx.clone())?;
    for sample in samples {
        let name = sample.key.as_str();
        match &sample.value {
            Value::Boolean(value) => object.set(name, *value)?,
            // As JSON would come: beyond 2⁵³ it is the nearest number there is.
            Value::Long(value) => object.set(name, *value as f64)?,
            Value::Double(value) => object.set(name, *value)?,
            Value::Text(value) => object.set(name, value.as_str())?,
            Value::Json(value) => object.set(name, ctx.json_parse(value.as_str())?)?,
        }
    }
    Ok(object)
}

/// The integer that a property holds.
pub(crate) fn integer(value: &Js<'_>) -> Option<i64> {
    value.get::<Coerced<f64>>().ok().map(|number| number.0).filter(|n| n.fract() == 0.0).map(|n| n as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_a_pair_become_replacement_characters() {
        let check = |json: &str, expected: &str| assert_eq!(whole_characters(json.into()), expected);
        check(r#"["a\ud83db"]"#, r#"["a\ufffdb"]"#);
        check(r#"["\\ud800"]"#, r#"["\\ud800"]"#);
        check(r#"["\"\udc00"]"#, r#"["\"\ufffd"]"#);
        check(r#"["\u00e9"]"#, r#"["\u00e9"]"#);
        assert_eq!(utf8(b"a\xED\xA0\xBDb"), "a\u{fffd}b");
        assert_eq!(utf8("aé😀".as_bytes()), "aé😀");
        assert_eq!(utf8(b"\xED"), "\u{fffd}");
    }

    #[test]
    fn a_number_without_a_fraction_is_a_long() {
        let check = |number: f64, expected: Value| {
            assert_eq!(format!("{:?}", number_value(number)), format!("{expected:?}"));
        };
        check(20.0, Value::Long(20));
        check(-0.0, Value::Long(0));
        check(20.5, Value::Double(20.5));
        check(9_007_199_254_740_992.0, Value::Long(9_007_199_254_740_992));
        check(1e300, Value::Double(1e300));
    }
}
