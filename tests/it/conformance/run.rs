//! Runs the rows side by side.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once, OnceLock};
use std::{env, fmt, fs, thread};

use wireglot_load::wire::Version;

use super::case::{Case, Row, Settings};
use crate::harness::Server;

/// Cases of the table.
const CASES: u16 = 400;
/// Rows at work at the same time; most of them wait for the server or for a time-out.
const THREADS: usize = 40;
/// Where the table is written to, if anybody wants it.
const TABLE: &str = "WIREGLOT_CONFORMANCE_TABLE";
/// Which cases run: numbers and letters of groups, separated by spaces. All of them where it is not set.
const ONLY: &str = "WIREGLOT_CONFORMANCE_ONLY";

/// Servers that rows share, one for each set of settings, started when the first row asks.
#[derive(Default)]
pub(super) struct Servers(Mutex<BTreeMap<Settings, Arc<OnceLock<Arc<Server>>>>>);

impl Servers {
    /// The server with these settings.
    pub(super) fn with(&self, settings: Settings) -> Arc<Server> {
        let place = self.0.lock().expect("no row panics here").entry(settings).or_default().clone();
        place.get_or_init(|| Arc::new(Server::spawn_with(settings))).clone()
    }
}

/// How a case went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Pass,
    Failed,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Pass => "pass",
            Verdict::Failed => "FAILED",
        })
    }
}

/// Runs all rows and fails if one does not do what its place in the table promises.
pub(super) fn all(groups: &[(char, &'static [Row])]) {
    let mut rows: Vec<(char, &'static Row)> = Vec::new();
    rows.extend(groups.iter().flat_map(|(letter, rows)| rows.iter().map(|row| (*letter, row))));
    rows.sort_by_key(|(_, row)| row.number);
    complete(&rows);
    let wanted = env::var(ONLY).ok();
    let is_wanted = |(letter, row): &(char, &Row)| {
        let by = |word: &str| word == row.number.to_string() || word == letter.to_string();
        wanted.as_ref().is_none_or(|words| words.split_whitespace().any(by))
    };
    let mut jobs = Vec::new();
    for (_, row) in rows.iter().filter(|row| is_wanted(row)) {
        jobs.extend(row.versions.iter().map(|version| (*row, *version)));
    }
    jobs.sort_by_key(|(row, _)| !row.is_slow);
    let complaints = run(&jobs);
    let (mut table, mut wrong) = (String::new(), String::new());
    for (letter, row) in rows.iter().filter(|row| is_wanted(row)) {
        let complaint = complaints.get(&row.number);
        let (result, reason) = match complaint {
            Some(complaint) => (Verdict::Failed, complaint.as_str()),
            None => (Verdict::Pass, ""),
        };
        let Row { number, title, .. } = row;
        writeln!(table, "{number}\t{letter}\t{title}\t{result}\t{reason}").expect("a string takes all");
        if result == Verdict::Failed {
            writeln!(wrong, "{number} {title}: {reason}").expect("a string takes all");
        }
    }
    if let Some(path) = env::var_os(TABLE) {
        fs::write(path, table).expect("the table is written");
    }
    assert!(wrong.is_empty(), "cases that do not hold:\n{wrong}");
}

/// Every number has one row.
fn complete(rows: &[(char, &Row)]) {
    let numbers: Vec<u16> = rows.iter().map(|(_, row)| row.number).collect();
    let missing: Vec<u16> = (1..=CASES).filter(|number| !numbers.contains(number)).collect();
    let twice: Vec<&[u16]> = numbers.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    assert!(missing.is_empty() && twice.is_empty(), "cases without a row: {missing:?}; with two: {twice:?}");
    assert_eq!(numbers.len(), usize::from(CASES), "a row has the number of no case");
}

/// Runs the checks; what they complain about, by the number of the case.
fn run(jobs: &[(&'static Row, Version)]) -> BTreeMap<u16, String> {
    let servers = Servers::default();
    let next = AtomicUsize::new(0);
    let complaints = Mutex::new(BTreeMap::new());
    let work = || {
        while let Some((row, version)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(complaint) = check(row, *version, &servers) {
                let complaint = format!("{version:?}: {complaint}").replace(['\n', '\t'], " ");
                complaints.lock().expect("no row panics here").entry(row.number).or_insert(complaint);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..THREADS.min(jobs.len()) {
            scope.spawn(work);
        }
    });
    complaints.into_inner().expect("no row panics here")
}

thread_local! {
    /// Where the row of this thread has panicked; set while one runs.
    static PANICKED_AT: RefCell<Option<String>> = const { RefCell::new(None) };
}

fn check(row: &Row, version: Version, servers: &Servers) -> Result<(), String> {
    keep_panics_quiet();
    PANICKED_AT.set(Some(String::new()));
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
        (row.check)(&Case { number: row.number, version, server: servers.with(row.settings) });
    }));
    let place = PANICKED_AT.take().unwrap_or_default();
    outcome.map_err(|panic| format!("{} ({place})", words(&*panic)))
}

/// A row that fails is told in the table and not where it happens to run.
fn keep_panics_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            let is_row = PANICKED_AT.with_borrow_mut(|place| {
                place
                    .as_mut()
                    .map(|place| *place = panic.location().map(ToString::to_string).unwrap_or_default())
            });
            if is_row.is_none() {
                usual(panic);
            }
        }));
    });
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}
