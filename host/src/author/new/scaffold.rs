//! The files of a new codec: `examples/first-codec…` of its language under a new name, with the SDK and the contract
//! beside it, so that an author needs neither this repository nor a registry entry of ours.

use wireglot_model::CodecName;

use crate::author::project::Language;

const EXAMPLE: &str = "first-codec";
const EXAMPLE_SDK: &str = "../../plugins/sdk";

macro_rules! repository {
    ($path:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../", $path))
    };
}

/// A file: where it goes, and what is in it.
type Copied = (&'static str, &'static str);

const CONTRACT: [Copied; 2] = [
    ("sdk/wit/codec.wit", repository!("wit/codec.wit")),
    ("sdk/wit/types.wit", repository!("wit/types.wit")),
];

const RUST_SDK: [Copied; 11] = [
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
];

const C_SDK: [Copied; 4] = [
    ("sdk/codec.c", repository!("plugins/sdk-c/codec.c")),
    ("sdk/codec.h", repository!("plugins/sdk-c/codec.h")),
    ("sdk/wireglot.c", repository!("plugins/sdk-c/wireglot.c")),
    ("sdk/wireglot.h", repository!("plugins/sdk-c/wireglot.h")),
];

const JS_SDK: [Copied; 1] = [("sdk/wireglot.js", repository!("plugins/sdk-js/wireglot.js"))];
const PYTHON_SDK: [Copied; 1] = [("sdk/wireglot.py", repository!("plugins/sdk-python/wireglot.py"))];

/// The example of a language: its manifest, and its main file.
struct Example {
    sdk: &'static [Copied],
    manifest: Copied,
    main: Copied,
}

fn example(language: Language) -> Example {
    match language {
        Language::Rust => Example {
            sdk: &RUST_SDK,
            manifest: ("Cargo.toml", repository!("examples/first-codec/Cargo.toml")),
            main: ("src/lib.rs", repository!("examples/first-codec/src/lib.rs")),
        },
        Language::C => Example {
            sdk: &C_SDK,
            manifest: ("codec.toml", repository!("examples/first-codec-c/codec.toml")),
            main: ("src/first-codec.c", repository!("examples/first-codec-c/src/first-codec.c")),
        },
        Language::Js => Example {
            sdk: &JS_SDK,
            manifest: ("codec.toml", repository!("examples/first-codec-js/codec.toml")),
            main: ("src/first-codec.js", repository!("examples/first-codec-js/src/first-codec.js")),
        },
        // Not under the codec's name: a module may not be called like one of Python's own.
        Language::Python => Example {
            sdk: &PYTHON_SDK,
            manifest: ("codec.toml", repository!("examples/first-codec-python/codec.toml")),
            main: ("src/app.py", repository!("examples/first-codec-python/src/app.py")),
        },
    }
}

/// Every file of the new folder.
pub(super) fn files(name: &CodecName, language: Language) -> Vec<(String, String)> {
    let renamed = |text: &str| text.replace(EXAMPLE, name.as_str());
    let Example { sdk, manifest, main } = example(language);
    let copied = CONTRACT.iter().chain(sdk);
    let mut files: Vec<(String, String)> =
        copied.map(|(path, content)| ((*path).to_owned(), (*content).to_owned())).collect();
    let vectors = repository!("examples/first-codec/vectors/first-codec.json");
    files.extend([
        (manifest.0.to_owned(), renamed(manifest.1).replace(EXAMPLE_SDK, "sdk")),
        (renamed(main.0), renamed(main.1)),
        (format!("vectors/{name}.json"), renamed(vectors)),
        (".gitignore".to_owned(), "/target\n/*.wasm\n".to_owned()),
        ("README.md".to_owned(), readme(name, language)),
    ]);
    files
}

/// Where the new codec's own source lies.
pub(super) fn main_file(name: &CodecName, language: Language) -> String {
    example(language).main.0.replace(EXAMPLE, name.as_str())
}

fn readme(name: &CodecName, language: Language) -> String {
    let main = main_file(name, language);
    let native = match language {
        Language::Rust => {
            "cargo test                                       # the vectors, natively: seconds\n"
        }
        Language::C | Language::Js | Language::Python => "",
    };
    format!(
        "# {name}\n\n\
         A Wireglot codec in {language}. `{main}` decodes the frames, `vectors/` says what they mean, `sdk/` is what it\n\
         is built on, and `sdk/wit/` is the contract with the server.\n\n\
         ```sh\n\
         {native}\
         wireglot codec test                              # the vectors, through the real component\n\
         wireglot codec build                             # {name}.wasm, with the vectors inside\n\
         wireglot codec check {name}.wasm\n\
         wireglot codec run {name}.wasm --hex 0100d7290c58\n\
         wireglot codec bench {name}.wasm                 # time, memory and fuel of a decode\n\
         ```\n\n\
         Copy `{name}.wasm` into the server's codecs folder: it goes live if its vectors decode as they say.\n\
         Otherwise `{name}.rejected.txt` beside it says why, and the version before it keeps serving.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest as _, Sha256};

    const LANGUAGES: [Language; 4] = [Language::Rust, Language::C, Language::Js, Language::Python];
    /// What the C bindings were generated from, and by what.
    const BOUND_CONTRACT: &str = "364a686c0bc94d8c252cebf59f510c5d32d49b0422ef062f5c772c0ac1d57a07";

    #[test]
    fn the_whole_sdk_is_copied() {
        let sources = ["plugins/sdk/src", "plugins/sdk-c", "plugins/sdk-js", "plugins/sdk-python"];
        for folder in sources.map(|folder| format!("{}/../{folder}", env!("CARGO_MANIFEST_DIR"))) {
            for entry in
                std::fs::read_dir(folder).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_file())
            {
                let name = entry.unwrap().file_name().to_str().unwrap().to_owned();
                let copied = RUST_SDK.iter().chain(&C_SDK).chain(&JS_SDK).chain(&PYTHON_SDK);
                let mut copied = copied.filter(|(path, _)| path.ends_with(&format!("/{name}")));
                assert!(copied.next().is_some(), "{name} is not copied");
            }
        }
    }

    #[test]
    fn nothing_of_the_example_s_name_is_left() {
        for language in LANGUAGES {
            for (path, content) in files(&CodecName::parse("soil").unwrap(), language) {
                assert!(!path.contains(EXAMPLE), "{path}");
                assert!(path.starts_with("sdk/") || !content.contains(EXAMPLE), "{path}");
                assert!(!content.contains(EXAMPLE_SDK), "{path}");
            }
        }
    }

    #[test]
    fn the_bindings_for_c_are_those_of_the_contract() {
        let mut contract = Sha256::new();
        CONTRACT.iter().for_each(|(_, text)| contract.update(text));
        assert_eq!(
            hex::encode(contract.finalize()),
            BOUND_CONTRACT,
            "the contract has changed: `wit-bindgen c wit --out-dir plugins/sdk-c` by wit-bindgen-cli 0.63.0, \
             without its object file, makes bindings that fit"
        );
    }
}
