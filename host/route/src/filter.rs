//! Topic filters by the rules of device API §5.2, which are wider than MQTT's.
//!
//! `#` alone is everything. `+` is one or more characters other than `/`, also inside a level. `/#` is the end, or
//! a slash and anything, also in the middle. Everything else stands for itself, `$` topics included.

use wireglot_model::segments::NamedFilter;

/// A profile's filter, told apart once so that the usual case, a fixed topic, is one comparison.
#[derive(Clone, Debug)]
pub(crate) enum TopicFilter {
    Everything,
    Exactly(Box<str>),
    Pattern(Box<str>),
}

impl TopicFilter {
    pub(crate) fn new(filter: &str) -> Self {
        if filter == "#" {
            Self::Everything
        } else if filter.contains(['+', '#']) {
            Self::Pattern(filter.into())
        } else {
            Self::Exactly(filter.into())
        }
    }

    pub(crate) fn matches(&self, topic: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Exactly(filter) => **filter == *topic,
            Self::Pattern(filter) => pattern_matches(filter.as_bytes(), topic.as_bytes()),
        }
    }
}

/// A filter for what devices publish, and the names of its segments. `+` never crosses a slash, so the n-th segment of
/// the filter stands for the n-th of a topic that matches.
#[derive(Clone, Debug)]
pub(crate) struct NamedTopicFilter {
    filter: TopicFilter,
    names: Box<[(usize, String)]>,
}

impl NamedTopicFilter {
    pub(crate) fn new(text: &str) -> Self {
        match NamedFilter::parse(text) {
            Ok(NamedFilter { filter, names }) => {
                Self { filter: TopicFilter::new(&filter), names: names.into() }
            }
            // Profiles saved before there were names may have any braces: they stand for themselves.
            Err(_) => Self { filter: TopicFilter::new(text), names: Box::default() },
        }
    }

    pub(crate) fn matches(&self, topic: &str) -> bool {
        self.filter.matches(topic)
    }

    /// The one topic that it covers, where that is one.
    pub(crate) fn fixed(&self) -> Option<&str> {
        match &self.filter {
            TopicFilter::Exactly(topic) => Some(topic),
            TopicFilter::Everything | TopicFilter::Pattern(_) => None,
        }
    }

    pub(crate) fn has_names(&self) -> bool {
        !self.names.is_empty()
    }

    /// Name and value of each named segment; none where the topic does not match.
    pub(crate) fn facts<'a>(&'a self, topic: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let names: &[_] = if self.has_names() && self.matches(topic) { &self.names } else { &[] };
        names.iter().filter_map(|(index, name)| Some((name.as_str(), topic.split('/').nth(*index)?)))
    }
}

/// Whether `filter` covers `topic`: for the QoS of what is published to a device.
pub fn matches(filter: &str, topic: &str) -> bool {
    filter == "#" || pattern_matches(filter.as_bytes(), topic.as_bytes())
}

/// Where matching resumes when it failed behind a wildcard.
#[derive(Clone, Copy)]
struct Retry {
    filter: usize,
    topic: usize,
}

/// Wildcard matching without recursion. A later wildcard replaces an earlier one as the place to resume: giving
/// an earlier `+` more can only take away from what follows, as `+` never crosses a slash; likewise for `/#`.
fn pattern_matches(filter: &[u8], topic: &[u8]) -> bool {
    let (mut f, mut t) = (0, 0);
    let mut plus: Option<Retry> = None;
    let mut rest: Option<Retry> = None;
    loop {
        let here = topic.get(t).copied();
        match (filter.get(f).copied(), filter.get(f + 1).copied()) {
            (Some(b'/'), Some(b'#')) if here.is_none() => {
                f += 2;
                continue;
            }
            (Some(b'/'), Some(b'#')) if here == Some(b'/') => {
                (f, t) = (f + 2, t + 1);
                (plus, rest) = (None, Some(Retry { filter: f, topic: t }));
                continue;
            }
            (Some(b'/'), Some(b'#')) => {}
            (Some(b'+'), _) if here.is_some_and(|byte| byte != b'/') => {
                (f, t) = (f + 1, t + 1);
                plus = Some(Retry { filter: f, topic: t });
                continue;
            }
            (Some(b'+'), _) => {}
            (Some(byte), _) if here == Some(byte) => {
                (f, t) = (f + 1, t + 1);
                continue;
            }
            (Some(_), _) => {}
            (None, _) if here.is_none() => return true,
            (None, _) => {}
        }
        let longer_plus = plus.filter(|retry| topic.get(retry.topic).is_some_and(|byte| *byte != b'/'));
        let longer_rest = rest.filter(|retry| retry.topic < topic.len());
        if let Some(retry) = longer_plus {
            (f, t) = (retry.filter, retry.topic + 1);
            plus = Some(Retry { filter: f, topic: t });
        } else if let Some(retry) = longer_rest {
            (f, t) = (retry.filter, retry.topic + 1);
            (plus, rest) = (None, Some(Retry { filter: f, topic: t }));
        } else {
            return false;
        }
    }
}
