//! A subscription's rules, and what a topic does with a message: each subscription gets the copies that its rules make.
//!
//! A message is read at most once for all rules, and only where one has to look at it. Copies that no action changes share their
//! bytes. It must not parse filters.

use std::sync::{Arc, PoisonError, RwLock};

use super::entity::{Entity, Kind, dead_letter_reason};
use crate::config::RuleConfig;
use crate::engine::{Content, Micros};
use crate::filter::{EvaluationError, Fields, Filter, SqlAction};
use crate::limits::SUBSCRIPTION_RULES_MAX;
use crate::message::{self, Incoming};

/// Which messages a subscription gets, and what becomes of their copies.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// Which messages match.
    pub filter: Filter,
    /// What is changed on a copy of its own.
    pub action: Option<SqlAction>,
    /// When it was made.
    pub created_us: Micros,
}

/// Why a rule cannot be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddRuleError {
    /// Its name is taken.
    Taken,
    /// There are too many.
    TooMany,
}

/// A subscription's rules.
#[derive(Debug)]
pub struct Rules {
    rules: RwLock<Vec<Rule>>,
    dead_letter_on_errors: bool,
}

/// What a subscription gets of a message.
#[derive(Debug, Default)]
struct Verdict {
    /// One copy as it is.
    plain: bool,
    /// A copy for each rule with an action.
    changed: Vec<Content>,
    /// A rule that had no answer, and why.
    failed: Option<(String, EvaluationError)>,
}

/// What is to be judged.
struct Candidate<'a> {
    incoming: &'a Incoming,
    sequence_number: u64,
    enqueued_us: Micros,
    /// What filters see, read when it is first asked for.
    fields: Option<Box<Fields>>,
}

impl Candidate<'_> {
    fn fields(&mut self) -> &Fields {
        self.fields.get_or_insert_with(|| {
            Box::new(Fields {
                enqueued_us: self.enqueued_us,
                time_to_live_us: self.incoming.time_to_live_us,
                sequence_number: self.sequence_number,
                ..message::fields(&self.incoming.content)
            })
        })
    }
}

impl Rules {
    /// Rules as they were configured.
    pub fn new(rules: &[RuleConfig], dead_letter_on_errors: bool, created_us: Micros) -> Self {
        let rule = |rule: &RuleConfig| Rule {
            name: rule.name.clone(),
            filter: rule.filter.clone(),
            action: rule.action.clone(),
            created_us,
        };
        Self { rules: RwLock::new(rules.iter().map(rule).collect()), dead_letter_on_errors }
    }

    /// Adds a rule.
    ///
    /// # Errors
    /// When its name is taken, in any case, or there are too many.
    pub fn add(&self, rule: Rule) -> Result<(), AddRuleError> {
        let mut rules = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        if rules.iter().any(|other| other.name.eq_ignore_ascii_case(&rule.name)) {
            return Err(AddRuleError::Taken);
        }
        if rules.len() >= SUBSCRIPTION_RULES_MAX {
            return Err(AddRuleError::TooMany);
        }
        rules.push(rule);
        Ok(())
    }

    /// Removes a rule. Returns whether there was one of that name.
    pub fn remove(&self, name: &str) -> bool {
        let mut rules = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        let before = rules.len();
        rules.retain(|rule| !rule.name.eq_ignore_ascii_case(name));
        rules.len() < before
    }

    /// Up to `max` rules, in the order in which they came.
    pub fn list(&self, skip: usize, max: usize) -> Vec<Rule> {
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        rules.iter().skip(skip).take(max).cloned().collect()
    }

    fn judge(&self, candidate: &mut Candidate<'_>) -> Verdict {
        let mut verdict = Verdict::default();
        for rule in self.rules.read().unwrap_or_else(PoisonError::into_inner).iter() {
            // One copy is enough for all rules that change nothing.
            if rule.action.is_none() && verdict.plain {
                continue;
            }
            let matches = rule.filter.constant().map_or_else(|| rule.filter.matches(candidate.fields()), Ok);
            let outcome = matches.and_then(|matches| match &rule.action {
                None => {
                    verdict.plain |= matches;
                    Ok(())
                }
                Some(action) if matches => {
                    let mut fields = candidate.fields().clone();
                    action.apply(&mut fields)?;
                    verdict.changed.push(message::with_fields(&candidate.incoming.content, &fields));
                    Ok(())
                }
                Some(_) => Ok(()),
            });
            if let Err(error) = outcome {
                verdict.failed.get_or_insert((rule.name.clone(), error));
            }
        }
        verdict
    }
}

/// A topic's subscriptions.
#[derive(Debug, Default)]
pub struct Subscriptions(RwLock<Arc<Vec<Arc<Entity>>>>);

impl Subscriptions {
    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Entity>>)) {
        change(Arc::make_mut(&mut self.0.write().unwrap_or_else(PoisonError::into_inner)));
    }

    /// Adds a subscription.
    pub fn add(&self, subscription: Arc<Entity>) {
        self.change(|all| all.push(subscription));
    }

    /// Forgets a subscription.
    pub fn remove(&self, subscription: &Arc<Entity>) {
        self.change(|all| all.retain(|other| !Arc::ptr_eq(other, subscription)));
    }

    /// All of them, as they are now. No lock is held, for a message may come back to its topic.
    pub fn list(&self) -> Arc<Vec<Arc<Entity>>> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives each subscription what it is to have of a message.
    pub fn fan_out(&self, now_us: Micros, incoming: Incoming, sequence_number: u64) {
        let mut candidate =
            Candidate { incoming: &incoming, sequence_number, enqueued_us: now_us, fields: None };
        for subscription in self.list().iter() {
            let Kind::Subscription(rules) = subscription.kind() else { continue };
            let verdict = rules.judge(&mut candidate);
            if verdict.plain {
                subscription.take_copy(now_us, incoming.clone());
            }
            for content in verdict.changed {
                subscription.take_copy(now_us, Incoming { content, ..incoming.clone() });
            }
            if let Some((rule, error)) = verdict.failed {
                tracing::debug!(subscription = subscription.name(), rule, error = %error, "a rule has no answer");
                if rules.dead_letter_on_errors {
                    let words = format!("The rule '{rule}' cannot be evaluated: {error}.");
                    let properties = dead_letter_reason("FilterEvaluationException", &words);
                    subscription.refuse_copy(now_us, &incoming.content, &properties);
                }
            }
        }
    }
}
