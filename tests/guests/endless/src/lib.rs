//! Never comes back from `decode` and `encode`.

use wireglot_sdk::{Codec, Decoded, Downlink, Metadata, Outgoing, Refusal, Settings, Uplink};

struct Endless;

wireglot_sdk::export!(Endless);

impl Codec for Endless {
    fn describe() -> Metadata {
        common::metadata("endless")
    }

    fn configure(_: &Settings) -> Result<Self, String> {
        Ok(Self)
    }

    fn decode(&self, _: Uplink) -> Result<Decoded, Refusal> {
        spin()
    }

    fn encode(&self, _: Downlink) -> Result<Vec<Outgoing>, Refusal> {
        spin()
    }
}

fn spin() -> ! {
    let mut rounds = 0_u64;
    loop {
        rounds = std::hint::black_box(rounds.wrapping_add(1));
    }
}
