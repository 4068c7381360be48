//! Packages for updates over the air.

/// What a package updates.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum OtaKind {
    /// `fw`
    Firmware,
    /// `sw`
    Software,
}
