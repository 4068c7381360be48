//! Customers: whom devices are given to, and whose users see those devices and no others.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use wireglot_model::limits::{ADDITIONAL_INFO_BYTES_MAX, CUSTOMERS_MAX};
use wireglot_model::{Customer, CustomerId, DeviceId, Timestamp, User};
use wireglot_store::Batch;

use crate::Devices;
use crate::claim::own;
use crate::error::{DeviceError, Rule};
use crate::registry::{DeviceHandle, Tables};
use crate::users::check_texts;

/// Devices that are given back under one lock and in one batch.
pub(crate) const DEVICES_AT_ONCE: usize = 512;

/// A customer as somebody wishes to have it.
#[derive(Clone, PartialEq, Debug)]
pub struct CustomerDraft {
    pub title: String,
    /// A JSON object as text.
    pub details: String,
}

impl Devices {
    /// The customer of this id.
    pub fn customer(&self, id: CustomerId) -> Option<Arc<Customer>> {
        self.0.tables.read().customers.get(&id).cloned()
    }

    /// The customer of this title.
    pub fn customer_by_title(&self, title: &str) -> Option<Arc<Customer>> {
        self.0.tables.read().customers.values().find(|customer| customer.title == title).cloned()
    }

    /// All customers, in no order.
    pub fn customers(&self) -> Vec<Arc<Customer>> {
        self.0.tables.read().customers.values().cloned().collect()
    }

    /// Makes a customer.
    pub async fn create_customer(
        &self,
        draft: CustomerDraft,
        now: Timestamp,
    ) -> Result<Arc<Customer>, DeviceError> {
        let (customer, committed) = {
            let mut tables = self.0.tables.write();
            check(&tables, &draft, None)?;
            if tables.customers.len() >= CUSTOMERS_MAX {
                return Err(Rule::TooManyCustomers.into());
            }
            let CustomerDraft { title, details } = draft;
            let id = CustomerId(uuid::Uuid::new_v4());
            let customer = Arc::new(Customer { id, created: now, title, details, version: 1 });
            let mut batch = Batch::default();
            batch.put_customer(&customer);
            tables.customers.insert(id, customer.clone());
            (customer, self.0.queue(batch))
        };
        committed.await?;
        Ok(customer)
    }

    /// Replaces all that can be written of a customer.
    pub async fn update_customer(
        &self,
        id: CustomerId,
        draft: CustomerDraft,
        expected: Option<u64>,
    ) -> Result<Arc<Customer>, DeviceError> {
        let (customer, committed) = {
            let mut tables = self.0.tables.write();
            let stored = tables.customers.get(&id).ok_or(DeviceError::NotFound)?.clone();
            if expected.is_some_and(|version| version != stored.version) {
                return Err(DeviceError::VersionConflict);
            }
            check(&tables, &draft, Some(id))?;
            let CustomerDraft { title, details } = draft;
            let version = stored.version + 1;
            let customer = Arc::new(Customer { title, details, version, ..Customer::clone(&stored) });
            let mut batch = Batch::default();
            batch.put_customer(&customer);
            tables.customers.insert(id, customer.clone());
            (customer, self.0.queue(batch))
        };
        committed.await?;
        Ok(customer)
    }

    /// Deletes a customer and its users; its devices are the tenant's again.
    ///
    /// First nobody acts for it any more, then the devices go, some at a time: however many there are, no batch is too large
    /// and no lock is held for long. What is cut short is done when it is asked for again.
    pub async fn delete_customer(&self, id: CustomerId, now: Timestamp) -> Result<(), DeviceError> {
        let users_gone = {
            let mut tables = self.0.tables.write();
            if !tables.customers.contains_key(&id) {
                return Err(DeviceError::NotFound);
            }
            let mut batch = Batch::default();
            self.delete_users_of(&mut tables, id, now, &mut batch);
            self.0.queue(batch)
        };
        users_gone.await?;
        while self.give_back_some(id).await? {}
        let committed = {
            let mut tables = self.0.tables.write();
            tables.customers.remove(&id).ok_or(DeviceError::NotFound)?;
            let mut batch = Batch::default();
            batch.delete_customer(id);
            // Those that came in between are few.
            self.delete_users_of(&mut tables, id, now, &mut batch);
            let late: Vec<DeviceHandle> =
                tables.devices().filter(|device| device.customer() == Some(id)).cloned().collect();
            for device in &late {
                own(&mut tables, device, None, &mut batch);
            }
            self.changed();
            self.0.queue(batch)
        };
        committed.await
    }

    fn delete_users_of(&self, tables: &mut Tables, id: CustomerId, now: Timestamp, batch: &mut Batch) {
        let gone: Vec<Arc<User>> =
            tables.users.extract_if(|_, user| user.customer == Some(id)).map(|(_, user)| user).collect();
        self.put_deletions(tables, &gone, now, batch);
    }

    /// Gives some devices of a customer back to the tenant, and says whether there may be more.
    async fn give_back_some(&self, id: CustomerId) -> Result<bool, DeviceError> {
        let (saves, committed) = {
            let mut tables = self.0.tables.write();
            if !tables.customers.contains_key(&id) {
                return Err(DeviceError::NotFound);
            }
            let owned = tables.devices().filter(|device| device.customer() == Some(id));
            let owned: Vec<DeviceHandle> = owned.take(DEVICES_AT_ONCE).cloned().collect();
            if owned.is_empty() {
                return Ok(false);
            }
            let mut batch = Batch::default();
            for device in &owned {
                own(&mut tables, device, None, &mut batch);
            }
            let save = |device: DeviceHandle| {
                let save = device.state.saves.fetch_add(1, Ordering::AcqRel) + 1;
                (device, save)
            };
            let saves: Vec<_> = owned.into_iter().map(save).collect();
            self.changed();
            (saves, self.0.queue(batch))
        };
        committed.await?;
        saves.into_iter().for_each(|(device, save)| device.settle(save));
        Ok(true)
    }

    /// Gives a device to a customer, or takes it back from the one who has it.
    pub async fn assign_device(
        &self,
        id: DeviceId,
        customer: Option<CustomerId>,
    ) -> Result<DeviceHandle, DeviceError> {
        let (device, committed) = {
            let mut tables = self.0.tables.write();
            let device = tables.device(id).ok_or(DeviceError::NotFound)?.clone();
            if customer.is_some_and(|customer| !tables.customers.contains_key(&customer)) {
                return Err(DeviceError::NotFound);
            }
            if customer.is_none() && device.customer().is_none() {
                return Err(Rule::NotAssigned.into());
            }
            let mut batch = Batch::default();
            if tables.claims.remove(&id).is_some() {
                batch.delete_claim(id);
            }
            own(&mut tables, &device, customer, &mut batch);
            self.changed();
            (device.clone(), self.0.queue_record(&device, batch))
        };
        committed.await?;
        Ok(device)
    }
}

fn check(tables: &Tables, draft: &CustomerDraft, own: Option<CustomerId>) -> Result<(), Rule> {
    if draft.title.trim().is_empty() {
        return Err(Rule::CustomerTitleMissing);
    }
    check_texts(&[Some(&draft.title)])?;
    if draft.details.len() > ADDITIONAL_INFO_BYTES_MAX {
        return Err(Rule::CustomerDetailsTooLong);
    }
    let is_taken = |other: &Arc<Customer>| other.title == draft.title && Some(other.id) != own;
    if tables.customers.values().any(is_taken) { Err(Rule::CustomerTitleTaken) } else { Ok(()) }
}
