//! One frame through one codec version, outside the workers and under the same limits.

use std::sync::Arc;

use wireglot_codec::{CodecTable, Frame, RenewingSession, envelope};
use wireglot_model::profile::MqttTransport;
use wireglot_model::{CodecStamp, Decoded, Envelope, PayloadKind, Timestamp};
use wireglot_route::{GatewayUplink, ProfileTopics, facts, gateway_uplink};

use crate::order::{CodecChoice, ReplayOrder, StartError};

/// How an order names the version that is tried beside the live one, as its file does.
const CANDIDATE: &str = "next";

/// The codec of a replay.
pub(crate) struct Decoder {
    session: RenewingSession,
    profile: Arc<str>,
    topics: ProfileTopics,
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
        let (of_profile, settings, isolate_messages) = match mqtt.payload {
            PayloadKind::Codec { codec, pin, settings, isolate_messages, .. } => {
                let version = pin.and_then(|pin| pin.hash).map(|hash| hash.to_string());
                (Some(CodecChoice { name: codec, version }), settings, isolate_messages)
            }
            PayloadKind::Json | PayloadKind::Protobuf(_) => (None, "{}".to_owned(), false),
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
        let (settings, limits) = (Arc::from(settings), Arc::new(mqtt.limits));
        let mut session = RenewingSession::new(codec, &settings, &limits, isolate_messages);
        session.ready().map_err(StartError::Settings)?;
        Ok(Self { session, profile: order.profile.name.clone(), topics })
    }

    pub(crate) fn stamp(&self) -> &CodecStamp {
        self.session.stamp()
    }

    /// What the frame says, or why it says nothing, in words.
    pub(crate) fn decode(&mut self, kept: &Kept<'_>) -> Result<Decoded, String> {
        let Some(envelope) = kept.envelope else {
            let metadata = match gateway_uplink(kept.topic) {
                None => facts(&self.topics, kept.topic)
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect(),
                Some(GatewayUplink::Raw(_)) => Vec::new(),
                Some(GatewayUplink::Call(_)) => {
                    return Err("it is a message of a gateway, which no codec reads".to_owned());
                }
            };
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
        let frame = Frame {
            payload,
            topic: kept.topic,
            received,
            device: kept.device,
            profile: &self.profile,
            metadata,
        };
        self.session.decode(&frame).map_err(|failure| failure.reason)
    }
}
