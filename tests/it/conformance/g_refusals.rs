//! Group G: how bad input is acknowledged. By default no bad payload ends a connection, as MQTT 3.1.1 cannot say no; a
//! profile with `onFailure` = `disconnect` is as strict as the API was once.

use serde_json::{Value, json};

use super::case::{ATTRIBUTES, Case, Row, TELEMETRY, both, strict, v3, v5};
use super::client::Outcome;
use crate::harness::Closed;

const NO_BRACES: &str = r#""key1":"value1", "key2":true"#;
const NO_VALUE: &str = r#"{"key1":, "key2":true}"#;
const NO_TIME: &str = r#"{"ts":"abc","values":{"a":1}}"#;

pub(super) const ROWS: &[Row] = &[
    v5(141, "v5 telemetry or attributes without braces", |c| {
        let mut client = c.client();
        c.invalid(&mut client, TELEMETRY, NO_BRACES);
        c.invalid(&mut client, ATTRIBUTES, NO_BRACES);
        let mut client = strict_one(c, strict());
        assert_eq!(client.publish(TELEMETRY, NO_BRACES), Outcome::Acknowledged(0x99));
        client.stays();
    }),
    v3(142, "v3 malformed telemetry, `sendAckOnValidationException` off", |c| {
        c.invalid(&mut c.client(), TELEMETRY, NO_VALUE);
        let mut client = strict_one(c, strict());
        assert_eq!(client.publish(TELEMETRY, NO_VALUE), Outcome::Closed(Closed::Silently));
    }),
    v3(143, "as 142, the flag on", |c| {
        let mut client = c.client_with(json!({ "sendAckOnValidationException": true }));
        c.invalid(&mut client, TELEMETRY, NO_VALUE);
        c.stored(json!({}));
        let mut client = strict_one(c, patient());
        assert_eq!(client.publish(TELEMETRY, NO_VALUE), Outcome::Acknowledged(0));
        client.stays();
    }),
    v3(144, "as 143 at QoS 0", |c| {
        let mut client = c.client_with(json!({ "sendAckOnValidationException": true }));
        client.publish_qos0(TELEMETRY, NO_VALUE);
        client.stays();
        c.stored(json!({}));
        let mut client = strict_one(c, patient());
        client.publish_qos0(TELEMETRY, NO_VALUE);
        assert_eq!(client.closed(), Closed::Silently);
    }),
    v5(145, "v5 bad payload at QoS 0", |c| {
        let mut client = c.client();
        client.publish_qos0(TELEMETRY, NO_VALUE);
        client.stays();
        let mut client = strict_one(c, strict());
        client.publish_qos0(TELEMETRY, NO_VALUE);
        assert_eq!(client.closed(), Closed::With(0x99));
    }),
    v5(146, "v5 publish on `wrong/topic/`", unknown_topic),
    v3(147, "v3 publish on `wrong/topic/`", unknown_topic),
    v5(148, "v5 telemetry with `\"ts\":\"abc\"`", |c| c.invalid(&mut c.client(), TELEMETRY, NO_TIME)),
    v3(149, "v3 as 148 with the flag on", |c| {
        let mut client = c.client_with(json!({ "sendAckOnValidationException": true }));
        c.invalid(&mut client, TELEMETRY, NO_TIME);
    }),
    both(150, "a device that is no gateway publishes on `v1/gateway/telemetry`", |c| {
        let mut client = c.client();
        let outcome = client.publish("v1/gateway/telemetry", r#"{"Device A":[{"a":1}]}"#);
        assert_eq!(outcome, c.reason(0x90));
        client.stays();
        c.stored(json!({}));
    }),
    v5(151, "a valid publish right after 141", |c| {
        let mut client = c.client();
        c.invalid(&mut client, TELEMETRY, NO_BRACES);
        client.accepted(TELEMETRY, r#"{"a":1}"#);
        c.stored(json!({ "a": 1 }));
    }),
];

fn unknown_topic(c: &Case) {
    let mut client = c.client();
    assert_eq!(client.publish("wrong/topic/", r#"{"a":1}"#), c.reason(0x90));
    client.stays();
    c.stored(json!({}));
}

/// A second device in a profile with these members.
fn strict_one(c: &Case, transport: Value) -> super::client::Client {
    let name = c.named("strict");
    c.device_with(&name, transport);
    c.connect(&name)
}

/// A strict profile that acknowledges what it refuses.
fn patient() -> Value {
    let mut transport = strict();
    transport["sendAckOnValidationException"] = true.into();
    transport
}
