//! Opening: the folder and its lock, the format, the dictionary, and the log above the last checkpoint.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use fjall::config::{BlockSizePolicy, CompressionPolicy};
use fjall::{CompressionType, Database, KeyspaceCreateOptions, PersistMode};
use wireglot_model::DeviceId;

use crate::coding::Reader;
use crate::dead;
use crate::error::{OpenError, ReadError};
use crate::files::Files;
use crate::keys::{self, FORMAT, prefix};
use crate::records::parse;
use crate::store::{Core, Opened, StoreConfig};

/// The folder of what is too large for a record, inside the engine's own, which looks at names that it knows only.
const FILES: &str = "files";
/// The smallest that the engine allows. What it replays at the next start is about this much.
const JOURNAL_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// A memtable is written out at this size, which also lets the engine drop old journals.
const MEMTABLE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// That of the log: large enough that most of it has become chunks, and need not be written, by then.
const LOG_MEMTABLE_BYTES_MAX: u64 = 48 * 1024 * 1024;
/// A chunk is about 1 KiB: larger blocks than the engine's usual 4 KiB hold more neighbours of one device.
const CHUNK_BLOCK_BYTES: u32 = 16 * 1024;
/// One worker flushes and compacts. With two, the engine keeps one of them spinning while the other compacts.
const ENGINE_THREADS: usize = 1;

/// Opens the folder and returns the store with the sequence number of the next log record.
pub(crate) fn open(dir: &Path, config: StoreConfig) -> Result<(Arc<Core>, u64), OpenError> {
    make_private(dir)?;
    let opened = open_mended(dir, &config)?;
    let damaged = |error: ReadError| match error {
        ReadError::Engine(source) => OpenError::Engine { dir: dir.to_owned(), source },
        ReadError::Damaged { what } => OpenError::Damaged { dir: dir.to_owned(), what: what.to_owned() },
        ReadError::TooMuchAtOneTime => unreachable!("opening reads no histories"),
    };
    let files = Files::open_folder(dir.join(FILES), config.file_bytes_max, config.files_bytes_max)
        .map_err(|source| OpenError::Folder { dir: dir.join(FILES), source })?;
    let core = Core::new(config, opened, files);
    check_format(&core, dir)?;
    restore_dictionary(&core).map_err(damaged)?;
    restore_graveyard(&core).map_err(damaged)?;
    let next = replay(&core).map_err(damaged)?;
    Ok((Arc::new(core), next))
}

fn make_private(dir: &Path) -> Result<(), OpenError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .and_then(|()| std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)))
        .map_err(|source| OpenError::Folder { dir: dir.to_owned(), source })
}

fn open_mended(dir: &Path, config: &StoreConfig) -> Result<Opened, OpenError> {
    match open_engine(dir, config) {
        Err(error @ fjall::Error::JournalRecovery(_)) => {
            let mended = crate::journal::mend(dir, config.durability);
            let mended = mended.map_err(|source| OpenError::Folder { dir: dir.to_owned(), source })?;
            if !mended {
                return Err(explain(dir, error));
            }
            open_engine(dir, config).map_err(|error| explain(dir, error))
        }
        opened => opened.map_err(|error| explain(dir, error)),
    }
}

fn open_engine(dir: &Path, config: &StoreConfig) -> Result<Opened, fjall::Error> {
    let db = Database::builder(dir)
        .manual_journal_persist(true)
        // Messages are packed already, and the journal is short-lived.
        .journal_compression(CompressionType::None)
        .max_journaling_size(JOURNAL_BYTES_MAX)
        .cache_size(config.cache_bytes)
        .worker_threads(ENGINE_THREADS)
        .open()?;
    let small = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES_MAX);
    let log = || {
        KeyspaceCreateOptions::default()
            .max_memtable_size(LOG_MEMTABLE_BYTES_MAX)
            .data_block_compression_policy(CompressionPolicy::disabled())
    };
    let chunks = || {
        small()
            .data_block_size_policy(BlockSizePolicy::all(CHUNK_BLOCK_BYTES))
            .data_block_compression_policy(CompressionPolicy::all(CompressionType::Lz4))
    };
    Ok(Opened {
        records: db.keyspace(keys::RECORDS, small)?,
        log: db.keyspace(keys::LOG, log)?,
        chunks: db.keyspace(keys::CHUNKS, chunks)?,
        dead: db.keyspace(keys::DEAD, small)?,
        raw: db.keyspace(keys::RAW, chunks)?,
        db,
    })
}

fn explain(dir: &Path, error: fjall::Error) -> OpenError {
    let dir = dir.to_owned();
    match error {
        fjall::Error::Locked => OpenError::InUse { dir },
        fjall::Error::InvalidVersion(version) => {
            OpenError::UnknownFormat { dir, found: format!("of another engine ({version:?})"), known: FORMAT }
        }
        error => OpenError::Engine { dir, source: Box::new(error) },
    }
}

/// A new folder gets the format record; an unknown format is refused before anything else is read.
fn check_format(core: &Core, dir: &Path) -> Result<(), OpenError> {
    let engine = |error: fjall::Error| OpenError::Engine { dir: dir.to_owned(), source: Box::new(error) };
    let found = core.records.get([prefix::FORMAT]).map_err(engine)?;
    let found = match found {
        Some(found) => found,
        None if core.records.is_empty().map_err(engine)? => {
            core.records.insert([prefix::FORMAT], FORMAT.to_be_bytes()).map_err(engine)?;
            return core.db.persist(PersistMode::SyncAll).map_err(engine);
        }
        None => return Err(OpenError::Damaged { dir: dir.to_owned(), what: "no format record".to_owned() }),
    };
    if *found == FORMAT.to_be_bytes() {
        return Ok(());
    }
    let number = <[u8; 4]>::try_from(&*found).map(u32::from_be_bytes);
    let found = number.map_or_else(|_| "unknown".to_owned(), |number| number.to_string());
    Err(OpenError::UnknownFormat { dir: dir.to_owned(), found, known: FORMAT })
}

fn restore_dictionary(core: &Core) -> Result<(), ReadError> {
    let dictionary = &core.dictionary;
    core.each(prefix::KEY, |key, name| {
        let name =
            std::str::from_utf8(name).map_err(|_| ReadError::Damaged { what: "a key is not UTF-8" })?;
        dictionary.restore_key(keys::read_numbered(key)?, name)
    })?;
    core.each(prefix::SHAPE, |key, shape| dictionary.restore_shape(keys::read_numbered(key)?, shape))?;
    core.each(prefix::STAMP, |key, stamp| {
        dictionary.restore_stamp(keys::read_numbered(key)?, parse(stamp)?)
    })?;
    core.each(prefix::NEXT_DEVICE, |_, number| {
        dictionary.restore_next_device(u32::from_be_bytes(Reader::new(number).array()?));
        Ok(())
    })?;
    core.each(prefix::DELETED, |key, _| {
        dictionary.restore_deleted(keys::read_numbered(key)?);
        Ok(())
    })?;
    core.each(prefix::DEPARTED, |key, _| {
        let device = keys::owner(key).ok_or(ReadError::Damaged { what: "the note of a deleted device" })?;
        core.departed.note(device);
        Ok(())
    })?;
    core.each(prefix::DEVICE, |key, record| {
        let mut id = Reader::new(key);
        id.byte()?;
        let id = DeviceId(uuid::Uuid::from_bytes(id.array()?));
        dictionary.restore_device(id, u32::from_be_bytes(Reader::new(record).array()?));
        Ok(())
    })
}

fn restore_graveyard(core: &Core) -> Result<(), ReadError> {
    let mut graveyard = core.graveyard.lock();
    for guard in core.dead.prefix([prefix::DEAD_FACTS]) {
        let (key, facts) = guard.into_inner()?;
        graveyard.restore(dead::decode_facts(keys::read_sequenced(&key)?, &facts)?);
    }
    Ok(())
}

/// Reads back what is in the log and not yet in chunks.
fn replay(core: &Core) -> Result<u64, ReadError> {
    let mark = crate::checkpoint::read_mark(core)?;
    core.recent.restore(mark.epoch + 1, mark.commit);
    core.set_epoch(mark.epoch + 1);
    let mut next = mark.commit + 1;
    for guard in core.log.range(next.to_be_bytes()..) {
        let (key, record) = guard.into_inner()?;
        let commit =
            <[u8; 8]>::try_from(&*key).map_err(|_| ReadError::Damaged { what: "the key of a log record" })?;
        next = u64::from_be_bytes(commit);
        core.recent.absorb(next, std::iter::once(&*record))?;
        next += 1;
    }
    Ok(next)
}
