//! From the store to memory, and what the very first start makes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use parking_lot::RwLock;
use wireglot_bus::Bus;
use wireglot_model::{Actor, Credentials, DeviceId, Profile, ProfileId, TenantId, Timestamp, User, UserId};
use wireglot_store::{Batch, Store};

use crate::activity::ActivityBook;
use crate::claim::ClaimRules;
use crate::devices::{AdditionalInfo, count_child};
use crate::error::{DeviceError, OpenError};
use crate::profiles::{implicit_profile, opened};
use crate::rate::Rates;
use crate::registry::{DeviceHandle, Tables};
use crate::rpc::Rpcs;
use crate::users::EndedSessions;
use crate::{Devices, Inner, ota, passwords, random};

/// The first administrator's login name: the upstream default, so that client examples work.
pub const ADMINISTRATOR_EMAIL: &str = "tenant@thingsboard.org";

const TENANT_SETTING: &str = "tenant-id";
const SIGNING_KEY_SETTING: &str = "signing-key";
/// As long as the digest of HMAC-SHA-512.
const SIGNING_KEY_BYTES: usize = 64;
const DEFAULT_PROFILE: &str = "default";

/// What the very first start made, for the operator.
#[derive(Debug)]
pub struct FirstStart {
    /// The administrator's login name.
    pub email: &'static str,
    /// The administrator's password where nobody gave one. It is shown once and kept only as a hash.
    pub generated_password: Option<String>,
}

impl Devices {
    /// Loads the registry. The first time it makes the tenant, the default profile and the administrator, whose
    /// password is `administrator_password` or else random. Reads the disk: for the start only.
    pub async fn open(
        store: Store,
        bus: Bus,
        administrator_password: Option<String>,
        now: Timestamp,
    ) -> Result<(Self, Option<FirstStart>), OpenError> {
        let first_start = match store.setting(TENANT_SETTING)? {
            Some(_) => None,
            None => Some(make_first_records(&store, administrator_password, now).await?),
        };
        let missing = |what: &str| OpenError::Damaged(format!("setting '{what}' is missing or unreadable"));
        let tenant = store.setting(TENANT_SETTING)?.ok_or_else(|| missing(TENANT_SETTING))?;
        let tenant = uuid::Uuid::from_slice(&tenant).map_err(|_| missing(TENANT_SETTING))?;
        let signing_key = store.setting(SIGNING_KEY_SETTING)?.ok_or_else(|| missing(SIGNING_KEY_SETTING))?;
        let tables = load_tables(&store)?;
        let updates = ota::load(&store, &tables, now)?;
        let rpcs = Rpcs::load(&store, bus.clone(), &tables)?;
        let tables = RwLock::new(tables);
        let signing_key = signing_key.into_boxed_slice();
        let changes = AtomicU64::new(0);
        let raw_number = AtomicU64::new(uuid::Uuid::new_v4().as_u64_pair().1);
        let audited = AtomicU64::new(store.last_audit()?);
        let tenant = TenantId(tenant);
        let claim_rules = ArcSwap::from_pointee(ClaimRules::default());
        let (rates, activity) = (Rates::load(&store)?, ActivityBook::default());
        let ended_sessions = EndedSessions::load(store.ended_sessions()?);
        let inner = Inner {
            store,
            bus,
            tenant,
            signing_key,
            tables,
            updates,
            changes,
            raw_number,
            audited,
            claim_rules,
            rpcs,
            rates,
            activity,
            ended_sessions,
            devices_max: AtomicUsize::new(usize::MAX),
        };
        Ok((Self(Arc::new(inner), Actor::Server), first_start))
    }
}

async fn make_first_records(
    store: &Store,
    administrator_password: Option<String>,
    now: Timestamp,
) -> Result<FirstStart, DeviceError> {
    let (password, generated_password) = match administrator_password {
        Some(given) => (given, None),
        None => {
            let generated = random::secret()?;
            (generated.clone(), Some(generated))
        }
    };
    let mut batch = Batch::default();
    batch.put_setting(TENANT_SETTING, uuid::Uuid::new_v4().as_bytes());
    batch.put_setting(SIGNING_KEY_SETTING, &random::bytes::<SIGNING_KEY_BYTES>()?);
    batch.put_profile(&Profile { is_default: true, ..implicit_profile(DEFAULT_PROFILE.into(), now) });
    batch.put_user(&User {
        id: UserId(uuid::Uuid::new_v4()),
        created: now,
        email: ADMINISTRATOR_EMAIL.into(),
        password_hash: passwords::hash(&password)?,
        first_name: None,
        last_name: None,
        customer: None,
        activation: None,
        activation_ends: None,
        phone: None,
        additional_info: "null".into(),
        version: 1,
        generation: 0,
    });
    drop(store.commit(batch).await?);
    Ok(FirstStart { email: ADMINISTRATOR_EMAIL, generated_password })
}

fn load_tables(store: &Store) -> Result<Tables, OpenError> {
    let mut tables = Tables::default();
    tables.users = store.users()?.into_iter().map(|user| (user.id, Arc::new(user))).collect();
    let customers = store.customers()?.into_iter().map(Arc::new);
    tables.customers = customers.map(|customer| (customer.id, customer)).collect();
    for key in store.api_keys()? {
        tables.api_keys.insert(key);
    }
    for profile in store.profiles()? {
        let slot = opened(profile);
        tables.index_provisioning(None, Some(&slot));
        tables.profiles.insert(slot.state().profile.id, slot);
    }
    if !tables.profiles.values().any(|slot| slot.state().profile.is_default) {
        return Err(OpenError::Damaged("there is no default profile".into()));
    }
    load_devices(store, &mut tables)?;
    for package in store.ota_packages()? {
        tables.packages.insert(package.id, Arc::new(package));
    }
    for (device, scope, attribute) in store.attributes_all()? {
        // A device and its attributes are deleted in one batch, so an owner that is missing never comes back.
        if let Some(device) = tables.device(device) {
            device.state.attributes.lock().load(scope, attribute);
        }
    }
    for claim in store.claims()? {
        // One of a device that was claimed meanwhile may have been on its way to the disk at that time.
        if tables.device(claim.device).is_some_and(|device| device.customer().is_none()) {
            tables.claims.insert(claim.device, claim);
        }
    }
    Ok(tables)
}

fn load_devices(store: &Store, tables: &mut Tables) -> Result<(), OpenError> {
    let mut credentials: HashMap<DeviceId, Credentials> =
        store.credentials()?.into_iter().map(|credentials| (credentials.device, credentials)).collect();
    for device in store.devices()? {
        let id = device.id;
        let lost = |what: &str| OpenError::Damaged(format!("device {id} has no {what}"));
        let profile: ProfileId = device.profile;
        let profile = tables.profile(profile).ok_or_else(|| lost("profile"))?.clone();
        let credentials = credentials.remove(&id).ok_or_else(|| lost("credentials"))?;
        let device = DeviceHandle::new(device, profile, credentials);
        device.settle(device.state.saves.load(Ordering::Acquire));
        tables.insert(&device);
    }
    for device in tables.devices() {
        if let Ok(info) = AdditionalInfo::parse(&device.record().additional_info) {
            count_child(tables, &info, |count| count + 1);
        }
    }
    Ok(())
}
