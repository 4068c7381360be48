//! `cargo xtask demo`: the real server with simulated devices, in a folder that is gone afterwards.
//!
//! What is shown comes from the server's own live trace, after decoding and after the disk: nothing here decodes.

mod fleet;
mod trace;

pub(crate) use trace::login;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::plugins;
use crate::process::{built, program, root, say};
use fleet::Simulated;

const FLEET: &str = "examples/quickstart/fleet.toml";
const DEFAULT_MQTT_PORT: u16 = 1883;
const DEFAULT_HTTP_PORT: u16 = 8080;
const INTERVAL_MS: &str = "1500";
/// How long the server may take to say where it listens, which is after the codecs are compiled, and to end.
const SERVER_TIMEOUT: Duration = Duration::from_secs(120);

/// What can happen while the demo runs.
pub(super) enum Happening {
    /// A line to show, and the device whose telemetry it is.
    Row { device: Option<String>, line: String },
    /// The trace is over.
    TraceEnded(anyhow::Result<()>),
    /// Ctrl-C, or the end that was asked for.
    Stop,
}

/// Runs until Ctrl-C, or as long as `--seconds` says; then every device must have been heard.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let seconds = match arguments {
        [] => None,
        [flag, value] if flag == "--seconds" => Some(value.parse().context("--seconds takes a number")?),
        _ => bail!("usage: cargo xtask demo [--seconds N]"),
    };
    say(format_args!(
        "Building the server (dev profile: quick to build, quick enough to watch) and the codecs …"
    ))?;
    let plugins = plugins::build_all()?;
    let devices = fleet::read(&root().join(FLEET))?;

    let (happened, happenings) = mpsc::channel();
    let on_ctrl_c = happened.clone();
    ctrlc::set_handler(move || {
        // Where the receiver is gone the demo is ending anyway.
        drop(on_ctrl_c.send(Happening::Stop));
    })
    .context("Ctrl-C cannot be caught")?;

    let folder = TempDir::with_prefix("wireglot-demo-").context("there is no place for temporary files")?;
    let codecs = folder.path().join("codecs");
    std::fs::create_dir(&codecs)?;
    for plugin in &plugins {
        copy_into(&codecs, &plugin.component)?;
        copy_into(&codecs, &plugin.component.with_extension("vectors.json"))?;
    }
    let demo = Demo::start(folder, &devices)?;
    demo.introduce()?;
    let token = trace::login(demo.http, &demo.password)?;
    trace::follow(demo.http, token, happened);
    let heard = demo.watch(&happenings, seconds)?;
    demo.stop()?;
    let silent: Vec<&str> =
        devices.iter().map(|device| device.name.as_str()).filter(|name| !heard.contains(*name)).collect();
    if seconds.is_some() && !silent.is_empty() {
        bail!("nothing was decoded from {}", silent.join(", "));
    }
    Ok(())
}

fn copy_into(folder: &Path, file: &Path) -> anyhow::Result<()> {
    let name = file.file_name().context("a codec has a file name")?;
    if file.is_file() {
        std::fs::copy(file, folder.join(name))
            .with_context(|| format!("{} cannot be copied", file.display()))?;
    }
    Ok(())
}

/// A child that ends with its owner, whatever happens.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only where the process has ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Everything that runs. Fields are dropped in this order: devices, server, folder.
struct Demo {
    simulated: Vec<Process>,
    server: Process,
    mqtt: SocketAddr,
    http: SocketAddr,
    password: String,
    folder: TempDir,
}

impl Demo {
    fn start(folder: TempDir, devices: &[Simulated]) -> anyhow::Result<Self> {
        let password = random_password()?;
        let log = folder.path().join("server.log");
        let mut server = Process(
            server_command(folder.path(), &password)
                .stdout(Stdio::piped())
                .stderr(File::create(&log)?)
                .spawn()
                .context("the server cannot be started")?,
        );
        let (mqtt, http) = addresses(&mut server.0)
            .with_context(|| format!("the server did not come up:\n{}", last_lines(&log)))?;
        let mut demo = Self { simulated: Vec::new(), server, mqtt, http, password, folder };
        for device in devices {
            let process = simulation(demo.mqtt, device).spawn().context("a device cannot be started")?;
            demo.simulated.push(Process(process));
        }
        Ok(demo)
    }

    fn introduce(&self) -> anyhow::Result<()> {
        say(format_args!(
            "\n  MQTT      {}\n  REST      http://{http}/api\n  metrics   http://{http}/metrics\n  health    http://{http}/ready\n  \
             login     tenant@thingsboard.org / {}\n  codecs    {}\n  log       {}\n\n\
             {} devices publish the vendors' own frames; what the codecs make of them, as it is stored:\n",
            self.mqtt,
            self.password,
            self.folder.path().join("codecs").display(),
            self.folder.path().join("server.log").display(),
            self.simulated.len(),
            http = self.http,
        ))
    }

    /// Shows rows until the end; gives the devices that were heard.
    fn watch(
        &self,
        happenings: &mpsc::Receiver<Happening>,
        seconds: Option<u64>,
    ) -> anyhow::Result<BTreeSet<String>> {
        let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let mut heard = BTreeSet::new();
        loop {
            // Without an end the wait is only cut into pieces.
            let left =
                end.map_or(Duration::from_secs(3600), |end| end.saturating_duration_since(Instant::now()));
            match happenings.recv_timeout(left) {
                Ok(Happening::Row { device, line }) => {
                    heard.extend(device);
                    say(format_args!("{line}"))?;
                }
                Ok(Happening::Stop) => return Ok(heard),
                Ok(Happening::TraceEnded(outcome)) => {
                    outcome.context("the live trace broke off")?;
                    bail!("the server ended:\n{}", last_lines(&self.folder.path().join("server.log")));
                }
                Err(RecvTimeoutError::Timeout) if end.is_none() => {}
                Err(RecvTimeoutError::Timeout) => return Ok(heard),
                Err(RecvTimeoutError::Disconnected) => bail!("nobody tells what happens any more"),
            }
        }
    }

    /// Ends the devices, then the server as an operator would, so that its drain is part of the demo.
    fn stop(mut self) -> anyhow::Result<()> {
        say(format_args!("\nStopping …"))?;
        self.simulated.clear();
        let pid = Pid::from_child(&self.server.0);
        kill_process(pid, Signal::TERM).context("the server cannot be asked to stop")?;
        let (ended, end) = mpsc::channel();
        let Self { mut server, folder, .. } = self;
        std::thread::spawn(move || {
            let status = server.0.wait();
            drop(ended.send(status));
        });
        match end.recv_timeout(SERVER_TIMEOUT) {
            Ok(status) if status.as_ref().is_ok_and(std::process::ExitStatus::success) => {}
            Ok(status) => {
                bail!("the server ended with {status:?}:\n{}", last_lines(&folder.path().join("server.log")))
            }
            Err(_) => bail!("the server does not stop"),
        }
        folder.close().context("the demo's folder cannot be removed")
    }
}

fn server_command(folder: &Path, password: &str) -> Command {
    let mut command = program(built("wireglot"));
    command
        .current_dir(folder)
        .arg("serve")
        .arg("--data-dir")
        .arg(folder.join("data"))
        .arg("--codecs")
        .arg(folder.join("codecs"))
        .arg("--fleet")
        .arg(root().join(FLEET))
        .args([
            "--mqtt-bind",
            &free_or_any(DEFAULT_MQTT_PORT),
            "--http-bind",
            &free_or_any(DEFAULT_HTTP_PORT),
        ])
        .env("WIREGLOT_ADMIN_PASSWORD", password);
    command
}

/// The default port where it is free; else any.
fn free_or_any(port: u16) -> String {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    format!("127.0.0.1:{}", if free { port } else { 0 })
}

/// Reads where the server listens, which it says when it is ready.
fn addresses(server: &mut Child) -> anyhow::Result<(SocketAddr, SocketAddr)> {
    let stdout = server.stdout.take().context("its output is not read")?;
    let (found, finding) = mpsc::channel();
    std::thread::spawn(move || tell_lines(BufReader::new(stdout), &found));
    let (mut mqtt, mut http) = (None, None);
    let deadline = Instant::now() + SERVER_TIMEOUT;
    loop {
        if let (Some(mqtt), Some(http)) = (mqtt, http) {
            return Ok((mqtt, http));
        }
        let line: String = finding
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            .context("it did not say where it listens")?;
        if let Some(address) = line.strip_prefix("MQTT on ") {
            mqtt = Some(address.trim().parse().context(line.clone())?);
        } else if let Some(address) = line.strip_prefix("HTTP on http://") {
            http = Some(address.trim().parse().context(line.clone())?);
        }
    }
}

/// Goes on reading when nobody listens any more, so that the server never waits for us.
fn tell_lines(lines: impl std::io::BufRead, found: &Sender<String>) {
    for line in lines.lines() {
        let Ok(line) = line else { return };
        drop(found.send(line));
    }
}

fn simulation(mqtt: SocketAddr, device: &Simulated) -> Command {
    let mut command = program(built("wireglot"));
    command
        .args([
            "device",
            "simulate",
            "--mqtt",
            &mqtt.to_string(),
            "--count",
            "0",
            "--interval-ms",
            INTERVAL_MS,
        ])
        .args(["--token", &device.token, "--topic", &device.topic, "--vectors"])
        .arg(&device.vectors)
        .stdout(Stdio::null());
    command
}

fn random_password() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 8];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .context("no random numbers")?;
    Ok(format!("demo-{}", hex::encode(bytes)))
}

fn last_lines(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_else(|error| format!("(no log: {error})"));
    let lines: Vec<&str> = text.lines().rev().take(20).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
