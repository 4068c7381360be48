//! `Node` → `Value`: device API §8.3, and the few places where the device API reads a value more freely.

use std::borrow::Cow;

use wireglot_model::Value;
use wireglot_model::number::{self, Numeric};

use super::JsonRules;
use super::read::Node;
use super::write::compact;

type Problem = &'static str;

/// What a sample's value is stored as; `None` for null, which is not stored.
pub(super) fn value(node: Node<'_>, rules: &JsonRules) -> Result<Option<Value>, Problem> {
    Ok(Some(match node {
        Node::Null => return Ok(None),
        Node::Bool(value) => Value::Bool(value),
        Node::Number(text) => number_value(text, rules)?,
        Node::Text(text) => text_value(text, rules)?,
        Node::Array(_) | Node::Object(_) => Value::Json(compact(&node)),
    }))
}

fn number_value(text: &str, rules: &JsonRules) -> Result<Value, Problem> {
    match number::numeric(text) {
        Ok(Numeric::Long(long)) => Ok(Value::Long(long)),
        Ok(Numeric::Double(double)) => Ok(Value::Double(double)),
        Ok(Numeric::Digits(digits)) if rules.type_cast => Ok(Value::Text(digits)),
        Ok(Numeric::Digits(_)) => Err("the number fits neither 64 bits nor a double of 16 decimals"),
        Err(number::ExponentTooLarge) => Err("the exponent of the number is too large"),
    }
}

fn text_value(text: Cow<'_, str>, rules: &JsonRules) -> Result<Value, Problem> {
    if rules.string_units_max.is_some_and(|max| text.encode_utf16().nth(max).is_some()) {
        return Err("the string is too long");
    }
    Ok(if rules.type_cast { number::cast(text) } else { Value::Text(text.into_owned()) })
}

/// The time of a record: a number, an integer in a string, or an array that holds just one of these (§8.2).
pub(super) fn timestamp(node: &Node<'_>) -> Result<i64, Problem> {
    let millis = match only_element(node) {
        Node::Number(text) => number::truncated(text),
        Node::Text(text) => number::integer(text),
        Node::Null | Node::Bool(_) | Node::Array(_) | Node::Object(_) => None,
    };
    millis.ok_or("the time must be a 64-bit integer, in milliseconds since 1970")
}

/// What is a text, or is read as one where a text is due: a number, a boolean, an array of just one of these.
pub(super) fn scalar_text<'n>(node: &'n Node<'_>) -> Option<Cow<'n, str>> {
    match only_element(node) {
        Node::Text(text) => Some(Cow::Borrowed(text)),
        Node::Number(text) => Some(Cow::Borrowed(text)),
        Node::Bool(value) => Some(Cow::Borrowed(if *value { "true" } else { "false" })),
        Node::Null | Node::Array(_) | Node::Object(_) => None,
    }
}

fn only_element<'n, 'a>(mut node: &'n Node<'a>) -> &'n Node<'a> {
    while let Node::Array(elements) = node
        && let [element] = elements.as_slice()
    {
        node = element;
    }
    node
}
