//! What the server says to a device: from the mailbox or as an answer, through the profile's codec or as JSON, out.
//!
//! A device that does not read, or an MQTT 5 device that has not acknowledged as much as it asked for, makes its
//! downlinks wait here; more of them than `DEVICE_OUTBOX_MAX` end its session, because it asks again when it comes
//! back, while a gap would go unseen.

use std::collections::VecDeque;
use std::num::NonZeroU16;

use ntex::util::{ByteString, Bytes};
use ntex_mqtt::QoS;
use wireglot_codec::{Outgoing, native};
use wireglot_model::Downlink;
use wireglot_model::limits::{
    DEVICE_OUTBOX_MAX, DEVICE_UNACKNOWLEDGED_MAX, GATEWAY_OUTBOX_BYTES_MAX, RPCS_PENDING_PER_DEVICE_MAX,
};
use wireglot_route::{
    Family, attribute_response_topic, attribute_update_topic, rpc_request_topic, rpc_response_topic,
};

use crate::ack::Close;
use crate::protobuf;
use crate::rpc::Asked;
use crate::session::{Line, Publication, Session};
use crate::{children, client_rpc, desk, rpc, sparkplug};
use wireglot_device::now;

/// Delivers what came through the mailbox.
pub(crate) fn downlink(session: &Session, downlink: Downlink) {
    if let Line::Desk(line) = &session.line {
        return desk::downlink(session, line, &downlink);
    }
    let family = match &downlink {
        Downlink::Close(reason) => return session.close_from_elsewhere((*reason).into()),
        Downlink::AttributeUpdate(_) | Downlink::AttributeDelete(_) => {
            session.subscriptions.borrow().updates()
        }
        Downlink::AttributeResponse { .. } => Some(Family::V1),
        Downlink::RpcRequest { id, .. } => return rpc::deliver(session, *id, &downlink),
        Downlink::ClientRpcAnswer { ticket, payload, .. } => {
            return client_rpc::arrived(session, *ticket, payload.clone());
        }
    };
    // Only a subscription makes the interest (device API §2.6).
    if let Some(family) = family {
        match &session.sparkplug {
            None => send(session, family, &downlink),
            Some(node) => sparkplug::tell(session, node, None, session.device.id(), &downlink),
        }
    }
}

/// Delivers what a device's own message has asked for, right after its acknowledgement.
pub(crate) fn answer(session: &Session, family: Family, answers: &[Downlink]) {
    if session.is_closing() {
        return;
    }
    for answer in answers {
        send(session, family, answer);
    }
}

/// Sends a publish that is composed already, whether the device has subscribed or not.
pub(crate) fn publish(session: &Session, topic: ByteString, payload: Bytes) {
    push(session, vec![(topic, payload)], None);
}

/// Whether the device has taken all that it was sent.
pub(crate) fn has_taken(session: &Session) -> bool {
    !session.line.is_blocked() && session.outbox.borrow().waiting.is_empty()
}

/// Whether it also takes another publish now.
pub(crate) fn has_room(session: &Session) -> bool {
    has_taken(session) && !session.outbox.borrow().is_spent()
}

pub(crate) fn send(session: &Session, family: Family, downlink: &Downlink) {
    if let Line::Desk(line) = &session.line {
        return desk::tell(session, line, family, downlink);
    }
    match compose(session, family, downlink) {
        Ok(publishes) => push(session, publishes, None),
        Err(reason) => give_up(session, &reason),
    }
}

/// Puts publishes into the outbox; with the last of them the RPC of this request id is whole.
pub(crate) fn push(session: &Session, publishes: Vec<(ByteString, Bytes)>, call: Option<Asked>) {
    let mut is_full = false;
    let mut publishes = publishes.into_iter().peekable();
    let children = children::count(session);
    while let Some((topic, payload)) = publishes.next() {
        let qos = session.subscriptions.borrow().qos_of(&topic);
        let call = call.filter(|_| publishes.peek().is_none());
        is_full |= session.outbox.borrow_mut().push(topic, qos, payload, call, children).is_err();
    }
    flush(session);
    if is_full {
        session.close(Close::Quota);
    }
}

/// Writes as much of what waits as the device takes now.
pub(crate) fn flush(session: &Session) {
    let counters = &session.worker.counters;
    let next = || session.outbox.borrow_mut().next(session.line.is_blocked());
    while let Some(publication) = next() {
        let (id, call) = (publication.id, publication.call);
        match session.line.publish(publication) {
            Ok(()) => {
                counters.downlinks_sent.count();
                call.into_iter().for_each(|call| rpc::written(session, call, id));
            }
            // Larger than the device said it takes.
            Err(error) => {
                counters.downlinks_dropped.count();
                tracing::debug!(device = %session.device.id(), %error, "Downlink cannot be sent.");
                session.outbox.borrow_mut().acknowledge(id);
                call.into_iter().for_each(|call| rpc::unsendable(session, call));
            }
        }
    }
    session.downloads.wake();
}

/// The device has acknowledged a publish.
pub(crate) fn acknowledged(session: &Session, id: NonZeroU16) {
    let call = session.outbox.borrow_mut().acknowledge(Some(id));
    if let Some(call) = call {
        rpc::acknowledged(session, call);
    }
    flush(session);
}

/// A downlink as what is published for it, or why it cannot be.
pub(crate) fn compose(
    session: &Session,
    family: Family,
    downlink: &Downlink,
) -> Result<Vec<(ByteString, Bytes)>, String> {
    let worker = &session.worker;
    let default_topic = || match downlink {
        Downlink::AttributeResponse { id, .. } => ByteString::from(attribute_response_topic(family, *id)),
        Downlink::RpcRequest { id, .. } => ByteString::from(rpc_request_topic(family, *id)),
        Downlink::ClientRpcAnswer { id, .. } => ByteString::from(rpc_response_topic(family, *id)),
        Downlink::AttributeUpdate(_) | Downlink::AttributeDelete(_) | Downlink::Close(_) => {
            ByteString::from_static(attribute_update_topic(family))
        }
    };
    if matches!(downlink, Downlink::AttributeResponse { id, .. } if *id < 0) {
        // Acknowledged, but never answered (device API §11.2).
        return Ok(Vec::new());
    }
    let view = session.view();
    if let Some(codec) = view.codec_for(family.format()).filter(|codec| worker.encodes(codec)) {
        let name = session.name();
        match worker.codecs.encode(codec, downlink, &name, view.name(), now()) {
            Ok(frames) => {
                let topic = |topic: Option<String>| topic.map_or_else(default_topic, ByteString::from);
                let publish = |frame: Outgoing| (topic(frame.topic), frame.payload.into());
                return Ok(frames.into_iter().map(publish).collect());
            }
            Err(failure) => return Err(failure.reason),
        }
    }
    if view.dialect.writes(family) {
        let payload = protobuf::encode(view.schemas(), downlink)?;
        return Ok(payload.map(|payload| (default_topic(), payload.into())).into_iter().collect());
    }
    let json = match downlink {
        Downlink::AttributeUpdate(samples) => native::write_attribute_update(samples),
        Downlink::AttributeDelete(keys) => native::write_attribute_delete(keys),
        Downlink::AttributeResponse { client, shared, .. } => {
            native::write_attribute_response(client, shared)
        }
        Downlink::RpcRequest { id, method, params } => match &session.line {
            Line::V3(_) | Line::V5(_) => native::write_rpc_request(method, params),
            Line::Desk(_) => native::write_numbered_rpc_request(*id, method, params),
        },
        Downlink::ClientRpcAnswer { payload, .. } => payload.clone(),
        Downlink::Close(_) => return Ok(Vec::new()),
    };
    Ok(vec![(default_topic(), json.into())])
}

pub(crate) fn give_up(session: &Session, reason: &str) {
    session.worker.counters.downlinks_dropped.count();
    tracing::debug!(device = %session.device.id(), reason, "Downlink cannot be put into bytes.");
}

/// The publishes that wait for one device, and the packet ids of those it has not acknowledged.
pub(crate) struct Outbox {
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    last_id: u16,
    /// What an MQTT 5 device asked for. Without it, acknowledgements are not counted: a device that never sends any
    /// gets its downlinks all the same (device API §2.6).
    receive_max: Option<NonZeroU16>,
    unacknowledged: Vec<NonZeroU16>,
    /// RPCs whose acknowledgement somebody waits for, by the packet id of their last publish.
    calls: VecDeque<(NonZeroU16, Asked)>,
}

/// A publish that is not written yet, and the RPC that is whole with it.
struct Waiting {
    topic: ByteString,
    qos: QoS,
    payload: Bytes,
    call: Option<Asked>,
}

/// There is no room for another publish.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Full;

impl Outbox {
    pub(crate) fn new(receive_max: Option<NonZeroU16>) -> Self {
        // Every packet id in use would leave none for the next publish, and looking for one takes long before that.
        let bound = NonZeroU16::new(DEVICE_UNACKNOWLEDGED_MAX);
        Self {
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            last_id: 0,
            receive_max: receive_max.map(|max| bound.map_or(max, |bound| bound.min(max))),
            unacknowledged: Vec::new(),
            calls: VecDeque::new(),
        }
    }

    /// Each of the devices behind a gateway has room for one publish more.
    fn push(
        &mut self,
        topic: ByteString,
        qos: QoS,
        payload: Bytes,
        call: Option<Asked>,
        children: usize,
    ) -> Result<(), Full> {
        let is_roomy = children > 0 && self.waiting_bytes < GATEWAY_OUTBOX_BYTES_MAX;
        if self.waiting.len() >= DEVICE_OUTBOX_MAX + if is_roomy { children } else { 0 } {
            return Err(Full);
        }
        self.waiting_bytes += payload.len();
        self.waiting.push_back(Waiting { topic, qos, payload, call });
        Ok(())
    }

    /// Whether the device has to acknowledge something before it gets another publish of QoS 1.
    fn is_spent(&self) -> bool {
        self.receive_max.is_some_and(|max| self.unacknowledged.len() >= usize::from(max.get()))
    }

    fn next(&mut self, is_blocked: bool) -> Option<Publication> {
        let qos = self.waiting.front()?.qos;
        let is_counted = qos != QoS::AtMostOnce && self.receive_max.is_some();
        if is_blocked || (is_counted && self.is_spent()) {
            return None;
        }
        let Waiting { topic, payload, call, .. } = self.waiting.pop_front()?;
        self.waiting_bytes = self.waiting_bytes.saturating_sub(payload.len());
        let id = self.next_id();
        if is_counted {
            self.unacknowledged.push(id);
        }
        Some(Publication { topic, qos, id: (qos != QoS::AtMostOnce).then_some(id), payload, call })
    }

    /// One counter for all publishes of a connection, QoS 0 included; 0 is no packet id (device API §2.7).
    fn next_id(&mut self) -> NonZeroU16 {
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            if let Some(id) = NonZeroU16::new(self.last_id)
                && !self.unacknowledged.contains(&id)
            {
                return id;
            }
        }
    }

    /// The acknowledgement of this publish is that of an RPC. A device that never sends any makes the oldest go.
    pub(crate) fn expect(&mut self, id: NonZeroU16, call: Asked, children: usize) {
        self.calls.retain(|(other, _)| *other != id);
        if self.calls.len() >= RPCS_PENDING_PER_DEVICE_MAX + children {
            self.calls.pop_front();
        }
        self.calls.push_back((id, call));
    }

    /// Acknowledgements of unknown ids count for nothing (device API §2.6). Gives the RPC that this one is for.
    fn acknowledge(&mut self, id: Option<NonZeroU16>) -> Option<Asked> {
        if let Some(index) = self.unacknowledged.iter().position(|other| Some(*other) == id) {
            self.unacknowledged.swap_remove(index);
        }
        let index = self.calls.iter().position(|(other, _)| Some(*other) == id)?;
        self.calls.remove(index).map(|(_, call)| call)
    }
}

#[cfg(test)]
mod tests {
    use wireglot_model::DeviceId;

    use super::*;

    fn filled(receive_max: Option<u16>, count: usize) -> Outbox {
        let mut outbox = Outbox::new(receive_max.and_then(NonZeroU16::new));
        for _ in 0..count {
            outbox.push(ByteString::from_static("t"), QoS::AtLeastOnce, Bytes::new(), None, 0).unwrap();
        }
        outbox
    }

    fn sent(outbox: &mut Outbox) -> Vec<u16> {
        std::iter::from_fn(|| outbox.next(false)).map(|sent| sent.id.unwrap().get()).collect()
    }

    #[test]
    fn a_device_gets_no_more_than_it_asked_for() {
        let mut outbox = filled(Some(2), 3);
        assert_eq!(sent(&mut outbox), [1, 2]);
        outbox.acknowledge(NonZeroU16::new(9));
        assert_eq!(sent(&mut outbox), [0; 0], "an unknown id frees nothing");
        outbox.acknowledge(NonZeroU16::new(2));
        assert_eq!(sent(&mut outbox), [3]);
    }

    #[test]
    fn a_device_that_takes_more_than_there_are_packet_ids_is_bounded() {
        let mut outbox = Outbox::new(NonZeroU16::new(u16::MAX));
        for _ in 0..DEVICE_UNACKNOWLEDGED_MAX {
            outbox.push(ByteString::from_static("t"), QoS::AtLeastOnce, Bytes::new(), None, 0).unwrap();
            assert!(outbox.next(false).is_some());
        }
        outbox.push(ByteString::from_static("t"), QoS::AtLeastOnce, Bytes::new(), None, 0).unwrap();
        assert!(outbox.next(false).is_none());
        outbox.acknowledge(NonZeroU16::new(1));
        assert!(outbox.next(false).is_some());
    }

    #[test]
    fn a_device_that_asked_for_nothing_need_not_acknowledge() {
        assert_eq!(sent(&mut filled(None, DEVICE_OUTBOX_MAX)).len(), DEVICE_OUTBOX_MAX);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut outbox = filled(None, DEVICE_OUTBOX_MAX);
        let mut push = |children| {
            outbox.push(ByteString::from_static("t"), QoS::AtMostOnce, Bytes::new(), None, children)
        };
        assert_eq!(push(0), Err(Full));
        assert_eq!((push(1), push(1)), (Ok(()), Err(Full)), "one more for a device behind it");
        let mut outbox = Outbox::new(None);
        let payload = Bytes::from(vec![0; GATEWAY_OUTBOX_BYTES_MAX / DEVICE_OUTBOX_MAX + 1]);
        let mut push =
            || outbox.push(ByteString::from_static("t"), QoS::AtMostOnce, payload.clone(), None, 10_000);
        assert!((0..DEVICE_OUTBOX_MAX).all(|_| push().is_ok()));
        assert_eq!(push(), Err(Full), "what is large has no more room than a device's");
    }

    #[test]
    fn a_device_that_does_not_read_gets_nothing() {
        assert!(filled(None, 1).next(true).is_none());
    }

    #[test]
    fn the_acknowledgement_of_an_rpc_is_told_once() {
        let mut outbox = Outbox::new(None);
        let id = |id| NonZeroU16::new(id).unwrap();
        let device: DeviceId = "00000000-0000-0000-0000-000000000001".parse().unwrap();
        let asked = |id: i32| Asked { device, id };
        for call in 0..=RPCS_PENDING_PER_DEVICE_MAX as u16 {
            outbox.expect(id(call + 1), asked(call.into()), 0);
        }
        assert_eq!(outbox.acknowledge(Some(id(1))), None, "the oldest is forgotten");
        assert_eq!(outbox.acknowledge(Some(id(7))), Some(asked(6)));
        assert_eq!(outbox.acknowledge(Some(id(7))), None);
        outbox.expect(id(8), asked(70), 0);
        assert_eq!(outbox.acknowledge(Some(id(8))), Some(asked(70)), "the id has come around");
    }

    #[test]
    fn packet_id_0_is_never_used() {
        let mut outbox = Outbox::new(None);
        for _ in 0..=u32::from(u16::MAX) {
            outbox.push(ByteString::from_static("t"), QoS::AtLeastOnce, Bytes::new(), None, 0).unwrap();
            assert!(outbox.next(false).unwrap().id.is_some());
        }
    }
}
