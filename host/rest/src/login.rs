//! Login, renewal and end of a session, and a user's own password (REST §2.1).

use axum::extract::State;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::Api;
use crate::access::{Caller, Pair, SESSION_MS};
use crate::error::{ApiError, ErrorBody};
use crate::login_limit::LoginTry;
use crate::openapi::schemas;
use crate::peer::Origin;
use crate::request::{Body, blocking, carried_through};
use crate::shape;
use crate::wrong_passwords::Attempt;
use wireglot_device::{DeviceError, HashedPassword, now};
use wireglot_model::Timestamp;

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

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PasswordChange {
    #[schema(format = Password)]
    current_password: String,
    /// 8 to 256 characters, and another one than before.
    #[schema(format = Password)]
    new_password: String,
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
        (status = 429, description = "Too many tries from this address, or for this user; `Retry-After` says when there may be another.", body = ErrorBody),
    ),
)]
pub(crate) async fn login(
    State(api): State<Api>,
    origin: Origin,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let Login { username, password } = body.json()?;
    let (tried, attempt) = admitted_as(&api, &origin, &username)?;
    let devices = api.devices.clone();
    let user = hashing(&api, move || devices.login(&username, &password)).await?;
    api.logins.give_back(tried);
    api.wrong_passwords.proved(attempt);
    Ok(answer(&api.tokens.issue(&user, Uuid::new_v4(), now())?))
}

/// Hashes a password when it is its turn: that takes memory and a core. The turn goes along, as the hashing goes on when
/// its client has gone away.
pub(crate) async fn hashing<T: Send + 'static>(
    api: &Api,
    hash: impl FnOnce() -> Result<T, DeviceError> + Send + 'static,
) -> Result<T, ApiError> {
    let turn = api.logins_checked.clone().acquire_owned().await;
    let turn = turn.map_err(|closed| ApiError::internal(&closed))?;
    blocking(move || {
        let _turn = turn;
        hash()
    })
    .await
}

/// The try of somebody who may try a password now.
pub(crate) fn admitted(api: &Api, origin: &Origin) -> Result<LoginTry, ApiError> {
    api.logins.admit(origin.network(), now())
}

/// The same for a login name. A try that its name does not admit counts for no address, or all behind that address would wait
/// for what others do to one name.
fn admitted_as(api: &Api, origin: &Origin, name: &str) -> Result<(LoginTry, Attempt), ApiError> {
    let tried = admitted(api, origin)?;
    match api.wrong_passwords.admit(name, tried.address, now()) {
        Ok(attempt) => Ok((tried, attempt)),
        Err(refused) => {
            api.logins.give_back(tried);
            Err(refused)
        }
    }
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
    let caller = api.refreshing(&refresh_token)?;
    Ok(answer(&api.tokens.issue(&caller.user, caller.session()?, now())?))
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
pub(crate) async fn logout(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
) -> Result<(), ApiError> {
    let (session, user, devices, now) = (caller.session()?, caller.user.id, api.devices.clone(), now());
    let until = Timestamp(now.0.saturating_add(SESSION_MS));
    carried_through(async move { devices.end_session(user, session, until, now).await }).await
}

/// Changes the caller's password, which ends all sessions of that user; the answer begins a new one.
///
/// A login is needed: an API key does not do.
#[utoipa::path(
    post,
    path = "/api/auth/changePassword",
    operation_id = "changePassword",
    tag = "Login",
    request_body = PasswordChange,
    responses(
        (status = 200, description = "The tokens of the new session.", body = schemas::TokenPair),
        (status = 409, description = "The password has been changed meanwhile.", body = ErrorBody),
        (status = 429, description = "Too many tries; `Retry-After` says when there may be another.", body = ErrorBody),
    ),
)]
pub(crate) async fn change_password(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    origin: Origin,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    caller.session()?;
    let PasswordChange { current_password, new_password } = body.json()?;
    let (tried, attempt) = admitted_as(&api, &origin, &caller.user.email)?;
    let (devices, user) = (api.devices.acting_for(caller.actor()), caller.user);
    let (id, generation) = (user.id, user.generation);
    let known = {
        let (devices, current) = (devices.clone(), current_password.clone());
        hashing(&api, move || devices.check_password(&user, &current))
    };
    known.await?;
    // Whatever becomes of the new one, the present one was right.
    api.logins.give_back(tried);
    api.wrong_passwords.proved(attempt);
    let password = hashing(&api, move || HashedPassword::after(&current_password, &new_password)).await?;
    let changed =
        carried_through(async move { devices.change_password(id, password, generation, now()).await });
    Ok(answer(&api.tokens.issue(&*changed.await?, Uuid::new_v4(), now())?))
}

pub(crate) fn answer(pair: &Pair) -> Json<Value> {
    Json(json!({"token": pair.access, "refreshToken": pair.refresh, "scope": null}))
}
