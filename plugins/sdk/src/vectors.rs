//! Decodes a plugin's vectors natively, in `cargo test`, and tortures the codec with what the vectors suggest.
//!
//! The server and `wireglot codec test` read the same files; this module is for the seconds between two edits.

use std::fs;
use std::path::Path;

use serde_json::{json, Map, Value as Json};

use crate::{Codec, Decoded, Message, Refusal, Sample, Settings, Uplink, Value};

/// The time of receipt in a vector that names none.
pub const RECEIVED_MS: i64 = 1_700_000_000_000;

/// Adds tests to a plugin: its vectors in `vectors/*.json` decode as they say; every key is described; frames that are
/// cut off, changed or noise never panic.
#[macro_export]
macro_rules! vectors {
    ($codec:ty) => {
        mod vectors {
            use super::*;

            fn folder() -> &'static ::std::path::Path {
                ::std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/vectors"))
            }

            #[test]
            fn vectors_decode_as_they_say() {
                $crate::vectors::decode_all::<$codec>(folder());
            }

            #[test]
            fn every_key_is_described() {
                $crate::vectors::describe_all::<$codec>(folder());
            }

            #[test]
            fn no_frame_makes_it_panic() {
                $crate::vectors::torture::<$codec>(folder());
            }
        }
    };
}

/// One recorded frame and what it means.
struct Vector {
    name: String,
    settings: Settings,
    device: String,
    fport: Option<Json>,
    topic: String,
    received_ms: i64,
    payload: Vec<u8>,
    expected: Json,
    attributes: Option<Json>,
    refused: Option<String>,
}

impl Vector {
    fn uplink(&self, payload: Vec<u8>) -> Uplink {
        Uplink {
            payload,
            topic: self.topic.clone(),
            received_ms: self.received_ms,
            device: self.device.clone(),
            profile: String::from("vectors"),
            metadata: self.fport.iter().map(|port| (String::from("fPort"), port.to_string())).collect(),
        }
    }

    fn codec<C: Codec>(&self) -> C {
        C::configure(&self.settings)
            .unwrap_or_else(|error| panic!("{}: settings refused: {error}", self.name))
    }
}

/// Decodes every vector and compares; all that differ are in the panic's text.
pub fn decode_all<C: Codec>(folder: &Path) {
    let mut differences = String::new();
    for vector in read_all(folder) {
        if let Err(difference) =
            compare(&vector, vector.codec::<C>().decode(vector.uplink(vector.payload.clone())))
        {
            differences.push_str(&format!("\n{}: {difference}", vector.name));
        }
    }
    assert!(differences.is_empty(), "vectors differ:{differences}");
}

/// Every key that a vector makes fits a key of `describe`, and so does its type.
pub fn describe_all<C: Codec>(folder: &Path) {
    let described = C::describe().keys;
    for vector in read_all(folder) {
        let Ok(decoded) = vector.codec::<C>().decode(vector.uplink(vector.payload.clone())) else { continue };
        for sample in samples(&decoded) {
            let known = described
                .iter()
                .any(|k| fits(&k.key, &sample.key) && k.value_type as u8 == kind(&sample.value));
            assert!(known, "{}: {sample:?} is not among the keys of `describe`", vector.name);
        }
    }
}

/// Every vector cut off at every length, with every byte changed, and 20,000 frames of noise: each is answered, and every
/// value of an answer is one that the host accepts.
pub fn torture<C: Codec>(folder: &Path) {
    let vectors = read_all(folder);
    for vector in &vectors {
        let codec = vector.codec::<C>();
        for length in 0..vector.payload.len() {
            accept(&codec, vector, vector.payload[..length].to_vec());
            for flip in [0x01, 0x80, 0xff] {
                let mut changed = vector.payload.clone();
                changed[length] ^= flip;
                accept(&codec, vector, changed);
            }
        }
    }
    let Some(vector) = vectors.first() else { return };
    let codec = vector.codec::<C>();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[4]
    };
    for round in 0..20_000_usize {
        let start = vectors[round % vectors.len()]
            .payload
            .iter()
            .copied()
            .take(usize::from(noise() % 8))
            .collect::<Vec<_>>();
        let frame = start.into_iter().chain((0..round % 64).map(|_| noise())).collect();
        accept(&codec, vector, frame);
    }
}

fn accept<C: Codec>(codec: &C, vector: &Vector, payload: Vec<u8>) {
    let Ok(decoded) = codec.decode(vector.uplink(payload.clone())) else { return };
    for sample in samples(&decoded) {
        let valid = match &sample.value {
            Value::Double(number) => number.is_finite(),
            Value::Json(text) => serde_json::from_str::<Json>(text).is_ok(),
            Value::Boolean(_) | Value::Long(_) | Value::Text(_) => true,
        };
        assert!(valid && !sample.key.trim().is_empty(), "{sample:?} of {payload:02x?}");
    }
}

fn samples(decoded: &Decoded) -> impl Iterator<Item = &Sample> {
    decoded.messages.iter().flat_map(|message| match &message.body {
        Message::Telemetry(measurements) => measurements.iter().flat_map(|m| &m.values).collect::<Vec<_>>(),
        Message::Attributes(samples) => samples.iter().collect(),
        Message::RpcResponse(_) | Message::AttributeRequest(_) | Message::ClientRpc(_) => Vec::new(),
    })
}

/// In the order of `value-type`.
fn kind(value: &Value) -> u8 {
    match value {
        Value::Boolean(_) => 0,
        Value::Long(_) => 1,
        Value::Double(_) => 2,
        Value::Text(_) => 3,
        Value::Json(_) => 4,
    }
}

/// Whether `key` fits `pattern`, where `*` stands for any text.
fn fits(pattern: &str, key: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == key,
        Some((before, after)) => match key.strip_prefix(before) {
            None => false,
            Some(rest) => (0..=rest.len()).any(|at| rest.is_char_boundary(at) && fits(after, &rest[at..])),
        },
    }
}

fn compare(vector: &Vector, answer: Result<Decoded, Refusal>) -> Result<(), String> {
    let decoded = match (answer, &vector.refused) {
        (Err(Refusal::Malformed(_)), Some(kind)) if kind == "malformed" => return Ok(()),
        (Err(Refusal::Unsupported(_)), Some(kind)) if kind == "unsupported" => return Ok(()),
        (Ok(decoded), None) => decoded,
        (answer, Some(kind)) => return Err(format!("a refusal as {kind} expected, got {answer:?}")),
        (Err(refusal), None) => return Err(format!("refused: {refusal:?}")),
    };
    let mut measurements = Vec::new();
    let mut attributes = Map::new();
    for message in &decoded.messages {
        match &message.body {
            Message::Telemetry(list) => {
                measurements.extend(list.iter().map(|m| json!({"ts": m.ts, "values": object(&m.values)})));
            }
            Message::Attributes(list) => attributes.extend(object(list)),
            Message::RpcResponse(_) | Message::AttributeRequest(_) | Message::ClientRpc(_) => {}
        }
    }
    let telemetry = same("telemetry", &filled(&vector.expected), &filled(&Json::Array(measurements)));
    let attributes = match &vector.attributes {
        Some(expected) => same("attributes", expected, &Json::Object(attributes)),
        None => Ok(()),
    };
    telemetry.and(attributes)
}

fn same(what: &str, expected: &Json, found: &Json) -> Result<(), String> {
    if alike(expected, found) {
        return Ok(());
    }
    Err(format!("{what} differ\n  expected {expected}\n  found    {found}"))
}

/// Without measurements that hold no values: either side may leave them out.
fn filled(measurements: &Json) -> Json {
    let list = measurements.as_array().into_iter().flatten();
    Json::Array(
        list.filter(|m| m["values"].as_object().is_some_and(|values| !values.is_empty())).cloned().collect(),
    )
}

/// An expected integer is met by a long or by an equal double; an expected fraction by a double only.
fn alike(expected: &Json, found: &Json) -> bool {
    match (expected, found) {
        (Json::Number(a), Json::Number(b)) if a.is_f64() => {
            let (a, b) =
                (a.as_f64().unwrap_or(f64::NAN), b.as_f64().filter(|_| b.is_f64()).unwrap_or(f64::NAN));
            (a - b).abs() <= 1e-9 * a.abs().max(1e-3)
        }
        (Json::Number(a), Json::Number(b)) => a == b || (b.is_f64() && a.as_f64() == b.as_f64()),
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b)),
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| alike(a, b)))
        }
        _ => expected == found,
    }
}

fn object(samples: &[Sample]) -> Map<String, Json> {
    let token = |value: &Value| match value {
        Value::Boolean(value) => json!(value),
        Value::Long(value) => json!(value),
        Value::Double(value) => json!(value),
        Value::Text(value) => json!(value),
        Value::Json(value) => serde_json::from_str(value).unwrap_or_else(|e| panic!("{value}: {e}")),
    };
    samples.iter().map(|sample| (sample.key.clone(), token(&sample.value))).collect()
}

fn read_all(folder: &Path) -> Vec<Vector> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    files.sort();
    let vectors: Vec<_> = files.iter().flat_map(|path| read_file(path)).collect();
    assert!(!vectors.is_empty(), "{}: no vectors", folder.display());
    vectors
}

fn read_file(path: &Path) -> Vec<Vector> {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let file: Json = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let list = file["vectors"].as_array().unwrap_or_else(|| panic!("{}: no \"vectors\"", path.display()));
    list.iter().enumerate().map(|(index, vector)| read_vector(path, &file, index, vector)).collect()
}

fn read_vector(path: &Path, file: &Json, index: usize, vector: &Json) -> Vector {
    let text = |field: &str| vector[field].as_str().map(str::to_owned);
    let device = text("device").unwrap_or_else(|| String::from("device"));
    let file_name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = format!("{file_name} #{} ({device})", index + 1);
    let settings = [&vector["settings"], &file["settings"]].into_iter().find(|s| !s.is_null());
    Vector {
        settings: Settings::parse(&settings.map_or(String::from("{}"), Json::to_string))
            .unwrap_or_else(|e| panic!("{name}: {e}")),
        payload: bytes(&text("hex").unwrap_or_else(|| panic!("{name}: no \"hex\""))),
        topic: text("topic").unwrap_or_else(|| String::from("v1/devices/me/telemetry")),
        received_ms: vector["received"].as_i64().unwrap_or(RECEIVED_MS),
        fport: vector.get("fport").cloned(),
        expected: vector["expected"].clone(),
        attributes: vector.get("attributes").cloned(),
        refused: text("refused"),
        device,
        name,
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    assert!(hex.len() % 2 == 0, "{hex}: an odd number of digits");
    let pair = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap_or_else(|e| panic!("{hex}: {e}"));
    (0..hex.len()).step_by(2).map(pair).collect()
}
