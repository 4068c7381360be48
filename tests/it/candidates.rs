//! A new version is tried before it serves: in the shadow, on a share of the devices, and then for all.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};
use wireglot_load::fleet::Pace;
use wireglot_load::frame::frame;

use crate::harness::{Server, Swarm, eventually, guest, patiently};

const CANDIDATE: &str = "/api/codecs/stamp/candidate";
const PROMOTE: &str = "/api/codecs/stamp/candidate/promote";
const CANARY: &str = "/api/codecs/stamp/canary";

/// Puts a candidate beside the live version and waits until it is tried.
fn try_candidate(server: &Server, component: &[u8], version: &str) {
    server.drop_codec("stamp.next", component);
    eventually("the candidate is tried", || {
        server.rest().get(CANDIDATE).ok().filter(|candidate| candidate["version"] == version)
    });
}

fn ended_canary(server: &Server) -> Value {
    patiently("the canary has ended", || {
        let canary = server.rest().get(CANARY).expect("a canary");
        (canary["state"] != "running" && canary["state"] != "held").then_some(canary)
    })
}

/// Every message acknowledged once and stored once, by one version, and no device that was served by a newer version
/// went back; gives how many messages each version decoded.
fn check_books(server: &Server, swarm: Swarm, may_go_back: bool) -> BTreeMap<usize, usize> {
    let outcome = swarm.finish();
    assert!(outcome.drained, "something was never acknowledged");
    assert_eq!(outcome.refused, 0);
    let mut by_version = BTreeMap::new();
    for device in &outcome.devices {
        assert_eq!(device.closed, None, "{} was disconnected", device.name);
        let sent: Vec<u32> = (1..=device.sent).collect();
        assert_eq!(device.acknowledged, sent, "{}: not acknowledged once each", device.name);
        let mut stored = Vec::new();
        for message in server.rest().messages(&device.name) {
            let version = message.only_version();
            assert_eq!(message.codec_version, format!("{version}.0.0"), "the stamp beside the message");
            *by_version.entry(version).or_default() += 1;
            stored.push((message.counter(), version));
        }
        stored.sort_unstable();
        let counters: Vec<u32> = stored.iter().map(|(counter, _)| *counter).collect();
        let dead = server.rest().dead_letters(&device.name);
        assert_eq!(counters, sent, "{}: not stored once each; dead letters: {dead:?}", device.name);
        let versions: Vec<usize> = stored.iter().map(|(_, version)| *version).collect();
        assert!(may_go_back || versions.is_sorted(), "{} went back: {versions:?}", device.name);
    }
    by_version
}

#[test]
fn a_candidate_in_the_shadow_tells_what_would_change() {
    let server = Server::spawn();
    server.install_codec("stamp", &guest("stamp-a"));
    let profile = server.codec_profile("shadowed", "stamp");
    assert_eq!(server.rest().get(CANDIDATE).expect_err("none yet").status, 404);
    let swarm = Swarm::start(&server, &profile, 10, 5, Pace::PerSecond(400));
    try_candidate(&server, &guest("stamp-b"), "2.0.0");
    let candidate = patiently("frames are compared", || {
        let candidate = server.rest().get(CANDIDATE).expect("the candidate");
        (candidate["report"]["frames"].as_u64() >= Some(300)).then_some(candidate)
    });
    assert_eq!((&candidate["state"], &candidate["share"]), (&json!("shadow"), &json!(1.0)));
    let report = &candidate["report"];
    let frames = report["frames"].as_u64().expect("a number");
    assert_eq!(report["results"]["different"], frames);
    assert_eq!(
        (&report["values"]["same"], &report["values"]["changed"]),
        (&json!(frames), &json!(7 * frames))
    );
    assert_eq!(report["keys"]["seq"], json!({ "same": frames, "changed": 0, "onlyOld": 0, "onlyNew": 0 }));
    assert_eq!(report["keys"]["version"]["changed"], frames);
    assert_eq!(report["profiles"]["shadowed"]["different"], frames);
    assert!(report["timeRatio"].as_f64().is_some_and(|ratio| ratio > 0.2 && ratio < 5.0), "{report}");
    let examples = report["examples"].as_array().expect("examples");
    let example = examples.iter().find(|example| example["key"] == "version").expect("one of the version");
    assert_eq!((&example["old"], &example["new"]), (&json!("1 (LONG)"), &json!("2 (LONG)")));
    assert_eq!(example["hex"].as_str().map(str::len), Some(64), "{example}");
    assert_eq!(
        check_books(&server, swarm, false).keys().collect::<Vec<_>>(),
        [&1],
        "all by the live version"
    );

    let set = server.rest().post(CANDIDATE, &json!({ "share": 0.25 })).expect("a share");
    assert_eq!(set["share"], 0.25);
    let set = server.rest().post(&format!("{CANDIDATE}?share=0"), &json!({})).expect("a share");
    assert_eq!(set["share"], 0.0);
    assert_eq!(server.rest().post(CANDIDATE, &json!({ "share": 2 })).expect_err("no share").status, 400);
    let metrics = server.rest().get("/metrics").expect("metrics");
    assert!(metrics.as_str().expect("text").contains("\nwireglot_codec_candidates 1\n"), "{metrics}");

    let live = server.rest().post(PROMOTE, &json!({})).expect("promoted");
    assert_eq!((&live["version"], &live["file"]), (&json!("2.0.0"), &json!("stamp.wasm")));
    assert_eq!(fs::read(server.codecs().join("stamp.wasm")).expect("the file"), guest("stamp-b"));
    assert!(!server.codecs().join("stamp.next.wasm").exists());
    let server = server.kill_9().restart();
    let mut device = server.device_of(&profile, "after");
    device.telemetry(frame(5));
    assert_eq!(server.rest().latest("after")["version"], 2);
}

#[test]
fn a_rejected_candidate_disturbs_nobody() {
    let server = Server::spawn();
    server.install_codec("stamp", &guest("stamp-a"));
    let profile = server.codec_profile("shadowed", "stamp");
    let mut device = server.device_of(&profile, "thermo");
    let refused = server.rest().put_codec("stamp/candidate", b"nonsense").expect_err("no component");
    assert_eq!(refused.status, 422, "{}", refused.body);
    let candidate = server.rest().get(CANDIDATE).expect("it is told");
    let note = fs::read_to_string(server.codecs().join("stamp.next.rejected.txt")).expect("a note");
    assert!(note.contains(candidate["error"].as_str().expect("a reason")), "{note}");
    assert_eq!(candidate["state"], "rejected");
    let live = server.rest().codec("stamp").expect("live");
    assert_eq!((&live["state"], &live["error"]), (&json!("live"), &json!(null)));
    device.telemetry(frame(1));
    assert_eq!(server.rest().latest("thermo")["version"], 1);
    for path in [PROMOTE, CANARY] {
        assert_eq!(server.rest().post(path, &json!({})).expect_err("nothing to try").status, 404, "{path}");
    }
    server.rest().post("/api/codecs/stamp/candidate/discard", &json!({})).expect("discarded");
    assert_eq!(server.rest().get(CANDIDATE).expect_err("gone").status, 404);
    assert!(!server.codecs().join("stamp.next.rejected.txt").exists());
}

#[test]
fn a_canary_promotes_itself_and_no_device_flips() {
    let server = Server::spawn();
    server.install_codec("stamp", &guest("stamp-a"));
    let profile = server.codec_profile("canaries", "stamp");
    let swarm = Swarm::start(&server, &profile, 100, 20, Pace::Flood);
    swarm.progress(500);
    try_candidate(&server, &guest("stamp-b"), "2.0.0");
    let held = json!({ "share": 0.2, "minMessages": 300, "durationS": 0, "onSuccess": "hold" });
    server.rest().post(CANARY, &held).expect("a canary");
    patiently("the canary is held", || {
        (server.rest().get(CANARY).expect("a canary")["state"] == "held").then_some(())
    });
    assert_eq!(server.rest().codec("stamp").expect("live")["version"], "1.0.0");
    let smaller = server.rest().post(CANARY, &json!({ "share": 0.1 })).expect_err("a share only grows");
    assert_eq!(smaller.status, 422, "{}", smaller.body);
    let more = json!({ "share": 0.5, "minMessages": 1_000, "durationS": 1 });
    server.rest().post(CANARY, &more).expect("a larger share");
    let canary = ended_canary(&server);
    assert_eq!(canary["state"], "promoted", "{canary}");
    assert!(canary["numbers"]["messages"].as_u64() >= Some(1_000), "{canary}");
    assert_eq!(server.rest().codec("stamp").expect("live")["version"], "2.0.0");
    swarm.progress(500);
    let by_version = check_books(&server, swarm, false);
    assert!(by_version[&1] > 0 && by_version[&2] > 0, "{by_version:?}");
}

/// A canary of the wayward candidate on devices whose profile tells it this mistake.
fn check_rollback(server: &Server, mistake: &str, plan: &Value, reason: &str) {
    let settings = json!({ "settings": { "candidate": mistake }, "onFailure": "accept", "limits": { "deadlineMs": 1_000 } });
    let profile = server.codec_profile_with(mistake, "stamp", settings);
    let swarm = Swarm::start(server, &profile, 20, 5, Pace::PerSecond(400));
    swarm.progress(100);
    server.rest().post(CANARY, plan).expect("a canary");
    let canary = ended_canary(server);
    assert_eq!(canary["state"], "rolledBack", "{canary}");
    assert!(canary["reason"].as_str().is_some_and(|told| told.contains(reason)), "{canary}");
    assert_eq!(server.rest().codec("stamp").expect("live")["version"], "1.0.0");
    swarm.progress(100);
    let outcome = swarm.finish();
    assert!(outcome.drained && outcome.refused == 0);
    for device in &outcome.devices {
        assert_eq!(device.closed, None, "{} was disconnected", device.name);
        let mut kept = server.rest().counters(&device.name);
        let letters = server.rest().dead_letters(&device.name);
        assert!(letters.iter().all(|letter| letter["codec"]["version"] == "3.0.0"), "{letters:?}");
        kept.extend(letters.iter().map(|letter| {
            let hex = letter["payloadHex"].as_str().and_then(|hex| hex.get(..8)).expect("a frame");
            u32::from_str_radix(hex, 16).expect("a counter")
        }));
        kept.sort_unstable();
        assert_eq!(
            kept,
            (1..=device.sent).collect::<Vec<_>>(),
            "{}: nothing lost, nothing twice",
            device.name
        );
    }
    let last = server.rest().messages(&outcome.devices[0].name).pop().expect("messages");
    assert_eq!(last.only_version(), 1);
}

#[test]
fn a_canary_rolls_itself_back_and_says_why() {
    let server = Server::spawn();
    server.install_codec("stamp", &guest("stamp-a"));
    try_candidate(&server, &guest("wayward"), "3.0.0");
    let plan = |more: Value| {
        let mut plan = json!({ "share": 0.5, "minMessages": 200, "durationS": 0, "maxLatencyRatio": 50 });
        plan.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        plan
    };
    check_rollback(&server, "refuses", &plan(json!({ "maxErrorRate": 0.05 })), "errors: ");
    check_rollback(&server, "traps", &plan(json!({ "minMessages": 1_000_000 })), "trapped or were cut off");
    check_rollback(&server, "dawdles", &plan(json!({ "maxLatencyRatio": 3 })), "latency: ");
    let profile = server.codec_profile("differs", "stamp");
    let swarm = Swarm::start(&server, &profile, 20, 5, Pace::PerSecond(400));
    server.rest().post(CANARY, &plan(json!({ "maxDifferenceRate": 0.1 }))).expect("a canary");
    let canary = ended_canary(&server);
    assert_eq!(canary["state"], "rolledBack", "{canary}");
    assert!(canary["reason"].as_str().is_some_and(|told| told.contains("differences: ")), "{canary}");
    swarm.progress(100);
    check_books(&server, swarm, true);
    let metrics = server.rest().get("/metrics").expect("metrics");
    assert!(metrics.as_str().expect("text").contains("\nwireglot_codec_canaries_rolled_back_total 4\n"));
    assert!(server.log().contains("The canary was rolled back"));
    eventually("all of it is in the audit log", || {
        let audit = server.rest().get("/api/audit?target=stamp&pageSize=100&page=0").expect("the audit log");
        let entries = audit["data"].as_array().expect("entries");
        let told = |action: &str| entries.iter().filter(|entry| entry["action"] == action).count();
        (told("CANARY_STARTED") == 4 && told("CANARY_ROLLED_BACK") == 4).then_some(())
    });
}

#[test]
fn a_canary_ends_with_the_process_and_says_so() {
    let server = Server::spawn();
    server.install_codec("stamp", &guest("stamp-a"));
    try_candidate(&server, &guest("stamp-b"), "2.0.0");
    let profile = server.codec_profile("canaries", "stamp");
    let plan = json!({ "share": 1, "durationS": 3600 });
    server.rest().post(CANARY, &plan).expect("a canary");
    let mut device = server.device_of(&profile, "thermo");
    device.telemetry(frame(1));
    assert_eq!(server.rest().latest("thermo")["version"], 2);
    let server = server.kill_9().restart();
    let canary = server.rest().get(CANARY).expect("it is told");
    assert_eq!(canary["state"], "rolledBack", "{canary}");
    assert!(canary["reason"].as_str().is_some_and(|reason| reason.contains("stopped")), "{canary}");
    assert_eq!(server.rest().get(CANDIDATE).expect("still tried")["state"], "shadow");
    server.connect("thermo").telemetry(frame(2));
    assert_eq!(server.rest().latest("thermo")["version"], 1);
    server.rest().post(CANARY, &plan).expect("another canary");
    assert_eq!(server.rest().delete(CANARY).expect("ended")["state"], "stopped");
    server.connect("thermo").telemetry(frame(3));
    assert_eq!(server.rest().latest("thermo")["version"], 1);
}

#[test]
fn candidates_come_and_go_under_full_load() {
    let server = Server::spawn();
    let versions = [guest("stamp-a"), guest("stamp-b")];
    server.install_codec("stamp", &versions[0]);
    let profile = server.codec_profile("stepped", "stamp");
    let swarm = Swarm::start(&server, &profile, 100, 20, Pace::Flood);
    swarm.progress(1_000);
    for round in 1..=6 {
        let version = format!("{}.0.0", round % 2 + 1);
        try_candidate(&server, &versions[round % 2], &version);
        swarm.progress(200);
        for share in [0.1, 0.5, 1.0] {
            server.rest().post(CANARY, &json!({ "share": share })).expect("a step");
            swarm.progress(200);
        }
        if round % 3 == 0 {
            server.rest().delete(CANARY).expect("stopped");
            swarm.progress(200);
        }
        server.rest().post(PROMOTE, &json!({})).expect("promoted");
        assert_eq!(server.rest().codec("stamp").expect("live")["version"], version.as_str());
        swarm.progress(200);
    }
    let by_version = check_books(&server, swarm, true);
    assert!(by_version[&1] > 0 && by_version[&2] > 0, "{by_version:?}");
}
