//! Vector files as the author's tools meet them: a folder beside the crate's source, a file beside the component.
//!
//! Not here: what a vector means and how a result is compared with it; that is the codec crate's.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use serde_json::{Map, Value};
use wireglot_codec::{LoadedCodec, VectorFile};

/// Where a crate keeps its vectors.
pub(super) const FOLDER: &str = "vectors";

/// All vectors of a crate as one document, or `None` where it has none.
///
/// Each file may have settings of its own; they are handed down to its vectors, so that one document can hold
/// them all.
pub(super) fn collect(dir: &Path) -> anyhow::Result<Option<Value>> {
    let folder = dir.join(FOLDER);
    if !folder.is_dir() {
        return Ok(None);
    }
    let mut documents = Vec::new();
    for file in json_files(&folder)? {
        let document = serde_json::from_slice(&read(&file)?)
            .with_context(|| format!("{} is no JSON object", file.display()))?;
        documents.push((file.display().to_string(), document));
    }
    merge(documents)
}

fn merge(documents: Vec<(String, Map<String, Value>)>) -> anyhow::Result<Option<Value>> {
    let mut merged: Option<Map<String, Value>> = None;
    let mut vectors = Vec::new();
    for (file, mut document) in documents {
        let settings = document.remove("settings");
        let Some(Value::Array(own)) = document.remove("vectors") else {
            bail!("{file} has no array `vectors`");
        };
        for vector in own {
            let Value::Object(mut vector) = vector else {
                bail!("{file} has a vector that is no object");
            };
            if let Some(settings) = &settings {
                vector.entry("settings").or_insert_with(|| settings.clone());
            }
            vectors.push(Value::Object(vector));
        }
        merged.get_or_insert(document);
    }
    let Some(mut merged) = merged else { return Ok(None) };
    merged.insert("vectors".to_owned(), Value::Array(vectors));
    Ok(Some(Value::Object(merged)))
}

/// The vectors in a file, or in all files of a folder.
pub(super) fn named(path: &Path) -> anyhow::Result<Vec<VectorFile>> {
    let files = if path.is_dir() { json_files(path)? } else { vec![path.to_owned()] };
    files.iter().map(|file| parse(file)).collect()
}

/// The vectors beside a component or a script, where there are any.
pub(super) fn beside(component: &Path) -> anyhow::Result<Option<VectorFile>> {
    wireglot_codec::folder::vectors_of(component).map(|file| parse(&file)).transpose()
}

/// The vectors of a component: those that are named, else those inside it and beside it. At least one.
pub(super) fn of_component(
    codec: &LoadedCodec,
    component: &Path,
    wanted: Option<&Path>,
) -> anyhow::Result<Vec<VectorFile>> {
    let files = match wanted {
        Some(path) => named(path)?,
        None => codec.embedded_vectors().iter().cloned().chain(beside(component)?).collect(),
    };
    if files.iter().all(VectorFile::is_empty) {
        bail!(
            "there are no vectors for {}: neither inside it nor in {}; --vectors names others",
            component.display(),
            file_beside(component).display()
        );
    }
    Ok(files)
}

/// `NAME.vectors.json` for `NAME.wasm`.
pub(super) fn file_beside(component: &Path) -> PathBuf {
    component.with_extension("vectors.json")
}

fn parse(file: &Path) -> anyhow::Result<VectorFile> {
    VectorFile::read(file, &read(file)?).map_err(|error| anyhow!("{error}\n{}", error.advice()))
}

fn json_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("{} cannot be listed", folder.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("{} cannot be listed", folder.display()))?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(documents: &[&str], expected: Option<&str>) {
        let documents = documents.iter().map(|text| ("f".to_owned(), serde_json::from_str(text).unwrap()));
        let merged = merge(documents.collect()).unwrap();
        assert_eq!(merged, expected.map(|text| serde_json::from_str(text).unwrap()));
    }

    #[test]
    fn files_become_one_and_keep_their_settings() {
        check(&[], None);
        check(
            &[r#"{"codec":"c","vectors":[{"hex":"00"}]}"#],
            Some(r#"{"codec":"c","vectors":[{"hex":"00"}]}"#),
        );
        check(
            &[
                r#"{"codec":"c","settings":{"a":1},"vectors":[{"hex":"00"},{"hex":"01","settings":{}}]}"#,
                r#"{"codec":"c","vectors":[{"hex":"02"}]}"#,
            ],
            Some(
                r#"{"codec":"c","vectors":[
                    {"hex":"00","settings":{"a":1}},{"hex":"01","settings":{}},{"hex":"02"}]}"#,
            ),
        );
    }

    #[test]
    fn a_file_without_vectors_is_refused() {
        let documents = vec![("f".to_owned(), serde_json::from_str("{}").unwrap())];
        assert!(merge(documents).unwrap_err().to_string().contains("no array"));
    }
}
