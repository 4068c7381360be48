//! Device profiles: the rules for saving one (device profile §1.2), and putting it in force.
//!
//! A saved profile applies to live sessions from their next packet on.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;
use wireglot_model::limits::{GATEWAY_DEVICES_MAX, NAME_CHARS_MAX, PROFILES_MAX};
use wireglot_model::profile::MqttTransport;
use wireglot_model::segments::NamedFilter;
use wireglot_model::{
    AuditAction, ClientRpc, CodecHash, CodecName, DeadLetterBounds, OtaTargets, PayloadKind, Profile,
    ProfileId, Provisioning, Timestamp, TransportKind, Wrapping,
};
use wireglot_proto::ProtoSchemas;
use wireglot_store::Batch;

use crate::Devices;
use crate::audit::{Assigned, profile_changes};
use crate::error::{DeviceError, Rule};
use crate::ota::check_targets;
use crate::provision::as_stored;
use crate::registry::{ProfileSlot, ProfileState, Tables};

/// The largest text that MQTT can carry as a topic.
const TOPIC_BYTES_MAX: usize = 65_535;

/// A profile as somebody wishes to have it.
#[derive(Clone, PartialEq, Debug)]
pub struct ProfileDraft {
    pub name: String,
    pub description: String,
    pub transport: TransportKind,
    /// Only a check: the default profile is chosen by `make_default_profile`.
    pub is_default: bool,
    /// Members that are kept and given back, a JSON object as text.
    pub passthrough: String,
    pub retention_days: Option<u32>,
    pub raw_retention_hours: Option<u32>,
    pub dead_letters: DeadLetterBounds,
    /// The key of a certificate chain is made of its first certificate, whatever stands here.
    pub provisioning: Provisioning,
    pub ota: OtaTargets,
    pub client_rpc: ClientRpc,
}

impl ProfileDraft {
    /// A draft with default topics and JSON, kept for ever.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            description: String::new(),
            transport: TransportKind::Default,
            is_default: false,
            passthrough: "{}".into(),
            retention_days: None,
            raw_retention_hours: None,
            dead_letters: DeadLetterBounds::default(),
            provisioning: Provisioning::Disabled,
            ota: OtaTargets::default(),
            client_rpc: ClientRpc::default(),
        }
    }

    /// Its protobuf schemas are valid; saving it checks them too.
    pub fn check_schemas(&self) -> Result<(), Rule> {
        compiled(&self.transport).map(drop)
    }

    fn into_profile(self, id: ProfileId, created: Timestamp, is_default: bool, version: u64) -> Profile {
        Profile {
            id,
            created,
            name: self.name,
            description: self.description,
            is_default,
            transport: self.transport,
            version,
            passthrough: self.passthrough,
            retention_days: self.retention_days,
            raw_retention_hours: self.raw_retention_hours,
            dead_letters: self.dead_letters,
            provisioning: self.provisioning,
            ota: self.ota,
            client_rpc: self.client_rpc,
        }
    }
}

/// The profile that a device's `type` brings into being.
pub(crate) fn implicit_profile(name: String, now: Timestamp) -> Profile {
    ProfileDraft::named(name).into_profile(ProfileId(uuid::Uuid::new_v4()), now, false, 1)
}

impl Devices {
    /// The profile of this id, as it is in force.
    pub fn profile(&self, id: ProfileId) -> Option<Arc<ProfileState>> {
        self.0.tables.read().profile(id).map(|slot| slot.state())
    }

    /// The profile of this name.
    pub fn profile_by_name(&self, name: &str) -> Option<Arc<ProfileState>> {
        self.0.tables.read().profile_by_name(name).map(|slot| slot.state())
    }

    /// The profile of devices that name none.
    pub fn default_profile(&self) -> Arc<ProfileState> {
        self.0.tables.read().default_profile()
    }

    /// All profiles, in no order.
    pub fn profiles(&self) -> Vec<Arc<ProfileState>> {
        self.0.tables.read().profiles.values().map(|slot| slot.state()).collect()
    }

    /// Whether a profile names this codec, or this responder.
    pub fn is_codec_used(&self, codec: &CodecName) -> bool {
        self.profiles().iter().any(|state| {
            let responder = state.profile.client_rpc.responder.as_ref();
            named_codec(&state.profile).is_some_and(|(named, _)| named == codec)
                || responder.is_some_and(|responder| responder.name == *codec)
        })
    }

    /// The codec versions that profiles are pinned to, each with the names of its profiles.
    pub fn pinned_versions(&self) -> BTreeMap<(CodecName, CodecHash), Vec<String>> {
        let mut pinned: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for state in self.profiles() {
            if let Some((codec, Some(hash))) = named_codec(&state.profile) {
                pinned.entry((codec.clone(), hash)).or_default().push(state.profile.name.clone());
            }
        }
        pinned
    }

    /// Makes a profile.
    pub async fn create_profile(
        &self,
        mut draft: ProfileDraft,
        now: Timestamp,
    ) -> Result<Arc<ProfileState>, DeviceError> {
        let schemas = compiled(&draft.transport)?;
        draft.provisioning = as_stored(draft.provisioning)?;
        let (state, committed) = {
            let mut tables = self.0.tables.write();
            check(&tables, &draft, None)?;
            if tables.profiles.len() >= PROFILES_MAX {
                return Err(Rule::TooManyProfiles.into());
            }
            let profile = draft.into_profile(ProfileId(uuid::Uuid::new_v4()), now, false, 1);
            let mut batch = Batch::default();
            batch.put_profile(&profile);
            self.put_change_audit(
                &mut batch,
                now,
                AuditAction::ProfileCreated,
                &profile.name,
                codec_of(&profile),
            );
            let packages = (OtaTargets::default(), profile.ota);
            self.put_assignment_audit(&mut batch, now, &tables, Assigned::Profile(&profile.name), packages);
            let slot = ProfileSlot::new(profile, schemas);
            let state = slot.state();
            tables.index_provisioning(None, Some(&slot));
            tables.profiles.insert(state.profile.id, slot);
            (state, self.0.queue(batch))
        };
        committed.await?;
        Ok(state)
    }

    /// Replaces all that can be written of a profile.
    pub async fn update_profile(
        &self,
        id: ProfileId,
        mut draft: ProfileDraft,
        expected: Option<u64>,
        now: Timestamp,
    ) -> Result<Arc<ProfileState>, DeviceError> {
        let schemas = compiled(&draft.transport)?;
        draft.provisioning = as_stored(draft.provisioning)?;
        let (state, committed) = {
            let mut tables = self.0.tables.write();
            let slot = tables.profile(id).ok_or(DeviceError::NotFound)?.clone();
            let stored = slot.state();
            if expected.is_some_and(|version| version != stored.profile.version) {
                return Err(DeviceError::VersionConflict);
            }
            check(&tables, &draft, Some(&stored.profile))?;
            let stored = &stored.profile;
            let profile = draft.into_profile(id, stored.created, stored.is_default, stored.version + 1);
            let mut batch = Batch::default();
            batch.put_profile(&profile);
            let changes = profile_changes(stored, &profile);
            self.put_change_audit(&mut batch, now, AuditAction::ProfileChanged, &profile.name, changes);
            let packages = (stored.ota, profile.ota);
            self.put_assignment_audit(&mut batch, now, &tables, Assigned::Profile(&profile.name), packages);
            let old = slot.state();
            let is_retargeted = profile.ota != stored.ota;
            let state = slot.publish(profile, schemas);
            tables.index_provisioning(Some(&old.profile), Some(&slot));
            self.changed();
            let committed = self.0.queue(batch);
            if is_retargeted {
                self.0.updates.look_at_profile(&tables, id);
            }
            (state, committed)
        };
        committed.await?;
        Ok(state)
    }

    /// Deletes a profile that is neither the default nor in use.
    pub async fn delete_profile(&self, id: ProfileId, now: Timestamp) -> Result<(), DeviceError> {
        let committed = {
            let mut tables = self.0.tables.write();
            let slot = tables.profile(id).ok_or(DeviceError::NotFound)?;
            if slot.state().profile.is_default {
                return Err(Rule::DefaultProfileStays.into());
            }
            if tables.is_used(id) {
                return Err(Rule::ProfileInUse.into());
            }
            let old = slot.state();
            let name = old.profile.name.clone();
            tables.profiles.remove(&id);
            tables.index_provisioning(Some(&old.profile), None);
            let mut batch = Batch::default();
            batch.delete_profile(id);
            self.put_change_audit(&mut batch, now, AuditAction::ProfileDeleted, &name, String::new());
            self.0.queue(batch)
        };
        committed.await
    }

    /// Makes this the profile of devices that name none.
    pub async fn make_default_profile(
        &self,
        id: ProfileId,
        now: Timestamp,
    ) -> Result<Arc<ProfileState>, DeviceError> {
        let (state, committed) = {
            let tables = self.0.tables.write();
            let slot = tables.profile(id).ok_or(DeviceError::NotFound)?;
            let old = tables.default_profile();
            if old.profile.id == id {
                return Ok(old);
            }
            let mut batch = Batch::default();
            let state = mark(slot, true, &mut batch);
            if let Some(old) = tables.profile(old.profile.id) {
                mark(old, false, &mut batch);
            }
            let (action, before) = (AuditAction::DefaultProfileChanged, format!("instead of {}", old.name));
            self.put_change_audit(&mut batch, now, action, &state.name, before);
            self.changed();
            (state, self.0.queue(batch))
        };
        committed.await?;
        Ok(state)
    }
}

/// The codec that a profile names, and the version that it is pinned to.
fn named_codec(profile: &Profile) -> Option<(&CodecName, Option<CodecHash>)> {
    match &profile.transport {
        TransportKind::Mqtt(MqttTransport { payload: PayloadKind::Codec { codec, pin, .. }, .. }) => {
            Some((codec, pin.as_ref().and_then(|pin| pin.hash)))
        }
        TransportKind::Mqtt(_) | TransportKind::Default | TransportKind::Other(_) => None,
    }
}

fn codec_of(profile: &Profile) -> String {
    match named_codec(profile) {
        Some((codec, Some(hash))) => format!("codec {codec}, pinned to {hash}"),
        Some((codec, None)) => format!("codec {codec}"),
        None => String::new(),
    }
}

/// The schemas of a profile that is being saved. Outside of every lock: it takes its time.
fn compiled(transport: &TransportKind) -> Result<Option<Arc<ProtoSchemas>>, Rule> {
    let TransportKind::Mqtt(mqtt) = transport else { return Ok(None) };
    let mut texts = mqtt.schemas.clone();
    match &mqtt.payload {
        PayloadKind::Json => return Ok(None),
        PayloadKind::Codec { .. } if texts.is_empty() => return Ok(None),
        PayloadKind::Codec { .. } => {}
        // What its own topics are read by has to be there: a missing schema is an empty one, which says what it lacks.
        PayloadKind::Protobuf(_) => {
            texts.telemetry.get_or_insert_default();
            texts.attributes.get_or_insert_default();
        }
    }
    ProtoSchemas::compile(&texts).map(|schemas| Some(Arc::new(schemas))).map_err(Rule::InvalidSchema)
}

/// A profile from the store.
pub(crate) fn opened(profile: Profile) -> Arc<ProfileSlot> {
    let schemas = compiled(&profile.transport).unwrap_or_else(|error| {
        // It was valid when it was saved. Its payloads become dead letters that say so until it is saved again.
        tracing::warn!(profile = %profile.name, %error, "A stored profile's protobuf schemas are not valid any more.");
        None
    });
    ProfileSlot::new(profile, schemas)
}

fn mark(slot: &ProfileSlot, is_default: bool, batch: &mut Batch) -> Arc<ProfileState> {
    let stored = slot.state();
    let version = stored.profile.version + 1;
    let profile = Profile { is_default, version, ..stored.profile.clone() };
    batch.put_profile(&profile);
    slot.publish(profile, stored.schemas.clone())
}

fn check(tables: &Tables, draft: &ProfileDraft, stored: Option<&Profile>) -> Result<(), Rule> {
    if draft.name.trim().is_empty() {
        return Err(Rule::ProfileNameMissing);
    }
    if draft.name.chars().count() > NAME_CHARS_MAX {
        return Err(Rule::NameTooLong);
    }
    let own = stored.map(|stored| stored.id);
    if tables.profile_by_name(&draft.name).is_some_and(|other| Some(other.state().profile.id) != own) {
        return Err(Rule::ProfileNameTaken);
    }
    if draft.is_default && !stored.is_some_and(|stored| stored.is_default) {
        return Err(Rule::SecondDefaultProfile);
    }
    if let Some(stored) = stored
        && !same_kind(&stored.transport, &draft.transport)
        && tables.is_used(stored.id)
    {
        return Err(Rule::TransportInUse);
    }
    if let Some(key) = draft.provisioning.key()
        && let Some(owner) = tables.profile_by_provisioning_key(key)
        && Some(owner.state().profile.id) != own
    {
        return Err(match draft.provisioning {
            Provisioning::CertificateChain { .. } => Rule::ProvisionCertificateTaken,
            Provisioning::Disabled
            | Provisioning::CreateNew { .. }
            | Provisioning::CheckPreProvisioned { .. } => Rule::ProvisionKeyTaken,
        });
    }
    check_targets(tables, draft.ota, own)?;
    match &draft.transport {
        TransportKind::Mqtt(mqtt) => check_mqtt(mqtt),
        TransportKind::Default | TransportKind::Other(_) => Ok(()),
    }
}

fn same_kind(one: &TransportKind, other: &TransportKind) -> bool {
    match (one, other) {
        (TransportKind::Default, TransportKind::Default)
        | (TransportKind::Mqtt(_), TransportKind::Mqtt(_)) => true,
        (TransportKind::Other(one), TransportKind::Other(other)) => one == other,
        (TransportKind::Default | TransportKind::Mqtt(_) | TransportKind::Other(_), _) => false,
    }
}

fn check_mqtt(mqtt: &MqttTransport) -> Result<(), Rule> {
    for topic in [&mqtt.telemetry_topic, &mqtt.attributes_topic, &mqtt.attributes_subscribe_topic] {
        // Filters that the upstream console would refuse still work (device profile §2), so no more is checked.
        if topic.trim().is_empty() || topic.len() > TOPIC_BYTES_MAX || topic.chars().any(char::is_control) {
            return Err(Rule::InvalidTopic(topic.chars().take(NAME_CHARS_MAX).collect()));
        }
    }
    for filter in [&mqtt.telemetry_topic, &mqtt.attributes_topic] {
        NamedFilter::parse(filter).map_err(|problem| {
            let filter = filter.chars().take(NAME_CHARS_MAX).collect();
            Rule::InvalidSegment { filter, problem }
        })?;
    }
    match &mqtt.payload {
        PayloadKind::Json | PayloadKind::Protobuf(_) => Ok(()),
        PayloadKind::Codec { pin: Some(pin), .. } if pin.hash.is_none() => {
            Err(Rule::PinNotFound(pin.selector.clone()))
        }
        PayloadKind::Codec { wrapping: Some(Wrapping { create_max, .. }), .. }
            if usize::try_from(*create_max).is_ok_and(|max| max > GATEWAY_DEVICES_MAX) =>
        {
            Err(Rule::TooManyCarried)
        }
        PayloadKind::Codec { wrapping: Some(_), .. } if mqtt.telemetry_topic.contains('{') => {
            Err(Rule::SegmentsInEnvelope)
        }
        PayloadKind::Codec { settings, .. } => match serde_json::from_str::<Json>(settings) {
            Ok(Json::Object(_)) => Ok(()),
            Ok(_) | Err(_) => Err(Rule::SettingsNotObject),
        },
    }
}
