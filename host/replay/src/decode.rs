//! One frame through one codec version, outside the workers and under the same limits.

use std::sync::Arc;

use wireglot_codec::{CodecTable, Frame, LoadedCodec, Session};
use wireglot_model::profile::MqttTransport;
use wireglot_model::{CodecStamp, Decoded, FailureStage, PayloadKind, ProfileLimits, Timestamp};

use crate::order::{CodecChoice, ReplayOrder, StartError};

/// The codec of a replay.
pub(crate) struct Decoder {
    codec: Arc<LoadedCodec>,
    settings: String,
    limits: ProfileLimits,
    profile: Arc<str>,
    /// Gone after any failure but a refusal.
    session: Option<Session>,
}

/// One kept frame.
pub(crate) struct Kept<'a> {
    pub(crate) device: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) received: Timestamp,
}

impl Decoder {
    pub(crate) fn open(codecs: &CodecTable, order: &ReplayOrder) -> Result<Self, StartError> {
        let mqtt = order.profile.profile.mqtt().unwrap_or_else(MqttTransport::json);
        let (of_profile, settings) = match mqtt.payload {
            PayloadKind::Codec { codec, settings, .. } => {
                (Some(CodecChoice { name: codec, version: None }), settings)
            }
            PayloadKind::Json => (None, "{}".to_owned()),
        };
        let choice = order.codec.clone().or(of_profile).ok_or(StartError::NoCodecNamed)?;
        let codec = match &choice.version {
            Some(version) => codecs.version(&choice.name, version)?,
            None => codecs.live(&choice.name).ok_or(StartError::NotLive(choice.name))?,
        };
        let session = codec.session_under(&settings, &mqtt.limits).map_err(StartError::Settings)?;
        let (limits, profile) = (mqtt.limits, order.profile.name.clone());
        Ok(Self { codec, settings, limits, profile, session: Some(session) })
    }

    pub(crate) fn stamp(&self) -> &CodecStamp {
        self.codec.stamp()
    }

    /// What the frame says, or why it says nothing, in words.
    pub(crate) fn decode(&mut self, kept: &Kept<'_>) -> Result<Decoded, String> {
        let session = match &mut self.session {
            Some(session) => session,
            gone => {
                let opened = self.codec.session_under(&self.settings, &self.limits);
                gone.insert(opened.map_err(|failure| failure.reason)?)
            }
        };
        let decoded = session.decode(&Frame {
            payload: kept.payload,
            topic: kept.topic,
            received: kept.received,
            device: kept.device,
            profile: &self.profile,
            metadata: &[],
        });
        decoded.map_err(|failure| {
            if failure.stage != FailureStage::Refused {
                self.session = None;
            }
            failure.reason
        })
    }
}
