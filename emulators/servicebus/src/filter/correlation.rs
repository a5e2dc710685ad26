//! Correlation filters: fields that must be equal, and no more.
//!
//! Text is equal case by case. Whole numbers are equal whatever their width, for SDKs differ in the width they choose; values of
//! different types are not equal. It must not evaluate SQL.

use amqp::{Map, Value};

use super::fields::{Fields, SystemProperty};
use super::scalar::Scalar;

/// Conditions that all must hold; those that are none do not matter.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CorrelationFilter {
    /// Equal to the correlation id.
    pub correlation_id: Option<String>,
    /// Equal to the message id.
    pub message_id: Option<String>,
    /// Equal to the address that the message is for.
    pub to: Option<String>,
    /// Equal to the address for answers.
    pub reply_to: Option<String>,
    /// Equal to the label, which AMQP calls subject.
    pub label: Option<String>,
    /// Equal to the session's id.
    pub session_id: Option<String>,
    /// Equal to the session's id for answers.
    pub reply_to_session_id: Option<String>,
    /// Equal to the content type.
    pub content_type: Option<String>,
    /// Properties of the application, by their exact names.
    pub properties: Map,
}

impl CorrelationFilter {
    /// The system properties and what they have to be.
    pub const fn conditions(&self) -> [(SystemProperty, &Option<String>); 8] {
        [
            (SystemProperty::CorrelationId, &self.correlation_id),
            (SystemProperty::MessageId, &self.message_id),
            (SystemProperty::To, &self.to),
            (SystemProperty::ReplyTo, &self.reply_to),
            (SystemProperty::Label, &self.label),
            (SystemProperty::SessionId, &self.session_id),
            (SystemProperty::ReplyToSessionId, &self.reply_to_session_id),
            (SystemProperty::ContentType, &self.content_type),
        ]
    }

    /// Whether it has no condition at all.
    pub fn is_empty(&self) -> bool {
        self.properties.is_empty() && self.conditions().iter().all(|(_, wanted)| wanted.is_none())
    }

    /// Whether all conditions hold.
    pub fn matches(&self, fields: &Fields) -> bool {
        let system = self.conditions().into_iter().all(|(property, wanted)| {
            wanted.as_ref().is_none_or(
                |wanted| matches!(fields.system(property), Scalar::Text(found) if found == wanted.as_str()),
            )
        });
        let property = |(key, wanted): &(Value, Value)| {
            let found = key.as_str().and_then(|key| fields.application.get(key));
            found.is_some_and(|found| found == wanted || same(&Scalar::of(found), &Scalar::of(wanted)))
        };
        system && self.properties.0.iter().all(property)
    }
}

/// Whether values are equal and of one type.
fn same(left: &Scalar<'_>, right: &Scalar<'_>) -> bool {
    !matches!((left, right), (Scalar::Int(_), Scalar::Double(_)) | (Scalar::Double(_), Scalar::Int(_)))
        && left.equals(right) == Some(true)
}
