//! The OpenAPI document: what stands at the handlers, with what holds for all operations added in one place.
//!
//! Who may call an operation comes from the table (`routes`), errors from `error`. What requests and answers look like is
//! in `schemas` and `params`, except where a handler reads a type of its own.

pub(crate) mod params;
pub(crate) mod schemas;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Map, Value as Json, json};
use utoipa::__dev::{SchemaReferences, Tags};
use utoipa::PartialSchema as _;
use utoipa::openapi::{RefOr, schema::Schema};

use crate::error::ErrorBody;
use crate::routes::{Access, operations};
use crate::shape::{CUSTOMER_USER, TENANT_ADMIN};

/// What `#[utoipa::path(…)]` says of a handler.
pub(crate) trait Described: utoipa::Path + SchemaReferences + Tags<'static> {}

impl<D: utoipa::Path + SchemaReferences + Tags<'static>> Described for D {}

/// The same as values.
pub(crate) struct Description {
    operation: utoipa::openapi::path::Operation,
    tags: Vec<&'static str>,
    schemas: Vec<(String, RefOr<Schema>)>,
}

impl Description {
    pub(crate) fn of<D: Described>() -> Self {
        let mut schemas = Vec::new();
        D::schemas(&mut schemas);
        Self { operation: D::operation(), tags: D::tags(), schemas }
    }
}

/// Groups of operations, in the order of a reader's interest.
const TAGS: [(&str, &str); 18] = [
    ("Login", "Tokens: getting a pair, renewing it, giving it back."),
    ("Devices", "Devices and their credentials."),
    ("Device profiles", "Kinds of devices: their topics, payloads, codec, limits and provisioning."),
    ("Telemetry", "Time series: latest values, history, aggregation, saving."),
    ("Attributes", "Attributes of devices in three scopes."),
    ("RPC", "Asking devices, now or as soon as they are there."),
    ("OTA packages", "Firmware and software: packages, their files, who is to have them."),
    ("Customers", "Customers, their devices, and claiming."),
    ("Users", "Administrators, and users of customers."),
    ("API keys", "What programs of a user show instead of a login."),
    ("Codecs", "WebAssembly codecs: live versions, upload, history, rollback."),
    ("Candidates", "New versions of codecs on trial: shadow runs and canaries."),
    ("Dead letters", "Payloads that were not decoded."),
    ("Replay", "Decoding again what was kept."),
    ("Live", "What happens right now."),
    ("Device API", "What devices say and ask over HTTP, each by its access token."),
    ("Operation", "Rate limits, sessions, the audit log."),
    ("Server", "Health, metrics and this document."),
];

/// Errors that are answered the same everywhere.
const ERRORS: [(u16, &str, &str); 6] = [
    (400, "BadRequest", "Something in the request is wrong; the message names it."),
    (401, "Unauthorized", "There is no token, or it is not good any more."),
    (403, "Forbidden", "The caller may not do this."),
    (404, "NotFound", "There is none of this id or name."),
    (408, "TooSlow", "The body took too long to arrive."),
    (413, "TooLarge", "The body is larger than this operation takes."),
];

/// Errors of requests of devices, whatever they ask.
const DEVICE_ERRORS: [(u16, &str, &str); 4] = [
    (401, "UnknownToken", "No device has this token."),
    (403, "OtherTransport", "The device's profile is for another transport."),
    (429, "Busy", "A rate limit was passed, as many requests wait as may, or the address is blocked."),
    (503, "NotKept", "It may not have been kept: send it again."),
];

const DESCRIPTION: &str = "\
The management side of Wireglot: devices, their data, their codecs.\n\
\n\
Log in with `POST /api/auth/login` and send the `token` of the answer with every other request, as \
`X-Authorization: Bearer <token>` or `Authorization: Bearer <token>`. On this page logging in is enough: the token is \
taken from the answer. An operation says in `x-roles` whose token it takes.\n\
\n\
Query parameters that an operation does not know are ignored. Every error has the shape `Error`.";

/// The document as `GET /openapi.json` answers it and as `host/rest/openapi.json` holds it.
pub fn openapi() -> &'static str {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
        let text = serde_json::to_string_pretty(&document()).expect("JSON can always be written");
        format!("{text}\n")
    });
    &DOCUMENT
}

fn document() -> Json {
    let mut paths: BTreeMap<String, Map<String, Json>> = BTreeMap::new();
    let mut schemas = BTreeMap::from([("Error".to_owned(), ErrorBody::schema())]);
    for operation in operations() {
        let description = (operation.describe)();
        let written = write(&operation.path, operation.access, &description);
        paths.entry(operation.path).or_default().insert(operation.method.as_str().to_lowercase(), written);
        schemas.extend(description.schemas);
    }
    let responses =
        ERRORS.iter().chain(&DEVICE_ERRORS).map(|(_, name, meaning)| (*name, error(name, meaning)));
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Wireglot",
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": TAGS.map(|(name, description)| json!({"name": name, "description": description})),
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": responses.collect::<BTreeMap<_, _>>(),
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "The `token` that `POST /api/auth/login` gives.",
                },
                "xAuthorization": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "X-Authorization",
                    "description": "`Bearer <token>` with the token of a login, or `ApiKey <value>` with an API key. Looked at before `Authorization`.",
                },
            },
        },
    });
    widen(&mut document);
    document
}

/// Numbers without a sign have all their 64 bits here, for which OpenAPI has no format.
fn widen(value: &mut Json) {
    match value {
        Json::Object(members) => {
            let is_unsigned = members.get("minimum").and_then(Json::as_u64).is_some();
            if is_unsigned && members.get("format").is_some_and(|format| format == "int64") {
                members.remove("format");
            }
            members.values_mut().for_each(widen);
        }
        Json::Array(items) => items.iter_mut().for_each(widen),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

/// One operation, with who may call it and what can go wrong with it.
fn write(path: &str, access: Access, description: &Description) -> Json {
    let mut written = json!(description.operation);
    let Json::Object(operation) = &mut written else { return written };
    operation.insert("tags".to_owned(), json!(description.tags));
    let (roles, who) = audience(access);
    operation.insert("x-roles".to_owned(), json!(roles));
    let text = operation.get("description").and_then(Json::as_str);
    let text = text.map_or_else(|| who.to_owned(), |text| format!("{text}\n\n{who}"));
    operation.insert("description".to_owned(), json!(text));
    let security = match access {
        Access::Public | Access::Token => json!([]),
        Access::Administrator | Access::Device | Access::CustomerUser | Access::User => {
            json!([{"bearer": []}, {"xAuthorization": []}])
        }
    };
    operation.insert("security".to_owned(), security);
    let has_body = operation.contains_key("requestBody");
    let has_input = has_body || operation.contains_key("parameters");
    let is_login = !matches!(access, Access::Public | Access::Token);
    let responses = operation.entry("responses").or_insert_with(|| json!({}));
    let can_happen = |status| match status {
        400 => has_input,
        401 | 403 => is_login,
        404 => path.contains('{'),
        _ => has_body,
    };
    let general = ERRORS.iter().filter(|(status, ..)| can_happen(*status));
    let of_devices = DEVICE_ERRORS.iter().filter(|_| access == Access::Token);
    for (status, name, _) in of_devices.chain(general) {
        if let Some(responses) = responses.as_object_mut() {
            let reference = json!({"$ref": format!("#/components/responses/{name}")});
            responses.entry(status.to_string()).or_insert(reference);
        }
    }
    written
}

/// Who may call, for programs and for people.
fn audience(access: Access) -> (&'static [&'static str], &'static str) {
    match access {
        Access::Public => (&[], "Open to everybody."),
        Access::Token => (&[], "For the device whose access token the path holds."),
        Access::Administrator => (&[TENANT_ADMIN], "For administrators."),
        Access::Device => (
            &[TENANT_ADMIN, CUSTOMER_USER],
            "For administrators, and for users of a customer on devices of that customer.",
        ),
        Access::CustomerUser => (&[CUSTOMER_USER], "For users of customers."),
        Access::User => (
            &[TENANT_ADMIN, CUSTOMER_USER],
            "For all users; users of a customer see what is that customer's.",
        ),
    }
}

/// An error as all operations refer to it.
fn error(name: &str, meaning: &str) -> Json {
    // A device gets no body with it, as the protocol has it.
    if name == "UnknownToken" {
        return json!({"description": meaning});
    }
    json!({
        "description": meaning,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    })
}

#[cfg(test)]
mod tests;
