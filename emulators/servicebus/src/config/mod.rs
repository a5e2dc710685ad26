//! The official emulator's `Config.json`, read as it is: comments, a byte order mark, trailing commas, missing parts.
//!
//! Every mistake is told with its file, line, key and remedy. The official quotas (10 connections, 50 entities, one hour to live,
//! ten deliveries, …) are not enforced. It must not create entities.

mod check;
mod duration;
mod file;
mod jsonc;
mod rule;

use std::io::Read as _;
use std::path::{Path, PathBuf};

pub use duration::{Iso8601Duration, parse_duration_us};
use serde::Deserialize;

use crate::filter::{Filter, SqlAction};
use crate::limits::CONFIG_BYTES_MAX;

/// A queue, or a subscription as far as it is one, and how it treats its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueConfig {
    /// Its name.
    pub name: String,
    /// How long a lock lasts, microseconds.
    pub lock_us: u64,
    /// How long a message lives at most, microseconds.
    pub time_to_live_us: u64,
    /// The delivery that, when it fails, is the last.
    pub max_delivery_count: u32,
    /// Whether expired messages go to the dead-letter queue.
    pub dead_letter_on_expiration: bool,
    /// Whether messages belong to sessions and are received session by session.
    pub requires_session: bool,
    /// For how long a message's id is remembered, microseconds; none where duplicates are not looked for.
    pub duplicate_window_us: Option<u64>,
    /// The entity to which messages are passed on.
    pub forward_to: Option<String>,
    /// The entity to which dead letters are passed on.
    pub forward_dead_letters_to: Option<String>,
    /// How long nobody uses it until it is deleted, microseconds; [`NEVER`](crate::engine::NEVER) keeps it.
    pub auto_delete_us: u64,
    /// What it can be used for.
    pub status: EntityStatus,
}

impl Default for QueueConfig {
    /// What the official emulator takes where its file says nothing; without a name.
    fn default() -> Self {
        file::QueueProperties::default().config("")
    }
}

/// What an entity can be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum EntityStatus {
    /// All.
    #[default]
    Active,
    /// Nothing.
    Disabled,
    /// Receiving.
    SendDisabled,
    /// Sending.
    ReceiveDisabled,
}

/// A topic.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicConfig {
    /// Its name.
    pub name: String,
    /// How long a message lives at most, microseconds.
    pub time_to_live_us: u64,
    /// For how long a message's id is remembered, microseconds; none where duplicates are not looked for.
    pub duplicate_window_us: Option<u64>,
    /// How long nobody uses it until it is deleted, microseconds; [`NEVER`](crate::engine::NEVER) keeps it.
    pub auto_delete_us: u64,
    /// What it can be used for.
    pub status: EntityStatus,
    /// Its subscriptions, in the order of the file.
    pub subscriptions: Vec<SubscriptionConfig>,
}

/// A subscription: a queue that gets copies of a topic's messages.
#[derive(Debug, Clone, PartialEq)]
pub struct SubscriptionConfig {
    /// The queue, by the subscription's name.
    pub queue: QueueConfig,
    /// Whether messages that a rule cannot be evaluated for go to the dead-letter queue.
    pub dead_letter_on_filter_errors: bool,
    /// Which messages it gets; without any it gets none.
    pub rules: Vec<RuleConfig>,
}

/// A rule: which messages come, and what becomes of their copy.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleConfig {
    /// Its name.
    pub name: String,
    /// Which messages match.
    pub filter: Filter,
    /// What is changed on a copy of its own; none lets it share one with the subscription's other rules.
    pub action: Option<SqlAction>,
}

/// The name of the rule that a subscription has unless it is given others.
pub const DEFAULT_RULE: &str = "$Default";

impl RuleConfig {
    /// The rule by which every message comes.
    pub fn match_all() -> Self {
        Self { name: DEFAULT_RULE.to_owned(), filter: Filter::True, action: None }
    }
}

/// What a configuration asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct NamespaceConfig {
    /// The queues, in the order of the file.
    pub queues: Vec<QueueConfig>,
    /// The topics, in the order of the file.
    pub topics: Vec<TopicConfig>,
}

/// Why a configuration cannot be used. The text names file, line, key and remedy.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the config file {}; check the path given to --config", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is no text, or too large.
    #[error("{}: {problem}", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
    /// A key or value is not what it should be.
    #[error("{}:{line}: {key}: {problem}; {remedy}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key's path, such as `UserConfig.Namespaces[0].Queues[1].Properties.LockDuration`.
        key: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
}

/// The entities with which the official emulator ships, in its own format.
const DEFAULT: &str = include_str!("default.json");

impl Default for NamespaceConfig {
    fn default() -> Self {
        let nothing = Self { queues: Vec::new(), topics: Vec::new() };
        Self::parse(DEFAULT, Path::new("default.json")).unwrap_or(nothing)
    }
}

impl NamespaceConfig {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// When it cannot be read or does not say what a configuration says; the error tells where and what to do.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read { path: path.to_owned(), source };
        // What is no plain file has no size to ask for: one byte too many tells.
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).map_err(read)?;
        file.take(CONFIG_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(read)?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > CONFIG_BYTES_MAX {
            let problem = "the file is larger than any configuration; check the path given to --config";
            return Err(ConfigError::NotText { path: path.to_owned(), problem });
        }
        let Ok(text) = String::from_utf8(bytes) else {
            let problem = "the file is not UTF-8 text; save it as UTF-8";
            return Err(ConfigError::NotText { path: path.to_owned(), problem });
        };
        Self::parse(&text, path)
    }

    /// Reads a configuration's text; `path` is for errors.
    ///
    /// # Errors
    /// When it does not say what a configuration says.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let plain = jsonc::to_json(text);
        let mut json = serde_json::Deserializer::from_str(&plain);
        let parsed: Result<file::ConfigFile, _> = serde_path_to_error::deserialize(&mut json);
        let parsed = parsed.map_err(|error| invalid(path, &error))?;
        json.end().map_err(|error| ConfigError::Invalid {
            path: path.to_owned(),
            line: error.line(),
            key: "(end of file)".to_owned(),
            problem: "there is text after the configuration".to_owned(),
            remedy: "remove it".to_owned(),
        })?;
        check::Check { text: &plain, path }.namespace(&parsed)
    }
}

/// Turns an error of the JSON reader into one for a person.
fn invalid(path: &Path, error: &serde_path_to_error::Error<serde_json::Error>) -> ConfigError {
    let inner = error.inner();
    let text = inner.to_string();
    // The reader appends the position, which is told in front already.
    let problem = text.rsplit_once(" at line ").map_or(text.as_str(), |(problem, _)| problem).to_owned();
    let remedy = if problem.starts_with("unknown field") {
        "remove the key or correct its spelling"
    } else if problem.starts_with("missing field") {
        "add the key"
    } else if problem.starts_with("duplicate field") {
        "keep one of the two"
    } else if inner.is_syntax() || inner.is_eof() {
        "correct the JSON"
    } else {
        "correct the value"
    };
    ConfigError::Invalid {
        path: path.to_owned(),
        line: inner.line(),
        key: Some(error.path().to_string())
            .filter(|key| key != ".")
            .unwrap_or_else(|| "(top level)".to_owned()),
        problem,
        remedy: remedy.to_owned(),
    }
}

/// Why a text is no name of an entity; none when it is one.
fn name_problem(name: &str, chars_max: usize) -> Option<String> {
    let length = name.chars().count();
    if length == 0 || length > chars_max {
        return Some(format!("a name has 1 to {chars_max} characters, not {length}"));
    }
    if let Some(bad) =
        name.chars().find(|c| matches!(c, '@' | '?' | '#' | '*' | '\\' | '$') || c.is_control())
    {
        return Some(format!("the name '{}' contains {bad:?}, which no name may", name.escape_debug()));
    }
    let edge = |c: Option<char>| c.is_some_and(|c| c == '/' || c.is_whitespace());
    if edge(name.chars().next()) || edge(name.chars().next_back()) {
        return Some(format!("the name '{name}' begins or ends with a slash or a blank"));
    }
    None
}
