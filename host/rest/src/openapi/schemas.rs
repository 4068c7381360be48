//! What answers look like, and requests that no handler reads into a type of its own.
//!
//! A member that may be null is optional here. Profiles have `profiles`, codecs and what is kept of frames `codecs`.

#![expect(dead_code, reason = "these types only describe; answers are written by the handlers")]

mod codecs;
mod profiles;

use std::collections::BTreeMap;

use serde_json::Value as Json;
use utoipa::ToSchema;

pub(crate) use codecs::*;
pub(crate) use profiles::*;

/// An id with the kind of thing that it is of.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct EntityId {
    /// What it is of.
    #[schema(inline)]
    entity_type: EntityType,
    #[schema(format = "uuid")]
    id: String,
}

#[derive(ToSchema)]
#[schema(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum EntityType {
    Device,
    DeviceProfile,
    Tenant,
    Customer,
    User,
    OtaPackage,
    Rpc,
    ApiKey,
}

/// One page of a list.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct PageOf<T> {
    data: Vec<T>,
    total_pages: u64,
    total_elements: u64,
    /// There is a page after this one.
    has_next: bool,
}

/// A file.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
pub(crate) struct Binary(Vec<u8>);

/// A pair of tokens.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct TokenPair {
    /// Goes into the header `X-Authorization` or `Authorization`, as `Bearer <token>`. Good for two and a half hours.
    token: String,
    /// Gets the next pair. Good for a week.
    refresh_token: String,
    /// Always null.
    scope: Option<String>,
}

/// A device.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct Device {
    id: EntityId,
    /// Milliseconds since 1970.
    created_time: i64,
    tenant_id: EntityId,
    /// The customer that it is assigned to, or `13814000-1dd2-11b2-8080-808080808080` for none.
    customer_id: EntityId,
    name: String,
    /// Name of its profile.
    r#type: String,
    label: Option<String>,
    device_profile_id: EntityId,
    device_data: DeviceData,
    /// The firmware that it is to have, where that is not left to its profile.
    firmware_id: Option<EntityId>,
    /// The software that it is to have, where that is not left to its profile.
    software_id: Option<EntityId>,
    /// Any JSON; `{"gateway": true}` makes the device a gateway.
    additional_info: Json,
    external_id: Option<EntityId>,
    /// Counts changes.
    version: u64,
}

/// Kinds of configuration, which clients look for.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct DeviceData {
    configuration: Typed,
    transport_configuration: Typed,
}

/// Something that has a kind.
#[derive(ToSchema)]
pub(crate) struct Typed {
    r#type: String,
}

/// A page of devices, or where `deviceName` was given the device.
#[derive(ToSchema)]
#[serde(untagged)]
pub(crate) enum DeviceOrPage {
    Page(PageOf<Device>),
    Device(Box<Device>),
}

/// A device, with the names of what it refers to.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct DeviceInfo {
    #[serde(flatten)]
    device: Device,
    customer_title: Option<String>,
    customer_is_public: bool,
    device_profile_name: String,
    /// Whether it is active, as its server attribute of that name says.
    active: bool,
}

/// A type of devices.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct DeviceType {
    tenant_id: EntityId,
    #[schema(inline)]
    entity_type: EntityType,
    /// The name of a profile.
    r#type: String,
}

/// The name of a profile.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct DeviceProfileName {
    id: EntityId,
    name: String,
}

/// What a device proves with that it is the device.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct DeviceCredentials {
    id: PlainId,
    created_time: i64,
    device_id: EntityId,
    #[schema(inline)]
    credentials_type: CredentialsType,
    /// The access token, or what the server looks the device up by.
    credentials_id: String,
    /// Of `MQTT_BASIC`: client id, user name and password as JSON text. Of `X509_CERTIFICATE`: the certificate, PEM.
    credentials_value: Option<String>,
    version: u64,
}

#[derive(ToSchema)]
pub(crate) enum CredentialsType {
    #[schema(rename = "ACCESS_TOKEN")]
    AccessToken,
    #[schema(rename = "MQTT_BASIC")]
    MqttBasic,
    #[schema(rename = "X509_CERTIFICATE")]
    X509,
}

/// An id whose kind is known from where it stands.
#[derive(ToSchema)]
pub(crate) struct PlainId {
    #[schema(format = "uuid")]
    id: String,
}

/// A customer.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct Customer {
    id: EntityId,
    created_time: i64,
    tenant_id: EntityId,
    title: String,
    /// The title again.
    name: String,
    version: u64,
    external_id: Option<EntityId>,
    email: Json,
    phone: Json,
    country: Json,
    state: Json,
    city: Json,
    address: Json,
    address2: Json,
    zip: Json,
    additional_info: Json,
}

/// The name of a customer.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct CustomerShort {
    title: String,
    is_public: bool,
}

/// How a claim ended.
#[derive(ToSchema)]
pub(crate) struct ClaimResult {
    device: Device,
    #[schema(inline)]
    response: ClaimSuccess,
}

/// That a device was given back.
#[derive(ToSchema)]
#[schema(rename_all = "UPPERCASE")]
pub(crate) enum ReclaimResult {
    Success,
}

#[derive(ToSchema)]
#[schema(rename_all = "UPPERCASE")]
pub(crate) enum ClaimSuccess {
    Success,
}

/// Why a claim was not granted: `FAILURE` for a wrong key or a claim that ended, `CLAIMED` where the device has an owner.
#[derive(ToSchema)]
#[schema(rename_all = "UPPERCASE")]
pub(crate) enum ClaimRefusal {
    Failure,
    Claimed,
}

/// A refused claim, or what is wrong with the request.
#[derive(ToSchema)]
#[serde(untagged)]
pub(crate) enum ClaimRefused {
    Refusal(ClaimRefusal),
    Error(crate::error::ErrorBody),
}

/// A user of the management side.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct User {
    id: EntityId,
    created_time: i64,
    tenant_id: EntityId,
    customer_id: EntityId,
    email: String,
    #[schema(inline)]
    authority: Authority,
    first_name: Option<String>,
    last_name: Option<String>,
    phone: Option<String>,
    /// The e-mail address again.
    name: String,
    additional_info: Json,
    version: u64,
}

/// A user, with the title of the customer.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct UserInfo {
    #[serde(flatten)]
    user: User,
    customer_title: Option<String>,
    owner_name: Option<String>,
}

/// What programs of a user show instead of a login.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct ApiKey {
    id: EntityId,
    created_time: i64,
    tenant_id: EntityId,
    user_id: EntityId,
    /// Until when it is good, in milliseconds since 1970; 0 for ever.
    expiration_time: i64,
    description: String,
    enabled: bool,
    /// Its time is over.
    expired: bool,
    version: u64,
}

/// An API key, with its secret if it has just been made.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct ApiKeyMade {
    #[serde(flatten)]
    key: ApiKey,
    /// Goes into the header `X-Authorization` or `Authorization`, as `ApiKey <value>`.
    value: Option<String>,
}

/// What serves here.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct SystemInfo {
    version: String,
    artifact: String,
    name: String,
    r#type: String,
}

#[derive(ToSchema)]
#[schema(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Authority {
    TenantAdmin,
    CustomerUser,
}

/// Points by key.
#[derive(ToSchema)]
pub(crate) struct Series(BTreeMap<String, Vec<Point>>);

/// A value at a time.
#[derive(ToSchema)]
pub(crate) struct Point {
    /// Milliseconds since 1970.
    ts: i64,
    /// A text, or with `useStrictDataTypes` any JSON; null where the key has no data.
    value: Json,
}

/// Telemetry as devices send it: an object of values, `{"ts": …, "values": {…}}`, or an array of those.
#[derive(ToSchema)]
#[schema(example = json!({"temperature": 21.5, "humidity": 40}))]
pub(crate) struct TelemetryBody(Json);

/// Values by key.
#[derive(ToSchema)]
#[schema(example = json!({"serial": "A-17", "interval": 60}))]
pub(crate) struct AttributesBody(BTreeMap<String, Json>);

/// An attribute.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct AttributeValue {
    /// Milliseconds since 1970.
    last_update_ts: i64,
    key: String,
    value: Json,
}

/// A message as it was stored.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct StoredMessage {
    ts: i64,
    received_ts: i64,
    /// What decoded it; null for built-in JSON and protobuf.
    codec: Option<CodecVersion>,
    values: BTreeMap<String, Json>,
}

/// A codec version.
#[derive(ToSchema)]
pub(crate) struct CodecVersion {
    name: String,
    /// As the codec describes itself.
    version: Option<String>,
    /// The identity of its bytes.
    hash: Option<String>,
}

/// What the keys of a device mean.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct DescribedKeys {
    codec: Option<CodecVersion>,
    /// Keys that the device has.
    keys: Vec<DescribedKey>,
    /// Keys that the codec describes and the device does not have.
    not_seen: Vec<KeyDescription>,
}

/// A key that a device has.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct DescribedKey {
    key: String,
    /// The key or pattern in the codec's description.
    described_as: Option<String>,
    #[schema(inline)]
    r#type: Option<KeyType>,
    unit: Option<String>,
    label: Option<String>,
}

/// A persistent RPC.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct PersistentRpc {
    id: EntityId,
    created_time: i64,
    tenant_id: EntityId,
    device_id: EntityId,
    expiration_time: i64,
    request: PersistentRpcRequest,
    /// What the device answered.
    response: Json,
    #[schema(inline)]
    status: RpcStatusName,
    additional_info: Json,
}

/// What was asked.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct PersistentRpcRequest {
    #[schema(format = "uuid")]
    id: String,
    tenant_id: EntityId,
    device_id: EntityId,
    oneway: bool,
    expiration_time: i64,
    body: RpcCallBody,
    persisted: bool,
    retries: Option<u32>,
    additional_info: Option<String>,
}

/// Method and parameters.
#[derive(ToSchema)]
pub(crate) struct RpcCallBody {
    method: String,
    /// JSON as text.
    params: String,
}

#[derive(ToSchema)]
#[schema(rename_all = "UPPERCASE")]
pub(crate) enum RpcStatusName {
    Queued,
    Sent,
    Delivered,
    Successful,
    Timeout,
    Expired,
    Failed,
}

#[derive(ToSchema)]
#[schema(rename_all = "UPPERCASE")]
pub(crate) enum RpcStatusFilter {
    Queued,
    Sent,
    Delivered,
    Successful,
    Timeout,
    Expired,
    Failed,
    Deleted,
}

/// What a device answered, as it did; of a persistent RPC `{"rpcId": …}`.
#[derive(ToSchema)]
pub(crate) struct RpcAnswer(Json);

/// A package for updates over the air.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct OtaPackageInfo {
    id: EntityId,
    created_time: i64,
    tenant_id: EntityId,
    /// The profile whose devices may have it; null for all.
    device_profile_id: Option<EntityId>,
    #[schema(inline)]
    r#type: OtaType,
    title: String,
    /// The title again.
    name: String,
    version: String,
    tag: Option<String>,
    url: Option<String>,
    /// There is a file, or a URL.
    has_data: bool,
    file_name: Option<String>,
    content_type: Option<String>,
    checksum_algorithm: Option<String>,
    checksum: Option<String>,
    data_size: Option<u64>,
    external_id: Option<EntityId>,
    additional_info: Json,
}

#[derive(ToSchema)]
#[schema(rename_all = "UPPERCASE")]
pub(crate) enum OtaType {
    Firmware,
    Software,
}

/// How checksums are made.
#[derive(ToSchema)]
#[schema(rename_all = "UPPERCASE")]
pub(crate) enum ChecksumName {
    Md5,
    Sha256,
    Sha384,
    Sha512,
    Crc32,
    #[schema(rename = "MURMUR3_32")]
    Murmur3x32,
    #[schema(rename = "MURMUR3_128")]
    Murmur3x128,
}

/// The form that a file comes in.
#[derive(ToSchema)]
pub(crate) struct OtaForm {
    /// The file, with a file name.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
}

/// Limits as `count:seconds`, several with commas between them; null is no limit.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase", example = json!({"transportDeviceMsgRateLimit": "20:1,600:60"}))]
pub(crate) struct RateLimitTexts {
    transport_tenant_msg_rate_limit: Option<String>,
    transport_tenant_telemetry_msg_rate_limit: Option<String>,
    transport_tenant_telemetry_data_points_rate_limit: Option<String>,
    transport_device_msg_rate_limit: Option<String>,
    transport_device_telemetry_msg_rate_limit: Option<String>,
    transport_device_telemetry_data_points_rate_limit: Option<String>,
    transport_gateway_msg_rate_limit: Option<String>,
    transport_gateway_telemetry_msg_rate_limit: Option<String>,
    transport_gateway_telemetry_data_points_rate_limit: Option<String>,
    transport_gateway_device_msg_rate_limit: Option<String>,
    transport_gateway_device_telemetry_msg_rate_limit: Option<String>,
    transport_gateway_device_telemetry_data_points_rate_limit: Option<String>,
}

/// An open session.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct Session {
    session_id: u64,
    device_id: EntityId,
    device_name: String,
    device_profile_name: String,
    gateway: bool,
    client_id: String,
    address: Option<String>,
    /// What the device speaks.
    mqtt_version: String,
    connected_since: i64,
    last_activity: i64,
    /// Messages that are not acknowledged yet.
    in_flight: u64,
}

/// A line of the audit log.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct AuditLine {
    sequence: u64,
    created_time: i64,
    actor: ActorName,
    /// What was done, such as `PROFILE_CHANGED`.
    action: String,
    target: String,
    detail: String,
}

/// Who did something.
#[derive(ToSchema)]
pub(crate) struct ActorName {
    #[schema(inline)]
    r#type: ActorType,
    name: Option<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "UPPERCASE")]
pub(crate) enum ActorType {
    User,
    File,
    Server,
}
