//! Every operation there is, in one table: what is not in it is not served, and who may call it stands beside it.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter, on};
use wireglot_model::limits::{CODEC_MODULE_BYTES_MAX, REST_BODY_BYTES_MAX};

use crate::access::{require_administrator, require_device, require_login};
use crate::error::ApiError;
use crate::{
    Api, attributes, audit, candidates, claims, codecs, customers, descriptions, devices, health, history,
    letters, login, ota, profiles, rate_limits, replay, rpc, sessions, telemetry, trace, users,
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
    /// Users of the management side; the handler looks at who it is.
    User,
}

/// One operation.
pub(crate) struct Operation {
    #[cfg_attr(not(test), expect(dead_code, reason = "the test that walks the table calls by it"))]
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    body_bytes_max: usize,
    handler: MethodRouter<Api>,
}

/// An operation for administrators.
fn operation<H, T>(method: Method, path: &'static str, handler: H) -> Operation
where
    H: Handler<T, Api>,
    T: 'static,
{
    let filter = MethodFilter::try_from(method.clone()).expect("the table uses the methods of HTTP only");
    Operation {
        method,
        path,
        access: Access::Administrator,
        body_bytes_max: REST_BODY_BYTES_MAX,
        handler: on(filter, handler),
    }
}

impl Operation {
    fn public(self) -> Self {
        Self { access: Access::Public, ..self }
    }

    fn of_device(self) -> Self {
        Self { access: Access::Device, ..self }
    }

    fn of_user(self) -> Self {
        Self { access: Access::User, ..self }
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
    operations
}

const GET: Method = Method::GET;
const POST: Method = Method::POST;
const PUT: Method = Method::PUT;
const DELETE: Method = Method::DELETE;

fn base() -> Vec<Operation> {
    vec![
        operation(GET, "/health", health::alive).public(),
        operation(GET, "/ready", health::ready).public(),
        operation(GET, "/metrics", health::metrics).public(),
        operation(POST, "/api/auth/login", login::login).public(),
        operation(POST, "/api/auth/token", login::renew).public(),
        operation(GET, "/api/auth/user", login::user).of_user(),
        operation(POST, "/api/auth/logout", login::logout).of_user(),
        operation(GET, "/api/codecs", codecs::list),
        operation(GET, "/api/codecs/{name}", codecs::read),
        operation(PUT, "/api/codecs/{name}", codecs::upload).body_bytes_max(CODEC_MODULE_BYTES_MAX),
        operation(GET, "/api/codecs/{name}/component", codecs::download),
        operation(GET, "/api/codecs/{name}/history", codecs::history),
        operation(GET, "/api/codecs/{name}/versions", codecs::versions),
        operation(POST, "/api/codecs/{name}/rollback", codecs::rollback),
        operation(GET, "/api/audit", audit::list),
        operation(GET, "/api/rateLimits", rate_limits::read),
        operation(POST, "/api/rateLimits", rate_limits::save),
        operation(GET, "/api/sessions", sessions::list),
        operation(GET, "/api/dead-letters", letters::list),
        operation(DELETE, "/api/dead-letters", letters::delete_many),
        operation(GET, "/api/dead-letters/export", letters::export),
        operation(GET, "/api/dead-letters/{sequence}", letters::read),
        operation(DELETE, "/api/dead-letters/{sequence}", letters::delete),
        operation(POST, "/api/replay", replay::start),
        operation(GET, "/api/replay", replay::status),
        operation(DELETE, "/api/replay", replay::cancel),
        operation(GET, "/api/trace", trace::listen),
    ]
}

fn candidate_operations() -> Vec<Operation> {
    vec![
        operation(GET, "/api/codecs/{name}/candidate", candidates::read),
        operation(PUT, "/api/codecs/{name}/candidate", candidates::upload)
            .body_bytes_max(CODEC_MODULE_BYTES_MAX),
        operation(POST, "/api/codecs/{name}/candidate", candidates::set_share),
        operation(POST, "/api/codecs/{name}/candidate/promote", candidates::promote),
        operation(POST, "/api/codecs/{name}/candidate/discard", candidates::discard),
        operation(GET, "/api/codecs/{name}/canary", candidates::read_canary),
        operation(POST, "/api/codecs/{name}/canary", candidates::start_canary),
        operation(DELETE, "/api/codecs/{name}/canary", candidates::stop_canary),
    ]
}

fn device_operations() -> Vec<Operation> {
    vec![
        operation(POST, "/api/device", devices::save),
        operation(POST, "/api/device-with-credentials", devices::save_with_credentials),
        operation(POST, "/api/device/credentials", devices::save_credentials),
        operation(GET, "/api/device/info/{id}", devices::read_info).of_device(),
        operation(GET, "/api/device/{id}", devices::read).of_device(),
        operation(DELETE, "/api/device/{id}", devices::delete),
        operation(GET, "/api/device/{id}/credentials", devices::read_credentials).of_device(),
        operation(GET, "/api/device/{id}/messages", telemetry::messages).of_device(),
        operation(GET, "/api/tenant/device", devices::find),
        operation(GET, "/api/tenant/devices", devices::list),
        operation(GET, "/api/tenant/deviceInfos", devices::list_infos),
        operation(POST, "/api/deviceProfile", profiles::save),
        operation(GET, "/api/deviceProfile/{id}", profiles::read),
        operation(DELETE, "/api/deviceProfile/{id}", profiles::delete),
        operation(POST, "/api/deviceProfile/{id}/default", profiles::make_default),
        operation(GET, "/api/deviceProfileInfo/default", profiles::read_default_info),
        operation(GET, "/api/deviceProfileInfo/{id}", profiles::read_info),
        operation(GET, "/api/deviceProfileInfos", profiles::list_infos),
        operation(GET, "/api/deviceProfiles", profiles::list),
    ]
}

fn ota_operations() -> Vec<Operation> {
    vec![
        operation(POST, "/api/otaPackage", ota::save),
        // The setting bounds the file while it is written, `form.rs` what stands before it.
        operation(POST, "/api/otaPackage/{id}", ota::upload).body_bytes_max(usize::MAX),
        operation(DELETE, "/api/otaPackage/{id}", ota::delete),
        operation(GET, "/api/otaPackage/{id}/download", ota::download),
        operation(GET, "/api/otaPackage/info/{id}", ota::read),
        operation(GET, "/api/otaPackages", ota::list),
        operation(GET, "/api/otaPackages/{profile}/{kind}", ota::list_of_profile),
    ]
}

/// In the two-part paths `entity` is the id of a device and `id` a scope: the router wants one name in one place.
fn telemetry_operations() -> Vec<Operation> {
    macro_rules! prefixed {
        ($rest:literal) => {
            concat!("/api/plugins/telemetry/{entity}/{id}", $rest)
        };
    }
    vec![
        operation(GET, prefixed!("/keys/timeseries"), telemetry::keys).of_device(),
        operation(GET, prefixed!("/keys/timeseries/descriptions"), descriptions::read).of_device(),
        operation(GET, prefixed!("/values/timeseries"), telemetry::values).of_device(),
        operation(GET, prefixed!("/values/timeseries/history"), history::read).of_device(),
        operation(POST, prefixed!("/timeseries/{any}"), telemetry::save).of_device(),
        operation(POST, prefixed!("/timeseries/{any}/{ttl}"), telemetry::save_with_ttl).of_device(),
        operation(DELETE, prefixed!("/timeseries/delete"), telemetry::delete).of_device(),
        operation(GET, prefixed!("/keys/attributes"), attributes::keys).of_device(),
        operation(GET, prefixed!("/keys/attributes/{scope}"), attributes::keys_of_scope).of_device(),
        operation(GET, prefixed!("/values/attributes"), attributes::read_all).of_device(),
        operation(GET, prefixed!("/values/attributes/{scope}"), attributes::read_scope).of_device(),
        operation(POST, prefixed!("/attributes/{scope}"), attributes::write).of_device(),
        operation(POST, prefixed!("/{scope}"), attributes::write).of_device(),
        operation(DELETE, prefixed!("/{scope}"), attributes::delete).of_device(),
        operation(POST, prefixed!(""), attributes::write_by_device).of_device(),
        operation(DELETE, prefixed!(""), attributes::delete_by_device).of_device(),
    ]
}

fn customer_operations() -> Vec<Operation> {
    vec![
        operation(POST, "/api/customer", customers::save),
        operation(GET, "/api/customer/{id}", customers::read).of_user(),
        operation(DELETE, "/api/customer/{id}", customers::delete),
        operation(GET, "/api/customer/{id}/shortInfo", customers::read_short).of_user(),
        operation(GET, "/api/customer/{id}/devices", customers::devices).of_user(),
        operation(POST, "/api/customer/{id}/device/{device}", customers::assign),
        operation(DELETE, "/api/customer/device/{device}", customers::unassign),
        operation(POST, "/api/customer/device/{device}/claim", claims::claim).of_user(),
        operation(DELETE, "/api/customer/device/{device}/claim", claims::reclaim).of_user(),
        operation(POST, "/api/user", users::create),
        operation(GET, "/api/user/{id}/activationLink", users::activation_link),
        operation(POST, "/api/noauth/activate", users::activate).public(),
    ]
}

fn rpc_operations() -> Vec<Operation> {
    vec![
        operation(POST, "/api/rpc/oneway/{id}", rpc::one_way).of_device(),
        operation(POST, "/api/rpc/twoway/{id}", rpc::two_way).of_device(),
        operation(POST, "/api/plugins/rpc/oneway/{id}", rpc::one_way_v1).of_device(),
        operation(POST, "/api/plugins/rpc/twoway/{id}", rpc::two_way_v1).of_device(),
        operation(GET, "/api/rpc/persistent/device/{id}", rpc::list).of_device(),
        operation(GET, "/api/rpc/persistent/{id}", rpc::read),
        operation(DELETE, "/api/rpc/persistent/{id}", rpc::delete),
    ]
}

/// The router over the whole table.
pub(crate) fn router(api: &Api) -> Router {
    let mut router = Router::new();
    for Operation { path, access, body_bytes_max, handler, .. } in operations() {
        let handler = handler.layer(DefaultBodyLimit::max(body_bytes_max));
        let handler = match access {
            Access::Public => handler,
            Access::Administrator => {
                handler.route_layer(middleware::from_fn_with_state(api.clone(), require_administrator))
            }
            Access::Device => {
                handler.route_layer(middleware::from_fn_with_state(api.clone(), require_device))
            }
            Access::User => handler.route_layer(middleware::from_fn_with_state(api.clone(), require_login)),
        };
        router = router.route(path, handler);
    }
    router
        .fallback(|| async { ApiError::not_found() })
        .method_not_allowed_fallback(|| async { ApiError::method_not_allowed() })
        .layer(middleware::from_fn_with_state(api.clone(), count))
        .with_state(api.clone())
}

async fn count(State(api): State<Api>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    api.answers.count(response.status());
    response
}
