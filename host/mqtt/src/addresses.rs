//! Wrong logins, counted for each address: whoever guesses is dropped at accept for a while (device API §3.7).
//!
//! Off unless it is configured, because many devices may share one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use wireglot_model::limits::WRONG_LOGIN_ADDRESSES_MAX;
use wireglot_model::network;

/// Addresses that are looked at to find one that makes room.
const SAMPLE: usize = 16;

/// How many wrong logins an address has, and for how long it is blocked then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WrongLogins {
    /// So many in a row.
    pub max: u32,
    /// From the last of them on.
    pub block: Duration,
}

/// The addresses with wrong logins.
pub(crate) struct Addresses {
    limit: WrongLogins,
    known: Mutex<HashMap<IpAddr, Record>>,
}

#[derive(Clone, Copy)]
struct Record {
    wrong: u32,
    last: Instant,
}

impl Addresses {
    pub(crate) fn new(limit: WrongLogins) -> Self {
        Self { limit, known: Mutex::default() }
    }

    /// Whether connections from there are dropped now.
    pub(crate) fn is_blocked(&self, address: IpAddr, now: Instant) -> bool {
        let address = network(address);
        let mut known = self.known.lock();
        let Some(record) = known.get(&address) else { return false };
        if record.wrong < self.limit.max {
            return false;
        }
        let is_over = now.duration_since(record.last) >= self.limit.block;
        if is_over {
            known.remove(&address);
        }
        !is_over
    }

    /// A login from there was refused. Says whether that was one too many.
    pub(crate) fn wrong(&self, address: IpAddr, now: Instant) -> bool {
        let address = network(address);
        let mut known = self.known.lock();
        if known.len() >= WRONG_LOGIN_ADDRESSES_MAX && !known.contains_key(&address) {
            self.make_room(&mut known);
        }
        let record = known.entry(address).or_insert(Record { wrong: 0, last: now });
        *record = Record { wrong: record.wrong.saturating_add(1), last: now };
        record.wrong == self.limit.max
    }

    /// A login from there was right: what came before it is forgiven.
    pub(crate) fn right(&self, address: IpAddr) {
        self.known.lock().remove(&network(address));
    }

    /// Forgets one of a few addresses: the one that was quiet for longest, and none that is blocked where another one
    /// is there. That costs the same however many there are.
    fn make_room(&self, known: &mut HashMap<IpAddr, Record>) {
        let sample = known.iter().take(SAMPLE);
        let oldest = sample.min_by_key(|(_, record)| (record.wrong >= self.limit.max, record.last));
        if let Some(address) = oldest.map(|(address, _)| *address) {
            known.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: Duration = Duration::from_secs(60);

    fn addresses(max: u32) -> Addresses {
        Addresses::new(WrongLogins { max, block: BLOCK })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_last_one_too_many_blocks_for_a_while() {
        let (addresses, here, now) = (addresses(3), ip("192.0.2.1"), Instant::now());
        for expected in [false, false, true, false] {
            assert_eq!(addresses.wrong(here, now), expected);
        }
        assert!(!addresses.is_blocked(ip("192.0.2.2"), now), "a neighbour");
        assert!(addresses.is_blocked(here, now + BLOCK - Duration::from_nanos(1)));
        assert!(!addresses.is_blocked(here, now + BLOCK));
        // And it begins anew.
        assert!(!addresses.wrong(here, now + BLOCK));
        assert!(!addresses.is_blocked(here, now + BLOCK));
    }

    #[test]
    fn a_right_login_forgives_what_came_before() {
        let (addresses, here, now) = (addresses(2), ip("192.0.2.1"), Instant::now());
        addresses.wrong(here, now);
        addresses.right(here);
        assert!(!addresses.wrong(here, now));
        assert!(!addresses.is_blocked(here, now));
    }

    #[test]
    fn a_network_of_ipv6_is_one_address_and_ipv4_is_one_in_either_form() {
        let (addresses, now) = (addresses(1), Instant::now());
        addresses.wrong(ip("2001:db8::1"), now);
        assert!(addresses.is_blocked(ip("2001:db8::ffff"), now));
        assert!(!addresses.is_blocked(ip("2001:db8:0:1::1"), now));
        addresses.wrong(ip("::ffff:192.0.2.1"), now);
        assert!(addresses.is_blocked(ip("192.0.2.1"), now));
    }

    #[test]
    fn memory_is_bounded_and_those_who_guess_most_are_remembered() {
        let (addresses, now) = (addresses(2), Instant::now());
        let guesser = ip("192.0.2.1");
        addresses.wrong(guesser, now);
        addresses.wrong(guesser, now);
        let count = u32::try_from(WRONG_LOGIN_ADDRESSES_MAX).unwrap() + 1_000;
        for other in 0..count {
            addresses.wrong(IpAddr::from((0x0A00_0000 + other).to_be_bytes()), now);
        }
        assert_eq!(addresses.known.lock().len(), WRONG_LOGIN_ADDRESSES_MAX);
        assert!(addresses.is_blocked(guesser, now));
    }
}
