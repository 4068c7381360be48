//! `wireglot codec test`: decodes vectors with a component and shows, vector by vector, what differs.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use wireglot_codec::{VectorFile, VectorOutcome};

use super::build::{self, BuildArgs, VectorsPlace};
use super::toolchain::ToolchainChoice;
use super::{check, vectors};

/// Decodes vectors and shows what differs.
#[derive(clap::Args, Debug)]
pub(crate) struct TestArgs {
    /// A component, or the folder of a codec crate, which is built first.
    #[arg(default_value = ".")]
    pub(crate) path: PathBuf,
    /// A file of vectors, or a folder of them. Default: those inside the component and beside it, or the crate's own.
    #[arg(long, value_name = "PATH")]
    pub(crate) vectors: Option<PathBuf>,
    /// Which Rust builds a crate.
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) toolchain: ToolchainChoice,
}

pub(super) fn run(args: &TestArgs) -> anyhow::Result<()> {
    let component = if args.path.is_dir() { build_for_test(args)? } else { args.path.clone() };
    let codec = check::load_file(&component)?;
    let files = match &args.vectors {
        Some(path) => vectors::named(path)?,
        None if args.path.is_dir() => vectors::named(&args.path.join(vectors::FOLDER))?,
        None => codec.embedded_vectors().iter().cloned().chain(vectors::beside(&component)?).collect(),
    };
    if files.iter().all(VectorFile::is_empty) {
        bail!("there are no vectors for {}", args.path.display());
    }
    let outcomes: Vec<VectorOutcome> = files.iter().flat_map(|file| codec.run_vectors(file)).collect();
    report(&format!("{} {}", codec.stamp().name, codec.stamp().version), &outcomes)
}

/// Leaves the author's own component alone: what is tested lies with cargo's files.
fn build_for_test(args: &TestArgs) -> anyhow::Result<PathBuf> {
    let target = args.path.join("target");
    std::fs::create_dir_all(&target).with_context(|| format!("{} cannot be made", target.display()))?;
    build::run(&BuildArgs {
        dir: args.path.clone(),
        output: Some(target),
        vectors: VectorsPlace::None,
        toolchain: args.toolchain,
        target_dir: None,
        source_root: None,
        unchecked: false,
    })
}

fn report(codec: &str, outcomes: &[VectorOutcome]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{codec}")?;
    for outcome in outcomes {
        writeln!(out, "  {}  {}", if outcome.passed() { "ok  " } else { "FAIL" }, outcome.device)?;
        if !outcome.passed() {
            writeln!(out, "          in {}", short(&outcome.file))?;
        }
        for difference in &outcome.differences {
            writeln!(out, "          {difference}")?;
        }
    }
    let failed = outcomes.iter().filter(|outcome| !outcome.passed()).count();
    writeln!(out, "{} passed, {failed} failed", outcomes.len() - failed)?;
    if failed > 0 {
        bail!("{failed} of {} vectors fail", outcomes.len());
    }
    Ok(())
}

fn short(file: &str) -> String {
    Path::new(file).file_name().map_or_else(|| file.to_owned(), |name| name.to_string_lossy().into_owned())
}
