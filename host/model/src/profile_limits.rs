//! What a profile allows its codec, where that differs from what the kind of codec is given anyway.
//!
//! The words and ranges of the REST shape and of `fleet.toml` stand in one table, so that reading, writing and the
//! messages about a mistake cannot disagree. Not here: the defaults, which belong to the kind of codec (`codec`).

use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::limits;

/// The limits of one profile; `None` leaves a limit to the kind of codec.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProfileLimits {
    /// How long one call may run, in milliseconds.
    pub deadline_ms: Option<u32>,
    /// Linear memory of one instance, in MiB.
    pub memory_mib: Option<u32>,
    /// What one result may take in the host, in KiB.
    pub result_kib: Option<u32>,
    /// Messages in one result.
    pub messages: Option<u32>,
    /// Values in one result, over all messages.
    pub values: Option<u32>,
    /// Warnings kept of one result.
    pub warnings: Option<u32>,
    /// Failed calls in a row after which the codec is not called for a while.
    pub traps_in_a_row: Option<u32>,
    /// The first such pause, in milliseconds.
    pub pause_ms: Option<u32>,
}

/// A limit that cannot be set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum InvalidLimit {
    /// There is none of this name.
    Unknown(String),
    /// It cannot be that high or low.
    OutOfRange {
        /// Which one.
        word: &'static str,
        /// What it may be.
        range: RangeInclusive<u32>,
    },
}

impl std::error::Error for InvalidLimit {}

impl fmt::Display for InvalidLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(word) => {
                let known = TABLE.map(|limit| limit.word).join(", ");
                write!(f, "there is no limit '{word}'; the limits are {known}")
            }
            Self::OutOfRange { word, range } => {
                write!(f, "the limit '{word}' is a whole number from {} to {}", range.start(), range.end())
            }
        }
    }
}

struct Limit {
    word: &'static str,
    range: RangeInclusive<u32>,
    get: fn(&ProfileLimits) -> Option<u32>,
    set: fn(&mut ProfileLimits, u32),
}

macro_rules! limit {
    ($word:literal, $range:ident, $field:ident) => {
        Limit {
            word: $word,
            range: limits::$range,
            get: |limits| limits.$field,
            set: |limits, value| limits.$field = Some(value),
        }
    };
}

const TABLE: [Limit; 8] = [
    limit!("deadlineMs", PROFILE_DEADLINE_MS, deadline_ms),
    limit!("memoryMiB", PROFILE_MEMORY_MIB, memory_mib),
    limit!("resultKiB", PROFILE_RESULT_KIB, result_kib),
    limit!("messages", PROFILE_MESSAGES, messages),
    limit!("values", PROFILE_VALUES, values),
    limit!("warnings", PROFILE_WARNINGS, warnings),
    limit!("trapsInARow", PROFILE_TRAPS_IN_A_ROW, traps_in_a_row),
    limit!("pauseMs", PROFILE_PAUSE_MS, pause_ms),
];

impl ProfileLimits {
    /// Sets a limit by its word. `None` stands for anything that is no whole number.
    pub fn set(&mut self, word: &str, value: Option<u64>) -> Result<(), InvalidLimit> {
        let Some(limit) = TABLE.into_iter().find(|limit| limit.word == word) else {
            return Err(InvalidLimit::Unknown(word.to_owned()));
        };
        let value = value.and_then(|value| u32::try_from(value).ok());
        match value.filter(|value| limit.range.contains(value)) {
            Some(value) => (limit.set)(self, value),
            None => return Err(InvalidLimit::OutOfRange { word: limit.word, range: limit.range }),
        }
        Ok(())
    }

    /// The limits that are set, with their words.
    pub fn set_ones(&self) -> impl Iterator<Item = (&'static str, u32)> {
        TABLE.into_iter().filter_map(|limit| Some((limit.word, (limit.get)(self)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_is_taken_within_its_range_only() {
        for limit in TABLE {
            let (least, most) = (*limit.range.start(), *limit.range.end());
            let set = |value: Option<u64>| {
                let mut limits = ProfileLimits::default();
                limits.set(limit.word, value).map(|()| limits.set_ones().collect::<Vec<_>>())
            };
            for value in [least, most] {
                assert_eq!(set(Some(u64::from(value))), Ok(vec![(limit.word, value)]));
            }
            let below = least.checked_sub(1).map(u64::from);
            for value in [below, Some(u64::from(most) + 1), Some(u64::MAX), None] {
                let refusal = set(value).unwrap_err().to_string();
                let expected = format!("the limit '{}' is a whole number from {least} to {most}", limit.word);
                assert_eq!(refusal, expected, "{value:?}");
            }
        }
    }

    #[test]
    fn an_unknown_limit_is_named_with_those_there_are() {
        let refusal = ProfileLimits::default().set("deadlineMS", Some(1)).unwrap_err().to_string();
        assert!(refusal.contains("'deadlineMS'") && refusal.contains("deadlineMs, memoryMiB"), "{refusal}");
    }

    #[test]
    fn what_was_stored_before_there_were_limits_has_none() {
        assert_eq!(serde_json::from_str::<ProfileLimits>("{}").unwrap(), ProfileLimits::default());
    }
}
