//! Streams of events: the state of some devices, what changes it, and who may hear of it.

use axum::body::{Body, BodyDataStream};
use axum::http::{Method, Request};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tower_service::Service as _;
use wireglot_bus::mailbox;
use wireglot_model::SessionId;
use wireglot_model::limits::{LIVE_KEYS_MAX, LIVE_SUBSCRIPTIONS_MAX};

use super::customers::customer;
use super::{PASSWORD, Site, assert_error};
use wireglot_device::now;

/// One stream. What has come is kept until it is asked for.
struct Events {
    body: BodyDataStream,
    text: String,
}

impl Events {
    async fn of(site: &Site, query: &str) -> Self {
        Self::seen_by(site, &format!("Bearer {}", site.token), query).await
    }

    async fn seen_by(site: &Site, header: &str, query: &str) -> Self {
        let request = Request::get(format!("/api/events?{query}")).header("authorization", header);
        let answer = site.router.clone().call(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 200, "{query}");
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { body: answer.into_body().into_data_stream(), text: String::new() }
    }

    /// The next event; `None` at the end of the stream.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let line = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                let found = line("event:")
                    .map(|name| (name.to_owned(), serde_json::from_str(line("data:").unwrap()).unwrap()));
                self.text = rest.to_owned();
                match found {
                    Some(found) => return Some(found),
                    None => continue,
                }
            }
            let more = tokio::time::timeout(std::time::Duration::from_secs(20), self.body.next()).await;
            let bytes = more.expect("the server says something")?.unwrap();
            self.text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }

    async fn told(&mut self, name: &str, data: Value) {
        let (found, told) = self.next().await.expect("an event");
        assert_eq!(found, name, "{told}");
        for (member, value) in data.as_object().unwrap() {
            assert_eq!(&told[member], value, "{member} of {told}");
        }
    }
}

async fn save(site: &Site, device: &str, body: Value) {
    site.post(&format!("/api/plugins/telemetry/DEVICE/{device}/timeseries/ANY"), body).await;
}

#[tokio::test]
async fn the_state_comes_first_and_then_every_change() {
    let site = Site::new().await;
    let id = site.device("thermo").await;
    save(
        &site,
        &id,
        json!([{"ts": 1, "values": {"a": 1, "b": 2}}, {"ts": 2, "values": {"b": 3.0, "c": "x"}}]),
    )
    .await;
    let attributes = |scope: &str| format!("/api/plugins/telemetry/DEVICE/{id}/attributes/{scope}");
    site.post(&attributes("SERVER_SCOPE"), json!({"floor": 4})).await;
    let mut events = Events::of(&site, &format!("deviceId={id}")).await;
    events.told("connection", json!({"deviceId": id, "deviceName": "thermo", "connected": false})).await;
    events
        .told("attributes", json!({"deviceName": "thermo", "scope": "SERVER_SCOPE", "values": {"floor": 4}}))
        .await;
    events.told("telemetry", json!({"deviceId": id, "ts": 1, "values": {"a": 1}})).await;
    events.told("telemetry", json!({"ts": 2, "values": {"b": 3.0, "c": "x"}})).await;
    events.told("live", json!({"devices": 1})).await;

    save(&site, &id, json!({"ts": 3, "values": {"a": true}})).await;
    events
        .told("telemetry", json!({"deviceId": id, "deviceName": "thermo", "ts": 3, "values": {"a": true}}))
        .await;
    site.post(&attributes("SHARED_SCOPE"), json!({"limit": {"t": 20.5}})).await;
    events.told("attributes", json!({"scope": "SHARED_SCOPE", "values": {"limit": {"t": 20.5}}})).await;
    let delete = format!("/api/plugins/telemetry/DEVICE/{id}/SHARED_SCOPE?keys=limit");
    site.call(Method::DELETE, &delete, "").await;
    events.told("attributes", json!({"scope": "SHARED_SCOPE", "deleted": ["limit"], "values": null})).await;
    let device = site.api.devices.device_by_name("thermo").unwrap().admitted();
    let (one, _at) = mailbox();
    site.api.devices.open_session(&device, SessionId(1), &one, now()).unwrap();
    events.told("connection", json!({"deviceName": "thermo", "connected": true})).await;
    // A session that takes the place of another one is no news.
    site.api.devices.open_session(&device, SessionId(2), &one, now()).unwrap();
    site.api.devices.close_session(&device, SessionId(1), now());
    site.api.devices.close_session(&device, SessionId(2), now());
    events.told("connection", json!({"connected": false})).await;
    site.call(Method::DELETE, &format!("/api/device/{id}"), "").await;
    events.told("gone", json!({"deviceId": id, "reason": "The device was deleted"})).await;
    assert_eq!(events.next().await, None, "nothing is left to tell of");
}

#[tokio::test]
async fn a_stream_tells_what_it_was_asked_for() {
    let site = Site::new().await;
    let (one, two) = (site.device("one").await, site.device("two, with a comma").await);
    save(&site, &one, json!({"ts": 1, "values": {"a": 1, "b": 2}})).await;
    let query = format!("deviceId={one}&deviceName=two,+with+a+comma&events=telemetry&keys=a");
    let mut events = Events::of(&site, &query).await;
    events.told("telemetry", json!({"deviceId": one, "values": {"a": 1}})).await;
    events.told("live", json!({"devices": 2})).await;
    save(&site, &one, json!({"ts": 2, "values": {"b": 3}})).await;
    site.post(&format!("/api/plugins/telemetry/DEVICE/{one}/attributes/SERVER_SCOPE"), json!({"a": 1})).await;
    save(&site, &two, json!({"ts": 3, "values": {"a": 4, "b": 5}})).await;
    events.told("telemetry", json!({"deviceId": two, "values": {"a": 4}})).await;
    let query = format!("deviceId={one},{two}&events=attributes,connection&scope=SHARED_SCOPE");
    let mut events = Events::of(&site, &query).await;
    events.told("connection", json!({})).await;
    events.told("connection", json!({})).await;
    events.told("live", json!({"devices": 2})).await;

    let many: Vec<String> = (0..=LIVE_KEYS_MAX).map(|key| format!("k{key}")).collect();
    for (query, status, words) in [
        (String::new(), 400, "Say which devices"),
        (
            format!("deviceId={one}&events=frames"),
            400,
            "'frames'; the events are telemetry, attributes, connection",
        ),
        (format!("deviceId={one}&scope=MY_SCOPE"), 400, "Invalid scope: MY_SCOPE"),
        (format!("deviceId={one}&since=1"), 400, "There is no parameter 'since' here"),
        (format!("deviceId={one}&keys={}", many.join(",")), 400, "at most 1024 keys"),
        ("deviceId=x".into(), 400, "Invalid UUID string: x"),
        (format!("deviceId={}", uuid::Uuid::new_v4()), 404, "wasn't found"),
        ("deviceName=nobody".into(), 404, "There is no device 'nobody'"),
    ] {
        let code = if status == 404 { 32 } else { 31 };
        site.refused(Method::GET, &format!("/api/events?{query}"), "", status, code, words).await;
    }
}

#[tokio::test]
async fn a_stream_has_so_many_devices() {
    let site = Site::new().await;
    let mut ids = Vec::new();
    for number in 0..=LIVE_SUBSCRIPTIONS_MAX {
        ids.push(site.device(&format!("d{number}")).await);
    }
    let path = format!("/api/events?deviceId={}", ids.join(","));
    site.refused(Method::GET, &path, "", 400, 31, "at most 256 devices").await;
    ids.pop();
    let mut events = Events::of(&site, &format!("events=telemetry&deviceId={}", ids.join(","))).await;
    events.told("live", json!({"devices": LIVE_SUBSCRIPTIONS_MAX})).await;
}

#[tokio::test]
async fn customers_hear_of_their_own_devices() {
    let site = Site::new().await;
    let (own, others) = (site.device("own").await, site.device("others").await);
    let (customer_id, header) = customer(&site, "one").await;
    site.post(&format!("/api/customer/{customer_id}/device/{own}"), json!({})).await;
    for query in [format!("deviceId={others}"), "deviceName=others".into(), "deviceName=nobody".into()] {
        let headers = [("authorization", header.as_str())];
        let (status, answer) = site.call_as(&headers, Method::GET, &format!("/api/events?{query}"), "").await;
        assert_error(&query, status, &answer, 403, 20);
    }
    let query = format!("deviceId={own}&events=telemetry");
    let mut events = Events::seen_by(&site, &header, &query).await;
    events.told("live", json!({})).await;
    let mut second = Events::seen_by(&site, &header, &query).await;
    second.told("live", json!({})).await;
    site.call(Method::DELETE, &format!("/api/customer/device/{own}"), "").await;
    save(&site, &own, json!({"ts": 1, "values": {"a": 1}})).await;
    events.told("gone", json!({"deviceId": own})).await;
    assert_eq!(events.next().await, None);
    second.told("gone", json!({"deviceId": own})).await;
    site.post(&format!("/api/customer/{customer_id}/device/{own}"), json!({})).await;
    let mut events = Events::seen_by(&site, &header, &query).await;
    events.told("telemetry", json!({})).await;
    events.told("live", json!({})).await;
    site.call(Method::DELETE, &format!("/api/customer/{customer_id}"), "").await;
    events.told("ended", json!({"reason": "Authentication failed"})).await;
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn a_stream_that_is_not_read_is_told_the_state_anew() {
    let site = Site::new().await;
    let id = site.device("d").await;
    let mut events = Events::of(&site, &format!("deviceId={id}&events=telemetry")).await;
    let text = "x".repeat(100_000);
    let last = 60;
    for ts in 1..=last {
        save(&site, &id, json!({"ts": ts, "values": {"n": ts, "text": text}})).await;
    }
    let (mut is_lost, mut told) = (false, Vec::new());
    // The state is that of some moment: what came later is told behind it.
    while !is_lost || told.last() != Some(&last) {
        let (name, data) = events.next().await.unwrap();
        match name.as_str() {
            "telemetry" => told.push(data["ts"].as_i64().unwrap()),
            "lost" => is_lost = true,
            _ => {}
        }
    }
    assert!(told.is_sorted(), "{told:?}");
    assert!(told.len() < 60, "what was not read was not kept: {}", told.len());
}

#[tokio::test]
async fn a_stream_ends_with_whatever_proved_who_listens() {
    let site = Site::new().await;
    let id = site.device("d").await;
    let query = format!("deviceId={id}&events=connection");
    let mut streams = Vec::new();
    let mut ids = Vec::new();
    for expires in [now().0 + 4_000, 0, 0] {
        let (key, header) = key(&site, expires).await;
        let mut events = Events::seen_by(&site, &header, &query).await;
        events.told("connection", json!({})).await;
        events.told("live", json!({})).await;
        streams.push(events);
        ids.push(key);
    }
    let mut of_session = Events::of(&site, &query).await;
    of_session.told("connection", json!({})).await;
    of_session.told("live", json!({})).await;
    site.call(Method::DELETE, &format!("/api/apiKey/{}", ids[1]), "").await;
    site.call(Method::PUT, &format!("/api/apiKey/{}/enabled/false", ids[2]), "").await;
    let reasons = ["The API key has expired", "Authentication failed", "The API key is disabled"];
    for (events, reason) in streams.iter_mut().zip(reasons) {
        events.told("ended", json!({"reason": reason})).await;
        assert_eq!(events.next().await, None);
    }
    let change = json!({"currentPassword": PASSWORD, "newPassword": "correct horse 2"});
    site.post("/api/auth/changePassword", change).await;
    of_session.told("ended", json!({})).await;
    assert_eq!(of_session.next().await, None);
}

/// A new key of the administrator: its id, and the header that shows it.
async fn key(site: &Site, expires: i64) -> (String, String) {
    let made = site.post("/api/apiKey", json!({"description": "k", "expirationTime": expires})).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&made["id"]["id"]), format!("ApiKey {}", text(&made["value"])))
}
