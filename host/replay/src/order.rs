//! What is to be decoded again, and by what.

use std::sync::Arc;

use wireglot_codec::{DecodeFailure, VersionError};
use wireglot_device::ProfileState;
use wireglot_model::{CodecName, DeviceId, FailureStage, Timestamp};

/// One replay.
#[derive(Clone, Debug)]
pub struct ReplayOrder {
    /// Whose frames; its settings are those of the codec.
    pub profile: Arc<ProfileState>,
    /// Only those of one device.
    pub device: Option<DeviceId>,
    /// Received from here on
    pub since: Option<Timestamp>,
    /// and before here.
    pub until: Option<Timestamp>,
    /// Only the last so many of them.
    pub last: Option<usize>,
    /// By what; `None`: what serves the profile now.
    pub codec: Option<CodecChoice>,
    pub source: Source,
    /// Tells what would happen, and changes nothing.
    pub is_dry_run: bool,
}

/// `NAME` or `NAME@VERSION`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CodecChoice {
    pub name: CodecName,
    /// As the version describes itself, or the first digits of its hash; `next` for the candidate; `None`: the live one.
    pub version: Option<String>,
}

/// Which kept frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// Payloads that were not decoded, of one stage or of all.
    DeadLetters { stage: Option<FailureStage> },
    /// Everything that the profile kept as it came.
    RawFrames,
}

/// Why a replay does not begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("a replay is running; wait for its end, or stop it with DELETE /api/replay")]
    Running,
    #[error("the profile reads JSON, so a codec has to be named")]
    NoCodecNamed,
    #[error("codec {0} is not live; name one of its versions, as {0}@VERSION")]
    NotLive(CodecName),
    #[error("codec {0} has no candidate")]
    NoCandidate(CodecName),
    #[error(transparent)]
    Version(#[from] VersionError),
    #[error("the codec does not start with the profile's settings: {}", .0.reason)]
    Settings(DecodeFailure),
    #[error("no thread for it can be started")]
    Thread(#[source] std::io::Error),
}

impl CodecChoice {
    /// Reads `NAME` or `NAME@VERSION`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, version) = match text.split_once('@') {
            Some((_, "")) => return Err(format!("{text:?} names no version after the @")),
            Some((name, version)) => (name, Some(version.to_owned())),
            None => (text, None),
        };
        let name = CodecName::parse(name).map_err(|error| format!("invalid codec {name:?}: {error}"))?;
        Ok(Self { name, version })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<(&str, Option<&str>)>) {
        let choice = CodecChoice::parse(text).ok();
        let parts = choice.as_ref().map(|choice| (choice.name.as_str(), choice.version.as_deref()));
        assert_eq!(parts, expected, "{text:?}");
    }

    #[test]
    fn a_codec_may_be_named_with_its_version() {
        check("elsys", Some(("elsys", None)));
        check("elsys@1.2.0", Some(("elsys", Some("1.2.0"))));
        check("elsys@1@2", Some(("elsys", Some("1@2"))));
        check("elsys@", None);
        check("@1", None);
        check("", None);
    }
}
