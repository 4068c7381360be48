//! Customers and their devices (REST §2.9).

use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde_json::{Map, Value, json};
use wireglot_device::CustomerDraft;
use wireglot_model::{Customer, CustomerId, DeviceId, TenantId};

use crate::Api;
use crate::access::Caller;
use crate::error::ApiError;
use crate::request::{Body, Params, carried_through, id};
use crate::shape::{self, entity};
use wireglot_device::now;

/// Members that are kept as they came.
const DETAILS: [&str; 9] =
    ["email", "phone", "country", "state", "city", "address", "address2", "zip", "additionalInfo"];

/// `POST /api/customer`: makes a customer, or replaces the one whose id is given.
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

/// `GET /api/customer/{id}`
pub(crate) async fn read(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(customer): Path<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(write(&find(&api, &caller, &customer)?, api.devices.tenant())))
}

/// `GET /api/customer/{id}/shortInfo`
pub(crate) async fn read_short(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(customer): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let customer = find(&api, &caller, &customer)?;
    Ok(Json(json!({"title": customer.title, "isPublic": false})))
}

/// `DELETE /api/customer/{id}`
pub(crate) async fn delete(State(api): State<Api>, Path(customer): Path<String>) -> Result<(), ApiError> {
    let customer = id(&customer)?;
    let devices = api.devices.clone();
    carried_through(async move { devices.delete_customer(customer).await }).await
}

/// `GET /api/customer/{id}/devices`
pub(crate) async fn devices(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(customer): Path<String>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let customer = find(&api, &caller, &customer)?.id;
    crate::devices::page(&api, &params, Some(customer), |device| shape::device(device, api.devices.tenant()))
}

/// `POST /api/customer/{customerId}/device/{deviceId}`
pub(crate) async fn assign(
    State(api): State<Api>,
    Path((customer, device)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    own(&api, id(&device)?, Some(id(&customer)?)).await
}

/// `DELETE /api/customer/device/{deviceId}`
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
