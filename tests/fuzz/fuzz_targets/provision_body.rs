//! Provisioning bodies from random bytes. What must hold is in `src/provision_body.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| wireglot_fuzz::provision_body::check(input));
