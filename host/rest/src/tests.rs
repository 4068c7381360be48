//! The real router over a real store: every operation refuses strangers, and shapes are those that clients know.

mod access;
mod api_keys;
mod candidates;
mod contract;
mod customers;
mod device_api;
mod entities;
mod events;
mod explorer;
mod limits;
mod lists;
mod live;
mod operating;
mod provisioning;
mod proxies;
mod resources;
mod rpc;
mod series;
mod sessions;
mod socket;
mod users;
mod versions;
mod walk;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tower_service::Service as _;
use wireglot_bus::Bus;
use wireglot_codec::{CodecConfig, CodecFolder, CodecTable};
use wireglot_device::{ADMINISTRATOR_EMAIL, Devices};
use wireglot_model::Networks;
use wireglot_model::limits::HISTORY_ANSWER_BYTES_MAX;
use wireglot_store::{Store, StoreConfig};

use crate::{Api, RestConfig, routes};
use wireglot_device::now;

const PASSWORD: &str = "correct horse";

struct Site {
    api: Api,
    router: Router,
    /// Of the administrator.
    token: String,
    _stop: watch::Sender<bool>,
    _folder: TempDir,
}

/// Everything that a `RestConfig` needs, in a folder of its own.
async fn config() -> (RestConfig, TempDir) {
    let folder = TempDir::new().unwrap();
    let store = Store::open(&folder.path().join("store"), StoreConfig::default()).unwrap();
    let bus = Bus::new();
    let (devices, _) = Devices::open(store, bus.clone(), Some(PASSWORD.into()), now()).await.unwrap();
    let codecs = CodecTable::open(CodecConfig::new(folder.path(), folder.path().join("codecs"))).unwrap();
    let config = RestConfig {
        listener: std::net::TcpListener::bind("127.0.0.1:0").unwrap(),
        devices,
        folder: CodecFolder::new(codecs.clone()),
        codecs,
        bus,
        trusted_proxies: Networks::default(),
        metrics: Box::new(|| "# from the host\n".into()),
        ready: Box::new(|| true),
    };
    (config, folder)
}

impl Site {
    async fn new() -> Self {
        Self::behind(Networks::default()).await
    }

    /// With these proxies in front of it.
    async fn behind(trusted_proxies: Networks) -> Self {
        let (config, folder) = config().await;
        let config = RestConfig { trusted_proxies, ..config };
        let (stop, stopping) = watch::channel(false);
        let (api, _listener) = Api::new(config, stopping);
        let user = api.devices.login(ADMINISTRATOR_EMAIL, PASSWORD).unwrap();
        let token = api.tokens.issue(&user, uuid::Uuid::new_v4(), now()).unwrap().access;
        Self { router: routes::router(&api), api, token, _stop: stop, _folder: folder }
    }

    /// As the administrator.
    async fn call(&self, method: Method, path: &str, body: impl Into<Body>) -> (StatusCode, Value) {
        let header = format!("Bearer {}", self.token);
        self.call_as(&[("x-authorization", &header)], method, path, body).await
    }

    async fn call_as(
        &self,
        headers: &[(&str, &str)],
        method: Method,
        path: &str,
        body: impl Into<Body>,
    ) -> (StatusCode, Value) {
        let mut request = Request::builder().method(method.clone()).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.router.clone().call(request.body(body.into()).unwrap()).await.unwrap();
        let status = response.status();
        let kind = response.headers().get(CONTENT_TYPE).map(|kind| kind.to_str().unwrap().to_owned());
        let bytes = to_bytes(response.into_body(), HISTORY_ANSWER_BYTES_MAX).await.unwrap();
        contract::check(&method, path, status, kind.as_deref(), &bytes);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::String(text)))
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call(Method::GET, path, Body::empty()).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let (status, body) = self.call(Method::POST, path, body.to_string()).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    /// The call must be refused with this status, code and message, in the one shape of errors.
    async fn refused(
        &self,
        method: Method,
        path: &str,
        body: impl Into<Body>,
        status: u16,
        code: u8,
        message: &str,
    ) {
        let (found, answer) = self.call(method, path, body).await;
        assert_error(path, found, &answer, status, code);
        let told = answer["message"].as_str().unwrap();
        assert!(told.contains(message), "{path}: {told:?} has no {message:?}");
    }

    /// Makes a device and gives its id.
    async fn device(&self, name: &str) -> String {
        let device = self.post("/api/device", json!({"name": name})).await;
        device["id"]["id"].as_str().unwrap().to_owned()
    }
}

#[track_caller]
fn assert_error(path: &str, found: StatusCode, answer: &Value, status: u16, code: u8) {
    assert_eq!(found.as_u16(), status, "{path}: {answer}");
    assert_eq!((&answer["status"], &answer["errorCode"]), (&json!(status), &json!(code)), "{path}: {answer}");
    assert!(answer["timestamp"].is_i64() || answer["timestamp"].is_u64(), "{path}: {answer}");
    assert!(answer["message"].is_string(), "{path}: {answer}");
}
