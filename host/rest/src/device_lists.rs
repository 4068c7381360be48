//! Lists of devices (REST §2.2, §2.9): all of them, those of a customer, those of some ids, and of which types they are.
//!
//! A fleet is large and a page is small: every device is looked at where it lies, and only what can be on the page is
//! kept.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde_json::{Value, json};
use wireglot_device::{DeviceHandle, DeviceView};
use wireglot_model::{CustomerId, DeviceId, ProfileId};

use crate::Api;
use crate::access::Caller;
use crate::error::{ApiError, ErrorBody};
use crate::openapi::{params, schemas};
use crate::page::{Gathering, Page};
use crate::request::{Params, blocking, id};
use crate::shape::{self, entity};
use crate::{customers, devices};

/// Lists devices, or finds the one that `deviceName` names.
#[utoipa::path(
    get,
    path = "/api/tenant/devices",
    operation_id = "listDevices",
    tag = "Devices",
    params(
        params::Paging,
        params::DeviceSort,
        params::DeviceFilter,
        ("deviceName" = Option<String>, Query, description = "Answers the one device of this name, rather than a page."),
    ),
    responses(
        (status = 200, description = "A page of devices, or the device.", body = schemas::DeviceOrPage),
        (status = 404, description = "There is none of this name.", body = ErrorBody),
    ),
)]
pub(crate) async fn all(state: State<Api>, params: Params) -> Result<Json<Value>, ApiError> {
    if params.text("deviceName").is_some() {
        return devices::find(state, params).await;
    }
    page(state.0, params, None, Shown::Device).await
}

/// Lists devices with the names of their customers and profiles, and whether they are connected.
#[utoipa::path(
    get,
    path = "/api/tenant/deviceInfos",
    operation_id = "listDeviceInfos",
    tag = "Devices",
    params(params::Paging, params::DeviceSort, params::DeviceFilter),
    responses(
        (status = 200, description = "A page of devices.", body = schemas::PageOf<schemas::DeviceInfo>),
    ),
)]
pub(crate) async fn all_infos(State(api): State<Api>, params: Params) -> Result<Json<Value>, ApiError> {
    page(api, params, None, Shown::Info).await
}

/// Lists the devices that the caller may see, with the names of their customers and profiles.
#[utoipa::path(
    get,
    path = "/api/deviceInfos/all",
    operation_id = "listAllDeviceInfos",
    tag = "Devices",
    params(params::Paging, params::DeviceSort, params::DeviceFilter),
    responses((status = 200, description = "A page of devices.", body = schemas::PageOf<schemas::DeviceInfo>)),
)]
pub(crate) async fn infos_of_caller(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    page(api, params, caller.customer(), Shown::Info).await
}

/// Lists the devices that the caller may see.
#[utoipa::path(
    get,
    path = "/api/user/devices",
    operation_id = "listUserDevices",
    tag = "Devices",
    params(params::Paging, params::DeviceSort, params::DeviceFilter),
    responses((status = 200, description = "A page of devices.", body = schemas::PageOf<schemas::Device>)),
)]
pub(crate) async fn of_caller(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    page(api, params, caller.customer(), Shown::Device).await
}

/// Lists the devices of a customer.
#[utoipa::path(
    get,
    path = "/api/customer/{customerId}/devices",
    operation_id = "listCustomerDevices",
    tag = "Customers",
    params(params::CustomerPath, params::Paging, params::DeviceSort, params::DeviceFilter),
    responses((status = 200, description = "A page of devices.", body = schemas::PageOf<schemas::Device>)),
)]
pub(crate) async fn of_customer(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(customer): Path<String>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let customer = customers::find(&api, &caller, &customer)?.id;
    page(api, params, Some(customer), Shown::Device).await
}

/// Lists the devices of a customer, with the names of their profiles.
#[utoipa::path(
    get,
    path = "/api/customer/{customerId}/deviceInfos",
    operation_id = "listCustomerDeviceInfos",
    tag = "Customers",
    params(params::CustomerPath, params::Paging, params::DeviceSort, params::DeviceFilter),
    responses((status = 200, description = "A page of devices.", body = schemas::PageOf<schemas::DeviceInfo>)),
)]
pub(crate) async fn infos_of_customer(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(customer): Path<String>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let customer = customers::find(&api, &caller, &customer)?.id;
    page(api, params, Some(customer), Shown::Info).await
}

/// Shows several devices: those that are there and that the caller may see.
#[utoipa::path(
    get,
    path = "/api/devices",
    operation_id = "readDevices",
    tag = "Devices",
    params(
        ("deviceIds" = String, Query, description = "Ids of at most 1000 devices, with commas between them."),
    ),
    responses((status = 200, description = "The devices.", body = Vec<schemas::Device>)),
)]
pub(crate) async fn by_ids(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let wanted: Vec<DeviceId> = params.ids("deviceIds")?;
    let found = wanted.into_iter().filter_map(|id| api.devices.device(id));
    let found = found.filter(|device| caller.may_see(device.customer()).is_ok());
    Ok(Json(found.map(|device| shape::device(&device, api.devices.tenant())).collect()))
}

/// Lists the types of devices: the names of the profiles.
#[utoipa::path(
    get,
    path = "/api/device/types",
    operation_id = "listDeviceTypes",
    tag = "Devices",
    responses((status = 200, description = "The types.", body = Vec<schemas::DeviceType>)),
)]
pub(crate) async fn types(State(api): State<Api>) -> Json<Value> {
    let mut names: Vec<Arc<str>> = api.devices.profiles().iter().map(|state| state.name.clone()).collect();
    names.sort();
    let tenant = entity("TENANT", api.devices.tenant());
    let one = |name: Arc<str>| json!({"tenantId": tenant, "entityType": "DEVICE", "type": &*name});
    Json(names.into_iter().map(one).collect())
}

/// In which of their two shapes devices are listed.
#[derive(Clone, Copy)]
enum Shown {
    Device,
    Info,
}

/// Which devices are listed.
struct Filter {
    customer: Option<CustomerId>,
    kind: Option<String>,
    profile: Option<ProfileId>,
    active: Option<bool>,
}

impl Filter {
    fn wants(&self, device: &DeviceHandle, view: &DeviceView) -> bool {
        self.customer.is_none_or(|customer| view.device().customer == Some(customer))
            && self.kind.as_ref().is_none_or(|kind| *view.profile.name == **kind)
            && self.profile.is_none_or(|profile| view.profile.profile.id == profile)
            && self.active.is_none_or(|active| device.is_active() == active)
    }
}

/// By what devices are sorted.
enum Order {
    Created,
    Name,
    Kind,
    Label,
    Customer(HashMap<CustomerId, Arc<str>>),
}

/// What a device is sorted by.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Time(i64),
    Text(Arc<str>),
    Label(Option<String>),
    Customer(Option<Arc<str>>),
}

impl Order {
    fn of(page: &Page, api: &Api) -> Result<Self, ApiError> {
        Ok(match page.property() {
            "createdTime" => Self::Created,
            "name" | "deviceName" => Self::Name,
            "type" | "deviceProfileName" => Self::Kind,
            "label" => Self::Label,
            "customerTitle" => {
                let customers = api.devices.customers();
                Self::Customer(customers.iter().map(|one| (one.id, one.title.as_str().into())).collect())
            }
            other => return Err(Page::unknown_property(other)),
        })
    }

    fn key(&self, view: &DeviceView) -> Key {
        match self {
            Self::Created => Key::Time(view.device().created.0),
            Self::Name => Key::Text(view.name().clone()),
            Self::Kind => Key::Text(view.profile.name.clone()),
            Self::Label => Key::Label(view.device().label.clone()),
            Self::Customer(titles) => {
                Key::Customer(view.device().customer.and_then(|customer| titles.get(&customer)).cloned())
            }
        }
    }
}

/// A page of all devices, or of those of one customer, on a thread that may take its time.
async fn page(
    api: Api,
    params: Params,
    customer: Option<CustomerId>,
    shown: Shown,
) -> Result<Json<Value>, ApiError> {
    let page = Page::from_params(&params)?;
    let filter = Filter {
        customer,
        kind: params.text("type").map(str::to_owned),
        profile: params.text("deviceProfileId").map(id).transpose()?,
        active: params.parsed("active")?,
    };
    let listing = blocking(move || Ok(list(&api, &page, &filter, shown)));
    listing.await?.map(Json)
}

fn list(api: &Api, page: &Page, filter: &Filter, shown: Shown) -> Result<Value, ApiError> {
    let order = Order::of(page, api)?;
    let mut gathering = Gathering::new(page);
    api.devices.each_device(&mut |device| {
        let view = device.view();
        let texts = [&**view.name(), &*view.profile.name, view.device().label.as_deref().unwrap_or_default()];
        if filter.wants(device, &view) && page.finds(&texts) {
            gathering.add((order.key(&view), device.id()), device.clone());
        }
    });
    Ok(gathering.answer(|device| match shown {
        Shown::Device => shape::device(device, api.devices.tenant()),
        Shown::Info => devices::info(api, device),
    }))
}
