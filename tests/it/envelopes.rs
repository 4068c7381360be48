//! Network servers: many devices behind one connection, each frame in an envelope; and what a codec is told beside the
//! frame.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::harness::{Closed, Device, Server, eventually, guest, plugin, vectors};
use crate::letters::replay;
use crate::telemetry::{same, unhex};

/// 2024-05-06T07:08:09.123Z.
const SENT_MS: i64 = 1_714_979_289_123;
const APPLICATION: &str = "application/17c82e96-be03-4f38-aef3-f83d48582d97/device";

/// An `up` event as ChirpStack 4 publishes it.
pub(crate) fn chirpstack(name: &str, eui: &str, port: u8, frame: &[u8]) -> String {
    json!({
        "deduplicationId": "3ac7e3c4-4401-4b8d-9386-a5c902f9202d",
        "time": "2024-05-06T07:08:09.123456789+00:00",
        "deviceInfo": {
            "tenantName": "ChirpStack",
            "applicationName": "Offices",
            "deviceProfileName": "Class A",
            "deviceName": name,
            "devEui": eui,
            "tags": {"floor": "2"},
        },
        "devAddr": "00189440",
        "adr": true,
        "dr": 5,
        "fCnt": 17,
        "fPort": port,
        "data": STANDARD.encode(frame),
        "rxInfo": [{"gatewayId": "0016c001f153a14c", "uplinkId": 4_217_106_255_u32, "rssi": -57, "snr": 9.75}],
        "txInfo": {
            "frequency": 867_100_000,
            "modulation": {"lora": {"bandwidth": 125_000, "spreadingFactor": 7, "codeRate": "CR_4_5"}},
        },
    })
    .to_string()
}

fn up(eui: &str) -> String {
    format!("{APPLICATION}/{eui}/event/up")
}

/// An uplink as The Things Stack 3 publishes it.
fn tts(id: &str, eui: &str, port: u8, frame: &[u8]) -> String {
    json!({
        "end_device_ids": {
            "device_id": id,
            "application_ids": {"application_id": "offices"},
            "dev_eui": eui,
            "dev_addr": "00BCB929",
        },
        "correlation_ids": ["as:up:01E0WZGT6Y7657CPFPE5WEYDSQ"],
        "received_at": "2024-05-06T07:08:09.323Z",
        "uplink_message": {
            "f_cnt": 3,
            "f_port": port,
            "frm_payload": STANDARD.encode(frame),
            "rx_metadata": [{"gateway_ids": {"gateway_id": "roof"}, "rssi": -35, "snr": 5}],
            "settings": {
                "data_rate": {"lora": {"bandwidth": 125_000, "spreading_factor": 9, "coding_rate": "4/5"}},
                "frequency": "868300000",
            },
            "received_at": "2024-05-06T07:08:09.123Z",
        },
    })
    .to_string()
}

/// Recorded frames of a codec that need no settings, with the values they must give at the time of receipt.
pub(crate) fn frames(codec: &str) -> Vec<(Vec<u8>, Value)> {
    let files = vectors(codec);
    let all = files.iter().flat_map(|file| file["vectors"].as_array().expect("a list of vectors"));
    let plain = all.filter(|vector| vector["settings"].is_null() && vector["refused"].is_null());
    let read = |vector: &Value| {
        let [measurement] = vector["expected"].as_array()?.as_slice() else { return None };
        let frame = unhex(vector["hex"].as_str()?);
        measurement["ts"].is_null().then(|| (frame, measurement["values"].clone()))
    };
    plain.filter_map(read).collect()
}

/// The device's values are these, all of them from the moment at which the network server heard the frame.
#[track_caller]
pub(crate) fn has_values(server: &Server, device: &str, expected: &Value) {
    let expected = expected.as_object().expect("values");
    let latest = server.rest().latest(device);
    assert!(latest.keys().eq(expected.keys()), "{device}: {latest:?}, not {expected:?}");
    for (key, value) in expected {
        assert!(same(&latest[key], value), "{device}: {key} is {}, not {value}", latest[key]);
        assert_eq!(server.rest().history(device, key)[key][0].0, SENT_MS, "{device}: {key}");
    }
}

#[test]
fn a_connection_of_chirpstack_carries_devices_of_many_kinds() {
    let server = Server::spawn();
    server.install_codec("elsys", &plugin("elsys"));
    server.install_codec("milesight-em", &plugin("milesight-em"));
    let profile = server.codec_profile_with(
        "chirpstack",
        "elsys",
        json!({
            "deviceTelemetryTopic": "application/+/device/+/event/+",
            "envelope": "chirpstack",
            "carriedDevicesMax": 2,
        }),
    );
    // Devices of another kind are made by the operator, with the profile of their kind.
    let level = server.codec_profile("level", "milesight-em");
    server.rest().create_device("tank", Some(&level));
    let mut connection = server.device_of(&profile, "network-server");
    // ChirpStack does not start where it may not listen for commands.
    assert_eq!(connection.subscribe("application/+/device/+/command/+"), 1);
    let (elsys, milesight) = (frames("elsys"), frames("milesight-em"));
    for (name, eui, (frame, values)) in [
        ("room-1", "0101010101010101", &elsys[0]),
        ("tank", "0202020202020202", &milesight[0]),
        ("room-2", "0303030303030303", &elsys[1]),
    ] {
        assert_eq!(connection.publish_qos1(&up(eui), chirpstack(name, eui, 85, frame)), 0, "{name}");
        has_values(&server, name, values);
    }
    // What the server tells beside uplinks is taken and leaves no trace.
    for event in ["join", "ack", "txack", "log", "status", "location", "integration"] {
        let topic = format!("{APPLICATION}/0101010101010101/event/{event}");
        assert_eq!(connection.publish_qos1(&topic, "{}"), 0, "{event}");
    }
    let mac_only = chirpstack("room-1", "0101010101010101", 0, b"");
    assert_eq!(connection.publish_qos1(&up("0101010101010101"), mac_only), 0);
    // A third one may not be made, and is not lost.
    let (frame, values) = &elsys[2];
    let envelope = chirpstack("room-3", "0404040404040404", 85, frame);
    assert_eq!(connection.publish_qos1(&up("0404040404040404"), &envelope), 0x99);
    let letters = server.rest().dead_letters("network-server");
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(
        (&letters[0]["stage"], &letters[0]["envelope"]),
        (&json!("not-accepted"), &json!("chirpstack"))
    );
    let reason = letters[0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("'room-3'") && reason.contains("carriedDevicesMax"), "{reason}");
    assert_eq!(
        unhex(letters[0]["payloadHex"].as_str().expect("hex")),
        envelope.as_bytes(),
        "the whole envelope"
    );
    server.rest().create_device("room-3", Some(&profile));
    assert_eq!(connection.publish_qos1(&up("0404040404040404"), &envelope), 0);
    has_values(&server, "room-3", values);
    // A frame that its codec refuses is the carried device's.
    let bad = chirpstack("tank", "0202020202020202", 85, &[0x01]);
    assert_eq!(connection.publish_qos1(&up("0202020202020202"), &bad), 0x99);
    let letters = server.rest().dead_letters("tank");
    assert_eq!((letters.len(), &letters[0]["codec"]["name"]), (1, &json!("milesight-em")), "{letters:?}");
    // Another device under a name that is known is another device.
    let (frame, _) = &elsys[0];
    let impostor = chirpstack("room-1", "0505050505050505", 85, frame);
    assert_eq!(connection.publish_qos1(&up("0505050505050505"), impostor), 0x99);
    // All of that is on disk.
    let server = server.kill_9().restart();
    has_values(&server, "room-1", &elsys[0].1);
    has_values(&server, "room-2", &elsys[1].1);
    let letters = server.rest().dead_letters("network-server");
    assert_eq!(letters.len(), 2, "{letters:?}");
    assert!(
        letters[0]["reason"].as_str().is_some_and(|reason| reason.contains("0101010101010101")),
        "{letters:?}"
    );
}

#[test]
fn devices_behind_a_network_server_are_told_active_and_share_its_limits() {
    let server = Server::spawn();
    server.install_codec("elsys", &plugin("elsys"));
    let profile = server.codec_profile_with(
        "chirpstack",
        "elsys",
        json!({
            "deviceTelemetryTopic": "application/+/device/+/event/+",
            "envelope": "chirpstack",
            "carriedDevicesMax": 2,
        }),
    );
    let mut connection = server.device_of(&profile, "network-server");
    let limits = json!({
        "transportGatewayTelemetryMsgRateLimit": "2:3600",
        "transportDeviceTelemetryMsgRateLimit": "1:3600",
    });
    server.rest().post("/api/rateLimits", &limits).expect("the limits are in force");
    let (frame, _) = &frames("elsys")[0];
    for (name, eui) in [("room-1", "0101010101010101"), ("room-2", "0202020202020202")] {
        assert_eq!(connection.publish_qos1(&up(eui), chirpstack(name, eui, 85, frame)), 0, "{name}");
    }
    for name in ["room-1", "room-2"] {
        eventually("a device that was heard is active", || {
            let told = server.rest().attributes(name, "SERVER_SCOPE");
            (told.get("active") == Some(&json!(true)) && told.contains_key("lastActivityTime")).then_some(())
        });
    }
    connection.publish_qos0(&up("0101010101010101"), chirpstack("room-1", "0101010101010101", 85, frame));
    assert_eq!(connection.closed(), Closed::With(0x83));
    assert_eq!(server.rest().messages("room-1").len(), 1);
}

#[test]
fn a_connection_of_the_things_stack_names_devices_by_their_dev_eui() {
    let server = Server::spawn();
    server.install_codec("elsys", &plugin("elsys"));
    let profile = server.codec_profile_with(
        "tts",
        "elsys",
        json!({
            "deviceTelemetryTopic": "v3/#",
            "envelope": "tts",
            "carriedDeviceNames": "devEui",
            "carriedDevicesMax": 10,
        }),
    );
    server.rest().create_device("network-server", Some(&profile));
    let mut connection = server.connect("network-server");
    for (number, (frame, values)) in frames("elsys").iter().take(3).enumerate() {
        let (id, eui) = (format!("eui-{number}"), format!("A81758FFFE03000{number}"));
        let topic = format!("v3/offices@ttn/devices/{id}/up");
        assert_eq!(connection.publish_qos1(&topic, tts(&id, &eui, 5, frame)), 0);
        has_values(&server, &eui.to_lowercase(), values);
    }
    let join =
        json!({"end_device_ids": {"device_id": "eui-9"}, "join_accept": {"session_key_id": "AXBSH1=="}});
    assert_eq!(connection.publish_qos1("v3/offices@ttn/devices/eui-9/join", join.to_string()), 0);
    // MQTT 3.1.1 has no way to say no; what was wrong is kept.
    let encrypted =
        tts("eui-0", "A81758FFFE030000", 5, &[1]).replace("\"f_cnt\":3", "\"f_cnt\":3,\"app_s_key\":{}");
    assert_eq!(connection.publish_qos1("v3/offices@ttn/devices/eui-0/up", encrypted), 0);
    let letters = server.rest().dead_letters("network-server");
    assert_eq!((letters.len(), &letters[0]["stage"]), (1, &json!("refused")), "{letters:?}");
    assert!(
        letters[0]["reason"].as_str().is_some_and(|reason| reason.contains("still encrypted")),
        "{letters:?}"
    );
}

#[test]
fn what_is_no_envelope_is_kept_and_answered_as_the_profile_says() {
    let server = Server::spawn();
    server.install_codec("echo", &guest("echo"));
    let server_of = |name: &str, on_failure: &str| {
        let more = json!({"envelope": "chirpstack", "carriedDevicesMax": 5, "onFailure": on_failure});
        server.device_of(&server.codec_profile_with(name, "echo", more), name)
    };
    let (mut refusing, mut accepting) = (server_of("refusing", "refuse"), server_of("accepting", "accept"));
    let topic = "v1/devices/me/telemetry";
    let good = chirpstack("a", "0101010101010101", 1, &[1]);
    let asking = chirpstack("a", "0101010101010101", 1, &[0xfe]);
    server.rest().create_device("json", None);
    let rows = [
        ("".to_owned(), "is not JSON"),
        ("\u{1}\u{2}".to_owned(), "is not JSON"),
        (good.chars().take(good.len() / 2).collect(), "is not JSON"),
        ("[".repeat(60_000), "recursion limit"),
        ("{}".to_owned(), "not an event of ChirpStack 4"),
        (good.replace("\"AQ==\"", "\"A*\""), "'data' is not base64"),
        (good.replace("\"fPort\":1", "\"fPort\":1000"), "'fPort' is not a port"),
        (good.replace("\"deviceName\":\"a\"", "\"deviceName\":\" \""), "a name of 1 to 255 characters"),
        (good.replace("\"deviceName\":\"a\",", ""), "no name of its device"),
    ];
    for (payload, words) in &rows {
        assert_eq!(refusing.publish_qos1(topic, payload), 0x99, "{words}");
        assert_eq!(accepting.publish_qos1(topic, payload), 0, "{words}");
        for name in ["refusing", "accepting"] {
            let letter = &server.rest().dead_letters(name)[0];
            assert!(
                letter["reason"].as_str().is_some_and(|reason| reason.contains(words)),
                "{words}: {letter}"
            );
        }
    }
    assert_eq!(server.rest().dead_letters("refusing").len(), rows.len(), "each is kept once");
    // A device of another kind has no codec, and an answer would not find its way.
    let of_json = chirpstack("json", "0101010101010101", 1, &[1]);
    assert_eq!(refusing.publish_qos1(topic, of_json), 0x99);
    assert_eq!(refusing.publish_qos1(topic, &asking), 0x99);
    for (name, words) in
        [("json", "names no codec"), ("a", "attribute requests in frames that another device brings")]
    {
        let letters = server.rest().dead_letters(name);
        assert!(letters[0]["reason"].as_str().is_some_and(|reason| reason.contains(words)), "{letters:?}");
    }
    // A device whose first frames were refused is there, with its dead letter, and goes on from there.
    assert_eq!(refusing.publish_qos1(topic, &good), 0);
    assert_eq!(server.rest().latest("a")["payload"], "01");
    let mut strict = server_of("strict", "disconnect");
    strict.publish_qos0(topic, "{}");
    assert_eq!(strict.closed(), Closed::With(0x99));
}

#[test]
fn a_codec_is_told_the_port_by_topic_or_by_envelope() {
    let server = Server::spawn();
    server.install_codec("echo", &guest("echo"));
    let named =
        server.codec_profile_with("named", "echo", json!({"deviceTelemetryTopic": "up/{fPort}/{unit}"}));
    let mut device = server.device_of(&named, "thermo");
    assert_eq!(device.publish_qos1("up/85/cellar", [1]), 0);
    let latest = server.rest().latest("thermo");
    assert_eq!((&latest["fPort"], &latest["unit"]), (&json!("85"), &json!("cellar")));
    assert_eq!(device.publish_qos1("up/85", [1]), 0x90, "a named segment is a segment");

    let plain = server.codec_profile_with("plain", "echo", json!({"deviceTelemetryTopic": "up/+/+"}));
    let mut device = server.device_of(&plain, "mute");
    assert_eq!(device.publish_qos1("up/85/cellar", [1]), 0);
    assert!(!server.rest().latest("mute").contains_key("fPort"));

    let wrapped = json!({
        "deviceTelemetryTopic": "application/+/device/+/event/up",
        "envelope": "chirpstack",
        "carriedDevicesMax": 1,
    });
    let mut connection =
        server.device_of(&server.codec_profile_with("wrapped", "echo", wrapped), "chirpstack");
    let topic = up("ABABABABABABABAB");
    assert_eq!(connection.publish_qos1(&topic, chirpstack("probe", "ABABABABABABABAB", 2, &[0xab])), 0);
    let latest = server.rest().latest("probe");
    for (name, value) in [
        ("payload", json!("ab")),
        ("topic", json!(topic)),
        ("device", json!("probe")),
        ("profile", json!("wrapped")),
        ("receivedMs", json!(SENT_MS)),
        ("devEui", json!("abababababababab")),
        ("fPort", json!("2")),
        ("fCnt", json!("17")),
        ("devAddr", json!("00189440")),
        ("dr", json!("5")),
        ("frequency", json!("867100000")),
        ("modulation", json!("lora")),
        ("spreadingFactor", json!("7")),
        ("bandwidth", json!("125000")),
        ("codeRate", json!("4/5")),
        ("gatewayId", json!("0016c001f153a14c")),
        ("rssi", json!("-57")),
        ("snr", json!("9.75")),
        ("gateways", json!("1")),
    ] {
        assert_eq!(latest[name], value, "{name}");
    }
    assert_eq!(latest.len(), 19, "{latest:?}");
    // A frame of a device itself, beside the envelopes of others: JSON by the topic that says so.
    assert_eq!(connection.publish_qos1("v2/t/j", r#"{"uptime":5}"#), 0);
    assert_eq!(server.rest().latest("chirpstack")["uptime"], 5);
}

/// A profile of the network server, which keeps its frames as they came.
fn raw_profile(server: &Server, name: &str, codec: &str) {
    let made = server.rest().post(
        "/api/deviceProfile",
        &json!({
            "name": name, "type": "DEFAULT", "transportType": "MQTT", "rawRetentionHours": 8_760,
            "profileData": {"configuration": {"type": "DEFAULT"}, "transportConfiguration": {
                "type": "MQTT",
                "transportPayloadTypeConfiguration": {
                    "transportPayloadType": "CODEC", "codec": codec, "envelope": "chirpstack", "carriedDevicesMax": 2,
                },
            }},
        }),
    );
    made.expect("the profile is made");
}

#[test]
fn what_was_kept_with_its_envelope_is_decoded_again() {
    let server = Server::spawn();
    let topic = "v1/devices/me/telemetry";
    raw_profile(&server, "late", "echo");
    let mut connection = server.device_of("late", "server");
    let send = |connection: &mut Device, name: &str, eui: &str, byte: u8| {
        connection.publish_qos1(topic, chirpstack(name, eui, 7, &[byte]))
    };
    // The codec is missing; "c" and "d" are beyond what may be made.
    assert_eq!(send(&mut connection, "a", "0a0a0a0a0a0a0a0a", 1), 0);
    assert_eq!(send(&mut connection, "b", "0b0b0b0b0b0b0b0b", 2), 0);
    assert_eq!(send(&mut connection, "c", "0c0c0c0c0c0c0c0c", 3), 0x99);
    assert_eq!(send(&mut connection, "d", "0d0d0d0d0d0d0d0d", 4), 0x99);
    let named = server.codec_profile_with("named", "echo", json!({"deviceTelemetryTopic": "up/{fPort}"}));
    assert_eq!(server.device_of(&named, "thermo").publish_qos1("up/85", [5]), 0);
    server.install_codec("echo", &guest("echo"));
    server.rest().create_device("c", Some("late"));

    let done = replay(&server, &json!({"deviceProfileName": "late"}));
    let report = &done["report"];
    assert_eq!((&report["decoded"], &report["failed"]), (&json!(3), &json!(1)), "{done}");
    let reason = &report["failures"][0]["reason"];
    assert!(reason.as_str().is_some_and(|reason| reason.contains("no device is named 'd'")), "{done}");
    for (name, payload) in [("a", "01"), ("b", "02"), ("c", "03")] {
        let latest = server.rest().latest(name);
        assert_eq!((&latest["payload"], &latest["fPort"]), (&json!(payload), &json!("7")), "{latest:?}");
        assert_eq!((&latest["device"], &latest["receivedMs"]), (&json!(name), &json!(SENT_MS)), "{latest:?}");
        assert_eq!(server.rest().history(name, "payload")["payload"][0].0, SENT_MS);
        assert_eq!(server.rest().dead_letters(name).len(), 0);
    }
    assert_eq!(server.rest().dead_letters("server").len(), 1, "the one that has no device yet");
    // The frames themselves were kept too, and are known to be those of the values.
    let report = &replay(&server, &json!({"deviceProfileName": "late", "all": true}))["report"];
    assert_eq!((&report["decoded"], &report["same"]), (&json!(2), &json!(2 * 19)), "{report}");
    assert_eq!((&report["changed"], &report["onlyNew"]), (&json!(0), &json!(0)), "{report}");
    let done = replay(&server, &json!({"deviceProfileName": "named"}));
    assert_eq!(done["report"]["decoded"], 1, "{done}");
    assert_eq!(server.rest().latest("thermo")["fPort"], "85");
}

#[test]
fn wrongly_decoded_frames_of_carried_devices_are_decoded_again() {
    let server = Server::spawn();
    server.install_codec("stamp", &guest("stamp-a"));
    raw_profile(&server, "wrong", "stamp");
    let mut connection = server.device_of("wrong", "server");
    for (name, eui, counter) in [("a", "0a0a0a0a0a0a0a0a", 1), ("b", "0b0b0b0b0b0b0b0b", 2)] {
        let envelope = chirpstack(name, eui, 7, &wireglot_load::frame::frame(counter));
        assert_eq!(connection.publish_qos1("v1/devices/me/telemetry", envelope), 0);
    }
    server.install_codec("stamp", &guest("stamp-b"));
    eventually("the second version is live", || {
        server.rest().codec("stamp").filter(|codec| codec["version"] == "2.0.0")
    });
    let done = replay(&server, &json!({"deviceProfileName": "wrong", "all": true}));
    assert_eq!((&done["report"]["decoded"], &done["report"]["failed"]), (&json!(2), &json!(0)), "{done}");
    for (name, counter) in [("a", 1), ("b", 2)] {
        let history = server.rest().history(name, "seq,version");
        assert_eq!(history["seq"], [(SENT_MS, json!(counter))]);
        assert_eq!(history["version"], [(SENT_MS, json!(2))], "in the place of the first");
    }
}
