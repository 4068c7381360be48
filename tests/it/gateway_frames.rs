//! Devices behind a gateway that speak in bytes: codecs of their own, and a codec of the gateway that speaks of them.

use std::collections::BTreeMap;
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use wireglot_load::wire::Version;

use crate::gateway::{ATTRIBUTES, CONNECT, TELEMETRY, accepted, gateway, heard, hears_nothing, is_asked};
use crate::harness::{Device, Server, guest, plugin, vectors};
use crate::letters::replay;
use crate::telemetry::{same, unhex};

const OWN_TELEMETRY: &str = "v1/devices/me/telemetry";

#[test]
fn raw_frames_behind_a_gateway_become_their_documented_values() {
    let server = Server::spawn();
    server.install_codec("cayenne-lpp", &plugin("cayenne-lpp"));
    let profile = server.codec_profile("lpp", "cayenne-lpp");
    let mut gateway = gateway(&server, "site", Version::V5);
    let mut number = 0;
    for file in vectors("cayenne-lpp") {
        for vector in file["vectors"].as_array().expect("a list of vectors") {
            number += 1;
            let frame = unhex(vector["hex"].as_str().expect("hex"));
            let raw = STANDARD.encode(&frame);
            for (form, ts) in [("binary", None), ("base64", None), ("timed", Some(1_700_000_000_000_i64))] {
                let name = format!("Sensor {number} {form}");
                accepted(&mut gateway, CONNECT, &json!({ "device": name, "type": profile }));
                let element = match ts {
                    Some(ts) => json!({ "ts": ts, "raw": raw }),
                    None => json!({ "raw": raw }),
                };
                let reason = match form {
                    "binary" => gateway.publish_qos1(&format!("v1/gateway/raw/{name}"), &frame),
                    _ => gateway.publish_qos1(TELEMETRY, json!({ &name: [element] }).to_string()),
                };
                check_frame(&server, &name, vector, &frame, reason, ts);
            }
        }
    }
    assert!(number > 5, "cayenne-lpp has vectors");
    // Frames and values may stand side by side, of one device and of several.
    let payload = json!({
        "Sensor 1 binary": [{ "raw": STANDARD.encode(unhex("03670110")) }, { "ts": 1_000, "values": { "t": 1 } }],
        "plain": [{ "t": 2 }],
    });
    accepted(&mut gateway, TELEMETRY, &payload);
    let latest = server.rest().latest("Sensor 1 binary");
    assert_eq!((&latest["temperature_3"], &latest["t"]), (&json!(27.2), &json!(1)));
    assert_eq!(server.rest().latest("plain")["t"], 2);
    // Without a codec `raw` is a key like any other.
    accepted(&mut gateway, TELEMETRY, &json!({ "plain": [{ "raw": "AQID" }] }));
    assert_eq!(server.rest().latest("plain")["raw"], "AQID");
    let reason = gateway.publish_qos1(TELEMETRY, json!({ "Sensor 1 binary": [{ "raw": "*" }] }).to_string());
    assert_eq!(reason, 0x99, "no base64");
    hears_nothing(&mut gateway);
}

/// What became of one recorded frame.
#[track_caller]
fn check_frame(server: &Server, name: &str, vector: &Value, frame: &[u8], reason: u8, ts: Option<i64>) {
    let letters = server.rest().dead_letters(name);
    if !vector["refused"].is_null() {
        assert_eq!(reason, 0x99, "{name}");
        assert_eq!(letters.len(), 1, "{name}");
        assert_eq!(unhex(letters[0]["payloadHex"].as_str().expect("hex")), frame, "{name}: the bare frame");
        assert_eq!(letters[0]["codec"]["name"], "cayenne-lpp", "{}", letters[0]);
        return;
    }
    assert_eq!((reason, letters.len()), (0, 0), "{name}: {letters:?}");
    let mut expected = BTreeMap::new();
    for measurement in vector["expected"].as_array().expect("a list of measurements") {
        expected.extend(measurement["values"].as_object().expect("values").clone());
    }
    let latest = server.rest().latest(name);
    assert!(latest.keys().eq(expected.keys()), "{name}: {latest:?}");
    for (key, value) in &expected {
        assert!(same(&latest[key], value), "{name}: {key} is {}, not {value}", latest[key]);
        if let Some(ts) = ts {
            assert_eq!(server.rest().history(name, key)[key][0].0, ts, "{name}: the time of {key}");
        }
    }
}

#[test]
fn a_codec_of_the_gateway_speaks_of_devices_that_can_then_be_reached() {
    let server = Server::spawn();
    server.install_codec("hub", &guest("hub"));
    let profile = server.codec_profile("hubs", "hub");
    server.rest().create_gateway("hub", Some(&profile));
    let mut gateway = Device::connect(server.mqtt(), Version::V5, "hub");
    assert_eq!(gateway.publish_qos1(OWN_TELEMETRY, [1, 0, 215, 2, 255, 156]), 0);
    for (name, slot, temperature) in [("hub-1", 1, 21.5), ("hub-2", 2, -10.0)] {
        assert_eq!(server.rest().latest(name)["temperature"], temperature);
        assert_eq!(server.rest().attributes(name, "CLIENT_SCOPE")["slot"], slot);
        let device = server.rest().device(name).expect("it is made");
        let gateway = server.rest().device_id("hub");
        assert_eq!(device["additionalInfo"]["lastConnectedGateway"], gateway, "{device}");
    }
    assert_eq!(server.rest().sessions(), ["hub", "hub-1", "hub-2"]);
    for name in ["hub-1", "hub-2"] {
        server.rest().write_attributes(name, "SHARED_SCOPE", &json!({ "interval": 60 }));
        let expected = json!({ "device": name, "data": { "interval": 60 } });
        assert_eq!(heard(&mut gateway, ATTRIBUTES), expected);
        is_asked(&server, &mut gateway, name, 0);
    }
    // A frame that breaks off is the gateway's fault, and the devices that it would have named stay as they are.
    assert_eq!(gateway.publish_qos1(OWN_TELEMETRY, [1, 0, 100, 3, 0]), 0x99);
    assert_eq!(server.rest().latest("hub-1")["temperature"], 21.5);
    assert_eq!(server.rest().device("hub-3"), None);
}

#[test]
fn frames_for_a_codec_that_is_not_there_wait_for_it() {
    const THEN: i64 = 1_700_000_000_000;
    let server = Server::spawn();
    let profile = server.codec_profile("late", "cayenne-lpp");
    let mut site = gateway(&server, "site", Version::V5);
    let sensor = "Sensor 1";
    accepted(&mut site, CONNECT, &json!({ "device": sensor, "type": profile }));
    let (raw, older) = (STANDARD.encode(unhex("03670110")), STANDARD.encode(unhex("03670111")));
    let frames = json!([{ "raw": raw }, { "ts": THEN, "raw": older }]);
    accepted(&mut site, TELEMETRY, &json!({ sensor: frames, "other": [{ "t": 1 }] }));
    assert_eq!(site.publish_qos1(&format!("v1/gateway/raw/{sensor}"), unhex("056700ff")), 0);
    let server = server.kill_9().restart();
    assert_eq!(server.rest().latest("other")["t"], 1);
    let letters = server.rest().dead_letters(sensor);
    assert_eq!(letters.len(), 3, "{letters:?}");
    assert!(letters.iter().all(|letter| letter["stage"] == "no-codec"), "{letters:?}");
    let [second, first] = [0, 2].map(|index| letters[index]["receivedTs"].as_i64().expect("a time"));
    server.install_codec("cayenne-lpp", &plugin("cayenne-lpp"));
    let report = replay(&server, &json!({ "deviceProfileName": profile }));
    assert_eq!(report["report"]["decoded"], 3, "{report}");
    let history = server.rest().history(sensor, "temperature_3,temperature_5");
    let expected = [(THEN, json!(27.3)), (first, json!(27.2))];
    assert_eq!(history["temperature_3"], expected, "where the gateway says when, that counts");
    assert_eq!(history["temperature_5"], [(second, json!(25.5))]);
    assert!(server.rest().dead_letters(sensor).is_empty());
}

#[test]
fn a_device_that_speaks_in_bytes_is_asked_in_bytes() {
    let server = Server::spawn();
    server.install_codec("callable", &guest("callable"));
    let profile = server.codec_profile("callables", "callable");
    let mut site = gateway(&server, "site", Version::V3);
    accepted(&mut site, CONNECT, &json!({ "device": "Lamp 1", "type": profile }));
    // Until it has spoken in bytes, the gateway is taken at its word: JSON.
    is_asked(&server, &mut site, "Lamp 1", 0);
    assert_eq!(site.publish_qos1("v1/gateway/raw/Lamp 1", b"\xa5\x63{}"), 0, "an answer to nobody");
    let path = format!("/api/rpc/twoway/{}", server.rest().device_id("Lamp 1"));
    let call = json!({ "method": "light", "params": { "on": true }, "timeout": 20_000 });
    let answer = thread::scope(|scope| {
        let answer = scope.spawn(|| server.rest().post(&path, &call));
        let request = site.next_message();
        assert_eq!(request.topic, "v1/gateway/raw/Lamp 1");
        assert_eq!(request.payload, r#"1light {"on":true}"#);
        assert_eq!(site.publish_qos1("v1/gateway/raw/Lamp 1", b"\xa5\x01{\"lit\":true}"), 0);
        answer.join().expect("the call ends").expect("an answer")
    });
    assert_eq!(answer, json!({ "lit": true }));
    let refused = json!({ "method": "refuse", "timeout": 20_000 });
    let refused = server.rest().post(&path, &refused).expect("an answer for the device");
    assert_eq!(refused["result"], "INVALID_ARGUMENTS", "{refused}");
    // Other devices of the gateway speak as they did.
    accepted(&mut site, TELEMETRY, &json!({ "plain": [{ "t": 1 }] }));
    is_asked(&server, &mut site, "plain", 0);
    hears_nothing(&mut site);
}
