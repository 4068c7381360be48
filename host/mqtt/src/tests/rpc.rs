//! What a device is asked and how it answers: device API §12, conformance group L.

use wireglot_device::{RpcCall, RpcDraft, RpcOutcome, now};
use wireglot_model::{RpcId, RpcStatus};

use super::attributes::received;
use super::harness::*;

/// An RPC that is waited for.
pub(super) fn draft(is_one_way: bool, params: &str) -> RpcDraft {
    RpcDraft {
        id: None,
        method: "m".into(),
        params: params.into(),
        is_one_way,
        is_persistent: false,
        timeout_ms: Some(600_000),
        expires: None,
        retries: None,
        additional_info: None,
    }
}

impl Server {
    pub(super) fn ask(&self, draft: RpcDraft) -> impl Future<Output = RpcOutcome> + use<> {
        match wait(self.devices.call(self.id("TOK"), draft, now())).unwrap() {
            RpcCall::Waiting(outcome) => async move { outcome.await.unwrap() },
            RpcCall::Kept(id) => panic!("{id} is kept"),
        }
    }

    fn keep(&self, draft: RpcDraft) -> RpcId {
        match wait(self.devices.call(self.id("TOK"), RpcDraft { is_persistent: true, ..draft }, now()))
            .unwrap()
        {
            RpcCall::Kept(id) => id,
            RpcCall::Waiting(_) => panic!("it is waited for"),
        }
    }

    fn until_status(&self, id: RpcId, status: RpcStatus) {
        self.until(&format!("{id} is {status:?}"), |server| server.devices.rpc(id).unwrap().status == status);
    }
}

#[track_caller]
fn subscribe_to(client: &mut Client, version: Version, filter: &str, qos: u8) {
    client.send(&subscribe(version, 1, &[(filter, qos)]));
    let (kind, body) = client.packet();
    assert_eq!((kind, *body.last().unwrap()), (0x90, qos), "{filter}");
}

const V1: &str = "v1/devices/me/rpc/request/+";

#[test]
fn an_rpc_comes_in_the_family_of_the_last_subscription() {
    let mut server = Server::start();
    for (round, version) in BOTH.into_iter().enumerate() {
        let mut client = server.connected(version, "TOK");
        // 71, 198, 199, 201, 202, 203, 204, 205
        for (index, (filter, qos, params)) in [
            (V1, 1, "{\"pin\":\"23\",\"value\":1}"),
            ("v2/r/req/+", 0, "true"),
            ("v2/r/req/j/+", 1, "\"connect\""),
            (V1, 0, "null"),
        ]
        .into_iter()
        .enumerate()
        {
            let id = 4 * round + index;
            subscribe_to(&mut client, version, filter, qos);
            let outcome = server.ask(draft(true, params));
            let (kind, topic, _, payload) = received(&mut client, version);
            assert_eq!((kind, topic), (0x30 | qos << 1, filter.replace('+', &id.to_string())));
            assert_eq!(payload, format!("{{\"method\":\"m\",\"params\":{params}}}"));
            assert_eq!(wait(outcome), RpcOutcome::Done);
        }
    }
    server.stop();
}

#[test]
fn any_unsubscribe_of_the_family_ends_it() {
    let server = Server::start();
    for version in BOTH {
        let mut client = server.connected(version, "TOK");
        subscribe_to(&mut client, version, V1, 1);
        subscribe_to(&mut client, version, "v2/r/req/+", 1);
        client.send(&unsubscribe(version, 2, &[V1]));
        assert_eq!(client.packet().0, 0xB0);
        let outcome = server.ask(draft(true, "1"));
        client.expect_alive();
        // A late subscriber gets it, after the SUBACK: 211.
        subscribe_to(&mut client, version, V1, 1);
        assert_eq!(received(&mut client, version).3, "{\"method\":\"m\",\"params\":1}");
        assert_eq!(wait(outcome), RpcOutcome::Done);
    }
}

#[test]
fn a_response_is_taken_in_any_family() {
    let server = Server::start();
    for version in BOTH {
        let mut client = server.connected(version, "TOK");
        subscribe_to(&mut client, version, V1, 1);
        // 200, 201, 202, 230
        for prefix in ["v1/devices/me/rpc/response/", "v2/r/res/", "v2/r/res/j/"] {
            let outcome = server.ask(draft(false, "1"));
            let (_, topic, ..) = received(&mut client, version);
            let id = topic.rsplit('/').next().unwrap();
            for _twice in 0..2 {
                // 214: the second one is acknowledged and ignored.
                client.send(&publish(version, &format!("{prefix}{id}"), 1, 7, b"not json"));
                client.expect_ack(version, 7, 0);
            }
            assert_eq!(wait(outcome), RpcOutcome::Response("not json".into()));
        }
        // 213: one that was never asked.
        client.send(&publish(version, "v1/devices/me/rpc/response/999", 1, 8, b"{}"));
        client.expect_ack(version, 8, 0);
        let letters = server.dead_letters().len();
        client.send(&publish(version, "v1/devices/me/rpc/response/x", 1, 9, b"{}"));
        client.expect_ack(version, 9, 0x99);
        client.send(&publish(version, "v2/r/res/p/1", 1, 10, b"{}"));
        client.expect_ack(version, 10, 0x99);
        assert_eq!(server.dead_letters().len(), letters + 2);
    }
}

#[test]
fn the_acknowledgement_makes_it_delivered() {
    let server = Server::start();
    for version in BOTH {
        let mut client = server.connected(version, "TOK");
        subscribe_to(&mut client, version, V1, 1);
        // 216, 217
        let ids = [server.keep(draft(false, "1")), server.keep(draft(true, "2"))];
        let packets = [(); 2].map(|()| received(&mut client, version).2.unwrap());
        server.until_status(ids[1], RpcStatus::Sent);
        client.send(&packet(0x40, &packets[1].to_be_bytes()));
        server.until_status(ids[1], RpcStatus::Delivered);
        assert_eq!(server.devices.rpc(ids[0]).unwrap().status, RpcStatus::Sent);
        client.send(&packet(0x40, &packets[0].to_be_bytes()));
        client.send(&packet(0x40, &[0, 99]));
        server.until_status(ids[0], RpcStatus::Delivered);
        // 219
        subscribe_to(&mut client, version, V1, 0);
        assert_eq!(received(&mut client, version).0, 0x30, "delivered, but not answered: 224");
        let at_once = server.keep(draft(true, "3"));
        assert_eq!(received(&mut client, version).2, None);
        server.until_status(at_once, RpcStatus::Delivered);
        wait(server.devices.delete_rpc(ids[0], now())).unwrap();
    }
}

#[test]
fn what_cannot_be_sent_is_answered_on_the_devices_behalf() {
    let server = Server::start();
    let refused = |outcome: RpcOutcome, words: &str| {
        let RpcOutcome::Response(text) = outcome else { panic!("{words}: {outcome:?}") };
        assert!(text.contains("\"result\":\"INVALID_ARGUMENTS\"") && text.contains(words), "{text}");
    };
    let mut client = server.connected(Version::V3, "TOK");
    subscribe_to(&mut client, Version::V3, "v2/r/req/p/+", 1);
    let failed = server.keep(draft(false, "1"));
    refused(wait(server.ask(draft(false, "1"))), "Failed to convert device RPC command to MQTT msg: ");
    server.until_status(failed, RpcStatus::Failed);

    let mut client = server.client();
    // Maximum Packet Size 60.
    client.send(&connect_with(Version::V5, "", Some("TOK"), None, 60, &[0x27, 0, 0, 0, 60]));
    assert_eq!(client.packet().1[1], 0);
    subscribe_to(&mut client, Version::V5, V1, 1);
    let long = format!("\"{}\"", "x".repeat(60));
    refused(wait(server.ask(draft(false, &long))), " Failed send To Device Rpc Request: m");
    client.expect_alive();
}

#[test]
fn a_slow_device_is_not_drowned() {
    let server = Server::start();
    let kept: Vec<RpcId> = (0..100).map(|number| server.keep(draft(true, &number.to_string()))).collect();
    let mut client = server.client();
    // Receive Maximum 1.
    client.send(&connect_with(Version::V5, "", Some("TOK"), None, 60, &[0x21, 0, 1]));
    assert_eq!(client.packet().1[1], 0);
    subscribe_to(&mut client, Version::V5, V1, 1);
    for number in 0..100 {
        let (_, topic, id, _) = received(&mut client, Version::V5);
        assert_eq!(topic, format!("v1/devices/me/rpc/request/{number}"));
        client.send(&packet(0x40, &id.unwrap().to_be_bytes()));
    }
    kept.into_iter().for_each(|id| server.until_status(id, RpcStatus::Delivered));
}

#[test]
fn a_session_that_ends_leaves_its_rpcs_to_the_next() {
    let server = Server::start();
    for version in BOTH {
        let mut client = server.connected(version, "TOK");
        subscribe_to(&mut client, version, V1, 1);
        let outcome = server.ask(draft(false, "1"));
        let first = received(&mut client, version).1;
        let mut second = server.connected(version, "TOK");
        // 47
        second.expect_alive();
        subscribe_to(&mut second, version, "v2/r/req/+", 1);
        let again = received(&mut second, version).1;
        assert_eq!(first.rsplit('/').next(), again.rsplit('/').next(), "the same id");
        second.send(&publish(version, &again.replace("req", "res"), 1, 2, b"{}"));
        second.expect_ack(version, 2, 0);
        assert_eq!(wait(outcome), RpcOutcome::Response("{}".into()));
    }
}
