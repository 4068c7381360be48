//! What counts as one address where somebody's tries are counted.

use std::net::{IpAddr, Ipv6Addr};

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
