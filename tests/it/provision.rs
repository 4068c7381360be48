//! Devices make themselves known, and are still known after the server was killed.

use serde_json::{Value, json};
use wireglot_load::wire::{self, Connect, Version};

use crate::harness::{Closed, Device, Server, shell};

const REQUEST: &str = "/provision/request";
const NEW: &str = "ALLOW_CREATE_NEW_DEVICES";
const KNOWN: &str = "CHECK_PRE_PROVISIONED_DEVICES";

fn profile(server: &Server, name: &str, strategy: &str) {
    let profile = json!({
        "name": name, "type": "DEFAULT", "transportType": "DEFAULT", "provisionType": strategy,
        "provisionDeviceKey": "testProvisionKey",
        "profileData": {
            "provisionConfiguration": { "type": strategy, "provisionDeviceSecret": "testProvisionSecret" },
        },
    });
    server.rest().post("/api/deviceProfile", &profile).expect("the profile is made");
}

fn guest(server: &Server, version: Version) -> Device {
    Device::connect(server.mqtt(), version, "provision")
}

fn request(members: Value) -> String {
    let mut request = json!({
        "provisionDeviceKey": "testProvisionKey", "provisionDeviceSecret": "testProvisionSecret",
    });
    for (key, value) in members.as_object().expect("an object") {
        request[key] = value.clone();
    }
    request.to_string()
}

/// Asks once and reads the answer.
#[track_caller]
fn ask(device: &mut Device, members: Value) -> Value {
    assert_eq!(device.publish_qos1(REQUEST, request(members)), 0);
    let answer = device.next_message();
    assert_eq!(answer.topic, "/provision/response");
    serde_json::from_str(&answer.payload).expect("the server publishes JSON")
}

fn failure() -> Value {
    json!({ "errorMsg": "Failed to provision device!", "status": "FAILURE" })
}

// 248, 251, 252, 253, 254, 255
#[test]
fn devices_that_provision_themselves_are_known_after_a_kill() {
    let server = Server::spawn();
    profile(&server, "self-made", NEW);
    let mut guest_3 = guest(&server, Version::V3);
    let mut guest_5 = guest(&server, Version::V5);
    let made = ask(&mut guest_3, json!({ "deviceName": "Test Provision device", "gateway": true }));
    assert_eq!((&made["status"], &made["credentialsType"]), (&json!("SUCCESS"), &json!("ACCESS_TOKEN")));
    let token = made["credentialsValue"].as_str().expect("a token").to_owned();
    assert_eq!(guest_5.subscribe("/provision/response"), 1);
    let basic = json!({
        "deviceName": "basic", "credentialsType": "MQTT_BASIC",
        "clientId": "test_clientId", "username": "test_username", "password": "test_password",
    });
    let value =
        json!({ "clientId": "test_clientId", "userName": "test_username", "password": "test_password" });
    let answer = json!({ "credentialsType": "MQTT_BASIC", "credentialsValue": value, "status": "SUCCESS" });
    assert_eq!(ask(&mut guest_5, basic), answer);
    let chosen = json!({ "deviceName": "chosen", "credentialsType": "ACCESS_TOKEN", "token": "test_token" });
    assert_eq!(ask(&mut guest_5, chosen.clone())["credentialsValue"], "test_token");

    // Each was durable when it was answered.
    let server = server.kill_9().restart();
    let rest = server.rest();
    let gateway = rest.get(&format!("/api/device/{}", rest.device_id("Test Provision device")));
    let gateway = gateway.expect("the device is there");
    assert_eq!(
        (&gateway["additionalInfo"]["gateway"], &gateway["type"]),
        (&json!(true), &json!("self-made"))
    );
    for name in ["Test Provision device", "basic", "chosen"] {
        assert_eq!(rest.attributes(name, "SERVER_SCOPE")["provisionState"], "provisioned", "{name}");
    }
    server.connect(&token).telemetry(r#"{"t":1}"#);
    server.connect("test_token").telemetry(r#"{"t":2}"#);
    let claim = Connect {
        client_id: "test_clientId",
        user_name: Some("test_username"),
        password: Some("test_password"),
        keep_alive_s: 60,
    };
    let basic = Device::try_connect(server.mqtt(), Version::V5, &claim);
    basic.unwrap_or_else(|code| panic!("refused with {code:#04x}")).telemetry(r#"{"t":3}"#);
    assert_eq!(rest.latest("chosen")["t"], 2);
    assert_eq!(ask(&mut guest(&server, Version::V3), chosen), failure(), "its name is taken");
}

/// The shell eats the quotes of the documents' lines, which is fine (ruling 4).
#[test]
fn mosquitto_provisions_a_device_and_lets_it_be_claimed() {
    let server = Server::spawn();
    profile(&server, "self-made", NEW);
    let host = r#"-q 1 -h "$THINGSBOARD_HOST_NAME" -p "$MQTT_PORT""#;
    for version in ["mqttv311", "mqttv5"] {
        let asked = format!(
            r#""{{"deviceName":"{version}","provisionDeviceKey":"testProvisionKey","provisionDeviceSecret":"testProvisionSecret"}}""#
        );
        let ask = format!(
            "mosquitto_rr -V {version} {host} -u provision -t /provision -e /provision/response -m {asked}"
        );
        let answer: Value = serde_json::from_str(&shell(&server, "", &ask)).expect("the answer is printed");
        assert_eq!(answer["status"], "SUCCESS", "{answer}");
        let token = answer["credentialsValue"].as_str().expect("a token");
        let claim =
            r#"-t v1/devices/me/claim -u "$ACCESS_TOKEN" -m "{"secretKey":"value", "durationMs":60000}""#;
        shell(&server, token, &format!("mosquitto_pub -V {version} {host} {claim}"));
        assert!(server.rest().dead_letters(version).is_empty(), "the claim was understood");
    }
}

// 259, 260
#[test]
fn a_device_that_is_known_is_provisioned_once() {
    let server = Server::spawn();
    profile(&server, "known", KNOWN);
    server.rest().create_device("thermo", Some("known"));
    let asked = json!({ "deviceName": "thermo" });
    let answer = ask(&mut guest(&server, Version::V5), asked.clone());
    assert_eq!(
        answer,
        json!({ "credentialsType": "ACCESS_TOKEN", "credentialsValue": "thermo", "status": "SUCCESS" })
    );
    let server = server.kill_9().restart();
    let mut device = guest(&server, Version::V3);
    assert_eq!(ask(&mut device, asked.clone()), failure());
    server.rest().delete_attributes("thermo", "SERVER_SCOPE", "provisionState");
    assert_eq!(ask(&mut device, asked)["credentialsValue"], "thermo");
    server.connect("thermo").telemetry(r#"{"t":1}"#);
}

/// Thousands of requests that mean harm: no device comes of them, and those that are there do not notice.
#[test]
fn hostile_requests_harm_nobody() {
    let server = Server::spawn();
    profile(&server, "self-made", NEW);
    let mut neighbour = server.device("neighbour");
    let devices = || {
        server.rest().get("/api/tenant/devices?pageSize=1&page=0").expect("a page")["totalElements"].clone()
    };
    let before = devices();
    let long = "n".repeat(60_000);
    let refused = [
        json!({ "deviceName": long }),
        json!({ "provisionDeviceSecret": long }),
        json!({ "provisionDeviceKey": long }),
        json!({ "deviceName": "d", "token": long }),
        json!({ "deviceName": "d", "credentialsType": "MQTT_BASIC", "clientId": "a\nb" }),
        json!({ "deviceName": "d", "credentialsType": "X509_CERTIFICATE", "hash": "-----BEGIN" }),
        json!({ "deviceName": "neighbour" }),
        json!({ "deviceName": "d", "token": "neighbour" }),
        json!({ "deviceName": "\t" }),
    ];
    for round in 0..60 {
        let version = if round % 2 == 0 { Version::V3 } else { Version::V5 };
        let mut device = guest(&server, version);
        for number in 0..32 {
            let members = refused[(round + number) % refused.len()].clone();
            assert_ne!(ask(&mut device, members.clone())["status"], "SUCCESS", "{members}");
        }
        device.send(&wireglot_load::wire::publish(version, REQUEST, 0, 0, b"{}"));
        let bounded = if version == Version::V3 { Closed::Silently } else { Closed::With(0x97) };
        assert_eq!(device.closed(), bounded, "a session asks so often and not more");
        neighbour.telemetry(format!("{{\"round\":{round}}}"));
    }
    for members in [json!({ "deviceName": {} }), json!({ "token": [1, 2] }), json!({ "credentialsType": 5 })]
    {
        let mut device = guest(&server, Version::V5);
        assert_eq!(device.publish_qos1(REQUEST, request(members)), 0x83);
        assert_eq!(device.closed(), Closed::With(0x83));
    }
    let deep = "[".repeat(50_000);
    assert_eq!(guest(&server, Version::V5).publish_qos1(REQUEST, deep), 0x99);
    assert_eq!(devices(), before);
    neighbour.telemetry(r#"{"round":60}"#);
    assert_eq!(server.rest().latest("neighbour")["round"], 60);
}

/// Whoever guesses secrets is dropped like whoever guesses tokens; who knows them is not, whatever is asked.
#[test]
fn wrong_secrets_count_against_the_address() {
    let server = Server::spawn_with(&[("WIREGLOT_MQTT_WRONG_LOGINS_MAX", "3")]);
    profile(&server, "known", KNOWN);
    let mut known = guest(&server, Version::V5);
    for _ in 0..5 {
        assert_eq!(ask(&mut known, json!({ "deviceName": "nobody" })), failure());
    }
    let mut guesser = guest(&server, Version::V5);
    for wrong in ["provisionDeviceSecret", "provisionDeviceKey", "provisionDeviceSecret"] {
        assert_eq!(ask(&mut guesser, json!({ wrong: "a guess" }))["status"], "NOT_FOUND");
    }
    guesser.send(&wire::publish(Version::V5, REQUEST, 1, 9, request(json!({})).as_bytes()));
    assert_eq!(guesser.closed(), Closed::With(0x97), "this session gets no further answer");
    assert_eq!(Device::open(server.mqtt(), Version::V3).closed(), Closed::Silently);
    assert!(server.metrics().value("wireglot_mqtt_connections_blocked_total", &[]) >= 1.0);
}
