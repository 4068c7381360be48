//! Whether a codec takes the settings that a profile is about to have: asked before the profile is saved, because
//! afterwards every frame of its devices would be refused.
//!
//! A codec that is not there yet is asked nothing: profiles may come before their codecs.

use std::sync::Arc;

use wireglot_codec::{CodecTable, LoadedCodec};
use wireglot_device::{ProfileDraft, ProfileState};
use wireglot_model::profile::MqttTransport;
use wireglot_model::{CodecHash, CodecName, PayloadKind, ProfileLimits, TransportKind};

use crate::error::ApiError;

/// What is asked.
#[derive(PartialEq)]
struct Question {
    codec: CodecName,
    version: Option<CodecHash>,
    settings: String,
    limits: ProfileLimits,
}

/// Refuses a draft whose codec does not take its settings. What was saved before is not asked again: the codec may have
/// changed its mind since, and the profile must still be changeable.
pub(crate) async fn settings_taken(
    draft: &ProfileDraft,
    stored: Option<Arc<ProfileState>>,
    codecs: &CodecTable,
) -> Result<(), ApiError> {
    let Some(question) = question(&draft.transport) else { return Ok(()) };
    if stored.is_some_and(|stored| self::question(&stored.profile.transport).as_ref() == Some(&question)) {
        return Ok(());
    }
    let codecs = codecs.clone();
    let asking = move || {
        let Some(loaded) = meant(&codecs, &question) else { return Ok(()) };
        let Question { codec, settings, limits, .. } = &question;
        loaded.check_settings(settings, limits).map_err(|reason| {
            let what = format!("'settings': the codec {codec} refuses them: {reason}");
            ApiError::bad_request(format!("[Transport Configuration] {what}"))
        })
    };
    // An instance is made for it.
    tokio::task::spawn_blocking(asking).await.map_err(|broken| ApiError::internal(&broken))?
}

fn question(transport: &TransportKind) -> Option<Question> {
    let TransportKind::Mqtt(MqttTransport { payload, limits, .. }) = transport else { return None };
    let PayloadKind::Codec { codec, pin, settings, .. } = payload else { return None };
    Some(Question {
        codec: codec.clone(),
        version: pin.as_ref().and_then(|pin| pin.hash),
        settings: settings.clone(),
        limits: limits.clone(),
    })
}

/// The version that the profile will be served by.
fn meant(codecs: &CodecTable, question: &Question) -> Option<Arc<LoadedCodec>> {
    match question.version {
        None => codecs.live(&question.codec),
        Some(hash) => codecs.version(&question.codec, &hash.to_string()).ok(),
    }
}
