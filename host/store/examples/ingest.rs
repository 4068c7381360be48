//! Measures the store alone: CPU per message, bytes per point, reopening after an abort, reading the last points.
//!
//! `cargo run --release -p wireglot-store --example ingest [POINTS] [FOLDER]`, then `… ingest read FOLDER`: 1,000 devices send 8 values per
//! message over two lanes, each with 1,000 messages in flight, every commit synced. The process that writes aborts
//! itself at full rate; this one then opens the folder.
#![allow(
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a tool whose only job is to print figures"
)]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Command;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use wireglot_model::{CodecStamp, Device, DeviceId, Measurement, ProfileId, Sample, Timestamp, Value};
use wireglot_store::{Batch, HistoryQuery, Store, StoreConfig};

type Failure = Box<dyn std::error::Error>;

const DEVICES: usize = 1_000;
const KEYS: [&str; 8] = [
    "temperature",
    "humidity",
    "pressure",
    "acceleration_x",
    "acceleration_y",
    "acceleration_z",
    "battery_voltage",
    "sequence",
];
const THREADS: usize = 2;
const IN_FLIGHT: usize = 1_000;
const START_MS: i64 = 1_760_000_000_000;

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().collect();
    if args.get(1).map(String::as_str) == Some("fill") {
        return fill(Path::new(&args[2]), args[3].parse()?);
    }
    if args.get(1).map(String::as_str) == Some("read") {
        let store = Store::open(Path::new(&args[2]), StoreConfig::default())?;
        return read_last(&store, 1_000);
    }
    let points: usize = args.get(1).map_or(Ok(5_000_000), |text| text.parse())?;
    let dir = args.get(2).map_or_else(|| std::env::temp_dir().join("wireglot-ingest"), PathBuf::from);
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    let messages = points / KEYS.len();
    let status = Command::new(&args[0]).arg("fill").arg(&dir).arg(messages.to_string()).status()?;
    println!("the writer ended: {status}");
    reopen(&dir, messages)
}

/// Writes at full rate and aborts.
fn fill(dir: &Path, messages: usize) -> Result<(), Failure> {
    let (generator, _) = cpu_of(|| run_threads(None, messages))?;
    let store = Store::open(dir, StoreConfig::default())?;
    let mut batch = Batch::default();
    (0..DEVICES).for_each(|number| batch.put_device(&device(number)));
    block_on(store.commit(batch)).map(drop)?;
    let started = Instant::now();
    let (total, threads) = cpu_of(|| run_threads(Some(&store), messages))?;
    let wall = started.elapsed();
    let counters = store.counters();
    let per_message = |nanos: u64| nanos as f64 / 1_000.0 / messages as f64;
    println!(
        "{messages} messages of {} points in {:.2} s: {:.0} messages/s",
        KEYS.len(),
        wall.as_secs_f64(),
        messages as f64 / wall.as_secs_f64()
    );
    println!(
        "CPU per message: {:.3} µs in all, {:.3} µs of the store; generator and executor {:.3}",
        per_message(total),
        per_message(total.saturating_sub(generator)),
        per_message(generator)
    );
    for (name, nanos) in threads {
        println!("    {name:<20} {:.3} µs", per_message(nanos));
    }
    println!(
        "{} commits of {:.0} messages and {:.2} ms; log {:.1} bytes per message; {} chunks of {:.0} bytes",
        counters.commits,
        counters.messages as f64 / counters.commits as f64,
        counters.commit_nanos as f64 / 1e6 / counters.commits as f64,
        counters.log_bytes as f64 / counters.messages as f64,
        counters.chunks,
        counters.chunk_bytes as f64 / counters.chunks.max(1) as f64,
    );
    std::process::abort();
}

fn reopen(dir: &Path, messages: usize) -> Result<(), Failure> {
    let points = (messages * KEYS.len()) as f64;
    let occupied = disk_usage(dir)?;
    println!(
        "on disk: {:.1} MiB, {:.2} bytes per point",
        occupied as f64 / 1024.0 / 1024.0,
        occupied as f64 / points
    );
    let started = Instant::now();
    let store = Store::open(dir, StoreConfig::default())?;
    println!("reopened after the abort in {:.3} s", started.elapsed().as_secs_f64());
    let started = Instant::now();
    store.latest(device(0).id, None)?;
    println!("first latest: {:.3} ms", started.elapsed().as_secs_f64() * 1e3);
    read_last(&store, (messages / DEVICES).min(1_000))?;
    store.close();
    println!("on disk after closing: {:.2} bytes per point", disk_usage(dir)? as f64 / points);
    Ok(())
}

fn read_last(store: &Store, expected: usize) -> Result<(), Failure> {
    let query = HistoryQuery {
        keys: vec!["temperature".to_owned()],
        start: Timestamp(0),
        end: Timestamp(i64::MAX),
        limit: 1_000,
        descending: true,
    };
    for round in ["first", "again", "third"] {
        let mut taken: Vec<Duration> = (0..DEVICES)
            .map(|number| {
                timed(|| {
                    let history =
                        store.history(device(number).id, &query).expect("the store reads what it wrote");
                    assert_eq!(history[0].1.len(), expected, "every acknowledged point is there");
                })
            })
            .collect();
        taken.sort_unstable();
        println!(
            "last {expected} points of one key, {round}: median {:.3} ms, p99 {:.3} ms",
            taken[DEVICES / 2].as_secs_f64() * 1e3,
            taken[DEVICES * 99 / 100].as_secs_f64() * 1e3
        );
    }
    Ok(())
}

fn timed(run: impl FnOnce()) -> Duration {
    let started = Instant::now();
    run();
    started.elapsed()
}

/// Every thread sends its share; without a store the batches are thrown away, which shows what making them costs.
fn run_threads(store: Option<&Store>, messages: usize) {
    let share = messages / THREADS;
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let store = store.cloned();
            std::thread::Builder::new()
                .name(format!("lane-{thread}"))
                .spawn(move || send(store, thread, share))
        })
        .collect();
    for thread in threads {
        thread.expect("threads start").join().expect("threads end");
    }
}

fn send(store: Option<Store>, thread: usize, messages: usize) {
    let mut fleet = Fleet::new(thread);
    let Some(store) = store else {
        (0..messages).for_each(|_| drop(std::hint::black_box(batch(fleet.next()))));
        return note_thread();
    };
    let (lane, driver) = store.lane();
    let done = Cell::new(0);
    let mut driver = pin!(driver.run(|(), committed| {
        committed.map(drop).expect("the store commits");
        done.set(done.get() + 1);
    }));
    let mut sent = 0;
    block_on(std::future::poll_fn(|context| {
        // Ends only with the lane.
        assert!(driver.as_mut().poll(context).is_pending());
        while sent < messages && sent - done.get() < IN_FLIGHT {
            lane.submit(batch(fleet.next()), ()).expect("the store takes it");
            sent += 1;
        }
        if done.get() == messages { Poll::Ready(()) } else { Poll::Pending }
    }));
    note_thread();
}

fn batch((device, ts, measurement): (DeviceId, Timestamp, Measurement)) -> Batch {
    static STAMP: LazyLock<CodecStamp> = LazyLock::new(stamp);
    let mut batch = Batch::default();
    batch.telemetry(device, ts, Some(&STAMP), std::slice::from_ref(&measurement));
    batch
}

fn stamp() -> CodecStamp {
    CodecStamp {
        name: wireglot_model::CodecName::parse("ruuvi-df5").expect("a legal name"),
        version: "1.0.0".into(),
        hash: wireglot_model::CodecHash([7; 32]),
    }
}

/// Devices whose values wander, as sensors' values do.
struct Fleet {
    devices: Vec<(DeviceId, [i64; 8])>,
    next: usize,
    round: i64,
    random: u64,
}

impl Fleet {
    fn new(thread: usize) -> Self {
        let devices = (thread..DEVICES).step_by(THREADS);
        let values = [2_430, 53_490, 100_044, 4, -4, 1_036, 2_977, 0];
        let devices = devices.map(|number| (device(number).id, values)).collect();
        Self { devices, next: 0, round: 0, random: 0x9e37_79b9_7f4a_7c15 + thread as u64 }
    }

    fn next(&mut self) -> (DeviceId, Timestamp, Measurement) {
        let (id, values) = &mut self.devices[self.next];
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        for (place, value) in values.iter_mut().enumerate().take(7) {
            *value += ((self.random >> (20 + 4 * place)) & 7) as i64 - 3;
        }
        values[7] += 1;
        let double = |value: i64, per: f64| Value::Double(value as f64 / per);
        let typed = [
            double(values[0], 100.0),
            double(values[1], 1_000.0),
            Value::Long(values[2]),
            double(values[3], 1_000.0),
            double(values[4], 1_000.0),
            double(values[5], 1_000.0),
            double(values[6], 1_000.0),
            Value::Long(values[7]),
        ];
        let samples =
            KEYS.iter().zip(typed).map(|(key, value)| Sample { key: (*key).to_owned(), value }).collect();
        let ts = Timestamp(START_MS + self.round * 1_000 + self.next as i64 % 97);
        let device = *id;
        self.next += 1;
        if self.next == self.devices.len() {
            self.next = 0;
            self.round += 1;
        }
        (device, ts, Measurement { ts: None, samples })
    }
}

fn device(number: usize) -> Device {
    Device {
        id: DeviceId(format!("{number:032x}").parse().expect("hexadecimal digits")),
        created: Timestamp(START_MS),
        name: format!("device-{number}"),
        label: None,
        profile: ProfileId(DeviceId(format!("{:032x}", 1).parse().expect("hexadecimal digits")).0),
        additional_info: "null".to_owned(),
        is_gateway: false,
        customer: None,
        ota: wireglot_model::OtaTargets::default(),
        version: 1,
    }
}

// CPU time, from the scheduler's own account of every thread.

static ENDED: std::sync::Mutex<BTreeMap<String, u64>> = std::sync::Mutex::new(BTreeMap::new());

/// A thread's account is gone when it ends, so it leaves a note.
fn note_thread() {
    let nanos =
        std::fs::read_to_string("/proc/thread-self/schedstat").ok().and_then(|text| first_number(&text));
    let name = std::thread::current().name().unwrap_or("?").to_owned();
    *ENDED.lock().expect("no panic under this lock").entry(name).or_default() += nanos.unwrap_or_default();
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

fn accounts() -> Result<BTreeMap<String, u64>, Failure> {
    let mut accounts = std::mem::take(&mut *ENDED.lock().expect("no panic under this lock"));
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        let name = std::fs::read_to_string(task.join("comm"))?.trim().to_owned();
        *accounts.entry(name).or_default() +=
            first_number(&std::fs::read_to_string(task.join("schedstat"))?).unwrap_or_default();
    }
    Ok(accounts)
}

fn cpu_of(run: impl FnOnce()) -> Result<(u64, BTreeMap<String, u64>), Failure> {
    let before = accounts()?;
    run();
    let mut after = accounts()?;
    after.iter_mut().for_each(|(name, nanos)| *nanos -= before.get(name).copied().unwrap_or_default());
    Ok((after.values().sum(), after))
}

/// Blocks that are really occupied: the engine's journal is a file with a hole.
fn disk_usage(dir: &Path) -> Result<u64, Failure> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let facts = entry.metadata()?;
        bytes += if facts.is_dir() { disk_usage(&entry.path())? } else { facts.blocks() * 512 };
    }
    Ok(bytes)
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        std::thread::park();
    }
}
