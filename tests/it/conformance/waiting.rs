//! The cases that may fail, each with the reason. A row that passes may not stand here.

use std::ops::RangeInclusive;

const GATEWAY: &str = "waits for the gateway API";
const SPARKPLUG: &str = "waits for Sparkplug";

/// Cases from and to, and why they wait.
pub(super) const WAITING: &[(RangeInclusive<u16>, &str)] =
    &[(334..=336, GATEWAY), (346..=388, GATEWAY), (389..=400, SPARKPLUG)];
