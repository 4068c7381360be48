//! The published IoT gateway speaks for the sensors of a broker: what they say arrives, and they can be reached.

use std::thread;

use serde_json::{Value, json};

use crate::harness::{Device, Server, Site, patiently};

/// How the gateway reads its broker: `sensor/NAME/data` is what a sensor says, and three ways lead back.
fn connector() -> Value {
    let from_topic = |suffix: &str| {
        json!({
            "deviceNameExpressionSource": "topic",
            "deviceNameExpression": format!("(?<=sensor/)(.*?)(?=/{suffix})"),
            "deviceProfileExpressionSource": "constant",
            "deviceProfileExpression": "Thermometer",
        })
    };
    json!({
        "mapping": [{
            "topicFilter": "sensor/+/data",
            "subscriptionQos": 1,
            "converter": {
                "type": "json",
                "deviceInfo": from_topic("data"),
                "sendDataOnlyOnChange": false,
                "timeout": 60_000,
                "attributes": [{ "type": "string", "key": "model", "value": "${model}" }],
                "timeseries": [{ "type": "double", "key": "temperature", "value": "${temp}" }],
            },
        }],
        "requestsMapping": {
            "connectRequests": [{ "topicFilter": "sensor/+/connect", "deviceInfo": from_topic("connect") }],
            "disconnectRequests":
                [{ "topicFilter": "sensor/+/disconnect", "deviceInfo": from_topic("disconnect") }],
            "attributeRequests": [],
            "attributeUpdates": [{
                "retain": false,
                "deviceNameFilter": ".*",
                "attributeFilter": "interval",
                "topicExpression": "sensor/${deviceName}/${attributeKey}",
                "valueExpression": "{\"interval\":\"${attributeValue}\"}",
            }],
            "serverSideRpc": [{
                "type": "twoWay",
                "deviceNameFilter": ".*",
                "methodFilter": "echo",
                "requestTopicExpression": "sensor/${deviceName}/request/${methodName}/${requestId}",
                "responseTopicExpression": "sensor/${deviceName}/response/${methodName}/${requestId}",
                "responseTopicQoS": 1,
                "responseTimeout": 20_000,
                "valueExpression": "${params}",
            }],
        },
    })
}

#[test]
fn the_published_iot_gateway_speaks_for_its_sensors() {
    let server = Server::spawn();
    let rest = server.rest();
    rest.create_gateway("site", None);
    let site = Site::start(&server, "site", connector());
    let mut sensor = site.sensor("sensor");
    assert_eq!(sensor.subscribe_all(&["sensor/+/request/#", "sensor/+/interval"]), [1, 1]);

    // Connect and uplink. The gateway subscribes at some moment after its start, so the first words are repeated.
    patiently("the first uplink has arrived", || {
        says(&mut sensor, "boiler", r#"{"temp":21.5,"model":"T-1"}"#);
        rest.device("boiler").and_then(|_| rest.latest("boiler").remove("temperature"))
    });
    assert_eq!(rest.latest("boiler")["temperature"], 21.5);
    assert_eq!(rest.attributes("boiler", "CLIENT_SCOPE")["model"], "T-1");
    let device = rest.device("boiler").expect("it is there");
    assert_eq!(device["type"], "Thermometer");
    assert_eq!(device["additionalInfo"]["lastConnectedGateway"], rest.device_id("site"));
    sensor.publish_qos1("sensor/meter/connect", "{}");
    patiently("the other sensor is connected", || {
        rest.sessions().contains(&"meter".to_owned()).then_some(())
    });

    updates_and_calls(&server, &mut sensor);
    renames_and_deletes(&server, &mut sensor);

    sensor.publish_qos1("sensor/meter/disconnect", "{}");
    patiently("the other sensor has gone", || (!rest.sessions().contains(&"meter".to_owned())).then_some(()));
    drop(site);
    patiently("all have gone", || rest.sessions().is_empty().then_some(()));
}

fn says(sensor: &mut Device, name: &str, payload: &str) {
    assert_eq!(sensor.publish_qos1(&format!("sensor/{name}/data"), payload), 0);
}

fn updates_and_calls(server: &Server, sensor: &mut Device) {
    let rest = server.rest();
    rest.write_attributes("boiler", "SHARED_SCOPE", &json!({ "interval": 60 }));
    let update = sensor.next_message();
    assert_eq!(
        (update.topic.as_str(), update.payload.as_str()),
        ("sensor/boiler/interval", r#"{"interval":"60"}"#)
    );
    let path = format!("/api/rpc/twoway/{}", rest.device_id("boiler"));
    let call = json!({ "method": "echo", "params": { "pin": 7 }, "timeout": 20_000 });
    let answer = thread::scope(|scope| {
        let answer = scope.spawn(|| rest.post(&path, &call));
        let request = sensor.next_message();
        let params: Value = serde_json::from_str(&request.payload).expect("JSON");
        assert_eq!(params, json!({ "pin": 7 }), "{}", request.topic);
        let topic = request.topic.replace("/request/", "/response/");
        assert_eq!(sensor.publish_qos1(&topic, r#"{"did":"echo"}"#), 0);
        answer.join().expect("the call ends").expect("an answer")
    });
    assert_eq!(answer, json!({ "did": "echo" }));
}

fn renames_and_deletes(server: &Server, sensor: &mut Device) {
    let rest = server.rest();
    let id = rest.device_id("boiler");
    rest.rename_device("boiler", "heater");
    patiently("the gateway speaks of the new name", || {
        says(sensor, "boiler", r#"{"temp":30.5,"model":"T-1"}"#);
        (rest.latest("heater").get("temperature")? == 30.5).then_some(())
    });
    assert_eq!((rest.device("boiler"), rest.device_id("heater")), (None, id));
    rest.delete_device("heater");
    patiently("the sensor is a new device of its own name", || {
        says(sensor, "boiler", r#"{"temp":19.5,"model":"T-1"}"#);
        rest.device("boiler").and_then(|_| rest.latest("boiler").remove("temperature"))
    });
    assert_eq!(rest.latest("boiler")["temperature"], 19.5);
    assert_eq!(rest.device("heater"), None);
}
