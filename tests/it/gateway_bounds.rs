//! What a gateway may not do, how much of anything it may do, and how long its devices may be silent.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wireglot_load::wire::{self, Version};

use crate::gateway::{CONNECT, TELEMETRY, accepted, gateway, hears_nothing, is_asked};
use crate::harness::{Closed, Device, Server, eventually};

/// As in the limits of the server: dead letters that one publish makes; of more it makes one.
const LETTERS: usize = 16;
const NAME_CHARS: usize = 255;

fn letters(server: &Server) -> Vec<Value> {
    let found = server.rest().get("/api/dead-letters?limit=1000").expect("dead letters");
    found.as_array().expect("an array").clone()
}

#[test]
fn a_publish_that_is_bad_through_and_through_is_one_letter() {
    let server = Server::spawn();
    let mut site = gateway(&server, "site", Version::V5);
    let publish = |bad: usize| {
        let mut parts: BTreeMap<String, Value> =
            (0..bad).map(|number| (format!("bad-{number}"), json!([number]))).collect();
        parts.insert("good".to_owned(), json!([{ "bad": bad }]));
        json!(parts).to_string()
    };
    assert_eq!(site.publish_qos1(TELEMETRY, publish(LETTERS)), 0x99);
    assert_eq!(letters(&server).len(), LETTERS);
    server.rest().delete("/api/dead-letters?all=true").expect("they are deleted");
    assert_eq!(site.publish_qos1(TELEMETRY, publish(LETTERS + 1)), 0x99);
    let kept = letters(&server);
    assert_eq!(kept.len(), 1, "{kept:?}");
    let reason = kept[0]["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("17 parts are refused; the first"), "{reason}");
    assert_eq!(server.rest().latest("good")["bad"], LETTERS + 1);
    hears_nothing(&mut site);
}

#[test]
fn names_that_no_device_can_have_are_refused_and_kept() {
    let server = Server::spawn();
    let mut site = gateway(&server, "site", Version::V5);
    let longest = "n".repeat(NAME_CHARS);
    accepted(&mut site, TELEMETRY, &json!({ &longest: [{ "t": 1 }] }));
    assert_eq!(server.rest().latest(&longest)["t"], 1);
    let mut expected = 0;
    for name in ["", " ", &"n".repeat(NAME_CHARS + 1), "site"] {
        let payload = json!({ name: [{ "t": 1 }], "good": [{ "t": 2 }] });
        assert_eq!(site.publish_qos1(TELEMETRY, payload.to_string()), 0x80, "{name:?}");
        expected += 1;
        let kept = letters(&server);
        assert_eq!(kept.len(), expected, "{name:?}");
        assert_eq!(kept[0]["deviceName"], "site", "nobody else is there: {}", kept[0]);
    }
    assert_eq!(server.rest().latest("good")["t"], 2);
    let long = json!({ "device": "n".repeat(NAME_CHARS + 1) });
    assert_eq!(site.publish_qos1(CONNECT, long.to_string()), 0x80);
    let typed = json!({ "device": "typed", "type": "t".repeat(NAME_CHARS + 1) });
    assert_eq!(site.publish_qos1(CONNECT, typed.to_string()), 0x80);
    assert_eq!(server.rest().device("typed"), None);
    // Of an attribute request it is told in another way.
    let request = json!({ "id": 1, "device": "n".repeat(NAME_CHARS + 1), "client": true, "key": "k" });
    assert_eq!(site.publish_qos1("v1/gateway/attributes/request", request.to_string()), 0x83);
    hears_nothing(&mut site);
}

#[test]
fn every_quality_of_service_is_served_behind_a_gateway() {
    let server = Server::spawn();
    for version in [Version::V3, Version::V5] {
        let name = |what: &str| format!("{what} {version:?}");
        let mut site = gateway(&server, &name("site"), version);
        let publish = |key: &str| json!({ name("a"): [{ key: 1 }], name("b"): [{ key: 2 }] }).to_string();
        site.publish_qos0(TELEMETRY, publish("q0"));
        assert_eq!(site.publish_qos1(TELEMETRY, publish("q1")), 0);
        assert_eq!(site.publish_qos2(TELEMETRY, publish("q2")), 0);
        for (device, value) in [("a", 1), ("b", 2)] {
            let latest = server.rest().latest(&name(device));
            let found = ["q0", "q1", "q2"].map(|key| latest[key].clone());
            assert_eq!(found, [value, value, value], "{device}");
        }
        let bad = json!({ name("a"): [5], name("b"): [{ "q2": 3 }] }).to_string();
        assert_eq!(site.publish_qos2(TELEMETRY, bad), if version == Version::V3 { 0 } else { 0x99 });
        assert_eq!(server.rest().latest(&name("b"))["q2"], 3);
        hears_nothing(&mut site);
    }
}

#[test]
fn a_new_device_belongs_to_the_customer_of_its_gateway() {
    let server = Server::spawn();
    let rest = server.rest();
    let id = rest.create_gateway("site", None);
    accepted(&mut server.connect("site"), TELEMETRY, &json!({ "before": [{ "t": 1 }] }));
    let customer = rest.post("/api/customer", &json!({ "title": "owner" })).expect("a customer");
    let customer = customer["id"]["id"].as_str().expect("an id");
    rest.post(&format!("/api/customer/{customer}/device/{id}"), &json!({})).expect("it is assigned");
    accepted(
        &mut server.connect("site"),
        TELEMETRY,
        &json!({ "before": [{ "t": 2 }], "after": [{ "t": 2 }] }),
    );
    let owner = |name: &str| rest.device(name).expect("it is there")["customerId"]["id"].clone();
    assert_eq!(owner("after"), customer);
    assert_ne!(owner("before"), customer, "who is there stays whose it is");
}

#[test]
fn a_silent_device_loses_its_session_and_nothing_else() {
    let server = Server::spawn_with(&[("WIREGLOT_SESSION_INACTIVITY_S", "3")]);
    let rest = server.rest();
    let mut usual = gateway(&server, "usual", Version::V5);
    accepted(&mut usual, CONNECT, &json!({ "device": "silent" }));
    let patient =
        json!({ "name": "patient", "additionalInfo": { "gateway": true, "overwriteActivityTime": true } });
    rest.post("/api/device?accessToken=patient", &patient).expect("a gateway");
    let mut patient = Device::connect(server.mqtt(), Version::V5, "patient");
    accepted(&mut patient, CONNECT, &json!({ "device": "kept" }));
    // The pings of one gateway count for itself, those of the other for its devices too.
    eventually("the silent device has no session", || {
        usual.ping();
        patient.ping();
        (!rest.sessions().contains(&"silent".to_owned())).then_some(())
    });
    assert_eq!(rest.sessions(), ["kept", "patient", "usual"]);
    accepted(&mut usual, TELEMETRY, &json!({ "silent": [{ "t": 1 }] }));
    is_asked(&server, &mut usual, "silent", 0);
    is_asked(&server, &mut patient, "kept", 0);
}

// 335
#[test]
fn what_a_rate_limit_refuses_of_a_publish_is_kept_where_it_was_acknowledged() {
    let server = Server::spawn();
    let limit = json!({ "transportGatewayTelemetryMsgRateLimit": "2:3600" });
    server.rest().post("/api/rateLimits", &limit).expect("the limit is set");
    let mut site = gateway(&server, "site", Version::V3);
    let parts: BTreeMap<String, Value> =
        (0..5).map(|number| (format!("d-{number}"), json!([{ "t": number }]))).collect();
    assert_eq!(site.publish_qos1(TELEMETRY, json!(parts).to_string()), 0);
    assert_eq!(site.closed(), Closed::Silently);
    let server = server.kill_9().restart();
    let stored = |number: usize| {
        let name = format!("d-{number}");
        server.rest().device(&name).is_some_and(|_| server.rest().latest(&name)["t"] == number)
    };
    assert!(stored(0) && stored(1), "what came before the limit");
    let kept = letters(&server);
    assert_eq!(kept.len(), 1, "{kept:?}");
    let payload = kept[0]["payloadHex"].as_str().expect("hex");
    let payload = String::from_utf8(crate::telemetry::unhex(payload)).expect("a text");
    assert!((2..5).all(|number| payload.contains(&format!(r#""d-{number}""#))), "{payload}");
    assert!(kept[0]["reason"].as_str().is_some_and(|reason| reason.contains("rate limit")), "{}", kept[0]);
}

#[test]
fn a_gateway_that_vanishes_in_the_middle_of_a_storm_leaves_nobody_behind() {
    let server = Server::spawn();
    for round in 0..20 {
        let mut site = match round {
            0 => gateway(&server, "site", Version::V5),
            _ => Device::connect(server.mqtt(), Version::V5, "site"),
        };
        let parts: BTreeMap<String, Value> =
            (0..50).map(|number| (format!("d-{number}"), json!([{ "round": round }]))).collect();
        let publish = json!(parts).to_string();
        for packet_id in 1..=10 {
            site.send(&wire::publish(Version::V5, TELEMETRY, 1, packet_id, publish.as_bytes()));
        }
    }
    eventually("nobody is there", || server.rest().sessions().is_empty().then_some(()));
    let mut site = Device::connect(server.mqtt(), Version::V5, "site");
    accepted(&mut site, TELEMETRY, &json!({ "d-7": [{ "round": 99 }] }));
    assert_eq!(server.rest().latest("d-7")["round"], 99);
    is_asked(&server, &mut site, "d-7", 0);
    let found = server.rest().get("/api/tenant/devices?pageSize=100&page=0").expect("a page");
    assert_eq!(found["totalElements"], 51, "each device was made once");
}
