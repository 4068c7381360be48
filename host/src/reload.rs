//! What changes while the server runs: the codecs folder and the fleet file.
//!
//! An event of the file system is only a hint to look again, because editors rename, network file systems say nothing
//! and Kubernetes swaps symlinks: what counts is what a scan finds. Scans run one at a time, off the workers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{EventKind, RecommendedWatcher, RecursiveMode};
use notify_debouncer_full::{
    DebounceEventResult, DebouncedEvent, Debouncer, RecommendedCache, new_debouncer,
};
use tokio::sync::Notify;
use tracing::{info, warn};
use wireglot_codec::{CodecFolder, CodecTable};
use wireglot_device::Devices;
use wireglot_model::limits::CODEC_FILE_STABLE_MS;

use crate::fleet;

/// Events that come closer together than this are one hint.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// How soon a file that was still changing is looked at again; later than the scan itself asks for.
const UNSTABLE_RESCAN: Duration = Duration::from_millis(CODEC_FILE_STABLE_MS.unsigned_abs() + 10);

/// Watches a folder and everything that replaces it, as long as it lives.
pub(crate) struct Watch {
    hint: Arc<Notify>,
    /// What is watched has been replaced: the events of its successor are not heard.
    replaced: Arc<AtomicBool>,
    _debouncer: Option<Debouncer<RecommendedWatcher, RecommendedCache>>,
}

impl Watch {
    /// Watches `paths`; the parents as well, because a folder that is removed and made again is a new folder.
    pub(crate) fn new(paths: &[&Path]) -> Self {
        let hint = Arc::new(Notify::new());
        let ring = hint.clone();
        let replaced = Arc::new(AtomicBool::new(false));
        let replacement = replaced.clone();
        // As the events name them.
        let absolute = |path: &&Path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let watched: Vec<PathBuf> = paths.iter().map(absolute).collect();
        let debouncer = new_debouncer(DEBOUNCE, Some(DEBOUNCE), move |result: DebounceEventResult| {
            // Our own scans open and read files too: a hint of that would be one without end.
            let is_change = |event: &DebouncedEvent| match event.kind {
                EventKind::Access(kind) => {
                    kind == AccessKind::Close(AccessMode::Write)
                        && event.paths.iter().any(|path| concerns(path, &watched))
                }
                _ => event.paths.is_empty() || event.paths.iter().any(|path| concerns(path, &watched)),
            };
            let is_replacement = |event: &DebouncedEvent| {
                matches!(
                    event.kind,
                    EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
                ) && event.paths.iter().any(|path| watched.contains(path))
            };
            if result.as_ref().is_ok_and(|events| events.iter().any(is_replacement)) {
                replacement.store(true, Ordering::Release);
            }
            if result.is_err() || result.is_ok_and(|events| events.iter().any(is_change)) {
                ring.notify_one();
            }
        });
        let mut debouncer = match debouncer {
            Ok(debouncer) => debouncer,
            Err(error) => {
                warn!(%error, "File events are not to be had; changes are found by polling only.");
                return Self { hint, replaced, _debouncer: None };
            }
        };
        for path in paths {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            for watched in [*path, parent.unwrap_or(Path::new("."))] {
                if let Err(error) = debouncer.watch(watched, RecursiveMode::NonRecursive) {
                    warn!(path = %watched.display(), %error, "Not watched; changes are found by polling.");
                }
            }
        }
        Self { hint, replaced, _debouncer: Some(debouncer) }
    }

    /// Returns when something may have changed, and after `poll` at the latest.
    pub(crate) async fn turn(&self, poll: Duration) {
        drop(tokio::time::timeout(poll, self.hint.notified()).await);
    }
}

/// Whether a change at `path` may be one of what is watched: what else happens beside it is none. Names that begin with
/// two dots are what Kubernetes swaps.
fn concerns(path: &Path, watched: &[PathBuf]) -> bool {
    let is_swap = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".."));
    is_swap || watched.iter().any(|watched| path.starts_with(watched))
}

/// Scans the codecs folder at every hint and at every turn of the poll, until it is dropped.
pub(crate) async fn follow_codecs(folder: CodecFolder, devices: Devices, poll: Duration) {
    let mut watch = Watch::new(&[folder.path()]);
    let mut pause = poll;
    loop {
        let hinted = tokio::time::timeout(pause, watch.hint.notified()).await.is_ok();
        // A folder that was removed and made again needs a new watch. Mounts say nothing of that, so the poll makes one
        // in any case; and before the scan, so that what comes in between is either found or heard.
        if watch.replaced.load(Ordering::Acquire) || (!hinted && pause == poll) {
            watch = Watch::new(&[folder.path()]);
        }
        let settled = scan(&folder, &devices).await;
        pause = if settled { poll } else { UNSTABLE_RESCAN };
    }
}

/// Scans until nothing is unstable any more. For the start, before the first device connects.
pub(crate) async fn scan_until_stable(folder: &CodecFolder, devices: &Devices) {
    while !scan(folder, devices).await {
        tokio::time::sleep(UNSTABLE_RESCAN).await;
    }
}

/// One scan; `false` where a file was still changing.
async fn scan(folder: &CodecFolder, devices: &Devices) -> bool {
    let (folder, devices) = (folder.clone(), devices.clone());
    let now = wireglot_device::now();
    let scanned = tokio::task::spawn_blocking(move || {
        // First, so that no scan drops a version that a profile stays with.
        folder.table().keep_pins(devices.pinned_versions().into_keys());
        folder.scan(now, &|name| devices.is_codec_used(name))
    });
    match scanned.await {
        Ok(report) => report.pending == 0,
        Err(error) => {
            warn!(%error, "The scan of the codecs folder broke off; the next one tries again.");
            true
        }
    }
}

/// Applies the fleet file again whenever its text changes, until it is dropped.
pub(crate) async fn follow_fleet(path: PathBuf, devices: Devices, codecs: CodecTable, poll: Duration) {
    let watch = Watch::new(&[&path]);
    let mut applied = std::fs::read(&path).ok();
    loop {
        // The poll goes on beside the hints; either way the text decides.
        watch.turn(poll).await;
        let file = path.clone();
        let text = tokio::task::spawn_blocking(move || std::fs::read(file).ok()).await.ok().flatten();
        if text.is_none() || text == applied {
            continue;
        }
        applied = text;
        apply_fleet(&path, &devices, &codecs).await;
    }
}

async fn apply_fleet(path: &Path, devices: &Devices, codecs: &CodecTable) {
    let outcome = match fleet::read(path) {
        Ok(fleet) => fleet.apply(devices, codecs).await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(fleet::Applied { created, updated, unchanged }) => {
            info!(created, updated, unchanged, "The fleet file was applied.");
        }
        Err(error) => {
            warn!(error = format!("{error:#}"), "The fleet file was not applied; what was before stays.")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn is_hinted(watch: &Watch) -> bool {
        tokio::time::timeout(8 * DEBOUNCE, watch.hint.notified()).await.is_ok()
    }

    #[tokio::test]
    async fn only_changes_are_hints() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("codec.wasm");
        let watch = Watch::new(&[folder.path()]);
        std::fs::write(&file, "one").unwrap();
        assert!(is_hinted(&watch).await, "a new file");
        while is_hinted(&watch).await {}
        // What a scan does.
        std::fs::read(&file).unwrap();
        std::fs::read_dir(folder.path()).unwrap().for_each(drop);
        assert!(!is_hinted(&watch).await, "a scan would follow upon itself for ever");
        std::fs::write(&file, "two").unwrap();
        assert!(is_hinted(&watch).await, "a changed file");
        while is_hinted(&watch).await {}
        std::fs::write(folder.path().with_extension("log"), "beside it").unwrap();
        std::fs::remove_file(folder.path().with_extension("log")).unwrap();
        assert!(!is_hinted(&watch).await, "a file beside the folder");
        let swap = folder.path().with_file_name(format!("..data-{}", std::process::id()));
        std::fs::write(&swap, "a swap").unwrap();
        assert!(is_hinted(&watch).await, "a swap beside the folder, which may be a link");
        std::fs::remove_file(&swap).unwrap();
        while is_hinted(&watch).await {}
        std::fs::remove_file(&file).unwrap();
        assert!(is_hinted(&watch).await, "a removed file");
    }
}
