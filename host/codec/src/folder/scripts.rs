//! What a file of the folder has beside it, and what follows: vectors, the script engine, a file of the same name.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use wireglot_model::limits::{CODEC_SCRIPT_BYTES_MAX, CODEC_VECTORS_BYTES_MAX};
use wireglot_model::{CodecHash, CodecName};

use super::file::{FileId, Reading, read_stable};
use super::{CANDIDATE_SUFFIX, FileKind, Role, file_name};
use crate::CodecLimits;
use crate::error::LoadError;
use crate::script::{SCRIPT_ENGINE, engine_file, kept_form};
use crate::swap::CodecTable;

/// Where vectors may lie: in our own format, as the examples of the LoRa Alliance's API, as those of The Things Network's
/// device repository. The first that is there counts.
const VECTORS: [&str; 5] = [".vectors.json", ".examples.json", ".yaml", ".yml", "-codec.yaml"];

/// A file of vectors beside a codec's file.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Beside {
    pub(super) path: PathBuf,
    /// What is there and cannot be read must not pass for nothing: nothing proves anything.
    pub(super) id: Result<FileId, String>,
}

impl Beside {
    pub(super) fn find(file: &Path) -> Option<Self> {
        // A component brings vectors in our own format only; vendors write examples for scripts.
        let count = if is_script(file.as_os_str()) { VECTORS.len() } else { 1 };
        vectors_beside(file)
            .into_iter()
            .take(count)
            .find(|path| path.symlink_metadata().is_ok())
            .map(|path| Self { id: FileId::of(&path).map_err(|error| error.to_string()), path })
    }

    /// Its content; `None` where it is being changed.
    pub(super) fn read(&self) -> Result<Option<Vec<u8>>, LoadError> {
        let broken = |problem: String| {
            let name = self.path.file_name().unwrap_or_default().to_string_lossy();
            LoadError::Vectors(format!("{name}: {problem}"))
        };
        let id = self.id.as_ref().map_err(|problem| broken(problem.clone()))?;
        if id.bytes > CODEC_VECTORS_BYTES_MAX as u64 {
            let bytes = id.bytes;
            return Err(broken(format!(
                "it has {bytes} bytes; at most {CODEC_VECTORS_BYTES_MAX} are allowed"
            )));
        }
        match read_stable(&self.path, id, CODEC_VECTORS_BYTES_MAX as u64) {
            Ok(Reading::Whole(bytes)) => Ok(Some(bytes)),
            Ok(Reading::Changed) => Ok(None),
            Err(error) => Err(broken(error.to_string())),
        }
    }
}

/// Where the vectors of a codec's file may lie; the first one that is there counts.
pub(super) fn vectors_beside(file: &Path) -> [PathBuf; VECTORS.len()] {
    VECTORS.map(|ending| {
        let mut name = file.file_stem().unwrap_or_default().to_owned();
        name.push(ending);
        file.with_file_name(name)
    })
}

/// What else decides on what a file becomes. When it changes, the file is judged anew.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Company {
    /// A component alone.
    None,
    /// A component and a script of one name.
    Twins { component: String, script: String },
    /// A script, and the engine that is live.
    Engine(Option<CodecHash>),
}

impl Company {
    pub(super) fn of(file: &Path, table: &CodecTable) -> Self {
        let (component, script) = (file.with_extension("wasm"), file.with_extension("js"));
        if component.is_file() && script.is_file() {
            let shown = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Self::Twins { component: shown(&component), script: shown(&script) };
        }
        if is_script(file.as_os_str()) {
            return Self::Engine(table.live_script_engine().map(|engine| engine.stamp().hash));
        }
        Self::None
    }

    /// Whether the file may become a codec in this company.
    pub(super) fn check(&self, file: &OsStr) -> Result<(), LoadError> {
        let stem = Path::new(file).file_stem().and_then(OsStr::to_str).unwrap_or_default();
        if is_script(file) && stem.strip_suffix(CANDIDATE_SUFFIX).unwrap_or(stem) == SCRIPT_ENGINE {
            return Err(LoadError::Name(format!("{SCRIPT_ENGINE} is the script engine, {}", engine_file())));
        }
        match self {
            Self::None | Self::Engine(Some(_)) => Ok(()),
            Self::Engine(None) => Err(LoadError::NoScriptEngine),
            Self::Twins { component, script } => {
                Err(LoadError::Twins { component: component.clone(), script: script.clone() })
            }
        }
    }

    /// What is kept and hashed of a file's content: of a script, the engine is part of it.
    pub(super) fn version_of(&self, file: &OsStr, content: Vec<u8>) -> Result<Vec<u8>, LoadError> {
        match self {
            Self::Engine(Some(engine)) => Ok(kept_form(engine, &content)),
            Self::Engine(None) | Self::Twins { .. } => self.check(file).map(|()| content),
            Self::None => Ok(content),
        }
    }
}

pub(super) fn is_script(file: &OsStr) -> bool {
    file.as_encoded_bytes().ends_with(b".js")
}

/// How large the file may be.
pub(super) fn bytes_max(file: &OsStr, limits: &CodecLimits) -> usize {
    if is_script(file) { CODEC_SCRIPT_BYTES_MAX } else { limits.module_bytes_max }
}

/// An upload must not become the second file of its name.
pub(super) fn check_upload(folder: &Path, file: &OsStr) -> Result<(), LoadError> {
    let (component, script) = (Path::new(file).with_extension("wasm"), Path::new(file).with_extension("js"));
    let other = if is_script(file) { &component } else { &script };
    if folder.join(other).is_file() {
        let shown = |path: &Path| path.to_string_lossy().into_owned();
        return Err(LoadError::Twins { component: shown(&component), script: shown(&script) });
    }
    Ok(())
}

/// Whether the codec has a file, of either kind.
pub(super) fn has_file(names: &BTreeSet<OsString>, name: &CodecName) -> bool {
    FileKind::ALL.iter().any(|kind| names.contains(&file_name(name, Role::Live, *kind)))
}
