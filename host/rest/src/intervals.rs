//! How a range of time is cut: into so many milliseconds each, or at the weeks, months and quarters of a time zone.

use jiff::civil::{Date, Weekday};
use jiff::tz::{Offset, TimeZone};
use jiff::{Span, Timestamp as Instant};
use wireglot_model::limits::HISTORY_INTERVALS_MAX;

use crate::error::ApiError;
use crate::request::Params;

const DAY_MS: i64 = 86_400_000;

/// A range of time and how it is cut.
#[derive(Clone, Debug)]
pub(crate) struct Intervals {
    start: i64,
    end: i64,
    cut: Cut,
}

#[derive(Clone, Debug)]
enum Cut {
    /// From the beginning of the range on.
    Milliseconds(i64),
    Calendar(Unit, TimeZone),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unit {
    /// They begin on this day.
    Weeks(Weekday),
    Months,
    Quarters,
}

/// From its first millisecond to the one that does not belong to it any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Interval {
    pub(crate) from: i64,
    pub(crate) to: i64,
}

impl Interval {
    pub(crate) fn holds(self, ts: i64) -> bool {
        (self.from..self.to).contains(&ts)
    }

    /// The time of what is said of the interval as a whole.
    pub(crate) fn middle(self) -> i64 {
        // Halved before it is added: an interval may be as long as all time.
        let length = self.to.wrapping_sub(self.from).cast_unsigned();
        self.from.wrapping_add_unsigned(length / 2)
    }
}

impl Intervals {
    /// `None` where the range is not cut: an `interval` of 0 milliseconds means that.
    pub(crate) fn from_params(params: &Params, start: i64, end: i64) -> Result<Option<Self>, ApiError> {
        let unit = match params.text("intervalType") {
            None | Some("MILLISECONDS") => None,
            Some("WEEK") => Some(Unit::Weeks(Weekday::Sunday)),
            Some("WEEK_ISO") => Some(Unit::Weeks(Weekday::Monday)),
            Some("MONTH") => Some(Unit::Months),
            Some("QUARTER") => Some(Unit::Quarters),
            Some(other) => {
                return Err(ApiError::bad_request(format!(
                    "Unsupported interval type '{other}'; there are MILLISECONDS, WEEK, WEEK_ISO, MONTH, QUARTER"
                )));
            }
        };
        let zone = params.text("timeZone").map_or(Ok(TimeZone::UTC), time_zone)?;
        let interval: i64 = params.parsed("interval")?.unwrap_or(0);
        let cut = match unit {
            None if interval == 0 => return Ok(None),
            None if interval < 0 => return Err(ApiError::bad_request("'interval' must not be negative")),
            None => Cut::Milliseconds(interval),
            Some(unit) => Cut::Calendar(unit, zone),
        };
        let mut intervals = Self { start, end, cut };
        if matches!(intervals.cut, Cut::Calendar(..)) {
            let (first, last) = calendar_ends();
            intervals.start = start.max(first);
            intervals.end = end.min(last);
        }
        intervals.check_count()?;
        Ok(Some(intervals))
    }

    #[cfg(test)]
    pub(crate) fn milliseconds(start: i64, end: i64, length: i64) -> Self {
        Self { start, end, cut: Cut::Milliseconds(length) }
    }

    fn check_count(&self) -> Result<(), ApiError> {
        let shortest = match &self.cut {
            Cut::Milliseconds(length) => *length,
            Cut::Calendar(Unit::Weeks(_), _) => 7 * DAY_MS,
            Cut::Calendar(Unit::Months, _) => 28 * DAY_MS,
            Cut::Calendar(Unit::Quarters, _) => 90 * DAY_MS,
        };
        let length = (i128::from(self.end) - i128::from(self.start)).max(0);
        let count = (length + i128::from(shortest) - 1) / i128::from(shortest);
        if count > i128::from(HISTORY_INTERVALS_MAX) {
            return Err(ApiError::bad_request(format!(
                "Number of intervals is too high: {count}, and there may be {HISTORY_INTERVALS_MAX}. Ask for longer \
                 intervals or for a shorter range"
            )));
        }
        Ok(())
    }

    /// The interval of a time of the range; `None` for a time that is in none.
    pub(crate) fn of(&self, ts: i64) -> Option<Interval> {
        if !(self.start..self.end).contains(&ts) {
            return None;
        }
        let whole = match &self.cut {
            Cut::Milliseconds(length) => {
                let length = i128::from(*length);
                let start = i128::from(self.start);
                let from = start + (i128::from(ts) - start) / length * length;
                let bounded = |ms: i128| i64::try_from(ms).unwrap_or(i64::MAX);
                Interval { from: bounded(from), to: bounded(from + length) }
            }
            Cut::Calendar(unit, zone) => unit.around(ts, zone)?,
        };
        Some(Interval { from: whole.from.max(self.start), to: whole.to.min(self.end) })
    }
}

impl Unit {
    fn around(self, ts: i64, zone: &TimeZone) -> Option<Interval> {
        let day = Instant::from_millisecond(ts).ok()?.to_zoned(zone.clone()).date();
        let first = match self {
            Unit::Weeks(begin) => {
                let since = day.weekday().to_monday_zero_offset() - begin.to_monday_zero_offset();
                day.checked_sub(Span::new().days(since.rem_euclid(7)))
            }
            Unit::Months => Ok(day.first_of_month()),
            Unit::Quarters => Date::new(day.year(), day.month() - (day.month() - 1) % 3, 1),
        };
        let first = first.ok();
        // At the very ends of the calendar there is nothing to cut at.
        let midnight = |day: Date| Some(day.to_zoned(zone.clone()).ok()?.timestamp().as_millisecond());
        let from = first.and_then(midnight).unwrap_or(i64::MIN);
        let length = match self {
            Unit::Weeks(_) => Span::new().days(7),
            Unit::Months => Span::new().months(1),
            Unit::Quarters => Span::new().months(3),
        };
        let next = first.and_then(|first| first.checked_add(length).ok());
        Some(Interval { from, to: next.and_then(midnight).unwrap_or(i64::MAX) })
    }
}

/// The calendar reaches from here to there; its ends are known to the second.
fn calendar_ends() -> (i64, i64) {
    (1_000 * Instant::MIN.as_second(), 1_000 * Instant::MAX.as_second())
}

/// A region such as `Europe/Berlin`, or an offset such as `UTC+2`, `+02:00` or `Z`.
fn time_zone(name: &str) -> Result<TimeZone, ApiError> {
    let found = offset(name).map(TimeZone::fixed).or_else(|| TimeZone::get(name).ok());
    found.ok_or_else(|| {
        ApiError::bad_request(format!(
            "There is no time zone '{name}'; write a region such as Europe/Berlin, or an offset such as UTC+02:00"
        ))
    })
}

fn offset(name: &str) -> Option<Offset> {
    if ["Z", "UTC", "GMT", "UT"].contains(&name) {
        return Some(Offset::UTC);
    }
    let rest = ["UTC", "GMT", "UT"].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    let (sign, rest) = match rest.strip_prefix('+') {
        Some(rest) => (1, rest),
        None => (-1, rest.strip_prefix('-')?),
    };
    let (hours, minutes) = match rest.split_once(':') {
        Some(parts) => parts,
        None if rest.len() == 4 => rest.split_at_checked(2)?,
        None => (rest, "0"),
    };
    let number = |text: &str| {
        let is_number = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse::<i32>().ok()).flatten()
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let seconds = hours * 3_600 + minutes * 60;
    if minutes >= 60 || seconds > 18 * 3_600 {
        return None;
    }
    Offset::from_seconds(sign * seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(cut: Cut, start: i64, end: i64) -> Intervals {
        Intervals { start, end, cut }
    }

    fn at(text: &str) -> i64 {
        text.parse::<Instant>().unwrap().as_millisecond()
    }

    #[track_caller]
    fn check(unit: Unit, zone: &str, ts: &str, from: &str, to: &str) {
        let all = cut(
            Cut::Calendar(unit, time_zone(zone).unwrap()),
            at("2000-01-01T00:00Z"),
            at("2100-01-01T00:00Z"),
        );
        let interval = all.of(at(ts)).unwrap();
        assert_eq!(interval, Interval { from: at(from), to: at(to) }, "{unit:?} {zone} {ts}");
        assert_eq!(all.of(interval.from), Some(interval));
        assert_eq!(all.of(interval.to - 1), Some(interval));
        assert_ne!(all.of(interval.to), Some(interval));
    }

    #[test]
    fn weeks_begin_on_sunday_or_on_monday() {
        // 2024-05-01 is a Wednesday.
        let (iso, us) = (Unit::Weeks(Weekday::Monday), Unit::Weeks(Weekday::Sunday));
        check(iso, "UTC", "2024-05-01T10:00Z", "2024-04-29T00:00Z", "2024-05-06T00:00Z");
        check(us, "UTC", "2024-05-01T10:00Z", "2024-04-28T00:00Z", "2024-05-05T00:00Z");
        check(us, "UTC", "2024-04-28T00:00Z", "2024-04-28T00:00Z", "2024-05-05T00:00Z");
        check(iso, "UTC", "2024-04-28T23:59:59Z", "2024-04-22T00:00Z", "2024-04-29T00:00Z");
    }

    #[test]
    fn a_time_zone_moves_midnight_and_summer_time_changes_a_length() {
        check(Unit::Months, "Europe/Berlin", "2024-03-10T00:00Z", "2024-02-29T23:00Z", "2024-03-31T22:00Z");
        check(
            Unit::Quarters,
            "America/New_York",
            "2024-02-01T00:00Z",
            "2024-01-01T05:00Z",
            "2024-04-01T04:00Z",
        );
        check(Unit::Quarters, "UTC", "2024-12-31T23:59Z", "2024-10-01T00:00Z", "2025-01-01T00:00Z");
        for zone in ["UTC+02:00", "GMT+2", "+02", "+0200", "UT+2:00"] {
            check(Unit::Months, zone, "2024-01-31T22:00Z", "2024-01-31T22:00Z", "2024-02-29T22:00Z");
        }
        check(Unit::Months, "-05:30", "2024-01-15T00:00Z", "2024-01-01T05:30Z", "2024-02-01T05:30Z");
        for zone in ["Mars/Olympus", "+19", "+1:60", "UTC+", "+-1", "+ü1"] {
            assert!(time_zone(zone).is_err(), "{zone}");
        }
    }

    #[test]
    fn the_ends_of_the_range_cut_as_well() {
        let months = Cut::Calendar(Unit::Months, TimeZone::UTC);
        let some = cut(months, at("2024-01-20T00:00Z"), at("2024-02-10T00:00Z"));
        let january = some.of(at("2024-01-25T00:00Z")).unwrap();
        assert_eq!(january, Interval { from: at("2024-01-20T00:00Z"), to: at("2024-02-01T00:00Z") });
        assert_eq!(january.middle(), at("2024-01-26T00:00Z"));
        assert_eq!(some.of(at("2024-02-05T00:00Z")).unwrap().to, at("2024-02-10T00:00Z"));
        assert_eq!(some.of(at("2024-02-10T00:00Z")), None);
    }

    #[test]
    fn the_ends_of_time_are_no_trouble() {
        let all = cut(Cut::Milliseconds(i64::MAX), i64::MIN, i64::MAX);
        assert_eq!(all.of(i64::MIN).unwrap(), Interval { from: i64::MIN, to: -1 });
        assert_eq!(all.of(5).unwrap(), Interval { from: -1, to: i64::MAX - 1 });
        assert_eq!(Interval { from: i64::MIN, to: i64::MAX }.middle(), -1);
        let (min, max) = calendar_ends();
        for unit in [Unit::Weeks(Weekday::Sunday), Unit::Months, Unit::Quarters] {
            for zone in [TimeZone::UTC, time_zone("Asia/Tokyo").unwrap(), time_zone("-18").unwrap()] {
                let calendar = cut(Cut::Calendar(unit, zone), min, max);
                for ts in [min, max - 1] {
                    assert!(calendar.of(ts).is_some_and(|interval| interval.holds(ts)), "{unit:?} {ts}");
                }
            }
        }
    }
}
