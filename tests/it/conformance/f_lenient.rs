//! Group F: JSON as people type it.

use serde_json::{Value, json};

use super::case::{ATTRIBUTES, Case, Row, TELEMETRY, both};

pub(super) const ROWS: &[Row] = &[
    both(128, "`{temperature:25}`", |c| becomes(c, "{temperature:25}", json!({ "temperature": 25 }))),
    both(129, "attributes `{attribute1: value1, attribute2: true}`", |c| {
        c.client().accepted(ATTRIBUTES, "{attribute1: value1, attribute2: true}");
        c.attributes("CLIENT_SCOPE", json!({ "attribute1": "value1", "attribute2": true }));
    }),
    both(130, "`{'a':'x'}`", |c| becomes(c, "{'a':'x'}", json!({ "a": "x" }))),
    both(131, "`{\"a\"=1;\"b\"=>2}`", |c| becomes(c, r#"{"a"=1;"b"=>2}"#, json!({ "a": 1, "b": 2 }))),
    both(132, "comments of three kinds", |c| {
        becomes(c, "{\"a\":1 /* c */, // d\n\"b\":2 # e\n}", json!({ "a": 1, "b": 2 }));
    }),
    both(133, "`{\"a\":TRUE,\"b\":Null}`", |c| becomes(c, r#"{"a":TRUE,"b":Null}"#, json!({ "a": true }))),
    both(134, "`{a:hello world}`", |c| is_invalid(c, "{a:hello world}")),
    both(135, "`{a:+5,b:.5,c:01,d:NaN}`", |c| {
        becomes(c, "{a:+5,b:.5,c:01,d:NaN}", json!({ "a": "+5", "b": 0.5, "c": 1, "d": "NaN" }));
    }),
    both(136, "`{\"a\":[1,,2,]}`", |c| becomes(c, r#"{"a":[1,,2,]}"#, json!({ "a": [1, null, 2, null] }))),
    both(137, "`{\"a\":1,}`", |c| is_invalid(c, r#"{"a":1,}"#)),
    both(138, "text after the document", |c| {
        let mut client = c.client();
        c.invalid(&mut client, TELEMETRY, r#"{"a":1} x"#);
        c.invalid(&mut client, TELEMETRY, r#"{"a":1}{"b":2}"#);
    }),
    both(139, "a leading byte order mark; a leading `)]}'` line", |c| {
        let mut client = c.client();
        client.accepted(TELEMETRY, "\u{feff}{\"a\":1}");
        client.accepted(TELEMETRY, ")]}'\n{\"b\":2}");
        c.stored(json!({ "a": 1, "b": 2 }));
    }),
    both(140, "256 nested arrays", |c| {
        let nested = |depth: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        let mut client = c.client();
        c.invalid(&mut client, TELEMETRY, nested(256));
        client.accepted(TELEMETRY, nested(200));
    }),
];

#[track_caller]
fn becomes(c: &Case, payload: &str, expected: Value) {
    c.client().accepted(TELEMETRY, payload);
    c.stored(expected);
}

#[track_caller]
fn is_invalid(c: &Case, payload: &str) {
    c.invalid(&mut c.client(), TELEMETRY, payload);
    c.stored(json!({}));
}
