//! Panics before anybody knows what it is.

use wireglot_sdk::{Codec, Decoded, Metadata, Refusal, Samples, Settings, Uplink};

struct TrappingDescribe;

wireglot_sdk::export!(TrappingDescribe);

impl Codec for TrappingDescribe {
    fn describe() -> Metadata {
        panic!("describe")
    }

    fn configure(_: &Settings) -> Result<Self, String> {
        Ok(Self)
    }

    fn decode(&self, _: Uplink) -> Result<Decoded, Refusal> {
        Ok(Samples::new().into())
    }
}
