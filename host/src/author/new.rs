//! `wireglot codec new`: a codec crate that stands alone, builds, and passes its own vectors from the start.
//!
//! It is `examples/first-codec` under a new name, with the SDK and the contract beside it, so that an author needs
//! neither this repository nor a registry entry of ours.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use wireglot_model::CodecName;

/// Makes the folder of a new codec.
#[derive(clap::Args, Debug)]
pub(crate) struct NewArgs {
    /// The codec's name: letters a-z, digits and `-`, starting with a letter.
    pub(crate) name: String,
    /// Where the folder goes; its name is the codec's.
    #[arg(long, default_value = ".")]
    pub(crate) dir: PathBuf,
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

const EXAMPLE: &str = "first-codec";
const EXAMPLE_SDK: &str = "../../plugins/sdk";

macro_rules! repository {
    ($path:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../", $path))
    };
}

/// Files that are copied as they are: where they go, and what is in them.
const COPIED: [(&str, &str); 13] = [
    ("sdk/Cargo.toml", repository!("plugins/sdk/Cargo.toml")),
    ("sdk/src/bindings.rs", repository!("plugins/sdk/src/bindings.rs")),
    ("sdk/src/codec.rs", repository!("plugins/sdk/src/codec.rs")),
    ("sdk/src/heap.rs", repository!("plugins/sdk/src/heap.rs")),
    ("sdk/src/lib.rs", repository!("plugins/sdk/src/lib.rs")),
    ("sdk/src/metadata.rs", repository!("plugins/sdk/src/metadata.rs")),
    ("sdk/src/reader.rs", repository!("plugins/sdk/src/reader.rs")),
    ("sdk/src/refusal.rs", repository!("plugins/sdk/src/refusal.rs")),
    ("sdk/src/report.rs", repository!("plugins/sdk/src/report.rs")),
    ("sdk/src/settings.rs", repository!("plugins/sdk/src/settings.rs")),
    ("sdk/src/vectors.rs", repository!("plugins/sdk/src/vectors.rs")),
    ("sdk/wit/codec.wit", repository!("wit/codec.wit")),
    ("sdk/wit/types.wit", repository!("wit/types.wit")),
];

const GITIGNORE: &str = "/target\n/*.wasm\n";

pub(super) fn run(args: &NewArgs) -> anyhow::Result<()> {
    let name = package_name(&args.name)?;
    let dir =
        if args.dir.as_os_str() == "." { PathBuf::from(name.as_str()) } else { args.dir.join(name.as_str()) };
    if dir.exists() {
        bail!("{} exists already; choose another name, or another place with --dir", dir.display());
    }
    for (path, content) in files(&name) {
        write(&dir.join(path), &content)?;
    }
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "Made {dir}:\n\
         \x20 src/lib.rs           what the codec does\n\
         \x20 vectors/{name}.json  frames and what they mean\n\
         Now:\n\
         \x20 wireglot codec test {dir}\n\
         \x20 wireglot codec build {dir} -o CODECS   into the codecs folder of a server, and it is live",
        dir = dir.display(),
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

/// Every file of the new crate.
fn files(name: &CodecName) -> Vec<(String, String)> {
    let renamed = |text: &str| text.replace(EXAMPLE, name.as_str());
    let mut files: Vec<(String, String)> =
        COPIED.iter().map(|(path, content)| ((*path).to_owned(), (*content).to_owned())).collect();
    files.extend([
        (
            "Cargo.toml".to_owned(),
            renamed(repository!("examples/first-codec/Cargo.toml")).replace(EXAMPLE_SDK, "sdk"),
        ),
        ("src/lib.rs".to_owned(), renamed(repository!("examples/first-codec/src/lib.rs"))),
        (
            format!("vectors/{name}.json"),
            renamed(repository!("examples/first-codec/vectors/first-codec.json")),
        ),
        (".gitignore".to_owned(), GITIGNORE.to_owned()),
        ("README.md".to_owned(), readme(name)),
    ]);
    files
}

fn readme(name: &CodecName) -> String {
    format!(
        "# {name}\n\n\
         A Wireglot codec. `src/lib.rs` decodes the frames, `vectors/` says what they mean, `sdk/` is what it is\n\
         built on, and `sdk/wit/` is the contract with the server.\n\n\
         ```sh\n\
         cargo test                                       # the vectors, natively: seconds\n\
         wireglot codec test                              # the vectors, through the real component\n\
         wireglot codec build                             # {name}.wasm, with the vectors inside\n\
         wireglot codec check {name}.wasm\n\
         wireglot codec run {name}.wasm --hex 0100d7290c58\n\
         ```\n\n\
         Copy `{name}.wasm` into the server's codecs folder: it goes live if its vectors decode as they say.\n\
         Otherwise `{name}.rejected.txt` beside it says why, and the version before it keeps serving.\n"
    )
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
    fn the_whole_sdk_is_copied() {
        let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/sdk/src");
        for entry in std::fs::read_dir(sources).unwrap() {
            let name = format!("sdk/src/{}", entry.unwrap().file_name().to_str().unwrap());
            assert!(COPIED.iter().any(|(path, _)| *path == name), "{name} is not copied");
        }
    }

    #[test]
    fn nothing_of_the_example_s_name_is_left() {
        for (path, content) in files(&CodecName::parse("soil").unwrap()) {
            assert!(!path.contains(EXAMPLE), "{path}");
            assert!(path.starts_with("sdk/") || !content.contains(EXAMPLE), "{path}");
            assert!(!content.contains(EXAMPLE_SDK), "{path}");
        }
    }

    #[test]
    fn an_existing_folder_is_left_alone() {
        let parent = std::env::temp_dir().join(format!("wireglot-new-{}", std::process::id()));
        let args = NewArgs { name: "soil".into(), dir: parent.clone() };
        run(&args).unwrap();
        std::fs::write(parent.join("soil/src/lib.rs"), "mine").unwrap();
        assert!(run(&args).unwrap_err().to_string().contains("exists already"));
        assert_eq!(std::fs::read_to_string(parent.join("soil/src/lib.rs")).unwrap(), "mine");
        std::fs::remove_dir_all(parent).unwrap();
    }
}
