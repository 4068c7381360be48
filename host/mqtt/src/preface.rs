//! The first packet of a connection: waited for as a whole, and made readable for ntex-mqtt where it would not be.
//!
//! It also says which version of MQTT follows. ntex-mqtt
//! - does not know MQTT 3.1 (`MQIsdp`), whose packets are those of 3.1.1 but for the protocol name: it is renamed;
//! - refuses an empty client id without a clean session, which the device API takes: as no session outlives its
//!   connection (device API §2.3), the flag means nothing and is set. Sparkplug alone asks whether it was.

use ntex::codec::{Decoder, Encoder};
use ntex::util::BytesMut;
use wireglot_model::limits::PACKET_BYTES_MAX;

const CONNECT: u8 = 0x10;
const VERSION_3_1: &[u8] = b"\0\x06MQIsdp\x03";
const VERSION_3_1_1: &[u8] = b"\0\x04MQTT\x04";
const VERSION_5: &[u8] = b"\0\x04MQTT\x05";
const CLEAN_SESSION: u8 = 0x02;
const WILL: u8 = 0x04;
/// MQTT 3.1 knows no longer client ids, and no empty one.
const CLIENT_ID_CHARS_3_1: std::ops::RangeInclusive<usize> = 1..=23;

/// The decoder that is asked once, and leaves the packet in the buffer.
#[derive(Debug)]
pub(crate) struct FirstPacket;

/// What a first packet is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Beginning {
    pub(crate) version: Version,
    /// The client has asked for a session that begins and ends with the connection; in MQTT 5 by both of its words. Only
    /// looked at where there is a will: nobody asks else.
    pub(crate) is_clean: bool,
}

/// The version of MQTT that a device speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Version {
    /// 3.1.1, and 3.1, which reads like it by now.
    V3,
    V5,
}

/// Whoever this is, it does not speak MQTT.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the first packet is not a CONNECT")]
pub(crate) struct NotMqtt;

impl Decoder for FirstPacket {
    type Item = Beginning;
    type Error = NotMqtt;

    fn decode(&self, buffer: &mut BytesMut) -> Result<Option<Beginning>, NotMqtt> {
        let Some(header) = FixedHeader::read(buffer)? else { return Ok(None) };
        let Some(body) = buffer.get(header.bytes..header.bytes + header.remaining) else { return Ok(None) };
        let is_clean;
        if let Some(rest) = body.strip_prefix(VERSION_3_1) {
            check_client_id(rest)?;
            is_clean = rest.first().is_some_and(|flags| flags & CLEAN_SESSION != 0);
            rename(buffer, header)?;
        } else if body.starts_with(VERSION_3_1_1) {
            let flags = buffer.get_mut(header.bytes + VERSION_3_1_1.len()).ok_or(NotMqtt)?;
            is_clean = *flags & CLEAN_SESSION != 0;
            *flags |= CLEAN_SESSION;
        } else if let Some(rest) = body.strip_prefix(VERSION_5) {
            let is_clean = rest.first().is_some_and(|flags| flags & WILL != 0) && ends_at_once(rest);
            return Ok(Some(Beginning { version: Version::V5, is_clean }));
        } else {
            return Err(NotMqtt);
        }
        Ok(Some(Beginning { version: Version::V3, is_clean }))
    }
}

impl Encoder for FirstPacket {
    type Item = ();
    type Error = NotMqtt;

    fn encode(&self, (): (), _: &mut BytesMut) -> Result<(), NotMqtt> {
        // Nothing is ever written with it.
        Err(NotMqtt)
    }
}

#[derive(Clone, Copy)]
struct FixedHeader {
    bytes: usize,
    remaining: usize,
}

impl FixedHeader {
    fn read(buffer: &[u8]) -> Result<Option<Self>, NotMqtt> {
        let Some((kind, length)) = buffer.split_first() else { return Ok(None) };
        if *kind != CONNECT {
            return Err(NotMqtt);
        }
        let mut remaining = 0;
        for (index, byte) in length.iter().take(4).enumerate() {
            remaining |= usize::from(byte & 0x7F) << (7 * index);
            if remaining > PACKET_BYTES_MAX {
                return Err(NotMqtt);
            }
            if byte & 0x80 == 0 {
                return Ok(Some(Self { bytes: index + 2, remaining }));
            }
        }
        if length.len() < 4 { Ok(None) } else { Err(NotMqtt) }
    }
}

/// `rest`: flags, keep alive, client id.
fn check_client_id(rest: &[u8]) -> Result<(), NotMqtt> {
    let [_, _, _, high, low, id @ ..] = rest else { return Err(NotMqtt) };
    let id = id.get(..usize::from(u16::from_be_bytes([*high, *low]))).ok_or(NotMqtt)?;
    let id = std::str::from_utf8(id).map_err(|_| NotMqtt)?;
    if CLIENT_ID_CHARS_3_1.contains(&id.chars().count()) { Ok(()) } else { Err(NotMqtt) }
}

/// `rest` of MQTT 5: flags, keep alive, properties. Whether it asks for a clean start and states an expiry of 0, which
/// ntex-mqtt does not tell from one that is not stated.
fn ends_at_once(rest: &[u8]) -> bool {
    const EXPIRY: u8 = 0x11;
    let [flags, _, _, after @ ..] = rest else { return false };
    let Some(mut properties) = variable(after).and_then(|(length, after)| after.get(..length)) else {
        return false;
    };
    let mut states_0 = false;
    while let Some((id, value)) = properties.split_first() {
        let text = |at: &[u8]| at.first_chunk().map(|length| 2 + usize::from(u16::from_be_bytes(*length)));
        let bytes = match id {
            &EXPIRY => {
                states_0 = value.starts_with(&[0; 4]);
                Some(4)
            }
            // Maximum packet size; receive maximum and topic alias maximum; the two requests for information.
            0x27 => Some(4),
            0x21 | 0x22 => Some(2),
            0x17 | 0x19 => Some(1),
            // Authentication method and data; a user property is two texts.
            0x15 | 0x16 => text(value),
            0x26 => text(value).and_then(|first| Some(first + text(value.get(first..)?)?)),
            _ => None,
        };
        match bytes.and_then(|bytes| value.get(bytes..)) {
            Some(next) => properties = next,
            // ntex-mqtt refuses it.
            None => return false,
        }
    }
    flags & CLEAN_SESSION != 0 && states_0
}

/// A number of variable length, and what follows it.
fn variable(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut number = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        number |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((number, bytes.get(index + 1..)?));
        }
    }
    None
}

/// Turns a CONNECT of MQTT 3.1 into one of 3.1.1, in place: its new head is shorter and ends where the old one did.
fn rename(buffer: &mut BytesMut, header: FixedHeader) -> Result<(), NotMqtt> {
    let mut head = vec![CONNECT];
    let mut remaining = header.remaining - (VERSION_3_1.len() - VERSION_3_1_1.len());
    loop {
        let low = u8::try_from(remaining & 0x7F).map_err(|_| NotMqtt)?;
        remaining >>= 7;
        head.push(if remaining > 0 { low | 0x80 } else { low });
        if remaining == 0 {
            break;
        }
    }
    head.extend_from_slice(VERSION_3_1_1);
    let end = header.bytes + VERSION_3_1.len();
    let start = end.checked_sub(head.len()).ok_or(NotMqtt)?;
    buffer.get_mut(start..end).ok_or(NotMqtt)?.copy_from_slice(&head);
    *buffer.get_mut(end).ok_or(NotMqtt)? |= CLEAN_SESSION;
    buffer.advance_to(start);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What ntex-mqtt is given to read.
    #[track_caller]
    fn check(sent: &[u8], expected: Result<Option<&[u8]>, NotMqtt>) {
        let mut buffer = BytesMut::copy_from_slice(sent);
        let read = FirstPacket.decode(&mut buffer);
        assert_eq!(read.map(|whole| whole.map(|_| &buffer[..])), expected, "{sent:02x?}");
    }

    fn connect(protocol: &[u8], flags: u8, client_id: &[u8]) -> Vec<u8> {
        let mut body = protocol.to_vec();
        body.extend([flags, 0, 60, 0, u8::try_from(client_id.len()).unwrap()]);
        body.extend(client_id);
        let mut packet = vec![CONNECT, u8::try_from(body.len()).unwrap()];
        packet.extend(body);
        packet
    }

    #[test]
    fn half_a_packet_is_waited_for() {
        let whole = connect(VERSION_3_1_1, CLEAN_SESSION, b"d");
        for length in 0..whole.len() {
            check(&whole[..length], Ok(None));
        }
        check(&whole, Ok(Some(&whole)));
    }

    #[test]
    fn other_packets_and_lengths_are_not_mqtt() {
        check(b"GET / HTTP/1.1\r\n\r\n", Err(NotMqtt));
        check(&[0x30, 2, 0, 0], Err(NotMqtt));
        check(&[CONNECT, 0xFF, 0xFF, 0xFF, 0x7F], Err(NotMqtt));
        check(&[CONNECT, 0x80, 0x80, 0x80, 0x80], Err(NotMqtt));
        check(&[CONNECT, 0x80, 0x80, 0x80], Ok(None));
    }

    #[test]
    fn no_session_outlives_its_connection() {
        let (sent, read) = (connect(VERSION_3_1_1, 0, b""), connect(VERSION_3_1_1, CLEAN_SESSION, b""));
        check(&sent, Ok(Some(&read)));
        let version_5 = connect(b"\0\x04MQTT\x05", 0, b"");
        check(&version_5, Ok(Some(&version_5)));
        check(&connect(b"\0\x04MQTT\x06", 0, b""), Err(NotMqtt));
    }

    #[test]
    fn mqtt_3_1_becomes_3_1_1() {
        let id = b"12345678901234567890123";
        check(&connect(VERSION_3_1, 0, id), Ok(Some(&connect(VERSION_3_1_1, CLEAN_SESSION, id))));
        check(&connect(VERSION_3_1, 0, b""), Err(NotMqtt));
        check(&connect(VERSION_3_1, 0, b"123456789012345678901234"), Err(NotMqtt));
    }

    #[track_caller]
    fn clean(sent: &[u8], expected: bool) {
        let mut buffer = BytesMut::copy_from_slice(sent);
        let read = FirstPacket.decode(&mut buffer).unwrap().unwrap();
        assert_eq!(read.is_clean, expected, "{sent:02x?}");
    }

    // 391
    #[test]
    fn whether_a_session_ends_with_its_connection_is_read() {
        for (flags, expected) in [(0x06, true), (0x04, false)] {
            clean(&connect(VERSION_3_1_1, flags, b"d"), expected);
            clean(&connect(VERSION_3_1, flags, b"d"), expected);
        }
        let version_5 = |flags: u8, properties: &[u8]| {
            let mut body = VERSION_5.to_vec();
            body.extend([flags, 0, 60, u8::try_from(properties.len()).unwrap()]);
            body.extend(properties);
            body.extend([0, 0]);
            [&[CONNECT, u8::try_from(body.len()).unwrap()], body.as_slice()].concat()
        };
        let zero = [0x11, 0, 0, 0, 0];
        let others = [0x27, 0, 1, 0, 0, 0x21, 0, 9, 0x17, 1, 0x26, 0, 1, b'k', 0, 0, 0x15, 0, 1, b'm'];
        for (flags, properties, expected) in [
            (0x06, zero.to_vec(), true),
            (0x06, [others.as_slice(), &zero].concat(), true),
            (0x06, [zero.as_slice(), &others].concat(), true),
            (0x06, others.to_vec(), false),
            (0x06, Vec::new(), false),
            (0x06, vec![0x11, 0, 0, 0, 1], false),
            (0x06, vec![0x11, 0, 0], false),
            (0x06, vec![0x26, 0xFF, 0xFF, 0], false),
            (0x06, vec![0x7F], false),
            (0x04, zero.to_vec(), false),
            (0x02, zero.to_vec(), false),
        ] {
            clean(&version_5(flags, &properties), expected);
        }
    }

    #[test]
    fn a_length_that_shrinks_is_written_anew() {
        let id = b"123";
        let mut sent = connect(VERSION_3_1, 0x80, id);
        let user = [0, 109].into_iter().chain([b'u'; 109]);
        sent.extend(user);
        let remaining = sent.len() - 2;
        assert_eq!(remaining, 125 + 3, "two bytes of length before, one after");
        sent.splice(1..2, [0x80, 0x01]);
        let mut buffer = BytesMut::copy_from_slice(&sent);
        let beginning = Beginning { version: Version::V3, is_clean: false };
        assert_eq!(FirstPacket.decode(&mut buffer), Ok(Some(beginning)));
        assert_eq!(buffer[..2], [CONNECT, 126]);
        assert_eq!(buffer.len(), 2 + 126);
        assert_eq!(buffer[2..9], *VERSION_3_1_1);
    }
}
