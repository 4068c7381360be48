//! Live feeds, with clients that other people wrote. What is told to whom is tested beside the code.

use serde_json::{Value, json};

use crate::harness::{Server, eventually, websocket};

#[test]
fn websocket_client_follows_a_device() {
    let server = Server::spawn();
    let mut device = server.device("thermo");
    device.telemetry(r#"{"ts":5,"values":{"old":1}}"#);
    let id = server.rest().device_id("thermo");
    let told: Value = std::thread::scope(|scope| {
        let script = scope.spawn(|| websocket(&server, "live.py", &[&id]));
        // The subscription takes effect at some moment after the script has started, so the device goes on.
        let mut number = 0;
        eventually("the script has heard enough", || {
            number += 1;
            device.telemetry(format!("{{\"temperature\":{number}}}"));
            device.publish_qos1("v1/devices/me/attributes", format!("{{\"model\":\"M{number}\"}}"));
            script.is_finished().then_some(())
        });
        serde_json::from_str(script.join().expect("the script ends well").trim()).expect("it prints JSON")
    });
    let values = |id: &str, key: &str| -> Vec<String> {
        let messages = told[id].as_array().unwrap_or_else(|| panic!("nothing of {id} in {told}"));
        let value = |message: &Value| message["data"][key][0][1].as_str().map(str::to_owned);
        messages.iter().filter_map(value).collect()
    };
    assert!(!values("1", "temperature").is_empty() && !values("2", "model").is_empty(), "{told}");
    // None comes twice or late. Some may be left out: a message on its way while the following begins has the state told anew.
    let numbers: Vec<u64> =
        values("1", "temperature").iter().map(|text| text.parse().expect("a number")).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?} in {told}");
    assert_eq!(told["3"][0]["data"], json!({"old": [[5, "1"]]}));
    assert_eq!((&told["4"][0]["errorCode"], &told["4"][0]["data"]), (&json!(2), &json!(null)));
}

#[test]
fn a_socket_that_does_not_say_whose_it_is_is_closed() {
    let server = Server::spawn();
    let end: Value =
        serde_json::from_str(&websocket(&server, "live.py", &["silent"])).expect("it prints JSON");
    assert_eq!(end, json!({"opcode": 8, "code": 1008, "reason": "No authCmd came in time"}));
}
