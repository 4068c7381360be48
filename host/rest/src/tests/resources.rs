//! Telemetry, attributes, codecs and what operators look at.

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

use super::Site;

async fn path(site: &Site) -> String {
    format!("/api/plugins/telemetry/DEVICE/{}", site.device("d").await)
}

#[tokio::test]
async fn telemetry_is_saved_and_read() {
    let site = Site::new().await;
    let path = path(&site).await;
    let save = format!("{path}/timeseries/ANY");
    let body = r#"[{"ts":1000,"values":{"a":1,"b":"x","c":{"d":null}}},{"ts":2000,"values":{"a":42.0}}]"#;
    let header = format!("Bearer {}", site.token);
    let headers = [("x-authorization", header.as_str()), ("content-type", "text/plain")];
    assert_eq!(site.call_as(&headers, Method::POST, &save, body).await, (200.try_into().unwrap(), json!("")));
    site.post(&format!("{save}/0"), json!({"ts": 3000, "values": {"a": true}})).await;

    assert_eq!(site.get(&format!("{path}/keys/timeseries")).await, json!(["a", "b", "c"]));
    let latest = site.get(&format!("{path}/values/timeseries")).await;
    let expected = json!({
        "a": [{"ts": 3000, "value": "true"}],
        "b": [{"ts": 1000, "value": "x"}],
        "c": [{"ts": 1000, "value": "{}"}],
    });
    assert_eq!(latest, expected);
    let strict = site.get(&format!("{path}/values/timeseries?keys=a,none&useStrictDataTypes=true")).await;
    assert_eq!((&strict["a"][0]["value"], &strict["none"][0]["value"]), (&json!(true), &json!(null)));
    assert!(strict["none"][0]["ts"].as_i64().unwrap() > 3000);

    for history in [format!("{path}/values/timeseries"), format!("{path}/values/timeseries/history")] {
        let read = async |query: &str| site.get(&format!("{history}?{query}")).await.to_string();
        let newest = read("keys=a,none&startTs=1000&endTs=3000").await;
        assert_eq!(newest, r#"{"a":[{"ts":2000,"value":"42.0"},{"ts":1000,"value":"1"}]}"#);
        let oldest = read("key=a&startTs=0&endTs=9000&orderBy=ASC&limit=2&useStrictDataTypes=true").await;
        assert_eq!(oldest, r#"{"a":[{"ts":1000,"value":1},{"ts":2000,"value":42.0}]}"#);
        let sum = read("keys=a&startTs=0&endTs=4000&interval=4000&agg=SUM&limit=1").await;
        assert_eq!(sum, r#"{"a":[{"ts":2000,"value":"43.0"}]}"#);
        let plain = read("keys=b&startTs=0&endTs=4000&interval=0&agg=SUM").await;
        assert_eq!(plain, r#"{"b":[{"ts":1000,"value":"x"}]}"#);
        assert_eq!(read("startTs=1000&endTs=1001").await.matches("\"ts\":1000").count(), 3);
    }
}

#[tokio::test]
async fn bad_telemetry_is_refused() {
    let site = Site::new().await;
    let path = path(&site).await;
    let save = format!("{path}/timeseries/ANY");
    for body in
        ["", "{", "[]", "{}", "5", r#"{"a":null}"#, r#"[{"ts":1,"values":{"a":1,"b":null}}]"#, r#"{" ":1}"#]
    {
        site.refused(Method::POST, &save, body, 400, 31, "").await;
    }
    let unknown = "/api/plugins/telemetry/DEVICE/13814000-1dd2-11b2-8080-808080808080/timeseries/ANY";
    site.refused(Method::POST, unknown, r#"{"a":1}"#, 404, 32, "").await;
    for query in ["startTs=1&endTs=x", "startTs=1&endTs=2&agg=MEDIAN", "startTs=1&endTs=2&orderBy=UP"] {
        let path = format!("{path}/values/timeseries?{query}");
        site.refused(Method::GET, &path, Body::empty(), 400, 31, "").await;
    }
    let asset = path.replace("DEVICE", "ASSET");
    site.refused(Method::GET, &format!("{asset}/keys/timeseries"), Body::empty(), 400, 31, "ASSET").await;
}

#[tokio::test]
async fn attributes_are_written_read_and_deleted() {
    let site = Site::new().await;
    let id = site.device("d").await;
    let path = format!("/api/plugins/telemetry/DEVICE/{id}");
    site.post(&format!("{path}/attributes/SHARED_SCOPE"), json!({"a": 5, "b": "x"})).await;
    site.post(&format!("{path}/SERVER_SCOPE"), json!({"a": 42.0})).await;
    site.post(&format!("/api/plugins/telemetry/{id}/SERVER_SCOPE"), json!({"c": true})).await;
    let values = async |rest: &str| -> Vec<(Value, Value)> {
        let found = site.get(&format!("{path}/values/attributes{rest}")).await;
        let attributes = found.as_array().unwrap();
        assert!(attributes.iter().all(|attribute| attribute["lastUpdateTs"].is_u64()), "{found}");
        attributes.iter().map(|attribute| (attribute["key"].clone(), attribute["value"].clone())).collect()
    };
    assert_eq!(values("/SHARED_SCOPE").await, [(json!("a"), json!(5)), (json!("b"), json!("x"))]);
    assert_eq!(values("/SHARED_SCOPE?keys=b,none").await, [(json!("b"), json!("x"))]);
    assert_eq!(values("?keys=a").await.len(), 2);
    assert_eq!(values("").await.len(), 4);
    assert_eq!(values("/CLIENT_SCOPE").await, []);
    assert_eq!(site.get(&format!("{path}/keys/attributes")).await, json!(["a", "b", "c"]));
    assert_eq!(site.get(&format!("{path}/keys/attributes/SERVER_SCOPE")).await, json!(["a", "c"]));
    for (delete, left) in [
        (format!("{path}/SHARED_SCOPE?keys=a,none"), 3),
        (format!("/api/plugins/telemetry/{id}/SERVER_SCOPE?keys=c"), 2),
    ] {
        assert_eq!(site.call(Method::DELETE, &delete, Body::empty()).await.0.as_u16(), 200);
        assert_eq!(values("").await.len(), left);
    }
    let scope = |scope: &str| format!("{path}/attributes/{scope}");
    site.refused(Method::POST, &scope("CLIENT_SCOPE"), "{\"a\":1}", 400, 31, "Invalid scope: CLIENT_SCOPE")
        .await;
    site.refused(Method::POST, &scope("MY_SCOPE"), "{\"a\":1}", 400, 31, "Invalid scope: MY_SCOPE").await;
    site.refused(Method::POST, &scope("SHARED_SCOPE"), "[1]", 400, 31, "not a JSON object").await;
    let delete = format!("{path}/SHARED_SCOPE");
    site.refused(Method::DELETE, &delete, Body::empty(), 400, 31, "Empty keys: []").await;
}

#[tokio::test]
async fn messages_are_shown_with_what_decoded_them() {
    let site = Site::new().await;
    let id = site.device("d").await;
    let path = format!("/api/plugins/telemetry/DEVICE/{id}/timeseries/ANY");
    site.post(&path, json!([{"ts": 1, "values": {"a": 1}}, {"ts": 2, "values": {"b": 2.0}}])).await;
    let messages = site.get(&format!("/api/device/{id}/messages?startTs=2&limit=10")).await;
    assert_eq!(messages.as_array().unwrap().len(), 1);
    assert_eq!((&messages[0]["ts"], &messages[0]["codec"]), (&json!(2), &json!(null)));
    assert_eq!(messages[0]["values"].to_string(), "{\"b\":2.0}");
    assert!(messages[0]["receivedTs"].is_u64());
    let none = site.get(&format!("/api/device/{id}/messages?startTs=3")).await;
    assert_eq!(none, json!([]));
    assert_eq!(site.get("/api/dead-letters?deviceName=d").await, json!([]));
    site.refused(Method::GET, "/api/dead-letters?deviceName=nobody", Body::empty(), 404, 32, "").await;
}

#[tokio::test]
async fn a_file_that_is_no_codec_is_refused_with_the_reason() {
    let site = Site::new().await;
    assert_eq!(site.get("/api/codecs").await, json!([]));
    let (status, answer) = site.call(Method::PUT, "/api/codecs/mine", "not a component").await;
    super::assert_error("upload", status, &answer, 422, 31);
    let listed = site.get("/api/codecs/mine").await;
    assert_eq!((&listed["name"], &listed["state"]), (&json!("mine"), &json!("rejected")));
    assert!(listed["error"].is_string() && listed["keys"] == json!([]), "{listed}");
    assert_eq!(site.get("/api/codecs").await, json!([listed]));
    site.refused(Method::GET, "/api/codecs/mine/component", Body::empty(), 404, 32, "").await;
    site.refused(Method::GET, "/api/codecs/other", Body::empty(), 404, 32, "").await;
    site.refused(Method::PUT, "/api/codecs/NOT%20A%20NAME", "x", 400, 31, "a codec name is").await;
}

#[tokio::test]
async fn keys_without_a_codec_have_no_description() {
    let site = Site::new().await;
    let path = path(&site).await;
    let descriptions = format!("{path}/keys/timeseries/descriptions");
    assert_eq!(site.get(&descriptions).await, json!({"codec": null, "keys": [], "notSeen": []}));
    site.post(&format!("{path}/timeseries/ANY"), json!({"b": 1, "a": 2})).await;
    let key = |key: &str| json!({"key": key, "describedAs": null, "type": null, "unit": null, "label": null});
    let expected = json!({"codec": null, "keys": [key("a"), key("b")], "notSeen": []});
    assert_eq!(site.get(&descriptions).await, expected);
    let unknown = "/api/plugins/telemetry/DEVICE/13814000-1dd2-11b2-8080-808080808080";
    let unknown = format!("{unknown}/keys/timeseries/descriptions");
    site.refused(Method::GET, &unknown, Body::empty(), 404, 32, "").await;
    site.refused(Method::GET, &descriptions.replace("DEVICE", "ASSET"), Body::empty(), 400, 31, "ASSET")
        .await;
}

#[tokio::test]
async fn a_trace_of_what_does_not_exist_is_refused() {
    let site = Site::new().await;
    site.device("d").await;
    for (query, status, code, message) in [
        ("deviceName=e", 404, 32, "There is no device 'e'"),
        ("deviceProfileName=e", 404, 32, "There is no device profile 'e'"),
        ("codec=e", 404, 32, "There is no codec 'e', and no profile names it"),
        ("codec=../e", 400, 31, "a codec name is"),
        ("stage=trap", 400, 31, "There is no stage 'trap'; the stages are no-codec, refused, trapped"),
        ("events=decode", 400, 31, "There is no event 'decode'; the events are decoded, failed"),
        ("events=failed,decoded&stage=trapped", 400, 31, "Only the event 'failed' has a stage"),
        ("device=d", 400, 31, "There is no parameter 'device' here; there are deviceName"),
    ] {
        let path = format!("/api/trace?{query}");
        site.refused(Method::GET, &path, Body::empty(), status, code, message).await;
    }
}
