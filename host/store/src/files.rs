//! Large files beside the records: written whole, synced and renamed before anybody hears of them, then never changed.
//!
//! A record names its file, and is committed after the file is durable; so a crash leaves at most a file without a
//! record, which the next start removes (`retain`). All calls may wait for the disk: never call them on a worker.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use uuid::Uuid;

/// The ending of a file that is not whole yet.
const PART: &str = "part";

/// The files of a store. Clones are handles of the same folder.
#[derive(Clone)]
pub struct Files(Arc<Folder>);

struct Folder {
    path: PathBuf,
    file_bytes_max: u64,
    bytes_max: u64,
    /// Of all files, those that are being written among them.
    bytes: AtomicU64,
    /// Those that somebody reads: one descriptor for all of them.
    open: Mutex<HashMap<Uuid, Weak<StoredFile>>>,
}

/// A file that is being read. It stays readable after it was removed.
#[derive(Debug)]
pub struct StoredFile {
    file: File,
}

/// A file that is being written. What is not kept goes with it.
pub struct FileDraft {
    folder: Arc<Folder>,
    id: Uuid,
    file: File,
    bytes: u64,
    is_kept: bool,
}

/// Why a file was not written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("the file is larger than {max} bytes ('ota_package_mib_max')")]
    TooLarge { max: u64 },
    #[error(
        "all files together would be larger than {max} bytes ('ota_packages_mib_max'): delete some first"
    )]
    Full { max: u64 },
    #[error("the file cannot be written")]
    Disk(#[from] io::Error),
}

impl Files {
    pub(crate) fn open_folder(path: PathBuf, file_bytes_max: u64, bytes_max: u64) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        let mut bytes = 0;
        for entry in std::fs::read_dir(&path)? {
            let entry = entry?;
            if entry.path().extension().is_some_and(|ending| ending == PART) {
                std::fs::remove_file(entry.path())?;
            } else {
                bytes += entry.metadata()?.len();
            }
        }
        let (bytes, open) = (AtomicU64::new(bytes), Mutex::default());
        Ok(Self(Arc::new(Folder { path, file_bytes_max, bytes_max, bytes, open })))
    }

    /// Begins a new file.
    pub fn draft(&self) -> Result<FileDraft, FileError> {
        let (folder, id) = (self.0.clone(), Uuid::new_v4());
        let path = folder.part(id);
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        Ok(FileDraft { folder, id, file, bytes: 0, is_kept: false })
    }

    /// A file for reading; whoever else reads it shares it.
    pub fn read(&self, id: Uuid) -> io::Result<Arc<StoredFile>> {
        let mut open = self.0.open.lock();
        if let Some(file) = open.get(&id).and_then(Weak::upgrade) {
            return Ok(file);
        }
        open.retain(|_, file| file.strong_count() > 0);
        let file = Arc::new(StoredFile { file: File::open(self.0.whole(id))? });
        open.insert(id, Arc::downgrade(&file));
        Ok(file)
    }

    /// Removes a file. Whoever reads it reads on.
    pub fn remove(&self, id: Uuid) -> io::Result<()> {
        self.0.remove(&self.0.whole(id))
    }

    /// Removes every file that is not among `known`, and says how many there were.
    pub fn retain(&self, known: &HashSet<Uuid>) -> io::Result<usize> {
        let mut removed = 0;
        for entry in std::fs::read_dir(&self.0.path)? {
            let path = entry?.path();
            let id = path.file_name().and_then(|name| name.to_str()?.parse().ok());
            if !id.is_some_and(|id| known.contains(&id)) {
                self.0.remove(&path)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }
}

impl Folder {
    fn whole(&self, id: Uuid) -> PathBuf {
        self.path.join(id.to_string())
    }

    fn part(&self, id: Uuid) -> PathBuf {
        self.path.join(format!("{id}.{PART}"))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let bytes = match std::fs::metadata(path) {
            Ok(facts) => facts.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        std::fs::remove_file(path)?;
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn reserve(&self, bytes: u64) -> Result<(), FileError> {
        let grown = |now: u64| now.checked_add(bytes).filter(|sum| *sum <= self.bytes_max);
        let reserved = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown);
        reserved.map(drop).map_err(|_| FileError::Full { max: self.bytes_max })
    }
}

impl StoredFile {
    /// Reads the bytes from `offset` on, as many as `into` holds; fewer are an error.
    pub fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(into, offset)
    }
}

impl FileDraft {
    /// Adds bytes at the end.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        let more = bytes.len() as u64;
        if self.bytes + more > self.folder.file_bytes_max {
            return Err(FileError::TooLarge { max: self.folder.file_bytes_max });
        }
        self.folder.reserve(more)?;
        self.bytes += more;
        self.file.write_all(bytes)?;
        Ok(())
    }

    /// How many there are.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// All that was written, from the beginning.
    pub fn contents(&mut self) -> io::Result<&mut File> {
        self.file.rewind()?;
        Ok(&mut self.file)
    }

    /// Makes the file durable, and gives its name.
    pub fn keep(mut self) -> Result<Uuid, FileError> {
        self.file.sync_all()?;
        std::fs::rename(self.folder.part(self.id), self.folder.whole(self.id))?;
        let synced = File::open(&self.folder.path).and_then(|folder| folder.sync_all());
        if let Err(error) = synced {
            std::fs::rename(self.folder.whole(self.id), self.folder.part(self.id))?;
            return Err(error.into());
        }
        self.is_kept = true;
        Ok(self.id)
    }
}

impl Drop for FileDraft {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        self.folder.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        if let Err(error) = std::fs::remove_file(self.folder.part(self.id)) {
            tracing::warn!(%error, "A file that was not kept cannot be removed; the next start does it.");
        }
    }
}

const _: fn() = || {
    fn crosses_threads<T: Send + Sync>() {}
    crosses_threads::<Files>();
};

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn files(folder: &Path) -> Files {
        Files::open_folder(folder.join("files"), 10, 15).unwrap()
    }

    fn kept(files: &Files, bytes: &[u8]) -> Uuid {
        let mut draft = files.draft().unwrap();
        draft.write(bytes).unwrap();
        draft.keep().unwrap()
    }

    #[test]
    fn a_file_is_there_as_a_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path());
        let mut draft = files.draft().unwrap();
        draft.write(b"0123").unwrap();
        draft.write(b"4567").unwrap();
        let mut read = Vec::new();
        draft.contents().unwrap().read_to_end(&mut read).unwrap();
        assert_eq!((read.as_slice(), draft.bytes()), (&b"01234567"[..], 8));
        drop(draft);
        assert_eq!(files.bytes(), 0);
        assert_eq!(std::fs::read_dir(folder.path().join("files")).unwrap().count(), 0);
        let id = kept(&files, b"01234567");
        let mut part = [0; 3];
        files.read(id).unwrap().read_at(&mut part, 5).unwrap();
        assert_eq!(&part, b"567");
        assert!(files.read(id).unwrap().read_at(&mut part, 6).is_err(), "beyond the end");
    }

    #[test]
    fn sizes_are_bounded_each_and_together() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path());
        let mut draft = files.draft().unwrap();
        draft.write(&[0; 10]).unwrap();
        assert!(matches!(draft.write(&[0]), Err(FileError::TooLarge { max: 10 })));
        let first = draft.keep().unwrap();
        let mut second = files.draft().unwrap();
        second.write(&[0; 5]).unwrap();
        assert!(matches!(second.write(&[0]), Err(FileError::Full { max: 15 })));
        files.remove(first).unwrap();
        second.write(&[0]).unwrap();
        files.remove(first).unwrap();
        assert_eq!(files.bytes(), 6);
    }

    #[test]
    fn a_file_is_read_to_its_end_although_it_was_removed() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path());
        let id = kept(&files, b"01234567");
        let reader = files.read(id).unwrap();
        assert!(Arc::ptr_eq(&reader, &files.read(id).unwrap()), "one descriptor for all readers");
        files.remove(id).unwrap();
        let mut part = [0; 8];
        reader.read_at(&mut part, 0).unwrap();
        assert_eq!(&part, b"01234567");
        drop(reader);
        assert!(files.read(id).is_err());
    }

    #[test]
    fn a_start_removes_what_nobody_knows() {
        let folder = tempfile::tempdir().unwrap();
        let (known, unknown) = {
            let files = files(folder.path());
            (kept(&files, b"known"), kept(&files, b"unknown"))
        };
        std::fs::write(folder.path().join("files").join(format!("{unknown}.{PART}")), b"cut off").unwrap();
        let files = files(folder.path());
        assert_eq!(files.bytes(), 12);
        assert_eq!(files.retain(&HashSet::from([known])).unwrap(), 1);
        assert_eq!(files.bytes(), 5);
        assert!(files.read(known).is_ok() && files.read(unknown).is_err());
    }
}
