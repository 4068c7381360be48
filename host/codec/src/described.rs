//! Which description a key of a device falls under: its own, or that of a pattern such as `temperature_*`.

use std::collections::HashMap;

use crate::load::KeyDescription;

/// The keys that a codec describes, ready to be asked.
pub struct DescribedKeys<'a> {
    exact: HashMap<&'a str, &'a KeyDescription>,
    /// The most particular first: the one with the most text besides its `*`.
    patterns: Vec<&'a KeyDescription>,
}

impl<'a> DescribedKeys<'a> {
    /// Of two descriptions of the same key the first counts.
    pub fn new(keys: &'a [KeyDescription]) -> Self {
        let (mut patterns, exact): (Vec<_>, Vec<_>) = keys.iter().partition(|key| key.key.contains('*'));
        let text = |key: &KeyDescription| key.key.chars().filter(|character| *character != '*').count();
        patterns.sort_by_key(|key| std::cmp::Reverse(text(key)));
        Self { exact: exact.into_iter().rev().map(|key| (key.key.as_str(), key)).collect(), patterns }
    }

    /// What is said of this key.
    pub fn of(&self, key: &str) -> Option<&'a KeyDescription> {
        let own = self.exact.get(key).copied();
        own.or_else(|| self.patterns.iter().copied().find(|pattern| fits(&pattern.key, key)))
    }
}

/// Whether `key` fits `pattern`, where `*` stands for any text. Takes a number of steps that is at most the product of
/// their lengths: the pattern comes from a codec and the key from a device.
fn fits(pattern: &str, key: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let key: Vec<char> = key.chars().collect();
    let (mut at, mut seen) = (0, 0);
    // The last `*`, and up to where it has taken the key.
    let mut star: Option<(usize, usize)> = None;
    while seen < key.len() {
        match (pattern.get(at), star) {
            (Some('*'), _) => {
                star = Some((at, seen));
                at += 1;
            }
            (Some(character), _) if Some(character) == key.get(seen) => (at, seen) = (at + 1, seen + 1),
            (_, Some((star_at, taken))) => {
                star = Some((star_at, taken + 1));
                (at, seen) = (star_at + 1, taken + 1);
            }
            (_, None) => return false,
        }
    }
    pattern.iter().skip(at).all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KeyType;

    fn key(key: &str) -> KeyDescription {
        KeyDescription { key: key.into(), value_type: KeyType::Long, unit: None, label: None }
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name, expected) in [
            ("a", "a", true),
            ("a", "b", false),
            ("a*", "a", true),
            ("a*", "a1", true),
            ("a*", "ba", false),
            ("*a", "ba", true),
            ("*a", "ab", false),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "acb", false),
            ("*", "ä", true),
            ("a_*_*", "a_1_x", true),
            ("a_*_*", "a_1", false),
            ("**", "", true),
            ("ä*ö", "äö", true),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_malicious_pattern_costs_little() {
        assert!(!fits(&("*a".repeat(250) + "b"), &"a".repeat(255)));
    }

    #[test]
    fn the_most_particular_description_counts() {
        let keys = ["t*", "t_1", "t_*", "*", "t_1"].map(key);
        let described = DescribedKeys::new(&keys);
        for (name, expected) in [("t_1", "t_1"), ("t_2", "t_*"), ("tx", "t*"), ("else", "*")] {
            assert_eq!(described.of(name).map(|found| found.key.as_str()), Some(expected), "{name}");
        }
        assert!(DescribedKeys::new(&keys[..3]).of("else").is_none());
        assert!(std::ptr::eq(described.of("t_1").unwrap(), &keys[1]));
    }
}
