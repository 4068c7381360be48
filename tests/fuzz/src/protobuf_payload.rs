//! Protobuf payloads of any kind: no panic, only storable samples, and what the library's own reader and printer make of
//! the same bytes.

use std::sync::LazyLock;

use prost_reflect::{
    DescriptorPool, DynamicMessage, Kind, MessageDescriptor, ReflectMessage as _, SerializeOptions,
};
use serde_json::Value as Judge;
use wireglot_model::{Measurement, Sample, SchemaTexts, Value};

use crate::ProtoSchemas;

/// A field of each kind.
pub const EVERYTHING: &str = r#"
import "google/protobuf/timestamp.proto";
import "google/protobuf/struct.proto";
enum Mode { OFF = 0; ON = 1; LOW = -3; }
message Inner { int64 big = 1; optional string note = 2; repeated double some_numbers = 3; Inner inner = 4; }
message Everything {
  bool b = 1; int32 i32 = 2; int64 i64 = 3; uint32 u32 = 4; uint64 u64 = 5; sint32 s32 = 6; sint64 s64 = 7;
  fixed32 f32 = 8; fixed64 f64 = 9; sfixed32 sf32 = 10; sfixed64 sf64 = 11; float real = 12; double long_real = 13;
  string some_text = 14; bytes some_bytes = 15; Mode mode = 16; Inner inner = 17; repeated int32 list = 18;
  repeated string words = 19; repeated Inner things = 20; map<string, int64> counts = 21;
  map<int32, Inner> by_number = 22; optional double maybe = 23; google.protobuf.Timestamp at = 24;
  google.protobuf.Value any_json = 25; google.protobuf.Struct boxed = 26;
  oneof choice { int32 number = 30; string word = 31; Inner thing = 32; }
  optional bool far = 1000;
}"#;
/// A record with its time.
const TIMED: &str = "message V { int32 a = 1; string b = 2; repeated V c = 3; } \
    message M { optional int64 ts = 1; V values = 2; }";

/// A schema as the server has it, and as the library has it.
struct Subject {
    ours: ProtoSchemas,
    judged: MessageDescriptor,
}

static SUBJECTS: LazyLock<[Subject; 2]> = LazyLock::new(|| [EVERYTHING, TIMED].map(Subject::new));

impl Subject {
    fn new(body: &str) -> Self {
        let text = format!("syntax = \"proto3\"; package test; {body}");
        let file = protox_parse::parse("judge.proto", &text).expect("a valid schema");
        let mut pool = DescriptorPool::global();
        pool.add_file_descriptor_proto(file).expect("a valid schema");
        let judged = pool.get_file_by_name("judge.proto").and_then(|file| file.messages().last());
        let texts =
            SchemaTexts { telemetry: Some(text.clone()), attributes: Some(text), ..SchemaTexts::default() };
        let ours = ProtoSchemas::compile(&texts).expect("a valid schema");
        Self { ours, judged: judged.expect("it has a message") }
    }
}

/// One payload through every call that takes protobuf.
pub fn check(payload: &[u8]) {
    for subject in &*SUBJECTS {
        let judged = DynamicMessage::decode(subject.judged.clone(), payload);
        let telemetry = subject.ours.telemetry(payload);
        let attributes = subject.ours.attributes(payload);
        let Ok(judged) = judged else {
            assert!(attributes.is_err() && telemetry.is_err(), "bytes that are no message are read as one");
            continue;
        };
        // What cannot be printed is refused, and so is what is printed too large.
        let Some(printed) = print(&judged) else { continue };
        let samples = match attributes {
            Ok(samples) => samples,
            Err(refusal) => {
                let words = refusal.to_string();
                // The library reads maps of any type on the wire.
                let is_known =
                    ["1 MiB", "too deeply", "another type"].iter().any(|known| words.contains(known));
                assert!(is_known, "{words}");
                continue;
            }
        };
        compare(&judged, printed, &samples);
        check_telemetry(&judged, &telemetry.expect("what are attributes is telemetry"), &samples);
    }
    // The messages that every profile knows.
    crate::attribute_request(payload).ok();
    crate::client_rpc(payload).ok();
    crate::claim(payload).ok();
    crate::provision_request(payload).ok();
}

fn print(message: &DynamicMessage) -> Option<serde_json::Map<String, Judge>> {
    let options = SerializeOptions::new().skip_default_fields(false).stringify_64_bit_integers(true);
    match message.serialize_with_options(serde_json::value::Serializer, &options) {
        Ok(Judge::Object(members)) => Some(members),
        Ok(_) | Err(_) => None,
    }
}

fn check_telemetry(message: &DynamicMessage, telemetry: &[Measurement], attributes: &[Sample]) {
    assert!(telemetry.iter().all(|one| !one.samples.is_empty()));
    let has = |name: &str| message.has_field_by_name(name);
    if message.descriptor().get_field_by_name("ts").is_some() && has("ts") && has("values") {
        let ts = message.get_field_by_name("ts").and_then(|ts| ts.as_i64());
        assert!(telemetry.iter().all(|one| one.ts.map(|ts| ts.0) == ts));
    } else {
        let samples: Vec<&Sample> = telemetry.iter().flat_map(|one| &one.samples).collect();
        assert!(telemetry.iter().all(|one| one.ts.is_none()));
        assert_eq!(format!("{samples:?}"), format!("{:?}", attributes.iter().collect::<Vec<_>>()));
    }
}

fn compare(message: &DynamicMessage, mut printed: serde_json::Map<String, Judge>, samples: &[Sample]) {
    for Sample { key, value } in samples {
        let judge = printed.remove(key).unwrap_or_else(|| panic!("{key} out of nothing"));
        let field = message.descriptor().get_field_by_json_name(key).expect("a field of this name");
        let is_scalar = !field.is_list() && !field.is_map();
        match (value, &judge) {
            (Value::Bool(value), judge) => assert_eq!(judge.as_bool(), Some(*value), "{key}"),
            (Value::Long(value), Judge::Number(number)) => assert_eq!(number.as_i64(), Some(*value), "{key}"),
            // Numbers in texts: 64-bit integers, and what devices put into a text.
            (Value::Long(value), Judge::String(text)) => {
                assert_eq!(wireglot_model::number::cast(text.as_str().into()), Value::Long(*value), "{key}");
            }
            (Value::Double(value), Judge::Number(number)) => {
                assert_eq!(number.as_f64().map(|double| double + 0.0), Some(*value), "{key}");
            }
            (Value::Double(value), Judge::String(text)) => {
                assert_eq!(
                    wireglot_model::number::cast(text.as_str().into()),
                    Value::Double(*value),
                    "{key}"
                );
            }
            (Value::Text(value), Judge::String(text)) => match field.kind() {
                Kind::String | Kind::Message(_) if is_scalar => {
                    assert_eq!(
                        wireglot_model::number::cast(text.as_str().into()),
                        Value::Text(value.clone())
                    );
                }
                _ => assert_eq!(value, text, "{key}"),
            },
            (Value::Json(json), judge) => {
                let ours: Judge = serde_json::from_str(json).expect("a stored JSON value is JSON");
                assert_eq!(without_spelling(&ours), without_spelling(judge), "{key}");
            }
            (value, judge) => panic!("{key}: {value:?} and {judge}"),
        }
    }
    assert!(printed.values().all(Judge::is_null), "{printed:?} is missing");
}

/// Numbers by their value, and no null members: the library keeps them.
fn without_spelling(judge: &Judge) -> Judge {
    match judge {
        Judge::Number(number) => Judge::String(format!("{:?}", number.as_f64().map(|double| double + 0.0))),
        Judge::Array(elements) => elements.iter().map(without_spelling).collect(),
        Judge::Object(members) => {
            let kept = members.iter().filter(|(_, member)| !member.is_null());
            kept.map(|(name, member)| (name.clone(), without_spelling(member))).collect()
        }
        Judge::Null | Judge::Bool(_) | Judge::String(_) => judge.clone(),
    }
}
