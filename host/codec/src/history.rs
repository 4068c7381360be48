//! Every version that was ever live, by hash, so that a bad file at the next start leaves the last good one serving.
//!
//! `HASH.wasm` is a component, byte for byte; `history.json` says which codec ran which version, and since when.
//! Bounded per codec; what no codec refers to any more is removed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing::warn;
use wireglot_model::limits::CODEC_VERSIONS_KEPT_MAX;
use wireglot_model::{CodecHash, CodecName, CodecStamp, Timestamp};

use crate::files::write_whole;
use crate::load::hash_of;

const FILE: &str = "history.json";

/// The versions folder and its index.
pub(crate) struct History {
    folder: PathBuf,
    index: Index,
}

#[derive(Default, Serialize, Deserialize)]
struct Index {
    codecs: BTreeMap<CodecName, Vec<HistoryEntry>>,
}

/// One version of one codec.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// Its identity.
    pub hash: CodecHash,
    /// The version as it describes itself.
    pub version: String,
    /// When it last went live.
    pub loaded_at: Timestamp,
    /// The file that it came from.
    pub file: Option<String>,
    /// It is the one that serves, or served last before the process ended.
    pub live: bool,
}

impl History {
    /// Reads the index. One that cannot be read is put aside, not trusted and not lost.
    pub(crate) fn open(folder: &Path) -> Self {
        let path = folder.join(FILE);
        let index = match fs::read(&path) {
            Ok(content) => serde_json::from_slice(&content).unwrap_or_else(|error| {
                warn!(path = %path.display(), %error, "The codec history is damaged; it is put aside and begun anew.");
                if let Err(error) = fs::rename(&path, folder.join("history.json.damaged")) {
                    warn!(path = %path.display(), %error, "The damaged codec history cannot be put aside.");
                }
                Index::default()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Index::default(),
            Err(error) => {
                warn!(path = %path.display(), %error, "The codec history cannot be read; it is begun anew.");
                Index::default()
            }
        };
        Self { folder: folder.to_owned(), index }
    }

    /// The versions of a codec, oldest first.
    pub(crate) fn of(&self, name: &CodecName) -> &[HistoryEntry] {
        self.index.codecs.get(name).map_or(&[], Vec::as_slice)
    }

    /// What served when the process last ended, and what had been retired before.
    pub(crate) fn last_versions(&self) -> Vec<(CodecName, HistoryEntry)> {
        self.index
            .codecs
            .iter()
            .filter_map(|(name, entries)| {
                let last = entries.iter().find(|entry| entry.live).or_else(|| entries.last())?;
                Some((name.clone(), last.clone()))
            })
            .collect()
    }

    /// Keeps a version that is about to go live. A failure is told and costs only the restart after a bad file.
    pub(crate) fn keep(&mut self, stamp: &CodecStamp, bytes: &[u8], now: Timestamp, file: Option<&str>) {
        let path = version_path(&self.folder, &stamp.hash);
        if read_version(&self.folder, &stamp.hash).is_err()
            && let Err(error) = write_whole(&path, bytes)
        {
            warn!(path = %path.display(), %error, "A codec version cannot be kept; it would not survive a restart without its file.");
            return;
        }
        let entries = self.index.codecs.entry(stamp.name.clone()).or_default();
        entries.retain(|entry| entry.hash != stamp.hash);
        entries.iter_mut().for_each(|entry| entry.live = false);
        entries.push(HistoryEntry {
            hash: stamp.hash,
            version: stamp.version.as_ref().to_owned(),
            loaded_at: now,
            file: file.map(str::to_owned),
            live: true,
        });
        let surplus = entries.len().saturating_sub(CODEC_VERSIONS_KEPT_MAX);
        let dropped: Vec<CodecHash> = entries.drain(..surplus).map(|entry| entry.hash).collect();
        self.save();
        self.remove_unreferenced(&dropped);
    }

    /// Notes that no version of a codec serves any more.
    pub(crate) fn retire(&mut self, name: &CodecName) {
        if let Some(entries) = self.index.codecs.get_mut(name) {
            entries.iter_mut().for_each(|entry| entry.live = false);
            self.save();
        }
    }

    fn save(&self) {
        let path = self.folder.join(FILE);
        let saved = serde_json::to_vec_pretty(&self.index)
            .map_err(io::Error::from)
            .and_then(|content| write_whole(&path, &content));
        if let Err(error) = saved {
            warn!(path = %path.display(), %error, "The codec history cannot be written.");
        }
    }

    fn remove_unreferenced(&self, dropped: &[CodecHash]) {
        let referenced: BTreeSet<CodecHash> =
            self.index.codecs.values().flatten().map(|entry| entry.hash).collect();
        for hash in dropped.iter().filter(|hash| !referenced.contains(hash)) {
            let path = version_path(&self.folder, hash);
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                warn!(path = %path.display(), %error, "An old codec version cannot be removed.");
            }
        }
    }
}

fn version_path(folder: &Path, hash: &CodecHash) -> PathBuf {
    folder.join(format!("{hash}.wasm"))
}

/// The component of a kept version, if it still is what its name says.
pub(crate) fn read_version(folder: &Path, hash: &CodecHash) -> io::Result<Vec<u8>> {
    let bytes = fs::read(version_path(folder, hash))?;
    if hash_of(&bytes) == *hash {
        Ok(bytes)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "the kept codec version is damaged"))
    }
}
