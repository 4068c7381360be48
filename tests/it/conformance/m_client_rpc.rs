//! Group M: RPC from the device, and the limits of its session. What upstream's rule chain answers, a webhook answers.

use serde_json::{Value, json};

use super::case::{Case, Row, Settings, both};
use super::client::Client;
use super::s_limits::limit;
use super::webhook::Webhook;

const REQUEST: &str = "v1/devices/me/rpc/request/";
const RESPONSE: &str = "v1/devices/me/rpc/response/";
const SOON: Settings = &[("WIREGLOT_CLIENT_RPC_TIMEOUT_MS", "1000")];
const LIMITS: &str = r#"{"method":"getSessionLimits","params":{}}"#;

pub(super) const ROWS: &[Row] = &[
    both(231, "answered from outside; subscribed to requests only", |c| {
        let (mut client, webhook) = with_webhook(c, Some(r#"{"response":"requestReceived"}"#));
        client.subscribe("v1/devices/me/rpc/request/+");
        client.accepted(&format!("{REQUEST}42"), r#"{"method":"getResponse","params":true}"#);
        assert_eq!(client.json_on(&format!("{RESPONSE}42")), json!({ "response": "requestReceived" }));
        let asked = webhook.asked();
        assert_eq!((&asked["method"], &asked["params"]), (&json!("getResponse"), &json!(true)));
    }),
    both(232, "on `v2/r/req/j/5`", |c| {
        let (mut client, _webhook) = with_webhook(c, Some("{}"));
        client.accepted("v2/r/req/j/5", r#"{"method":"getResponse","params":true}"#);
        assert_eq!(client.json_on("v2/r/res/j/5"), json!({}));
    }),
    both(233, "nobody answers", |c| {
        let (mut client, _webhook) = with_webhook(c, None);
        client.accepted(&format!("{REQUEST}1"), r#"{"method":"m","params":{}}"#);
        assert_eq!(client.json_on(&format!("{RESPONSE}1")), json!({ "error": "timeout" }));
        let alone = c.named("alone");
        c.rest().create_device(&alone, None);
        let mut client = c.connect(&alone);
        client.accepted(&format!("{REQUEST}1"), r#"{"method":"m","params":{}}"#);
        let answer = client.json_on(&format!("{RESPONSE}1"));
        assert!(answer["error"].as_str().is_some_and(|error| !error.is_empty()), "{answer}");
    })
    .on(SOON),
    both(234, "`{\"method\":\"m\"}`", |c| {
        let (mut client, webhook) = with_webhook(c, Some("1"));
        client.accepted(&format!("{REQUEST}1"), r#"{"method":"m"}"#);
        assert_eq!(client.json_on(&format!("{RESPONSE}1")), 1);
        let asked = webhook.asked();
        assert_eq!(asked.get("params"), Some(&Value::Null), "{asked}");
    }),
    both(235, "`{\"params\":{}}`", |c| {
        c.invalid(&mut c.client(), &format!("{REQUEST}1"), r#"{"params":{}}"#);
    }),
    both(236, "getSessionLimits with limits", |c| {
        let c = c.alone();
        limit(
            &c,
            json!({
                "transportDeviceMsgRateLimit": "20:600",
                "transportDeviceTelemetryMsgRateLimit": "10:600",
                "transportDeviceTelemetryDataPointsRateLimit": "40:600",
            }),
        );
        let mut client = c.client();
        client.accepted(&format!("{REQUEST}1"), LIMITS);
        let limits =
            json!({ "messages": "20:600", "telemetryMessages": "10:600", "telemetryDataPoints": "40:600" });
        let expected = json!({ "maxPayloadSize": 65_536, "maxInflightMessages": 100, "rateLimits": limits });
        assert_eq!(client.json_on(&format!("{RESPONSE}1")), expected);
    }),
    both(237, "getSessionLimits of a gateway", |c| {
        let c = c.alone();
        limit(
            &c,
            json!({
                "transportGatewayMsgRateLimit": "100:600",
                "transportGatewayTelemetryMsgRateLimit": "50:600",
                "transportGatewayTelemetryDataPointsRateLimit": "200:600",
                "transportGatewayDeviceMsgRateLimit": "20:600",
                "transportGatewayDeviceTelemetryMsgRateLimit": "10:600",
                "transportGatewayDeviceTelemetryDataPointsRateLimit": "40:600",
            }),
        );
        let device = json!({ "name": c.name(), "additionalInfo": { "gateway": true } });
        c.rest().post(&format!("/api/device?accessToken={}", c.name()), &device).expect("a gateway");
        let mut client = c.connect(&c.name());
        client.accepted(&format!("{REQUEST}1"), LIMITS);
        let answer = client.json_on(&format!("{RESPONSE}1"));
        let own =
            json!({ "messages": "100:600", "telemetryMessages": "50:600", "telemetryDataPoints": "200:600" });
        let children =
            json!({ "messages": "20:600", "telemetryMessages": "10:600", "telemetryDataPoints": "40:600" });
        assert_eq!((&answer["rateLimits"], &answer["gatewayRateLimits"]), (&own, &children), "{answer}");
    }),
    both(238, "getSessionLimits without limits", |c| {
        let mut client = c.client();
        client.accepted(&format!("{REQUEST}1"), LIMITS);
        let none = json!({ "messages": null, "telemetryMessages": null, "telemetryDataPoints": null });
        let expected = json!({ "maxPayloadSize": 65_536, "maxInflightMessages": 100, "rateLimits": none });
        assert_eq!(client.json_on(&format!("{RESPONSE}1")), expected);
    }),
    both(239, "getSessionLimits on `v2/r/req/1`", |c| {
        let (mut client, webhook) = with_webhook(c, Some(r#"{"from":"outside"}"#));
        client.accepted("v2/r/req/1", LIMITS);
        assert_eq!(client.json_on("v2/r/res/1"), json!({ "from": "outside" }));
        assert_eq!(webhook.asked()["method"], "getSessionLimits");
    }),
];

/// The case's device in a profile whose calls this webhook answers.
fn with_webhook(c: &Case, answer: Option<&'static str>) -> (Client, Webhook) {
    let webhook = Webhook::answering(answer);
    c.save_profile(&c.name(), json!({ "clientRpc": { "webhook": { "url": webhook.url() } } }));
    c.rest().create_device(&c.name(), Some(&c.name()));
    (c.connect(&c.name()), webhook)
}
