//! `fleet.toml`: profiles, devices and credentials declared in a file, in the words of the REST shapes.
//!
//! Applied at start and again whenever the file changes. What is declared is made or changed; what is not declared is
//! left alone, so a site can mix a file with REST. A file with one mistake changes nothing.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context, bail};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Deserialize;
use serde_json::json;
use wireglot_codec::CodecTable;
use wireglot_device::{CredentialsDraft, DeviceSpec, Devices, Ensured, ProfileDraft};
use wireglot_model::{Actor, RateLimits};

/// Devices that are made at the same time, so that they share commits.
const CONCURRENT_DEVICES: usize = 256;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "rateLimits")]
    rate_limits: Option<RateLimits>,
    #[serde(default)]
    profile: Vec<ProfileEntry>,
    #[serde(default)]
    device: Vec<DeviceEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ProfileEntry {
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    default: bool,
    #[serde(default = "default_transport")]
    transport_type: String,
    #[serde(default)]
    transport_configuration: toml::Table,
    retention_days: Option<u32>,
    raw_retention_hours: Option<u32>,
    dead_letters: Option<toml::Table>,
    provision_device_key: Option<String>,
    provision_configuration: Option<toml::Table>,
    client_rpc: Option<toml::Table>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceEntry {
    name: String,
    label: Option<String>,
    profile: Option<String>,
    #[serde(default)]
    gateway: bool,
    credentials: Option<CredentialsEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, tag = "credentialsType")]
enum CredentialsEntry {
    #[serde(rename = "ACCESS_TOKEN")]
    AccessToken {
        #[serde(rename = "credentialsId")]
        token: String,
    },
    #[serde(rename = "MQTT_BASIC", rename_all = "camelCase")]
    MqttBasic { client_id: Option<String>, user_name: Option<String>, password: Option<String> },
    #[serde(rename = "X509_CERTIFICATE")]
    X509 {
        #[serde(rename = "credentialsValue")]
        certificate: String,
    },
}

/// What applying a file did.
#[derive(Default, Debug, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) created: usize,
    pub(crate) updated: usize,
    pub(crate) unchanged: usize,
}

impl Applied {
    fn count(&mut self, ensured: Ensured) {
        match ensured {
            Ensured::Created => self.created += 1,
            Ensured::Updated => self.updated += 1,
            Ensured::Unchanged => self.unchanged += 1,
        }
    }
}

/// A fleet that was read and makes sense by itself.
#[derive(Debug)]
pub(crate) struct Fleet {
    /// The file's name, for the audit log.
    file: String,
    /// Where the file declares them; it declares all of them or none.
    rate_limits: Option<RateLimits>,
    profiles: Vec<ProfileDraft>,
    devices: Vec<DeviceSpec>,
}

/// Reads and checks the file without touching anything.
pub(crate) fn read(path: &Path) -> anyhow::Result<Fleet> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("The fleet file {} cannot be read.", path.display()))?;
    let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    parse(&text, file).with_context(|| format!("The fleet file {} was not applied.", path.display()))
}

fn parse(text: &str, name: String) -> anyhow::Result<Fleet> {
    let file: File = toml::from_str(text)?;
    let mut names = HashSet::new();
    for profile in &file.profile {
        if !names.insert(profile.name.clone()) {
            bail!("profile `{}` is declared twice", profile.name);
        }
    }
    let mut devices = HashSet::new();
    for device in &file.device {
        if !devices.insert(device.name.as_str()) {
            bail!("device `{}` is declared twice", device.name);
        }
    }
    let profiles = file.profile.into_iter().map(draft).collect::<anyhow::Result<_>>()?;
    let devices = file.device.into_iter().map(spec).collect::<anyhow::Result<_>>()?;
    Ok(Fleet { file: name, rate_limits: file.rate_limits, profiles, devices })
}

fn draft(entry: ProfileEntry) -> anyhow::Result<ProfileDraft> {
    let name = entry.name.clone();
    let mut transport = serde_json::to_value(entry.transport_configuration)?;
    if let Some(members) = transport.as_object_mut() {
        members.entry("type").or_insert_with(|| json!(entry.transport_type));
    }
    let shape = json!({
        "name": entry.name,
        "description": entry.description,
        "default": entry.default,
        "type": "DEFAULT",
        "transportType": entry.transport_type,
        "retentionDays": entry.retention_days,
        "rawRetentionHours": entry.raw_retention_hours,
        "deadLetters": entry.dead_letters,
        "provisionDeviceKey": entry.provision_device_key,
        "clientRpc": entry.client_rpc,
        "profileData": {
            "configuration": {"type": "DEFAULT"},
            "transportConfiguration": transport,
            "provisionConfiguration": entry.provision_configuration,
        },
    });
    let draft = wireglot_rest::profile_draft(&shape);
    let draft = draft.map_err(|reason| anyhow::anyhow!("profile `{name}`: {reason}"))?;
    draft.check_schemas().with_context(|| format!("profile `{name}`"))?;
    Ok(draft)
}

fn spec(entry: DeviceEntry) -> anyhow::Result<DeviceSpec> {
    let credentials = entry.credentials.map(|credentials| match credentials {
        CredentialsEntry::AccessToken { token } => CredentialsDraft::AccessToken(token),
        CredentialsEntry::MqttBasic { client_id, user_name, password } => {
            CredentialsDraft::MqttBasic { client_id, user_name, password }
        }
        CredentialsEntry::X509 { certificate } => CredentialsDraft::X509 { certificate },
    });
    let checked = credentials.as_ref().map_or(Ok(()), CredentialsDraft::check_certificate);
    checked.with_context(|| {
        let is_to_be = "`credentialsValue` is to be an X.509 certificate in PEM, or the base64 of its DER";
        format!("device `{}`: {is_to_be}", entry.name)
    })?;
    Ok(DeviceSpec {
        name: entry.name,
        label: entry.label,
        profile: entry.profile,
        gateway: entry.gateway,
        credentials,
    })
}

fn default_transport() -> String {
    "DEFAULT".into()
}

impl Fleet {
    /// Makes it so. Stops at the first thing that cannot be; what was made before stays.
    pub(crate) async fn apply(self, devices: &Devices, codecs: &CodecTable) -> anyhow::Result<Applied> {
        let devices = &devices.acting_for(Actor::File(self.file));
        let now = wireglot_device::now();
        let mut applied = Applied::default();
        let declared: HashSet<String> = self.profiles.iter().map(|profile| profile.name.clone()).collect();
        for device in &self.devices {
            if let Some(profile) = &device.profile
                && !declared.contains(profile)
                && devices.profile_by_name(profile).is_none()
            {
                bail!(
                    "device `{}` names profile `{profile}`, which is neither declared nor stored",
                    device.name
                );
            }
        }
        if let Some(limits) = self.rate_limits {
            let is_changed = devices.rate_limits() != limits;
            devices.set_rate_limits(limits, now).await.context("rateLimits")?;
            applied.count(if is_changed { Ensured::Updated } else { Ensured::Unchanged });
        }
        for profile in self.profiles {
            let name = profile.name.clone();
            let stored = devices.profile_by_name(&name);
            let profile = wireglot_rest::pinned(profile, stored, codecs)
                .await
                .with_context(|| format!("profile `{name}`"))?;
            let ensured =
                devices.ensure_profile(profile, now).await.with_context(|| format!("profile `{name}`"))?;
            applied.count(ensured);
        }
        let ensured: Vec<Ensured> = stream::iter(self.devices)
            .map(|device| async move {
                let name = device.name.clone();
                devices.ensure_device(device, now).await.with_context(|| format!("device `{name}`"))
            })
            .buffer_unordered(CONCURRENT_DEVICES)
            .try_collect()
            .await?;
        ensured.into_iter().for_each(|one| applied.count(one));
        Ok(applied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, words: &str) {
        let error = format!("{:#}", parse(text, "fleet.toml".into()).expect_err(text));
        assert!(error.contains(words), "{text:?}: {error:?} has no {words:?}");
    }

    #[test]
    fn a_fleet_speaks_the_words_of_rest() {
        let fleet = parse(
            r#"
            [[profile]]
            name = "tag"
            transportType = "MQTT"
            provisionDeviceKey = "k"
            provisionConfiguration = { type = "ALLOW_CREATE_NEW_DEVICES", provisionDeviceSecret = "s" }
            [profile.transportConfiguration]
            deviceTelemetryTopic = "tag/+"
            [profile.transportConfiguration.transportPayloadTypeConfiguration]
            transportPayloadType = "CODEC"
            codec = "ruuvi-df5"
            settings = { a = 1 }
            onFailure = "accept"
            limits = { deadlineMs = 50, memoryMiB = 8 }
            [[device]]
            name = "tag-1"
            profile = "tag"
            [device.credentials]
            credentialsType = "ACCESS_TOKEN"
            credentialsId = "T"
            "#,
            "fleet.toml".into(),
        )
        .expect("valid");
        let profile = fleet.profiles.first().expect("one profile");
        let wireglot_model::TransportKind::Mqtt(mqtt) = &profile.transport else { panic!("not MQTT") };
        assert_eq!(mqtt.telemetry_topic, "tag/+");
        let new = wireglot_model::Provisioning::CreateNew { key: "k".into(), secret: "s".into() };
        assert_eq!(profile.provisioning, new);
        assert_eq!(mqtt.on_failure, wireglot_model::OnFailure::Accept);
        let limits: Vec<_> = mqtt.limits.set_ones().collect();
        assert_eq!(limits, [("deadlineMs", 50), ("memoryMiB", 8)]);
        let device = fleet.devices.first().expect("one device");
        assert_eq!(device.credentials, Some(CredentialsDraft::AccessToken("T".into())));
    }

    #[test]
    fn the_network_server_of_the_manual_is_a_fleet() {
        let manual = include_str!("../../docs/operating-codecs.md");
        let (_, rest) = manual.split_once("\n## Network servers").expect("the chapter");
        let (_, rest) = rest.split_once("```toml\n").expect("a block of TOML");
        let (text, _) = rest.split_once("```").expect("its end");
        let fleet = parse(text, "fleet.toml".into()).expect("valid");
        let wireglot_model::TransportKind::Mqtt(mqtt) = &fleet.profiles.first().expect("a profile").transport
        else {
            panic!("not MQTT")
        };
        let wireglot_model::PayloadKind::Codec { wrapping: Some(wrapping), .. } = mqtt.payload else {
            panic!("no envelope")
        };
        assert_eq!(wrapping.envelope, wireglot_model::Envelope::Chirpstack);
        assert_eq!(wrapping.create_max, 500);
        assert_eq!(fleet.devices.len(), 1);
    }

    const PEM: &str = include_str!("../device/src/tests/version-1.pem");

    fn with_certificate(text: &str) -> String {
        let credentials = format!("credentialsType = \"X509_CERTIFICATE\"\ncredentialsValue = '''{text}'''");
        format!("[[device]]\nname = \"pump\"\n[device.credentials]\n{credentials}\n")
    }

    #[test]
    fn a_device_may_have_a_certificate() {
        let base64: String = PEM.lines().filter(|line| !line.starts_with("-----")).collect();
        for text in [PEM, &base64, &format!("Subject: old-device\n{PEM}")] {
            let fleet = parse(&with_certificate(text), "fleet.toml".into()).expect(text);
            let device = fleet.devices.first().expect("one device");
            assert_eq!(device.credentials, Some(CredentialsDraft::X509 { certificate: text.into() }));
        }
        let cut: String = PEM.lines().filter(|line| !line.starts_with("MIIC")).collect::<Vec<_>>().join("\n");
        let key = PEM.replace("CERTIFICATE", "PRIVATE KEY").replace("MIIC", "AAAA");
        for text in ["", "pump", &cut, &key, "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----"] {
            refused(
                &with_certificate(text),
                "device `pump`: `credentialsValue` is to be an X.509 certificate",
            );
        }
        let unnamed = "[[device]]\nname = \"a\"\ncredentials = { credentialsType = \"X509_CERTIFICATE\" }";
        refused(unnamed, "missing field `credentialsValue`");
    }

    #[test]
    fn a_fleet_may_declare_the_rate_limits() {
        let text = "[rateLimits]\ntransportDeviceMsgRateLimit = \"200:1,6000:60\"";
        let limits = parse(text, "fleet.toml".into()).expect("valid").rate_limits.expect("declared");
        let messages = limits.device.messages.as_ref().map(wireglot_model::RateLimit::text);
        assert_eq!(messages, Some("200:1,6000:60"));
        assert!(parse("", "fleet.toml".into()).expect("valid").rate_limits.is_none());
        refused("[rateLimits]\ntransportDeviceMsgRateLimit = \"often\"", "'often' is not a rate limit");
        refused("[rateLimits]\ntransportDeviceRateLimit = \"1:1\"", "transportDeviceRateLimit");
    }

    #[test]
    fn mistakes_are_named() {
        refused("[[device]]\nname = \"a\"\n[[device]]\nname = \"a\"", "device `a` is declared twice");
        refused("[[profile]]\nname = \"a\"\n[[profile]]\nname = \"a\"", "profile `a` is declared twice");
        refused("[[device]]\nnmae = \"a\"", "line 2");
        refused("[[profile]]\nname = \"a\"\ntransportType = \"MQTTT\"", "profile `a`");
        let limited = "[[profile]]\nname = \"a\"\ntransportType = \"MQTT\"\n\
            [profile.transportConfiguration.transportPayloadTypeConfiguration]\n\
            transportPayloadType = \"CODEC\"\ncodec = \"c\"\nlimits = { memoryMiB = 257 }";
        refused(limited, "the limit 'memoryMiB' is a whole number from 1 to 256");
    }
}
