//! Opening: the folder, its lock, its format, the dictionary, and the log that a crash left behind.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use wireglot_model::{Timestamp, Value};

use super::{Disk, device, id, measured, stamp};
use crate::{Durability, OpenError, Store, StoreConfig};

#[test]
fn the_folder_is_private() {
    let disk = Disk::new();
    let mode = std::fs::metadata(disk.dir.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_folder_in_use_is_refused() {
    let disk = Disk::new();
    let second = Store::open(disk.dir.path(), StoreConfig::default());
    assert!(matches!(second, Err(OpenError::InUse { .. })));
}

#[test]
fn an_unknown_format_is_refused_by_its_number() {
    let disk = Disk::new();
    disk.commit(|batch| batch.put_device(&device(1)));
    disk.store().core().records.insert([crate::keys::prefix::FORMAT], 99u32.to_be_bytes()).unwrap();
    let dir = disk.dir.path().to_owned();
    let kept = disk.dir;
    disk.store.unwrap().close();
    let error = Store::open(&dir, StoreConfig::default()).err().unwrap();
    assert!(matches!(&error, OpenError::UnknownFormat { found, known: 1, .. } if found == "99"), "{error}");
    drop(kept);
}

#[test]
fn the_dictionary_is_durable_with_the_first_message_that_uses_it() {
    let mut disk = Disk::new();
    disk.commit(|batch| batch.put_device(&device(1)));
    for round in 0..3 {
        let key = format!("key {round}");
        let version = "1".repeat(round + 1);
        disk.commit(|batch| {
            let measured = measured(None, &[(key.as_str(), Value::Long(1))]);
            batch.telemetry(id(1), Timestamp(5), Some(&stamp(&version)), &[measured]);
        });
        disk.reopen();
        let last = disk.store().messages(id(1), Timestamp(0), Timestamp(9), 9).unwrap().pop().unwrap();
        assert_eq!((last.samples[0].key.as_str(), last.codec), (key.as_str(), Some(stamp(&version))));
    }
}

#[test]
fn log_records_that_are_in_chunks_already_are_not_read_again() {
    let mut disk = Disk::new();
    disk.commit(|batch| batch.put_device(&device(1)));
    for ts in 1..=5 {
        disk.send(1, ts, &[("k", Value::Long(ts))]);
    }
    // As a crash between the chunks and the trimming of the log leaves it.
    disk.checkpoint();
    assert_eq!(disk.store().core().log.len().unwrap(), 5);
    disk.reopen();
    assert_eq!(disk.store().messages(id(1), Timestamp(0), Timestamp(9), 9).unwrap().len(), 5);
    disk.send(1, 6, &[("k", Value::Long(6))]);
    disk.checkpoint();
    disk.reopen();
    assert_eq!(disk.store().messages(id(1), Timestamp(0), Timestamp(9), 9).unwrap().len(), 6);
}

#[test]
fn a_long_log_becomes_chunks_by_itself() {
    let disk = Disk::with(StoreConfig { log_bytes_max: 20_000, ..StoreConfig::default() });
    disk.commit(|batch| batch.put_device(&device(1)));
    let text = Value::Text("x".repeat(1_000));
    for ts in 0..200 {
        disk.send(1, ts, &[("k", text.clone())]);
    }
    assert!(disk.store().counters().checkpoints >= 3, "{:?}", disk.store().counters());
    assert!(disk.store().counters().recent_bytes < 80_000);
    assert_eq!(disk.history(1, "k", (0, 999), 999, false).len(), 200);
}

#[test]
fn weaker_durability_survives_a_tidy_end() {
    for durability in [Durability::IntervalMs(5), Durability::Os] {
        let mut disk =
            Disk::with(StoreConfig { durability, gather: Duration::ZERO, ..StoreConfig::default() });
        disk.commit(|batch| batch.put_device(&device(1)));
        disk.send(1, 1, &[("k", Value::Long(1))]);
        disk.reopen();
        assert_eq!(disk.history(1, "k", (0, 9), 9, false).len(), 1);
    }
}
