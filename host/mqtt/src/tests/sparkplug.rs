//! Edge nodes: what a gap in their numbers leads to, and what is asked of them without disturbing them.

use wireglot_device::{RpcCall, RpcDraft, now};
use wireglot_model::profile::MqttTransport;
use wireglot_model::{FailureStage, RpcStatus, Sample, Scope, Sparkplug, Timestamp, Value};

use super::harness::*;
use super::rpc::draft;

const DEATH: &[u8] = b"\x12\x0b\x0a\x05bdSeq\x20\x08\x58\x01";
const REBIRTH: &str = "Node Control/Rebirth";
const INT32: u8 = 3;
const BOOLEAN: u8 = 11;

fn edge_profile(server: &Server) {
    let sparkplug = Sparkplug { is_on: true, ..Sparkplug::default() };
    wait(profile(&server.devices, "strict", MqttTransport { sparkplug, ..MqttTransport::json() }));
}

/// With a codec that is not there.
fn coded_profile(server: &Server) {
    let payload = codec_not_there();
    let sparkplug = Sparkplug { is_on: true, ..Sparkplug::default() };
    wait(profile(&server.devices, "strict", MqttTransport { sparkplug, payload, ..MqttTransport::json() }));
}

/// A node that is connected as the device `strict`.
struct Edge {
    client: Client,
    version: Version,
    id: u16,
}

impl Edge {
    fn new(server: &Server, version: Version) -> Self {
        Self::of(server, version, "strict")
    }

    /// That was born at this time, with `D1` and `D2` behind it.
    fn with_two(server: &Server, at: i64) -> Self {
        let mut edge = Self::new(server, Version::V5);
        for kind in ["NBIRTH", "DBIRTH D1", "DBIRTH D2"] {
            edge.tell(kind, at, &birth());
        }
        edge
    }

    /// With the access token of this device.
    fn of(server: &Server, version: Version, token: &str) -> Self {
        let mut client = server.client();
        let mut body = text("MQTT");
        // Clean, with a will of QoS 1, and a user name.
        body.extend([if version == Version::V3 { 4 } else { 5 }, 0x8E, 0, 60]);
        let properties: &[u8] = if version == Version::V3 { &[] } else { &[5, 0x11, 0, 0, 0, 0] };
        body.extend(properties);
        body.extend(text("edge"));
        if version == Version::V5 {
            body.push(0);
        }
        body.extend(text("spBv1.0/G/NDEATH/N"));
        body.extend([0, u8::try_from(DEATH.len()).unwrap()]);
        body.extend(DEATH);
        body.extend(text(token));
        client.send(&packet(0x10, &body));
        let (kind, body) = client.packet();
        assert_eq!((kind, body[1]), (0x20, 0), "CONNACK: {body:02x?}");
        Self { client, version, id: 0 }
    }

    fn say(&mut self, kind: &str, seq: Option<u8>, metrics: &[Vec<u8>]) {
        self.id += 1;
        let mut payload = metrics.concat();
        payload.extend(seq.into_iter().flat_map(|seq| [vec![0x18], varint(seq.into())].concat()));
        let topic = format!("spBv1.0/G/{kind}/N");
        self.client.send(&publish(self.version, &topic, 1, self.id, &payload));
    }

    /// Says something without a number, at this time of its clock, and is acknowledged.
    #[track_caller]
    fn tell(&mut self, what: &str, at: i64, metrics: &[Vec<u8>]) {
        self.id += 1;
        let payload = [vec![0x08], varint(at.try_into().unwrap()), metrics.concat()].concat();
        let (kind, device) = what.split_once(' ').map_or((what, None), |(kind, device)| (kind, Some(device)));
        let device = device.map(|device| format!("/{device}")).unwrap_or_default();
        let topic = format!("spBv1.0/G/{kind}/N{device}");
        self.client.send(&publish(self.version, &topic, 1, self.id, &payload));
        self.taken();
    }

    #[track_caller]
    fn taken(&mut self) {
        self.client.expect_ack(self.version, self.id, 0);
    }

    /// It is asked to be born again.
    #[track_caller]
    fn is_asked(&mut self) {
        let (kind, body) = self.client.packet();
        let topic = text("spBv1.0/G/NCMD/N");
        assert_eq!((kind, &body[..topic.len()]), (0x32, &topic[..]), "{body:02x?}");
        assert!(body.windows(REBIRTH.len()).any(|part| part == REBIRTH.as_bytes()));
        assert_eq!(body[body.len() - 2..], [0x70, 1], "boolean_value is true");
    }
}

fn metric(name: &str, datatype: u8, value: &[u8]) -> Vec<u8> {
    let mut metric = vec![0x0A, u8::try_from(name.len()).unwrap()];
    metric.extend(name.as_bytes());
    metric.extend([0x20, datatype]);
    metric.extend(value);
    [vec![0x12, u8::try_from(metric.len()).unwrap()], metric].concat()
}

fn varint(value: u64) -> Vec<u8> {
    let low = u8::try_from(value & 0x7F).unwrap();
    if value >> 7 == 0 { vec![low] } else { [vec![low | 0x80], varint(value >> 7)].concat() }
}

#[track_caller]
fn is_said(server: &Server, device: &str, state: &str) {
    let what = format!("{device} is {state}");
    server.until(&what, |server| {
        let known = server.devices.device_by_name(device).is_some();
        known && server.latest(device, "sparkplugConnectionState") == Some(Value::Text(state.into()))
    });
}

/// An hour ahead of the server's clock.
fn ahead() -> i64 {
    now().0 + 3_600_000
}

fn birth() -> [Vec<u8>; 2] {
    [metric(REBIRTH, BOOLEAN, &[0x70, 0]), metric("x", INT32, &[0x50, 1])]
}

#[test]
fn a_gap_is_counted_and_the_births_are_asked_for_once() {
    for version in BOTH {
        let server = Server::start();
        edge_profile(&server);
        let mut edge = Edge::new(&server, version);
        for (kind, seq) in [("NBIRTH", 255), ("NDATA", 0), ("NDATA", 1)] {
            edge.say(kind, Some(seq), &birth());
            edge.taken();
        }
        edge.say("NDATA", Some(3), &[metric("x", INT32, &[0x50, 3])]);
        edge.is_asked();
        edge.taken();
        assert_eq!(server.latest("strict", "x"), Some(Value::Long(3)), "what came is kept");
        edge.say("NDATA", Some(9), &birth());
        edge.taken();
        edge.client.expect_alive();
        assert_eq!(server.counters().sparkplug_gaps, 1, "once per birth");
        edge.say("NBIRTH", Some(0), &birth());
        edge.taken();
        edge.say("NDATA", Some(5), &birth());
        edge.taken();
        edge.client.expect_alive();
        assert_eq!(server.counters().sparkplug_gaps, 2, "but not asked for again so soon");
    }
}

#[test]
fn a_node_that_does_not_count_or_cannot_be_born_again_is_left_alone() {
    let server = Server::start();
    edge_profile(&server);
    let mut edge = Edge::new(&server, Version::V5);
    for seq in [None, Some(0)] {
        for kind in ["NBIRTH", "NDATA", "NDATA"] {
            edge.say(kind, seq, &birth());
            edge.taken();
        }
    }
    edge.client.expect_alive();
    assert_eq!(server.counters().sparkplug_gaps, 0);
    // It counts, but nobody can ask it.
    for (kind, seq) in [("NBIRTH", 0), ("NDATA", 1), ("NDATA", 3)] {
        edge.say(kind, Some(seq), &[metric("x", INT32, &[0x50, 1])]);
        edge.taken();
    }
    edge.client.expect_alive();
    assert_eq!(server.counters().sparkplug_gaps, 1);
}

#[test]
fn a_node_speaks_for_itself_alone() {
    let server = Server::start();
    edge_profile(&server);
    let mut edge = Edge::new(&server, Version::V5);
    for (topic, reason) in [
        ("spBv1.0/G/NDATA/M", 0x99),
        ("spBv1.0/H/NDATA/N", 0x99),
        ("spBv1.0/G/NDATA", 0x99),
        ("spBv1.0/STATE/host", 0),
        ("v1/gateway/connect", 0x90),
        ("v1/devices/me/rpc/request/1", 0x90),
    ] {
        edge.id += 1;
        edge.client.send(&publish(Version::V5, topic, 1, edge.id, b""));
        edge.client.expect_ack(Version::V5, edge.id, reason);
    }
    assert_eq!(server.dead_letters().len(), 3);
    assert!(server.dead_letters().iter().any(|letter| letter.reason.contains("cannot speak for 'M' in 'G'")));
}

#[test]
fn a_birth_counts_whatever_the_codec_says_of_it() {
    let server = Server::start();
    coded_profile(&server);
    let mut edge = Edge::new(&server, Version::V5);
    edge.say("NBIRTH", Some(0), &birth());
    edge.taken();
    assert_eq!(server.latest("strict", "sparkplugConnectionState"), Some(Value::Text("ONLINE".into())));
    assert_eq!(server.latest("strict", "x"), None);
    let letters = server.dead_letters();
    let [letter] = letters.as_slice() else { panic!("one dead letter: {letters:?}") };
    assert_eq!(letter.stage, FailureStage::NoCodec);
    let frame = String::from_utf8(letter.payload.clone()).unwrap();
    let expected = r#"{"type":"NBIRTH","group":"G","node":"N","device":null,"timestamp":null,"seq":0,"metrics":[{"name":"Node Control/Rebirth","type":"Boolean","timestamp":null,"value":false},{"name":"x","type":"Int32","timestamp":null,"value":1}]}"#;
    assert_eq!(frame, expected);
    server.write_shared("strict", "x", 7);
    let (kind, body) = edge.client.packet();
    assert_eq!((kind, &body[body.len() - 2..]), (0x32, &[0x50, 7][..]), "the birth is known: {body:02x?}");
}

#[test]
fn whatever_its_clock_shows_a_node_that_is_gone_is_offline() {
    let server = Server::start();
    edge_profile(&server);
    let at = ahead();
    let mut edge = Edge::with_two(&server, at);
    edge.tell("DDEATH D2", 1, &[]);
    is_said(&server, "G:N:D2", "OFFLINE");
    is_said(&server, "G:N:D1", "ONLINE");
    drop(edge);
    is_said(&server, "strict", "OFFLINE");
    is_said(&server, "G:N:D1", "OFFLINE");
}

#[test]
fn what_a_successor_does_not_bear_is_offline() {
    let server = Server::start();
    edge_profile(&server);
    let at = ahead();
    let _edge = Edge::with_two(&server, at);
    let mut successor = Edge::new(&server, Version::V5);
    successor.tell("NBIRTH", at + 1_000, &birth());
    successor.tell("DBIRTH D1", at + 1_000, &birth());
    is_said(&server, "G:N:D2", "OFFLINE");
    is_said(&server, "G:N:D1", "ONLINE");
    is_said(&server, "strict", "ONLINE");
    // One that says nothing has not taken anything over.
    let _silent = Edge::new(&server, Version::V5);
    is_said(&server, "G:N:D1", "OFFLINE");
    is_said(&server, "strict", "OFFLINE");
}

#[test]
fn a_device_that_another_connection_has_now_stays_online() {
    let server = Server::start();
    edge_profile(&server);
    let at = now().0;
    let edge = Edge::with_two(&server, at);
    let mut other = Edge::of(&server, Version::V5, "strict-gateway");
    other.tell("NBIRTH", at, &birth());
    other.tell("DBIRTH D1", at, &birth());
    drop(edge);
    is_said(&server, "strict", "OFFLINE");
    is_said(&server, "G:N:D2", "OFFLINE");
    is_said(&server, "G:N:D1", "ONLINE");
}

#[test]
fn a_device_that_is_made_again_is_the_one_that_goes_offline() {
    let server = Server::start();
    edge_profile(&server);
    let mut edge = Edge::new(&server, Version::V5);
    edge.tell("NBIRTH", now().0, &birth());
    edge.tell("DBIRTH D", now().0, &birth());
    let before = server.id("G:N:D");
    wait(server.devices.delete_device(before, now())).unwrap();
    edge.tell("DBIRTH D", now().0, &birth());
    assert_ne!(server.id("G:N:D"), before);
    is_said(&server, "G:N:D", "ONLINE");
    drop(edge);
    is_said(&server, "G:N:D", "OFFLINE");
}

#[test]
fn what_is_not_born_again_with_its_node_is_offline() {
    let server = Server::start();
    edge_profile(&server);
    let at = ahead();
    let mut edge = Edge::with_two(&server, at);
    edge.tell("NBIRTH", at + 1_000, &birth());
    edge.tell("DBIRTH D1", at + 1_000, &birth());
    is_said(&server, "G:N:D2", "OFFLINE");
    is_said(&server, "G:N:D1", "ONLINE");
    is_said(&server, "strict", "ONLINE");
    edge.tell("DBIRTH D2", at + 2_000, &birth());
    is_said(&server, "G:N:D2", "ONLINE");
}

#[test]
fn an_rpc_waits_for_the_birth_of_its_device() {
    let server = Server::start();
    edge_profile(&server);
    let mut edge = Edge::new(&server, Version::V5);
    edge.tell("NBIRTH", now().0, &birth());
    edge.tell("DDATA D", now().0, &[metric("x", INT32, &[0x50, 3])]);
    assert_eq!(server.latest("G:N:D", "x"), Some(Value::Long(3)), "data alone makes the device");
    let params = r#"{"metricName":"x","value":7}"#;
    let draft = RpcDraft { method: "DCMD".into(), is_persistent: true, ..draft(false, params) };
    let call = wait(server.devices.call(server.id("G:N:D"), draft, now())).unwrap();
    let RpcCall::Kept(rpc) = call else { panic!("{call:?}") };
    edge.tell("DDATA D", now().0, &[metric("x", INT32, &[0x50, 4])]);
    edge.client.expect_alive();
    assert_eq!(server.devices.rpc(rpc).unwrap().status, RpcStatus::Queued);
    edge.id += 1;
    let birth = metric("x", INT32, &[0x50, 4]);
    edge.client.send(&publish(Version::V5, "spBv1.0/G/DBIRTH/N/D", 1, edge.id, &birth));
    let (first, second) = (edge.client.packet(), edge.client.packet());
    let (_, command) = if first.0 == 0x32 { first } else { second };
    assert_eq!(command[command.len() - 2..], [0x50, 7], "{command:02x?}");
    server
        .until("the RPC is over", |server| server.devices.rpc(rpc).unwrap().status == RpcStatus::Successful);
}

#[test]
fn one_write_of_attributes_is_one_command() {
    let server = Server::start();
    edge_profile(&server);
    let mut edge = Edge::new(&server, Version::V5);
    let names: Vec<String> = (0..300).map(|index| format!("m{index}")).collect();
    let metrics: Vec<Vec<u8>> = names.iter().map(|name| metric(name, INT32, &[0x50, 1])).collect();
    edge.tell("NBIRTH", now().0, &metrics);
    let samples = names.iter().map(|name| Sample { key: name.clone(), value: Value::Long(2) }).collect();
    wait(server.devices.write_attributes(server.id("strict"), Scope::Shared, samples, Timestamp(1))).unwrap();
    let (kind, body) = edge.client.packet();
    assert_eq!(kind, 0x32);
    let is_in = |name: &String| body.windows(name.len()).any(|part| part == name.as_bytes());
    assert!(names.iter().all(is_in), "all of them are in it");
    edge.client.expect_alive();
}

#[test]
fn the_death_of_a_device_that_nobody_knows_leaves_nothing() {
    let server = Server::start();
    edge_profile(&server);
    let mut edge = Edge::new(&server, Version::V5);
    edge.tell("NBIRTH", now().0, &birth());
    edge.tell("DDEATH D", now().0, &[]);
    assert!(server.devices.device_by_name("G:N:D").is_none());
    edge.client.expect_alive();
}

/// An Int32 with a name of this many characters, and the alias 1.
fn aliased(chars: u8) -> Vec<u8> {
    let name = "n".repeat(chars.into());
    let metric = [&[0x0A, chars], name.as_bytes(), &[0x10, 1, 0x20, 3, 0x50, 1]].concat();
    [&[0x12, u8::try_from(metric.len()).unwrap()], &*metric].concat()
}

#[test]
fn a_payload_does_not_become_many_times_as_long() {
    let server = Server::start();
    edge_profile(&server);
    let mut edge = Edge::new(&server, Version::V5);
    edge.tell("NBIRTH", now().0, &[aliased(100)]);
    let data = |count: usize| [0x12, 4, 0x10, 1, 0x50, 2].repeat(count);
    edge.tell("NDATA", now().0, &[data(100)]);
    edge.id += 1;
    edge.client.send(&publish(Version::V5, "spBv1.0/G/NDATA/N", 1, edge.id, &data(10_600)));
    edge.client.expect_ack(Version::V5, edge.id, 0x99);
    let letters = server.dead_letters();
    assert!(letters[0].reason.contains("the names and values become more than"), "{}", letters[0].reason);
    // Neither do its warnings: as many metrics of no known type.
    let unknown = [&[0x12, 4, 0x10, 1, 0x20, 20][..], &[0x12, 2, 0x10, 1]].concat().repeat(1_000);
    edge.tell("NDATA", now().0, &[unknown]);
}

#[test]
fn what_a_codec_gets_is_bounded() {
    let server = Server::start();
    coded_profile(&server);
    let mut edge = Edge::new(&server, Version::V5);
    edge.tell("NBIRTH", now().0, &[aliased(90)]);
    edge.id += 1;
    let data = [0x12, 4, 0x10, 1, 0x50, 2].repeat(10_600);
    edge.client.send(&publish(Version::V5, "spBv1.0/G/NDATA/N", 1, edge.id, &data));
    edge.client.expect_ack(Version::V5, edge.id, 0x99);
    let letters = server.dead_letters();
    let is_told = |reason: &str| reason.contains("bytes of JSON for the codec");
    assert!(letters.iter().any(|letter| is_told(&letter.reason) && letter.payload == data));
}
