//! Describes itself well and panics in every other call; with the settings `{"calm": true}` not in `configure`.

use wireglot_sdk::{Codec, Decoded, Downlink, Metadata, Outgoing, Refusal, Settings, Uplink};

struct Trapping;

wireglot_sdk::export!(Trapping);

impl Codec for Trapping {
    fn describe() -> Metadata {
        common::metadata("trapping")
    }

    fn configure(settings: &Settings) -> Result<Self, String> {
        match settings.boolean("calm")? {
            Some(true) => Ok(Self),
            _ => panic!("configure"),
        }
    }

    fn decode(&self, _: Uplink) -> Result<Decoded, Refusal> {
        panic!("decode")
    }

    fn encode(&self, _: Downlink) -> Result<Vec<Outgoing>, Refusal> {
        panic!("encode")
    }
}
