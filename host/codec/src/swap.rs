//! The table of live codecs: publish a version, retire the old one when idle.
//!
//! A swap replaces one immutable map. Whoever decodes took its version before and stays with it to the end of the
//! message; the old version is freed when the last worker has let go of it.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tracing::{info, warn};
use wireglot_model::limits::{CODEC_CACHE_FILES_MAX, CODECS_MAX};
use wireglot_model::{CodecHash, CodecName, Timestamp};

use crate::cache::CompiledCache;
use crate::candidate::{Candidate, Trials};
use crate::counters::{CodecCounters, CounterBook, LiveVersion};
use crate::engine::{CodecEngine, CodecLimits};
use crate::error::OpenError;
use crate::files::make_private_folder;
use crate::folder::FolderState;
use crate::history::{Arrival, History, HistoryEvent};
use crate::instance::{CodecBinding, WorkerCodecs};
use crate::load::{CodecMetadata, LoadedCodec, ProvenCodec};
use crate::pins::Pins;
use crate::script::HeldEngines;
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

/// Hears of every change of a codec, on the thread that makes it.
pub type Observer = Box<dyn Fn(&str, &HistoryEvent) + Send + Sync>;

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
    pub(crate) pins: Mutex<Pins>,
    observer: OnceLock<Observer>,
    pub(crate) trials: Trials,
    pub(crate) held_engines: HeldEngines,
    live: Arc<ArcSwap<LiveMap>>,
    /// What is told of each codec; also held while the map is replaced, so that two swaps cannot lose one.
    facts: Mutex<BTreeMap<CodecName, Facts>>,
}

/// What is live. Never changed, only replaced.
#[derive(Clone, Default)]
pub(crate) struct LiveMap {
    pub(crate) generation: u64,
    pub(crate) codecs: HashMap<CodecName, Arc<LoadedCodec>>,
    pub(crate) candidates: HashMap<CodecName, Arc<Candidate>>,
    /// Versions that profiles are pinned to, whatever is live.
    pub(crate) pinned: HashMap<CodecPin, Arc<LoadedCodec>>,
}

/// One version of one codec.
pub(crate) type CodecPin = (CodecName, CodecHash);

impl LiveMap {
    /// The version that a profile's messages meet.
    pub(crate) fn serving(&self, binding: &CodecBinding) -> Option<&Arc<LoadedCodec>> {
        match binding.version {
            None => self.codecs.get(&binding.codec),
            Some(hash) => self.pinned.get(&(binding.codec.clone(), hash)),
        }
    }
}

/// What is known of a codec beside its live version.
#[derive(Clone, Default)]
struct Facts {
    last: Option<VersionFacts>,
    file: Option<String>,
    error: Option<String>,
}

impl Facts {
    fn status(&self, name: &CodecName, live: &LiveMap) -> Option<CodecStatus> {
        let state = match (live.codecs.contains_key(name), &self.last, &self.error) {
            (true, _, _) => CodecState::Live,
            (false, Some(_), None) => CodecState::Retired,
            (false, _, Some(_)) => CodecState::Rejected,
            (false, None, None) => return None,
        };
        let last = self.last.as_ref();
        Some(CodecStatus {
            name: name.clone(),
            state,
            version: last.map(|last| Arc::clone(&last.version)),
            hash: last.map(|last| last.hash),
            error: self.error.clone(),
            metadata: last.and_then(|last| last.metadata.clone()),
            loaded_at: last.map(|last| last.loaded_at),
            bytes: last.map(|last| last.bytes),
            file: self.file.clone(),
        })
    }
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
            cache: CompiledCache::open(&config.cache_dir, CODEC_CACHE_FILES_MAX)?,
            folder: Mutex::default(),
            history: Mutex::new(History::open(&config.versions_dir)),
            held_versions: HeldVersions::default(),
            pins: Mutex::default(),
            observer: OnceLock::new(),
            trials: Trials::open(&config.versions_dir),
            held_engines: HeldEngines::default(),
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

    /// The version that a profile's messages meet.
    pub fn serving(&self, binding: &CodecBinding) -> Option<Arc<LoadedCodec>> {
        self.0.live.load().serving(binding).map(Arc::clone)
    }

    /// Calls `observer` with every change of a codec from now on, and the codec's or the file's name. Once only.
    pub fn observe(&self, observer: Observer) {
        if self.0.observer.set(observer).is_err() {
            warn!("The codecs have an observer already; another one is ignored.");
        }
    }

    pub(crate) fn tell(&self, target: &str, event: &HistoryEvent) {
        if let Some(observer) = self.0.observer.get() {
            observer(target, event);
        }
    }

    /// How many codecs are live.
    pub fn live_count(&self) -> usize {
        self.0.live.load().codecs.len()
    }

    /// Whether one more may go live.
    pub(crate) fn has_room(&self) -> bool {
        self.live_count() < CODECS_MAX
    }

    /// Every codec that is live, was refused, or was retired since the start, by name.
    pub fn list(&self) -> Vec<CodecStatus> {
        let facts = self.0.facts.lock();
        let live = self.0.live.load();
        facts.iter().filter_map(|(name, facts)| facts.status(name, &live)).collect()
    }

    /// What is told of one codec.
    pub fn status(&self, name: &CodecName) -> Option<CodecStatus> {
        let facts = self.0.facts.lock();
        facts.get(name)?.status(name, &self.0.live.load())
    }

    /// All that is counted.
    pub fn counters(&self) -> CodecCounters {
        CodecCounters {
            versions: self.0.counters.rows(),
            live_instances: self.0.engine.0.shared.live_instances.load(Ordering::Relaxed),
            files: self.0.counters.files(),
            live: self.live_versions(),
            without_codec: self.0.counters.without_codec.load(Ordering::Relaxed),
            candidates: self.0.live.load().candidates.len(),
            shadow_frames: self.0.trials.frames_compared.load(Ordering::Relaxed),
            shadow_frames_dropped: self.0.trials.frames_dropped(),
            canaries_promoted: self.0.trials.promoted.load(Ordering::Relaxed),
            canaries_rolled_back: self.0.trials.rolled_back.load(Ordering::Relaxed),
        }
    }

    /// Keeps a proven version, notes how it came, and makes it the live one.
    pub(crate) fn go_live(&self, proven: ProvenCodec, bytes: &[u8], arrival: &Arrival<'_>) {
        let stamp = proven.codec().stamp().clone();
        let (since, event) = self.0.history.lock().keep(&stamp, bytes, arrival);
        self.publish(proven, since, arrival.file);
        if let Some(event) = event {
            self.tell(stamp.name.as_str(), &event);
        }
    }

    fn live_versions(&self) -> Vec<LiveVersion> {
        let live = self.0.live.load();
        let mut versions: Vec<LiveVersion> = live
            .codecs
            .values()
            .map(|codec| {
                let not_closed = codec.breakers.not_closed();
                LiveVersion {
                    stamp: codec.stamp().clone(),
                    breakers_open: not_closed.open,
                    breakers_half_open: not_closed.half_open,
                }
            })
            .collect();
        versions.sort_by(|one, other| one.stamp.name.cmp(&other.stamp.name));
        versions
    }

    /// Makes a proven version the live one. The next message of every worker meets it.
    pub fn publish(&self, proven: ProvenCodec, now: Timestamp, file: Option<&str>) {
        self.make_live(Arc::new(proven.0), now, file);
    }

    /// Makes the candidate the live version: the same step takes it from the candidates.
    pub(crate) fn promote(&self, candidate: &Candidate, bytes: &[u8], arrival: &Arrival<'_>) {
        let stamp = candidate.codec.stamp();
        let (since, event) = self.0.history.lock().keep(stamp, bytes, arrival);
        self.make_live(Arc::clone(&candidate.codec), since, arrival.file);
        if let Some(event) = event {
            self.tell(stamp.name.as_str(), &event);
        }
    }

    /// What arrives here was proven.
    fn make_live(&self, codec: Arc<LoadedCodec>, now: Timestamp, file: Option<&str>) {
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
            self.replace(|live| {
                live.candidates
                    .retain(|name, candidate| *name != stamp.name || !Arc::ptr_eq(&candidate.codec, &codec));
                live.codecs.insert(stamp.name.clone(), codec);
            });
        }
        self.0.counters.swapped(&stamp.name);
        info!(codec = %stamp.name, version = %stamp.version, hash = %stamp.hash, "Codec version is live.");
    }

    /// Takes a codec out of service.
    pub(crate) fn retire(&self, name: &CodecName) {
        let mut facts = self.0.facts.lock();
        let entry = facts.entry(name.clone()).or_default();
        (entry.error, entry.file) = (None, None);
        self.replace(|live| drop(live.codecs.remove(name)));
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

    /// Changes which versions are pinned.
    pub(crate) fn replace_pinned(&self, change: impl FnOnce(&mut HashMap<CodecPin, Arc<LoadedCodec>>)) {
        let _facts = self.0.facts.lock();
        self.replace(|live| change(&mut live.pinned));
    }

    pub(crate) fn pinned_versions(&self) -> Vec<CodecPin> {
        self.0.live.load().pinned.keys().cloned().collect()
    }

    /// The version that is tried beside the live one, for what is decoded outside the table.
    pub fn candidate_version(&self, name: &CodecName) -> Option<Arc<LoadedCodec>> {
        self.candidate_of(name).map(|candidate| Arc::clone(&candidate.codec))
    }

    pub(crate) fn candidate_of(&self, name: &CodecName) -> Option<Arc<Candidate>> {
        self.0.live.load().candidates.get(name).map(Arc::clone)
    }

    pub(crate) fn candidates(&self) -> Vec<Arc<Candidate>> {
        self.0.live.load().candidates.values().map(Arc::clone).collect()
    }

    /// Lets workers see a candidate from their next message on.
    pub(crate) fn insert_candidate(&self, name: &CodecName, candidate: Arc<Candidate>) {
        let _facts = self.0.facts.lock();
        self.replace(|live| drop(live.candidates.insert(name.clone(), candidate)));
    }

    pub(crate) fn remove_candidate(&self, name: &CodecName) {
        let _facts = self.0.facts.lock();
        self.replace(|live| drop(live.candidates.remove(name)));
    }

    /// Called with `facts` held.
    fn replace(&self, change: impl FnOnce(&mut LiveMap)) {
        let mut next = LiveMap::clone(&self.0.live.load_full());
        next.generation = next.generation.wrapping_add(1);
        change(&mut next);
        self.0.live.store(Arc::new(next));
    }
}
