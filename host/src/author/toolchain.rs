//! Which cargo and rustc build a codec: rustup's where it has the wasm target, else Debian's own packages.
//!
//! Debian's `rustc-web` has no prebuilt standard library for wasm32, but it ships the library's source and a
//! cargo that builds it (`-Zbuild-std`). That is what makes a codec on a network that cannot reach rustup.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use super::note;

/// What codecs are compiled for: no operating system, no imports.
pub(super) const TARGET: &str = "wasm32-unknown-unknown";

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_LINKER: &str = "wasm-ld-19";
const DEBIAN_PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "lld-19"];

/// What an outer cargo, rustup or build script leaves in the environment and would bend the inner build.
const LEAKING: [&str; 17] = [
    "CARGO",
    "CARGO_BUILD_RUSTC",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_MAKEFLAGS",
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_PATH",
    "CARGO_TARGET_DIR",
    "LD_LIBRARY_PATH",
    "MAKEFLAGS",
    "RUSTC",
    "RUSTC_BOOTSTRAP",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
];

/// Which toolchain the caller wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum ToolchainChoice {
    /// The installed one if it has the wasm target, else the target by rustup, else Debian's packages.
    Auto,
    /// Whatever `cargo` and `rustc` are on the PATH; fetches the wasm target by rustup if it is missing.
    Path,
    /// Debian's packages rustc-web, cargo-web, rust-web-src and lld-19.
    Debian,
}

/// Names the compiler that would build a crate.
#[derive(clap::Args, Debug)]
pub(crate) struct ToolchainArgs {
    /// The folder of the crate.
    #[arg(default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Which Rust builds it.
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) toolchain: ToolchainChoice,
}

/// Finds the toolchain, installs what is missing, and prints its identity.
pub(super) fn run(args: &ToolchainArgs) -> anyhow::Result<()> {
    let identity = Toolchain::find(args.toolchain, &args.dir)?.identity(&args.dir)?;
    writeln!(std::io::stdout().lock(), "{identity}").context("standard output is closed")
}

/// A toolchain that can build codecs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Toolchain {
    Path,
    Debian,
}

impl Toolchain {
    /// Finds a toolchain for the crate in `dir`, and installs what is missing where that is possible.
    pub(super) fn find(choice: ToolchainChoice, dir: &Path) -> anyhow::Result<Self> {
        match choice {
            ToolchainChoice::Path => path_toolchain(dir).map(|()| Self::Path),
            ToolchainChoice::Debian => debian_toolchain().map(|()| Self::Debian),
            ToolchainChoice::Auto => match path_toolchain(dir) {
                Ok(()) => Ok(Self::Path),
                Err(reason) => {
                    note(format_args!("{reason:#}; using Debian's packages instead"))?;
                    debian_toolchain().with_context(|| format!("{reason:#}"))?;
                    Ok(Self::Debian)
                }
            },
        }
    }

    /// `cargo build` for the wasm target, without the arguments that name the crate.
    pub(super) fn cargo_build(self) -> Command {
        match self {
            Self::Path => {
                let mut command = clean_command("cargo");
                command.args(["build", "--release", "--target", TARGET]);
                command
            }
            Self::Debian => {
                let mut command = clean_command(DEBIAN_CARGO);
                command
                    .env("RUSTC", DEBIAN_RUSTC)
                    // Lets a stable compiler take the unstable option that builds the standard library.
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", DEBIAN_LINKER)
                    .args(["build", "--release", "--target", TARGET, "-Zbuild-std=std,panic_abort"]);
                command
            }
        }
    }

    /// One line that changes whenever the compiler does; what a build cache is keyed by.
    fn identity(self, dir: &Path) -> anyhow::Result<String> {
        let program = match self {
            Self::Path => "rustc",
            Self::Debian => DEBIAN_RUSTC,
        };
        let version = output_of(clean_command(program).arg("-vV").current_dir(dir))?;
        let words: Vec<&str> = version
            .lines()
            .filter(|line| line.starts_with("rustc") || line.starts_with("commit-hash"))
            .collect();
        Ok(format!("{self:?} {}", words.join(" ")))
    }
}

/// A command in an environment as it would be in a plain shell.
pub(super) fn clean_command(program: &str) -> Command {
    let mut command = Command::new(program);
    for name in LEAKING {
        command.env_remove(name);
    }
    for (name, _) in std::env::vars_os() {
        let describes_the_outer_crate = name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_"));
        if describes_the_outer_crate {
            command.env_remove(name);
        }
    }
    command
}

pub(super) fn output_of(command: &mut Command) -> anyhow::Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .with_context(|| format!("`{program}` cannot be started"))?;
    if !output.status.success() {
        bail!("`{program}` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{program}` printed something that is no text"))
}

fn path_toolchain(dir: &Path) -> anyhow::Result<()> {
    let libraries = output_of(
        clean_command("rustc").args(["--print", "target-libdir", "--target", TARGET]).current_dir(dir),
    )
    .context("there is no usable Rust on the PATH")?;
    if has_core(Path::new(libraries.trim())) {
        return Ok(());
    }
    if on_path("rustup").is_none() {
        bail!("the Rust on the PATH lacks the target {TARGET}, and there is no rustup to add it");
    }
    note(format_args!("Adding the target {TARGET} by rustup …"))?;
    let status = clean_command("rustup")
        .args(["target", "add", TARGET])
        .current_dir(dir)
        .stdin(Stdio::null())
        .status()
        .context("rustup cannot be started")?;
    if !status.success() {
        bail!("rustup cannot add the target {TARGET}");
    }
    if !has_core(Path::new(libraries.trim())) {
        bail!("rustup says that it added the target {TARGET}, but the compiler does not see it");
    }
    Ok(())
}

/// Whether the folder holds a compiled standard library; rustc names the folder even where there is none.
fn has_core(libraries: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(libraries) else { return false };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
}

fn debian_toolchain() -> anyhow::Result<()> {
    let Err(reason) = debian_parts() else { return Ok(()) };
    let packages = DEBIAN_PACKAGES.join(" ");
    if on_path("apt-get").is_none() {
        bail!(
            "{reason:#}. Install Rust with the target {TARGET} (rustup target add {TARGET}), \
             or on Debian 12 the packages {packages}"
        );
    }
    if !may_install() {
        bail!("{reason:#}. As root: apt-get install --no-install-recommends {packages}");
    }
    note(format_args!("Installing {packages} (about 200 MB, once) …"))?;
    apt_get(&["update", "-qq"])?;
    let mut install = vec!["install", "-y", "-qq", "--no-install-recommends"];
    install.extend(DEBIAN_PACKAGES);
    apt_get(&install)?;
    debian_parts().context("the packages are installed, but do not fit together")
}

/// Looks for each part that the packages bring. The compiler in /usr/bin may also be Debian's plain `rustc`,
/// which is too old and has no source beside it.
fn debian_parts() -> anyhow::Result<()> {
    for program in [DEBIAN_RUSTC, DEBIAN_CARGO] {
        if !Path::new(program).is_file() {
            bail!("{program} is missing");
        }
    }
    if on_path(DEBIAN_LINKER).is_none() {
        bail!("the linker {DEBIAN_LINKER} is missing");
    }
    let sysroot = output_of(clean_command(DEBIAN_RUSTC).args(["--print", "sysroot"]))?;
    let source = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/std/Cargo.toml");
    if !source.is_file() {
        bail!("the source of the standard library is missing ({})", source.display());
    }
    Ok(())
}

fn apt_get(arguments: &[&str]) -> anyhow::Result<()> {
    let status = clean_command("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .context("apt-get cannot be started")?;
    if status.success() { Ok(()) } else { bail!("apt-get {} failed: {status}", arguments.join(" ")) }
}

/// Installing packages takes root. Asked of the system, because containers often set no user name.
fn may_install() -> bool {
    output_of(clean_command("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

pub(super) fn on_path(program: &str) -> Option<PathBuf> {
    let path: OsString = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_an_outer_build_reaches_the_inner_one() {
        let command = clean_command("cargo");
        for name in LEAKING {
            let removed = command.get_envs().any(|(known, value)| known == name && value.is_none());
            assert!(removed, "{name}");
        }
        // The crate under test has left these in the environment of this very process.
        assert!(std::env::var_os("CARGO_PKG_NAME").is_some());
        assert!(command.get_envs().any(|(known, value)| known == "CARGO_PKG_NAME" && value.is_none()));
    }

    #[track_caller]
    fn check_core(file: Option<&str>, there: bool) {
        let folder = std::env::temp_dir().join(format!("wireglot-core-{}-{there}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        if let Some(file) = file {
            std::fs::write(folder.join(file), "").unwrap();
        }
        assert_eq!(has_core(&folder), there, "{file:?}");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_target_is_there_when_its_core_library_is() {
        check_core(Some("libcore-0123.rlib"), true);
        check_core(Some("libstd-0123.rlib"), false);
        check_core(None, false);
        assert!(!has_core(Path::new("/nowhere")));
    }
}
