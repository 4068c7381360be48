//! Group S: rate limits.

use std::time::Duration;

use serde_json::{Value, json};
use wireglot_load::wire::{self, Version, kind};

use super::case::{ATTRIBUTES, Case, Row, TELEMETRY, both, unwritten};
use super::client::{Client, Hello, Outcome};
use crate::harness::pause;

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
    unwritten(334, "gateway messages `3:600`; telemetry for DeviceA, then DeviceB"),
    unwritten(335, "gateway telemetry messages `1:600` (or data points): A then B"),
    unwritten(336, "gateway-device telemetry `1:600`: gateway's own telemetry twice over two sessions"),
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
