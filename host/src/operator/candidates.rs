//! `wireglot codec candidate|promote|discard|canary`: a new version beside the live one.

use serde_json::{Map, Value, json};

use super::client::{Client, ServerArgs, escaped};
use super::print;
use super::table::{cell, hash, render};

#[derive(clap::Args, Debug)]
pub(crate) struct CandidateArgs {
    /// The codec.
    name: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(clap::Args, Debug)]
pub(crate) struct CanaryArgs {
    /// The codec.
    name: String,
    /// Every device is served by the live version again.
    #[arg(long)]
    stop: bool,
    /// The share of the devices that the candidate serves, from 0 to 1. Default: 0.05.
    #[arg(long)]
    share: Option<f64>,
    /// Messages of these devices before anything is decided in favour of the candidate.
    #[arg(long)]
    min_messages: Option<u64>,
    /// Seconds before that.
    #[arg(long)]
    duration_s: Option<u64>,
    /// How much larger the share of failures may be than with the live version.
    #[arg(long)]
    max_error_rate: Option<f64>,
    /// How many times the live version's time a message may take.
    #[arg(long)]
    max_latency_ratio: Option<f64>,
    /// The share of messages that may be decoded to other values.
    #[arg(long)]
    max_difference_rate: Option<f64>,
    /// When all budgets are kept, wait for `promote` instead of promoting.
    #[arg(long)]
    hold: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn candidate(args: &CandidateArgs) -> anyhow::Result<()> {
    let client = Client::connect(&args.server)?;
    let status = client.get(&path(&args.name, "candidate"))?;
    if args.server.json {
        return print(format_args!("{status}"));
    }
    print(format_args!(
        "{}: candidate {} ({}), {}.",
        args.name,
        cell(&status, "version"),
        hash(&status),
        cell(&status, "state")
    ))?;
    if let Some(reason) = status.get("error").and_then(Value::as_str) {
        return print(format_args!("It was rejected: {reason}"));
    }
    let report = status.get("report").unwrap_or(&Value::Null);
    let results = report.get("results").unwrap_or(&Value::Null);
    print(format_args!(
        "{} frames compared: {} the same, {} different, {} only by the old one, {} only by the new one, {} by neither; time {} of the old one's; {} frames left out.",
        cell(report, "frames"),
        cell(results, "same"),
        cell(results, "different"),
        cell(results, "onlyOld"),
        cell(results, "onlyNew"),
        cell(results, "neither"),
        cell(report, "timeRatio"),
        cell(&status, "framesDropped"),
    ))?;
    let keys = report.get("keys").and_then(Value::as_object).into_iter().flatten();
    let rows: Vec<Vec<String>> = keys
        .map(|(key, counts)| {
            let counts = ["same", "changed", "onlyOld", "onlyNew"].map(|name| cell(counts, name));
            std::iter::once(key.clone()).chain(counts).collect()
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    print(format_args!("\n{}", render(&["KEY", "SAME", "CHANGED", "ONLY OLD", "ONLY NEW"], &rows)))
}

pub(crate) fn promote(args: &CandidateArgs) -> anyhow::Result<()> {
    let client = Client::connect(&args.server)?;
    let codec = client.post(&path(&args.name, "candidate/promote"), &json!({}))?;
    if args.server.json {
        return print(format_args!("{codec}"));
    }
    print(format_args!("{}: version {} ({}) is live.", args.name, cell(&codec, "version"), hash(&codec)))
}

pub(crate) fn discard(args: &CandidateArgs) -> anyhow::Result<()> {
    let client = Client::connect(&args.server)?;
    client.post_for_nothing(&path(&args.name, "candidate/discard"), &json!({}))?;
    if args.server.json {
        return print(format_args!("{}", json!({"discarded": args.name})));
    }
    print(format_args!("{}: the candidate was discarded.", args.name))
}

pub(crate) fn canary(args: &CanaryArgs) -> anyhow::Result<()> {
    let client = Client::connect(&args.server)?;
    let path = path(&args.name, "canary");
    let mut plan = Map::new();
    let mut set = |name: &str, value: Option<Value>| plan.extend(value.map(|value| (name.to_owned(), value)));
    set("share", args.share.map(|share| json!(share)));
    set("minMessages", args.min_messages.map(|count| json!(count)));
    set("durationS", args.duration_s.map(|seconds| json!(seconds)));
    set("maxErrorRate", args.max_error_rate.map(|rate| json!(rate)));
    set("maxLatencyRatio", args.max_latency_ratio.map(|ratio| json!(ratio)));
    set("maxDifferenceRate", args.max_difference_rate.map(|rate| json!(rate)));
    set("onSuccess", args.hold.then(|| json!("hold")));
    let status = match (args.stop, plan.is_empty()) {
        (true, _) => client.delete(&path)?,
        (false, true) => client.get(&path)?,
        (false, false) => client.post(&path, &Value::Object(plan))?,
    };
    if args.server.json {
        return print(format_args!("{status}"));
    }
    let (plan, numbers) =
        (status.get("plan").unwrap_or(&Value::Null), status.get("numbers").unwrap_or(&Value::Null));
    print(format_args!(
        "{}: canary of {} ({}) on {} of the devices: {}; {} messages, {} errors, {} of {} compared differ.",
        args.name,
        cell(&status, "version"),
        hash(&status),
        cell(plan, "share"),
        cell(&status, "state"),
        cell(numbers, "messages"),
        cell(numbers, "errors"),
        cell(numbers, "different"),
        cell(numbers, "compared"),
    ))?;
    match status.get("reason").and_then(Value::as_str) {
        Some(reason) => print(format_args!("Why: {reason}")),
        None => Ok(()),
    }
}

fn path(name: &str, rest: &str) -> String {
    format!("/api/codecs/{}/{rest}", escaped(name))
}
