//! Users of customers: they are made by an administrator and set their own password (REST §2.9).

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::http::header::HOST;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;
use wireglot_device::{HashedPassword, UserDraft};

use crate::Api;
use crate::access::Peer;
use crate::error::{ApiError, ErrorBody};
use crate::login::answer;
use crate::openapi::schemas::{self, OnlyCustomerUser};
use crate::request::{Body, blocking, carried_through, id};
use crate::shape::{self, CUSTOMER_USER, EntityRef};
use wireglot_device::now;

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct UserBody {
    /// Of no use: users that are there cannot be changed here.
    id: Option<EntityRef>,
    #[schema(required, nullable = false)]
    email: Option<String>,
    #[schema(required, nullable = false, inline, value_type = OnlyCustomerUser)]
    authority: Option<String>,
    #[schema(required, nullable = false)]
    customer_id: Option<EntityRef>,
    first_name: Option<String>,
    last_name: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Activation {
    /// What stands behind `activateToken=` in the link.
    activate_token: String,
    #[schema(format = Password)]
    password: String,
}

/// Makes a user of a customer.
///
/// No mail is sent: the activation link is for the administrator to pass on.
#[utoipa::path(
    post,
    path = "/api/user",
    operation_id = "createUser",
    tag = "Users",
    request_body = UserBody,
    responses(
        (status = 200, description = "The user.", body = schemas::User),
        (status = 404, description = "There is no customer of this id.", body = ErrorBody),
    ),
)]
pub(crate) async fn create(State(api): State<Api>, body: Body) -> Result<Json<Value>, ApiError> {
    let UserBody { id: known, email, authority, customer_id, first_name, last_name } = body.json()?;
    if known.is_some() {
        return Err(ApiError::bad_request("A user that is there cannot be changed here"));
    }
    match authority.as_deref() {
        Some(CUSTOMER_USER) => {}
        None => return Err(ApiError::bad_request("User authority isn't defined!")),
        Some(other) => {
            let only = "only users of authority 'CUSTOMER_USER' can be made";
            return Err(ApiError::bad_request(format!("Authority '{other}' is not served: {only}")));
        }
    }
    let customer = customer_id.ok_or_else(|| ApiError::bad_request("Customer id should be specified!"))?;
    let customer = id(&customer.id)?;
    let draft = UserDraft { email: email.unwrap_or_default(), first_name, last_name, customer };
    let devices = api.devices.clone();
    let user = carried_through(async move { devices.create_user(draft, now()).await }).await?;
    Ok(Json(shape::user(&user, api.devices.tenant())))
}

/// Gives the link by which a user sets the first password.
///
/// A link that has ended, or soon will, is replaced by a new one.
#[utoipa::path(
    get,
    path = "/api/user/{userId}/activationLink",
    operation_id = "readActivationLink",
    tag = "Users",
    params(("userId" = String, Path, description = "Id of the user.", format = "uuid")),
    responses((status = 200, description = "The link.", body = String)),
)]
pub(crate) async fn activation_link(
    State(api): State<Api>,
    headers: HeaderMap,
    Path(user): Path<String>,
) -> Result<String, ApiError> {
    let user = id(&user)?;
    let devices = api.devices.clone();
    let token = carried_through(async move { devices.activation(user, now()).await }).await?;
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    Ok(format!("http://{host}/api/noauth/activate?activateToken={token}"))
}

/// Sets the first password of a user, who is logged in with it.
#[utoipa::path(
    post,
    path = "/api/noauth/activate",
    operation_id = "activateUser",
    tag = "Users",
    request_body = Activation,
    responses(
        (status = 200, description = "The tokens of the user.", body = schemas::TokenPair),
        (status = 404, description = "The link has ended, or was never given.", body = ErrorBody),
        (status = 429, description = "Too many tries from this address; `Retry-After` says when there may be another.", body = ErrorBody),
    ),
)]
pub(crate) async fn activate(
    State(api): State<Api>,
    peer: Option<Extension<Peer>>,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    api.logins.admit(peer.map(|Extension(peer)| peer), now())?;
    let Activation { activate_token, password } = body.json()?;
    api.devices.check_activation(&activate_token, now())?;
    // Waits for its turn: hashing takes memory and a core.
    let _turn = api.logins_checked.acquire().await.map_err(|closed| ApiError::internal(&closed))?;
    let password = blocking(move || HashedPassword::new(&password)).await?;
    let devices = api.devices.clone();
    let user =
        carried_through(async move { devices.activate(&activate_token, password, now()).await }).await?;
    Ok(answer(&api.tokens.issue(&user, Uuid::new_v4(), now())?))
}
