//! `wireglot codec check`: does to a component all that a server does before it goes live, and says what it is.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use wireglot_codec::{
    CodecEngine, CodecLimits, CompiledCache, KeyDescription, LoadedCodec, SCRIPT_ENGINE, VectorFile,
};
use wireglot_model::CodecName;

use super::inspect::type_name;
use super::packages::tools_folder;
use super::vectors;
use crate::operator::{Client, ServerArgs, component, is_component};

/// Compiled components that are kept: those that an author works on, of up to a hundred megabytes each.
const COMPILED_KEPT_MAX: usize = 16;

/// Validates a component as the server would.
#[derive(clap::Args, Debug)]
pub(crate) struct CheckArgs {
    /// The component.
    pub(crate) file: PathBuf,
}

pub(super) fn run(args: &CheckArgs) -> anyhow::Result<()> {
    let file = args.file.display();
    let codec = load_file(&args.file)?;
    let beside: Vec<VectorFile> = vectors::beside(&args.file)?.into_iter().collect();
    let vectors: usize = codec.embedded_vectors().iter().chain(&beside).map(VectorFile::len).sum();
    let proven =
        codec.decode_vectors(&beside).map_err(|error| told(&error)).with_context(|| file.to_string())?;

    let codec = proven.codec();
    let said = codec.metadata();
    let mut out = std::io::stdout().lock();
    writeln!(out, "{file}: good")?;
    let kind = if codec.is_responder() { "responder" } else { "codec" };
    writeln!(out, "  {kind:<8} {} {} by {}", codec.stamp().name, said.version, said.vendor)?;
    writeln!(out, "  for      {}", said.summary)?;
    writeln!(out, "  hash     {}", codec.stamp().hash)?;
    writeln!(out, "  size     {} KiB", codec.bytes().div_ceil(1024))?;
    if codec.is_responder() {
        let names = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        writeln!(out, "  answers  {}", names(&said.methods))?;
        writeln!(out, "  is shown {}", names(&said.shared_keys))?;
        return Ok(());
    }
    writeln!(out, "  encodes  {}", if said.encodes { "yes" } else { "no" })?;
    match vectors {
        0 => writeln!(out, "  vectors  none: nothing proves that it decodes")?,
        count => writeln!(out, "  vectors  {count}, all decode as they say")?,
    }
    writeln!(out, "  keys     {}", said.keys.iter().map(key_line).collect::<Vec<_>>().join("\n           "))?;
    Ok(())
}

fn key_line(key: &KeyDescription) -> String {
    let kind = type_name(key.value_type);
    let unit = key.unit.as_deref().map(|unit| format!(" {unit}")).unwrap_or_default();
    format!("{} {kind}{unit}", key.key)
}

/// Compiles, links and describes the component in `file`, or compiles the script in it, under the limits of a server.
pub(super) fn load_file(file: &Path) -> anyhow::Result<LoadedCodec> {
    load_file_with(file, kept().as_ref())
}

/// The same as if it had never been seen before: how long that takes is what is asked for.
pub(super) fn load_file_anew(file: &Path) -> anyhow::Result<LoadedCodec> {
    load_file_with(file, None)
}

fn load_file_with(file: &Path, cache: Option<&CompiledCache>) -> anyhow::Result<LoadedCodec> {
    let extension = file.extension().and_then(|extension| extension.to_str());
    let stem = file.file_stem().and_then(|stem| stem.to_str());
    let Some(stem) = stem.filter(|_| matches!(extension, Some("wasm" | "js"))) else {
        bail!("{} is no .wasm or .js file", file.display());
    };
    let name = CodecName::parse(stem)
        .with_context(|| format!("a server names a codec by its file, and `{stem}` cannot be a name"))?;
    let bytes = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let loaded = match extension {
        Some("js") => load_script(file, &name, &bytes, cache),
        _ => load_component(&name, &bytes, cache),
    };
    loaded.with_context(|| file.display().to_string())
}

/// A script runs on the engine that lies beside it, as in a server's folder, or in the folder `codecs`.
fn load_script(
    file: &Path,
    name: &CodecName,
    source: &[u8],
    cache: Option<&CompiledCache>,
) -> anyhow::Result<LoadedCodec> {
    let engine_file = format!("{SCRIPT_ENGINE}.wasm");
    let places = [file.with_file_name(&engine_file), Path::new("codecs").join(&engine_file)];
    let [beside, _] = &places;
    let Some(place) = places.iter().find(|place| place.is_file()) else {
        bail!(
            "a script runs on the script engine, and there is no {}; `cargo xtask plugins` builds it as \
             target/codecs/{engine_file}: copy it there",
            beside.display()
        );
    };
    let component = std::fs::read(place).with_context(|| format!("{} cannot be read", place.display()))?;
    load_script_on(&component, &place.display().to_string(), name, source, cache)
}

fn load_script_on(
    component: &[u8],
    place: &str,
    name: &CodecName,
    source: &[u8],
    cache: Option<&CompiledCache>,
) -> anyhow::Result<LoadedCodec> {
    let engine_name = CodecName::parse(SCRIPT_ENGINE)?;
    let codecs = CodecEngine::open(CodecLimits::default())?;
    let engine = codecs.load_cached(&engine_name, component, cache).map_err(|error| told(&error));
    let engine = engine.with_context(|| place.to_owned())?;
    codecs.load_js(name, &Arc::new(engine), source).map_err(|error| told(&error))
}

/// A version that a running server keeps; a script runs on the engine that is live there.
pub(super) fn load_served(
    server: &ServerArgs,
    name: &CodecName,
    version: Option<&str>,
) -> anyhow::Result<LoadedCodec> {
    let client = Client::connect(server)?;
    let bytes = component(&client, name.as_str(), version)?;
    if is_component(&bytes) {
        return load(name, &bytes);
    }
    let engine = component(&client, SCRIPT_ENGINE, None)?;
    load_script_on(&engine, "the server's script engine", name, &bytes, kept().as_ref())
}

pub(super) fn load(name: &CodecName, bytes: &[u8]) -> anyhow::Result<LoadedCodec> {
    load_component(name, bytes, kept().as_ref())
}

fn load_component(
    name: &CodecName,
    bytes: &[u8],
    cache: Option<&CompiledCache>,
) -> anyhow::Result<LoadedCodec> {
    let codecs = CodecEngine::open(CodecLimits::default())?;
    codecs.load_cached(name, bytes, cache).map_err(|error| told(&error))
}

/// What these commands compiled lately: one after the other looks at the same component, and one in Python takes
/// seconds. Without a folder each of them compiles it.
fn kept() -> Option<CompiledCache> {
    CompiledCache::open(&tools_folder().ok()?.join("compiled"), COMPILED_KEPT_MAX).ok()
}

fn told(error: &wireglot_codec::LoadError) -> anyhow::Error {
    anyhow!("{error}\n{}", error.advice())
}
