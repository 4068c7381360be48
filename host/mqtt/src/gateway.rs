//! What a gateway says for the devices behind it (gateway API §2–§4).
//!
//! A publish about many devices falls into parts, each of which is taken or refused for itself; all that is kept of it
//! is kept by one commit, and one acknowledgement follows, which the first refused part decides. Refused parts are dead
//! letters by that time (ruling 11), so nothing is lost where the acknowledgement cannot say it.

mod parts;

use std::rc::Rc;
use std::time::{Duration, Instant};

use ntex::util::{ByteString, Bytes};
use wireglot_codec::native;
use wireglot_device::now;
use wireglot_model::gateway::{GatewayAttributeRequest, GatewayRefusal, GatewaySaid};
use wireglot_model::{Decoded, Downlink, Fault, OnFailure, Timestamp, Uplink, UplinkBody};
use wireglot_proto as proto;
use wireglot_route::{
    Format, GATEWAY_ATTRIBUTES_RESPONSE, GATEWAY_DISCONNECT, GatewayRoute, GatewayUplink, gateway_uplink,
};

use crate::ack::Close;
use crate::children::Child;
use crate::profile::ProfileView;
use crate::publish::{Incoming, Owed, of_server, take_unknown};
use crate::session::{Line, Session};
use crate::{deliver, limit};
use parts::Publish;

/// `reason` of a device that was let go because a rate limit was passed (gateway API §4.4).
const RATE_EXCEEDED: u8 = 150;

/// What a publish of a gateway has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// All parts are kept.
    Taken,
    /// What a device says cannot be read or used, or the whole is of another format.
    BadData,
    /// The payload does not say what the call takes.
    BadStructure,
    /// There is no such device, and none is made.
    Unresolved,
    /// A bound was passed.
    NoRoom,
    /// A rate limit was passed; the session ends.
    Limited,
}

impl Verdict {
    /// What follows where a part is refused by this fault; `None`: nothing.
    fn of_part(fault: Fault) -> Option<Self> {
        match fault {
            // The device has done its part.
            Fault::Codec => None,
            Fault::Device => Some(Self::BadData),
            Fault::Quota => Some(Self::NoRoom),
            Fault::Denied | Fault::Host => Some(Self::Unresolved),
        }
    }
}

/// What a gateway is told besides the acknowledgement.
pub(crate) enum Reply {
    /// The attributes that a device has asked for.
    Attributes(Rc<Child>, GatewayAttributeRequest),
    /// The device whose part has passed a rate limit.
    Limited(String),
}

/// The path of one message, as in `publish.rs`.
pub(crate) fn receive(
    session: &Session,
    view: &ProfileView,
    incoming: &Incoming<'_>,
    received: Timestamp,
    owed: Owed,
) {
    let Some(uplink) = gateway_uplink(incoming.topic) else { return take_unknown(session, owed) };
    let mut publish = Publish::new(session, view, incoming, received);
    match uplink {
        GatewayUplink::Raw(device) => publish.raw(device),
        GatewayUplink::Call(route) => match read(session, view, route, incoming.payload) {
            Ok(said) => publish.take(said),
            Err(GatewayRefusal::Malformed(reason)) => publish.refuse_whole(Verdict::BadData, reason),
            Err(GatewayRefusal::Structure(reason)) => publish.refuse_whole(Verdict::BadStructure, reason),
        },
    }
    publish.finish(uplink, owed);
}

fn read(
    session: &Session,
    view: &ProfileView,
    route: GatewayRoute,
    payload: &[u8],
) -> Result<GatewaySaid, GatewayRefusal> {
    if view.dialect.reads(Format::Profile) {
        let read = match route {
            GatewayRoute::Connect => proto::gateway_connect,
            GatewayRoute::Disconnect => proto::gateway_disconnect,
            GatewayRoute::Telemetry => proto::gateway_telemetry,
            GatewayRoute::Attributes => proto::gateway_attributes,
            GatewayRoute::AttributeRequest => proto::gateway_attribute_request,
            GatewayRoute::RpcResponse => proto::gateway_rpc_response,
            GatewayRoute::Claim => proto::gateway_claim,
        };
        return read(payload).map_err(|refusal| GatewayRefusal::Malformed(refusal.to_string()));
    }
    let json = session.worker.json();
    match route {
        GatewayRoute::Connect => native::gateway_connect(payload),
        GatewayRoute::Disconnect => native::gateway_disconnect(payload),
        GatewayRoute::Telemetry => json.gateway_telemetry(payload),
        GatewayRoute::Attributes => json.gateway_attributes(payload),
        GatewayRoute::AttributeRequest => native::gateway_attribute_request(payload),
        GatewayRoute::RpcResponse => native::gateway_rpc_response(payload),
        GatewayRoute::Claim => native::gateway_claim(payload),
    }
}

/// The acknowledgement is written: tells what else is to be told, and ends the session where that follows.
pub(crate) fn done(
    session: &Rc<Session>,
    verdict: Verdict,
    on_failure: OnFailure,
    reply: Option<Box<Reply>>,
) {
    match reply.map(|reply| *reply) {
        Some(Reply::Attributes(child, request)) => answer(session, &child, &request),
        Some(Reply::Limited(device)) => let_go(session, &device),
        None => {}
    }
    match verdict {
        // Without a DISCONNECT (gateway API §4.2).
        Verdict::Limited => session.close_as_asked(),
        Verdict::BadStructure if on_failure == OnFailure::Disconnect => session.close(Close::Failed),
        Verdict::Taken | Verdict::BadData | Verdict::BadStructure | Verdict::Unresolved | Verdict::NoRoom => {
        }
    }
}

fn answer(session: &Session, child: &Child, request: &GatewayAttributeRequest) {
    if session.is_closing() {
        return;
    }
    let GatewayAttributeRequest { id, client_keys, shared_keys, .. } = request;
    let ingest = &session.worker.ingest;
    let found = ingest.attribute_response(&child.device, *id, client_keys, shared_keys);
    let Downlink::AttributeResponse { client, shared, .. } = found else { return };
    let payload: Bytes = if session.view().dialect.reads(Format::Profile) {
        proto::write_gateway_attribute_response(request, &client, &shared).into()
    } else {
        native::write_gateway_attribute_response(request, &client, &shared).into()
    };
    deliver::publish(session, ByteString::from_static(GATEWAY_ATTRIBUTES_RESPONSE), payload);
}

/// Tells that a device behind the gateway is let go. MQTT 3.1.1 has no word for it, and neither have gateways that may
/// speak JSON in a protobuf profile (gateway API §4.4).
fn let_go(session: &Session, device: &str) {
    let view = session.view();
    if session.is_closing()
        || matches!(session.line, Line::V3(_))
        || view.dialect.reads_json_too(Format::Profile)
    {
        return;
    }
    let payload: Bytes = if view.dialect.reads(Format::Profile) {
        proto::write_gateway_disconnect(device, RATE_EXCEEDED).into()
    } else {
        native::write_gateway_disconnect(device, RATE_EXCEEDED).into()
    };
    deliver::publish(session, ByteString::from_static(GATEWAY_DISCONNECT), payload);
}

/// Writes the latencies of a gateway's connectors, if there are some that have not been written for so long.
pub(crate) fn report(session: &Rc<Session>, every: Duration) {
    let Some(children) = session.children.get() else { return };
    let Some(before) = Instant::now().checked_sub(every) else { return };
    if !children.latencies.borrow().is_due(before) {
        return;
    }
    let body = UplinkBody::Telemetry(vec![children.latencies.borrow_mut().report()]);
    let decoded = Decoded { uplinks: vec![Uplink { child: None, body }], warnings: Vec::new() };
    let at = now();
    if limit::decoded(session, wireglot_device::Speaker::Own, &decoded, at).is_err() {
        return;
    }
    let (device, owed) = (&session.device, of_server(session));
    if let Err((error, _)) = session.worker.ingest.accept(device, at, None, decoded, None, owed) {
        tracing::debug!(device = %device.id(), %error, "The latencies of a gateway are not written.");
    }
}
