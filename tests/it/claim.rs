//! A device lets itself be claimed, a customer's user claims it, and all that survives a kill.

use serde_json::{Value, json};
use wireglot_load::wire::Version;

use crate::harness::{Device, Rest, Server};

const TOPIC: &str = "v1/devices/me/claim";
const PASSWORD: &str = "correct horse battery 2";

/// A customer of this title, and what its user sees. The user set the password by the link.
pub(crate) fn customer(server: &Server, title: &str) -> (String, Rest) {
    let rest = server.rest();
    let customer = rest.post("/api/customer", &json!({ "title": title })).expect("the customer is made");
    let email = format!("user@{title}");
    let user = json!({ "email": email, "authority": "CUSTOMER_USER", "customerId": customer["id"] });
    let user = rest.post("/api/user?sendActivationMail=false", &user).expect("the user is made");
    let id = |entity: &Value| entity["id"]["id"].as_str().expect("an id").to_owned();
    let link = rest.get(&format!("/api/user/{}/activationLink", id(&user))).expect("a link");
    let (_, token) = link.as_str().expect("a text").split_once("activateToken=").expect("a token");
    let activation = json!({ "activateToken": token, "password": PASSWORD });
    rest.stranger().post("/api/noauth/activate", &activation).expect("the user sets a password");
    (id(&customer), rest.logged_in(&email, PASSWORD))
}

/// What claiming gave: the word of the answer.
pub(crate) fn claim(rest: &Rest, device: &str, body: &Value) -> String {
    let word = |word: &Value| word.as_str().expect("a word").to_owned();
    match rest.post(&format!("/api/customer/device/{device}/claim"), body) {
        Ok(answer) => word(&answer["response"]),
        Err(refusal) => {
            assert_eq!(refusal.status, 400, "{refusal:?}");
            word(&refusal.body)
        }
    }
}

fn status(answer: Result<Value, crate::harness::Refusal>) -> u16 {
    answer.map_or_else(|refusal| refusal.status, |_| 200)
}

// 240, 241, 246, 247
#[test]
fn a_claimed_device_is_its_customers() {
    let server = Server::spawn();
    let (one, user) = customer(&server, "one");
    let (_, other) = customer(&server, "other");
    let secret = json!({ "secretKey": "value" });
    for (name, version) in [("three", Version::V3), ("five", Version::V5)] {
        server.rest().create_device(name, None);
        let mut device = Device::connect(server.mqtt(), version, name);
        assert_eq!(device.publish_qos1(TOPIC, r#"{"secretKey":"value","durationMs":3600000}"#), 0);
    }
    assert_eq!(claim(&user, "five", &secret), "SUCCESS");

    let server = server.kill_9().restart();
    let user = server.rest().logged_in("user@one", PASSWORD);
    assert_eq!(claim(&user, "three", &secret), "SUCCESS", "the registration was durable");
    assert_eq!(claim(&other, "three", &secret), "CLAIMED");
    let mut device = server.connect("three");
    assert_eq!(device.publish_qos1(TOPIC, "{}"), 0, "it need not know");
    assert_eq!(claim(&other, "three", &json!({})), "CLAIMED");
    device.telemetry(r#"{"t":21}"#);

    let server = server.kill_9().restart();
    let (user, other) =
        (server.rest().logged_in("user@one", PASSWORD), server.rest().logged_in("user@other", PASSWORD));
    let id = server.rest().device_id("three");
    let path = format!("/api/device/{id}");
    assert_eq!(user.get(&path).expect("its own")["customerId"]["id"], *one);
    let values = format!("/api/plugins/telemetry/DEVICE/{id}/values/timeseries");
    assert_eq!(user.get(&values).expect("its own")["t"][0]["value"], "21");
    let mine = user.get(&format!("/api/customer/{one}/devices?pageSize=10&page=0")).expect("a page");
    assert_eq!(mine["totalElements"], 2);
    for path in [&path, &values] {
        assert_eq!(status(other.get(path)), 403, "{path}");
    }
    assert_eq!(status(user.get("/api/tenant/devices?pageSize=10&page=0")), 403);
    assert_eq!(user.delete("/api/customer/device/three/claim").expect("given back"), "SUCCESS");
    assert_eq!(status(user.get(&path)), 403);
    let server = server.kill_9().restart();
    let free = server.rest().get(&path).expect("an administrator sees all");
    assert_eq!(free["customerId"]["id"], "13814000-1dd2-11b2-8080-808080808080");
}

// 242, 243
#[test]
fn a_secret_is_asked_for_once() {
    let server = Server::spawn();
    let (_, user) = customer(&server, "one");
    assert_eq!(server.device("open").publish_qos1(TOPIC, ""), 0);
    assert_eq!(claim(&user, "open", &Value::Null), "SUCCESS");
    assert_eq!(server.device("shut").publish_qos1(TOPIC, r#"{"secretKey":"value"}"#), 0);
    assert_eq!(claim(&user, "shut", &json!({ "secretKey": "wrong" })), "FAILURE");
    let server = server.kill_9().restart();
    let user = server.rest().logged_in("user@one", PASSWORD);
    assert_eq!(claim(&user, "shut", &json!({ "secretKey": "value" })), "FAILURE");
    assert_eq!(claim(&user, "open", &json!({})), "CLAIMED");
}

#[test]
fn an_operator_may_want_to_be_asked() {
    let server = Server::spawn_with(&[("WIREGLOT_CLAIM_ALLOWED_BY_DEFAULT", "false")]);
    let (_, user) = customer(&server, "one");
    let mut device = server.device("thermo");
    assert_eq!(device.publish_qos1(TOPIC, "{}"), 0, "the device is not told");
    assert_eq!(claim(&user, "thermo", &json!({})), "FAILURE");
    server.rest().write_attributes("thermo", "SERVER_SCOPE", &json!({ "claimingAllowed": true }));
    assert_eq!(device.publish_qos1(TOPIC, "{}"), 0);
    assert_eq!(claim(&user, "thermo", &json!({})), "SUCCESS");
}

// 245
#[test]
fn hostile_claims_are_dead_letters() {
    let server = Server::spawn();
    server.rest().create_device("thermo", None);
    let mut device = Device::connect(server.mqtt(), Version::V5, "thermo");
    let long = format!("{{\"secretKey\":\"{}\"}}", "s".repeat(60_000));
    let bad = ["[1]", "{", r#"{"secretKey":{}}"#, r#"{"secretKey":null}"#, r#"{"durationMs":"soon"}"#, &long];
    for payload in bad {
        assert_eq!(device.publish_qos1(TOPIC, payload), 0x99, "{payload:.40}");
    }
    assert_eq!(server.rest().dead_letters("thermo").len(), bad.len());
    for number in 0..2_000 {
        let payload = format!("{{\"secretKey\":\"{number}\",\"durationMs\":{}}}", i64::MAX);
        assert_eq!(device.publish_qos1(TOPIC, payload), 0);
    }
    let (_, user) = customer(&server, "one");
    assert_eq!(claim(&user, "thermo", &json!({ "secretKey": "0" })), "SUCCESS", "the first one counts");
    device.telemetry(r#"{"t":1}"#);
}
