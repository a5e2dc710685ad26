//! Text to tokens: words, delimited names, numbers, strings, signs, each with its position.
//!
//! It must not know what may follow what.

use super::parser::SyntaxError;

/// The smallest piece of a filter.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// A word as it was written: keyword or name.
    Word(String),
    /// `[name]` or `"name"`: never a keyword.
    Delimited(String),
    /// `@name`
    Parameter(String),
    Int(i64),
    Double(f64),
    Text(String),
    Sign(Sign),
    /// The end of the text.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Plus,
    Minus,
    Times,
    Divided,
    Modulo,
    Open,
    Close,
    Comma,
    Dot,
    Semicolon,
}

/// A token with its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Placed {
    pub token: Token,
    /// Bytes before it.
    pub start: usize,
    /// Whether a line break stands before it.
    pub on_new_line: bool,
}

/// Signs, longer ones first.
const SIGNS: [(&str, Sign); 18] = [
    ("<>", Sign::NotEqual),
    ("!=", Sign::NotEqual),
    ("<=", Sign::LessOrEqual),
    (">=", Sign::GreaterOrEqual),
    ("==", Sign::Equal),
    ("=", Sign::Equal),
    ("<", Sign::Less),
    (">", Sign::Greater),
    ("+", Sign::Plus),
    ("-", Sign::Minus),
    ("*", Sign::Times),
    ("/", Sign::Divided),
    ("%", Sign::Modulo),
    ("(", Sign::Open),
    (")", Sign::Close),
    (",", Sign::Comma),
    (".", Sign::Dot),
    (";", Sign::Semicolon),
];

/// Cuts a text into tokens; the last is [`Token::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<Placed>, SyntaxError> {
    let mut lexer = Lexer { text, at: 0 };
    let mut tokens = Vec::new();
    loop {
        let on_new_line = lexer.skip_blanks();
        let start = lexer.at;
        let token = lexer.next()?;
        let is_end = token == Token::End;
        tokens.push(Placed { token, start, on_new_line });
        if is_end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

fn is_word_start(char: char) -> bool {
    char.is_alphabetic() || char == '_'
}

fn is_word_part(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn error(&self, start: usize, problem: impl Into<String>) -> SyntaxError {
        SyntaxError::new(self.text, start, problem)
    }

    /// Returns whether there was a line break among the blanks.
    fn skip_blanks(&mut self) -> bool {
        let rest = self.rest();
        let blanks = rest.len() - rest.trim_start().len();
        self.at += blanks;
        rest.get(..blanks).unwrap_or_default().contains('\n')
    }

    /// Takes what `belongs`.
    fn take(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.find(|char| !belongs(char)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    fn next(&mut self) -> Result<Token, SyntaxError> {
        let start = self.at;
        let rest = self.rest();
        let mut chars = rest.chars();
        let Some(first) = chars.next() else { return Ok(Token::End) };
        let second = chars.next();
        match first {
            '\'' => self.delimited(start, '\'', "string").map(Token::Text),
            '"' => self.delimited(start, '"', "name").map(Token::Delimited),
            '[' => self.delimited(start, ']', "name").map(Token::Delimited),
            '@' => {
                self.at += 1;
                match self.take(is_word_part) {
                    "" => Err(self.error(start, "a name is missing after '@'")),
                    name => Ok(Token::Parameter(name.to_owned())),
                }
            }
            first if is_word_start(first) => Ok(Token::Word(self.take(is_word_part).to_owned())),
            first if first.is_ascii_digit() => self.number(start),
            '.' if second.is_some_and(|second| second.is_ascii_digit()) => self.number(start),
            other => {
                let sign = SIGNS.iter().find(|(text, _)| rest.starts_with(text));
                let (text, sign) =
                    sign.ok_or_else(|| self.error(start, format!("{other:?} is not expected here")))?;
                self.at += text.len();
                Ok(Token::Sign(*sign))
            }
        }
    }

    /// What stands up to `end`, which stands for itself when it is doubled.
    fn delimited(&mut self, start: usize, end: char, what: &str) -> Result<String, SyntaxError> {
        self.at += 1;
        let mut content = String::new();
        loop {
            content.push_str(self.take(|char| char != end));
            let mut rest = self.rest().chars();
            match (rest.next(), rest.next()) {
                (Some(_), Some(second)) if second == end => {
                    content.push(end);
                    self.at += 2;
                }
                (Some(_), _) => {
                    self.at += 1;
                    break;
                }
                (None, _) => return Err(self.error(start, format!("the {what} that begins here has no end"))),
            }
        }
        if content.is_empty() && what == "name" {
            return Err(self.error(start, "a name has at least one character"));
        }
        Ok(content)
    }

    /// `12`, `1.5`, `.5`, `1e3`: a whole number of 64 bits, or a floating-point one.
    fn number(&mut self, start: usize) -> Result<Token, SyntaxError> {
        self.take(|char| char.is_ascii_digit());
        let mut is_double = false;
        if self.rest().starts_with('.') {
            is_double = true;
            self.at += 1;
            self.take(|char| char.is_ascii_digit());
        }
        if self.rest().starts_with(['e', 'E']) {
            let exponent = self.rest().get(1..).unwrap_or_default();
            let signed = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            if signed.starts_with(|char: char| char.is_ascii_digit()) {
                is_double = true;
                self.at += 1 + (exponent.len() - signed.len());
                self.take(|char| char.is_ascii_digit());
            }
        }
        let digits = self.text.get(start..self.at).unwrap_or_default();
        if self.rest().starts_with(is_word_start) {
            return Err(self.error(start, format!("'{digits}' is followed by a letter")));
        }
        if is_double {
            let number = digits.parse().ok().filter(|number: &f64| number.is_finite());
            return number
                .map(Token::Double)
                .ok_or_else(|| self.error(start, format!("'{digits}' is too large a number")));
        }
        let number = digits.parse().map(Token::Int);
        number.map_err(|_| self.error(start, format!("'{digits}' does not fit a whole number of 64 bits")))
    }
}
