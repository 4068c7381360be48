//! The life of a file in the codecs folder: seen, stable, loaded, proven, then live or rejected.
//!
//! A scan looks at everything and may be asked for at any time: whoever watches the folder only says when. The old
//! version keeps serving until a new one has worked, and also when its file is refused, or gone while in use.
//! `NAME.next.wasm` and `NAME.next.js` go the same way and become candidates of `NAME` (`folder/candidates.rs`).
//! Nothing here runs on a worker. Not here: what one file becomes (`folder/judge.rs`), codecs whose file is gone or no
//! good (`folder/missing.rs`), reading a file safely (`folder/file.rs`), kept versions (`history.rs`).

mod candidates;
mod file;
mod judge;
mod missing;
mod scripts;
mod uploads;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;
use tracing::{info, warn};
use wireglot_model::limits::{CANDIDATES_MAX, CODEC_FILE_STABLE_MS};
use wireglot_model::{Actor, CodecHash, CodecName, CodecStamp, Timestamp};

use crate::error::LoadError;
use crate::history::{HistoryEntry, HistoryEvent};
use crate::script::engine_file;
use crate::swap::CodecTable;
use file::FileId;
use scripts::{Beside, Company};

pub use uploads::UploadError;

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

/// What a codec's file holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileKind {
    /// A component: `NAME.wasm`.
    Component,
    /// A vendor's JavaScript: `NAME.js`.
    Script,
}

impl FileKind {
    const ALL: [Self; 2] = [Self::Component, Self::Script];

    fn ending(self) -> &'static str {
        match self {
            Self::Component => "wasm",
            Self::Script => "js",
        }
    }
}

/// What is known of one file.
struct Seen {
    id: Pair,
    since: Timestamp,
    /// What was last judged, and whether the time stamps can be trusted to tell a change.
    judged: Option<(Content, bool)>,
    rejected: bool,
    /// It was rejected only because there were as many as may be.
    waits_for_room: bool,
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
        // An ending in capitals is taken up to be refused with the reason.
        let bytes = name.as_encoded_bytes().to_ascii_lowercase();
        if (bytes.ends_with(b".wasm") || bytes.ends_with(b".js")) && !bytes.starts_with(b".") {
            names.insert(name);
        }
    }
    Ok(names)
}

/// The codec that a file of this name is of, and what it wants to be there.
fn codec_of(file: &OsStr) -> Result<(CodecName, Role), LoadError> {
    if !FileKind::ALL.iter().any(|kind| Path::new(file).extension() == Some(OsStr::new(kind.ending()))) {
        return Err(LoadError::Name("a codec's file ends in .wasm or .js, in small letters".to_owned()));
    }
    let stem = Path::new(file)
        .file_stem()
        .and_then(OsStr::to_str)
        .ok_or_else(|| LoadError::Name("the file's name is not UTF-8".to_owned()))?;
    let (name, role) = match stem.strip_suffix(CANDIDATE_SUFFIX) {
        Some(name) => (name, Role::Candidate),
        None => (stem, Role::Live),
    };
    if name.ends_with(CANDIDATE_SUFFIX) {
        return Err(ends_as_candidates_do());
    }
    let name = CodecName::parse(name).map_err(|error| LoadError::Name(error.to_string()))?;
    Ok((name, role))
}

fn ends_as_candidates_do() -> LoadError {
    LoadError::Name(format!(
        "a codec's name does not end in {CANDIDATE_SUFFIX}, as the files of candidates do"
    ))
}

/// The file of a codec, or of its candidate.
fn file_name(name: &CodecName, role: Role, kind: FileKind) -> OsString {
    let suffix = match role {
        Role::Live => "",
        Role::Candidate => CANDIDATE_SUFFIX,
    };
    format!("{name}{suffix}.{}", kind.ending()).into()
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
        let waits = self.state.files.get(file).is_some_and(|seen| seen.waits_for_room);
        let may_come = waits && self.has_room(file);
        let seen = match self.state.files.get_mut(file) {
            Some(seen) if seen.id == id => {
                // The clock may have been set back meanwhile.
                seen.since = seen.since.min(now);
                if may_come {
                    seen.judged = None;
                }
                seen
            }
            _ => {
                let before = self.state.files.get(file);
                let rejected = before.is_some_and(|seen| seen.rejected);
                // A change beside the file is none of the file.
                let since =
                    before.filter(|seen| seen.id.is_same_file(&id)).map_or(now, |seen| seen.since.min(now));
                let fresh = Seen { id: id.clone(), since, judged: None, rejected, waits_for_room: false };
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

    fn has_room(&self, file: &OsStr) -> bool {
        match codec_of(file) {
            Ok((_, Role::Live)) => self.table.has_room(),
            Ok((_, Role::Candidate)) => self.table.candidates().len() < CANDIDATES_MAX,
            Err(_) => false,
        }
    }

    fn identify(&self, file: &OsStr) -> Pair {
        let path = self.table.0.config.folder.join(file);
        Pair {
            component: FileId::of(&path).map_err(|error| error.to_string()),
            vectors: self.beside(file),
            company: Company::of(&path, self.table),
        }
    }
}

impl Pair {
    fn is_same_file(&self, other: &Self) -> bool {
        self.component == other.component && self.vectors == other.vectors
    }

    /// Left alone for so long that nobody is writing it any more.
    fn settled(&self, now: Timestamp) -> bool {
        let settled = |id: &Result<FileId, String>| {
            id.as_ref().is_ok_and(|id| now.0.saturating_sub(id.modified_ms()) >= SETTLED_MS)
        };
        settled(&self.component) && self.vectors.as_ref().is_none_or(|beside| settled(&beside.id))
    }
}
