//! The kept versions of a codec, found by what people call them and loaded when somebody wants one.
//!
//! A loaded version is shared by all who hold it and freed after the last of them. Nothing here runs on a worker.
//! Not here: which versions are kept (`history.rs`), which one is live (`swap.rs`).

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use wireglot_model::{CodecHash, CodecName};

use crate::error::LoadError;
use crate::history::{HistoryEntry, read_version};
use crate::load::LoadedCodec;
use crate::script::split_kept;
use crate::swap::CodecTable;

/// Fewest digits of a hash that name a version.
const HASH_DIGITS_MIN: usize = 8;
/// Digits of a hash that are shown.
const HASH_DIGITS_SHOWN: usize = 12;

/// Versions that somebody holds beside the live ones.
pub(crate) type HeldVersions = Mutex<HashMap<(CodecName, CodecHash), Weak<LoadedCodec>>>;

/// Why a version of a codec is not to be had.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum VersionError {
    /// No version of this codec was ever live, or none is kept any more.
    #[error("no version of a codec named {codec} is kept; `wireglot codec list` shows the codecs there are")]
    NoVersions {
        /// The codec.
        codec: CodecName,
    },
    /// None of the kept versions is meant.
    #[error("codec {codec} has no version {selector:?}; it has {}", .known.join(", "))]
    Unknown {
        /// The codec.
        codec: CodecName,
        /// What was asked for.
        selector: String,
        /// The versions there are, oldest first.
        known: Vec<String>,
    },
    /// More than one kept version is meant.
    #[error("{selector:?} may be {} of codec {codec}; name one by more digits of its hash", .candidates.join(" or "))]
    Ambiguous {
        /// The codec.
        codec: CodecName,
        /// What was asked for.
        selector: String,
        /// The versions that it fits, oldest first.
        candidates: Vec<String>,
    },
    /// It is kept but cannot be loaded.
    #[error("version {version} of codec {codec} cannot be loaded")]
    Broken {
        /// The codec.
        codec: CodecName,
        /// The version.
        version: String,
        /// Why not.
        #[source]
        reason: LoadError,
    },
}

impl CodecTable {
    /// A kept version of a codec, named by what it calls itself or by the first digits of its hash.
    ///
    /// It is compiled if need be: not for workers. Whoever asks again while somebody holds it gets the same one.
    pub fn version(&self, name: &CodecName, selector: &str) -> Result<Arc<LoadedCodec>, VersionError> {
        let entry = self.kept_version(name, selector)?;
        self.load_kept(name, &entry)
    }

    /// The component or the script of a kept version, byte for byte, and its hash. Reads a file: not for workers.
    pub fn version_bytes(
        &self,
        name: &CodecName,
        selector: &str,
    ) -> Result<(CodecHash, Vec<u8>), VersionError> {
        let entry = self.kept_version(name, selector)?;
        let bytes = read_version(&self.0.config.versions_dir, &entry.hash).map_err(|error| {
            let reason = LoadError::Unreadable(error.to_string());
            VersionError::Broken { codec: name.clone(), version: shown(&entry), reason }
        })?;
        let source = split_kept(&bytes).map(|(_, source)| source.to_vec());
        Ok((entry.hash, source.unwrap_or(bytes)))
    }

    /// Which kept version is meant.
    pub(crate) fn kept_version(
        &self,
        name: &CodecName,
        selector: &str,
    ) -> Result<HistoryEntry, VersionError> {
        choose(name, self.0.history.lock().of(name), selector)
    }

    pub(crate) fn load_kept(
        &self,
        name: &CodecName,
        entry: &HistoryEntry,
    ) -> Result<Arc<LoadedCodec>, VersionError> {
        if let Some(live) = self.live(name).filter(|live| live.stamp().hash == entry.hash) {
            return Ok(live);
        }
        let key = (name.clone(), entry.hash);
        let held = |versions: &HashMap<_, Weak<LoadedCodec>>| versions.get(&key).and_then(Weak::upgrade);
        if let Some(codec) = held(&self.0.held_versions.lock()) {
            return Ok(codec);
        }
        // Not under the lock: compiling takes a while, and who wants another version need not wait for it.
        let broken = |reason| VersionError::Broken { codec: name.clone(), version: shown(entry), reason };
        let loaded = Arc::new(self.load_from_kept(name, entry).map_err(broken)?);
        let mut versions = self.0.held_versions.lock();
        if let Some(codec) = held(&versions) {
            return Ok(codec);
        }
        versions.retain(|_, version| version.strong_count() > 0);
        versions.insert(key, Arc::downgrade(&loaded));
        Ok(loaded)
    }

    pub(crate) fn load_from_kept(
        &self,
        name: &CodecName,
        entry: &HistoryEntry,
    ) -> Result<LoadedCodec, LoadError> {
        let bytes = read_version(&self.0.config.versions_dir, &entry.hash)
            .map_err(|error| LoadError::Unreadable(error.to_string()))?;
        self.load(name, &bytes)
    }
}

/// The version's own name for itself first; several versions may have taken the same one, a hash only one.
pub(crate) fn choose(
    name: &CodecName,
    kept: &[HistoryEntry],
    selector: &str,
) -> Result<HistoryEntry, VersionError> {
    let digits = selector.to_ascii_lowercase();
    let is_hash = digits.len() >= HASH_DIGITS_MIN && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let mut found: Vec<&HistoryEntry> = kept.iter().filter(|entry| entry.version == selector).collect();
    if found.is_empty() && is_hash {
        found = kept.iter().filter(|entry| entry.hash.to_string().starts_with(&digits)).collect();
    }
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        [] if kept.is_empty() => Err(VersionError::NoVersions { codec: name.clone() }),
        [] => Err(VersionError::Unknown {
            codec: name.clone(),
            selector: selector.to_owned(),
            known: kept.iter().map(shown).collect(),
        }),
        several => Err(VersionError::Ambiguous {
            codec: name.clone(),
            selector: selector.to_owned(),
            candidates: several.iter().map(|entry| shown(entry)).collect(),
        }),
    }
}

/// A version as people are told of it.
pub(crate) fn shown(entry: &HistoryEntry) -> String {
    let hash: String = entry.hash.to_string().chars().take(HASH_DIGITS_SHOWN).collect();
    format!("{} ({hash})", entry.version)
}
