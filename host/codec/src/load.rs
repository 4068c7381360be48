//! From bytes to a codec that may go live: checked, compiled, linked, described, and proven by its vectors.
//!
//! It guards the table: `ProvenCodec` is the only thing that can be published, and this file the only maker of one.
//! Nothing here runs on a worker. Not here: what a vector is (`vectors.rs`), where the bytes come from (`folder.rs`).

use std::sync::Arc;

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tracing::warn;
use wasmparser::{Encoding, Parser, Payload};
use wasmtime::component::{Component, Linker, types::ComponentItem};
use wireglot_model::limits::{
    CODEC_COMPILED_IN_PLACE_BYTES_MAX, CODEC_KEYS_DESCRIBED_MAX, RESPONDER_NAMES_MAX,
};
use wireglot_model::{CodecHash, CodecName, CodecStamp, ProfileLimits};

use crate::bindings::responder::wireglot::codec::calls;
use crate::bindings::wireglot::codec::types as wit;
use crate::breaker::Breakers;
use crate::cache::CompiledCache;
use crate::engine::{CodecEngine, CodecLimits, EngineParts};
use crate::error::{LoadError, bounded, too_many_keys};
use crate::guest::{Guest, StartFailure};
use crate::script::{SCRIPT_ENGINE, Script};
use crate::vectors::{VectorFile, VectorOutcome, run_vectors};
use crate::world::{Said, WorldPre};
use crate::{DecodeFailure, Session, wasi};

/// The custom section that a component may carry its vectors in.
pub const VECTORS_SECTION: &str = "wireglot:vectors";
/// What every codec is.
pub const WORLD: &str = "wireglot:codec/codec@1.0.0";
/// What every responder is.
pub const RESPONDER_WORLD: &str = "wireglot:codec/responder@1.0.0";
/// Longest version text; it becomes a label of metrics.
const VERSION_BYTES_MAX: usize = 64;

/// What a codec says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CodecMetadata {
    /// The codec's own name; operators know it by its file.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Who makes it.
    pub vendor: String,
    /// One line: which devices and formats.
    pub summary: String,
    /// The keys that it can produce.
    pub keys: Vec<KeyDescription>,
    /// Whether `encode` is of use.
    pub encodes: bool,
    /// Of a responder: the methods that it answers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Of a responder: the shared attributes that it is shown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shared_keys: Vec<String>,
}

/// A key that a codec can produce.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyDescription {
    /// The key, or a pattern with `*`.
    pub key: String,
    /// What it holds.
    #[serde(rename = "type")]
    pub value_type: KeyType,
    /// Its unit.
    pub unit: Option<String>,
    /// A label for people.
    pub label: Option<String>,
}

/// What a key holds, in the words of the device API.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum KeyType {
    /// true or false.
    Boolean,
    /// 64-bit integer.
    Long,
    /// 64-bit float.
    Double,
    /// Text.
    String,
    /// A JSON document.
    Json,
}

/// A codec version that compiled, linked and described itself.
pub struct LoadedCodec {
    pub(crate) parts: Arc<EngineParts>,
    pub(crate) pre: WorldPre,
    pub(crate) breakers: Breakers,
    stamp: CodecStamp,
    metadata: CodecMetadata,
    bytes: usize,
    imports: Vec<String>,
    embedded_vectors: Vec<VectorFile>,
    /// What the engine behind `pre` is to run; none where the component is the codec itself.
    script: Option<Script>,
}

/// A codec version that gave, for every one of its vectors, the values that the vector says.
pub struct ProvenCodec(pub(crate) LoadedCodec);

impl CodecEngine {
    /// Does to `bytes` all that the server does before it runs the vectors.
    pub fn load(&self, name: &CodecName, bytes: &[u8]) -> Result<LoadedCodec, LoadError> {
        self.load_cached(name, bytes, None)
    }

    /// The same, with what was compiled before taken from `cache`, and what is compiled now kept there.
    pub fn load_cached(
        &self,
        name: &CodecName,
        bytes: &[u8],
        cache: Option<&CompiledCache>,
    ) -> Result<LoadedCodec, LoadError> {
        let bytes_max = self.limits().module_bytes_max;
        if bytes.len() > bytes_max {
            return Err(LoadError::TooLarge { bytes: bytes.len() as u64, bytes_max: bytes_max as u64 });
        }
        let Sections { vectors: embedded_vectors, needs_wasi } = read_sections(bytes)?;
        let hash = hash_of(bytes);
        let parts = if needs_wasi {
            self.0.wasi().map_err(|error| LoadError::Compile(error.to_string()))?
        } else {
            Arc::clone(&self.0)
        };
        let component = parts.component(bytes, &hash, cache)?;
        let (pre, imports) = parts.link(&component)?;
        let metadata = describe(&parts, &pre)?;
        let version: Arc<str> = metadata.version.as_str().into();
        Ok(LoadedCodec {
            parts,
            pre,
            imports,
            breakers: Breakers::default(),
            stamp: CodecStamp { name: name.clone(), version, hash },
            metadata,
            bytes: bytes.len(),
            embedded_vectors,
            script: None,
        })
    }

    /// A codec that is a script. It shares the compiled engine with all others.
    pub(crate) fn load_script(&self, name: &CodecName, script: Script) -> Result<LoadedCodec, LoadError> {
        let engine = script.engine();
        let codec = LoadedCodec {
            parts: Arc::clone(&engine.parts),
            pre: engine.pre.clone(),
            breakers: Breakers::default(),
            stamp: CodecStamp {
                name: name.clone(),
                version: script.version().into(),
                hash: hash_of(&script.to_kept()),
            },
            metadata: script.describe(name),
            bytes: script.source().len(),
            imports: engine.imports.clone(),
            embedded_vectors: Vec::new(),
            script: Some(script),
        };
        // Compiles the script and looks for the functions of the conventions.
        match codec.start("{}", &codec.limits()) {
            Ok(_) => Ok(codec),
            Err(StartFailure::Settings(reason)) => Err(LoadError::Script(reason)),
            Err(StartFailure::Call(failure)) => Err(LoadError::Script(failure.reason)),
        }
    }
}

impl EngineParts {
    fn component(
        &self,
        bytes: &[u8],
        hash: &CodecHash,
        cache: Option<&CompiledCache>,
    ) -> Result<Component, LoadError> {
        let engine = &self.engine;
        if let Some(component) = cache.and_then(|cache| cache.get(engine, hash)) {
            return Ok(component);
        }
        let component = {
            let _one_at_a_time = self.shared.compiling.lock();
            match self.compiled_apart(bytes) {
                Some(component) => component,
                None => Component::from_binary(engine, bytes)
                    .map_err(|error| LoadError::Compile(bounded(format!("{error:#}"))))?,
            }
        };
        if let Some(cache) = cache {
            cache.put(engine, hash, &component);
        }
        Ok(component)
    }

    /// A large component, compiled by another process. Where that fails it is compiled here, which tells why.
    fn compiled_apart(&self, bytes: &[u8]) -> Option<Component> {
        let compiler =
            self.shared.compiler.get().filter(|_| bytes.len() > CODEC_COMPILED_IN_PLACE_BYTES_MAX)?;
        let result = compiler.compile(self, bytes);
        result
            .inspect_err(|error| {
                warn!(error, "A large codec could not be compiled in a process of its own; it is compiled in the server.");
            })
            .ok()
    }

    fn link(&self, component: &Component) -> Result<(WorldPre, Vec<String>), LoadError> {
        let imports = imports_of(&self.engine, component);
        if imports.iter().any(|import| !import.starts_with(wasi::PREFIX)) {
            return Err(LoadError::Imports { imports });
        }
        let mut linker = Linker::new(&self.engine);
        wasi::define(&self.engine, component, &mut linker)?;
        let contract = |error: wasmtime::Error| LoadError::Contract(bounded(format!("{error:#}")));
        let pre = linker.instantiate_pre(component).map_err(contract)?;
        let pre = WorldPre::new(&self.engine, component, pre).map_err(contract)?;
        Ok((pre, imports))
    }
}

/// Names what the component would call. Imported types are no import: they are how it spells the contract's types.
fn imports_of(engine: &wasmtime::Engine, component: &Component) -> Vec<String> {
    let calls = |item: &ComponentItem| match item {
        ComponentItem::Type(_) => false,
        ComponentItem::ComponentInstance(instance) => {
            instance.exports(engine).any(|(_, export)| !matches!(export.ty, ComponentItem::Type(_)))
        }
        ComponentItem::ComponentFunc(_)
        | ComponentItem::CoreFunc(_)
        | ComponentItem::Module(_)
        | ComponentItem::Component(_)
        | ComponentItem::Resource(_) => true,
    };
    component
        .component_type()
        .imports(engine)
        .filter(|(_, import)| calls(&import.ty))
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// The identity of a component.
pub(crate) fn hash_of(bytes: &[u8]) -> CodecHash {
    CodecHash(Sha256::digest(bytes).into())
}

/// What is known of a component before it is compiled.
struct Sections {
    vectors: Vec<VectorFile>,
    /// Which engine it is for.
    needs_wasi: bool,
}

/// Walks all sections, so that a truncated file is told as such, and takes what it needs on the way.
fn read_sections(bytes: &[u8]) -> Result<Sections, LoadError> {
    if !bytes.starts_with(b"\0asm") {
        return Err(LoadError::NotAComponent("it does not start as WebAssembly does".to_owned()));
    }
    let broken = |error: wasmparser::BinaryReaderError| LoadError::NotAComponent(bounded(error.to_string()));
    let (mut vectors, mut needs_wasi) = (Vec::new(), false);
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(broken)? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                return Err(LoadError::CoreModule);
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) if section.name() == VECTORS_SECTION => {
                vectors.push(VectorFile::parse("the component's own vectors", section.data())?);
            }
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    needs_wasi |= import.map_err(broken)?.name.name.starts_with(wasi::PREFIX);
                }
            }
            _ => {}
        }
    }
    Ok(Sections { vectors, needs_wasi })
}

fn describe(parts: &Arc<EngineParts>, pre: &WorldPre) -> Result<CodecMetadata, LoadError> {
    let said = Guest::start(parts, pre, &parts.limits)
        .and_then(|mut guest| guest.describe())
        .map_err(|failure| LoadError::Describe(failure.reason))?;
    let metadata = match said {
        Said::Codec(said) => described_codec(said)?,
        Said::Responder(said) => described_responder(said)?,
    };
    if metadata.version.trim().is_empty() || metadata.version.len() > VERSION_BYTES_MAX {
        return Err(LoadError::Describe(format!("the version must have 1 to {VERSION_BYTES_MAX} bytes")));
    }
    Ok(metadata)
}

fn described_codec(said: wit::Metadata) -> Result<CodecMetadata, LoadError> {
    if said.keys.len() > CODEC_KEYS_DESCRIBED_MAX {
        return Err(too_many_keys(said.keys.len()));
    }
    Ok(CodecMetadata {
        name: bounded(said.name),
        version: said.version,
        vendor: bounded(said.vendor),
        summary: bounded(said.summary),
        keys: said.keys.into_iter().map(key_description).collect(),
        encodes: said.encodes,
        methods: Vec::new(),
        shared_keys: Vec::new(),
    })
}

fn described_responder(said: calls::Description) -> Result<CodecMetadata, LoadError> {
    for (what, count) in [("methods", said.methods.len()), ("shared attributes", said.shared_keys.len())] {
        if count > RESPONDER_NAMES_MAX {
            let problem = format!("{count} {what} are named; at most {RESPONDER_NAMES_MAX} are allowed");
            return Err(LoadError::Describe(problem));
        }
    }
    Ok(CodecMetadata {
        name: bounded(said.name),
        version: said.version,
        vendor: bounded(said.vendor),
        summary: bounded(said.summary),
        keys: Vec::new(),
        encodes: false,
        methods: said.methods.into_iter().map(bounded).collect(),
        shared_keys: said.shared_keys.into_iter().map(bounded).collect(),
    })
}

fn key_description(key: wit::KeyDescription) -> KeyDescription {
    KeyDescription {
        key: bounded(key.key),
        value_type: match key.value_type {
            wit::ValueType::Boolean => KeyType::Boolean,
            wit::ValueType::Long => KeyType::Long,
            wit::ValueType::Double => KeyType::Double,
            wit::ValueType::Text => KeyType::String,
            wit::ValueType::Json => KeyType::Json,
        },
        unit: key.unit.map(bounded),
        label: key.label.map(bounded),
    }
}

impl LoadedCodec {
    /// Name, version and hash.
    pub fn stamp(&self) -> &CodecStamp {
        &self.stamp
    }

    /// What it says of itself.
    pub fn metadata(&self) -> &CodecMetadata {
        &self.metadata
    }

    /// Length of the component.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// It answers calls, and is no codec.
    pub fn is_responder(&self) -> bool {
        matches!(self.pre, WorldPre::Responder(_))
    }

    /// The interfaces of WASI that it imports.
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// The vectors that the component carries in itself.
    pub fn embedded_vectors(&self) -> &[VectorFile] {
        &self.embedded_vectors
    }

    /// An instance to call from one thread, outside the table: for the author's tools and for measuring.
    pub fn session(&self, settings: &str) -> Result<Session, DecodeFailure> {
        self.session_under(settings, &ProfileLimits::default())
    }

    /// The same under the limits of a profile, for frames that are decoded again.
    pub fn session_under(&self, settings: &str, limits: &ProfileLimits) -> Result<Session, DecodeFailure> {
        self.start(settings, &self.limits().under(limits))
            .map(|guest| Session { guest, stamp: self.stamp.clone() })
            .map_err(|failure| self.start_failure(failure))
    }

    /// Whether the codec takes these settings: an instance is made for the question. Why an instance cannot be made at all
    /// is not told here.
    pub fn check_settings(&self, settings: &str, limits: &ProfileLimits) -> Result<(), String> {
        match self.start(settings, &self.limits().under(limits)) {
            Err(StartFailure::Settings(reason)) => Err(reason),
            Ok(_) | Err(StartFailure::Call(_)) => Ok(()),
        }
    }

    /// An instance with a profile's settings.
    pub(crate) fn start(&self, settings: &str, limits: &CodecLimits) -> Result<Guest, StartFailure> {
        match &self.script {
            None => Guest::configured(&self.parts, &self.pre, settings, limits),
            Some(script) => {
                let settings = script.settings(&self.stamp.name, settings).map_err(StartFailure::Settings)?;
                Guest::configured(&self.parts, &self.pre, &settings, limits)
            }
        }
    }

    /// The bounds of its calls: an interpreter gets more.
    pub(crate) fn limits(&self) -> CodecLimits {
        if self.stamp.name.as_str() == SCRIPT_ENGINE || self.script.is_some() {
            self.parts.limits.of_scripts()
        } else {
            self.parts.limits
        }
    }

    /// It is a script, and not a component of its own.
    pub fn is_script(&self) -> bool {
        self.script.is_some()
    }

    /// Its text, where it is a script.
    pub(crate) fn script_source(&self) -> Option<&str> {
        self.script.as_ref().map(Script::source)
    }

    pub(crate) fn start_failure(&self, failure: StartFailure) -> DecodeFailure {
        let (stage, reason) = match failure {
            StartFailure::Settings(reason) => {
                (wireglot_model::FailureStage::NoCodec, settings_refused(&reason))
            }
            StartFailure::Call(call) => (call.stage, format!("while starting: {}", call.reason)),
        };
        DecodeFailure { stage, stamp: Some(self.stamp.clone()), reason }
    }

    /// Decodes these vectors and says of each how it went.
    pub fn run_vectors(&self, file: &VectorFile) -> Vec<VectorOutcome> {
        run_vectors(self, file)
    }

    /// Proves the codec by its own vectors and by `beside`, those that lie beside its file.
    pub fn decode_vectors(self, beside: &[VectorFile]) -> Result<ProvenCodec, LoadError> {
        match self.first_failure(beside) {
            Some(error) => Err(error),
            None => Ok(ProvenCodec(self)),
        }
    }

    pub(crate) fn first_failure(&self, beside: &[VectorFile]) -> Option<LoadError> {
        let files = self.embedded_vectors.iter().chain(beside);
        let outcomes: Vec<VectorOutcome> = files.flat_map(|file| run_vectors(self, file)).collect();
        let failed = outcomes.iter().filter(|outcome| !outcome.passed()).count();
        let first = outcomes.iter().find(|outcome| !outcome.passed())?;
        Some(LoadError::Proof { failed, total: outcomes.len(), first: bounded(first.to_string()) })
    }
}

pub(crate) fn settings_refused(reason: &str) -> String {
    format!("the codec refuses the profile's settings: {reason}")
}

impl ProvenCodec {
    /// The codec that was proven.
    pub fn codec(&self) -> &LoadedCodec {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_responder_names_a_bounded_number_of_things() {
        let describe = |methods: usize, shared: usize| {
            described_responder(calls::Description {
                name: "n".to_owned(),
                version: "1".to_owned(),
                vendor: "v".to_owned(),
                summary: "s".to_owned(),
                methods: vec!["m".to_owned(); methods],
                shared_keys: vec!["k".to_owned(); shared],
            })
        };
        assert!(describe(RESPONDER_NAMES_MAX, RESPONDER_NAMES_MAX).is_ok());
        for (methods, shared) in [(RESPONDER_NAMES_MAX + 1, 0), (0, RESPONDER_NAMES_MAX + 1)] {
            let error = describe(methods, shared).expect_err("one too many").to_string();
            assert!(error.contains("at most 64 are allowed"), "{error}");
        }
    }
}
