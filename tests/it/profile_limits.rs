//! What a profile allows its codec: the same codec is cut off under one profile and fine under another.

use serde_json::{Value, json};
use wireglot_load::frame::frame;

use crate::harness::{Device, Server, eventually, guest};

fn device(server: &Server, profile: &str, codec: &str, limits: Value) -> Device {
    let profile = server.codec_profile_with(profile, codec, json!({"limits": limits}));
    server.device_of(&profile, &format!("of-{profile}"))
}

/// Why the newest letter of a device failed: its stage and its reason.
fn last_failure(server: &Server, profile: &str) -> (String, String) {
    let letters = server.rest().dead_letters(&format!("of-{profile}"));
    let text = |member: &str| letters[0][member].as_str().expect("a text").to_owned();
    (text("stage"), text("reason"))
}

#[test]
fn a_codec_is_cut_off_under_one_profile_and_fine_under_another() {
    let server = Server::spawn();
    server.install_codec("stamp", &guest("stamp-a"));
    let mut narrow = device(&server, "narrow", "stamp", json!({"values": 4}));
    let mut wide = device(&server, "wide", "stamp", json!({"values": 8}));
    for number in 1..=20 {
        narrow.telemetry(frame(number));
        wide.telemetry(frame(number));
    }
    assert_eq!(server.rest().counters("of-wide"), (1..=20).collect::<Vec<u32>>());
    assert!(server.rest().latest("of-narrow").is_empty());
    let letters = server.rest().dead_letters("of-narrow");
    assert_eq!(letters.len(), 20);
    let first = &letters[19];
    assert_eq!(
        (&first["stage"], &first["reason"]),
        (&json!("over-large"), &json!("more than 4 values in one result"))
    );
}

#[test]
fn each_limit_is_the_profiles_own() {
    let server = Server::spawn();
    for name in ["endless", "greedy", "huge"] {
        server.install_codec(name, &guest(name));
    }
    for (codec, limits, payload, stage, reason) in [
        ("endless", json!({"deadlineMs": 1}), 0, "deadline", "meant for 1 ms"),
        ("endless", json!({"deadlineMs": 60}), 0, "deadline", "60 ms"),
        ("greedy", json!({"memoryMiB": 3, "deadlineMs": 1000}), 0, "trapped", "more than 3072 KiB of memory"),
        (
            "greedy",
            json!({"memoryMiB": 48, "deadlineMs": 1000}),
            0,
            "trapped",
            "more than 49152 KiB of memory",
        ),
        ("huge", json!({"resultKiB": 64, "deadlineMs": 1000}), 0, "over-large", "larger than 64 KiB"),
        ("huge", json!({"messages": 10, "deadlineMs": 1000}), 2, "over-large", "at most 10 are allowed"),
    ] {
        let name =
            format!("{codec}-{}", limits.to_string().replace(|c: char| !c.is_ascii_alphanumeric(), ""));
        device(&server, &name, codec, limits).telemetry([payload]);
        let found = last_failure(&server, &name);
        assert!(found.0 == stage && found.1.contains(reason), "{name}: {found:?}");
    }
    // What is too much by default is fine where the profile says so.
    let mut patient = device(
        &server,
        "patient",
        "huge",
        json!({"values": 32_768, "deadlineMs": 1_000, "resultKiB": 4_096}),
    );
    patient.telemetry([1]);
    assert_eq!(server.rest().latest("of-patient")["t"], 1);
}

#[test]
fn changed_limits_rule_the_next_message_of_an_open_session() {
    let server = Server::spawn();
    server.install_codec("stamp", &guest("stamp-a"));
    let mut device = device(&server, "tuned", "stamp", json!({}));
    device.telemetry(frame(1));
    let infos = server.rest().get("/api/deviceProfiles?pageSize=100&page=0").expect("profiles");
    let profiles = infos["data"].as_array().expect("a page");
    let mut profile =
        profiles.iter().find(|profile| profile["name"] == "tuned").expect("it was made").clone();
    let pointer = "/profileData/transportConfiguration/transportPayloadTypeConfiguration/limits";
    for (values, number, is_decoded) in [(4, 2, false), (8, 3, true)] {
        *profile.pointer_mut(pointer).expect("limits are shown") = json!({"values": values});
        profile = server.rest().post("/api/deviceProfile", &profile).expect("the profile is saved");
        assert_eq!(profile.pointer(pointer), Some(&json!({"values": values})));
        device.telemetry(frame(number));
        assert_eq!(server.rest().latest("of-tuned")["seq"] == number, is_decoded);
    }
    // The frame that was too much for the limit of that time is decoded again under the one of today.
    server.rest().post("/api/replay", &json!({"deviceProfileName": "tuned"})).expect("a replay begins");
    eventually("the frame that was cut off is stored after all", || {
        (server.rest().counters("of-tuned") == [1, 2, 3]).then_some(())
    });
    *profile.pointer_mut(pointer).expect("limits are shown") = json!({"values": 32_769});
    let refused = server.rest().post("/api/deviceProfile", &profile).expect_err("beyond the range");
    let told = refused.body["message"].as_str().unwrap_or_default();
    assert!(refused.status == 400 && told.contains("'values' is a whole number from 1 to 32768"), "{told}");
}

#[test]
fn a_codec_that_keeps_failing_pauses_for_its_profile_and_comes_back() {
    let server = Server::spawn();
    server.install_codec("huge", &guest("huge"));
    let limits = json!({"trapsInARow": 3, "pauseMs": 3_000, "deadlineMs": 1_000});
    let mut failing = device(&server, "failing", "huge", limits.clone());
    let mut other = device(&server, "other", "huge", limits);
    for _ in 0..3 {
        failing.telemetry([0]);
    }
    failing.telemetry([4]);
    let (stage, reason) = last_failure(&server, "failing");
    assert!(stage == "trapped" && reason.contains("keeps failing"), "{reason}");
    other.telemetry([4]);
    assert_eq!(server.rest().latest("of-other")["t"], 1, "the pause is one profile's own");
    // After the pause one call tries, works, and closes the breaker.
    eventually("the codec is tried again", || {
        failing.telemetry([4]);
        server.rest().latest("of-failing").contains_key("t").then_some(())
    });
    let kept = server.rest().dead_letters("of-failing").len();
    for _ in 0..2 {
        failing.telemetry([0]);
        failing.telemetry([4]);
    }
    let letters = server.rest().dead_letters("of-failing");
    assert_eq!(letters.len(), kept + 2, "a short row is no reason for a pause");
    assert!(
        letters.iter().take(2).all(|letter| letter["reason"].as_str().is_some_and(|r| r.contains("larger")))
    );
}
