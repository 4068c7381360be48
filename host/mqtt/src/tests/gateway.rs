//! What gateways say for others and what they hear: gateway API, conformance group U.

use wireglot_device::{DeviceDraft, ProfileChoice, RpcCall, RpcDraft, now};
use wireglot_model::limits::GATEWAY_FRAMES_MAX;
use wireglot_model::{LevelLimits, OtaTargets, RateLimit, RateLimits, RpcId, RpcStatus, Value};

use super::attributes::received as published;
use super::harness::*;
use super::rpc::draft;

const TELEMETRY: &str = "v1/gateway/telemetry";
const ATTRIBUTES: &str = "v1/gateway/attributes";
const RPC: &str = "v1/gateway/rpc";

impl Client {
    /// Publishes with QoS 1 and takes the acknowledgement.
    #[track_caller]
    fn say(&mut self, version: Version, topic: &str, payload: &str, reason: u8) {
        self.send(&publish(version, topic, 1, 7, payload.as_bytes()));
        self.expect_ack(version, 7, reason);
    }
}

/// Topic and payload of the next publish.
#[track_caller]
fn received(client: &mut Client, version: Version) -> (String, String) {
    let (_, topic, _, payload) = published(client, version);
    (topic, payload)
}

fn name(version: Version, name: &str) -> String {
    format!("{name}-{version:?}")
}

// 346, 348, 370, 371, 374, 375
#[test]
fn a_sub_session_begins_and_ends_as_the_gateway_says() {
    let server = Server::start();
    for version in BOTH {
        let mut gateway = server.connected(version, "gateway");
        let a = name(version, "a");
        let connect = format!("{{\"device\":\"{a}\",\"type\":\"Thermostat\"}}");
        gateway.say(version, "v1/gateway/connect", &connect, 0);
        gateway.say(version, "v1/gateway/connect", &connect, 0);
        let device = server.devices.device_by_name(&a).unwrap();
        assert_eq!(device.profile().profile.name, "Thermostat");
        assert!(server.devices.is_connected(device.id()));
        server.write_shared(&a, "k", 1);
        let expected = format!("{{\"device\":\"{a}\",\"data\":{{\"k\":1}}}}");
        assert_eq!(received(&mut gateway, version), (ATTRIBUTES.into(), expected), "365");
        gateway.say(version, "v1/gateway/disconnect", &format!("{{\"device\":\"{a}\"}}"), 0);
        assert!(!server.devices.is_connected(device.id()));
        server.write_shared(&a, "k", 2);
        gateway.say(version, "v1/gateway/disconnect", "{\"device\":\"unknown\"}", 0);
        gateway.say(version, "v1/gateway/foo", "{}", 0x90);
        gateway.say(version, "v1/gateway/connect", "{\"device\":\"\"}", 0x83);
        gateway.say(version, "v1/gateway/connect", "{\"device\":\" \"}", 0x80);
        gateway.expect_alive();
    }
    // Whoever is no gateway speaks for nobody.
    let mut client = server.connected(Version::V5, "TOK");
    client.say(Version::V5, TELEMETRY, "{\"x\":[{\"t\":1}]}", 0x90);
    assert!(server.devices.device_by_name("x").is_none());
}

// 349, 350, 351, 353, 354, 383
#[test]
fn one_acknowledgement_covers_many_devices() {
    let server = Server::start();
    for version in BOTH {
        let mut gateway = server.connected(version, "gateway");
        let (a, b, c) = (name(version, "a"), name(version, "b"), name(version, "c"));
        gateway.say(
            version,
            TELEMETRY,
            &format!("{{\"{a}\":[{{\"t\":1}}],\"{b}\":[{{\"t\":2}}],\"{c}\":[]}}"),
            0,
        );
        assert_eq!(server.latest(&a, "t"), Some(Value::Long(1)));
        assert_eq!(server.latest(&b, "t"), Some(Value::Long(2)));
        assert!(server.devices.device_by_name(&c).is_some());
        let letters = server.dead_letters().len();
        gateway.say(version, TELEMETRY, &format!("{{\"{a}\":[5],\"{b}\":[{{\"t\":3}}]}}"), 0x99);
        assert_eq!(server.latest(&b, "t"), Some(Value::Long(3)), "the good part is kept");
        let refused = server.dead_letters();
        assert_eq!(refused.len(), letters + 1);
        let letter = refused.iter().find(|letter| letter.device_name == a).unwrap();
        assert_eq!(String::from_utf8_lossy(&letter.payload), format!("{{\"{a}\":[5]}}"));
        assert!(letter.reason.contains("must be an object"), "{}", letter.reason);
        gateway.say(version, TELEMETRY, "{bad", 0x99);
        gateway.say(version, TELEMETRY, &format!("{{\"{a}\":{{\"t\":1}}}}"), 0x83);
        let many: Vec<String> = (0..17).map(|index| format!("\"{a}-{index}\":[5]")).collect();
        gateway.say(version, TELEMETRY, &format!("{{{}}}", many.join(",")), 0x99);
        let together = server.dead_letters();
        let letter = together.iter().find(|letter| letter.reason.contains("17 parts are refused")).unwrap();
        assert_eq!(letter.device_name, "gateway");
        gateway.expect_alive();
        let ids = [a, b, c].map(|name| server.id(&name));
        assert!(ids.iter().all(|id| server.devices.is_connected(*id)));
        drop(gateway);
        server
            .until("all of them have gone", |server| !ids.iter().any(|id| server.devices.is_connected(*id)));
    }
}

// 352, 354, 355, 363
#[test]
fn a_strict_profile_closes() {
    let server = Server::start();
    for (version, topic, payload, reason) in [
        (Version::V3, TELEMETRY, "{\"a\":{\"t\":1}}", 0x83),
        (Version::V5, TELEMETRY, "{\"a\":{\"t\":1}}", 0x83),
        (Version::V5, "v1/gateway/attributes/request", "{\"id\":1,\"device\":\"a\",\"key\":\"k\"}", 0x83),
    ] {
        let mut gateway = server.connected(version, "strict-gateway");
        gateway.say(version, topic, payload, reason);
        gateway.expect_close(version, reason);
    }
    let mut gateway = server.connected(Version::V5, "strict-gateway");
    gateway.say(Version::V5, TELEMETRY, "{\"a\":[5]}", 0x99);
    gateway.expect_alive();
    for payload in ["{\"a\":[5]}", "{bad"] {
        let mut gateway = server.connected(Version::V3, "strict-gateway");
        gateway.send(&publish(Version::V3, TELEMETRY, 1, 7, payload.as_bytes()));
        gateway.expect_end();
    }
}

// 356, 357, 360, 362
#[test]
fn attributes_are_written_and_asked_for() {
    let server = Server::start();
    for version in BOTH {
        let mut gateway = server.connected(version, "gateway");
        let a = name(version, "a");
        gateway.say(version, ATTRIBUTES, &format!("{{\"{a}\":{{\"c\":\"x\"}}}}"), 0);
        for (is_client, key, value) in [(true, "c", ",\"value\":\"x\""), (false, "c", "")] {
            let request = format!("{{\"id\":3,\"device\":\"{a}\",\"client\":{is_client},\"key\":\"{key}\"}}");
            gateway.say(version, "v1/gateway/attributes/request", &request, 0);
            let answer = format!("{{\"id\":3,\"device\":\"{a}\"{value}}}");
            assert_eq!(received(&mut gateway, version), ("v1/gateway/attributes/response".into(), answer));
        }
    }
}

// 366, 367, 369
#[test]
fn a_persistent_rpc_is_delivered_when_the_gateway_has_it() {
    let server = Server::start();
    for version in BOTH {
        let mut gateway = server.connected(version, "gateway");
        let a = name(version, "a");
        gateway.say(version, "v1/gateway/connect", &format!("{{\"device\":\"{a}\"}}"), 0);
        let draft = RpcDraft { is_persistent: true, ..draft(false, "1") };
        let call = wait(server.devices.call(server.id(&a), draft, now())).unwrap();
        let RpcCall::Kept(rpc) = call else { panic!("{call:?}") };
        let status = |status: RpcStatus, rpc: RpcId| {
            server.until(&format!("{status:?}"), |server| server.devices.rpc(rpc).unwrap().status == status);
        };
        let (kind, topic, id, payload) = published(&mut gateway, version);
        assert_eq!((kind, topic.as_str()), (0x32, RPC));
        assert_eq!(
            payload,
            format!("{{\"device\":\"{a}\",\"data\":{{\"id\":0,\"method\":\"m\",\"params\":1}}}}")
        );
        status(RpcStatus::Sent, rpc);
        gateway.send(&packet(0x40, &id.unwrap().to_be_bytes()));
        status(RpcStatus::Delivered, rpc);
        gateway.say(version, RPC, &format!("{{\"device\":\"{a}\",\"id\":0,\"data\":{{\"ok\":true}}}}"), 0);
        status(RpcStatus::Successful, rpc);
    }
}

#[test]
fn a_sub_session_ends_with_its_credentials_and_begins_again() {
    let server = Server::start();
    let mut gateway = server.connected(Version::V5, "gateway");
    gateway.say(Version::V5, TELEMETRY, "{\"a\":[{\"t\":1}]}", 0);
    let id = server.id("a");
    let token = server.devices.credentials(id).unwrap().lookup;
    // The device itself takes over, then the gateway does.
    let mut direct = server.connected(Version::V5, &token);
    direct.expect_alive();
    gateway.expect_alive();
    gateway.say(Version::V5, TELEMETRY, "{\"a\":[{\"t\":2}]}", 0);
    direct.expect_close(Version::V5, 0x8E);
    wait(server.devices.delete_device(id, now())).unwrap();
    server.until("its session has ended", |server| !server.devices.is_connected(id));
    gateway.say(Version::V5, TELEMETRY, "{\"a\":[{\"t\":3}]}", 0);
    assert_ne!(server.id("a"), id, "378: another device of the same name");
}

#[test]
fn the_old_name_stays_with_the_open_sub_session() {
    let server = Server::start();
    let mut gateway = server.connected(Version::V5, "gateway");
    gateway.say(Version::V5, TELEMETRY, "{\"old\":[{\"t\":1}]}", 0);
    let id = server.id("old");
    let record = server.devices.device(id).unwrap().record();
    let draft = DeviceDraft {
        name: "new".into(),
        label: None,
        profile: ProfileChoice::Default,
        additional_info: record.additional_info,
        ota: OtaTargets::default(),
    };
    wait(server.devices.update_device(id, draft, None, now())).unwrap();
    gateway.say(Version::V5, TELEMETRY, "{\"old\":[{\"t\":2}]}", 0);
    assert_eq!(server.latest("new", "t"), Some(Value::Long(2)));
    assert!(server.devices.device_by_name("old").is_none());
    gateway.say(Version::V5, TELEMETRY, "{\"new\":[{\"t\":3}]}", 0);
    server.until("the older one has gone", |server| server.devices.sessions().len() == 2);
    gateway.say(Version::V5, TELEMETRY, "{\"old\":[{\"t\":4}]}", 0);
    assert_ne!(server.id("old"), id, "a device of that name is made again");
}

// 334, 335
#[test]
fn a_gateway_that_says_too_much_is_let_go() {
    let server = Server::start();
    let limit = |text: &str| RateLimit::parse(text).unwrap();
    let level = LevelLimits { telemetry_messages: limit("2:600"), ..LevelLimits::default() };
    wait(server.devices.set_rate_limits(RateLimits { gateway: level, ..RateLimits::default() }, now()))
        .unwrap();
    let mut gateway = server.connected(Version::V5, "gateway");
    gateway.say(Version::V5, TELEMETRY, "{\"a\":[{\"t\":1}]}", 0);
    gateway.say(Version::V5, TELEMETRY, "{\"b\":[{\"t\":1}],\"c\":[{\"t\":1}]}", 0x97);
    assert_eq!(server.latest("b", "t"), Some(Value::Long(1)), "what came before the limit is kept");
    let told = received(&mut gateway, Version::V5);
    assert_eq!(told, ("v1/gateway/disconnect".into(), "{\"device\":\"c\",\"reason\":150}".into()));
    gateway.expect_end();
    let own = LevelLimits { telemetry_messages: limit("1:600"), ..LevelLimits::default() };
    wait(server.devices.set_rate_limits(RateLimits { gateway_device: own, ..RateLimits::default() }, now()))
        .unwrap();
    let mut gateway = server.connected(Version::V3, "gateway");
    gateway.say(Version::V3, TELEMETRY, "{\"a\":[{\"t\":2}],\"b\":[{\"t\":2}]}", 0);
    gateway.say(Version::V3, TELEMETRY, "{\"a\":[{\"t\":3}]}", 0);
    gateway.expect_end();
    assert_eq!(server.latest("a", "t"), Some(Value::Long(2)), "each device has a limit of its own");
}

#[test]
fn a_silent_sub_session_ends() {
    let server = Server::start_as(1, 3);
    let mut gateway = server.connected(Version::V5, "gateway");
    gateway.say(Version::V5, TELEMETRY, "{\"a\":[{\"t\":1}]}", 0);
    let id = server.id("a");
    server.until("it was silent for too long", |server| {
        gateway.expect_alive();
        !server.devices.is_connected(id)
    });
}

#[test]
fn every_frame_that_is_not_decoded_is_a_letter_of_its_device() {
    let server = Server::start();
    let mut gateway = server.connected(Version::V5, "gateway");
    let frames = |count: usize| format!("{{\"coded\":[{}]}}", vec!["{\"raw\":\"AQ==\"}"; count].join(","));
    gateway.say(Version::V5, TELEMETRY, &frames(20), 0);
    let letters = server.dead_letters();
    assert_eq!(letters.len(), 20, "more than are told together where they are no frames");
    assert!(letters.iter().all(|letter| letter.device_name == "coded" && letter.payload == [1]));
    assert!(letters.iter().all(|letter| letter.topic == "v1/gateway/raw/coded"));
    gateway.say(Version::V5, TELEMETRY, &frames(GATEWAY_FRAMES_MAX + 1), 0x97);
    let newest = server.dead_letters();
    let over = newest.iter().filter(|letter| letter.reason.contains("one publish has at most"));
    assert_eq!(over.count(), 1);
}

#[test]
fn latencies_are_told_before_a_gateway_goes() {
    let server = Server::start();
    let mut gateway = server.connected(Version::V5, "gateway");
    let metadata = "{\"connector\":\"c\",\"receivedTs\":1,\"publishedTs\":2}";
    gateway.say(Version::V5, TELEMETRY, &format!("{{\"a\":[{{\"t\":1,\"metadata\":{metadata}}}]}}"), 0);
    assert_eq!(server.latest("gateway", "gatewayMetrics"), None, "it is not time yet");
    drop(gateway);
    server.until("its last report", |server| server.latest("gateway", "gatewayMetrics").is_some());
}
