//! MQTT 5: the version's packets to and from what `session.rs` and its neighbours know.

use std::collections::HashMap;
use std::num::NonZeroU16;
use std::rc::Rc;

use ntex::io::{Io, IoRef};
use ntex::util::ByteString;
use ntex_mqtt::QoS;
use ntex_mqtt::error::EncodeError;
use ntex_mqtt::v5::codec::{
    self, ConnectAck, Decoded, Disconnect, Encoded, Packet, PublishAck2, PublishAck2Reason, PublishAckReason,
    PublishProperties, SubscribeAckReason, UnsubscribeAckReason, UserProperties,
};
use wireglot_device::ConnectClaim;
use wireglot_model::limits::{IN_FLIGHT_MAX, PACKET_BYTES_MAX, SUBSCRIBE_FILTERS_MAX, TOPIC_ALIASES_MAX};

use crate::ack::Close;
use crate::connect::{Broken, KeepAlive, Refusal, WHOLE_PACKET_BYTES_MAX, admit};
use crate::converse::{Dialect, Next, converse, hang_up};
use crate::entrance::Visitor;
use crate::publish::{Answer, Incoming, publish};
use crate::session::{self, Client, Publication, Session};
use crate::sparkplug::{Opening, Will};
use crate::subscribe::Grant;
use crate::whole::Whole;
use crate::worker::Worker;
use crate::{children, deliver, limit, provision, rpc};
use wireglot_device::now;

/// Publishes that a client may have in flight; more are not refused, but not read either.
const RECEIVE_MAX: NonZeroU16 = NonZeroU16::new(IN_FLIGHT_MAX).expect("some publishes may be in flight");

/// The way to an MQTT 5 device.
pub(crate) struct Line {
    io: IoRef,
    /// It knows the device's packet limit.
    codec: codec::Codec,
}

impl Line {
    pub(crate) fn new<F>(io: &Io<F>, codec: &codec::Codec) -> Self {
        Self { io: io.get_ref(), codec: codec.clone() }
    }

    pub(crate) fn publish(&self, publication: Publication) -> Result<(), EncodeError> {
        let Publication { topic, qos, id, payload, .. } = publication;
        let payload_size = u32::try_from(payload.len()).map_err(|_| EncodeError::OverMaxPacketSize)?;
        let properties = PublishProperties::default();
        let packet =
            codec::Publish { dup: false, retain: false, qos, topic, packet_id: id, payload_size, properties };
        self.io.encode(Encoded::Publish(packet, Some(payload)), &self.codec)
    }

    pub(crate) fn answer(&self, answer: Answer) -> Result<(), EncodeError> {
        let packet = match answer {
            Answer::Acknowledged(packet_id, ack) => Packet::PublishAck(publish_ack(packet_id, ack.reason())),
            Answer::Received(packet_id, ack) => Packet::PublishReceived(publish_ack(packet_id, ack.reason())),
            Answer::ReceivedBefore(packet_id) => {
                Packet::PublishReceived(publish_ack(packet_id, PublishAckReason::Success))
            }
        };
        self.io.encode(Encoded::Packet(packet), &self.codec)
    }

    pub(crate) fn publish_bytes_max(&self) -> Option<u64> {
        let max = self.codec.max_outbound_size();
        (max != 0).then_some(u64::from(max))
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.io.is_wr_backpressure()
    }

    pub(crate) fn close(&self, reason: Option<Close>) {
        if let Some(reason) = reason {
            let packet = Packet::Disconnect(Disconnect::new(reason.reason()));
            // Two bytes; a device that takes no packet of that size is told nothing.
            let _unsaid = self.io.encode(Encoded::Packet(packet), &self.codec);
        }
        self.io.close();
    }
}

/// Serves a connection whose first packet is there, from its CONNECT to its end.
pub(crate) async fn serve<F>(worker: &Rc<Worker>, io: &Io<F>, visitor: Visitor) -> Result<(), Broken> {
    let codec = codec::Codec::new();
    codec.set_max_inbound_size(WHOLE_PACKET_BYTES_MAX);
    // A payload comes as a whole, with its header or right after it.
    codec.set_min_chunk_size(WHOLE_PACKET_BYTES_MAX + 1);
    // It is there as a whole: what ntex-mqtt would wait for now will never come.
    let Ok(Some(Decoded::Packet(Packet::Connect(packet), _))) = io.decode(&codec) else {
        return Err(Broken);
    };
    codec.set_max_outbound_size(packet.max_packet_size.map_or(0, std::num::NonZero::get));
    if packet.auth_method.is_none() && provision::is_asked(&packet.client_id, packet.username.as_deref()) {
        let keep_alive = KeepAlive::of(packet.keep_alive, worker.session_inactivity_s());
        let (address, receive_max) = (visitor.address, packet.receive_max);
        let guest = provision::v5::serve(worker, io, &codec, keep_alive, address, receive_max);
        // Boxed, so that a device's connection is not as large as one that provisions.
        return Box::pin(guest).await;
    }
    let claim = ConnectClaim {
        client_id: &packet.client_id,
        user_name: packet.username.as_deref(),
        password: packet.password.as_deref(),
    };
    let will = packet.last_will.as_ref().map(|will| Will {
        topic: &will.topic,
        payload: &will.message,
        qos: will.qos,
        is_retained: will.retain,
    });
    let opening = Opening { will, is_clean: visitor.is_clean };
    let admitted = match &packet.auth_method {
        Some(_) => Err(Refusal::AuthenticationMethod),
        None => admit(worker, &visitor, &claim, &opening).await,
    };
    let admitted = match admitted {
        Ok(admitted) => admitted,
        Err(refusal) => return refuse(worker, io, refusal).await,
    };
    let keep_alive = KeepAlive::of(packet.keep_alive, worker.session_inactivity_s());
    // Said are the limits of packets, publishes in flight and topic aliases, a keep alive and an expiry where the client's
    // would not do, and what does not work at all. Other true properties make some clients refuse what works (device API
    // §2.2).
    let does_expire = packet.session_expiry_interval_secs == 0;
    let ack = ConnectAck {
        receive_max: RECEIVE_MAX,
        session_expiry_interval_secs: (!does_expire).then_some(0),
        subscription_identifiers_available: false,
        max_packet_size: Some(WHOLE_PACKET_BYTES_MAX),
        topic_alias_max: TOPIC_ALIASES_MAX,
        server_keepalive_sec: keep_alive.announced_s,
        ..ConnectAck::default()
    };
    let line = session::Line::V5(Line::new(io, &codec));
    let client = Client::new(io, &visitor, &packet.client_id, "5");
    let owner = Session::begin(worker, admitted, client, line, keep_alive, packet.receive_max);
    drop((packet, visitor));
    io.encode(Encoded::Packet(Packet::ConnectAck(Box::new(ack))), &codec).map_err(|_| Broken)?;
    converse(io, &codec, &owner, V5 { whole: Whole::new(), aliases: HashMap::new(), does_expire }).await;
    Ok(())
}

pub(crate) async fn refuse<F>(worker: &Worker, io: &Io<F>, refusal: Refusal) -> Result<(), Broken> {
    worker.counters.connects_refused.count();
    let reason_string = refusal.reason_string().map(ByteString::from);
    let ack = ConnectAck { reason_code: refusal.v5_reason(), reason_string, ..ConnectAck::default() };
    let ack = Box::new(ack);
    let written = io.encode(Encoded::Packet(Packet::ConnectAck(ack)), &codec::Codec::new());
    // DISCONNECT, two bytes, the reason, no properties. Written by hand: ntex-mqtt knows only the codes of MQTT 5.
    let said = io.encode_slice(&[0xE0, 0x02, refusal.v5_disconnect(), 0x00]);
    hang_up(io).await;
    if written.is_ok() && said.is_ok() { Ok(()) } else { Err(Broken) }
}

/// The packets of one session.
struct V5 {
    whole: Whole<codec::Publish>,
    aliases: HashMap<NonZeroU16, ByteString>,
    /// The client asked for a session that ends with its connection.
    does_expire: bool,
}

impl Dialect for V5 {
    type Codec = codec::Codec;

    fn hear(&mut self, session: &Rc<Session>, packet: Decoded) -> Next<Encoded> {
        let publish = match packet {
            Decoded::Publish(head, payload, size) => {
                let announced = head.payload_size;
                self.whole.begin(head, announced, payload, size)
            }
            Decoded::PayloadChunk(payload, is_last) => self.whole.end(payload, is_last),
            // MQTT 5, 3.14.2.2.2: whoever asked for no session beyond the connection cannot ask for one now.
            Decoded::Packet(Packet::Disconnect(farewell), _)
                if self.does_expire
                    && farewell.session_expiry_interval_secs.is_some_and(|seconds| seconds > 0) =>
            {
                Err(Close::ProtocolError)
            }
            Decoded::Packet(Packet::Disconnect(_), _) => return Next::Farewell,
            Decoded::Packet(_, size) if size as usize > PACKET_BYTES_MAX => Err(Close::Malformed),
            Decoded::Packet(packet, _) => {
                session.hear(now());
                return reply(session, packet).map_or(Next::Packet, |answer| Next::Answer(answer.into()));
            }
        };
        match publish {
            Ok(Some((packet, payload))) => self.take(session, packet, &payload),
            Ok(None) => {}
            Err(close) => session.close(close),
        }
        Next::Packet
    }
}

impl V5 {
    fn take(&mut self, session: &Rc<Session>, packet: codec::Publish, payload: &[u8]) {
        let topic = match packet.properties.topic_alias {
            None => Some(packet.topic),
            Some(alias) => self.resolve(session, alias, packet.topic),
        };
        if let Some(topic) = topic {
            let incoming = Incoming { topic: &topic, payload, qos: packet.qos, id: packet.packet_id };
            publish(session, &incoming);
        }
    }

    /// The topic that is meant. An alias that stands for nothing leaves the topic empty, which means nothing to
    /// anybody and is answered like every unknown topic (device API §2.10).
    fn resolve(&mut self, session: &Session, alias: NonZeroU16, topic: ByteString) -> Option<ByteString> {
        if alias.get() > TOPIC_ALIASES_MAX {
            session.close(Close::TopicAlias);
            return None;
        }
        if topic.is_empty() {
            return Some(self.aliases.get(&alias).cloned().unwrap_or_default());
        }
        // A copy of its own: a slice would keep the whole read buffer alive.
        self.aliases.insert(alias, ByteString::from(topic.as_str()));
        Some(topic)
    }
}

fn reply(session: &Session, packet: Packet) -> Option<Packet> {
    match packet {
        Packet::PingRequest => {
            children::hear_all(session);
            return Some(Packet::PingResponse);
        }
        Packet::PublishAck(ack) => deliver::acknowledged(session, ack.packet_id),
        Packet::PublishRelease(publish) => return Some(release(session, publish.packet_id)),
        Packet::Subscribe(packet) => return subscribe(session, &packet),
        Packet::Unsubscribe(packet) => return unsubscribe(session, &packet),
        // Nothing is sent with QoS 2, so there is nothing that these could answer.
        Packet::PublishReceived(_) | Packet::PublishComplete(_) => {}
        Packet::Connect(_)
        | Packet::ConnectAck(_)
        | Packet::SubscribeAck(_)
        | Packet::UnsubscribeAck(_)
        | Packet::PingResponse
        | Packet::Disconnect(_)
        | Packet::Auth(_) => session.close(Close::ProtocolError),
    }
    None
}

fn release(session: &Session, packet_id: NonZeroU16) -> Packet {
    let reason_code = if session.window.release(packet_id) {
        PublishAck2Reason::Success
    } else {
        PublishAck2Reason::PacketIdNotFound
    };
    let properties = UserProperties::default();
    Packet::PublishComplete(PublishAck2 { packet_id, reason_code, properties, reason_string: None })
}

fn subscribe(session: &Session, packet: &codec::Subscribe) -> Option<Packet> {
    if packet.topic_filters.is_empty() {
        session.close(Close::ProtocolError);
        return None;
    }
    let view = session.view();
    let mut subscriptions = session.subscriptions.borrow_mut();
    let status = packet.topic_filters.iter().enumerate().map(|(index, (filter, options))| {
        if index >= SUBSCRIBE_FILTERS_MAX {
            return SubscribeAckReason::QuotaExceeded;
        }
        match limit::subscribe(session, &mut subscriptions, &view.topics, filter, options.qos) {
            Grant::Granted(QoS::AtMostOnce) => SubscribeAckReason::GrantedQos0,
            Grant::Granted(QoS::AtLeastOnce | QoS::ExactlyOnce) => SubscribeAckReason::GrantedQos1,
            Grant::Refused => SubscribeAckReason::TopicFilterInvalid,
            Grant::TooMany => SubscribeAckReason::QuotaExceeded,
        }
    });
    let status = status.collect();
    drop(subscriptions);
    rpc::note_interest(session);
    Some(Packet::SubscribeAck(codec::SubscribeAck {
        packet_id: packet.packet_id,
        properties: UserProperties::default(),
        reason_string: None,
        status,
    }))
}

fn unsubscribe(session: &Session, packet: &codec::Unsubscribe) -> Option<Packet> {
    if packet.topic_filters.is_empty() {
        session.close(Close::ProtocolError);
        return None;
    }
    let mut subscriptions = session.subscriptions.borrow_mut();
    let status = packet.topic_filters.iter().map(|filter| {
        if limit::unsubscribe(session, &mut subscriptions, filter) {
            UnsubscribeAckReason::Success
        } else {
            UnsubscribeAckReason::NoSubscriptionExisted
        }
    });
    let status = status.collect();
    drop(subscriptions);
    rpc::note_interest(session);
    Some(Packet::UnsubscribeAck(codec::UnsubscribeAck {
        packet_id: packet.packet_id,
        properties: UserProperties::default(),
        reason_string: None,
        status,
    }))
}

fn publish_ack(packet_id: NonZeroU16, reason_code: PublishAckReason) -> codec::PublishAck {
    codec::PublishAck { packet_id, reason_code, properties: UserProperties::default(), reason_string: None }
}
