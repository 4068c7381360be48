//! Uploads: each writes the file that an operator would have dropped, and judges it at once.

use std::ffi::OsStr;
use std::io;
use std::sync::Arc;

use wireglot_model::{Actor, CodecName, CodecStamp, Timestamp};

use super::{CodecFolder, FileKind, Role, Scan, Seen, codec_of, ends_as_candidates_do, file_name, scripts};
use crate::error::LoadError;
use crate::files::write_whole;
use crate::load::LoadedCodec;

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

impl CodecFolder {
    /// Does what dropping `NAME.wasm` or `NAME.js` into the folder does, and says how it went.
    pub fn upload(
        &self,
        name: &CodecName,
        kind: FileKind,
        bytes: &[u8],
        by: Actor,
        now: Timestamp,
    ) -> Result<CodecStamp, UploadError> {
        let mut scan = self.upload_file(name, Role::Live, kind, bytes, by, now)?;
        scan.outcome(self.table.live(name))
    }

    /// Does what dropping `NAME.next.wasm` or `NAME.next.js` into the folder does, and says how it went.
    pub fn upload_candidate(
        &self,
        name: &CodecName,
        kind: FileKind,
        bytes: &[u8],
        by: Actor,
        now: Timestamp,
    ) -> Result<CodecStamp, UploadError> {
        let mut scan = self.upload_file(name, Role::Candidate, kind, bytes, by, now)?;
        scan.outcome(self.table.candidate_version(name))
    }

    /// Writes a file and judges it.
    fn upload_file(
        &self,
        name: &CodecName,
        role: Role,
        kind: FileKind,
        bytes: &[u8],
        by: Actor,
        now: Timestamp,
    ) -> Result<Scan<'_>, UploadError> {
        let file = file_name(name, role, kind);
        check_name(name, &file).map_err(UploadError::Rejected)?;
        scripts::check_upload(self.path(), &file).map_err(UploadError::Rejected)?;
        let bytes_max = scripts::bytes_max(&file, &self.table.0.config.limits);
        if bytes.len() > bytes_max {
            let (bytes, bytes_max) = (bytes.len() as u64, bytes_max as u64);
            return Err(UploadError::Rejected(LoadError::TooLarge { bytes, bytes_max }));
        }
        let mut scan = self.begin(now, Some(by));
        write_whole(&self.path().join(&file), bytes).map_err(UploadError::Folder)?;
        if role == Role::Live {
            // Whoever uploads a version that was rolled back wants it back.
            self.table.0.history.lock().release(name);
        }
        scan.uploaded(&file);
        Ok(scan)
    }
}

/// The file of a codec that was called `c.next` would be taken for a candidate of `c`.
fn check_name(name: &CodecName, file: &OsStr) -> Result<(), LoadError> {
    let (of, _) = codec_of(file)?;
    if of == *name { Ok(()) } else { Err(ends_as_candidates_do()) }
}

impl Scan<'_> {
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
        self.state.files.insert(
            file.to_owned(),
            Seen { id: id.clone(), since: self.now, judged: None, rejected, waits_for_room: false },
        );
        self.read_and_judge(file, &id);
    }
}
