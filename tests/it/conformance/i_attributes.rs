//! Group I: client attributes.

use serde_json::{Value, json};

use super::case::{ATTRIBUTES, Case, Row, both};
use super::d_telemetry::{VALUES, values};
use crate::harness::pause;

const FOUR: &str = r#"{"attr1":"value1","attr2":true,"attr3":42.0,"attr4":73}"#;

pub(super) const ROWS: &[Row] = &[
    both(168, "four attributes on `v1/devices/me/attributes`", |c| four_on(c, ATTRIBUTES)),
    both(169, "the same on `v2/a` and `v2/a/j`", |c| {
        four_on(c, "v2/a");
        let mut client = c.connect(&c.name());
        client.accepted("v2/a/j", r#"{"attr1":"another"}"#);
        assert_eq!(c.rest().attributes(&c.name(), "CLIENT_SCOPE")["attr1"], "another");
    }),
    both(170, "a nested object", |c| {
        c.client().accepted(ATTRIBUTES, VALUES);
        c.attributes("CLIENT_SCOPE", values());
    }),
    both(171, "`[{\"a\":1}]`", |c| {
        c.invalid(&mut c.client(), ATTRIBUTES, r#"[{"a":1}]"#);
        c.attributes("CLIENT_SCOPE", json!({}));
    }),
    both(172, "`{\"ts\":1,\"values\":{\"a\":1}}`", |c| {
        c.client().accepted(ATTRIBUTES, r#"{"ts":1,"values":{"a":1}}"#);
        c.attributes("CLIENT_SCOPE", json!({ "ts": 1, "values": { "a": 1 } }));
    }),
    both(173, "a subscribed device publishes its own attribute", |c| {
        let mut client = c.client();
        assert_eq!(client.subscribe(ATTRIBUTES), 1);
        client.accepted(ATTRIBUTES, FOUR);
        client.hears_nothing();
    }),
    both(174, "the same value twice", |c| {
        let mut client = c.client();
        client.accepted(ATTRIBUTES, r#"{"a":1}"#);
        let first = updated(c);
        pause(std::time::Duration::from_millis(20));
        client.accepted(ATTRIBUTES, r#"{"a":1}"#);
        assert_eq!(updated(c), first);
        client.accepted(ATTRIBUTES, r#"{"a":2}"#);
        assert_ne!(updated(c), first);
    }),
];

#[track_caller]
fn four_on(c: &Case, topic: &str) {
    c.client().accepted(topic, FOUR);
    let four: Value = serde_json::from_str(FOUR).expect("JSON");
    c.attributes("CLIENT_SCOPE", four);
}

/// When the attribute `a` was last updated.
fn updated(c: &Case) -> i64 {
    let path = c.rest().telemetry(&c.name(), "values/attributes/CLIENT_SCOPE?keys=a");
    c.rest().get(&path).expect("attributes")[0]["lastUpdateTs"].as_i64().expect("a time")
}
