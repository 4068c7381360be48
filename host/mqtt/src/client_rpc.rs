//! Client-side RPC: who answers what a device calls, and what it hears when nobody does (device API §13).
//!
//! A call is answered after its acknowledgement. In this order: a built-in method, the responder of the profile, its
//! webhook or the server's; then an error. The first two answer at once. A webhook is asked on other threads; its answer
//! comes through the worker's mailbox, and a timer of the session's own tells the device when none came.

mod places;

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ntex::rt::JoinHandle;
use ntex::time::{Millis, sleep};
use wireglot_bus::Mailbox;
use wireglot_codec::native::{write_attribute_update, write_error};
use wireglot_codec::{CodecBinding, RpcAnswer, RpcCall};
use wireglot_device::now;
use wireglot_model::limits::{
    CLIENT_RPC_ANSWER_BYTES_MAX, CLIENT_RPC_TIMEOUT_MS, CLIENT_RPC_WAITING_MAX, CODEC_REASON_BYTES_MAX,
};
use wireglot_model::value::write_json_string;
use wireglot_model::{Decoded, Downlink, RequestRefusal, SessionId, UplinkBody, Webhook};
use wireglot_route::Family;

pub use places::CallPlaces;

use crate::deliver;
use crate::session::{Line, Session};
use places::CallPlace;

/// What devices know as the end of a call that nobody has answered in time.
const TIMED_OUT: &str = "timeout";

/// How calls are answered that are not built in.
#[derive(Clone)]
pub struct ClientRpcConfig {
    /// How long a call may wait for its answer.
    pub timeout: Duration,
    /// Asked where a profile names no webhook.
    pub webhook: Option<Arc<Webhook>>,
    /// Asks a webhook without making the caller wait.
    pub ask: Arc<dyn Fn(WebhookCall) + Send + Sync>,
    /// Which questions are out.
    pub places: CallPlaces,
}

/// One question for a webhook.
pub struct WebhookCall {
    /// Whom to ask.
    pub webhook: Arc<Webhook>,
    /// The question, a JSON document.
    pub body: String,
    /// After this nobody waits for the answer.
    pub ends: Instant,
    /// Where the answer goes.
    pub reply: Reply,
}

/// The way back to the device; without an answer it is told that its call timed out.
pub struct Reply {
    mailbox: Mailbox,
    session: SessionId,
    id: i32,
    ticket: u64,
    /// Free again when the question is answered or given up.
    place: CallPlace,
}

/// What a device calls.
#[derive(Debug)]
pub(crate) struct Call {
    id: i32,
    method: String,
    params: String,
}

/// The calls of a session that wait for an answer.
#[derive(Default)]
pub(crate) struct Waiting {
    last_ticket: u64,
    calls: Vec<WaitingCall>,
}

struct WaitingCall {
    id: i32,
    ticket: u64,
    family: Family,
    timer: Option<JoinHandle<()>>,
}

impl ClientRpcConfig {
    /// No webhooks at all.
    pub fn without_webhooks() -> Self {
        let ask = Arc::new(|call: WebhookCall| call.reply.fail("no webhook can be asked here"));
        let timeout = Duration::from_millis(CLIENT_RPC_TIMEOUT_MS.into());
        Self { timeout, webhook: None, ask, places: CallPlaces::default() }
    }
}

impl Reply {
    /// Answers with JSON text.
    pub fn answer(self, payload: String) {
        let Self { mailbox, session, id, ticket, place } = self;
        let answer = Downlink::ClientRpcAnswer { id, ticket, payload };
        if let Err(undelivered) = mailbox.put(session, answer) {
            tracing::debug!(?undelivered, "The answer to a call cannot be delivered.");
        }
        drop(place);
    }

    /// Answers with an error.
    pub fn fail(self, reason: &str) {
        self.answer(write_error(reason));
    }

    /// Answers as if nobody had.
    pub fn time_out(self) {
        self.fail(TIMED_OUT);
    }
}

impl Drop for WaitingCall {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.take() {
            timer.cancel();
        }
    }
}

impl Waiting {
    /// Whether nobody is asked.
    pub(crate) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Makes room for a call, in place of an older one with its id; `None` where too many wait.
    fn begin(&mut self, id: i32, family: Family) -> Option<u64> {
        self.calls.retain(|call| call.id != id);
        if self.calls.len() >= CLIENT_RPC_WAITING_MAX {
            return None;
        }
        self.last_ticket += 1;
        self.calls.push(WaitingCall { id, ticket: self.last_ticket, family, timer: None });
        Some(self.last_ticket)
    }

    /// Ends the call, if it still waits: its id, and the family of its answer.
    fn end(&mut self, ticket: u64) -> Option<(i32, Family)> {
        let index = self.calls.iter().position(|call| call.ticket == ticket)?;
        let call = self.calls.swap_remove(index);
        Some((call.id, call.family))
    }

    fn set_timer(&mut self, ticket: u64, timer: JoinHandle<()>) {
        match self.calls.iter_mut().find(|call| call.ticket == ticket) {
            Some(call) => call.timer = Some(timer),
            None => timer.cancel(),
        }
    }
}

/// The calls in a message. Most have none, and cost no memory then.
pub(crate) fn calls_in(decoded: &Decoded) -> Vec<Call> {
    let mut calls = Vec::new();
    for uplink in &decoded.uplinks {
        if let UplinkBody::ClientRpc { id, method, params } = &uplink.body {
            calls.push(Call { id: *id, method: method.clone(), params: params.clone() });
        }
    }
    calls
}

/// Answers the calls of an acknowledged message, or has them answered.
pub(crate) fn answer(session: &Rc<Session>, family: Family, calls: Vec<Call>) {
    for call in calls {
        if session.is_closing() {
            return;
        }
        session.worker.counters.client_calls.count();
        let answer = built_in(&call).or_else(|| ask_others(session, family, &call));
        if let Some(answer) = answer {
            session.calls.borrow_mut().calls.retain(|waiting| waiting.id != call.id);
            say(session, family, call.id, answer);
        }
    }
}

/// The methods that the server itself knows. Not among them: `getSessionLimits`, which is answered before anything is
/// counted (`session_limits.rs`).
fn built_in(call: &Call) -> Option<String> {
    match call.method.as_str() {
        "getCurrentTime" => Some(format!("{{\"currentTime\":{}}}", now().0)),
        _ => None,
    }
}

/// Whoever the profile names; `None` where the answer comes later.
fn ask_others(session: &Rc<Session>, family: Family, call: &Call) -> Option<String> {
    let worker = &session.worker;
    let view = session.view();
    let answer = view.responder.as_ref().and_then(|responder| ask_responder(session, call, responder));
    if answer.is_some() {
        return answer;
    }
    match view.webhook.as_ref().or(worker.client_rpc().webhook.as_ref()) {
        Some(webhook) => ask_webhook(session, family, call, webhook),
        None => {
            worker.counters.client_calls_unanswered.count();
            Some(write_error(&nobody_answers(call)))
        }
    }
}

/// `None` where the responder does not know the method.
fn ask_responder(session: &Session, call: &Call, responder: &CodecBinding) -> Option<String> {
    let worker = &session.worker;
    let view = session.view();
    let shared = shared_attributes(session, responder);
    let asked = RpcCall {
        id: call.id,
        method: &call.method,
        params: &call.params,
        device: &session.name(),
        profile: view.name(),
        now: now(),
        shared: &shared,
    };
    match worker.responders().respond(responder, &asked) {
        Ok(RpcAnswer::Json(answer)) => Some(answer),
        Ok(RpcAnswer::Failed(reason)) => Some(write_error(&reason)),
        Ok(RpcAnswer::UnknownMethod) => None,
        Err(failure) => {
            worker.counters.client_calls_unanswered.count();
            tracing::debug!(device = %session.device.id(), responder = %responder.codec, reason = failure.reason, "A responder did not answer a call of a device.");
            Some(write_error(&format!("the responder failed: {}", failure.reason)))
        }
    }
}

/// Those that the responder wants to see.
fn shared_attributes(session: &Session, responder: &CodecBinding) -> String {
    let worker = &session.worker;
    let version = worker.table.serving(responder);
    let keys = version.as_ref().map_or(&[][..], |version| version.metadata().shared_keys.as_slice());
    if keys.is_empty() {
        return "{}".to_owned();
    }
    match worker.ingest.attribute_response(&session.device, 0, &[], keys) {
        Downlink::AttributeResponse { shared, .. } => write_attribute_update(&shared),
        _ => "{}".to_owned(),
    }
}

fn nobody_answers(call: &Call) -> String {
    let mut reason = format!("nobody answers the method '{}'", call.method);
    let end = (0..=CODEC_REASON_BYTES_MAX.min(reason.len())).rev().find(|end| reason.is_char_boundary(*end));
    reason.truncate(end.unwrap_or_default());
    reason
}

fn ask_webhook(session: &Rc<Session>, family: Family, call: &Call, webhook: &Arc<Webhook>) -> Option<String> {
    let config = session.worker.client_rpc();
    let place = config.places.take(session.device.id());
    let begun = place.and_then(|place| Some((place, session.calls.borrow_mut().begin(call.id, family)?)));
    let Some((place, ticket)) = begun else {
        session.worker.counters.client_calls_unanswered.count();
        let reason = format!("{CLIENT_RPC_WAITING_MAX} calls of this device wait for an answer already");
        return Some(write_error(&reason));
    };
    let timer = ntex::rt::spawn({
        let session = Rc::downgrade(session);
        let timeout = Millis(u32::try_from(config.timeout.as_millis()).unwrap_or(u32::MAX));
        async move {
            sleep(timeout).await;
            if let Some(session) = session.upgrade() {
                session.worker.counters.client_calls_unanswered.count();
                arrived(&session, ticket, write_error(TIMED_OUT));
            }
        }
    });
    session.calls.borrow_mut().set_timer(ticket, timer);
    let mailbox = session.worker.mailbox.clone();
    let reply = Reply { mailbox, session: session.id, id: call.id, ticket, place };
    let body = question(session, call);
    let ends = Instant::now() + config.timeout;
    (config.ask)(WebhookCall { webhook: webhook.clone(), body, ends, reply });
    None
}

/// What a webhook is asked.
fn question(session: &Session, call: &Call) -> String {
    let view = session.view();
    let mut body = String::with_capacity(256 + call.params.len());
    body.push('{');
    for (name, text) in [
        ("deviceName", session.name().as_ref()),
        ("deviceId", session.device.id().to_string().as_str()),
        ("profile", view.name()),
        ("method", &call.method),
    ] {
        write_json_string(name, &mut body);
        body.push(':');
        write_json_string(text, &mut body);
        body.push(',');
    }
    body.push_str(&format!("\"requestId\":{},\"params\":{}}}", call.id, call.params));
    body
}

/// An answer has come, of a webhook or of the timer: the first one counts.
pub(crate) fn arrived(session: &Session, ticket: u64, payload: String) {
    let ended = session.calls.borrow_mut().end(ticket);
    if let Some((id, family)) = ended
        && !session.is_closing()
    {
        say(session, family, id, payload);
    }
}

fn say(session: &Session, family: Family, id: i32, payload: String) {
    if let Line::Desk(line) = &session.line
        && payload == write_error(TIMED_OUT)
    {
        // Whoever asks in a request of its own has a word for that.
        return line.refuse(RequestRefusal::NoAnswer);
    }
    let payload = if payload.len() > CLIENT_RPC_ANSWER_BYTES_MAX {
        write_error(&format!("the answer has more than {CLIENT_RPC_ANSWER_BYTES_MAX} bytes"))
    } else {
        payload
    };
    deliver::send(session, family, &Downlink::ClientRpcAnswer { id, ticket: 0, payload });
}
