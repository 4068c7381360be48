//! Parameters of paths and queries that several operations have. Handlers read them by name (`request::Params`).

#![expect(dead_code, reason = "these types only describe; values are read from the request")]

use utoipa::{IntoParams, ToSchema};

/// The device of a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path, rename_all = "camelCase")]
pub(crate) struct DevicePath {
    /// Id of the device.
    #[param(format = "uuid")]
    device_id: String,
}

/// The device of a path that begins as the telemetry API's paths do.
#[derive(IntoParams)]
#[into_params(parameter_in = Path, rename_all = "camelCase")]
pub(crate) struct EntityPath {
    /// Kind of the entity: only devices have telemetry and attributes.
    #[param(inline)]
    entity_type: EntityKind,
    /// Id of the device.
    #[param(format = "uuid")]
    entity_id: String,
}

#[derive(ToSchema)]
#[schema(rename_all = "UPPERCASE")]
pub(crate) enum EntityKind {
    Device,
}

/// The scope at the end of a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path, rename_all = "camelCase")]
pub(crate) struct ScopePath {
    /// Whose attributes: the device's own, those that the device is told, or those of the server.
    #[param(inline)]
    scope: AnyScope,
}

/// The scope at the end of a path that writes.
#[derive(IntoParams)]
#[into_params(parameter_in = Path, rename_all = "camelCase")]
pub(crate) struct WritableScopePath {
    /// `SHARED_SCOPE` is told to the device, `SERVER_SCOPE` is not.
    #[param(inline)]
    scope: WritableScope,
}

#[derive(ToSchema)]
#[schema(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(clippy::enum_variant_names, reason = "the names are those that clients know")]
pub(crate) enum AnyScope {
    ClientScope,
    SharedScope,
    ServerScope,
}

#[derive(ToSchema)]
#[schema(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum WritableScope {
    SharedScope,
    ServerScope,
}

/// The profile of a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path, rename_all = "camelCase")]
pub(crate) struct ProfilePath {
    /// Id of the device profile.
    #[param(format = "uuid")]
    device_profile_id: String,
}

/// The customer of a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path, rename_all = "camelCase")]
pub(crate) struct CustomerPath {
    /// Id of the customer.
    #[param(format = "uuid")]
    customer_id: String,
}

/// The user of a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path, rename_all = "camelCase")]
pub(crate) struct UserPath {
    /// Id of the user.
    #[param(format = "uuid")]
    user_id: String,
}

/// The API key of a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path, rename_all = "camelCase")]
pub(crate) struct ApiKeyPath {
    /// Id of the key.
    #[param(format = "uuid")]
    api_key_id: String,
}

#[derive(ToSchema)]
#[schema(rename_all = "UPPERCASE")]
pub(crate) enum OwnerKind {
    Customer,
    Tenant,
}

/// The package of a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path, rename_all = "camelCase")]
pub(crate) struct PackagePath {
    /// Id of the package.
    #[param(format = "uuid")]
    ota_package_id: String,
}

/// The persistent RPC of a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path, rename_all = "camelCase")]
pub(crate) struct RpcPath {
    /// Id of the persistent RPC.
    #[param(format = "uuid")]
    rpc_id: String,
}

/// The codec of a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path, rename_all = "camelCase")]
pub(crate) struct CodecPath {
    /// Name of the codec: the stem of its file.
    #[param(min_length = 1, max_length = 64, pattern = "^[a-z0-9][a-z0-9._-]*$")]
    name: String,
}

/// Which page of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(crate) struct Paging {
    /// Items on a page. More than 1000 are not given at once.
    #[param(minimum = 1, example = 10)]
    page_size: i32,
    /// Which page, from 0.
    #[param(minimum = 0, example = 0)]
    page: i32,
    /// Only items that have this text in one of their names, whatever its case.
    text_search: Option<String>,
    /// Upwards or downwards.
    #[param(inline)]
    sort_order: Option<SortOrder>,
}

#[derive(ToSchema)]
#[schema(rename_all = "UPPERCASE")]
pub(crate) enum SortOrder {
    Asc,
    Desc,
}

/// What the items of a list are sorted by: a parameter with the names there are.
macro_rules! sort_orders {
    ($($(#[$doc:meta])* $name:ident { $($property:ident),+ $(,)? })+) => { pastey::paste! {$(
        $(#[$doc])*
        #[derive(IntoParams)]
        #[into_params(parameter_in = Query, rename_all = "camelCase")]
        pub(crate) struct $name {
            /// What the items are sorted by.
            #[param(inline)]
            sort_property: Option<[<$name Property>]>,
        }

        #[derive(ToSchema)]
        #[schema(rename_all = "camelCase")]
        enum [<$name Property>] { $($property),+ }
    )+}};
}

sort_orders! {
    /// What devices are sorted by.
    DeviceSort { CreatedTime, Name, DeviceName, Type, DeviceProfileName, Label, CustomerTitle }
    /// What customers are sorted by.
    CustomerSort { CreatedTime, Title, Name, Email, Country, City }
    /// What users are sorted by.
    UserSort { CreatedTime, Email, Name, FirstName, LastName, Authority }
    /// What API keys are sorted by.
    ApiKeySort { CreatedTime, ExpirationTime, Description, Enabled }
    /// What profiles are sorted by.
    ProfileSort { CreatedTime, Name, Description, Type, TransportType, IsDefault, Default }
    /// What packages are sorted by.
    PackageSort { CreatedTime, Title, Name, Version, Tag, Type }
    /// What persistent RPCs are sorted by.
    RpcSort { CreatedTime, ExpirationTime, Status }
    /// What the audit log is sorted by.
    AuditSort { CreatedTime, Target }
    /// What sessions are sorted by.
    SessionSort {
        CreatedTime, ConnectedSince, LastActivity, InFlight, DeviceName, DeviceProfileName, ClientId, Address,
    }
}

/// What lists of devices are narrowed by.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(crate) struct DeviceFilter {
    /// Only devices of the profile with this name.
    r#type: Option<String>,
    /// Only devices of this profile.
    #[param(format = "uuid")]
    device_profile_id: Option<String>,
    /// Only devices that are active, as their server attribute of that name says, or only those that are not.
    active: Option<bool>,
}

/// What happens where the name of a new device is taken.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(crate) struct NameConflict {
    /// `UNIQUIFY` appends something to the name; `FAIL`, the default, refuses.
    #[param(inline)]
    name_conflict_policy: Option<NameConflictPolicy>,
    /// What stands between the name and what is appended; `_` where nothing is said.
    uniquify_separator: Option<String>,
    /// A counter, or random letters and digits, which is the default.
    #[param(inline)]
    uniquify_strategy: Option<UniquifyStrategy>,
}

#[derive(ToSchema)]
#[schema(rename_all = "UPPERCASE")]
pub(crate) enum NameConflictPolicy {
    Fail,
    Uniquify,
}

#[derive(ToSchema)]
#[schema(rename_all = "UPPERCASE")]
pub(crate) enum UniquifyStrategy {
    Random,
    Incremental,
}

/// Which keys.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(crate) struct Keys {
    /// The keys, with commas between them. Without any: all keys.
    keys: Option<String>,
    /// One key; may be repeated, for keys with commas. Wins over `keys`.
    key: Option<Vec<String>>,
}

/// Which keys, where some must be named.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(crate) struct NamedKeys {
    /// The keys, with commas between them. Either these or `key` must be given.
    keys: Option<String>,
    /// One key; may be repeated, for keys with commas. Wins over `keys`.
    key: Option<Vec<String>>,
}

/// How values are written.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(crate) struct Typing {
    /// Values with their JSON type; otherwise all are texts.
    #[param(default = false)]
    use_strict_data_types: Option<bool>,
}

/// Which points of a history.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(crate) struct HistoryFilter {
    /// Length of a bucket in milliseconds; 0 for the points themselves.
    #[param(default = 0, minimum = 0)]
    interval: Option<i64>,
    /// Buckets of so many milliseconds, or those of the calendar.
    #[param(inline)]
    interval_type: Option<IntervalType>,
    /// Of buckets of the calendar: the time zone, such as `Europe/Kyiv`; UTC where nothing is said.
    time_zone: Option<String>,
    /// Points per key, where they are not aggregated.
    #[param(default = 100, minimum = 1)]
    limit: Option<u64>,
    /// What a bucket gives.
    #[param(inline)]
    agg: Option<AggregationName>,
    /// Oldest or newest first, where points are not aggregated; newest where nothing is said.
    #[param(inline)]
    order_by: Option<SortOrder>,
}

/// What of time series is deleted.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(crate) struct ErasureQuery {
    /// Everything of these keys; otherwise a range must be given.
    #[param(default = false)]
    delete_all_data_for_keys: Option<bool>,
    /// From this time on, in milliseconds since 1970.
    start_ts: Option<i64>,
    /// Up to but without this time, in milliseconds since 1970.
    end_ts: Option<i64>,
    /// A latest value within the range is deleted as well.
    #[param(default = true)]
    delete_latest: Option<bool>,
    /// A latest value that is deleted is replaced by the one before.
    #[param(default = false)]
    rewrite_latest_if_deleted: Option<bool>,
}

#[derive(ToSchema)]
#[schema(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum IntervalType {
    Milliseconds,
    Week,
    WeekIso,
    Month,
    Quarter,
}

#[derive(ToSchema)]
#[schema(rename_all = "UPPERCASE")]
pub(crate) enum AggregationName {
    Min,
    Max,
    Avg,
    Sum,
    Count,
    None,
}

/// A range that must be given.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(crate) struct TimeRange {
    /// From this time on, in milliseconds since 1970.
    start_ts: i64,
    /// Up to but without this time, in milliseconds since 1970.
    end_ts: i64,
}

/// A range that may be given.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(crate) struct OptionalTimeRange {
    /// From this time on, in milliseconds since 1970.
    start_ts: Option<i64>,
    /// Up to this time, in milliseconds since 1970.
    end_ts: Option<i64>,
}

/// Which dead letters.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(crate) struct LetterQuery {
    /// Only those of the device with this name.
    device_name: Option<String>,
    /// Only those of devices of the profile with this name.
    device_profile_name: Option<String>,
    /// Only those that this codec was to decode.
    #[param(max_length = 64, pattern = "^([a-z0-9][a-z0-9._-]*)?$")]
    codec: Option<String>,
    /// Only those that failed at this stage.
    #[param(inline)]
    stage: Option<crate::openapi::schemas::Stage>,
    /// Only those received from this time on, in milliseconds since 1970.
    since: Option<i64>,
    /// Only those received up to this time, in milliseconds since 1970.
    until: Option<i64>,
}

/// The device that speaks.
#[derive(IntoParams)]
#[into_params(parameter_in = Path, rename_all = "camelCase")]
pub(crate) struct TokenPath {
    /// The access token of the device.
    token: String,
}

/// How long a device waits.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(crate) struct Poll {
    /// How long to wait, in milliseconds: 60,000 where it is 0 or absent, 300,000 at most.
    timeout: Option<i64>,
}

/// Which part of a package a device wants.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(crate) struct PackagePart {
    /// Title of the package that the device wants.
    title: String,
    /// Version of that package.
    version: String,
    /// Bytes of a part; the whole file where it is 0 or absent.
    size: Option<u64>,
    /// Number of the part, from 0.
    chunk: Option<u32>,
}
