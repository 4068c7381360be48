//! `cargo xtask test`: every check there is, cheapest first, stopping at the first that fails. How they run side by side is
//! in `lanes`.

use crate::lanes::{self, Step};
use crate::plugins::{self, Plugin};
use crate::process::{cargo, codec_command, output_of, root, run, say, succeeds, target};
use crate::{demo, docs, scaffolds, setup, tidy};

/// Long enough for every simulated device to have published something.
const DEMO_SECONDS: &str = "20";

/// The workspaces beside the main one. Test codecs run in the server only: most of them could only bring a test down.
const PLUGIN_WORKSPACES: [&str; 3] =
    ["plugins/Cargo.toml", "examples/first-codec/Cargo.toml", "examples/first-responder/Cargo.toml"];
const GUEST_WORKSPACE: &str = "tests/guests/Cargo.toml";
const FUZZ_WORKSPACE: &str = "tests/fuzz/Cargo.toml";

/// What waits for the network or for time runs beside what compiles. A stage has all that the one before it made.
const STAGES: [&[&[Step]]; 4] = [
    &[
        &[
            Step { name: "format", run: format },
            Step { name: "tidy", run: tidy::run },
            Step { name: "clippy", run: clippy },
        ],
        &[Step { name: "system packages", run: setup::system_packages }],
    ],
    &[
        &[Step { name: "plugins", run: || plugins::build_all().map(drop) }],
        &[Step { name: "clients of other people", run: setup::clients }],
    ],
    &[
        // In this order neither lane waits for Cargo's lock that the other one holds.
        &[
            Step { name: "plugins, natively", run: native_plugin_tests },
            Step { name: "unit tests", run: unit_tests },
        ],
        &[
            Step { name: "plugins, as components", run: component_tests },
            Step { name: "new codecs in every language", run: scaffolds::test_all },
        ],
    ],
    &[&[
        Step { name: "system tests", run: system_tests },
        Step { name: "generated documentation", run: docs::check },
        Step { name: "cargo deny", run: deny },
        // Last and alone: its devices are given so long to be heard of.
        Step { name: "demo", run: || demo::run(&["--seconds".to_owned(), DEMO_SECONDS.to_owned()]) },
    ]],
];

/// Everything that CI checks.
pub(crate) fn run_all() -> anyhow::Result<()> {
    lanes::run(&STAGES)
}

fn format() -> anyhow::Result<()> {
    run(cargo().args(["fmt", "--all", "--check"]))?;
    for manifest in PLUGIN_WORKSPACES.iter().chain([&GUEST_WORKSPACE, &FUZZ_WORKSPACE]) {
        run(cargo().args(["fmt", "--all", "--check", "--manifest-path", manifest]))?;
    }
    Ok(())
}

fn clippy() -> anyhow::Result<()> {
    // A lock file that does not fit the manifests would be mended silently by every later step.
    output_of(cargo().args(["metadata", "--locked", "--format-version", "1", "--quiet"]))?;
    let comparisons = "wireglot-load/bare-ack,wireglot-load/sqlite-consumer,wireglot-load/decode-rows";
    run(cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--features",
        comparisons,
        "--",
        "-D",
        "warnings",
    ]))
}

fn unit_tests() -> anyhow::Result<()> {
    run(cargo().args(["test", "--workspace", "--exclude", "wireglot-tests"]))?;
    // The fuzz targets' corpora are replayed by ordinary tests.
    run(cargo()
        .args(["test", "--lib", "--manifest-path", FUZZ_WORKSPACE, "--target-dir"])
        .arg(target().join("fuzz-replay")))
}

fn native_plugin_tests() -> anyhow::Result<()> {
    for manifest in PLUGIN_WORKSPACES {
        run(cargo()
            .args(["test", "--workspace", "--manifest-path", manifest, "--target-dir"])
            .arg(target().join("guest-native")))?;
    }
    Ok(())
}

fn component_tests() -> anyhow::Result<()> {
    for plugin in plugins::build_all()? {
        test_component(&plugin)?;
    }
    Ok(())
}

fn test_component(plugin: &Plugin) -> anyhow::Result<()> {
    run(codec_command().arg("check").arg(&plugin.component))?;
    if !plugin.vectors.is_dir() {
        // A responder: it decodes nothing.
        return Ok(());
    }
    run(codec_command().arg("test").arg(&plugin.component).arg("--vectors").arg(&plugin.vectors))
}

fn system_tests() -> anyhow::Result<()> {
    plugins::build_wireglot()?;
    run(cargo().args(["test", "--workspace", "--test", "it"]))
}

fn deny() -> anyhow::Result<()> {
    if !succeeds(cargo().args(["deny", "--version"])) {
        return say(format_args!(
            "Skipped: cargo-deny is not installed (`cargo install --locked cargo-deny`, some minutes)."
        ));
    }
    run(cargo().args(["deny", "--manifest-path"]).arg(root().join("Cargo.toml")).arg("check"))
}
