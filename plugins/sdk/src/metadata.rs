//! Short ways to write down the keys that a codec can produce.

use crate::{KeyDescription, ValueType};

/// One key; `*` in it stands for a channel number or the like. An empty unit or label means that there is none.
pub fn key(key: &str, value_type: ValueType, unit: &str, label: &str) -> KeyDescription {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    KeyDescription { key: key.to_owned(), value_type, unit: text(unit), label: text(label) }
}

/// A table of keys: name, type, unit, label, as in [`key`].
pub fn keys(table: &[(&str, ValueType, &str, &str)]) -> Vec<KeyDescription> {
    table.iter().map(|(name, value_type, unit, label)| key(name, *value_type, unit, label)).collect()
}
