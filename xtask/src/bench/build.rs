//! Builds, in release, everything that is measured and everything that it is measured against.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

/// Where the built parts are.
pub(super) struct Tools {
    pub(super) target: PathBuf,
    pub(super) wireglot: PathBuf,
    pub(super) load: PathBuf,
    pub(super) bare_ack: PathBuf,
    pub(super) consumer: PathBuf,
    pub(super) decode_rows: PathBuf,
    pub(super) ingest: PathBuf,
    /// Codecs that differ only in the version that they stamp on every value.
    pub(super) stamps: [PathBuf; 2],
}

impl Tools {
    /// Builds what is not up to date. The guests come from `cargo xtask plugins`.
    pub(super) fn build() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the repository")?;
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        cargo(root, &["build", "--release", "-p", "wireglot"])?;
        cargo(root, &["build", "--release", "-p", "wireglot-store", "--example", "ingest"])?;
        let comparisons = "bare-ack,sqlite-consumer,decode-rows";
        cargo(root, &["build", "--release", "-p", "wireglot-load", "--features", comparisons])?;
        have_mosquitto()?;
        let guests = root.join("target/guests");
        let stamps = ["stamp-a", "stamp-b"].map(|name| guests.join(format!("{name}.wasm")));
        for stamp in &stamps {
            ensure!(stamp.exists(), "{} is missing; `cargo xtask plugins` builds it", stamp.display());
        }
        let release = target.join("release");
        Ok(Self {
            wireglot: release.join("wireglot"),
            load: release.join("wireglot-load"),
            bare_ack: release.join("bare-ack"),
            consumer: release.join("sqlite-consumer"),
            decode_rows: release.join("decode-rows"),
            ingest: release.join("examples/ingest"),
            target,
            stamps,
        })
    }
}

fn cargo(root: &Path, arguments: &[&str]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo).args(arguments).current_dir(root).status().context("cargo")?;
    ensure!(status.success(), "cargo {} failed", arguments.join(" "));
    Ok(())
}

/// The broker that everything is compared with, from Debian's package.
fn have_mosquitto() -> Result<()> {
    if parts_path("mosquitto").is_some() {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        bail!("mosquitto is missing; install it with `apt-get install mosquitto`");
    }
    let install = "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq mosquitto";
    let status = Command::new("sh").args(["-c", install]).status().context("apt-get")?;
    ensure!(status.success(), "installing mosquitto failed");
    Ok(())
}

/// A program of the system; Debian keeps servers where an ordinary path does not look.
pub(super) fn parts_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(program)).find(|file| file.exists())
}
