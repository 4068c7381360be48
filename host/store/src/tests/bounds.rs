//! Every bound, crossed: keys, dead letters, the queue. And what waits, dropped.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use wireglot_model::{DeadLetter, FailureStage, Timestamp, Value};

use super::{Disk, block_on, device, id, measured};
use crate::{Batch, CommitError, Lane, LaneDriver, StoreConfig};

fn message(ts: i64) -> Batch {
    let mut batch = Batch::default();
    batch.telemetry(id(1), Timestamp(ts), None, &[measured(None, &[("k", Value::Long(ts))])]);
    batch
}

#[test]
fn too_many_keys_are_refused_and_leave_no_trace() {
    let disk = Disk::with(StoreConfig { keys_max: 2, ..StoreConfig::default() });
    disk.commit(|batch| batch.put_device(&device(1)));
    disk.send(1, 1, &[("a", Value::Long(1)), ("b", Value::Long(1))]);
    let refused = disk.try_commit(|batch| {
        batch.put_setting("trace", b"");
        batch.telemetry(id(1), Timestamp(2), None, &[measured(None, &[("a", Value::Long(1))])]);
        batch.telemetry(id(1), Timestamp(2), None, &[measured(None, &[("c", Value::Long(1))])]);
    });
    assert_eq!(refused, Err(CommitError::TooManyKeys));
    assert_eq!(disk.store().setting("trace").unwrap(), None);
    assert_eq!(disk.history(1, "a", (0, 9), 9, false).len(), 1);
    disk.send(1, 3, &[("b", Value::Long(1))]);
    assert!(disk.store().healthy());
}

#[test]
fn the_oldest_dead_letters_make_room() {
    let letter = |payload: Vec<u8>| DeadLetter {
        device: id(1),
        device_name: String::new(),
        profile: String::new(),
        topic: String::new(),
        payload,
        received: Timestamp(9),
        codec: None,
        stage: FailureStage::Refused,
        reason: String::new(),
    };
    let config = StoreConfig { dead_letters_max: 3, dead_letter_bytes_max: 4_000, ..StoreConfig::default() };
    let mut disk = Disk::with(config);
    // One by one, and many in one commit.
    disk.commit(|batch| batch.dead_letter(&letter(vec![0])));
    disk.commit(|batch| (1..=4).for_each(|number| batch.dead_letter(&letter(vec![number]))));
    let kept = |disk: &Disk| -> Vec<u8> {
        disk.store().dead_letters(None, 9).unwrap().into_iter().map(|(_, letter)| letter.payload[0]).collect()
    };
    assert_eq!(kept(&disk), [4, 3, 2]);
    assert_eq!(disk.store().counters().dead_letters_evicted, 2);
    disk.reopen();
    // So large that it fills the bound to the byte, together with one other.
    let empty = crate::dead::encode(&letter(Vec::new())).len();
    disk.commit(|batch| batch.dead_letter(&letter(vec![9; 4_000 - empty - (empty + 1)])));
    assert_eq!(kept(&disk), [9, 4], "bytes count too");
    disk.commit(|batch| batch.dead_letter(&letter(vec![9; 5_000])));
    assert_eq!(kept(&disk), [0u8; 0], "one that is larger than the bound is not kept at all");
    disk.reopen();
    assert_eq!(kept(&disk), [0u8; 0]);
}

type Commit<'l> = Pin<Box<dyn Future<Output = Result<(), CommitError>> + 'l>>;

/// Polls futures by hand, so that a test decides who runs when.
fn poll<T>(future: Pin<&mut (impl Future<Output = T> + ?Sized)>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Runs the driver and these futures until all of them are done.
fn drive(driver: &mut Pin<&mut LaneDriver>, futures: &mut [Commit<'_>]) -> Vec<Result<(), CommitError>> {
    let mut results: Vec<Option<Result<(), CommitError>>> = futures.iter().map(|_| None).collect();
    block_on(std::future::poll_fn(|context| {
        assert!(driver.as_mut().poll(context).is_pending());
        for (future, result) in futures.iter_mut().zip(&mut results) {
            if result.is_none()
                && let Poll::Ready(value) = future.as_mut().poll(context)
            {
                *result = Some(value);
            }
        }
        if results.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    }));
    results.into_iter().map(Option::unwrap).collect()
}

fn held_back(gather: Duration, batches: usize) -> Disk {
    let disk = Disk::with(StoreConfig { gather, queue_batches_max: batches, ..StoreConfig::default() });
    disk.commit(|batch| batch.put_device(&device(1)));
    disk
}

#[test]
fn a_full_queue_makes_a_lane_wait_and_keeps_the_order() {
    let disk = held_back(Duration::from_millis(300), 2);
    let (lane, driver) = disk.store().lane();
    let mut driver = pin!(driver);
    let mut commits: Vec<_> = (1..=20).map(|ts| Box::pin(commit(&lane, ts)) as Commit<'_>).collect();
    for future in &mut commits {
        assert!(poll(future.as_mut()).is_pending());
    }
    assert_eq!(disk.store().counters().queue_batches, 2, "the rest waits outside");
    assert!(drive(&mut driver, &mut commits).into_iter().all(|result| result.is_ok()));
    let messages = disk.store().messages(id(1), Timestamp(0), Timestamp(99), 99).unwrap();
    assert_eq!(messages.len(), 20);
}

async fn commit(lane: &Lane, ts: i64) -> Result<(), CommitError> {
    lane.commit(message(ts)).await.map(drop)
}

#[test]
fn a_full_queue_makes_everybody_wait() {
    let disk = held_back(Duration::from_millis(50), 1);
    let mut commits: Vec<_> = (1..=5).map(|ts| Box::pin(disk.store().commit(message(ts)))).collect();
    for future in &mut commits {
        assert!(poll(future.as_mut()).is_pending());
    }
    assert_eq!(disk.store().counters().queue_batches, 1);
    for future in commits {
        block_on(future).map(drop).unwrap();
    }
    assert_eq!(disk.history(1, "k", (0, 99), 99, false).len(), 5);
}

#[test]
fn a_batch_larger_than_the_queue_is_refused() {
    let disk = Disk::with(StoreConfig { queue_bytes_max: 10_000, ..StoreConfig::default() });
    let refused = disk.try_commit(|batch| batch.put_setting("large", &[0; 10_001]));
    assert_eq!(refused, Err(CommitError::TooLarge));
    assert!(disk.store().healthy());
}

#[test]
fn a_dropped_waiter_loses_nothing() {
    let disk = held_back(Duration::from_millis(100), 3);
    let (lane, driver) = disk.store().lane();
    let mut driver = pin!(driver);
    let mut futures: Vec<_> = (1..=9).map(|ts| Box::pin(commit(&lane, ts)) as Commit<'_>).collect();
    for future in &mut futures {
        assert!(poll(future.as_mut()).is_pending());
    }
    // 1 to 3 are queued, 4 to 9 wait for room. Two of each are dropped, the first in line among them.
    let mut kept = Vec::new();
    for (future, ts) in futures.into_iter().zip(1..) {
        if ![1, 3, 4, 6].contains(&ts) {
            kept.push(future);
        }
    }
    assert!(drive(&mut driver, &mut kept).into_iter().all(|result| result.is_ok()));
    let found: Vec<i64> = disk.history(1, "k", (0, 99), 99, false).into_iter().map(|(ts, _)| ts).collect();
    assert_eq!(found, [1, 2, 3, 5, 7, 8, 9], "what was queued is durable, what was not is not there");
}

#[test]
fn a_dropped_lane_ends_its_driver() {
    let disk = Disk::new();
    let (lane, driver) = disk.store().lane();
    let mut driver = pin!(driver);
    assert!(poll(driver.as_mut()).is_pending());
    drop(lane);
    assert!(poll(driver.as_mut()).is_ready());
}

#[test]
fn closing_settles_what_is_queued_and_refuses_what_comes_later() {
    let disk = held_back(Duration::from_secs(3_600), 9);
    let store = disk.store().clone();
    let mut queued = pin!(disk.store().commit(message(1)));
    assert!(poll(queued.as_mut()).is_pending());
    store.clone().close();
    assert!(matches!(poll(queued.as_mut()), Poll::Ready(Ok(_))));
    let refused = block_on(store.commit(message(2)));
    assert_eq!(refused.err(), Some(CommitError::Closed));
}
