//! Counts tries that fail, by what is tried or by who tries: so many in a minute.
//!
//! Keys share the counters (`window`) by a hash that nobody can predict, so memory is bounded. Not here: tries by address
//! (`login_limit`), which are few and must not share.

use std::hash::{BuildHasher, Hash, RandomState};

use parking_lot::Mutex;
use wireglot_model::Timestamp;
use wireglot_model::limits::TRY_COUNTERS;

use crate::error::ApiError;
use crate::window::{Ticket, Window};

pub(crate) struct Tries {
    most: u32,
    /// Not known outside, so that nobody finds keys that share a counter.
    hasher: RandomState,
    counters: Mutex<Vec<Window>>,
}

/// One try, which counts as failed until it is given back.
pub(crate) struct Try {
    place: usize,
    ticket: Ticket,
}

impl Tries {
    pub(crate) fn new(most: u32) -> Self {
        Self { most, hasher: RandomState::new(), counters: Mutex::new(vec![Window::EMPTY; TRY_COUNTERS]) }
    }

    /// Whether there may be another try now.
    pub(crate) fn admit(&self, key: impl Hash, now: Timestamp) -> Result<Try, ApiError> {
        let place = usize::try_from(self.hasher.hash_one(key)).unwrap_or(0) % TRY_COUNTERS;
        let mut counters = self.counters.lock();
        let counter = counters.get_mut(place).expect("the place is less than their number");
        Ok(Try { place, ticket: counter.admit(self.most, now)? })
    }

    /// The try has succeeded, or never took place.
    pub(crate) fn give_back(&self, Try { place, ticket }: Try) {
        if let Some(counter) = self.counters.lock().get_mut(place) {
            counter.give_back(ticket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::WINDOW_MS;

    const MOST: u32 = 3;

    #[track_caller]
    fn check(tries: &Tries, key: &str, at_ms: i64, admitted: bool) {
        assert_eq!(tries.admit(key, Timestamp(at_ms)).is_ok(), admitted, "{key} at {at_ms}");
    }

    #[test]
    fn so_many_may_fail_in_a_minute() {
        let tries = Tries::new(MOST);
        for _ in 0..MOST {
            check(&tries, "a", WINDOW_MS, true);
        }
        check(&tries, "a", 2 * WINDOW_MS - 1, false);
        check(&tries, "b", WINDOW_MS, true);
        check(&tries, "a", 2 * WINDOW_MS, true);
        // A clock that was set back begins anew.
        for _ in 0..MOST {
            check(&tries, "a", 0, true);
        }
        check(&tries, "a", 0, false);
    }

    #[test]
    fn a_try_that_succeeds_does_not_count() {
        let tries = Tries::new(MOST);
        for _ in 0..3 * MOST {
            let given = tries.admit("a", Timestamp(0)).unwrap();
            tries.give_back(given);
        }
        let late = tries.admit("a", Timestamp(0)).unwrap();
        (0..MOST).for_each(|_| check(&tries, "a", WINDOW_MS, true));
        tries.give_back(late);
        check(&tries, "a", WINDOW_MS, false);
    }

    #[test]
    fn memory_is_bounded_however_many_keys_there_are() {
        let tries = Tries::new(MOST);
        for key in 0..10 * TRY_COUNTERS {
            drop(tries.admit(key, Timestamp(0)));
        }
        assert_eq!(tries.counters.lock().len(), TRY_COUNTERS);
    }
}
