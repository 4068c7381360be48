//! Key-value data as the device API has it: five types, and how the server writes them.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

use crate::limits::KEY_CHARS_MAX;

/// One typed value.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Value {
    /// BOOLEAN
    Bool(bool),
    /// LONG, 64-bit signed.
    Long(i64),
    /// DOUBLE; always finite: whoever makes one has checked.
    Double(f64),
    /// STRING
    Text(String),
    /// JSON: a compact, valid JSON document.
    Json(String),
}

/// A named value.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// Case-sensitive, 1 to 255 characters.
    pub key: String,
    /// What was measured.
    pub value: Value,
}

/// Whether a sample may have this key; with another it is dropped and its message still acknowledged (device API §8.4).
pub fn is_storable_key(key: &str) -> bool {
    let is_long = key.len() > KEY_CHARS_MAX && key.chars().count() > KEY_CHARS_MAX;
    !is_long && !key.chars().all(char::is_whitespace)
}

impl Value {
    /// The value as a JSON token: what the server writes inside a JSON document.
    pub fn write_json(&self, out: &mut String) {
        match self {
            Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Value::Long(value) => push(out, format_args!("{value}")),
            Value::Double(value) => write_double(*value, out),
            Value::Text(text) => write_json_string(text, out),
            Value::Json(json) => out.push_str(json),
        }
    }

    /// What its text takes; a value of another kind has none.
    pub fn text_bytes(&self) -> usize {
        match self {
            Value::Text(text) | Value::Json(text) => text.len(),
            Value::Bool(_) | Value::Long(_) | Value::Double(_) => 0,
        }
    }

    /// The value as plain text, as the telemetry endpoints show it by default: strings without quotes.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        match self {
            Value::Text(text) => out.push_str(text),
            Value::Bool(_) | Value::Long(_) | Value::Double(_) | Value::Json(_) => self.write_json(&mut out),
        }
        out
    }
}

/// Writes `text` as a JSON string with quotes and escapes.
pub fn write_json_string(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if (control as u32) < 0x20 => push(out, format_args!("\\u{:04x}", control as u32)),
            other => out.push(other),
        }
    }
    out.push('"');
}

/// Valid JSON without white space between its tokens.
pub fn compact_json(text: String) -> String {
    if !text.chars().any(between_tokens()) {
        return text;
    }
    let mut between_tokens = between_tokens();
    text.chars().filter(|&character| !between_tokens(character)).collect()
}

/// Fed with valid JSON, character by character, it tells the white space outside strings.
fn between_tokens() -> impl FnMut(char) -> bool {
    let (mut in_string, mut escaped) = (false, false);
    move |character| {
        match character {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            ' ' | '\t' | '\n' | '\r' => return !in_string,
            _ => {}
        }
        false
    }
}

/// A double as Java's `Double.toString` spells it, because clients compare the text: `42.0`, `1.0E10`, `1.0E-5`.
pub fn write_double(value: f64, out: &mut String) {
    let magnitude = value.abs();
    if magnitude == 0.0 || (1e-3..1e7).contains(&magnitude) {
        push(out, format_args!("{value:?}"));
        return;
    }
    let scientific = format!("{value:E}");
    match scientific.split_once('E') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => {
            push(out, format_args!("{mantissa}.0E{exponent}"))
        }
        _ => out.push_str(&scientific),
    }
}

fn push(out: &mut String, text: fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: Value, json: &str, text: &str) {
        let mut out = String::new();
        value.write_json(&mut out);
        assert_eq!(out, json);
        assert_eq!(value.to_text(), text);
    }

    #[test]
    fn values_are_written_as_clients_compare_them() {
        for (value, text) in [
            (42.0, "42.0"),
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1e10, "1.0E10"),
            (12_345_678.0, "1.2345678E7"),
            (1_234_567.0, "1234567.0"),
            (0.001, "0.001"),
            (0.000_1, "1.0E-4"),
            (27.2, "27.2"),
        ] {
            check(Value::Double(value), text, text);
        }
        check(Value::Long(-7), "-7", "-7");
        check(Value::Bool(true), "true", "true");
        check(Value::Text("a\"\n\u{1}".into()), "\"a\\\"\\n\\u0001\"", "a\"\n\u{1}");
        check(Value::Json("{\"a\":1}".into()), "{\"a\":1}", "{\"a\":1}");
    }
}
