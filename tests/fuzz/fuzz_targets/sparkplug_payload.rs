//! Sparkplug payloads from random bytes. What must hold is in `src/sparkplug_payload.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| wireglot_fuzz::sparkplug_payload::check(input));
