//! `cargo xtask conformance`: the cases of the device API, each with how it went.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Context as _;

use crate::plugins;
use crate::process::{self, cargo, say, target};

/// The test that runs the rows; everything else of the system tests is left out.
const TEST: &str = "conformance::";
/// How wide a title is shown.
const TITLE_CHARS: usize = 72;

/// Runs the cases, all of them or the given ones, and prints the table. It fails if a case does.
pub(crate) fn run(cases: &[String]) -> anyhow::Result<()> {
    plugins::build_wireglot()?;
    let path = target().join("conformance.tsv");
    if path.exists() {
        fs::remove_file(&path).with_context(|| format!("{} is removed", path.display()))?;
    }
    let mut tests = cargo();
    tests.args(["test", "--workspace", "--test", "it", "--quiet", TEST]);
    tests.env("WIREGLOT_CONFORMANCE_TABLE", &path);
    if !cases.is_empty() {
        tests.env("WIREGLOT_CONFORMANCE_ONLY", cases.join(" "));
    }
    let outcome = process::run(&mut tests);
    match fs::read_to_string(&path) {
        Ok(table) => print(&table)?,
        Err(_) => say(format_args!("No table was written."))?,
    }
    outcome
}

/// Prints the cases that ran, and how many went how.
fn print(table: &str) -> anyhow::Result<()> {
    let mut sums: BTreeMap<&str, usize> = BTreeMap::new();
    for line in table.lines() {
        let mut cells = line.split('\t');
        let mut cell = || cells.next().with_context(|| format!("a row without all its cells: {line}"));
        let (number, group, title, result, reason) = (cell()?, cell()?, cell()?, cell()?, cell()?);
        *sums.entry(result).or_default() += 1;
        let title: String = title.chars().take(TITLE_CHARS).collect();
        say(format_args!("{group} {number:>3}  {title:TITLE_CHARS$}  {result:7}  {reason}"))?;
    }
    let sums: Vec<String> = sums.iter().map(|(result, count)| format!("{count} {result}")).collect();
    say(format_args!("{} cases: {}", table.lines().count(), sums.join(", ")))
}
