//! CONNECT → identity: what a login that fails is told, and how long a session may be silent.
//!
//! The versions' own packets are read in `v3.rs` and `v5.rs`.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use ntex_mqtt::v3::codec::ConnectAckReason as V3Reason;
use ntex_mqtt::v5::codec::ConnectAckReason as V5Reason;
use wireglot_device::{AuthRefusal, CertificateRefusal, ConnectClaim, DeviceHandle, RateExceeded, Revoked};
use wireglot_model::limits::PACKET_BYTES_MAX;
use wireglot_model::{SessionId, TransportKind};

use crate::entrance::Visitor;
use crate::limit;
use crate::sparkplug::{Identity, InvalidWill, Opening};
use crate::worker::Worker;
use wireglot_device::now;

/// The largest packet with its fixed header. ntex-mqtt counts without that, so it lets four bytes more through; above
/// the packet limit of the device API, which is enforced with the right reason code.
pub(crate) const WHOLE_PACKET_BYTES_MAX: u32 = PACKET_BYTES_MAX as u32 + 4;

/// A login that was let in.
pub(crate) struct Admitted {
    pub(crate) device: DeviceHandle,
    pub(crate) session: SessionId,
    /// From where, as far as somebody asks.
    pub(crate) address: Option<IpAddr>,
    /// As an edge node of Sparkplug.
    pub(crate) sparkplug: Option<Identity>,
}

/// Checks the claim and makes the session the device's one session.
pub(crate) async fn admit(
    worker: &Rc<Worker>,
    visitor: &Visitor,
    claim: &ConnectClaim<'_>,
    opening: &Opening<'_>,
) -> Result<Admitted, Refusal> {
    let admitted = log_in(worker, visitor, claim, opening).await;
    match &admitted {
        Ok(_) => worker.entrance().welcomed(visitor.address),
        Err(refusal) => worker.entrance().refused(visitor.address, *refusal),
    }
    admitted
}

async fn log_in(
    worker: &Rc<Worker>,
    visitor: &Visitor,
    claim: &ConnectClaim<'_>,
    opening: &Opening<'_>,
) -> Result<Admitted, Refusal> {
    let device = if visitor.certificates.is_empty() {
        worker.devices.authenticate(claim)?
    } else {
        // Whatever user name and password come with a certificate, nobody looks at them.
        let chain: Vec<&[u8]> = visitor.certificates.iter().map(AsRef::as_ref).collect();
        // Boxed, so that logins without one are not as large.
        Box::pin(worker.devices.authenticate_certificate(&chain, visitor.dates, now())).await?
    };
    let sparkplug = match &device.profile().profile.transport {
        TransportKind::Mqtt(mqtt) if mqtt.sparkplug.is_on => {
            let identity = opening.identity(mqtt.sparkplug.will_qos_0);
            Some(identity.inspect_err(|error| {
                tracing::warn!(device = %device.id(), %error, "The CONNECT is none of a Sparkplug edge node; refused.");
            })?)
        }
        TransportKind::Default | TransportKind::Mqtt(_) | TransportKind::Other(_) => None,
    };
    limit::open(worker, &device)?;
    let session = worker.next_session();
    worker.devices.open_session(&device, session, &worker.mailbox, now())?;
    Ok(Admitted { device, session, address: visitor.address, sparkplug })
}

/// A connection that ended before its CONNECT was whole and understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Broken;

/// Why a CONNECT is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    Login(AuthRefusal),
    /// The client has shown a certificate.
    Certificate(CertificateRefusal),
    /// The credentials changed while the device was being let in.
    Revoked,
    /// More than the rate limits allow.
    RateLimited,
    /// MQTT 5 enhanced authentication is not offered.
    AuthenticationMethod,
    /// As many sessions provision as may at a time.
    TooManyProvision,
    /// The profile is one of Sparkplug, and this is not how an edge node connects.
    Sparkplug(InvalidWill),
}

impl From<InvalidWill> for Refusal {
    fn from(invalid: InvalidWill) -> Self {
        Refusal::Sparkplug(invalid)
    }
}

impl From<AuthRefusal> for Refusal {
    fn from(refusal: AuthRefusal) -> Self {
        Refusal::Login(refusal)
    }
}

impl From<CertificateRefusal> for Refusal {
    fn from(refusal: CertificateRefusal) -> Self {
        Refusal::Certificate(refusal)
    }
}

impl From<Revoked> for Refusal {
    fn from(_: Revoked) -> Self {
        Refusal::Revoked
    }
}

impl From<RateExceeded> for Refusal {
    fn from(_: RateExceeded) -> Self {
        Refusal::RateLimited
    }
}

impl Refusal {
    /// The CONNACK of MQTT 3.1.1: ruling 1 and device API §3.5.
    pub(crate) fn v3_reason(self) -> V3Reason {
        match self {
            Refusal::Login(
                AuthRefusal::EmptyUserName | AuthRefusal::UnknownClient | AuthRefusal::NothingPresented,
            ) => V3Reason::BadUserNameOrPassword,
            Refusal::Login(AuthRefusal::UnknownUser)
            | Refusal::Certificate(CertificateRefusal::Unknown | CertificateRefusal::OutsideDates)
            | Refusal::Revoked
            | Refusal::AuthenticationMethod => V3Reason::NotAuthorized,
            Refusal::Login(AuthRefusal::OtherTransport)
            | Refusal::Certificate(CertificateRefusal::OtherTransport | CertificateRefusal::NotStored)
            | Refusal::TooManyProvision
            | Refusal::Sparkplug(_)
            | Refusal::RateLimited => V3Reason::ServiceUnavailable,
        }
    }

    /// The CONNACK of MQTT 5.
    pub(crate) fn v5_reason(self) -> V5Reason {
        match self {
            Refusal::Login(AuthRefusal::UnknownUser | AuthRefusal::EmptyUserName) | Refusal::Revoked => {
                V5Reason::BadUserNameOrPassword
            }
            Refusal::Login(AuthRefusal::UnknownClient) => V5Reason::ClientIdentifierNotValid,
            Refusal::Login(AuthRefusal::NothingPresented)
            | Refusal::Certificate(CertificateRefusal::Unknown | CertificateRefusal::OutsideDates) => {
                V5Reason::NotAuthorized
            }
            Refusal::Login(AuthRefusal::OtherTransport)
            | Refusal::Certificate(CertificateRefusal::OtherTransport | CertificateRefusal::NotStored) => {
                V5Reason::ServerUnavailable
            }
            Refusal::Sparkplug(_) => V5Reason::ServerUnavailable,
            Refusal::RateLimited => V5Reason::ConnectionRateExceeded,
            Refusal::AuthenticationMethod => V5Reason::BadAuthenticationMethod,
            Refusal::TooManyProvision => V5Reason::QuotaExceeded,
        }
    }

    /// The DISCONNECT that follows it. MQTT 5 knows some of these codes only in a CONNACK; clients of the device API
    /// wait for exactly these.
    pub(crate) fn v5_disconnect(self) -> u8 {
        match self {
            Refusal::Login(AuthRefusal::OtherTransport) => 0x89,
            Refusal::Certificate(CertificateRefusal::OtherTransport | CertificateRefusal::NotStored)
            | Refusal::Sparkplug(_) => 0x83,
            Refusal::RateLimited => 0x96,
            Refusal::Login(
                AuthRefusal::UnknownUser
                | AuthRefusal::EmptyUserName
                | AuthRefusal::UnknownClient
                | AuthRefusal::NothingPresented,
            )
            | Refusal::Certificate(CertificateRefusal::Unknown | CertificateRefusal::OutsideDates)
            | Refusal::Revoked
            | Refusal::AuthenticationMethod
            | Refusal::TooManyProvision => u8::from(self.v5_reason()),
        }
    }

    /// What an MQTT 5 client is told in words, where its code does not say it all.
    pub(crate) fn reason_string(self) -> Option<String> {
        match self {
            Refusal::Sparkplug(invalid) => Some(invalid.to_string()),
            Refusal::Login(_)
            | Refusal::Certificate(_)
            | Refusal::Revoked
            | Refusal::RateLimited
            | Refusal::AuthenticationMethod
            | Refusal::TooManyProvision => None,
        }
    }

    /// Whether it counts against the address: no device was found (device API §3.7).
    pub(crate) fn is_wrong_login(self) -> bool {
        match self {
            Refusal::Login(
                AuthRefusal::UnknownUser
                | AuthRefusal::EmptyUserName
                | AuthRefusal::UnknownClient
                | AuthRefusal::NothingPresented,
            )
            | Refusal::Certificate(CertificateRefusal::Unknown | CertificateRefusal::OutsideDates) => true,
            Refusal::Login(AuthRefusal::OtherTransport)
            | Refusal::Certificate(CertificateRefusal::OtherTransport | CertificateRefusal::NotStored)
            | Refusal::Revoked
            | Refusal::AuthenticationMethod
            | Refusal::RateLimited
            | Refusal::Sparkplug(_)
            | Refusal::TooManyProvision => false,
        }
    }
}

/// How long a session may be silent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct KeepAlive {
    /// The session ends after this much silence.
    pub(crate) timeout: Duration,
    /// What an MQTT 5 client is told to use instead of its own value.
    pub(crate) announced_s: Option<u16>,
    /// Whether the client's own value set the time-out.
    pub(crate) is_clients: bool,
}

impl KeepAlive {
    /// `inactivity_s` is the longest silence of any session: longer keep alives would let it strike first.
    pub(crate) fn of(sent_s: u16, inactivity_s: u16) -> Self {
        let keep_alive_s_max = inactivity_s / 3 * 2;
        if sent_s == 0 || sent_s > keep_alive_s_max {
            return Self {
                timeout: Duration::from_secs(inactivity_s.into()),
                announced_s: Some(keep_alive_s_max),
                is_clients: false,
            };
        }
        let timeout = Duration::from_millis(1_500 * u64::from(sent_s));
        Self { timeout, announced_s: None, is_clients: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(refusal: Refusal, v3: u8, v5: u8, disconnect: u8) {
        let codes = (u8::from(refusal.v3_reason()), u8::from(refusal.v5_reason()), refusal.v5_disconnect());
        assert_eq!(codes, (v3, v5, disconnect), "{refusal:?}");
    }

    #[test]
    fn refusals_have_the_codes_of_ruling_1() {
        check(Refusal::Login(AuthRefusal::UnknownUser), 5, 0x86, 0x86);
        check(Refusal::Login(AuthRefusal::EmptyUserName), 4, 0x86, 0x86);
        check(Refusal::Login(AuthRefusal::UnknownClient), 4, 0x85, 0x85);
        check(Refusal::Login(AuthRefusal::NothingPresented), 4, 0x87, 0x87);
        check(Refusal::Login(AuthRefusal::OtherTransport), 3, 0x88, 0x89);
        check(Refusal::Certificate(CertificateRefusal::Unknown), 5, 0x87, 0x87);
        check(Refusal::Certificate(CertificateRefusal::OutsideDates), 5, 0x87, 0x87);
        check(Refusal::Certificate(CertificateRefusal::OtherTransport), 3, 0x88, 0x83);
        check(Refusal::Certificate(CertificateRefusal::NotStored), 3, 0x88, 0x83);
        check(Refusal::Revoked, 5, 0x86, 0x86);
        check(Refusal::AuthenticationMethod, 5, 0x8C, 0x8C);
        check(Refusal::TooManyProvision, 3, 0x97, 0x97);
        check(Refusal::RateLimited, 3, 0x9F, 0x96);
        check(Refusal::Sparkplug(InvalidWill::Missing), 3, 0x88, 0x83);
    }

    #[test]
    fn keep_alive_is_enforced_at_one_and_a_half_times() {
        for (sent, inactivity, timeout, announced) in [
            (1, 600, 1_500, None),
            (2, 600, 3_000, None),
            (60, 600, 90_000, None),
            (400, 600, 600_000, None),
            (0, 600, 600_000, Some(400)),
            (401, 600, 600_000, Some(400)),
            (2, 3, 3_000, None),
            (3, 3, 3_000, Some(2)),
        ] {
            let keep_alive = KeepAlive::of(sent, inactivity);
            let found = (keep_alive.timeout.as_millis(), keep_alive.announced_s);
            assert_eq!(found, (timeout, announced), "{sent}");
            assert_eq!(keep_alive.is_clients, announced.is_none());
        }
    }
}
