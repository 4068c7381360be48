//! The table from failures to HTTP: status, error code and the one shape of every error body (REST §1).

use std::borrow::Cow;

use axum::Json;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracing::error;
use utoipa::ToSchema;
use wireglot_device::{DeviceError, FileError, RpcRefusal, now};
use wireglot_model::{Fault, RequestRefusal};

/// When an RPC that found no room may be tried again: about as long as one is waited for.
const RPC_RETRY_S: u64 = 10;

/// When a device may try again that found no room, or went too fast.
const DEVICE_RETRY_S: u64 = 1;
/// When an address may try again from which too many unknown tokens came.
const BLOCKED_RETRY_S: u64 = 60;

/// The body of every answer that says no.
#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ErrorBody {
    /// The status of the answer.
    status: u16,
    /// What is wrong, for people.
    message: Cow<'static, str>,
    /// What is wrong, for programs.
    error_code: u8,
    /// When, in milliseconds since 1970.
    timestamp: i64,
}

/// An answer that says no.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    /// As existing clients know it.
    code: u8,
    message: Cow<'static, str>,
    retry_after_s: Option<u64>,
}

impl ApiError {
    pub(crate) fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, 31, message)
    }

    pub(crate) fn unauthorized(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, 10, message)
    }

    pub(crate) fn token_expired() -> Self {
        Self::expired("Token has expired")
    }

    pub(crate) fn expired(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, 11, message)
    }

    /// A key for programs is not enough.
    pub(crate) fn needs_login() -> Self {
        Self::new(StatusCode::FORBIDDEN, 20, "An API key cannot do this: log in with a password")
    }

    pub(crate) fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, 20, "You don't have permission to perform this operation!")
    }

    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, 32, "Requested item wasn't found!")
    }

    pub(crate) fn conflict(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, 35, message)
    }

    /// What was asked for by name, and is not there.
    pub(crate) fn unknown(message: String) -> Self {
        Self::new(StatusCode::NOT_FOUND, 32, message)
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, 31, "Request method is not supported")
    }

    pub(crate) fn too_large(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, 31, message)
    }

    pub(crate) fn too_slow() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, 31, "The request body took too long to arrive")
    }

    pub(crate) fn unprocessable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, 31, message)
    }

    pub(crate) fn too_many_requests(retry_after_s: u64) -> Self {
        let refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, 33, "Too many requests");
        Self { retry_after_s: Some(retry_after_s), ..refusal }
    }

    /// What went wrong is in the log, not in the answer.
    pub(crate) fn internal(failure: &(dyn std::error::Error + 'static)) -> Self {
        error!(error = chain(failure), "A management request failed.");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, 2, "Internal server error")
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Whether whoever asks has proven nothing.
    pub(crate) fn is_unauthorized(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED
    }

    /// Whether it was proven, too long ago.
    pub(crate) fn is_token_expired(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED && self.code == 11
    }

    pub(crate) fn is_not_found(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }

    /// Others are before: it may do at another time.
    pub(crate) fn is_too_many(&self) -> bool {
        self.status == StatusCode::TOO_MANY_REQUESTS
    }

    /// The code that subscriptions of a WebSocket have for it, and the message (REST §4).
    pub(crate) fn of_subscription(&self) -> (u8, &str) {
        let code = match self.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => 3,
            StatusCode::TOO_MANY_REQUESTS => 1,
            status if status.is_server_error() => 1,
            _ => 2,
        };
        (code, &self.message)
    }

    fn new(status: StatusCode, code: u8, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, message: message.into(), retry_after_s: None }
    }
}

impl From<DeviceError> for ApiError {
    fn from(failure: DeviceError) -> Self {
        match failure {
            DeviceError::NotFound => Self::not_found(),
            DeviceError::VersionConflict => Self::conflict(failure.to_string()),
            DeviceError::BadLogin => Self::unauthorized(failure.to_string()),
            DeviceError::NotPermitted => Self::forbidden(),
            DeviceError::File(FileError::TooLarge { .. }) => Self::too_large(failure.to_string()),
            DeviceError::Invalid(rule) => Self::bad_request(rule.to_string()),
            DeviceError::TooManyAttributes
            | DeviceError::TooMuch(_)
            | DeviceError::File(_)
            | DeviceError::NotAccepted(_)
            | DeviceError::NotStored(_)
            | DeviceError::NotRead(_)
            | DeviceError::NoSecret(_) => match failure.fault() {
                Fault::Device | Fault::Denied | Fault::Quota => Self::bad_request(failure.to_string()),
                Fault::Codec | Fault::Host => Self::internal(&failure),
            },
        }
    }
}

impl From<RpcRefusal> for ApiError {
    fn from(refusal: RpcRefusal) -> Self {
        match (&refusal, refusal.fault()) {
            (RpcRefusal::NoDevice, _) => Self::not_found(),
            (_, Fault::Quota) => Self {
                retry_after_s: Some(RPC_RETRY_S),
                ..Self::new(StatusCode::TOO_MANY_REQUESTS, 33, refusal.to_string())
            },
            (_, Fault::Device | Fault::Denied) => Self::bad_request(refusal.to_string()),
            (_, Fault::Codec | Fault::Host) => Self::internal(&refusal),
        }
    }
}

/// The answer to a request of a device that is not served. Who is unknown, or has nothing to hear, gets no words.
pub(crate) fn refuse(refusal: RequestRefusal) -> Response {
    let later = |seconds, error: ApiError| ApiError { retry_after_s: Some(seconds), ..error };
    let unavailable = |message: &'static str| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, 2, message);
    let error = match refusal {
        RequestRefusal::UnknownToken => return StatusCode::UNAUTHORIZED.into_response(),
        RequestRefusal::NoAnswer => return StatusCode::REQUEST_TIMEOUT.into_response(),
        RequestRefusal::OtherTransport => ApiError::new(
            StatusCode::FORBIDDEN,
            20,
            "The device's profile has a transport that is not served here",
        ),
        RequestRefusal::AddressBlocked => ApiError::too_many_requests(BLOCKED_RETRY_S),
        RequestRefusal::RateLimited => ApiError::too_many_requests(DEVICE_RETRY_S),
        RequestRefusal::TooManyWaiting => later(
            DEVICE_RETRY_S,
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, 33, "Too many requests wait already"),
        ),
        RequestRefusal::Unusable(reason) => ApiError::bad_request(reason),
        RequestRefusal::NoPackage => ApiError::not_found(),
        RequestRefusal::Busy => later(DEVICE_RETRY_S, unavailable("The server has fallen behind")),
        RequestRefusal::Stopping => {
            later(DEVICE_RETRY_S, unavailable("The server does not serve devices now"))
        }
        RequestRefusal::Failed => {
            later(DEVICE_RETRY_S, unavailable("The message could not be kept: send it again"))
        }
    };
    error.into_response()
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = ErrorBody {
            status: self.status.as_u16(),
            message: self.message,
            error_code: self.code,
            timestamp: now().0,
        };
        let mut response = (self.status, Json(body)).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// An error with all its causes, on one line.
pub(crate) fn chain(failure: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(failure), |failure| failure.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
