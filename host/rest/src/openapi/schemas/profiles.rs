//! Device profiles: the shape that clients know, with our own members.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use utoipa::ToSchema;

use super::EntityId;
use crate::shape::EntityRef;

/// A device profile. Members that are not listed are kept as they came.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct DeviceProfile {
    id: EntityId,
    created_time: i64,
    tenant_id: EntityId,
    name: String,
    description: String,
    /// Devices that name no profile are of this one.
    default: bool,
    #[schema(inline)]
    r#type: ProfileType,
    #[schema(inline)]
    transport_type: TransportType,
    #[schema(inline)]
    provision_type: ProvisionType,
    provision_device_key: Option<String>,
    profile_data: ProfileData,
    firmware_id: Option<EntityId>,
    software_id: Option<EntityId>,
    /// Telemetry older than so many days is removed; null keeps it.
    retention_days: Option<u32>,
    /// Frames are kept as they came for so many hours; null keeps none.
    raw_retention_hours: Option<u32>,
    dead_letters: DeadLetterLimits,
    client_rpc: Option<ClientRpcShape>,
    version: u64,
}

/// What of a device profile can be written. Members that are not listed are kept as they come.
#[derive(ToSchema)]
#[schema(
    rename_all = "camelCase",
    example = json!({"name": "thermometer", "type": "DEFAULT", "transportType": "DEFAULT"})
)]
pub(crate) struct DeviceProfileBody {
    /// Of the profile that is changed; without one a profile is made.
    id: Option<EntityRef>,
    /// The version that is changed: another one meanwhile is a conflict.
    version: Option<u64>,
    #[schema(min_length = 1, max_length = 255)]
    name: String,
    description: Option<String>,
    #[schema(inline)]
    r#type: ProfileType,
    #[schema(inline)]
    transport_type: TransportType,
    default: Option<bool>,
    #[schema(inline)]
    provision_type: Option<ProvisionType>,
    provision_device_key: Option<String>,
    profile_data: Option<ProfileData>,
    firmware_id: Option<EntityRef>,
    software_id: Option<EntityRef>,
    /// Telemetry older than so many days is removed; null keeps it.
    #[schema(minimum = 1)]
    retention_days: Option<u32>,
    /// Frames are kept as they came for so many hours; null keeps none.
    #[schema(minimum = 1, maximum = 8760)]
    raw_retention_hours: Option<u32>,
    dead_letters: Option<DeadLetterLimits>,
    client_rpc: Option<ClientRpcShape>,
}

/// The short form of a device profile.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct DeviceProfileInfo {
    id: EntityId,
    tenant_id: EntityId,
    name: String,
    image: Json,
    default_dashboard_id: Json,
    #[schema(inline)]
    r#type: ProfileType,
    #[schema(inline)]
    transport_type: TransportType,
}

#[derive(ToSchema)]
#[schema(rename_all = "UPPERCASE")]
pub(crate) enum ProfileType {
    Default,
}

#[derive(ToSchema)]
#[schema(rename_all = "UPPERCASE")]
pub(crate) enum TransportType {
    Default,
    Mqtt,
    Coap,
    Lwm2m,
    Snmp,
}

#[derive(ToSchema)]
pub(crate) enum ProvisionType {
    #[schema(rename = "DISABLED")]
    Disabled,
    #[schema(rename = "ALLOW_CREATE_NEW_DEVICES")]
    AllowCreateNewDevices,
    #[schema(rename = "CHECK_PRE_PROVISIONED_DEVICES")]
    CheckPreProvisionedDevices,
    #[schema(rename = "X509_CERTIFICATE_CHAIN")]
    X509CertificateChain,
}

/// The configurations of a profile.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct ProfileData {
    #[schema(required = false)]
    configuration: Json,
    transport_configuration: Option<TransportConfiguration>,
    provision_configuration: Option<ProvisionConfiguration>,
    /// Kept as they come.
    #[schema(required = false)]
    alarms: Json,
}

/// Topics and payloads; all but the type is of profiles of the type `MQTT`.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct TransportConfiguration {
    /// That of the profile.
    r#type: Option<String>,
    device_telemetry_topic: Option<String>,
    device_attributes_topic: Option<String>,
    device_attributes_subscribe_topic: Option<String>,
    send_ack_on_validation_exception: Option<bool>,
    transport_payload_type_configuration: Option<PayloadConfiguration>,
    /// Devices are edge nodes of Sparkplug B.
    sparkplug: Option<bool>,
    #[schema(max_items = 256)]
    sparkplug_attributes_metric_names: Option<Vec<String>>,
    sparkplug_will_qos0: Option<bool>,
}

/// What payloads are, and what turns them into values.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct PayloadConfiguration {
    #[schema(inline)]
    transport_payload_type: Option<PayloadType>,
    /// Of `CODEC`: its name, or `name@version` to stay with one version.
    codec: Option<String>,
    /// The version that the profile stays with.
    #[schema(read_only)]
    codec_hash: Option<String>,
    /// What the codec is told.
    #[schema(required = false)]
    settings: Json,
    /// What follows for a device that sends what cannot be decoded.
    #[schema(inline)]
    on_failure: Option<OnFailureName>,
    /// Whether an instance of the codec is used again.
    #[schema(inline)]
    isolation: Option<Isolation>,
    limits: Option<CodecLimits>,
    /// The envelope of a network server around the frames.
    #[schema(inline)]
    envelope: Option<EnvelopeName>,
    /// What devices in envelopes are called by.
    #[schema(inline)]
    carried_device_names: Option<CarriedName>,
    /// How many devices envelopes may make.
    carried_devices_max: Option<u32>,
    device_telemetry_proto_schema: Option<String>,
    device_attributes_proto_schema: Option<String>,
    device_rpc_request_proto_schema: Option<String>,
    device_rpc_response_proto_schema: Option<String>,
    enable_compatibility_with_json_payload_format: Option<bool>,
    use_json_payload_format_for_default_downlink_topics: Option<bool>,
}

#[derive(ToSchema)]
#[schema(rename_all = "UPPERCASE")]
pub(crate) enum PayloadType {
    Json,
    Protobuf,
    Codec,
}

#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) enum OnFailureName {
    Refuse,
    Accept,
    Disconnect,
}

#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) enum Isolation {
    Instance,
    Message,
}

#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) enum EnvelopeName {
    None,
    Chirpstack,
    Tts,
}

#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) enum CarriedName {
    Name,
    DevEui,
}

/// What a codec may use; null leaves it to the kind of codec.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct CodecLimits {
    deadline_ms: Option<u32>,
    #[schema(rename = "memoryMiB")]
    memory_mib: Option<u32>,
    #[schema(rename = "resultKiB")]
    result_kib: Option<u32>,
    messages: Option<u32>,
    values: Option<u32>,
    warnings: Option<u32>,
    #[schema(rename = "trapsInARow")]
    traps_in_a_row: Option<u32>,
    pause_ms: Option<u32>,
}

/// How devices of the profile provision themselves.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct ProvisionConfiguration {
    #[schema(inline)]
    r#type: Option<ProvisionType>,
    /// The secret, or of `X509_CERTIFICATE_CHAIN` the certificates, PEM.
    provision_device_secret: Option<String>,
    #[schema(rename = "certificateRegExPattern")]
    certificate_reg_ex_pattern: Option<String>,
    #[schema(rename = "allowCreateNewDevicesByX509Certificate")]
    allow_create_new_devices_by_x509_certificate: Option<bool>,
}

/// How many dead letters a profile keeps.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct DeadLetterLimits {
    #[schema(maximum = 100_000)]
    max_count: Option<u32>,
    #[schema(maximum = 268_435_456)]
    max_bytes: Option<u64>,
    #[schema(maximum = 3_650)]
    max_age_days: Option<u32>,
}

/// Who answers the calls of the profile's devices.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct ClientRpcShape {
    /// Name of a responder component.
    responder: Option<String>,
    settings: Option<BTreeMap<String, Json>>,
    webhook: Option<WebhookShape>,
}

/// A URL that is asked.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct WebhookShape {
    url: String,
    timeout_ms: Option<u32>,
    /// The header `Authorization`.
    authorization: Option<String>,
}
