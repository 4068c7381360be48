//! `wireglot codec build`: a codec's folder to a component that a server takes.
//!
//! It guards the server: a component is loaded as a server would before it is written anywhere.
//! Not here: what each language's toolchain is and does (`build/rust.rs`, `build/c.rs`, `build/scripts.rs`).

mod c;
mod rust;
mod scripts;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail};
use wasm_encoder::{ComponentSection as _, CustomSection};
use wireglot_codec::VECTORS_SECTION;
use wit_component::ComponentEncoder;

use super::project::{Language, Project};
use super::toolchain::ToolchainChoice;
use super::{check, note, vectors};

/// Where the vectors of the crate go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum VectorsPlace {
    /// Into the component, as a custom section: one file that proves itself.
    Inside,
    /// Into NAME.vectors.json beside the component.
    Beside,
    /// Nowhere.
    None,
}

/// Compiles a codec's folder to a component.
#[derive(clap::Args, Debug)]
pub(crate) struct BuildArgs {
    /// The folder of the codec.
    #[arg(default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Where the component goes: a file, or a folder for NAME.wasm. Default: the codec's folder.
    #[arg(short, long)]
    pub(crate) output: Option<PathBuf>,
    /// Where the vectors in DIR/vectors go.
    #[arg(long, value_enum, default_value = "inside")]
    pub(crate) vectors: VectorsPlace,
    /// Which toolchain builds it.
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) toolchain: ToolchainChoice,
    /// Where intermediate files go; crates that share one share the compiled dependencies.
    #[arg(long, value_name = "DIR")]
    pub(crate) target_dir: Option<PathBuf>,
    /// The folder that file names in panic messages are relative to. Default: the folder of the crate.
    /// Crates that share a target folder compile their dependencies once only if they share this one too.
    #[arg(long, value_name = "DIR")]
    pub(crate) source_root: Option<PathBuf>,
    /// Writes the component even if a server would refuse it: for tests of servers.
    #[arg(long, hide = true)]
    pub(crate) unchecked: bool,
}

/// Builds and writes the component; gives the file.
pub(super) fn run(args: &BuildArgs) -> anyhow::Result<PathBuf> {
    let started = Instant::now();
    let project = Project::open(&args.dir)?;
    let file = project.output_file(args.output.as_deref())?;
    let vectors = match args.vectors {
        VectorsPlace::None => None,
        VectorsPlace::Inside | VectorsPlace::Beside => vectors::collect(&project.dir)?,
    };

    let mut component = match project.language {
        Language::Rust => rust::component(&project, args)?,
        Language::C => c::component(&project, args)?,
        Language::Js => scripts::javascript(&project, args)?,
        Language::Python => scripts::python(&project, args)?,
    };
    if !args.unchecked {
        check::load(&project.name, &component).context("a server would refuse the component")?;
    }

    let beside = vectors::file_beside(&file);
    match (args.vectors, vectors) {
        (VectorsPlace::Inside, Some(document)) => {
            CustomSection { name: VECTORS_SECTION.into(), data: document.to_string().as_bytes().into() }
                .append_to_component(&mut component);
        }
        (VectorsPlace::Beside, Some(document)) => replace_file(&beside, document.to_string().as_bytes())?,
        (_, None) | (VectorsPlace::None, Some(_)) => {}
    }
    replace_file(&file, &component)?;
    note(format_args!(
        "Built {} ({} KiB) in {:.1} s",
        file.display(),
        component.len().div_ceil(1024),
        started.elapsed().as_secs_f32()
    ))?;
    Ok(file)
}

/// The folder of intermediate files.
fn work_folder(project: &Project, args: &BuildArgs) -> anyhow::Result<PathBuf> {
    let folder = match &args.target_dir {
        Some(dir) => std::path::absolute(dir)?,
        None => project.dir.join("target"),
    };
    std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    Ok(folder)
}

/// Runs a compiler with its complaints shown; what it prints besides is shown only where it fails.
fn run_compiler(command: &mut Command, what: &str) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("`{program}` cannot be started"))?;
    if !output.status.success() {
        std::io::stderr().lock().write_all(&output.stdout).context("the terminal cannot be written to")?;
        bail!("{what} failed ({})", output.status);
    }
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))
}

/// Makes a component of a module that carries its world in a custom section.
fn encode(module: &[u8]) -> anyhow::Result<Vec<u8>> {
    // wit-bindgen leaves the world in such a section; without one the encoder makes an empty component.
    let describes_world = wasmparser::Parser::new(0).parse_all(module).any(|payload| {
        matches!(payload, Ok(wasmparser::Payload::CustomSection(section)) if section.name().starts_with("component-type"))
    });
    if !describes_world {
        bail!(
            "the module describes no world: does it use the SDK, or wit-bindgen over the codec's WIT files?"
        );
    }
    let bytes = ComponentEncoder::default()
        .validate(true)
        .module(module)
        .context("the module's description of its world cannot be read")?
        .encode()
        .context("the module cannot be made a component")?;
    Ok(bytes)
}

/// A server may be watching the folder: the file is either the old one or the whole new one.
fn replace_file(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let name = file.file_name().with_context(|| format!("{} names no file", file.display()))?;
    let temporary = file.with_file_name(format!(".{}.{}.tmp", name.to_string_lossy(), std::process::id()));
    let written = std::fs::File::create(&temporary)
        .and_then(|mut out| out.write_all(bytes))
        .and_then(|()| std::fs::rename(&temporary, file));
    if written.is_err() {
        // The reason to report is the first one; a left-over temporary file harms nobody.
        drop(std::fs::remove_file(&temporary));
    }
    written.with_context(|| format!("{} cannot be written", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_without_a_world_is_told_as_such() {
        let empty_module = b"\0asm\x01\0\0\0";
        let error = format!("{:#}", encode(empty_module).unwrap_err());
        assert!(error.contains("world"), "{error}");
    }

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let folder = std::env::temp_dir().join(format!("wireglot-replace-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        replace_file(&folder.join("a.wasm"), b"one").unwrap();
        replace_file(&folder.join("a.wasm"), b"two").unwrap();
        assert_eq!(std::fs::read(folder.join("a.wasm")).unwrap(), b"two");
        assert!(replace_file(&folder.join("none/a.wasm"), b"three").is_err());
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
