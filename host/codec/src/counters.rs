//! What is counted of every codec version, for the metrics.
//!
//! A worker writes its own shard and nobody else's, so counting costs it a few plain stores; whoever reads adds the
//! shards up. Counts of versions that are long gone are kept under their codec's name, so that no sum ever falls.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use wireglot_model::limits::{CODEC_VERSIONS_KEPT_MAX, CODECS_MAX};
use wireglot_model::{CodecHash, CodecName, CodecStamp, FailureStage};

/// Upper bounds of the decode-time buckets, in microseconds; one more bucket takes the rest.
pub const DECODE_TIME_BOUNDS_US: [u64; 15] =
    [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096, 8_192, 16_384];
const BUCKETS: usize = DECODE_TIME_BOUNDS_US.len() + 1;

/// Every stage, in the order in which failures are counted.
pub const FAILURE_STAGES: [FailureStage; 7] = [
    FailureStage::NoCodec,
    FailureStage::Refused,
    FailureStage::Trapped,
    FailureStage::Deadline,
    FailureStage::OverLarge,
    FailureStage::InvalidResult,
    FailureStage::NotAccepted,
];

/// What one worker counts of one version.
#[derive(Default)]
pub(crate) struct Shard {
    calls: AtomicU64,
    recycles: AtomicU64,
    nanoseconds: AtomicU64,
    failures: [AtomicU64; FAILURE_STAGES.len()],
    buckets: [AtomicU64; BUCKETS],
    paused: AtomicU64,
    openings: AtomicU64,
    /// Not a sum but a state: instances alive now.
    instances: AtomicU64,
    /// The most that one instance ever took.
    memory_bytes_high: AtomicU64,
}

/// A shard has one writer, so this is an addition, not a race.
fn add(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
}

impl Shard {
    pub(crate) fn called(&self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        add(&self.calls, 1);
        add(&self.nanoseconds, nanoseconds);
        // The bounds are powers of two, so the bucket is the number of bits of the whole microseconds.
        let above =
            (nanoseconds.saturating_sub(1) / 1_000).checked_ilog2().map_or(0, |bits| bits as usize + 1);
        if let Some(bucket) = self.buckets.get(above.min(BUCKETS - 1)) {
            add(bucket, 1);
        }
    }

    pub(crate) fn failed(&self, stage: FailureStage) {
        if let Some(counter) =
            FAILURE_STAGES.iter().position(|&s| s == stage).and_then(|i| self.failures.get(i))
        {
            add(counter, 1);
        }
    }

    pub(crate) fn recycled(&self) {
        add(&self.recycles, 1);
    }

    /// A call was not made because the version pauses.
    pub(crate) fn paused(&self) {
        add(&self.paused, 1);
    }

    /// A breaker has opened.
    pub(crate) fn opened(&self) {
        add(&self.openings, 1);
    }

    /// So many instances are alive here.
    pub(crate) fn holds(&self, instances: u64) {
        self.instances.store(instances, Ordering::Relaxed);
    }

    /// An instance was seen with so much memory.
    pub(crate) fn took(&self, memory_bytes: usize) {
        let memory_bytes = memory_bytes as u64;
        if memory_bytes > self.memory_bytes_high.load(Ordering::Relaxed) {
            self.memory_bytes_high.store(memory_bytes, Ordering::Relaxed);
        }
    }
}

/// The sums over all workers for one version.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CallCounts {
    /// Calls of `decode` and `encode`, failed ones included.
    pub calls: u64,
    /// Instances replaced, whatever the reason.
    pub recycles: u64,
    /// Time inside the codec.
    pub nanoseconds: u64,
    /// By stage, in the order of `FAILURE_STAGES`.
    pub failures: [u64; FAILURE_STAGES.len()],
    /// Calls by duration: as many buckets as bounds, and one more. Not cumulative.
    pub buckets: [u64; BUCKETS],
    /// Calls not made because the version paused.
    pub paused: u64,
    /// Pauses begun.
    pub openings: u64,
    /// Instances alive now.
    pub instances: u64,
    /// The most linear memory that one instance ever took.
    pub memory_bytes_high: u64,
}

impl CallCounts {
    fn add(&mut self, shard: &Shard) {
        let sum = |total: &mut u64, counter: &AtomicU64| {
            *total = total.wrapping_add(counter.load(Ordering::Relaxed))
        };
        sum(&mut self.calls, &shard.calls);
        sum(&mut self.recycles, &shard.recycles);
        sum(&mut self.nanoseconds, &shard.nanoseconds);
        self.failures.iter_mut().zip(&shard.failures).for_each(|(total, counter)| sum(total, counter));
        self.buckets.iter_mut().zip(&shard.buckets).for_each(|(total, counter)| sum(total, counter));
        sum(&mut self.paused, &shard.paused);
        sum(&mut self.openings, &shard.openings);
        sum(&mut self.instances, &shard.instances);
        self.memory_bytes_high = self.memory_bytes_high.max(shard.memory_bytes_high.load(Ordering::Relaxed));
    }
}

/// The counts of one version, or of a codec's older versions together.
#[derive(Clone, Debug)]
pub struct VersionCounts {
    /// Which codec.
    pub name: CodecName,
    /// Which version; `None` stands for all that are no longer counted apart.
    pub version: Option<Arc<str>>,
    /// Its identity, likewise.
    pub hash: Option<CodecHash>,
    /// How often and how long.
    pub counts: CallCounts,
}

/// What became of a codec's files.
#[derive(Clone, Debug)]
pub struct FileCounts {
    /// Which codec; `None` stands for all that are not counted apart.
    pub name: Option<CodecName>,
    /// Versions that went live.
    pub swaps: u64,
    /// Files refused.
    pub rejections: u64,
}

/// A version that is live now.
#[derive(Clone, Debug)]
pub struct LiveVersion {
    /// Which one.
    pub stamp: CodecStamp,
    /// Profiles for whose devices it is not called, because it keeps failing there.
    pub breakers_open: usize,
    /// Profiles whose next message tries it again.
    pub breakers_half_open: usize,
}

/// All that is counted of codecs.
#[derive(Clone, Debug, Default)]
pub struct CodecCounters {
    /// One row per version.
    pub versions: Vec<VersionCounts>,
    /// One row per codec.
    pub files: Vec<FileCounts>,
    /// What is live now.
    pub live: Vec<LiveVersion>,
    /// Instances alive now, those of proofs included.
    pub live_instances: usize,
    /// Calls for a codec that is not live.
    pub without_codec: u64,
    /// Candidates that are tried now.
    pub candidates: usize,
    /// Frames that a candidate and its live version were compared by.
    pub shadow_frames: u64,
    /// Frames that were to be compared and were not: the queue was full, or they came too late.
    pub shadow_frames_dropped: u64,
    /// Canaries whose version became the live one.
    pub canaries_promoted: u64,
    /// Canaries that ended with every device back on the live version.
    pub canaries_rolled_back: u64,
}

struct VersionShards {
    stamp: CodecStamp,
    shards: Vec<Arc<Shard>>,
}

#[derive(Default)]
struct CodecShards {
    /// In the order of their first call.
    versions: Vec<VersionShards>,
    older: CallCounts,
    swaps: u64,
    rejections: u64,
}

/// Where shards are registered.
#[derive(Default)]
pub(crate) struct CounterBook {
    codecs: Mutex<BTreeMap<CodecName, CodecShards>>,
    /// Files whose name names no codec, or one too many.
    rejections_elsewhere: AtomicU64,
    pub(crate) without_codec: AtomicU64,
}

impl CounterBook {
    /// A version went live.
    pub(crate) fn swapped(&self, name: &CodecName) {
        self.codecs.lock().entry(name.clone()).or_default().swaps += 1;
    }

    /// A file was refused. Whatever its name, there are no more rows than there may be codecs.
    pub(crate) fn rejected(&self, name: Option<&CodecName>) {
        let mut codecs = self.codecs.lock();
        match name {
            Some(name) if codecs.contains_key(name) || codecs.len() < CODECS_MAX => {
                codecs.entry(name.clone()).or_default().rejections += 1;
            }
            Some(_) | None => add(&self.rejections_elsewhere, 1),
        }
    }

    pub(crate) fn files(&self) -> Vec<FileCounts> {
        let codecs = self.codecs.lock();
        let elsewhere = FileCounts {
            name: None,
            swaps: 0,
            rejections: self.rejections_elsewhere.load(Ordering::Relaxed),
        };
        let named = codecs.iter().map(|(name, codec)| FileCounts {
            name: Some(name.clone()),
            swaps: codec.swaps,
            rejections: codec.rejections,
        });
        named.chain((elsewhere.rejections > 0).then_some(elsewhere)).collect()
    }

    /// A new shard for one worker's calls of one version.
    pub(crate) fn shard(&self, stamp: &CodecStamp) -> Arc<Shard> {
        let shard = Arc::new(Shard::default());
        let mut codecs = self.codecs.lock();
        let codec = codecs.entry(stamp.name.clone()).or_default();
        match codec.versions.iter_mut().find(|version| version.stamp.hash == stamp.hash) {
            Some(version) => {
                fold_abandoned(&mut version.shards);
                version.shards.push(Arc::clone(&shard));
            }
            None => {
                codec.versions.push(VersionShards { stamp: stamp.clone(), shards: vec![Arc::clone(&shard)] });
                if codec.versions.len() > CODEC_VERSIONS_KEPT_MAX {
                    let oldest = codec.versions.remove(0);
                    oldest.shards.iter().for_each(|shard| codec.older.add(shard));
                }
            }
        }
        shard
    }

    pub(crate) fn rows(&self) -> Vec<VersionCounts> {
        let codecs = self.codecs.lock();
        let mut rows = Vec::new();
        for (name, codec) in codecs.iter() {
            if codec.older.calls > 0 {
                rows.push(VersionCounts {
                    name: name.clone(),
                    version: None,
                    hash: None,
                    counts: codec.older.clone(),
                });
            }
            for version in &codec.versions {
                let mut counts = CallCounts::default();
                version.shards.iter().for_each(|shard| counts.add(shard));
                let (version, hash) = (Arc::clone(&version.stamp.version), version.stamp.hash);
                rows.push(VersionCounts {
                    name: name.clone(),
                    version: Some(version),
                    hash: Some(hash),
                    counts,
                });
            }
        }
        rows
    }
}

/// Adds up the shards that no worker writes any more, so that coming and going workers leave one row behind.
fn fold_abandoned(shards: &mut Vec<Arc<Shard>>) {
    let folded = Shard::default();
    let mut any = false;
    shards.retain(|shard| {
        if Arc::strong_count(shard) > 1 {
            return true;
        }
        any = true;
        let copy = |to: &AtomicU64, from: &AtomicU64| add(to, from.load(Ordering::Relaxed));
        copy(&folded.calls, &shard.calls);
        copy(&folded.recycles, &shard.recycles);
        copy(&folded.nanoseconds, &shard.nanoseconds);
        folded.failures.iter().zip(&shard.failures).for_each(|(to, from)| copy(to, from));
        folded.buckets.iter().zip(&shard.buckets).for_each(|(to, from)| copy(to, from));
        copy(&folded.paused, &shard.paused);
        copy(&folded.openings, &shard.openings);
        folded.took(usize::try_from(shard.memory_bytes_high.load(Ordering::Relaxed)).unwrap_or(usize::MAX));
        false
    });
    if any {
        shards.push(Arc::new(folded));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(index: u8) -> CodecStamp {
        CodecStamp { name: CodecName::parse("c").unwrap(), version: "1".into(), hash: CodecHash([index; 32]) }
    }

    #[track_caller]
    fn check_bucket(nanoseconds: u64, bound_us: Option<u64>) {
        let shard = Shard::default();
        shard.called(Duration::from_nanos(nanoseconds));
        let bucket = shard.buckets.iter().position(|b| b.load(Ordering::Relaxed) == 1).unwrap();
        assert_eq!(DECODE_TIME_BOUNDS_US.get(bucket).copied(), bound_us, "{nanoseconds} ns");
    }

    #[test]
    fn a_duration_falls_into_the_smallest_bucket_that_holds_it() {
        for (nanoseconds, bound) in [
            (0, 1),
            (999, 1),
            (1_000, 1),
            (1_001, 2),
            (2_000, 2),
            (2_001, 4),
            (4_000, 4),
            (16_384_000, 16_384),
        ] {
            check_bucket(nanoseconds, Some(bound));
        }
        check_bucket(16_384_001, None);
        check_bucket(u64::MAX, None);
    }

    #[test]
    fn a_high_water_mark_outlives_its_instance_and_its_worker() {
        let book = CounterBook::default();
        for (round, bytes) in [(0, 100), (0, 300), (0, 200), (1, 50)] {
            let shard = book.shard(&stamp(round));
            shard.holds(1);
            shard.took(bytes);
            assert_eq!(book.rows()[usize::from(round)].counts.instances, 1);
            shard.holds(0);
        }
        let rows = book.rows();
        let found: Vec<_> =
            rows.iter().map(|row| (row.counts.memory_bytes_high, row.counts.instances)).collect();
        assert_eq!(found, [(300, 0), (50, 0)]);
    }

    #[test]
    fn refused_files_make_no_more_rows_than_codecs() {
        let book = CounterBook::default();
        for index in 0..CODECS_MAX + 10 {
            book.rejected(Some(&CodecName::parse(&format!("c{index}")).unwrap()));
        }
        book.rejected(None);
        let files = book.files();
        assert_eq!(files.len(), CODECS_MAX + 1);
        assert_eq!(files.iter().map(|row| row.rejections).sum::<u64>(), CODECS_MAX as u64 + 11);
        assert_eq!(files.last().map(|row| (row.name.clone(), row.rejections)), Some((None, 11)));
    }

    #[test]
    fn sums_never_fall_while_workers_and_versions_come_and_go() {
        let book = CounterBook::default();
        let mut expected = 0;
        for round in 0..3 * u8::try_from(CODEC_VERSIONS_KEPT_MAX).unwrap() {
            for _ in 0..3 {
                let shard = book.shard(&stamp(round));
                shard.called(Duration::from_micros(3));
                shard.failed(FailureStage::Refused);
                expected += 1;
                let rows = book.rows();
                assert_eq!(rows.iter().map(|row| row.counts.calls).sum::<u64>(), expected);
                assert_eq!(rows.iter().flat_map(|row| row.counts.failures).sum::<u64>(), expected);
                assert!(rows.len() <= CODEC_VERSIONS_KEPT_MAX + 1);
            }
        }
    }
}
