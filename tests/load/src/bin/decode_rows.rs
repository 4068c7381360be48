//! `decode-rows`: what a decode costs in a codec, what the same costs in native code, and what as JavaScript;
//! and what a protobuf message costs by its schema, and what with code made for it.
//!
//! All sides give eight samples with `String` keys from the same frame, and take turns, since the speed of a shared
//! machine drifts. The codec and the script are called as a worker calls them, with every limit on; the script's QuickJS
//! keeps its context from frame to frame. All sides have the system's allocator, as a native program does by default: with
//! the server's, the codec costs the same and the native side, which allocates and little else, half.

#[path = "decode_rows/protobuf.rs"]
mod protobuf;

use std::hint::black_box;
use std::io::{Write, stdout};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use clap::Parser;
use serde_json::json;
use wireglot_codec::{CodecBinding, CodecConfig, CodecTable, Frame, WorkerCodecs};
use wireglot_load::frame;
use wireglot_model::{
    CodecName, Decoded, Measurement, ProfileId, Sample, Timestamp, Uplink, UplinkBody, Value,
};

const CALLS: u32 = 200_000;
/// A script is slower: as many take about as long.
const SCRIPT_CALLS: u32 = 20_000;
const KEYS: [&str; 7] = ["version", "v1", "v2", "v3", "v4", "v5", "v6"];
const PROFILES: [&str; 2] = ["00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"];
/// What the codec does, as a vendor writes it.
const SCRIPT: &str = r#"
function decodeUplink(input) {
  var bytes = input.bytes;
  if (bytes.length !== 32) return { errors: ["32 bytes expected"] };
  var data = { seq: ((bytes[0] << 24) | (bytes[1] << 16) | (bytes[2] << 8) | bytes[3]) >>> 0, version: 1 };
  for (var index = 1; index <= 6; index++) data["v" + index] = 1;
  return { data: data };
}
"#;

#[derive(Parser)]
struct Flags {
    /// The stamping codec, as a component.
    component: PathBuf,
    /// The script engine, as a component.
    engine: PathBuf,
    /// A folder for the compile cache.
    folder: PathBuf,
    #[arg(default_value_t = 5)]
    rounds: usize,
}

fn main() -> Result<()> {
    let flags = Flags::parse();
    let (codecs, compiled, script) = open(&flags)?;
    let (mut by_codec, mut native, mut by_script) = (Vec::new(), Vec::new(), Vec::new());
    let message = protobuf::Subject::new()?;
    let (mut by_schema, mut by_prost) = (Vec::new(), Vec::new());
    agree(&codecs, &compiled, &script)?;
    // The first round warms up.
    for round in 0..=flags.rounds {
        let (codec_ns, native_ns) = (time_codec(&codecs, &compiled, CALLS)?, time_native()?);
        let script_ns = time_codec(&codecs, &script, SCRIPT_CALLS)?;
        let (schema_ns, prost_ns) = (message.time_schema(CALLS)?, message.time_prost(CALLS)?);
        if round > 0 {
            by_codec.push(codec_ns);
            native.push(native_ns);
            by_script.push(script_ns);
            by_schema.push(schema_ns);
            by_prost.push(prost_ns);
        }
    }
    let ratios =
        |others: &[f64]| median(by_codec.iter().zip(others).map(|(one, other)| one / other).collect());
    let report = json!({
        "ratio": ratios(&native),
        "script_ratio": ratios(&by_script),
        "codec_ns": median(by_codec.clone()),
        "native_ns": median(native.clone()),
        "script_ns": median(by_script.clone()),
        "proto_ratio": median(by_schema.iter().zip(&by_prost).map(|(one, other)| one / other).collect()),
        "proto_ns": median(by_schema.clone()),
        "prost_ns": median(by_prost.clone()),
    });
    writeln!(stdout(), "{report}")?;
    Ok(())
}

/// The codecs of a worker, and the bindings of the compiled codec and of the script.
fn open(flags: &Flags) -> Result<(WorkerCodecs, CodecBinding, CodecBinding)> {
    let config = CodecConfig::new(&flags.folder, flags.folder.join("codecs"));
    std::fs::create_dir_all(&flags.folder)?;
    let table = CodecTable::open(config)?;
    let settings = ["{}".to_owned(), json!({ "script": SCRIPT }).to_string()];
    let files = [("stamp", &flags.component), ("js", &flags.engine)];
    let mut bindings = Vec::new();
    for (((name, file), settings), profile) in files.into_iter().zip(settings).zip(PROFILES) {
        let codec = CodecName::parse(name).map_err(|error| anyhow!("{error}"))?;
        let component = std::fs::read(file).with_context(|| file.display().to_string())?;
        let proven = table.engine().load(&codec, &component)?.decode_vectors(&[])?;
        table.publish(proven, Timestamp(0), None);
        let profile = ProfileId(profile.parse().context("a fixed id")?);
        let (settings, limits) = (settings.into(), Arc::default());
        bindings.push(CodecBinding {
            profile,
            codec,
            version: None,
            settings,
            isolate_messages: false,
            limits,
        });
    }
    let [compiled, script] = <[_; 2]>::try_from(bindings).map_err(|_| anyhow!("two bindings were made"))?;
    Ok((table.worker(), compiled, script))
}

/// A comparison of two that do not do the same says nothing.
fn agree(codecs: &WorkerCodecs, compiled: &CodecBinding, script: &CodecBinding) -> Result<()> {
    let payload = frame::frame(7_000_000);
    let one = decode_by(codecs, compiled, &payload)?;
    let other = decode_by(codecs, script, &payload)?;
    ensure!(one.uplinks == other.uplinks, "the codec gives {one:?}, the script {other:?}");
    Ok(())
}

fn time_codec(codecs: &WorkerCodecs, binding: &CodecBinding, calls: u32) -> Result<f64> {
    let start = Instant::now();
    for counter in 0..calls {
        let payload = frame::frame(counter);
        black_box(decode_by(codecs, binding, black_box(&payload))?);
    }
    Ok(nanoseconds_each(start, calls))
}

fn decode_by(codecs: &WorkerCodecs, binding: &CodecBinding, payload: &[u8]) -> Result<Decoded> {
    let frame = Frame {
        payload,
        topic: "v1/devices/me/telemetry",
        received: Timestamp(1_700_000_000_000),
        device: "load-1",
        profile: "stamped",
        metadata: &[],
    };
    let decoded = codecs.decode(binding, &frame).map_err(|failure| anyhow!("{}", failure.reason))?;
    Ok(decoded.0)
}

fn time_native() -> Result<f64> {
    let start = Instant::now();
    for counter in 0..CALLS {
        let payload = frame::frame(counter);
        black_box(decode(black_box(&payload)).context("a whole frame")?);
    }
    Ok(nanoseconds_each(start, CALLS))
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

pub(crate) fn nanoseconds_each(start: Instant, calls: u32) -> f64 {
    start.elapsed().as_nanos() as f64 / f64::from(calls)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
