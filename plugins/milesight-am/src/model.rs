//! Which Milesight AM device speaks: what it measures, and how its history records are laid out.

/// What a record of the past holds after its time stamp.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum History {
    /// The device keeps none.
    None,
    /// AM102, AM103: temperature, humidity of one byte, and CO2 where it is measured.
    Short { co2: bool },
    /// AM304L, AM305L: each value with a byte before it that says whether it is valid.
    Marked { co2: bool },
    /// AM307, AM308, AM319: everything; then particles; then a gas.
    Full { particles: bool, gas: Gas },
}

/// The gas that an AM319 measures, or that the last bytes of its records hold.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Gas {
    None,
    Formaldehyde,
    Ozone,
    /// There is one, but the frame does not tell which.
    Unnamed,
}

/// What one model reports of the channels that several models send.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Model {
    pub(crate) particles: bool,
    pub(crate) gas: Gas,
    /// None of the model is known: what the frame's length tells.
    pub(crate) history: Option<History>,
}

/// Reports whatever comes.
pub(crate) const ANY: Model = Model { particles: true, gas: Gas::Unnamed, history: None };

const fn plain(history: History) -> Model {
    Model { particles: false, gas: Gas::None, history: Some(history) }
}

const fn full(particles: bool, gas: Gas) -> Model {
    Model { particles, gas, history: Some(History::Full { particles, gas }) }
}

/// Without the L that stands for the variant without a display, and with the gas where the model has two kinds.
const MODELS: &[(&str, Model)] = &[
    ("AM102", plain(History::Short { co2: false })),
    ("AM103", plain(History::Short { co2: true })),
    ("AM104", plain(History::None)),
    ("AM107", plain(History::None)),
    ("AM304", plain(History::Marked { co2: false })),
    ("AM305", plain(History::Marked { co2: true })),
    ("AM307", full(false, Gas::None)),
    ("AM308", full(true, Gas::None)),
    ("AM319", full(true, Gas::Formaldehyde)),
    ("AM319-HCHO", full(true, Gas::Formaldehyde)),
    ("AM319-O3", full(true, Gas::Ozone)),
];

/// The model of that name, in any case, with or without L: `AM307`, `am319l-o3`.
pub(crate) fn find(name: &str) -> Result<Model, String> {
    let upper = name.to_ascii_uppercase();
    let number = upper.get(..5).unwrap_or(&upper);
    let variant = upper.get(5..).unwrap_or_default();
    let plain = [number, variant.strip_prefix('L').unwrap_or(variant)].concat();
    match MODELS.iter().find(|(known, _)| *known == plain) {
        Some((_, model)) => Ok(*model),
        None => Err(format!(
            "\"model\" is \"{name}\"; known: AM102(L), AM103(L), AM104, AM107, AM304L, AM305L, AM307(L), AM308(L), \
             AM319(L), AM319(L)-HCHO, AM319(L)-O3"
        )),
    }
}

impl History {
    /// Bytes of one record with its time stamp.
    pub(crate) fn record_bytes(self) -> usize {
        match self {
            History::None => 0,
            History::Short { co2 } => 7 + 2 * usize::from(co2),
            History::Marked { co2 } => 15 + 3 * usize::from(co2),
            History::Full { particles, gas } => {
                16 + 4 * usize::from(particles) + 2 * usize::from(gas != Gas::None)
            }
        }
    }

    /// The layout with which the rest of a frame, from the first record's time stamp on, is a row of records.
    pub(crate) fn infer(rest: &[u8]) -> Option<History> {
        let layouts = [
            History::Short { co2: false },
            History::Short { co2: true },
            History::Marked { co2: false },
            History::Full { particles: false, gas: Gas::None },
            History::Marked { co2: true },
            History::Full { particles: true, gas: Gas::None },
            History::Full { particles: true, gas: Gas::Unnamed },
        ];
        layouts.into_iter().find(|layout| {
            let bytes = layout.record_bytes();
            (rest.len() + 2) % (bytes + 2) == 0
                && rest
                    .chunks(bytes + 2)
                    .all(|chunk| matches!(chunk.get(bytes..), Some([0x20 | 0x21, 0xce] | [])))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_found_by_any_spelling() {
        for (name, particles, gas) in [
            ("am307l", false, Gas::None),
            ("AM319", true, Gas::Formaldehyde),
            ("AM319L-O3", true, Gas::Ozone),
        ] {
            assert_eq!(find(name), Ok(full(particles, gas)), "{name}");
        }
        for name in ["", "AM", "AM999", "AM307LL", "AM307-O3", "EM300-TH", "АМ307"] {
            assert!(find(name).is_err(), "{name}");
        }
    }

    #[test]
    fn the_length_of_a_row_of_records_tells_the_layout() {
        for layout in [
            History::Short { co2: false },
            History::Marked { co2: true },
            full(true, Gas::Unnamed).history.unwrap(),
        ] {
            let record = vec![1; layout.record_bytes()];
            assert_eq!(History::infer(&record), Some(layout));
            let two = [record.as_slice(), &[0x20, 0xce], record.as_slice()].concat();
            assert_eq!(History::infer(&two), Some(layout));
        }
        assert_eq!(History::infer(&[1; 11]), None);
    }
}
