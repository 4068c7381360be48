//! Profiles that stay with a version.

use std::fs;

use wireglot_model::limits::CODEC_VERSIONS_KEPT_MAX;
use wireglot_model::{Actor, CodecHash, FailureStage, ProfileId, Value};

use super::guests::{self, GOOD};
use super::{Fixture, binding, check_stage, frame, name, now, value, write};
use crate::folder::FileKind;
use crate::{CodecBinding, VersionError, WorkerCodecs};

/// A profile of its own that is pinned to this version.
fn pinned(hash: CodecHash) -> CodecBinding {
    let profile = ProfileId("00000000-0000-4000-8000-000000000002".parse().unwrap());
    CodecBinding { profile, version: Some(hash), ..binding("c", "{}") }
}

#[track_caller]
fn check_gives(worker: &WorkerCodecs, binding: &CodecBinding, version: &str, expected: i64) {
    let (decoded, stamp) = worker.decode(binding, &frame(GOOD)).unwrap();
    assert_eq!((value(&decoded), stamp.version.as_ref()), (&Value::Long(expected), version));
}

#[test]
fn a_pinned_profile_stays_whatever_goes_live() {
    let fixture = Fixture::new();
    let worker = fixture.table.worker();
    fixture.versions(&[("1.0.0", 1)]);
    let hash = fixture.table.pin(&name("c"), "1.0.0").unwrap();
    check_gives(&worker, &pinned(hash), "1.0.0", 1);
    check_gives(&worker, &binding("c", "{}"), "1.0.0", 1);
    fixture.versions(&[("2.0.0", 2)]);
    for _ in 0..2 {
        check_gives(&worker, &pinned(hash), "1.0.0", 1);
        check_gives(&worker, &binding("c", "{}"), "2.0.0", 2);
    }
    // The profile moves from one version to the other and back: the instance follows.
    let newer = fixture.table.pin(&name("c"), "2.0.0").unwrap();
    check_gives(&worker, &pinned(newer), "2.0.0", 2);
    check_gives(&worker, &pinned(hash), "1.0.0", 1);
    let after = CodecBinding { version: None, ..pinned(hash) };
    check_gives(&worker, &after, "2.0.0", 2);
}

#[test]
fn a_pinned_version_survives_everything() {
    let fixture = Fixture::new();
    fixture.versions(&[("1.0.0", 1)]);
    let hash = fixture.table.pin(&name("c"), "1.0.0").unwrap();
    fixture.table.keep_pins([(name("c"), hash)]);
    for version in 2..CODEC_VERSIONS_KEPT_MAX + 6 {
        let component = guests::codec(&format!("{version}.0.0"), 7);
        fixture.folder().upload(&name("c"), FileKind::Component, &component, Actor::Server, now()).unwrap();
    }
    let kept = fixture.folder().versions(&name("c"));
    assert!(kept.iter().any(|entry| entry.hash == hash), "it is the oldest of all");
    assert_eq!(kept.len(), CODEC_VERSIONS_KEPT_MAX, "the bound holds otherwise");
    fs::remove_file(fixture.path("c.wasm")).unwrap();
    let fixture = fixture.restarted();
    fixture.table.keep_pins([(name("c"), hash)]);
    fixture.folder().scan(now(), &|_| false);
    assert!(fixture.table.live(&name("c")).is_none());
    check_gives(&fixture.table.worker(), &pinned(hash), "1.0.0", 1);
}

#[test]
fn a_version_that_nobody_is_pinned_to_is_let_go() {
    let fixture = Fixture::new();
    fixture.versions(&[("1.0.0", 1), ("2.0.0", 2)]);
    let hash = fixture.folder().versions(&name("c"))[0].hash;
    fixture.table.keep_pins([(name("c"), hash)]);
    let worker = fixture.table.worker();
    check_gives(&worker, &pinned(hash), "1.0.0", 1);
    fixture.table.keep_pins([]);
    check_stage(&worker, &pinned(hash), GOOD, FailureStage::NoCodec, "pinned to");
    assert_eq!(fixture.table.counters().live_instances, 0);
    // What a profile that is being saved asked for is there until it is saved.
    fixture.table.pin(&name("c"), "1.0.0").unwrap();
    fixture.table.keep_pins([]);
    check_gives(&worker, &pinned(hash), "1.0.0", 1);
}

#[test]
fn an_unknown_version_cannot_be_pinned() {
    let fixture = Fixture::new();
    assert!(matches!(fixture.table.pin(&name("c"), "1.0.0"), Err(VersionError::NoVersions { .. })));
    fixture.versions(&[("1.0.0", 1)]);
    let error = fixture.table.pin(&name("c"), "1.1.0").unwrap_err().to_string();
    assert!(error.contains("1.0.0 ("), "{error}");
    let hash = fixture.folder().versions(&name("c"))[0].hash;
    write(&fixture.config.versions_dir.join(format!("{hash}.wasm")), b"oops");
    let fixture = fixture.restarted();
    assert!(matches!(fixture.table.pin(&name("c"), "1.0.0"), Err(VersionError::Broken { .. })));
    fixture.table.keep_pins([(name("c"), hash)]);
    check_stage(&fixture.table.worker(), &pinned(hash), GOOD, FailureStage::NoCodec, "cannot be loaded");
}
