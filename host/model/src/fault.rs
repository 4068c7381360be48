//! Whose fault a failure is. Only the edges turn this into a reason code or a status.

/// Who has to act for the same message to succeed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fault {
    /// The payload or the request is wrong.
    Device,
    /// The sender may not do this.
    Denied,
    /// A limit was passed.
    Quota,
    /// The codec trapped, ran out of its budget, is missing, or gave an invalid result.
    Codec,
    /// We failed: disk, memory, a bug.
    Host,
}
