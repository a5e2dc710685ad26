//! What a tree is for a message: true, false, or unknown (none).
//!
//! Conditions are looked at from left to right until the answer stands, so a mistake behind that is not met. It must not change
//! anything.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::EvaluationError;
use super::fields::Fields;
use super::like;
use super::scalar::Scalar;
use super::syntax::{Comparison, Constant, Expression, Operator, Predicate, Property};

/// True, false or unknown.
type Truth = Option<bool>;

impl Predicate {
    /// Whether it holds for a message; none when that is unknown.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn truth(&self, fields: &Fields) -> Result<Truth, EvaluationError> {
        match self {
            Self::Not(inner) => inner.truth(fields).map(|truth| truth.map(|truth| !truth)),
            Self::And(parts) => joined(parts, fields, false),
            Self::Or(parts) => joined(parts, fields, true),
            Self::Compare(left, comparison, right) => {
                let (left, right) = (left.value(fields)?, right.value(fields)?);
                Ok(compare(&left, *comparison, &right))
            }
            Self::IsNull { property, negated } => {
                let is_null = property.is_null(fields)?;
                Ok(Some(is_null != *negated))
            }
            Self::In { value, list, negated } => {
                let value = value.value(fields)?;
                let mut found = Some(false);
                for element in list {
                    match value.equals(&element.value(fields)?) {
                        Some(true) => {
                            found = Some(true);
                            break;
                        }
                        Some(false) => {}
                        None => found = None,
                    }
                }
                Ok(found.map(|found| found != *negated))
            }
            Self::Like { value, pattern, escape, negated } => {
                let (value, pattern) = (value.value(fields)?, pattern.value(fields)?);
                let escape = escape.as_ref().map(|escape| escape.value(fields)).transpose()?;
                let (Scalar::Text(value), Scalar::Text(pattern)) = (value, pattern) else { return Ok(None) };
                let escape = match escape {
                    None => None,
                    Some(Scalar::Text(text)) => Some(like::escape_char(&text)?),
                    Some(_) => return Ok(None),
                };
                if escape.is_some() {
                    // A pattern is one or is none, however far the text goes with it.
                    like::check(&pattern, escape)?;
                }
                Ok(Some(like::like(&value, &pattern, escape)? != *negated))
            }
            Self::Exists(property) => property.exists(fields).map(Some),
        }
    }
}

/// AND and OR: one part that is `decisive` decides; else one that is unknown makes all unknown.
fn joined(parts: &[Predicate], fields: &Fields, decisive: bool) -> Result<Truth, EvaluationError> {
    let mut all = Some(!decisive);
    for part in parts {
        match part.truth(fields)? {
            Some(truth) if truth == decisive => return Ok(Some(decisive)),
            Some(_) => {}
            None => all = None,
        }
    }
    Ok(all)
}

fn compare(left: &Scalar<'_>, comparison: Comparison, right: &Scalar<'_>) -> Truth {
    match comparison {
        Comparison::Equal => left.equals(right),
        Comparison::NotEqual => left.equals(right).map(|equal| !equal),
        Comparison::Less => left.order(right).map(Ordering::is_lt),
        Comparison::LessOrEqual => left.order(right).map(Ordering::is_le),
        Comparison::Greater => left.order(right).map(Ordering::is_gt),
        Comparison::GreaterOrEqual => left.order(right).map(Ordering::is_ge),
    }
}

impl Property {
    fn value<'a>(&self, fields: &'a Fields) -> Result<Scalar<'a>, EvaluationError> {
        match self {
            Self::User(name) => Ok(fields.user(name)),
            Self::System(property) => Ok(fields.system(*property)),
            Self::NoSystem(name) => Err(EvaluationError::NoSystemProperty(name.clone())),
        }
    }

    /// Whether a message has it: a property of the application that is null is there.
    fn exists(&self, fields: &Fields) -> Result<bool, EvaluationError> {
        match self {
            Self::User(name) => Ok(fields.user_value(name).is_some()),
            other => other.value(fields).map(|value| value != Scalar::Unknown),
        }
    }

    /// Whether it is missing or null. A binary value has no value here, but is there.
    fn is_null(&self, fields: &Fields) -> Result<bool, EvaluationError> {
        match self {
            Self::User(name) => Ok(matches!(fields.user_value(name), None | Some(amqp::Value::Null))),
            other => other.value(fields).map(|value| value == Scalar::Unknown),
        }
    }
}

impl Constant {
    fn value(&self) -> Scalar<'_> {
        match self {
            Self::Null => Scalar::Unknown,
            Self::Bool(value) => Scalar::Bool(*value),
            Self::Int(number) => Scalar::Int(*number),
            Self::Double(number) => Scalar::Double(*number),
            Self::Text(text) => Scalar::Text(Cow::Borrowed(text)),
        }
    }
}

impl Expression {
    /// The value for a message.
    ///
    /// # Errors
    /// When it has none: a system property that does not exist, or arithmetic without a result.
    pub fn value<'a>(&'a self, fields: &'a Fields) -> Result<Scalar<'a>, EvaluationError> {
        match self {
            Self::Constant(constant) => Ok(constant.value()),
            Self::Property(property) => property.value(fields),
            Self::PropertyNamed(name) => match name.value(fields)? {
                Scalar::Text(name) => property_named(&name, fields),
                _ => Ok(Scalar::Unknown),
            },
            Self::NewId => Ok(Scalar::Guid(uuid::Uuid::new_v4().into_bytes())),
            Self::Parameter(_, value) => Ok(value.borrowed()),
            Self::Plus(inner) => match inner.value(fields)? {
                number @ (Scalar::Int(_) | Scalar::Double(_)) => Ok(number),
                _ => Ok(Scalar::Unknown),
            },
            Self::Minus(inner) => match inner.value(fields)? {
                Scalar::Int(number) => {
                    number.checked_neg().map(Scalar::Int).ok_or(EvaluationError::Overflow("-"))
                }
                Scalar::Double(number) => Ok(Scalar::Double(-number)),
                _ => Ok(Scalar::Unknown),
            },
            Self::Chain(first, rest) => {
                let mut result = first.value(fields)?;
                for (operator, next) in rest {
                    result = operate(result, *operator, next.value(fields)?)?;
                }
                Ok(result)
            }
        }
    }
}

/// A property whose name, with or without a scope, is a value.
fn property_named<'a>(name: &str, fields: &'a Fields) -> Result<Scalar<'a>, EvaluationError> {
    match name.split_once('.') {
        Some((scope, name)) if scope.eq_ignore_ascii_case("sys") => Property::system(name).value(fields),
        Some((scope, name)) if scope.eq_ignore_ascii_case("user") => Ok(fields.user(name)),
        _ => Ok(fields.user(name)),
    }
}

fn operate<'a>(
    left: Scalar<'a>,
    operator: Operator,
    right: Scalar<'a>,
) -> Result<Scalar<'a>, EvaluationError> {
    match (left, right) {
        (Scalar::Text(left), Scalar::Text(right)) if operator == Operator::Plus => {
            Ok(Scalar::Text(left + right))
        }
        (Scalar::Int(left), Scalar::Int(right)) => whole(left, operator, right).map(Scalar::Int),
        (left, right) => match left.as_double().zip(right.as_double()) {
            Some((left, right)) => Ok(Scalar::Double(match operator {
                Operator::Plus => left + right,
                Operator::Minus => left - right,
                Operator::Times => left * right,
                Operator::Divided => left / right,
                Operator::Modulo => left % right,
            })),
            None => Ok(Scalar::Unknown),
        },
    }
}

fn whole(left: i64, operator: Operator, right: i64) -> Result<i64, EvaluationError> {
    let result = match operator {
        Operator::Plus => left.checked_add(right),
        Operator::Minus => left.checked_sub(right),
        Operator::Times => left.checked_mul(right),
        Operator::Divided | Operator::Modulo if right == 0 => return Err(EvaluationError::DivisionByZero),
        Operator::Divided => left.checked_div(right),
        Operator::Modulo => left.checked_rem(right),
    };
    result.ok_or(EvaluationError::Overflow(operator.sign()))
}
