//! Documentation that is generated: written by `cargo xtask docs`, compared by `cargo xtask test`.

use std::path::PathBuf;

use anyhow::{Context as _, bail};

use crate::plugins::build_wireglot;
use crate::process::{built, output_of, program, root, say};

fn configuration_file() -> PathBuf {
    root().join("docs/configuration.md")
}

fn configuration() -> anyhow::Result<String> {
    build_wireglot()?;
    output_of(program(built("wireglot")).args(["config", "docs"]))
}

/// Writes what is generated.
pub(crate) fn write() -> anyhow::Result<()> {
    let file = configuration_file();
    std::fs::write(&file, configuration()?)
        .with_context(|| format!("{} cannot be written", file.display()))?;
    say(format_args!("Wrote {}", file.display()))
}

/// Fails where what is generated differs from what is committed.
pub(crate) fn check() -> anyhow::Result<()> {
    let file = configuration_file();
    let committed =
        std::fs::read_to_string(&file).with_context(|| format!("{} cannot be read", file.display()))?;
    if committed != configuration()? {
        bail!("docs/configuration.md is out of date; `cargo xtask docs` writes it");
    }
    Ok(())
}
