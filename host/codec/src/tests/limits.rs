//! Every limit of a codec, crossed.

use std::time::Instant;

use wireglot_model::limits::CODEC_TRAPS_IN_A_ROW_MAX;
use wireglot_model::{Downlink, FailureStage, Fault, Value};

use super::guests::{self, *};
use super::{Fixture, binding, check_stage, frame, name, value};
use crate::{LoadError, Outgoing};

fn serving(version: &str) -> Fixture {
    let fixture = Fixture::new();
    fixture.publish("c", &guests::codec(version, 7));
    fixture
}

#[test]
fn each_way_of_failing_is_told_apart_and_the_next_message_decodes() {
    let fixture = serving("1.0.0");
    let worker = fixture.table.worker();
    let binding = binding("c", "{}");
    for (payload, stage, reason) in [
        (TRAP, FailureStage::Trapped, "unreachable"),
        (ENDLESS, FailureStage::Deadline, "fuel"),
        (MEMORY_BOMB, FailureStage::Trapped, "16384 KiB of memory"),
        (DEEP, FailureStage::Trapped, "1024 KiB of stack"),
        (HUGE, FailureStage::OverLarge, "1024 KiB"),
        (NOT_A_NUMBER, FailureStage::InvalidResult, "NaN for key `v`"),
        (MALFORMED, FailureStage::Refused, "malformed: bad checksum"),
        (WILD_POINTER, FailureStage::InvalidResult, "out of bounds"),
    ] {
        check_stage(&worker, &binding, payload, stage, reason);
        let (decoded, stamp) = worker.decode(&binding, &frame(GOOD)).unwrap();
        // Whatever failed but a refusal cost the instance, so nothing of it is left.
        assert_eq!((value(&decoded), stamp.version.as_ref()), (&Value::Long(7), "1.0.0"));
    }
}

#[test]
fn only_a_refusal_is_the_devices_fault() {
    let fixture = serving("1.0.0");
    let worker = fixture.table.worker();
    let fault = |payload: &[u8]| worker.decode(&binding("c", "{}"), &frame(payload)).unwrap_err().fault();
    assert_eq!(fault(MALFORMED), Fault::Device);
    assert_eq!(fault(TRAP), Fault::Codec);
    assert_eq!(fault(HUGE), Fault::Codec);
    let missing = worker.decode(&binding("missing", "{}"), &frame(GOOD)).unwrap_err();
    assert_eq!((missing.stage, missing.fault(), missing.stamp), (FailureStage::NoCodec, Fault::Codec, None));
    assert_eq!(fixture.table.counters().without_codec, 1);
}

#[test]
fn the_deadline_stands_behind_the_fuel() {
    let fixture = Fixture::with(|config| {
        config.limits.fuel_per_call = u64::MAX;
        config.limits.deadline_ticks = 5;
    });
    fixture.publish("c", &guests::codec("1.0.0", 7));
    let started = Instant::now();
    check_stage(&fixture.table.worker(), &binding("c", "{}"), ENDLESS, FailureStage::Deadline, "5 ms");
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
}

#[test]
fn an_instance_is_reused_until_its_calls_are_used_up() {
    let fixture = Fixture::with(|config| config.limits.calls_per_instance_max = 3);
    fixture.publish("c", &guests::codec("1.0.0", 7));
    let worker = fixture.table.worker();
    let counts: Vec<Value> = (0..7)
        .map(|_| value(&worker.decode(&binding("c", "{}"), &frame(COUNT)).unwrap().0).clone())
        .collect();
    assert_eq!(counts, [1, 2, 3, 1, 2, 3, 1].map(Value::Long));
    let counters = fixture.table.counters();
    assert_eq!((counters.versions[0].counts.calls, counters.versions[0].counts.recycles), (7, 2));
    assert_eq!(counters.live_instances, 1);
}

#[test]
fn an_instance_past_the_memory_mark_is_replaced() {
    let fixture = serving("1.0.0");
    let worker = fixture.table.worker();
    let count = || value(&worker.decode(&binding("c", "{}"), &frame(COUNT)).unwrap().0).clone();
    assert_eq!((count(), count()), (Value::Long(1), Value::Long(2)));
    worker.decode(&binding("c", "{}"), &frame(GREEDY)).unwrap();
    assert_eq!(count(), Value::Long(1));
}

#[test]
fn isolated_messages_each_meet_a_fresh_instance() {
    let fixture = serving("1.0.0");
    let worker = fixture.table.worker();
    let mut binding = binding("c", "{}");
    binding.isolate_messages = true;
    for _ in 0..3 {
        assert_eq!(value(&worker.decode(&binding, &frame(COUNT)).unwrap().0), &Value::Long(1));
    }
    assert_eq!(fixture.table.counters().live_instances, 0);
}

#[test]
fn refused_settings_fail_every_message_of_that_profile_only() {
    let fixture = serving("1.0.0");
    let worker = fixture.table.worker();
    for _ in 0..20 {
        check_stage(&worker, &binding("c", REFUSED_SETTINGS), GOOD, FailureStage::NoCodec, "no such setting");
    }
    worker.decode(&binding("c", "{}"), &frame(GOOD)).unwrap();
}

#[test]
fn a_codec_that_keeps_trapping_pauses() {
    let fixture = serving("1.0.0");
    let (one, other) = (fixture.table.worker(), fixture.table.worker());
    for round in 0..CODEC_TRAPS_IN_A_ROW_MAX {
        let worker = if round % 2 == 0 { &one } else { &other };
        check_stage(worker, &binding("c", "{}"), TRAP, FailureStage::Trapped, "unreachable");
    }
    for worker in [&one, &other] {
        check_stage(worker, &binding("c", "{}"), GOOD, FailureStage::Trapped, "keeps failing");
    }
    // A new version is not held to what the old one did.
    fixture.publish("c", &guests::codec("1.0.1", 8));
    assert_eq!(value(&one.decode(&binding("c", "{}"), &frame(GOOD)).unwrap().0), &Value::Long(8));
}

#[test]
fn wrong_values_do_not_pause_a_codec() {
    let fixture = serving("1.0.0");
    let worker = fixture.table.worker();
    for _ in 0..3 * CODEC_TRAPS_IN_A_ROW_MAX {
        check_stage(&worker, &binding("c", "{}"), NOT_A_NUMBER, FailureStage::InvalidResult, "NaN");
    }
    worker.decode(&binding("c", "{}"), &frame(GOOD)).unwrap();
}

#[test]
fn more_profiles_than_instances_take_turns() {
    let fixture = Fixture::with(|config| config.limits.instances_max = 4);
    fixture.publish("c", &guests::codec("1.0.0", 7));
    let (worker, other) = (fixture.table.worker(), fixture.table.worker());
    for round in 0..30_u128 {
        let mut binding = binding("c", "{}");
        binding.profile.0 = format!("{:032x}", round % 10).parse().unwrap();
        worker.decode(&binding, &frame(GOOD)).unwrap();
        other.decode(&binding, &frame(GOOD)).unwrap();
        assert!(fixture.table.counters().live_instances <= 4);
    }
}

#[test]
fn commands_are_encoded() {
    let fixture = serving("1.0.0");
    let worker = fixture.table.worker();
    let encode = |downlink| worker.encode(&binding("c", "{}"), &downlink, "d", "p", super::now()).unwrap();
    let frame = Outgoing { topic: Some("t".into()), payload: b"hi".to_vec(), metadata: vec![] };
    assert_eq!(encode(Downlink::AttributeDelete(vec!["a".into()])), [frame]);
    assert_eq!(encode(Downlink::Close(wireglot_model::downlink::CloseReason::TakenOver)), []);
}

#[track_caller]
fn check_load(bytes: &[u8], part: &str) -> LoadError {
    let fixture = Fixture::with(|config| config.limits.module_bytes_max = 100_000);
    let error = match fixture.table.engine().load(&name("c"), bytes) {
        Ok(_) => panic!("loaded"),
        Err(error) => error,
    };
    assert!(error.to_string().contains(part), "{error}");
    error
}

#[test]
fn what_is_no_codec_is_refused_with_a_reason() {
    check_load(b"", "not start as WebAssembly");
    check_load(b"#!/bin/sh", "not start as WebAssembly");
    assert_eq!(check_load(&guests::core_module(), "core WebAssembly module"), LoadError::CoreModule);
    check_load(&guests::traps_in_describe(), "unreachable");
    check_load(&guests::other_world(), "contract");
    check_load(&vec![0; 100_001], "at most 100000");
    let component = guests::codec("1.0.0", 1);
    // Cut behind its header it is a whole component, of nothing.
    check_load(&component[..8], "contract");
    for length in [4, 9, component.len() / 2, component.len() - 1] {
        check_load(&component[..length], "not a whole WebAssembly component");
    }
    check_load(&guests::with_vectors(&component, "{"), "the component's own vectors");
}

#[test]
fn imports_are_refused_by_name() {
    let refused = check_load(&guests::imports("acme:net/http"), "acme:net/http");
    assert!(refused.advice().contains("outside world"));
}

#[test]
fn a_codec_must_give_what_its_vectors_say() {
    let fixture = Fixture::new();
    let prove = |expected: &str| {
        let vectors =
            format!(r#"{{"vectors":[{{"device":"x","hex":"00","expected":[{{"values":{expected}}}]}}]}}"#);
        let bytes = guests::with_vectors(&guests::codec("1.0.0", 7), &vectors);
        let loaded = fixture.table.engine().load(&name("c"), &bytes).unwrap();
        loaded.decode_vectors(&[]).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(prove(r#"{"v":7}"#), Ok(()));
    let error = prove(r#"{"v":8,"w":1}"#).unwrap_err();
    assert!(error.contains("1 of its 1 vectors") && error.contains("v: expected 8, got 7 (LONG)"), "{error}");
}

#[test]
fn vectors_may_expect_a_refusal_and_survive_a_trap() {
    let fixture = Fixture::new();
    let vectors = r#"{"vectors":[
        {"device":"a","hex":"07","refused":"malformed"},
        {"device":"b","hex":"07","refused":"unsupported"},
        {"device":"c","hex":"01","expected":[]},
        {"device":"d","hex":"00","expected":[{"ts":null,"values":{"v":7}}]},
        {"device":"e","hex":"00","settings":{"a":1},"refused":"malformed"}]}"#;
    let file = crate::VectorFile::parse("f", vectors.as_bytes()).unwrap();
    let loaded = fixture.table.engine().load(&name("c"), &guests::codec("1.0.0", 7)).unwrap();
    let passed: Vec<bool> = loaded.run_vectors(&file).iter().map(|outcome| outcome.passed()).collect();
    assert_eq!(passed, [true, false, false, true, false]);
}
