//! `cargo xtask tidy`: the rules of the source that neither the compiler nor clippy knows.
//!
//! Each rule is a function from text to findings, so that its tests are rows of text.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context as _, bail};

use crate::process::{output_of, program, root, say};

/// Lines of a file without its tests.
const FILE_LINES_MAX: usize = 800;

/// Which of our crates each crate may name, and what outside crates belong to it alone: the table of directions.
const DIRECTIONS: [(&str, &[&str]); 10] = [
    ("model", &[]),
    ("route", &["model"]),
    ("codec", &["model"]),
    ("proto", &["model"]),
    ("store", &["model"]),
    ("bus", &["model"]),
    ("device", &["model", "proto", "store", "bus"]),
    ("mqtt", &["model", "route", "codec", "proto", "device", "bus"]),
    ("replay", &["model", "route", "codec", "device"]),
    ("rest", &["model", "codec", "device", "bus", "replay"]),
];

/// Outside crates that one crate alone may name, besides the binary that wires them.
const OWNED: [(&str, &str); 11] = [
    ("wasmtime", "codec"),
    ("wasmparser", "codec"),
    ("prost", "proto"),
    ("prost-reflect", "proto"),
    ("protox-parse", "proto"),
    ("ntex", "mqtt"),
    ("ntex-mqtt", "mqtt"),
    ("ntex-service", "mqtt"),
    ("fjall", "store"),
    ("axum", "rest"),
    ("async-nats", "bus"),
];

/// Crates that are free of any runtime.
const PURE: [&str; 4] = ["model", "route", "codec", "proto"];
const RUNTIMES: [&str; 4] = ["tokio", "ntex", "async-std", "smol"];

/// What is wrong, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Finding {
    file: String,
    line: usize,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

/// A source file of the repository.
struct Source {
    path: String,
    text: String,
}

/// Checks everything that git knows or would add.
pub(crate) fn run() -> anyhow::Result<()> {
    let sources = sources()?;
    let rust: Vec<&Source> = sources.iter().filter(|source| source.path.ends_with(".rs")).collect();
    let mut findings = Vec::new();
    for source in &rust {
        findings.extend(length(source));
        findings.extend(introduction(source));
        findings.extend(leftovers(source));
        findings.extend(banners(source));
    }
    for source in sources.iter().filter(|source| source.path.ends_with("Cargo.toml")) {
        findings.extend(directions(source)?);
    }
    findings.extend(unused_limits(&rust));
    findings.extend(dead_files(&rust));
    findings.extend(twins(&rust));
    for finding in &findings {
        say(format_args!("{finding}"))?;
    }
    match findings.len() {
        0 => say(format_args!("{} files are tidy", sources.len())),
        count => bail!("{count} findings"),
    }
}

fn sources() -> anyhow::Result<Vec<Source>> {
    let list = output_of(program("git").args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "--deduplicate",
    ]))
    .context("the files of the repository are listed by git")?;
    let wanted = |path: &str| path.ends_with(".rs") || path.ends_with("Cargo.toml");
    let mut sources = Vec::new();
    for path in list.lines().filter(|path| wanted(path)) {
        // A file that is deleted but not yet committed is still listed.
        if root().join(path).is_file() {
            let text = std::fs::read_to_string(root().join(path)).with_context(|| path.to_owned())?;
            sources.push(Source { path: path.to_owned(), text });
        }
    }
    Ok(sources)
}

impl Source {
    fn finding(&self, line: usize, what: String) -> Finding {
        Finding { file: self.path.clone(), line, what }
    }

    /// The lines before the unit tests, which stand at the end, counted from 1.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let end = self.text.find("#[cfg(test)]\nmod tests {").unwrap_or(self.text.len());
        let code = self.text.get(..end).unwrap_or_default();
        code.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// A crate of the host, by its short name.
    fn host_crate(&self) -> Option<&str> {
        let (name, _) = self.path.strip_prefix("host/")?.split_once('/')?;
        DIRECTIONS.iter().any(|(known, _)| *known == name).then_some(name)
    }

    fn is_test(&self) -> bool {
        self.path.starts_with("tests/") || self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }
}

fn length(source: &Source) -> Option<Finding> {
    let lines = source.code().count();
    (lines > FILE_LINES_MAX && !source.is_test())
        .then(|| source.finding(FILE_LINES_MAX, format!("{lines} lines; split by noun at {FILE_LINES_MAX}")))
}

fn introduction(source: &Source) -> Option<Finding> {
    let first = source.text.lines().next().unwrap_or_default();
    (!first.starts_with("//! "))
        .then(|| source.finding(1, "the first line must say what the file is for (`//! …`)".to_owned()))
}

/// Spelled in halves, so that this file does not find itself.
fn markers() -> [String; 6] {
    [("to", "do!("), ("unimpl", "emented!("), ("db", "g!("), ("FIX", "ME"), ("TO", "DO"), ("XX", "X")]
        .map(|(first, second)| format!("{first}{second}"))
}

fn leftovers(source: &Source) -> Vec<Finding> {
    let markers = markers();
    let mut findings = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        if let Some(marker) = markers.iter().find(|marker| has_word(line, marker)) {
            findings.push(source.finding(index + 1, format!("leftover `{marker}`")));
        }
    }
    findings
}

/// Whether `word` stands in `line` with nothing of a name before or behind it.
fn has_word(line: &str, word: &str) -> bool {
    let of_name = |character: Option<char>| character.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, found)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        let behind = line.get(at + found.len()..).and_then(|text| text.chars().next());
        !of_name(before) && (word.ends_with('(') || !of_name(behind))
    })
}

fn banners(source: &Source) -> Vec<Finding> {
    let is_banner = |line: &str| {
        let Some(comment) = line.trim_start().strip_prefix("//") else { return false };
        let comment = comment.trim();
        ["====", "----", "****", "####", "────"].iter().any(|rule| comment.contains(rule))
            && !comment.contains('|')
    };
    source
        .code()
        .filter(|(_, line)| is_banner(line))
        .map(|(number, _)| source.finding(number, "a banner; split the file instead".to_owned()))
        .collect()
}

fn directions(manifest: &Source) -> anyhow::Result<Vec<Finding>> {
    let table: toml::Table =
        manifest.text.parse().with_context(|| format!("{} is not valid TOML", manifest.path))?;
    let dependencies = table.get("dependencies").and_then(toml::Value::as_table);
    let names: Vec<&str> = dependencies.into_iter().flat_map(toml::Table::keys).map(String::as_str).collect();
    let mut findings = Vec::new();
    let mut refuse = |name: &str, why: &str| {
        let line = manifest.text.lines().position(|line| line.starts_with(name)).map_or(1, |line| line + 1);
        findings.push(manifest.finding(line, format!("may not name `{name}`: {why}")));
    };
    if manifest.path.starts_with("plugins/") {
        for name in names.iter().filter(|name| {
            name.starts_with("wireglot-") && !["wireglot-sdk", "wireglot-sdk-responder"].contains(*name)
        }) {
            refuse(name, "a plugin knows the SDK and nothing of the host");
        }
        return Ok(findings);
    }
    let Some(krate) = manifest.host_crate() else { return Ok(findings) };
    let allowed = DIRECTIONS.iter().find(|(name, _)| *name == krate).map_or(&[][..], |(_, allowed)| *allowed);
    for name in names {
        if let Some(ours) = name.strip_prefix("wireglot-") {
            if !allowed.contains(&ours) {
                refuse(name, "the arrows of the table point the other way");
            }
        } else if let Some((_, owner)) = OWNED.iter().find(|(owned, owner)| *owned == name && *owner != krate)
        {
            refuse(name, &format!("it belongs to {owner}"));
        } else if PURE.contains(&krate) && RUNTIMES.contains(&name) {
            refuse(name, "the crate is free of any runtime");
        }
    }
    Ok(findings)
}

/// A bound that nobody names holds nothing.
fn unused_limits(sources: &[&Source]) -> Vec<Finding> {
    let Some(limits) = sources.iter().find(|source| source.path == "host/model/src/limits.rs") else {
        return Vec::new();
    };
    let others =
        || sources.iter().filter(|source| source.path != limits.path && source.path.starts_with("host/"));
    let mut findings = Vec::new();
    for (number, line) in limits.code() {
        let Some(rest) = line.strip_prefix("pub const ") else { continue };
        let Some((name, _)) = rest.split_once(':') else { continue };
        if !others().any(|source| source.code().any(|(_, line)| has_word(line, name))) {
            findings.push(limits.finding(number, format!("nothing holds to `{name}`")));
        }
    }
    findings
}

/// A file that no module declares is compiled by nobody.
fn dead_files(sources: &[&Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        let Some((folder, name)) = source.path.rsplit_once('/') else { continue };
        let name = name.strip_suffix(".rs").unwrap_or(name);
        let is_root =
            matches!(name, "main" | "lib" | "build") || !folder.contains("/src") && !folder.contains("/it");
        if is_root || ["bin", "examples", "fuzz_targets"].iter().any(|dir| folder.ends_with(dir)) {
            continue;
        }
        let declaration = format!("mod {name};");
        let parents = [
            format!("{folder}.rs"),
            format!("{folder}/lib.rs"),
            format!("{folder}/main.rs"),
            format!("{folder}/mod.rs"),
        ];
        let declared = sources
            .iter()
            .filter(|other| parents.contains(&other.path))
            .any(|other| other.text.lines().any(|line| line.trim_end().ends_with(&declaration)));
        if !declared {
            findings.push(source.finding(1, "no module declares this file".to_owned()));
        }
    }
    findings
}

/// Functions of one signature in two crates of the host: one of them is the other's copy.
fn twins(sources: &[&Source]) -> Vec<Finding> {
    let mut seen: BTreeMap<&str, (&str, String)> = BTreeMap::new();
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| !source.is_test()) {
        let Some(krate) = source.host_crate() else { continue };
        for (number, line) in source.code() {
            let signature = line.trim_start_matches("pub(crate) ").trim_start_matches("pub ");
            let is_whole =
                signature.ends_with('{') && signature.contains("->") && !signature.contains("self");
            if !signature.starts_with("fn ") || !is_whole {
                continue;
            }
            match seen.get(signature) {
                Some((other, place)) if *other != krate => {
                    findings.push(source.finding(number, format!("the twin of {place}: give it one home")));
                }
                Some(_) => {}
                None => {
                    seen.insert(signature, (krate, format!("{}:{number}", source.path)));
                }
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests;
