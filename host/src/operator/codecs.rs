//! `wireglot codec list|history|versions|rollback|upload|download`.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};

use super::client::{Client, Refusal, ServerArgs, escaped};
use super::print;
use super::table::{actor, cell, hash, render, time};

/// Names that are offered for one that is not there.
const NEAR_NAMES: usize = 3;

#[derive(clap::Args, Debug)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(clap::Args, Debug)]
pub(crate) struct NamedArgs {
    /// The codec.
    name: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(clap::Args, Debug)]
pub(crate) struct RollbackArgs {
    /// The codec.
    name: String,
    /// The version that shall serve: as it calls itself, or the first 8 or more digits of its hash. Default: the one
    /// before.
    version: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(clap::Args, Debug)]
pub(crate) struct UploadArgs {
    /// The component, or a script that ends in `.js`.
    file: PathBuf,
    /// The codec's name. Default: the file's name without its ending.
    #[arg(long)]
    name: Option<String>,
    /// Try it beside the live version first, as dropping it as `NAME.next.wasm` or `NAME.next.js` does. A file that is
    /// called so is always tried first.
    #[arg(long)]
    candidate: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(clap::Args, Debug)]
pub(crate) struct DownloadArgs {
    /// The codec.
    name: String,
    /// The version: as it calls itself, or the first 8 or more digits of its hash. Default: the live one.
    version: Option<String>,
    /// Where to write it. Default: `NAME.wasm`, or `NAME.js` if it is a script.
    #[arg(long, short)]
    out: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn list(args: &ListArgs) -> anyhow::Result<()> {
    let client = Client::connect(&args.server)?;
    let codecs = client.get("/api/codecs")?;
    let row = |codec: &Value| {
        vec![
            cell(codec, "name"),
            cell(codec, "state"),
            cell(codec, "version"),
            hash(codec),
            time(codec, "loadedAt"),
            cell(codec, "error"),
        ]
    };
    show(&args.server, &codecs, &["NAME", "STATE", "VERSION", "HASH", "LIVE SINCE", "REMARK"], row)
}

pub(crate) fn history(args: &NamedArgs) -> anyhow::Result<()> {
    let client = Client::connect(&args.server)?;
    let events = of_codec(&client, &args.name, client.get(&path(&args.name, "/history")))?;
    let row = |event: &Value| {
        vec![
            time(event, "at"),
            cell(event, "outcome"),
            cell(event, "version"),
            hash(event),
            actor(event.get("by")),
            if event.get("live") == Some(&json!(true)) { "live".to_owned() } else { String::new() },
            cell(event, "reason"),
        ]
    };
    show(&args.server, &events, &["TIME", "OUTCOME", "VERSION", "HASH", "BY", "NOW", "REASON"], row)
}

pub(crate) fn versions(args: &NamedArgs) -> anyhow::Result<()> {
    let client = Client::connect(&args.server)?;
    let versions = of_codec(&client, &args.name, client.get(&path(&args.name, "/versions")))?;
    let row = |version: &Value| {
        let pinned = version.get("pinnedBy").and_then(Value::as_array);
        let pinned: Vec<&str> = pinned.into_iter().flatten().filter_map(Value::as_str).collect();
        vec![
            cell(version, "version"),
            hash(version),
            time(version, "loadedAt"),
            actor(version.get("by")),
            if version.get("live") == Some(&json!(true)) { "live".to_owned() } else { String::new() },
            pinned.join(", "),
        ]
    };
    show(&args.server, &versions, &["VERSION", "HASH", "WENT LIVE", "BY", "NOW", "PINNED PROFILES"], row)
}

pub(crate) fn rollback(args: &RollbackArgs) -> anyhow::Result<()> {
    let client = Client::connect(&args.server)?;
    let wanted = match &args.version {
        Some(version) => json!({"version": version}),
        None => json!({}),
    };
    let done = of_codec(&client, &args.name, client.post(&path(&args.name, "/rollback"), &wanted))?;
    if args.server.json {
        return print(format_args!("{done}"));
    }
    let side = |side: &str| {
        let stamp = done.get(side).unwrap_or(&Value::Null);
        format!("{} ({})", cell(stamp, "version"), hash(stamp))
    };
    let (name, from, to) = (&args.name, side("from"), side("to"));
    print(format_args!(
        "{name}: {to} serves again instead of {from}, whose file is not taken again until its content changes."
    ))
}

pub(crate) fn upload(args: &UploadArgs) -> anyhow::Result<()> {
    let stem = args.file.file_stem().and_then(|stem| stem.to_str());
    let named_so = stem.and_then(|stem| stem.strip_suffix(".next"));
    let name = args.name.as_deref().or(named_so).or(stem);
    let name = name.with_context(|| format!("{} names no codec; use --name", args.file.display()))?;
    let is_candidate = args.candidate || named_so.is_some();
    let bytes =
        std::fs::read(&args.file).with_context(|| format!("{} cannot be read", args.file.display()))?;
    let client = Client::connect(&args.server)?;
    let is_script = args.file.extension().is_some_and(|extension| extension == "js");
    let kind = if is_script { "text/javascript" } else { "application/wasm" };
    let place = if is_candidate { "/candidate" } else { "" };
    let codec = client.put(&path(name, place), kind, &bytes)?;
    if args.server.json {
        return print(format_args!("{codec}"));
    }
    let what = if is_candidate { "is tried beside the live one" } else { "is live" };
    print(format_args!("{name}: version {} ({}) {what}.", cell(&codec, "version"), hash(&codec)))
}

pub(crate) fn download(args: &DownloadArgs) -> anyhow::Result<()> {
    let client = Client::connect(&args.server)?;
    let bytes = component(&client, &args.name, args.version.as_deref())?;
    let ending = if is_component(&bytes) { "wasm" } else { "js" };
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("{}.{ending}", args.name)));
    std::fs::write(&out, &bytes).with_context(|| format!("{} cannot be written", out.display()))?;
    let (written, length) = (out.display().to_string(), bytes.len());
    if args.server.json {
        return print(format_args!("{}", json!({"file": written, "bytes": length})));
    }
    print(format_args!("{written}: {length} bytes."))
}

/// The component or the script of a version: of the live one where none is named.
pub(crate) fn component(client: &Client, name: &str, version: Option<&str>) -> anyhow::Result<Vec<u8>> {
    let version = version.map(|version| format!("?version={}", escaped(version)));
    let path = format!("{}{}", path(name, "/component"), version.unwrap_or_default());
    of_codec(client, name, client.bytes(&path))
}

/// A version is either a component, which begins so, or a script.
pub(crate) fn is_component(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\0asm")
}

fn path(name: &str, rest: &str) -> String {
    format!("/api/codecs/{}{rest}", escaped(name))
}

fn show(
    server: &ServerArgs,
    answer: &Value,
    head: &[&str],
    row: impl Fn(&Value) -> Vec<String>,
) -> anyhow::Result<()> {
    if server.json {
        return print(format_args!("{answer}"));
    }
    let rows: Vec<Vec<String>> = answer.as_array().into_iter().flatten().map(row).collect();
    print(format_args!("{}", render(head, &rows)))
}

/// Where there is no such codec, the ones with the nearest names are told.
fn of_codec<T>(client: &Client, name: &str, outcome: anyhow::Result<T>) -> anyhow::Result<T> {
    outcome.map_err(|error| {
        if error.downcast_ref::<Refusal>().is_none_or(|refusal| refusal.status != 404) {
            return error;
        }
        let known = client.get("/api/codecs").unwrap_or_default();
        let known: Vec<String> =
            known.as_array().into_iter().flatten().map(|codec| cell(codec, "name")).collect();
        anyhow!("there is no codec {name}; {}", near(name, known))
    })
}

fn near(name: &str, mut known: Vec<String>) -> String {
    if known.is_empty() {
        return "the server has none: drop a .wasm file into its codecs folder, or use `wireglot codec upload`".to_owned();
    }
    known.sort_by_cached_key(|known| strsim::damerau_levenshtein(name, known));
    known.truncate(NEAR_NAMES);
    format!("did you mean {}? `wireglot codec list` shows all", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_names_come_first() {
        let known = ["ruuvi", "elsys", "milesight-am", "elsys-2"].map(str::to_owned).to_vec();
        assert!(near("elsis", known).starts_with("did you mean elsys, elsys-2,"));
        assert!(near("elsys", Vec::new()).contains("wireglot codec upload"));
    }
}
