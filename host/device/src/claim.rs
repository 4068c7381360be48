//! Claiming (device API §14): a device lets whoever knows its secret have it, for a while.
//!
//! A registration is one record in memory and in the store; the first one counts until its time is over. A server
//! attribute `claimingData` does the same without the device.

use serde_json::Value as Json;
use tracing::debug;
use wireglot_model::{ClaimRecord, CustomerId, Sample, Scope, Timestamp, Value};
use wireglot_store::Batch;

use crate::Devices;
use crate::auth::same_secret;
use crate::error::{DeviceError, Rule};
use crate::registry::{DeviceHandle, DeviceRecord, Tables};

/// Server attribute that allows claiming where it is not allowed by default.
const ALLOWED: &str = "claimingAllowed";
/// Server attribute that is a registration: `{"secretKey":…,"expirationTime":…}`.
const DATA: &str = "claimingData";

/// What is allowed where a device and its attributes say nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClaimRules {
    /// Whether a device may let itself be claimed without the attribute `claimingAllowed`.
    pub allowed_by_default: bool,
    /// How long a registration is good where the device does not say.
    pub duration_ms: i64,
}

impl Default for ClaimRules {
    fn default() -> Self {
        Self { allowed_by_default: true, duration_ms: 86_400_000 }
    }
}

/// How an attempt to claim a device ended.
#[derive(Clone)]
pub enum ClaimOutcome {
    /// The device is the customer's now.
    Success(DeviceHandle),
    /// It may not be claimed, or not with this secret.
    Failure,
    /// It is somebody's already.
    Claimed,
}

/// Why a device may be claimed.
struct Registration {
    secret: String,
    expires: Timestamp,
    is_record: bool,
}

/// What is committed at the end of an attempt.
enum Ending<D, C> {
    Dropped(D),
    Claimed(C),
}

impl Devices {
    /// Sets what is allowed from now on.
    pub fn set_claim_rules(&self, rules: ClaimRules) {
        self.0.claim_rules.store(rules.into());
    }

    /// A device lets itself be claimed. What must not be is left out without a word to the device, as the API wants it.
    pub(crate) fn register_claim(
        &self,
        device: &DeviceHandle,
        secret: &str,
        duration_ms: i64,
        now: Timestamp,
        batch: &mut Batch,
    ) {
        let rules = **self.0.claim_rules.load();
        let is_allowed =
            || device.state.attributes.lock().value(Scope::Server, ALLOWED) == Some(&Value::Bool(true));
        if !rules.allowed_by_default && !is_allowed() {
            debug!(device = %device.id(), "The device may not let itself be claimed.");
            return;
        }
        let mut tables = self.0.tables.write();
        if device.is_deleted() || device.customer().is_some() {
            return;
        }
        let held = tables.claims.get(&device.id()).filter(|held| now <= held.expires).cloned();
        let claim = held.unwrap_or_else(|| {
            let duration_ms = if duration_ms > 0 { duration_ms } else { rules.duration_ms };
            let expires = Timestamp(now.0.saturating_add(duration_ms));
            ClaimRecord { device: device.id(), secret: secret.to_owned(), expires }
        });
        // The one that is held may still be on its way to the disk.
        batch.put_claim(&claim);
        tables.claims.insert(device.id(), claim);
    }

    /// Gives a device to `customer` if it may be claimed with this secret. A wrong secret ends the registration.
    pub async fn claim(
        &self,
        name: &str,
        customer: CustomerId,
        secret: &str,
        now: Timestamp,
    ) -> Result<ClaimOutcome, DeviceError> {
        let (outcome, committed) = {
            let mut tables = self.0.tables.write();
            let device = tables.device_by_name(name).ok_or(DeviceError::NotFound)?.clone();
            if !tables.customers.contains_key(&customer) {
                return Err(Rule::UnknownCustomer.into());
            }
            if device.customer().is_some() {
                return Ok(ClaimOutcome::Claimed);
            }
            let Some(registration) = registration(&tables, &device) else { return Ok(ClaimOutcome::Failure) };
            let mut batch = Batch::default();
            if registration.is_record {
                tables.claims.remove(&device.id());
                batch.delete_claim(device.id());
            }
            let is_right = same_secret(registration.secret.as_bytes(), secret.as_bytes());
            if now > registration.expires || !is_right {
                (ClaimOutcome::Failure, Ending::Dropped(self.0.queue(batch)))
            } else {
                let mut attributes = device.state.attributes.lock();
                attributes.remove(device.id(), Scope::Server, &[ALLOWED, DATA], &mut batch);
                drop(attributes);
                own(&mut tables, &device, Some(customer), &mut batch);
                self.changed();
                let committed = self.0.queue_record(&device, batch);
                (ClaimOutcome::Success(device), Ending::Claimed(committed))
            }
        };
        match committed {
            Ending::Dropped(committed) => committed.await?,
            Ending::Claimed(committed) => committed.await?,
        }
        if let ClaimOutcome::Success(device) = &outcome {
            self.0.bus.refresh(device.id());
        }
        Ok(outcome)
    }

    /// Takes a device back from its customer. `by` is the customer who gives it back, or nobody in particular.
    pub async fn reclaim(
        &self,
        name: &str,
        by: Option<CustomerId>,
        now: Timestamp,
    ) -> Result<(), DeviceError> {
        let rules = **self.0.claim_rules.load();
        let allowed = Sample { key: ALLOWED.into(), value: Value::Bool(true) };
        let (device, committed) = {
            let mut tables = self.0.tables.write();
            // Looked for under the lock: a device that is deleted meanwhile must not come back.
            let device = tables.device_by_name(name).ok_or(DeviceError::NotFound)?.clone();
            let owner = device.customer().ok_or(Rule::NotAssigned)?;
            if by.is_some_and(|by| by != owner) {
                return Err(DeviceError::NotPermitted);
            }
            let mut batch = Batch::default();
            if tables.claims.remove(&device.id()).is_some() {
                batch.delete_claim(device.id());
            }
            own(&mut tables, &device, None, &mut batch);
            if !rules.allowed_by_default {
                // Or the device could not let itself be claimed a second time.
                let mut attributes = device.state.attributes.lock();
                attributes.write_changes(
                    device.id(),
                    Scope::Server,
                    std::slice::from_ref(&allowed),
                    now,
                    &mut batch,
                );
            }
            self.changed();
            let committed = self.0.queue_record(&device, batch);
            (device, committed)
        };
        committed.await?;
        device.state.attributes.lock().settle(Scope::Server, std::slice::from_ref(&allowed));
        self.0.bus.refresh(device.id());
        Ok(())
    }
}

/// Puts `customer` in force as the owner of `device`, and into `batch`.
pub(crate) fn own(
    tables: &mut Tables,
    device: &DeviceHandle,
    customer: Option<CustomerId>,
    batch: &mut Batch,
) {
    let held = device.state.record.load_full();
    let mut record = held.device.clone();
    record.customer = customer;
    record.version += 1;
    tables.replace_record(device, DeviceRecord::new(record, held.profile.clone()));
    // As a whole: one that a gateway has just made is not in the store yet.
    device.put_into(batch);
}

fn registration(tables: &Tables, device: &DeviceHandle) -> Option<Registration> {
    if let Some(held) = tables.claims.get(&device.id()) {
        let ClaimRecord { secret, expires, .. } = held.clone();
        return Some(Registration { secret, expires, is_record: true });
    }
    let attributes = device.state.attributes.lock();
    let data: Json = match attributes.value(Scope::Server, DATA)? {
        Value::Json(text) | Value::Text(text) => serde_json::from_str(text).ok()?,
        Value::Bool(_) | Value::Long(_) | Value::Double(_) => return None,
    };
    let secret = data.get("secretKey").and_then(Json::as_str).unwrap_or_default().to_owned();
    let expires = Timestamp(data.get("expirationTime").and_then(Json::as_i64).unwrap_or_default());
    Some(Registration { secret, expires, is_record: false })
}
