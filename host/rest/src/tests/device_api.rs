//! The HTTP device API at its door: what becomes of a request, with the test in place of the workers. What they do is
//! tested where they are, and in `tests/it/http_device.rs`.

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tower_service::Service as _;
use wireglot_bus::Desk;
use wireglot_model::limits::{EVENT_NAME_BYTES_MAX, PACKET_BYTES_MAX, POLL_MS, POLL_MS_DEFAULT};
use wireglot_model::{DeviceAnswer, DeviceCall, RequestRefusal, Wish};

use super::{Site, assert_error, contract};
use crate::routes::{Access, operations};

/// Answers everything alike, and tells what was asked.
fn serve(mut desk: Desk, answer: DeviceAnswer) -> mpsc::UnboundedReceiver<Wish> {
    let (told, asked) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(brought) = desk.next().await {
            drop(told.send(brought.request.wish));
            brought.reply.give(answer.clone());
        }
    });
    asked
}

async fn call(
    site: &Site,
    method: Method,
    path: &str,
    accept: &str,
    body: &str,
) -> (StatusCode, String, Vec<u8>) {
    let request = Request::builder().method(method.clone()).uri(path).header("accept", accept);
    let request = request.body(Body::from(body.to_owned())).unwrap();
    let response = site.router.clone().call(request).await.unwrap();
    let header = |name: &str| {
        response.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    };
    let (status, kind, rpc) = (response.status(), header("content-type"), header("x-rpc-id"));
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec();
    contract::check(&method, path, status, Some(&kind), &bytes);
    (status, format!("{kind}|{rpc}"), bytes)
}

fn path(operation: &str) -> String {
    operation.replace("{token}", "nobody").replace("{id}", "1")
}

#[tokio::test]
async fn an_unknown_token_is_401_without_a_body_everywhere() {
    let site = Site::new().await;
    let desk = site.api.bus.open_desk();
    let _asked = serve(desk, DeviceAnswer::Refused(RequestRefusal::UnknownToken));
    let mut proven = 0;
    for operation in operations() {
        let is_of_device = operation.path.starts_with("/api/v1/{token}/");
        assert_eq!(operation.access == Access::Token, is_of_device, "{}", operation.path);
        if !is_of_device {
            continue;
        }
        let (status, _, body) = call(&site, operation.method, &path(&operation.path), "*/*", "{").await;
        assert_eq!((status.as_u16(), body.len()), (401, 0), "{}", operation.path);
        proven += 1;
    }
    assert_eq!(proven, 10);
    for bad in ["rpc/x", "rpc?timeout=x", "attributes/updates?timeout=-1", "firmware?title=&size=x"] {
        let method = if bad == "rpc/x" { Method::POST } else { Method::GET };
        let (status, _, body) = call(&site, method, &format!("/api/v1/nobody/{bad}"), "*/*", "").await;
        assert_eq!((status.as_u16(), body.len()), (401, 0), "{bad}");
    }
}

#[tokio::test]
async fn each_request_says_what_is_wanted() {
    let site = Site::new().await;
    let mut asked =
        serve(site.api.bus.open_desk(), DeviceAnswer::Said { payload: b"{}".to_vec(), rpc: None });
    let mut wanted = async |method: Method, path: &str, accept: &str, body: &str| {
        let request =
            Request::builder().method(method).uri(format!("/api/v1/{path}")).header("accept", accept);
        let request = request.body(Body::from(body.to_owned())).unwrap();
        assert_eq!(site.router.clone().call(request).await.unwrap().status(), StatusCode::OK, "{path}");
        asked.recv().await.unwrap()
    };
    let Wish::OfDevice { token, is_json, call } =
        wanted(Method::POST, "a%20b/telemetry?event=up", "*/*", "{}").await
    else {
        panic!("of a device")
    };
    assert_eq!((token.as_str(), is_json), ("a b", false));
    assert!(
        matches!(call, DeviceCall::Telemetry { payload, event } if payload == b"{}" && event.as_deref() == Some("up"))
    );
    for event in ["u".repeat(EVENT_NAME_BYTES_MAX + 1), "up%2Fdown".into()] {
        let path = format!("t/telemetry?event={event}");
        let Wish::OfDevice { call, .. } = wanted(Method::POST, &path, "*/*", "").await else { panic!() };
        assert!(matches!(call, DeviceCall::Telemetry { event: None, .. }), "{event}");
    }
    for accept in ["application/json", "Application/JSON; charset=utf-8"] {
        let Wish::OfDevice { is_json, .. } = wanted(Method::POST, "t/claim", accept, "").await else {
            panic!()
        };
        assert!(is_json, "{accept}");
    }
    let accept = "text/html, application/json";
    for (query, expected) in [
        ("", POLL_MS_DEFAULT),
        ("?timeout=0", POLL_MS_DEFAULT),
        ("?timeout=20000&other=1", 20_000),
        ("?timeout=99999999999999", *POLL_MS.end()),
    ] {
        let Wish::OfDevice { is_json: false, call, .. } =
            wanted(Method::GET, &format!("t/rpc{query}"), accept, "").await
        else {
            panic!("of a device that takes anything")
        };
        assert!(matches!(call, DeviceCall::AwaitRpc { timeout_ms } if timeout_ms == expected), "{query}");
    }
    let query = "t/attributes?clientKeys=a,b&sharedKeys=c&sharedKeys=d,&sharedKeys=";
    let Wish::OfDevice { call, .. } = wanted(Method::GET, query, "*/*", "").await else { panic!() };
    let DeviceCall::ReadAttributes { client_keys, shared_keys } = call else { panic!() };
    assert_eq!((client_keys.join(" "), shared_keys.join(" ")), ("a b".into(), "c d".into()));
    let Wish::OfDevice { call, .. } = wanted(Method::POST, "t/rpc/-7", "*/*", "1").await else { panic!() };
    assert!(matches!(call, DeviceCall::RpcResponse { id: -7, .. }));
    assert!(matches!(wanted(Method::POST, "provision", "*/*", "{}").await, Wish::Provision(_)));
}

#[tokio::test]
async fn a_parameter_that_cannot_be_read_is_named() {
    let site = Site::new().await;
    let _asked = serve(site.api.bus.open_desk(), DeviceAnswer::Taken);
    for (method, path, words) in [
        (Method::GET, "rpc?timeout=soon", "timeout"),
        (Method::GET, "attributes/updates?timeout=-1", "timeout"),
        (Method::POST, "rpc/one", "'one'"),
        (Method::GET, "firmware", "title"),
        (Method::GET, "software?title=a", "version"),
        (Method::GET, "firmware?title=a&version=1&size=-1", "size"),
        (Method::GET, "firmware?title=a&version=1&chunk=4294967296", "chunk"),
    ] {
        let path = format!("/api/v1/t/{path}");
        let (status, _, body) = call(&site, method, &path, "*/*", "").await;
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_error(&path, status, &body, 400, 31);
        assert!(body["message"].as_str().unwrap().contains(words), "{body}");
    }
    let (status, _, body) = call(&site, Method::POST, "/api/v1/provision", "*/*", "").await;
    assert!(String::from_utf8(body).unwrap().contains("must not be empty"), "it is not taken for protobuf");
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let (status, _, _) = call(&site, Method::HEAD, "/api/v1/t/rpc", "*/*", "").await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "what is taken has to be said");
    let large = " ".repeat(PACKET_BYTES_MAX + 1);
    let (status, _, _) = call(&site, Method::POST, "/api/v1/t/telemetry", "*/*", &large).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let (status, _, _) =
        call(&site, Method::POST, "/api/v1/t/telemetry", "*/*", large.get(1..).unwrap()).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn what_a_worker_says_becomes_an_answer() {
    let refused = DeviceAnswer::Refused;
    let said = |payload: &[u8], rpc| DeviceAnswer::Said { payload: payload.to_vec(), rpc };
    for (answer, status, headers, body) in [
        (DeviceAnswer::Taken, 200, "|", json!("")),
        (said(b"{\"a\":1}", None), 200, "application/json|", json!({"a": 1})),
        (said(b"{\"id\":7}", Some(7)), 200, "application/json|7", json!({"id": 7})),
        (said(&[1, 0xFF], Some(-1)), 200, "application/octet-stream|-1", json!("")),
        (refused(RequestRefusal::NoAnswer), 408, "|", json!("")),
        (refused(RequestRefusal::OtherTransport), 403, "", json!(20)),
        (refused(RequestRefusal::AddressBlocked), 429, "", json!(33)),
        (refused(RequestRefusal::RateLimited), 429, "", json!(33)),
        (refused(RequestRefusal::TooManyWaiting), 429, "", json!(33)),
        (refused(RequestRefusal::Unusable("why".into())), 400, "", json!(31)),
        (refused(RequestRefusal::NoPackage), 404, "", json!(32)),
        (refused(RequestRefusal::Busy), 503, "", json!(2)),
        (refused(RequestRefusal::Stopping), 503, "", json!(2)),
        (refused(RequestRefusal::Failed), 503, "", json!(2)),
    ] {
        let site = Site::new().await;
        let told = format!("{answer:?}");
        let _asked = serve(site.api.bus.open_desk(), answer);
        let (method, path) = if status == 200 && headers == "|" {
            (Method::POST, "/api/v1/t/telemetry")
        } else {
            (Method::GET, "/api/v1/t/rpc")
        };
        let (found, kind, bytes) = call(&site, method, path, "*/*", "").await;
        assert_eq!(found.as_u16(), status, "{told}");
        match (body.as_u64(), headers) {
            (Some(code), _) => {
                let answer: Value = serde_json::from_slice(&bytes).unwrap();
                assert_error(&told, found, &answer, status, u8::try_from(code).unwrap());
            }
            (None, headers) => {
                assert_eq!(kind, headers, "{told}");
                assert!(body == json!("") || serde_json::from_slice::<Value>(&bytes).unwrap() == body);
            }
        }
    }
    let site = Site::new().await;
    let (status, _, _) = call(&site, Method::POST, "/api/v1/t/telemetry", "*/*", "{}").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "there are no workers");
}
