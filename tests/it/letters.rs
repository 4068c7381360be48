//! What could not be decoded is kept, shown, and decoded again after a fix; and so is what was decoded wrongly.

use std::time::Duration;

use serde_json::{Value, json};
use wireglot_load::fleet::Pace;

use crate::harness::{Server, Swarm, eventually, guest, pause};

const TOPIC: &str = "v1/devices/me/telemetry";

/// A frame of the stamping codec.
fn frame(counter: u32) -> Vec<u8> {
    let mut frame = counter.to_be_bytes().to_vec();
    frame.extend([0; 28]);
    frame
}

/// Runs a replay to its end.
#[track_caller]
pub(crate) fn replay(server: &Server, order: &Value) -> Value {
    let begun = server.rest().post("/api/replay", order).unwrap_or_else(|refusal| panic!("{refusal:?}"));
    eventually("the replay has ended", || {
        let status = server.rest().get("/api/replay").expect("its status");
        assert_eq!(status["id"], begun["id"]);
        (status["state"] != "running").then_some(status)
    })
}

fn letters(server: &Server, query: &str) -> Vec<Value> {
    let found = server.rest().get(&format!("/api/dead-letters{query}")).expect("dead letters");
    found.as_array().expect("an array").clone()
}

#[test]
fn dead_letters_are_replayed_once_with_their_original_times() {
    let server = Server::spawn();
    let profile = server.codec_profile("late", "stamp");
    let mut device = server.device_of(&profile, "late-1");
    for counter in 1..=300 {
        device.telemetry(frame(counter));
    }
    device.telemetry([1, 2, 3]);
    let kept = letters(&server, "?deviceName=late-1&limit=1000");
    assert_eq!(kept.len(), 301);
    assert!(kept.iter().all(|letter| letter["stage"] == "no-codec"));
    let order = json!({ "deviceProfileName": "late" });
    let refusal = server.rest().post("/api/replay", &order).expect_err("nothing to decode with");
    assert_eq!((refusal.status, refusal.mentions("not live")), (400, true), "{refusal:?}");

    server.install_codec("stamp", &guest("stamp-a"));
    let dry = replay(&server, &json!({ "deviceProfileName": "late", "dryRun": true }));
    assert_eq!(dry["report"]["decoded"], 300, "{dry}");
    assert_eq!(dry["report"]["onlyNew"], 300 * 8);
    assert_eq!(server.rest().messages("late-1").len(), 0, "a dry run changes nothing");
    assert_eq!(letters(&server, "?deviceName=late-1&limit=1000").len(), 301);

    let done = replay(&server, &order);
    assert_eq!(done["state"], "done");
    assert_eq!((&done["report"]["decoded"], &done["report"]["failed"]), (&json!(300), &json!(1)), "{done}");
    let failure = &done["report"]["failures"][0];
    let reason = failure["reason"].as_str().expect("a reason");
    assert!(reason.contains("counter"), "{reason}");
    assert_eq!(failure["payloadHex"], "010203");
    assert_eq!(server.rest().counters("late-1"), (1..=300).collect::<Vec<u32>>());
    let mut received: Vec<i64> = kept.iter().filter_map(|letter| letter["receivedTs"].as_i64()).collect();
    received.sort_unstable();
    received.pop();
    let stored: Vec<i64> = server.rest().messages("late-1").iter().map(|message| message.ts).collect();
    assert_eq!(stored, received, "values stand at the time of receipt");
    let left = letters(&server, "?deviceName=late-1");
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["payloadHex"], "010203");

    let again = replay(&server, &order);
    assert_eq!((&again["report"]["frames"], &again["report"]["decoded"]), (&json!(1), &json!(0)));
    assert_eq!(server.rest().counters("late-1").len(), 300);
}

#[test]
fn a_replay_that_is_killed_and_run_again_stores_each_letter_once() {
    let mut server = Server::spawn();
    let profile = server.codec_profile("cut", "stamp");
    let swarm = Swarm::start(&server, &profile, 20, 20, Pace::Flood);
    swarm.progress(20_000);
    let outcome = swarm.finish();
    let sent: u32 = outcome.devices.iter().map(|device| device.sent).sum();
    let kept = |server: &Server| letters_kept(server);
    let expected = kept(&server);
    assert!(expected >= 10_000.min(u64::from(sent)), "{expected} letters of {sent}");
    server.install_codec("stamp", &guest("stamp-a"));
    let order = json!({ "deviceProfileName": "cut" });
    for milliseconds in [20, 80, 160] {
        server.rest().post("/api/replay", &order).expect("it begins");
        let busy = server.rest().post("/api/replay", &order);
        // The one before may have ended by now; two never run at a time.
        if let Err(refusal) = busy {
            assert_eq!(refusal.status, 409, "{refusal:?}");
        }
        pause(Duration::from_millis(milliseconds));
        server = server.kill_9().restart();
    }
    let done = replay(&server, &order);
    assert_eq!(done["report"]["failed"], 0, "{done}");
    assert_eq!(kept(&server), 0);
    let mut stored = 0;
    for device in &outcome.devices {
        let counters = server.rest().counters(&device.name);
        assert!(counters.windows(2).all(|pair| pair[0] < pair[1]), "{}: stored twice", device.name);
        stored += counters.len() as u64;
    }
    assert_eq!(stored, expected, "every letter is stored once");
}

fn letters_kept(server: &Server) -> u64 {
    let page = server.rest().get("/metrics").expect("metrics");
    let line =
        page.as_str().and_then(|page| page.lines().find(|line| line.starts_with("wireglot_dead_letters ")));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).expect("a count")
}

/// Makes a profile that keeps raw frames.
fn raw_profile(server: &Server, name: &str) {
    let made = server.rest().post(
        "/api/deviceProfile",
        &json!({
            "name": name, "type": "DEFAULT", "transportType": "MQTT", "rawRetentionHours": 24,
            "profileData": { "configuration": { "type": "DEFAULT" }, "transportConfiguration": {
                "type": "MQTT",
                "transportPayloadTypeConfiguration": { "transportPayloadType": "CODEC", "codec": "stamp" },
            } },
        }),
    );
    assert_eq!(made.expect("the profile is made")["rawRetentionHours"], 24);
}

#[test]
fn wrongly_decoded_history_is_decoded_again() {
    let mut server = Server::spawn();
    server.install_codec("stamp", &guest("stamp-a"));
    raw_profile(&server, "wrong");
    let mut device = server.device_of("wrong", "wrong-1");
    let mut other = server.device_of("wrong", "wrong-2");
    for counter in 1..=40 {
        device.telemetry(frame(counter));
        other.telemetry(frame(counter));
    }
    assert_eq!(device.publish_qos1(TOPIC, [9; 3]), 0x99);
    let before = server.rest().messages("wrong-1");
    assert!(before.iter().all(|message| message.only_version() == 1));
    // Only frames that have settled are decoded again.
    pause(Duration::from_secs(11));
    let by_candidate =
        json!({ "deviceProfileName": "wrong", "all": true, "codec": "stamp@next", "dryRun": true });
    let refusal = server.rest().post("/api/replay", &by_candidate).expect_err("there is none");
    assert!(refusal.mentions("no candidate"), "{refusal:?}");
    server.drop_codec("stamp.next", &guest("stamp-b"));
    eventually("the candidate is tried", || server.rest().get("/api/codecs/stamp/candidate").ok());
    let report = replay(&server, &by_candidate)["report"].clone();
    assert_eq!((&report["changed"], &report["same"]), (&json!(80 * 7), &json!(80)), "{report}");
    server.rest().post("/api/codecs/stamp/candidate/promote", &json!({})).expect("it is promoted");
    device.telemetry(frame(41));
    let order = json!({ "deviceProfileName": "wrong", "all": true, "codec": "stamp@2.0.0" });
    let mut dry = order.clone();
    dry["dryRun"] = json!(true);
    let mut newest = dry.clone();
    newest["last"] = json!(2);
    assert_eq!(replay(&server, &newest)["report"]["frames"], 2, "one fails, and the one before it");
    let report = replay(&server, &dry)["report"].clone();
    assert_eq!(
        (&report["frames"], &report["decoded"], &report["failed"]),
        (&json!(81), &json!(80), &json!(1))
    );
    assert_eq!((&report["changed"], &report["same"]), (&json!(80 * 7), &json!(80)), "{report}");
    assert_eq!(report["changes"][0]["old"], "1");
    assert_eq!(report["changes"][0]["new"], "2");
    assert_eq!(server.rest().messages("wrong-1")[0].only_version(), 1, "a dry run changes nothing");
    for round in 0..3 {
        server.rest().post("/api/replay", &order).expect("it begins");
        if round == 0 {
            // Wherever that catches it.
            server = server.kill_9().restart();
        }
        let report = replay_or_status(&server, &order);
        assert_eq!(report["failed"], 1, "{report}");
        for name in ["wrong-1", "wrong-2"] {
            let now = server.rest().messages(name);
            let expected = if name == "wrong-1" { 41 } else { 40 };
            assert_eq!(now.len(), expected, "{name}, round {round}");
            assert!(now.iter().all(|message| message.only_version() == 2), "{name}, round {round}");
            assert!(now.iter().all(|message| message.codec_version == "2.0.0"));
        }
        let times: Vec<i64> = server.rest().messages("wrong-1").iter().map(|message| message.ts).collect();
        let first: Vec<i64> = before.iter().map(|message| message.ts).collect();
        assert_eq!(times[..40], first, "the times stay");
    }
    assert_eq!(server.rest().latest("wrong-2")["version"], json!(2));
    assert_eq!(server.rest().dead_letters("wrong-1").len(), 1, "what still fails stays");
}

/// Waits for the replay that runs; after a restart there is none, so it is run again.
fn replay_or_status(server: &Server, order: &Value) -> Value {
    let status = match server.rest().get("/api/replay") {
        Err(_none) => replay(server, order),
        Ok(_) => eventually("the replay has ended", || {
            let status = server.rest().get("/api/replay").expect("its status");
            (status["state"] != "running").then_some(status)
        }),
    };
    assert_eq!(status["state"], "done", "{status}");
    status["report"].clone()
}

#[test]
fn dead_letters_are_filtered_shown_exported_and_deleted() {
    let server = Server::spawn();
    server.install_codec("stamp", &guest("stamp-a"));
    let refused = server.codec_profile("refused", "stamp");
    let missing = server.codec_profile("missing", "no-such-codec");
    let (mut one, mut two) = (server.device_of(&refused, "one"), server.device_of(&missing, "two"));
    one.publish_qos1(TOPIC, b"temperature=21.5");
    one.publish_qos1(TOPIC, [1]);
    two.telemetry([2]);
    assert_eq!(letters(&server, "").len(), 3);
    assert_eq!(letters(&server, "?deviceProfileName=refused").len(), 2);
    assert_eq!(letters(&server, "?codec=stamp&stage=refused").len(), 2);
    assert_eq!(letters(&server, "?stage=no-codec").len(), 1);
    let newest = letters(&server, "?limit=1").remove(0);
    let older = letters(&server, &format!("?before={}", newest["sequence"]));
    assert_eq!(older.len(), 2);
    for (query, status) in [("?stage=nonsense", 400), ("?codec=../x", 400), ("?deviceProfileName=x", 404)] {
        let refusal = server.rest().get(&format!("/api/dead-letters{query}")).expect_err(query);
        assert_eq!(refusal.status, status, "{query}");
    }
    let first = &older[1]["sequence"];
    let shown = server.rest().get(&format!("/api/dead-letters/{first}")).expect("one letter");
    assert!(shown["hexDump"].as_str().is_some_and(|dump| dump.contains("|temperature=21.5|")), "{shown}");
    let exported = server.rest().get("/api/dead-letters/export?deviceName=one").expect("an export");
    let lines: Vec<Value> = exported
        .as_str()
        .expect("lines")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON object per line"))
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["payloadHex"], "74656d70657261747572653d32312e35", "oldest first");

    server.rest().delete(&format!("/api/dead-letters/{first}")).expect("it is deleted");
    let gone = server.rest().delete(&format!("/api/dead-letters/{first}")).expect_err("it is gone");
    assert_eq!(gone.status, 404);
    let careless = server.rest().delete("/api/dead-letters").expect_err("all by mistake");
    assert_eq!(careless.status, 400);
    let deleted = server.rest().delete("/api/dead-letters?stage=refused").expect("they are deleted");
    assert_eq!(deleted["deleted"], 1);
    let deleted = server.rest().delete("/api/dead-letters?all=true").expect("they are deleted");
    assert_eq!(deleted["deleted"], 1);
    assert_eq!(letters(&server, ""), [] as [Value; 0]);
}

#[test]
fn mistakes_in_an_order_are_named() {
    let server = Server::spawn();
    server.install_codec("stamp", &guest("stamp-a"));
    server.codec_profile("p", "stamp");
    for (order, words) in [
        (json!({ "deviceProfileName": "q" }), "no device profile 'q'"),
        (json!({ "deviceProfileName": "p", "deviceName": "d" }), "no device 'd'"),
        (json!({ "deviceProfileName": "p", "codec": "stamp@9" }), "has no version"),
        (json!({ "deviceProfileName": "p", "codec": "other" }), "not live"),
        (json!({ "deviceProfileName": "p", "codec": "a b" }), "invalid codec"),
        (json!({ "deviceProfileName": "p", "all": true }), "rawRetentionHours"),
        (json!({ "deviceProfileName": "p", "stage": "x" }), "'stage' is one of"),
        (json!({ "deviceProfileName": "p", "sicne": 1 }), "sicne"),
        (json!({ "deviceProfileName": "default" }), "a codec has to be named"),
    ] {
        let refusal = server.rest().post("/api/replay", &order).expect_err(words);
        assert!(refusal.status == 400 && refusal.mentions(words), "{order}: {refusal:?}");
    }
    assert_eq!(server.rest().get("/api/replay").expect_err("none yet").status, 404);
    assert_eq!(server.rest().delete("/api/replay").expect_err("none runs").status, 404);
}
