//! The shape of `Config.json`, key by key (the official emulator's `Config-schema.json`), with its defaults.
//!
//! It must not give any key a meaning.

use std::num::NonZeroU32;

use serde::{Deserialize, Deserializer};

use super::{Iso8601Duration, name_problem};

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
    pub dead_lettering_on_message_expiration: bool,
    pub default_message_time_to_live: Iso8601Duration,
    #[serde(rename = "DuplicateDetectionHistoryTimeWindow")]
    _duplicate_detection_history_time_window: Iso8601Duration,
    #[serde(deserialize_with = "null_is_default")]
    pub forward_dead_lettered_messages_to: String,
    #[serde(deserialize_with = "null_is_default")]
    pub forward_to: String,
    pub lock_duration: Iso8601Duration,
    pub max_delivery_count: NonZeroU32,
    pub requires_duplicate_detection: bool,
    pub requires_session: bool,
}

const SECOND_US: u64 = 1_000_000;

impl Default for QueueProperties {
    fn default() -> Self {
        Self {
            dead_lettering_on_message_expiration: false,
            default_message_time_to_live: Iso8601Duration(3600 * SECOND_US),
            _duplicate_detection_history_time_window: Iso8601Duration(20 * SECOND_US),
            forward_dead_lettered_messages_to: String::new(),
            forward_to: String::new(),
            lock_duration: Iso8601Duration(60 * SECOND_US),
            max_delivery_count: NonZeroU32::MIN.saturating_add(2),
            requires_duplicate_detection: false,
            requires_session: false,
        }
    }
}

/// A topic: only its name is read, for topics are not served.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase", expecting = "an object")]
pub(super) struct Topic {
    pub name: EntityName,
    #[serde(default, rename = "Properties")]
    _properties: serde::de::IgnoredAny,
    #[serde(default, rename = "Subscriptions")]
    _subscriptions: serde::de::IgnoredAny,
}

/// A name that an entity may have.
#[derive(Debug)]
pub(super) struct EntityName(pub String);

impl<'de> Deserialize<'de> for EntityName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        match name_problem(&name) {
            Some(problem) => Err(serde::de::Error::custom(problem)),
            None => Ok(Self(name)),
        }
    }
}

fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}
