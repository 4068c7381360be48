//! Who may call: tokens of the management side.

use std::sync::Arc;

use axum::extract::{RawPathParams, Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::Response;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use wireglot_model::{Actor, CustomerId, DeviceId, TenantId, Timestamp, User, UserId};

use crate::Api;
use crate::error::ApiError;
use crate::shape::{NO_CUSTOMER, authority};
use wireglot_device::{ApiKeyRefusal, now};

/// Life of an access token.
const ACCESS_S: i64 = 9_000;
/// Life of a refresh token.
const REFRESH_S: i64 = 604_800;
/// How long a session can go on without being renewed, in milliseconds: its tokens have all ended then.
pub(crate) const SESSION_MS: i64 = 1_000 * REFRESH_S;
const ISSUER: &str = "wireglot";
const REFRESH: &str = "REFRESH_TOKEN";

/// Who sent a request; put in by the functions below that require one.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) user: Arc<User>,
    by: Proof,
}

/// By what somebody has proven to be a user.
#[derive(Clone, Copy)]
enum Proof {
    /// A token of this session.
    Session(Uuid),
    /// A key for programs.
    ApiKey,
}

impl Caller {
    /// The session of a user who has logged in. What asks for it cannot be done with a key.
    pub(crate) fn session(&self) -> Result<Uuid, ApiError> {
        match self.by {
            Proof::Session(session) => Ok(session),
            Proof::ApiKey => Err(ApiError::needs_login()),
        }
    }

    /// As the histories and the audit log name who did it.
    pub(crate) fn actor(&self) -> Actor {
        Actor::User(self.user.email.clone())
    }
}

/// The claims that clients read, and those that they expect to be there (REST §1).
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Claims {
    sub: String,
    user_id: UserId,
    scopes: Vec<String>,
    session_id: Uuid,
    iss: String,
    iat: i64,
    exp: i64,
    /// That of the user's password: with another one all sessions end.
    #[serde(default)]
    generation: u32,
    // From here on: what only an access token says.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_public: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_id: Option<TenantId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_id: Option<Uuid>,
}

/// A pair of tokens.
pub(crate) struct Pair {
    pub(crate) access: String,
    pub(crate) refresh: String,
}

/// Signs tokens and reads them.
pub(crate) struct Tokens {
    signing: EncodingKey,
    checking: DecodingKey,
    tenant: TenantId,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Access,
    Refresh,
}

impl Tokens {
    pub(crate) fn new(secret: &[u8], tenant: TenantId) -> Self {
        Self { signing: EncodingKey::from_secret(secret), checking: DecodingKey::from_secret(secret), tenant }
    }

    /// A pair for a user who has just proven to be that user.
    pub(crate) fn issue(&self, user: &User, session: Uuid, now: Timestamp) -> Result<Pair, ApiError> {
        let iat = now.0.div_euclid(1000);
        let refresh = Claims {
            sub: user.email.clone(),
            user_id: user.id,
            scopes: vec![REFRESH.into()],
            session_id: session,
            iss: ISSUER.into(),
            iat,
            exp: iat + REFRESH_S,
            generation: user.generation,
            first_name: None,
            last_name: None,
            enabled: None,
            is_public: None,
            tenant_id: None,
            customer_id: None,
        };
        let access = Claims {
            scopes: vec![authority(user).into()],
            exp: iat + ACCESS_S,
            first_name: user.first_name.clone(),
            last_name: user.last_name.clone(),
            enabled: Some(true),
            is_public: Some(false),
            tenant_id: Some(self.tenant),
            customer_id: Some(user.customer.map_or(NO_CUSTOMER, |customer| customer.0)),
            ..refresh.clone()
        };
        Ok(Pair { access: self.sign(&access)?, refresh: self.sign(&refresh)? })
    }

    fn sign(&self, claims: &Claims) -> Result<String, ApiError> {
        let header = Header::new(Algorithm::HS512);
        jsonwebtoken::encode(&header, claims, &self.signing).map_err(|error| ApiError::internal(&error))
    }

    fn check(&self, token: &str, kind: Kind, now: Timestamp) -> Result<Claims, ApiError> {
        let mut rules = Validation::new(Algorithm::HS512);
        rules.set_issuer(&[ISSUER]);
        // The time comes in as a value, so expiry is compared below.
        rules.validate_exp = false;
        rules.set_required_spec_claims(&["exp", "iss", "sub"]);
        let refused = |error: jsonwebtoken::errors::Error| match error.kind() {
            ErrorKind::ExpiredSignature => ApiError::token_expired(),
            _ => ApiError::unauthorized("Authentication failed"),
        };
        let claims = jsonwebtoken::decode::<Claims>(token, &self.checking, &rules).map_err(refused)?.claims;
        // What a user may do is looked up anew with every request; a token only says whose it is.
        let is_refresh = claims.scopes.iter().any(|scope| scope == REFRESH);
        if is_refresh != (kind == Kind::Refresh) {
            return Err(ApiError::unauthorized("Authentication failed"));
        }
        if now.0.div_euclid(1000) >= claims.exp {
            return Err(ApiError::token_expired());
        }
        Ok(claims)
    }
}

impl Api {
    /// The user and session of an access token.
    pub(crate) fn caller(&self, token: &str) -> Result<Caller, ApiError> {
        self.user_of(token, Kind::Access)
    }

    /// The user and session of a refresh token.
    pub(crate) fn refreshing(&self, token: &str) -> Result<Caller, ApiError> {
        self.user_of(token, Kind::Refresh)
    }

    /// The user of a key for programs.
    pub(crate) fn caller_by_key(&self, secret: &str) -> Result<Caller, ApiError> {
        let user = self.devices.user_of_api_key(secret, now()).map_err(|refusal| match refusal {
            ApiKeyRefusal::Unknown | ApiKeyRefusal::Disabled => ApiError::unauthorized(refusal.to_string()),
            ApiKeyRefusal::Expired => ApiError::expired(refusal.to_string()),
        })?;
        Ok(Caller { user, by: Proof::ApiKey })
    }

    /// The same caller some time later. A token that has run out since has proven enough, as long as its session goes on
    /// and its user has the same password.
    pub(crate) fn still(&self, caller: &Caller, shown: &HeaderMap) -> Result<Caller, ApiError> {
        match (authenticate(self, shown), caller.by) {
            (Err(error), Proof::Session(session)) if error.is_token_expired() => {
                let is_same = |user: &Arc<User>| user.generation == caller.user.generation;
                let user = self.user_in(session, caller.user.id).filter(is_same);
                let user = user.ok_or_else(|| ApiError::unauthorized("Authentication failed"))?;
                Ok(Caller { user, by: caller.by })
            }
            (outcome, Proof::Session(_) | Proof::ApiKey) => outcome,
        }
    }

    fn user_of(&self, token: &str, kind: Kind) -> Result<Caller, ApiError> {
        let claims = self.tokens.check(token, kind, now())?;
        let user = self.user_in(claims.session_id, claims.user_id);
        let user = user.ok_or_else(|| ApiError::unauthorized("Authentication failed"))?;
        if user.generation != claims.generation {
            return Err(ApiError::unauthorized("Token is outdated: the password was changed"));
        }
        Ok(Caller { user, by: Proof::Session(claims.session_id) })
    }

    /// The user of a session that goes on.
    fn user_in(&self, session: Uuid, user: UserId) -> Option<Arc<User>> {
        // In this order: an end is forgotten only after the user has got another generation.
        if self.devices.is_session_ended(session) { None } else { self.devices.user(user) }
    }
}

impl Caller {
    /// The customer whose devices are all that the caller sees; `None`: everything.
    pub(crate) fn customer(&self) -> Option<CustomerId> {
        self.user.customer
    }

    /// Lets administrators through, and users of this customer.
    pub(crate) fn may_see(&self, customer: Option<CustomerId>) -> Result<(), ApiError> {
        match self.customer() {
            Some(own) if customer != Some(own) => Err(ApiError::forbidden()),
            Some(_) | None => Ok(()),
        }
    }
}

/// Lets only administrators through.
pub(crate) async fn require_administrator(
    state: State<Api>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    match log_in(&state, &mut request)?.customer() {
        None => Ok(next.run(request).await),
        Some(_) => Err(ApiError::forbidden()),
    }
}

/// Lets administrators through, and users of the customer whose device the path names: by its first id.
pub(crate) async fn require_device(
    state: State<Api>,
    parameters: RawPathParams,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let caller = log_in(&state, &mut request)?;
    if caller.customer().is_some() {
        let id: Option<DeviceId> = parameters.iter().find_map(|(_, value)| value.parse().ok());
        let device = id.and_then(|id| state.devices.device(id));
        caller.may_see(device.and_then(|device| device.customer()))?;
    }
    Ok(next.run(request).await)
}

/// Lets only users of customers through, for what is done in the name of a customer; the handler gets its id.
pub(crate) async fn require_customer_user(
    state: State<Api>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let customer = log_in(&state, &mut request)?.customer().ok_or_else(ApiError::forbidden)?;
    request.extensions_mut().insert(customer);
    Ok(next.run(request).await)
}

/// Lets only users of the management side through, whatever they may do.
pub(crate) async fn require_login(
    state: State<Api>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    log_in(&state, &mut request)?;
    Ok(next.run(request).await)
}

/// Who these headers prove to be: those of a request, or what a WebSocket said, in their form.
pub(crate) fn authenticate(api: &Api, headers: &HeaderMap) -> Result<Caller, ApiError> {
    match credential(headers).ok_or_else(|| ApiError::unauthorized("Authentication failed"))? {
        Credential::Token(token) => api.caller(token),
        Credential::ApiKey(secret) => api.caller_by_key(secret),
    }
}

fn log_in(api: &Api, request: &mut Request) -> Result<Caller, ApiError> {
    let caller = authenticate(api, request.headers())?;
    request.extensions_mut().insert(caller.clone());
    Ok(caller)
}

/// What a request shows.
enum Credential<'r> {
    Token(&'r str),
    ApiKey(&'r str),
}

/// `X-Authorization` is looked at first, then `Authorization`.
fn credential(headers: &HeaderMap) -> Option<Credential<'_>> {
    let header = headers.get("x-authorization").or_else(|| headers.get(AUTHORIZATION))?;
    let (scheme, shown) = header.to_str().ok()?.split_once(' ')?;
    match shown.trim() {
        token if scheme.eq_ignore_ascii_case("bearer") => Some(Credential::Token(token)),
        secret if scheme.eq_ignore_ascii_case("apikey") => Some(Credential::ApiKey(secret)),
        _ => None,
    }
}
