//! What sessions cost: those of devices that listen, and a change of an attribute that all of them hear of.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::Bench;
use super::load::figure;
use super::parts::{DEVICES, PASSWORD, Server, declare};
use super::table::{Bar, Line, median, short};
use crate::demo::login;
use crate::process::output_of;

/// Devices that hear of a change.
const LISTENERS: usize = 10_000;
/// Writers of attributes at a time: each waits until its change is durable.
const WRITERS: usize = 64;
const PAGE: usize = 1_000;

/// The load generator in the shape `listen`.
fn listen(bench: &Bench, server: &Server, devices: usize) -> Command {
    let mut command = Command::new(&bench.tools.load);
    command.arg("listen").args(["--address", &server.contestant.address.to_string()]);
    command.args(["--connections", &devices.to_string()]);
    for process in &server.contestant.watch {
        command.args(["--watch", &process.to_string()]);
    }
    command
}

/// The row: each round is a fresh server, because memory that was used once is not given back.
pub(super) fn session(bench: &Bench) -> Result<Vec<Line>> {
    let mut rounds = Vec::new();
    for round in 0..bench.rounds {
        let server = Server::start(bench, &format!("session-{round}"))?;
        let report: Value = serde_json::from_str(&output_of(&mut listen(bench, &server, DEVICES))?)?;
        rounds.push(figure(&report, "kib_each"));
    }
    Ok(vec![Line {
        measure: "connected device with three subscriptions",
        value: median(rounds),
        unit: " KiB",
        must: Bar::AtMost(16.0),
        aim: Bar::AtMost(12.0),
        note: format!("{DEVICES} devices that subscribed to attributes, their answers and RPCs"),
    }])
}

/// How one round of `push` went.
struct Pushed {
    seconds: f64,
    /// The same writes with nobody connected.
    alone_seconds: f64,
    extra_kib: f64,
    kib_each: f64,
}

/// The row: a change of a shared attribute of every device, and all of them listen.
pub(super) fn push(bench: &Bench) -> Result<Vec<Line>> {
    let mut fleet = String::new();
    declare(&mut fleet, LISTENERS, "")?;
    let mut rounds = Vec::new();
    for round in 0..bench.rounds {
        let server = Server::start_with(bench, &format!("push-{round}"), &fleet)?;
        rounds.push(push_once(bench, &server).with_context(|| format!("round {round}"))?);
    }
    let middle = |of: fn(&Pushed) -> f64| median(rounds.iter().map(of));
    let time = Line {
        measure: "10,000 devices hear of a change ÷ the same writes with nobody connected",
        value: middle(|round| round.seconds / round.alone_seconds),
        unit: "",
        must: Bar::AtMost(2.0),
        aim: Bar::AtMost(1.4),
        note: format!(
            "{} s from the first of 10,000 writes over REST to the last device, {} s for the writes alone",
            short(middle(|round| round.seconds)),
            short(middle(|round| round.alone_seconds)),
        ),
    };
    let memory = Line {
        measure: "memory that this takes beyond the connected devices",
        value: middle(|round| round.extra_kib / 1024.0),
        unit: " MiB",
        must: Bar::AtMost(16.0),
        aim: Bar::AtMost(8.0),
        note: format!("{} KiB for each connected device before", short(middle(|round| round.kib_each))),
    };
    Ok(vec![time, memory])
}

fn push_once(bench: &Bench, server: &Server) -> Result<Pushed> {
    let writing = Writing::new(server)?;
    // The first time costs what is there from then on: the attribute itself, and connections.
    writing.write_all(0)?;
    let alone = writing.write_all(1)?;
    let mut command = listen(bench, server, LISTENERS);
    let mut listening = command.arg("--hear").stdout(Stdio::piped()).spawn().context("wireglot-load")?;
    let mut said = BufReader::new(listening.stdout.take().context("its output is a pipe")?);
    let mut line = String::new();
    said.read_line(&mut line)?;
    ensure!(line.trim() == "ready", "the listeners said {line:?}");
    let start = Instant::now();
    writing.write_all(2)?;
    let mut report = String::new();
    said.read_to_string(&mut report)?;
    let took = start.elapsed();
    ensure!(listening.wait()?.success(), "the listeners failed");
    let report: Value = serde_json::from_str(&report)?;
    Ok(Pushed {
        seconds: took.as_secs_f64(),
        alone_seconds: alone.as_secs_f64(),
        extra_kib: figure(&report, "extra_kib"),
        kib_each: figure(&report, "kib_each"),
    })
}

/// Whoever changes attributes over REST.
struct Writing {
    base: String,
    token: String,
    ids: Vec<String>,
}

impl Writing {
    fn new(server: &Server) -> Result<Self> {
        let base = format!("http://{}", server.http);
        let token = format!("Bearer {}", login(server.http, PASSWORD)?);
        let mut ids = Vec::new();
        for page in 0..LISTENERS.div_ceil(PAGE) {
            let path = format!("{base}/api/tenant/devices?pageSize={PAGE}&page={page}");
            let mut answer = ureq::get(path).header("X-Authorization", &token).call()?;
            let answer: Value = answer.body_mut().read_json()?;
            let devices = answer.get("data").and_then(Value::as_array).context("a page of devices")?;
            let id = |device: &Value| device.pointer("/id/id").and_then(Value::as_str).map(str::to_owned);
            ids.extend(devices.iter().filter_map(id));
        }
        ensure!(ids.len() == LISTENERS, "{} devices are there", ids.len());
        Ok(Self { base, token, ids })
    }

    /// Gives the attribute of every device this value; how long that takes.
    fn write_all(&self, value: u32) -> Result<Duration> {
        let (start, next) = (Instant::now(), AtomicUsize::new(0));
        let body = json!({ "interval": value }).to_string();
        let written = thread::scope(|scope| {
            let write = || -> Result<()> {
                let agent = ureq::Agent::new_with_defaults();
                while let Some(id) = self.ids.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let path = format!("{}/api/plugins/telemetry/DEVICE/{id}/SHARED_SCOPE", self.base);
                    let request = agent.post(path).header("X-Authorization", &self.token);
                    request.header("Content-Type", "application/json").send(&body)?;
                }
                Ok(())
            };
            let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(write)).collect();
            let joined =
                writers.into_iter().map(|writer| writer.join().expect("writers return their errors"));
            joined.collect::<Result<Vec<()>>>()
        });
        written?;
        Ok(start.elapsed())
    }
}
