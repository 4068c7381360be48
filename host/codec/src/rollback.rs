//! Rollback: an earlier version serves again, by one swap, and the file of the later one is left alone from then on.
//!
//! The file in the folder is not touched, because it may be a mount that nobody here can write. Instead its content is
//! noted as rolled back: it is not taken again, at no scan and no restart, until it changes.

use wireglot_model::{Actor, CodecName, CodecStamp, Timestamp};

use crate::error::LoadError;
use crate::folder::CodecFolder;
use crate::history::{Arrival, CodecOutcome, HistoryEntry};
use crate::swap::CodecTable;
use crate::versions::{VersionError, shown};

/// What a rollback did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RolledBack {
    /// The version that was live.
    pub from: CodecStamp,
    /// The version that is.
    pub to: CodecStamp,
}

/// Why there was no rollback; what served before serves on.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RollbackError {
    /// No version of the codec is live.
    #[error("no version of codec {0} is live; put its file into the codecs folder, or upload it")]
    NotLive(CodecName),
    /// The version was not found.
    #[error(transparent)]
    Version(#[from] VersionError),
    /// There is no version before the live one.
    #[error("there is no version before {serving} of codec {codec}; it has {}", .known.join(", "))]
    NothingBefore {
        /// The codec.
        codec: CodecName,
        /// The live version.
        serving: String,
        /// The versions there are.
        known: Vec<String>,
    },
    /// The version asked for is live already.
    #[error("version {version} of codec {codec} is live already")]
    AlreadyLive {
        /// The codec.
        codec: CodecName,
        /// The version.
        version: String,
    },
    /// It does not decode its own vectors any more.
    #[error("version {version} of codec {codec} cannot go live again")]
    Refused {
        /// The codec.
        codec: CodecName,
        /// The version.
        version: String,
        /// Why not.
        #[source]
        reason: LoadError,
    },
}

impl CodecFolder {
    /// Puts the version before the live one, or the one that `selector` names, in its place.
    pub fn rollback(
        &self,
        name: &CodecName,
        selector: Option<&str>,
        by: Actor,
        now: Timestamp,
    ) -> Result<RolledBack, RollbackError> {
        let table = self.table();
        // Between two files of a scan, so that no file goes live meanwhile.
        let _turn = table.0.folder.lock();
        let live = table.live(name).ok_or_else(|| RollbackError::NotLive(name.clone()))?;
        let from = live.stamp().clone();
        let entry = target(table, name, &from, selector)?;
        let refused = |reason| RollbackError::Refused { codec: name.clone(), version: shown(&entry), reason };
        let proven = table
            .load_from_kept(name, &entry)
            .and_then(|loaded| loaded.decode_vectors(&[]))
            .map_err(refused)?;
        let to = proven.codec().stamp().clone();
        let reason = format!("to {}", shown(&entry));
        let file = entry.file.as_deref();
        let arrival = Arrival { at: now, by, outcome: CodecOutcome::RolledBack, file, reason };
        let event = table.0.history.lock().roll_back(name, &from, &entry, &arrival);
        table.publish(proven, now, file);
        table.note(name, file, Some(held_back(&from)));
        table.tell(name.as_str(), &event);
        Ok(RolledBack { from, to })
    }
}

fn target(
    table: &CodecTable,
    name: &CodecName,
    from: &CodecStamp,
    selector: Option<&str>,
) -> Result<HistoryEntry, RollbackError> {
    let serving = |entry: &&HistoryEntry| entry.hash == from.hash;
    match selector {
        Some(selector) => {
            let entry = table.kept_version(name, selector)?;
            if serving(&&entry) {
                return Err(RollbackError::AlreadyLive { codec: name.clone(), version: shown(&entry) });
            }
            Ok(entry)
        }
        None => {
            let history = table.0.history.lock();
            history.before(name).ok_or_else(|| RollbackError::NothingBefore {
                codec: name.clone(),
                serving: history.of(name).iter().find(serving).map(shown).unwrap_or_default(),
                known: history.of(name).iter().map(shown).collect(),
            })
        }
    }
}

/// What is told of a codec whose file holds a version that was rolled back.
pub(crate) fn held_back(stamp: &CodecStamp) -> String {
    format!(
        "version {} ({}) was rolled back; its file is not taken again until its content changes or it is uploaded",
        stamp.version, stamp.hash
    )
}
