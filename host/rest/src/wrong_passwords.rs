//! Wrong passwords for one login name, wherever they come from: many addresses together guess no faster than one.
//!
//! Whoever tries from an address from which that user has logged in since the server started is not counted here, but
//! only with the address (`login_limit`); everybody else shares the tries of the name, so a user who comes from a new
//! address may not get in as long as somebody guesses without a pause. Names that are nobody's are counted like all others, or the
//! answers would tell which names there are. The counters are those of `tries`.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use parking_lot::Mutex;
use wireglot_model::Timestamp;
use wireglot_model::limits::{LOGIN_ADDRESSES_PER_USER_MAX, USERS_MAX, WRONG_PASSWORDS_PER_MINUTE_MAX};

use crate::error::ApiError;
use crate::tries::{Tries, Try};

pub(crate) struct WrongPasswords {
    tries: Tries,
    /// From where the user of a name has logged in, the last first.
    known: Mutex<HashMap<String, VecDeque<IpAddr>>>,
}

/// One try, which counts as wrong until it proves right.
#[must_use]
pub(crate) struct Attempt {
    name: String,
    address: IpAddr,
    /// `None` for an address that is known.
    counted: Option<Try>,
}

impl Default for WrongPasswords {
    fn default() -> Self {
        Self { tries: Tries::new(WRONG_PASSWORDS_PER_MINUTE_MAX), known: Mutex::default() }
    }
}

impl WrongPasswords {
    /// Whether somebody at `address` may try a password for this login name now.
    pub(crate) fn admit(&self, name: &str, address: IpAddr, now: Timestamp) -> Result<Attempt, ApiError> {
        let name = name.to_ascii_lowercase();
        let is_known = self.known.lock().get(&name).is_some_and(|known| known.contains(&address));
        let counted = if is_known { None } else { Some(self.tries.admit(&name, now)?) };
        Ok(Attempt { name, address, counted })
    }

    /// The password was right: the try does not count, and its address is known from now on.
    pub(crate) fn proved(&self, attempt: Attempt) {
        let Attempt { name, address, counted } = attempt;
        if let Some(counted) = counted {
            self.tries.give_back(counted);
        }
        let mut all = self.known.lock();
        if all.len() >= USERS_MAX && !all.contains_key(&name) {
            // Names of users who are gone or renamed: everybody proves themselves anew.
            all.clear();
        }
        let known = all.entry(name).or_default();
        known.retain(|other| *other != address);
        known.truncate(LOGIN_ADDRESSES_PER_USER_MAX - 1);
        known.push_front(address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u32) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::from(0x0A00_0000 + last))
    }

    #[track_caller]
    fn check(limit: &WrongPasswords, name: &str, from: u32, at_ms: i64, admitted: bool) {
        let outcome = limit.admit(name, address(from), Timestamp(at_ms));
        assert_eq!(outcome.is_ok(), admitted, "{name} from {from} at {at_ms}");
    }

    #[test]
    fn many_addresses_guess_no_faster_than_one() {
        let limit = WrongPasswords::default();
        for from in 0..WRONG_PASSWORDS_PER_MINUTE_MAX {
            check(&limit, "a@b", from, 0, true);
        }
        check(&limit, "A@B", 1_000, 59_999, false);
        check(&limit, "a@b", 1_000, 60_000, true);
    }

    #[test]
    fn where_the_user_has_logged_in_before_nobody_locks_them_out() {
        let limit = WrongPasswords::default();
        limit.proved(limit.admit("a@b", address(7), Timestamp(0)).unwrap());
        for from in 100..100 + WRONG_PASSWORDS_PER_MINUTE_MAX {
            check(&limit, "a@b", from, 1, true);
        }
        check(&limit, "a@b", 8, 2, false);
        check(&limit, "a@b", 7, 2, true);
    }

    #[test]
    fn a_right_password_is_no_wrong_one() {
        let limit = WrongPasswords::default();
        for from in 0..3 * WRONG_PASSWORDS_PER_MINUTE_MAX {
            limit.proved(limit.admit("a@b", address(from), Timestamp(0)).unwrap());
        }
        let known = limit.known.lock().get("a@b").unwrap().len();
        assert_eq!(known, LOGIN_ADDRESSES_PER_USER_MAX);
    }

    #[test]
    fn memory_is_bounded_however_many_users_there_were() {
        let limit = WrongPasswords::default();
        for user in 0..2 * USERS_MAX {
            limit.proved(limit.admit(&format!("{user}@b"), address(1), Timestamp(0)).unwrap());
        }
        assert!(limit.known.lock().len() <= USERS_MAX);
    }
}
