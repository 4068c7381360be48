//! What a device may do, and what may be done with it. Knows neither MQTT nor HTTP: no topics, no codes.
//!
//! Read in this order: `registry` (what is in memory), `open` (how it gets there), `auth` (who may connect; with a
//! certificate: `certificate` and `chain`), `worker` (what becomes of a message, through `telemetry`, `attributes` and
//! `gateway`), `frames` (what is kept as it came, and what becomes of it when it is decoded again), `rate` (how much of
//! it is taken), `activity` (when a device was there), `rpc` (what it is asked), then the management side:
//! `devices`, `credentials`, `profiles`, `ota` (packages, and which device is told of which), `customers`, `users` with
//! their `passwords` and `api_keys`, `fleet`, and what is told of it (`audit`). How devices come by credentials and owners: `provision` and `claim`.
//!
//! Memory is changed before the store has committed: a commit that fails ends all commits (`Store::healthy`), so
//! nothing is built on what was never kept. Whoever needs a record that is not known to be durable yet writes it again
//! in their own batch; that is why a positive answer never depends on somebody else's commit.

mod activity;
mod api_keys;
mod attributes;
mod audit;
mod auth;
mod certificate;
mod chain;
mod claim;
mod credentials;
mod customers;
mod devices;
mod error;
mod fleet;
mod frames;
mod gateway;
mod open;
mod ota;
mod passwords;
mod profiles;
mod provision;
mod random;
mod rate;
mod registry;
mod rpc;
mod session;
mod telemetry;
mod users;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use parking_lot::RwLock;
use wireglot_bus::Bus;
use wireglot_model::{Actor, TenantId, Timestamp};
use wireglot_store::Store;

pub use activity::ActivityCounters;
pub use api_keys::{ApiKeyChange, ApiKeyDraft, ApiKeyRefusal};
pub use auth::{AuthRefusal, ConnectClaim};
pub use certificate::{Certificate, InvalidCertificate, PublicKey};
pub use chain::{CertificateRefusal, Dates};
pub use claim::{ClaimOutcome, ClaimRules};
pub use credentials::CredentialsDraft;
pub use customers::CustomerDraft;
pub use devices::{DeviceDraft, ProfileChoice};
pub use error::{AcceptError, DeviceError, OpenError, Rule};
pub use fleet::{DeviceSpec, Ensured};
pub use frames::{Again, Change, Place, ReviveError};
pub use gateway::ChildProfile;
pub use open::{ADMINISTRATOR_EMAIL, FirstStart};
pub use ota::{OtaPackageDraft, OtaUrlDraft, UpdatesDue, checksum};
pub use passwords::HashedPassword;
pub use profiles::ProfileDraft;
pub use provision::ProvisionError;
pub use rate::{Charge, RateExceeded, RateRefusals, Speaker};
pub use registry::{DeviceHandle, DeviceView, ProfileState};
pub use rpc::{RpcCall, RpcDraft, RpcOutcome, RpcRefusal, RpcRules, RpcStrategy, RpcWaiting, Written};
pub use session::{PollRefusal, Revoked, SessionFacts};
pub use telemetry::{Erasure, Latest, LatestAfter, Message, PointsQuery, Retained, Want};
pub use users::UserDraft;
pub use wireglot_store::{FileDraft, FileError, Files, LetterFilter, RawKey, StoredFile};
pub use worker::{Accepted, DeviceWorker, Outcome, Parts, Raw};

/// All devices, profiles and users. Cheap to clone; all clones are the same, and differ at most in who acts.
#[derive(Clone)]
pub struct Devices(Arc<Inner>, Actor);

struct Inner {
    store: Store,
    bus: Bus,
    tenant: TenantId,
    signing_key: Box<[u8]>,
    tables: RwLock<registry::Tables>,
    updates: ota::Updates,
    /// Counts changes of devices and profiles that sessions keep something of.
    changes: AtomicU64,
    /// Tells raw frames of one time apart.
    raw_number: AtomicU64,
    /// The sequence number of the last entry of the audit log.
    audited: AtomicU64,
    claim_rules: ArcSwap<claim::ClaimRules>,
    rpcs: rpc::Rpcs,
    rates: rate::Rates,
    activity: activity::ActivityBook,
    ended_sessions: users::EndedSessions,
    devices_max: AtomicUsize,
}

/// The wall clock, as MQTT, REST and the host stamp what they receive. Nothing below them reads it.
pub fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

impl Devices {
    /// The one tenant of this installation.
    pub fn tenant(&self) -> TenantId {
        self.0.tenant
    }

    /// The secret that signs the tokens of the management side; made at the first start.
    pub fn signing_key(&self) -> &[u8] {
        &self.0.signing_key
    }

    /// A number that is another one after every change of a device or a profile. Reading it costs nothing while nothing
    /// changes, so a session asks it before it looks at its device again.
    pub fn changes(&self) -> u64 {
        self.0.changes.load(Ordering::Acquire)
    }

    /// To be called after a change, before its caller hears of it.
    fn changed(&self) {
        self.0.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// A number that no raw frame of the same time has: they begin at random, at every start.
    fn next_raw_number(&self) -> u64 {
        self.0.raw_number.fetch_add(1, Ordering::Relaxed)
    }

    /// Sets how many devices there may be; those that are there stay.
    pub fn set_devices_max(&self, devices_max: usize) {
        self.0.devices_max.store(devices_max, Ordering::Relaxed);
    }

    /// Where live events are told, and requests of devices come in.
    pub fn bus(&self) -> &Bus {
        &self.0.bus
    }

    /// Whether the store still commits.
    pub fn healthy(&self) -> bool {
        self.0.store.healthy()
    }
}

impl Inner {
    fn devices_max(&self) -> usize {
        self.devices_max.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;
