//! PUBLISH and its answers: device API §2.6–§2.10, §5.1 and §6, conformance groups B and G.

use wireglot_model::limits::{IN_FLIGHT_MAX, PACKET_BYTES_MAX};
use wireglot_model::profile::MqttTransport;
use wireglot_model::{FailureStage, Value};

use super::harness::*;

const TELEMETRY: &str = "v1/devices/me/telemetry";

#[test]
fn ack_after_commit() {
    let server = Server::start();
    for version in BOTH {
        let mut client = server.connected(version, "TOK");
        for value in 0..50_u16 {
            client.send(&publish(version, TELEMETRY, 1, value + 1, format!("{{\"v\":{value}}}").as_bytes()));
            client.expect_ack(version, value + 1, 0);
            assert_eq!(
                server.latest("TOK", "v"),
                Some(Value::Long(value.into())),
                "acknowledged, so it is there"
            );
        }
    }
}

#[test]
fn qos_0_is_stored_and_not_answered() {
    let server = Server::start();
    for version in BOTH {
        let mut client = server.connected(version, "TOK");
        client.send(&publish(version, TELEMETRY, 0, 0, b"{\"q\":0}"));
        client.expect_alive();
    }
    server.until("both are stored", |server| server.messages("TOK") == 2);
}

#[test]
fn a_burst_of_qos_0_before_the_end_is_stored() {
    let server = Server::start();
    for (round, farewell) in [&[0xE0, 0][..], &[]].into_iter().enumerate() {
        let mut client = server.connected(Version::V3, "TOK");
        let burst: Vec<u8> =
            (0..1_000).flat_map(|_| publish(Version::V3, "v2/t", 0, 0, b"{\"b\":1}")).collect();
        client.send(&burst);
        client.send(farewell);
        drop(client);
        server.until("all are stored", |server| server.messages("TOK") == 1_000 * (round + 1));
    }
}

#[test]
fn qos_1_before_disconnect_is_stored() {
    let server = Server::start();
    for version in BOTH {
        let mut client = server.connected(version, "TOK");
        let mut all = publish(version, "v2/t", 1, 1, b"{\"d\":1}");
        all.extend([0xE0, 0]);
        client.send(&all);
        client.expect_ack(version, 1, 0);
        client.expect_end();
    }
    assert_eq!(server.messages("TOK"), 2);
}

#[test]
fn qos_2_is_stored_once() {
    let server = Server::start();
    for (round, version) in BOTH.into_iter().enumerate() {
        let mut client = server.connected(version, "TOK");
        let first = publish(version, TELEMETRY, 2, 7, b"{\"q\":2}");
        let mut again = first.clone();
        again[0] |= 0x08;
        client.send(&first);
        client.expect_answer(version, 0x50, 7, 0);
        client.send(&again);
        client.expect_answer(version, 0x50, 7, 0);
        client.send(&packet(0x62, &[0, 7]));
        client.expect_answer(version, 0x70, 7, 0);
        // Once more: MQTT 5 is told that there is nothing to release.
        client.send(&packet(0x62, &[0, 7]));
        client.expect_answer(version, 0x70, 7, 0x92);
        assert_eq!(server.messages("TOK"), round + 1);
        client.send(&first);
        client.expect_answer(version, 0x50, 7, 0);
        client.send(&packet(0x62, &[0, 7]));
        client.expect_answer(version, 0x70, 7, 0);
        assert_eq!(server.messages("TOK"), round + 2, "the id is free again");
        server.devices.clone().latest(server.id("TOK"), None).unwrap();
        if version == Version::V3 {
            break;
        }
    }
}

#[test]
fn a_refused_qos_2_publish_frees_its_id_in_mqtt_5() {
    let server = Server::start();
    let mut client = server.connected(Version::V5, "TOK");
    client.send(&publish(Version::V5, TELEMETRY, 2, 3, b"not json {"));
    client.expect_answer(Version::V5, 0x50, 3, 0x99);
    client.send(&publish(Version::V5, TELEMETRY, 2, 3, b"{\"ok\":1}"));
    client.expect_answer(Version::V5, 0x50, 3, 0);
    let mut client = server.connected(Version::V3, "TOK2");
    client.send(&publish(Version::V3, TELEMETRY, 2, 3, b"not json {"));
    client.expect(0x50, &[0, 3]);
    client.send(&packet(0x62, &[0, 3]));
    client.expect(0x70, &[0, 3]);
}

#[test]
fn a_qos_1_publish_sent_again_too_early_is_answered_once() {
    let server = Server::start();
    for version in BOTH {
        let mut client = server.connected(version, "TOK");
        let first = publish(version, "v2/t", 1, 5, b"{\"r\":1}");
        let mut again = first.clone();
        again[0] |= 0x08;
        client.send(&[first, again].concat());
        client.expect_ack(version, 5, 0);
        client.expect_alive();
    }
    assert_eq!((server.messages("TOK"), server.counters().publishes_repeated), (2, 2));
}

#[test]
fn more_than_the_window_is_served_in_order() {
    let server = Server::start();
    for version in BOTH {
        let mut client = server.connected(version, "TOK");
        let count = 5 * IN_FLIGHT_MAX;
        let all: Vec<u8> = (1..=count).flat_map(|id| publish(version, "v2/t", 1, id, b"{\"w\":1}")).collect();
        client.send(&all);
        for id in 1..=count {
            client.expect_ack(version, id, 0);
        }
    }
}

#[test]
fn the_packet_limit_is_exact() {
    let server = Server::start();
    for version in BOTH {
        let overhead = 2 + TELEMETRY.len() + 2 + usize::from(version == Version::V5);
        let json = |bytes: usize| format!("{{\"x\":\"{}\"}}", "a".repeat(bytes - overhead - 8)).into_bytes();
        let mut client = server.connected(version, "TOK");
        client.send(&publish(version, TELEMETRY, 1, 1, &json(PACKET_BYTES_MAX)));
        client.expect_ack(version, 1, 0);
        client.send(&publish(version, TELEMETRY, 1, 2, &json(PACKET_BYTES_MAX + 1)));
        client.expect_close(version, 0x81);
    }
    assert_eq!(server.messages("TOK"), 2);
}

#[test]
fn malformed_packets_end_the_connection() {
    let server = Server::start();
    for version in BOTH {
        let v5 = usize::from(version == Version::V5);
        let mut qos_3 = publish(version, TELEMETRY, 1, 1, b"{}");
        qos_3[0] |= 0x06;
        let mut longer_topic = publish(version, "v2/t", 1, 1, b"{}");
        longer_topic[2..4].copy_from_slice(&[0, 200]);
        longer_topic.extend([0; 300]);
        for sent in [
            qos_3,
            publish(version, TELEMETRY, 1, 0, b"{}"),
            publish(version, "v1/devices/me/+", 1, 1, b"{}"),
            publish(version, "v2/#", 0, 0, b"{}"),
            packet(0x82, &[0, 1, 0, 0, 9][..4 + v5]),
            packet(0xF1, &[]),
            vec![0xC0, 0xFF, 0xFF, 0xFF, 0xFF],
            longer_topic,
        ] {
            let mut client = server.connected(version, "TOK");
            client.send(&sent);
            client.expect_close(version, 0x81);
        }
    }
    server.connected(Version::V5, "TOK").expect_alive();
}

#[test]
fn packets_out_of_place_end_the_connection() {
    let server = Server::start();
    for version in BOTH {
        let connack = if version == Version::V3 { vec![0x20, 2, 0, 0] } else { vec![0x20, 3, 0, 0, 0] };
        for sent in [connect(version, "", Some("TOK"), None, 60), connack, vec![0xD0, 0]] {
            let mut client = server.connected(version, "TOK");
            client.send(&sent);
            client.expect_close(version, 0x82);
        }
    }
}

#[test]
fn properties_longer_than_a_packet_are_not_waited_for() {
    let server = Server::start();
    let mut client = server.connected(Version::V5, "TOK");
    let mut body = text("v2/t");
    body.extend([0xFF, 0xFF, 0xFF, 0x7F]);
    client.send(&packet(0x30, &body));
    let flood = vec![0; 64 * 1024];
    let mut sent = 0;
    while sent < 64 * 1024 * 1024 {
        match std::io::Write::write(&mut client.stream, &flood) {
            Ok(written) => sent += written,
            Err(_) => return,
        }
    }
    panic!("the server read {sent} bytes of one packet");
}

#[test]
fn an_unknown_topic_is_acknowledged_and_the_session_stays() {
    let server = Server::start();
    for version in BOTH {
        let mut client = server.connected(version, "TOK");
        for topic in ["wrong/topic/", "v1/devices/you/telemetry", "v1/gateway/telemetry", "/"] {
            client.send(&publish(version, topic, 1, 9, b"{\"a\":1}"));
            client.expect_ack(version, 9, 0x90);
            client.send(&publish(version, topic, 0, 0, b"{\"a\":1}"));
        }
        client.expect_alive();
    }
    assert_eq!((server.messages("TOK"), server.counters().publishes_unknown_topic), (0, 16));
}

#[test]
fn a_topic_alias_stands_for_its_topic() {
    let server = Server::start();
    let mut client = server.connected(Version::V5, "TOK");
    let alias = |topic: &str, id: u16, alias: u8| {
        publish_with(Version::V5, topic, 1, id, &[0x23, 0, alias], b"{\"a\":1}")
    };
    client.send(&alias("", 1, 1));
    client.expect_ack(Version::V5, 1, 0x90);
    client.send(&alias("v2/t", 2, 1));
    client.expect_ack(Version::V5, 2, 0);
    client.send(&alias("", 3, 1));
    client.expect_ack(Version::V5, 3, 0);
    assert_eq!(server.messages("TOK"), 2);
    client.send(&alias("v2/t", 4, 17));
    client.expect_close(Version::V5, 0x94);
}

#[test]
fn a_bad_payload_is_kept_before_it_is_answered() {
    let server = Server::start();
    for (round, version) in BOTH.into_iter().enumerate() {
        let mut client = server.connected(version, "TOK");
        client.send(&publish(version, TELEMETRY, 1, 1, b"\"key1\":\"value1\", \"key2\":true"));
        client.expect_ack(version, 1, 0x99);
        assert_eq!(server.dead_letters().len(), 2 * round + 1, "kept when it was answered");
        client.send(&publish(version, TELEMETRY, 0, 0, b"5"));
        client.send(&publish(version, TELEMETRY, 1, 2, b"{\"ok\":1}"));
        client.expect_ack(version, 2, 0);
        server.until("QoS 0 is kept too", |server| server.dead_letters().len() == 2 * round + 2);
    }
    let letters = server.dead_letters();
    assert!(letters.iter().all(|letter| letter.stage == FailureStage::Refused && letter.topic == TELEMETRY));
    assert_eq!((server.messages("TOK"), server.counters().publishes_refused), (2, 4));
}

#[test]
fn a_request_id_that_is_no_number_is_a_bad_payload() {
    let server = Server::start();
    let mut client = server.connected(Version::V5, "TOK");
    for id in ["abc", "2147483648", ""] {
        client.send(&publish(Version::V5, &format!("v1/devices/me/attributes/request/{id}"), 1, 1, b"{}"));
        client.expect_ack(Version::V5, 1, 0x99);
    }
}

#[test]
fn a_profile_can_accept_bad_payloads() {
    let server = Server::start();
    for version in BOTH {
        let mut client = server.connected(version, "accept");
        client.send(&publish(version, TELEMETRY, 1, 1, b"5"));
        client.expect_ack(version, 1, 0);
    }
    assert_eq!(server.dead_letters().len(), 2);
}

#[test]
fn a_profile_can_be_as_strict_as_upstream() {
    let server = Server::start();
    let mut client = server.connected(Version::V5, "strict");
    client.send(&publish(Version::V5, TELEMETRY, 1, 1, b"5"));
    client.expect_ack(Version::V5, 1, 0x99);
    client.send(&publish(Version::V5, TELEMETRY, 0, 0, b"5"));
    client.expect_close(Version::V5, 0x99);
    for qos in [0, 1] {
        let mut client = server.connected(Version::V3, "strict");
        client.send(&publish(Version::V3, TELEMETRY, qos, 1, b"5"));
        client.expect_end();
    }
    assert_eq!(server.dead_letters().len(), 4);
}

#[test]
fn what_a_missing_codec_cannot_read_is_kept_and_acknowledged() {
    let server = Server::start();
    for version in BOTH {
        let mut client = server.connected(version, "coded");
        client.send(&publish(version, TELEMETRY, 1, 1, &[1, 2, 3]));
        client.expect_ack(version, 1, 0);
        client.send(&publish(version, "v2/t/j", 1, 2, b"{\"json\":1}"));
        client.expect_ack(version, 2, 0);
        client.send(&publish(version, "v2/t/p", 1, 3, &[1]));
        client.expect_ack(version, 3, 0x99);
    }
    let letters = server.dead_letters();
    let missing = letters.iter().filter(|letter| letter.stage == FailureStage::NoCodec);
    assert_eq!((missing.count(), letters.len(), server.messages("coded")), (2, 4, 2));
    assert_eq!(server.counters().publishes_undecoded, 2);
}

#[test]
fn a_changed_profile_applies_from_the_next_packet() {
    let server = Server::start();
    let mut client = server.connected(Version::V5, "accept");
    client.send(&publish(Version::V5, "data/up", 1, 1, b"{\"a\":1}"));
    client.expect_ack(Version::V5, 1, 0x90);
    let changed = MqttTransport { telemetry_topic: "data/+".into(), ..MqttTransport::json() };
    wait(profile(&server.devices, "accept", changed));
    client.send(&publish(Version::V5, "data/up", 1, 2, b"{\"a\":2}"));
    client.expect_ack(Version::V5, 2, 0);
    client.send(&publish(Version::V5, TELEMETRY, 1, 3, b"{\"a\":3}"));
    client.expect_ack(Version::V5, 3, 0x90);
    assert_eq!(server.latest("accept", "a"), Some(Value::Long(2)));
}
