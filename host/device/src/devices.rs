//! Devices on the management side: make, change, delete, find.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::Value as Json;
use wireglot_model::limits::{ADDITIONAL_INFO_BYTES_MAX, NAME_CHARS_MAX, PROFILES_MAX};
use wireglot_model::{Device, DeviceId, OtaTargets, ProfileId, Sample, Scope, Timestamp};
use wireglot_store::Batch;

use crate::audit::Assigned;
use crate::credentials::{CredentialsDraft, new_record};
use crate::error::{DeviceError, Rule};
use crate::ota::check_targets;
use crate::profiles::implicit_profile;
use crate::registry::{DeviceHandle, DeviceRecord, ProfileSlot, Tables};
use crate::{Devices, Inner};

/// Devices that are looked at before the tables' lock is let go: workers want it too.
const DEVICES_PER_LOOK: usize = 1_024;

/// A device as somebody wishes to have it.
#[derive(Clone, PartialEq, Debug)]
pub struct DeviceDraft {
    pub name: String,
    pub label: Option<String>,
    pub profile: ProfileChoice,
    /// A JSON object as text, or `null`.
    pub additional_info: String,
    /// Packages of its own.
    pub ota: OtaTargets,
}

/// How a draft names its profile.
#[derive(Clone, PartialEq, Debug)]
pub enum ProfileChoice {
    Id(ProfileId),
    /// Made with default topics and JSON if there is none of this name.
    Name(String),
    Default,
}

impl ProfileChoice {
    /// The profile that is meant, if there is one already.
    fn known(&self, tables: &Tables) -> Option<ProfileId> {
        match self {
            Self::Id(id) => Some(*id),
            Self::Name(name) => tables.profile_by_name(name).map(|slot| slot.state().profile.id),
            Self::Default => Some(tables.default_profile().profile.id),
        }
    }
}

/// What Wireglot reads from a device's `additionalInfo`.
#[derive(Default)]
pub(crate) struct AdditionalInfo {
    pub(crate) is_gateway: bool,
    /// The gateway that brought the device.
    pub(crate) gateway: Option<DeviceId>,
    /// Its identity on a LoRaWAN network, in lower case: frames of another device under its name are not its own.
    pub(crate) dev_eui: Option<Box<str>>,
    /// A gateway's ping is a sign of life of the devices behind it.
    pub(crate) overwrites_activity: bool,
}

impl AdditionalInfo {
    pub(crate) fn parse(text: &str) -> Result<Self, Rule> {
        let info: Json = serde_json::from_str(text).map_err(|_| Rule::AdditionalInfoNotObject)?;
        if !info.is_object() && !info.is_null() {
            return Err(Rule::AdditionalInfoNotObject);
        }
        let member = |name: &str| info.get(name);
        let gateway = member("lastConnectedGateway").and_then(Json::as_str).and_then(|id| id.parse().ok());
        let dev_eui = member("devEui").and_then(Json::as_str).filter(|eui| !eui.is_empty());
        Ok(Self {
            is_gateway: member("gateway").and_then(Json::as_bool) == Some(true),
            gateway,
            dev_eui: dev_eui.map(|eui| eui.to_ascii_lowercase().into()),
            overwrites_activity: member("overwriteActivityTime").and_then(Json::as_bool) == Some(true),
        })
    }
}

impl AdditionalInfo {
    /// What is about to be saved; what was saved before is as long as it is.
    pub(crate) fn checked(text: &str) -> Result<Self, Rule> {
        if text.len() > ADDITIONAL_INFO_BYTES_MAX {
            return Err(Rule::AdditionalInfoTooLong);
        }
        Self::parse(text)
    }
}

impl Devices {
    /// The device of this id.
    pub fn device(&self, id: DeviceId) -> Option<DeviceHandle> {
        self.0.tables.read().device(id).cloned()
    }

    /// The device of this name.
    pub fn device_by_name(&self, name: &str) -> Option<DeviceHandle> {
        self.0.tables.read().device_by_name(name).cloned()
    }

    /// All devices, in no order that means anything.
    pub fn devices(&self) -> Vec<DeviceHandle> {
        let mut devices = Vec::with_capacity(self.device_count());
        self.each_device(&mut |device| devices.push(device.clone()));
        devices
    }

    /// Shows all devices, some at a time; those that are made or deleted meanwhile may be among them or not.
    pub fn each_device(&self, visit: &mut dyn FnMut(&DeviceHandle)) {
        let mut some: Vec<DeviceHandle> = Vec::with_capacity(DEVICES_PER_LOOK);
        let mut after = None;
        loop {
            some.clear();
            some.extend(self.0.tables.read().devices_after(after).take(DEVICES_PER_LOOK).cloned());
            let Some(last) = some.last() else { return };
            after = Some(last.id());
            some.iter().for_each(&mut *visit);
        }
    }

    /// How many devices there are.
    pub fn device_count(&self) -> usize {
        self.0.tables.read().device_count()
    }

    /// Whether the device has a session here.
    pub fn is_connected(&self, device: DeviceId) -> bool {
        self.0.bus.is_connected(device)
    }

    /// Makes a device with these credentials, or with a random access token.
    pub async fn create_device(
        &self,
        draft: DeviceDraft,
        credentials: Option<CredentialsDraft>,
        now: Timestamp,
    ) -> Result<DeviceHandle, DeviceError> {
        self.make_device(draft, credentials, &[], now).await
    }

    /// The same with server attributes that become durable with the device.
    pub(crate) async fn make_device(
        &self,
        draft: DeviceDraft,
        credentials: Option<CredentialsDraft>,
        attributes: &[Sample],
        now: Timestamp,
    ) -> Result<DeviceHandle, DeviceError> {
        let credentials = credentials.map_or_else(CredentialsDraft::random, Ok)?;
        let (device, committed) = {
            let mut tables = self.0.tables.write();
            check_names(&tables, &draft, None)?;
            let devices_max = self.0.devices_max();
            if tables.device_count() >= devices_max {
                return Err(Rule::TooManyDevices(devices_max).into());
            }
            let info = AdditionalInfo::checked(&draft.additional_info)?;
            let id = DeviceId(uuid::Uuid::new_v4());
            let credentials = new_record(&tables, id, credentials, now)?;
            check_targets(&tables, draft.ota, draft.profile.known(&tables))?;
            let mut batch = Batch::default();
            let profile = choose_profile(&mut tables, draft.profile, now, &mut batch)?;
            let record = Device {
                id,
                created: now,
                name: draft.name,
                label: draft.label,
                profile: profile.state().profile.id,
                additional_info: draft.additional_info,
                is_gateway: info.is_gateway,
                customer: None,
                ota: draft.ota,
                version: 1,
            };
            let packages = (OtaTargets::default(), record.ota);
            self.put_assignment_audit(&mut batch, now, &tables, Assigned::Device(&record.name), packages);
            let device = DeviceHandle::new(record, profile, credentials);
            device.put_into(&mut batch);
            device.state.attributes.lock().write_changes(id, Scope::Server, attributes, now, &mut batch);
            count_child(&tables, &info, |count| count + 1);
            tables.insert(&device);
            let committed = self.0.queue_record(&device, batch);
            self.0.updates.look_at(id);
            (device, committed)
        };
        committed.await?;
        device.state.attributes.lock().settle(Scope::Server, attributes);
        Ok(device)
    }

    /// Replaces all that can be written of a device. Its session goes on.
    pub async fn update_device(
        &self,
        id: DeviceId,
        draft: DeviceDraft,
        expected: Option<u64>,
        now: Timestamp,
    ) -> Result<DeviceHandle, DeviceError> {
        let (device, committed, renamed) = {
            let mut tables = self.0.tables.write();
            let device = tables.device(id).ok_or(DeviceError::NotFound)?.clone();
            let stored = device.record();
            if expected.is_some_and(|version| version != stored.version) {
                return Err(DeviceError::VersionConflict);
            }
            check_names(&tables, &draft, Some(id))?;
            let info = AdditionalInfo::checked(&draft.additional_info)?;
            check_targets(&tables, draft.ota, draft.profile.known(&tables))?;
            let mut batch = Batch::default();
            let profile = choose_profile(&mut tables, draft.profile, now, &mut batch)?;
            let packages = (stored.ota, draft.ota);
            self.put_assignment_audit(&mut batch, now, &tables, Assigned::Device(&draft.name), packages);
            let record = Device {
                name: draft.name,
                label: draft.label,
                profile: profile.state().profile.id,
                additional_info: draft.additional_info,
                is_gateway: info.is_gateway,
                ota: draft.ota,
                version: stored.version + 1,
                ..stored.clone()
            };
            let stored_name = stored.name;
            profile.put_into(&mut batch);
            batch.put_device(&record);
            let renamed = (stored_name != record.name).then(|| (stored_name, record.name.clone()));
            count_child(&tables, &device.state.record.load().info, |count| count.saturating_sub(1));
            count_child(&tables, &info, |count| count + 1);
            tables.replace_record(&device, DeviceRecord::new(record, profile));
            self.changed();
            let committed = self.0.queue_record(&device, batch);
            self.0.updates.look_at(id);
            (device, committed, renamed)
        };
        committed.await?;
        if let Some((before, after)) = renamed {
            let params = serde_json::json!({ before: after }).to_string();
            self.tell_gateway(&device, "gateway_device_renamed", params, now).await;
        }
        Ok(device)
    }

    /// Deletes a device with all that is stored about it, and ends its session.
    pub async fn delete_device(&self, id: DeviceId, now: Timestamp) -> Result<(), DeviceError> {
        let (device, committed) = self.0.remove_device(&mut self.0.tables.write(), id)?;
        self.close(&device);
        committed.await?;
        let params = Json::from(&*device.name()).to_string();
        self.tell_gateway(&device, "gateway_device_deleted", params, now).await;
        Ok(())
    }
}

impl Inner {
    /// Takes a device out of the tables, and what is stored of it with the commit that is queued.
    pub(crate) fn remove_device(
        &self,
        tables: &mut Tables,
        id: DeviceId,
    ) -> Result<
        (DeviceHandle, impl Future<Output = Result<(), DeviceError>> + Send + 'static + use<>),
        DeviceError,
    > {
        let device = tables.device(id).ok_or(DeviceError::NotFound)?.clone();
        let mut batch = Batch::default();
        batch.delete_credentials(device.state.credentials.load().id);
        batch.delete_device(id);
        if tables.claims.remove(&id).is_some() {
            batch.delete_claim(id);
        }
        device.state.deleted.store(true, Ordering::Release);
        self.rpcs.forget(id, &mut batch);
        tables.remove(&device);
        if let Ok(info) = AdditionalInfo::parse(&device.record().additional_info) {
            count_child(tables, &info, |count| count.saturating_sub(1));
        }
        let committed = self.queue(batch);
        self.updates.look_at(id);
        Ok((device, committed))
    }

    /// Queues `batch` at once. Called under the tables' lock, so that the store sees changes in the order of memory.
    pub(crate) fn queue(
        &self,
        batch: Batch,
    ) -> impl Future<Output = Result<(), DeviceError>> + Send + 'static + use<> {
        let commit = self.store.commit_at_once(batch);
        async move { commit.await.map(drop).map_err(DeviceError::from) }
    }

    /// Queues a batch with the newest record or credentials of `device`.
    pub(crate) fn queue_record(
        &self,
        device: &DeviceHandle,
        mut batch: Batch,
    ) -> impl Future<Output = Result<(), DeviceError>> + Send + 'static + use<> {
        // One that a gateway has just made may not be in the store yet: a part of it alone would be of nobody.
        if device.unsettled().is_some() {
            device.put_into(&mut batch);
        }
        let save = device.state.saves.fetch_add(1, Ordering::AcqRel) + 1;
        let committed = self.queue(batch);
        let device = device.clone();
        async move {
            committed.await?;
            device.settle(save);
            Ok(())
        }
    }
}

fn check_names(tables: &Tables, draft: &DeviceDraft, own: Option<DeviceId>) -> Result<(), Rule> {
    if draft.name.trim().is_empty() {
        return Err(Rule::DeviceNameMissing);
    }
    let is_long = |name: &str| name.chars().count() > NAME_CHARS_MAX;
    if is_long(&draft.name) {
        return Err(Rule::NameTooLong);
    }
    if draft.label.as_deref().is_some_and(is_long) {
        return Err(Rule::LabelTooLong);
    }
    match tables.device_by_name(&draft.name) {
        Some(other) if Some(other.id()) != own => Err(Rule::DeviceNameTaken),
        Some(_) | None => Ok(()),
    }
}

fn choose_profile(
    tables: &mut Tables,
    choice: ProfileChoice,
    now: Timestamp,
    batch: &mut Batch,
) -> Result<Arc<ProfileSlot>, Rule> {
    match choice {
        ProfileChoice::Id(id) => tables.profile(id).cloned().ok_or(Rule::UnknownProfile),
        ProfileChoice::Default => {
            let id = tables.default_profile().profile.id;
            tables.profile(id).cloned().ok_or(Rule::UnknownProfile)
        }
        ProfileChoice::Name(name) => match tables.profile_by_name(&name) {
            Some(slot) => Ok(slot),
            None if name.chars().count() > NAME_CHARS_MAX => Err(Rule::NameTooLong),
            None if tables.profiles.len() >= PROFILES_MAX => Err(Rule::TooManyProfiles),
            None => {
                let profile = implicit_profile(name, now);
                batch.put_profile(&profile);
                let slot = ProfileSlot::new(profile, None);
                tables.profiles.insert(slot.state().profile.id, slot.clone());
                Ok(slot)
            }
        },
    }
}

/// Keeps the number of devices that a gateway has brought.
pub(crate) fn count_child(tables: &Tables, info: &AdditionalInfo, change: impl Fn(usize) -> usize) {
    if let Some(gateway) = info.gateway.and_then(|id| tables.device(id)) {
        // Changed under the tables' lock only.
        let children = &gateway.state.children;
        children.store(change(children.load(Ordering::Acquire)), Ordering::Release);
    }
}
