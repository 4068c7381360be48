//! Group L: RPC from the server to the device.

use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::case::{Case, Row, Settings, both, v3, v5};
use super::client::{Client, Message};
use crate::harness::{Closed, Refusal, eventually, pause};

const REQUESTS: &str = "v1/devices/me/rpc/request/+";

const CLOSES: Settings =
    &[("WIREGLOT_RPC_CLOSE_SESSION_ON_TIMEOUT", "true"), ("WIREGLOT_RPC_ACK_TIMEOUT_MS", "1000")];
const ON_ACK: Settings = &[("WIREGLOT_RPC_SUBMIT_STRATEGY", "sequential-on-ack")];
const ON_RESPONSE: Settings = &[("WIREGLOT_RPC_SUBMIT_STRATEGY", "sequential-on-response")];
const ON_RESPONSE_SOON: Settings = &[
    ("WIREGLOT_RPC_SUBMIT_STRATEGY", "sequential-on-response"),
    ("WIREGLOT_RPC_RESPONSE_TIMEOUT_MS", "2000"),
];

pub(super) const ROWS: &[Row] = &[
    both(198, "oneway to a subscribed device: the first id is 0", |c| {
        let mut client = subscribed(c);
        let call = call(c, "oneway", gpio());
        assert_eq!(client.json_on("v1/devices/me/rpc/request/0"), gpio());
        assert_eq!(answer(call).expect("200"), "");
    }),
    both(199, "the next RPC has id 1", |c| {
        let mut client = subscribed(c);
        for id in 0..2 {
            let call = call(c, "oneway", gpio());
            assert_eq!(client.message().topic, format!("v1/devices/me/rpc/request/{id}"));
            answer(call).expect("200");
        }
    }),
    both(200, "twoway, answered", |c| {
        two_way(c, "v1/devices/me/rpc/request/", "v1/devices/me/rpc/response/")
    }),
    both(201, "twoway on `v2/r/req/+`", |c| two_way(c, "v2/r/req/", "v2/r/res/")),
    both(202, "twoway on `v2/r/req/j/+`", |c| two_way(c, "v2/r/req/j/", "v2/r/res/j/")),
    both(203, "the text of a request", |c| {
        text_is(c, json!({ "method": "getValue", "params": true }), r#"{"method":"getValue","params":true}"#);
    }),
    both(204, "params that are a string", |c| {
        text_is(c, json!({ "method": "m", "params": "connect" }), r#"{"method":"m","params":"connect"}"#);
    }),
    both(205, "no params", |c| text_is(c, json!({ "method": "m" }), r#"{"method":"m","params":null}"#)),
    v3(206, "oneway to an offline device", |c| nobody_there(c, "oneway")).slow(),
    v3(207, "twoway to an offline device", |c| nobody_there(c, "twoway")).slow(),
    v3(208, "to an unknown device", |c| {
        for kind in ["oneway", "twoway"] {
            let path = format!("/api/rpc/{kind}/13814000-1dd2-11b2-8080-808080808081");
            assert_eq!(c.rest().post(&path, &gpio()).expect_err("nobody").status, 404, "{kind}");
        }
    }),
    both(209, "twoway, acknowledged but never answered", |c| {
        let mut client = subscribed(c);
        let body = json!({ "method": "m", "timeout": 5_000 });
        let (new, old) = (call(c, "twoway", body.clone()), old_call(c, "twoway", body));
        client.message();
        client.message();
        assert_eq!(status(new), 504);
        assert_eq!(status(old), 408);
        client.stays();
    })
    .slow(),
    v3(210, "a time-out of 100 ms counts as 5 s", |c| {
        c.rest().create_device(&c.name(), None);
        let call = call(c, "twoway", json!({ "method": "m", "timeout": 100 }));
        pause(Duration::from_secs(1));
        let mut client = c.connect(&c.name());
        client.subscribe(REQUESTS);
        let request = client.message();
        respond(&mut client, &request, "1");
        assert_eq!(answer(call).expect("200"), 1);
    })
    .slow(),
    both(211, "oneway while offline; the device subscribes in time", |c| {
        c.rest().create_device(&c.name(), None);
        let call = call(c, "oneway", json!({ "method": "m", "timeout": 20_000 }));
        pause(Duration::from_millis(500));
        let mut client = c.connect(&c.name());
        client.subscribe(REQUESTS);
        assert_eq!(client.message().json()["method"], "m");
        answer(call).expect("200");
    })
    .slow(),
    both(212, "twoway, answered `not json`", |c| {
        let mut client = subscribed(c);
        let call = call(c, "twoway", gpio());
        let request = client.message();
        respond(&mut client, &request, "not json");
        assert_eq!(status(call), 406);
    }),
    both(213, "an answer to an id never issued", |c| {
        let mut client = subscribed(c);
        client.accepted("v1/devices/me/rpc/response/77", "{}");
        client.hears_nothing();
        c.stored(json!({}));
    }),
    both(214, "two answers", |c| {
        let mut client = subscribed(c);
        let call = call(c, "twoway", gpio());
        let request = client.message();
        respond(&mut client, &request, r#"{"first":1}"#);
        respond(&mut client, &request, r#"{"second":2}"#);
        assert_eq!(answer(call).expect("200"), json!({ "first": 1 }));
    }),
    both(215, "persistent twoway, answered", |c| {
        let mut client = subscribed(c);
        let rpc = persistent(c, "twoway", json!({}));
        let request = client.message();
        respond(&mut client, &request, r#"{"response":"someResponse"}"#);
        let record = until(c, &rpc, "SUCCESSFUL");
        assert_eq!(record["response"], json!({ "response": "someResponse" }));
    }),
    both(216, "persistent oneway, acknowledged", |c| {
        let mut client = subscribed(c);
        let rpc = persistent(c, "oneway", json!({}));
        client.message();
        client.stays();
        until(c, &rpc, "DELIVERED");
    }),
    both(217, "persistent, the device offline at first", |c| {
        c.rest().create_device(&c.name(), None);
        let rpc = persistent(c, "oneway", json!({}));
        until(c, &rpc, "QUEUED");
        let mut client = c.connect(&c.name());
        client.acknowledges = false;
        client.subscribe(REQUESTS);
        let request = client.message();
        until(c, &rpc, "SENT");
        client.acknowledge(&request);
        until(c, &rpc, "DELIVERED");
    }),
    v3(218, "persistent with an expiration time, the device offline", |c| {
        c.rest().create_device(&c.name(), None);
        let rpc = persistent(c, "oneway", json!({ "expirationTime": now_ms() + 6_000 }));
        until(c, &rpc, "QUEUED");
        until(c, &rpc, "EXPIRED");
    })
    .slow(),
    both(219, "persistent, a subscription at QoS 0", |c| {
        let mut client = c.client();
        client.subscribe_at(&[(REQUESTS, 0)]);
        let rpc = persistent(c, "oneway", json!({}));
        assert_eq!(client.message().qos, 0);
        until(c, &rpc, "DELIVERED");
    }),
    v3(220, "persistent, never acknowledged, no retries", |c| {
        let mut client = subscribed(c);
        client.acknowledges = false;
        let rpc = persistent(c, "oneway", json!({ "retries": 0, "timeout": 60_000 }));
        client.message();
        let record = until(c, &rpc, "FAILED");
        let expected =
            "There was a Timeout and all retry attempts have been exhausted. Retry attempts set: 0";
        assert_eq!(record["response"], json!({ "error": expected }));
        client.stays();
    })
    .slow(),
    v5(221, "as 220 with the close setting on", |c| {
        for kind in ["oneway", "twoway"] {
            closes_instead(c, kind);
        }
    })
    .on(CLOSES),
    both(222, "persistent twoway, answered with plain text", |c| {
        let mut client = subscribed(c);
        let rpc = persistent(c, "twoway", json!({}));
        let request = client.message();
        respond(&mut client, &request, "plain text");
        assert_eq!(until(c, &rpc, "SUCCESSFUL")["response"], json!({ "error": "plain text" }));
    }),
    both(223, "BURST: ten persistent ones while offline", |c| {
        let (mut client, _) = ten_waiting(c, "oneway");
        client.subscribe(REQUESTS);
        for number in 0..10 {
            let request = client.message();
            assert_eq!((id(&request), &request.json()["params"]), (number, &json!(number)));
        }
    }),
    both(224, "BURST: delivered but unanswered, the device subscribes again", |c| {
        let mut client = subscribed(c);
        persistent(c, "twoway", json!({}));
        let first = client.message();
        client.subscribe(REQUESTS);
        let second = client.message();
        assert_eq!((first.topic, first.payload), (second.topic, second.payload));
    }),
    both(225, "SEQUENTIAL_ON_ACK: ten in their order, at QoS 0 and 1", |c| {
        for qos in [0, 1] {
            let name = c.named(&qos.to_string());
            let (mut client, _) = ten_waiting_for(c, &name, "oneway");
            client.acknowledges = false;
            client.subscribe_at(&[(REQUESTS, qos)]);
            for number in 0..10 {
                let request = client.message();
                assert_eq!(request.json()["params"], number);
                if qos == 1 {
                    client.hears_nothing();
                    client.acknowledge(&request);
                }
            }
        }
    })
    .on(ON_ACK),
    both(226, "SEQUENTIAL_ON_ACK twoway: each record holds its own response", |c| {
        let (mut client, rpcs) = ten_waiting(c, "twoway");
        client.acknowledges = false;
        client.subscribe(REQUESTS);
        for number in 0..10 {
            let request = client.message();
            assert_eq!(request.json()["params"], number);
            client.acknowledge(&request);
            respond(&mut client, &request, &json!({ "number": number }).to_string());
        }
        for (number, rpc) in rpcs.iter().enumerate() {
            assert_eq!(until(c, rpc, "SUCCESSFUL")["response"], json!({ "number": number }));
        }
    })
    .on(ON_ACK),
    both(227, "SEQUENTIAL_ON_RESPONSE: the next only after the answer", |c| {
        let (mut client, rpcs) = ten_waiting(c, "twoway");
        client.subscribe(REQUESTS);
        for (number, rpc) in rpcs.iter().enumerate() {
            let request = client.message();
            assert_eq!(request.json()["params"], number);
            until(c, rpc, "DELIVERED");
            client.hears_nothing();
            respond(&mut client, &request, "{}");
        }
    })
    .on(ON_RESPONSE),
    both(228, "SEQUENTIAL_ON_RESPONSE: delivered, never answered", |c| {
        let (mut client, rpcs) = ten_waiting(c, "twoway");
        client.subscribe(REQUESTS);
        assert_eq!(client.message().json()["params"], 0);
        let record = until(c, &rpcs[0], "FAILED");
        let expected = "There was a timeout awaiting for RPC response from device.";
        assert_eq!(record["response"], json!({ "error": expected }));
        assert_eq!(client.message().json()["params"], 1);
    })
    .on(ON_RESPONSE_SOON),
    both(229, "a queued one is deleted", |c| {
        c.rest().create_device(&c.name(), None);
        let rpc = persistent(c, "oneway", json!({}));
        c.rest().delete(&format!("/api/rpc/persistent/{rpc}")).expect("deleted");
        let mut client = c.connect(&c.name());
        client.subscribe(REQUESTS);
        client.hears_nothing();
    }),
    v5(230, "v5, as 198 and 200", |c| {
        let mut client = subscribed(c);
        let one_way = call(c, "oneway", gpio());
        assert_eq!(client.json_on("v1/devices/me/rpc/request/0"), gpio());
        answer(one_way).expect("200");
        let two_way = call(c, "twoway", gpio());
        let request = client.message();
        respond(&mut client, &request, r#"{"value1":"A"}"#);
        assert_eq!(answer(two_way).expect("200"), json!({ "value1": "A" }));
    }),
];

fn gpio() -> Value {
    json!({ "method": "setGpio", "params": { "pin": "23", "value": 1 } })
}

#[track_caller]
pub(super) fn subscribed(c: &Case) -> Client {
    let mut client = c.client();
    assert_eq!(client.subscribe(REQUESTS), 1);
    client
}

pub(super) type Call = JoinHandle<Result<Value, Refusal>>;

pub(super) fn call(c: &Case, kind: &str, body: Value) -> Call {
    call_of(c, &c.name(), kind, body)
}

/// The same for another device.
pub(super) fn call_of(c: &Case, device: &str, kind: &str, body: Value) -> Call {
    c.post_meanwhile(format!("/api/rpc/{kind}/{}", c.rest().device_id(device)), body)
}

fn old_call(c: &Case, kind: &str, body: Value) -> Call {
    c.post_meanwhile(format!("/api/plugins/rpc/{kind}/{}", c.id()), body)
}

pub(super) fn answer(call: Call) -> Result<Value, Refusal> {
    call.join().expect("the call has an answer")
}

#[track_caller]
pub(super) fn status(call: Call) -> u16 {
    answer(call).expect_err("no success").status
}

/// The id of a request, which its topic ends with.
fn id(request: &Message) -> i64 {
    request.topic.rsplit('/').next().and_then(|id| id.parse().ok()).expect("an id")
}

#[track_caller]
fn respond(client: &mut Client, request: &Message, payload: &str) {
    client.accepted(&format!("v1/devices/me/rpc/response/{}", id(request)), payload);
}

#[track_caller]
fn two_way(c: &Case, requests: &str, responses: &str) {
    let mut client = c.client();
    assert_eq!(client.subscribe(&format!("{requests}+")), 1);
    let call = call(c, "twoway", gpio());
    let request = client.message();
    assert_eq!(request.topic, format!("{requests}0"));
    assert_eq!(request.json(), gpio());
    client.accepted(&format!("{responses}0"), r#"{"value1":"A","value2":"B"}"#);
    assert_eq!(answer(call).expect("200"), json!({ "value1": "A", "value2": "B" }));
}

#[track_caller]
fn text_is(c: &Case, body: Value, text: &str) {
    let mut client = subscribed(c);
    let call = call(c, "oneway", body);
    assert_eq!(client.message().text(), text);
    answer(call).expect("200");
}

fn nobody_there(c: &Case, kind: &str) {
    c.rest().create_device(&c.name(), None);
    let (new, old) = (call(c, kind, gpio()), old_call(c, kind, gpio()));
    assert_eq!(status(new), 504);
    assert_eq!(status(old), 409);
}

/// Asks for a persistent RPC and gives its id.
#[track_caller]
fn persistent(c: &Case, kind: &str, more: Value) -> String {
    persistent_of(c, &c.name(), kind, more)
}

#[track_caller]
pub(super) fn persistent_of(c: &Case, device: &str, kind: &str, more: Value) -> String {
    let mut body = json!({ "method": "test", "params": {}, "persistent": true, "timeout": 60_000 });
    for (key, value) in more.as_object().expect("an object").clone() {
        body[key] = value;
    }
    let path = format!("/api/rpc/{kind}/{}", c.rest().device_id(device));
    let answer = c.rest().post(&path, &body).expect("a persistent RPC is taken at once");
    answer["rpcId"].as_str().unwrap_or_else(|| panic!("no id: {answer}")).to_owned()
}

/// Waits until a persistent RPC has this status and gives its record.
#[track_caller]
pub(super) fn until(c: &Case, rpc: &str, status: &str) -> Value {
    let mut last = Value::Null;
    eventually(&format!("{rpc} is {status}"), || {
        last = c.rest().get(&format!("/api/rpc/persistent/{rpc}")).expect("the record");
        (last["status"] == status).then(|| last.clone())
    })
}

fn ten_waiting(c: &Case, kind: &str) -> (Client, Vec<String>) {
    ten_waiting_for(c, &c.name(), kind)
}

/// Ten RPCs for a device that is connected but has not subscribed, with their numbers as params.
fn ten_waiting_for(c: &Case, device: &str, kind: &str) -> (Client, Vec<String>) {
    c.rest().create_device(device, None);
    let rpcs = (0..10).map(|number| persistent_of(c, device, kind, json!({ "params": number }))).collect();
    (c.connect(device), rpcs)
}

fn closes_instead(c: &Case, kind: &str) {
    let name = c.named(kind);
    c.rest().create_device(&name, None);
    let mut client = c.connect(&name);
    client.acknowledges = false;
    client.subscribe(REQUESTS);
    let rpc = persistent_of(c, &name, kind, json!({ "retries": 0 }));
    let first = client.message();
    assert_eq!(client.closed(), Closed::With(0x98), "{kind}");
    let record = until(c, &rpc, "QUEUED");
    assert_eq!(record["response"], Value::Null);
    let mut client = c.connect(&name);
    client.subscribe(REQUESTS);
    assert_eq!(client.message().payload, first.payload, "{kind}");
}

pub(super) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    u64::try_from(now).expect("a time in this age")
}
