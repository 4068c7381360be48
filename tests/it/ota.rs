//! Updates over the air: packages come in by REST, devices are told of them and fetch them in chunks.

use serde_json::{Value, json};
use wireglot_load::download;
use wireglot_load::wire::{self, Version};

use crate::harness::{Closed, Device, Server, eventually, patiently, sdk};

const ATTRIBUTES: &str = "v1/devices/me/attributes";
const ALGORITHMS: [&str; 7] = ["MD5", "SHA256", "SHA384", "SHA512", "CRC32", "MURMUR3_32", "MURMUR3_128"];
const CHUNK: usize = 65_536;

/// Letters that say where they stand, so that no two chunks are alike.
pub(crate) fn image(bytes: usize, salt: usize) -> String {
    let letters = (0..).flat_map(|line: usize| format!("line {line} of {salt}|").into_bytes());
    String::from_utf8(letters.take(bytes).collect()).expect("letters are text")
}

/// The chunk of this number.
fn part(image: &str, number: usize, bytes: usize) -> &str {
    let bytes = image.as_bytes().chunks(bytes).nth(number).expect("a chunk within the file");
    std::str::from_utf8(bytes).expect("letters of one byte")
}

fn create(server: &Server, kind: &str, version: &str, more: &Value) -> Value {
    let mut package =
        json!({ "title": "app", "version": version, "type": kind, "tag": "", "usesUrl": false });
    for (name, value) in more.as_object().into_iter().flatten() {
        package[name] = value.clone();
    }
    let made = server.rest().post("/api/otaPackage", &package).expect("the package is made");
    made["id"].clone()
}

fn path(package: &Value) -> String {
    format!("/api/otaPackage/{}", package["id"].as_str().expect("an id"))
}

/// A package with this file.
pub(crate) fn publish(server: &Server, kind: &str, version: &str, image: &str) -> Value {
    let package = create(server, kind, version, &json!({}));
    let upload = format!("{}?checksumAlgorithm=SHA256", path(&package));
    server.rest().post_file(&upload, image.as_bytes()).expect("the file is taken");
    package
}

/// Saves the device again with another package, as a client does that has read it.
pub(crate) fn assign(server: &Server, device: &str, member: &str, package: &Value) {
    let mut shape =
        server.rest().get(&format!("/api/tenant/device?deviceName={device}")).expect("the device");
    shape[member] = package.clone();
    let saved = server.rest().post("/api/device", &shape).expect("the device is saved");
    assert_eq!(saved[member]["id"], package["id"]);
}

/// The next two messages: what is deleted, and what is written.
fn told(device: &mut Device) -> (Value, Value) {
    let [deleted, written] = [device.next_message(), device.next_message()].map(|message| {
        assert_eq!(message.topic, ATTRIBUTES);
        serde_json::from_str::<Value>(&message.payload).expect("JSON")
    });
    (deleted, written)
}

/// Asks for one chunk and insists on it.
#[track_caller]
fn chunk(device: &mut Device, kind: &str, request: &str, number: usize, size: &str) -> String {
    let topic = format!("v2/{kind}/request/{request}/chunk/{number}");
    assert_eq!(device.publish_qos1(&topic, size), 0);
    let answer = device.next_message();
    assert_eq!(answer.topic, format!("v2/{kind}/response/{request}/chunk/{number}"));
    answer.payload
}

#[track_caller]
fn refused(device: &mut Device, kind: &str, size: &str, words: &str) {
    assert_eq!(device.publish_qos1(&format!("v2/{kind}/request/9/chunk/0"), size), 0);
    let answer = device.next_message();
    assert_eq!((answer.topic.as_str(), answer.payload.as_str()), (&*format!("v2/{kind}/error"), words));
}

// 272, 273, 274, 275, 276, 277, 285
#[test]
fn a_device_is_told_of_its_firmware_and_fetches_it() {
    let server = Server::spawn();
    let mut device = server.device("thermo");
    assert_eq!(device.subscribe(ATTRIBUTES), 1);
    let image = image(1_000, 1);
    let firmware = publish(&server, "FIRMWARE", "1.0", &image);
    assign(&server, "thermo", "firmwareId", &firmware);

    let (deleted, written) = told(&mut device);
    assert_eq!(deleted, json!({ "deleted": ["fw_tag", "fw_url"] }));
    let info = server.rest().get(&path(&firmware).replace("otaPackage/", "otaPackage/info/")).expect("facts");
    let expected = json!({
        "fw_title": "app", "fw_version": "1.0", "fw_size": 1_000,
        "fw_checksum_algorithm": "SHA256", "fw_checksum": info["checksum"],
    });
    assert_eq!(written, expected);
    assert_eq!(Value::from(server.rest().attributes("thermo", "SHARED_SCOPE")), expected);
    let history = server.rest().history("thermo", "fw_state,target_fw_title,target_fw_version,target_fw_ts");
    let states: Vec<&Value> = history["fw_state"].iter().map(|(_, state)| state).collect();
    assert_eq!(states, ["QUEUED", "INITIATED"]);
    assert_eq!(history["target_fw_version"].last().expect("a version").1, "1.0");
    assert!(history["target_fw_ts"].last().expect("a time").1.is_i64());

    let parts = [0, 1, 2, 3].map(|number| chunk(&mut device, "fw", "1", number, "400"));
    assert_eq!(parts.each_ref().map(String::len), [400, 400, 200, 0]);
    assert_eq!(parts.concat(), image);
    assert_eq!(chunk(&mut device, "fw", "1", 1, ""), parts[1], "the size is remembered");
    assert_eq!(chunk(&mut device, "fw", "2", 5, ""), image, "without a size it is everything");

    assign(&server, "thermo", "firmwareId", &Value::Null);
    let withdrawn: Value = serde_json::from_str(&device.next_message().payload).expect("JSON");
    assert_eq!(withdrawn["deleted"].as_array().map(Vec::len), Some(9));
    assert!(server.rest().attributes("thermo", "SHARED_SCOPE").is_empty());
}

// 278, 279, 280, 281: the session stays
#[test]
fn what_cannot_be_had_is_said_on_the_error_topic() {
    let server = Server::spawn();
    let mut device = server.device("thermo");
    refused(&mut device, "fw", "400", "NOT_FOUND");
    refused(&mut device, "sw", "400", "NOT_FOUND");
    refused(&mut device, "fw", "65537", "PAYLOAD_TOO_LARGE");
    let elsewhere = json!({ "usesUrl": true, "url": "http://firmware.example/app.bin" });
    let elsewhere = create(&server, "FIRMWARE", "1", &elsewhere);
    assert_eq!(device.subscribe(ATTRIBUTES), 1);
    assign(&server, "thermo", "firmwareId", &elsewhere);
    let (_, written) = told(&mut device);
    assert_eq!(written["fw_url"], "http://firmware.example/app.bin");
    refused(&mut device, "fw", "400", "FAILURE");
    let large = publish(&server, "SOFTWARE", "2", &image(1024 * 1024 + 1, 2));
    assign(&server, "thermo", "softwareId", &large);
    told(&mut device);
    refused(&mut device, "sw", "0", "PAYLOAD_TOO_LARGE");
    assert_eq!(chunk(&mut device, "sw", "9", 16, "65536").len(), 1, "in chunks it is to be had");

    assert_eq!(device.publish_qos1("v2/fw/request/1/chunk/0", "abc"), 0, "3.1.1 knows no other answer");
    let letters = server.rest().dead_letters("thermo");
    assert!(letters[0]["reason"].as_str().is_some_and(|reason| reason.contains("size of a chunk")));
    let mut five = Device::connect(server.mqtt(), Version::V5, "thermo");
    assert_eq!(five.publish_qos1("v2/fw/request/1/chunk/0", "abc"), 0x99);
    refused(&mut five, "fw", "400", "FAILURE");
}

// 282, 283, 284
#[test]
fn a_download_goes_on_with_the_package_that_it_began_with() {
    let server = Server::spawn();
    let profile = server.rest().create_profile("pump", &json!({ "type": "MQTT" }));
    let mut device = server.device_of("pump", "pump-1");
    let (old, new) = (image(300, 1), image(300, 2));
    let first = publish(&server, "SOFTWARE", "1", &old);
    let second = publish(&server, "SOFTWARE", "2", &new);
    let assign_profile = |package: &Value| {
        let path = format!("/api/deviceProfile/{profile}");
        let mut shape = server.rest().get(&path).expect("the profile");
        shape["softwareId"] = package.clone();
        server.rest().post("/api/deviceProfile", &shape).expect("the profile is saved");
    };
    assign_profile(&first);
    assert_eq!(chunk(&mut device, "sw", "1", 0, "200"), part(&old, 0, 200));
    refused(&mut device, "fw", "200", "NOT_FOUND");
    let used = server.rest().delete(&path(&first)).expect_err("it is in use");
    assert!(used.status == 400 && used.mentions("cannot be deleted"), "{used:?}");

    assign_profile(&second);
    server.rest().delete(&path(&first)).expect("nobody is to have it");
    assert_eq!(chunk(&mut device, "sw", "1", 1, "200"), part(&old, 1, 200), "what has begun goes on");
    assert_eq!(chunk(&mut device, "sw", "2", 0, "200"), part(&new, 0, 200));
    let own = image(300, 3);
    assign(&server, "pump-1", "softwareId", &publish(&server, "SOFTWARE", "3", &own));
    assert_eq!(chunk(&mut device, "sw", "3", 0, "0"), own, "its own comes first");

    let server = server.kill_9().restart();
    let mut device = server.connect("pump-1");
    assert_eq!(chunk(&mut device, "sw", "1", 0, "0"), own);
    let info = server.rest().get(&path(&first).replace("otaPackage/", "otaPackage/info/"));
    assert_eq!(info.expect_err("it was deleted").status, 404);
}

#[test]
fn a_package_is_checked_when_it_comes_in() {
    let server = Server::spawn();
    let rest = server.rest();
    let text = "The quick brown fox jumps over the lazy dog";
    for algorithm in ALGORITHMS {
        let package = create(&server, "FIRMWARE", algorithm, &json!({}));
        let wrong = format!("{}?checksumAlgorithm={algorithm}&checksum=00ff", path(&package));
        let refusal = rest.post_file(&wrong, text.as_bytes()).expect_err("another checksum");
        assert!(refusal.status == 400 && refusal.mentions("Wrong otaPackage file"), "{refusal:?}");
        let upload = format!("{}?checksumAlgorithm={algorithm}", path(&package));
        let made = rest.post_file(&upload, text.as_bytes()).expect("a checksum is made");
        assert_eq!((&made["checksumAlgorithm"], &made["dataSize"]), (&json!(algorithm), &json!(text.len())));
        let other = create(&server, "SOFTWARE", &format!("{algorithm}, again"), &json!({}));
        let checksum = made["checksum"].as_str().expect("a checksum").to_uppercase();
        let right = format!("{}?checksumAlgorithm={algorithm}&checksum={checksum}", path(&other));
        rest.post_file(&right, text.as_bytes()).expect("the right checksum");
        if algorithm == "CRC32" {
            assert_eq!(made["checksum"], "39a34f41", "its lowest byte comes first");
        }
        assert_eq!(rest.get(&format!("{}/download", path(&package))).expect("the file"), text);
    }
    let page = rest.get("/api/otaPackages?pageSize=5&page=0&textSearch=again").expect("a page");
    assert_eq!(page["totalElements"], ALGORITHMS.len());
    let profile = rest.get("/api/deviceProfileInfo/default").expect("a profile")["id"]["id"].clone();
    let of_profile =
        format!("/api/otaPackages/{}/SOFTWARE?pageSize=9&page=0", profile.as_str().expect("an id"));
    assert_eq!(rest.get(&of_profile).expect("a page")["totalElements"], ALGORITHMS.len());
    let empty = create(&server, "FIRMWARE", "empty", &json!({}));
    let device = json!({ "name": "d", "firmwareId": empty });
    let refusal = rest.post("/api/device", &device).expect_err("there is no file yet");
    assert!(refusal.mentions("empty data"), "{refusal:?}");
}

#[test]
fn a_package_that_is_too_large_is_refused_and_leaves_nothing() {
    let limits = [("WIREGLOT_OTA_PACKAGE_MIB_MAX", "1"), ("WIREGLOT_OTA_PACKAGES_MIB_MAX", "1")];
    let server = Server::spawn_with(&limits);
    let package = create(&server, "FIRMWARE", "1", &json!({}));
    let refusal = server.rest().post_file(&path(&package), image(1024 * 1024 + 1, 1).as_bytes());
    let refusal = refusal.expect_err("one byte too many");
    assert!(refusal.status == 413 && refusal.mentions("ota_package_mib_max"), "{refusal:?}");
    server.rest().post_file(&path(&package), image(1024 * 1024, 1).as_bytes()).expect("all of the room");
    let another = create(&server, "FIRMWARE", "2", &json!({}));
    let refusal = server.rest().post_file(&path(&another), b"x").expect_err("no room is left");
    assert!(refusal.mentions("ota_packages_mib_max"), "{refusal:?}");
    server.rest().delete(&path(&package)).expect("deleted");
    eventually("there is room again", || server.rest().post_file(&path(&another), b"x").ok());
}

/// The SDK of the device API asks for what it needs, fetches it and verifies it, all by its own code.
#[test]
fn the_python_sdk_fetches_firmware_and_verifies_it() {
    let server = Server::spawn();
    let image = image(100_000, 1);
    for (algorithm, chunk_bytes) in [("MURMUR3_128", "4096"), ("CRC32", "0")] {
        let package = create(&server, "FIRMWARE", algorithm, &json!({}));
        let upload = format!("{}?checksumAlgorithm={algorithm}", path(&package));
        server.rest().post_file(&upload, image.as_bytes()).expect("the file is taken");
        server.rest().create_device(algorithm, None);
        assign(&server, algorithm, "firmwareId", &package);
        eventually("the device is told", || {
            (server.rest().latest(algorithm).get("fw_state")? == "INITIATED").then_some(())
        });
        let said = sdk(&server, algorithm, "firmware.py", &[chunk_bytes]);
        assert_eq!(said.trim(), format!("{} {algorithm}", image.len()), "bytes and version");
        assert_eq!(server.rest().latest(algorithm)["fw_state"], "VERIFIED");
    }
}

/// What is on its way from the disk is shared by all: their number makes no difference to it.
#[test]
fn a_hundred_devices_download_within_a_few_megabytes() {
    const DEVICES: usize = 100;
    let server = Server::spawn();
    let image = image(2 * 1024 * 1024, 1);
    let firmware = publish(&server, "FIRMWARE", "1", &image);
    server.rest().create_profile("fleet", &json!({ "type": "MQTT" }));
    for number in 0..DEVICES {
        let device = json!({ "name": format!("fleet-{number}"), "type": "fleet", "firmwareId": firmware });
        let path = format!("/api/device?accessToken=fleet-{number}");
        server.rest().post(&path, &device).expect("the device is made");
    }
    eventually("all devices are told", || {
        let told = (0..DEVICES)
            .all(|number| server.rest().latest(&format!("fleet-{number}"))["fw_state"] == "INITIATED");
        told.then_some(())
    });
    let plan = |devices| download::Plan {
        address: server.mqtt(),
        devices,
        name: "fleet-{}".into(),
        file: image.as_bytes(),
        chunk_bytes: CHUNK,
        server: server.pid(),
    };
    // The first download starts the threads that read.
    download::fetch(&plan(1)).expect("every byte is there");
    let fetched = download::fetch(&plan(DEVICES)).expect("every byte is there");
    eprintln!("{fetched:?}");
    assert!(fetched.extra_kib() < 12 * 1024, "{fetched:?}");
}

/// A device that asks for more than it reads waits for itself: its answers come in order, and nobody else's are late.
#[test]
fn a_device_that_reads_late_holds_up_nobody() {
    let server = Server::spawn();
    let image = image(8 * 1024 * 1024, 1);
    let firmware = publish(&server, "FIRMWARE", "1", &image);
    let (mut lazy, mut busy) = (server.device("lazy"), server.device("busy"));
    assign(&server, "lazy", "firmwareId", &firmware);
    assign(&server, "busy", "firmwareId", &firmware);
    let chunks = image.len() / CHUNK;
    // More than its window and what the system holds for it.
    for round in 0..3 {
        for number in 0..chunks {
            let topic = format!("v2/fw/request/{round}/chunk/{number}");
            lazy.send(&wire::publish(Version::V3, &topic, 0, 0, b"65536"));
        }
    }
    for number in 0..chunks / 4 {
        assert_eq!(chunk(&mut busy, "fw", "1", number, "65536"), part(&image, number, CHUNK));
    }
    for round in 0..3 {
        for number in 0..chunks {
            let answer = lazy.next_message();
            assert_eq!(answer.topic, format!("v2/fw/response/{round}/chunk/{number}"));
            assert!(answer.payload == part(&image, number, CHUNK), "chunk {number} is another one");
        }
    }
}

/// What it was sent takes up memory that others wait for.
#[test]
fn a_device_that_never_reads_is_disconnected() {
    let server = Server::spawn();
    let image = image(8 * 1024 * 1024, 1);
    let mut deaf = server.device("deaf");
    assign(&server, "deaf", "firmwareId", &publish(&server, "FIRMWARE", "1", &image));
    for number in 0..3 * image.len() / CHUNK {
        let topic = format!("v2/fw/request/1/chunk/{}", number % (image.len() / CHUNK));
        deaf.send(&wire::publish(Version::V3, &topic, 0, 0, b"65536"));
    }
    patiently("it is given up", || {
        (server.metrics().value("wireglot_ota_timeouts_total", &[]) > 0.0).then_some(())
    });
    assert_eq!(deaf.closed(), Closed::Silently);
}

/// The parser of forms holds what it cannot make sense of, so it is not given much of that.
#[test]
fn a_form_without_a_boundary_is_refused_before_it_has_arrived() {
    let server = Server::spawn();
    let package = create(&server, "FIRMWARE", "1", &json!({}));
    let kind = "multipart/form-data; boundary=frontier";
    let mut form = server.bare_post(&path(&package), kind, 1024 * 1024 * 1024);
    // More than it needs to see, and no more: the rest never comes.
    form.send(image(72 * 1024, 1).as_bytes());
    let (status, answer) = form.answer();
    let message = answer["message"].as_str().expect("a reason");
    assert!(status == 400 && message.contains("is the boundary in its Content-Type"), "{status} {message}");
    server.rest().post_file(&path(&package), b"whole").expect("the package takes its file all the same");
}
