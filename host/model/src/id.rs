//! Identities. Every one is its own type, so that a device's id cannot be passed where a profile's is due.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::limits::CODEC_NAME_BYTES_MAX;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

uuid_id! {
    /// A device.
    DeviceId
}
uuid_id! {
    /// A device profile.
    ProfileId
}
uuid_id! {
    /// One credentials record; a device has exactly one.
    CredentialsId
}
uuid_id! {
    /// A tenant. A single installation has one.
    TenantId
}
uuid_id! {
    /// A user of the management side.
    UserId
}
uuid_id! {
    /// A key of a user for programs.
    ApiKeyId
}
uuid_id! {
    /// A customer: whom devices are given to.
    CustomerId
}
uuid_id! {
    /// A package for updates over the air.
    OtaPackageId
}
uuid_id! {
    /// A server-side RPC.
    RpcId
}

/// One MQTT session of this node, unique while the process runs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct SessionId(pub u64);

/// The name of a codec: the stem of its file, `[a-z0-9][a-z0-9._-]*`, at most `CODEC_NAME_BYTES_MAX` bytes.
///
/// The alphabet keeps names safe as file names, path segments and metric labels.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CodecName(Arc<str>);

/// Why a text cannot name a codec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidCodecName;

impl fmt::Display for InvalidCodecName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a codec name is 1 to {CODEC_NAME_BYTES_MAX} characters of a-z, 0-9, '.', '_' and '-', and starts with a letter or a digit"
        )
    }
}

impl std::error::Error for InvalidCodecName {}

impl CodecName {
    /// The only check that a text may name a codec.
    pub fn parse(text: &str) -> Result<Self, InvalidCodecName> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
        let first_is_alphanumeric =
            text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if text.len() <= CODEC_NAME_BYTES_MAX && first_is_alphanumeric && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidCodecName)
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for CodecName {
    type Error = InvalidCodecName;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<CodecName> for String {
    fn from(name: CodecName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for CodecName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CodecName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CodecName({})", self.0)
    }
}

/// SHA-256 of a component's bytes: the identity of one codec version.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CodecHash(pub [u8; 32]);

impl fmt::Display for CodecHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CodecHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CodecHash({self})")
    }
}

/// A text that is not 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidCodecHash;

impl fmt::Display for InvalidCodecHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a codec hash is 64 hexadecimal digits")
    }
}

impl std::error::Error for InvalidCodecHash {}

impl FromStr for CodecHash {
    type Err = InvalidCodecHash;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.as_bytes();
        let mut hash = [0u8; 32];
        if digits.len() != 2 * hash.len() {
            return Err(InvalidCodecHash);
        }
        let nibble = |digit: u8| (digit as char).to_digit(16).ok_or(InvalidCodecHash);
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let &[high, low] = pair else { return Err(InvalidCodecHash) };
            *byte = u8::try_from(nibble(high)? << 4 | nibble(low)?).map_err(|_| InvalidCodecHash)?;
        }
        Ok(Self(hash))
    }
}

impl TryFrom<String> for CodecHash {
    type Error = InvalidCodecHash;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<CodecHash> for String {
    fn from(hash: CodecHash) -> Self {
        hash.to_string()
    }
}

/// Which codec version decoded a message; stored with it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct CodecStamp {
    /// The codec's name.
    pub name: CodecName,
    /// The version as the codec describes itself.
    pub version: Arc<str>,
    /// The version's identity.
    pub hash: CodecHash,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_name(text: &str, valid: bool) {
        assert_eq!(CodecName::parse(text).is_ok(), valid, "{text:?}");
    }

    #[test]
    fn codec_names_are_safe_everywhere() {
        for text in ["a", "ruuvi-df5", "x_1.2", "0"] {
            check_name(text, true);
        }
        for text in ["", "-a", ".a", "A", "a/b", "a b", "ä", &"a".repeat(CODEC_NAME_BYTES_MAX + 1)] {
            check_name(text, false);
        }
        check_name(&"a".repeat(CODEC_NAME_BYTES_MAX), true);
    }

    #[test]
    fn a_hash_survives_text() {
        let mut bytes = [0u8; 32];
        bytes.iter_mut().enumerate().for_each(|(i, b)| *b = u8::try_from(i * 7 % 256).unwrap_or(0));
        assert_eq!(CodecHash(bytes).to_string().parse(), Ok(CodecHash(bytes)));
        assert_eq!("00".parse::<CodecHash>(), Err(InvalidCodecHash));
        assert_eq!("g".repeat(64).parse::<CodecHash>(), Err(InvalidCodecHash));
    }
}
