//! Requests of devices that hold no connection: each is a session of one message, whose line is the answer.
//!
//! A request takes the path of a publish (`publish.rs`) on the same worker, so codecs, limits, dead letters and whatever
//! else a publish meets are the same. It is no session to the registry: it neither takes a place from the device's
//! connection nor begins or ends anything that is told. A request that waits, for an attribute update or an RPC, stands
//! beside the connection as if it had subscribed, until the first thing that it is told. What goes out is in `line.rs`.

mod line;

use std::future::poll_fn;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::rc::Rc;
use std::time::Duration;

use ntex::time::{Millis, timeout};
use ntex_mqtt::QoS;
use wireglot_bus::{AnswerTo, Brought, Desk};
use wireglot_codec::native::write_attribute_request;
use wireglot_device::{AuthRefusal, DeviceHandle, PollRefusal, now};
use wireglot_model::limits::{CLIENT_RPC_TIMEOUT_MS, DRAIN_TIMEOUT_S};
use wireglot_model::{
    DeviceAnswer, DeviceCall, DeviceRequest, Downlink, OtaContent, OtaKind, RequestRefusal, Wish,
};
use wireglot_route::{
    CLAIM, Family, Format, Route, attribute_request_topic, rpc_request_topic, rpc_response_topic,
};

use crate::connect::Refusal;
use crate::profile::ProfileView;
use crate::publish::{Incoming, take_request};
use crate::session::{self, Session};
use crate::worker::Worker;
use crate::{client_rpc, limit, provision};

pub(crate) use line::{Line, tell};

/// Of the one publish that a request is.
const PACKET_ID: NonZeroU16 = NonZeroU16::MIN;
/// Of a call whose answer goes back by itself.
const REQUEST_ID: i32 = 1;

/// What a request waits for beside the device's session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Awaited {
    Update,
    Rpc,
}

/// Serves the requests that come to a worker.
pub(crate) async fn serve(worker: Rc<Worker>, mut desk: Desk) {
    while let Some(Brought { request, reply }) = desk.next().await {
        // As a connection is not read while the commit thread is behind.
        poll_fn(|context| worker.ingest.poll_room(context)).await;
        if !reply.is_gone() {
            worker.counters.device_requests.count();
            // It ends with its answer, with whoever asks, or after a while.
            ntex::rt::spawn(take(worker.clone(), request, reply)).detach();
        }
    }
}

async fn take(worker: Rc<Worker>, request: DeviceRequest, reply: AnswerTo) {
    let DeviceRequest { address, wish } = request;
    if worker.is_draining() {
        return give(reply, DeviceAnswer::Refused(RequestRefusal::Stopping));
    }
    if worker.entrance().is_blocked(address) {
        worker.counters.connections_blocked.count();
        return give(reply, DeviceAnswer::Refused(RequestRefusal::AddressBlocked));
    }
    match wish {
        Wish::Provision(payload) => {
            // Boxed, so that a device's request is not as large. A device that is made is made, whoever has gone.
            let answer = Box::pin(provision::answer_one(&worker, address, &payload)).await;
            give(reply, answer);
        }
        Wish::OfDevice { token, is_json, call } => match log_in(&worker, address, &token) {
            Ok(device) => {
                drop(token);
                serve_one(&worker, &device, address, is_json, call, reply).await;
            }
            Err(refusal) => give(reply, DeviceAnswer::Refused(refusal)),
        },
    }
}

/// Whoever has gone does not hear it.
fn give(reply: AnswerTo, answer: DeviceAnswer) {
    let _unheard = reply.give(answer);
}

fn log_in(worker: &Worker, address: Option<IpAddr>, token: &str) -> Result<DeviceHandle, RequestRefusal> {
    match worker.devices.authenticate_token(token) {
        Ok(device) => {
            worker.entrance().welcomed(address);
            Ok(device)
        }
        Err(refusal) => {
            worker.counters.connects_refused.count();
            worker.entrance().refused(address, Refusal::Login(refusal));
            Err(match refusal {
                AuthRefusal::OtherTransport => RequestRefusal::OtherTransport,
                AuthRefusal::UnknownUser
                | AuthRefusal::EmptyUserName
                | AuthRefusal::UnknownClient
                | AuthRefusal::NothingPresented => RequestRefusal::UnknownToken,
            })
        }
    }
}

async fn serve_one(
    worker: &Rc<Worker>,
    device: &DeviceHandle,
    address: Option<IpAddr>,
    is_json: bool,
    call: DeviceCall,
    reply: AnswerTo,
) {
    let awaited = match &call {
        DeviceCall::Greeting => return give(reply, DeviceAnswer::Taken),
        // A download is no sign of life, and no message but for its beginning (device API §16.5, §18).
        DeviceCall::Package { kind, chunk, size } => {
            return give(reply, part(worker, device, *kind, *chunk, *size));
        }
        DeviceCall::AwaitUpdate { timeout_ms } => Some((Awaited::Update, *timeout_ms)),
        DeviceCall::AwaitRpc { timeout_ms } => Some((Awaited::Rpc, *timeout_ms)),
        DeviceCall::Telemetry { .. }
        | DeviceCall::Attributes(_)
        | DeviceCall::ReadAttributes { .. }
        | DeviceCall::RpcResponse { .. }
        | DeviceCall::ClientRpc(_)
        | DeviceCall::Claim(_) => None,
    };
    let line = Line::new(reply, awaited.map(|(awaited, _)| awaited));
    let owner = Session::at_desk(worker, device, address, line);
    let session = owner.session();
    worker.devices.heard([(device, now())]);
    begin(session, is_json, call);
    let patience = match awaited {
        Some((_, timeout_ms)) => Duration::from_millis(timeout_ms.into()),
        // Whatever a webhook may take, and a commit.
        None => worker.client_rpc().timeout + Duration::from_millis(CLIENT_RPC_TIMEOUT_MS.into()),
    };
    let patience = Millis(u32::try_from(patience.as_millis()).unwrap_or(u32::MAX));
    if timeout(patience, answered(session)).await.is_err() {
        refuse(session, awaited.map_or(RequestRefusal::Failed, |_| RequestRefusal::NoAnswer));
    }
    // What has begun is finished, whoever has gone.
    let _finished = timeout(Millis(u32::from(DRAIN_TIMEOUT_S) * 1_000), session.window.idle()).await;
}

/// Resolves when the request is answered, or nobody waits for that any more.
async fn answered(session: &Session) {
    let session::Line::Desk(line) = &session.line else { return };
    poll_fn(|context| {
        // By now whatever answers a message at once has done so: it does that where the message is acknowledged.
        if line.is_taken() && session.calls.borrow().is_empty() {
            line.give(DeviceAnswer::Taken);
        }
        line.poll_done(context)
    })
    .await;
}

fn refuse(session: &Session, refusal: RequestRefusal) {
    if let session::Line::Desk(line) = &session.line {
        line.refuse(refusal);
    }
}

/// What the request is as a publish, or as a subscription.
fn begin(session: &Rc<Session>, is_json: bool, call: DeviceCall) {
    let view = session.view();
    let family = if is_json && speaks_bytes(&view) { Family::V2Json } else { Family::V1 };
    match call {
        DeviceCall::Telemetry { payload, event } => {
            let topic = view.topics.telemetry_topic();
            let named = view.wrapping().and(event).map(|event| format!("{topic}/event/{event}"));
            publish(session, named.as_deref().unwrap_or(topic), &payload, Route::Telemetry(Format::Profile));
        }
        DeviceCall::Attributes(payload) => {
            publish(session, view.topics.attributes_topic(), &payload, Route::Attributes(Format::Profile));
        }
        DeviceCall::ReadAttributes { client_keys, shared_keys } => {
            // Asked in our words, so it is answered in them: no codec has to know how HTTP asks.
            let (id, family) = (REQUEST_ID, Family::V2Json);
            let payload = write_attribute_request(&client_keys, &shared_keys);
            let topic = attribute_request_topic(family, id);
            publish(session, &topic, payload.as_bytes(), Route::AttributeRequest { id, family });
        }
        DeviceCall::AwaitUpdate { .. } => wait(session, Awaited::Update, family),
        DeviceCall::AwaitRpc { .. } => wait(session, Awaited::Rpc, family),
        DeviceCall::RpcResponse { id, payload } => {
            // The topics of RPC are the same in both directions, as the device answers or asks.
            let topic = rpc_response_topic(family, id);
            publish(session, &topic, &payload, Route::RpcResponse { id, family });
        }
        DeviceCall::ClientRpc(payload) => {
            let id = REQUEST_ID;
            let topic = rpc_request_topic(family, id);
            publish(session, &topic, &payload, Route::RpcRequest { id, family });
        }
        DeviceCall::Claim(payload) => publish(session, CLAIM, &payload, Route::Claim),
        // They are no business of a session.
        DeviceCall::Greeting | DeviceCall::Package { .. } => {}
    }
}

/// Whether the device is spoken to in other bytes than the JSON of the device API.
fn speaks_bytes(view: &ProfileView) -> bool {
    view.codec.is_some() || view.dialect.writes(Family::V1)
}

fn publish(session: &Rc<Session>, topic: &str, payload: &[u8], route: Route) {
    let incoming = Incoming { topic, payload, qos: QoS::AtLeastOnce, id: Some(PACKET_ID) };
    take_request(session, &incoming, route);
}

/// Stands beside the device's session until something is told.
fn wait(session: &Rc<Session>, awaited: Awaited, family: Family) {
    let (worker, device) = (&session.worker, &session.device);
    // It counts as a subscription.
    if limit::message(session).is_err() {
        worker.counters.publishes_limited.count();
        return refuse(session, RequestRefusal::RateLimited);
    }
    session.subscriptions.borrow_mut().await_in(family);
    match worker.devices.open_poll(device, session.id, &worker.mailbox) {
        Ok(()) if awaited == Awaited::Rpc => worker.devices.rpc_awaited(device, session.id, now()),
        Ok(()) => {}
        Err(PollRefusal::Revoked(_)) => refuse(session, RequestRefusal::UnknownToken),
        Err(PollRefusal::TooMany) => refuse(session, RequestRefusal::TooManyWaiting),
    }
}

/// The request is over.
pub(crate) fn leave(session: &Session, line: &Line) {
    let worker = &session.worker;
    if let Some(awaited) = line.awaited() {
        worker.devices.close_poll(&session.device, session.id);
        if awaited == Awaited::Rpc {
            worker.devices.rpc_unawaited(session.device.id(), session.id, now());
        }
    }
    worker.leave_request(session.id);
}

/// What came for a request through the mailbox.
pub(crate) fn downlink(session: &Session, line: &Line, downlink: &Downlink) {
    match (downlink, line.awaited()) {
        (Downlink::Close(reason), _) => session.close_from_elsewhere((*reason).into()),
        (Downlink::ClientRpcAnswer { ticket, payload, .. }, _) => {
            client_rpc::arrived(session, *ticket, payload.clone());
        }
        (Downlink::AttributeUpdate(_) | Downlink::AttributeDelete(_), Some(Awaited::Update)) => {
            line::tell_awaited(session, line, downlink);
        }
        (Downlink::RpcRequest { id, .. }, Some(Awaited::Rpc)) => {
            line::tell_rpc(session, line, *id, downlink);
        }
        // It waits for the other thing.
        (
            Downlink::AttributeUpdate(_)
            | Downlink::AttributeDelete(_)
            | Downlink::RpcRequest { .. }
            | Downlink::AttributeResponse { .. },
            _,
        ) => {}
    }
}

/// The part of a package that is asked for. Of any length: it is read as it goes out.
fn part(worker: &Worker, device: &DeviceHandle, kind: OtaKind, chunk: u32, size: u64) -> DeviceAnswer {
    let is_first = chunk == 0 || size == 0;
    if is_first && limit::open(worker, device).is_err() {
        return DeviceAnswer::Refused(RequestRefusal::RateLimited);
    }
    let package = worker.devices.ota_target(device, kind);
    let found = package.and_then(|package| match &package.content {
        OtaContent::File(file) => Some((file.bytes, package)),
        OtaContent::Pending | OtaContent::Url { .. } => None,
    });
    let Some((file, package)) = found else {
        worker.counters.ota_refusals.count();
        return DeviceAnswer::Refused(RequestRefusal::NoPackage);
    };
    let (offset, bytes) = if size == 0 {
        (0, file)
    } else {
        let offset = u64::from(chunk).saturating_mul(size).min(file);
        (offset, size.min(file - offset))
    };
    worker.counters.ota_parts.count();
    worker.counters.ota_bytes.add(bytes);
    DeviceAnswer::Part { package, offset, bytes }
}
