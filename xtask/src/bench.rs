//! `cargo xtask bench [row …] [--rounds N] [--seconds S]`: the table behind every published number.
//!
//! Every row is measured against its comparison in one interleaved run: round by round, each contestant in turn, and
//! the median of the rounds' ratios counts. Machines are shared, so ratios hold where single times do not. All
//! traffic stays on 127.0.0.1, and every part stops by itself.

mod build;
mod gateway;
mod load;
mod ota;
mod parts;
mod reads;
mod rows;
mod sessions;
mod steps;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::process::{say, target};
use build::Tools;
use rows::ROWS;
use table::Line;

/// What the rows need to know.
struct Bench {
    tools: Tools,
    /// On a real disk, because a file system in memory syncs for nothing.
    folder: PathBuf,
    rounds: usize,
    span: Duration,
}

/// Measures the named rows, or all, and prints the table.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let (wanted, rounds, span) = parse(args)?;
    allow_many_connections()?;
    let tools = Tools::build()?;
    let folder = target().join("bench");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).context("removing what an earlier run left behind")?;
    }
    std::fs::create_dir_all(&folder)?;
    let bench = Bench { tools, folder, rounds, span };
    let mut lines: Vec<Line> = Vec::new();
    for row in ROWS {
        if wanted.is_empty() && row.optional || !wanted.is_empty() && !wanted.iter().any(|w| w == row.name) {
            continue;
        }
        say(format_args!("measuring {} …", row.name))?;
        lines.extend((row.measure)(&bench).with_context(|| format!("row {}", row.name))?);
    }
    std::fs::remove_dir_all(&bench.folder).context("removing the bench's own files")?;
    say(format_args!("{}", table::render(&lines)))?;
    if lines.iter().any(Line::misses) {
        bail!("a row misses what it must reach");
    }
    Ok(())
}

fn parse(args: &[String]) -> Result<(Vec<String>, usize, Duration)> {
    let (mut wanted, mut rounds, mut seconds) = (Vec::new(), 5, 4);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--rounds" => rounds = args.next().context("--rounds N")?.parse()?,
            "--seconds" => seconds = args.next().context("--seconds S")?.parse()?,
            name if ROWS.iter().any(|row| row.name == name) => wanted.push(name.to_owned()),
            other => {
                let names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
                bail!("there is no row `{other}`; the rows are: {}", names.join(", "));
            }
        }
    }
    if rounds == 0 || seconds == 0 {
        bail!("at least one round of one second");
    }
    Ok((wanted, rounds, Duration::from_secs(seconds)))
}

/// A thousand connections and more need as many open files, here and in what is started from here.
fn allow_many_connections() -> Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("raising the limit of open files")
}
