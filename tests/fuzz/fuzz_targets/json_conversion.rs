#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| wireglot_fuzz::json_conversion::check(input));
