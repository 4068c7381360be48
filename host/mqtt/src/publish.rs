//! What a publish becomes: the four numbered lines of `walk`, and what happens when one of them fails.
//!
//! Nothing here waits but for the commit. A publish of any QoS takes the same path; QoS 0 is only told nothing.

use std::num::NonZeroU16;

use ntex_mqtt::QoS;
use wireglot_device::AcceptError;
use wireglot_model::{CodecStamp, DeadLetter, FailureStage, Fault, OnFailure, Timestamp};
use wireglot_route::{RouteError, uplink};

use crate::ack::{Ack, Close};
use crate::profile::{ProfileView, Unread, family_of};
use crate::session::{Line, Session};
use crate::window::Delivery;
use wireglot_device::now;

/// A publish as it came in.
pub(crate) struct Incoming<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) qos: QoS,
    /// With QoS 1 and 2.
    pub(crate) id: Option<NonZeroU16>,
}

/// What goes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    Nothing,
    PubAck(NonZeroU16, Ack),
    PubRec(NonZeroU16, Ack),
    /// PUBREC of an exchange whose publish is kept already.
    PubRecAgain(NonZeroU16),
}

/// Takes a publish, stores what it says and says what goes back. A session that must end has been closed.
pub(crate) async fn publish(session: &Session, incoming: Incoming<'_>) -> Answer {
    if session.is_closing() {
        return Answer::Nothing;
    }
    if incoming.topic.contains(['+', '#']) {
        session.close(Close::Malformed);
        return Answer::Nothing;
    }
    let counters = &session.worker.counters;
    counters.publish_bytes.add(incoming.payload.len() as u64);
    let _place = session.window.enter(incoming.topic.len() + incoming.payload.len());
    let Some(id) = incoming.id else {
        if let Err(close) = receive(session, &incoming).await {
            session.close(close);
        }
        return Answer::Nothing;
    };
    match session.window.begin(incoming.qos, id) {
        Delivery::New => {}
        Delivery::Running => {
            counters.publishes_repeated.count();
            return Answer::Nothing;
        }
        Delivery::Received => {
            counters.publishes_repeated.count();
            return Answer::PubRecAgain(id);
        }
    }
    let outcome = receive(session, &incoming).await;
    let is_qos_2 = incoming.qos == QoS::ExactlyOnce;
    // In MQTT 5 a PUBREC with an error ends the exchange; MQTT 3.1.1 has none, so a PUBREL always follows.
    let is_taken = |ack: &Ack| ack.is_success() || matches!(session.line, Line::V3(_));
    session.window.end(id, is_qos_2 && outcome.as_ref().is_ok_and(is_taken));
    match outcome {
        Ok(ack) if is_qos_2 => Answer::PubRec(id, ack),
        Ok(ack) => Answer::PubAck(id, ack),
        Err(close) => {
            session.close(close);
            Answer::Nothing
        }
    }
}

async fn receive(session: &Session, incoming: &Incoming<'_>) -> Result<Ack, Close> {
    let received = now();
    let view = session.view();
    match walk(session, &view, incoming, received).await {
        Ok(ack) => {
            session.worker.counters.publishes_accepted.count();
            Ok(ack)
        }
        Err(Failure::UnknownTopic) => {
            session.worker.counters.publishes_unknown_topic.count();
            Ok(Ack::unknown_topic())
        }
        Err(Failure::Unread(unread)) => bury(session, &view, incoming, received, unread).await,
    }
}

/// The path of one message.
async fn walk(
    session: &Session,
    view: &ProfileView,
    incoming: &Incoming<'_>,
    received: Timestamp,
) -> Result<Ack, Failure> {
    let (device, worker) = (&session.device, &session.worker);
    let route = uplink(&view.topics, incoming.topic)?; // 1
    let (decoded, codec) = view.decode(route, incoming, received, device, worker)?; // 2
    let accepted = worker.ingest.accept(device, received, codec.as_ref(), decoded).await; // 3
    let (accepted, answers) = accepted.map_err(|error| Failure::not_accepted(&error, codec))?;
    if !answers.is_empty() {
        crate::deliver::answer(session, family_of(route), answers);
    }
    Ok(Ack::positive(accepted)) // 4
}

/// Why a message did not get to its end.
enum Failure {
    UnknownTopic,
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
        Failure::Unread(Unread {
            fault: error.fault(),
            stage: FailureStage::NotAccepted,
            codec,
            reason: error.to_string(),
        })
    }
}

/// Ruling 11: what cannot be used is kept for the operator before it is answered.
async fn bury(
    session: &Session,
    view: &ProfileView,
    incoming: &Incoming<'_>,
    received: Timestamp,
    unread: Unread,
) -> Result<Ack, Close> {
    let counters = &session.worker.counters;
    let Unread { fault, stage, codec, reason } = unread;
    if fault == Fault::Host {
        counters.publishes_failed.count();
        return Err(Close::Failed);
    }
    let letter = DeadLetter {
        device: session.device.id(),
        device_name: session.device.name().as_ref().to_owned(),
        profile: view.name().to_owned(),
        topic: incoming.topic.to_owned(),
        payload: incoming.payload.to_vec(),
        received,
        codec,
        stage,
        reason,
    };
    let Ok(buried) = session.worker.ingest.bury(letter).await else {
        counters.publishes_failed.count();
        return Err(Close::Failed);
    };
    match fault {
        Fault::Codec => counters.publishes_undecoded.count(),
        Fault::Device | Fault::Denied | Fault::Quota | Fault::Host => counters.publishes_refused.count(),
    }
    match (fault, view.on_failure) {
        (Fault::Codec, _) | (Fault::Device, OnFailure::Accept) => Ok(Ack::positive(buried)),
        (Fault::Device, OnFailure::Refuse) => Ok(Ack::bad_payload(buried)),
        (Fault::Device, OnFailure::Disconnect) => match (&session.line, incoming.qos) {
            (Line::V5(_), QoS::AtLeastOnce | QoS::ExactlyOnce) => Ok(Ack::bad_payload(buried)),
            (Line::V5(_), QoS::AtMostOnce) | (Line::V3(_), _) => Err(Close::BadPayload),
        },
        (Fault::Denied, _) => Ok(Ack::denied(buried)),
        (Fault::Quota, _) => Ok(Ack::quota(buried)),
        (Fault::Host, _) => Err(Close::Failed),
    }
}
