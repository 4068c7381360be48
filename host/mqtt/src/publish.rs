//! What a publish becomes: the four numbered steps of a message, and what happens when one of them fails.
//!
//! Nothing here waits: a message goes to the store with a note of what is owed for it, and the worker's driver hands
//! the note to `done` when the store has answered. A publish of any QoS takes the same path; QoS 0 is only told
//! nothing.

use std::num::NonZeroU16;
use std::rc::Rc;

use ntex_mqtt::QoS;
use wireglot_device::{AcceptError, Accepted, DeviceHandle, DeviceWorker, Outcome, Parts, Raw, Speaker};
use wireglot_model::{
    CodecStamp, DeadLetter, Decoded, Envelope, FailureStage, Fault, OnFailure, OtaKind, Timestamp,
};
use wireglot_route::{Family, Format, GATEWAY_PREFIX, Route, RouteError, uplink};

use crate::ack::{Ack, Close};
use crate::carried;
use crate::client_rpc::{self, Call};
use crate::gateway::Verdict;
use crate::profile::{ProfileView, Unread, family_of};
use crate::session::{Line, Session};
use crate::session_limits;
use crate::trace::{Seen, Told, Watch};
use crate::window::Delivery;
use crate::{children, gateway, limit, ota, sparkplug};
use wireglot_device::now;

/// A publish as it came in.
pub(crate) struct Incoming<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) qos: QoS,
    /// With QoS 1 and 2.
    pub(crate) id: Option<NonZeroU16>,
}

impl<'a> Incoming<'a> {
    /// As a profile that keeps its frames keeps it.
    pub(crate) fn raw(&self, view: &ProfileView, envelope: Option<Envelope>) -> Raw<'a> {
        Raw { profile: view.id(), topic: self.topic, payload: self.payload, envelope }
    }
}

/// What goes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// PUBACK.
    Acknowledged(NonZeroU16, Ack),
    /// PUBREC.
    Received(NonZeroU16, Ack),
    /// PUBREC of an exchange whose publish is kept already.
    ReceivedBefore(NonZeroU16),
}

/// A publish in flight, and what is owed for it. Dropping it frees its place in the session's window.
pub(crate) struct Owed {
    session: Rc<Session>,
    bytes: usize,
    qos: QoS,
    id: Option<NonZeroU16>,
    debt: Debt,
    /// What the device calls with it.
    calls: Vec<Call>,
    /// What a gateway is told besides.
    reply: Option<Box<gateway::Reply>>,
}

/// What a publish has come to, as soon as that is durable.
#[derive(Clone, Copy)]
enum Debt {
    /// Its message; what that asks for is answered in this family.
    Message(Family),
    DeadLetter(Fault, OnFailure),
    UnknownTopic,
    /// The request of a part of a package, which is on its way.
    Download,
    /// A network server's message that brings no frame.
    NoFrame,
    /// A QoS 2 exchange that is open already.
    Repeated,
    /// What the session may do, asked for with this request id.
    SessionLimits(i32),
    /// Nothing: it passed a rate limit.
    Limited,
    /// What a gateway said for others.
    Parts(Verdict, OnFailure),
    /// The death of an edge node, which takes its leave.
    Farewell,
}

impl Drop for Owed {
    fn drop(&mut self) {
        let session = &self.session;
        session.window.leave(self.bytes);
        session.facts.set_in_flight(session.window.count());
    }
}

/// Takes a publish. What it is answered goes through the session's line, in the order in which publishes came.
pub(crate) fn publish(session: &Rc<Session>, incoming: &Incoming<'_>) {
    if session.is_closing() {
        return;
    }
    if incoming.topic.contains(['+', '#']) {
        session.close(Close::Malformed);
        return;
    }
    let counters = &session.worker.counters;
    counters.publish_bytes.add(incoming.payload.len() as u64);
    let delivery = incoming.id.map_or(Delivery::New, |id| session.window.begin(incoming.qos, id));
    if delivery != Delivery::New {
        counters.publishes_repeated.count();
    }
    if delivery == Delivery::Running {
        return;
    }
    let bytes = incoming.topic.len() + incoming.payload.len();
    session.window.enter(bytes);
    session.facts.set_in_flight(session.window.count());
    let (qos, id) = (incoming.qos, incoming.id);
    let owed = Owed {
        session: session.clone(),
        bytes,
        qos,
        id,
        debt: Debt::Repeated,
        calls: Vec::new(),
        reply: None,
    };
    match &session.sparkplug {
        _ if delivery != Delivery::New => follow(session, owed),
        Some(node) => sparkplug::receive(session, node, incoming, owed),
        None => receive(session, incoming, owed),
    }
}

/// The path of one message; its end is in `done`.
fn receive(session: &Rc<Session>, incoming: &Incoming<'_>, mut owed: Owed) {
    let received = now();
    let view = session.view();
    if let Some(id) = session_limits::asked(&view, incoming) {
        owed.debt = Debt::SessionLimits(id);
        return follow(session, owed);
    }
    if limit::is_activity(incoming.topic) {
        session.hear(received);
    }
    if incoming.topic.starts_with(GATEWAY_PREFIX) && session.device.is_gateway() {
        return gateway::receive(session, &view, incoming, received, owed);
    }
    if let Some(wrapping) = view.wrapping_of(incoming.topic) {
        return carried::receive(session, &view, &wrapping, incoming, received, owed);
    }
    let route = uplink(&view.topics, incoming.topic); // 1
    receive_as(session, &view, route, incoming, received, owed);
}

/// Takes what a request of a device says; it knows what it means without a topic.
pub(crate) fn take_request(session: &Rc<Session>, incoming: &Incoming<'_>, route: Route) {
    session.worker.counters.publish_bytes.add(incoming.payload.len() as u64);
    let bytes = incoming.topic.len() + incoming.payload.len();
    session.window.enter(bytes);
    let (qos, id, debt) = (incoming.qos, incoming.id, Debt::Repeated);
    let mut owed = Owed { session: session.clone(), bytes, qos, id, debt, calls: Vec::new(), reply: None };
    let (received, view) = (now(), session.view());
    if let Some(id) = session_limits::asked(&view, incoming) {
        owed.debt = Debt::SessionLimits(id);
        return follow(session, owed);
    }
    match view.wrapping().filter(|_| route == Route::Telemetry(Format::Profile)) {
        Some(wrapping) => carried::receive(session, &view, &wrapping, incoming, received, owed),
        None => receive_as(session, &view, Ok(route), incoming, received, owed),
    }
}

/// The path of one message from its meaning on.
fn receive_as(
    session: &Rc<Session>,
    view: &ProfileView,
    route: Result<Route, RouteError>,
    incoming: &Incoming<'_>,
    received: Timestamp,
    mut owed: Owed,
) {
    let (device, worker) = (&session.device, &session.worker);
    let watch = Watch::begin(worker.ingest.bus());
    let failure = match read(session, view, route, incoming, received) {
        Ok((decoded, codec, family)) => {
            if limit::decoded(session, Speaker::Own, &decoded, received).is_err() {
                return refuse(session, owed);
            }
            owed.debt = Debt::Message(family);
            owed.calls = client_rpc::calls_in(&decoded);
            let raw = (view.keeps_raw && codec.is_some()).then(|| incoming.raw(view, None));
            let seen = watch.and_then(|watch| {
                let told = Told { device, view, incoming, received };
                watch.decoded(worker.ingest.bus(), &told, &decoded, codec.as_ref())
            });
            let children: Vec<String> =
                decoded.uplinks.iter().filter_map(|said| said.child.clone()).collect();
            let accepted = worker.ingest.accept(device, received, codec.as_ref(), decoded, raw, owed); // 3
            match accepted {
                Ok(()) => {
                    if !children.is_empty() {
                        children::meet_known(session, &children);
                    }
                    return Seen::tell(seen, worker.ingest.bus());
                }
                Err((error, back)) => {
                    owed = back;
                    Failure::not_accepted(&error, codec)
                }
            }
        }
        Err(failure) => failure,
    };
    match failure {
        Failure::UnknownTopic => {
            owed.debt = Debt::UnknownTopic;
            follow(session, owed);
        }
        Failure::Download { kind, chunk, bytes } => {
            if ota::is_first(session, incoming.topic, kind) && limit::message(session).is_err() {
                return refuse(session, owed);
            }
            owed.debt = Debt::Download;
            ota::request(&owed.session, incoming.topic, kind, chunk, bytes);
            follow(session, owed);
        }
        Failure::Unread(unread) => {
            if let Some(watch) = watch {
                let told = Told { device, view, incoming, received };
                watch.failed(worker.ingest.bus(), &told, &unread);
            }
            let on_failure = view.on_failure(incoming.qos);
            let sender = Sender { device, view, envelope: None, frame_received: received, on_failure };
            bury(session, &sender, incoming, received, unread, owed);
        }
    }
}

fn read(
    session: &Session,
    view: &ProfileView,
    route: Result<Route, RouteError>,
    incoming: &Incoming<'_>,
    received: Timestamp,
) -> Result<(Decoded, Option<CodecStamp>, Family), Failure> {
    let route = route?;
    if let Route::OtaChunk { kind, chunk } = route {
        return Err(Failure::Download { kind, chunk, bytes: ota::wanted_bytes(incoming.payload)? });
    }
    let (decoded, codec) = view.decode(route, incoming, received, session)?; // 2
    Ok((decoded, codec, family_of(route)))
}

/// Takes what a gateway said for others, whatever of it was taken.
pub(crate) fn take_parts(
    session: &Session,
    parts: Parts,
    verdict: Verdict,
    on_failure: OnFailure,
    reply: Option<gateway::Reply>,
    mut owed: Owed,
) {
    owed.debt = Debt::Parts(verdict, on_failure);
    owed.reply = reply.map(Box::new);
    if verdict == Verdict::Limited {
        session.window.shut();
    }
    if let Err((_, owed)) = session.worker.ingest.accept_parts(parts, owed) {
        fail(&owed);
    }
}

/// Takes a publish on a topic of gateways that means nothing.
pub(crate) fn take_unknown(session: &Session, mut owed: Owed) {
    owed.debt = Debt::UnknownTopic;
    follow(session, owed);
}

/// Takes the leave of an edge node: its session ends behind the acknowledgement.
pub(crate) fn take_farewell(session: &Session, mut owed: Owed) {
    owed.debt = Debt::Farewell;
    follow(session, owed);
}

/// What the server itself writes for the device of a session; nobody is answered.
pub(crate) fn of_server(session: &Rc<Session>) -> Owed {
    session.window.enter(0);
    let (qos, debt) = (QoS::AtMostOnce, Debt::Message(Family::V1));
    Owed { session: session.clone(), bytes: 0, qos, id: None, debt, calls: Vec::new(), reply: None }
}

/// Takes a network server's message that brings no frame.
pub(crate) fn skip(session: &Session, mut owed: Owed) {
    owed.debt = Debt::NoFrame;
    follow(session, owed);
}

/// Does not take a publish that passed a rate limit. The session ends behind the answers to what came before, and what
/// comes after is not read.
pub(crate) fn refuse(session: &Session, mut owed: Owed) {
    owed.debt = Debt::Limited;
    session.window.shut();
    follow(session, owed);
}

/// The same of what was said for another device, which may have been made for it.
pub(crate) fn refuse_of(session: &Session, device: &DeviceHandle, mut owed: Owed) {
    let mut parts = Parts::default();
    session.worker.ingest.add_device(&mut parts, device);
    session.window.shut();
    owed.debt = Debt::Limited;
    if let Err((_, owed)) = session.worker.ingest.accept_parts(parts, owed) {
        fail(&owed);
    }
}

/// Takes responsibility for the decoded frame of a carried device. What asks for an answer is not among it, as the way
/// back leads to the network server and not to the device.
pub(crate) fn take(
    session: &Session,
    device: &DeviceHandle,
    received: Timestamp,
    codec: &CodecStamp,
    decoded: Decoded,
    raw: Option<Raw<'_>>,
    mut owed: Owed,
) -> Result<(), (AcceptError, Owed)> {
    owed.debt = Debt::Message(Family::V1);
    session.worker.ingest.accept(device, received, Some(codec), decoded, raw, owed)
}

/// Answers a publish for which there is nothing to keep, after those that came before it.
fn follow(session: &Session, owed: Owed) {
    if let Err((_, owed)) = session.worker.ingest.follow(owed) {
        fail(&owed);
    }
}

/// The store has answered: pays what is owed for a publish.
pub(crate) fn done(mut owed: Owed, outcome: Outcome) {
    let Ok((proof, answers)) = outcome else { return fail(&owed) };
    let (calls, reply) = (std::mem::take(&mut owed.calls), owed.reply.take());
    let session = &owed.session;
    let verdict = pay(&owed, proof); // 4
    let is_qos_2 = owed.qos == QoS::ExactlyOnce;
    if let Some(id) = owed.id
        && !matches!(owed.debt, Debt::Repeated)
    {
        // In MQTT 5 a PUBREC with an error ends the exchange; MQTT 3.1.1 has none, so a PUBREL always follows.
        let is_taken = |ack: &Ack| ack.is_success() || matches!(session.line, Line::V3(_));
        session.window.end(id, is_qos_2 && verdict.as_ref().is_ok_and(is_taken));
    }
    match (verdict, owed.id, owed.debt) {
        (Err(close), _, _) => return session.close(close),
        (Ok(_), None, _) => {}
        (Ok(_), Some(id), Debt::Repeated) => session.answer(Answer::ReceivedBefore(id)),
        (Ok(ack), Some(id), _) if is_qos_2 => session.answer(Answer::Received(id, ack)),
        (Ok(ack), Some(id), _) => session.answer(Answer::Acknowledged(id, ack)),
    }
    match owed.debt {
        Debt::Message(family) => {
            crate::deliver::answer(session, family, &answers);
            client_rpc::answer(session, family, calls);
        }
        Debt::SessionLimits(id) => session_limits::answer(session, id),
        Debt::Parts(verdict, on_failure) => gateway::done(session, verdict, on_failure, reply),
        Debt::Farewell => session.close_as_asked(),
        Debt::DeadLetter(..)
        | Debt::UnknownTopic
        | Debt::NoFrame
        | Debt::Repeated
        | Debt::Download
        | Debt::Limited => {}
    }
}

/// What a publish is answered, now that what it has come to is durable.
fn pay(owed: &Owed, proof: Accepted) -> Result<Ack, Close> {
    let session = &owed.session;
    let counters = &session.worker.counters;
    let (fault, on_failure) = match owed.debt {
        Debt::Message(_) | Debt::Download | Debt::Farewell => {
            counters.publishes_accepted.count();
            return Ok(Ack::positive(proof));
        }
        Debt::Repeated | Debt::SessionLimits(_) => return Ok(Ack::positive(proof)),
        Debt::Limited => {
            counters.publishes_limited.count();
            return Err(Close::RateLimited);
        }
        Debt::NoFrame => {
            counters.publishes_without_frame.count();
            return Ok(Ack::positive(proof));
        }
        Debt::UnknownTopic => {
            counters.publishes_unknown_topic.count();
            return Ok(Ack::unknown_topic());
        }
        Debt::DeadLetter(fault, on_failure) => (fault, on_failure),
        Debt::Parts(verdict, on_failure) => match verdict {
            Verdict::Taken => {
                counters.publishes_accepted.count();
                return Ok(Ack::positive(proof));
            }
            Verdict::Limited => {
                counters.publishes_limited.count();
                return Ok(Ack::quota(proof));
            }
            Verdict::BadData => (Fault::Device, on_failure),
            Verdict::BadStructure | Verdict::Unresolved | Verdict::NoRoom => {
                counters.publishes_refused.count();
                return Ok(match (verdict, on_failure) {
                    (Verdict::BadStructure, OnFailure::Accept) => Ack::positive(proof),
                    (Verdict::BadStructure, OnFailure::Refuse | OnFailure::Disconnect) => {
                        Ack::bad_structure(proof)
                    }
                    (Verdict::NoRoom, _) => Ack::quota(proof),
                    (Verdict::Unresolved | Verdict::Taken | Verdict::Limited | Verdict::BadData, _) => {
                        Ack::unresolved(proof)
                    }
                });
            }
        },
    };
    match fault {
        Fault::Codec => counters.publishes_undecoded.count(),
        Fault::Device | Fault::Denied | Fault::Quota | Fault::Host => counters.publishes_refused.count(),
    }
    match (fault, on_failure) {
        (Fault::Codec, _) | (Fault::Device, OnFailure::Accept) => Ok(Ack::positive(proof)),
        (Fault::Device, OnFailure::Refuse) => Ok(Ack::bad_payload(proof)),
        (Fault::Device, OnFailure::Disconnect) => match (&session.line, owed.qos) {
            (Line::V5(_), QoS::AtLeastOnce | QoS::ExactlyOnce) | (Line::Desk(_), _) => {
                Ok(Ack::bad_payload(proof))
            }
            (Line::V5(_), QoS::AtMostOnce) | (Line::V3(_), _) => Err(Close::BadPayload),
        },
        (Fault::Denied, _) => Ok(Ack::denied(proof)),
        (Fault::Quota, _) => Ok(Ack::quota(proof)),
        (Fault::Host, _) => Err(Close::Failed),
    }
}

/// We could not do our part: the device keeps what was not acknowledged.
pub(crate) fn fail(owed: &Owed) {
    owed.session.worker.counters.publishes_failed.count();
    owed.session.close(Close::Failed);
}

/// Why a message did not get to its end.
enum Failure {
    UnknownTopic,
    /// It is no message: it asks for a part of a package of so many bytes.
    Download {
        kind: OtaKind,
        chunk: u32,
        bytes: u64,
    },
    Unread(Unread),
}

impl From<RouteError> for Failure {
    fn from(error: RouteError) -> Self {
        match error {
            RouteError::UnknownTopic => Failure::UnknownTopic,
            RouteError::InvalidId => Failure::Unread(Unread::refused(error)),
        }
    }
}

impl From<Unread> for Failure {
    fn from(unread: Unread) -> Self {
        Failure::Unread(unread)
    }
}

impl Failure {
    fn not_accepted(error: &AcceptError, codec: Option<CodecStamp>) -> Self {
        Failure::Unread(Unread::not_accepted(error, codec))
    }
}

/// Who said what cannot be used.
pub(crate) struct Sender<'a> {
    pub(crate) device: &'a DeviceHandle,
    /// By which it was read.
    pub(crate) view: &'a ProfileView,
    /// Around the frame.
    pub(crate) envelope: Option<Envelope>,
    /// When the frame was received, which a network server does before us.
    pub(crate) frame_received: Timestamp,
    /// As the connection's profile says.
    pub(crate) on_failure: OnFailure,
}

impl Sender<'_> {
    /// Puts what cannot be used among `parts`: as a dead letter, and as it came where the profile keeps frames so.
    pub(crate) fn bury_into(
        &self,
        ingest: &DeviceWorker<Owed>,
        parts: &mut Parts,
        incoming: &Incoming<'_>,
        received: Timestamp,
        unread: Unread,
    ) {
        let Unread { stage, codec, reason, .. } = unread;
        // Only frames for a codec are kept raw: what the built-in JSON refuses is not decoded again by a codec.
        if self.view.keeps_raw && (codec.is_some() || stage == FailureStage::NoCodec) {
            let raw = incoming.raw(self.view, self.envelope);
            ingest.add_raw(parts, self.device, self.frame_received, codec.as_ref(), raw);
        }
        let letter = DeadLetter {
            device: self.device.id(),
            device_name: self.device.name().as_ref().to_owned(),
            profile_id: self.view.id(),
            profile: self.view.name().to_owned(),
            topic: incoming.topic.to_owned(),
            payload: incoming.payload.to_vec(),
            envelope: self.envelope,
            received,
            // An envelope says it by itself.
            frame_received: Some(self.frame_received).filter(|at| self.envelope.is_none() && *at != received),
            codec,
            stage,
            reason,
        };
        ingest.add_letter(parts, letter, self.view.dead_letters);
    }
}

/// Ruling 11: what cannot be used is kept for the operator before it is answered.
pub(crate) fn bury(
    session: &Session,
    sender: &Sender<'_>,
    incoming: &Incoming<'_>,
    received: Timestamp,
    unread: Unread,
    owed: Owed,
) {
    let mut parts = Parts::default();
    session.worker.ingest.add_device(&mut parts, sender.device);
    bury_beside(session, parts, sender, incoming, received, unread, owed);
}

/// The same for what cannot be used of a message, beside the parts that can.
pub(crate) fn bury_beside(
    session: &Session,
    mut parts: Parts,
    sender: &Sender<'_>,
    incoming: &Incoming<'_>,
    received: Timestamp,
    unread: Unread,
    mut owed: Owed,
) {
    let (fault, ingest) = (unread.fault, &session.worker.ingest);
    if fault == Fault::Host {
        return fail(&owed);
    }
    session.line.explain(&unread.reason);
    sender.bury_into(ingest, &mut parts, incoming, received, unread);
    owed.debt = Debt::DeadLetter(fault, sender.on_failure);
    if let Err((_, owed)) = ingest.accept_parts(parts, owed) {
        fail(&owed);
    }
}
