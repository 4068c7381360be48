//! Where the built parts lie: the binary, the plugins and the hostile guests.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository")
}

/// The server, built in the same profile as this test unless `WIREGLOT_BIN` names another.
pub(crate) fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("WIREGLOT_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("a running program has a path");
    let folder = test.parent().and_then(Path::parent).expect("tests run from target/PROFILE/deps");
    needed(folder.join("wireglot"), "cargo build -p wireglot")
}

/// A codec of `plugins/`, as a component.
pub(crate) fn plugin(name: &str) -> Vec<u8> {
    built("codecs", name)
}

/// A codec of `tests/guests/`, as a component.
pub(crate) fn guest(name: &str) -> Vec<u8> {
    built("guests", name)
}

/// What `codec new` makes of a language, as a component with its vectors inside.
pub(crate) fn scaffold(language: &str) -> PathBuf {
    let file = root().join("target/scaffolds").join(format!("soil-{language}.wasm"));
    needed(file, "cargo xtask scaffolds")
}

/// A page of `docs/`.
pub(crate) fn document(name: &str) -> String {
    let path = root().join("docs").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn built(kind: &str, name: &str) -> Vec<u8> {
    let path = root().join("target").join(kind).join(format!("{name}.wasm"));
    let path = needed(path, "cargo xtask plugins");
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The recorded payloads of a plugin: every file of its `vectors` folder.
pub(crate) fn vectors(plugin: &str) -> Vec<Value> {
    let folder = root().join("plugins").join(plugin).join("vectors");
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let texts = files.map(|file| fs::read(file.expect("a folder entry").path()).expect("a vector file"));
    texts.map(|text| serde_json::from_slice(&text).expect("vector files are JSON")).collect()
}

/// A tool that the set-up of the tests installs under `target/tools`.
pub(crate) fn tool(path: &str) -> PathBuf {
    needed(root().join("target/tools").join(path), "cargo xtask test")
}

#[track_caller]
fn needed(path: PathBuf, made_by: &str) -> PathBuf {
    assert!(path.exists(), "{} is missing; `{made_by}` makes it", path.display());
    path
}
