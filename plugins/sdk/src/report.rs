//! Builds the result of a decode: values, client attributes, remarks.

use crate::{AddressedMessage, Decoded, Measurement, Message, Sample, Value};

/// As many values as a frame usually has.
const SAMPLES_USUAL: usize = 8;

/// `raw` divided by ten to the power of `places`.
///
/// One division of two exact numbers gives the double that is nearest to the decimal: 272 and 1 make 27.2, where
/// 272 times 0.1 makes 27.200000000000003.
pub fn scaled(raw: i64, places: u8) -> f64 {
    let mut divisor = 1.0;
    for _ in 0..places {
        divisor *= 10.0;
    }
    raw as f64 / divisor
}

/// The same as `to_owned`. A copy of unknown length leaves the guest, which costs more than moving a short name here.
#[allow(unsafe_code, reason = "two moves that may overlap in place of a call")]
fn owned(text: &str) -> String {
    let length = text.len();
    let mut copy = Vec::<u8>::with_capacity(length);
    let (from, to) = (text.as_ptr(), copy.as_mut_ptr());
    // SAFETY: both have room for `length` bytes, all of which are written; they are those of a valid text.
    unsafe {
        match length {
            0 => {}
            1..=3 => {
                for place in [0, length / 2, length - 1] {
                    to.add(place).write(from.add(place).read());
                }
            }
            4..=7 => {
                for place in [0, length - 4] {
                    to.add(place)
                        .cast::<u32>()
                        .write_unaligned(from.add(place).cast::<u32>().read_unaligned());
                }
            }
            8..=16 => {
                for place in [0, length - 8] {
                    to.add(place)
                        .cast::<u64>()
                        .write_unaligned(from.add(place).cast::<u64>().read_unaligned());
                }
            }
            _ => from.copy_to_nonoverlapping(to, length),
        }
        copy.set_len(length);
        String::from_utf8_unchecked(copy)
    }
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from(DIGITS[usize::from(nibble)]));
        }
    }
    text
}

/// Named values in the order of the frame.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<Sample>);

impl Samples {
    /// No values yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds any value.
    // One copy: a codec calls it for every key it knows, and inlined it would be most of the component.
    #[inline(never)]
    pub fn add(&mut self, key: &str, value: Value) -> &mut Self {
        if self.0.capacity() == 0 {
            // Most frames have a handful of values: one block, where growing takes three.
            self.0.reserve(SAMPLES_USUAL);
        }
        self.0.push(Sample { key: owned(key), value });
        self
    }

    /// Adds an integer.
    pub fn long(&mut self, key: &str, value: impl Into<i64>) -> &mut Self {
        self.add(key, Value::Long(value.into()))
    }

    /// Adds a float. It must be finite; a codec that reads floats from the wire asks `is_finite` first.
    pub fn double(&mut self, key: &str, value: f64) -> &mut Self {
        self.add(key, Value::Double(value))
    }

    /// Adds `raw` divided by ten to the power of `places`, without noise: see [`scaled`].
    pub fn decimal(&mut self, key: &str, raw: impl Into<i64>, places: u8) -> &mut Self {
        self.double(key, scaled(raw.into(), places))
    }

    /// Adds a text.
    pub fn text(&mut self, key: &str, value: impl Into<String>) -> &mut Self {
        self.add(key, Value::Text(value.into()))
    }

    /// Adds a truth value.
    pub fn boolean(&mut self, key: &str, value: bool) -> &mut Self {
        self.add(key, Value::Boolean(value))
    }

    /// Adds a JSON document, given as text that is valid JSON.
    pub fn json(&mut self, key: &str, value: impl Into<String>) -> &mut Self {
        self.add(key, Value::Json(value.into()))
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is a value of that name.
    pub fn holds(&self, key: &str) -> bool {
        self.0.iter().any(|sample| sample.key == key)
    }

    /// Adds the values of another list.
    pub fn append(&mut self, other: Samples) {
        self.0.extend(other.0);
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl From<Samples> for Decoded {
    /// One measurement at the time of receipt.
    fn from(samples: Samples) -> Self {
        Report { now: samples, ..Report::default() }.into()
    }
}

/// A result in the making: what is measured now, what was measured before, attributes, remarks.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Values with the time of receipt.
    pub now: Samples,
    /// Client attributes: facts that rarely change, such as a serial number.
    pub attributes: Samples,
    records: Vec<Measurement>,
    warnings: Vec<String>,
}

impl Report {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds values with a time of their own, in milliseconds since 1970.
    pub fn record(&mut self, ts_ms: i64, samples: Samples) {
        self.records.push(Measurement { ts: Some(ts_ms), values: samples.0 });
    }

    /// Adds a short remark for the operator.
    pub fn warn(&mut self, remark: impl Into<String>) {
        self.warnings.push(remark.into());
    }
}

impl From<Report> for Decoded {
    fn from(report: Report) -> Self {
        let mut measurements = Vec::with_capacity(1 + report.records.len());
        if !report.now.is_empty() {
            measurements.push(Measurement { ts: None, values: report.now.0 });
        }
        measurements.extend(report.records);
        let mut messages = Vec::with_capacity(2);
        if !measurements.is_empty() {
            messages.push(AddressedMessage { device: None, body: Message::Telemetry(measurements) });
        }
        if !report.attributes.is_empty() {
            messages.push(AddressedMessage { device: None, body: Message::Attributes(report.attributes.0) });
        }
        Decoded { messages, warnings: report.warnings }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_the_nearest_double() {
        for (raw, places, expected) in
            [(272, 1, 27.2), (-41, 1, -4.1), (534_900, 4, 53.49), (423_519, 4, 42.3519), (7, 0, 7.0)]
        {
            assert_eq!(scaled(raw, places), expected);
        }
    }

    #[test]
    fn keys_of_every_length_are_copied_whole() {
        let text = "ä0123456789abcdefghijklmnopq";
        for (end, _) in text.char_indices().chain([(text.len(), ' ')]) {
            for (start, _) in text[..end].char_indices().chain([(end, ' ')]) {
                assert_eq!(owned(&text[start..end]), &text[start..end]);
            }
        }
    }

    #[test]
    fn an_empty_report_has_no_messages() {
        assert!(Decoded::from(Report::new()).messages.is_empty());
    }
}
