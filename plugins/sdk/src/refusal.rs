//! The two ways to say no.

use crate::Refusal;

/// The payload breaks the format, so the device is at fault: say at which offset, and what belonged there.
pub fn malformed(reason: impl Into<String>) -> Refusal {
    Refusal::Malformed(reason.into())
}

/// The payload or command may be fine, but this codec does not know its version, type or name.
pub fn unsupported(reason: impl Into<String>) -> Refusal {
    Refusal::Unsupported(reason.into())
}
