//! What a device calls is answered: device API §13, conformance group M.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wireglot_model::Webhook;
use wireglot_model::limits::{CLIENT_RPC_ANSWER_BYTES_MAX, CLIENT_RPC_WAITING_MAX};

use super::attributes::received;
use super::harness::*;
use crate::{CallPlaces, ClientRpcConfig, WebhookCall};

const CALL: &str = "v1/devices/me/rpc/request/";

/// A webhook whose questions the test answers, or not.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<Vec<WebhookCall>>>);

impl Asked {
    fn config(&self, timeout: Duration) -> ClientRpcConfig {
        let asked = self.clone();
        let url = "http://answers.example".to_owned();
        let webhook = Webhook { url, timeout_ms: 1_000, authorization: None };
        ClientRpcConfig {
            timeout,
            webhook: Some(Arc::new(webhook)),
            ask: Arc::new(move |call| asked.lock().push(call)),
            places: CallPlaces::default(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<WebhookCall>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next question, with its way back. It was asked before the call was acknowledged, or soon after.
    fn next(&self, server: &Server) -> WebhookCall {
        server.until("a question", |_| !self.lock().is_empty());
        self.lock().remove(0)
    }
}

#[track_caller]
fn call(client: &mut Client, version: Version, topic: &str, payload: &str) {
    client.send(&publish(version, topic, 1, 1, payload.as_bytes()));
    client.expect_ack(version, 1, 0);
}

/// What a call on this topic is answered, and where.
#[track_caller]
fn answered(client: &mut Client, version: Version, topic: &str, payload: &str) -> (String, String) {
    call(client, version, topic, payload);
    let (_, topic, _, payload) = received(client, version);
    (topic, payload)
}

#[test]
fn the_time_is_told_in_the_family_of_the_question() {
    let server = Server::start();
    for version in BOTH {
        let mut client = server.connected(version, "TOK");
        for (question, answer) in [
            ("v1/devices/me/rpc/request/7", "v1/devices/me/rpc/response/7"),
            ("v2/r/req/8", "v2/r/res/8"),
            ("v2/r/req/j/5", "v2/r/res/j/5"), // 232
            ("v1/devices/me/rpc/request/-2", "v1/devices/me/rpc/response/-2"),
        ] {
            let time = r#"{"method":"getCurrentTime","params":{}}"#;
            let (topic, payload) = answered(&mut client, version, question, time);
            assert_eq!(topic, answer);
            let millis = payload.strip_prefix("{\"currentTime\":").and_then(|rest| rest.strip_suffix('}'));
            let millis: i64 = millis.unwrap().parse().unwrap();
            assert!(millis > 1_700_000_000_000, "{payload}");
        }
        for qos in [0, 2] {
            client.send(&publish(version, "v2/r/req/9", qos, 3, b"{method:getCurrentTime}"));
            if qos == 2 {
                client.expect_answer(version, 0x50, 3, 0);
            }
            assert_eq!(received(&mut client, version).1, "v2/r/res/9");
        }
    }
}

#[test]
fn what_nobody_answers_gets_an_error() {
    let server = Server::start();
    for version in BOTH {
        let mut client = server.connected(version, "TOK");
        for (payload, method) in [
            (r#"{"method":"m"}"#, "m"),
            (r#"{"method":5}"#, "5"),
            (r#"{"method":true,"params":[1]}"#, "true"),
            (r#"{"method":["one"]}"#, "one"),
        ] {
            let (topic, payload) = answered(&mut client, version, "v2/r/req/1", payload);
            let expected = format!("{{\"error\":\"nobody answers the method '{method}'\"}}");
            assert_eq!((topic.as_str(), payload), ("v2/r/res/1", expected));
        }
        let long = format!("{{\"method\":\"{}\"}}", "ä".repeat(20_000));
        assert!(answered(&mut client, version, "v2/r/req/1", &long).1.len() < 600);
    }
    assert_eq!(server.counters().client_calls_unanswered, 10);
}

#[test]
fn what_is_no_call_is_a_bad_payload() {
    let server = Server::start();
    for version in BOTH {
        let mut client = server.connected(version, "TOK");
        for payload in [
            r#"{"params":{}}"#, // 235
            r#"{"method":null}"#,
            r#"{"method":{}}"#,
            r#"{"method":["a","b"]}"#,
            "[]",
            "\"getCurrentTime\"",
            "{",
        ] {
            client.send(&publish(version, &format!("{CALL}1"), 1, 1, payload.as_bytes()));
            client.expect_ack(version, 1, 0x99);
        }
        client.send(&publish(version, &format!("{CALL}one"), 1, 1, b"{\"method\":\"m\"}"));
        client.expect_ack(version, 1, 0x99);
        client.expect_alive();
    }
    let letters = server.dead_letters();
    assert_eq!(letters.len(), 16);
    assert!(letters.iter().any(|letter| letter.reason.contains("must name its method")), "{letters:?}");
    assert_eq!(server.counters().client_calls, 0);
}

#[test]
fn a_webhook_is_told_who_calls_what() {
    let asked = Asked::default();
    let server = Server::start_answering(1, asked.config(Duration::from_secs(60)));
    for version in BOTH {
        let mut client = server.connected(version, "TOK");
        for (payload, params) in [
            (r#"{"method":"m\"x"}"#, "null"), // 234
            (r#"{"method":"m\"x","params":null}"#, "null"),
            (r#"{"method":"m\"x","params":{"a":null,"b":[1.50,"c"]}}"#, r#"{"a":null,"b":[1.50,"c"]}"#),
            (r#"{method:'m"x',params:{a:b}}"#, r#"{"a":"b"}"#),
        ] {
            call(&mut client, version, "v2/r/req/j/3", payload);
            let question = asked.next(&server);
            let expected = format!(
                "{{\"deviceName\":\"TOK\",\"deviceId\":\"{}\",\"profile\":\"default\",\"method\":\"m\\\"x\",\"requestId\":3,\"params\":{params}}}",
                server.id("TOK")
            );
            assert_eq!(question.body, expected);
            question.reply.answer("[ 1 ]".into());
            assert_eq!(received(&mut client, version).3, "[ 1 ]", "the answer comes as it is");
        }
    }
}

#[test]
fn answers_find_their_family_and_the_last_call_of_an_id() {
    let asked = Asked::default();
    let server = Server::start_answering(1, asked.config(Duration::from_secs(60)));
    for version in BOTH {
        let mut client = server.connected(version, "TOK");
        call(&mut client, version, "v2/r/req/j/1", "{\"method\":\"a\"}");
        call(&mut client, version, "v2/r/req/2", "{\"method\":\"b\"}");
        call(&mut client, version, &format!("{CALL}3"), "{\"method\":\"c\"}");
        call(&mut client, version, "v2/r/req/2", "{\"method\":\"b again\"}");
        let mut questions: Vec<_> = (0..4).map(|_| asked.next(&server)).collect();
        questions.reverse();
        for (question, answer) in questions.into_iter().zip(["\"again\"", "\"c\"", "\"b\"", "\"a\""]) {
            question.reply.answer(answer.into());
        }
        let mut next = || {
            let (_, topic, _, payload) = received(&mut client, version);
            (topic, payload)
        };
        assert_eq!(
            next(),
            ("v2/r/res/2".into(), "\"again\"".into()),
            "the second call has replaced the first"
        );
        assert_eq!(next(), ("v1/devices/me/rpc/response/3".into(), "\"c\"".into()));
        assert_eq!(next(), ("v2/r/res/j/1".into(), "\"a\"".into()));
        client.expect_alive();
    }
}

#[test]
fn a_call_without_an_answer_times_out() {
    let asked = Asked::default();
    let server = Server::start_answering(1, asked.config(Duration::from_millis(100)));
    for version in BOTH {
        let mut client = server.connected(version, "TOK");
        // 233
        let answer = answered(&mut client, version, "v2/r/req/j/1", "{\"method\":\"m\"}");
        assert_eq!(answer, ("v2/r/res/j/1".into(), "{\"error\":\"timeout\"}".into()));
        asked.next(&server).reply.answer("\"late\"".into());
        client.expect_alive();
        client.expect_alive();
    }
    assert_eq!(server.counters().client_calls_unanswered, 2);
}

#[test]
fn calls_and_answers_are_bounded() {
    let asked = Asked::default();
    let server = Server::start_answering(1, asked.config(Duration::from_secs(60)));
    let mut client = server.connected(Version::V5, "TOK");
    for id in 0..CLIENT_RPC_WAITING_MAX {
        call(&mut client, Version::V5, &format!("{CALL}{id}"), "{\"method\":\"m\"}");
    }
    let (topic, payload) = answered(&mut client, Version::V5, &format!("{CALL}900"), "{\"method\":\"m\"}");
    assert_eq!(topic, "v1/devices/me/rpc/response/900");
    assert!(payload.contains("32 calls of this device wait"), "{payload}");
    let questions: Vec<_> = (0..CLIENT_RPC_WAITING_MAX).map(|_| asked.next(&server)).collect();
    let text = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
    let mut questions = questions.into_iter();
    questions.next().unwrap().reply.answer(text(CLIENT_RPC_ANSWER_BYTES_MAX));
    assert_eq!(received(&mut client, Version::V5).3.len(), CLIENT_RPC_ANSWER_BYTES_MAX);
    questions.next().unwrap().reply.answer(text(CLIENT_RPC_ANSWER_BYTES_MAX + 1));
    assert!(received(&mut client, Version::V5).3.starts_with("{\"error\":\"the answer has more than"));
    // Whoever is gone is not answered, and nothing of it stays.
    drop(client);
    server.until("the session is over", |server| server.counters().sessions_ended == 1);
    questions.for_each(|question| question.reply.fail("nobody hears this"));
    server.until("the answers are dropped", |server| server.counters().downlinks_dropped > 0);
}

/// An id that is used again replaces the call, but the webhook has its question; nor does a new connection take it back.
#[test]
fn questions_that_are_out_count_whoever_waits() {
    let asked = Asked::default();
    let server = Server::start_answering(1, asked.config(Duration::from_secs(60)));
    let mut client = server.connected(Version::V5, "TOK");
    for _ in 0..CLIENT_RPC_WAITING_MAX {
        call(&mut client, Version::V5, "v2/r/req/1", "{\"method\":\"m\"}");
    }
    let refused = |client: &mut Client| {
        let (topic, payload) = answered(client, Version::V5, "v2/r/req/1", "{\"method\":\"m\"}");
        assert!(topic == "v2/r/res/1" && payload.contains("32 calls of this device wait"), "{payload}");
    };
    refused(&mut client);
    drop(client);
    server.until("the session is over", |server| server.counters().sessions_ended == 1);
    let mut client = server.connected(Version::V5, "TOK");
    refused(&mut client);
    assert_eq!(asked.lock().len(), CLIENT_RPC_WAITING_MAX);
    // What is answered, or given up, makes room.
    asked.next(&server).reply.answer("1".into());
    drop(asked.next(&server));
    for _ in 0..2 {
        call(&mut client, Version::V5, "v2/r/req/2", "{\"method\":\"m\"}");
    }
    refused(&mut client);
}
