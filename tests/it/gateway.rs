//! Gateways: one connection speaks for many devices, and each of them is treated as if it were there itself.

use std::collections::BTreeMap;
use std::thread;

use serde_json::{Value, json};
use wireglot_load::wire::{self, Version};

use crate::harness::{Closed, Device, Server, document, eventually, shell};
use crate::telemetry::unhex;

pub(crate) const CONNECT: &str = "v1/gateway/connect";
const DISCONNECT: &str = "v1/gateway/disconnect";
pub(crate) const TELEMETRY: &str = "v1/gateway/telemetry";
pub(crate) const ATTRIBUTES: &str = "v1/gateway/attributes";
const RPC: &str = "v1/gateway/rpc";
const OWN_RPC: &str = "v1/devices/me/rpc/request/+";

/// Devices behind one gateway in the story of the many, and how many of them one publish names.
const CHILDREN: usize = 2_000;
const CHILDREN_PER_PUBLISH: usize = 500;

/// A new gateway of the default profile, connected.
pub(crate) fn gateway(server: &Server, name: &str, version: Version) -> Device {
    server.rest().create_gateway(name, None);
    Device::connect(server.mqtt(), version, name)
}

#[track_caller]
pub(crate) fn accepted(gateway: &mut Device, topic: &str, payload: &Value) {
    assert_eq!(gateway.publish_qos1(topic, payload.to_string()), 0, "{topic} {payload}");
}

/// What the server says next, which is on this topic.
#[track_caller]
pub(crate) fn heard(gateway: &mut Device, topic: &str) -> Value {
    let message = gateway.next_message();
    assert_eq!(message.topic, topic, "{}", message.payload);
    serde_json::from_str(&message.payload).expect("JSON")
}

#[track_caller]
pub(crate) fn hears_nothing(gateway: &mut Device) {
    gateway.ping();
    assert_eq!(gateway.unread(), 0, "{:?}", gateway.next_message());
}

/// How many sessions are open, of any device.
pub(crate) fn sessions(server: &Server) -> Value {
    server.rest().get("/api/sessions?pageSize=1&page=0").expect("a page")["totalElements"].clone()
}

/// Asks a device while the gateway does something about it; the answer.
fn asked(server: &Server, device: &str, gateway: impl FnOnce()) -> Value {
    let path = format!("/api/rpc/twoway/{}", server.rest().device_id(device));
    let call = json!({ "method": "read", "params": { "pin": 7 }, "timeout": 20_000 });
    thread::scope(|scope| {
        let answer = scope.spawn(|| server.rest().post(&path, &call));
        gateway();
        answer.join().expect("the call ends").expect("an answer")
    })
}

/// The gateway is asked for this device, and answers.
#[track_caller]
fn answers(gateway: &mut Device, device: &str, id: u32) {
    let request = heard(gateway, RPC);
    let data = json!({ "id": id, "method": "read", "params": { "pin": 7 } });
    assert_eq!(request, json!({ "device": device, "data": data }));
    accepted(gateway, RPC, &json!({ "device": device, "id": id, "data": { "of": device } }));
}

#[track_caller]
pub(crate) fn is_asked(server: &Server, gateway: &mut Device, device: &str, id: u32) {
    let answer = asked(server, device, || answers(gateway, device, id));
    assert_eq!(answer, json!({ "of": device }));
}

// 349, 354
#[test]
fn good_parts_are_stored_and_refused_ones_are_kept_with_their_reasons() {
    let mut server = Server::spawn();
    for (version, reason) in [(Version::V3, 0), (Version::V5, 0x99)] {
        let named = |what: &str| format!("{what} {version:?}");
        let bad: [(&str, Value); 3] = [
            ("no object", json!([5])),
            ("no time", json!([{ "ts": "abc", "values": { "t": 1 } }])),
            ("no connector", json!([{ "t": 1 }, { "t": 2, "metadata": { "connector": "c" } }])),
        ];
        let mut payload = json!({ named("first"): [{ "t": 1 }, { "ts": 1_000, "values": { "t": 0 } }] });
        for (name, part) in &bad {
            payload[named(name)] = part.clone();
        }
        payload[named("last")] = json!([{ "t": 2 }]);
        payload[named("silent")] = json!([]);
        let mut gateway = gateway(&server, &named("gateway"), version);
        assert_eq!(gateway.publish_qos1(TELEMETRY, payload.to_string()), reason);
        hears_nothing(&mut gateway);
        // The answer covers all of it: what is good and what is kept.
        server = server.kill_9().restart();
        for (name, value) in [("first", 1), ("last", 2)] {
            assert_eq!(server.rest().latest(&named(name))["t"], value, "{name}");
        }
        let letters = server.rest().get("/api/dead-letters?limit=1000").expect("dead letters");
        for (name, part) in &bad {
            let name = named(name);
            let is_its = |letter: &&Value| {
                letter["deviceName"] == name.as_str()
                    || letter["reason"].as_str().is_some_and(|reason| reason.contains(&name))
            };
            let its: Vec<&Value> = letters.as_array().expect("an array").iter().filter(is_its).collect();
            assert_eq!(its.len(), 1, "one letter of {name}: {letters}");
            assert_eq!((&its[0]["stage"], &its[0]["topic"]), (&json!("refused"), &json!(TELEMETRY)));
            assert!(its[0]["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{}", its[0]);
            let kept = unhex(its[0]["payloadHex"].as_str().expect("hex"));
            let kept = String::from_utf8(kept).expect("a text");
            assert!(kept.contains(&part.to_string()), "{kept} holds {part}");
            assert!(!kept.contains("first"), "{kept} is the refused part alone");
            let is_empty = server.rest().device(&name).is_none_or(|_| server.rest().latest(&name).is_empty());
            assert!(is_empty, "nothing of {name} is stored");
        }
    }
    let letters = server.rest().get("/api/dead-letters?limit=1000").expect("dead letters");
    assert_eq!(letters.as_array().map(Vec::len), Some(6));
}

// 369
#[test]
fn persistent_rpcs_behind_a_gateway_are_delivered_answered_and_wait() {
    let server = Server::spawn();
    let mut gateway = gateway(&server, "site", Version::V3);
    accepted(&mut gateway, CONNECT, &json!({ "device": "Device A" }));
    let path = format!("/api/rpc/twoway/{}", server.rest().device_id("Device A"));
    let body = json!({ "method": "read", "params": { "pin": 7 }, "persistent": true, "timeout": 600_000 });
    let persistent = || {
        let answer = server.rest().post(&path, &body).expect("it is taken");
        answer["rpcId"].as_str().expect("an id").to_owned()
    };
    let until = |server: &Server, id: &str, status: &str| {
        eventually(&format!("the RPC is {status}"), || {
            let record = server.rest().get(&format!("/api/rpc/persistent/{id}")).expect("it is kept");
            (record["status"] == status).then_some(record)
        })
    };
    let first = persistent();
    let request = heard(&mut gateway, RPC);
    assert_eq!(request["data"]["id"], 0);
    until(&server, &first, "DELIVERED");
    accepted(&mut gateway, RPC, &json!({ "device": "Device A", "id": 0, "data": { "level": 7 } }));
    assert_eq!(until(&server, &first, "SUCCESSFUL")["response"], json!({ "level": 7 }));

    // Nobody is there, and the server is killed: it waits for the next session of the device, whoever brings it.
    accepted(&mut gateway, DISCONNECT, &json!({ "device": "Device A" }));
    let second = persistent();
    until(&server, &second, "QUEUED");
    hears_nothing(&mut gateway);
    let server = server.kill_9().restart();
    let mut gateway = server.connect("site");
    accepted(&mut gateway, TELEMETRY, &json!({ "Device A": [{ "t": 1 }] }));
    let request = heard(&mut gateway, RPC);
    until(&server, &second, "DELIVERED");
    let id = &request["data"]["id"];
    accepted(&mut gateway, RPC, &json!({ "device": "Device A", "id": id, "data": "done" }));
    assert_eq!(until(&server, &second, "SUCCESSFUL")["response"], "done");
}

#[test]
fn two_gateways_take_a_device_from_each_other_and_stay() {
    let server = Server::spawn();
    let mut one = gateway(&server, "one", Version::V3);
    let mut two = gateway(&server, "two", Version::V3);
    let roamer = json!({ "device": "roamer" });
    accepted(&mut one, CONNECT, &roamer);
    accepted(&mut one, CONNECT, &json!({ "device": "resident" }));
    accepted(&mut two, CONNECT, &roamer);
    let only_one = || (server.rest().sessions() == ["one", "resident", "roamer", "two"]).then_some(());
    eventually("the first session of the roamer has ended", only_one);
    is_asked(&server, &mut two, "roamer", 0);
    hears_nothing(&mut one);
    is_asked(&server, &mut one, "resident", 0);
    let info = server.rest().device("roamer").expect("it is there")["additionalInfo"].clone();
    assert_eq!(info["lastConnectedGateway"], server.rest().device_id("two"));

    // The first one hears the roamer again.
    accepted(&mut one, TELEMETRY, &json!({ "roamer": [{ "t": 1 }] }));
    eventually("the second session has ended", only_one);
    is_asked(&server, &mut one, "roamer", 1);
    hears_nothing(&mut two);

    // And now it comes by itself.
    let id = server.rest().device_id("roamer");
    let path = format!("/api/device/{id}/credentials");
    let token = server.rest().get(&path).expect("credentials")["credentialsId"].clone();
    let mut roamer = server.connect(token.as_str().expect("a token"));
    assert_eq!(roamer.subscribe(OWN_RPC), 1);
    eventually("the session behind the gateway has ended", only_one);
    server.rest().write_attributes("roamer", "SHARED_SCOPE", &json!({ "x": 1 }));
    hears_nothing(&mut one);
    accepted(&mut one, TELEMETRY, &json!({ "roamer": [{ "t": 2 }] }));
    assert_eq!(roamer.closed(), Closed::Silently);
    server.rest().write_attributes("roamer", "SHARED_SCOPE", &json!({ "x": 2 }));
    assert_eq!(heard(&mut one, ATTRIBUTES), json!({ "device": "roamer", "data": { "x": 2 } }));
}

#[test]
fn new_credentials_of_a_device_end_its_session_and_nothing_else() {
    let server = Server::spawn();
    let mut gateway = gateway(&server, "site", Version::V3);
    for name in ["a", "b"] {
        accepted(&mut gateway, CONNECT, &json!({ "device": name }));
    }
    let path = format!("/api/device/{}/credentials", server.rest().device_id("a"));
    let mut credentials = server.rest().get(&path).expect("credentials");
    credentials["credentialsId"] = "a-new-token".into();
    server.rest().post("/api/device/credentials", &credentials).expect("changed");
    eventually("its session ends", || (server.rest().sessions() == ["b", "site"]).then_some(()));
    server.rest().write_attributes("a", "SHARED_SCOPE", &json!({ "x": 1 }));
    hears_nothing(&mut gateway);
    accepted(&mut gateway, TELEMETRY, &json!({ "a": [{ "t": 1 }] }));
    assert_eq!(server.rest().sessions(), ["a", "b", "site"]);
    is_asked(&server, &mut gateway, "a", 0);
    is_asked(&server, &mut gateway, "b", 0);
}

// 378, 380
#[test]
fn a_device_that_is_deleted_while_it_is_connected_is_made_anew() {
    let server = Server::spawn();
    let mut gateway = gateway(&server, "site", Version::V5);
    assert_eq!(gateway.subscribe(OWN_RPC), 1);
    accepted(&mut gateway, TELEMETRY, &json!({ "Device A": [{ "old": 1 }], "b": [{ "t": 1 }] }));
    let old = server.rest().device_id("Device A");
    server.rest().delete_device("Device A");
    let told = heard(&mut gateway, "v1/devices/me/rpc/request/0");
    assert_eq!(told, json!({ "method": "gateway_device_deleted", "params": "Device A" }));
    eventually("its session ends", || (server.rest().sessions() == ["b", "site"]).then_some(()));
    accepted(&mut gateway, TELEMETRY, &json!({ "Device A": [{ "new": 2 }], "b": [{ "t": 2 }] }));
    assert_ne!(server.rest().device_id("Device A"), old);
    let latest = server.rest().latest("Device A");
    assert_eq!(latest, BTreeMap::from([("new".to_owned(), json!(2))]), "nothing of the old one");
    is_asked(&server, &mut gateway, "Device A", 0);
    hears_nothing(&mut gateway);
}

// 379
#[test]
fn a_renamed_device_keeps_its_old_name_until_its_session_ends() {
    let server = Server::spawn();
    let mut gateway = gateway(&server, "site", Version::V3);
    assert_eq!(gateway.subscribe(OWN_RPC), 1);
    accepted(&mut gateway, TELEMETRY, &json!({ "old": [{ "t": 1 }] }));
    let id = server.rest().device_id("old");
    server.rest().rename_device("old", "new");
    let told = heard(&mut gateway, "v1/devices/me/rpc/request/0");
    assert_eq!(told, json!({ "method": "gateway_device_renamed", "params": { "old": "new" } }));
    // The gateway has not understood yet.
    accepted(&mut gateway, TELEMETRY, &json!({ "old": [{ "t": 2 }] }));
    assert_eq!(server.rest().device("old"), None, "no device of the old name is made");
    assert_eq!(server.rest().latest("new")["t"], 2);
    server.rest().write_attributes("new", "SHARED_SCOPE", &json!({ "x": 1 }));
    assert_eq!(heard(&mut gateway, ATTRIBUTES), json!({ "device": "old", "data": { "x": 1 } }));
    // Now it has.
    accepted(&mut gateway, TELEMETRY, &json!({ "new": [{ "t": 3 }] }));
    eventually("one session", || (server.rest().sessions() == ["new", "site"]).then_some(()));
    server.rest().write_attributes("new", "SHARED_SCOPE", &json!({ "x": 2 }));
    assert_eq!(heard(&mut gateway, ATTRIBUTES), json!({ "device": "new", "data": { "x": 2 } }));
    assert_eq!((server.rest().device_id("new"), &server.rest().latest("new")["t"]), (id, &json!(3)));
    // After the end of its session the old name is a new device.
    accepted(&mut gateway, DISCONNECT, &json!({ "device": "old" }));
    accepted(&mut gateway, TELEMETRY, &json!({ "old": [{ "t": 4 }] }));
    assert_eq!(
        (&server.rest().latest("old")["t"], &server.rest().latest("new")["t"]),
        (&json!(4), &json!(3))
    );
}

#[test]
fn what_a_gateway_was_acknowledged_survives_a_kill() {
    let server = Server::spawn();
    let mut site = gateway(&server, "site", Version::V5);
    accepted(&mut site, CONNECT, &json!({ "device": "typed", "type": "Thermostat" }));
    let values: BTreeMap<String, Value> =
        (0..300).map(|number| (format!("d-{number}"), json!([{ "t": number }]))).collect();
    accepted(&mut site, TELEMETRY, &json!(values));
    accepted(&mut site, ATTRIBUTES, &json!({ "d-7": { "serial": "A-7" }, "fresh": { "serial": "A-8" } }));
    let ids: Vec<String> = (0..300).map(|number| server.rest().device_id(&format!("d-{number}"))).collect();
    let server = server.kill_9().restart();
    assert_eq!(server.rest().device("typed").expect("it is there")["type"], "Thermostat");
    let gateway = server.rest().device_id("site");
    for (number, id) in ids.iter().enumerate() {
        let name = format!("d-{number}");
        let device = server.rest().device(&name).expect("it is there");
        assert_eq!(device["id"]["id"], id.as_str());
        assert_eq!(device["additionalInfo"]["lastConnectedGateway"], gateway, "{device}");
        assert_eq!(server.rest().latest(&name)["t"], number, "{name}");
    }
    assert_eq!(server.rest().attributes("d-7", "CLIENT_SCOPE")["serial"], "A-7");
    assert_eq!(server.rest().attributes("fresh", "CLIENT_SCOPE")["serial"], "A-8");
    let mut site = Device::connect(server.mqtt(), Version::V5, "site");
    accepted(&mut site, TELEMETRY, &json!({ "d-7": [{ "t": 8 }] }));
    assert_eq!(server.rest().device_id("d-7"), ids[7]);
}

// 383
#[test]
fn thousands_of_devices_come_with_one_connection_and_go_with_it() {
    let server = Server::spawn();
    let mut gateway = gateway(&server, "site", Version::V3);
    let names: Vec<String> = (0..CHILDREN).map(|number| format!("d-{number}")).collect();
    for round in 0..2 {
        for some in names.chunks(CHILDREN_PER_PUBLISH) {
            let payload: BTreeMap<&String, Value> =
                some.iter().map(|name| (name, json!([{ "t": round }]))).collect();
            accepted(&mut gateway, TELEMETRY, &json!(payload));
        }
    }
    assert_eq!(sessions(&server), CHILDREN + 1);
    for name in [&names[0], &names[999], &names[CHILDREN - 1]] {
        assert_eq!(server.rest().latest(name)["t"], 1);
        is_asked(&server, &mut gateway, name, 0);
    }
    gateway.send(&wire::disconnect());
    gateway.closed();
    eventually("all have gone", || (sessions(&server) == 0).then_some(()));
    for name in [&names[0], &names[CHILDREN - 1]] {
        eventually("it is told to have gone", || {
            server.rest().attributes(name, "SERVER_SCOPE").contains_key("lastDisconnectTime").then_some(())
        });
    }
    assert_eq!(server.rest().device(&names[1]).expect("it stays")["type"], "default");
}

#[test]
fn the_lines_of_the_page_run() {
    let server = Server::spawn();
    server.rest().create_gateway("site", None);
    let page = document("gateway-api.md");
    let lines = page.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).expect("its lines");
    let printed = shell(&server, "site", &format!("set -e\n{lines}"));
    let shown = r#"{"id":1,"device":"Boiler 1","value":"B-1"}"#;
    assert!(page.contains(shown));
    assert_eq!(printed.trim(), shown);
    assert_eq!(server.rest().device("Boiler 1").expect("it is made")["type"], "Thermometer");
    let expected = [(1_483_228_800_000, json!(20))];
    assert_eq!(server.rest().history("Boiler 1", "temperature")["temperature"][..1], expected);
    assert_eq!(server.rest().latest("Boiler 1")["temperature"], 21.5);
    assert_eq!(server.rest().latest("Meter 2")["power"], 1_200);
    assert_eq!(server.rest().attributes("Meter 2", "CLIENT_SCOPE")["serial"], "M-2");
}
