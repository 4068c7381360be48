//! The audit log: who changed what, newest first.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use wireglot_model::{Actor, AuditEntry};

use crate::Api;
use crate::error::ApiError;
use crate::openapi::{params, schemas};
use crate::page::Page;
use crate::request::{Params, blocking};

/// Lists who changed what, newest first.
#[utoipa::path(
    get,
    path = "/api/audit",
    operation_id = "listAuditLog",
    tag = "Operation",
    params(
        params::Paging,
        params::AuditSort,
        ("action" = Option<String>, Query, description = "Only this action, such as `PROFILE_CHANGED`."),
        ("target" = Option<String>, Query, description = "Only changes of what has this name."),
        ("actor" = Option<String>, Query, description = "Only changes by this user or file."),
        params::OptionalTimeRange,
    ),
    responses((status = 200, description = "A page of the log.", body = schemas::PageOf<schemas::AuditLine>)),
)]
pub(crate) async fn list(State(api): State<Api>, params: Params) -> Result<Json<Value>, ApiError> {
    let page = Page::from_params(&params)?.newest_first();
    let filter = Filter::from_params(&params)?;
    let devices = api.devices.clone();
    let compare = |property: &str, one: &(u64, AuditEntry), other: &(u64, AuditEntry)| match property {
        "createdTime" => Some(one.0.cmp(&other.0)),
        "target" => Some(one.1.target.cmp(&other.1.target)),
        _ => None,
    };
    let listing = blocking(move || {
        let found =
            devices.audit_log(&|entry| filter.wants(entry) && page.finds(&[&entry.target, &entry.detail]))?;
        Ok(page.answer(found, compare, |(sequence, entry)| write(*sequence, entry)))
    });
    listing.await?.map(Json)
}

/// What is asked for.
struct Filter {
    action: Option<String>,
    target: Option<String>,
    actor: Option<String>,
    start: i64,
    end: i64,
}

impl Filter {
    fn from_params(params: &Params) -> Result<Self, ApiError> {
        let text = |name| params.text(name).map(str::to_owned);
        Ok(Self {
            action: text("action").map(|action| action.to_ascii_uppercase()),
            target: text("target"),
            actor: text("actor"),
            start: params.parsed("startTs")?.unwrap_or(i64::MIN),
            end: params.parsed("endTs")?.unwrap_or(i64::MAX),
        })
    }

    fn wants(&self, entry: &AuditEntry) -> bool {
        let action = || json!(entry.action);
        self.action.as_ref().is_none_or(|wanted| action() == wanted.as_str())
            && self.target.as_ref().is_none_or(|wanted| *wanted == entry.target)
            && self.actor.as_ref().is_none_or(|wanted| name(&entry.actor) == Some(wanted))
            && (self.start..=self.end).contains(&entry.at.0)
    }
}

fn write(sequence: u64, entry: &AuditEntry) -> Value {
    json!({
        "sequence": sequence,
        "createdTime": entry.at.0,
        "actor": actor(&entry.actor),
        "action": entry.action,
        "target": entry.target,
        "detail": entry.detail,
    })
}

/// Who did it, as histories and the audit log show it.
pub(crate) fn actor(actor: &Actor) -> Value {
    let kind = match actor {
        Actor::User(_) => "USER",
        Actor::File(_) => "FILE",
        Actor::Server => "SERVER",
    };
    json!({"type": kind, "name": name(actor)})
}

fn name(actor: &Actor) -> Option<&String> {
    match actor {
        Actor::User(name) | Actor::File(name) => Some(name),
        Actor::Server => None,
    }
}
