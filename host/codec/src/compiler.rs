//! Compiling in a process of its own: the compiler keeps hundreds of megabytes of what a large component took, and a
//! server that has gone on living should not.
//!
//! The process is this program itself, which the server names; without one, everything is compiled in place.

use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use wasmtime::component::Component;

use crate::cache::deserialize;
use crate::engine::{CodecEngine, EngineParts};

/// Compiles what comes on standard input as `engine` would, to standard output: the other end of `compile_apart`.
pub fn compile_for_another_process(
    engine: &CodecEngine,
    wasi: bool,
    input: &mut dyn Read,
    output: &mut dyn io::Write,
) -> io::Result<()> {
    let parts = if wasi { engine.0.wasi().map_err(io::Error::other)? } else { engine.0.clone() };
    let mut component = Vec::new();
    let bytes_max = u64::try_from(engine.limits().module_bytes_max).unwrap_or(u64::MAX);
    input.take(bytes_max).read_to_end(&mut component)?;
    let code = parts
        .engine
        .precompile_component(&component)
        .map_err(|error| io::Error::other(format!("{error:#}")))?;
    output.write_all(&code)?;
    output.flush()
}

/// The program that compiles large components, and how it is told which engine it compiles for.
#[derive(Clone, Debug)]
pub(crate) struct ApartCompiler {
    pub(crate) program: PathBuf,
}

impl ApartCompiler {
    /// Compiles in another process. The outer error: the process did not do its work, which says nothing of the
    /// component.
    pub(crate) fn compile(&self, parts: &EngineParts, bytes: &[u8]) -> Result<Component, String> {
        let code = run(&self.program, parts.is_wasi, bytes).map_err(|error| error.to_string())?;
        // The code is that of our own program, handed over by a pipe that nobody else holds.
        deserialize(&parts.engine, &code)
    }
}

fn run(program: &Path, wasi: bool, component: &[u8]) -> io::Result<Vec<u8>> {
    let mut command = Command::new(program);
    command.args(["codec", "compile-for-server"]);
    if wasi {
        command.arg("--wasi");
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    // It reads all before it writes anything, so this cannot wait for a full pipe on either side.
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(component));
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("{}: {}", output.status, said.trim())));
    }
    written?;
    Ok(output.stdout)
}
