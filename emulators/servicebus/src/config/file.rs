//! The shape of `Config.json`, key by key (the official emulator's `Config-schema.json`), with its defaults.
//!
//! Keys that the cloud's descriptions have and that file has not are taken too: `Status`, `AutoDeleteOnIdle` and
//! `DeadLetteringOnFilterEvaluationExceptions`. It must not hold entities against each other.

use std::num::NonZeroU32;

use serde::{Deserialize, Deserializer};

use super::rule::{RuleProperties, null_is_default};
use super::{EntityStatus, Iso8601Duration, QueueConfig, name_problem};
use crate::engine::NEVER;
use crate::limits::{NAME_CHARS_MAX, SUBSCRIPTION_NAME_CHARS_MAX};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase", expecting = "an object")]
pub(super) struct ConfigFile {
    pub user_config: UserConfig,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase", expecting = "an object")]
pub(super) struct UserConfig {
    pub namespaces: Vec<Namespace>,
    #[serde(default, rename = "Logging")]
    _logging: Option<Logging>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase", expecting = "an object")]
struct Logging {
    #[serde(rename = "Type")]
    _type: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase", expecting = "an object")]
pub(super) struct Namespace {
    #[serde(rename = "Name")]
    _name: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub queues: Vec<Queue>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub topics: Vec<Topic>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase", expecting = "an object")]
pub(super) struct Queue {
    pub name: EntityName,
    #[serde(default, deserialize_with = "null_is_default")]
    pub properties: QueueProperties,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "PascalCase", expecting = "an object")]
pub(super) struct QueueProperties {
    auto_delete_on_idle: Option<Iso8601Duration>,
    dead_lettering_on_message_expiration: bool,
    default_message_time_to_live: Iso8601Duration,
    duplicate_detection_history_time_window: Iso8601Duration,
    #[serde(deserialize_with = "null_is_default")]
    forward_dead_lettered_messages_to: String,
    #[serde(deserialize_with = "null_is_default")]
    forward_to: String,
    lock_duration: Iso8601Duration,
    max_delivery_count: NonZeroU32,
    requires_duplicate_detection: bool,
    requires_session: bool,
    status: EntityStatus,
}

const SECOND_US: u64 = 1_000_000;

impl Default for QueueProperties {
    fn default() -> Self {
        Self {
            auto_delete_on_idle: None,
            dead_lettering_on_message_expiration: false,
            default_message_time_to_live: Iso8601Duration(3600 * SECOND_US),
            duplicate_detection_history_time_window: Iso8601Duration(20 * SECOND_US),
            forward_dead_lettered_messages_to: String::new(),
            forward_to: String::new(),
            lock_duration: Iso8601Duration(60 * SECOND_US),
            max_delivery_count: NonZeroU32::MIN.saturating_add(2),
            requires_duplicate_detection: false,
            requires_session: false,
            status: EntityStatus::Active,
        }
    }
}

impl QueueProperties {
    pub(super) fn config(&self, name: &str) -> QueueConfig {
        // The cloud writes whole addresses, the official file names.
        let entity = |name: &str| {
            let path = name
                .split_once("://")
                .map_or(name, |(_, rest)| rest.split_once('/').map_or("", |(_, path)| path));
            (!path.is_empty()).then(|| path.to_owned())
        };
        QueueConfig {
            name: name.to_owned(),
            lock_us: self.lock_duration.0,
            time_to_live_us: self.default_message_time_to_live.0,
            max_delivery_count: self.max_delivery_count.get(),
            dead_letter_on_expiration: self.dead_lettering_on_message_expiration,
            requires_session: self.requires_session,
            duplicate_window_us: self
                .requires_duplicate_detection
                .then_some(self.duplicate_detection_history_time_window.0),
            forward_to: entity(&self.forward_to),
            forward_dead_letters_to: entity(&self.forward_dead_lettered_messages_to),
            auto_delete_us: self.auto_delete_on_idle.map_or(NEVER, |duration| duration.0),
            status: self.status,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase", expecting = "an object")]
pub(super) struct Topic {
    pub name: EntityName,
    #[serde(default, deserialize_with = "null_is_default")]
    pub properties: TopicProperties,
    #[serde(default, deserialize_with = "null_is_default")]
    pub subscriptions: Vec<Subscription>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "PascalCase", expecting = "an object")]
pub(super) struct TopicProperties {
    pub auto_delete_on_idle: Option<Iso8601Duration>,
    pub default_message_time_to_live: Iso8601Duration,
    pub duplicate_detection_history_time_window: Iso8601Duration,
    pub requires_duplicate_detection: bool,
    pub status: EntityStatus,
}

impl Default for TopicProperties {
    fn default() -> Self {
        Self {
            auto_delete_on_idle: None,
            default_message_time_to_live: Iso8601Duration(3600 * SECOND_US),
            duplicate_detection_history_time_window: Iso8601Duration(20 * SECOND_US),
            requires_duplicate_detection: false,
            status: EntityStatus::Active,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase", expecting = "an object")]
pub(super) struct Subscription {
    pub name: PartName,
    #[serde(default, deserialize_with = "null_is_default")]
    pub properties: SubscriptionProperties,
    #[serde(default, deserialize_with = "null_is_default")]
    pub rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "PascalCase", expecting = "an object")]
pub(super) struct SubscriptionProperties {
    auto_delete_on_idle: Option<Iso8601Duration>,
    pub dead_lettering_on_filter_evaluation_exceptions: bool,
    dead_lettering_on_message_expiration: bool,
    default_message_time_to_live: Iso8601Duration,
    #[serde(deserialize_with = "null_is_default")]
    forward_dead_lettered_messages_to: String,
    #[serde(deserialize_with = "null_is_default")]
    forward_to: String,
    lock_duration: Iso8601Duration,
    max_delivery_count: NonZeroU32,
    requires_session: bool,
    status: EntityStatus,
}

impl Default for SubscriptionProperties {
    fn default() -> Self {
        let queue = QueueProperties::default();
        Self {
            auto_delete_on_idle: None,
            // As the cloud's descriptions have it.
            dead_lettering_on_filter_evaluation_exceptions: true,
            dead_lettering_on_message_expiration: queue.dead_lettering_on_message_expiration,
            default_message_time_to_live: queue.default_message_time_to_live,
            forward_dead_lettered_messages_to: String::new(),
            forward_to: String::new(),
            lock_duration: queue.lock_duration,
            max_delivery_count: queue.max_delivery_count,
            requires_session: false,
            status: EntityStatus::Active,
        }
    }
}

impl SubscriptionProperties {
    pub(super) fn config(&self, name: &str) -> QueueConfig {
        let queue = QueueProperties {
            auto_delete_on_idle: self.auto_delete_on_idle,
            dead_lettering_on_message_expiration: self.dead_lettering_on_message_expiration,
            default_message_time_to_live: self.default_message_time_to_live,
            forward_dead_lettered_messages_to: self.forward_dead_lettered_messages_to.clone(),
            forward_to: self.forward_to.clone(),
            lock_duration: self.lock_duration,
            max_delivery_count: self.max_delivery_count,
            requires_session: self.requires_session,
            status: self.status,
            ..QueueProperties::default()
        };
        queue.config(name)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase", expecting = "an object")]
pub(super) struct Rule {
    pub name: PartName,
    pub properties: RuleProperties,
}

/// A name that a queue or topic may have.
#[derive(Debug)]
pub(super) struct EntityName(pub String);

/// A name that a subscription or rule may have.
#[derive(Debug)]
pub(super) struct PartName(pub String);

fn name<'de, D: Deserializer<'de>>(deserializer: D, chars_max: usize) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    match name_problem(&name, chars_max) {
        Some(problem) => Err(serde::de::Error::custom(problem)),
        None => Ok(name),
    }
}

impl<'de> Deserialize<'de> for EntityName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        name(deserializer, NAME_CHARS_MAX).map(Self)
    }
}

impl<'de> Deserialize<'de> for PartName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        name(deserializer, SUBSCRIPTION_NAME_CHARS_MAX).map(Self)
    }
}
