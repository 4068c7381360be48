//! MQTT 5: the version's packets to and from what `session.rs` and its neighbours know.
//!
//! ntex-mqtt decodes, keeps answers in order and times silence; its packet dispatcher is not used, see `dispatch`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::num::NonZeroU16;
use std::rc::Rc;

use ntex::io::IoRef;
use ntex::service::cfg::SharedCfg;
use ntex::service::{Middleware, Service, ServiceCtx, ServiceFactory};
use ntex::util::{ByteString, Bytes};
use ntex_mqtt::error::{DispatcherError, EncodeError};
use ntex_mqtt::v5::codec::{
    self, ConnectAck, Decoded, Disconnect, Encoded, Packet, PublishAck2, PublishAck2Reason, PublishAckReason,
    PublishProperties, SubscribeAckReason, UnsubscribeAckReason, UserProperties,
};
use ntex_mqtt::v5::{Handshake, HandshakeAck, MqttSink};
use ntex_mqtt::{Control, QoS, Session as NtexSession};
use wireglot_device::ConnectClaim;
use wireglot_model::limits::{PACKET_BYTES_MAX, SUBSCRIBE_FILTERS_MAX, TOPIC_ALIASES_MAX};

use crate::ack::Close;
use crate::connect::{KeepAlive, Refusal, admit};
use crate::deliver;
use crate::dispatch::{Ended, finish, hang_up};
use crate::publish::{Answer, Incoming, publish};
use crate::session::{self, Owner, Publication, Session};
use crate::subscribe::Grant;
use crate::worker::Worker;

/// The way to an MQTT 5 device.
pub(crate) struct Line {
    io: IoRef,
    /// ntex-mqtt's own sink wants acknowledgements in order; this one only knows the device's packet limit.
    codec: codec::Codec,
    sink: MqttSink,
}

impl Line {
    pub(crate) fn publish(&self, publication: Publication) -> Result<(), EncodeError> {
        let Publication { topic, qos, id, payload } = publication;
        let payload_size = u32::try_from(payload.len()).map_err(|_| EncodeError::OverMaxPacketSize)?;
        let properties = PublishProperties::default();
        let packet =
            codec::Publish { dup: false, retain: false, qos, topic, packet_id: id, payload_size, properties };
        self.io.encode(Encoded::Publish(packet, Some(payload)), &self.codec)
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.io.is_wr_backpressure()
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.io.is_closed()
    }

    pub(crate) fn unread_bytes(&self) -> usize {
        self.io.with_read_src_buf(|buffer| buffer.len())
    }

    pub(crate) fn close(&self, reason: Option<Close>) {
        match reason {
            Some(reason) => self.sink.close_with_reason(Disconnect::new(reason.reason())),
            None => self.sink.close_with_no_reason(),
        }
    }
}

/// CONNECT to CONNACK.
pub(crate) async fn connect(worker: Rc<Worker>, handshake: Handshake) -> Result<HandshakeAck<Owner>, Ended> {
    let packet = handshake.packet();
    let claim = ConnectClaim {
        client_id: &packet.client_id,
        user_name: packet.username.as_deref(),
        password: packet.password.as_deref(),
    };
    let keep_alive = KeepAlive::of(packet.keep_alive);
    let receive_max = packet.receive_max;
    let admitted = match &packet.auth_method {
        Some(_) => Err(Refusal::AuthenticationMethod),
        None => admit(&worker, &claim),
    };
    let admitted = match admitted {
        Ok(admitted) => admitted,
        Err(refusal) => return Err(refuse(&worker, &handshake, refusal).await),
    };
    let codec = codec::Codec::default();
    codec.set_max_outbound_size(packet.max_packet_size.map_or(0, std::num::NonZero::get));
    let line = Line { io: handshake.io().get_ref(), codec, sink: handshake.sink() };
    let owner = Session::begin(&worker, admitted, session::Line::V5(line), keep_alive, receive_max);
    // Said are only the packet limit (ntex-mqtt drops its own limit without it), topic aliases, and a keep alive
    // where the client's would not do. Other true properties make some clients refuse what works (device API §2.2).
    let ack = handshake.ack(owner).keep_alive(keep_alive.timeout_s);
    Ok(ack.with(|ack| ack.server_keepalive_sec = keep_alive.announced_s))
}

async fn refuse(worker: &Worker, handshake: &Handshake, refusal: Refusal) -> Ended {
    worker.counters.connects_refused.count();
    tracing::debug!(?refusal, "Login refused.");
    let ack = Box::new(ConnectAck { reason_code: refusal.v5_reason(), ..ConnectAck::default() });
    let io = handshake.io();
    let written = io.encode(Encoded::Packet(Packet::ConnectAck(ack)), &codec::Codec::default());
    // DISCONNECT, two bytes, the reason, no properties. Written by hand: ntex-mqtt knows only the codes of MQTT 5.
    let said = io.encode_slice(&[0xE0, 0x02, refusal.v5_disconnect(), 0x00]);
    hang_up(io, written.is_ok() && said.is_ok()).await
}

/// Puts `Dispatch` in the place of ntex-mqtt's packet dispatcher.
pub(crate) struct Dispatching;

impl<S> Middleware<S, (SharedCfg, NtexSession<MqttSink, Owner>)> for Dispatching {
    type Service = Dispatch;

    fn create(&self, _: S, (_, session): (SharedCfg, NtexSession<MqttSink, Owner>)) -> Dispatch {
        Dispatch { owner: (*session).clone(), partial: RefCell::default(), aliases: RefCell::default() }
    }
}

/// The packets of one session.
pub(crate) struct Dispatch {
    owner: Owner,
    /// A publish whose payload is still on the way.
    partial: RefCell<Option<codec::Publish>>,
    aliases: RefCell<HashMap<NonZeroU16, ByteString>>,
}

impl Service<Decoded> for Dispatch {
    type Response = Option<Encoded>;
    type Error = DispatcherError<Ended>;

    async fn ready(&self, _: ServiceCtx<'_, Self>) -> Result<(), Self::Error> {
        self.owner.session().ready().await;
        Ok(())
    }

    async fn call(&self, packet: Decoded, _: ServiceCtx<'_, Self>) -> Result<Self::Response, Self::Error> {
        let session = self.owner.session();
        Ok(match packet {
            Decoded::Publish(packet, payload, size) => {
                if size as usize > PACKET_BYTES_MAX || packet.payload_size > size {
                    session.close(Close::Malformed);
                    None
                } else if packet.payload_size as usize > payload.len() {
                    *self.partial.borrow_mut() = Some(packet);
                    None
                } else {
                    self.publish(packet, payload).await
                }
            }
            Decoded::PayloadChunk(payload, is_last) => match self.partial.take() {
                Some(packet) if is_last => self.publish(packet, payload).await,
                Some(_) | None => {
                    session.close(Close::Malformed);
                    None
                }
            },
            Decoded::Packet(packet, size) => self.packet(packet, size).await.map(Encoded::Packet),
        })
    }
}

impl Dispatch {
    async fn publish(&self, packet: codec::Publish, payload: Bytes) -> Option<Encoded> {
        let topic = match packet.properties.topic_alias {
            None => packet.topic,
            Some(alias) => self.resolve(alias, packet.topic)?,
        };
        let incoming = Incoming { topic: &topic, payload: &payload, qos: packet.qos, id: packet.packet_id };
        let packet = match publish(self.owner.session(), incoming).await {
            Answer::Nothing => return None,
            Answer::PubAck(packet_id, ack) => Packet::PublishAck(publish_ack(packet_id, ack.reason())),
            Answer::PubRec(packet_id, ack) => Packet::PublishReceived(publish_ack(packet_id, ack.reason())),
            Answer::PubRecAgain(packet_id) => {
                Packet::PublishReceived(publish_ack(packet_id, PublishAckReason::Success))
            }
        };
        Some(Encoded::Packet(packet))
    }

    /// The topic that is meant. An alias that stands for nothing leaves the topic empty, which means nothing to
    /// anybody and is answered like every unknown topic (device API §2.10).
    fn resolve(&self, alias: NonZeroU16, topic: ByteString) -> Option<ByteString> {
        if alias.get() > TOPIC_ALIASES_MAX {
            self.owner.session().close(Close::TopicAlias);
            return None;
        }
        let mut aliases = self.aliases.borrow_mut();
        if topic.is_empty() {
            return Some(aliases.get(&alias).cloned().unwrap_or_default());
        }
        // A copy of its own: a slice would keep the whole read buffer alive.
        aliases.insert(alias, ByteString::from(topic.as_str()));
        Some(topic)
    }

    async fn packet(&self, packet: Packet, size: u32) -> Option<Packet> {
        let session = self.owner.session();
        if session.is_closing() {
            return None;
        }
        if size as usize > PACKET_BYTES_MAX {
            session.close(Close::Malformed);
            return None;
        }
        match packet {
            Packet::PingRequest => return Some(Packet::PingResponse),
            Packet::PublishAck(ack) => deliver::acknowledged(session, ack.packet_id),
            Packet::PublishRelease(release) => return Some(self.release(release.packet_id)),
            Packet::Subscribe(packet) => return self.subscribe(&packet),
            Packet::Unsubscribe(packet) => return self.unsubscribe(&packet),
            Packet::Disconnect(_) => {
                // What came before it is finished first, although nobody hears the answers any more.
                session.window.idle().await;
                session.close_as_asked();
            }
            // Nothing is sent with QoS 2, so there is nothing that these could answer.
            Packet::PublishReceived(_) | Packet::PublishComplete(_) => {}
            Packet::Connect(_)
            | Packet::ConnectAck(_)
            | Packet::SubscribeAck(_)
            | Packet::UnsubscribeAck(_)
            | Packet::PingResponse
            | Packet::Auth(_) => session.close(Close::ProtocolError),
        }
        None
    }

    fn release(&self, packet_id: NonZeroU16) -> Packet {
        let reason_code = if self.owner.session().window.release(packet_id) {
            PublishAck2Reason::Success
        } else {
            PublishAck2Reason::PacketIdNotFound
        };
        let properties = UserProperties::default();
        Packet::PublishComplete(PublishAck2 { packet_id, reason_code, properties, reason_string: None })
    }

    fn subscribe(&self, packet: &codec::Subscribe) -> Option<Packet> {
        let session = self.owner.session();
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
            match subscriptions.subscribe(&view.topics, filter, options.qos) {
                Grant::Granted(QoS::AtMostOnce) => SubscribeAckReason::GrantedQos0,
                Grant::Granted(QoS::AtLeastOnce | QoS::ExactlyOnce) => SubscribeAckReason::GrantedQos1,
                Grant::Refused => SubscribeAckReason::TopicFilterInvalid,
                Grant::TooMany => SubscribeAckReason::QuotaExceeded,
            }
        });
        Some(Packet::SubscribeAck(codec::SubscribeAck {
            packet_id: packet.packet_id,
            properties: UserProperties::default(),
            reason_string: None,
            status: status.collect(),
        }))
    }

    fn unsubscribe(&self, packet: &codec::Unsubscribe) -> Option<Packet> {
        let session = self.owner.session();
        if packet.topic_filters.is_empty() {
            session.close(Close::ProtocolError);
            return None;
        }
        let mut subscriptions = session.subscriptions.borrow_mut();
        let status = packet.topic_filters.iter().map(|filter| {
            if subscriptions.unsubscribe(filter) {
                UnsubscribeAckReason::Success
            } else {
                UnsubscribeAckReason::NoSubscriptionExisted
            }
        });
        Some(Packet::UnsubscribeAck(codec::UnsubscribeAck {
            packet_id: packet.packet_id,
            properties: UserProperties::default(),
            reason_string: None,
            status: status.collect(),
        }))
    }
}

fn publish_ack(packet_id: NonZeroU16, reason_code: PublishAckReason) -> codec::PublishAck {
    codec::PublishAck { packet_id, reason_code, properties: UserProperties::default(), reason_string: None }
}

/// What ntex-mqtt says about the connection itself.
pub(crate) struct Controlling;

impl ServiceFactory<Control<Ended>, NtexSession<MqttSink, Owner>> for Controlling {
    type Response = Option<Encoded>;
    type Error = Ended;
    type Service = Controls;
    type InitError = Ended;

    async fn create(&self, session: NtexSession<MqttSink, Owner>) -> Result<Controls, Ended> {
        Ok(Controls { owner: (*session).clone() })
    }
}

/// The connection control of one session.
pub(crate) struct Controls {
    owner: Owner,
}

impl Service<Control<Ended>> for Controls {
    type Response = Option<Encoded>;
    type Error = Ended;

    async fn call(&self, control: Control<Ended>, _: ServiceCtx<'_, Self>) -> Result<Option<Encoded>, Ended> {
        let close = finish(self.owner.session(), control).await;
        Ok(close.map(|close| Encoded::Packet(Packet::Disconnect(Disconnect::new(close.reason())))))
    }
}
