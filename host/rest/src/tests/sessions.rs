//! Passwords and the ends of sessions over HTTP (REST §2.1).

use axum::body::Body;
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use wireglot_device::ADMINISTRATOR_EMAIL;
use wireglot_model::Timestamp;
use wireglot_model::limits::{LOGINS_PER_MINUTE_MAX, LOGOUTS_PER_USER_MAX, WRONG_PASSWORDS_PER_MINUTE_MAX};

use super::{PASSWORD, Site, assert_error};
use crate::access::SESSION_MS;
use crate::peer::Peer;

const OTHER: &str = "correct horse 2";

impl Site {
    async fn with_token(
        &self,
        token: &Value,
        method: Method,
        path: &str,
        body: Value,
    ) -> (StatusCode, Value) {
        let header = format!("Bearer {}", token.as_str().unwrap());
        self.call_as(&[("x-authorization", &header)], method, path, body.to_string()).await
    }

    async fn log_in(&self, password: &str) -> (StatusCode, Value) {
        let login = json!({"username": ADMINISTRATOR_EMAIL, "password": password});
        self.call_as(&[], Method::POST, "/api/auth/login", login.to_string()).await
    }

    async fn renew(&self, refresh: &Value) -> (StatusCode, Value) {
        let body = json!({"refreshToken": refresh}).to_string();
        self.call_as(&[], Method::POST, "/api/auth/token", body).await
    }
}

const CHANGE: &str = "/api/auth/changePassword";

fn change_of(current: &str, new: &str) -> Value {
    json!({"currentPassword": current, "newPassword": new})
}

#[tokio::test]
async fn another_password_ends_all_sessions_but_the_new_one() {
    let site = Site::new().await;
    let (_, mine) = site.log_in(PASSWORD).await;
    let (_, elsewhere) = site.log_in(PASSWORD).await;
    for (body, words) in [
        (change_of("wrong", OTHER), "Current password doesn't match!"),
        (change_of(PASSWORD, PASSWORD), "New password should be different from existing!"),
        (change_of(PASSWORD, "short"), "Password must be no less than 8 characters!"),
        (change_of(PASSWORD, &"x".repeat(257)), "Password must be no more than 256 characters!"),
        (json!({"newPassword": OTHER}), "missing field `currentPassword`"),
    ] {
        let (status, answer) = site.with_token(&mine["token"], Method::POST, CHANGE, body).await;
        assert_error(words, status, &answer, 400, 31);
        assert!(answer["message"].as_str().unwrap().contains(words), "{answer}");
    }
    let (status, pair) =
        site.with_token(&mine["token"], Method::POST, CHANGE, change_of(PASSWORD, OTHER)).await;
    assert_eq!(status.as_u16(), 200, "{pair}");
    for old in [&mine, &elsewhere] {
        let (status, answer) = site.with_token(&old["token"], Method::GET, "/api/auth/user", json!({})).await;
        assert_error("an access token", status, &answer, 401, 10);
        let (status, answer) = site.renew(&old["refreshToken"]).await;
        assert_error("a refresh token", status, &answer, 401, 10);
    }
    assert_eq!(site.with_token(&pair["token"], Method::GET, "/api/auth/user", json!({})).await.0, 200);
    assert_eq!(site.renew(&pair["refreshToken"]).await.0, 200);
    let (status, answer) = site.log_in(PASSWORD).await;
    assert_error("the old password", status, &answer, 401, 10);
    let (status, again) = site.log_in(OTHER).await;
    assert_eq!(status.as_u16(), 200, "{again}");
}

#[tokio::test]
async fn a_new_password_that_is_refused_is_no_wrong_one() {
    let site = Site::new().await;
    let (_, mine) = site.log_in(PASSWORD).await;
    let change = |body: Value| site.with_token(&mine["token"], Method::POST, CHANGE, body);
    for _ in 0..=LOGINS_PER_MINUTE_MAX {
        assert_eq!(change(change_of(PASSWORD, "short")).await.0, 400);
    }
    for _ in 0..LOGINS_PER_MINUTE_MAX {
        assert_eq!(change(change_of("wrong", OTHER)).await.0, 400);
    }
    let (status, answer) = change(change_of(PASSWORD, OTHER)).await;
    assert_error("wrong ones count", status, &answer, 429, 33);
}

#[tokio::test]
async fn a_right_link_with_a_password_that_is_refused_is_no_wrong_link() {
    let site = Site::new().await;
    let draft = json!({"email": "a@b", "authority": "TENANT_ADMIN"});
    let user = site.post("/api/user", draft).await["id"]["id"].as_str().unwrap().to_owned();
    let link = site.get(&format!("/api/user/{user}/activationLink")).await;
    let (_, token) = link.as_str().unwrap().split_once("activateToken=").unwrap();
    let activate = |password: &str| {
        let body = json!({"activateToken": token, "password": password}).to_string();
        site.call_as(&[], Method::POST, "/api/noauth/activate", body)
    };
    for _ in 0..=LOGINS_PER_MINUTE_MAX {
        assert_eq!(activate("short").await.0, 400);
    }
    assert_eq!(activate(OTHER).await.0, 200);
    let told = site.get("/api/audit?pageSize=9&page=0&action=PASSWORD_CHANGED&target=a@b").await;
    assert_eq!((&told["totalElements"], &told["data"][0]["actor"]["name"]), (&json!(1), &json!("a@b")));
}

#[tokio::test]
async fn who_logs_out_too_often_loses_all_sessions() {
    let site = Site::new().await;
    let (_, mine) = site.log_in(PASSWORD).await;
    let (_, elsewhere) = site.log_in(PASSWORD).await;
    let user = site.api.devices.login(ADMINISTRATOR_EMAIL, PASSWORD).unwrap().id;
    let mut ends = tokio::task::JoinSet::new();
    for _ in 0..LOGOUTS_PER_USER_MAX {
        let (devices, now) = (site.api.devices.clone(), wireglot_device::now());
        let until = Timestamp(now.0 + SESSION_MS);
        ends.spawn(async move { devices.end_session(user, uuid::Uuid::new_v4(), until, now).await });
    }
    ends.join_all().await.into_iter().for_each(Result::unwrap);
    assert_eq!(site.with_token(&elsewhere["token"], Method::GET, "/api/auth/user", json!({})).await.0, 200);
    assert_eq!(site.with_token(&mine["token"], Method::POST, "/api/auth/logout", json!({})).await.0, 200);
    for old in [&mine, &elsewhere] {
        let (status, answer) = site.with_token(&old["token"], Method::GET, "/api/auth/user", json!({})).await;
        assert_error("an access token", status, &answer, 401, 10);
        let (status, answer) = site.renew(&old["refreshToken"]).await;
        assert_error("a refresh token", status, &answer, 401, 10);
    }
    let (_, anew) = site.log_in(PASSWORD).await;
    assert_eq!(site.with_token(&anew["token"], Method::GET, "/api/auth/user", json!({})).await.0, 200);
}

#[tokio::test]
async fn many_addresses_together_are_slowed_down_and_the_user_is_not_locked_out() {
    let site = Site::new().await;
    let from = |last: u32, password: &'static str| {
        let login = json!({"username": ADMINISTRATOR_EMAIL, "password": password});
        let request = axum::http::Request::builder().method(Method::POST).uri("/api/auth/login");
        let mut request = request.body(Body::from(login.to_string())).unwrap();
        let address = std::net::IpAddr::from(std::net::Ipv4Addr::from(0x0A00_0000 + last));
        request.extensions_mut().insert(Peer((address, 1).into()));
        let mut router = site.router.clone();
        async move { tower_service::Service::call(&mut router, request).await.unwrap() }
    };
    assert_eq!(from(1, PASSWORD).await.status(), 200, "the user has been here");
    for address in 0..WRONG_PASSWORDS_PER_MINUTE_MAX {
        assert_eq!(from(100 + address, "wrong").await.status(), 401);
    }
    let refused = from(1_000, PASSWORD).await;
    assert_eq!(refused.status(), 429);
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(from(1, PASSWORD).await.status(), 200);
}

#[tokio::test]
async fn a_logout_ends_the_session_and_its_refresh_token() {
    let site = Site::new().await;
    let (_, pair) = site.log_in(PASSWORD).await;
    let (_, renewed) = site.renew(&pair["refreshToken"]).await;
    let (status, answer) =
        site.with_token(&renewed["token"], Method::POST, "/api/auth/logout", json!({})).await;
    assert_eq!((status.as_u16(), answer), (200, json!("")), "200, empty");
    for refresh in [&pair["refreshToken"], &renewed["refreshToken"]] {
        let (status, answer) = site.renew(refresh).await;
        assert_error("after the end", status, &answer, 401, 10);
    }
}

#[tokio::test]
async fn what_serves_here_is_told() {
    let site = Site::new().await;
    let info = site.get("/api/system/info").await;
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    assert!(info["artifact"].is_string() && info["name"].is_string());
}
