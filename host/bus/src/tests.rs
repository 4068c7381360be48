//! The rules of one session per device, bounded mailboxes and lossy listeners.

use std::sync::Arc;

use uuid::Uuid;
use wireglot_model::downlink::CloseReason;
use wireglot_model::limits::{
    DESK_REQUESTS_MAX, FEED_BYTES_MAX, FEED_EVENTS_MAX, LIVE_QUEUE_BYTES_MAX, LIVE_QUEUE_EVENTS_MAX,
    MAILBOX_COMMANDS_MAX, POLLS_MAX, POLLS_PER_DEVICE_MAX,
};
use wireglot_model::{
    CodecName, DeviceAnswer, DeviceCall, DeviceId, Downlink, FailureStage, Sample, SessionId, Timestamp,
    Uplink, UplinkBody, Value, Wish,
};

use super::*;

const DEVICE: DeviceId = DeviceId(Uuid::from_u128(1));

fn update() -> Downlink {
    Downlink::AttributeDelete(vec!["a".into()])
}

fn event(ts: i64) -> Event {
    Event::Connected { device: DEVICE, device_name: "d".into(), profile: "p".into(), ts: Timestamp(ts) }
}

#[track_caller]
fn check_received(receiver: &mut MailboxReceiver, expected: &[(SessionId, Downlink)]) {
    let mut received = Vec::new();
    while let Some(command) = receiver.try_recv() {
        received.push(command);
    }
    assert_eq!(received, expected);
}

#[test]
fn a_second_session_evicts_the_first() {
    let bus = Bus::new();
    let (old, mut at_old) = mailbox();
    let (new, mut at_new) = mailbox();
    assert_eq!(bus.attach(DEVICE, SessionId(1), &old), None);
    assert_eq!(bus.attach(DEVICE, SessionId(2), &new), Some(SessionId(1)));
    assert_eq!(bus.send(DEVICE, update()), Delivery::Sent);
    check_received(&mut at_old, &[(SessionId(1), Downlink::Close(CloseReason::TakenOver))]);
    check_received(&mut at_new, &[(SessionId(2), update())]);
    assert!(!bus.detach(DEVICE, SessionId(1)), "the evicted session must not take the new one along");
    assert!(bus.is_connected(DEVICE));
    assert!(bus.detach(DEVICE, SessionId(2)));
    assert_eq!((bus.connected(), bus.send(DEVICE, update())), (0, Delivery::NotConnected));
}

#[test]
fn a_close_gets_through_a_full_mailbox_and_comes_first() {
    let bus = Bus::new();
    let (mailbox, mut receiver) = mailbox();
    bus.attach(DEVICE, SessionId(1), &mailbox);
    for _ in 0..MAILBOX_COMMANDS_MAX {
        assert_eq!(bus.send(DEVICE, update()), Delivery::Sent);
    }
    assert_eq!(bus.send(DEVICE, update()), Delivery::MailboxFull);
    let close = Downlink::Close(CloseReason::Administrative);
    assert_eq!(bus.send(DEVICE, close.clone()), Delivery::Sent);
    assert_eq!(bus.send(DEVICE, close.clone()), Delivery::NotConnected, "a session is closed once");
    assert_eq!(receiver.try_recv(), Some((SessionId(1), close)));
}

#[test]
fn a_worker_that_ended_holds_nobody() {
    let bus = Bus::new();
    let (mailbox, receiver) = mailbox();
    bus.attach(DEVICE, SessionId(1), &mailbox);
    drop(receiver);
    assert_eq!(bus.send(DEVICE, update()), Delivery::NotConnected);
}

#[tokio::test]
async fn the_receiver_ends_with_the_last_mailbox() {
    let (mailbox, mut receiver) = mailbox();
    let bus = Bus::new();
    bus.attach(DEVICE, SessionId(7), &mailbox);
    bus.send(DEVICE, update());
    drop((bus, mailbox));
    assert_eq!(receiver.recv().await, Some((SessionId(7), update())));
    assert_eq!(receiver.recv().await, None);
}

#[tokio::test]
async fn a_slow_listener_is_told_what_it_missed() {
    let bus = Bus::new();
    bus.announce(event(-1));
    let mut feed = bus.feed(Filter::of(Kinds::CONNECTED));
    let excess = 3;
    for ts in 0..FEED_EVENTS_MAX + excess {
        bus.announce(event(i64::try_from(ts).unwrap()));
    }
    assert_eq!(feed.recv().await, FeedItem::Missed(excess as u64));
    assert_eq!(feed.recv().await, FeedItem::Event(Arc::new(event(3))));
}

#[tokio::test]
async fn a_slow_listener_holds_no_more_than_its_bytes() {
    let bus = Bus::new();
    let mut feed = bus.feed(Filter::of(Kinds::TELEMETRY));
    let large = |ts| Event::Telemetry {
        device: DEVICE,
        device_name: "d".into(),
        profile: "p".into(),
        ts: Timestamp(ts),
        codec: None,
        samples: vec![Sample { key: "k".into(), value: Value::Text("x".repeat(FEED_BYTES_MAX / 3)) }],
    };
    (0..10).for_each(|ts| bus.announce(large(ts)));
    assert_eq!(feed.recv().await, FeedItem::Missed(8));
    assert_eq!(feed.recv().await, FeedItem::Event(Arc::new(large(8))));
    (10..13).for_each(|ts| bus.announce(large(ts)));
    assert_eq!(feed.recv().await, FeedItem::Missed(2), "what was read makes room again");
}

#[test]
fn events_are_wanted_while_somebody_listens() {
    let bus = Bus::new();
    assert!(!bus.wants(Kinds::CONNECTED));
    let feed = bus.feed(Filter::of(Kinds::CONNECTED.and(Kinds::FAILED)));
    let other = bus.feed(Filter::of(Kinds::FAILED));
    assert!(bus.wants(Kinds::CONNECTED) && bus.wants(Kinds::FAILED) && !bus.wants(Kinds::TELEMETRY));
    drop(feed);
    assert!(!bus.wants(Kinds::CONNECTED) && bus.wants(Kinds::FAILED));
    drop(other);
    assert!(!bus.wants(Kinds::FAILED));
}

#[test]
fn a_filter_takes_what_it_names() {
    let elsys = CodecName::parse("elsys").unwrap();
    let child = [Uplink { child: Some("child".into()), body: UplinkBody::Attributes(vec![]) }];
    let failed = Subject {
        kind: Kinds::FAILED,
        device: "d",
        uplinks: &child,
        profile: "p",
        codec: Some(&elsys),
        stage: Some(FailureStage::Trapped),
    };
    let connected = Subject { kind: Kinds::CONNECTED, uplinks: &[], codec: None, stage: None, ..failed };
    let all = Filter::of(Kinds::FAILED.and(Kinds::CONNECTED));
    let device = |name: &str| Filter { device: Some(name.into()), ..all.clone() };
    let profile = |name: &str| Filter { profile: Some(name.into()), ..all.clone() };
    let codec = |name: &str| Filter { codec: Some(CodecName::parse(name).unwrap()), ..all.clone() };
    let stage = |stage| Filter { stage: Some(stage), ..all.clone() };
    for (filter, of_failed, of_connected) in [
        (all.clone(), true, true),
        (Filter::of(Kinds::CONNECTED), false, true),
        (device("d"), true, true),
        (device("child"), true, false),
        (device("e"), false, false),
        (profile("p"), true, true),
        (profile("d"), false, false),
        (codec("elsys"), true, false),
        (codec("else"), false, false),
        (stage(FailureStage::Trapped), true, false),
        (stage(FailureStage::Refused), false, false),
    ] {
        let bus = Bus::new();
        let _feed = bus.feed(filter.clone());
        let found = (bus.is_followed(&failed), bus.is_followed(&connected));
        assert_eq!(found, (of_failed, of_connected), "{filter:?}");
    }
}

/// Values of a text of so many bytes.
fn values(device: DeviceId, ts: i64, bytes: usize) -> Event {
    Event::Telemetry {
        device,
        device_name: "d".into(),
        profile: "p".into(),
        ts: Timestamp(ts),
        codec: None,
        samples: vec![Sample { key: "k".into(), value: Value::Text("x".repeat(bytes)) }],
    }
}

#[tokio::test]
async fn a_follower_hears_of_its_devices_only() {
    let bus = Bus::new();
    let other = DeviceId(Uuid::from_u128(2));
    let mut follower = bus.follower();
    assert!(!bus.is_heard(DEVICE, Kinds::TELEMETRY) && !bus.wants(Kinds::TELEMETRY));
    follower.follow(DEVICE, Kinds::TELEMETRY);
    assert!(bus.is_heard(DEVICE, Kinds::TELEMETRY) && bus.wants(Kinds::TELEMETRY));
    assert!(!bus.is_heard(DEVICE, Kinds::CONNECTED) && !bus.is_heard(other, Kinds::TELEMETRY));
    bus.announce(values(other, 1, 1));
    bus.announce(event(2));
    bus.announce(values(DEVICE, 3, 1));
    assert_eq!(follower.recv().await, FeedItem::Event(Arc::new(values(DEVICE, 3, 1))));
    follower.follow(DEVICE, Kinds::CONNECTED);
    bus.announce(values(DEVICE, 4, 1));
    bus.announce(event(5));
    assert_eq!(
        follower.recv().await,
        FeedItem::Event(Arc::new(event(5))),
        "the new kinds replace the old ones"
    );
    follower.follow(other, Kinds::TELEMETRY);
    follower.leave(DEVICE);
    bus.announce(event(6));
    bus.announce(values(other, 7, 1));
    assert_eq!(follower.recv().await, FeedItem::Event(Arc::new(values(other, 7, 1))));
    drop(follower);
    assert!(!bus.is_heard(other, Kinds::TELEMETRY) && !bus.wants(Kinds::TELEMETRY));
}

#[tokio::test]
async fn a_follower_that_lags_reads_the_state_anew() {
    let bus = Bus::new();
    let mut follower = bus.follower();
    follower.follow(DEVICE, Kinds::CONNECTED.and(Kinds::TELEMETRY));
    let connect = |count: usize| (0..count).for_each(|ts| bus.announce(event(ts as i64)));
    connect(LIVE_QUEUE_EVENTS_MAX);
    assert_eq!(follower.recv().await, FeedItem::Event(Arc::new(event(0))));
    connect(2);
    assert_eq!(follower.recv().await, FeedItem::Missed(LIVE_QUEUE_EVENTS_MAX as u64 + 1));
    connect(1);
    assert_eq!(follower.recv().await, FeedItem::Event(Arc::new(event(0))), "and goes on");
    let announce =
        |count: usize, bytes| (0..count).for_each(|ts| bus.announce(values(DEVICE, ts as i64, bytes)));
    // One that is larger than all that may wait is told, alone.
    announce(1, LIVE_QUEUE_BYTES_MAX);
    assert_eq!(follower.recv().await, FeedItem::Event(Arc::new(values(DEVICE, 0, LIVE_QUEUE_BYTES_MAX))));
    for _ in 0..10 {
        // What was read makes room again.
        announce(1, LIVE_QUEUE_BYTES_MAX / 2);
        assert!(matches!(follower.recv().await, FeedItem::Event(_)));
    }
    announce(2, LIVE_QUEUE_BYTES_MAX / 2);
    assert_eq!(follower.recv().await, FeedItem::Missed(2));
}

#[tokio::test]
async fn followers_are_told_that_something_else_has_changed() {
    let bus = Bus::new();
    let mut old = bus.follower();
    old.follow(DEVICE, Kinds::TELEMETRY);
    let followings = bus.followings();
    let mut new = bus.follower();
    new.follow(DEVICE, Kinds::TELEMETRY);
    bus.tell_newcomers(Some(DeviceId(Uuid::from_u128(2))), followings);
    bus.tell_newcomers(None, followings);
    assert_eq!(new.recv().await, FeedItem::Missed(1));
    bus.announce(values(DEVICE, 1, 1));
    let told = FeedItem::Event(Arc::new(values(DEVICE, 1, 1)));
    assert_eq!(old.recv().await, told, "only newcomers may have missed something");
    assert_eq!(new.recv().await, told);
    bus.tell_newcomers(Some(DEVICE), bus.followings());
    bus.refresh(DeviceId(Uuid::from_u128(2)));
    bus.announce(values(DEVICE, 2, 1));
    assert_eq!(old.recv().await, FeedItem::Event(Arc::new(values(DEVICE, 2, 1))));
    bus.refresh(DEVICE);
    assert_eq!(old.recv().await, FeedItem::Missed(1));
}

#[test]
fn requests_wait_beside_the_session() {
    let bus = Bus::new();
    let (mailbox, mut receiver) = mailbox();
    bus.attach(DEVICE, SessionId(1), &mailbox);
    bus.attach_poll(DEVICE, SessionId(2), &mailbox).unwrap();
    assert_eq!((bus.connected(), bus.polls()), (1, 1));
    bus.send(DEVICE, update());
    let rpc = || Downlink::RpcRequest { id: 1, method: "m".into(), params: "1".into() };
    bus.send(DEVICE, rpc());
    assert_eq!(bus.send_to_poll(DEVICE, SessionId(2), rpc()), Delivery::Sent);
    let told =
        [(SessionId(2), update()), (SessionId(1), update()), (SessionId(1), rpc()), (SessionId(2), rpc())];
    check_received(&mut receiver, &told);
    bus.send(DEVICE, Downlink::Close(CloseReason::RpcUnacknowledged));
    assert_eq!((bus.connected(), bus.polls()), (0, 1), "that is of the session alone");
    bus.send(DEVICE, Downlink::Close(CloseReason::Administrative));
    assert_eq!((bus.polls(), bus.send_to_poll(DEVICE, SessionId(2), rpc())), (0, Delivery::NotConnected));
    let closed = |session, reason| (SessionId(session), Downlink::Close(reason));
    let told = [closed(1, CloseReason::RpcUnacknowledged), closed(2, CloseReason::Administrative)];
    check_received(&mut receiver, &told);
    bus.detach_poll(DEVICE, SessionId(2));
}

#[test]
fn requests_that_wait_are_bounded_for_a_device_and_for_all() {
    let bus = Bus::new();
    let (mailbox, mut receiver) = mailbox();
    let device = |number: usize| DeviceId(Uuid::from_u128(number as u128));
    for number in 0..POLLS_MAX {
        let (device, poll) = (device(number / POLLS_PER_DEVICE_MAX), SessionId(number as u64));
        bus.attach_poll(device, poll, &mailbox).unwrap();
    }
    let newest = SessionId(u64::MAX);
    assert_eq!(bus.attach_poll(device(POLLS_MAX), newest, &mailbox), Err(TooManyPolls));
    check_received(&mut receiver, &[]);
    assert_eq!(
        bus.attach_poll(device(0), newest, &mailbox),
        Ok(()),
        "it takes the place of its device's oldest"
    );
    assert_eq!(bus.polls(), POLLS_MAX);
    check_received(&mut receiver, &[(SessionId(0), Downlink::Close(CloseReason::TakenOver))]);
    assert_eq!(bus.send_to_poll(device(0), SessionId(0), update()), Delivery::NotConnected);
    for stays in [SessionId(1), newest] {
        assert_eq!(bus.send_to_poll(device(0), stays, update()), Delivery::Sent);
    }
    bus.detach_poll(device(0), SessionId(0));
    assert_eq!(bus.polls(), POLLS_MAX, "it has gone already");
    bus.detach_poll(device(0), newest);
    assert_eq!(bus.attach_poll(device(POLLS_MAX), newest, &mailbox), Ok(()));
}

fn greeting(token: &str) -> DeviceRequest {
    let wish = Wish::OfDevice { token: token.into(), is_json: false, call: DeviceCall::Greeting };
    DeviceRequest { address: None, wish }
}

#[tokio::test]
async fn a_request_comes_to_the_worker_of_its_token_and_is_answered() {
    let bus = Bus::new();
    assert_eq!(bus.bring(greeting("t")).err(), Some(RequestRefusal::Stopping), "there is no worker yet");
    let (mut one, mut other) = (bus.open_desk(), bus.open_desk());
    let answers = [bus.bring(greeting("t")).unwrap(), bus.bring(greeting("t")).unwrap()];
    let desk = tokio::select! { biased; first = one.next() => { drop(first); &mut one } first = other.next() => { drop(first); &mut other } };
    let second = desk.next().await.unwrap();
    assert!(!second.reply.is_gone());
    assert!(second.reply.give(DeviceAnswer::Taken));
    let [lost, given] = answers;
    assert_eq!(given.await, DeviceAnswer::Taken);
    assert_eq!(lost.await, DeviceAnswer::Refused(RequestRefusal::Stopping), "nobody knows what became of it");
    let third = bus.bring(greeting("t")).unwrap();
    let mut brought = desk.next().await.unwrap();
    drop(third);
    std::future::poll_fn(|context| brought.reply.poll_gone(context)).await;
    assert!(brought.reply.is_gone() && !brought.reply.give(DeviceAnswer::Taken));
}

#[test]
fn requests_that_wait_for_a_worker_are_bounded() {
    let bus = Bus::new();
    let desk = bus.open_desk();
    let waiting: Vec<_> = (0..DESK_REQUESTS_MAX).map(|_| bus.bring(greeting("t")).unwrap()).collect();
    assert_eq!(bus.bring(greeting("t")).err(), Some(RequestRefusal::Busy));
    drop((desk, waiting));
    assert_eq!(bus.bring(greeting("t")).err(), Some(RequestRefusal::Stopping));
}
