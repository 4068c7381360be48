//! The plugin author's tools: `wireglot codec …`. Results go to standard output, progress to standard error.

use std::fmt;
use std::io::Write as _;

use anyhow::Context as _;
use wireglot_codec::{CodecEngine, CodecLimits, compile_for_another_process};

mod bench;
mod build;
mod check;
mod inspect;
mod new;
mod packages;
mod project;
mod run;
mod table;
mod test;
mod toolchain;
mod vectors;

/// What an author can do with a codec.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum AuthorCommand {
    /// Make the folder of a new codec: builds, has vectors, and decodes something real from the start.
    New(new::NewArgs),
    /// Compile a codec to a component.
    Build(build::BuildArgs),
    /// Validate a component as the server would, and show what it is.
    Check(check::CheckArgs),
    /// Decode vectors and show what differs.
    Test(test::TestArgs),
    /// Decode one frame and print it as JSON.
    Run(Box<run::RunArgs>),
    /// Measure time, memory and fuel of a decode, over the vectors.
    Bench(bench::BenchArgs),
    /// Show what a component is: world, imports, keys and units, size, vectors.
    Inspect(inspect::InspectArgs),
    /// Compile standard input to standard output, for a server that does not want to.
    #[command(hide = true)]
    CompileForServer {
        /// For the engine of components that import WASI.
        #[arg(long)]
        wasi: bool,
    },
    /// Print one line that changes with the compiler that would build the crate.
    #[command(hide = true)]
    Toolchain(toolchain::ToolchainArgs),
}

/// Runs one of the author's tools.
pub(crate) fn run(command: AuthorCommand) -> anyhow::Result<()> {
    match command {
        AuthorCommand::New(args) => new::run(&args),
        AuthorCommand::Build(args) => build::run(&args).map(drop),
        AuthorCommand::Check(args) => check::run(&args),
        AuthorCommand::Test(args) => test::run(&args),
        AuthorCommand::Run(args) => run::run(&args),
        AuthorCommand::Bench(args) => bench::run(&args),
        AuthorCommand::Inspect(args) => inspect::run(&args),
        AuthorCommand::CompileForServer { wasi } => compile_for_server(wasi),
        AuthorCommand::Toolchain(args) => toolchain::run(&args),
    }
}

fn compile_for_server(wasi: bool) -> anyhow::Result<()> {
    let engine = CodecEngine::open(CodecLimits::default())?;
    compile_for_another_process(&engine, wasi, &mut std::io::stdin().lock(), &mut std::io::stdout().lock())
        .context("the component cannot be compiled")
}

/// Progress and remarks; not part of any result.
fn note(text: fmt::Arguments<'_>) -> anyhow::Result<()> {
    writeln!(std::io::stderr().lock(), "{text}").context("the terminal cannot be written to")
}
