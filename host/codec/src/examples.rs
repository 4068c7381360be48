//! Vendors' examples as vectors: those of The Things Network's device repository (YAML) and of the LoRa Alliance's
//! payload codec API (JSON).
//!
//! An example becomes a vector of our own format, so that one comparison serves all. JavaScript has one kind of number:
//! an example's 20.0 and the codec's 20 are the same, and a null is a value that is not there.

use serde_json::{Map, Number, Value as Json, json};
use wireglot_model::Timestamp;
use wireglot_model::limits::EXAMPLES_DEPTH_MAX;
use yaml_rust2::Yaml;
use yaml_rust2::parser::{Event, Parser, Tag};
use yaml_rust2::scanner::TScalarStyle;

/// The vectors in a vendor's YAML file.
pub(crate) fn from_yaml(content: &[u8]) -> Result<Json, String> {
    let text = std::str::from_utf8(content).map_err(|error| error.to_string())?;
    vectors(&read_yaml(text)?)
}

/// The vectors in a vendor's JSON file.
pub(crate) fn from_json(content: &[u8]) -> Result<Json, String> {
    vectors(&serde_json::from_slice(content).map_err(|error| error.to_string())?)
}

fn vectors(document: &Json) -> Result<Json, String> {
    let listed = document
        .as_array()
        .or_else(|| document.get("uplinkDecoder")?.get("examples")?.as_array())
        .or_else(|| document.get("examples")?.as_array());
    let Some(examples) = listed else {
        // A description of a codec without examples is as good as none.
        let describes = document.get("uplinkDecoder").is_some() || document.is_null();
        return if describes {
            Ok(json!({"vectors": []}))
        } else {
            Err("there is no list of examples".to_owned())
        };
    };
    let is_uplink = |example: &&Json| example.get("type").is_none_or(|kind| kind == "uplink");
    let vectors: Vec<Json> = examples
        .iter()
        .filter(is_uplink)
        .enumerate()
        .map(|(index, example)| {
            let name = example.get("description").and_then(Json::as_str).map(str::to_owned);
            let name = name.unwrap_or_else(|| format!("example {}", index + 1));
            vector(&name, example).map_err(|problem| format!("{name}: {problem}"))
        })
        .collect::<Result<_, _>>()?;
    Ok(json!({ "vectors": vectors }))
}

fn vector(name: &str, example: &Json) -> Result<Json, String> {
    let input = example.get("input").ok_or("it has no `input`")?;
    let mut vector = Map::new();
    vector.insert("device".to_owned(), Json::from(name));
    vector.insert("hex".to_owned(), Json::from(hex_of(input.get("bytes").unwrap_or(&Json::Null))?));
    if let Some(port) = input.get("fPort").filter(|port| !port.is_null()) {
        vector.insert("fport".to_owned(), port.clone());
    }
    if let Some(text) = input.get("recvTime").and_then(Json::as_str) {
        let received = Timestamp::parse_rfc3339(text).ok_or("`recvTime` is no RFC 3339 time")?;
        vector.insert("received".to_owned(), Json::from(received.0));
    }
    let output = example.get("output").ok_or("it has no `output`")?;
    if output.get("errors").and_then(Json::as_array).is_some_and(|errors| !errors.is_empty()) {
        vector.insert("refused".to_owned(), Json::from("malformed"));
        return Ok(Json::Object(vector));
    }
    let Some(Json::Object(data)) = output.get("data") else {
        return Err("its `output` has neither `data` nor `errors`".to_owned());
    };
    let normalized = example.get("normalizedOutput").and_then(|output| output.get("data"));
    let (measurements, normalize) = expected(data, normalized)?;
    let settings = match input.get("variables") {
        Some(variables @ Json::Object(_)) => json!({"normalize": normalize, "variables": variables}),
        Some(_) | None => json!({ "normalize": normalize }),
    };
    vector.insert("settings".to_owned(), settings);
    vector.insert("expected".to_owned(), Json::Array(measurements));
    Ok(Json::Object(vector))
}

/// What the script must give, and how it must treat what it normalises: examples without it were made without it.
fn expected(
    data: &Map<String, Json>,
    normalized: Option<&Json>,
) -> Result<(Vec<Json>, &'static str), String> {
    let mut now = Map::new();
    for (key, value) in data.iter().filter(|(_, value)| !value.is_null()) {
        now.insert(key.clone(), settled(value));
    }
    let list = match normalized {
        None => return Ok((vec![measurement(None, now)], "off")),
        Some(Json::Array(list)) => list.as_slice(),
        Some(one) => std::slice::from_ref(one),
    };
    let mut later = Vec::new();
    for item in list {
        let Json::Object(item) = item else {
            return Err("its `normalizedOutput` is no list of objects".to_owned());
        };
        let ts = match item.get("time").and_then(Json::as_str) {
            None => None,
            Some(text) => Some(Timestamp::parse_rfc3339(text).ok_or("a `time` is no RFC 3339 time")?),
        };
        let mut values = Map::new();
        flatten("", item, &mut values);
        match ts {
            None => now.extend(values),
            Some(ts) => later.push(measurement(Some(ts), values)),
        }
    }
    later.insert(0, measurement(None, now));
    Ok((later, "beside"))
}

fn measurement(ts: Option<Timestamp>, values: Map<String, Json>) -> Json {
    json!({"ts": ts.map(|ts| ts.0), "values": values})
}

/// As the script engine names what `normalizeUplink` gives.
fn flatten(prefix: &str, data: &Map<String, Json>, values: &mut Map<String, Json>) {
    for (key, value) in data {
        let name = format!("{prefix}{key}");
        match value {
            Json::Null => {}
            _ if name == "time" => {}
            Json::Object(inner) => flatten(&format!("{name}."), inner, values),
            other => drop(values.insert(name, settled(other))),
        }
    }
}

/// The value with whole numbers as integers, at any depth.
fn settled(value: &Json) -> Json {
    match value {
        Json::Number(number) => Json::Number(whole(number).unwrap_or_else(|| number.clone())),
        Json::Array(items) => items.iter().map(settled).collect(),
        Json::Object(fields) => {
            Json::Object(fields.iter().map(|(key, value)| (key.clone(), settled(value))).collect())
        }
        Json::Null | Json::Bool(_) | Json::String(_) => value.clone(),
    }
}

fn whole(number: &Number) -> Option<Number> {
    // Up to there every integer is a number of JavaScript's.
    const INTEGER_MAX: f64 = 9_007_199_254_740_992.0;
    let value = number.as_f64().filter(|value| value.fract() == 0.0 && value.abs() <= INTEGER_MAX)?;
    Some(Number::from(value as i64))
}

fn hex_of(bytes: &Json) -> Result<String, String> {
    match bytes {
        Json::String(digits) => Ok(digits.clone()),
        Json::Array(bytes) => bytes
            .iter()
            .map(|byte| {
                let byte = byte.as_u64().and_then(|byte| u8::try_from(byte).ok());
                byte.map(|byte| format!("{byte:02x}"))
                    .ok_or_else(|| "`bytes` holds something else".to_owned())
            })
            .collect(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_) => {
            Err("its `input` has no `bytes`".to_owned())
        }
    }
}

/// The first document of a YAML text. Aliases are refused: a few lines of them can stand for gigabytes.
fn read_yaml(text: &str) -> Result<Json, String> {
    let mut parser = Parser::new_from_str(text);
    let mut open: Vec<Open> = Vec::new();
    loop {
        let (event, mark) = parser.next_token().map_err(|error| error.to_string())?;
        let done = match event {
            Event::Scalar(text, style, _, tag) => Some(scalar(text, style, tag)),
            Event::SequenceStart(..) => {
                open.push(Open::Sequence(Vec::new()));
                None
            }
            Event::MappingStart(..) => {
                open.push(Open::Mapping(Map::new(), None));
                None
            }
            Event::SequenceEnd | Event::MappingEnd => open.pop().map(Open::close),
            Event::Alias(_) => return Err(format!("line {}: aliases are not supported", mark.line())),
            Event::DocumentEnd | Event::StreamEnd => return Ok(Json::Null),
            Event::Nothing | Event::StreamStart | Event::DocumentStart => None,
        };
        if open.len() > EXAMPLES_DEPTH_MAX {
            return Err(format!("line {}: nested deeper than {EXAMPLES_DEPTH_MAX}", mark.line()));
        }
        let Some(done) = done else { continue };
        match open.last_mut() {
            None => return Ok(done),
            Some(parent) => parent.add(done),
        }
    }
}

/// A collection that has not ended yet.
enum Open {
    Sequence(Vec<Json>),
    Mapping(Map<String, Json>, Option<String>),
}

impl Open {
    fn add(&mut self, value: Json) {
        match self {
            Self::Sequence(items) => items.push(value),
            Self::Mapping(fields, key @ Some(_)) => {
                fields.extend(key.take().map(|key| (key, value)));
            }
            Self::Mapping(_, key @ None) => {
                *key = Some(match value {
                    Json::String(text) => text,
                    other => other.to_string(),
                });
            }
        }
    }

    fn close(self) -> Json {
        match self {
            Self::Sequence(items) => Json::Array(items),
            Self::Mapping(fields, _) => Json::Object(fields),
        }
    }
}

fn scalar(text: String, style: TScalarStyle, tag: Option<Tag>) -> Json {
    if style != TScalarStyle::Plain || tag.is_some() {
        return Json::String(text);
    }
    match Yaml::from_str(&text) {
        Yaml::Integer(number) => Json::from(number),
        Yaml::Real(_) => {
            text.parse().ok().and_then(Number::from_f64).map_or(Json::String(text), Json::Number)
        }
        Yaml::Boolean(value) => Json::Bool(value),
        Yaml::Null | Yaml::BadValue => Json::Null,
        Yaml::String(_) | Yaml::Array(_) | Yaml::Hash(_) | Yaml::Alias(_) => Json::String(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(found: Result<Json, String>, expected: &str) {
        assert_eq!(found.unwrap(), serde_json::from_str::<Json>(expected).unwrap());
    }

    const YAML: &str = r#"
# Of a device repository
uplinkDecoder:
  fileName: soil.js
  examples:
    - description: "Dry: soil"
      input:
        fPort: 1
        bytes: [0, 0xd7, 1]
      output:
        data:
          temperature: 21.0
          moisture: dry
          battery: null
          raw: {bytes: [1.0, 2.5]}
        warnings: []
      normalizedOutput:
        data:
          - soil: {temperature: 21.0}
          - time: "2024-05-01T10:00:00Z"
            soil: {temperature: 20.5}
    - input: {fPort: 9, bytes: []}
      output:
        errors: [unknown FPort]
downlinkEncoder:
  fileName: soil.js
"#;

    #[test]
    fn examples_of_the_device_repository_are_vectors() {
        check(
            from_yaml(YAML.as_bytes()),
            r#"{"vectors":[
                {"device":"Dry: soil","hex":"00d701","fport":1,"settings":{"normalize":"beside"},"expected":[
                    {"ts":null,"values":{"temperature":21,"moisture":"dry","raw":{"bytes":[1,2.5]},
                        "soil.temperature":21}},
                    {"ts":1714557600000,"values":{"soil.temperature":20.5}}]},
                {"device":"example 2","hex":"","fport":9,"refused":"malformed"}]}"#,
        );
        check(from_yaml(b"uplinkDecoder: {fileName: a.js}"), r#"{"vectors":[]}"#);
        check(from_yaml(b"# nothing\n"), r#"{"vectors":[]}"#);
    }

    #[test]
    fn examples_of_the_alliance_are_vectors() {
        let json = r#"[
            {"type":"downlink-encode","input":{"data":{}},"output":{"bytes":[1]}},
            {"type":"uplink","description":"u","input":{"bytes":"0102","fPort":2,"recvTime":"2020-08-02T20:00:00.000+05:00"},
             "output":{"data":{"t":1.0},"warnings":["w"]}}]"#;
        check(
            from_json(json.as_bytes()),
            r#"{"vectors":[{"device":"u","hex":"0102","fport":2,"received":1596380400000,
                "settings":{"normalize":"off"},"expected":[{"ts":null,"values":{"t":1}}]}]}"#,
        );
    }

    #[test]
    fn what_is_no_example_is_told() {
        let check = |found: Result<Json, String>, part: &str| {
            let error = found.unwrap_err();
            assert!(error.contains(part), "{error}");
        };
        check(from_yaml(b"a: [1"), "flow sequence");
        check(from_yaml(b"a: &x [1]\nb: *x\n"), "aliases");
        check(from_yaml("[".repeat(EXAMPLES_DEPTH_MAX + 1).as_bytes()), "deeper");
        check(from_json(b"{}"), "no list");
        check(from_json(br#"[{"output":{}}]"#), "`input`");
        check(from_json(br#"[{"input":{"bytes":[256]},"output":{"data":{}}}]"#), "`bytes`");
        check(from_json(br#"[{"input":{"bytes":[1]},"output":{}}]"#), "neither");
        check(from_json(br#"[{"input":{"bytes":[1],"recvTime":"noon"},"output":{"data":{}}}]"#), "recvTime");
    }
}
