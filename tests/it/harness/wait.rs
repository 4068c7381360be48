//! Waiting for a state.

use std::thread;
use std::time::{Duration, Instant};

/// How long a state may take to come about. Generous, because machines are shared; a test that passes is quick.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// How long compiling a whole language may take in a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);

/// Looks again and again until `state` gives something.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, state: impl FnMut() -> Option<T>) -> T {
    within(TIMEOUT, what, state)
}

/// The same where much has to be compiled first.
#[track_caller]
pub(crate) fn patiently<T>(what: &str, state: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, state)
}

#[track_caller]
fn within<T>(limit: Duration, what: &str, mut state: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = state() {
            return found;
        }
        assert!(start.elapsed() < limit, "waited in vain: {what}");
        pause(POLL);
    }
}

/// Lets time pass between two looks.
pub(crate) fn pause(time: Duration) {
    let start = Instant::now();
    while let Some(rest) = time.checked_sub(start.elapsed()).filter(|rest| !rest.is_zero()) {
        thread::park_timeout(rest);
    }
}
