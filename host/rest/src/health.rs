//! Whether the process lives, whether it serves, and its figures. Open to everybody, so they tell nothing else.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use crate::Api;
use crate::metrics;

/// `GET /health`: the process lives.
pub(crate) async fn alive() -> &'static str {
    "ok\n"
}

/// `GET /ready`: devices and clients are served.
pub(crate) async fn ready(State(api): State<Api>) -> Response {
    if *api.stopping.borrow() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    if !api.devices.healthy() {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "the store takes no more changes: see the log, then restart\n",
        )
            .into_response();
    }
    if !(api.ready)() {
        return (StatusCode::SERVICE_UNAVAILABLE, "not serving yet\n").into_response();
    }
    "ready\n".into_response()
}

/// `GET /metrics`
pub(crate) async fn metrics(State(api): State<Api>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics::write(&api)).into_response()
}
