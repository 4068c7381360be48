//! How sessions end, and what cannot end those of others: device API §2.5, §4, conformance group T.

use std::time::Instant;

use super::harness::*;

#[test]
fn a_silent_device_is_disconnected_after_one_and_a_half_keep_alives() {
    let server = Server::start();
    // The first one is no whole number of seconds.
    for (keep_alive, expected) in [(1, 1.45..2.9), (2, 2.9..6.0)] {
        for version in BOTH {
            let mut client = server.client();
            client.send(&connect(version, "", Some("TOK"), None, keep_alive));
            assert_eq!(client.packet().1[1], 0);
            let silent_since = Instant::now();
            client.expect_close(version, 0x8D);
            let seconds = silent_since.elapsed().as_secs_f32();
            assert!(expected.contains(&seconds), "{seconds} s");
        }
    }
    assert_eq!(server.counters().sessions_silent, 4);
}

// 344
#[test]
fn a_device_without_a_keep_alive_is_disconnected_after_the_time_for_all() {
    let server = Server::start_as(1, 3);
    for version in BOTH {
        let mut client = server.client();
        client.send(&connect(version, "", Some("TOK"), None, 0));
        let (_, body) = client.packet();
        assert_eq!(body[1], 0);
        assert_eq!(version == Version::V5, body.windows(3).any(|part| part == [0x13, 0, 2]), "{body:02x?}");
        client.expect_alive();
        let silent_since = Instant::now();
        client.expect_close(version, 0x83);
        assert!(silent_since.elapsed().as_secs_f32() > 2.9, "not before its time");
    }
    assert_eq!(server.counters().sessions_silent, 2);
}

#[test]
fn the_newer_session_of_a_device_takes_over() {
    let server = Server::start();
    for version in BOTH {
        let mut first = server.connected(version, "TOK");
        let mut second = server.connected(version, "TOK");
        first.expect_close(version, 0x8E);
        second.expect_alive();
    }
    server.until("only the last one is left", |server| {
        let counters = server.counters();
        counters.sessions_begun - counters.sessions_ended <= 1
    });
}

#[test]
fn noise_and_half_packets_disturb_nobody() {
    let server = Server::start_with(1);
    let mut device = server.connected(Version::V5, "TOK");
    let mut seed = 0x2545_F491_4F6C_DD1D_u64;
    let mut noise = |length: usize| -> Vec<u8> {
        let next = |_| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 32) as u8
        };
        (0..length).map(next).collect()
    };
    let mut half = Vec::new();
    for round in 0..60_usize {
        let mut stranger = server.client();
        // A peer that was hung up on may find out while it writes.
        drop(std::io::Write::write(&mut stranger.stream, &noise(round * 7 + 1)));
        let mut slow = server.client();
        slow.send(&connect(Version::V5, "", Some("TOK2"), None, 60)[..round % 20]);
        half.push(slow);
        let mut known = server.connected(if round % 2 == 0 { Version::V3 } else { Version::V5 }, "TOK2");
        drop(std::io::Write::write(&mut known.stream, &noise(round * 11 + 1)));
        device.expect_alive();
    }
    let mut slow = server.connected(Version::V5, "TOK2");
    slow.send(&publish(Version::V5, "v2/t", 1, 1, b"{\"half\":1}")[..9]);
    device.send(&publish(Version::V5, "v2/t", 1, 1, b"{\"whole\":1}"));
    device.expect_ack(Version::V5, 1, 0);
}

#[test]
fn a_packet_may_come_byte_by_byte() {
    let server = Server::start();
    for version in BOTH {
        let mut client = server.client();
        for byte in connect(version, "", Some("TOK"), None, 60) {
            client.send(&[byte]);
        }
        assert_eq!(client.packet().1[1], 0);
        for byte in publish(version, "v2/t", 1, 1, b"{\"slow\":1}") {
            client.send(&[byte]);
            std::thread::yield_now();
        }
        client.expect_ack(version, 1, 0);
    }
}

#[test]
fn a_stopping_server_says_so() {
    let mut server = Server::start();
    let mut v5 = server.connected(Version::V5, "TOK");
    let mut v3 = server.connected(Version::V3, "TOK2");
    v5.send(&publish(Version::V5, "v2/t", 1, 1, b"{\"last\":1}"));
    v5.expect_ack(Version::V5, 1, 0);
    server.stop();
    v5.expect_close(Version::V5, 0x8B);
    v3.expect_end();
}

#[test]
fn a_device_that_disconnects_is_let_go() {
    let server = Server::start();
    for version in BOTH {
        let mut client = server.connected(version, "TOK");
        client.send(&[0xE0, 0]);
        client.expect_end();
    }
    server.until("all are gone", |server| {
        let counters = server.counters();
        counters.sessions_ended == 2 && counters.connections_ended == 2
    });
    assert!(!server.devices.is_connected(server.id("TOK")));
}

#[test]
fn a_device_whose_credentials_change_is_disconnected() {
    let server = Server::start();
    let mut client = server.connected(Version::V5, "TOK");
    let token = wireglot_device::CredentialsDraft::AccessToken("another".into());
    wait(server.devices.set_credentials(server.id("TOK"), token, None)).unwrap();
    client.expect_close(Version::V5, 0x98);
    let mut client = server.client();
    client.send(&connect(Version::V3, "", Some("TOK"), None, 60));
    client.expect(0x20, &[0, 5]);
}
