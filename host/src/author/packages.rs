//! Toolchains that come from PyPI and npm: pinned, and installed once into a folder of the user's.
//!
//! The folder is `WIREGLOT_TOOLS`, else `wireglot` in the user's cache folder. A package lies in a folder of its own,
//! named with its version, that comes into being whole: an installation that breaks off leaves nothing behind.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use super::note;
use super::toolchain::{clean_command, on_path, output_of};

/// Where a package comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Registry {
    PyPi,
    Npm,
}

/// A pinned package: another version may compile the same source to something else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Package {
    name: &'static str,
    version: &'static str,
    registry: Registry,
    megabytes: u32,
}

/// The Zig compiler, used as a C compiler with its own WASI library.
pub(super) const ZIG: Package =
    Package { name: "ziglang", version: "0.17.1", registry: Registry::PyPi, megabytes: 411 };
/// CPython as a component.
pub(super) const COMPONENTIZE_PY: Package =
    Package { name: "componentize-py", version: "0.25.1", registry: Registry::PyPi, megabytes: 46 };
/// QuickJS as a component.
pub(super) const COMPONENTIZE_QJS: Package =
    Package { name: "componentize-qjs", version: "0.4.5", registry: Registry::Npm, megabytes: 38 };

impl Package {
    /// The folder of the package, installed if it is not there yet.
    pub(super) fn folder(&self) -> anyhow::Result<PathBuf> {
        let tools = tools_folder()?;
        let folder = tools.join(format!("{}-{}", self.name, self.version));
        if folder.is_dir() {
            return Ok(folder);
        }
        self.install(&tools, &folder).with_context(|| self.advice(&folder))?;
        Ok(folder)
    }

    fn install(&self, tools: &Path, folder: &Path) -> anyhow::Result<()> {
        let program = self.registry.installer()?;
        note(format_args!(
            "Installing {} {} into {} ({} MB, once) …",
            self.name,
            self.version,
            tools.display(),
            self.megabytes
        ))?;
        let partial = tools.join(format!(".{}-{}.{}", self.name, self.version, std::process::id()));
        std::fs::create_dir_all(&partial).with_context(|| format!("{} cannot be made", partial.display()))?;
        let outcome = self.install_to(program, &partial).and_then(|()| {
            match std::fs::rename(&partial, folder) {
                // Somebody else was quicker; both are the same.
                Err(_) if folder.is_dir() => Ok(()),
                renamed => renamed.with_context(|| format!("{} cannot be made", folder.display())),
            }
        });
        if partial.exists() {
            // The outcome is what matters; a folder that cannot be removed harms nobody.
            drop(std::fs::remove_dir_all(&partial));
        }
        outcome
    }

    fn install_to(&self, program: &str, folder: &Path) -> anyhow::Result<()> {
        let mut command = clean_command(program);
        command.args(self.arguments()).arg(folder).arg(self.requirement());
        let output = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .output()
            .with_context(|| format!("`{program}` cannot be started"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("`{program}` failed: {}", last_lines(&said));
        }
        Ok(())
    }

    fn arguments(&self) -> &'static [&'static str] {
        match self.registry {
            Registry::PyPi => {
                &["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--target"]
            }
            Registry::Npm => {
                &["install", "--no-audit", "--no-fund", "--no-save", "--loglevel=error", "--prefix"]
            }
        }
    }

    fn requirement(&self) -> String {
        match self.registry {
            Registry::PyPi => format!("{}=={}", self.name, self.version),
            Registry::Npm => format!("{}@{}", self.name, self.version),
        }
    }

    fn advice(&self, folder: &Path) -> String {
        let program = self.registry.program();
        format!(
            "{} {} is missing and cannot be installed. Where the network can be reached: {program} {} {} {}",
            self.name,
            self.version,
            self.arguments().join(" "),
            folder.display(),
            self.requirement()
        )
    }
}

impl Registry {
    fn program(self) -> &'static str {
        match self {
            Self::PyPi => "python3",
            Self::Npm => "npm",
        }
    }

    /// The program that installs, if it works.
    fn installer(self) -> anyhow::Result<&'static str> {
        let program = self.program();
        if on_path(program).is_none() {
            bail!("there is no `{program}` on the PATH. {}", self.install_line());
        }
        if self == Self::PyPi && output_of(clean_command(program).args(["-m", "pip", "--version"])).is_err() {
            bail!("`{program}` has no pip. {}", self.install_line());
        }
        Ok(program)
    }

    fn install_line(self) -> &'static str {
        match self {
            Self::PyPi => "On Debian, as root: apt-get install --no-install-recommends python3 python3-pip",
            Self::Npm => "On Debian, as root: apt-get install --no-install-recommends nodejs npm",
        }
    }
}

/// Node, which runs the JavaScript tools.
pub(super) fn node() -> anyhow::Result<Command> {
    if on_path("node").is_none() {
        bail!("there is no `node` on the PATH. {}", Registry::Npm.install_line());
    }
    Ok(clean_command("node"))
}

/// Python, with the packages of a folder.
pub(super) fn python(packages: &Path) -> Command {
    let mut command = clean_command("python3");
    command.env("PYTHONPATH", packages).env_remove("PYTHONHOME");
    command
}

/// Where what an author's commands need is kept from one of them to the next.
pub(super) fn tools_folder() -> anyhow::Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folder) = set("WIREGLOT_TOOLS") {
        return std::path::absolute(&folder).with_context(|| folder.display().to_string());
    }
    let cache = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    let cache = cache.context("neither WIREGLOT_TOOLS nor HOME says where tools may be kept")?;
    Ok(cache.join("wireglot"))
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines.get(lines.len().saturating_sub(5)..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_cannot_be_had_is_told_with_the_line_that_brings_it() {
        for (package, line) in [
            (
                ZIG,
                "python3 -m pip install --quiet --disable-pip-version-check --no-input --target /t ziglang==0.17.1",
            ),
            (
                COMPONENTIZE_QJS,
                "npm install --no-audit --no-fund --no-save --loglevel=error --prefix /t componentize-qjs@0.4.5",
            ),
        ] {
            assert!(package.advice(Path::new("/t")).ends_with(line), "{}", package.advice(Path::new("/t")));
        }
    }

    #[test]
    fn of_a_long_complaint_the_end_is_told() {
        assert_eq!(last_lines("a\n\nb\nc\nd\ne\nf\n"), "b\nc\nd\ne\nf");
        assert_eq!(last_lines(""), "");
    }
}
