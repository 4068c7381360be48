//! The OpenAPI document and a page to explore it with, both out of the binary: nothing is loaded from elsewhere.
//!
//! The page is Swagger UI; only how it starts is ours, in `explorer/`.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use utoipa_swagger_ui::Config;

use crate::Api;
use crate::error::ApiError;
use crate::openapi::openapi;

/// Scripts and requests stay with this server; the page's pictures are within its styles.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page; it is for everybody, as it shows nothing that is not in the documentation.
pub(crate) fn router() -> Router<Api> {
    Router::new()
        .route("/swagger-ui", get(|| async { Redirect::permanent("/swagger-ui/") }))
        .route("/swagger-ui/", get(|| async { file("index.html") }))
        .route("/swagger-ui/{name}", get(|Path(name): Path<String>| async move { file(&name) }))
}

/// A file of the page: ours, which change with the document, and those that change with the server at most.
fn file(name: &str) -> Result<Response, ApiError> {
    const HTML: &str = "text/html; charset=utf-8";
    const SCRIPT: &str = "text/javascript; charset=utf-8";
    const STYLES: &str = "text/css; charset=utf-8";
    let (kind, kept, bytes) = match name {
        "index.html" => (HTML, "no-cache", include_bytes!("../explorer/index.html").as_slice().into()),
        "initializer.js" => {
            (SCRIPT, "no-cache", include_bytes!("../explorer/initializer.js").as_slice().into())
        }
        "swagger-ui.css" => (STYLES, "max-age=3600", packed(name)?),
        "swagger-ui-bundle.js" => (SCRIPT, "max-age=3600", packed(name)?),
        _ => return Err(ApiError::not_found()),
    };
    let headers = [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, kept),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, Bytes::from(bytes)).into_response())
}

/// A file of Swagger UI.
fn packed(name: &str) -> Result<Vec<u8>, ApiError> {
    let file = utoipa_swagger_ui::serve(name, Arc::new(Config::default()));
    let file = file.map_err(|error| ApiError::internal(&*error))?.ok_or_else(ApiError::not_found)?;
    Ok(file.bytes.into_owned())
}

/// Gives this document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "readOpenapi",
    tag = "Server",
    responses((status = 200, description = "The document, OpenAPI 3.1.", body = serde_json::Value)),
)]
pub(crate) async fn document() -> Response {
    ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-cache")], openapi()).into_response()
}

/// Gives this document where existing clients look for it.
#[utoipa::path(
    get,
    path = "/v3/api-docs",
    operation_id = "readOpenapiWhereClientsLook",
    tag = "Server",
    responses((status = 200, description = "The document, OpenAPI 3.1.", body = serde_json::Value)),
)]
pub(crate) async fn document_where_clients_look() -> Response {
    document().await
}
