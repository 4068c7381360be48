//! Files of candidates: `NAME.next.wasm` with `NAME.next.vectors.json`, how one is tried, promoted and discarded.
//!
//! A promotion renames the vectors first and the component second: whatever interrupts it, what lies under `NAME.wasm`
//! is a version that was proven, and the next start serves that or the one before.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::info;
use wireglot_model::limits::CANDIDATES_MAX;
use wireglot_model::{Actor, CodecHash, CodecName, CodecStamp, Timestamp};

use super::judge::Found;
use super::scripts::Beside;
use super::{CANDIDATE_SUFFIX, CodecFolder, Pair, Scan, Seen, UploadError};
use crate::canary::CanaryState;
use crate::candidate::{Candidate, CandidateError, RENAMED};
use crate::error::LoadError;
use crate::history::{Arrival, CodecOutcome};
use crate::vectors::VectorFile;

impl CodecFolder {
    /// Does what dropping `NAME.next.wasm` into the folder does, and says how it went.
    pub fn upload_candidate(
        &self,
        name: &CodecName,
        bytes: &[u8],
        by: Actor,
        now: Timestamp,
    ) -> Result<CodecStamp, UploadError> {
        let file = format!("{name}{CANDIDATE_SUFFIX}.wasm");
        let mut scan = self.upload_file(file.into(), bytes, by, now)?;
        scan.outcome(self.table.candidate_version(name))
    }

    /// Makes the candidate the live version, and its files those of the codec; with `hash` only if it is that one.
    pub fn promote(
        &self,
        name: &CodecName,
        hash: Option<CodecHash>,
        by: Actor,
        reason: &str,
        now: Timestamp,
    ) -> Result<CodecStamp, CandidateError> {
        let mut scan = self.begin(now, Some(by.clone()));
        let candidate = self.table.candidate_of(name).ok_or(CandidateError::None)?;
        let stamp = candidate.codec.stamp().clone();
        if hash.is_some_and(|hash| hash != stamp.hash) {
            return Err(CandidateError::Refused(format!("the candidate is {} now", stamp.hash)));
        }
        let next = candidate.file();
        let found = scan.read(next, &scan.identify(next));
        let found = found.map_err(|error| CandidateError::Refused(error.to_string()))?;
        let Some(found) = found.filter(|found| found.hash == stamp.hash) else {
            let reason = format!("{} was changed; it is looked at first", next.to_string_lossy());
            return Err(CandidateError::Refused(reason));
        };
        let file = live_file(next);
        self.rename_candidate(next, &file).map_err(CandidateError::Folder)?;
        let shown = file.to_string_lossy();
        let outcome = CodecOutcome::Promoted;
        let arrival = Arrival { at: now, by, outcome, file: Some(&shown), reason: reason.to_owned() };
        self.table.promote(&candidate, &found.bytes, &arrival);
        self.table.end_canary(&candidate, CanaryState::Promoted, Some(reason.to_owned()), Actor::Server, now);
        scan.promoted(next, &file, &found, &stamp);
        info!(codec = %name, version = %stamp.version, hash = %stamp.hash, "The candidate was promoted.");
        Ok(stamp)
    }

    /// Removes the candidate's files and ends its trial.
    pub fn discard_candidate(
        &self,
        name: &CodecName,
        by: Actor,
        now: Timestamp,
    ) -> Result<(), CandidateError> {
        let mut scan = self.begin(now, None);
        let next = self.table.candidate_file(name).ok_or(CandidateError::None)?;
        let path = self.path().join(&next);
        match fs::remove_file(&path) {
            Ok(()) => {}
            // It went meanwhile; what is known of it goes too.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(CandidateError::Folder(error)),
        }
        remove_if_there(&vectors_path(&path)).map_err(CandidateError::Folder)?;
        scan.state.files.remove(&next);
        scan.remove_note(&next);
        if let Some(candidate) = self.table.candidate_of(name) {
            let reason = Some("the candidate was discarded".to_owned());
            self.table.end_canary(&candidate, CanaryState::Stopped, reason, by, now);
        }
        self.table.withdraw_candidate(name, "it was discarded", now);
        Ok(())
    }

    fn rename_candidate(&self, next: &OsStr, file: &OsStr) -> io::Result<()> {
        let (next, file) = (self.path().join(next), self.path().join(file));
        match fs::rename(vectors_path(&next), vectors_path(&file)) {
            Ok(()) => {}
            // It was proven by the vectors of the live version, which stay.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        fs::rename(&next, &file)?;
        File::open(self.path())?.sync_all()
    }
}

impl Scan<'_> {
    /// The vectors that a file is proven by. A candidate without its own has to give what those of the codec say.
    pub(super) fn beside(&self, file: &OsStr) -> Option<Beside> {
        let path = self.table.0.config.folder.join(file);
        Beside::find(&path).or_else(|| {
            let stem = path.file_stem()?.to_str()?.strip_suffix(CANDIDATE_SUFFIX)?;
            Beside::find(&path.with_file_name(format!("{stem}.wasm")))
        })
    }

    pub(super) fn judge_candidate(
        &mut self,
        shown: &str,
        found: &Found,
        beside: &[VectorFile],
    ) -> Result<(), LoadError> {
        let table = self.table;
        let known = table.candidate_of(&found.name);
        if let Some(known) = known.as_ref().filter(|known| known.hash() == found.hash) {
            return known.codec.first_failure(beside).map_or(Ok(()), Err);
        }
        if known.is_none() && table.candidates().len() >= CANDIDATES_MAX {
            return Err(LoadError::Name(format!(
                "{CANDIDATES_MAX} candidates are tried, and more are not allowed"
            )));
        }
        let loaded = table.load(&found.name, &found.bytes)?;
        if loaded.is_responder() {
            return Err(LoadError::Name(
                "a candidate is tried on frames, and a responder gets none: drop it as NAME.wasm".to_owned(),
            ));
        }
        self.check_world(&loaded)?;
        let proven = loaded.decode_vectors(beside)?;
        table.0.trials.wake(&table.0).map_err(|error| {
            LoadError::Unreadable(format!("no thread can be started for candidates: {error}"))
        })?;
        let stamp = proven.codec().stamp().clone();
        table.withdraw_candidate(&found.name, "the candidate's file was changed", self.now);
        let candidate = Arc::new(Candidate::new(Arc::new(proven.0), shown, self.now));
        table.insert_candidate(&found.name, candidate);
        info!(codec = %stamp.name, version = %stamp.version, hash = %stamp.hash, "A candidate is tried beside the live version.");
        self.report.candidates.push(stamp);
        Ok(())
    }

    pub(super) fn reject_candidate(&self, name: &CodecName, shown: &str, error: &LoadError) {
        self.table.withdraw_candidate(
            name,
            "the candidate's file was replaced by one that was rejected",
            self.now,
        );
        self.table.0.trials.reject(name, shown, error.to_string());
    }

    /// Candidates whose file is gone: renamed over the codec's file, which is a promotion, or removed.
    pub(super) fn withdraw_missing(&mut self, names: &BTreeSet<OsString>) {
        for candidate in self.table.candidates() {
            let name = &candidate.codec.stamp().name;
            if names.contains(candidate.file()) {
                continue;
            }
            let is_live = self.table.live(name).is_some_and(|live| live.stamp().hash == candidate.hash());
            let is_unread = |seen: &Seen| seen.judged.is_none();
            if is_live {
                let reason = Some(RENAMED.to_owned());
                self.table.end_canary(&candidate, CanaryState::Promoted, reason, Actor::Server, self.now);
                self.table.withdraw_candidate(name, "it is the live version now", self.now);
            } else if !self.state.files.get(&live_file(candidate.file())).is_some_and(is_unread) {
                self.table.withdraw_candidate(name, "the candidate's file is gone", self.now);
            }
        }
    }

    /// What is known of the candidate's file is from now on known of the codec's.
    fn promoted(&mut self, next: &OsStr, file: &OsStr, found: &Found, stamp: &CodecStamp) {
        self.state.files.remove(next);
        let id: Pair = self.identify(file);
        let judged = Some((Some((found.hash, found.vectors_hash)), id.settled(self.now)));
        self.state.files.insert(file.to_owned(), Seen { id, since: self.now, judged, rejected: false });
        self.remove_note(next);
        self.remove_note(file);
        self.state.orphans.remove(&stamp.name);
        self.report.published.push(stamp.clone());
    }
}

/// A component's vectors beside it.
fn vectors_path(file: &Path) -> PathBuf {
    file.with_extension("vectors.json")
}

/// The name that a candidate's file has after its promotion.
fn live_file(next: &OsStr) -> OsString {
    let next = Path::new(next);
    let stem = next.file_stem().and_then(OsStr::to_str).unwrap_or_default();
    let name = stem.strip_suffix(CANDIDATE_SUFFIX).unwrap_or(stem);
    let extension = next.extension().unwrap_or_default().to_string_lossy();
    format!("{name}.{extension}").into()
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
