//! What serves here (REST §2): clients show it in their footers.

use axum::Json;
use serde_json::{Value, json};

use crate::openapi::schemas;

/// Tells what serves here, and in which version.
#[utoipa::path(
    get,
    path = "/api/system/info",
    operation_id = "readSystemInfo",
    tag = "Server",
    responses(
        (status = 200, description = "Name and version.", body = schemas::SystemInfo),
    ),
)]
pub(crate) async fn info() -> Json<Value> {
    Json(
        json!({"version": env!("CARGO_PKG_VERSION"), "artifact": "wireglot", "name": "Wireglot", "type": "CE"}),
    )
}
