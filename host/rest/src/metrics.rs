//! The Prometheus text format, and what this crate can count itself. Never a label that names a device.

use std::fmt::{Display, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Api;

/// Writes a page of metrics; `host` writes those of its own with it too.
#[derive(Default)]
pub struct MetricsText(String);

/// One series of a histogram.
pub struct HistogramSeries<'a> {
    pub labels: &'a [(&'a str, &'a str)],
    /// Each upper bound in seconds, with the number of observations up to it.
    pub buckets: &'a [(f64, u64)],
    /// In seconds.
    pub sum: f64,
    pub count: u64,
}

/// What a metric counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MetricKind {
    /// Only grows; its name ends with `_total`.
    Counter,
    /// Grows and shrinks.
    Gauge,
}

/// The labels and the value of one sample.
pub type MetricRow<'a> = (&'a [(&'a str, &'a str)], &'a dyn Display);

impl MetricsText {
    /// A metric with one value.
    pub fn single(&mut self, kind: MetricKind, name: &str, help: &str, value: impl Display) {
        self.family(kind, name, help, &[(&[], &value)]);
    }

    /// A metric with a value for each set of labels.
    pub fn family(&mut self, kind: MetricKind, name: &str, help: &str, rows: &[MetricRow<'_>]) {
        let kind = match kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
        };
        self.head(kind, name, help);
        for (labels, value) in rows {
            self.sample(name, labels, value);
        }
    }

    /// A histogram for each set of labels.
    pub fn histogram(&mut self, name: &str, help: &str, series: &[HistogramSeries<'_>]) {
        self.head("histogram", name, help);
        let bucket = format!("{name}_bucket");
        for HistogramSeries { labels, buckets, sum, count } in series {
            for (bound, observed) in *buckets {
                self.sample(
                    &bucket,
                    &[labels, [("le", bound.to_string().as_str())].as_slice()].concat(),
                    observed,
                );
            }
            self.sample(&bucket, &[labels, [("le", "+Inf")].as_slice()].concat(), count);
            self.sample(&format!("{name}_sum"), labels, sum);
            self.sample(&format!("{name}_count"), labels, count);
        }
    }

    /// The page.
    pub fn finish(self) -> String {
        self.0
    }

    fn head(&mut self, kind: &str, name: &str, help: &str) {
        self.push(format_args!(
            "# HELP {name} {}\n# TYPE {name} {kind}\n",
            help.replace('\\', "\\\\").replace('\n', "\\n")
        ));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: &dyn Display) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            self.push(format_args!("{}{label}=\"{text}\"", if index == 0 { '{' } else { ',' }));
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        self.push(format_args!(" {value}\n"));
    }

    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("writing to a String cannot fail");
    }
}

/// Answers given, by the class of their status.
#[derive(Default)]
pub(crate) struct Answers {
    success: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
}

impl Answers {
    pub(crate) fn count(&self, status: axum::http::StatusCode) {
        let class = match status.as_u16() {
            500.. => &self.failed,
            400.. => &self.refused,
            _ => &self.success,
        };
        class.fetch_add(1, Ordering::Relaxed);
    }
}

/// `GET /metrics`
pub(crate) fn write(api: &Api) -> String {
    let mut page = MetricsText::default();
    let answers = [
        ("success", &api.answers.success),
        ("refused", &api.answers.refused),
        ("failed", &api.answers.failed),
    ];
    let answers = answers.map(|(class, count)| ([("class", class)], count.load(Ordering::Relaxed)));
    let values: Vec<MetricRow<'_>> =
        answers.iter().map(|(labels, count)| (labels.as_slice(), count as &dyn Display)).collect();
    page.family(
        MetricKind::Counter,
        "wireglot_http_answers_total",
        "Answers of the management side.",
        &values,
    );
    let feeds = "WebSockets and streams of events that are open.";
    page.single(MetricKind::Gauge, "wireglot_live_feeds", feeds, api.live.taken());
    page.finish() + &(api.metrics)()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_written_as_prometheus_reads_them() {
        let mut page = MetricsText::default();
        page.single(MetricKind::Gauge, "a", "An a.", 1.5);
        page.family(MetricKind::Counter, "b_total", "B\\.", &[(&[("x", "q\"\n"), ("y", "z")], &7)]);
        let buckets = [(0.001, 2), (0.01, 3)];
        page.histogram(
            "c_seconds",
            "C.",
            &[HistogramSeries { labels: &[("v", "1")], buckets: &buckets, sum: 0.5, count: 4 }],
        );
        let expected = "# HELP a An a.\n# TYPE a gauge\na 1.5\n\
            # HELP b_total B\\\\.\n# TYPE b_total counter\nb_total{x=\"q\\\"\\n\",y=\"z\"} 7\n\
            # HELP c_seconds C.\n# TYPE c_seconds histogram\nc_seconds_bucket{v=\"1\",le=\"0.001\"} 2\n\
            c_seconds_bucket{v=\"1\",le=\"0.01\"} 3\nc_seconds_bucket{v=\"1\",le=\"+Inf\"} 4\n\
            c_seconds_sum{v=\"1\"} 0.5\nc_seconds_count{v=\"1\"} 4\n";
        assert_eq!(page.finish(), expected);
    }
}
