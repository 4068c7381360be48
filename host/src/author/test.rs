//! `wireglot codec test`: decodes vectors with a component and shows, vector by vector, what differs.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::json;
use wireglot_codec::{Difference, VectorOutcome};

use super::build::{self, BuildArgs, VectorsPlace};
use super::table::aligned;
use super::toolchain::ToolchainChoice;
use super::{check, vectors};

/// Decodes vectors and shows what differs.
#[derive(clap::Args, Debug)]
pub(crate) struct TestArgs {
    /// A component, or the folder of a codec, which is built first.
    #[arg(default_value = ".")]
    pub(crate) path: PathBuf,
    /// A file of vectors, or a folder of them. Default: those inside the component and beside it, or the folder's own.
    #[arg(long, value_name = "PATH")]
    pub(crate) vectors: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Which toolchain builds a folder.
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) toolchain: ToolchainChoice,
}

pub(super) fn run(args: &TestArgs) -> anyhow::Result<()> {
    let component = if args.path.is_dir() { build_for_test(args)? } else { args.path.clone() };
    let codec = check::load_file(&component)?;
    let own = args.path.is_dir().then(|| args.path.join(vectors::FOLDER));
    let files = vectors::of_component(&codec, &component, args.vectors.as_deref().or(own.as_deref()))?;
    let outcomes: Vec<VectorOutcome> = files.iter().flat_map(|file| codec.run_vectors(file)).collect();
    let failed = outcomes.iter().filter(|outcome| !outcome.passed()).count();
    let text = if args.json {
        let report = json!({ "vectors": outcomes, "passed": outcomes.len() - failed, "failed": failed });
        serde_json::to_string_pretty(&report)? + "\n"
    } else {
        format!("{} {}\n{}", codec.stamp().name, codec.stamp().version, for_people(&outcomes, failed))
    };
    std::io::stdout().lock().write_all(text.as_bytes()).context("standard output is closed")?;
    if failed > 0 {
        bail!("{failed} of {} vectors fail", outcomes.len());
    }
    Ok(())
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

fn for_people(outcomes: &[VectorOutcome], failed: usize) -> String {
    let mut out = String::new();
    for outcome in outcomes {
        if outcome.passed() {
            out.push_str(&format!("  ok    {}\n", outcome.device));
            continue;
        }
        out.push_str(&format!("  FAIL  {}  ({})\n", outcome.device, short(&outcome.file)));
        let mut rows = vec![["", "EXPECTED", "GOT"].map(str::to_owned).to_vec()];
        for Difference { key, expected, got } in &outcome.differences {
            let key = if key.is_empty() { "the result" } else { key };
            rows.push(vec![key.to_owned(), expected.clone(), got.clone()]);
        }
        out.push_str(&aligned(&rows, 10));
    }
    out.push_str(&format!("{} passed, {failed} failed\n", outcomes.len() - failed));
    out
}

fn short(file: &str) -> String {
    Path::new(file).file_name().map_or_else(|| file.to_owned(), |name| name.to_string_lossy().into_owned())
}
