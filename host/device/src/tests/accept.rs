//! What becomes of a message: kept whole or not at all, in one batch, and durable before it is answered.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::LocalSet;
use wireglot_bus::{Event, FeedItem, Filter, Kinds, mailbox};
use wireglot_model::limits::{
    ATTRIBUTES_PER_SCOPE_MAX, GATEWAY_DEVICES_MAX, GATEWAY_PROFILES_MAX, KEY_CHARS_MAX,
};
use wireglot_model::{
    CarriedNames, DeadLetter, DeadLetterBounds, Decoded, Downlink, Envelope, FailureStage, Fault, Scope,
    SessionId, Timestamp, Uplink, UplinkBody, Value, Wrapping,
};

use super::{NOW, Site, attributes, draft, of_child, sample, telemetry, token};
use crate::{
    AcceptError, ChildProfile, CustomerDraft, DeviceDraft, DeviceHandle, DeviceWorker, LetterFilter, Outcome,
    Parts, ProfileChoice,
};

const LATER: Timestamp = Timestamp(NOW.0 + 1);

pub(super) type Worker = DeviceWorker<oneshot::Sender<Outcome>>;

/// Runs a story on a worker's thread, with the worker's driver beside it.
pub(super) async fn on_worker<F: Future<Output = ()>>(site: &Site, story: impl FnOnce(Worker) -> F) {
    let worker = site.devices.worker();
    let local = LocalSet::new();
    local.spawn_local(worker.driver(|then: oneshot::Sender<Outcome>, outcome| then.send(outcome).unwrap()));
    local.run_until(story(worker)).await;
}

/// What comes out of the driver: the answers.
pub(super) async fn accept(
    worker: &Worker,
    device: &DeviceHandle,
    now: Timestamp,
    uplinks: Vec<Uplink>,
) -> Result<Vec<Downlink>, AcceptError> {
    let decoded = Decoded { uplinks, warnings: Vec::new() };
    let (sender, receiver) = oneshot::channel();
    worker.accept(device, now, None, decoded, None, sender).map_err(|(error, _)| error)?;
    let (_accepted, answers) = receiver.await.unwrap()?;
    Ok(answers)
}

async fn gateway(site: &Site) -> DeviceHandle {
    let draft = DeviceDraft { additional_info: "{\"gateway\":true}".into(), ..draft("gw") };
    site.devices.create_device(draft, Some(token("GW")), NOW).await.unwrap()
}

#[tokio::test]
async fn what_was_accepted_is_there_after_a_restart() {
    let site = Site::new().await;
    let device = site.device("d", token("T")).await;
    let id = device.id();
    on_worker(&site, |worker| async move {
        accept(&worker, &device, NOW, vec![telemetry("t", 21), attributes(vec![sample("a", 1)])])
            .await
            .unwrap();
    })
    .await;
    let site = site.reopen().await;
    let latest = site.devices.latest(id, None).unwrap();
    let found: Vec<_> = latest.iter().map(|latest| (latest.key.as_str(), latest.ts, &latest.value)).collect();
    assert_eq!(found, [("t", NOW, &Value::Long(21))]);
    let attribute = site.devices.attributes(id, Scope::Client, None).unwrap();
    assert_eq!((attribute[0].key.as_str(), attribute[0].updated), ("a", NOW));
}

#[tokio::test]
async fn an_attribute_that_is_repeated_keeps_its_time() {
    let site = Site::new().await;
    let device = site.device("d", token("T")).await;
    let devices = site.devices.clone();
    on_worker(&site, |worker| async move {
        let updated = || devices.attributes(device.id(), Scope::Client, None).unwrap()[0].updated;
        accept(&worker, &device, NOW, vec![attributes(vec![sample("a", 1)])]).await.unwrap();
        let written = devices.0.store.counters().batches;
        accept(&worker, &device, LATER, vec![attributes(vec![sample("a", 1)])]).await.unwrap();
        assert_eq!(devices.0.store.counters().batches, written, "nothing had to be written");
        assert_eq!(updated(), NOW);
        let text = wireglot_model::Sample { key: "a".into(), value: Value::Text("1".into()) };
        accept(&worker, &device, LATER, vec![attributes(vec![text])]).await.unwrap();
        assert_eq!(updated(), LATER, "another type is another value");
    })
    .await;
}

#[tokio::test]
async fn requests_are_answered_with_what_was_asked_for() {
    let site = Site::new().await;
    let device = site.device("d", token("T")).await;
    site.devices.write_attributes(device.id(), Scope::Shared, vec![sample("s", 2)], NOW).await.unwrap();
    site.devices.write_attributes(device.id(), Scope::Server, vec![sample("x", 3)], NOW).await.unwrap();
    on_worker(&site, |worker| async move {
        accept(&worker, &device, NOW, vec![attributes(vec![sample("c", 1), sample("d", 4)])]).await.unwrap();
        let check = |client: &[&str], shared: &[&str], expected: (Vec<_>, Vec<_>)| {
            let owned = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
            let answer = worker.attribute_response(&device, 7, &owned(client), &owned(shared));
            let expected = Downlink::AttributeResponse { id: 7, client: expected.0, shared: expected.1 };
            assert_eq!(answer, expected, "{client:?} {shared:?}");
        };
        check(&[], &[], (vec![sample("c", 1), sample("d", 4)], vec![sample("s", 2)]));
        check(&["c", "unknown"], &[], (vec![sample("c", 1)], vec![]));
        check(&[], &["s", "x"], (vec![], vec![sample("s", 2)]));
        let body = UplinkBody::AttributeRequest { id: 9, client_keys: vec!["c".into()], shared_keys: vec![] };
        let request = Uplink { child: None, body };
        let answers = accept(&worker, &device, NOW, vec![request]).await.unwrap();
        let answer = Downlink::AttributeResponse { id: 9, client: vec![sample("c", 1)], shared: vec![] };
        assert_eq!(answers, [answer]);
    })
    .await;
}

#[tokio::test]
async fn a_refused_part_refuses_the_whole_message() {
    let site = Site::new().await;
    let device = site.device("d", token("T")).await;
    let (id, devices) = (device.id(), site.devices.clone());
    let long = "k".repeat(KEY_CHARS_MAX + 1);
    let many = (0..=ATTRIBUTES_PER_SCOPE_MAX).map(|key| sample(&key.to_string(), 1)).collect();
    let rows = [
        (of_child("c", telemetry("t", 1)), Fault::Denied),
        (telemetry(" ", 1), Fault::Device),
        (telemetry(&long, 1), Fault::Device),
        (attributes(vec![sample("", 1)]), Fault::Device),
        (attributes(many), Fault::Quota),
    ];
    on_worker(&site, |worker| async move {
        for (refused, fault) in rows {
            let uplinks = vec![telemetry("t", 1), attributes(vec![sample("a", 1)]), refused];
            let error = accept(&worker, &device, NOW, uplinks).await.unwrap_err();
            assert_eq!(error.fault(), fault, "{error}");
        }
        let long_enough = "ä".repeat(KEY_CHARS_MAX);
        accept(&worker, &device, NOW, vec![telemetry(&long_enough, 1)]).await.unwrap();
    })
    .await;
    assert_eq!(devices.keys(id).unwrap().len(), 1);
    assert!(devices.attributes(id, Scope::Client, None).unwrap().is_empty());
}

#[tokio::test]
async fn a_call_is_accepted_of_the_device_itself_only() {
    let site = Site::new().await;
    let gateway = gateway(&site).await;
    on_worker(&site, |worker| async move {
        let call = |child| Uplink {
            child,
            body: UplinkBody::ClientRpc { id: 1, method: "m".into(), params: "{}".into() },
        };
        let answers = accept(&worker, &gateway, NOW, vec![call(None)]).await.unwrap();
        assert!(answers.is_empty(), "whoever asks answers it");
        let error = accept(&worker, &gateway, NOW, vec![call(Some("c".into()))]).await.unwrap_err();
        assert_eq!(error.fault(), Fault::Device, "{error}");
    })
    .await;
}

#[tokio::test]
async fn an_rpc_answer_that_nobody_waits_for_is_accepted_and_forgotten() {
    let site = Site::new().await;
    let device = site.device("d", token("T")).await;
    on_worker(&site, |worker| async move {
        let body = UplinkBody::RpcResponse { id: 1, payload: "{}".into() };
        let answers = accept(&worker, &device, NOW, vec![Uplink { child: None, body }]).await.unwrap();
        assert!(answers.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_gateway_brings_its_devices_with_their_first_message() {
    let site = Site::new().await;
    let gw = gateway(&site).await;
    let (gateway_id, profile) = (gw.id(), gw.profile().profile.id);
    on_worker(&site, |worker| async move {
        let uplinks =
            vec![of_child("c1", telemetry("t", 1)), of_child("c1", attributes(vec![sample("a", 1)]))];
        accept(&worker, &gw, NOW, uplinks).await.unwrap();
        accept(&worker, &gw, LATER, vec![of_child("c1", telemetry("t", 2))]).await.unwrap();
    })
    .await;
    let site = site.reopen().await;
    let child = site.devices.device_by_name("c1").unwrap();
    assert_eq!(child.record().profile, profile);
    assert_eq!(child.record().additional_info, format!("{{\"lastConnectedGateway\":\"{gateway_id}\"}}"));
    assert_eq!(site.devices.latest(child.id(), None).unwrap()[0].value, Value::Long(2));
    assert_eq!(site.devices.attributes(child.id(), Scope::Client, None).unwrap().len(), 1);
    assert_eq!(site.devices.credentials(child.id()).unwrap().lookup.len(), 20);
    let gw = site.devices.device(gateway_id).unwrap();
    assert_eq!(gw.state.children.load(std::sync::atomic::Ordering::Relaxed), 1, "counted again at the start");
}

#[tokio::test]
async fn a_gateway_has_a_bounded_number_of_devices() {
    let site = Site::new().await;
    let gw = gateway(&site).await;
    gw.state.children.store(GATEWAY_DEVICES_MAX - 1, std::sync::atomic::Ordering::Relaxed);
    let devices = site.devices.clone();
    on_worker(&site, |worker| async move {
        accept(&worker, &gw, NOW, vec![of_child("last", telemetry("t", 1))]).await.unwrap();
        let error = accept(&worker, &gw, NOW, vec![of_child("over", telemetry("t", 1))]).await.unwrap_err();
        assert_eq!(error.fault(), Fault::Quota);
        assert!(devices.device_by_name("over").is_none());
        devices.delete_device(devices.device_by_name("last").unwrap().id(), crate::now()).await.unwrap();
        accept(&worker, &gw, NOW, vec![of_child("over", telemetry("t", 1))]).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_device_behind_a_gateway_gets_the_profile_that_is_named() {
    let site = Site::new().await;
    let (gw, other) = (gateway(&site).await, site.device("direct", token("D")).await);
    let devices = site.devices.clone();
    let gateway_id = gw.id();
    let behind = |name: &str, profile| devices.behind(&gw, name, profile, None, NOW);
    let named = behind("a", ChildProfile::Named("Thermostat")).unwrap();
    assert_eq!(named.profile().profile.name, "Thermostat", "made with its first device");
    assert_eq!(behind("b", ChildProfile::Default).unwrap().profile().profile.name, "default");
    assert_eq!(behind("a", ChildProfile::Named("other")).unwrap().profile().profile.name, "Thermostat");
    assert!(devices.profile_by_name("other").is_none(), "the profile of a device that is there stays");
    assert_eq!(gw.state.children.load(std::sync::atomic::Ordering::Relaxed), 2);
    let through = behind("direct", ChildProfile::Default).unwrap();
    assert_eq!(through.id(), other.id());
    assert_eq!(
        gw.state.children.load(std::sync::atomic::Ordering::Relaxed),
        3,
        "it is behind the gateway now"
    );
    for (name, profile, hint) in [
        ("gw", ChildProfile::Default, "not behind itself"),
        (" ", ChildProfile::Default, "1 to 255 characters"),
        ("c", ChildProfile::Named(" "), "has a name of 1 to 255"),
    ] {
        let error = behind(name, profile).map(|device| device.name()).expect_err(name);
        assert!(error.to_string().contains(hint), "{error}");
    }
    devices.set_devices_max(devices.device_count());
    let error = behind("over", ChildProfile::Default).map(|device| device.name()).expect_err("full");
    assert_eq!(error.fault(), Fault::Quota, "{error}");
    assert!(site.devices.create_device(draft("over"), None, NOW).await.is_err(), "over REST neither");
    devices.set_devices_max(usize::MAX);
    for index in devices.profiles().len()..GATEWAY_PROFILES_MAX {
        let name = format!("p{index}");
        devices.behind(&gw, &name, ChildProfile::Named(&name), None, NOW).unwrap();
    }
    let error = behind("q", ChildProfile::Named("q")).map(|device| device.name()).expect_err("full");
    assert_eq!(error.fault(), Fault::Quota, "{error}");
    on_worker(&site, |worker| async move {
        let mut parts = Parts::default();
        worker.add_device(&mut parts, &named);
        worker.add_device(&mut parts, &through);
        let (done, outcome) = tokio::sync::oneshot::channel();
        worker.accept_parts(parts, done).map_err(|(error, _)| error).unwrap();
        let (_accepted, answers) = outcome.await.unwrap().unwrap();
        assert!(answers.is_empty());
        assert!(named.unsettled().is_none() && through.unsettled().is_none());
    })
    .await;
    drop((devices, gw, other));
    let site = site.reopen().await;
    let kept = site.devices.device_by_name("a").unwrap();
    assert_eq!(kept.profile().profile.name, "Thermostat", "the profile is kept with its device");
    let direct = site.devices.device_by_name("direct").unwrap();
    assert_eq!(direct.record().additional_info, format!("{{\"lastConnectedGateway\":\"{gateway_id}\"}}"));
}

#[tokio::test]
async fn what_management_changes_of_a_device_that_is_not_kept_yet_is_whole() {
    let site = Site::new().await;
    let gw = gateway(&site).await;
    let behind = |name: &str| site.devices.behind(&gw, name, ChildProfile::Named("made"), None, NOW).unwrap();
    let (renamed, secret, owned) = (behind("a"), behind("b"), behind("c"));
    let draft = DeviceDraft { profile: ProfileChoice::Name("made".into()), ..draft("A") };
    site.devices.update_device(renamed.id(), draft, None, NOW).await.unwrap();
    site.devices.set_credentials(secret.id(), token("NEW"), None).await.unwrap();
    let customer = CustomerDraft { title: "C".into(), details: "null".into() };
    let customer = site.devices.create_customer(customer, NOW).await.unwrap();
    site.devices.assign_device(owned.id(), Some(customer.id)).await.unwrap();
    drop((gw, renamed, secret, owned));
    let site = site.reopen().await;
    for (name, profile) in [("A", "made"), ("b", "made"), ("c", "made")] {
        assert_eq!(site.devices.device_by_name(name).unwrap().profile().profile.name, profile);
    }
}

#[tokio::test]
async fn a_device_that_is_deleted_meanwhile_stays_so() {
    let site = Site::new().await;
    let gw = gateway(&site).await;
    let device = site.device("d", token("T")).await;
    let devices = site.devices.clone();
    on_worker(&site, |worker| async move {
        let child = devices.behind(&gw, "d", ChildProfile::Default, None, NOW).unwrap();
        let mut parts = Parts::default();
        let decoded = Decoded { uplinks: vec![telemetry("t", 1)], warnings: Vec::new() };
        worker.add(&mut parts, &child, NOW, None, decoded, None).unwrap();
        devices.delete_device(child.id(), NOW).await.unwrap();
        let (done, outcome) = oneshot::channel();
        worker.accept_parts(parts, done).map_err(|(error, _)| error).unwrap();
        assert!(outcome.await.unwrap().is_ok());
    })
    .await;
    let id = device.id();
    drop(device);
    let site = site.reopen().await;
    assert!(site.devices.device(id).is_none() && site.devices.device_by_name("d").is_none());
}

#[tokio::test]
async fn a_gateway_hears_of_a_new_name_and_of_a_deletion() {
    let site = Site::new().await;
    let gw = gateway(&site).await;
    let child = site.devices.behind(&gw, "a", ChildProfile::Default, None, NOW).unwrap();
    let renamed = DeviceDraft { additional_info: child.record().additional_info, ..draft("b") };
    site.devices.update_device(child.id(), renamed.clone(), None, NOW).await.unwrap();
    site.devices.update_device(child.id(), renamed, None, NOW).await.unwrap();
    site.devices.delete_device(child.id(), NOW).await.unwrap();
    let told: Vec<_> = site.devices.rpcs(gw.id(), None).unwrap();
    let told: Vec<_> = told.iter().map(|rpc| (rpc.method.as_str(), rpc.params.as_str())).collect();
    // 379, 380
    assert_eq!(told, [("gateway_device_renamed", "{\"a\":\"b\"}"), ("gateway_device_deleted", "\"b\"")]);
}

fn wrapping(create_max: u32) -> Wrapping {
    Wrapping { envelope: Envelope::Chirpstack, names: CarriedNames::Name, create_max }
}

#[tokio::test]
async fn a_network_server_brings_as_many_devices_as_its_profile_allows() {
    let site = Site::new().await;
    let server = site.device("server", token("T")).await;
    let (server_id, profile) = (server.id(), server.profile().profile.id);
    let known = site.device("known", token("K")).await;
    let devices = &site.devices;
    let carried =
        |name: &str, max| devices.carried(&server, &wrapping(max), name, Some("0101010101010101"), NOW);
    assert_eq!(carried("known", 0).unwrap().id(), known.id(), "a device that is here is used");
    let refused = |name: &str, max: u32| {
        let error = carried(name, max).map(|device| device.name()).expect_err(name);
        assert_eq!(error.fault(), Fault::Device, "answered as the profile says: {error}");
        error.to_string()
    };
    assert!(refused("a", 0).contains("no device is named 'a', and the connection may bring 0 into being"));
    let first = carried("a", 2).unwrap();
    assert_eq!(first.record().profile, profile);
    let info = format!("{{\"devEui\":\"0101010101010101\",\"lastConnectedGateway\":\"{server_id}\"}}");
    assert_eq!(first.record().additional_info, info);
    carried("b", 2).unwrap();
    assert!(refused("c", 2).contains("may bring 2 into being"));
    assert_eq!(carried("a", 2).unwrap().id(), first.id(), "those that are there still are");
    server.state.children.store(GATEWAY_DEVICES_MAX, std::sync::atomic::Ordering::Relaxed);
    assert!(refused("d", u32::MAX).contains("may bring 10000"), "no profile can ask for more");
    for name in ["", " ", &"n".repeat(256)] {
        refused(name, 2);
    }
    site.devices.delete_device(server_id, crate::now()).await.unwrap();
    assert!(matches!(carried("known", 2), Err(AcceptError::Deleted)), "it speaks for nobody any more");
}

#[tokio::test]
async fn a_name_stands_for_one_dev_eui() {
    let site = Site::new().await;
    let server = site.device("server", token("T")).await;
    let info = "{\"devEui\":\"A1B2C3D4E5F60718\"}";
    let draft = DeviceDraft { additional_info: info.into(), ..draft("d") };
    let device = site.devices.create_device(draft.clone(), None, NOW).await.unwrap();
    let devices = &site.devices;
    let carried = |eui| devices.carried(&server, &wrapping(0), "d", eui, NOW);
    assert!(carried(Some("a1b2c3d4e5f60718")).is_ok());
    for other in [Some("0101010101010101"), None] {
        let error = carried(other).map(|device| device.name()).expect_err("another device of the same name");
        assert!(error.to_string().contains("'d' has the DevEUI a1b2c3d4e5f60718"), "{error}");
        assert_eq!(error.fault(), Fault::Device);
    }
    let open = DeviceDraft { additional_info: "null".into(), ..draft };
    devices.update_device(device.id(), open, None, LATER).await.unwrap();
    assert!(carried(Some("0101010101010101")).is_ok(), "an operator replaced it");
}

#[tokio::test]
async fn a_device_whose_first_frame_was_refused_is_kept_with_it() {
    let site = Site::new().await;
    let server = site.device("server", token("T")).await;
    let devices = site.devices.clone();
    on_worker(&site, |worker| async move {
        let device = devices.carried(&server, &wrapping(1), "c", None, NOW).unwrap();
        let letter = DeadLetter {
            device: device.id(),
            device_name: "c".into(),
            profile_id: device.profile().profile.id,
            profile: "p".into(),
            topic: "t".into(),
            payload: vec![1],
            envelope: Some(Envelope::Chirpstack),
            frame_received: None,
            received: NOW,
            codec: None,
            stage: FailureStage::Refused,
            reason: "no".into(),
        };
        let (sender, receiver) = oneshot::channel();
        let mut parts = Parts::default();
        worker.add_device(&mut parts, &device);
        worker.add_letter(&mut parts, letter, DeadLetterBounds::default());
        worker.accept_parts(parts, sender).map_err(|(error, _)| error).unwrap();
        let (_accepted, _) = receiver.await.unwrap().unwrap();
        assert_eq!(device.unsettled(), None);
    })
    .await;
    let site = site.reopen().await;
    let device = site.devices.device_by_name("c").expect("it is in the store");
    let of_device = LetterFilter { device: Some(device.id()), ..LetterFilter::default() };
    assert_eq!(site.devices.dead_letters(&of_device, None, 10).unwrap().len(), 1);
}

#[tokio::test]
async fn a_child_whose_message_was_cut_off_comes_with_the_next_one() {
    let site = Site::new().await;
    let gw = gateway(&site).await;
    let devices = site.devices.clone();
    on_worker(&site, |worker| async move {
        // What is left when the store refuses the message.
        let child = devices.child(&gw, "c", NOW).unwrap();
        assert!(child.unsettled().is_some());
        accept(&worker, &gw, NOW, vec![of_child("c", telemetry("t", 1))]).await.unwrap();
        assert_eq!(child.unsettled(), None);
    })
    .await;
    let site = site.reopen().await;
    let child = site.devices.device_by_name("c").expect("it is in the store");
    assert_eq!(site.devices.latest(child.id(), None).unwrap().len(), 1);
}

#[tokio::test]
async fn listeners_hear_of_what_is_durable_and_nobody_else_pays() {
    let site = Site::new().await;
    let device = site.device("d", token("T")).await;
    let mut feed = site.bus.feed(Filter::of(Kinds::TELEMETRY));
    on_worker(&site, |worker| async move {
        accept(&worker, &device, NOW, vec![telemetry("t", 5)]).await.unwrap();
    })
    .await;
    let expected = Event::Telemetry {
        device: site.devices.device_by_name("d").unwrap().id(),
        device_name: "d".into(),
        profile: "default".into(),
        ts: NOW,
        codec: None,
        samples: vec![sample("t", 5)],
    };
    assert_eq!(feed.recv().await, FeedItem::Event(Arc::new(expected)));
}

#[tokio::test]
async fn a_shared_write_is_one_message_to_the_device() {
    let site = Site::new().await;
    let device = site.device("d", token("T")).await;
    let (mailbox, mut receiver) = mailbox();
    let claim = crate::ConnectClaim { client_id: "", user_name: Some("T"), password: None };
    let session = site.devices.authenticate(&claim).unwrap();
    site.devices.open_session(&session, SessionId(1), &mailbox, NOW).unwrap();
    let samples = vec![sample("a", 1), sample("b", 2)];
    for _ in 0..2 {
        // The second write changes no value and is told all the same.
        site.devices.write_attributes(device.id(), Scope::Shared, samples.clone(), NOW).await.unwrap();
        assert_eq!(receiver.try_recv(), Some((SessionId(1), Downlink::AttributeUpdate(samples.clone()))));
    }
    site.devices.write_attributes(device.id(), Scope::Server, samples, NOW).await.unwrap();
    let keys = vec!["a".to_owned(), "unknown".to_owned()];
    site.devices.delete_attributes(device.id(), Scope::Shared, keys.clone()).await.unwrap();
    assert_eq!(receiver.try_recv(), Some((SessionId(1), Downlink::AttributeDelete(keys))));
    assert_eq!(receiver.try_recv(), None);
    assert_eq!(site.devices.attributes(device.id(), Scope::Shared, None).unwrap().len(), 1);
}

#[tokio::test]
async fn a_deleted_device_says_nothing_more() {
    let site = Site::new().await;
    let device = site.device("d", token("T")).await;
    site.devices.delete_device(device.id(), crate::now()).await.unwrap();
    on_worker(&site, |worker| async move {
        let error = accept(&worker, &device, NOW, vec![telemetry("t", 1)]).await.unwrap_err();
        assert_eq!(error.fault(), Fault::Denied);
    })
    .await;
}

#[tokio::test]
async fn messages_are_done_in_the_order_in_which_they_came() {
    let site = Site::new().await;
    let device = site.device("d", token("T")).await;
    let worker: DeviceWorker<usize> = site.devices.worker();
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let local = LocalSet::new();
    local.spawn_local(worker.driver(move |number, outcome: Outcome| {
        assert!(outcome.is_ok());
        sender.send(number).unwrap();
    }));
    let decoded = |ts| Decoded { uplinks: vec![telemetry("t", ts)], warnings: Vec::new() };
    for number in (0..30).step_by(3) {
        worker.follow(number).unwrap();
        worker.accept(&device, NOW, None, decoded(1), None, number + 1).unwrap();
        worker.follow(number + 2).unwrap();
    }
    let story = async {
        for expected in 0..30 {
            assert_eq!(receiver.recv().await, Some(expected));
        }
        // With nothing in flight that could wake the driver.
        worker.follow(30).unwrap();
        assert_eq!(receiver.recv().await, Some(30));
    };
    local.run_until(story).await;
}
