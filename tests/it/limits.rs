//! Bad input and too much of anything: what crosses a bound is refused, and nobody else notices.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;
use wireglot_load::wire::{self, Connect, Version};

use crate::harness::{Closed, Device, Server, TIMEOUT, pause};

const TOPIC: &str = "v1/devices/me/telemetry";
/// The largest remaining length of a packet, `PACKET_BYTES_MAX` of the server.
const PACKET_BYTES_MAX: usize = 65_536;
/// How long a well-behaved device waits at most while others misbehave. A disturbed worker would take far longer.
const PATIENCE: Duration = Duration::from_secs(2);

#[test]
fn everything_is_bounded() {
    let server = Server::spawn();
    let mut device = server.device("thermo");
    packets_end_at_their_bound(&server, &mut device);
    json_ends_at_its_bounds(&server);
    filters_end_at_their_bound(&server);
    rest_bodies_end_at_their_bound(&server);
    device.telemetry(r#"{"after":1}"#);
    assert_eq!(server.rest().latest("thermo")["after"], 1);
}

/// A payload that makes the whole PUBLISH (QoS 1, MQTT 3.1.1) have this remaining length.
fn payload_for(remaining: usize) -> String {
    let text = remaining - (2 + TOPIC.len() + 2) - r#"{"k":""}"#.len();
    format!(r#"{{"k":"{}"}}"#, "x".repeat(text))
}

fn packets_end_at_their_bound(server: &Server, device: &mut Device) {
    device.telemetry(payload_for(PACKET_BYTES_MAX));
    server.rest().create_device("greedy", None);
    let mut greedy = server.connect("greedy");
    let payload = payload_for(PACKET_BYTES_MAX + 1);
    greedy.send(&wire::publish(Version::V3, TOPIC, 1, 1, payload.as_bytes()));
    assert_eq!(greedy.closed(), Closed::Silently);
    let mut greedy = Device::connect(server.mqtt(), Version::V5, "greedy");
    // The length alone is enough: nobody waits for four gigabytes to come.
    greedy.send(&[0x32, 0xff, 0xff, 0xff, 0x7f]);
    assert!(matches!(greedy.closed(), Closed::With(0x81 | 0x95)), "MQTT 5 tells why");
}

fn json_ends_at_its_bounds(server: &Server) {
    server.rest().create_device("deep", None);
    let mut device = Device::connect(server.mqtt(), Version::V5, "deep");
    let nested = |depth: usize| format!("{}{}{}", r#"{"a":"#.repeat(depth), 1, "}".repeat(depth));
    for (payload, reason) in [
        (nested(200), 0),
        (nested(300), 0x99),
        (format!(r#"{{"{}":1}}"#, "k".repeat(255)), 0),
        (format!(r#"{{"{}":1}}"#, "k".repeat(256)), 0), // Taken, and the one key is left out.
        ("[".repeat(60_000), 0x99),
        (r#"{"a":1e999999999}"#.to_owned(), 0x99),
    ] {
        let start: String = payload.chars().take(40).collect();
        assert_eq!(device.publish_qos1(TOPIC, &payload), reason, "{start}…");
    }
    // Any key is taken, as the device API says, but one that is too long is not kept.
    let mut device = server.device("wordy");
    device.telemetry(format!(r#"{{"{}":1}}"#, "k".repeat(255)));
    device.telemetry(format!(r#"{{"{}":1}}"#, "k".repeat(256)));
    assert_eq!(server.rest().latest("wordy").len(), 1);
}

fn filters_end_at_their_bound(server: &Server) {
    let mut curious = server.device("curious");
    let codes = curious.subscribe_all(&["v2/a"; 64]);
    assert_eq!(codes, [1; 64]);
    let codes = curious.subscribe_all(&["v2/a"; 65]);
    assert_eq!(codes.last(), Some(&0x80), "65 filters in one SUBSCRIBE");
    server.rest().create_device("curious-5", None);
    let mut curious = Device::connect(server.mqtt(), Version::V5, "curious-5");
    assert_eq!(curious.subscribe_all(&["v2/a"; 65]).last(), Some(&0x97));
}

fn rest_bodies_end_at_their_bound(server: &Server) {
    let body = json!({ "name": "x".repeat(2 * 1024 * 1024) });
    assert_eq!(server.rest().post("/api/device", &body).expect_err("two megabytes").status, 413);
}

#[test]
fn a_device_that_sends_ahead_is_slowed_down_and_not_cut_off() {
    let server = Server::spawn();
    let mut device = server.device("hasty");
    let mut bytes = Vec::new();
    for number in 1..=1_000_u16 {
        bytes.extend(wire::publish(Version::V3, TOPIC, 1, number, format!(r#"{{"n":{number}}}"#).as_bytes()));
    }
    device.send(&bytes);
    assert_eq!(device.answers(&[wire::kind::PUBACK; 1_000]), [0; 1_000]);
    assert_eq!(server.rest().latest("hasty")["n"], 1_000);
    assert_eq!(server.rest().messages("hasty").len(), 1_000);
}

#[test]
fn random_bytes_disturb_nobody() {
    let server = Server::spawn();
    let mut device = server.device("thermo");
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    for round in 0..300 {
        let mut stream = TcpStream::connect(server.mqtt()).expect("the server listens");
        let mut bytes = noise.bytes(1 + round * 7);
        if round % 3 == 0 {
            // The beginning of a session is right, so that the noise meets the packet reader behind it.
            let claim =
                Connect { client_id: "n", user_name: Some("thermo-2"), password: None, keep_alive_s: 1 };
            let mut connect = wire::connect(Version::V5, &claim);
            connect.append(&mut bytes);
            bytes = connect;
        }
        // The server may hang up before it has read all.
        stream.write_all(&bytes).ok();
        if round % 10 == 0 {
            publish_in_time(&mut device);
        }
    }
    publish_in_time(&mut device);
}

#[test]
fn noise_after_a_login_ends_only_that_session() {
    let server = Server::spawn();
    let mut device = server.device("thermo");
    server.rest().create_device("noisy", None);
    let mut noise = Noise(42);
    for round in 0..100 {
        let version = if round % 2 == 0 { Version::V3 } else { Version::V5 };
        let mut noisy = Device::connect(server.mqtt(), version, "noisy");
        noisy.send(&noise.bytes(400));
        if round % 10 == 0 {
            publish_in_time(&mut device);
        }
    }
    let mut noisy = server.connect("noisy");
    noisy.telemetry(r#"{"calm":true}"#);
    publish_in_time(&mut device);
}

#[test]
fn slow_half_packets_disturb_nobody_and_end() {
    let server = Server::spawn();
    let mut device = server.device("thermo");
    let claim = Connect { client_id: "slow", user_name: Some("thermo"), password: None, keep_alive_s: 60 };
    let connect = wire::connect(Version::V3, &claim);
    let half = &connect[..connect.len() / 2];
    let mut slow: Vec<TcpStream> =
        (0..200).map(|_| TcpStream::connect(server.mqtt()).expect("the server listens")).collect();
    for byte in half.chunks(1) {
        for stream in &mut slow {
            stream.write_all(byte).expect("the server is still patient");
        }
        publish_in_time(&mut device);
    }
    // The server's patience with a CONNECT is ten seconds.
    let start = Instant::now();
    for stream in &mut slow {
        stream.set_read_timeout(Some(TIMEOUT)).expect("an open socket");
        let mut rest = Vec::new();
        let end = stream.read_to_end(&mut rest);
        assert!(end.is_ok() || start.elapsed() < TIMEOUT, "a half CONNECT was never given up: {end:?}");
    }
    publish_in_time(&mut device);
}

#[test]
fn a_reader_that_never_reads_is_given_up_before_it_fills_the_memory() {
    let server = Server::spawn();
    let mut device = server.device("thermo");
    server.rest().create_device("deaf", None);
    let mut deaf = server.connect("deaf");
    let wanted = wire::publish(Version::V3, "v1/devices/me/attributes/request/1", 1, 1, b"{}");
    let before = wireglot_load::account::memory_kib(server.pid()).expect("the server runs");
    deaf.flood(&wanted, 100_000);
    publish_in_time(&mut device);
    let after = wireglot_load::account::memory_kib(server.pid()).expect("the server runs");
    assert!(after < before + 64 * 1024, "from {before} to {after} KiB for one connection");
}

#[track_caller]
fn publish_in_time(device: &mut Device) {
    let start = Instant::now();
    device.telemetry(r#"{"alive":true}"#);
    assert!(start.elapsed() < PATIENCE, "a good device waited for {:?}", start.elapsed());
    pause(Duration::from_millis(1));
}

/// Bytes that look random and are the same in every run.
struct Noise(u64);

impl Noise {
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut next = || {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0.to_le_bytes()[0]
        };
        (0..count).map(|_| next()).collect()
    }
}
