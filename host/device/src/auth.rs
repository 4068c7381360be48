//! Who may connect: from what a CONNECT presents to a device (device API §3.2 and §3.3).
//!
//! Secrets are compared by their digests in constant time, so neither content nor length shows in the answer's timing.

use std::sync::Arc;

use sha3::{Digest as _, Sha3_256};
use subtle::ConstantTimeEq;
use wireglot_model::{Credentials, CredentialsKind, TransportKind};

use crate::Devices;
use crate::registry::DeviceHandle;

pub(crate) type Digest = [u8; 32];

/// What a device presents about itself.
#[derive(Clone, Copy)]
pub struct ConnectClaim<'a> {
    /// May be empty.
    pub client_id: &'a str,
    /// `Some("")` counts as sent, and as no name to look up.
    pub user_name: Option<&'a str>,
    pub password: Option<&'a [u8]>,
}

/// Why a device is not let in; one variant for each row of the table of answers (device API §3.5, ruling 1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AuthRefusal {
    /// The user name matches nothing, or the password is wrong.
    #[error("unknown user name or wrong password")]
    UnknownUser,
    /// The user name is empty, or only a password was sent, and the client id matches nothing.
    #[error("a password or an empty user name, and an unknown client id")]
    EmptyUserName,
    /// Only a client id was sent, and it matches nothing.
    #[error("unknown client id, and neither user name nor password")]
    UnknownClient,
    /// Nothing was sent at all.
    #[error("neither client id nor user name nor password")]
    NothingPresented,
    /// The device is known, but its kind does not speak what is served here.
    #[error("the device's profile has a transport that is not served here")]
    OtherTransport,
}

/// The outcome of checking a stored record of the kind `MqttBasic`.
enum Check {
    Valid,
    OtherDevice,
    WrongPassword,
}

impl Devices {
    /// The device that `claim` proves to be.
    pub fn authenticate(&self, claim: &ConnectClaim<'_>) -> Result<DeviceHandle, AuthRefusal> {
        let found = match claim.user_name {
            Some(user_name) if !user_name.is_empty() => self.by_user_name(claim, user_name),
            Some(_) | None => self.by_client_id(claim),
        };
        let device = found.ok_or_else(|| refusal(claim))?;
        speaks_to_us(device)
    }

    /// The device whose access token this is. Nothing but a token gets in this way.
    pub fn authenticate_token(&self, token: &str) -> Result<DeviceHandle, AuthRefusal> {
        let (device, credentials) = self.by_lookup(token).ok_or(AuthRefusal::UnknownUser)?;
        match &credentials.kind {
            CredentialsKind::AccessToken => speaks_to_us(device),
            CredentialsKind::MqttBasic { .. } | CredentialsKind::X509 { .. } => Err(AuthRefusal::UnknownUser),
        }
    }

    fn by_client_id(&self, claim: &ConnectClaim<'_>) -> Option<DeviceHandle> {
        let (device, credentials) = self.by_lookup(&sha3_hex(claim.client_id))?;
        match check(&credentials, claim)? {
            Check::Valid => Some(device),
            Check::OtherDevice | Check::WrongPassword => None,
        }
    }

    fn by_user_name(&self, claim: &ConnectClaim<'_>, user_name: &str) -> Option<DeviceHandle> {
        if let Some((device, credentials)) = self.by_lookup(&basic_lookup(claim.client_id, user_name)) {
            match check(&credentials, claim) {
                Some(Check::Valid) => return Some(device),
                Some(Check::WrongPassword) => return None,
                Some(Check::OtherDevice) | None => {}
            }
        }
        let (device, credentials) = self.by_lookup(user_name)?;
        match &credentials.kind {
            // Whatever client id and password come with a token, it is valid.
            CredentialsKind::AccessToken => Some(device),
            CredentialsKind::MqttBasic { .. } => match check(&credentials, claim)? {
                Check::Valid => Some(device),
                Check::OtherDevice | Check::WrongPassword => None,
            },
            CredentialsKind::X509 { .. } => None,
        }
    }

    pub(crate) fn by_lookup(&self, lookup: &str) -> Option<(DeviceHandle, Arc<Credentials>)> {
        let mut device = self.0.tables.read().device_by_lookup(lookup)?.clone();
        let credentials = device.state.credentials.load_full();
        device.admitted_by = credentials.version;
        Some((device, credentials))
    }
}

fn speaks_to_us(device: DeviceHandle) -> Result<DeviceHandle, AuthRefusal> {
    match device.profile().profile.transport {
        TransportKind::Default | TransportKind::Mqtt(_) => Ok(device),
        TransportKind::Other(_) => Err(AuthRefusal::OtherTransport),
    }
}

/// `None` where the record is of another kind.
fn check(credentials: &Credentials, claim: &ConnectClaim<'_>) -> Option<Check> {
    let CredentialsKind::MqttBasic { client_id, user_name, password } = &credentials.kind else {
        return None;
    };
    let given = |part: &Option<String>| part.as_deref().filter(|text| !text.is_empty()).map(str::to_owned);
    let differs = |stored: Option<String>, sent: &str| {
        stored.is_some_and(|stored| !same_secret(stored.as_bytes(), sent.as_bytes()))
    };
    if differs(given(client_id), claim.client_id) || differs(given(user_name), claim.user_name.unwrap_or(""))
    {
        return Some(Check::OtherDevice);
    }
    let password_fits = match (given(password), claim.password) {
        (None, _) => true,
        (Some(stored), Some(sent)) => same_secret(stored.as_bytes(), sent),
        (Some(_), None) => false,
    };
    Some(if password_fits { Check::Valid } else { Check::WrongPassword })
}

fn refusal(claim: &ConnectClaim<'_>) -> AuthRefusal {
    match (claim.user_name, claim.password) {
        (Some(user_name), _) if !user_name.is_empty() => AuthRefusal::UnknownUser,
        (Some(_), _) | (None, Some(_)) => AuthRefusal::EmptyUserName,
        (None, None) if claim.client_id.trim().is_empty() => AuthRefusal::NothingPresented,
        (None, None) => AuthRefusal::UnknownClient,
    }
}

/// The lookup text of credentials by client id and user name; an empty client id leaves no bar behind.
pub(crate) fn basic_lookup(client_id: &str, user_name: &str) -> String {
    if client_id.is_empty() { sha3_hex(user_name) } else { sha3_hex(&format!("{client_id}|{user_name}")) }
}

pub(crate) fn sha3_hex(text: &str) -> String {
    hex::encode(digest(text.as_bytes()))
}

pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Sha3_256::digest(bytes).into()
}

pub(crate) fn same_secret(stored: &[u8], sent: &[u8]) -> bool {
    digest(stored).ct_eq(&digest(sent)).into()
}
