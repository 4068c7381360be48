//! Devices that fetch the same package in chunks, all at once, each comparing what it gets with the file.
//!
//! One thread for each device, as a device does one thing after the other: the next chunk is asked for when the one
//! before is there.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::account;
use crate::fleet::{Names, introduce};
use crate::wire::{self, Connect, Version, kind};

/// How often the server's memory is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Longer than a chunk takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who fetches what.
pub struct Plan<'a> {
    pub address: SocketAddr,
    pub devices: usize,
    /// User name and client id; `{}` stands for the number of the device, from 0.
    pub name: String,
    /// What every device has to get.
    pub file: &'a [u8],
    pub chunk_bytes: usize,
    /// The server, whose memory is watched.
    pub server: u32,
}

/// How it went.
#[derive(Clone, Copy, Debug)]
pub struct Fetched {
    pub took: Duration,
    /// Of the server, when all devices were connected.
    pub before_kib: u64,
    /// The most that it had while they fetched.
    pub peak_kib: u64,
}

impl Fetched {
    pub fn extra_kib(&self) -> u64 {
        self.peak_kib.saturating_sub(self.before_kib)
    }
}

/// Lets all devices fetch the file.
pub fn fetch(plan: &Plan<'_>) -> Result<Fetched> {
    let connect = |number| -> Result<TcpStream> {
        let name = Names::of(&plan.name, number);
        let claim = Connect { client_id: &name, user_name: Some(&name), password: None, keep_alive_s: 600 };
        let stream = TcpStream::connect(plan.address).context("the server listens")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        introduce(stream, Version::V3, &claim)
    };
    let streams: Vec<TcpStream> = (0..plan.devices).map(connect).collect::<Result<_>>()?;
    let before_kib = account::memory_kib(plan.server)?;
    let (start, running) = (Instant::now(), AtomicUsize::new(streams.len()));
    let (outcomes, peak_kib) = thread::scope(|scope| {
        let fetching = streams.into_iter().map(|stream| {
            let running = &running;
            scope.spawn(move || {
                let outcome = fetch_one(stream, plan.file, plan.chunk_bytes);
                running.fetch_sub(1, Ordering::Relaxed);
                outcome
            })
        });
        let fetching: Vec<_> = fetching.collect();
        let mut peak = before_kib;
        while running.load(Ordering::Relaxed) > 0 {
            peak = peak.max(account::memory_kib(plan.server).unwrap_or_default());
            thread::park_timeout(LOOK);
        }
        let outcomes = fetching.into_iter().map(|device| device.join().expect("devices return their errors"));
        (outcomes.collect::<Result<Vec<()>>>(), peak)
    });
    outcomes?;
    Ok(Fetched { took: start.elapsed(), before_kib, peak_kib })
}

fn fetch_one(mut stream: TcpStream, file: &[u8], chunk_bytes: usize) -> Result<()> {
    let size = chunk_bytes.to_string();
    let mut partial = Vec::new();
    for (number, expected) in file.chunks(chunk_bytes).enumerate() {
        let topic = format!("v2/fw/request/1/chunk/{number}");
        let id = u16::try_from(1 + number % 60_000)?;
        stream.write_all(&wire::publish(Version::V3, &topic, 1, id, size.as_bytes()))?;
        await_chunk(&mut stream, &mut partial, number, expected)?;
    }
    stream.write_all(&wire::disconnect())?;
    Ok(())
}

/// Reads until the chunk is there, and acknowledges it.
fn await_chunk(stream: &mut TcpStream, partial: &mut Vec<u8>, number: usize, expected: &[u8]) -> Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        while let Some(packet) = wire::first_packet(partial) {
            let (len, is_chunk) = (packet.len, packet.kind() == kind::PUBLISH);
            if is_chunk {
                let (topic, rest) = packet.body.split_first_chunk::<2>().context("a PUBLISH has a topic")?;
                let (topic, rest) = rest
                    .split_at_checked(usize::from(u16::from_be_bytes(*topic)))
                    .context("the topic is there as a whole")?;
                let wanted = format!("v2/fw/response/1/chunk/{number}");
                ensure!(topic == wanted.as_bytes(), "{} came", String::from_utf8_lossy(topic));
                let (id, payload) = rest.split_first_chunk::<2>().context("QoS 1 has an identifier")?;
                ensure!(payload == expected, "chunk {number} is another one");
                stream.write_all(&wire::acknowledgement(0x40, u16::from_be_bytes(*id)))?;
            }
            partial.drain(..len);
            if is_chunk {
                return Ok(());
            }
        }
        match stream.read(&mut buffer)? {
            0 => bail!("the server closed the connection at chunk {number}"),
            count => partial.extend(buffer.iter().take(count)),
        }
    }
}
