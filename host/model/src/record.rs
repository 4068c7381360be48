//! What is stored about devices, users and failures, apart from profiles and time series.

use serde::{Deserialize, Serialize};

use crate::id::{ApiKeyId, CodecStamp, CredentialsId, CustomerId, DeviceId, ProfileId, UserId};
use crate::ota::OtaTargets;
use crate::profile::Envelope;
use crate::time::Timestamp;
use crate::value::Value;

/// A device.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Device {
    /// Identity.
    pub id: DeviceId,
    /// When it was made.
    pub created: Timestamp,
    /// Unique.
    pub name: String,
    /// Free text.
    pub label: Option<String>,
    /// Its kind.
    pub profile: ProfileId,
    /// `additionalInfo` of the REST shape, a JSON object as text, or `null`.
    pub additional_info: String,
    /// Acts for devices behind it (`additionalInfo.gateway`).
    pub is_gateway: bool,
    /// Whose it is; `None`: the tenant's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<CustomerId>,
    /// The packages that it is to have, before those of its profile.
    #[serde(default)]
    pub ota: OtaTargets,
    /// Counts saves.
    pub version: u64,
}

/// A customer: whom devices are given to.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Customer {
    /// Identity.
    pub id: CustomerId,
    /// When it was made.
    pub created: Timestamp,
    /// Unique.
    pub title: String,
    /// The other members of the REST shape (e-mail, address, …), a JSON object as text.
    pub details: String,
    /// Counts saves.
    pub version: u64,
}

/// A device lets whoever knows the secret claim it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClaimRecord {
    /// Which one.
    pub device: DeviceId,
    /// May be empty.
    pub secret: String,
    /// Until when.
    pub expires: Timestamp,
}

/// How a device proves who it is. One per device.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Credentials {
    /// Identity of the record.
    pub id: CredentialsId,
    /// When it was made.
    pub created: Timestamp,
    /// Whose.
    pub device: DeviceId,
    /// Type and secret parts.
    pub kind: CredentialsKind,
    /// The globally unique lookup text: the token, the user name, or a SHA3-256 hash (device API §3.3).
    pub lookup: String,
    /// Counts saves.
    pub version: u64,
}

/// The types of credentials.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum CredentialsKind {
    /// The lookup text is the token.
    AccessToken,
    /// MQTT client id, user name and password, as far as given.
    MqttBasic {
        /// Must match where given.
        client_id: Option<String>,
        /// Must match where given.
        user_name: Option<String>,
        /// Must match where given.
        password: Option<String>,
    },
    /// One-line base64 of the certificate's DER.
    X509 {
        /// The certificate.
        certificate: String,
    },
}

/// Who may see and write an attribute.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Scope {
    /// Written by the device.
    Client,
    /// Written by the server, pushed to the device.
    Shared,
    /// Never seen by the device.
    Server,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 3] = [Self::Client, Self::Shared, Self::Server];
}

/// One attribute.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Attribute {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: Value,
    /// When the value last changed.
    pub updated: Timestamp,
}

/// A user of the management side.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct User {
    /// Identity.
    pub id: UserId,
    /// When it was made.
    pub created: Timestamp,
    /// Login name.
    pub email: String,
    /// Argon2 hash in PHC format.
    pub password_hash: String,
    /// First name, where known.
    pub first_name: Option<String>,
    /// Last name, where known.
    pub last_name: Option<String>,
    /// Sees the devices of this customer and nothing else; `None`: an administrator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<CustomerId>,
    /// What a user who has no password yet sets one with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<String>,
    /// Until when that can be done; `None`: for as long as any may after the user was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation_ends: Option<Timestamp>,
    /// Telephone number, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// A JSON object as text, or `null`.
    #[serde(default = "null")]
    pub additional_info: String,
    /// Counts saves.
    #[serde(default = "first")]
    pub version: u64,
    /// Counts passwords: a session that began under an earlier one has ended.
    #[serde(default)]
    pub generation: u32,
}

fn null() -> String {
    "null".to_owned()
}

const fn first() -> u64 {
    1
}

/// What a program shows instead of a user's password. The secret itself is not kept.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ApiKey {
    /// Identity.
    pub id: ApiKeyId,
    /// When it was made.
    pub created: Timestamp,
    /// Who acts where it is shown.
    pub user: UserId,
    /// What it is for.
    pub description: String,
    /// Whether it is good for anything now.
    pub enabled: bool,
    /// Until when it is good; `None`: for ever.
    pub expires: Option<Timestamp>,
    /// SHA3-256 of the secret, in hexadecimal digits.
    pub digest: String,
    /// Counts saves.
    pub version: u64,
}

/// Where on its way a payload failed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureStage {
    /// The profile names a codec that is not live.
    NoCodec,
    /// The codec, or the JSON reader, refused the payload.
    Refused,
    /// The codec trapped.
    Trapped,
    /// The codec passed its time or fuel.
    Deadline,
    /// The result was larger than allowed.
    OverLarge,
    /// The result broke a rule: a bad key, a number that is not finite, JSON that is not JSON.
    InvalidResult,
    /// Decoded, but the device may not say this.
    NotAccepted,
}

/// A payload that was not decoded, kept for the operator.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DeadLetter {
    /// From whom.
    pub device: DeviceId,
    /// Its name at the time.
    pub device_name: String,
    /// Its profile at the time.
    pub profile_id: ProfileId,
    /// Its profile's name at the time.
    pub profile: String,
    /// The topic it was published on.
    pub topic: String,
    /// The bytes as they came.
    pub payload: Vec<u8>,
    /// What is around the frame in them.
    pub envelope: Option<Envelope>,
    /// When they came.
    pub received: Timestamp,
    /// When whoever brought the frame received it, where that was told beside it.
    pub frame_received: Option<Timestamp>,
    /// Which codec version failed, where one was reached.
    pub codec: Option<CodecStamp>,
    /// Where it failed.
    pub stage: FailureStage,
    /// Why, for people.
    pub reason: String,
}

/// A frame as it came, kept for a while so that it can be decoded again.
#[derive(Clone, PartialEq, Debug)]
pub struct RawFrame {
    /// From whom.
    pub device: DeviceId,
    /// The profile under which it was decoded.
    pub profile: ProfileId,
    /// The topic it was published on.
    pub topic: String,
    /// The bytes as they came.
    pub payload: Vec<u8>,
    /// What is around the frame in them.
    pub envelope: Option<Envelope>,
    /// When they came.
    pub received: Timestamp,
    /// Which codec version decoded it last; `None` where none did.
    pub codec: Option<CodecStamp>,
    /// Where the values that were made of it lie.
    pub traces: Vec<FrameTrace>,
}

/// Where values of a frame lie: those of one device that were received with it, between two times.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameTrace {
    /// Whose values.
    pub device: DeviceId,
    /// The earliest.
    pub first: Timestamp,
    /// The latest.
    pub last: Timestamp,
}
