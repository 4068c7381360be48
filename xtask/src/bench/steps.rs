//! What devices notice of a release: candidates that are tried, let at a growing share of them, promoted and stopped,
//! one step after the other, beside the same load without any of it.

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;

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
    }
    let p99 = |report: &Report| report.figure("p99_us");
    let value = median(stepped.iter().zip(&quiet).map(|(stepped, quiet)| p99(stepped) / p99(quiet)));
    let of = |reports: &[Report]| short(median(reports.iter().map(p99)) / 1_000.0);
    Ok(vec![Line {
        measure: "r5k while candidates are tried, grown and promoted: p99 ÷ quiet p99",
        value,
        unit: "",
        must: Bar::AtMost(2.0),
        aim: Bar::None,
        note: format!(
            "{} ms with {} steps, {} ms without; no disconnect, no refusal",
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

    /// Releases one version after the other; every second one is tried on a share of the devices and given up first.
    fn step_until(&self, bench: &Bench, over: &AtomicBool, steps: &AtomicUsize) -> Result<()> {
        let share = |share: f64| json!({ "share": share }).to_string().into_bytes();
        for (round, stamp) in bench.tools.stamps.iter().rev().cycle().enumerate() {
            let component = fs::read(stamp)?;
            let upload = ureq::put(format!("{}/candidate", self.base)).header("X-Authorization", &self.token);
            upload.send(component.as_slice()).context("a candidate")?;
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
            steps.fetch_add(if round % 2 == 1 { 6 } else { 4 }, Ordering::Relaxed);
            thread::park_timeout(PAUSE);
            // The next round begins with the version that this one began with.
            if over.load(Ordering::Relaxed) && round % 2 == 1 {
                return Ok(());
            }
        }
        Ok(())
    }

    fn post(&self, path: &str, body: &[u8]) -> Result<()> {
        let request = ureq::post(format!("{}/{path}", self.base)).header("X-Authorization", &self.token);
        request.send(body).with_context(|| path.to_owned())?;
        Ok(())
    }
}
