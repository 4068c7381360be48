//! What operators see of their codecs: the live trace, the metrics, and what the keys of a device mean.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};
use wireglot_load::frame::frame;

use crate::harness::{Server, eventually, guest, plugin, root};
use crate::hostile::unhurried;

const TOPIC: &str = "v1/devices/me/telemetry";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_trace_shows_what_frames_become() {
    let server = Server::spawn();
    let live = server.install_codec("stamp", &guest("stamp-a"));
    let profile = server.codec_profile("stamped", "stamp");
    let mut device = server.device_of(&profile, "thermo");
    let mut trace = server.trace("deviceName=thermo");
    device.telemetry(frame(7));
    let (event, told) = trace.next();
    assert_eq!(event, "decoded");
    assert_eq!((&told["deviceName"], &told["deviceProfileName"]), (&json!("thermo"), &json!("stamped")));
    assert_eq!(told["deviceId"], server.rest().device_id("thermo"));
    assert_eq!((&told["topic"], &told["payload"]), (&json!(TOPIC), &json!(hex(&frame(7)))));
    let codec = json!({"name": "stamp", "version": "1.0.0", "hash": live["hash"]});
    assert_eq!((&told["payloadBytes"], &told["codec"]), (&json!(32), &codec));
    assert!(told["micros"].as_f64().is_some_and(|micros| micros > 0.0), "{told}");
    assert!(told["ts"].as_i64().is_some_and(|ts| ts > 1_700_000_000_000), "{told}");
    let values = &told["messages"][0]["telemetry"][0]["values"];
    assert_eq!((&values["seq"], &values["version"]), (&json!(7), &json!(1)));
    assert_eq!((&told["warnings"], &told["valuesLeftOut"]), (&json!([]), &json!(0)));

    device.publish_qos1(TOPIC, [1, 2]);
    let (event, told) = trace.next();
    assert_eq!(
        (event.as_str(), &told["stage"], &told["payload"]),
        ("failed", &json!("refused"), &json!("0102"))
    );
    assert!(told["reason"].as_str().is_some_and(|reason| reason.contains("malformed: offset 0")), "{told}");
    assert_eq!(told["codec"], codec);

    drop(device);
    assert_eq!(trace.next().0, "disconnected");
    let mut json_device = server.device("plain");
    json_device.telemetry(r#"{"a":1}"#);
    let again = server.connect("thermo");
    assert_eq!(trace.next().0, "connected", "the other device is not in this trace");
    drop(again);
}

#[test]
fn a_trace_is_filtered_by_profile_codec_and_stage() {
    let server = Server::spawn();
    server.install_codec("stamp", &guest("stamp-a"));
    server.install_codec("huge", &guest("huge"));
    let stamped = server.codec_profile("stamped", "stamp");
    let huge = server.codec_profile_with("large", "huge", json!({ "limits": unhurried() }));
    let waiting = server.codec_profile("waiting", "not-there");
    let mut by_profile = server.trace("deviceProfileName=stamped&events=decoded");
    let mut by_codec = server.trace("codec=huge");
    let mut by_stage = server.trace("stage=over-large");
    let mut by_missing = server.trace("codec=not-there");
    let mut failures = server.trace("events=failed");
    let mut one = server.device_of(&stamped, "one");
    let mut two = server.device_of(&huge, "two");
    let mut three = server.device_of(&waiting, "three");
    for round in 0..3_u8 {
        one.telemetry(frame(u32::from(round)));
        one.publish_qos1(TOPIC, [round]);
        two.telemetry([0]);
        two.telemetry([3, round]);
        three.telemetry([round]);
    }
    for round in 0..3_u8 {
        let (event, told) = by_profile.next();
        let values = &told["messages"][0]["telemetry"][0]["values"];
        assert_eq!((event.as_str(), &values["seq"]), ("decoded", &json!(round)));
        assert_eq!(by_codec.next().1["stage"], "over-large");
        let (_, told) = by_codec.next();
        assert_eq!(told["payload"], hex(&[3, round]));
        assert_eq!(told["warnings"].as_array().map(Vec::len), Some(16), "what is kept of a thousand");
        assert_eq!(by_stage.next().1["payload"], "00");
        let (_, told) = by_missing.next();
        assert_eq!(told["codec"], json!({"name": "not-there", "version": null, "hash": null}));
        let stages: Vec<Value> = (0..3).map(|_| failures.next().1["stage"].clone()).collect();
        assert_eq!(stages, ["refused", "over-large", "no-codec"]);
    }
    for query in ["deviceName=nobody", "deviceProfileName=nobody", "codec=nobody"] {
        let refused = server.rest().get(&format!("/api/trace?{query}")).expect_err(query);
        assert_eq!(refused.status, 404, "{}", refused.body);
    }
}

#[test]
fn a_listener_that_does_not_read_loses_events_and_is_told_how_many() {
    const FRAMES: u32 = 4_000;
    let server = Server::spawn();
    let mut device = server.device("talker");
    let mut trace = server.trace("deviceName=talker&events=decoded");
    let mut other = server.trace("deviceName=talker&events=connected");
    // Events of some 12 KB each: neither the sockets nor the queue of the listener can hold all of them.
    let text = "x".repeat(500);
    let member = |index: u32| format!("\"k{index}\":\"{text}\"");
    let members = (0..20).map(member).collect::<Vec<_>>().join(",");
    for number in 1..FRAMES {
        device.publish_qos0(TOPIC, format!("{{\"number\":{number},{members}}}"));
    }
    device.telemetry(format!("{{\"number\":{FRAMES}}}"));
    // The last frame is acknowledged, so all frames were read, and their sender has not noticed anything.
    assert_eq!(server.rest().latest("talker")["number"], FRAMES);
    let (mut decoded, mut lost) = (0, 0);
    loop {
        match trace.next() {
            (event, told) if event == "decoded" => {
                decoded += 1;
                if told["messages"][0]["telemetry"][0]["values"]["number"] == FRAMES {
                    break;
                }
            }
            (event, told) => {
                assert_eq!(event, "lost");
                lost += told["events"].as_u64().expect("a count");
            }
        }
    }
    assert!(lost > 0, "{decoded} events were all kept");
    assert_eq!(decoded + lost, u64::from(FRAMES), "{decoded} told, {lost} lost");
    drop(server.connect("talker"));
    assert_eq!(other.next().0, "connected", "who asks for little loses nothing");
}

#[test]
fn metrics_tell_of_traffic_swaps_and_failures() {
    let server = Server::spawn();
    server.install_codec("stamp", &guest("stamp-a"));
    let profile = server.codec_profile("stamped", "stamp");
    let mut device = server.device_of(&profile, "thermo");
    for number in 0..5 {
        device.telemetry(frame(number));
    }
    device.publish_qos1(TOPIC, [1]);
    let metrics = server.metrics();
    let old = [("codec", "stamp"), ("version", "1.0.0")];
    assert_eq!(metrics.value("wireglot_codec_calls_total", &old), 6.0);
    assert_eq!(metrics.value("wireglot_codec_call_seconds_count", &old), 6.0);
    let refused = [("codec", "stamp"), ("version", "1.0.0"), ("stage", "refused")];
    assert_eq!(metrics.value("wireglot_codec_failures_total", &refused), 1.0);
    assert_eq!(metrics.value("wireglot_codec_failures_total", &old), 1.0);
    assert_eq!(metrics.value("wireglot_codec_instances", &old), 1.0);
    assert_eq!(metrics.value("wireglot_codec_live_info", &old), 1.0);
    let memory = metrics.value("wireglot_codec_memory_high_water_bytes", &old);
    assert!((65_536.0..16_777_217.0).contains(&memory), "{memory}");
    assert_eq!(metrics.value("wireglot_codec_swaps_total", &[("codec", "stamp")]), 1.0);
    assert_eq!(metrics.value("wireglot_codec_rejections_total", &[]), 0.0);

    server.drop_codec("stamp", b"no component");
    eventually("the file is rejected", || {
        (server.metrics().value("wireglot_codec_rejections_total", &[("codec", "stamp")]) >= 1.0)
            .then_some(())
    });
    server.drop_codec("stamp", &guest("stamp-b"));
    eventually("the next version is live", || {
        server.rest().codec("stamp").filter(|codec| codec["version"] == "2.0.0")
    });
    device.telemetry(frame(9));
    let metrics = server.metrics();
    let new = [("codec", "stamp"), ("version", "2.0.0")];
    assert_eq!(metrics.value("wireglot_codec_swaps_total", &[("codec", "stamp")]), 2.0);
    assert_eq!(metrics.value("wireglot_codec_calls_total", &old), 6.0, "what was counted stays");
    assert_eq!(metrics.value("wireglot_codec_calls_total", &new), 1.0);
    assert_eq!(metrics.value("wireglot_codec_instances", &old), 0.0);
    assert_eq!(metrics.value("wireglot_codec_instances", &new), 1.0);
    assert_eq!(metrics.value("wireglot_codec_live_info", &old), 0.0);
    assert_eq!(metrics.value("wireglot_codec_live_info", &new), 1.0);
}

#[test]
fn metrics_tell_of_a_breaker() {
    let server = Server::spawn();
    server.install_codec("trapping", &guest("trapping"));
    let limits = json!({"settings": {"calm": true}, "limits": {"trapsInARow": 2, "pauseMs": 60_000}});
    let profile = server.codec_profile_with("trapped", "trapping", limits);
    let mut device = server.device_of(&profile, "victim");
    for _ in 0..5 {
        device.telemetry([1]);
    }
    let metrics = server.metrics();
    let of = |stage| [("codec", "trapping"), ("stage", stage)];
    assert_eq!(metrics.value("wireglot_codec_failures_total", &of("trapped")), 2.0);
    assert_eq!(metrics.value("wireglot_codec_failures_total", &of("paused")), 3.0);
    assert_eq!(metrics.value("wireglot_codec_calls_total", &[("codec", "trapping")]), 2.0);
    assert_eq!(metrics.value("wireglot_codec_recycles_total", &[("codec", "trapping")]), 2.0);
    assert_eq!(metrics.value("wireglot_codec_breaker_openings_total", &[("codec", "trapping")]), 1.0);
    let breakers =
        |state| metrics.value("wireglot_codec_breakers", &[("codec", "trapping"), ("state", state)]);
    assert_eq!((breakers("open"), breakers("half_open")), (1.0, 0.0));
}

/// Every metric that the guide for operators names is on the page, and every one of a codec is in the guide.
#[test]
fn the_guide_names_metrics_that_exist() {
    let guide = fs::read_to_string(root().join("docs/operating-codecs.md")).expect("the guide");
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let named: BTreeSet<&str> =
        guide.split(|character| !is_part(character)).filter(|word| word.starts_with("wireglot_")).collect();
    assert!(named.len() > 10, "{named:?}");
    let metrics = Server::spawn().metrics();
    for name in &named {
        assert!(metrics.has(name), "the guide names {name}, which is not on the page");
    }
    for name in metrics.names().filter(|name| name.starts_with("wireglot_codec")) {
        let is_named = named.iter().any(|word| word.starts_with(name));
        assert!(is_named, "the guide does not say what {name} is");
    }
}

#[test]
fn keys_of_a_device_are_described_beside_its_telemetry() {
    let server = Server::spawn();
    server.install_codec("cayenne-lpp", &plugin("cayenne-lpp"));
    let profile = server.codec_profile("lpp", "cayenne-lpp");
    let mut device = server.device_of(&profile, "tracker");
    let id = server.rest().device_id("tracker");
    let path = format!("/api/plugins/telemetry/DEVICE/{id}/keys/timeseries/descriptions");
    let before = server.rest().get(&path).expect("descriptions");
    assert_eq!((&before["keys"], &before["codec"]["name"]), (&json!([]), &json!("cayenne-lpp")));
    let is_not_seen = |descriptions: &Value, key: &str| {
        descriptions["notSeen"].as_array().is_some_and(|list| list.iter().any(|entry| entry["key"] == key))
    };
    assert!(is_not_seen(&before, "temperature_*") && is_not_seen(&before, "humidity_*"), "{before}");
    // Temperatures of the channels 3 and 5, from the specification of the format.
    device.telemetry([0x03, 0x67, 0x01, 0x10, 0x05, 0x67, 0x00, 0xff]);
    server
        .rest()
        .post(&format!("/api/plugins/telemetry/DEVICE/{id}/timeseries/ANY"), &json!({"note": "by hand"}))
        .expect("a value from elsewhere");
    let after = server.rest().get(&path).expect("descriptions");
    let temperature = |channel: u8| {
        json!({
            "key": format!("temperature_{channel}"),
            "describedAs": "temperature_*",
            "type": "DOUBLE",
            "unit": "Cel",
            "label": "Temperature",
        })
    };
    let note = json!({"key": "note", "describedAs": null, "type": null, "unit": null, "label": null});
    assert_eq!(after["keys"], json!([note, temperature(3), temperature(5)]));
    assert!(!is_not_seen(&after, "temperature_*") && is_not_seen(&after, "humidity_*"), "{after}");
    assert_eq!(server.rest().stranger().get(&path).expect_err("a stranger").status, 401);
}
