//! A declared set of profiles and devices, brought about step by step; what is already so is left alone.

use wireglot_model::{Device, OtaTargets, Timestamp};

use crate::Devices;
use crate::credentials::CredentialsDraft;
use crate::devices::{DeviceDraft, ProfileChoice};
use crate::error::DeviceError;
use crate::profiles::ProfileDraft;
use crate::provision::as_stored;

/// A declared device.
#[derive(Clone, PartialEq, Debug)]
pub struct DeviceSpec {
    pub name: String,
    pub label: Option<String>,
    /// The profile's name; `None` for the default one.
    pub profile: Option<String>,
    pub gateway: bool,
    /// `None` leaves the credentials as they are, or random for a new device.
    pub credentials: Option<CredentialsDraft>,
}

/// What had to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ensured {
    Created,
    Updated,
    Unchanged,
}

impl Devices {
    /// Makes or changes the profile of the draft's name.
    pub async fn ensure_profile(&self, draft: ProfileDraft, now: Timestamp) -> Result<Ensured, DeviceError> {
        let wants_default = draft.is_default;
        let provisioning = as_stored(draft.provisioning)?;
        let draft = ProfileDraft { is_default: false, provisioning, ..draft };
        let (state, mut ensured) = match self.profile_by_name(&draft.name) {
            None => (self.create_profile(draft, now).await?, Ensured::Created),
            Some(stored) if is_as_declared(&stored.profile, &draft) => (stored, Ensured::Unchanged),
            Some(stored) => {
                // Packages are no part of a declaration: who assigns them does it here, on this installation.
                let draft = ProfileDraft { ota: stored.profile.ota, ..draft };
                (self.update_profile(stored.profile.id, draft, None, now).await?, Ensured::Updated)
            }
        };
        if wants_default && !state.profile.is_default {
            self.make_default_profile(state.profile.id, now).await?;
            if ensured == Ensured::Unchanged {
                ensured = Ensured::Updated;
            }
        }
        Ok(ensured)
    }

    /// Makes or changes the device of the spec's name. Its profile has to exist.
    pub async fn ensure_device(&self, spec: DeviceSpec, now: Timestamp) -> Result<Ensured, DeviceError> {
        let profile = match &spec.profile {
            None => self.default_profile(),
            Some(name) => self.profile_by_name(name).ok_or(crate::Rule::UnknownProfile)?,
        };
        let Some(device) = self.device_by_name(&spec.name) else {
            let draft = DeviceDraft {
                name: spec.name,
                label: spec.label,
                profile: ProfileChoice::Id(profile.profile.id),
                additional_info: if spec.gateway { "{\"gateway\":true}".into() } else { "null".into() },
                ota: OtaTargets::default(),
            };
            self.create_device(draft, spec.credentials, now).await?;
            return Ok(Ensured::Created);
        };
        let mut ensured = Ensured::Unchanged;
        let stored = device.record();
        if stored.label != spec.label
            || stored.profile != profile.profile.id
            || stored.is_gateway != spec.gateway
        {
            let draft = DeviceDraft {
                additional_info: with_gateway(&stored, spec.gateway),
                name: spec.name,
                label: spec.label,
                profile: ProfileChoice::Id(profile.profile.id),
                ota: stored.ota,
            };
            self.update_device(device.id(), draft, None, now).await?;
            ensured = Ensured::Updated;
        }
        if let Some(credentials) = spec.credentials {
            let before = self.credentials(device.id())?.version;
            if self.set_credentials(device.id(), credentials, None).await?.version != before {
                ensured = Ensured::Updated;
            }
        }
        Ok(ensured)
    }
}

fn is_as_declared(stored: &wireglot_model::Profile, draft: &ProfileDraft) -> bool {
    stored.description == draft.description
        && stored.transport == draft.transport
        && stored.passthrough == draft.passthrough
        && stored.retention_days == draft.retention_days
        && stored.provisioning == draft.provisioning
}

/// The stored additional information with its gateway flag set as declared.
fn with_gateway(stored: &Device, gateway: bool) -> String {
    let info = serde_json::from_str::<serde_json::Value>(&stored.additional_info);
    let mut members = match info {
        Ok(serde_json::Value::Object(members)) => members,
        Ok(_) | Err(_) => serde_json::Map::new(),
    };
    members.insert("gateway".into(), gateway.into());
    serde_json::Value::Object(members).to_string()
}
