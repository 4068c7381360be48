//! Login, renewal and end of a session (REST §2.1).

use axum::extract::State;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::Api;
use crate::access::{Caller, Pair, Peer};
use crate::error::ApiError;
use crate::request::{Body, blocking};
use crate::shape;
use wireglot_device::now;

#[derive(Deserialize)]
struct Login {
    username: String,
    password: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Renewal {
    refresh_token: String,
}

/// `POST /api/auth/login`
pub(crate) async fn login(
    State(api): State<Api>,
    peer: Option<Extension<Peer>>,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    api.logins.admit(peer.map(|Extension(peer)| peer), now())?;
    let Login { username, password } = body.json()?;
    // Waits for its turn: hashing takes memory and a core.
    let _turn = api.logins_checked.acquire().await.map_err(|closed| ApiError::internal(&closed))?;
    let devices = api.devices.clone();
    let user = blocking(move || devices.login(&username, &password)).await?;
    Ok(answer(&api.tokens.issue(&user, Uuid::new_v4(), now())?))
}

/// `POST /api/auth/token`
pub(crate) async fn renew(State(api): State<Api>, body: Body) -> Result<Json<Value>, ApiError> {
    let Renewal { refresh_token } = body.json()?;
    let Caller { user, session } = api.refreshing(&refresh_token)?;
    Ok(answer(&api.tokens.issue(&user, session, now())?))
}

/// `GET /api/auth/user`
pub(crate) async fn user(State(api): State<Api>, Extension(caller): Extension<Caller>) -> Json<Value> {
    Json(shape::user(&caller.user, api.devices.tenant()))
}

/// `POST /api/auth/logout`
pub(crate) async fn logout(State(api): State<Api>, Extension(caller): Extension<Caller>) {
    api.tokens.end(caller.session, now());
}

pub(crate) fn answer(pair: &Pair) -> Json<Value> {
    Json(json!({"token": pair.access, "refreshToken": pair.refresh, "scope": null}))
}
