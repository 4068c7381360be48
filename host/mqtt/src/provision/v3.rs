//! Sessions without a device in MQTT 3.1.1 (and 3.1).

use std::net::IpAddr;
use std::rc::Rc;

use ntex::io::Io;
use ntex_mqtt::v3::codec::{self, ConnectAckReason, Decoded, Encoded, Packet, SubscribeReturnCode};
use wireglot_model::limits::PACKET_BYTES_MAX;

use super::{Guest, Heard, Said, Tongue};
use crate::ack::Close;
use crate::connect::{Broken, KeepAlive, Refusal};
use crate::session;
use crate::subscribe::Grant;
use crate::v3::{Line, acknowledge, refuse};
use crate::whole::Whole;
use crate::worker::Worker;

/// Serves a session from its CONNACK to its end.
pub(crate) async fn serve<F>(
    worker: &Rc<Worker>,
    io: &Io<F>,
    codec: &codec::Codec,
    keep_alive: KeepAlive,
    address: Option<IpAddr>,
) -> Result<(), Broken> {
    let Some(guest) = Guest::begin(worker, session::Line::V3(Line::new(io)), keep_alive, address, None)
    else {
        return refuse(worker, io, Refusal::TooManyProvision).await;
    };
    acknowledge(io, ConnectAckReason::ConnectionAccepted)?;
    guest.converse(io, codec, V3 { whole: Whole::new() }).await;
    Ok(())
}

struct V3 {
    whole: Whole<codec::Publish>,
}

impl Tongue for V3 {
    type Codec = codec::Codec;

    fn hear(&mut self, packet: Decoded) -> Heard {
        let whole = match packet {
            Decoded::Publish(head, payload, size) => {
                let announced = head.payload_size;
                self.whole.begin(head, announced, payload, size)
            }
            Decoded::PayloadChunk(payload, is_last) => self.whole.end(payload, is_last),
            Decoded::Packet(_, size) if size as usize > PACKET_BYTES_MAX => Err(Close::Malformed),
            Decoded::Packet(packet, _) => return hear(packet),
        };
        match whole {
            Ok(Some((packet, payload))) => publish(packet, &payload),
            Ok(None) => Heard::Nothing,
            Err(close) => Heard::Broken(close),
        }
    }

    fn say(&self, said: Said) -> Encoded {
        let packet = match said {
            Said::Subscribed(packet_id, grants) => {
                let status = grants.into_iter().map(|grant| match grant {
                    Grant::Granted(qos) => SubscribeReturnCode::Success(qos),
                    Grant::Refused | Grant::TooMany => SubscribeReturnCode::Failure,
                });
                Packet::SubscribeAck { packet_id, status: status.collect() }
            }
            Said::Unsubscribed(packet_id, _) => Packet::UnsubscribeAck { packet_id },
            Said::Completed { id, .. } => Packet::PublishComplete { packet_id: id },
            Said::Pong => Packet::PingResponse,
        };
        packet.into()
    }
}

fn publish(packet: codec::Publish, payload: &[u8]) -> Heard {
    let codec::Publish { topic, qos, packet_id: id, .. } = packet;
    Heard::Publish { topic, qos, id, payload: payload.to_vec() }
}

fn hear(packet: Packet) -> Heard {
    match packet {
        Packet::PingRequest => Heard::Ping,
        Packet::PublishAck { .. } => Heard::Acknowledged,
        Packet::PublishRelease { packet_id } => Heard::Released(packet_id),
        Packet::Subscribe { packet_id, topic_filters } if !topic_filters.is_empty() => {
            Heard::Subscribe(packet_id, topic_filters)
        }
        Packet::Unsubscribe { packet_id, topic_filters } if !topic_filters.is_empty() => {
            Heard::Unsubscribe(packet_id, topic_filters)
        }
        // Nothing is sent with QoS 2, so there is nothing that these could answer.
        Packet::PublishReceived { .. } | Packet::PublishComplete { .. } => Heard::Nothing,
        Packet::Disconnect => Heard::Farewell,
        Packet::Connect(_)
        | Packet::ConnectAck(_)
        | Packet::Subscribe { .. }
        | Packet::SubscribeAck { .. }
        | Packet::Unsubscribe { .. }
        | Packet::UnsubscribeAck { .. }
        | Packet::PingResponse => Heard::Broken(Close::ProtocolError),
    }
}
