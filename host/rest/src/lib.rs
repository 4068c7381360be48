//! The management side over HTTP: REST in the shapes that existing clients know, health, metrics, the live trace.
//!
//! Read in this order: every operation (`routes`), who may call it (`access`, `login`), what a request says
//! (`request`, `page`) and how failures are told (`error`), then one file per resource, with the shapes of entities in
//! `shape` and `profile_shape`. All of it is described to clients in `openapi`, which browsers see through `explorer`;
//! `device_api` is for devices.
//! `listener` bounds the port, `peer` says for whom a request is. Runs on its own tokio runtime: nothing here shares a
//! thread with a device.

mod access;
mod aggregate;
mod api_keys;
mod attributes;
mod audit;
mod candidates;
mod claims;
mod client_rpc_shape;
mod codecs;
mod customers;
mod descriptions;
mod device_api;
mod device_lists;
mod devices;
mod error;
mod explorer;
mod form;
mod health;
mod history;
mod intervals;
mod letters;
mod listener;
mod live;
mod login;
mod login_limit;
mod metrics;
mod openapi;
mod ota;
mod page;
mod patience;
mod peer;
mod pins;
mod profile_keys;
mod profile_schemas;
mod profile_shape;
mod profiles;
mod provision_shape;
mod rate_limits;
mod readers;
mod replay;
mod request;
mod routes;
mod rpc;
mod sessions;
mod settings;
mod shape;
mod sparkplug_shape;
mod state;
mod system;
mod telemetry;
mod trace;
mod tries;
mod users;
mod window;
mod wrong_passwords;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;

use tokio::sync::{Semaphore, watch};
use wireglot_bus::Bus;
use wireglot_codec::{CodecFolder, CodecTable};
use wireglot_device::{DeviceHandle, Devices};
use wireglot_model::Networks;
use wireglot_model::limits::{
    ERASURES_MAX, LOGINS_CHECKED_MAX, LONG_READS_MAX, RPC_WAITERS_MAX, SHORT_READS_MAX, TRACE_LISTENERS_MAX,
};
use wireglot_replay::Replays;

use access::Tokens;
use claims::ClaimTries;
use error::ApiError;
use history::Unsent;
use login_limit::LoginLimit;
use readers::Readers;
use wrong_passwords::WrongPasswords;

pub use metrics::{HistogramSeries, MetricKind, MetricRow, MetricsText};
pub use openapi::openapi;
pub use pins::{PinError, pinned};
pub use profile_shape::{InvalidShape, profile_draft};

/// What the management side works on.
pub struct RestConfig {
    /// Bound already, so that the host knows the port.
    pub listener: std::net::TcpListener,
    pub devices: Devices,
    pub codecs: CodecTable,
    pub folder: CodecFolder,
    pub bus: Bus,
    /// Who says for whom a request is.
    pub trusted_proxies: Networks,
    /// Writes the metrics of all other parts.
    pub metrics: Box<dyn Fn() -> String + Send + Sync>,
    /// Whether devices are served.
    pub ready: Box<dyn Fn() -> bool + Send + Sync>,
}

/// What every handler can reach.
#[derive(Clone)]
pub(crate) struct Api(Arc<Shared>);

pub(crate) struct Shared {
    devices: Devices,
    codecs: CodecTable,
    folder: CodecFolder,
    replays: Replays,
    bus: Bus,
    trusted_proxies: Networks,
    metrics: Box<dyn Fn() -> String + Send + Sync>,
    ready: Box<dyn Fn() -> bool + Send + Sync>,
    tokens: Tokens,
    logins: LoginLimit,
    wrong_passwords: WrongPasswords,
    claim_tries: ClaimTries,
    logins_checked: Arc<Semaphore>,
    traces: Arc<Semaphore>,
    live: live::Places,
    rpc_waiters: Semaphore,
    long_reads: Readers,
    short_reads: Readers,
    unsent: Unsent,
    erasures: Arc<Semaphore>,
    stopping: watch::Receiver<bool>,
    answers: metrics::Answers,
}

impl Deref for Api {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Api {
    fn new(config: RestConfig, stopping: watch::Receiver<bool>) -> (Self, std::net::TcpListener) {
        let RestConfig { listener, devices, codecs, folder, bus, trusted_proxies, metrics, ready } = config;
        let shared = Shared {
            tokens: Tokens::new(devices.signing_key(), devices.tenant()),
            replays: Replays::new(devices.clone(), codecs.clone()),
            devices,
            codecs,
            folder,
            bus,
            trusted_proxies,
            metrics,
            ready,
            logins: LoginLimit::default(),
            wrong_passwords: WrongPasswords::default(),
            claim_tries: ClaimTries::default(),
            logins_checked: Arc::new(Semaphore::new(LOGINS_CHECKED_MAX)),
            traces: Arc::new(Semaphore::new(TRACE_LISTENERS_MAX)),
            live: live::Places::default(),
            rpc_waiters: Semaphore::new(RPC_WAITERS_MAX),
            long_reads: Readers::new("rest-long-read", LONG_READS_MAX),
            short_reads: Readers::new("rest-read", SHORT_READS_MAX),
            unsent: Unsent::default(),
            erasures: Arc::new(Semaphore::new(ERASURES_MAX)),
            stopping,
            answers: metrics::Answers::default(),
        };
        (Self(Arc::new(shared)), listener)
    }

    /// The device of an id in a path.
    fn device(&self, text: &str) -> Result<DeviceHandle, ApiError> {
        self.devices.device(request::id(text)?).ok_or_else(ApiError::not_found)
    }
}

/// Serves the management side until `shutdown` is done, then lets running requests end.
pub async fn serve(config: RestConfig, shutdown: impl Future<Output = ()>) -> std::io::Result<()> {
    let (stop, stopping) = watch::channel(false);
    let (api, listener) = Api::new(config, stopping);
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    listener::run(listener, routes::router(&api), shutdown, stop).await;
    // WebSockets have left their connections; each says goodbye now.
    if tokio::time::timeout(listener::DRAIN_TIMEOUT, api.live.empty()).await.is_err() {
        tracing::warn!(feeds = api.live.taken(), "Live feeds were cut off by the stop.");
    }
    Ok(())
}
