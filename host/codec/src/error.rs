//! What can go wrong with a codec: it cannot be loaded (`LoadError`), or one call fails (`DecodeFailure`).

use std::path::PathBuf;

use wireglot_model::limits::{CODEC_KEYS_DESCRIBED_MAX, CODEC_REASON_BYTES_MAX, CODEC_VECTORS_MAX};
use wireglot_model::{CodecStamp, FailureStage, Fault};

/// One call that gave no result. The raw payload goes to the dead letters with these facts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DecodeFailure {
    /// Where it failed.
    pub stage: FailureStage,
    /// The version that was called, where there was one.
    pub stamp: Option<CodecStamp>,
    /// Why, for people; bounded.
    pub reason: String,
}

impl DecodeFailure {
    /// The device is at fault only where the codec itself says so.
    pub fn fault(&self) -> Fault {
        match self.stage {
            FailureStage::Refused | FailureStage::NotAccepted => Fault::Device,
            FailureStage::NoCodec
            | FailureStage::Trapped
            | FailureStage::Deadline
            | FailureStage::OverLarge
            | FailureStage::InvalidResult => Fault::Codec,
        }
    }
}

/// Why the codec host cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The compiler or the instance pool cannot be set up.
    #[error("the codec engine cannot start: {0}")]
    Engine(String),
    /// A folder that must be ours cannot be made or protected.
    #[error("cannot prepare {}", path.display())]
    Folder {
        /// Which one.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
}

/// Why a file does not become a codec.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LoadError {
    /// Longer than allowed; it was not read.
    #[error("the file has {bytes} bytes; a codec has at most {bytes_max}")]
    TooLarge {
        /// Its length.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// A core module: the last step of the build is missing.
    #[error("this is a core WebAssembly module, not a component")]
    CoreModule,
    /// Anything else than a whole component.
    #[error("this is not a whole WebAssembly component: {0}")]
    NotAComponent(String),
    /// It wants something from the host that is not WASI; the world imports nothing.
    #[error("the component imports {}, and a codec may import nothing", .imports.join(", "))]
    Imports {
        /// What it imports.
        imports: Vec<String>,
    },
    /// Its exports are not those of the world `wireglot:codec/codec@1`.
    #[error("the component does not fit the contract wireglot:codec@1: {0}")]
    Contract(String),
    /// The compiler refuses it.
    #[error("the component does not compile: {0}")]
    Compile(String),
    /// `describe` fails or says something invalid.
    #[error("`describe` failed: {0}")]
    Describe(String),
    /// A file of vectors cannot be read.
    #[error("its vectors cannot be read: {0}")]
    Vectors(String),
    /// It gives other values than its vectors say.
    #[error("{failed} of its {total} vectors fail; the first: {first}")]
    Proof {
        /// Vectors that failed.
        failed: usize,
        /// All vectors.
        total: usize,
        /// The first failure in words.
        first: String,
    },
    /// The file cannot be read.
    #[error("the file cannot be read: {0}")]
    Unreadable(String),
    /// The script does not compile, or has no function that decodes.
    #[error("the script cannot be run: {0}")]
    Script(String),
    /// There is no engine to run a script on.
    #[error("a script runs on the codec `js`, and no js.wasm is live in the codecs folder")]
    NoScriptEngine,
    /// A component and a script of the same name.
    #[error("{component} and {script} both want to be this codec, so neither is taken up")]
    Twins {
        /// The one file.
        component: String,
        /// The other.
        script: String,
    },
    /// As many are live, or are tried, as may be.
    #[error("{0}")]
    NoRoom(String),
    /// The file's name cannot name a codec.
    #[error("{0}")]
    Name(String),
}

impl LoadError {
    /// What its author or operator can do.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => {
                "Build in release mode, strip debug sections, and leave out unused code."
            }
            Self::CoreModule => {
                "Build it with `wireglot codec build`, or turn it into a component with `wasm-tools component new`."
            }
            Self::NotAComponent(_) => {
                "If the file was still being copied, wait: it is read again as soon as it changes. Otherwise build it again."
            }
            Self::Imports { .. } => {
                "Remove what needs the outside world: a codec has no clock, files, network or randomness."
            }
            Self::Contract(_) => {
                "Build it against the world `codec` of wit/codec.wit, or `responder` of wit/responder.wit; `wireglot codec new` \
                 makes a codec that is."
            }
            Self::Compile(_) => "Check the file with `wireglot codec check`, and build it again.",
            Self::Describe(_) => {
                "`describe` must answer at once, without `configure`, within the limits of a decode."
            }
            Self::Vectors(_) => "See docs/writing-codecs.md for the format of a vector file.",
            Self::Proof { .. } => {
                "Run `wireglot codec test` for all differences; correct the codec, or the vectors if they are wrong."
            }
            Self::Unreadable(_) => "Make it a regular file that the server may read.",
            Self::Name(_) => "Rename the file.",
            Self::NoRoom(_) => "Remove another one; the file is taken as soon as there is room.",
            Self::Script(_) => {
                "Correct the script; `wireglot codec check NAME.js` beside js.wasm takes the same steps."
            }
            Self::NoScriptEngine => {
                "Put js.wasm into the same folder (`cargo xtask plugins` builds it); the script is taken up as soon as it is live."
            }
            Self::Twins { .. } => "Remove or rename one of them.",
        }
    }
}

pub(crate) fn too_many_keys(count: usize) -> LoadError {
    LoadError::Describe(format!("{count} keys described; at most {CODEC_KEYS_DESCRIBED_MAX} are allowed"))
}

pub(crate) fn too_many_vectors(count: usize) -> LoadError {
    LoadError::Vectors(format!("{count} vectors; at most {CODEC_VECTORS_MAX} are allowed"))
}

/// Text from a codec, cut to what is kept of it.
pub(crate) fn bounded(mut text: String) -> String {
    if text.len() > CODEC_REASON_BYTES_MAX {
        let mut end = CODEC_REASON_BYTES_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}
