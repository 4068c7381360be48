//! A device with exact control over its packets, for both protocol versions.

use std::collections::VecDeque;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use wireglot_load::wire::{self, Connect, Version, kind};

use super::line::Line;
use super::wait::TIMEOUT;

/// One connection of a device.
pub(crate) struct Device {
    stream: Line,
    version: Version,
    partial: Vec<u8>,
    inbox: VecDeque<Published>,
    next_packet_id: u16,
    is_silent: bool,
}

/// What the server published to the device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Published {
    pub(crate) topic: String,
    /// With U+FFFD for what is no text.
    pub(crate) payload: String,
    pub(crate) bytes: Vec<u8>,
}

/// How the server ended a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Closed {
    /// The connection ended without a packet.
    Silently,
    /// A DISCONNECT with this reason came first.
    With(u8),
}

/// One packet, taken out of the stream.
struct Packet {
    head: u8,
    body: Vec<u8>,
}

impl Device {
    /// Connects with an access token.
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr, version: Version, token: &str) -> Self {
        let claim = Connect { client_id: token, user_name: Some(token), password: None, keep_alive_s: 60 };
        match Self::try_connect(address, version, &claim) {
            Ok(device) => device,
            Err(code) => panic!("{token} was refused with {code:#04x}"),
        }
    }

    /// Connects, or returns the code of the refusal.
    pub(crate) fn try_connect(
        address: SocketAddr,
        version: Version,
        claim: &Connect<'_>,
    ) -> Result<Self, u8> {
        Self::open(address, version).greet(claim)
    }

    /// Sends a CONNECT, and returns the code where it is refused.
    pub(crate) fn greet(mut self, claim: &Connect<'_>) -> Result<Self, u8> {
        self.send(&wire::connect(self.version, claim));
        let answer = self.expect(kind::CONNACK);
        match *answer.body {
            [_, 0, ..] => Ok(self),
            [_, code, ..] => Err(code),
            _ => panic!("a CONNACK without a code"),
        }
    }

    /// A bare TCP connection.
    pub(crate) fn open(address: SocketAddr, version: Version) -> Self {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_nodelay(true).expect("an open socket");
        Self::on(Line::Plain(stream), version)
    }

    /// A connection that is there.
    pub(crate) fn on(stream: Line, version: Version) -> Self {
        Self {
            stream,
            version,
            partial: Vec::new(),
            inbox: VecDeque::new(),
            next_packet_id: 1,
            is_silent: false,
        }
    }

    /// Publishes at QoS 0.
    pub(crate) fn publish_qos0(&mut self, topic: &str, payload: impl AsRef<[u8]>) {
        self.send(&wire::publish(self.version, topic, 0, 0, payload.as_ref()));
    }

    /// Publishes at QoS 1 and returns the reason of the acknowledgement.
    #[track_caller]
    pub(crate) fn publish_qos1(&mut self, topic: &str, payload: impl AsRef<[u8]>) -> u8 {
        let packet_id = self.packet_id();
        self.send(&wire::publish(self.version, topic, 1, packet_id, payload.as_ref()));
        let answer = self.expect(kind::PUBACK);
        assert_eq!(answer.packet_id(), packet_id, "PUBACK of another packet");
        answer.reason()
    }

    /// Publishes at QoS 2, all four packets, and returns the reason of the PUBREC.
    pub(crate) fn publish_qos2(&mut self, topic: &str, payload: impl AsRef<[u8]>) -> u8 {
        let packet_id = self.packet_id();
        self.send(&wire::publish(self.version, topic, 2, packet_id, payload.as_ref()));
        let answer = self.expect(kind::PUBREC);
        assert_eq!(answer.packet_id(), packet_id, "PUBREC of another packet");
        if answer.reason() < 0x80 {
            self.send(&wire::acknowledgement(0x62, packet_id));
            assert_eq!(self.expect(kind::PUBCOMP).packet_id(), packet_id, "PUBCOMP of another packet");
        }
        answer.reason()
    }

    /// Publishes telemetry on its default topic and insists that it is acknowledged.
    #[track_caller]
    pub(crate) fn telemetry(&mut self, payload: impl AsRef<[u8]>) {
        let reason = self.publish_qos1("v1/devices/me/telemetry", payload);
        assert_eq!(reason, 0, "the telemetry was not accepted");
    }

    /// Subscribes and returns the granted QoS or the code of the refusal.
    pub(crate) fn subscribe(&mut self, filter: &str) -> u8 {
        *self.subscribe_all(&[filter]).last().expect("a SUBACK has a code for each filter")
    }

    /// The same at QoS 0.
    pub(crate) fn subscribe_qos0(&mut self, filter: &str) -> u8 {
        *self.subscribe_at(&[filter], 0).last().expect("a SUBACK has a code for each filter")
    }

    /// From now on nothing that the server publishes is acknowledged.
    pub(crate) fn stop_acknowledging(&mut self) {
        self.is_silent = true;
    }

    /// Subscribes to several filters with one packet and returns the code of each.
    pub(crate) fn subscribe_all(&mut self, filters: &[&str]) -> Vec<u8> {
        self.subscribe_at(filters, 1)
    }

    fn subscribe_at(&mut self, filters: &[&str], qos: u8) -> Vec<u8> {
        let packet_id = self.packet_id();
        self.send(&wire::subscribe(self.version, packet_id, filters, qos));
        let answer = self.expect(kind::SUBACK);
        assert_eq!(answer.packet_id(), packet_id, "SUBACK of another packet");
        answer.body.iter().skip(answer.body.len() - filters.len()).copied().collect()
    }

    /// Unsubscribes and waits for the answer.
    pub(crate) fn unsubscribe(&mut self, filter: &str) {
        let packet_id = self.packet_id();
        self.send(&wire::unsubscribe(self.version, packet_id, filter));
        self.expect(kind::UNSUBACK);
    }

    /// The next message that the server publishes, acknowledged.
    pub(crate) fn next_message(&mut self) -> Published {
        loop {
            if let Some(message) = self.inbox.pop_front() {
                return message;
            }
            let packet = self.read(TIMEOUT).expect("the server publishes something");
            self.sort(packet);
        }
    }

    /// Waits for packets of these types, in this order, and returns their codes.
    pub(crate) fn answers(&mut self, kinds: &[u8]) -> Vec<u8> {
        let code = |packet: Packet| match packet.kind() {
            kind::CONNACK => packet.body.get(1).copied().unwrap_or(0),
            _ => packet.reason(),
        };
        kinds.iter().map(|wanted| code(self.expect(*wanted))).collect()
    }

    /// Asks for a sign of life. Everything that the server sent before it has arrived then.
    pub(crate) fn ping(&mut self) {
        self.send(&wire::ping());
        self.expect(kind::PINGRESP);
    }

    /// Messages that have arrived and were not looked at.
    pub(crate) fn unread(&self) -> usize {
        self.inbox.len()
    }

    /// Waits until the server ends the connection.
    pub(crate) fn closed(&mut self) -> Closed {
        let mut end = Closed::Silently;
        while let Some(packet) = self.read(TIMEOUT) {
            if packet.kind() == kind::DISCONNECT {
                end = Closed::With(packet.body.first().copied().unwrap_or(0));
            }
        }
        end
    }

    /// Sends bytes as they are. A peer that has closed the connection is found out when reading.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).ok();
    }

    /// Sends until the system takes no more, for a device that does not read what comes back. The last packet may
    /// be cut, so nothing sensible can be sent after it.
    pub(crate) fn flood(&mut self, bytes: &[u8], times: usize) {
        self.stream.set_write_timeout(Some(Duration::from_millis(200))).expect("an open socket");
        for _ in 0..times {
            if self.stream.write_all(bytes).is_err() {
                return;
            }
        }
    }

    fn packet_id(&mut self) -> u16 {
        let packet_id = self.next_packet_id;
        self.next_packet_id += 1;
        packet_id
    }

    /// The next packet of a type; publishes that come before it go to the inbox.
    #[track_caller]
    fn expect(&mut self, wanted: u8) -> Packet {
        loop {
            let Some(packet) = self.read(TIMEOUT) else { panic!("closed instead of packet type {wanted}") };
            if packet.kind() == wanted {
                return packet;
            }
            assert_eq!(packet.kind(), kind::PUBLISH, "unexpected {:#04x} {:02x?}", packet.head, packet.body);
            self.sort(packet);
        }
    }

    /// Acknowledges a publish and puts it into the inbox.
    fn sort(&mut self, packet: Packet) {
        assert_eq!(packet.kind(), kind::PUBLISH, "unexpected packet type");
        let (length, rest) = packet.body.split_first_chunk::<2>().expect("a PUBLISH has a topic");
        let (topic, mut rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)));
        if packet.head & 0x06 != 0 {
            let (packet_id, after) = rest.split_first_chunk::<2>().expect("QoS 1 has an identifier");
            if !self.is_silent {
                self.send(&wire::acknowledgement(0x40, u16::from_be_bytes(*packet_id)));
            }
            rest = after;
        }
        if self.version == Version::V5 {
            let properties = usize::from(*rest.first().expect("MQTT 5 has a property length"));
            rest = rest.get(1 + properties..).expect("properties within the packet");
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.inbox.push_back(Published { topic: text(topic), payload: text(rest), bytes: rest.to_vec() });
    }

    /// The next packet; none when the connection has ended.
    #[track_caller]
    fn read(&mut self, timeout: Duration) -> Option<Packet> {
        self.stream.packet(&mut self.partial, timeout).map(|(head, body)| Packet { head, body })
    }
}

impl Packet {
    fn kind(&self) -> u8 {
        self.head >> 4
    }

    fn packet_id(&self) -> u16 {
        let (packet_id, _) =
            self.body.split_first_chunk::<2>().expect("an acknowledgement has an identifier");
        u16::from_be_bytes(*packet_id)
    }

    fn reason(&self) -> u8 {
        self.body.get(2).copied().unwrap_or(0)
    }
}
