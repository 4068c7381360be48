//! Deleting points, and everything of a device.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wireglot_model::{
    Attribute, ClaimRecord, DeadLetter, FailureStage, OtaKind, OtaPackageId, OtaUpdate, Profile, RawFrame,
    Scope, Timestamp, TransportKind, Value,
};

use super::{Disk, device, id, measured, no_bounds, profile};
use crate::chunk::CHUNKS_READ;
use crate::erase::Eraser;
use crate::{Erasure, LatestAfter, LetterFilter, Retained, StoreConfig};

fn erasure(keys: &[&str], first: i64, last: i64, latest: LatestAfter) -> Erasure {
    let keys = keys.iter().map(|key| (*key).to_owned()).collect();
    Erasure { device: id(1), keys, first: Timestamp(first), last: Timestamp(last), latest }
}

fn times(disk: &Disk, key: &str) -> Vec<i64> {
    disk.history(1, key, (i64::MIN, i64::MAX), usize::MAX, false).into_iter().map(|(ts, _)| ts).collect()
}

fn latest(disk: &Disk, key: &str) -> Option<i64> {
    let latest = disk.store().latest(id(1), Some(&[key.to_owned()])).unwrap();
    latest.first().map(|latest| latest.ts.0)
}

/// A device with `a` and `b` at 10, 20, 30 and 40, the first `chunked` of them in chunks.
fn four_points(chunked: usize) -> Disk {
    let disk = Disk::new();
    disk.commit(|batch| [1, 2].iter().for_each(|number| batch.put_device(&device(*number))));
    for sent in 0..4 {
        if sent == chunked {
            disk.checkpoint();
        }
        let ts = 10 * (sent as i64 + 1);
        disk.send(1, ts, &[("a", Value::Long(ts)), ("b", Value::Text(ts.to_string()))]);
        disk.send(2, ts, &[("a", Value::Long(ts))]);
    }
    if chunked == 4 {
        disk.checkpoint();
    }
    disk
}

#[test]
fn points_of_a_key_in_a_range_are_deleted_for_good() {
    for chunked in 0..=4 {
        let mut disk = four_points(chunked);
        let went = disk.store().erase(&erasure(&["a", "unknown"], 20, 30, LatestAfter::Removed)).unwrap();
        assert_eq!(went, 2);
        for round in 0..3 {
            assert_eq!(times(&disk, "a"), [10, 40], "{chunked} in chunks, {round}");
            assert_eq!(times(&disk, "b"), [10, 20, 30, 40]);
            assert_eq!(disk.history(2, "a", (0, 99), 9, false).len(), 4, "another device keeps its own");
            let messages = disk.store().messages(id(1), Timestamp(0), Timestamp(99), 9).unwrap();
            let keys: Vec<usize> = messages.iter().map(|message| message.samples.len()).collect();
            assert_eq!(keys, [2, 1, 1, 2]);
            assert_eq!((latest(&disk, "a"), latest(&disk, "b")), (Some(40), Some(40)));
            match round {
                0 => disk.reopen(),
                _ => disk.checkpoint(),
            }
        }
        assert_eq!(disk.store().erase(&erasure(&["a"], 20, 30, LatestAfter::Removed)).unwrap(), 0);
    }
}

#[test]
fn what_is_stored_after_a_deletion_stays_whatever_its_time_is() {
    for chunked in 0..=4 {
        let mut disk = four_points(chunked);
        disk.store().erase(&erasure(&["a"], i64::MIN, i64::MAX, LatestAfter::Removed)).unwrap();
        assert_eq!((times(&disk, "a"), latest(&disk, "a")), (vec![], None));
        disk.send(1, 20, &[("a", Value::Long(-20))]);
        for _ in 0..3 {
            assert_eq!(disk.history(1, "a", (0, 99), 9, false), [(20, Value::Long(-20))]);
            assert_eq!(latest(&disk, "a"), Some(20));
            disk.reopen();
            disk.checkpoint();
        }
    }
}

#[test]
fn the_latest_value_goes_stays_or_gives_way() {
    for (after, left) in
        [(LatestAfter::Removed, None), (LatestAfter::Rewritten, Some(20)), (LatestAfter::Kept, Some(40))]
    {
        for chunked in [0, 2, 4] {
            let mut disk = four_points(chunked);
            disk.store().erase(&erasure(&["a"], 25, 40, after)).unwrap();
            for _ in 0..2 {
                assert_eq!((times(&disk, "a"), latest(&disk, "a")), (vec![10, 20], left), "{after:?}");
                assert_eq!(disk.store().keys(id(1)).unwrap().len(), 1 + usize::from(left.is_some()));
                disk.reopen();
            }
            // The next point is the latest again, where there is none that is newer.
            disk.send(1, 15, &[("a", Value::Long(1))]);
            assert_eq!(latest(&disk, "a"), left.or(Some(15)));
            disk.send(1, 50, &[("a", Value::Long(1))]);
            assert_eq!(latest(&disk, "a"), Some(50));
        }
    }
    let disk = four_points(4);
    disk.store().erase(&erasure(&["a"], 0, 99, LatestAfter::Rewritten)).unwrap();
    assert_eq!(latest(&disk, "a"), None, "nothing is left to take its place");
}

#[test]
fn a_long_range_is_deleted_in_steps() {
    let mut disk = Disk::with(StoreConfig { log_bytes_max: 1024 * 1024, ..StoreConfig::default() });
    disk.commit(|batch| batch.put_device(&device(1)));
    let text = Value::Text("x".repeat(20_000));
    for sent in 0..60 {
        let rows: Vec<_> = (0..10)
            .map(|row| measured(Some(10 * sent + row), &[("a", text.clone()), ("b", Value::Long(row))]))
            .collect();
        disk.commit(|batch| batch.telemetry(id(1), Timestamp(0), None, &rows));
    }
    // 12 MB, three times what is read in one step.
    assert_eq!(disk.store().erase(&erasure(&["a"], 1, 598, LatestAfter::Rewritten)).unwrap(), 598);
    for _ in 0..2 {
        assert_eq!(times(&disk, "a"), [0, 599]);
        assert_eq!(times(&disk, "b").len(), 600);
        disk.reopen();
    }
    assert_eq!(disk.store().erase(&erasure(&["a", "b"], 0, 599, LatestAfter::Removed)).unwrap(), 602);
    assert_eq!(disk.store().keys(id(1)).unwrap(), Vec::<String>::new());
    disk.store().core().chunks.iter().for_each(|guard| {
        let key = guard.key().unwrap();
        assert!(key.len() < 20, "no chunk is left: {key:?}");
    });
}

#[test]
fn deleting_while_others_write_and_fold_loses_nothing_else() {
    let disk =
        Disk::with(StoreConfig { erasure_checkpoints_apart: Duration::ZERO, ..StoreConfig::default() });
    disk.commit(|batch| batch.put_device(&device(1)));
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                disk.checkpoint();
            }
        });
        for sent in 1..=300i64 {
            disk.send(1, sent, &[("a", Value::Long(sent)), ("b", Value::Long(sent))]);
            if sent % 10 == 0 {
                let range = erasure(&["a"], sent - 9, sent - 1, LatestAfter::Rewritten);
                assert_eq!(disk.store().erase(&range).unwrap(), 9);
                assert_eq!(latest(&disk, "a"), Some(sent));
            }
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
    });
    assert_eq!(times(&disk, "a"), (1..=30).map(|ten| 10 * ten).collect::<Vec<_>>());
    assert_eq!(times(&disk, "b"), (1..=300).collect::<Vec<_>>());
}

/// What becomes of the latest value of `a`, whose points at 10 and 40 are in chunks and of which that at 40 is deleted, while
/// points at these times come into chunks: in the middle of the look through what is left, or just before it ends.
#[track_caller]
fn check_latest(after: LatestAfter, arrived: &[i64], expected: Option<i64>) {
    for early in 0..=arrived.len() {
        let mut disk = Disk::new();
        disk.commit(|batch| batch.put_device(&device(1)));
        let come = |times: &[i64]| {
            for ts in times {
                disk.send(1, *ts, &[("a", Value::Long(-ts)), ("b", Value::Long(*ts))]);
                disk.checkpoint();
            }
        };
        [10, 40].iter().for_each(|ts| disk.send(1, *ts, &[("a", Value::Long(*ts))]));
        disk.checkpoint();
        let core = disk.store().core();
        let erasure = erasure(&["a"], 35, 50, after);
        let mut eraser = Eraser::new(core, &erasure).unwrap();
        eraser.begin().unwrap();
        assert!(!eraser.step().unwrap());
        let read = || CHUNKS_READ.with(std::cell::Cell::get);
        let before = read();
        let meant = eraser.begin_look().unwrap();
        assert_eq!(read(), before, "nobody waits for anything that is read");
        let (first, last) = arrived.split_at(early);
        come(first);
        let left = {
            // Whoever writes chunks may do so.
            let _writer = core.chunk_writer.lock();
            eraser.look(&meant)
        };
        come(last);
        let before = read();
        eraser.end_look(&meant, left).unwrap();
        assert_eq!(read(), before, "nobody waits for anything that is read");
        for _ in 0..2 {
            assert_eq!(latest(&disk, "a"), expected, "{after:?} {arrived:?} {early}");
            disk.reopen();
        }
    }
}

#[test]
fn what_comes_while_the_history_is_looked_through_may_be_the_newest() {
    check_latest(LatestAfter::Rewritten, &[], Some(10));
    check_latest(LatestAfter::Rewritten, &[5], Some(10));
    check_latest(LatestAfter::Rewritten, &[30], Some(30));
    check_latest(LatestAfter::Rewritten, &[20, 30, 15], Some(30));
    check_latest(LatestAfter::Rewritten, &[30, 40], Some(40));
    check_latest(LatestAfter::Rewritten, &[60, 30], Some(60));
    check_latest(LatestAfter::Removed, &[], None);
    check_latest(LatestAfter::Removed, &[5, 30], Some(30));
    check_latest(LatestAfter::Removed, &[40], Some(40));
    check_latest(LatestAfter::Removed, &[60, 30], Some(60));
}

#[test]
fn a_rewriting_deletion_among_commits_and_checkpoints_leaves_the_newest_point() {
    let disk =
        Disk::with(StoreConfig { erasure_checkpoints_apart: Duration::ZERO, ..StoreConfig::default() });
    disk.commit(|batch| batch.put_device(&device(1)));
    for round in 0..40i64 {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    disk.checkpoint();
                }
            });
            let sent = scope.spawn(|| {
                for ts in [90, 20, 70, 50, 30] {
                    disk.send(1, ts + round, &[("a", Value::Long(ts)), ("b", Value::Long(ts))]);
                }
            });
            for first in [60, 25, 45] {
                disk.store().erase(&erasure(&["a"], first, 1_000, LatestAfter::Rewritten)).unwrap();
            }
            sent.join().unwrap();
            done.store(true, Ordering::SeqCst);
        });
        assert_eq!(latest(&disk, "a"), times(&disk, "a").last().copied(), "{round}");
    }
}

#[test]
fn deletions_of_recent_points_share_a_checkpoint() {
    let hour = Duration::from_secs(3_600);
    let disk = Disk::with(StoreConfig { erasure_checkpoints_apart: hour, ..StoreConfig::default() });
    disk.commit(|batch| (1..=9).for_each(|number| batch.put_device(&device(number))));
    let send = || (1..=9).for_each(|number| disk.send(number, 10, &[("a", Value::Long(1))]));
    let delete = |number: u8| {
        let erasure = Erasure { device: id(number), ..erasure(&["a"], 0, 99, LatestAfter::Removed) };
        assert!(disk.store().erase(&erasure).unwrap() > 0);
    };
    let checkpoints = || disk.store().counters().checkpoints;
    send();
    delete(1);
    delete(2);
    assert_eq!(checkpoints(), 1, "the first one makes its own, which has what the second needs");
    send();
    std::thread::scope(|scope| {
        let deletions: Vec<_> = (1..=9).map(|number| scope.spawn(move || delete(number))).collect();
        // Nobody deletes what may come back from the log, nor makes a checkpoint within the hour.
        let is_running = || deletions.iter().any(|deletion| !deletion.is_finished());
        while disk.store().core().recent.waiting() < 9 && is_running() {
            std::thread::yield_now();
        }
        disk.checkpoint();
        deletions.into_iter().for_each(|deletion| deletion.join().unwrap());
    });
    assert_eq!(checkpoints(), 2);
    // Nobody waits for a store that is closed.
    send();
    disk.store().clone().close();
    delete(3);
}

fn letter(of: u8) -> DeadLetter {
    DeadLetter {
        device: id(of),
        device_name: "d".to_owned(),
        profile_id: profile(9),
        profile: "p".to_owned(),
        topic: "t".to_owned(),
        payload: vec![of],
        envelope: None,
        frame_received: None,
        received: Timestamp(9),
        codec: None,
        stage: FailureStage::Refused,
        reason: "because".to_owned(),
    }
}

fn frame(of: u8) -> RawFrame {
    RawFrame {
        device: id(of),
        profile: profile(9),
        topic: "t".to_owned(),
        payload: vec![of],
        envelope: None,
        received: Timestamp(5),
        codec: None,
        traces: Vec::new(),
    }
}

/// Everything that a store keeps of a device beside its own record.
fn belongings(batch: &mut crate::Batch, of: u8, number: u64) {
    batch.telemetry(id(of), Timestamp(5), None, &[measured(None, &[("a", Value::Long(1))])]);
    for scope in Scope::ALL {
        let attribute = Attribute { key: "k".to_owned(), value: Value::Bool(true), updated: Timestamp(5) };
        batch.put_attribute(id(of), scope, &attribute);
    }
    batch.put_claim(&ClaimRecord { device: id(of), secret: "s".to_owned(), expires: Timestamp(99) });
    for kind in OtaKind::ALL {
        let package = OtaPackageId(uuid::Uuid::from_bytes([7; 16]));
        batch.put_ota_update(&OtaUpdate {
            device: id(of),
            kind,
            package,
            queued: Timestamp(5),
            pushed: None,
        });
    }
    batch.dead_letter(letter(of), no_bounds());
    batch.raw_frame(number, &frame(of));
}

/// Keys and values of all keyspaces in which the id of a device stands.
fn traces_of(disk: &Disk, of: u8) -> Vec<(Vec<u8>, Vec<u8>)> {
    let core = disk.store().core();
    let needle = *id(of).0.as_bytes();
    let text = id(of).0.to_string();
    let has = |bytes: &[u8]| {
        bytes.windows(16).any(|window| window == needle) || String::from_utf8_lossy(bytes).contains(&text)
    };
    let mut found = Vec::new();
    for keyspace in [&core.records, &core.log, &core.chunks, &core.dead, &core.raw] {
        for guard in keyspace.iter() {
            let (key, value) = guard.into_inner().unwrap();
            if has(&key) || has(&value) {
                found.push((key.to_vec(), value.to_vec()));
            }
        }
    }
    found
}

#[test]
fn nothing_of_a_deleted_device_is_left() {
    let mut disk = Disk::new();
    let keeps = Profile {
        id: profile(9),
        created: Timestamp(0),
        name: "keeps raw frames".to_owned(),
        description: String::new(),
        is_default: true,
        transport: TransportKind::Default,
        version: 1,
        passthrough: "{}".to_owned(),
        retention_days: None,
        raw_retention_hours: Some(1),
        dead_letters: no_bounds(),
        provisioning: wireglot_model::Provisioning::Disabled,
        ota: wireglot_model::OtaTargets::default(),
        client_rpc: wireglot_model::ClientRpc::default(),
    };
    disk.commit(|batch| {
        batch.put_profile(&keeps);
        [1, 2].iter().for_each(|number| batch.put_device(&device(*number)));
        (0..600).for_each(|number| batch.raw_frame(number, &frame(1)));
        [1, 2].iter().for_each(|number| belongings(batch, *number, 1_000 + u64::from(*number)));
    });
    disk.checkpoint();
    // In the batch of the deletion itself, and from somebody who was still speaking when it happened.
    disk.commit(|batch| {
        belongings(batch, 1, 2_000);
        batch.delete_device(id(1));
    });
    disk.commit(|batch| belongings(batch, 1, 2_001));
    let filter = LetterFilter { device: Some(id(1)), ..LetterFilter::default() };
    let numbers = |disk: &Disk| {
        (
            disk.store().attributes_all().unwrap().len(),
            disk.store().claims().unwrap().len(),
            disk.store().ota_updates().unwrap().len(),
            disk.store().dead_letters(&filter, None, 9).unwrap().len(),
            disk.store().counters().dead_letters,
        )
    };
    for _ in 0..2 {
        assert_eq!(numbers(&disk), (3, 1, 2, 0, 1), "what is left is the other device's");
        disk.reopen();
    }
    assert_eq!(
        disk.store().retain(Timestamp(10)).unwrap(),
        Retained { raw_frames: 602, ..Retained::default() }
    );
    disk.commit(|batch| belongings(batch, 1, 2_002));
    assert_eq!(disk.store().retain(Timestamp(10)).unwrap(), Retained::default());
    disk.send(2, 6, &[("a", Value::Long(2))]);
    disk.checkpoint();
    disk.reopen();
    assert_eq!(traces_of(&disk, 1), []);
    assert_eq!(disk.store().core().chunks.prefix(crate::keys::series(1)).count(), 0);
    assert_eq!(disk.store().raw_frames(profile(9), Timestamp(0), Timestamp(9), 9).unwrap().0.len(), 1);
    assert!(traces_of(&disk, 2).len() >= 7, "the test can see traces");
}

#[test]
fn what_another_lane_brought_before_a_deletion_goes_with_the_device() {
    let hour = Duration::from_secs(3_600);
    let mut disk = Disk::with(StoreConfig { gather: hour, ..StoreConfig::default() });
    disk.commit(|batch| [1, 2].iter().for_each(|number| batch.put_device(&device(*number))));
    // All in one commit, which comes when the store is closed. The lane was queued first, but stands behind the deletion.
    let (lane, driver) = disk.store().lane();
    let mut brought = crate::Batch::default();
    [1, 2].iter().for_each(|number| belongings(&mut brought, *number, u64::from(*number)));
    lane.submit(brought, ()).unwrap();
    let mut deletion = crate::Batch::default();
    deletion.delete_device(id(1));
    drop(disk.store().commit_at_once(deletion));
    // Both hold on to the folder.
    drop((lane, driver));
    disk.reopen();
    let owners = |found: Vec<wireglot_model::DeviceId>| {
        assert!(found.iter().all(|owner| *owner == id(2)), "{found:?}")
    };
    let attributes = disk.store().attributes_all().unwrap();
    assert_eq!(attributes.len(), 3);
    owners(attributes.into_iter().map(|(owner, ..)| owner).collect());
    owners(disk.store().claims().unwrap().into_iter().map(|claim| claim.device).collect());
    owners(disk.store().ota_updates().unwrap().into_iter().map(|update| update.device).collect());
    assert_eq!(disk.store().counters().dead_letters, 1);
    assert_eq!(disk.store().raw_frames(profile(9), Timestamp(0), Timestamp(9), 9).unwrap().0.len(), 1);
}
