//! Rate limits and the list of sessions.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Method;
use serde_json::json;
use wireglot_device::SessionFacts;
use wireglot_model::limits::SESSION_CLIENT_ID_CHARS_MAX;
use wireglot_model::{SessionId, Timestamp};

use super::Site;

#[tokio::test]
async fn rate_limits_are_replaced_as_a_whole() {
    let site = Site::new().await;
    let path = "/api/rateLimits";
    let none = site.get(path).await;
    assert_eq!(none.as_object().unwrap().len(), 12);
    assert!(none.as_object().unwrap().values().all(serde_json::Value::is_null));
    let device = json!({"transportDeviceMsgRateLimit": "200:1,6000:60,14000:3600"});
    let saved = site.post(path, device).await;
    assert_eq!(saved["transportDeviceMsgRateLimit"], "200:1,6000:60,14000:3600");
    assert_eq!(site.get(path).await, saved);
    let tenant = json!({"transportTenantTelemetryMsgRateLimit": "9:1", "transportDeviceMsgRateLimit": ""});
    let saved = site.post(path, tenant).await;
    assert_eq!(
        (&saved["transportTenantTelemetryMsgRateLimit"], &saved["transportDeviceMsgRateLimit"]),
        (&json!("9:1"), &json!(null))
    );
    for (body, words) in [
        (json!({"transportDeviceMsgRateLimit": "often"}), "'often' is not a rate limit: write COUNT:SECONDS"),
        (json!({"transportDeviceRateLimit": "1:1"}), "unknown field `transportDeviceRateLimit`"),
        (json!({"transportDeviceMsgRateLimit": 5}), "Invalid JSON"),
    ] {
        site.refused(Method::POST, path, body.to_string(), 400, 31, words).await;
    }
    assert_eq!(site.get(path).await, saved, "what is refused changes nothing");
    let audit = site.get("/api/audit?pageSize=10&page=0&action=RATE_LIMITS_CHANGED").await;
    assert_eq!(audit["totalElements"], 2);
}

#[tokio::test]
async fn sessions_are_listed_in_pages() {
    let site = Site::new().await;
    for number in 0..3 {
        let name = format!("device-{number}");
        site.device(&name).await;
        let device = site.api.devices.device_by_name(&name).unwrap();
        let address = Some(format!("10.0.0.{number}:1000").parse().unwrap());
        let since = Timestamp(1_000 - number);
        let facts = SessionFacts::new(SessionId(7), &format!("cid-{number}"), address, since, "5");
        facts.hear(Timestamp(5_000));
        facts.set_in_flight(2);
        site.api.devices.show_session(&device, Arc::new(facts));
    }
    let page = site.get("/api/sessions?pageSize=2&page=0&sortProperty=deviceName&sortOrder=DESC").await;
    assert_eq!(
        (&page["totalElements"], &page["totalPages"], &page["hasNext"]),
        (&json!(3), &json!(2), &json!(true))
    );
    let first = &page["data"][0];
    let told = ["deviceName", "deviceProfileName", "clientId", "address", "mqttVersion"]
        .map(|name| first[name].as_str());
    assert_eq!(told.map(Option::unwrap), ["device-2", "default", "cid-2", "10.0.0.2:1000", "5"]);
    let numbers = ["connectedSince", "lastActivity", "inFlight"].map(|name| first[name].as_i64().unwrap());
    assert_eq!((numbers, &first["gateway"]), ([998, 5_000, 2], &json!(false)));
    assert_eq!(first["deviceId"]["entityType"], "DEVICE");
    let oldest = site.get("/api/sessions?pageSize=1&page=0").await;
    assert_eq!(oldest["data"][0]["deviceName"], "device-2", "the longest connected come first");
    let found = site.get("/api/sessions?pageSize=9&page=0&textSearch=CID-1").await;
    assert_eq!((&found["totalElements"], &found["data"][0]["clientId"]), (&json!(1), &json!("cid-1")));
    let long = "ü".repeat(SESSION_CLIENT_ID_CHARS_MAX + 1);
    let facts = SessionFacts::new(SessionId(8), &long, None, Timestamp(0), "5");
    assert_eq!(facts.client_id.chars().count(), SESSION_CLIENT_ID_CHARS_MAX, "what is listed is bounded");
    let path = "/api/sessions?pageSize=1&page=0&sortProperty=shoeSize";
    site.refused(Method::GET, path, Body::empty(), 400, 31, "Invalid sort property").await;
    site.refused(Method::GET, "/api/sessions", Body::empty(), 400, 31, "pageSize").await;
}
