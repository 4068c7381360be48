//! Reading one file of a folder that others write to: nothing in it may block, surprise, or grow without bound.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// What tells a file's content apart without reading it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct FileId {
    pub(crate) bytes: u64,
    device: u64,
    inode: u64,
    modified_s: i64,
    modified_ns: i64,
    /// Moves with every change of content or permission, also where somebody sets the time of modification back.
    changed: (i64, i64),
}

impl FileId {
    /// Follows links, as Kubernetes lays config maps out with them; refuses what is not a regular file, because
    /// opening a pipe would wait for its writer.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        Self::from(&std::fs::metadata(path)?)
    }

    fn from(metadata: &Metadata) -> io::Result<Self> {
        if !metadata.is_file() {
            let kind = if metadata.is_dir() { "it is a folder" } else { "it is not a regular file" };
            return Err(io::Error::other(kind));
        }
        Ok(Self {
            bytes: metadata.len(),
            device: metadata.dev(),
            inode: metadata.ino(),
            modified_s: metadata.mtime(),
            modified_ns: metadata.mtime_nsec(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    pub(crate) fn modified_ms(&self) -> i64 {
        self.modified_s.saturating_mul(1_000).saturating_add(self.modified_ns / 1_000_000)
    }
}

pub(crate) enum Reading {
    Whole(Vec<u8>),
    /// The file is not, or no longer, the one that was identified.
    Changed,
}

/// Reads exactly the file that `id` was taken of.
pub(crate) fn read_stable(path: &Path, id: &FileId, bytes_max: u64) -> io::Result<Reading> {
    // A pipe may have taken the file's place since it was identified: without O_NONBLOCK `open` would wait on it.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let unchanged = |file: &File| -> io::Result<bool> { Ok(FileId::from(&file.metadata()?)? == *id) };
    if !unchanged(&file)? {
        return Ok(Reading::Changed);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(id.bytes.min(bytes_max)).unwrap_or(0));
    (&file).take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != id.bytes || !unchanged(&file)? {
        return Ok(Reading::Changed);
    }
    Ok(Reading::Whole(bytes))
}
