//! JSON payloads from random bytes. What must hold is in `src/json_conversion.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| wireglot_fuzz::json_conversion::check(input));
