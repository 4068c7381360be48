//! The rows of the table, each with its bars and how it is measured.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;
use wireglot_load::fleet::{Fleet, Names, Pace, Plan};
use wireglot_load::wire::Version;

use super::Bench;
use super::gateway::gateway;
use super::load::{Report, Shape, put};
use super::ota::ota;
use super::parts::{self, Contestant, DEVICES, Server};
use super::reads::reads;
use super::sessions::{push, session};
use super::steps::steps;
use super::table::{Bar, Line, median, short};
use crate::process::{output_of, say};

/// A row, or a few that come out of one run.
pub(super) struct Row {
    pub(super) name: &'static str,
    /// Only when asked for.
    pub(super) optional: bool,
    pub(super) measure: fn(&Bench) -> Result<Vec<Line>>,
}

/// In the order of the table.
pub(super) const ROWS: &[Row] = &[
    Row { name: "w1", optional: false, measure: w1 },
    Row { name: "sat", optional: false, measure: sat },
    Row { name: "r20k", optional: false, measure: r20k },
    Row { name: "stored", optional: false, measure: stored },
    Row { name: "r5k", optional: false, measure: r5k },
    Row { name: "swaps", optional: false, measure: swaps },
    Row { name: "steps", optional: false, measure: steps },
    Row { name: "reads", optional: false, measure: reads },
    Row { name: "decode", optional: false, measure: decode },
    Row { name: "codecs", optional: false, measure: codecs },
    Row { name: "disk", optional: false, measure: disk },
    Row { name: "restart", optional: false, measure: restart },
    Row { name: "connect", optional: false, measure: connect },
    Row { name: "idle", optional: false, measure: idle },
    Row { name: "session", optional: false, measure: session },
    Row { name: "push", optional: false, measure: push },
    Row { name: "gateway", optional: false, measure: gateway },
    Row { name: "ota", optional: false, measure: ota },
    Row { name: "mqttwrk", optional: true, measure: mqttwrk },
];

/// Points that the restart is measured with, of eight in a message.
const POINTS: u64 = 5_000_000;
const POINTS_PER_MESSAGE: u64 = 8;
/// Points that the store is filled with, so that each of its 1,000 devices has 1,000 of one key.
const POINTS_ON_DISK: u64 = 8_000_000;

/// The reports of all rounds, one list for each contestant.
fn interleaved(bench: &Bench, contestants: &[&Contestant], shape: Shape) -> Result<Vec<Vec<Report>>> {
    let mut reports: Vec<Vec<Report>> = contestants.iter().map(|_| Vec::new()).collect();
    for _ in 0..bench.rounds {
        for (contestant, reports) in contestants.iter().zip(&mut reports) {
            reports.push(put(bench, contestant, shape)?);
        }
    }
    Ok(reports)
}

/// The median over the rounds of one figure ÷ another, taken in the same round.
fn ratio(ours: &[Report], theirs: &[Report], of: fn(&Report) -> f64, to: fn(&Report) -> f64) -> f64 {
    median(ours.iter().zip(theirs).map(|(ours, theirs)| of(ours) / to(theirs)))
}

fn middle(reports: &[Report], figure: fn(&Report) -> f64) -> f64 {
    median(reports.iter().map(figure))
}

fn against_bare_acknowledgement(bench: &Bench, shape: Shape) -> Result<(f64, String)> {
    let server = Server::start(bench, &format!("{shape:?}"))?;
    let mosquitto = parts::mosquitto(bench, &format!("{shape:?}"))?;
    let bare = parts::bare_ack(bench)?;
    let reports = interleaved(bench, &[&server.contestant, &mosquitto, &bare], shape)?;
    let [ours, theirs, bares] = reports.as_slice() else { unreachable!("three went in") };
    let value = ratio(ours, theirs, Report::cpu_us, Report::cpu_us);
    let figure = |reports: &[Report]| {
        let per_second = middle(reports, |r| r.figure("per_second"));
        format!("{} µs at {:.0}/s", short(middle(reports, Report::cpu_us)), per_second)
    };
    let note = format!(
        "wireglot {}, mosquitto's bare acknowledgement {}, bare ntex-mqtt {}; generator {} µs per message",
        figure(ours),
        figure(theirs),
        figure(bares),
        short(middle(ours, |r| r.figure("own_cpu_us"))),
    );
    Ok((value, note))
}

fn w1(bench: &Bench) -> Result<Vec<Line>> {
    let (value, note) = against_bare_acknowledgement(bench, Shape::W1)?;
    let measure = "w1: CPU per message ÷ mosquitto's bare acknowledgement";
    Ok(vec![Line { measure, value, unit: "", must: Bar::AtMost(1.6), aim: Bar::AtMost(1.3), note }])
}

fn sat(bench: &Bench) -> Result<Vec<Line>> {
    let (value, note) = against_bare_acknowledgement(bench, Shape::Sat)?;
    let measure = "sat: CPU per message ÷ mosquitto's bare acknowledgement";
    Ok(vec![Line { measure, value, unit: "", must: Bar::AtMost(1.25), aim: Bar::AtMost(0.7), note }])
}

fn r20k(bench: &Bench) -> Result<Vec<Line>> {
    let server = Server::start(bench, "r20k")?;
    let pair = parts::pair(bench, "r20k")?;
    let reports = interleaved(bench, &[&server.contestant, &pair], Shape::Rate(20_000))?;
    let [ours, theirs] = reports.as_slice() else { unreachable!("two went in") };
    let value = ratio(ours, theirs, Report::cpu_us, Report::cpu_us_per_counted);
    let kept = |r: &Report| 100.0 * r.figure("counted") / r.figure("messages");
    let note = format!(
        "wireglot {} µs per message stored, the pair {} µs per message stored; the pair stored {} % of what its \
         broker acknowledged",
        short(middle(ours, Report::cpu_us)),
        short(middle(theirs, Report::cpu_us_per_counted)),
        short(middle(theirs, kept)),
    );
    let measure = "CPU per message at 20,000/s ÷ (mosquitto + Rust consumer + SQLite)";
    Ok(vec![Line { measure, value, unit: "", must: Bar::AtMost(0.25), aim: Bar::AtMost(1.0 / 6.0), note }])
}

fn stored(bench: &Bench) -> Result<Vec<Line>> {
    let server = Server::start(bench, "stored")?;
    let pair = parts::pair(bench, "stored")?;
    let reports = interleaved(bench, &[&server.contestant, &pair], Shape::Sat)?;
    let [ours, theirs] = reports.as_slice() else { unreachable!("two went in") };
    let (of, to) = (|r: &Report| r.figure("per_second"), |r: &Report| r.figure("counted_per_second"));
    let value = ratio(ours, theirs, of, to);
    let note = format!("wireglot {:.0}/s, the pair {:.0}/s", middle(ours, of), middle(theirs, to));
    let measure = "stored messages/s ÷ that pair's";
    Ok(vec![Line { measure, value, unit: "", must: Bar::AtLeast(5.0), aim: Bar::AtLeast(8.0), note }])
}

fn r5k(bench: &Bench) -> Result<Vec<Line>> {
    let server = Server::start(bench, "r5k")?;
    let reports = interleaved(bench, &[&server.contestant], Shape::Rate(5_000))?;
    let [ours] = reports.as_slice() else { unreachable!("one went in") };
    let cpu = short(middle(ours, Report::cpu_us));
    let p50 = Line {
        measure: "r5k: durable acknowledgement, p50",
        value: middle(ours, |r| r.figure("p50_us")) / 1_000.0,
        unit: " ms",
        must: Bar::AtMost(5.0),
        aim: Bar::AtMost(2.0),
        note: format!("{cpu} µs of CPU per message, counted from the intended time of sending"),
    };
    let p99 = Line {
        measure: "r5k: durable acknowledgement, p99",
        value: middle(ours, |r| r.figure("p99_us")) / 1_000.0,
        unit: " ms",
        must: Bar::AtMost(12.0),
        aim: Bar::AtMost(6.0),
        note: String::new(),
    };
    Ok(vec![p50, p99])
}

fn swaps(bench: &Bench) -> Result<Vec<Line>> {
    let server = Server::start(bench, "swaps")?;
    let over = AtomicBool::new(false);
    let (reports, swapped) = thread::scope(|scope| -> Result<_> {
        let swapper = scope.spawn(|| swap_until(bench, &server, &over));
        let reports = interleaved(bench, &[&server.contestant], Shape::Rate(5_000));
        over.store(true, Ordering::Relaxed);
        let swapped = swapper.join().expect("the swapper returns its errors")?;
        Ok((reports?, swapped))
    })?;
    let [ours] = reports.as_slice() else { unreachable!("one went in") };
    Ok(vec![Line {
        measure: "r5k while the codec is replaced twice a second, p99",
        value: middle(ours, |r| r.figure("p99_us")) / 1_000.0,
        unit: " ms",
        must: Bar::None,
        aim: Bar::None,
        note: format!("{swapped} files dropped; no disconnect, no refusal"),
    }])
}

/// Overwrites the codec's file with the one version and the other in turn.
fn swap_until(bench: &Bench, server: &Server, over: &AtomicBool) -> Result<usize> {
    let mut swapped = 0;
    for stamp in bench.tools.stamps.iter().rev().cycle() {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let beside = bench.folder.join("stamp.part");
        fs::copy(stamp, &beside)?;
        fs::rename(&beside, server.codecs.join("stamp.wasm"))?;
        swapped += 1;
        thread::park_timeout(Duration::from_millis(500));
    }
    Ok(swapped)
}

fn decode(bench: &Bench) -> Result<Vec<Line>> {
    let mut command = Command::new(&bench.tools.decode_rows);
    command
        .arg(&bench.tools.stamps[0])
        .arg(&bench.tools.engine)
        .arg(bench.folder.join("decode"))
        // Two seconds each: more of them, since nanoseconds differ more than what other rows measure.
        .arg((3 * bench.rounds).to_string());
    let report: Value = serde_json::from_str(&output_of(&mut command)?)?;
    let figure = |name: &str| report.get(name).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let codec = short(figure("codec_ns"));
    let native = Line {
        measure: "decode ÷ native Rust with `String` keys",
        value: figure("ratio"),
        unit: "",
        must: Bar::AtMost(8.0),
        aim: Bar::AtMost(5.0),
        note: format!("{codec} ns by the codec, {} ns native", short(figure("native_ns"))),
    };
    let script = Line {
        measure: "decode ÷ QuickJS with a kept context",
        value: figure("script_ratio"),
        unit: "",
        must: Bar::AtMost(0.2),
        aim: Bar::AtMost(0.1),
        note: format!("{codec} ns by the codec, {} ns by the same as a script", short(figure("script_ns"))),
    };
    let by_schema = Line {
        measure: "protobuf by a profile's schema ÷ prost's compiled code",
        value: figure("proto_ratio"),
        unit: "",
        must: Bar::AtMost(6.0),
        aim: Bar::AtMost(3.0),
        note: format!(
            "{} ns by the schema, {} ns by prost, eight values with `String` keys each",
            short(figure("proto_ns")),
            short(figure("prost_ns"))
        ),
    };
    let in_time = Line {
        measure: "protobuf by a profile's schema, eight values",
        value: figure("proto_ns") / 1_000.0,
        unit: " µs",
        must: Bar::AtMost(3.0),
        aim: Bar::AtMost(1.0),
        note: "straight into samples, without JSON in between".to_owned(),
    };
    Ok(vec![native, script, by_schema, in_time])
}

/// A thousand codecs, each with its own code: prepared by one process, met by another.
fn codecs(bench: &Bench) -> Result<Vec<Line>> {
    let folder = bench.folder.join("codecs");
    let many = |arguments: &[&str]| {
        let mut command = Command::new(&bench.tools.many_codecs);
        output_of(command.arg(&bench.tools.stamps[0]).arg(&folder).args(arguments))
    };
    say(format_args!("{}", many(&["--prepare"])?.trim()))?;
    let report: Value = serde_json::from_str(&many(&["--rounds", &bench.rounds.to_string()])?)?;
    let figure = |name: &str| report.get(name).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let start = Line {
        measure: "start with 1,000 codecs and a warm cache",
        value: figure("start_ms") / 1_000.0,
        unit: " s",
        must: Bar::AtMost(2.0),
        aim: Bar::AtMost(1.0),
        note: "engine, codecs folder, compiled code, vectors; every codec is live at the end".to_owned(),
    };
    let memory = Line {
        measure: "memory per live instance of a small codec",
        value: figure("instance_kib"),
        unit: " KiB",
        must: Bar::AtMost(30.0),
        aim: Bar::AtMost(24.0),
        note: format!(
            "1,000 profiles of one codec; the first instance of each of 1,000 codecs takes {} KiB with its code",
            short(figure("codec_and_instance_kib"))
        ),
    };
    let decode = Line {
        measure: "decode with 1,000 live codecs ÷ with one",
        value: figure("ratio"),
        unit: "",
        must: Bar::AtMost(1.15),
        aim: Bar::AtMost(1.05),
        note: format!(
            "{} ns with one, {} ns with 1,000; {} ns each where all of them take turns, as nothing is in the processor's caches then",
            short(figure("ns_with_one")),
            short(figure("ns_with_many")),
            short(figure("ns_all_in_turn")),
        ),
    };
    Ok(vec![start, memory, decode])
}

fn disk(bench: &Bench) -> Result<Vec<Line>> {
    let mut command = Command::new(&bench.tools.ingest);
    let said = output_of(command.arg(POINTS_ON_DISK.to_string()).arg(bench.folder.join("ingest")))?;
    let figure = |line: &str, before: &str| number_before(&said, line, before);
    let bytes = Line {
        measure: "bytes on disk per point",
        value: figure("on disk:", " bytes per point")?,
        unit: "",
        must: Bar::AtMost(16.0),
        aim: Bar::AtMost(8.0),
        note: format!(
            "{POINTS_ON_DISK} points, after an abort at full rate; {} after closing",
            short(figure("on disk after closing:", " bytes per point")?)
        ),
    };
    let last = Line {
        measure: "last 1,000 points of one key",
        value: figure("last 1000 points of one key, again:", " ms, p99")?,
        unit: " ms",
        must: Bar::AtMost(0.5),
        aim: Bar::AtMost(0.15),
        note: format!(
            "{} ms for the first time",
            short(figure("last 1000 points of one key, first:", " ms, p99")?)
        ),
    };
    Ok(vec![bytes, last])
}

/// The number that stands right before some words, in the line that begins with others.
fn number_before(text: &str, line: &str, words: &str) -> Result<f64> {
    let line =
        text.lines().find_map(|l| l.trim().strip_prefix(line)).with_context(|| format!("no `{line}`"))?;
    let before = line.split(words).next().unwrap_or_default();
    let number = before.rsplit(' ').next().unwrap_or_default();
    number.parse().with_context(|| format!("`{number}` in `{line}`"))
}

fn restart(bench: &Bench) -> Result<Vec<Line>> {
    let mut server = Server::start(bench, "restart")?;
    let goal = POINTS / POINTS_PER_MESSAGE;
    let mut fleet = Fleet::connect(&plan(&server, 100, 20))?;
    say(format_args!("  filling the store …"))?;
    fleet.run(Pace::Flood, &mut |tally, _| tally.acknowledged < goal)?;
    let mut took = Vec::new();
    for _ in 0..bench.rounds {
        server.kill_9_and_start()?;
        let start = Instant::now();
        let one = plan(&server, 1, 1);
        parts::wait(|| serves(&one))?;
        took.push(start.elapsed().as_secs_f64());
        // At full rate again, so that the next kill comes at the worst moment as well.
        fleet = Fleet::connect(&plan(&server, 100, 20))?;
        fleet.run(Pace::Flood, &mut |_, elapsed| elapsed < Duration::from_secs(1))?;
    }
    let bytes = server.bytes_on_disk()?;
    Ok(vec![Line {
        measure: "serving again after kill -9 at full rate, 5 M points stored",
        value: median(took.iter().copied()),
        unit: " s",
        must: Bar::AtMost(1.0),
        aim: Bar::AtMost(0.3),
        note: format!(
            "from the start of the process to the first acknowledged message; slowest {} s; {} MB in the data folder",
            short(took.iter().copied().fold(0.0, f64::max)),
            bytes / 1_000_000,
        ),
    }])
}

fn plan(server: &Server, connections: usize, window: u16) -> Plan {
    Plan {
        address: server.contestant.address,
        version: Version::V3,
        connections,
        window,
        names: Names {
            client_id: "load-{}".into(),
            user_name: "load-{}".into(),
            topic: server.contestant.topic.clone(),
        },
        keep_counters: false,
    }
}

/// Whether a device can connect and is acknowledged.
fn serves(plan: &Plan) -> bool {
    let Ok(mut fleet) = Fleet::connect(plan) else { return false };
    let first = fleet.run(Pace::Flood, &mut |tally, _| tally.acknowledged == 0);
    first.is_ok() && fleet.tally().acknowledged > 0
}

fn connect(bench: &Bench) -> Result<Vec<Line>> {
    let server = Server::start(bench, "connect")?;
    let mosquitto = parts::mosquitto(bench, "connect")?;
    let reports = interleaved(bench, &[&server.contestant, &mosquitto], Shape::Connects(5_000))?;
    let [ours, theirs] = reports.as_slice() else { unreachable!("two went in") };
    let note = format!(
        "wireglot {} µs, mosquitto {} µs; {:.0} connects/s",
        short(middle(ours, Report::cpu_us)),
        short(middle(theirs, Report::cpu_us)),
        middle(ours, |r| r.figure("per_second")),
    );
    let value = ratio(ours, theirs, Report::cpu_us, Report::cpu_us);
    let measure = "authenticated connect CPU ÷ mosquitto's anonymous";
    Ok(vec![Line { measure, value, unit: "", must: Bar::AtMost(2.0), aim: Bar::AtMost(1.5), note }])
}

fn idle(bench: &Bench) -> Result<Vec<Line>> {
    let mut rounds = Vec::new();
    for round in 0..bench.rounds {
        // A fresh process each time, because memory that was used once is not given back.
        let server = Server::start(bench, &format!("idle-{round}"))?;
        rounds.push(put(bench, &server.contestant, Shape::Idle(DEVICES))?.figure("kib_each"));
    }
    Ok(vec![Line {
        measure: "idle connection",
        value: median(rounds),
        unit: " KiB",
        must: Bar::AtMost(13.0),
        aim: Bar::AtMost(10.0),
        note: format!("{DEVICES} connections that were authenticated and said nothing"),
    }])
}

/// A generator that somebody else wrote confirms ours: processor time per message in the shape `sat`.
fn mqttwrk(bench: &Bench) -> Result<Vec<Line>> {
    let program = parts::mqttwrk()?;
    let mosquitto = parts::mosquitto(bench, "mqttwrk")?;
    let bare = parts::bare_ack(bench)?;
    let (mut by_ours, mut by_theirs) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        let ours = [&mosquitto, &bare].map(|contestant| put(bench, contestant, Shape::Sat));
        let [ours_mosquitto, ours_bare] = ours;
        by_ours.push(ours_bare?.cpu_us() / ours_mosquitto?.cpu_us());
        let theirs = [&mosquitto, &bare].map(|contestant| parts::run_mqttwrk(&program, contestant));
        let [theirs_mosquitto, theirs_bare] = theirs;
        by_theirs.push(theirs_bare? / theirs_mosquitto?);
    }
    let (ours, theirs) = (median(by_ours), median(by_theirs));
    Ok(vec![Line {
        measure: "bare ntex-mqtt ÷ mosquitto, by our generator ÷ by mqttwrk",
        value: ours / theirs,
        unit: "",
        must: Bar::None,
        aim: Bar::None,
        note: format!("{} by ours, {} by mqttwrk", short(ours), short(theirs)),
    }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_in_the_lines_of_the_store() {
        let said = "on disk: 76.3 MiB, 11.42 bytes per point\nlast 1000 points of one key, again: median 0.120 ms, p99 0.3 ms\n";
        assert_eq!(number_before(said, "on disk:", " bytes per point").unwrap(), 11.42);
        assert_eq!(number_before(said, "last 1000 points of one key, again:", " ms, p99").unwrap(), 0.12);
        assert!(number_before(said, "on disc:", " bytes per point").is_err());
    }
}
