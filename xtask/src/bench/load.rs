//! Runs the load generator against one contestant and reads what it reports.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::Bench;
use super::parts::Contestant;

/// A load shape, with the words of the design.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// 1,000 connections with one message in flight each.
    W1,
    /// 100 connections with 20 in flight.
    Sat,
    /// This many messages per second over 1,000 connections.
    Rate(u32),
    /// Connections that do nothing.
    Idle(usize),
    /// This many connects, one after the other in small groups.
    Connects(usize),
}

/// What the generator said.
pub(super) struct Report(Value);

impl Report {
    /// A figure by its name.
    pub(super) fn figure(&self, name: &str) -> f64 {
        figure(&self.0, name)
    }

    /// Processor time per message of all watched processes, in microseconds.
    pub(super) fn cpu_us(&self) -> f64 {
        let list = self.0.get("watched_cpu_us").and_then(Value::as_array);
        list.map_or(f64::NAN, |list| list.iter().filter_map(Value::as_f64).sum())
    }

    /// The same per message that was counted as stored, not only acknowledged.
    pub(super) fn cpu_us_per_counted(&self) -> f64 {
        self.cpu_us() * self.figure("messages") / self.figure("counted")
    }
}

/// A figure of a report by its name.
pub(super) fn figure(report: &Value, name: &str) -> f64 {
    report.get(name).and_then(Value::as_f64).unwrap_or(f64::NAN)
}

/// Puts `shape` on a contestant.
pub(super) fn put(bench: &Bench, contestant: &Contestant, shape: Shape) -> Result<Report> {
    let mut command = Command::new(&bench.tools.load);
    let (word, connections) = match shape {
        Shape::W1 => ("flood", 1_000),
        Shape::Sat => ("flood", 100),
        Shape::Rate(_) => ("pace", 1_000),
        Shape::Idle(connections) => ("idle", connections),
        Shape::Connects(_) => ("connect", 1_000),
    };
    command.arg(word).args(["--address", &contestant.address.to_string()]);
    command.args(["--connections", &connections.to_string(), "--topic", &contestant.topic]);
    for process in &contestant.watch {
        command.args(["--watch", &process.to_string()]);
    }
    if let Some(file) = &contestant.counter_file {
        command.arg("--counter-file").arg(file);
    }
    let seconds = bench.span.as_secs().to_string();
    match shape {
        Shape::W1 => command.args(["--window", "1", "--seconds", &seconds]),
        Shape::Sat => command.args(["--window", "20", "--seconds", &seconds]),
        Shape::Rate(rate) => {
            command.args(["--window", "20", "--seconds", &seconds, "--rate", &rate.to_string()])
        }
        Shape::Idle(_) => &mut command,
        Shape::Connects(times) => command.args(["--times", &times.to_string()]),
    };
    let output = command.output().context("wireglot-load")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{shape:?} on {}: {complaint}", contestant.name);
    let report: Value = serde_json::from_slice(&output.stdout).context("the generator's report")?;
    let bad = |name: &str| report.get(name).and_then(Value::as_u64).unwrap_or(0);
    ensure!(
        bad("closed") == 0,
        "{shape:?} on {}: {} connections were closed",
        contestant.name,
        bad("closed")
    );
    ensure!(bad("refused") == 0, "{shape:?} on {}: {} messages refused", contestant.name, bad("refused"));
    Ok(Report(report))
}
