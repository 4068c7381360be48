//! The HTTP device API, `/api/v1/{token}/…` (REST §3): what a device says or asks in one request, handed to the worker that
//! serves it as it serves a publish.
//!
//! Nothing is decoded here. A request that waits is dropped with its connection, and its worker hears of that. What is
//! refused is spelled in `error.rs`.

use std::net::IpAddr;

use axum::body::Body as AxumBody;
use axum::extract::{FromRequestParts, Path, RawPathParams, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::de::IgnoredAny;
use wireglot_device::FileError;
use wireglot_model::limits::{EVENT_NAME_BYTES_MAX, POLL_MS, POLL_MS_DEFAULT};
use wireglot_model::{DeviceAnswer, DeviceCall, DeviceRequest, OtaContent, OtaKind, RequestRefusal, Wish};

use crate::error::{ApiError, ErrorBody, refuse};
use crate::openapi::{params, schemas};
use crate::peer::Origin;
use crate::request::{Body, Params, blocking};
use crate::{Api, ota};

/// The request id of an RPC: a device that is not spoken to in JSON finds it here.
const RPC_ID: HeaderName = HeaderName::from_static("x-rpc-id");

/// Which device asks, and how.
pub(crate) struct Asker {
    token: String,
    is_json: bool,
    address: Option<IpAddr>,
}

impl FromRequestParts<Api> for Asker {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Response> {
        // The router takes it for a GET, and an RPC would be gone without having been said.
        if parts.method == Method::HEAD {
            return Err(ApiError::method_not_allowed().into_response());
        }
        let parameters = RawPathParams::from_request_parts(parts, api).await.ok();
        // It is the first parameter of all these paths, and the router knows none by its name.
        let first = |all: &RawPathParams| all.iter().next().map(|(_, value)| value.to_owned());
        let token = parameters.as_ref().and_then(first);
        // What is no text is nobody's token.
        let token = token.ok_or_else(|| refuse(RequestRefusal::UnknownToken))?;
        let Origin(address) = Origin::of(parts, api);
        Ok(Self { token, is_json: is_json(&parts.headers), address })
    }
}

/// Whether JSON is all that the device takes. Whoever takes anything is spoken to as the profile says.
fn is_json(headers: &HeaderMap) -> bool {
    let accepted = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let (kind, _parameters) = accepted.split_once(';').unwrap_or((accepted, ""));
    kind.trim().eq_ignore_ascii_case("application/json")
}

async fn bring(api: &Api, request: DeviceRequest) -> DeviceAnswer {
    match api.bus.bring(request) {
        Ok(answer) => answer.await,
        Err(refusal) => DeviceAnswer::Refused(refusal),
    }
}

async fn ask(api: &Api, asker: Asker, call: DeviceCall) -> Response {
    let Asker { token, is_json, address } = asker;
    tell(bring(api, DeviceRequest { address, wish: Wish::OfDevice { token, is_json, call } }).await)
}

/// Says what is wrong with a request, to whoever has a token that is known.
async fn complain(api: &Api, asker: Asker, error: ApiError) -> Response {
    let Asker { token, is_json, address } = asker;
    let wish = Wish::OfDevice { token, is_json, call: DeviceCall::Greeting };
    match bring(api, DeviceRequest { address, wish }).await {
        DeviceAnswer::Refused(refusal) => refuse(refusal),
        DeviceAnswer::Taken | DeviceAnswer::Said { .. } | DeviceAnswer::Part { .. } => error.into_response(),
    }
}

fn tell(answer: DeviceAnswer) -> Response {
    match answer {
        DeviceAnswer::Taken => StatusCode::OK.into_response(),
        DeviceAnswer::Said { payload, rpc } => {
            let is_json = serde_json::from_slice::<IgnoredAny>(&payload).is_ok();
            let kind = if is_json { "application/json" } else { "application/octet-stream" };
            let mut response = ([(CONTENT_TYPE, kind)], payload).into_response();
            if let Some(id) = rpc {
                response.headers_mut().insert(RPC_ID, HeaderValue::from(id));
            }
            response
        }
        DeviceAnswer::Refused(refusal) => refuse(refusal),
        // Asked for by `package` alone, which takes it apart.
        DeviceAnswer::Part { .. } => refuse(RequestRefusal::Failed),
    }
}

/// Takes telemetry of a device, as its profile reads it.
#[utoipa::path(
    post,
    path = "/api/v1/{token}/telemetry",
    operation_id = "postDeviceTelemetry",
    tag = "Device API",
    params(
        params::TokenPath,
        ("event" = Option<String>, Query, description = "What a network server calls the event that it posts."),
    ),
    request_body(content((serde_json::Value = "application/json"), (schemas::Binary = "application/octet-stream"))),
    responses(
        (status = 200, description = "Taken, and durable. A frame that asks for something gets that as the body."),
    ),
)]
pub(crate) async fn telemetry(State(api): State<Api>, asker: Asker, params: Params, body: Body) -> Response {
    let is_name = |name: &&str| {
        name.len() <= EVENT_NAME_BYTES_MAX && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let event = params.text("event").filter(is_name).map(str::to_owned);
    ask(&api, asker, DeviceCall::Telemetry { payload: body.0.to_vec(), event }).await
}

/// Takes client attributes of a device.
#[utoipa::path(
    post,
    path = "/api/v1/{token}/attributes",
    operation_id = "postDeviceAttributes",
    tag = "Device API",
    params(params::TokenPath),
    request_body(content((serde_json::Value = "application/json"), (schemas::Binary = "application/octet-stream"))),
    responses((status = 200, description = "Taken, and durable.")),
)]
pub(crate) async fn attributes(State(api): State<Api>, asker: Asker, body: Body) -> Response {
    ask(&api, asker, DeviceCall::Attributes(body.0.to_vec())).await
}

/// Tells a device its client and shared attributes; without keys, all of them.
#[utoipa::path(
    get,
    path = "/api/v1/{token}/attributes",
    operation_id = "getDeviceAttributes",
    tag = "Device API",
    params(
        params::TokenPath,
        ("clientKeys" = Option<String>, Query, description = "Keys by commas; may be repeated."),
        ("sharedKeys" = Option<String>, Query, description = "Keys by commas; may be repeated."),
    ),
    responses(
        (status = 200, description = "The attributes by scope.", body = serde_json::Value),
    ),
)]
pub(crate) async fn read_attributes(State(api): State<Api>, asker: Asker, params: Params) -> Response {
    let (client_keys, shared_keys) = (params.list("clientKeys"), params.list("sharedKeys"));
    ask(&api, asker, DeviceCall::ReadAttributes { client_keys, shared_keys }).await
}

/// Waits for the next change of the shared attributes of a device.
#[utoipa::path(
    get,
    path = "/api/v1/{token}/attributes/updates",
    operation_id = "awaitDeviceAttributes",
    tag = "Device API",
    params(params::TokenPath, params::Poll),
    responses(
        (status = 200, description = "What has changed.", content((serde_json::Value = "application/json"), (schemas::Binary = "application/octet-stream"))),
        (status = 408, description = "Nothing came in time, or a newer request took its place."),
    ),
)]
pub(crate) async fn updates(State(api): State<Api>, asker: Asker, params: Params) -> Response {
    match timeout(&params) {
        Ok(timeout_ms) => ask(&api, asker, DeviceCall::AwaitUpdate { timeout_ms }).await,
        Err(error) => complain(&api, asker, error).await,
    }
}

/// Waits for the next server-side RPC to a device.
#[utoipa::path(
    get,
    path = "/api/v1/{token}/rpc",
    operation_id = "awaitDeviceRpc",
    tag = "Device API",
    params(params::TokenPath, params::Poll),
    responses(
        (status = 200, description = "The RPC; its request id is also in `X-Rpc-Id`.", content((serde_json::Value = "application/json"), (schemas::Binary = "application/octet-stream"))),
        (status = 408, description = "Nothing came in time, or a newer request took its place."),
    ),
)]
pub(crate) async fn rpc(State(api): State<Api>, asker: Asker, params: Params) -> Response {
    match timeout(&params) {
        Ok(timeout_ms) => ask(&api, asker, DeviceCall::AwaitRpc { timeout_ms }).await,
        Err(error) => complain(&api, asker, error).await,
    }
}

/// How long a request waits.
fn timeout(params: &Params) -> Result<u32, ApiError> {
    let asked: Option<i64> = params.parsed("timeout")?;
    match asked {
        None | Some(0) => Ok(POLL_MS_DEFAULT),
        Some(asked) if asked < 0 => {
            Err(ApiError::bad_request(format!("Parameter 'timeout' is a time in milliseconds, not {asked}")))
        }
        Some(asked) => Ok(u32::try_from(asked).unwrap_or(u32::MAX).clamp(*POLL_MS.start(), *POLL_MS.end())),
    }
}

/// Takes the answer of a device to a server-side RPC.
#[utoipa::path(
    post,
    path = "/api/v1/{token}/rpc/{id}",
    operation_id = "postDeviceRpcResponse",
    tag = "Device API",
    params(
        params::TokenPath,
        ("id" = i32, Path, description = "The request id of the RPC."),
    ),
    request_body(content((serde_json::Value = "application/json"), (schemas::Binary = "application/octet-stream"))),
    responses((status = 200, description = "Taken, and durable.")),
)]
pub(crate) async fn answer_rpc(
    State(api): State<Api>,
    Path((_, id)): Path<(String, String)>,
    asker: Asker,
    body: Body,
) -> Response {
    match id.parse() {
        Ok(id) => ask(&api, asker, DeviceCall::RpcResponse { id, payload: body.0.to_vec() }).await,
        Err(_) => {
            let error = ApiError::bad_request(format!("The id of an RPC is a 32-bit number, not '{id}'"));
            complain(&api, asker, error).await
        }
    }
}

/// Answers what a device calls: a client-side RPC.
#[utoipa::path(
    post,
    path = "/api/v1/{token}/rpc",
    operation_id = "postDeviceRpc",
    tag = "Device API",
    params(params::TokenPath),
    request_body(content((serde_json::Value = "application/json"), (schemas::Binary = "application/octet-stream"))),
    responses(
        (status = 200, description = "The answer, or an object with an `error`.", content((serde_json::Value = "application/json"), (schemas::Binary = "application/octet-stream"))),
        (status = 408, description = "Nothing came in time."),
    ),
)]
pub(crate) async fn call_rpc(State(api): State<Api>, asker: Asker, body: Body) -> Response {
    ask(&api, asker, DeviceCall::ClientRpc(body.0.to_vec())).await
}

/// Lets whoever knows the secret claim a device.
#[utoipa::path(
    post,
    path = "/api/v1/{token}/claim",
    operation_id = "postDeviceClaim",
    tag = "Device API",
    params(params::TokenPath),
    request_body(content((serde_json::Value = "application/json"), (schemas::Binary = "application/octet-stream"))),
    responses((status = 200, description = "Taken, and durable.")),
)]
pub(crate) async fn claim(State(api): State<Api>, asker: Asker, body: Body) -> Response {
    ask(&api, asker, DeviceCall::Claim(body.0.to_vec())).await
}

/// Makes a device, or gives one its credentials, by the key and the secret of a profile.
#[utoipa::path(
    post,
    path = "/api/v1/provision",
    operation_id = "provisionDevice",
    tag = "Device API",
    request_body(content((serde_json::Value = "application/json"), (schemas::Binary = "application/octet-stream"))),
    responses(
        (status = 200, description = "What became of it: `status` is SUCCESS, NOT_FOUND or FAILURE.", content((serde_json::Value = "application/json"), (schemas::Binary = "application/octet-stream"))),
        (status = 429, description = "A rate limit was passed, as many requests wait as may, or the address is blocked.", body = ErrorBody),
        (status = 503, description = "It may not have been kept: send it again.", body = ErrorBody),
    ),
)]
pub(crate) async fn provision(State(api): State<Api>, Origin(address): Origin, body: Body) -> Response {
    if body.0.is_empty() {
        // It would be read as a message of protobuf that says nothing, and answered in protobuf.
        return ApiError::bad_request("payload: a provisioning request must not be empty").into_response();
    }
    let wish = Wish::Provision(body.0.to_vec());
    tell(bring(&api, DeviceRequest { address, wish }).await)
}

/// Gives a part of the firmware that a device is to have.
#[utoipa::path(
    get,
    path = "/api/v1/{token}/firmware",
    operation_id = "getDeviceFirmware",
    tag = "Device API",
    params(params::TokenPath, params::PackagePart),
    responses(
        (status = 200, description = "The part; empty past the end.", content((schemas::Binary = "application/octet-stream"), (schemas::Binary = "*/*"))),
    ),
)]
pub(crate) async fn firmware(
    State(api): State<Api>,
    asker: Asker,
    params: Params,
) -> Result<Response, ApiError> {
    match Wanted::read(&params) {
        Ok(wanted) => package(&api, asker, wanted, OtaKind::Firmware).await,
        Err(error) => Ok(complain(&api, asker, error).await),
    }
}

/// Gives a part of the software that a device is to have.
#[utoipa::path(
    get,
    path = "/api/v1/{token}/software",
    operation_id = "getDeviceSoftware",
    tag = "Device API",
    params(params::TokenPath, params::PackagePart),
    responses(
        (status = 200, description = "The part; empty past the end.", content((schemas::Binary = "application/octet-stream"), (schemas::Binary = "*/*"))),
    ),
)]
pub(crate) async fn software(
    State(api): State<Api>,
    asker: Asker,
    params: Params,
) -> Result<Response, ApiError> {
    match Wanted::read(&params) {
        Ok(wanted) => package(&api, asker, wanted, OtaKind::Software).await,
        Err(error) => Ok(complain(&api, asker, error).await),
    }
}

/// Which part of which package is asked for.
struct Wanted {
    title: String,
    version: String,
    size: u64,
    chunk: u32,
}

impl Wanted {
    fn read(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            title: params.required("title")?,
            version: params.required("version")?,
            size: params.parsed("size")?.unwrap_or(0),
            chunk: params.parsed("chunk")?.unwrap_or(0),
        })
    }
}

/// A part of a package, read from the disk as the device takes it.
async fn package(api: &Api, asker: Asker, wanted: Wanted, kind: OtaKind) -> Result<Response, ApiError> {
    let Wanted { title, version, size, chunk } = wanted;
    let Asker { token, is_json, address } = asker;
    let call = DeviceCall::Package { kind, chunk, size };
    let wish = Wish::OfDevice { token, is_json, call };
    let (package, offset, bytes) = match bring(api, DeviceRequest { address, wish }).await {
        DeviceAnswer::Part { package, offset, bytes } => (package, offset, bytes),
        other => return Ok(tell(other)),
    };
    if package.title != title || package.version != version {
        return Err(ApiError::bad_request(format!(
            "The {} of this device is '{}' '{}', not '{title}' '{version}'",
            kind.word(),
            package.title,
            package.version
        )));
    }
    let OtaContent::File(facts) = &package.content else { return Ok(refuse(RequestRefusal::NoPackage)) };
    let (files, name) = (api.devices.files().clone(), facts.file);
    let file = blocking(move || files.read(name).map_err(|error| FileError::from(error).into())).await?;
    let headers = ota::attachment(facts, bytes);
    Ok((headers, AxumBody::from_stream(ota::steps(file, offset, offset + bytes))).into_response())
}
