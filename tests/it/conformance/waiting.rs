//! The cases that may fail, each with the reason. A row that passes may not stand here.

use std::ops::RangeInclusive;

const GATEWAY: &str = "waits for the gateway API";
const SPARKPLUG: &str = "waits for Sparkplug";
const PROTOBUF: &str = "waits for protobuf";
const TYPE_CAST: &str = "the type cast has no setting yet";
const STRING_LENGTH: &str = "the length of strings has no setting yet";
const SEND_ACK: &str = "`sendAckOnValidationException` does not soften `disconnect` yet";

/// Cases from and to, and why they wait.
pub(super) const WAITING: &[(RangeInclusive<u16>, &str)] = &[
    (105..=106, TYPE_CAST),
    (120..=120, TYPE_CAST),
    (124..=125, STRING_LENGTH),
    (143..=143, SEND_ACK),
    (269..=270, PROTOBUF),
    (286..=307, PROTOBUF),
    (309..=324, PROTOBUF),
    (334..=336, GATEWAY),
    (346..=388, GATEWAY),
    (389..=400, SPARKPLUG),
];
