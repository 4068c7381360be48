//! What a replay has come to, while it runs and afterwards. Bounded, however much it goes through.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use serde::Serialize;
use wireglot_device::Change;
use wireglot_model::limits::{REPLAY_EXAMPLE_BYTES_MAX, REPLAY_EXAMPLES_MAX};
use wireglot_model::{CodecStamp, Timestamp, Value};

use crate::order::{ReplayOrder, Source};

/// How far a replay is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplayState {
    Running,
    Done,
    Cancelled,
    Failed,
}

/// A replay as it is told.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayStatus {
    /// Counts up from the start of the process.
    pub id: u64,
    pub state: ReplayState,
    #[serde(rename = "deviceProfileName")]
    pub profile: String,
    /// The version that decodes.
    pub codec: CodecStamp,
    /// Raw frames instead of dead letters.
    pub all: bool,
    pub dry_run: bool,
    pub started_ts: Timestamp,
    pub ended_ts: Option<Timestamp>,
    pub report: ReplayReport,
    /// Why it broke off.
    pub error: Option<String>,
}

/// What changed, or in a dry run what would.
#[derive(Clone, Default, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayReport {
    /// Frames looked at.
    pub frames: u64,
    /// Frames that were decoded and stored.
    pub decoded: u64,
    /// Frames that still cannot be decoded or stored. They stay as they are.
    pub failed: u64,
    /// Raw frames that were left alone because another one of the same millisecond failed.
    pub left: u64,
    /// Values that stay as they are.
    pub same: u64,
    /// Values that are others now.
    pub changed: u64,
    /// Values that are no more.
    pub only_old: u64,
    /// Values that were not there.
    pub only_new: u64,
    /// The first changes.
    pub changes: Vec<ValueChange>,
    /// Failures by reason; those past the bound count under "other reasons".
    pub reasons: BTreeMap<String, u64>,
    /// The first failures.
    pub failures: Vec<FrameFailure>,
}

/// One value before and after.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ValueChange {
    pub device_name: String,
    pub ts: Timestamp,
    pub key: String,
    /// As text; absent where there was none.
    pub old: Option<String>,
    /// As text; absent where there is none.
    pub new: Option<String>,
}

/// A frame that failed.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FrameFailure {
    pub device_name: String,
    pub received_ts: Timestamp,
    /// The beginning of the payload.
    pub payload_hex: String,
    pub reason: String,
}

const OTHER_REASONS: &str = "other reasons";

pub(crate) struct Progress(Mutex<ReplayStatus>);

impl Progress {
    pub(crate) fn new(id: u64, order: &ReplayOrder, codec: &CodecStamp, now: Timestamp) -> Self {
        Self(Mutex::new(ReplayStatus {
            id,
            state: ReplayState::Running,
            profile: order.profile.name.to_string(),
            codec: codec.clone(),
            all: order.source == Source::RawFrames,
            dry_run: order.is_dry_run,
            started_ts: now,
            ended_ts: None,
            report: ReplayReport::default(),
            error: None,
        }))
    }

    pub(crate) fn status(&self) -> ReplayStatus {
        self.0.lock().clone()
    }

    pub(crate) fn finish(&self, state: ReplayState, error: Option<String>, now: Timestamp) -> ReplayStatus {
        let mut status = self.0.lock();
        (status.state, status.error, status.ended_ts) = (state, error, Some(now));
        status.clone()
    }

    pub(crate) fn note(&self, note: impl FnOnce(&mut ReplayReport)) {
        note(&mut self.0.lock().report);
    }
}

impl ReplayReport {
    pub(crate) fn failed(&mut self, device: &str, received: Timestamp, payload: &[u8], reason: &str) {
        self.failed += 1;
        let known = self.reasons.len() < REPLAY_EXAMPLES_MAX || self.reasons.contains_key(reason);
        let reason_counted = if known { reason } else { OTHER_REASONS };
        *self.reasons.entry(reason_counted.to_owned()).or_default() += 1;
        if self.failures.len() < REPLAY_EXAMPLES_MAX {
            let shown = payload.get(..REPLAY_EXAMPLE_BYTES_MAX).unwrap_or(payload);
            self.failures.push(FrameFailure {
                device_name: device.to_owned(),
                received_ts: received,
                payload_hex: hex::encode(shown),
                reason: reason.to_owned(),
            });
        }
    }

    pub(crate) fn compared(&mut self, changes: Vec<Change>, same: u64) {
        self.same += same;
        for change in changes {
            match (&change.old, &change.new) {
                (Some(_), Some(_)) => self.changed += 1,
                (Some(_), None) => self.only_old += 1,
                (None, _) => self.only_new += 1,
            }
            if self.changes.len() < REPLAY_EXAMPLES_MAX {
                let text = |value: Option<Value>| value.map(|value| value.to_text());
                self.changes.push(ValueChange {
                    device_name: change.place.device,
                    ts: change.place.ts,
                    key: change.place.key,
                    old: text(change.old),
                    new: text(change.new),
                });
            }
        }
    }
}
