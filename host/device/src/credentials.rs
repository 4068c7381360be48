//! How a device proves who it is: what may be stored, and under which lookup text (device API §3.3).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use wireglot_model::downlink::CloseReason;
use wireglot_model::limits::CREDENTIALS_BYTES_MAX;
use wireglot_model::{Credentials, CredentialsId, CredentialsKind, DeviceId, Downlink, Timestamp};
use wireglot_store::Batch;

use crate::Devices;
use crate::auth::{basic_lookup, sha3_hex};
use crate::certificate::{Certificate, InvalidCertificate};
use crate::error::{DeviceError, Rule};
use crate::random;
use crate::registry::{DeviceHandle, Tables};

/// Credentials as somebody wishes to have them.
#[derive(Clone, PartialEq, Debug)]
pub enum CredentialsDraft {
    AccessToken(String),
    MqttBasic {
        client_id: Option<String>,
        user_name: Option<String>,
        password: Option<String>,
    },
    /// PEM, or the base64 of the DER.
    X509 {
        certificate: String,
    },
}

impl CredentialsDraft {
    /// A random access token.
    pub(crate) fn random() -> Result<Self, DeviceError> {
        Ok(Self::AccessToken(random::secret()?))
    }

    /// Whether what stands for a certificate is one. Nobody asks this of a device's own request or of REST, where any text
    /// may stand for what is sent later; in a file it is a mistake.
    pub fn check_certificate(&self) -> Result<(), InvalidCertificate> {
        match self {
            Self::AccessToken(_) | Self::MqttBasic { .. } => Ok(()),
            Self::X509 { certificate } => {
                let der = STANDARD.decode(one_line(certificate)).map_err(|_| InvalidCertificate)?;
                Certificate::parse(&der).map(drop)
            }
        }
    }

    /// The stored kind and the lookup text, or the rule that the draft breaks.
    pub(crate) fn format(self) -> Result<(CredentialsKind, String), Rule> {
        let (kind, lookup) = match self {
            Self::AccessToken(token) => (CredentialsKind::AccessToken, token),
            Self::MqttBasic { client_id, user_name, password } => {
                format_basic(non_empty(client_id), non_empty(user_name), non_empty(password))?
            }
            Self::X509 { certificate } => {
                let certificate = one_line(&certificate);
                if certificate.is_empty() {
                    return Err(Rule::CertificateMissing);
                }
                let lookup = sha3_hex(&certificate);
                (CredentialsKind::X509 { certificate }, lookup)
            }
        };
        if lookup.is_empty() {
            return Err(Rule::TokenMissing);
        }
        check_text(&kind, &lookup)?;
        Ok((kind, lookup))
    }
}

fn format_basic(
    client_id: Option<String>,
    user_name: Option<String>,
    password: Option<String>,
) -> Result<(CredentialsKind, String), Rule> {
    let lookup = match (&client_id, &user_name) {
        (None, None) => return Err(Rule::NoClientIdNorUserName),
        (Some(_), None) if password.is_some() => return Err(Rule::PasswordWithClientId),
        (Some(client_id), None) => sha3_hex(client_id),
        (None, Some(user_name)) => user_name.clone(),
        (Some(client_id), Some(user_name)) => basic_lookup(client_id, user_name),
    };
    Ok((CredentialsKind::MqttBasic { client_id, user_name, password }, lookup))
}

fn check_text(kind: &CredentialsKind, lookup: &str) -> Result<(), Rule> {
    let parts: [Option<&str>; 4] = match kind {
        CredentialsKind::AccessToken => [Some(lookup), None, None, None],
        CredentialsKind::MqttBasic { client_id, user_name, password } => {
            [Some(lookup), client_id.as_deref(), user_name.as_deref(), password.as_deref()]
        }
        CredentialsKind::X509 { certificate } => [Some(certificate), None, None, None],
    };
    for part in parts.into_iter().flatten() {
        if part.len() > CREDENTIALS_BYTES_MAX {
            return Err(Rule::CredentialsTooLong);
        }
        if part.chars().any(char::is_control) {
            return Err(Rule::ControlCharacters);
        }
    }
    Ok(())
}

fn non_empty(part: Option<String>) -> Option<String> {
    part.filter(|text| !text.is_empty())
}

/// The base64 of a certificate on one line: of the first one of a PEM, whatever stands around it; base64 as it is.
pub(crate) fn one_line(certificate: &str) -> String {
    let lines = certificate.lines().map(str::trim);
    if !certificate.contains("-----BEGIN") {
        return lines.filter(|line| !line.starts_with("-----")).collect();
    }
    let first = lines.skip_while(|line| !line.starts_with("-----BEGIN")).skip(1);
    first.take_while(|line| !line.starts_with("-----")).collect()
}

/// The record of new credentials, provided that no device has its lookup text.
pub(crate) fn new_record(
    tables: &Tables,
    device: DeviceId,
    draft: CredentialsDraft,
    now: Timestamp,
) -> Result<Credentials, Rule> {
    let (kind, lookup) = draft.format()?;
    if tables.device_by_lookup(&lookup).is_some() {
        return Err(Rule::CredentialsTaken);
    }
    let id = CredentialsId(uuid::Uuid::new_v4());
    Ok(Credentials { id, created: now, device, kind, lookup, version: 1 })
}

impl Devices {
    /// The credentials of a device.
    pub fn credentials(&self, device: DeviceId) -> Result<Credentials, DeviceError> {
        let device = self.device(device).ok_or(DeviceError::NotFound)?;
        Ok(Credentials::clone(&device.state.credentials.load()))
    }

    /// Whether a device can have these credentials, as far as it can be told before they are saved.
    pub fn check_credentials(&self, device: DeviceId, draft: &CredentialsDraft) -> Result<(), DeviceError> {
        let (_, lookup) = draft.clone().format()?;
        match self.0.tables.read().device_by_lookup(&lookup) {
            Some(owner) if owner.id() != device => Err(Rule::CredentialsTaken.into()),
            Some(_) | None => Ok(()),
        }
    }

    /// Replaces the credentials of a device. A change ends the session that came in by the old ones.
    pub async fn set_credentials(
        &self,
        device: DeviceId,
        draft: CredentialsDraft,
        expected: Option<u64>,
    ) -> Result<Credentials, DeviceError> {
        let (kind, lookup) = draft.format()?;
        let (device, saved, committed) = {
            let mut tables = self.0.tables.write();
            let device = tables.device(device).ok_or(DeviceError::NotFound)?.clone();
            let stored = device.state.credentials.load_full();
            if expected.is_some_and(|version| version != stored.version) {
                return Err(DeviceError::VersionConflict);
            }
            if stored.kind == kind && stored.lookup == lookup {
                return Ok(Credentials::clone(&stored));
            }
            if tables.device_by_lookup(&lookup).is_some_and(|owner| owner.id() != device.id()) {
                return Err(Rule::CredentialsTaken.into());
            }
            let saved =
                Credentials { kind, lookup, version: stored.version + 1, ..Credentials::clone(&stored) };
            let mut batch = Batch::default();
            batch.put_credentials(&saved);
            tables.replace_credentials(&device, saved.clone());
            (device.clone(), saved, self.0.queue_record(&device, batch))
        };
        self.close(&device);
        committed.await?;
        Ok(saved)
    }

    /// Ends the session of a device that is no longer welcome as it came in.
    pub(crate) fn close(&self, device: &DeviceHandle) {
        self.0.bus.send(device.id(), Downlink::Close(CloseReason::Administrative));
    }
}
