//! A device written with the published Python SDK lives its life: it makes itself known, talks, is asked, is claimed.

use serde_json::{Value, json};

use crate::harness::{Server, eventually, sdk};

const KEY: &str = "key-of-the-sdk";
const SECRET: &str = "secret-of-the-sdk";
const DEVICE: &str = "made-by-itself";

fn profile(server: &Server) {
    let strategy = "ALLOW_CREATE_NEW_DEVICES";
    let profile = json!({
        "name": "self-made", "type": "DEFAULT", "transportType": "DEFAULT", "provisionType": strategy,
        "provisionDeviceKey": KEY,
        "profileData": {"provisionConfiguration": {"type": strategy, "provisionDeviceSecret": SECRET}},
    });
    server.rest().post("/api/deviceProfile", &profile).expect("the profile is made");
}

fn is_ready(server: &Server) -> Option<Value> {
    let device = server.rest().get(&format!("/api/tenant/devices?deviceName={DEVICE}")).ok()?;
    (server.rest().latest(DEVICE).get("ready")? == true).then_some(device)
}

#[test]
fn the_python_sdk_lives_a_whole_life() {
    let server = Server::spawn();
    profile(&server);
    let told = std::thread::scope(|scope| {
        let script = scope.spawn(|| sdk(&server, "none", "life.py", &[KEY, SECRET, DEVICE]));
        let device = eventually("the device is ready", || is_ready(&server));
        let call = json!({"method": "echo", "params": {"pin": 7}});
        let path = format!("/api/rpc/twoway/{}", device["id"]["id"].as_str().expect("an id"));
        assert_eq!(server.rest().post(&path, &call).expect("the device answers"), call);
        server.rest().write_attributes(DEVICE, "SHARED_SCOPE", &json!({"interval": 60}));
        script.join().expect("the script ends well")
    });
    let told: Value = serde_json::from_str(told.trim()).expect("the script prints JSON");
    assert_eq!((&told["call"], &told["update"]), (&json!("echo"), &json!({"interval": 60})));
    assert_eq!(told["attributes"], json!({"client": {"model": "sdk"}}));
    assert!(told["now"]["currentTime"].as_i64().is_some_and(|now| now > 1_700_000_000_000), "{told}");
    assert_eq!(server.rest().latest(DEVICE)["temperature"], 41.5);
    assert_eq!(server.rest().history(DEVICE, "past")["past"], [(1_451_649_600_512, json!(1))]);
    assert_eq!(server.rest().attributes(DEVICE, "CLIENT_SCOPE")["model"], "sdk");
}
