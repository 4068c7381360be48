//! Devices, profiles and users in memory, with the indexes by which they are found.
//!
//! A handle is the device itself, shared by everybody who has one: what is changed here is seen at the next look.
//! The tables' lock guards the indexes and the order of changes; a worker takes it only to look up credentials or the
//! device behind a gateway.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use wireglot_model::{
    ClaimRecord, Credentials, Customer, CustomerId, Device, DeviceId, OtaPackage, OtaPackageId, Profile,
    ProfileId, User, UserId,
};
use wireglot_proto::ProtoSchemas;
use wireglot_store::Batch;

use crate::api_keys::ApiKeys;
use crate::attributes::Attributes;
use crate::auth::{Digest, digest};
use crate::devices::AdditionalInfo;
use crate::rate::DeviceBuckets;
use crate::session::SessionFacts;

/// One saved version of a profile. Its address changes exactly when the profile does, so what a session derives from
/// it can be kept until then.
#[derive(Debug)]
pub struct ProfileState {
    /// The record.
    pub profile: Profile,
    /// Its name, shared.
    pub name: Arc<str>,
    /// Its protobuf schemas, compiled; `None` where it has none.
    pub schemas: Option<Arc<ProtoSchemas>>,
}

/// A device, as everybody holds it.
#[derive(Clone)]
pub struct DeviceHandle {
    pub(crate) state: Arc<DeviceState>,
    /// The version of the credentials by which its session was let in; 0 for handles that came another way.
    pub(crate) admitted_by: u64,
}

/// A device and its profile as they were at one moment, without a copy of either.
pub struct DeviceView {
    record: Arc<DeviceRecord>,
    pub profile: Arc<ProfileState>,
}

impl DeviceView {
    /// The device's record.
    pub fn device(&self) -> &Device {
        &self.record.device
    }

    /// Its name, shared.
    pub fn name(&self) -> &Arc<str> {
        &self.record.name
    }
}

pub(crate) struct DeviceState {
    pub(crate) id: DeviceId,
    pub(crate) record: ArcSwap<DeviceRecord>,
    pub(crate) credentials: ArcSwap<Credentials>,
    pub(crate) attributes: Mutex<Attributes>,
    /// How many devices this gateway has brought.
    pub(crate) children: AtomicUsize,
    /// Counts changes of the record and the credentials.
    pub(crate) saves: AtomicU64,
    /// The last of `saves` that is known to be in the store.
    pub(crate) durable: AtomicU64,
    pub(crate) deleted: AtomicBool,
    /// What is left of its rate limits, as soon as it was asked for.
    pub(crate) buckets: ArcSwapOption<DeviceBuckets>,
    /// Its session, for those who list them.
    pub(crate) session: ArcSwapOption<SessionFacts>,
    /// Sessions that have begun and not ended; more than one only while a newer one takes over.
    pub(crate) sessions: AtomicUsize,
    /// The `lastActivityTime` that was last put into the store.
    pub(crate) activity_saved: AtomicI64,
}

pub(crate) struct DeviceRecord {
    pub(crate) device: Device,
    pub(crate) name: Arc<str>,
    pub(crate) profile: Arc<ProfileSlot>,
    /// What its additional info says to the server.
    pub(crate) info: AdditionalInfo,
}

/// A profile whose versions follow each other.
pub(crate) struct ProfileSlot {
    state: ArcSwap<ProfileState>,
    /// Whether its record is known to be in the store.
    is_durable: AtomicBool,
}

impl ProfileState {
    pub(crate) fn new(profile: Profile, schemas: Option<Arc<ProtoSchemas>>) -> Arc<Self> {
        Arc::new(Self { name: profile.name.as_str().into(), profile, schemas })
    }
}

impl ProfileSlot {
    pub(crate) fn new(profile: Profile, schemas: Option<Arc<ProtoSchemas>>) -> Arc<Self> {
        let state = ArcSwap::new(ProfileState::new(profile, schemas));
        Arc::new(Self { state, is_durable: AtomicBool::new(true) })
    }

    /// A profile that goes into the store with the first device that has it.
    pub(crate) fn not_kept_yet(profile: Profile) -> Arc<Self> {
        let slot = Self::new(profile, None);
        slot.is_durable.store(false, Ordering::Release);
        slot
    }

    pub(crate) fn state(&self) -> Arc<ProfileState> {
        self.state.load_full()
    }

    /// Puts the record into `batch`, unless it is known to be in the store.
    pub(crate) fn put_into(&self, batch: &mut Batch) {
        if !self.is_durable.load(Ordering::Acquire) {
            batch.put_profile(&self.state().profile);
        }
    }

    pub(crate) fn publish(&self, profile: Profile, schemas: Option<Arc<ProtoSchemas>>) -> Arc<ProfileState> {
        let state = ProfileState::new(profile, schemas);
        self.state.store(state.clone());
        state
    }
}

impl DeviceHandle {
    pub(crate) fn new(device: Device, profile: Arc<ProfileSlot>, credentials: Credentials) -> Self {
        let state = DeviceState {
            id: device.id,
            record: ArcSwap::new(DeviceRecord::new(device, profile)),
            credentials: ArcSwap::from_pointee(credentials),
            attributes: Mutex::default(),
            children: AtomicUsize::new(0),
            saves: AtomicU64::new(1),
            durable: AtomicU64::new(0),
            deleted: AtomicBool::new(false),
            buckets: ArcSwapOption::empty(),
            session: ArcSwapOption::empty(),
            sessions: AtomicUsize::new(0),
            activity_saved: AtomicI64::new(0),
        };
        Self { state: Arc::new(state), admitted_by: 0 }
    }

    /// Identity.
    pub fn id(&self) -> DeviceId {
        self.state.id
    }

    /// Its name now.
    pub fn name(&self) -> Arc<str> {
        self.state.record.load().name.clone()
    }

    /// What it is now.
    pub fn view(&self) -> DeviceView {
        let record = self.state.record.load_full();
        DeviceView { profile: record.profile.state(), record }
    }

    /// A copy of its record now.
    pub fn record(&self) -> Device {
        self.state.record.load().device.clone()
    }

    /// The version of its profile that is in force now.
    pub fn profile(&self) -> Arc<ProfileState> {
        self.state.record.load().profile.state()
    }

    /// Whose it is now; `None`: the tenant's own.
    pub fn customer(&self) -> Option<CustomerId> {
        self.state.record.load().device.customer
    }

    /// Whether it acts for devices behind it.
    pub fn is_gateway(&self) -> bool {
        self.state.record.load().device.is_gateway
    }

    /// Whether it is no longer there.
    pub fn is_deleted(&self) -> bool {
        self.state.deleted.load(Ordering::Acquire)
    }

    /// Whether the credentials by which it was let in hold no longer.
    pub(crate) fn is_revoked(&self) -> bool {
        self.is_deleted() || self.state.credentials.load().version != self.admitted_by
    }

    fn lookup_digest(&self) -> Digest {
        digest(self.state.credentials.load().lookup.as_bytes())
    }

    /// The number of the last save, if it is not known to be durable yet.
    pub(crate) fn unsettled(&self) -> Option<u64> {
        let saves = self.state.saves.load(Ordering::Acquire);
        (self.state.durable.load(Ordering::Acquire) < saves).then_some(saves)
    }

    /// The save of this number has been committed.
    pub(crate) fn settle(&self, save: u64) {
        self.state.durable.fetch_max(save, Ordering::AcqRel);
        self.state.record.load().profile.is_durable.store(true, Ordering::Release);
    }

    /// As one whose session begins now: a change of its credentials from here on ends it.
    pub fn admitted(&self) -> Self {
        Self { state: self.state.clone(), admitted_by: self.state.credentials.load().version }
    }

    /// Whether a ping of this gateway is a sign of life of all devices behind it.
    pub fn pings_for_children(&self) -> bool {
        self.state.record.load().info.overwrites_activity
    }

    /// Puts the record and the credentials as they are now into `batch`.
    pub(crate) fn put_into(&self, batch: &mut Batch) {
        let record = self.state.record.load();
        record.profile.put_into(batch);
        batch.put_device(&record.device);
        batch.put_credentials(&self.state.credentials.load());
    }
}

impl DeviceRecord {
    pub(crate) fn new(device: Device, profile: Arc<ProfileSlot>) -> Arc<Self> {
        // Nothing is saved that is not JSON.
        let info = AdditionalInfo::parse(&device.additional_info).unwrap_or_default();
        Arc::new(Self { name: device.name.as_str().into(), device, profile, info })
    }
}

/// The indexes. Every device is in all three of its maps.
#[derive(Default)]
pub(crate) struct Tables {
    /// In order, so that whoever looks at all of them can let go in between.
    devices: BTreeMap<DeviceId, DeviceHandle>,
    names: HashMap<Arc<str>, DeviceHandle>,
    /// By the digest of the lookup text, so that comparing keys tells nothing about tokens.
    lookups: HashMap<Digest, DeviceHandle>,
    pub(crate) profiles: HashMap<ProfileId, Arc<ProfileSlot>>,
    pub(crate) packages: HashMap<OtaPackageId, Arc<OtaPackage>>,
    pub(crate) users: HashMap<UserId, Arc<User>>,
    pub(crate) api_keys: ApiKeys,
    pub(crate) customers: HashMap<CustomerId, Arc<Customer>>,
    /// Devices that may be claimed, until their time is over or somebody asks in vain.
    pub(crate) claims: HashMap<DeviceId, ClaimRecord>,
    /// Profiles by the digest of the key by which devices that provision themselves name them.
    provisioning: HashMap<Digest, Arc<ProfileSlot>>,
}

impl Tables {
    pub(crate) fn device(&self, id: DeviceId) -> Option<&DeviceHandle> {
        self.devices.get(&id)
    }

    pub(crate) fn device_by_name(&self, name: &str) -> Option<&DeviceHandle> {
        self.names.get(name)
    }

    pub(crate) fn device_by_lookup(&self, lookup: &str) -> Option<&DeviceHandle> {
        self.lookups.get(&digest(lookup.as_bytes()))
    }

    pub(crate) fn device_count(&self) -> usize {
        self.devices.len()
    }

    pub(crate) fn devices(&self) -> impl Iterator<Item = &DeviceHandle> {
        self.devices.values()
    }

    /// The devices behind this one in the order of their ids; all of them behind nobody.
    pub(crate) fn devices_after(&self, after: Option<DeviceId>) -> impl Iterator<Item = &DeviceHandle> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.devices.range((after, Bound::Unbounded)).map(|(_, device)| device)
    }

    pub(crate) fn profile(&self, id: ProfileId) -> Option<&Arc<ProfileSlot>> {
        self.profiles.get(&id)
    }

    pub(crate) fn profile_by_name(&self, name: &str) -> Option<Arc<ProfileSlot>> {
        self.profiles.values().find(|slot| &*slot.state().name == name).cloned()
    }

    pub(crate) fn profile_by_provisioning_key(&self, key: &str) -> Option<&Arc<ProfileSlot>> {
        self.provisioning.get(&digest(key.as_bytes()))
    }

    /// Keeps the index by provisioning keys: `old` is the profile as it was in `slot`.
    pub(crate) fn index_provisioning(&mut self, old: Option<&Profile>, slot: Option<&Arc<ProfileSlot>>) {
        if let Some(key) = old.and_then(|old| old.provisioning.key()) {
            self.provisioning.remove(&digest(key.as_bytes()));
        }
        if let Some(slot) = slot
            && let Some(key) = slot.state().profile.provisioning.key()
        {
            self.provisioning.insert(digest(key.as_bytes()), slot.clone());
        }
    }

    pub(crate) fn default_profile(&self) -> Arc<ProfileState> {
        self.profiles
            .values()
            .map(|slot| slot.state())
            .find(|state| state.profile.is_default)
            .expect("opening makes a default profile, and it can be neither deleted nor unmarked")
    }

    /// Whether a device has this profile.
    pub(crate) fn is_used(&self, profile: ProfileId) -> bool {
        self.devices.values().any(|device| device.state.record.load().device.profile == profile)
    }

    pub(crate) fn insert(&mut self, device: &DeviceHandle) {
        self.devices.insert(device.id(), device.clone());
        self.names.insert(device.name(), device.clone());
        self.lookups.insert(device.lookup_digest(), device.clone());
    }

    pub(crate) fn remove(&mut self, device: &DeviceHandle) {
        self.devices.remove(&device.id());
        self.names.remove(&device.name());
        self.lookups.remove(&device.lookup_digest());
    }

    /// Puts `record` in force, under its name.
    pub(crate) fn replace_record(&mut self, device: &DeviceHandle, record: Arc<DeviceRecord>) {
        self.names.remove(&device.name());
        self.names.insert(record.name.clone(), device.clone());
        device.state.record.store(record);
    }

    /// Puts `credentials` in force, under their lookup text.
    pub(crate) fn replace_credentials(&mut self, device: &DeviceHandle, credentials: Credentials) {
        self.lookups.remove(&device.lookup_digest());
        device.state.credentials.store(Arc::new(credentials));
        self.lookups.insert(device.lookup_digest(), device.clone());
    }
}
