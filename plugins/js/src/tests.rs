//! The recorded frames, natively, and frames that the recorded ones suggest. What takes the real component is tested
//! in the host: time, chance and every limit.

use std::path::Path;

use crate::Js;

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/vectors"))
}

#[test]
fn vectors_decode_as_they_say() {
    wireglot_sdk::vectors::decode_all::<Js>(folder());
}

#[test]
fn no_frame_makes_it_panic() {
    wireglot_sdk::vectors::torture::<Js>(folder());
}
