//! Counts tries that fail, by what is tried or by who tries: so many in a minute.
//!
//! A try counts when it begins, so that many at once are no way around it, and is given back when it succeeds. Keys share
//! counters by a hash that nobody can predict, so memory is bounded. Not here: tries by address (`access`), which are few
//! and must not share.

use std::hash::{BuildHasher, Hash, RandomState};

use parking_lot::Mutex;
use wireglot_model::Timestamp;
use wireglot_model::limits::TRY_COUNTERS;

use crate::error::ApiError;

const WINDOW_MS: i64 = 60_000;

pub(crate) struct Tries {
    most: u32,
    /// Not known outside, so that nobody finds keys that share a counter.
    hasher: RandomState,
    counters: Mutex<Vec<Counter>>,
}

#[derive(Clone, Copy, Default)]
struct Counter {
    since: i64,
    failed: u32,
}

/// One try, which counts as failed until it is given back.
pub(crate) struct Try {
    place: usize,
    since: i64,
}

impl Tries {
    pub(crate) fn new(most: u32) -> Self {
        Self {
            most,
            hasher: RandomState::new(),
            counters: Mutex::new(vec![Counter::default(); TRY_COUNTERS]),
        }
    }

    /// Whether there may be another try now.
    pub(crate) fn admit(&self, key: impl Hash, now: Timestamp) -> Result<Try, ApiError> {
        let place = usize::try_from(self.hasher.hash_one(key)).unwrap_or(0) % TRY_COUNTERS;
        let mut counters = self.counters.lock();
        let counter = counters.get_mut(place).expect("the place is less than their number");
        if now.0 - counter.since >= WINDOW_MS || now.0 < counter.since {
            *counter = Counter { since: now.0, failed: 0 };
        }
        if counter.failed >= self.most {
            let left_ms = (counter.since + WINDOW_MS - now.0).max(0);
            return Err(ApiError::too_many_requests(u64::try_from(left_ms).unwrap_or(0).div_ceil(1000)));
        }
        counter.failed += 1;
        Ok(Try { place, since: counter.since })
    }

    /// The try has succeeded, or never took place.
    pub(crate) fn give_back(&self, given: Try) {
        if let Some(counter) = self.counters.lock().get_mut(given.place)
            && counter.since == given.since
        {
            counter.failed = counter.failed.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
