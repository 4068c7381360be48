//! Group U, gateways whose profile is protobuf: the fixed messages, which no schema and no compatibility flag changes.

use serde_json::{Value, json};

use super::case::{Case, Row, both};
use super::client::Client;
use super::l_rpc::{answer, call_of};
use super::proto::{all, double, int, message, number, string, text};
use super::q_protobuf::{compatible, entries, transport, usual_schemas};
use super::u_gateway::{
    ATTRIBUTES_REQUEST, BEHIND_ATTRIBUTES, BEHIND_TELEMETRY, CLAIM, CONNECT, DISCONNECT, a, b,
    fails_in_bytes, gateway_with, is_claimed, named,
};

const RESPONSE: &str = "v1/gateway/attributes/response";
const RPC: &str = "v1/gateway/rpc";

pub(super) const ROWS: &[Row] = &[
    both(385, "the fixed messages, as their JSON forms", |c| {
        let mut client = proto_gateway(c, json!({}));
        connects(c, &mut client);
        tells(c, &mut client);
        asks(c, &mut client);
        is_asked(c, &mut client);
        let claims = |device: &str, claim: &[u8]| message(1, &[text(1, device), message(2, claim)].concat());
        let secret = [text(1, "value"), int(2, 60_000)].concat();
        client.accepted(CLAIM, [claims(&a(c), &secret), claims(&b(c), &[])].concat());
        is_claimed(c, &a(c), json!({ "secretKey": "value" }));
        is_claimed(c, &b(c), json!({}));
        client.accepted(DISCONNECT, text(1, &a(c)));
        c.rest().write_attributes(&a(c), "SHARED_SCOPE", &json!({ "late": 1 }));
        client.hears_nothing();
        for (topic, payload) in [
            (BEHIND_TELEMETRY, Vec::new()),
            (BEHIND_TELEMETRY, b"\xff\xff".to_vec()),
            (BEHIND_ATTRIBUTES, Vec::new()),
            (CONNECT, text(2, "default")),
            (DISCONNECT, Vec::new()),
            (CONNECT, named(&a(c)).into_bytes()),
        ] {
            c.invalid(&mut client, topic, payload);
        }
    }),
    both(386, "telemetry with field `msg` sent as number 2 instead of 3", |c| {
        let mut client = proto_gateway(c, json!({}));
        let wrong = message(1, &[text(1, &a(c)), message(2, &points(1, &[long("a", 1)]))].concat());
        let right = telemetry_of(&b(c), &points(1, &[long("a", 1)]));
        fails_in_bytes(c, &mut client, &a(c), &[wrong, right].concat());
        c.stored_of(&b(c), json!({ "a": 1 }));
        for kv in [kv("", 1, int(4, 1)), kv("a", 4, text(7, "{no json")), kv("a", 9, int(4, 1))] {
            fails_in_bytes(c, &mut client, &a(c), &telemetry_of(&a(c), &points(1, &[kv])));
        }
    }),
    both(387, "compatibility and JSON downlinks change nothing here", |c| {
        let mut client = proto_gateway(c, compatible(true));
        client.accepted(CONNECT, text(1, &a(c)));
        c.rest().write_attributes(&a(c), "SHARED_SCOPE", &json!({ "x": 1 }));
        let update = of_device(c, &mut client, BEHIND_ATTRIBUTES);
        assert_eq!(entries(&update, 1), json!({ "x": 1 }));
        c.rest().delete_attributes(&a(c), "SHARED_SCOPE", "x");
        assert_eq!(string(&of_device(c, &mut client, BEHIND_ATTRIBUTES), 2).as_deref(), Some("x"));
        is_asked(c, &mut client);
        c.invalid(&mut client, BEHIND_TELEMETRY, json!({ a(c): [{ "a": 1 }] }).to_string());
    }),
];

/// The case's gateway in a protobuf profile with these flags.
#[track_caller]
fn proto_gateway(c: &Case, flags: Value) -> Client {
    gateway_with(c, &c.name(), transport(&usual_schemas(), &flags))
}

fn connects(c: &Case, client: &mut Client) {
    let profile = c.named("Thermostat");
    client.accepted(CONNECT, [text(1, &a(c)), text(2, &profile)].concat());
    assert_eq!(c.rest().device(&a(c)).expect("the device is made")["type"], profile.as_str());
    client.accepted(CONNECT, [text(1, &b(c)), text(2, "")].concat());
    assert_eq!(c.rest().device(&b(c)).expect("the device is made")["type"], "default");
}

/// Telemetry and attributes of both devices; values keep the types that they were sent with.
fn tells(c: &Case, client: &mut Client) {
    let five = [
        kv("v1", 0, int(3, 1)),
        long("v2", 73),
        kv("v3", 2, double(5, 42.0)),
        kv("v4", 3, text(6, "25")),
        kv("v5", 4, text(7, r#"{"key":[1,2]}"#)),
    ];
    let both = [a(c), b(c)].map(|device| telemetry_of(&device, &points(10_000, &five)));
    client.accepted(BEHIND_TELEMETRY, both.concat());
    let expected = json!({ "v1": true, "v2": 73, "v3": 42.0, "v4": "25", "v5": { "key": [1, 2] } });
    for device in [a(c), b(c)] {
        c.stored_of(&device, expected.clone());
        assert_eq!(c.points_of(&device, "v2"), [(10_000, json!(73))]);
    }
    let attributes = message(1, &kv("attr1", 3, text(6, "value1")));
    let attributes = message(1, &[text(1, &a(c)), message(2, &attributes)].concat());
    client.accepted(BEHIND_ATTRIBUTES, attributes);
    c.attributes_of(&a(c), "CLIENT_SCOPE", json!({ "attr1": "value1" }));
}

fn asks(c: &Case, client: &mut Client) {
    let request = |id: i64, is_client: bool, keys: &[&str]| {
        let keys: Vec<u8> = keys.iter().flat_map(|key| text(4, key)).collect();
        [int(1, id), text(2, &a(c)), int(3, i64::from(is_client)), keys].concat()
    };
    client.accepted(ATTRIBUTES_REQUEST, request(1, true, &["attr1"]));
    let found = of_device(c, client, RESPONSE);
    assert_eq!((number(&found, 1), number(&found, 4).unwrap_or(0)), (Some(1), 0));
    assert_eq!(entries(&found, 2), json!({ "attr1": "value1" }));
    c.rest().write_attributes(&a(c), "SHARED_SCOPE", &json!({ "x": 1, "y": 2.5 }));
    assert_eq!(entries(&of_device(c, client, BEHIND_ATTRIBUTES), 1), json!({ "x": 1, "y": 2.5 }));
    client.accepted(ATTRIBUTES_REQUEST, request(2, false, &["x", "y", "none"]));
    let found = of_device(c, client, RESPONSE);
    assert_eq!((number(&found, 1), number(&found, 4)), (Some(2), Some(1)));
    assert_eq!(entries(&found, 3), json!({ "x": 1, "y": 2.5 }));
}

fn is_asked(c: &Case, client: &mut Client) {
    let call = call_of(c, &a(c), "twoway", json!({ "method": "setGpio", "params": { "pin": 23 } }));
    let request = of_device(c, client, RPC);
    assert_eq!(number(&request, 1).unwrap_or(0), 0);
    assert_eq!(string(&request, 2).as_deref(), Some("setGpio"));
    assert_eq!(string(&request, 3).as_deref(), Some(r#"{"pin":23}"#));
    client.accepted(RPC, [text(1, &a(c)), int(2, 0), text(3, r#"{"done":true}"#)].concat());
    assert_eq!(answer(call).expect("200"), json!({ "done": true }));
}

/// What the next message, which comes on this topic, says of device A: its second field.
#[track_caller]
fn of_device(c: &Case, client: &mut Client, topic: &str) -> Vec<u8> {
    let message = client.message();
    assert_eq!(message.topic, topic);
    assert_eq!(string(&message.payload, 1), Some(a(c)));
    all(&message.payload, 2).pop().expect("what is said")
}

fn telemetry_of(device: &str, points: &[u8]) -> Vec<u8> {
    message(1, &[text(1, device), message(3, points)].concat())
}

/// A PostTelemetryMsg of one point in time.
fn points(ts: i64, values: &[Vec<u8>]) -> Vec<u8> {
    let values: Vec<u8> = values.iter().flat_map(|kv| message(2, kv)).collect();
    message(1, &[int(1, ts), values].concat())
}

fn long(key: &str, value: i64) -> Vec<u8> {
    kv(key, 1, int(4, value))
}

fn kv(key: &str, kind: i64, value: Vec<u8>) -> Vec<u8> {
    [text(1, key), int(2, kind), value].concat()
}
