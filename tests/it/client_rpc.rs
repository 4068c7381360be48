//! Devices call the server, and are always answered: by the server itself, a responder, a webhook, or with an error.

use serde_json::{Value, json};
use wireglot_load::wire::Version;

use crate::harness::{Device, Question, Reply, Server, Webhook, eventually, guest, plugin};

const CALL: &str = "v1/devices/me/rpc/request/";

/// Makes a profile whose devices' calls are answered like this.
fn profile(server: &Server, name: &str, client_rpc: &Value) -> Value {
    let profile = json!({
        "name": name,
        "type": "DEFAULT",
        "transportType": "DEFAULT",
        "clientRpc": client_rpc,
        "profileData": {
            "configuration": { "type": "DEFAULT" },
            "transportConfiguration": { "type": "DEFAULT" },
        },
    });
    let made = server.rest().post("/api/deviceProfile", &profile).expect("the profile is made");
    let shown = &made["clientRpc"];
    assert_eq!(shown["responder"], client_rpc["responder"]);
    assert_eq!(shown["webhook"]["url"], client_rpc["webhook"]["url"]);
    made
}

fn call(method: &str, params: &Value) -> String {
    json!({ "method": method, "params": params }).to_string()
}

/// What a call is answered.
#[track_caller]
fn answer(device: &mut Device, method: &str, params: &Value) -> Value {
    assert_eq!(device.publish_qos1(&format!("{CALL}1"), call(method, params)), 0);
    let message = device.next_message();
    assert_eq!(message.topic, "v1/devices/me/rpc/response/1");
    serde_json::from_str(&message.payload).unwrap_or_else(|error| panic!("{}: {error}", message.payload))
}

#[test]
fn the_server_itself_tells_the_time_and_says_what_nobody_answers() {
    let server = Server::spawn();
    server.rest().create_device("clock", None);
    for version in [Version::V3, Version::V5] {
        let mut device = Device::connect(server.mqtt(), version, "clock");
        let time = answer(&mut device, "getCurrentTime", &json!({}));
        assert!(time["currentTime"].as_i64().is_some_and(|ms| ms > 1_700_000_000_000), "{time}");
        let nobody = answer(&mut device, "launch", &json!(null));
        assert_eq!(nobody, json!({ "error": "nobody answers the method 'launch'" }));
        for (question, topic) in [("v2/r/req/5", "v2/r/res/5"), ("v2/r/req/j/5", "v2/r/res/j/5")] {
            device.publish_qos0(question, call("getCurrentTime", &json!({})));
            assert_eq!(device.next_message().topic, topic); // 232
        }
        assert_eq!(device.publish_qos2("v2/r/req/6", call("getCurrentTime", &json!({}))), 0);
        assert_eq!(device.next_message().topic, "v2/r/res/6");
    }
    // 235
    let mut device = Device::connect(server.mqtt(), Version::V5, "clock");
    assert_eq!(device.publish_qos1(&format!("{CALL}1"), r#"{"params":{}}"#), 0x99);
    let letters = server.rest().dead_letters("clock");
    assert!(letters[0]["reason"].as_str().is_some_and(|reason| reason.contains("method")), "{letters:?}");
}

#[test]
fn a_webhook_answers() {
    let webhook = Webhook::serve(|_| Reply::Whole(200, b"{\"response\":\"requestReceived\"} ".to_vec()));
    let server = Server::spawn();
    let shape = json!({ "webhook": { "url": webhook.url("/rpc?a=b"), "timeoutMs": 60000, "authorization": "Bearer abc" } });
    let mut made = profile(&server, "asking", &shape);
    let mut device = server.device_of("asking", "meter");
    let id = server.rest().device_id("meter");
    // 231: subscribed to something else, and answered all the same.
    assert_eq!(device.subscribe("v1/devices/me/rpc/request/+"), 1);
    assert_eq!(device.publish_qos1(&format!("{CALL}42"), call("getResponse", &json!(true))), 0);
    let message = device.next_message();
    assert_eq!(message.topic, "v1/devices/me/rpc/response/42");
    assert_eq!(message.payload, "{\"response\":\"requestReceived\"}", "as it is");
    let Question { head, body } = webhook.asked().remove(0);
    let expected = json!({
        "deviceName": "meter", "deviceId": id, "profile": "asking",
        "method": "getResponse", "params": true, "requestId": 42,
    });
    assert_eq!(body, expected);
    let head = head.to_lowercase();
    assert!(head.starts_with("post /rpc?a=b http/1.1\r\n"), "{head}");
    assert!(head.contains("authorization: bearer abc\r\n"), "{head}");
    assert!(head.contains("content-type: application/json\r\n"), "{head}");
    // Built-in methods never get there.
    assert!(answer(&mut device, "getCurrentTime", &json!({}))["currentTime"].is_i64());
    assert_eq!(webhook.asked().len(), 1);
    // The record of changes tells no secrets.
    made["clientRpc"]["webhook"]["authorization"] = "Bearer def".into();
    server.rest().post("/api/deviceProfile", &made).expect("the profile is changed");
    let audit = server.rest().get("/api/audit?pageSize=10&page=0").expect("the record").to_string();
    assert!(audit.contains("client_rpc.webhook changed") && !audit.contains("Bearer"), "{audit}");
}

#[test]
fn a_webhook_that_fails_is_an_error_for_the_device_and_for_nobody_else() {
    let webhook = Webhook::serve(|question| match question.body["method"].as_str().expect("a text") {
        "refuse" => Reply::Whole(500, b"{\"secret\":1}".to_vec()),
        "redirect" => {
            Reply::Raw(b"HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n".to_vec())
        }
        "garbage" => Reply::Whole(200, b"<html>".to_vec()),
        "not-utf8" => Reply::Whole(200, b"\"\xff\"".to_vec()),
        "empty" => Reply::Whole(204, Vec::new()),
        "large" => Reply::Whole(200, format!("\"{}\"", "x".repeat(61_440)).into_bytes()),
        "cut" => Reply::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_vec()),
        "noise" => Reply::Raw(b"\x00\x01\x02\r\n\r\n".to_vec()),
        "hang" => Reply::Silence,
        _ => Reply::Whole(200, b"\"fine\"".to_vec()),
    });
    let server = Server::spawn();
    let url = webhook.url("/");
    profile(&server, "patient", &json!({ "webhook": { "url": url, "timeoutMs": 60000 } }));
    profile(&server, "hasty", &json!({ "webhook": { "url": url, "timeoutMs": 100 } }));
    profile(&server, "lonely", &json!({ "webhook": { "url": "http://127.0.0.1:9/", "timeoutMs": 60000 } }));
    let mut device = server.device_of("patient", "patient");
    for (method, error) in [
        ("refuse", "the webhook answered with the status 500"),
        ("redirect", "the webhook answered with the status 302"),
        ("garbage", "the answer of the webhook is not JSON"),
        ("not-utf8", "the answer of the webhook is not JSON"),
        ("empty", "the answer of the webhook is not JSON"),
        ("large", "the answer of the webhook has more than 61440 bytes"),
        ("cut", "the webhook cannot be reached"),
        ("noise", "the webhook cannot be reached"),
    ] {
        assert_eq!(answer(&mut device, method, &json!({})), json!({ "error": error }), "{method}");
    }
    let mut hasty = server.device_of("hasty", "hasty");
    assert_eq!(answer(&mut hasty, "hang", &json!({})), json!({ "error": "timeout" }));
    let mut lonely = server.device_of("lonely", "lonely");
    assert_eq!(answer(&mut lonely, "m", &json!({})), json!({ "error": "the webhook cannot be reached" }));
    // While one hangs, the device is served on, and other calls are answered.
    assert_eq!(device.publish_qos1(&format!("{CALL}7"), call("hang", &json!({}))), 0);
    device.telemetry("{\"t\":1}");
    assert_eq!(answer(&mut device, "other", &json!({})), json!("fine"));
    assert!(server.log().contains("A webhook did not answer a call of a device."));
}

#[test]
fn calls_that_wait_for_a_webhook_are_bounded() {
    let webhook = Webhook::serve(|_| Reply::Silence);
    let server = Server::spawn();
    profile(&server, "p", &json!({ "webhook": { "url": webhook.url("/"), "timeoutMs": 60000 } }));
    // 256 calls of one webhook may run or wait, 32 of one device.
    let mut devices: Vec<Device> = (0..9).map(|n| server.device_of("p", &format!("d{n}"))).collect();
    for device in &mut devices[..8] {
        for id in 0..32 {
            assert_eq!(device.publish_qos1(&format!("{CALL}{id}"), call("hang", &json!({}))), 0);
        }
    }
    let refused = answer(&mut devices[8], "hang", &json!({}));
    assert_eq!(refused, json!({ "error": "too many calls wait for the webhook" }));
    let refused = answer_of(&mut devices[0], 900);
    assert!(refused.contains("32 calls of this device wait for an answer"), "{refused}");
    eventually("no more run than may", || (webhook.asked().len() >= 16).then_some(()));
    assert_eq!(webhook.asked().len(), 16);
}

fn answer_of(device: &mut Device, id: u16) -> String {
    assert_eq!(device.publish_qos1(&format!("{CALL}{id}"), call("hang", &json!({}))), 0);
    device.next_message().payload
}

#[test]
fn the_servers_own_webhook_answers_where_a_profile_names_none() {
    let webhook = Webhook::serve(|_| Reply::Whole(200, b"\"the server's\"".to_vec()));
    let own = Webhook::serve(|_| Reply::Whole(200, b"\"the profile's\"".to_vec()));
    let url = Box::leak(webhook.url("/all").into_boxed_str());
    let server = Server::spawn_with(&[
        ("WIREGLOT_CLIENT_RPC_WEBHOOK", url),
        ("WIREGLOT_CLIENT_RPC_WEBHOOK_AUTHORIZATION", "Basic eA=="),
    ]);
    profile(&server, "own", &json!({ "webhook": { "url": own.url("/"), "timeoutMs": 10000 } }));
    let mut device = server.device("any");
    assert_eq!(answer(&mut device, "m", &json!({})), json!("the server's"));
    assert!(webhook.asked()[0].head.to_lowercase().contains("authorization: basic ea=="));
    let mut device = server.device_of("own", "one");
    assert_eq!(answer(&mut device, "m", &json!({})), json!("the profile's"));
}

#[test]
fn a_second_call_with_an_id_replaces_the_first() {
    let webhook = Webhook::serve(|question| match question.body["method"].as_str() {
        Some("hang") => Reply::Silence,
        _ => Reply::Whole(200, b"\"second\"".to_vec()),
    });
    let server = Server::spawn_with(&[("WIREGLOT_CLIENT_RPC_TIMEOUT_MS", "500")]);
    profile(&server, "p", &json!({ "webhook": { "url": webhook.url("/"), "timeoutMs": 60000 } }));
    let mut device = server.device_of("p", "d");
    assert_eq!(device.publish_qos1("v2/r/req/j/7", call("hang", &json!({}))), 0);
    assert_eq!(answer_on(&mut device, "v2/r/req/7", "other"), ("v2/r/res/7".into(), "\"second\"".into()));
    // 233: the first one is never answered any more; another one that hangs is, when its time is over.
    let timed_out = answer_on(&mut device, "v2/r/req/j/8", "hang");
    assert_eq!(timed_out, ("v2/r/res/j/8".into(), "{\"error\":\"timeout\"}".into()));
    device.ping();
    assert_eq!(device.unread(), 0);
}

fn answer_on(device: &mut Device, topic: &str, method: &str) -> (String, String) {
    assert_eq!(device.publish_qos1(topic, call(method, &json!({}))), 0);
    let message = device.next_message();
    (message.topic, message.payload)
}

#[test]
fn a_responder_answers_and_is_swapped_live() {
    let webhook = Webhook::serve(|_| Reply::Whole(200, b"\"the webhook\"".to_vec()));
    let server = Server::spawn();
    let installed = server.install_codec("desk", &plugin("first-responder"));
    assert_eq!(installed["methods"], json!(["echo", "time", "lookup"]), "{installed}");
    let url = webhook.url("/");
    profile(
        &server,
        "p",
        &json!({ "responder": "desk", "settings": { "greeting": "moin" }, "webhook": { "url": url } }),
    );
    server.rest().create_device("d", Some("p"));
    server.rest().write_attributes(
        "d",
        "SHARED_SCOPE",
        &json!({ "place": "roof", "interval": 60, "other": 1 }),
    );
    for version in [Version::V3, Version::V5] {
        let mut device = Device::connect(server.mqtt(), version, "d");
        assert_eq!(answer(&mut device, "echo", &json!([1, null])), json!([1, null]));
        let time = answer(&mut device, "time", &json!({}));
        assert!(time["now"].as_i64().is_some_and(|ms| ms > 1_700_000_000_000) && time["greeting"] == "moin");
        let found = answer(&mut device, "lookup", &json!({ "key": "interval" }));
        assert_eq!(found, json!({ "device": "d", "value": 60 }));
        let hidden = answer(&mut device, "lookup", &json!({ "key": "other" }));
        assert_eq!(hidden["value"], json!(null), "only what the responder names is shown to it");
        let refused = answer(&mut device, "lookup", &json!({}));
        assert_eq!(refused, json!({ "error": "the parameters name a `key`" }));
        assert_eq!(answer(&mut device, "unknown", &json!({})), json!("the webhook"));
        assert!(answer(&mut device, "getCurrentTime", &json!({}))["currentTime"].is_i64());
    }
    let mut device = server.connect("d");
    server.install_codec("desk", &guest("answering"));
    eventually("the new version answers", || {
        (answer(&mut device, "echo", &json!(1)) == json!(["answering", 1])).then_some(())
    });
    // A codec cannot take its place, and a responder cannot be a candidate.
    let refused = server.rest().put_codec("desk", &guest("stamp-a")).expect_err("another world");
    assert!(refused.mentions("desk is a responder that is live"), "{refused:?}");
    assert_eq!(answer(&mut device, "echo", &json!(1)), json!(["answering", 1]));
    server.drop_codec("desk.next", &guest("answering"));
    let note = server.codecs().join("desk.next.rejected.txt");
    let note = eventually("the candidate is refused", || std::fs::read_to_string(&note).ok());
    assert!(note.contains("a responder gets none"), "{note}");
    server.install_codec("desk", &guest("answering"));
    let history = server.rest().get("/api/codecs/desk/history").expect("the history");
    assert!(history.to_string().contains("Live") || history.to_string().contains("live"), "{history}");
    // The file goes, and its last version serves on, because a profile names it.
    std::fs::remove_file(server.codecs().join("desk.wasm")).expect("it is there");
    eventually("the server has seen it", || {
        server.rest().codec("desk").filter(|codec| !codec["error"].is_null())
    });
    assert_eq!(answer(&mut device, "echo", &json!(2)), json!(["answering", 2]));
}

#[test]
fn a_responder_that_goes_wrong_harms_its_call_only() {
    let server = Server::spawn();
    server.install_codec("desk", &guest("answering"));
    profile(&server, "p", &json!({ "responder": "desk" }));
    let mut device = server.device_of("p", "d");
    for (method, words) in [
        ("trap", "the responder failed: "),
        ("spin", "the responder failed: the call "),
        ("garbage", "the responder failed: the answer is not JSON"),
        ("large", "the answer has more than 61440 bytes"),
        ("fail", "it is told to"),
        ("unknown", "nobody answers the method 'unknown'"),
    ] {
        let error = answer(&mut device, method, &json!({}));
        assert!(error["error"].as_str().is_some_and(|error| error.contains(words)), "{method}: {error}");
        assert_eq!(answer(&mut device, "echo", &json!(1)), json!(["answering", 1]), "after {method}");
        device.telemetry("{\"t\":1}");
    }
    // Named for what it is not, or not there at all.
    let coded = server.codec_profile("coded", "desk");
    let mut coded = server.device_of(&coded, "c");
    coded.telemetry(b"\x01");
    let letters = server.rest().dead_letters("c");
    assert!(letters[0].to_string().contains("is a responder"), "{letters:?}");
    server.install_codec("stamp", &guest("stamp-a"));
    profile(&server, "wrong", &json!({ "responder": "stamp" }));
    profile(&server, "absent", &json!({ "responder": "absent" }));
    for (profile, words) in [("wrong", "is a codec"), ("absent", "no codec named absent is live")] {
        let error = answer(&mut server.device_of(profile, profile), "echo", &json!({}));
        assert!(error["error"].as_str().is_some_and(|error| error.contains(words)), "{error}");
    }
}

#[test]
fn a_codecs_frames_call_too_and_it_writes_the_answers() {
    let webhook =
        Webhook::serve(|question| Reply::Whole(200, question.body["params"].to_string().into_bytes()));
    let url = Box::leak(webhook.url("/").into_boxed_str());
    let server = Server::spawn_with(&[("WIREGLOT_CLIENT_RPC_WEBHOOK", url)]);
    server.install_codec("calling", &guest("calling"));
    let profile = server.codec_profile("coded", "calling");
    let mut device = server.device_of(&profile, "d");
    device.telemetry(b"getCurrentTime");
    let message = device.next_message();
    assert_eq!(message.topic, "v1/devices/me/rpc/response/9");
    assert!(message.payload.starts_with("9={\"currentTime\":"), "{}", message.payload);
    // The same from the mailbox, and in the family of a topic that says so.
    assert_eq!(device.publish_qos1("v2/r/req/3", "ask"), 0);
    let message = device.next_message();
    assert_eq!(
        (message.topic.as_str(), message.payload.as_str()),
        ("v2/r/res/9", "9={\"from\":\"a frame\"}")
    );
    // What is JSON by its topic stays JSON.
    assert_eq!(device.publish_qos1("v2/r/req/j/4", r#"{"method":"m","params":[1]}"#), 0);
    let message = device.next_message();
    assert_eq!((message.topic.as_str(), message.payload.as_str()), ("v2/r/res/j/4", "[1]"));
}
