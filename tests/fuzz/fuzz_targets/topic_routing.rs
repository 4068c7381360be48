#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| wireglot_fuzz::topic_routing::check(input));
