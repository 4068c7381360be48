//! A device profile: what kind of device this is, where it publishes and how its payload is read.

use serde::{Deserialize, Serialize};

use crate::client_rpc::ClientRpc;
use crate::id::{CodecHash, CodecName, ProfileId};
use crate::limits::{PROFILE_DEAD_LETTER_BYTES, PROFILE_DEAD_LETTER_DAYS, PROFILE_DEAD_LETTERS};
use crate::ota::OtaTargets;
use crate::profile_limits::ProfileLimits;
use crate::protobuf::{JsonCompatibility, SchemaTexts};
use crate::provision::Provisioning;
use crate::time::Timestamp;

/// Where telemetry goes unless a profile says otherwise.
pub const TELEMETRY_TOPIC: &str = "v1/devices/me/telemetry";
/// Where client attributes go, and where shared ones come from, unless a profile says otherwise.
pub const ATTRIBUTES_TOPIC: &str = "v1/devices/me/attributes";

/// A device profile as stored.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Profile {
    /// Identity.
    pub id: ProfileId,
    /// When it was made.
    pub created: Timestamp,
    /// Unique; shown as the `type` of its devices.
    pub name: String,
    /// Free text.
    pub description: String,
    /// The profile of devices that name none. Exactly one has it.
    pub is_default: bool,
    /// How devices of this kind connect.
    pub transport: TransportKind,
    /// Counts saves, for clients that check.
    pub version: u64,
    /// Members of the REST shape that Wireglot keeps but does not act on (image, rule chain ids, …), as JSON text.
    pub passthrough: String,
    /// Telemetry older than this is removed; `None` keeps it for ever.
    pub retention_days: Option<u32>,
    /// How long frames are kept as they came, so that they can be decoded again; `None` keeps none.
    #[serde(default)]
    pub raw_retention_hours: Option<u32>,
    /// How many payloads that were not decoded are kept.
    #[serde(default)]
    pub dead_letters: DeadLetterBounds,
    /// Whether devices make themselves known.
    #[serde(default)]
    pub provisioning: Provisioning,
    /// The packages that its devices are to have, unless they have their own.
    #[serde(default)]
    pub ota: OtaTargets,
    /// Who answers what its devices call.
    #[serde(default)]
    pub client_rpc: ClientRpc,
}

/// How many dead letters of a profile are kept. The oldest make room.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeadLetterBounds {
    /// So many at most.
    pub count_max: u32,
    /// So many bytes of them at most.
    pub bytes_max: u64,
    /// None older than this.
    pub age_days_max: u32,
}

impl Default for DeadLetterBounds {
    fn default() -> Self {
        Self {
            count_max: PROFILE_DEAD_LETTERS,
            bytes_max: PROFILE_DEAD_LETTER_BYTES,
            age_days_max: PROFILE_DEAD_LETTER_DAYS,
        }
    }
}

/// The transport of a profile.
#[expect(clippy::large_enum_variant, reason = "there is one per profile, and none on the way of a message")]
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum TransportKind {
    /// Default topics and JSON.
    Default,
    /// MQTT with its own topics and payload.
    Mqtt(MqttTransport),
    /// COAP, LWM2M or SNMP: devices of such a profile are refused here (CONNACK 0x03 / 0x88).
    Other(String),
}

/// The MQTT part of a profile.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct MqttTransport {
    /// Topic filter for telemetry.
    pub telemetry_topic: String,
    /// Topic filter for client attributes; tested before the one for telemetry.
    pub attributes_topic: String,
    /// Which SUBSCRIBE filters mean attribute updates.
    pub attributes_subscribe_topic: String,
    /// How payloads are read.
    pub payload: PayloadKind,
    /// What a bad payload gets.
    pub on_failure: OnFailure,
    /// `Disconnect` acknowledges a bad payload of QoS 1 or 2 and stays, in MQTT 3.1.1 too (device API §6.1).
    #[serde(default)]
    pub acks_refused: bool,
    /// What the codec may use.
    #[serde(default)]
    pub limits: ProfileLimits,
    /// How protobuf is read: on the `/p` topics, and on the others where `payload` is protobuf.
    #[serde(default, skip_serializing_if = "SchemaTexts::is_empty")]
    pub schemas: SchemaTexts,
    /// Whether its devices are edge nodes of Sparkplug.
    #[serde(default)]
    pub sparkplug: Sparkplug,
}

/// The part of a profile that concerns Sparkplug B.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Sparkplug {
    /// Its devices are edge nodes: they speak Sparkplug and nothing else.
    pub is_on: bool,
    /// Metrics that are shared attributes, by their name or, with a `*` at the end, by how it begins. `None`: as good as
    /// none, and said so.
    pub attribute_metrics: Option<Vec<String>>,
    /// A will of QoS 0 is let in too: some widespread clients send no other.
    #[serde(default)]
    pub will_qos_0: bool,
}

impl Sparkplug {
    /// Whether a metric of this name is a shared attribute.
    pub fn is_attribute(&self, metric: &str) -> bool {
        let names = self.attribute_metrics.iter().flatten();
        names.map(String::as_str).any(|name| match name.strip_suffix('*') {
            Some(beginning) => metric.starts_with(beginning),
            None => metric == name,
        })
    }
}

/// How the payloads of a profile are read.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum PayloadKind {
    /// The JSON of the device API.
    Json,
    /// Protobuf by the schemas of the profile.
    Protobuf(JsonCompatibility),
    /// A codec from the codecs folder.
    Codec {
        /// Which one.
        codec: CodecName,
        /// The version that the profile stays with, whichever is live.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pin: Option<VersionPin>,
        /// A JSON object for `configure`, as text.
        settings: String,
        /// A fresh instance for every message instead of a reused one.
        isolate_messages: bool,
        /// How telemetry is wrapped; `None`: a publish is a frame of the connected device.
        #[serde(default)]
        wrapping: Option<Wrapping>,
    },
}

/// A kept version of a codec that a profile is pinned to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VersionPin {
    /// The version as whoever pinned it wrote it: its own name for itself, or the first digits of its hash.
    pub selector: String,
    /// The version that was meant; `None` until it has been looked up, and never in a saved profile.
    pub hash: Option<CodecHash>,
}

/// A network server publishes the frames of many devices over one connection, each in an envelope that names its
/// device: a *carried* one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Wrapping {
    /// The form of the envelope.
    pub envelope: Envelope,
    /// What a carried device is called.
    pub names: CarriedNames,
    /// How many devices one connection may bring into being; 0 leaves it to the operator to make them.
    pub create_max: u32,
}

/// The JSON that a network server publishes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Envelope {
    /// ChirpStack 4.
    Chirpstack,
    /// The Things Stack 3.
    Tts,
}

/// Which of a carried device's identities is its name here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CarriedNames {
    /// Its name on the network server: `deviceName` of ChirpStack, `device_id` of The Things Stack.
    #[default]
    Name,
    /// Its DevEUI, in lower case.
    DevEui,
}

/// The answer to a payload that is the device's fault. Refused payloads are kept as dead letters in every case.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// MQTT 5: PUBACK 0x99. MQTT 3.1.1: PUBACK, as it has no negative one.
    #[default]
    Refuse,
    /// PUBACK with success in both versions.
    Accept,
    /// As upstream does: MQTT 3.1.1 is disconnected; MQTT 5 gets PUBACK 0x99, or at QoS 0 DISCONNECT 0x99.
    Disconnect,
}

impl MqttTransport {
    /// Default topics, JSON.
    pub fn json() -> Self {
        Self {
            telemetry_topic: TELEMETRY_TOPIC.into(),
            attributes_topic: ATTRIBUTES_TOPIC.into(),
            attributes_subscribe_topic: ATTRIBUTES_TOPIC.into(),
            payload: PayloadKind::Json,
            on_failure: OnFailure::Refuse,
            acks_refused: false,
            limits: ProfileLimits::default(),
            schemas: SchemaTexts::default(),
            sparkplug: Sparkplug::default(),
        }
    }
}

impl Profile {
    /// The topics and payload in force, whatever the transport kind; `None` where devices may not connect here.
    pub fn mqtt(&self) -> Option<MqttTransport> {
        match &self.transport {
            TransportKind::Default => Some(MqttTransport::json()),
            TransportKind::Mqtt(mqtt) => Some(mqtt.clone()),
            TransportKind::Other(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_codec_profile_from_before_there_were_envelopes_has_none() {
        let stored = r#"{"Codec":{"codec":"elsys","settings":"{}","isolate_messages":false}}"#;
        let PayloadKind::Codec { wrapping, .. } = serde_json::from_str(stored).unwrap() else {
            panic!("no codec")
        };
        assert_eq!(wrapping, None);
    }

    // 399: which metrics are attributes.
    #[test]
    fn metrics_are_attributes_by_name_or_by_beginning() {
        let names = ["Properties/*", "Node Control/Rebirth", "a*b"].map(str::to_owned).to_vec();
        let sparkplug = Sparkplug { is_on: true, attribute_metrics: Some(names), will_qos_0: false };
        for name in ["Properties/", "Properties/x", "Node Control/Rebirth", "a*b"] {
            assert!(sparkplug.is_attribute(name), "{name}");
        }
        for name in ["Properties", "properties/x", "Node Control/Rebirth2", "axb", ""] {
            assert!(!sparkplug.is_attribute(name), "{name}");
        }
        assert!(!Sparkplug::default().is_attribute("x"));
    }
}
