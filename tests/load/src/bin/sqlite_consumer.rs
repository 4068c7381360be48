//! `sqlite-consumer`: what people put behind a broker today, written as well as it reasonably is.
//!
//! It subscribes at QoS 1, decodes each frame in native code, and inserts a row per data point into SQLite, a
//! thousand messages to a transaction, in WAL mode with full syncing. Device names and keys are small integers in
//! the table, as a careful author would have them.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::Parser;
use rumqttc::{Client, Connection, Event, MqttOptions, Packet, QoS};
use rusqlite::{Connection as Database, Transaction, params};
use wireglot_load::frame;

const BATCH_MESSAGES: usize = 1_000;
/// A batch that does not fill up is stored after this long.
const BATCH_AGE: Duration = Duration::from_millis(200);
const KEYS: [&str; 8] = ["seq", "version", "v1", "v2", "v3", "v4", "v5", "v6"];

#[derive(Parser)]
struct Flags {
    /// The broker's port on 127.0.0.1.
    #[arg(long)]
    port: u16,
    /// Filter to subscribe to; the third level of a topic is the device's name.
    #[arg(long, default_value = "v1/devices/+/telemetry")]
    filter: String,
    #[arg(long)]
    database: PathBuf,
    /// Where the number of stored messages is written after each commit.
    #[arg(long)]
    counter_file: PathBuf,
}

struct Message {
    device: String,
    payload: Vec<u8>,
}

fn main() -> Result<()> {
    let flags = Flags::parse();
    let mut options = MqttOptions::new("sqlite-consumer", "127.0.0.1", flags.port);
    options.set_inflight(100);
    let (client, connection) = Client::new(options, 100);
    client.subscribe(&flags.filter, QoS::AtLeastOnce)?;
    let (sender, receiver) = sync_channel(10 * BATCH_MESSAGES);
    let reader = std::thread::Builder::new().name("mqtt".into()).spawn(move || read(connection, &sender))?;
    let stored = store(&flags, &receiver);
    reader.join().ok().context("the reader panicked")??;
    stored
}

/// Hands messages over until the broker leaves.
fn read(mut connection: Connection, messages: &SyncSender<Message>) -> Result<()> {
    for event in connection.iter() {
        let Event::Incoming(Packet::Publish(publish)) = event? else { continue };
        let device = publish.topic.split('/').nth(2).context("a topic of another shape")?.to_owned();
        messages.send(Message { device, payload: publish.payload.to_vec() })?;
    }
    Ok(())
}

fn store(flags: &Flags, messages: &Receiver<Message>) -> Result<()> {
    let mut database = open(&flags.database)?;
    let mut devices = HashMap::new();
    let mut stored = 0;
    let mut batch = Vec::with_capacity(BATCH_MESSAGES);
    let mut since = Instant::now();
    loop {
        let over = match messages.recv_timeout(BATCH_AGE) {
            Ok(message) => {
                batch.push(message);
                false
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
        };
        if batch.len() == BATCH_MESSAGES || over || since.elapsed() >= BATCH_AGE {
            stored += batch.len();
            insert(&mut database, &mut devices, &mut batch)?;
            fs::write(&flags.counter_file, stored.to_string())?;
            since = Instant::now();
        }
        if over {
            return Ok(());
        }
    }
}

fn open(path: &PathBuf) -> Result<Database> {
    let database = Database::open(path)?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "FULL")?;
    database.execute_batch(
        "CREATE TABLE telemetry (device INTEGER, key INTEGER, ts INTEGER, value INTEGER,
         PRIMARY KEY (device, key, ts)) WITHOUT ROWID",
    )?;
    Ok(database)
}

fn insert(
    database: &mut Database,
    devices: &mut HashMap<String, i64>,
    batch: &mut Vec<Message>,
) -> Result<()> {
    if batch.is_empty() {
        return Ok(());
    }
    let transaction = database.transaction()?;
    insert_rows(&transaction, devices, batch)?;
    transaction.commit()?;
    batch.clear();
    Ok(())
}

fn insert_rows(
    transaction: &Transaction<'_>,
    devices: &mut HashMap<String, i64>,
    batch: &[Message],
) -> Result<()> {
    let mut statement = transaction.prepare_cached("INSERT OR REPLACE INTO telemetry VALUES (?, ?, ?, ?)")?;
    for message in batch {
        let next = devices.len() as i64;
        let device = *devices.entry(message.device.clone()).or_insert(next);
        let ts = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
        for (key, (_, value)) in (0_i64..).zip(decode(&message.payload)?) {
            statement.execute(params![device, key, ts, value])?;
        }
    }
    Ok(())
}

fn decode(payload: &[u8]) -> Result<Vec<(&'static str, i64)>> {
    let counter = frame::counter(payload).context("a frame that is too short")?;
    Ok(KEYS.iter().enumerate().map(|(i, key)| (*key, if i == 0 { i64::from(counter) } else { 1 })).collect())
}
