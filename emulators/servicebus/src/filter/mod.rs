//! Rules of subscriptions: which messages match a filter, and what an action makes of a copy.
//!
//! A pure language: text or fields in, an answer out. Text goes through `lexer` and `parser` into [`syntax`] trees, which
//! `evaluate` judges in the three-valued logic of SQL-92. It must not know entities, links or the wire; of a message it sees
//! [`Fields`].
//!
//! Sources: the service's documentation of SQL filters, SQL actions and correlation filters. What it leaves open is decided
//! here and pinned by tests: values of different types neither equal nor differ (the answer is unknown); an overflow and a
//! division by zero are errors; property names of SQL are the same in any case, those of correlation filters are not.

mod action;
mod correlation;
mod evaluate;
mod fields;
mod lexer;
mod like;
mod parser;
mod scalar;
pub mod syntax;

pub use action::SqlAction;
pub use correlation::CorrelationFilter;
pub use fields::{Fields, SystemProperty};
pub use parser::SyntaxError;
pub use scalar::Scalar;

use amqp::Map;

use syntax::{Comparison, Constant, Expression, Predicate};

/// Why a filter or an action has no answer for a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// The service has no such system property.
    #[error("there is no system property 'sys.{0}'")]
    NoSystemProperty(String),
    /// A whole number left the 64 bits that it has.
    #[error("the result of '{0}' does not fit 64 bits")]
    Overflow(&'static str),
    /// A whole number was divided by zero.
    #[error("division by zero")]
    DivisionByZero,
    /// A pattern of LIKE that is none.
    #[error("{0}")]
    Pattern(&'static str),
    /// A value that a system property cannot have.
    #[error("'sys.{property}' cannot be {found}")]
    NotAssignable {
        /// The property.
        property: &'static str,
        /// What it was to be.
        found: &'static str,
    },
}

/// A SQL filter: its text and what it means.
#[derive(Debug, Clone, PartialEq)]
pub struct SqlFilter {
    text: String,
    predicate: Predicate,
    constant: Option<bool>,
}

impl SqlFilter {
    /// Reads a filter; `parameters` has the values of `@name`, keys with or without the sign.
    ///
    /// # Errors
    /// When the text is no filter; the error tells the position.
    pub fn parse(text: &str, parameters: &Map) -> Result<Self, SyntaxError> {
        let predicate = parser::predicate(text, parameters)?;
        let constant = match &predicate {
            Predicate::Compare(
                Expression::Constant(Constant::Int(left)),
                Comparison::Equal,
                Expression::Constant(Constant::Int(right)),
            ) => Some(left == right),
            _ => None,
        };
        Ok(Self { text: text.to_owned(), predicate, constant })
    }

    /// The text as it was given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What the text means.
    pub const fn predicate(&self) -> &Predicate {
        &self.predicate
    }
}

/// What decides whether a rule matches.
#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    /// Every message.
    True,
    /// No message.
    False,
    /// A predicate in SQL.
    Sql(SqlFilter),
    /// Fields that must be equal.
    Correlation(CorrelationFilter),
}

impl Filter {
    /// The answer where it is the same for all messages, so that none has to be read: also of `1=1` and `1=0`, which SDKs
    /// send for true and false.
    pub const fn constant(&self) -> Option<bool> {
        match self {
            Self::True => Some(true),
            Self::False => Some(false),
            Self::Sql(filter) => filter.constant,
            Self::Correlation(_) => None,
        }
    }

    /// Whether a message matches. What is unknown does not.
    ///
    /// # Errors
    /// When the filter has no answer.
    pub fn matches(&self, fields: &Fields) -> Result<bool, EvaluationError> {
        match self {
            Self::True => Ok(true),
            Self::False => Ok(false),
            Self::Sql(filter) => filter.predicate.truth(fields).map(|truth| truth == Some(true)),
            Self::Correlation(filter) => Ok(filter.matches(fields)),
        }
    }
}
