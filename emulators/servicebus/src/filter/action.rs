//! Actions of rules: what they set and remove on a copy of a message.
//!
//! It must not encode a message.

use amqp::value::Symbol;
use amqp::{Map, Value};

use super::EvaluationError;
use super::fields::{Fields, SystemProperty};
use super::parser::{self, SyntaxError};
use super::scalar::Scalar;
use super::syntax::{Property, Statement};

/// A SQL action: its text and what it does.
#[derive(Debug, Clone, PartialEq)]
pub struct SqlAction {
    text: String,
    statements: Vec<Statement>,
}

impl SqlAction {
    /// Reads an action; `parameters` has the values of `@name`.
    ///
    /// # Errors
    /// When the text is no action; the error tells the position.
    pub fn parse(text: &str, parameters: &Map) -> Result<Self, SyntaxError> {
        Ok(Self { text: text.to_owned(), statements: parser::statements(text, parameters)? })
    }

    /// The text as it was given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it does, step by step.
    pub fn statements(&self) -> &[Statement] {
        &self.statements
    }

    /// Does it. Later statements see what earlier ones did.
    ///
    /// # Errors
    /// When a value does not exist, or a system property cannot have it.
    pub fn apply(&self, fields: &mut Fields) -> Result<(), EvaluationError> {
        for statement in &self.statements {
            match statement {
                Statement::Set(property, value) => {
                    let value = value.value(fields)?.into_owned();
                    set(fields, property, value)?;
                }
                Statement::Remove(property) => set(fields, property, Scalar::Unknown)?,
            }
        }
        Ok(())
    }
}

/// Sets a property; to what is unknown means that it goes.
fn set(fields: &mut Fields, property: &Property, value: Scalar<'static>) -> Result<(), EvaluationError> {
    match property {
        Property::User(name) => {
            set_user(&mut fields.application, name, value);
            Ok(())
        }
        Property::System(property) => set_system(fields, *property, value),
        Property::NoSystem(name) => Err(EvaluationError::NoSystemProperty(name.clone())),
    }
}

fn set_user(application: &mut Map, name: &str, value: Scalar<'static>) {
    let has_name = |key: &Value| key.as_str().is_some_and(|key| key.eq_ignore_ascii_case(name));
    let at = application.0.iter().position(|(key, _)| has_name(key));
    let old = at.and_then(|at| application.0.get(at)).map(|(_, old)| old.clone());
    let new = old.as_ref().and_then(|old| converted(&value, old)).or_else(|| value.into_value());
    match (at, new) {
        (Some(at), None) => {
            application.0.remove(at);
        }
        (Some(at), Some(new)) => {
            if let Some((_, place)) = application.0.get_mut(at) {
                *place = new;
            }
        }
        (None, Some(new)) => application.0.push((Value::String(name.to_owned()), new)),
        (None, None) => {}
    }
}

/// The value as one of the old value's type, where it can be: a property keeps its type.
fn converted(value: &Scalar<'_>, old: &Value) -> Option<Value> {
    let whole = match value {
        Scalar::Int(number) => Some(*number),
        Scalar::Text(text) => text.trim().parse().ok(),
        _ => None,
    };
    let double = match value {
        Scalar::Text(text) => text.trim().parse().ok(),
        number => number.as_double(),
    };
    match old {
        Value::Ubyte(_) => whole.and_then(|n| n.try_into().ok()).map(Value::Ubyte),
        Value::Ushort(_) => whole.and_then(|n| n.try_into().ok()).map(Value::Ushort),
        Value::Uint(_) => whole.and_then(|n| n.try_into().ok()).map(Value::Uint),
        Value::Ulong(_) => whole.and_then(|n| n.try_into().ok()).map(Value::Ulong),
        Value::Byte(_) => whole.and_then(|n| n.try_into().ok()).map(Value::Byte),
        Value::Short(_) => whole.and_then(|n| n.try_into().ok()).map(Value::Short),
        Value::Int(_) => whole.and_then(|n| n.try_into().ok()).map(Value::Int),
        Value::Long(_) => whole.map(Value::Long),
        #[expect(clippy::cast_possible_truncation, reason = "the property is a float")]
        Value::Float(_) => double.map(|number| Value::Float(number as f32)),
        Value::Double(_) => double.map(Value::Double),
        Value::String(_) => text_of(value).map(Value::String),
        _ => None,
    }
}

/// A value as text.
fn text_of(value: &Scalar<'_>) -> Option<String> {
    match value {
        Scalar::Text(text) => Some(text.to_string()),
        Scalar::Int(number) => Some(number.to_string()),
        Scalar::Double(number) => Some(number.to_string()),
        Scalar::Guid(bytes) => Some(uuid::Uuid::from_bytes(*bytes).to_string()),
        // As .NET writes them.
        Scalar::Bool(true) => Some("True".to_owned()),
        Scalar::Bool(false) => Some("False".to_owned()),
        Scalar::Unknown | Scalar::Instant(_) | Scalar::Duration(_) => None,
    }
}

fn set_system(
    fields: &mut Fields,
    property: SystemProperty,
    value: Scalar<'static>,
) -> Result<(), EvaluationError> {
    let text = text_of(&value);
    let refused = EvaluationError::NotAssignable { property: property.name(), found: value.kind() };
    if text.is_none() && (value != Scalar::Unknown || property == SystemProperty::MessageId) {
        // Every message has an id.
        return Err(refused);
    }
    let properties = &mut fields.properties;
    match property {
        SystemProperty::ContentType => properties.content_type = text.map(Symbol),
        SystemProperty::CorrelationId => properties.correlation_id = text.map(Value::String),
        SystemProperty::Label => properties.subject = text,
        SystemProperty::MessageId => properties.message_id = text.map(Value::String),
        SystemProperty::ReplyTo => properties.reply_to = text.map(Value::String),
        SystemProperty::ReplyToSessionId => properties.reply_to_group_id = text,
        SystemProperty::SessionId => properties.group_id = text,
        SystemProperty::To => properties.to = text.map(Value::String),
        _ => return Err(refused),
    }
    Ok(())
}
