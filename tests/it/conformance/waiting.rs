//! The cases that may fail, each with the reason. A row that passes may not stand here.

use std::ops::RangeInclusive;

/// Cases from and to, and why they wait.
pub(super) const WAITING: &[(RangeInclusive<u16>, &str)] = &[];
