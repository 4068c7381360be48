//! The nouns of Wireglot: plain data that every other crate speaks, with no I/O, no async and no clock.
//!
//! Read in this order: who (`id`), when (`time`), what is measured (`value`, `number`), what a device says (`uplink`)
//! or a gateway for others (`gateway`),
//! what is said to it (`downlink`, `ota`), what kind of device it is (`profile`, `protobuf`,
//! `segments`), how fast it may speak
//! (`rate`), how devices make themselves known (`provision`), the stored records (`record`), who changed what
//! (`audit`), what is asked of a device (`rpc`), what a device without a connection asks (`request`), addresses and networks (`address`),
//! whose fault a failure is (`fault`), and every bound there is (`limits`).
#![warn(missing_docs)]

mod address;
pub mod audit;
pub mod client_rpc;
pub mod downlink;
pub mod fault;
pub mod gateway;
pub mod id;
pub mod limits;
pub mod number;
pub mod ota;
pub mod profile;
mod profile_limits;
pub mod protobuf;
pub mod provision;
mod rate;
pub mod record;
pub mod request;
pub mod rpc;
pub mod segments;
pub mod time;
pub mod uplink;
pub mod value;

pub use address::{InvalidNetworks, Networks, network};
pub use audit::{Actor, AuditAction, AuditEntry};
pub use client_rpc::{ClientRpc, ResponderChoice, Webhook};
pub use downlink::Downlink;
pub use fault::Fault;
pub use id::{
    ApiKeyId, CodecHash, CodecName, CodecStamp, CredentialsId, CustomerId, DeviceId, OtaPackageId, ProfileId,
    RpcId, SessionId, TenantId, UserId,
};
pub use ota::{ChecksumAlgorithm, OtaContent, OtaFile, OtaKind, OtaPackage, OtaTargets, OtaUpdate};
pub use profile::{
    CarriedNames, DeadLetterBounds, Envelope, OnFailure, PayloadKind, Profile, Sparkplug, TransportKind,
    VersionPin, Wrapping,
};
pub use profile_limits::{InvalidLimit, ProfileLimits};
pub use protobuf::{JsonCompatibility, SchemaTexts};
pub use provision::{
    ProvisionAnswer, ProvisionCredentials, ProvisionCredentialsKind, ProvisionRequest, Provisioning,
};
pub use rate::{InvalidRateLimit, LevelLimits, RateKind, RateLevel, RateLimit, RateLimits, RatePart};
pub use record::{
    ApiKey, Attribute, ClaimRecord, Credentials, CredentialsKind, Customer, DeadLetter, Device, FailureStage,
    FrameTrace, RawFrame, Scope, User,
};
pub use request::{DeviceAnswer, DeviceCall, DeviceRequest, RequestRefusal, Wish};
pub use rpc::{RpcRecord, RpcStatus};
pub use time::Timestamp;
pub use uplink::{Decoded, Measurement, Uplink, UplinkBody, split_keys};
pub use value::{Sample, Value, is_storable_key};
