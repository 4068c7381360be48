//! Tests with real components, written by hand in the text format: what a codec may do to its host, and what not.

mod candidates;
mod folder;
mod guests;
mod limits;
mod pins;
mod profile_limits;
mod rollback;
mod script_candidates;
mod scripts;
mod swap;
mod versions;
mod wasi;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tempfile::TempDir;
use wireglot_model::{CodecName, Decoded, FailureStage, ProfileId, Timestamp, UplinkBody, Value};

use crate::{CodecBinding, CodecConfig, CodecFolder, CodecTable, Frame, WorkerCodecs};

/// A table in a folder of its own.
struct Fixture {
    home: TempDir,
    config: CodecConfig,
    table: CodecTable,
}

impl Fixture {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut CodecConfig)) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut config = CodecConfig::new(&home.path().join("data"), home.path().join("codecs"));
        config.limits.instances_max = 64;
        // Debug builds of the host are slow; the fuel is what these tests stop codecs by.
        config.limits.deadline_ticks = 2_000;
        change(&mut config);
        let table = CodecTable::open(config.clone()).unwrap();
        Self { home, config, table }
    }

    /// The same folders after a restart.
    fn restarted(self) -> Self {
        let Self { home, config, table } = self;
        drop(table);
        let table = CodecTable::open(config.clone()).unwrap();
        Self { home, config, table }
    }

    fn folder(&self) -> CodecFolder {
        CodecFolder::new(self.table.clone())
    }

    fn path(&self, file: &str) -> PathBuf {
        self.config.folder.join(file)
    }

    /// Publishes without a file.
    fn publish(&self, text: &str, component: &[u8]) {
        let loaded = self.table.engine().load(&name(text), component).unwrap();
        self.table.publish(loaded.decode_vectors(&[]).unwrap(), Timestamp(0), None);
    }
}

fn name(text: &str) -> CodecName {
    CodecName::parse(text).unwrap()
}

fn binding(codec: &str, settings: &str) -> CodecBinding {
    let profile = ProfileId("00000000-0000-4000-8000-000000000001".parse().unwrap());
    let limits = Arc::default();
    CodecBinding {
        profile,
        codec: name(codec),
        version: None,
        settings: Arc::from(settings),
        isolate_messages: false,
        limits,
    }
}

fn frame(payload: &[u8]) -> Frame<'_> {
    Frame {
        payload,
        topic: "v1/devices/me/telemetry",
        received: Timestamp(1_700_000_000_000),
        device: "d",
        profile: "p",
        metadata: &[],
    }
}

/// The value of the only sample.
fn value(decoded: &Decoded) -> &Value {
    match &decoded.uplinks[0].body {
        UplinkBody::Telemetry(measurements) => &measurements[0].samples[0].value,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn check_stage(
    worker: &WorkerCodecs,
    binding: &CodecBinding,
    payload: &[u8],
    stage: FailureStage,
    reason: &str,
) {
    let failure = worker.decode(binding, &frame(payload)).unwrap_err();
    assert_eq!(failure.stage, stage, "{payload:?}: {}", failure.reason);
    assert!(failure.reason.contains(reason), "{payload:?}: {}", failure.reason);
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}

fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}
