//! Asking devices: what is durable when, what is refused, and what a restart finds.

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use wireglot_bus::{MailboxReceiver, mailbox};
use wireglot_model::downlink::CloseReason;
use wireglot_model::limits::{
    RPC_INFO_BYTES_MAX, RPC_METHOD_BYTES_MAX, RPC_PARAMS_BYTES_MAX, RPC_PENDING_BYTES_MAX, RPC_WAIT_MS_MAX,
    RPCS_PENDING_PER_DEVICE_MAX,
};
use wireglot_model::{Decoded, Downlink, RpcId, RpcStatus, SessionId, Uplink, UplinkBody};

use super::accept::{accept, on_worker};
use super::*;
use crate::{
    DeviceError, RpcCall, RpcDraft, RpcOutcome, RpcRefusal, RpcRules, RpcStrategy, RpcWaiting, Written,
};

fn rpc(method: &str) -> RpcDraft {
    RpcDraft {
        id: None,
        method: method.into(),
        params: "1".into(),
        is_one_way: false,
        is_persistent: false,
        timeout_ms: None,
        expires: None,
        retries: None,
        additional_info: None,
    }
}

fn persistent(method: &str) -> RpcDraft {
    RpcDraft { is_persistent: true, ..rpc(method) }
}

fn later(ms: i64) -> Timestamp {
    Timestamp(NOW.0 + ms)
}

impl Site {
    /// A session of the device that takes RPCs.
    fn listens(&self, device: &DeviceHandle, session: u64) -> MailboxReceiver {
        let (mailbox, receiver) = mailbox();
        let session = SessionId(session);
        self.bus.attach(device.id(), session, &mailbox);
        self.devices.rpc_listens(device, session, NOW);
        receiver
    }

    async fn ask(&self, device: &DeviceHandle, draft: RpcDraft) -> RpcWaiting {
        match self.devices.call(device.id(), draft, NOW).await.unwrap() {
            RpcCall::Waiting(outcome) => outcome,
            RpcCall::Kept(id) => panic!("{id} is kept"),
        }
    }

    async fn keep(&self, device: &DeviceHandle, draft: RpcDraft) -> RpcId {
        match self.devices.call(device.id(), draft, NOW).await.unwrap() {
            RpcCall::Kept(id) => id,
            RpcCall::Waiting(_) => panic!("it is waited for"),
        }
    }

    fn status(&self, id: RpcId) -> RpcStatus {
        self.devices.rpc(id).unwrap().status
    }
}

fn methods(receiver: &mut MailboxReceiver) -> Vec<(i32, String)> {
    let mut found = Vec::new();
    while let Some((_, downlink)) = receiver.try_recv() {
        match downlink {
            Downlink::RpcRequest { id, method, .. } => found.push((id, method)),
            other => panic!("{other:?}"),
        }
    }
    found
}

/// Whether it is still waited for.
async fn is_open(waiting: &mut RpcWaiting) -> bool {
    poll_fn(|context| Poll::Ready(Pin::new(&mut *waiting).poll(context).is_pending())).await
}

fn response(id: i32, payload: &str) -> Uplink {
    Uplink { child: None, body: UplinkBody::RpcResponse { id, payload: payload.into() } }
}

#[tokio::test]
async fn the_devices_response_reaches_whoever_waits() {
    let site = Site::new().await;
    let device = site.device("d", token("T")).await;
    let mut receiver = site.listens(&device, 1);
    let outcome = site.ask(&device, rpc("a")).await;
    assert_eq!(methods(&mut receiver), [(0, "a".to_owned())]);
    on_worker(&site, |worker| async move {
        accept(&worker, &device, NOW, vec![response(0, "{\"x\":1}"), response(7, "nobody asked")])
            .await
            .unwrap();
    })
    .await;
    assert_eq!(outcome.await, Ok(RpcOutcome::Response("{\"x\":1}".into())));
}

#[tokio::test]
async fn a_response_is_durable_when_it_is_acknowledged() {
    let site = Site::new().await;
    let device = site.device("d", token("T")).await;
    let _receiver = site.listens(&device, 1);
    let id = site.keep(&device, persistent("a")).await;
    site.devices.rpc_written(device.id(), 0, Written::Unacknowledged, NOW);
    site.devices.rpc_acknowledged(device.id(), 0, NOW);
    assert_eq!(site.status(id), RpcStatus::Delivered);
    let on_disk = |site: &Site| site.store.rpc(id).unwrap().unwrap().status;
    assert_eq!(on_disk(&site), RpcStatus::Queued, "written with the next turn of the clock");
    site.devices.turn_rpcs(NOW).await.unwrap();
    assert_eq!(on_disk(&site), RpcStatus::Delivered);
    on_worker(&site, |worker| async move {
        accept(&worker, &device, NOW, vec![response(0, "5")]).await.unwrap();
    })
    .await;
    assert_eq!(on_disk(&site), RpcStatus::Successful, "without any turn of the clock");
    let site = site.reopen().await;
    let record = site.devices.rpc(id).unwrap();
    assert_eq!((record.status, record.response.as_deref()), (RpcStatus::Successful, Some("5")));
}

#[tokio::test]
async fn a_restart_sends_what_was_queued_and_only_that() {
    let site = Site::new().await;
    let device = site.device("d", token("T")).await;
    let receiver = site.listens(&device, 1);
    let sent = site.keep(&device, persistent("sent")).await;
    site.devices.rpc_written(device.id(), 0, Written::Unacknowledged, NOW);
    drop(receiver);
    site.devices.rpc_ceases(device.id(), SessionId(1), NOW);
    let mut queued = Vec::new();
    for method in ["a", "b", "c"] {
        queued.push(site.keep(&device, persistent(method)).await);
    }
    let brief = RpcDraft { expires: Some(later(50)), ..persistent("brief") };
    let brief = site.keep(&device, brief).await;
    site.devices.turn_rpcs(NOW).await.unwrap();
    let site = site.reopen().await;
    assert_eq!(site.devices.turn_rpcs(later(50)).await.unwrap(), Some(later(10_000)));
    assert_eq!(site.status(brief), RpcStatus::Expired);
    let device = site.devices.device(device.id()).unwrap();
    let mut receiver = site.listens(&device, 1);
    let again = [(0, "a".to_owned()), (1, "b".to_owned()), (2, "c".to_owned())];
    assert_eq!(methods(&mut receiver), again, "with new ids, in the order in which they were asked");
    assert_eq!(site.status(sent), RpcStatus::Sent);
    assert_eq!(site.devices.turn_rpcs(later(10_000)).await.unwrap(), None);
    for id in queued.into_iter().chain([sent]) {
        assert_eq!(site.status(id), RpcStatus::Expired);
    }
    let all = site.devices.rpcs(device.id(), None).unwrap();
    assert_eq!(
        all.iter().map(|record| &*record.method).collect::<Vec<_>>(),
        ["sent", "a", "b", "c", "brief"]
    );
}

#[tokio::test]
async fn a_deleted_rpc_is_not_sent() {
    let site = Site::new().await;
    let device = site.device("d", token("T")).await;
    let ids = [site.keep(&device, persistent("a")).await, site.keep(&device, persistent("b")).await];
    site.devices.delete_rpc(ids[0], NOW).await.unwrap();
    assert!(matches!(site.devices.delete_rpc(ids[0], NOW).await, Err(DeviceError::NotFound)));
    assert!(matches!(site.devices.rpc(ids[0]), Err(DeviceError::NotFound)));
    let mut receiver = site.listens(&device, 1);
    assert_eq!(methods(&mut receiver), [(1, "b".to_owned())], "the other keeps its id");
    let site = site.reopen().await;
    assert!(matches!(site.devices.rpc(ids[0]), Err(DeviceError::NotFound)));
    assert!(site.devices.rpc(ids[1]).is_ok());
}

#[tokio::test]
async fn the_rpcs_of_a_deleted_device_are_gone() {
    let site = Site::new().await;
    let device = site.device("d", token("T")).await;
    let kept = site.keep(&device, persistent("a")).await;
    let outcome = site.ask(&device, rpc("b")).await;
    site.devices.delete_device(device.id(), crate::now()).await.unwrap();
    assert_eq!(outcome.await, Ok(RpcOutcome::Gone));
    assert!(matches!(site.devices.rpc(kept), Err(DeviceError::NotFound)));
    let refused = site.devices.call(device.id(), rpc("c"), NOW).await;
    assert!(matches!(refused, Err(RpcRefusal::NoDevice)));
    assert_eq!(site.devices.turn_rpcs(later(100_000)).await.unwrap(), None);
    let site = site.reopen().await;
    let mut left = 0;
    site.store.each_rpc(&mut |_| left += 1).unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
// 210
async fn a_caller_waits_as_long_as_the_rules_say() {
    let site = Site::new().await;
    let device = site.device("d", token("T")).await;
    for (timeout_ms, expires, due) in [
        (None, None, 10_000),
        (Some(100), None, 5_000),
        (Some(7_000), None, 7_000),
        (Some(7_000), Some(later(300)), 300),
        (Some(i64::MAX), None, RPC_WAIT_MS_MAX),
    ] {
        let mut outcome = site.ask(&device, RpcDraft { timeout_ms, expires, ..rpc("a") }).await;
        site.devices.turn_rpcs(later(due - 1)).await.unwrap();
        assert!(is_open(&mut outcome).await, "{timeout_ms:?}");
        site.devices.turn_rpcs(later(due)).await.unwrap();
        assert_eq!(outcome.await, Ok(RpcOutcome::NoSession), "{timeout_ms:?}");
    }
    let outcome = site.ask(&device, RpcDraft { expires: Some(NOW), ..rpc("a") }).await;
    assert_eq!(outcome.await, Ok(RpcOutcome::NoSession), "it is too late already");
    let id = site.keep(&device, RpcDraft { expires: Some(NOW), ..persistent("a") }).await;
    assert_eq!(site.status(id), RpcStatus::Expired);
    assert_eq!(methods(&mut site.listens(&device, 1)), []);
}

#[tokio::test]
async fn what_is_asked_is_bounded() {
    let site = Site::new().await;
    let device = site.device("d", token("T")).await;
    let refused = async |draft: RpcDraft| site.devices.call(device.id(), draft, NOW).await.unwrap_err();
    let long = |length: usize| "x".repeat(length);
    assert!(matches!(refused(rpc("")).await, RpcRefusal::Method));
    assert!(matches!(refused(rpc(&long(RPC_METHOD_BYTES_MAX + 1))).await, RpcRefusal::Method));
    let params = long(RPC_PARAMS_BYTES_MAX + 1);
    assert!(matches!(refused(RpcDraft { params, ..rpc("a") }).await, RpcRefusal::Params));
    let additional_info = Some(long(RPC_INFO_BYTES_MAX + 1));
    assert!(matches!(refused(RpcDraft { additional_info, ..rpc("a") }).await, RpcRefusal::Info));
    let id = site.keep(&device, persistent("a")).await;
    assert!(matches!(refused(RpcDraft { id: Some(id), ..persistent("a") }).await, RpcRefusal::DuplicateId));
    let mut waiting = Vec::new();
    for _ in 1..RPCS_PENDING_PER_DEVICE_MAX {
        waiting.push(site.ask(&device, rpc("a")).await);
    }
    assert!(matches!(refused(rpc("a")).await, RpcRefusal::TooManyPending));
    site.devices.turn_rpcs(later(10_000)).await.unwrap();
    waiting.push(site.ask(&device, rpc("a")).await);
}

#[tokio::test]
async fn what_waits_for_all_devices_together_is_bounded() {
    let site = Site::new().await;
    let large = || RpcDraft { params: "1".repeat(RPC_PARAMS_BYTES_MAX), ..rpc("a") };
    let mut asked = Vec::new();
    'all: for number in 0.. {
        let device = site.device(&format!("d{number}"), token(&format!("T{number}"))).await;
        for _ in 0..RPCS_PENDING_PER_DEVICE_MAX {
            match site.devices.call(device.id(), large(), NOW).await {
                Ok(call) => asked.push(call),
                Err(RpcRefusal::TooManyBytes) => break 'all,
                Err(other) => panic!("{other}"),
            }
        }
    }
    let asked = asked.len();
    assert!(asked * RPC_PARAMS_BYTES_MAX <= RPC_PENDING_BYTES_MAX);
    assert!((asked + 8) * (RPC_PARAMS_BYTES_MAX + 512) > RPC_PENDING_BYTES_MAX, "{asked}");
}

#[tokio::test]
async fn a_device_that_does_not_acknowledge_can_lose_its_session() {
    let site = Site::new().await;
    site.devices.set_rpc_rules(RpcRules { closes_session: true, ..RpcRules::default() });
    let device = site.device("d", token("T")).await;
    let mut receiver = site.listens(&device, 1);
    let draft = RpcDraft { retries: Some(0), timeout_ms: Some(60_000), ..persistent("a") };
    let id = site.keep(&device, draft).await;
    assert_eq!(methods(&mut receiver), [(0, "a".to_owned())]);
    site.devices.rpc_written(device.id(), 0, Written::Unacknowledged, NOW);
    site.devices.turn_rpcs(later(10_000)).await.unwrap();
    assert_eq!(receiver.try_recv(), Some((SessionId(1), Downlink::Close(CloseReason::RpcUnacknowledged))));
    assert_eq!(site.status(id), RpcStatus::Queued);
    assert_eq!(methods(&mut site.listens(&device, 2)), [(0, "a".to_owned())]);
}

#[tokio::test]
async fn a_new_session_that_takes_no_rpcs_loses_none() {
    let site = Site::new().await;
    let device = site.device("d", token("T")).await;
    let _old = site.listens(&device, 1);
    let (mailbox, mut new) = mailbox();
    site.bus.attach(device.id(), SessionId(2), &mailbox);
    let outcome = site.ask(&device, RpcDraft { is_one_way: true, ..rpc("a") }).await;
    assert_eq!(methods(&mut new), [(0, "a".to_owned())]);
    site.devices.rpc_undelivered(device.id(), 0, NOW);
    site.devices.rpc_ceases(device.id(), SessionId(1), NOW);
    site.devices.rpc_listens(&device, SessionId(2), NOW);
    assert_eq!(methods(&mut new), [(0, "a".to_owned())]);
    site.devices.rpc_written(device.id(), 0, Written::Unacknowledged, NOW);
    assert_eq!(outcome.await, Ok(RpcOutcome::Done));
}

#[tokio::test]
async fn a_frame_that_is_decoded_again_answers_nobody() {
    let site = Site::new().await;
    let device = site.device("d", token("T")).await;
    let mut outcome = site.ask(&device, rpc("a")).await;
    let mut decoded = Decoded { uplinks: vec![response(0, "old"), telemetry("t", 1)], warnings: vec![] };
    site.devices.drop_stale(&device, &mut decoded, NOW);
    assert_eq!(decoded.uplinks, [telemetry("t", 1)]);
    assert!(is_open(&mut outcome).await);
}

#[tokio::test]
async fn a_caller_that_goes_takes_its_rpc_back() {
    let site = Site::new().await;
    site.devices
        .set_rpc_rules(RpcRules { strategy: RpcStrategy::SequentialOnResponse, ..RpcRules::default() });
    let device = site.device("d", token("T")).await;
    let mut waiting = Vec::new();
    for number in 0..RPCS_PENDING_PER_DEVICE_MAX {
        waiting.push(site.ask(&device, rpc(&format!("m{number}"))).await);
    }
    let full = site.devices.call(device.id(), rpc("m"), NOW).await;
    assert!(matches!(full, Err(RpcRefusal::TooManyPending)));
    // One that waits for the device is not sent any more; one that the device has makes room for the next.
    drop(waiting.remove(1));
    let mut receiver = site.listens(&device, 1);
    assert_eq!(methods(&mut receiver), [(0, "m0".to_owned())]);
    site.devices.rpc_written(device.id(), 0, Written::Finally, NOW);
    assert_eq!(methods(&mut receiver), []);
    drop(waiting.remove(0));
    assert_eq!(methods(&mut receiver), [(2, "m2".to_owned())]);
    drop(waiting);
    assert_eq!(site.devices.turn_rpcs(later(RPC_WAIT_MS_MAX)).await.unwrap(), None, "nothing is left");
}
