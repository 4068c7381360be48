//! Devices that make themselves known (device API §15): the use case, whatever the request was written in.
//!
//! A device that is answered with success, and its credentials, are durable by then.

use tracing::debug;
use wireglot_model::limits::{CREDENTIALS_BYTES_MAX, SECRET_BYTES_MAX};
use wireglot_model::{
    OtaTargets, ProvisionAnswer, ProvisionCredentials, ProvisionCredentialsKind, ProvisionRequest,
    Provisioning, Sample, Scope, Timestamp, Value,
};
use wireglot_store::Batch;

use crate::Devices;
use crate::auth::{same_secret, sha3_hex};
use crate::chain::check_chain;
use crate::credentials::{CredentialsDraft, one_line};
use crate::devices::{DeviceDraft, ProfileChoice};
use crate::error::{DeviceError, Rule};
use crate::random;
use crate::registry::{DeviceHandle, ProfileState};

/// Server attribute of a device that was provisioned; deleting it lets the device be provisioned again.
const STATE: &str = "provisionState";
const PROVISIONED: &str = "provisioned";
/// Longest chain of certificates that a profile may have.
const CERTIFICATES_BYTES_MAX: usize = 4 * CREDENTIALS_BYTES_MAX;

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// The key names a profile whose devices come with certificates.
    #[error("devices of this profile prove who they are by a certificate, not by a key and a secret")]
    CertificateChain,
    /// We could not do our part.
    #[error(transparent)]
    Failed(DeviceError),
}

/// What is wrong with the name of a request, and the name.
enum Name {
    Blank,
    Given(String),
    Missing,
}

impl Name {
    fn read(name: Option<String>) -> Self {
        match name {
            Some(name) if !name.is_empty() => match name.trim() {
                "" => Name::Blank,
                trimmed => Name::Given(trimmed.to_owned()),
            },
            Some(_) | None => Name::Missing,
        }
    }
}

impl Devices {
    /// Lets a device in that knows the key and the secret of a profile, as far as the profile allows.
    pub async fn provision(
        &self,
        request: ProvisionRequest,
        now: Timestamp,
    ) -> Result<ProvisionAnswer, ProvisionError> {
        let ProvisionRequest { key, secret, device_name, credentials, is_gateway } = request;
        let name = match Name::read(device_name) {
            Name::Blank => return Ok(refused("the device's name is blank")),
            Name::Given(name) => Some(name),
            Name::Missing => None,
        };
        let slot = self.0.tables.read().profile_by_provisioning_key(&key).cloned();
        let Some(profile) = slot.map(|slot| slot.state()) else { return Ok(ProvisionAnswer::NotFound) };
        let outcome = match &profile.profile.provisioning {
            Provisioning::CertificateChain { .. } => return Err(ProvisionError::CertificateChain),
            Provisioning::CreateNew { secret: due, .. } if is_secret(due, &secret) => {
                self.provision_new(&profile, name, credentials, is_gateway, now).await
            }
            Provisioning::CheckPreProvisioned { secret: due, .. } if is_secret(due, &secret) => {
                self.provision_known(&profile, name, now).await
            }
            Provisioning::Disabled
            | Provisioning::CreateNew { .. }
            | Provisioning::CheckPreProvisioned { .. } => return Ok(ProvisionAnswer::NotFound),
        };
        match outcome {
            Ok(answer) => Ok(answer),
            // What breaks a rule is the request: a name or credentials that are taken, or cannot be stored.
            Err(DeviceError::Invalid(rule)) => Ok(refused(&rule.to_string())),
            Err(error) => Err(ProvisionError::Failed(error)),
        }
    }

    async fn provision_new(
        &self,
        profile: &ProfileState,
        name: Option<String>,
        credentials: ProvisionCredentials,
        is_gateway: bool,
        now: Timestamp,
    ) -> Result<ProvisionAnswer, DeviceError> {
        let Some(credentials) = wished(credentials) else {
            return Ok(refused("credentials of this type cannot be stored"));
        };
        let draft = DeviceDraft {
            name: name.map_or_else(random::secret, Ok)?,
            label: None,
            profile: ProfileChoice::Id(profile.profile.id),
            additional_info: if is_gateway { "{\"gateway\":true}".into() } else { "null".into() },
            ota: OtaTargets::default(),
        };
        let device = self.make_device(draft, credentials, &[provisioned()], now).await?;
        Ok(success(&device))
    }

    async fn provision_known(
        &self,
        profile: &ProfileState,
        name: Option<String>,
        now: Timestamp,
    ) -> Result<ProvisionAnswer, DeviceError> {
        let known = name.and_then(|name| self.device_by_name(&name));
        let Some(device) = known.filter(|device| device.record().profile == profile.profile.id) else {
            return Ok(refused("the profile has no device of this name"));
        };
        let unsettled = device.unsettled();
        let committed = {
            let mut attributes = device.state.attributes.lock();
            // Looked at and set under one lock: of two requests at once, one is the second.
            if attributes.value(Scope::Server, STATE).is_some() {
                return Ok(refused("the device was provisioned before"));
            }
            let mut batch = Batch::default();
            if unsettled.is_some() {
                device.put_into(&mut batch);
            }
            attributes.write_changes(device.id(), Scope::Server, &[provisioned()], now, &mut batch);
            self.0.queue(batch)
        };
        committed.await?;
        if let Some(save) = unsettled {
            device.settle(save);
        }
        device.state.attributes.lock().settle(Scope::Server, &[provisioned()]);
        self.0.bus.refresh(device.id());
        Ok(success(&device))
    }
}

fn is_secret(due: &str, given: &str) -> bool {
    !given.is_empty() && same_secret(due.as_bytes(), given.as_bytes())
}

pub(crate) fn provisioned() -> Sample {
    Sample { key: STATE.into(), value: Value::Text(PROVISIONED.into()) }
}

fn success(device: &DeviceHandle) -> ProvisionAnswer {
    ProvisionAnswer::Success(device.state.credentials.load().as_ref().clone())
}

fn refused(reason: &str) -> ProvisionAnswer {
    debug!(reason, "A provisioning request was refused.");
    ProvisionAnswer::Failure
}

/// The credentials that a request asks for; `Some(None)` where it leaves them to us, `None` where nobody could use them.
fn wished(credentials: ProvisionCredentials) -> Option<Option<CredentialsDraft>> {
    let ProvisionCredentials { kind, token, client_id, user_name, password, certificate } = credentials;
    let parts = [&token, &client_id, &user_name, &password, &certificate];
    if !parts.into_iter().flatten().any(|part| !part.is_empty()) {
        return Some(None);
    }
    match kind {
        ProvisionCredentialsKind::AccessToken => {
            Some(Some(CredentialsDraft::AccessToken(token.unwrap_or_default())))
        }
        ProvisionCredentialsKind::MqttBasic => {
            Some(Some(CredentialsDraft::MqttBasic { client_id, user_name, password }))
        }
        ProvisionCredentialsKind::X509 => {
            Some(Some(CredentialsDraft::X509 { certificate: certificate.unwrap_or_default() }))
        }
        ProvisionCredentialsKind::Lwm2m => None,
    }
}

/// A profile's provisioning as it is kept, if it keeps the rules.
pub(crate) fn as_stored(provisioning: Provisioning) -> Result<Provisioning, Rule> {
    match provisioning {
        Provisioning::Disabled => {}
        Provisioning::CreateNew { ref key, ref secret }
        | Provisioning::CheckPreProvisioned { ref key, ref secret } => {
            if key.is_empty() {
                return Err(Rule::ProvisionKeyMissing);
            }
            if secret.is_empty() {
                return Err(Rule::ProvisionSecretMissing);
            }
            if key.len() > SECRET_BYTES_MAX || secret.len() > SECRET_BYTES_MAX {
                return Err(Rule::ProvisionSecretTooLong);
            }
        }
        Provisioning::CertificateChain { certificates, name_pattern, creates_devices, .. } => {
            let blocks = certificate_blocks(&certificates);
            let first = blocks.first().filter(|first| !first.is_empty()).ok_or(Rule::CertificateMissing)?;
            if certificates.len() > CERTIFICATES_BYTES_MAX {
                return Err(Rule::CredentialsTooLong);
            }
            check_chain(&blocks, &name_pattern)?;
            let key = sha3_hex(first);
            // One certificate stands on one line, a chain as its blocks (device API §3.4).
            let certificates = if blocks.len() == 1 { first.clone() } else { certificates };
            return Ok(Provisioning::CertificateChain { key, certificates, name_pattern, creates_devices });
        }
    }
    Ok(provisioning)
}

/// The certificates of a text, each as base64 on one line.
fn certificate_blocks(text: &str) -> Vec<String> {
    let mut blocks = text.split("-----BEGIN CERTIFICATE-----");
    let before = blocks.next().map(one_line);
    let blocks: Vec<String> = blocks.map(one_line).filter(|block| !block.is_empty()).collect();
    // What stands before the first block is for people; without a block, it is the certificate.
    if blocks.is_empty() { before.into_iter().collect() } else { blocks }
}
