//! Group K: shared attributes come to the device by themselves.

use serde_json::{Value, json};
use wireglot_load::wire;

use super::case::{ATTRIBUTES, Case, Row, both, same, v5};

pub(super) const ROWS: &[Row] = &[
    both(189, "five shared attributes are saved", |c| saved(c, ATTRIBUTES)),
    both(190, "one of them is deleted", |c| deleted(c, ATTRIBUTES)),
    both(191, "the same on `v2/a` and `v2/a/j`", |c| {
        deleted(c, "v2/a");
        let mut client = c.connect(&c.name());
        assert_eq!(client.subscribe("v2/a/j"), 1);
        c.share(json!({ "sharedStr": "value2" }));
        assert_eq!(client.json_on("v2/a/j"), json!({ "sharedStr": "value2" }));
    }),
    both(192, "save, then save another value", |c| {
        let mut client = c.client();
        assert_eq!(client.subscribe(ATTRIBUTES), 1);
        for value in [1, 2] {
            c.share(json!({ "a": value }));
            assert_eq!(client.json_on(ATTRIBUTES), json!({ "a": value }));
        }
        client.hears_nothing();
    }),
    both(193, "a server attribute is saved, and a client attribute by REST", |c| {
        let mut client = c.client();
        assert_eq!(client.subscribe(ATTRIBUTES), 1);
        c.rest().write_attributes(&c.name(), "SERVER_SCOPE", &json!({ "a": 1 }));
        let path = c.rest().telemetry(&c.name(), "attributes/CLIENT_SCOPE");
        let refusal = c.rest().post(&path, &json!({ "a": 1 })).expect_err("the device's own scope");
        assert_eq!(refusal.status, 400);
        client.hears_nothing();
    }),
    both(194, "a server attribute is deleted", |c| {
        let mut client = c.client();
        c.rest().write_attributes(&c.name(), "SERVER_SCOPE", &json!({ "a": 1 }));
        assert_eq!(client.subscribe(ATTRIBUTES), 1);
        c.rest().delete_attributes(&c.name(), "SERVER_SCOPE", "a");
        client.hears_nothing();
    }),
    both(195, "subscribe while shared attributes are there", |c| {
        let mut client = c.client();
        c.share(five());
        assert_eq!(client.subscribe(ATTRIBUTES), 1);
        client.hears_nothing();
    }),
    both(196, "save while the device is away", |c| {
        let mut client = c.client();
        assert_eq!(client.subscribe(ATTRIBUTES), 1);
        client.send(&wire::disconnect());
        client.closed();
        c.share(five());
        let mut client = c.connect(&c.name());
        assert_eq!(client.subscribe(ATTRIBUTES), 1);
        client.hears_nothing();
    }),
    v5(197, "v5, as 189", |c| saved(c, ATTRIBUTES)),
];

pub(super) fn five() -> Value {
    json!({
        "sharedStr": "value1",
        "sharedBool": true,
        "sharedDbl": 42.0,
        "sharedLong": 73,
        "sharedJson": { "someNumber": 42, "someArray": [1, 2, 3], "someNestedObject": { "key": "value" } },
    })
}

#[track_caller]
fn saved(c: &Case, topic: &str) {
    let mut client = c.client();
    assert_eq!(client.subscribe(topic), 1);
    c.share(five());
    let update = client.json_on(topic);
    assert!(same(&update, &five()), "{update}");
    client.hears_nothing();
}

#[track_caller]
fn deleted(c: &Case, topic: &str) {
    let mut client = c.client();
    assert_eq!(client.subscribe(topic), 1);
    c.share(five());
    client.json_on(topic);
    c.rest().delete_attributes(&c.name(), "SHARED_SCOPE", "sharedJson");
    assert_eq!(client.json_on(topic), json!({ "deleted": ["sharedJson"] }));
}
