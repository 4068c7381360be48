//! A C codec: Zig (or clang, with a WASI library) makes a core module, and the world is added to it here.
//!
//! The bindings in `sdk/` were generated beforehand. The world is not taken from an object file beside them, because a
//! linker that strips symbols drops it; it is read from `sdk/wit/` instead.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::{BuildArgs, encode, read, run_compiler, work_folder};
use crate::author::note;
use crate::author::packages::{ZIG, python};
use crate::author::project::Project;
use crate::author::toolchain::{ToolchainChoice, clean_command, on_path};

/// The library of this target is static; what is used of it becomes part of the module.
const TARGET: &str = "wasm32-wasi";
/// A deep stack would be a page of memory for every 64 KiB, in every instance.
const STACK: &str = "-Wl,-z,stack-size=65536";
/// `-s` would drop more than symbols.
const STRIP: &str = "-Wl,--strip-debug";
/// Where Debian's package `wasi-libc` puts its headers.
const DEBIAN_WASI: &str = "/usr/include/wasm32-wasi";

pub(super) fn component(project: &Project, args: &BuildArgs) -> anyhow::Result<Vec<u8>> {
    let sdk = project.sdk()?;
    let module = work_folder(project, args)?.join(format!("{}.core.wasm", project.name));
    let mut compiler = compiler(args.toolchain)?;
    note(format_args!("Building {} …", project.name))?;
    compiler
        .current_dir(&project.dir)
        .args(["-mexec-model=reactor", "-O2", "-std=c11", "-Wall", "-Wextra", STACK, STRIP, "-I"])
        .arg(&sdk)
        .args(sources(project, &sdk)?)
        .arg("-o")
        .arg(&module);
    run_compiler(&mut compiler, "the C compiler")?;
    let mut module = read(&module)?;
    refuse_imports(&module)?;
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(sdk.join("wit")).context("the contract in sdk/wit cannot be read")?;
    let world = resolve.select_world(&[package], Some("codec")).context("sdk/wit")?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)
        .context("the world cannot be added to the module")?;
    encode(&module)
}

/// All C files beside the main one, and the SDK's.
fn sources(project: &Project, sdk: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let folder = project.dir.join(&project.main);
    let folder = folder.parent().context("a file lies in a folder")?;
    let mut files = Vec::new();
    for folder in [folder, sdk] {
        for entry in
            std::fs::read_dir(folder).with_context(|| format!("{} cannot be listed", folder.display()))?
        {
            let file = entry?.path();
            if file.extension().is_some_and(|extension| extension == "c") {
                files.push(file);
            }
        }
    }
    // The order decides on the bytes of the result.
    files.sort();
    Ok(files)
}

fn compiler(choice: ToolchainChoice) -> anyhow::Result<Command> {
    let installed = || {
        if on_path("zig").is_some() {
            return Ok(zig(clean_command("zig")));
        }
        if on_path("clang").is_some() && Path::new(DEBIAN_WASI).is_dir() {
            let mut clang = clean_command("clang");
            clang.args(["--target=wasm32-wasi", "--sysroot=/usr"]);
            return Ok(clang);
        }
        bail!(
            "there is neither `zig` on the PATH, nor `clang` with a WASI library in {DEBIAN_WASI} \
             (on Debian, as root: apt-get install --no-install-recommends clang lld wasi-libc libclang-rt-dev-wasm32)"
        )
    };
    match choice {
        ToolchainChoice::Path => installed(),
        ToolchainChoice::Auto => installed().or_else(|reason| {
            let folder = ZIG.folder().with_context(|| format!("{reason:#}"))?;
            let mut command = python(&folder);
            command.args(["-m", "ziglang"]);
            Ok(zig(command))
        }),
        ToolchainChoice::Debian => {
            bail!("--toolchain debian is for codecs in Rust; for C use `path` or `auto`")
        }
    }
}

fn zig(mut command: Command) -> Command {
    command.args(["cc", "-target", TARGET]);
    command
}

/// What the C library asks of an operating system: a codec has none, and no adapter would make one.
fn refuse_imports(module: &[u8]) -> anyhow::Result<()> {
    let mut names = Vec::new();
    for payload in wasmparser::Parser::new(0).parse_all(module) {
        if let wasmparser::Payload::ImportSection(section) =
            payload.context("the compiled module cannot be read")?
        {
            for import in section.into_imports() {
                let import = import.context("the compiled module cannot be read")?;
                names.push(format!("{}.{}", import.module, import.name));
            }
        }
    }
    if names.is_empty() {
        return Ok(());
    }
    bail!(
        "the module imports {}: something in the source (`printf`, a file, the time, `exit`) needs an operating system, \
         and a codec has none",
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(module: &str, refused: Option<&str>) {
        let outcome = refuse_imports(&wat::parse_str(module).unwrap());
        match (outcome, refused) {
            (Ok(()), None) => {}
            (Err(error), Some(part)) => assert!(error.to_string().contains(part), "{error}"),
            (outcome, _) => panic!("{module}: {outcome:?}"),
        }
    }

    #[test]
    fn a_module_that_needs_an_operating_system_is_refused_by_name() {
        check("(module (func (export \"f\")))", None);
        check(
            "(module (import \"wasi_snapshot_preview1\" \"fd_write\" (func)))",
            Some("wasi_snapshot_preview1.fd_write"),
        );
    }
}
