//! How devices are told of their packages (device API §16.1, §16.2): queued, and a bounded number of them in a minute.
//!
//! What a device was told of, or waits to be told of, is a record. It is compared with what the device is to have:
//! after every change that may make a difference, and for all devices at the start, so that nothing is lost between two
//! commits. Withdrawals do not wait.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use parking_lot::Mutex;
use wireglot_model::limits::{OTA_DEVICES_AT_ONCE, OTA_PUSH_PERIOD_S, OTA_PUSHES_MAX};
use wireglot_model::{
    DeviceId, Downlink, Measurement, OtaContent, OtaKind, OtaPackage, OtaUpdate, ProfileId, Sample, Scope,
    Timestamp, Value,
};
use wireglot_store::Batch;

use super::target;
use crate::Devices;
use crate::attributes;
use crate::error::DeviceError;
use crate::registry::{DeviceHandle, Tables};
use crate::telemetry::announce;

const PERIOD_MS: i64 = OTA_PUSH_PERIOD_S as i64 * 1_000;

/// When there is more to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UpdatesDue {
    Now,
    At(Timestamp),
    /// When something changes.
    Later,
}

/// The updates of all devices.
#[derive(Default)]
pub(crate) struct Updates(Mutex<State>);

#[derive(Default)]
struct State {
    /// What devices were told of, or wait for. One for each device and kind that has a package.
    known: HashMap<(DeviceId, OtaKind), OtaUpdate>,
    /// Devices that may be to have something else than is known.
    unseen: BTreeSet<DeviceId>,
    /// Those of `known` that were not told, oldest first; one that was withdrawn meanwhile is skipped.
    waiting: VecDeque<(DeviceId, OtaKind)>,
    /// When devices were told, in the last period.
    pushes: VecDeque<Timestamp>,
    waker: Option<Waker>,
}

/// Something to be told when it is durable.
struct Told {
    device: DeviceHandle,
    at: Timestamp,
    telemetry: Vec<Sample>,
    shared: Vec<Sample>,
    deleted: Vec<String>,
}

impl Updates {
    pub(crate) fn load(stored: Vec<OtaUpdate>, tables: &Tables, now: Timestamp) -> Self {
        let mut state = State::default();
        let mut waiting: Vec<&OtaUpdate> = stored.iter().filter(|update| update.pushed.is_none()).collect();
        waiting.sort_by_key(|update| update.queued);
        state.waiting = waiting.into_iter().map(|update| (update.device, update.kind)).collect();
        let mut pushes: Vec<Timestamp> = stored.iter().filter_map(|update| update.pushed).collect();
        pushes.sort_unstable();
        state.pushes = pushes.into();
        state.forget_pushes(now);
        state.known = stored.into_iter().map(|update| ((update.device, update.kind), update)).collect();
        let is_other = |device: DeviceId, kind| {
            let wanted = tables.device(device).and_then(|device| target(tables, device, kind));
            wanted.map(|package| package.id) != state.known.get(&(device, kind)).map(|update| update.package)
        };
        let devices =
            tables.devices().map(DeviceHandle::id).chain(state.known.keys().map(|(device, _)| *device));
        let unseen = devices.filter(|device| OtaKind::ALL.iter().any(|kind| is_other(*device, *kind)));
        state.unseen = unseen.collect();
        Self(Mutex::new(state))
    }

    /// The device may be to have another package than before. Called after the change was queued for the store.
    pub(crate) fn look_at(&self, device: DeviceId) {
        let mut state = self.0.lock();
        state.unseen.insert(device);
        state.wake();
    }

    /// So may all devices of a profile.
    pub(crate) fn look_at_profile(&self, tables: &Tables, profile: ProfileId) {
        let is_of = |device: &&DeviceHandle| device.state.record.load().device.profile == profile;
        let mut state = self.0.lock();
        state.unseen.extend(tables.devices().filter(is_of).map(DeviceHandle::id));
        state.wake();
    }
}

impl State {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Also those that lie ahead, after the clock was set back.
    fn forget_pushes(&mut self, now: Timestamp) {
        self.pushes.retain(|pushed| (0..PERIOD_MS).contains(&(now.0 - pushed.0)));
    }

    fn due(&self) -> UpdatesDue {
        if !self.unseen.is_empty() {
            return UpdatesDue::Now;
        }
        match self.pushes.front() {
            _ if self.waiting.is_empty() => UpdatesDue::Later,
            Some(first) if self.pushes.len() >= OTA_PUSHES_MAX => {
                UpdatesDue::At(Timestamp(first.0 + PERIOD_MS))
            }
            Some(_) | None => UpdatesDue::Now,
        }
    }
}

impl Devices {
    /// Resolves when a device may be to have another package. For one caller.
    pub async fn updates_wanted(&self) {
        poll_fn(|context| {
            let mut state = self.0.updates.0.lock();
            if !state.unseen.is_empty() {
                return Poll::Ready(());
            }
            state.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Queues, withdraws and tells what is due, and says when there is more. For one caller.
    pub async fn advance_updates(&self, now: Timestamp) -> Result<UpdatesDue, DeviceError> {
        let unseen: Vec<DeviceId> = {
            let mut state = self.0.updates.0.lock();
            (0..OTA_DEVICES_AT_ONCE).map_while(|_| state.unseen.pop_first()).collect()
        };
        let mut commits = Vec::new();
        self.look(&unseen, now, &mut commits);
        self.push(now, &mut commits);
        for (committed, told) in commits {
            committed.await?;
            told.into_iter().for_each(|told| self.tell(told));
        }
        Ok(self.0.updates.0.lock().due())
    }

    /// Queues an update of each device that is to have another package than is known, and takes back what is not
    /// wanted any more.
    fn look(&self, devices: &[DeviceId], now: Timestamp, commits: &mut Vec<Commit>) {
        // Held until everything is queued for the store: a device that is deleted is deleted before it, or after it.
        let tables = self.0.tables.read();
        let mut state = self.0.updates.0.lock();
        let mut batch = Batch::default();
        let mut told = Vec::new();
        for (id, kind) in devices.iter().flat_map(|id| OtaKind::ALL.map(|kind| (*id, kind))) {
            let device = tables.device(id);
            let wanted = device.and_then(|device| target(&tables, device, kind));
            let known = state.known.get(&(id, kind)).copied();
            match (device, wanted, known) {
                (Some(device), Some(package), known)
                    if known.is_none_or(|known| known.package != package.id) =>
                {
                    let update =
                        OtaUpdate { device: id, kind, package: package.id, queued: now, pushed: None };
                    if device.unsettled().is_some() {
                        device.put_into(&mut batch);
                    }
                    batch.put_ota_update(&update);
                    let telemetry = queued(&package, now);
                    put_telemetry(&mut batch, device, now, &telemetry);
                    told.push(Told::telemetry(device, now, telemetry));
                    // It may wait already, for a package that is not its target any more; who was told is passed over.
                    state.waiting.push_back((id, kind));
                    state.known.insert((id, kind), update);
                }
                (device, None, Some(_)) => {
                    state.known.remove(&(id, kind));
                    batch.delete_ota_update(id, kind);
                    if let Some(device) = device {
                        commits.push(self.withdraw(device, kind));
                    }
                }
                (_, Some(_), _) | (_, None, None) => {}
            }
        }
        if !batch.is_empty() {
            commits.push((Box::pin(self.0.queue(batch)), told));
        }
    }

    fn withdraw(&self, device: &DeviceHandle, kind: OtaKind) -> Commit {
        let deleted = withdrawn(kind);
        let mut batch = Batch::default();
        let mut attributes = device.state.attributes.lock();
        attributes.remove(device.id(), Scope::Shared, &deleted, &mut batch);
        let told = Told { deleted, ..Told::telemetry(device, Timestamp(0), Vec::new()) };
        (Box::pin(self.0.queue(batch)), vec![told])
    }

    /// Tells as many of the waiting devices as may be told now.
    fn push(&self, now: Timestamp, commits: &mut Vec<Commit>) {
        let tables = self.0.tables.read();
        let mut state = self.0.updates.0.lock();
        state.forget_pushes(now);
        while state.pushes.len() < OTA_PUSHES_MAX
            && let Some((id, kind)) = state.waiting.pop_front()
        {
            let Some(device) = tables.device(id) else { continue };
            let Some(update) = state.known.get_mut(&(id, kind)).filter(|update| update.pushed.is_none())
            else {
                continue;
            };
            // What is to be had now was compared before, or will be: then this one is not told.
            let Some(package) = target(&tables, device, kind).filter(|package| package.id == update.package)
            else {
                continue;
            };
            update.pushed = Some(now);
            let update = *update;
            state.pushes.push_back(now);
            commits.push(self.initiate(device, &package, &update, now));
        }
    }

    fn initiate(
        &self,
        device: &DeviceHandle,
        package: &OtaPackage,
        update: &OtaUpdate,
        now: Timestamp,
    ) -> Commit {
        let (shared, deleted) = attributes_of(package);
        // Later than the state before it, or a history would show one of the two.
        let at = Timestamp(now.0.max(update.queued.0 + 1));
        let telemetry = vec![text(package.kind, "_state", "INITIATED")];
        let mut batch = Batch::default();
        put_telemetry(&mut batch, device, at, &telemetry);
        batch.put_ota_update(update);
        let mut attributes = device.state.attributes.lock();
        attributes.remove(device.id(), Scope::Shared, &deleted, &mut batch);
        attributes.write_all(device.id(), Scope::Shared, &shared, update.queued, &mut batch);
        let told = Told { device: device.clone(), at, telemetry, shared, deleted };
        (Box::pin(self.0.queue(batch)), vec![told])
    }

    /// What was committed, to the device and to whoever listens.
    fn tell(&self, told: Told) {
        let Told { device, at, telemetry, shared, deleted } = told;
        let bus = &self.0.bus;
        if !telemetry.is_empty() {
            announce(bus, &device, at, None, vec![Measurement { ts: None, samples: telemetry }]);
        }
        if !deleted.is_empty() {
            attributes::announce_deleted(bus, &device, Scope::Shared, &deleted);
            bus.send(device.id(), Downlink::AttributeDelete(deleted));
        }
        if shared.is_empty() {
            return;
        }
        device.state.attributes.lock().settle(Scope::Shared, &shared);
        attributes::announce(bus, &device, at, Scope::Shared, &shared);
        bus.send(device.id(), Downlink::AttributeUpdate(shared));
    }
}

/// A commit that is queued, and what is to be told after it.
type Commit = (std::pin::Pin<Box<dyn Future<Output = Result<(), DeviceError>> + Send>>, Vec<Told>);

impl Told {
    fn telemetry(device: &DeviceHandle, at: Timestamp, telemetry: Vec<Sample>) -> Self {
        Self { device: device.clone(), at, telemetry, shared: Vec::new(), deleted: Vec::new() }
    }
}

fn put_telemetry(batch: &mut Batch, device: &DeviceHandle, at: Timestamp, samples: &[Sample]) {
    let measurement = Measurement { ts: None, samples: samples.to_vec() };
    batch.telemetry(device.id(), at, None, &[measurement]);
}

fn text(kind: OtaKind, name: &str, value: &str) -> Sample {
    Sample { key: format!("{}{name}", kind.prefix()), value: Value::Text(value.to_owned()) }
}

fn number(kind: OtaKind, name: &str, value: i64) -> Sample {
    Sample { key: format!("{}{name}", kind.prefix()), value: Value::Long(value) }
}

/// The telemetry that says what a device waits for.
fn queued(package: &Arc<OtaPackage>, now: Timestamp) -> Vec<Sample> {
    let kind = package.kind;
    let mut samples = vec![text(kind, "_title", &package.title), text(kind, "_version", &package.version)];
    samples.extend(package.tag.as_ref().map(|tag| text(kind, "_tag", tag)));
    samples.push(number(kind, "_ts", now.0));
    for sample in &mut samples {
        sample.key = format!("target_{}", sample.key);
    }
    samples.push(text(kind, "_state", "QUEUED"));
    samples
}

/// The shared attributes of a package, and the names of those that it does not have.
fn attributes_of(package: &OtaPackage) -> (Vec<Sample>, Vec<String>) {
    let kind = package.kind;
    let bytes = |bytes: u64| number(kind, "_size", i64::try_from(bytes).unwrap_or(i64::MAX));
    let mut samples = vec![text(kind, "_title", &package.title), text(kind, "_version", &package.version)];
    samples.extend(package.tag.as_ref().map(|tag| text(kind, "_tag", tag)));
    match &package.content {
        // Nothing that has no file is assigned.
        OtaContent::Pending => {}
        OtaContent::File(file) => {
            samples.push(bytes(file.bytes));
            samples.push(text(kind, "_checksum_algorithm", &file.algorithm.to_string()));
            samples.push(text(kind, "_checksum", &file.checksum));
        }
        OtaContent::Url { url, bytes: known, checksum } => {
            samples.extend(known.map(bytes));
            if let Some((algorithm, checksum)) = checksum {
                samples.push(text(kind, "_checksum_algorithm", &algorithm.to_string()));
                samples.push(text(kind, "_checksum", checksum));
            }
            samples.push(text(kind, "_url", url));
        }
    }
    let names = ["_tag", "_size", "_checksum_algorithm", "_checksum", "_url"];
    let names = names.map(|name| format!("{}{name}", kind.prefix()));
    let deleted = names.into_iter().filter(|name| samples.iter().all(|sample| sample.key != *name));
    let deleted = deleted.collect();
    (samples, deleted)
}

/// The shared attributes that go with a package.
fn withdrawn(kind: OtaKind) -> Vec<String> {
    let names =
        ["_title", "_version", "_ts", "_state", "_size", "_checksum", "_checksum_algorithm", "_url", "_tag"];
    names.iter().map(|name| format!("{}{name}", kind.prefix())).collect()
}
