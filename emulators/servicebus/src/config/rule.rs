//! Rules as `Config.json` writes them: a filter of the kind that `FilterType` names, and an action.
//!
//! Texts are read where they stand, so that a mistake in one is told with its line. It must not judge messages.

use amqp::{Map, Value};
use serde::{Deserialize, Deserializer};

use crate::filter::{CorrelationFilter, Filter, SqlAction, SqlFilter};

pub(super) fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// What a rule does.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Keys")]
pub(super) struct RuleProperties {
    pub filter: Filter,
    pub action: Option<SqlAction>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase", expecting = "an object")]
struct Keys {
    filter_type: FilterType,
    correlation_filter: Option<Correlation>,
    sql_filter: Option<SqlFilterText>,
    action: Option<ActionText>,
}

#[derive(Debug, Deserialize)]
enum FilterType {
    Correlation,
    Sql,
}

impl TryFrom<Keys> for RuleProperties {
    type Error = &'static str;

    fn try_from(keys: Keys) -> Result<Self, Self::Error> {
        let filter = match (keys.filter_type, keys.correlation_filter, keys.sql_filter) {
            (FilterType::Correlation, Some(filter), None) => Filter::Correlation(filter.into()),
            (FilterType::Sql, None, Some(filter)) => Filter::Sql(filter.sql_expression.0),
            (FilterType::Correlation, _, _) => {
                return Err("a rule with FilterType Correlation has a CorrelationFilter and no SqlFilter");
            }
            (FilterType::Sql, _, _) => {
                return Err("a rule with FilterType Sql has a SqlFilter and no CorrelationFilter");
            }
        };
        if matches!(&filter, Filter::Correlation(filter) if filter.is_empty()) {
            return Err("a CorrelationFilter has at least one condition");
        }
        Ok(Self { filter, action: keys.action.map(|action| action.sql_expression.0) })
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase", expecting = "an object")]
struct SqlFilterText {
    sql_expression: FilterExpression,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase", expecting = "an object")]
struct ActionText {
    sql_expression: ActionExpression,
}

#[derive(Debug)]
struct FilterExpression(SqlFilter);

impl<'de> Deserialize<'de> for FilterExpression {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        SqlFilter::parse(&text, &Map::new()).map(Self).map_err(serde::de::Error::custom)
    }
}

#[derive(Debug)]
struct ActionExpression(SqlAction);

impl<'de> Deserialize<'de> for ActionExpression {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        SqlAction::parse(&text, &Map::new()).map(Self).map_err(serde::de::Error::custom)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "PascalCase", expecting = "an object")]
struct Correlation {
    content_type: Option<String>,
    correlation_id: Option<String>,
    label: Option<String>,
    message_id: Option<String>,
    reply_to: Option<String>,
    reply_to_session_id: Option<String>,
    session_id: Option<String>,
    to: Option<String>,
    #[serde(deserialize_with = "null_is_default")]
    properties: serde_json::Map<String, serde_json::Value>,
}

impl From<Correlation> for CorrelationFilter {
    fn from(filter: Correlation) -> Self {
        let value = |json: serde_json::Value| match json {
            serde_json::Value::String(text) => Value::String(text),
            serde_json::Value::Bool(value) => Value::Bool(value),
            number => match (number.as_i64(), number.as_f64()) {
                (Some(number), _) => Value::Long(number),
                (None, Some(number)) => Value::Double(number),
                (None, None) => Value::Null,
            },
        };
        let properties = filter.properties.into_iter();
        Self {
            correlation_id: filter.correlation_id,
            message_id: filter.message_id,
            to: filter.to,
            reply_to: filter.reply_to,
            label: filter.label,
            session_id: filter.session_id,
            reply_to_session_id: filter.reply_to_session_id,
            content_type: filter.content_type,
            properties: Map(properties.map(|(key, json)| (Value::String(key), value(json))).collect()),
        }
    }
}
