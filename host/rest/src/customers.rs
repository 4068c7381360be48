//! Customers and their devices (REST §2.9).

use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde_json::{Map, Value, json};
use wireglot_device::CustomerDraft;
use wireglot_model::{Customer, CustomerId, DeviceId, TenantId};

use crate::Api;
use crate::access::Caller;
use crate::error::{ApiError, ErrorBody};
use crate::openapi::{params, schemas};
use crate::request::{Body, Params, carried_through, id};
use crate::shape::{self, entity};
use wireglot_device::now;

/// Members that are kept as they came.
const DETAILS: [&str; 9] =
    ["email", "phone", "country", "state", "city", "address", "address2", "zip", "additionalInfo"];

/// Makes a customer, or replaces the one whose id is given.
#[utoipa::path(
    post,
    path = "/api/customer",
    operation_id = "saveCustomer",
    tag = "Customers",
    request_body = schemas::CustomerBody,
    responses(
        (status = 200, description = "The customer as it is now.", body = schemas::Customer),
        (status = 404, description = "There is no customer of this id.", body = ErrorBody),
        (status = 409, description = "The customer has been changed meanwhile.", body = ErrorBody),
    ),
)]
pub(crate) async fn save(State(api): State<Api>, body: Body) -> Result<Json<Value>, ApiError> {
    let body: Value = body.json()?;
    let known = body.pointer("/id/id").and_then(Value::as_str);
    let known: Option<CustomerId> = known.map(id).transpose()?;
    let expected = body.get("version").and_then(Value::as_u64);
    let title = body.get("title").and_then(Value::as_str).unwrap_or_default().to_owned();
    let detail = |name: &str| Some((name.to_owned(), body.get(name)?.clone()));
    let details: Map<String, Value> = DETAILS.iter().filter_map(|name| detail(name)).collect();
    let draft = CustomerDraft { title, details: Value::Object(details).to_string() };
    let devices = api.devices.clone();
    let saved = carried_through(async move {
        match known {
            Some(known) => devices.update_customer(known, draft, expected).await,
            None => devices.create_customer(draft, now()).await,
        }
    });
    Ok(Json(write(&saved.await?, api.devices.tenant())))
}

/// Shows a customer.
#[utoipa::path(
    get,
    path = "/api/customer/{customerId}",
    operation_id = "readCustomer",
    tag = "Customers",
    params(params::CustomerPath),
    responses((status = 200, description = "The customer.", body = schemas::Customer)),
)]
pub(crate) async fn read(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(customer): Path<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(write(&find(&api, &caller, &customer)?, api.devices.tenant())))
}

/// Shows the title of a customer.
#[utoipa::path(
    get,
    path = "/api/customer/{customerId}/shortInfo",
    operation_id = "readCustomerShortInfo",
    tag = "Customers",
    params(params::CustomerPath),
    responses((status = 200, description = "The title.", body = schemas::CustomerShort)),
)]
pub(crate) async fn read_short(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(customer): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let customer = find(&api, &caller, &customer)?;
    Ok(Json(json!({"title": customer.title, "isPublic": false})))
}

/// Deletes a customer with its users; its devices stay and belong to nobody.
#[utoipa::path(
    delete,
    path = "/api/customer/{customerId}",
    operation_id = "deleteCustomer",
    tag = "Customers",
    params(params::CustomerPath),
    responses((status = 200, description = "Done.")),
)]
pub(crate) async fn delete(State(api): State<Api>, Path(customer): Path<String>) -> Result<(), ApiError> {
    let customer = id(&customer)?;
    let devices = api.devices.clone();
    carried_through(async move { devices.delete_customer(customer).await }).await
}

/// Lists the devices of a customer.
#[utoipa::path(
    get,
    path = "/api/customer/{customerId}/devices",
    operation_id = "listCustomerDevices",
    tag = "Customers",
    params(
        params::CustomerPath,
        params::Paging,
        ("sortProperty" = inline(Option<params::DeviceSort>), Query, description = "What the items are sorted by."),
        params::DeviceFilter,
    ),
    responses((status = 200, description = "A page of devices.", body = schemas::PageOf<schemas::Device>)),
)]
pub(crate) async fn devices(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(customer): Path<String>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let customer = find(&api, &caller, &customer)?.id;
    crate::devices::page(&api, &params, Some(customer), |device| shape::device(device, api.devices.tenant()))
}

/// Assigns a device to a customer.
#[utoipa::path(
    post,
    path = "/api/customer/{customerId}/device/{deviceId}",
    operation_id = "assignDevice",
    tag = "Customers",
    params(params::CustomerPath, params::DevicePath),
    responses((status = 200, description = "The device as it is now.", body = schemas::Device)),
)]
pub(crate) async fn assign(
    State(api): State<Api>,
    Path((customer, device)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    own(&api, id(&device)?, Some(id(&customer)?)).await
}

/// Takes a device away from its customer.
#[utoipa::path(
    delete,
    path = "/api/customer/device/{deviceId}",
    operation_id = "unassignDevice",
    tag = "Customers",
    params(params::DevicePath),
    responses((status = 200, description = "The device as it is now.", body = schemas::Device)),
)]
pub(crate) async fn unassign(
    State(api): State<Api>,
    Path(device): Path<String>,
) -> Result<Json<Value>, ApiError> {
    own(&api, id(&device)?, None).await
}

async fn own(api: &Api, device: DeviceId, customer: Option<CustomerId>) -> Result<Json<Value>, ApiError> {
    let devices = api.devices.clone();
    let saved = carried_through(async move { devices.assign_device(device, customer).await });
    Ok(Json(shape::device(&saved.await?, api.devices.tenant())))
}

fn find(api: &Api, caller: &Caller, customer: &str) -> Result<Customer, ApiError> {
    let customer = id(customer)?;
    caller.may_see(Some(customer))?;
    api.devices.customer(customer).ok_or_else(ApiError::not_found)
}

fn write(customer: &Customer, tenant: TenantId) -> Value {
    let mut shape = json!({
        "id": entity("CUSTOMER", customer.id),
        "createdTime": customer.created.0,
        "tenantId": entity("TENANT", tenant),
        "title": customer.title,
        "name": customer.title,
        "version": customer.version,
        "externalId": null,
    });
    // Whoever saved the customer has written this text from JSON.
    let details: Map<String, Value> = serde_json::from_str(&customer.details).unwrap_or_default();
    if let Some(members) = shape.as_object_mut() {
        for name in DETAILS {
            members.insert(name.to_owned(), details.get(name).cloned().unwrap_or(Value::Null));
        }
    }
    shape
}
