//! Topics and filters from random bytes. What must hold is in `src/topic_routing.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| wireglot_fuzz::topic_routing::check(input));
