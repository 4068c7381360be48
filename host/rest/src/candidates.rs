//! Candidates of codecs: the version that is tried beside the live one, its report, its canary, its promotion.

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::Value;
use wireglot_codec::folder::UploadError;
use wireglot_codec::{CanaryPlan, CanaryStatus, CandidateError, CandidateStatus};
use wireglot_model::CodecName;

use crate::Api;
use crate::access::Caller;
use crate::codecs::{codec_name, file_kind, find, write};
use crate::error::{ApiError, ErrorBody, chain};
use crate::openapi::{params, schemas};
use crate::request::{Body, Params};
use wireglot_device::now;

/// Shows the candidate of a codec, and how it compares with the live version so far.
#[utoipa::path(
    get,
    path = "/api/codecs/{name}/candidate",
    operation_id = "readCandidate",
    tag = "Candidates",
    params(params::CodecPath),
    responses((status = 200, description = "The candidate.", body = schemas::Candidate)),
)]
pub(crate) async fn read(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<CandidateStatus>, ApiError> {
    status(&api, codec_name(&name)?).await
}

/// Uploads a candidate, which is tried beside the live version.
///
/// Does what dropping `NAME.next.wasm` into the codecs folder does, `NAME.next.js` where the body is JavaScript.
#[utoipa::path(
    put,
    path = "/api/codecs/{name}/candidate",
    operation_id = "uploadCandidate",
    tag = "Candidates",
    params(params::CodecPath),
    request_body(content((schemas::Binary = "application/wasm"), (String = "text/javascript"))),
    responses(
        (status = 200, description = "It is tried.", body = schemas::Candidate),
        (status = 422, description = "The candidate was refused; the message says why.", body = ErrorBody),
    ),
)]
pub(crate) async fn upload(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<CandidateStatus>, ApiError> {
    let name = codec_name(&name)?;
    let (folder, target, by) = (api.folder.clone(), name.clone(), caller.actor());
    let kind = file_kind(&headers);
    let upload = move || folder.upload_candidate(&target, kind, &body.0, by, now());
    let uploaded = tokio::task::spawn_blocking(upload).await;
    match uploaded.map_err(|broken| ApiError::internal(&broken))? {
        Ok(_stamp) => status(&api, name).await,
        Err(UploadError::Rejected(reason)) => Err(ApiError::unprocessable(chain(&reason))),
        Err(failure @ UploadError::Folder(_)) => Err(ApiError::internal(&failure)),
    }
}

/// What of the live frames is compared.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShadowShare {
    share: f64,
}

/// Sets the share of the live frames that is compared.
#[utoipa::path(
    post,
    path = "/api/codecs/{name}/candidate",
    operation_id = "setCandidateShare",
    tag = "Candidates",
    params(
        params::CodecPath,
        ("share" = Option<f64>, Query, description = "The share; wins over the body.", minimum = 0, maximum = 1),
    ),
    request_body = Option<schemas::ShareBody>,
    responses(
        (status = 200, description = "The candidate.", body = schemas::Candidate),
        (status = 422, description = "The share cannot be set now.", body = ErrorBody),
    ),
)]
pub(crate) async fn set_share(
    State(api): State<Api>,
    Path(name): Path<String>,
    params: Params,
    body: Body,
) -> Result<Json<CandidateStatus>, ApiError> {
    let name = codec_name(&name)?;
    let share = match params.parsed("share")? {
        Some(share) => share,
        None => body.json::<ShadowShare>()?.share,
    };
    api.codecs.set_shadow_share(&name, share).map_err(refusal)?;
    status(&api, name).await
}

/// Makes the candidate the live version, and its file that of the codec.
#[utoipa::path(
    post,
    path = "/api/codecs/{name}/candidate/promote",
    operation_id = "promoteCandidate",
    tag = "Candidates",
    params(params::CodecPath),
    responses(
        (status = 200, description = "It is live.", body = schemas::Codec),
        (status = 422, description = "The candidate cannot be promoted; the message says why.", body = ErrorBody),
    ),
)]
pub(crate) async fn promote(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    _unused: Body,
) -> Result<Json<Value>, ApiError> {
    let name = codec_name(&name)?;
    let (folder, target, by) = (api.folder.clone(), name.clone(), caller.actor());
    blocking(move || folder.promote(&target, None, by, "asked for", now())).await?;
    Ok(Json(write(&find(&api, &name)?)))
}

/// Removes the candidate's files.
#[utoipa::path(
    post,
    path = "/api/codecs/{name}/candidate/discard",
    operation_id = "discardCandidate",
    tag = "Candidates",
    params(params::CodecPath),
    responses(
        (status = 200, description = "Done."),
        (status = 422, description = "The files cannot be removed.", body = ErrorBody),
    ),
)]
pub(crate) async fn discard(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    _unused: Body,
) -> Result<(), ApiError> {
    let name = codec_name(&name)?;
    let (folder, by) = (api.folder.clone(), caller.actor());
    blocking(move || folder.discard_candidate(&name, by, now())).await
}

/// Shows the canary that is running, or the last one.
#[utoipa::path(
    get,
    path = "/api/codecs/{name}/canary",
    operation_id = "readCanary",
    tag = "Candidates",
    params(params::CodecPath),
    responses(
        (status = 200, description = "The canary.", body = schemas::Canary),
        (status = 422, description = "The candidate does not allow it.", body = ErrorBody),
    ),
)]
pub(crate) async fn read_canary(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<CanaryStatus>, ApiError> {
    let name = codec_name(&name)?;
    let codecs = api.codecs.clone();
    let found = blocking(move || codecs.canary(&name).ok_or(CandidateError::NoCanary(name))).await?;
    Ok(Json(found))
}

/// Lets the candidate serve a share of the devices.
///
/// Without a body, or for members that are left out, the defaults hold.
#[utoipa::path(
    post,
    path = "/api/codecs/{name}/canary",
    operation_id = "startCanary",
    tag = "Candidates",
    params(params::CodecPath),
    request_body = Option<schemas::CanaryOrder>,
    responses(
        (status = 200, description = "The canary runs.", body = schemas::Canary),
        (status = 422, description = "The canary cannot be started; the message says why.", body = ErrorBody),
    ),
)]
pub(crate) async fn start_canary(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Body,
) -> Result<Json<CanaryStatus>, ApiError> {
    let name = codec_name(&name)?;
    let plan = if body.0.is_empty() { CanaryPlan::default() } else { body.json()? };
    let (codecs, by) = (api.codecs.clone(), caller.actor());
    Ok(Json(blocking(move || codecs.start_canary(&name, plan, by, now())).await?))
}

/// Ends the canary: every device is served by the live version again.
#[utoipa::path(
    delete,
    path = "/api/codecs/{name}/canary",
    operation_id = "stopCanary",
    tag = "Candidates",
    params(params::CodecPath),
    responses(
        (status = 200, description = "The canary has ended.", body = schemas::Canary),
        (status = 422, description = "The canary cannot be ended.", body = ErrorBody),
    ),
)]
pub(crate) async fn stop_canary(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Json<CanaryStatus>, ApiError> {
    let name = codec_name(&name)?;
    let (codecs, by) = (api.codecs.clone(), caller.actor());
    Ok(Json(blocking(move || codecs.stop_canary(&name, by, now())).await?))
}

async fn status(api: &Api, name: CodecName) -> Result<Json<CandidateStatus>, ApiError> {
    let codecs = api.codecs.clone();
    Ok(Json(blocking(move || codecs.candidate(&name).ok_or(CandidateError::None(name))).await?))
}

/// Changes files or waits for the comparison: not on a thread that serves others.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CandidateError> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome.map_err(refusal),
        Err(broken) => Err(ApiError::internal(&broken)),
    }
}

fn refusal(failure: CandidateError) -> ApiError {
    match failure {
        CandidateError::None(_) | CandidateError::NoCanary(_) => ApiError::unknown(failure.to_string()),
        CandidateError::Invalid(reason) => ApiError::bad_request(reason),
        CandidateError::Refused(_) | CandidateError::Folder(_) => ApiError::unprocessable(chain(&failure)),
    }
}
