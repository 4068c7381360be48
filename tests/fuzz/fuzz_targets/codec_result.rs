//! Codec results built from random bytes. What must hold is in `src/codec_result.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| wireglot_fuzz::codec_result::check(input));
