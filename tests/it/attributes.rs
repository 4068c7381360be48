//! Attributes go both ways: a device's own facts, and what the server wants it to know.

use serde_json::{Value, json};

use crate::harness::Server;

const TOPIC: &str = "v1/devices/me/attributes";

#[test]
fn a_device_publishes_its_facts() {
    let server = Server::spawn();
    let mut device = server.device("thermo");
    assert_eq!(device.publish_qos1(TOPIC, r#"{"model":"T1","battery":3.6,"nested":{"a":[1]}}"#), 0);
    assert_eq!(device.publish_qos1("v2/a", "{attribute1: value1}"), 0);
    let attributes = Value::from(server.rest().attributes("thermo", "CLIENT_SCOPE"));
    let expected = json!({ "model": "T1", "battery": 3.6, "nested": { "a": [1] }, "attribute1": "value1" });
    assert_eq!(attributes, expected);
}

#[test]
fn a_device_asks_for_attributes() {
    let server = Server::spawn();
    let mut device = server.device("thermo");
    device.publish_qos1(TOPIC, r#"{"model":"T1","other":1}"#);
    server.rest().write_attributes("thermo", "SHARED_SCOPE", &json!({ "interval": 60, "mode": "eco" }));
    server.rest().write_attributes("thermo", "SERVER_SCOPE", &json!({ "secret": true }));

    assert_eq!(device.subscribe("v1/devices/me/attributes/response/+"), 1);
    let wanted = r#"{"clientKeys":"model,absent","sharedKeys":"interval"}"#;
    assert_eq!(device.publish_qos1("v1/devices/me/attributes/request/7", wanted), 0);
    let answer = device.next_message();
    assert_eq!(answer.topic, "v1/devices/me/attributes/response/7");
    let expected = json!({ "client": { "model": "T1" }, "shared": { "interval": 60 } });
    assert_eq!(parsed(&answer.payload), expected);

    assert_eq!(device.publish_qos1("v2/a/req/8", r#"{"sharedKeys":"mode,secret"}"#), 0);
    let answer = device.next_message();
    assert_eq!(answer.topic, "v2/a/res/8");
    assert_eq!(parsed(&answer.payload), json!({ "shared": { "mode": "eco" } }));
}

#[test]
fn shared_attributes_are_pushed_as_one_message() {
    let server = Server::spawn();
    let mut device = server.device("thermo");
    assert_eq!(device.subscribe(TOPIC), 1);
    server.rest().write_attributes("thermo", "SHARED_SCOPE", &json!({ "interval": 60, "mode": "eco" }));
    let pushed = device.next_message();
    assert_eq!(pushed.topic, TOPIC);
    assert_eq!(parsed(&pushed.payload), json!({ "interval": 60, "mode": "eco" }));

    server.rest().delete_attributes("thermo", "SHARED_SCOPE", "interval,mode");
    let mut deleted = parsed(&device.next_message().payload);
    deleted["deleted"].as_array_mut().expect("a list").sort_by_key(ToString::to_string);
    assert_eq!(deleted, json!({ "deleted": ["interval", "mode"] }));

    server.rest().write_attributes("thermo", "SERVER_SCOPE", &json!({ "secret": 1 }));
    device.unsubscribe(TOPIC);
    server.rest().write_attributes("thermo", "SHARED_SCOPE", &json!({ "interval": 90 }));
    device.ping();
    assert_eq!(device.unread(), 0, "neither server attributes nor anything after UNSUBSCRIBE is pushed");
}

#[test]
fn a_subscription_is_granted_to_what_the_api_names() {
    let server = Server::spawn();
    let mut device = server.device("thermo");
    for filter in ["v2/a", "v2/a/j", "v1/devices/me/rpc/request/+", "v1/devices/me/attributes/response/+"] {
        assert_eq!(device.subscribe(filter), 1, "{filter}");
    }
    for filter in ["#", "v1/devices/me/#", "v1/devices/me/attributes/response/1", "$share/a/v2/a"] {
        assert_eq!(device.subscribe(filter), 0x80, "{filter}");
    }
    assert_eq!(device.subscribe(TOPIC), 1);
    server.rest().write_attributes("thermo", "SHARED_SCOPE", &json!({ "a": 1 }));
    assert_eq!(device.next_message().topic, TOPIC, "the last subscription wins");
}

#[test]
fn attributes_survive_a_kill() {
    let server = Server::spawn();
    server.device("thermo").publish_qos1(TOPIC, r#"{"model":"T1"}"#);
    server.rest().write_attributes("thermo", "SHARED_SCOPE", &json!({ "interval": 60 }));
    let server = server.kill_9().restart();
    assert_eq!(server.rest().attributes("thermo", "CLIENT_SCOPE")["model"], "T1");
    assert_eq!(server.rest().attributes("thermo", "SHARED_SCOPE")["interval"], 60);
}

fn parsed(payload: &str) -> Value {
    serde_json::from_str(payload).expect("the server publishes JSON")
}
