//! What devices notice of a release: candidates that are tried, let at a growing share of them, promoted and stopped,
//! versions that are rolled back and uploaded again, one step after the other, beside the same load without any of it.

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::Bench;
use super::load::{Report, Shape, put};
use super::parts::{PASSWORD, Server};
use super::table::{Bar, Line, median, short};
use crate::demo::login;

const RATE: u32 = 5_000;
/// Between two steps.
const PAUSE: Duration = Duration::from_millis(250);

/// The row: each round is the quiet load and then the same with steps.
pub(super) fn steps(bench: &Bench) -> Result<Vec<Line>> {
    let server = Server::start(bench, "steps")?;
    let release = Release::open(server.http)?;
    let (mut quiet, mut stepped) = (Vec::new(), Vec::new());
    let steps = AtomicUsize::new(0);
    for _ in 0..bench.rounds {
        quiet.push(put(bench, &server.contestant, Shape::Rate(RATE))?);
        let over = AtomicBool::new(false);
        let report = thread::scope(|scope| -> Result<Report> {
            let stepper = scope.spawn(|| release.step_until(bench, &over, &steps));
            let report = put(bench, &server.contestant, Shape::Rate(RATE));
            over.store(true, Ordering::Relaxed);
            stepper.join().expect("the stepper returns its errors")?;
            report
        })?;
        stepped.push(report);
        release.check_nothing_lost()?;
    }
    let p99 = |report: &Report| report.figure("p99_us");
    let value = median(stepped.iter().zip(&quiet).map(|(stepped, quiet)| p99(stepped) / p99(quiet)));
    let of = |reports: &[Report]| short(median(reports.iter().map(p99)) / 1_000.0);
    Ok(vec![Line {
        measure: "r5k while versions are tried, grown, promoted, rolled back and swapped: p99 ÷ quiet p99",
        value,
        unit: "",
        must: Bar::AtMost(2.0),
        aim: Bar::None,
        note: format!(
            "{} ms with {} steps, {} ms without; no disconnect, no refusal, no dead letter",
            of(&stepped),
            steps.load(Ordering::Relaxed),
            of(&quiet),
        ),
    }])
}

/// The management side of the server.
struct Release {
    base: String,
    token: String,
}

impl Release {
    fn open(http: SocketAddr) -> Result<Self> {
        let token = login(http, PASSWORD)?;
        Ok(Self { base: format!("http://{http}/api/codecs/stamp"), token: format!("Bearer {token}") })
    }

    /// Releases one version after the other, takes it back and uploads it again; every second one is tried on a share of
    /// the devices and given up first.
    fn step_until(&self, bench: &Bench, over: &AtomicBool, steps: &AtomicUsize) -> Result<()> {
        let share = |share: f64| json!({ "share": share }).to_string().into_bytes();
        for (round, stamp) in bench.tools.stamps.iter().rev().cycle().enumerate() {
            let component = fs::read(stamp)?;
            self.put("/candidate", &component)?;
            if round % 2 == 1 {
                self.post("canary", &share(0.2))?;
                thread::park_timeout(PAUSE);
                let stop = ureq::delete(format!("{}/canary", self.base));
                stop.header("X-Authorization", &self.token).call().context("a canary is stopped")?;
            }
            for part in [0.1, 0.5] {
                self.post("canary", &share(part))?;
                thread::park_timeout(PAUSE);
            }
            self.post("candidate/promote", b"")?;
            thread::park_timeout(PAUSE);
            self.post("rollback", b"{}")?;
            thread::park_timeout(PAUSE);
            // What was rolled back is taken again when it is uploaded: a swap like any other.
            self.put("", &component)?;
            steps.fetch_add(if round % 2 == 1 { 8 } else { 6 }, Ordering::Relaxed);
            thread::park_timeout(PAUSE);
            // The next round begins with the version that this one began with.
            if over.load(Ordering::Relaxed) && round % 2 == 1 {
                return Ok(());
            }
        }
        Ok(())
    }

    /// A message that met no version, or half of one, would be in the dead letters.
    fn check_nothing_lost(&self) -> Result<()> {
        let letters = self.base.replace("/codecs/stamp", "/dead-letters?limit=1");
        let letters = ureq::get(letters).header("X-Authorization", &self.token);
        let letters: Vec<Value> = serde_json::from_str(&letters.call()?.body_mut().read_to_string()?)?;
        ensure!(letters.is_empty(), "a message was not decoded: {letters:?}");
        Ok(())
    }

    fn put(&self, path: &str, component: &[u8]) -> Result<()> {
        let request = ureq::put(format!("{}{path}", self.base)).header("X-Authorization", &self.token);
        request.send(component).with_context(|| format!("uploading to {path:?}"))?;
        Ok(())
    }

    fn post(&self, path: &str, body: &[u8]) -> Result<()> {
        let request = ureq::post(format!("{}/{path}", self.base)).header("X-Authorization", &self.token);
        request.send(body).with_context(|| path.to_owned())?;
        Ok(())
    }
}
