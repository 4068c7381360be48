//! Group B: MQTT itself.

use serde_json::json;
use wireglot_load::wire::{self, Version, kind};

use super::case::{ATTRIBUTES, Case, Row, TELEMETRY, both, v3, v5};
use super::client::{Hello, Outcome, Will, publish_with};
use crate::harness::{Closed, eventually};

pub(super) const ROWS: &[Row] = &[
    both(43, "PINGREQ", |c| c.client().stays()),
    both(44, "CONNECT with keep alive 1, then silence", |c| {
        c.rest().create_device(&c.name(), None);
        let mut client = c.open();
        assert_eq!(client.hello(&Hello { keep_alive_s: 1, ..Hello::token(&c.name()) }), Some(0));
        assert_eq!(client.closed(), c.close(0x8d));
    }),
    both(45, "CONNECT and three publishes in one TCP write", |c| {
        let answers = pipelined(c, 3);
        assert_eq!(answers, 3);
        c.stored(json!({ "k1": 1, "k2": 2, "k3": 3 }));
    }),
    // The credentials are checked before the next packet is read, so there is no queue to overflow: nothing is lost.
    both(46, "CONNECT, and more than 100 publishes behind it", |c| {
        assert_eq!(pipelined(c, 150), 150);
        assert_eq!(c.latest().len(), 150);
    }),
    both(47, "clean session 0: no subscription survives the connection", |c| {
        c.rest().create_device(&c.name(), None);
        let name = c.name();
        let hello = Hello { is_clean: false, ..Hello::token(&name) };
        let mut client = c.open();
        assert_eq!(client.hello(&hello), Some(0));
        assert_eq!(client.subscribe("v1/devices/me/rpc/request/+"), 1);
        assert_eq!(client.subscribe(ATTRIBUTES), 1);
        client.send(&wire::disconnect());
        client.closed();
        let mut client = c.open();
        assert_eq!(client.hello(&hello), Some(0));
        c.share(json!({ "a": 1 }));
        client.hears_nothing();
        assert_eq!(client.subscribe(ATTRIBUTES), 1);
        c.share(json!({ "a": 2 }));
        assert_eq!(client.json_on(ATTRIBUTES), json!({ "a": 2 }));
    }),
    both(48, "QoS 2 telemetry", |c| {
        let mut client = c.client();
        client.send(&wire::publish(c.version, TELEMETRY, 2, 7, br#"{"q":2}"#));
        assert_eq!(client.expect(kind::PUBREC).reason(), 0);
        client.send(&wire::acknowledgement(0x62, 7));
        client.expect(kind::PUBCOMP);
        assert_eq!(c.points("q").len(), 1);
    }),
    both(49, "QoS 0 telemetry", |c| {
        let mut client = c.client();
        client.publish_qos0(TELEMETRY, r#"{"q":0}"#);
        client.hears_nothing();
        eventually("the value is stored", || (c.latest().get("q") == Some(&json!(0))).then_some(()));
    }),
    both(50, "subscribe at QoS 2", |c| {
        assert_eq!(c.client().subscribe_at(&[(ATTRIBUTES, 2)]), [1]);
    }),
    both(51, "a will, then a TCP reset", |c| {
        c.rest().create_device(&c.name(), None);
        let name = c.name();
        let will = Will { topic: TELEMETRY, payload: r#"{"will":1}"#, qos: 1, is_retained: false };
        let mut client = c.open();
        assert_eq!(client.hello(&Hello { will: Some(will), ..Hello::token(&name) }), Some(0));
        client.accepted(TELEMETRY, r#"{"alive":1}"#);
        client.cut();
        let mut again = c.connect(&name);
        again.accepted(TELEMETRY, r#"{"again":1}"#);
        c.stored(json!({ "alive": 1, "again": 1 }));
    }),
    both(52, "retained telemetry", |c| {
        let mut client = c.client();
        let mut bytes = wire::publish(c.version, TELEMETRY, 1, 7, br#"{"r":1}"#);
        bytes[0] |= 1;
        client.send(&bytes);
        assert_eq!(client.expect(kind::PUBACK).reason(), 0);
        c.stored(json!({ "r": 1 }));
        let mut again = c.connect(&c.name());
        assert_eq!(again.subscribe(ATTRIBUTES), 1);
        again.hears_nothing();
    }),
    both(53, "publish with a remaining length of 65536", |c| {
        let mut client = c.client();
        client.send(&sized(c, 65_536));
        assert_eq!(client.expect(kind::PUBACK).reason(), 0);
        assert!(c.latest().contains_key("k"));
    }),
    both(54, "publish with a remaining length of 65537", |c| {
        let mut client = c.client();
        client.send(&sized(c, 65_537));
        assert_eq!(client.closed(), c.close(0x81));
        assert!(c.latest().is_empty());
    }),
    both(55, "publish to `v1/devices/me/+`", |c| {
        assert_eq!(c.client().publish("v1/devices/me/+", "{}"), Outcome::Closed(c.close(0x81)));
    }),
    v5(56, "v5 publish with a topic alias and an empty topic", |c| {
        let mut client = c.client();
        client.send(&publish_with(0x02, "", 7, &[0x23, 0, 1], br#"{"a":1}"#));
        assert_eq!(client.expect(kind::PUBACK).reason(), 0x90);
        client.stays();
    }),
    v5(57, "v5 DISCONNECT from the client", |c| {
        let mut client = c.client();
        client.send(&wire::disconnect());
        let end = client.closed();
        assert!(matches!(end, Closed::Silently | Closed::With(0)), "{end:?}");
    }),
    both(58, "second CONNECT on one connection", |c| {
        let mut client = c.client();
        client.send(&Hello::token(&c.name()).encode(c.version));
        assert_eq!(client.closed(), c.close(0x82));
    }),
    v3(59, "65,536 attribute requests on one connection: no packet id is 0", no_packet_id_is_0),
    v5(60, "v5 Maximum Packet Size 99; a shared attribute of 198 characters", |c| {
        c.rest().create_device(&c.name(), None);
        let mut client = c.open();
        let properties = [0x27, 0, 0, 0, 99];
        assert_eq!(client.hello(&Hello { properties: &properties, ..Hello::token(&c.name()) }), Some(0));
        assert_eq!(client.subscribe(ATTRIBUTES), 1);
        c.share(json!({ "long": "x".repeat(198) }));
        client.hears_nothing();
        c.share(json!({ "short": 1 }));
        assert_eq!(client.json_on(ATTRIBUTES), json!({ "short": 1 }));
    }),
];

/// CONNECT with so many publishes behind it in one write; how many of them are acknowledged with success.
fn pipelined(c: &Case, count: u16) -> usize {
    c.rest().create_device(&c.name(), None);
    let mut bytes = Hello::token(&c.name()).encode(c.version);
    for number in 1..=count {
        let payload = format!(r#"{{"k{number}":{number}}}"#);
        bytes.extend(wire::publish(c.version, TELEMETRY, 1, number, payload.as_bytes()));
    }
    let mut client = c.open();
    client.send(&bytes);
    assert_eq!(client.expect(kind::CONNACK).body[1], 0);
    (0..count).map(|_| client.expect(kind::PUBACK)).filter(|packet| packet.reason() == 0).count()
}

/// A PUBLISH of telemetry whose remaining length is this.
fn sized(c: &Case, remaining: usize) -> Vec<u8> {
    let around = 2 + TELEMETRY.len() + 2 + usize::from(c.version == Version::V5);
    let value = "x".repeat(remaining - around - r#"{"k":""}"#.len());
    wire::publish(c.version, TELEMETRY, 1, 7, format!(r#"{{"k":"{value}"}}"#).as_bytes())
}

fn no_packet_id_is_0(c: &Case) {
    const TOGETHER: u32 = 64;
    let mut client = c.client();
    let mut answers = 0;
    let mut last = 0;
    while answers < 65_536 {
        let requests = (answers..answers + TOGETHER).flat_map(|number| {
            wire::publish(c.version, &format!("{ATTRIBUTES}/request/{number}"), 0, 0, b"{}")
        });
        let bytes: Vec<u8> = requests.collect();
        client.send(&bytes);
        for _ in 0..TOGETHER {
            let message = client.message();
            assert!(message.qos == 1 && message.packet_id != 0, "{message:?}");
            last = message.packet_id;
        }
        answers += TOGETHER;
    }
    assert!(last > 0);
}
