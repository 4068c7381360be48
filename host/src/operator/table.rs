//! Results for people: columns that fit their contents, and times that can be read.

use serde_json::Value;

/// Rows under a head, each column as wide as its longest cell.
pub(crate) fn render(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> =
            cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}", width = *width)).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(&mut head.iter().copied())];
    lines.extend(rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    lines.join("\n")
}

/// A member as a cell; what is not there is a dash.
pub(crate) fn cell(object: &Value, member: &str) -> String {
    match object.get(member) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// The first digits of a hash.
pub(crate) fn hash(object: &Value) -> String {
    cell(object, "hash").chars().take(12).collect()
}

/// Who did it.
pub(crate) fn actor(actor: Option<&Value>) -> String {
    let Some(actor) = actor else { return "-".to_owned() };
    match (cell(actor, "type").as_str(), cell(actor, "name")) {
        ("SERVER", _) => "the server".to_owned(),
        ("FILE", name) => format!("file {name}"),
        (_, name) => name,
    }
}

/// A member that is a time, as date and time of day in UTC.
pub(crate) fn time(object: &Value, member: &str) -> String {
    object.get(member).and_then(Value::as_i64).map_or_else(|| "-".to_owned(), utc)
}

fn utc(ms: i64) -> String {
    let (days, rest) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000) / 1_000);
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}Z", rest / 3_600, rest / 60 % 60, rest % 60)
}

/// Year, month and day of a day counted from 1970, in eras of 400 years that begin in March.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted_month + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(utc(ms), expected);
        }
    }

    #[test]
    fn columns_are_as_wide_as_their_longest_cell() {
        let rows = [vec!["elsys".to_owned(), "1.0.0".to_owned()], vec!["ä".to_owned(), "-".to_owned()]];
        assert_eq!(render(&["NAME", "VERSION"], &rows), "NAME   VERSION\nelsys  1.0.0\nä      -");
    }
}
