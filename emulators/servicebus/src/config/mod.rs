//! The official emulator's `Config.json`, read as it is: comments, a byte order mark, trailing commas, missing parts.
//!
//! Every mistake is told with its file, line, key and remedy. The official quotas (10 connections, 50 entities, one hour to live,
//! ten deliveries, …) are not enforced. It must not create entities.

mod duration;
mod file;
mod jsonc;

use std::collections::HashMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

pub use duration::{Iso8601Duration, parse_duration_us};

use crate::limits::{CONFIG_BYTES_MAX, NAME_CHARS_MAX};

/// A queue and how it treats its messages.
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
}

/// What a configuration asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceConfig {
    /// The queues, in the order of the file.
    pub queues: Vec<QueueConfig>,
    /// What the file asks for and is not served, for a person to read.
    pub warnings: Vec<String>,
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

/// The queue of the configuration that the official emulator ships with (its `Config.json`).
const DEFAULT_QUEUE: &str = "queue.1";

impl Default for NamespaceConfig {
    fn default() -> Self {
        let properties = file::QueueProperties::default();
        Self { queues: vec![queue_config(DEFAULT_QUEUE, &properties)], warnings: Vec::new() }
    }
}

fn queue_config(name: &str, properties: &file::QueueProperties) -> QueueConfig {
    QueueConfig {
        name: name.to_owned(),
        lock_us: properties.lock_duration.0,
        time_to_live_us: properties.default_message_time_to_live.0,
        max_delivery_count: properties.max_delivery_count.get(),
        dead_letter_on_expiration: properties.dead_lettering_on_message_expiration,
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
        Self::from_file(parsed, &plain, path)
    }

    fn from_file(file: file::ConfigFile, text: &str, path: &Path) -> Result<Self, ConfigError> {
        let mut config = Self { queues: Vec::new(), warnings: Vec::new() };
        let [namespace] = file.user_config.namespaces.as_slice() else {
            return Err(ConfigError::Invalid {
                path: path.to_owned(),
                line: line_of(text, "\"Namespaces\"", 0),
                key: "UserConfig.Namespaces".to_owned(),
                problem: format!("{} namespaces, but one is served", file.user_config.namespaces.len()),
                remedy: "put all entities into one namespace".to_owned(),
            });
        };
        let mut seen: HashMap<String, usize> = HashMap::new();
        for (index, queue) in namespace.queues.iter().enumerate() {
            let occurrences = seen.entry(queue.name.0.to_lowercase()).or_default();
            *occurrences += 1;
            if *occurrences > 1 {
                return Err(ConfigError::Invalid {
                    path: path.to_owned(),
                    line: line_of(text, &format!("\"{}\"", queue.name.0), 1),
                    key: format!("UserConfig.Namespaces[0].Queues[{index}].Name"),
                    problem: format!("the name '{}' is taken (names are the same in any case)", queue.name.0),
                    remedy: "give the queue another name".to_owned(),
                });
            }
            config.warnings.extend(not_served(&queue.name.0, &queue.properties));
            config.queues.push(queue_config(&queue.name.0, &queue.properties));
        }
        if !namespace.topics.is_empty() {
            let names: Vec<&str> = namespace.topics.iter().map(|topic| topic.name.0.as_str()).collect();
            config.warnings.push(format!("topics are not served yet and are left out: {}", names.join(", ")));
        }
        Ok(config)
    }
}

/// What a queue asks for that is not served.
fn not_served(name: &str, properties: &file::QueueProperties) -> Option<String> {
    let asked = [
        (properties.requires_session, "RequiresSession"),
        (properties.requires_duplicate_detection, "RequiresDuplicateDetection"),
        (!properties.forward_to.is_empty(), "ForwardTo"),
        (!properties.forward_dead_lettered_messages_to.is_empty(), "ForwardDeadLetteredMessagesTo"),
    ];
    let keys: Vec<&str> = asked.into_iter().filter_map(|(asked, key)| asked.then_some(key)).collect();
    (!keys.is_empty())
        .then(|| format!("queue {name} is served without what is not implemented yet: {}", keys.join(", ")))
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

/// The line, from 1, of an occurrence of a text.
fn line_of(text: &str, needle: &str, occurrence: usize) -> usize {
    let found = text.match_indices(needle).nth(occurrence).or_else(|| text.match_indices(needle).last());
    let position = found.map_or(0, |(position, _)| position);
    1 + text.bytes().take(position).filter(|byte| *byte == b'\n').count()
}

/// Why a text is no name of an entity; none when it is one.
fn name_problem(name: &str) -> Option<String> {
    let length = name.chars().count();
    if length == 0 || length > NAME_CHARS_MAX {
        return Some(format!("a name has 1 to {NAME_CHARS_MAX} characters, not {length}"));
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
