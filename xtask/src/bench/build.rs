//! Builds, in release, everything that is measured and everything that it is measured against.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};

use crate::process::{cargo, program, released, run, target};

/// Where the built parts are.
pub(super) struct Tools {
    pub(super) wireglot: PathBuf,
    pub(super) load: PathBuf,
    pub(super) bare_ack: PathBuf,
    pub(super) consumer: PathBuf,
    pub(super) decode_rows: PathBuf,
    pub(super) many_codecs: PathBuf,
    /// The script engine.
    pub(super) engine: PathBuf,
    pub(super) ingest: PathBuf,
    pub(super) mosquitto: PathBuf,
    /// Codecs that differ only in the version that they stamp on every value.
    pub(super) stamps: [PathBuf; 2],
}

impl Tools {
    /// Builds what is not up to date; the guests are there already.
    pub(super) fn build() -> Result<Self> {
        // One command: packages built apart would each have their own features of what they share, and compile it again.
        let comparisons = ["bare-ack", "sqlite-consumer", "decode-rows"];
        let features = comparisons.map(|name| format!("wireglot-load/{name}")).join(",");
        let mut build = cargo();
        build.args(["build", "--release", "-p", "wireglot", "-p", "wireglot-load", "-p", "wireglot-store"]);
        run(build.args(["--bins", "--example", "ingest", "--features", &features]))?;
        let stamps = ["stamp-a", "stamp-b"].map(|name| target().join(format!("guests/{name}.wasm")));
        for stamp in &stamps {
            ensure!(stamp.exists(), "{} is missing; `cargo xtask plugins` builds it", stamp.display());
        }
        Ok(Self {
            wireglot: released("wireglot"),
            load: released("wireglot-load"),
            bare_ack: released("bare-ack"),
            consumer: released("sqlite-consumer"),
            decode_rows: released("decode-rows"),
            many_codecs: released("many-codecs"),
            engine: target().join("codecs/js.wasm"),
            ingest: released("examples/ingest"),
            mosquitto: mosquitto()?,
            stamps,
        })
    }
}

/// The broker that everything is compared with, from Debian's package.
fn mosquitto() -> Result<PathBuf> {
    if let Some(found) = find("mosquitto") {
        return Ok(found);
    }
    if !rustix::process::geteuid().is_root() {
        bail!("mosquitto is missing; install it with `apt-get install mosquitto`");
    }
    run(program("apt-get").args(["update", "-qq"]))?;
    let mut install = program("apt-get");
    run(install.env("DEBIAN_FRONTEND", "noninteractive").args(["install", "-y", "-qq", "mosquitto"]))?;
    match find("mosquitto") {
        Some(found) => Ok(found),
        None => bail!("mosquitto is still missing after it was installed"),
    }
}

/// Debian keeps servers where an ordinary path does not look.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}
