//! Aggregation of a history into buckets (REST §2.5).

use std::cmp::Ordering;

use wireglot_model::{Timestamp, Value};

use crate::error::ApiError;
use crate::request::Params;

/// What a bucket gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Function {
    Min,
    Max,
    Avg,
    Sum,
    Count,
}

/// A function over buckets of so many milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Aggregation {
    function: Function,
    interval_ms: i64,
}

impl Aggregation {
    /// `None` where the points themselves are wanted, which an interval of 0 means too.
    pub(crate) fn from_params(params: &Params) -> Result<Option<Self>, ApiError> {
        let function = match params.text("agg") {
            None | Some("NONE") => return Ok(None),
            Some("MIN") => Function::Min,
            Some("MAX") => Function::Max,
            Some("AVG") => Function::Avg,
            Some("SUM") => Function::Sum,
            Some("COUNT") => Function::Count,
            Some(other) => return Err(ApiError::bad_request(format!("Unsupported aggregation '{other}'"))),
        };
        match params.text("intervalType") {
            None | Some("MILLISECONDS") => {}
            Some(other) => {
                return Err(ApiError::bad_request(format!("Intervals of type '{other}' are not served")));
            }
        }
        let interval_ms: i64 = params.parsed("interval")?.unwrap_or(0);
        Ok((interval_ms > 0).then_some(Self { function, interval_ms }))
    }
}

/// One point for each bucket that has any, at the bucket's middle. `points` are in the order of time.
pub(crate) fn aggregate(
    aggregation: &Aggregation,
    start: i64,
    end: i64,
    points: &[(Timestamp, Value)],
) -> Vec<(Timestamp, Value)> {
    let bucket_of =
        |ts: Timestamp| (i128::from(ts.0) - i128::from(start)) / i128::from(aggregation.interval_ms);
    let buckets = points.chunk_by(|(one, _), (other, _)| bucket_of(*one) == bucket_of(*other));
    let mut found = Vec::new();
    for bucket in buckets {
        let Some((first, _)) = bucket.first() else { continue };
        let from = i128::from(start) + bucket_of(*first) * i128::from(aggregation.interval_ms);
        let to = (from + i128::from(aggregation.interval_ms)).min(i128::from(end));
        let middle = i64::try_from(from + (to - from) / 2).unwrap_or(first.0);
        let values = bucket.iter().map(|(_, value)| value);
        found.extend(reduce(aggregation.function, values).map(|value| (Timestamp(middle), value)));
    }
    found
}

/// Values that are no numbers count, and nothing else; `None` where nothing is left.
fn reduce<'a>(function: Function, values: impl Iterator<Item = &'a Value>) -> Option<Value> {
    if function == Function::Count {
        return Some(Value::Long(i64::try_from(values.count()).unwrap_or(i64::MAX)));
    }
    let numbers: Vec<&Value> =
        values.filter(|value| matches!(value, Value::Long(_) | Value::Double(_))).collect();
    if numbers.is_empty() {
        return None;
    }
    match function {
        Function::Min => numbers.into_iter().min_by(|one, other| compare(one, other)).cloned(),
        Function::Max => numbers.into_iter().max_by(|one, other| compare(one, other)).cloned(),
        Function::Sum => Some(sum(&numbers)),
        Function::Avg => {
            let total: f64 = numbers.iter().map(|number| as_double(number)).sum();
            Some(Value::Double(total / numbers.len() as f64))
        }
        Function::Count => None,
    }
}

/// A long where all are longs and the sum fits one.
fn sum(numbers: &[&Value]) -> Value {
    let longs = numbers.iter().map(|number| match number {
        Value::Long(long) => Some(*long),
        Value::Bool(_) | Value::Double(_) | Value::Text(_) | Value::Json(_) => None,
    });
    let total = longs.into_iter().try_fold(0i64, |total, long| total.checked_add(long?));
    total.map_or_else(|| Value::Double(numbers.iter().map(|number| as_double(number)).sum()), Value::Long)
}

fn compare(one: &Value, other: &Value) -> Ordering {
    match (one, other) {
        (Value::Long(one), Value::Long(other)) => one.cmp(other),
        (one, other) => as_double(one).total_cmp(&as_double(other)),
    }
}

fn as_double(value: &Value) -> f64 {
    match value {
        Value::Long(long) => *long as f64,
        Value::Double(double) => *double,
        Value::Bool(_) | Value::Text(_) | Value::Json(_) => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(function: Function, points: &[(i64, Value)], expected: &[(i64, Value)]) {
        let points: Vec<_> = points.iter().map(|(ts, value)| (Timestamp(*ts), value.clone())).collect();
        let expected: Vec<_> = expected.iter().map(|(ts, value)| (Timestamp(*ts), value.clone())).collect();
        let aggregation = Aggregation { function, interval_ms: 100 };
        assert_eq!(aggregate(&aggregation, 1_000, 1_250, &points), expected, "{function:?}");
    }

    #[test]
    fn buckets_start_with_the_range_and_give_their_middle() {
        let points = [
            (1_000, Value::Long(1)),
            (1_099, Value::Long(3)),
            (1_100, Value::Double(5.0)),
            (1_249, Value::Long(7)),
        ];
        check(
            Function::Min,
            &points,
            &[(1_050, Value::Long(1)), (1_150, Value::Double(5.0)), (1_225, Value::Long(7))],
        );
        check(
            Function::Max,
            &points,
            &[(1_050, Value::Long(3)), (1_150, Value::Double(5.0)), (1_225, Value::Long(7))],
        );
        check(
            Function::Sum,
            &points,
            &[(1_050, Value::Long(4)), (1_150, Value::Double(5.0)), (1_225, Value::Long(7))],
        );
        check(
            Function::Avg,
            &points,
            &[(1_050, Value::Double(2.0)), (1_150, Value::Double(5.0)), (1_225, Value::Double(7.0))],
        );
        check(
            Function::Count,
            &points,
            &[(1_050, Value::Long(2)), (1_150, Value::Long(1)), (1_225, Value::Long(1))],
        );
    }

    #[test]
    fn what_is_no_number_is_counted_only() {
        let points = [(1_000, Value::Text("a".into())), (1_001, Value::Bool(true))];
        check(Function::Count, &points, &[(1_050, Value::Long(2))]);
        check(Function::Sum, &points, &[]);
        check(Function::Max, &points, &[]);
    }

    #[test]
    fn a_sum_of_longs_that_does_not_fit_becomes_a_double() {
        let points = [(1_000, Value::Long(i64::MAX)), (1_001, Value::Long(1))];
        check(Function::Sum, &points, &[(1_050, Value::Double(9_223_372_036_854_775_808.0))]);
    }
}
