//! Keys for programs over HTTP (REST §2.10).

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};
use wireglot_device::now;

use super::customers::{call, customer};
use super::{Site, assert_error};

async fn with_key(site: &Site, key: &Value, method: Method, path: &str, body: &str) -> (u16, Value) {
    let header = format!("ApiKey {}", key["value"].as_str().unwrap());
    call(site, &header, method, path, body).await
}

fn path(key: &Value) -> String {
    format!("/api/apiKey/{}", key["id"]["id"].as_str().unwrap())
}

#[tokio::test]
async fn a_key_is_shown_once_and_then_works_in_both_headers() {
    let site = Site::new().await;
    let me = site.get("/api/auth/user").await;
    let key =
        site.post("/api/apiKey", json!({"description": "d", "enabled": true, "expirationTime": 0})).await;
    assert_eq!((&key["id"]["entityType"], &key["userId"]), (&json!("API_KEY"), &me["id"]));
    assert_eq!((&key["description"], &key["enabled"]), (&json!("d"), &json!(true)));
    assert_eq!((&key["expirationTime"], &key["expired"]), (&json!(0), &json!(false)));
    assert!(key["createdTime"].is_u64() && key["tenantId"]["id"].is_string(), "{key}");
    let header = format!("ApiKey {}", key["value"].as_str().unwrap());
    for name in ["x-authorization", "authorization"] {
        let (status, user) = site.call_as(&[(name, &header)], Method::GET, "/api/auth/user", "").await;
        assert_eq!((status.as_u16(), &user["email"]), (200, &me["email"]), "{name}");
    }
    let list = format!("/api/apiKeys/{}?pageSize=10&page=0", me["id"]["id"].as_str().unwrap());
    let page = site.get(&format!("{list}&textSearch=D&sortProperty=description")).await;
    assert_eq!((&page["totalElements"], &page["data"][0]["id"]), (&json!(1), &key["id"]));
    assert!(page["data"][0].get("value").is_none(), "{page}");
    assert_eq!(site.get(&format!("{list}&textSearch=x")).await["data"], json!([]));
    for sort in ["createdTime", "expirationTime", "enabled"] {
        assert_eq!(site.get(&format!("{list}&sortProperty={sort}")).await["totalElements"], 1);
    }
    site.refused(Method::GET, &format!("{list}&sortProperty=value"), "", 400, 31, "Invalid sort property")
        .await;
}

#[tokio::test]
async fn a_key_is_switched_off_described_and_deleted() {
    let site = Site::new().await;
    let key = site.post("/api/apiKey", json!({"description": "d"})).await;
    let shown = async || with_key(&site, &key, Method::GET, "/api/auth/user", "").await;
    let put = async |rest: &str, body: &str| {
        site.call(Method::PUT, &format!("{}{rest}", path(&key)), body.to_owned()).await
    };
    assert_eq!(shown().await.0, 200);
    let (status, off) = put("/enabled/false", "").await;
    assert_eq!((status.as_u16(), &off["enabled"], off.get("value")), (200, &json!(false), None));
    let (status, answer) = shown().await;
    assert_eq!((status, &answer["errorCode"]), (401, &json!(10)));
    assert_eq!(answer["message"], "The API key is disabled");
    // One of the clients writes it like this.
    assert_eq!(put("/enabled/False", "").await.0, 200);
    let (_, described) = put("/description", "\"in JSON\"").await;
    assert_eq!(described["description"], "in JSON");
    assert_eq!(put("/description", "as it is").await.1["description"], "as it is");
    let body = json!({"id": key["id"], "description": "as a whole", "enabled": true});
    let changed = site.post("/api/apiKey", body).await;
    assert_eq!((&changed["description"], changed.get("value")), (&json!("as a whole"), None));
    assert_eq!(shown().await.0, 200);
    assert_eq!(site.call(Method::DELETE, &path(&key), "").await.0, 200);
    let (status, answer) = shown().await;
    assert_eq!((status, &answer["message"]), (401, &json!("Authentication failed")));
    site.refused(Method::DELETE, &path(&key), "", 404, 32, "").await;
}

#[tokio::test]
async fn bad_keys_are_refused() {
    let site = Site::new().await;
    for (body, status, words) in [
        (json!({}), 400, "description should be specified"),
        (json!({"description": "d", "expirationTime": now().0}), 400, "lies in the future"),
        (json!({"description": "d", "expirationTime": -1}), 400, "lies in the future"),
        (json!({"description": "d", "enabled": 1}), 400, "Invalid JSON"),
        (json!({"description": "d", "userId": {"id": "x"}}), 400, "Invalid UUID string: x"),
        (json!({"id": {"id": uuid::Uuid::nil()}}), 404, ""),
    ] {
        let code = if status == 404 { 32 } else { 31 };
        site.refused(Method::POST, "/api/apiKey", body.to_string(), status, code, words).await;
    }
    let key = site.post("/api/apiKey", json!({"description": "d", "expirationTime": now().0 + 60_000})).await;
    site.refused(Method::PUT, &format!("{}/enabled/maybe", path(&key)), "", 400, 31, "not 'maybe'").await;
    site.refused(Method::PUT, &format!("{}/description", path(&key)), "", 400, 31, "should be specified")
        .await;
    for header in ["ApiKey", "ApiKey ", "ApiKey wg_x", "Bearer wg_x", &format!("Basic {}", key["value"])] {
        let (status, answer) =
            site.call_as(&[("x-authorization", header)], Method::GET, "/api/auth/user", "").await;
        assert_error(header, status, &answer, 401, 10);
    }
}

#[tokio::test]
async fn a_key_neither_makes_keys_nor_ends_sessions() {
    let site = Site::new().await;
    let key = site.post("/api/apiKey", json!({"description": "d"})).await;
    let second = site.post("/api/user", json!({"email": "second@y", "authority": "TENANT_ADMIN"})).await;
    let second = second["id"]["id"].as_str().unwrap();
    let password = "{\"currentPassword\":\"correct horse\",\"newPassword\":\"correct horse 2\"}";
    for (method, path, body) in [
        (Method::POST, "/api/auth/logout".to_owned(), "{}"),
        (Method::POST, "/api/auth/changePassword".to_owned(), password),
        (Method::POST, "/api/apiKey".to_owned(), "{\"description\":\"d\"}"),
        (Method::PUT, format!("{}/enabled/false", path(&key)), ""),
        (Method::PUT, format!("{}/description", path(&key)), "x"),
        (Method::DELETE, path(&key), ""),
        (Method::POST, "/api/user".to_owned(), "{\"email\":\"x@y\",\"authority\":\"TENANT_ADMIN\"}"),
        (Method::GET, format!("/api/user/{second}/activationLink"), ""),
        (Method::DELETE, format!("/api/user/{second}"), ""),
    ] {
        let (status, answer) = with_key(&site, &key, method, &path, body).await;
        assert_eq!((status, &answer["errorCode"]), (403, &json!(20)), "{path}: {answer}");
        assert!(answer["message"].as_str().unwrap().contains("log in with a password"), "{answer}");
    }
    let device = with_key(&site, &key, Method::POST, "/api/device", "{\"name\":\"d\"}").await;
    assert_eq!(device.0, 200, "{}", device.1);
    let (status, _) = with_key(&site, &key, Method::GET, "/api/tenant/devices?pageSize=1&page=0", "").await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn nobody_acts_in_the_name_of_an_administrator() {
    let site = Site::new().await;
    let (_, user) = customer(&site, "one").await;
    let (_, stranger) = customer(&site, "other").await;
    let (_, me) = call(&site, &user, Method::GET, "/api/auth/user", "").await;
    let of = |user: &Value| json!({"description": "d", "userId": user}).to_string();
    let body = of(&me["id"]);
    let (status, own) = call(&site, &user, Method::POST, "/api/apiKey", &body).await;
    assert_eq!(status, 200, "{own}");
    let given = site.post("/api/apiKey", json!({"description": "d", "userId": me["id"]})).await;
    let (_, seen) = with_key(&site, &given, Method::GET, "/api/auth/user", "").await;
    assert_eq!(seen["authority"], "CUSTOMER_USER", "a key does what its user may do");
    let (status, _) = with_key(&site, &given, Method::GET, "/api/tenant/devices?pageSize=1&page=0", "").await;
    assert_eq!(status, 403);

    let administrator = site.get("/api/auth/user").await;
    let second = site.post("/api/user", json!({"email": "x@y", "authority": "TENANT_ADMIN"})).await;
    let list = |user: &Value| format!("/api/apiKeys/{}?pageSize=9&page=0", user["id"].as_str().unwrap());
    site.refused(Method::POST, "/api/apiKey", of(&second["id"]), 403, 20, "").await;
    for (header, method, path, body) in [
        (&user, Method::POST, "/api/apiKey".to_owned(), of(&administrator["id"])),
        (&stranger, Method::POST, "/api/apiKey".to_owned(), body),
        (&stranger, Method::GET, list(&me["id"]), String::new()),
        (&user, Method::GET, list(&administrator["id"]), String::new()),
        (&stranger, Method::DELETE, path(&own), String::new()),
        (&stranger, Method::PUT, format!("{}/enabled/false", path(&own)), String::new()),
        (&stranger, Method::DELETE, format!("/api/apiKey/{}", uuid::Uuid::nil()), String::new()),
    ] {
        let (status, answer) = call(&site, header, method, &path, &body).await;
        assert_eq!(status, 403, "{path}: {answer}");
    }
    assert_eq!(site.get(&list(&me["id"])).await["totalElements"], 2);
    let (status, _) = site.call(Method::DELETE, &path(&own), Body::empty()).await;
    assert_eq!(status, 200, "an administrator takes keys away");
    let (_, left) = call(&site, &user, Method::GET, &list(&me["id"]), "").await;
    assert_eq!(left["totalElements"], 1);
}
