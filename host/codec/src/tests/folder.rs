//! The life of a file, and everything that can lie in a folder.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, SystemTime};

use wireglot_model::limits::{CODEC_FILE_STABLE_MS, CODEC_VERSIONS_KEPT_MAX};
use wireglot_model::{Actor, CodecName, Timestamp, Value};

use super::guests::{self, GOOD};
use super::{Fixture, binding, frame, name, now, value, write};
use crate::folder::{FileKind, UploadError};
use crate::{CodecState, ScanReport};

impl Fixture {
    /// Scans twice, with as much time in between as a file needs to be stable.
    pub(super) fn scan(&self) -> ScanReport {
        self.scan_used(&|_| false)
    }

    fn scan_used(&self, in_use: &dyn Fn(&CodecName) -> bool) -> ScanReport {
        let first = now();
        let report = self.folder().scan(first, in_use);
        if report.pending == 0 {
            return report;
        }
        self.folder().scan(Timestamp(first.0 + CODEC_FILE_STABLE_MS), in_use)
    }

    #[track_caller]
    fn check_live(&self, version: Option<&str>) {
        let live = self.table.live(&name("c"));
        assert_eq!(live.as_ref().map(|codec| codec.stamp().version.as_ref()), version);
    }

    fn note(&self) -> Option<String> {
        fs::read_to_string(self.path("c.rejected.txt")).ok()
    }
}

#[test]
fn a_file_goes_live_once_it_is_stable() {
    let fixture = Fixture::new();
    let start = now();
    write(&fixture.path("c.wasm"), &guests::codec("1.0.0", 7));
    let scan = |after: i64| fixture.folder().scan(Timestamp(start.0 + after), &|_| false);
    assert_eq!(scan(0).pending, 1);
    assert_eq!(scan(CODEC_FILE_STABLE_MS - 1).pending, 1);
    fixture.check_live(None);
    assert_eq!(scan(CODEC_FILE_STABLE_MS).published.len(), 1);
    fixture.check_live(Some("1.0.0"));
    let again = scan(CODEC_FILE_STABLE_MS + 1);
    assert!(again.published.is_empty() && again.pending == 0, "{again:?}");
    let (_, bytes) = fixture.table.version_bytes(&name("c"), "1.0.0").unwrap();
    assert_eq!(bytes, guests::codec("1.0.0", 7));
}

#[test]
fn a_bad_file_is_explained_and_the_old_version_serves_on() {
    let fixture = Fixture::new();
    write(&fixture.path("c.wasm"), &guests::codec("1.0.0", 7));
    fixture.scan();
    let good = guests::codec("2.0.0", 8);
    write(&fixture.path("c.wasm"), &good[..good.len() / 2]);
    assert_eq!(fixture.scan().rejected.len(), 1);
    fixture.check_live(Some("1.0.0"));
    let status = fixture.table.status(&name("c")).unwrap();
    assert_eq!(status.state, CodecState::Live);
    assert!(status.error.unwrap().contains("not a whole"));
    let note = fixture.note().unwrap();
    assert!(note.contains("not a whole") && note.contains("Version 1.0.0"), "{note}");
    assert!(fixture.scan().rejected.is_empty(), "told once");
    // The rest of the half-written file arrives.
    write(&fixture.path("c.wasm"), &good);
    assert_eq!(fixture.scan().published.len(), 1);
    fixture.check_live(Some("2.0.0"));
    assert_eq!((fixture.note(), fixture.table.status(&name("c")).unwrap().error), (None, None));
}

#[test]
fn going_back_to_the_live_content_clears_the_reason() {
    let fixture = Fixture::new();
    let good = guests::codec("1.0.0", 7);
    write(&fixture.path("c.wasm"), &good);
    fixture.scan();
    write(&fixture.path("c.wasm"), b"oops");
    fixture.scan();
    assert!(fixture.note().is_some());
    write(&fixture.path("c.wasm"), &good);
    assert!(fixture.scan().published.is_empty(), "it was live all the time");
    assert_eq!((fixture.note(), fixture.table.status(&name("c")).unwrap().error), (None, None));
}

#[test]
fn a_change_within_one_tick_of_the_clock_is_seen() {
    let fixture = Fixture::new();
    let path = fixture.path("c.wasm");
    write(&path, &guests::codec("1.0.0", 7));
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    fixture.scan();
    // The same length, the same time, the same inode.
    write(&path, &guests::codec("2.0.0", 7));
    fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    fixture.scan();
    fixture.check_live(Some("2.0.0"));
}

#[test]
fn vectors_beside_the_file_must_decode() {
    let fixture = Fixture::new();
    let vectors =
        |value: i64| format!(r#"{{"vectors":[{{"hex":"00","expected":[{{"values":{{"v":{value}}}}}]}}]}}"#);
    write(&fixture.path("c.wasm"), &guests::codec("1.0.0", 7));
    write(&fixture.path("c.vectors.json"), vectors(8).as_bytes());
    assert_eq!(fixture.scan().rejected.len(), 1);
    fixture.check_live(None);
    assert_eq!(fixture.table.status(&name("c")).unwrap().state, CodecState::Rejected);
    write(&fixture.path("c.vectors.json"), vectors(7).as_bytes());
    fixture.scan();
    fixture.check_live(Some("1.0.0"));
    write(&fixture.path("c.vectors.json"), b"{");
    assert_eq!(fixture.scan().rejected.len(), 1);
    fixture.check_live(Some("1.0.0"));
    // What cannot be read is not taken for nothing.
    write(&fixture.path("c.wasm"), &guests::codec("2.0.0", 7));
    fs::remove_file(fixture.path("c.vectors.json")).unwrap();
    std::os::unix::fs::symlink("nowhere", fixture.path("c.vectors.json")).unwrap();
    let error = fixture.scan().rejected[0].error.to_string();
    assert!(error.contains("c.vectors.json: No such file"), "{error}");
    fs::remove_file(fixture.path("c.vectors.json")).unwrap();
    fs::create_dir(fixture.path("c.vectors.json")).unwrap();
    let error = fixture.scan().rejected[0].error.to_string();
    assert!(error.contains("c.vectors.json: it is a folder"), "{error}");
    fixture.check_live(Some("1.0.0"));
    fs::remove_dir(fixture.path("c.vectors.json")).unwrap();
    fixture.scan();
    fixture.check_live(Some("2.0.0"));
}

#[test]
fn whatever_lies_in_the_folder_the_others_are_served() {
    let fixture = Fixture::with(|config| config.limits.module_bytes_max = 1_000_000);
    write(&fixture.path("c.wasm"), &guests::codec("1.0.0", 7));
    fs::create_dir(fixture.path("folder.wasm")).unwrap();
    fs::File::create(fixture.path("large.wasm")).unwrap().set_len(200 << 20).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(fixture.path("pipe.wasm")).status().unwrap().success());
    write(&fixture.config.folder.join(std::ffi::OsStr::from_bytes(b"\xff.wasm")), b"x");
    write(&fixture.path("No Name.wasm"), b"x");
    write(&fixture.path("c.next.wasm"), b"x");
    write(&fixture.path("c.next.next.wasm"), b"x");
    write(&fixture.path("empty.wasm"), b"");
    write(&fixture.path("capitals.WASM"), b"x");
    write(&fixture.path(".hidden.wasm"), b"x");
    write(&fixture.path("readme.txt"), b"x");
    std::os::unix::fs::symlink("nowhere", fixture.path("dangling.wasm")).unwrap();
    let report = fixture.scan();
    fixture.check_live(Some("1.0.0"));
    let mut rejected: Vec<String> =
        report.rejected.iter().map(|file| format!("{}: {}", file.file, file.error)).collect();
    rejected.sort();
    assert_eq!(rejected.len(), 10, "{rejected:#?}");
    for part in [
        "209715200 bytes",
        "it is a folder",
        "not a regular file",
        "not UTF-8",
        "does not end in .next",
        "in small letters",
        "c.next.wasm: this is not a whole",
        "No such file",
    ] {
        assert!(rejected.iter().any(|line| line.contains(part)), "{part}: {rejected:#?}");
    }
    assert!(fixture.scan().rejected.is_empty());
    assert!(fixture.path("large.rejected.txt").exists());
    fs::remove_file(fixture.path("large.wasm")).unwrap();
    fixture.scan();
    assert!(!fixture.path("large.rejected.txt").exists());
}

#[test]
fn an_unreadable_file_is_told() {
    let fixture = Fixture::new();
    let path = fixture.path("c.wasm");
    write(&path, &guests::codec("1.0.0", 7));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(&path).is_ok() {
        return; // Root reads everything.
    }
    assert!(fixture.scan().rejected[0].error.to_string().contains("ermission"));
}

#[test]
fn a_renamed_and_a_linked_file_are_followed() {
    let fixture = Fixture::new();
    write(&fixture.home.path().join("1"), &guests::codec("1.0.0", 7));
    write(&fixture.home.path().join("2"), &guests::codec("2.0.0", 8));
    let link = |target: &str| {
        std::os::unix::fs::symlink(fixture.home.path().join(target), fixture.path("new")).unwrap();
        fs::rename(fixture.path("new"), fixture.path("c.wasm")).unwrap();
    };
    link("1");
    fixture.scan();
    fixture.check_live(Some("1.0.0"));
    link("2");
    fixture.scan();
    fixture.check_live(Some("2.0.0"));
    fs::rename(fixture.path("c.wasm"), fixture.path("d.wasm")).unwrap();
    assert_eq!(fixture.scan().published.len(), 1);
    fixture.check_live(None);
}

#[test]
fn a_removed_file_retires_only_what_no_profile_uses() {
    let fixture = Fixture::new();
    write(&fixture.path("c.wasm"), &guests::codec("1.0.0", 7));
    fixture.scan();
    fs::remove_file(fixture.path("c.wasm")).unwrap();
    for _ in 0..2 {
        assert_eq!(fixture.scan_used(&|_| true).orphaned, [name("c")]);
        fixture.check_live(Some("1.0.0"));
    }
    assert!(fixture.table.status(&name("c")).unwrap().error.unwrap().contains("file is gone"));
    assert_eq!(fixture.scan().retired, [name("c")]);
    fixture.check_live(None);
    assert_eq!(fixture.table.status(&name("c")).unwrap().state, CodecState::Retired);
    assert_eq!(fixture.restarted().scan().restored.len(), 0);
}

#[test]
fn a_folder_that_goes_and_comes_back_retires_nothing() {
    let fixture = Fixture::new();
    write(&fixture.path("c.wasm"), &guests::codec("1.0.0", 7));
    fixture.scan();
    fs::rename(&fixture.config.folder, fixture.home.path().join("away")).unwrap();
    assert!(fixture.scan().unreadable.is_some());
    fixture.check_live(Some("1.0.0"));
    fs::rename(fixture.home.path().join("away"), &fixture.config.folder).unwrap();
    let report = fixture.scan();
    assert!(report.unreadable.is_none() && report.retired.is_empty());
    fixture.check_live(Some("1.0.0"));
}

#[test]
fn a_bad_file_at_the_start_leaves_the_last_good_version_serving() {
    let fixture = Fixture::new();
    for version in ["1.0.0", "2.0.0"] {
        write(&fixture.path("c.wasm"), &guests::codec(version, 7));
        fixture.scan();
    }
    write(&fixture.path("c.wasm"), b"oops");
    let fixture = fixture.restarted();
    fixture.scan();
    fixture.check_live(Some("2.0.0"));
    let status = fixture.table.status(&name("c")).unwrap();
    assert!(status.error.unwrap().contains("not start as WebAssembly"));
    let worker = fixture.table.worker();
    assert_eq!(value(&worker.decode(&binding("c", "{}"), &frame(GOOD)).unwrap().0), &Value::Long(7));
    // The same with the file gone, as long as a profile uses it.
    let fixture = fixture.restarted();
    fs::remove_file(fixture.path("c.wasm")).unwrap();
    fixture.scan_used(&|_| true);
    fixture.check_live(Some("2.0.0"));
}

#[test]
fn damaged_history_and_versions_are_put_aside() {
    let fixture = Fixture::new();
    write(&fixture.path("c.wasm"), &guests::codec("1.0.0", 7));
    fixture.scan();
    fs::remove_file(fixture.path("c.wasm")).unwrap();
    let hash = fixture.table.live(&name("c")).unwrap().stamp().hash;
    write(&fixture.config.versions_dir.join(format!("{hash}.wasm")), b"oops");
    let fixture = fixture.restarted();
    fixture.scan_used(&|_| true);
    fixture.check_live(None);
    write(&fixture.config.versions_dir.join("c.history.json"), b"{");
    let fixture = fixture.restarted();
    write(&fixture.path("c.wasm"), &guests::codec("1.0.0", 7));
    fixture.scan();
    fixture.check_live(Some("1.0.0"));
    assert!(fixture.table.version_bytes(&name("c"), "1.0.0").is_ok());
}

#[test]
fn a_damaged_compiled_codec_is_compiled_again() {
    let mut fixture = Fixture::new();
    write(&fixture.path("c.wasm"), &guests::codec("1.0.0", 7));
    fixture.scan();
    let cached = |fixture: &Fixture, extension: &str| {
        let entries = fs::read_dir(&fixture.config.cache_dir).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|e| e == extension)).collect::<Vec<_>>()
    };
    assert_eq!((cached(&fixture, "cwasm").len(), cached(&fixture, "sha256").len()), (1, 1));
    assert_eq!(fs::metadata(&fixture.config.cache_dir).unwrap().permissions().mode() & 0o777, 0o700);
    let damage: [&dyn Fn(&Fixture); 4] = [
        &|fixture| {
            let path = &cached(fixture, "cwasm")[0];
            let mut code = fs::read(path).unwrap();
            let middle = code.len() / 2;
            code[middle] ^= 1;
            write(path, &code);
        },
        &|fixture| {
            fs::File::options().write(true).open(&cached(fixture, "cwasm")[0]).unwrap().set_len(100).unwrap()
        },
        &|fixture| write(&cached(fixture, "sha256")[0], b"0"),
        &|fixture| fs::remove_file(&cached(fixture, "sha256")[0]).unwrap(),
    ];
    for damage in damage {
        let whole = fs::read(&cached(&fixture, "cwasm")[0]).unwrap().len();
        damage(&fixture);
        fixture = fixture.restarted();
        fixture.scan();
        let worker = fixture.table.worker();
        assert_eq!(value(&worker.decode(&binding("c", "{}"), &frame(GOOD)).unwrap().0), &Value::Long(7));
        assert_eq!(fs::read(&cached(&fixture, "cwasm")[0]).unwrap().len(), whole);
    }
}

#[test]
fn an_upload_does_what_dropping_the_file_does() {
    let fixture = Fixture::with(|config| config.limits.module_bytes_max = 100_000);
    let upload =
        |bytes: &[u8]| fixture.folder().upload(&name("c"), FileKind::Component, bytes, Actor::Server, now());
    assert_eq!(upload(&guests::codec("1.0.0", 7)).unwrap().version.as_ref(), "1.0.0");
    fixture.check_live(Some("1.0.0"));
    assert!(matches!(upload(b"oops"), Err(UploadError::Rejected(_))));
    assert!(matches!(upload(&vec![0; 100_001]), Err(UploadError::Rejected(_))));
    fixture.check_live(Some("1.0.0"));
    assert!(fixture.note().is_some());
    assert_eq!(upload(&guests::codec("1.0.0", 7)).unwrap().version.as_ref(), "1.0.0");
    assert!(fixture.note().is_none());
    assert!(fixture.scan().published.is_empty());
}

#[test]
fn kept_versions_are_bounded() {
    let fixture = Fixture::new();
    for version in 0..CODEC_VERSIONS_KEPT_MAX + 3 {
        fixture
            .folder()
            .upload(
                &name("c"),
                FileKind::Component,
                &guests::codec(&format!("{version}.0.0"), 7),
                Actor::Server,
                now(),
            )
            .unwrap();
    }
    let kept = fixture.folder().versions(&name("c"));
    assert_eq!(kept.len(), CODEC_VERSIONS_KEPT_MAX);
    assert_eq!((kept[0].version.as_str(), kept.iter().filter(|entry| entry.live).count()), ("3.0.0", 1));
    let files = fs::read_dir(&fixture.config.versions_dir).unwrap().count();
    assert_eq!(files, CODEC_VERSIONS_KEPT_MAX + 1);
}

#[test]
fn a_kubernetes_config_map_is_followed_through_its_swaps() {
    use std::os::unix::fs::symlink;
    let fixture = Fixture::new();
    // As the kubelet lays it out: the files are links through `..data`, and only `..data` is ever replaced.
    let generation = |number: i64| {
        let folder = format!("..2026_0{number}");
        fs::create_dir(fixture.path(&folder)).unwrap();
        write(&fixture.path(&folder).join("c.wasm"), &guests::codec(&format!("{number}.0.0"), number));
        symlink(&folder, fixture.path("..data_tmp")).unwrap();
        fs::rename(fixture.path("..data_tmp"), fixture.path("..data")).unwrap();
    };
    generation(1);
    symlink("..data/c.wasm", fixture.path("c.wasm")).unwrap();
    fixture.scan();
    fixture.check_live(Some("1.0.0"));
    generation(2);
    fs::remove_dir_all(fixture.path("..2026_01")).unwrap();
    fixture.scan();
    fixture.check_live(Some("2.0.0"));
}

#[test]
fn a_folder_that_becomes_another_is_followed() {
    let fixture = Fixture::new();
    let folder = &fixture.config.folder;
    write(&fixture.path("c.wasm"), &guests::codec("1.0.0", 1));
    fixture.scan();
    // Removed, made again, and filled.
    fs::remove_dir_all(folder).unwrap();
    assert!(fixture.scan().unreadable.is_some());
    fs::create_dir(folder).unwrap();
    write(&fixture.path("c.wasm"), &guests::codec("2.0.0", 2));
    fixture.scan();
    fixture.check_live(Some("2.0.0"));
    // Replaced by a link to another one.
    let other = fixture.home.path().join("other");
    fs::create_dir(&other).unwrap();
    write(&other.join("c.wasm"), &guests::codec("3.0.0", 3));
    fs::rename(folder, fixture.home.path().join("away")).unwrap();
    std::os::unix::fs::symlink(&other, folder).unwrap();
    fixture.scan();
    fixture.check_live(Some("3.0.0"));
}

#[test]
fn a_clock_that_is_set_back_delays_nothing() {
    let fixture = Fixture::new();
    let path = fixture.path("c.wasm");
    write(&path, &guests::codec("1.0.0", 7));
    let (start, hour) = (now(), 3_600_000);
    let later = SystemTime::now() + Duration::from_millis(hour);
    fs::File::open(&path).unwrap().set_modified(later).unwrap();
    let scan = |ms: i64| fixture.folder().scan(Timestamp(start.0 + ms), &|_| true).pending;
    assert_eq!((scan(3_600_000), scan(0), scan(CODEC_FILE_STABLE_MS)), (1, 1, 0));
    fixture.check_live(Some("1.0.0"));
}
