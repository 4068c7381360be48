//! CONNECT and CONNACK: device API §3, conformance group A.

use super::harness::*;

const TELEMETRY: &str = "v1/devices/me/telemetry";

/// One login and the CONNACK code it gets; MQTT 5 gets the same code again in a DISCONNECT unless another is named.
#[track_caller]
fn check(
    server: &Server,
    id: &str,
    user: Option<&str>,
    password: Option<&[u8]>,
    v3: u8,
    v5: u8,
    disconnect: u8,
) {
    let mut client = server.client();
    client.send(&connect(Version::V3, id, user, password, 60));
    client.expect(0x20, &[0, v3]);
    if v3 == 0 {
        client.expect_alive()
    } else {
        client.expect_end()
    }
    let mut client = server.client();
    client.send(&connect(Version::V5, id, user, password, 60));
    let (kind, body) = client.packet();
    assert_eq!((kind, body[0], body[1]), (0x20, 0, v5));
    if v5 == 0 { client.expect_alive() } else { client.expect_close(Version::V5, disconnect) }
}

#[test]
fn logins_get_the_codes_of_ruling_1() {
    let server = Server::start();
    let secret = Some(&b"secret"[..]);
    check(&server, "", Some("TOK"), None, 0, 0, 0);
    check(&server, "any", Some("TOK"), Some(b"any"), 0, 0, 0);
    check(&server, "", Some("wrong"), None, 5, 0x86, 0x86);
    check(&server, "x", Some("nobody"), Some(b"x"), 5, 0x86, 0x86);
    check(&server, "unknown", None, None, 4, 0x85, 0x85);
    check(&server, "", None, None, 4, 0x87, 0x87);
    check(&server, "x", Some(""), None, 4, 0x86, 0x86);
    check(&server, "cid", Some("user"), secret, 0, 0, 0);
    check(&server, "cid", Some("user"), Some(b"wrong"), 5, 0x86, 0x86);
    check(&server, "other", Some("user"), secret, 5, 0x86, 0x86);
    check(&server, "only-id", None, None, 0, 0, 0);
    check(&server, "only-id", Some("someone"), None, 5, 0x86, 0x86);
    check(&server, "", Some("coap"), None, 3, 0x88, 0x89);
    assert_eq!(server.counters().connects_refused, 18);
}

#[test]
fn a_connack_of_mqtt_5_says_only_what_helps() {
    let server = Server::start();
    let mut client = server.client();
    client.send(&connect(Version::V5, "", Some("TOK"), None, 60));
    // Receive Maximum 100, Maximum Packet Size 65,540, Topic Alias Maximum 16, no Subscription Identifiers. ntex-mqtt
    // writes them in this order.
    client.expect(0x20, &[0, 0, 13, 0x21, 0, 100, 0x27, 0, 1, 0, 4, 0x22, 0, 16, 0x29, 0]);
    let mut client = server.client();
    client.send(&connect(Version::V5, "", Some("TOK2"), None, 0));
    let (_, body) = client.packet();
    assert!(body.windows(3).any(|part| part == [0x13, 1, 0x90]), "Server Keep Alive 400: {body:02x?}");
}

#[test]
fn no_session_outlives_its_connection() {
    let server = Server::start();
    let mut client = server.client();
    let an_hour = [0x11, 0, 0, 0x0E, 0x10];
    client.send(&connect_with(Version::V5, "", Some("TOK"), None, 60, &an_hour));
    let (_, body) = client.packet();
    assert!(body.windows(5).any(|part| part == [0x11, 0, 0, 0, 0]), "Session Expiry Interval 0: {body:02x?}");
    // Whoever asked for one may ask again at the end; whoever asked for none may not (MQTT 5, 3.14.2.2.2).
    client.send(&packet(0xE0, &[&[0, 5][..], &an_hour].concat()));
    client.expect_end();
    let mut client = server.connected(Version::V5, "TOK");
    client.send(&packet(0xE0, &[&[0, 5][..], &an_hour].concat()));
    client.expect_close(Version::V5, 0x82);
}

#[test]
fn enhanced_authentication_is_not_offered() {
    let server = Server::start();
    let mut client = server.client();
    let method = [&[0x15][..], &text("SCRAM")].concat();
    client.send(&connect_with(Version::V5, "", Some("TOK"), None, 60, &method));
    let (kind, body) = client.packet();
    assert_eq!((kind, body[1]), (0x20, 0x8C));
    client.expect_close(Version::V5, 0x8C);
}

#[test]
fn mqtt_3_1_is_served() {
    let server = Server::start();
    let connect = |id: &str| {
        let mut body = [&text("MQIsdp")[..], &[3, 0x82, 0, 60]].concat();
        body.extend(text(id));
        body.extend(text("TOK"));
        packet(0x10, &body)
    };
    let mut client = server.client();
    client.send(&connect("12345678901234567890123"));
    client.expect(0x20, &[0, 0]);
    client.send(&publish(Version::V3, TELEMETRY, 1, 1, b"{\"old\":1}"));
    client.expect(0x40, &[0, 1]);
    for id in ["", "123456789012345678901234"] {
        let mut client = server.client();
        client.send(&connect(id));
        client.expect_end();
    }
}

#[test]
fn an_empty_client_id_needs_no_clean_session() {
    let server = Server::start();
    for version in BOTH {
        let mut sent = connect(version, "", Some("TOK"), None, 60);
        sent[9] &= !0x02;
        let mut client = server.client();
        client.send(&sent);
        let (kind, body) = client.packet();
        assert_eq!((kind, body[0], body[1]), (0x20, 0, 0), "session present is 0");
    }
}

#[test]
fn what_is_no_connect_gets_no_connack() {
    let server = Server::start();
    let mut other_name = connect(Version::V3, "", Some("TOK"), None, 60);
    other_name[7] = b'X';
    let mut other_level = connect(Version::V3, "", Some("TOK"), None, 60);
    other_level[8] = 6;
    let mut reserved_flag = connect(Version::V3, "", Some("TOK"), None, 60);
    reserved_flag[9] |= 1;
    for sent in [other_name, other_level, reserved_flag, publish(Version::V3, TELEMETRY, 0, 0, b"{}")] {
        let mut client = server.client();
        client.send(&sent);
        client.expect_end();
    }
    server.until("all are counted", |server| server.counters().connects_broken == 4);
}

#[test]
fn what_is_sent_along_with_connect_is_served_after_it() {
    let server = Server::start();
    for version in BOTH {
        let mut all = connect(version, "", Some("TOK"), None, 60);
        for id in 1..=3 {
            all.extend(publish(version, TELEMETRY, 1, id, format!("{{\"p{id}\":{id}}}").as_bytes()));
        }
        let mut client = server.client();
        client.send(&all);
        let (kind, body) = client.packet();
        assert_eq!((kind, body[1]), (0x20, 0));
        for id in 1..=3 {
            client.expect_ack(version, id, 0);
        }
    }
    assert_eq!(server.messages("TOK"), 6);
}

#[test]
fn one_client_id_on_many_devices_takes_nothing_over() {
    let server = Server::start();
    let mut clients = ["TOK", "TOK2", "accept"].map(|token| {
        let mut client = server.client();
        client.send(&connect(Version::V3, "cid", Some(token), None, 60));
        client.expect(0x20, &[0, 0]);
        client
    });
    clients.iter_mut().for_each(Client::expect_alive);
}

#[test]
fn no_connection_is_left_waiting() {
    let server = Server::start();
    // A wake-up between threads that is lost now and then shows only in numbers: each of these would wait in vain.
    for _ in 0..40 {
        let clients: Vec<_> = (0..50).map(|_| server.connected(Version::V3, "TOK")).collect();
        drop(clients);
    }
}

#[test]
fn a_connect_that_promises_more_than_it_holds_is_ended() {
    let server = Server::start();
    let mut client = server.client();
    // Its properties are said to be longer than the packet.
    client.send(b"\x10\x0B\0\x04MQTT\x05\x02\0\x3C\x7F");
    client.expect_end();
    server.until("it is counted", |server| server.counters().connects_broken == 1);
}
