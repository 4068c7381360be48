//! Clients that other people wrote, with the lines that the documents give them.

use serde_json::json;

use crate::harness::{Server, eventually, node, python, shell};

/// The documents write the host and the token as shell variables, and quotes where the shell eats them.
const PUBLISH: &str = r#"mosquitto_pub -d -q 1 -h "$THINGSBOARD_HOST_NAME" -p "$MQTT_PORT""#;

#[test]
fn mosquitto_pub_with_the_lines_of_the_documents() {
    let server = Server::spawn();
    server.rest().create_device("thermo", None);
    let say = |rest: &str| shell(&server, "thermo", &format!("{PUBLISH} {rest}"));
    say(r#"-t "v1/devices/me/telemetry" -u "$ACCESS_TOKEN" -m {"temperature":25}"#);
    assert_eq!(server.rest().latest("thermo")["temperature"], 25);
    say(r#"-t "v1/devices/me/telemetry" -u "$ACCESS_TOKEN" -m "{"temperature":26, "on":true}""#);
    assert_eq!(server.rest().latest("thermo")["temperature"], 26);
    say(
        r#"-t "v1/devices/me/attributes" -u "$ACCESS_TOKEN" -m "{"attribute1": "value1", "attribute2": true}""#,
    );
    let attributes = server.rest().attributes("thermo", "CLIENT_SCOPE");
    assert_eq!((&attributes["attribute1"], &attributes["attribute2"]), (&json!("value1"), &json!(true)));

    std::fs::write(server.scratch().join("telemetry.json"), r#"{"from":"a file"}"#).expect("a scratch file");
    for version in ["mqttv311", "mqttv5"] {
        for qos in [0, 1, 2] {
            let from_file = r#"-t "v1/devices/me/telemetry" -u "$ACCESS_TOKEN" -f "telemetry.json""#;
            say(&format!("-V {version} -q {qos} {from_file}"));
        }
    }
    assert_eq!(server.rest().latest("thermo")["from"], "a file");
}

#[test]
fn mosquitto_is_told_why_it_may_not_connect() {
    let server = Server::spawn();
    let code = |arguments: &str| {
        let line =
            format!(r#"{PUBLISH} -t v1/devices/me/telemetry {arguments} -m 1 >/dev/null 2>&1; echo $?"#);
        shell(&server, "nobody", &line).trim().to_owned()
    };
    assert_eq!(code(r#"-V mqttv311 -u "$ACCESS_TOKEN""#), "5");
    assert_eq!(code("-V mqttv311 -i some-id"), "4");
    assert_eq!(code(r#"-V mqttv5 -u "$ACCESS_TOKEN""#), "134");
}

#[test]
fn mosquitto_sub_hears_shared_attributes() {
    let server = Server::spawn();
    let id = server.rest().create_device("thermo", None);
    std::thread::scope(|scope| {
        let heard = scope.spawn(|| {
            let line = r#"mosquitto_sub -C 1 -h "$THINGSBOARD_HOST_NAME" -p "$MQTT_PORT" -t "v1/devices/me/attributes" -u "$ACCESS_TOKEN""#;
            shell(&server, "thermo", line)
        });
        // The subscription takes effect at some moment after the tool has started, so the write is repeated.
        let mut interval = 0;
        eventually("mosquitto_sub has heard something", || {
            interval += 1;
            let path = format!("/api/plugins/telemetry/DEVICE/{id}/attributes/SHARED_SCOPE");
            server.rest().post(&path, &json!({ "interval": interval })).expect("the attribute is written");
            heard.is_finished().then_some(())
        });
        let heard = heard.join().expect("the tool ends well");
        assert!(heard.starts_with(r#"{"interval":"#), "{heard}");
    });
}

#[test]
fn mqtt_js_talks_to_the_device_api() {
    let server = Server::spawn();
    for version in ["4", "5"] {
        let name = format!("node-{version}");
        prepare(&server, &name);
        check(&server, &name, &node(&server, &name, "device.js", &[version]));
    }
}

#[test]
fn mqtt_js_calls_and_is_called() {
    let server = Server::spawn();
    for version in ["4", "5"] {
        let name = format!("caller-{version}");
        let id = server.rest().create_device(&name, None);
        let told = std::thread::scope(|scope| {
            let script = scope.spawn(|| node(&server, &name, "calls.js", &[version]));
            let call = json!({"method": "setGpio", "params": {"pin": "23", "value": 1}, "timeout": 20_000});
            let answer = server.rest().post(&format!("/api/rpc/twoway/{id}"), &call);
            assert_eq!(answer.expect("the device answers"), json!({"did": "setGpio"}));
            script.join().expect("the script ends well")
        });
        let told: serde_json::Value = serde_json::from_str(told.trim()).expect("the script prints JSON");
        assert_eq!(told["answered"], "v1/devices/me/rpc/response/1");
        assert!(told["time"]["currentTime"].is_i64(), "{told}");
        assert_eq!(told["asked"], "v1/devices/me/rpc/request/0");
        assert_eq!(told["request"], json!({"method": "setGpio", "params": {"pin": "23", "value": 1}}));
    }
}

#[test]
fn paho_talks_to_the_device_api() {
    let server = Server::spawn();
    for version in ["4", "5"] {
        let name = format!("paho-{version}");
        prepare(&server, &name);
        check(&server, &name, &python(&server, &name, "device.py", &[version]));
    }
}

fn prepare(server: &Server, name: &str) {
    server.rest().create_device(name, None);
    server.rest().write_attributes(name, "SHARED_SCOPE", &json!({ "interval": 60 }));
}

/// Both scripts do the same: telemetry at every QoS, an attribute, and an attribute request whose answer they print.
#[track_caller]
fn check(server: &Server, name: &str, said: &str) {
    let answer: serde_json::Value = serde_json::from_str(said.trim()).expect("the script prints the answer");
    assert_eq!(answer, json!({ "client": { "model": "M1" }, "shared": { "interval": 60 } }));
    let latest = server.rest().latest(name);
    assert_eq!((&latest["q0"], &latest["q1"], &latest["q2"]), (&json!(0), &json!(1), &json!(2)));
}
