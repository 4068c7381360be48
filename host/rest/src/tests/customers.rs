//! Customers, their users, and what such a user sees: its customer's devices and nothing else.

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};
use wireglot_model::limits::{ACTIVATION_MS, LOGINS_PER_MINUTE_MAX};

use super::{Site, assert_error};
use wireglot_device::{UserDraft, now};
use wireglot_model::Timestamp;

const SECRET: &str = "correct horse 2";

/// A customer, and the header of a user of it.
pub(super) async fn customer(site: &Site, title: &str) -> (String, String) {
    let customer = site.post("/api/customer", json!({"title": title, "email": "c@d", "unknown": 1})).await;
    assert_eq!((&customer["id"]["entityType"], &customer["name"]), (&json!("CUSTOMER"), &json!(title)));
    assert_eq!((&customer["email"], &customer["unknown"]), (&json!("c@d"), &Value::Null));
    let id = customer["id"]["id"].as_str().unwrap().to_owned();
    let draft = json!({
        "email": format!("user@{title}"), "authority": "CUSTOMER_USER", "customerId": customer["id"], "firstName": "F",
    });
    let user = site.post("/api/user?sendActivationMail=false", draft).await;
    assert_eq!((&user["authority"], &user["customerId"]["id"]), (&json!("CUSTOMER_USER"), &json!(id)));
    let user = site.api.devices.user(user["id"]["id"].as_str().unwrap().parse().unwrap()).unwrap();
    let access = site.api.tokens.issue(&user, uuid::Uuid::new_v4(), now()).unwrap().access;
    (id, format!("Bearer {access}"))
}

pub(super) async fn call(site: &Site, header: &str, method: Method, path: &str, body: &str) -> (u16, Value) {
    let (status, answer) = site.call_as(&[("x-authorization", header)], method, path, body.to_owned()).await;
    (status.as_u16(), answer)
}

#[tokio::test]
async fn customers_are_made_changed_and_deleted() {
    let site = Site::new().await;
    let (id, header) = customer(&site, "one").await;
    let path = format!("/api/customer/{id}");
    let mut found = site.get(&path).await;
    found["title"] = json!("uno");
    found["city"] = json!("Kyiv");
    let saved = site.post("/api/customer", found.clone()).await;
    assert_eq!(
        (&saved["name"], &saved["city"], &saved["version"]),
        (&json!("uno"), &json!("Kyiv"), &json!(2))
    );
    site.refused(Method::POST, "/api/customer", found.to_string(), 409, 35, "changed").await;
    site.refused(Method::POST, "/api/customer", "{}", 400, 31, "Customer title should be specified!").await;
    assert_eq!(site.get(&format!("{path}/shortInfo")).await, json!({"title": "uno", "isPublic": false}));
    let (status, _) = site.call(Method::DELETE, &path, Body::empty()).await;
    assert_eq!(status.as_u16(), 200);
    site.refused(Method::GET, &path, Body::empty(), 404, 32, "").await;
    let (status, answer) = call(&site, &header, Method::GET, "/api/auth/user", "").await;
    assert_eq!(status, 401, "its users are gone: {answer}");
}

#[tokio::test]
async fn a_link_that_has_ended_is_replaced_by_asking_again() {
    let site = Site::new().await;
    let customer = site.post("/api/customer", json!({"title": "one"})).await["id"]["id"].clone();
    let customer = customer.as_str().unwrap().parse().unwrap();
    let draft = UserDraft {
        email: "a@b".into(),
        first_name: None,
        last_name: None,
        phone: None,
        additional_info: "null".into(),
        customer: Some(customer),
    };
    let yesterday = Timestamp(now().0 - ACTIVATION_MS);
    let user = site.api.devices.create_user(draft, yesterday).await.unwrap();
    let activate = |token: &str| {
        let body = json!({"activateToken": token, "password": SECRET}).to_string();
        site.call_as(&[], Method::POST, "/api/noauth/activate", body)
    };
    let (status, answer) = activate(user.activation.as_deref().unwrap()).await;
    assert_error("too late", status, &answer, 400, 31);
    assert!(answer["message"].as_str().unwrap().contains("expired"), "{answer}");
    let link = site.get(&format!("/api/user/{}/activationLink", user.id)).await;
    let (_, token) = link.as_str().unwrap().split_once("activateToken=").unwrap();
    assert_eq!(activate(token).await.0.as_u16(), 200);
}

#[tokio::test]
async fn a_user_activates_itself_and_logs_in() {
    let site = Site::new().await;
    let customer = site.post("/api/customer", json!({"title": "one"})).await;
    let of = |authority: Value| json!({"email": "a@b", "authority": authority, "customerId": customer["id"]});
    let path = "/api/user";
    for (body, words) in [
        (of(json!("SYS_ADMIN")), "'SYS_ADMIN' is not served"),
        (of(Value::Null), "User authority isn't defined!"),
        (json!({"email": "a@b", "authority": "CUSTOMER_USER"}), "Customer id should be specified!"),
        (json!({"authority": "CUSTOMER_USER", "customerId": customer["id"]}), "Invalid email address"),
    ] {
        site.refused(Method::POST, path, body.to_string(), 400, 31, words).await;
    }
    let user = site.post(path, of(json!("CUSTOMER_USER"))).await;
    let link = format!("/api/user/{}/activationLink", user["id"]["id"].as_str().unwrap());
    let told = site.get(&link).await;
    let (_, token) = told.as_str().unwrap().split_once("/api/noauth/activate?activateToken=").unwrap();
    let activate = |token: &str, password: &str| {
        let body = json!({"activateToken": token, "password": password}).to_string();
        site.call_as(&[], Method::POST, "/api/noauth/activate?sendActivationMail=false", body)
    };
    let (status, answer) = activate("wrong", SECRET).await;
    assert_error("a wrong token", status, &answer, 400, 31);
    let (status, answer) = activate(token, "short").await;
    assert_error("a short password", status, &answer, 400, 31);
    let (status, pair) = activate(token, SECRET).await;
    assert_eq!(status.as_u16(), 200, "{pair}");
    let (status, answer) = activate(token, SECRET).await;
    assert_error("a second time", status, &answer, 400, 31);
    site.refused(Method::GET, &link, Body::empty(), 400, 31, "already activated").await;

    let login = json!({"username": "A@B", "password": SECRET}).to_string();
    let (status, pair) = site.call_as(&[], Method::POST, "/api/auth/login", login).await;
    assert_eq!(status.as_u16(), 200, "{pair}");
    let token = pair["token"].as_str().unwrap();
    let claims = jsonwebtoken::dangerous::insecure_decode::<Value>(token).unwrap().claims;
    assert_eq!(
        (&claims["scopes"], &claims["customerId"]),
        (&json!(["CUSTOMER_USER"]), &customer["id"]["id"])
    );
    let header = format!("Bearer {token}");
    let (_, me) = call(&site, &header, Method::GET, "/api/auth/user", "").await;
    assert_eq!((&me["authority"], &me["customerId"]), (&json!("CUSTOMER_USER"), &customer["id"]));
    for _ in 0..LOGINS_PER_MINUTE_MAX {
        activate("wrong", "").await;
    }
    assert_eq!(activate("wrong", "").await.0.as_u16(), 429, "guessing is slowed down");
}

#[tokio::test]
async fn a_customers_user_does_not_see_other_customers() {
    let site = Site::new().await;
    let (_, header) = customer(&site, "one").await;
    let (other, _) = customer(&site, "other").await;
    for path in ["", "/devices?pageSize=9&page=0", "/shortInfo"] {
        let (status, _) =
            call(&site, &header, Method::GET, &format!("/api/customer/{other}{path}"), "").await;
        assert_eq!(status, 403, "{path}");
    }
}

#[tokio::test]
async fn a_customers_user_sees_its_devices() {
    let site = Site::new().await;
    let (id, header) = customer(&site, "one").await;
    let (mine, free) = (site.device("mine").await, site.device("free").await);
    let assigned = site.post(&format!("/api/customer/{id}/device/{mine}"), json!({})).await;
    assert_eq!(assigned["customerId"], json!({"entityType": "CUSTOMER", "id": id}));
    let telemetry = format!("/api/plugins/telemetry/DEVICE/{mine}");
    for path in [
        format!("/api/device/{mine}"),
        format!("/api/device/info/{mine}"),
        format!("/api/device/{mine}/credentials"),
        format!("{telemetry}/values/timeseries"),
        format!("{telemetry}/values/attributes"),
        format!("/api/customer/{id}"),
    ] {
        let (status, answer) = call(&site, &header, Method::GET, &path, "").await;
        assert_eq!(status, 200, "{path}: {answer}");
    }
    let (_, info) = call(&site, &header, Method::GET, &format!("/api/device/info/{mine}"), "").await;
    assert_eq!(info["customerTitle"], "one");
    let (status, answer) =
        call(&site, &header, Method::POST, &format!("{telemetry}/attributes/SHARED_SCOPE"), "{\"a\":1}")
            .await;
    assert_eq!(status, 200, "{answer}");
    let list = format!("/api/customer/{id}/devices?pageSize=10&page=0");
    let (_, page) = call(&site, &header, Method::GET, &list, "").await;
    assert_eq!((&page["totalElements"], &page["data"][0]["name"]), (&json!(1), &json!("mine")));
    for path in [format!("/api/device/{free}"), format!("/api/device/{}", uuid::Uuid::nil())] {
        assert_eq!(call(&site, &header, Method::GET, &path, "").await.0, 403, "{path}");
    }
    let (status, taken) = site.call(Method::DELETE, &format!("/api/customer/device/{mine}"), "").await;
    assert_eq!(
        (status.as_u16(), &taken["customerId"]["id"]),
        (200, &json!("13814000-1dd2-11b2-8080-808080808080"))
    );
    let path = format!("/api/customer/device/{mine}");
    site.refused(Method::DELETE, &path, "", 400, 31, "isn't assigned to any customer").await;
    assert_eq!(call(&site, &header, Method::GET, &format!("/api/device/{mine}"), "").await.0, 403);
}

// 240, 241, 242, 243
#[tokio::test]
async fn claims_are_answered_in_the_words_of_the_api() {
    let site = Site::new().await;
    let (_, one) = customer(&site, "one").await;
    let (_, other) = customer(&site, "other").await;
    let claim = |header: &str, name: &str, body: &str| {
        let (header, body) = (header.to_owned(), body.to_owned());
        let path = format!("/api/customer/device/{name}/claim");
        let site = &site;
        async move { call(site, &header, Method::POST, &path, &body).await }
    };
    let later = now().0 + 60_000;
    for (name, secret) in [("with secret", "value"), ("wrong", "value"), ("without", "")] {
        let id = site.device(name).await;
        let data = json!({"claimingData": {"secretKey": secret, "expirationTime": later}});
        site.post(&format!("/api/plugins/telemetry/DEVICE/{id}/SERVER_SCOPE"), data).await;
    }
    site.device("unannounced").await;
    let right = "{\"secretKey\":\"value\"}";
    let (status, answer) = claim(&one, "with%20secret", right).await;
    assert_eq!((status, &answer["response"]), (200, &json!("SUCCESS")), "{answer}");
    assert_eq!(answer["device"]["name"], "with secret");
    assert_eq!(claim(&other, "with%20secret", right).await, (400, json!("CLAIMED")));
    assert_eq!(claim(&one, "wrong", "{\"secretKey\":\"x\"}").await, (400, json!("FAILURE")));
    assert_eq!(claim(&one, "unannounced", "{}").await, (400, json!("FAILURE")));
    assert_eq!(claim(&one, "without", "").await.0, 200);
    assert_eq!(claim(&one, "nobody", "").await.0, 404);
    assert_eq!(claim(&one, "without", "{").await.0, 400);
    assert_eq!(claim(&one, "without", "{\"secretKey\":{}}").await.0, 400);
    let (status, answer) = site.call(Method::POST, "/api/customer/device/without/claim", "{}").await;
    assert_error("an administrator", status, &answer, 403, 20);

    let path = "/api/customer/device/without/claim";
    assert_eq!(call(&site, &other, Method::DELETE, path, "").await.0, 403);
    assert_eq!(call(&site, &one, Method::DELETE, path, "").await, (200, json!("SUCCESS")));
    assert_eq!(call(&site, &one, Method::DELETE, path, "").await, (400, json!("FAILURE")));
    let path = "/api/customer/device/with%20secret/claim";
    let (status, answer) = site.call(Method::DELETE, path, "").await;
    assert_eq!((status.as_u16(), answer), (200, json!("SUCCESS")), "an administrator takes it back");
}

#[tokio::test]
async fn secrets_are_guessed_so_often_a_minute() {
    use wireglot_model::limits::{
        CLAIMS_PER_CUSTOMER_AND_MINUTE_MAX as PER_CUSTOMER, CLAIMS_PER_DEVICE_AND_MINUTE_MAX as PER_DEVICE,
    };

    let site = Site::new().await;
    let later = now().0 + 3_600_000;
    for name in ["mine", "other"] {
        let id = site.device(name).await;
        let data = json!({"claimingData": {"secretKey": "value", "expirationTime": later}});
        site.post(&format!("/api/plugins/telemetry/DEVICE/{id}/SERVER_SCOPE"), data).await;
    }
    let claim = async |header: &str, name: &str, secret: &str| {
        let body = json!({"secretKey": secret}).to_string();
        let path = format!("/api/customer/device/{name}/claim");
        call(&site, header, Method::POST, &path, &body).await.0
    };
    let mut customers = Vec::new();
    for number in 0..=PER_DEVICE / PER_CUSTOMER {
        customers.push(customer(&site, &format!("c{number}")).await.1);
    }
    let (honest, guessers) = customers.split_last().unwrap();
    for guesser in guessers {
        for guess in 0..PER_CUSTOMER {
            assert_eq!(claim(guesser, "mine", &guess.to_string()).await, 400);
        }
        // Not even the right one, and not of another device.
        assert_eq!(claim(guesser, "mine", "value").await, 429);
        assert_eq!(claim(guesser, "other", "value").await, 429);
    }
    // The device has been guessed enough for now; whoever is honest claims others, and this one later.
    assert_eq!(claim(honest, "mine", "value").await, 429);
    assert_eq!(claim(honest, "other", "value").await, 200);
}
