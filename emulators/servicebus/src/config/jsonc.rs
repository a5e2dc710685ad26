//! JSON with comments and trailing commas to JSON, every other character at its old line and column.
//!
//! It must not judge the JSON: what is wrong in it the JSON reader says, with the right position.

/// Replaces comments, trailing commas and a byte order mark by blanks. Line breaks stay.
pub fn to_json(text: &str) -> String {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let length = match next {
            '"' => string_length(rest),
            '/' if rest.starts_with("//") => {
                let length = rest.find('\n').unwrap_or(rest.len());
                rest = blank(&mut out, rest, length);
                continue;
            }
            '/' if rest.starts_with("/*") => {
                let length = rest.find("*/").map_or(rest.len(), |end| end + 2);
                rest = blank(&mut out, rest, length);
                continue;
            }
            '}' | ']' => {
                blank_trailing_comma(&mut out);
                1
            }
            other => other.len_utf8(),
        };
        let (taken, left) = rest.split_at_checked(length).unwrap_or((rest, ""));
        out.push_str(taken);
        rest = left;
    }
    out
}

/// Bytes of the string at the front; an unfinished one ends with the text.
fn string_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

/// Appends as many blanks as `length` bytes have characters, and returns what follows them.
fn blank<'a>(out: &mut String, text: &'a str, length: usize) -> &'a str {
    let (comment, rest) = text.split_at_checked(length).unwrap_or((text, ""));
    out.extend(comment.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
    rest
}

fn blank_trailing_comma(out: &mut String) {
    let end = out.trim_end().len();
    if out[..end].ends_with(',') {
        out.replace_range(end - 1..end, " ");
    }
}

#[cfg(test)]
mod tests {
    use super::to_json;

    #[test]
    fn comments_and_trailing_commas_become_blanks() {
        let text = "\u{feff}{ // one\n \"a//b\": \"/* \\\" */\", /* two\n lines */ \"c\": [1, 2, /**/ ],\n}";
        let json = to_json(text);
        assert_eq!(json.matches('\n').count(), text.matches('\n').count());
        let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(value, serde_json::json!({ "a//b": "/* \" */", "c": [1, 2] }));
    }

    #[test]
    fn unfinished_things_end_with_the_text() {
        for text in ["\"abc", "/* abc", "// abc", "\"abc\\", "é/* é"] {
            assert!(to_json(text).len() <= text.len());
        }
    }
}
