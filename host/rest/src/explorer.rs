//! The OpenAPI document and a page to explore it with, both out of the binary: nothing is loaded from elsewhere.
//!
//! The page is Swagger UI, packed by `build.rs`; only how it starts is ours, in `explorer/`.

use axum::Router;
use axum::extract::Path;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;

use crate::Api;
use crate::error::ApiError;
use crate::openapi::openapi;

/// Scripts and requests stay with this server; the page's pictures are within its styles.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// One file of the page.
struct File {
    name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
    is_packed: bool,
}

const FILES: [File; 4] = [
    File {
        name: "index.html",
        kind: "text/html; charset=utf-8",
        bytes: include_bytes!("../explorer/index.html"),
        is_packed: false,
    },
    File {
        name: "initializer.js",
        kind: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../explorer/initializer.js"),
        is_packed: false,
    },
    File {
        name: "swagger-ui.css",
        kind: "text/css; charset=utf-8",
        bytes: include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui.css.gz")),
        is_packed: true,
    },
    File {
        name: "swagger-ui-bundle.js",
        kind: "text/javascript; charset=utf-8",
        bytes: include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui-bundle.js.gz")),
        is_packed: true,
    },
];

/// The page; it is for everybody, as it shows nothing that is not in the documentation.
pub(crate) fn router() -> Router<Api> {
    Router::new()
        .route("/swagger-ui", get(|| async { Redirect::permanent("/swagger-ui/") }))
        .route("/swagger-ui/", get(|| async { file("index.html") }))
        .route("/swagger-ui/{name}", get(|Path(name): Path<String>| async move { file(&name) }))
}

fn file(name: &str) -> Result<Response, ApiError> {
    let found = FILES.iter().find(|file| file.name == name).ok_or_else(ApiError::not_found)?;
    // What is ours changes with the document; what is not, with a new version of the server at most.
    let kept = if found.is_packed { "max-age=3600" } else { "no-cache" };
    let headers = [
        (CONTENT_TYPE, found.kind),
        (CACHE_CONTROL, kept),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    // Every browser takes gzip, so there is no other form of these files; `curl` unpacks them with `--compressed`.
    let packing = found.is_packed.then_some([(CONTENT_ENCODING, "gzip")]);
    Ok(match packing {
        Some(packing) => (headers, packing, found.bytes).into_response(),
        None => (headers, found.bytes).into_response(),
    })
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
