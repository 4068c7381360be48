//! Topics of Sparkplug B: `spBv1.0/{group}/{type}/{edge node}[/{device}]`, with or without `$sparkplug/certificates/`.
//!
//! An edge node speaks of itself and of the devices behind it; the type says which of the two, and what it says.

use std::fmt;

const NAMESPACE: &str = "spBv1.0";
const CERTIFICATES: &str = "$sparkplug/certificates/";
const STATE: &str = "STATE";

/// What a message is about, whoever it is of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Verb {
    Birth,
    Data,
    Death,
    Command,
}

/// The type of a message.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SparkplugType {
    /// `N…`, of the edge node.
    Node(Verb),
    /// `D…`, of a device behind it.
    Device(Verb),
}

impl SparkplugType {
    const ALL: [(&'static str, Self); 8] = [
        ("NBIRTH", Self::Node(Verb::Birth)),
        ("NDATA", Self::Node(Verb::Data)),
        ("NDEATH", Self::Node(Verb::Death)),
        ("NCMD", Self::Node(Verb::Command)),
        ("DBIRTH", Self::Device(Verb::Birth)),
        ("DDATA", Self::Device(Verb::Data)),
        ("DDEATH", Self::Device(Verb::Death)),
        ("DCMD", Self::Device(Verb::Command)),
    ];

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(name, _)| *name == word).map(|(_, kind)| *kind)
    }

    /// As topics have it.
    pub fn word(self) -> &'static str {
        let named = Self::ALL.iter().find(|(_, kind)| *kind == self);
        named.map(|(name, _)| *name).expect("the table has every type")
    }
}

impl fmt::Display for SparkplugType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.word())
    }
}

/// A topic of Sparkplug, taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SparkplugTopic<'a> {
    pub group: &'a str,
    pub node: &'a str,
    /// With the types `D…`, and only with them.
    pub device: Option<&'a str>,
    pub verb: Verb,
}

/// What a publish of an edge node means.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SparkplugRoute<'a> {
    Message(SparkplugTopic<'a>),
    /// What host applications say of themselves: read and left alone.
    State,
}

/// Why a topic is none of Sparkplug's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SparkplugTopicError {
    #[error("an edge node publishes below 'spBv1.0/' only: its profile is one of Sparkplug")]
    OtherTopic,
    #[error(
        "a topic of Sparkplug is spBv1.0/GROUP/TYPE/NODE, or spBv1.0/GROUP/TYPE/NODE/DEVICE where the type begins with D"
    )]
    Levels,
    #[error(
        "the type of a Sparkplug message is one of NBIRTH, NDATA, NDEATH, NCMD, DBIRTH, DDATA, DDEATH and DCMD"
    )]
    UnknownType,
    #[error("the group, the node and the device of a Sparkplug topic have a name each, without '+' and '#'")]
    Name,
}

/// What a publish on `topic` means.
pub fn sparkplug(topic: &str) -> Result<SparkplugRoute<'_>, SparkplugTopicError> {
    let mut levels = levels(topic).ok_or(SparkplugTopicError::OtherTopic)?;
    let group = levels.next().ok_or(SparkplugTopicError::Levels)?;
    if group == STATE {
        return Ok(SparkplugRoute::State);
    }
    let word = levels.next().ok_or(SparkplugTopicError::Levels)?;
    let kind = SparkplugType::parse(word).ok_or(SparkplugTopicError::UnknownType)?;
    let node = levels.next().ok_or(SparkplugTopicError::Levels)?;
    let device = levels.next();
    let verb = match (kind, device) {
        (SparkplugType::Node(verb), None) | (SparkplugType::Device(verb), Some(_)) => verb,
        (SparkplugType::Node(_), Some(_)) | (SparkplugType::Device(_), None) => {
            return Err(SparkplugTopicError::Levels);
        }
    };
    if levels.next().is_some() {
        return Err(SparkplugTopicError::Levels);
    }
    if ![Some(group), Some(node), device].into_iter().flatten().all(is_name) {
        return Err(SparkplugTopicError::Name);
    }
    Ok(SparkplugRoute::Message(SparkplugTopic { group, node, device, verb }))
}

/// Whether an edge node may subscribe to `filter`: whatever could match a topic of Sparkplug, and nothing else. What it is
/// sent does not depend on it.
pub fn is_sparkplug_filter(filter: &str) -> bool {
    // Hosts of the second version of Sparkplug say there whether they are online.
    if let Some(host) = filter.strip_prefix("STATE/") {
        return host == "#" || host == "+" || is_name(host) && !host.contains('/');
    }
    let Some(levels) = levels(filter) else { return false };
    let levels: Vec<&str> = levels.collect();
    let (levels, is_open) = match levels.split_last() {
        Some((&"#", before)) => (before, true),
        Some(_) | None => (levels.as_slice(), false),
    };
    if !levels.iter().all(|level| *level == "+" || is_name(level)) {
        return false;
    }
    let is_enough = |count: usize| is_open || levels.len() >= count;
    match levels {
        [] => is_open,
        [STATE, rest @ ..] => rest.len() <= 1 && is_enough(2),
        [_] => is_open,
        // One client asks for the state of hosts below its group.
        [_, STATE, rest @ ..] => rest.len() <= 1 && is_enough(3),
        [_, word, rest @ ..] => {
            let (names_min, names_max) = match SparkplugType::parse(word) {
                Some(SparkplugType::Node(_)) => (1, 1),
                Some(SparkplugType::Device(_)) => (2, 2),
                None if *word == "+" => (1, 2),
                None => return false,
            };
            rest.len() <= names_max && is_enough(2 + names_min)
        }
    }
}

/// Where a command goes: to the node, or to a device behind it.
pub fn sparkplug_command_topic(group: &str, node: &str, device: Option<&str>) -> String {
    match device {
        None => format!("{NAMESPACE}/{group}/NCMD/{node}"),
        Some(device) => format!("{NAMESPACE}/{group}/DCMD/{node}/{device}"),
    }
}

/// What follows the name space; `None` where that is another one.
fn levels(topic: &str) -> Option<impl Iterator<Item = &str>> {
    let topic = topic.strip_prefix(CERTIFICATES).unwrap_or(topic);
    let mut levels = topic.split('/');
    (levels.next() == Some(NAMESPACE)).then_some(levels)
}

fn is_name(level: &str) -> bool {
    !level.is_empty() && !level.contains(['+', '#'])
}

impl SparkplugTopic<'_> {
    /// The type of its message.
    pub fn kind(&self) -> SparkplugType {
        match self.device {
            None => SparkplugType::Node(self.verb),
            Some(_) => SparkplugType::Device(self.verb),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn means(topic: &str, device: Option<&str>, verb: Verb) {
        let expected = SparkplugTopic { group: "G", node: "N", device, verb };
        assert_eq!(sparkplug(topic), Ok(SparkplugRoute::Message(expected)), "{topic}");
        let word = topic.split('/').rev().nth(1 + usize::from(device.is_some()));
        assert_eq!(Some(expected.kind().word()), word, "{topic}");
    }

    #[track_caller]
    fn refused(topic: &str, why: SparkplugTopicError) {
        assert_eq!(sparkplug(topic), Err(why), "{topic}");
    }

    #[test]
    fn every_type_is_of_a_node_or_of_a_device() {
        means("spBv1.0/G/NBIRTH/N", None, Verb::Birth);
        means("spBv1.0/G/NDATA/N", None, Verb::Data);
        means("spBv1.0/G/NDEATH/N", None, Verb::Death);
        means("spBv1.0/G/NCMD/N", None, Verb::Command);
        means("spBv1.0/G/DBIRTH/N/D 1", Some("D 1"), Verb::Birth);
        means("spBv1.0/G/DDATA/N/D", Some("D"), Verb::Data);
        means("spBv1.0/G/DDEATH/N/D", Some("D"), Verb::Death);
        means("spBv1.0/G/DCMD/N/D", Some("D"), Verb::Command);
        means("$sparkplug/certificates/spBv1.0/G/NBIRTH/N", None, Verb::Birth);
        means("$sparkplug/certificates/spBv1.0/G/DBIRTH/N/D", Some("D"), Verb::Birth);
        assert_eq!(sparkplug("spBv1.0/STATE/host"), Ok(SparkplugRoute::State));
    }

    #[test]
    fn what_is_no_topic_of_sparkplug_is_told_why() {
        use SparkplugTopicError::{Levels, Name, OtherTopic, UnknownType};
        refused("v1/devices/me/telemetry", OtherTopic);
        refused("spAv1.0/G/NBIRTH/N", OtherTopic);
        refused("", OtherTopic);
        refused("spBv1.0", Levels);
        refused("spBv1.0/G", Levels);
        refused("spBv1.0/G/NBIRTH", Levels);
        refused("spBv1.0/G/NBIRTH/N/D", Levels);
        refused("spBv1.0/G/DBIRTH/N", Levels);
        refused("spBv1.0/G/DBIRTH/N/D/E", Levels);
        refused("spBv1.0/G/NRECORD/N", UnknownType);
        refused("spBv1.0/G/nbirth/N", UnknownType);
        refused("spBv1.0//NBIRTH/N", Name);
        refused("spBv1.0/G/NBIRTH/", Name);
        refused("spBv1.0/G/DDATA/N/", Name);
    }

    #[test]
    fn filters_are_granted_that_could_match_something() {
        for filter in [
            "spBv1.0/G/NCMD/N",
            "spBv1.0/G/NCMD/N/#",
            "spBv1.0/G/DCMD/N/+",
            "spBv1.0/G/DCMD/N/#",
            "spBv1.0/G/DCMD/N/D",
            "spBv1.0/+/+/N",
            "spBv1.0/#",
            "spBv1.0/G/#",
            "spBv1.0/STATE/host",
            "spBv1.0/STATE/+",
            "spBv1.0/STATE/#",
            "STATE/host",
            "STATE/+",
            "spBv1.0/G/STATE/+",
            "$sparkplug/certificates/spBv1.0/G/NBIRTH/N",
        ] {
            assert!(is_sparkplug_filter(filter), "{filter}");
        }
        for filter in [
            "v1/devices/me/attributes",
            "#",
            "",
            "spBv1.0",
            "spBv1.0/G",
            "spBv1.0/G/NCMD",
            "spBv1.0/G/NCMD/N/D",
            "spBv1.0/G/DCMD/N",
            "spBv1.0/G/OTHER/N",
            "spBv1.0/G/#/N",
            "spBv1.0/G/NCMD/N#",
            "spBv1.0//NCMD/N",
            "spBv1.0/STATE",
            "spBv1.0/STATE/host/more",
            "STATE/",
            "STATE/a/b",
        ] {
            assert!(!is_sparkplug_filter(filter), "{filter}");
        }
    }

    #[test]
    fn commands_go_to_the_short_name() {
        assert_eq!(sparkplug_command_topic("G", "N", None), "spBv1.0/G/NCMD/N");
        assert_eq!(sparkplug_command_topic("G", "N", Some("D")), "spBv1.0/G/DCMD/N/D");
    }
}
