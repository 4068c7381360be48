//! Scripts: a codec that is a vendor's JavaScript, run by the script engine, which is the codec named `js`.
//!
//! All scripts share one compiled engine. What is kept of a version is the script with the hash of the engine that
//! proved it, so its own hash stands for both; engines are kept apart, a few of them. A script serves on the engine
//! that proved it until it is proven on the next.
//! Nothing here runs on a worker but `settings`, once per instance.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use parking_lot::Mutex;
use serde_json::{Map, Value};
use tracing::warn;
use wireglot_model::limits::{CODEC_ENGINES_KEPT_MAX, CODEC_SCRIPT_BYTES_MAX};
use wireglot_model::{CodecHash, CodecName};

use crate::error::LoadError;
use crate::files::{make_private_folder, write_whole};
use crate::history::read_version;
use crate::load::{CodecMetadata, LoadedCodec, hash_of};
use crate::swap::CodecTable;
use crate::{CodecEngine, error::bounded};

/// The codec that runs scripts.
pub const SCRIPT_ENGINE: &str = "js";
/// How a kept script begins; the engine's hash and the script follow, a line each.
const KEPT_MARK: &str = "wireglot script 1\n";
/// Where engines are kept, below the kept versions.
const ENGINES: &str = "engines";

/// Engines that scripts run on beside the live one.
pub(crate) type HeldEngines = Mutex<HashMap<CodecHash, Weak<LoadedCodec>>>;

/// A script and the engine that runs it.
pub(crate) struct Script {
    engine: Arc<LoadedCodec>,
    source: Box<str>,
}

/// The file name of the script engine.
pub(crate) fn engine_file() -> String {
    format!("{SCRIPT_ENGINE}.wasm")
}

impl Script {
    pub(crate) fn new(engine: Arc<LoadedCodec>, source: &[u8]) -> Result<Self, LoadError> {
        let (bytes, bytes_max) = (source.len() as u64, CODEC_SCRIPT_BYTES_MAX as u64);
        if bytes > bytes_max {
            return Err(LoadError::TooLarge { bytes, bytes_max });
        }
        match std::str::from_utf8(source) {
            Ok(source) => Ok(Self { engine, source: source.into() }),
            Err(error) => Err(LoadError::Script(format!("it is not UTF-8 text: {error}"))),
        }
    }

    pub(crate) fn engine(&self) -> &Arc<LoadedCodec> {
        &self.engine
    }

    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// What is kept of it, and hashed.
    pub(crate) fn to_kept(&self) -> Vec<u8> {
        kept_form(&self.engine.stamp().hash, self.source.as_bytes())
    }

    /// The engine's, and in the manner of semver's build metadata which script it is.
    pub(crate) fn version(&self) -> String {
        let hash = hash_of(self.source.as_bytes()).to_string();
        format!("{}+{}", self.engine.metadata().version, hash.get(..8).unwrap_or_default())
    }

    pub(crate) fn describe(&self, name: &CodecName) -> CodecMetadata {
        let engine = self.engine.metadata();
        CodecMetadata {
            methods: Vec::new(),
            shared_keys: Vec::new(),
            name: name.to_string(),
            version: self.version(),
            vendor: String::new(),
            summary: bounded(format!("The script {name}.js on {} {}", engine.name, engine.version)),
            keys: Vec::new(),
            encodes: engine.encodes,
        }
    }

    /// The profile's settings with the script in them, as the engine takes it.
    pub(crate) fn settings(&self, name: &CodecName, profile: &str) -> Result<String, String> {
        let mut settings: Map<String, Value> =
            serde_json::from_str(profile).map_err(|error| format!("they are no JSON object: {error}"))?;
        for key in ["script", "file"] {
            if settings.contains_key(key) {
                return Err(format!("`{key}` is not for the profile to set: the script is {name}.js"));
            }
        }
        settings.insert("script".to_owned(), Value::from(&*self.source));
        settings.insert("file".to_owned(), Value::from(format!("{name}.js")));
        Ok(Value::Object(settings).to_string())
    }
}

/// A script as it is kept.
pub(crate) fn kept_form(engine: &CodecHash, source: &[u8]) -> Vec<u8> {
    let mut kept = format!("{KEPT_MARK}{engine}\n").into_bytes();
    kept.extend_from_slice(source);
    kept
}

/// The engine's hash and the script, if that is what the bytes of a kept version are. A component begins otherwise.
pub(crate) fn split_kept(bytes: &[u8]) -> Option<(CodecHash, &[u8])> {
    let rest = bytes.strip_prefix(KEPT_MARK.as_bytes())?;
    let (line, source) = rest.split_at_checked(rest.iter().position(|byte| *byte == b'\n')?)?;
    let mut hash = [0; 32];
    hex::decode_to_slice(line, &mut hash).ok()?;
    Some((CodecHash(hash), source.get(1..)?))
}

impl CodecEngine {
    /// Does to a script all that the server does before it runs the vectors. `engine` is the loaded `js.wasm`.
    pub fn load_js(
        &self,
        name: &CodecName,
        engine: &Arc<LoadedCodec>,
        source: &[u8],
    ) -> Result<LoadedCodec, LoadError> {
        self.load_script(name, Script::new(Arc::clone(engine), source)?)
    }
}

impl CodecTable {
    /// From the bytes of a version to a codec: a component, or a script with the engine that it was kept with.
    pub(crate) fn load(&self, name: &CodecName, bytes: &[u8]) -> Result<LoadedCodec, LoadError> {
        match split_kept(bytes) {
            None => self.engine().load_cached(name, bytes, Some(&self.0.cache)),
            Some((engine, source)) => {
                let engine = self.script_engine(&engine)?;
                let codec = self.engine().load_script(name, Script::new(Arc::clone(&engine), source)?)?;
                self.keep_engine(&engine);
                Ok(codec)
            }
        }
    }

    /// The engine that is live.
    pub(crate) fn live_script_engine(&self) -> Option<Arc<LoadedCodec>> {
        self.live(&engine_name()).filter(|engine| !engine.is_script())
    }

    /// Whether a script is live.
    pub(crate) fn has_scripts(&self) -> bool {
        self.live_names().iter().any(|name| self.live(name).is_some_and(|codec| codec.is_script()))
    }

    /// The live engine if it is the one, else one that is kept.
    fn script_engine(&self, hash: &CodecHash) -> Result<Arc<LoadedCodec>, LoadError> {
        if let Some(live) = self.live_script_engine().filter(|live| live.stamp().hash == *hash) {
            return Ok(live);
        }
        let held = |engines: &HashMap<_, Weak<LoadedCodec>>| engines.get(hash).and_then(Weak::upgrade);
        if let Some(engine) = held(&self.0.held_engines.lock()) {
            return Ok(engine);
        }
        let gone =
            |error: io::Error| LoadError::Unreadable(format!("the engine it ran on is not kept: {error}"));
        let versions = &self.0.config.versions_dir;
        let bytes = read_version(&versions.join(ENGINES), hash)
            .or_else(|_| read_version(versions, hash))
            .map_err(gone)?;
        let engine = Arc::new(self.engine().load_cached(&engine_name(), &bytes, Some(&self.0.cache))?);
        let mut engines = self.0.held_engines.lock();
        engines.retain(|_, engine| engine.strong_count() > 0);
        engines.insert(*hash, Arc::downgrade(&engine));
        Ok(engine)
    }

    /// Keeps the component of an engine that runs a script. A failure is told and costs only a restart without js.wasm.
    fn keep_engine(&self, engine: &LoadedCodec) {
        let versions = &self.0.config.versions_dir;
        let (folder, hash) = (versions.join(ENGINES), engine.stamp().hash);
        let file = folder.join(format!("{hash}.wasm"));
        if file.is_file() {
            return;
        }
        let kept = make_private_folder(&folder)
            .and_then(|()| read_version(versions, &hash))
            .and_then(|bytes| write_whole(&file, &bytes));
        if let Err(error) = kept {
            warn!(path = %file.display(), %error, "The script engine cannot be kept; scripts would not survive a restart without js.wasm.");
        }
        drop_oldest(&folder);
    }
}

fn engine_name() -> CodecName {
    CodecName::parse(SCRIPT_ENGINE).expect("a short lower-case word is a codec's name")
}

fn drop_oldest(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut files: Vec<(SystemTime, PathBuf)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.metadata().ok()?.modified().ok()?, entry.path()))
        })
        .collect();
    files.sort();
    let surplus = files.len().saturating_sub(CODEC_ENGINES_KEPT_MAX);
    for (_, path) in files.iter().take(surplus) {
        if let Err(error) = fs::remove_file(path) {
            warn!(path = %path.display(), %error, "An old script engine cannot be removed.");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_a_script_can_be_told_from_a_component() {
        let engine = CodecHash([7; 32]);
        let kept = kept_form(&engine, b"function Decoder() {}\n");
        assert_eq!(split_kept(&kept), Some((engine, &b"function Decoder() {}\n"[..])));
        assert_eq!(split_kept(b"\0asm\x0d\0\x01\0"), None);
        assert_eq!(split_kept(b"wireglot script 1\n0707\nx"), None);
        assert_eq!(split_kept(KEPT_MARK.as_bytes()), None);
    }
}
