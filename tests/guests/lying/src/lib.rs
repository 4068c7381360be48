//! Returns what the contract forbids. The first byte of the frame chooses the lie; from 9 on it is honest.

use wireglot_sdk::{Codec, Decoded, Metadata, Refusal, Report, Samples, Settings, Uplink};

struct Lying;

wireglot_sdk::export!(Lying);

impl Codec for Lying {
    fn describe() -> Metadata {
        common::metadata("lying")
    }

    fn configure(_: &Settings) -> Result<Self, String> {
        Ok(Self)
    }

    fn decode(&self, uplink: Uplink) -> Result<Decoded, Refusal> {
        let mut values = Samples::new();
        values.long("t", 1);
        match uplink.payload.first() {
            None | Some(0) => values.double("t", f64::NAN),
            Some(1) => values.double("t", f64::NEG_INFINITY),
            Some(2) => values.long("", 1),
            Some(3) => values.long(" \t ", 1),
            Some(4) => values.long(&"k".repeat(256), 1),
            Some(5) => values.json("t", "{\"a\":"),
            Some(6) => values.json("t", ""),
            Some(7) => return Ok(at(i64::MAX, values)),
            Some(8) => return Ok(at(i64::MIN, values)),
            Some(_) => &mut values,
        };
        Ok(values.into())
    }
}

fn at(ts_ms: i64, values: Samples) -> Decoded {
    let mut report = Report::new();
    report.record(ts_ms, values);
    report.into()
}
