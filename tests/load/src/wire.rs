//! The few MQTT packets that a device needs, both protocol versions, as bytes and back.

/// The protocol version that a connection speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// MQTT 3.1.1.
    V3,
    /// MQTT 5.
    V5,
}

impl Version {
    fn level(self) -> u8 {
        match self {
            Self::V3 => 4,
            Self::V5 => 5,
        }
    }
}

/// What a CONNECT says.
#[derive(Clone, Copy, Debug)]
pub struct Connect<'a> {
    pub client_id: &'a str,
    pub user_name: Option<&'a str>,
    pub password: Option<&'a str>,
    pub keep_alive_s: u16,
}

/// Control packet types, as the high half of the first byte.
pub mod kind {
    pub const CONNACK: u8 = 2;
    pub const PUBLISH: u8 = 3;
    pub const PUBACK: u8 = 4;
    pub const PUBREC: u8 = 5;
    pub const PUBCOMP: u8 = 7;
    pub const SUBACK: u8 = 9;
    pub const UNSUBACK: u8 = 11;
    pub const PINGRESP: u8 = 13;
    pub const DISCONNECT: u8 = 14;
}

/// One whole packet as it lies in a buffer.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    /// The first byte: type and flags.
    pub head: u8,
    /// What follows the remaining length.
    pub body: &'a [u8],
    /// Bytes of the whole packet.
    pub len: usize,
}

impl Raw<'_> {
    /// The control packet type.
    pub fn kind(&self) -> u8 {
        self.head >> 4
    }

    /// The packet identifier of an acknowledgement.
    pub fn packet_id(&self) -> Option<u16> {
        match *self.body {
            [high, low, ..] => Some(u16::from_be_bytes([high, low])),
            _ => None,
        }
    }

    /// The reason of an acknowledgement; what MQTT leaves out means success.
    pub fn reason(&self) -> u8 {
        self.body.get(2).copied().unwrap_or(0)
    }
}

/// The first packet in `bytes`, if all of it has arrived. A length that MQTT does not allow counts as not arrived.
pub fn first_packet(bytes: &[u8]) -> Option<Raw<'_>> {
    let head = *bytes.first()?;
    let (remaining, at) = remaining_length(bytes.get(1..)?)?;
    let start = 1 + at;
    let body = bytes.get(start..start + remaining)?;
    Some(Raw { head, body, len: start + remaining })
}

fn remaining_length(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((length, index + 1));
        }
    }
    None
}

/// A CONNECT with a clean session.
pub fn connect(version: Version, claim: &Connect<'_>) -> Vec<u8> {
    let mut flags = 0x02;
    let mut body = Vec::new();
    text(&mut body, "MQTT");
    body.push(version.level());
    if claim.user_name.is_some() {
        flags |= 0x80;
    }
    if claim.password.is_some() {
        flags |= 0x40;
    }
    body.push(flags);
    body.extend_from_slice(&claim.keep_alive_s.to_be_bytes());
    no_properties(version, &mut body);
    text(&mut body, claim.client_id);
    for field in [claim.user_name, claim.password].into_iter().flatten() {
        text(&mut body, field);
    }
    packet(0x10, &body)
}

/// A PUBLISH; `packet_id` is written for QoS 1 and 2 only.
pub fn publish(version: Version, topic: &str, qos: u8, packet_id: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, topic);
    if qos > 0 {
        body.extend_from_slice(&packet_id.to_be_bytes());
    }
    no_properties(version, &mut body);
    body.extend_from_slice(payload);
    packet(0x30 | (qos << 1), &body)
}

/// A SUBSCRIBE to these filters.
pub fn subscribe(version: Version, packet_id: u16, filters: &[&str], qos: u8) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    no_properties(version, &mut body);
    for filter in filters {
        text(&mut body, filter);
        body.push(qos);
    }
    packet(0x82, &body)
}

/// An UNSUBSCRIBE of one filter.
pub fn unsubscribe(version: Version, packet_id: u16, filter: &str) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    no_properties(version, &mut body);
    text(&mut body, filter);
    packet(0xa2, &body)
}

/// PUBACK (0x40), PUBREL (0x62) and their like: a packet that is only its identifier.
pub fn acknowledgement(head: u8, packet_id: u16) -> Vec<u8> {
    packet(head, &packet_id.to_be_bytes())
}

/// PINGREQ.
pub fn ping() -> Vec<u8> {
    packet(0xc0, &[])
}

/// DISCONNECT of a client that is done.
pub fn disconnect() -> Vec<u8> {
    packet(0xe0, &[])
}

/// Any packet: its first byte, and what follows the remaining length.
pub fn packet(head: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![head];
    let mut rest = body.len();
    loop {
        let low = (rest & 0x7f) as u8;
        rest >>= 7;
        if rest == 0 {
            bytes.push(low);
            break;
        }
        bytes.push(low | 0x80);
    }
    bytes.extend_from_slice(body);
    bytes
}

fn no_properties(version: Version, body: &mut Vec<u8>) {
    if version == Version::V5 {
        body.push(0);
    }
}

/// A text as MQTT writes it: two bytes of length, then the text.
pub fn text(body: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).expect("the generator's own texts are short");
    body.extend_from_slice(&length.to_be_bytes());
    body.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: Option<(u8, usize)>) {
        assert_eq!(first_packet(bytes).map(|p| (p.kind(), p.len)), expected, "{bytes:02x?}");
    }

    #[test]
    fn packets_are_cut_at_their_length() {
        check(&[], None);
        check(&[0x40], None);
        check(&[0x40, 2, 0], None);
        check(&[0x40, 2, 0, 7, 0x40], Some((kind::PUBACK, 4)));
        check(&[0x40, 3, 0, 7, 0x99], Some((kind::PUBACK, 5)));
        check(&[0x40, 0x80, 0x80, 0x80, 0x80, 0x01], None);
    }

    #[test]
    fn long_packets_have_a_long_length() {
        for payload in [0, 100, 127, 128, 16_383, 16_384, 65_000] {
            let bytes = publish(Version::V5, "t", 1, 1, &vec![0; payload]);
            check(&bytes, Some((kind::PUBLISH, bytes.len())));
        }
    }
}
