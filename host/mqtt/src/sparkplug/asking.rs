//! When a node is asked to be born again. A node that misses more however often it is asked is asked ever more seldom.

use std::time::{Duration, Instant};

/// Between two asks.
const PAUSE_MIN: Duration = Duration::from_secs(60);
const PAUSE_MAX: Duration = Duration::from_secs(3_600);

/// What was asked of a node. It lasts as long as the connection: a birth alone does not show that the ask has helped.
#[derive(Debug)]
pub(super) struct Asking {
    asked: Option<Instant>,
    /// How long after that it is not asked again.
    pause: Duration,
    /// The last birth since then.
    born: Option<Instant>,
    /// When something was missing for the last time.
    missed: Option<Instant>,
    /// After the last ask nothing was missing for a while.
    has_helped: bool,
    is_owed: bool,
}

impl Default for Asking {
    fn default() -> Self {
        Self { asked: None, pause: PAUSE_MIN, born: None, missed: None, has_helped: false, is_owed: false }
    }
}

impl Asking {
    /// Something is missing.
    pub(super) fn miss(&mut self, now: Instant) {
        let quiet_since = self.born.max(self.missed);
        let is_quiet = |since| now.saturating_duration_since(since) >= PAUSE_MIN;
        if self.born.is_some() && quiet_since.is_some_and(is_quiet) {
            (self.pause, self.has_helped) = (PAUSE_MIN, true);
        }
        self.missed = Some(now);
        self.is_owed = true;
    }

    /// Something is missing that was not asked for.
    pub(super) fn is_owed(&self) -> bool {
        self.is_owed
    }

    /// Whether it may be asked for now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let is_over = |asked| now.saturating_duration_since(asked) >= self.pause;
        self.is_owed && self.asked.is_none_or(is_over)
    }

    pub(super) fn ask(&mut self, now: Instant) {
        if self.asked.is_some() && !self.has_helped {
            self.pause = PAUSE_MAX.min(self.pause * 2);
        }
        (self.asked, self.born) = (Some(now), None);
        (self.has_helped, self.is_owed) = (false, false);
    }

    /// The node was born: nothing of before is missing any more.
    pub(super) fn be_born(&mut self, now: Instant) {
        self.born = Some(now);
        self.is_owed = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the node is asked when something is missing.
    fn misses(asking: &mut Asking, now: Instant) -> bool {
        asking.miss(now);
        let is_due = asking.is_due(now);
        if is_due {
            asking.ask(now);
        }
        is_due
    }

    #[test]
    fn a_node_that_asking_does_not_help_is_asked_ever_more_seldom() {
        let (start, mut asking) = (Instant::now(), Asking::default());
        let mut asked = Vec::new();
        // It is born when it is asked, and misses something ten seconds later.
        for seconds in (0..20_000).step_by(10) {
            let now = start + Duration::from_secs(seconds);
            if misses(&mut asking, now) {
                asked.push(seconds);
                asking.be_born(now);
            }
        }
        assert_eq!(asked, [0, 60, 180, 420, 900, 1_860, 3_780, 7_380, 10_980, 14_580, 18_180]);
    }

    #[test]
    fn a_node_that_asking_has_helped_is_asked_again_at_once() {
        let (start, mut asking) = (Instant::now(), Asking::default());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(misses(&mut asking, at(0)));
        assert!(misses(&mut asking, at(60)), "the pause is over");
        assert!(!misses(&mut asking, at(130)), "and is longer now");
        asking.be_born(at(131));
        assert!(!asking.is_due(at(1_000)), "nothing is missing");
        assert!(misses(&mut asking, at(191)));
        assert!(!misses(&mut asking, at(250)) && asking.is_due(at(251)), "asked as soon as it may be");
    }
}
