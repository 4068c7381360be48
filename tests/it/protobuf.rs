//! A device that speaks protobuf: telemetry, attributes both ways, the flags, and what is no message of its schema.

use serde_json::{Value, json};
use wireglot_load::wire::{Connect, Version};

use crate::harness::{Device, Refusal, Server};

const TELEMETRY: &str = "v1/devices/me/telemetry";
const ATTRIBUTES: &str = "v1/devices/me/attributes";
const SCHEMA: &str = "syntax = \"proto3\";\npackage telemetry;\nmessage Place { double latitude = 1; }\n\
    message Reading { optional double temperature = 1; optional int64 count = 2; Place place = 3; \
    enum Mode { OFF = 0; ON = 1; } optional Mode run_mode = 4; }";
const TIMED: &str = "syntax = \"proto3\";\nmessage Values { int32 a = 1; }\n\
    message Record { optional int64 ts = 1; Values values = 2; }";
const CONFIGURATION: &str = "syntax = \"proto3\";\nmessage Configuration { optional string firmware = 1; optional int32 retries = 2; }";
/// temperature 21.5, count 7, place {latitude 1.5}, run_mode ON.
const READING: &[u8] =
    &[0x09, 0, 0, 0, 0, 0, 0x80, 0x35, 0x40, 0x10, 7, 0x1a, 9, 0x09, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f, 0x20, 1];

/// A protobuf profile with these members besides.
fn profile(server: &Server, name: &str, more: &Value) -> String {
    let mut payload = json!({
        "transportPayloadType": "PROTOBUF",
        "deviceTelemetryProtoSchema": SCHEMA,
        "deviceAttributesProtoSchema": CONFIGURATION,
    });
    for (member, value) in more.as_object().expect("members") {
        payload[member] = value.clone();
    }
    transport_profile(server, name, &payload)
}

/// The name of a new profile with this payload configuration.
fn transport_profile(server: &Server, name: &str, payload: &Value) -> String {
    server
        .rest()
        .create_profile(name, &json!({ "type": "MQTT", "transportPayloadTypeConfiguration": payload }));
    name.to_owned()
}

fn connect(server: &Server, profile: &str, name: &str, version: Version) -> Device {
    server.rest().create_device(name, Some(profile));
    let claim = Connect { client_id: name, user_name: Some(name), password: None, keep_alive_s: 60 };
    Device::try_connect(server.mqtt(), version, &claim).expect("a known token")
}

fn stored(server: &Server, device: &str, key: &str) -> Option<Value> {
    server.rest().latest(device).get(key).cloned()
}

// 286, 291, 290
#[test]
fn telemetry_is_read_by_the_schema_of_the_profile() {
    let server = Server::spawn();
    let profile = profile(&server, "proto", &json!({}));
    for (version, name) in [(Version::V3, "three"), (Version::V5, "five")] {
        let mut device = connect(&server, &profile, name, version);
        assert_eq!(device.publish_qos1(TELEMETRY, READING), 0);
        let latest = server.rest().latest(name);
        assert_eq!(latest["temperature"], 21.5);
        assert_eq!(latest["count"], 7);
        assert_eq!(latest["place"], json!({"latitude": 1.5}));
        assert_eq!(latest["runMode"], "ON");
        for (topic, payload, key, value) in [
            ("v2/t", &[0x10, 8][..], "count", 8),
            ("v2/t/p", &[0x10, 9], "count", 9),
            ("v2/t/j", br#"{"count":10}"#, "count", 10),
        ] {
            assert_eq!(device.publish_qos1(topic, payload), 0, "{topic}");
            assert_eq!(stored(&server, name, key), Some(json!(value)), "{topic}");
        }
        assert_eq!(device.publish_qos1(TELEMETRY, b""), 0, "nothing sent, nothing stored");
    }
}

// 287, 292, 293, 308
#[test]
fn what_is_no_message_of_the_schema_is_kept_as_a_dead_letter() {
    let server = Server::spawn();
    let plain = profile(&server, "plain", &json!({ "deviceTelemetryProtoSchema": TIMED }));
    let lenient = profile(&server, "lenient", &json!({ "enableCompatibilityWithJsonPayloadFormat": true }));
    let mut device = connect(&server, &plain, "strict-1", Version::V5);
    assert_eq!(device.publish_qos1(TELEMETRY, [0x08, 0x90, 0x4e, 0x12, 2, 8, 5]), 0);
    assert_eq!(
        server.rest().history("strict-1", "a")["a"],
        [(10_000, json!(5))],
        "at the time of the record"
    );
    assert_eq!(device.publish_qos1(TELEMETRY, r#"{"a":1}"#), 0x99);
    let letters = server.rest().dead_letters("strict-1");
    assert_eq!(letters.len(), 1);
    let reason = letters[0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("not the protobuf message Record"), "{reason}");

    let mut device = connect(&server, &lenient, "lenient-1", Version::V5);
    assert_eq!(device.publish_qos1(TELEMETRY, r#"{"temperature":3}"#), 0);
    assert_eq!(stored(&server, "lenient-1", "temperature"), Some(json!(3)));
    assert_eq!(device.publish_qos1(TELEMETRY, READING), 0);
    assert_eq!(stored(&server, "lenient-1", "temperature"), Some(json!(21.5)));
    assert_eq!(device.publish_qos1(TELEMETRY, r#"{"temperature":"#), 0x99);
    assert_eq!(device.publish_qos1("v2/t/p", r#"{"temperature":3}"#), 0x99, "the suffix overrides the flag");

    let mut device = server.device("json-1");
    assert_eq!(device.publish_qos1("v2/t/p", READING), 0, "MQTT 3.1.1 has no other acknowledgement");
    let letters = server.rest().dead_letters("json-1");
    assert_eq!(letters[0]["reason"], "the profile has no protobuf schemas");
    assert_eq!(device.publish_qos1("v2/a/req/p/1", b""), 0);
    let answer = device.next_message();
    assert_eq!(
        (answer.topic.as_str(), answer.bytes.as_slice()),
        ("v2/a/res/p/1", &[8, 1][..]),
        "a fixed message"
    );
}

// 298, 299, 300
#[test]
fn attributes_are_asked_for_and_answered_in_the_format_of_their_topic() {
    let server = Server::spawn();
    let profile = profile(&server, "proto", &json!({}));
    let mut device = connect(&server, &profile, "ask", Version::V3);
    for (topic, retries) in [(ATTRIBUTES, 1), ("v2/a", 2), ("v2/a/p", 3)] {
        assert_eq!(device.publish_qos1(topic, [0x10, retries]), 0);
        assert_eq!(server.rest().attributes("ask", "CLIENT_SCOPE")["retries"], retries, "{topic}");
    }
    server.rest().write_attributes("ask", "SHARED_SCOPE", &json!({"limit": 5}));
    let keys = [&[0x0a, 7][..], b"retries", &[0x12, 5], b"limit"].concat();
    // requestId, clientAttributeList [retries LONG 3], sharedAttributeList [limit LONG 5]
    let answer = |id: u8| {
        let client = [&[0x12, 15, 0x12, 13, 0x0a, 7][..], b"retries", &[0x10, 1, 0x20, 3]].concat();
        let shared = [&[0x1a, 13, 0x12, 11, 0x0a, 5][..], b"limit", &[0x10, 1, 0x20, 5]].concat();
        [&[8, id][..], &client, &shared].concat()
    };
    for (request, response, id) in [
        ("v1/devices/me/attributes/request/1", "v1/devices/me/attributes/response/1", 1),
        ("v2/a/req/2", "v2/a/res/2", 2),
        ("v2/a/req/p/3", "v2/a/res/p/3", 3),
    ] {
        assert_eq!(device.publish_qos1(request, &keys), 0);
        let message = device.next_message();
        assert_eq!((message.topic.as_str(), message.bytes), (response, answer(id)));
    }
    assert_eq!(device.publish_qos1("v2/a/req/j/4", r#"{"sharedKeys":"limit"}"#), 0);
    let message = device.next_message();
    assert_eq!(
        (message.topic.as_str(), message.payload.as_str()),
        ("v2/a/res/j/4", r#"{"shared":{"limit":5}}"#)
    );
}

// 301, 302, 303
#[test]
fn updates_are_pushed_in_the_format_of_the_subscription() {
    let server = Server::spawn();
    let flags = |uplinks: bool, downlinks: bool| {
        json!({
            "enableCompatibilityWithJsonPayloadFormat": uplinks,
            "useJsonPayloadFormatForDefaultDownlinkTopics": downlinks,
        })
    };
    let update = [&[0x0a, 13, 0x12, 11, 0x0a, 5][..], b"limit", &[0x10, 1, 0x20, 5]].concat();
    let deleted = [&[0x12, 5][..], b"limit"].concat();
    for (name, flags, v1_is_json) in [
        ("off", flags(false, false), false),
        ("useless", flags(false, true), false),
        ("uplinks", flags(true, false), false),
        ("both", flags(true, true), true),
    ] {
        let profile = profile(&server, name, &flags);
        let mut device = connect(&server, &profile, &format!("{name}-1"), Version::V5);
        for (topic, is_json) in
            [(ATTRIBUTES, v1_is_json), ("v2/a", false), ("v2/a/j", true), ("v2/a/p", false)]
        {
            assert_eq!(device.subscribe(topic), 1);
            server.rest().write_attributes(&format!("{name}-1"), "SHARED_SCOPE", &json!({"limit": 5}));
            let message = device.next_message();
            let expected = if is_json { br#"{"limit":5}"#.to_vec() } else { update.clone() };
            assert_eq!((message.topic.as_str(), message.bytes), (topic, expected), "{name}");
            server.rest().delete_attributes(&format!("{name}-1"), "SHARED_SCOPE", "limit");
            let message = device.next_message();
            let expected = if is_json { br#"{"deleted":["limit"]}"#.to_vec() } else { deleted.clone() };
            assert_eq!((message.topic.as_str(), message.bytes), (topic, expected), "{name}");
        }
    }
}

#[test]
fn a_schema_takes_effect_when_it_is_saved_and_only_if_it_is_valid() {
    let server = Server::spawn();
    let name = profile(&server, "proto", &json!({}));
    let mut device = connect(&server, &name, "live", Version::V5);
    let path = "/profileData/transportConfiguration/transportPayloadTypeConfiguration";
    let page =
        server.rest().get("/api/deviceProfiles?pageSize=10&page=0&textSearch=proto").expect("profiles");
    let mut shape = page["data"][0].clone();
    let payload = shape.pointer(path).expect("its payload").clone();
    assert_eq!(payload["deviceTelemetryProtoSchema"], SCHEMA);
    assert_eq!(payload["enableCompatibilityWithJsonPayloadFormat"], false);
    assert!(payload["deviceRpcRequestProtoSchema"].as_str().expect("a default").contains("RpcRequestMsg"));

    let broken = "syntax = \"proto3\";\nmessage M {\n  Missing a = 1;\n}";
    shape.pointer_mut(path).expect("its payload")["deviceTelemetryProtoSchema"] = json!(broken);
    let refusal = server.rest().post("/api/deviceProfile", &shape).expect_err("a broken schema");
    assert_eq!(refusal.status, 400);
    assert!(
        refusal.mentions(
            "[Transport Configuration] failed to parse telemetry proto schema due to: Syntax error in :3:3:"
        ),
        "{refusal:?}"
    );
    assert_eq!(device.publish_qos1(TELEMETRY, READING), 0, "the valid one stays in force");
    assert_eq!(stored(&server, "live", "count"), Some(json!(7)));

    let renamed = SCHEMA.replace("count", "renamed_count");
    shape.pointer_mut(path).expect("its payload")["deviceTelemetryProtoSchema"] = json!(renamed);
    server.rest().post("/api/deviceProfile", &shape).expect("a valid schema");
    assert_eq!(device.publish_qos1(TELEMETRY, [0x10, 9]), 0);
    assert_eq!(stored(&server, "live", "renamedCount"), Some(json!(9)), "without a new connection");

    let server = server.kill_9().restart();
    let mut device = server.connect("live");
    assert_eq!(device.publish_qos1(TELEMETRY, [0x10, 10]), 0);
    assert_eq!(stored(&server, "live", "renamedCount"), Some(json!(10)), "after a restart");
}

#[test]
fn a_codec_reads_the_profiles_topics_and_the_schemas_the_protobuf_ones() {
    let server = Server::spawn();
    server.install_codec("stamp", &crate::harness::guest("stamp-a"));
    let payload = json!({
        "transportPayloadType": "CODEC",
        "codec": "stamp",
        "deviceTelemetryProtoSchema": SCHEMA,
    });
    let profile = transport_profile(&server, "both", &payload);
    let mut device = server.device_of(&profile, "both-1");
    let mut frame = 5u32.to_be_bytes().to_vec();
    frame.extend([0; 28]);
    device.telemetry(frame);
    assert_eq!(stored(&server, "both-1", "seq"), Some(json!(5)), "by the codec");
    assert_eq!(device.publish_qos1("v2/t/p", READING), 0);
    assert_eq!(stored(&server, "both-1", "count"), Some(json!(7)), "by the schema");
    assert_eq!(device.publish_qos1("v2/t/j", r#"{"count":8}"#), 0);
    assert_eq!(stored(&server, "both-1", "count"), Some(json!(8)), "as JSON");
}

/// Asks the device over REST while it does something about it.
fn call(server: &Server, name: &str, body: &Value, device: impl FnOnce()) -> Result<Value, Refusal> {
    let path = format!("/api/rpc/twoway/{}", server.rest().device_id(name));
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| server.rest().post(&path, body));
        device();
        answer.join().expect("the call ends")
    })
}

// 304, 305, 306
#[test]
fn devices_are_asked_by_the_schema_of_the_profile() {
    let server = Server::spawn();
    let request = "syntax = \"proto3\"; message Params { string pin = 1; int32 value = 2; } \
        message Rpc { optional string method = 1; optional int32 requestId = 2; Params params = 3; }";
    let profile_of_messages = profile(&server, "gpio", &json!({ "deviceRpcRequestProtoSchema": request }));
    let mut device = connect(&server, &profile_of_messages, "gpio-1", Version::V5);
    assert_eq!(device.subscribe("v1/devices/me/rpc/request/+"), 1);
    let body = json!({ "method": "setGpio", "params": { "pin": "23", "value": 1 } });
    let answer = call(&server, "gpio-1", &body, || {
        let message = device.next_message();
        let expected =
            [&[0x0a, 7][..], b"setGpio", &[0x10, 0, 0x1a, 6, 0x0a, 2, b'2', b'3', 0x10, 1]].concat();
        assert_eq!((message.topic.as_str(), message.bytes), ("v1/devices/me/rpc/request/0", expected));
        let payload = r#"{"value1":"A"}"#;
        let response = [&[0x0a, 14][..], payload.as_bytes()].concat();
        assert_eq!(device.publish_qos1("v1/devices/me/rpc/response/0", response), 0);
    });
    assert_eq!(answer.expect("an answer"), json!({ "payload": r#"{"value1":"A"}"# }));

    let profile_of_texts = profile(&server, "texts", &json!({}));
    let mut device = connect(&server, &profile_of_texts, "texts-1", Version::V5);
    assert_eq!(device.subscribe("v2/r/req/p/+"), 1);
    let answer = format!("{:?}", call(&server, "texts-1", &body, || ()));
    assert!(answer.contains("a text is due here, not an object"), "{answer}");
}

// 307, 309, 269
#[test]
fn devices_call_claim_and_provision_in_protobuf() {
    let server = Server::spawn();
    let profile = profile(&server, "proto", &json!({}));
    let mut device = connect(&server, &profile, "caller", Version::V5);
    let time = [&[0x0a, 14][..], b"getCurrentTime", &[0x12, 2, b'{', b'}']].concat();
    assert_eq!(device.publish_qos1("v1/devices/me/rpc/request/7", &time), 0);
    let message = device.next_message();
    assert_eq!(message.topic, "v1/devices/me/rpc/response/7");
    assert_eq!(message.bytes.first_chunk(), Some(&[8, 7, 0x12]), "requestId and payload");
    let limits = [&[0x0a, 16][..], b"getSessionLimits", &[0x12, 2, b'{', b'}']].concat();
    assert_eq!(device.publish_qos1("v1/devices/me/rpc/request/8", &limits), 0);
    let message = device.next_message();
    assert_eq!(message.bytes.first_chunk(), Some(&[8, 8, 0x12]));
    assert!(message.payload.contains(r#""maxPayloadSize":65536"#), "{}", message.payload);
    assert_eq!(device.publish_qos1("v1/devices/me/claim", [0x0a, 1, b's', 0x10, 1]), 0);
    assert_eq!(device.publish_qos1("v1/devices/me/claim", b""), 0);

    let open = json!({
        "name": "open", "type": "DEFAULT", "transportType": "DEFAULT", "provisionType": "ALLOW_CREATE_NEW_DEVICES",
        "provisionDeviceKey": "key",
        "profileData": {
            "provisionConfiguration": { "type": "ALLOW_CREATE_NEW_DEVICES", "provisionDeviceSecret": "secret" },
        },
    });
    server.rest().post("/api/deviceProfile", &open).expect("the profile is made");
    let mut guest = Device::connect(server.mqtt(), Version::V5, "provision");
    let known_by = |key: &str| [&[0x0a, 3][..], key.as_bytes(), &[0x12, 6], b"secret"].concat();
    let request = |key: &str| [&[0x0a, 3][..], b"new", &[0x1a, 13], &known_by(key)].concat();
    assert_eq!(guest.publish_qos1("/provision/request", request("key")), 0);
    let message = guest.next_message();
    assert_eq!(message.bytes.first_chunk(), Some(&[8, 1, 0x1a, 20]), "SUCCESS and a token of 20 characters");
    server.connect(message.payload.get(4..).expect("the token"));
    assert_eq!(guest.publish_qos1("/provision/request", request("bad")), 0);
    assert_eq!(guest.next_message().bytes, [8, 2], "NOT_FOUND");
}
