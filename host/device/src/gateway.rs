//! Acting for devices behind a gateway: they are found by name, and made when they are first heard of.

use std::sync::atomic::Ordering;

use wireglot_model::limits::{GATEWAY_DEVICES_MAX, NAME_CHARS_MAX};
use wireglot_model::{Device, DeviceId, Timestamp};

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

    /// The device of this name. A new one gets the gateway's profile and a random token; it is not in the store
    /// before the caller's batch has been committed, and says so (`DeviceHandle::unsettled`).
    pub(crate) fn child(
        &self,
        gateway: &DeviceHandle,
        name: &str,
        now: Timestamp,
    ) -> Result<DeviceHandle, AcceptError> {
        if let Some(known) = self.device_by_name(name) {
            return Ok(known);
        }
        let token = CredentialsDraft::random().map_err(no_secret)?;
        let mut tables = self.0.tables.write();
        // Another worker may have made it since.
        if let Some(known) = tables.device_by_name(name) {
            return Ok(known.clone());
        }
        if gateway.state.children.load(Ordering::Acquire) >= GATEWAY_DEVICES_MAX {
            return Err(AcceptError::TooManyChildren);
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
            additional_info: format!("{{\"lastConnectedGateway\":\"{}\"}}", gateway.id()),
            is_gateway: false,
            version: 1,
        };
        let device = DeviceHandle::new(record, profile, credentials);
        count_child(&tables, &AdditionalInfo { is_gateway: false, gateway: Some(gateway.id()) }, |count| {
            count + 1
        });
        tables.insert(&device);
        Ok(device)
    }
}

fn no_secret(error: impl Into<DeviceError>) -> AcceptError {
    AcceptError::NoSecret(error.into().to_string())
}
