//! Components that import WASI see the message and nothing else, under bounds of their own.

use wireglot_model::limits::{CODEC_RANDOM_BYTES_MAX, CODEC_WASI_FUEL_PER_CALL};
use wireglot_model::{FailureStage, Timestamp, Value};

use super::guests::{self, ENDLESS, GOOD, MEMORY_BOMB};
use super::{Fixture, frame, name};
use crate::Session;

const CLOCK: &str = r#"(import "wasi:clocks/wall-clock@0.2.0" "now" (func $now (param i32)))
    (func $probe (result i64) (call $now (i32.const 4000)) (i64.load (i32.const 4000)))"#;
const MONOTONIC: &str = r#"(import "wasi:clocks/monotonic-clock@0.2.0" "now" (func $now (result i64)))
    (func $probe (result i64) (call $now))"#;
const RANDOM: &str = r#"(import "wasi:random/random@0.2.0" "get-random-u64" (func $random (result i64)))
    (func $probe (result i64) (i64.xor (call $random) (i64.mul (call $random) (i64.const 3))))"#;
const SEED: &str = r#"(import "wasi:random/insecure-seed@0.2.0" "insecure-seed" (func $seed (param i32)))
    (func $probe (result i64) (call $seed (i32.const 4000)) (i64.load (i32.const 4008)))"#;
const FOLDERS: &str = r#"(import "wasi:filesystem/preopens@0.2.0" "get-directories" (func $folders (param i32)))
    (func $probe (result i64) (call $folders (i32.const 4000)) (i64.load32_u (i32.const 4004)))"#;
const OPEN: &str = r#"(import "wasi:filesystem/types@0.2.0" "open" (func $open (param i32)))
    (func $probe (result i64) (call $open (i32.const 4000)) (i64.load16_u (i32.const 4000)))"#;
const VARIABLES: &str = r#"(import "wasi:cli/environment@0.2.0" "get-environment" (func $variables (param i32)))
    (func $probe (result i64) (call $variables (i32.const 4000)) (i64.load32_u (i32.const 4004)))"#;
const EXIT: &str = r#"(import "wasi:cli/exit@0.2.0" "exit" (func $exit (param i32)))
    (func $probe (result i64) (call $exit (i32.const 0)) (i64.const 1))"#;

fn bytes(count: u64) -> String {
    format!(
        r#"(import "wasi:random/random@0.2.0" "get-random-bytes" (func $random (param i64 i32)))
        (func $probe (result i64)
          (call $random (i64.const {count}) (i32.const 4000)) (i64.load32_u (i32.const 4004)))"#
    )
}

fn session(fixture: &Fixture, probe: &str) -> Session {
    let codec = fixture.table.engine().load(&name("c"), &guests::wasi(probe)).unwrap();
    assert!(codec.imports().iter().all(|import| import.starts_with("wasi:")), "{:?}", codec.imports());
    codec.session("{}").unwrap()
}

fn seen(session: &mut Session, received: i64) -> i64 {
    let mut frame = frame(GOOD);
    frame.received = Timestamp(received);
    match super::value(&session.decode(&frame).unwrap()) {
        Value::Long(seen) => *seen,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn check_failure(fixture: &Fixture, probe: &str, payload: &[u8], stage: FailureStage, reason: &str) {
    let failure = session(fixture, probe).decode(&frame(payload)).unwrap_err();
    assert_eq!(failure.stage, stage, "{}", failure.reason);
    assert!(failure.reason.contains(reason), "{}", failure.reason);
}

#[test]
fn every_clock_shows_the_time_of_receipt() {
    let fixture = Fixture::new();
    let (mut wall, mut monotonic) = (session(&fixture, CLOCK), session(&fixture, MONOTONIC));
    for received in [1_700_000_000_999, 1_700_000_001_000, 5_000] {
        assert_eq!(seen(&mut wall, received), received / 1_000);
        assert_eq!(seen(&mut monotonic, received), received * 1_000_000);
    }
}

#[test]
fn random_numbers_are_the_same_for_every_message() {
    let fixture = Fixture::new();
    for probe in [RANDOM, SEED] {
        let mut one = session(&fixture, probe);
        let numbers = [seen(&mut one, 1), seen(&mut one, 2), seen(&mut session(&fixture, probe), 3)];
        assert_eq!(numbers, [numbers[0]; 3], "{probe}");
        assert_ne!(numbers[0], 0);
    }
}

#[test]
fn there_are_no_files_and_no_variables() {
    let fixture = Fixture::new();
    assert_eq!(seen(&mut session(&fixture, FOLDERS), 1), 0);
    assert_eq!(seen(&mut session(&fixture, VARIABLES), 1), 0);
    // result<_, error-code>: an error, and the first of its names that says no.
    assert_eq!(seen(&mut session(&fixture, OPEN), 1), 0x0101);
}

#[test]
fn what_no_answer_fits_is_a_trap_that_names_it() {
    let fixture = Fixture::new();
    check_failure(&fixture, EXIT, GOOD, FailureStage::Trapped, "wasi:cli/exit#exit");
    let most = CODEC_RANDOM_BYTES_MAX as u64;
    assert_eq!(seen(&mut session(&fixture, &bytes(most)), 1), most as i64);
    check_failure(&fixture, &bytes(most + 1), GOOD, FailureStage::Trapped, "more than 65536 bytes");
}

#[test]
fn they_have_bounds_of_their_own() {
    let fixture = Fixture::new();
    check_failure(&fixture, CLOCK, MEMORY_BOMB, FailureStage::Trapped, "more than 262144 KiB of memory");
    let fuel = CODEC_WASI_FUEL_PER_CALL.to_string();
    check_failure(&fixture, CLOCK, ENDLESS, FailureStage::Deadline, &fuel);
}

#[test]
fn instances_beyond_the_bound_are_refused_and_the_others_go_on() {
    let fixture = Fixture::with(|config| config.limits.instances_max = 1);
    let codec = fixture.table.engine().load(&name("c"), &guests::wasi(CLOCK)).unwrap();
    let mut sessions = Vec::new();
    let failure = loop {
        match codec.session("{}") {
            Ok(session) if sessions.len() < 1_000 => sessions.push(session),
            Ok(_) => panic!("no bound"),
            Err(failure) => break failure,
        }
    };
    assert!(failure.reason.contains("instances"), "{}", failure.reason);
    assert_eq!(seen(&mut sessions[0], 7_000), 7);
}

/// A program that fails stands for one that has been replaced or cannot be started.
#[test]
fn a_large_component_is_compiled_here_where_no_process_can_be_made() {
    let fixture = Fixture::new();
    fixture.table.engine().compile_large_with("/bin/false".into());
    let large =
        guests::padded(&guests::codec("1.0.0", 7), wireglot_model::limits::CODEC_COMPILED_IN_PLACE_BYTES_MAX);
    fixture.publish("c", &large);
    let decoded = fixture.table.worker().decode(&super::binding("c", "{}"), &frame(GOOD)).unwrap().0;
    assert_eq!(super::value(&decoded), &Value::Long(7));
}
