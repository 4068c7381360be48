//! Candidates: tried beside the live version, compared with it, let at a share of the devices, promoted.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use wireglot_model::limits::{
    CANARY_HARD_FAILURES_MAX, CANDIDATES_MAX, CODEC_FILE_STABLE_MS, SHADOW_PROFILES_MAX,
};
use wireglot_model::{Actor, CodecStamp, ProfileLimits, Timestamp, Value};

use super::guests::{self, ACCEPTING_NONE, BEGIN, GOOD, GREEDY, REFUSING, SLOWLY, TRAPPING};
use super::rollback::operator;
use super::{Fixture, binding, frame, name, now, value, write};
use crate::folder::FileKind;
use crate::shadow::decode_both;
use crate::{
    CanaryPlan, CanaryState, CanaryStatus, CandidateError, CandidateState, CandidateStatus, CodecBinding,
    CodecOutcome, DecodeFailure, Frame, RenewingSession, ScanReport, ShadowReport, WorkerCodecs,
};

impl Fixture {
    /// `c.wasm` gives 7, and this component is its candidate.
    fn trying(candidate: &[u8]) -> Self {
        let fixture = Self::new();
        write(&fixture.path("c.wasm"), &guests::codec("1.0.0", 7));
        write(&fixture.path("c.next.wasm"), candidate);
        fixture.scanned();
        assert!(fixture.table.candidate(&name("c")).is_some_and(|c| c.state == CandidateState::Shadow));
        fixture
    }

    fn scanned(&self) -> ScanReport {
        let first = now();
        match self.folder().scan(first, &|_| true) {
            report if report.pending == 0 => report,
            _ => self.folder().scan(Timestamp(first.0 + CODEC_FILE_STABLE_MS), &|_| true),
        }
    }

    fn candidate(&self) -> CandidateStatus {
        self.table.candidate(&name("c")).expect("a candidate")
    }

    fn canary(&self) -> CanaryStatus {
        self.table.canary(&name("c")).expect("a canary")
    }

    fn start(&self, plan: CanaryPlan) -> Result<CanaryStatus, CandidateError> {
        self.table.start_canary(&name("c"), plan, operator(), now())
    }

    fn live_version(&self) -> String {
        self.table.live(&name("c")).expect("a live version").stamp().version.as_ref().to_owned()
    }
}

/// A plan that is over after a few messages of all devices.
fn quick() -> CanaryPlan {
    CanaryPlan {
        share: 1.0,
        min_messages: 40,
        duration_s: 0,
        max_latency_ratio: 1_000.0,
        ..CanaryPlan::default()
    }
}

fn decode(worker: &WorkerCodecs, device: &str, payload: &[u8]) -> Result<(i64, CodecStamp), DecodeFailure> {
    let frame = Frame { device, ..frame(payload) };
    let (decoded, stamp) = worker.decode(&binding("c", "{}"), &frame)?;
    let Value::Long(value) = value(&decoded) else { panic!("{decoded:?}") };
    Ok((*value, stamp))
}

#[track_caller]
fn eventually<T>(mut state: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = state() {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(300), "waited in vain");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Publishes until the canary has ended, and gives what it came to.
#[track_caller]
fn run_canary(fixture: &Fixture, plan: CanaryPlan, payload: &[u8]) -> CanaryStatus {
    let worker = fixture.table.worker();
    fixture.start(plan).unwrap();
    let mut number = 0;
    eventually(|| {
        number += 1;
        // What fails is counted, and nothing else is to be seen here.
        drop(decode(&worker, &format!("d{}", number % 50), payload));
        Some(fixture.canary()).filter(|canary| !canary.state.is_active())
    })
}

#[test]
fn a_candidate_is_tried_while_the_live_version_serves() {
    let fixture = Fixture::trying(&guests::codec("2.0.0", 8));
    let worker = fixture.table.worker();
    for number in 0..100 {
        assert_eq!(decode(&worker, &format!("d{number}"), &[0, number]).unwrap().0, 7);
    }
    let candidate = eventually(|| {
        let candidate = fixture.candidate();
        let compared = candidate.report.as_ref().map_or(0, |report| report.frames);
        (compared + candidate.frames_dropped == 100).then_some(candidate)
    });
    assert_eq!((candidate.version.as_deref(), candidate.share), (Some("2.0.0"), 1.0));
    let report = candidate.report.unwrap();
    assert_eq!((report.results.different, report.frames_of_other_profiles), (report.frames, 0));
    assert_eq!((report.values.changed, report.values.same), (report.frames, 0));
    assert_eq!((report.keys["v"].changed, report.profiles["p"].different), (report.frames, report.frames));
    assert!(report.time_ratio.is_some_and(|ratio| ratio > 0.1), "{report:?}");
    let example = &report.examples[0];
    assert_eq!((example.old.as_deref(), example.new.as_deref()), (Some("7 (LONG)"), Some("8 (LONG)")));
    assert!(example.hex.len() == 4 && example.hex.starts_with("00"), "{example:?}");
    let counters = fixture.table.counters();
    assert_eq!((counters.candidates, counters.shadow_frames), (1, report.frames));
    let row = counters.versions.iter().find(|row| row.version.as_deref() == Some("2.0.0")).unwrap();
    assert_eq!(row.counts.calls, report.frames, "the candidate has a row of its own");
}

#[test]
fn without_a_candidate_nothing_is_made_for_one() {
    let fixture = Fixture::new();
    fixture.publish("c", &guests::codec("1.0.0", 7));
    decode(&fixture.table.worker(), "d", GOOD).unwrap();
    assert!(fixture.table.0.trials.queue().is_none());
    assert!(fixture.table.candidate(&name("c")).is_none() && fixture.table.canary(&name("c")).is_none());
}

#[test]
fn the_share_decides_how_much_is_compared() {
    let fixture = Fixture::trying(&guests::codec("2.0.0", 8));
    let worker = fixture.table.worker();
    fixture.table.set_shadow_share(&name("c"), 0.0).unwrap();
    (0..200).for_each(|_| drop(decode(&worker, "d", GOOD).unwrap()));
    fixture.table.set_shadow_share(&name("c"), 0.25).unwrap();
    (0..400).for_each(|_| drop(decode(&worker, "d", GOOD).unwrap()));
    let seen = || {
        let candidate = fixture.candidate();
        candidate.report.unwrap().frames + candidate.frames_dropped
    };
    eventually(|| (seen() >= 60).then_some(()));
    assert!(seen() <= 140, "{}", seen());
    assert!(matches!(fixture.table.set_shadow_share(&name("c"), 1.1), Err(CandidateError::Invalid(_))));
    assert!(matches!(fixture.table.set_shadow_share(&name("x"), 1.0), Err(CandidateError::None(_))));
}

#[test]
fn what_the_queue_cannot_hold_is_dropped_and_counted() {
    for (frames, bytes) in [(5_000_u64, 2), (400, 60_000)] {
        let fixture = Fixture::trying(&guests::changed("2.0.0", 7, BEGIN, SLOWLY));
        let worker = fixture.table.worker();
        let payload = vec![0; bytes];
        (0..frames).for_each(|_| drop(decode(&worker, "d", &payload).unwrap()));
        let dropped = fixture.candidate().frames_dropped;
        assert!(dropped > 0 && dropped < frames, "{dropped}");
        assert_eq!(fixture.table.counters().shadow_frames_dropped, dropped);
    }
}

/// What a candidate may use where it would serve is what it may use where it is tried.
#[test]
fn a_candidate_is_tried_under_the_limits_of_the_profile() {
    let fixture = Fixture::trying(&guests::changed("2.0.0", 7, BEGIN, SLOWLY));
    let worker = fixture.table.worker();
    let limits = ProfileLimits { deadline_ms: Some(1), ..ProfileLimits::default() };
    let narrow = CodecBinding { limits: limits.into(), ..binding("c", "{}") };
    let report = eventually(|| {
        worker.decode(&narrow, &frame(&[0, 0])).unwrap();
        fixture.candidate().report.filter(|report| report.frames > 0)
    });
    let failed = report.new.errors.iter().sum::<u64>();
    assert_eq!((failed, report.old.errors.iter().sum()), (report.frames, 0_u64), "{report:?}");
}

#[test]
fn a_rejected_candidate_disturbs_nobody() {
    let fixture = Fixture::new();
    write(&fixture.path("c.wasm"), &guests::codec("1.0.0", 7));
    fixture.scanned();
    write(&fixture.path("c.next.wasm"), b"oops");
    assert_eq!(fixture.scanned().rejected.len(), 1);
    let candidate = fixture.candidate();
    assert_eq!(candidate.state, CandidateState::Rejected);
    assert!(candidate.error.unwrap().contains("not start as WebAssembly"));
    let note = fs::read_to_string(fixture.path("c.next.rejected.txt")).unwrap();
    assert!(note.contains("not start as WebAssembly") && note.contains("Version 1.0.0"), "{note}");
    let live = fixture.table.status(&name("c")).unwrap();
    assert_eq!((live.error, live.file.as_deref()), (None, Some("c.wasm")));
    assert_eq!(decode(&fixture.table.worker(), "d", GOOD).unwrap().0, 7);
    assert!(matches!(fixture.start(quick()), Err(CandidateError::None(_))));
    fs::remove_file(fixture.path("c.next.wasm")).unwrap();
    fixture.scanned();
    assert!(fixture.table.candidate(&name("c")).is_none() && !fixture.path("c.next.rejected.txt").exists());
}

#[test]
fn a_candidate_is_proven_by_its_vectors_or_by_those_of_the_codec() {
    let vectors =
        |value: i64| format!(r#"{{"vectors":[{{"hex":"00","expected":[{{"values":{{"v":{value}}}}}]}}]}}"#);
    let fixture = Fixture::new();
    write(&fixture.path("c.wasm"), &guests::codec("1.0.0", 7));
    write(&fixture.path("c.vectors.json"), vectors(7).as_bytes());
    write(&fixture.path("c.next.wasm"), &guests::codec("2.0.0", 8));
    fixture.scanned();
    assert_eq!(fixture.candidate().state, CandidateState::Rejected);
    write(&fixture.path("c.next.vectors.json"), vectors(8).as_bytes());
    fixture.scanned();
    assert_eq!(fixture.candidate().state, CandidateState::Shadow);
    fixture.folder().promote(&name("c"), None, Actor::Server, "asked for", now()).unwrap();
    assert_eq!(fs::read_to_string(fixture.path("c.vectors.json")).unwrap(), vectors(8));
    assert!(!fixture.path("c.next.wasm").exists() && !fixture.path("c.next.vectors.json").exists());
    let after = fixture.scanned();
    assert!(after.published.is_empty() && after.rejected.is_empty(), "{after:?}");
    let fixture = fixture.restarted();
    fixture.scanned();
    assert_eq!((fixture.live_version().as_str(), fixture.path("c.rejected.txt").exists()), ("2.0.0", false));
}

#[test]
fn a_candidate_renamed_by_hand_is_promoted() {
    let fixture = Fixture::trying(&guests::codec("2.0.0", 8));
    fixture.start(CanaryPlan { share: 1.0, ..CanaryPlan::default() }).unwrap();
    fs::rename(fixture.path("c.next.wasm"), fixture.path("c.wasm")).unwrap();
    fixture.scanned();
    assert_eq!(fixture.live_version(), "2.0.0");
    assert!(fixture.table.candidate(&name("c")).is_none());
    let canary = eventually(|| Some(fixture.canary()).filter(|canary| !canary.state.is_active()));
    assert_eq!(
        (canary.state, canary.reason.as_deref()),
        (CanaryState::Promoted, Some("its file was renamed"))
    );
}

#[test]
fn an_upload_and_a_discard_do_what_the_files_do() {
    let fixture = Fixture::new();
    let (folder, codec) = (fixture.folder(), name("c"));
    fixture.publish("c", &guests::codec("1.0.0", 7));
    assert!(folder.upload_candidate(&codec, FileKind::Component, b"oops", Actor::Server, now()).is_err());
    let component = guests::codec("2.0.0", 8);
    let stamp =
        folder.upload_candidate(&codec, FileKind::Component, &component, Actor::Server, now()).unwrap();
    assert_eq!((stamp.version.as_ref(), fixture.path("c.next.wasm").exists()), ("2.0.0", true));
    write(&fixture.path("c.next.vectors.json"), br#"{"vectors":[]}"#);
    fixture.start(quick()).unwrap();
    folder.discard_candidate(&codec, operator(), now()).unwrap();
    assert!(!fixture.path("c.next.wasm").exists() && !fixture.path("c.next.vectors.json").exists());
    assert_eq!(fixture.canary().state, CanaryState::Stopped);
    assert!(fixture.table.candidate(&codec).is_none());
    assert!(matches!(folder.discard_candidate(&codec, operator(), now()), Err(CandidateError::None(_))));
    assert!(matches!(
        folder.promote(&codec, None, Actor::Server, "asked for", now()),
        Err(CandidateError::None(_))
    ));
}

#[test]
fn more_candidates_than_allowed_are_refused() {
    let fixture = Fixture::new();
    for number in 0..=CANDIDATES_MAX {
        write(&fixture.path(&format!("c{number:03}.next.wasm")), &guests::codec("1.0.0", 7));
    }
    fixture.scanned();
    assert_eq!(fixture.table.counters().candidates, CANDIDATES_MAX);
    let of_last = fixture.table.candidate(&name(&format!("c{CANDIDATES_MAX:03}"))).unwrap();
    assert!(of_last.error.unwrap().contains("candidates are tried"));
    fs::remove_file(fixture.path("c000.next.wasm")).unwrap();
    (0..2).for_each(|_| drop(fixture.scanned()));
    let of_last = fixture.table.candidate(&name(&format!("c{CANDIDATES_MAX:03}"))).unwrap();
    assert_eq!(of_last.state, CandidateState::Shadow, "it is tried as soon as there is room");
}

#[test]
fn a_canary_that_keeps_its_budgets_is_promoted() {
    let fixture = Fixture::trying(&guests::codec("2.0.0", 8));
    let canary = run_canary(&fixture, CanaryPlan { share: 0.5, ..quick() }, GOOD);
    assert_eq!(
        (canary.state, canary.reason.as_deref()),
        (CanaryState::Promoted, Some("all budgets were kept"))
    );
    assert!(canary.numbers.messages >= 40 && canary.numbers.errors == 0, "{canary:?}");
    assert!(canary.ended_at.is_some() && canary.numbers.different == canary.numbers.compared, "{canary:?}");
    assert_eq!(fixture.live_version(), "2.0.0");
    assert_eq!(fs::read(fixture.path("c.wasm")).unwrap(), guests::codec("2.0.0", 8));
    assert_eq!(
        fixture.folder().versions(&name("c")).last().map(|entry| entry.version.clone()),
        Some("2.0.0".into())
    );
    let fixture = fixture.restarted();
    fixture.scanned();
    assert_eq!((fixture.live_version().as_str(), fixture.canary().state), ("2.0.0", CanaryState::Promoted));
}

#[test]
fn a_canary_is_rolled_back_for_errors_differences_and_latency() {
    let strict = |change: fn(&mut CanaryPlan)| {
        let mut plan = quick();
        change(&mut plan);
        plan
    };
    for (candidate, payload, plan, reason) in [
        (guests::changed("2.0.0", 7, BEGIN, REFUSING), &[0, 9], quick(), "errors"),
        (guests::codec("2.0.0", 8), &[0, 0], strict(|plan| plan.max_difference_rate = 0.5), "differences"),
        (
            guests::changed("2.0.0", 7, BEGIN, SLOWLY),
            &[0, 0],
            strict(|plan| plan.max_latency_ratio = 3.0),
            "latency",
        ),
    ] {
        let fixture = Fixture::trying(&candidate);
        let canary = run_canary(&fixture, plan, payload);
        assert_eq!(canary.state, CanaryState::RolledBack, "{canary:?}");
        assert!(canary.reason.as_deref().unwrap().starts_with(reason), "{canary:?}");
        // The record follows the state.
        let events = eventually(|| Some(fixture.folder().events(&name("c"))).filter(|all| all.len() == 3));
        let told: Vec<_> = events.iter().map(|event| event.outcome).collect();
        let ended = [CodecOutcome::Live, CodecOutcome::CanaryStarted, CodecOutcome::CanaryRolledBack];
        assert_eq!(told, ended, "{events:?}");
        assert_eq!((&events[1].by, &events[2].by), (&operator(), &Actor::Server));
        assert_eq!(Some(&events[2].reason), canary.reason.as_ref());
        // The candidate stays, in the shadow.
        assert_eq!(
            (fixture.live_version().as_str(), fixture.candidate().state),
            ("1.0.0", CandidateState::Shadow)
        );
        let worker = fixture.table.worker();
        (0..50).for_each(|n| assert_eq!(decode(&worker, &format!("d{n}"), payload).unwrap().0, 7));
        assert_eq!(fixture.table.counters().canaries_rolled_back, 1);
    }
}

#[test]
fn errors_that_the_live_version_has_too_are_not_held_against_a_candidate() {
    let fixture = Fixture::trying(&guests::codec("2.0.0", 7));
    let canary = run_canary(&fixture, quick(), guests::MALFORMED);
    assert_eq!(canary.state, CanaryState::Promoted, "{canary:?}");
    assert!(canary.numbers.error_rate == 1.0 && canary.numbers.live_error_rate == 1.0, "{canary:?}");
}

#[test]
fn traps_end_a_canary_at_once() {
    let fixture = Fixture::trying(&guests::changed("2.0.0", 7, BEGIN, TRAPPING));
    let worker = fixture.table.worker();
    fixture.start(CanaryPlan { share: 1.0, ..CanaryPlan::default() }).unwrap();
    let failed = (0..100).filter(|n| decode(&worker, &format!("d{n}"), &[0, 9]).is_err()).count();
    assert_eq!(failed, CANARY_HARD_FAILURES_MAX as usize + 1, "the message after is the live version's");
    let canary = eventually(|| Some(fixture.canary()).filter(|canary| !canary.state.is_active()));
    assert_eq!(canary.state, CanaryState::RolledBack);
    assert!(canary.reason.unwrap().contains("trapped or were cut off"));
    assert_eq!(canary.numbers.errors, u64::from(CANARY_HARD_FAILURES_MAX) + 1);
}

#[test]
fn settings_that_the_candidate_refuses_end_its_canary_with_the_first_message() {
    let fixture = Fixture::trying(&guests::changed("2.0.0", 7, ACCEPTING_NONE[0], ACCEPTING_NONE[1]));
    let worker = fixture.table.worker();
    fixture.start(quick()).unwrap();
    let failed = (0..20).filter(|n| decode(&worker, &format!("d{n}"), GOOD).is_err()).count();
    assert_eq!(failed, 1);
    let canary = eventually(|| Some(fixture.canary()).filter(|canary| !canary.state.is_active()));
    assert!(canary.reason.as_deref().unwrap().contains("refuses the profile's settings"), "{canary:?}");
}

#[test]
fn one_device_never_flips() {
    let fixture = Fixture::trying(&guests::codec("2.0.0", 8));
    let workers = [fixture.table.worker(), fixture.table.worker()];
    let mut served: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for share in [0.1, 0.3, 0.3, 0.8] {
        let plan = CanaryPlan { share, min_messages: 1_000_000, ..quick() };
        assert_eq!(fixture.start(plan).unwrap().state, CanaryState::Running);
        for (round, number) in (0..600).enumerate() {
            let device = format!("d{}", number % 200);
            let (value, stamp) = decode(&workers[round % 2], &device, GOOD).unwrap();
            assert_eq!(stamp.version.as_ref(), if value == 8 { "2.0.0" } else { "1.0.0" });
            served.entry(device).or_default().push(value);
        }
    }
    let with_candidate = |values: &Vec<i64>| values.iter().filter(|value| **value == 8).count();
    for (device, values) in &served {
        assert!(values.is_sorted(), "{device} went back: {values:?}");
        // Whoever changes does so when the share grows, not in between.
        assert!([0, 3, 9, 12].contains(&with_candidate(values)), "{device}: {values:?}");
    }
    let ever = served.values().filter(|values| with_candidate(values) > 0).count();
    assert!((140..=180).contains(&ever), "{ever}");
    let error = fixture.start(CanaryPlan { share: 0.5, ..quick() }).unwrap_err().to_string();
    assert!(error.contains("only grows"), "{error}");
    assert_eq!(fixture.table.stop_canary(&name("c"), operator(), now()).unwrap().state, CanaryState::Stopped);
    assert!(served.keys().all(|device| decode(&workers[0], device, GOOD).unwrap().0 == 7));
    assert!(matches!(
        fixture.table.stop_canary(&name("c"), operator(), now()),
        Err(CandidateError::NoCanary(_))
    ));
}

#[test]
fn a_canary_that_is_held_waits_and_is_watched() {
    let fixture = Fixture::trying(&guests::changed("2.0.0", 8, BEGIN, TRAPPING));
    let worker = fixture.table.worker();
    fixture.start(CanaryPlan { on_success: crate::OnSuccess::Hold, ..quick() }).unwrap();
    let mut number = 0;
    eventually(|| {
        number += 1;
        decode(&worker, &format!("d{number}"), &[0, 0]).unwrap();
        (fixture.canary().state == CanaryState::Held).then_some(())
    });
    assert_eq!((fixture.live_version().as_str(), decode(&worker, "d", &[0, 0]).unwrap().0), ("1.0.0", 8));
    while decode(&worker, "d", &[0, 9]).is_err() {}
    let canary = eventually(|| Some(fixture.canary()).filter(|canary| !canary.state.is_active()));
    assert_eq!(canary.state, CanaryState::RolledBack);
}

#[test]
fn a_canary_ends_when_the_ground_under_it_changes() {
    let ended = |change: &dyn Fn(&Fixture)| {
        let fixture = Fixture::trying(&guests::codec("2.0.0", 8));
        fixture.start(CanaryPlan { share: 1.0, ..CanaryPlan::default() }).unwrap();
        change(&fixture);
        fixture.scanned();
        let canary = eventually(|| Some(fixture.canary()).filter(|canary| !canary.state.is_active()));
        assert_eq!(canary.state, CanaryState::RolledBack);
        canary.reason.unwrap()
    };
    let to = |file: &'static str, bytes: Vec<u8>| ended(&move |fixture| write(&fixture.path(file), &bytes));
    assert!(to("c.next.wasm", guests::codec("3.0.0", 9)).contains("file was changed"));
    assert!(to("c.next.wasm", b"oops".to_vec()).contains("rejected"));
    assert!(to("c.wasm", guests::codec("1.1.0", 6)).contains("live version was replaced"));
    let removed = ended(&|fixture| fs::remove_file(fixture.path("c.next.wasm")).unwrap());
    assert!(removed.contains("file is gone"), "{removed}");
}

#[test]
fn a_canary_does_not_survive_a_restart_and_says_so() {
    let fixture = Fixture::trying(&guests::codec("2.0.0", 8));
    fixture.start(CanaryPlan { share: 1.0, ..CanaryPlan::default() }).unwrap();
    let worker = fixture.table.worker();
    assert_eq!(decode(&worker, "d", GOOD).unwrap().0, 8);
    drop(worker);
    let fixture = fixture.restarted();
    fixture.scanned();
    assert_eq!(decode(&fixture.table.worker(), "d", GOOD).unwrap().0, 7);
    let (candidate, canary) = (fixture.candidate(), fixture.canary());
    assert_eq!((candidate.state, canary.state), (CandidateState::Shadow, CanaryState::RolledBack));
    assert!(canary.reason.unwrap().contains("the server was stopped"));
}

#[test]
fn more_profiles_than_are_compared_at_a_time_take_turns() {
    let fixture = Fixture::trying(&guests::codec("2.0.0", 8));
    let worker = fixture.table.worker();
    let profiles = SHADOW_PROFILES_MAX + 4;
    for number in 0..3 * profiles {
        let profile = number % profiles;
        let mut binding: CodecBinding = binding("c", "{}");
        binding.profile.0 = format!("{:032x}", profile + 1).parse().unwrap();
        worker.decode(&binding, &Frame { profile: &format!("p{profile}"), ..frame(GOOD) }).unwrap();
    }
    let report = eventually(|| {
        let report = fixture.candidate().report?;
        (report.frames == 3 * profiles as u64).then_some(report)
    });
    assert_eq!((report.profiles.len(), report.frames_of_other_profiles), (SHADOW_PROFILES_MAX, 12));
    // Two for each that is compared, one for each that is served.
    assert!(fixture.table.counters().live_instances <= 2 * SHADOW_PROFILES_MAX + profiles);
}

#[test]
fn two_versions_are_compared_without_a_server() {
    let fixture = Fixture::new();
    let side = |component: &[u8]| {
        let loaded = fixture.table.engine().load(&name("c"), component).unwrap();
        RenewingSession::new(std::sync::Arc::new(loaded), &"{}".into(), &std::sync::Arc::default(), false)
    };
    let mut old = side(&guests::codec("1.0.0", 7));
    let mut new = side(&guests::changed("2.0.0", 7, BEGIN, TRAPPING));
    let payloads: [&[u8]; 5] = [&[0, 0], &[0, 9], &[7, 0], &[7, 9], &[0, 0]];
    let mut report = ShadowReport::default();
    for (number, payload) in payloads.iter().enumerate() {
        let frame = frame(payload);
        let (before, after) = decode_both(&mut old, &mut new, &frame, number % 2 == 1);
        report.note(&frame, &before, &after);
    }
    let report = report.told();
    assert_eq!((report.results.same, report.results.only_old, report.results.neither), (2, 1, 2));
    assert_eq!((report.old.errors.iter().sum::<u64>(), report.new.errors.iter().sum::<u64>()), (2, 3));
    let written = serde_json::to_value(&report).unwrap();
    assert_eq!(written["new"]["errors"], serde_json::json!({"refused": 1, "trapped": 2}));
    assert_eq!(written["examples"][0]["hex"], "0009");
    assert!(written["examples"][0]["new"].as_str().unwrap().starts_with("trapped: "), "{written}");
}

/// What a worker forgets, a comparison and a replay forget too.
#[test]
fn what_is_called_outside_the_workers_is_renewed_as_inside() {
    let fixture = Fixture::new();
    let session = |component: &[u8], isolate_messages: bool| {
        let loaded = fixture.table.engine().load(&name("c"), component).unwrap();
        RenewingSession::new(
            std::sync::Arc::new(loaded),
            &"{}".into(),
            &std::sync::Arc::default(),
            isolate_messages,
        )
    };
    let once = format!("{BEGIN} (if (i64.gt_s (global.get $calls) (i64.const 1)) (then unreachable))");
    let once = guests::changed("1.0.0", 7, BEGIN, &once);
    let (mut reused, mut isolated) = (session(&once, false), session(&once, true));
    assert!(reused.decode(&frame(GOOD)).is_ok() && reused.decode(&frame(GOOD)).is_err());
    assert!((0..5).all(|_| isolated.decode(&frame(GOOD)).is_ok()), "a fresh instance for every message");
    // Each call takes half of the memory that there is, and gives none back.
    let mut greedy = session(&guests::codec("1.0.0", 7), false);
    assert!((0..5).all(|_| greedy.decode(&frame(GREEDY)).is_ok()));
}

/// A worker that took the table before a promotion asks the candidate after it.
#[test]
fn no_device_goes_back_while_its_candidate_is_promoted() {
    let fixture = Fixture::trying(&guests::codec("2.0.0", 8));
    fixture.start(CanaryPlan { share: 1.0, ..CanaryPlan::default() }).unwrap();
    let candidate = fixture.table.candidate_of(&name("c")).unwrap();
    fixture.folder().promote(&name("c"), None, Actor::Server, "asked for", now()).unwrap();
    assert_eq!(fixture.canary().state, CanaryState::Promoted);
    assert!(candidate.serves("d"), "it is what the worker would meet in the table now");
    let fixture = Fixture::trying(&guests::codec("2.0.0", 8));
    fixture.start(CanaryPlan { share: 1.0, ..CanaryPlan::default() }).unwrap();
    let candidate = fixture.table.candidate_of(&name("c")).unwrap();
    fixture.table.stop_canary(&name("c"), operator(), now()).unwrap();
    assert!(!candidate.serves("d"));
}
