//! MQTT 3.1.1 (and 3.1, see `preface.rs`): the version's packets to and from what `session.rs` and its neighbours know.

use std::num::NonZeroU16;
use std::rc::Rc;

use ntex::io::{Io, IoRef};
use ntex::util::ByteString;
use ntex_mqtt::QoS;
use ntex_mqtt::error::EncodeError;
use ntex_mqtt::v3::codec::{self, ConnectAckReason, Decoded, Encoded, Packet, SubscribeReturnCode};
use wireglot_device::ConnectClaim;
use wireglot_model::limits::{PACKET_BYTES_MAX, SUBSCRIBE_FILTERS_MAX};

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

/// The way to an MQTT 3.1.1 device.
pub(crate) struct Line {
    io: IoRef,
    codec: codec::Codec,
}

impl Line {
    pub(crate) fn new<F>(io: &Io<F>) -> Self {
        Self { io: io.get_ref(), codec: codec::Codec::new() }
    }

    pub(crate) fn publish(&self, publication: Publication) -> Result<(), EncodeError> {
        let Publication { topic, qos, id, payload, .. } = publication;
        let payload_size = u32::try_from(payload.len()).map_err(|_| EncodeError::OverMaxPacketSize)?;
        let packet = codec::Publish { dup: false, retain: false, qos, topic, packet_id: id, payload_size };
        self.io.encode(Encoded::Publish(packet, Some(payload)), &self.codec)
    }

    pub(crate) fn answer(&self, answer: Answer) -> Result<(), EncodeError> {
        let packet = match answer {
            Answer::Acknowledged(packet_id, _) => Packet::PublishAck { packet_id },
            Answer::Received(packet_id, _) | Answer::ReceivedBefore(packet_id) => {
                Packet::PublishReceived { packet_id }
            }
        };
        self.io.encode(Encoded::Packet(packet), &self.codec)
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.io.is_wr_backpressure()
    }

    pub(crate) fn close(&self) {
        self.io.close();
    }
}

/// Serves a connection whose first packet is there, from its CONNECT to its end.
pub(crate) async fn serve<F>(worker: &Rc<Worker>, io: &Io<F>, visitor: Visitor) -> Result<(), Broken> {
    let codec = codec::Codec::new();
    codec.set_max_size(WHOLE_PACKET_BYTES_MAX);
    // A payload comes as a whole, with its header or right after it.
    codec.set_min_chunk_size(WHOLE_PACKET_BYTES_MAX + 1);
    // It is there as a whole: what ntex-mqtt would wait for now will never come.
    let Ok(Some(Decoded::Packet(Packet::Connect(packet), _))) = io.decode(&codec) else {
        return Err(Broken);
    };
    if provision::is_asked(&packet.client_id, packet.username.as_deref()) {
        let keep_alive = KeepAlive::of(packet.keep_alive, worker.session_inactivity_s());
        let guest = provision::v3::serve(worker, io, &codec, keep_alive, visitor.address);
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
    let admitted = match admit(worker, &visitor, &claim, &opening).await {
        Ok(admitted) => admitted,
        Err(refusal) => return refuse(worker, io, refusal).await,
    };
    let line = Line::new(io);
    let keep_alive = KeepAlive::of(packet.keep_alive, worker.session_inactivity_s());
    let client = Client::new(io, &visitor, &packet.client_id, "3.1.1");
    let owner = Session::begin(worker, admitted, client, session::Line::V3(line), keep_alive, None);
    drop((packet, visitor));
    acknowledge(io, ConnectAckReason::ConnectionAccepted)?;
    converse(io, &codec, &owner, V3 { whole: Whole::new() }).await;
    Ok(())
}

pub(crate) async fn refuse<F>(worker: &Worker, io: &Io<F>, refusal: Refusal) -> Result<(), Broken> {
    worker.counters.connects_refused.count();
    acknowledge(io, refusal.v3_reason())?;
    hang_up(io).await;
    Ok(())
}

pub(crate) fn acknowledge<F>(io: &Io<F>, return_code: ConnectAckReason) -> Result<(), Broken> {
    let ack = codec::ConnectAck { session_present: false, return_code };
    io.encode(Encoded::Packet(Packet::ConnectAck(ack)), &codec::Codec::new()).map_err(|_| Broken)
}

/// The packets of one session.
struct V3 {
    whole: Whole<codec::Publish>,
}

impl Dialect for V3 {
    type Codec = codec::Codec;

    fn hear(&mut self, session: &Rc<Session>, packet: Decoded) -> Next<Encoded> {
        let publish = match packet {
            Decoded::Publish(head, payload, size) => {
                let announced = head.payload_size;
                self.whole.begin(head, announced, payload, size)
            }
            Decoded::PayloadChunk(payload, is_last) => self.whole.end(payload, is_last),
            Decoded::Packet(Packet::Disconnect, _) => return Next::Farewell,
            Decoded::Packet(_, size) if size as usize > PACKET_BYTES_MAX => Err(Close::Malformed),
            Decoded::Packet(packet, _) => {
                session.hear(now());
                return reply(session, packet).map_or(Next::Packet, |answer| Next::Answer(answer.into()));
            }
        };
        match publish {
            Ok(Some((packet, payload))) => take(session, &packet, &payload),
            Ok(None) => {}
            Err(close) => session.close(close),
        }
        Next::Packet
    }
}

fn take(session: &Rc<Session>, packet: &codec::Publish, payload: &[u8]) {
    let incoming = Incoming { topic: &packet.topic, payload, qos: packet.qos, id: packet.packet_id };
    publish(session, &incoming);
}

fn reply(session: &Session, packet: Packet) -> Option<Packet> {
    match packet {
        Packet::PingRequest => {
            children::hear_all(session);
            return Some(Packet::PingResponse);
        }
        Packet::PublishAck { packet_id } => deliver::acknowledged(session, packet_id),
        Packet::PublishRelease { packet_id } => {
            session.window.release(packet_id);
            // Also where nothing was open: the device has missed our PUBCOMP, or we were restarted.
            return Some(Packet::PublishComplete { packet_id });
        }
        Packet::Subscribe { packet_id, topic_filters } => {
            return subscribe(session, packet_id, &topic_filters);
        }
        Packet::Unsubscribe { packet_id, topic_filters } => {
            let mut subscriptions = session.subscriptions.borrow_mut();
            for filter in &topic_filters {
                limit::unsubscribe(session, &mut subscriptions, filter);
            }
            drop(subscriptions);
            rpc::note_interest(session);
            return Some(Packet::UnsubscribeAck { packet_id });
        }
        // Nothing is sent with QoS 2, so there is nothing that these could answer.
        Packet::PublishReceived { .. } | Packet::PublishComplete { .. } => {}
        Packet::Connect(_)
        | Packet::ConnectAck(_)
        | Packet::SubscribeAck { .. }
        | Packet::UnsubscribeAck { .. }
        | Packet::PingResponse
        | Packet::Disconnect => session.close(Close::ProtocolError),
    }
    None
}

fn subscribe(session: &Session, packet_id: NonZeroU16, filters: &[(ByteString, QoS)]) -> Option<Packet> {
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
        match limit::subscribe(session, &mut subscriptions, &view.topics, filter, *qos) {
            Grant::Granted(qos) => SubscribeReturnCode::Success(qos),
            Grant::Refused | Grant::TooMany => SubscribeReturnCode::Failure,
        }
    });
    let status = status.collect();
    drop(subscriptions);
    rpc::note_interest(session);
    Some(Packet::SubscribeAck { packet_id, status })
}
