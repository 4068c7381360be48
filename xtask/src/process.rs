//! Running other programs with their output shown, and printing: on the terminal, or for the time being into a file.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository")
}

/// Where codecs and tools go; beside cargo's own files, so that one folder holds all that can be thrown away.
pub(crate) fn target() -> PathBuf {
    root().join("target")
}

/// A program of ours as the dev profile builds it.
pub(crate) fn built(program: &str) -> PathBuf {
    cargo_target().join("debug").join(program)
}

/// A program of ours as the release profile builds it.
pub(crate) fn released(program: &str) -> PathBuf {
    cargo_target().join("release").join(program)
}

fn cargo_target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(target, |dir| root().join(dir))
}

/// The cargo that runs this, in the root of the repository.
pub(crate) fn cargo() -> Command {
    program(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// A program that reads nothing, in the root of the repository.
pub(crate) fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// `wireglot codec`, with toolchains and compiled code that are kept from run to run.
pub(crate) fn codec_command() -> Command {
    let mut command = program(built("wireglot"));
    command.arg("codec").env("WIREGLOT_TOOLS", target().join("tools/codecs"));
    command
}

thread_local! {
    /// Where what this thread runs and says goes to, if that is not the terminal.
    static SAID: RefCell<Option<File>> = const { RefCell::new(None) };
}

/// Does something whose output goes into a file.
pub(crate) fn saying_to<T>(file: File, act: impl FnOnce() -> T) -> T {
    let before = SAID.replace(Some(file));
    let done = act();
    SAID.set(before);
    done
}

/// The file that this thread says everything to; `None` for the terminal.
pub(crate) fn said_to() -> anyhow::Result<Option<File>> {
    SAID.with_borrow(|file| file.as_ref().map(File::try_clone).transpose()).context("a file cannot be shared")
}

/// Runs it to its end; anything but success is an error that shows the line.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let line = line_of(command);
    if let Some(file) = said_to()? {
        command.stdout(file.try_clone()?).stderr(file);
    }
    let status = command.status().with_context(|| format!("`{line}` cannot be started"))?;
    if status.success() { Ok(()) } else { bail!("`{line}` failed ({status})") }
}

/// Runs it to its end and gives what it printed; what it complains about is shown.
pub(crate) fn output_of(command: &mut Command) -> anyhow::Result<String> {
    let line = line_of(command);
    let complaints = said_to()?.map_or_else(Stdio::inherit, Stdio::from);
    let output = command.stderr(complaints).output();
    let output = output.with_context(|| format!("`{line}` cannot be started"))?;
    if !output.status.success() {
        bail!("`{line}` failed ({})", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{line}` printed something that is no text"))
}

/// Whether it runs and succeeds; its output is of no interest.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Prints a line of progress or result.
pub(crate) fn say(text: fmt::Arguments<'_>) -> anyhow::Result<()> {
    match said_to()? {
        Some(mut file) => writeln!(file, "{text}").context("what is said cannot be kept"),
        None => writeln!(std::io::stdout().lock(), "{text}").context("standard output is closed"),
    }
}

/// Prints the last words; where nobody listens any more, there is nobody to tell.
pub(crate) fn report(text: fmt::Arguments<'_>) {
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}

fn line_of(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut line = program.file_name().unwrap_or(command.get_program()).to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}
