//! `decode-rows`: what a decode costs in a codec, and what the same costs in native code.
//!
//! Both sides give eight samples with `String` keys from the same frame, and take turns, since the speed of a shared
//! machine drifts. The codec is called as a worker calls it, with every limit on.

use std::hint::black_box;
use std::io::{Write, stdout};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use clap::Parser;
use serde_json::json;
use wireglot_codec::{CodecBinding, CodecConfig, CodecTable, Frame, WorkerCodecs};
use wireglot_load::frame;
use wireglot_model::{
    CodecName, Decoded, Measurement, ProfileId, Sample, Timestamp, Uplink, UplinkBody, Value,
};

const CALLS: u32 = 200_000;
const KEYS: [&str; 7] = ["version", "v1", "v2", "v3", "v4", "v5", "v6"];
const PROFILE: &str = "00000000-0000-4000-8000-000000000001";

#[derive(Parser)]
struct Flags {
    /// The stamping codec, as a component.
    component: PathBuf,
    /// A folder for the compile cache.
    folder: PathBuf,
    #[arg(default_value_t = 5)]
    rounds: usize,
}

fn main() -> Result<()> {
    let flags = Flags::parse();
    let (codecs, binding) = open(&flags)?;
    let (mut by_codec, mut native) = (Vec::new(), Vec::new());
    // The first round warms up.
    for round in 0..=flags.rounds {
        let (codec_ns, native_ns) = (time_codec(&codecs, &binding)?, time_native()?);
        if round > 0 {
            by_codec.push(codec_ns);
            native.push(native_ns);
        }
    }
    let ratios = by_codec.iter().zip(&native).map(|(codec, native)| codec / native).collect();
    let report =
        json!({ "codec_ns": median(by_codec), "native_ns": median(native), "ratio": median(ratios) });
    writeln!(stdout(), "{report}")?;
    Ok(())
}

fn open(flags: &Flags) -> Result<(WorkerCodecs, CodecBinding)> {
    let config = CodecConfig::new(&flags.folder, flags.folder.join("codecs"));
    std::fs::create_dir_all(&flags.folder)?;
    let table = CodecTable::open(config)?;
    let codec = CodecName::parse("stamp").map_err(|error| anyhow!("{error}"))?;
    let component = std::fs::read(&flags.component).context("the component")?;
    let proven = table.engine().load(&codec, &component)?.decode_vectors(&[])?;
    table.publish(proven, Timestamp(0), None);
    let profile = ProfileId(PROFILE.parse().context("a fixed id")?);
    let (settings, limits) = (Arc::from("{}"), Arc::default());
    let binding = CodecBinding { profile, codec, version: None, settings, isolate_messages: false, limits };
    Ok((table.worker(), binding))
}

fn time_codec(codecs: &WorkerCodecs, binding: &CodecBinding) -> Result<f64> {
    let start = Instant::now();
    for counter in 0..CALLS {
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
    Ok(nanoseconds_each(start))
}

fn time_native() -> Result<f64> {
    let start = Instant::now();
    for counter in 0..CALLS {
        let payload = frame::frame(counter);
        black_box(decode(black_box(&payload)).context("a whole frame")?);
    }
    Ok(nanoseconds_each(start))
}

/// What the codec does, as somebody would write it into a server.
fn decode(payload: &[u8]) -> Option<Decoded> {
    let counter = frame::counter(payload)?;
    if payload.len() != frame::FRAME_BYTES {
        return None;
    }
    let mut samples = Vec::with_capacity(8);
    samples.push(Sample { key: "seq".to_owned(), value: Value::Long(i64::from(counter)) });
    for key in KEYS {
        samples.push(Sample { key: key.to_owned(), value: Value::Long(1) });
    }
    let telemetry = UplinkBody::Telemetry(vec![Measurement { ts: None, samples }]);
    Some(Decoded { uplinks: vec![Uplink { child: None, body: telemetry }], warnings: Vec::new() })
}

fn nanoseconds_each(start: Instant) -> f64 {
    start.elapsed().as_nanos() as f64 / f64::from(CALLS)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
