//! One top-level field of a JSON object, found by a scan that stops at it.
//!
//! It must not build values: a body may be large, and only one short field of it is wanted.

use crate::limits::RECORD_KEY_BYTES_MAX;

/// The JSON text of the field `name`, if `body` is an object that has it with a string, a number or a boolean.
pub fn find(body: &[u8], name: &str) -> Option<String> {
    let mut scanner = Scanner { rest: body };
    scanner.expect(b'{')?;
    loop {
        let key = scanner.string()?;
        scanner.expect(b':')?;
        let value = scanner.value()?;
        if key_is(key, name) {
            let short = value.len() <= RECORD_KEY_BYTES_MAX;
            let scalar = !matches!(value.first(), None | Some(b'{' | b'[' | b'n'));
            // What is kept goes out as JSON again, so it has to be some.
            let valid = || serde_json::from_slice::<serde::de::IgnoredAny>(value).is_ok();
            return (short && scalar && valid()).then(|| String::from_utf8_lossy(value).into_owned());
        }
        scanner.expect(b',')?;
    }
}

/// Whether a quoted key, with its escapes, is `name`.
fn key_is(quoted: &[u8], name: &str) -> bool {
    let inside = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
    inside == name.as_bytes()
        || inside.contains(&b'\\') && serde_json::from_slice::<String>(quoted).is_ok_and(|key| key == name)
}

struct Scanner<'a> {
    rest: &'a [u8],
}

impl<'a> Scanner<'a> {
    fn space(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.space();
        self.rest = self.rest.strip_prefix(&[byte])?;
        Some(())
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    /// A string with its quotes.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.space();
        let length = string_length(self.rest)?;
        self.take(length)
    }

    /// Any value, trimmed.
    fn value(&mut self) -> Option<&'a [u8]> {
        self.space();
        match self.rest.first()? {
            b'"' => self.string(),
            b'{' | b'[' => {
                let length = nested_length(self.rest)?;
                self.take(length)
            }
            _ => {
                let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace();
                let length = self.rest.iter().position(ends)?;
                self.take(length)
            }
        }
    }
}

/// Bytes of the string at the front, quotes included.
fn string_length(text: &[u8]) -> Option<usize> {
    if text.first() != Some(&b'"') {
        return None;
    }
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Bytes of the object or array at the front.
fn nested_length(text: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (0, 0_usize);
    loop {
        match text.get(at)? {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            b'"' => {
                at += string_length(text.get(at..)?)?;
                continue;
            }
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::find;

    fn found(body: &str) -> Option<String> {
        find(body.as_bytes(), "orderId")
    }

    #[test]
    fn the_field_is_found_at_the_top_level_only() {
        assert_eq!(found(r#"{"orderId":17}"#).as_deref(), Some("17"));
        assert_eq!(
            found(r#" { "a":{"orderId":1}, "b":["}\"",{}], "orderId" : "x\"y" }"#).as_deref(),
            Some(r#""x\"y""#)
        );
        assert_eq!(found(r#"{"a":"orderId","\u006frderId":true}"#).as_deref(), Some("true"));
        assert_eq!(found(r#"{"a":{"orderId":1}}"#), None);
    }

    #[test]
    fn what_is_no_scalar_or_no_json_is_no_key() {
        let bodies = [
            "",
            "{",
            "[1]",
            "{}",
            r#"{"orderId":null}"#,
            r#"{"orderId":{}}"#,
            r#"{"orderId":1"#,
            r#"{"orderId":x}"#,
        ];
        for body in bodies {
            assert_eq!(found(body), None, "{body}");
        }
        assert_eq!(found(&format!(r#"{{"orderId":"{}"}}"#, "x".repeat(300))), None);
    }

    #[test]
    fn unbalanced_brackets_end_the_scan() {
        for body in [r#"{"a":]"#, r#"{"a":}}"#, r#"{"a":"\"#, r#"{"a":[[["#] {
            assert_eq!(found(body), None, "{body}");
        }
    }
}
