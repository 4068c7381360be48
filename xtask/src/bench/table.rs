//! The table: what was measured, what it must be, what it should be.

use std::fmt::Write as _;

/// A bound and on which side of it a value has to lie.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bar {
    AtMost(f64),
    AtLeast(f64),
    /// Shown only.
    None,
}

/// One line of the table.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) measure: &'static str,
    pub(super) value: f64,
    pub(super) unit: &'static str,
    pub(super) must: Bar,
    pub(super) aim: Bar,
    /// The figures behind it, and what they mean.
    pub(super) note: String,
}

impl Bar {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
            Self::None => true,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtMost(bound) => format!("≤ {}", short(bound)),
            Self::AtLeast(bound) => format!("≥ {}", short(bound)),
            Self::None => "–".into(),
        }
    }
}

impl Line {
    /// Whether the row falls short of what it must be.
    pub(super) fn misses(&self) -> bool {
        !self.must.holds(self.value)
    }

    fn verdict(&self) -> &'static str {
        match (self.must, self.must.holds(self.value), self.aim.holds(self.value)) {
            (Bar::None, ..) => "shown",
            (_, false, _) => "MISSED",
            (_, true, false) => "must",
            (_, true, true) => "aim",
        }
    }
}

/// The whole table as Markdown, with the figures behind each row below it.
pub(super) fn render(lines: &[Line]) -> String {
    let mut text = String::from("\n| Measure | measured | must | aim | verdict |\n|---|---|---|---|---|\n");
    for line in lines {
        let value = short(line.value);
        let (must, aim, verdict) = (line.must.text(), line.aim.text(), line.verdict());
        writeln!(text, "| {} | {value}{} | {must} | {aim} | {verdict} |", line.measure, line.unit)
            .expect("writing to a string succeeds");
    }
    text.push('\n');
    for line in lines.iter().filter(|line| !line.note.is_empty()) {
        writeln!(text, "- {}: {}", line.measure, line.note).expect("writing to a string succeeds");
    }
    text
}

/// Three digits that count.
pub(super) fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// The middle value; of an even number the upper of the two.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: f64, must: Bar, aim: Bar, verdict: &str) {
        let line = Line { measure: "m", value, unit: "", must, aim, note: String::new() };
        assert_eq!(line.verdict(), verdict, "{line:?}");
        assert_eq!(line.misses(), verdict == "MISSED", "{line:?}");
    }

    #[test]
    fn a_value_is_judged_by_both_bars() {
        check(1.0, Bar::AtMost(1.6), Bar::AtMost(1.3), "aim");
        check(1.5, Bar::AtMost(1.6), Bar::AtMost(1.3), "must");
        check(1.7, Bar::AtMost(1.6), Bar::AtMost(1.3), "MISSED");
        check(6.0, Bar::AtLeast(5.0), Bar::AtLeast(8.0), "must");
        check(4.0, Bar::AtLeast(5.0), Bar::AtLeast(8.0), "MISSED");
        check(f64::NAN, Bar::AtLeast(5.0), Bar::AtLeast(8.0), "MISSED");
        check(4.0, Bar::None, Bar::None, "shown");
    }

    #[test]
    fn the_median_does_not_mind_an_outlier() {
        assert_eq!(median([5.0, 1.0, 900.0]), 5.0);
        assert!(median([]).is_nan());
    }
}
