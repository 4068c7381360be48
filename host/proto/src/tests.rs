//! Rows of device API §9 and device profile §4; a number in a comment is a conformance case.

use prost::Message as _;
use wireglot_model::limits::{
    PROTO_DEPTH_MAX, PROTO_JSON_BYTES_MAX, PROTO_SCHEMA_BYTES_MAX, PROTO_SCHEMA_DEPTH_MAX,
};
use wireglot_model::{Timestamp, Value};

use super::*;

mod fixed;
mod payloads;
mod schemas;
mod wire;

#[path = "../../../tests/fuzz/src/protobuf_payload.rs"]
#[allow(unreachable_pub, reason = "public for the fuzz target, which includes it too")]
mod protobuf_payload;

fn long(value: i64) -> Value {
    Value::Long(value)
}
fn double(value: f64) -> Value {
    Value::Double(value)
}
fn text(value: &str) -> Value {
    Value::Text(value.into())
}
fn json(value: &str) -> Value {
    Value::Json(value.into())
}

/// The schemas of a profile whose telemetry is this message, with `proto3` stated before it.
fn telemetry(body: &str) -> ProtoSchemas {
    let text = format!("syntax = \"proto3\";\npackage test;\n{body}");
    let texts = SchemaTexts { telemetry: Some(text), ..SchemaTexts::default() };
    ProtoSchemas::compile(&texts).unwrap_or_else(|error| panic!("{error}: {body}"))
}

fn pairs(samples: Vec<Sample>) -> Vec<(String, Value)> {
    samples.into_iter().map(|sample| (sample.key, sample.value)).collect()
}

/// The samples of one message without a time.
#[track_caller]
fn check(schemas: &ProtoSchemas, payload: &[u8], expected: &[(&str, Value)]) {
    let measured = schemas.telemetry(payload).unwrap_or_else(|refusal| panic!("{refusal}"));
    let expected: Vec<_> = expected.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    assert!(measured.iter().all(|one| one.ts.is_none()));
    let samples = measured.into_iter().next().map(|one| one.samples).unwrap_or_default();
    assert_eq!(pairs(samples), expected);
}

/// Words of the refusal.
#[track_caller]
fn refused(schemas: &ProtoSchemas, payload: &[u8], words: &str) {
    let refusal = schemas.telemetry(payload).expect_err(words).to_string();
    assert!(refusal.contains(words), "{refusal:?} has no {words:?}");
}

#[test]
fn the_corpus_of_the_fuzz_target_holds() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/corpus/protobuf_payload");
    let inputs: Vec<_> = std::fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(inputs.len() >= 8, "the corpus is there");
    inputs.iter().for_each(|file| protobuf_payload::check(&std::fs::read(file).unwrap()));
}

/// What a fuzzer would do first, for everybody who has none: valid messages, cut short and with bytes changed.
#[test]
fn damaged_messages_are_read_as_the_library_reads_them() {
    let whole = wire::Everything::example().encode_to_vec();
    protobuf_payload::check(&whole);
    for end in 0..whole.len() {
        protobuf_payload::check(&whole[..end]);
    }
    let mut seed = 1u64;
    for _ in 0..3_000 {
        let mut damaged = whole.clone();
        for _ in 0..3 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = usize::try_from(seed >> 33).unwrap() % damaged.len();
            damaged[at] = (seed >> 24) as u8;
        }
        protobuf_payload::check(&damaged);
    }
}

#[test]
fn a_bound_of_each_kind() {
    assert!(depth_of_groups(PROTO_DEPTH_MAX + 1).is_err());
    assert!(depth_of_groups(PROTO_DEPTH_MAX - 1).is_ok());
    let nested = telemetry("message M { M inner = 1; }");
    let chain = |levels: usize| {
        let mut bytes = Vec::new();
        for _ in 0..levels {
            let mut outer = vec![0x0a];
            prost::encoding::encode_varint(bytes.len() as u64, &mut outer);
            outer.append(&mut bytes);
            bytes = outer;
        }
        bytes
    };
    assert!(nested.telemetry(&chain(PROTO_DEPTH_MAX - 2)).is_ok());
    refused(&nested, &chain(PROTO_DEPTH_MAX + 2), "recursion limit");
    // Each of 30,000 empty messages is printed with a name of a hundred letters.
    let many = telemetry(&format!(
        "message Inner {{ bool {} = 1; }} message M {{ repeated Inner i = 1; }}",
        "n".repeat(100)
    ));
    let count = PROTO_JSON_BYTES_MAX / 100 + 1;
    refused(&many, &[0x0a, 0].repeat(count), "1 MiB");
    assert!(many.telemetry(&[0x0a, 0].repeat(count / 2)).is_ok());
}

fn depth_of_groups(depth: usize) -> Result<Vec<Measurement>, ProtoRefusal> {
    let mut payload = vec![0x53; depth];
    payload.extend(std::iter::repeat_n(0x54, depth));
    telemetry("message M { bool b = 1; }").telemetry(&payload)
}

#[test]
fn a_schema_is_bounded() {
    let texts = |text: String| SchemaTexts { rpc_response: Some(text), ..SchemaTexts::default() };
    let head = "syntax = \"proto3\"; message M {} ";
    let of_length = |length: usize| format!("{head}//{}", "x".repeat(length - head.len() - 2));
    assert!(ProtoSchemas::compile(&texts(of_length(PROTO_SCHEMA_BYTES_MAX))).is_ok());
    let error = ProtoSchemas::compile(&texts(of_length(PROTO_SCHEMA_BYTES_MAX + 1))).unwrap_err();
    assert!(error.to_string().contains("at most 65536 bytes"), "{error}");
    let braces = "{".repeat(PROTO_SCHEMA_DEPTH_MAX + 1);
    let error = ProtoSchemas::compile(&texts(format!("{head}{braces}"))).unwrap_err();
    assert!(error.to_string().contains("64 levels deep"), "{error}");
    // What stands in a comment or in a text is no block.
    let told = format!(
        "{head}/* {braces} */ // {braces}\nmessage N {{ string s = 1 [json_name = \"{braces}\\\"{braces}\"]; }}"
    );
    assert!(ProtoSchemas::compile(&texts(told)).is_ok());
}
