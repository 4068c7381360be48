//! Acting for other devices: those behind a gateway, and those that a network server carries. They are found by name,
//! and made when they are first heard of.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::Value as Json;
use wireglot_model::limits::{GATEWAY_DEVICES_MAX, GATEWAY_PROFILES_MAX, NAME_CHARS_MAX};
use wireglot_model::{Device, DeviceId, OtaTargets, Timestamp, Wrapping};

use crate::Devices;
use crate::credentials::{CredentialsDraft, new_record};
use crate::devices::count_child;
use crate::error::{AcceptError, DeviceError};
use crate::profiles::implicit_profile;
use crate::registry::{DeviceHandle, DeviceRecord, ProfileSlot, Tables};
use crate::rpc::{RpcCall, RpcDraft};

/// How long a gateway may take to hear that a device of its was renamed or deleted.
const TOLD_WITHIN_MS: i64 = 86_400_000;
const TOLD_RETRIES: u32 = 3;

/// Which profile a device gets that is made for a gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChildProfile<'a> {
    /// That of the gateway.
    Gateways,
    /// The default one.
    Default,
    /// The one of this name, which is made if there is none.
    Named(&'a str),
}

/// A device that is to be made.
struct Newcomer<'a> {
    name: &'a str,
    label: Option<&'a str>,
    profile: ChildProfile<'a>,
    dev_eui: Option<&'a str>,
}

impl Devices {
    /// Whether `gateway` may speak for `child`, which need not exist yet.
    pub(crate) fn check_child(&self, gateway: &DeviceHandle, child: &str) -> Result<(), AcceptError> {
        if !gateway.is_gateway() {
            return Err(AcceptError::NotGateway { child: child.chars().take(NAME_CHARS_MAX).collect() });
        }
        if child == &*gateway.name() {
            return Err(AcceptError::OwnName);
        }
        check_name(child)
    }

    /// The device of this name, for what a codec of `gateway` says of it; as `behind`.
    pub(crate) fn child(
        &self,
        gateway: &DeviceHandle,
        name: &str,
        now: Timestamp,
    ) -> Result<DeviceHandle, AcceptError> {
        self.behind(gateway, name, ChildProfile::Gateways, None, now)
    }

    /// The device of this name, behind `gateway` from now on. What is new or changed about it is not in the store before
    /// the caller's batch has been committed, and says so (`DeviceHandle::unsettled`).
    pub fn behind(
        &self,
        gateway: &DeviceHandle,
        name: &str,
        profile: ChildProfile<'_>,
        label: Option<&str>,
        now: Timestamp,
    ) -> Result<DeviceHandle, AcceptError> {
        if gateway.is_deleted() {
            return Err(AcceptError::Deleted);
        }
        if let Some(known) = self.device_by_name(name) {
            if known.id() == gateway.id() {
                return Err(AcceptError::OwnName);
            }
            self.connect_through(&known, gateway)?;
            return Ok(known);
        }
        check_name(name)?;
        let newcomer = Newcomer { name, label, profile, dev_eui: None };
        self.bring(gateway, &newcomer, GATEWAY_DEVICES_MAX, now)?.ok_or(AcceptError::TooManyChildren)
    }

    /// The device whose frame an envelope carries over the connection of `server`; as `behind` otherwise. What a codec
    /// makes of its frame is its own, so nothing here asks whether `server` is a gateway.
    pub fn carried(
        &self,
        server: &DeviceHandle,
        wrapping: &Wrapping,
        name: &str,
        dev_eui: Option<&str>,
        now: Timestamp,
    ) -> Result<DeviceHandle, AcceptError> {
        if server.is_deleted() {
            return Err(AcceptError::Deleted);
        }
        if let Some(known) = self.carried_before(name, dev_eui)? {
            return Ok(known);
        }
        check_name(name)?;
        let create_max = wrapping.create_max.try_into().unwrap_or(usize::MAX).min(GATEWAY_DEVICES_MAX);
        let newcomer = Newcomer { name, label: None, profile: ChildProfile::Gateways, dev_eui };
        self.bring(server, &newcomer, create_max, now)?
            .ok_or_else(|| AcceptError::NotCarried { device: name.to_owned(), create_max })
    }

    /// The device of this name, if there is one; and if it is that one.
    pub fn carried_before(
        &self,
        name: &str,
        dev_eui: Option<&str>,
    ) -> Result<Option<DeviceHandle>, AcceptError> {
        let Some(known) = self.device_by_name(name) else { return Ok(None) };
        match known.state.record.load().info.dev_eui.as_deref() {
            Some(other) if Some(other) != dev_eui => {
                Err(AcceptError::OtherDevEui { device: name.to_owned(), dev_eui: other.to_owned() })
            }
            Some(_) | None => Ok(Some(known.clone())),
        }
    }

    /// Makes a device with a random token; `None` where `gateway` has brought `children_max` already.
    fn bring(
        &self,
        gateway: &DeviceHandle,
        newcomer: &Newcomer<'_>,
        children_max: usize,
        now: Timestamp,
    ) -> Result<Option<DeviceHandle>, AcceptError> {
        if children_max == 0 {
            return Ok(None);
        }
        let token = CredentialsDraft::random().map_err(no_secret)?;
        let mut tables = self.0.tables.write();
        // Another worker may have made it since.
        if let Some(known) = tables.device_by_name(newcomer.name) {
            return Ok(Some(known.clone()));
        }
        let devices_max = self.0.devices_max();
        if tables.device_count() >= devices_max {
            return Err(AcceptError::TooManyDevices(devices_max));
        }
        if gateway.state.children.load(Ordering::Acquire) >= children_max {
            return Ok(None);
        }
        let id = DeviceId(uuid::Uuid::new_v4());
        let credentials = new_record(&tables, id, token, now).map_err(no_secret)?;
        let profile = profile_of(&mut tables, gateway, newcomer.profile, now)?;
        let mut info = serde_json::Map::new();
        info.insert("lastConnectedGateway".to_owned(), gateway.id().to_string().into());
        if let Some(eui) = newcomer.dev_eui {
            info.insert("devEui".to_owned(), eui.into());
        }
        let record = Device {
            id,
            created: now,
            name: newcomer.name.to_owned(),
            label: newcomer.label.map(str::to_owned),
            profile: profile.state().profile.id,
            additional_info: Json::Object(info).to_string(),
            is_gateway: false,
            customer: gateway.state.record.load().device.customer,
            ota: OtaTargets::default(),
            version: 1,
        };
        let device = DeviceHandle::new(record, profile, credentials);
        count_child(&tables, &device.state.record.load().info, |count| count + 1);
        tables.insert(&device);
        if device.profile().profile.ota != OtaTargets::default() {
            self.0.updates.look_at(device.id());
        }
        Ok(Some(device))
    }

    /// Notes behind which gateway a device is that was there before.
    fn connect_through(&self, device: &DeviceHandle, gateway: &DeviceHandle) -> Result<(), AcceptError> {
        if device.state.record.load().info.gateway == Some(gateway.id()) {
            return Ok(());
        }
        let tables = &mut *self.0.tables.write();
        // Since it was found: it must not come back under its name.
        if device.is_deleted() {
            return Err(AcceptError::Deleted);
        }
        let held = device.state.record.load_full();
        let stored = held.device.clone();
        let mut info = match serde_json::from_str(&stored.additional_info) {
            Ok(Json::Object(members)) => members,
            Ok(_) | Err(_) => serde_json::Map::new(),
        };
        info.insert("lastConnectedGateway".to_owned(), gateway.id().to_string().into());
        let additional_info = Json::Object(info).to_string();
        let record = Device { additional_info, version: stored.version + 1, ..stored };
        let record = DeviceRecord::new(record, held.profile.clone());
        count_child(tables, &held.info, |count| count.saturating_sub(1));
        count_child(tables, &record.info, |count| count + 1);
        tables.replace_record(device, record);
        device.state.saves.fetch_add(1, Ordering::AcqRel);
        self.changed();
        Ok(())
    }

    /// Tells the gateway behind which `device` is, or was, by an RPC that waits for it for a day (gateway API §7).
    pub(crate) async fn tell_gateway(
        &self,
        device: &DeviceHandle,
        method: &str,
        params: String,
        now: Timestamp,
    ) {
        let Some(gateway) = device.state.record.load().info.gateway else { return };
        let draft = RpcDraft {
            id: None,
            method: method.to_owned(),
            params,
            is_one_way: true,
            is_persistent: true,
            timeout_ms: None,
            expires: Some(Timestamp(now.0.saturating_add(TOLD_WITHIN_MS))),
            retries: Some(TOLD_RETRIES),
            additional_info: None,
        };
        if !self.device(gateway).is_some_and(|gateway| gateway.is_gateway()) {
            return;
        }
        match self.call(gateway, draft, now).await {
            Ok(RpcCall::Kept(_) | RpcCall::Waiting(_)) => {}
            // The change itself is done.
            Err(error) => tracing::warn!(%gateway, method, %error, "A gateway cannot be told."),
        }
    }
}

fn check_name(name: &str) -> Result<(), AcceptError> {
    if name.trim().is_empty() || name.chars().count() > NAME_CHARS_MAX {
        return Err(AcceptError::InvalidChildName);
    }
    Ok(())
}

fn profile_of(
    tables: &mut Tables,
    gateway: &DeviceHandle,
    profile: ChildProfile<'_>,
    now: Timestamp,
) -> Result<Arc<ProfileSlot>, AcceptError> {
    let name = match profile {
        ChildProfile::Gateways => return Ok(gateway.state.record.load().profile.clone()),
        ChildProfile::Default => {
            let id = tables.default_profile().profile.id;
            return tables.profile(id).cloned().ok_or(AcceptError::InvalidProfileName);
        }
        ChildProfile::Named(name) => name,
    };
    if let Some(slot) = tables.profile_by_name(name) {
        return Ok(slot);
    }
    if name.trim().is_empty() || name.chars().count() > NAME_CHARS_MAX {
        return Err(AcceptError::InvalidProfileName);
    }
    if tables.profiles.len() >= GATEWAY_PROFILES_MAX {
        return Err(AcceptError::TooManyProfiles);
    }
    let slot = ProfileSlot::not_kept_yet(implicit_profile(name.to_owned(), now));
    tables.profiles.insert(slot.state().profile.id, slot.clone());
    Ok(slot)
}

fn no_secret(error: impl Into<DeviceError>) -> AcceptError {
    AcceptError::NoSecret(error.into().to_string())
}
