//! Keys that programs show instead of a login (REST §2.10): `X-Authorization: ApiKey wg_…`.
//!
//! A key does what its user may do, apart from what is a matter of sessions and secrets: it neither logs out nor changes
//! the password, nor does it make, change or delete keys, so that one that was found begets no others.

use std::cmp::Ordering;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use wireglot_device::{ApiKeyChange, ApiKeyDraft, now};
use wireglot_model::{ApiKey, ApiKeyId, TenantId, Timestamp, UserId};

use crate::Api;
use crate::access::Caller;
use crate::error::{ApiError, ErrorBody};
use crate::openapi::{params, schemas};
use crate::page::Page;
use crate::request::{Body, Params, carried_through, id};
use crate::shape::{EntityRef, entity};
use crate::users;

/// What of a key can be written, and what says which key is meant.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ApiKeyBody, example = json!({"description": "nightly report", "enabled": true, "expirationTime": 0}))]
struct KeyBody {
    /// Of the key that is changed; without one a key is made.
    id: Option<EntityRef>,
    /// Who acts where it is shown; the caller where nothing is said.
    user_id: Option<EntityRef>,
    #[schema(required, nullable = false, min_length = 1, max_length = 255)]
    description: Option<String>,
    enabled: Option<bool>,
    /// Until when it is good, in milliseconds since 1970; 0 for ever. Of a key that is there it stays.
    expiration_time: Option<i64>,
}

/// Makes a key, or changes the one whose id is given.
///
/// A login is needed for all changes of keys: a key does not do. Administrators make keys for themselves and for users of
/// customers.
#[utoipa::path(
    post,
    path = "/api/apiKey",
    operation_id = "saveApiKey",
    tag = "API keys",
    request_body = KeyBody,
    responses(
        (status = 200, description = "The key; `value` is the secret of a new one, which is shown here and never again.", body = schemas::ApiKeyMade),
        (status = 404, description = "There is no key or no user of this id.", body = ErrorBody),
    ),
)]
pub(crate) async fn save(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    caller.session()?;
    let KeyBody { id: known, user_id, description, enabled, expiration_time } = body.json()?;
    if let Some(known) = known {
        return change(&api, &caller, &known.id, ApiKeyChange { description, enabled }).await;
    }
    let user: UserId = user_id.map_or(Ok(caller.user.id), |user| id(&user.id))?;
    if user != caller.user.id {
        let other = users::find(&api, &caller, &user.to_string())?;
        // Nobody acts in the name of an administrator, or of a colleague.
        if caller.customer().is_some() || other.customer.is_none() {
            return Err(ApiError::forbidden());
        }
    }
    let draft = ApiKeyDraft {
        description: description.unwrap_or_default(),
        enabled: enabled.unwrap_or(true),
        expires: expiration_time.filter(|at| *at != 0).map(Timestamp),
    };
    let devices = api.devices.acting_for(caller.actor());
    let made = carried_through(async move { devices.create_api_key(user, draft, now()).await });
    let (key, secret) = made.await?;
    let mut shape = write(&key, api.devices.tenant(), now());
    if let Some(members) = shape.as_object_mut() {
        members.insert("value".into(), json!(secret));
    }
    Ok(Json(shape))
}

/// Changes the description of a key.
#[utoipa::path(
    put,
    path = "/api/apiKey/{apiKeyId}/description",
    operation_id = "describeApiKey",
    tag = "API keys",
    params(
        params::ApiKeyPath,
    ),
    request_body(content((String = "text/plain"), (String = "application/json"))),
    responses(
        (status = 200, description = "The key as it is now.", body = schemas::ApiKey),
    ),
)]
pub(crate) async fn describe(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(key): Path<String>,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let text = String::from_utf8_lossy(&body.0).into_owned();
    let description = serde_json::from_str::<String>(&text).unwrap_or(text);
    change(&api, &caller, &key, ApiKeyChange { description: Some(description), enabled: None }).await
}

/// Switches a key on or off.
#[utoipa::path(
    put,
    path = "/api/apiKey/{apiKeyId}/enabled/{enabledValue}",
    operation_id = "enableApiKey",
    tag = "API keys",
    params(
        params::ApiKeyPath,
        ("enabledValue" = bool, Path, description = "Whether it is to be good for anything."),
    ),
    responses(
        (status = 200, description = "The key as it is now.", body = schemas::ApiKey),
    ),
)]
pub(crate) async fn enable(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path((key, enabled)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let wrong =
        || ApiError::bad_request(format!("A key is enabled or not, 'true' or 'false', not '{enabled}'"));
    let enabled = enabled.to_ascii_lowercase().parse().map_err(|_| wrong())?;
    change(&api, &caller, &key, ApiKeyChange { description: None, enabled: Some(enabled) }).await
}

async fn change(
    api: &Api,
    caller: &Caller,
    key: &str,
    change: ApiKeyChange,
) -> Result<Json<Value>, ApiError> {
    caller.session()?;
    let key = find(api, caller, key)?.id;
    let devices = api.devices.acting_for(caller.actor());
    let changed = carried_through(async move { devices.change_api_key(key, change, now()).await });
    Ok(Json(write(&*changed.await?, api.devices.tenant(), now())))
}

/// Deletes a key.
#[utoipa::path(
    delete,
    path = "/api/apiKey/{apiKeyId}",
    operation_id = "deleteApiKey",
    tag = "API keys",
    params(
        params::ApiKeyPath,
    ),
    responses(
        (status = 200, description = "Done."),
    ),
)]
pub(crate) async fn delete(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(key): Path<String>,
) -> Result<(), ApiError> {
    caller.session()?;
    let key = find(&api, &caller, &key)?.id;
    let devices = api.devices.acting_for(caller.actor());
    carried_through(async move { devices.delete_api_key(key, now()).await }).await
}

/// Lists the keys of a user, without their secrets.
#[utoipa::path(
    get,
    path = "/api/apiKeys/{userId}",
    operation_id = "listApiKeys",
    tag = "API keys",
    params(params::UserPath, params::Paging, params::ApiKeySort),
    responses(
        (status = 200, description = "A page of keys.", body = schemas::PageOf<schemas::ApiKey>),
    ),
)]
pub(crate) async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(user): Path<String>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let user: UserId = id(&user)?;
    may_manage(&caller, Some(user))?;
    let user = api.devices.user(user).ok_or_else(ApiError::not_found)?;
    let page = Page::from_params(&params)?;
    let mut found = api.devices.api_keys_of(user.id);
    found.retain(|key| page.finds(&[&key.description]));
    let (tenant, now) = (api.devices.tenant(), now());
    Ok(Json(page.answer(found, compare, |key| write(key, tenant, now))?))
}

/// An administrator manages everybody's keys, anybody else the own ones.
fn may_manage(caller: &Caller, owner: Option<UserId>) -> Result<(), ApiError> {
    let is_own = owner == Some(caller.user.id);
    if is_own || caller.customer().is_none() { Ok(()) } else { Err(ApiError::forbidden()) }
}

fn find(api: &Api, caller: &Caller, key: &str) -> Result<Arc<ApiKey>, ApiError> {
    let key: ApiKeyId = id(key)?;
    let found = api.devices.api_key(key);
    may_manage(caller, found.as_ref().map(|key| key.user))?;
    found.ok_or_else(ApiError::not_found)
}

fn compare(property: &str, one: &Arc<ApiKey>, other: &Arc<ApiKey>) -> Option<Ordering> {
    let order = match property {
        "createdTime" => (one.created, one.id).cmp(&(other.created, other.id)),
        "expirationTime" => one.expires.cmp(&other.expires),
        "description" => one.description.cmp(&other.description),
        "enabled" => one.enabled.cmp(&other.enabled),
        _ => return None,
    };
    Some(order)
}

fn write(key: &ApiKey, tenant: TenantId, now: Timestamp) -> Value {
    json!({
        "id": entity("API_KEY", key.id),
        "createdTime": key.created.0,
        "tenantId": entity("TENANT", tenant),
        "userId": entity("USER", key.user),
        "expirationTime": key.expires.map_or(0, |expires| expires.0),
        "description": key.description,
        "enabled": key.enabled,
        "expired": key.expires.is_some_and(|expires| expires <= now),
        "version": key.version,
    })
}
