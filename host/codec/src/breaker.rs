//! The breaker of one codec version under one profile: a codec that keeps trapping is not called for a while.
//!
//! Every trap costs its worker an instance, and a deadline costs it 20 ms that other devices wait for. After a row of
//! them the version pauses; then one call tries it again, and decides between all and a pause twice as long.
//! The state is shared by all workers, and a closed breaker costs a call one load. Each profile has its own: settings
//! or limits under which a codec cannot work must not pause it for the devices of another profile.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use wireglot_model::ProfileId;
use wireglot_model::limits::{CODEC_INSTANCES_MAX, CODEC_PAUSE_MS_MAX};

use crate::engine::CodecLimits;
use crate::instance::CodecBinding;

/// The breakers of one version, by profile.
#[derive(Default)]
pub(crate) struct Breakers(Mutex<HashMap<ProfileId, (CodecBinding, Arc<Breaker>)>>);

/// How many breakers of a version are not closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct NotClosed {
    /// Paused.
    pub(crate) open: usize,
    /// The pause is over: the next call tries.
    pub(crate) half_open: usize,
}

impl Breakers {
    /// The breaker of a profile; a changed profile starts afresh.
    pub(crate) fn of(&self, binding: &CodecBinding, limits: &CodecLimits) -> Arc<Breaker> {
        let mut breakers = self.0.lock();
        if let Some((held, breaker)) = breakers.get(&binding.profile)
            && held == binding
        {
            return Arc::clone(breaker);
        }
        // Profiles come and go while a version stays. What nobody calls and has nothing to remember goes first.
        let is_full = breakers.len() >= CODEC_INSTANCES_MAX as usize;
        breakers
            .retain(|_, (_, breaker)| Arc::strong_count(breaker) > 1 || (!is_full && breaker.has_failed()));
        let fresh = Arc::new(Breaker::new(limits));
        breakers.insert(binding.profile, (binding.clone(), Arc::clone(&fresh)));
        fresh
    }

    pub(crate) fn not_closed(&self) -> NotClosed {
        let mut found = NotClosed::default();
        for (_, breaker) in self.0.lock().values() {
            match breaker.open_until_ms.load(Ordering::Relaxed) {
                0 => {}
                until if breaker.now_ms() < until => found.open += 1,
                _ => found.half_open += 1,
            }
        }
        found
    }
}

/// See the module.
pub(crate) struct Breaker {
    born: Instant,
    traps_in_a_row_max: u32,
    pause_ms_min: u64,
    traps_in_a_row: AtomicU32,
    pauses_in_a_row: AtomicU32,
    /// Zero while closed; else the time of the next try, in milliseconds since `born`.
    open_until_ms: AtomicU64,
    /// A call is under way that was let through to try.
    is_trying: AtomicBool,
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
    fn new(limits: &CodecLimits) -> Self {
        Self {
            born: Instant::now(),
            traps_in_a_row_max: limits.traps_in_a_row_max,
            pause_ms_min: limits.pause_ms_min,
            traps_in_a_row: AtomicU32::new(0),
            pauses_in_a_row: AtomicU32::new(0),
            open_until_ms: AtomicU64::new(0),
            is_trying: AtomicBool::new(false),
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
        let next = now_ms.saturating_add(self.pause_ms_min);
        match self.open_until_ms.compare_exchange(open_until, next, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => {
                self.is_trying.store(true, Ordering::Relaxed);
                Permit::Call
            }
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
            self.is_trying.store(false, Ordering::Relaxed);
        }
    }

    /// The call had to be ended.
    pub(crate) fn failed(&self) -> Verdict {
        self.failed_at(self.now_ms())
    }

    fn failed_at(&self, now_ms: u64) -> Verdict {
        let traps = self.traps_in_a_row.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if traps < self.traps_in_a_row_max {
            return Verdict::Closed;
        }
        // Calls of other workers that were under way when the breaker opened do not lengthen the pause.
        let is_open = self.open_until_ms.load(Ordering::Relaxed) > now_ms;
        if !self.is_trying.swap(false, Ordering::Relaxed) && is_open {
            return Verdict::Closed;
        }
        let doublings = self.pauses_in_a_row.fetch_add(1, Ordering::Relaxed).min(16);
        let pause_ms = self.pause_ms_min.saturating_mul(1 << doublings).min(CODEC_PAUSE_MS_MAX);
        self.open_until_ms.store(now_ms.saturating_add(pause_ms).max(1), Ordering::Relaxed);
        Verdict::Opened { pause_ms }
    }

    fn has_failed(&self) -> bool {
        self.traps_in_a_row.load(Ordering::Relaxed) != 0
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use wireglot_model::limits::{CODEC_PAUSE_MS_MIN, CODEC_TRAPS_IN_A_ROW_MAX};

    use super::*;

    fn closed() -> Breaker {
        Breaker::new(&CodecLimits::default())
    }

    fn opened(now_ms: u64) -> Breaker {
        let breaker = closed();
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
        let breaker = closed();
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
    fn calls_that_were_under_way_do_not_lengthen_the_pause() {
        let breaker = opened(10);
        for late in 0..5 {
            assert_eq!(breaker.failed_at(10 + late), Verdict::Closed);
        }
        let after = 10 + CODEC_PAUSE_MS_MIN;
        assert_eq!(ask(&breaker, after), Permit::Call);
        assert_eq!(breaker.failed_at(after), Verdict::Opened { pause_ms: 2 * CODEC_PAUSE_MS_MIN });
    }

    #[test]
    fn a_profile_chooses_its_row_and_its_first_pause() {
        let limits = CodecLimits { traps_in_a_row_max: 1, pause_ms_min: 50, ..CodecLimits::default() };
        let breaker = Breaker::new(&limits);
        assert_eq!(breaker.failed_at(0), Verdict::Opened { pause_ms: 50 });
        assert_eq!(ask(&breaker, 49), Permit::Pause { left_ms: 1 });
        assert_eq!(ask(&breaker, 50), Permit::Call);
        assert_eq!(breaker.failed_at(50), Verdict::Opened { pause_ms: 100 });
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
