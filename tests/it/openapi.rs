//! The server does what its OpenAPI document says, whatever it is asked: a published tool makes up requests from the
//! document, good and bad ones, and looks at every answer.

use serde_json::{Value, json};

use crate::claim::customer;
use crate::harness::{Server, plugin, root, schemathesis};

/// How long the tool may go through what the document gives rise to, as the administrator and as a customer's user, and
/// how long it makes up requests at random.
const COVERAGE_S: u32 = 45;
const COVERAGE_OF_USER_S: u32 = 25;
const FUZZING_S: u32 = 30;
/// What every answer is looked at for: none may be the server's fault, or another than the document says. That each bad
/// request is refused is not: a parameter without text is as good as none here, because clients send such.
const CHECKS: &str =
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";

/// Not asked: what ends the tool's own session or login, and calls that wait for a device, for minutes if they are asked to.
const LEFT_OUT: [&str; 6] =
    ["changePassword", "logout", "callOneWay", "callOneWayV1", "callTwoWay", "callTwoWayV1"];

/// Operations that do not answer at once, which is what the tool waits for: feeds go on until the client leaves, sockets
/// are no HTTP, and what has a parameter `timeout` waits as long as it says.
fn not_answered_at_once(document: &Value) -> Vec<String> {
    let operations = document["paths"].as_object().into_iter().flat_map(|paths| paths.values());
    let operations = operations.filter_map(Value::as_object).flat_map(|item| item.values());
    let waits = |operation: &&Value| {
        let kinds = &operation["responses"]["200"]["content"];
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        kinds.get("text/event-stream").is_some()
            || operation["responses"].get("101").is_some()
            || parameters.into_iter().any(|parameter| parameter["name"] == "timeout")
    };
    let ids = operations.filter(waits).filter_map(|operation| operation["operationId"].as_str());
    ids.map(str::to_owned).collect()
}

#[test]
fn made_up_requests_get_what_the_document_says() {
    let server = Server::spawn();
    let rest = server.rest();
    let text = std::fs::read(root().join("host/rest/openapi.json")).expect("the document is there");
    let document: Value = serde_json::from_slice(&text).expect("the document is JSON");
    let profile = rest.create_profile("made-up", &json!({"type": "DEFAULT"}));
    let device = rest.create_device("made-up-1", Some("made-up"));
    rest.write_attributes("made-up-1", "SERVER_SCOPE", &json!({"a": 1, "b": "x"}));
    rest.write_attributes("made-up-1", "SHARED_SCOPE", &json!({"c": [1], "d": {"e": 2}}));
    let telemetry = format!("/api/plugins/telemetry/DEVICE/{device}/timeseries/ANY");
    rest.post(&telemetry, &json!({"a": 1, "b": "x", "c": 1.5, "d": true})).expect("telemetry is saved");
    let (customer, user) = customer(&server, "made-up");
    rest.post(&format!("/api/customer/{customer}/device/{device}"), &json!({}))
        .expect("the device is assigned");
    server.install_codec("elsys", &plugin("elsys"));

    let left_out = LEFT_OUT.map(str::to_owned).into_iter().chain(not_answered_at_once(&document));
    let common: Vec<String> = left_out.flat_map(|id| ["--exclude-operation-id".to_owned(), id]).collect();
    let known = [
        ("path.deviceId", device.as_str()),
        ("path.entityId", device.as_str()),
        ("path.customerId", customer.as_str()),
        ("path.deviceProfileId", profile.as_str()),
        ("path.deviceName", "made-up-1"),
        ("path.name", "elsys"),
        // What the device API answers to a device that it knows.
        ("path.token", "made-up-1"),
    ];
    // As long as what has these ids is needed, nothing is deleted.
    let kept = [common.clone(), vec!["--exclude-method".to_owned(), "DELETE".to_owned()]].concat();
    schemathesis(&server, rest, &kept, &known, "coverage", CHECKS, COVERAGE_S);
    schemathesis(&server, &user, &kept, &known, "coverage", CHECKS, COVERAGE_OF_USER_S);
    user.get(&format!("/api/device/{device}")).expect("the device is still that customer's");
    schemathesis(&server, rest, &common, &[], "fuzzing", CHECKS, FUZZING_S);
    rest.get("/api/auth/user").expect("the server lives, and the administrator is there");
}
