//! One frame through one codec version, outside the workers and under the same limits.

use std::sync::Arc;

use wireglot_codec::{CodecTable, Frame, LoadedCodec, Session, envelope};
use wireglot_model::profile::MqttTransport;
use wireglot_model::{CodecStamp, Decoded, Envelope, FailureStage, PayloadKind, ProfileLimits, Timestamp};
use wireglot_route::{ProfileTopics, facts};

use crate::order::{CodecChoice, ReplayOrder, StartError};

/// How an order names the version that is tried beside the live one, as its file does.
const CANDIDATE: &str = "next";

/// The codec of a replay.
pub(crate) struct Decoder {
    codec: Arc<LoadedCodec>,
    settings: String,
    limits: ProfileLimits,
    profile: Arc<str>,
    topics: ProfileTopics,
    /// Gone after any failure but a refusal.
    session: Option<Session>,
}

/// One kept frame.
pub(crate) struct Kept<'a> {
    pub(crate) device: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) envelope: Option<Envelope>,
    pub(crate) received: Timestamp,
}

impl Decoder {
    pub(crate) fn open(codecs: &CodecTable, order: &ReplayOrder) -> Result<Self, StartError> {
        let mqtt = order.profile.profile.mqtt().unwrap_or_else(MqttTransport::json);
        let topics = ProfileTopics::new(&mqtt);
        let (of_profile, settings) = match mqtt.payload {
            PayloadKind::Codec { codec, pin, settings, .. } => {
                let version = pin.and_then(|pin| pin.hash).map(|hash| hash.to_string());
                (Some(CodecChoice { name: codec, version }), settings)
            }
            PayloadKind::Json | PayloadKind::Protobuf(_) => (None, "{}".to_owned()),
        };
        let choice = order.codec.clone().or(of_profile).ok_or(StartError::NoCodecNamed)?;
        let codec = match &choice.version {
            Some(version) if version == CANDIDATE => {
                let candidate = codecs.candidate_version(&choice.name);
                candidate.ok_or(StartError::NoCandidate(choice.name))?
            }
            Some(version) => codecs.version(&choice.name, version)?,
            None => codecs.live(&choice.name).ok_or(StartError::NotLive(choice.name))?,
        };
        let session = codec.session_under(&settings, &mqtt.limits).map_err(StartError::Settings)?;
        let (limits, profile) = (mqtt.limits, order.profile.name.clone());
        Ok(Self { codec, settings, limits, profile, topics, session: Some(session) })
    }

    pub(crate) fn stamp(&self) -> &CodecStamp {
        self.codec.stamp()
    }

    /// What the frame says, or why it says nothing, in words.
    pub(crate) fn decode(&mut self, kept: &Kept<'_>) -> Result<Decoded, String> {
        let Some(envelope) = kept.envelope else {
            let facts = facts(&self.topics, kept.topic);
            let metadata: Vec<_> = facts.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            return self.call(kept, kept.payload, kept.received, &metadata);
        };
        let carried = envelope::unwrap(envelope, kept.topic, kept.payload, kept.received);
        let carried = carried.map_err(|error| error.to_string())?;
        let carried = carried.ok_or_else(|| "the envelope holds no frame".to_owned())?;
        self.call(kept, &carried.payload, carried.received, &carried.metadata)
    }

    fn call(
        &mut self,
        kept: &Kept<'_>,
        payload: &[u8],
        received: Timestamp,
        metadata: &[(String, String)],
    ) -> Result<Decoded, String> {
        let session = match &mut self.session {
            Some(session) => session,
            gone => {
                let opened = self.codec.session_under(&self.settings, &self.limits);
                gone.insert(opened.map_err(|failure| failure.reason)?)
            }
        };
        let decoded = session.decode(&Frame {
            payload,
            topic: kept.topic,
            received,
            device: kept.device,
            profile: &self.profile,
            metadata,
        });
        decoded.map_err(|failure| {
            if failure.stage != FailureStage::Refused {
                self.session = None;
            }
            failure.reason
        })
    }
}
