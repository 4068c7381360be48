//! Rate limits: how many messages and values are taken, tenant-wide and per device, all limits at once (device API §17).
//!
//! A bucket is full at its start and refills evenly. Nothing here locks: a bucket is one number per part of its limit, the
//! moment from which it will be full again. While nothing is limited, asking costs one load. The time is the caller's.
//! Buckets of a device live with the device, so that a new connection does not fill them; they are made when they are
//! first needed.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use arc_swap::ArcSwap;
use wireglot_model::{
    AuditAction, AuditEntry, Decoded, LevelLimits, RateKind, RateLevel, RateLimit, RateLimits, Timestamp,
    Uplink, UplinkBody,
};
use wireglot_store::{Batch, Store};

use crate::Devices;
use crate::error::{DeviceError, OpenError};
use crate::registry::DeviceHandle;

const SETTING: &str = "rate-limits";
const NANOS_PER_SECOND: u128 = 1_000_000_000;
/// A level that refuses is told to the operator at most this often; every refusal is counted.
const TOLD_EVERY_MS: i64 = 60_000;

/// A message that is not taken, because a limit was passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the rate limit of {kind:?} is passed at the level {level:?}")]
pub struct RateExceeded {
    /// Whose.
    pub level: RateLevel,
    /// Of what.
    pub kind: RateKind,
}

/// What is counted of something that a device said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Charge {
    /// A message without values.
    Message,
    /// A message with so many values.
    Telemetry(u64),
}

impl Charge {
    /// What is counted of all that one message said.
    pub fn of<'u>(uplinks: impl IntoIterator<Item = &'u Uplink>) -> Self {
        match uplinks.into_iter().filter_map(|uplink| points(&uplink.body)).sum() {
            0 => Self::Message,
            points => Self::Telemetry(points),
        }
    }
}

/// For whom a connection speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Speaker {
    /// Itself.
    Own,
    /// A device behind it.
    Child,
}

/// How often each limit has refused, by level and kind in the order of `RateLevel::ALL` and `RateKind::ALL`.
pub type RateRefusals = [[u64; 3]; 4];

/// The limits in force.
pub(crate) struct Rates {
    is_on: AtomicBool,
    policy: ArcSwap<Policy>,
    /// What buckets count their time from.
    epoch: OnceLock<Instant>,
    refusals: [[AtomicU64; 3]; 4],
    told: [AtomicI64; 4],
}

struct Policy {
    number: u64,
    limits: RateLimits,
    tenant: Buckets,
}

/// The buckets of one device as of one policy.
pub(crate) struct DeviceBuckets {
    policy: u64,
    is_gateway: bool,
    own: Buckets,
    children: Buckets,
    /// Its own as a device behind a gateway.
    behind: Buckets,
}

/// The buckets of one level.
#[derive(Default)]
struct Buckets([Option<Arc<Bucket>>; 3]);

/// One limit and how much of it is left.
struct Bucket {
    limit: RateLimit,
    /// For each part, the time in nanoseconds at which it will be full again.
    full_at: Box<[AtomicU64]>,
}

impl Bucket {
    fn new(limit: RateLimit) -> Self {
        let full_at = limit.parts().iter().map(|_| AtomicU64::new(0)).collect();
        Self { limit, full_at }
    }

    /// Takes `count` from every part, or nothing at all.
    fn take(&self, count: u64, now: u64) -> bool {
        let parts = || self.limit.parts().iter().zip(&self.full_at);
        for (index, (part, full_at)) in parts().enumerate() {
            let period = u128::from(part.period_s) * NANOS_PER_SECOND;
            let cost = u128::from(count) * period / u128::from(part.capacity);
            let taken = full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
                let full_at = u128::from(full_at.max(now)) + cost;
                let is_within = full_at - u128::from(now) <= period;
                u64::try_from(full_at).ok().filter(|_| is_within)
            });
            if taken.is_err() {
                for (part, full_at) in parts().take(index) {
                    let period = u128::from(part.period_s) * NANOS_PER_SECOND;
                    let cost = u128::from(count) * period / u128::from(part.capacity);
                    full_at.fetch_sub(u64::try_from(cost).unwrap_or(0), Ordering::Relaxed);
                }
                return false;
            }
        }
        true
    }
}

impl Buckets {
    /// What is limited as before keeps its bucket as it is.
    fn new(limits: &LevelLimits, before: Option<&Self>) -> Self {
        Self(RateKind::ALL.map(|kind| {
            let limit = limits.of(kind)?;
            let kept = before.and_then(|before| before.of(kind)).filter(|bucket| bucket.limit == *limit);
            Some(kept.cloned().unwrap_or_else(|| Arc::new(Bucket::new(limit.clone()))))
        }))
    }

    fn of(&self, kind: RateKind) -> Option<&Arc<Bucket>> {
        self.0.get(kind as usize)?.as_ref()
    }

    fn take(&self, kind: RateKind, count: u64, now: u64) -> Result<(), RateKind> {
        let is_allowed = self.of(kind).is_none_or(|bucket| bucket.take(count, now));
        if is_allowed { Ok(()) } else { Err(kind) }
    }

    /// What an earlier bucket gave is not given back when a later one refuses (device API §17).
    fn charge(&self, charge: Charge, now: u64) -> Result<(), RateKind> {
        match charge {
            Charge::Message => self.take(RateKind::Messages, 1, now),
            Charge::Telemetry(points) => {
                self.take(RateKind::TelemetryMessages, 1, now)?;
                self.take(RateKind::DataPoints, points, now)
            }
        }
    }
}

impl Rates {
    pub(crate) fn load(store: &Store) -> Result<Self, OpenError> {
        let limits = match store.setting(SETTING)? {
            None => RateLimits::default(),
            Some(text) => serde_json::from_slice(&text)
                .map_err(|error| OpenError::Damaged(format!("setting '{SETTING}' is unreadable: {error}")))?,
        };
        Ok(Self {
            is_on: AtomicBool::new(!limits.is_empty()),
            policy: ArcSwap::from_pointee(Policy {
                number: 1,
                tenant: Buckets::new(&limits.tenant, None),
                limits,
            }),
            epoch: OnceLock::new(),
            refusals: Default::default(),
            told: Default::default(),
        })
    }

    fn publish(&self, limits: RateLimits) {
        let before = self.policy.load_full();
        let is_on = !limits.is_empty();
        let tenant = Buckets::new(&limits.tenant, Some(&before.tenant));
        self.policy.store(Arc::new(Policy { number: before.number + 1, limits, tenant }));
        self.is_on.store(is_on, Ordering::Release);
    }

    fn refuse(&self, level: RateLevel, kind: RateKind, device: &DeviceHandle, at: Timestamp) -> RateExceeded {
        let (row, column) = (level as usize, kind as usize);
        if let Some(count) = self.refusals.get(row).and_then(|row| row.get(column)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(told) = self.told.get(row)
            && at.0 - told.load(Ordering::Relaxed) >= TOLD_EVERY_MS
        {
            told.store(at.0, Ordering::Relaxed);
            tracing::warn!(device = %device.id(), ?level, ?kind, "A rate limit was passed; more are counted only.");
        }
        RateExceeded { level, kind }
    }
}

impl DeviceBuckets {
    fn new(policy: &Policy, is_gateway: bool, before: Option<&Self>) -> Self {
        let own = if is_gateway { &policy.limits.gateway_device } else { &policy.limits.device };
        // A device that becomes a gateway, or none any more, has the limits of another level.
        let before = before.filter(|before| before.is_gateway == is_gateway);
        Self {
            policy: policy.number,
            is_gateway,
            own: Buckets::new(own, before.map(|before| &before.own)),
            children: Buckets::new(&policy.limits.gateway, before.map(|before| &before.children)),
            behind: Buckets::new(&policy.limits.gateway_device, before.map(|before| &before.behind)),
        }
    }
}

impl Devices {
    /// Whether anything is limited: one load.
    pub fn is_rate_limited(&self) -> bool {
        self.0.rates.is_on.load(Ordering::Relaxed)
    }

    /// Counts what `device` says, for itself or for a device behind it; refuses what is too much. The tenant's limits come
    /// first, then those of one level more. `at` only stamps what is logged.
    pub fn charge(
        &self,
        device: &DeviceHandle,
        speaker: Speaker,
        charge: Charge,
        now: Instant,
        at: Timestamp,
    ) -> Result<(), RateExceeded> {
        let rates = &self.0.rates;
        if !rates.is_on.load(Ordering::Relaxed) {
            return Ok(());
        }
        let epoch = *rates.epoch.get_or_init(|| now);
        let nanos = nanos_since(epoch, now);
        let policy = rates.policy.load();
        let refuse = |level| move |kind| rates.refuse(level, kind, device, at);
        policy.tenant.charge(charge, nanos).map_err(refuse(RateLevel::Tenant))?;
        let buckets = device.buckets(&policy);
        let level = match (speaker, buckets.is_gateway) {
            (Speaker::Child, _) => RateLevel::Gateway,
            (Speaker::Own, true) => RateLevel::GatewayDevice,
            (Speaker::Own, false) => RateLevel::Device,
        };
        let side = if speaker == Speaker::Child { &buckets.children } else { &buckets.own };
        side.charge(charge, nanos).map_err(refuse(level))
    }

    /// Counts what `gateway` says for a device behind it: by the limits of all of its devices together, and by those of each
    /// one, as soon as it is known which.
    pub fn charge_child(
        &self,
        gateway: &DeviceHandle,
        child: Option<&DeviceHandle>,
        charge: Charge,
        now: Instant,
        at: Timestamp,
    ) -> Result<(), RateExceeded> {
        if !self.is_rate_limited() {
            return Ok(());
        }
        self.charge(gateway, Speaker::Child, charge, now, at)?;
        let Some(child) = child else { return Ok(()) };
        let rates = &self.0.rates;
        let epoch = *rates.epoch.get_or_init(|| now);
        let nanos = nanos_since(epoch, now);
        let buckets = child.buckets(&rates.policy.load());
        buckets
            .behind
            .charge(charge, nanos)
            .map_err(|kind| rates.refuse(RateLevel::GatewayDevice, kind, child, at))
    }

    /// Counts what `speaker` said over the connection of `device` as a whole: all parts of its own with values are one
    /// message, and so is each part with values of a device behind it; every other part is one message; what says nothing
    /// is one as well.
    pub fn charge_decoded(
        &self,
        device: &DeviceHandle,
        speaker: Speaker,
        decoded: &Decoded,
        now: Instant,
        at: Timestamp,
    ) -> Result<(), RateExceeded> {
        if !self.is_rate_limited() {
            return Ok(());
        }
        let charge = |speaker, charge| self.charge(device, speaker, charge, now, at);
        let behind = |name: &str, charge| {
            self.charge_child(device, self.device_by_name(name).as_ref(), charge, now, at)
        };
        let (mut own, mut is_counted) = (0, false);
        for uplink in &decoded.uplinks {
            match (points(&uplink.body), &uplink.child) {
                (Some(points), None) => own += points,
                // What is empty counts only where nothing else of the message does.
                (Some(0), Some(_)) => {}
                (Some(points), Some(child)) => {
                    behind(child, Charge::Telemetry(points))?;
                    is_counted = true;
                }
                (None, child) => {
                    match child {
                        Some(child) => behind(child, Charge::Message)?,
                        None => charge(speaker, Charge::Message)?,
                    }
                    is_counted = true;
                }
            }
        }
        match own {
            0 if is_counted => Ok(()),
            0 => charge(speaker, Charge::Message),
            points => charge(speaker, Charge::Telemetry(points)),
        }
    }

    /// The limits in force.
    pub fn rate_limits(&self) -> RateLimits {
        self.0.rates.policy.load().limits.clone()
    }

    /// Puts `limits` in force, for all sessions from their next message on, as soon as they are kept. A bucket whose limit
    /// stays the same stays as full as it is.
    pub async fn set_rate_limits(&self, limits: RateLimits, now: Timestamp) -> Result<(), DeviceError> {
        let before = self.rate_limits();
        if before == limits {
            return Ok(());
        }
        let text =
            serde_json::to_vec(&limits).map_err(|error| DeviceError::NotAccepted(error.to_string()))?;
        let mut batch = Batch::default();
        batch.put_setting(SETTING, &text);
        let entry = AuditEntry {
            at: now,
            actor: self.1.clone(),
            action: AuditAction::RateLimitsChanged,
            target: SETTING.to_owned(),
            detail: changes(&before, &limits),
        };
        self.put_audit(&mut batch, entry);
        let committed = {
            // In memory in the order in which the store keeps them.
            let _order = self.0.tables.write();
            self.0.rates.publish(limits);
            self.0.queue(batch)
        };
        committed.await
    }

    /// How often each limit has refused so far.
    pub fn rate_refusals(&self) -> RateRefusals {
        self.0
            .rates
            .refusals
            .each_ref()
            .map(|kinds| kinds.each_ref().map(|count| count.load(Ordering::Relaxed)))
    }
}

impl DeviceHandle {
    fn buckets(&self, policy: &Policy) -> Arc<DeviceBuckets> {
        let is_gateway = self.is_gateway();
        let held = self.state.buckets.load_full();
        if let Some(held) = &held
            && held.policy == policy.number
            && held.is_gateway == is_gateway
        {
            return held.clone();
        }
        let made = Arc::new(DeviceBuckets::new(policy, is_gateway, held.as_deref()));
        self.state.buckets.store(Some(made.clone()));
        made
    }
}

fn nanos_since(epoch: Instant, now: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(epoch).as_nanos()).unwrap_or(u64::MAX)
}

/// How many values a part has; `None` where it is of a kind that has none.
fn points(body: &UplinkBody) -> Option<u64> {
    match body {
        UplinkBody::Telemetry(measurements) => {
            Some(measurements.iter().map(|measurement| measurement.samples.len() as u64).sum())
        }
        UplinkBody::Attributes(samples) | UplinkBody::SharedAttributes(samples) => Some(samples.len() as u64),
        UplinkBody::AttributeRequest { .. }
        | UplinkBody::RpcResponse { .. }
        | UplinkBody::ClientRpc { .. }
        | UplinkBody::Claim { .. } => None,
    }
}

fn changes(before: &RateLimits, after: &RateLimits) -> String {
    let texts = |limits: &RateLimits| serde_json::to_value(limits).unwrap_or_default();
    let (before, after) = (texts(before), texts(after));
    let members = after.as_object().into_iter().flatten();
    let changed = members.filter(|(name, value)| before.get(*name) != Some(*value));
    let shown = changed.map(|(name, value)| {
        format!("{name}: {} → {value}", before.get(name).unwrap_or(&serde_json::Value::Null))
    });
    shown.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn bucket(text: &str) -> Bucket {
        Bucket::new(RateLimit::parse(text).unwrap().unwrap())
    }

    fn at(seconds: f64) -> u64 {
        u64::try_from(Duration::from_secs_f64(seconds).as_nanos()).unwrap()
    }

    #[test]
    fn a_bucket_is_full_at_its_start_and_refills_evenly() {
        let bucket = bucket("3:600");
        assert!((0..3).all(|_| bucket.take(1, at(0.0))));
        assert!(!bucket.take(1, at(0.0)));
        assert!(!bucket.take(1, at(199.9)), "a third of it takes a third of the time");
        assert!(bucket.take(1, at(200.0)));
        assert!(!bucket.take(1, at(200.0)));
        assert!((0..3).all(|_| bucket.take(1, at(10_000.0))), "it is never more than full");
        assert!(!bucket.take(1, at(10_000.0)));
    }

    // 332
    #[test]
    fn all_parts_must_allow() {
        let bucket = bucket("1:1,2:3600");
        assert!(bucket.take(1, at(0.0)));
        assert!(!bucket.take(1, at(0.5)), "one per second");
        assert!(bucket.take(1, at(1.0)));
        assert!(!bucket.take(1, at(2.0)), "two per hour");
        assert!(bucket.take(1, at(1_801.0)), "what was refused took nothing of either part");
    }

    #[test]
    fn more_than_fits_is_never_taken() {
        let bucket = bucket("3:1");
        assert!(!bucket.take(4, at(0.0)));
        assert!(bucket.take(3, at(0.0)));
        let large = bucket_of_the_largest_kind();
        assert!(large.take(wireglot_model::limits::RATE_CAPACITY_MAX, at(0.0)));
        assert!(!large.take(u64::MAX, at(0.0)));
    }

    fn bucket_of_the_largest_kind() -> Bucket {
        use wireglot_model::limits::{RATE_CAPACITY_MAX, RATE_PERIOD_S_MAX};
        bucket(&format!("{RATE_CAPACITY_MAX}:{RATE_PERIOD_S_MAX}"))
    }

    #[test]
    fn threads_share_a_bucket_without_a_token_too_many() {
        let bucket = bucket("1000:3600,5000:3600");
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| (0..1_000).filter(|_| bucket.take(1, 0)).count())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 1_000);
    }
}
