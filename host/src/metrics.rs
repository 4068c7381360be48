//! `/metrics`: what MQTT, the store and the codecs have counted, in Prometheus's words. Never a label that names a device.

use wireglot_bus::Bus;
use wireglot_codec::{CodecCounters, DECODE_TIME_BOUNDS_US, FAILURE_STAGES, VersionCounts};
use wireglot_model::FailureStage;
use wireglot_mqtt::MqttCounters;
use wireglot_rest::{HistogramSeries, MetricKind, MetricRow, MetricsText};
use wireglot_store::StoreCounters;

const MICROS_PER_SECOND: f64 = 1e6;
const NANOS_PER_SECOND: f64 = 1e9;

/// The page, without what REST counts itself.
pub(crate) fn page(mqtt: &MqttCounters, store: &StoreCounters, codecs: &CodecCounters, bus: &Bus) -> String {
    let mut page = MetricsText::default();
    write_mqtt(&mut page, mqtt, bus);
    write_store(&mut page, store);
    write_codecs(&mut page, codecs);
    page.finish()
}

fn write_mqtt(page: &mut MetricsText, mqtt: &MqttCounters, bus: &Bus) {
    let mut counter =
        |name: &str, help: &str, value: u64| page.single(MetricKind::Counter, name, help, value);
    counter("wireglot_mqtt_connections_total", "TCP connections accepted.", mqtt.connections_accepted);
    counter(
        "wireglot_mqtt_connections_ended_total",
        "TCP connections that have ended.",
        mqtt.connections_ended,
    );
    counter(
        "wireglot_mqtt_connects_refused_total",
        "CONNECTs answered with a refusal.",
        mqtt.connects_refused,
    );
    counter(
        "wireglot_mqtt_connects_broken_total",
        "Connections without a whole CONNECT.",
        mqtt.connects_broken,
    );
    counter("wireglot_mqtt_sessions_total", "Sessions begun.", mqtt.sessions_begun);
    counter("wireglot_mqtt_sessions_ended_total", "Sessions ended.", mqtt.sessions_ended);
    counter(
        "wireglot_mqtt_sessions_broken_total",
        "Sessions ended for a protocol error.",
        mqtt.sessions_broken,
    );
    counter("wireglot_mqtt_sessions_silent_total", "Sessions ended for silence.", mqtt.sessions_silent);
    counter("wireglot_mqtt_publish_bytes_total", "Payload bytes received.", mqtt.publish_bytes);
    counter("wireglot_mqtt_downlinks_total", "Publishes sent to devices.", mqtt.downlinks_sent);
    counter(
        "wireglot_mqtt_downlinks_dropped_total",
        "Publishes to devices given up.",
        mqtt.downlinks_dropped,
    );
    let outcomes = [
        ("accepted", mqtt.publishes_accepted),
        ("refused", mqtt.publishes_refused),
        ("undecoded", mqtt.publishes_undecoded),
        ("unknown_topic", mqtt.publishes_unknown_topic),
        ("repeated", mqtt.publishes_repeated),
        ("failed", mqtt.publishes_failed),
    ];
    let labels = outcomes.map(|(outcome, _)| [("outcome", outcome)]);
    let rows: Vec<MetricRow<'_>> = labels
        .iter()
        .zip(&outcomes)
        .map(|(labels, (_, count))| (labels.as_slice(), count as &dyn std::fmt::Display))
        .collect();
    page.family(MetricKind::Counter, "wireglot_publishes_total", "Publishes by what became of them.", &rows);
    page.single(MetricKind::Gauge, "wireglot_devices_connected", "Devices with a session.", bus.connected());
}

fn write_store(page: &mut MetricsText, store: &StoreCounters) {
    let mut counter =
        |name: &str, help: &str, value: u64| page.single(MetricKind::Counter, name, help, value);
    counter("wireglot_store_commits_total", "Groups written; each cost one sync.", store.commits);
    counter("wireglot_store_messages_total", "Messages stored.", store.messages);
    counter("wireglot_store_log_bytes_total", "Bytes of messages written.", store.log_bytes);
    counter("wireglot_store_chunks_total", "Chunks written.", store.chunks);
    counter("wireglot_store_chunk_bytes_total", "Bytes of chunks written.", store.chunk_bytes);
    counter(
        "wireglot_dead_letters_evicted_total",
        "Dead letters that made room.",
        store.dead_letters_evicted,
    );
    let seconds = nanos_as_seconds(store.commit_nanos);
    page.single(
        MetricKind::Counter,
        "wireglot_store_commit_seconds_total",
        "Time writing and syncing.",
        seconds,
    );
    let mut gauge = |name: &str, help: &str, value: u64| page.single(MetricKind::Gauge, name, help, value);
    gauge(
        "wireglot_store_queue_batches",
        "Batches that wait for the commit thread.",
        store.queue_batches as u64,
    );
    gauge("wireglot_store_queue_bytes", "Bytes that wait for the commit thread.", store.queue_bytes as u64);
    gauge("wireglot_store_recent_bytes", "Bytes of messages not in chunks yet.", store.recent_bytes as u64);
    gauge("wireglot_store_disk_bytes", "What the store occupies on disk.", store.disk_bytes);
    gauge("wireglot_store_keys", "Distinct telemetry keys.", store.keys as u64);
    gauge("wireglot_dead_letters", "Dead letters kept.", store.dead_letters as u64);
    gauge("wireglot_raw_frame_bytes", "What raw frames occupy on disk.", store.raw_bytes);
}

fn write_codecs(page: &mut MetricsText, codecs: &CodecCounters) {
    page.single(MetricKind::Gauge, "wireglot_codecs_live", "Codecs that are live.", codecs.live_codecs);
    page.single(
        MetricKind::Gauge,
        "wireglot_codec_instances",
        "Codec instances alive.",
        codecs.live_instances,
    );
    page.single(MetricKind::Counter, "wireglot_codec_swaps_total", "Versions that went live.", codecs.swaps);
    page.single(
        MetricKind::Counter,
        "wireglot_codec_rejections_total",
        "Codec files refused.",
        codecs.rejections,
    );
    let missing = codecs.without_codec;
    page.single(
        MetricKind::Counter,
        "wireglot_codec_missing_total",
        "Calls for a codec that is not live.",
        missing,
    );
    write_candidates(page, codecs);
    let names: Vec<Labels> = codecs.versions.iter().map(Labels::of).collect();
    let labels: Vec<[(&str, &str); 3]> = names.iter().map(Labels::pairs).collect();
    let versions = || codecs.versions.iter().zip(&labels);
    let recycles: Vec<MetricRow<'_>> =
        versions().map(|(row, labels)| (labels.as_slice(), &row.counts.recycles as _)).collect();
    page.family(MetricKind::Counter, "wireglot_codec_recycles_total", "Instances replaced.", &recycles);
    let failed: Vec<(Vec<(&str, &str)>, u64)> = versions()
        .flat_map(|(row, labels)| {
            FAILURE_STAGES.iter().zip(&row.counts.failures).map(move |(stage, count)| {
                let mut labels = labels.to_vec();
                labels.push(("stage", stage_name(*stage)));
                (labels, *count)
            })
        })
        .collect();
    let failed: Vec<MetricRow<'_>> =
        failed.iter().map(|(labels, count)| (labels.as_slice(), count as _)).collect();
    page.family(
        MetricKind::Counter,
        "wireglot_codec_failures_total",
        "Calls that failed, by stage.",
        &failed,
    );
    let buckets: Vec<Vec<(f64, u64)>> = codecs.versions.iter().map(cumulative).collect();
    let series: Vec<HistogramSeries<'_>> = versions()
        .zip(&buckets)
        .map(|((row, labels), buckets)| HistogramSeries {
            labels,
            buckets,
            sum: nanos_as_seconds(row.counts.nanoseconds),
            count: row.counts.buckets.iter().sum(),
        })
        .collect();
    page.histogram("wireglot_codec_call_seconds", "Time inside a codec, by call.", &series);
}

fn write_candidates(page: &mut MetricsText, codecs: &CodecCounters) {
    let candidates = codecs.candidates;
    page.single(
        MetricKind::Gauge,
        "wireglot_codec_candidates",
        "Versions tried beside a live one.",
        candidates,
    );
    let mut counter =
        |name: &str, help: &str, value: u64| page.single(MetricKind::Counter, name, help, value);
    counter(
        "wireglot_codec_shadow_frames_total",
        "Frames that a candidate and its live version were compared by.",
        codecs.shadow_frames,
    );
    counter(
        "wireglot_codec_shadow_dropped_total",
        "Frames that were not compared: the queue was full, or they came too late.",
        codecs.shadow_frames_dropped,
    );
    counter(
        "wireglot_codec_canaries_promoted_total",
        "Canaries whose version became the live one.",
        codecs.canaries_promoted,
    );
    counter(
        "wireglot_codec_canaries_rolled_back_total",
        "Canaries that gave every device back to the live version.",
        codecs.canaries_rolled_back,
    );
}

/// The texts behind the labels of one version; the hash is cut to what tells versions apart.
struct Labels {
    codec: String,
    version: String,
    hash: String,
}

impl Labels {
    fn of(row: &VersionCounts) -> Self {
        Self {
            codec: row.name.to_string(),
            version: row.version.as_deref().unwrap_or("older").to_owned(),
            hash: row.hash.map(|hash| hash.to_string().chars().take(12).collect()).unwrap_or_default(),
        }
    }

    fn pairs(&self) -> [(&str, &str); 3] {
        [("codec", &self.codec), ("version", &self.version), ("hash", &self.hash)]
    }
}

fn cumulative(row: &VersionCounts) -> Vec<(f64, u64)> {
    let mut total = 0;
    DECODE_TIME_BOUNDS_US
        .iter()
        .zip(&row.counts.buckets)
        .map(|(bound, count)| {
            total += count;
            (precise(*bound) / MICROS_PER_SECOND, total)
        })
        .collect()
}

fn stage_name(stage: FailureStage) -> &'static str {
    match stage {
        FailureStage::NoCodec => "no_codec",
        FailureStage::Refused => "refused",
        FailureStage::Trapped => "trapped",
        FailureStage::Deadline => "deadline",
        FailureStage::OverLarge => "over_large",
        FailureStage::InvalidResult => "invalid_result",
        FailureStage::NotAccepted => "not_accepted",
    }
}

fn nanos_as_seconds(nanos: u64) -> f64 {
    precise(nanos) / NANOS_PER_SECOND
}

/// Exact up to 2^53, which is more than a hundred days of nanoseconds.
#[expect(clippy::cast_precision_loss, reason = "a metric may round")]
fn precise(number: u64) -> f64 {
    number as f64
}
