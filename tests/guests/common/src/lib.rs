//! What the hostile codecs have in common: an innocent face.

use wireglot_sdk::ValueType::Long;
use wireglot_sdk::{keys, Metadata};

/// A description with which a host loads the codec.
pub fn metadata(name: &str) -> Metadata {
    Metadata {
        name: name.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        vendor: "Wireglot tests".into(),
        summary: "Does harm; for tests only".into(),
        keys: keys(&[("t", Long, "", "")]),
        encodes: true,
    }
}
