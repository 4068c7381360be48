//! A canary: a share of the devices is served by the candidate, until its budgets say that it may stay or has to go.
//!
//! What is decided here is decided from numbers alone, so that it can be tested without a clock. Not here: who counts
//! (`instance/trial.rs`), who compares (`shadow.rs`), who carries the verdict out (`candidate.rs`).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing::{info, warn};
use wireglot_model::limits::{CANARY_DURATION_S_MAX, CODECS_MAX};
use wireglot_model::{CodecHash, CodecName, Timestamp};

use crate::files::write_whole;
use crate::shadow::ShadowReport;

/// A share in ten-thousandths: what devices and frames are chosen by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Share(u32);

impl Share {
    /// Everything.
    pub const ALL: Self = Self(Self::PARTS);
    const PARTS: u32 = 10_000;

    /// A fraction from 0 to 1; what is smaller than the smallest part is the smallest part.
    pub fn parse(fraction: f64) -> Option<Self> {
        if !(0.0..=1.0).contains(&fraction) {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the fraction has just been checked"
        )]
        let parts = (fraction * f64::from(Self::PARTS)).round() as u32;
        Some(Self(parts.max(u32::from(fraction > 0.0))))
    }

    /// As a fraction.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / f64::from(Self::PARTS)
    }

    pub(crate) fn parts(self) -> u32 {
        self.0
    }

    pub(crate) fn of_parts(parts: u32) -> Self {
        Self(parts.min(Self::PARTS))
    }

    /// Whether a number that is as good as random falls into the share.
    pub(crate) fn takes(self, random: u64) -> bool {
        random % u64::from(Self::PARTS) < u64::from(self.0)
    }
}

/// Where a device stands between the first and the last of a codec's devices. It depends on the two names alone, so a
/// share that grows keeps every device that it had, and every worker says the same.
pub(crate) fn rank(codec: &CodecName, device: &str) -> u64 {
    // FNV-1a, and a last round that spreads its bits: not secret, but spelled out, so that no update changes it.
    let bytes = codec.as_str().bytes().chain([0]).chain(device.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mixed(hash)
}

/// Spreads the bits of a number over all of its bits.
pub(crate) fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// What follows a canary that kept its budgets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnSuccess {
    /// The candidate becomes the live version.
    #[default]
    Promote,
    /// It goes on serving its share, still within its budgets, until somebody promotes it or ends the canary.
    Hold,
}

/// What a canary is asked for.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct CanaryPlan {
    /// The share of the devices, from 0 to 1.
    pub share: f64,
    /// Messages of these devices before anything is decided in favour of the candidate.
    pub min_messages: u64,
    /// Seconds before that.
    pub duration_s: u64,
    /// How much larger the share of messages that fail may be than with the live version.
    pub max_error_rate: f64,
    /// How many times the live version's time a message may take.
    pub max_latency_ratio: f64,
    /// The share of messages that may be decoded to other values than by the live version.
    pub max_difference_rate: f64,
    /// What follows when all budgets are kept.
    pub on_success: OnSuccess,
}

impl Default for CanaryPlan {
    fn default() -> Self {
        Self {
            share: 0.05,
            min_messages: 1_000,
            duration_s: 600,
            max_error_rate: 0.01,
            max_latency_ratio: 2.0,
            // A new version is usually meant to differ; how much is told by the report.
            max_difference_rate: 1.0,
            on_success: OnSuccess::Promote,
        }
    }
}

impl CanaryPlan {
    /// The share of devices, if everything in the plan makes sense.
    pub(crate) fn checked(&self) -> Result<Share, String> {
        let fraction = |name: &str, value: f64| match value {
            0.0..=1.0 => Ok(()),
            _ => Err(format!("{name} must be from 0 to 1, not {value}")),
        };
        fraction("maxErrorRate", self.max_error_rate)?;
        fraction("maxDifferenceRate", self.max_difference_rate)?;
        if !(self.max_latency_ratio.is_finite() && self.max_latency_ratio > 0.0) {
            return Err(format!("maxLatencyRatio must be a number above 0, not {}", self.max_latency_ratio));
        }
        if self.min_messages == 0 {
            return Err("minMessages must be at least 1".to_owned());
        }
        if self.duration_s > CANARY_DURATION_S_MAX {
            return Err(format!("durationS must be at most {CANARY_DURATION_S_MAX}"));
        }
        match Share::parse(self.share) {
            Some(share) if share > Share(0) => Ok(share),
            _ => Err(format!("share must be above 0 and at most 1, not {}", self.share)),
        }
    }
}

/// Where a canary stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CanaryState {
    /// The candidate serves its share, and is watched.
    Running,
    /// It has kept its budgets for as long as was asked, and goes on as before.
    Held,
    /// It became the live version.
    Promoted,
    /// A budget was passed, or the ground under the canary changed: every device is back with the live version.
    RolledBack,
    /// Somebody ended it: every device is back with the live version.
    Stopped,
}

impl CanaryState {
    /// Devices are served by the candidate.
    pub fn is_active(self) -> bool {
        match self {
            Self::Running | Self::Held => true,
            Self::Promoted | Self::RolledBack | Self::Stopped => false,
        }
    }
}

/// A canary, as operators see it, and as it is kept over a restart.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CanaryStatus {
    /// Where it stands.
    pub state: CanaryState,
    /// Why it ended, or why it is held.
    pub reason: Option<String>,
    /// The candidate's identity.
    pub hash: CodecHash,
    /// Its version as it describes itself.
    pub version: String,
    /// What was asked for.
    pub plan: CanaryPlan,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What was counted so far, or until its end.
    pub numbers: CanaryNumbers,
}

/// What a canary is judged by.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CanaryNumbers {
    /// Messages that the candidate was given.
    pub messages: u64,
    /// Messages that it failed on.
    pub errors: u64,
    /// These of those.
    pub error_rate: f64,
    /// Messages of the same devices that were decoded again by both versions, off the path of the message.
    pub compared: u64,
    /// The share of those that the live version fails on.
    pub live_error_rate: f64,
    /// Messages that both decoded, but not alike.
    pub different: u64,
    /// These of all that both decoded.
    pub difference_rate: f64,
    /// Time of the candidate ÷ time of the live version.
    pub latency_ratio: Option<f64>,
}

impl CanaryNumbers {
    pub(crate) fn of(messages: u64, errors: u64, report: &ShadowReport) -> Self {
        let both = report.results.same + report.results.different;
        Self {
            messages,
            errors,
            error_rate: rate(errors, messages),
            compared: report.frames,
            live_error_rate: rate(report.old_errors(), report.frames),
            different: report.results.different,
            difference_rate: rate(report.results.different, both),
            latency_ratio: report.time_ratio_now(),
        }
    }
}

/// What the numbers say.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Verdict {
    GoOn,
    /// All that was asked for is there, and within the budgets.
    Kept,
    Passed(String),
}

/// Frames compared below which a mean time says nothing.
const COMPARED_MIN: u64 = 100;

/// Whether the budgets are kept. What can no longer be made good before `min_messages` is passed already.
pub(crate) fn judge(plan: &CanaryPlan, numbers: &CanaryNumbers, lasted_s: u64) -> Verdict {
    let enough = plan.min_messages.min(COMPARED_MIN);
    // Where the device is at fault the live version fails as well, and the candidate is not blamed for it.
    let excess = precise(numbers.errors) - numbers.live_error_rate * precise(numbers.messages);
    let trusted = numbers.compared >= enough || numbers.compared >= numbers.messages;
    if trusted && excess > plan.max_error_rate * precise(numbers.messages.max(plan.min_messages)) {
        return Verdict::Passed(format!(
            "errors: {} of {} messages failed, {} with the live version; {} more are allowed",
            numbers.errors,
            numbers.messages,
            percent(numbers.live_error_rate),
            percent(plan.max_error_rate),
        ));
    }
    if precise(numbers.different)
        > plan.max_difference_rate * precise(numbers.compared.max(plan.min_messages))
    {
        return Verdict::Passed(format!(
            "differences: {} of {} compared messages have other values; {} are allowed",
            numbers.different,
            numbers.compared,
            percent(plan.max_difference_rate),
        ));
    }
    if numbers.compared >= enough
        && let Some(ratio) = numbers.latency_ratio
        && ratio > plan.max_latency_ratio
    {
        return Verdict::Passed(format!(
            "latency: the candidate takes {ratio:.1} times as long as the live version; {} times is allowed",
            plan.max_latency_ratio,
        ));
    }
    let is_over = numbers.messages >= plan.min_messages && lasted_s >= plan.duration_s;
    if !is_over || numbers.compared < enough {
        return Verdict::GoOn;
    }
    judge_rates(plan, numbers, excess)
}

/// At the end the rates themselves count, not what they could still become.
fn judge_rates(plan: &CanaryPlan, numbers: &CanaryNumbers, excess: f64) -> Verdict {
    if excess > plan.max_error_rate * precise(numbers.messages) {
        return Verdict::Passed(format!(
            "errors: {} of the messages failed, {} with the live version; {} more are allowed",
            percent(numbers.error_rate),
            percent(numbers.live_error_rate),
            percent(plan.max_error_rate),
        ));
    }
    if numbers.difference_rate > plan.max_difference_rate {
        return Verdict::Passed(format!(
            "differences: {} of the compared messages have other values; {} are allowed",
            percent(numbers.difference_rate),
            percent(plan.max_difference_rate),
        ));
    }
    Verdict::Kept
}

fn rate(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { precise(part) / precise(whole) }
}

fn percent(rate: f64) -> String {
    format!("{:.2} %", 100.0 * rate)
}

#[expect(clippy::cast_precision_loss, reason = "a rate may round")]
fn precise(number: u64) -> f64 {
    number as f64
}

/// The last canary of each codec, kept on disk: one that was running when the process ended is told as ended.
pub(crate) struct CanaryBook {
    path: PathBuf,
    last: BTreeMap<CodecName, CanaryStatus>,
}

const FILE: &str = "canaries.json";

impl CanaryBook {
    pub(crate) fn open(versions_dir: &Path) -> Self {
        let path = versions_dir.join(FILE);
        let last = match fs::read(&path) {
            Ok(content) => serde_json::from_slice(&content).unwrap_or_else(|error| {
                warn!(path = %path.display(), %error, "What is known of earlier canaries is damaged; it is begun anew.");
                BTreeMap::new()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => {
                warn!(path = %path.display(), %error, "What is known of earlier canaries cannot be read.");
                BTreeMap::new()
            }
        };
        let mut book = Self { path, last };
        book.end_what_was_running();
        book
    }

    fn end_what_was_running(&mut self) {
        let mut any = false;
        for (name, status) in self.last.iter_mut().filter(|(_, status)| status.state.is_active()) {
            any = true;
            status.state = CanaryState::RolledBack;
            status.reason = Some("the server was stopped while the canary was running".to_owned());
            note_change(name, status);
        }
        if any {
            self.save();
        }
    }

    pub(crate) fn last(&self, name: &CodecName) -> Option<CanaryStatus> {
        self.last.get(name).cloned()
    }

    /// Keeps where a canary stands. A failure is told and costs only the news after a restart.
    pub(crate) fn keep(&mut self, name: &CodecName, status: &CanaryStatus) {
        self.last.insert(name.clone(), status.clone());
        while self.last.len() > CODECS_MAX {
            let oldest = self.last.iter().min_by_key(|(_, status)| status.started_at.0);
            let Some(oldest) = oldest.map(|(name, _)| name.clone()) else { break };
            self.last.remove(&oldest);
        }
        self.save();
    }

    fn save(&self) {
        let saved = serde_json::to_vec_pretty(&self.last)
            .map_err(io::Error::from)
            .and_then(|content| write_whole(&self.path, &content));
        if let Err(error) = saved {
            warn!(path = %self.path.display(), %error, "What is known of canaries cannot be written.");
        }
    }
}

/// Tells a change of a canary: the one place that a record of changes would listen at.
pub(crate) fn note_change(name: &CodecName, status: &CanaryStatus) {
    let CanaryStatus { state, reason, hash, version, plan, numbers, .. } = status;
    let reason = reason.as_deref().unwrap_or("asked for");
    let (share, messages) = (plan.share, numbers.messages);
    match state {
        CanaryState::Running => {
            info!(codec = %name, version, %hash, share, "A canary serves a share of the devices.");
        }
        CanaryState::Held => {
            info!(codec = %name, version, %hash, share, messages, reason, "The canary kept its budgets and is held.");
        }
        CanaryState::Promoted => {
            info!(codec = %name, version, %hash, messages, reason, "The canary's version was promoted.");
        }
        CanaryState::RolledBack => {
            warn!(codec = %name, version, %hash, messages, reason, "The canary was rolled back; the live version serves all devices.");
        }
        CanaryState::Stopped => {
            info!(codec = %name, version, %hash, messages, reason, "The canary was stopped; the live version serves all devices.");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> CanaryPlan {
        CanaryPlan {
            min_messages: 1_000,
            duration_s: 60,
            max_error_rate: 0.01,
            max_latency_ratio: 2.0,
            max_difference_rate: 0.1,
            ..CanaryPlan::default()
        }
    }

    /// (messages, errors, compared, live errors of those, different, latency ratio, seconds) and what it leads to.
    #[track_caller]
    fn check(numbers: (u64, u64, u64, u64, u64, f64, u64), expected: &str) {
        let (messages, errors, compared, live_errors, different, ratio, lasted_s) = numbers;
        let numbers = CanaryNumbers {
            messages,
            errors,
            error_rate: rate(errors, messages),
            compared,
            live_error_rate: rate(live_errors, compared),
            different,
            difference_rate: rate(different, compared),
            latency_ratio: (compared > 0).then_some(ratio),
        };
        let verdict = judge(&plan(), &numbers, lasted_s);
        let said = match &verdict {
            Verdict::GoOn => "on",
            Verdict::Kept => "kept",
            Verdict::Passed(reason) => reason,
        };
        assert!(said.starts_with(expected), "{numbers:?} after {lasted_s} s: {said}");
    }

    #[test]
    fn nothing_is_decided_before_time_and_messages_are_there() {
        check((0, 0, 0, 0, 0, 0.0, 1_000), "on");
        check((999, 0, 999, 0, 0, 1.0, 1_000), "on");
        check((1_000, 0, 1_000, 0, 0, 1.0, 59), "on");
        check((1_000, 0, 99, 0, 0, 1.0, 60), "on");
        check((1_000, 0, 100, 0, 0, 1.0, 60), "kept");
    }

    #[test]
    fn the_error_budget_stands_above_the_live_versions_errors() {
        check((1_000, 10, 1_000, 0, 0, 1.0, 60), "kept");
        check((1_000, 11, 1_000, 0, 0, 1.0, 0), "errors");
        check((1_000, 60, 1_000, 50, 0, 1.0, 60), "kept");
        check((1_000, 61, 1_000, 50, 0, 1.0, 60), "errors");
        // Fewer errors than the live version has are no reason to go.
        check((1_000, 0, 1_000, 500, 0, 1.0, 60), "kept");
    }

    #[test]
    fn what_cannot_be_made_good_ends_it_early() {
        check((20, 10, 20, 0, 0, 1.0, 0), "on");
        check((20, 11, 20, 0, 0, 1.0, 0), "errors");
        // The live version's share of the errors is not known yet.
        check((200, 150, 0, 0, 0, 1.0, 0), "on");
        check((200, 150, 120, 120, 0, 1.0, 0), "on");
        check((120, 0, 120, 0, 101, 1.0, 0), "differences");
    }

    #[test]
    fn differences_and_latency_have_budgets() {
        check((1_000, 0, 1_000, 0, 100, 1.0, 60), "kept");
        check((1_000, 0, 1_000, 0, 101, 1.0, 0), "differences");
        check((5_000, 0, 200, 0, 30, 1.0, 60), "differences");
        check((1_000, 0, 99, 0, 0, 2.1, 60), "on");
        check((1_000, 0, 100, 0, 0, 2.0, 60), "kept");
        check((150, 0, 100, 0, 0, 2.1, 0), "latency");
    }

    #[test]
    fn a_plan_that_makes_no_sense_is_refused() {
        let check = |change: &dyn Fn(&mut CanaryPlan), part: &str| {
            let mut plan = CanaryPlan::default();
            change(&mut plan);
            let error = plan.checked().unwrap_err();
            assert!(error.starts_with(part), "{error}");
        };
        assert!(CanaryPlan::default().checked().is_ok());
        check(&|plan| plan.share = 0.0, "share");
        check(&|plan| plan.share = 1.01, "share");
        check(&|plan| plan.share = f64::NAN, "share");
        check(&|plan| plan.max_error_rate = -0.1, "maxErrorRate");
        check(&|plan| plan.max_difference_rate = 1.1, "maxDifferenceRate");
        check(&|plan| plan.max_latency_ratio = 0.0, "maxLatencyRatio");
        check(&|plan| plan.min_messages = 0, "minMessages");
        check(&|plan| plan.duration_s = CANARY_DURATION_S_MAX + 1, "durationS");
    }

    #[test]
    fn a_share_takes_as_many_devices_as_it_says_and_growing_only_adds() {
        let codec = CodecName::parse("elsys").unwrap();
        let taken = |share: f64| -> Vec<usize> {
            let share = Share::parse(share).unwrap();
            (0..10_000).filter(|n| share.takes(rank(&codec, &format!("device-{n}")))).collect()
        };
        let mut before = Vec::new();
        for share in [0.0, 0.01, 0.05, 0.25, 0.5, 1.0] {
            let now = taken(share);
            assert!(before.iter().all(|device| now.contains(device)), "{share}");
            let expected = 10_000.0 * share;
            assert!((precise(now.len() as u64) - expected).abs() <= 150.0, "{share}: {}", now.len());
            before = now;
        }
        // Another codec's canary does not fall on the same devices.
        let other = CodecName::parse("milesight").unwrap();
        let share = Share::parse(0.1).unwrap();
        let both = (0..10_000).filter(|n| {
            let device = format!("device-{n}");
            share.takes(rank(&codec, &device)) && share.takes(rank(&other, &device))
        });
        assert!(both.count() < 200);
        assert_eq!(Share::parse(0.000_001), Some(Share(1)));
    }

    #[test]
    fn a_canary_that_was_running_is_told_as_ended() {
        let folder = tempfile::tempdir().unwrap();
        let name = CodecName::parse("c").unwrap();
        let status = CanaryStatus {
            state: CanaryState::Running,
            reason: None,
            hash: CodecHash([7; 32]),
            version: "2".into(),
            plan: plan(),
            started_at: Timestamp(5),
            ended_at: None,
            numbers: CanaryNumbers::default(),
        };
        CanaryBook::open(folder.path()).keep(&name, &status);
        for _ in 0..2 {
            let after = CanaryBook::open(folder.path()).last(&name).unwrap();
            assert_eq!(after.state, CanaryState::RolledBack);
            assert!(after.reason.unwrap().contains("the server was stopped"));
        }
        fs::write(folder.path().join(FILE), "{").unwrap();
        assert_eq!(CanaryBook::open(folder.path()).last(&name), None);
    }
}
