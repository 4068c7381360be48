//! What a request says, read the way existing clients write it: bodies whatever their content type, queries with
//! repeated and unknown parameters.

use std::borrow::Cow;
use std::future::Future;
use std::str::FromStr;
use std::time::Duration;

use axum::RequestExt as _;
use axum::body::HttpBody as _;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::EXPECT;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use wireglot_device::DeviceError;
use wireglot_model::DeviceId;
use wireglot_model::limits::PAGE_ITEMS_MAX;

use crate::error::ApiError;
use crate::telemetry::Typing;

/// How long a body may take to arrive: a connection that dawdles takes a place from others.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// The bytes of a body, within the limit of its route.
pub(crate) struct Body(pub(crate) axum::body::Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (asks_first, announced) =
            (request.headers().contains_key(EXPECT), request.body().size_hint().lower());
        let request = request.with_limited_body();
        // What is too large counts for no more than its bound, and whoever waits for a word need not send it.
        if asks_first && announced > request.body().size_hint().lower() {
            return Err(too_large());
        }
        let reading = axum::body::Bytes::from_request(request, state);
        match tokio::time::timeout(BODY_TIMEOUT, reading).await {
            Err(_elapsed) => Err(ApiError::too_slow()),
            Ok(Ok(bytes)) => Ok(Self(bytes)),
            Ok(Err(refused)) if refused.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE => {
                Err(too_large())
            }
            Ok(Err(refused)) => Err(ApiError::bad_request(refused.body_text())),
        }
    }
}

fn too_large() -> ApiError {
    ApiError::too_large("The request body is too large")
}

impl Body {
    /// The body as a JSON object of this shape.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        let invalid = |error| ApiError::bad_request(format!("Invalid JSON: {error}"));
        if self.0.trim_ascii_start().first() == Some(&b'{') {
            let mut reading = serde_json::Deserializer::from_slice(&self.0);
            // It says which member is wrong.
            let read = serde_path_to_error::deserialize(&mut reading);
            let read = read.map_err(|error| ApiError::bad_request(format!("Invalid JSON: {error}")))?;
            return reading.end().map(|()| read).map_err(invalid);
        }
        // What is read by the names of its members is not to be read from a list by their order.
        serde_json::from_slice::<serde::de::IgnoredAny>(&self.0).map_err(invalid)?;
        Err(ApiError::bad_request("Invalid JSON: the body has to be a JSON object"))
    }
}

/// The parameters of a query. Those that nobody asks for are ignored.
#[derive(Clone)]
pub(crate) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        let query = parts.uri.query().unwrap_or_default();
        let owned = |(name, value): (Cow<'_, str>, Cow<'_, str>)| (name.into_owned(), value.into_owned());
        Ok(Self(form_urlencoded::parse(query.as_bytes()).map(owned).collect()))
    }
}

impl Params {
    /// What a query with these parameters would say.
    pub(crate) fn of<const N: usize>(parameters: [(&str, Option<String>); N]) -> Self {
        let there = |(name, value): (&str, Option<String>)| Some((name.to_owned(), value?));
        Self(parameters.into_iter().filter_map(there).collect())
    }

    /// All values of a parameter that may be repeated.
    pub(crate) fn all<'p>(&'p self, name: &'p str) -> impl Iterator<Item = &'p str> {
        let named = self.0.iter().filter(move |(known, value)| known == name && !value.is_empty());
        named.map(|(_, value)| value.as_str())
    }

    /// The value of a parameter; one without text counts as absent.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Refuses parameters other than these, where one that is ignored would show what was not asked for.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), ApiError> {
        match self.0.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some((name, _)) => {
                let known = known.join(", ");
                Err(ApiError::bad_request(format!("There is no parameter '{name}' here; there are {known}")))
            }
        }
    }

    /// A parameter that has to be written like a `T`.
    pub(crate) fn parsed<T: FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let parse = |text: &str| {
            text.trim()
                .parse()
                .map_err(|_| ApiError::bad_request(format!("Invalid value of parameter '{name}': {text}")))
        };
        self.text(name).map(parse).transpose()
    }

    /// A parameter that has to be there.
    pub(crate) fn required<T: FromStr>(&self, name: &str) -> Result<T, ApiError> {
        let missing = || ApiError::bad_request(format!("Required request parameter '{name}' is not present"));
        self.parsed(name)?.ok_or_else(missing)
    }

    /// Ids, with commas between them; there have to be some.
    pub(crate) fn ids<T: FromStr>(&self, name: &str) -> Result<Vec<T>, ApiError> {
        let text: String = self.required(name)?;
        let parts: Vec<&str> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
        if parts.len() > PAGE_ITEMS_MAX {
            return Err(ApiError::bad_request(format!("'{name}' has at most {PAGE_ITEMS_MAX} ids")));
        }
        parts.into_iter().map(id).collect()
    }

    /// `true` only where the parameter says so.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.text(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// A parameter that is `true` or `false`; `default` where it is absent.
    pub(crate) fn flag(&self, name: &str, default: bool) -> Result<bool, ApiError> {
        match self.text(name) {
            None => Ok(default),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(text) => Err(ApiError::bad_request(format!("Invalid value of parameter '{name}': {text}"))),
        }
    }

    /// How values are to be written.
    pub(crate) fn typing(&self) -> Result<Typing, ApiError> {
        Ok(if self.flag("useStrictDataTypes", false)? { Typing::Strict } else { Typing::Text })
    }

    /// All that a parameter lists, by commas or by being repeated.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let values = self.0.iter().filter(|(known, _)| known == name).flat_map(|(_, value)| value.split(','));
        values.filter(|value| !value.is_empty()).map(str::to_owned).collect()
    }

    /// Keys, as `keys=a,b` or as `key=` repeated, which keeps commas; `None` where none is named.
    pub(crate) fn keys(&self) -> Option<Vec<String>> {
        let single = self
            .0
            .iter()
            .filter(|(name, value)| name == "key" && !value.is_empty())
            .map(|(_, key)| key.clone());
        let mut keys: Vec<String> = single.collect();
        if keys.is_empty() {
            keys = self.text("keys")?.split(',').filter(|key| !key.is_empty()).map(str::to_owned).collect();
        }
        let mut seen = std::collections::HashSet::new();
        keys.retain(|key| seen.insert(key.clone()));
        (!keys.is_empty()).then_some(keys)
    }
}

/// An id in a path.
pub(crate) fn id<T: FromStr>(text: &str) -> Result<T, ApiError> {
    text.parse().map_err(|_| ApiError::bad_request(format!("Invalid UUID string: {text}")))
}

/// The device of `…/{entityType}/{entityId}/…`.
pub(crate) fn entity(kind: &str, entity: &str) -> Result<DeviceId, ApiError> {
    if kind != "DEVICE" {
        return Err(ApiError::bad_request(format!(
            "Entities of type '{kind}' have neither telemetry nor attributes here"
        )));
    }
    id(entity)
}

/// Reads from the store on a thread that may wait for the disk.
pub(crate) async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, DeviceError> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(read).await {
        Ok(outcome) => Ok(outcome?),
        Err(broken) => Err(ApiError::internal(&broken)),
    }
}

/// Carries a change through even if the client goes away meanwhile: half a change must not happen.
pub(crate) async fn carried_through<T: Send + 'static>(
    change: impl Future<Output = Result<T, DeviceError>> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::spawn(change).await {
        Ok(outcome) => Ok(outcome?),
        Err(broken) => Err(ApiError::internal(&broken)),
    }
}

/// JSON that was written as text.
pub(crate) struct JsonText(pub(crate) String);

impl IntoResponse for JsonText {
    fn into_response(self) -> Response {
        ([(axum::http::header::CONTENT_TYPE, "application/json")], self.0).into_response()
    }
}
