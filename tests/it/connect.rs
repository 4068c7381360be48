//! Who may connect, what a refusal looks like, and how a session ends.

use serde_json::json;
use wireglot_load::wire::{self, Connect, Version};

use crate::harness::{Closed, Device, Server};

/// Client id, user name and password of a CONNECT; empty means left out, apart from the client id.
type Claim = (&'static str, &'static str, &'static str);

#[track_caller]
fn check(server: &Server, version: Version, claim: Claim, expected: Result<(), u8>) {
    let given = |text: &'static str| (!text.is_empty()).then_some(text);
    let (client_id, user_name, password) = claim;
    let claim =
        Connect { client_id, user_name: given(user_name), password: given(password), keep_alive_s: 60 };
    let outcome = Device::try_connect(server.mqtt(), version, &claim).map(drop);
    assert_eq!(outcome, expected, "{version:?} {claim:?}");
}

#[test]
fn a_connect_gets_the_code_that_it_deserves() {
    let server = Server::spawn();
    server.rest().create_device("thermo", None);
    for version in [Version::V3, Version::V5] {
        check(&server, version, ("any", "thermo", ""), Ok(()));
        check(&server, version, ("any", "thermo", "ignored"), Ok(()));
        check(&server, version, ("", "thermo", ""), Ok(()));
    }
    check(&server, Version::V3, ("any", "", ""), Err(0x04));
    check(&server, Version::V3, ("any", "nobody", ""), Err(0x05));
    check(&server, Version::V3, ("any", "THERMO", ""), Err(0x05));
    check(&server, Version::V5, ("any", "nobody", ""), Err(0x86));
    check(&server, Version::V5, ("any", "", ""), Err(0x85));
    check(&server, Version::V5, ("", "", ""), Err(0x87));
}

#[test]
fn basic_credentials_are_looked_up_by_all_their_parts() {
    let server = Server::spawn();
    set_basic(&server, "by-name", &json!({ "userName": "anna", "password": "s3cret" }));
    set_basic(&server, "by-id", &json!({ "clientId": "sensor-7" }));
    set_basic(&server, "by-both", &json!({ "clientId": "sensor-8", "userName": "ben", "password": "pw" }));
    for version in [Version::V3, Version::V5] {
        check(&server, version, ("any", "anna", "s3cret"), Ok(()));
        check(&server, version, ("sensor-7", "", ""), Ok(()));
        check(&server, version, ("sensor-8", "ben", "pw"), Ok(()));
    }
    check(&server, Version::V3, ("any", "anna", "wrong"), Err(0x05));
    check(&server, Version::V5, ("any", "anna", "wrong"), Err(0x86));
    check(&server, Version::V3, ("sensor-9", "", ""), Err(0x04));
}

fn set_basic(server: &Server, name: &str, parts: &serde_json::Value) {
    let id = server.rest().create_device(name, None);
    let path = format!("/api/device/{id}/credentials");
    let mut credentials = server.rest().get(&path).expect("a new device has credentials");
    credentials["credentialsType"] = "MQTT_BASIC".into();
    credentials["credentialsValue"] = parts.to_string().into();
    server.rest().post("/api/device/credentials", &credentials).expect("the credentials are replaced");
}

#[test]
fn a_second_session_of_a_device_takes_over() {
    let server = Server::spawn();
    server.rest().create_device("thermo", None);
    let mut first = Device::connect(server.mqtt(), Version::V5, "thermo");
    let mut second = Device::connect(server.mqtt(), Version::V5, "thermo");
    assert_eq!(first.closed(), Closed::With(0x8e));
    second.telemetry(r#"{"t":1}"#);
    let mut third = server.connect("thermo");
    assert_eq!(second.closed(), Closed::With(0x8e));
    let mut fourth = server.connect("thermo");
    assert_eq!(third.closed(), Closed::Silently);
    fourth.telemetry(r#"{"t":2}"#);
}

#[test]
fn a_client_id_belongs_to_nobody() {
    let server = Server::spawn();
    for name in ["one", "two"] {
        server.rest().create_device(name, None);
    }
    let claim =
        |token| Connect { client_id: "same", user_name: Some(token), password: None, keep_alive_s: 60 };
    let mut one = Device::try_connect(server.mqtt(), Version::V5, &claim("one")).expect("one is accepted");
    let mut two = Device::try_connect(server.mqtt(), Version::V5, &claim("two")).expect("two is accepted");
    one.telemetry(r#"{"t":1}"#);
    two.telemetry(r#"{"t":2}"#);
}

#[test]
fn a_second_connect_on_a_connection_is_an_error() {
    let server = Server::spawn();
    server.rest().create_device("thermo", None);
    let claim = Connect { client_id: "a", user_name: Some("thermo"), password: None, keep_alive_s: 60 };
    for (version, end) in [(Version::V5, Closed::With(0x82)), (Version::V3, Closed::Silently)] {
        let mut device = Device::try_connect(server.mqtt(), version, &claim).expect("accepted at first");
        device.send(&wire::connect(version, &claim));
        assert_eq!(device.closed(), end, "{version:?}");
    }
}

#[test]
fn a_silent_device_is_closed_by_its_own_keep_alive() {
    let server = Server::spawn();
    server.rest().create_device("thermo", None);
    let claim = Connect { client_id: "a", user_name: Some("thermo"), password: None, keep_alive_s: 1 };
    let mut device = Device::try_connect(server.mqtt(), Version::V3, &claim).expect("accepted");
    device.ping();
    assert_eq!(device.closed(), Closed::Silently);
}

#[test]
fn changed_credentials_and_deletion_end_the_session() {
    let server = Server::spawn();
    let id = server.rest().create_device("thermo", None);
    let mut device = Device::connect(server.mqtt(), Version::V5, "thermo");
    let path = format!("/api/device/{id}/credentials");
    let mut credentials = server.rest().get(&path).expect("credentials");
    credentials["credentialsId"] = "another-token".into();
    server.rest().post("/api/device/credentials", &credentials).expect("the token is changed");
    assert_eq!(device.closed(), Closed::With(0x98));
    check(&server, Version::V5, ("any", "thermo", ""), Err(0x86));

    let mut device = Device::connect(server.mqtt(), Version::V5, "another-token");
    server.rest().delete(&format!("/api/device/{id}")).expect("the device is deleted");
    assert_eq!(device.closed(), Closed::With(0x98));
    check(&server, Version::V5, ("any", "another-token", ""), Err(0x86));
}

#[test]
fn packets_behind_connect_wait_for_the_answer() {
    let server = Server::spawn();
    server.rest().create_device("thermo", None);
    let mut device = Device::open(server.mqtt(), Version::V3);
    let claim = Connect { client_id: "a", user_name: Some("thermo"), password: None, keep_alive_s: 60 };
    let mut bytes = wire::connect(Version::V3, &claim);
    bytes.extend(wire::publish(Version::V3, "v1/devices/me/telemetry", 1, 77, br#"{"early":1}"#));
    device.send(&bytes);
    assert_eq!(device.answers(&[wire::kind::CONNACK, wire::kind::PUBACK]), [0, 0]);
    assert_eq!(server.rest().latest("thermo")["early"], 1);
}
