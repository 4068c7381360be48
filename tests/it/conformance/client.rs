//! A device that is looked at packet by packet: what exactly it is sent, and how its connection ends.

use std::collections::VecDeque;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;
use wireglot_load::wire::{self, Version, kind};

use crate::harness::{Closed, Line, TIMEOUT};

/// One connection.
pub(super) struct Client {
    stream: Line,
    version: Version,
    partial: Vec<u8>,
    inbox: VecDeque<Message>,
    next_packet_id: u16,
    /// Whether a publish of the server is acknowledged as soon as it is read.
    pub(super) acknowledges: bool,
    /// How long the server may take for anything.
    pub(super) patience: Duration,
}

/// One packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Packet {
    pub(super) head: u8,
    pub(super) body: Vec<u8>,
}

/// What the server published.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) qos: u8,
    pub(super) packet_id: u16,
    pub(super) is_retained: bool,
}

/// What a publish at QoS 1 came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    Acknowledged(u8),
    Closed(Closed),
}

/// A CONNECT in all its parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hello<'a> {
    pub(super) protocol: &'a str,
    /// The protocol level, if it is not the version's own.
    pub(super) level: Option<u8>,
    pub(super) is_clean: bool,
    pub(super) has_reserved_bit: bool,
    pub(super) keep_alive_s: u16,
    /// MQTT 5 properties as they are on the wire.
    pub(super) properties: &'a [u8],
    pub(super) will: Option<Will<'a>>,
    pub(super) client_id: &'a str,
    pub(super) user_name: Option<&'a str>,
    pub(super) password: Option<&'a str>,
}

/// A will.
#[derive(Clone, Copy, Debug)]
pub(super) struct Will<'a> {
    pub(super) topic: &'a str,
    pub(super) payload: &'a str,
    pub(super) qos: u8,
    pub(super) is_retained: bool,
}

impl<'a> Hello<'a> {
    /// A CONNECT without any credentials.
    pub(super) fn of(client_id: &'a str) -> Self {
        Self {
            protocol: "MQTT",
            level: None,
            is_clean: true,
            has_reserved_bit: false,
            keep_alive_s: 60,
            properties: &[],
            will: None,
            client_id,
            user_name: None,
            password: None,
        }
    }

    /// A CONNECT with an access token.
    pub(super) fn token(token: &'a str) -> Self {
        Self { user_name: Some(token), ..Self::of("a client id of no meaning") }
    }

    pub(super) fn encode(&self, version: Version) -> Vec<u8> {
        let level = match version {
            Version::V3 => 4,
            Version::V5 => 5,
        };
        let mut flags = u8::from(self.has_reserved_bit) | u8::from(self.is_clean) << 1;
        flags |= u8::from(self.user_name.is_some()) << 7 | u8::from(self.password.is_some()) << 6;
        if let Some(will) = self.will {
            flags |= 0x04 | will.qos << 3 | u8::from(will.is_retained) << 5;
        }
        let mut body = Vec::new();
        wire::text(&mut body, self.protocol);
        body.extend([self.level.unwrap_or(level), flags]);
        body.extend(self.keep_alive_s.to_be_bytes());
        if version == Version::V5 {
            properties(&mut body, self.properties);
        }
        wire::text(&mut body, self.client_id);
        if let Some(will) = self.will {
            if version == Version::V5 {
                properties(&mut body, &[]);
            }
            wire::text(&mut body, will.topic);
            wire::text(&mut body, will.payload);
        }
        for field in [self.user_name, self.password].into_iter().flatten() {
            wire::text(&mut body, field);
        }
        wire::packet(0x10, &body)
    }
}

fn properties(body: &mut Vec<u8>, properties: &[u8]) {
    body.push(u8::try_from(properties.len()).expect("few properties"));
    body.extend(properties);
}

/// A PUBLISH with MQTT 5 properties and any flags.
pub(super) fn publish_with(flags: u8, topic: &str, packet_id: u16, more: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    wire::text(&mut body, topic);
    body.extend(packet_id.to_be_bytes());
    properties(&mut body, more);
    body.extend(payload);
    wire::packet(0x30 | flags, &body)
}

impl Client {
    /// A bare TCP connection.
    pub(super) fn open(address: SocketAddr, version: Version) -> Self {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_nodelay(true).expect("an open socket");
        Self::over(Line::Plain(stream), version)
    }

    /// A connection that is there.
    pub(super) fn over(stream: Line, version: Version) -> Self {
        let (partial, inbox) = (Vec::new(), VecDeque::new());
        Self { stream, version, partial, inbox, next_packet_id: 1, acknowledges: true, patience: TIMEOUT }
    }

    /// Says CONNECT and gives the code of the CONNACK, or none if the connection was closed without one.
    pub(super) fn hello(&mut self, hello: &Hello<'_>) -> Option<u8> {
        self.send(&hello.encode(self.version));
        let packet = self.read()?;
        assert_eq!(packet.kind(), kind::CONNACK, "{packet:02x?} is no CONNACK");
        Some(*packet.body.get(1).expect("a CONNACK has a code"))
    }

    /// Sends bytes as they are. A peer that has closed the connection is found out when reading.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).ok();
    }

    /// Publishes at QoS 1 and waits for what becomes of it.
    #[track_caller]
    pub(super) fn publish(&mut self, topic: &str, payload: impl AsRef<[u8]>) -> Outcome {
        let packet_id = self.packet_id();
        self.send(&wire::publish(self.version, topic, 1, packet_id, payload.as_ref()));
        loop {
            match self.read() {
                None => return Outcome::Closed(Closed::Silently),
                Some(packet) if packet.kind() == kind::PUBACK => {
                    assert_eq!(packet.packet_id(), packet_id, "PUBACK of another packet");
                    return Outcome::Acknowledged(packet.reason());
                }
                Some(packet) if packet.kind() == kind::DISCONNECT => {
                    return Outcome::Closed(Closed::With(packet.body.first().copied().unwrap_or(0)));
                }
                Some(packet) => self.sort(&packet),
            }
        }
    }

    /// Publishes at QoS 1 and insists that it is acknowledged with success.
    #[track_caller]
    pub(super) fn accepted(&mut self, topic: &str, payload: impl AsRef<[u8]>) {
        let outcome = self.publish(topic, payload);
        assert_eq!(outcome, Outcome::Acknowledged(0), "a publish on {topic}");
    }

    /// Publishes at QoS 0.
    pub(super) fn publish_qos0(&mut self, topic: &str, payload: impl AsRef<[u8]>) {
        self.send(&wire::publish(self.version, topic, 0, 0, payload.as_ref()));
    }

    /// Subscribes at QoS 1 and returns the granted QoS or the code of the refusal.
    #[track_caller]
    pub(super) fn subscribe(&mut self, filter: &str) -> u8 {
        self.subscribe_at(&[(filter, 1)])[0]
    }

    /// Subscribes to several filters with one packet, each with its QoS, and returns the code of each.
    #[track_caller]
    pub(super) fn subscribe_at(&mut self, filters: &[(&str, u8)]) -> Vec<u8> {
        let packet_id = self.packet_id();
        let mut body = packet_id.to_be_bytes().to_vec();
        if self.version == Version::V5 {
            body.push(0);
        }
        for (filter, qos) in filters {
            wire::text(&mut body, filter);
            body.push(*qos);
        }
        self.send(&wire::packet(0x82, &body));
        let answer = self.expect(kind::SUBACK);
        assert_eq!(answer.packet_id(), packet_id, "SUBACK of another packet");
        answer.body.iter().skip(answer.body.len() - filters.len()).copied().collect()
    }

    /// Unsubscribes; the code of the answer in MQTT 5, 0 in 3.1.1.
    #[track_caller]
    pub(super) fn unsubscribe(&mut self, filter: &str) -> u8 {
        let packet_id = self.packet_id();
        self.send(&wire::unsubscribe(self.version, packet_id, filter));
        let answer = self.expect(kind::UNSUBACK);
        assert_eq!(answer.packet_id(), packet_id, "UNSUBACK of another packet");
        match self.version {
            Version::V3 => 0,
            Version::V5 => *answer.body.last().expect("a code"),
        }
    }

    /// The next message that the server publishes.
    #[track_caller]
    pub(super) fn message(&mut self) -> Message {
        loop {
            if let Some(message) = self.inbox.pop_front() {
                return message;
            }
            let packet = self.read().expect("the server publishes something and does not close");
            self.sort(&packet);
        }
    }

    /// The next message, which comes on this topic and is JSON.
    #[track_caller]
    pub(super) fn json_on(&mut self, topic: &str) -> Value {
        let message = self.message();
        assert_eq!(message.topic, topic, "{}", String::from_utf8_lossy(&message.payload));
        message.json()
    }

    /// Acknowledges a message that was not acknowledged as it was read.
    pub(super) fn acknowledge(&mut self, message: &Message) {
        self.send(&wire::acknowledgement(0x40, message.packet_id));
    }

    /// Everything that the server sent before this call has arrived after it, and the connection is in order.
    #[track_caller]
    pub(super) fn stays(&mut self) {
        self.send(&wire::ping());
        self.expect(kind::PINGRESP);
    }

    /// Insists that no message has come that was not looked at.
    #[track_caller]
    pub(super) fn hears_nothing(&mut self) {
        self.stays();
        assert_eq!(self.inbox, [], "nothing was to come");
    }

    /// Waits until the server ends the connection; messages that come before it can be read afterwards.
    #[track_caller]
    pub(super) fn closed(&mut self) -> Closed {
        while let Some(packet) = self.read() {
            match packet.kind() {
                kind::DISCONNECT => return Closed::With(packet.body.first().copied().unwrap_or(0)),
                kind::PUBLISH => self.sort(&packet),
                _ => {}
            }
        }
        Closed::Silently
    }

    /// Ends the connection as a device does that loses its power.
    pub(super) fn cut(self) {
        drop(self);
    }

    pub(super) fn packet_id(&mut self) -> u16 {
        let packet_id = self.next_packet_id;
        self.next_packet_id = packet_id.checked_add(1).unwrap_or(1);
        packet_id
    }

    /// The next packet of a type; publishes that come before it go to the inbox.
    #[track_caller]
    pub(super) fn expect(&mut self, wanted: u8) -> Packet {
        loop {
            let Some(packet) = self.read() else { panic!("closed instead of packet type {wanted}") };
            if packet.kind() == wanted {
                return packet;
            }
            self.sort(&packet);
        }
    }

    #[track_caller]
    fn sort(&mut self, packet: &Packet) {
        assert_eq!(packet.kind(), kind::PUBLISH, "unexpected {packet:02x?}");
        let message = packet.message(self.version);
        if self.acknowledges && message.qos > 0 {
            self.acknowledge(&message);
        }
        self.inbox.push_back(message);
    }

    /// The next packet; none when the connection has ended.
    #[track_caller]
    pub(super) fn read(&mut self) -> Option<Packet> {
        self.stream.packet(&mut self.partial, self.patience).map(|(head, body)| Packet { head, body })
    }
}

impl Packet {
    pub(super) fn kind(&self) -> u8 {
        self.head >> 4
    }

    fn packet_id(&self) -> u16 {
        let (packet_id, _) = self.body.split_first_chunk::<2>().expect("an identifier");
        u16::from_be_bytes(*packet_id)
    }

    pub(super) fn reason(&self) -> u8 {
        self.body.get(2).copied().unwrap_or(0)
    }

    fn message(&self, version: Version) -> Message {
        let (length, rest) = self.body.split_first_chunk::<2>().expect("a PUBLISH has a topic");
        let (topic, mut rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)));
        let qos = self.head >> 1 & 3;
        let mut packet_id = 0;
        if qos > 0 {
            let (bytes, after) = rest.split_first_chunk::<2>().expect("QoS 1 has an identifier");
            packet_id = u16::from_be_bytes(*bytes);
            rest = after;
        }
        if version == Version::V5 {
            let properties = usize::from(*rest.first().expect("MQTT 5 has a property length"));
            rest = rest.get(1 + properties..).expect("properties within the packet");
        }
        let topic = String::from_utf8(topic.to_vec()).expect("topics are UTF-8");
        let is_retained = self.head & 1 == 1;
        Message { topic, payload: rest.to_vec(), qos, packet_id, is_retained }
    }
}

impl Message {
    /// The payload as JSON.
    #[track_caller]
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.payload)
            .unwrap_or_else(|_| panic!("no JSON: {}", String::from_utf8_lossy(&self.payload)))
    }

    /// The payload as text.
    #[track_caller]
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).expect("a text")
    }
}
