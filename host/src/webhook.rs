//! Asking webhooks what devices call: bounded in number, time and size, and never on a thread that serves devices.
//!
//! A call waits for a place of its webhook and for one of all, then runs on the blocking pool. No redirect is followed and
//! no proxy is asked: what an operator has named is where a question goes. What a device hears of a failure names neither
//! address nor cause; the log does.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tracing::{debug, warn};
use ureq::Agent;
use wireglot_model::Webhook;
use wireglot_model::limits::{
    CLIENT_RPC_ANSWER_BYTES_MAX, WEBHOOK_CALLS_MAX, WEBHOOK_CALLS_PER_URL_MAX, WEBHOOK_WAITING_PER_URL_MAX,
};
use wireglot_mqtt::{CallPlaces, ClientRpcConfig, WebhookCall};

use crate::config::Config;

/// How long a connection that is not used is kept for the next call.
const IDLE: Duration = Duration::from_secs(15);
/// How soon a webhook that goes on failing is warned of again.
const WARN_AGAIN: Duration = Duration::from_secs(60);

/// Everything that is asked of webhooks.
struct Webhooks {
    agent: Agent,
    runtime: Handle,
    running: Arc<Semaphore>,
    lanes: Mutex<HashMap<String, Arc<Lane>>>,
}

/// The calls of one webhook.
struct Lane {
    running: Semaphore,
    /// For those that run and those that wait.
    places: Arc<Semaphore>,
    warned: Mutex<Option<Instant>>,
}

/// Why a webhook has no answer to give.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("timeout")]
    Late,
    #[error("the webhook cannot be reached")]
    Unreachable(#[source] Box<ureq::Error>),
    #[error("the webhook answered with the status {0}")]
    Status(u16),
    #[error("the answer of the webhook has more than {CLIENT_RPC_ANSWER_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the answer of the webhook is not JSON")]
    NotJson,
}

/// Who answers what devices call, as the settings say. To be called on the runtime that asks the webhooks.
pub(crate) fn client_rpc(config: &Config) -> ClientRpcConfig {
    let webhook = config.client_rpc_webhook.as_ref().map(|url| Webhook {
        url: url.clone(),
        timeout_ms: config.client_rpc_webhook_timeout_ms,
        authorization: config.client_rpc_webhook_authorization.given().map(str::to_owned),
    });
    let webhooks = Arc::new(Webhooks::new());
    ClientRpcConfig {
        timeout: config.client_rpc_timeout_ms,
        webhook: webhook.map(Arc::new),
        ask: Arc::new(move |call| webhooks.ask(call)),
        places: CallPlaces::default(),
    }
}

impl Webhooks {
    fn new() -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(concat!("wireglot/", env!("CARGO_PKG_VERSION")))
            .accept("application/json")
            .max_idle_connections(WEBHOOK_CALLS_MAX)
            .max_idle_connections_per_host(WEBHOOK_CALLS_PER_URL_MAX)
            .max_idle_age(IDLE)
            .build();
        Self {
            agent: agent.into(),
            runtime: Handle::current(),
            running: Arc::new(Semaphore::new(WEBHOOK_CALLS_MAX)),
            lanes: Mutex::default(),
        }
    }

    /// Takes a call. Waits for nothing: it is called by the threads that serve devices.
    fn ask(&self, call: WebhookCall) {
        let lane = self.lane(&call.webhook.url);
        let Ok(place) = Arc::clone(&lane.places).try_acquire_owned() else {
            return call.reply.fail("too many calls wait for the webhook");
        };
        let (agent, running) = (self.agent.clone(), Arc::clone(&self.running));
        self.runtime.spawn(async move {
            // Neither is ever closed. The webhook's own first: who waits for it must not hold a place of the others.
            let own = lane.running.acquire().await;
            let shared = running.acquire().await;
            let asked = tokio::task::spawn_blocking({
                let lane = Arc::clone(&lane);
                move || answer(&agent, &lane, call)
            });
            let asked = asked.await;
            if let Err(error) = asked {
                warn!(%error, "A call to a webhook broke off.");
            }
            drop((own, shared, place));
        });
    }

    fn lane(&self, url: &str) -> Arc<Lane> {
        let mut lanes = self.lanes.lock();
        if let Some(lane) = lanes.get(url) {
            return Arc::clone(lane);
        }
        // Lanes without a call go, so there are no more of them than calls.
        lanes.retain(|_, lane| Arc::strong_count(lane) > 1);
        let fresh = Arc::new(Lane {
            running: Semaphore::new(WEBHOOK_CALLS_PER_URL_MAX),
            places: Arc::new(Semaphore::new(WEBHOOK_WAITING_PER_URL_MAX)),
            warned: Mutex::default(),
        });
        lanes.insert(url.to_owned(), Arc::clone(&fresh));
        fresh
    }
}

impl Lane {
    /// Devices call as often as they like, so most failures of a webhook that is down are told at `debug`.
    fn tell(&self, url: &str, failure: &Failure) {
        let error = chain(failure);
        let mut warned = self.warned.lock();
        if warned.is_some_and(|last| last.elapsed() < WARN_AGAIN) {
            return debug!(url, error, "A webhook did not answer a call of a device.");
        }
        *warned = Some(Instant::now());
        warn!(url, error, "A webhook did not answer a call of a device.");
    }
}

fn answer(agent: &Agent, lane: &Lane, call: WebhookCall) {
    let WebhookCall { webhook, body, ends, reply } = call;
    match exchange(agent, &webhook, &body, ends) {
        Ok(answer) => reply.answer(answer),
        Err(failure) => {
            lane.tell(&webhook.url, &failure);
            match failure {
                Failure::Late => reply.time_out(),
                Failure::Unreachable(_) | Failure::Status(_) | Failure::TooLarge | Failure::NotJson => {
                    reply.fail(&failure.to_string());
                }
            }
        }
    }
}

fn chain(failure: &Failure) -> String {
    match std::error::Error::source(failure) {
        Some(source) => format!("{failure}: {source}"),
        None => failure.to_string(),
    }
}

/// One question and its answer, as it came.
fn exchange(agent: &Agent, webhook: &Webhook, body: &str, ends: Instant) -> Result<String, Failure> {
    let left = ends.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(Failure::Late);
    }
    let timeout = left.min(Duration::from_millis(webhook.timeout_ms.into()));
    let mut request = agent
        .post(&webhook.url)
        .config()
        .timeout_global(Some(timeout))
        .build()
        .header("Content-Type", "application/json");
    if let Some(authorization) = &webhook.authorization {
        request = request.header("Authorization", authorization);
    }
    let mut response = request.send(body).map_err(failed)?;
    if !response.status().is_success() {
        return Err(Failure::Status(response.status().as_u16()));
    }
    let read = response.body_mut().with_config().limit(CLIENT_RPC_ANSWER_BYTES_MAX as u64).read_to_vec();
    let text = String::from_utf8(read.map_err(failed)?).map_err(|_| Failure::NotJson)?;
    let json: &RawValue = serde_json::from_str(&text).map_err(|_| Failure::NotJson)?;
    Ok(json.get().to_owned())
}

fn failed(error: ureq::Error) -> Failure {
    match error {
        ureq::Error::Timeout(_) => Failure::Late,
        ureq::Error::BodyExceedsLimit(_) => Failure::TooLarge,
        other => Failure::Unreachable(Box::new(other)),
    }
}
