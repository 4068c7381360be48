//! Runs the rows side by side, and holds their results against the waiting list.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once, OnceLock};
use std::{env, fs, thread};

use wireglot_load::wire::Version;

use super::case::{Case, Row, Settings};
use super::waiting::WAITING;
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
#[derive(Clone, PartialEq, Eq, Debug)]
enum Verdict {
    Pass,
    Failed(String),
    Waiting(&'static str),
    /// On the waiting list, but it passes.
    NeedNotWait,
    /// Not run, because somebody wanted others only.
    LeftOut,
}

/// Runs all rows and fails if one does not do what its place in the table promises.
pub(super) fn all(groups: &[(char, &'static [Row])]) {
    complete(groups);
    let wanted = env::var(ONLY).ok();
    let chosen = |letter: char, row: &Row| {
        let by = |word: &str| word == row.number.to_string() || word == letter.to_string();
        wanted.as_ref().is_none_or(|words| words.split_whitespace().any(by))
    };
    let mut jobs = Vec::new();
    for (letter, rows) in groups {
        for row in rows.iter().filter(|row| chosen(*letter, row) && row.check.is_some()) {
            jobs.extend(row.versions.iter().map(|version| (row, *version)));
        }
    }
    jobs.sort_by_key(|(row, _)| !row.is_slow);
    let complaints = run(&jobs);
    let mut table = String::new();
    let mut wrong = String::new();
    for (letter, rows) in groups {
        for row in *rows {
            let verdict = if chosen(*letter, row) { judge(row, &complaints) } else { Verdict::LeftOut };
            let (result, reason) = told(&verdict);
            let Row { number, title, .. } = row;
            writeln!(table, "{number}\t{letter}\t{title}\t{result}\t{reason}").expect("a string takes all");
            if matches!(verdict, Verdict::Failed(_) | Verdict::NeedNotWait) {
                writeln!(wrong, "{number} {title}: {reason}").expect("a string takes all");
            }
        }
    }
    if let Some(path) = env::var_os(TABLE) {
        fs::write(path, table).expect("the table is written");
    }
    assert!(wrong.is_empty(), "cases that do not hold:\n{wrong}");
}

/// Every number has one row, and a row without a check waits.
fn complete(groups: &[(char, &'static [Row])]) {
    let mut numbers: Vec<u16> =
        groups.iter().flat_map(|(_, rows)| rows.iter()).map(|row| row.number).collect();
    numbers.sort_unstable();
    let all: Vec<u16> = (1..=CASES).collect();
    let missing: Vec<&u16> = all.iter().filter(|number| !numbers.contains(number)).collect();
    let twice: Vec<&[u16]> = numbers.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    let numbers_are_all = numbers == all;
    assert!(numbers_are_all, "cases without a row: {missing:?}; with two: {twice:?}");
    for row in groups.iter().flat_map(|(_, rows)| rows.iter()) {
        assert!(
            row.check.is_some() || waits(row.number).is_some(),
            "{} is no check and waits not",
            row.number
        );
    }
}

fn waits(number: u16) -> Option<&'static str> {
    WAITING.iter().find(|(numbers, _)| numbers.contains(&number)).map(|(_, reason)| *reason)
}

fn judge(row: &Row, complaints: &BTreeMap<u16, String>) -> Verdict {
    match (waits(row.number), complaints.get(&row.number)) {
        (Some(reason), Some(_)) => Verdict::Waiting(reason),
        (Some(reason), None) if row.check.is_none() => Verdict::Waiting(reason),
        (Some(_), None) => Verdict::NeedNotWait,
        (None, Some(complaint)) => Verdict::Failed(complaint.clone()),
        (None, None) => Verdict::Pass,
    }
}

fn told(verdict: &Verdict) -> (&'static str, &str) {
    match verdict {
        Verdict::Pass => ("pass", ""),
        Verdict::Failed(complaint) => ("FAILED", complaint),
        Verdict::Waiting(reason) => ("waiting", reason),
        Verdict::NeedNotWait => ("FAILED", "it passes: take it off the waiting list"),
        Verdict::LeftOut => ("-", ""),
    }
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
    let Some(check) = row.check else { return Ok(()) };
    keep_panics_quiet();
    PANICKED_AT.set(Some(String::new()));
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
        check(&Case { number: row.number, version, server: servers.with(row.settings) });
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
