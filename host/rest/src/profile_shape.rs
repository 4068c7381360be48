//! The shape of a device profile in JSON, here and in `fleet.toml` (device profile §1.1, with the payload kind CODEC).
//!
//! Members that Wireglot does not act on are kept as they came and given back, so that a client which reads, changes
//! and saves a profile loses nothing.

use serde_json::{Map, Value as Json, json};
use wireglot_device::{ProfileDraft, ProfileState};
use wireglot_model::limits::{
    DEAD_LETTER_BYTES_MAX, DEAD_LETTERS_MAX, PROFILE_DEAD_LETTER_DAYS_MAX, RAW_RETENTION_HOURS_MAX,
};
use wireglot_model::profile::{ATTRIBUTES_TOPIC, MqttTransport, TELEMETRY_TOPIC};
use wireglot_model::{
    CarriedNames, CodecName, DeadLetterBounds, Envelope, OnFailure, OtaPackageId, OtaTargets, PayloadKind,
    Profile, ProfileLimits, TenantId, TransportKind, VersionPin, Wrapping,
};

use crate::profile_schemas::{read_compatibility, read_schemas, write_compatibility, write_schemas};
use crate::shape::{entity, package_id};
use crate::{client_rpc_shape, provision_shape, sparkplug_shape};

/// Why a JSON value is not a profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidShape(String);

/// Members of a profile that the server sets or that the draft holds; the rest is kept as it came.
const MODELLED: [&str; 13] = [
    "id",
    "createdTime",
    "tenantId",
    "name",
    "description",
    "default",
    "type",
    "transportType",
    "provisionType",
    "provisionDeviceKey",
    "version",
    "firmwareId",
    "softwareId",
];
const MODELLED_PAYLOAD: [&str; 16] = [
    "transportPayloadType",
    "codec",
    "codecHash",
    "settings",
    "onFailure",
    "isolation",
    "limits",
    "envelope",
    "carriedDeviceNames",
    "carriedDevicesMax",
    "deviceTelemetryProtoSchema",
    "deviceAttributesProtoSchema",
    "deviceRpcRequestProtoSchema",
    "deviceRpcResponseProtoSchema",
    "enableCompatibilityWithJsonPayloadFormat",
    "useJsonPayloadFormatForDefaultDownlinkTopics",
];
const MODELLED_TRANSPORT: [&str; 8] = [
    "type",
    "deviceTelemetryTopic",
    "deviceAttributesTopic",
    "deviceAttributesSubscribeTopic",
    "sendAckOnValidationException",
    sparkplug_shape::SPARKPLUG,
    sparkplug_shape::ATTRIBUTE_METRICS,
    sparkplug_shape::WILL_QOS_0,
];
/// Our own members: telemetry older than so many days is removed;
const RETENTION: &str = "retentionDays";
/// frames are kept as they came for so many hours;
const RAW_RETENTION: &str = "rawRetentionHours";
/// and payloads that were not decoded within these bounds.
const DEAD_LETTERS: &str = "deadLetters";
const NO_FRAMES: &str =
    "[Transport Configuration] an 'envelope' holds frames, so 'transportPayloadType' is CODEC!";
const TRANSPORT: &str = "/profileData/transportConfiguration";
const PAYLOAD: &str = "/profileData/transportConfiguration/transportPayloadTypeConfiguration";

/// Reads a profile.
pub fn profile_draft(shape: &Json) -> Result<ProfileDraft, InvalidShape> {
    if !shape.is_object() {
        return Err(invalid("A device profile is a JSON object"));
    }
    match text(shape, "type")? {
        None => return Err(invalid("Device profile type should be specified!")),
        Some("DEFAULT") => {}
        Some(other) => return Err(invalid(format!("Device profile type '{other}' is not supported!"))),
    }
    let kind = text(shape, "transportType")?;
    let kind = kind.ok_or_else(|| invalid("Device profile transport type should be specified!"))?;
    let nothing = json!({});
    let transport = shape.pointer(TRANSPORT).filter(|transport| !transport.is_null()).unwrap_or(&nothing);
    if text(transport, "type")?.is_some_and(|stated| stated != kind) {
        return Err(invalid(
            "Device profile transport type and the type of its transport configuration differ!",
        ));
    }
    let is_default = match shape.get("default") {
        None | Some(Json::Null) => false,
        Some(value) => value.as_bool().ok_or_else(|| invalid("'default' is true or false"))?,
    };
    Ok(ProfileDraft {
        name: text(shape, "name")?.unwrap_or_default().to_owned(),
        description: text(shape, "description")?.unwrap_or_default().to_owned(),
        transport: read_transport(kind, transport)?,
        is_default,
        passthrough: passthrough(shape, kind).to_string(),
        retention_days: retention_days(shape)?,
        raw_retention_hours: raw_retention_hours(shape)?,
        dead_letters: dead_letters(shape)?,
        provisioning: provision_shape::read(shape)?,
        ota: OtaTargets { firmware: package(shape, "firmwareId")?, software: package(shape, "softwareId")? },
        client_rpc: client_rpc_shape::read(shape)?,
    })
}

fn read_transport(kind: &str, transport: &Json) -> Result<TransportKind, InvalidShape> {
    match kind {
        "DEFAULT" => Ok(TransportKind::Default),
        "MQTT" => {
            let topic = |name, default: &str| -> Result<String, InvalidShape> {
                let given = text(transport, name)?.filter(|topic| !topic.trim().is_empty());
                Ok(given.unwrap_or(default).to_owned())
            };
            let nothing = json!({});
            let payload =
                transport.get("transportPayloadTypeConfiguration").filter(|payload| !payload.is_null());
            let payload = payload.unwrap_or(&nothing);
            Ok(TransportKind::Mqtt(MqttTransport {
                telemetry_topic: topic("deviceTelemetryTopic", TELEMETRY_TOPIC)?,
                attributes_topic: topic("deviceAttributesTopic", ATTRIBUTES_TOPIC)?,
                attributes_subscribe_topic: topic("deviceAttributesSubscribeTopic", ATTRIBUTES_TOPIC)?,
                payload: read_payload(payload)?,
                on_failure: read_on_failure(payload)?,
                acks_refused: read_acks_refused(transport)?,
                limits: read_limits(payload)?,
                schemas: read_schemas(payload)?,
                sparkplug: sparkplug_shape::read(transport)?,
            }))
        }
        "COAP" | "LWM2M" | "SNMP" => Ok(TransportKind::Other(kind.to_owned())),
        other => Err(invalid(format!("Device profile transport type '{other}' is not supported!"))),
    }
}

fn read_acks_refused(transport: &Json) -> Result<bool, InvalidShape> {
    match transport.get("sendAckOnValidationException") {
        None | Some(Json::Null) => Ok(false),
        Some(value) => {
            value.as_bool().ok_or_else(|| invalid("'sendAckOnValidationException' is true or false"))
        }
    }
}

fn read_payload(payload: &Json) -> Result<PayloadKind, InvalidShape> {
    match text(payload, "transportPayloadType")? {
        None | Some("JSON") => match read_wrapping(payload)? {
            None => Ok(PayloadKind::Json),
            Some(_) => Err(invalid(NO_FRAMES)),
        },
        Some("PROTOBUF") => match read_wrapping(payload)? {
            None => Ok(PayloadKind::Protobuf(read_compatibility(payload)?)),
            Some(_) => Err(invalid(NO_FRAMES)),
        },
        Some("CODEC") => {
            let name = text(payload, "codec")?;
            let name = name.ok_or_else(|| invalid("[Transport Configuration] 'codec' names the codec!"))?;
            let (name, pin) = read_pin(name)?;
            let codec = CodecName::parse(name).map_err(|error| {
                invalid(format!("[Transport Configuration] invalid codec '{name}': {error}"))
            })?;
            let settings = match payload.get("settings") {
                None | Some(Json::Null) => json!({}),
                Some(settings) => settings.clone(),
            };
            let isolate_messages = match text(payload, "isolation")? {
                None | Some("instance") => false,
                Some("message") => true,
                Some(other) => {
                    let known = "'instance' and 'message'";
                    return Err(invalid(format!(
                        "[Transport Configuration] isolation is {known}, not '{other}'"
                    )));
                }
            };
            let (settings, wrapping) = (settings.to_string(), read_wrapping(payload)?);
            Ok(PayloadKind::Codec { codec, pin, settings, isolate_messages, wrapping })
        }
        Some(other) => {
            Err(invalid(format!("[Transport Configuration] payloads of type '{other}' are not supported!")))
        }
    }
}

/// `NAME`, or `NAME@VERSION` for a profile that stays with one version.
fn read_pin(text: &str) -> Result<(&str, Option<VersionPin>), InvalidShape> {
    match text.split_once('@') {
        None => Ok((text, None)),
        Some((_, "")) => {
            Err(invalid(format!("[Transport Configuration] '{text}' names no version behind the '@'")))
        }
        Some((name, selector)) => Ok((name, Some(VersionPin { selector: selector.to_owned(), hash: None }))),
    }
}

fn read_wrapping(payload: &Json) -> Result<Option<Wrapping>, InvalidShape> {
    let envelope = match text(payload, "envelope")? {
        None | Some("none") => None,
        Some("chirpstack") => Some(Envelope::Chirpstack),
        Some("tts") => Some(Envelope::Tts),
        Some(other) => {
            let known = "'none', 'chirpstack' and 'tts'";
            return Err(invalid(format!("[Transport Configuration] envelope is {known}, not '{other}'")));
        }
    };
    let names = match text(payload, "carriedDeviceNames")? {
        None => None,
        Some("name") => Some(CarriedNames::Name),
        Some("devEui") => Some(CarriedNames::DevEui),
        Some(other) => {
            let known = "'name' and 'devEui'";
            return Err(invalid(format!(
                "[Transport Configuration] carriedDeviceNames is {known}, not '{other}'"
            )));
        }
    };
    let create_max = match payload.get("carriedDevicesMax") {
        None | Some(Json::Null) => None,
        Some(max) => Some(max.as_u64().and_then(|max| u32::try_from(max).ok()).ok_or_else(|| {
            invalid("[Transport Configuration] 'carriedDevicesMax' is a whole number from 0, or null")
        })?),
    };
    match envelope {
        Some(envelope) => Ok(Some(Wrapping {
            envelope,
            names: names.unwrap_or_default(),
            create_max: create_max.unwrap_or_default(),
        })),
        None if names.is_some() || create_max.is_some() => Err(invalid(
            "[Transport Configuration] 'carriedDeviceNames' and 'carriedDevicesMax' need an 'envelope'!",
        )),
        None => Ok(None),
    }
}

fn read_on_failure(payload: &Json) -> Result<OnFailure, InvalidShape> {
    match text(payload, "onFailure")? {
        None | Some("refuse") => Ok(OnFailure::Refuse),
        Some("accept") => Ok(OnFailure::Accept),
        Some("disconnect") => Ok(OnFailure::Disconnect),
        Some(other) => {
            let known = "'refuse', 'accept' and 'disconnect'";
            Err(invalid(format!("[Transport Configuration] onFailure is {known}, not '{other}'")))
        }
    }
}

/// The limits of the codec; one that is null is not set.
fn read_limits(payload: &Json) -> Result<ProfileLimits, InvalidShape> {
    let mut limits = ProfileLimits::default();
    let members = match payload.get("limits") {
        None | Some(Json::Null) => return Ok(limits),
        Some(Json::Object(members)) => members,
        Some(_) => return Err(invalid("[Transport Configuration] limits is an object")),
    };
    if !members.is_empty() && text(payload, "transportPayloadType")? != Some("CODEC") {
        return Err(invalid("[Transport Configuration] only payloads of type 'CODEC' have limits"));
    }
    for (word, value) in members.iter().filter(|(_, value)| !value.is_null()) {
        let refused = |error| invalid(format!("[Transport Configuration] limits: {error}"));
        limits.set(word, value.as_u64()).map_err(refused)?;
    }
    Ok(limits)
}

/// The package that a member names by its id, `{"entityType": "OTA_PACKAGE", "id": …}`.
fn package(shape: &Json, name: &str) -> Result<Option<OtaPackageId>, InvalidShape> {
    let id = match shape.get(name) {
        None | Some(Json::Null) => return Ok(None),
        Some(reference) => reference.get("id").and_then(Json::as_str).and_then(|id| id.parse().ok()),
    };
    id.map(Some).ok_or_else(|| invalid(format!("'{name}' is the id of a package, or null")))
}

fn retention_days(shape: &Json) -> Result<Option<u32>, InvalidShape> {
    match shape.get(RETENTION) {
        None | Some(Json::Null) => Ok(None),
        Some(days) => match days.as_u64().and_then(|days| u32::try_from(days).ok()) {
            Some(days) if days > 0 => Ok(Some(days)),
            Some(_) | None => Err(invalid("'retentionDays' is a whole number from 1, or null")),
        },
    }
}

fn raw_retention_hours(shape: &Json) -> Result<Option<u32>, InvalidShape> {
    match shape.get(RAW_RETENTION) {
        None | Some(Json::Null) => Ok(None),
        Some(hours) => {
            let in_range = |hours: &u32| (1..=RAW_RETENTION_HOURS_MAX).contains(hours);
            let hours = hours.as_u64().and_then(|hours| u32::try_from(hours).ok()).filter(in_range);
            let wrong =
                format!("'{RAW_RETENTION}' is a whole number from 1 to {RAW_RETENTION_HOURS_MAX}, or null");
            hours.map(Some).ok_or_else(|| invalid(wrong))
        }
    }
}

fn dead_letters(shape: &Json) -> Result<DeadLetterBounds, InvalidShape> {
    let default = DeadLetterBounds::default();
    let bounds = match shape.get(DEAD_LETTERS) {
        None | Some(Json::Null) => return Ok(default),
        Some(Json::Object(bounds)) => bounds,
        Some(_) => return Err(invalid(format!("'{DEAD_LETTERS}' is an object"))),
    };
    if let Some(unknown) =
        bounds.keys().find(|name| !["maxCount", "maxBytes", "maxAgeDays"].contains(&name.as_str()))
    {
        return Err(invalid(format!(
            "'{DEAD_LETTERS}' has 'maxCount', 'maxBytes' and 'maxAgeDays', not '{unknown}'"
        )));
    }
    let bound = |name: &str, default: u64, max: u64| match bounds.get(name) {
        None | Some(Json::Null) => Ok(default),
        Some(value) => value
            .as_u64()
            .filter(|value| *value <= max)
            .ok_or_else(|| invalid(format!("'{DEAD_LETTERS}.{name}' is a whole number from 0 to {max}"))),
    };
    let small =
        |value: u64| u32::try_from(value).map_err(|_| invalid(format!("'{DEAD_LETTERS}' is out of range")));
    Ok(DeadLetterBounds {
        count_max: small(bound("maxCount", u64::from(default.count_max), DEAD_LETTERS_MAX as u64)?)?,
        bytes_max: bound("maxBytes", default.bytes_max, DEAD_LETTER_BYTES_MAX as u64)?,
        age_days_max: small(bound(
            "maxAgeDays",
            u64::from(default.age_days_max),
            u64::from(PROFILE_DEAD_LETTER_DAYS_MAX),
        )?)?,
    })
}

/// What is kept as it came.
fn passthrough(shape: &Json, kind: &str) -> Json {
    let mut kept = shape.clone();
    remove(&mut kept, "", &MODELLED);
    remove(&mut kept, "", &[RETENTION, RAW_RETENTION, DEAD_LETTERS, client_rpc_shape::CLIENT_RPC]);
    remove(&mut kept, "/profileData", &["provisionConfiguration"]);
    if kind == "MQTT" {
        remove(&mut kept, TRANSPORT, &MODELLED_TRANSPORT);
        remove(&mut kept, PAYLOAD, &MODELLED_PAYLOAD);
    }
    kept
}

fn remove(shape: &mut Json, pointer: &str, members: &[&str]) {
    if let Some(object) = shape.pointer_mut(pointer).and_then(Json::as_object_mut) {
        object.retain(|name, _| !members.contains(&name.as_str()));
    }
}

/// Writes a profile.
pub(crate) fn profile(state: &ProfileState, tenant: TenantId) -> Json {
    let profile = &state.profile;
    let mut shape = defaults();
    // Whoever saved the profile has written this text from JSON.
    overlay(&mut shape, serde_json::from_str(&profile.passthrough).unwrap_or(Json::Null));
    overlay(&mut shape, modelled(profile, tenant));
    shape
}

/// Writes the short form of a profile.
pub(crate) fn profile_info(state: &ProfileState, tenant: TenantId) -> Json {
    let full = profile(state, tenant);
    let names = ["id", "name", "image", "defaultDashboardId", "type", "transportType", "tenantId"];
    let members = names.iter().filter_map(|name| Some(((*name).to_owned(), full.get(*name)?.clone())));
    Json::Object(members.collect())
}

/// What a profile has that nobody said anything about.
fn defaults() -> Json {
    json!({
        "image": null,
        "defaultRuleChainId": null,
        "defaultDashboardId": null,
        "defaultQueueName": null,
        "defaultEdgeRuleChainId": null,
        "firmwareId": null,
        "softwareId": null,
        "externalId": null,
        "profileData": {
            "configuration": {"type": "DEFAULT"},
            "alarms": null,
        },
    })
}

/// `transportType`
pub(crate) fn transport_word(profile: &Profile) -> &str {
    match &profile.transport {
        TransportKind::Default => "DEFAULT",
        TransportKind::Mqtt(_) => "MQTT",
        TransportKind::Other(kind) => kind,
    }
}

fn modelled(profile: &Profile, tenant: TenantId) -> Json {
    let (kind, transport) = match &profile.transport {
        TransportKind::Default => ("DEFAULT", json!({"type": "DEFAULT"})),
        TransportKind::Mqtt(mqtt) => ("MQTT", write_mqtt(mqtt)),
        TransportKind::Other(kind) => (kind.as_str(), json!({"type": kind})),
    };
    json!({
        "id": entity("DEVICE_PROFILE", profile.id),
        "createdTime": profile.created.0,
        "tenantId": entity("TENANT", tenant),
        "name": profile.name,
        "description": profile.description,
        "default": profile.is_default,
        "type": "DEFAULT",
        "transportType": kind,
        "version": profile.version,
        RETENTION: profile.retention_days,
        RAW_RETENTION: profile.raw_retention_hours,
        "firmwareId": package_id(profile.ota.firmware),
        "softwareId": package_id(profile.ota.software),
        DEAD_LETTERS: {
            "maxCount": profile.dead_letters.count_max,
            "maxBytes": profile.dead_letters.bytes_max,
            "maxAgeDays": profile.dead_letters.age_days_max,
        },
        "provisionType": provision_shape::kind(&profile.provisioning),
        "provisionDeviceKey": profile.provisioning.key(),
        client_rpc_shape::CLIENT_RPC: client_rpc_shape::write(&profile.client_rpc),
        "profileData": {
            "transportConfiguration": transport,
            "provisionConfiguration": provision_shape::configuration(&profile.provisioning),
        },
    })
}

fn write_mqtt(mqtt: &MqttTransport) -> Json {
    let on_failure = match mqtt.on_failure {
        OnFailure::Refuse => "refuse",
        OnFailure::Accept => "accept",
        OnFailure::Disconnect => "disconnect",
    };
    let payload = match &mqtt.payload {
        PayloadKind::Json => json!({"transportPayloadType": "JSON", "onFailure": on_failure}),
        PayloadKind::Protobuf(compatibility) => {
            let mut payload = json!({"transportPayloadType": "PROTOBUF", "onFailure": on_failure});
            overlay(&mut payload, write_schemas(&mqtt.schemas));
            overlay(&mut payload, write_compatibility(*compatibility));
            payload
        }
        PayloadKind::Codec { codec, pin, settings, isolate_messages, wrapping } => {
            let mut payload = json!({
                "transportPayloadType": "CODEC",
                "codec": match pin {
                    None => codec.to_string(),
                    Some(pin) => format!("{codec}@{}", pin.selector),
                },
                "codecHash": pin.as_ref().and_then(|pin| pin.hash).map(|hash| hash.to_string()),
                "settings": serde_json::from_str::<Json>(settings).unwrap_or_else(|_| json!({})),
                "onFailure": on_failure,
                "isolation": if *isolate_messages { "message" } else { "instance" },
                "limits": mqtt.limits.set_ones().map(|(word, value)| (word.to_owned(), json!(value))).collect::<Map<_, _>>(),
            });
            overlay(&mut payload, write_wrapping(wrapping.as_ref()));
            if !mqtt.schemas.is_empty() {
                overlay(&mut payload, write_schemas(&mqtt.schemas));
            }
            payload
        }
    };
    json!({
        "type": "MQTT",
        "sendAckOnValidationException": mqtt.acks_refused,
        "deviceTelemetryTopic": mqtt.telemetry_topic,
        "deviceAttributesTopic": mqtt.attributes_topic,
        "deviceAttributesSubscribeTopic": mqtt.attributes_subscribe_topic,
        "transportPayloadTypeConfiguration": payload,
        sparkplug_shape::SPARKPLUG: mqtt.sparkplug.is_on,
        sparkplug_shape::ATTRIBUTE_METRICS: mqtt.sparkplug.attribute_metrics,
        sparkplug_shape::WILL_QOS_0: mqtt.sparkplug.will_qos_0,
    })
}

fn write_wrapping(wrapping: Option<&Wrapping>) -> Json {
    let Some(Wrapping { envelope, names, create_max }) = wrapping else {
        return json!({"envelope": "none"});
    };
    json!({
        "envelope": match envelope {
            Envelope::Chirpstack => "chirpstack",
            Envelope::Tts => "tts",
        },
        "carriedDeviceNames": match names {
            CarriedNames::Name => "name",
            CarriedNames::DevEui => "devEui",
        },
        "carriedDevicesMax": create_max,
    })
}

/// Lays `over` on `base`: objects member by member, anything else as a whole.
fn overlay(base: &mut Json, over: Json) {
    match (base, over) {
        (Json::Object(base), Json::Object(over)) => {
            for (name, value) in over {
                overlay_member(base, name, value);
            }
        }
        (_, Json::Null) => {}
        (base, over) => *base = over,
    }
}

fn overlay_member(base: &mut Map<String, Json>, name: String, value: Json) {
    match base.get_mut(&name) {
        Some(present) if present.is_object() && value.is_object() => overlay(present, value),
        Some(_) | None => {
            base.insert(name, value);
        }
    }
}

pub(crate) fn text<'a>(object: &'a Json, name: &str) -> Result<Option<&'a str>, InvalidShape> {
    match object.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(value) => value.as_str().map(Some).ok_or_else(|| invalid(format!("'{name}' is a text"))),
    }
}

pub(crate) fn invalid(reason: impl Into<String>) -> InvalidShape {
    InvalidShape(reason.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of the refusal, or what was understood.
    fn read(members: Json) -> Result<(Option<u32>, DeadLetterBounds), String> {
        let mut shape = json!({"name": "p", "type": "DEFAULT", "transportType": "DEFAULT"});
        overlay(&mut shape, members);
        let draft = profile_draft(&shape).map_err(|invalid| invalid.to_string())?;
        Ok((draft.raw_retention_hours, draft.dead_letters))
    }

    #[track_caller]
    fn refused(members: Json, words: &str) {
        let reason = read(members).expect_err(words);
        assert!(reason.contains(words), "{reason:?} has no {words:?}");
    }

    #[test]
    fn frames_are_kept_within_the_bounds_of_the_profile() {
        let default = DeadLetterBounds::default();
        assert_eq!(read(json!({})), Ok((None, default)));
        let largest = json!({
            "rawRetentionHours": RAW_RETENTION_HOURS_MAX,
            "deadLetters": {
                "maxCount": DEAD_LETTERS_MAX,
                "maxBytes": DEAD_LETTER_BYTES_MAX,
                "maxAgeDays": PROFILE_DEAD_LETTER_DAYS_MAX,
            },
        });
        let (hours, bounds) = read(largest).expect("each is in its range");
        assert_eq!((hours, bounds.count_max), (Some(RAW_RETENTION_HOURS_MAX), 100_000));
        assert_eq!(
            read(json!({"deadLetters": {"maxCount": 0}})),
            Ok((None, DeadLetterBounds { count_max: 0, ..default }))
        );
        refused(json!({"rawRetentionHours": 0}), "'rawRetentionHours' is a whole number from 1 to");
        refused(json!({"rawRetentionHours": RAW_RETENTION_HOURS_MAX + 1}), "'rawRetentionHours'");
        refused(json!({"deadLetters": 3}), "'deadLetters' is an object");
        refused(json!({"deadLetters": {"maxSize": 3}}), "not 'maxSize'");
        refused(json!({"deadLetters": {"maxCount": DEAD_LETTERS_MAX + 1}}), "'deadLetters.maxCount'");
        refused(json!({"deadLetters": {"maxBytes": DEAD_LETTER_BYTES_MAX + 1}}), "'deadLetters.maxBytes'");
        refused(
            json!({"deadLetters": {"maxAgeDays": PROFILE_DEAD_LETTER_DAYS_MAX + 1}}),
            "'deadLetters.maxAgeDays'",
        );
    }
}
