//! `wireglot codec build`: a guest crate to a component that a server takes.
//!
//! cargo compiles the crate to a core module; the module carries its world in a custom section that wit-bindgen
//! wrote; `wit-component` makes the component from both, in this process, so that no other tool is needed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail};
use wasm_encoder::{ComponentSection as _, CustomSection};
use wireglot_codec::VECTORS_SECTION;
use wireglot_model::CodecName;
use wit_component::ComponentEncoder;

use super::toolchain::{Toolchain, ToolchainChoice};
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

/// Compiles a codec crate and makes a component of it.
#[derive(clap::Args, Debug)]
pub(crate) struct BuildArgs {
    /// The folder of the crate.
    #[arg(default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Where the component goes: a file, or a folder for NAME.wasm. Default: the folder of the crate.
    #[arg(short, long)]
    pub(crate) output: Option<PathBuf>,
    /// Where the vectors in DIR/vectors go.
    #[arg(long, value_enum, default_value = "inside")]
    pub(crate) vectors: VectorsPlace,
    /// Which Rust builds it.
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) toolchain: ToolchainChoice,
    /// Where cargo keeps its intermediate files; crates that share one share the compiled dependencies.
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
    let guest = GuestCrate::open(&args.dir)?;
    let file = guest.output_file(args.output.as_deref())?;
    let vectors = match args.vectors {
        VectorsPlace::None => None,
        VectorsPlace::Inside | VectorsPlace::Beside => vectors::collect(&guest.dir)?,
    };

    let toolchain = Toolchain::find(args.toolchain, &guest.dir)?;
    let module = guest.compile(toolchain, args)?;
    let module = std::fs::read(&module).with_context(|| format!("{} cannot be read", module.display()))?;
    let mut component = encode(&module)?;
    if !args.unchecked {
        check::load(&guest.name, &component).context("a server would refuse the component")?;
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

/// A crate that is to become a codec.
struct GuestCrate {
    dir: PathBuf,
    name: CodecName,
}

impl GuestCrate {
    fn open(dir: &Path) -> anyhow::Result<Self> {
        let manifest = dir.join("Cargo.toml");
        let text = std::fs::read_to_string(&manifest).with_context(|| {
            format!("{} cannot be read: is {} the folder of a codec?", manifest.display(), dir.display())
        })?;
        let table: toml::Table =
            text.parse().with_context(|| format!("{} is not valid TOML", manifest.display()))?;
        let name = table
            .get("package")
            .and_then(|package| package.get("name"))
            .and_then(toml::Value::as_str)
            .with_context(|| format!("{} names no package", manifest.display()))?;
        let name = CodecName::parse(name).with_context(|| {
            format!("the package name `{name}` in {} cannot name a codec", manifest.display())
        })?;
        let dir = dir.canonicalize().with_context(|| format!("{} cannot be resolved", dir.display()))?;
        Ok(Self { dir, name })
    }

    fn output_file(&self, wanted: Option<&Path>) -> anyhow::Result<PathBuf> {
        let file = match wanted {
            None => self.dir.join(format!("{}.wasm", self.name)),
            Some(path) if path.is_dir() => path.join(format!("{}.wasm", self.name)),
            Some(path) => path.to_owned(),
        };
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            bail!("the folder {} does not exist", folder.display());
        }
        Ok(file)
    }

    /// Runs cargo with its progress shown; gives the core module.
    fn compile(&self, toolchain: Toolchain, args: &BuildArgs) -> anyhow::Result<PathBuf> {
        let remark = match toolchain {
            Toolchain::Path => "",
            Toolchain::Debian => {
                " with Debian's Rust; the first build compiles the standard library (about 30 s)"
            }
        };
        note(format_args!("Building {}{remark} …", self.name))?;
        let mut child = self.cargo(toolchain, args)?.spawn().context("cargo cannot be started")?;
        let stdout = child.stdout.take().expect("it was asked for above");
        let mut module = None;
        for line in BufReader::new(stdout).lines() {
            let line = line.context("cargo's messages cannot be read")?;
            module = self.module_in(&line).or(module);
        }
        let status = child.wait().context("cargo's end cannot be awaited")?;
        if !status.success() {
            bail!("cargo could not build {} ({status})", self.dir.display());
        }
        module.with_context(|| {
            format!(
                "{} builds, but to no module: its Cargo.toml needs [lib] with crate-type = [\"cdylib\"]",
                self.dir.display()
            )
        })
    }

    fn cargo(&self, toolchain: Toolchain, args: &BuildArgs) -> anyhow::Result<Command> {
        let target_dir = match &args.target_dir {
            Some(dir) => std::path::absolute(dir)?,
            None => self.dir.join("target"),
        };
        let source_root = match &args.source_root {
            Some(root) => root.canonicalize().with_context(|| format!("{} is no folder", root.display()))?,
            None => self.dir.clone(),
        };
        let mut cargo = toolchain.cargo_build();
        cargo
            .arg("--target-dir")
            .arg(&target_dir)
            .arg("--message-format=json-render-diagnostics")
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        if let Some(flags) = remap_flags(&source_root) {
            cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", flags);
        }
        Ok(cargo)
    }

    /// The module that one of cargo's JSON messages announces, if it is this crate's.
    fn module_in(&self, line: &str) -> Option<PathBuf> {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        if message.get("reason")?.as_str()? != "compiler-artifact" {
            return None;
        }
        if Path::new(message.get("manifest_path")?.as_str()?) != self.dir.join("Cargo.toml") {
            return None;
        }
        let files = message.get("filenames")?.as_array()?;
        files.iter().filter_map(|file| file.as_str()).find(|file| file.ends_with(".wasm")).map(PathBuf::from)
    }
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

    fn guest() -> GuestCrate {
        GuestCrate { dir: "/code/soil".into(), name: CodecName::parse("soil").unwrap() }
    }

    #[track_caller]
    fn check_message(line: &str, module: Option<&str>) {
        assert_eq!(guest().module_in(line), module.map(PathBuf::from), "{line}");
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

    #[test]
    fn the_component_goes_where_the_author_says() {
        let folder = std::env::temp_dir();
        let check = |wanted: Option<&Path>, expected: PathBuf| {
            assert_eq!(guest().output_file(wanted).unwrap(), expected, "{wanted:?}");
        };
        check(Some(&folder), folder.join("soil.wasm"));
        check(Some(&folder.join("other.wasm")), folder.join("other.wasm"));
        check(Some(Path::new("other.wasm")), "other.wasm".into());
        assert!(guest().output_file(Some(Path::new("/no/such/folder/x.wasm"))).is_err());
    }

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
