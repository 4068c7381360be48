//! From bytes to values: each kind of field, presence, and timestamped records.

use super::*;

#[derive(Clone, PartialEq, prost::Message)]
struct Reading {
    #[prost(string, optional, tag = "1")]
    key1: Option<String>,
    #[prost(bool, optional, tag = "2")]
    key2: Option<bool>,
    #[prost(double, optional, tag = "3")]
    key3: Option<f64>,
    #[prost(int32, optional, tag = "4")]
    key4: Option<i32>,
    #[prost(message, optional, tag = "5")]
    key5: Option<Nested>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Nested {
    #[prost(int32, tag = "1")]
    some_number: i32,
    #[prost(int32, repeated, tag = "2")]
    some_array: Vec<i32>,
    #[prost(message, optional, tag = "3")]
    some_nested_object: Option<Object>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Object {
    #[prost(string, tag = "1")]
    key: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Timed {
    #[prost(int64, optional, tag = "1")]
    ts: Option<i64>,
    #[prost(message, optional, tag = "2")]
    values: Option<Reading>,
}

const NESTED: &str = "message Nested { int32 someNumber = 1; repeated int32 someArray = 2; \
    Object someNestedObject = 3; message Object { string key = 1; } }";

fn optional() -> String {
    format!(
        "{NESTED} message M {{ optional string key1 = 1; optional bool key2 = 2; optional double key3 = 3; \
        optional int32 key4 = 4; Nested key5 = 5; }}"
    )
}

fn implicit() -> String {
    format!(
        "{NESTED} message M {{ string key1 = 1; bool key2 = 2; double key3 = 3; int32 key4 = 4; \
        Nested key5 = 5; }}"
    )
}

fn key5() -> Nested {
    let some_nested_object = Some(Object { key: "value".into() });
    Nested { some_number: 42, some_array: vec![1, 2, 3], some_nested_object }
}

const KEY5: &str = r#"{"someNumber":42,"someArray":[1,2,3],"someNestedObject":{"key":"value"}}"#;

// 286
#[test]
fn what_is_sent_is_stored_by_its_type() {
    let reading = Reading {
        key1: Some("value1".into()),
        key2: Some(true),
        key3: Some(3.0),
        key4: Some(4),
        key5: Some(key5()),
    };
    let expected = [
        ("key1", text("value1")),
        ("key2", Value::Bool(true)),
        ("key3", double(3.0)),
        ("key4", long(4)),
        ("key5", json(KEY5)),
    ];
    check(&telemetry(&optional()), &reading.encode_to_vec(), &expected);
    check(&telemetry(&implicit()), &reading.encode_to_vec(), &expected);
}

// 289
#[test]
fn a_field_with_presence_is_printed_when_it_was_set() {
    let reading =
        Reading { key1: Some(String::new()), key2: Some(false), key3: Some(0.0), ..Reading::default() };
    let expected = [("key1", text("")), ("key2", Value::Bool(false)), ("key3", double(0.0))];
    check(&telemetry(&optional()), &reading.encode_to_vec(), &expected);
    assert_eq!(telemetry(&optional()).telemetry(b""), Ok(Vec::new()), "nothing sent, nothing stored");
}

#[test]
fn a_field_without_presence_is_always_printed() {
    let expected =
        [("key1", text("")), ("key2", Value::Bool(false)), ("key3", double(0.0)), ("key4", long(0))];
    check(&telemetry(&implicit()), b"", &expected);
    let lists = telemetry(
        "enum E { NONE = 0; } message M { repeated int32 a = 1; map<string, int32> b = 2; E c = 3; bytes d = 4; uint64 e = 5; }",
    );
    let expected =
        [("a", json("[]")), ("b", json("{}")), ("c", text("NONE")), ("d", text("")), ("e", long(0))];
    check(&lists, b"", &expected);
}

fn timed(fields: &str) -> ProtoSchemas {
    telemetry(&format!("{fields} message T {{ optional int64 ts = 1; M values = 2; }}"))
}

#[track_caller]
fn check_timed(schemas: &ProtoSchemas, payload: &[u8], ts: i64, expected: &[(&str, Value)]) {
    let measured = schemas.telemetry(payload).unwrap_or_else(|refusal| panic!("{refusal}"));
    let [one] = <[_; 1]>::try_from(measured).expect("one record");
    assert_eq!(one.ts, Some(Timestamp(ts)));
    let expected: Vec<_> = expected.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    assert_eq!(pairs(one.samples), expected);
}

// 287, 288
#[test]
fn ts_and_values_are_a_timestamped_record() {
    let reading =
        Reading { key1: Some("value1".into()), key4: Some(4), key5: Some(key5()), ..Reading::default() };
    let payload = Timed { ts: Some(10_000), values: Some(reading) }.encode_to_vec();
    let expected = [("key1", text("value1")), ("key4", long(4)), ("key5", json(KEY5))];
    check_timed(&timed(&optional()), &payload, 10_000, &expected);
    let reading = Reading { key5: Some(key5()), ..Reading::default() };
    let payload = Timed { ts: Some(10_000), values: Some(reading) }.encode_to_vec();
    let expected = [
        ("key1", text("")),
        ("key2", Value::Bool(false)),
        ("key3", double(0.0)),
        ("key4", long(0)),
        ("key5", json(KEY5)),
    ];
    check_timed(&timed(&implicit()), &payload, 10_000, &expected);
}

#[test]
fn without_its_time_or_its_values_a_record_is_an_ordinary_message() {
    let schemas = timed(&optional());
    let reading = Reading { key4: Some(4), ..Reading::default() };
    let payload = Timed { ts: None, values: Some(reading) }.encode_to_vec();
    check(&schemas, &payload, &[("values", json(r#"{"key4":4}"#))]);
    check(&schemas, &Timed { ts: Some(7), values: None }.encode_to_vec(), &[("ts", long(7))]);
    // A field that comes twice is merged, as any other message.
    let one = Timed {
        ts: Some(1),
        values: Some(Reading { key4: Some(4), key2: Some(true), ..Reading::default() }),
    };
    let two = Timed { ts: Some(2), values: Some(Reading { key4: Some(5), ..Reading::default() }) };
    let payload = [one.encode_to_vec(), two.encode_to_vec()].concat();
    check_timed(&schemas, &payload, 2, &[("key2", Value::Bool(true)), ("key4", long(5))]);
}

#[test]
fn other_shapes_of_a_record_are_what_their_json_is() {
    let map = telemetry("message M { int64 ts = 1; map<string, double> values = 2; string ignored = 3; }");
    let entry = [0x12, 0x0c, 0x0a, 0x01, b'a', 0x11, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f];
    check_timed(&map, &[&[0x08, 0x05][..], &entry].concat(), 5, &[("a", double(1.0))]);
    let text_time =
        telemetry("message V { int32 a = 1; } message M { string ts = 1; V values = 2; int32 b = 3; }");
    check_timed(&text_time, &[0x0a, 1, b'9', 0x12, 2, 8, 1], 9, &[("a", long(1))]);
    refused(&text_time, &[0x0a, 1, b'x', 0x12, 2, 8, 1], "64-bit integer");
    let scalar = telemetry("message M { int64 ts = 1; string values = 2; int32 b = 3; }");
    refused(&scalar, &[0x12, 1, b'x'], "must be an object");
}

// 295, 296, 297
#[test]
fn every_kind_of_field() {
    let schemas = telemetry(wire::SCHEMA);
    let inner = r#"{"big":"5","note":"a \"note\"","someNumbers":[1.0,2.5,1.0E10],"inner":{"big":"0","someNumbers":[]}}"#;
    let empty = r#"{"big":"0","someNumbers":[]}"#;
    let expected = [
        ("b", Value::Bool(true)),
        ("i32", long(-7)),
        ("i64", long(i64::MIN)),
        ("u32", long(i64::from(u32::MAX))),
        ("u64", text("18446744073709551615")),
        ("s32", long(-8)),
        ("s64", long(-9)),
        ("f32", long(10)),
        ("f64", long(11)),
        ("sf32", long(-12)),
        ("sf64", long(-13)),
        ("real", double(27.2)),
        ("longReal", double(0.1 + 0.2)),
        ("someText", text("hello")),
        ("someBytes", text("1234")),
        ("mode", text("LOW")),
        ("inner", json(inner)),
        ("list", json("[1,-1,300]")),
        ("words", json(r#"["25",""]"#)),
        ("things", json(&format!("[{inner},{empty}]"))),
        ("counts", json(r#"{"a":"1","b":"2"}"#)),
        ("byNumber", json(&format!(r#"{{"-2":{inner},"10":{empty}}}"#))),
        ("maybe", double(0.0)),
        ("at", text("2023-11-14T22:13:20Z")),
        ("anyJson", double(42.0)),
        ("boxed", json(r#"{"kept":true}"#)),
        ("word", text("w")),
        ("far", Value::Bool(false)),
    ];
    check(&schemas, &wire::Everything::example().encode_to_vec(), &expected);
}

#[test]
fn texts_that_look_like_numbers_are_numbers_and_bytes_are_not() {
    let schemas = telemetry("message M { optional string a = 1; optional bytes b = 2; }");
    check(&schemas, &[0x0a, 2, b'2', b'5'], &[("a", long(25))]);
    check(&schemas, &[0x0a, 4, b'4', b'2', b'.', b'0'], &[("a", double(42.0))]);
    check(&schemas, &[0x12, 3, 0xd7, 0x6d, 0xf8], &[("b", text("1234"))]);
}

#[test]
fn reals_are_doubles_unless_they_are_no_numbers() {
    let schemas = telemetry("message M { optional float f = 1; optional double d = 2; }");
    let float = |value: f32| [&[0x0d][..], &value.to_le_bytes()].concat();
    let double_of = |value: f64| [&[0x11][..], &value.to_le_bytes()].concat();
    for (sent, stored) in [
        (27.2f32, 27.2),
        (-0.0, 0.0),
        (1e10, 1e10),
        (f32::MAX, 3.402_823_5e38),
        (f32::MIN_POSITIVE, 1.175_494_4e-38),
    ] {
        check(&schemas, &float(sent), &[("f", double(stored))]);
    }
    // Ruling 10: as JSON text these would be a LONG, and texts of 17 and of 300 digits.
    for value in [12_345_678.0, 0.1 + 0.2, 1e300, 1e-300] {
        check(&schemas, &double_of(value), &[("d", double(value))]);
    }
    for (value, word) in [(f64::NAN, "NaN"), (f64::INFINITY, "Infinity"), (f64::NEG_INFINITY, "-Infinity")] {
        check(&schemas, &double_of(value), &[("d", text(word))]);
        check(&schemas, &float(value as f32), &[("f", text(word))]);
    }
}

#[test]
fn enums_are_names_and_unknown_numbers_stay_numbers() {
    let schemas = telemetry(
        "enum E { option allow_alias = true; ZERO = 0; ONE = 1; UNO = 1; } \
        message M { optional E e = 1; repeated E list = 2; }",
    );
    check(&schemas, &[8, 1], &[("e", text("ONE")), ("list", json("[]"))]);
    check(&schemas, &[8, 7], &[("e", long(7)), ("list", json("[]"))]);
    check(&schemas, &[0x12, 3, 0, 1, 7], &[("list", json(r#"["ZERO","ONE",7]"#))]);
}

#[test]
fn members_of_a_oneof_replace_each_other() {
    let schemas = telemetry("message M { oneof c { int32 a = 1; string b = 2; } }");
    check(&schemas, &[8, 0], &[("a", long(0))]);
    check(&schemas, &[8, 1, 0x12, 1, b'x'], &[("b", text("x"))]);
    check(&schemas, &[0x12, 1, b'x', 8, 1], &[("a", long(1))]);
}

#[test]
fn lists_come_packed_or_not() {
    let schemas = telemetry("message M { repeated sint32 a = 1; }");
    check(&schemas, &[0x0a, 2, 1, 2], &[("a", json("[-1,1]"))]);
    check(&schemas, &[8, 1, 8, 2, 0x0a, 1, 3], &[("a", json("[-1,1,-2]"))]);
}

#[test]
fn well_known_types_are_printed_their_own_way() {
    let wrappers = telemetry(
        "import \"google/protobuf/wrappers.proto\"; import \"google/protobuf/duration.proto\"; \
        import \"google/protobuf/field_mask.proto\"; import \"google/protobuf/empty.proto\"; \
        import \"google/protobuf/any.proto\"; import \"google/protobuf/struct.proto\"; message Inner { int64 n = 1; } \
        message M { google.protobuf.Int64Value a = 1; google.protobuf.StringValue b = 2; \
        google.protobuf.Duration c = 3; google.protobuf.FieldMask d = 4; google.protobuf.Empty e = 5; \
        google.protobuf.Any f = 6; google.protobuf.ListValue g = 7; google.protobuf.NullValue h = 8; }",
    );
    check(&wrappers, b"", &[]);
    check(&wrappers, &[0x0a, 2, 8, 5], &[("a", long(5))]);
    check(&wrappers, &[0x0a, 0, 0x12, 0], &[("a", long(0)), ("b", text(""))]);
    check(&wrappers, &[0x1a, 2, 8, 3], &[("c", text("3s"))]);
    check(&wrappers, &[0x22, 5, 0x0a, 3, b'a', b'_', b'b'], &[("d", text("aB"))]);
    check(&wrappers, &[0x2a, 0], &[("e", json("{}"))]);
    let url = b"type.googleapis.com/test.Inner";
    let mut any = vec![0x0a, url.len() as u8];
    any.extend(url);
    any.extend([0x12, 2, 8, 5]);
    let payload = [&[0x32, any.len() as u8][..], &any].concat();
    check(&wrappers, &payload, &[("f", json(r#"{"@type":"type.googleapis.com/test.Inner","n":"5"}"#))]);
    refused(&wrappers, &[0x32, 3, 0x0a, 1, b'x'], "does not have");
    // Nulls stay in arrays.
    check(&wrappers, &[0x3a, 4, 0x0a, 2, 8, 0, 0x40, 0], &[("g", json("[null]"))]);
    refused(&wrappers, &[0x1a, 10, 8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], "out of range");
}

#[test]
fn unknown_fields_are_skipped_and_broken_bytes_refused() {
    let schemas = telemetry("message M { optional int32 a = 1; optional string b = 2; }");
    let unknown = [0x18, 5, 0x22, 1, 0, 0x2d, 0, 0, 0, 0, 0x31, 0, 0, 0, 0, 0, 0, 0, 0, 0x3b, 8, 1, 0x3c];
    check(&schemas, &[&unknown[..], &[8, 3]].concat(), &[("a", long(3))]);
    for (payload, words) in [
        (&[8][..], "end within a field"),
        (&[0x12, 5, b'x'], "end within a field"),
        (&[0x12, 1, 0xff], "not UTF-8"),
        (&[0x0d, 0, 0, 0, 0], "another type"),
        (&[0x3b], "end within a field"),
        (&[0x3c], "has not begun"),
        (&[0x07], "does not exist"),
        (&[0x00, 0], "out of range"),
        (&[8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "longer than 64 bits"),
        (br#"{"a":5}"#, "not the protobuf message test.M"),
        (b"not a message", "not the protobuf message"),
    ] {
        refused(&schemas, payload, words);
    }
}

#[test]
fn keys_are_in_camel_case_whatever_the_options_say() {
    let schemas = telemetry(
        "message M { optional int32 some_key = 1; optional int32 b = 2 [json_name = \"other\", deprecated = true]; }",
    );
    check(&schemas, &[8, 1, 16, 2], &[("someKey", long(1)), ("b", long(2))]);
}
