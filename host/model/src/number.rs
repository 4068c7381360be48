//! The numeric rule of device API §8.3: from the spelling of a number to LONG, DOUBLE, or plain digits.
//!
//! Works on exact decimals, as the type depends on how a number is written (`42.0` is no LONG, `420e-1` is).

use std::borrow::Cow;

use crate::limits::JSON_EXPONENT_MAX;
use crate::value::Value;

/// More decimals than this do not survive a double.
const DECIMALS_MAX: i64 = 16;
/// Any number of this many digits fits 64 bits.
const LONG_DIGITS_SAFE: usize = 18;

/// What a number is.
#[derive(Clone, PartialEq, Debug)]
pub enum Numeric {
    /// Fits 64 bits.
    Long(i64),
    /// Finite.
    Double(f64),
    /// Fits neither; its digits, written out.
    Digits(String),
}

/// A number whose exponent would expand to more digits than anybody meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExponentTooLarge;

/// `text` is a JSON number, or looks like one (`looks_numeric`).
pub fn numeric(text: &str) -> Result<Numeric, ExponentTooLarge> {
    if let Some(long) = short_integer(text.as_bytes()) {
        return Ok(Numeric::Long(long));
    }
    if let Some(double) = short_decimal(text) {
        return Ok(Numeric::Double(double));
    }
    let text = with_ascii_digits(text);
    let decimal = Decimal::parse(&text)?;
    if decimal.is_whole() && !decimal.is_simple {
        return Ok(decimal.long().map_or_else(|| Numeric::Digits(decimal.plain()), Numeric::Long));
    }
    match text.parse::<f64>() {
        Ok(double) if decimal.scale <= DECIMALS_MAX && double.is_finite() => {
            Ok(Numeric::Double(positive_zero(double)))
        }
        _ => Ok(Numeric::Digits(decimal.plain())),
    }
}

/// What a text is stored as where strings that look like numbers are numbers (device API §8.3).
pub fn cast(text: Cow<'_, str>) -> Value {
    if !looks_numeric(&text) {
        return Value::Text(text.into_owned());
    }
    match numeric(&text) {
        Ok(Numeric::Long(long)) => Value::Long(long),
        Ok(Numeric::Double(double)) => Value::Double(double),
        Ok(Numeric::Digits(digits)) => Value::Text(digits),
        Err(ExponentTooLarge) => Value::Text(text.into_owned()),
    }
}

/// The number as whole milliseconds, its fraction cut off; `None` if it does not fit.
pub fn truncated(text: &str) -> Option<i64> {
    if let Some(long) = short_integer(text.as_bytes()) {
        return Some(long);
    }
    Decimal::parse(text).ok()?.long()
}

/// A string that type cast turns into a number: `-`, then digits with at most one point, not as the last character.
pub fn looks_numeric(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let mut points = 0;
    let is_allowed = |character: char| match character {
        '.' => {
            points += 1;
            points == 1
        }
        other => digit(other).is_some(),
    };
    !unsigned.is_empty() && !unsigned.ends_with('.') && unsigned.chars().all(is_allowed)
}

/// An integer in a string, with any sign and any decimal digits.
pub fn integer(text: &str) -> Option<i64> {
    with_ascii_digits(text).parse().ok()
}

fn short_integer(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || digits.len() > LONG_DIGITS_SAFE {
        return None;
    }
    let mut magnitude = 0i64;
    for byte in digits {
        if !byte.is_ascii_digit() {
            return None;
        }
        magnitude = magnitude * 10 + i64::from(byte - b'0');
    }
    Some(if is_negative { -magnitude } else { magnitude })
}

/// A number with a point, without an exponent, and short enough that no rule but one applies.
fn short_decimal(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.')?;
    let are_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let is_short =
        whole.len() <= LONG_DIGITS_SAFE && i64::try_from(fraction.len()).is_ok_and(|n| n <= DECIMALS_MAX);
    if !is_short || !are_digits(whole) || !are_digits(fraction) {
        return None;
    }
    text.parse::<f64>().ok().map(positive_zero)
}

/// An exact decimal has no negative zero.
pub fn positive_zero(double: f64) -> f64 {
    if double == 0.0 { 0.0 } else { double }
}

/// `digits` × 10^-`scale`.
struct Decimal {
    is_negative: bool,
    /// Without leading zeros; empty for zero.
    digits: String,
    scale: i64,
    /// Written with a point and without an exponent, which is never a LONG.
    is_simple: bool,
}

impl Decimal {
    fn parse(text: &str) -> Result<Self, ExponentTooLarge> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, Some(exponent)),
            None => (text, None),
        };
        let (is_negative, unsigned) = match mantissa.strip_prefix('-') {
            Some(unsigned) => (true, unsigned),
            None => (false, mantissa),
        };
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let all_digits = format!("{whole}{fraction}");
        let digits = all_digits.trim_start_matches('0').to_owned();
        let power = match exponent {
            Some(_) if digits.is_empty() => 0,
            Some(exponent) => bounded_exponent(exponent)?,
            None => 0,
        };
        let decimals = i64::try_from(fraction.len()).expect("a packet is shorter than 2^63 bytes");
        Ok(Self {
            is_negative: is_negative && !digits.is_empty(),
            digits,
            scale: decimals - power,
            is_simple: unsigned.contains('.') && exponent.is_none(),
        })
    }

    fn is_whole(&self) -> bool {
        let zeros = self.digits.len() - self.digits.trim_end_matches('0').len();
        self.digits.is_empty() || i64::try_from(zeros).is_ok_and(|zeros| self.scale <= zeros)
    }

    /// The part before the decimal point, if it fits.
    fn long(&self) -> Option<i64> {
        let sign = if self.is_negative { "-" } else { "" };
        match usize::try_from(self.scale) {
            Ok(decimals) => {
                let whole = self.digits.len().saturating_sub(decimals);
                let digits = self.digits.get(..whole).filter(|digits| !digits.is_empty()).unwrap_or("0");
                format!("{sign}{digits}").parse().ok()
            }
            Err(_) => self.plain().parse().ok(),
        }
    }

    /// Written out without an exponent.
    fn plain(&self) -> String {
        let zeros = |count: usize| "0".repeat(count);
        let digits = if self.digits.is_empty() { "0" } else { self.digits.as_str() };
        let sign = if self.is_negative { "-" } else { "" };
        let decimals = match usize::try_from(self.scale) {
            Ok(0) => return format!("{sign}{digits}"),
            Ok(decimals) => decimals,
            Err(_) if self.digits.is_empty() => return "0".into(),
            Err(_) => {
                let appended = usize::try_from(self.scale.unsigned_abs()).unwrap_or_default();
                return format!("{sign}{digits}{}", zeros(appended));
            }
        };
        let padded = format!("{}{digits}", zeros((decimals + 1).saturating_sub(digits.len())));
        let (whole, fraction) = padded.split_at(padded.len() - decimals);
        format!("{sign}{whole}.{fraction}")
    }
}

fn bounded_exponent(text: &str) -> Result<i64, ExponentTooLarge> {
    let power: i64 = text.parse().map_err(|_| ExponentTooLarge)?;
    if power.unsigned_abs() > u64::from(JSON_EXPONENT_MAX) { Err(ExponentTooLarge) } else { Ok(power) }
}

fn with_ascii_digits(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let ascii = |character: char| digit(character).and_then(|value| char::from_digit(value, 10));
    text.chars().map(|character| ascii(character).unwrap_or(character)).collect::<String>().into()
}

/// The zeros of the decimal digits of the Basic Multilingual Plane, behind each of which lie the other nine.
const ZEROS: [char; 37] = [
    '\u{0030}', '\u{0660}', '\u{06f0}', '\u{07c0}', '\u{0966}', '\u{09e6}', '\u{0a66}', '\u{0ae6}',
    '\u{0b66}', '\u{0be6}', '\u{0c66}', '\u{0ce6}', '\u{0d66}', '\u{0de6}', '\u{0e50}', '\u{0ed0}',
    '\u{0f20}', '\u{1040}', '\u{1090}', '\u{17e0}', '\u{1810}', '\u{1946}', '\u{19d0}', '\u{1a80}',
    '\u{1a90}', '\u{1b50}', '\u{1bb0}', '\u{1c40}', '\u{1c50}', '\u{a620}', '\u{a8d0}', '\u{a900}',
    '\u{a9d0}', '\u{a9f0}', '\u{aa50}', '\u{abf0}', '\u{ff10}',
];

fn digit(character: char) -> Option<u32> {
    if character.is_ascii() {
        return character.to_digit(10);
    }
    ZEROS.iter().map(|zero| u32::from(character).wrapping_sub(u32::from(*zero))).find(|value| *value < 10)
}
