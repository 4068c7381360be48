//! Returns more than any host should take. The first byte of the frame chooses what there is too much of.

use wireglot_sdk::{
    AddressedMessage, Codec, Decoded, Measurement, Message, Metadata, Refusal, Report, Sample, Samples,
    Settings, Uplink, Value,
};

struct Huge;

wireglot_sdk::export!(Huge);

impl Codec for Huge {
    fn describe() -> Metadata {
        common::metadata("huge")
    }

    fn configure(_: &Settings) -> Result<Self, String> {
        Ok(Self)
    }

    fn decode(&self, uplink: Uplink) -> Result<Decoded, Refusal> {
        Ok(match uplink.payload.first() {
            None | Some(0) => text(),
            Some(1) => samples(),
            Some(2) => messages(),
            Some(3) => warnings(),
            Some(_) => modest(),
        })
    }
}

fn one() -> Sample {
    Sample { key: "t".into(), value: Value::Long(1) }
}

/// One text of 2 MiB.
fn text() -> Decoded {
    let mut values = Samples::new();
    values.text("t", "x".repeat(2 * 1024 * 1024));
    values.into()
}

/// 20,000 small values.
fn samples() -> Decoded {
    let values = (0..20_000).map(|_| one()).collect();
    let body = Message::Telemetry(vec![Measurement { ts: None, values }]);
    Decoded { messages: vec![AddressedMessage { device: None, body }], warnings: Vec::new() }
}

/// 5,000 messages of one value.
fn messages() -> Decoded {
    let messages = (0..5_000).map(|_| {
        let body = Message::Telemetry(vec![Measurement { ts: None, values: vec![one()] }]);
        AddressedMessage { device: None, body }
    });
    Decoded { messages: messages.collect(), warnings: Vec::new() }
}

/// 1,000 remarks of 1,000 bytes, and one honest value.
fn warnings() -> Decoded {
    let mut report = Report::new();
    report.now.long("t", 1);
    for _ in 0..1_000 {
        report.warn("w".repeat(1_000));
    }
    report.into()
}

fn modest() -> Decoded {
    let mut values = Samples::new();
    values.long("t", 1);
    values.into()
}
