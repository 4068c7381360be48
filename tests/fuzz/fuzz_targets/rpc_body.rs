//! Bodies of calls from random bytes. What must hold is in `src/rpc_body.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| wireglot_fuzz::rpc_body::check(input));
