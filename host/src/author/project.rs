//! A codec's folder: which language it is in, its name, and where its component goes.
//!
//! A Rust codec is a crate and says all that in `Cargo.toml`; the other languages have a `codec.toml`.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use wireglot_model::CodecName;

const MANIFEST: &str = "codec.toml";
const CRATE_MANIFEST: &str = "Cargo.toml";
/// Where the SDK of a codec that is no crate lies, with the contract in `wit/`.
pub(super) const SDK: &str = "sdk";

/// What a codec is written in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Language {
    /// Rust: small and fast, with the richest SDK.
    Rust,
    /// C: the smallest.
    C,
    /// JavaScript, in QuickJS.
    Js,
    /// Python, in CPython.
    Python,
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rust => "Rust",
            Self::C => "C",
            Self::Js => "JavaScript",
            Self::Python => "Python",
        })
    }
}

/// A folder that is to become a codec.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Project {
    pub(super) dir: PathBuf,
    pub(super) name: CodecName,
    pub(super) language: Language,
    /// The source file that the toolchain is given. Cargo finds its own.
    pub(super) main: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    name: String,
    lang: Language,
    main: PathBuf,
}

#[derive(Deserialize)]
struct CrateManifest {
    package: Package,
}

#[derive(Deserialize)]
struct Package {
    name: String,
}

impl Project {
    pub(super) fn open(dir: &Path) -> anyhow::Result<Self> {
        let dir = dir.canonicalize().with_context(|| format!("{} cannot be resolved", dir.display()))?;
        let (manifest, crate_manifest) = (dir.join(MANIFEST), dir.join(CRATE_MANIFEST));
        let (file, said) = match (manifest.is_file(), crate_manifest.is_file()) {
            (true, _) => (manifest.clone(), read::<Manifest>(&manifest)?),
            (false, true) => {
                let name = read::<CrateManifest>(&crate_manifest)?.package.name;
                (crate_manifest, Manifest { name, lang: Language::Rust, main: PathBuf::new() })
            }
            (false, false) => bail!(
                "{} is no codec's folder: it has neither {CRATE_MANIFEST} nor {MANIFEST}; `wireglot codec new` makes one",
                dir.display()
            ),
        };
        let name = CodecName::parse(&said.name)
            .with_context(|| format!("the name `{}` in {} cannot name a codec", said.name, file.display()))?;
        if said.lang != Language::Rust && !dir.join(&said.main).is_file() {
            bail!("{} says main = {:?}, and there is no such file", file.display(), said.main);
        }
        Ok(Self { dir, name, language: said.lang, main: said.main })
    }

    /// Where the component goes: `wanted` is a file, a folder, or nothing for the codec's own folder.
    pub(super) fn output_file(&self, wanted: Option<&Path>) -> anyhow::Result<PathBuf> {
        let file = match wanted {
            None => self.dir.join(format!("{}.wasm", self.name)),
            Some(path) if path.is_dir() => path.join(format!("{}.wasm", self.name)),
            Some(path) => path.to_owned(),
        };
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            bail!("the folder {} does not exist", folder.display());
        }
        Ok(file)
    }

    /// The folder of the SDK, which must hold the contract.
    pub(super) fn sdk(&self) -> anyhow::Result<PathBuf> {
        let sdk = self.dir.join(SDK);
        if !sdk.join("wit").is_dir() {
            bail!(
                "{} is missing: copy the folder `{SDK}` of a fresh `wireglot codec new --lang {:?}`",
                sdk.join("wit").display(),
                self.language
            );
        }
        Ok(sdk)
    }
}

fn read<T: serde::de::DeserializeOwned>(file: &Path) -> anyhow::Result<T> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    toml::from_str(&text)
        .with_context(|| format!("{} does not say what a codec's folder needs", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project() -> Project {
        let name = CodecName::parse("soil").unwrap();
        Project { dir: "/code/soil".into(), name, language: Language::C, main: "src/soil.c".into() }
    }

    #[test]
    fn the_component_goes_where_the_author_says() {
        let folder = std::env::temp_dir();
        let check = |wanted: Option<&Path>, expected: PathBuf| {
            assert_eq!(project().output_file(wanted).unwrap(), expected, "{wanted:?}");
        };
        check(Some(&folder), folder.join("soil.wasm"));
        check(Some(&folder.join("other.wasm")), folder.join("other.wasm"));
        check(Some(Path::new("other.wasm")), "other.wasm".into());
        assert!(project().output_file(Some(Path::new("/no/such/folder/x.wasm"))).is_err());
    }

    #[track_caller]
    fn check(manifest: &str, text: &str, error: Option<&str>) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(manifest), text).unwrap();
        std::fs::write(folder.path().join("soil.c"), "").unwrap();
        match (Project::open(folder.path()), error) {
            (Ok(project), None) => assert_eq!(project.name.as_str(), "soil"),
            (Err(found), Some(part)) => assert!(format!("{found:#}").contains(part), "{found:#}"),
            (result, _) => panic!("{text}: {result:?}"),
        }
    }

    #[test]
    fn a_folder_says_what_it_is() {
        check("Cargo.toml", "[package]\nname = \"soil\"", None);
        check("codec.toml", "name = \"soil\"\nlang = \"c\"\nmain = \"soil.c\"", None);
        check("codec.toml", "name = \"soil\"\nlang = \"cobol\"\nmain = \"soil.c\"", Some("cobol"));
        check("codec.toml", "name = \"soil\"\nlang = \"c\"\nmain = \"none.c\"", Some("no such file"));
        check("codec.toml", "name = \"so il\"\nlang = \"c\"\nmain = \"soil.c\"", Some("cannot name a codec"));
        check("codec.toml", "name = \"soil\"\nlang = \"c\"\nmain = \"soil.c\"\nmian = \"\"", Some("mian"));
        check("Cargo.toml", "[workspace]", Some("package"));
        check("README.md", "", Some("wireglot codec new"));
    }
}
