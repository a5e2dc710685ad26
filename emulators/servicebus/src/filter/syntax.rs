//! What a filter's text means, as a tree, and the tree as text again.
//!
//! A chain of one precedence (`a AND b AND c`, `1 + 2 - 3`) is one node with a list, so that a long text is no deep tree. It must
//! not judge messages.

use std::fmt::{self, Display, Formatter};

use super::fields::SystemProperty;
use super::scalar::Scalar;

/// What is true, false or unknown of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Predicate {
    /// `NOT p`
    Not(Box<Predicate>),
    /// `p AND p …`, two or more.
    And(Vec<Predicate>),
    /// `p OR p …`, two or more.
    Or(Vec<Predicate>),
    /// `e = e` and its like.
    Compare(Expression, Comparison, Expression),
    /// `property IS NULL`
    IsNull {
        /// What is looked at.
        property: Property,
        /// Whether it is IS NOT NULL.
        negated: bool,
    },
    /// `e IN (e, …)`
    In {
        /// What is looked for.
        value: Expression,
        /// Where.
        list: Vec<Expression>,
        /// Whether it is NOT IN.
        negated: bool,
    },
    /// `e LIKE e ESCAPE e`
    Like {
        /// What is looked at.
        value: Expression,
        /// The pattern.
        pattern: Expression,
        /// The escape character, if there is one.
        escape: Option<Expression>,
        /// Whether it is NOT LIKE.
        negated: bool,
    },
    /// `EXISTS (property)`
    Exists(Property),
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What has a value for a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    /// A value.
    Constant(Constant),
    /// A property of the message.
    Property(Property),
    /// `property(e)`: the property that is named by a value.
    PropertyNamed(Box<Expression>),
    /// `newid()`
    NewId,
    /// `@name` and its value.
    Parameter(String, Scalar<'static>),
    /// `-e`
    Minus(Box<Expression>),
    /// `+e`
    Plus(Box<Expression>),
    /// `e + e - e …` or `e * e / e …`, from left to right; all operators are of one precedence.
    Chain(Box<Expression>, Vec<(Operator, Expression)>),
}

/// A value that stands in the text.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Constant {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(String),
}

/// How two values make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Operator {
    Plus,
    Minus,
    Times,
    Divided,
    Modulo,
}

impl Operator {
    /// The operator's sign.
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Plus => "+",
            Self::Minus => "-",
            Self::Times => "*",
            Self::Divided => "/",
            Self::Modulo => "%",
        }
    }
}

/// A property of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Property {
    /// The service's.
    System(SystemProperty),
    /// Named as one of the service's, which has none of that name.
    NoSystem(String),
    /// The application's.
    User(String),
}

impl Property {
    /// What `sys.name` names.
    pub fn system(name: &str) -> Self {
        SystemProperty::named(name).map_or_else(|| Self::NoSystem(name.to_owned()), Self::System)
    }
}

/// What an action does, step by step.
#[derive(Debug, Clone, PartialEq)]
pub enum Statement {
    /// `SET property = e`
    Set(Property, Expression),
    /// `REMOVE property`
    Remove(Property),
}

impl Display for Property {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(property) => write!(f, "sys.{}", property.name()),
            Self::NoSystem(name) => write!(f, "sys.[{}]", name.replace(']', "]]")),
            Self::User(name) => write!(f, "user.[{}]", name.replace(']', "]]")),
        }
    }
}

impl Display for Constant {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Bool(true) => f.write_str("TRUE"),
            Self::Bool(false) => f.write_str("FALSE"),
            Self::Int(number) => write!(f, "{number}"),
            Self::Double(number) => write!(f, "{number:e}"),
            Self::Text(text) => write!(f, "'{}'", text.replace('\'', "''")),
        }
    }
}

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "=",
            Self::NotEqual => "<>",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        })
    }
}

impl Display for Expression {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant(constant) => write!(f, "{constant}"),
            Self::Property(property) => write!(f, "{property}"),
            Self::PropertyNamed(name) => write!(f, "property({name})"),
            Self::NewId => f.write_str("newid()"),
            Self::Parameter(name, _) => write!(f, "@{name}"),
            Self::Minus(value) => write!(f, "-({value})"),
            Self::Plus(value) => write!(f, "+({value})"),
            Self::Chain(first, rest) => {
                write!(f, "({first}")?;
                rest.iter().try_for_each(|(operator, value)| write!(f, " {} {value}", operator.sign()))?;
                f.write_str(")")
            }
        }
    }
}

fn not(negated: bool) -> &'static str {
    if negated { "NOT " } else { "" }
}

impl Display for Predicate {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let joined = |f: &mut Formatter<'_>, parts: &[Self], word: &str| {
            for (index, part) in parts.iter().enumerate() {
                write!(f, "{}({part})", if index == 0 { "" } else { word })?;
            }
            Ok(())
        };
        match self {
            Self::Not(inner) => write!(f, "NOT ({inner})"),
            Self::And(parts) => joined(f, parts, " AND "),
            Self::Or(parts) => joined(f, parts, " OR "),
            Self::Compare(left, comparison, right) => write!(f, "{left} {comparison} {right}"),
            Self::IsNull { property, negated } => write!(f, "{property} IS {}NULL", not(*negated)),
            Self::In { value, list, negated } => {
                write!(f, "{value} {}IN (", not(*negated))?;
                for (index, value) in list.iter().enumerate() {
                    write!(f, "{}{value}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str(")")
            }
            Self::Like { value, pattern, escape, negated } => {
                write!(f, "{value} {}LIKE {pattern}", not(*negated))?;
                escape.iter().try_for_each(|escape| write!(f, " ESCAPE {escape}"))
            }
            Self::Exists(property) => write!(f, "EXISTS ({property})"),
        }
    }
}

impl Display for Statement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(property, value) => write!(f, "SET {property} = {value}"),
            Self::Remove(property) => write!(f, "REMOVE {property}"),
        }
    }
}
