//! The life of a file in the codecs folder.

use std::fs;

use serde_json::json;
use wireglot_load::frame::frame;

use crate::harness::{Server, eventually, guest, plugin};

#[test]
fn a_dropped_file_becomes_a_live_codec() {
    let server = Server::spawn();
    assert_eq!(server.rest().get("/api/codecs").expect("a list"), json!([]));
    let codec = server.install_codec("elsys", &plugin("elsys"));
    assert_eq!(codec["error"], json!(null));
    assert_eq!(codec["hash"].as_str().map(str::len), Some(64), "{codec}");
    assert!(codec["version"].is_string() && codec["loadedAt"].is_i64(), "{codec}");
    assert!(codec["keys"].as_array().is_some_and(|keys| !keys.is_empty()), "{codec}");
}

#[test]
fn a_bad_file_is_rejected_and_the_old_version_keeps_serving() {
    let server = Server::spawn();
    server.install_codec("stamp", &guest("stamp-a"));
    let profile = server.codec_profile("stamped", "stamp");
    let mut device = server.device_of(&profile, "thermo");
    device.telemetry(frame(1));
    let beside = server.codecs().join("stamp.rejected.txt");
    for (bad, number) in [(&b"this is no component"[..], 2), (&guest("stamp-b")[..1_000], 3)] {
        server.drop_codec("stamp", bad);
        // The reason of the file before may still be there for a moment.
        eventually("the API and the note beside the file give one reason", || {
            let codec = server.rest().codec("stamp")?;
            let note = fs::read_to_string(&beside).ok()?;
            note.contains(codec["error"].as_str()?).then_some(())
        });
        device.telemetry(frame(number));
        let latest = server.rest().latest("thermo");
        assert_eq!((&latest["seq"], &latest["version"]), (&json!(number), &json!(1)));
    }
    server.drop_codec("stamp", &guest("stamp-b"));
    eventually("the good file is live", || {
        let codec = server.rest().codec("stamp")?;
        (codec["version"] == "2.0.0" && codec["error"].is_null()).then_some(())
    });
    device.telemetry(frame(9));
    assert_eq!(server.rest().latest("thermo")["version"], 2);
    eventually("the note is gone", || (!beside.exists()).then_some(()));
}

#[test]
fn vectors_beside_a_file_have_the_last_word() {
    let server = Server::spawn();
    let vectors = json!({
        "codec": "stamp",
        "vendor": "tests",
        "about": "expects another version",
        "vectors": [{
            "device": "any",
            "hex": "00".repeat(32),
            "expected": [{ "ts": null, "values": { "seq": 0, "version": 99 } }],
        }],
    });
    fs::write(server.codecs().join("stamp.vectors.json"), vectors.to_string()).expect("a vector file");
    server.drop_codec("stamp", &guest("stamp-a"));
    let codec = eventually("the codec is listed", || {
        server.rest().codec("stamp").filter(|codec| codec["error"].is_string())
    });
    assert_eq!(codec["state"], "rejected");
    assert!(codec["error"].as_str().is_some_and(|error| error.contains("version")), "{codec}");
}

#[test]
fn an_upload_does_what_dropping_the_file_does() {
    let server = Server::spawn();
    server.rest().put_codec("stamp", &guest("stamp-a")).expect("the component is taken");
    eventually("the codec is live", || server.rest().codec("stamp").filter(|codec| codec["state"] == "live"));
    assert_eq!(fs::read(server.codecs().join("stamp.wasm")).expect("the file is there"), guest("stamp-a"));
    let refused = server.rest().put_codec("stamp", b"nonsense").expect_err("no component");
    assert_eq!(refused.status, 422, "{}", refused.body);
    let refused = server.rest().put_codec("no%20name", &guest("stamp-a")).expect_err("no name for a codec");
    assert_eq!(refused.status, 400, "{}", refused.body);
    assert_eq!(server.rest().codec("stamp").expect("still there")["version"], "1.0.0");
}

#[test]
fn a_removed_file_keeps_serving_the_profiles_that_use_it() {
    let server = Server::spawn();
    server.install_codec("stamp", &guest("stamp-a"));
    server.install_codec("idle", &guest("stamp-b"));
    let profile = server.codec_profile("stamped", "stamp");
    let mut device = server.device_of(&profile, "thermo");
    for name in ["stamp", "idle"] {
        fs::remove_file(server.codecs().join(format!("{name}.wasm"))).expect("the file is there");
    }
    eventually("the unused codec is retired", || {
        let codec = server.rest().codec("idle");
        codec.is_none_or(|codec| codec["state"] == "retired").then_some(())
    });
    device.telemetry(frame(5));
    assert_eq!(server.rest().latest("thermo")["seq"], 5);
}

#[test]
fn a_missing_codec_loses_nothing() {
    let server = Server::spawn();
    let profile = server.codec_profile("waiting", "not-there-yet");
    let mut device = server.device_of(&profile, "thermo");
    device.telemetry(frame(1));
    assert!(server.rest().latest("thermo").is_empty());
    server.install_codec("not-there-yet", &guest("stamp-a"));
    device.telemetry(frame(2));
    assert_eq!(server.rest().latest("thermo")["seq"], 2);
}

#[test]
fn strangers_are_refused() {
    let server = Server::spawn();
    let stranger = server.rest().stranger();
    for path in
        ["/api/codecs", "/api/tenant/devices?pageSize=10&page=0", "/api/deviceProfileInfos?pageSize=1&page=0"]
    {
        assert_eq!(stranger.get(path).expect_err(path).status, 401, "{path}");
    }
    assert_eq!(stranger.put_codec("stamp", b"x").expect_err("an upload").status, 401);
    assert_eq!(stranger.post("/api/device", &json!({ "name": "x" })).expect_err("a device").status, 401);
}
