//! Group P: firmware and software over the air.

use serde_json::{Value, json};

use super::case::{ATTRIBUTES, Case, Row, both};
use super::client::{Client, Outcome};
use crate::harness::eventually;

const BYTES: usize = 1_000;

pub(super) const ROWS: &[Row] = &[
    both(272, "firmware is assigned to a subscribed device", |c| {
        let mut client = c.client();
        assert_eq!(client.subscribe(ATTRIBUTES), 1);
        assign(c, "firmwareId", &firmware(c, "1.0", 1));
        let messages = [client.json_on(ATTRIBUTES), client.json_on(ATTRIBUTES)];
        let deleted = messages.iter().find(|message| message.get("deleted").is_some()).expect("a deletion");
        let gone = deleted["deleted"].as_array().expect("a list");
        assert!(gone.contains(&json!("fw_url")), "{deleted}");
        let told = messages.iter().find(|message| message.get("fw_title").is_some()).expect("the firmware");
        assert_eq!((&told["fw_title"], &told["fw_version"]), (&json!(c.name()), &json!("1.0")));
        assert_eq!(told["fw_size"], BYTES);
        for key in ["fw_checksum_algorithm", "fw_checksum"] {
            assert!(told[key].as_str().is_some_and(|text| !text.is_empty()), "{told}");
        }
    }),
    both(273, "telemetry of the device then", |c| {
        let _client = c.client();
        assign(c, "firmwareId", &firmware(c, "1.0", 1));
        eventually("the update is announced", || {
            (c.latest().get("fw_state") == Some(&json!("INITIATED"))).then_some(())
        });
        let latest = c.latest();
        assert_eq!(
            (&latest["target_fw_title"], &latest["target_fw_version"]),
            (&json!(c.name()), &json!("1.0"))
        );
        assert!(latest["target_fw_ts"].is_i64(), "{latest:?}");
        let states: Vec<Value> = c.points("fw_state").into_iter().map(|(_, state)| state).collect();
        assert_eq!(states, [json!("QUEUED"), json!("INITIATED")]);
    }),
    both(274, "three chunks of 400", |c| {
        let mut client = with_firmware(c);
        for (number, length) in [(0, 400), (1, 400), (2, 200)] {
            let chunk = chunk(&mut client, "fw", "1", number, "400");
            assert_eq!(chunk, content(1)[number * 400..number * 400 + length], "chunk {number}");
        }
    }),
    both(275, "a chunk past the end", |c| {
        assert_eq!(chunk(&mut with_firmware(c), "fw", "1", 3, "400"), b"");
    }),
    both(276, "an empty payload after a size", |c| {
        let mut client = with_firmware(c);
        chunk(&mut client, "fw", "1", 0, "400");
        assert_eq!(chunk(&mut client, "fw", "1", 1, ""), content(1)[400..800]);
    }),
    both(277, "an empty payload with a fresh request id", |c| {
        assert_eq!(chunk(&mut with_firmware(c), "fw", "2", 0, ""), content(1));
    }),
    both(278, "a size of 65537", |c| {
        is_told(&mut with_firmware(c), "fw", "65537", "PAYLOAD_TOO_LARGE");
    }),
    both(279, "a size of `abc`", |c| {
        c.invalid(&mut with_firmware(c), "v2/fw/request/1/chunk/0", "abc");
    }),
    both(280, "a device without firmware", |c| is_told(&mut c.client(), "fw", "400", "NOT_FOUND")),
    both(281, "firmware that is an address", |c| {
        let mut client = c.client();
        let mut shape = package(c, "FIRMWARE", "1.0");
        shape["usesUrl"] = true.into();
        shape["url"] = "http://example.com/fw".into();
        let made = c.rest().post("/api/otaPackage", &shape).expect("a package");
        assign(c, "firmwareId", &made["id"]);
        is_told(&mut client, "fw", "400", "FAILURE");
    }),
    both(282, "software on a fresh connection", |c| {
        let mut client = c.client();
        assign(c, "softwareId", &uploaded(c, &package(c, "SOFTWARE", "1.0"), 3));
        assert_eq!(chunk(&mut client, "sw", "1", 0, "400"), content(3)[..400]);
    }),
    both(283, "new firmware: an old request id stays with the old bytes", |c| {
        let mut client = with_firmware(c);
        chunk(&mut client, "fw", "1", 0, "400");
        assign(c, "firmwareId", &firmware(c, "2.0", 2));
        assert_eq!(chunk(&mut client, "fw", "1", 1, "400"), content(1)[400..800]);
        assert_eq!(chunk(&mut client, "fw", "2", 1, "400"), content(2)[400..800]);
    }),
    both(284, "firmware of the profile", |c| {
        c.save_profile(&c.name(), json!({}));
        c.rest().create_device(&c.name(), Some(&c.name()));
        let mut client = c.connect(&c.name());
        let firmware = firmware(c, "1.0", 1);
        let profile =
            c.rest().get(&format!("/api/device/{}", c.id())).expect("the device")["deviceProfileId"].clone();
        let path = format!("/api/deviceProfile/{}", profile["id"].as_str().expect("an id"));
        let mut profile = c.rest().get(&path).expect("the profile");
        profile["firmwareId"] = firmware;
        c.rest().post("/api/deviceProfile", &profile).expect("the profile has firmware");
        assert_eq!(chunk(&mut client, "fw", "1", 0, ""), content(1));
    }),
    both(285, "firmware is withdrawn", |c| {
        let mut client = with_firmware(c);
        eventually("the update is announced", || {
            (c.latest().get("fw_state") == Some(&json!("INITIATED"))).then_some(())
        });
        assert_eq!(client.subscribe(ATTRIBUTES), 1);
        assign(c, "firmwareId", &Value::Null);
        let mut message = client.json_on(ATTRIBUTES);
        let deleted = message["deleted"].as_array_mut().expect("a list");
        deleted.sort_by_key(ToString::to_string);
        let nine =
            ["checksum", "checksum_algorithm", "size", "state", "tag", "title", "ts", "url", "version"];
        let nine: Vec<String> = nine.iter().map(|key| format!("fw_{key}")).collect();
        assert_eq!(message["deleted"], json!(nine));
    }),
];

/// The bytes of a package, which differ with the seed.
fn content(seed: usize) -> Vec<u8> {
    (0..BYTES).map(|index| u8::try_from((index * seed + index / 256) % 256).expect("a byte")).collect()
}

/// The shape of a package with the case's name for the profile of the case's device.
#[track_caller]
fn package(c: &Case, kind: &str, version: &str) -> Value {
    let device = c.rest().get(&format!("/api/device/{}", c.id())).expect("the device");
    json!({ "title": c.name(), "version": version, "type": kind, "deviceProfileId": device["deviceProfileId"] })
}

#[track_caller]
fn firmware(c: &Case, version: &str, seed: usize) -> Value {
    uploaded(c, &package(c, "FIRMWARE", version), seed)
}

/// Makes a package, uploads its bytes and gives its id.
#[track_caller]
fn uploaded(c: &Case, shape: &Value, seed: usize) -> Value {
    let id = c.rest().post("/api/otaPackage", shape).expect("a package")["id"].clone();
    let path = format!("/api/otaPackage/{}?checksumAlgorithm=SHA256", id["id"].as_str().expect("an id"));
    let head = "--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"fw.bin\"\r\nContent-Type: application/octet-stream\r\n\r\n";
    let body = [head.as_bytes(), &content(seed), b"\r\n--edge--\r\n"].concat();
    c.rest().post_bytes(&path, &body, "multipart/form-data; boundary=edge").expect("the bytes are taken");
    id
}

/// Assigns a package to the case's device.
#[track_caller]
fn assign(c: &Case, member: &str, package: &Value) {
    let mut device = c.rest().get(&format!("/api/device/{}", c.id())).expect("the device");
    device[member] = package.clone();
    c.rest().post("/api/device", &device).expect("the package is assigned");
}

#[track_caller]
fn with_firmware(c: &Case) -> Client {
    let client = c.client();
    assign(c, "firmwareId", &firmware(c, "1.0", 1));
    client
}

#[track_caller]
fn chunk(client: &mut Client, kind: &str, request: &str, number: usize, size: &str) -> Vec<u8> {
    client.accepted(&format!("v2/{kind}/request/{request}/chunk/{number}"), size);
    let message = client.message();
    assert_eq!(message.topic, format!("v2/{kind}/response/{request}/chunk/{number}"));
    message.payload
}

/// Insists that a request is answered on the error topic, and that the session stays.
#[track_caller]
fn is_told(client: &mut Client, kind: &str, size: &str, word: &str) {
    let outcome = client.publish(&format!("v2/{kind}/request/1/chunk/0"), size);
    assert!(matches!(outcome, Outcome::Acknowledged(_)), "{outcome:?}");
    let message = client.message();
    assert_eq!((message.topic.as_str(), message.text()), (format!("v2/{kind}/error").as_str(), word));
    client.stays();
}
