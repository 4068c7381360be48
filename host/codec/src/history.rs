//! What became of every codec: the versions that were live, byte for byte, and who changed what.
//!
//! `HASH.wasm` is a component; `NAME.history.json` says which versions of one codec are kept, which of them serves,
//! which were rolled back, and what happened. So a bad file at the next start leaves the last good version serving,
//! and a version that was taken back stays so. Bounded per codec; what no codec refers to any more is removed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing::warn;
use wireglot_model::limits::{CODEC_EVENTS_MAX, CODEC_HISTORIES_MAX, CODEC_VERSIONS_KEPT_MAX};
use wireglot_model::{Actor, CodecHash, CodecName, CodecStamp, Timestamp};

use crate::files::write_whole;
use crate::load::hash_of;

const SUFFIX: &str = ".history.json";
/// One index of all codecs, as it was written before each had its own.
const COMMON_FILE: &str = "history.json";

/// The versions folder and its records.
pub(crate) struct History {
    folder: PathBuf,
    codecs: BTreeMap<CodecName, Record>,
    /// Versions that profiles are pinned to: kept beyond the bound.
    pinned: BTreeSet<(CodecName, CodecHash)>,
}

#[derive(Default, Serialize, Deserialize)]
struct CommonIndex {
    codecs: BTreeMap<CodecName, Vec<HistoryEntry>>,
}

/// What is known of one codec.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    /// Kept versions; the one that went live last comes last.
    versions: Vec<HistoryEntry>,
    /// Versions whose file is not taken again until its content changes.
    #[serde(default)]
    rolled_back: BTreeSet<CodecHash>,
    #[serde(default)]
    events: VecDeque<HistoryEvent>,
}

/// One kept version of one codec.
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
    /// Who made it live.
    #[serde(default)]
    pub by: Actor,
}

/// Something that happened to a codec.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEvent {
    /// When.
    pub at: Timestamp,
    /// What.
    pub outcome: CodecOutcome,
    /// The version it happened to, where it could be read.
    pub hash: Option<CodecHash>,
    /// The same as it describes itself, where it came so far.
    pub version: Option<String>,
    /// Who did it.
    pub by: Actor,
    /// Why, for people; empty where there is nothing to say.
    #[serde(default)]
    pub reason: String,
}

/// What can happen to a codec version.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CodecOutcome {
    /// It went live.
    Live,
    /// It was refused.
    Rejected,
    /// It was taken back for an earlier one.
    RolledBack,
    /// It was a candidate and went live.
    Promoted,
    /// It serves from its kept copy, because its file is gone or no good.
    Restored,
    /// It serves no more, and none does instead.
    Retired,
    /// It is a candidate and serves a share of the devices.
    CanaryStarted,
    /// It kept the budgets of its canary, and waits for somebody to promote it.
    CanaryHeld,
    /// It broke a budget of its canary, and serves nobody any more.
    CanaryRolledBack,
    /// Somebody ended its canary.
    CanaryStopped,
}

/// How a version comes into service.
pub(crate) struct Arrival<'a> {
    pub(crate) at: Timestamp,
    pub(crate) by: Actor,
    pub(crate) outcome: CodecOutcome,
    pub(crate) file: Option<&'a str>,
    pub(crate) reason: String,
}

impl Arrival<'_> {
    fn event(&self, stamp: &CodecStamp) -> HistoryEvent {
        HistoryEvent {
            at: self.at,
            outcome: self.outcome,
            hash: Some(stamp.hash),
            version: Some(stamp.version.as_ref().to_owned()),
            by: self.by.clone(),
            reason: self.reason.clone(),
        }
    }
}

impl History {
    /// Reads the records. One that cannot be read is put aside, not trusted and not lost.
    pub(crate) fn open(folder: &Path) -> Self {
        let mut history =
            Self { folder: folder.to_owned(), codecs: BTreeMap::new(), pinned: BTreeSet::new() };
        let common = read_record::<CommonIndex>(&folder.join(COMMON_FILE)).unwrap_or_default();
        for (name, versions) in common.codecs {
            history.codecs.insert(name, Record { versions, ..Record::default() });
        }
        let moved = !history.codecs.is_empty();
        for (name, path) in own_files(folder) {
            if let Some(record) = read_record(&path) {
                history.codecs.insert(name, record);
            }
        }
        if moved && history.codecs.keys().all(|name| history.save(name)) {
            remove(&folder.join(COMMON_FILE));
        }
        history
    }

    /// The kept versions of a codec; the one that went live last comes last.
    pub(crate) fn of(&self, name: &CodecName) -> &[HistoryEntry] {
        self.codecs.get(name).map_or(&[], |record| record.versions.as_slice())
    }

    /// What happened to a codec, oldest first.
    pub(crate) fn events(&self, name: &CodecName) -> Vec<HistoryEvent> {
        self.codecs.get(name).map(|record| record.events.iter().cloned().collect()).unwrap_or_default()
    }

    /// Which versions profiles are pinned to.
    pub(crate) fn set_pinned(&mut self, pinned: BTreeSet<(CodecName, CodecHash)>) {
        self.pinned = pinned;
    }

    /// What served when the process last ended, and what had been retired before.
    pub(crate) fn last_versions(&self) -> Vec<(CodecName, HistoryEntry)> {
        self.codecs
            .iter()
            .filter_map(|(name, record)| {
                let last =
                    record.versions.iter().find(|entry| entry.live).or_else(|| record.versions.last())?;
                Some((name.clone(), last.clone()))
            })
            .collect()
    }

    /// The versions whose content is not to be taken.
    pub(crate) fn rolled_back(&self, name: &CodecName) -> BTreeSet<CodecHash> {
        self.codecs.get(name).map(|record| record.rolled_back.clone()).unwrap_or_default()
    }

    /// The file has another content than those that were rolled back, or somebody wishes to have it all the same.
    pub(crate) fn release(&mut self, name: &CodecName) {
        if let Some(record) = self.codecs.get_mut(name)
            && !std::mem::take(&mut record.rolled_back).is_empty()
        {
            self.save(name);
        }
    }

    /// The version that a rollback goes to where nobody names one.
    pub(crate) fn before(&self, name: &CodecName) -> Option<HistoryEntry> {
        let record = self.codecs.get(name)?;
        let live = record.versions.iter().position(|entry| entry.live)?;
        let earlier = record.versions.get(..live)?;
        earlier.iter().rev().find(|entry| !record.rolled_back.contains(&entry.hash)).cloned()
    }

    /// Keeps a version that is about to go live, and says since when it is. A failure is told and costs only the
    /// restart after a bad file. `None`: it was live before, and nothing has happened.
    pub(crate) fn keep(
        &mut self,
        stamp: &CodecStamp,
        bytes: &[u8],
        arrival: &Arrival<'_>,
    ) -> (Timestamp, Option<HistoryEvent>) {
        let path = version_path(&self.folder, &stamp.hash);
        let is_kept = fs::metadata(&path).is_ok_and(|metadata| metadata.len() == bytes.len() as u64);
        if !is_kept && let Err(error) = write_whole(&path, bytes) {
            warn!(path = %path.display(), %error, "A codec version cannot be kept; it would not survive a restart without its file.");
            return (arrival.at, Some(arrival.event(stamp)));
        }
        let Some(record) = self.record(&stamp.name) else { return (arrival.at, Some(arrival.event(stamp))) };
        if let Some(entry) = record.versions.iter().find(|entry| entry.live && entry.hash == stamp.hash)
            && entry.file.as_deref() == arrival.file
        {
            return (entry.loaded_at, None);
        }
        let event = arrival.event(stamp);
        record.rolled_back.clear();
        record.serve(HistoryEntry {
            hash: stamp.hash,
            version: stamp.version.as_ref().to_owned(),
            loaded_at: arrival.at,
            file: arrival.file.map(str::to_owned),
            live: true,
            by: arrival.by.clone(),
        });
        record.tell(event.clone());
        self.trim(&stamp.name);
        self.save(&stamp.name);
        (arrival.at, Some(event))
    }

    /// Puts a kept version in the place of the live one, whose content is not taken again.
    pub(crate) fn roll_back(
        &mut self,
        name: &CodecName,
        from: &CodecStamp,
        to: &HistoryEntry,
        arrival: &Arrival<'_>,
    ) -> HistoryEvent {
        let event = arrival.event(from);
        let Some(record) = self.codecs.get_mut(name) else { return event };
        record.rolled_back.insert(from.hash);
        record.rolled_back.remove(&to.hash);
        record.serve(HistoryEntry {
            loaded_at: arrival.at,
            live: true,
            by: arrival.by.clone(),
            ..to.clone()
        });
        record.tell(event.clone());
        record.tell(HistoryEvent {
            outcome: CodecOutcome::Live,
            hash: Some(to.hash),
            version: Some(to.version.clone()),
            reason: format!("rolled back from {}", from.version),
            ..event.clone()
        });
        self.save(name);
        event
    }

    /// Notes that no version of a codec serves any more.
    pub(crate) fn retire(&mut self, name: &CodecName, event: HistoryEvent) -> bool {
        match self.codecs.get_mut(name) {
            Some(record) => {
                record.versions.iter_mut().for_each(|entry| entry.live = false);
                let told = record.tell(event);
                self.save(name);
                told
            }
            None => false,
        }
    }

    /// Notes what happened, unless the same was the last that happened to the same version: a restart is no news.
    pub(crate) fn note(&mut self, name: &CodecName, event: HistoryEvent) -> bool {
        let told = self.record(name).is_none_or(|record| record.tell(event));
        if told {
            self.save(name);
        }
        told
    }

    /// The record of a codec, made if need be. Room for one is that of the codec that has been out of service the
    /// longest; `None` where all serve.
    fn record(&mut self, name: &CodecName) -> Option<&mut Record> {
        if !self.codecs.contains_key(name) && self.codecs.len() >= CODEC_HISTORIES_MAX {
            let last_event = |record: &Record| record.events.back().map(|event| event.at);
            let is_idle = |name: &CodecName, record: &Record| {
                !record.versions.iter().any(|entry| entry.live)
                    && !self.pinned.iter().any(|(pinned, _)| pinned == name)
            };
            let idle = self.codecs.iter().filter(|(name, record)| is_idle(name, record));
            let oldest = idle.min_by_key(|(_, record)| last_event(record)).map(|(name, _)| name.clone())?;
            let dropped: Vec<CodecHash> = self.of(&oldest).iter().map(|entry| entry.hash).collect();
            self.codecs.remove(&oldest);
            self.remove_unreferenced(&dropped);
            remove(&self.folder.join(format!("{oldest}{SUFFIX}")));
        }
        Some(self.codecs.entry(name.clone()).or_default())
    }

    /// Lets go of a codec's oldest versions beyond the bound.
    fn trim(&mut self, name: &CodecName) {
        let Some(record) = self.codecs.get_mut(name) else { return };
        let mut surplus = record.versions.len().saturating_sub(CODEC_VERSIONS_KEPT_MAX);
        let mut dropped = Vec::new();
        let pinned = &self.pinned;
        record.versions.retain(|entry| {
            let goes = surplus > 0 && !entry.live && !pinned.contains(&(name.clone(), entry.hash));
            if goes {
                surplus -= 1;
                dropped.push(entry.hash);
            }
            !goes
        });
        self.remove_unreferenced(&dropped);
    }

    fn save(&self, name: &CodecName) -> bool {
        let Some(record) = self.codecs.get(name) else { return true };
        let path = self.folder.join(format!("{name}{SUFFIX}"));
        let saved = serde_json::to_vec(record)
            .map_err(io::Error::from)
            .and_then(|content| write_whole(&path, &content));
        if let Err(error) = &saved {
            warn!(path = %path.display(), %error, "The codec history cannot be written.");
        }
        saved.is_ok()
    }

    fn remove_unreferenced(&self, dropped: &[CodecHash]) {
        let referenced: BTreeSet<CodecHash> =
            self.codecs.values().flat_map(|record| &record.versions).map(|entry| entry.hash).collect();
        for hash in dropped.iter().filter(|hash| !referenced.contains(hash)) {
            remove(&version_path(&self.folder, hash));
        }
    }
}

impl Record {
    /// Puts a version last, as the live one.
    fn serve(&mut self, entry: HistoryEntry) {
        self.versions.retain(|other| other.hash != entry.hash);
        self.versions.iter_mut().for_each(|other| other.live = false);
        self.versions.push(entry);
    }

    fn tell(&mut self, event: HistoryEvent) -> bool {
        let before = self.events.iter().rev().find(|before| before.hash == event.hash);
        if before.is_some_and(|before| before.outcome == event.outcome && before.reason == event.reason)
            && event.outcome != CodecOutcome::Live
        {
            return false;
        }
        while self.events.len() >= CODEC_EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
        true
    }
}

/// The records of single codecs, by name.
fn own_files(folder: &Path) -> Vec<(CodecName, PathBuf)> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            warn!(folder = %folder.display(), %error, "The codec history cannot be read; it is begun anew.");
            return Vec::new();
        }
    };
    let named = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.strip_suffix(SUFFIX)?;
        Some((CodecName::parse(name).ok()?, path))
    };
    entries.filter_map(|entry| named(entry.ok()?.path())).collect()
}

fn read_record<T: for<'de> Deserialize<'de>>(path: &Path) -> Option<T> {
    let content = match fs::read(path) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            warn!(path = %path.display(), %error, "A codec history cannot be read; it is begun anew.");
            return None;
        }
    };
    serde_json::from_slice(&content)
        .inspect_err(|error| {
            warn!(path = %path.display(), %error, "A codec history is damaged; it is put aside and begun anew.");
            let mut aside = path.as_os_str().to_owned();
            aside.push(".damaged");
            if let Err(error) = fs::rename(path, aside) {
                warn!(path = %path.display(), %error, "The damaged codec history cannot be put aside.");
            }
        })
        .ok()
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        warn!(path = %path.display(), %error, "An outdated file of the codec history cannot be removed.");
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
