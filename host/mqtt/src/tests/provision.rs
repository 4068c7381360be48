//! Sessions without a device: each row of device API §15.1 and what §15.2 and §15.3 look like, conformance group O.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use wireglot_device::ProfileDraft;
use wireglot_model::limits::{
    PACKET_TIMEOUT_S, PROVISION_ANSWERED_S, PROVISION_REQUESTS_MAX, PROVISION_SESSIONS_MAX,
    SUBSCRIBE_FILTERS_MAX,
};
use wireglot_model::{Provisioning, Timestamp};

use super::harness::*;

const REQUEST: &str = "/provision/request";
const RESPONSE: &str = "/provision/response";

fn server() -> Server {
    let server = Server::start();
    let new = Provisioning::CreateNew { key: "k".into(), secret: "s".into() };
    let chain = Provisioning::CertificateChain {
        key: String::new(),
        certificates: include_str!("../../../device/src/tests/version-1.pem").into(),
        name_pattern: "(.*)".into(),
        creates_devices: true,
    };
    for (name, provisioning) in [("new", new), ("chain", chain)] {
        let draft = ProfileDraft { provisioning, ..ProfileDraft::named(name) };
        wait(server.devices.create_profile(draft, Timestamp(0))).unwrap();
    }
    server
}

fn guest(server: &Server, version: Version) -> Client {
    connected(server, version, "", Some("provision"))
}

fn connected(server: &Server, version: Version, id: &str, user: Option<&str>) -> Client {
    let mut client = server.client();
    client.send(&connect(version, id, user, None, 60));
    let (kind, body) = client.packet();
    assert_eq!((kind, body[0], body[1]), (0x20, 0, 0), "CONNACK");
    client
}

fn asked(name: &str) -> Vec<u8> {
    let asked = json!({"deviceName": name, "provisionDeviceKey": "k", "provisionDeviceSecret": "s"});
    asked.to_string().into_bytes()
}

/// The next packet is a publish with the answer: its QoS and what it says.
#[track_caller]
fn answer(client: &mut Client, version: Version) -> (u8, Json) {
    let (kind, body) = client.packet();
    assert_eq!(kind & 0xF0, 0x30, "{kind:02x} {body:02x?}");
    let qos = kind >> 1 & 3;
    let topic = text(RESPONSE);
    assert!(body.starts_with(&topic), "{body:02x?}");
    let head = topic.len() + if qos > 0 { 2 } else { 0 } + usize::from(version == Version::V5);
    (qos, serde_json::from_slice(&body[head..]).unwrap())
}

// 248, 249
#[test]
fn whoever_connects_as_provision_is_let_in() {
    let server = server();
    for version in BOTH {
        for (id, user) in [
            ("", Some("provision")),
            ("provision", None),
            ("provision", Some("TOK")),
            ("x", Some("provision")),
        ] {
            let mut client = connected(&server, version, id, user);
            client.expect_alive();
            client.send(&publish(
                version,
                REQUEST,
                0,
                0,
                b"{\"provisionDeviceKey\":\"x\",\"provisionDeviceSecret\":\"s\"}",
            ));
            assert_eq!(answer(&mut client, version).1["status"], "NOT_FOUND");
        }
        let mut client = server.client();
        client.send(&connect(version, "", Some("Provision"), None, 60));
        assert_ne!(client.packet().1[1], 0, "only this spelling");
    }
}

// 250
#[test]
fn nothing_but_the_answers_can_be_subscribed_to() {
    let server = server();
    for (version, refused) in [(Version::V3, 0x80), (Version::V5, 0x8F)] {
        let mut client = guest(&server, version);
        let head = |id| if version == Version::V3 { vec![0, id] } else { vec![0, id, 0] };
        let filters = [(RESPONSE, 2), ("v1/devices/me/attributes", 1), ("#", 0), (RESPONSE, 0)];
        client.send(&subscribe(version, 7, &filters));
        client.expect(0x90, &[&head(7)[..], &[1, refused, refused, 0]].concat());
        client.send(&publish(version, REQUEST, 1, 1, &asked(&format!("{version:?}"))));
        client.expect_ack(version, 1, 0);
        let (qos, told) = answer(&mut client, version);
        assert_eq!((qos, &told["status"]), (0, &json!("SUCCESS")), "the last granted QoS");
        client.send(&unsubscribe(version, 8, &[RESPONSE, "x"]));
        let codes: &[u8] = if version == Version::V3 { &[] } else { &[0, 0x11] };
        client.expect(0xB0, &[&head(8)[..], codes].concat());
        let many = vec![(RESPONSE, 1); SUBSCRIBE_FILTERS_MAX + 1];
        client.send(&subscribe(version, 9, &many));
        let (_, body) = client.packet();
        assert_eq!(body.last(), Some(&if version == Version::V3 { 0x80 } else { 0x97 }));
        client.expect_alive();
    }
}

// 251, 252, 254, 268
#[test]
fn a_request_is_acknowledged_and_answered_on_both_topics() {
    let server = server();
    for version in BOTH {
        let mut client = guest(&server, version);
        for (id, topic) in [(1, REQUEST), (2, "/provision")] {
            let name = format!("{version:?}{id}");
            client.send(&publish(version, topic, 1, id, &asked(&name)));
            client.expect_ack(version, id, 0);
            let (qos, told) = answer(&mut client, version);
            assert_eq!(
                (qos, &told["status"], &told["credentialsType"]),
                (1, &json!("SUCCESS"), &json!("ACCESS_TOKEN"))
            );
            server.connected(version, told["credentialsValue"].as_str().unwrap()).expect_alive();
        }
        client.send(&publish(version, REQUEST, 1, 3, &asked(&format!("{version:?}1"))));
        client.expect_ack(version, 3, 0);
        let told = answer(&mut client, version).1;
        assert_eq!(told, json!({"errorMsg": "Failed to provision device!", "status": "FAILURE"}));
    }
    let counters = server.counters();
    assert_eq!((counters.provisions_granted, counters.provisions_refused), (4, 2));
}

#[test]
fn a_request_of_qos_2_is_served_once() {
    let server = server();
    for version in BOTH {
        let mut client = guest(&server, version);
        let sent = publish(version, REQUEST, 2, 5, &asked(&format!("{version:?}")));
        client.send(&sent);
        client.expect_answer(version, 0x50, 5, 0);
        assert_eq!(answer(&mut client, version).1["status"], "SUCCESS");
        client.send(&sent);
        client.expect_answer(version, 0x50, 5, 0);
        client.send(&[0x62, 2, 0, 5]);
        client.expect_answer(version, 0x70, 5, 0);
        client.expect_alive();
    }
}

// 267
#[test]
fn any_other_topic_ends_the_session() {
    let server = server();
    for version in BOTH {
        for topic in ["v1/devices/me/telemetry", "/provision/response", "/provision/request/", "provision"] {
            let mut client = guest(&server, version);
            client.send(&publish(version, topic, 1, 1, b"test"));
            client.expect_ack(version, 1, 0x90);
            client.expect_close(version, 0x90);
            let mut client = guest(&server, version);
            client.send(&publish(version, topic, 0, 0, b"test"));
            client.expect_close(version, 0x90);
        }
    }
}

// 265, 266
#[test]
fn what_says_something_else_ends_the_session() {
    let server = server();
    let chain = key_of_the_chain(&server);
    let by_key = json!({"provisionDeviceKey": chain, "provisionDeviceSecret": "TUlJ"}).to_string();
    let type_foo =
        "{\"provisionDeviceKey\":\"k\",\"provisionDeviceSecret\":\"s\",\"credentialsType\":\"FOO\"}";
    for payload in ["{\"deviceName\":\"x\"}", type_foo, "{\"provisionDeviceKey\":{}}", &by_key] {
        for version in BOTH {
            let mut client = guest(&server, version);
            client.send(&publish(version, REQUEST, 1, 1, payload.as_bytes()));
            client.expect_ack(version, 1, 0x83);
            client.expect_close(version, 0x83);
            let mut client = guest(&server, version);
            client.send(&publish(version, REQUEST, 0, 0, payload.as_bytes()));
            client.expect_close(version, 0x83);
        }
    }
}

fn key_of_the_chain(server: &Server) -> String {
    let profile = server.devices.profile_by_name("chain").unwrap();
    profile.profile.provisioning.key().unwrap().to_owned()
}

#[test]
fn what_is_no_json_may_be_repeated_in_mqtt_5() {
    let server = server();
    for payload in [&b"\x0a\x01x\xff"[..], b"[1]", b"{\"provisionDeviceKey\":"] {
        let mut client = guest(&server, Version::V5);
        client.send(&publish(Version::V5, REQUEST, 1, 1, payload));
        client.expect_ack(Version::V5, 1, 0x99);
        client.expect_alive();
        client.send(&publish(Version::V5, REQUEST, 0, 0, payload));
        client.expect_close(Version::V5, 0x99);
        for qos in [0, 1] {
            let mut client = guest(&server, Version::V3);
            client.send(&publish(Version::V3, REQUEST, qos, 1, payload));
            client.expect_end();
        }
    }
}

#[test]
fn packets_that_have_no_business_here_end_the_session() {
    let server = server();
    for version in BOTH {
        let mut client = guest(&server, version);
        client.send(&connect(version, "", Some("provision"), None, 60));
        client.expect_close(version, 0x82);
        let mut client = guest(&server, version);
        client.send(&publish(version, "/provision/+", 1, 1, b"{}"));
        client.expect_close(version, 0x81);
        let mut client = guest(&server, version);
        client.send(&[0x36, 2, 0, 0]);
        client.expect_close(version, 0x81);
        let mut client = guest(&server, version);
        client.send(&[0xE0, 0]);
        client.expect_end();
    }
    let mut client = guest(&server, Version::V5);
    client.send(&publish_with(Version::V5, REQUEST, 1, 1, &[0x23, 0, 1], &asked("x")));
    client.expect_close(Version::V5, 0x94);
    server.until("all sessions have ended", |server| {
        let counters = server.counters();
        counters.sessions_begun == counters.sessions_ended
    });
}

#[test]
fn requests_of_a_session_are_bounded() {
    let server = server();
    for version in BOTH {
        let mut client = guest(&server, version);
        let unknown = b"{\"provisionDeviceKey\":\"x\",\"provisionDeviceSecret\":\"s\"}";
        for id in 1..=u16::try_from(PROVISION_REQUESTS_MAX).unwrap() {
            client.send(&publish(version, REQUEST, 1, id, unknown));
            client.expect_ack(version, id, 0);
            assert_eq!(answer(&mut client, version).1["status"], "NOT_FOUND");
        }
        client.send(&publish(version, REQUEST, 1, 9_999, unknown));
        client.expect_close(version, 0x97);
    }
}

#[test]
fn a_device_gets_no_more_answers_at_once_than_it_asked_for() {
    let server = server();
    let mut client = server.client();
    // Receive Maximum 1.
    client.send(&connect_with(Version::V5, "", Some("provision"), None, 60, &[0x21, 0, 1]));
    assert_eq!(client.packet().1[1], 0);
    for id in 1..=2 {
        client.send(&publish(Version::V5, REQUEST, 1, id, &asked(&format!("d{id}"))));
    }
    client.expect_ack(Version::V5, 1, 0);
    answer(&mut client, Version::V5);
    client.expect_ack(Version::V5, 2, 0);
    client.expect_alive();
    client.send(&[0x40, 2, 0, 1]);
    answer(&mut client, Version::V5);
}

#[test]
fn sessions_that_provision_are_bounded() {
    let server = server();
    let guests: Vec<Client> = (0..PROVISION_SESSIONS_MAX).map(|_| guest(&server, Version::V3)).collect();
    let mut late = server.client();
    late.send(&connect(Version::V3, "", Some("provision"), None, 60));
    late.expect(0x20, &[0, 3]);
    let mut late = server.client();
    late.send(&connect(Version::V5, "", Some("provision"), None, 60));
    assert_eq!(late.packet().1[1], 0x97);
    server.connected(Version::V5, "TOK").expect_alive();
    drop(guests);
    server.until("there is room again", |server| server.counters().sessions_ended >= 1_024);
    guest(&server, Version::V3).expect_alive();
}

#[test]
fn a_silent_session_and_a_stopping_server_end_it() {
    let mut server = server();
    for version in BOTH {
        let mut client = server.client();
        client.send(&connect(version, "", Some("provision"), None, 1));
        assert_eq!(client.packet().1[1], 0);
        client.expect_close(version, 0x8D);
    }
    assert_eq!(server.counters().sessions_silent, 2);
    let mut clients = BOTH.map(|version| (version, guest(&server, version)));
    server.stop();
    for (version, client) in &mut clients {
        client.expect_close(*version, 0x8B);
    }
}

// 271
#[test]
fn a_session_ends_a_minute_after_its_answer() {
    let server = server();
    let mut clients = BOTH.map(|version| (version, guest(&server, version)));
    for (version, client) in &mut clients {
        client.send(&publish(*version, REQUEST, 1, 1, &asked(&format!("{version:?}"))));
        client.expect_ack(*version, 1, 0);
        answer(client, *version);
    }
    let answered = Instant::now();
    let mut half = guest(&server, Version::V5);
    half.send(&publish(Version::V5, REQUEST, 1, 1, &asked("half"))[..9]);
    half.stream.set_read_timeout(Some(Duration::from_secs(55))).unwrap();
    half.expect_close(Version::V5, 0x8D);
    assert!(
        answered.elapsed() > Duration::from_secs(u64::from(PACKET_TIMEOUT_S) - 2),
        "a packet may take its time"
    );
    for (version, client) in &mut clients {
        client.stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        client.expect_close(*version, 0);
    }
    let lasted = answered.elapsed();
    assert!(lasted > Duration::from_secs(u64::from(PROVISION_ANSWERED_S) - 2), "{lasted:?}");
}
