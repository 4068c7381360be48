//! When devices were there: server attributes, and the list of sessions.

use serde_json::{Map, Value, json};

use crate::harness::{Server, eventually};

fn server_attributes(server: &Server, device: &str) -> Map<String, Value> {
    server.rest().attributes(device, "SERVER_SCOPE")
}

fn time(attributes: &Map<String, Value>, key: &str) -> i64 {
    attributes.get(key).and_then(Value::as_i64).unwrap_or(0)
}

// 341, 342, 343, 345
#[test]
fn coming_going_and_silence_are_told() {
    let settings = [("WIREGLOT_DEVICE_CHECK_S", "1"), ("WIREGLOT_DEVICE_INACTIVITY_S", "3600")];
    let server = Server::spawn_with(&settings);
    let mut device = server.device("thermo");
    let connected = eventually("the device is told to be active", || {
        let told = server_attributes(&server, "thermo");
        (told.get("active") == Some(&json!(true))).then_some(told)
    });
    assert!(time(&connected, "lastConnectTime") > 1_600_000_000_000);
    assert_eq!(time(&connected, "lastActivityTime"), time(&connected, "lastConnectTime"));
    assert_eq!(connected.get("lastDisconnectTime"), None);

    device.ping();
    eventually("a sign of life is told", || {
        let told = server_attributes(&server, "thermo");
        (time(&told, "lastActivityTime") > time(&connected, "lastActivityTime")).then_some(())
    });
    drop(device);
    let gone = eventually("the end of the session is told", || {
        Some(server_attributes(&server, "thermo")).filter(|told| told.contains_key("lastDisconnectTime"))
    });
    assert_eq!(gone["active"], json!(true), "who goes is not inactive yet");

    let server = server.kill_9().restart();
    let again = server_attributes(&server, "thermo");
    for key in ["active", "lastConnectTime", "lastDisconnectTime", "lastActivityTime"] {
        assert_eq!(again[key], gone[key], "{key} survives");
    }
    server.rest().write_attributes("thermo", "SERVER_SCOPE", &json!({ "inactivityTimeout": 5 }));
    let silent = eventually("the device is inactive", || {
        Some(server_attributes(&server, "thermo")).filter(|told| told["active"] == json!(false))
    });
    assert!(time(&silent, "inactivityAlarmTime") > time(&silent, "lastActivityTime"));
    let mut device = server.connect("thermo");
    device.telemetry(r#"{"t":1}"#);
    server.rest().delete_attributes("thermo", "SERVER_SCOPE", "inactivityTimeout");
    eventually("it is back", || {
        (server_attributes(&server, "thermo").get("active") == Some(&json!(true))).then_some(())
    });
    assert!(server.metrics().value("wireglot_devices_inactive_total", &[]) >= 1.0);
}

#[test]
fn sessions_are_listed_while_they_are_open() {
    let server = Server::spawn();
    let list =
        |query: &str| server.rest().get(&format!("/api/sessions?pageSize=10&page=0{query}")).expect("a page");
    assert_eq!(list("")["totalElements"], 0);
    let mut one = server.device("one");
    let two = server.device_of("default", "two");
    one.telemetry(r#"{"t":1}"#);
    let page = list("&sortProperty=deviceName");
    assert_eq!(page["totalElements"], 2);
    let names = ["deviceName", "deviceProfileName", "mqttVersion"];
    let told =
        |index: usize| names.map(|name| page["data"][index][name].as_str().unwrap_or_default().to_owned());
    assert_eq!(
        (told(0), told(1)),
        (["one", "default", "3.1.1"].map(Into::into), ["two", "default", "5"].map(Into::into))
    );
    let first = &page["data"][0];
    assert!(first["address"].as_str().is_some_and(|address| address.starts_with("127.0.0.1:")), "{first}");
    assert!(first["lastActivity"].as_i64() >= first["connectedSince"].as_i64(), "{first}");
    assert_eq!(first["inFlight"], 0);
    drop(two);
    eventually("the list is shorter", || (list("")["totalElements"] == 1).then_some(()));
    assert_eq!(list("&textSearch=nobody")["totalElements"], 0);
}

#[test]
fn many_devices_that_come_and_go_at_once_are_all_told_of_in_few_commits() {
    const DEVICES: usize = 300;
    let server = Server::spawn();
    let mut devices: Vec<_> = (0..DEVICES).map(|number| server.device(&format!("device-{number}"))).collect();
    let commits = server.metrics().value("wireglot_store_commits_total", &[]);
    devices.iter_mut().for_each(|device| device.ping());
    drop(devices);
    for number in 0..DEVICES {
        eventually("each one is told to have gone", || {
            let told = server_attributes(&server, &format!("device-{number}"));
            told.contains_key("lastDisconnectTime").then_some(())
        });
    }
    let commits = server.metrics().value("wireglot_store_commits_total", &[]) - commits;
    assert!(commits < 100.0, "{commits} commits for {DEVICES} devices");
}

#[test]
fn a_server_that_is_asked_to_stop_tells_that_its_devices_went() {
    let mut server = Server::spawn();
    let device = server.device("thermo");
    let stop = std::process::Command::new("kill").args(["-TERM", &server.pid().to_string()]).status();
    assert!(stop.expect("kill is there").success());
    eventually("the server has ended", || (!server.is_running()).then_some(()));
    let server = server.kill_9().restart();
    let told = server_attributes(&server, "thermo");
    assert!(time(&told, "lastDisconnectTime") >= time(&told, "lastConnectTime"), "{told:?}");
    assert!(time(&told, "lastActivityTime") > 0, "{told:?}");
    drop(device);
}
