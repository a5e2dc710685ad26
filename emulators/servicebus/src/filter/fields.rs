//! What filters and actions see of a message.
//!
//! It must not decode one; the broker reads a message once for all its rules.

use std::borrow::Cow;

use amqp::message::Properties;
use amqp::{Map, Value};

use super::scalar::Scalar;
use crate::engine::{Micros, NEVER};

/// A message's fields.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Fields {
    /// The immutable properties.
    pub properties: Properties,
    /// The application's own properties.
    pub application: Map,
    /// `x-opt-partition-key`
    pub partition_key: Option<String>,
    /// `x-opt-via-partition-key`
    pub via_partition_key: Option<String>,
    /// `x-opt-deadletter-source`
    pub dead_letter_source: Option<String>,
    /// When it was to be delivered, if it was scheduled.
    pub scheduled_us: Option<Micros>,
    /// When it came in.
    pub enqueued_us: Micros,
    /// How long it lives, microseconds; [`NEVER`] for ever.
    pub time_to_live_us: u64,
    /// Its number.
    pub sequence_number: u64,
    /// Bytes of its body.
    pub body_bytes: usize,
}

/// The properties of the service's message class that `sys.` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the service's")]
pub enum SystemProperty {
    ContentType,
    CorrelationId,
    DeadLetterSource,
    DeliveryCount,
    EnqueuedSequenceNumber,
    EnqueuedTimeUtc,
    ExpiresAtUtc,
    Label,
    LockedUntilUtc,
    LockToken,
    MessageId,
    PartitionKey,
    ReplyTo,
    ReplyToSessionId,
    ScheduledEnqueueTimeUtc,
    SequenceNumber,
    SessionId,
    Size,
    TimeToLive,
    To,
    ViaPartitionKey,
}

use SystemProperty as P;

/// Names, the first of each property being the one that is printed. Label and Subject are one.
const NAMES: [(&str, SystemProperty); 22] = [
    ("ContentType", P::ContentType),
    ("CorrelationId", P::CorrelationId),
    ("DeadLetterSource", P::DeadLetterSource),
    ("DeliveryCount", P::DeliveryCount),
    ("EnqueuedSequenceNumber", P::EnqueuedSequenceNumber),
    ("EnqueuedTimeUtc", P::EnqueuedTimeUtc),
    ("ExpiresAtUtc", P::ExpiresAtUtc),
    ("Label", P::Label),
    ("Subject", P::Label),
    ("LockedUntilUtc", P::LockedUntilUtc),
    ("LockToken", P::LockToken),
    ("MessageId", P::MessageId),
    ("PartitionKey", P::PartitionKey),
    ("ReplyTo", P::ReplyTo),
    ("ReplyToSessionId", P::ReplyToSessionId),
    ("ScheduledEnqueueTimeUtc", P::ScheduledEnqueueTimeUtc),
    ("SequenceNumber", P::SequenceNumber),
    ("SessionId", P::SessionId),
    ("Size", P::Size),
    ("TimeToLive", P::TimeToLive),
    ("To", P::To),
    ("ViaPartitionKey", P::ViaPartitionKey),
];

impl SystemProperty {
    /// The property with a name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, property)| *property)
    }

    /// The property's name.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, property)| *property == self).map_or("", |(name, _)| name)
    }

    /// Whether an action may set it: what its sender could have set as text.
    pub const fn is_assignable(self) -> bool {
        matches!(
            self,
            P::ContentType
                | P::CorrelationId
                | P::Label
                | P::MessageId
                | P::ReplyTo
                | P::ReplyToSessionId
                | P::SessionId
                | P::To
        )
    }
}

fn text(text: Option<&str>) -> Scalar<'_> {
    text.map_or(Scalar::Unknown, |text| Scalar::Text(Cow::Borrowed(text)))
}

fn id(id: Option<&Value>) -> Scalar<'_> {
    id.map_or(Scalar::Unknown, Scalar::of_id)
}

fn instant(us: Micros) -> Scalar<'static> {
    Scalar::Instant(crate::message::timestamp_ms(us))
}

fn number(number: u64) -> Scalar<'static> {
    Scalar::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

impl Fields {
    /// A system property; what a message gets only with a delivery is unknown, and its deliveries are none.
    pub fn system(&self, property: SystemProperty) -> Scalar<'_> {
        let properties = &self.properties;
        match property {
            P::ContentType => text(properties.content_type.as_ref().map(amqp::value::Symbol::as_str)),
            P::CorrelationId => id(properties.correlation_id.as_ref()),
            P::DeadLetterSource => text(self.dead_letter_source.as_deref()),
            P::DeliveryCount => Scalar::Int(0),
            P::EnqueuedSequenceNumber | P::SequenceNumber => number(self.sequence_number),
            P::EnqueuedTimeUtc => instant(self.enqueued_us),
            P::ExpiresAtUtc => instant(self.enqueued_us.saturating_add(self.time_to_live_us)),
            P::Label => text(properties.subject.as_deref()),
            P::LockedUntilUtc | P::LockToken => Scalar::Unknown,
            P::MessageId => id(properties.message_id.as_ref()),
            P::PartitionKey => text(self.partition_key.as_deref()),
            P::ReplyTo => id(properties.reply_to.as_ref()),
            P::ReplyToSessionId => text(properties.reply_to_group_id.as_deref()),
            P::ScheduledEnqueueTimeUtc => self.scheduled_us.map_or(Scalar::Unknown, instant),
            P::SessionId => text(properties.group_id.as_deref()),
            P::Size => Scalar::Int(i64::try_from(self.body_bytes).unwrap_or(i64::MAX)),
            P::TimeToLive if self.time_to_live_us == NEVER => Scalar::Unknown,
            P::TimeToLive => Scalar::Duration(self.time_to_live_us),
            P::To => id(properties.to.as_ref()),
            P::ViaPartitionKey => text(self.via_partition_key.as_deref()),
        }
    }

    /// A property of the application, by its name in any case; unknown when there is none.
    pub fn user(&self, name: &str) -> Scalar<'_> {
        self.user_value(name).map_or(Scalar::Unknown, Scalar::of)
    }

    /// The same, as the message has it.
    pub fn user_value(&self, name: &str) -> Option<&Value> {
        let has_name = |key: &Value| key.as_str().is_some_and(|key| key.eq_ignore_ascii_case(name));
        self.application.0.iter().find(|(key, _)| has_name(key)).map(|(_, value)| value)
    }
}
