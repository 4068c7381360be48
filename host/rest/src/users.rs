//! Users: they are made by an administrator and set their own password (REST §2.9).

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::http::header::HOST;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;
use wireglot_device::{HashedPassword, UserDraft};
use wireglot_model::{CustomerId, Timestamp, User, UserId};

use crate::Api;
use crate::access::Caller;
use crate::error::{ApiError, ErrorBody};
use crate::login::{admitted, answer, hashing};
use crate::openapi::{params, schemas};
use crate::page::{Gathering, Page};
use crate::peer::Origin;
use crate::request::{Body, Params, blocking, carried_through, id};
use crate::shape::{self, CUSTOMER_USER, EntityRef, TENANT_ADMIN};
use wireglot_device::now;

/// What of a user can be written, and what says which user is meant.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct UserBody {
    /// Of the user that is changed; without one a user is made.
    id: Option<EntityRef>,
    #[schema(required, nullable = false)]
    email: Option<String>,
    /// Needed for a new user; it stays as it is.
    #[schema(inline, value_type = Option<schemas::Authority>)]
    authority: Option<String>,
    /// Whose devices a `CUSTOMER_USER` sees.
    customer_id: Option<EntityRef>,
    first_name: Option<String>,
    last_name: Option<String>,
    phone: Option<String>,
    /// Any JSON object.
    additional_info: Option<Value>,
    /// The version that is changed: another one meanwhile is a conflict.
    version: Option<u64>,
}

impl UserBody {
    fn into_draft(self, stored: Option<&User>) -> Result<UserDraft, ApiError> {
        let customer = match (self.authority.as_deref(), stored) {
            (Some(TENANT_ADMIN), _) => None,
            (Some(CUSTOMER_USER), _) => {
                let missing = || ApiError::bad_request("Customer id should be specified!");
                Some(id(&self.customer_id.ok_or_else(missing)?.id)?)
            }
            (Some(other), _) => {
                let known = format!("there are {TENANT_ADMIN} and {CUSTOMER_USER}");
                return Err(ApiError::bad_request(format!("Authority '{other}' is not served: {known}")));
            }
            (None, Some(stored)) => stored.customer,
            (None, None) => return Err(ApiError::bad_request("User authority isn't defined!")),
        };
        Ok(UserDraft {
            email: self.email.unwrap_or_default(),
            first_name: self.first_name,
            last_name: self.last_name,
            phone: self.phone,
            additional_info: self.additional_info.unwrap_or(Value::Null).to_string(),
            customer,
        })
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Activation {
    /// What stands behind `activateToken=` in the link.
    activate_token: String,
    #[schema(format = Password)]
    password: String,
}

/// Makes a user, or replaces the facts of the one whose id is given.
///
/// No mail is sent: the activation link is for the administrator to pass on. Users of a customer change only their own
/// facts. A login is needed: an API key does not do.
#[utoipa::path(
    post,
    path = "/api/user",
    operation_id = "saveUser",
    tag = "Users",
    request_body = UserBody,
    responses(
        (status = 200, description = "The user.", body = schemas::User),
        (status = 404, description = "There is none of this id.", body = ErrorBody),
        (status = 409, description = "It has been changed meanwhile.", body = ErrorBody),
    ),
)]
pub(crate) async fn save(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    // Who makes users, or changes what they log in with, has logged in.
    caller.session()?;
    let body: UserBody = body.json()?;
    let known: Option<UserId> = body.id.as_ref().map(|known| id(&known.id)).transpose()?;
    if caller.customer().is_some() && known != Some(caller.user.id) {
        return Err(ApiError::forbidden());
    }
    let expected = body.version;
    let stored = known.map(|known| api.devices.user(known).ok_or_else(ApiError::not_found)).transpose()?;
    let draft = body.into_draft(stored.as_deref())?;
    let devices = api.devices.acting_for(caller.actor());
    let saved = carried_through(async move {
        match known {
            Some(known) => devices.update_user(known, draft, expected, now()).await,
            None => devices.create_user(draft, now()).await,
        }
    });
    Ok(Json(shape::user(&*saved.await?, api.devices.tenant())))
}

/// Shows a user.
#[utoipa::path(
    get,
    path = "/api/user/{userId}",
    operation_id = "readUser",
    tag = "Users",
    params(
        params::UserPath,
    ),
    responses(
        (status = 200, description = "The user.", body = schemas::User),
    ),
)]
pub(crate) async fn read(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(user): Path<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(shape::user(&*find(&api, &caller, &user)?, api.devices.tenant())))
}

/// The user of an id in a path, if the caller may know of them.
pub(crate) fn find(api: &Api, caller: &Caller, user: &str) -> Result<Arc<User>, ApiError> {
    let found = api.devices.user(id(user)?);
    caller.may_see(found.as_ref().and_then(|user| user.customer))?;
    found.ok_or_else(ApiError::not_found)
}

/// Deletes a user with the API keys and sessions of that user.
///
/// A login is needed: an API key does not do.
#[utoipa::path(
    delete,
    path = "/api/user/{userId}",
    operation_id = "deleteUser",
    tag = "Users",
    params(
        params::UserPath,
    ),
    responses(
        (status = 200, description = "Done."),
    ),
)]
pub(crate) async fn delete(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(user): Path<String>,
) -> Result<(), ApiError> {
    caller.session()?;
    let user = id(&user)?;
    let devices = api.devices.acting_for(caller.actor());
    carried_through(async move { devices.delete_user(user, now()).await }).await
}

/// Lists the users that the caller may see.
#[utoipa::path(
    get,
    path = "/api/users",
    operation_id = "listUsers",
    tag = "Users",
    params(params::Paging, params::UserSort),
    responses(
        (status = 200, description = "A page of users.", body = schemas::PageOf<schemas::User>),
    ),
)]
pub(crate) async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    page(api, &params, caller.customer(), plain).await
}

/// Lists the users that the caller may see, in another spelling.
#[utoipa::path(
    get,
    path = "/api/user/users",
    operation_id = "listUserUsers",
    tag = "Users",
    params(params::Paging, params::UserSort),
    responses(
        (status = 200, description = "A page of users.", body = schemas::PageOf<schemas::User>),
    ),
)]
pub(crate) async fn list_in_other_words(
    state: State<Api>,
    caller: Extension<Caller>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    list(state, caller, params).await
}

/// Lists the users that the caller may see, with the titles of their customers.
#[utoipa::path(
    get,
    path = "/api/userInfos/all",
    operation_id = "listUserInfos",
    tag = "Users",
    params(params::Paging, params::UserSort),
    responses(
        (status = 200, description = "A page of users.", body = schemas::PageOf<schemas::UserInfo>),
    ),
)]
pub(crate) async fn list_infos(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    page(api, &params, caller.customer(), info).await
}

/// Lists the users of a customer.
#[utoipa::path(
    get,
    path = "/api/customer/{customerId}/users",
    operation_id = "listCustomerUsers",
    tag = "Customers",
    params(params::CustomerPath, params::Paging, params::UserSort),
    responses(
        (status = 200, description = "A page of users.", body = schemas::PageOf<schemas::User>),
    ),
)]
pub(crate) async fn list_of_customer(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(customer): Path<String>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let customer = crate::customers::find(&api, &caller, &customer)?.id;
    page(api, &params, Some(customer), plain).await
}

/// A page of all users, or of those of one customer, on a thread that may take its time.
async fn page(
    api: Api,
    params: &Params,
    customer: Option<CustomerId>,
    write: fn(&Api, &User) -> Value,
) -> Result<Json<Value>, ApiError> {
    let page = Page::from_params(params)?;
    let key: KeyOf = match page.property() {
        "createdTime" => |user| Key::Time(user.created),
        "email" | "name" => |user| Key::Text(&user.email),
        "firstName" => |user| Key::Name(user.first_name.as_deref()),
        "lastName" => |user| Key::Name(user.last_name.as_deref()),
        "authority" => |user| Key::Text(shape::authority(user)),
        other => return Err(Page::unknown_property(other)),
    };
    let listing = blocking(move || {
        let users = api.devices.users();
        let mut gathering = Gathering::new(&page);
        for user in &users {
            let [first, last] =
                [&user.first_name, &user.last_name].map(|name| name.as_deref().unwrap_or_default());
            let is_shown = customer.is_none() || user.customer == customer;
            if is_shown && page.finds(&[&user.email, first, last]) {
                gathering.add((key(user), user.id), user);
            }
        }
        Ok(gathering.answer(|user| write(&api, user)))
    });
    listing.await.map(Json)
}

/// What users are sorted by.
type KeyOf = for<'u> fn(&'u User) -> Key<'u>;

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Key<'u> {
    Time(Timestamp),
    Text(&'u str),
    Name(Option<&'u str>),
}

/// A user in lists.
fn plain(api: &Api, user: &User) -> Value {
    shape::user(user, api.devices.tenant())
}

/// A user with the title of its customer.
fn info(api: &Api, user: &User) -> Value {
    let mut shape = plain(api, user);
    let customer = user.customer.and_then(|customer| api.devices.customer(customer));
    let title = customer.map(|customer| customer.title.clone());
    if let Some(members) = shape.as_object_mut() {
        members.insert("customerTitle".into(), json!(title));
        members.insert("ownerName".into(), json!(title));
    }
    shape
}

/// Gives the link by which a user sets the first password.
///
/// A link that has ended, or soon will, is replaced by a new one. A login is needed: an API key does not do.
#[utoipa::path(
    get,
    path = "/api/user/{userId}/activationLink",
    operation_id = "readActivationLink",
    tag = "Users",
    params(params::UserPath),
    responses((status = 200, description = "The link.", body = String)),
)]
pub(crate) async fn activation_link(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Path(user): Path<String>,
) -> Result<String, ApiError> {
    caller.session()?;
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
        (status = 429, description = "Too many tries from this address; `Retry-After` says when there may be another.", body = ErrorBody),
    ),
)]
pub(crate) async fn activate(
    State(api): State<Api>,
    origin: Origin,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let tried = admitted(&api, &origin)?;
    let Activation { activate_token, password } = body.json()?;
    api.devices.check_activation(&activate_token, now())?;
    // Whatever becomes of the password, the link was right.
    api.logins.give_back(tried);
    let password = hashing(&api, move || HashedPassword::new(&password)).await?;
    let devices = api.devices.clone();
    let user =
        carried_through(async move { devices.activate(&activate_token, password, now()).await }).await?;
    Ok(answer(&api.tokens.issue(&user, Uuid::new_v4(), now())?))
}
