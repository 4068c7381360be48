//! The cases that may fail, each with the reason. A row that passes may not stand here.

use std::ops::RangeInclusive;

const GATEWAY: &str = "waits for the gateway API";
const SPARKPLUG: &str = "waits for Sparkplug";
const NOT_BUILT: &str = "not built yet";

/// Cases from and to, and why they wait.
pub(super) const WAITING: &[(RangeInclusive<u16>, &str)] = &[
    (33..=42, NOT_BUILT),
    (71..=71, NOT_BUILT),
    (105..=106, "the type cast cannot be turned off yet"),
    (120..=120, "the type cast cannot be turned off yet"),
    (124..=125, "strings cannot be bounded yet"),
    (143..=143, "`sendAckOnValidationException` does not soften `disconnect` yet"),
    (198..=207, NOT_BUILT),
    (209..=307, NOT_BUILT),
    (309..=324, NOT_BUILT),
    (326..=336, NOT_BUILT),
    (341..=345, NOT_BUILT),
    (346..=388, GATEWAY),
    (389..=400, SPARKPLUG),
];
