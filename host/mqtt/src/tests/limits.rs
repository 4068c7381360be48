//! Rate limits and what a session is told of them: device API §17 and §13.1, conformance groups S and M.

use wireglot_device::DeviceSpec;
use wireglot_model::{LevelLimits, RateLimit, RateLimits, Timestamp, Value};

use super::harness::*;

const TELEMETRY: &str = "v1/devices/me/telemetry";
const ATTRIBUTES: &str = "v1/devices/me/attributes";
const REQUEST: &str = "v1/devices/me/attributes/request/1";
const LIMITS: &str = "v1/devices/me/rpc/request/";

pub(super) fn level(messages: &str, telemetry_messages: &str, data_points: &str) -> LevelLimits {
    let parse = |text| RateLimit::parse(text).unwrap();
    LevelLimits {
        messages: parse(messages),
        telemetry_messages: parse(telemetry_messages),
        data_points: parse(data_points),
    }
}

pub(super) fn set(server: &Server, limits: RateLimits) {
    wait(server.devices.set_rate_limits(limits, Timestamp(0))).unwrap();
}

/// A server whose devices have these limits, and a device of its own for each version of MQTT.
fn limited(
    messages: &str,
    telemetry_messages: &str,
    data_points: &str,
) -> (Server, [(Version, &'static str); 2]) {
    let server = Server::start();
    let device = level(messages, telemetry_messages, data_points);
    set(&server, RateLimits { device, ..RateLimits::default() });
    (server, [(Version::V3, "TOK"), (Version::V5, "TOK2")])
}

/// A publish with QoS 1 that is answered.
#[track_caller]
fn taken(client: &mut Client, version: Version, topic: &str, payload: &[u8]) {
    client.send(&publish(version, topic, 1, 1, payload));
    client.expect_ack(version, 1, 0);
}

/// The next publish of the server, as text.
#[track_caller]
fn told(client: &mut Client) -> String {
    let (kind, body) = client.packet();
    assert_eq!(kind & 0xF0, 0x30, "a PUBLISH: {kind:02x} {body:02x?}");
    String::from_utf8_lossy(&body).into_owned()
}

// 327, 328
#[test]
fn messages_without_values_are_limited_and_the_session_ends() {
    let (server, devices) = limited("3:600", "", "");
    for (version, token) in devices {
        let mut client = server.connected(version, token);
        for _ in 0..2 {
            taken(&mut client, version, REQUEST, b"{}");
            assert!(told(&mut client).contains("attributes/response/1"));
            taken(&mut client, version, TELEMETRY, b"{\"t\":1}");
        }
        client.send(&publish(version, REQUEST, 1, 1, b"{}"));
        client.expect_close(version, 0x83);
    }
    assert_eq!(server.counters().publishes_limited, 2);
}

// 329
#[test]
fn messages_with_values_are_limited_and_none_is_acknowledged_and_lost() {
    let (server, devices) = limited("", "2:600", "");
    for (version, token) in devices {
        let mut client = server.connected(version, token);
        let one = |id: u16| publish(version, TELEMETRY, 1, id, format!("{{\"t\":{id}}}").as_bytes());
        // All at once: what came before the one too many is answered first, what comes after it is not looked at.
        client.send(&[one(1), one(2), one(3), publish(version, REQUEST, 1, 4, b"{}")].concat());
        client.expect_ack(version, 1, 0);
        client.expect_ack(version, 2, 0);
        client.expect_close(version, 0x83);
        assert_eq!(server.messages(token), 2);
        let mut again = server.connected(version, token);
        again.send(&publish(version, ATTRIBUTES, 0, 0, b"{\"a\":1}"));
        again.expect_close(version, 0x83);
    }
}

// 330
#[test]
fn values_are_limited() {
    let (server, devices) = limited("", "", "3:600");
    for (version, token) in devices {
        let mut client = server.connected(version, token);
        taken(&mut client, version, TELEMETRY, b"{\"a\":1,\"b\":2}");
        client.send(&publish(version, TELEMETRY, 1, 2, b"{\"a\":1,\"b\":2}"));
        client.expect_close(version, 0x83);
        assert_eq!(server.messages(token), 1);
    }
}

// 331
#[test]
fn sessions_are_limited() {
    let (server, devices) = limited("1:600", "", "");
    for (version, token) in devices {
        drop(server.connected(version, token));
        let mut client = server.client();
        client.send(&connect(version, "", Some(token), None, 60));
        let (kind, body) = client.packet();
        let code = if version == Version::V3 { 3 } else { 0x9F };
        assert_eq!((kind, body[0], body[1]), (0x20, 0, code));
        client.expect_close(version, 0x96);
    }
}

// 333
#[test]
fn what_is_not_counted_is_free() {
    let (server, devices) = limited("1:600", "1:600", "1:600");
    for (version, token) in devices {
        let mut client = server.connected(version, token);
        for _ in 0..50 {
            client.expect_alive();
            client.send(&publish(version, "unknown/topic", 1, 1, b"x"));
            client.expect_ack(version, 1, 0x90);
            client.send(&publish(version, TELEMETRY, 1, 1, b"not JSON"));
            client.expect_ack(version, 1, 0x99);
            taken(&mut client, version, &format!("{LIMITS}1"), b"{\"method\":\"getSessionLimits\"}");
            told(&mut client);
            client.send(&subscribe(version, 1, &[("v1/devices/me/rpc/response/+", 1)]));
            assert_eq!(client.packet().0, 0x90);
        }
    }
}

#[test]
fn nothing_said_is_a_message_without_values() {
    let (server, devices) = limited("2:600", "1:600", "");
    for (version, token) in devices {
        let mut client = server.connected(version, token);
        taken(&mut client, version, TELEMETRY, b"{}");
        client.send(&publish(version, TELEMETRY, 1, 2, b"[]"));
        client.expect_close(version, 0x83);
    }
}

#[test]
fn an_interest_over_the_limit_is_granted_without_effect() {
    let (server, devices) = limited("2:600", "", "");
    for (version, token) in devices {
        let mut client = server.connected(version, token);
        client.send(&subscribe(version, 1, &[("v2/a/j", 1)]));
        assert_eq!(client.packet().1.last(), Some(&1));
        client.send(&subscribe(version, 2, &[(ATTRIBUTES, 1)]));
        assert_eq!(client.packet().1.last(), Some(&1), "granted");
        client.send(&unsubscribe(version, 3, &["v2/a/j"]));
        assert_eq!(client.packet().0, 0xB0);
        server.write_shared(token, "a", 1);
        assert!(told(&mut client).contains("v2/a/j"), "neither has had an effect");
    }
}

#[test]
fn all_devices_share_the_limits_of_the_tenant() {
    let server = Server::start();
    let tenant = level("", "2:600", "");
    set(&server, RateLimits { tenant, device: level("", "9:600", ""), ..RateLimits::default() });
    let mut one = server.connected(Version::V5, "TOK");
    let mut other = server.connected(Version::V5, "TOK2");
    taken(&mut one, Version::V5, TELEMETRY, b"{\"t\":1}");
    taken(&mut other, Version::V5, TELEMETRY, b"{\"t\":1}");
    one.send(&publish(Version::V5, TELEMETRY, 1, 2, b"{\"t\":1}"));
    one.expect_close(Version::V5, 0x83);
    let refusals = server.devices.rate_refusals();
    assert_eq!((refusals[0], refusals[1]), ([0, 1, 0], [0, 0, 0]), "told apart by level and kind");
}

#[test]
fn limits_change_without_ending_sessions() {
    let (server, _) = limited("", "1:600", "5:600");
    let mut client = server.connected(Version::V5, "TOK");
    taken(&mut client, Version::V5, TELEMETRY, b"{\"t\":1,\"u\":1,\"v\":1}");
    set(&server, RateLimits { device: level("", "2:600", "5:600"), ..RateLimits::default() });
    taken(&mut client, Version::V5, TELEMETRY, b"{\"t\":1,\"u\":1}");
    set(&server, RateLimits { device: level("", "", "5:600"), ..RateLimits::default() });
    client.send(&publish(Version::V5, TELEMETRY, 1, 2, b"{\"t\":1}"));
    client.expect_close(Version::V5, 0x83);
    set(&server, RateLimits::default());
    let mut client = server.connected(Version::V5, "TOK");
    (0..9).for_each(|_| taken(&mut client, Version::V5, TELEMETRY, b"{\"t\":1}"));
}

#[track_caller]
fn session_limits(client: &mut Client, version: Version, expected: &str) {
    let payload = b"{\"method\":\"getSessionLimits\",\"params\":{\"timeout\":5000}}";
    taken(client, version, &format!("{LIMITS}7"), payload);
    let told = told(client);
    assert!(told.contains("v1/devices/me/rpc/response/7"), "{told}");
    let (_, json) = told.split_once('{').unwrap();
    assert_eq!(json, format!("\"maxPayloadSize\":65536,\"maxInflightMessages\":100,{expected}}}"));
}

// 236, 238
#[test]
fn a_device_is_told_its_limits() {
    let (server, devices) = limited("20:600", "10:600", "40:600");
    for (version, token) in devices {
        let mut client = server.connected(version, token);
        let limits = r#"{"messages":"20:600","telemetryMessages":"10:600","telemetryDataPoints":"40:600"}"#;
        session_limits(&mut client, version, &format!("\"rateLimits\":{limits}"));
    }
    set(&server, RateLimits::default());
    let none = r#""rateLimits":{"messages":null,"telemetryMessages":null,"telemetryDataPoints":null}"#;
    for token in ["TOK", "coded"] {
        session_limits(&mut server.connected(Version::V5, token), Version::V5, none);
    }
}

/// A server with a gateway, whose token is its name.
fn with_gateway() -> Server {
    let server = Server::start();
    let credentials = Some(wireglot_device::CredentialsDraft::AccessToken("gate".into()));
    let spec = DeviceSpec { name: "gate".into(), label: None, profile: None, gateway: true, credentials };
    wait(server.devices.ensure_device(spec, Timestamp(0))).unwrap();
    server
}

// 336
#[test]
fn what_a_gateway_sends_for_itself_has_limits_of_its_own() {
    let server = with_gateway();
    let once = || level("", "1:600", "");
    set(&server, RateLimits { device: once(), gateway_device: once(), ..RateLimits::default() });
    let mut gateway = server.connected(Version::V5, "gate");
    taken(&mut gateway, Version::V5, TELEMETRY, b"{\"t\":1}");
    let mut gateway = server.connected(Version::V5, "gate");
    gateway.send(&publish(Version::V5, TELEMETRY, 1, 1, b"{\"t\":1}"));
    gateway.expect_close(Version::V5, 0x83);
    assert_eq!(server.devices.rate_refusals()[3], [0, 1, 0], "a new session does not fill the bucket");
}

// 237
#[test]
fn a_gateway_is_told_its_own_limits_and_those_behind_it() {
    let server = with_gateway();
    set(
        &server,
        RateLimits {
            gateway: level("100:600", "50:600", "200:600"),
            gateway_device: level("20:600", "10:600", "40:600"),
            ..RateLimits::default()
        },
    );
    let expected = concat!(
        r#""rateLimits":{"messages":"100:600","telemetryMessages":"50:600","telemetryDataPoints":"200:600"},"#,
        r#""gatewayRateLimits":{"messages":"20:600","telemetryMessages":"10:600","telemetryDataPoints":"40:600"}"#
    );
    session_limits(&mut server.connected(Version::V5, "gate"), Version::V5, expected);
}

// 239
#[test]
fn on_short_topics_and_with_other_methods_it_is_an_ordinary_call() {
    let server = Server::start();
    let mut client = server.connected(Version::V5, "TOK");
    let asked = b"{\"method\":\"getSessionLimits\"}";
    let calls = [
        ("v2/r/req/1", &asked[..]),
        ("v2/r/req/j/1", asked),
        (&format!("{LIMITS}1"), b"{\"method\":\"other\"}"),
    ];
    for (topic, payload) in calls {
        client.send(&publish(Version::V5, topic, 1, 1, payload));
        assert_eq!(client.packet().0, 0x40);
        assert!(told(&mut client).contains("nobody answers the method"), "{topic}");
        client.expect_alive();
    }
    // Asked leniently and with another QoS, it is answered all the same.
    client.send(&publish(Version::V5, &format!("{LIMITS}2"), 0, 0, b"{method: getSessionLimits}"));
    assert!(told(&mut client).contains("rpc/response/2"));
}

#[test]
fn a_session_is_listed_while_it_is_open() {
    let server = Server::start();
    let mut client = server.client();
    client.send(&connect(Version::V5, "cid-7", Some("TOK"), None, 60));
    assert_eq!(client.packet().1[1], 0);
    let (device, facts) = server.devices.sessions().pop().unwrap();
    assert_eq!((&*device.name(), &*facts.client_id, facts.protocol), ("TOK", "cid-7", "5"));
    assert_eq!(facts.address, Some(client.stream.local_addr().unwrap()));
    taken(&mut client, Version::V5, TELEMETRY, b"{\"t\":1}");
    assert!(facts.heard() >= facts.since);
    server.until("nothing is in flight", |_| facts.in_flight() == 0);
    assert_eq!(server.latest("TOK", "t"), Some(Value::Long(1)));
    let mut second = server.connected(Version::V3, "TOK");
    client.expect_close(Version::V5, 0x8E);
    second.expect_alive();
    server.until("only the newer one is listed", |server| {
        let listed = server.devices.sessions();
        listed.len() == 1 && listed[0].1.protocol == "3.1.1"
    });
    drop(second);
    server.until("none is listed", |server| server.devices.sessions().is_empty());
}
