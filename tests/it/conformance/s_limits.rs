//! Group S: rate limits.

use std::time::Duration;

use serde_json::{Value, json};
use wireglot_load::wire::{self, Version, kind};

use super::case::{ATTRIBUTES, Case, Row, TELEMETRY, both};
use super::client::{Client, Hello, Outcome};
use super::u_gateway::{ATTRIBUTES_REQUEST, BEHIND_TELEMETRY, DISCONNECT, a, b, gateway};
use crate::harness::{Closed, pause};

const MESSAGES: &str = "transportDeviceMsgRateLimit";
const TELEMETRY_MESSAGES: &str = "transportDeviceTelemetryMsgRateLimit";
const DATA_POINTS: &str = "transportDeviceTelemetryDataPointsRateLimit";

pub(super) const ROWS: &[Row] = &[
    both(327, "device messages `3:600`: CONNECT and three attribute requests", |c| {
        let (c, mut client) = limited(c, MESSAGES, "3:600");
        for id in 1..=2 {
            asks(&mut client, id);
        }
        assert_eq!(client.publish(&format!("{ATTRIBUTES}/request/3"), "{}"), Outcome::Closed(c.close(0x83)));
    }),
    both(328, "as 327, telemetry in between", |c| {
        let (c, mut client) = limited(c, MESSAGES, "3:600");
        for id in 1..=2 {
            client.accepted(TELEMETRY, format!(r#"{{"id":{id}}}"#));
            asks(&mut client, id);
            client.accepted(TELEMETRY, r#"{"after":1}"#);
        }
        c.stored(json!({ "id": 2, "after": 1 }));
    }),
    both(329, "device telemetry messages `1:600`: two publishes", |c| {
        let (c, mut client) = limited(c, TELEMETRY_MESSAGES, "1:600");
        client.accepted(TELEMETRY, r#"{"first":1}"#);
        assert_eq!(client.publish(TELEMETRY, r#"{"second":2}"#), Outcome::Closed(c.close(0x83)));
        c.stored(json!({ "first": 1 }));
    }),
    both(330, "device data points `3:600`: two values twice", |c| {
        let (c, mut client) = limited(c, DATA_POINTS, "3:600");
        client.accepted(TELEMETRY, r#"{"a":1,"b":1}"#);
        assert_eq!(client.publish(TELEMETRY, r#"{"a":2,"b":2}"#), Outcome::Closed(c.close(0x83)));
        c.stored(json!({ "a": 1, "b": 1 }));
    }),
    both(331, "device messages `1:600`: connect, disconnect, connect", |c| {
        let (c, mut client) = limited(c, MESSAGES, "1:600");
        client.send(&wire::disconnect());
        client.closed();
        let refused = if c.version == Version::V3 { 3 } else { 0x9f };
        assert_eq!(c.code(&Hello::token(&c.name())), Some(refused));
    }),
    both(332, "`1:1,2:3600`: one in a second and two in an hour", |c| {
        let (c, mut client) = limited(c, TELEMETRY_MESSAGES, "1:1,2:3600");
        let publish = |id| wire::publish(c.version, TELEMETRY, 1, id, br#"{"a":1}"#);
        client.send(&[publish(901), publish(902)].concat());
        assert_eq!(client.expect(kind::PUBACK).reason(), 0);
        assert_eq!(client.closed(), c.close(0x83), "the second in one second");
        pause(Duration::from_millis(1_100));
        c.connect(&c.name()).accepted(TELEMETRY, r#"{"a":2}"#);
        pause(Duration::from_millis(1_100));
        let outcome = c.connect(&c.name()).publish(TELEMETRY, r#"{"a":3}"#);
        assert_eq!(outcome, Outcome::Closed(c.close(0x83)), "the third in one hour");
        assert_eq!(c.points("a").len(), 2);
    }),
    both(333, "pings, unknown topics and getSessionLimits are free", |c| {
        let (c, mut client) = limited(c, MESSAGES, "1:600");
        for _ in 0..50 {
            client.stays();
            assert_eq!(client.publish("unknown/topic", "{}"), c.reason(0x90));
            client.accepted("v1/devices/me/rpc/request/1", r#"{"method":"getSessionLimits","params":{}}"#);
            client.json_on("v1/devices/me/rpc/response/1");
        }
    }),
    both(334, "gateway messages `3:600`; telemetry for DeviceA, then DeviceB", |c| {
        let (c, mut client) = limited_gateway(c, json!({ "transportGatewayMsgRateLimit": "3:600" }));
        client.accepted(BEHIND_TELEMETRY, json!({ a(&c): [{ "a": 1 }] }).to_string());
        c.stored_of(&a(&c), json!({ "a": 1 }));
        assert_eq!(refused(&c, "gateway", "messages"), 0);
        // To find the device is the third message; its session is refused without a word, so it hears nothing.
        client.accepted(BEHIND_TELEMETRY, json!({ b(&c): [{ "a": 1 }] }).to_string());
        assert!(c.rest().device(&b(&c)).is_some(), "the device is made");
        assert_eq!(refused(&c, "gateway", "messages"), 1);
        c.rest().write_attributes(&b(&c), "SHARED_SCOPE", &json!({ "x": 1 }));
        client.hears_nothing();
        let request = json!({ "id": 1, "device": a(&c), "client": true, "key": "x" });
        is_over(&c, &mut client, &a(&c), ATTRIBUTES_REQUEST, &request);
    }),
    both(335, "gateway telemetry messages `1:600` or data points `2:600`: A, then B", |c| {
        for (limit, kind) in [
            (json!({ "transportGatewayTelemetryMsgRateLimit": "1:600" }), "telemetry_messages"),
            (json!({ "transportGatewayTelemetryDataPointsRateLimit": "2:600" }), "data_points"),
        ] {
            let (c, mut client) = limited_gateway(c, limit);
            // The gateway's own messages have limits of their own.
            client.accepted(TELEMETRY, r#"{"a":1,"b":1,"c":1}"#);
            client.accepted(BEHIND_TELEMETRY, json!({ a(&c): [{ "a": 1, "b": 1 }] }).to_string());
            c.stored_of(&a(&c), json!({ "a": 1, "b": 1 }));
            let second = json!({ b(&c): [{ "a": 1, "b": 1 }] });
            is_over(&c, &mut client, &b(&c), BEHIND_TELEMETRY, &second);
            let is_empty = |_| c.rest().latest(&b(&c)).is_empty();
            assert!(c.rest().device(&b(&c)).is_none_or(is_empty), "nothing is stored");
            assert_eq!(refused(&c, "gateway", kind), 1, "{kind}");
        }
    }),
    both(336, "gateway-device telemetry `1:600`: gateway's own telemetry twice over two sessions", |c| {
        let limit = json!({ "transportGatewayDeviceTelemetryMsgRateLimit": "1:600" });
        let (c, mut client) = limited_gateway(c, limit);
        client.accepted(TELEMETRY, r#"{"first":1}"#);
        client.send(&wire::disconnect());
        client.closed();
        let outcome = c.connect(&c.name()).publish(TELEMETRY, r#"{"second":2}"#);
        assert_eq!(outcome, Outcome::Closed(c.close(0x83)));
        c.stored(json!({ "first": 1 }));
        assert_eq!(refused(&c, "gateway_device", "telemetry_messages"), 1);
    }),
];

/// Sets the limits of an installation.
#[track_caller]
pub(super) fn limit(c: &Case, limits: Value) {
    c.rest().post("/api/rateLimits", &limits).expect("the limits are set");
}

/// The case's device on a server of its own with this limit.
#[track_caller]
fn limited(c: &Case, name: &str, text: &str) -> (Case, Client) {
    let c = c.alone();
    limit(&c, json!({ name: text }));
    let client = c.client();
    (c, client)
}

#[track_caller]
fn asks(client: &mut Client, id: u32) {
    client.accepted(&format!("{ATTRIBUTES}/request/{id}"), "{}");
    client.json_on(&format!("{ATTRIBUTES}/response/{id}"));
}

/// The case's gateway on a server of its own with these limits.
#[track_caller]
fn limited_gateway(c: &Case, limits: Value) -> (Case, Client) {
    let c = c.alone();
    limit(&c, limits);
    let client = gateway(&c);
    (c, client)
}

/// Insists that a publish about a device is over the limit: refused, and the end of the connection, before which a
/// gateway that speaks MQTT 5 is told of the device.
#[track_caller]
fn is_over(c: &Case, client: &mut Client, device: &str, topic: &str, payload: &Value) {
    assert_eq!(client.publish(topic, payload.to_string()), c.reason(0x97));
    assert_eq!(client.closed(), Closed::Silently, "without a DISCONNECT");
    if c.version == Version::V5 {
        assert_eq!(client.json_on(DISCONNECT), json!({ "device": device, "reason": 150 }));
    }
}

/// How often a limit has refused something.
fn refused(c: &Case, level: &str, kind: &str) -> u64 {
    c.server.metrics().value("wireglot_rate_limited_total", &[("level", level), ("kind", kind)]) as u64
}
