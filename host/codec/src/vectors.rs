//! Vectors: recorded payloads with the values they must give. They prove a codec before it goes live.
//!
//! The format of a file is in docs/writing-codecs.md. A number with a fraction point in `expected` means a DOUBLE,
//! equal within 1e-9 of its size; an integer means a LONG, or a DOUBLE of the same value.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value as Json};
use wireglot_model::limits::{CODEC_VECTORS_BYTES_MAX, CODEC_VECTORS_MAX};
use wireglot_model::profile::TELEMETRY_TOPIC;
use wireglot_model::{Decoded, FailureStage, Measurement, Sample, Timestamp, UplinkBody, Value};

use crate::error::{LoadError, bounded, too_many_vectors};
use crate::examples;
use crate::load::LoadedCodec;
use crate::{DecodeFailure, Frame, Session};

/// When a vector is received that does not say.
const RECEIVED: Timestamp = Timestamp(1_700_000_000_000);
/// Differences told of one vector.
const DIFFERENCES_MAX: usize = 20;

/// A file of vectors, parsed.
#[derive(Clone, Debug)]
pub struct VectorFile {
    label: String,
    settings: String,
    vectors: Vec<Vector>,
}

#[derive(Clone, Debug)]
struct Vector {
    device: String,
    topic: String,
    settings: Option<String>,
    payload: Vec<u8>,
    metadata: Vec<(String, String)>,
    received: Timestamp,
    expected: Expected,
}

#[derive(Clone, Debug)]
enum Expected {
    Values { telemetry: Vec<RawMeasurement>, attributes: Option<Map<String, Json>> },
    Refusal(RawRefusal),
}

#[derive(Deserialize)]
struct RawFile {
    settings: Option<Box<RawValue>>,
    vectors: Vec<RawVector>,
}

#[derive(Deserialize)]
struct RawVector {
    #[serde(default)]
    device: String,
    fport: Option<u16>,
    topic: Option<String>,
    received: Option<i64>,
    settings: Option<Box<RawValue>>,
    hex: String,
    #[serde(default)]
    expected: Vec<RawMeasurement>,
    attributes: Option<Map<String, Json>>,
    refused: Option<RawRefusal>,
}

#[derive(Clone, Debug, Deserialize)]
struct RawMeasurement {
    ts: Option<i64>,
    #[serde(default)]
    values: Map<String, Json>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawRefusal {
    Malformed,
    Unsupported,
}

impl VectorFile {
    /// Reads a file of vectors; `label` names it in what is told of it.
    pub fn parse(label: &str, content: &[u8]) -> Result<Self, LoadError> {
        let broken = |problem: String| LoadError::Vectors(bounded(format!("{label}: {problem}")));
        if content.len() > CODEC_VECTORS_BYTES_MAX {
            return Err(broken(format!(
                "{} bytes; at most {CODEC_VECTORS_BYTES_MAX} are allowed",
                content.len()
            )));
        }
        let raw: RawFile = serde_json::from_slice(content).map_err(|error| broken(error.to_string()))?;
        if raw.vectors.len() > CODEC_VECTORS_MAX {
            return Err(too_many_vectors(raw.vectors.len()));
        }
        let vectors = raw
            .vectors
            .into_iter()
            .enumerate()
            .map(|(index, vector)| vector.parse(index).map_err(&broken))
            .collect::<Result<_, _>>()?;
        let settings = raw.settings.map_or_else(|| "{}".to_owned(), |settings| settings.get().to_owned());
        Ok(Self { label: label.to_owned(), settings, vectors })
    }

    /// Reads the file that lies beside a codec's: in our own format, or a vendor's examples.
    pub fn read(path: &Path, content: &[u8]) -> Result<Self, LoadError> {
        let label = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        if content.len() > CODEC_VECTORS_BYTES_MAX {
            return Self::parse(&label, content);
        }
        let examples = match path.extension().and_then(OsStr::to_str) {
            Some("yaml" | "yml") => examples::from_yaml(content),
            _ if label.ends_with(".examples.json") => examples::from_json(content),
            _ => return Self::parse(&label, content),
        };
        let document =
            examples.map_err(|problem| LoadError::Vectors(bounded(format!("{label}: {problem}"))))?;
        Self::parse(&label, document.to_string().as_bytes())
    }

    /// How many vectors there are.
    pub fn len(&self) -> usize {
        self.vectors.len()
    }

    /// Each vector's device and payload, in the order of the file.
    pub fn payloads(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.vectors.iter().map(|vector| (vector.device.as_str(), vector.payload.as_slice()))
    }

    /// Each vector's frame, with the settings that it is decoded with.
    pub fn frames(&self) -> impl Iterator<Item = (&str, Frame<'_>)> {
        self.vectors
            .iter()
            .map(|vector| (vector.settings.as_deref().unwrap_or(&self.settings), vector.frame()))
    }

    /// Where it is from.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// No vector at all.
    pub fn is_empty(&self) -> bool {
        self.vectors.is_empty()
    }
}

impl RawVector {
    fn parse(self, index: usize) -> Result<Vector, String> {
        let device = if self.device.is_empty() { format!("vector {}", index + 1) } else { self.device };
        let digits: String = self.hex.chars().filter(|character| !character.is_whitespace()).collect();
        let payload = hex::decode(&digits).map_err(|error| format!("`hex` of {device}: {error}"))?;
        let expected = match self.refused {
            Some(refusal) => Expected::Refusal(refusal),
            None => Expected::Values { telemetry: self.expected, attributes: self.attributes },
        };
        Ok(Vector {
            topic: self.topic.unwrap_or_else(|| TELEMETRY_TOPIC.to_owned()),
            settings: self.settings.map(|settings| settings.get().to_owned()),
            received: self.received.map_or(RECEIVED, Timestamp),
            metadata: self.fport.map(|port| ("fPort".to_owned(), port.to_string())).into_iter().collect(),
            device,
            payload,
            expected,
        })
    }
}

/// How one vector went.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct VectorOutcome {
    /// The file it is from.
    pub file: String,
    /// Its device, which names it.
    pub device: String,
    /// What differs; nothing: it passed.
    pub differences: Vec<Difference>,
}

/// One thing that is not as a vector says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Difference {
    /// The key, with its measurement where there are several; empty where the whole result is another.
    pub key: String,
    /// What the vector says, as JSON or in words.
    pub expected: String,
    /// What the codec gave, with its type, or in words.
    pub got: String,
}

impl Difference {
    fn new(key: impl Into<String>, expected: impl fmt::Display, got: impl Into<String>) -> Self {
        Self { key: key.into(), expected: expected.to_string(), got: got.into() }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.key.is_empty() { "" } else { ": " };
        write!(f, "{}{separator}expected {}, got {}", self.key, self.expected, self.got)
    }
}

impl VectorOutcome {
    /// The codec gave what the vector says.
    pub fn passed(&self) -> bool {
        self.differences.is_empty()
    }
}

impl fmt::Display for VectorOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.passed() {
            write!(f, "{}: ok", self.device)
        } else {
            let lines: Vec<String> = self.differences.iter().map(Difference::to_string).collect();
            write!(f, "{}: {}", self.device, lines.join("; "))
        }
    }
}

/// Runs the vectors in order, with one instance as long as it works and the settings stay.
pub(crate) fn run_vectors(codec: &LoadedCodec, file: &VectorFile) -> Vec<VectorOutcome> {
    let mut session: Option<(&str, Session)> = None;
    file.vectors
        .iter()
        .map(|vector| {
            let settings = vector.settings.as_deref().unwrap_or(&file.settings);
            let result = match session.take() {
                Some((current, ready)) if current == settings => Ok(ready),
                _ => codec.session(settings),
            }
            .and_then(|mut ready| {
                let result = ready.decode(&vector.frame());
                // After a refusal the instance is as good as before; after anything worse it is not.
                if result.as_ref().is_ok() || result.as_ref().is_err_and(|f| f.stage == FailureStage::Refused)
                {
                    session = Some((settings, ready));
                }
                result
            });
            let mut differences = vector.differences(result);
            differences.truncate(DIFFERENCES_MAX);
            VectorOutcome { file: file.label.clone(), device: vector.device.clone(), differences }
        })
        .collect()
}

impl Vector {
    fn frame(&self) -> Frame<'_> {
        Frame {
            payload: &self.payload,
            topic: &self.topic,
            received: self.received,
            device: &self.device,
            profile: "vectors",
            metadata: &self.metadata,
        }
    }

    fn differences(&self, result: Result<Decoded, DecodeFailure>) -> Vec<Difference> {
        let refusal = |kind: RawRefusal| format!("a refusal ({})", kind.word());
        match (&self.expected, result) {
            (Expected::Values { telemetry, attributes }, Ok(decoded)) => {
                compare(telemetry, attributes.as_ref(), decoded)
            }
            (Expected::Values { .. }, Err(failure)) => vec![Difference::new("", "values", failure.reason)],
            (Expected::Refusal(kind), Ok(_)) => vec![Difference::new("", refusal(*kind), "values")],
            (Expected::Refusal(kind), Err(failure)) => {
                // `convert::refusal` puts the kind first.
                let refused =
                    failure.stage == FailureStage::Refused && failure.reason.starts_with(kind.word());
                if refused { Vec::new() } else { vec![Difference::new("", refusal(*kind), failure.reason)] }
            }
        }
    }
}

impl RawRefusal {
    fn word(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unsupported => "unsupported",
        }
    }
}

fn compare(
    expected: &[RawMeasurement],
    attributes: Option<&Map<String, Json>>,
    decoded: Decoded,
) -> Vec<Difference> {
    let (mut measurements, mut client_attributes): (Vec<Measurement>, Vec<Sample>) = (Vec::new(), Vec::new());
    for uplink in decoded.uplinks {
        match uplink.body {
            UplinkBody::Telemetry(more) => measurements.extend(more),
            UplinkBody::Attributes(more) => client_attributes.extend(more),
            UplinkBody::SharedAttributes(_)
            | UplinkBody::RpcResponse { .. }
            | UplinkBody::AttributeRequest { .. }
            | UplinkBody::ClientRpc { .. }
            | UplinkBody::Claim { .. } => {}
        }
    }
    let expected: Vec<&RawMeasurement> =
        expected.iter().filter(|measurement| !measurement.values.is_empty()).collect();
    measurements.retain(|measurement| !measurement.samples.is_empty());
    let mut differences = Vec::new();
    if expected.len() != measurements.len() {
        differences.push(Difference::new("measurements", expected.len(), measurements.len().to_string()));
    }
    for (index, (expected, got)) in expected.iter().zip(&measurements).enumerate() {
        let place =
            if measurements.len() > 1 { format!("measurement {}: ", index + 1) } else { String::new() };
        let got_ts = got.ts.map(|ts| ts.0);
        if expected.ts != got_ts {
            differences.push(Difference::new(format!("{place}ts"), shown(expected.ts), shown(got_ts)));
        }
        compare_samples(&place, &expected.values, &got.samples, &mut differences);
    }
    if let Some(attributes) = attributes {
        compare_samples("attribute ", attributes, &client_attributes, &mut differences);
    }
    differences
}

fn shown(ts: Option<i64>) -> String {
    ts.map_or_else(|| "none".to_owned(), |ts| ts.to_string())
}

fn compare_samples(
    place: &str,
    expected: &Map<String, Json>,
    got: &[Sample],
    differences: &mut Vec<Difference>,
) {
    // Of two samples with one key the later wins, as it does in the store.
    let got: BTreeMap<&str, &Value> = got.iter().map(|sample| (sample.key.as_str(), &sample.value)).collect();
    for (key, expected) in expected {
        match got.get(key.as_str()) {
            None => differences.push(Difference::new(format!("{place}{key}"), expected, "nothing")),
            Some(value) if fits(expected, value) => {}
            Some(value) => differences.push(Difference::new(format!("{place}{key}"), expected, typed(value))),
        }
    }
    for (key, value) in got {
        if !expected.contains_key(key) {
            differences.push(Difference::new(format!("{place}{key}"), "nothing", typed(value)));
        }
    }
}

pub(crate) fn typed(value: &Value) -> String {
    let mut out = String::new();
    value.write_json(&mut out);
    let kind = match value {
        Value::Bool(_) => "BOOLEAN",
        Value::Long(_) => "LONG",
        Value::Double(_) => "DOUBLE",
        Value::Text(_) => "STRING",
        Value::Json(_) => "JSON",
    };
    bounded(format!("{out} ({kind})"))
}

fn fits(expected: &Json, value: &Value) -> bool {
    match (expected, value) {
        (Json::Bool(expected), Value::Bool(got)) => expected == got,
        (Json::Number(expected), Value::Long(got)) => expected.as_i64() == Some(*got),
        (Json::Number(expected), Value::Double(got)) => double_fits(expected, *got),
        (Json::String(expected), Value::Text(got)) => expected == got,
        (Json::Object(_) | Json::Array(_), Value::Json(got)) => {
            serde_json::from_str::<Json>(got).is_ok_and(|got| got == *expected)
        }
        _ => false,
    }
}

fn double_fits(expected: &Number, got: f64) -> bool {
    let Some(expected) = expected.as_f64() else { return false };
    (expected - got).abs() <= 1e-9 * expected.abs().max(got.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(expected: &str, value: Value, fit: bool) {
        let expected: Json = serde_json::from_str(expected).unwrap();
        assert_eq!(fits(&expected, &value), fit, "{expected} and {value:?}");
    }

    #[test]
    fn numbers_fit_by_type_and_value() {
        check("41", Value::Long(41), true);
        check("41", Value::Double(41.0), true);
        check("41", Value::Double(41.5), false);
        check("41.0", Value::Long(41), false);
        check("22.6", Value::Double(226.0 / 10.0), true);
        check("22.6", Value::Double(22.600_001), false);
        check("0.3", Value::Double(0.1 + 0.2), true);
        check("0.0", Value::Double(1e-300), false);
        check("9223372036854775807", Value::Long(i64::MAX), true);
        check("41", Value::Text("41".into()), false);
    }

    #[test]
    fn other_values_fit_as_json_does() {
        check("\"a\"", Value::Text("a".into()), true);
        check("true", Value::Bool(true), true);
        check("true", Value::Bool(false), false);
        check("{\"a\":[1,2]}", Value::Json("{\"a\":[1,2]}".into()), true);
        check("{\"a\":[1,2]}", Value::Json("{\"a\":[1,3]}".into()), false);
        check("null", Value::Json("null".into()), false);
    }

    #[track_caller]
    fn check_file(content: &str, error: Option<&str>) {
        match (VectorFile::parse("f", content.as_bytes()), error) {
            (Ok(_), None) => {}
            (Err(found), Some(part)) => assert!(found.to_string().contains(part), "{found}"),
            (result, _) => panic!("{content}: {result:?}"),
        }
    }

    #[test]
    fn a_broken_file_says_what_is_wrong() {
        check_file("{\"vectors\":[]}", None);
        check_file("{\"vectors\":[{\"hex\":\"01 02\",\"expected\":[]}]}", None);
        check_file("{", Some("EOF"));
        check_file("{}", Some("vectors"));
        check_file("{\"vectors\":[{\"device\":\"d\",\"hex\":\"0\"}]}", Some("`hex` of d"));
        check_file("{\"vectors\":[{\"hex\":\"\",\"refused\":\"tired\"}]}", Some("tired"));
    }

    #[test]
    fn differences_name_the_key_and_both_values() {
        let expected: Vec<RawMeasurement> =
            serde_json::from_str("[{\"ts\":null,\"values\":{}},{\"ts\":5,\"values\":{\"a\":1,\"b\":2}}]")
                .unwrap();
        let sample = |key: &str, value| Sample { key: key.into(), value };
        let measurement = Measurement {
            ts: None,
            samples: vec![sample("a", Value::Long(7)), sample("c", Value::Bool(true))],
        };
        let decoded = Decoded {
            uplinks: vec![wireglot_model::Uplink {
                child: None,
                body: UplinkBody::Telemetry(vec![measurement]),
            }],
            warnings: vec![],
        };
        let found: Vec<String> =
            compare(&expected, None, decoded).iter().map(Difference::to_string).collect();
        assert_eq!(
            found,
            [
                "ts: expected 5, got none",
                "a: expected 1, got 7 (LONG)",
                "b: expected 2, got nothing",
                "c: expected nothing, got true (BOOLEAN)",
            ]
        );
    }
}
