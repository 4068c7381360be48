//! MQTT 3.1.1 (and 3.1, see `preface.rs`): the version's packets to and from what `session.rs` and its neighbours know.
//!
//! ntex-mqtt decodes, keeps answers in order and times silence; its packet dispatcher is not used, see `dispatch`.

use std::cell::RefCell;
use std::num::NonZeroU16;
use std::rc::Rc;

use ntex::io::IoRef;
use ntex::service::cfg::SharedCfg;
use ntex::service::{Middleware, Service, ServiceCtx, ServiceFactory};
use ntex::time::Seconds;
use ntex::util::Bytes;
use ntex_mqtt::error::{DispatcherError, EncodeError};
use ntex_mqtt::v3::codec::{self, Decoded, Encoded, Packet, SubscribeReturnCode};
use ntex_mqtt::v3::{Handshake, HandshakeAck, MqttSink};
use ntex_mqtt::{Control, QoS, Session as NtexSession};
use wireglot_device::ConnectClaim;
use wireglot_model::limits::{PACKET_BYTES_MAX, SUBSCRIBE_FILTERS_MAX};

use crate::ack::Close;
use crate::connect::{KeepAlive, Refusal, admit};
use crate::deliver;
use crate::dispatch::{Ended, finish};
use crate::publish::{Answer, Incoming, publish};
use crate::session::{self, Owner, Publication, Session};
use crate::subscribe::Grant;
use crate::worker::Worker;

/// The way to an MQTT 3.1.1 device.
pub(crate) struct Line {
    io: IoRef,
    /// ntex-mqtt's own sink refuses publishes larger than what it accepts, and wants acknowledgements in order.
    codec: codec::Codec,
    sink: MqttSink,
}

impl Line {
    pub(crate) fn publish(&self, publication: Publication) -> Result<(), EncodeError> {
        let Publication { topic, qos, id, payload } = publication;
        let payload_size = u32::try_from(payload.len()).map_err(|_| EncodeError::OverMaxPacketSize)?;
        let packet = codec::Publish { dup: false, retain: false, qos, topic, packet_id: id, payload_size };
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

    pub(crate) fn close(&self) {
        self.sink.close();
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
    let admitted = match admit(&worker, &claim) {
        Ok(admitted) => admitted,
        Err(refusal) => return Err(refuse(&worker, &handshake, refusal).await),
    };
    let line = Line { io: handshake.io().get_ref(), codec: codec::Codec::default(), sink: handshake.sink() };
    let owner = Session::begin(&worker, admitted, session::Line::V3(line), keep_alive, None);
    Ok(handshake.ack(owner, false).idle_timeout(Seconds(keep_alive.timeout_s)))
}

async fn refuse(worker: &Worker, handshake: &Handshake, refusal: Refusal) -> Ended {
    worker.counters.connects_refused.count();
    tracing::debug!(?refusal, "Login refused.");
    let ack = codec::ConnectAck { session_present: false, return_code: refusal.v3_reason() };
    let written = handshake.io().encode(Encoded::Packet(Packet::ConnectAck(ack)), &codec::Codec::default());
    crate::dispatch::hang_up(handshake.io(), written.is_ok()).await
}

/// Puts `Dispatch` in the place of ntex-mqtt's packet dispatcher.
pub(crate) struct Dispatching;

impl<S> Middleware<S, (SharedCfg, NtexSession<MqttSink, Owner>)> for Dispatching {
    type Service = Dispatch;

    fn create(&self, _: S, (_, session): (SharedCfg, NtexSession<MqttSink, Owner>)) -> Dispatch {
        Dispatch { owner: (*session).clone(), partial: RefCell::default() }
    }
}

/// The packets of one session.
pub(crate) struct Dispatch {
    owner: Owner,
    /// A publish whose payload is still on the way.
    partial: RefCell<Option<codec::Publish>>,
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
        let incoming =
            Incoming { topic: &packet.topic, payload: &payload, qos: packet.qos, id: packet.packet_id };
        match publish(self.owner.session(), incoming).await {
            Answer::Nothing => None,
            Answer::PubAck(packet_id, _) => Some(Packet::PublishAck { packet_id }.into()),
            Answer::PubRec(packet_id, _) | Answer::PubRecAgain(packet_id) => {
                Some(Packet::PublishReceived { packet_id }.into())
            }
        }
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
            Packet::PublishAck { packet_id } => deliver::acknowledged(session, packet_id),
            Packet::PublishRelease { packet_id } => {
                session.window.release(packet_id);
                // Also where nothing was open: the device has missed our PUBCOMP, or we were restarted.
                return Some(Packet::PublishComplete { packet_id });
            }
            Packet::Subscribe { packet_id, topic_filters } => {
                return self.subscribe(packet_id, &topic_filters);
            }
            Packet::Unsubscribe { packet_id, topic_filters } => {
                let mut subscriptions = session.subscriptions.borrow_mut();
                for filter in &topic_filters {
                    subscriptions.unsubscribe(filter);
                }
                return Some(Packet::UnsubscribeAck { packet_id });
            }
            Packet::Disconnect => {
                // What came before it is finished first, although nobody hears the answers any more.
                session.window.idle().await;
                session.close_as_asked();
            }
            // Nothing is sent with QoS 2, so there is nothing that these could answer.
            Packet::PublishReceived { .. } | Packet::PublishComplete { .. } => {}
            Packet::Connect(_)
            | Packet::ConnectAck(_)
            | Packet::SubscribeAck { .. }
            | Packet::UnsubscribeAck { .. }
            | Packet::PingResponse => session.close(Close::ProtocolError),
        }
        None
    }

    fn subscribe(&self, packet_id: NonZeroU16, filters: &[(ntex::util::ByteString, QoS)]) -> Option<Packet> {
        let session = self.owner.session();
        if filters.is_empty() {
            session.close(Close::ProtocolError);
            return None;
        }
        let view = session.view();
        let mut subscriptions = session.subscriptions.borrow_mut();
        let status = filters.iter().enumerate().map(|(index, (filter, qos))| {
            if index >= SUBSCRIBE_FILTERS_MAX {
                return SubscribeReturnCode::Failure;
            }
            match subscriptions.subscribe(&view.topics, filter, *qos) {
                Grant::Granted(qos) => SubscribeReturnCode::Success(qos),
                Grant::Refused | Grant::TooMany => SubscribeReturnCode::Failure,
            }
        });
        Some(Packet::SubscribeAck { packet_id, status: status.collect() })
    }
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
        // MQTT 3.1.1 has no packet to say why.
        let _reason = finish(self.owner.session(), control).await;
        Ok(None)
    }
}
