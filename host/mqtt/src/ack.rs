//! What a device is told: the one place where an outcome becomes a reason code of MQTT, or the refusal of a request that
//! came otherwise.
//!
//! An `Ack` takes responsibility for a message, so it is made only from the proof that the message is kept, or where
//! there is nothing to keep.

use ntex_mqtt::v5::codec::{DisconnectReasonCode, PublishAckReason};
use wireglot_device::Accepted;
use wireglot_model::downlink::CloseReason;
use wireglot_model::{ProvisionAnswer, RequestRefusal};

/// The answer to a publish. MQTT 3.1.1 writes every one of them as a plain PUBACK.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ack(Outcome);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Kept,
    BadPayload,
    Denied,
    Quota,
    UnknownTopic,
    Unserved,
    Unresolved,
}

impl Ack {
    /// All that the message changes is durable; or it is a dead letter that we answer for.
    pub(crate) fn positive(_proof: Accepted) -> Self {
        Self(Outcome::Kept)
    }

    /// The payload is wrong. It is in the dead letters, because MQTT 3.1.1 will read this as success.
    pub(crate) fn bad_payload(_proof: Accepted) -> Self {
        Self(Outcome::BadPayload)
    }

    /// The device may not say this. It is in the dead letters, for the same reason.
    pub(crate) fn denied(_proof: Accepted) -> Self {
        Self(Outcome::Denied)
    }

    /// A bound was passed. It is in the dead letters, for the same reason.
    pub(crate) fn quota(_proof: Accepted) -> Self {
        Self(Outcome::Quota)
    }

    /// A message of a gateway does not say what its call takes (gateway API §4.2). It is in the dead letters, for the same
    /// reason.
    pub(crate) fn bad_structure(_proof: Accepted) -> Self {
        Self(Outcome::Unserved)
    }

    /// There is no such device behind the gateway, and none is made. What it said is in the dead letters, for the same
    /// reason.
    pub(crate) fn unresolved(_proof: Accepted) -> Self {
        Self(Outcome::Unresolved)
    }

    /// The topic means nothing, so there was nothing to keep (device API §5.1, row 16).
    pub(crate) fn unknown_topic() -> Self {
        Self(Outcome::UnknownTopic)
    }

    /// The device that asked is answered; what the answer promises is durable.
    pub(crate) fn provisioned(_proof: &ProvisionAnswer) -> Self {
        Self(Outcome::Kept)
    }

    /// A request to provision that cannot be read. There is nobody yet for whom it could be kept (device API §6.1).
    pub(crate) fn unread() -> Self {
        Self(Outcome::BadPayload)
    }

    /// A request to provision that nobody serves (device API §15.2).
    pub(crate) fn unserved() -> Self {
        Self(Outcome::Unserved)
    }

    /// What whoever asks in a single request is told, where that is a refusal.
    pub(crate) fn refusal(self, reason: Option<String>) -> Option<RequestRefusal> {
        match self.0 {
            Outcome::Kept => None,
            Outcome::BadPayload
            | Outcome::Denied
            | Outcome::Quota
            | Outcome::UnknownTopic
            | Outcome::Unserved
            | Outcome::Unresolved => Some(RequestRefusal::Unusable(reason.unwrap_or_default())),
        }
    }

    pub(crate) fn is_success(self) -> bool {
        self.reason() == PublishAckReason::Success
    }

    pub(crate) fn reason(self) -> PublishAckReason {
        match self.0 {
            Outcome::Kept => PublishAckReason::Success,
            Outcome::BadPayload => PublishAckReason::PayloadFormatInvalid,
            Outcome::Denied => PublishAckReason::NotAuthorized,
            Outcome::Quota => PublishAckReason::QuotaExceeded,
            Outcome::UnknownTopic => PublishAckReason::TopicNameInvalid,
            Outcome::Unserved => PublishAckReason::ImplementationSpecificError,
            Outcome::Unresolved => PublishAckReason::UnspecifiedError,
        }
    }
}

/// Why the server ends a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Close {
    /// A packet that cannot be one.
    Malformed,
    /// A packet that has no business here.
    ProtocolError,
    /// We could not do our part; the device keeps what was not acknowledged.
    Failed,
    /// Nothing was heard for one and a half times the device's keep alive.
    KeepAlive,
    /// Nothing was heard for the inactivity time-out.
    Inactive,
    /// The device's other session took over.
    TakenOver,
    /// An operator's doing, or what an operator has set for devices that do not acknowledge RPCs.
    Administrative,
    /// The server stops.
    ShuttingDown,
    /// A bound was passed.
    Quota,
    /// A rate limit was passed; what was not acknowledged was not kept.
    RateLimited,
    /// A topic alias beyond the announced maximum.
    TopicAlias,
    /// A bad payload, where the profile wants the strict behaviour.
    BadPayload,
    /// A session that only provisions has nothing else to say.
    UnknownTopic,
    /// A device that was provisioned comes back by its credentials.
    Provisioned,
}

impl Close {
    pub(crate) fn reason(self) -> DisconnectReasonCode {
        match self {
            Close::Malformed => DisconnectReasonCode::MalformedPacket,
            Close::ProtocolError => DisconnectReasonCode::ProtocolError,
            Close::Failed | Close::Inactive | Close::RateLimited => {
                DisconnectReasonCode::ImplementationSpecificError
            }
            Close::KeepAlive => DisconnectReasonCode::KeepAliveTimeout,
            Close::TakenOver => DisconnectReasonCode::SessionTakenOver,
            Close::Administrative => DisconnectReasonCode::AdministrativeAction,
            Close::ShuttingDown => DisconnectReasonCode::ServerShuttingDown,
            Close::Quota => DisconnectReasonCode::QuotaExceeded,
            Close::TopicAlias => DisconnectReasonCode::TopicAliasInvalid,
            Close::BadPayload => DisconnectReasonCode::PayloadFormatInvalid,
            Close::UnknownTopic => DisconnectReasonCode::TopicNameInvalid,
            Close::Provisioned => DisconnectReasonCode::NormalDisconnection,
        }
    }

    /// What whoever asks in a single request is told.
    pub(crate) fn refusal(self) -> RequestRefusal {
        match self {
            Close::RateLimited => RequestRefusal::RateLimited,
            // The token holds no longer.
            Close::Administrative => RequestRefusal::UnknownToken,
            Close::ShuttingDown => RequestRefusal::Stopping,
            // Of the requests of its device that wait it was the oldest: it asks again, as after its time.
            Close::TakenOver => RequestRefusal::NoAnswer,
            Close::Malformed
            | Close::ProtocolError
            | Close::Failed
            | Close::KeepAlive
            | Close::Inactive
            | Close::Quota
            | Close::TopicAlias
            | Close::BadPayload
            | Close::UnknownTopic
            | Close::Provisioned => RequestRefusal::Failed,
        }
    }

    /// Whether the device broke the protocol.
    pub(crate) fn is_breach(self) -> bool {
        match self {
            Close::Malformed | Close::ProtocolError | Close::Quota | Close::TopicAlias => true,
            Close::Failed
            | Close::KeepAlive
            | Close::Inactive
            | Close::TakenOver
            | Close::Administrative
            | Close::ShuttingDown
            | Close::RateLimited
            | Close::BadPayload
            | Close::UnknownTopic
            | Close::Provisioned => false,
        }
    }
}

impl From<CloseReason> for Close {
    fn from(reason: CloseReason) -> Self {
        match reason {
            CloseReason::TakenOver => Close::TakenOver,
            CloseReason::Administrative | CloseReason::RpcUnacknowledged => Close::Administrative,
            CloseReason::Inactive => Close::Inactive,
            CloseReason::ShuttingDown => Close::ShuttingDown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(close: Close, code: u8) {
        assert_eq!(u8::from(close.reason()), code, "{close:?}");
    }

    #[test]
    fn closes_have_the_codes_of_the_device_api() {
        check(Close::Malformed, 0x81);
        check(Close::ProtocolError, 0x82);
        check(Close::Failed, 0x83);
        check(Close::Inactive, 0x83);
        check(Close::RateLimited, 0x83);
        check(Close::ShuttingDown, 0x8B);
        check(Close::KeepAlive, 0x8D);
        check(Close::TakenOver, 0x8E);
        check(Close::TopicAlias, 0x94);
        check(Close::Quota, 0x97);
        check(Close::Administrative, 0x98);
        check(Close::BadPayload, 0x99);
        check(Close::UnknownTopic, 0x90);
        check(Close::Provisioned, 0x00);
    }

    #[test]
    fn an_unknown_topic_is_acknowledged_as_such() {
        assert_eq!(u8::from(Ack::unknown_topic().reason()), 0x90);
        assert!(!Ack::unknown_topic().is_success());
    }
}
