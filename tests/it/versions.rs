//! Versions of a codec: rolled back, pinned, told of, over REST and by the operator's commands.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wireglot_load::fleet::Pace;
use wireglot_load::frame::frame;

use crate::harness::{Server, Swarm, documented, eventually, guest, operator, wireglot};

/// Both versions of the stamping codec were live; the second one is.
fn two_versions(server: &Server) {
    for (component, version) in [("stamp-a", "1.0.0"), ("stamp-b", "2.0.0")] {
        server.drop_codec("stamp", &guest(component));
        eventually("it is live", || (server.rest().codec("stamp")?["version"] == version).then_some(()));
    }
}

fn rolled_back(server: &Server, wanted: Value) -> Value {
    server.rest().post("/api/codecs/stamp/rollback", &wanted).expect("the version is rolled back")
}

#[test]
fn a_rollback_is_one_swap_under_load_and_lasts() {
    let server = Server::spawn();
    two_versions(&server);
    let profile = server.codec_profile("swapped", "stamp");
    let swarm = Swarm::start(&server, &profile, 50, 10, Pace::PerSecond(2_000));
    swarm.progress(1_000);
    let start = Instant::now();
    let done = rolled_back(&server, json!({}));
    let took = start.elapsed();
    assert_eq!((&done["from"]["version"], &done["to"]["version"]), (&json!("2.0.0"), &json!("1.0.0")));
    assert!(took < Duration::from_secs(1), "it took {took:?}");
    swarm.progress(1_000);
    let outcome = swarm.finish();
    assert!(outcome.drained && outcome.refused == 0);
    for device in &outcome.devices {
        let sent: Vec<u32> = (1..=device.sent).collect();
        assert!(
            device.closed.is_none() && device.acknowledged == sent,
            "{}: not acknowledged once each",
            device.name
        );
        let versions: Vec<usize> =
            server.rest().messages(&device.name).iter().map(|message| message.only_version()).collect();
        assert_eq!(versions.len(), sent.len(), "{}: stored once each", device.name);
        assert!(versions.is_sorted_by(|one, next| one >= next), "{}: the later one came back", device.name);
    }
    let mut device = server.device_of(&profile, "after");
    device.telemetry(frame(1));
    assert_eq!(server.rest().latest("after")["version"], 1);
    // Its file is still the one of the later version, also for a process that has never seen it.
    let server = server.kill_9().restart();
    let mut device =
        crate::harness::Device::connect(server.mqtt(), wireglot_load::wire::Version::V5, "after");
    device.telemetry(frame(2));
    assert_eq!(server.rest().latest("after")["version"], 1);
    let codec = server.rest().codec("stamp").expect("listed");
    assert!(codec["error"].as_str().is_some_and(|error| error.contains("rolled back")), "{codec}");
    server.drop_codec("stamp", &guest("stamp-a"));
    eventually("the file is news again", || server.rest().codec("stamp")?["error"].is_null().then_some(()));
}

#[test]
fn a_pinned_profile_stays_with_its_version() {
    let server = Server::spawn();
    two_versions(&server);
    let refused = server
        .rest()
        .post("/api/deviceProfile", &profile("wrong", "stamp@3.0.0"))
        .expect_err("there is no such version");
    let told = refused.body["message"].as_str().expect("a message");
    assert!(refused.status == 400 && told.contains("1.0.0 (") && told.contains("2.0.0 ("), "{told}");
    let pinned = server.codec_profile("pinned", "stamp@1.0.0");
    let live = server.codec_profile("live", "stamp");
    let mut devices = [("old", pinned, 1), ("new", live, 2)]
        .map(|(name, profile, version)| (name, server.device_of(&profile, name), version));
    for (name, device, version) in &mut devices {
        device.telemetry(frame(1));
        assert_eq!(server.rest().latest(name)["version"], *version, "{name}");
    }
    let versions = server.rest().get("/api/codecs/stamp/versions").expect("versions");
    assert_eq!((&versions[0]["pinnedBy"], &versions[1]["pinnedBy"]), (&json!(["pinned"]), &json!([])));
    fs::remove_file(server.codecs().join("stamp.wasm")).expect("the file is there");
    let server = server.kill_9().restart();
    for (name, _, version) in &devices {
        let mut device =
            crate::harness::Device::connect(server.mqtt(), wireglot_load::wire::Version::V5, name);
        device.telemetry(frame(2));
        let latest = server.rest().latest(name);
        assert_eq!((&latest["seq"], &latest["version"]), (&json!(2), &json!(version)), "{name}");
    }
}

fn profile(name: &str, codec: &str) -> Value {
    json!({
        "name": name,
        "type": "DEFAULT",
        "transportType": "MQTT",
        "profileData": {"transportConfiguration": {
            "type": "MQTT",
            "transportPayloadTypeConfiguration": {"transportPayloadType": "CODEC", "codec": codec},
        }},
    })
}

#[test]
fn every_change_is_in_the_audit_log_after_a_crash() {
    let server = Server::spawn();
    two_versions(&server);
    server.rest().put_codec("stamp", b"nonsense").expect_err("no component");
    rolled_back(&server, json!({"version": "1.0.0"}));
    server.codec_profile("pinned", "stamp@2.0.0");
    let log = || server.rest().get("/api/audit?pageSize=100&page=0").expect("the audit log");
    eventually("all of it is told", || (log()["totalElements"].as_u64()? >= 5).then_some(()));
    let server = server.kill_9().restart();
    let log = server.rest().get("/api/audit?pageSize=100&page=0&sortOrder=ASC").expect("the audit log");
    let told: Vec<(String, String)> = log["data"]
        .as_array()
        .expect("entries")
        .iter()
        .map(|entry| {
            let actor = entry["actor"]["name"].as_str().unwrap_or("server");
            (entry["action"].as_str().unwrap_or_default().to_owned(), actor.to_owned())
        })
        .collect();
    let user = "tenant@thingsboard.org";
    let expected = [
        ("CODEC_LIVE", "stamp.wasm"),
        ("CODEC_LIVE", "stamp.wasm"),
        ("CODEC_REJECTED", user),
        ("CODEC_ROLLED_BACK", user),
        ("PROFILE_CREATED", user),
    ]
    .map(|(action, actor)| (action.to_owned(), actor.to_owned()));
    assert_eq!(told.get(..5), Some(&expected[..]), "{log}");
}

#[test]
fn the_operator_does_it_all_by_command() {
    let server = Server::spawn();
    two_versions(&server);
    let listed = operator(&server, &["codec", "list"]);
    assert!(listed.contains("NAME") && listed.contains("stamp") && listed.contains("2.0.0"), "{listed}");
    operator(&server, &["codec", "rollback", "stamp"]);
    let history = operator(&server, &["codec", "history", "stamp"]);
    assert!(history.contains("ROLLED_BACK") && history.contains("tenant@thingsboard.org"), "{history}");
    server.codec_profile("stamped", "stamp");
    operator(&server, &["codec", "pin", "stamped", "2.0.0"]);
    let versions = operator(&server, &["codec", "versions", "stamp", "--json"]);
    let versions: Value = serde_json::from_str(&versions).expect("JSON");
    let pinned = versions.as_array().expect("versions").iter().find(|one| one["version"] == "2.0.0");
    assert_eq!(pinned.expect("kept")["pinnedBy"], json!(["stamped"]));
    operator(&server, &["codec", "unpin", "stamped"]);
    operator(&server, &["codec", "download", "stamp", "2.0.0", "--out", "old.wasm"]);
    assert_eq!(fs::read(server.scratch().join("old.wasm")).expect("written"), guest("stamp-b"));
    let uploaded = operator(&server, &["codec", "upload", "old.wasm", "--name", "stamp"]);
    assert!(uploaded.contains("version 2.0.0"), "{uploaded}");
    let frame = ["--hex", &"00".repeat(32), "--json"];
    let decoded = operator(&server, &[&["codec", "run", "stamp@1.0.0"], &frame[..]].concat());
    assert!(decoded.contains("\"version\": 1"), "{decoded}");
    fs::write(server.scratch().join("stamp.next.wasm"), guest("stamp-a")).expect("a file");
    let uploaded = operator(&server, &["codec", "upload", "stamp.next.wasm"]);
    assert!(uploaded.contains("is tried beside the live one"), "{uploaded}");
    let audit = operator(&server, &["audit", "--target", "stamped"]);
    assert!(audit.contains("PROFILE_CHANGED") && audit.contains("2.0.0"), "{audit}");
}

#[test]
fn a_command_that_cannot_says_what_to_do() {
    let server = Server::spawn();
    server.install_codec("stamp", &guest("stamp-a"));
    let refused = |arguments: &[&str], variables: &[(&str, &str)], words: &[&str]| {
        let (succeeded, _, complaint) = wireglot(&server, arguments, variables);
        assert!(!succeeded, "{arguments:?}");
        words.iter().for_each(|word| assert!(complaint.contains(word), "{arguments:?}: {complaint}"));
    };
    refused(&["codec", "history", "stmap"], &[], &["there is no codec stmap", "stamp"]);
    refused(&["codec", "rollback", "stamp"], &[], &["no version before 1.0.0"]);
    refused(&["codec", "rollback", "stamp", "9.9.9"], &[], &["no version", "1.0.0 ("]);
    refused(&["codec", "pin", "nowhere", "1.0.0"], &[], &["there is no profile nowhere"]);
    let token = [("WIREGLOT_TOKEN", server.rest().token())];
    refused(&["codec", "promote", "stamp"], &token, &["no candidate of stamp", "stamp.next.wasm"]);
    refused(&["codec", "canary", "stamp"], &token, &["no canary of stamp"]);
    refused(&["codec", "upload", "x.wasm", "--name", "stamp.next"], &token, &["x.wasm cannot be read"]);
    refused(&["codec", "run", "stmap", "--hex", "00"], &token, &["there is no codec stmap", "stamp"]);
    refused(&["codec", "list"], &[("WIREGLOT_PASSWORD", "wrong password")], &["401", "WIREGLOT_PASSWORD"]);
    refused(&["codec", "list"], &[("WIREGLOT_URL", "http://127.0.0.1:1")], &["no server answers", "--url"]);
    refused(&["codec", "list", "--url", "https://x"], &[], &["http://"]);
}

#[test]
fn the_operators_page_does_as_it_says() {
    let page = include_str!("../../docs/operating-codecs.md");
    let server = Server::spawn();
    two_versions(&server);
    fs::write(server.scratch().join("stamp.wasm"), guest("stamp-b")).expect("a file");
    // Another component, by a custom section more.
    let next = [guest("stamp-b"), vec![0, 3, 1, b'n', 3]].concat();
    fs::write(server.scratch().join("stamp-3.wasm"), next).expect("a file");
    server.codec_profile("thermometers", "stamp");
    let blocks = page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines: Vec<&str> = blocks.filter(|block| block.contains("wireglot ")).collect();
    assert!(lines.len() >= 3, "the page shows commands");
    let said = documented(&server, &lines.concat());
    for words in [
        "serves again instead of",
        "PROFILE_CHANGED",
        "0 frames by stamp",
        "is tried beside",
        "canary of 2.0.0",
        "is live.",
    ] {
        assert!(said.contains(words), "no {words:?} in {said}");
    }
}
