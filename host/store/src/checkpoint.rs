//! Makes recent messages into chunks and then shortens the log.
//!
//! All devices' chunks, their heads and the mark (up to which commit the log is now in chunks) become visible and
//! durable in one step of the engine. A crash before that step leaves the log as it was; a crash after it leaves
//! log records at or below the mark, which recovery does not read. So no message is lost or seen twice.

use std::collections::BTreeSet;

use fjall::PersistMode;

use crate::arrivals::Arrivals;
use crate::chunk::{Columns, Rows, pack};
use crate::coding::Reader;
use crate::error::{ReadError, Source, chain};
use crate::head::Head;
use crate::keys::{self, ChunkKey, MARK, prefix};
use crate::queue::State;
use crate::recent::Generation;
use crate::store::{Chore, Core};

/// Log records removed per batch: the commit thread waits while one is written.
const TRIM_RECORDS: usize = 512;
/// A device's messages may still be on their way for one commit after its deletion, so its series is looked
/// after until a later generation than the one of its deletion is in chunks.
const EPOCHS_UNTIL_FORGOTTEN: u32 = 2;

/// Up to where the log is in chunks.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Mark {
    pub(crate) commit: u64,
    pub(crate) epoch: u32,
}

pub(crate) fn read_mark(core: &Core) -> Result<Mark, ReadError> {
    let Some(mark) = core.chunks.get(MARK)? else { return Ok(Mark::default()) };
    let mut reader = Reader::new(&mark);
    Ok(Mark { commit: u64::from_be_bytes(reader.array()?), epoch: u32::from_be_bytes(reader.array()?) })
}

/// The checkpoint thread: one checkpoint whenever the commit thread asks for it, and the log is shortened.
pub(crate) fn run(core: &Core) {
    let mut trimmed = 0;
    let mut outcome =
        read_mark(core).map_err(Source::from).and_then(|mark| trim(core, &mut trimmed, mark.commit));
    while outcome.is_ok() {
        let chore = core.wait_for_chore();
        if core.is_closing() || core.queue.state() == State::Failed {
            break;
        }
        let last = match chore {
            Chore::Checkpoint => checkpoint(core),
            Chore::Trim => read_mark(core).map(|mark| mark.commit).map_err(Source::from),
        };
        outcome = last.and_then(|last| trim(core, &mut trimmed, last));
    }
    if let Err(error) = outcome {
        // The messages are safe in the log, but it would grow without end.
        let error = chain(error.as_ref());
        tracing::error!(%error, "A checkpoint failed; the store accepts nothing more.");
        core.fail();
    }
    core.recent.abandon();
}

/// Makes what is recent into chunks and returns the last commit that is now in chunks.
pub(crate) fn checkpoint(core: &Core) -> Result<u64, Source> {
    fold(core, &mut core.chunk_writer.lock())
}

/// The same for whoever holds the lock of those who write chunks.
pub(crate) fn fold(core: &Core, arrivals: &mut Arrivals) -> Result<u64, Source> {
    let Some(frozen) = core.recent.freeze() else { return Ok(read_mark(core)?.commit) };
    core.set_epoch(frozen.epoch + 1);
    // Chunks use definitions that are in the journal only: they must not be the more durable ones.
    core.db.persist(PersistMode::SyncData)?;
    let deleted = core.dictionary.deleted();
    write_chunks(core, &frozen, &deleted, arrivals)?;
    core.recent.thaw();
    core.counts.checkpoints.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    forget_deleted(core, frozen.epoch, &deleted);
    Ok(frozen.last)
}

fn write_chunks(
    core: &Core,
    frozen: &Generation,
    deleted: &[(u32, u32)],
    arrivals: &mut Arrivals,
) -> Result<(), Source> {
    let mut devices: BTreeSet<u32> = frozen.tails.keys().copied().collect();
    devices.extend(deleted.iter().map(|(device, _)| *device));
    let mut ingestion = core.chunks.start_ingestion()?;
    let mut mark = frozen.last.to_be_bytes().to_vec();
    mark.extend_from_slice(&frozen.epoch.to_be_bytes());
    // The engine wants ascending keys: the mark has the lowest, then come the devices, each with its head first.
    ingestion.write(MARK, mark)?;
    for device in devices {
        if core.dictionary.is_deleted(device) {
            for guard in core.chunks.prefix(keys::series(device)) {
                ingestion.write_tombstone(guard.key()?)?;
            }
            continue;
        }
        let mut rows = Rows::read_tail(frozen.bodies(device), &core.dictionary, Columns::All)?;
        rows.sort();
        arrivals.note(device, &rows);
        let old = core.chunks.get(keys::head(device))?;
        let mut head = old.as_deref().map(Head::read).transpose()?.unwrap_or_default();
        head.fold(&rows);
        let chunks = pack(&rows);
        head.span = chunks.iter().map(|chunk| chunk.span).fold(head.span, u64::max);
        ingestion.write(keys::head(device), head.to_bytes())?;
        for (index, chunk) in (0u32..).zip(chunks) {
            let key = ChunkKey { device, first: chunk.first, epoch: frozen.epoch, index };
            core.counts.chunk(chunk.bytes.len());
            ingestion.write(key.to_bytes(), chunk.bytes)?;
        }
    }
    ingestion.finish()?;
    Ok(())
}

/// Drops the notes about deleted devices of which nothing can come any more.
fn forget_deleted(core: &Core, epoch: u32, deleted: &[(u32, u32)]) {
    for (device, since) in deleted {
        if since + EPOCHS_UNTIL_FORGOTTEN <= epoch {
            let forgotten = core.records.remove(keys::numbered(prefix::DELETED, *device));
            match forgotten {
                Ok(()) => core.dictionary.forget_deleted(*device),
                // It stays noted and is tried again at the next checkpoint.
                Err(error) => tracing::warn!(%error, device, "A deleted device's note could not be removed."),
            }
        }
    }
}

/// Removes log records up to `last`.
fn trim(core: &Core, trimmed: &mut u64, last: u64) -> Result<(), Source> {
    loop {
        let mut batch = core.db.batch();
        for guard in core.log.range(trimmed.to_be_bytes()..=last.to_be_bytes()).take(TRIM_RECORDS) {
            batch.remove(&core.log, guard.key()?);
        }
        if batch.is_empty() {
            *trimmed = last;
            return Ok(());
        }
        batch.commit()?;
    }
}
