//! Acting for other devices: those behind a gateway, and those that a network server carries. They are found by name,
//! and made when they are first heard of.

use std::sync::atomic::Ordering;

use wireglot_model::limits::{GATEWAY_DEVICES_MAX, NAME_CHARS_MAX};
use wireglot_model::{Device, DeviceId, OtaTargets, Timestamp, Wrapping};

use crate::Devices;
use crate::credentials::{CredentialsDraft, new_record};
use crate::devices::{AdditionalInfo, count_child};
use crate::error::{AcceptError, DeviceError};
use crate::registry::DeviceHandle;

impl Devices {
    /// Whether `gateway` may speak for `child`, which need not exist yet.
    pub(crate) fn check_child(&self, gateway: &DeviceHandle, child: &str) -> Result<(), AcceptError> {
        if !gateway.is_gateway() {
            return Err(AcceptError::NotGateway { child: child.chars().take(NAME_CHARS_MAX).collect() });
        }
        if child.trim().is_empty() || child.chars().count() > NAME_CHARS_MAX {
            return Err(AcceptError::InvalidChildName);
        }
        Ok(())
    }

    /// The device of this name. A new one is not in the store before the caller's batch has been committed, and says
    /// so (`DeviceHandle::unsettled`).
    pub(crate) fn child(
        &self,
        gateway: &DeviceHandle,
        name: &str,
        now: Timestamp,
    ) -> Result<DeviceHandle, AcceptError> {
        if let Some(known) = self.device_by_name(name) {
            return Ok(known);
        }
        let info = format!("{{\"lastConnectedGateway\":\"{}\"}}", gateway.id());
        self.bring(gateway, name, info, GATEWAY_DEVICES_MAX, now)?.ok_or(AcceptError::TooManyChildren)
    }

    /// The device whose frame an envelope carries over the connection of `server`; as `child` otherwise. What a codec
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
        if name.trim().is_empty() || name.chars().count() > NAME_CHARS_MAX {
            return Err(AcceptError::InvalidChildName);
        }
        let gateway = server.id();
        let info = match dev_eui {
            Some(eui) => format!("{{\"lastConnectedGateway\":\"{gateway}\",\"devEui\":\"{eui}\"}}"),
            None => format!("{{\"lastConnectedGateway\":\"{gateway}\"}}"),
        };
        let create_max = wrapping.create_max.try_into().unwrap_or(usize::MAX).min(GATEWAY_DEVICES_MAX);
        self.bring(server, name, info, create_max, now)?
            .ok_or_else(|| AcceptError::NotCarried { device: name.to_owned(), create_max })
    }

    /// The device of this name, if there is one; and if it is that one.
    pub fn carried_before(
        &self,
        name: &str,
        dev_eui: Option<&str>,
    ) -> Result<Option<DeviceHandle>, AcceptError> {
        let Some(known) = self.device_by_name(name) else { return Ok(None) };
        match known.state.record.load().dev_eui.as_deref() {
            Some(other) if Some(other) != dev_eui => {
                Err(AcceptError::OtherDevEui { device: name.to_owned(), dev_eui: other.to_owned() })
            }
            Some(_) | None => Ok(Some(known.clone())),
        }
    }

    /// Makes a device with the profile of `gateway` and a random token; `None` where `gateway` has brought
    /// `children_max` already.
    fn bring(
        &self,
        gateway: &DeviceHandle,
        name: &str,
        additional_info: String,
        children_max: usize,
        now: Timestamp,
    ) -> Result<Option<DeviceHandle>, AcceptError> {
        if children_max == 0 {
            return Ok(None);
        }
        let token = CredentialsDraft::random().map_err(no_secret)?;
        let mut tables = self.0.tables.write();
        // Another worker may have made it since.
        if let Some(known) = tables.device_by_name(name) {
            return Ok(Some(known.clone()));
        }
        if gateway.state.children.load(Ordering::Acquire) >= children_max {
            return Ok(None);
        }
        let id = DeviceId(uuid::Uuid::new_v4());
        let credentials = new_record(&tables, id, token, now).map_err(no_secret)?;
        let profile = gateway.state.record.load().profile.clone();
        let record = Device {
            id,
            created: now,
            name: name.to_owned(),
            label: None,
            profile: profile.state().profile.id,
            additional_info,
            is_gateway: false,
            customer: gateway.state.record.load().device.customer,
            ota: OtaTargets::default(),
            version: 1,
        };
        let device = DeviceHandle::new(record, profile, credentials);
        let info = AdditionalInfo { gateway: Some(gateway.id()), ..AdditionalInfo::default() };
        count_child(&tables, &info, |count| count + 1);
        tables.insert(&device);
        if device.profile().profile.ota != OtaTargets::default() {
            self.0.updates.look_at(device.id());
        }
        Ok(Some(device))
    }
}

fn no_secret(error: impl Into<DeviceError>) -> AcceptError {
    AcceptError::NoSecret(error.into().to_string())
}
