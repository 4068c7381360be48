//! Addresses: what counts as one where somebody's tries are counted, and lists of networks in settings.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use crate::limits::NETWORKS_MAX;

/// The network that stands for an address. One of IPv6 has 64 bits: whoever has one address of it has them all.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

/// Addresses and networks, as a setting lists them: `10.0.0.0/8, 192.0.2.7, 2001:db8::/32`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Networks(Vec<Network>);

/// All addresses that begin with these bits.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Network {
    /// IPv4 in its own form.
    first: IpAddr,
    bits: u32,
}

/// Why a text is no list of networks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum InvalidNetworks {
    /// It is no address.
    Unreadable(String),
    /// An address has fewer bits than that.
    Bits(String),
    /// The address is within the network, not its first one.
    NotTheFirst {
        /// As it was written.
        given: String,
        /// The network that the address is in.
        meant: String,
    },
    /// More than anybody has.
    TooMany,
}

impl fmt::Display for InvalidNetworks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(text) => {
                let such = "such as 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32";
                write!(f, "`{text}` is neither an address nor a network, {such}")
            }
            Self::Bits(text) => {
                let range = "0..=32 for IPv4 and 0..=128 for IPv6";
                write!(f, "`{text}`: what stands behind the slash is a number of bits, {range}")
            }
            Self::NotTheFirst { given, meant } => {
                write!(
                    f,
                    "`{given}` has bits behind its prefix: write {meant} for the network, or the address alone"
                )
            }
            Self::TooMany => write!(f, "there are more than {NETWORKS_MAX} networks"),
        }
    }
}

impl std::error::Error for InvalidNetworks {}

impl Networks {
    /// Reads a list with commas between its parts; an empty text is an empty list.
    pub fn parse(text: &str) -> Result<Self, InvalidNetworks> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let networks: Vec<Network> = parts.map(Network::parse).collect::<Result<_, _>>()?;
        if networks.len() > NETWORKS_MAX { Err(InvalidNetworks::TooMany) } else { Ok(Self(networks)) }
    }

    /// Whether one of the networks has this address, in whichever form it comes.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(address))
    }
}

impl fmt::Debug for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

impl Network {
    fn parse(text: &str) -> Result<Self, InvalidNetworks> {
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let unreadable = |_| InvalidNetworks::Unreadable(text.to_owned());
        let address: IpAddr = address.trim().parse().map_err(unreadable)?;
        let all = width(address);
        let wrong = || InvalidNetworks::Bits(text.to_owned());
        let bits = match bits {
            Some(bits) => bits.trim().parse().ok().filter(|bits| *bits <= all).ok_or_else(wrong)?,
            None => all,
        };
        // An IPv4 network in the form of IPv6 has 96 bits before its own.
        let canonical = address.to_canonical();
        let bits = bits.checked_sub(all - width(canonical)).ok_or_else(wrong)?;
        let network = Self { first: masked(canonical, bits), bits };
        let meant = || format!("{network:?}");
        let refusal = || InvalidNetworks::NotTheFirst { given: text.to_owned(), meant: meant() };
        if network.first == canonical { Ok(network) } else { Err(refusal()) }
    }

    fn contains(self, address: IpAddr) -> bool {
        self.first.is_ipv4() == address.is_ipv4() && masked(address, self.bits) == self.first
    }
}

const fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { u32::BITS } else { u128::BITS }
}

/// The address with nothing but its first bits.
fn masked(address: IpAddr, bits: u32) -> IpAddr {
    // What is shifted out as a whole leaves nothing.
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(u32::BITS - bits).unwrap_or(0);
            IpAddr::from((address.to_bits() & mask).to_be_bytes())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(u128::BITS - bits).unwrap_or(0);
            IpAddr::from((address.to_bits() & mask).to_be_bytes())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(networks: &str, address: &str, expected: bool) {
        let list = Networks::parse(networks).unwrap();
        assert_eq!(list.contains(address.parse().unwrap()), expected, "{address} in {networks}");
    }

    #[test]
    fn a_network_has_what_begins_with_its_bits() {
        for (networks, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "11.1.2.3", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.6", false),
            ("192.0.2.6/31, 2001:db8::/32", "192.0.2.7", true),
            ("192.0.2.6/31, 2001:db8::/32", "2001:db8:ffff::1", true),
            ("192.0.2.6/31, 2001:db8::/32", "2001:db9::", false),
            ("::1", "::1", true),
            ("0.0.0.0/0", "203.0.113.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "203.0.113.1", false),
            ("", "127.0.0.1", false),
            (" , ", "127.0.0.1", false),
        ] {
            check(networks, address, expected);
        }
    }

    #[test]
    fn what_is_no_network_is_refused_with_the_way_out() {
        for (text, words) in [
            ("10.0.0", "`10.0.0` is neither an address nor a network"),
            ("10.0.0.0/8 127.0.0.1", "0..=32"),
            ("proxy.example", "`proxy.example` is neither"),
            ("10.0.0.0/33", "0..=32 for IPv4"),
            ("10.0.0.0/", "0..=32 for IPv4"),
            ("10.0.0.0/-1", "0..=32 for IPv4"),
            ("2001:db8::/129", "0..=128 for IPv6"),
            ("::ffff:10.0.0.0/8", "0..=128 for IPv6"),
            ("10.0.0.1/8", "write 10.0.0.0/8 for the network"),
            ("2001:db8::1/32", "write 2001:db8::/32 for the network"),
        ] {
            let told = Networks::parse(text).unwrap_err().to_string();
            assert!(told.contains(words), "{text}: {told}");
        }
    }

    #[test]
    fn their_number_is_bounded() {
        let many = |count: usize| vec!["192.0.2.7"; count].join(",");
        assert!(Networks::parse(&many(NETWORKS_MAX)).is_ok());
        assert_eq!(Networks::parse(&many(NETWORKS_MAX + 1)), Err(InvalidNetworks::TooMany));
    }
}
