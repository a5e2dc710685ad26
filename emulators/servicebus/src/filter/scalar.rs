//! Values of filters: what properties, constants and arithmetic come to, and how two of them compare.
//!
//! It must not know the tree that they come from.

use std::borrow::Cow;
use std::cmp::Ordering;

use amqp::Value;

/// A value; text may be a message's own.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar<'a> {
    /// No value: a missing property, null, or what operators make of values that do not go together.
    Unknown,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A floating-point number.
    Double(f64),
    /// Text.
    Text(Cow<'a, str>),
    /// Milliseconds since the Unix epoch.
    Instant(i64),
    /// Microseconds.
    Duration(u64),
    /// A UUID in RFC 4122 byte order.
    Guid([u8; 16]),
}

impl<'a> Scalar<'a> {
    /// What an AMQP value is to a filter. Binary values, lists and maps are unknown.
    pub fn of(value: &'a Value) -> Self {
        match value {
            Value::Bool(value) => Self::Bool(*value),
            Value::Float(number) => Self::Double(f64::from(*number)),
            Value::Double(number) => Self::Double(*number),
            Value::Timestamp(ms) => Self::Instant(*ms),
            Value::Uuid(bytes) => Self::Guid(*bytes),
            Value::Char(value) => Self::Text(Cow::Owned(value.to_string())),
            Value::String(text) => Self::Text(Cow::Borrowed(text)),
            Value::Symbol(symbol) => Self::Text(Cow::Borrowed(symbol.as_str())),
            #[expect(clippy::cast_precision_loss, reason = "as C# promotes a ulong that no long holds")]
            Value::Ulong(number) => i64::try_from(*number).map_or(Self::Double(*number as f64), Self::Int),
            other => other.as_i64().map_or(Self::Unknown, Self::Int),
        }
    }

    /// What an AMQP value has as a message's id: ids of other types than text are what they are in text.
    pub fn of_id(value: &'a Value) -> Self {
        match value {
            Value::Uuid(bytes) => Self::Text(Cow::Owned(uuid::Uuid::from_bytes(*bytes).to_string())),
            Value::Ulong(number) => Self::Text(Cow::Owned(number.to_string())),
            other => Self::of(other),
        }
    }

    /// The same value, its text borrowed.
    pub fn borrowed(&self) -> Scalar<'_> {
        match self {
            Self::Text(text) => Scalar::Text(Cow::Borrowed(text)),
            Self::Unknown => Scalar::Unknown,
            Self::Bool(value) => Scalar::Bool(*value),
            Self::Int(number) => Scalar::Int(*number),
            Self::Double(number) => Scalar::Double(*number),
            Self::Instant(ms) => Scalar::Instant(*ms),
            Self::Duration(us) => Scalar::Duration(*us),
            Self::Guid(bytes) => Scalar::Guid(*bytes),
        }
    }

    /// The same value, its text its own.
    pub fn into_owned(self) -> Scalar<'static> {
        match self {
            Self::Text(text) => Scalar::Text(Cow::Owned(text.into_owned())),
            Self::Unknown => Scalar::Unknown,
            Self::Bool(value) => Scalar::Bool(value),
            Self::Int(number) => Scalar::Int(number),
            Self::Double(number) => Scalar::Double(number),
            Self::Instant(ms) => Scalar::Instant(ms),
            Self::Duration(us) => Scalar::Duration(us),
            Self::Guid(bytes) => Scalar::Guid(bytes),
        }
    }

    /// The value as a message carries it; none for what is unknown.
    pub fn into_value(self) -> Option<Value> {
        Some(match self {
            Self::Unknown => return None,
            Self::Bool(value) => Value::Bool(value),
            Self::Int(number) => Value::Long(number),
            Self::Double(number) => Value::Double(number),
            Self::Text(text) => Value::String(text.into_owned()),
            Self::Instant(ms) => Value::Timestamp(ms),
            Self::Duration(us) => Value::Long(i64::try_from(us.saturating_mul(10)).unwrap_or(i64::MAX)),
            Self::Guid(bytes) => Value::Uuid(bytes),
        })
    }

    /// The value's kind, for errors.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Bool(_) => "a truth value",
            Self::Int(_) | Self::Double(_) => "a number",
            Self::Text(_) => "text",
            Self::Instant(_) => "an instant",
            Self::Duration(_) => "a duration",
            Self::Guid(_) => "a GUID",
        }
    }

    /// Whether two values are equal; none when that is unknown.
    pub fn equals(&self, other: &Scalar<'_>) -> Option<bool> {
        match (self, other) {
            (Self::Bool(left), Scalar::Bool(right)) => Some(left == right),
            (Self::Guid(left), Scalar::Guid(right)) => Some(left == right),
            // Text of different lengths is told apart without a look at it.
            (Self::Text(left), Scalar::Text(right)) => Some(left == right),
            _ => self.order(other).map(Ordering::is_eq),
        }
    }

    /// Which of two values comes first; none when they have no order. Text goes by its code points, and of two numbers one of
    /// which is floating both are, as in C#.
    pub fn order(&self, other: &Scalar<'_>) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(left), Scalar::Int(right)) => Some(left.cmp(right)),
            (Self::Text(left), Scalar::Text(right)) => Some(left.as_ref().cmp(right.as_ref())),
            (Self::Instant(left), Scalar::Instant(right)) => Some(left.cmp(right)),
            (Self::Duration(left), Scalar::Duration(right)) => Some(left.cmp(right)),
            _ => self.as_double()?.partial_cmp(&other.as_double()?),
        }
    }

    /// A number as a floating-point one.
    pub const fn as_double(&self) -> Option<f64> {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "C# promotes a long to a double")]
            Self::Int(number) => Some(*number as f64),
            Self::Double(number) => Some(*number),
            _ => None,
        }
    }
}
