//! Login, renewal and end of a session (REST §2.1).

use axum::extract::State;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::Api;
use crate::access::{Caller, Pair, Peer};
use crate::error::{ApiError, ErrorBody};
use crate::openapi::schemas;
use crate::request::{Body, blocking};
use crate::shape;
use wireglot_device::now;

#[derive(Deserialize, ToSchema)]
struct Login {
    /// The e-mail address of the user.
    username: String,
    #[schema(format = Password)]
    password: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Renewal {
    refresh_token: String,
}

/// Logs in.
#[utoipa::path(
    post,
    path = "/api/auth/login",
    operation_id = "login",
    tag = "Login",
    request_body = Login,
    responses(
        (status = 200, description = "The tokens.", body = schemas::TokenPair),
        (status = 401, description = "Wrong user name or password.", body = ErrorBody),
        (status = 429, description = "Too many tries from this address; `Retry-After` says when there may be another.", body = ErrorBody),
    ),
)]
pub(crate) async fn login(
    State(api): State<Api>,
    peer: Option<Extension<Peer>>,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let peer = peer.map(|Extension(peer)| peer);
    api.logins.admit(peer, now())?;
    let Login { username, password } = body.json()?;
    // Waits for its turn: hashing takes memory and a core.
    let _turn = api.logins_checked.acquire().await.map_err(|closed| ApiError::internal(&closed))?;
    let devices = api.devices.clone();
    let user = blocking(move || devices.login(&username, &password)).await?;
    api.logins.give_back(peer);
    Ok(answer(&api.tokens.issue(&user, Uuid::new_v4(), now())?))
}

/// Gives a new pair of tokens for a refresh token.
#[utoipa::path(
    post,
    path = "/api/auth/token",
    operation_id = "renewTokens",
    tag = "Login",
    request_body = Renewal,
    responses(
        (status = 200, description = "The tokens.", body = schemas::TokenPair),
        (status = 401, description = "The refresh token is not good any more.", body = ErrorBody),
    ),
)]
pub(crate) async fn renew(State(api): State<Api>, body: Body) -> Result<Json<Value>, ApiError> {
    let Renewal { refresh_token } = body.json()?;
    let Caller { user, session } = api.refreshing(&refresh_token)?;
    Ok(answer(&api.tokens.issue(&user, session, now())?))
}

/// Tells who the caller is.
#[utoipa::path(
    get,
    path = "/api/auth/user",
    operation_id = "readCurrentUser",
    tag = "Login",
    responses((status = 200, description = "The caller.", body = schemas::User)),
)]
pub(crate) async fn user(State(api): State<Api>, Extension(caller): Extension<Caller>) -> Json<Value> {
    Json(shape::user(&caller.user, api.devices.tenant()))
}

/// Ends the session: none of its tokens is good any more.
#[utoipa::path(
    post,
    path = "/api/auth/logout",
    operation_id = "logout",
    tag = "Login",
    responses((status = 200, description = "Done.")),
)]
pub(crate) async fn logout(State(api): State<Api>, Extension(caller): Extension<Caller>) {
    api.tokens.end(caller.session, now());
}

pub(crate) fn answer(pair: &Pair) -> Json<Value> {
    Json(json!({"token": pair.access, "refreshToken": pair.refresh, "scope": null}))
}
