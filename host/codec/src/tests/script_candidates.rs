//! Scripts as candidates: tried beside a script or a component, promoted, and what becomes of the files. What a script does
//! is tested with the real engine, in the system tests.

use std::fs;

use wireglot_model::{Actor, Value};

use super::guests::{self, GOOD};
use super::{Fixture, binding, frame, name, now, write};
use crate::folder::{FileKind, UploadError};
use crate::{CanaryPlan, CanaryState, CandidateState, CandidateStatus, LoadError};

const FIRST: &[u8] = b"function Decoder(bytes, port) { return {v: 1}; }\n";
const SECOND: &[u8] = b"function Decoder(bytes, port) { return {v: 2}; }\n";

impl Fixture {
    /// `soil.js` is live, on an engine that gives 7 for whatever script.
    fn with_soil() -> Self {
        let fixture = Self::with_engine("1.0.0", 7);
        write(&fixture.path("soil.js"), FIRST);
        fixture.scan();
        assert_eq!(fixture.answers("soil"), Some(Value::Long(7)));
        fixture
    }

    fn tried(&self) -> Option<CandidateStatus> {
        self.table.candidate(&name("soil"))
    }

    fn promote_soil(&self) {
        self.folder().promote(&name("soil"), None, Actor::Server, "asked for", now()).unwrap();
    }

    /// The codec's files of this folder, hidden ones too.
    fn files_of_soil(&self) -> Vec<String> {
        let files = fs::read_dir(&self.config.folder).unwrap();
        let mut names: Vec<String> =
            files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name.contains("soil"));
        names.sort();
        names
    }

    fn check_nothing_new(&self) {
        let report = self.scan();
        assert!(report.published.is_empty() && report.rejected.is_empty(), "{report:?}");
    }
}

#[test]
fn a_script_is_tried_and_takes_the_place_of_the_script() {
    let fixture = Fixture::with_soil();
    let before = fixture.table.live(&name("soil")).unwrap().stamp().hash;
    write(&fixture.path("soil.next.js"), SECOND);
    assert_eq!(fixture.scan().candidates.len(), 1);
    let candidate = fixture.tried().unwrap();
    assert_eq!((candidate.state, candidate.file.as_str()), (CandidateState::Shadow, "soil.next.js"));
    assert_ne!(candidate.hash, Some(before));
    let plan = CanaryPlan { share: 1.0, ..CanaryPlan::default() };
    fixture.table.start_canary(&name("soil"), plan, Actor::Server, now()).unwrap();
    let (_, stamp) = fixture.table.worker().decode(&binding("soil", "{}"), &frame(GOOD)).unwrap();
    assert_eq!(Some(stamp.hash), candidate.hash, "the canary's devices are served by the new script");
    fixture.promote_soil();
    assert_eq!(fixture.table.canary(&name("soil")).unwrap().state, CanaryState::Promoted);
    assert_eq!(fixture.files_of_soil(), ["soil.js"]);
    assert_eq!(fs::read(fixture.path("soil.js")).unwrap(), SECOND);
    fixture.check_nothing_new();
    let fixture = fixture.restarted();
    fixture.scan();
    assert_eq!(fixture.table.live(&name("soil")).map(|live| live.stamp().hash), candidate.hash);
    assert!(fixture.tried().is_none());
}

#[test]
fn a_bad_script_is_told_beside_its_file() {
    let fixture = Fixture::with_soil();
    write(&fixture.path("soil.next.js"), b"// w\xe4rme");
    fixture.scan();
    let candidate = fixture.tried().unwrap();
    assert_eq!(candidate.state, CandidateState::Rejected);
    let note = fs::read_to_string(fixture.path("soil.next.rejected.txt")).unwrap();
    assert!(note.contains("soil.next.js") && note.contains("UTF-8"), "{note}");
    assert_eq!(fixture.answers("soil"), Some(Value::Long(7)));
    fixture.folder().discard_candidate(&name("soil"), Actor::Server, now()).unwrap();
    assert_eq!(fixture.files_of_soil(), ["soil.js"]);
    write(&fixture.path("js.next.js"), FIRST);
    assert!(fixture.scan().rejected[0].error.to_string().contains("js is the script engine"));
}

#[test]
fn a_script_s_own_examples_take_the_place_of_the_codec_s_vectors() {
    let expecting =
        |value: u8| format!(r#"{{"vectors":[{{"hex":"00","expected":[{{"values":{{"v":{value}}}}}]}}]}}"#);
    let example =
        "uplinkDecoder:\n  examples:\n  - input: {fPort: 1, bytes: [0]}\n    output: {data: {v: 7.0}}\n";
    let fixture = Fixture::with_soil();
    write(&fixture.path("soil.vectors.json"), expecting(7).as_bytes());
    fixture.scan();
    write(&fixture.path("soil.next.js"), SECOND);
    fixture.scan();
    assert_eq!(fixture.tried().unwrap().state, CandidateState::Shadow, "proven by those of the codec");
    write(&fixture.path("soil.vectors.json"), expecting(8).as_bytes());
    fixture.scan();
    assert_eq!(fixture.tried().unwrap().state, CandidateState::Rejected);
    write(&fixture.path("soil.next-codec.yaml"), example.as_bytes());
    fixture.scan();
    assert_eq!(fixture.tried().unwrap().state, CandidateState::Shadow, "its own come first");
    fixture.promote_soil();
    assert_eq!(fixture.files_of_soil(), ["soil-codec.yaml", "soil.js"], "else the old ones would be asked");
    fixture.check_nothing_new();
}

#[test]
fn a_component_takes_the_place_of_a_script_and_the_other_way_round() {
    let fixture = Fixture::with_soil();
    let example =
        "uplinkDecoder:\n  examples:\n  - input: {fPort: 1, bytes: [0]}\n    output: {data: {v: 7.0}}\n";
    write(&fixture.path("soil.yaml"), example.as_bytes());
    fixture.scan();
    write(&fixture.path("soil.next.wasm"), &guests::codec("3.0.0", 9));
    fixture.scan();
    let error = fixture.tried().unwrap().error.unwrap();
    assert!(error.contains("expected 7, got 9"), "it has to give what the script's examples say: {error}");
    write(&fixture.path("soil.next.wasm"), &guests::codec("3.0.1", 7));
    fixture.scan();
    assert_eq!(fixture.tried().unwrap().state, CandidateState::Shadow);
    fixture.promote_soil();
    assert_eq!(fixture.files_of_soil(), ["soil.wasm", "soil.yaml"]);
    assert_eq!(fixture.shown_version("soil"), "3.0.1");
    fixture.check_nothing_new();
    fixture.folder().upload_candidate(&name("soil"), FileKind::Script, SECOND, Actor::Server, now()).unwrap();
    fixture.promote_soil();
    assert_eq!(fixture.files_of_soil(), ["soil.js", "soil.yaml"]);
    fixture.check_nothing_new();
    let fixture = fixture.restarted();
    fixture.check_nothing_rejected();
    assert!(fixture.shown_version("soil").starts_with("1.0.0+"));
    // What was replaced is kept, and comes back without its file.
    fixture.folder().rollback(&name("soil"), None, Actor::Server, now()).unwrap();
    assert_eq!(fixture.shown_version("soil"), "3.0.1");
    fixture.check_nothing_new();
}

impl Fixture {
    fn check_nothing_rejected(&self) {
        let report = self.scan();
        assert!(report.rejected.is_empty(), "{report:?}");
    }
}

#[test]
fn of_two_candidates_of_one_codec_neither_is_tried() {
    let fixture = Fixture::with_soil();
    write(&fixture.path("soil.next.js"), SECOND);
    fixture.scan();
    let upload = fixture.folder().upload_candidate(
        &name("soil"),
        FileKind::Component,
        &guests::codec("3.0.0", 9),
        Actor::Server,
        now(),
    );
    assert!(matches!(upload, Err(UploadError::Rejected(LoadError::Twins { .. }))), "{upload:?}");
    write(&fixture.path("soil.next.wasm"), &guests::codec("3.0.0", 9));
    fixture.scan();
    let candidate = fixture.tried().unwrap();
    assert_eq!(candidate.state, CandidateState::Rejected);
    assert!(candidate.error.unwrap().contains("soil.next.wasm and soil.next.js both"));
    fs::remove_file(fixture.path("soil.next.wasm")).unwrap();
    fixture.scan();
    assert_eq!(fixture.tried().unwrap().state, CandidateState::Shadow, "the one that is left is tried");
    write(&fixture.path("soil.next.wasm"), &guests::codec("3.0.0", 9));
    fixture.scan();
    fixture.folder().discard_candidate(&name("soil"), Actor::Server, now()).unwrap();
    assert_eq!(fixture.files_of_soil(), ["soil.js"], "a discard removes both");
    fixture.check_nothing_new();
    assert!(fixture.tried().is_none());
}

#[test]
fn a_candidate_is_tried_on_the_engine_that_is_live() {
    let fixture = Fixture::with_soil();
    write(&fixture.path("soil.next.js"), SECOND);
    fixture.scan();
    fixture.put_engine("2.0.0", 8);
    fixture.scan();
    let candidate = fixture.tried().unwrap();
    assert_eq!(candidate.state, CandidateState::Shadow);
    assert!(candidate.version.unwrap().starts_with("2.0.0+"));
    fixture.promote_soil();
    assert_eq!(fixture.answers("soil"), Some(Value::Long(8)));
    fixture.check_nothing_new();
}

#[test]
fn a_new_engine_does_not_bring_back_a_script_that_was_rolled_back() {
    let fixture = Fixture::with_soil();
    let first = fixture.table.live(&name("soil")).unwrap().stamp().hash;
    write(&fixture.path("soil.js"), SECOND);
    fixture.scan();
    fixture.folder().rollback(&name("soil"), None, Actor::Server, now()).unwrap();
    fixture.put_engine("2.0.0", 8);
    fixture.scan();
    let live = || fixture.table.live(&name("soil")).unwrap().stamp().hash;
    assert_eq!(live(), first, "the file has not changed");
    assert!(fixture.table.status(&name("soil")).unwrap().error.unwrap().contains("rolled back"));
    write(&fixture.path("soil.js"), b"// a third\n");
    fixture.scan();
    assert!(fixture.shown_version("soil").starts_with("2.0.0+"), "{}", fixture.shown_version("soil"));
    // Where the engine was the trouble, the next engine is tried.
    fixture.folder().rollback(&name("soil"), Some(&first.to_string()), Actor::Server, now()).unwrap();
    write(&fixture.path("soil.js"), FIRST);
    fixture.scan();
    let on_second_engine = live();
    assert_ne!(on_second_engine, first);
    fixture.folder().rollback(&name("soil"), Some(&first.to_string()), Actor::Server, now()).unwrap();
    fixture.scan();
    assert_eq!(live(), first);
    fixture.put_engine("3.0.0", 9);
    fixture.scan();
    assert_eq!(fixture.answers("soil"), Some(Value::Long(9)));
}

#[test]
fn no_upload_becomes_a_candidate_by_its_name() {
    let fixture = Fixture::with_soil();
    let upload = fixture
        .folder()
        .upload(&name("soil.next"), FileKind::Script, SECOND, Actor::Server, now())
        .unwrap_err();
    assert!(upload.to_string().contains("does not end in .next"), "{upload}");
    assert_eq!(fixture.files_of_soil(), ["soil.js"], "nothing was written");
}
