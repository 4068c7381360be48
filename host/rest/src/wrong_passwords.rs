//! Wrong passwords for one login name, wherever they come from: many addresses together guess no faster than one.
//!
//! Nobody can lock a user out this way: whoever tries from an address from which that user has logged in before is not
//! counted here, but only with the address (`access`). Names that are nobody's are counted like all others, or the answers
//! would tell which names there are. Names share counters by a hash that nobody can predict, so memory is bounded.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use parking_lot::Mutex;
use wireglot_model::Timestamp;
use wireglot_model::limits::{
    LOGIN_ADDRESSES_PER_USER_MAX, LOGIN_NAME_COUNTERS, USERS_MAX, WRONG_PASSWORDS_PER_MINUTE_MAX,
};

use crate::error::ApiError;

const WINDOW_MS: i64 = 60_000;

pub(crate) struct WrongPasswords {
    /// Not known outside, so that nobody finds names that share a counter.
    hasher: RandomState,
    state: Mutex<State>,
}

struct State {
    counters: Vec<Counter>,
    /// From where the user of a name has logged in, the last first.
    known: HashMap<String, VecDeque<IpAddr>>,
}

#[derive(Clone, Copy, Default)]
struct Counter {
    since: i64,
    wrong: u32,
}

/// One try, which counts as wrong until it proves right.
#[must_use]
pub(crate) struct Attempt {
    name: String,
    address: IpAddr,
    counter: Option<(usize, i64)>,
}

impl Default for WrongPasswords {
    fn default() -> Self {
        let state = State { counters: vec![Counter::default(); LOGIN_NAME_COUNTERS], known: HashMap::new() };
        Self { hasher: RandomState::new(), state: Mutex::new(state) }
    }
}

impl WrongPasswords {
    /// Whether somebody at `address` may try a password for this login name now.
    pub(crate) fn admit(&self, name: &str, address: IpAddr, now: Timestamp) -> Result<Attempt, ApiError> {
        let name = name.to_ascii_lowercase();
        let place = usize::try_from(self.hasher.hash_one(&name)).unwrap_or(0) % LOGIN_NAME_COUNTERS;
        let mut state = self.state.lock();
        if state.known.get(&name).is_some_and(|known| known.contains(&address)) {
            return Ok(Attempt { name, address, counter: None });
        }
        let counter = state.counters.get_mut(place).expect("the place is less than their number");
        if now.0 - counter.since >= WINDOW_MS || now.0 < counter.since {
            *counter = Counter { since: now.0, wrong: 0 };
        }
        if counter.wrong >= WRONG_PASSWORDS_PER_MINUTE_MAX {
            let left_ms = (counter.since + WINDOW_MS - now.0).max(0);
            return Err(ApiError::too_many_requests(u64::try_from(left_ms).unwrap_or(0).div_ceil(1000)));
        }
        counter.wrong += 1;
        Ok(Attempt { name, address, counter: Some((place, counter.since)) })
    }

    /// The password was right: the try does not count, and its address is known from now on.
    pub(crate) fn proved(&self, attempt: Attempt) {
        let Attempt { name, address, counter } = attempt;
        let mut state = self.state.lock();
        if let Some((place, since)) = counter
            && let Some(counter) = state.counters.get_mut(place)
            && counter.since == since
        {
            counter.wrong = counter.wrong.saturating_sub(1);
        }
        if state.known.len() >= USERS_MAX && !state.known.contains_key(&name) {
            // Names of users who are gone or renamed: everybody proves themselves anew.
            state.known.clear();
        }
        let known = state.known.entry(name).or_default();
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
        check(&limit, "A@B", 1_000, WINDOW_MS - 1, false);
        check(&limit, "a@b", 1_000, WINDOW_MS, true);
    }

    #[test]
    fn where_the_user_has_been_before_nobody_locks_them_out() {
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
        let known = limit.state.lock().known.get("a@b").unwrap().len();
        assert_eq!(known, LOGIN_ADDRESSES_PER_USER_MAX);
    }

    #[test]
    fn memory_is_bounded_however_many_users_there_were() {
        let limit = WrongPasswords::default();
        for user in 0..2 * USERS_MAX {
            limit.proved(limit.admit(&format!("{user}@b"), address(1), Timestamp(0)).unwrap());
        }
        let state = limit.state.lock();
        assert!(state.known.len() <= USERS_MAX && state.counters.len() == LOGIN_NAME_COUNTERS);
    }
}
