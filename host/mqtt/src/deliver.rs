//! What the server says to a device: from the mailbox or as an answer, through the profile's codec or as JSON, out.
//!
//! A device that does not read, or an MQTT 5 device that has not acknowledged as much as it asked for, makes its
//! downlinks wait here; more of them than `DEVICE_OUTBOX_MAX` end its session, because it asks again when it comes
//! back, while a gap would go unseen.

use std::collections::VecDeque;
use std::num::NonZeroU16;

use ntex::util::{ByteString, Bytes};
use ntex_mqtt::QoS;
use wireglot_codec::native;
use wireglot_model::Downlink;
use wireglot_model::limits::DEVICE_OUTBOX_MAX;
use wireglot_route::{Family, attribute_response_topic, attribute_update_topic};

use crate::ack::Close;
use crate::protobuf;
use crate::session::{Publication, Session};
use wireglot_device::now;

/// Delivers what came through the mailbox.
pub(crate) fn downlink(session: &Session, downlink: Downlink) {
    let family = match &downlink {
        Downlink::Close(reason) => return session.close((*reason).into()),
        Downlink::AttributeUpdate(_) | Downlink::AttributeDelete(_) => {
            session.subscriptions.borrow().updates()
        }
        Downlink::AttributeResponse { .. } => Some(Family::V1),
    };
    // Only a subscription makes the interest (device API §2.6).
    if let Some(family) = family {
        send(session, family, &downlink);
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

fn send(session: &Session, family: Family, downlink: &Downlink) {
    let mut is_full = false;
    for (topic, payload) in compose(session, family, downlink) {
        let qos = session.subscriptions.borrow().qos_of(&topic);
        is_full |= session.outbox.borrow_mut().push(topic, qos, payload).is_err();
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
        let id = publication.id;
        match session.line.publish(publication) {
            Ok(()) => counters.downlinks_sent.count(),
            // Larger than the device said it takes.
            Err(error) => {
                counters.downlinks_dropped.count();
                tracing::debug!(device = %session.device.id(), %error, "Downlink cannot be sent.");
                session.outbox.borrow_mut().acknowledge(id);
            }
        }
    }
}

/// The device has acknowledged a publish.
pub(crate) fn acknowledged(session: &Session, id: NonZeroU16) {
    session.outbox.borrow_mut().acknowledge(Some(id));
    flush(session);
}

fn compose(session: &Session, family: Family, downlink: &Downlink) -> Vec<(ByteString, Bytes)> {
    let worker = &session.worker;
    let default_topic = || match downlink {
        Downlink::AttributeResponse { id, .. } => ByteString::from(attribute_response_topic(family, *id)),
        Downlink::AttributeUpdate(_) | Downlink::AttributeDelete(_) | Downlink::Close(_) => {
            ByteString::from_static(attribute_update_topic(family))
        }
    };
    if matches!(downlink, Downlink::AttributeResponse { id, .. } if *id < 0) {
        // Acknowledged, but never answered (device API §11.2).
        return Vec::new();
    }
    let view = session.view();
    if let Some(codec) = view.codec_for(family.format()).filter(|codec| worker.encodes(codec)) {
        let name = session.name();
        match worker.codecs.encode(codec, downlink, &name, view.name(), now()) {
            Ok(frames) => {
                let topic = |topic: Option<String>| topic.map_or_else(default_topic, ByteString::from);
                return frames.into_iter().map(|frame| (topic(frame.topic), frame.payload.into())).collect();
            }
            Err(failure) => return give_up(session, &failure.reason),
        }
    }
    if view.dialect.writes(family) {
        let payload = protobuf::encode(downlink).map(|payload| (default_topic(), payload.into()));
        return payload.into_iter().collect();
    }
    let json = match downlink {
        Downlink::AttributeUpdate(samples) => native::write_attribute_update(samples),
        Downlink::AttributeDelete(keys) => native::write_attribute_delete(keys),
        Downlink::AttributeResponse { client, shared, .. } => {
            native::write_attribute_response(client, shared)
        }
        Downlink::Close(_) => return Vec::new(),
    };
    vec![(default_topic(), json.into())]
}

fn give_up(session: &Session, reason: &str) -> Vec<(ByteString, Bytes)> {
    session.worker.counters.downlinks_dropped.count();
    tracing::debug!(device = %session.device.id(), reason, "Downlink cannot be put into bytes.");
    Vec::new()
}

/// The publishes that wait for one device, and the packet ids of those it has not acknowledged.
pub(crate) struct Outbox {
    waiting: VecDeque<(ByteString, QoS, Bytes)>,
    last_id: u16,
    /// What an MQTT 5 device asked for. Without it, acknowledgements are not counted: a device that never sends any
    /// gets its downlinks all the same (device API §2.6).
    receive_max: Option<NonZeroU16>,
    unacknowledged: Vec<NonZeroU16>,
}

/// There is no room for another publish.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Full;

impl Outbox {
    pub(crate) fn new(receive_max: Option<NonZeroU16>) -> Self {
        Self { waiting: VecDeque::new(), last_id: 0, receive_max, unacknowledged: Vec::new() }
    }

    fn push(&mut self, topic: ByteString, qos: QoS, payload: Bytes) -> Result<(), Full> {
        if self.waiting.len() >= DEVICE_OUTBOX_MAX {
            return Err(Full);
        }
        self.waiting.push_back((topic, qos, payload));
        Ok(())
    }

    fn next(&mut self, is_blocked: bool) -> Option<Publication> {
        let (_, qos, _) = self.waiting.front()?;
        let is_counted = *qos != QoS::AtMostOnce && self.receive_max.is_some();
        let is_spent =
            self.receive_max.is_some_and(|max| self.unacknowledged.len() >= usize::from(max.get()));
        if is_blocked || (is_counted && is_spent) {
            return None;
        }
        let (topic, qos, payload) = self.waiting.pop_front()?;
        let id = self.next_id();
        if is_counted {
            self.unacknowledged.push(id);
        }
        Some(Publication { topic, qos, id: (qos != QoS::AtMostOnce).then_some(id), payload })
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

    /// Acknowledgements of unknown ids count for nothing (device API §2.6).
    fn acknowledge(&mut self, id: Option<NonZeroU16>) {
        if let Some(index) = self.unacknowledged.iter().position(|other| Some(*other) == id) {
            self.unacknowledged.swap_remove(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(receive_max: Option<u16>, count: usize) -> Outbox {
        let mut outbox = Outbox::new(receive_max.and_then(NonZeroU16::new));
        for _ in 0..count {
            outbox.push(ByteString::from_static("t"), QoS::AtLeastOnce, Bytes::new()).unwrap();
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
    fn a_device_that_asked_for_nothing_need_not_acknowledge() {
        assert_eq!(sent(&mut filled(None, DEVICE_OUTBOX_MAX)).len(), DEVICE_OUTBOX_MAX);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut outbox = filled(None, DEVICE_OUTBOX_MAX);
        assert_eq!(outbox.push(ByteString::from_static("t"), QoS::AtMostOnce, Bytes::new()), Err(Full));
    }

    #[test]
    fn a_device_that_does_not_read_gets_nothing() {
        assert!(filled(None, 1).next(true).is_none());
    }

    #[test]
    fn packet_id_0_is_never_used() {
        let mut outbox = Outbox::new(None);
        for _ in 0..=u32::from(u16::MAX) {
            outbox.push(ByteString::from_static("t"), QoS::AtLeastOnce, Bytes::new()).unwrap();
            assert!(outbox.next(false).unwrap().id.is_some());
        }
    }
}
