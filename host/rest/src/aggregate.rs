//! What a function gives for each interval of a history (REST §2.5), found while the points go by: nothing is held of
//! an interval but its tally.
//!
//! MIN and MAX: of the numbers, where there are any; else of the texts; else of the booleans. Longs give a long, and a
//! double where an interval has both kinds. SUM: likewise, and a double where a long cannot hold it. AVG: a double.
//! COUNT: of all values. An interval that has nothing a function is about gives no point.

use wireglot_model::{Timestamp, Value};

use crate::error::ApiError;
use crate::intervals::{Interval, Intervals};
use crate::request::Params;

/// What an interval gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Function {
    Min,
    Max,
    Avg,
    Sum,
    Count,
}

/// A function over the intervals of a range.
#[derive(Clone, Debug)]
pub(crate) struct Aggregation {
    function: Function,
    intervals: Intervals,
}

impl Aggregation {
    /// `None` where the points themselves are wanted, which an interval of 0 means too.
    pub(crate) fn from_params(params: &Params, start: i64, end: i64) -> Result<Option<Self>, ApiError> {
        let function = match params.text("agg") {
            None | Some("NONE") => return Ok(None),
            Some("MIN") => Function::Min,
            Some("MAX") => Function::Max,
            Some("AVG") => Function::Avg,
            Some("SUM") => Function::Sum,
            Some("COUNT") => Function::Count,
            Some(other) => {
                return Err(ApiError::bad_request(format!(
                    "Unsupported aggregation '{other}'; there are MIN, MAX, AVG, SUM, COUNT, NONE"
                )));
            }
        };
        let intervals = Intervals::from_params(params, start, end)?;
        Ok(intervals.map(|intervals| Self { function, intervals }))
    }
}

/// The aggregation of one key, as far as its points have come.
pub(crate) struct Running<'a> {
    aggregation: &'a Aggregation,
    current: Option<(Interval, Tally)>,
}

impl<'a> Running<'a> {
    pub(crate) fn new(aggregation: &'a Aggregation) -> Self {
        Self { aggregation, current: None }
    }

    /// Takes the next point in the order of time, and gives that of an interval which is over.
    pub(crate) fn take(&mut self, ts: Timestamp, value: Value) -> Option<(Timestamp, Value)> {
        let mut over = None;
        if !self.current.as_ref().is_some_and(|(interval, _)| interval.holds(ts.0)) {
            over = self.finish();
            self.current = Some((self.aggregation.intervals.of(ts.0)?, Tally::default()));
        }
        if let Some((_, tally)) = &mut self.current {
            tally.add(self.aggregation.function, value);
        }
        over
    }

    /// The point of the last interval.
    pub(crate) fn finish(&mut self) -> Option<(Timestamp, Value)> {
        let (interval, tally) = self.current.take()?;
        Some((Timestamp(interval.middle()), tally.result(self.aggregation.function)?))
    }
}

/// What is known of the values of one interval.
#[derive(Default)]
struct Tally {
    values: i64,
    longs: u64,
    doubles: u64,
    /// Exact: not even 2^64 longs pass it.
    long_sum: i128,
    double_sum: f64,
    long: Option<i64>,
    double: Option<f64>,
    text: Option<String>,
    flag: Option<bool>,
}

impl Tally {
    fn add(&mut self, function: Function, value: Value) {
        self.values = self.values.saturating_add(1);
        match (function, value) {
            (Function::Count, _) | (_, Value::Json(_)) => {}
            (Function::Sum | Function::Avg, Value::Text(_) | Value::Bool(_)) => {}
            (Function::Sum | Function::Avg, Value::Long(long)) => {
                self.longs += 1;
                self.long_sum += i128::from(long);
            }
            (Function::Sum | Function::Avg, Value::Double(double)) => {
                self.doubles += 1;
                self.double_sum = finite(self.double_sum + double);
            }
            (Function::Min, Value::Long(long)) => keep(&mut self.long, long, |new, old| new < old),
            (Function::Max, Value::Long(long)) => keep(&mut self.long, long, |new, old| new > old),
            (Function::Min, Value::Double(double)) => {
                keep(&mut self.double, double, |new, old| new.total_cmp(old).is_lt());
            }
            (Function::Max, Value::Double(double)) => {
                keep(&mut self.double, double, |new, old| new.total_cmp(old).is_gt());
            }
            (Function::Min, Value::Text(text)) => keep(&mut self.text, text, |new, old| new < old),
            (Function::Max, Value::Text(text)) => keep(&mut self.text, text, |new, old| new > old),
            (Function::Min, Value::Bool(flag)) => keep(&mut self.flag, flag, |new, old| !new & old),
            (Function::Max, Value::Bool(flag)) => keep(&mut self.flag, flag, |new, old| new & !old),
        }
    }

    fn result(self, function: Function) -> Option<Value> {
        match function {
            Function::Count => Some(Value::Long(self.values)),
            Function::Sum if self.doubles > 0 => Some(Value::Double(self.sum())),
            Function::Sum if self.longs > 0 => {
                Some(i64::try_from(self.long_sum).map_or_else(|_| Value::Double(self.sum()), Value::Long))
            }
            Function::Avg if self.longs + self.doubles > 0 => {
                Some(Value::Double(self.sum() / (self.longs + self.doubles) as f64))
            }
            Function::Sum | Function::Avg => None,
            Function::Min | Function::Max => self.extreme(function),
        }
    }

    fn sum(&self) -> f64 {
        finite(self.double_sum + self.long_sum as f64)
    }

    fn extreme(self, function: Function) -> Option<Value> {
        let number = match (self.long, self.double) {
            (Some(long), Some(double)) if function == Function::Min => {
                Some(Value::Double(double.min(long as f64)))
            }
            (Some(long), Some(double)) => Some(Value::Double(double.max(long as f64))),
            (long, double) => long.map(Value::Long).or(double.map(Value::Double)),
        };
        number.or(self.text.map(Value::Text)).or(self.flag.map(Value::Bool))
    }
}

fn keep<T>(best: &mut Option<T>, new: T, is_better: impl Fn(&T, &T) -> bool) {
    if best.as_ref().is_none_or(|old| is_better(&new, old)) {
        *best = Some(new);
    }
}

/// A value is finite, also where a sum is not.
fn finite(sum: f64) -> f64 {
    sum.clamp(f64::MIN, f64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(function: Function, points: &[(i64, Value)], expected: &[(i64, Value)]) {
        let intervals = Intervals::milliseconds(1_000, 1_250, 100);
        let aggregation = Aggregation { function, intervals };
        let mut running = Running::new(&aggregation);
        let points = points.iter().map(|(ts, value)| (Timestamp(*ts), value.clone()));
        let mut found: Vec<_> = points.filter_map(|(ts, value)| running.take(ts, value)).collect();
        found.extend(running.finish());
        let expected: Vec<_> = expected.iter().map(|(ts, value)| (Timestamp(*ts), value.clone())).collect();
        assert_eq!(found, expected, "{function:?}");
    }

    #[test]
    fn intervals_start_with_the_range_and_give_their_middle() {
        let points = [
            (1_000, Value::Long(1)),
            (1_099, Value::Long(3)),
            (1_100, Value::Double(5.0)),
            (1_249, Value::Long(7)),
        ];
        for (function, values) in [
            (Function::Min, [Value::Long(1), Value::Double(5.0), Value::Long(7)]),
            (Function::Max, [Value::Long(3), Value::Double(5.0), Value::Long(7)]),
            (Function::Avg, [Value::Double(2.0), Value::Double(5.0), Value::Double(7.0)]),
            (Function::Sum, [Value::Long(4), Value::Double(5.0), Value::Long(7)]),
            (Function::Count, [Value::Long(2), Value::Long(1), Value::Long(1)]),
        ] {
            let expected: Vec<_> = [1_050, 1_150, 1_225].into_iter().zip(values).collect();
            check(function, &points, &expected);
        }
    }

    #[test]
    fn longs_and_doubles_in_one_interval_give_a_double() {
        let points = [(1_000, Value::Long(1)), (1_001, Value::Double(2.5)), (1_002, Value::Long(4))];
        for (function, value) in
            [(Function::Min, 1.0), (Function::Max, 4.0), (Function::Sum, 7.5), (Function::Avg, 2.5)]
        {
            check(function, &points, &[(1_050, Value::Double(value))]);
        }
    }

    #[test]
    fn what_is_no_number_counts_and_has_ends() {
        let text = |text: &str| Value::Text(text.into());
        let texts = [(1_000, text("b")), (1_001, text("a")), (1_002, Value::Bool(true)), (1_003, text("c"))];
        check(Function::Min, &texts, &[(1_050, text("a"))]);
        check(Function::Max, &texts, &[(1_050, text("c"))]);
        check(Function::Count, &texts, &[(1_050, Value::Long(4))]);
        check(Function::Sum, &texts, &[]);
        check(Function::Avg, &texts, &[]);
        let flags =
            [(1_000, Value::Bool(true)), (1_001, Value::Bool(false)), (1_002, Value::Json("{}".into()))];
        check(Function::Min, &flags, &[(1_050, Value::Bool(false))]);
        check(Function::Max, &flags, &[(1_050, Value::Bool(true))]);
        let mixed = [(1_000, text("z")), (1_001, Value::Long(5)), (1_100, Value::Json("[1]".into()))];
        check(Function::Max, &mixed, &[(1_050, Value::Long(5))]);
        check(Function::Sum, &mixed, &[(1_050, Value::Long(5))]);
        check(Function::Avg, &mixed, &[(1_050, Value::Double(5.0))]);
    }

    #[test]
    fn a_sum_that_does_not_fit_is_no_trouble() {
        let longs = [(1_000, Value::Long(i64::MAX)), (1_001, Value::Long(1))];
        check(Function::Sum, &longs, &[(1_050, Value::Double(9_223_372_036_854_775_808.0))]);
        let back = [(1_000, Value::Long(i64::MAX)), (1_001, Value::Long(1)), (1_002, Value::Long(-2))];
        check(Function::Sum, &back, &[(1_050, Value::Long(i64::MAX - 1))]);
        let doubles = [(1_000, Value::Double(f64::MAX)), (1_001, Value::Double(f64::MAX))];
        check(Function::Sum, &doubles, &[(1_050, Value::Double(f64::MAX))]);
    }
}
