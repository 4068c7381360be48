//! Attributes by scope (REST §2.6).

use axum::extract::{Path, State};
use wireglot_codec::native;
use wireglot_model::value::write_json_string;
use wireglot_model::{Attribute, DeviceId, Scope};

use crate::Api;
use crate::error::ApiError;
use crate::openapi::{params, schemas};
use crate::request::{Body, JsonText, Params, carried_through, entity, id};
use wireglot_device::now;

/// Gives the attributes of a device, of all scopes.
#[utoipa::path(
    get,
    path = "/api/plugins/telemetry/{entityType}/{entityId}/values/attributes",
    operation_id = "readAttributes",
    tag = "Attributes",
    params(params::EntityPath, params::Keys),
    responses((status = 200, description = "The attributes.", body = Vec<schemas::AttributeValue>)),
)]
pub(crate) async fn read_all(
    State(api): State<Api>,
    Path((kind, device)): Path<(String, String)>,
    params: Params,
) -> Result<JsonText, ApiError> {
    let found = select(&api, entity(&kind, &device)?, &Scope::ALL, params.keys().as_deref())?;
    Ok(write_values(&found))
}

/// Gives the attributes of a device, of one scope.
#[utoipa::path(
    get,
    path = "/api/plugins/telemetry/{entityType}/{entityId}/values/attributes/{scope}",
    operation_id = "readAttributesOfScope",
    tag = "Attributes",
    params(params::EntityPath, params::ScopePath, params::Keys),
    responses((status = 200, description = "The attributes.", body = Vec<schemas::AttributeValue>)),
)]
pub(crate) async fn read_scope(
    State(api): State<Api>,
    Path((kind, device, scope)): Path<(String, String, String)>,
    params: Params,
) -> Result<JsonText, ApiError> {
    let found = select(&api, entity(&kind, &device)?, &[scope_of(&scope)?], params.keys().as_deref())?;
    Ok(write_values(&found))
}

/// Lists the keys of the attributes of a device, of all scopes.
#[utoipa::path(
    get,
    path = "/api/plugins/telemetry/{entityType}/{entityId}/keys/attributes",
    operation_id = "listAttributeKeys",
    tag = "Attributes",
    params(params::EntityPath),
    responses((status = 200, description = "The keys.", body = Vec<String>)),
)]
pub(crate) async fn keys(
    State(api): State<Api>,
    Path((kind, device)): Path<(String, String)>,
) -> Result<JsonText, ApiError> {
    let mut found = select(&api, entity(&kind, &device)?, &Scope::ALL, None)?;
    found.sort_by(|one, other| one.key.cmp(&other.key));
    found.dedup_by(|one, other| one.key == other.key);
    Ok(write_keys(found.iter().map(|attribute| attribute.key.as_str())))
}

/// Lists the keys of the attributes of a device, of one scope.
#[utoipa::path(
    get,
    path = "/api/plugins/telemetry/{entityType}/{entityId}/keys/attributes/{scope}",
    operation_id = "listAttributeKeysOfScope",
    tag = "Attributes",
    params(params::EntityPath, params::ScopePath),
    responses((status = 200, description = "The keys.", body = Vec<String>)),
)]
pub(crate) async fn keys_of_scope(
    State(api): State<Api>,
    Path((kind, device, scope)): Path<(String, String, String)>,
) -> Result<JsonText, ApiError> {
    let found = select(&api, entity(&kind, &device)?, &[scope_of(&scope)?], None)?;
    Ok(write_keys(found.iter().map(|attribute| attribute.key.as_str())))
}

/// Saves attributes of a device; it is told those of `SHARED_SCOPE` in one message.
#[utoipa::path(
    post,
    path = "/api/plugins/telemetry/{entityType}/{entityId}/attributes/{scope}",
    operation_id = "saveAttributes",
    tag = "Attributes",
    params(params::EntityPath, params::WritableScopePath),
    request_body(content((schemas::AttributesBody = "application/json"), (String = "text/plain"))),
    responses((status = 200, description = "Done.")),
)]
pub(crate) async fn write(
    State(api): State<Api>,
    Path((kind, device, scope)): Path<(String, String, String)>,
    body: Body,
) -> Result<(), ApiError> {
    write_body(&api, entity(&kind, &device)?, &scope, &body).await
}

/// Saves attributes of a device, in an older spelling.
#[utoipa::path(
    post,
    path = "/api/plugins/telemetry/{entityType}/{entityId}/{scope}",
    operation_id = "saveAttributesByScope",
    tag = "Attributes",
    params(params::EntityPath, params::WritableScopePath),
    request_body(content((schemas::AttributesBody = "application/json"), (String = "text/plain"))),
    responses((status = 200, description = "Done.")),
)]
pub(crate) async fn write_by_scope(
    state: State<Api>,
    path: Path<(String, String, String)>,
    body: Body,
) -> Result<(), ApiError> {
    write(state, path, body).await
}

/// Saves attributes of a device, in the oldest spelling.
#[utoipa::path(
    post,
    path = "/api/plugins/telemetry/{deviceId}/{scope}",
    operation_id = "saveAttributesByDevice",
    tag = "Attributes",
    params(params::DevicePath, params::WritableScopePath),
    request_body(content((schemas::AttributesBody = "application/json"), (String = "text/plain"))),
    responses((status = 200, description = "Done.")),
)]
pub(crate) async fn write_by_device(
    State(api): State<Api>,
    Path((device, scope)): Path<(String, String)>,
    body: Body,
) -> Result<(), ApiError> {
    write_body(&api, id(&device)?, &scope, &body).await
}

/// Deletes attributes of a device; unknown keys are ignored.
#[utoipa::path(
    delete,
    path = "/api/plugins/telemetry/{entityType}/{entityId}/{scope}",
    operation_id = "deleteAttributes",
    tag = "Attributes",
    params(params::EntityPath, params::ScopePath, params::NamedKeys),
    responses((status = 200, description = "Done.")),
)]
pub(crate) async fn delete(
    State(api): State<Api>,
    Path((kind, device, scope)): Path<(String, String, String)>,
    params: Params,
) -> Result<(), ApiError> {
    delete_keys(&api, entity(&kind, &device)?, &scope, &params).await
}

/// Deletes attributes of a device, in the oldest spelling.
#[utoipa::path(
    delete,
    path = "/api/plugins/telemetry/{deviceId}/{scope}",
    operation_id = "deleteAttributesByDevice",
    tag = "Attributes",
    params(params::DevicePath, params::ScopePath, params::NamedKeys),
    responses((status = 200, description = "Done.")),
)]
pub(crate) async fn delete_by_device(
    State(api): State<Api>,
    Path((device, scope)): Path<(String, String)>,
    params: Params,
) -> Result<(), ApiError> {
    delete_keys(&api, id(&device)?, &scope, &params).await
}

async fn write_body(api: &Api, device: DeviceId, scope: &str, body: &Body) -> Result<(), ApiError> {
    let scope = match scope_of(scope)? {
        writable @ (Scope::Shared | Scope::Server) => writable,
        Scope::Client => return Err(ApiError::bad_request("Invalid scope: CLIENT_SCOPE")),
    };
    let samples = native::saved_attributes(&body.0)
        .map_err(|refusal| ApiError::bad_request(format!("Unable to parse attributes: {refusal}")))?;
    if samples.is_empty() {
        return Err(ApiError::bad_request("No attributes data found in request body!"));
    }
    let devices = api.devices.clone();
    carried_through(async move { devices.write_attributes(device, scope, samples, now()).await }).await
}

async fn delete_keys(api: &Api, device: DeviceId, scope: &str, params: &Params) -> Result<(), ApiError> {
    let scope = scope_of(scope)?;
    let keys = params.keys().ok_or_else(|| ApiError::bad_request("Empty keys: []"))?;
    let devices = api.devices.clone();
    carried_through(async move { devices.delete_attributes(device, scope, keys).await }).await
}

fn select(
    api: &Api,
    device: DeviceId,
    scopes: &[Scope],
    keys: Option<&[String]>,
) -> Result<Vec<Attribute>, ApiError> {
    let mut found = Vec::new();
    for scope in scopes {
        found.append(&mut api.devices.attributes(device, *scope, keys)?);
    }
    Ok(found)
}

/// The scope of this name.
pub(crate) fn scope_of(name: &str) -> Result<Scope, ApiError> {
    match name {
        "CLIENT_SCOPE" => Ok(Scope::Client),
        "SHARED_SCOPE" => Ok(Scope::Shared),
        "SERVER_SCOPE" => Ok(Scope::Server),
        other => Err(ApiError::bad_request(format!("Invalid scope: {other}"))),
    }
}

/// The name of a scope, as clients know it.
pub(crate) fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Client => "CLIENT_SCOPE",
        Scope::Shared => "SHARED_SCOPE",
        Scope::Server => "SERVER_SCOPE",
    }
}

fn write_values(attributes: &[Attribute]) -> JsonText {
    let mut out = String::from("[");
    for (index, attribute) in attributes.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str("{\"lastUpdateTs\":");
        out.push_str(&attribute.updated.to_string());
        out.push_str(",\"key\":");
        write_json_string(&attribute.key, &mut out);
        out.push_str(",\"value\":");
        attribute.value.write_json(&mut out);
        out.push('}');
    }
    out.push(']');
    JsonText(out)
}

/// A JSON array of texts.
pub(crate) fn write_keys<'a>(keys: impl Iterator<Item = &'a str>) -> JsonText {
    let mut out = String::from("[");
    for (index, key) in keys.enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_json_string(key, &mut out);
    }
    out.push(']');
    JsonText(out)
}
