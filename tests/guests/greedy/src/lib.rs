//! Takes and fills memory until there is none.

use wireglot_sdk::{Codec, Decoded, Metadata, Refusal, Samples, Settings, Uplink};

struct Greedy;

wireglot_sdk::export!(Greedy);

const PIECE_BYTES: usize = 256 * 1024;

impl Codec for Greedy {
    fn describe() -> Metadata {
        common::metadata("greedy")
    }

    fn configure(_: &Settings) -> Result<Self, String> {
        Ok(Self)
    }

    fn decode(&self, _: Uplink) -> Result<Decoded, Refusal> {
        let mut pieces = Vec::new();
        // 4 GiB is all that a 32-bit guest could ever have.
        for round in 0..16_384_u32 {
            pieces.push(std::hint::black_box(vec![round as u8 | 1; PIECE_BYTES]));
        }
        let mut values = Samples::new();
        values.long("t", pieces.len() as i64);
        Ok(values.into())
    }
}
