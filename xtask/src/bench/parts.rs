//! The contestants: each is one or two processes on free ports of 127.0.0.1, killed when dropped.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use wireglot_load::account;

use super::Bench;
use crate::process::{program, run, target};

pub(super) const PASSWORD: &str = "bench password";
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Devices of the fleet; each may have one session.
pub(super) const DEVICES: usize = 2_000;

/// Something that takes the load.
pub(super) struct Contestant {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    pub(super) topic: String,
    /// Whose processor time counts.
    pub(super) watch: Vec<u32>,
    pub(super) counter_file: Option<PathBuf>,
    processes: Vec<Child>,
}

/// Our server, with its folders and ports, which stay the same over a restart.
pub(super) struct Server {
    pub(super) contestant: Contestant,
    pub(super) http: SocketAddr,
    pub(super) codecs: PathBuf,
    binary: PathBuf,
    folder: PathBuf,
}

impl Drop for Contestant {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // A process that has ended already cannot be killed, which is what we want.
            process.kill().ok();
            process.wait().ok();
        }
    }
}

impl Contestant {
    fn start(name: &'static str, address: SocketAddr, command: &mut Command, log: &Path) -> Result<Self> {
        let log = File::create(log)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let process = command.spawn().with_context(|| format!("{command:?}"))?;
        let watch = vec![process.id()];
        let topic = "v1/devices/me/telemetry".to_owned();
        let contestant = Self { name, address, topic, watch, counter_file: None, processes: vec![process] };
        contestant.wait_until_listening()?;
        Ok(contestant)
    }

    fn wait_until_listening(&self) -> Result<()> {
        wait(|| TcpStream::connect(self.address).is_ok())
            .with_context(|| format!("{} does not listen", self.name))
    }

    /// Kills all processes at once, as a power cut would.
    fn kill_9(&mut self) -> Result<()> {
        for process in &mut self.processes {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }
}

/// Debian's mosquitto, open to all, keeping nothing.
pub(super) fn mosquitto(bench: &Bench, label: &str) -> Result<Contestant> {
    let address = free_address()?;
    let settings = bench.folder.join(format!("mosquitto-{label}.conf"));
    let text = format!("listener {} 127.0.0.1\nallow_anonymous true\npersistence false\n", address.port());
    fs::write(&settings, text)?;
    let mut command = Command::new(&bench.tools.mosquitto);
    command.arg("-c").arg(&settings);
    Contestant::start(
        "mosquitto",
        address,
        &mut command,
        &bench.folder.join(format!("mosquitto-{label}.log")),
    )
}

/// The MQTT library of the server with nothing behind it.
pub(super) fn bare_ack(bench: &Bench) -> Result<Contestant> {
    let address = free_address()?;
    let workers = thread::available_parallelism()?.to_string();
    let mut command = Command::new(&bench.tools.bare_ack);
    command.args(["--address", &address.to_string(), "--workers", &workers]);
    Contestant::start("bare ntex-mqtt", address, &mut command, &bench.folder.join("bare-ack.log"))
}

/// mosquitto, a native consumer and SQLite.
pub(super) fn pair(bench: &Bench, label: &str) -> Result<Contestant> {
    let mut pair = mosquitto(bench, &format!("pair-{label}"))?;
    let counter = bench.folder.join(format!("pair-{label}.count"));
    let log = File::create(bench.folder.join(format!("consumer-{label}.log")))?;
    let consumer = Command::new(&bench.tools.consumer)
        .args(["--port", &pair.address.port().to_string()])
        .arg("--database")
        .arg(bench.folder.join(format!("pair-{label}.sqlite")))
        .arg("--counter-file")
        .arg(&counter)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("the consumer")?;
    pair.name = "mosquitto + consumer + SQLite";
    pair.topic = "v1/devices/{}/telemetry".into();
    pair.watch.push(consumer.id());
    pair.processes.push(consumer);
    pair.counter_file = Some(counter.clone());
    // The consumer writes its counter when an empty batch comes of age, so the file says that it is there.
    wait(|| counter.exists()).context("the consumer does not start")?;
    Ok(pair)
}

impl Server {
    /// A server with a fleet of devices whose frames are decoded by the stamping codec.
    pub(super) fn start(bench: &Bench, label: &str) -> Result<Self> {
        Self::start_with(bench, label, &stamped_fleet()?)
    }

    /// A server with what this file declares.
    pub(super) fn start_with(bench: &Bench, label: &str, fleet: &str) -> Result<Self> {
        let folder = bench.folder.join(format!("wireglot-{label}"));
        let codecs = folder.join("codecs");
        fs::create_dir_all(&codecs)?;
        let [stamp, _] = &bench.tools.stamps;
        fs::copy(stamp, codecs.join("stamp.wasm"))?;
        fs::write(folder.join("fleet.toml"), fleet)?;
        let (address, http) = (free_address()?, free_address()?);
        let binary = bench.tools.wireglot.clone();
        let contestant = start(&binary, &folder, address, http)?;
        let server = Self { contestant, http, codecs, binary, folder };
        server.wait_until_ready()?;
        Ok(server)
    }

    /// Until what the fleet's file declares is there.
    pub(super) fn wait_until_ready(&self) -> Result<()> {
        wait(|| is_ready(self.http)).context("the server is not ready")
    }

    /// Kills the process and starts another on the same folders; returns when that one runs, before it is ready.
    pub(super) fn kill_9_and_start(&mut self) -> Result<()> {
        self.contestant.kill_9()?;
        let (address, http) = (self.contestant.address, self.http);
        self.contestant = spawn(&self.binary, &self.folder, address, http)?;
        Ok(())
    }

    /// Bytes of all files of the store.
    pub(super) fn bytes_on_disk(&self) -> Result<u64> {
        bytes_below(&self.folder.join("data"))
    }
}

/// Whether `/ready` says yes.
fn is_ready(http: SocketAddr) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(http)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// The declared fleet: a profile whose frames the stamping codec decodes, and devices whose token is their name.
fn stamped_fleet() -> Result<String> {
    let mut text = String::from(
        "[[profile]]\nname = \"stamped\"\ntransportType = \"MQTT\"\n\
         [profile.transportConfiguration.transportPayloadTypeConfiguration]\n\
         transportPayloadType = \"CODEC\"\ncodec = \"stamp\"\n",
    );
    declare(&mut text, DEVICES, "profile = \"stamped\"")?;
    Ok(text)
}

/// Devices whose token is their name, with this line in what declares each.
pub(super) fn declare(text: &mut String, devices: usize, more: &str) -> Result<()> {
    for number in 0..devices {
        let credentials =
            format!("{{ credentialsType = \"ACCESS_TOKEN\", credentialsId = \"load-{number}\" }}");
        writeln!(text, "[[device]]\nname = \"load-{number}\"\n{more}\ncredentials = {credentials}")?;
    }
    Ok(())
}

fn start(binary: &Path, folder: &Path, address: SocketAddr, http: SocketAddr) -> Result<Contestant> {
    let contestant = spawn(binary, folder, address, http)?;
    contestant.wait_until_listening()?;
    Ok(contestant)
}

fn spawn(binary: &Path, folder: &Path, address: SocketAddr, http: SocketAddr) -> Result<Contestant> {
    let log = File::options().create(true).append(true).open(folder.join("log"))?;
    let process = Command::new(binary)
        .arg("serve")
        .arg("--data-dir")
        .arg(folder.join("data"))
        .arg("--codecs")
        .arg(folder.join("codecs"))
        .args(["--mqtt-bind", &address.to_string(), "--http-bind", &http.to_string()])
        .env("WIREGLOT_ADMIN_PASSWORD", PASSWORD)
        .env("WIREGLOT_FLEET", folder.join("fleet.toml"))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("wireglot serve")?;
    Ok(Contestant {
        name: "wireglot",
        address,
        topic: "v1/devices/me/telemetry".into(),
        watch: vec![process.id()],
        counter_file: None,
        processes: vec![process],
    })
}

fn bytes_below(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let facts = entry.metadata()?;
        bytes += if facts.is_dir() { bytes_below(&entry.path())? } else { facts.len() };
    }
    Ok(bytes)
}

/// Below the ports that the system gives out by itself, so that a restarted server finds its own free again; and
/// never the same twice, since the first may not be taken yet when the second is asked for.
fn free_address() -> Result<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    for _ in 0..1_000 {
        let turn = NEXT.fetch_add(1, Ordering::Relaxed);
        let first = 20_000 + u16::try_from(std::process::id() % 10_000)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, first + turn));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no free port");
}

/// Looks again and again until something is so.
pub(super) fn wait(is_so: impl Fn() -> bool) -> Result<()> {
    let start = Instant::now();
    while !is_so() {
        ensure!(start.elapsed() < START_TIMEOUT, "waited for {START_TIMEOUT:?} in vain");
        thread::park_timeout(Duration::from_millis(1));
    }
    Ok(())
}

/// The generator that somebody else wrote, built from crates.io where it is not there yet.
pub(super) fn mqttwrk() -> Result<PathBuf> {
    let root = target().join("tools");
    let installed = root.join("bin/mqttwrk");
    if !installed.exists() {
        run(program("cargo").args(["install", "mqttwrk", "--version", "0.2.0", "--root"]).arg(&root))?;
    }
    Ok(installed)
}

/// Processor time per message, in microseconds, of a contestant under mqttwrk in the shape `sat`.
pub(super) fn run_mqttwrk(program: &Path, contestant: &Contestant) -> Result<f64> {
    const MESSAGES_EACH: u32 = 3_000;
    let pid = *contestant.watch.first().context("a contestant has a process")?;
    let before = account::cpu(pid)?;
    let port = contestant.address.port().to_string();
    let output = Command::new(program)
        .args(["bench", "-S", "127.0.0.1", "-P", &port, "-p", "100", "-i", "20", "--publish-qos", "1"])
        .args(["-m", "32", "-n", &MESSAGES_EACH.to_string()])
        .output()
        .context("mqttwrk")?;
    ensure!(output.status.success(), "mqttwrk: {}", String::from_utf8_lossy(&output.stderr));
    let spent = account::cpu(pid)? - before;
    Ok(spent.as_secs_f64() * 1e6 / f64::from(100 * MESSAGES_EACH))
}
