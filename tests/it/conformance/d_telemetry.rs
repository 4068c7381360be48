//! Group D: the forms of telemetry in JSON.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::case::{Case, Row, TELEMETRY, both};

/// The payload that the documents and their tests use.
pub(super) const VALUES: &str = r#"{"key1":"value1","key2":true,"key3":3.0,"key4":4,"key5":{"someNumber":42,"someArray":[1,2,3],"someNestedObject":{"key":"value"}}}"#;

pub(super) const ROWS: &[Row] = &[
    both(73, "one object of five kinds of values", |c| of_five_kinds(c, TELEMETRY)),
    both(74, "the same values with a time", |c| {
        c.client().accepted(TELEMETRY, format!(r#"{{"ts":10000,"values":{VALUES}}}"#));
        c.stored(values());
        assert_eq!(c.points("key4"), [(10_000, json!(4))]);
    }),
    both(75, "payload of 73 on `v2/t`", |c| of_five_kinds(c, "v2/t")),
    both(76, "payload of 73 on `v2/t/j`", |c| of_five_kinds(c, "v2/t/j")),
    both(77, "a double that is whole keeps its point", |c| {
        let payload = r#"{"ts":1451649600512,"values":{"booleanKey":true,"stringKey":"value1","doubleKey":42.0,"longKey":73}}"#;
        c.client().accepted(TELEMETRY, payload);
        assert_eq!((c.spelled("doubleKey").as_str(), c.spelled("longKey").as_str()), ("42.0", "73"));
        assert_eq!(c.points("booleanKey"), [(1_451_649_600_512, json!(true))]);
        assert_eq!(c.spelled("stringKey"), "value1");
    }),
    both(78, "an array of two objects", |c| {
        c.client().accepted(TELEMETRY, r#"[{"key1":"value1"},{"key2":true}]"#);
        c.stored(json!({ "key1": "value1", "key2": true }));
        assert_eq!(c.points("key1")[0].0, c.points("key2")[0].0, "one common time");
    }),
    both(79, "an array of timed and untimed objects", |c| {
        c.client().accepted(TELEMETRY, r#"[{"ts":1,"values":{"a":1}},{"a":2},{"ts":3,"values":{"a":3}}]"#);
        let points = c.points("a");
        assert_eq!(points.len(), 3, "{points:?}");
        assert_eq!(points[..2], [(1, json!(1)), (3, json!(3))]);
        assert_eq!(points[2].1, 2);
        recent(points[2].0);
    }),
    both(80, "`ts` beside values that are not under `values`", |c| {
        c.client().accepted(TELEMETRY, r#"{"ts":5,"a":1}"#);
        c.stored(json!({ "ts": 5, "a": 1 }));
        recent(c.points("ts")[0].0);
    }),
    both(81, "`values` without `ts`", |c| {
        stores(c, r#"{"values":{"a":1}}"#, json!({ "values": { "a": 1 } }))
    }),
    both(82, "a further member beside `ts` and `values`", |c| {
        stores(c, r#"{"ts":5,"values":{"a":1},"b":2}"#, json!({ "a": 1 }));
        assert_eq!(c.points("a"), [(5, json!(1))]);
    }),
    both(83, "`ts` in a string", |c| at(c, r#""1451649600512""#, 1_451_649_600_512)),
    both(84, "`ts` with a fraction", |c| at(c, "1451649600512.9", 1_451_649_600_512)),
    both(85, "a negative `ts`", |c| at(c, "-1", -1)),
    both(86, "`{}`", |c| stores(c, "{}", json!({}))),
    both(87, "`[]`", |c| stores(c, "[]", json!({}))),
    both(88, "`[{}]`", |c| stores(c, "[{}]", json!({}))),
    both(89, "a member twice", |c| stores(c, r#"{"a":1,"a":2}"#, json!({ "a": 2 }))),
    both(90, "null is skipped", |c| stores(c, r#"{"a":null,"b":1}"#, json!({ "b": 1 }))),
    both(91, "`values` that is an array", |c| {
        c.invalid(&mut c.client(), TELEMETRY, r#"{"ts":1,"values":[1]}"#);
        c.stored(json!({}));
    }),
    both(92, "an array with an element that is no object", |c| {
        c.invalid(&mut c.client(), TELEMETRY, r#"[{"a":1},5]"#);
        c.stored(json!({}));
    }),
    both(93, "`5`, `\"x\"`, `true`, `null`, an empty payload", |c| {
        let mut client = c.client();
        for payload in ["5", r#""x""#, "true", "null", ""] {
            c.invalid(&mut client, TELEMETRY, payload);
        }
        c.stored(json!({}));
    }),
    both(94, "500 keys in one object", |c| {
        let members: Vec<String> = (0..500).map(|number| format!(r#""k{number}":{number}"#)).collect();
        c.client().accepted(TELEMETRY, format!("{{{}}}", members.join(",")));
        let latest = c.latest();
        assert_eq!((latest.len(), &latest["k499"]), (500, &json!(499)));
    }),
    both(95, "a key of 256 characters", |c| {
        let (long, longest) = ("x".repeat(256), "y".repeat(255));
        c.client().accepted(TELEMETRY, format!(r#"{{"{long}":1,"{longest}":2}}"#));
        assert_eq!(c.latest().into_keys().collect::<Vec<_>>(), [longest]);
    }),
];

pub(super) fn values() -> Value {
    serde_json::from_str(VALUES).expect("JSON")
}

fn of_five_kinds(c: &Case, topic: &str) {
    c.client().accepted(topic, VALUES);
    c.stored(values());
    recent(c.points("key1")[0].0);
}

#[track_caller]
fn stores(c: &Case, payload: &str, expected: Value) {
    let mut client = c.client();
    client.accepted(TELEMETRY, payload);
    client.stays();
    c.stored(expected);
}

#[track_caller]
fn at(c: &Case, spelled: &str, expected: i64) {
    c.client().accepted(TELEMETRY, format!(r#"{{"ts":{spelled},"values":{{"a":1}}}}"#));
    assert_eq!(c.points("a"), [(expected, json!(1))]);
}

/// Insists that a time is the server's clock of just now.
#[track_caller]
fn recent(ts: i64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let age = i64::try_from(now).expect("a time in this age") - ts;
    assert!((0..600_000).contains(&age), "{ts} is {age} ms ago");
}
