//! Whether the process lives, whether it serves, and its figures. Open to everybody, so they tell nothing else.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use crate::Api;
use crate::metrics;

/// Tells that the process lives.
#[utoipa::path(
    get,
    path = "/health",
    operation_id = "checkAlive",
    tag = "Server",
    responses((status = 200, description = "It lives.", body = String)),
)]
pub(crate) async fn alive() -> &'static str {
    "ok\n"
}

/// Tells whether devices and clients are served.
#[utoipa::path(
    get,
    path = "/ready",
    operation_id = "checkReady",
    tag = "Server",
    responses(
        (status = 200, description = "They are served.", body = String),
        (status = 503, description = "They are not; the text says why.", body = String),
    ),
)]
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

/// Gives the figures of the server, in the text format of Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "readMetrics",
    tag = "Server",
    responses((status = 200, description = "The figures.", body = String)),
)]
pub(crate) async fn metrics(State(api): State<Api>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics::write(&api)).into_response()
}
