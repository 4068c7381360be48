//! Behind reverse proxies: limits of addresses go by the client whom a trusted proxy names, and by nobody else's word.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use serde_json::json;
use tokio::sync::mpsc;
use tower_service::Service as _;
use wireglot_device::ADMINISTRATOR_EMAIL;
use wireglot_model::limits::{LOGINS_PER_MINUTE_MAX, WRONG_PASSWORDS_PER_MINUTE_MAX};
use wireglot_model::{DeviceAnswer, Networks};

use super::{PASSWORD, Site};
use crate::peer::Peer;

const PROXY: &str = "10.0.0.1";

async fn site() -> Site {
    Site::behind(Networks::parse("10.0.0.0/8").unwrap()).await
}

/// A request of whoever is connected from `peer`, who says that it is for `client`.
async fn call(
    site: &Site,
    (peer, client): (&str, &str),
    method: Method,
    path: &str,
    body: String,
) -> StatusCode {
    let request = Request::builder().method(method).uri(path).header("x-forwarded-for", client);
    let mut request = request.body(Body::from(body)).unwrap();
    request.extensions_mut().insert(Peer((peer.parse::<std::net::IpAddr>().unwrap(), 4711).into()));
    site.router.clone().call(request).await.unwrap().status()
}

async fn login(site: &Site, from: (&str, &str), user: &str, password: &str) -> u16 {
    let body = json!({"username": user, "password": password}).to_string();
    call(site, from, Method::POST, "/api/auth/login", body).await.as_u16()
}

#[tokio::test]
async fn clients_behind_one_proxy_are_limited_apart() {
    let site = site().await;
    for _ in 0..LOGINS_PER_MINUTE_MAX {
        assert_eq!(login(&site, (PROXY, "203.0.113.9, 192.0.2.1"), "nobody", "").await, 401);
    }
    assert_eq!(login(&site, (PROXY, "192.0.2.1"), ADMINISTRATOR_EMAIL, PASSWORD).await, 429);
    assert_eq!(login(&site, (PROXY, "192.0.2.1, 10.0.0.2"), ADMINISTRATOR_EMAIL, PASSWORD).await, 429);
    assert_eq!(login(&site, ("192.0.2.1", ""), ADMINISTRATOR_EMAIL, PASSWORD).await, 429, "the same address");
    assert_eq!(login(&site, (PROXY, "192.0.2.2"), ADMINISTRATOR_EMAIL, PASSWORD).await, 200);
    assert_eq!(login(&site, (PROXY, "nonsense"), ADMINISTRATOR_EMAIL, PASSWORD).await, 200, "of the proxy");
    // An activation is a try like others.
    let activation = json!({"activateToken": "wrong", "password": ""}).to_string();
    for (client, status) in [("192.0.2.1", 429), ("192.0.2.2", 400)] {
        let path = "/api/noauth/activate";
        assert_eq!(call(&site, (PROXY, client), Method::POST, path, activation.clone()).await, status);
    }
}

#[tokio::test]
async fn who_is_no_trusted_proxy_speaks_only_for_itself() {
    let site = site().await;
    for number in 0..LOGINS_PER_MINUTE_MAX {
        let spoofed = format!("192.0.2.{number}");
        assert_eq!(login(&site, ("203.0.113.1", &spoofed), "nobody", "").await, 401);
    }
    assert_eq!(login(&site, ("203.0.113.1", "192.0.2.99"), ADMINISTRATOR_EMAIL, PASSWORD).await, 429);
    assert_eq!(login(&site, (PROXY, "192.0.2.0"), ADMINISTRATOR_EMAIL, PASSWORD).await, 200);
}

#[tokio::test]
async fn a_user_is_known_by_the_address_of_the_client() {
    let site = site().await;
    assert_eq!(login(&site, (PROXY, "192.0.2.1"), ADMINISTRATOR_EMAIL, PASSWORD).await, 200);
    for number in 0..WRONG_PASSWORDS_PER_MINUTE_MAX {
        let guesser = format!("198.51.100.{number}");
        assert_eq!(login(&site, (PROXY, &guesser), ADMINISTRATOR_EMAIL, "wrong").await, 401);
    }
    assert_eq!(login(&site, (PROXY, "192.0.2.2"), ADMINISTRATOR_EMAIL, PASSWORD).await, 429);
    assert_eq!(login(&site, (PROXY, "192.0.2.1"), ADMINISTRATOR_EMAIL, PASSWORD).await, 200);
}

/// The worker counts wrong tokens by the address that it is told.
#[tokio::test]
async fn what_a_device_asks_comes_from_its_own_address() {
    let site = site().await;
    let (told, mut asked) = mpsc::unbounded_channel();
    let mut desk = site.api.bus.open_desk();
    tokio::spawn(async move {
        while let Some(brought) = desk.next().await {
            told.send(brought.request.address).unwrap();
            brought.reply.give(DeviceAnswer::Taken);
        }
    });
    for (method, path) in [
        (Method::POST, "t/telemetry"),
        (Method::GET, "t/rpc?timeout=wrong"),
        (Method::GET, "t/firmware?title=a&version=1"),
        (Method::POST, "provision"),
    ] {
        for (peer, client, expected) in [
            (PROXY, "192.0.2.1", "192.0.2.1"),
            (PROXY, "192.0.2.2, 10.9.9.9", "192.0.2.2"),
            (PROXY, "unknown", PROXY),
            ("203.0.113.1", "192.0.2.1", "203.0.113.1"),
        ] {
            let path = format!("/api/v1/{path}");
            call(&site, (peer, client), method.clone(), &path, "{}".to_owned()).await;
            let address = asked.recv().await.unwrap().unwrap();
            assert_eq!(address.to_string(), expected, "{path} from {peer} for {client}");
        }
    }
}
