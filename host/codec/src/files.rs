//! Small files written whole: a reader sees the old content or the new, also after a crash.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// Makes a folder, and those above it, that only the server's user can enter.
pub(crate) fn make_private_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Writes beside the target, syncs, and renames over it.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = hidden_beside(path, "part")?;
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    if let Err(error) = written.and_then(|()| fs::rename(&temporary, path)) {
        // The first error is the one to tell; what is left behind starts with a dot and is written over next time.
        return fs::remove_file(&temporary)
            .map_or(Err(io::Error::new(error.kind(), error.to_string())), |()| Err(error));
    }
    match path.parent() {
        // The rename itself must survive a crash too.
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// A hidden name in the same folder, so that a rename stays within one file system and no scan reads it.
pub(crate) fn hidden_beside(path: &Path, ending: &str) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".");
    hidden.push(ending);
    Ok(path.with_file_name(hidden))
}
