//! Codecs, their candidates, and what is kept of frames that were not decoded.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use utoipa::ToSchema;

use super::{ActorName, CodecVersion, EntityId};

/// A codec.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct Codec {
    name: String,
    /// The live version, as it describes itself.
    version: Option<String>,
    /// The identity of its bytes.
    hash: Option<String>,
    #[schema(inline)]
    state: CodecStateName,
    /// Why its newest file is not live, or why it lives without one.
    error: Option<String>,
    /// The keys that it can produce.
    keys: Vec<KeyDescription>,
    loaded_at: Option<i64>,
    vendor: Option<String>,
    summary: Option<String>,
    /// It also turns values into payloads.
    encodes: bool,
    bytes: Option<u64>,
    file: Option<String>,
    /// Of a responder: the methods that it answers.
    methods: Option<Vec<String>>,
    /// Of a responder: the shared attributes that it is shown.
    shared_keys: Option<Vec<String>>,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum CodecStateName {
    Live,
    Rejected,
    Retired,
}

/// A key that a codec can produce.
#[derive(ToSchema)]
pub(crate) struct KeyDescription {
    /// The key, or a pattern with `*`.
    key: String,
    #[schema(inline)]
    r#type: KeyType,
    unit: Option<String>,
    label: Option<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "UPPERCASE")]
pub(crate) enum KeyType {
    Boolean,
    Long,
    Double,
    String,
    Json,
}

/// Something that happened to a codec.
#[derive(ToSchema)]
pub(crate) struct CodecEvent {
    /// Milliseconds since 1970.
    at: i64,
    #[schema(inline)]
    outcome: CodecOutcomeName,
    hash: Option<String>,
    version: Option<String>,
    by: ActorName,
    reason: String,
    /// The version can still be rolled back to.
    kept: bool,
    /// The version serves now.
    live: bool,
}

#[derive(ToSchema)]
#[schema(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum CodecOutcomeName {
    Live,
    Rejected,
    RolledBack,
    Promoted,
    Restored,
    Retired,
    CanaryStarted,
    CanaryHeld,
    CanaryRolledBack,
    CanaryStopped,
}

/// A version of a codec that is kept.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct KeptVersion {
    hash: String,
    version: String,
    loaded_at: i64,
    file: Option<String>,
    /// It serves now.
    live: bool,
    by: ActorName,
    /// Names of the profiles that are pinned to it.
    pinned_by: Vec<String>,
}

/// From which version to which.
#[derive(ToSchema)]
pub(crate) struct RollbackResult {
    from: VersionOfCodec,
    to: VersionOfCodec,
}

/// A version of a codec that is known from the path.
#[derive(ToSchema)]
pub(crate) struct VersionOfCodec {
    version: String,
    hash: String,
}

/// A new version on trial, and how it compares with the live one.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct Candidate {
    name: String,
    #[schema(inline)]
    state: CandidateStateName,
    version: Option<String>,
    hash: Option<String>,
    file: String,
    /// Why it was rejected.
    error: Option<String>,
    loaded_at: Option<i64>,
    /// The share of the live frames that is compared.
    #[schema(minimum = 0, maximum = 1)]
    share: f64,
    /// Frames that were not compared, because there were too many.
    frames_dropped: u64,
    report: Option<ShadowComparison>,
    /// Its canary, or the last one of this codec.
    canary: Option<Canary>,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum CandidateStateName {
    Shadow,
    Canary,
    Rejected,
}

/// How two versions compare over the same frames.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct ShadowComparison {
    frames: u64,
    results: FramesCompared,
    values: ValuesCompared,
    /// The same by key; of attributes with `attribute ` before it.
    keys: BTreeMap<String, ValuesCompared>,
    values_of_other_keys: u64,
    profiles: BTreeMap<String, FramesCompared>,
    frames_of_other_profiles: u64,
    /// The version that serves.
    old: SideCompared,
    /// The version that is tried.
    new: SideCompared,
    /// Time of the new version ÷ time of the old one.
    time_ratio: Option<f64>,
    /// The first differences of each key.
    examples: Vec<DifferenceExample>,
}

/// Frames by how two results compare.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct FramesCompared {
    same: u64,
    different: u64,
    only_old: u64,
    only_new: u64,
    neither: u64,
}

/// Values by how they compare.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct ValuesCompared {
    same: u64,
    changed: u64,
    only_old: u64,
    only_new: u64,
}

/// What one version did.
#[derive(ToSchema)]
pub(crate) struct SideCompared {
    /// Frames that it failed on, by stage.
    errors: BTreeMap<String, u64>,
    /// What a frame took it.
    nanoseconds: Option<u64>,
}

/// One difference.
#[derive(ToSchema)]
pub(crate) struct DifferenceExample {
    received: i64,
    device: String,
    profile: String,
    topic: String,
    /// The frame, as hex; a long one is cut.
    hex: String,
    key: Option<String>,
    old: Option<String>,
    new: Option<String>,
}

/// The share of the live frames that is compared.
#[derive(ToSchema)]
pub(crate) struct ShareBody {
    #[schema(minimum = 0, maximum = 1)]
    share: f64,
}

/// What a canary is asked for.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct CanaryOrder {
    /// The share of the devices.
    #[schema(default = 0.05, exclusive_minimum = 0, maximum = 1)]
    share: Option<f64>,
    /// Messages of these devices before anything is decided in favour of the candidate.
    #[schema(default = 1000, minimum = 1)]
    min_messages: Option<u64>,
    /// Seconds before that.
    #[schema(default = 600, maximum = 2_592_000)]
    duration_s: Option<u64>,
    /// How much larger the share of messages that fail may be than with the live version.
    #[schema(default = 0.01, minimum = 0, maximum = 1)]
    max_error_rate: Option<f64>,
    /// How many times the live version's time a message may take.
    #[schema(default = 2.0, exclusive_minimum = 0)]
    max_latency_ratio: Option<f64>,
    /// The share of messages that may be decoded to other values than by the live version.
    #[schema(default = 1.0, minimum = 0, maximum = 1)]
    max_difference_rate: Option<f64>,
    /// What follows when all budgets are kept.
    #[schema(inline)]
    on_success: Option<OnSuccessName>,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum OnSuccessName {
    Promote,
    Hold,
}

/// A canary.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct Canary {
    #[schema(inline)]
    state: CanaryStateName,
    /// Why it ended, or why it is held.
    reason: Option<String>,
    hash: String,
    version: String,
    plan: CanaryOrder,
    started_at: i64,
    ended_at: Option<i64>,
    numbers: CanaryCounts,
}

#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) enum CanaryStateName {
    Running,
    Held,
    Promoted,
    RolledBack,
    Stopped,
}

/// What a canary is judged by.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct CanaryCounts {
    messages: u64,
    errors: u64,
    error_rate: f64,
    compared: u64,
    live_error_rate: f64,
    different: u64,
    difference_rate: f64,
    latency_ratio: Option<f64>,
}

/// A payload that was not decoded.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct Letter {
    sequence: u64,
    device_id: EntityId,
    device_name: String,
    device_profile_id: EntityId,
    device_profile_name: String,
    topic: String,
    payload_hex: String,
    envelope: Json,
    received_ts: i64,
    /// What was to decode it.
    codec: Option<CodecVersion>,
    #[schema(inline)]
    stage: Stage,
    reason: String,
    /// Of a single letter: its bytes for people to read.
    hex_dump: Option<String>,
}

/// Where on its way a payload failed.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
pub(crate) enum Stage {
    NoCodec,
    Refused,
    Trapped,
    Deadline,
    OverLarge,
    InvalidResult,
    NotAccepted,
}

/// How many were deleted.
#[derive(ToSchema)]
pub(crate) struct Deleted {
    deleted: u64,
}

/// A replay, while it runs or afterwards.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct Replay {
    id: u64,
    #[schema(inline)]
    state: ReplayStateName,
    device_profile_name: String,
    codec: CodecVersion,
    /// Raw frames instead of dead letters.
    all: bool,
    dry_run: bool,
    started_ts: i64,
    ended_ts: Option<i64>,
    report: ReplayCounts,
    /// Why it broke off.
    error: Option<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
pub(crate) enum ReplayStateName {
    Running,
    Done,
    Cancelled,
    Failed,
}

/// What changed, or in a dry run what would.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct ReplayCounts {
    frames: u64,
    decoded: u64,
    failed: u64,
    left: u64,
    same: u64,
    changed: u64,
    only_old: u64,
    only_new: u64,
    changes: Vec<ReplayedValue>,
    /// Failures by reason.
    reasons: BTreeMap<String, u64>,
    failures: Vec<ReplayedFrame>,
}

/// One value before and after.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct ReplayedValue {
    device_name: String,
    ts: i64,
    key: String,
    old: Option<String>,
    new: Option<String>,
}

/// A frame that failed again.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct ReplayedFrame {
    device_name: String,
    received_ts: i64,
    payload_hex: String,
    reason: String,
}
