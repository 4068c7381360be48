//! Customers and their devices (REST §2.9).

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use wireglot_device::CustomerDraft;
use wireglot_model::{Customer, CustomerId, DeviceId, TenantId, Timestamp};

use crate::Api;
use crate::access::Caller;
use crate::error::{ApiError, ErrorBody};
use crate::openapi::{params, schemas};
use crate::page::{Gathering, Page};
use crate::request::{Body, Params, blocking, carried_through, id};
use crate::shape::{self, EntityRef, entity};
use wireglot_device::now;

/// Members that are shown as they were saved.
const DETAILS: [&str; 9] =
    ["email", "phone", "country", "state", "city", "address", "address2", "zip", "additionalInfo"];

/// What of a customer can be written, and what says which customer is meant.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CustomerBody {
    /// Of the customer that is changed; without one a customer is made.
    id: Option<EntityRef>,
    #[schema(required, nullable = false, min_length = 1, max_length = 255)]
    title: Option<String>,
    /// The version that is changed: another one meanwhile is a conflict.
    version: Option<u64>,
    email: Option<String>,
    phone: Option<String>,
    country: Option<String>,
    state: Option<String>,
    city: Option<String>,
    address: Option<String>,
    address2: Option<String>,
    zip: Option<String>,
    /// Any JSON.
    additional_info: Option<Value>,
}

impl CustomerBody {
    fn into_draft(self) -> CustomerDraft {
        let Self { email, phone, country, state, city, address, address2, zip, additional_info, .. } = self;
        let texts = [email, phone, country, state, city, address, address2, zip].map(Value::from);
        let values = texts.into_iter().chain([additional_info.unwrap_or_default()]);
        let details: Map<String, Value> = DETAILS.map(str::to_owned).into_iter().zip(values).collect();
        CustomerDraft { title: self.title.unwrap_or_default(), details: Value::Object(details).to_string() }
    }
}

/// Makes a customer, or replaces the one whose id is given.
#[utoipa::path(
    post,
    path = "/api/customer",
    operation_id = "saveCustomer",
    tag = "Customers",
    request_body = CustomerBody,
    responses(
        (status = 200, description = "The customer as it is now.", body = schemas::Customer),
        (status = 404, description = "There is no customer of this id.", body = ErrorBody),
        (status = 409, description = "The customer has been changed meanwhile.", body = ErrorBody),
    ),
)]
pub(crate) async fn save(State(api): State<Api>, body: Body) -> Result<Json<Value>, ApiError> {
    let body: CustomerBody = body.json()?;
    let known: Option<CustomerId> = body.id.as_ref().map(|known| id(&known.id)).transpose()?;
    let (expected, draft) = (body.version, body.into_draft());
    let devices = api.devices.clone();
    let saved = carried_through(async move {
        match known {
            Some(known) => devices.update_customer(known, draft, expected).await,
            None => devices.create_customer(draft, now()).await,
        }
    });
    Ok(Json(write(&*saved.await?, api.devices.tenant())))
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
    Ok(Json(write(&*find(&api, &caller, &customer)?, api.devices.tenant())))
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

/// Shows the title of a customer as plain text.
#[utoipa::path(
    get,
    path = "/api/customer/{customerId}/title",
    operation_id = "readCustomerTitle",
    tag = "Customers",
    params(
        params::CustomerPath,
    ),
    responses((status = 200, description = "The title.", body = String)),
)]
pub(crate) async fn read_title(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(customer): Path<String>,
) -> Result<String, ApiError> {
    Ok(find(&api, &caller, &customer)?.title.clone())
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
pub(crate) async fn delete(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(customer): Path<String>,
) -> Result<(), ApiError> {
    let customer = id(&customer)?;
    let devices = api.devices.acting_for(caller.actor());
    carried_through(async move { devices.delete_customer(customer, now()).await }).await
}

/// Lists customers.
#[utoipa::path(
    get,
    path = "/api/customers",
    operation_id = "listCustomers",
    tag = "Customers",
    params(params::Paging, params::CustomerSort),
    responses((status = 200, description = "A page of customers.", body = schemas::PageOf<schemas::Customer>)),
)]
pub(crate) async fn list(State(api): State<Api>, params: Params) -> Result<Json<Value>, ApiError> {
    let page = Page::from_params(&params)?;
    let key: KeyOf = match page.property() {
        "createdTime" => |customer| Key::Time(customer.created),
        "title" | "name" => |customer| Key::Text(customer.title.as_str().into()),
        "email" => |customer| detail_of(customer, "email"),
        "country" => |customer| detail_of(customer, "country"),
        "city" => |customer| detail_of(customer, "city"),
        other => return Err(Page::unknown_property(other)),
    };
    let listing = blocking(move || {
        let customers = api.devices.customers();
        let mut gathering = Gathering::new(&page);
        for customer in &customers {
            if page.finds(&[&customer.title]) {
                gathering.add((key(customer), customer.id), customer);
            }
        }
        Ok(gathering.answer(|customer| write(customer, api.devices.tenant())))
    });
    listing.await.map(Json)
}

/// What customers are sorted by.
type KeyOf = for<'c> fn(&'c Customer) -> Key<'c>;

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Key<'c> {
    Time(Timestamp),
    Text(Cow<'c, str>),
}

fn detail_of(customer: &Customer, name: &str) -> Key<'static> {
    // Whoever saved the customer has written this text from JSON.
    let details: Value = serde_json::from_str(&customer.details).unwrap_or_default();
    Key::Text(details.get(name).and_then(Value::as_str).unwrap_or_default().to_owned().into())
}

/// Finds a customer by its title.
#[utoipa::path(
    get,
    path = "/api/tenant/customers",
    operation_id = "findCustomer",
    tag = "Customers",
    params(("customerTitle" = String, Query, description = "Title of the customer.")),
    responses(
        (status = 200, description = "The customer.", body = schemas::Customer),
        (status = 404, description = "There is none of this title.", body = ErrorBody),
    ),
)]
pub(crate) async fn find_by_title(State(api): State<Api>, params: Params) -> Result<Json<Value>, ApiError> {
    let title: String = params.required("customerTitle")?;
    let found = api.devices.customer_by_title(&title);
    Ok(Json(write(&*found.ok_or_else(ApiError::not_found)?, api.devices.tenant())))
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

/// Gives a device to a customer, or back to the tenant.
#[utoipa::path(
    post,
    path = "/api/owner/{ownerType}/{ownerId}/{entityType}/{entityId}",
    operation_id = "changeOwner",
    tag = "Customers",
    params(
        ("ownerType" = inline(params::OwnerKind), Path, description = "Whether the owner is a customer."),
        ("ownerId" = String, Path, description = "Id of the customer, or of the tenant.", format = "uuid"),
        params::EntityPath,
    ),
    responses((status = 200, description = "Done.")),
)]
pub(crate) async fn change_owner(
    State(api): State<Api>,
    Path((kind, owner, entity, device)): Path<(String, String, String, String)>,
) -> Result<(), ApiError> {
    if entity != "DEVICE" {
        let only = "only devices have an owner here";
        return Err(ApiError::bad_request(format!("Entities of type '{entity}' are not served: {only}")));
    }
    let device: DeviceId = id(&device)?;
    match kind.as_str() {
        "CUSTOMER" => own(&api, device, Some(id(&owner)?)).await.map(drop),
        "TENANT" if id::<TenantId>(&owner)? == api.devices.tenant() => {
            let held = api.devices.device(device).ok_or_else(ApiError::not_found)?.customer();
            // What is the tenant's already stays so.
            if held.is_some() { own(&api, device, None).await.map(drop) } else { Ok(()) }
        }
        "TENANT" => Err(ApiError::not_found()),
        other => {
            let wrong = format!("An owner is a CUSTOMER or the TENANT, not '{other}'");
            Err(ApiError::bad_request(wrong))
        }
    }
}

async fn own(api: &Api, device: DeviceId, customer: Option<CustomerId>) -> Result<Json<Value>, ApiError> {
    let devices = api.devices.clone();
    let saved = carried_through(async move { devices.assign_device(device, customer).await });
    Ok(Json(shape::device(&saved.await?, api.devices.tenant())))
}

/// The customer of an id in a path, if the caller may know of it.
pub(crate) fn find(api: &Api, caller: &Caller, customer: &str) -> Result<Arc<Customer>, ApiError> {
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
