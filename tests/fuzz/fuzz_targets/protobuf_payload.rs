//! Protobuf payloads from random bytes. What must hold is in `src/protobuf_payload.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| wireglot_fuzz::protobuf_payload::check(input));
