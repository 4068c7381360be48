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
use crate::error::{ApiError, chain};
use crate::request::{Body, Params};
use wireglot_device::now;

/// `GET /api/codecs/{name}/candidate`: what is tried, and how it compares with the live version so far.
pub(crate) async fn read(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<CandidateStatus>, ApiError> {
    status(&api, codec_name(&name)?).await
}

/// `PUT /api/codecs/{name}/candidate`: does what dropping `NAME.next.wasm` into the codecs folder does, `NAME.next.js`
/// where the body is JavaScript.
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

/// `POST /api/codecs/{name}/candidate` with `{"share": 0.1}`, or `?share=0.1`.
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

/// `POST /api/codecs/{name}/candidate/promote`: the candidate becomes the live version, and its file that of the codec.
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

/// `POST /api/codecs/{name}/candidate/discard`: removes the candidate's files.
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

/// `GET /api/codecs/{name}/canary`: the one that is running, or the last one.
pub(crate) async fn read_canary(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<CanaryStatus>, ApiError> {
    let name = codec_name(&name)?;
    let codecs = api.codecs.clone();
    let found = blocking(move || codecs.canary(&name).ok_or(CandidateError::NoCanary(name))).await?;
    Ok(Json(found))
}

/// `POST /api/codecs/{name}/canary`: lets the candidate serve a share of the devices.
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

/// `DELETE /api/codecs/{name}/canary`: every device is served by the live version again.
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
