//! Downloads against what a device may do to them: not acknowledge, take small packets only, begin many of them.

use wireglot_device::{DeviceDraft, OtaPackageDraft, ProfileChoice};
use wireglot_model::limits::{OTA_DOWNLOADS_REMEMBERED_MAX, OTA_REQUESTS_WAITING_MAX};
use wireglot_model::{ChecksumAlgorithm, OtaFile, OtaKind, OtaTargets, Timestamp};

use super::harness::{Client, Server, Version, connect_with, publish, wait};

const NOW: Timestamp = Timestamp(1);

/// Gives `TOK` firmware with these bytes.
fn assign(server: &Server, bytes: &[u8]) {
    let devices = &server.devices;
    let draft = OtaPackageDraft {
        kind: OtaKind::Firmware,
        profile: None,
        title: "app".into(),
        version: format!("{bytes:?}").chars().take(100).collect(),
        tag: None,
        url: None,
        additional_info: "null".into(),
    };
    let package = wait(devices.create_ota_package(draft, NOW)).unwrap().id;
    let mut file = devices.files().draft().unwrap();
    file.write(bytes).unwrap();
    let file = OtaFile {
        file: file.keep().unwrap(),
        bytes: bytes.len() as u64,
        algorithm: ChecksumAlgorithm::Md5,
        checksum: "00".into(),
        name: "app.bin".into(),
        content_type: "application/octet-stream".into(),
    };
    wait(devices.set_ota_file(package, file, NOW)).unwrap();
    let draft = DeviceDraft {
        name: "TOK".into(),
        label: None,
        profile: ProfileChoice::Default,
        additional_info: "null".into(),
        ota: OtaTargets { firmware: Some(package), software: None },
    };
    wait(devices.update_device(server.id("TOK"), draft, None, NOW)).unwrap();
}

fn connected(server: &Server, properties: &[u8]) -> Client {
    let mut client = server.client();
    client.send(&connect_with(Version::V5, "", Some("TOK"), None, 60, properties));
    assert_eq!(client.packet().0, 0x20, "CONNACK");
    client
}

fn ask(client: &mut Client, request: &str, chunk: usize, size: &str) {
    let topic = format!("v2/fw/request/{request}/chunk/{chunk}");
    client.send(&publish(Version::V5, &topic, 0, 0, size.as_bytes()));
}

/// The next publish: its packet id, topic and payload.
#[track_caller]
fn received(client: &mut Client) -> ([u8; 2], String, Vec<u8>) {
    let (kind, body) = client.packet();
    assert_eq!(kind, 0x32, "a PUBLISH at QoS 1: {body:02x?}");
    let end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
    let topic = String::from_utf8(body[2..end].to_vec()).unwrap();
    ([body[end], body[end + 1]], topic, body[end + 3..].to_vec())
}

#[track_caller]
fn answer(client: &mut Client) -> (String, Vec<u8>) {
    let (id, topic, payload) = received(client);
    client.send(&[0x40, 2, id[0], id[1]]);
    (topic, payload)
}

/// More requests than its window holds, while it owes an acknowledgement that stands behind them.
#[test]
fn acknowledgements_are_heard_behind_many_requests() {
    let server = Server::start();
    let image: Vec<u8> = (0..=254).collect();
    assign(&server, &image);
    // Receive Maximum 1.
    let mut client = connected(&server, &[0x21, 0, 1]);
    for number in 0..200 {
        ask(&mut client, "1", number, "1");
    }
    for number in 0..200 {
        let (topic, payload) = answer(&mut client);
        assert_eq!(
            (topic, payload.as_slice()),
            (format!("v2/fw/response/1/chunk/{number}"), &image[number..=number])
        );
    }
    client.expect_alive();
}

#[test]
fn requests_that_wait_for_acknowledgements_are_bounded() {
    let server = Server::start();
    assign(&server, b"image");
    let mut client = connected(&server, &[0x21, 0, 1]);
    ask(&mut client, "1", 0, "1");
    received(&mut client);
    for _ in 0..=OTA_REQUESTS_WAITING_MAX + 1 {
        ask(&mut client, "1", 1, "1");
    }
    client.expect_close(Version::V5, 0x97);
}

#[test]
fn a_part_that_the_device_does_not_take_is_refused() {
    let server = Server::start();
    assign(&server, &[7; 1_000]);
    // Maximum Packet Size 200.
    let mut client = connected(&server, &[0x27, 0, 0, 0, 200]);
    ask(&mut client, "1", 0, "100");
    assert_eq!(answer(&mut client).1, [7; 100]);
    ask(&mut client, "1", 0, "400");
    assert_eq!(answer(&mut client), ("v2/fw/error".to_owned(), b"PAYLOAD_TOO_LARGE".to_vec()));
}

#[test]
fn so_many_downloads_are_remembered() {
    let server = Server::start();
    assign(&server, b"old");
    let mut client = connected(&server, &[]);
    let ids: Vec<String> = (0..=OTA_DOWNLOADS_REMEMBERED_MAX).map(|id| id.to_string()).collect();
    for id in &ids {
        ask(&mut client, id, 0, "9");
        assert_eq!(answer(&mut client).1, b"old");
    }
    assign(&server, b"new");
    for id in ids.iter().skip(1) {
        ask(&mut client, id, 0, "");
        assert_eq!(answer(&mut client).1, b"old", "{id}");
    }
    ask(&mut client, "0", 0, "9");
    assert_eq!(answer(&mut client).1, b"new", "the one used longest ago was forgotten");
}
