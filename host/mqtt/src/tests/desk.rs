//! Requests of devices that hold no connection, as a worker serves them: REST §3.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wireglot_bus::AnswerAwaited;
use wireglot_model::limits::POLLS_PER_DEVICE_MAX;
use wireglot_model::{
    DeviceAnswer, DeviceCall, DeviceRequest, OtaKind, RateLimits, RequestRefusal, Scope, Value, Webhook, Wish,
};

use super::harness::*;
use super::limits::{level, set};
use super::rpc::draft;
use crate::{CallPlaces, ClientRpcConfig, WebhookCall};

const LONG: u32 = 300_000;

fn begin(server: &Server, token: &str, call: DeviceCall) -> AnswerAwaited {
    let wish = Wish::OfDevice { token: token.into(), is_json: false, call };
    server.bus.bring(DeviceRequest { address: None, wish }).unwrap_or_else(|refusal| panic!("{refusal:?}"))
}

fn ask(server: &Server, token: &str, call: DeviceCall) -> DeviceAnswer {
    wait(begin(server, token, call))
}

fn telemetry(payload: &str) -> DeviceCall {
    DeviceCall::Telemetry { payload: payload.as_bytes().to_vec(), event: None }
}

fn refused(refusal: RequestRefusal) -> DeviceAnswer {
    DeviceAnswer::Refused(refusal)
}

#[track_caller]
fn said(answer: DeviceAnswer) -> String {
    match answer {
        DeviceAnswer::Said { payload, .. } => String::from_utf8(payload).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// Waits until as many requests wait.
#[track_caller]
fn until_waiting(server: &Server, count: usize) {
    server.until(&format!("{count} requests wait"), |server| server.bus.polls() == count);
}

#[test]
fn what_is_taken_is_stored_and_the_connection_stays() {
    let server = Server::start();
    let mut client = server.connected(Version::V5, "TOK");
    assert_eq!(ask(&server, "TOK", telemetry(r#"{"t":21}"#)), DeviceAnswer::Taken);
    assert_eq!(server.latest("TOK", "t"), Some(Value::Long(21)));
    for nothing in ["{}", "[]"] {
        assert_eq!(ask(&server, "TOK", telemetry(nothing)), DeviceAnswer::Taken, "{nothing}");
    }
    let attributes = DeviceCall::Attributes(b"{model:x, serial:7}".to_vec());
    assert_eq!(ask(&server, "TOK", attributes), DeviceAnswer::Taken);
    server.write_shared("TOK", "interval", 60);
    let read = |client: &[&str], shared: &[&str]| {
        let [client_keys, shared_keys] =
            [client, shared].map(|keys| keys.iter().map(|key| (*key).to_owned()).collect());
        said(ask(&server, "TOK", DeviceCall::ReadAttributes { client_keys, shared_keys }))
    };
    let all = r#"{"client":{"model":"x","serial":7},"shared":{"interval":60}}"#;
    assert_eq!(read(&[], &[]), all);
    assert_eq!(read(&["serial", "none"], &[]), r#"{"client":{"serial":7}}"#);
    assert_eq!(read(&["none"], &["interval"]), r#"{"shared":{"interval":60}}"#);
    assert_eq!(read(&["none"], &[]), "{}");
    client.expect_alive();
    assert!(server.bus.is_connected(server.id("TOK")));
    assert_eq!(server.counters().sessions_begun, 1, "a request is no session");
    assert_eq!(server.counters().device_requests, 8);
}

#[test]
fn a_bad_payload_is_kept_and_refused_with_its_reason_or_as_the_profile_says() {
    let server = Server::start();
    for (token, is_taken) in [("TOK", false), ("strict", false), ("accept", true), ("coded", true)] {
        let before = server.dead_letters().len();
        let answer = ask(&server, token, telemetry("{\"t\":"));
        match answer {
            DeviceAnswer::Taken => assert!(is_taken, "{token}"),
            DeviceAnswer::Refused(RequestRefusal::Unusable(reason)) => {
                assert!(!is_taken && !reason.is_empty(), "{token}: {reason}");
                assert!(server.dead_letters().iter().any(|letter| letter.reason == reason), "{reason}");
            }
            other => panic!("{token}: {other:?}"),
        }
        let letters = server.dead_letters();
        assert_eq!(letters.len(), before + 1, "{token}");
        let letter = letters.iter().find(|letter| letter.device_name == token).unwrap();
        assert_eq!(
            (letter.topic.as_str(), &letter.payload[..]),
            ("v1/devices/me/telemetry", &b"{\"t\":"[..])
        );
        assert_eq!(server.messages(token), 0);
    }
}

#[test]
fn only_an_access_token_of_a_device_that_is_served_here_gets_in() {
    let server = Server::start();
    for (token, refusal) in [
        ("nobody", RequestRefusal::UnknownToken),
        ("", RequestRefusal::UnknownToken),
        ("user", RequestRefusal::UnknownToken),
        ("coap", RequestRefusal::OtherTransport),
    ] {
        assert_eq!(ask(&server, token, telemetry("{}")), refused(refusal.clone()), "{token:?}");
        let package = DeviceCall::Package { kind: OtaKind::Firmware, chunk: 0, size: 0 };
        assert_eq!(ask(&server, token, package), refused(refusal), "{token:?}");
    }
    assert_eq!(ask(&server, "TOK", DeviceCall::Greeting), DeviceAnswer::Taken);
    let package = DeviceCall::Package { kind: OtaKind::Firmware, chunk: 0, size: 0 };
    assert_eq!(ask(&server, "TOK", package), refused(RequestRefusal::NoPackage));
}

#[test]
fn an_update_is_told_to_a_request_and_to_the_connection_beside_it() {
    let server = Server::start();
    let mut client = server.connected(Version::V3, "TOK");
    client.send(&subscribe(Version::V3, 1, &[("v1/devices/me/attributes", 0)]));
    assert_eq!(client.packet().0, 0x90);
    let update = begin(&server, "TOK", DeviceCall::AwaitUpdate { timeout_ms: LONG });
    let rpc = begin(&server, "TOK", DeviceCall::AwaitRpc { timeout_ms: LONG });
    until_waiting(&server, 2);
    server.write_shared("TOK", "interval", 5);
    assert_eq!(said(wait(update)), r#"{"interval":5}"#);
    assert_eq!(super::attributes::received(&mut client, Version::V3).3, r#"{"interval":5}"#);
    until_waiting(&server, 1);
    drop(rpc);
    until_waiting(&server, 0);
    let update = begin(&server, "TOK", DeviceCall::AwaitUpdate { timeout_ms: LONG });
    until_waiting(&server, 1);
    let gone = vec!["interval".to_owned()];
    wait(server.devices.delete_attributes(server.id("TOK"), Scope::Shared, gone)).unwrap();
    assert_eq!(said(wait(update)), r#"{"deleted":["interval"]}"#);
    client.expect(0x30, &[&text("v1/devices/me/attributes")[..], br#"{"deleted":["interval"]}"#].concat());
    client.expect_alive();
}

#[test]
fn an_rpc_goes_to_a_request_that_waits_and_is_answered_by_another() {
    let server = Server::start();
    let waiting = begin(&server, "TOK", DeviceCall::AwaitRpc { timeout_ms: LONG });
    until_waiting(&server, 1);
    let first = server.ask(draft(false, "[1]"));
    let second = server.ask(draft(true, "2"));
    let DeviceAnswer::Said { payload, rpc: Some(id) } = wait(waiting) else { panic!("an RPC") };
    assert_eq!(String::from_utf8_lossy(&payload), format!(r#"{{"id":{id},"method":"m","params":[1]}}"#));
    // It thinks about the first one and asks for the next.
    let next = ask(&server, "TOK", DeviceCall::AwaitRpc { timeout_ms: LONG });
    assert_eq!(said(next), r#"{"id":1,"method":"m","params":2}"#);
    assert_eq!(wait(second), wireglot_device::RpcOutcome::Done);
    let response = DeviceCall::RpcResponse { id, payload: br#"{"ok":true}"#.to_vec() };
    assert_eq!(ask(&server, "TOK", response), DeviceAnswer::Taken);
    assert_eq!(wait(first), wireglot_device::RpcOutcome::Response(r#"{"ok":true}"#.into()));
    let nothing = ask(&server, "TOK", DeviceCall::AwaitRpc { timeout_ms: 1 });
    assert_eq!(nothing, refused(RequestRefusal::NoAnswer));
    until_waiting(&server, 0);
}

#[test]
fn a_request_that_left_takes_no_rpc_along() {
    let server = Server::start();
    let waiting = begin(&server, "TOK", DeviceCall::AwaitRpc { timeout_ms: LONG });
    until_waiting(&server, 1);
    drop(waiting);
    let outcome = server.ask(draft(false, "1"));
    let DeviceAnswer::Said { rpc: Some(id), .. } =
        ask(&server, "TOK", DeviceCall::AwaitRpc { timeout_ms: LONG })
    else {
        panic!("an RPC")
    };
    ask(&server, "TOK", DeviceCall::RpcResponse { id, payload: b"7".to_vec() });
    assert_eq!(wait(outcome), wireglot_device::RpcOutcome::Response("7".into()));
}

#[test]
fn requests_that_wait_are_bounded_and_end_with_the_credentials_and_the_server() {
    let mut server = Server::start();
    let update = || DeviceCall::AwaitUpdate { timeout_ms: LONG };
    let mut waiting: Vec<_> = (0..POLLS_PER_DEVICE_MAX).map(|_| begin(&server, "TOK", update())).collect();
    until_waiting(&server, POLLS_PER_DEVICE_MAX);
    // One more ends the oldest: its connection may have broken off unnoticed.
    waiting.push(begin(&server, "TOK", update()));
    assert_eq!(wait(waiting.remove(0)), refused(RequestRefusal::NoAnswer));
    let other = begin(&server, "TOK2", update());
    until_waiting(&server, POLLS_PER_DEVICE_MAX + 1);
    drop(waiting.pop());
    until_waiting(&server, POLLS_PER_DEVICE_MAX);
    wait(server.devices.delete_device(server.id("TOK"), wireglot_device::now())).unwrap();
    for answer in waiting {
        assert_eq!(wait(answer), refused(RequestRefusal::UnknownToken));
    }
    until_waiting(&server, 1);
    server.stop();
    assert_eq!(wait(other), refused(RequestRefusal::Stopping));
}

#[test]
fn an_rpc_that_goes_to_a_request_which_ends_is_not_lost() {
    let server = Server::start();
    let rpc = || DeviceCall::AwaitRpc { timeout_ms: LONG };
    let mut waiting: Vec<_> = (0..POLLS_PER_DEVICE_MAX).map(|_| begin(&server, "TOK", rpc())).collect();
    until_waiting(&server, POLLS_PER_DEVICE_MAX);
    // Others take the place of all of them while the call is on its way.
    let call = server.ask(draft(false, "1"));
    waiting.extend((0..POLLS_PER_DEVICE_MAX).map(|_| begin(&server, "TOK", rpc())));
    let taken = waiting.into_iter().map(wait).find(|answer| matches!(answer, DeviceAnswer::Said { .. }));
    let Some(DeviceAnswer::Said { rpc: Some(id), .. }) = taken else { panic!("an RPC") };
    ask(&server, "TOK", DeviceCall::RpcResponse { id, payload: b"7".to_vec() });
    assert_eq!(wait(call), wireglot_device::RpcOutcome::Response("7".into()));
}

#[test]
fn rate_limits_hold_for_requests() {
    let server = Server::start();
    set(&server, RateLimits { device: level("2:600", "1:600", ""), ..RateLimits::default() });
    assert_eq!(ask(&server, "TOK", telemetry(r#"{"t":1}"#)), DeviceAnswer::Taken);
    assert_eq!(ask(&server, "TOK", telemetry(r#"{"t":2}"#)), refused(RequestRefusal::RateLimited));
    assert_eq!(server.messages("TOK"), 1);
    let read = || DeviceCall::ReadAttributes { client_keys: Vec::new(), shared_keys: Vec::new() };
    assert_eq!(said(ask(&server, "TOK", read())), "{}");
    let update = DeviceCall::AwaitUpdate { timeout_ms: 1 };
    assert_eq!(ask(&server, "TOK", update), refused(RequestRefusal::NoAnswer));
    let update = DeviceCall::AwaitUpdate { timeout_ms: LONG };
    assert_eq!(ask(&server, "TOK", update), refused(RequestRefusal::RateLimited));
    assert_eq!(ask(&server, "TOK", read()), refused(RequestRefusal::RateLimited));
    let asks = DeviceCall::ClientRpc(br#"{"method":"getSessionLimits"}"#.to_vec());
    assert!(said(ask(&server, "TOK", asks)).contains(r#""messages":"2:600""#), "that is free");
}

/// A webhook that the test answers, or nobody.
fn webhook(timeout: Duration) -> (ClientRpcConfig, Arc<Mutex<Vec<WebhookCall>>>) {
    let asked = Arc::<Mutex<Vec<WebhookCall>>>::default();
    let calls = asked.clone();
    let webhook = Webhook { url: "http://answers.example".into(), timeout_ms: 1_000, authorization: None };
    let config = ClientRpcConfig {
        timeout,
        webhook: Some(Arc::new(webhook)),
        ask: Arc::new(move |call| calls.lock().unwrap_or_else(PoisonError::into_inner).push(call)),
        places: CallPlaces::default(),
    };
    (config, asked)
}

#[test]
fn what_a_device_calls_is_the_answer() {
    let (config, asked) = webhook(Duration::from_secs(60));
    let server = Server::start_answering(2, config);
    let call = |method: &str| DeviceCall::ClientRpc(format!(r#"{{"method":"{method}"}}"#).into_bytes());
    assert!(said(ask(&server, "TOK", call("getCurrentTime"))).starts_with(r#"{"currentTime":"#));
    for answer in [Some(r#"{"tariff":3}"#), None] {
        let waiting = begin(&server, "TOK", call("tariff"));
        server.until("a question", |_| !asked.lock().unwrap().is_empty());
        let question = asked.lock().unwrap().remove(0);
        match answer {
            Some(answer) => {
                question.reply.answer(answer.into());
                assert_eq!(said(wait(waiting)), answer);
            }
            None => {
                question.reply.time_out();
                assert_eq!(wait(waiting), refused(RequestRefusal::NoAnswer));
            }
        }
    }
    let bad = DeviceCall::ClientRpc(b"{}".to_vec());
    assert!(matches!(ask(&server, "TOK", bad), DeviceAnswer::Refused(RequestRefusal::Unusable(_))));
}

#[test]
fn a_call_that_nobody_answers_in_time_ends() {
    let (config, _asked) = webhook(Duration::from_millis(20));
    let server = Server::start_answering(1, config);
    let call = DeviceCall::ClientRpc(br#"{"method":"tariff"}"#.to_vec());
    assert_eq!(ask(&server, "TOK", call), refused(RequestRefusal::NoAnswer));
}

#[test]
fn a_device_is_provisioned_without_a_session() {
    let server = Server::start();
    let provision = |payload: &str| {
        let wish = Wish::Provision(payload.as_bytes().to_vec());
        wait(server.bus.bring(DeviceRequest { address: None, wish }).unwrap_or_else(|_| panic!("a worker")))
    };
    let unknown = provision(r#"{"provisionDeviceKey":"k","provisionDeviceSecret":"s"}"#);
    let not_found = r#"{"errorMsg":"Provision data was not found!","status":"NOT_FOUND"}"#;
    assert_eq!(said(unknown), not_found);
    for bad in ["{", "{}", "[]"] {
        let answer = provision(bad);
        assert!(matches!(answer, DeviceAnswer::Refused(RequestRefusal::Unusable(_))), "{bad}: {answer:?}");
    }
    assert_eq!(server.counters().provisions_refused, 4);
}

#[test]
fn a_device_is_active_by_its_requests_alone() {
    let server = Server::start();
    assert_eq!(ask(&server, "TOK", telemetry("{}")), DeviceAnswer::Taken);
    wait(server.devices.save_activity(wireglot_device::now())).unwrap();
    let held = server.devices.attributes(server.id("TOK"), Scope::Server, None).unwrap();
    let value = |key: &str| held.iter().find(|held| held.key == key).map(|held| held.value.clone());
    assert_eq!(value("active"), Some(Value::Bool(true)));
    assert!(value("lastActivityTime").is_some());
    assert_eq!(value("lastConnectTime"), None, "nobody has connected");
}
