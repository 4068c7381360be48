//! Durable state: typed records, time series, dead letters. The only crate that names the storage engine.
//!
//! Read in this order: what goes in (`batch`), how it is queued and waited for (`queue`, `lane`), how it becomes
//! durable (`commit`), what is not yet in chunks (`recent`), how chunks are made and kept small (`chunk`, `head`,
//! `checkpoint`, `retention`, `departed`), how it is read (`records`, `series`, `flow`, `dead`, `raw`), how values are
//! replaced and deleted (`revise`, `erase`, `arrivals`), what is too large for a record (`files`), how it is found again (`recover`, `journal`), and
//! the bytes underneath (`keys`, `coding`, `dictionary`).

mod arrivals;
mod batch;
mod checkpoint;
mod chunk;
mod coding;
mod commit;
mod dead;
mod departed;
mod dictionary;
mod erase;
mod error;
mod files;
mod flow;
mod head;
mod journal;
mod keys;
mod lane;
mod queue;
mod raw;
mod recent;
mod records;
mod recover;
mod retention;
mod revise;
mod series;
mod store;
#[cfg(test)]
mod tests;

pub use batch::Batch;
pub use erase::{Erasure, LatestAfter};
pub use error::{CommitError, OpenError, ReadError};
pub use files::{FileDraft, FileError, Files, StoredFile};
pub use flow::{PointsQuery, Want};
pub use lane::{Committed, Lane, LaneDriver};
pub use raw::RawKey;
pub use records::{LetterFilter, RawPage};
pub use retention::Retained;
pub use revise::{Defined, Draft, Removal};
pub use series::{HistoryQuery, Latest, Series, StoredMessage};
pub use store::{Durability, Store, StoreConfig, StoreCounters};
