//! The table of live codecs: publish a version, retire the old one when idle.
//!
//! A swap replaces one immutable map. Whoever decodes took its version before and stays with it to the end of the
//! message; the old version is freed when the last worker has let go of it.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tracing::info;
use wireglot_model::{CodecHash, CodecName, Timestamp};

use crate::cache::CompiledCache;
use crate::counters::{CodecCounters, CounterBook};
use crate::engine::{CodecEngine, CodecLimits};
use crate::error::OpenError;
use crate::files::make_private_folder;
use crate::folder::FolderState;
use crate::history::History;
use crate::instance::WorkerCodecs;
use crate::load::{CodecMetadata, LoadedCodec, ProvenCodec};
use crate::versions::HeldVersions;

/// Where codecs come from and what they may use.
#[derive(Clone, Debug)]
pub struct CodecConfig {
    /// The operator's folder of `NAME.wasm` files.
    pub folder: PathBuf,
    /// Compiled codecs; belongs to the server alone.
    pub cache_dir: PathBuf,
    /// Every version that went live, by hash; belongs to the server alone.
    pub versions_dir: PathBuf,
    /// The bounds of every codec.
    pub limits: CodecLimits,
}

impl CodecConfig {
    /// The usual places in a data folder, and the usual bounds.
    pub fn new(data_dir: &Path, folder: PathBuf) -> Self {
        Self {
            folder,
            cache_dir: data_dir.join("codec-cache"),
            versions_dir: data_dir.join("codec-versions"),
            limits: CodecLimits::default(),
        }
    }
}

/// The live version of every codec. Cloning shares it.
#[derive(Clone)]
pub struct CodecTable(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) engine: CodecEngine,
    pub(crate) config: CodecConfig,
    pub(crate) cache: CompiledCache,
    pub(crate) counters: CounterBook,
    pub(crate) workers: AtomicUsize,
    pub(crate) folder: Mutex<FolderState>,
    /// Apart from `folder`, which a scan holds while it compiles.
    pub(crate) history: Mutex<History>,
    pub(crate) held_versions: HeldVersions,
    live: Arc<ArcSwap<LiveMap>>,
    /// What is told of each codec; also held while the map is replaced, so that two swaps cannot lose one.
    facts: Mutex<BTreeMap<CodecName, Facts>>,
}

/// What is live. Never changed, only replaced.
#[derive(Default)]
pub(crate) struct LiveMap {
    pub(crate) generation: u64,
    pub(crate) codecs: HashMap<CodecName, Arc<LoadedCodec>>,
}

/// What is known of a codec beside its live version.
#[derive(Clone, Default)]
struct Facts {
    last: Option<VersionFacts>,
    file: Option<String>,
    error: Option<String>,
}

#[derive(Clone)]
struct VersionFacts {
    version: Arc<str>,
    hash: CodecHash,
    loaded_at: Timestamp,
    bytes: usize,
    metadata: Option<Arc<CodecMetadata>>,
}

/// Where a codec stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CodecState {
    /// A version of it serves. Where `error` is set as well, its newest file does not, and this is the one before.
    Live,
    /// Its file was refused and there is no version before.
    Rejected,
    /// Its file is gone and no profile uses it.
    Retired,
}

/// One codec, as operators see it.
#[derive(Clone, Debug)]
pub struct CodecStatus {
    /// Its name: the stem of its file.
    pub name: CodecName,
    /// Where it stands.
    pub state: CodecState,
    /// The live version, or the last one of a retired codec.
    pub version: Option<Arc<str>>,
    /// Its identity.
    pub hash: Option<CodecHash>,
    /// Why its newest file is not live, or why it lives without one.
    pub error: Option<String>,
    /// What the version says of itself, its keys among it.
    pub metadata: Option<Arc<CodecMetadata>>,
    /// When the version went live.
    pub loaded_at: Option<Timestamp>,
    /// Length of its component.
    pub bytes: Option<usize>,
    /// Its file's name.
    pub file: Option<String>,
}

impl CodecTable {
    /// Starts the engine and takes its folders; loads nothing: that is what `CodecFolder::scan` does.
    pub fn open(config: CodecConfig) -> Result<Self, OpenError> {
        let failed = |path: &Path, source| OpenError::Folder { path: path.to_owned(), source };
        std::fs::create_dir_all(&config.folder).map_err(|error| failed(&config.folder, error))?;
        make_private_folder(&config.versions_dir).map_err(|error| failed(&config.versions_dir, error))?;
        Ok(Self(Arc::new(Shared {
            engine: CodecEngine::open(config.limits)?,
            cache: CompiledCache::open(&config.cache_dir)?,
            folder: Mutex::default(),
            history: Mutex::new(History::open(&config.versions_dir)),
            held_versions: HeldVersions::default(),
            config,
            counters: CounterBook::default(),
            workers: AtomicUsize::new(0),
            live: Arc::default(),
            facts: Mutex::default(),
        })))
    }

    /// The engine, for what is loaded outside the table.
    pub fn engine(&self) -> &CodecEngine {
        &self.0.engine
    }

    /// The codecs of one worker thread.
    pub fn worker(&self) -> WorkerCodecs {
        WorkerCodecs::new(self.clone(), Arc::clone(&self.0.live))
    }

    /// The live version of a codec.
    pub fn live(&self, name: &CodecName) -> Option<Arc<LoadedCodec>> {
        self.0.live.load().codecs.get(name).map(Arc::clone)
    }

    /// How many codecs are live.
    pub fn live_count(&self) -> usize {
        self.0.live.load().codecs.len()
    }

    /// Every codec that is live, was refused, or was retired since the start, by name.
    pub fn list(&self) -> Vec<CodecStatus> {
        let facts = self.0.facts.lock();
        let live = self.0.live.load();
        facts
            .iter()
            .filter_map(|(name, facts)| {
                let state = match (live.codecs.contains_key(name), &facts.last, &facts.error) {
                    (true, _, _) => CodecState::Live,
                    (false, Some(_), None) => CodecState::Retired,
                    (false, _, Some(_)) => CodecState::Rejected,
                    (false, None, None) => return None,
                };
                let last = facts.last.as_ref();
                Some(CodecStatus {
                    name: name.clone(),
                    state,
                    version: last.map(|last| Arc::clone(&last.version)),
                    hash: last.map(|last| last.hash),
                    error: facts.error.clone(),
                    metadata: last.and_then(|last| last.metadata.clone()),
                    loaded_at: last.map(|last| last.loaded_at),
                    bytes: last.map(|last| last.bytes),
                    file: facts.file.clone(),
                })
            })
            .collect()
    }

    /// What is told of one codec.
    pub fn status(&self, name: &CodecName) -> Option<CodecStatus> {
        self.list().into_iter().find(|status| status.name == *name)
    }

    /// The component of a codec's live version, byte for byte. Reads a file: not for workers.
    pub fn component_bytes(&self, name: &CodecName) -> io::Result<Option<Vec<u8>>> {
        match self.live(name) {
            Some(codec) => {
                crate::history::read_version(&self.0.config.versions_dir, &codec.stamp().hash).map(Some)
            }
            None => Ok(None),
        }
    }

    /// All that is counted.
    pub fn counters(&self) -> CodecCounters {
        CodecCounters {
            versions: self.0.counters.rows(),
            live_instances: self.0.engine.0.shared.live_instances.load(Ordering::Relaxed),
            live_codecs: self.live_count(),
            swaps: self.0.counters.swaps.load(Ordering::Relaxed),
            rejections: self.0.counters.rejections.load(Ordering::Relaxed),
            without_codec: self.0.counters.without_codec.load(Ordering::Relaxed),
        }
    }

    /// Makes a proven version the live one. The next message of every worker meets it.
    pub fn publish(&self, proven: ProvenCodec, now: Timestamp, file: Option<&str>) {
        let codec = Arc::new(proven.0);
        let stamp = codec.stamp().clone();
        {
            let mut facts = self.0.facts.lock();
            let entry = facts.entry(stamp.name.clone()).or_default();
            entry.last = Some(VersionFacts {
                version: Arc::clone(&stamp.version),
                hash: stamp.hash,
                loaded_at: now,
                bytes: codec.bytes(),
                metadata: Some(Arc::new(codec.metadata().clone())),
            });
            entry.file = file.map(str::to_owned);
            entry.error = None;
            self.replace(|codecs| drop(codecs.insert(stamp.name.clone(), codec)));
        }
        self.0.counters.swaps.fetch_add(1, Ordering::Relaxed);
        info!(codec = %stamp.name, version = %stamp.version, hash = %stamp.hash, "Codec version is live.");
    }

    /// Takes a codec out of service.
    pub(crate) fn retire(&self, name: &CodecName) {
        let mut facts = self.0.facts.lock();
        let entry = facts.entry(name.clone()).or_default();
        (entry.error, entry.file) = (None, None);
        self.replace(|codecs| drop(codecs.remove(name)));
    }

    /// Notes why a codec's file is not live, or that all is well with it again.
    pub(crate) fn note(&self, name: &CodecName, file: Option<&str>, error: Option<String>) {
        let mut facts = self.0.facts.lock();
        let entry = facts.entry(name.clone()).or_default();
        entry.file = file.map(str::to_owned);
        entry.error = error;
    }

    /// Notes a codec that was retired before this start.
    pub(crate) fn note_retired(
        &self,
        name: &CodecName,
        version: &str,
        hash: CodecHash,
        loaded_at: Timestamp,
    ) {
        let mut facts = self.0.facts.lock();
        let entry = facts.entry(name.clone()).or_default();
        entry.last.get_or_insert(VersionFacts {
            version: version.into(),
            hash,
            loaded_at,
            bytes: 0,
            metadata: None,
        });
    }

    pub(crate) fn live_names(&self) -> Vec<CodecName> {
        let mut names: Vec<CodecName> = self.0.live.load().codecs.keys().cloned().collect();
        names.sort();
        names
    }

    /// Called with `facts` held.
    fn replace(&self, change: impl FnOnce(&mut HashMap<CodecName, Arc<LoadedCodec>>)) {
        let current = self.0.live.load_full();
        let mut codecs = current.codecs.clone();
        change(&mut codecs);
        self.0.live.store(Arc::new(LiveMap { generation: current.generation.wrapping_add(1), codecs }));
    }
}
