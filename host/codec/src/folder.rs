//! The life of a file in the codecs folder: seen, stable, loaded, proven, then live or rejected.
//!
//! A scan looks at everything and may be asked for at any time: whoever watches the folder only says when. The old
//! version keeps serving until a new one has worked, and also when its file is refused, or gone while in use.
//! `NAME.next.wasm` goes the same way and becomes a candidate of `NAME` (`folder/candidates.rs`).
//! Nothing here runs on a worker. Not here: reading one file safely (`folder/file.rs`), kept versions (`history.rs`).

mod candidates;
mod file;
mod scripts;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;
use tracing::{info, warn};
use wireglot_model::limits::{CODEC_FILE_STABLE_MS, CODEC_VECTORS_BYTES_MAX, CODECS_MAX};
use wireglot_model::{Actor, CodecHash, CodecName, CodecStamp, Timestamp};

use crate::error::LoadError;
use crate::files::write_whole;
use crate::history::{Arrival, CodecOutcome, HistoryEntry, HistoryEvent};
use crate::load::{LoadedCodec, hash_of};
use crate::rollback::held_back;
use crate::script::{SCRIPT_ENGINE, engine_file};
use crate::swap::CodecTable;
use crate::vectors::VectorFile;
use file::{FileId, Reading, read_stable};
use scripts::{Beside, Company};

/// What the stem of a candidate's file ends in.
const CANDIDATE_SUFFIX: &str = ".next";
/// Once a file has been left alone for so long, an unchanged length and time mean an unchanged content.
const SETTLED_MS: i64 = 2_000;
/// How often a scan that compiles much says how far it is.
const PROGRESS: Duration = Duration::from_secs(5);

/// What the scans remember.
#[derive(Default)]
pub(crate) struct FolderState {
    files: BTreeMap<OsString, Seen>,
    restored: bool,
    /// Told once, not on every scan.
    unreadable: bool,
    orphans: BTreeSet<CodecName>,
}

/// What a file wants to become.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Live,
    /// It is tried beside the live version first.
    Candidate,
}

/// What is known of one file.
struct Seen {
    id: Pair,
    since: Timestamp,
    /// What was last judged, and whether the time stamps can be trusted to tell a change.
    judged: Option<(Content, bool)>,
    rejected: bool,
}

/// A component or a script and the vectors beside it, by their time stamps.
#[derive(Clone, PartialEq, Eq)]
struct Pair {
    component: Result<FileId, String>,
    vectors: Option<Beside>,
    company: Company,
}

/// The same, by content; `None` where it was not read.
type Content = Option<(CodecHash, Option<CodecHash>)>;

/// What a scan did.
#[derive(Debug, Default)]
pub struct ScanReport {
    /// Versions that went live.
    pub published: Vec<CodecStamp>,
    /// Versions that are tried beside the live one.
    pub candidates: Vec<CodecStamp>,
    /// Files that were refused, and why.
    pub rejected: Vec<RejectedFile>,
    /// Codecs whose file is gone and that no profile uses.
    pub retired: Vec<CodecName>,
    /// Codecs whose file is gone and that serve on, because a profile uses them.
    pub orphaned: Vec<CodecName>,
    /// Versions taken from the kept ones, because their file is not good or not there.
    pub restored: Vec<CodecStamp>,
    /// Files that are not stable yet: scan again after `CODEC_FILE_STABLE_MS`.
    pub pending: usize,
    /// Why the folder itself could not be read; then nothing was retired.
    pub unreadable: Option<String>,
}

/// A file that did not become a codec.
#[derive(Debug)]
pub struct RejectedFile {
    /// Its name in the folder.
    pub file: String,
    /// Which codec it would have been.
    pub name: Option<CodecName>,
    /// Why not.
    pub error: LoadError,
}

/// Why an upload did not bring a codec into service.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The component was refused; the version before it serves on.
    #[error(transparent)]
    Rejected(LoadError),
    /// The folder cannot be written.
    #[error("the codecs folder cannot be written")]
    Folder(#[source] io::Error),
}

/// The file of vectors beside a codec's file, where there is one.
pub fn vectors_of(file: &Path) -> Option<PathBuf> {
    Beside::find(file).map(|beside| beside.path)
}

/// The codecs folder of a table. Cloning shares it; calls wait for each other.
#[derive(Clone)]
pub struct CodecFolder {
    table: CodecTable,
}

impl CodecFolder {
    /// The folder that the table was opened with.
    pub fn new(table: CodecTable) -> Self {
        Self { table }
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.table.0.config.folder
    }

    /// Brings the table in line with the folder. `in_use` tells whether any profile names a codec.
    pub fn scan(&self, now: Timestamp, in_use: &dyn Fn(&CodecName) -> bool) -> ScanReport {
        let mut scan = self.begin(now, None);
        match list(self.path()) {
            Ok(names) => scan.all(&names, in_use),
            Err(error) => scan.folder_unreadable(&error),
        }
        scan.report
    }

    fn begin(&self, now: Timestamp, by: Option<Actor>) -> Scan<'_> {
        let (table, state) = (&self.table, self.table.0.folder.lock());
        Scan { table, state, now, by, report: ScanReport::default() }
    }

    /// The table that the folder fills.
    pub fn table(&self) -> &CodecTable {
        &self.table
    }

    /// Does what dropping `NAME.wasm` into the folder does, and says how it went.
    pub fn upload(
        &self,
        name: &CodecName,
        bytes: &[u8],
        by: Actor,
        now: Timestamp,
    ) -> Result<CodecStamp, UploadError> {
        let mut scan = self.upload_file(format!("{name}.wasm").into(), bytes, by, now)?;
        scan.outcome(self.table.live(name))
    }

    /// Does what dropping `NAME.js` into the folder does, and says how it went.
    pub fn upload_script(
        &self,
        name: &CodecName,
        source: &[u8],
        by: Actor,
        now: Timestamp,
    ) -> Result<CodecStamp, UploadError> {
        let mut scan = self.upload_file(format!("{name}.js").into(), source, by, now)?;
        scan.outcome(self.table.live(name))
    }

    /// Writes a file and judges it.
    fn upload_file(
        &self,
        file: OsString,
        bytes: &[u8],
        by: Actor,
        now: Timestamp,
    ) -> Result<Scan<'_>, UploadError> {
        scripts::check_upload(self.path(), &file).map_err(UploadError::Rejected)?;
        let bytes_max = scripts::bytes_max(&file, &self.table.0.config.limits);
        if bytes.len() > bytes_max {
            let (bytes, bytes_max) = (bytes.len() as u64, bytes_max as u64);
            return Err(UploadError::Rejected(LoadError::TooLarge { bytes, bytes_max }));
        }
        let mut scan = self.begin(now, Some(by));
        write_whole(&self.path().join(&file), bytes).map_err(UploadError::Folder)?;
        if let Ok((name, Role::Live)) = codec_of(&file) {
            // Whoever uploads a version that was rolled back wants it back.
            self.table.0.history.lock().release(&name);
        }
        scan.uploaded(&file);
        Ok(scan)
    }

    /// The versions of a codec that are kept; the one that went live last comes last.
    pub fn versions(&self, name: &CodecName) -> Vec<HistoryEntry> {
        self.table.0.history.lock().of(name).to_vec()
    }

    /// What happened to a codec, oldest first.
    pub fn events(&self, name: &CodecName) -> Vec<HistoryEvent> {
        self.table.0.history.lock().events(name)
    }
}

/// The names of all components and scripts, hidden ones left out: uploads and editors write under such names.
fn list(folder: &Path) -> io::Result<BTreeSet<OsString>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let bytes = name.as_encoded_bytes();
        if (bytes.ends_with(b".wasm") || scripts::is_script(&name)) && !bytes.starts_with(b".") {
            names.insert(name);
        }
    }
    Ok(names)
}

/// The codec that a file of this name is of, and what it wants to be there.
fn codec_of(file: &OsStr) -> Result<(CodecName, Role), LoadError> {
    let stem = Path::new(file)
        .file_stem()
        .and_then(OsStr::to_str)
        .ok_or_else(|| LoadError::Name("the file's name is not UTF-8".to_owned()))?;
    let (name, role) = match stem.strip_suffix(CANDIDATE_SUFFIX) {
        Some(name) => (name, Role::Candidate),
        None => (stem, Role::Live),
    };
    if role == Role::Candidate && scripts::is_script(file) {
        return Err(LoadError::Name(
            "names that end in .next.js are kept for candidates, and a script cannot be one".to_owned(),
        ));
    }
    if name.ends_with(CANDIDATE_SUFFIX) {
        return Err(LoadError::Name(format!("a codec's name does not end in {CANDIDATE_SUFFIX}")));
    }
    let name = CodecName::parse(name).map_err(|error| LoadError::Name(error.to_string()))?;
    Ok((name, role))
}

/// One scan.
struct Scan<'a> {
    table: &'a CodecTable,
    /// Held for one file at a time: uploads and rollbacks go in between.
    state: MutexGuard<'a, FolderState>,
    now: Timestamp,
    /// Who wants this; `None`: whoever changed the file.
    by: Option<Actor>,
    report: ScanReport,
}

impl Scan<'_> {
    fn all(&mut self, names: &BTreeSet<OsString>, in_use: &dyn Fn(&CodecName) -> bool) {
        if std::mem::take(&mut self.state.unreadable) {
            info!(folder = %self.table.0.config.folder.display(), "The codecs folder can be read again.");
        }
        self.forget_missing(names);
        // The engine first: whatever it is now, the scripts run on it.
        let (engine, others): (Vec<&OsString>, Vec<&OsString>) =
            names.iter().partition(|name| ***name == *engine_file());
        let mut told = Instant::now();
        for (done, name) in engine.into_iter().chain(others).enumerate() {
            self.visit(name);
            MutexGuard::bump(&mut self.state);
            if told.elapsed() >= PROGRESS {
                told = Instant::now();
                info!(done = done + 1, files = names.len(), "Codec files are being loaded.");
            }
        }
        // What came in between has a file too.
        let Ok(names) = list(&self.table.0.config.folder) else { return };
        if !self.state.restored {
            self.state.restored = true;
            self.restore(&names, in_use);
        }
        self.retire_missing(&names, in_use);
        self.withdraw_missing(&names);
    }

    fn folder_unreadable(&mut self, error: &io::Error) {
        let folder = &self.table.0.config.folder;
        if !std::mem::replace(&mut self.state.unreadable, true) {
            warn!(folder = %folder.display(), %error, "The codecs folder cannot be read; all codecs serve on as they are.");
        }
        self.report.unreadable = Some(error.to_string());
        if !self.state.restored {
            // A start without the folder, a mount that is late perhaps: what served before serves again.
            self.state.restored = true;
            self.restore(&BTreeSet::new(), &|_| true);
        }
    }

    fn forget_missing(&mut self, names: &BTreeSet<OsString>) {
        let gone: Vec<OsString> =
            self.state.files.keys().filter(|name| !names.contains(*name)).cloned().collect();
        for name in gone {
            if self.state.files.remove(&name).is_some_and(|seen| seen.rejected) {
                self.remove_note(&name);
                match codec_of(&name) {
                    Ok((codec, Role::Live)) => self.table.note(&codec, None, None),
                    Ok((codec, Role::Candidate)) => self.table.0.trials.forget_rejected(&codec),
                    Err(_) => {}
                }
            }
        }
    }

    /// Reads a file once it is stable, and judges it once per content.
    fn visit(&mut self, file: &OsStr) {
        let id = self.identify(file);
        let now = self.now;
        let seen = match self.state.files.get_mut(file) {
            Some(seen) if seen.id == id => seen,
            _ => {
                let before = self.state.files.get(file);
                let rejected = before.is_some_and(|seen| seen.rejected);
                // A change beside the file is none of the file.
                let since = before.filter(|seen| seen.id.is_same_file(&id)).map_or(now, |seen| seen.since);
                let fresh = Seen { id: id.clone(), since, judged: None, rejected };
                self.state.files.insert(file.to_owned(), fresh);
                if now.0.saturating_sub(since.0) < CODEC_FILE_STABLE_MS && !id.settled(now) {
                    self.report.pending += 1;
                    return;
                }
                return self.read_and_judge(file, &id);
            }
        };
        match &seen.judged {
            Some((_, true)) => {}
            Some((_, false)) => self.read_and_judge(file, &id),
            None if now.0.saturating_sub(seen.since.0) < CODEC_FILE_STABLE_MS && !id.settled(now) => {
                self.report.pending += 1;
            }
            None => self.read_and_judge(file, &id),
        }
    }

    /// What an upload has come to; `now` is what there is in its place.
    fn outcome(&mut self, now: Option<Arc<LoadedCodec>>) -> Result<CodecStamp, UploadError> {
        match (self.report.rejected.pop(), now) {
            (Some(rejected), _) => Err(UploadError::Rejected(rejected.error)),
            (None, Some(codec)) => Ok(codec.stamp().clone()),
            (None, None) => {
                let reason = "the file was replaced meanwhile".to_owned();
                Err(UploadError::Rejected(LoadError::Unreadable(reason)))
            }
        }
    }

    fn uploaded(&mut self, file: &OsStr) {
        let id = self.identify(file);
        let rejected = self.state.files.get(file).is_some_and(|seen| seen.rejected);
        self.state
            .files
            .insert(file.to_owned(), Seen { id: id.clone(), since: self.now, judged: None, rejected });
        self.read_and_judge(file, &id);
    }

    fn identify(&self, file: &OsStr) -> Pair {
        let path = self.table.0.config.folder.join(file);
        Pair {
            component: FileId::of(&path).map_err(|error| error.to_string()),
            vectors: self.beside(file),
            company: Company::of(&path, self.table),
        }
    }

    fn read_and_judge(&mut self, file: &OsStr, id: &Pair) {
        let mut hash = None;
        let (content, result) = match self.read(file, id) {
            Ok(Some(candidate)) => {
                hash = Some(candidate.hash);
                let content = Some((candidate.hash, candidate.vectors_hash));
                let same = |seen: &Seen| matches!(&seen.judged, Some((judged, _)) if *judged == content);
                if self.state.files.get(file).is_some_and(same) {
                    return self.settle(file, id, content);
                }
                (content, self.judge(file, &candidate))
            }
            Ok(None) => return self.changed_while_read(file),
            Err(error) => (None, Err(error)),
        };
        self.settle(file, id, content);
        match result {
            Ok(()) => self.accepted(file),
            Err(error) => self.rejected(file, hash, error),
        }
    }

    fn changed_while_read(&mut self, file: &OsStr) {
        self.report.pending += 1;
        let now = self.now;
        if let Some(seen) = self.state.files.get_mut(file) {
            (seen.since, seen.judged) = (now, None);
        }
    }

    fn settle(&mut self, file: &OsStr, id: &Pair, content: Content) {
        // Without a content there is nothing that a second reading could find changed.
        let trusted = content.is_none() || id.settled(self.now);
        if let Some(seen) = self.state.files.get_mut(file) {
            seen.judged = Some((content, trusted));
        }
    }

    fn read(&self, file: &OsStr, id: &Pair) -> Result<Option<Found>, LoadError> {
        let (name, role) = codec_of(file)?;
        let component = id.component.as_ref().map_err(|error| LoadError::Unreadable(error.clone()))?;
        let path = self.table.0.config.folder.join(file);
        id.company.check(file)?;
        let bytes_max = scripts::bytes_max(file, &self.table.0.config.limits) as u64;
        if component.bytes > bytes_max {
            return Err(LoadError::TooLarge { bytes: component.bytes, bytes_max });
        }
        let Some(bytes) = read_whole(&path, component, bytes_max)? else { return Ok(None) };
        let vectors = match &id.vectors {
            None => None,
            Some(Beside { id, .. }) if id.bytes > CODEC_VECTORS_BYTES_MAX as u64 => {
                return Err(LoadError::Vectors(format!("the file beside it has {} bytes", id.bytes)));
            }
            Some(Beside { path, id }) => match read_whole(path, id, CODEC_VECTORS_BYTES_MAX as u64)? {
                Some(content) => Some((path.clone(), content)),
                None => return Ok(None),
            },
        };
        let bytes = id.company.version_of(file, bytes)?;
        Ok(Some(Found {
            hash: hash_of(&bytes),
            vectors_hash: vectors.as_ref().map(|(_, content)| hash_of(content)),
            name,
            role,
            bytes,
            vectors,
        }))
    }

    /// Build, prove, publish.
    fn judge(&mut self, file: &OsStr, candidate: &Found) -> Result<(), LoadError> {
        let shown = file.to_string_lossy();
        let beside = match &candidate.vectors {
            Some((path, content)) => vec![VectorFile::read(path, content)?],
            None => Vec::new(),
        };
        if candidate.role == Role::Candidate {
            return self.judge_candidate(&shown, candidate, &beside);
        }
        match self.table.live(&candidate.name) {
            Some(live) if live.stamp().hash == candidate.hash => {
                live.first_failure(&beside).map_or(Ok(()), Err)?;
                self.table.0.history.lock().release(&candidate.name);
                self.table.note(&candidate.name, Some(&shown), None);
                return Ok(());
            }
            _ if self.is_held_back(candidate) => {
                self.table.note(&candidate.name, Some(&shown), Some(self.held_back(candidate)));
                return Ok(());
            }
            None if self.table.live_count() >= CODECS_MAX => {
                return Err(LoadError::Name(format!(
                    "{CODECS_MAX} codecs are live, and more are not allowed"
                )));
            }
            Some(_) | None => {}
        }
        let loaded = self.table.load(&candidate.name, &candidate.bytes)?;
        self.check_world(&loaded)?;
        let proven = loaded.decode_vectors(&beside)?;
        let stamp = proven.codec().stamp().clone();
        let arrival = Arrival {
            at: self.now,
            by: self.actor(file),
            outcome: CodecOutcome::Live,
            file: Some(&shown),
            reason: String::new(),
        };
        self.table.go_live(proven, &candidate.bytes, &arrival);
        self.report.published.push(stamp);
        Ok(())
    }

    /// Profiles name a codec or a responder, and a file cannot turn the one into the other under them.
    fn check_world(&self, loaded: &LoadedCodec) -> Result<(), LoadError> {
        let of = |codec: &LoadedCodec| if codec.is_responder() { "responder" } else { "codec" };
        let name = &loaded.stamp().name;
        match self.table.live(name) {
            Some(live) if live.is_responder() != loaded.is_responder() => Err(LoadError::Name(format!(
                "{name} is a {} that is live, and the file is a {}: give the file another name",
                of(&live),
                of(loaded)
            ))),
            Some(_) | None => Ok(()),
        }
    }

    fn actor(&self, file: &OsStr) -> Actor {
        self.by.clone().unwrap_or_else(|| Actor::File(file.to_string_lossy().into_owned()))
    }

    fn is_held_back(&self, candidate: &Found) -> bool {
        self.table.0.history.lock().is_rolled_back(&candidate.name, &candidate.hash)
    }

    fn held_back(&self, candidate: &Found) -> String {
        let history = self.table.0.history.lock();
        let entry = history.of(&candidate.name).iter().find(|entry| entry.hash == candidate.hash);
        let version = entry.map_or("unknown", |entry| entry.version.as_str());
        held_back(&CodecStamp { name: candidate.name.clone(), version: version.into(), hash: candidate.hash })
    }

    fn accepted(&mut self, file: &OsStr) {
        if let Some(seen) = self.state.files.get_mut(file) {
            seen.rejected = false;
        }
        self.remove_note(file);
    }

    fn rejected(&mut self, file: &OsStr, hash: Option<CodecHash>, error: LoadError) {
        if let Some(seen) = self.state.files.get_mut(file) {
            seen.rejected = true;
        }
        let shown = file.to_string_lossy().into_owned();
        let (name, role) = codec_of(file).map_or((None, Role::Live), |(name, role)| (Some(name), role));
        let serving = name.as_ref().and_then(|name| self.table.live(name));
        warn!(file = shown, %error, serving = serving.is_some(), "Codec file was rejected.");
        self.table.0.counters.rejected(name.as_ref());
        let event = HistoryEvent {
            at: self.now,
            outcome: CodecOutcome::Rejected,
            hash,
            version: None,
            by: self.actor(file),
            reason: error.to_string(),
        };
        match (&name, role) {
            (Some(name), Role::Live) => {
                self.table.note(name, Some(&shown), Some(event.reason.clone()));
                self.table.happened(name, event);
            }
            (Some(name), Role::Candidate) => {
                self.reject_candidate(name, &shown, &error);
                self.table.happened(name, event);
            }
            (None, _) => self.table.tell(&shown, &event),
        }
        let state = match serving {
            Some(codec) => {
                format!("Version {} ({}) keeps serving.", codec.stamp().version, codec.stamp().hash)
            }
            None => "No version of this codec is serving.".to_owned(),
        };
        let note = format!("{shown} was rejected.\n\nReason: {error}\n\n{}\n{state}\n", error.advice());
        if let Err(error) = write_whole(&self.note_path(file), note.as_bytes()) {
            warn!(file = shown, %error, "The reason cannot be written beside the file.");
        }
        self.report.rejected.push(RejectedFile { file: shown, name, error });
    }

    fn note_path(&self, file: &OsStr) -> PathBuf {
        self.table.0.config.folder.join(file).with_extension("rejected.txt")
    }

    fn remove_note(&self, file: &OsStr) {
        let path = self.note_path(file);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            warn!(path = %path.display(), %error, "An outdated reason cannot be removed.");
        }
    }

    /// At the first scan: what served before this start and has no good file now serves again from its kept copy.
    fn restore(&mut self, names: &BTreeSet<OsString>, in_use: &dyn Fn(&CodecName) -> bool) {
        let last_versions = self.table.0.history.lock().last_versions();
        for (name, entry) in last_versions {
            if self.table.live(&name).is_some() {
                continue;
            }
            let has_file = scripts::has_file(names, &name);
            if !entry.live || !(has_file || in_use(&name)) {
                if entry.live {
                    self.retired(&name, &entry.version, entry.hash);
                }
                self.table.note_retired(&name, &entry.version, entry.hash, entry.loaded_at);
                continue;
            }
            match self.restored(&name, &entry) {
                Ok(stamp) => {
                    info!(codec = %name, version = %stamp.version, "Codec version was taken from the kept ones.");
                    self.table.happened(&name, restored_event(&entry, has_file, self.now));
                    self.report.restored.push(stamp);
                }
                Err(error) => {
                    warn!(codec = %name, hash = %entry.hash, %error, "The kept codec version cannot serve.")
                }
            }
        }
    }

    fn restored(&self, name: &CodecName, entry: &HistoryEntry) -> Result<CodecStamp, LoadError> {
        let loaded = self.table.load_from_kept(name, entry)?;
        let proven = loaded.decode_vectors(&[])?;
        let stamp = proven.codec().stamp().clone();
        // The note about its file, if there is one, is the newer news.
        let error = self.table.status(name).and_then(|status| status.error);
        self.table.publish(proven, entry.loaded_at, entry.file.as_deref());
        if error.is_some() {
            self.table.note(name, entry.file.as_deref(), error);
        }
        Ok(stamp)
    }

    fn retired(&self, name: &CodecName, version: &str, hash: CodecHash) {
        let file = self.table.status(name).and_then(|status| status.file);
        let file = file.unwrap_or_else(|| format!("{name}.wasm"));
        let event = HistoryEvent {
            at: self.now,
            outcome: CodecOutcome::Retired,
            hash: Some(hash),
            version: Some(version.to_owned()),
            by: Actor::File(file),
            reason: "its file is gone and no profile uses it".to_owned(),
        };
        if self.table.0.history.lock().retire(name, event.clone()) {
            self.table.tell(name.as_str(), &event);
        }
    }

    fn retire_missing(&mut self, names: &BTreeSet<OsString>, in_use: &dyn Fn(&CodecName) -> bool) {
        for name in self.table.live_names() {
            if scripts::has_file(names, &name) {
                self.state.orphans.remove(&name);
                continue;
            }
            if in_use(&name) || (name.as_str() == SCRIPT_ENGINE && self.table.has_scripts()) {
                if self.state.orphans.insert(name.clone()) {
                    warn!(codec = %name, "The codec's file is gone; its last version serves on because a profile uses it.");
                    let note = "its file is gone; the last version serves on because a profile uses it";
                    self.table.note(&name, None, Some(note.to_owned()));
                }
                self.report.orphaned.push(name);
                continue;
            }
            info!(codec = %name, "The codec's file is gone and no profile uses it; it is retired.");
            self.state.orphans.remove(&name);
            if let Some(live) = self.table.live(&name) {
                self.retired(&name, &live.stamp().version, live.stamp().hash);
            }
            self.table.retire(&name);
            self.report.retired.push(name);
        }
    }
}

fn restored_event(entry: &HistoryEntry, has_file: bool, now: Timestamp) -> HistoryEvent {
    let reason = if has_file { "its file is not taken" } else { "its file is gone, and a profile uses it" };
    HistoryEvent {
        at: now,
        outcome: CodecOutcome::Restored,
        hash: Some(entry.hash),
        version: Some(entry.version.clone()),
        by: Actor::Server,
        reason: reason.to_owned(),
    }
}

/// A component that is about to be judged, and the vectors beside it.
struct Found {
    name: CodecName,
    role: Role,
    bytes: Vec<u8>,
    hash: CodecHash,
    vectors: Option<(PathBuf, Vec<u8>)>,
    vectors_hash: Option<CodecHash>,
}

impl Pair {
    fn is_same_file(&self, other: &Self) -> bool {
        self.component == other.component && self.vectors == other.vectors
    }

    /// Left alone for so long that nobody is writing it any more.
    fn settled(&self, now: Timestamp) -> bool {
        let settled = |id: &FileId| now.0.saturating_sub(id.modified_ms()) >= SETTLED_MS;
        self.component.as_ref().is_ok_and(settled)
            && self.vectors.as_ref().is_none_or(|beside| settled(&beside.id))
    }
}

fn read_whole(path: &Path, id: &FileId, bytes_max: u64) -> Result<Option<Vec<u8>>, LoadError> {
    match read_stable(path, id, bytes_max) {
        Ok(Reading::Whole(bytes)) => Ok(Some(bytes)),
        Ok(Reading::Changed) => Ok(None),
        Err(error) => Err(LoadError::Unreadable(error.to_string())),
    }
}
