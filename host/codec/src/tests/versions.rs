//! Versions that were live before: found, loaded, shared.

use std::sync::Arc;

use wireglot_model::Actor;

use super::guests::{self, GOOD};
use super::{Fixture, frame, name, now, value};
use crate::VersionError;
use crate::folder::FileKind;

impl Fixture {
    /// Makes these versions live, one after the other.
    pub(super) fn versions(&self, versions: &[(&str, i64)]) {
        for (version, value) in versions {
            self.folder()
                .upload(
                    &name("c"),
                    FileKind::Component,
                    &guests::codec(version, *value),
                    Actor::Server,
                    now(),
                )
                .unwrap();
        }
    }

    /// What the version decodes, called outside the table.
    fn gives(&self, selector: &str) -> i64 {
        let codec = self.table.version(&name("c"), selector).unwrap();
        let decoded = codec.session("{}").unwrap().decode(&frame(GOOD)).unwrap();
        match value(&decoded) {
            wireglot_model::Value::Long(value) => *value,
            other => panic!("{other:?}"),
        }
    }
}

fn digits(hash: &str, count: usize) -> String {
    hash.chars().take(count).collect()
}

#[test]
fn a_kept_version_is_found_by_its_version_or_its_hash() {
    let fixture = Fixture::new();
    fixture.versions(&[("1.0.0", 1), ("2.0.0", 2), ("3.0.0", 3)]);
    assert_eq!([fixture.gives("1.0.0"), fixture.gives("2.0.0"), fixture.gives("3.0.0")], [1, 2, 3]);
    for entry in fixture.folder().versions(&name("c")) {
        let hash = entry.hash.to_string();
        for selector in [hash.clone(), digits(&hash, 8), digits(&hash, 20).to_uppercase()] {
            assert_eq!(format!("{}.0.0", fixture.gives(&selector)), entry.version, "{selector}");
        }
    }
    // All of it is still there after a restart, before the first scan.
    let fixture = fixture.restarted();
    assert_eq!(fixture.gives("1.0.0"), 1);
}

#[test]
fn an_unclear_version_is_answered_with_the_ones_there_are() {
    let fixture = Fixture::new();
    let no_versions = fixture.table.version(&name("c"), "1.0.0").err().unwrap();
    assert_eq!(no_versions, VersionError::NoVersions { codec: name("c") });
    fixture.versions(&[("1.0.0", 1), ("1.0.0", 2), ("2.0.0", 3)]);
    let refused = |selector: &str| fixture.table.version(&name("c"), selector).err().unwrap().to_string();
    for selector in ["", "3.0.0", "1.0", "0000000", "00000000"] {
        let text = refused(selector);
        assert!(text.contains("no version") && text.contains("2.0.0 ("), "{selector}: {text}");
    }
    let entries = fixture.folder().versions(&name("c"));
    let text = refused("1.0.0");
    for entry in &entries[..2] {
        assert!(text.contains(&digits(&entry.hash.to_string(), 12)), "{text}");
    }
    assert!(!text.contains("2.0.0"), "{text}");
}

#[test]
fn a_version_is_shared_while_somebody_holds_it() {
    let fixture = Fixture::new();
    fixture.versions(&[("1.0.0", 1), ("2.0.0", 2)]);
    let first = fixture.table.version(&name("c"), "1.0.0").unwrap();
    assert!(Arc::ptr_eq(&first, &fixture.table.version(&name("c"), "1.0.0").unwrap()));
    let live = fixture.table.version(&name("c"), "2.0.0").unwrap();
    assert!(Arc::ptr_eq(&live, &fixture.table.live(&name("c")).unwrap()));
    let gone = Arc::downgrade(&first);
    drop(first);
    assert!(gone.upgrade().is_none(), "nothing else keeps it in memory");
}

#[test]
fn a_damaged_version_says_so() {
    let fixture = Fixture::new();
    fixture.versions(&[("1.0.0", 1), ("2.0.0", 2)]);
    let hash = fixture.folder().versions(&name("c"))[0].hash;
    super::write(&fixture.config.versions_dir.join(format!("{hash}.wasm")), b"oops");
    let error = fixture.table.version(&name("c"), "1.0.0").err().unwrap();
    assert!(
        matches!(&error, VersionError::Broken { reason, .. } if reason.to_string().contains("damaged")),
        "{error}"
    );
}
