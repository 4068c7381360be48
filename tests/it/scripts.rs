//! Vendors' JavaScript as codecs, on the real script engine. All scripts are written here, in the vendors' conventions.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Device, Server, eventually, guest, patiently, plugin};
use crate::hostile::unhurried;

/// As vendors write for The Things Stack and ChirpStack.
const SOIL: &str = "\
var names = ['dry', 'wet'];
function decodeUplink(input) {
  if (input.fPort !== 1) { return { errors: ['unknown fPort ' + input.fPort] }; }
  var raw = (input.bytes[0] << 8) | input.bytes[1];
  return {
    data: { temperature: raw / 10, moisture: names[input.bytes[2]], offset: Number(input.variables.offset || 0) },
    warnings: input.bytes.length > 3 ? ['trailing bytes'] : []
  };
}
";
const SOIL_EXAMPLES: &str = "\
uplinkDecoder:
  fileName: soil.js
  examples:
    - description: moist soil
      input: { fPort: 1, bytes: [0x00, 0xD7, 0x01] }
      output:
        data: { temperature: 21.5, moisture: wet, offset: 0 }
    - description: another port
      input: { fPort: 2, bytes: [] }
      output: { errors: [unknown fPort 2] }
";

fn drop_script(server: &Server, name: &str, script: &str) {
    let beside = server.scratch().join(format!("{name}.part"));
    fs::write(&beside, script).expect("the temporary folder takes a file");
    fs::rename(&beside, server.codecs().join(format!("{name}.js"))).expect("one file system");
}

fn live(server: &Server, name: &str) -> Value {
    eventually(&format!("script {name} is live"), || {
        server.rest().codec(name).filter(|codec| codec["state"] == "live" && codec["error"].is_null())
    })
}

/// A device of a profile whose payloads go through this script.
fn device_of(server: &Server, script: &str, settings: Value) -> Device {
    let more = json!({ "settings": settings, "onFailure": "accept" });
    let profile = server.codec_profile_with(&format!("of-{script}"), script, more);
    server.device_of(&profile, &format!("dev-{script}"))
}

/// One server for all, because it takes some seconds until its engine is compiled.
#[test]
fn scripts_are_codecs_like_any_other() {
    let server = a_vendor_s_script_is_a_codec();
    a_script_is_uploaded_and_read_back(&server);
    what_a_script_says_is_what_operators_read(&server);
    a_greedy_script_is_cut_off(&server);
    nothing_of_one_message_meets_the_next(&server);
    the_time_is_that_of_the_message(&server);
    a_new_script_is_tried_before_it_serves(&server);
}

fn a_vendor_s_script_is_a_codec() -> Server {
    let server = Server::spawn();
    fs::write(server.codecs().join("soil-codec.yaml"), SOIL_EXAMPLES).expect("a file of examples");
    drop_script(&server, "soil", SOIL);
    let note = server.codecs().join("soil.rejected.txt");
    eventually("the missing engine is told", || {
        fs::read_to_string(&note).ok().filter(|note| note.contains("js.wasm"))
    });
    server.drop_codec("js", &plugin("js"));
    patiently("the engine is compiled", || {
        server.rest().codec("js").filter(|codec| codec["state"] == "live")
    });
    let codec = live(&server, "soil");
    assert_eq!(codec["file"], "soil.js", "{codec}");
    eventually("the note is gone", || (!note.exists()).then_some(()));

    let mut device = device_of(&server, "soil", json!({ "fPort": 1, "variables": { "offset": "2" } }));
    device.telemetry([0x00, 0xd7, 0x01]);
    let latest = server.rest().latest("dev-soil");
    assert_eq!(json!(latest), json!({ "temperature": 21.5, "moisture": "wet", "offset": 2 }));

    // Examples that the next version breaks keep it out.
    drop_script(&server, "soil", &SOIL.replace("raw / 10", "raw / 100"));
    let codec = eventually("the wrong script is refused", || {
        server.rest().codec("soil").filter(|codec| codec["error"].is_string())
    });
    let error = codec["error"].as_str().expect("a reason");
    assert!(error.contains("moist soil: temperature: expected 21.5, got 2.15"), "{error}");
    device.telemetry([0x00, 0xd8, 0x01]);
    assert_eq!(server.rest().latest("dev-soil")["temperature"], 21.6);

    let server = server.kill_9().restart();
    live_or_restored(&server);
    let mut device = server.connect("dev-soil");
    device.telemetry([0x00, 0xd9, 0x01]);
    assert_eq!(server.rest().latest("dev-soil")["temperature"], 21.7);
    server
}

fn live_or_restored(server: &Server) {
    eventually("the last good version serves", || {
        server.rest().codec("soil").filter(|codec| codec["state"] == "live")
    });
}

fn a_script_is_uploaded_and_read_back(server: &Server) {
    server.rest().put_script("field", SOIL).expect("the script is taken");
    assert_eq!(fs::read_to_string(server.codecs().join("field.js")).expect("the file is there"), SOIL);
    assert_eq!(live(server, "field")["bytes"], SOIL.len());
    let refused = server
        .rest()
        .put_script("field", "function decodeUplink(input) {\n  retrun 1;\n}")
        .expect_err("a typo");
    assert_eq!(refused.status, 422);
    assert!(refused.body.to_string().contains("field.js:2:"), "{}", refused.body);
    let refused = server.rest().put_script("other", "function decode() {}").expect_err("no function to call");
    for name in ["decodeUplink", "Decode", "Decoder"] {
        assert!(refused.body.to_string().contains(name), "{}", refused.body);
    }
    let refused = server.rest().put_script("js", SOIL).expect_err("the engine has that name");
    assert_eq!(refused.status, 422, "{}", refused.body);
}

fn what_a_script_says_is_what_operators_read(server: &Server) {
    for (name, script, part) in [
        (
            "errors",
            "const Decode = 0; function decodeUplink() { return { errors: ['no', 'way'] } }",
            "no; way",
        ),
        (
            "throws",
            "function Decoder() {\n throw new RangeError('too cold')\n}",
            "RangeError: too cold (throws.js:2:",
        ),
        ("trips", "function Decoder(b) {\n\n return b.nothing.here\n}", "(trips.js:3:"),
        ("text", "function Decoder() { throw 'just text' }", "just text"),
        ("evil", "function Decoder() { throw { toString() { throw 1 } } }", "cannot be shown"),
        (
            "sly",
            "function Decoder() { var e = new Error('x'); Object.defineProperty(e, 'message', { get() { throw e } }); throw e }",
            "Error",
        ),
        ("getter", "function Decoder() { return { a: 1, get b() { throw new Error('not me') } } }", "not me"),
        (
            "proxy",
            "function Decoder() { return new Proxy({}, { ownKeys() { throw new Error('closed') } }) }",
            "closed",
        ),
        ("big", "function Decoder() { return { a: [1n] } }", "BigInt"),
        ("never", "async function decodeUplink() { await new Promise(() => {}) }", "promise"),
        ("deep", "function Decoder(b) { return down(b) } function down(b) { return [down(b)] }", "stack"),
        ("circle", "function Decoder() { var a = []; a.push(a); return { a } }", "circular"),
    ] {
        server.rest().put_script(name, script).expect("the script is taken");
        let mut device = device_of(server, name, json!({}));
        device.telemetry([1]);
        check_letter(server, name, "refused", part);
    }
}

#[track_caller]
fn check_letter(server: &Server, name: &str, stage: &str, part: &str) {
    let letters = server.rest().dead_letters(&format!("dev-{name}"));
    let letter = letters.first().unwrap_or_else(|| panic!("{name}: nothing was kept"));
    assert_eq!(letter["stage"], stage, "{name}: {letter}");
    assert!(letter["reason"].as_str().is_some_and(|reason| reason.contains(part)), "{name}: {letter}");
}

fn a_greedy_script_is_cut_off(server: &Server) {
    let mut neighbour = {
        server.rest().put_script("good", "function Decoder(bytes) { return { n: bytes[0] } }").expect("good");
        device_of(server, "good", json!({}))
    };
    for (name, script, stage, part) in [
        ("endless", "function Decoder() { for (;;) {} }", "deadline", "fuel"),
        (
            "regexp",
            "function Decoder() { return { a: /^(a+)+$/.test('a'.repeat(40) + 'b') } }",
            "deadline",
            "fuel",
        ),
        ("jobs", "async function decodeUplink() { for (;;) { await 0 } }", "deadline", "fuel"),
        (
            "bomb",
            "function Decoder() { var a = []; for (;;) { a.push(new Uint8Array(100000)) } }",
            "trapped",
            "32768 KiB",
        ),
        ("huge", "function Decoder() { return { a: 'x'.repeat(1100000) } }", "over-large", "1024 KiB"),
        (
            "many",
            "function Decoder() { var o = {}; for (var i = 0; i < 9000; i++) { o['k' + i] = i } return o }",
            "over-large",
            "8192",
        ),
    ] {
        server.rest().put_script(name, script).expect("the script is taken");
        let limits = if stage == "deadline" { json!({}) } else { unhurried() };
        let profile = server.codec_profile_with(
            &format!("of-{name}"),
            name,
            json!({ "limits": limits, "onFailure": "accept" }),
        );
        server.device_of(&profile, &format!("dev-{name}")).telemetry([1]);
        check_letter(server, name, stage, part);
        neighbour.telemetry([7]);
        assert_eq!(server.rest().latest("dev-good")["n"], 7, "after {name}");
    }
}

fn nothing_of_one_message_meets_the_next(server: &Server) {
    let script = "\
var declared = 0;
undeclared = typeof undeclared === 'undefined' ? 1 : undeclared + 1;
function decodeUplink(input) {
  declared += 1;
  Array.prototype.push = Array.prototype.map = JSON.stringify = Object.keys = String.prototype.split = null;
  Object.defineProperty(Object.prototype, 'data', { get: function () { return 'tampered'; }, configurable: true });
  Date = Math.max = globalThis.Promise = undefined;
  input.variables.seen = (input.variables.seen || 0) + 1;
  return { data: { declared: declared, undeclared: undeclared, seen: input.variables.seen, at: input.recvTime.getTime(),
    list: [1, { a: 2 }], chance: Math.random() } };
}";
    server.rest().put_script("leaky", script).expect("the script is taken");
    let mut device = device_of(server, "leaky", json!({ "variables": { "a": 1 } }));
    let mut chances = Vec::new();
    for number in 0..5 {
        device.telemetry([number]);
        let latest = server.rest().latest("dev-leaky");
        assert_eq!(
            (&latest["declared"], &latest["undeclared"], &latest["seen"]),
            (&json!(1), &json!(1), &json!(1))
        );
        assert_eq!(
            latest["list"].to_string().replace('\\', ""),
            json!([1, {"a": 2}]).to_string(),
            "{latest:?}"
        );
        chances.push(latest["chance"].clone());
    }
    chances.dedup();
    assert_eq!(chances.len(), 1, "chance is the same for every message: a replay gives what was given");
}

fn the_time_is_that_of_the_message(server: &Server) {
    let script = "function decodeUplink(input) { return { data: { late: Date.now() - input.recvTime.getTime(), \
                  year: new Date().getFullYear() > 2020, zone: new Date().getTimezoneOffset() } } }";
    server.rest().put_script("clock", script).expect("the script is taken");
    let mut device = device_of(server, "clock", json!({}));
    device.telemetry([1]);
    assert_eq!(json!(server.rest().latest("dev-clock")), json!({ "late": 0, "year": true, "zone": 0 }));
}

fn a_new_script_is_tried_before_it_serves(server: &Server) {
    const CANDIDATE: &str = "/api/codecs/probe/candidate";
    let script =
        |by: u8| format!("function Decoder(bytes) {{ return {{ kept: 1, level: bytes[0] / {by} }}; }}\n");
    let (first, second) = (script(10), script(100));
    server.rest().put_script("probe", &first).expect("the script is taken");
    let mut device = device_of(server, "probe", json!({}));
    let beside = |file: &str| server.codecs().join(file);

    drop_script(server, "probe.next", "function Decoder(bytes) {\n  retrun 1;\n}");
    eventually("the reason lies beside the bad candidate", || {
        fs::read_to_string(beside("probe.next.rejected.txt")).ok().filter(|note| note.contains("probe.js:2:"))
    });
    assert_eq!(server.rest().get(CANDIDATE).expect("it is told")["state"], "rejected");
    drop_script(server, "probe.next", &second);
    let candidate = patiently("the candidate is compared", || {
        device.telemetry([7]);
        let candidate = server.rest().get(CANDIDATE).ok()?;
        (candidate["report"]["frames"].as_u64() >= Some(3)).then_some(candidate)
    });
    assert!(!beside("probe.next.rejected.txt").exists());
    assert_eq!((&candidate["state"], &candidate["file"]), (&json!("shadow"), &json!("probe.next.js")));
    let keys = &candidate["report"]["keys"];
    let frames = &candidate["report"]["frames"];
    assert_eq!((&keys["level"]["changed"], &keys["kept"]["same"]), (frames, frames), "{candidate}");
    let example = &candidate["report"]["examples"][0];
    assert_eq!(
        (&example["key"], &example["old"], &example["new"], &example["hex"]),
        (&json!("level"), &json!("0.7 (DOUBLE)"), &json!("0.07 (DOUBLE)"), &json!("07"))
    );
    assert_eq!(server.rest().latest("dev-probe")["level"], 0.7, "the live script serves");

    let plan = json!({ "share": 1, "minMessages": 20, "durationS": 0, "maxLatencyRatio": 50 });
    server.rest().post("/api/codecs/probe/canary", &plan).expect("a canary");
    let canary = patiently("the canary has ended", || {
        device.telemetry([8]);
        let canary = server.rest().get("/api/codecs/probe/canary").expect("a canary");
        (canary["state"] != "running").then_some(canary)
    });
    assert_eq!(canary["state"], "promoted", "{canary}");
    assert_eq!(fs::read_to_string(beside("probe.js")).expect("the file"), second);
    assert!(!beside("probe.next.js").exists());
    device.telemetry([9]);
    assert_eq!(server.rest().latest("dev-probe")["level"], 0.09);

    // A component takes the place of the script, and the script's file goes.
    server.rest().put_codec("probe/candidate", &guest("stamp-a")).expect("a candidate");
    server.rest().post(&format!("{CANDIDATE}/promote"), &json!({})).expect("promoted");
    assert_eq!(live(server, "probe")["version"], "1.0.0");
    assert!(beside("probe.wasm").exists() && !beside("probe.js").exists());
    // And back, by upload.
    server.rest().put_script("probe/candidate", &first).expect("a candidate");
    server.rest().post(&format!("{CANDIDATE}/promote"), &json!({})).expect("promoted");
    device.telemetry([6]);
    assert_eq!(server.rest().latest("dev-probe")["level"], 0.6);
    assert!(!beside("probe.wasm").exists() && beside("probe.js").exists());
}
