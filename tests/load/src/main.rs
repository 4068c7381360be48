//! `wireglot-load`: puts one load shape on a server and prints what happened as one line of JSON.
//!
//! The processor time of the watched processes is taken at both ends of the measured span, so that connecting,
//! warming up and leaving are not part of it.

use std::fs;
use std::io::{Write, stdout};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use wireglot_load::account;
use wireglot_load::download;
use wireglot_load::fleet::{self, Fleet, Names, Pace, Plan};
use wireglot_load::gateway;
use wireglot_load::listeners::{self, Listeners};
use wireglot_load::wire::{Connect, Version};

/// Addresses that connecting clients come from, so that closed connections do not use up the ports of one.
const SOURCES: usize = 64;

#[derive(Parser)]
#[command(about = "Puts MQTT load on a server on this machine and accounts for both sides.")]
struct Flags {
    #[command(subcommand)]
    shape: Shape,
}

#[derive(Subcommand)]
enum Shape {
    /// Every connection keeps its window full: 1,000 × 1 is w1, 100 × 20 is sat.
    Flood(Span),
    /// A steady rate over all connections; latency is counted from the intended time of sending.
    Pace {
        #[command(flatten)]
        span: Span,
        /// Messages per second.
        #[arg(long)]
        rate: u32,
    },
    /// Holds connections and reads how much memory they take.
    Idle(Common),
    /// Connects and disconnects, in small groups.
    Connect {
        #[command(flatten)]
        common: Common,
        /// How many times in all.
        #[arg(long, default_value_t = 10_000)]
        times: usize,
    },
    /// Fetches a package in chunks on every connection at once and reads the server's memory meanwhile.
    Download {
        #[command(flatten)]
        common: Common,
        /// What every device has to get.
        #[arg(long)]
        file: PathBuf,
        #[arg(long, default_value_t = 65_536)]
        chunk: usize,
    },
    /// Holds subscribed connections and reads how much memory they take.
    Listen {
        #[command(flatten)]
        common: Common,
        /// Says `ready`, and waits until every connection was told of one change of a shared attribute.
        #[arg(long)]
        hear: bool,
    },
    /// One connection that speaks for many devices, or as many connections that say as much.
    Gateway {
        #[command(flatten)]
        common: Common,
        #[arg(long, default_value_t = 10_000)]
        children: usize,
        /// Devices in one publish of telemetry.
        #[arg(long, default_value_t = 500)]
        per_publish: usize,
        /// How often each device is spoken for; 0 only connects them.
        #[arg(long, default_value_t = 10)]
        times: usize,
        /// The devices speak for themselves.
        #[arg(long)]
        direct: bool,
    },
}

#[derive(Args)]
struct Common {
    #[arg(long)]
    address: SocketAddr,
    #[arg(long, default_value_t = 100)]
    connections: usize,
    #[arg(long, default_value = "load-{}")]
    client_id: String,
    #[arg(long, default_value = "load-{}")]
    user_name: String,
    #[arg(long, default_value = "v1/devices/me/telemetry")]
    topic: String,
    /// Speak MQTT 5 instead of 3.1.1.
    #[arg(long)]
    v5: bool,
    /// Processes whose processor time is taken.
    #[arg(long)]
    watch: Vec<u32>,
    /// A file in which something else counts, read at both ends of the measured span.
    #[arg(long)]
    counter_file: Option<PathBuf>,
}

#[derive(Args)]
struct Span {
    #[command(flatten)]
    common: Common,
    /// Messages in flight on each connection.
    #[arg(long, default_value_t = 20)]
    window: u16,
    #[arg(long, default_value_t = 1.0)]
    warmup_s: f64,
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
}

fn main() -> Result<()> {
    let report = match Flags::parse().shape {
        Shape::Flood(span) => run(&span, Pace::Flood),
        Shape::Pace { span, rate } => run(&span, Pace::PerSecond(rate)),
        Shape::Idle(common) => idle(&common),
        Shape::Connect { common, times } => connect(&common, times),
        Shape::Download { common, file, chunk } => fetch(&common, &file, chunk),
        Shape::Listen { common, hear } => listen(&common, hear),
        Shape::Gateway { common, children, per_publish, times, direct } => {
            speak(&common, children, per_publish, times, direct)
        }
    }?;
    writeln!(stdout(), "{report}")?;
    Ok(())
}

impl Common {
    fn version(&self) -> Version {
        if self.v5 { Version::V5 } else { Version::V3 }
    }

    fn plan(&self, window: u16) -> Plan {
        Plan {
            address: self.address,
            version: self.version(),
            connections: self.connections,
            window,
            names: Names {
                client_id: self.client_id.clone(),
                user_name: self.user_name.clone(),
                topic: self.topic.clone(),
            },
            keep_counters: false,
        }
    }

    fn watched_cpu(&self) -> Result<Vec<Duration>> {
        self.watch.iter().map(|pid| account::cpu(*pid)).collect()
    }

    fn count(&self) -> Result<u64> {
        self.counter_file.as_deref().map_or(Ok(0), read_counter)
    }
}

/// A counter that nobody has written yet stands at 0.
fn read_counter(path: &Path) -> Result<u64> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.trim().parse()?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// The books at one moment.
struct Moment {
    at: Instant,
    own: Duration,
    watched: Vec<Duration>,
    counter: u64,
}

impl Moment {
    fn now(common: &Common) -> Result<Self> {
        let (watched, counter) = (common.watched_cpu()?, common.count()?);
        Ok(Self { at: Instant::now(), own: account::own_cpu(), watched, counter })
    }

    /// What `messages` cost from here to `end`.
    fn spent(&self, end: &Self, messages: u64) -> Value {
        let seconds = (end.at - self.at).as_secs_f64();
        let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / (messages.max(1) as f64);
        let watched: Vec<f64> = end.watched.iter().zip(&self.watched).map(|(e, s)| each(*e - *s)).collect();
        json!({
            "seconds": seconds,
            "messages": messages,
            "per_second": messages as f64 / seconds,
            "own_cpu_us": each(end.own - self.own),
            "watched_cpu_us": watched,
            "counted": end.counter - self.counter,
            "counted_per_second": (end.counter - self.counter) as f64 / seconds,
        })
    }
}

fn run(span: &Span, pace: Pace) -> Result<Value> {
    let mut fleet = Fleet::connect(&span.common.plan(span.window))?;
    let warmup = Duration::from_secs_f64(span.warmup_s);
    fleet.run(pace, &mut |_, elapsed| elapsed < warmup)?;
    fleet.reset();
    let start = Moment::now(&span.common)?;
    let length = Duration::from_secs_f64(span.seconds);
    fleet.run(pace, &mut |_, elapsed| elapsed < length)?;
    let acknowledged = fleet.tally().acknowledged;
    let end = Moment::now(&span.common)?;
    let drained = fleet.drain(Duration::from_secs(10))?;
    let mut report = start.spent(&end, acknowledged);
    let closed = fleet.closed();
    let tally = fleet.tally();
    ensure!(acknowledged > 0, "the server acknowledged nothing");
    if let Value::Object(report) = &mut report {
        report.insert("p50_us".into(), tally.latencies.percentile(50.0).into());
        report.insert("p99_us".into(), tally.latencies.percentile(99.0).into());
        report.insert("max_us".into(), tally.latencies.percentile(100.0).into());
        report.insert("refused".into(), tally.refused.into());
        report.insert("closed".into(), closed.into());
        report.insert("unacknowledged".into(), (!drained).into());
    }
    Ok(report)
}

fn idle(common: &Common) -> Result<Value> {
    let pid = *common.watch.first().context("--watch names the server")?;
    let before = account::memory_kib(pid)?;
    let fleet = Fleet::connect(&common.plan(1))?;
    let after = account::memory_kib(pid)?;
    let closed = fleet.closed();
    let each = (after as f64 - before as f64) / common.connections as f64;
    Ok(json!({ "connections": common.connections, "closed": closed, "kib_each": each, "kib_before": before }))
}

fn fetch(common: &Common, file: &Path, chunk_bytes: usize) -> Result<Value> {
    let server = *common.watch.first().context("--watch names the server")?;
    let file = fs::read(file).with_context(|| file.display().to_string())?;
    let (address, devices, name) = (common.address, common.connections, common.user_name.clone());
    let plan = download::Plan { address, devices, name, file: &file, chunk_bytes, server };
    let fetched = download::fetch(&plan)?;
    let bytes = file.len() as f64 * devices as f64;
    Ok(json!({
        "seconds": fetched.took.as_secs_f64(),
        "mb_per_second": bytes / 1e6 / fetched.took.as_secs_f64(),
        "kib_before": fetched.before_kib,
        "extra_kib": fetched.extra_kib(),
    }))
}

/// What an ordinary device subscribes to.
const SUBSCRIPTIONS: [&str; 3] =
    ["v1/devices/me/attributes", "v1/devices/me/attributes/response/+", "v1/devices/me/rpc/request/+"];

fn listen(common: &Common, hears: bool) -> Result<Value> {
    let server = *common.watch.first().context("--watch names the server")?;
    let (address, devices, name) = (common.address, common.connections, &common.user_name);
    let plan = listeners::Plan { address, devices, name, filters: &SUBSCRIPTIONS, server };
    let mut listeners = Listeners::connect(&plan)?;
    let mut peak = listeners.connected_kib;
    if hears {
        writeln!(stdout(), "ready")?;
        stdout().flush()?;
        peak = listeners.hear()?;
    }
    let (before, connected) = (listeners.before_kib, listeners.connected_kib);
    Ok(json!({
        "kib_before": before,
        "kib_each": (connected as f64 - before as f64) / devices as f64,
        "extra_kib": peak.saturating_sub(connected),
    }))
}

fn speak(common: &Common, children: usize, per_publish: usize, times: usize, direct: bool) -> Result<Value> {
    let server = *common.watch.first().context("--watch names the server")?;
    let token = &common.user_name;
    let plan = gateway::Plan { address: common.address, token, children, per_publish, times, server };
    let served =
        if direct { gateway::direct(&plan, token, common.connections)? } else { gateway::serve(&plan)? };
    let sessions = if direct { common.connections } else { children };
    let (alone, connected) = (served.alone_kib as f64, served.connected_kib as f64);
    Ok(json!({
        "kib_each": (connected - alone) / sessions as f64,
        "connects_s": served.connects.as_secs_f64(),
        "seconds": served.telemetry.as_secs_f64(),
        "values_per_second": served.values as f64 / served.telemetry.as_secs_f64(),
        "cpu_us_per_value": served.cpu.as_secs_f64() * 1e6 / (served.values.max(1) as f64),
    }))
}

/// Groups of this size are connected at a time.
const GROUP: usize = 50;

fn connect(common: &Common, times: usize) -> Result<Value> {
    let connect_group = |first: usize, size: usize| -> Result<()> {
        let mut group = Vec::with_capacity(size);
        for number in first..first + size {
            let device = number % common.connections;
            let client_id = Names::of(&common.client_id, device);
            let user_name = Names::of(&common.user_name, device);
            let claim = Connect {
                client_id: &client_id,
                user_name: Some(&user_name),
                password: None,
                keep_alive_s: 60,
            };
            let stream = dial(common.address, number)?;
            group.push(fleet::introduce(stream, common.version(), &claim)?);
        }
        for mut stream in group {
            stream.write_all(&wireglot_load::wire::disconnect())?;
        }
        Ok(())
    };
    connect_group(0, GROUP.min(times))?;
    let start = Moment::now(common)?;
    for first in (0..times).step_by(GROUP) {
        connect_group(first, GROUP.min(times - first))?;
    }
    let end = Moment::now(common)?;
    Ok(start.spent(&end, times as u64))
}

/// A TCP connection from one of many loopback addresses.
fn dial(address: SocketAddr, number: usize) -> Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv4() {
        let last = u8::try_from(2 + number % SOURCES).expect("fewer sources than addresses in the last byte");
        let source = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), 0);
        socket.bind(&source.into())?;
    }
    socket.connect(&address.into())?;
    Ok(TcpStream::from(socket))
}
