//! The server does what its OpenAPI document says, whatever it is asked: a published tool makes up requests from the
//! document, good and bad ones, and looks at every answer.

use serde_json::{Value, json};

use crate::harness::{Server, plugin, root, schemathesis};

/// How long the tool makes up requests; the time is spent.
const RANDOM_IDS_S: u32 = 50;
const KNOWN_IDS_S: u32 = 40;

/// Ends the tool's own session.
const ENDS_THE_SESSION: &str = "logout";
/// Calls of devices wait for the device, for minutes if they are asked to.
const WAITING_TAG: &str = "RPC";

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
    let customer = rest.post("/api/customer", &json!({"title": "made-up"})).expect("a customer is made");
    let customer = customer["id"]["id"].as_str().expect("an id").to_owned();
    rest.post(&format!("/api/customer/{customer}/device/{device}"), &json!({}))
        .expect("the device is assigned");
    server.install_codec("elsys", &plugin("elsys"));

    let mut common = vec!["--exclude-operation-id".to_owned(), ENDS_THE_SESSION.to_owned()];
    common.extend(["--exclude-tag".to_owned(), WAITING_TAG.to_owned()]);
    for id in not_answered_at_once(&document) {
        common.extend(["--exclude-operation-id".to_owned(), id]);
    }
    // First what is there stays what it is; whatever is deleted then is made up as well.
    let known = [
        ("path.deviceId", device.as_str()),
        ("path.entityId", device.as_str()),
        ("path.customerId", customer.as_str()),
        ("path.deviceProfileId", profile.as_str()),
        ("path.deviceName", "made-up-1"),
        ("path.name", "elsys"),
    ];
    let without_deletion =
        [common.clone(), vec!["--exclude-method".to_owned(), "DELETE".to_owned()]].concat();
    schemathesis(&server, rest.token(), &without_deletion, &known, KNOWN_IDS_S);
    schemathesis(&server, rest.token(), &common, &[], RANDOM_IDS_S);
    rest.get("/api/auth/user").expect("the server lives, and the administrator is there");
}
