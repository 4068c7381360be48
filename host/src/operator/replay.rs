//! `wireglot replay`: what was kept is decoded again.

use std::time::Duration;

use anyhow::bail;
use serde_json::{Map, Value, json};
use wireglot_model::Timestamp;

use super::client::{Client, ServerArgs};
use super::print;
use super::table::{cell, render, time};

/// How often the server is asked how far it is.
const STEP: Duration = Duration::from_millis(200);

#[derive(clap::Args, Debug)]
pub(crate) struct ReplayArgs {
    /// The device profile whose frames are decoded again.
    #[arg(long)]
    profile: String,
    /// Only those of this device.
    #[arg(long)]
    device: Option<String>,
    /// By which codec: NAME, or NAME@VERSION. Default: what serves the profile now.
    #[arg(long)]
    codec: Option<String>,
    /// Only what was received since then: 90s, 15m, 2h or 7d ago, or a time such as 2026-11-22T10:00:00Z.
    #[arg(long, value_parser = moment)]
    since: Option<Moment>,
    /// Only what was received before then.
    #[arg(long, value_parser = moment)]
    until: Option<Moment>,
    /// Only dead letters of this stage, such as no-codec or refused.
    #[arg(long)]
    stage: Option<String>,
    /// Only the last so many.
    #[arg(long)]
    last: Option<usize>,
    /// All frames that the profile keeps raw, instead of its dead letters; their values are replaced.
    #[arg(long)]
    all: bool,
    /// Tell what would happen, and change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// A time as people write it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Moment {
    At(Timestamp),
    /// Milliseconds before now.
    Ago(i64),
}

fn moment(text: &str) -> Result<Moment, String> {
    if let Some(at) = Timestamp::parse_rfc3339(text) {
        return Ok(Moment::At(at));
    }
    let wrong = || {
        format!(
            "{text:?} is neither a length of time such as 90s, 15m, 2h or 7d nor a time such as 2026-11-22T10:00:00Z"
        )
    };
    let units = [("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    let ago = units.iter().find_map(|(unit, ms)| {
        let count: i64 = text.strip_suffix(unit)?.parse().ok().filter(|count| *count >= 0)?;
        count.checked_mul(*ms)
    });
    ago.map(Moment::Ago).ok_or_else(wrong)
}

impl Moment {
    fn ms(self) -> i64 {
        match self {
            Self::At(at) => at.0,
            Self::Ago(ms) => wireglot_device::now().0.saturating_sub(ms),
        }
    }
}

pub(crate) fn run(args: &ReplayArgs) -> anyhow::Result<()> {
    let mut order = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        order.extend(value.map(|value| (name.to_owned(), value)));
    };
    set("deviceProfileName", Some(json!(args.profile)));
    set("deviceName", args.device.as_ref().map(|name| json!(name)));
    set("codec", args.codec.as_ref().map(|codec| json!(codec)));
    set("since", args.since.map(|moment| json!(moment.ms())));
    set("until", args.until.map(|moment| json!(moment.ms())));
    set("stage", args.stage.as_ref().map(|stage| json!(stage)));
    set("last", args.last.map(|last| json!(last)));
    set("all", Some(json!(args.all)));
    set("dryRun", Some(json!(args.dry_run)));
    let client = Client::connect(&args.server)?;
    let begun = client.post("/api/replay", &Value::Object(order))?;
    let status = loop {
        let status = client.get("/api/replay")?;
        if status.get("id") != begun.get("id") {
            bail!("the server was restarted meanwhile; run it again: nothing is stored twice");
        }
        if status.get("state") != Some(&json!("running")) {
            break status;
        }
        std::thread::park_timeout(STEP);
    };
    if args.server.json {
        return print(format_args!("{status}"));
    }
    show(args, &status)?;
    match (cell(&status, "state").as_str(), status.get("error").and_then(Value::as_str)) {
        ("done", _) => Ok(()),
        (state, Some(error)) => bail!("the replay {state}: {error}; run it again: nothing is stored twice"),
        (state, None) => bail!("the replay was {state}"),
    }
}

fn show(args: &ReplayArgs, status: &Value) -> anyhow::Result<()> {
    let report = status.get("report").unwrap_or(&Value::Null);
    let codec = status.get("codec").unwrap_or(&Value::Null);
    let count = |name: &str| cell(report, name);
    let what = if args.dry_run { "would be decoded" } else { "decoded" };
    print(format_args!(
        "{} frames by {} {}: {} {what}, {} failed, {} left alone.",
        count("frames"),
        cell(codec, "name"),
        cell(codec, "version"),
        count("decoded"),
        count("failed"),
        count("left"),
    ))?;
    print(format_args!(
        "Values: {} the same, {} changed, {} gone, {} new.",
        count("same"),
        count("changed"),
        count("onlyOld"),
        count("onlyNew"),
    ))?;
    let rows = |name: &str, row: &dyn Fn(&Value) -> Vec<String>| -> Vec<Vec<String>> {
        report.get(name).and_then(Value::as_array).into_iter().flatten().map(row).collect()
    };
    let changes = rows("changes", &|change| {
        vec![
            time(change, "ts"),
            cell(change, "deviceName"),
            cell(change, "key"),
            cell(change, "old"),
            cell(change, "new"),
        ]
    });
    if !changes.is_empty() {
        print(format_args!("\n{}", render(&["TIME", "DEVICE", "KEY", "OLD", "NEW"], &changes)))?;
    }
    let failures = rows("failures", &|failure| {
        vec![
            time(failure, "receivedTs"),
            cell(failure, "deviceName"),
            cell(failure, "payloadHex"),
            cell(failure, "reason"),
        ]
    });
    if !failures.is_empty() {
        print(format_args!("\n{}", render(&["RECEIVED", "DEVICE", "PAYLOAD", "REASON"], &failures)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<Moment>) {
        assert_eq!(moment(text).ok(), expected, "{text:?}");
    }

    #[test]
    fn moments_are_lengths_or_times() {
        check("90s", Some(Moment::Ago(90_000)));
        check("15m", Some(Moment::Ago(900_000)));
        check("2h", Some(Moment::Ago(7_200_000)));
        check("7d", Some(Moment::Ago(604_800_000)));
        check("1970-01-01T00:00:01Z", Some(Moment::At(Timestamp(1_000))));
        for text in ["", "h", "-1h", "2 h", "2w", "9223372036854775807d", "yesterday"] {
            check(text, None);
        }
    }
}
