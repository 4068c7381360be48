//! Who gets in, and how: no operation but those named here lets a stranger do anything.

use axum::body::Body;
use axum::http::Method;
use serde_json::json;
use wireglot_device::ADMINISTRATOR_EMAIL;
use wireglot_model::limits::LOGINS_PER_MINUTE_MAX;

use super::{PASSWORD, Site, assert_error};
use wireglot_device::now;

#[tokio::test]
async fn a_login_gives_the_tokens_that_clients_read() {
    let site = Site::new().await;
    let login = json!({"username": ADMINISTRATOR_EMAIL, "password": PASSWORD});
    let (status, pair) = site.call_as(&[], Method::POST, "/api/auth/login", login.to_string()).await;
    assert_eq!((status.as_u16(), &pair["scope"]), (200, &json!(null)));
    let claims = |token: &str| {
        let rules = jsonwebtoken::dangerous::insecure_decode::<serde_json::Value>(token).unwrap();
        assert_eq!(rules.header.alg, jsonwebtoken::Algorithm::HS512);
        rules.claims
    };
    let access = claims(pair["token"].as_str().unwrap());
    let life = |claims: &serde_json::Value| claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    assert_eq!((life(&access), &access["scopes"]), (9_000, &json!(["TENANT_ADMIN"])));
    assert_eq!((&access["sub"], &access["enabled"]), (&json!(ADMINISTRATOR_EMAIL), &json!(true)));
    assert_eq!((&access["isPublic"], &access["iss"]), (&json!(false), &json!("wireglot")));
    for claim in ["userId", "tenantId", "customerId", "sessionId"] {
        assert!(access[claim].as_str().unwrap().parse::<uuid::Uuid>().is_ok(), "{claim}");
    }
    let refresh = claims(pair["refreshToken"].as_str().unwrap());
    assert_eq!((life(&refresh), &refresh["scopes"]), (604_800, &json!(["REFRESH_TOKEN"])));

    let header = format!("Bearer {}", pair["token"].as_str().unwrap());
    let (_, user) = site.call_as(&[("authorization", &header)], Method::GET, "/api/auth/user", "").await;
    assert_eq!((&user["email"], &user["authority"]), (&json!(ADMINISTRATOR_EMAIL), &json!("TENANT_ADMIN")));
    assert_eq!((&user["id"]["entityType"], &user["name"]), (&json!("USER"), &json!(ADMINISTRATOR_EMAIL)));
    // `X-Authorization` is looked at first.
    let headers = [("authorization", header.as_str()), ("x-authorization", "Bearer no")];
    let (status, _) = site.call_as(&headers, Method::GET, "/api/auth/user", "").await;
    assert_eq!(status.as_u16(), 401);
}

#[tokio::test]
async fn a_session_is_renewed_until_it_is_ended() {
    let site = Site::new().await;
    let user = site.api.devices.login(ADMINISTRATOR_EMAIL, PASSWORD).unwrap();
    let pair = site.api.tokens.issue(&user, uuid::Uuid::new_v4(), now()).unwrap();
    let renew = |token: String| {
        let body = json!({"refreshToken": token}).to_string();
        site.call_as(&[], Method::POST, "/api/auth/token", body)
    };
    let (status, renewed) = renew(pair.refresh.clone()).await;
    assert_eq!(status.as_u16(), 200, "{renewed}");
    let (status, answer) = renew(pair.access.clone()).await;
    assert_error("an access token", status, &answer, 401, 10);
    let header = format!("Bearer {}", renewed["token"].as_str().unwrap());
    let headers = [("x-authorization", header.as_str())];
    let (status, _) = site.call_as(&headers, Method::POST, "/api/auth/logout", "{}").await;
    assert_eq!(status.as_u16(), 200);
    let (status, answer) = site.call_as(&headers, Method::GET, "/api/auth/user", "").await;
    assert_error("after the end", status, &answer, 401, 10);
    let (status, answer) = renew(pair.refresh).await;
    assert_error("after the end", status, &answer, 401, 10);
    assert_eq!(site.get("/api/auth/user").await["email"], ADMINISTRATOR_EMAIL, "other sessions go on");
}

#[tokio::test]
async fn wrong_logins_are_refused_and_slowed_down() {
    let site = Site::new().await;
    let login = |user: &str, password: &str| {
        let body = json!({"username": user, "password": password}).to_string();
        site.call_as(&[], Method::POST, "/api/auth/login", body)
    };
    for (user, password) in [(ADMINISTRATOR_EMAIL, "wrong"), ("nobody", PASSWORD)] {
        let (status, answer) = login(user, password).await;
        assert_error(user, status, &answer, 401, 10);
        assert_eq!(answer["message"], "Invalid username or password");
    }
    let (status, answer) = site.call_as(&[], Method::POST, "/api/auth/login", "{").await;
    assert_error("not JSON, which is no try", status, &answer, 400, 31);
    for _ in 3..LOGINS_PER_MINUTE_MAX {
        login("nobody", "").await;
    }
    for _ in 0..3 {
        assert_eq!(
            login(ADMINISTRATOR_EMAIL, PASSWORD).await.0.as_u16(),
            200,
            "what succeeds does not count"
        );
    }
    assert_eq!(login("nobody", "").await.0.as_u16(), 401, "the last try");
    let (status, answer) = login(ADMINISTRATOR_EMAIL, PASSWORD).await;
    assert_error("too many", status, &answer, 429, 33);
}

#[tokio::test]
async fn what_is_not_there_is_told_in_the_shape_of_errors() {
    let site = Site::new().await;
    site.refused(Method::GET, "/api/nothing", Body::empty(), 404, 32, "").await;
    site.refused(Method::GET, "/nothing", Body::empty(), 404, 32, "").await;
    site.refused(Method::PATCH, "/api/device", Body::empty(), 405, 31, "").await;
    site.refused(Method::POST, "/api/device", "{\"name\":", 400, 31, "Invalid JSON").await;
    let large = vec![b' '; wireglot_model::limits::REST_BODY_BYTES_MAX + 1];
    site.refused(Method::POST, "/api/device", large, 413, 31, "too large").await;
    // Who has proven nothing holds little.
    let large = vec![b' '; wireglot_model::limits::STRANGERS_BODY_BYTES_MAX + 1];
    for path in ["/api/auth/login", "/api/auth/token", "/api/noauth/activate"] {
        site.refused(Method::POST, path, large.clone(), 413, 31, "too large").await;
    }
}
