//! The page of metrics, read by the rules of the Prometheus text format; what breaks one of them fails the story.

use std::collections::{BTreeMap, BTreeSet};

/// A valid page.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    families: BTreeMap<String, String>,
    samples: Vec<Sample>,
}

#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Metrics {
    /// Reads a page and checks all of it.
    #[track_caller]
    pub(crate) fn parse(page: &str) -> Self {
        assert!(page.ends_with('\n'), "the last line has an end");
        let mut metrics = Self::default();
        let mut current: Option<String> = None;
        let mut helped = BTreeSet::new();
        for line in page.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, text) = help.split_once(' ').expect(line);
                assert!(is_name(name) && !text.is_empty(), "{line}");
                assert!(helped.insert(name.to_owned()), "a family stands in one place: {line}");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect(line);
                assert!(helped.contains(name), "HELP comes before TYPE: {line}");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
                assert!(metrics.families.insert(name.to_owned(), kind.to_owned()).is_none(), "{line}");
                current = Some(name.to_owned());
            } else {
                let sample = Sample::parse(line);
                let family = current.as_deref().expect("a family comes before its samples");
                let is_histogram = metrics.families[family] == "histogram";
                let suffix = sample.name.strip_prefix(family).unwrap_or_else(|| panic!("{line} in {family}"));
                let suffixes: &[&str] = if is_histogram { &["_bucket", "_sum", "_count"] } else { &[""] };
                assert!(suffixes.contains(&suffix), "{line} in {family}");
                metrics.samples.push(sample);
            }
        }
        metrics.check_series();
        metrics.check_histograms();
        metrics
    }

    #[track_caller]
    fn check_series(&self) {
        let mut seen = BTreeSet::new();
        for sample in &self.samples {
            assert!(seen.insert((&sample.name, &sample.labels)), "twice: {sample:?}");
            let is_device = |label: &String| label.contains("device");
            assert!(!sample.labels.keys().any(is_device), "a device is no label: {sample:?}");
            if self.families.get(&sample.name).is_some_and(|kind| kind == "counter") {
                assert!(sample.value >= 0.0, "{sample:?}");
            }
        }
    }

    #[track_caller]
    fn check_histograms(&self) {
        for (family, _) in self.families.iter().filter(|(_, kind)| *kind == "histogram") {
            for count in self.samples.iter().filter(|sample| sample.name == format!("{family}_count")) {
                let mut last = (f64::NEG_INFINITY, 0.0);
                for bucket in self.samples.iter().filter(|sample| sample.name == format!("{family}_bucket")) {
                    let mut labels = bucket.labels.clone();
                    let bound = labels.remove("le").expect("a bucket has a bound");
                    if labels != count.labels {
                        continue;
                    }
                    let bound =
                        if bound == "+Inf" { f64::INFINITY } else { bound.parse().expect("a number") };
                    assert!(bound > last.0 && bucket.value >= last.1, "buckets are cumulative: {bucket:?}");
                    last = (bound, bucket.value);
                }
                assert_eq!(last, (f64::INFINITY, count.value), "the last bucket has all: {count:?}");
                let sum = self.value(&format!("{family}_sum"), &pairs(&count.labels));
                assert!(sum >= 0.0 && (sum > 0.0) == (count.value > 0.0), "{count:?} {sum}");
            }
        }
    }

    /// Whether there is such a metric, be it without a sample.
    pub(crate) fn has(&self, metric: &str) -> bool {
        let of_histogram = |suffix| {
            metric
                .strip_suffix(suffix)
                .and_then(|name| self.families.get(name))
                .is_some_and(|kind| kind == "histogram")
        };
        self.families.contains_key(metric) || ["_bucket", "_sum", "_count"].into_iter().any(of_histogram)
    }

    /// The names of all families.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.families.keys().map(String::as_str)
    }

    /// The sum over all samples that have these labels.
    #[track_caller]
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        assert!(self.has(name), "there is no metric {name}");
        let has = |sample: &&Sample| {
            sample.name == name
                && labels
                    .iter()
                    .all(|(label, text)| sample.labels.get(*label).is_some_and(|found| found == text))
        };
        self.samples.iter().filter(has).map(|sample| sample.value).sum()
    }
}

fn pairs(labels: &BTreeMap<String, String>) -> Vec<(&str, &str)> {
    labels.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect()
}

impl Sample {
    #[track_caller]
    fn parse(line: &str) -> Self {
        let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("a sample: {line}"));
        let (name, rest) = line.split_at(end);
        assert!(is_name(name), "{line}");
        let (labels, value) = match rest.strip_prefix('{') {
            None => (BTreeMap::new(), rest),
            Some(rest) => labels(rest),
        };
        let value = value.strip_prefix(' ').unwrap_or_else(|| panic!("one space before the value: {line}"));
        Self { name: name.to_owned(), labels, value: value.parse().unwrap_or_else(|_| panic!("{line}")) }
    }
}

/// The labels up to the closing brace, and what follows it.
#[track_caller]
fn labels(mut rest: &str) -> (BTreeMap<String, String>, &str) {
    let mut labels = BTreeMap::new();
    loop {
        let (name, quoted) = rest.split_once("=\"").expect("a label and its quoted value");
        assert!(is_name(name) && !name.contains(':') && !name.starts_with("__"), "{name}");
        let mut text = String::new();
        let mut characters = quoted.char_indices();
        let end = loop {
            match characters.next().expect("a closing quote") {
                (at, '"') => break at,
                (_, '\\') => text.push(match characters.next() {
                    Some((_, 'n')) => '\n',
                    Some((_, escaped @ ('\\' | '"'))) => escaped,
                    other => panic!("an escape: {other:?}"),
                }),
                (_, character) => text.push(character),
            }
        };
        assert!(labels.insert(name.to_owned(), text).is_none(), "label {name} twice");
        rest = quoted.get(end + 1..).expect("the quote is one byte");
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => return (labels, rest.strip_prefix('}').expect("a closing brace")),
        }
    }
}

fn is_name(text: &str) -> bool {
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    text.starts_with(is_first) && text.chars().all(|c| is_first(c) || c.is_ascii_digit())
}
