//! How long elements took to come through a gateway and from it, by connector (gateway API §6).

use std::collections::BTreeMap;
use std::time::Instant;

use wireglot_codec::native;
use wireglot_model::gateway::Transit;
use wireglot_model::limits::GATEWAY_CONNECTORS_MAX;
use wireglot_model::{Measurement, Sample, Timestamp};

const KEY: &str = "gatewayMetrics";

/// What was seen since the last report.
#[derive(Default)]
pub(crate) struct Latencies {
    connectors: BTreeMap<String, Latency>,
    /// When the first of it was seen.
    since: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Latency {
    count: i64,
    gateway: Span,
    transport: Span,
}

/// In milliseconds.
#[derive(Clone, Copy)]
struct Span {
    sum: i64,
    min: i64,
    max: i64,
}

impl Span {
    fn of(value: i64) -> Self {
        Self { sum: value, min: value, max: value }
    }

    fn note(&mut self, value: i64) {
        self.sum = self.sum.saturating_add(value);
        (self.min, self.max) = (self.min.min(value), self.max.max(value));
    }
}

impl Latencies {
    pub(crate) fn note(&mut self, transits: Vec<Transit>, received: Timestamp) {
        for transit in transits {
            let gateway = transit.published.saturating_sub(transit.received);
            let transport = received.0.saturating_sub(transit.published);
            self.since.get_or_insert_with(Instant::now);
            let is_full = self.connectors.len() >= GATEWAY_CONNECTORS_MAX;
            match self.connectors.get_mut(&transit.connector) {
                Some(latency) => {
                    latency.count += 1;
                    latency.gateway.note(gateway);
                    latency.transport.note(transport);
                }
                None if is_full => {
                    tracing::debug!("A gateway has more connectors than are counted.");
                }
                None => {
                    let (gateway, transport) = (Span::of(gateway), Span::of(transport));
                    self.connectors.insert(transit.connector, Latency { count: 1, gateway, transport });
                }
            }
        }
    }

    /// Whether there is something to report that was seen before `before`.
    pub(crate) fn is_due(&self, before: Instant) -> bool {
        self.since.is_some_and(|since| since <= before)
    }

    /// The report, as telemetry of the gateway; what comes from now on is in the next one.
    pub(crate) fn report(&mut self) -> Measurement {
        let Self { connectors, .. } = std::mem::take(self);
        let numbers = |latency: Latency| {
            let Latency { count, gateway, transport } = latency;
            let average = |span: Span| span.sum.checked_div(count).unwrap_or(0);
            [average(gateway), gateway.min, gateway.max, average(transport), transport.min, transport.max]
        };
        let connectors = connectors.into_iter().map(|(name, latency)| (name, numbers(latency)));
        let value = native::gateway_metrics(connectors);
        Measurement { ts: None, samples: vec![Sample { key: KEY.to_owned(), value }] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transit(connector: &str, received: i64, published: i64) -> Transit {
        Transit { connector: connector.to_owned(), received, published }
    }

    // 381
    #[test]
    fn a_report_has_averages_and_bounds_by_connector() {
        let mut latencies = Latencies::default();
        assert!(!latencies.is_due(Instant::now()));
        latencies.note(vec![transit("a", 100, 110), transit("a", 100, 125)], Timestamp(200));
        latencies.note(vec![transit("b", 0, 0)], Timestamp(7));
        assert!(latencies.is_due(Instant::now()));
        let report = latencies.report();
        let [sample] = report.samples.as_slice() else { panic!("{report:?}") };
        let mut text = String::new();
        sample.value.write_json(&mut text);
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            serde_json::json!({
                "a": {"avgGwLatency": 17, "minGwLatency": 10, "maxGwLatency": 25,
                      "avgTransportLatency": 82, "minTransportLatency": 75, "maxTransportLatency": 90},
                "b": {"avgGwLatency": 0, "minGwLatency": 0, "maxGwLatency": 0,
                      "avgTransportLatency": 7, "minTransportLatency": 7, "maxTransportLatency": 7},
            })
        );
        assert!(!latencies.is_due(Instant::now()), "it is told once");
    }

    #[test]
    fn connectors_are_bounded() {
        let mut latencies = Latencies::default();
        for index in 0..=GATEWAY_CONNECTORS_MAX {
            latencies.note(vec![transit(&index.to_string(), 0, 0)], Timestamp(0));
        }
        assert_eq!(latencies.connectors.len(), GATEWAY_CONNECTORS_MAX);
    }
}
