//! Group V: Sparkplug.

use serde_json::{Value, json};

use super::case::{Case, Row, both, same};
use super::client::{Client, Hello, Message, Will};
use super::l_rpc::{answer, call};
use super::proto::{all, double, int, message, number, string, text};
use crate::harness::{Closed, eventually};
use wireglot_load::wire::Version;

/// The payload of a will: `bdSeq`, UInt64, 1.
const DEATH: &str = "\x12\x0b\x0a\x05bdSeq\x20\x08\x58\x01";
/// Session Expiry Interval 0.
const EXPIRY: &[u8] = &[0x11, 0, 0, 0, 0];
const NODE: &str = "N";
const STATE: &str = "sparkplugConnectionState";

const INT8: i64 = 1;
const INT32: i64 = 3;
const UINT64: i64 = 8;
const FLOAT: i64 = 9;
const DOUBLE: i64 = 10;
const BOOLEAN: i64 = 11;
const STRING: i64 = 12;
const BYTES: i64 = 17;

pub(super) const ROWS: &[Row] = &[
    both(389, "sparkplug profile, CONNECT without will", |c| {
        c.device_with(&c.name(), json!({ "sparkplug": true }));
        assert_eq!(c.code(&Hello::token(&c.name())), refused(c));
    }),
    both(390, "CONNECT with will `spBv1.0/G/NDEATH/N` q1 bdSeq 1, clean, v5 expiry 0", |c| {
        let mut edge = Edge::new(c);
        edge.client.stays();
        assert_eq!(edge.client.subscribe(&format!("spBv1.0/{}/NCMD/{NODE}/#", c.name())), 1);
        assert_eq!(edge.client.subscribe("spBv1.0/STATE/+"), 1);
        assert!(edge.client.subscribe("v1/devices/me/attributes") >= 0x80);
        assert_eq!(edge.client.publish("v1/devices/me/telemetry", "{}"), c.reason(0x90));
        eventually("the number of the will is kept", || (c.latest().get("NDEATH bdSeq")? == 1).then_some(()));
    }),
    both(391, "will QoS 0, or retain, or expiry missing in v5", |c| {
        c.device_with(&c.name(), json!({ "sparkplug": true }));
        let topic = format!("spBv1.0/{}/NDEATH/{NODE}", c.name());
        let (name, good) = (c.name(), Will { topic: &topic, payload: DEATH, qos: 1, is_retained: false });
        let hello = Hello { will: Some(good), properties: EXPIRY, ..Hello::token(&name) };
        assert_eq!(c.code(&Hello { will: Some(Will { qos: 0, ..good }), ..hello }), refused(c));
        assert_eq!(c.code(&Hello { will: Some(Will { is_retained: true, ..good }), ..hello }), refused(c));
        assert_eq!(c.code(&Hello { will: Some(Will { payload: "", ..good }), ..hello }), refused(c));
        assert_eq!(c.code(&Hello { is_clean: false, ..hello }), refused(c));
        if c.version == Version::V5 {
            assert_eq!(c.code(&Hello { properties: &[], ..hello }), refused(c));
        }
        assert_eq!(c.code(&hello), Some(0));
    }),
    both(392, "NBIRTH with bdSeq and metrics", |c| {
        let mut edge = Edge::new(c);
        edge.node("NBIRTH", &[bd_seq(1), metric("Node Control/Rebirth", BOOLEAN, &int(14, 0))]);
        let latest = c.latest();
        assert_eq!((&latest[STATE], &latest["NBIRTH bdSeq"]), (&json!("ONLINE"), &json!(1)));
        assert_eq!(latest["Node Control/Rebirth"], false);
        // Born again with other aliases, in the same connection.
        for _ in 0..2 {
            let x = [text(1, "x"), int(2, 1), int(4, INT32), int(10, 5)].concat();
            edge.node("NBIRTH", &[bd_seq(1), message(2, &x)]);
        }
        edge.node("NDATA", &[message(2, &[int(2, 1), int(10, 6)].concat())]);
        assert_eq!(c.latest()["x"], 6);
        let (topic, unknown) = (edge.topic("NDATA", None), message(2, &[int(2, 99), int(10, 6)].concat()));
        c.invalid(&mut edge.client, &topic, unknown);
    }),
    both(393, "DBIRTH for devices D1…D3", |c| {
        let mut edge = Edge::new(c);
        edge.node("NBIRTH", &[bd_seq(1)]);
        for device in ["D1", "D2", "D3"] {
            edge.device("DBIRTH", device, &[metric("t", INT32, &int(10, 1))]);
            let name = edge.name(device);
            let latest = c.rest().latest(&name);
            assert_eq!((&latest[STATE], &latest["t"]), (&json!("ONLINE"), &json!(1)));
            let made = c.rest().get(&format!("/api/device/{}", c.rest().device_id(&name))).expect("a device");
            assert_eq!(
                (&made["type"], &made["label"]),
                (&json!(format!("{} device", c.name())), &json!(device))
            );
        }
    }),
    both(394, "NDATA Int32 4, Float 1.5, Boolean, String", |c| {
        let mut edge = Edge::new(c);
        edge.node("NBIRTH", &[bd_seq(1)]);
        let timed = |name: &str, ts: i64, datatype: i64, value: &[u8]| {
            message(2, &[text(1, name), int(3, ts), int(4, datatype), value.to_vec()].concat())
        };
        let metrics = [
            timed("i", 1_700_000_000_001, INT32, &int(10, 4)),
            timed("f", 1_700_000_000_002, FLOAT, &float(12, 1.5)),
            timed("b", 1_700_000_000_002, BOOLEAN, &int(14, 1)),
            timed("s", 1_700_000_000_003, STRING, &text(15, "text")),
            metric("bytes", BYTES, &message(16, &[1, 0xFF])),
        ];
        edge.node("NDATA", &metrics);
        for (key, ts, value) in [
            ("i", 1_700_000_000_001, json!(4)),
            ("f", 1_700_000_000_002, json!(1.5)),
            ("b", 1_700_000_000_002, json!(true)),
            ("s", 1_700_000_000_003, json!("text")),
        ] {
            let points = c.points(key);
            assert!(
                matches!(&*points, [(at, found)] if *at == ts && same(found, &value)),
                "{key}: {points:?}"
            );
        }
        assert_eq!(c.latest()["bytes"], json!([1, -1]));
    }),
    both(395, "DDEATH", |c| {
        let mut edge = Edge::new(c);
        edge.node("NBIRTH", &[bd_seq(1)]);
        // By the short name, and by the whole one.
        for (device, named) in [("D1", "D1".to_owned()), ("D2", edge.name("D2"))] {
            edge.device("DBIRTH", device, &[metric("t", INT32, &int(10, 1))]);
            edge.device("DDEATH", &named, &[]);
            assert_eq!(c.rest().latest(&edge.name(device))[STATE], "OFFLINE");
        }
        assert_eq!(c.latest()[STATE], "ONLINE");
    }),
    both(396, "node disconnects", |c| {
        let mut edge = Edge::new(c);
        edge.node("NBIRTH", &[bd_seq(1)]);
        edge.device("DBIRTH", "D1", &[metric("t", INT32, &int(10, 1))]);
        let (name, device) = (c.name(), edge.name("D1"));
        edge.client.cut();
        are_offline(c, &name, &device);

        let mut edge = Edge::connect(c);
        edge.node("NBIRTH", &[bd_seq(1)]);
        edge.device("DBIRTH", "D1", &[metric("t", INT32, &int(10, 1))]);
        assert_eq!(c.rest().latest(&device)[STATE], "ONLINE");
        let death = edge.topic("NDEATH", None);
        c.invalid(&mut edge.client, &death, bd_seq(7));
        edge.client.accepted(&death, bd_seq(1));
        assert_eq!(edge.client.closed(), Closed::Silently);
        are_offline(c, &name, &device);
    }),
    both(397, "shared attribute of a birth metric", |c| {
        let mut edge = Edge::new(c);
        let by_alias = message(2, &[text(1, "a"), int(2, 7), int(4, INT8), int(10, 0)].concat());
        edge.node("NBIRTH", &[bd_seq(1), metric("x", INT32, &int(10, 1)), by_alias]);
        edge.device("DBIRTH", "D1", &[metric("on", BOOLEAN, &int(14, 0))]);

        c.share(json!({ "x": 5, "other": 1 }));
        let set = edge.commanded("NCMD", None);
        assert_eq!(
            (string(&set, 1).as_deref(), number(&set, 4), number(&set, 10)),
            (Some("x"), Some(INT32), Some(5))
        );
        c.share(json!({ "a": -5 }));
        let set = edge.commanded("NCMD", None);
        assert_eq!((string(&set, 1), number(&set, 2), number(&set, 4)), (None, Some(7), Some(INT8)));
        assert_eq!(number(&set, 10), Some(0xFB), "a small negative integer, which was lost once");
        c.share(json!({ "NCMD": { "x": true } }));
        let set = edge.commanded("NCMD", None);
        assert_eq!((string(&set, 1).as_deref(), number(&set, 10)), (Some("x"), Some(1)));
        c.rest().write_attributes(&edge.name("D1"), "SHARED_SCOPE", &json!({ "on": "true" }));
        let set = edge.commanded("DCMD", Some("D1"));
        assert_eq!((string(&set, 1).as_deref(), number(&set, 14)), (Some("on"), Some(1)));
        edge.client.hears_nothing();
    }),
    both(398, r#"RPC NCMD `{"metricName":"…","value":…}` known / unknown metric"#, |c| {
        let mut edge = Edge::new(c);
        edge.node("NBIRTH", &[bd_seq(1), metric("x", INT32, &int(10, 1))]);
        edge.device("DBIRTH", "D1", &[metric("on", BOOLEAN, &int(14, 0))]);
        let body = |method: &str, metric: &str, value: Value| json!({ "method": method, "params": { "metricName": metric, "value": value }, "timeout": 20_000 });
        let ask = |body: Value| answer(call(c, "twoway", body)).expect("an answer");

        let known = call(c, "twoway", body("NCMD", "x", json!(-2)));
        assert_eq!(number(&edge.commanded("NCMD", None), 10), Some(0xFFFF_FFFE));
        assert_eq!(answer(known).expect("200"), json!({ "result": "Success: NCMD" }));
        let unknown = ask(body("NCMD", "y", json!(1)));
        assert_eq!(unknown["result"], "BAD_REQUEST_PARAMS");
        let error = unknown["error"].as_str().expect("a text");
        assert!(error.ends_with("does not have a metricName: [y]"), "{error}");
        assert_eq!(ask(body("NCMD", "x", json!("much")))["result"], "BAD_REQUEST_PARAMS");
        let method = ask(body("setGpio", "x", json!(1)));
        assert_eq!(method["result"], "INVALID_ARGUMENTS");
        let error = method["error"].as_str().expect("a text");
        assert!(error.starts_with("Failed to convert device RPC command to MQTT msg: "), "{error}");

        let path = format!("/api/rpc/twoway/{}", c.rest().device_id(&edge.name("D1")));
        let known = c.post_meanwhile(path.clone(), body("DCMD", "on", json!(1)));
        assert_eq!(number(&edge.commanded("DCMD", Some("D1")), 14), Some(1));
        assert_eq!(answer(known).expect("200"), json!({ "result": "Success: DCMD" }));
        let method = answer(c.post_meanwhile(path, body("NCMD", "on", json!(1)))).expect("200");
        assert_eq!(method["result"], "BAD_REQUEST_PARAMS");
        edge.client.hears_nothing();
        persistent(c, &mut edge, body("NCMD", "x", json!(3)));
    }),
    both(399, "metric in sparkplugAttributesMetricNames", |c| {
        let names = json!({ "sparkplugAttributesMetricNames": ["Properties/*", "mode"] });
        let mut edge = Edge::with(c, names);
        edge.node("NBIRTH", &[bd_seq(1), metric("Properties/hw", STRING, &text(15, "v1"))]);
        edge.device("DBIRTH", "D1", &[metric("mode", INT32, &int(10, 3)), metric("t", INT32, &int(10, 4))]);
        c.attributes("SHARED_SCOPE", json!({ "Properties/hw": "v1" }));
        assert!(!c.latest().contains_key("Properties/hw"));
        let device = edge.name("D1");
        assert_eq!(Value::Object(c.rest().attributes(&device, "SHARED_SCOPE")), json!({ "mode": 3 }));
        let latest = c.rest().latest(&device);
        assert!(!latest.contains_key("mode") && latest["t"] == 4, "{latest:?}");
        // What the node says itself is not told back to it, and writing it from here is.
        edge.client.hears_nothing();
        c.share(json!({ "Properties/hw": "v2" }));
        assert_eq!(string(&edge.commanded("NCMD", None), 15).as_deref(), Some("v2"));
    }),
    both(400, "Double 3.7", |c| {
        let mut edge = Edge::new(c);
        edge.node("NBIRTH", &[bd_seq(1), metric("d", DOUBLE, &double(13, 3.7))]);
        assert!(same(&c.latest()["d"], &json!(3.7)));
    }),
];

/// An edge node.
struct Edge {
    client: Client,
    group: String,
    seq: i64,
}

impl Edge {
    #[track_caller]
    fn new(c: &Case) -> Self {
        Self::with(c, json!({}))
    }

    /// In a profile with more of these members.
    #[track_caller]
    fn with(c: &Case, mut transport: Value) -> Self {
        transport["sparkplug"] = json!(true);
        c.device_with(&c.name(), transport);
        Self::connect(c)
    }

    #[track_caller]
    fn connect(c: &Case) -> Self {
        let (name, topic) = (c.name(), format!("spBv1.0/{}/NDEATH/{NODE}", c.name()));
        let will = Will { topic: &topic, payload: DEATH, qos: 1, is_retained: false };
        let mut client = c.open();
        let hello = Hello { will: Some(will), properties: EXPIRY, ..Hello::token(&name) };
        assert_eq!(client.hello(&hello), Some(0), "{name} connects");
        Self { client, group: name, seq: 0 }
    }

    /// The name under which a device behind it is kept.
    fn name(&self, device: &str) -> String {
        format!("{}:{NODE}:{device}", self.group)
    }

    fn topic(&self, kind: &str, device: Option<&str>) -> String {
        let device = device.map(|device| format!("/{device}")).unwrap_or_default();
        format!("spBv1.0/{}/{kind}/{NODE}{device}", self.group)
    }

    #[track_caller]
    fn node(&mut self, kind: &str, metrics: &[Vec<u8>]) {
        self.say(&self.topic(kind, None), metrics);
    }

    #[track_caller]
    fn device(&mut self, kind: &str, device: &str, metrics: &[Vec<u8>]) {
        self.say(&self.topic(kind, Some(device)), metrics);
    }

    #[track_caller]
    fn say(&mut self, topic: &str, metrics: &[Vec<u8>]) {
        let payload = [metrics.concat(), int(3, self.seq)].concat();
        self.seq = (self.seq + 1) % 256;
        self.client.accepted(topic, payload);
    }

    /// The one metric of the next command, which comes on this topic.
    #[track_caller]
    fn commanded(&mut self, kind: &str, device: Option<&str>) -> Vec<u8> {
        let Message { topic, payload, qos, .. } = self.client.message();
        assert_eq!((topic, qos), (self.topic(kind, device), 1));
        assert!(number(&payload, 1).is_some_and(|ts| ts > 1_700_000_000_000), "a command has a time");
        assert_eq!(number(&payload, 3), None, "and no number");
        let metrics = all(&payload, 2);
        assert_eq!(metrics.len(), 1);
        metrics.concat()
    }
}

fn refused(c: &Case) -> Option<u8> {
    Some(if c.version == Version::V3 { 3 } else { 0x88 })
}

fn bd_seq(number: i64) -> Vec<u8> {
    metric("bdSeq", UINT64, &int(11, number))
}

fn metric(name: &str, datatype: i64, value: &[u8]) -> Vec<u8> {
    message(2, &[text(1, name), int(4, datatype), value.to_vec()].concat())
}

fn float(number: u8, value: f32) -> Vec<u8> {
    [vec![number << 3 | 5], value.to_le_bytes().to_vec()].concat()
}

#[track_caller]
fn are_offline(c: &Case, node: &str, device: &str) {
    for name in [node, device] {
        eventually(&format!("{name} is offline"), || {
            (c.rest().latest(name).get(STATE)? == "OFFLINE").then_some(())
        });
    }
}

/// A persistent RPC is over when its publish is written, and not as a failure (ruling 13).
fn persistent(c: &Case, edge: &mut Edge, mut body: Value) {
    body["persistent"] = json!(true);
    let kept = c.rest().post(&format!("/api/rpc/twoway/{}", c.id()), &body).expect("it is kept");
    edge.commanded("NCMD", None);
    eventually("the RPC has succeeded", || {
        let path = format!("/api/rpc/persistent/{}", kept["rpcId"].as_str()?);
        let record = c.rest().get(&path).ok()?;
        assert_ne!(record["status"], "FAILED");
        (record["status"] == "SUCCESSFUL" && record["response"]["result"] == "Success: NCMD").then_some(())
    });
}
