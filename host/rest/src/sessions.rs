//! The sessions that are open now: who is connected from where, since when, and when it was last heard.

use std::cmp::Ordering;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use wireglot_device::{DeviceHandle, SessionFacts};

use crate::Api;
use crate::error::ApiError;
use crate::openapi::{params, schemas};
use crate::page::Page;
use crate::request::{Params, blocking};
use crate::shape::entity;

/// Lists the sessions that are open now.
#[utoipa::path(
    get,
    path = "/api/sessions",
    operation_id = "listSessions",
    tag = "Operation",
    params(params::Paging, params::SessionSort),
    responses((status = 200, description = "A page of sessions.", body = schemas::PageOf<schemas::Session>)),
)]
pub(crate) async fn list(State(api): State<Api>, params: Params) -> Result<Json<Value>, ApiError> {
    let page = Page::from_params(&params)?;
    let listing = blocking(move || {
        let sessions = api.devices.sessions().into_iter().map(Shown::new);
        let found = sessions.filter(|session| page.finds(&session.texts())).collect();
        Ok(page.answer(found, Shown::compare, Shown::write))
    });
    listing.await?.map(Json)
}

struct Shown {
    device: DeviceHandle,
    name: Arc<str>,
    profile: Arc<str>,
    address: String,
    facts: Arc<SessionFacts>,
}

impl Shown {
    fn new((device, facts): (DeviceHandle, Arc<SessionFacts>)) -> Self {
        let (name, profile) = (device.name(), device.profile().name.clone());
        let address = facts.address.map(|address| address.to_string()).unwrap_or_default();
        Self { device, name, profile, address, facts }
    }

    fn texts(&self) -> [&str; 4] {
        [&self.name, &self.profile, &self.facts.client_id, &self.address]
    }

    fn compare(property: &str, one: &Self, other: &Self) -> Option<Ordering> {
        let (a, b) = (&one.facts, &other.facts);
        match property {
            "createdTime" | "connectedSince" => Some(a.since.cmp(&b.since)),
            "lastActivity" => Some(a.heard().cmp(&b.heard())),
            "inFlight" => Some(a.in_flight().cmp(&b.in_flight())),
            "deviceName" => Some(one.name.cmp(&other.name)),
            "deviceProfileName" => Some(one.profile.cmp(&other.profile)),
            "clientId" => Some(a.client_id.cmp(&b.client_id)),
            "address" => Some(one.address.cmp(&other.address)),
            _ => None,
        }
    }

    fn write(&self) -> Value {
        let facts = &self.facts;
        json!({
            "sessionId": facts.id.0,
            "deviceId": entity("DEVICE", self.device.id()),
            "deviceName": &*self.name,
            "deviceProfileName": &*self.profile,
            "gateway": self.device.is_gateway(),
            "clientId": &*facts.client_id,
            "address": facts.address.map(|address| address.to_string()),
            "mqttVersion": facts.protocol,
            "connectedSince": facts.since.0,
            "lastActivity": facts.heard().0,
            "inFlight": facts.in_flight(),
        })
    }
}
