//! Reads a flat JSON object: a profile's settings, or the parameters of a command.
//!
//! Small on purpose: a whole JSON library would outweigh most codecs. Nested values are kept as text.

/// A value of the object.
#[derive(Clone, PartialEq, Debug)]
pub enum Scalar {
    /// A string, without its escapes.
    Text(String),
    /// A number, as it was written.
    Number(String),
    /// true or false.
    Boolean(bool),
    /// null.
    Null,
    /// An array or an object, as it was written.
    Nested(String),
}

/// The fields of a JSON object, in the order of the text.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Settings(Vec<(String, Scalar)>);

impl Settings {
    /// Reads a JSON object. `null` and blank text are an object without fields.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut scan = Scan { rest: text.trim_start() };
        if matches!(text.trim(), "" | "null") {
            return Ok(Self::default());
        }
        scan.expect('{')?;
        let mut fields = Vec::new();
        if !scan.skip('}') {
            loop {
                scan.expect('"')?;
                let name = scan.string()?;
                scan.expect(':')?;
                fields.push((name, scan.value()?));
                if scan.skip('}') {
                    break;
                }
                scan.expect(',')?;
            }
        }
        if scan.rest.is_empty() { Ok(Self(fields)) } else { Err(scan.refuse("the end")) }
    }

    /// The field `name`, whatever it holds. A field that holds null is as good as absent.
    pub fn get(&self, name: &str) -> Option<&Scalar> {
        self.0.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value).filter(|v| **v != Scalar::Null)
    }

    /// The field `name` if it is there; an error if it is no string.
    pub fn text(&self, name: &str) -> Result<Option<&str>, String> {
        match self.get(name) {
            None => Ok(None),
            Some(Scalar::Text(text)) => Ok(Some(text)),
            Some(_) => Err(format!("\"{name}\" must be a string")),
        }
    }

    /// The field `name` if it is there; an error if it is neither true nor false.
    pub fn boolean(&self, name: &str) -> Result<Option<bool>, String> {
        match self.get(name) {
            None => Ok(None),
            Some(Scalar::Boolean(value)) => Ok(Some(*value)),
            Some(_) => Err(format!("\"{name}\" must be true or false")),
        }
    }

    /// The field `name` if it is there; an error if it is no whole number.
    pub fn integer(&self, name: &str) -> Result<Option<i64>, String> {
        match self.scaled(name, 0) {
            Err(_) => Err(format!("\"{name}\" must be a whole number")),
            found => found,
        }
    }

    /// The number `name` times ten to the power of `places`, exactly; an error if it has more digits than that.
    pub fn scaled(&self, name: &str, places: u8) -> Result<Option<i64>, String> {
        match self.get(name) {
            None => Ok(None),
            Some(Scalar::Number(text)) => match shift(text, places) {
                Some(value) => Ok(Some(value)),
                None => Err(format!("\"{name}\" must be a number with at most {places} digits after the point")),
            },
            Some(_) => Err(format!("\"{name}\" must be a number")),
        }
    }

    /// An error that names the first field which is none of `known`: a typing error must not pass for a setting.
    pub fn only(&self, known: &[&str]) -> Result<(), String> {
        match self.0.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some((name, _)) => Err(format!("unknown \"{name}\"; known: {}", known.join(", "))),
        }
    }
}

/// The decimal `text` without its point, `places` digits after it; none where that is no whole number of 64 bits.
fn shift(text: &str, places: u8) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction = fraction.trim_end_matches('0');
    let missing = usize::from(places).checked_sub(fraction.len())?;
    let mut digits = String::from(whole);
    digits.push_str(fraction);
    digits.extend(std::iter::repeat_n('0', missing));
    digits.parse().ok()
}

/// JSON text that is read from the front; blanks are skipped after every token.
struct Scan<'a> {
    rest: &'a str,
}

impl<'a> Scan<'a> {
    fn refuse(&self, expected: &str) -> String {
        match self.rest.chars().next() {
            Some(found) => format!("not valid JSON: {expected} expected, '{found}' found"),
            None => format!("not valid JSON: {expected} expected, end of text found"),
        }
    }

    fn skip(&mut self, wanted: char) -> bool {
        match self.rest.strip_prefix(wanted) {
            // A string's blanks are its own.
            Some(rest) if wanted == '"' => self.rest = rest,
            Some(rest) => self.rest = rest.trim_start(),
            None => return false,
        }
        true
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        if self.skip(wanted) {
            return Ok(());
        }
        let mut shown = String::from("'");
        shown.push(wanted);
        shown.push('\'');
        Err(self.refuse(&shown))
    }

    fn value(&mut self) -> Result<Scalar, String> {
        if self.skip('"') {
            return self.string().map(Scalar::Text);
        }
        if self.rest.starts_with(['{', '[']) {
            return self.nested();
        }
        let end = self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c))).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        let value = match token {
            "true" => Scalar::Boolean(true),
            "false" => Scalar::Boolean(false),
            "null" => Scalar::Null,
            number if number.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => Scalar::Number(number.to_owned()),
            _ => return Err(self.refuse("a value")),
        };
        self.rest = rest.trim_start();
        Ok(value)
    }

    /// The rest of a string whose opening quote has been read.
    fn string(&mut self) -> Result<String, String> {
        let mut out = String::new();
        let mut chars = self.rest.chars();
        loop {
            match chars.next() {
                Some('"') => break,
                Some('\\') => match chars.next() {
                    Some(plain @ ('"' | '\\' | '/')) => out.push(plain),
                    Some('n') => out.push('\n'),
                    Some('t') => out.push('\t'),
                    Some('r') => out.push('\r'),
                    Some('b') => out.push('\u{8}'),
                    Some('f') => out.push('\u{c}'),
                    Some('u') => out.push(unicode(&mut chars)),
                    _ => return Err(String::from("not valid JSON: unknown escape in a string")),
                },
                Some(plain) => out.push(plain),
                None => return Err(String::from("not valid JSON: a string without its end")),
            }
        }
        self.rest = chars.as_str().trim_start();
        Ok(out)
    }

    /// An array or object as text: everything up to the bracket that closes it.
    fn nested(&mut self) -> Result<Scalar, String> {
        let start = self.rest;
        let mut depth = 0_u32;
        loop {
            let next = self.rest.find(['{', '[', '}', ']', '"']).ok_or_else(|| self.refuse("a closing bracket"))?;
            let mut chars = self.rest.split_at(next).1.chars();
            let found = chars.next();
            self.rest = chars.as_str();
            match found {
                Some('"') => {
                    self.string()?;
                }
                Some('{' | '[') => depth += 1,
                _ => depth -= 1,
            }
            if depth == 0 {
                let text = start.split_at(start.len() - self.rest.len()).0.to_owned();
                self.rest = self.rest.trim_start();
                return Ok(Scalar::Nested(text));
            }
        }
    }
}

/// The character of `\uXXXX`; a half of a pair, or what is no number, becomes the replacement character.
fn unicode(chars: &mut std::str::Chars<'_>) -> char {
    let code = chars.as_str().get(..4).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    if code.is_some() {
        *chars = chars.as_str().split_at(4).1.chars();
    }
    code.and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_every_kind() {
        let text = r#" {"a" : "x\"\u00e9 ", "b":-1.50,"c":true, "d":null, "e":{"f":["}"]} , "g": []} "#;
        let settings = Settings::parse(text).unwrap();
        assert_eq!(settings.text("a"), Ok(Some("x\"é ")));
        assert_eq!(settings.scaled("b", 2), Ok(Some(-150)));
        assert_eq!(settings.scaled("b", 1), Ok(Some(-15)));
        assert!(settings.integer("b").is_err());
        assert_eq!(settings.boolean("c"), Ok(Some(true)));
        assert_eq!(settings.get("d"), None);
        assert_eq!(settings.get("e"), Some(&Scalar::Nested(r#"{"f":["}"]}"#.into())));
        assert!(settings.text("c").is_err());
        assert_eq!(settings.only(&["a", "b"]), Err("unknown \"c\"; known: a, b".into()));
        assert_eq!(Settings::parse("{}"), Ok(Settings::default()));
        assert_eq!(Settings::parse("null"), Ok(Settings::default()));
    }

    #[test]
    fn broken_text_is_refused() {
        for text in ["{", "[]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{\"a\":1} x", "{\"a\":\"", "{\"a\":[", "{\"a\":\"\\"] {
            assert!(Settings::parse(text).is_err(), "{text}");
        }
    }
}
