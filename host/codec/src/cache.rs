//! Compiled codecs on disk, so that a restart need not compile.
//!
//! wasmtime runs whatever native code it is given, bit-flipped or not, so an entry is used only when its digest, kept
//! in a file of its own, is the one it was written with. The folder belongs to the server alone.
//! An entry that does not fit is discarded and made again; nothing here can stop a codec from loading.

use std::fs::{self, Permissions};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};
use tracing::{debug, warn};
use wasmtime::Engine;
use wasmtime::component::Component;
use wireglot_model::CodecHash;

use crate::error::OpenError;
use crate::files::{make_private_folder, write_whole};

/// Looking through the folder costs more than a few entries too many.
const PRUNE_EVERY: usize = 64;

/// A folder of compiled codecs.
pub struct CompiledCache {
    folder: PathBuf,
    codecs_max: usize,
    written: AtomicUsize,
}

impl CompiledCache {
    /// Uses this folder, which is made where it is missing and closed to others. It keeps the `codecs_max` that were
    /// used last.
    pub fn open(folder: &Path, codecs_max: usize) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Folder { path: folder.to_owned(), source };
        make_private_folder(folder).map_err(failed)?;
        // An older installation may have left it open to others, who could then hand us native code.
        fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(failed)?;
        Ok(Self { folder: folder.to_owned(), codecs_max, written: AtomicUsize::new(0) })
    }

    /// The compiled component, if it is here and whole.
    pub(crate) fn get(&self, engine: &Engine, hash: &CodecHash) -> Option<Component> {
        let (code_path, digest_path) = self.paths(engine, hash);
        let code = match fs::read(&code_path) {
            Ok(code) => code,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                warn!(path = %code_path.display(), %error, "A compiled codec cannot be read; it is compiled again.");
                return None;
            }
        };
        let digest_fits = fs::read(&digest_path).is_ok_and(|digest| digest == digest_of(&code).as_bytes());
        let component =
            if digest_fits { deserialize(engine, &code) } else { Err("its digest differs".to_owned()) };
        component
            .inspect(|_| used_now(&code_path, &digest_path))
            .inspect_err(|problem| {
                warn!(path = %code_path.display(), problem, "A compiled codec is damaged; it is compiled again.");
                self.discard(&code_path);
                self.discard(&digest_path);
            })
            .ok()
    }

    /// Keeps a compiled component for the next start.
    pub(crate) fn put(&self, engine: &Engine, hash: &CodecHash, component: &Component) {
        let kept = component.serialize().map_err(|error| format!("{error:#}")).and_then(|code| {
            let (code_path, digest_path) = self.paths(engine, hash);
            // The digest goes last: without it the code is not used.
            write_whole(&code_path, &code)
                .and_then(|()| write_whole(&digest_path, digest_of(&code).as_bytes()))
                .map_err(|error| error.to_string())
        });
        if let Err(error) = kept {
            warn!(folder = %self.folder.display(), error, "A compiled codec cannot be kept; the next start compiles it again.");
        }
        if self.written.fetch_add(1, Ordering::Relaxed).is_multiple_of(PRUNE_EVERY) {
            self.prune();
        }
    }

    fn paths(&self, engine: &Engine, hash: &CodecHash) -> (PathBuf, PathBuf) {
        let mut compatibility = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut compatibility);
        let stem = format!("{hash}-{:016x}", compatibility.finish());
        (self.folder.join(format!("{stem}.cwasm")), self.folder.join(format!("{stem}.sha256")))
    }

    fn discard(&self, path: &Path) {
        if let Err(error) = fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            warn!(path = %path.display(), %error, "A damaged file of the codec cache cannot be removed.");
        }
    }

    /// Removes the oldest entries beyond the bound.
    fn prune(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let mut files: Vec<(SystemTime, PathBuf)> = entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                Some((entry.metadata().ok()?.modified().ok()?, entry.path()))
            })
            .collect();
        let surplus = files.len().saturating_sub(2 * self.codecs_max);
        files.sort();
        files.iter().take(surplus).for_each(|(_, path)| self.discard(path));
    }
}

/// The oldest entries go first, and what is still in use is not old. A failure costs a compilation at worst.
fn used_now(code_path: &Path, digest_path: &Path) {
    for path in [code_path, digest_path] {
        if let Err(error) = fs::File::open(path).and_then(|file| file.set_modified(SystemTime::now())) {
            debug!(path = %path.display(), %error, "A compiled codec cannot be marked as used.");
        }
    }
}

fn digest_of(code: &[u8]) -> String {
    hex::encode(Sha256::digest(code))
}

/// Takes compiled code in, which must be our own: from the cache with its digest checked, or from our own program.
#[expect(unsafe_code, reason = "native code is run as it is; the callers know where it is from")]
pub(crate) fn deserialize(engine: &Engine, code: &[u8]) -> Result<Component, String> {
    // SAFETY: `code` is byte for byte what wasmtime gave us. From the cache: its SHA-256 is the one that was stored
    // apart when it was written, in a folder that only this user can write. From `compiler.rs`: it came over a pipe
    // from this very program. wasmtime itself checks that version and settings fit this engine.
    unsafe { Component::deserialize(engine, code) }.map_err(|error| format!("{error:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: usize = 100;

    #[test]
    fn the_oldest_entries_go_and_those_in_use_stay() {
        let folder = tempfile::tempdir().unwrap();
        let cache = CompiledCache::open(folder.path(), KEPT).unwrap();
        let path = |entry: usize, kind: &str| folder.path().join(format!("{entry}.{kind}"));
        let old = SystemTime::now() - std::time::Duration::from_secs(3_600);
        for entry in 0..KEPT + 10 {
            for kind in ["cwasm", "sha256"] {
                let file = fs::File::create(path(entry, kind)).unwrap();
                file.set_modified(old + std::time::Duration::from_millis(entry as u64)).unwrap();
            }
        }
        used_now(&path(0, "cwasm"), &path(0, "sha256"));
        cache.prune();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2 * KEPT);
        assert!(path(0, "cwasm").exists() && path(0, "sha256").exists());
        assert!(!path(1, "cwasm").exists() && !path(10, "sha256").exists() && path(11, "cwasm").exists());
    }
}
