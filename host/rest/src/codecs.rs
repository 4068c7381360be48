//! Codecs: what is live, upload, download, the kept versions.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, ETAG};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use wireglot_codec::folder::UploadError;
use wireglot_codec::{CodecStatus, HistoryEntry};
use wireglot_model::CodecName;

use crate::Api;
use crate::error::ApiError;
use crate::request::Body;
use wireglot_device::now;

/// `GET /api/codecs`
pub(crate) async fn list(State(api): State<Api>) -> Json<Value> {
    Json(api.codecs.list().iter().map(write).collect())
}

/// `GET /api/codecs/{name}`
pub(crate) async fn read(State(api): State<Api>, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    Ok(Json(write(&find(&api, &codec_name(&name)?)?)))
}

/// `PUT /api/codecs/{name}`: does what dropping the file into the codecs folder does, `NAME.js` where the body is
/// JavaScript.
pub(crate) async fn upload(
    State(api): State<Api>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let name = codec_name(&name)?;
    let (folder, target) = (api.folder.clone(), name.clone());
    let is_script = is_script(&headers);
    let upload = move || match is_script {
        true => folder.upload_script(&target, &body.0, now()),
        false => folder.upload(&target, &body.0, now()),
    };
    let uploaded = tokio::task::spawn_blocking(upload).await;
    match uploaded.map_err(|broken| ApiError::internal(&broken))? {
        Ok(_stamp) => Ok(Json(write(&find(&api, &name)?))),
        Err(UploadError::Rejected(reason)) => Err(ApiError::unprocessable(crate::error::chain(&reason))),
        Err(failure @ UploadError::Folder(_)) => Err(ApiError::internal(&failure)),
    }
}

fn is_script(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    ["text/javascript", "application/javascript"].iter().any(|script| kind.eq_ignore_ascii_case(script))
}

/// `GET /api/codecs/{name}/component`: the bytes of the live version, a component or a script.
pub(crate) async fn download(State(api): State<Api>, Path(name): Path<String>) -> Result<Response, ApiError> {
    let name = codec_name(&name)?;
    let hash = find(&api, &name)?.hash.ok_or_else(ApiError::not_found)?;
    let (codecs, wanted) = (api.codecs.clone(), name.clone());
    let read = tokio::task::spawn_blocking(move || codecs.component_bytes(&wanted)).await;
    let bytes = read.map_err(|broken| ApiError::internal(&broken))?;
    let bytes = bytes.map_err(|failure| ApiError::internal(&failure))?.ok_or_else(ApiError::not_found)?;
    // What is live is either a component, which begins so, or a script.
    let is_component = bytes.starts_with(b"\0asm");
    let (kind, ending) =
        if is_component { ("application/wasm", "wasm") } else { ("text/javascript; charset=utf-8", "js") };
    let headers = [
        (CONTENT_TYPE, kind.to_owned()),
        // The alphabet of codec names needs no quoting.
        (CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.{ending}\"")),
        (ETAG, format!("\"{hash}\"")),
    ];
    Ok((headers, bytes).into_response())
}

/// `GET /api/codecs/{name}/history`: the versions that are kept, oldest first.
pub(crate) async fn history(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let name = codec_name(&name)?;
    find(&api, &name)?;
    let folder = api.folder.clone();
    let read = tokio::task::spawn_blocking(move || folder.history(&name)).await;
    let versions = read.map_err(|broken| ApiError::internal(&broken))?;
    let write = |version: &HistoryEntry| {
        json!({
            "hash": version.hash.to_string(),
            "version": version.version,
            "loadedAt": version.loaded_at.0,
            "file": version.file,
            "live": version.live,
        })
    };
    Ok(Json(versions.iter().map(write).collect()))
}

fn codec_name(text: &str) -> Result<CodecName, ApiError> {
    CodecName::parse(text).map_err(|error| ApiError::bad_request(error.to_string()))
}

fn find(api: &Api, name: &CodecName) -> Result<CodecStatus, ApiError> {
    api.codecs.status(name).ok_or_else(ApiError::not_found)
}

fn write(status: &CodecStatus) -> Value {
    let metadata = status.metadata.as_deref();
    json!({
        "name": status.name.as_str(),
        "version": status.version.as_deref(),
        "hash": status.hash.map(|hash| hash.to_string()),
        "state": status.state,
        "error": status.error,
        "keys": metadata.map_or(&[][..], |metadata| &metadata.keys),
        "loadedAt": status.loaded_at.map(|at| at.0),
        "vendor": metadata.map(|metadata| &metadata.vendor),
        "summary": metadata.map(|metadata| &metadata.summary),
        "encodes": metadata.is_some_and(|metadata| metadata.encodes),
        "bytes": status.bytes,
        "file": status.file,
    })
}
