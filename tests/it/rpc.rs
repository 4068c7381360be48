//! Asking devices: the answer comes back, or the caller learns why not; and what is persistent survives everything.

use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use wireglot_load::wire::Version;

use crate::harness::{BareRequest, Closed, Device, Server, eventually, guest};

const FILTER: &str = "v1/devices/me/rpc/request/+";

/// What a call gave: status and body.
type Answer = (u16, Value);

fn call(server: &Server, path: &str, device: &str, body: &Value) -> Answer {
    let path = format!("/api/{path}/{}", server.rest().device_id(device));
    match server.rest().post(&path, body) {
        Ok(body) => (200, body),
        Err(refusal) => (refusal.status, refusal.body),
    }
}

/// Asks while the device does something about it.
fn during(server: &Server, path: &str, body: &Value, device: impl FnOnce()) -> Answer {
    thread::scope(|scope| {
        let answer = scope.spawn(|| call(server, path, "thermo", body));
        device();
        answer.join().expect("the call ends")
    })
}

/// A persistent RPC; its id.
fn persistent(server: &Server, path: &str, body: Value) -> String {
    let mut body = body;
    body["persistent"] = true.into();
    let (status, answer) = call(server, path, "thermo", &body);
    assert_eq!(status, 200, "{answer}");
    answer["rpcId"].as_str().expect("an id").to_owned()
}

fn record(server: &Server, id: &str) -> Value {
    server.rest().get(&format!("/api/rpc/persistent/{id}")).expect("it is kept")
}

/// Waits until a persistent RPC has this status.
fn until(server: &Server, id: &str, status: &str) -> Value {
    eventually(&format!("the RPC is {status}"), || {
        Some(record(server, id)).filter(|record| record["status"] == status)
    })
}

fn in_ms(ms: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that was set");
    u64::try_from(now.as_millis()).expect("this age") + ms
}

fn answer_next(device: &mut Device, payload: &str) -> String {
    let request = device.next_message();
    let topic = request.topic.replace("request", "response").replace("/req/", "/res/");
    assert_eq!(device.publish_qos1(&topic, payload), 0);
    request.payload
}

#[test]
fn an_operator_asks_and_the_device_answers() {
    let server = Server::spawn();
    server.rest().create_device("thermo", None);
    for version in [Version::V3, Version::V5] {
        let mut device = Device::connect(server.mqtt(), version, "thermo");
        // 198, 200, 201, 202, 230
        for filter in [FILTER, "v2/r/req/+", "v2/r/req/j/+"] {
            assert_eq!(device.subscribe(filter), 1);
            let body = json!({ "method": "setGpio", "params": { "pin": "23", "value": 1 } });
            let (status, answer) = during(&server, "rpc/twoway", &body, || {
                let payload = answer_next(&mut device, r#"{"value1":"A","value2":"B"}"#);
                assert_eq!(payload, r#"{"method":"setGpio","params":{"pin":"23","value":1}}"#);
            });
            assert_eq!((status, answer), (200, json!({ "value1": "A", "value2": "B" })));
        }
        assert_eq!(call(&server, "rpc/oneway", "thermo", &json!({ "method": "m" })), (200, json!("")));
        assert_eq!(device.next_message().payload, r#"{"method":"m","params":null}"#);
        assert_eq!(device.subscribe_qos0(FILTER), 0);
        assert_eq!(
            call(&server, "plugins/rpc/oneway", "thermo", &json!({ "method": "m" })),
            (200, json!(""))
        );
        device.next_message();
        // 212
        let told = during(&server, "rpc/twoway", &json!({ "method": "m" }), || {
            answer_next(&mut device, "not json");
        });
        assert_eq!(told.0, 406);
        let told = during(&server, "plugins/rpc/twoway", &json!({ "method": "m" }), || {
            answer_next(&mut device, "");
        });
        assert_eq!(told, (200, json!("")));
    }
}

#[test]
fn a_device_that_comes_late_is_asked_all_the_same() {
    let server = Server::spawn();
    let mut device = server.device("thermo");
    // 211
    let told = during(&server, "rpc/oneway", &json!({ "method": "late", "timeout": 20_000 }), || {
        assert_eq!(device.subscribe(FILTER), 1);
        assert_eq!(device.next_message().topic, "v1/devices/me/rpc/request/0");
    });
    assert_eq!(told, (200, json!("")));
    // 206, 207, 209
    let brief = || json!({ "method": "m", "expirationTime": in_ms(300) });
    assert_eq!(call(&server, "rpc/twoway", "thermo", &brief()).0, 504);
    assert_eq!(call(&server, "plugins/rpc/twoway", "thermo", &brief()).0, 408);
    device.unsubscribe(FILTER);
    for (path, status) in [("rpc/oneway", 504), ("rpc/twoway", 504), ("plugins/rpc/oneway", 409)] {
        assert_eq!(call(&server, path, "thermo", &brief()).0, status, "{path}");
    }
}

#[test]
fn persistent_rpcs_wait_through_a_kill() {
    let server = Server::spawn();
    server.rest().create_device("thermo", None);
    // 215, 217, 223
    let ids: Vec<String> = (0..10)
        .map(|number| {
            persistent(
                &server,
                "rpc/twoway",
                json!({ "method": "test", "params": number, "timeout": 600_000 }),
            )
        })
        .collect();
    assert!(ids.iter().all(|id| record(&server, id)["status"] == "QUEUED"));
    let server = server.kill_9().restart();
    let mut device = server.connect("thermo");
    assert_eq!(device.subscribe(FILTER), 1);
    for number in 0..10 {
        let request = device.next_message();
        assert_eq!(request.topic, format!("v1/devices/me/rpc/request/{number}"));
        assert_eq!(request.payload, format!(r#"{{"method":"test","params":{number}}}"#));
    }
    ids.iter().for_each(|id| drop(until(&server, id, "DELIVERED")));
    assert_eq!(device.publish_qos1("v1/devices/me/rpc/response/3", r#"{"response":"someResponse"}"#), 0);
    assert_eq!(device.publish_qos1("v1/devices/me/rpc/response/4", "plain text"), 0);
    let server = server.kill_9().restart();
    let answered = record(&server, &ids[3]);
    assert_eq!(
        (&answered["status"], &answered["response"]["response"]),
        (&json!("SUCCESSFUL"), &json!("someResponse"))
    );
    // 222
    assert_eq!(record(&server, &ids[4])["response"], json!({ "error": "plain text" }));
}

#[test]
fn persistent_rpcs_expire_or_are_deleted() {
    let server = Server::spawn();
    server.rest().create_device("thermo", None);
    // 218
    let expired = persistent(&server, "rpc/oneway", json!({ "method": "a", "expirationTime": in_ms(300) }));
    // 229
    let deleted = persistent(&server, "rpc/oneway", json!({ "method": "b" }));
    let kept = persistent(&server, "plugins/rpc/oneway", json!({ "method": "c", "timeout": 600_000 }));
    until(&server, &expired, "EXPIRED");
    server.rest().delete(&format!("/api/rpc/persistent/{deleted}")).expect("it is deleted");
    let mut device = server.connect("thermo");
    device.subscribe(FILTER);
    assert_eq!(device.next_message().payload, r#"{"method":"c","params":null}"#);
    // 216
    until(&server, &kept, "DELIVERED");
    let list = format!("/api/rpc/persistent/device/{}?pageSize=10&page=0", server.rest().device_id("thermo"));
    assert_eq!(server.rest().get(&list).expect("a page")["totalElements"], 2);
    // 219
    assert_eq!(device.subscribe_qos0(FILTER), 0);
    let unacknowledged = persistent(&server, "rpc/oneway", json!({ "method": "d" }));
    until(&server, &unacknowledged, "DELIVERED");
}

#[test]
fn what_is_not_acknowledged_goes_again_and_fails_at_last() {
    let server = Server::spawn_with(&[
        ("WIREGLOT_RPC_ACK_TIMEOUT_MS", "100"),
        ("WIREGLOT_RPC_SUBMIT_STRATEGY", "sequential-on-ack"),
    ]);
    let mut device = server.device("thermo");
    device.stop_acknowledging();
    assert_eq!(device.subscribe(FILTER), 1);
    let long = |method: &str, retries| json!({ "method": method, "retries": retries, "timeout": 600_000 });
    let failing = persistent(&server, "rpc/twoway", long("a", 2));
    let next = persistent(&server, "rpc/twoway", long("b", 5));
    let sent: Vec<_> = (0..4).map(|_| device.next_message().topic).collect();
    let topic = |id: i32| format!("v1/devices/me/rpc/request/{id}");
    assert_eq!(sent, [topic(0), topic(0), topic(0), topic(1)]);
    // 220
    let error = "There was a Timeout and all retry attempts have been exhausted. Retry attempts set: 2";
    assert_eq!(until(&server, &failing, "FAILED")["response"], json!({ "error": error }));
    assert_eq!(device.publish_qos1("v1/devices/me/rpc/response/1", "7"), 0);
    assert_eq!(until(&server, &next, "SUCCESSFUL")["response"], 7);
}

#[test]
fn a_device_that_never_acknowledges_can_lose_its_session() {
    let server = Server::spawn_with(&[
        ("WIREGLOT_RPC_ACK_TIMEOUT_MS", "100"),
        ("WIREGLOT_RPC_CLOSE_SESSION_ON_TIMEOUT", "true"),
    ]);
    server.rest().create_device("thermo", None);
    // 221
    for path in ["rpc/oneway", "rpc/twoway"] {
        let mut device = Device::connect(server.mqtt(), Version::V5, "thermo");
        device.stop_acknowledging();
        device.subscribe(FILTER);
        let id = persistent(&server, path, json!({ "method": "m", "retries": 0, "timeout": 600_000 }));
        let topic = device.next_message().topic;
        assert_eq!(device.closed(), Closed::With(0x98));
        assert_eq!(until(&server, &id, "QUEUED")["response"], json!(null));
        let mut device = Device::connect(server.mqtt(), Version::V5, "thermo");
        device.subscribe(FILTER);
        assert_eq!(device.next_message().topic, topic);
        until(&server, &id, "DELIVERED");
        device.publish_qos1(&topic.replace("request", "response"), "1");
    }
}

#[test]
fn one_after_the_other_where_the_operator_wants_that() {
    for strategy in ["sequential-on-ack", "sequential-on-response"] {
        let server = Server::spawn_with(&[
            ("WIREGLOT_RPC_SUBMIT_STRATEGY", strategy),
            ("WIREGLOT_RPC_RESPONSE_TIMEOUT_MS", "500"),
        ]);
        server.rest().create_device("thermo", None);
        // 225, 226, 227
        let ask = |params: usize| json!({ "method": "test", "params": params, "timeout": 600_000 });
        let ids: Vec<String> = (0..10).map(|number| persistent(&server, "rpc/twoway", ask(number))).collect();
        let mut device = server.connect("thermo");
        device.subscribe(FILTER);
        for number in 0..10 {
            let payload = answer_next(&mut device, &format!("{{\"n\":{number}}}"));
            assert_eq!(payload, format!(r#"{{"method":"test","params":{number}}}"#), "{strategy}");
        }
        for (number, id) in ids.iter().enumerate() {
            assert_eq!(until(&server, id, "SUCCESSFUL")["response"], json!({ "n": number }), "{strategy}");
        }
        if strategy == "sequential-on-response" {
            // 228
            let silent = persistent(&server, "rpc/twoway", ask(10));
            let next = persistent(&server, "rpc/oneway", ask(11));
            device.next_message();
            assert_eq!(device.next_message().payload, r#"{"method":"test","params":11}"#);
            let error = "There was a timeout awaiting for RPC response from device.";
            assert_eq!(until(&server, &silent, "FAILED")["response"], json!({ "error": error }));
            until(&server, &next, "DELIVERED");
        }
    }
}

#[test]
fn a_codec_puts_it_into_bytes_and_reads_the_answer() {
    let server = Server::spawn();
    server.install_codec("callable", &guest("callable"));
    let profile = server.codec_profile("callable", "callable");
    let mut device = server.device_of(&profile, "thermo");
    assert_eq!(device.subscribe(FILTER), 1);
    let body = json!({ "method": "open", "params": { "valve": 3 } });
    // The answer comes as a frame among the telemetry, or where JSON devices answer.
    for (id, topic) in
        [(0, "v1/devices/me/telemetry".to_owned()), (1, "v1/devices/me/rpc/response/1".to_owned())]
    {
        let told = during(&server, "rpc/twoway", &body, || {
            let request = device.next_message();
            assert_eq!(request.payload, format!("{id}open {{\"valve\":3}}"));
            assert_eq!(request.topic, format!("v1/devices/me/rpc/request/{id}"));
            assert_eq!(device.publish_qos1(&topic, [&[0xa5, id], b"{\"open\":true}".as_slice()].concat()), 0);
        });
        assert_eq!(told, (200, json!({ "open": true })));
    }
    let (status, answer) = call(&server, "rpc/twoway", "thermo", &json!({ "method": "refuse" }));
    assert_eq!((status, &answer["result"]), (200, &json!("INVALID_ARGUMENTS")));
    assert!(answer["error"].as_str().is_some_and(|error| error.contains("refused as asked")), "{answer}");
    let twice = persistent(&server, "rpc/oneway", json!({ "method": "twice" }));
    assert_eq!(
        [device.next_message().topic, device.next_message().topic],
        ["down", "v1/devices/me/rpc/request/3"]
    );
    until(&server, &twice, "DELIVERED");
    let nothing = persistent(&server, "rpc/oneway", json!({ "method": "nothing" }));
    until(&server, &nothing, "DELIVERED");
    // A subscription of the JSON family is served with JSON.
    assert_eq!(device.subscribe("v2/r/req/j/+"), 1);
    assert_eq!(call(&server, "rpc/oneway", "thermo", &json!({ "method": "m" })).0, 200);
    assert_eq!(device.next_message().payload, r#"{"method":"m","params":null}"#);
}

/// Places are for those who wait: whoever hangs up leaves one for the next, long before the time of the call is over.
#[test]
fn a_caller_that_hangs_up_leaves_its_place() {
    let server = Server::spawn();
    let id = server.rest().create_device("thermo", None);
    let body = json!({ "method": "m", "timeout": 3_600_000 }).to_string();
    let callers: Vec<BareRequest> = (0..100)
        .map(|_| {
            let path = format!("/api/rpc/twoway/{id}");
            let mut request = server.bare_post(&path, "application/json", body.len());
            request.send(body.as_bytes());
            request
        })
        .collect();
    // Its own time is over at once, so that it takes no place itself.
    let status = || call(&server, "rpc/twoway", "thermo", &json!({ "method": "m", "expirationTime": 1 })).0;
    eventually("all places are taken", || (status() == 429).then_some(()));
    drop(callers);
    eventually("a place is free", || (status() == 504).then_some(()));
    let mut device = server.connect("thermo");
    assert_eq!(device.subscribe(FILTER), 1);
    let answer = during(&server, "rpc/twoway", &json!({ "method": "now" }), || {
        assert!(answer_next(&mut device, "1").contains("now"), "nothing of the others is left");
    });
    assert_eq!(answer, (200, json!(1)));
}
