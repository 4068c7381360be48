//! What a device says is what a reader sees: JSON in all its forms, and binary frames through the real plugins.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wireglot_load::wire::Version;

use crate::harness::{Closed, Device, Server, plugin, vectors};

const TOPIC: &str = "v1/devices/me/telemetry";
/// No telemetry in any form.
const BAD: [&str; 6] = ["", "12", "null", r#"{"a":"#, "[1]", "\u{0}\u{1}"];

#[test]
fn every_form_of_json_is_read_back_with_its_types() {
    let server = Server::spawn();
    let mut row = 0;
    let mut check = |payload: &str, expected: Value| {
        row += 1;
        let name = format!("json-{row}");
        server.device(&name).telemetry(payload);
        let expected = expected.as_object().expect("an object");
        let latest = server.rest().latest(&name);
        assert!(latest.keys().eq(expected.keys()), "{payload} became {latest:?}");
        assert!(latest.iter().all(|(key, value)| same(value, &expected[key])), "{payload} became {latest:?}");
    };
    check(
        r#"{"temperature":25,"on":true,"name":"a b"}"#,
        json!({ "temperature": 25, "on": true, "name": "a b" }),
    );
    check(r#"[{"a":1},{"b":2}]"#, json!({ "a": 1, "b": 2 }));
    check(r#"[{"a":1},{"ts":1700000000000,"values":{"b":2}}]"#, json!({ "a": 1, "b": 2 }));
    check(r#"{"ts":1700000000000,"values":{"a":{"deep":[1,2]}}}"#, json!({ "a": { "deep": [1, 2] } }));
    check(
        r#"{"long":12345678,"double":1234.5,"text":"x"}"#,
        json!({ "long": 12_345_678, "double": 1_234.5, "text": "x" }),
    );
    check(r#"{"number":"25","words":"1e5","skipped":null}"#, json!({ "number": 25, "words": "1e5" }));
    check("{temperature:25}", json!({ "temperature": 25 }));
    check("{attribute1: value1, attribute2: true}", json!({ "attribute1": "value1", "attribute2": true }));
    check(r#"{"ts":1}"#, json!({ "ts": 1 }));
    check("{}", json!({}));
    check("[]", json!({}));
}

#[test]
fn points_are_kept_at_the_time_that_the_device_gave() {
    let server = Server::spawn();
    let mut device = server.device("thermo");
    device.telemetry(r#"[{"ts":2000,"values":{"t":2}},{"ts":1000,"values":{"t":1}}]"#);
    device.telemetry(r#"{"ts":1000,"values":{"t":1.5}}"#);
    let expected = vec![(1_000, json!(1.5)), (2_000, json!(2))];
    assert_eq!(server.rest().history("thermo", "t")["t"], expected);
    assert_eq!(server.rest().latest("thermo")["t"], 2);
}

#[test]
fn a_number_with_a_point_is_a_double() {
    let server = Server::spawn();
    server.device("thermo").telemetry(r#"{"long":12345678,"double":12345678.0}"#);
    let latest = server.rest().latest("thermo");
    assert!(latest["long"].is_i64(), "{latest:?}");
    assert!(latest["double"].is_f64(), "{latest:?}");
}

#[test]
fn a_bad_payload_disconnects_nobody_and_is_kept() {
    let server = Server::spawn();
    server.rest().create_device("v3", None);
    server.rest().create_device("v5", None);
    let mut v3 = Device::connect(server.mqtt(), Version::V3, "v3");
    let mut v5 = Device::connect(server.mqtt(), Version::V5, "v5");
    for payload in BAD {
        assert_eq!(v3.publish_qos1(TOPIC, payload), 0, "{payload}");
        assert_eq!(v5.publish_qos1(TOPIC, payload), 0x99, "{payload}");
    }
    v3.telemetry(r#"{"good":3}"#);
    v5.telemetry(r#"{"good":5}"#);
    for name in ["v3", "v5"] {
        let letters = server.rest().dead_letters(name);
        assert_eq!(letters.len(), BAD.len(), "{name}: {letters:?}");
        assert_eq!(letters[0]["payloadHex"], "0001", "the newest comes first");
        assert!(letters.iter().all(|letter| letter["stage"] == "refused" && letter["reason"] != ""));
    }
    assert_eq!(server.rest().latest("v3"), BTreeMap::from([("good".into(), json!(3))]));
    assert_eq!(server.rest().latest("v5"), BTreeMap::from([("good".into(), json!(5))]));
}

#[test]
fn a_strict_profile_disconnects_on_a_bad_payload() {
    let server = Server::spawn();
    server.install_codec("elsys", &plugin("elsys"));
    let strict = server.codec_profile_with("strict", "elsys", json!({ "onFailure": "disconnect" }));
    let mild = server.codec_profile_with("mild", "elsys", json!({ "onFailure": "accept" }));
    let mut device = server.device_of(&mild, "mild-1");
    device.telemetry([0x01]);
    let mut device = server.device_of(&strict, "strict-1");
    device.publish_qos0(TOPIC, [0x01]);
    assert_eq!(device.closed(), Closed::With(0x99));
}

#[test]
fn every_quality_of_service_is_served() {
    let server = Server::spawn();
    for (version, name) in [(Version::V3, "v3"), (Version::V5, "v5")] {
        server.rest().create_device(name, None);
        let mut device = Device::connect(server.mqtt(), version, name);
        device.publish_qos0(TOPIC, r#"{"q0":0}"#);
        assert_eq!(device.publish_qos1(TOPIC, r#"{"q1":1}"#), 0);
        assert_eq!(device.publish_qos2(TOPIC, r#"{"q2":2}"#), 0);
        let latest = server.rest().latest(name);
        assert_eq!((&latest["q0"], &latest["q1"], &latest["q2"]), (&json!(0), &json!(1), &json!(2)));
    }
}

#[test]
fn an_unknown_topic_is_told_and_the_short_ones_are_known() {
    let server = Server::spawn();
    server.rest().create_device("thermo", None);
    let mut device = Device::connect(server.mqtt(), Version::V5, "thermo");
    assert_eq!(device.publish_qos1("v1/devices/you/telemetry", "{}"), 0x90);
    assert_eq!(device.publish_qos1("/v1/devices/me/telemetry", "{}"), 0x90);
    assert_eq!(device.publish_qos1("v2/t", r#"{"short":1}"#), 0);
    assert_eq!(device.publish_qos1("v2/t/j", r#"{"shorter":2}"#), 0);
    let latest = server.rest().latest("thermo");
    assert_eq!((&latest["short"], &latest["shorter"]), (&json!(1), &json!(2)));
    let mut old = server.connect("thermo");
    assert_eq!(old.publish_qos1("nobody/knows", "{}"), 0);
    old.telemetry(r#"{"still":"there"}"#);
}

#[test]
fn a_profile_has_topics_of_its_own() {
    let server = Server::spawn();
    let transport = json!({
        "type": "MQTT",
        "deviceTelemetryTopic": "sensors/+/up/#",
        "deviceAttributesTopic": "sensors/+/facts",
        "transportPayloadTypeConfiguration": { "transportPayloadType": "JSON" },
    });
    server.rest().create_profile("own-topics", &transport);
    let mut device = server.device_of("own-topics", "thermo");
    for (topic, reason) in [
        ("sensors/7/up", 0),
        ("sensors/7/up/a/b", 0),
        ("sensors/7/upper", 0x90),
        ("sensors//up", 0x90),
        ("sensors/7/8/up", 0x90),
        (TOPIC, 0x90),
        ("v2/t", 0),
        ("sensors/7/facts", 0),
    ] {
        assert_eq!(device.publish_qos1(topic, r#"{"t":1}"#), reason, "{topic}");
    }
    assert_eq!(server.rest().latest("thermo")["t"], 1);
    assert_eq!(server.rest().attributes("thermo", "CLIENT_SCOPE")["t"], 1);
}

#[test]
fn a_changed_profile_holds_from_the_next_packet_on() {
    let server = Server::spawn();
    server.install_codec("elsys", &plugin("elsys"));
    let json =
        json!({ "type": "MQTT", "transportPayloadTypeConfiguration": { "transportPayloadType": "JSON" } });
    let id = server.rest().create_profile("changing", &json);
    let mut device = server.device_of("changing", "thermo");
    device.telemetry(r#"{"t":1}"#);
    let path = format!("/api/deviceProfile/{id}");
    let mut profile = server.rest().get(&path).expect("the profile is there");
    profile["profileData"]["transportConfiguration"]["transportPayloadTypeConfiguration"] =
        json!({ "transportPayloadType": "CODEC", "codec": "elsys" });
    server.rest().post("/api/deviceProfile", &profile).expect("the profile is changed");
    device.telemetry([0x01, 0x00, 0xe2]);
    assert_eq!(server.rest().latest("thermo")["temperature"], 22.6);
}

#[test]
fn frames_of_real_devices_become_their_documented_values() {
    let server = Server::spawn();
    for codec in ["ruuvi-df5", "cayenne-lpp", "elsys", "milesight-am", "milesight-em"] {
        server.install_codec(codec, &plugin(codec));
        let mut number = 0;
        for file in vectors(codec) {
            for vector in file["vectors"].as_array().expect("a list of vectors") {
                number += 1;
                play(&server, codec, &file, vector, number);
            }
        }
        assert!(number > 0, "{codec} has vectors");
    }
}

/// Publishes one recorded frame from a device of its own and compares what REST shows.
fn play(server: &Server, codec: &str, file: &Value, vector: &Value, number: u32) {
    let name = format!("{codec}-{number}");
    let settings = if vector["settings"].is_null() { &file["settings"] } else { &vector["settings"] };
    let mut payload = json!({});
    if settings.is_object() {
        payload["settings"] = settings.clone();
    }
    let profile = server.codec_profile_with(&name, codec, payload);
    let mut device = server.device_of(&profile, &name);
    let topic = vector["topic"].as_str().unwrap_or(TOPIC);
    let reason = device.publish_qos1(topic, unhex(vector["hex"].as_str().expect("hex")));
    if !vector["refused"].is_null() {
        assert_eq!(reason, 0x99, "{name}");
        return;
    }
    assert_eq!(reason, 0, "{name}");
    let mut expected = BTreeMap::new();
    for measurement in vector["expected"].as_array().expect("a list of measurements") {
        let values = measurement["values"].as_object().expect("values").clone();
        let at = measurement["ts"].as_i64().unwrap_or(i64::MAX);
        for (key, value) in values {
            let newest = expected.entry(key).or_insert((at, Value::Null));
            if newest.0 <= at {
                *newest = (at, value);
            }
        }
    }
    let latest = server.rest().latest(&name);
    for (key, (_, value)) in &expected {
        assert!(same(&latest[key], value), "{name}: {key} is {}, not {value}", latest[key]);
    }
    assert_eq!(latest.len(), expected.len(), "{name}: {latest:?}");
}

/// Whether a stored value is the expected one. Recorded files write doubles without a point here and there, and the
/// server writes large ones with an exponent.
pub(crate) fn same(stored: &Value, recorded: &Value) -> bool {
    match (stored.as_f64(), recorded.as_f64()) {
        (Some(stored), Some(recorded)) => (stored - recorded).abs() <= 1e-9 * recorded.abs(),
        _ => stored == recorded,
    }
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|c| c.to_digit(16))
        .map(|digit| u8::try_from(digit).expect("below 16"))
        .collect();
    digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect()
}
