//! What the births of a connection have said: which metrics there are, of which type, and what they are called for short.
//!
//! A birth takes the place of the one before it of the same node or device. An alias belongs to the node or the device
//! whose birth gave it, as a topic says whose message it is. What all births of a connection take in memory is bounded.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use wireglot_model::is_storable_key;
use wireglot_model::limits::{KEY_CHARS_MAX, SPARKPLUG_BIRTH_BYTES_MAX};
use wireglot_proto::{DataType, SparkplugMetric};

/// What one metric takes beside its name, with its alias.
const METRIC_BYTES: usize = 200;
/// What a birth takes beside its metrics.
const BIRTH_BYTES: usize = 512;

/// A metric as its birth has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Born {
    pub(super) kind: DataType,
    pub(super) alias: Option<u64>,
}

/// The last birth of a node or a device.
#[derive(Default, Debug)]
pub(super) struct Birth {
    metrics: HashMap<Arc<str>, Born>,
    aliases: HashMap<u64, Arc<str>>,
    /// Its owner was seen to write small negative integers as wide as their field.
    pub(super) fills_fields: Cell<bool>,
    bytes: usize,
}

/// Why a birth, or what refers to one, cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum BirthError {
    #[error("a birth names every metric, and this one has a metric without a name")]
    Nameless,
    #[error("the name of a metric has 1 to {KEY_CHARS_MAX} characters and is not blank")]
    NoKey,
    #[error("the alias {alias} is that of two metrics, '{one}' and '{other}'")]
    AliasTaken { alias: u64, one: Arc<str>, other: Box<str> },
    #[error(
        "no birth of this connection has told which metric the alias {0} is: the node sends its births again"
    )]
    UnknownAlias(u64),
    #[error("a metric has neither a name nor an alias")]
    Anonymous,
    #[error(
        "the births of one connection take at most {SPARKPLUG_BIRTH_BYTES_MAX} bytes, and this one is too much"
    )]
    TooLarge,
}

impl Birth {
    pub(super) fn read(metrics: &[SparkplugMetric]) -> Result<Self, BirthError> {
        let mut birth = Self { bytes: BIRTH_BYTES, ..Self::default() };
        for metric in metrics {
            let name = metric.name().ok_or(BirthError::Nameless)?;
            if !is_storable_key(name) {
                return Err(BirthError::NoKey);
            }
            birth.bytes += name.len() + METRIC_BYTES;
            if birth.bytes > SPARKPLUG_BIRTH_BYTES_MAX {
                return Err(BirthError::TooLarge);
            }
            let name: Arc<str> = name.into();
            if let Some(alias) = metric.alias() {
                match birth.aliases.get(&alias) {
                    Some(one) if *one != name => {
                        let other = (*name).into();
                        return Err(BirthError::AliasTaken { alias, one: one.clone(), other });
                    }
                    Some(_) | None => birth.aliases.insert(alias, name.clone()),
                };
            }
            // What has a type that nobody knows can be neither stored nor set.
            if let Some(kind) = metric.kind(None) {
                birth.metrics.insert(name, Born { kind, alias: metric.alias() });
            }
        }
        Ok(birth)
    }

    pub(super) fn metric(&self, name: &str) -> Option<Born> {
        self.metrics.get(name).copied()
    }

    /// What a metric of a later message is called, and what the birth says of it.
    pub(super) fn resolve<'a>(
        &'a self,
        metric: &'a SparkplugMetric,
    ) -> Result<(&'a str, Option<Born>), BirthError> {
        let name = match (metric.name(), metric.alias()) {
            (Some(name), _) => name,
            (None, Some(alias)) => self.aliases.get(&alias).ok_or(BirthError::UnknownAlias(alias))?,
            (None, None) => return Err(BirthError::Anonymous),
        };
        Ok((name, self.metric(name)))
    }
}

/// The births of one connection.
#[derive(Default)]
pub(super) struct Births {
    node: Option<Birth>,
    /// By the short names of the devices.
    devices: HashMap<Box<str>, Birth>,
    bytes: usize,
}

impl Births {
    /// The last birth of the node, or of a device behind it.
    pub(super) fn of(&self, device: Option<&str>) -> Option<&Birth> {
        match device {
            None => self.node.as_ref(),
            Some(device) => self.devices.get(device),
        }
    }

    /// Whether there is room for `birth`.
    pub(super) fn check(&self, device: Option<&str>, birth: &Birth) -> Result<(), BirthError> {
        let before = self.of(device).map_or(0, |before| before.bytes);
        if self.bytes - before + birth.bytes > SPARKPLUG_BIRTH_BYTES_MAX {
            return Err(BirthError::TooLarge);
        }
        Ok(())
    }

    pub(super) fn insert(&mut self, device: Option<&str>, birth: Birth) {
        self.bytes += birth.bytes;
        if self.of(device).is_some_and(|before| before.fills_fields.get()) {
            birth.fills_fields.set(true);
        }
        let before = match device {
            None => self.node.replace(birth),
            Some(device) => self.devices.insert(device.into(), birth),
        };
        self.bytes -= before.map_or(0, |before| before.bytes);
    }

    /// The node is born again, and the devices behind it with it: what they have said before counts no more. They are told
    /// by their short names.
    pub(super) fn void_devices(&mut self) -> Vec<Box<str>> {
        let devices = std::mem::take(&mut self.devices);
        self.bytes -= devices.values().map(|birth| birth.bytes).sum::<usize>();
        devices.into_keys().collect()
    }

    pub(super) fn remove(&mut self, device: &str) {
        self.bytes -= self.devices.remove(device).map_or(0, |before| before.bytes);
    }
}

/// The numbers of a node's messages, 0 to 255 and again from 0.
///
/// A node that does not count, or always says the same, is left alone: a gap is one only where the node was heard to
/// count, or has left the number of its birth for one that does not follow.
#[derive(Default, Debug)]
pub(super) struct Sequence {
    last: Option<u64>,
    counts: bool,
    /// A gap was there since the last birth.
    is_broken: bool,
}

impl Sequence {
    /// A node was born.
    pub(super) fn begin(&mut self, seq: Option<u64>) {
        *self = Self { last: seq.filter(|seq| is_number(*seq)), ..Self::default() };
    }

    /// Another message of it. Whether there is a gap before it, and none was since the birth.
    pub(super) fn follow(&mut self, seq: Option<u64>) -> bool {
        let (Some(last), Some(seq)) = (self.last, seq.filter(|seq| is_number(*seq))) else { return false };
        let follows = (last + 1) % 256 == seq;
        self.last = Some(seq);
        self.counts |= follows;
        let is_gap = !follows && (self.counts || seq != last);
        is_gap && !std::mem::replace(&mut self.is_broken, true)
    }
}

/// Whatever is no number of a message says nothing.
fn is_number(seq: u64) -> bool {
    seq < 256
}

#[cfg(test)]
mod tests {
    use wireglot_model::{Timestamp, Value};
    use wireglot_proto::{SparkplugCommand, SparkplugPayload};

    use super::*;

    /// A metric, by its name or by its alias.
    fn metric(name: &str, alias: Option<u64>) -> SparkplugMetric {
        let value = Value::Long(1);
        let command = SparkplugCommand {
            name,
            alias,
            kind: DataType::Int32,
            value: &value,
            fills_field: false,
            ts: Timestamp(1),
        };
        SparkplugPayload::read(&command.write().unwrap()).unwrap().metrics.remove(0)
    }

    /// An Int32 with both, as births have it.
    fn named(name: &str, alias: u8) -> SparkplugMetric {
        typed(name, alias, 3)
    }

    fn typed(name: &str, alias: u8, datatype: u8) -> SparkplugMetric {
        let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap();
        let name = name.as_bytes();
        let metric = [&[0x0A, length(name)], name, &[0x10, alias, 0x20, datatype]].concat();
        let payload = [&[0x12, length(&metric)], metric.as_slice()].concat();
        SparkplugPayload::read(&payload).unwrap().metrics.remove(0)
    }

    #[test]
    fn an_alias_stands_for_the_name_of_the_birth() {
        let birth = Birth::read(&[named("a", 0), named("b", 1), metric("c", None)]).unwrap();
        let by_alias = metric("", Some(1));
        let born = Born { kind: DataType::Int32, alias: Some(1) };
        assert_eq!(birth.resolve(&by_alias), Ok(("b", Some(born))));
        assert_eq!(birth.resolve(&metric("c", None)).unwrap().0, "c");
        assert_eq!(birth.resolve(&metric("new", None)), Ok(("new", None)));
        assert_eq!(birth.resolve(&metric("", Some(7))), Err(BirthError::UnknownAlias(7)));
        assert_eq!(birth.resolve(&metric("", None)), Err(BirthError::Anonymous));
    }

    #[test]
    fn a_birth_names_all_and_uses_an_alias_once() {
        assert_eq!(Birth::read(&[metric("", Some(1))]).unwrap_err(), BirthError::Nameless);
        assert_eq!(Birth::read(&[metric(" ", None)]).unwrap_err(), BirthError::NoKey);
        let long = |chars| "n".repeat(chars);
        assert_eq!(Birth::read(&[metric(&long(KEY_CHARS_MAX + 1), None)]).unwrap_err(), BirthError::NoKey);
        assert!(Birth::read(&[metric(&long(KEY_CHARS_MAX), None)]).is_ok());
        let twice = Birth::read(&[named("a", 1), named("b", 1)]).unwrap_err();
        assert_eq!(twice, BirthError::AliasTaken { alias: 1, one: "a".into(), other: "b".into() });
    }

    #[test]
    fn a_birth_takes_the_place_of_the_one_before() {
        let mut births = Births::default();
        let birth = |metrics: &[SparkplugMetric]| Birth::read(metrics).unwrap();
        births.insert(None, birth(&[named("a", 1)]));
        births.insert(Some("D"), birth(&[named("b", 1)]));
        let once = births.bytes;
        births.insert(None, birth(&[named("c", 1)]));
        assert_eq!(births.bytes, once);
        let alias = metric("", Some(1));
        assert_eq!(births.of(None).unwrap().resolve(&alias).unwrap().0, "c");
        assert_eq!(births.of(Some("D")).unwrap().resolve(&alias).unwrap().0, "b");
        assert!(births.of(Some("E")).is_none());
        births.remove("D");
        births.remove("D");
        assert_eq!(births.bytes, once / 2);
        births.insert(Some("D"), birth(&[named("b", 1)]));
        assert_eq!(births.void_devices(), [Box::<str>::from("D")]);
        assert!(births.of(Some("D")).is_none() && births.of(None).is_some());
        assert_eq!(births.bytes, once / 2);
    }

    #[test]
    fn how_integers_are_written_is_known_of_each_owner() {
        let mut births = Births::default();
        let birth = || Birth::read(&[named("a", 1)]).unwrap();
        births.insert(None, birth());
        births.insert(Some("D"), birth());
        births.of(Some("D")).unwrap().fills_fields.set(true);
        births.insert(Some("D"), birth());
        assert!(births.of(Some("D")).unwrap().fills_fields.get(), "it does not change by a birth");
        assert!(!births.of(None).unwrap().fills_fields.get());
    }

    #[test]
    fn births_are_bounded() {
        let mut births = Births::default();
        let large = || Birth { bytes: SPARKPLUG_BIRTH_BYTES_MAX, ..Birth::default() };
        assert_eq!(births.check(None, &large()), Ok(()));
        births.insert(None, large());
        assert_eq!(births.check(None, &large()), Ok(()), "it takes the place of the one before");
        let small = Birth { bytes: 1, ..Birth::default() };
        assert_eq!(births.check(Some("D"), &small), Err(BirthError::TooLarge));
        // Whatever is remembered counts: of a metric of no known type, its alias.
        let unknown = vec![typed("n", 1, 20); SPARKPLUG_BIRTH_BYTES_MAX / METRIC_BYTES];
        assert_eq!(Birth::read(&unknown).unwrap_err(), BirthError::TooLarge);
        assert!(Birth::read(&unknown[..1_000]).unwrap().bytes > 1_000 * METRIC_BYTES);
    }

    #[track_caller]
    fn gaps(messages: &[Option<u64>], expected: &[usize]) {
        let mut sequence = Sequence::default();
        let (birth, rest) = messages.split_first().unwrap();
        sequence.begin(*birth);
        let found: Vec<usize> = rest
            .iter()
            .enumerate()
            .filter(|(_, seq)| sequence.follow(**seq))
            .map(|(index, _)| index)
            .collect();
        assert_eq!(found, expected, "{messages:?}");
    }

    #[test]
    fn a_gap_is_noticed_once_per_birth() {
        let numbers = |numbers: &[u64]| numbers.iter().copied().map(Some).collect::<Vec<_>>();
        gaps(&numbers(&[0, 1, 2, 3]), &[]);
        gaps(&numbers(&[0, 1, 3, 4, 6]), &[1]);
        gaps(&numbers(&[0, 2, 3]), &[0]);
        gaps(&numbers(&[0, 1, 1]), &[1]);
        gaps(&numbers(&[254, 255, 0, 1]), &[]);
        gaps(&numbers(&[0, 0, 0, 0]), &[]);
        gaps(&[None, Some(5), Some(9)], &[]);
        gaps(&[Some(0), None, Some(1), Some(2)], &[]);
        gaps(&[Some(0), Some(300), Some(1), Some(u64::MAX), Some(2)], &[]);
        gaps(&[Some(u64::MAX), Some(0), Some(5)], &[]);
    }
}
