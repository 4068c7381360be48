//! What follows from one version of a profile for the sessions of a worker: topics and the reading of payloads.
//!
//! It is kept for as long as the profile's state is the same one, so an unchanged profile costs a pointer comparison.

use std::sync::Arc;

use ntex_mqtt::QoS;
use wireglot_codec::native::{self, JsonRules};
use wireglot_codec::{CodecBinding, DecodeFailure, Frame};
use wireglot_device::{AcceptError, DeviceHandle, ProfileState};
use wireglot_model::profile::MqttTransport;
use wireglot_model::{
    CodecStamp, DeadLetterBounds, Decoded, FailureStage, Fault, OnFailure, PayloadKind, ProfileId, Sparkplug,
    Timestamp, Uplink, UplinkBody, Webhook, Wrapping,
};
use wireglot_proto::ProtoSchemas;
use wireglot_route::{Family, Format, ProfileTopics, Route, facts, uplink};

use crate::protobuf::{self, Dialect};
use crate::publish::Incoming;
use crate::session::Session;
use crate::worker::Worker;

/// One version of a profile, made ready.
pub(crate) struct ProfileView {
    state: Arc<ProfileState>,
    pub(crate) topics: ProfileTopics,
    on_failure: OnFailure,
    acks_refused: bool,
    pub(crate) dead_letters: DeadLetterBounds,
    /// Frames for the codec are kept as they came.
    pub(crate) keeps_raw: bool,
    /// `None`: the JSON or the protobuf of the device API.
    pub(crate) codec: Option<CodecBinding>,
    pub(crate) dialect: Dialect,
    wrapping: Option<Wrapping>,
    /// Asked first what its devices call.
    pub(crate) responder: Option<CodecBinding>,
    /// What its devices call is asked there; `None`: whatever the server's settings say.
    pub(crate) webhook: Option<Arc<Webhook>>,
    /// Its devices are edge nodes of Sparkplug.
    pub(crate) sparkplug: Option<Sparkplug>,
}

/// A payload that could not be read, or that nobody could take.
#[derive(Debug)]
pub(crate) struct Unread {
    pub(crate) fault: Fault,
    pub(crate) stage: FailureStage,
    pub(crate) codec: Option<CodecStamp>,
    pub(crate) reason: String,
}

impl Unread {
    /// The JSON reader, or the topic, says no.
    pub(crate) fn refused(reason: impl std::fmt::Display) -> Self {
        Self { fault: Fault::Device, stage: FailureStage::Refused, codec: None, reason: reason.to_string() }
    }

    /// The device may not say this.
    pub(crate) fn not_accepted(error: &AcceptError, codec: Option<CodecStamp>) -> Self {
        let reason = error.to_string();
        Self { fault: error.fault(), stage: FailureStage::NotAccepted, codec, reason }
    }
}

impl From<DecodeFailure> for Unread {
    fn from(failure: DecodeFailure) -> Self {
        Self { fault: failure.fault(), stage: failure.stage, codec: failure.stamp, reason: failure.reason }
    }
}

impl ProfileView {
    pub(crate) fn new(state: Arc<ProfileState>) -> Self {
        // A profile whose transport was changed away from MQTT keeps its live sessions on the default topics:
        // a change of the profile closes nobody, and the next CONNECT is refused (device API §4.3, §3.5).
        let mqtt = state.profile.mqtt().unwrap_or_else(MqttTransport::json);
        let (codec, wrapping) = match &mqtt.payload {
            PayloadKind::Json | PayloadKind::Protobuf(_) => (None, None),
            PayloadKind::Codec { codec, pin, settings, isolate_messages, wrapping } => {
                let binding = CodecBinding {
                    profile: state.profile.id,
                    codec: codec.clone(),
                    version: pin.as_ref().and_then(|pin| pin.hash),
                    settings: settings.as_str().into(),
                    isolate_messages: *isolate_messages,
                    limits: Arc::new(mqtt.limits.clone()),
                };
                (Some(binding), *wrapping)
            }
        };
        Self {
            topics: ProfileTopics::new(&mqtt),
            on_failure: mqtt.on_failure,
            acks_refused: mqtt.acks_refused,
            dead_letters: state.profile.dead_letters,
            keeps_raw: state.profile.raw_retention_hours.is_some(),
            codec,
            dialect: Dialect::of(&mqtt.payload),
            wrapping,
            responder: state.profile.client_rpc.responder.as_ref().map(|choice| CodecBinding {
                profile: state.profile.id,
                codec: choice.name.clone(),
                version: None,
                settings: choice.settings.as_str().into(),
                isolate_messages: false,
                limits: Arc::default(),
            }),
            webhook: state.profile.client_rpc.webhook.clone().map(Arc::new),
            sparkplug: Some(mqtt.sparkplug).filter(|sparkplug| sparkplug.is_on),
            state,
        }
    }

    /// What a bad payload of this QoS gets.
    pub(crate) fn on_failure(&self, qos: QoS) -> OnFailure {
        match self.on_failure {
            OnFailure::Disconnect if self.acks_refused && qos != QoS::AtMostOnce => OnFailure::Refuse,
            as_set => as_set,
        }
    }

    pub(crate) fn is_of(&self, state: &Arc<ProfileState>) -> bool {
        Arc::ptr_eq(&self.state, state)
    }

    pub(crate) fn id(&self) -> ProfileId {
        self.state.profile.id
    }

    /// The protobuf schemas, where it has some.
    pub(crate) fn schemas(&self) -> Option<&ProtoSchemas> {
        self.state.schemas.as_deref()
    }

    pub(crate) fn name(&self) -> &str {
        &self.state.name
    }

    /// How telemetry is wrapped, if it is.
    pub(crate) fn wrapping(&self) -> Option<Wrapping> {
        self.wrapping
    }

    /// How a publish on `topic` is wrapped, if it is.
    pub(crate) fn wrapping_of(&self, topic: &str) -> Option<Wrapping> {
        let is_telemetry = || matches!(uplink(&self.topics, topic), Ok(Route::Telemetry(Format::Profile)));
        self.wrapping.filter(|_| is_telemetry())
    }

    /// What the topic of a publish tells a codec. Without named segments in the profile's filters, nothing.
    pub(crate) fn facts(&self, topic: &str) -> Vec<(String, String)> {
        facts(&self.topics, topic).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// The codec of payloads in `format`; `None` where they are JSON.
    pub(crate) fn codec_for(&self, format: Format) -> Option<&CodecBinding> {
        match format {
            Format::Profile => self.codec.as_ref(),
            Format::Json | Format::Protobuf => None,
        }
    }

    /// What the codec makes of a frame of `device` that another device brings.
    pub(crate) fn decode_brought(
        &self,
        worker: &Worker,
        device: &DeviceHandle,
        incoming: &Incoming<'_>,
        received: Timestamp,
        metadata: &[(String, String)],
    ) -> Result<(Decoded, CodecStamp), Unread> {
        let name = device.name();
        let codec = self.codec.as_ref().ok_or_else(|| Unread {
            fault: Fault::Device,
            stage: FailureStage::NotAccepted,
            codec: None,
            reason: format!(
                "the device '{name}' has the profile '{}', which names no codec for its frames",
                self.name()
            ),
        })?;
        let (payload, topic) = (incoming.payload, incoming.topic);
        let frame = Frame { payload, topic, received, device: &name, profile: self.name(), metadata };
        let (decoded, stamp) = worker.codecs.decode(codec, &frame)?;
        match unanswerable(&decoded) {
            Some(error) => Err(Unread::not_accepted(&error, Some(stamp))),
            None => Ok((decoded, stamp)),
        }
    }

    /// Bytes to values. A codec that also speaks to the device reads its requests too; else these are JSON.
    pub(crate) fn decode(
        &self,
        route: Route,
        incoming: &Incoming<'_>,
        received: Timestamp,
        session: &Session,
    ) -> Result<(Decoded, Option<CodecStamp>), Unread> {
        let worker = &session.worker;
        let format = match route {
            Route::Telemetry(format) | Route::Attributes(format) => format,
            Route::AttributeRequest { family, .. }
            | Route::RpcRequest { family, .. }
            | Route::RpcResponse { family, .. } => family.format(),
            Route::Claim | Route::OtaChunk { .. } => Format::Profile,
        };
        let reads_this = |codec: &&CodecBinding| match route {
            Route::Telemetry(_) | Route::Attributes(_) => true,
            Route::AttributeRequest { .. } | Route::RpcRequest { .. } | Route::RpcResponse { .. } => {
                worker.encodes(codec)
            }
            Route::Claim | Route::OtaChunk { .. } => false,
        };
        if let Some(codec) = self.codec_for(format).filter(reads_this) {
            let frame = Frame {
                payload: incoming.payload,
                topic: incoming.topic,
                received,
                device: &session.name(),
                profile: self.name(),
                metadata: &self.facts(incoming.topic),
            };
            let (decoded, stamp) = worker.codecs.decode(codec, &frame)?;
            return Ok((decoded, Some(stamp)));
        }
        if !self.dialect.reads(format) {
            return Ok((decode_json(worker.json(), route, incoming.payload)?, None));
        }
        let decoded = protobuf::decode(&self.state, route, incoming.payload);
        let refused = match decoded {
            Ok(decoded) => return Ok((decoded, None)),
            Err(refused) if self.dialect.reads_json_too(format) => refused,
            Err(refused) => return Err(refused),
        };
        match decode_json(worker.json(), route, incoming.payload) {
            Ok(decoded) => Ok((decoded, None)),
            Err(too) => Err(Unread::refused(format!("{}; {}", refused.reason, too.reason))),
        }
    }
}

/// Why what a codec has made of the frame of a device behind another one cannot be taken: it asks for an answer, and the
/// way back leads to whoever stands before the device.
fn unanswerable(decoded: &Decoded) -> Option<AcceptError> {
    let asks = decoded.uplinks.iter().find_map(|uplink| match uplink.body {
        UplinkBody::AttributeRequest { .. } => {
            Some("attribute requests in frames that another device brings")
        }
        UplinkBody::ClientRpc { .. } => Some("client-side RPCs in frames that another device brings"),
        UplinkBody::Telemetry(_)
        | UplinkBody::Attributes(_)
        | UplinkBody::SharedAttributes(_)
        | UplinkBody::RpcResponse { .. }
        | UplinkBody::Claim { .. } => None,
    });
    asks.map(AcceptError::Unsupported)
}

fn decode_json(rules: JsonRules, route: Route, payload: &[u8]) -> Result<Decoded, Unread> {
    let body = match route {
        Route::Telemetry(_) => UplinkBody::Telemetry(rules.telemetry(payload).map_err(Unread::refused)?),
        Route::Attributes(_) => UplinkBody::Attributes(rules.attributes(payload).map_err(Unread::refused)?),
        Route::AttributeRequest { id, .. } => {
            let (client_keys, shared_keys) = native::attribute_request(payload).map_err(Unread::refused)?;
            UplinkBody::AttributeRequest { id, client_keys, shared_keys }
        }
        Route::Claim => {
            let (secret, duration_ms) = native::claim(payload).map_err(Unread::refused)?;
            UplinkBody::Claim { secret, duration_ms }
        }
        // Whatever text it is: whoever waits for it looks at it (device API §12.7).
        Route::RpcResponse { id, .. } => {
            UplinkBody::RpcResponse { id, payload: String::from_utf8_lossy(payload).into_owned() }
        }
        Route::RpcRequest { id, .. } => {
            let (method, params) = native::client_rpc(payload).map_err(Unread::refused)?;
            UplinkBody::ClientRpc { id, method, params }
        }
        Route::OtaChunk { .. } => {
            return Err(Unread::refused("the call is not served"));
        }
    };
    Ok(Decoded { uplinks: vec![Uplink { child: None, body }], warnings: Vec::new() })
}

/// The family in which what `route` asks for is answered.
pub(crate) fn family_of(route: Route) -> Family {
    match route {
        Route::AttributeRequest { family, .. }
        | Route::RpcRequest { family, .. }
        | Route::RpcResponse { family, .. } => family,
        // A request inside a codec's frame is answered by the codec, on the default topic unless it names one.
        Route::Telemetry(_) | Route::Attributes(_) | Route::Claim | Route::OtaChunk { .. } => Family::V1,
    }
}
