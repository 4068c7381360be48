//! What `codec new` makes, in every language: it must build, pass its own vectors, and be taken by a server.
//!
//! The components stay in target/scaffolds, where the system tests find them; they are made again only when something
//! changed that they are made of. The toolchains that come from PyPI and npm lie in target/tools/codecs.

use std::process::Command;

use anyhow::Context as _;

use crate::lanes::both;
use crate::plugins::hash_of_files;
use crate::process::{codec_command, output_of, run, say, target};

const LANGUAGES: [&str; 4] = ["rust", "c", "js", "python"];
const SOURCES: [&str; 11] = [
    "wit",
    "plugins/sdk",
    "plugins/sdk-c",
    "plugins/sdk-js",
    "plugins/sdk-python",
    "examples/first-codec/src",
    "examples/first-codec/vectors",
    "examples/first-codec-c",
    "examples/first-codec-js",
    "examples/first-codec-python",
    "host/src/author",
];

/// Makes, builds and tests one codec of each language.
pub(crate) fn test_all() -> anyhow::Result<()> {
    let hash = hash_of_files(&SOURCES)?;
    let folder = target().join("scaffolds");
    let stamp = folder.join("stamp");
    let components = LANGUAGES.map(|language| folder.join(format!("soil-{language}.wasm")));
    if components.iter().all(|file| file.is_file())
        && std::fs::read_to_string(&stamp).is_ok_and(|stamp| stamp == hash)
    {
        return say(format_args!("The codecs in target/scaffolds are unchanged"));
    }
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    // Python takes as long as all others, which wait for downloads as it does.
    both(
        || LANGUAGES.iter().filter(|language| **language != "python").try_for_each(|language| test(language)),
        || test("python"),
    )?;
    std::fs::write(&stamp, hash).with_context(|| stamp.display().to_string())
}

fn test(language: &str) -> anyhow::Result<()> {
    let name = format!("soil-{language}");
    let component = format!("{name}.wasm");
    run(codec().args(["new", &name, "--lang", language]))?;
    let mut build = codec();
    build.args(["build", &name, "--output", "."]);
    if language == "rust" {
        build.arg("--target-dir").arg(target().join("guest-build"));
    }
    run(&mut build)?;
    run(codec().args(["test", &component]))?;
    let said = output_of(codec().args(["run", &component, "--hex", "0100d7290c58"]))?;
    anyhow::ensure!(said.contains("21.5"), "{component} gives {said}");
    Ok(())
}

fn codec() -> Command {
    let mut command = codec_command();
    command.current_dir(target().join("scaffolds"));
    command
}
