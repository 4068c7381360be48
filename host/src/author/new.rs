//! `wireglot codec new`: a codec's folder that stands alone, builds, and passes its own vectors from the start.
//!
//! Not here: what is in the folder (`new/scaffold.rs`).

mod scaffold;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use wireglot_model::CodecName;

use super::project::Language;

/// Makes the folder of a new codec.
#[derive(clap::Args, Debug)]
pub(crate) struct NewArgs {
    /// The codec's name: letters a-z, digits and `-`, starting with a letter.
    pub(crate) name: String,
    /// Where the folder goes; its name is the codec's.
    #[arg(long, default_value = ".")]
    pub(crate) dir: PathBuf,
    /// What it is written in.
    #[arg(long, value_enum, default_value = "rust")]
    pub(crate) lang: Language,
}

/// Names that cargo refuses for a package, or that would hide a crate the codec needs.
const NAMES_TAKEN: [&str; 50] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "pub",
    "ref",
    "return",
    "static",
    "std",
    "struct",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "use",
    "where",
    "wireglot-sdk",
    "wit-bindgen",
];

pub(super) fn run(args: &NewArgs) -> anyhow::Result<()> {
    let name = package_name(&args.name)?;
    let dir =
        if args.dir.as_os_str() == "." { PathBuf::from(name.as_str()) } else { args.dir.join(name.as_str()) };
    if dir.exists() {
        bail!("{} exists already; choose another name, or another place with --dir", dir.display());
    }
    for (path, content) in scaffold::files(&name, args.lang) {
        write(&dir.join(path), &content)?;
    }
    let (main, vectors) = (scaffold::main_file(&name, args.lang), format!("vectors/{name}.json"));
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "Made {dir}:\n\
         \x20 {main:<width$}  what the codec does\n\
         \x20 {vectors:<width$}  frames and what they mean\n\
         Now:\n\
         \x20 wireglot codec test {dir}\n\
         \x20 wireglot codec build {dir} -o CODECS   into the codecs folder of a server, and it is live",
        dir = dir.display(),
        width = main.len().max(vectors.len()),
    )?;
    Ok(())
}

fn package_name(text: &str) -> anyhow::Result<CodecName> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let starts_with_letter = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    if !starts_with_letter || !text.bytes().all(allowed) || text.ends_with('-') {
        bail!(
            "`{text}` cannot name a codec crate: use letters a-z, digits and `-`, start with a letter, and end with a letter or a digit"
        );
    }
    if NAMES_TAKEN.contains(&text) {
        bail!("`{text}` cannot name a codec crate: Rust or the SDK uses it");
    }
    CodecName::parse(text).with_context(|| format!("`{text}` cannot name a codec"))
}

fn write(file: &Path, content: &str) -> anyhow::Result<()> {
    let folder = file.parent().expect("every file of a codec lies in its folder");
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(file, content))
        .with_context(|| format!("{} cannot be written", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, good: bool) {
        assert_eq!(package_name(name).is_ok(), good, "{name}");
    }

    #[test]
    fn names_that_cargo_or_a_server_refuses_are_refused_here() {
        for name in ["soil", "soil-probe", "em300", "a"] {
            check(name, true);
        }
        let long = "a".repeat(1_000);
        for name in ["", "Soil", "3com", "-a", "a-", "a_b", "a.b", "a/b", "..", "für", "test", "fn", &long] {
            check(name, false);
        }
    }

    #[test]
    fn an_existing_folder_is_left_alone() {
        let parent = std::env::temp_dir().join(format!("wireglot-new-{}", std::process::id()));
        let args = NewArgs { name: "soil".into(), dir: parent.clone(), lang: Language::Rust };
        run(&args).unwrap();
        std::fs::write(parent.join("soil/src/lib.rs"), "mine").unwrap();
        assert!(run(&args).unwrap_err().to_string().contains("exists already"));
        assert_eq!(std::fs::read_to_string(parent.join("soil/src/lib.rs")).unwrap(), "mine");
        std::fs::remove_dir_all(parent).unwrap();
    }
}
