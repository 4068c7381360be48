//! Who may connect with a certificate: from the chain that a TLS client has shown to a device (device API §3.4).
//!
//! The handshake has proven that the client has the key of the first certificate, the leaf, and that each certificate
//! is signed by the next one. Trust comes only from the hash of a certificate that is stored: as the credentials of a
//! device, or in a profile whose devices then bring themselves into being, named by what their leaf is called.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use regex::{Regex, RegexBuilder};
use tracing::{debug, warn};
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;
use wireglot_model::limits::NAME_PATTERN_BYTES_MAX;
use wireglot_model::{CredentialsKind, OtaTargets, Provisioning, Timestamp, TransportKind};

use crate::Devices;
use crate::auth::sha3_hex;
use crate::certificate::{Certificate, base64_of};
use crate::credentials::CredentialsDraft;
use crate::devices::{DeviceDraft, ProfileChoice};
use crate::error::{DeviceError, Rule};
use crate::provision::provisioned;
use crate::registry::{DeviceHandle, ProfileState};

/// Memory of a compiled pattern.
const PATTERN_MEMORY_BYTES_MAX: usize = 1024 * 1024;

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
    /// No device has it, and none may be made of it.
    #[error("the certificate belongs to no device")]
    Unknown,
    /// It has ended or not begun.
    #[error("the certificate is not valid at this time")]
    OutsideDates,
    /// The device is known, but its kind does not speak MQTT.
    #[error("the device's profile has another transport than MQTT")]
    OtherTransport,
    /// The device that its owner is now could not be stored.
    #[error("the device could not be stored")]
    NotStored,
}

impl Devices {
    /// The device that the owner of this chain is, leaf first, as it stands in the handshake. A device that comes into
    /// being by it, or gets a new certificate, is durable by then.
    pub async fn authenticate_certificate(
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
        let device = match self.by_certificate(leaf) {
            Some(device) => device,
            None => self.provision_by_chain(chain, &certificate, now).await?,
        };
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

    /// The device of the name that the leaf has, in the profile that knows a certificate of the chain.
    async fn provision_by_chain(
        &self,
        chain: &[&[u8]],
        certificate: &Certificate<'_>,
        now: Timestamp,
    ) -> Result<DeviceHandle, CertificateRefusal> {
        let profile = self.profile_of(chain).ok_or(CertificateRefusal::Unknown)?;
        let Provisioning::CertificateChain { name_pattern, creates_devices, .. } =
            &profile.profile.provisioning
        else {
            return Err(CertificateRefusal::Unknown);
        };
        let refused = |reason: &str| {
            debug!(profile = %profile.name, reason, "A certificate makes no device.");
            CertificateRefusal::Unknown
        };
        let name = certificate.common_name().and_then(|common_name| name_in(&common_name, name_pattern));
        let name = name.ok_or_else(|| refused("the profile's pattern finds no name in its common name"))?;
        let leaf = chain.first().copied().unwrap_or_default();
        let made = match self.device_by_name(&name) {
            Some(device) if device.record().profile != profile.profile.id => {
                return Err(refused("a device of another profile has its name"));
            }
            Some(device) => self.renew(&device, leaf).await,
            None if *creates_devices => self.make_by_chain(&profile, name, leaf, now).await,
            None => return Err(refused("the profile makes no devices")),
        };
        match made {
            Ok(()) => {}
            // Somebody else was quicker, and perhaps with the same certificate.
            Err(DeviceError::Invalid(_) | DeviceError::VersionConflict | DeviceError::NotFound) => {}
            Err(error) => {
                warn!(%error, profile = %profile.name, "A device that came with a certificate was not stored.");
                return Err(CertificateRefusal::NotStored);
            }
        }
        self.by_certificate(leaf).ok_or_else(|| refused("the device of its name has other credentials"))
    }

    /// The profile of the first certificate that one knows, unless what comes before is a device, which is somebody
    /// else, or no authority: a device's certificate of yesterday must not make those of others.
    fn profile_of(&self, chain: &[&[u8]]) -> Option<std::sync::Arc<ProfileState>> {
        for (index, der) in chain.iter().enumerate() {
            if self.by_certificate(der).is_some() {
                return None;
            }
            let key = sha3_hex(&base64_of(der));
            if let Some(slot) = self.0.tables.read().profile_by_provisioning_key(&key) {
                return Some(slot.state());
            }
            let is_authority = || Certificate::parse(der).is_ok_and(|issuer| issuer.is_authority());
            if index > 0 && !is_authority() {
                return None;
            }
        }
        None
    }

    /// Puts a new certificate in the place of an older one; other credentials stay.
    async fn renew(&self, device: &DeviceHandle, leaf: &[u8]) -> Result<(), DeviceError> {
        let stored = device.state.credentials.load_full();
        match stored.kind {
            CredentialsKind::X509 { .. } => {
                let draft = CredentialsDraft::X509 { certificate: base64_of(leaf) };
                self.set_credentials(device.id(), draft, Some(stored.version)).await.map(drop)
            }
            CredentialsKind::AccessToken | CredentialsKind::MqttBasic { .. } => Ok(()),
        }
    }

    async fn make_by_chain(
        &self,
        profile: &ProfileState,
        name: String,
        leaf: &[u8],
        now: Timestamp,
    ) -> Result<(), DeviceError> {
        let profile = ProfileChoice::Id(profile.profile.id);
        let (additional_info, ota) = ("null".into(), OtaTargets::default());
        let draft = DeviceDraft { name, label: None, profile, additional_info, ota };
        let credentials = CredentialsDraft::X509 { certificate: base64_of(leaf) };
        self.make_device(draft, Some(credentials), &[provisioned()], now).await.map(drop)
    }
}

/// What the group of the pattern finds, anywhere in a common name.
fn name_in(common_name: &str, pattern: &str) -> Option<String> {
    let pattern = compile(pattern).ok()?;
    let name = pattern.captures(common_name)?.get(1)?.as_str();
    (!name.is_empty()).then(|| name.to_owned())
}

/// Matches in a time that is linear in the name, whoever wrote the pattern.
fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).size_limit(PATTERN_MEMORY_BYTES_MAX).build()
}

/// Whether a profile may let devices in by these certificates, each as base64, and this pattern.
pub(crate) fn check_chain(certificates: &[String], pattern: &str) -> Result<(), Rule> {
    for certificate in certificates {
        let der = STANDARD.decode(certificate).map_err(|_| Rule::ProvisionCertificateInvalid)?;
        Certificate::parse(&der).map_err(|_| Rule::ProvisionCertificateInvalid)?;
        // Whoever gets a certificate of a public authority, which is everybody, would be a device.
        if TLS_SERVER_ROOT_CERTS.iter().any(|root| **root == *der) {
            return Err(Rule::ProvisionRootCertificate);
        }
    }
    let shown = || Rule::ProvisionPatternInvalid(pattern.chars().take(NAME_PATTERN_BYTES_MAX).collect());
    if pattern.len() > NAME_PATTERN_BYTES_MAX {
        return Err(shown());
    }
    let compiled = compile(pattern).map_err(|_| shown())?;
    // The whole match is a group as well.
    if compiled.captures_len() > 1 { Ok(()) } else { Err(shown()) }
}
