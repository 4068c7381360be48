//! Edge nodes written with the libraries of other people are born, talk, are commanded and die.

use serde_json::{Value, json};

use crate::harness::{Server, eventually, patiently, plugin, sparkplug_node, sparkplug_python};

const STATE: &str = "sparkplugConnectionState";

/// An edge node whose client sends a will of QoS 0, as both libraries do.
fn prepare(server: &Server, node: &str) -> String {
    let transport = json!({
        "type": "MQTT",
        "transportPayloadTypeConfiguration": { "transportPayloadType": "JSON" },
        "sparkplug": true,
        "sparkplugWillQos0": true,
    });
    server.rest().create_profile("edge", &transport);
    server.rest().create_device(node, Some("edge"))
}

#[track_caller]
fn latest(server: &Server, device: &str, key: &str, expected: &Value) {
    eventually(&format!("{key} of {device} is {expected}"), || {
        let devices = format!("/api/tenant/devices?deviceName={device}");
        server.rest().get(&devices).ok()?;
        (server.rest().latest(device).get(key)? == expected).then_some(())
    });
}

fn command(server: &Server, device: &str, method: &str, metric: &str, value: Value) -> Value {
    let path = format!("/api/rpc/twoway/{}", server.rest().device_id(device));
    let call =
        json!({ "method": method, "params": { "metricName": metric, "value": value }, "timeout": 20_000 });
    server.rest().post(&path, &call).expect("the RPC is answered")
}

#[test]
fn pysparkplug_is_an_edge_node() {
    let server = Server::spawn();
    prepare(&server, "press");
    let told = std::thread::scope(|scope| {
        let script = scope.spawn(|| sparkplug_python(&server, "press", "edge.py", &["plant", "press"]));
        latest(&server, "press", "small", &json!(-6));
        latest(&server, "plant:press:D1", "temperature", &json!(21.5));
        let node = server.rest().latest("press");
        assert_eq!(
            (&node["ratio"], &node["by alias"], &node["word"]),
            (&json!(3.7), &json!(-300), &json!("äöü"))
        );
        assert_eq!((&node["large"], &node[STATE]), (&json!("18446744073709551615"), &json!("ONLINE")));
        assert_eq!(
            command(&server, "press", "NCMD", "by alias", json!(-301)),
            json!({ "result": "Success: NCMD" })
        );
        server.rest().write_attributes("plant:press:D1", "SHARED_SCOPE", &json!({ "Outputs/0": true }));
        script.join().expect("the script ends well")
    });
    let told: Value = serde_json::from_str(told.trim()).expect("the script prints JSON");
    assert_eq!(told["node"], json!([[null, 7, "INT16", -301]]));
    assert_eq!(told["device"], json!([["Outputs/0", null, "BOOLEAN", true]]));
    latest(&server, "press", STATE, &json!("OFFLINE"));
    latest(&server, "plant:press:D1", STATE, &json!("OFFLINE"));
}

#[test]
fn sparkplug_client_is_born_again_when_it_is_asked() {
    let server = Server::spawn();
    prepare(&server, "mill");
    let told = std::thread::scope(|scope| {
        let script = scope.spawn(|| sparkplug_node(&server, "mill", "edge.js", &["plant", "mill"]));
        latest(&server, "plant:mill:D1", "level", &json!(1.1));
        let node = server.rest().latest("mill");
        assert_eq!(
            (&node["negative"], &node["exact"], &node["bytes"]),
            (&json!(-7), &json!(3.7), &json!([1, -1]))
        );
        let table =
            json!({ "columns": ["a", "b"], "types": ["String", "Int32"], "rows": [["x", 1], ["y", 2]] });
        assert_eq!(node["table"], table);
        let again = command(&server, "mill", "NCMD", "Node Control/Rebirth", json!(true));
        assert_eq!(again, json!({ "result": "Success: NCMD" }));
        latest(&server, "mill", "births", &json!(2));
        latest(&server, "plant:mill:D1", "level", &json!(2.5));
        let set = command(&server, "plant:mill:D1", "DCMD", "set point", json!(-9));
        assert_eq!(set, json!({ "result": "Success: DCMD" }));
        script.join().expect("the script ends well")
    });
    let told: Value = serde_json::from_str(told.trim()).expect("the script prints JSON");
    assert_eq!(told, json!({ "births": 2, "commands": [["D1", ["set point", "Int16", -9]]] }));
    latest(&server, "mill", STATE, &json!("OFFLINE"));
    latest(&server, "plant:mill:D1", STATE, &json!("OFFLINE"));
}

/// What it gets is one JSON document with the names of the metrics, whatever the node has called them.
const FAHRENHEIT: &str = "\
function decodeUplink(input) {
  var message = JSON.parse(String.fromCharCode.apply(null, input.bytes));
  var data = { kind: message.type, device: message.device };
  message.metrics.forEach(function (metric) {
    if (metric.name === 'temperature') { data.fahrenheit = metric.value * 9 / 5 + 32; }
  });
  return { data: data };
}
";

#[test]
fn a_codec_makes_what_is_stored_of_the_metrics_of_a_device() {
    let server = Server::spawn();
    server.drop_codec("js", &plugin("js"));
    patiently("the script engine is live", || {
        server.rest().codec("js").filter(|codec| codec["state"] == "live")
    });
    server.rest().put_script("fahrenheit", FAHRENHEIT).expect("the script is a codec");
    prepare(&server, "press");
    let transport = json!({
        "type": "MQTT",
        "transportPayloadTypeConfiguration": { "transportPayloadType": "CODEC", "codec": "fahrenheit" },
    });
    // The profile that the devices of the node get is there before them.
    server.rest().create_profile("edge device", &transport);
    std::thread::scope(|scope| {
        let script = scope.spawn(|| sparkplug_python(&server, "press", "edge.py", &["plant", "press"]));
        latest(&server, "plant:press:D1", "fahrenheit", &json!(70.7));
        let device = server.rest().latest("plant:press:D1");
        assert_eq!((&device["kind"], &device["device"]), (&json!("DDATA"), &json!("D1")));
        assert_eq!(device[STATE], "ONLINE");
        assert!(!device.contains_key("temperature"), "{device:?}");
        assert_eq!(server.rest().latest("press")["ratio"], 3.7, "the node's own profile names no codec");
        command(&server, "press", "NCMD", "small", json!(1));
        server.rest().write_attributes("plant:press:D1", "SHARED_SCOPE", &json!({ "Outputs/0": true }));
        script.join().expect("the script ends well")
    });
}
