//! Go's `encoding/json` decoder and encoder, as far as a value that is only passed through can tell them apart from
//! others: object keys sorted by their bytes, the last of equal keys kept, no white space, `<`, `>`, `&`, U+2028 and
//! U+2029 escaped, invalid UTF-8 replaced, numbers through float64. Error texts are Go's.
//!
//! A document is an index into its source; nothing is copied that needs no change. It must not recurse: nesting is
//! bounded by a number, not by the stack.

use std::borrow::Cow;

use super::number;
use crate::limits::JSON_NESTING_DEPTH_MAX;

/// Why a document was refused, in Go's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// There was no value at all.
    #[error("EOF")]
    Empty,
    /// The source ended inside a value.
    #[error("unexpected EOF")]
    Truncated,
    /// A byte that cannot stand where it stands.
    #[error("invalid character {character} {context}")]
    Character {
        /// The byte as Go quotes it.
        character: String,
        /// Where it stood, in the words of Go's scanner.
        context: Cow<'static, str>,
    },
    /// A value of another type than the field it was meant for.
    #[error("json: cannot unmarshal {found} into Go {target}")]
    Type {
        /// What the document has: `number`, `string`, `object`, …
        found: String,
        /// `struct field X.y of type Z` or `value of type Z`.
        target: String,
    },
}

/// One value of a [`Document`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node(Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Null,
    True,
    False,
    Number(Span),
    /// Without the quotes. A plain string reads and prints as it stands in the source.
    String(Span, Plain),
    /// Range of `Document::elements`.
    Array(Span),
    /// Range of `Document::members`.
    Object(Span),
}

type Plain = bool;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    start: usize,
    end: usize,
}

#[derive(Debug, Clone, Copy)]
struct Member {
    key: Span,
    /// The key is in `Document::decoded` instead of the source.
    decoded: bool,
    value: Node,
}

/// A parsed JSON value over its source.
#[derive(Debug)]
pub struct Document<'a> {
    source: &'a [u8],
    elements: Vec<Node>,
    members: Vec<Member>,
    decoded: Vec<u8>,
    root: Node,
}

/// Parses the first JSON value of `source`; what follows it is not looked at (Go's `Decoder.Decode`).
///
/// # Errors
/// Returns what Go's scanner would say.
pub fn parse(source: &[u8]) -> Result<Document<'_>, JsonError> {
    Parser { source, position: 0, document: Document::new(source), open: Vec::new() }.run()
}

impl<'a> Document<'a> {
    fn new(source: &'a [u8]) -> Self {
        let root = Node(Kind::Null);
        Self { source, elements: Vec::new(), members: Vec::new(), decoded: Vec::new(), root }
    }

    /// The value itself.
    #[must_use]
    pub fn root(&self) -> Node {
        self.root
    }

    /// Keys and values of an object; `None` when it is no object. The outermost object shows all its members in the
    /// order of the source, any other is sorted by key and has each key once.
    pub fn object(&self, node: Node) -> Option<impl Iterator<Item = (&[u8], Node)>> {
        let Kind::Object(span) = node.0 else { return None };
        let members = self.members.get(span.start..span.end).unwrap_or_default();
        Some(members.iter().map(|member| (self.key(member), member.value)))
    }

    /// The text of a string; `None` when it is no string.
    #[must_use]
    pub fn string(&self, node: Node) -> Option<Cow<'a, str>> {
        let Kind::String(span, plain) = node.0 else { return None };
        let raw = slice(self.source, span);
        if plain && let Ok(text) = std::str::from_utf8(raw) {
            return Some(Cow::Borrowed(text));
        }
        let mut text = String::with_capacity(raw.len());
        unquote(raw, |character| text.push(character));
        Some(Cow::Owned(text))
    }

    /// Whether the value is `null`.
    #[must_use]
    pub fn is_null(&self, node: Node) -> bool {
        node.0 == Kind::Null
    }

    /// What Go calls the value's type in its errors.
    #[must_use]
    pub fn type_name(&self, node: Node) -> &'static str {
        match node.0 {
            Kind::Null => "null",
            Kind::True | Kind::False => "bool",
            Kind::Number(_) => "number",
            Kind::String(..) => "string",
            Kind::Array(_) => "array",
            Kind::Object(_) => "object",
        }
    }

    /// Appends the value as Go's `json.Marshal` prints what `json.Unmarshal` made of it.
    ///
    /// # Errors
    /// Fails at a number that no float64 holds; `field` is how Go names the place.
    pub fn write(&self, node: Node, field: &str, out: &mut Vec<u8>) -> Result<(), JsonError> {
        // Ranges still to be printed, the innermost last; `true` marks an object.
        let mut open: Vec<(Span, bool, usize)> = Vec::new();
        let mut next = Some(node);
        loop {
            if let Some(node) = next.take() {
                match node.0 {
                    Kind::Array(span) => {
                        out.push(b'[');
                        open.push((span, false, span.start));
                    }
                    Kind::Object(span) => {
                        out.push(b'{');
                        open.push((span, true, span.start));
                    }
                    scalar => self.write_scalar(scalar, field, out)?,
                }
            }
            let Some((span, is_object, position)) = open.last_mut() else { return Ok(()) };
            if *position == span.end {
                out.push(if *is_object { b'}' } else { b']' });
                open.pop();
                continue;
            }
            if *position > span.start {
                out.push(b',');
            }
            if *is_object {
                if let Some(member) = self.members.get(*position) {
                    write_text(self.key(member), out);
                    out.push(b':');
                    next = Some(member.value);
                }
            } else {
                next = self.elements.get(*position).copied();
            }
            *position += 1;
        }
    }

    fn write_scalar(&self, kind: Kind, field: &str, out: &mut Vec<u8>) -> Result<(), JsonError> {
        match kind {
            Kind::True => out.extend_from_slice(b"true"),
            Kind::False => out.extend_from_slice(b"false"),
            Kind::Number(span) => {
                let literal = std::str::from_utf8(slice(self.source, span)).unwrap_or("0");
                if !number::write(literal, out) {
                    let found = format!("number {literal}");
                    return Err(JsonError::Type { found, target: format!("{field} of type float64") });
                }
            }
            Kind::String(span, true) => {
                out.push(b'"');
                out.extend_from_slice(slice(self.source, span));
                out.push(b'"');
            }
            Kind::String(span, false) => {
                let mut text = String::new();
                unquote(slice(self.source, span), |character| text.push(character));
                write_text(text.as_bytes(), out);
            }
            Kind::Null | Kind::Array(_) | Kind::Object(_) => out.extend_from_slice(b"null"),
        }
        Ok(())
    }

    fn key(&self, member: &Member) -> &[u8] {
        slice(if member.decoded { &self.decoded } else { self.source }, member.key)
    }
}

/// Appends `text` (valid UTF-8) as a JSON string with Go's escapes.
pub fn write_text(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let mut copied = 0;
    for (index, &byte) in text.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0x08 => b"\\b",
            0x0c => b"\\f",
            b'<' => b"\\u003c",
            b'>' => b"\\u003e",
            b'&' => b"\\u0026",
            0..0x20 => &control_escape(byte),
            // U+2028 and U+2029 are E2 80 A8 and E2 80 A9.
            0xa8 | 0xa9 if text.get(index.wrapping_sub(2)..index) == Some(&[0xe2, 0x80]) => {
                out.extend_from_slice(slice(text, Span { start: copied, end: index - 2 }));
                out.extend_from_slice(if byte == 0xa8 { b"\\u2028" } else { b"\\u2029" });
                copied = index + 1;
                continue;
            }
            _ => continue,
        };
        out.extend_from_slice(slice(text, Span { start: copied, end: index }));
        out.extend_from_slice(escape);
        copied = index + 1;
    }
    out.extend_from_slice(text.get(copied..).unwrap_or_default());
    out.push(b'"');
}

fn control_escape(byte: u8) -> [u8; 6] {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    [b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]
}

fn slice(source: &[u8], span: Span) -> &[u8] {
    source.get(span.start..span.end).unwrap_or_default()
}

/// Decodes the inside of a string whose escapes were checked: lone surrogates and each invalid byte become U+FFFD.
fn unquote(raw: &[u8], mut push: impl FnMut(char)) {
    let mut rest = raw;
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'\\' {
            let (character, used) = unescape(after);
            push(character);
            rest = after.get(used..).unwrap_or_default();
        } else if byte < 0x80 {
            push(char::from(byte));
            rest = after;
        } else {
            let character = first_character(rest);
            push(character.unwrap_or(char::REPLACEMENT_CHARACTER));
            rest = rest.get(character.map_or(1, char::len_utf8)..).unwrap_or_default();
        }
    }
}

/// The first character of `bytes` when it is well-formed UTF-8.
fn first_character(bytes: &[u8]) -> Option<char> {
    let width = match bytes.first()? {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return None,
    };
    std::str::from_utf8(bytes.get(..width)?).ok()?.chars().next()
}

/// What stands after a backslash: the character and how many bytes it took.
fn unescape(after: &[u8]) -> (char, usize) {
    let simple = |character| (character, 1);
    match after.first() {
        Some(b'b') => simple('\u{8}'),
        Some(b'f') => simple('\u{c}'),
        Some(b'n') => simple('\n'),
        Some(b'r') => simple('\r'),
        Some(b't') => simple('\t'),
        Some(b'u') => {
            let high = hex4(after.get(1..5));
            if (0xd800..0xdc00).contains(&high) && after.get(5..7) == Some(b"\\u") {
                let low = hex4(after.get(7..11));
                if (0xdc00..0xe000).contains(&low) {
                    let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                    return (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 11);
                }
            }
            (char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER), 5)
        }
        Some(&other) => simple(char::from(other)),
        None => (char::REPLACEMENT_CHARACTER, 0),
    }
}

fn hex4(digits: Option<&[u8]>) -> u32 {
    digits
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| u32::from_str_radix(digits, 16).ok())
        .unwrap_or(u32::from(char::REPLACEMENT_CHARACTER))
}

/// A container that is not closed yet, with its children so far.
enum Open {
    Array(Vec<Node>),
    Object(Vec<Member>, Option<(Span, bool)>),
}

struct Parser<'a> {
    source: &'a [u8],
    position: usize,
    document: Document<'a>,
    open: Vec<Open>,
}

impl<'a> Parser<'a> {
    fn run(mut self) -> Result<Document<'a>, JsonError> {
        if self.peek().is_none() {
            return Err(JsonError::Empty);
        }
        loop {
            let Some(value) = self.value()? else { continue };
            let mut complete = value;
            loop {
                match self.attach(complete)? {
                    Attached::Root => {
                        self.document.root = complete;
                        return Ok(self.document);
                    }
                    Attached::More => break,
                    Attached::Closed(container) => complete = container,
                }
            }
        }
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.source.get(self.position) {
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.position += 1,
                other => return other.copied(),
            }
        }
    }

    fn next(&mut self) -> Result<u8, JsonError> {
        self.peek().ok_or(JsonError::Truncated)
    }

    /// Reads a scalar, or opens a container and returns `None`, or returns a container that closed at once.
    fn value(&mut self) -> Result<Option<Node>, JsonError> {
        let byte = self.next()?;
        let kind = match byte {
            b'{' => {
                self.open_container(Open::Object(Vec::new(), None), byte)?;
                return self.empty_or_first(b'}');
            }
            b'[' => {
                self.open_container(Open::Array(Vec::new()), byte)?;
                return self.empty_or_first(b']');
            }
            b'"' => {
                let (span, plain) = self.string()?;
                Kind::String(span, plain)
            }
            b't' => self.literal("true", Kind::True)?,
            b'f' => self.literal("false", Kind::False)?,
            b'n' => self.literal("null", Kind::Null)?,
            b'-' | b'0'..=b'9' => Kind::Number(self.number()?),
            other => return Err(character(other, "looking for beginning of value")),
        };
        Ok(Some(Node(kind)))
    }

    fn open_container(&mut self, container: Open, byte: u8) -> Result<(), JsonError> {
        self.position += 1;
        self.open.push(container);
        if self.open.len() > JSON_NESTING_DEPTH_MAX {
            return Err(character(byte, "exceeded max depth"));
        }
        Ok(())
    }

    fn empty_or_first(&mut self, close: u8) -> Result<Option<Node>, JsonError> {
        if self.next()? == close {
            self.position += 1;
            return Ok(self.close());
        }
        if close == b'}' {
            self.key()?;
        }
        Ok(None)
    }

    /// Puts a finished value where it belongs and reads what may follow it.
    fn attach(&mut self, value: Node) -> Result<Attached, JsonError> {
        let (close, after) = match self.open.last_mut() {
            None => return Ok(Attached::Root),
            Some(Open::Array(elements)) => {
                elements.push(value);
                (b']', "after array element")
            }
            Some(Open::Object(members, key)) => {
                if let Some((key, decoded)) = key.take() {
                    members.push(Member { key, decoded, value });
                }
                (b'}', "after object key:value pair")
            }
        };
        match self.next()? {
            b',' => {
                self.position += 1;
                if close == b'}' {
                    self.next()?;
                    self.key()?;
                }
                Ok(Attached::More)
            }
            byte if byte == close => {
                self.position += 1;
                Ok(self.close().map_or(Attached::Root, Attached::Closed))
            }
            other => Err(character(other, after)),
        }
    }

    /// Moves the children of the innermost container to the document.
    fn close(&mut self) -> Option<Node> {
        Some(Node(match self.open.pop()? {
            Open::Array(elements) => {
                let start = self.document.elements.len();
                self.document.elements.extend(elements);
                Kind::Array(Span { start, end: self.document.elements.len() })
            }
            Open::Object(mut members, _) => {
                let document = &self.document;
                let key = |member: &Member| document.key(member);
                // The outermost object is read field by field, in the order of the source (Go merges equal maps).
                let outermost = self.open.is_empty();
                if !outermost && !members.is_sorted_by(|a, b| key(a) < key(b)) {
                    // Stable, so that of equal keys the last of the source is the last here.
                    members.sort_by(|a, b| key(a).cmp(key(b)));
                    members.reverse();
                    members.dedup_by(|a, b| key(a) == key(b));
                    members.reverse();
                }
                let start = self.document.members.len();
                self.document.members.extend(members);
                Kind::Object(Span { start, end: self.document.members.len() })
            }
        }))
    }

    fn key(&mut self) -> Result<(), JsonError> {
        match self.next()? {
            b'"' => {}
            other => return Err(character(other, "looking for beginning of object key string")),
        }
        let (mut span, plain) = self.string()?;
        if !plain {
            let start = self.document.decoded.len();
            let decoded = &mut self.document.decoded;
            let mut buffer = [0; 4];
            unquote(slice(self.source, span), |character| {
                decoded.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
            });
            span = Span { start, end: decoded.len() };
        }
        if let Some(Open::Object(_, key)) = self.open.last_mut() {
            *key = Some((span, !plain));
        }
        match self.next()? {
            b':' => {
                self.position += 1;
                Ok(())
            }
            other => Err(character(other, "after object key")),
        }
    }

    /// Reads a string from its opening quote; the span is what is between the quotes.
    fn string(&mut self) -> Result<(Span, Plain), JsonError> {
        self.position += 1;
        let start = self.position;
        let mut plain = true;
        loop {
            let byte = *self.source.get(self.position).ok_or(JsonError::Truncated)?;
            self.position += 1;
            match byte {
                b'"' => return Ok((Span { start, end: self.position - 1 }, plain)),
                b'\\' => {
                    plain = false;
                    self.escape()?;
                }
                0..0x20 => return Err(character(byte, "in string literal")),
                b'<' | b'>' | b'&' | 0x80.. => plain = false,
                _ => {}
            }
        }
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        let byte = *self.source.get(self.position).ok_or(JsonError::Truncated)?;
        self.position += 1;
        match byte {
            b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => Ok(()),
            b'u' => {
                for _ in 0..4 {
                    let digit = *self.source.get(self.position).ok_or(JsonError::Truncated)?;
                    if !digit.is_ascii_hexdigit() {
                        return Err(character(digit, "in \\u hexadecimal character escape"));
                    }
                    self.position += 1;
                }
                Ok(())
            }
            other => Err(character(other, "in string escape code")),
        }
    }

    fn literal(&mut self, word: &'static str, kind: Kind) -> Result<Kind, JsonError> {
        for expected in word.bytes() {
            let byte = *self.source.get(self.position).ok_or(JsonError::Truncated)?;
            if byte != expected {
                let context = format!("in literal {word} (expecting '{}')", char::from(expected));
                return Err(JsonError::Character { character: quote(byte), context: context.into() });
            }
            self.position += 1;
        }
        Ok(kind)
    }

    fn number(&mut self) -> Result<Span, JsonError> {
        let start = self.position;
        if self.source.get(self.position) == Some(&b'-') {
            self.position += 1;
        }
        if self.source.get(self.position) == Some(&b'0') {
            self.position += 1;
        } else {
            self.digits("in numeric literal")?;
        }
        if self.source.get(self.position) == Some(&b'.') {
            self.position += 1;
            self.digits("after decimal point in numeric literal")?;
        }
        if matches!(self.source.get(self.position), Some(b'e' | b'E')) {
            self.position += 1;
            if matches!(self.source.get(self.position), Some(b'+' | b'-')) {
                self.position += 1;
            }
            self.digits("in exponent of numeric literal")?;
        }
        Ok(Span { start, end: self.position })
    }

    fn digits(&mut self, context: &'static str) -> Result<(), JsonError> {
        match self.source.get(self.position) {
            None => return Err(JsonError::Truncated),
            Some(byte) if !byte.is_ascii_digit() => return Err(character(*byte, context)),
            Some(_) => {}
        }
        while self.source.get(self.position).is_some_and(u8::is_ascii_digit) {
            self.position += 1;
        }
        Ok(())
    }
}

enum Attached {
    Root,
    More,
    Closed(Node),
}

fn character(byte: u8, context: &'static str) -> JsonError {
    JsonError::Character { character: quote(byte), context: Cow::Borrowed(context) }
}

/// A byte as Go's scanner quotes it: the byte's value is taken as a code point.
fn quote(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_owned(),
        b'"' => r#"'"'"#.to_owned(),
        b'\\' => r"'\\'".to_owned(),
        0x07 => r"'\a'".to_owned(),
        0x08 => r"'\b'".to_owned(),
        0x0b => r"'\v'".to_owned(),
        0x0c => r"'\f'".to_owned(),
        b'\n' => r"'\n'".to_owned(),
        b'\r' => r"'\r'".to_owned(),
        b'\t' => r"'\t'".to_owned(),
        0..0x20 | 0x7f => format!("'\\x{byte:02x}'"),
        0x80..=0xa0 | 0xad => format!("'\\u{byte:04x}'"),
        printable => format!("'{}'", char::from(printable)),
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
