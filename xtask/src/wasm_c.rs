//! The C compiler for codecs with C in them: clang where it is installed, else Zig's, which PyPI has for every machine.
//!
//! Zig is asked for nothing but its clang. It comes without root, and is the same everywhere: pinned, and its LLVM not
//! newer than the linkers that take what it makes.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::process::{program, run, say, succeeds, target};
use crate::setup;

/// Part of a codec's identity in the build cache.
pub(crate) const ZIG: &str = "ziglang==0.15.2";
const TARGET: &str = "wasm32-unknown-unknown";
/// What the `cc` crate asks for, for this target.
const COMPILER_VARIABLE: &str = "CC_wasm32_unknown_unknown";
const ARCHIVER_VARIABLE: &str = "AR_wasm32_unknown_unknown";

/// Lets a command that builds a codec find a C compiler for it.
pub(crate) fn provide(command: &mut Command) -> anyhow::Result<()> {
    if std::env::var_os(COMPILER_VARIABLE).is_some() || installed_clang_compiles()? {
        return Ok(());
    }
    let tools = zig().context(
        "QuickJS is C and needs a compiler for wasm32: install clang and llvm (on Debian, as root: apt-get install \
         clang-19 llvm-19, with clang and llvm-ar on the PATH), or Python with venv and a way to PyPI for Zig's",
    )?;
    command.env(COMPILER_VARIABLE, tools.join("wasm-cc")).env(ARCHIVER_VARIABLE, tools.join("wasm-ar"));
    Ok(())
}

/// By trying: a clang may have been built without wasm32.
fn installed_clang_compiles() -> anyhow::Result<bool> {
    let folder = target().join("tools");
    std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let source = folder.join("probe.c");
    std::fs::write(&source, "int probe(void) { return 0; }\n")
        .with_context(|| format!("{} cannot be written", source.display()))?;
    let compiles = succeeds(
        program("clang")
            .args(["--target=wasm32-unknown-unknown", "-c", "-o"])
            .arg(folder.join("probe.o"))
            .arg(&source),
    );
    Ok(compiles && succeeds(program("llvm-ar").arg("--version")))
}

/// Installs Zig once; gives the folder of the two commands.
fn zig() -> anyhow::Result<PathBuf> {
    let venv = target().join("tools/zig");
    let python = venv.join("bin/python");
    let answers = || succeeds(program(&python).args(["-m", "ziglang", "version"]));
    if !(setup::up_to_date(&venv, ZIG)? && answers()) {
        setup::python()?;
        say(format_args!("Installing {ZIG} into {} (90 MB, once) …", venv.display()))?;
        run(program("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
        run(program(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", ZIG]))?;
        setup::remember(&venv, ZIG)?;
    }
    let tools = venv.join("bin");
    // The `cc` crate names the target in words that Zig does not know, and Zig would add checks that need a runtime.
    let compile = format!(
        "for argument do\n  shift\n  case \"$argument\" in\n    --target={TARGET}) ;;\n    \
         *) set -- \"$@\" \"$argument\" ;;\n  esac\ndone\n\
         exec '{}' -m ziglang cc -target wasm32-freestanding -fno-sanitize=undefined \"$@\"\n",
        python.display()
    );
    write_command(&tools.join("wasm-cc"), &compile)?;
    write_command(&tools.join("wasm-ar"), &format!("exec '{}' -m ziglang ar \"$@\"\n", python.display()))?;
    Ok(tools)
}

fn write_command(file: &Path, lines: &str) -> anyhow::Result<()> {
    let written = std::fs::write(file, format!("#!/bin/sh\n{lines}"))
        .and_then(|()| std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)));
    written.with_context(|| format!("{} cannot be written", file.display()))
}
