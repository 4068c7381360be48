//! The PROXY protocol, versions 1 and 2: a load balancer tells whose connection it passes on before anything else.
//!
//! Where it is configured, every connection begins with such a header; whatever else comes first ends it. Who can reach
//! the port can say any address, so only load balancers may.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ntex::codec::{Decoder, Encoder};
use ntex::util::BytesMut;
use wireglot_model::limits::PROXY_HEADER_BYTES_MAX;

const SIGNATURE_1: &[u8] = b"PROXY ";
/// The longest line of version 1, with its end.
const LINE_BYTES_MAX: usize = 107;
const SIGNATURE_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const HEAD_2_BYTES: usize = 16;

/// The decoder that is asked once, and takes the header out of the buffer.
#[derive(Debug)]
pub(crate) struct ProxyHeader;

/// Whose connection it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    Address(IpAddr),
    /// The balancer's own, or one whose address it cannot tell.
    Unsaid,
}

/// What came first is no PROXY header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the connection does not begin with a PROXY header")]
pub(crate) struct NotProxied;

impl Decoder for ProxyHeader {
    type Item = Source;
    type Error = NotProxied;

    fn decode(&self, buffer: &mut BytesMut) -> Result<Option<Source>, NotProxied> {
        let read = if begins_with(buffer, SIGNATURE_2) { version_2(buffer)? } else { version_1(buffer)? };
        Ok(read.map(|(source, bytes)| {
            buffer.advance_to(bytes);
            source
        }))
    }
}

impl Encoder for ProxyHeader {
    type Item = ();
    type Error = NotProxied;

    fn encode(&self, (): (), _: &mut BytesMut) -> Result<(), NotProxied> {
        // Nothing is ever written with it.
        Err(NotProxied)
    }
}

/// Whether what is there is the beginning of `signature`, or begins with it. Their first bytes differ.
fn begins_with(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(byte, expected)| byte == expected) && !bytes.is_empty()
}

/// The source and how many bytes said so; `None` while some are missing.
type Read = Result<Option<(Source, usize)>, NotProxied>;

/// `PROXY TCP4 SOURCE DESTINATION PORT PORT` and the end of a line.
fn version_1(bytes: &[u8]) -> Read {
    if !bytes.is_empty() && !begins_with(bytes, SIGNATURE_1) {
        return Err(NotProxied);
    }
    let seen = bytes.get(..LINE_BYTES_MAX).unwrap_or(bytes);
    let Some(end) = seen.windows(2).position(|pair| pair == b"\r\n") else {
        return if seen.len() < LINE_BYTES_MAX { Ok(None) } else { Err(NotProxied) };
    };
    let line = seen.get(SIGNATURE_1.len()..end).ok_or(NotProxied)?;
    let line = std::str::from_utf8(line).map_err(|_| NotProxied)?;
    Ok(Some((source_of(line).ok_or(NotProxied)?, end + 2)))
}

fn source_of(line: &str) -> Option<Source> {
    let mut words = line.split(' ');
    let is_v4 = match words.next()? {
        "TCP4" => true,
        "TCP6" => false,
        // Whatever follows is to be ignored.
        "UNKNOWN" => return Some(Source::Unsaid),
        _ => return None,
    };
    let [source, destination]: [IpAddr; 2] = [words.next()?.parse().ok()?, words.next()?.parse().ok()?];
    for _ in 0..2 {
        words.next()?.parse::<u16>().ok()?;
    }
    let is_well_formed =
        source.is_ipv4() == is_v4 && destination.is_ipv4() == is_v4 && words.next().is_none();
    is_well_formed.then_some(Source::Address(source))
}

fn version_2(bytes: &[u8]) -> Read {
    let Some(head) = bytes.first_chunk::<HEAD_2_BYTES>() else { return Ok(None) };
    let [.., command, family, high, low] = *head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let end = HEAD_2_BYTES + length;
    if end > PROXY_HEADER_BYTES_MAX {
        return Err(NotProxied);
    }
    let Some(body) = bytes.get(HEAD_2_BYTES..end) else { return Ok(None) };
    let source = match command {
        // LOCAL: the balancer speaks for itself.
        0x20 => Source::Unsaid,
        0x21 => address_of(family, body).ok_or(NotProxied)?,
        _ => return Err(NotProxied),
    };
    Ok(Some((source, end)))
}

/// What is behind the two addresses and ports are extensions, which nobody here reads.
fn address_of(family: u8, body: &[u8]) -> Option<Source> {
    let source = match family {
        // TCP over IPv4 and IPv6.
        0x11 => IpAddr::from(Ipv4Addr::from(*body.get(..12)?.first_chunk::<4>()?)),
        0x21 => IpAddr::from(Ipv6Addr::from(*body.get(..36)?.first_chunk::<16>()?)),
        // Unspecified, and sockets of one machine.
        0x00 | 0x31 => return Some(Source::Unsaid),
        _ => return None,
    };
    Some(Source::Address(source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(sent: &[u8], expected: Result<Option<Source>, NotProxied>) {
        let mut buffer = BytesMut::copy_from_slice([sent, b"rest"].concat());
        let read = ProxyHeader.decode(&mut buffer);
        assert_eq!(read, expected, "{sent:02x?}");
        if let Ok(Some(_)) = read {
            assert_eq!(&buffer[..], b"rest", "{sent:02x?}");
        }
        for length in 0..sent.len() {
            let read = ProxyHeader.decode(&mut BytesMut::copy_from_slice(&sent[..length]));
            // A part of a header is waited for; a part of something else may be known already.
            assert!(
                read == Ok(None) || (expected.is_err() && read == expected),
                "{length} of {sent:02x?}: {read:?}"
            );
        }
    }

    fn from(address: &str) -> Result<Option<Source>, NotProxied> {
        Ok(Some(Source::Address(address.parse().unwrap())))
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [SIGNATURE_2, &[command, family], &length, body].concat()
    }

    #[test]
    fn version_1_is_a_line() {
        check(b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n", from("192.0.2.1"));
        check(b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n", from("2001:db8::1"));
        check(b"PROXY UNKNOWN\r\n", Ok(Some(Source::Unsaid)));
        check(b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", Ok(Some(Source::Unsaid)));
        for wrong in [
            "PROXY\r\n",
            "PROXY TCP4\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 1\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 1 65536\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 1 2 3\r\n",
            "PROXY TCP4 192.0.2.256 198.51.100.1 1 2\r\n",
            "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
            "PROXY TCP6 192.0.2.1 198.51.100.1 1 2\r\n",
            "PROXY TCP4  192.0.2.1 198.51.100.1 1 2\r\n",
            "PROXY UDP4 192.0.2.1 198.51.100.1 1 2\r\n",
            "proxy TCP4 192.0.2.1 198.51.100.1 1 2\r\n",
            "\x10\x10\0\x04MQTT\x04\x02\0\x3c\0\x04",
            "GET / HTTP/1.1\r\n",
        ] {
            check(wrong.as_bytes(), Err(NotProxied));
        }
    }

    #[test]
    fn a_line_without_end_is_cut_off() {
        let unended = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; LINE_BYTES_MAX]].concat();
        check(&unended[..LINE_BYTES_MAX], Err(NotProxied));
        let longest = [&unended[..LINE_BYTES_MAX - 2], b"\r\n"].concat();
        check(&longest, Ok(Some(Source::Unsaid)));
    }

    #[test]
    fn version_2_is_binary() {
        let v4 = [192, 0, 2, 1, 198, 51, 100, 1, 0xDC, 0x04, 1, 0xBB];
        let v6 =
            ["2001:db8::1", "2001:db8::2"].map(|text| text.parse::<Ipv6Addr>().unwrap().octets()).concat();
        let v6 = [&v6[..], &[0, 1, 0, 2]].concat();
        check(&v2(0x21, 0x11, &v4), from("192.0.2.1"));
        check(&v2(0x21, 0x11, &[&v4[..], &[4, 0, 1, 0]].concat()), from("192.0.2.1"));
        check(&v2(0x21, 0x21, &v6), from("2001:db8::1"));
        check(&v2(0x20, 0x00, &[]), Ok(Some(Source::Unsaid)));
        check(&v2(0x20, 0x11, &v4), Ok(Some(Source::Unsaid)));
        check(&v2(0x21, 0x00, &[]), Ok(Some(Source::Unsaid)));
        check(&v2(0x21, 0x31, &[0; 216]), Ok(Some(Source::Unsaid)));
        check(&v2(0x21, 0x11, &v4[..11]), Err(NotProxied));
        check(&v2(0x21, 0x21, &v6[..35]), Err(NotProxied));
        check(&v2(0x21, 0x12, &v4), Err(NotProxied));
        check(&v2(0x22, 0x11, &v4), Err(NotProxied));
        check(&v2(0x11, 0x11, &v4), Err(NotProxied));
    }

    #[test]
    fn a_header_is_bounded() {
        check(&v2(0x20, 0x00, &vec![0; PROXY_HEADER_BYTES_MAX - HEAD_2_BYTES]), Ok(Some(Source::Unsaid)));
        check(&v2(0x20, 0x00, &vec![0; PROXY_HEADER_BYTES_MAX - HEAD_2_BYTES + 1]), Err(NotProxied));
    }
}
