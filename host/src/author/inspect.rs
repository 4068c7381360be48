//! `wireglot codec inspect`: what a component is, without proving it.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Value as Json, json};
use wireglot_codec::{KeyDescription, KeyType, LoadedCodec, RESPONDER_WORLD, VectorFile, WORLD};

use super::table::aligned;
use super::{check, vectors};

/// Shows what a component is.
#[derive(clap::Args, Debug)]
pub(crate) struct InspectArgs {
    /// The component.
    pub(crate) file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

pub(super) fn run(args: &InspectArgs) -> anyhow::Result<()> {
    let codec = check::load_file(&args.file)?;
    let beside = vectors::beside(&args.file)?;
    let text = if args.json {
        serde_json::to_string_pretty(&for_machines(&codec, &args.file, beside.as_ref()))? + "\n"
    } else {
        for_people(&codec, &args.file, beside.as_ref())
    };
    std::io::stdout().lock().write_all(text.as_bytes()).context("standard output is closed")
}

fn world(codec: &LoadedCodec) -> &'static str {
    if codec.is_responder() { RESPONDER_WORLD } else { WORLD }
}

fn inside(codec: &LoadedCodec) -> usize {
    codec.embedded_vectors().iter().map(VectorFile::len).sum()
}

fn for_people(codec: &LoadedCodec, file: &Path, beside: Option<&VectorFile>) -> String {
    let said = codec.metadata();
    let row = |name: &str, text: String| vec![name.to_owned(), text];
    let imports = match codec.imports() {
        [] => "none".to_owned(),
        imports => format!("{}; answered by a host that denies everything", imports.join(", ")),
    };
    let mut rows = vec![
        row(
            if codec.is_responder() { "responder" } else { "codec" },
            format!("{} {} by {}", said.name, said.version, said.vendor),
        ),
        row("for", said.summary.clone()),
        row("world", world(codec).to_owned()),
        row("imports", imports),
        row("size", format!("{} KiB", codec.bytes().div_ceil(1024))),
        row("hash", codec.stamp().hash.to_string()),
    ];
    if codec.is_responder() {
        rows.push(row("answers", said.methods.join(", ")));
        rows.push(row("is shown", said.shared_keys.join(", ")));
        return format!("{}\n{}", file.display(), aligned(&rows, 2));
    }
    rows.push(row("encodes", if said.encodes { "yes" } else { "no" }.to_owned()));
    let count = inside(codec);
    if count > 0 {
        rows.push(row("vectors", format!("{count} inside")));
    }
    if let Some(beside) = beside {
        rows.push(row("vectors", format!("{} in {}", beside.len(), beside.label())));
    }
    if count == 0 && beside.is_none() {
        rows.push(row(
            "vectors",
            format!("none, neither inside nor in {}", vectors::file_beside(file).display()),
        ));
    }
    let mut keys = vec![["KEY", "TYPE", "UNIT", "LABEL"].map(str::to_owned).to_vec()];
    keys.extend(said.keys.iter().map(key_row));
    format!("{}\n{}\n{}", file.display(), aligned(&rows, 2), aligned(&keys, 2))
}

fn key_row(key: &KeyDescription) -> Vec<String> {
    let text = |option: &Option<String>| option.clone().unwrap_or_default();
    vec![key.key.clone(), type_name(key.value_type).to_owned(), text(&key.unit), text(&key.label)]
}

/// A type in the words of the device API.
pub(super) fn type_name(value_type: KeyType) -> &'static str {
    match value_type {
        KeyType::Boolean => "BOOLEAN",
        KeyType::Long => "LONG",
        KeyType::Double => "DOUBLE",
        KeyType::String => "STRING",
        KeyType::Json => "JSON",
    }
}

fn for_machines(codec: &LoadedCodec, file: &Path, beside: Option<&VectorFile>) -> Json {
    json!({
        "file": file,
        "metadata": codec.metadata(),
        "world": world(codec),
        "imports": codec.imports(),
        "bytes": codec.bytes(),
        "hash": codec.stamp().hash.to_string(),
        "vectors": { "inside": inside(codec), "beside": beside.map(VectorFile::len) },
    })
}
