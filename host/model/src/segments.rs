//! Named segments of a profile's topic filter: `up/{fPort}` matches as `up/+`, and the codec is told what stood there.
//!
//! Here, because saving a profile checks them and routing uses them. Matching is in the crate `route`.

use std::fmt;

use crate::limits::{NAMED_SEGMENTS_MAX, SEGMENT_NAME_BYTES_MAX};

/// A filter whose named segments have been told apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedFilter {
    /// The filter with `+` in their places.
    pub filter: String,
    /// Which segment has which name, counted from 0.
    pub names: Vec<(usize, String)>,
}

/// Why a filter's named segments make no sense.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum InvalidSegment {
    /// Braces that are not around a whole segment, or no name between them.
    Malformed(String),
    /// The name is there twice.
    Repeated(String),
    /// More of them than allowed.
    TooMany,
    /// What stands behind `#` has no place of its own.
    BehindWildcard(String),
}

impl NamedFilter {
    /// Reads a filter. Without braces it stays as it is.
    pub fn parse(text: &str) -> Result<Self, InvalidSegment> {
        let mut names: Vec<(usize, String)> = Vec::new();
        let mut is_behind_wildcard = false;
        let mut segments = Vec::new();
        for (index, segment) in text.split('/').enumerate() {
            is_behind_wildcard |= segment.contains('#');
            if !segment.contains(['{', '}']) {
                segments.push(segment);
                continue;
            }
            let name = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            let name = name.filter(|name| is_name(name));
            let name = name.ok_or_else(|| InvalidSegment::Malformed(segment.to_owned()))?;
            if is_behind_wildcard {
                return Err(InvalidSegment::BehindWildcard(name.to_owned()));
            }
            if names.iter().any(|(_, other)| other == name) {
                return Err(InvalidSegment::Repeated(name.to_owned()));
            }
            if names.len() >= NAMED_SEGMENTS_MAX {
                return Err(InvalidSegment::TooMany);
            }
            names.push((index, name.to_owned()));
            segments.push("+");
        }
        Ok(Self { filter: segments.join("/"), names })
    }
}

fn is_name(text: &str) -> bool {
    text.len() <= SEGMENT_NAME_BYTES_MAX
        && text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

impl fmt::Display for InvalidSegment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(segment) => write!(
                f,
                "'{segment}' is not a named segment: that is {{name}} between two slashes, and a name has 1 to \
                 {SEGMENT_NAME_BYTES_MAX} letters, digits and '_' and begins with a letter"
            ),
            Self::Repeated(name) => write!(f, "{{{name}}} is there twice"),
            Self::TooMany => write!(f, "there are more than {NAMED_SEGMENTS_MAX} named segments"),
            Self::BehindWildcard(name) => {
                write!(f, "{{{name}}} stands behind '#', where segments have no place")
            }
        }
    }
}

impl std::error::Error for InvalidSegment {}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, filter: &str, names: &[(usize, &str)]) {
        let parsed = NamedFilter::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let found: Vec<_> = parsed.names.iter().map(|(index, name)| (*index, name.as_str())).collect();
        assert_eq!((parsed.filter.as_str(), found.as_slice()), (filter, names), "{text}");
    }

    #[track_caller]
    fn refused(text: &str, words: &str) {
        let error = NamedFilter::parse(text).expect_err(text).to_string();
        assert!(error.contains(words), "{text}: {error}");
    }

    #[test]
    fn a_named_segment_is_a_plus_with_a_name() {
        check("up/{fPort}", "up/+", &[(1, "fPort")]);
        check("{a}/x/{b_2}/#", "+/x/+/#", &[(0, "a"), (2, "b_2")]);
        for text in ["", "/", "#", "v1/devices/me/telemetry", "a/+/b+c/#"] {
            check(text, text, &[]);
        }
    }

    #[test]
    fn names_are_checked() {
        for text in
            ["up/{fPort", "up/fPort}", "up/x{fPort}", "up/{}", "up/{1a}", "up/{a b}", "up/{{a}}", "{ä}"]
        {
            refused(text, "is not a named segment");
        }
        refused("{a}/{b}/{a}", "{a} is there twice");
        refused("up/#/{a}", "{a} stands behind '#'");
        let name = "n".repeat(SEGMENT_NAME_BYTES_MAX);
        check(&format!("{{{name}}}"), "+", &[(0, &name)]);
        refused(&format!("{{{name}n}}"), "is not a named segment");
        let many =
            |count: usize| (0..count).map(|index| format!("{{n{index}}}")).collect::<Vec<_>>().join("/");
        assert_eq!(NamedFilter::parse(&many(NAMED_SEGMENTS_MAX)).unwrap().names.len(), NAMED_SEGMENTS_MAX);
        refused(&many(NAMED_SEGMENTS_MAX + 1), "more than 8");
    }
}
