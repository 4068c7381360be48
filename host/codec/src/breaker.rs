//! The breaker of one codec version: a codec that keeps trapping is not called for a while.
//!
//! Every trap costs its worker an instance, and a deadline costs it 20 ms that other devices wait for. After a row of
//! them the version pauses; then one call tries it again, and decides between all and a pause twice as long.
//! The state is shared by all workers, and a closed breaker costs a call one load.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use wireglot_model::limits::{CODEC_PAUSE_MS_MAX, CODEC_PAUSE_MS_MIN, CODEC_TRAPS_IN_A_ROW_MAX};

/// See the module.
pub(crate) struct Breaker {
    born: Instant,
    traps_in_a_row: AtomicU32,
    pauses_in_a_row: AtomicU32,
    /// Zero while closed; else the time of the next try, in milliseconds since `born`.
    open_until_ms: AtomicU64,
}

/// What a caller may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Permit {
    Call,
    /// Not before so many milliseconds have passed.
    Pause {
        left_ms: u64,
    },
}

/// What a failure led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    Closed,
    Opened { pause_ms: u64 },
}

impl Breaker {
    pub(crate) fn new() -> Self {
        Self {
            born: Instant::now(),
            traps_in_a_row: AtomicU32::new(0),
            pauses_in_a_row: AtomicU32::new(0),
            open_until_ms: AtomicU64::new(0),
        }
    }

    /// May the version be called now?
    pub(crate) fn permit(&self) -> Permit {
        let open_until = self.open_until_ms.load(Ordering::Relaxed);
        if open_until == 0 { Permit::Call } else { self.permit_open(open_until, self.now_ms()) }
    }

    fn permit_open(&self, open_until: u64, now_ms: u64) -> Permit {
        if now_ms < open_until {
            return Permit::Pause { left_ms: open_until - now_ms };
        }
        // One caller tries; for the others the pause goes on until that try has had its time.
        let next = now_ms.saturating_add(CODEC_PAUSE_MS_MIN);
        match self.open_until_ms.compare_exchange(open_until, next, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => Permit::Call,
            Err(0) => Permit::Call,
            Err(other) => Permit::Pause { left_ms: other.saturating_sub(now_ms) },
        }
    }

    /// The call came back by itself.
    pub(crate) fn succeeded(&self) {
        // Loads first: a store on every call would pass the cache line between the workers.
        if self.traps_in_a_row.load(Ordering::Relaxed) != 0 {
            self.traps_in_a_row.store(0, Ordering::Relaxed);
            self.pauses_in_a_row.store(0, Ordering::Relaxed);
            self.open_until_ms.store(0, Ordering::Relaxed);
        }
    }

    /// The call had to be ended.
    pub(crate) fn failed(&self) -> Verdict {
        self.failed_at(self.now_ms())
    }

    fn failed_at(&self, now_ms: u64) -> Verdict {
        let traps = self.traps_in_a_row.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if traps < CODEC_TRAPS_IN_A_ROW_MAX {
            return Verdict::Closed;
        }
        // Calls of other workers that were under way when the breaker opened do not lengthen the pause.
        if traps > CODEC_TRAPS_IN_A_ROW_MAX
            && self.open_until_ms.load(Ordering::Relaxed) > now_ms + CODEC_PAUSE_MS_MIN
        {
            return Verdict::Closed;
        }
        let doublings = self.pauses_in_a_row.fetch_add(1, Ordering::Relaxed).min(16);
        let pause_ms = CODEC_PAUSE_MS_MIN.saturating_mul(1 << doublings).min(CODEC_PAUSE_MS_MAX);
        self.open_until_ms.store(now_ms.saturating_add(pause_ms).max(1), Ordering::Relaxed);
        Verdict::Opened { pause_ms }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(now_ms: u64) -> Breaker {
        let breaker = Breaker::new();
        for _ in 1..CODEC_TRAPS_IN_A_ROW_MAX {
            assert_eq!(breaker.failed_at(now_ms), Verdict::Closed);
        }
        assert_eq!(breaker.failed_at(now_ms), Verdict::Opened { pause_ms: CODEC_PAUSE_MS_MIN });
        breaker
    }

    fn ask(breaker: &Breaker, now_ms: u64) -> Permit {
        match breaker.open_until_ms.load(Ordering::Relaxed) {
            0 => Permit::Call,
            open_until => breaker.permit_open(open_until, now_ms),
        }
    }

    #[test]
    fn a_success_forgives_a_short_row() {
        let breaker = Breaker::new();
        for _ in 0..10 {
            for _ in 1..CODEC_TRAPS_IN_A_ROW_MAX {
                assert_eq!(breaker.failed_at(5), Verdict::Closed);
            }
            breaker.succeeded();
        }
        assert_eq!(ask(&breaker, 6), Permit::Call);
    }

    #[test]
    fn one_call_tries_after_the_pause_and_a_success_closes() {
        let breaker = opened(10);
        assert_eq!(ask(&breaker, 11), Permit::Pause { left_ms: CODEC_PAUSE_MS_MIN - 1 });
        let after = 10 + CODEC_PAUSE_MS_MIN;
        assert_eq!(ask(&breaker, after), Permit::Call);
        assert_eq!(ask(&breaker, after), Permit::Pause { left_ms: CODEC_PAUSE_MS_MIN });
        breaker.succeeded();
        assert_eq!(ask(&breaker, after), Permit::Call);
        assert_eq!(ask(&breaker, after), Permit::Call);
    }

    #[test]
    fn pauses_double_up_to_their_bound() {
        let breaker = opened(0);
        let (mut now_ms, mut pause) = (CODEC_PAUSE_MS_MIN, CODEC_PAUSE_MS_MIN);
        for _ in 0..20 {
            assert_eq!(ask(&breaker, now_ms), Permit::Call);
            pause = (2 * pause).min(CODEC_PAUSE_MS_MAX);
            assert_eq!(breaker.failed_at(now_ms), Verdict::Opened { pause_ms: pause });
            assert_eq!(ask(&breaker, now_ms + pause - 1), Permit::Pause { left_ms: 1 });
            now_ms += pause;
        }
    }
}
