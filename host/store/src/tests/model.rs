//! A long random life of a store, compared with a plain list of what was committed.

use std::collections::BTreeMap;

use wireglot_model::{Sample, Timestamp, Value};

use super::{Disk, device, id, measured, stamp};
use crate::{Erasure, Latest, LatestAfter, StoreConfig, StoredMessage};

/// Small numbers, so that times collide and keys repeat.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn value(&mut self) -> Value {
        match self.below(10) {
            0 => Value::Bool(self.below(2) == 0),
            1 => Value::Long(self.below(100) as i64 - 50),
            2 => Value::Long((self.below(u64::MAX) as i64).wrapping_mul(0x1234_5678_9abc)),
            3 => Value::Text("ä".repeat(self.below(40) as usize)),
            4 => Value::Json(format!("{{\"n\":{}}}", self.below(100))),
            5 => Value::Double(f64::from_bits(self.below(u64::MAX) << 20 | self.below(1 << 20))),
            6 => Value::Double(self.below(1_000_000) as f64 / 1e7),
            _ => Value::Double(self.below(10_000) as f64 / 100.0),
        }
    }

    fn erasure(&mut self) -> (u8, Erasure) {
        let number = 1 + self.below(3) as u8;
        let keys = ["a", "b", "c", "d", "e", "none"].iter().filter(|_| self.below(3) == 0);
        let keys = keys.map(|key| (*key).to_owned()).collect();
        let (first, last) = match self.below(4) {
            0 => (i64::MIN, i64::MAX),
            1 => (3_000_000, i64::MAX),
            _ => {
                let first = self.below(6_000_000) as i64;
                (first, first + self.below(2_000_000) as i64)
            }
        };
        let latest =
            [LatestAfter::Kept, LatestAfter::Removed, LatestAfter::Rewritten][self.below(3) as usize];
        let (first, last) = (Timestamp(first), Timestamp(last));
        (number, Erasure { device: id(number), keys, first, last, latest })
    }

    fn samples(&mut self) -> Vec<(&'static str, Value)> {
        const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];
        match self.below(8) {
            0 => (0..1 + self.below(3)).map(|_| (KEYS[self.below(5) as usize], self.value())).collect(),
            // A message with the same key twice, and one that is too unusual for the table of shapes.
            1 => vec![("a", self.value()), ("a", self.value())],
            2 => (0..70).map(|at| (KEYS[at % 5], self.value())).collect(),
            _ => KEYS.iter().map(|key| (*key, self.value())).collect(),
        }
    }
}

/// Without NaN, which is equal to nothing, so no comparison could hold.
fn comparable(samples: Vec<(&'static str, Value)>) -> Vec<(&'static str, Value)> {
    let is_nan = |value: &Value| matches!(value, Value::Double(double) if double.is_nan());
    samples.into_iter().filter(|(_, value)| !is_nan(value)).collect()
}

#[derive(Default)]
struct Model {
    messages: BTreeMap<u8, Vec<StoredMessage>>,
    latest: BTreeMap<(u8, String), (Timestamp, Value)>,
}

impl Model {
    fn store(&mut self, device: u8, message: StoredMessage) {
        for Sample { key, value } in &message.samples {
            let newest = (message.ts, value.clone());
            let latest = self.latest.entry((device, key.clone())).or_insert_with(|| newest.clone());
            if latest.0 <= newest.0 {
                *latest = newest;
            }
        }
        self.messages.entry(device).or_default().push(message);
    }

    fn erase(&mut self, device: u8, erasure: &Erasure) {
        let is_meant = |ts: Timestamp| (erasure.first..=erasure.last).contains(&ts);
        for message in self.messages.entry(device).or_default().iter_mut().filter(|one| is_meant(one.ts)) {
            message.samples.retain(|sample| !erasure.keys.contains(&sample.key));
        }
        self.messages.entry(device).or_default().retain(|message| !message.samples.is_empty());
        for key in &erasure.keys {
            let place = (device, key.clone());
            if !self.latest.get(&place).is_some_and(|(ts, _)| is_meant(*ts)) {
                continue;
            }
            let newest = self.points(device, key).pop_last().map(|(ts, value)| (Timestamp(ts), value));
            match (erasure.latest, newest) {
                (LatestAfter::Kept, _) => {}
                (LatestAfter::Rewritten, Some(newest)) => drop(self.latest.insert(place, newest)),
                (LatestAfter::Rewritten, None) | (LatestAfter::Removed, _) => {
                    drop(self.latest.remove(&place))
                }
            }
        }
    }

    fn sorted(&self, device: u8) -> Vec<StoredMessage> {
        let mut messages = self.messages.get(&device).cloned().unwrap_or_default();
        messages.sort_by_key(|message| message.ts);
        messages
    }

    /// Of one key: by time, the later arrival of each.
    fn points(&self, device: u8, key: &str) -> BTreeMap<i64, Value> {
        let messages = self.sorted(device);
        let samples = messages
            .iter()
            .flat_map(|message| message.samples.iter().map(move |sample| (message.ts, sample)));
        samples
            .filter(|(_, sample)| sample.key == key)
            .map(|(ts, sample)| (ts.0, sample.value.clone()))
            .collect()
    }

    #[track_caller]
    fn check(&self, disk: &Disk, random: &mut Random) {
        for device in 1..=3 {
            let everything =
                disk.store().messages(id(device), Timestamp(i64::MIN), Timestamp(i64::MAX), usize::MAX);
            assert_eq!(everything.unwrap(), self.sorted(device));
            let mut latest = Vec::new();
            for key in ["a", "b", "c", "d", "e"] {
                let points = self.points(device, key);
                let known = self.latest.get(&(device, key.to_owned()));
                latest.extend(known.map(|(ts, value)| Latest {
                    key: key.to_owned(),
                    ts: *ts,
                    value: value.clone(),
                }));
                self.check_history(disk, device, key, &points, random);
            }
            let mut found = disk.store().latest(id(device), None).unwrap();
            found.sort_by(|one, other| one.key.cmp(&other.key));
            assert_eq!(found, latest);
        }
    }

    #[track_caller]
    fn check_history(
        &self,
        disk: &Disk,
        device: u8,
        key: &str,
        points: &BTreeMap<i64, Value>,
        random: &mut Random,
    ) {
        for descending in [false, true] {
            let start = random.below(6_000_000) as i64;
            let range = if random.below(3) == 0 {
                (i64::MIN, i64::MAX)
            } else {
                (start, start + random.below(3_000_000) as i64)
            };
            let limit = 1 + random.below(40) as usize;
            let inside = points.range(range.0..range.1).map(|(ts, value)| (*ts, value.clone()));
            let expected: Vec<_> =
                if descending { inside.rev().take(limit).collect() } else { inside.take(limit).collect() };
            assert_eq!(
                disk.history(device, key, range, limit, descending),
                expected,
                "{key} {range:?} {limit} {descending}"
            );
            let all: Vec<_> =
                points.range(range.0..range.1).map(|(ts, value)| (*ts, value.clone())).collect();
            assert_eq!(disk.history(device, key, range, usize::MAX, false), all);
        }
    }
}

#[test]
fn what_was_committed_is_what_is_read() {
    live(Disk::with(eager()), Random(7));
}

#[test]
fn what_was_committed_is_what_is_read_in_many_passes() {
    live(Disk::with(StoreConfig { read_bytes_held_max: 2_000, ..eager() }), Random(8));
}

/// No deletion waits for another to share its checkpoint.
fn eager() -> StoreConfig {
    StoreConfig { erasure_checkpoints_apart: std::time::Duration::ZERO, ..StoreConfig::default() }
}

fn live(mut disk: Disk, mut random: Random) {
    let mut model = Model::default();
    disk.commit(|batch| (1..=3).for_each(|number| batch.put_device(&device(number))));
    for step in 0..60 {
        for _ in 0..random.below(60) {
            let number = 1 + random.below(3) as u8;
            let received = Timestamp(random.below(5_000_000) as i64);
            let ts = Timestamp(received.0 + random.below(4) as i64 * 400_000);
            let codec = [None, Some(stamp("1")), Some(stamp("2.0"))][random.below(3) as usize].clone();
            let samples = comparable(random.samples());
            if samples.is_empty() {
                continue;
            }
            disk.commit(|batch| {
                batch.telemetry(id(number), received, codec.as_ref(), &[measured(Some(ts.0), &samples)]);
            });
            let samples =
                samples.into_iter().map(|(key, value)| Sample { key: key.to_owned(), value }).collect();
            model.store(number, StoredMessage { ts, received, codec, samples });
        }
        if step % 3 == 2 {
            let (device, erasure) = random.erasure();
            disk.store().erase(&erasure).unwrap();
            model.erase(device, &erasure);
        }
        match step % 5 {
            1 | 3 => disk.checkpoint(),
            4 => disk.reopen(),
            _ => {}
        }
        if step % 4 == 0 {
            model.check(&disk, &mut random);
        }
    }
    disk.reopen();
    model.check(&disk, &mut random);
}

#[test]
fn a_checkpoint_at_any_moment_shows_every_message_once() {
    let disk = Disk::new();
    disk.commit(|batch| batch.put_device(&device(1)));
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                disk.checkpoint();
            }
        });
        for sent in 1..=400i64 {
            disk.send(1, sent, &[("n", Value::Long(sent))]);
            let found = disk.store().messages(id(1), Timestamp(0), Timestamp(i64::MAX), usize::MAX).unwrap();
            let found: Vec<i64> = found.into_iter().map(|message| message.ts.0).collect();
            assert_eq!(found, (1..=sent).collect::<Vec<_>>());
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
    });
}
