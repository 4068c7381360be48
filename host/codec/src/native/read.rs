//! Text → `Node`: upstream's lenient grammar (device API §8.1), of which strict JSON is a part.
//!
//! Depth is bounded, so the recursion is; numbers keep their spelling; names and texts without escapes are
//! borrowed. Nothing here knows what a value becomes (`typing.rs`).

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use wireglot_model::limits::JSON_DEPTH_MAX;

use super::JsonRefusal;

/// One JSON value.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) enum Node<'a> {
    #[default]
    Null,
    Bool(bool),
    /// The spelling of a strict JSON number.
    Number(&'a str),
    /// A quoted text, or a bare word that is neither a keyword nor a number.
    Text(Cow<'a, str>),
    Array(Vec<Node<'a>>),
    Object(Members<'a>),
}

/// The members of an object, each name once.
pub(super) type Members<'a> = Vec<(Cow<'a, str>, Node<'a>)>;

/// Objects up to this size are searched for duplicate names pair by pair, which needs no memory.
const PAIRWISE_MEMBERS_MAX: usize = 16;
/// Room for a usual device's record without growing.
const MEMBERS_EXPECTED: usize = 8;

/// The one value that the text holds.
pub(super) fn document(text: &str) -> Result<Node<'_>, JsonRefusal> {
    whole(text).map_err(|Malformed { problem, at }| JsonRefusal::Syntax { problem, at })
}

/// Why and where reading stopped. Small, because every token's result has room for it.
struct Malformed {
    problem: &'static str,
    at: usize,
}

fn whole(text: &str) -> Result<Node<'_>, Malformed> {
    let mut reader = Reader { text, at: 0, depth: 0 };
    reader.skip("\u{feff}");
    if reader.next()?.is_none() {
        return Err(reader.refuse("the payload is empty"));
    }
    if !reader.skip(")]}'\n") {
        reader.skip(")]}'\r\n");
    }
    let node = reader.value()?;
    match reader.next()? {
        None => Ok(node),
        Some(_) => Err(reader.refuse("text after the end of the document")),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn refuse(&self, problem: &'static str) -> Malformed {
        Malformed { problem, at: self.at }
    }

    fn skip(&mut self, prefix: &str) -> bool {
        let found = self.rest().starts_with(prefix.as_bytes());
        if found {
            self.at += prefix.len();
        }
        found
    }

    /// The text from `start` to here. Both lie beside ASCII characters, or at an end of the text.
    fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).expect("a token starts and ends beside an ASCII character")
    }

    /// The next byte that is neither white space nor comment; it is not consumed.
    #[inline]
    fn next(&mut self) -> Result<Option<u8>, Malformed> {
        match self.peek() {
            Some(b' ' | b'\n' | b'\r' | b'\t' | b'#' | b'/') => self.next_behind_space(),
            byte => Ok(byte),
        }
    }

    fn next_behind_space(&mut self) -> Result<Option<u8>, Malformed> {
        loop {
            match self.peek() {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                Some(b'#') => self.skip_line(),
                Some(b'/') if self.rest().starts_with(b"//") => self.skip_line(),
                Some(b'/') if self.rest().starts_with(b"/*") => self.skip_comment()?,
                byte => return Ok(byte),
            }
        }
    }

    fn skip_line(&mut self) {
        let line = self.rest().iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        self.at += line.unwrap_or(self.rest().len());
    }

    fn skip_comment(&mut self) -> Result<(), Malformed> {
        let body = self.rest().get(2..).unwrap_or_default();
        match body.windows(2).position(|pair| pair == b"*/") {
            Some(length) => self.at += 2 + length + 2,
            None => return Err(self.refuse("a comment does not end")),
        }
        Ok(())
    }

    fn value(&mut self) -> Result<Node<'a>, Malformed> {
        match self.next()? {
            Some(b'{') => self.object(),
            Some(b'[') => self.array(),
            Some(quote @ (b'"' | b'\'')) => self.quoted(quote).map(Node::Text),
            _ => self.bare_word("a value is missing").map(classify),
        }
    }

    fn enter(&mut self) -> Result<(), Malformed> {
        if self.depth == JSON_DEPTH_MAX {
            return Err(self.refuse("nested too deeply"));
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    fn leave(&mut self) {
        self.depth -= 1;
        self.at += 1;
    }

    fn object(&mut self) -> Result<Node<'a>, Malformed> {
        self.enter()?;
        let mut members = Members::with_capacity(MEMBERS_EXPECTED);
        if self.next()? == Some(b'}') {
            self.leave();
            return Ok(Node::Object(members));
        }
        loop {
            let name = match self.next()? {
                Some(quote @ (b'"' | b'\'')) => self.quoted(quote)?,
                _ => Cow::Borrowed(self.bare_word("a member name is missing")?),
            };
            match self.next()? {
                Some(b':') => self.at += 1,
                Some(b'=') => {
                    self.at += 1;
                    self.skip(">");
                }
                _ => return Err(self.refuse("`:` is missing after a member name")),
            }
            members.push((name, self.value()?));
            match self.next()? {
                Some(b',' | b';') => self.at += 1,
                Some(b'}') => break,
                _ => return Err(self.refuse("`,` or `}` is missing in an object")),
            }
        }
        self.leave();
        Ok(Node::Object(last_of_each_name(members)))
    }

    fn array(&mut self) -> Result<Node<'a>, Malformed> {
        self.enter()?;
        let mut elements = Vec::new();
        if self.next()? != Some(b']') {
            loop {
                elements.push(match self.next()? {
                    // An omitted element is null, the one after a last comma included.
                    Some(b',' | b';' | b']') => Node::Null,
                    _ => self.value()?,
                });
                match self.next()? {
                    Some(b',' | b';') => self.at += 1,
                    Some(b']') => break,
                    _ => return Err(self.refuse("`,` or `]` is missing in an array")),
                }
            }
        }
        self.leave();
        Ok(Node::Array(elements))
    }

    fn bare_word(&mut self, missing: &'static str) -> Result<&'a str, Malformed> {
        let start = self.at;
        let length = self.rest().iter().position(|byte| ends_bare_word(*byte));
        self.at += length.unwrap_or(self.rest().len());
        match self.since(start) {
            "" => Err(self.refuse(missing)),
            word => Ok(word),
        }
    }

    fn quoted(&mut self, quote: u8) -> Result<Cow<'a, str>, Malformed> {
        self.at += 1;
        let plain = self.until_escape_or(quote)?;
        if self.peek() == Some(quote) {
            self.at += 1;
            return Ok(Cow::Borrowed(plain));
        }
        let mut text = plain.to_owned();
        while self.peek() != Some(quote) {
            text.push(self.escape()?);
            text.push_str(self.until_escape_or(quote)?);
        }
        self.at += 1;
        Ok(Cow::Owned(text))
    }

    fn until_escape_or(&mut self, quote: u8) -> Result<&'a str, Malformed> {
        let start = self.at;
        let length = self.rest().iter().position(|byte| *byte == quote || *byte == b'\\');
        self.at += length.ok_or_else(|| self.refuse("a quoted text does not end"))?;
        Ok(self.since(start))
    }

    /// The character that the escape here stands for.
    fn escape(&mut self) -> Result<char, Malformed> {
        let character = match self.rest().get(1) {
            Some(b'u') => return self.unicode_escape(),
            Some(b't') => '\t',
            Some(b'b') => '\u{8}',
            Some(b'n' | b'\n') => '\n',
            Some(b'r') => '\r',
            Some(b'f') => '\u{c}',
            Some(plain @ (b'\'' | b'"' | b'\\' | b'/')) => char::from(*plain),
            _ => return Err(self.refuse("an escape that JSON does not have")),
        };
        self.at += 2;
        Ok(character)
    }

    /// A half of a surrogate pair without its other half has no meaning in UTF-8 and becomes U+FFFD.
    fn unicode_escape(&mut self) -> Result<char, Malformed> {
        let first = self.code_unit(0).ok_or_else(|| self.refuse("`\\u` needs four hexadecimal digits"))?;
        let is_high = (0xd800..0xdc00).contains(&first);
        let pair =
            if is_high { self.code_unit(6) } else { None }.filter(|low| (0xdc00..0xe000).contains(low));
        self.at += if pair.is_some() { 12 } else { 6 };
        let code = pair.map_or(first, |low| 0x10000 + ((first - 0xd800) << 10) + (low - 0xdc00));
        Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    /// The value of the `\uXXXX` that starts `offset` bytes from here.
    fn code_unit(&self, offset: usize) -> Option<u32> {
        let digits = self.rest().get(offset..offset + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0, |code, digit| Some(code << 4 | char::from(*digit).to_digit(16)?))
    }
}

/// Ends a bare word: white space, form feed included, and what means something outside quotes.
const fn ends_bare_word(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0c | b'{' | b'}' | b'[' | b']')
        || matches!(byte, b':' | b',' | b';' | b'#' | b'=' | b'/' | b'\\')
}

fn classify(word: &str) -> Node<'_> {
    if word.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return if is_json_number(word.as_bytes()) {
            Node::Number(word)
        } else {
            Node::Text(Cow::Borrowed(word))
        };
    }
    if word.eq_ignore_ascii_case("true") {
        Node::Bool(true)
    } else if word.eq_ignore_ascii_case("false") {
        Node::Bool(false)
    } else if word.eq_ignore_ascii_case("null") {
        Node::Null
    } else {
        Node::Text(Cow::Borrowed(word))
    }
}

/// The grammar of RFC 8259, section 6.
fn is_json_number(word: &[u8]) -> bool {
    fn digits(text: &[u8]) -> Option<&[u8]> {
        let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if length == 0 { None } else { text.get(length..) }
    }
    fn after(word: &[u8]) -> Option<&[u8]> {
        let unsigned = word.strip_prefix(b"-").unwrap_or(word);
        let mut rest = match unsigned.strip_prefix(b"0") {
            Some(rest) => rest,
            None => digits(unsigned)?,
        };
        if let Some(fraction) = rest.strip_prefix(b".") {
            rest = digits(fraction)?;
        }
        if let [b'e' | b'E', exponent @ ..] = rest {
            let unsigned =
                exponent.strip_prefix(b"-").or_else(|| exponent.strip_prefix(b"+")).unwrap_or(exponent);
            rest = digits(unsigned)?;
        }
        Some(rest)
    }
    after(word).is_some_and(<[u8]>::is_empty)
}

/// Of members with one name the last value stays, at the place of the first.
fn last_of_each_name(members: Members<'_>) -> Members<'_> {
    if is_each_name_once(&members) {
        return members;
    }
    let mut places: HashMap<Cow<'_, str>, usize> = HashMap::with_capacity(members.len());
    let mut kept: Members<'_> = Vec::with_capacity(members.len());
    for (name, node) in members {
        match places.get(&name).and_then(|place| kept.get_mut(*place)) {
            Some((_, earlier)) => *earlier = node,
            None => {
                places.insert(name.clone(), kept.len());
                kept.push((name, node));
            }
        }
    }
    kept
}

fn is_each_name_once(members: &Members<'_>) -> bool {
    if members.len() > PAIRWISE_MEMBERS_MAX {
        let mut seen = HashSet::with_capacity(members.len());
        return members.iter().all(|(name, _)| seen.insert(name.as_ref()));
    }
    let mut later = members.iter();
    while let Some((name, _)) = later.next() {
        if later.clone().any(|(other, _)| other == name) {
            return false;
        }
    }
    true
}
