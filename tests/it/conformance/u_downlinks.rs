//! Group U, what the server says to devices behind a gateway: answers, updates, RPC, and what became of them.

use serde_json::{Value, json};

use super::case::{Case, Row, both, same};
use super::client::Client;
use super::l_rpc::{Call, answer, call_of, now_ms, persistent_of, status, until};
use super::u_gateway::{
    ATTRIBUTES_REQUEST, BEHIND_ATTRIBUTES, BEHIND_TELEMETRY, DISCONNECT, a, b, connects, four, gateway,
    misshapen, named,
};

const RESPONSE: &str = "v1/gateway/attributes/response";
const RPC: &str = "v1/gateway/rpc";
const OWN_RPC: &str = "v1/devices/me/rpc/request/+";

pub(super) const ROWS: &[Row] = &[
    both(357, "one shared attribute by `key`", |c| {
        asks(c, json!({ "client": false, "key": "attr1" }), json!({ "value": "value1" }));
    }),
    both(358, "two by `keys`", |c| {
        let expected = json!({ "values": { "attr1": "value1", "attr2": true } });
        asks(c, json!({ "client": false, "keys": ["attr1", "attr2"] }), expected);
    }),
    both(359, "two by `keys`, one of them is not there", |c| {
        let expected = json!({ "values": { "attr1": "value1" } });
        asks(c, json!({ "client": false, "keys": ["attr1", "undefined"] }), expected);
        asks_again(c, json!({ "client": false, "keys": ["none", "undefined"] }), json!({}));
    }),
    both(360, "one that is not there", |c| {
        asks(c, json!({ "client": false, "key": "undefined" }), json!({}));
    }),
    both(361, "one by `keys`", |c| {
        asks(c, json!({ "client": false, "keys": ["attr1"] }), json!({ "value": "value1" }));
        // The same key twice is one key, and `key` wins.
        asks_again(c, json!({ "client": false, "keys": ["attr4", "attr4"] }), json!({ "value": 73 }));
        let both = json!({ "client": false, "key": "attr3", "keys": ["attr1", "attr2"] });
        asks_again(c, both, json!({ "value": 42.0 }));
    }),
    both(362, "a client attribute", |c| {
        let mut client = gateway(c);
        client.accepted(BEHIND_ATTRIBUTES, json!({ a(c): { "clientAttr": "mine" } }).to_string());
        c.rest().write_attributes(&a(c), "SERVER_SCOPE", &json!({ "clientAttr": "secret" }));
        is_answered(
            c,
            &mut client,
            json!({ "client": true, "key": "clientAttr" }),
            json!({ "value": "mine" }),
        );
        is_answered(c, &mut client, json!({ "client": false, "key": "clientAttr" }), json!({}));
    }),
    both(363, "a request without `client`; the documents' form with lists is answered", |c| {
        let request = |members: &str| format!(r#"{{"id":1,"device":"Device A",{members}}}"#);
        misshapen(
            c,
            &[
                (ATTRIBUTES_REQUEST, &request(r#""key":"a""#)),
                (ATTRIBUTES_REQUEST, &request(r#""client":true"#)),
                (ATTRIBUTES_REQUEST, r#"{"device":"Device A","client":true,"key":"a"}"#),
                (ATTRIBUTES_REQUEST, r#"{"id":1,"client":true,"key":"a"}"#),
                (ATTRIBUTES_REQUEST, &request(r#""client":["a"],"shared":"b""#)),
                (ATTRIBUTES_REQUEST, &request(r#""client":[{}]"#)),
            ],
        );
        // Upstream refuses this form, which its newer documents show as the only one.
        let mut client = c.connect(&c.name());
        client.accepted(BEHIND_ATTRIBUTES, json!({ a(c): { "mine": 1, "same": "own" } }).to_string());
        c.rest().write_attributes(&a(c), "SHARED_SCOPE", &json!({ "yours": 2, "same": "shared" }));
        client.json_on(BEHIND_ATTRIBUTES);
        for (request, expected) in [
            (
                json!({ "client": ["mine"], "shared": ["yours", "none"] }),
                json!({ "values": { "mine": 1, "yours": 2 } }),
            ),
            (json!({ "client": ["mine"] }), json!({ "value": 1 })),
            (json!({ "shared": ["yours"] }), json!({ "value": 2 })),
            (json!({ "shared": ["mine"] }), json!({})),
        ] {
            is_answered(c, &mut client, request, expected);
        }
    }),
    both(364, "a shared attribute is saved, and deleted", |c| {
        let mut client = gateway(c);
        assert_eq!(client.subscribe(BEHIND_ATTRIBUTES), 1);
        connects(c, &mut client, &a(c));
        let data = json!({ "sharedStr": "value1", "sharedJson": { "someNumber": 42 }, "sharedDbl": 42.0 });
        c.rest().write_attributes(&a(c), "SHARED_SCOPE", &data);
        let update = client.json_on(BEHIND_ATTRIBUTES);
        assert!(same(&update, &json!({ "device": a(c), "data": data })), "{update}");
        c.rest().delete_attributes(&a(c), "SHARED_SCOPE", "sharedJson");
        let deleted = json!({ "device": a(c), "data": { "deleted": ["sharedJson"] } });
        assert_eq!(client.json_on(BEHIND_ATTRIBUTES), deleted);
        client.hears_nothing();
    }),
    both(365, "a shared attribute is saved, nothing is subscribed to", |c| {
        let mut client = gateway(c);
        client.accepted(BEHIND_TELEMETRY, json!({ a(c): [{ "a": 1 }] }).to_string());
        c.rest().write_attributes(&a(c), "SHARED_SCOPE", &json!({ "x": 1 }));
        let update = client.message();
        assert_eq!((update.topic.as_str(), update.qos), (BEHIND_ATTRIBUTES, 1));
        assert_eq!(update.json(), json!({ "device": a(c), "data": { "x": 1 } }));
    }),
    both(366, "a two-way RPC", |c| {
        let mut client = gateway(c);
        assert_eq!(client.subscribe(RPC), 1);
        connects(c, &mut client, &a(c));
        let first = get_value(c, "twoway");
        let request = client.message();
        assert_eq!(request.topic, RPC);
        let data = r#""data":{"id":0,"method":"getValue","params":true}"#;
        assert_eq!(request.text(), format!(r#"{{"device":"{}",{data}}}"#, a(c)));
        // Ids count for each device.
        let second = get_value(c, "twoway");
        assert_eq!(client.json_on(RPC)["data"]["id"], 1);
        responds(c, &mut client, 1, &json!(1));
        responds(c, &mut client, 0, &json!(0));
        assert_eq!((answer(first).expect("200"), answer(second).expect("200")), (json!(0), json!(1)));
    }),
    both(367, "its answer", |c| {
        let mut client = gateway(c);
        connects(c, &mut client, &a(c));
        let call = get_value(c, "twoway");
        assert_eq!(client.json_on(RPC)["data"]["id"], 0);
        let told = json!({ "response": "someResponse" });
        responds(c, &mut client, 0, &told);
        assert_eq!(answer(call).expect("200"), told);
        // Nobody waits for this one.
        responds(c, &mut client, 77, &told);
        client.hears_nothing();
    }),
    both(368, "a one-way RPC", |c| {
        let mut client = gateway(c);
        connects(c, &mut client, &a(c));
        let call = get_value(c, "oneway");
        let expected = json!({ "id": 0, "method": "getValue", "params": true });
        assert_eq!(client.json_on(RPC), json!({ "device": a(c), "data": expected }));
        assert_eq!(answer(call).expect("200"), "");
    }),
    both(369, "a persistent one-way RPC, acknowledged by the gateway", |c| {
        let mut client = gateway(c);
        client.acknowledges = false;
        connects(c, &mut client, &a(c));
        let rpc = persistent_of(c, &a(c), "oneway", json!({}));
        let request = client.message();
        assert_eq!((request.topic.as_str(), request.qos), (RPC, 1));
        until(c, &rpc, "SENT");
        client.acknowledge(&request);
        until(c, &rpc, "DELIVERED");
    }),
    both(370, "the device is disconnected, then asked", |c| {
        let mut client = gateway(c);
        connects(c, &mut client, &a(c));
        client.accepted(DISCONNECT, named(&a(c)));
        let soon = || json!({ "method": "m", "expirationTime": now_ms() + 300 });
        assert_eq!(status(call_of(c, &a(c), "oneway", soon())), 504);
        let old = c.post_meanwhile(format!("/api/plugins/rpc/oneway/{}", c.rest().device_id(&a(c))), soon());
        assert_eq!(status(old), 409);
        c.rest().write_attributes(&a(c), "SHARED_SCOPE", &json!({ "x": 1 }));
        client.hears_nothing();
    }),
    both(379, "a device is renamed", |c| {
        let (mut client, new) = (gateway(c), c.named("X"));
        assert_eq!(client.subscribe(OWN_RPC), 1);
        connects(c, &mut client, &a(c));
        c.rest().rename_device(&a(c), &new);
        let expected = json!({ "method": "gateway_device_renamed", "params": { a(c): new } });
        assert_eq!(client.json_on("v1/devices/me/rpc/request/0"), expected);
    }),
    both(380, "a device is deleted", |c| {
        // While the gateway is away: it hears of it when it comes back.
        let mut client = gateway(c);
        connects(c, &mut client, &a(c));
        connects(c, &mut client, &b(c));
        client.cut();
        c.rest().delete_device(&a(c));
        let mut client = c.connect(&c.name());
        assert_eq!(client.subscribe(OWN_RPC), 1);
        is_deleted(c, &mut client, 0, &a(c));
        c.rest().delete_device(&b(c));
        is_deleted(c, &mut client, 1, &b(c));
    }),
];

/// The case's gateway asks for attributes of a device that has four shared ones; the members of the answer beside its
/// id and the name.
#[track_caller]
fn asks(c: &Case, request: Value, expected: Value) {
    c.rest().create_device(&a(c), None);
    c.rest().write_attributes(&a(c), "SHARED_SCOPE", &four());
    is_answered(c, &mut gateway(c), request, expected);
}

/// The same over a new connection.
#[track_caller]
fn asks_again(c: &Case, request: Value, expected: Value) {
    is_answered(c, &mut c.connect(&c.name()), request, expected);
}

#[track_caller]
fn is_answered(c: &Case, client: &mut Client, mut request: Value, mut expected: Value) {
    for whole in [&mut request, &mut expected] {
        whole["id"] = 1.into();
        whole["device"] = a(c).into();
    }
    client.accepted(ATTRIBUTES_REQUEST, request.to_string());
    let found = client.json_on(RESPONSE);
    assert!(same(&found, &expected), "{found}, not {expected}");
}

fn get_value(c: &Case, kind: &str) -> Call {
    call_of(c, &a(c), kind, json!({ "method": "getValue", "params": true }))
}

#[track_caller]
fn responds(c: &Case, client: &mut Client, id: i64, data: &Value) {
    client.accepted(RPC, json!({ "device": a(c), "id": id, "data": data }).to_string());
}

#[track_caller]
fn is_deleted(c: &Case, client: &mut Client, id: u32, device: &str) {
    let expected = json!({ "method": "gateway_device_deleted", "params": device });
    assert_eq!(client.json_on(&format!("v1/devices/me/rpc/request/{id}")), expected);
    assert_eq!(c.rest().device(device), None);
}
