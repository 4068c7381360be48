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
        let mut scan = Scan { text: text.as_bytes(), at: 0 };
        scan.blanks();
        let mut fields = Vec::new();
        if scan.peek() == 0 || scan.literal(b"null") {
            return scan.end(Self(fields));
        }
        scan.expect(b'{')?;
        if !scan.skip(b'}') {
            loop {
                let name = scan.string()?;
                scan.expect(b':')?;
                fields.push((name, scan.value()?));
                if scan.skip(b'}') {
                    break;
                }
                scan.expect(b',')?;
            }
        }
        scan.end(Self(fields))
    }

    /// The field `name`, whatever it holds. A field that holds null is as good as absent.
    pub fn get(&self, name: &str) -> Option<&Scalar> {
        self.0
            .iter()
            .rev()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value)
            .filter(|v| **v != Scalar::Null)
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
                None => {
                    Err(format!("\"{name}\" must be a number with at most {places} digits after the point"))
                }
            },
            Some(_) => Err(format!("\"{name}\" must be a number")),
        }
    }

    /// An error that names the first field which is none of `known`: a typing error must not pass for a setting.
    pub fn only(&self, known: &[&str]) -> Result<(), String> {
        let Some((stray, _)) = self.0.iter().find(|(name, _)| !known.contains(&name.as_str())) else {
            return Ok(());
        };
        let mut text = String::from("unknown \"");
        text.push_str(stray);
        text.push_str("\"; known:");
        for name in known {
            text.push(' ');
            text.push_str(name);
        }
        Err(text)
    }
}

/// The decimal `text` without its point, `places` digits after it; none where that is no whole number of 64 bits.
fn shift(text: &str, places: u8) -> Option<i64> {
    let negative = text.starts_with('-');
    let (mut value, mut after_point, mut digits) = (0_i64, None, 0_u8);
    for byte in text.bytes().skip(usize::from(negative)) {
        match (byte, &mut after_point) {
            (b'0', Some(count)) if *count == places => {}
            (b'0'..=b'9', count) => {
                if let Some(count) = count {
                    *count += 1;
                    if *count > places {
                        return None;
                    }
                }
                digits += 1;
                value = value.checked_mul(10)?.checked_add(i64::from(byte - b'0'))?;
            }
            (b'.', None) if digits > 0 => after_point = Some(0),
            _ => return None,
        }
    }
    for _ in after_point.unwrap_or(0)..places {
        value = value.checked_mul(10)?;
    }
    (digits > 0).then_some(if negative { -value } else { value })
}

/// JSON text that is read from the front, by bytes: no character of more than one byte means anything to JSON.
struct Scan<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    /// The next byte; 0 at the end, which is valid nowhere in JSON.
    fn peek(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }

    fn next(&mut self) -> u8 {
        let byte = self.peek();
        self.at += 1;
        byte
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\r' | b'\n') {
            self.at += 1;
        }
    }

    fn skip(&mut self, wanted: u8) -> bool {
        self.blanks();
        let found = self.peek() == wanted;
        if found {
            self.at += 1;
            self.blanks();
        }
        found
    }

    fn literal(&mut self, word: &[u8]) -> bool {
        let found = self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word));
        if found {
            self.at += word.len();
        }
        found
    }

    fn refuse<T>(&self, expected: &str) -> Result<T, String> {
        Err(format!("not valid JSON at character {}: {expected} expected", self.at))
    }

    fn expect(&mut self, wanted: u8) -> Result<(), String> {
        match wanted {
            _ if self.skip(wanted) => Ok(()),
            b'{' => self.refuse("an opening brace"),
            b':' => self.refuse("a colon"),
            _ => self.refuse("a comma or the end"),
        }
    }

    fn end<T>(mut self, value: T) -> Result<T, String> {
        self.blanks();
        if self.at >= self.text.len() {
            Ok(value)
        } else {
            self.refuse("the end")
        }
    }

    fn slice(&self, start: usize) -> String {
        String::from_utf8_lossy(self.text.get(start..self.at).unwrap_or_default()).into_owned()
    }

    fn value(&mut self) -> Result<Scalar, String> {
        let start = self.at;
        match self.peek() {
            b'"' => self.string().map(Scalar::Text),
            b'{' | b'[' => self.nested(),
            b'-' | b'0'..=b'9' => {
                while matches!(self.peek(), b'-' | b'+' | b'.' | b'0'..=b'9' | b'e' | b'E') {
                    self.at += 1;
                }
                Ok(Scalar::Number(self.slice(start)))
            }
            _ if self.literal(b"true") => Ok(Scalar::Boolean(true)),
            _ if self.literal(b"false") => Ok(Scalar::Boolean(false)),
            _ if self.literal(b"null") => Ok(Scalar::Null),
            _ => self.refuse("a value"),
        }
    }

    fn string(&mut self) -> Result<String, String> {
        if self.next() != b'"' {
            self.at -= 1;
            return self.refuse("a string");
        }
        let mut out = Vec::new();
        loop {
            match self.next() {
                b'"' => return Ok(String::from_utf8_lossy(&out).into_owned()),
                b'\\' => match self.next() {
                    plain @ (b'"' | b'\\' | b'/') => out.push(plain),
                    b'n' => out.push(b'\n'),
                    b't' => out.push(b'\t'),
                    b'r' => out.push(b'\r'),
                    b'b' => out.push(8),
                    b'f' => out.push(12),
                    b'u' => self.unicode(&mut out)?,
                    _ => return self.refuse("an escape"),
                },
                0..=31 => return self.refuse("the end of a string"),
                plain => out.push(plain),
            }
        }
    }

    /// The character of `\uXXXX`; half of a pair becomes the replacement character.
    fn unicode(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        let mut code = 0;
        for _ in 0..4 {
            let Some(digit) = char::from(self.next()).to_digit(16) else { return self.refuse("four digits") };
            code = code * 16 + digit;
        }
        let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    /// An array or object as text: everything up to the bracket that closes it.
    fn nested(&mut self) -> Result<Scalar, String> {
        let start = self.at;
        let mut depth = 0_u32;
        loop {
            match self.peek() {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                0 => return self.refuse("a closing bracket"),
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Ok(Scalar::Nested(self.slice(start)));
            }
        }
    }
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
        assert!(settings.integer("b").is_err() && settings.scaled("b", 0).is_err());
        assert_eq!(settings.boolean("c"), Ok(Some(true)));
        assert_eq!(settings.get("d"), None);
        assert_eq!(settings.get("e"), Some(&Scalar::Nested(r#"{"f":["}"]}"#.into())));
        assert!(settings.text("c").is_err());
        assert_eq!(settings.only(&["a", "b"]), Err("unknown \"c\"; known: a b".into()));
        assert_eq!(Settings::parse("{}"), Ok(Settings::default()));
        assert_eq!(Settings::parse("null"), Ok(Settings::default()));
    }

    #[test]
    fn broken_text_is_refused() {
        for text in [
            "{",
            "[]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{\"a\":1} x",
            "{\"a\":\"",
            "{\"a\":[",
            "{\"a\":\"\\",
            "{\"a\":1 2}",
            "{\"a\":\"\\u12\"}",
        ] {
            assert!(Settings::parse(text).is_err(), "{text}");
        }
    }
}
