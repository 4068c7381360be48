//! Mends the end of the engine's journal after a power cut.
//!
//! A disk writes the pages of an unfinished commit in any order, so its beginning and end may be there without its
//! middle. The engine takes that for damage and does not open. It is damage only if the commit was ever durable, and
//! the journal tells: a commit keeps the journal locked until its sync has returned, so whatever was written behind
//! it proves that it was durable. Only an end that nothing proves is cut off, and it is kept in a file beside.
//!
//! Not here: batches that are visibly unfinished. The engine cuts those off by itself.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use crate::coding::Reader;
use crate::error::ReadError;
use crate::store::Durability;

/// As the engine (format 3) writes them.
mod entry {
    pub(super) const START: u8 = 1;
    pub(super) const ITEM: u8 = 2;
    pub(super) const END: u8 = 3;
    pub(super) const CLEAR: u8 = 4;
    pub(super) const TRAILER: [u8; 4] = *b"FJL\x03";
    pub(super) const TOMBSTONE: u8 = 1;
}

/// One batch of the journal.
struct JournalBatch {
    start: usize,
    is_whole: bool,
    /// It writes something, so it came from the commit thread; batches that only remove trim the log.
    is_commit: bool,
}

/// Cuts a torn end off the newest journal. `false`: there is none, and the engine's complaint stands.
pub(crate) fn mend(dir: &Path, durability: Durability) -> io::Result<bool> {
    let Some(path) = newest_journal(dir)? else { return Ok(false) };
    let bytes = std::fs::read(&path)?;
    let Some(cut) = torn_end(&bytes, durability) else { return Ok(false) };
    let (_, torn) = bytes.split_at(cut);
    let written = torn.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let kept = path.with_extension("jnl.torn");
    std::fs::write(&kept, torn.get(..written).unwrap_or_default())?;
    File::open(&kept)?.sync_all()?;
    let journal = OpenOptions::new().write(true).open(&path)?;
    journal.set_len(cut as u64)?;
    journal.sync_all()?;
    tracing::warn!(bytes = written, kept = %kept.display(), "An unfinished commit was cut off the journal.");
    Ok(true)
}

fn newest_journal(dir: &Path) -> io::Result<Option<PathBuf>> {
    let mut newest = None;
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let number =
            path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jnl")?.parse::<u64>().ok());
        newest = newest.max(number.map(|number| (number, path)));
    }
    Ok(newest.map(|(_, path)| path))
}

/// Where the torn end begins, if the first bad batch was never durable.
fn torn_end(journal: &[u8], durability: Durability) -> Option<usize> {
    let batches = read_batches(journal);
    let bad = batches.iter().position(|batch| !batch.is_whole)?;
    let cut = batches.get(bad)?.start;
    let mut end = batches.iter().skip(bad);
    let unfinished = end.find(|batch| batch.is_commit);
    let proven = unfinished.is_some() && end.any(|batch| batch.is_whole);
    match durability {
        Durability::Commit => (!proven).then_some(cut),
        // Here a commit is not synced before the next one is written: what follows proves nothing.
        Durability::IntervalMs(_) | Durability::Os => Some(cut),
    }
}

/// Every batch that has a beginning and an end, whole or not.
fn read_batches(journal: &[u8]) -> Vec<JournalBatch> {
    let mut batches = Vec::new();
    let mut reader = Reader::new(journal);
    loop {
        let start = journal.len() - reader.rest().len();
        match read_batch(&mut reader, start) {
            Ok(Some(batch)) => batches.push(batch),
            Ok(None) | Err(_) => return batches,
        }
    }
}

fn read_batch(reader: &mut Reader<'_>, start: usize) -> Result<Option<JournalBatch>, ReadError> {
    if reader.byte()? != entry::START {
        return Ok(None);
    }
    let mut expected = u32::from_le_bytes(reader.array()?);
    let _sequence: [u8; 8] = reader.array()?;
    let items = reader.rest();
    let mut is_commit = false;
    loop {
        let covered = items.len() - reader.rest().len();
        match reader.byte()? {
            entry::ITEM => {
                is_commit |= read_item(reader)? != entry::TOMBSTONE;
                expected = expected.wrapping_sub(1);
            }
            entry::CLEAR => {
                reader.take(8)?;
                expected = expected.wrapping_sub(1);
            }
            entry::END => {
                let checksum = u64::from_le_bytes(reader.array()?);
                if reader.array::<4>()? != entry::TRAILER {
                    return Ok(None);
                }
                let found = xxhash_rust::xxh3::xxh3_64(items.get(..covered).unwrap_or_default());
                return Ok(Some(JournalBatch {
                    start,
                    is_whole: found == checksum && expected == 0,
                    is_commit,
                }));
            }
            _ => return Ok(None),
        }
    }
}

/// Passes over an item and returns what it does to its key.
fn read_item(reader: &mut Reader<'_>) -> Result<u8, ReadError> {
    let kind = reader.byte()?;
    let _compression = reader.byte()?;
    let _keyspace: [u8; 8] = reader.array()?;
    let key = u16::from_le_bytes(reader.array()?);
    let _length: [u8; 4] = reader.array()?;
    let stored = u32::from_le_bytes(reader.array()?);
    reader.take(usize::from(key))?;
    reader.take(stored as usize)?;
    Ok(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each batch of a journal is: a commit or a trimming, whole or torn in its middle.
    #[derive(Clone, Copy)]
    enum Kind {
        Commit,
        TornCommit,
        Trim,
        TornTrim,
    }
    use Kind::{Commit, TornCommit, TornTrim, Trim};

    fn journal(kinds: &[Kind]) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = Vec::new();
        let mut starts = Vec::new();
        for kind in kinds {
            starts.push(bytes.len());
            bytes.extend_from_slice(&[entry::START, 1, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9]);
            let tombstone = u8::from(matches!(kind, Trim | TornTrim));
            let mut item =
                vec![entry::ITEM, tombstone, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 0, 0, 0, 2, 0, 0, 0];
            item.extend_from_slice(b"kvv");
            let checksum = xxhash_rust::xxh3::xxh3_64(&item);
            if matches!(kind, TornCommit | TornTrim) {
                *item.last_mut().unwrap() = 0;
            }
            bytes.extend_from_slice(&item);
            bytes.push(entry::END);
            bytes.extend_from_slice(&checksum.to_le_bytes());
            bytes.extend_from_slice(&entry::TRAILER);
        }
        bytes.resize(bytes.len() + 1_000, 0);
        (bytes, starts)
    }

    /// The number of the batch from which on the journal is cut.
    #[track_caller]
    fn check(kinds: &[Kind], durability: Durability, cut: Option<usize>) {
        let (bytes, starts) = journal(kinds);
        assert_eq!(torn_end(&bytes, durability), cut.map(|batch| starts[batch]));
    }

    #[test]
    fn only_what_nothing_proves_is_cut_off() {
        check(&[], Durability::Commit, None);
        check(&[Commit, Trim, Commit], Durability::Commit, None);
        check(&[Commit, TornCommit], Durability::Commit, Some(1));
        check(&[Commit, TornTrim], Durability::Commit, Some(1));
        check(&[Commit, TornTrim, Commit], Durability::Commit, Some(1));
        check(&[Commit, TornTrim, Trim, TornCommit], Durability::Commit, Some(1));
    }

    #[test]
    fn damage_to_what_was_durable_stays_an_error() {
        check(&[TornCommit, Commit], Durability::Commit, None);
        check(&[TornCommit, Trim], Durability::Commit, None);
        check(&[TornTrim, Commit, Commit], Durability::Commit, None);
        check(&[TornTrim, Commit, Trim], Durability::Commit, None);
    }

    #[test]
    fn weaker_durability_proves_nothing() {
        check(&[Commit, TornCommit, Commit, Commit], Durability::Os, Some(1));
        check(&[Commit, TornCommit, Commit, Commit], Durability::IntervalMs(9), Some(1));
    }
}
