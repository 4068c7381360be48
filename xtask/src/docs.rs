//! Documentation that is generated: written by `cargo xtask docs`, compared by `cargo xtask test`.

use anyhow::{Context as _, bail};

use crate::plugins::build_wireglot;
use crate::process::{built, output_of, program, root, say};

/// Each file, and the arguments with which the binary prints it.
const FILES: [(&str, &[&str]); 2] =
    [("docs/configuration.md", &["config", "docs"]), ("host/rest/openapi.json", &["openapi"])];

fn generated(arguments: &[&str]) -> anyhow::Result<String> {
    output_of(program(built("wireglot")).args(arguments))
}

/// Writes what is generated.
pub(crate) fn write() -> anyhow::Result<()> {
    build_wireglot()?;
    for (path, arguments) in FILES {
        let file = root().join(path);
        std::fs::write(&file, generated(arguments)?)
            .with_context(|| format!("{} cannot be written", file.display()))?;
        say(format_args!("Wrote {}", file.display()))?;
    }
    Ok(())
}

/// Fails where what is generated differs from what is committed.
pub(crate) fn check() -> anyhow::Result<()> {
    build_wireglot()?;
    for (path, arguments) in FILES {
        let file = root().join(path);
        let committed =
            std::fs::read_to_string(&file).with_context(|| format!("{} cannot be read", file.display()))?;
        if committed != generated(arguments)? {
            bail!("{path} is out of date; `cargo xtask docs` writes it");
        }
    }
    Ok(())
}
