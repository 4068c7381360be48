//! Tries to log in that fail, for each address by itself. An IPv6 network of 64 bits counts as one address (`peer`).
//!
//! What succeeds does not count: command lines log in anew with every command. Not here: tries for one login name
//! (`wrong_passwords`).

use std::collections::HashMap;
use std::net::IpAddr;

use parking_lot::Mutex;
use wireglot_model::Timestamp;
use wireglot_model::limits::{LOGIN_ADDRESSES_MAX, LOGINS_PER_MINUTE_MAX};

use crate::error::ApiError;
use crate::window::{Ticket, Window};

#[derive(Default)]
pub(crate) struct LoginLimit(Mutex<HashMap<IpAddr, Window>>);

/// One try of an address, which counts until it succeeds.
#[must_use]
pub(crate) struct LoginTry {
    pub(crate) address: IpAddr,
    ticket: Ticket,
}

impl LoginLimit {
    /// Whether somebody at `address` may try now.
    pub(crate) fn admit(&self, address: IpAddr, now: Timestamp) -> Result<LoginTry, ApiError> {
        let mut windows = self.0.lock();
        if windows.len() >= LOGIN_ADDRESSES_MAX && !windows.contains_key(&address) {
            windows.retain(|_, window| !window.is_over(now));
            if windows.len() >= LOGIN_ADDRESSES_MAX {
                // So many addresses at once are one attacker: newcomers wait until the map has room.
                return Err(ApiError::too_many_requests(60));
            }
        }
        let window = windows.entry(address).or_insert(Window::EMPTY);
        Ok(LoginTry { address, ticket: window.admit(LOGINS_PER_MINUTE_MAX, now)? })
    }

    /// The try has succeeded.
    pub(crate) fn give_back(&self, LoginTry { address, ticket }: LoginTry) {
        if let Some(window) = self.0.lock().get_mut(&address) {
            window.give_back(ticket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::Origin;
    use crate::window::WINDOW_MS;

    fn address(text: &str) -> IpAddr {
        Origin(Some(text.parse().unwrap())).network()
    }

    #[track_caller]
    fn check(limit: &LoginLimit, from: &str, at_ms: i64, admitted: bool) {
        assert_eq!(limit.admit(address(from), Timestamp(at_ms)).is_ok(), admitted, "{from} at {at_ms}");
    }

    #[test]
    fn an_address_may_try_so_often_a_minute() {
        let limit = LoginLimit::default();
        for _ in 0..LOGINS_PER_MINUTE_MAX {
            check(&limit, "10.0.0.1", 0, true);
        }
        check(&limit, "10.0.0.1", WINDOW_MS - 1, false);
        check(&limit, "::ffff:10.0.0.1", WINDOW_MS - 1, false);
        check(&limit, "10.0.0.2", 0, true);
        check(&limit, "10.0.0.1", WINDOW_MS, true);
    }

    #[test]
    fn a_try_that_succeeds_does_not_count() {
        let limit = LoginLimit::default();
        for _ in 0..2 * LOGINS_PER_MINUTE_MAX {
            limit.give_back(limit.admit(address("::ffff:10.0.0.1"), Timestamp(0)).unwrap());
        }
        for _ in 0..LOGINS_PER_MINUTE_MAX {
            check(&limit, "10.0.0.1", 0, true);
        }
        check(&limit, "10.0.0.1", 0, false);
    }

    #[test]
    fn a_network_is_one_address() {
        let limit = LoginLimit::default();
        for last in 0..LOGINS_PER_MINUTE_MAX {
            check(&limit, &format!("2001:db8::{last:x}"), 0, true);
        }
        check(&limit, "2001:db8::ffff", 0, false);
        check(&limit, "2001:db8:0:1::1", 0, true);
    }

    #[test]
    fn memory_is_bounded_however_many_addresses_try() {
        let limit = LoginLimit::default();
        for address in 0..LOGIN_ADDRESSES_MAX {
            let address = std::net::Ipv4Addr::from(u32::try_from(address).unwrap() + 1);
            check(&limit, &address.to_string(), 0, true);
        }
        check(&limit, "200.0.0.1", 1, false);
        check(&limit, "0.0.0.1", 1, true);
        check(&limit, "200.0.0.1", WINDOW_MS, true);
        assert!(limit.0.lock().len() <= LOGIN_ADDRESSES_MAX);
    }
}
