//! What a comparison of two versions tells: counts by frame, value, key and profile, times, and a few examples.
//!
//! It is bounded whatever the frames hold: of keys, profiles and examples only the first are kept apart.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Serialize, Serializer};
use wireglot_model::limits::{
    SHADOW_EXAMPLE_BYTES_MAX, SHADOW_EXAMPLES_MAX, SHADOW_EXAMPLES_PER_KEY_MAX, SHADOW_KEYS_MAX,
    SHADOW_PROFILES_MAX,
};
use wireglot_model::{FailureStage, Timestamp};

use super::{Difference, Outcome, differences};
use crate::counters::FAILURE_STAGES;
use crate::error::bounded;
use crate::{DecodeFailure, Frame};

/// How two versions of a codec decoded the same frames.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShadowReport {
    /// Frames that both versions were given.
    pub frames: u64,
    /// The frames by how the two results compare.
    pub results: FrameCounts,
    /// Values of frames that both decoded.
    pub values: DifferenceCounts,
    /// The same by key; of attributes with `attribute ` before it.
    pub keys: BTreeMap<String, DifferenceCounts>,
    /// Values of keys that are not counted apart, because there are too many keys.
    pub values_of_other_keys: u64,
    /// The frames by profile.
    pub profiles: BTreeMap<String, FrameCounts>,
    /// Frames of profiles that are not counted apart.
    pub frames_of_other_profiles: u64,
    /// The version that serves.
    pub old: SideReport,
    /// The version that is tried.
    pub new: SideReport,
    /// Time of the new version ÷ time of the old one, both measured on the same thread with the same frames.
    pub time_ratio: Option<f64>,
    /// The first differences of each key.
    pub examples: Vec<Example>,
}

/// Frames by how two results compare.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FrameCounts {
    /// Both decoded, and every value is the same.
    pub same: u64,
    /// Both decoded, and something differs.
    pub different: u64,
    /// The old version decoded, the new one failed.
    pub only_old: u64,
    /// The new version decoded, the old one failed.
    pub only_new: u64,
    /// Both failed.
    pub neither: u64,
}

/// Values by how they compare.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DifferenceCounts {
    /// In both results, with one value of one type.
    pub same: u64,
    /// In both results, but not alike.
    pub changed: u64,
    /// In the old result only.
    pub only_old: u64,
    /// In the new result only.
    pub only_new: u64,
}

/// What one version did.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SideReport {
    /// Frames that it failed on, by stage in the order of `FAILURE_STAGES`.
    #[serde(serialize_with = "by_stage")]
    pub errors: [u64; FAILURE_STAGES.len()],
    /// What a frame took it: the mean without the slowest twentieth, which on a busy machine is the machine's.
    pub nanoseconds: Option<u64>,
    #[serde(skip)]
    times: Times,
}

/// One difference.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Example {
    /// When the frame came.
    pub received: Timestamp,
    /// Its device.
    pub device: String,
    /// Its profile.
    pub profile: String,
    /// Its topic.
    pub topic: String,
    /// Its bytes, as hex; a long one is cut.
    pub hex: String,
    /// Which value; `None`: the whole frame, because a version failed on it.
    pub key: Option<String>,
    /// What the old version says, or why it failed; `None`: nothing.
    pub old: Option<String>,
    /// The same of the new version.
    pub new: Option<String>,
}

impl ShadowReport {
    /// Frames that the old version failed on.
    pub fn old_errors(&self) -> u64 {
        self.results.only_new + self.results.neither
    }

    pub(crate) fn note(&mut self, frame: &Frame<'_>, old: &Outcome, new: &Outcome) {
        self.frames += 1;
        self.old.note(old);
        self.new.note(new);
        let place: fn(&mut FrameCounts) -> &mut u64 = match (&old.result, &new.result) {
            (Ok(before), Ok(after)) => {
                let mut differs = false;
                for (place, difference) in differences(before, after) {
                    self.count_value(&place.label(), &difference);
                    let (old, new) = match difference {
                        Difference::Same => continue,
                        Difference::Changed(old, new) => (Some(old.to_string()), Some(new.to_string())),
                        Difference::OnlyOld(old) => (Some(old.to_string()), None),
                        Difference::OnlyNew(new) => (None, Some(new.to_string())),
                    };
                    differs = true;
                    self.show(frame, Some(place.to_string()), old, new);
                }
                if differs { |counts| &mut counts.different } else { |counts| &mut counts.same }
            }
            (Ok(_), Err(failure)) => {
                self.show(frame, None, Some("decoded".to_owned()), Some(told(failure)));
                |counts| &mut counts.only_old
            }
            (Err(failure), Ok(_)) => {
                self.show(frame, None, Some(told(failure)), Some("decoded".to_owned()));
                |counts| &mut counts.only_new
            }
            (Err(_), Err(_)) => |counts| &mut counts.neither,
        };
        *place(&mut self.results) += 1;
        match entry(&mut self.profiles, frame.profile, SHADOW_PROFILES_MAX) {
            Some(counts) => *place(counts) += 1,
            None => self.frames_of_other_profiles += 1,
        }
    }

    fn count_value(&mut self, label: &str, difference: &Difference<'_>) {
        let place: fn(&mut DifferenceCounts) -> &mut u64 = match difference {
            Difference::Same => |counts| &mut counts.same,
            Difference::Changed(..) => |counts| &mut counts.changed,
            Difference::OnlyOld(_) => |counts| &mut counts.only_old,
            Difference::OnlyNew(_) => |counts| &mut counts.only_new,
        };
        *place(&mut self.values) += 1;
        match entry(&mut self.keys, label, SHADOW_KEYS_MAX) {
            Some(counts) => *place(counts) += 1,
            None => self.values_of_other_keys += 1,
        }
    }

    fn show(&mut self, frame: &Frame<'_>, key: Option<String>, old: Option<String>, new: Option<String>) {
        let of_this_key = self.examples.iter().filter(|example| example.key == key).count();
        if self.examples.len() >= SHADOW_EXAMPLES_MAX || of_this_key >= SHADOW_EXAMPLES_PER_KEY_MAX {
            return;
        }
        let shown = frame.payload.get(..SHADOW_EXAMPLE_BYTES_MAX).unwrap_or(frame.payload);
        let cut = if shown.len() < frame.payload.len() { "…" } else { "" };
        self.examples.push(Example {
            received: frame.received,
            device: frame.device.to_owned(),
            profile: frame.profile.to_owned(),
            topic: bounded(frame.topic.to_owned()),
            hex: format!("{}{cut}", hex::encode(shown)),
            key,
            old: old.map(bounded),
            new: new.map(bounded),
        });
    }

    /// The report with its times worked out.
    pub(crate) fn told(&self) -> Self {
        let mut told = self.clone();
        told.time_ratio = self.time_ratio_now();
        told.old.nanoseconds = self.old.times.typical().map(whole);
        told.new.nanoseconds = self.new.times.typical().map(whole);
        told
    }

    pub(crate) fn time_ratio_now(&self) -> Option<f64> {
        let (old, new) = (self.old.times.typical()?, self.new.times.typical()?);
        (old > 0.0).then_some(new / old)
    }
}

impl SideReport {
    fn note(&mut self, outcome: &Outcome) {
        if let Some(time) = outcome.time {
            self.times.add(time);
        }
        if let Err(failure) = &outcome.result {
            let stage = FAILURE_STAGES.iter().position(|stage| *stage == failure.stage);
            if let Some(count) = stage.and_then(|index| self.errors.get_mut(index)) {
                *count += 1;
            }
        }
    }
}

fn told(failure: &DecodeFailure) -> String {
    let stage = match failure.stage {
        FailureStage::NoCodec => "not started",
        FailureStage::Refused => "refused",
        FailureStage::Trapped => "trapped",
        FailureStage::Deadline => "deadline",
        FailureStage::OverLarge => "over-large",
        FailureStage::InvalidResult => "invalid result",
        FailureStage::NotAccepted => "not accepted",
    };
    format!("{stage}: {}", failure.reason)
}

/// The entry of a bounded map; `None` where the map is full and has none for this name.
fn entry<'a, T: Default>(
    map: &'a mut BTreeMap<String, T>,
    name: &str,
    entries_max: usize,
) -> Option<&'a mut T> {
    if !map.contains_key(name) {
        if map.len() >= entries_max {
            return None;
        }
        map.insert(name.to_owned(), T::default());
    }
    map.get_mut(name)
}

pub(crate) fn by_stage<S: Serializer>(
    counts: &[u64; FAILURE_STAGES.len()],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(FAILURE_STAGES.iter().zip(counts).filter(|(_, count)| **count > 0))
}

/// A histogram of times, eight buckets to each doubling: a few hundred numbers, right to a few per cent.
#[derive(Clone, Debug, Default)]
struct Times {
    buckets: Vec<u64>,
    count: u64,
}

const BUCKETS_PER_DOUBLING_LOG2: u32 = 3;
const SLOWEST_LEFT_OUT: u64 = 20;

impl Times {
    fn add(&mut self, time: Duration) {
        let index = bucket_of(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        if self.buckets.len() <= index {
            self.buckets.resize(index + 1, 0);
        }
        if let Some(bucket) = self.buckets.get_mut(index) {
            *bucket += 1;
        }
        self.count += 1;
    }

    /// The mean without the slowest twentieth.
    fn typical(&self) -> Option<f64> {
        let mut left = self.count - self.count / SLOWEST_LEFT_OUT;
        let counted = left;
        let mut sum = 0.0;
        for (index, count) in self.buckets.iter().enumerate() {
            let taken = left.min(*count);
            sum += precise(taken) * middle_of(index);
            left -= taken;
        }
        (counted > 0).then(|| sum / precise(counted))
    }
}

fn bucket_of(nanoseconds: u64) -> usize {
    let per_doubling = 1_u64 << BUCKETS_PER_DOUBLING_LOG2;
    if nanoseconds < per_doubling {
        return usize::try_from(nanoseconds).unwrap_or_default();
    }
    let shift = nanoseconds.ilog2() - BUCKETS_PER_DOUBLING_LOG2;
    let within = (nanoseconds >> shift) & (per_doubling - 1);
    usize::try_from(u64::from(shift + 1) * per_doubling + within).unwrap_or_default()
}

fn middle_of(bucket: usize) -> f64 {
    let per_doubling = 1_u64 << BUCKETS_PER_DOUBLING_LOG2;
    let bucket = bucket as u64;
    if bucket < per_doubling {
        return precise(bucket);
    }
    let width = precise(1_u64 << (bucket / per_doubling - 1).min(63));
    (precise(per_doubling + bucket % per_doubling) + 0.5) * width
}

#[expect(clippy::cast_precision_loss, reason = "a mean may round")]
fn precise(number: u64) -> f64 {
    number as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "times are positive and may round"
)]
fn whole(number: f64) -> u64 {
    number.round() as u64
}

#[cfg(test)]
mod tests {
    use wireglot_model::{Decoded, Measurement, Sample, Uplink, UplinkBody, Value};

    use super::*;

    #[test]
    fn times_are_right_to_a_few_per_cent() {
        for nanoseconds in [0, 1, 7, 8, 9, 15, 16, 1_000, 1_234_567, u64::MAX / 3] {
            let middle = middle_of(bucket_of(nanoseconds));
            let off = (middle - precise(nanoseconds)).abs() / precise(nanoseconds).max(1.0);
            assert!(off <= 0.07, "{nanoseconds}: {middle}");
        }
    }

    #[test]
    fn the_slowest_twentieth_does_not_count() {
        let mut times = Times::default();
        assert_eq!(times.typical(), None);
        (0..95).for_each(|_| times.add(Duration::from_nanos(1_000)));
        (0..5).for_each(|_| times.add(Duration::from_secs(1)));
        assert!((900.0..1_100.0).contains(&times.typical().unwrap()));
        (0..5).for_each(|_| times.add(Duration::from_secs(1)));
        assert!(times.typical().unwrap() > 1_000_000.0);
    }
    fn decoded(values: impl IntoIterator<Item = (String, Value)>) -> Outcome {
        let samples = values.into_iter().map(|(key, value)| Sample { key, value }).collect();
        let body = UplinkBody::Telemetry(vec![Measurement { ts: None, samples }]);
        let result = Ok(Decoded { uplinks: vec![Uplink { child: None, body }], warnings: Vec::new() });
        Outcome { result, time: None }
    }

    fn frame(payload: &[u8]) -> Frame<'_> {
        let (received, metadata) = (Timestamp(0), &[][..]);
        Frame { payload, topic: "t", received, device: "d", profile: "p", metadata }
    }

    #[test]
    fn values_are_compared_by_place_and_type() {
        let mut report = ShadowReport::default();
        let old = [("a", Value::Long(1)), ("b", Value::Long(2)), ("c", Value::Bool(true))];
        let new = [("a", Value::Long(1)), ("b", Value::Double(2.0)), ("d", Value::Text("x".into()))];
        let named = |values: [(&str, Value); 3]| decoded(values.map(|(key, value)| (key.to_owned(), value)));
        report.note(&frame(&[0xab]), &named(old), &named(new));
        let expected = DifferenceCounts { same: 1, changed: 1, only_old: 1, only_new: 1 };
        assert_eq!((report.values, report.results.different), (expected, 1));
        let shown: Vec<_> = report
            .examples
            .iter()
            .map(|e| (e.key.as_deref().unwrap(), e.old.as_deref(), e.new.as_deref()))
            .collect();
        assert_eq!(
            shown,
            [
                ("b", Some("2 (LONG)"), Some("2.0 (DOUBLE)")),
                ("c", Some("true (BOOLEAN)"), None),
                ("d", None, Some("\"x\" (STRING)")),
            ]
        );
        assert_eq!(report.examples[0].hex, "ab");
    }

    #[test]
    fn a_report_is_bounded() {
        let mut report = ShadowReport::default();
        let payload = vec![0; 2 * SHADOW_EXAMPLE_BYTES_MAX];
        for round in 0..10 {
            let keys = |value| (0..=SHADOW_KEYS_MAX).map(move |n| (format!("k{n:04}"), Value::Long(value)));
            report.note(&frame(&payload), &decoded(keys(round)), &decoded(keys(round + 1)));
        }
        assert_eq!((report.keys.len(), report.values_of_other_keys), (SHADOW_KEYS_MAX, 10));
        assert_eq!(report.examples.len(), SHADOW_EXAMPLES_MAX);
        let of_first = report.examples.iter().filter(|example| example.key.as_deref() == Some("k0000"));
        assert_eq!(of_first.count(), 1);
        let one_key = |value| [("k".to_owned(), Value::Long(value))];
        let mut report = ShadowReport::default();
        (0..10).for_each(|n| report.note(&frame(&payload), &decoded(one_key(n)), &decoded(one_key(n + 1))));
        assert_eq!(report.examples.len(), SHADOW_EXAMPLES_PER_KEY_MAX);
        assert_eq!(report.examples[0].hex.chars().count(), 2 * SHADOW_EXAMPLE_BYTES_MAX + 1);
    }
}
