//! What comes into chunks of a device while somebody looks through those that were there.
//!
//! Such a look takes as long as the history is, so it must not keep checkpoints waiting; and as they do not wait, they tell
//! what they bring. Nobody else does: whoever replaces chunks is alone in that.

use std::collections::BTreeMap;
use std::time::Instant;

use wireglot_model::{Timestamp, Value};

use crate::chunk::Rows;
use crate::head::Head;

/// By key: when, and what.
pub(crate) type Newest = BTreeMap<u32, (Timestamp, Value)>;

#[derive(Default)]
pub(crate) struct Arrivals {
    watched: Option<Watched>,
    /// When a deletion last needed a checkpoint.
    pub(crate) checkpoint_for_erasure: Option<Instant>,
}

struct Watched {
    device: u32,
    keys: Vec<u32>,
    newest: Newest,
}

impl Arrivals {
    pub(crate) fn watch(&mut self, device: u32, keys: Vec<u32>) {
        self.watched = Some(Watched { device, keys, newest: Newest::new() });
    }

    /// Rows that are sorted by time come into chunks of the device.
    pub(crate) fn note(&mut self, device: u32, rows: &Rows<'_>) {
        let Some(watched) = self.watched.as_mut().filter(|watched| watched.device == device) else { return };
        let mut head = Head::default();
        head.fold(rows);
        for key in &watched.keys {
            let Some((ts, value)) = head.latest.get(key) else { continue };
            if watched.newest.get(key).is_none_or(|(newest, _)| newest <= ts) {
                watched.newest.insert(*key, (*ts, value.to_value()));
            }
        }
    }

    /// The newest points that came since `watch`; ends it.
    pub(crate) fn end_watch(&mut self) -> Newest {
        self.watched.take().map(|watched| watched.newest).unwrap_or_default()
    }
}
