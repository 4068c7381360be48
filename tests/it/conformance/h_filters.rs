//! Group H: the topics of a profile.

use serde_json::{Value, json};

use super::case::{ATTRIBUTES, Case, Row, TELEMETRY, both};
use super::client::Client;

pub(super) const ROWS: &[Row] = &[
    both(152, "telemetry topic `data/up`: published there", |c| {
        let mut client = c.client_with(json!({ "deviceTelemetryTopic": "data/up" }));
        let mut trace = c.server.trace(&format!("deviceName={}", c.name()));
        client.accepted("data/up", r#"{"a":1}"#);
        let (_, frame) = trace.next();
        assert_eq!(frame["topic"], "data/up", "{frame}");
        c.stored(json!({ "a": 1 }));
    }),
    both(153, "as 152, published on the default topic", |c| {
        check(c, json!({ "deviceTelemetryTopic": "data/up" }), &[], &[TELEMETRY]);
    }),
    both(154, "as 152, published on `v2/t`", |c| {
        check(c, json!({ "deviceTelemetryTopic": "data/up" }), &["v2/t"], &[]);
    }),
    both(155, "telemetry `Sensor/Temperature/House/+`", |c| {
        telemetry(c, "Sensor/Temperature/House/+", &["Sensor/Temperature/House/48"], &["Sensor/Temperature"]);
    }),
    both(156, "telemetry `Sensor/+/House/#`", |c| {
        telemetry(c, "Sensor/+/House/#", &["Sensor/Temperature/House/48"], &["Sensor/Temperature"]);
    }),
    both(157, "telemetry `Sensor/#`", |c| {
        telemetry(c, "Sensor/#", &["Sensor/Temperature", "Sensor/Temperature2/House/48", "Sensor"], &[]);
    }),
    both(158, "telemetry `Sensor/Temperature/#`, published on `Sensor/Temperature2/House/48`", |c| {
        telemetry(c, "Sensor/Temperature/#", &[], &["Sensor/Temperature2/House/48"]);
    }),
    both(159, "telemetry `Sensor/Temperature#`, published on `Sensor/Temperature`", |c| {
        telemetry(c, "Sensor/Temperature#", &[], &["Sensor/Temperature"]);
    }),
    both(160, "telemetry `#`", |c| {
        telemetry(c, "#", &["/", "v1/devices/me/rpc/response/1", "v2/a", "any/thing"], &[]);
        c.connect(&c.name()).accepted(ATTRIBUTES, r#"{"attribute":1}"#);
        c.attributes("CLIENT_SCOPE", json!({ "attribute": 1 }));
    }),
    both(161, "telemetry `a/+`, published on `a/`", |c| telemetry(c, "a/+", &["a/b"], &["a/"])),
    both(162, "telemetry `x/+`, attributes `x/a`, published on `x/a`", |c| {
        is_attribute(c, json!({ "deviceTelemetryTopic": "x/+", "deviceAttributesTopic": "x/a" }), "x/a");
    }),
    both(163, "telemetry and attributes both `x`", |c| {
        is_attribute(c, json!({ "deviceTelemetryTopic": "x", "deviceAttributesTopic": "x" }), "x");
    }),
    both(164, "telemetry `a.b`, published on `aXb`", |c| telemetry(c, "a.b", &["a.b"], &["aXb"])),
    both(165, "telemetry `a.b/+`, published on `aXb/1`", |c| telemetry(c, "a.b/+", &["a.b/1"], &["aXb/1"])),
    both(166, "the profile changes its topic while the device is connected", |c| {
        let profile = c.device_with(&c.name(), json!({ "deviceTelemetryTopic": "x" }));
        let mut client = c.connect(&c.name());
        client.accepted("x", r#"{"x":1}"#);
        let mut shape = c.rest().get(&format!("/api/deviceProfile/{profile}")).expect("the profile");
        shape["profileData"]["transportConfiguration"]["deviceTelemetryTopic"] = "y".into();
        c.rest().post("/api/deviceProfile", &shape).expect("the profile is changed");
        client.accepted("y", r#"{"y":2}"#);
        c.stored(json!({ "x": 1, "y": 2 }));
    }),
    both(167, "a subscribe topic of the profile's own", |c| {
        let own = "v1/devices/me/subscribeattributes";
        let mut client = c.client_with(json!({ "deviceAttributesSubscribeTopic": own }));
        assert_eq!(client.subscribe(own), 1);
        c.share(json!({ "a": 1 }));
        assert_eq!(client.json_on(ATTRIBUTES), json!({ "a": 1 }));
    }),
];

#[track_caller]
fn telemetry(c: &Case, filter: &str, taken: &[&str], unknown: &[&str]) {
    check(c, json!({ "deviceTelemetryTopic": filter }), taken, unknown);
}

/// On each topic that is taken a value of its own is stored, and nothing of the others.
#[track_caller]
fn check(c: &Case, transport: Value, taken: &[&str], unknown: &[&str]) {
    let mut client: Client = c.client_with(transport);
    let mut expected = json!({});
    for topic in taken {
        client.accepted(topic, json!({ *topic: 1 }).to_string());
        expected[*topic] = 1.into();
    }
    for topic in unknown {
        let outcome = client.publish(topic, json!({ *topic: 1 }).to_string());
        assert_eq!(outcome, c.reason(0x90), "{topic}");
    }
    client.stays();
    c.stored(expected);
}

#[track_caller]
fn is_attribute(c: &Case, transport: Value, topic: &str) {
    c.client_with(transport).accepted(topic, r#"{"a":1}"#);
    c.attributes("CLIENT_SCOPE", json!({ "a": 1 }));
    c.stored(json!({}));
}
