//! `cargo xtask plugins`: every codec of the repository as a component, built again only when something changed.
//!
//! The plugins go to target/codecs with their vectors beside them, the codecs for tests to target/guests. All share
//! one folder for cargo's intermediate files: a standard library that has to be compiled is compiled once.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};

use crate::process::{built, cargo, output_of, program, root, run, say, target};
use crate::wasm_c;

/// What every codec is built from, besides its own folder.
const SHARED_SOURCES: [&str; 5] =
    ["plugins/sdk", "plugins/sdk-responder", "wit", "host/src/author/build.rs", "host/src/author/build"];

/// A codec of the repository.
pub(crate) struct Plugin {
    pub(crate) name: String,
    pub(crate) component: PathBuf,
    /// The folder of its vectors.
    pub(crate) vectors: PathBuf,
    kind: Kind,
    folder: PathBuf,
    /// Its crates compile C.
    needs_c: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plugin,
    Example,
    /// May be one that a server must refuse.
    Guest,
}

impl Kind {
    /// What belongs to the sources of each of the kind: the workspace it is a member of.
    fn sources(self) -> &'static [&'static str] {
        match self {
            Self::Plugin => &["plugins/Cargo.toml", "plugins/Cargo.lock"],
            Self::Example => &[],
            // The guests share crates among themselves.
            Self::Guest => &["tests/guests"],
        }
    }

    fn output(self) -> PathBuf {
        match self {
            Self::Plugin | Self::Example => target().join("codecs"),
            Self::Guest => target().join("guests"),
        }
    }
}

/// Builds what is not up to date; gives the codecs that a server takes, without those for tests.
pub(crate) fn build_all() -> anyhow::Result<Vec<Plugin>> {
    build_wireglot()?;
    let plugins = find()?;
    for kind in [Kind::Plugin, Kind::Guest] {
        clear_strangers(&kind.output(), &plugins)?;
    }
    // Asked once: all crates lie in this repository, so the same compiler builds them.
    let toolchain = output_of(
        program(built("wireglot")).args(["codec", "toolchain"]).current_dir(root().join("plugins")),
    )?;
    let mut fresh = 0_usize;
    for plugin in &plugins {
        if !build(plugin, &toolchain)? {
            fresh += 1;
        }
    }
    say(format_args!(
        "{} codecs in target/codecs and target/guests, {fresh} of them unchanged",
        plugins.len()
    ))?;
    Ok(plugins.into_iter().filter(|plugin| plugin.kind != Kind::Guest).collect())
}

/// The server in the dev profile. The whole workspace decides on the features of dependencies, here as in the tests:
/// otherwise both would compile their own wasmtime.
pub(crate) fn build_wireglot() -> anyhow::Result<()> {
    run(cargo().args(["build", "--workspace", "--bin", "wireglot"]))
}

fn find() -> anyhow::Result<Vec<Plugin>> {
    let mut plugins = Vec::new();
    for (folder, kind) in
        [("plugins", Kind::Plugin), ("examples", Kind::Example), ("tests/guests", Kind::Guest)]
    {
        for folder in subfolders(&root().join(folder))? {
            let Ok(manifest) = std::fs::read_to_string(folder.join("Cargo.toml")) else { continue };
            // A crate without one is what codecs are made of, such as the SDK.
            if !manifest.contains("cdylib") {
                continue;
            }
            let name = folder.file_name().context("a folder has a name")?.to_string_lossy().into_owned();
            plugins.push(Plugin {
                component: kind.output().join(format!("{name}.wasm")),
                vectors: folder.join("vectors"),
                name,
                kind,
                folder,
                needs_c: manifest.contains("needs-c = true"),
            });
        }
    }
    Ok(plugins)
}

/// Gives whether it had to be built.
fn build(plugin: &Plugin, toolchain: &str) -> anyhow::Result<bool> {
    let work = target().join("guest-build");
    let stamp = work.join("stamps").join(&plugin.name);
    let hash = sources_hash(plugin, toolchain)?;
    if plugin.component.is_file() && std::fs::read_to_string(&stamp).is_ok_and(|stamp| stamp == hash) {
        return Ok(false);
    }
    std::fs::create_dir_all(plugin.kind.output())?;
    std::fs::create_dir_all(stamp.parent().context("the stamps have a folder")?)?;
    let mut command = program(built("wireglot"));
    command.args(["codec", "build", "--vectors", "beside"]);
    command.arg(&plugin.folder).arg("--output").arg(&plugin.component);
    command.arg("--target-dir").arg(&work).arg("--source-root").arg(root());
    if plugin.kind == Kind::Guest {
        command.arg("--unchecked");
    }
    if plugin.needs_c {
        wasm_c::provide(&mut command)?;
    }
    run(&mut command)?;
    std::fs::write(&stamp, hash).with_context(|| format!("{} cannot be written", stamp.display()))?;
    Ok(true)
}

fn sources_hash(plugin: &Plugin, toolchain: &str) -> anyhow::Result<String> {
    let mut files = Vec::new();
    collect_files(&plugin.folder, &mut files)?;
    for source in SHARED_SOURCES.iter().chain(plugin.kind.sources()) {
        collect_files(&root().join(source), &mut files)?;
    }
    let c = if plugin.needs_c { wasm_c::ZIG } else { "" };
    hash_of(files, &format!("{toolchain}{c}"))
}

/// Changes whenever one of these files and folders of the repository does.
pub(crate) fn hash_of_files(sources: &[&str]) -> anyhow::Result<String> {
    let mut files = Vec::new();
    for source in sources {
        collect_files(&root().join(source), &mut files)?;
    }
    hash_of(files, "")
}

fn hash_of(mut files: Vec<PathBuf>, toolchain: &str) -> anyhow::Result<String> {
    files.sort();
    files.dedup();
    let mut hasher = Sha256::new();
    hasher.update(toolchain);
    for file in files {
        let bytes = std::fs::read(&file).with_context(|| format!("{} cannot be read", file.display()))?;
        hasher.update(file.to_string_lossy().as_bytes());
        // The length keeps two neighbours from trading bytes.
        hasher.update(bytes.len().to_le_bytes());
        hasher.update(bytes);
    }
    Ok(hex::encode(hasher.finalize()))
}

/// All files at or under a path, without what cargo put there.
fn collect_files(path: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if path.is_file() {
        files.push(path.to_owned());
        return Ok(());
    }
    if path.file_name().is_some_and(|name| name == "target") || !path.exists() {
        return Ok(());
    }
    let entries = std::fs::read_dir(path).with_context(|| format!("{} cannot be listed", path.display()))?;
    for entry in entries {
        collect_files(&entry?.path(), files)?;
    }
    Ok(())
}

/// A codec whose source is gone must not go on passing tests.
fn clear_strangers(folder: &Path, plugins: &[Plugin]) -> anyhow::Result<()> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "wasm")
            && !plugins.iter().any(|plugin| plugin.component == path)
        {
            std::fs::remove_file(&path).with_context(|| format!("{} cannot be removed", path.display()))?;
        }
    }
    Ok(())
}

fn subfolders(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("{} cannot be listed", folder.display()))?;
    let mut folders = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders)
}
