//! Every answer that any test gets is held against `openapi.json`: its status, its content type, its shape.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::{Method, StatusCode};
use serde_json::{Map, Value};

/// The document as it is committed.
pub(super) static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../openapi.json")).expect("it is JSON"));

/// Shapes that keep members which nobody knows.
const OPEN: [&str; 5] = [
    "DeviceProfile",
    "ProfileData",
    "TransportConfiguration",
    "PayloadConfiguration",
    "ProvisionConfiguration",
];

/// The operation that a request meets; `None` where there is none.
fn operation<'a>(method: &Method, path: &str) -> Option<&'a Value> {
    let parts: Vec<&str> = path.split('/').collect();
    let meets = |template: &str| {
        let places: Vec<&str> = template.split('/').collect();
        let fits =
            |(place, part): (&&str, &&str)| place == part || (place.starts_with('{') && !part.is_empty());
        (places.len() == parts.len() && places.iter().zip(&parts).all(fits))
            .then(|| places.iter().filter(|place| place.starts_with('{')).count())
    };
    let paths = DOCUMENT["paths"].as_object().unwrap().iter();
    let met = paths.filter_map(|(template, item)| Some((meets(template)?, item)));
    // What is written out wins over a parameter, as in the router.
    let (_, item) = met.min_by_key(|(parameters, _)| *parameters)?;
    item.get(method.as_str().to_lowercase())
}

/// Fails where an answer is not what the document says.
#[track_caller]
pub(super) fn check(method: &Method, uri: &str, status: StatusCode, kind: Option<&str>, bytes: &[u8]) {
    let path = uri.split('?').next().unwrap();
    let Some(operation) = operation(method, path) else { return };
    let place = format!("{method} {uri}: {status}");
    let answer = resolve(&operation["responses"][status.as_str()]);
    assert!(answer.is_object(), "{place} is not in openapi.json: {}", String::from_utf8_lossy(bytes));
    let Some(content) = answer.get("content").and_then(Value::as_object) else {
        assert!(bytes.is_empty(), "{place} has a body, and openapi.json has none");
        return;
    };
    let kind = kind.unwrap_or_default().split(';').next().unwrap().trim();
    let Some(media) = content.get(kind).or_else(|| content.get("*/*")) else {
        panic!("{place}: openapi.json has no {kind:?}");
    };
    if kind == "application/json" {
        let body: Value = serde_json::from_slice(bytes).unwrap_or_else(|error| panic!("{place}: {error}"));
        if let Err(reason) = fits(&media["schema"], &body, "body") {
            panic!("{place}: {reason}, says openapi.json: {body}");
        }
    }
}

/// What a reference leads to.
pub(super) fn resolve(value: &Value) -> &Value {
    match value.get("$ref").and_then(Value::as_str) {
        Some(reference) => DOCUMENT.pointer(reference.strip_prefix('#').unwrap()).unwrap_or(&Value::Null),
        None => value,
    }
}

/// As much of JSON Schema as the document uses. Members that are not described are refused, which JSON Schema allows.
fn fits(schema: &Value, value: &Value, place: &str) -> Result<(), String> {
    fits_rules(schema, value, false, place)
}

/// The same; of a part of a shape, members of its other parts are not refused.
fn fits_rules(schema: &Value, value: &Value, is_part: bool, place: &str) -> Result<(), String> {
    let name = schema.get("$ref").and_then(Value::as_str).and_then(|name| name.rsplit('/').next());
    let schema = resolve(schema);
    let Some(rules) = schema.as_object() else { return Err(format!("{place}: no schema {schema}")) };
    for (word, rule) in rules {
        match word.as_str() {
            "type" => fits_type(rule, value, place)?,
            "enum" if !rule.as_array().unwrap().contains(value) => {
                return Err(format!("{place}: {value} is none of {rule}"));
            }
            "oneOf" | "anyOf" => {
                let choices = rule.as_array().unwrap().iter().map(|choice| fits(choice, value, place));
                let refusals: Vec<String> = choices.clone().filter_map(Result::err).collect();
                if choices.clone().all(|choice| choice.is_err()) {
                    return Err(refusals.join(" and "));
                }
            }
            "allOf" => {
                rule.as_array().unwrap().iter().try_for_each(|part| fits_rules(part, value, true, place))?;
            }
            "minimum" if value.as_f64().is_some_and(|value| Some(value) < rule.as_f64()) => {
                return Err(format!("{place}: {value} is below {rule}"));
            }
            "format"
                if rule == "uuid" && value.as_str().is_some_and(|id| id.parse::<uuid::Uuid>().is_err()) =>
            {
                return Err(format!("{place}: {value} is no UUID"));
            }
            _ => {}
        }
    }
    if let (Some(items), Some(schema)) = (value.as_array(), rules.get("items")) {
        for (index, item) in items.iter().enumerate() {
            fits(schema, item, &format!("{place}[{index}]"))?;
        }
    }
    match value.as_object() {
        Some(members) => {
            // A profile on a page has no name here.
            let is_profile = rules.get("properties").is_some_and(|known| known.get("profileData").is_some());
            let is_open = is_part || is_profile || name.is_some_and(|name| OPEN.contains(&name));
            fits_members(rules, members, is_open, place)
        }
        None => Ok(()),
    }
}

fn fits_type(rule: &Value, value: &Value, place: &str) -> Result<(), String> {
    let is = |kind: &Value| match kind.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{place}: what is {other}?"),
    };
    let fits = rule.as_array().map_or_else(|| is(rule), |kinds| kinds.iter().any(is));
    if fits { Ok(()) } else { Err(format!("{place}: {value} is no {rule}")) }
}

fn fits_members(
    rules: &Map<String, Value>,
    members: &Map<String, Value>,
    is_open: bool,
    place: &str,
) -> Result<(), String> {
    let required = rules.get("required").and_then(Value::as_array).into_iter().flatten();
    if let Some(missing) = required.filter_map(Value::as_str).find(|name| !members.contains_key(*name)) {
        return Err(format!("{place}: '{missing}' is missing"));
    }
    let known = properties(rules);
    let other = rules.get("additionalProperties");
    for (name, member) in members {
        let place = format!("{place}.{name}");
        match (known.get(name.as_str()), other) {
            (Some(schema), _) => fits(schema, member, &place)?,
            (None, Some(schema)) if schema.is_object() => fits(schema, member, &place)?,
            (None, _) if !known.is_empty() && !is_open => return Err(format!("{place} is not described")),
            (None, _) => {}
        }
    }
    Ok(())
}

/// What is described of an object: by itself and by its parts.
fn properties(rules: &Map<String, Value>) -> BTreeMap<&str, &Value> {
    let own = rules.get("properties").and_then(Value::as_object).into_iter().flatten();
    let parts = rules.get("allOf").and_then(Value::as_array).into_iter().flatten();
    let of_parts = parts.filter_map(|part| resolve(part).as_object()).flat_map(properties);
    own.map(|(name, schema)| (name.as_str(), schema)).chain(of_parts).collect()
}
