//! Group U: gateways, which speak for their devices: who is there, what is said, and what a publish gets back.
//!
//! Elsewhere: what the server says to these devices (`u_downlinks.rs`), and all of it as protobuf (`u_protobuf.rs`).

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use wireglot_load::wire::{self, Version};

use super::case::{ATTRIBUTES, Case, Row, Settings, TELEMETRY, both, strict, v3, v5};
use super::client::{Client, Outcome};
use super::n_claim::claim_of;
use super::people::customer_user;
use crate::harness::{Closed, eventually};

pub(super) const CONNECT: &str = "v1/gateway/connect";
pub(super) const DISCONNECT: &str = "v1/gateway/disconnect";
pub(super) const BEHIND_TELEMETRY: &str = "v1/gateway/telemetry";
pub(super) const BEHIND_ATTRIBUTES: &str = "v1/gateway/attributes";
pub(super) const ATTRIBUTES_REQUEST: &str = "v1/gateway/attributes/request";
pub(super) const CLAIM: &str = "v1/gateway/claim";

const REPORTS_OFTEN: Settings = &[("WIREGLOT_GATEWAY_METRICS_S", "1")];

/// JSON that lacks a value.
const MALFORMED: &str = r#"{"Device A":, "Device B":[]}"#;

pub(super) const ROWS: &[Row] = &[
    both(346, "`v1/gateway/connect`", |c| {
        let mut client = gateway(c);
        connects(c, &mut client, &a(c));
        let device = c.rest().device(&a(c)).expect("the device is made");
        assert_eq!(device["type"], "default");
        assert_eq!(device["additionalInfo"]["lastConnectedGateway"], c.id(), "{device}");
        client.hears_nothing();
    }),
    both(347, "connect with a type", |c| {
        let mut client = gateway(c);
        let profile = c.named("Thermostat");
        client.accepted(CONNECT, json!({ "device": b(c), "type": profile }).to_string());
        let device = c.rest().device(&b(c)).expect("the device is made");
        assert_eq!(device["type"], profile.as_str());
        let id = device["deviceProfileId"]["id"].as_str().expect("an id");
        let made = c.rest().get(&format!("/api/deviceProfile/{id}")).expect("the profile is made");
        assert_eq!((&made["name"], &made["transportType"]), (&json!(profile), &json!("DEFAULT")));
        // Only a new device takes the type.
        client.accepted(CONNECT, json!({ "device": b(c), "type": c.named("Other") }).to_string());
        client.accepted(DISCONNECT, named(&b(c)));
        client.accepted(CONNECT, json!({ "device": b(c), "type": c.named("Other") }).to_string());
        assert_eq!(c.rest().device(&b(c)).expect("still there")["type"], profile.as_str());
    }),
    both(348, "connect again", |c| {
        let mut client = gateway(c);
        connects(c, &mut client, &a(c));
        let first = c.rest().device_id(&a(c));
        connects(c, &mut client, &a(c));
        client.hears_nothing();
        let found = c.rest().get(&format!("/api/tenant/devices?pageSize=10&page=0&textSearch={}", a(c)));
        let found = found.expect("a page");
        assert_eq!((&found["totalElements"], &found["data"][0]["id"]["id"]), (&json!(1), &json!(first)));
    }),
    both(349, "telemetry of two devices, two points each", |c| {
        let mut client = gateway(c);
        let points = json!([{ "ts": 10_000, "values": values() }, { "ts": 20_000, "values": values() }]);
        client.accepted(BEHIND_TELEMETRY, json!({ a(c): points, b(c): points }).to_string());
        for device in [a(c), b(c)] {
            c.stored_of(&device, values());
            let expected = [(10_000, json!(73)), (20_000, json!(73))];
            assert_eq!(c.points_of(&device, "v4"), expected, "{device}");
        }
    }),
    both(350, "telemetry for an unknown device, without connect", |c| {
        let mut client = gateway(c);
        let unknown = c.named("C");
        client.accepted(BEHIND_TELEMETRY, json!({ &unknown: [{ "a": 1 }] }).to_string());
        c.stored_of(&unknown, json!({ "a": 1 }));
        let device = c.rest().device(&unknown).expect("the device is made");
        assert_eq!(device["type"], "default");
        assert_eq!(device["additionalInfo"]["lastConnectedGateway"], c.id());
    }),
    both(351, "a value that is no array beside one that is", |c| {
        let mut client = gateway(c);
        client.accepted(BEHIND_TELEMETRY, json!({ a(c): { "a": 1 }, b(c): [{ "a": 1 }] }).to_string());
        c.stored_of(&b(c), json!({ "a": 1 }));
        assert_eq!(c.rest().device(&a(c)), None, "nothing was said of it");
        // The same of attributes, whose values are objects.
        client.accepted(BEHIND_ATTRIBUTES, json!({ a(c): [{ "a": 1 }], b(c): { "a": 1 } }).to_string());
        c.attributes_of(&b(c), "CLIENT_SCOPE", json!({ "a": 1 }));
        assert_eq!(c.rest().device(&a(c)), None);
    }),
    both(352, "`{\"Device A\":{\"a\":1}}`, and other payloads of the wrong shape", |c| {
        misshapen(
            c,
            &[
                (BEHIND_TELEMETRY, r#"{"Device A":{"a":1}}"#),
                (BEHIND_TELEMETRY, "[5]"),
                (BEHIND_TELEMETRY, "5"),
                (BEHIND_TELEMETRY, ""),
                (BEHIND_ATTRIBUTES, r#"{"Device A":[]}"#),
                (CLAIM, r#"{"Device A":"value"}"#),
            ],
        );
    }),
    both(353, "`{\"Device A\":[]}`", |c| {
        let mut client = gateway(c);
        client.accepted(BEHIND_TELEMETRY, json!({ a(c): [] }).to_string());
        client.accepted(BEHIND_TELEMETRY, json!({ a(c): [], b(c): [{ "a": 1 }] }).to_string());
        c.stored_of(&b(c), json!({ "a": 1 }));
        client.stays();
    }),
    both(354, "`{\"Device A\":[5]}`", |c| {
        let mut client = gateway(c);
        fails_in_part(c, &mut client, &a(c), &json!({ a(c): [5] }));
        let mut client = gateway_with(c, &c.named("strict"), strict());
        let outcome = client.publish(BEHIND_TELEMETRY, json!({ b(c): [5] }).to_string());
        let expected = match c.version {
            Version::V3 => Outcome::Closed(Closed::Silently),
            Version::V5 => Outcome::Acknowledged(0x99),
        };
        assert_eq!(outcome, expected);
        if c.version == Version::V5 {
            client.stays();
        }
    }),
    v3(355, "malformed JSON, v3, `sendAckOnValidationException` on or off", |c| {
        let mut client = gateway(c);
        for topic in [TELEMETRY, BEHIND_TELEMETRY, CONNECT] {
            c.invalid(&mut client, topic, MALFORMED);
        }
        for (flag, outcome) in [(false, Outcome::Closed(Closed::Silently)), (true, Outcome::Acknowledged(0))]
        {
            let name = c.named(if flag { "patient" } else { "strict" });
            let mut transport = strict();
            transport["sendAckOnValidationException"] = flag.into();
            let mut client = gateway_with(c, &name, transport);
            for topic in [TELEMETRY, BEHIND_TELEMETRY] {
                assert_eq!(client.publish(topic, MALFORMED), outcome, "{name} {topic}");
                if flag {
                    client.stays();
                } else {
                    client = c.connect(&name);
                }
            }
        }
    }),
    both(356, "attributes", |c| {
        let mut client = gateway(c);
        client.accepted(BEHIND_ATTRIBUTES, json!({ a(c): four(), b(c): { "x": 1 } }).to_string());
        c.attributes_of(&a(c), "CLIENT_SCOPE", four());
        c.attributes_of(&b(c), "CLIENT_SCOPE", json!({ "x": 1 }));
    }),
    both(371, "disconnect of an unknown device", |c| {
        let mut client = gateway(c);
        client.accepted(DISCONNECT, named(&a(c)));
        client.hears_nothing();
        assert_eq!(c.rest().device(&a(c)), None);
    }),
    both(372, "a claim with a secret", |c| {
        let mut client = gateway(c);
        let claim = json!({ a(c): { "secretKey": "value", "durationMs": 60_000 }, b(c): {} });
        client.accepted(CLAIM, claim.to_string());
        is_claimed(c, &a(c), json!({ "secretKey": "value" }));
    }),
    both(373, "a claim without a secret", |c| {
        let mut client = gateway(c);
        client.accepted(CLAIM, json!({ a(c): {} }).to_string());
        is_claimed(c, &a(c), json!({}));
    }),
    both(374, "`v1/gateway/foo`", |c| {
        let mut client = gateway(c);
        for topic in ["v1/gateway/foo", "v1/gateway", "v1/gateway/connect/"] {
            assert_eq!(client.publish(topic, named(&a(c))), c.reason(0x90), "{topic}");
        }
        client.stays();
    }),
    both(375, "connect without a name", |c| {
        misshapen(
            c,
            &[
                (CONNECT, r#"{"device":""}"#),
                (CONNECT, r#"{"type":"default"}"#),
                (CONNECT, r#"{"device":{}}"#),
                (DISCONNECT, r#"{"device":""}"#),
                (DISCONNECT, "[]"),
            ],
        );
    }),
    v3(376, "the device limit is reached, v3", is_full),
    v5(377, "the device limit is reached, v5", is_full),
    both(378, "a deleted device connects again", |c| {
        let mut client = gateway(c);
        connects(c, &mut client, &a(c));
        let first = c.rest().device_id(&a(c));
        c.rest().delete_device(&a(c));
        connects(c, &mut client, &a(c));
        assert_ne!(c.rest().device_id(&a(c)), first);
        client.accepted(BEHIND_TELEMETRY, json!({ a(c): [{ "a": 1 }] }).to_string());
        c.stored_of(&a(c), json!({ "a": 1 }));
    }),
    both(381, "`gatewayMetrics`", metrics_are_reported).on(REPORTS_OFTEN),
    both(382, "metadata without `publishedTs`", |c| {
        let mut client = gateway(c);
        for metadata in [
            json!({ "connector": "c", "receivedTs": 1 }),
            json!({ "connector": "c", "receivedTs": 1, "publishedTs": null }),
        ] {
            let bad = json!([{ "ts": 1, "values": { "a": 1 }, "metadata": metadata }]);
            fails_in_part(c, &mut client, &a(c), &json!({ a(c): bad, b(c): [{ "a": 1 }] }));
        }
        c.stored_of(&b(c), json!({ "a": 1 }));
    }),
    both(383, "the gateway disconnects", |c| {
        let mut client = gateway(c);
        connects(c, &mut client, &a(c));
        client.accepted(BEHIND_TELEMETRY, json!({ b(c): [{ "a": 1 }] }).to_string());
        for device in [a(c), b(c)] {
            told(c, &device, "lastConnectTime");
        }
        client.send(&wire::disconnect());
        client.closed();
        for device in [a(c), b(c)] {
            told(c, &device, "lastDisconnectTime");
            let sessions = c.rest().get(&format!("/api/sessions?pageSize=10&page=0&textSearch={device}"));
            assert_eq!(sessions.expect("a page")["totalElements"], 0, "{device}");
        }
    }),
    both(384, "the gateway's own telemetry", |c| {
        let mut client = gateway(c);
        client.accepted(TELEMETRY, r#"{"a":1}"#);
        client.accepted(ATTRIBUTES, r#"{"b":2}"#);
        c.stored(json!({ "a": 1 }));
        c.attributes("CLIENT_SCOPE", json!({ "b": 2 }));
    }),
    v5(388, "QoS 0 telemetry for two devices, v5", |c| {
        let mut client = gateway(c);
        client.publish_qos0(BEHIND_TELEMETRY, json!({ a(c): [{ "a": 1 }], b(c): [{ "a": 1 }] }).to_string());
        client.hears_nothing();
        for device in [a(c), b(c)] {
            let stored = || {
                c.rest().device(&device)?;
                c.rest().latest(&device).contains_key("a").then_some(())
            };
            eventually("it is stored", stored);
        }
        client.hears_nothing();
    }),
];

/// The names of the case's devices behind its gateway.
pub(super) fn a(c: &Case) -> String {
    c.named("A")
}

pub(super) fn b(c: &Case) -> String {
    c.named("B")
}

/// The case's gateway, made and connected.
#[track_caller]
pub(super) fn gateway(c: &Case) -> Client {
    c.rest().create_gateway(&c.name(), None);
    c.connect(&c.name())
}

/// A gateway in a profile of its own name with these members of the transport configuration, made and connected.
#[track_caller]
pub(super) fn gateway_with(c: &Case, name: &str, transport: Value) -> Client {
    let mut shape = json!({
        "type": "MQTT",
        "transportPayloadTypeConfiguration": { "transportPayloadType": "JSON" },
    });
    for (key, value) in transport.as_object().expect("an object").clone() {
        shape[key] = value;
    }
    c.rest().create_profile(name, &shape);
    c.rest().create_gateway(name, Some(name));
    c.connect(name)
}

pub(super) fn named(device: &str) -> String {
    json!({ "device": device }).to_string()
}

#[track_caller]
pub(super) fn connects(c: &Case, client: &mut Client, device: &str) {
    client.accepted(CONNECT, named(device));
    assert!(c.rest().device(device).is_some(), "{device} is there");
}

pub(super) fn values() -> Value {
    json!({ "v1": "value1", "v2": true, "v3": 42.0, "v4": 73, "v5": { "key": [1, 2] } })
}

pub(super) fn four() -> Value {
    json!({ "attr1": "value1", "attr2": true, "attr3": 42.0, "attr4": 73 })
}

/// Insists that publishes are refused for their shape: by default the gateway is told, stays connected, and each
/// payload is a dead letter; a strict profile ends the connection behind the acknowledgement.
#[track_caller]
pub(super) fn misshapen(c: &Case, publishes: &[(&str, &str)]) {
    let mut client = gateway(c);
    for (index, (topic, payload)) in publishes.iter().enumerate() {
        assert_eq!(client.publish(topic, payload), c.reason(0x83), "{topic} {payload}");
        client.hears_nothing();
        let letters = c.rest().dead_letters(&c.name());
        assert_eq!(letters.len(), index + 1, "a dead letter of {topic} {payload}");
        assert_eq!(letters[0]["stage"], "refused");
    }
    let name = c.named("strict");
    let mut client = gateway_with(c, &name, strict());
    for (topic, payload) in publishes {
        assert_eq!(client.publish(topic, payload), c.reason(0x83), "{topic} {payload}");
        assert_eq!(client.closed(), c.close(0x83), "{topic} {payload}");
        client = c.connect(&name);
    }
}

/// Insists that what a publish says of one device is refused: the gateway is told and stays, and the part is a dead
/// letter.
#[track_caller]
pub(super) fn fails_in_part(c: &Case, client: &mut Client, device: &str, payload: &Value) {
    fails_in_bytes(c, client, device, payload.to_string().as_bytes());
}

/// The same of a payload that is no JSON.
#[track_caller]
pub(super) fn fails_in_bytes(c: &Case, client: &mut Client, device: &str, payload: &[u8]) {
    let before = letters(c, device);
    assert_eq!(client.publish(BEHIND_TELEMETRY, payload), c.reason(0x99));
    client.hears_nothing();
    assert_eq!(letters(c, device), before + 1, "a dead letter of {}", String::from_utf8_lossy(payload));
}

/// Dead letters of a device, which need not exist, and of the case's gateway.
fn letters(c: &Case, device: &str) -> usize {
    let of = |name: &str| c.rest().device(name).map_or(0, |_| c.rest().dead_letters(name).len());
    of(device) + of(&c.name())
}

#[track_caller]
pub(super) fn is_claimed(c: &Case, device: &str, body: Value) {
    let user = customer_user(c, 0);
    let answer = claim_of(device, &user, &body).expect("claimed");
    assert_eq!(answer["response"], "SUCCESS");
    let customer = user.get("/api/auth/user").expect("who I am")["customerId"].clone();
    assert_eq!(c.rest().device(device).expect("it is there")["customerId"], customer);
}

/// On a server that takes two devices, the gateway and one behind it are all.
fn is_full(c: &Case) {
    let c = &c.alone_with(&[("WIREGLOT_DEVICES_MAX", "2")]);
    let mut client = gateway(c);
    client.accepted(BEHIND_TELEMETRY, json!({ a(c): [{ "a": 1 }] }).to_string());
    c.stored_of(&a(c), json!({ "a": 1 }));
    let outcome = client.publish(BEHIND_TELEMETRY, json!({ b(c): [{ "a": 1 }] }).to_string());
    assert_eq!(outcome, c.reason(0x97), "telemetry");
    assert_eq!(client.publish(CONNECT, named(&b(c))), c.reason(0x97), "connect");
    client.stays();
    assert_eq!(c.rest().device(&b(c)), None);
    client.accepted(BEHIND_TELEMETRY, json!({ a(c): [{ "a": 2 }] }).to_string());
    // Room again.
    c.rest().delete_device(&a(c));
    client.accepted(BEHIND_TELEMETRY, json!({ b(c): [{ "a": 3 }] }).to_string());
    c.stored_of(&b(c), json!({ "a": 3 }));
}

/// Five publishes with known times. Where a report falls between them they are sent once more.
fn metrics_are_reported(c: &Case) {
    let mut client = gateway(c);
    eventually("a report of exactly five publishes", || {
        let before = c.points("gatewayMetrics").len();
        for latency in [10, 20, 30, 40, 51] {
            client.accepted(BEHIND_TELEMETRY, timed_telemetry(c, latency).to_string());
        }
        eventually("a report", || (c.points("gatewayMetrics").len() > before).then_some(()));
        let reports = c.points("gatewayMetrics");
        let found = reports.iter().find(|(_, report)| is_whole(report, "connectorA", [30, 10, 51]))?;
        assert!(is_whole(&found.1, "connectorB", [1030, 1010, 1051]), "{found:?}");
        assert_eq!(found.1.as_object().map(serde_json::Map::len), Some(2), "{found:?}");
        Some(())
    });
    for device in [a(c), b(c)] {
        c.stored_of(&device, json!({ "a": 1, "b": 2 }));
    }
}

/// What both devices say, by two connectors, the second of which is a second slower.
fn timed_telemetry(c: &Case, latency: u64) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let now = u64::try_from(now).expect("a time in this age");
    let metadata = |connector: &str, latency: u64| json!({ "connector": connector, "receivedTs": now - latency, "publishedTs": now });
    let elements = json!([
        { "ts": 1_000, "values": { "a": 1 }, "metadata": metadata("connectorA", latency) },
        { "b": 2, "metadata": metadata("connectorB", latency + 1_000) },
    ]);
    json!({ a(c): elements, b(c): elements })
}

/// Whether a report says this of a connector: average, least and greatest milliseconds on the gateway; and of the
/// way to the server what is possible.
fn is_whole(report: &Value, connector: &str, gateway: [i64; 3]) -> bool {
    let of =
        |kind: &str| ["avg", "min", "max"].map(|word| report[connector][format!("{word}{kind}")].as_i64());
    let [Some(average), Some(least), Some(greatest)] = of("TransportLatency") else { return false };
    of("GwLatency") == gateway.map(Some) && 0 <= least && least <= greatest && average <= greatest
}

#[track_caller]
fn told(c: &Case, device: &str, key: &str) {
    eventually(&format!("{device} has {key}"), || {
        c.rest().attributes(device, "SERVER_SCOPE").get(key)?.as_i64().filter(|time| *time > 0)
    });
}
