//! Devices that listen: each has a session with subscriptions, and hears what the server pushes.
//!
//! One thread reads them one after the other: what a device was sent waits in its socket until its turn comes, so the
//! last one has been read when all have been sent, and reading costs the machine little.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::account;
use crate::fleet::{self, Names};
use crate::wire::{self, Connect, Version, kind};

/// How often the server's memory is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Longer than a push to all takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
const KEEP_ALIVE_S: u16 = 600;

/// Who listens to what.
pub struct Plan<'a> {
    pub address: SocketAddr,
    pub devices: usize,
    /// User name and client id; `{}` stands for the number of the device, from 0.
    pub name: &'a str,
    pub filters: &'a [&'a str],
    /// The server, whose memory is watched.
    pub server: u32,
}

/// Connected and subscribed devices.
pub struct Listeners {
    lines: Vec<Line>,
    server: u32,
    /// Of the server, before and after.
    pub before_kib: u64,
    pub connected_kib: u64,
}

/// One connection, with what was read of the packets to come.
struct Line {
    stream: TcpStream,
    partial: Vec<u8>,
}

impl Listeners {
    /// Connects all, and returns when each has its SUBACK.
    pub fn connect(plan: &Plan<'_>) -> Result<Self> {
        let before_kib = account::memory_kib(plan.server)?;
        let mut lines = Vec::with_capacity(plan.devices);
        for number in 0..plan.devices {
            let line = Line::open(plan, number).with_context(|| format!("listener {number}"))?;
            lines.push(line);
        }
        for line in &mut lines {
            let (head, body) = line.packet()?;
            let granted = body.get(2..).unwrap_or_default();
            let is_granted = granted.len() == plan.filters.len() && granted.iter().all(|code| *code < 0x80);
            ensure!(head >> 4 == kind::SUBACK && is_granted, "SUBSCRIBE was answered {head:02x} {body:02x?}");
        }
        let connected_kib = account::memory_kib(plan.server)?;
        Ok(Self { lines, server: plan.server, before_kib, connected_kib })
    }

    /// Waits until each device has heard one message, which is acknowledged; the most memory that the server had meanwhile.
    pub fn hear(&mut self) -> Result<u64> {
        let (server, is_over) = (self.server, AtomicBool::new(false));
        let lines = &mut self.lines;
        thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                let mut peak = 0;
                while !is_over.load(Ordering::Relaxed) {
                    peak = peak.max(account::memory_kib(server).unwrap_or_default());
                    thread::park_timeout(LOOK);
                }
                peak
            });
            let heard = lines.iter_mut().try_for_each(Line::hear);
            is_over.store(true, Ordering::Relaxed);
            let peak = watcher.join().expect("reading a file of the kernel does not panic");
            heard.map(|()| peak)
        })
    }
}

impl Line {
    fn open(plan: &Plan<'_>, number: usize) -> Result<Self> {
        let name = Names::of(plan.name, number);
        let claim =
            Connect { client_id: &name, user_name: Some(&name), password: None, keep_alive_s: KEEP_ALIVE_S };
        let mut stream = fleet::connect(plan.address, Version::V3, &claim)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&wire::subscribe(Version::V3, 1, plan.filters, 1))?;
        Ok(Self { stream, partial: Vec::new() })
    }

    fn hear(&mut self) -> Result<()> {
        let (head, body) = self.packet()?;
        ensure!(head >> 4 == kind::PUBLISH, "{head:02x} {body:02x?} instead of a PUBLISH");
        if head & 0x06 != 0 {
            let (topic, rest) = body.split_first_chunk::<2>().context("a PUBLISH has a topic")?;
            let id = rest.get(usize::from(u16::from_be_bytes(*topic))..).and_then(<[u8]>::first_chunk::<2>);
            let id = u16::from_be_bytes(*id.context("QoS 1 has an identifier")?);
            self.stream.write_all(&wire::acknowledgement(0x40, id))?;
        }
        Ok(())
    }

    /// The next packet: its first byte and its body.
    fn packet(&mut self) -> Result<(u8, Vec<u8>)> {
        let mut buffer = [0; 4_096];
        loop {
            if let Some(raw) = wire::first_packet(&self.partial) {
                let (packet, len) = ((raw.head, raw.body.to_vec()), raw.len);
                self.partial.drain(..len);
                return Ok(packet);
            }
            match self.stream.read(&mut buffer)? {
                0 => bail!("the server closed the connection"),
                count => self.partial.extend(buffer.iter().take(count)),
            }
        }
    }
}
