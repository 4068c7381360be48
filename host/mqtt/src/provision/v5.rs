//! Sessions without a device in MQTT 5. They have no topic aliases.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::rc::Rc;

use ntex::io::Io;
use ntex_mqtt::QoS;
use ntex_mqtt::v5::codec::{
    self, ConnectAck, Decoded, Encoded, Packet, PublishAck2, PublishAck2Reason, SubscribeAckReason,
    UnsubscribeAckReason, UserProperties,
};
use wireglot_model::limits::PACKET_BYTES_MAX;

use super::{Guest, Heard, Said, Tongue};
use crate::ack::Close;
use crate::connect::{Broken, KeepAlive, Refusal, WHOLE_PACKET_BYTES_MAX};
use crate::session;
use crate::subscribe::Grant;
use crate::v5::{Line, refuse};
use crate::whole::Whole;
use crate::worker::Worker;

/// Serves a session from its CONNACK to its end.
pub(crate) async fn serve<F>(
    worker: &Rc<Worker>,
    io: &Io<F>,
    codec: &codec::Codec,
    keep_alive: KeepAlive,
    address: Option<IpAddr>,
    receive_max: Option<NonZeroU16>,
) -> Result<(), Broken> {
    let line = session::Line::V5(Line::new(io, codec));
    let Some(guest) = Guest::begin(worker, line, keep_alive, address, receive_max) else {
        return refuse(worker, io, Refusal::TooManyProvision).await;
    };
    let ack = ConnectAck {
        max_packet_size: Some(WHOLE_PACKET_BYTES_MAX),
        server_keepalive_sec: keep_alive.announced_s,
        ..ConnectAck::default()
    };
    io.encode(Encoded::Packet(Packet::ConnectAck(Box::new(ack))), codec).map_err(|_| Broken)?;
    guest.converse(io, codec, V5 { whole: Whole::new() }).await;
    Ok(())
}

struct V5 {
    whole: Whole<codec::Publish>,
}

impl Tongue for V5 {
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
            Said::Subscribed(packet_id, grants) => Packet::SubscribeAck(codec::SubscribeAck {
                packet_id,
                properties: UserProperties::default(),
                reason_string: None,
                status: grants.into_iter().map(granted).collect(),
            }),
            Said::Unsubscribed(packet_id, were_there) => Packet::UnsubscribeAck(codec::UnsubscribeAck {
                packet_id,
                properties: UserProperties::default(),
                reason_string: None,
                status: were_there.into_iter().map(unsubscribed).collect(),
            }),
            Said::Completed { id, was_open } => Packet::PublishComplete(PublishAck2 {
                packet_id: id,
                reason_code: if was_open {
                    PublishAck2Reason::Success
                } else {
                    PublishAck2Reason::PacketIdNotFound
                },
                properties: UserProperties::default(),
                reason_string: None,
            }),
            Said::Pong => Packet::PingResponse,
        };
        packet.into()
    }
}

fn granted(grant: Grant) -> SubscribeAckReason {
    match grant {
        Grant::Granted(QoS::AtMostOnce) => SubscribeAckReason::GrantedQos0,
        Grant::Granted(QoS::AtLeastOnce | QoS::ExactlyOnce) => SubscribeAckReason::GrantedQos1,
        Grant::Refused => SubscribeAckReason::TopicFilterInvalid,
        Grant::TooMany => SubscribeAckReason::QuotaExceeded,
    }
}

fn unsubscribed(was_there: bool) -> UnsubscribeAckReason {
    if was_there { UnsubscribeAckReason::Success } else { UnsubscribeAckReason::NoSubscriptionExisted }
}

fn publish(packet: codec::Publish, payload: &[u8]) -> Heard {
    if packet.properties.topic_alias.is_some() {
        return Heard::Broken(Close::TopicAlias);
    }
    let codec::Publish { topic, qos, packet_id: id, .. } = packet;
    Heard::Publish { topic, qos, id, payload: payload.to_vec() }
}

fn hear(packet: Packet) -> Heard {
    match packet {
        Packet::PingRequest => Heard::Ping,
        Packet::PublishAck(_) => Heard::Acknowledged,
        Packet::PublishRelease(release) => Heard::Released(release.packet_id),
        Packet::Subscribe(packet) if !packet.topic_filters.is_empty() => {
            let filters = packet.topic_filters.into_iter().map(|(filter, options)| (filter, options.qos));
            Heard::Subscribe(packet.packet_id, filters.collect())
        }
        Packet::Unsubscribe(packet) if !packet.topic_filters.is_empty() => {
            Heard::Unsubscribe(packet.packet_id, packet.topic_filters)
        }
        // Nothing is sent with QoS 2, so there is nothing that these could answer.
        Packet::PublishReceived(_) | Packet::PublishComplete(_) => Heard::Nothing,
        Packet::Disconnect(_) => Heard::Farewell,
        Packet::Connect(_)
        | Packet::ConnectAck(_)
        | Packet::Subscribe(_)
        | Packet::SubscribeAck(_)
        | Packet::Unsubscribe(_)
        | Packet::UnsubscribeAck(_)
        | Packet::PingResponse
        | Packet::Auth(_) => Heard::Broken(Close::ProtocolError),
    }
}
