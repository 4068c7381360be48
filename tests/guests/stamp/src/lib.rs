//! A well-behaved codec that writes its version into every value, so that a test sees which one decoded a message.
//!
//! Its frame has 32 bytes: a counter of four bytes, big-endian, and 28 bytes that do not matter.

use wireglot_sdk::ValueType::Long;
use wireglot_sdk::{keys, malformed, Codec, Decoded, Metadata, Reader, Refusal, Samples, Settings, Uplink};

/// The codec of one version.
pub struct Stamp<const VERSION: i64>;

impl<const VERSION: i64> Codec for Stamp<VERSION> {
    fn describe() -> Metadata {
        Metadata {
            name: "stamp".into(),
            version: format!("{VERSION}.0.0"),
            vendor: "Wireglot tests".into(),
            summary: "Writes its version into every value".into(),
            keys: keys(&[("seq", Long, "", ""), ("version", Long, "", ""), ("v*", Long, "", "")]),
            encodes: false,
        }
    }

    fn configure(_: &Settings) -> Result<Self, String> {
        Ok(Self)
    }

    fn decode(&self, uplink: Uplink) -> Result<Decoded, Refusal> {
        let mut frame = Reader::new(&uplink.payload);
        let counter = frame.u32_be("counter")?;
        if frame.left() != 28 {
            return Err(malformed(format!("offset 4: 28 bytes expected, {} left", frame.left())));
        }
        let mut values = Samples::new();
        values.long("seq", counter).long("version", VERSION);
        for key in ["v1", "v2", "v3", "v4", "v5", "v6"] {
            values.long(key, VERSION);
        }
        Ok(values.into())
    }
}
