//! Codecs: what is live, upload, download, the kept versions, what happened, rollback.

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, ETAG};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use wireglot_codec::folder::{FileKind, UploadError};
use wireglot_codec::{CodecStatus, HistoryEntry, HistoryEvent, RollbackError, RolledBack, VersionError};
use wireglot_model::{CodecName, CodecStamp};

use crate::Api;
use crate::access::Caller;
use crate::audit::actor;
use crate::error::{ApiError, ErrorBody};
use crate::openapi::{params, schemas};
use crate::request::{Body, Params};
use wireglot_device::now;

/// Lists the codecs.
#[utoipa::path(
    get,
    path = "/api/codecs",
    operation_id = "listCodecs",
    tag = "Codecs",
    responses((status = 200, description = "All codecs.", body = Vec<schemas::Codec>)),
)]
pub(crate) async fn list(State(api): State<Api>) -> Json<Value> {
    Json(api.codecs.list().iter().map(write).collect())
}

/// Shows a codec.
#[utoipa::path(
    get,
    path = "/api/codecs/{name}",
    operation_id = "readCodec",
    tag = "Codecs",
    params(params::CodecPath),
    responses((status = 200, description = "The codec.", body = schemas::Codec)),
)]
pub(crate) async fn read(State(api): State<Api>, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    Ok(Json(write(&find(&api, &codec_name(&name)?)?)))
}

/// Uploads a version of a codec, which goes live if it proves good.
///
/// Does what dropping the file into the codecs folder does: `NAME.wasm`, or `NAME.js` where the body is JavaScript.
#[utoipa::path(
    put,
    path = "/api/codecs/{name}",
    operation_id = "uploadCodec",
    tag = "Codecs",
    params(params::CodecPath),
    request_body(content((schemas::Binary = "application/wasm"), (String = "text/javascript"))),
    responses(
        (status = 200, description = "It is live.", body = schemas::Codec),
        (status = 422, description = "The codec was refused; the message says why.", body = ErrorBody),
    ),
)]
pub(crate) async fn upload(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let name = codec_name(&name)?;
    let (folder, target, by) = (api.folder.clone(), name.clone(), caller.actor());
    let kind = file_kind(&headers);
    let uploaded =
        tokio::task::spawn_blocking(move || folder.upload(&target, kind, &body.0, by, now())).await;
    match uploaded.map_err(|broken| ApiError::internal(&broken))? {
        Ok(_stamp) => Ok(Json(write(&find(&api, &name)?))),
        Err(UploadError::Rejected(reason)) => Err(ApiError::unprocessable(crate::error::chain(&reason))),
        Err(failure @ UploadError::Folder(_)) => Err(ApiError::internal(&failure)),
    }
}

/// What a body is, by its content type: JavaScript, or else a component.
pub(crate) fn file_kind(headers: &HeaderMap) -> FileKind {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let scripts = ["text/javascript", "application/javascript"];
    let is_script = scripts.iter().any(|script| kind.eq_ignore_ascii_case(script));
    if is_script { FileKind::Script } else { FileKind::Component }
}

/// Downloads a version of a codec: a component or a script.
#[utoipa::path(
    get,
    path = "/api/codecs/{name}/component",
    operation_id = "downloadCodec",
    tag = "Codecs",
    params(
        params::CodecPath,
        ("version" = Option<String>, Query, description = "A kept version, or the beginning of its hash; the live one where nothing is said."),
    ),
    responses(
        (status = 200, description = "The file.", content((schemas::Binary = "application/wasm"), (String = "text/javascript"))),
        (status = 422, description = "The version is kept and cannot be read.", body = ErrorBody),
    ),
)]
pub(crate) async fn download(
    State(api): State<Api>,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let name = codec_name(&name)?;
    let hash = find(&api, &name)?.hash;
    let hash =
        hash.ok_or_else(|| ApiError::unknown(format!("No version of codec '{name}' is live")))?.to_string();
    let selector = params.text("version").unwrap_or(&hash).to_owned();
    let (codecs, wanted) = (api.codecs.clone(), name.clone());
    let read = tokio::task::spawn_blocking(move || codecs.version_bytes(&wanted, &selector)).await;
    let (hash, bytes) = read.map_err(|broken| ApiError::internal(&broken))?.map_err(version_missing)?;
    // A version is either a component, which begins so, or a script.
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

/// Tells what happened to a codec, oldest first.
#[utoipa::path(
    get,
    path = "/api/codecs/{name}/history",
    operation_id = "readCodecHistory",
    tag = "Codecs",
    params(params::CodecPath),
    responses((status = 200, description = "What happened.", body = Vec<schemas::CodecEvent>)),
)]
pub(crate) async fn history(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let name = codec_name(&name)?;
    find(&api, &name)?;
    let kept = api.folder.versions(&name);
    let write = |event: &HistoryEvent| {
        let version = event.hash.and_then(|hash| kept.iter().find(|version| version.hash == hash));
        json!({
            "at": event.at.0,
            "outcome": event.outcome,
            "hash": event.hash.map(|hash| hash.to_string()),
            "version": event.version.as_ref().or(version.map(|version| &version.version)),
            "by": actor(&event.by),
            "reason": event.reason,
            "kept": version.is_some(),
            "live": version.is_some_and(|version| version.live),
        })
    };
    Ok(Json(api.folder.events(&name).iter().map(write).collect()))
}

/// Lists the versions of a codec that are kept; the one that went live last comes last.
#[utoipa::path(
    get,
    path = "/api/codecs/{name}/versions",
    operation_id = "listCodecVersions",
    tag = "Codecs",
    params(params::CodecPath),
    responses((status = 200, description = "The versions.", body = Vec<schemas::KeptVersion>)),
)]
pub(crate) async fn versions(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let name = codec_name(&name)?;
    find(&api, &name)?;
    let pinned = api.devices.pinned_versions();
    let write = |version: &HistoryEntry| {
        json!({
            "hash": version.hash.to_string(),
            "version": version.version,
            "loadedAt": version.loaded_at.0,
            "file": version.file,
            "live": version.live,
            "by": actor(&version.by),
            "pinnedBy": pinned.get(&(name.clone(), version.hash)).map_or(&[][..], Vec::as_slice),
        })
    };
    Ok(Json(api.folder.versions(&name).iter().map(write).collect()))
}

/// Which version shall serve again; `None` for the one before.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Rollback {
    /// A kept version, or the beginning of its hash.
    version: Option<String>,
}

/// Lets an earlier version of a codec serve again.
///
/// Without a body the one before. The file of the later version is left alone.
#[utoipa::path(
    post,
    path = "/api/codecs/{name}/rollback",
    operation_id = "rollBackCodec",
    tag = "Codecs",
    params(params::CodecPath),
    request_body = Option<Rollback>,
    responses(
        (status = 200, description = "The earlier version serves.", body = schemas::RollbackResult),
        (status = 422, description = "There is nothing to roll back to, or it was refused.", body = ErrorBody),
    ),
)]
pub(crate) async fn rollback(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let name = codec_name(&name)?;
    let Rollback { version } = if body.0.is_empty() { Rollback::default() } else { body.json()? };
    find(&api, &name)?;
    let (folder, by) = (api.folder.clone(), caller.actor());
    let done =
        tokio::task::spawn_blocking(move || folder.rollback(&name, version.as_deref(), by, now())).await;
    match done.map_err(|broken| ApiError::internal(&broken))? {
        Ok(RolledBack { from, to }) => Ok(Json(json!({"from": stamp(&from), "to": stamp(&to)}))),
        Err(RollbackError::Version(error)) => Err(version_refused(error)),
        Err(
            refused @ (RollbackError::NotLive(_)
            | RollbackError::NothingBefore { .. }
            | RollbackError::AlreadyLive { .. }
            | RollbackError::Refused { .. }),
        ) => Err(ApiError::unprocessable(crate::error::chain(&refused))),
    }
}

fn version_missing(error: VersionError) -> ApiError {
    match error {
        VersionError::NoVersions { .. } | VersionError::Unknown { .. } => {
            ApiError::unknown(error.to_string())
        }
        VersionError::Ambiguous { .. } => ApiError::bad_request(error.to_string()),
        VersionError::Broken { .. } => version_refused(error),
    }
}

fn version_refused(error: VersionError) -> ApiError {
    ApiError::unprocessable(crate::error::chain(&error))
}

fn stamp(stamp: &CodecStamp) -> Value {
    json!({"version": stamp.version, "hash": stamp.hash.to_string()})
}

pub(crate) fn codec_name(text: &str) -> Result<CodecName, ApiError> {
    CodecName::parse(text).map_err(|error| ApiError::bad_request(error.to_string()))
}

pub(crate) fn find(api: &Api, name: &CodecName) -> Result<CodecStatus, ApiError> {
    api.codecs.status(name).ok_or_else(|| ApiError::unknown(format!("There is no codec '{name}'")))
}

pub(crate) fn write(status: &CodecStatus) -> Value {
    let metadata = status.metadata.as_deref();
    let mut codec = json!({
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
    });
    // Of responders only.
    if let (Some(metadata), Some(members)) = (metadata, codec.as_object_mut()) {
        for (name, values) in [("methods", &metadata.methods), ("sharedKeys", &metadata.shared_keys)] {
            if !values.is_empty() {
                members.insert(name.to_owned(), json!(values));
            }
        }
    }
    codec
}
