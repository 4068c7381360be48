//! `wireglot codec bench`: what a decode costs, over the frames of the codec's vectors, under a server's limits.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use serde::Serialize;
use wireglot_codec::{Frame, LoadedCodec, Session, VectorFile};
use wireglot_model::FailureStage;

use super::table::{aligned, grouped};
use super::{check, vectors};

/// Rounds over all frames before the first one that counts.
const WARM_UP_ROUNDS: usize = 50;
/// Calls that are timed at most: each is one number in memory.
const CALLS_MAX: usize = 5_000_000;
const MILLISECONDS_MAX: u64 = 600_000;

/// Measures what a decode costs.
#[derive(clap::Args, Debug)]
pub(crate) struct BenchArgs {
    /// The component.
    pub(crate) file: PathBuf,
    /// A file of vectors, or a folder of them. Default: those inside the component and beside it.
    #[arg(long, value_name = "PATH")]
    pub(crate) vectors: Option<PathBuf>,
    /// How long to decode.
    #[arg(long, value_name = "MS", default_value_t = 2_000,
          value_parser = clap::value_parser!(u64).range(1..=MILLISECONDS_MAX))]
    pub(crate) milliseconds: u64,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What was measured. Times of a decode are of single calls, with the 20 to 50 ns that looking at the clock takes.
#[derive(Serialize, Debug)]
#[serde(rename_all = "camelCase")]
struct Measured {
    codec: String,
    version: String,
    bytes: usize,
    load_ms: u64,
    instance_us: u64,
    frames: usize,
    decodes: usize,
    median_ns: u64,
    p99_ns: u64,
    fuel_median: u64,
    fuel_most: u64,
    memory_bytes: usize,
}

pub(super) fn run(args: &BenchArgs) -> anyhow::Result<()> {
    let started = Instant::now();
    let codec = check::load_file_anew(&args.file)?;
    let load_ms = u64::try_from(started.elapsed().as_millis())?;
    let files = vectors::of_component(&codec, &args.file, args.vectors.as_deref())?;
    let measured = measure(&codec, &files, Duration::from_millis(args.milliseconds), load_ms)?;
    let text =
        if args.json { serde_json::to_string_pretty(&measured)? + "\n" } else { measured.for_people() };
    std::io::stdout().lock().write_all(text.as_bytes()).context("standard output is closed")
}

fn measure(
    codec: &LoadedCodec,
    files: &[VectorFile],
    time: Duration,
    load_ms: u64,
) -> anyhow::Result<Measured> {
    let started = Instant::now();
    let mut turns = turns(codec, files)?;
    let instance = started.elapsed() / u32::try_from(turns.len())?;

    let mut fuel = Vec::new();
    each_frame(&mut turns, |session, _| fuel.push(session.fuel_used()))?;
    for _ in 1..WARM_UP_ROUNDS {
        each_frame(&mut turns, |_, _| ())?;
    }
    let mut times = Vec::new();
    let end = Instant::now() + time;
    while times.is_empty() || (times.len() < CALLS_MAX && Instant::now() < end) {
        each_frame(&mut turns, |_, took| {
            times.push(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        })?;
    }
    let decodes = times.len();
    let (median_ns, p99_ns) = (quantile(&mut times, 50), quantile(&mut times, 99));
    Ok(Measured {
        codec: codec.stamp().name.to_string(),
        version: codec.metadata().version.clone(),
        bytes: codec.bytes(),
        load_ms,
        instance_us: u64::try_from(instance.as_micros())?,
        frames: fuel.len(),
        decodes,
        median_ns,
        p99_ns,
        fuel_median: quantile(&mut fuel, 50),
        fuel_most: quantile(&mut fuel, 100),
        memory_bytes: turns.iter().map(|turn| turn.session.memory_bytes()).max().unwrap_or(0),
    })
}

/// Frames that share settings, and with them an instance.
struct Turn<'a> {
    session: Session,
    frames: Vec<Frame<'a>>,
}

fn turns<'a>(codec: &LoadedCodec, files: &'a [VectorFile]) -> anyhow::Result<Vec<Turn<'a>>> {
    let mut by_settings: BTreeMap<&str, Vec<Frame<'_>>> = BTreeMap::new();
    for (settings, frame) in files.iter().flat_map(VectorFile::frames) {
        by_settings.entry(settings).or_default().push(frame);
    }
    let session = |settings: &str| codec.session(settings).map_err(|failure| anyhow!(failure.reason));
    by_settings
        .into_iter()
        .map(|(settings, frames)| Ok(Turn { session: session(settings)?, frames }))
        .collect()
}

/// Decodes every frame once. A refusal is an answer like any other; whatever else fails ends the measurement.
fn each_frame(turns: &mut [Turn<'_>], mut then: impl FnMut(&Session, Duration)) -> anyhow::Result<()> {
    for turn in turns {
        for frame in &turn.frames {
            let called = Instant::now();
            let result = turn.session.decode(frame);
            let took = called.elapsed();
            if let Err(failure) = result
                && failure.stage != FailureStage::Refused
            {
                bail!("the frame of {} fails: {}", frame.device, failure.reason);
            }
            then(&turn.session, took);
        }
    }
    Ok(())
}

/// The value that this many percent of all do not exceed.
fn quantile(values: &mut [u64], percent: usize) -> u64 {
    values.sort_unstable();
    let rank = (values.len() * percent).div_ceil(100);
    values.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

impl Measured {
    fn for_people(&self) -> String {
        let row = |name: &str, text: String| vec![name.to_owned(), text];
        let kib = |bytes: usize| grouped(bytes.div_ceil(1024) as u64);
        let rows = [
            row("size", format!("{} KiB, ready after {} ms", kib(self.bytes), grouped(self.load_ms))),
            row(
                "instance",
                format!("{} KiB of memory, made in {} µs", kib(self.memory_bytes), grouped(self.instance_us)),
            ),
            row(
                "decode",
                format!(
                    "median {} ns, p99 {} ns ({} decodes of {} frames)",
                    grouped(self.median_ns),
                    grouped(self.p99_ns),
                    grouped(self.decodes as u64),
                    self.frames
                ),
            ),
            row("fuel", format!("median {}, most {}", grouped(self.fuel_median), grouped(self.fuel_most))),
        ];
        format!("{} {}\n{}", self.codec, self.version, aligned(&rows, 2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let check = |values: &[u64], percent, expected| {
            assert_eq!(quantile(&mut values.to_vec(), percent), expected, "{values:?} {percent}");
        };
        check(&[3, 1, 2], 50, 2);
        check(&[4, 1, 3, 2], 50, 2);
        check(&(1..=200).collect::<Vec<_>>(), 99, 198);
        check(&[7], 99, 7);
        check(&[1, 9], 100, 9);
        check(&[], 50, 0);
    }
}
