//! What a script threw, in its own words and with the line.

use rquickjs::{Ctx, Error, Object, Value};

use crate::values::text_of;

/// The exception that is pending, or the error of the binding itself.
pub(crate) fn words(ctx: &Ctx<'_>, error: &Error, file: &str) -> String {
    if !error.is_exception() {
        return error.to_string();
    }
    let thrown = ctx.catch();
    match thrown.as_object().filter(|thrown| thrown.is_error()) {
        Some(object) => of_error(object, file),
        None => shown(&thrown).unwrap_or_else(|| "it threw something that cannot be shown".to_owned()),
    }
}

fn of_error(object: &Object<'_>, file: &str) -> String {
    let name = property(object, "name").filter(|name| !name.is_empty());
    let message = property(object, "message").unwrap_or_default();
    let place = property(object, "stack").and_then(|stack| place_in(&stack, file));
    let mut words = name.unwrap_or_else(|| "Error".to_owned());
    if !message.is_empty() {
        words.push_str(": ");
        words.push_str(&message);
    }
    if let Some(place) = place {
        words.push_str(&format!(" ({place})"));
    }
    words
}

/// What the property holds, as text. The script may have put anything there, a getter that throws as well.
fn property(object: &Object<'_>, name: &str) -> Option<String> {
    match object.get::<_, Value>(name) {
        Ok(value) if value.is_undefined() => None,
        Ok(value) => shown(&value),
        Err(_) => {
            drop(object.ctx().catch());
            None
        }
    }
}

fn shown(value: &Value<'_>) -> Option<String> {
    let text = text_of(value);
    if text.is_none() {
        drop(value.ctx().catch());
    }
    text
}

/// The innermost line of the script itself, as `file:line:column`.
fn place_in(stack: &str, file: &str) -> Option<String> {
    let start = stack.find(&format!("{file}:"))?;
    let rest = stack.get(start + file.len()..)?;
    let end = rest.find(|c: char| !(c == ':' || c.is_ascii_digit())).unwrap_or(rest.len());
    Some(format!("{file}{}", rest.get(..end)?.trim_end_matches(':')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_line_of_the_script_is_told() {
        let check = |stack: &str, expected: Option<&str>| {
            assert_eq!(place_in(stack, "soil.js").as_deref(), expected, "{stack}");
        };
        check("    at deep (soil.js:7:12)\n    at decodeUplink (soil.js:3:1)\n", Some("soil.js:7:12"));
        check("    at from (buffer)\n    at soil.js:7:12\n", Some("soil.js:7:12"));
        check("    at native\n", None);
        check("soil.js:", Some("soil.js"));
    }
}
