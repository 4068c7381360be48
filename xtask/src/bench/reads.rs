//! What devices notice of readers: a thousand devices with a day's telemetry each, and clients that ask for histories and
//! aggregations as fast as answers come, beside the same load without any of it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use ureq::Agent;

use super::Bench;
use super::load::{Report, Shape, put};
use super::parts::{PASSWORD, Server};
use super::table::{Bar, Line, median, short};
use crate::demo::login;
use crate::process::say;

const RATE: u32 = 5_000;
/// Devices that have a day's telemetry; the same ones publish.
const READ_DEVICES: usize = 1_000;
const MINUTES: i64 = 24 * 60;
const MINUTE_MS: i64 = 60_000;
const KEYS: [&str; 5] = ["temperature", "humidity", "battery", "pressure", "state"];
/// Connections that read.
const READERS: usize = 8;
/// The readers' own work would be another machine's.
const NICE: i32 = 10;
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The row: each round is the quiet load and then the same beside readers.
pub(super) fn reads(bench: &Bench) -> Result<Vec<Line>> {
    let server = Server::start(bench, "reads")?;
    let day = Day::fill(server.http)?;
    let (mut quiet, mut read) = (Vec::new(), Vec::new());
    let (answers, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let mut span = Duration::ZERO;
    for _ in 0..bench.rounds {
        quiet.push(put(bench, &server.contestant, Shape::Rate(RATE))?);
        let over = AtomicBool::new(false);
        let started = Instant::now();
        let report = thread::scope(|scope| -> Result<Report> {
            let readers: Vec<_> = (0..READERS)
                .map(|number| {
                    scope.spawn({
                        let (day, over, answers, bytes) = (&day, &over, &answers, &bytes);
                        move || day.read_until(number, over, answers, bytes)
                    })
                })
                .collect();
            let report = put(bench, &server.contestant, Shape::Rate(RATE));
            over.store(true, Ordering::Relaxed);
            for reader in readers {
                reader.join().expect("readers return their errors")?;
            }
            report
        })?;
        span += started.elapsed();
        read.push(report);
    }
    let figure =
        |reports: &[Report], name: &str| short(median(reports.iter().map(|r| r.figure(name))) / 1_000.0);
    let p99 = |report: &Report| report.figure("p99_us");
    let per_second = |count: &AtomicUsize| count.load(Ordering::Relaxed) as f64 / span.as_secs_f64();
    Ok(vec![Line {
        measure: "r5k while readers ask for a day's histories and aggregations: p99 ÷ quiet p99",
        value: median(read.iter().zip(&quiet).map(|(read, quiet)| p99(read) / p99(quiet))),
        unit: "",
        must: Bar::AtMost(2.0),
        aim: Bar::AtMost(1.3),
        note: format!(
            "{} ms with readers, {} ms without (p50 {} and {} ms); {READERS} connections get {:.0} answers/s, {} MB/s, each \
             of a day of one of {READ_DEVICES} devices: every other one all points of {} keys, the others quarters of an hour",
            figure(&read, "p99_us"),
            figure(&quiet, "p99_us"),
            figure(&read, "p50_us"),
            figure(&quiet, "p50_us"),
            per_second(&answers),
            short(per_second(&bytes) / 1e6),
            KEYS.len(),
        ),
    }])
}

/// A day of many devices, and where to ask for it.
struct Day {
    base: String,
    token: String,
    devices: Vec<String>,
    end: i64,
}

impl Day {
    /// One message a minute of each device, until now.
    fn fill(http: SocketAddr) -> Result<Self> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let token = format!("Bearer {}", login(http, PASSWORD)?);
        let mut day = Self {
            base: format!("http://{http}/api"),
            token,
            devices: Vec::new(),
            end: i64::try_from(now.as_millis())?,
        };
        say(format_args!("  filling the store …"))?;
        let agent = agent();
        // The first thousand by their numbers publish.
        for number in 0..READ_DEVICES {
            let device = day.get(&agent, &format!("/tenant/devices?deviceName=load-{number}"))?;
            let device: Value = serde_json::from_slice(&device)?;
            let id = device.pointer("/id/id").and_then(Value::as_str).context("the id of a device")?;
            day.devices.push(id.to_owned());
        }
        for (number, device) in day.devices.iter().enumerate() {
            let url = format!("{}/plugins/telemetry/DEVICE/{device}/timeseries/ANY", day.base);
            let request = agent.post(url).header("X-Authorization", &day.token);
            request.send(day.messages(number)?.as_bytes()).context("a day's telemetry is saved")?;
        }
        Ok(day)
    }

    fn messages(&self, device: usize) -> Result<String> {
        let mut text = String::from("[");
        for minute in 0..MINUTES {
            let ts = self.end - (MINUTES - minute) * MINUTE_MS;
            let wave = ((minute + i64::try_from(device)?) % 720 - 360).abs();
            let comma = if minute == 0 { "" } else { "," };
            write!(
                text,
                "{comma}{{\"ts\":{ts},\"values\":{{\"temperature\":{}.{},\"humidity\":{},\"battery\":3.{},\"pressure\":{}.5,\
                 \"state\":\"{}\"}}}}",
                10 + wave / 20,
                wave % 10,
                30 + wave / 8,
                9 - minute / 288,
                990 + wave / 12,
                if wave > 180 { "on" } else { "off" },
            )?;
        }
        text.push(']');
        Ok(text)
    }

    /// Asks for one device after the other.
    fn read_until(
        &self,
        number: usize,
        over: &AtomicBool,
        answers: &AtomicUsize,
        bytes: &AtomicUsize,
    ) -> Result<()> {
        rustix::process::nice(NICE).context("readers give way")?;
        let agent = agent();
        let (start, keys) = (self.end - MINUTES * MINUTE_MS, KEYS.join(","));
        let range = format!("values/timeseries?keys={keys}&startTs={start}&endTs={}", self.end);
        // Each begins elsewhere.
        let from = number * self.devices.len() / READERS;
        for (turn, device) in self.devices.iter().cycle().skip(from).enumerate() {
            if over.load(Ordering::Relaxed) {
                break;
            }
            let how = if turn % 2 == 0 { "limit=2000" } else { "agg=AVG&interval=900000" };
            let answer = self.get(&agent, &format!("/plugins/telemetry/DEVICE/{device}/{range}&{how}"))?;
            let least = if turn % 2 == 0 { 40 * 1_440 } else { 40 * 96 };
            ensure!(answer.len() > least, "an answer of {} bytes is not a day", answer.len());
            answers.fetch_add(1, Ordering::Relaxed);
            bytes.fetch_add(answer.len(), Ordering::Relaxed);
        }
        Ok(())
    }

    fn get(&self, agent: &Agent, path: &str) -> Result<Vec<u8>> {
        let mut answer = agent
            .get(format!("{}{path}", self.base))
            .header("X-Authorization", &self.token)
            .call()
            .with_context(|| path.to_owned())?;
        Ok(answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?)
    }
}

fn agent() -> Agent {
    Agent::config_builder().proxy(None).build().into()
}
