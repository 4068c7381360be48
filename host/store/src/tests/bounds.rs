//! Every bound, crossed: keys, dead letters, the queue. And what waits, dropped.

use std::cell::RefCell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use wireglot_model::{DeadLetter, FailureStage, Timestamp, Value};

use super::{Disk, block_on, device, id, measured, no_bounds, profile};
use crate::{Batch, CommitError, Lane, LaneDriver, LetterFilter, StoreConfig};

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
        profile_id: profile(1),
        profile: String::new(),
        topic: String::new(),
        payload,
        envelope: None,
        frame_received: None,
        received: Timestamp(9),
        codec: None,
        stage: FailureStage::Refused,
        reason: String::new(),
    };
    let config = StoreConfig { dead_letters_max: 3, dead_letter_bytes_max: 4_000, ..StoreConfig::default() };
    let mut disk = Disk::with(config);
    // One by one, and many in one commit.
    disk.commit(|batch| batch.dead_letter(letter(vec![0]), no_bounds()));
    disk.commit(|batch| (1..=4).for_each(|number| batch.dead_letter(letter(vec![number]), no_bounds())));
    let kept = |disk: &Disk| -> Vec<u8> {
        let letters = disk.store().dead_letters(&LetterFilter::default(), None, 9).unwrap();
        letters.into_iter().map(|(_, letter)| letter.payload[0]).collect()
    };
    assert_eq!(kept(&disk), [4, 3, 2]);
    assert_eq!(disk.store().counters().dead_letters_evicted, 2);
    disk.reopen();
    // So large that it fills the bound to the byte, together with one other.
    let empty = crate::dead::encode(&letter(Vec::new())).len();
    disk.commit(|batch| batch.dead_letter(letter(vec![9; 4_000 - empty - (empty + 1)]), no_bounds()));
    assert_eq!(kept(&disk), [9, 4], "bytes count too");
    disk.commit(|batch| batch.dead_letter(letter(vec![9; 5_000]), no_bounds()));
    assert_eq!(kept(&disk), [0u8; 0], "one that is larger than the bound is not kept at all");
    disk.reopen();
    assert_eq!(kept(&disk), [0u8; 0]);
}

/// Polls futures by hand, so that a test decides who runs when.
fn poll<T>(future: Pin<&mut (impl Future<Output = T> + ?Sized)>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Runs the driver until this many have come out.
fn drive(lane: &Lane<i64>, driver: LaneDriver<i64>, count: usize) -> Vec<(i64, Result<(), CommitError>)> {
    let done = RefCell::new(Vec::new());
    let mut run = pin!(driver.run(|ts, result| done.borrow_mut().push((ts, result.map(drop)))));
    block_on(std::future::poll_fn(|context| {
        assert!(run.as_mut().poll(context).is_pending(), "it ends only with the lane");
        if done.borrow().len() < count { Poll::Pending } else { Poll::Ready(()) }
    }));
    assert!(lane.has_room());
    done.take()
}

fn held_back(gather: Duration, batches: usize) -> Disk {
    let disk = Disk::with(StoreConfig { gather, queue_batches_max: batches, ..StoreConfig::default() });
    disk.commit(|batch| batch.put_device(&device(1)));
    disk
}

#[test]
fn a_lane_gives_back_everything_in_its_order() {
    let disk = held_back(Duration::from_millis(50), 100);
    let (lane, driver) = disk.store().lane();
    for ts in 1..=20 {
        lane.submit(if ts % 4 == 0 { Batch::default() } else { message(ts) }, ts).unwrap();
    }
    assert_eq!(disk.history(1, "k", (0, 99), 99, false).len(), 0, "nothing is durable yet");
    let done = drive(&lane, driver, 20);
    assert_eq!(done, (1..=20).map(|ts| (ts, Ok(()))).collect::<Vec<_>>());
    assert_eq!(disk.history(1, "k", (0, 99), 99, false).len(), 15);
}

#[test]
fn what_was_queued_can_be_read_when_it_has_settled() {
    let disk = held_back(Duration::from_millis(50), 100);
    let (one, _of_one) = disk.store().lane();
    let (other, _of_other) = disk.store().lane();
    assert!(poll(pin!(disk.store().settled())).is_ready(), "there is nothing to wait for");
    one.submit(message(1), 1).unwrap();
    other.submit(message(2), 2).unwrap();
    let mut queued = pin!(disk.store().commit(message(3)));
    assert!(poll(queued.as_mut()).is_pending());
    let mut settled = pin!(disk.store().settled());
    assert!(poll(settled.as_mut()).is_pending());
    block_on(settled);
    let found: Vec<i64> = disk.history(1, "k", (0, 99), 99, false).into_iter().map(|(ts, _)| ts).collect();
    assert_eq!(found, [1, 2, 3]);
}

#[test]
fn a_lane_waits_for_room_that_another_one_took() {
    let disk = held_back(Duration::from_millis(300), 2);
    let (one, of_one) = disk.store().lane();
    let (other, of_other) = disk.store().lane::<i64>();
    one.submit(message(1), 1).unwrap();
    assert!(other.has_room());
    one.submit(message(2), 2).unwrap();
    assert!(!other.has_room());
    let mut driver = pin!(of_other.run(|_, _| panic!("nothing was submitted here")));
    assert!(poll(driver.as_mut()).is_pending());
    assert!(other.poll_room(&Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(drive(&one, of_one, 2).len(), 2);
    block_on(std::future::poll_fn(|context| {
        // The driver is woken although its lane has nothing in any commit.
        assert!(driver.as_mut().poll(context).is_pending());
        other.poll_room(context)
    }));
    assert!(other.has_room());
}

/// Counts how often it was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_lane_that_another_one_beat_to_the_room_asks_again() {
    let disk = held_back(Duration::from_millis(100), 2);
    let (one, _of_one) = disk.store().lane();
    let (other, of_other) = disk.store().lane::<i64>();
    let committed = || {
        while disk.store().counters().queue_batches > 0 {
            std::thread::yield_now();
        }
    };
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let mut context = Context::from_waker(&waker);
    let mut driver = pin!(of_other.run(|_, _| panic!("nothing was submitted here")));
    (1..=2).for_each(|ts| one.submit(message(ts), ts).unwrap());
    assert!(driver.as_mut().poll(&mut context).is_pending());
    assert!(other.poll_room(&context).is_pending());
    committed();
    (3..=4).for_each(|ts| one.submit(message(ts), ts).unwrap());
    // It was woken for the first room, and finds it taken.
    assert!(driver.as_mut().poll(&mut context).is_pending());
    let before = woken.0.load(Ordering::SeqCst);
    committed();
    block_on(disk.store().commit(message(5))).map(drop).unwrap();
    assert!(woken.0.load(Ordering::SeqCst) > before);
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
fn what_keeps_an_order_is_queued_at_once_and_stored_in_it() {
    let disk = held_back(Duration::from_millis(50), 1);
    let value = |number: u8| {
        let mut batch = Batch::default();
        batch.put_setting("last", &[number]);
        disk.store().commit_at_once(batch)
    };
    let commits: Vec<_> = (1..=5).map(value).collect();
    assert_eq!(disk.store().counters().queue_batches, 5);
    // Whoever waits first changes nothing.
    for future in commits.into_iter().rev() {
        block_on(future).map(drop).unwrap();
    }
    assert_eq!(disk.store().setting("last").unwrap().as_deref(), Some([5].as_slice()));
    block_on(disk.store().commit_at_once(Batch::default())).map(drop).unwrap();
}

#[test]
fn a_batch_larger_than_the_queue_is_refused() {
    let disk = Disk::with(StoreConfig { queue_bytes_max: 10_000, ..StoreConfig::default() });
    let refused = disk.try_commit(|batch| batch.put_setting("large", &[0; 10_001]));
    assert_eq!(refused, Err(CommitError::TooLarge));
    assert!(disk.store().healthy());
}

#[test]
fn a_dropped_driver_loses_nothing() {
    let disk = held_back(Duration::from_millis(100), 9);
    let (lane, driver) = disk.store().lane();
    let held = Arc::new(());
    for ts in 1..=3 {
        lane.submit(message(ts), held.clone()).unwrap();
    }
    drop(driver);
    assert_eq!(Arc::strong_count(&held), 1, "what was to be finished is let go");
    disk.send(1, 4, &[("k", Value::Long(4))]);
    let found: Vec<i64> = disk.history(1, "k", (0, 99), 99, false).into_iter().map(|(ts, _)| ts).collect();
    assert_eq!(found, [1, 2, 3, 4]);
}

#[test]
fn a_lane_of_a_closed_store_gives_back_what_it_refuses() {
    let disk = Disk::new();
    let (lane, _driver) = disk.store().lane();
    disk.store().clone().close();
    assert_eq!(lane.submit(message(1), 7), Err((CommitError::Closed, 7)));
    assert!(lane.has_room(), "who waited for room is told so too");
}

#[test]
fn a_dropped_lane_ends_its_driver() {
    let disk = Disk::new();
    let (lane, driver) = disk.store().lane::<()>();
    let mut driver = pin!(driver.run(|(), _| {}));
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

#[test]
fn commits_wait_while_the_checkpoint_is_kept_waiting() {
    const LOG_BYTES_MAX: usize = 20_000;
    const SENT: usize = 1_000;
    let disk = Disk::with(StoreConfig {
        log_bytes_max: LOG_BYTES_MAX,
        gather: Duration::ZERO,
        ..StoreConfig::default()
    });
    disk.commit(|batch| batch.put_device(&device(1)));
    let core = disk.store().core();
    std::thread::scope(|scope| {
        // As a deletion does.
        let writer = core.chunk_writer.lock();
        let commits = scope.spawn(|| {
            for sent in 0..SENT {
                let text = Value::Text("x".repeat(1_000));
                disk.send(1, i64::try_from(sent).unwrap(), &[("k", text)]);
            }
        });
        while core.recent.waiting() == 0 && !commits.is_finished() {
            std::thread::yield_now();
        }
        assert!(disk.store().counters().recent_bytes < 2 * LOG_BYTES_MAX + 2_000);
        drop(writer);
        commits.join().unwrap();
    });
    assert_eq!(disk.history(1, "k", (0, i64::MAX), usize::MAX, false).len(), SENT);
}
