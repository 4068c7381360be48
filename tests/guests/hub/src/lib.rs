//! A codec of a gateway: one frame speaks of several devices behind it.
//!
//! A frame is any number of records of three bytes: the number of a device, and its temperature in tenths of a degree,
//! big-endian. Device 3 behind the gateway `hub` is `hub-3`.

use wireglot_sdk::{keys, scaled, ValueType::Double};
use wireglot_sdk::{
    AddressedMessage, Codec, Decoded, Measurement, Message, Metadata, Reader, Refusal, Sample, Settings,
    Uplink, Value,
};

struct Hub;

wireglot_sdk::export!(Hub);

impl Codec for Hub {
    fn describe() -> Metadata {
        Metadata {
            name: "hub".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            vendor: "Wireglot tests".into(),
            summary: "Speaks of the devices behind a gateway".into(),
            keys: keys(&[("temperature", Double, "°C", "")]),
            encodes: false,
        }
    }

    fn configure(_: &Settings) -> Result<Self, String> {
        Ok(Self)
    }

    fn decode(&self, uplink: Uplink) -> Result<Decoded, Refusal> {
        let mut frame = Reader::new(&uplink.payload);
        let mut messages = Vec::new();
        while !frame.is_empty() {
            let number = frame.u8("number")?;
            let temperature = Value::Double(scaled(frame.i16_be("temperature")?.into(), 1));
            let device = format!("{}-{number}", uplink.device);
            let measurement = Measurement { ts: None, values: vec![sample("temperature", temperature)] };
            let slot = vec![sample("slot", Value::Long(number.into()))];
            messages.push(behind(&device, Message::Telemetry(vec![measurement])));
            messages.push(behind(&device, Message::Attributes(slot)));
        }
        Ok(Decoded { messages, warnings: Vec::new() })
    }
}

fn behind(device: &str, body: Message) -> AddressedMessage {
    AddressedMessage { device: Some(device.into()), body }
}

fn sample(key: &str, value: Value) -> Sample {
    Sample { key: key.into(), value }
}
