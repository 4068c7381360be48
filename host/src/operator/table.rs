//! Results for people: columns that fit their contents, and times that can be read.

use serde_json::Value;
use wireglot_model::Timestamp;

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
    object.get(member).and_then(Value::as_i64).map_or_else(|| "-".to_owned(), |ms| Timestamp(ms).utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_longest_cell() {
        let rows = [vec!["elsys".to_owned(), "1.0.0".to_owned()], vec!["ä".to_owned(), "-".to_owned()]];
        assert_eq!(render(&["NAME", "VERSION"], &rows), "NAME   VERSION\nelsys  1.0.0\nä      -");
    }
}
