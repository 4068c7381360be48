//! Rollback, and what the history tells of it.

use std::fs;
use std::sync::Arc;

use parking_lot::Mutex;
use wireglot_model::limits::{CODEC_EVENTS_MAX, CODEC_FILE_STABLE_MS, CODEC_HISTORIES_MAX};
use wireglot_model::{Actor, Timestamp, Value};

use super::guests::{self, GOOD};
use super::{Fixture, binding, frame, name, now, value, write};
use crate::folder::FileKind;
use crate::history::History;
use crate::{CodecOutcome, HistoryEvent, RollbackError, RolledBack, VersionError};

pub(super) fn operator() -> Actor {
    Actor::User("operator@example.com".into())
}

impl Fixture {
    fn roll_back(&self, selector: Option<&str>) -> Result<RolledBack, RollbackError> {
        self.folder().rollback(&name("c"), selector, operator(), now())
    }

    /// Scans as often as a file needs to be stable.
    fn settle(&self) {
        let start = now();
        for turn in 0..3 {
            self.folder().scan(Timestamp(start.0 + turn * CODEC_FILE_STABLE_MS), &|_| true);
        }
    }

    /// The live version by its name for itself and by what it decodes.
    #[track_caller]
    fn check_serving(&self, version: &str, decoded: i64) {
        assert_eq!(self.table.live(&name("c")).unwrap().stamp().version.as_ref(), version);
        let result = self.table.worker().decode(&binding("c", "{}"), &frame(GOOD)).unwrap().0;
        assert_eq!(value(&result), &Value::Long(decoded));
    }

    fn outcomes(&self) -> Vec<(CodecOutcome, Option<String>)> {
        let events = self.folder().events(&name("c"));
        events.into_iter().map(|event| (event.outcome, event.version)).collect()
    }

    fn error(&self) -> Option<String> {
        self.table.status(&name("c")).unwrap().error
    }
}

#[test]
fn a_rolled_back_file_is_not_taken_until_it_changes() {
    let fixture = Fixture::new();
    for (version, decoded) in [("1.0.0", 1), ("2.0.0", 2)] {
        write(&fixture.path("c.wasm"), &guests::codec(version, decoded));
        fixture.settle();
    }
    let done = fixture.roll_back(None).unwrap();
    assert_eq!((done.from.version.as_ref(), done.to.version.as_ref()), ("2.0.0", "1.0.0"));
    fixture.check_serving("1.0.0", 1);
    fixture.settle();
    fixture.check_serving("1.0.0", 1);
    // Touched, but the same.
    write(&fixture.path("c.wasm"), &guests::codec("2.0.0", 2));
    fixture.settle();
    fixture.check_serving("1.0.0", 1);
    assert!(fixture.error().unwrap().contains("rolled back"));
    let fixture = fixture.restarted();
    fixture.settle();
    fixture.check_serving("1.0.0", 1);
    assert!(fixture.error().unwrap().contains("rolled back"));
    assert!(!fixture.path("c.rejected.txt").exists(), "it is not rejected");
    write(&fixture.path("c.wasm"), &guests::codec("3.0.0", 3));
    fixture.settle();
    fixture.check_serving("3.0.0", 3);
    assert_eq!(fixture.error(), None);
    // Its content has changed twice, so it is news again.
    write(&fixture.path("c.wasm"), &guests::codec("2.0.0", 2));
    fixture.settle();
    fixture.check_serving("2.0.0", 2);
}

#[test]
fn the_file_of_the_version_that_serves_again_ends_the_matter() {
    let fixture = Fixture::new();
    for (version, decoded) in [("1.0.0", 1), ("2.0.0", 2)] {
        write(&fixture.path("c.wasm"), &guests::codec(version, decoded));
        fixture.settle();
    }
    fixture.roll_back(None).unwrap();
    write(&fixture.path("c.wasm"), &guests::codec("1.0.0", 1));
    fixture.settle();
    assert_eq!(fixture.error(), None);
    write(&fixture.path("c.wasm"), &guests::codec("2.0.0", 2));
    fixture.settle();
    fixture.check_serving("2.0.0", 2);
}

#[test]
fn whoever_uploads_a_rolled_back_version_gets_it() {
    let fixture = Fixture::new();
    fixture.versions(&[("1.0.0", 1), ("2.0.0", 2)]);
    fixture.roll_back(None).unwrap();
    fixture.versions(&[("2.0.0", 2)]);
    fixture.check_serving("2.0.0", 2);
    fixture.settle();
    fixture.check_serving("2.0.0", 2);
}

#[test]
fn a_rollback_goes_further_back_each_time_or_where_it_is_told_to() {
    let fixture = Fixture::new();
    fixture.versions(&[("1.0.0", 1), ("2.0.0", 2), ("3.0.0", 3), ("4.0.0", 4)]);
    fixture.roll_back(None).unwrap();
    fixture.check_serving("3.0.0", 3);
    fixture.roll_back(None).unwrap();
    fixture.check_serving("2.0.0", 2);
    fixture.roll_back(Some("1.0.0")).unwrap();
    fixture.check_serving("1.0.0", 1);
    let fixture = fixture.restarted();
    fixture.settle();
    fixture.check_serving("1.0.0", 1);
    assert!(
        matches!(fixture.roll_back(None), Err(RollbackError::NothingBefore { known, .. }) if known.len() == 4)
    );
    assert!(matches!(fixture.roll_back(Some("1.0.0")), Err(RollbackError::AlreadyLive { .. })));
    assert!(matches!(
        fixture.roll_back(Some("5.0.0")),
        Err(RollbackError::Version(VersionError::Unknown { .. }))
    ));
    fixture.check_serving("1.0.0", 1);
    // Forward to the version whose file lies there.
    fixture.roll_back(Some("4.0.0")).unwrap();
    fixture.check_serving("4.0.0", 4);
    fs::remove_file(fixture.path("c.wasm")).unwrap();
    fixture.folder().scan(now(), &|_| false);
    assert!(matches!(fixture.roll_back(Some("1.0.0")), Err(RollbackError::NotLive(_))));
}

#[test]
fn a_rollback_waits_for_one_file_of_a_scan_not_for_all() {
    let fixture = Fixture::new();
    fixture.versions(&[("1.0.0", 1), ("2.0.0", 2)]);
    for file in 0..40 {
        write(&fixture.path(&format!("f{file}.wasm")), &guests::codec("1.0.0", 100 + file));
    }
    let later = Timestamp(now().0 + 10_000);
    let folder = fixture.folder();
    let scan = std::thread::spawn(move || folder.scan(later, &|_| true));
    while fixture.table.live_count() < 3 {
        std::thread::yield_now();
    }
    fixture.roll_back(None).unwrap();
    assert!(!scan.is_finished() && fixture.table.live_count() < 41, "it waited for the whole scan");
    assert_eq!(scan.join().unwrap().published.len(), 40);
    fixture.check_serving("1.0.0", 1);
}

#[test]
fn the_history_tells_who_did_what() {
    let fixture = Fixture::new();
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&told);
    fixture.table.observe(Box::new(move |target, event| {
        heard.lock().push((target.to_owned(), event.outcome, event.by.clone()));
    }));
    write(&fixture.path("c.wasm"), &guests::codec("1.0.0", 1));
    fixture.settle();
    write(&fixture.path("c.wasm"), b"oops");
    fixture.settle();
    fixture
        .folder()
        .upload(&name("c"), FileKind::Component, &guests::codec("2.0.0", 2), operator(), now())
        .unwrap();
    fixture.roll_back(None).unwrap();
    let file = Actor::File("c.wasm".into());
    let expected = [
        ("c".to_owned(), CodecOutcome::Live, file.clone()),
        ("c".to_owned(), CodecOutcome::Rejected, file),
        ("c".to_owned(), CodecOutcome::Live, operator()),
        ("c".to_owned(), CodecOutcome::RolledBack, operator()),
    ];
    assert_eq!(*told.lock(), expected);
    let version = |text: &str| Some(text.to_owned());
    let happened = [
        (CodecOutcome::Live, version("1.0.0")),
        (CodecOutcome::Rejected, None),
        (CodecOutcome::Live, version("2.0.0")),
        (CodecOutcome::RolledBack, version("2.0.0")),
        (CodecOutcome::Live, version("1.0.0")),
    ];
    assert_eq!(fixture.outcomes(), happened);
    let events = fixture.folder().events(&name("c"));
    assert!(events[1].reason.contains("WebAssembly") && events[3].reason.contains("to 1.0.0"), "{events:?}");
    // A restart finds the same, and is no news but for the version that serves without its file.
    let mut fixture = fixture;
    for _ in 0..3 {
        fixture = fixture.restarted();
        fixture.settle();
    }
    let outcomes = fixture.outcomes();
    assert_eq!((&outcomes[..5], outcomes.len()), (&happened[..], 6), "{outcomes:?}");
    assert_eq!(outcomes[5], (CodecOutcome::Restored, version("1.0.0")));
}

#[test]
fn what_is_told_is_bounded() {
    let fixture = Fixture::new();
    fixture.versions(&[("1.0.0", 1), ("2.0.0", 2)]);
    for _ in 0..CODEC_EVENTS_MAX / 4 + 2 {
        fixture.roll_back(Some("1.0.0")).unwrap();
        fixture.roll_back(Some("2.0.0")).unwrap();
    }
    assert_eq!(fixture.folder().events(&name("c")).len(), CODEC_EVENTS_MAX);
}

#[test]
fn histories_are_bounded_and_the_longest_idle_goes_first() {
    let fixture = Fixture::new();
    fixture.versions(&[("1.0.0", 1)]);
    let folder = &fixture.config.versions_dir;
    let mut history = History::open(folder);
    let mut event = HistoryEvent {
        at: Timestamp(0),
        outcome: CodecOutcome::Rejected,
        hash: None,
        version: None,
        by: Actor::Server,
        reason: String::new(),
    };
    for number in 0..=CODEC_HISTORIES_MAX {
        event.at.0 += 1;
        assert!(history.note(&name(&format!("n{number}")), event.clone()));
    }
    let files = fs::read_dir(folder).unwrap().count();
    // One more for the component of `c`, which serves and stays.
    assert_eq!(files, CODEC_HISTORIES_MAX + 1);
    assert!(history.of(&name("c")).len() == 1 && history.events(&name("n1")).is_empty());
    assert_eq!(history.events(&name("n2")).len(), 1);
}

#[test]
fn a_history_of_all_codecs_in_one_file_is_taken_over() {
    let fixture = Fixture::new();
    fixture.versions(&[("1.0.0", 1), ("2.0.0", 2)]);
    let versions_dir = &fixture.config.versions_dir;
    let versions = fixture.folder().versions(&name("c"));
    let old: Vec<_> = versions
        .iter()
        .map(|entry| {
            let (hash, version, live) = (entry.hash, &entry.version, entry.live);
            serde_json::json!({"hash": hash, "version": version, "loadedAt": 1, "file": "c.wasm", "live": live})
        })
        .collect();
    let old = serde_json::json!({"codecs": {"c": old}}).to_string();
    fs::remove_file(versions_dir.join("c.history.json")).unwrap();
    write(&versions_dir.join("history.json"), old.as_bytes());
    fs::remove_file(fixture.path("c.wasm")).unwrap();
    let fixture = fixture.restarted();
    assert!(!fixture.config.versions_dir.join("history.json").exists());
    fixture.settle();
    fixture.check_serving("2.0.0", 2);
    fixture.roll_back(None).unwrap();
    fixture.check_serving("1.0.0", 1);
}
