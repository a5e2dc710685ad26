//! What no single key can tell: names that are taken twice, and entities to which messages cannot be passed on.
//!
//! It must not read JSON.

use std::collections::HashMap;
use std::path::Path;

use super::file::{ConfigFile, Namespace, Topic};
use super::{ConfigError, NamespaceConfig, QueueConfig, RuleConfig, SubscriptionConfig, TopicConfig};

/// The file that is checked.
pub(super) struct Check<'a> {
    /// Its text, for lines.
    pub text: &'a str,
    /// Its path, for errors.
    pub path: &'a Path,
}

/// Names and how often they came; the same in any case.
type Seen = HashMap<String, usize>;

impl Check<'_> {
    /// The namespace that the file describes.
    pub(super) fn namespace(&self, file: &ConfigFile) -> Result<NamespaceConfig, ConfigError> {
        let [namespace] = file.user_config.namespaces.as_slice() else {
            let problem = format!("{} namespaces, but one is served", file.user_config.namespaces.len());
            let line = line_of(self.text, "\"Namespaces\"", 0);
            return Err(self.invalid(
                line,
                "UserConfig.Namespaces",
                problem,
                "put all entities into one namespace",
            ));
        };
        let mut config = NamespaceConfig { queues: Vec::new(), topics: Vec::new() };
        let mut seen = Seen::new();
        for (index, queue) in namespace.queues.iter().enumerate() {
            let key = format!("UserConfig.Namespaces[0].Queues[{index}].Name");
            self.name_is_free(&mut seen, &queue.name.0, &key)?;
            config.queues.push(queue.properties.config(&queue.name.0));
        }
        for (index, topic) in namespace.topics.iter().enumerate() {
            let key = format!("UserConfig.Namespaces[0].Topics[{index}]");
            self.name_is_free(&mut seen, &topic.name.0, &format!("{key}.Name"))?;
            config.topics.push(self.topic(topic, &key)?);
        }
        self.forwarding(namespace, &config, &seen)?;
        Ok(config)
    }

    fn topic(&self, topic: &Topic, key: &str) -> Result<TopicConfig, ConfigError> {
        let properties = &topic.properties;
        let mut config = TopicConfig {
            name: topic.name.0.clone(),
            time_to_live_us: properties.default_message_time_to_live.0,
            duplicate_window_us: properties
                .requires_duplicate_detection
                .then_some(properties.duplicate_detection_history_time_window.0),
            auto_delete_us: properties
                .auto_delete_on_idle
                .map_or(crate::engine::NEVER, |duration| duration.0),
            status: properties.status,
            subscriptions: Vec::new(),
        };
        let mut seen = Seen::new();
        for (index, subscription) in topic.subscriptions.iter().enumerate() {
            let key = format!("{key}.Subscriptions[{index}]");
            self.name_is_free(&mut seen, &subscription.name.0, &format!("{key}.Name"))?;
            let mut names = Seen::new();
            let mut rules = Vec::new();
            for (index, rule) in subscription.rules.iter().enumerate() {
                self.name_is_free(&mut names, &rule.name.0, &format!("{key}.Rules[{index}].Name"))?;
                let (name, properties) = (rule.name.0.clone(), rule.properties.clone());
                rules.push(RuleConfig { name, filter: properties.filter, action: properties.action });
            }
            if rules.is_empty() {
                rules.push(RuleConfig::match_all());
            }
            config.subscriptions.push(SubscriptionConfig {
                queue: subscription.properties.config(&subscription.name.0),
                dead_letter_on_filter_errors: subscription
                    .properties
                    .dead_lettering_on_filter_evaluation_exceptions,
                rules,
            });
        }
        Ok(config)
    }

    fn name_is_free(&self, seen: &mut Seen, name: &str, key: &str) -> Result<(), ConfigError> {
        let occurrences = seen.entry(name.to_lowercase()).or_default();
        *occurrences += 1;
        if *occurrences == 1 {
            return Ok(());
        }
        let problem = format!("the name '{name}' is taken (names are the same in any case)");
        Err(self.invalid(line_of(self.text, &format!("\"{name}\""), 1), key, problem, "give it another name"))
    }

    /// Messages are passed on to a queue or a topic that is there and is another, and not out of sessions.
    fn forwarding(
        &self,
        namespace: &Namespace,
        config: &NamespaceConfig,
        seen: &Seen,
    ) -> Result<(), ConfigError> {
        let queues =
            config.queues.iter().enumerate().map(|(index, queue)| (format!("Queues[{index}]"), queue));
        let subscriptions = config.topics.iter().enumerate().flat_map(|(topic, config)| {
            let subscriptions = config.subscriptions.iter().enumerate();
            subscriptions.map(move |(index, subscription)| {
                (format!("Topics[{topic}].Subscriptions[{index}]"), &subscription.queue)
            })
        });
        let queue_count = namespace.queues.len();
        for (index, (place, queue)) in queues.chain(subscriptions).enumerate() {
            let own_name = (index < queue_count).then_some(queue.name.as_str());
            self.targets(&place, own_name, queue, seen)?;
        }
        Ok(())
    }

    fn targets(
        &self,
        place: &str,
        own_name: Option<&str>,
        queue: &QueueConfig,
        seen: &Seen,
    ) -> Result<(), ConfigError> {
        let targets = [
            ("ForwardTo", &queue.forward_to),
            ("ForwardDeadLetteredMessagesTo", &queue.forward_dead_letters_to),
        ];
        for (name, target) in targets.into_iter().filter_map(|(name, target)| Some((name, target.as_ref()?)))
        {
            let problem = if !seen.contains_key(&target.to_lowercase()) {
                format!("there is no queue or topic '{target}'")
            } else if own_name.is_some_and(|own| own.eq_ignore_ascii_case(target)) && name == "ForwardTo" {
                "messages cannot be passed on to where they come from".to_owned()
            } else if queue.requires_session && name == "ForwardTo" {
                "messages of sessions cannot be passed on".to_owned()
            } else {
                continue;
            };
            let line = line_of(self.text, &format!("\"{target}\""), usize::MAX);
            let key = format!("UserConfig.Namespaces[0].{place}.Properties.{name}");
            return Err(self.invalid(
                line,
                &key,
                problem,
                "name another queue or topic of this file, or none",
            ));
        }
        Ok(())
    }

    fn invalid(&self, line: usize, key: &str, problem: String, remedy: &str) -> ConfigError {
        let (path, key, remedy) = (self.path.to_owned(), key.to_owned(), remedy.to_owned());
        ConfigError::Invalid { path, line, key, problem, remedy }
    }
}

/// The line, from 1, of an occurrence of a text; of the last one when there are fewer.
fn line_of(text: &str, needle: &str, occurrence: usize) -> usize {
    let found = text.match_indices(needle).nth(occurrence).or_else(|| text.match_indices(needle).last());
    let position = found.map_or(0, |(position, _)| position);
    1 + text.bytes().take(position).filter(|byte| *byte == b'\n').count()
}
