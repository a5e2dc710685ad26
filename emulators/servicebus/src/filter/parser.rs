//! Tokens to trees, by recursive descent of bounded depth.
//!
//! Priorities, from the strongest: signs; `* / %`; `+ -`; comparisons, IN, LIKE, IS NULL; NOT; AND; OR. A value is no predicate and
//! a predicate no value, so `(a + 1) > 2` and `(a > 2) AND …` are told apart by what stands in the parentheses. It must not judge
//! messages.

use amqp::{Map, Value};

use super::lexer::{Placed, Sign, Token, tokens};
use super::like;
use super::scalar::Scalar;
use super::syntax::{Comparison, Constant, Expression, Operator, Predicate, Property, Statement};
use crate::limits::{ACTION_STATEMENTS_MAX, FILTER_BYTES_MAX, FILTER_DEPTH_MAX};

/// Why a text is no filter or action, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at character {position}: {problem}")]
pub struct SyntaxError {
    /// The character at which the mistake is, from 1.
    pub position: usize,
    /// What is wrong.
    pub problem: String,
}

impl SyntaxError {
    pub(super) fn new(text: &str, start: usize, problem: impl Into<String>) -> Self {
        let before = text.get(..start).unwrap_or(text);
        Self { position: before.chars().count() + 1, problem: problem.into() }
    }
}

/// Words that name a property only when they are delimited.
const RESERVED: [&str; 11] =
    ["AND", "OR", "NOT", "IN", "LIKE", "ESCAPE", "IS", "NULL", "TRUE", "FALSE", "EXISTS"];

/// Reads a filter.
pub(super) fn predicate(text: &str, parameters: &Map) -> Result<Predicate, SyntaxError> {
    let mut parser = Parser::new(text, parameters)?;
    let start = parser.start();
    let node = parser.or(0)?;
    let predicate = parser.truth(node, start)?;
    match parser.token() {
        Token::End => Ok(predicate),
        _ => Err(parser.unexpected("the end of the filter, AND or OR")),
    }
}

/// Reads an action's statements.
pub(super) fn statements(text: &str, parameters: &Map) -> Result<Vec<Statement>, SyntaxError> {
    let mut parser = Parser::new(text, parameters)?;
    let mut statements = Vec::new();
    while parser.take_sign(Sign::Semicolon) {}
    while *parser.token() != Token::End {
        if statements.len() == ACTION_STATEMENTS_MAX {
            let problem = format!("an action has at most {ACTION_STATEMENTS_MAX} statements");
            return Err(parser.error(parser.start(), problem));
        }
        statements.push(parser.statement()?);
        let mut ended = *parser.token() == Token::End || parser.is_on_new_line();
        while parser.take_sign(Sign::Semicolon) {
            ended = true;
        }
        if !ended {
            return Err(parser.unexpected("';' or a new line"));
        }
    }
    if statements.is_empty() {
        return Err(parser.error(0, "an action has at least one statement, SET or REMOVE"));
    }
    Ok(statements)
}

/// What a piece of text turned out to be.
enum Node {
    Value(Expression),
    Truth(Predicate),
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Placed>,
    at: usize,
    parameters: &'a Map,
}

const END: Placed = Placed { token: Token::End, start: usize::MAX, on_new_line: false };

impl<'a> Parser<'a> {
    fn new(text: &'a str, parameters: &'a Map) -> Result<Self, SyntaxError> {
        if text.len() > FILTER_BYTES_MAX {
            let problem =
                format!("the text has {} bytes, more than the {FILTER_BYTES_MAX} that are read", text.len());
            return Err(SyntaxError { position: FILTER_BYTES_MAX, problem });
        }
        Ok(Self { text, tokens: tokens(text)?, at: 0, parameters })
    }

    fn peek(&self, ahead: usize) -> &Placed {
        self.tokens.get(self.at + ahead).unwrap_or(&END)
    }

    fn token(&self) -> &Token {
        &self.peek(0).token
    }

    fn start(&self) -> usize {
        self.peek(0).start
    }

    fn is_on_new_line(&self) -> bool {
        self.peek(0).on_new_line
    }

    fn error(&self, start: usize, problem: impl Into<String>) -> SyntaxError {
        SyntaxError::new(self.text, start, problem)
    }

    fn unexpected(&self, expected: &str) -> SyntaxError {
        let from = self.text.get(self.start()..).unwrap_or_default();
        let found: String = from.chars().take(20).collect();
        let found = if found.is_empty() { "the end".to_owned() } else { format!("'{found}'") };
        self.error(self.start(), format!("{expected} is expected, not {found}"))
    }

    fn take_sign(&mut self, sign: Sign) -> bool {
        let taken = *self.token() == Token::Sign(sign);
        self.at += usize::from(taken);
        taken
    }

    fn expect_sign(&mut self, sign: Sign, name: &str) -> Result<(), SyntaxError> {
        if self.take_sign(sign) { Ok(()) } else { Err(self.unexpected(name)) }
    }

    fn is_word(&self, ahead: usize, word: &str) -> bool {
        matches!(&self.peek(ahead).token, Token::Word(found) if found.eq_ignore_ascii_case(word))
    }

    fn take_word(&mut self, word: &str) -> bool {
        let taken = self.is_word(0, word);
        self.at += usize::from(taken);
        taken
    }

    fn deeper(&self, depth: usize) -> Result<usize, SyntaxError> {
        if depth < FILTER_DEPTH_MAX {
            return Ok(depth + 1);
        }
        Err(self.error(self.start(), format!("this is nested deeper than {FILTER_DEPTH_MAX}")))
    }

    fn truth(&self, node: Node, start: usize) -> Result<Predicate, SyntaxError> {
        match node {
            Node::Truth(predicate) => Ok(predicate),
            Node::Value(_) => {
                let problem =
                    "a value is no condition; compare it, as in 'name = TRUE' or 'name IS NOT NULL'";
                Err(self.error(start, problem))
            }
        }
    }

    fn value(&self, node: Node, start: usize) -> Result<Expression, SyntaxError> {
        match node {
            Node::Value(value) => Ok(value),
            Node::Truth(_) => Err(self.error(start, "a condition has no value that could be used here")),
        }
    }

    /// Conditions with one word between them.
    fn joined(
        &mut self,
        depth: usize,
        word: &str,
        inner: fn(&mut Self, usize) -> Result<Node, SyntaxError>,
        join: fn(Vec<Predicate>) -> Predicate,
    ) -> Result<Node, SyntaxError> {
        let start = self.start();
        let first = inner(self, depth)?;
        if !self.is_word(0, word) {
            return Ok(first);
        }
        let mut parts = vec![self.truth(first, start)?];
        while self.take_word(word) {
            let start = self.start();
            let next = inner(self, depth)?;
            parts.push(self.truth(next, start)?);
        }
        Ok(Node::Truth(join(parts)))
    }

    fn or(&mut self, depth: usize) -> Result<Node, SyntaxError> {
        self.joined(depth, "OR", Self::and, Predicate::Or)
    }

    fn and(&mut self, depth: usize) -> Result<Node, SyntaxError> {
        self.joined(depth, "AND", Self::not, Predicate::And)
    }

    fn not(&mut self, depth: usize) -> Result<Node, SyntaxError> {
        if !self.take_word("NOT") {
            return self.condition(depth);
        }
        let start = self.start();
        let inner = self.not(self.deeper(depth)?)?;
        self.truth(inner, start).map(|inner| Node::Truth(Predicate::Not(Box::new(inner))))
    }

    /// A comparison, IN, LIKE or IS NULL; or what stands alone.
    fn condition(&mut self, depth: usize) -> Result<Node, SyntaxError> {
        let start = self.start();
        let left = self.sum(depth)?;
        if let Some(comparison) = self.take_comparison() {
            let left = self.value(left, start)?;
            let right = self.sum_value(depth)?;
            return Ok(Node::Truth(Predicate::Compare(left, comparison, right)));
        }
        if self.take_word("IS") {
            let negated = self.take_word("NOT");
            if !self.take_word("NULL") {
                return Err(self.unexpected("NULL"));
            }
            return match left {
                Node::Value(Expression::Property(property)) => {
                    Ok(Node::Truth(Predicate::IsNull { property, negated }))
                }
                _ => Err(self.error(start, "only of a property it can be told whether it is NULL")),
            };
        }
        let negated = self.is_word(0, "NOT");
        self.at += usize::from(negated);
        if !["IN", "LIKE"].iter().any(|word| self.is_word(0, word)) {
            return if negated { Err(self.unexpected("IN or LIKE")) } else { Ok(left) };
        }
        let value = self.value(left, start)?;
        if self.take_word("LIKE") {
            return self.like(depth, value, negated);
        }
        self.at += 1;
        self.expect_sign(Sign::Open, "'('")?;
        let depth = self.deeper(depth)?;
        let mut list = vec![self.sum_value(depth)?];
        while self.take_sign(Sign::Comma) {
            list.push(self.sum_value(depth)?);
        }
        self.expect_sign(Sign::Close, "',' or ')'")?;
        Ok(Node::Truth(Predicate::In { value, list, negated }))
    }

    fn like(&mut self, depth: usize, value: Expression, negated: bool) -> Result<Node, SyntaxError> {
        let start = self.start();
        let pattern = self.sum_value(depth)?;
        let escape_start = self.start();
        let escape = if self.take_word("ESCAPE") { Some(self.sum_value(depth)?) } else { None };
        let text = |value: &Expression| match value {
            Expression::Constant(Constant::Text(text)) => Some(text.clone()),
            _ => None,
        };
        // What is known now is checked now; the rest when there is a message.
        let mut escape_char = None;
        if let Some(text) = escape.as_ref().and_then(text) {
            let found = like::escape_char(&text);
            escape_char = Some(found.map_err(|error| self.error(escape_start, error.to_string()))?);
        }
        if let (Some(text), false) = (text(&pattern), escape.is_some() && escape_char.is_none()) {
            like::check(&text, escape_char).map_err(|error| self.error(start, error.to_string()))?;
        }
        Ok(Node::Truth(Predicate::Like { value, pattern, escape, negated }))
    }

    fn take_comparison(&mut self) -> Option<Comparison> {
        let comparison = match self.token() {
            Token::Sign(Sign::Equal) => Comparison::Equal,
            Token::Sign(Sign::NotEqual) => Comparison::NotEqual,
            Token::Sign(Sign::Less) => Comparison::Less,
            Token::Sign(Sign::LessOrEqual) => Comparison::LessOrEqual,
            Token::Sign(Sign::Greater) => Comparison::Greater,
            Token::Sign(Sign::GreaterOrEqual) => Comparison::GreaterOrEqual,
            _ => return None,
        };
        self.at += 1;
        Some(comparison)
    }

    fn sum_value(&mut self, depth: usize) -> Result<Expression, SyntaxError> {
        let start = self.start();
        let node = self.sum(depth)?;
        self.value(node, start)
    }

    fn sum(&mut self, depth: usize) -> Result<Node, SyntaxError> {
        self.chain(depth, Self::product, |token| match token {
            Token::Sign(Sign::Plus) => Some(Operator::Plus),
            Token::Sign(Sign::Minus) => Some(Operator::Minus),
            _ => None,
        })
    }

    fn product(&mut self, depth: usize) -> Result<Node, SyntaxError> {
        self.chain(depth, Self::signed, |token| match token {
            Token::Sign(Sign::Times) => Some(Operator::Times),
            Token::Sign(Sign::Divided) => Some(Operator::Divided),
            Token::Sign(Sign::Modulo) => Some(Operator::Modulo),
            _ => None,
        })
    }

    /// Values with operators of one precedence between them.
    fn chain(
        &mut self,
        depth: usize,
        inner: fn(&mut Self, usize) -> Result<Node, SyntaxError>,
        operator: fn(&Token) -> Option<Operator>,
    ) -> Result<Node, SyntaxError> {
        let start = self.start();
        let first = inner(self, depth)?;
        if operator(self.token()).is_none() {
            return Ok(first);
        }
        let first = self.value(first, start)?;
        let mut rest = Vec::new();
        while let Some(operator) = operator(self.token()) {
            self.at += 1;
            let start = self.start();
            let next = inner(self, depth)?;
            rest.push((operator, self.value(next, start)?));
        }
        Ok(Node::Value(Expression::Chain(Box::new(first), rest)))
    }

    fn signed(&mut self, depth: usize) -> Result<Node, SyntaxError> {
        let wrap = match self.token() {
            Token::Sign(Sign::Minus) => Expression::Minus,
            Token::Sign(Sign::Plus) => Expression::Plus,
            _ => return self.primary(depth),
        };
        let depth = self.deeper(depth)?;
        self.at += 1;
        let start = self.start();
        let inner = self.signed(depth)?;
        self.value(inner, start).map(|inner| Node::Value(wrap(Box::new(inner))))
    }

    fn primary(&mut self, depth: usize) -> Result<Node, SyntaxError> {
        let constant = match self.token() {
            Token::Int(number) => Constant::Int(*number),
            Token::Double(number) => Constant::Double(*number),
            Token::Text(text) => Constant::Text(text.clone()),
            Token::Word(word) if word.eq_ignore_ascii_case("TRUE") => Constant::Bool(true),
            Token::Word(word) if word.eq_ignore_ascii_case("FALSE") => Constant::Bool(false),
            Token::Word(word) if word.eq_ignore_ascii_case("NULL") => Constant::Null,
            Token::Parameter(name) => {
                let name = name.clone();
                let value = self.parameter(&name)?;
                self.at += 1;
                return Ok(Node::Value(Expression::Parameter(name, value)));
            }
            Token::Sign(Sign::Open) => {
                let depth = self.deeper(depth)?;
                self.at += 1;
                let inner = self.or(depth)?;
                self.expect_sign(Sign::Close, "')'")?;
                return Ok(inner);
            }
            _ => return self.named(depth),
        };
        self.at += 1;
        Ok(Node::Value(Expression::Constant(constant)))
    }

    fn parameter(&self, name: &str) -> Result<Scalar<'static>, SyntaxError> {
        let is_it = |key: &Value| {
            let key = key.as_str().unwrap_or_default();
            key.strip_prefix('@').unwrap_or(key).eq_ignore_ascii_case(name)
        };
        let found = self.parameters.0.iter().find(|(key, _)| is_it(key));
        let problem = || self.error(self.start(), format!("the parameter '@{name}' has no value"));
        found.map(|(_, value)| Scalar::of(value).into_owned()).ok_or_else(problem)
    }

    /// A function, EXISTS or a property.
    fn named(&mut self, depth: usize) -> Result<Node, SyntaxError> {
        if self.take_word("EXISTS") {
            self.expect_sign(Sign::Open, "'('")?;
            let property = self.property()?;
            self.expect_sign(Sign::Close, "')'")?;
            return Ok(Node::Truth(Predicate::Exists(property)));
        }
        if self.peek(1).token == Token::Sign(Sign::Open)
            && let Token::Word(name) = self.token()
        {
            let (name, start) = (name.to_ascii_lowercase(), self.start());
            self.at += 2;
            let value = match name.as_str() {
                "newid" => Expression::NewId,
                "property" | "p" => Expression::PropertyNamed(Box::new(self.sum_value(self.deeper(depth)?)?)),
                _ => {
                    let problem = format!(
                        "there is no function '{name}'; there are newid(), property(name) and p(name)"
                    );
                    return Err(self.error(start, problem));
                }
            };
            self.expect_sign(Sign::Close, "')'")?;
            return Ok(Node::Value(value));
        }
        self.property().map(|property| Node::Value(Expression::Property(property)))
    }

    fn property(&mut self) -> Result<Property, SyntaxError> {
        let scoped = self.peek(1).token == Token::Sign(Sign::Dot);
        let scope = ["sys", "user"].into_iter().find(|scope| scoped && self.is_word(0, scope));
        if scope.is_some() {
            self.at += 2;
        }
        let name = match self.token() {
            Token::Delimited(name) => name.clone(),
            Token::Word(word) => match RESERVED.iter().find(|reserved| reserved.eq_ignore_ascii_case(word)) {
                Some(reserved) => {
                    let problem =
                        format!("{reserved} is a reserved word; a property of that name is written [{word}]");
                    return Err(self.error(self.start(), problem));
                }
                None => word.clone(),
            },
            _ => return Err(self.unexpected("a value or a property")),
        };
        self.at += 1;
        if self.take_sign(Sign::Dot) {
            let problem = "a property's scope is 'sys' or 'user'; a name with a dot is written [a.b]";
            return Err(self.error(self.peek(0).start, problem));
        }
        Ok(if scope == Some("sys") { Property::system(&name) } else { Property::User(name) })
    }

    fn statement(&mut self) -> Result<Statement, SyntaxError> {
        let set = self.take_word("SET");
        if !set && !self.take_word("REMOVE") {
            return Err(self.unexpected("SET or REMOVE"));
        }
        let start = self.start();
        let property = self.property()?;
        match &property {
            Property::NoSystem(name) => {
                return Err(self.error(start, format!("there is no system property 'sys.{name}'")));
            }
            Property::System(system) if !system.is_assignable() => {
                let problem = format!("'sys.{}' is the service's and cannot be changed", system.name());
                return Err(self.error(start, problem));
            }
            _ => {}
        }
        if !set {
            return Ok(Statement::Remove(property));
        }
        self.expect_sign(Sign::Equal, "'='")?;
        let value = self.sum_value(0)?;
        Ok(Statement::Set(property, value))
    }
}
