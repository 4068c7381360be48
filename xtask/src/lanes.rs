//! Steps side by side: the lanes of a stage run at the same time, the steps of a lane one after the other.
//!
//! The first lane of a stage is shown as it runs, what the others say when it has ended. After a failure every lane ends
//! with the step that it is at.

use std::io::{Read as _, Seek as _};
use std::sync::Mutex;
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::process::{report, say, saying_to};

pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) run: fn() -> anyhow::Result<()>,
}

type Lane<'s> = &'s [Step];

/// How far everything is.
#[derive(Default)]
struct Course {
    steps: usize,
    times: Mutex<Vec<String>>,
    /// The step that failed first.
    failed: Mutex<Option<&'static str>>,
}

/// Runs stage after stage; the last line says how it went.
pub(crate) fn run(stages: &[&[Lane<'_>]]) -> anyhow::Result<()> {
    let started = Instant::now();
    let lengths = stages.iter().map(|lanes| lanes.iter().map(|lane| lane.len()).sum::<usize>());
    let course = Course { steps: lengths.clone().sum(), ..Course::default() };
    let mut done = 0;
    for (lanes, length) in stages.iter().zip(lengths) {
        course.stage(lanes, done)?;
        done += length;
        if let Some(name) = course.failure() {
            bail!("FAILED at `{name}` after {} ({})", shown(started.elapsed()), course.times().join(", "));
        }
    }
    say(format_args!("\n{}", course.times().join("\n")))?;
    say(format_args!("All {} checks passed in {}.", course.steps, shown(started.elapsed())))
}

impl Course {
    fn stage(&self, lanes: &[Lane<'_>], done: usize) -> anyhow::Result<()> {
        let Some((first, others)) = lanes.split_first() else { return Ok(()) };
        std::thread::scope(|scope| {
            let (ended, what_others_say) = mpsc::channel();
            let mut before = done + first.len();
            for lane in others {
                let (ended, number) = (ended.clone(), before + 1);
                scope.spawn(move || self.lane(lane, number, Some(&ended)));
                before += lane.len();
            }
            drop(ended);
            self.lane(first, done + 1, None);
            for said in what_others_say {
                say(format_args!("{}", said.trim_end()))?;
            }
            Ok(())
        })
    }

    /// Runs the steps of a lane, the first of which has this number. One that is not shown sends what its steps say.
    fn lane(&self, lane: Lane<'_>, number: usize, hidden: Option<&Sender<String>>) {
        for (number, step) in (number..).zip(lane) {
            if self.failure().is_some() {
                return;
            }
            let started = Instant::now();
            let heading = format!("\n── {number} of {}: {}", self.steps, step.name);
            let outcome = match hidden {
                None => say(format_args!("{heading}")).and_then(|()| (step.run)()),
                Some(ended) => aside(step.run).and_then(|(outcome, said)| {
                    // Where nobody listens any more, standard output is closed.
                    drop(ended.send(format!("{heading}\n{said}")));
                    outcome
                }),
            };
            self.note(step.name, started.elapsed(), outcome);
        }
    }

    fn note(&self, name: &'static str, time: Duration, outcome: anyhow::Result<()>) {
        self.times.lock().expect("nobody panics with it").push(format!("{name} {}", shown(time)));
        if let Err(error) = outcome {
            report(format_args!("\n{name}: {error:#}"));
            self.failed.lock().expect("nobody panics with it").get_or_insert(name);
        }
    }

    fn failure(&self) -> Option<&'static str> {
        *self.failed.lock().expect("nobody panics with it")
    }

    fn times(&self) -> Vec<String> {
        self.times.lock().expect("nobody panics with it").clone()
    }
}

/// Does two things at the same time; what the second one says is shown after the first.
pub(crate) fn both(
    first: impl FnOnce() -> anyhow::Result<()>,
    second: impl FnOnce() -> anyhow::Result<()> + Send,
) -> anyhow::Result<()> {
    std::thread::scope(|scope| {
        let second = scope.spawn(|| aside(second));
        let outcome = first();
        let (other, said) = second.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        say(format_args!("{}", said.trim_end()))?;
        outcome.and(other)
    })
}

/// Does something without showing anything; gives its outcome and what there was to show.
fn aside(run: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<(anyhow::Result<()>, String)> {
    let mut file = tempfile::tempfile().context("there is no place for temporary files")?;
    let outcome = saying_to(file.try_clone()?, run);
    let mut said = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut said)).context("what a step said is lost")?;
    Ok((outcome, String::from_utf8_lossy(&said).into_owned()))
}

fn shown(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 {
        format!("{:.1} s", time.as_secs_f32())
    } else {
        format!("{} min {} s", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::program;

    static ORDER: Mutex<Vec<&str>> = Mutex::new(Vec::new());

    fn enter(name: &'static str) {
        ORDER.lock().unwrap().push(name);
    }

    const fn step(name: &'static str, run: fn() -> anyhow::Result<()>) -> Step {
        Step { name, run }
    }

    /// Until the other lane is as far.
    fn wait_for(name: &'static str) {
        while !ORDER.lock().unwrap().contains(&name) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_failure_ends_the_stage_and_is_named() {
        let goes_on: Lane<'_> = &[step("goes on", || {
            enter("begins");
            wait_for("fails");
            enter("ends");
            Ok(())
        })];
        let fails: Lane<'_> = &[
            step("fails", || {
                wait_for("begins");
                enter("fails");
                bail!("as it should")
            }),
            step("never", || {
                enter("never");
                Ok(())
            }),
        ];
        let later: Lane<'_> = &[step("later", || {
            enter("later");
            Ok(())
        })];
        let error = run(&[&[goes_on, fails], &[later]]).unwrap_err().to_string();
        assert!(error.starts_with("FAILED at `fails` after "), "{error}");
        assert!(error.contains("goes on") && !error.contains("never"), "{error}");
        assert_eq!(*ORDER.lock().unwrap(), ["begins", "fails", "ends"]);
    }

    #[test]
    fn of_two_things_both_count() {
        let ((), said) = aside(|| {
            both(|| say(format_args!("first")), || say(format_args!("second"))).unwrap();
            assert!(both(|| bail!("no"), || Ok(())).is_err() && both(|| Ok(()), || bail!("no")).is_err());
            Ok(())
        })
        .map(|(outcome, said)| (outcome.unwrap(), said))
        .unwrap();
        assert_eq!(said.trim_end(), "first\nsecond");
    }

    #[test]
    fn what_is_not_shown_is_kept() {
        let (outcome, said) = aside(|| {
            say(format_args!("a line"))?;
            crate::process::run(program("sh").args(["-c", "echo out; echo err >&2; false"]))
        })
        .unwrap();
        assert!(outcome.unwrap_err().to_string().contains("sh -c"));
        assert_eq!(said, "a line\nout\nerr\n");
    }
}
