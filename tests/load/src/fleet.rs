//! Many connections on one epoll: sends frames at full speed or at a steady rate, and books every acknowledgement.
//!
//! A connection has as many slots as messages may be in flight; the slot's number is the packet identifier, so an
//! acknowledgement finds its message without a search. Counters start at 1 on every connection and are never used
//! twice, which lets a test ask a server for exactly the messages that it acknowledged.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::frame::{self, FRAME_BYTES};
use crate::latency::Latencies;
use crate::wire::{self, Connect, Raw, Version, kind};

/// What the timer is known as among the connections.
const TIMER: u64 = u64::MAX;
const EVENTS_PER_TURN: usize = 1_024;
const READ_BYTES: usize = 64 * 1024;
/// How often a run looks at the clock when nothing happens.
const IDLE_TURN: Duration = Duration::from_millis(10);
/// A shorter period than this costs more than it makes the offered times exact.
const PACED_TURN_MIN: Duration = Duration::from_micros(200);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const KEEP_ALIVE_S: u16 = 600;

/// Who connects, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    pub address: SocketAddr,
    pub version: Version,
    pub connections: usize,
    /// Messages in flight on each connection at most.
    pub window: u16,
    pub names: Names,
    /// Keep the counter of every acknowledged message, for asking the server about each.
    pub keep_counters: bool,
}

/// How connections call themselves; `{}` stands for the number of the connection, from 0.
#[derive(Clone, Debug)]
pub struct Names {
    pub client_id: String,
    pub user_name: String,
    pub topic: String,
}

impl Names {
    /// The name of one connection.
    pub fn of(pattern: &str, number: usize) -> String {
        pattern.replace("{}", &number.to_string())
    }
}

/// How fast messages are sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// As soon as there is room in a connection's window.
    Flood,
    /// This many each second over all connections, whether or not earlier ones were acknowledged.
    PerSecond(u32),
}

/// What has happened since the last `reset`.
#[derive(Default, Debug)]
pub struct Tally {
    pub sent: u64,
    pub acknowledged: u64,
    /// Negative acknowledgements, a part of `acknowledged`.
    pub refused: u64,
    /// From the intended time of sending to the acknowledgement.
    pub latencies: Latencies,
}

/// What became of one connection.
#[derive(Debug)]
pub struct Report<'a> {
    /// The counter of the last message sent.
    pub last_counter: u32,
    /// Counters of positively acknowledged messages, where the plan keeps them.
    pub acknowledged: &'a [u32],
    /// Why it was closed, if it was.
    pub closed: Option<&'a str>,
}

/// Connected devices.
pub struct Fleet {
    epoll: OwnedFd,
    timer: OwnedFd,
    connections: Vec<Connection>,
    alive: usize,
    keep_counters: bool,
    buffer: Box<[u8]>,
    tally: Tally,
}

struct Connection {
    stream: TcpStream,
    template: Template,
    slots: Vec<Slot>,
    free: Vec<u16>,
    /// Intended times of messages that found no free slot.
    backlog: VecDeque<Instant>,
    out: Vec<u8>,
    waits_for_room: bool,
    partial: Vec<u8>,
    last_counter: u32,
    acknowledged: Vec<u32>,
    closed: Option<String>,
}

#[derive(Clone, Copy)]
struct Slot {
    counter: u32,
    intended: Instant,
}

/// A PUBLISH in which only the packet identifier and the counter change.
struct Template {
    bytes: Vec<u8>,
    packet_id_at: usize,
    counter_at: usize,
}

impl Fleet {
    /// Connects all, and returns when each has its CONNACK.
    pub fn connect(plan: &Plan) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).context("epoll")?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)
            .context("timerfd")?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN).context("epoll")?;
        let mut connections = Vec::with_capacity(plan.connections);
        for number in 0..plan.connections {
            let connection =
                Connection::open(plan, number).with_context(|| format!("connection {number} of the load"))?;
            epoll::add(&epoll, &connection.stream, EventData::new_u64(number as u64), EventFlags::IN)
                .context("epoll")?;
            connections.push(connection);
        }
        let alive = connections.len();
        let buffer = vec![0; READ_BYTES].into_boxed_slice();
        let keep_counters = plan.keep_counters;
        Ok(Self { epoll, timer, connections, alive, keep_counters, buffer, tally: Tally::default() })
    }

    /// Sends at `pace` until `go_on` says no or nobody is connected any more. What is in flight stays so.
    pub fn run(&mut self, pace: Pace, go_on: &mut dyn FnMut(&Tally, Duration) -> bool) -> Result<()> {
        let started = Instant::now();
        let mut schedule = Schedule::new(pace, started);
        self.arm(schedule.turn)?;
        if pace == Pace::Flood {
            for number in 0..self.connections.len() {
                self.fill(number, started);
            }
        }
        let mut next = 0;
        loop {
            let now = Instant::now();
            if self.alive == 0 || !go_on(&self.tally, now - started) {
                return Ok(());
            }
            while let Some(intended) = schedule.due(now) {
                self.offer(next, intended);
                next = (next + 1) % self.connections.len();
            }
            self.turn(pace)?;
        }
    }

    /// Sends nothing new and waits for what is in flight. True when all of it was acknowledged in time.
    pub fn drain(&mut self, timeout: Duration) -> Result<bool> {
        let started = Instant::now();
        self.arm(IDLE_TURN)?;
        while self.alive > 0 && started.elapsed() < timeout {
            if self.in_flight() == 0 {
                return Ok(true);
            }
            self.turn(Pace::PerSecond(0))?;
        }
        Ok(self.in_flight() == 0)
    }

    /// Messages that were sent and not yet acknowledged, on connections that are still there.
    pub fn in_flight(&self) -> usize {
        let there = self.connections.iter().filter(|c| c.closed.is_none());
        there.map(|c| c.slots.len() - c.free.len() + c.backlog.len()).sum()
    }

    /// What has happened since the last `reset`.
    pub fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    /// Starts the books anew, for instance after warming up.
    pub fn reset(&mut self) {
        self.tally.sent = 0;
        self.tally.acknowledged = 0;
        self.tally.refused = 0;
        self.tally.latencies.clear();
    }

    /// What became of each connection.
    pub fn reports(&self) -> impl Iterator<Item = Report<'_>> {
        self.connections.iter().map(|c| Report {
            last_counter: c.last_counter,
            acknowledged: &c.acknowledged,
            closed: c.closed.as_deref(),
        })
    }

    /// How many connections were closed by the server.
    pub fn closed(&self) -> usize {
        self.connections.len() - self.alive
    }

    fn arm(&self, period: Duration) -> Result<()> {
        let spec = Timespec { tv_sec: period.as_secs() as i64, tv_nsec: i64::from(period.subsec_nanos()) };
        timerfd_settime(
            &self.timer,
            TimerfdTimerFlags::empty(),
            &Itimerspec { it_interval: spec, it_value: spec },
        )
        .context("timerfd")?;
        Ok(())
    }

    /// Waits for one round of events and serves it.
    fn turn(&mut self, pace: Pace) -> Result<()> {
        let mut events = [const { std::mem::MaybeUninit::uninit() }; EVENTS_PER_TURN];
        let (ready, _) = match epoll::wait(&self.epoll, &mut events[..], None) {
            Ok(ready) => ready,
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error).context("epoll"),
        };
        for event in ready {
            let (data, flags) = (event.data.u64(), event.flags);
            if data == TIMER {
                self.clear_timer();
                continue;
            }
            let number = usize::try_from(data).expect("the number of a connection");
            if flags.contains(EventFlags::OUT) {
                self.flush(number);
            }
            if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                self.receive(number, pace);
            }
        }
        Ok(())
    }

    fn clear_timer(&self) {
        let mut expirations = [0_u8; 8];
        // A timer that has not expired after all is fine: the next turn is woken by it again.
        rustix::io::read(&self.timer, &mut expirations).ok();
    }

    fn connection(&mut self, number: usize) -> &mut Connection {
        self.connections.get_mut(number).expect("numbers come from the list of connections")
    }

    /// Sends as much as the window allows.
    fn fill(&mut self, number: usize, now: Instant) {
        let connection = self.connection(number);
        let mut sent = 0;
        while connection.queue(now) {
            sent += 1;
        }
        self.tally.sent += sent;
        self.flush(number);
    }

    /// Sends one message, or keeps it until there is a free slot.
    fn offer(&mut self, number: usize, intended: Instant) {
        let connection = self.connection(number);
        if connection.closed.is_some() {
            return;
        }
        if connection.queue(intended) {
            self.tally.sent += 1;
            self.flush(number);
        } else {
            connection.backlog.push_back(intended);
        }
    }

    fn flush(&mut self, number: usize) {
        let Some(connection) = self.connections.get_mut(number) else { return };
        let waited = connection.waits_for_room;
        if let Err(error) = connection.write() {
            self.close(number, format!("write: {error}"));
            return;
        }
        if connection.waits_for_room != waited {
            let flags = if waited { EventFlags::IN } else { EventFlags::IN | EventFlags::OUT };
            let data = EventData::new_u64(number as u64);
            epoll::modify(&self.epoll, &connection.stream, data, flags).expect("it was added at connect");
        }
    }

    fn receive(&mut self, number: usize, pace: Pace) {
        let Some(connection) = self.connections.get_mut(number) else { return };
        let read = match connection.stream.read(&mut self.buffer) {
            Ok(0) => return self.close(number, "end of stream".into()),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => return self.close(number, format!("read: {error}")),
        };
        let fresh = self.buffer.get(..read).expect("a read fits its buffer");
        let now = Instant::now();
        if let Err(reason) = connection.take_in(fresh, now, self.keep_counters, &mut self.tally) {
            return self.close(number, reason);
        }
        match pace {
            Pace::Flood => self.fill(number, now),
            Pace::PerSecond(_) => self.catch_up(number),
        }
    }

    fn catch_up(&mut self, number: usize) {
        let connection = self.connection(number);
        let mut sent = 0;
        while let Some(intended) = connection.backlog.front().copied() {
            if !connection.queue(intended) {
                break;
            }
            connection.backlog.pop_front();
            sent += 1;
        }
        if sent > 0 {
            self.tally.sent += sent;
            self.flush(number);
        }
    }

    fn close(&mut self, number: usize, reason: String) {
        let Some(connection) = self.connections.get_mut(number) else { return };
        if connection.closed.is_some() {
            return;
        }
        connection.closed = Some(reason);
        epoll::delete(&self.epoll, &connection.stream).expect("it was added at connect");
        self.alive -= 1;
    }
}

impl Connection {
    fn open(plan: &Plan, number: usize) -> Result<Self> {
        let client_id = Names::of(&plan.names.client_id, number);
        let user_name = Names::of(&plan.names.user_name, number);
        let claim = Connect {
            client_id: &client_id,
            user_name: Some(&user_name),
            password: None,
            keep_alive_s: KEEP_ALIVE_S,
        };
        let stream = connect(plan.address, plan.version, &claim)?;
        stream.set_nonblocking(true)?;
        let slot = Slot { counter: 0, intended: Instant::now() };
        Ok(Self {
            stream,
            template: Template::new(plan.version, &Names::of(&plan.names.topic, number)),
            slots: vec![slot; usize::from(plan.window)],
            free: (1..=plan.window).rev().collect(),
            backlog: VecDeque::new(),
            out: Vec::new(),
            waits_for_room: false,
            partial: Vec::new(),
            last_counter: 0,
            acknowledged: Vec::new(),
            closed: None,
        })
    }

    /// Puts the next message into the buffer for writing. False when the window is full or the peer is gone.
    fn queue(&mut self, intended: Instant) -> bool {
        if self.closed.is_some() {
            return false;
        }
        let Some(packet_id) = self.free.pop() else { return false };
        self.last_counter += 1;
        let slot =
            self.slots.get_mut(usize::from(packet_id) - 1).expect("packet identifiers number the slots");
        *slot = Slot { counter: self.last_counter, intended };
        self.template.write(packet_id, self.last_counter, &mut self.out);
        true
    }

    fn write(&mut self) -> std::io::Result<()> {
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(written) => drop(self.out.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.waits_for_room = true;
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        self.waits_for_room = false;
        Ok(())
    }

    /// Books what has arrived. An error is the reason to give up on this connection.
    fn take_in(&mut self, fresh: &[u8], now: Instant, keep: bool, tally: &mut Tally) -> Result<(), String> {
        let joined;
        let mut rest = fresh;
        if !self.partial.is_empty() {
            self.partial.extend_from_slice(fresh);
            joined = std::mem::take(&mut self.partial);
            rest = &joined;
        }
        while let Some(packet) = wire::first_packet(rest) {
            self.book(&packet, now, keep, tally)?;
            rest = rest.get(packet.len..).expect("a packet lies within the bytes that it was cut from");
        }
        self.partial.extend_from_slice(rest);
        Ok(())
    }

    fn book(&mut self, packet: &Raw<'_>, now: Instant, keep: bool, tally: &mut Tally) -> Result<(), String> {
        match packet.kind() {
            kind::PUBACK => {}
            kind::DISCONNECT => {
                return Err(format!(
                    "disconnected by the server, {:#04x}",
                    packet.body.first().unwrap_or(&0)
                ));
            }
            other => return Err(format!("unexpected packet of type {other}")),
        }
        let packet_id = packet.packet_id().ok_or("acknowledgement without an identifier")?;
        let index = usize::from(packet_id).wrapping_sub(1);
        let slot = self.slots.get_mut(index).ok_or("acknowledgement of an unknown packet")?;
        if slot.counter == 0 {
            return Err(format!("packet {packet_id} was acknowledged twice"));
        }
        tally.acknowledged += 1;
        tally.latencies.record(now.saturating_duration_since(slot.intended));
        if packet.reason() >= 0x80 {
            tally.refused += 1;
        } else if keep {
            self.acknowledged.push(slot.counter);
        }
        slot.counter = 0;
        self.free.push(packet_id);
        Ok(())
    }
}

impl Template {
    fn new(version: Version, topic: &str) -> Self {
        let bytes = wire::publish(version, topic, 1, 0, &frame::frame(0));
        let counter_at = bytes.len() - FRAME_BYTES;
        let properties = usize::from(version == Version::V5);
        Self { packet_id_at: counter_at - properties - 2, counter_at, bytes }
    }

    fn write(&self, packet_id: u16, counter: u32, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        if let Some(place) = out.get_mut(start + self.packet_id_at..).and_then(<[u8]>::first_chunk_mut::<2>) {
            *place = packet_id.to_be_bytes();
        }
        if let Some(place) = out.get_mut(start + self.counter_at..) {
            frame::stamp(place, counter);
        }
    }
}

/// When the next message is due.
struct Schedule {
    turn: Duration,
    step: Option<Duration>,
    next: Instant,
}

impl Schedule {
    fn new(pace: Pace, start: Instant) -> Self {
        let step = match pace {
            Pace::Flood | Pace::PerSecond(0) => None,
            Pace::PerSecond(rate) => Some(Duration::from_secs(1) / rate),
        };
        let turn = step.map_or(IDLE_TURN, |step| step.max(PACED_TURN_MIN));
        Self { turn, step, next: start }
    }

    fn due(&mut self, now: Instant) -> Option<Instant> {
        let step = self.step?;
        let due = self.next;
        if due > now {
            return None;
        }
        self.next += step;
        Some(due)
    }
}

/// Opens one authenticated connection; the stream is still blocking, with a time-out on reads.
pub fn connect(address: SocketAddr, version: Version, claim: &Connect<'_>) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
    introduce(stream, version, claim)
}

/// The CONNECT and CONNACK of a connection that is already open.
pub fn introduce(mut stream: TcpStream, version: Version, claim: &Connect<'_>) -> Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(CONNECT_TIMEOUT))?;
    stream.write_all(&wire::connect(version, claim))?;
    let mut head = [0; 4];
    stream.read_exact(&mut head).context("no CONNACK")?;
    let [first, remaining, _, code] = head;
    ensure!(first >> 4 == kind::CONNACK, "the server answered CONNECT with {head:02x?}");
    if code != 0 {
        bail!("the server refused the connection with {code:#04x}");
    }
    let mut properties = vec![0; usize::from(remaining).saturating_sub(2)];
    stream.read_exact(&mut properties)?;
    Ok(stream)
}
