//! A Rust codec: cargo makes a core module, and wit-bindgen has left the world in it.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use super::{BuildArgs, encode, read, work_folder};
use crate::author::note;
use crate::author::project::Project;
use crate::author::toolchain::Toolchain;

pub(super) fn component(project: &Project, args: &BuildArgs) -> anyhow::Result<Vec<u8>> {
    let toolchain = Toolchain::find(args.toolchain, &project.dir)?;
    encode(&read(&compile(project, toolchain, args)?)?)
}

/// Runs cargo with its progress shown; gives the core module.
fn compile(project: &Project, toolchain: Toolchain, args: &BuildArgs) -> anyhow::Result<PathBuf> {
    let remark = match toolchain {
        Toolchain::Path => "",
        Toolchain::Debian => {
            " with Debian's Rust; the first build compiles the standard library (about 30 s)"
        }
    };
    note(format_args!("Building {}{remark} …", project.name))?;
    let mut child = cargo(project, toolchain, args)?.spawn().context("cargo cannot be started")?;
    let stdout = child.stdout.take().expect("it was asked for above");
    let mut module = None;
    for line in BufReader::new(stdout).lines() {
        let line = line.context("cargo's messages cannot be read")?;
        module = module_in(project, &line).or(module);
    }
    let status = child.wait().context("cargo's end cannot be awaited")?;
    if !status.success() {
        bail!("cargo could not build {} ({status})", project.dir.display());
    }
    module.with_context(|| {
        format!(
            "{} builds, but to no module: its Cargo.toml needs [lib] with crate-type = [\"cdylib\"]",
            project.dir.display()
        )
    })
}

fn cargo(project: &Project, toolchain: Toolchain, args: &BuildArgs) -> anyhow::Result<Command> {
    let target_dir = work_folder(project, args)?;
    let source_root = match &args.source_root {
        Some(root) => root.canonicalize().with_context(|| format!("{} is no folder", root.display()))?,
        None => project.dir.clone(),
    };
    let mut cargo = toolchain.cargo_build();
    cargo
        .arg("--target-dir")
        .arg(&target_dir)
        .arg("--message-format=json-render-diagnostics")
        .current_dir(&project.dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    if let Some(flags) = remap_flags(&source_root) {
        cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", flags);
    }
    Ok(cargo)
}

/// The module that one of cargo's JSON messages announces, if it is this crate's.
fn module_in(project: &Project, line: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    if message.get("reason")?.as_str()? != "compiler-artifact" {
        return None;
    }
    if Path::new(message.get("manifest_path")?.as_str()?) != project.dir.join("Cargo.toml") {
        return None;
    }
    let files = message.get("filenames")?.as_array()?;
    files.iter().filter_map(|file| file.as_str()).find(|file| file.ends_with(".wasm")).map(PathBuf::from)
}

/// Panic messages carry file names: keeps the author's folders out of the component, and makes it the same
/// wherever it is built. Flags are split at spaces, so a path with one cannot be remapped.
fn remap_flags(source_root: &Path) -> Option<String> {
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))?;
    let source_root = source_root.to_str().filter(|path| !path.contains(char::is_whitespace))?;
    let cargo_home = cargo_home.to_str().filter(|path| !path.contains(char::is_whitespace))?;
    Some(format!("--remap-path-prefix={source_root}=. --remap-path-prefix={cargo_home}=cargo"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::author::project::Language;
    use wireglot_model::CodecName;

    #[track_caller]
    fn check_message(line: &str, module: Option<&str>) {
        let name = CodecName::parse("soil").unwrap();
        let project =
            Project { dir: "/code/soil".into(), name, language: Language::Rust, main: PathBuf::new() };
        assert_eq!(module_in(&project, line), module.map(PathBuf::from), "{line}");
    }

    #[test]
    fn the_module_is_found_among_cargo_s_messages() {
        let artifact = |manifest: &str, file: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"{manifest}","filenames":["/t/x.rlib","{file}"]}}"#
            )
        };
        check_message(&artifact("/code/soil/Cargo.toml", "/t/soil.wasm"), Some("/t/soil.wasm"));
        check_message(&artifact("/code/soil/Cargo.toml", "/t/soil.rlib"), None);
        check_message(&artifact("/code/other/Cargo.toml", "/t/other.wasm"), None);
        check_message(r#"{"reason":"build-finished","success":true}"#, None);
        check_message("warning: not JSON", None);
    }
}
