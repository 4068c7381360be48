//! Rows of device API §8 and §11; a number in a comment is a conformance case.

use wireglot_model::Value;
use wireglot_model::limits::{JSON_DEPTH_MAX, JSON_EXPONENT_MAX};

use super::*;

mod harmless;

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

const NO_CAST: JsonRules = JsonRules { type_cast: false, string_units_max: None };
const SHORT_STRINGS: JsonRules = JsonRules { type_cast: true, string_units_max: Some(5) };

fn samples(expected: &[(&str, Value)]) -> Vec<Sample> {
    expected.iter().map(|(key, value)| Sample { key: (*key).into(), value: value.clone() }).collect()
}

type Record<'a> = (Option<i64>, &'a [(&'a str, Value)]);

#[track_caller]
fn check(payload: &str, expected: &[Record<'_>]) {
    let expected: Vec<Measurement> = expected
        .iter()
        .map(|(ts, values)| Measurement { ts: ts.map(Timestamp), samples: samples(values) })
        .collect();
    assert_eq!(telemetry(payload.as_bytes()), Ok(expected), "{payload}");
}

#[track_caller]
fn check_refused(payload: &str, reason: &str) {
    let refusal = telemetry(payload.as_bytes()).expect_err(payload);
    assert_eq!(refusal.to_string(), reason, "{payload}");
}

/// A value in both places that hold values; `None`: the message is refused.
#[track_caller]
fn check_value_with(rules: JsonRules, value: &str, expected: Option<Value>) {
    let payload = format!("{{\"v\":{value}}}");
    let expected = expected.map(|value| samples(&[("v", value)]));
    assert_eq!(rules.attributes(payload.as_bytes()).ok(), expected, "{value}");
    let stored = rules.telemetry(payload.as_bytes()).ok();
    assert_eq!(
        stored.map(|records| records.into_iter().flat_map(|r| r.samples).collect()),
        expected,
        "{value}"
    );
}

#[track_caller]
fn check_value(value: &str, expected: Value) {
    check_value_with(JsonRules::default(), value, Some(expected));
}

const FIVE_TYPES: &str = r#"{"key1":"value1","key2":true,"key3":3.0,"key4":4,"key5":{"someNumber":42,"someArray":[1,2,3],"someNestedObject":{"key":"value"}}}"#;

fn five_types() -> [(&'static str, Value); 5] {
    [
        ("key1", text("value1")),
        ("key2", Value::Bool(true)),
        ("key3", double(3.0)),
        ("key4", long(4)),
        ("key5", json(r#"{"someNumber":42,"someArray":[1,2,3],"someNestedObject":{"key":"value"}}"#)),
    ]
}

#[test]
fn telemetry_forms() {
    check(FIVE_TYPES, &[(None, &five_types())]); // 73, 75, 76
    check(&format!(r#"{{"ts":10000,"values":{FIVE_TYPES}}}"#), &[(Some(10_000), &five_types())]); // 74
    check(
        r#"{"ts":1451649600512,"values":{"booleanKey":true,"stringKey":"value1","doubleKey":42.0,"longKey":73}}"#,
        &[(
            Some(1_451_649_600_512),
            &[
                ("booleanKey", Value::Bool(true)),
                ("stringKey", text("value1")),
                ("doubleKey", double(42.0)),
                ("longKey", long(73)),
            ],
        )],
    ); // 77
    check(
        r#"[{"key1":"value1"},{"key2":true}]"#,
        &[(None, &[("key1", text("value1"))]), (None, &[("key2", Value::Bool(true))])],
    ); // 78
    check(
        r#"[{"ts":1,"values":{"a":1}},{"a":2},{"ts":3,"values":{"a":3}}]"#,
        &[(Some(1), &[("a", long(1))]), (None, &[("a", long(2))]), (Some(3), &[("a", long(3))])],
    ); // 79
    check(r#"{"ts":5,"a":1}"#, &[(None, &[("ts", long(5)), ("a", long(1))])]); // 80
    check(r#"{"values":{"a":1}}"#, &[(None, &[("values", json(r#"{"a":1}"#))])]); // 81
    check(r#"{"ts":5,"values":{"a":1},"b":2}"#, &[(Some(5), &[("a", long(1))])]); // 82
    check(r#"{"values":{"a":1},"ts":5}"#, &[(Some(5), &[("a", long(1))])]);
}

#[test]
fn times() {
    for (ts, expected) in [
        (r#""1451649600512""#, 1_451_649_600_512), // 83
        ("1451649600512.9", 1_451_649_600_512),    // 84
        ("-1", -1),                                // 85
        ("-1.9", -1),
        ("0.9", 0),
        ("1.4516496005129e12", 1_451_649_600_512),
        ("1e3", 1000),
        ("[5]", 5),
        (r#"["5"]"#, 5),
        (r#""+5""#, 5),
        ("9223372036854775807", i64::MAX),
        ("-9223372036854775808", i64::MIN),
    ] {
        check(&format!(r#"{{"ts":{ts},"values":{{"a":1}}}}"#), &[(Some(expected), &[("a", long(1))])]);
    }
}

#[test]
fn times_that_are_none() {
    // 148, 149 and the first row of §6.3
    for ts in
        [r#""abc""#, r#""1.5""#, "null", "true", "{}", "[]", "[1,2]", "9223372036854775808", "1e400", r#""""#]
    {
        check_refused(
            &format!(r#"[{{}},{{"ts":{ts},"values":{{"a":1}}}}]"#),
            "[1].ts: the time must be a 64-bit integer, in milliseconds since 1970",
        );
    }
}

#[test]
fn nothing_to_store_is_accepted() {
    // 86, 87, 88
    for payload in ["{}", "[]", "[{}]", "[{},{}]", r#"{"a":null}"#, r#"{"ts":1,"values":{}}"#] {
        check(payload, &[]);
    }
}

#[test]
fn members() {
    check(r#"{"a":1,"a":2}"#, &[(None, &[("a", long(2))])]); // 89
    check(r#"{"a":1,"b":3,"a":2}"#, &[(None, &[("a", long(2)), ("b", long(3))])]);
    check(r#"{"a":1,"b":3,"\u0061":null}"#, &[(None, &[("b", long(3))])]);
    check(r#"{"a":null,"b":1}"#, &[(None, &[("b", long(1))])]); // 90
    check(r#"{"o":{"x":1,"y":2,"x":3}}"#, &[(None, &[("o", json(r#"{"x":3,"y":2}"#))])]);
}

#[test]
fn many_members() {
    // 94, and duplicates among many
    let all: Vec<String> = (0..500).map(|index| format!("\"k{index}\":{index}")).collect();
    let expected: Vec<(String, Value)> = (0..500).map(|index| (format!("k{index}"), long(index))).collect();
    let mut expected: Vec<(&str, Value)> =
        expected.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    check(&format!("{{{}}}", all.join(",")), &[(None, &expected)]);
    expected[7].1 = text("again");
    check(&format!("{{{},\"k7\":\"again\"}}", all.join(",")), &[(None, &expected)]);
}

#[test]
fn not_telemetry() {
    check_refused(r#"{"ts":1,"values":[1]}"#, "values: the values of a timestamped record must be an object"); // 91
    check_refused(
        r#"{"ts":1,"values":null}"#,
        "values: the values of a timestamped record must be an object",
    );
    check_refused(r#"[{"a":1},5]"#, "[1]: an element of a telemetry array must be an object"); // 92
    check_refused(r#"[{"a":1},]"#, "[1]: an element of a telemetry array must be an object");
    for payload in ["5", r#""x""#, "true", "null", "x"] {
        check_refused(payload, "payload: telemetry must be an object or an array of objects"); // 93
    }
    for (payload, at) in [("", 0), (" \n", 2), ("\u{feff}", 3), ("# all comment", 13)] {
        check_refused(payload, &format!("not JSON: the payload is empty at byte {at}")); // 93
    }
}

#[test]
fn keys_that_cannot_be_stored_are_dropped() {
    let longest = "k".repeat(KEY_CHARS_MAX);
    let too_long = "k".repeat(KEY_CHARS_MAX + 1); // 95
    let longest_umlauts = "ä".repeat(KEY_CHARS_MAX);
    let payload =
        format!(r#"{{"{too_long}":1,"{longest}":2,"{longest_umlauts}":3,"":4," \t\u2003":5,"b":6}}"#);
    check(
        &payload,
        &[(None, &[(longest.as_str(), long(2)), (longest_umlauts.as_str(), long(3)), ("b", long(6))])],
    );
    check(&format!(r#"{{"{too_long}":1}}"#), &[]);
}

#[test]
fn typing_of_numbers() {
    for (value, expected) in [
        ("11", long(11)),                                        // 96
        ("1.1", double(1.1)),                                    // 97
        ("42.0", double(42.0)),                                  // 98
        ("1E+1", long(10)),                                      // 99
        ("1E1", long(10)),                                       // 100
        ("101E-1", double(10.1)),                                // 101
        ("9.9701010061400066E19", text("99701010061400066000")), // 102
        ("99701010061400066001", text("99701010061400066001")),  // 103
        ("1E19", text("10000000000000000000")),                  // 104
        ("9223372036854775807", long(i64::MAX)),                 // 107
        ("-9223372036854775808", long(i64::MIN)),                // 107
        ("9223372036854775808", text("9223372036854775808")),    // 108
        ("0.1234567890123456", double(0.123_456_789_012_345_6)), // 109
        ("0.12345678901234567", text("0.12345678901234567")),    // 109
        ("1.50", double(1.5)),                                   // 110
        ("1.5e3", long(1500)),                                   // 111
        ("12345678.0", double(12_345_678.0)),                    // 126
        ("0", long(0)),
        ("-0", long(0)),
        ("-0.0", double(0.0)),
        ("-0e3", long(0)),
        ("0e999999999999", long(0)),
        ("10e0", long(10)),
        ("100e-2", long(1)),
        ("1.0e0", long(1)),
        ("42.0e0", long(42)),
        ("-3.25", double(-3.25)),
        ("922337203685477580.7e1", long(i64::MAX)),
        ("-9223372036854775809", text("-9223372036854775809")),
        ("-0.12345678901234567", text("-0.12345678901234567")),
        ("1e-17", text("0.00000000000000001")),
        ("-12e-18", text("-0.000000000000000012")),
        ("99999999999999999999.0", double(1e20)),
        ("99999999999999999999.0e0", text("99999999999999999999.0")),
        ("1.00000000000000000", text("1.00000000000000000")),
        ("0.00000000000000000", text("0.00000000000000000")),
        ("-0.00000000000000000", text("0.00000000000000000")),
        ("1e-16", double(1e-16)),
    ] {
        check_value(value, expected);
    }
    let nines = "9".repeat(400);
    check_value(&format!("{nines}.0"), text(&format!("{nines}.0")));
    check_value(&format!("1e{JSON_EXPONENT_MAX}"), text(&format!("1{}", "0".repeat(400))));
}

#[test]
fn doubles_are_not_negative_zero() {
    for value in ["-0.0", "\"-0.0\"", "-0.000"] {
        let record = attributes(format!("{{v:{value}}}").as_bytes()).unwrap();
        assert!(matches!(record[0].value, Value::Double(zero) if zero.is_sign_positive()), "{value}");
    }
}

#[test]
fn an_exponent_is_not_expanded_without_bound() {
    // 127
    for value in ["1e999999999", "1e-999999999", "1e401", "1e-401", "-1E+99999999999999999999"] {
        check_value_with(JsonRules::default(), value, None);
        check_refused(&format!(r#"[{{"v":{value}}}]"#), "[0].v: the exponent of the number is too large");
        check_value(&format!("[{value}]"), json(&format!("[{value}]")));
        check_value(&format!("\"{value}\""), text(value));
    }
}

#[test]
fn typing_of_strings() {
    for (value, expected) in [
        (r#""25""#, long(25)), // 112
        (r#""007""#, long(7)), // 113
        (r#""0025""#, long(25)),
        (r#""1.0""#, double(1.0)),   // 114
        (r#""-3.5""#, double(-3.5)), // 115
        (r#"".5""#, double(0.5)),    // 116
        (r#""-.5""#, double(-0.5)),
        (r#""42.0""#, double(42.0)),
        (r#""99701010061400066001""#, text("99701010061400066001")), // 119
        (r#""00099701010061400066001""#, text("99701010061400066001")),
        ("\"\u{662}\u{665}\"", long(25)),
        ("\"\u{ff11}.\u{ff15}\"", double(1.5)),
        (r#""12345678901234567890.5""#, double(12_345_678_901_234_567_890.5)),
    ] {
        check_value(value, expected);
    }
    // 117, 118
    for value in [
        "5.", "1e5", "+5", " 5", "5 ", "", "-", "1,5", "0x10", "true", "null", "NaN", ".", "-.", "1.2.3",
        "--5", "5-", "1_0", "12e3", "x", "½", "5㊿",
    ] {
        check_value(&format!("\"{value}\""), text(value));
    }
}

#[test]
fn without_type_cast_only_strings_stay() {
    for value in ["89701010051400054084", "9.9701010061400066E19", "0.12345678901234567"] {
        check_value_with(NO_CAST, value, None); // 105, 106
    }
    check_value_with(NO_CAST, r#""25""#, Some(text("25"))); // 120
    check_value_with(NO_CAST, "25", Some(long(25)));
    check_value_with(NO_CAST, "1.5e3", Some(long(1500)));
    check_value_with(NO_CAST, ".5", Some(text(".5")));
}

#[test]
fn strings_are_as_long_as_allowed() {
    check_value_with(SHORT_STRINGS, r#""abcdef""#, None); // 124
    check_value_with(SHORT_STRINGS, r#""abcde""#, Some(text("abcde")));
    check_value_with(SHORT_STRINGS, r#"{"n":"abcdef"}"#, Some(json(r#"{"n":"abcdef"}"#)));
    check_value_with(SHORT_STRINGS, r#""1234567""#, None); // 125
    check_value_with(SHORT_STRINGS, "1234567", Some(long(1_234_567)));
    check_value_with(SHORT_STRINGS, "\"\u{1f600}\u{1f600}\"", Some(text("\u{1f600}\u{1f600}")));
    check_value_with(SHORT_STRINGS, "\"\u{1f600}\u{1f600}\u{1f600}\"", None);
}

#[test]
fn nested_values_stay_json() {
    check_value(r#"[1, 2, {"a": null, "b": 1}]"#, json(r#"[1,2,{"b":1}]"#)); // 121
    check_value("[null]", json("[null]")); // 122
    check_value(r#"{"n": 1.00}"#, json(r#"{"n":1.00}"#)); // 123
    check_value("[1E+5,-0,1e99999]", json("[1E+5,-0,1e99999]"));
    check_value(r#"{"a":"\u00e4\n\"","b":[]}"#, json(r#"{"a":"ä\n\"","b":[]}"#));
    check_value(r#"[[],{},{"a":null},"5",x,'y']"#, json(r#"[[],{},{},"5","x","y"]"#));
}

#[test]
fn lenient_json() {
    check("{temperature:25}", &[(None, &[("temperature", long(25))])]); // 128
    let shell = attributes(b"{attribute1: value1, attribute2: true}"); // 129
    assert_eq!(shell, Ok(samples(&[("attribute1", text("value1")), ("attribute2", Value::Bool(true))])));
    let one_two: &[Record<'_>] = &[(None, &[("a", long(1)), ("b", long(2))])];
    check("{'a':'x'}", &[(None, &[("a", text("x"))])]); // 130
    check(r#"{"a"=1;"b"=>2}"#, one_two); // 131
    check("{\"a\":1 /* c */, // d\n\"b\":2 # e\n}", one_two); // 132
    check("// x\r/**/{a:1,/*/*/b:2}#", one_two);
    check(r#"{"a":TRUE,"b":Null}"#, &[(None, &[("a", Value::Bool(true))])]); // 133
    check(
        "{a:+5,b:.5,c:01,d:NaN}",
        &[(None, &[("a", text("+5")), ("b", double(0.5)), ("c", long(1)), ("d", text("NaN"))])],
    ); // 135
    check(r#"{"a":[1,,2,]}"#, &[(None, &[("a", json("[1,null,2,null]"))])]); // 136
    check("{a:[,],b:[;1]}", &[(None, &[("a", json("[null,null]")), ("b", json("[null,1]"))])]);
    check("\u{feff}{a:1,b:2}", one_two); // 139
    check(")]}'\n{a:1,b:2}", one_two);
    check("\u{feff} )]}'\r\n{a:1,b:2}", one_two);
    check("{true:1,25:2}", &[(None, &[("true", long(1)), ("25", long(2))])]);
    check(
        "{a:5.,b:0x10,c:Infinity,d:1_000,e:tsunami}",
        &[(
            None,
            &[
                ("a", text("5.")),
                ("b", text("0x10")),
                ("c", text("Infinity")),
                ("d", text("1_000")),
                ("e", text("tsunami")),
            ],
        )],
    );
}

#[test]
fn escapes() {
    for (quoted, expected) in [
        (r#""\"\\\/\b\f\n\r\t\'""#, "\"\\/\u{8}\u{c}\n\r\t'"),
        (r#"'it\'s "so"'"#, "it's \"so\""),
        (r#""\u00e4\u20AC""#, "ä€"),
        (r#""\ud83d\ude00""#, "\u{1f600}"),
        (r#""\ud83dx""#, "\u{fffd}x"),
        (r#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
        (r#""\ude00""#, "\u{fffd}"),
        ("\"a\nb\tc\u{1}\"", "a\nb\tc\u{1}"),
        ("\"a\\\nb\"", "a\nb"),
    ] {
        check_value(quoted, text(expected));
    }
    check(r#"{"\u0061\n":1}"#, &[(None, &[("a\n", long(1))])]);
}

#[test]
fn bytes_that_are_not_utf8_are_replaced() {
    let stored = attributes(b"{\"a\xff\":\"b\xc3\",c:\xe2\x82}");
    assert_eq!(stored, Ok(samples(&[("a\u{fffd}", text("b\u{fffd}")), ("c", text("\u{fffd}"))])));
}

#[test]
fn not_json() {
    for (payload, reason) in [
        ("{a:hello world}", "`,` or `}` is missing in an object at byte 9"), // 134
        (r#"{"a":1,}"#, "a member name is missing at byte 7"),               // 137
        (r#"{"a":1} x"#, "text after the end of the document at byte 8"),    // 138
        (r#"{"a":1}{"b":2}"#, "text after the end of the document at byte 7"),
        (r#""key1":"value1", "key2":true"#, "text after the end of the document at byte 6"), // 141
        (r#"{"key1":, "key2":true}"#, "a value is missing at byte 8"),                       // 142
        ("{", "a member name is missing at byte 1"),
        ("{a", "`:` is missing after a member name at byte 2"),
        ("{a:", "a value is missing at byte 3"),
        ("{a:1", "`,` or `}` is missing in an object at byte 4"),
        ("[1", "`,` or `]` is missing in an array at byte 2"),
        ("[1 2]", "`,` or `]` is missing in an array at byte 3"),
        ("{,}", "a member name is missing at byte 1"),
        (r#"{"a"#, "a quoted text does not end at byte 2"),
        ("{'a\":1}", "a quoted text does not end at byte 2"),
        (r#"{"a":"\x"}"#, "an escape that JSON does not have at byte 6"),
        (r#"{"a":"\u00g0"}"#, "`\\u` needs four hexadecimal digits at byte 6"),
        (r#"{"a":"\u00"#, "`\\u` needs four hexadecimal digits at byte 6"),
        ("/* {}", "a comment does not end at byte 0"),
        ("/*/", "a comment does not end at byte 0"),
        ("{a:1/2}", "`,` or `}` is missing in an object at byte 4"),
        ("{a:1\u{c}}", "`,` or `}` is missing in an object at byte 4"),
    ] {
        check_refused(payload, &format!("not JSON: {reason}"));
    }
}

#[test]
fn depth_is_bounded() {
    let arrays = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let nested = |depth: usize| format!("{{\"a\":{}}}", arrays(depth));
    let deepest = JSON_DEPTH_MAX - 1;
    check(&nested(deepest), &[(None, &[("a", json(&arrays(deepest)))])]);
    let reason = format!("not JSON: nested too deeply at byte {}", 5 + deepest);
    check_refused(&nested(deepest + 1), &reason);
    check_refused(&nested(256), &reason); // 140
    check_refused(&format!("{{\"a\":{}", "[".repeat(60_000)), &reason);
    check_refused(
        &"{a:".repeat(20_000),
        &format!("not JSON: nested too deeply at byte {}", 3 * JSON_DEPTH_MAX),
    );
}

#[test]
fn attribute_payloads() {
    let stored = attributes(br#"{"attr1":"value1","attr2":true,"attr3":42.0,"attr4":73}"#); // 168, 169
    let expected = [
        ("attr1", text("value1")),
        ("attr2", Value::Bool(true)),
        ("attr3", double(42.0)),
        ("attr4", long(73)),
    ];
    assert_eq!(stored, Ok(samples(&expected)));
    assert_eq!(attributes(FIVE_TYPES.as_bytes()), Ok(samples(&five_types()))); // 170
    let timed = attributes(br#"{"ts":1,"values":{"a":1}}"#); // 172
    assert_eq!(timed, Ok(samples(&[("ts", long(1)), ("values", json(r#"{"a":1}"#))])));
    assert_eq!(attributes(b"{}"), Ok(vec![]));
    for payload in [r#"[{"a":1}]"#, "[]", "5", "null", "x"] {
        let refusal = attributes(payload.as_bytes()).expect_err(payload); // 171
        assert_eq!(refusal.to_string(), "payload: attributes must be an object");
    }
    assert!(attributes(b"").is_err());
    assert!(attributes(br#""key1":"value1", "key2":true"#).is_err()); // 141
}

#[track_caller]
fn check_request(payload: &str, expected: Option<(&[&str], &[&str])>) {
    let asked = attribute_request(payload.as_bytes()).ok();
    let owned = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
    assert_eq!(asked, expected.map(|(client, shared)| (owned(client), owned(shared))), "{payload}");
}

#[test]
fn attribute_requests() {
    check_request(
        r#"{"clientKeys":"clientStr,clientBool","sharedKeys":"sharedStr,sharedLong"}"#,
        Some((&["clientStr", "clientBool"], &["sharedStr", "sharedLong"])),
    ); // 175, 176, 177
    check_request("{}", Some((&[], &[]))); // 179
    check_request(r#"{"sharedKeys":"sharedStr"}"#, Some((&[], &["sharedStr"]))); // 180
    check_request(r#"{"clientKeys":"clientStr, clientBool"}"#, Some((&["clientStr", " clientBool"], &[]))); // 182
    check_request(r#"{"clientKeys":""}"#, Some((&[""], &[])));
    check_request(r#"{"clientKeys":"a,,b,a,,"}"#, Some((&["a", "", "b"], &[])));
    check_request(r#"{"clientKeys":7,"sharedKeys":true}"#, Some((&["7"], &["true"])));
    check_request(r#"{"clientKeys":["a,b"]}"#, Some((&["a", "b"], &[])));
    // 187
    for payload in
        ["", "[]", "5", r#"{"clientKeys":null}"#, r#"{"clientKeys":{}}"#, r#"{"sharedKeys":["a","b"]}"#]
    {
        check_request(payload, None);
    }
}

#[test]
fn what_the_server_writes() {
    let shared = samples(&[
        ("sharedStr", text("va\"lue1")),
        ("sharedBool", Value::Bool(true)),
        ("sharedDbl", double(42.0)),
        ("sharedLong", long(73)),
        ("sharedJson", json(r#"{"someNumber":42}"#)),
    ]);
    let written = r#"{"sharedStr":"va\"lue1","sharedBool":true,"sharedDbl":42.0,"sharedLong":73,"sharedJson":{"someNumber":42}}"#;
    assert_eq!(write_attribute_update(&shared), written); // 189
    assert_eq!(write_attribute_delete(&["sharedJson".into()]), r#"{"deleted":["sharedJson"]}"#); // 190
    assert_eq!(write_attribute_delete(&["a".into(), "b\"".into()]), r#"{"deleted":["a","b\""]}"#);
    let client = samples(&[("attribute1", text("value1")), ("attribute2", Value::Bool(true))]);
    let client_only = r#"{"client":{"attribute1":"value1","attribute2":true}}"#;
    assert_eq!(write_attribute_response(&client, &[]), client_only); // 188
    assert_eq!(write_attribute_response(&[], &shared), format!(r#"{{"shared":{written}}}"#)); // 180
    let both = r#"{"client":{"attribute1":"value1","attribute2":true},"shared":{"attribute1":"value1","attribute2":true}}"#;
    assert_eq!(write_attribute_response(&client, &client), both); // 175
    assert_eq!(write_attribute_response(&[], &[]), "{}"); // 181
}

#[test]
fn calls_name_a_method() {
    let read = |text: &str| client_rpc(text.as_bytes()).ok();
    let call = |method: &str, params: &str| Some((method.to_owned(), params.to_owned()));
    assert_eq!(read(r#"{"method":"getCurrentTime","params":{}}"#), call("getCurrentTime", "{}"));
    assert_eq!(read(r#"{"method":"m"}"#), call("m", "null")); // 234
    assert_eq!(read(r#"{"method":1.50,"params":null,"x":1}"#), call("1.50", "null"));
    assert_eq!(read(r#"{method:m,params:{a:null,b:[null,'c']}}"#), call("m", r#"{"a":null,"b":[null,"c"]}"#));
    assert_eq!(read(r#"{"method":"","params":"\u0000"}"#), call("", r#""\u0000""#));
    for text in ["", "[]", "5", "null", "{}", r#"{"params":{}}"#, r#"{"method":null}"#, r#"{"method":[1,2]}"#]
    {
        assert_eq!(read(text), None, "{text}"); // 235
    }
}
