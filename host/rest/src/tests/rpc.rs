//! Asking devices over HTTP: shapes and refusals. What a device makes of it is told in the stories of the whole server.

use axum::body::Body;
use axum::http::Method;
use serde_json::json;
use wireglot_model::limits::{RPC_PARAMS_BYTES_MAX, RPC_WAITERS_MAX, RPCS_PENDING_PER_DEVICE_MAX};

use super::Site;
use wireglot_device::now;

const NOBODY: &str = "13814000-1dd2-11b2-8080-808080808080";

#[tokio::test]
async fn what_cannot_be_asked_is_refused_with_a_reason() {
    let site = Site::new().await;
    let device = site.device("d").await;
    let params = format!("\"{}\"", "x".repeat(RPC_PARAMS_BYTES_MAX));
    let giant = format!("{{\"method\":\"m\",\"params\":{params}}}");
    for kind in ["rpc/oneway", "rpc/twoway", "plugins/rpc/oneway", "plugins/rpc/twoway"] {
        for (body, words) in [
            ("{}", "An RPC needs a 'method'"),
            (r#"{"params":1}"#, "An RPC needs a 'method'"),
            (r#"{"method":null}"#, "An RPC needs a 'method'"),
            (r#"{"method":""}"#, "1 to 255 bytes"),
            (r#"{"method":7}"#, "Invalid JSON: method: invalid type: integer `7`"),
            ("", "Invalid JSON"),
            ("setGpio", "Invalid JSON"),
            (r#"{"method":"m","params":{"#, "Invalid JSON"),
            (r#"{"method":"m","timeout":"soon"}"#, "Invalid JSON"),
            (r#"{"method":"m","retries":-1}"#, "Invalid JSON"),
            (r#"{"method":"m","requestUUID":"7"}"#, "Invalid UUID string: 7"),
            (giant.as_str(), "at most 65536 bytes"),
        ] {
            let path = format!("/api/{kind}/{device}");
            site.refused(Method::POST, &path, body.to_owned(), 400, 31, words).await;
        }
        // 208
        let (path, body) = (format!("/api/{kind}/{NOBODY}"), r#"{"method":"m"}"#);
        site.refused(Method::POST, &path, body, 404, 32, "wasn't found").await;
        site.refused(Method::POST, &format!("/api/{kind}/7"), body, 400, 31, "Invalid UUID string: 7").await;
    }
}

#[tokio::test]
async fn what_nobody_takes_times_out_as_each_generation_says() {
    let site = Site::new().await;
    let device = site.device("d").await;
    // 206, 207
    for (kind, status) in
        [("rpc/oneway", 504), ("rpc/twoway", 504), ("plugins/rpc/oneway", 409), ("plugins/rpc/twoway", 409)]
    {
        let body = json!({"method": "m", "expirationTime": now().0}).to_string();
        let (found, answer) = site.call(Method::POST, &format!("/api/{kind}/{device}"), body).await;
        assert_eq!((found.as_u16(), answer), (status, json!("")), "{kind}");
    }
}

#[tokio::test]
async fn persistent_rpcs_are_listed_read_and_deleted() {
    let site = Site::new().await;
    let device = site.device("d").await;
    let mut ids = Vec::new();
    for (kind, info) in [("oneway", json!({"why": "test"})), ("twoway", json!(null))] {
        let body = json!({"method": kind, "params": {"b": 1, "a": [2]}, "persistent": true, "retries": 2,
            "additionalInfo": info, "timeout": 20_000});
        let answer = site.post(&format!("/api/rpc/{kind}/{device}"), body).await;
        ids.push(answer["rpcId"].as_str().unwrap().to_owned());
    }
    let path = |id: &str| format!("/api/rpc/persistent/{id}");
    let read = site.get(&path(&ids[0])).await;
    assert_eq!(read["id"], json!({"entityType": "RPC", "id": ids[0]}));
    assert_eq!(read["deviceId"], json!({"entityType": "DEVICE", "id": device}));
    assert_eq!((&read["status"], &read["response"]), (&json!("QUEUED"), &json!(null)));
    assert_eq!(read["additionalInfo"], json!({"why": "test"}));
    assert_eq!(read["request"]["body"], json!({"method": "oneway", "params": "{\"a\":[2],\"b\":1}"}));
    assert_eq!((&read["request"]["oneway"], &read["request"]["retries"]), (&json!(true), &json!(2)));
    let life = read["expirationTime"].as_i64().unwrap() - read["createdTime"].as_i64().unwrap();
    assert_eq!(life, 20_000);

    let list = format!("/api/rpc/persistent/device/{device}?pageSize=10&page=0");
    let methods = async |query: &str| {
        let page = site.get(&format!("{list}{query}")).await;
        let of = |rpc: &serde_json::Value| rpc["request"]["body"]["method"].as_str().unwrap().to_owned();
        page["data"].as_array().unwrap().iter().map(of).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(methods("").await, "oneway twoway");
    assert_eq!(methods("&sortProperty=createdTime&sortOrder=DESC").await, "twoway oneway");
    assert_eq!(methods("&rpcStatus=QUEUED&textSearch=TWO").await, "twoway");
    assert_eq!(methods("&rpcStatus=SUCCESSFUL").await, "");
    assert_eq!(methods("&rpcStatus=DELETED").await, "");
    site.refused(Method::GET, &format!("{list}&rpcStatus=LOST"), Body::empty(), 400, 31, "QUEUED, SENT")
        .await;
    let unknown = format!("/api/rpc/persistent/device/{NOBODY}?pageSize=1&page=0");
    site.refused(Method::GET, &unknown, Body::empty(), 404, 32, "wasn't found").await;

    let (status, _) = site.call(Method::DELETE, &path(&ids[0]), Body::empty()).await;
    assert_eq!(status.as_u16(), 200);
    for method in [Method::GET, Method::DELETE] {
        site.refused(method, &path(&ids[0]), Body::empty(), 404, 32, "wasn't found").await;
    }
    assert_eq!(methods("").await, "twoway");
    let again = json!({"method": "m", "persistent": true, "requestUUID": ids[1]}).to_string();
    let path = format!("/api/rpc/oneway/{device}");
    site.refused(Method::POST, &path, again, 400, 31, "there is an RPC with this id already").await;
}

#[tokio::test]
async fn callers_that_wait_are_bounded() {
    let site = Site::new().await;
    let device = site.device("d").await;
    let path = format!("/api/rpc/oneway/{device}");
    for _ in 0..RPCS_PENDING_PER_DEVICE_MAX {
        site.post(&path, json!({"method": "m", "persistent": true})).await;
    }
    let body = r#"{"method":"m"}"#;
    site.refused(Method::POST, &path, body, 429, 33, "wait for this device already").await;
    let places = site.api.rpc_waiters.try_acquire_many(RPC_WAITERS_MAX as u32).unwrap();
    site.refused(Method::POST, &path, body, 429, 33, "Too many requests").await;
    drop(places);
}
