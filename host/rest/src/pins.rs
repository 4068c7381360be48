//! A profile's pin: which kept version of its codec is meant, looked up before the profile is saved.

use std::sync::Arc;

use wireglot_codec::{CodecTable, VersionError};
use wireglot_device::{ProfileDraft, ProfileState};
use wireglot_model::{CodecHash, CodecName, PayloadKind, Profile, TransportKind, VersionPin};

/// Why a pinned profile is not saved.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The version is not to be had.
    #[error("[Transport Configuration] the profile cannot be pinned")]
    Version(#[from] VersionError),
    /// The server is stopping.
    #[error("the codec version was not looked up")]
    Broken(#[from] tokio::task::JoinError),
}

/// Looks up the version that a draft is pinned to and makes it ready. A profile that was saved with the same words
/// stays with the version that they meant then.
pub async fn pinned(
    mut draft: ProfileDraft,
    stored: Option<Arc<ProfileState>>,
    codecs: &CodecTable,
) -> Result<ProfileDraft, PinError> {
    let Some((codec, pin)) = pin_of(&mut draft.transport) else { return Ok(draft) };
    let (name, selector) = (codec.clone(), pin.selector.clone());
    let before = stored.and_then(|stored| meant_before(&stored.profile, &name, &selector));
    let codecs = codecs.clone();
    let found = tokio::task::spawn_blocking(move || match before.map(|hash| hash.to_string()) {
        Some(hash) => codecs.pin(&name, &hash).or_else(|_| codecs.pin(&name, &selector)),
        None => codecs.pin(&name, &selector),
    });
    pin.hash = Some(found.await??);
    Ok(draft)
}

fn pin_of(transport: &mut TransportKind) -> Option<(&CodecName, &mut VersionPin)> {
    match transport {
        TransportKind::Mqtt(mqtt) => match &mut mqtt.payload {
            PayloadKind::Codec { codec, pin, .. } => Some((codec, pin.as_mut()?)),
            PayloadKind::Json | PayloadKind::Protobuf(_) => None,
        },
        TransportKind::Default | TransportKind::Other(_) => None,
    }
}

fn meant_before(stored: &Profile, name: &CodecName, selector: &str) -> Option<CodecHash> {
    let mut transport = stored.transport.clone();
    let (codec, pin) = pin_of(&mut transport)?;
    (codec == name && pin.selector == selector).then_some(pin.hash).flatten()
}
