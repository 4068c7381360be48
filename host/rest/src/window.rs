//! Tries within a minute. One counts when it begins, so that many at once are no way around it, and is given back when it
//! proves right.

use wireglot_model::Timestamp;

use crate::error::ApiError;

pub(crate) const WINDOW_MS: i64 = 60_000;

/// The tries of a minute, which begins with the first of them.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    since: Timestamp,
    tries: u32,
}

/// One try, of the window that began then.
#[must_use]
pub(crate) struct Ticket(Timestamp);

impl Window {
    pub(crate) const EMPTY: Self = Self { since: Timestamp(0), tries: 0 };

    /// Whether the next try begins another minute; it also does where the clock was set back.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        !(self.since.0..self.since.0.saturating_add(WINDOW_MS)).contains(&now.0)
    }

    /// Counts a try, unless there were `max` of them.
    pub(crate) fn admit(&mut self, max: u32, now: Timestamp) -> Result<Ticket, ApiError> {
        if self.is_over(now) {
            *self = Self { since: now, tries: 0 };
        }
        if self.tries >= max {
            let left_ms = self.since.0.saturating_add(WINDOW_MS).saturating_sub(now.0);
            return Err(ApiError::too_many_requests(left_ms.unsigned_abs().div_ceil(1000)));
        }
        self.tries += 1;
        Ok(Ticket(self.since))
    }

    /// A try proved right. One of an earlier minute is counted nowhere any more.
    pub(crate) fn give_back(&mut self, ticket: Ticket) {
        let Ticket(since) = ticket;
        if self.since == since {
            self.tries = self.tries.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn admitted(window: &mut Window, at_ms: i64) -> Ticket {
        window.admit(2, Timestamp(at_ms)).unwrap_or_else(|_| panic!("refused at {at_ms}"))
    }

    #[track_caller]
    fn refused(window: &mut Window, at_ms: i64) {
        assert!(window.admit(2, Timestamp(at_ms)).is_err(), "admitted at {at_ms}");
    }

    #[test]
    fn so_many_tries_a_minute_and_then_anew() {
        let mut window = Window::EMPTY;
        let (_, _) = (admitted(&mut window, 100_000), admitted(&mut window, 100_001));
        refused(&mut window, 100_000 + WINDOW_MS - 1);
        let _ticket = admitted(&mut window, 100_000 + WINDOW_MS);
    }

    #[test]
    fn a_try_is_given_back_to_its_own_minute_only() {
        let mut window = Window::EMPTY;
        let (early, later) = (admitted(&mut window, 100_000), admitted(&mut window, 100_000));
        window.give_back(early);
        let _ticket = admitted(&mut window, 100_002);
        refused(&mut window, 100_003);
        // In the next one it is nobody's.
        let next = 100_000 + WINDOW_MS;
        let (_, _) = (admitted(&mut window, next), admitted(&mut window, next));
        window.give_back(later);
        refused(&mut window, next);
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out() {
        let mut window = Window::EMPTY;
        let before = admitted(&mut window, 1_000_000_000);
        let _ticket = admitted(&mut window, 1_000_000_000);
        refused(&mut window, 1_000_000_000);
        let (_, _) = (admitted(&mut window, 5), admitted(&mut window, 5));
        window.give_back(before);
        refused(&mut window, 6);
        for extreme in [i64::MAX, i64::MIN] {
            let _ticket = admitted(&mut window, extreme);
        }
    }
}
