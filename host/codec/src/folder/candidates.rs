//! Files of candidates: `NAME.next.wasm` or `NAME.next.js` with vectors beside it, how one is tried, promoted and discarded.
//!
//! A promotion renames the vectors first and the component or script last; where the codec was of the other kind, its old
//! file is put aside in between. Whatever interrupts it, what lies under the codec's name is a version that was proven,
//! and the next start serves that or the one before.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use tracing::info;
use wireglot_model::limits::CANDIDATES_MAX;
use wireglot_model::{Actor, CodecHash, CodecName, CodecStamp, Timestamp};

use super::judge::{Found, no_room};
use super::scripts::{Beside, is_script, vectors_beside};
use super::{CANDIDATE_SUFFIX, CodecFolder, FileKind, Pair, Role, Scan, Seen, file_name};
use crate::canary::CanaryState;
use crate::candidate::{Candidate, CandidateError, RENAMED};
use crate::error::LoadError;
use crate::files::hidden_beside;
use crate::history::{Arrival, CodecOutcome};
use crate::vectors::VectorFile;

impl CodecFolder {
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
        let candidate = self.table.candidate_of(name).ok_or_else(|| CandidateError::None(name.clone()))?;
        let stamp = candidate.codec.stamp().clone();
        if hash.is_some_and(|hash| hash != stamp.hash) {
            return Err(CandidateError::Refused(format!("the candidate is {} now", stamp.hash)));
        }
        if self.table.live(name).is_none() && !self.table.has_room() {
            return Err(CandidateError::Refused(no_room().to_string()));
        }
        let next = candidate.file();
        let found = scan.read(next, &scan.identify(next));
        let found = found.map_err(|error| CandidateError::Refused(error.to_string()))?;
        let Some(found) = found.filter(|found| found.hash == stamp.hash) else {
            let reason = format!("{} was changed; it is looked at first", next.to_string_lossy());
            return Err(CandidateError::Refused(reason));
        };
        let (file, other) = files_of_codec(next, name);
        self.take_place(next, &file, &other).map_err(CandidateError::Folder)?;
        let shown = file.to_string_lossy();
        let outcome = CodecOutcome::Promoted;
        let arrival = Arrival { at: now, by, outcome, file: Some(&shown), reason: reason.to_owned() };
        self.table.promote(&candidate, &found.bytes, &arrival);
        self.table.end_canary(&candidate, CanaryState::Promoted, Some(reason.to_owned()), Actor::Server, now);
        scan.state.files.remove(&other);
        scan.promoted(next, &file, &found, &stamp);
        info!(codec = %name, version = %stamp.version, hash = %stamp.hash, "The candidate was promoted.");
        Ok(stamp)
    }

    /// Removes the candidate's files, of both kinds where there are two, and ends its trial.
    pub fn discard_candidate(
        &self,
        name: &CodecName,
        by: Actor,
        now: Timestamp,
    ) -> Result<(), CandidateError> {
        let mut scan = self.begin(now, None);
        if !self.table.has_candidate(name) {
            return Err(CandidateError::None(name.clone()));
        }
        for next in FileKind::ALL.map(|kind| file_name(name, Role::Candidate, kind)) {
            let path = self.path().join(&next);
            // What went meanwhile is gone; what is known of it goes too.
            remove_if_there(&path).map_err(CandidateError::Folder)?;
            for vectors in vectors_beside(&path) {
                remove_if_there(&vectors).map_err(CandidateError::Folder)?;
            }
            scan.state.files.remove(&next);
            scan.remove_note(&next);
        }
        if let Some(candidate) = self.table.candidate_of(name) {
            let reason = Some("the candidate was discarded".to_owned());
            self.table.end_canary(&candidate, CanaryState::Stopped, reason, by, now);
        }
        self.table.withdraw_candidate(name, "it was discarded", now);
        Ok(())
    }

    /// Gives the candidate's files the names of the codec's, whose place they take.
    fn take_place(&self, next: &OsStr, file: &OsStr, other: &OsStr) -> io::Result<()> {
        let [next, file, other] = [next, file, other].map(|name| self.path().join(name));
        take_place_of_vectors(&next, &file)?;
        let aside = hidden_beside(&other, "replaced")?;
        let is_aside = match fs::rename(&other, &aside) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        if let Err(error) = fs::rename(&next, &file) {
            if is_aside {
                fs::rename(&aside, &other)?;
            }
            return Err(error);
        }
        // It is done: what fails from here on is told, but undoes nothing.
        let rest = remove_if_there(&aside).and_then(|()| File::open(self.path())?.sync_all());
        if let Err(error) = rest {
            tracing::warn!(%error, file = %file.display(), "The place was taken, but not all of it may be on the disk.");
        }
        Ok(())
    }
}

/// The candidate's own vectors become the codec's. A candidate without them was proven by those that are there.
fn take_place_of_vectors(next: &Path, file: &Path) -> io::Result<()> {
    let Some(own) = Beside::find(next) else { return Ok(()) };
    for (next, file) in vectors_beside(next).iter().zip(&vectors_beside(file)) {
        if *next == own.path {
            return fs::rename(next, file);
        }
        // Files of the version before that would be asked first.
        remove_if_there(file)?;
    }
    Ok(())
}

impl Scan<'_> {
    /// The vectors that a file is proven by. A candidate without its own has to give what those of the codec say.
    pub(super) fn beside(&self, file: &OsStr) -> Option<Beside> {
        let path = self.table.0.config.folder.join(file);
        Beside::find(&path).or_else(|| {
            let stem = path.file_stem()?.to_str()?.strip_suffix(CANDIDATE_SUFFIX)?;
            let [component, script] = FileKind::ALL.map(|kind| format!("{stem}.{}", kind.ending()));
            let script = path.with_file_name(script);
            // Whichever kind the codec is of: vendors' examples count for the component that replaces their script.
            Beside::find(&if script.is_file() { script } else { path.with_file_name(component) })
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
            return Err(LoadError::NoRoom(format!(
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
        table.0.trials.start(&table.0).map_err(|error| {
            LoadError::Unreadable(format!("no thread can be started for candidates: {error}"))
        })?;
        let stamp = proven.codec().stamp().clone();
        table.withdraw_candidate(&found.name, "the candidate's file was changed", self.now);
        let candidate = Arc::new(Candidate::new(Arc::new(proven.0), shown, self.now));
        table.insert_candidate(&found.name, candidate);
        // Not before, or the thread may find nothing and go to sleep again.
        table.0.trials.wake();
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
            } else if !self.state.files.get(&files_of_codec(candidate.file(), name).0).is_some_and(is_unread)
            {
                self.table.withdraw_candidate(name, "the candidate's file is gone", self.now);
            }
        }
    }

    /// What is known of the candidate's file is from now on known of the codec's.
    fn promoted(&mut self, next: &OsStr, file: &OsStr, found: &Found, stamp: &CodecStamp) {
        self.state.files.remove(next);
        let id: Pair = self.identify(file);
        let judged = Some((Some((found.hash, found.vectors_hash)), id.settled(self.now)));
        self.state.files.insert(
            file.to_owned(),
            Seen { id, since: self.now, judged, rejected: false, waits_for_room: false },
        );
        self.remove_note(next);
        self.remove_note(file);
        self.state.orphans.remove(&stamp.name);
        self.report.published.push(stamp.clone());
    }
}

/// The name that a candidate's file has after its promotion, and that of the codec's file of the other kind.
fn files_of_codec(next: &OsStr, name: &CodecName) -> (OsString, OsString) {
    let [component, script] = FileKind::ALL.map(|kind| file_name(name, Role::Live, kind));
    if is_script(next) { (script, component) } else { (component, script) }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
