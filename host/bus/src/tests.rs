//! The rules of one session per device, bounded mailboxes and lossy listeners.

use std::sync::Arc;

use uuid::Uuid;
use wireglot_model::downlink::CloseReason;
use wireglot_model::limits::{FEED_EVENTS_MAX, MAILBOX_COMMANDS_MAX};
use wireglot_model::{DeviceId, Downlink, SessionId, Timestamp};

use super::*;

const DEVICE: DeviceId = DeviceId(Uuid::from_u128(1));

fn update() -> Downlink {
    Downlink::AttributeDelete(vec!["a".into()])
}

fn event(ts: i64) -> Event {
    Event::Connected { device: DEVICE, device_name: "d".into(), ts: Timestamp(ts) }
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
    assert!(!bus.has_listeners());
    bus.announce(event(-1));
    let mut feed = bus.feed();
    assert!(bus.has_listeners());
    let excess = 3;
    for ts in 0..FEED_EVENTS_MAX + excess {
        bus.announce(event(i64::try_from(ts).unwrap()));
    }
    assert_eq!(feed.recv().await, Some(FeedItem::Missed(excess as u64)));
    assert_eq!(feed.recv().await, Some(FeedItem::Event(Arc::new(event(3)))));
    drop(feed);
    assert!(!bus.has_listeners());
}
