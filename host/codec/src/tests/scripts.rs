//! Scripts in the folder. The engine here is a hand-written component that takes any script: what a script does is
//! tested with the real one, in the system tests.

use std::fs;

use wireglot_model::limits::CODEC_SCRIPT_BYTES_MAX;
use wireglot_model::{Actor, FailureStage, Value};

use super::guests::{self, GOOD, MEMORY_BOMB};
use super::{Fixture, binding, check_stage, frame, name, value, write};
use crate::folder::{FileKind, UploadError};
use crate::{CodecState, LoadError, VectorFile};

const SCRIPT: &[u8] = b"function Decoder(bytes, port) { return {v: 1}; }\n";

impl Fixture {
    pub(super) fn with_engine(version: &str, value: i64) -> Self {
        let fixture = Self::new();
        fixture.put_engine(version, value);
        fixture
    }

    pub(super) fn put_engine(&self, version: &str, value: i64) {
        write(&self.path("js.wasm"), &guests::codec(version, value));
    }

    /// What the codec gives, if a version of it is live.
    pub(super) fn answers(&self, codec: &str) -> Option<Value> {
        self.table.live(&name(codec))?;
        let (decoded, _) = self.table.worker().decode(&binding(codec, "{}"), &frame(GOOD)).unwrap();
        Some(value(&decoded).clone())
    }

    pub(super) fn shown_version(&self, codec: &str) -> String {
        self.table.live(&name(codec)).unwrap().stamp().version.to_string()
    }

    fn reason(&self, codec: &str) -> String {
        let status = self.table.status(&name(codec)).unwrap();
        let note = fs::read_to_string(self.path(&format!("{codec}.rejected.txt"))).unwrap();
        let error = status.error.unwrap();
        assert!(note.contains(&error), "{note}");
        error
    }
}

#[test]
fn a_script_is_taken_up_as_soon_as_there_is_an_engine() {
    let fixture = Fixture::new();
    write(&fixture.path("soil.js"), SCRIPT);
    assert_eq!(fixture.scan().rejected[0].error, LoadError::NoScriptEngine);
    assert!(fixture.reason("soil").contains("js.wasm"));
    assert!(fixture.scan().rejected.is_empty(), "told once");
    fixture.put_engine("1.0.0", 7);
    fixture.scan();
    assert_eq!(fixture.answers("soil"), Some(Value::Long(7)));
    assert!(!fixture.path("soil.rejected.txt").exists());
    assert!(fixture.shown_version("soil").starts_with("1.0.0+"), "{}", fixture.shown_version("soil"));
    let status = fixture.table.status(&name("soil")).unwrap();
    assert_eq!((status.state, status.error, status.bytes), (CodecState::Live, None, Some(SCRIPT.len())));
    let hash = fixture.table.live(&name("soil")).unwrap().stamp().hash.to_string();
    assert_eq!(fixture.table.version_bytes(&name("soil"), &hash).unwrap().1, SCRIPT);
}

#[test]
fn all_scripts_share_one_compiled_engine() {
    let fixture = Fixture::with_engine("1.0.0", 7);
    for script in ["a", "b", "c"] {
        write(&fixture.path(&format!("{script}.js")), format!("// {script}").as_bytes());
    }
    assert_eq!(fixture.scan().published.len(), 4);
    let compiled = fs::read_dir(&fixture.config.cache_dir).unwrap();
    let compiled = compiled.filter(|file| file.as_ref().unwrap().path().extension().unwrap() == "cwasm");
    assert_eq!(compiled.count(), 1);
    let hash = |codec: &str| fixture.table.live(&name(codec)).unwrap().stamp().hash;
    assert_ne!(hash("a"), hash("b"), "the script is part of the version");
}

#[test]
fn a_new_engine_is_taken_by_the_scripts_that_it_proves() {
    let fixture = Fixture::with_engine("1.0.0", 7);
    write(&fixture.path("free.js"), SCRIPT);
    write(&fixture.path("bound.js"), SCRIPT);
    let vectors = br#"{"vectors":[{"hex":"00","expected":[{"ts":null,"values":{"v":7}}]}]}"#;
    write(&fixture.path("bound.vectors.json"), vectors);
    fixture.scan();
    let before = fixture.table.live(&name("free")).unwrap().stamp().hash;
    fixture.put_engine("2.0.0", 8);
    fixture.scan();
    assert_eq!(
        (fixture.answers("free"), fixture.answers("bound")),
        (Some(Value::Long(8)), Some(Value::Long(7)))
    );
    assert_ne!(fixture.table.live(&name("free")).unwrap().stamp().hash, before);
    assert!(
        fixture.shown_version("free").starts_with("2.0.0+")
            && fixture.shown_version("bound").starts_with("1.0.0+")
    );
    assert!(fixture.reason("bound").contains("1 of its 1 vectors fail"));
    assert_eq!(fixture.folder().versions(&name("free")).len(), 2);
    // An engine that is no codec at all harms nobody.
    write(&fixture.path("js.wasm"), &guests::traps_in_describe());
    assert_eq!(fixture.scan().rejected.len(), 1);
    assert_eq!(fixture.answers("free"), Some(Value::Long(8)));
    // Nor is anything lost by a restart: each script serves on the engine that it was proven with.
    let fixture = fixture.restarted();
    fixture.scan();
    assert_eq!(
        (fixture.answers("free"), fixture.answers("bound")),
        (Some(Value::Long(8)), Some(Value::Long(7)))
    );
}

#[test]
fn scripts_survive_the_loss_of_the_engine() {
    let fixture = Fixture::with_engine("1.0.0", 7);
    write(&fixture.path("soil.js"), SCRIPT);
    fixture.scan();
    fs::remove_file(fixture.path("js.wasm")).unwrap();
    let report = fixture.scan();
    assert_eq!((report.retired, report.orphaned), (vec![], vec![name("js")]));
    assert_eq!(fixture.answers("soil"), Some(Value::Long(7)));
    let fixture = fixture.restarted();
    fixture.scan();
    assert_eq!(fixture.answers("soil"), Some(Value::Long(7)));
    assert!(fixture.reason("soil").contains("js.wasm"));
    // Without the script, nothing needs the engine any more.
    fs::remove_file(fixture.path("soil.js")).unwrap();
    assert_eq!(fixture.scan().retired, [name("soil")]);
}

#[test]
fn an_earlier_script_can_be_called() {
    let fixture = Fixture::with_engine("1.0.0", 7);
    write(&fixture.path("soil.js"), SCRIPT);
    fixture.scan();
    let first = fixture.table.live(&name("soil")).unwrap().stamp().hash;
    write(&fixture.path("soil.js"), b"// another\n");
    fixture.scan();
    fixture.put_engine("2.0.0", 8);
    fixture.scan();
    assert_eq!(fixture.answers("soil"), Some(Value::Long(8)));
    let version = fixture.table.version(&name("soil"), &first.to_string()).unwrap();
    let decoded = version.session("{}").unwrap().decode(&frame(GOOD)).unwrap();
    assert_eq!((version.stamp().hash, value(&decoded)), (first, &Value::Long(7)));
}

#[test]
fn a_component_and_a_script_of_one_name_are_both_refused() {
    let fixture = Fixture::with_engine("1.0.0", 7);
    write(&fixture.path("soil.js"), SCRIPT);
    fixture.scan();
    write(&fixture.path("soil.wasm"), &guests::codec("3.0.0", 9));
    fixture.scan();
    assert!(fixture.reason("soil").contains("soil.wasm and soil.js both"));
    assert_eq!(fixture.answers("soil"), Some(Value::Long(7)), "what served before serves on");
    let upload = |codec: &str| {
        fixture.folder().upload(&name(codec), FileKind::Component, b"\0asm", Actor::Server, super::now())
    };
    assert!(matches!(upload("soil"), Err(UploadError::Rejected(LoadError::Twins { .. }))));
    fs::remove_file(fixture.path("soil.js")).unwrap();
    fixture.scan();
    assert_eq!(fixture.answers("soil"), Some(Value::Long(9)));
    assert!(!fixture.path("soil.rejected.txt").exists());
    let script =
        fixture.folder().upload(&name("soil"), FileKind::Script, SCRIPT, Actor::Server, super::now());
    assert!(matches!(script, Err(UploadError::Rejected(LoadError::Twins { .. }))));
    assert!(!fixture.path("soil.js").exists(), "nothing was written");
}

#[test]
fn what_is_no_script_is_refused() {
    let fixture = Fixture::with_engine("1.0.0", 7);
    fixture.scan();
    let check = |file: &str, content: &[u8], part: &str| {
        write(&fixture.path(file), content);
        let report = fixture.scan();
        let error = report.rejected[0].error.to_string();
        assert!(error.contains(part), "{file}: {error}");
        fs::remove_file(fixture.path(file)).unwrap();
    };
    check("latin.js", b"// w\xe4rme", "UTF-8");
    check("large.js", &vec![b' '; CODEC_SCRIPT_BYTES_MAX + 1], "at most 1048576");
    check("Upper.js", SCRIPT, "codec name");
    fs::remove_file(fixture.path("js.wasm")).unwrap();
    check("js.js", SCRIPT, "js is the script engine");
    fixture.put_engine("1.0.0", 7);
    fixture.scan();
    let uploaded = fixture
        .folder()
        .upload(&name("soil"), FileKind::Script, SCRIPT, Actor::Server, super::now())
        .unwrap();
    assert!(uploaded.version.starts_with("1.0.0+"));
    let large = fixture.folder().upload(
        &name("l"),
        FileKind::Script,
        &vec![b' '; CODEC_SCRIPT_BYTES_MAX + 1],
        Actor::Server,
        super::now(),
    );
    assert!(matches!(large, Err(UploadError::Rejected(LoadError::TooLarge { .. }))));
}

#[test]
fn a_vendor_s_examples_prove_a_script() {
    let fixture = Fixture::with_engine("1.0.0", 7);
    let example = |value: u8| {
        format!(
            "uplinkDecoder:\n  examples:\n  - description: first\n    input: {{fPort: 1, bytes: [0]}}\n    output:\n      \
             data: {{v: {value}.0, gone: null}}\n"
        )
    };
    write(&fixture.path("soil.js"), SCRIPT);
    write(&fixture.path("soil-codec.yaml"), example(8).as_bytes());
    fixture.scan();
    let reason = fixture.reason("soil");
    assert!(reason.contains("first: v: expected 8, got 7"), "{reason}");
    write(&fixture.path("soil-codec.yaml"), example(7).as_bytes());
    fixture.scan();
    assert_eq!(fixture.answers("soil"), Some(Value::Long(7)));
    // Vectors in our own format come first.
    write(&fixture.path("soil.vectors.json"), br#"{"vectors":[{"hex":"07","refused":"unsupported"}]}"#);
    fixture.scan();
    assert!(fixture.reason("soil").contains("vector 1"));
    let json = br#"[{"type":"uplink","input":{"bytes":[7]},"output":{"errors":["bad"]}}]"#;
    let file = VectorFile::read("soil.examples.json".as_ref(), json).unwrap();
    assert!(fixture.table.live(&name("soil")).unwrap().run_vectors(&file)[0].passed());
}

#[test]
fn settings_may_not_bring_another_script() {
    let fixture = Fixture::with_engine("1.0.0", 7);
    write(&fixture.path("soil.js"), SCRIPT);
    fixture.scan();
    let worker = fixture.table.worker();
    check_stage(
        &worker,
        &binding("soil", r#"{"script":""}"#),
        GOOD,
        FailureStage::NoCodec,
        "`script` is not",
    );
    check_stage(&worker, &binding("soil", "[]"), GOOD, FailureStage::NoCodec, "no JSON object");
}

#[test]
fn a_script_gets_more_memory_and_more_time() {
    let fixture = Fixture::with_engine("1.0.0", 7);
    write(&fixture.path("soil.js"), SCRIPT);
    write(&fixture.path("c.wasm"), &guests::codec("1.0.0", 7));
    fixture.scan();
    let worker = fixture.table.worker();
    check_stage(&worker, &binding("soil", "{}"), MEMORY_BOMB, FailureStage::Trapped, "more than 32768 KiB");
    let worker = fixture.table.worker();
    check_stage(&worker, &binding("c", "{}"), MEMORY_BOMB, FailureStage::Trapped, "more than 16384 KiB");
    let fuel = |codec: &str| {
        let failure =
            fixture.table.worker().decode(&binding(codec, "{}"), &frame(guests::ENDLESS)).unwrap_err();
        failure.reason
    };
    assert!(fuel("soil").contains("100000000"), "{}", fuel("soil"));
    assert!(fuel("c").contains("of 20000000"), "{}", fuel("c"));
}
