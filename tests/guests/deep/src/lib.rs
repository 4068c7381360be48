//! Calls itself until the stack is full.

use wireglot_sdk::{Codec, Decoded, Metadata, Refusal, Samples, Settings, Uplink};

struct Deep;

wireglot_sdk::export!(Deep);

impl Codec for Deep {
    fn describe() -> Metadata {
        common::metadata("deep")
    }

    fn configure(_: &Settings) -> Result<Self, String> {
        Ok(Self)
    }

    fn decode(&self, uplink: Uplink) -> Result<Decoded, Refusal> {
        let mut values = Samples::new();
        values.long("t", descend(uplink.received_ms | 1));
        Ok(values.into())
    }
}

/// The work after the call keeps a compiler from making a loop of it.
fn descend(level: i64) -> i64 {
    if std::hint::black_box(level) == 0 {
        return 0;
    }
    std::hint::black_box(descend(level + 2)) ^ level
}
