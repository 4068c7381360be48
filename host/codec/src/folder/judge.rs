//! What a file of the folder becomes: read whole, loaded, proven, then live, a candidate, or rejected with a note beside it.
//!
//! Build, prove, publish: until a new version has worked, the one before serves on.
//! Not here: when a file is looked at (`folder.rs`), how a candidate is tried (`folder/candidates.rs`).

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tracing::warn;
use wireglot_model::limits::CODECS_MAX;
use wireglot_model::{Actor, CodecHash, CodecName, CodecStamp};

use super::file::{FileId, Reading, read_stable};
use super::scripts;
use super::{Content, Pair, RejectedFile, Role, Scan, Seen, codec_of};
use crate::error::LoadError;
use crate::files::write_whole;
use crate::history::{Arrival, CodecOutcome, HistoryEvent, read_version};
use crate::load::{LoadedCodec, hash_of};
use crate::rollback::held_back;
use crate::script::split_kept;
use crate::vectors::VectorFile;

/// A component that is about to be judged, and the vectors beside it.
pub(super) struct Found {
    pub(super) name: CodecName,
    pub(super) role: Role,
    pub(super) bytes: Vec<u8>,
    pub(super) hash: CodecHash,
    pub(super) vectors: Option<(PathBuf, Vec<u8>)>,
    pub(super) vectors_hash: Option<CodecHash>,
}

impl Scan<'_> {
    pub(super) fn read_and_judge(&mut self, file: &OsStr, id: &Pair) {
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

    pub(super) fn read(&self, file: &OsStr, id: &Pair) -> Result<Option<Found>, LoadError> {
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
            Some(beside) => match beside.read()? {
                Some(content) => Some((beside.path.clone(), content)),
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
            live => {
                if let Some(hash) = self.rolled_back_as(candidate, live.as_deref()) {
                    self.table.note(
                        &candidate.name,
                        Some(&shown),
                        Some(self.held_back(&candidate.name, hash)),
                    );
                    return Ok(());
                }
                if live.is_none() && !self.table.has_room() {
                    return Err(no_room());
                }
            }
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
    pub(super) fn check_world(&self, loaded: &LoadedCodec) -> Result<(), LoadError> {
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

    /// The version that was rolled back and has the file's content. Of a script that is its text: on a new engine it is
    /// another version, but the file has not changed. If the text serves, it was the engine that was rolled back.
    fn rolled_back_as(&self, found: &Found, live: Option<&LoadedCodec>) -> Option<CodecHash> {
        let rolled_back = self.table.0.history.lock().rolled_back(&found.name);
        if rolled_back.contains(&found.hash) {
            return Some(found.hash);
        }
        let (_, source) = split_kept(&found.bytes)?;
        if live.and_then(LoadedCodec::script_source).is_some_and(|serving| serving.as_bytes() == source) {
            return None;
        }
        let versions = &self.table.0.config.versions_dir;
        rolled_back.into_iter().find(|hash| {
            let kept = read_version(versions, hash).unwrap_or_default();
            split_kept(&kept).is_some_and(|(_, kept)| kept == source)
        })
    }

    fn held_back(&self, name: &CodecName, hash: CodecHash) -> String {
        let history = self.table.0.history.lock();
        let entry = history.of(name).iter().find(|entry| entry.hash == hash);
        let version = entry.map_or("unknown", |entry| entry.version.as_str());
        held_back(&CodecStamp { name: name.clone(), version: version.into(), hash })
    }

    fn accepted(&mut self, file: &OsStr) {
        if let Some(seen) = self.state.files.get_mut(file) {
            (seen.rejected, seen.waits_for_room) = (false, false);
        }
        self.remove_note(file);
    }

    fn rejected(&mut self, file: &OsStr, hash: Option<CodecHash>, error: LoadError) {
        if let Some(seen) = self.state.files.get_mut(file) {
            seen.rejected = true;
            seen.waits_for_room = matches!(error, LoadError::NoRoom(_));
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

    pub(super) fn remove_note(&self, file: &OsStr) {
        let path = self.note_path(file);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            warn!(path = %path.display(), %error, "An outdated reason cannot be removed.");
        }
    }
}

pub(super) fn no_room() -> LoadError {
    LoadError::NoRoom(format!("{CODECS_MAX} codecs are live, and more are not allowed"))
}

fn read_whole(path: &Path, id: &FileId, bytes_max: u64) -> Result<Option<Vec<u8>>, LoadError> {
    match read_stable(path, id, bytes_max) {
        Ok(Reading::Whole(bytes)) => Ok(Some(bytes)),
        Ok(Reading::Changed) => Ok(None),
        Err(error) => Err(LoadError::Unreadable(error.to_string())),
    }
}
