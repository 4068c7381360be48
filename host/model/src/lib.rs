//! The nouns of Wireglot: plain data that every other crate speaks, with no I/O, no async and no clock.
//!
//! Read in this order: who (`id`), when (`time`), what is measured (`value`, `number`), what a device says (`uplink`),
//! what is said to it (`downlink`), what kind of device it is (`profile`, `protobuf`, `segments`), the stored records (`record`),
//! who changed what (`audit`),
//! whose fault a failure is (`fault`), and every bound there is (`limits`).
#![warn(missing_docs)]

pub mod audit;
pub mod downlink;
pub mod fault;
pub mod id;
pub mod limits;
pub mod number;
pub mod ota;
pub mod profile;
mod profile_limits;
pub mod protobuf;
pub mod record;
pub mod segments;
pub mod time;
pub mod uplink;
pub mod value;

pub use audit::{Actor, AuditAction, AuditEntry};
pub use downlink::Downlink;
pub use fault::Fault;
pub use id::{
    CodecHash, CodecName, CodecStamp, CredentialsId, DeviceId, ProfileId, SessionId, TenantId, UserId,
};
pub use ota::OtaKind;
pub use profile::{
    CarriedNames, DeadLetterBounds, Envelope, OnFailure, PayloadKind, Profile, TransportKind, VersionPin,
    Wrapping,
};
pub use profile_limits::{InvalidLimit, ProfileLimits};
pub use protobuf::{JsonCompatibility, SchemaTexts};
pub use record::{
    Attribute, Credentials, CredentialsKind, DeadLetter, Device, FailureStage, FrameTrace, RawFrame, Scope,
    User,
};
pub use time::Timestamp;
pub use uplink::{Decoded, Measurement, Uplink, UplinkBody, split_keys};
pub use value::{Sample, Value, is_storable_key};
