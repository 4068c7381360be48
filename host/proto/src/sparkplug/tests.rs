//! Every type of metric, both ways.

use super::wire::metric::Value as Wire;
use super::*;

use wireglot_model::limits::PROTO_JSON_BYTES_MAX;

#[path = "../../../../tests/fuzz/src/sparkplug_payload.rs"]
#[allow(unreachable_pub, reason = "public for the fuzz target, which includes it too")]
mod sparkplug_payload;

fn metric(datatype: u32, value: Option<Wire>) -> wire::Metric {
    wire::Metric { name: Some("m".into()), datatype: Some(datatype), value, ..wire::Metric::default() }
}

/// The metric as a node would send it, read again.
fn sent(metric: wire::Metric) -> SparkplugMetric {
    let bytes = wire::Payload { timestamp: None, metrics: vec![metric], seq: None }.encode_to_vec();
    SparkplugPayload::read(&bytes).unwrap().metrics.remove(0)
}

fn read(kind: DataType, value: Wire) -> Result<Option<Value>, String> {
    let metric = sent(metric(kind.number(), Some(value)));
    assert_eq!(metric.kind(None), Some(kind));
    metric.value(kind, &mut SparkplugValues::default()).map_err(|error| error.to_string())
}

#[track_caller]
fn check(kind: DataType, value: Wire, expected: Value) {
    assert_eq!(read(kind, value), Ok(Some(expected)), "{kind:?}");
}

#[track_caller]
fn json(kind: DataType, value: Wire, expected: &str) {
    check(kind, value, Value::Json(expected.into()));
}

#[track_caller]
fn refused(kind: DataType, value: Wire, words: &str) {
    let problem = read(kind, value).expect_err(words);
    assert!(problem.contains(words), "{problem:?} has no {words:?}");
}

#[test]
fn integers_are_read_in_the_width_of_their_type() {
    use DataType::{DateTime, Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64};
    for (kind, wire, expected) in [
        (Int8, Wire::Int(0xFB), -5),
        (Int8, Wire::Int(0xFFFF_FFFB), -5),
        (Int8, Wire::Int(127), 127),
        (Int8, Wire::Int(300), 300),
        (Int16, Wire::Int(0x8000), -32_768),
        (Int16, Wire::Int(0xFFFF_8000), -32_768),
        (Int32, Wire::Int(u32::MAX), -1),
        (Int32, Wire::Int(4), 4),
        (Int32, Wire::Long(u64::MAX), -1),
        (Int32, Wire::Long(u32::MAX.into()), -1),
        (Int64, Wire::Long(u64::MAX), -1),
        (Int64, Wire::Long(i64::MIN.cast_unsigned()), i64::MIN),
        (Int64, Wire::Int(u32::MAX), -1),
        (UInt8, Wire::Int(255), 255),
        (UInt16, Wire::Int(65_535), 65_535),
        (UInt32, Wire::Int(u32::MAX), u32::MAX.into()),
        (UInt32, Wire::Long(u32::MAX.into()), u32::MAX.into()),
        (UInt64, Wire::Long(i64::MAX.cast_unsigned()), i64::MAX),
        (UInt64, Wire::Int(7), 7),
        (DateTime, Wire::Long(1_700_000_000_000), 1_700_000_000_000),
        (DateTime, Wire::Long((-1_i64).cast_unsigned()), -1),
    ] {
        check(kind, wire, Value::Long(expected));
    }
    check(UInt64, Wire::Long(u64::MAX), Value::Text("18446744073709551615".into()));
}

// 400: a double is not cut off.
#[test]
fn other_scalars_are_what_they_are() {
    use DataType::{Boolean, Double, Float, String, Text, Uuid};
    check(Double, Wire::Double(3.7), Value::Double(3.7));
    check(Double, Wire::Float(1.1), Value::Double(1.1));
    check(Float, Wire::Float(1.1), Value::Double(1.1));
    check(Float, Wire::Float(f32::NAN), Value::Text("NaN".into()));
    check(Boolean, Wire::Boolean(true), Value::Bool(true));
    for kind in [String, Text, Uuid] {
        check(kind, Wire::Text("12".into()), Value::Text("12".into()));
    }
    refused(Boolean, Wire::Text("true".into()), "Metric.m: the type is Boolean, the value a text");
    refused(Float, Wire::Int(1), "the type is Float, the value a whole number");
    refused(DataType::Int32, Wire::Double(1.0), "the type is Int32, the value a number with a point");
    refused(DataType::Int32, Wire::Bytes(vec![1]), "the type is Int32, the value bytes");
}

#[test]
fn bytes_and_arrays_are_json() {
    use DataType::*;
    json(Bytes, Wire::Bytes(vec![0, 1, 0x80, 0xFF]), "[0,1,-128,-1]");
    json(File, Wire::Bytes(vec![0x7F]), "[127]");
    json(Int8Array, Wire::Bytes(vec![0xE9, 0x7B]), "[-23,123]");
    json(UInt8Array, Wire::Bytes(vec![0x17, 0xFA]), "[23,250]");
    json(Int16Array, Wire::Bytes(vec![0x00, 0x80, 0xFF, 0x7F]), "[-32768,32767]");
    json(UInt16Array, Wire::Bytes(vec![0x1E, 0x00, 0xE3, 0xF5]), "[30,62947]");
    json(Int32Array, Wire::Bytes(vec![0xFF, 0xFF, 0xFF, 0xFF, 1, 0, 0, 0]), "[-1,1]");
    json(UInt32Array, Wire::Bytes(vec![0xFF; 4]), "[4294967295]");
    json(Int64Array, Wire::Bytes(vec![0xFF; 8]), "[-1]");
    json(UInt64Array, Wire::Bytes(vec![0xFF; 8]), "[\"18446744073709551615\"]");
    json(DateTimeArray, Wire::Bytes(1_700_000_000_000u64.to_le_bytes().to_vec()), "[1700000000000]");
    json(DateTimeArray, Wire::Bytes((-1_i64).to_le_bytes().to_vec()), "[-1]");
    json(FloatArray, Wire::Bytes(1.1f32.to_le_bytes().to_vec()), "[1.1]");
    json(DoubleArray, Wire::Bytes(3.7f64.to_le_bytes().to_vec()), "[3.7]");
    json(
        BooleanArray,
        Wire::Bytes(vec![0x0C, 0, 0, 0, 0x34, 0xD0]),
        "[false,false,true,true,false,true,false,false,true,true,false,true]",
    );
    json(BooleanArray, Wire::Bytes(vec![0; 4]), "[]");
    json(StringArray, Wire::Bytes(b"ABC\0hello\0".to_vec()), "[\"ABC\",\"hello\"]");
    json(StringArray, Wire::Bytes(b"ABC\0\0".to_vec()), "[\"ABC\",\"\"]");
    json(StringArray, Wire::Bytes(Vec::new()), "[]");
    refused(Int16Array, Wire::Bytes(vec![1]), "1 bytes are no Int16Array, whose elements have 2");
    refused(BooleanArray, Wire::Bytes(vec![9, 0, 0, 0, 0]), "a BooleanArray begins with how many there are");
    refused(StringArray, Wire::Bytes(vec![0xFF, 0]), "not UTF-8");
}

#[test]
fn data_sets_and_templates_are_json() {
    let element = |value| wire::Element { value };
    let set = wire::DataSet {
        columns: vec!["a".into(), "b".into()],
        types: vec![DataType::Int8.number(), DataType::Double.number()],
        rows: vec![
            wire::Row {
                elements: vec![
                    element(Some(wire::element::Value::Int(0xFF))),
                    element(Some(wire::element::Value::Double(1.5))),
                ],
            },
            wire::Row { elements: vec![element(None)] },
        ],
    };
    json(
        DataType::DataSet,
        Wire::DataSet(set),
        r#"{"columns":["a","b"],"types":["Int8","Double"],"rows":[[-1,1.5],[null]]}"#,
    );
    let inner = wire::Template {
        metrics: vec![metric(12, Some(Wire::Text("x".into())))],
        ..wire::Template::default()
    };
    let template = wire::Template {
        version: Some("1".into()),
        template_ref: None,
        is_definition: Some(true),
        metrics: vec![metric(19, Some(Wire::Template(inner))), metric(3, None)],
        parameters: vec![wire::Parameter {
            name: Some("p".into()),
            kind: Some(11),
            value: Some(wire::parameter::Value::Boolean(false)),
        }],
    };
    let nested = r#"{"version":null,"templateRef":null,"isDefinition":false,"metrics":[{"name":"m","type":"String","value":"x"}],"parameters":[]}"#;
    let expected = format!(
        r#"{{"version":"1","templateRef":null,"isDefinition":true,"metrics":[{{"name":"m","type":"Template","value":{nested}}},{{"name":"m","type":"Int32","value":null}}],"parameters":[{{"name":"p","type":"Boolean","value":false}}]}}"#
    );
    json(DataType::Template, Wire::Template(template), &expected);
}

#[test]
fn what_a_payload_becomes_is_bounded() {
    let bits = vec![0xFF; PROTO_JSON_BYTES_MAX / 30];
    let count = u32::try_from(8 * bits.len()).unwrap();
    let array = [count.to_le_bytes().to_vec(), bits].concat();
    refused(DataType::BooleanArray, Wire::Bytes(array), "bytes of JSON");
    let half = sent(metric(17, Some(Wire::Bytes(vec![0x80; PROTO_JSON_BYTES_MAX / 8]))));
    let mut values = SparkplugValues::default();
    assert!(half.value(DataType::Bytes, &mut values).is_ok());
    assert!(half.value(DataType::Bytes, &mut values).is_err(), "the bound is that of the payload");
    let (name, text) = ("n".repeat(PROTO_JSON_BYTES_MAX / 2), "t".repeat(PROTO_JSON_BYTES_MAX / 2));
    let mut values = SparkplugValues::default();
    values.count_name(&name).unwrap();
    let metric = sent(metric(12, Some(Wire::Text(text))));
    assert!(metric.value(DataType::String, &mut values).is_ok());
    assert!(values.count_name("n").is_err(), "names and texts count as well");
    assert!(metric.value(DataType::String, &mut values).is_err());
}

#[test]
fn a_command_can_set_several_metrics() {
    let (ts, value) = (Timestamp(9), Value::Long(1));
    let command =
        |name, kind| SparkplugCommand { name, alias: None, kind, value: &value, fills_field: false, ts };
    let metrics = [("a", DataType::Int8), ("b", DataType::Double)]
        .map(|(name, kind)| command(name, kind).metric().unwrap());
    let payload = SparkplugPayload { timestamp: Some(ts), seq: None, metrics: metrics.to_vec() };
    assert_eq!(SparkplugPayload::read(&payload.clone().write()), Ok(payload));
}

#[test]
fn what_is_null_or_missing_has_no_value() {
    let null = wire::Metric { is_null: Some(true), ..metric(3, Some(Wire::Int(1))) };
    let mut values = SparkplugValues::default();
    assert_eq!(sent(null).value(DataType::Int32, &mut values), Ok(None));
    assert_eq!(sent(metric(3, None)).value(DataType::Int32, &mut values), Ok(None));
}

#[test]
fn the_type_is_stated_or_known_or_shown() {
    let kind = |datatype, born| sent(metric(datatype, Some(Wire::Int(1)))).kind(born);
    assert_eq!(kind(3, Some(DataType::Int64)), Some(DataType::Int32));
    assert_eq!(kind(0, Some(DataType::Int64)), Some(DataType::Int64));
    assert_eq!(kind(0, None), Some(DataType::UInt32));
    for none in [20, 21, 35, u32::MAX] {
        assert_eq!(kind(none, Some(DataType::Int64)), None, "{none}");
    }
    for kind in DataType::ALL {
        assert_eq!(DataType::of(kind.number()), Some(*kind));
    }
    assert_eq!(DataType::ALL.len(), 32);
}

#[test]
fn a_payload_has_its_own_facts() {
    let bd_seq =
        wire::Metric { name: Some(BD_SEQ.into()), timestamp: Some(0), ..metric(8, Some(Wire::Long(3))) };
    let unnamed =
        wire::Metric { name: Some(String::new()), alias: Some(0), timestamp: Some(5), ..metric(1, None) };
    let payload = wire::Payload { timestamp: Some(7), metrics: vec![bd_seq, unnamed], seq: Some(255) };
    let payload = SparkplugPayload::read(&payload.encode_to_vec()).unwrap();
    assert_eq!((payload.timestamp, payload.seq, payload.bd_seq()), (Some(Timestamp(7)), Some(255), Some(3)));
    let [first, second] = payload.metrics.as_slice() else { panic!("two metrics") };
    assert_eq!((first.name(), first.alias(), first.ts()), (Some("bdSeq"), None, None));
    assert_eq!((second.name(), second.alias(), second.ts()), (None, Some(0), Some(Timestamp(5))));
    assert!(SparkplugPayload::read(b"\xFF").is_err() && SparkplugPayload::read(b"{}").is_err());
    assert_eq!(SparkplugPayload::read(b"").unwrap().bd_seq(), None);
}

fn command(kind: DataType, value: &Value) -> Result<Wire, String> {
    let command =
        SparkplugCommand { name: "m", alias: None, kind, value, fills_field: false, ts: Timestamp(9) };
    let mut payload = wire::Payload::decode(command.write()?.as_slice()).unwrap();
    assert_eq!((payload.timestamp, payload.seq, payload.metrics.len()), (Some(9), None, 1));
    let metric = payload.metrics.remove(0);
    assert_eq!(
        (metric.name.as_deref(), metric.alias, metric.datatype),
        (Some("m"), None, Some(kind.number()))
    );
    Ok(metric.value.unwrap())
}

#[track_caller]
fn sets(kind: DataType, value: Value, expected: Wire) {
    assert_eq!(command(kind, &value), Ok(expected), "{kind:?} {value:?}");
}

#[track_caller]
fn no_command(kind: DataType, value: Value, words: &str) {
    let problem = command(kind, &value).expect_err(words);
    assert!(problem.contains(words), "{problem:?} has no {words:?}");
}

#[test]
fn commands_have_the_type_of_the_birth() {
    use DataType::*;
    let text = |text: &str| Value::Text(text.into());
    sets(Int8, Value::Long(-5), Wire::Int(0xFB));
    sets(Int16, Value::Long(-5), Wire::Int(0xFFFB));
    sets(Int32, Value::Long(-5), Wire::Int(0xFFFF_FFFB));
    sets(Int64, Value::Long(-5), Wire::Long(u64::MAX - 4));
    sets(UInt8, text("200"), Wire::Int(200));
    sets(UInt16, Value::Bool(true), Wire::Int(1));
    sets(UInt32, Value::Double(4_294_967_295.0), Wire::Int(u32::MAX));
    sets(UInt64, text("18446744073709551615"), Wire::Long(u64::MAX));
    sets(DateTime, Value::Long(12), Wire::Long(12));
    sets(DateTime, Value::Long(-12), Wire::Long((-12_i64).cast_unsigned()));
    sets(Int32, text("true"), Wire::Int(1));
    sets(Int32, text("3.0"), Wire::Int(3));
    sets(Float, text("1.1"), Wire::Float(1.1));
    sets(Float, Value::Long(2), Wire::Float(2.0));
    sets(Float, Value::Long(1 << 60), Wire::Float(1_152_921_504_606_846_976.0));
    sets(Double, Value::Long(i64::MIN), Wire::Double(-9_223_372_036_854_775_808.0));
    sets(Double, Value::Bool(false), Wire::Double(0.0));
    sets(Boolean, Value::Long(0), Wire::Boolean(false));
    sets(Boolean, Value::Double(0.5), Wire::Boolean(true));
    sets(Boolean, text("TRUE"), Wire::Boolean(true));
    sets(Boolean, text("0"), Wire::Boolean(false));
    sets(String, Value::Double(42.0), Wire::Text("42.0".into()));
    sets(Uuid, Value::Json("{\"a\":1}".into()), Wire::Text("{\"a\":1}".into()));
    sets(Bytes, Value::Json("[0,-1,255]".into()), Wire::Bytes(vec![0, 255, 255]));
    no_command(Int8, Value::Long(128), "the metric 'm' is Int8: 128 is not from -128 to 127");
    no_command(UInt32, Value::Long(-1), "-1 is not from 0 to 4294967295");
    no_command(Int32, Value::Double(3.7), "'3.7' is no whole number");
    no_command(Int64, Value::Double(f64::MAX), "is no whole number");
    no_command(Float, Value::Double(1e300), "beyond single precision");
    no_command(Float, Value::Long((1 << 24) + 1), "16777217 has more digits than single precision");
    no_command(Double, Value::Long((1 << 53) + 1), "9007199254740993 has more digits than double precision");
    no_command(Double, Value::Long(i64::MAX), "has more digits than double precision");
    no_command(Double, text("much"), "'much' is no number");
    no_command(Boolean, text("perhaps"), "'perhaps' is neither true nor false");
    no_command(Bytes, text("12"), "a JSON array is due");
    no_command(Bytes, Value::Json("[256]".into()), "256 is no byte");
    no_command(DataSet, Value::Json("{}".into()), "no command can set one");
}

#[test]
fn an_array_that_is_commanded_reads_as_it_was_written() {
    use DataType::*;
    for (kind, array) in [
        (Bytes, "[-128,0,127]"),
        (Int8Array, "[-128,0,127]"),
        (UInt8Array, "[0,255]"),
        (Int16Array, "[-32768,32767]"),
        (UInt16Array, "[0,65535]"),
        (Int32Array, "[-2147483648,7]"),
        (UInt32Array, "[4294967295]"),
        (Int64Array, "[-9223372036854775808]"),
        (UInt64Array, "[1]"),
        (DateTimeArray, "[1700000000000,-1]"),
        (FloatArray, "[1.1,-2.0]"),
        (DoubleArray, "[3.7]"),
        (BooleanArray, "[true,false,false,false,false,false,false,true,true]"),
        (StringArray, "[\"a\",\"\",\"b\"]"),
        (StringArray, "[]"),
    ] {
        let wire = command(kind, &Value::Json(array.into())).unwrap_or_else(|problem| panic!("{problem}"));
        json(kind, wire, array);
    }
    no_command(StringArray, Value::Json("[\"a\\u0000\"]".into()), "a zero character");
}

#[test]
fn a_negative_integer_is_written_as_the_node_writes_it() {
    for (kind, field, width) in [
        (DataType::Int8, 0xFFFF_FFFB, Some(0xFB)),
        (DataType::Int16, 0xFFFF_FFFB, Some(0xFFFB)),
        (DataType::Int32, 0xFFFF_FFFB, None),
    ] {
        let number = kind.number();
        assert_eq!(sent(metric(number, Some(Wire::Int(field)))).fills_field(kind), width.is_some());
        for (fills_field, expected) in [(true, field), (false, width.unwrap_or(field))] {
            let value = Value::Long(-5);
            let command = SparkplugCommand {
                name: "m",
                alias: None,
                kind,
                value: &value,
                fills_field,
                ts: Timestamp(0),
            };
            let payload = wire::Payload::decode(command.write().unwrap().as_slice()).unwrap();
            assert_eq!(payload.metrics[0].value, Some(Wire::Int(expected)), "{kind:?}");
        }
        assert!(!sent(metric(number, Some(Wire::Int(5)))).fills_field(kind));
    }
}

#[test]
fn a_command_names_one_metric() {
    let named = |value: Value| Some(("a/b".to_owned(), value));
    assert_eq!(sparkplug_params(r#"{"metricName":"a/b","value":true}"#), named(Value::Bool(true)));
    assert_eq!(sparkplug_params(r#"{"metricName":"a/b","value":[1]}"#), named(Value::Json("[1]".into())));
    let large = named(Value::Text("18446744073709551615".into()));
    assert_eq!(sparkplug_params(r#"{"metricName":"a/b","value":18446744073709551615}"#), large);
    for wrong in
        ["", "null", "[]", r#"{"metricName":1,"value":1}"#, r#"{"metricName":"a"}"#, r#"{"value":1}"#]
    {
        assert_eq!(sparkplug_params(wrong), None, "{wrong}");
    }
    assert_eq!(sparkplug_wrapped(r#"{"a/b":4.0}"#), named(Value::Double(4.0)));
    for wrong in ["{}", "[1]", r#"{"a":1,"b":2}"#, "x"] {
        assert_eq!(sparkplug_wrapped(wrong), None, "{wrong}");
    }
}

#[test]
fn an_alias_takes_the_place_of_the_name() {
    let value = Value::Bool(true);
    let command = SparkplugCommand {
        name: "m",
        alias: Some(4),
        kind: DataType::Boolean,
        value: &value,
        fills_field: false,
        ts: Timestamp(0),
    };
    let payload = SparkplugPayload::read(&command.write().unwrap()).unwrap();
    let metric = payload.metrics.first().unwrap();
    assert_eq!((metric.name(), metric.alias()), (None, Some(4)));
}

/// The seeds as they are, cut short, and with bytes changed, which is what a fuzzer would do first.
#[test]
fn the_corpus_of_the_fuzz_target_holds() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/corpus/sparkplug_payload");
    let inputs: Vec<_> = std::fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(inputs.len() >= 14, "the corpus is there");
    for input in inputs {
        let mut input = std::fs::read(input).unwrap();
        sparkplug_payload::check(&input);
        for index in 0..input.len().min(400) {
            sparkplug_payload::check(&input[..index]);
            let before = input[index];
            for changed in [before ^ 1, before ^ 0x80, 0xFF] {
                input[index] = changed;
                sparkplug_payload::check(&input);
            }
            input[index] = before;
        }
    }
}
