//! Queues and their messages as JSON.
//!
//! It must not lock or take a message: it peeks.

use std::ops::ControlFlow;

use amqp::message::Sections;
use amqp::{Map, Value};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value as Json, json};

use crate::broker::entity::Entity;
use crate::broker::{Broker, now_us};
use crate::engine::{Counts, Delivery, State};
use crate::limits::REPLY_BYTES_MAX;
use crate::message;

/// All queues and subscriptions with their counts.
pub fn queues(broker: &Broker) -> Json {
    let now_us = now_us();
    let entities = broker.entities();
    let rows = entities.iter().filter(|entity| entity.dead_letters().is_some()).map(|queue| {
        let (counts, totals) = queue.counts(now_us);
        let dead = queue.dead_letters().map(|dead| dead.counts(now_us).0).unwrap_or_default();
        let Counts { active, locked, deferred, scheduled } = counts;
        json!({
            "name": queue.name(),
            "active": active,
            "scheduled": scheduled,
            "deferred": deferred,
            "locked": locked,
            "dead_lettered": dead.active + dead.locked + dead.deferred + dead.scheduled,
            "enqueued_total": totals.enqueued,
            "completed_total": totals.completed,
            "dead_lettered_total": totals.dead_lettered,
        })
    });
    rows.collect()
}

/// The first messages of a queue, in any state: at most `limit`, and fewer when they are large.
pub fn messages(queue: &Entity, limit: usize) -> Json {
    let (mut rows, mut bytes) = (Vec::new(), 0);
    queue.peek(now_us(), 0, limit, None, |delivery| {
        bytes += delivery.content.len();
        rows.push(row(delivery));
        if bytes < REPLY_BYTES_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    Json::Array(rows)
}

fn row(delivery: &Delivery<'_>) -> Json {
    let state = match delivery.state {
        State::Active => "active",
        State::Locked | State::DeferredLocked => "locked",
        State::Deferred => "deferred",
        State::Scheduled => "scheduled",
    };
    let bare = Bytes::copy_from_slice(message::bare(delivery.content));
    let sections = Sections::scan(&bare).unwrap_or_default();
    let properties = sections.properties(&bare).unwrap_or_default();
    let application = sections.application_properties(&bare).unwrap_or_default();
    let mut row = json!({
        "sequence_number": delivery.sequence_number,
        "state": state,
        "delivery_count": delivery.delivery_count,
        "enqueued_us": delivery.enqueued_us,
        "message_id": properties.message_id.as_ref().map(to_json),
        "subject": properties.subject,
        "application_properties": map_to_json(&application),
    });
    let body = message::body(delivery.content).unwrap_or_default();
    let (key, body) = match std::str::from_utf8(&body) {
        Ok(text) => ("body", text.to_owned()),
        Err(_) => ("body_base64", STANDARD.encode(&body)),
    };
    if let Some(fields) = row.as_object_mut() {
        fields.insert(key.to_owned(), body.into());
    }
    row
}

fn map_to_json(map: &Map) -> Json {
    let entries = map.0.iter().map(|(key, value)| {
        let key = key.as_str().map_or_else(|| to_json(key).to_string(), str::to_owned);
        (key, to_json(value))
    });
    Json::Object(entries.collect())
}

/// A value as a person would write it in JSON: what JSON has no type for is text.
fn to_json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(value) => (*value).into(),
        Value::Float(number) => (*number).into(),
        Value::Double(number) => (*number).into(),
        Value::Ulong(number) => (*number).into(),
        Value::Char(value) => value.to_string().into(),
        Value::String(text) => text.as_str().into(),
        Value::Symbol(symbol) => symbol.as_str().into(),
        Value::Uuid(bytes) => uuid_text(*bytes).into(),
        Value::Binary(bytes) | Value::Decimal(bytes) => STANDARD.encode(bytes).into(),
        Value::List(elements) => elements.iter().map(to_json).collect(),
        Value::Array(array) => array.elements.iter().map(to_json).collect(),
        Value::Map(map) => map_to_json(map),
        Value::Described(described) => to_json(&described.1),
        number => number.as_i64().map_or(Json::Null, Json::from),
    }
}

fn uuid_text(bytes: [u8; 16]) -> String {
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    let groups =
        [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| hex.get(range).unwrap_or_default().to_owned());
    groups.join("-")
}
