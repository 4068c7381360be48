//! What a profile sets in place of the limits of its codec, and the breaker that each profile has for itself.

use std::sync::Arc;
use std::time::Instant;

use wireglot_model::{FailureStage, ProfileLimits, Value};

use super::guests::{self, *};
use super::{Fixture, binding, check_stage, frame, value};
use crate::{CodecBinding, CodecLimits};

fn serving() -> Fixture {
    let fixture = Fixture::new();
    fixture.publish("c", &guests::codec("1.0.0", 7));
    fixture
}

/// A profile of its own, with one limit.
fn limited(profile: u128, word: &str, most: u64) -> CodecBinding {
    let mut limits = ProfileLimits::default();
    limits.set(word, Some(most)).unwrap();
    let mut binding = binding("c", "{}");
    binding.profile.0 = format!("{profile:032x}").parse().unwrap();
    CodecBinding { limits: Arc::new(limits), ..binding }
}

#[test]
fn a_profile_narrows_and_widens_what_its_codec_may_use() {
    let fixture = serving();
    let worker = fixture.table.worker();
    for (word, most, payload, stage, reason) in [
        ("deadlineMs", 1, ENDLESS, FailureStage::Deadline, "meant for 1 ms"),
        ("deadlineMs", 50, ENDLESS, FailureStage::Deadline, "meant for 50 ms"),
        ("memoryMiB", 1, MEMORY_BOMB, FailureStage::Trapped, "more than 1024 KiB of memory"),
        ("memoryMiB", 256, MEMORY_BOMB, FailureStage::Trapped, "more than 262144 KiB of memory"),
        ("resultKiB", 4, HUGE, FailureStage::OverLarge, "larger than 4 KiB"),
        ("resultKiB", 4_096, HUGE, FailureStage::OverLarge, "larger than 4096 KiB"),
    ] {
        check_stage(&worker, &limited(1, word, most), payload, stage, reason);
        worker.decode(&limited(2, "values", 1), &frame(GOOD)).unwrap();
    }
}

#[test]
fn every_word_reaches_its_limit() {
    let mut profile = ProfileLimits::default();
    for (word, value) in [
        ("deadlineMs", 40),
        ("memoryMiB", 2),
        ("resultKiB", 3),
        ("messages", 4),
        ("values", 5),
        ("warnings", 6),
        ("trapsInARow", 7),
        ("pauseMs", 80),
    ] {
        profile.set(word, Some(value)).unwrap();
    }
    let kind = CodecLimits { fuel_per_call: 1_000, deadline_ticks: 20, ..CodecLimits::default() };
    let expected = CodecLimits {
        deadline_ticks: 40,
        fuel_per_call: 2_000,
        memory_bytes_max: 2 << 20,
        result_bytes_max: 3 << 10,
        messages_max: 4,
        samples_max: 5,
        warnings_max: 6,
        traps_in_a_row_max: 7,
        pause_ms_min: 80,
        ..kind
    };
    assert_eq!(kind.under(&profile), expected);
    assert_eq!(kind.under(&ProfileLimits::default()), kind);
}

#[test]
fn changed_limits_replace_the_instance_and_rule_the_next_message() {
    let fixture = serving();
    let worker = fixture.table.worker();
    let count = |binding: &CodecBinding| value(&worker.decode(binding, &frame(COUNT)).unwrap().0).clone();
    let (wide, narrow) = (limited(1, "memoryMiB", 16), limited(1, "memoryMiB", 1));
    assert_eq!([count(&wide), count(&wide)], [1, 2].map(Value::Long));
    assert_eq!([count(&narrow), count(&narrow)], [1, 2].map(Value::Long));
    check_stage(&worker, &narrow, MEMORY_BOMB, FailureStage::Trapped, "1024 KiB");
    assert_eq!(fixture.table.counters().live_instances, 0);
}

#[test]
fn a_codec_that_cannot_start_within_its_memory_says_so() {
    let fixture = Fixture::new();
    fixture.publish("c", &guests::codec_of_pages("1.0.0", 17));
    let worker = fixture.table.worker();
    check_stage(
        &worker,
        &limited(1, "memoryMiB", 1),
        GOOD,
        FailureStage::Trapped,
        "more than 1024 KiB of memory",
    );
    // Its first memory alone is more than half of what it may have; that is no reason to replace it every time.
    let tight = limited(1, "memoryMiB", 2);
    let counts: Vec<Value> =
        (0..3).map(|_| value(&worker.decode(&tight, &frame(COUNT)).unwrap().0).clone()).collect();
    assert_eq!(counts, [1, 2, 3].map(Value::Long));
}

#[test]
fn a_profile_under_which_a_codec_fails_does_not_pause_it_for_another() {
    let fixture = serving();
    let (one, other) = (fixture.table.worker(), fixture.table.worker());
    let failing = limited(1, "trapsInARow", 2);
    for worker in [&one, &other] {
        check_stage(worker, &failing, TRAP, FailureStage::Trapped, "unreachable");
    }
    for worker in [&one, &other] {
        check_stage(worker, &failing, GOOD, FailureStage::Trapped, "keeps failing");
        worker.decode(&limited(2, "trapsInARow", 2), &frame(GOOD)).unwrap();
    }
    let counters = fixture.table.counters();
    assert_eq!((counters.live[0].breakers_open, counters.live[0].breakers_half_open), (1, 0));
    let counts = &counters.versions[0].counts;
    assert_eq!((counts.openings, counts.paused, counts.calls), (1, 2, 4));
    // Somebody has done something about it: the changed profile is tried at once.
    one.decode(&limited(1, "trapsInARow", 3), &frame(GOOD)).unwrap();
    assert_eq!(fixture.table.counters().live[0].breakers_open, 0);
}

#[test]
fn after_the_pause_one_call_tries_and_a_success_closes() {
    let fixture = serving();
    let worker = fixture.table.worker();
    let mut limits = ProfileLimits::default();
    limits.set("trapsInARow", Some(2)).unwrap();
    limits.set("pauseMs", Some(50)).unwrap();
    let binding = CodecBinding { limits: Arc::new(limits), ..binding("c", "{}") };
    let fail = |payload: &[u8]| worker.decode(&binding, &frame(payload)).unwrap_err().reason;
    // Taken before the pause begins, which is counted in whole milliseconds.
    let started = Instant::now();
    assert!(fail(TRAP).contains("unreachable") && fail(TRAP).contains("unreachable"));
    let mut paused = 0;
    let until_called = |payload: &[u8], paused: &mut u32| loop {
        match worker.decode(&binding, &frame(payload)) {
            Err(failure) if failure.reason.contains("keeps failing") => *paused += 1,
            other => return other.map_err(|failure| failure.reason),
        }
        assert!(started.elapsed().as_secs() < 30, "the pause has no end");
    };
    // The first try fails, so the second pause is twice as long.
    assert!(until_called(TRAP, &mut paused).unwrap_err().contains("unreachable"));
    assert!(started.elapsed().as_millis() >= 49 && paused > 0);
    until_called(GOOD, &mut paused).unwrap();
    assert!(started.elapsed().as_millis() >= 148);
    // Closed again: a row has to be whole before the next pause.
    assert!(fail(TRAP).contains("unreachable"));
    worker.decode(&binding, &frame(GOOD)).unwrap();
    assert_eq!(fixture.table.counters().versions[0].counts.paused, u64::from(paused));
}
