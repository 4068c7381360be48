//! Codecs that mean harm: each wastes its own budget and nothing else.

use std::fs::{self, File};
use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};
use wireglot_load::fleet::Pace;
use wireglot_load::frame::frame;

use crate::harness::{Device, Server, Swarm, eventually, guest, pause};

/// Frames that each hostile codec gets while others publish.
const FRAMES: usize = 20;
/// What the well-behaved wait at most, for all but the slowest of a hundred messages. A codec may keep a worker until
/// its fuel is used up, some 20 ms at a time; without any limit this would be for ever.
const PATIENCE: Duration = Duration::from_secs(2);

/// Limits under which time ends no call that ends by itself or by another limit. A busy machine may keep a thread waiting for longer than a call may take by default.
pub(crate) fn unhurried() -> Value {
    json!({ "deadlineMs": 1_000 })
}

/// A server with a well-behaved swarm in the background.
fn with_good_neighbours(story: impl FnOnce(&Server)) {
    let server = Server::spawn();
    server.install_codec("stamp", &guest("stamp-a"));
    let profile = server.codec_profile_with("good", "stamp", json!({ "limits": unhurried() }));
    let swarm = Swarm::start(&server, &profile, 20, 20, Pace::PerSecond(200));
    swarm.progress(20);
    story(&server);
    swarm.progress(20);
    let outcome = swarm.finish();
    assert!(outcome.drained && outcome.refused == 0, "a good device was not served");
    for device in &outcome.devices {
        assert_eq!(device.closed, None, "{} was disconnected", device.name);
        let sent: Vec<u32> = (1..=device.sent).collect();
        assert_eq!(server.rest().counters(&device.name), sent, "{}", device.name);
    }
    assert!(outcome.p99 < PATIENCE, "p99 of good devices was {:?}", outcome.p99);
}

/// A device of a profile whose payloads go through this guest.
fn victim(server: &Server, name: &str, settings: Value, limits: Value) -> Device {
    server.install_codec(name, &guest(name));
    let more = json!({ "settings": settings, "limits": limits });
    let profile = server.codec_profile_with(&format!("of-{name}"), name, more);
    server.device_of(&profile, &format!("dev-{name}"))
}

/// The stages at which the letters of a device failed, the oldest first.
fn stages(server: &Server, device: &str) -> Vec<String> {
    let letters = server.rest().dead_letters(device);
    letters.iter().rev().map(|letter| letter["stage"].as_str().expect("a stage").to_owned()).collect()
}

/// Every frame is acknowledged, because the server answers for it, and every one is kept with its reason.
fn feed(server: &Server, name: &str, settings: Value, stage: &str) {
    let limits = if stage == "deadline" { json!({}) } else { unhurried() };
    let mut device = victim(server, name, settings, limits);
    for number in 0..FRAMES {
        device.telemetry([u8::try_from(number).expect("few frames"); 3]);
    }
    let stages = stages(server, &format!("dev-{name}"));
    assert_eq!(stages.len(), FRAMES, "{name}: every frame is kept: {stages:?}");
    assert_eq!(stages.first().map(String::as_str), Some(stage), "{name}");
    assert!(server.rest().latest(&format!("dev-{name}")).is_empty(), "{name}");
}

#[test]
fn an_endless_codec_is_cut_off() {
    with_good_neighbours(|server| feed(server, "endless", json!({}), "deadline"));
}

#[test]
fn a_greedy_codec_gets_no_more_memory() {
    with_good_neighbours(|server| {
        let before = wireglot_load::account::memory_kib(server.pid()).expect("the server runs");
        feed(server, "greedy", json!({}), "trapped");
        let after = wireglot_load::account::memory_kib(server.pid()).expect("the server runs");
        assert!(after < before + 128 * 1024, "from {before} to {after} KiB");
    });
}

#[test]
fn a_codec_that_fills_its_stack_traps() {
    with_good_neighbours(|server| feed(server, "deep", json!({}), "trapped"));
}

#[test]
fn a_codec_that_traps_in_every_call_harms_itself() {
    with_good_neighbours(|server| {
        feed(server, "trapping", json!({ "calm": true }), "trapped");
        let profile = server.codec_profile("excited", "trapping");
        let mut device = server.device_of(&profile, "excited-1");
        device.telemetry([1]);
        assert_eq!(stages(server, "excited-1").len(), 1, "a trap in `configure` is kept as well");
    });
}

#[test]
fn too_large_results_are_not_taken() {
    with_good_neighbours(|server| {
        let mut device = victim(server, "huge", json!({}), unhurried());
        for too_much in [0, 1, 2] {
            device.telemetry([too_much]);
        }
        let found = stages(server, "dev-huge");
        assert_eq!(found, ["over-large"; 3]);
        device.telemetry([3]);
        device.telemetry([4]);
        assert_eq!(stages(server, "dev-huge").len(), 3, "too many remarks are cut, the value is good");
        assert_eq!(server.rest().messages("dev-huge").len(), 2);
    });
}

#[test]
fn lies_are_kept_out_of_the_store() {
    with_good_neighbours(|server| {
        let mut device = victim(server, "lying", json!({}), unhurried());
        for lie in 0..=6 {
            device.telemetry([lie]);
        }
        assert_eq!(stages(server, "dev-lying"), ["invalid-result"; 7]);
        assert!(server.rest().latest("dev-lying").is_empty());
        // Times at the ends of the world are odd, but a device may name any time.
        device.telemetry([7]);
        device.telemetry([8]);
        device.telemetry([9]);
        assert_eq!(server.rest().latest("dev-lying")["t"], 1);
    });
}

#[test]
fn refused_settings_are_told_to_the_operator() {
    let (server, name) = (Server::spawn(), "settings-refusing");
    // A profile may come before its codec: then its frames tell.
    let profile = server.codec_profile_with("early", name, json!({ "settings": { "any": 1 } }));
    let mut device = server.device_of(&profile, "dev");
    server.install_codec(name, &guest(name));
    device.telemetry([1]);
    let letters = server.rest().dead_letters("dev");
    let reason = letters[0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("no settings are good enough"), "{reason}");

    // With the codec there, settings that it refuses are not even saved; what was saved before stays changeable.
    let found = server.rest().get("/api/deviceProfiles?pageSize=9&page=0&textSearch=early").expect("a page");
    let mut profile = found["data"][0].clone();
    profile["description"] = json!("found at once");
    let mut saved = server.rest().post("/api/deviceProfile", &profile).expect("the settings are as before");
    let payload = "/profileData/transportConfiguration/transportPayloadTypeConfiguration/settings";
    *saved.pointer_mut(payload).expect("settings") = json!({ "any": 2 });
    let refused = server.rest().post("/api/deviceProfile", &saved).expect_err("other settings");
    assert_eq!(refused.status, 400);
    let words = "'settings': the codec settings-refusing refuses them: no settings are good enough";
    assert!(refused.mentions(words), "{refused:?}");
}

#[test]
fn codec_sees_only_input() {
    let server = Server::spawn();
    server.drop_codec("importing", &guest("importing"));
    let codec = eventually("the import is refused", || {
        server.rest().codec("importing").filter(|codec| codec["error"].is_string())
    });
    assert_eq!(codec["state"], "rejected");
    assert!(codec["error"].as_str().is_some_and(|error| error.contains("clock")), "{codec}");
    // What two devices say with the same bytes, at different times and in a reused or a fresh instance, is the same.
    server.install_codec("stamp", &guest("stamp-a"));
    let mut seen = Vec::new();
    for isolation in ["instance", "message"] {
        let settings = json!({ "isolation": isolation });
        let profile = server.codec_profile_with(&format!("by-{isolation}"), "stamp", settings);
        for number in 0..2 {
            let name = format!("{isolation}-{number}");
            let mut device = server.device_of(&profile, &name);
            device.telemetry(frame(6));
            device.telemetry(frame(7));
            seen.push(server.rest().latest(&name));
        }
    }
    assert_eq!(seen[0]["seq"], 7);
    assert!(seen.iter().all(|values| *values == seen[0]), "{seen:?}");
}

#[test]
fn files_that_are_no_codec_are_rejected() {
    with_good_neighbours(|server| {
        let before = wireglot_load::account::memory_kib(server.pid()).expect("the server runs");
        let vast = server.scratch().join("vast");
        File::create(&vast).and_then(|file| file.set_len(200 << 20)).expect("a file of 200 MB with a hole");
        fs::rename(&vast, server.codecs().join("vast.wasm")).expect("one file system");
        server.drop_codec("text", b"this is no component");
        server.drop_codec("core-module", b"\0asm\x01\0\0\0");
        server.drop_codec("empty", b"");
        server.drop_codec("trapping-describe", &guest("trapping-describe"));
        for name in ["vast", "text", "core-module", "empty", "trapping-describe"] {
            let codec = eventually(&format!("{name} is rejected"), || {
                server.rest().codec(name).filter(|codec| codec["error"].is_string())
            });
            assert_eq!(codec["state"], "rejected", "{codec}");
            let note = server.codecs().join(format!("{name}.rejected.txt"));
            eventually("the reason lies beside the file", || note.exists().then_some(()));
        }
        let after = wireglot_load::account::memory_kib(server.pid()).expect("the server runs");
        assert!(after < before + 100 * 1024, "from {before} to {after} KiB");
    });
}

#[test]
fn a_half_written_file_is_waited_for() {
    with_good_neighbours(|server| {
        // In place and slowly, over the live file, as a copy over a bad network does it.
        let component = guest("stamp-b");
        let path = server.codecs().join("stamp.wasm");
        let mut file = File::create(&path).expect("the file is there");
        for piece in component.chunks(component.len() / 8 + 1) {
            file.write_all(piece).expect("a piece");
            pause(Duration::from_millis(50));
        }
        drop(file);
        eventually("the whole file is live", || {
            let codec = server.rest().codec("stamp")?;
            (codec["version"] == "2.0.0" && codec["error"].is_null()).then_some(())
        });
    });
}
