//! Plays a recorded run up to any moment and writes down what a disk would still have after a power cut then.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// One call of the writer, as `shim.c` recorded it.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) kind: u8,
    fd: i32,
    inode: u64,
    number: u64,
    bytes: Vec<u8>,
}

pub(crate) fn read(trace: &Path) -> Vec<Event> {
    let bytes = fs::read(trace).unwrap();
    let mut rest = bytes.as_slice();
    let mut events = Vec::new();
    while rest.len() >= 25 {
        let length = u32::from_le_bytes(rest[21..25].try_into().unwrap()) as usize;
        events.push(Event {
            kind: rest[0],
            fd: i32::from_le_bytes(rest[1..5].try_into().unwrap()),
            inode: u64::from_le_bytes(rest[5..13].try_into().unwrap()),
            number: u64::from_le_bytes(rest[13..21].try_into().unwrap()),
            bytes: rest[25..25 + length].to_vec(),
        });
        rest = &rest[25 + length..];
    }
    events
}

/// What survives of writes that were not synced.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Unsynced {
    /// Nothing.
    Forgotten,
    /// Some pages and not others, chosen by this seed: disks write in any order.
    Torn(u64),
}

const PAGE: usize = 4096;
const O_CREAT: u64 = 0o100;
const O_TRUNC: u64 = 0o1000;

/// Bytes up to the last one written, and the length: the engine's journal is 64 MiB of mostly nothing.
#[derive(Clone, Default, Debug)]
struct Contents {
    bytes: Vec<u8>,
    length: usize,
}

impl Contents {
    fn set_length(&mut self, length: usize) {
        self.bytes.truncate(length);
        self.length = length;
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        self.length = self.length.max(end);
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset..end].copy_from_slice(bytes);
    }
}

#[derive(Default, Debug)]
struct File {
    inode: u64,
    now: Contents,
    /// As of the last sync.
    durable: Contents,
    /// Pages written since.
    dirty: Vec<usize>,
}

type Shared = Arc<Mutex<File>>;
type Names = BTreeMap<PathBuf, Option<Shared>>;

/// The disk and the page cache above it. A name is durable once its folder, or the file itself, was synced after
/// the name was made: that much every journaling file system gives.
#[derive(Default)]
pub(crate) struct Disk {
    root: PathBuf,
    /// `None` is a folder.
    names: Names,
    durable_names: Names,
    open: BTreeMap<i32, PathBuf>,
    descriptors: BTreeMap<i32, Option<Shared>>,
}

impl Disk {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), ..Self::default() }
    }

    pub(crate) fn play(&mut self, event: &Event) {
        let path = || PathBuf::from(String::from_utf8(event.bytes.clone()).unwrap());
        match event.kind {
            b'O' => self.opened(event.fd, path(), event.number, event.inode),
            b'D' => {
                let copy = i32::try_from(event.number).unwrap();
                self.descriptors.insert(copy, self.descriptors[&event.fd].clone());
                self.open.insert(copy, self.open[&event.fd].clone());
            }
            b'C' => {
                self.open.remove(&event.fd);
                self.descriptors.remove(&event.fd);
            }
            b'W' => self.written(event.fd, usize::try_from(event.number).unwrap(), &event.bytes),
            b'T' => {
                if let Some(Some(file)) = self.descriptors.get(&event.fd) {
                    file.lock().unwrap().now.set_length(usize::try_from(event.number).unwrap());
                }
            }
            b'S' => self.synced(event.fd),
            b'M' => {
                self.names.insert(path(), None);
            }
            b'U' => {
                self.names.remove(&path());
            }
            b'R' => {
                let both = String::from_utf8(event.bytes.clone()).unwrap();
                let (from, to) = both.split_once('\0').unwrap();
                let file = self.names.remove(Path::new(from)).unwrap();
                self.names.insert(PathBuf::from(to), file);
            }
            other => panic!("unknown event {other}"),
        }
    }

    fn opened(&mut self, fd: i32, path: PathBuf, flags: u64, inode: u64) {
        self.notice_rename(&path, inode);
        if flags & O_CREAT != 0 {
            let fresh = || Some(Arc::new(Mutex::new(File { inode, ..File::default() })));
            self.names.entry(path.clone()).or_insert_with(fresh);
        }
        let file = self.names.get(&path).cloned().flatten();
        if let Some(file) = &file
            && flags & O_TRUNC != 0
        {
            file.lock().unwrap().now.set_length(0);
        }
        self.open.insert(fd, path);
        self.descriptors.insert(fd, file);
    }

    /// A file that is opened under a name that was not its own was renamed meanwhile, by a call that was not seen.
    fn notice_rename(&mut self, path: &Path, inode: u64) {
        let has =
            |file: &Option<Shared>| file.as_ref().is_some_and(|file| file.lock().unwrap().inode == inode);
        if self.names.get(path).is_some_and(|file| file.is_none() || has(file)) {
            return;
        }
        let before = self.names.iter().find(|(_, file)| has(file)).map(|(name, _)| name.clone());
        if let Some(before) = before {
            let file = self.names.remove(&before).unwrap();
            self.names.insert(path.to_owned(), file);
        }
    }

    fn written(&mut self, fd: i32, offset: usize, bytes: &[u8]) {
        let Some(Some(file)) = self.descriptors.get(&fd) else { panic!("a write to a folder") };
        let mut file = file.lock().unwrap();
        let end = offset + bytes.len();
        file.now.write(offset, bytes);
        file.dirty.extend(offset / PAGE..end.div_ceil(PAGE));
    }

    fn synced(&mut self, fd: i32) {
        let path = self.open[&fd].clone();
        match &self.descriptors[&fd] {
            Some(file) => {
                let mut contents = file.lock().unwrap();
                contents.durable = contents.now.clone();
                contents.dirty.clear();
                drop(contents);
                if self
                    .names
                    .get(&path)
                    .is_some_and(|named| named.as_ref().is_some_and(|named| Arc::ptr_eq(named, file)))
                {
                    self.durable_names.insert(path, Some(file.clone()));
                }
            }
            None => {
                let inside = |name: &PathBuf| name.parent() == Some(path.as_path());
                self.durable_names.retain(|name, _| !inside(name));
                let names = self.names.iter().filter(|(name, _)| inside(name));
                self.durable_names.extend(names.map(|(name, file)| (name.clone(), file.clone())));
            }
        }
    }

    /// Writes what is left after a power cut now to `to`.
    pub(crate) fn cut_power(&self, to: &Path, unsynced: Unsynced) {
        fs::create_dir_all(to).unwrap();
        for (name, file) in &self.durable_names {
            let Ok(inside) = name.strip_prefix(&self.root) else { continue };
            let target = to.join(inside);
            let Some(file) = file else {
                fs::create_dir_all(target).unwrap();
                continue;
            };
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            let file = file.lock().unwrap();
            let mut contents = file.durable.clone();
            if let Unsynced::Torn(seed) = unsynced {
                tear(&file, &mut contents, seed);
            }
            write_file(&target, &contents);
        }
    }
}

/// Lets some of the unsynced pages reach the disk, each whole.
fn tear(file: &File, contents: &mut Contents, seed: u64) {
    for page in &file.dirty {
        let lot = (*page as u64 + 1).wrapping_mul(seed | 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let pages = file.now.bytes.get(page * PAGE..).unwrap_or_default();
        if lot % 2 == 1 {
            contents.write(page * PAGE, &pages[..pages.len().min(PAGE)]);
        }
    }
}

fn write_file(path: &Path, contents: &Contents) {
    let mut file = fs::File::create(path).unwrap();
    file.write_all(&contents.bytes).unwrap();
    file.set_len(contents.length as u64).unwrap();
}

/// How many acknowledgements the writer had given by each event.
pub(crate) fn acknowledged(events: &[Event], acks: &Path) -> Vec<usize> {
    let mut fd = -1;
    let mut count = 0;
    let counted = events.iter().map(|event| {
        if event.kind == b'O' && event.bytes == acks.as_os_str().as_encoded_bytes() {
            fd = event.fd;
        } else if event.kind == b'W' && event.fd == fd {
            count += 1;
        }
        count
    });
    counted.collect()
}

/// How many of the calls the shim counts, and can make fail.
pub(crate) fn calls_that_can_fail(events: &[Event]) -> usize {
    let counted = |event: &&Event| match event.kind {
        b'O' => event.number & O_CREAT != 0,
        b'C' | b'D' => false,
        _ => true,
    };
    events.iter().filter(counted).count()
}
