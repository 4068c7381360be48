//! A soil probe's frame of six bytes, big-endian: version, temperature, moisture, battery.
//!
//! | offset | bytes | field       | unit                      |
//! |--------|-------|-------------|---------------------------|
//! | 0      | 1     | version     | always 1                  |
//! | 1      | 2     | temperature | 0.1 °C, signed            |
//! | 3      | 1     | moisture    | %                         |
//! | 4      | 2     | battery     | mV                        |
use wireglot_sdk::ValueType::{Double, Long};
use wireglot_sdk::{
    keys, malformed, unsupported, Codec, Decoded, Metadata, Reader, Refusal, Samples, Settings, Uplink,
};

struct FirstCodec;

wireglot_sdk::export!(FirstCodec);

impl Codec for FirstCodec {
    fn describe() -> Metadata {
        Metadata {
            name: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
            vendor: "Example".into(),
            summary: "Soil probe, frame version 1".into(),
            keys: keys(&[
                ("temperature", Double, "Cel", "Soil temperature"),
                ("moisture", Long, "%", "Soil moisture"),
                ("battery", Long, "mV", "Battery voltage"),
            ]),
            encodes: false,
        }
    }

    fn configure(settings: &Settings) -> Result<Self, String> {
        settings.only(&[])?; // This codec has no settings, so any name is a typing error.
        Ok(Self)
    }

    fn decode(&self, uplink: Uplink) -> Result<Decoded, Refusal> {
        let mut frame = Reader::new(&uplink.payload);
        let version = frame.u8("version")?;
        if version != 1 {
            return Err(unsupported(format!("offset 0: version 1 expected, {version} found")));
        }
        let mut values = Samples::new();
        values
            .decimal("temperature", frame.i16_be("temperature")?, 1)
            .long("moisture", frame.u8("moisture")?)
            .long("battery", frame.u16_be("battery")?);
        if !frame.is_empty() {
            return Err(malformed(format!("offset {}: {} byte(s) too many", frame.offset(), frame.left())));
        }
        Ok(values.into())
    }
}

#[cfg(test)]
wireglot_sdk::vectors!(FirstCodec);
