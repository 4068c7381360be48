//! Who may connect with a certificate: from the chain that a TLS client has shown to a device (device API §3.4).
//!
//! The handshake has proven that the client has the key of the first certificate, the leaf, and that each certificate
//! is signed by the next one. Trust comes only from the hash of a certificate that is stored; no authority is asked.

use wireglot_model::{CredentialsKind, Timestamp, TransportKind};

use crate::Devices;
use crate::auth::sha3_hex;
use crate::certificate::{Certificate, base64_of};
use crate::registry::DeviceHandle;

/// Whether a client's certificate counts only between its dates.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Dates {
    /// It does.
    #[default]
    Count,
    /// It counts for ever.
    Ignored,
}

/// Why a client with a certificate is not let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CertificateRefusal {
    /// No device has it.
    #[error("the certificate belongs to no device")]
    Unknown,
    /// It has ended or not begun.
    #[error("the certificate is not valid at this time")]
    OutsideDates,
    /// The device is known, but its kind does not speak MQTT.
    #[error("the device's profile has another transport than MQTT")]
    OtherTransport,
}

impl Devices {
    /// The device that the owner of this chain is, leaf first, as it stands in the handshake.
    pub fn authenticate_certificate(
        &self,
        chain: &[&[u8]],
        dates: Dates,
        now: Timestamp,
    ) -> Result<DeviceHandle, CertificateRefusal> {
        let leaf = *chain.first().ok_or(CertificateRefusal::Unknown)?;
        let certificate = Certificate::parse(leaf).map_err(|_| CertificateRefusal::Unknown)?;
        if dates == Dates::Count && !certificate.is_valid_at(now) {
            return Err(CertificateRefusal::OutsideDates);
        }
        let device = self.by_certificate(leaf).ok_or(CertificateRefusal::Unknown)?;
        match device.profile().profile.transport {
            TransportKind::Default | TransportKind::Mqtt(_) => Ok(device),
            TransportKind::Other(_) => Err(CertificateRefusal::OtherTransport),
        }
    }

    /// The device whose credentials are this certificate. Its hash as somebody's token or user name is none.
    fn by_certificate(&self, der: &[u8]) -> Option<DeviceHandle> {
        let (device, credentials) = self.by_lookup(&sha3_hex(&base64_of(der)))?;
        matches!(credentials.kind, CredentialsKind::X509 { .. }).then_some(device)
    }
}
