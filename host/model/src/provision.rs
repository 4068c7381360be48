//! Devices that make themselves known: what a profile allows, what a device asks for and what it is answered.

use serde::{Deserialize, Serialize};

use crate::record::Credentials;

/// What a profile lets devices that know its secret do.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Provisioning {
    /// Nothing.
    #[default]
    Disabled,
    /// They bring themselves into being.
    CreateNew {
        /// Names the profile; unique.
        key: String,
        /// What they know.
        secret: String,
    },
    /// They get the credentials of the device of their name, once.
    CheckPreProvisioned {
        /// Names the profile; unique.
        key: String,
        /// What they know.
        secret: String,
    },
    /// They come with a certificate that this one has signed.
    CertificateChain {
        /// The hash of the first certificate; unique.
        key: String,
        /// One certificate as the base64 of its DER on one line, or the PEM blocks of a chain.
        certificates: String,
        /// A regular expression whose group finds the device's name in the common name.
        name_pattern: String,
        /// Whether unknown devices are made.
        creates_devices: bool,
    },
}

impl Provisioning {
    /// By which the profile is found.
    pub fn key(&self) -> Option<&str> {
        match self {
            Provisioning::Disabled => None,
            Provisioning::CreateNew { key, .. }
            | Provisioning::CheckPreProvisioned { key, .. }
            | Provisioning::CertificateChain { key, .. } => Some(key),
        }
    }
}

/// A device asks to be let in from now on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ProvisionRequest {
    /// Names the profile.
    pub key: String,
    /// Proves that it may.
    pub secret: String,
    /// As it wants to be called, or is.
    pub device_name: Option<String>,
    /// As it wants to prove who it is.
    pub credentials: ProvisionCredentials,
    /// It will act for devices behind it.
    pub is_gateway: bool,
}

/// The credentials that a request wishes for. Which of them count is up to `kind`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ProvisionCredentials {
    /// Of which type they shall be.
    pub kind: ProvisionCredentialsKind,
    /// An access token.
    pub token: Option<String>,
    /// An MQTT client id.
    pub client_id: Option<String>,
    /// An MQTT user name.
    pub user_name: Option<String>,
    /// An MQTT password.
    pub password: Option<String>,
    /// A certificate, PEM or the base64 of its DER.
    pub certificate: Option<String>,
}

/// The types of credentials that a request can name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ProvisionCredentialsKind {
    /// `ACCESS_TOKEN`
    #[default]
    AccessToken,
    /// `MQTT_BASIC`
    MqttBasic,
    /// `X509_CERTIFICATE`
    X509,
    /// `LWM2M_CREDENTIALS`, with which nobody can connect here.
    Lwm2m,
}

/// What a device that has asked is told.
#[expect(clippy::large_enum_variant, reason = "there is one per request, and it is written at once")]
#[derive(Clone, PartialEq, Debug)]
pub enum ProvisionAnswer {
    /// It is known now, by these credentials.
    Success(Credentials),
    /// No profile has this key and this secret.
    NotFound,
    /// The profile does not let it in.
    Failure,
}
