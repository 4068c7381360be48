//! `/metrics`: what MQTT, the store and the codecs have counted, in Prometheus's words. Never a label that names a device.

use wireglot_bus::Bus;
use wireglot_codec::{
    CallCounts, CodecCounters, DECODE_TIME_BOUNDS_US, FAILURE_STAGES, FileCounts, VersionCounts,
};
use wireglot_device::Devices;
use wireglot_model::{CodecHash, CodecName, CodecStamp, FailureStage};
use wireglot_mqtt::MqttCounters;
use wireglot_rest::{HistogramSeries, MetricKind, MetricRow, MetricsText};
use wireglot_store::StoreCounters;

const MICROS_PER_SECOND: f64 = 1e6;
const NANOS_PER_SECOND: f64 = 1e9;

/// The page, without what REST counts itself.
pub(crate) fn page(
    mqtt: &MqttCounters,
    store: &StoreCounters,
    codecs: &CodecCounters,
    devices: &Devices,
    bus: &Bus,
) -> String {
    let mut page = MetricsText::default();
    write_mqtt(&mut page, mqtt, bus);
    write_devices(&mut page, devices);
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
    counter(
        "wireglot_mqtt_connections_blocked_total",
        "Connections dropped for earlier wrong logins of their address.",
        mqtt.connections_blocked,
    );
    counter(
        "wireglot_mqtt_tls_handshakes_failed_total",
        "TLS handshakes that failed.",
        mqtt.handshakes_failed,
    );
    counter("wireglot_mqtt_sessions_total", "Sessions begun.", mqtt.sessions_begun);
    counter("wireglot_mqtt_sessions_ended_total", "Sessions ended.", mqtt.sessions_ended);
    counter(
        "wireglot_mqtt_sessions_broken_total",
        "Sessions ended for a protocol error.",
        mqtt.sessions_broken,
    );
    counter("wireglot_mqtt_sessions_silent_total", "Sessions ended for silence.", mqtt.sessions_silent);
    write_calls(page, mqtt);
    let outcomes = [
        ("accepted", mqtt.publishes_accepted),
        ("refused", mqtt.publishes_refused),
        ("undecoded", mqtt.publishes_undecoded),
        ("unknown_topic", mqtt.publishes_unknown_topic),
        ("without_frame", mqtt.publishes_without_frame),
        ("repeated", mqtt.publishes_repeated),
        ("rate_limited", mqtt.publishes_limited),
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
    let help = "Requests of devices over HTTP that wait for an update or an RPC.";
    page.single(MetricKind::Gauge, "wireglot_http_device_polls", help, bus.polls());
}

/// What devices ask for, and are told.
fn write_calls(page: &mut MetricsText, mqtt: &MqttCounters) {
    let mut counter =
        |name: &str, help: &str, value: u64| page.single(MetricKind::Counter, name, help, value);
    counter("wireglot_provisions_total", "Devices let in by provisioning.", mqtt.provisions_granted);
    counter(
        "wireglot_provisions_refused_total",
        "Requests to provision that were refused.",
        mqtt.provisions_refused,
    );
    counter("wireglot_http_device_requests_total", "Requests of devices over HTTP.", mqtt.device_requests);
    counter("wireglot_mqtt_publish_bytes_total", "Payload bytes received.", mqtt.publish_bytes);
    counter("wireglot_mqtt_downlinks_total", "Publishes sent to devices.", mqtt.downlinks_sent);
    counter(
        "wireglot_mqtt_downlinks_dropped_total",
        "Publishes to devices given up.",
        mqtt.downlinks_dropped,
    );
    counter(
        "wireglot_sparkplug_gaps_total",
        "Gaps in the numbers of the messages of Sparkplug nodes.",
        mqtt.sparkplug_gaps,
    );
    counter("wireglot_ota_parts_total", "Parts of packages sent to devices.", mqtt.ota_parts);
    counter("wireglot_ota_bytes_total", "Bytes of them.", mqtt.ota_bytes);
    counter("wireglot_ota_refusals_total", "Requests of parts answered with an error.", mqtt.ota_refusals);
    counter("wireglot_ota_timeouts_total", "Sessions ended because a part was not read.", mqtt.ota_timeouts);
    counter("wireglot_client_rpc_total", "Client-side RPCs of devices.", mqtt.client_calls);
    counter(
        "wireglot_client_rpc_unanswered_total",
        "Client-side RPCs that nobody answers, or not in time.",
        mqtt.client_calls_unanswered,
    );
}

/// What limits have refused, and what became of devices' activity.
fn write_devices(page: &mut MetricsText, devices: &Devices) {
    let levels = ["tenant", "device", "gateway", "gateway_device"];
    let kinds = ["messages", "telemetry_messages", "data_points"];
    let refusals = devices.rate_refusals();
    let cells = levels.iter().zip(&refusals).flat_map(|(level, row)| {
        kinds.iter().zip(row).map(|(kind, count)| ([("level", *level), ("kind", *kind)], count))
    });
    let cells: Vec<_> = cells.collect();
    let rows: Vec<MetricRow<'_>> =
        cells.iter().map(|(labels, count)| (labels.as_slice(), *count as _)).collect();
    let help = "Messages, logins and subscriptions that passed a rate limit.";
    page.family(MetricKind::Counter, "wireglot_rate_limited_total", help, &rows);
    let activity = devices.activity_counters();
    let help = "Devices whose activity was written, once per commit.";
    page.single(MetricKind::Counter, "wireglot_activity_saved_total", help, activity.saved);
    let help = "Devices that became inactive.";
    page.single(MetricKind::Counter, "wireglot_devices_inactive_total", help, activity.inactive);
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
    page.single(MetricKind::Gauge, "wireglot_codecs_live", "Codecs that are live.", codecs.live.len());
    page.single(
        MetricKind::Counter,
        "wireglot_codec_missing_total",
        "Calls for a codec that is not live.",
        codecs.without_codec,
    );
    write_candidates(page, codecs);
    write_files(page, codecs);
    write_live(page, codecs);
    write_versions(page, codecs);
    write_failures(page, codecs);
    write_times(page, codecs);
}

/// What became of codec files, by codec.
fn write_files(page: &mut MetricsText, codecs: &CodecCounters) {
    let labels: Vec<[(&str, &str); 1]> =
        codecs.files.iter().map(|row| [("codec", row.name.as_ref().map_or("", CodecName::as_str))]).collect();
    let mut counter = |name: &str, help: &str, get: fn(&FileCounts) -> &u64| {
        let rows: Vec<MetricRow<'_>> = codecs
            .files
            .iter()
            .zip(&labels)
            .map(|(row, labels)| (labels.as_slice(), get(row) as &dyn std::fmt::Display))
            .collect();
        page.family(MetricKind::Counter, name, help, &rows);
    };
    counter("wireglot_codec_swaps_total", "Versions that went live.", |row| &row.swaps);
    counter("wireglot_codec_rejections_total", "Codec files refused.", |row| &row.rejections);
}

/// Which versions are live, and for how many profiles each is paused.
fn write_live(page: &mut MetricsText, codecs: &CodecCounters) {
    let names: Vec<Labels> = codecs.live.iter().map(|live| Labels::of_stamp(&live.stamp)).collect();
    let labels: Vec<[(&str, &str); 3]> = names.iter().map(Labels::pairs).collect();
    let info: Vec<MetricRow<'_>> = labels.iter().map(|labels| (labels.as_slice(), &1 as _)).collect();
    page.family(MetricKind::Gauge, "wireglot_codec_live_info", "1 for the live version of a codec.", &info);
    let breakers: Vec<(Vec<(&str, &str)>, usize)> = codecs
        .live
        .iter()
        .zip(&labels)
        .flat_map(|(live, labels)| {
            [("open", live.breakers_open), ("half_open", live.breakers_half_open)].map(|(state, count)| {
                let mut labels = labels.to_vec();
                labels.push(("state", state));
                (labels, count)
            })
        })
        .collect();
    page.family(
        MetricKind::Gauge,
        "wireglot_codec_breakers",
        "Profiles for which the live version is not called (open) or tried again by the next message (half_open).",
        &breakers.iter().map(|(labels, count)| (labels.as_slice(), count as _)).collect::<Vec<_>>(),
    );
}

/// What has one value per version.
fn write_versions(page: &mut MetricsText, codecs: &CodecCounters) {
    let names: Vec<Labels> = codecs.versions.iter().map(Labels::of).collect();
    let labels: Vec<[(&str, &str); 3]> = names.iter().map(Labels::pairs).collect();
    let mut family = |kind, name: &str, help: &str, get: fn(&CallCounts) -> &u64| {
        let rows: Vec<MetricRow<'_>> = codecs
            .versions
            .iter()
            .zip(&labels)
            .map(|(row, labels)| (labels.as_slice(), get(&row.counts) as &dyn std::fmt::Display))
            .collect();
        page.family(kind, name, help, &rows);
    };
    let help = "Calls of decode and encode, failed ones included.";
    family(MetricKind::Counter, "wireglot_codec_calls_total", help, |counts| &counts.calls);
    let help = "Instances replaced.";
    family(MetricKind::Counter, "wireglot_codec_recycles_total", help, |counts| &counts.recycles);
    let help = "Pauses begun because a version kept failing.";
    family(MetricKind::Counter, "wireglot_codec_breaker_openings_total", help, |counts| &counts.openings);
    let help = "Instances alive in workers.";
    family(MetricKind::Gauge, "wireglot_codec_instances", help, |counts| &counts.instances);
    let help = "The most linear memory that one instance of a version ever took.";
    family(MetricKind::Gauge, "wireglot_codec_memory_high_water_bytes", help, |counts| {
        &counts.memory_bytes_high
    });
}

/// What was not decoded and why; `paused` are the calls that were not even made.
fn write_failures(page: &mut MetricsText, codecs: &CodecCounters) {
    let names: Vec<Labels> = codecs.versions.iter().map(Labels::of).collect();
    let failed: Vec<(Vec<(&str, &str)>, u64)> = codecs
        .versions
        .iter()
        .zip(&names)
        .flat_map(|(row, names)| {
            let stages = FAILURE_STAGES.iter().map(|stage| stage_name(*stage)).zip(row.counts.failures);
            stages.chain([("paused", row.counts.paused)]).map(move |(stage, count)| {
                let mut labels = names.pairs().to_vec();
                labels.push(("stage", stage));
                (labels, count)
            })
        })
        .collect();
    page.family(
        MetricKind::Counter,
        "wireglot_codec_failures_total",
        "Messages and commands that a codec did not translate, by stage.",
        &failed.iter().map(|(labels, count)| (labels.as_slice(), count as _)).collect::<Vec<_>>(),
    );
}

fn write_times(page: &mut MetricsText, codecs: &CodecCounters) {
    let names: Vec<Labels> = codecs.versions.iter().map(Labels::of).collect();
    let labels: Vec<[(&str, &str); 3]> = names.iter().map(Labels::pairs).collect();
    let buckets: Vec<Vec<(f64, u64)>> = codecs.versions.iter().map(cumulative).collect();
    let series: Vec<HistogramSeries<'_>> = codecs
        .versions
        .iter()
        .zip(&labels)
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
            hash: row.hash.as_ref().map(short).unwrap_or_default(),
        }
    }

    fn of_stamp(stamp: &CodecStamp) -> Self {
        Self {
            codec: stamp.name.to_string(),
            version: stamp.version.as_ref().to_owned(),
            hash: short(&stamp.hash),
        }
    }

    fn pairs(&self) -> [(&str, &str); 3] {
        [("codec", &self.codec), ("version", &self.version), ("hash", &self.hash)]
    }
}

fn short(hash: &CodecHash) -> String {
    hash.to_string().chars().take(12).collect()
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
