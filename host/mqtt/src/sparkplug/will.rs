//! The CONNECT of an edge node: its will is its death, and says whose it is (Sparkplug §1.1).

use ntex_mqtt::QoS;
use wireglot_proto::SparkplugPayload;
use wireglot_route::{SparkplugRoute, SparkplugTopic, Verb, sparkplug};

/// What a CONNECT says that matters for Sparkplug.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Opening<'a> {
    pub(crate) will: Option<Will<'a>>,
    /// The session ends with the connection, and its client has said so in the words of its version.
    pub(crate) is_clean: bool,
}

/// A will.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Will<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) qos: QoS,
    pub(crate) is_retained: bool,
}

/// An edge node, as its will names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Identity {
    pub(crate) group: Box<str>,
    pub(crate) node: Box<str>,
    /// The number of its session, from the metric `bdSeq`.
    pub(crate) bd_seq: i64,
}

/// Why a CONNECT is none of an edge node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum InvalidWill {
    #[error("an edge node connects with a will on spBv1.0/GROUP/NDEATH/NODE")]
    Missing,
    #[error(
        "the will of an edge node has QoS 1, or QoS 0 where its profile has sparkplugWillQos0, and is not retained"
    )]
    Delivery,
    #[error("the will of an edge node is a Sparkplug payload with the metric bdSeq")]
    Payload,
    #[error("an edge node asks for a clean session; in MQTT 5 it also says a session expiry interval of 0")]
    Session,
}

impl Opening<'_> {
    /// Whose CONNECT it is. `qos_0` lets a will of that QoS in, which Sparkplug does not.
    pub(crate) fn identity(&self, qos_0: bool) -> Result<Identity, InvalidWill> {
        let will = self.will.ok_or(InvalidWill::Missing)?;
        let (group, node) = match sparkplug(will.topic) {
            Ok(SparkplugRoute::Message(SparkplugTopic { group, node, device: None, verb: Verb::Death })) => {
                (group, node)
            }
            Ok(_) | Err(_) => return Err(InvalidWill::Missing),
        };
        let is_allowed = will.qos == QoS::AtLeastOnce || qos_0 && will.qos == QoS::AtMostOnce;
        if !is_allowed || will.is_retained {
            return Err(InvalidWill::Delivery);
        }
        let payload = SparkplugPayload::read(will.payload).ok();
        let bd_seq = payload.and_then(|payload| payload.bd_seq()).ok_or(InvalidWill::Payload)?;
        if !self.is_clean {
            return Err(InvalidWill::Session);
        }
        Ok(Identity { group: group.into(), node: node.into(), bd_seq })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `bdSeq`, Int64, 3.
    const BD_SEQ: &[u8] = b"\x12\x0b\x0a\x05bdSeq\x20\x04\x58\x03";
    const GOOD: Will<'static> =
        Will { topic: "spBv1.0/G/NDEATH/N", payload: BD_SEQ, qos: QoS::AtLeastOnce, is_retained: false };

    #[track_caller]
    fn check(will: Will<'_>, is_clean: bool, expected: Result<(), InvalidWill>) {
        let opening = Opening { will: Some(will), is_clean };
        let identity = Identity { group: "G".into(), node: "N".into(), bd_seq: 3 };
        assert_eq!(opening.identity(false), expected.map(|()| identity), "{opening:?}");
    }

    // 389, 390, 391
    #[test]
    fn a_node_is_known_by_its_will() {
        check(GOOD, true, Ok(()));
        check(Will { topic: "$sparkplug/certificates/spBv1.0/G/NDEATH/N", ..GOOD }, true, Ok(()));
        check(Will { topic: "spBv1.0/G/NBIRTH/N", ..GOOD }, true, Err(InvalidWill::Missing));
        check(Will { topic: "spBv1.0/G/DDEATH/N/D", ..GOOD }, true, Err(InvalidWill::Missing));
        check(Will { topic: "last/words", ..GOOD }, true, Err(InvalidWill::Missing));
        check(Will { qos: QoS::AtMostOnce, ..GOOD }, true, Err(InvalidWill::Delivery));
        check(Will { qos: QoS::ExactlyOnce, ..GOOD }, true, Err(InvalidWill::Delivery));
        check(Will { is_retained: true, ..GOOD }, true, Err(InvalidWill::Delivery));
        check(Will { payload: b"", ..GOOD }, true, Err(InvalidWill::Payload));
        check(Will { payload: b"offline", ..GOOD }, true, Err(InvalidWill::Payload));
        check(GOOD, false, Err(InvalidWill::Session));
        assert_eq!(Opening { will: None, is_clean: true }.identity(false), Err(InvalidWill::Missing));
        let qos_0 = |will| Opening { will: Some(will), is_clean: true }.identity(true).is_ok();
        assert!(qos_0(GOOD) && qos_0(Will { qos: QoS::AtMostOnce, ..GOOD }));
        assert!(!qos_0(Will { qos: QoS::ExactlyOnce, ..GOOD }));
    }
}
