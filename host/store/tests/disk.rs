//! Bad disks: one that forgets whatever was not synced, and one whose n-th call fails, for every n.
//!
//! The writer is this very test binary in a child process, with a shim between it and the system's calls
//! (`disk/shim.c`, built with `cc`). So the store and its engine run as they are, on a real file system.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "in a test what goes wrong is a failed test"
)]

#[path = "disk/trace.rs"]
mod trace;

use std::collections::BTreeSet;
use std::future::Future;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{Command, Output};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use trace::{Disk, Unsynced};
use wireglot_model::{
    CodecHash, CodecName, CodecStamp, Device, DeviceId, Measurement, ProfileId, Sample, Timestamp, Value,
};
use wireglot_store::{Batch, Erasure, Latest, LatestAfter, Removal, Store, StoreConfig};

/// Large enough for some checkpoints, small enough to cut the power at every sync.
const MESSAGES: i64 = 12;
/// Several pages, so that a write can be torn at its ends and in its middle.
const TEXT: usize = 15_000;

fn id() -> DeviceId {
    DeviceId("00000000-0000-0000-0000-000000000001".parse().unwrap())
}

fn config() -> StoreConfig {
    // A checkpoint every few messages: its steps are cut through as well.
    StoreConfig { gather: Duration::ZERO, log_bytes_max: 3 * TEXT, ..StoreConfig::default() }
}

/// Messages whose values are replaced in the end, both in one step.
const REVISED: [i64; 2] = [3, 7];

fn text(number: i64) -> String {
    format!("{number} ").repeat(TEXT / 3)
}

fn codec(version: &str) -> CodecStamp {
    CodecStamp { name: CodecName::parse("c").unwrap(), version: version.into(), hash: CodecHash([7; 32]) }
}

fn message(number: i64) -> Batch {
    let mut batch = Batch::default();
    put(&mut batch, number, &codec("1"), text(number));
    batch
}

fn put(batch: &mut Batch, number: i64, codec: &CodecStamp, text: String) {
    let samples = vec![Sample { key: format!("key {}", number % 3), value: Value::Text(text) }];
    batch.telemetry(id(), Timestamp(number), Some(codec), &[Measurement { ts: None, samples }]);
}

/// Replaces two messages, as a replay does: by what a codec made of them that nobody has heard of before.
fn revise(store: &Store) -> bool {
    let codec = codec("2");
    let received: BTreeSet<Timestamp> = REVISED.into_iter().map(Timestamp).collect();
    let mut rows = Batch::default();
    REVISED.into_iter().for_each(|number| put(&mut rows, number, &codec, "revised".to_owned()));
    let Ok(draft) = store.draft(&rows) else { return false };
    let Ok(defined) = block_on(store.define()) else { return false };
    let removal = Removal { device: id(), received, first: Timestamp(0), last: Timestamp(MESSAGES) };
    store.revise(&[removal], &draft, defined).is_ok()
}

/// Messages whose only value is deleted after that.
const ERASED: [i64; 2] = [1, 4];

/// The last message goes in the end, and the one before it with the same key takes its place as the latest.
const LATEST: (i64, &str, i64) = (MESSAGES, "key 0", MESSAGES - 3);

fn erase_latest(store: &Store) -> bool {
    let (last, key, _) = LATEST;
    let (first, last) = (Timestamp(last), Timestamp(i64::MAX));
    let keys = vec![key.to_owned()];
    let erasure = Erasure { device: id(), keys, first, last, latest: LatestAfter::Rewritten };
    store.erase(&erasure).is_ok_and(|went| went == 1)
}

fn erase(store: &Store) -> bool {
    let (first, last) = (Timestamp(0), Timestamp(6));
    let erasure =
        Erasure { device: id(), keys: vec!["key 1".to_owned()], first, last, latest: LatestAfter::Removed };
    store.erase(&erasure).is_ok_and(|went| went == ERASED.len() as u64)
}

fn device() -> Batch {
    let mut batch = Batch::default();
    batch.put_device(&Device {
        id: id(),
        created: Timestamp(0),
        name: "d".to_owned(),
        label: None,
        profile: ProfileId(id().0),
        additional_info: "null".to_owned(),
        is_gateway: false,
        customer: None,
        ota: wireglot_model::OtaTargets::default(),
        version: 1,
    });
    batch
}

/// The child's part: writes until something fails, and notes every acknowledgement.
#[test]
fn writer() {
    let Some(folder) = std::env::var_os("STORE_FOLDER").map(PathBuf::from) else { return };
    let mut acks = std::fs::File::create(acks_of(&folder)).unwrap();
    let Ok(store) = Store::open(&folder, config()) else { return };
    let mut failed = false;
    for batch in std::iter::once(device()).chain((1..=MESSAGES).map(message)) {
        match block_on(store.commit(batch)) {
            Ok(_) => {
                assert!(!failed, "a store that failed once acknowledges nothing any more");
                acks.write_all(b"a").unwrap();
            }
            Err(_) => failed = true,
        }
    }
    assert!(!(failed && store.healthy()), "a store that failed says so");
    if !failed && revise(&store) {
        acks.write_all(b"a").unwrap();
        if erase(&store) {
            acks.write_all(b"a").unwrap();
            if erase_latest(&store) {
                acks.write_all(b"a").unwrap();
            }
        }
    }
    store.close();
}

/// In memory where there is such a place: what is tested here are the calls, not the disk below.
fn space() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

fn acks_of(folder: &Path) -> PathBuf {
    // Begins with the folder's name, so the shim watches it too and its place among the other calls is known.
    folder.with_extension("acks")
}

fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| {
        let library = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("disk-shim.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/disk/shim.c");
        let built = Command::new("cc")
            .args(["-O1", "-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(source)
            .arg("-ldl")
            .status();
        assert!(built.unwrap().success(), "cc builds the shim");
        library
    })
}

fn write_in_child(folder: &Path, environment: &[(&str, String)]) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["writer", "--exact", "--test-threads=1"])
        .env("STORE_FOLDER", folder)
        .env("SHIM_ROOT", folder)
        .envs(environment.iter().cloned())
        .env("LD_PRELOAD", shim())
        .output()
        .unwrap()
}

/// Opens what is left and compares it with what was acknowledged.
#[track_caller]
fn check(folder: &Path, acknowledged: usize, moment: &str) {
    let store = match Store::open(folder, config()) {
        Ok(store) => store,
        // A folder that was never finished holds nothing that anybody relies on.
        Err(_) if acknowledged == 0 => return,
        Err(error) => panic!("{moment}: {acknowledged} were acknowledged, but: {error:?}"),
    };
    let messages = store.messages(id(), Timestamp(0), Timestamp(i64::MAX), usize::MAX).unwrap();
    let found: Vec<i64> = messages.iter().map(|message| message.ts.0).collect();
    assert!(
        found.is_sorted() && found.windows(2).all(|pair| pair[0] < pair[1]),
        "{moment}: twice in {found:?}"
    );
    // The device itself is the first acknowledgement, the replacement the last but two.
    let messages_max = usize::try_from(MESSAGES).unwrap();
    let are_gone = acknowledged > messages_max + 1 && !found.contains(&ERASED[0]);
    assert!(are_gone || acknowledged < messages_max + 3, "{moment}: what was deleted is there again");
    let is_last_gone = acknowledged > messages_max + 2 && !found.contains(&LATEST.0);
    assert!(is_last_gone || acknowledged < messages_max + 4, "{moment}: what was deleted is there again");
    let expected: Vec<i64> = (1..=MESSAGES)
        .take(acknowledged.saturating_sub(1))
        .filter(|number| !are_gone || !ERASED.contains(number))
        .filter(|number| !is_last_gone || *number != LATEST.0)
        .collect();
    assert!(found.starts_with(&expected), "{moment}: acknowledged {expected:?}, found {found:?}");
    let mut revised = Vec::new();
    for message in &messages {
        let value = &message.samples[0].value;
        if REVISED.contains(&message.ts.0) && *value == Value::Text("revised".into()) {
            revised.push(message.ts.0);
        } else {
            assert_eq!(*value, Value::Text(text(message.ts.0)), "{moment}");
        }
        assert_eq!(message.samples[0].key, format!("key {}", message.ts.0 % 3), "{moment}");
    }
    assert!(revised.is_empty() || revised == REVISED, "{moment}: only {revised:?} replaced");
    if acknowledged > 1 + messages_max {
        assert_eq!(revised, REVISED, "{moment}");
    }
    let latest = store.latest(id(), None).unwrap();
    if !is_last_gone {
        assert_eq!(latest.iter().map(|latest| latest.ts.0).max(), found.last().copied(), "{moment}");
    } else if acknowledged < messages_max + 4 {
        // The head comes last.
        assert!(latest_of_key(&latest) == LATEST.0 || latest_of_key(&latest) == LATEST.2, "{moment}");
        // Asked again, it does the rest.
        assert!(!erase_latest(&store), "{moment}: there is nothing left to be deleted");
        assert_eq!(latest_of_key(&store.latest(id(), None).unwrap()), LATEST.2, "{moment}");
    } else {
        assert_eq!(latest_of_key(&latest), LATEST.2, "{moment}");
    }
    // And it goes on working.
    if acknowledged > 0 {
        block_on(store.commit(message(MESSAGES + 1))).map(drop).unwrap();
    }
    store.close();
}

fn latest_of_key(latest: &[Latest]) -> i64 {
    latest.iter().find(|latest| latest.key == LATEST.1).unwrap().ts.0
}

#[test]
fn ack_after_commit_on_a_disk_that_forgets() {
    let space = space();
    let folder = space.path().join("store");
    let trace = space.path().join("trace");
    let run = write_in_child(&folder, &[("SHIM_TRACE", trace.display().to_string())]);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
    let events = trace::read(&trace);
    let acknowledged = trace::acknowledged(&events, &acks_of(&folder));
    assert_eq!(acknowledged.last().copied(), Some(4 + usize::try_from(MESSAGES).unwrap()));
    let mut disk = Disk::new(&folder);
    let mut cuts = 0;
    for (at, event) in events.iter().enumerate() {
        let mut cut = |disk: &Disk, when: &str, unsynced| {
            cuts += 1;
            let left = space.path().join("left");
            disk.cut_power(&left, unsynced);
            let moment = format!("power cut {when} event {at} of {}, {unsynced:?}", events.len());
            check(&left, acknowledged[at], &moment);
            std::fs::remove_dir_all(&left).unwrap();
        };
        // What is durable changes with a sync only; before it there is the most to tear.
        let is_sync = event.kind == b'S';
        if is_sync {
            (0..4).for_each(|seed| cut(&disk, "before", Unsynced::Torn(4 * at as u64 + seed)));
        }
        disk.play(event);
        if is_sync {
            cut(&disk, "after", Unsynced::Forgotten);
        }
    }
    assert!(cuts > 2 * usize::try_from(MESSAGES).unwrap(), "only {cuts} cuts: did the shim see the syncs?");
}

#[test]
fn ack_after_commit_on_a_disk_that_fails_at_every_nth_call() {
    let space = space();
    let folder = space.path().join("store");
    let trace = space.path().join("trace");
    write_in_child(&folder, &[("SHIM_TRACE", trace.display().to_string())]);
    let calls = trace::calls_that_can_fail(&trace::read(&trace));
    assert!(calls > 300, "only {calls} calls: did the shim see them?");
    for failing in 1..=calls {
        let folder = space.path().join(failing.to_string());
        let run = write_in_child(&folder, &[("SHIM_FAIL_AT", failing.to_string())]);
        let told = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success() || told.contains("Input/output error"), "call {failing}: {told}");
        let acks = std::fs::read(acks_of(&folder)).map_or(0, |acks| acks.len());
        check(&folder, acks, &format!("call {failing} of {calls} failed"));
        if folder.exists() {
            std::fs::remove_dir_all(&folder).unwrap();
        }
    }
}

struct Unpark(std::thread::Thread);

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
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}
