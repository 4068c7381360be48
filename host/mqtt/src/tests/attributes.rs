//! What a device is sent: updates and answers, device API §11, conformance groups J and K.

use super::harness::*;

const ATTRIBUTES: &str = "v1/devices/me/attributes";

/// The next publish from the server: first byte, topic, packet id, payload.
#[track_caller]
pub(super) fn received(client: &mut Client, version: Version) -> (u8, String, Option<u16>, String) {
    let (kind, body) = client.packet();
    assert_eq!(kind & 0xF0, 0x30, "a PUBLISH: {kind:02x} {body:02x?}");
    let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
    let (topic, rest) = body[2..].split_at(length);
    let (id, rest) = match kind & 0x06 {
        0 => (None, rest),
        _ => (Some(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
    };
    let payload = if version == Version::V5 { &rest[1..] } else { rest };
    let string = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (kind, string(topic), id, string(payload))
}

fn subscribed(server: &Server, version: Version, filter: &str, qos: u8) -> Client {
    let mut client = server.connected(version, "TOK");
    client.send(&subscribe(version, 1, &[(filter, qos)]));
    let (kind, body) = client.packet();
    assert_eq!((kind, *body.last().unwrap()), (0x90, qos));
    client
}

#[test]
fn updates_come_on_the_topic_of_the_last_subscription() {
    let server = Server::start();
    for version in BOTH {
        let mut client = subscribed(&server, version, ATTRIBUTES, 1);
        server.write_shared("TOK", "a", 1);
        let update = received(&mut client, version);
        assert_eq!(update, (0x32, ATTRIBUTES.into(), Some(1), "{\"a\":1}".into()));
        client.send(&subscribe(version, 2, &[("v2/a/j", 0)]));
        assert_eq!(client.packet().0, 0x90);
        server.write_shared("TOK", "a", 2);
        assert_eq!(received(&mut client, version), (0x30, "v2/a/j".into(), None, "{\"a\":2}".into()));
        client.send(&unsubscribe(version, 3, &[ATTRIBUTES]));
        assert_eq!(client.packet().0, 0xB0);
        server.write_shared("TOK", "a", 3);
        client.expect_alive();
    }
}

#[test]
fn an_attribute_request_is_answered_without_a_subscription() {
    let server = Server::start();
    server.write_shared("TOK", "s", 7);
    for version in BOTH {
        let mut client = server.connected(version, "TOK");
        for (request, response) in [
            ("v1/devices/me/attributes/request/5", "v1/devices/me/attributes/response/5"),
            ("v2/a/req/2147483647", "v2/a/res/2147483647"),
            ("v2/a/req/j/1", "v2/a/res/j/1"),
        ] {
            client.send(&publish(version, request, 1, 1, b"{\"sharedKeys\":\"s\"}"));
            client.expect_ack(version, 1, 0);
            let (kind, topic, id, payload) = received(&mut client, version);
            assert_eq!((kind, topic.as_str(), payload.as_str()), (0x32, response, "{\"shared\":{\"s\":7}}"));
            assert!(id.is_some_and(|id| id > 0));
        }
        client.send(&publish(version, "v2/a/req/-1", 1, 2, b"{}"));
        client.expect_ack(version, 2, 0);
        client.expect_alive();
    }
}

#[test]
fn acknowledgements_in_any_order_are_fine() {
    let server = Server::start();
    for version in BOTH {
        let mut client = subscribed(&server, version, ATTRIBUTES, 1);
        for value in 0..3 {
            server.write_shared("TOK", "a", value);
            received(&mut client, version);
        }
        for id in [3_u8, 1, 2, 2, 99] {
            client.send(&packet(0x40, &[0, id]));
        }
        client.expect_alive();
    }
}

// 60
#[test]
fn a_device_of_mqtt_5_sets_its_own_bounds() {
    let server = Server::start();
    let mut client = server.client();
    // Receive Maximum 1, Maximum Packet Size 60.
    let properties = [0x21, 0, 1, 0x27, 0, 0, 0, 60];
    client.send(&connect_with(Version::V5, "", Some("TOK"), None, 60, &properties));
    assert_eq!(client.packet().1[1], 0);
    client.send(&subscribe(Version::V5, 1, &[(ATTRIBUTES, 1)]));
    assert_eq!(client.packet().0, 0x90);
    server.write_shared("TOK", &"long".repeat(20), 1);
    server.write_shared("TOK", "a", 1);
    server.write_shared("TOK", "b", 2);
    let (_, _, id, payload) = received(&mut client, Version::V5);
    assert_eq!(payload, "{\"a\":1}", "what is longer than the device takes is not sent");
    client.expect_alive();
    client.send(&packet(0x40, &id.unwrap().to_be_bytes()));
    assert_eq!(
        received(&mut client, Version::V5).3,
        "{\"b\":2}",
        "the next one comes after the acknowledgement"
    );
    assert_eq!(server.counters().downlinks_dropped, 1);
}
