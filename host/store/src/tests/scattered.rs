//! Reads hold a bounded part of what was stored, however it was stored.

use wireglot_model::{Timestamp, Value};

use super::{Disk, device, id, measured};
use crate::chunk::CHUNKS_READ;
use crate::{PointsQuery, ReadError, StoreConfig, Want};

const HOUR: i64 = 3_600_000;

fn bounded(read_bytes_held_max: usize) -> Disk {
    let disk = Disk::with(StoreConfig { read_bytes_held_max, ..StoreConfig::default() });
    disk.commit(|batch| batch.put_device(&device(1)));
    disk
}

/// Times of points as they are shown, until there are so many, and how many chunks were read for them.
fn shown(disk: &Disk, descending: bool, points: usize) -> (Vec<i64>, usize) {
    let before = CHUNKS_READ.get();
    let keys = vec!["a".to_owned()];
    let query = PointsQuery { keys, start: Timestamp(i64::MIN), end: Timestamp(i64::MAX), descending };
    let mut times = Vec::new();
    let show = &mut |_, ts: Timestamp, _| {
        times.push(ts.0);
        if times.len() < points { Want::More } else { Want::Nothing }
    };
    disk.store().each_point(id(1), &query, show).unwrap();
    (times, CHUNKS_READ.get() - before)
}

#[test]
fn a_dense_hour_is_read_from_either_end_with_each_chunk_once() {
    // Two chunks fit in what is held, and not all.
    let disk = bounded(256 * 1024);
    // One chunk of a whole hour: from now on any other might be as long.
    [0, HOUR].iter().for_each(|ts| disk.send(1, *ts, &[("a", Value::Bool(true))]));
    disk.checkpoint();
    let text = Value::Text("x".repeat(100));
    for part in 0..4 {
        let rows: Vec<_> = (1..=1_000)
            .map(|row| measured(Some(HOUR + 1_000 * part + row), &[("a", text.clone())]))
            .collect();
        disk.commit(|batch| batch.telemetry(id(1), Timestamp(0), None, &rows));
        disk.checkpoint();
    }
    let chunks = usize::try_from(disk.store().counters().chunks).unwrap();
    let expected: Vec<i64> = [0, HOUR].into_iter().chain((1..=4_000).map(|row| HOUR + row)).collect();
    assert_eq!(shown(&disk, false, usize::MAX), (expected.clone(), chunks));
    let expected: Vec<i64> = expected.into_iter().rev().collect();
    assert_eq!(shown(&disk, true, usize::MAX), (expected.clone(), chunks));
    let (newest, read) = shown(&disk, true, 10);
    assert_eq!(newest, expected[..10]);
    assert!(read <= 2, "{read} of {chunks} chunks for the newest points");
}

#[test]
fn what_is_scattered_is_read_in_some_passes() {
    const SENT: i64 = 70;
    for recent in [0, 1, 35, SENT] {
        let disk = bounded(16 * 1024);
        let text = Value::Text("x".repeat(1_000));
        // Every chunk begins at the same time and ends at the same time, so nothing is settled before the last one is read.
        for sent in 0..SENT {
            let times = [0, 5 + sent, 999];
            let rows = times.map(|ts| measured(Some(ts), &[("a", text.clone()), ("b", Value::Bool(true))]));
            disk.commit(|batch| batch.telemetry(id(1), Timestamp(0), None, &rows));
            if sent < SENT - recent {
                disk.checkpoint();
            }
        }
        let mut expected: Vec<i64> =
            [0].into_iter().chain((0..SENT).map(|sent| 5 + sent)).chain([999]).collect();
        for descending in [false, true] {
            let (times, read) = shown(&disk, descending, usize::MAX);
            assert_eq!(times, expected, "{recent} recent");
            let chunks = usize::try_from(SENT - recent).unwrap();
            assert!(read <= chunks * 20, "{read} of {chunks} chunks were read");
            expected.reverse();
        }
    }
}

#[test]
fn values_of_one_time_that_are_too_large_are_refused() {
    let disk = bounded(16 * 1024);
    let text = Value::Text("x".repeat(1_000));
    let keys: Vec<String> = (0..20).map(|key| format!("k{key}")).collect();
    for key in &keys {
        disk.send(1, 5, &[(key, text.clone())]);
        disk.send(1, 6, &[("k0", text.clone())]);
    }
    for chunked in [false, true] {
        if chunked {
            disk.checkpoint();
        }
        let read = |keys: &[String]| {
            let mut seen = 0;
            let query = PointsQuery {
                keys: keys.to_vec(),
                start: Timestamp(0),
                end: Timestamp(9),
                descending: false,
            };
            let outcome = disk.store().each_point(id(1), &query, &mut |_, _, _| {
                seen += 1;
                Want::More
            });
            (outcome, seen)
        };
        assert!(matches!(read(&keys), (Err(ReadError::TooMuchAtOneTime), 0)));
        assert!(matches!(read(&keys[..10]), (Ok(()), 11)), "fewer keys are shown");
    }
}
