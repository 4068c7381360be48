//! What can go wrong, one enum per thing that a caller can do about it.

use std::path::PathBuf;

use wireglot_model::Fault;

/// The engine's own error, kept behind a box so that no caller can depend on the engine.
pub(crate) type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a data folder was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the data folder {} cannot be made or made private", dir.display())]
    Folder {
        dir: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the data folder {} is in use by another process", dir.display())]
    InUse { dir: PathBuf },
    #[error("the data folder {} has format {found}, this version knows formats up to {known}", dir.display())]
    UnknownFormat { dir: PathBuf, found: String, known: u32 },
    #[error("the data folder {} is damaged: {what}", dir.display())]
    Damaged { dir: PathBuf, what: String },
    #[error("the storage engine cannot open {}", dir.display())]
    Engine {
        dir: PathBuf,
        #[source]
        source: Source,
    },
    #[error("a thread of the store cannot be started")]
    Thread(#[source] std::io::Error),
}

/// Why a batch is not durable. Nothing of it may be acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommitError {
    /// The disk failed, now or earlier: what is stored is no longer known to grow. Only a restart helps.
    #[error("the store failed earlier and accepts nothing until it is opened again")]
    Failed,
    #[error("the store is closed")]
    Closed,
    /// The installation has as many distinct telemetry keys as it may.
    #[error("there are too many distinct telemetry keys")]
    TooManyKeys,
    /// The batch alone is larger than the queue.
    #[error("the batch is larger than the commit queue")]
    TooLarge,
}

impl CommitError {
    pub fn fault(self) -> Fault {
        match self {
            CommitError::Failed | CommitError::Closed => Fault::Host,
            CommitError::TooManyKeys | CommitError::TooLarge => Fault::Quota,
        }
    }
}

/// Why a read gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the storage engine cannot read")]
    Engine(#[source] Source),
    #[error("a stored record is damaged: {what}")]
    Damaged { what: &'static str },
    /// Only fewer keys help.
    #[error("the values of one single time are too large to be read at once: ask for fewer keys")]
    TooMuchAtOneTime,
}

impl From<fjall::Error> for ReadError {
    fn from(error: fjall::Error) -> Self {
        ReadError::Engine(Box::new(error))
    }
}

/// The error and what is underneath, in one line for the log.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
