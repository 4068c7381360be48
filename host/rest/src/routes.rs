//! Every operation there is, in one table: what is not in it is not served, and who may call it stands beside it.
//! Method and path stand at the handlers, with their descriptions. Not here: the pages for browsers (`explorer`).

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use utoipa::openapi::HttpMethod;
use wireglot_model::limits::{
    CODEC_MODULE_BYTES_MAX, PACKET_BYTES_MAX, REST_BODY_BYTES_MAX, STRANGERS_BODY_BYTES_MAX,
};

use crate::access::{require_administrator, require_customer_user, require_device, require_login};
use crate::error::ApiError;
use crate::openapi::{Described, Description};
use crate::{
    Api, api_keys, attributes, audit, candidates, claims, codecs, customers, descriptions, device_api,
    device_lists, devices, explorer, health, history, letters, live, login, ota, profile_keys, profiles,
    rate_limits, replay, rpc, sessions, system, telemetry, trace, users,
};

/// Who may call an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    /// Anybody who reaches the port.
    Public,
    /// Users of the management side who see everything.
    Administrator,
    /// Those, and users of the customer whose device the path names.
    Device,
    /// Users of customers alone: the handler gets the customer.
    CustomerUser,
    /// Users of the management side; the handler looks at who it is.
    User,
    /// Devices: the path holds the token, which the worker that serves the request looks at.
    Token,
}

/// One operation. Its method and path are those of its description, so that neither can differ from the other.
pub(crate) struct Operation {
    pub(crate) method: Method,
    /// As `openapi.json` has it.
    pub(crate) path: String,
    pub(crate) access: Access,
    pub(crate) describe: fn() -> Description,
    body_bytes_max: usize,
    handler: MethodRouter<Api>,
}

/// An operation for administrators, of a handler that has `#[utoipa::path(…)]`: one without does not compile.
macro_rules! operation {
    ($module:ident :: $handler:ident) => {
        pastey::paste! { operation::<$module::[<__path_ $handler>], _, _>($module::$handler) }
    };
}

fn operation<D, H, T>(handler: H) -> Operation
where
    D: Described,
    H: Handler<T, Api>,
    T: 'static,
{
    let methods = D::methods();
    let method = match methods.first().expect("`utoipa::path` demands a method") {
        HttpMethod::Get => Method::GET,
        HttpMethod::Post => Method::POST,
        HttpMethod::Put => Method::PUT,
        HttpMethod::Delete => Method::DELETE,
        HttpMethod::Options => Method::OPTIONS,
        HttpMethod::Head => Method::HEAD,
        HttpMethod::Patch => Method::PATCH,
        HttpMethod::Trace => Method::TRACE,
    };
    let filter = MethodFilter::try_from(method.clone()).expect("those above are methods of HTTP");
    Operation {
        method,
        path: D::path(),
        access: Access::Administrator,
        describe: Description::of::<D>,
        body_bytes_max: REST_BODY_BYTES_MAX,
        handler: on(filter, handler),
    }
}

impl Operation {
    fn public(self) -> Self {
        Self { access: Access::Public, ..self }.body_bytes_max(STRANGERS_BODY_BYTES_MAX)
    }

    fn of_device(self) -> Self {
        Self { access: Access::Device, ..self }
    }

    fn of_customer_user(self) -> Self {
        Self { access: Access::CustomerUser, ..self }
    }

    fn of_user(self) -> Self {
        Self { access: Access::User, ..self }
    }

    fn by_token(self) -> Self {
        Self { access: Access::Token, ..self }.body_bytes_max(PACKET_BYTES_MAX)
    }

    fn body_bytes_max(self, body_bytes_max: usize) -> Self {
        Self { body_bytes_max, ..self }
    }
}

/// The table.
pub(crate) fn operations() -> Vec<Operation> {
    let mut operations = base();
    operations.extend(candidate_operations());
    operations.extend(device_operations());
    operations.extend(telemetry_operations());
    operations.extend(customer_operations());
    operations.extend(ota_operations());
    operations.extend(rpc_operations());
    operations.extend(live_operations());
    operations.extend(device_api_operations());
    operations.extend(user_operations());
    operations
}

fn base() -> Vec<Operation> {
    vec![
        operation!(health::alive).public(),
        operation!(health::ready).public(),
        operation!(health::metrics).public(),
        operation!(explorer::document).public(),
        operation!(explorer::document_where_clients_look).public(),
        operation!(codecs::list),
        operation!(codecs::read),
        operation!(codecs::upload).body_bytes_max(CODEC_MODULE_BYTES_MAX),
        operation!(codecs::download),
        operation!(codecs::history),
        operation!(codecs::versions),
        operation!(codecs::rollback),
        operation!(audit::list),
        operation!(rate_limits::read),
        operation!(rate_limits::save),
        operation!(sessions::list),
        operation!(letters::list),
        operation!(letters::delete_many),
        operation!(letters::export),
        operation!(letters::read),
        operation!(letters::delete),
        operation!(replay::start),
        operation!(replay::status),
        operation!(replay::cancel),
        operation!(trace::listen),
    ]
}

fn candidate_operations() -> Vec<Operation> {
    vec![
        operation!(candidates::read),
        operation!(candidates::upload).body_bytes_max(CODEC_MODULE_BYTES_MAX),
        operation!(candidates::set_share),
        operation!(candidates::promote),
        operation!(candidates::discard),
        operation!(candidates::read_canary),
        operation!(candidates::start_canary),
        operation!(candidates::stop_canary),
    ]
}

fn device_operations() -> Vec<Operation> {
    vec![
        operation!(devices::save).of_user(),
        operation!(devices::save_with_credentials),
        operation!(devices::save_credentials),
        operation!(devices::read_info).of_device(),
        operation!(devices::read).of_device(),
        operation!(devices::delete),
        operation!(devices::read_credentials).of_device(),
        operation!(telemetry::messages).of_device(),
        operation!(devices::find),
        operation!(device_lists::all),
        operation!(device_lists::all_infos),
        operation!(device_lists::infos_of_caller).of_user(),
        operation!(device_lists::of_customer).of_user(),
        operation!(device_lists::infos_of_customer).of_user(),
        operation!(device_lists::of_caller).of_user(),
        operation!(device_lists::by_ids).of_user(),
        operation!(device_lists::types).of_user(),
        operation!(profiles::save),
        operation!(profiles::read),
        operation!(profiles::delete),
        operation!(profiles::make_default),
        operation!(profiles::names).of_user(),
        operation!(profile_keys::telemetry),
        operation!(profile_keys::attributes),
        operation!(profiles::read_default_info).of_user(),
        operation!(profiles::read_info).of_user(),
        operation!(profiles::list_infos).of_user(),
        operation!(profiles::infos_by_ids).of_user(),
        operation!(profiles::list),
    ]
}

fn ota_operations() -> Vec<Operation> {
    vec![
        operation!(ota::save),
        // The setting bounds the file while it is written, `form.rs` what stands before it.
        operation!(ota::upload).body_bytes_max(usize::MAX),
        operation!(ota::delete),
        operation!(ota::download),
        operation!(ota::read),
        operation!(ota::list),
        operation!(ota::list_of_profile),
    ]
}

fn telemetry_operations() -> Vec<Operation> {
    vec![
        operation!(telemetry::keys).of_device(),
        operation!(descriptions::read).of_device(),
        operation!(telemetry::values).of_device(),
        operation!(history::read).of_device(),
        operation!(telemetry::save).of_device(),
        operation!(telemetry::save_with_ttl).of_device(),
        operation!(telemetry::delete).of_device(),
        operation!(attributes::keys).of_device(),
        operation!(attributes::keys_of_scope).of_device(),
        operation!(attributes::read_all).of_device(),
        operation!(attributes::read_scope).of_device(),
        operation!(attributes::write).of_device(),
        operation!(attributes::write_by_scope).of_device(),
        operation!(attributes::delete).of_device(),
        operation!(attributes::write_by_device).of_device(),
        operation!(attributes::delete_by_device).of_device(),
    ]
}

fn customer_operations() -> Vec<Operation> {
    vec![
        operation!(customers::save),
        operation!(customers::list),
        operation!(customers::find_by_title),
        operation!(customers::read).of_user(),
        operation!(customers::delete),
        operation!(customers::read_short).of_user(),
        operation!(customers::read_title).of_user(),
        operation!(customers::assign),
        operation!(customers::unassign),
        operation!(customers::change_owner),
        operation!(claims::claim).of_customer_user(),
        operation!(claims::reclaim).of_user(),
    ]
}

fn user_operations() -> Vec<Operation> {
    vec![
        operation!(login::login).public(),
        operation!(login::renew).public(),
        operation!(login::user).of_user(),
        operation!(login::logout).of_user(),
        operation!(login::change_password).of_user(),
        operation!(users::activate).public(),
        operation!(users::save).of_user(),
        operation!(users::read).of_user(),
        operation!(users::delete),
        operation!(users::activation_link),
        operation!(users::list).of_user(),
        operation!(users::list_in_other_words).of_user(),
        operation!(users::list_infos).of_user(),
        operation!(users::list_of_customer).of_user(),
        operation!(api_keys::save).of_user(),
        operation!(api_keys::delete).of_user(),
        operation!(api_keys::describe).of_user(),
        operation!(api_keys::enable).of_user(),
        operation!(api_keys::list).of_user(),
        operation!(system::info).of_user(),
    ]
}

fn rpc_operations() -> Vec<Operation> {
    vec![
        operation!(rpc::one_way).of_device(),
        operation!(rpc::two_way).of_device(),
        operation!(rpc::one_way_v1).of_device(),
        operation!(rpc::two_way_v1).of_device(),
        operation!(rpc::list).of_device(),
        operation!(rpc::read).of_user(),
        operation!(rpc::delete).of_user(),
    ]
}

fn live_operations() -> Vec<Operation> {
    use live::{events, socket};
    vec![
        // They ask who it is within the socket.
        operation!(socket::open).public(),
        operation!(socket::open_older).public(),
        operation!(events::listen).of_user(),
    ]
}

/// What devices say and ask; a body is at most as large as a packet of MQTT.
fn device_api_operations() -> Vec<Operation> {
    vec![
        operation!(device_api::telemetry).by_token(),
        operation!(device_api::attributes).by_token(),
        operation!(device_api::read_attributes).by_token(),
        operation!(device_api::updates).by_token(),
        operation!(device_api::rpc).by_token(),
        operation!(device_api::call_rpc).by_token(),
        operation!(device_api::answer_rpc).by_token(),
        operation!(device_api::claim).by_token(),
        operation!(device_api::firmware).by_token(),
        operation!(device_api::software).by_token(),
        operation!(device_api::provision).public().body_bytes_max(PACKET_BYTES_MAX),
    ]
}

/// The router over the whole table.
pub(crate) fn router(api: &Api) -> Router {
    let mut router = Router::new();
    for Operation { path, access, body_bytes_max, handler, .. } in operations() {
        let handler = handler.layer(DefaultBodyLimit::max(body_bytes_max));
        let handler = match access {
            Access::Public | Access::Token => handler,
            Access::Administrator => {
                handler.route_layer(middleware::from_fn_with_state(api.clone(), require_administrator))
            }
            Access::Device => {
                handler.route_layer(middleware::from_fn_with_state(api.clone(), require_device))
            }
            Access::CustomerUser => {
                handler.route_layer(middleware::from_fn_with_state(api.clone(), require_customer_user))
            }
            Access::User => handler.route_layer(middleware::from_fn_with_state(api.clone(), require_login)),
        };
        router = router.route(&numbered(&path), handler);
    }
    router
        .merge(explorer::router())
        .fallback(|| async { ApiError::not_found() })
        .method_not_allowed_fallback(|| async { ApiError::method_not_allowed() })
        .layer(middleware::from_fn_with_state(api.clone(), count))
        .with_state(api.clone())
}

/// The path as the router takes it: to it, what stands in one place of two paths has one name.
fn numbered(path: &str) -> String {
    let named = path.split('/').enumerate();
    let part = |(place, part): (usize, &str)| match part.starts_with('{') {
        true => format!("{{{place}}}"),
        false => part.to_owned(),
    };
    named.map(part).collect::<Vec<_>>().join("/")
}

async fn count(State(api): State<Api>, request: Request, next: Next) -> Response {
    let response = if has_path_of_text(&request) {
        next.run(request).await
    } else {
        ApiError::bad_request("The path is not UTF-8").into_response()
    };
    api.answers.count(response.status());
    response
}

/// Whether the escapes of the path spell text: no handler is asked for anything else.
fn has_path_of_text(request: &Request) -> bool {
    let path = request.uri().path();
    if !path.contains('%') {
        return true;
    }
    // As the router decodes them: what is no escape stands for itself.
    let mut rest = path.as_bytes();
    let mut bytes = Vec::new();
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| *first == b'%').and_then(|digits| hex::decode(digits).ok());
        match escaped {
            Some(byte) => {
                bytes.extend(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    std::str::from_utf8(&bytes).is_ok()
}
