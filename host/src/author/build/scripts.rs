//! JavaScript and Python: their toolchains put the script and its engine into one component.
//!
//! Both are told to answer every call of WASI with a trap, so that nothing is imported.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

use super::{BuildArgs, read, run_compiler, work_folder};
use crate::author::note;
use crate::author::packages::{COMPONENTIZE_PY, COMPONENTIZE_QJS, node, python as python_with};
use crate::author::project::Project;
use crate::author::toolchain::{ToolchainChoice, clean_command, on_path};

pub(super) fn javascript(project: &Project, args: &BuildArgs) -> anyhow::Result<Vec<u8>> {
    let sdk = project.sdk()?;
    let component = work_folder(project, args)?.join(format!("{}.js.wasm", project.name));
    let mut command = match args.toolchain {
        ToolchainChoice::Path => from_path("componentize-qjs")?,
        ToolchainChoice::Auto => {
            let mut command = node()?;
            command
                .arg(COMPONENTIZE_QJS.folder()?.join("node_modules/componentize-qjs/bin/componentize-qjs"));
            command
        }
        ToolchainChoice::Debian => return only_for_rust(project),
    };
    note(format_args!("Building {} with componentize-qjs …", project.name))?;
    command
        .current_dir(&project.dir)
        // Without `--sync` the result needs a part of the component model that no server of ours has.
        .args(["--world", "codec", "--sync", "--stub-wasi", "--module-root", ".", "--wit"])
        .arg(sdk.join("wit"))
        .arg("--js")
        .arg(&project.main)
        .arg("--output")
        .arg(&component);
    run_compiler(&mut command, "componentize-qjs")?;
    read(&component)
}

pub(super) fn python(project: &Project, args: &BuildArgs) -> anyhow::Result<Vec<u8>> {
    let sdk = project.sdk()?;
    let component = work_folder(project, args)?.join(format!("{}.py.wasm", project.name));
    let module = project.main.file_stem().and_then(|stem| stem.to_str());
    let module = module.with_context(|| format!("{} names no Python module", project.main.display()))?;
    let sources = project.main.parent().unwrap_or(Path::new("."));
    let mut command = match args.toolchain {
        ToolchainChoice::Path => from_path("componentize-py")?,
        ToolchainChoice::Auto => {
            let mut command = python_with(&COMPONENTIZE_PY.folder()?);
            command.args(["-c", "import sys, componentize_py; sys.exit(componentize_py.script())"]);
            command
        }
        ToolchainChoice::Debian => return only_for_rust(project),
    };
    note(format_args!("Building {} with componentize-py (about half a minute) …", project.name))?;
    command
        .current_dir(&project.dir)
        .arg("--wit-path")
        .arg(sdk.join("wit"))
        .args(["--world", "codec", "componentize", module, "--stub-wasi", "--python-path"])
        .arg(project.dir.join(sources))
        .arg("--python-path")
        .arg(&sdk)
        .arg("--output")
        .arg(&component);
    run_compiler(&mut command, "componentize-py")?;
    read(&component)
}

fn from_path(program: &str) -> anyhow::Result<Command> {
    if on_path(program).is_none() {
        bail!("there is no `{program}` on the PATH; without `--toolchain path` a pinned one is installed");
    }
    Ok(clean_command(program))
}

fn only_for_rust<T>(project: &Project) -> anyhow::Result<T> {
    bail!("--toolchain debian is for codecs in Rust; for {} use `path` or `auto`", project.language)
}
