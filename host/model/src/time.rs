//! Points in time. Nothing in this crate reads a clock; the edges do and pass the result in.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z; negative before it. Any value is legal, as the device API has no range.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The wall clock's reading; for the edges only.
    pub fn from_system(now: std::time::SystemTime) -> Self {
        let millis = |duration: std::time::Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        match now.duration_since(std::time::UNIX_EPOCH) {
            Ok(after) => Self(millis(after)),
            Err(before) => Self(-millis(before.duration())),
        }
    }

    /// The time that RFC 3339 text states, such as `2022-07-18T09:34:15.775023242+00:00`; what is finer than a
    /// millisecond is cut off. `None`: it states none.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let (date, time) = text.split_once(['T', 't', ' '])?;
        let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
        let zone = time.find(['Z', 'z', '+', '-'])?;
        let (time, zone) = time.split_at_checked(zone)?;
        let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
        let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
        let offset_minutes = match (zone.get(..1)?, zone.get(1..)?) {
            ("Z" | "z", "") => 0,
            (sign @ ("+" | "-"), zone) => {
                let [hours, minutes] = numbers(zone, ':', [2, 2])?;
                let total = (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)?;
                if sign == "-" { -total } else { total }
            }
            _ => return None,
        };
        // A leap second is written as 60 and falls together with the second after it.
        let is_clock = hour < 24 && minute < 60 && second <= 60;
        if !is_clock || !(1..=12).contains(&month) || !(1..=days_of(year, month)).contains(&day) {
            return None;
        }
        let millis = millis_of(fraction)?;
        let minutes = (days_since_1970(year, month, day) * 24 + hour) * 60 + minute - offset_minutes;
        Some(Self((minutes * 60 + second) * 1_000 + millis))
    }

    /// Date and time of day in UTC for people, to the second: `2023-11-14 22:13:20Z`.
    pub fn utc(self) -> String {
        let (days, seconds) = (self.0.div_euclid(86_400_000), self.0.rem_euclid(86_400_000) / 1_000);
        let (year, month, day) = date_of(days);
        let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
    }
}

/// Numbers of these many digits each, between separators.
fn numbers<const N: usize>(text: &str, separator: char, digits: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; N];
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let part = parts.next().filter(|part| part.len() == digits)?;
        *number = part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())??;
    }
    parts.next().is_none().then_some(numbers)
}

fn millis_of(fraction: &str) -> Option<i64> {
    let are_digits = !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let digit = |index| fraction.as_bytes().get(index).map_or(0, |byte| i64::from(byte - b'0'));
    are_digits.then(|| digit(0) * 100 + digit(1) * 10 + digit(2))
}

fn days_of(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days of the proleptic Gregorian calendar. Years are counted from March, so that a leap day ends one.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - 719_468
}

/// The other way round: year, month and day of a day counted from 1970, in eras of 400 years that begin in March.
fn date_of(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted_month + 2) / 5 + 1)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, millis: Option<i64>) {
        assert_eq!(Timestamp::parse_rfc3339(text).map(|time| time.0), millis, "{text:?}");
    }

    #[test]
    fn text_states_a_time() {
        check("1970-01-01T00:00:00Z", Some(0));
        check("2022-07-18T09:34:15.775023242+00:00", Some(1_658_136_855_775));
        check("2020-02-12T15:15:45.789585559Z", Some(1_581_520_545_789));
        check("2020-02-29t23:59:59.9z", Some(1_583_020_799_900));
        check("2024-03-01 01:30:00+05:30", Some(1_709_236_800_000));
        check("2024-02-29T15:00:00-05:00", Some(1_709_236_800_000));
        check("2000-01-01T00:00:00Z", Some(946_684_800_000));
        check("2016-12-31T23:59:60Z", Some(1_483_228_800_000));
        check("0001-01-01T00:00:00Z", Some(-62_135_596_800_000));
        check("9999-12-31T23:59:59.999999999Z", Some(253_402_300_799_999));
    }

    #[test]
    fn other_text_states_none() {
        for text in [
            "",
            "T",
            "now",
            "1658136855",
            "2022-07-18",
            "2022-07-18T09:34:15",
            "2022-07-18T09:34Z",
            "2022-07-18T09:34:15.Z",
            "2022-07-18T09:34:15.1e3Z",
            "2022-13-01T00:00:00Z",
            "2022-00-01T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2022-07-18T24:00:00Z",
            "2022-07-18T09:60:00Z",
            "2022-07-18T09:34:61Z",
            "2022-07-18T09:34:15+0000",
            "2022-07-18T09:34:15+24:00",
            "22-07-18T09:34:15Z",
            "+022-07-18T09:34:15Z",
            "2022-07-18T09:34:15Zulu",
            "2022-07-18T09:34:15€",
            "2022-07-18T0€:34:15Z",
            "٢٠٢٢-07-18T09:34:15Z",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (ms, expected) in [
            (0, "1970-01-01 00:00:00Z"),
            (951_782_399_999, "2000-02-28 23:59:59Z"),
            (951_782_400_000, "2000-02-29 00:00:00Z"),
            (1_709_251_199_000, "2024-02-29 23:59:59Z"),
            (1_700_000_000_000, "2023-11-14 22:13:20Z"),
            (-1, "1969-12-31 23:59:59Z"),
        ] {
            assert_eq!(Timestamp(ms).utc(), expected);
        }
        for day in (-800_000..800_000).step_by(17) {
            let (year, month, date) = date_of(day);
            assert_eq!(days_since_1970(year, month, date), day);
        }
        assert!(!Timestamp(i64::MAX).utc().is_empty() && !Timestamp(i64::MIN).utc().is_empty());
    }
}
