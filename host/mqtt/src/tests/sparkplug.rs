//! Edge nodes: what a gap in their numbers leads to, and what is asked of them without disturbing them.

use wireglot_model::profile::MqttTransport;
use wireglot_model::{CodecName, FailureStage, PayloadKind, Sparkplug, Value};

use super::harness::*;

const DEATH: &[u8] = b"\x12\x0b\x0a\x05bdSeq\x20\x08\x58\x01";
const REBIRTH: &str = "Node Control/Rebirth";
const INT32: u8 = 3;
const BOOLEAN: u8 = 11;

fn edge_profile(server: &Server) {
    let sparkplug = Sparkplug { is_on: true, ..Sparkplug::default() };
    wait(profile(&server.devices, "strict", MqttTransport { sparkplug, ..MqttTransport::json() }));
}

/// A node that is connected as the device `strict`.
struct Edge {
    client: Client,
    version: Version,
    id: u16,
}

impl Edge {
    fn new(server: &Server, version: Version) -> Self {
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
        body.extend(text("strict"));
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

fn varint(value: u16) -> Vec<u8> {
    let (low, high) = (u8::try_from(value & 0x7F).unwrap(), u8::try_from(value >> 7).unwrap());
    if high == 0 { vec![low] } else { vec![low | 0x80, high] }
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
        edge.is_asked();
        edge.taken();
        assert_eq!(server.counters().sparkplug_gaps, 2);
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
    let codec = CodecName::parse("not-there").unwrap();
    let payload = PayloadKind::Codec {
        codec,
        pin: None,
        settings: "{}".into(),
        isolate_messages: false,
        wrapping: None,
    };
    let sparkplug = Sparkplug { is_on: true, ..Sparkplug::default() };
    wait(profile(&server.devices, "strict", MqttTransport { sparkplug, payload, ..MqttTransport::json() }));
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
