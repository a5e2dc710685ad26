//! Rules on the wire: maps in, described lists out.
//!
//! SDKs send a filter as a map and read it as a described list whose descriptor they compare as a number; both forms are taken. It
//! must not judge messages.

use amqp::value::Symbol;
use amqp::{Map, Value};

use super::{bad_argument, count, number};
use crate::broker::entity::{Entity, Kind};
use crate::broker::rules::{AddRuleError, Rule, Rules};
use crate::engine::Micros;
use crate::filter::{CorrelationFilter, Filter, SqlAction, SqlFilter, SyntaxError};
use crate::limits::{RULES_LISTED_MAX, SUBSCRIPTION_NAME_CHARS_MAX, SUBSCRIPTION_RULES_MAX};
use crate::message::timestamp_ms;
use crate::protocol::error::condition;
use crate::protocol::request::Answer;

/// Descriptors of the service's types.
mod descriptor {
    pub(super) const RULE: u64 = 0x0000_0137_0000_0004;
    pub(super) const EMPTY_ACTION: u64 = 0x0000_0137_0000_0005;
    pub(super) const SQL_ACTION: u64 = 0x0000_0137_0000_0006;
    pub(super) const SQL_FILTER: u64 = 0x0000_0013_7000_0006;
    pub(super) const TRUE_FILTER: u64 = 0x0000_0013_7000_0007;
    pub(super) const FALSE_FILTER: u64 = 0x0000_0013_7000_0008;
    pub(super) const CORRELATION_FILTER: u64 = 0x0000_0013_7000_0009;
}

/// The version of the SQL language that the service tells.
const COMPATIBILITY_LEVEL: Value = Value::Int(20);

fn rules(entity: &Entity) -> Result<&Rules, Answer> {
    match entity.kind() {
        Kind::Subscription(rules) => Ok(rules),
        _ => {
            let words = format!("Only subscriptions have rules, and '{}' is none.", entity.name());
            Err(Answer::failed(400, condition::NOT_ALLOWED, words))
        }
    }
}

pub(super) fn add(entity: &Entity, body: &Map, now_us: Micros) -> Result<Answer, Answer> {
    let rules = rules(entity)?;
    let name = body.get("rule-name").and_then(Value::as_str).filter(|name| {
        let chars = name.chars().count();
        (1..=SUBSCRIPTION_NAME_CHARS_MAX).contains(&chars) && !name.contains(['/', '\\', '@', '?', '#', '*'])
    });
    let words = format!("a name of 1 to {SUBSCRIPTION_NAME_CHARS_MAX} characters without / \\ @ ? # *");
    let name = name.ok_or_else(|| bad_argument("rule-name", &words))?;
    let (filter, action) = match body.get("rule-description") {
        Some(Value::Map(description)) => (filter(description)?, action(description.get("sql-rule-action"))?),
        Some(Value::Described(described)) => described_rule(described)?,
        _ => return Err(bad_argument("rule-description", "a map")),
    };
    let added = rules.add(Rule { name: name.to_owned(), filter, action, created_us: now_us });
    added.map(|()| Answer::ok(Map::new())).map_err(|error| match error {
        AddRuleError::Taken => {
            let words = format!("The rule '{name}' already exists.");
            Answer::failed(409, condition::ENTITY_ALREADY_EXISTS, words)
        }
        AddRuleError::TooMany => {
            let words = format!("A subscription has at most {SUBSCRIPTION_RULES_MAX} rules.");
            Answer::failed(403, condition::RESOURCE_LIMIT_EXCEEDED, words)
        }
    })
}

fn syntax(key: &str, error: &SyntaxError) -> Answer {
    Answer::failed(400, condition::ARGUMENT_ERROR, format!("'{key}' cannot be read: {error}."))
}

fn filter(description: &Map) -> Result<Filter, Answer> {
    match (description.get("sql-filter"), description.get("correlation-filter")) {
        (Some(Value::Map(sql)), None) => sql_filter(sql.get("expression")),
        (None, Some(Value::Map(correlation))) => {
            let text = |key: &str| text(key, correlation.get(key));
            let properties = match correlation.get("properties") {
                None | Some(Value::Null) => Map::new(),
                Some(Value::Map(properties)) => properties.clone(),
                Some(_) => return Err(bad_argument("properties", "a map")),
            };
            correlation_filter(CorrelationFilter {
                correlation_id: text("correlation-id")?,
                message_id: text("message-id")?,
                to: text("to")?,
                reply_to: text("reply-to")?,
                label: text("label")?,
                session_id: text("session-id")?,
                reply_to_session_id: text("reply-to-session-id")?,
                content_type: text("content-type")?,
                properties,
            })
        }
        (Some(Value::Described(described)), None) | (None, Some(Value::Described(described))) => {
            described_filter(described)
        }
        _ => Err(bad_argument("rule-description", "a map with either sql-filter or correlation-filter")),
    }
}

fn text(key: &str, value: Option<&Value>) -> Result<Option<String>, Answer> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            value.as_str().map(|text| Some(text.to_owned())).ok_or_else(|| bad_argument(key, "text"))
        }
    }
}

fn sql_filter(expression: Option<&Value>) -> Result<Filter, Answer> {
    const KEY: &str = "expression";
    let text = expression.and_then(Value::as_str).ok_or_else(|| bad_argument(KEY, "text"))?;
    SqlFilter::parse(text, &Map::new()).map(Filter::Sql).map_err(|error| syntax(KEY, &error))
}

fn correlation_filter(filter: CorrelationFilter) -> Result<Filter, Answer> {
    if filter.is_empty() {
        return Err(bad_argument("correlation-filter", "a filter with at least one condition"));
    }
    Ok(Filter::Correlation(filter))
}

fn action(action: Option<&Value>) -> Result<Option<SqlAction>, Answer> {
    const KEY: &str = "sql-rule-action";
    let expression = match action {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Map(action)) => action.get("expression"),
        Some(Value::Described(described)) => match (&described.0, described.1.as_elements()) {
            (Value::Ulong(descriptor::EMPTY_ACTION), _) => return Ok(None),
            (Value::Ulong(descriptor::SQL_ACTION), Some(fields)) => fields.first(),
            _ => None,
        },
        Some(_) => None,
    };
    let text =
        expression.and_then(Value::as_str).ok_or_else(|| bad_argument(KEY, "a map with expression"))?;
    // Some clients send an empty text for no action.
    if text.is_empty() {
        return Ok(None);
    }
    SqlAction::parse(text, &Map::new()).map(Some).map_err(|error| syntax(KEY, &error))
}

fn described_rule(described: &(Value, Value)) -> Result<(Filter, Option<SqlAction>), Answer> {
    let fields = described.1.as_elements().unwrap_or_default();
    match (&described.0, fields.first()) {
        (Value::Ulong(descriptor::RULE), Some(Value::Described(filter))) => {
            Ok((described_filter(filter)?, action(fields.get(1))?))
        }
        _ => Err(bad_argument("rule-description", "a described list that begins with a filter")),
    }
}

fn described_filter(described: &(Value, Value)) -> Result<Filter, Answer> {
    let fields = described.1.as_elements().unwrap_or_default();
    match described.0 {
        Value::Ulong(descriptor::TRUE_FILTER) => Ok(Filter::True),
        Value::Ulong(descriptor::FALSE_FILTER) => Ok(Filter::False),
        Value::Ulong(descriptor::SQL_FILTER) => sql_filter(fields.first()),
        Value::Ulong(descriptor::CORRELATION_FILTER) => {
            let text = |index: usize| text("correlation-filter", fields.get(index));
            correlation_filter(CorrelationFilter {
                correlation_id: text(0)?,
                message_id: text(1)?,
                to: text(2)?,
                reply_to: text(3)?,
                label: text(4)?,
                session_id: text(5)?,
                reply_to_session_id: text(6)?,
                content_type: text(7)?,
                properties: fields.get(8).and_then(Value::as_map).cloned().unwrap_or_default(),
            })
        }
        _ => Err(bad_argument("rule-description", "a filter of a known type")),
    }
}

pub(super) fn remove(entity: &Entity, body: &Map) -> Result<Answer, Answer> {
    const KEY: &str = "rule-name";
    let rules = rules(entity)?;
    let name = body.get(KEY).and_then(Value::as_str).ok_or_else(|| bad_argument(KEY, "text"))?;
    if rules.remove(name) {
        return Ok(Answer::ok(Map::new()));
    }
    let words = format!("The messaging entity '{}/Rules/{name}' could not be found.", entity.name());
    Err(Answer::failed(404, condition::NOT_FOUND, words))
}

pub(super) fn list(entity: &Entity, body: &Map) -> Result<Answer, Answer> {
    let rules = rules(entity)?;
    let skip =
        usize::try_from(number(body, "skip")?).map_err(|_| bad_argument("skip", "a number from zero on"))?;
    let max = count(body, "top", RULES_LISTED_MAX)?;
    let found: Vec<Value> = rules.list(skip, max).iter().map(description).collect();
    if found.is_empty() {
        return Ok(Answer::failed(204, condition::NOT_FOUND, "There are no more rules."));
    }
    Ok(Answer::ok(Map::new().with_string("rules", Value::List(found))))
}

fn described(descriptor: u64, fields: Vec<Value>) -> Value {
    Value::Described(Box::new((Value::Ulong(descriptor), Value::List(fields))))
}

fn optional(text: Option<&String>) -> Value {
    text.map_or(Value::Null, |text| Value::String(text.clone()))
}

fn description(rule: &Rule) -> Value {
    let sql = |text: &str| vec![Value::from(text), COMPATIBILITY_LEVEL];
    let filter = match &rule.filter {
        Filter::True => described(descriptor::TRUE_FILTER, Vec::new()),
        Filter::False => described(descriptor::FALSE_FILTER, Vec::new()),
        Filter::Sql(filter) => described(descriptor::SQL_FILTER, sql(filter.text())),
        Filter::Correlation(filter) => {
            let properties = filter.properties.0.iter().map(|(key, value)| {
                let key = key.as_str().unwrap_or_default();
                (Value::Symbol(Symbol::from(key)), value.clone())
            });
            let mut fields: Vec<Value> =
                filter.conditions().into_iter().map(|(_, wanted)| optional(wanted.as_ref())).collect();
            fields.push(Value::Map(Map(properties.collect())));
            described(descriptor::CORRELATION_FILTER, fields)
        }
    };
    let action = match &rule.action {
        Some(action) => described(descriptor::SQL_ACTION, sql(action.text())),
        None => described(descriptor::EMPTY_ACTION, Vec::new()),
    };
    let created = Value::Timestamp(timestamp_ms(rule.created_us));
    let rule = described(descriptor::RULE, vec![filter, action, Value::String(rule.name.clone()), created]);
    Value::Map(Map::new().with_string("rule-description", rule))
}
