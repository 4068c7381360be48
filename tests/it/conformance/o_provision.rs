//! Group O: provisioning. Who knows the key and the secret of a profile gets a device of it.

use serde_json::{Value, json};

use super::case::{ATTRIBUTES, Case, Row, TELEMETRY, both, v3, v5};
use super::client::{Client, Hello, Outcome};
use super::proto;
use crate::harness::{Closed, TIMEOUT};

const REQUEST: &str = "/provision/request";
const RESPONSE: &str = "/provision/response";
const CREATE: &str = "ALLOW_CREATE_NEW_DEVICES";
const CHECK: &str = "CHECK_PRE_PROVISIONED_DEVICES";
const DISABLED: &str = "DISABLED";

/// SHA3-256 of `test_clientId|test_username` and of `testHash`.
const BASIC_ID: &str = "b9f1b0bf238dddae689babba0a210fe42bc97ddb07620b5a07d7208dd5528db2";
const HASH_ID: &str = "57f6600424d6553263f1f32e0117012894a36fbf07e3e9c3c556272f86b7d985";

pub(super) const ROWS: &[Row] = &[
    both(248, "CONNECT with user name `provision`", |c| drop(guest(c))),
    both(249, "CONNECT with client id `provision`, no user name", |c| {
        assert_eq!(c.code(&Hello::of("provision")), Some(0));
    }),
    v5(250, "v5 subscribe `/provision/response`; then `v1/devices/me/attributes`", |c| {
        let mut client = guest(c);
        assert_eq!((client.subscribe(RESPONSE), client.subscribe(ATTRIBUTES)), (1, 0x8f));
        client.stays();
    }),
    both(251, "ALLOW_CREATE: a device with a token", |c| {
        let mut client = guest(c);
        assert_eq!(client.subscribe(RESPONSE), 1);
        profile(c, CREATE);
        makes_a_device(c, &mut client, REQUEST);
    }),
    both(252, "without subscribing first", |c| {
        profile(c, CREATE);
        makes_a_device(c, &mut guest(c), REQUEST);
    }),
    both(253, "with `\"gateway\":true`", |c| {
        profile(c, CREATE);
        let answer = ask(c, json!({ "gateway": true }));
        assert_eq!(answer["status"], "SUCCESS", "{answer}");
        let device = c.rest().get(&format!("/api/device/{}", c.id())).expect("the device");
        assert_eq!(device["additionalInfo"]["gateway"], true);
    }),
    both(254, "with a token of its own", |c| {
        profile(c, CREATE);
        let token = c.named("test_token");
        let answer = ask(c, json!({ "credentialsType": "ACCESS_TOKEN", "token": token }));
        let expected =
            json!({ "status": "SUCCESS", "credentialsType": "ACCESS_TOKEN", "credentialsValue": token });
        assert_eq!(answer, expected);
        c.connect(&token).stays();
    }),
    v3(255, "with basic credentials of its own", |c| {
        profile(c, CREATE);
        let (client_id, password) = ("test_clientId", "test_password");
        let answer = ask(
            c,
            json!({
                "credentialsType": "MQTT_BASIC",
                "clientId": client_id,
                "username": "test_username",
                "password": password,
            }),
        );
        let value = json!({ "clientId": client_id, "userName": "test_username", "password": password });
        let expected =
            json!({ "status": "SUCCESS", "credentialsType": "MQTT_BASIC", "credentialsValue": value });
        assert_eq!(answer, expected);
        assert_eq!(credentials(c)["credentialsId"], BASIC_ID);
        let user_name = Some("test_username");
        let hello = Hello { user_name, password: Some(password), ..Hello::of(client_id) };
        assert_eq!(c.code(&hello), Some(0));
    }),
    v3(256, "with a certificate of its own", |c| {
        profile(c, CREATE);
        let answer = ask(c, json!({ "credentialsType": "X509_CERTIFICATE", "hash": "testHash" }));
        let expected = json!({
            "status": "SUCCESS",
            "credentialsType": "X509_CERTIFICATE",
            "credentialsValue": "testHash",
        });
        assert_eq!(answer, expected);
        assert_eq!(credentials(c)["credentialsId"], HASH_ID);
    }),
    both(257, "DISABLED", |c| {
        profile(c, DISABLED);
        assert_eq!(ask(c, json!({})), not_found());
    }),
    both(258, "a wrong key; a wrong secret", |c| {
        profile(c, CREATE);
        assert_eq!(ask(c, json!({ "provisionDeviceKey": "wrong" })), not_found());
        assert_eq!(ask(c, json!({ "provisionDeviceSecret": "wrong" })), not_found());
    }),
    both(259, "CHECK_PRE_PROVISIONED, the device exists", |c| {
        profile(c, CHECK);
        c.rest().create_device(&c.name(), Some(&c.name()));
        let expected =
            json!({ "status": "SUCCESS", "credentialsType": "ACCESS_TOKEN", "credentialsValue": c.name() });
        assert_eq!(ask(c, json!({})), expected);
        c.attributes("SERVER_SCOPE", json!({ "provisionState": "provisioned" }));
    }),
    both(260, "259 repeated", |c| {
        profile(c, CHECK);
        c.rest().create_device(&c.name(), Some(&c.name()));
        assert_eq!(ask(c, json!({}))["status"], "SUCCESS");
        assert_eq!(ask(c, json!({})), failure());
    }),
    both(261, "CHECK_PRE_PROVISIONED, an unknown device name", |c| {
        profile(c, CHECK);
        assert_eq!(ask(c, json!({})), failure());
    }),
    both(262, "ALLOW_CREATE, the name of an existing device", |c| {
        profile(c, CREATE);
        c.rest().create_device(&c.name(), Some(&c.name()));
        assert_eq!(ask(c, json!({})), failure());
    }),
    both(263, "ALLOW_CREATE without a name", |c| {
        profile(c, CREATE);
        let answer = ask(c, json!({ "deviceName": null }));
        assert_eq!(answer["status"], "SUCCESS", "{answer}");
        let page = format!("/api/tenant/devices?pageSize=10&page=0&type={}", c.name());
        let found = c.rest().get(&page).expect("devices of the profile");
        let name = found["data"][0]["name"].as_str().expect("a device").to_owned();
        assert!(name.len() == 20 && name.chars().all(|one| one.is_ascii_alphanumeric()), "{name}");
    }),
    both(264, "a blank name", |c| {
        profile(c, CREATE);
        assert_eq!(ask(c, json!({ "deviceName": "  " })), failure());
    }),
    both(265, "neither key nor secret", |c| is_thrown_out(c, json!({ "deviceName": "x" }))),
    both(266, "an unknown kind of credentials", |c| {
        let mut request = request(c);
        request["credentialsType"] = "FOO".into();
        is_thrown_out(c, request);
    }),
    v5(267, "v5 publish on a topic of devices", |c| {
        let mut client = guest(c);
        assert_eq!(client.publish(TELEMETRY, "test"), Outcome::Acknowledged(0x90));
        assert_eq!(client.closed(), Closed::With(0x90));
    }),
    both(268, "publish on `/provision`", |c| {
        profile(c, CREATE);
        makes_a_device(c, &mut guest(c), "/provision");
    }),
    both(269, "in protobuf", |c| {
        profile(c, CREATE);
        let answer = ask_in_protobuf(c, &c.named("key"));
        let token = credentials(c)["credentialsId"].as_str().expect("a token").to_owned();
        assert_eq!(proto::number(&answer, 1), Some(1), "SUCCESS");
        assert_eq!(proto::number(&answer, 2).unwrap_or(0), 0, "ACCESS_TOKEN");
        assert_eq!(proto::string(&answer, 3), Some(token));
    }),
    both(270, "in protobuf with a bad key", |c| {
        profile(c, CREATE);
        assert_eq!(proto::number(&ask_in_protobuf(c, "bad"), 1), Some(2), "NOT_FOUND");
    }),
    v5(271, "idle after the answer", |c| {
        profile(c, CREATE);
        let mut client = guest(c);
        makes_a_device(c, &mut client, REQUEST);
        client.patience = 3 * TIMEOUT;
        client.closed();
    })
    .slow(),
];

/// A connection of somebody who has no credentials yet.
#[track_caller]
fn guest(c: &Case) -> Client {
    c.connect("provision")
}

/// A profile with the case's name that provisions in this way.
fn profile(c: &Case, kind: &str) {
    let shape = json!({
        "provisionType": kind,
        "provisionDeviceKey": c.named("key"),
        "profileData": {
            "provisionConfiguration": { "type": kind, "provisionDeviceSecret": c.named("secret") },
        },
    });
    c.save_profile(&c.name(), shape);
}

fn request(c: &Case) -> Value {
    json!({
        "deviceName": c.name(),
        "provisionDeviceKey": c.named("key"),
        "provisionDeviceSecret": c.named("secret"),
    })
}

/// The answer to a request with these members changed; null takes one out.
#[track_caller]
fn ask(c: &Case, changed: Value) -> Value {
    let mut request = request(c);
    for (key, value) in changed.as_object().expect("an object").clone() {
        if value.is_null() {
            request.as_object_mut().expect("an object").remove(&key);
        } else {
            request[key] = value;
        }
    }
    let mut client = guest(c);
    client.accepted(REQUEST, request.to_string());
    client.json_on(RESPONSE)
}

#[track_caller]
fn makes_a_device(c: &Case, client: &mut Client, topic: &str) {
    client.accepted(topic, request(c).to_string());
    let answer = client.json_on(RESPONSE);
    let token = credentials(c)["credentialsId"].clone();
    let expected =
        json!({ "status": "SUCCESS", "credentialsType": "ACCESS_TOKEN", "credentialsValue": token });
    assert_eq!(answer, expected);
    c.connect(token.as_str().expect("a token")).stays();
}

/// The credentials of the case's device.
#[track_caller]
fn credentials(c: &Case) -> Value {
    c.rest().get(&format!("/api/device/{}/credentials", c.id())).expect("credentials")
}

fn not_found() -> Value {
    json!({ "status": "NOT_FOUND", "errorMsg": "Provision data was not found!" })
}

fn failure() -> Value {
    json!({ "status": "FAILURE", "errorMsg": "Failed to provision device!" })
}

#[track_caller]
fn is_thrown_out(c: &Case, request: Value) {
    let mut client = guest(c);
    assert_eq!(client.publish(REQUEST, request.to_string()), c.reason(0x83));
    assert_eq!(client.closed(), c.close(0x83));
}

#[track_caller]
fn ask_in_protobuf(c: &Case, key: &str) -> Vec<u8> {
    let known_by = [proto::text(1, key), proto::text(2, &c.named("secret"))].concat();
    let request = [proto::text(1, &c.name()), proto::message(3, &known_by)].concat();
    let mut client = guest(c);
    client.accepted(REQUEST, request);
    let answer = client.message();
    assert_eq!(answer.topic, RESPONSE);
    answer.payload
}
