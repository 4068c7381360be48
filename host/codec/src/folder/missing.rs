//! Codecs without a good file: what served before a start is taken from the kept versions, and what lost its file is
//! retired or serves on.

use std::collections::BTreeSet;
use std::ffi::OsString;

use tracing::{info, warn};
use wireglot_model::{Actor, CodecHash, CodecName, CodecStamp, Timestamp};

use super::{Scan, scripts};
use crate::error::LoadError;
use crate::history::{CodecOutcome, HistoryEntry, HistoryEvent};
use crate::script::SCRIPT_ENGINE;

impl Scan<'_> {
    /// At the first scan: what served before this start and has no good file now serves again from its kept copy.
    pub(super) fn restore(&mut self, names: &BTreeSet<OsString>, in_use: &dyn Fn(&CodecName) -> bool) {
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

    pub(super) fn retire_missing(&mut self, names: &BTreeSet<OsString>, in_use: &dyn Fn(&CodecName) -> bool) {
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
