#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| wireglot_fuzz::codec_result::check(input));
