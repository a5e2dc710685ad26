//! The patterns of LIKE: `%` is any run of characters, `_` any one, and the escape character makes the next one plain.
//!
//! It takes time in proportion to pattern times text at most. It must not allocate.

use std::str::Chars;

use super::EvaluationError;

/// A piece of a pattern.
enum Piece {
    Run,
    One,
    Plain(char),
}

/// The pieces of a pattern.
#[derive(Clone)]
struct Pieces<'a> {
    chars: Chars<'a>,
    escape: Option<char>,
}

impl Pieces<'_> {
    fn next(&mut self) -> Result<Option<Piece>, EvaluationError> {
        Ok(match self.chars.next() {
            None => None,
            Some(char) if Some(char) == self.escape => {
                let escaped = self.chars.next();
                let ends = EvaluationError::Pattern("the pattern of LIKE ends with its escape character");
                Some(Piece::Plain(escaped.ok_or(ends)?))
            }
            Some('%') => Some(Piece::Run),
            Some('_') => Some(Piece::One),
            Some(plain) => Some(Piece::Plain(plain)),
        })
    }
}

/// The escape character that a text is.
pub(super) fn escape_char(text: &str) -> Result<char, EvaluationError> {
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(char), None) => Ok(char),
        _ => Err(EvaluationError::Pattern("the ESCAPE of LIKE is one character")),
    }
}

/// Whether a pattern is one.
pub(super) fn check(pattern: &str, escape: Option<char>) -> Result<(), EvaluationError> {
    let mut pieces = Pieces { chars: pattern.chars(), escape };
    while pieces.next()?.is_some() {}
    Ok(())
}

/// Whether a text is like a pattern.
pub(super) fn like(text: &str, pattern: &str, escape: Option<char>) -> Result<bool, EvaluationError> {
    let mut pieces = Pieces { chars: pattern.chars(), escape };
    let mut rest = text.chars();
    // Where to go on when the latest run has to take one character more.
    let mut retry: Option<(Pieces<'_>, Chars<'_>)> = None;
    loop {
        let (before, mut after) = (rest.clone(), rest.clone());
        let goes_on = match pieces.next()? {
            Some(Piece::Run) => {
                retry = Some((pieces.clone(), before));
                continue;
            }
            Some(Piece::One) => after.next().is_some(),
            Some(Piece::Plain(plain)) => after.next() == Some(plain),
            None if rest.as_str().is_empty() => return Ok(true),
            None => false,
        };
        if goes_on {
            rest = after;
            continue;
        }
        let Some((from, text)) = &mut retry else { return Ok(false) };
        if text.next().is_none() {
            return Ok(false);
        }
        pieces = from.clone();
        rest = text.clone();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, without a thought for its cost.
    fn model(text: &[char], pattern: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('%', rest)) => (0..=text.len()).any(|taken| model(&text[taken..], rest)),
            Some(('!', rest)) => {
                text.first().is_some_and(|c| rest.first() == Some(c)) && model(&text[1..], &rest[1..])
            }
            Some(('_', rest)) => !text.is_empty() && model(&text[1..], rest),
            Some((plain, rest)) => text.first() == Some(plain) && model(&text[1..], rest),
        }
    }

    proptest! {
        #[test]
        fn a_pattern_means_what_its_definition_says(text in "[ab%_é]{0,8}", pattern in "([ab%_é]|![%_!ab]){0,6}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(like(&text, &pattern, Some('!')), Ok(model(&chars(&text), &chars(&pattern))));
        }
    }

    #[test]
    fn a_pattern_of_runs_takes_no_exponential_time() {
        let (text, pattern) = ("a".repeat(20_000), format!("{}b", "%a".repeat(50)));
        assert_eq!(like(&text, &pattern, None), Ok(false));
    }

    #[test]
    fn an_escape_is_one_character_and_ends_no_pattern() {
        assert!(escape_char("").is_err() && escape_char("ab").is_err());
        assert_eq!(escape_char("é"), Ok('é'));
        assert!(check("a\\", Some('\\')).is_err());
        assert_eq!(like("10%", "10\\%", Some('\\')), Ok(true));
        assert_eq!(like("100", "10\\%", Some('\\')), Ok(false));
    }
}
