//! A device and a gateway written with the published Python SDK live their lives: they make themselves known, talk, are
//! asked, are claimed.

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

#[test]
fn the_gateway_client_of_the_python_sdk_speaks_for_its_devices() {
    let server = Server::spawn();
    let rest = server.rest();
    rest.create_gateway("site", None);
    rest.create_device("Boiler 1", Some("default"));
    rest.write_attributes("Boiler 1", "SHARED_SCOPE", &json!({ "interval": 60, "mode": "eco" }));
    let is_at = |step: i64| {
        eventually(&format!("the gateway is at step {step}"), || {
            (rest.latest("site").get("ready")? == step).then_some(())
        });
    };
    let told = std::thread::scope(|scope| {
        let script =
            scope.spawn(|| sdk(&server, "site", "gateway.py", &["Boiler 1", "Meter 2", "Thermometer"]));
        is_at(1);
        let call = json!({ "method": "echo", "params": { "pin": 7 } });
        let path = format!("/api/rpc/twoway/{}", rest.device_id("Boiler 1"));
        assert_eq!(rest.post(&path, &call).expect("the device answers"), call);
        rest.write_attributes("Meter 2", "SHARED_SCOPE", &json!({ "interval": 5 }));
        assert_eq!(rest.device("Meter 2").expect("it is made")["type"], "default");
        rest.rename_device("Meter 2", "Meter 3");
        is_at(2);
        assert_eq!(rest.device("Meter 2"), None, "the gateway has understood");
        assert_eq!(rest.latest("Meter 3")["temperature"], 21);
        rest.delete_device("Meter 3");
        let told = script.join().expect("the script ends well");
        assert_eq!(rest.latest("site")["ready"], 3);
        told
    });
    let told: Value = serde_json::from_str(told.trim()).expect("the script prints JSON");
    assert_eq!(told["client"], json!({ "id": 1, "device": "Boiler 1", "value": "sdk" }));
    let shared = json!({ "interval": 60, "mode": "eco" });
    assert_eq!(told["shared"], json!({ "id": 2, "device": "Boiler 1", "values": shared }));
    let call = json!({ "id": 0, "method": "echo", "params": { "pin": 7 } });
    assert_eq!(told["call"], json!({ "device": "Boiler 1", "data": call }));
    assert_eq!(told["update"], json!({ "device": "Meter 2", "data": { "interval": 5 } }));
    let renamed = json!({ "method": "gateway_device_renamed", "params": { "Meter 2": "Meter 3" } });
    assert_eq!(told["renamed"], renamed);
    assert_eq!(told["deleted"], json!({ "method": "gateway_device_deleted", "params": "Meter 3" }));
    assert_eq!(rest.latest("Boiler 1")["temperature"], 41.5);
    assert_eq!(rest.history("Boiler 1", "past")["past"], [(1_451_649_600_512, json!(1))]);
    assert_eq!(rest.attributes("Boiler 1", "CLIENT_SCOPE")["model"], "sdk");
    assert_eq!(rest.device("Boiler 1").expect("it is there")["type"], "default", "its profile stays");
    eventually("the gateway has gone", || rest.sessions().is_empty().then_some(()));
}
