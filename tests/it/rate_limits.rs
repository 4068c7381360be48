//! Rate limits: set while devices are connected, told to them, and nothing that was acknowledged is lost to them.

use serde_json::{Value, json};
use wireglot_load::wire::{self, Version};

use crate::harness::{Closed, Server, eventually};

const LIMITS: &str = "/api/rateLimits";
const ASK: &str = "v1/devices/me/rpc/request/1";

fn set(server: &Server, limits: &Value) {
    server.rest().post(LIMITS, limits).expect("the limits are in force");
}

#[test]
fn a_limit_is_set_while_a_device_is_connected() {
    let server = Server::spawn();
    let mut device = server.device_of("default", "thermo");
    for value in 0..5 {
        device.telemetry(json!({ "t": value }).to_string());
    }
    set(&server, &json!({ "transportDeviceTelemetryMsgRateLimit": "2:3600" }));
    device.telemetry(r#"{"t":5}"#);
    device.telemetry(r#"{"t":6}"#);
    device.send(&wire::publish(Version::V5, "v1/devices/me/telemetry", 1, 99, br#"{"t":7}"#));
    assert_eq!(device.closed(), Closed::With(0x83));
    let stored: Vec<Value> =
        server.rest().messages("thermo").iter().map(|message| message.values["t"].clone()).collect();
    assert_eq!(stored, [0, 1, 2, 3, 4, 5, 6], "what was acknowledged is stored, and nothing else");
    let metrics = server.metrics();
    let refused = [("level", "device"), ("kind", "telemetry_messages")];
    assert!(metrics.value("wireglot_rate_limited_total", &refused) > 0.0);

    // After a restart the limit is still there, with a full bucket.
    let server = server.kill_9().restart();
    let limits = server.rest().get(LIMITS).expect("the limits");
    assert_eq!(limits["transportDeviceTelemetryMsgRateLimit"], "2:3600");
    let mut device = server.connect("thermo");
    device.telemetry(r#"{"t":8}"#);
    set(&server, &json!({}));
    for value in 9..20 {
        device.telemetry(json!({ "t": value }).to_string());
    }
}

#[test]
fn the_fleet_file_declares_the_limits() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("fleet.toml");
    std::fs::write(&file, "[rateLimits]\ntransportDeviceMsgRateLimit = \"20:600\"\n").expect("a file");
    let path: &'static str = file.to_str().expect("a path").to_owned().leak();
    let server = Server::spawn_with(&[("WIREGLOT_FLEET", path), ("WIREGLOT_CODECS_POLL_S", "1")]);
    let limit = || server.rest().get(LIMITS).expect("the limits")["transportDeviceMsgRateLimit"].clone();
    assert_eq!(limit(), "20:600");
    let mut device = server.device("thermo");
    std::fs::write(&file, "[rateLimits]\ntransportDeviceMsgRateLimit = \"30:600\"\n").expect("a file");
    eventually("the changed file is applied", || (limit() == "30:600").then_some(()));
    device.telemetry(r#"{"t":1}"#);
}

// 236, 238
#[test]
fn a_device_reads_its_limits() {
    let server = Server::spawn();
    let mut device = server.device("thermo");
    let mut ask = || {
        assert_eq!(device.publish_qos1(ASK, r#"{"method":"getSessionLimits","params":{}}"#), 0);
        let answer = device.next_message();
        assert_eq!(answer.topic, "v1/devices/me/rpc/response/1");
        serde_json::from_str::<Value>(&answer.payload).expect("JSON")
    };
    let limits = |texts: [Value; 3]| {
        let [messages, telemetry, points] = texts;
        json!({
            "maxPayloadSize": 65_536,
            "maxInflightMessages": 100,
            "rateLimits": { "messages": messages, "telemetryMessages": telemetry, "telemetryDataPoints": points },
        })
    };
    assert_eq!(ask(), limits([Value::Null, Value::Null, Value::Null]));
    set(
        &server,
        &json!({
            "transportDeviceMsgRateLimit": "20:600",
            "transportDeviceTelemetryMsgRateLimit": "10:600",
            "transportDeviceTelemetryDataPointsRateLimit": "40:600",
        }),
    );
    assert_eq!(ask(), limits([json!("20:600"), json!("10:600"), json!("40:600")]));
}

#[test]
fn a_limit_that_cannot_be_read_is_refused_with_the_way_out() {
    let server = Server::spawn();
    let refusal =
        server.rest().post(LIMITS, &json!({ "transportDeviceMsgRateLimit": "100/s" })).expect_err("no");
    assert_eq!(refusal.status, 400);
    assert!(refusal.mentions("write COUNT:SECONDS, such as 200:1,6000:60"), "{refusal:?}");
}
