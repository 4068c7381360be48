//! Time series: values, times, order, ranges, deletion, retention.

use wireglot_model::{Profile, Timestamp, TransportKind, Value};

use super::{Disk, device, id, measured, stamp};

/// Commits the points in this order, some before and some after a checkpoint, and reads them back.
#[track_caller]
fn check(points: &[(i64, i64)], range: (i64, i64), limit: usize, descending: bool, expected: &[(i64, i64)]) {
    for chunked in 0..=points.len() {
        let mut disk = Disk::new();
        disk.commit(|batch| batch.put_device(&device(1)));
        for (sent, (ts, value)) in points.iter().enumerate() {
            if sent == chunked {
                disk.checkpoint();
            }
            disk.send(1, *ts, &[("k", Value::Long(*value))]);
        }
        let expected: Vec<_> = expected.iter().map(|(ts, value)| (*ts, Value::Long(*value))).collect();
        assert_eq!(disk.history(1, "k", range, limit, descending), expected, "after {chunked} in chunks");
        disk.reopen();
        assert_eq!(
            disk.history(1, "k", range, limit, descending),
            expected,
            "after {chunked} in chunks, reopened"
        );
    }
}

#[test]
fn a_range_has_its_start_and_not_its_end() {
    check(&[(10, 1), (20, 2), (30, 3)], (10, 30), 9, false, &[(10, 1), (20, 2)]);
}

#[test]
fn the_limit_keeps_the_near_end() {
    check(&[(30, 3), (10, 1), (20, 2)], (0, 99), 2, false, &[(10, 1), (20, 2)]);
    check(&[(30, 3), (10, 1), (20, 2)], (0, 99), 2, true, &[(30, 3), (20, 2)]);
}

#[test]
fn of_two_values_at_one_time_the_later_wins() {
    check(&[(10, 1), (20, 2), (10, 3)], (0, 99), 9, false, &[(10, 3), (20, 2)]);
    check(&[(10, 1), (20, 2), (20, 3)], (0, 99), 1, true, &[(20, 3)]);
}

#[test]
fn an_empty_range_is_empty() {
    check(&[(10, 1)], (11, 11), 9, false, &[]);
    check(&[(10, 1)], (20, 5), 9, true, &[]);
}

#[test]
fn times_at_the_ends_of_the_calendar_are_kept() {
    let all = (i64::MIN, i64::MAX);
    check(
        &[(i64::MAX - 1, 2), (i64::MIN, 1), (0, 3)],
        all,
        9,
        false,
        &[(i64::MIN, 1), (0, 3), (i64::MAX - 1, 2)],
    );
}

#[test]
fn two_messages_of_one_time_are_both_kept_with_their_codec() {
    let disk = Disk::new();
    disk.commit(|batch| batch.put_device(&device(1)));
    for (version, value) in [("1", 1), ("22", 2)] {
        let measured = measured(Some(5), &[("k", Value::Long(value))]);
        disk.commit(|batch| batch.telemetry(id(1), Timestamp(6), Some(&stamp(version)), &[measured]));
        disk.checkpoint();
    }
    let messages = disk.store().messages(id(1), Timestamp(0), Timestamp(9), 9).unwrap();
    let codecs: Vec<_> = messages.iter().map(|message| message.codec.clone().unwrap().version).collect();
    assert_eq!(codecs, ["1".into(), "22".into()]);
    assert!(messages.iter().all(|message| message.received == Timestamp(6)));
}

#[test]
fn a_measurement_without_a_time_has_the_time_of_receipt() {
    let disk = Disk::new();
    disk.commit(|batch| batch.put_device(&device(1)));
    disk.commit(|batch| {
        batch.telemetry(
            id(1),
            Timestamp(77),
            None,
            &[measured(None, &[("k", Value::Bool(true))]), measured(None, &[])],
        );
    });
    assert_eq!(disk.history(1, "k", (0, 99), 9, false), [(77, Value::Bool(true))]);
    assert_eq!(
        disk.store().messages(id(1), Timestamp(0), Timestamp(99), 9).unwrap().len(),
        1,
        "nothing said, nothing kept"
    );
}

#[test]
fn a_late_message_does_not_hide_behind_chunks() {
    let disk = Disk::new();
    disk.commit(|batch| batch.put_device(&device(1)));
    let hour = 3_600_000;
    for ts in [10 * hour, 10 * hour + 1, hour, 11 * hour, 10 * hour - 1] {
        disk.send(1, ts, &[("k", Value::Long(ts))]);
        disk.checkpoint();
    }
    let newest = disk.history(1, "k", (0, i64::MAX), 2, true);
    assert_eq!(newest, [(11 * hour, Value::Long(11 * hour)), (10 * hour + 1, Value::Long(10 * hour + 1))]);
    let middle = disk.history(1, "k", (10 * hour - 1, 10 * hour + 1), 9, false);
    assert_eq!(middle.len(), 2);
}

#[test]
fn latest_is_the_greatest_time_not_the_last_arrival() {
    let mut disk = Disk::new();
    disk.commit(|batch| batch.put_device(&device(1)));
    disk.send(1, 20, &[("k", Value::Long(2)), ("only once", Value::Bool(true))]);
    disk.checkpoint();
    disk.send(1, 10, &[("k", Value::Long(1))]);
    disk.reopen();
    let latest = disk.store().latest(id(1), Some(&["k".to_owned(), "unknown".to_owned()])).unwrap();
    assert_eq!(latest.len(), 1);
    assert_eq!((latest[0].ts, latest[0].value.clone()), (Timestamp(20), Value::Long(2)));
    assert_eq!(disk.store().keys(id(1)).unwrap(), ["k", "only once"]);
}

#[test]
fn an_unknown_device_has_nothing_and_keeps_nothing() {
    let disk = Disk::new();
    disk.send(9, 10, &[("k", Value::Long(1))]);
    assert_eq!(disk.history(9, "k", (0, 99), 9, false), []);
    assert!(disk.store().latest(id(9), None).unwrap().is_empty());
    assert!(disk.store().messages(id(9), Timestamp(0), Timestamp(99), 9).unwrap().is_empty());
}

#[test]
fn a_deleted_device_takes_its_series_along() {
    for checkpoints in 0..5 {
        let mut disk = Disk::new();
        disk.commit(|batch| [1, 2].iter().for_each(|number| batch.put_device(&device(*number))));
        let send = |disk: &Disk, ts| {
            [1, 2].iter().for_each(|number| disk.send(*number, ts, &[("k", Value::Long(1))]))
        };
        send(&disk, 10);
        disk.checkpoint();
        send(&disk, 11);
        disk.commit(|batch| batch.delete_device(id(1)));
        send(&disk, 12);
        (0..checkpoints).for_each(|ts| {
            send(&disk, 13 + ts);
            disk.checkpoint();
        });
        // The same identity again is another device.
        disk.commit(|batch| batch.put_device(&device(1)));
        for _ in 0..2 {
            assert_eq!(disk.history(1, "k", (0, 99), 9, false), []);
            assert!(disk.store().latest(id(1), None).unwrap().is_empty());
            assert_eq!(
                disk.history(2, "k", (0, 99), 99, false).len(),
                3 + usize::try_from(checkpoints).unwrap()
            );
            disk.reopen();
        }
        let notes = disk.store().core().dictionary.deleted();
        assert_eq!(notes.is_empty(), checkpoints >= 3, "{notes:?}");
        let left = disk.store().core().chunks.prefix(crate::keys::series(1)).count();
        assert_eq!(left == 0, checkpoints > 0, "the chunks themselves are gone too");
    }
}

#[test]
fn retention_drops_what_is_too_old_to_the_message() {
    const DAY: i64 = 86_400_000;
    let mut disk = Disk::new();
    let keeps = Profile {
        id: device(1).profile,
        created: Timestamp(0),
        name: "keeps three days".to_owned(),
        description: String::new(),
        is_default: true,
        transport: TransportKind::Default,
        version: 1,
        passthrough: "{}".to_owned(),
        retention_days: Some(3),
        raw_retention_hours: None,
        dead_letters: wireglot_model::DeadLetterBounds::default(),
        provisioning: wireglot_model::Provisioning::Disabled,
        ota: wireglot_model::OtaTargets::default(),
        client_rpc: wireglot_model::ClientRpc::default(),
    };
    let mut other = device(2);
    other.profile = wireglot_model::ProfileId(uuid::Uuid::from_bytes([1; 16]));
    disk.commit(|batch| {
        batch.put_profile(&keeps);
        batch.put_device(&device(1));
        batch.put_device(&other);
    });
    for number in [1, 2] {
        for ts in (0..10).map(|day| day * DAY).chain([6 * DAY + 1, 7 * DAY - 1, 7 * DAY + 1]) {
            disk.send(number, ts, &[("k", Value::Long(ts))]);
        }
    }
    disk.checkpoint();
    let removed = disk.store().retain(Timestamp(10 * DAY)).unwrap();
    assert_eq!((removed.messages, removed.chunks), (9, 7), "one chunk holds both sides of the limit");
    for _ in 0..2 {
        let left: Vec<i64> =
            disk.history(1, "k", (0, i64::MAX), 99, false).into_iter().map(|(ts, _)| ts).collect();
        assert_eq!(left, [7 * DAY, 7 * DAY + 1, 8 * DAY, 9 * DAY]);
        assert_eq!(disk.history(2, "k", (0, i64::MAX), 99, false).len(), 13, "another profile keeps all");
        assert_eq!(disk.store().retain(Timestamp(10 * DAY)).unwrap(), crate::Retained::default());
        disk.reopen();
    }
}
