//! Packages for updates over the air: what they are, and which one a device or a profile is to have.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::{DeviceId, OtaPackageId, ProfileId};
use crate::time::Timestamp;

/// What a package updates.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum OtaKind {
    /// `fw`
    Firmware,
    /// `sw`
    Software,
}

impl OtaKind {
    /// Both kinds.
    pub const ALL: [Self; 2] = [Self::Firmware, Self::Software];

    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Firmware => "firmware",
            Self::Software => "software",
        }
    }

    /// As the REST shape spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Firmware => "FIRMWARE",
            Self::Software => "SOFTWARE",
        }
    }

    /// How topics and keys spell it.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Firmware => "fw",
            Self::Software => "sw",
        }
    }
}

/// How a package's file is checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "the names are those of the algorithms")]
pub enum ChecksumAlgorithm {
    Md5,
    Sha256,
    Sha384,
    Sha512,
    Crc32,
    #[serde(rename = "MURMUR3_32")]
    Murmur3With32Bits,
    #[serde(rename = "MURMUR3_128")]
    Murmur3With128Bits,
}

impl ChecksumAlgorithm {
    /// All of them, as the device API spells them.
    pub const NAMES: [(&'static str, Self); 7] = [
        ("MD5", Self::Md5),
        ("SHA256", Self::Sha256),
        ("SHA384", Self::Sha384),
        ("SHA512", Self::Sha512),
        ("CRC32", Self::Crc32),
        ("MURMUR3_32", Self::Murmur3With32Bits),
        ("MURMUR3_128", Self::Murmur3With128Bits),
    ];
}

impl fmt::Display for ChecksumAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(_, algorithm)| algorithm == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}

/// A text that names no checksum algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownAlgorithm;

impl FromStr for ChecksumAlgorithm {
    type Err = UnknownAlgorithm;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::NAMES.iter().find(|(name, _)| *name == text);
        known.map(|(_, algorithm)| *algorithm).ok_or(UnknownAlgorithm)
    }
}

/// A package.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct OtaPackage {
    /// Identity.
    pub id: OtaPackageId,
    /// When it was made.
    pub created: Timestamp,
    /// What it updates.
    pub kind: OtaKind,
    /// Devices of this profile may have it; `None`: all.
    pub profile: Option<ProfileId>,
    /// With the version unique.
    pub title: String,
    /// With the title unique.
    pub version: String,
    /// For people and devices; not every package has one.
    pub tag: Option<String>,
    /// Where devices get it from.
    pub content: OtaContent,
    /// `additionalInfo` of the REST shape, as JSON text.
    pub additional_info: String,
}

/// Where devices get a package from.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum OtaContent {
    /// Nowhere yet: its file was not uploaded.
    Pending,
    /// From here.
    File(OtaFile),
    /// From a server of its own.
    Url {
        /// Where.
        url: String,
        /// Its length, where it is known.
        bytes: Option<u64>,
        /// Its checksum, where it is known.
        checksum: Option<(ChecksumAlgorithm, String)>,
    },
}

/// The file of a package.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct OtaFile {
    /// Which file of the store.
    pub file: Uuid,
    /// Its length.
    pub bytes: u64,
    /// How it is checked.
    pub algorithm: ChecksumAlgorithm,
    /// Its checksum in lower-case hexadecimal digits.
    pub checksum: String,
    /// As it was uploaded.
    pub name: String,
    /// As it was uploaded.
    pub content_type: String,
}

/// The packages that devices are to have.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct OtaTargets {
    /// `firmwareId`
    pub firmware: Option<OtaPackageId>,
    /// `softwareId`
    pub software: Option<OtaPackageId>,
}

impl OtaTargets {
    /// The package of one kind.
    pub fn of(&self, kind: OtaKind) -> Option<OtaPackageId> {
        match kind {
            OtaKind::Firmware => self.firmware,
            OtaKind::Software => self.software,
        }
    }
}

/// How far an update of one device is: that it waits, or that the device was told of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OtaUpdate {
    /// Whose.
    pub device: DeviceId,
    /// Of what.
    pub kind: OtaKind,
    /// To which package.
    pub package: OtaPackageId,
    /// Since when.
    pub queued: Timestamp,
    /// When its attributes were written; `None`: it waits.
    pub pushed: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn algorithms_are_spelled_alike_everywhere() {
        for (name, algorithm) in ChecksumAlgorithm::NAMES {
            assert_eq!(name.parse(), Ok(algorithm));
            assert_eq!(algorithm.to_string(), name);
            assert_eq!(serde_json::to_string(&algorithm).unwrap(), format!("\"{name}\""));
        }
        assert_eq!("sha256".parse::<ChecksumAlgorithm>(), Err(UnknownAlgorithm));
    }
}
