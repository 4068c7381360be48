//! `many-codecs`: what a folder of a thousand codecs costs: a start with a warm cache, memory, and time per decode.
//!
//! The codecs are copies of one component with a custom section each, so every one is compiled, cached and loaded by
//! itself. A first process prepares (`--prepare`), a second one measures what it finds.

use std::fs;
use std::hint::black_box;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Parser;
use serde_json::{Value, json};
use wireglot_codec::{CodecBinding, CodecConfig, CodecFolder, CodecTable, Frame, WorkerCodecs};
use wireglot_load::frame;
use wireglot_model::{CodecName, ProfileId, Timestamp};

/// A file that has been left alone for so long is taken at the first look.
const AGE: Duration = Duration::from_secs(60);
/// Turns in one round. The two sides take turns of a few milliseconds, because what else a shared machine does lasts longer
/// and meets both alike.
const TURNS: u32 = 50;
/// Decodes before a turn, so that the other side's is not in the caches.
const WARM_UP: u32 = 200;

#[derive(Parser)]
struct Flags {
    /// The stamping codec, as a component; its vectors may lie beside it.
    component: PathBuf,
    /// A folder for codecs, caches and versions.
    folder: PathBuf,
    #[arg(long, default_value_t = 1_000)]
    codecs: u32,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Decodes in one round, by each side.
    #[arg(long, default_value_t = 100_000)]
    calls: u32,
    /// Fill the folder and compile everything, instead of measuring.
    #[arg(long)]
    prepare: bool,
}

fn main() -> Result<()> {
    let flags = Flags::parse();
    let report = if flags.prepare { prepare(&flags)? } else { measure(&flags)? };
    writeln!(stdout(), "{report}")?;
    Ok(())
}

fn prepare(flags: &Flags) -> Result<Value> {
    for (place, count) in [("one", 1), ("many", flags.codecs)] {
        fill(flags, place, count)?;
        open(&flags.folder.join(place), count)?;
    }
    Ok(json!({ "prepared": flags.codecs }))
}

fn fill(flags: &Flags, place: &str, count: u32) -> Result<()> {
    let codecs = flags.folder.join(place).join("codecs");
    fs::create_dir_all(&codecs)?;
    let component = fs::read(&flags.component).context("the component")?;
    let vectors = fs::read(flags.component.with_extension("vectors.json")).ok();
    let old = SystemTime::now() - AGE;
    let write = |file: PathBuf, bytes: &[u8]| -> Result<()> {
        fs::write(&file, bytes)?;
        Ok(fs::File::open(&file)?.set_modified(old)?)
    };
    for number in 0..count {
        let mut distinct = component.clone();
        // A custom section of six bytes: a name of one letter and the number.
        distinct.extend([0, 6, 1, b'n']);
        distinct.extend(number.to_le_bytes());
        write(codecs.join(format!("c{number}.wasm")), &distinct)?;
        if let Some(vectors) = &vectors {
            write(codecs.join(format!("c{number}.vectors.json")), vectors)?;
        }
    }
    Ok(())
}

/// What a server does at its start.
fn open(home: &Path, count: u32) -> Result<CodecTable> {
    let table = CodecTable::open(CodecConfig::new(home, home.join("codecs")))?;
    let report = CodecFolder::new(table.clone()).scan(Timestamp::from_system(SystemTime::now()), &|_| true);
    ensure!(table.live_count() == count as usize, "{} of {count} are live: {report:?}", table.live_count());
    Ok(table)
}

fn measure(flags: &Flags) -> Result<Value> {
    let start = Instant::now();
    let many = open(&flags.folder.join("many"), flags.codecs)?;
    let start_ms = start.elapsed().as_secs_f64() * 1e3;
    let one = open(&flags.folder.join("one"), 1)?;
    let (alone, crowded) = (one.worker(), many.worker());
    let distinct_kib = kib_each(flags.codecs, |number| decode(&crowded, &binding(number, number)?, 1))?;
    // Further profiles of one codec share its code: what is left is the instance.
    let same_kib = kib_each(flags.codecs, |number| decode(&crowded, &binding(flags.codecs + number, 0)?, 1))?;
    let (mut with_one, mut with_many, mut in_turn) = (Vec::new(), Vec::new(), Vec::new());
    let calls = (flags.calls / TURNS).max(1);
    let bindings: Vec<CodecBinding> =
        (0..flags.codecs).map(|number| binding(number, number)).collect::<Result<_>>()?;
    let lone = binding(0, 0)?;
    // The first round warms up.
    for round in 0..=flags.rounds {
        for turn in 0..TURNS {
            // Another of the thousand each time: what one of them owes to where its code and memory lie evens out.
            let of_many =
                bindings.get(turn as usize * 7 % bindings.len()).context("there is at least one")?;
            let one = || timed(&alone, &lone, calls);
            let many = || timed(&crowded, of_many, calls);
            let (one, many) = if turn % 2 == 0 {
                let one = one()?;
                (one, many()?)
            } else {
                let many = many()?;
                (one()?, many)
            };
            if round > 0 {
                with_one.push(one);
                with_many.push(many);
            }
        }
        let figure = nanoseconds_each(|| all_in_turn(&crowded, &bindings), flags.codecs * 10)?;
        if round > 0 {
            in_turn.push(figure);
        }
    }
    let ratios = with_one.iter().zip(&with_many).map(|(one, many)| many / one).collect();
    Ok(json!({
        "codecs": flags.codecs,
        "start_ms": start_ms,
        "instance_kib": same_kib,
        "codec_and_instance_kib": distinct_kib,
        "ns_with_one": median(with_one),
        "ns_with_many": median(with_many),
        "ratio": median(ratios),
        "ns_all_in_turn": median(in_turn),
    }))
}

fn binding(profile: u32, codec: u32) -> Result<CodecBinding> {
    let profile = ProfileId(format!("00000000-0000-4000-8000-{profile:012x}").parse().context("a fixed id")?);
    let codec = CodecName::parse(&format!("c{codec}")).map_err(|error| anyhow!("{error}"))?;
    let (settings, limits) = (Arc::from("{}"), Arc::default());
    Ok(CodecBinding { profile, codec, version: None, settings, isolate_messages: false, limits })
}

fn decode(codecs: &WorkerCodecs, binding: &CodecBinding, calls: u32) -> Result<()> {
    for counter in 0..calls {
        let payload = frame::frame(counter);
        let frame = Frame {
            payload: black_box(&payload),
            topic: "v1/devices/me/telemetry",
            received: Timestamp(1_700_000_000_000),
            device: "load-1",
            profile: "stamped",
            metadata: &[],
        };
        let decoded = codecs.decode(binding, &frame).map_err(|failure| anyhow!("{}", failure.reason))?;
        black_box(decoded);
    }
    Ok(())
}

/// What a decode takes by a codec that is in use.
fn timed(codecs: &WorkerCodecs, binding: &CodecBinding, calls: u32) -> Result<f64> {
    decode(codecs, binding, WARM_UP)?;
    nanoseconds_each(|| decode(codecs, binding, calls), calls)
}

fn all_in_turn(codecs: &WorkerCodecs, bindings: &[CodecBinding]) -> Result<()> {
    for _ in 0..10 {
        bindings.iter().try_for_each(|binding| decode(codecs, binding, 1))?;
    }
    Ok(())
}

/// How much the process grows by each.
fn kib_each(count: u32, make: impl Fn(u32) -> Result<()>) -> Result<f64> {
    let before = resident_kib()?;
    (0..count).try_for_each(make)?;
    Ok((resident_kib()? - before) / f64::from(count))
}

fn resident_kib() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

fn nanoseconds_each(work: impl FnOnce() -> Result<()>, calls: u32) -> Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_nanos() as f64 / f64::from(calls))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_codecs_are_prepared_and_measured() {
        let component = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/guests/stamp-a.wasm");
        let folder = std::env::temp_dir().join(format!("many-codecs-{}", std::process::id()));
        let home = folder.clone();
        let flags = Flags { component, folder, codecs: 8, rounds: 1, calls: 100, prepare: false };
        prepare(&flags).expect("the guests are built");
        let report = measure(&flags).expect("what was prepared");
        fs::remove_dir_all(&home).expect("our own folder");
        let figure = |name: &str| report[name].as_f64().unwrap_or(f64::NAN);
        assert!(figure("start_ms") > 0.0 && figure("ratio") > 0.0, "{report}");
    }
}
