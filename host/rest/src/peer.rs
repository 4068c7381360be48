//! From where a request came: whoever is connected, or whom a reverse proxy speaks for that the settings trust.
//!
//! Whatever is counted by address goes by `Origin`. A header that anybody can write counts only as far as a trusted proxy
//! vouches for it: each proxy adds at the right whom it has heard, so the list is read from there, and what is left of the
//! first address that is no trusted proxy is that client's own saying.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use wireglot_model::{Networks, network};

use crate::Api;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Who is connected; put in by the listener.
#[derive(Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// The address of the client; `None` where nobody is connected.
pub(crate) struct Origin(pub(crate) Option<IpAddr>);

impl FromRequestParts<Api> for Origin {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Infallible> {
        Ok(Self::of(parts, api))
    }
}

impl Origin {
    pub(crate) fn of(parts: &Parts, api: &Api) -> Self {
        let peer = parts.extensions.get::<Peer>();
        Self(peer.map(|Peer(peer)| client(peer.ip(), &parts.headers, &api.trusted_proxies)))
    }

    /// What counts as its address.
    pub(crate) fn network(&self) -> IpAddr {
        self.0.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), network)
    }
}

/// The client of `peer`: the first address from the right that is no trusted proxy. Where the proxies say something that is
/// no address, or name only each other, it is the last one that is known.
fn client(peer: IpAddr, headers: &HeaderMap, trusted: &Networks) -> IpAddr {
    let mut known = peer.to_canonical();
    // Several lines are one list (RFC 9110, 5.3), in which parts may be empty (5.6.1).
    let lines = headers.get_all(FORWARDED_FOR).iter().rev();
    let parts = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    for part in parts.map(<[u8]>::trim_ascii).filter(|part| !part.is_empty()) {
        if !trusted.contains(known) {
            break;
        }
        match address(part) {
            Some(address) => known = address,
            None => break,
        }
    }
    known
}

/// An address as proxies write it: alone, in brackets, with a port.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let alone = bare.parse().ok();
    let address = alone.or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))?;
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    /// `lines` are those of the header, in their order.
    #[track_caller]
    fn check(peer: &str, lines: &[&str], expected: &str) {
        let trusted = Networks::parse("10.0.0.0/8, 127.0.0.1, fd00::/8").unwrap();
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        let found = client(peer.parse().unwrap(), &headers, &trusted);
        assert_eq!(found.to_string(), expected, "{peer} {lines:?}");
    }

    #[test]
    fn nobody_speaks_for_others_but_a_trusted_proxy() {
        check("203.0.113.1", &["192.0.2.7"], "203.0.113.1");
        check("203.0.113.1", &[], "203.0.113.1");
        check("::ffff:203.0.113.1", &["10.0.0.1"], "203.0.113.1");
        check("::1", &["192.0.2.7"], "::1");
        check("10.1.2.3", &["192.0.2.7"], "192.0.2.7");
        check("::ffff:10.1.2.3", &["192.0.2.7"], "192.0.2.7");
        check("10.1.2.3", &[], "10.1.2.3");
    }

    #[test]
    fn of_a_chain_the_last_that_is_no_proxy_counts() {
        check("127.0.0.1", &["198.51.100.9, 192.0.2.7, 10.0.0.2,10.0.0.3"], "192.0.2.7");
        check("127.0.0.1", &["198.51.100.9, 192.0.2.7", "10.0.0.2", "10.0.0.3"], "192.0.2.7");
        check("127.0.0.1", &["10.9.9.9", "192.0.2.7"], "192.0.2.7");
        check("127.0.0.1", &["192.0.2.7, ::ffff:10.0.0.2"], "192.0.2.7");
        check("127.0.0.1", &["10.0.0.4, 10.0.0.3"], "10.0.0.4");
    }

    #[test]
    fn what_is_no_address_leaves_the_last_that_is_known() {
        check("127.0.0.1", &["192.0.2.7, unknown"], "127.0.0.1");
        check("127.0.0.1", &["unknown, 10.0.0.2"], "10.0.0.2");
        check("127.0.0.1", &["not, 192.0.2.7"], "192.0.2.7");
        check("127.0.0.1", &["192.0.2.7 198.51.100.9"], "127.0.0.1");
        check("127.0.0.1", &["\u{fc}"], "127.0.0.1");
        check("127.0.0.1", &["", " , ,"], "127.0.0.1");
        check("127.0.0.1", &["192.0.2.7, ,", ""], "192.0.2.7");
    }

    #[test]
    fn addresses_are_read_as_proxies_write_them() {
        for (written, expected) in [
            ("192.0.2.7:4711", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("[::ffff:192.0.2.7]:80", "192.0.2.7"),
            ("2001:db8::7", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("[2001:db8::7]:4711", "2001:db8::7"),
            ("2001:db8::7, fd00::1", "2001:db8::7"),
        ] {
            check("127.0.0.1", &[written], expected);
        }
    }
}
