//! Times one codec on one frame, with every limit of the server in place: `decode_speed FILE.wasm HEX [SETTINGS]`.
#![allow(clippy::print_stdout, reason = "printing the number is the whole job of this example")]

use std::error::Error;
use std::time::Instant;

use wireglot_codec::{CodecBinding, CodecConfig, CodecTable, Frame};
use wireglot_model::{CodecName, ProfileId, Timestamp};

const CALLS: u32 = 200_000;
const ROUNDS: u32 = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("name a component")?;
    let payload = hex::decode(arguments.next().ok_or("give a payload in hexadecimal")?)?;
    let settings = arguments.next().unwrap_or_else(|| "{}".to_owned());
    let home = std::env::temp_dir().join(format!("decode-speed-{}", std::process::id()));
    let table = CodecTable::open(CodecConfig::new(&home, home.join("codecs")))?;
    let name = CodecName::parse("measured")?;
    let loading = Instant::now();
    let loaded = table.engine().load(&name, &std::fs::read(path)?)?;
    println!("compile and describe  {:>9.1} ms", loading.elapsed().as_secs_f64() * 1e3);
    table.publish(loaded.decode_vectors(&[])?, Timestamp(0), None);
    let profile = ProfileId("00000000-0000-4000-8000-000000000001".parse()?);
    let frame = Frame {
        payload: &payload,
        topic: "v1/devices/me/telemetry",
        received: Timestamp(1_700_000_000_000),
        device: "device-0001",
        profile: "measured",
        metadata: &[("fPort".to_owned(), "85".to_owned())],
    };
    let worker = table.worker();
    for (what, isolate_messages, calls) in
        [("reused instance", false, CALLS), ("fresh instance", true, CALLS / 20)]
    {
        let binding = CodecBinding {
            profile,
            codec: name.clone(),
            settings: settings.as_str().into(),
            version: None,
            isolate_messages,
            limits: std::sync::Arc::default(),
        };
        let (mut best, mut values) = (f64::MAX, 0);
        for _ in 0..ROUNDS {
            let started = Instant::now();
            for _ in 0..calls {
                let (decoded, _) = worker.decode(&binding, &frame).map_err(|failure| failure.reason)?;
                values = decoded.uplinks.len();
            }
            best = best.min(started.elapsed().as_secs_f64() * 1e9 / f64::from(calls));
        }
        println!("{what:<21} {best:>9.0} ns per decode ({values} messages)");
    }
    std::fs::remove_dir_all(home)?;
    Ok(())
}
