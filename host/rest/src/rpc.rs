//! Asking devices (REST §2.7, device API §12.1), and what is kept of it.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use utoipa::{IntoResponses, ToSchema};
use wireglot_device::{DeviceError, RpcCall, RpcDraft, RpcOutcome, RpcRefusal, now};
use wireglot_model::value::compact_json;
use wireglot_model::{RpcId, RpcRecord, RpcStatus, TenantId, Timestamp};

use crate::Api;
use crate::access::Caller;
use crate::error::{ApiError, ErrorBody};
use crate::openapi::{params, schemas};
use crate::page::Page;
use crate::request::{Body, JsonText, Params, blocking, carried_through, id};
use crate::shape::entity;

/// When a caller that found no place to wait may try again.
const RETRY_S: u64 = 1;

/// The paths of two generations answer differently where no device answers.
#[derive(Clone, Copy)]
enum Generation {
    First,
    Second,
}

/// What may come of a call of either generation.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "it only describes")]
enum CallRefusals {
    /// The answer of the device is no JSON.
    #[response(status = 406)]
    NoJson,
    /// Too many calls are waiting; `Retry-After` says when to try again.
    #[response(status = 429)]
    TooMany(ErrorBody),
}

/// Sends a device a call and waits until it went out.
///
/// A persistent call is kept until the device is there, and answered with its id at once.
#[utoipa::path(
    post,
    path = "/api/rpc/oneway/{deviceId}",
    operation_id = "callOneWay",
    tag = "RPC",
    params(params::DevicePath),
    request_body(content((RpcBody = "application/json"), (String = "text/plain"))),
    responses(
        (status = 200, description = "It went out; of a persistent call its id.", body = schemas::RpcAnswer),
        (status = 504, description = "No device answered in time."),
        CallRefusals,
    ),
)]
pub(crate) async fn one_way(
    State(api): State<Api>,
    Path(device): Path<String>,
    body: Body,
) -> Result<Response, ApiError> {
    call(&api, &device, &body, true, Generation::Second).await
}

/// Calls a device and waits for its answer.
///
/// A persistent call is kept until the device is there, and answered with its id at once.
#[utoipa::path(
    post,
    path = "/api/rpc/twoway/{deviceId}",
    operation_id = "callTwoWay",
    tag = "RPC",
    params(params::DevicePath),
    request_body(content((RpcBody = "application/json"), (String = "text/plain"))),
    responses(
        (status = 200, description = "The answer of the device, or the id of a persistent call.", body = schemas::RpcAnswer),
        (status = 504, description = "No device answered in time."),
        CallRefusals,
    ),
)]
pub(crate) async fn two_way(
    State(api): State<Api>,
    Path(device): Path<String>,
    body: Body,
) -> Result<Response, ApiError> {
    call(&api, &device, &body, false, Generation::Second).await
}

/// Sends a device a call and waits until it went out, in the older spelling.
///
/// A persistent call is kept until the device is there, and answered with its id at once.
#[utoipa::path(
    post,
    path = "/api/plugins/rpc/oneway/{deviceId}",
    operation_id = "callOneWayV1",
    tag = "RPC",
    params(params::DevicePath),
    request_body(content((RpcBody = "application/json"), (String = "text/plain"))),
    responses(
        (status = 200, description = "It went out; of a persistent call its id.", body = schemas::RpcAnswer),
        (status = 408, description = "The device did not answer in time."),
        (status = 409, description = "The device was not there in time."),
        CallRefusals,
    ),
)]
pub(crate) async fn one_way_v1(
    State(api): State<Api>,
    Path(device): Path<String>,
    body: Body,
) -> Result<Response, ApiError> {
    call(&api, &device, &body, true, Generation::First).await
}

/// Calls a device and waits for its answer, in the older spelling.
///
/// A persistent call is kept until the device is there, and answered with its id at once.
#[utoipa::path(
    post,
    path = "/api/plugins/rpc/twoway/{deviceId}",
    operation_id = "callTwoWayV1",
    tag = "RPC",
    params(params::DevicePath),
    request_body(content((RpcBody = "application/json"), (String = "text/plain"))),
    responses(
        (status = 200, description = "The answer of the device, or the id of a persistent call.", body = schemas::RpcAnswer),
        (status = 408, description = "The device did not answer in time."),
        (status = 409, description = "The device was not there in time."),
        CallRefusals,
    ),
)]
pub(crate) async fn two_way_v1(
    State(api): State<Api>,
    Path(device): Path<String>,
    body: Body,
) -> Result<Response, ApiError> {
    call(&api, &device, &body, false, Generation::First).await
}

/// What can be asked. Other members are ignored.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RpcRequest, example = json!({"method": "reboot", "params": {"delay": 5}}))]
struct RpcBody {
    #[schema(required, nullable = false)]
    method: Option<String>,
    /// Any JSON.
    #[schema(value_type = Value, required = false)]
    params: Option<Box<RawValue>>,
    /// Milliseconds to wait for the device, at least 5000; 10000 where nothing is said.
    timeout: Option<i64>,
    /// The end of the wait in milliseconds since 1970; wins over `timeout`.
    expiration_time: Option<i64>,
    /// Keep it until the device is there.
    persistent: Option<bool>,
    /// How often a persistent call is sent again.
    retries: Option<u32>,
    /// Any JSON, kept with a persistent call.
    #[schema(value_type = Value, required = false)]
    additional_info: Option<Box<RawValue>>,
    /// The id of a persistent call, where the caller makes it.
    #[schema(format = "uuid")]
    #[serde(rename = "requestUUID")]
    request_uuid: Option<String>,
}

impl RpcBody {
    fn into_draft(self, is_one_way: bool) -> Result<RpcDraft, ApiError> {
        let text = |json: Box<RawValue>| compact_json(String::from(Box::<str>::from(json)));
        Ok(RpcDraft {
            id: self.request_uuid.as_deref().map(id).transpose()?,
            method: self.method.ok_or_else(|| ApiError::bad_request("An RPC needs a 'method'"))?,
            params: self.params.map_or_else(|| "null".to_owned(), text),
            is_one_way,
            is_persistent: self.persistent.unwrap_or_default(),
            timeout_ms: self.timeout,
            expires: self.expiration_time.map(Timestamp),
            retries: self.retries,
            additional_info: self.additional_info.map(text),
        })
    }
}

async fn call(
    api: &Api,
    device: &str,
    body: &Body,
    is_one_way: bool,
    generation: Generation,
) -> Result<Response, ApiError> {
    let device = id(device)?;
    let draft = body.json::<RpcBody>()?.into_draft(is_one_way)?;
    // Half of a persistent RPC must not happen, so it is carried through if the client goes.
    let devices = api.devices.clone();
    let waits = if draft.is_persistent {
        None
    } else {
        Some(api.rpc_waiters.try_acquire().map_err(|_full| ApiError::too_many_requests(RETRY_S))?)
    };
    let called = tokio::spawn(async move { devices.call(device, draft, now()).await });
    let outcome = match called.await.map_err(|broken| ApiError::internal(&broken))?? {
        RpcCall::Kept(id) => return Ok(Json(json!({"rpcId": id})).into_response()),
        RpcCall::Waiting(outcome) => outcome,
    };
    let mut stopping = api.stopping.clone();
    let outcome = tokio::select! {
        outcome = outcome => outcome.unwrap_or(RpcOutcome::NoSession),
        _stopped = stopping.wait_for(|stop| *stop) => RpcOutcome::NoSession,
    };
    drop(waits);
    answer(outcome, generation)
}

fn answer(outcome: RpcOutcome, generation: Generation) -> Result<Response, ApiError> {
    let status = match (outcome, generation) {
        (RpcOutcome::Response(text), _) => return Ok(response(text)),
        (RpcOutcome::Done, _) => StatusCode::OK,
        (RpcOutcome::Gone, _) => return Err(RpcRefusal::NoDevice.into()),
        (RpcOutcome::NoResponse | RpcOutcome::NoSession, Generation::Second) => StatusCode::GATEWAY_TIMEOUT,
        (RpcOutcome::NoResponse, Generation::First) => StatusCode::REQUEST_TIMEOUT,
        (RpcOutcome::NoSession, Generation::First) => StatusCode::CONFLICT,
    };
    Ok(status.into_response())
}

fn response(text: String) -> Response {
    if text.is_empty() {
        return StatusCode::OK.into_response();
    }
    match serde_json::from_str::<&RawValue>(&text) {
        Ok(_) => JsonText(text).into_response(),
        Err(_) => StatusCode::NOT_ACCEPTABLE.into_response(),
    }
}

/// Shows a persistent RPC.
#[utoipa::path(
    get,
    path = "/api/rpc/persistent/{rpcId}",
    operation_id = "readPersistentRpc",
    tag = "RPC",
    params(params::RpcPath),
    responses((status = 200, description = "The RPC.", body = schemas::PersistentRpc)),
)]
pub(crate) async fn read(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(rpc): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let record = find(&api, &caller, id(&rpc)?).await?;
    Ok(Json(write(&record, api.devices.tenant())))
}

/// A persistent RPC of a device that the caller may see.
async fn find(api: &Api, caller: &Caller, rpc: RpcId) -> Result<RpcRecord, ApiError> {
    let devices = api.devices.clone();
    let found = blocking(move || match devices.rpc(rpc) {
        Ok(record) => Ok(Some(record)),
        Err(DeviceError::NotFound) => Ok(None),
        Err(error) => Err(error),
    });
    let found = found.await?;
    let device = found.as_ref().and_then(|record| api.devices.device(record.device));
    caller.may_see(device.and_then(|device| device.customer()))?;
    found.ok_or_else(ApiError::not_found)
}

/// Deletes a persistent RPC.
#[utoipa::path(
    delete,
    path = "/api/rpc/persistent/{rpcId}",
    operation_id = "deletePersistentRpc",
    tag = "RPC",
    params(params::RpcPath),
    responses((status = 200, description = "Done.")),
)]
pub(crate) async fn delete(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(rpc): Path<String>,
) -> Result<(), ApiError> {
    let rpc: RpcId = id(&rpc)?;
    if caller.customer().is_some() {
        find(&api, &caller, rpc).await?;
    }
    let devices = api.devices.clone();
    carried_through(async move { devices.delete_rpc(rpc, now()).await }).await
}

/// Lists the persistent RPCs of a device.
#[utoipa::path(
    get,
    path = "/api/rpc/persistent/device/{deviceId}",
    operation_id = "listPersistentRpcs",
    tag = "RPC",
    params(
        params::DevicePath,
        params::Paging,
        params::RpcSort,
        ("rpcStatus" = inline(Option<schemas::RpcStatusFilter>), Query, description = "Only RPCs of this status."),
    ),
    responses(
        (status = 200, description = "A page of RPCs.", body = schemas::PageOf<schemas::PersistentRpc>),
    ),
)]
pub(crate) async fn list(
    State(api): State<Api>,
    Path(device): Path<String>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let page = Page::from_params(&params)?;
    let device = id(&device)?;
    let status = params.text("rpcStatus").map(wanted).transpose()?;
    let (devices, tenant) = (api.devices.clone(), api.devices.tenant());
    let found = blocking(move || match status {
        // Those are gone.
        Some(None) => devices.rpcs(device, None).map(|_| Vec::new()),
        Some(Some(status)) => devices.rpcs(device, Some(status)),
        None => devices.rpcs(device, None),
    });
    let found: Vec<RpcRecord> =
        found.await?.into_iter().filter(|record| page.finds(&[&record.method])).collect();
    let compare = |property: &str, one: &RpcRecord, other: &RpcRecord| match property {
        "createdTime" => Some(one.number.cmp(&other.number)),
        "expirationTime" => Some(one.expires.cmp(&other.expires)),
        "status" => Some(name(one.status).cmp(name(other.status))),
        _ => None,
    };
    Ok(Json(page.answer(found, compare, |record| write(record, tenant))?))
}

const STATUSES: [RpcStatus; 7] = [
    RpcStatus::Queued,
    RpcStatus::Sent,
    RpcStatus::Delivered,
    RpcStatus::Successful,
    RpcStatus::Timeout,
    RpcStatus::Expired,
    RpcStatus::Failed,
];

/// The status that is asked for; `None` for that of RPCs that were deleted.
fn wanted(text: &str) -> Result<Option<RpcStatus>, ApiError> {
    let found = STATUSES.into_iter().find(|status| name(*status) == text);
    match found {
        None if text != "DELETED" => {
            let known = STATUSES.map(name).join(", ");
            Err(ApiError::bad_request(format!("There is no status '{text}'; there are {known}, DELETED")))
        }
        found => Ok(found),
    }
}

fn name(status: RpcStatus) -> &'static str {
    match status {
        RpcStatus::Queued => "QUEUED",
        RpcStatus::Sent => "SENT",
        RpcStatus::Delivered => "DELIVERED",
        RpcStatus::Successful => "SUCCESSFUL",
        RpcStatus::Timeout => "TIMEOUT",
        RpcStatus::Expired => "EXPIRED",
        RpcStatus::Failed => "FAILED",
    }
}

/// In the shape that clients know; the request is as it was asked, with its parameters as text.
fn write(record: &RpcRecord, tenant: TenantId) -> Value {
    // Whoever made the record has checked that these are JSON.
    let parsed = |text: &Option<String>| -> Value {
        text.as_ref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null)
    };
    json!({
        "id": entity("RPC", record.id),
        "createdTime": record.created.0,
        "tenantId": entity("TENANT", tenant),
        "deviceId": entity("DEVICE", record.device),
        "expirationTime": record.expires.0,
        "request": {
            "id": record.id,
            "tenantId": entity("TENANT", tenant),
            "deviceId": entity("DEVICE", record.device),
            "oneway": record.is_one_way,
            "expirationTime": record.expires.0,
            "body": {"method": record.method, "params": record.params},
            "persisted": true,
            "retries": record.retries,
            "additionalInfo": record.additional_info,
        },
        "response": parsed(&record.response),
        "status": name(record.status),
        "additionalInfo": parsed(&record.additional_info),
    })
}
