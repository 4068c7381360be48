//! All automation of the repository: `cargo xtask COMMAND`.

mod bench;
mod ci;
mod conformance;
mod demo;
mod docs;
mod lanes;
mod plugins;
mod process;
mod scaffolds;
mod setup;
mod tidy;
mod wasm_c;

use std::process::ExitCode;

use process::{report, say};

const HELP: &str = "\
cargo xtask demo [--seconds N]   the server with simulated devices, until Ctrl-C or for N seconds
cargo xtask test                 everything that CI checks, with its set-up (`ci` is the same)
cargo xtask plugins              every codec to target/codecs, every test codec to target/guests
cargo xtask scaffolds            what `codec new` makes, in every language, to target/scaffolds
cargo xtask bench [ROW …]        the benchmark table
cargo xtask conformance [CASE …] the 400 cases of the device API and how each went; cases by number, or by letter of a group
cargo xtask tidy                 the rules of the source that no compiler knows
cargo xtask docs                 writes the generated documentation";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, rest)) = arguments.split_first() else {
        return finish(say(format_args!("{HELP}")));
    };
    finish(match command.as_str() {
        "demo" => demo::run(rest),
        "test" | "ci" => no_arguments(rest).and_then(|()| ci::run_all()),
        "plugins" => no_arguments(rest).and_then(|()| plugins::build_all().map(drop)),
        "scaffolds" => {
            no_arguments(rest).and_then(|()| plugins::build_wireglot()).and_then(|()| scaffolds::test_all())
        }
        "bench" => plugins::build_all().and_then(|_| bench::run(rest)),
        "conformance" => conformance::run(rest),
        "tidy" => no_arguments(rest).and_then(|()| tidy::run()),
        "docs" => no_arguments(rest).and_then(|()| docs::write()),
        "help" | "--help" | "-h" => say(format_args!("{HELP}")),
        unknown => Err(anyhow::anyhow!("there is no command `{unknown}`\n{HELP}")),
    })
}

fn no_arguments(arguments: &[String]) -> anyhow::Result<()> {
    match arguments.first() {
        None => Ok(()),
        Some(argument) => Err(anyhow::anyhow!("unexpected argument `{argument}`")),
    }
}

fn finish(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(format_args!("xtask: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
