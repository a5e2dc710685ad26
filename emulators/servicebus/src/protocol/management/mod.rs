//! The operations of an entity's management node: arguments out of maps, results into maps.
//!
//! Clients differ in the number types and in lists or arrays of what they send; all are taken. It must not know how an
//! operation is done.

use std::ops::ControlFlow;

use amqp::{Map, Value};
use bytes::{Bytes, BytesMut};

mod rules;
mod sessions;

use super::error::condition;
use super::inbound::{refused, unreadable};
use super::request::{Answer, Question};
use crate::broker::entity::{Decision, Entity, dead_letter_properties};
use crate::engine::{Delivery, LockToken, Micros, ReceiveMode};
use crate::limits::{DELETE_BATCH_MAX, REPLY_BYTES_MAX, REQUEST_MESSAGES_MAX};
use crate::message::{self, Stamp, timestamp_ms};

/// Answers a request to the management node of an entity.
pub(super) fn answer(entity: &Entity, question: &Question, now_us: Micros) -> Answer {
    let body = &question.body;
    let name = question.operation.strip_prefix("com.microsoft:").unwrap_or(&question.operation);
    let result = match name {
        "renew-lock" => renew_locks(entity, body, now_us),
        "peek-message" => peek(entity, body, now_us),
        "receive-by-sequence-number" => receive_deferred(entity, body, now_us),
        "schedule-message" => schedule(entity, body, now_us),
        "cancel-scheduled-message" => cancel(entity, body, now_us),
        "update-disposition" => update_disposition(entity, body, now_us),
        "batch-delete-messages" => delete_batch(entity, body, now_us),
        "renew-session-lock" => sessions::renew(entity, body, now_us),
        "get-session-state" => sessions::get_state(entity, body, now_us),
        "set-session-state" => sessions::set_state(entity, body, now_us),
        "get-message-sessions" => sessions::list(entity, body, now_us),
        "add-rule" => rules::add(entity, body, now_us),
        "remove-rule" => rules::remove(entity, body),
        "enumerate-rules" => rules::list(entity, body),
        other => {
            let words = format!("The operation '{other}' is not implemented.");
            Err(Answer::failed(501, condition::NOT_IMPLEMENTED, words))
        }
    };
    entity.note_use();
    result.unwrap_or_else(|refusal| refusal)
}

fn bad_argument(key: &str, expected: &str) -> Answer {
    Answer::failed(400, condition::ARGUMENT_ERROR, format!("'{key}' is missing or is not {expected}."))
}

fn number(body: &Map, key: &str) -> Result<i64, Answer> {
    body.get(key).and_then(Value::as_i64).ok_or_else(|| bad_argument(key, "a number"))
}

/// A count of messages: at least one, at most what is returned at once.
fn count(body: &Map, key: &str, max: usize) -> Result<usize, Answer> {
    let count = number(body, key)?;
    usize::try_from(count)
        .ok()
        .filter(|count| *count > 0)
        .map(|count| count.min(max))
        .ok_or_else(|| bad_argument(key, "a number above zero"))
}

fn sequence_numbers(body: &Map) -> Result<Vec<u64>, Answer> {
    const KEY: &str = "sequence-numbers";
    let elements = body.get(KEY).and_then(Value::as_elements).filter(|numbers| !numbers.is_empty());
    let numbers = elements.and_then(|elements| {
        elements.iter().map(|number| number.as_i64().and_then(|number| u64::try_from(number).ok())).collect()
    });
    numbers.ok_or_else(|| bad_argument(KEY, "an array of sequence numbers"))
}

fn lock_tokens(body: &Map) -> Result<Vec<LockToken>, Answer> {
    const KEY: &str = "lock-tokens";
    let elements = body.get(KEY).and_then(Value::as_elements).filter(|tokens| !tokens.is_empty());
    let tokens = elements.and_then(|elements| {
        let token = |value: &Value| match value {
            Value::Uuid(uuid) => Some(LockToken::from_uuid(*uuid)),
            _ => None,
        };
        elements.iter().map(token).collect()
    });
    tokens.ok_or_else(|| bad_argument(KEY, "an array of UUIDs"))
}

fn lock_lost(entity: &Entity) -> Answer {
    match entity.requires_session() {
        true => sessions::lock_lost(entity),
        false => Answer::failed(410, condition::MESSAGE_LOCK_LOST, entity.describe_lost_lock()),
    }
}

/// The session to which a request is limited; none for all messages.
fn session_id(body: &Map) -> Option<&str> {
    body.get("session-id").and_then(Value::as_str)
}

fn renew_locks(entity: &Entity, body: &Map, now_us: Micros) -> Result<Answer, Answer> {
    let mut expirations = Vec::new();
    for token in lock_tokens(body)? {
        let until_us = entity.renew(now_us, token).map_err(|_| lock_lost(entity))?;
        expirations.push(timestamp_ms(until_us));
    }
    Ok(Answer::ok(Map::new().with_string("expirations", Value::timestamps(expirations))))
}

/// A message as management answers carry it: whole, with its annotations.
fn whole(delivery: &Delivery<'_>) -> Bytes {
    let stamp = Stamp {
        sequence_number: delivery.sequence_number,
        delivery_count: delivery.delivery_count,
        enqueued_us: delivery.enqueued_us,
        locked_until_us: delivery.lock.map(|(_, until_us)| until_us),
        lock_token: delivery.lock.map(|(token, _)| token.to_uuid()),
        state: Some(delivery.state),
    };
    message::encode_whole(delivery.content, &stamp)
}

fn peek(entity: &Entity, body: &Map, now_us: Micros) -> Result<Answer, Answer> {
    let from = u64::try_from(number(body, "from-sequence-number")?).unwrap_or(0);
    let max = count(body, "message-count", REQUEST_MESSAGES_MAX)?;
    let omit_body = body.get("omit-message-body") == Some(&Value::Bool(true));
    let (mut messages, mut bytes) = (Vec::new(), 0);
    entity.peek(now_us, from, max, session_id(body), |delivery| {
        let message = if omit_body {
            whole(&Delivery { content: &message::without_body(delivery.content), ..*delivery })
        } else {
            whole(delivery)
        };
        bytes += message.len();
        messages.push(Value::Map(Map::new().with_string("message", Value::Binary(message))));
        if bytes < REPLY_BYTES_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    if messages.is_empty() {
        let words = "There is no message from this sequence number on.";
        return Ok(Answer::failed(204, condition::MESSAGE_NOT_FOUND, words));
    }
    Ok(Answer::ok(Map::new().with_string("messages", Value::List(messages))))
}

fn receive_deferred(entity: &Entity, body: &Map, now_us: Micros) -> Result<Answer, Answer> {
    const SETTLE_FIRST: i64 = 0;
    let numbers = sequence_numbers(body)?;
    if numbers.len() > REQUEST_MESSAGES_MAX {
        return Err(bad_argument("sequence-numbers", "short enough"));
    }
    let mode = match number(body, "receiver-settle-mode") {
        Ok(SETTLE_FIRST) => ReceiveMode::ReceiveAndDelete,
        _ => ReceiveMode::PeekLock,
    };
    let session = session_id(body);
    if entity.requires_session() && !session.is_some_and(|id| entity.is_session_owned(now_us, id)) {
        return Err(sessions::lock_lost(entity));
    }
    let (mut messages, mut bytes) = (Vec::new(), 0);
    for number in numbers {
        // What does not fit stays as it is, and can be asked for again.
        if bytes >= REPLY_BYTES_MAX {
            break;
        }
        let found = entity.receive_deferred(now_us, number, session, mode, |delivery| {
            let token = delivery.lock.map_or([0; 16], |(token, _)| token.to_uuid());
            let message = whole(delivery);
            bytes += message.len();
            Map::new()
                .with_string("lock-token", Value::Uuid(token))
                .with_string("message", Value::Binary(message))
        });
        messages.extend(found.map(Value::Map));
    }
    if messages.is_empty() {
        let words = "There is no deferred message with any of these sequence numbers.";
        return Err(Answer::failed(404, condition::MESSAGE_NOT_FOUND, words));
    }
    Ok(Answer::ok(Map::new().with_string("messages", Value::List(messages))))
}

fn schedule(entity: &Entity, body: &Map, now_us: Micros) -> Result<Answer, Answer> {
    const KEY: &str = "messages";
    let elements = body.get(KEY).and_then(Value::as_elements).ok_or_else(|| bad_argument(KEY, "a list"))?;
    let mut scratch = BytesMut::new();
    let mut parsed = Vec::new();
    for element in elements {
        let Some(Value::Binary(message)) = element.as_map().and_then(|map| map.get("message")) else {
            return Err(bad_argument("messages[].message", "binary"));
        };
        let incoming =
            message::parse(message, &mut scratch).map_err(|error| Answer::refused(400, unreadable(error)))?;
        if incoming.due_us.is_none() {
            return Err(bad_argument("x-opt-scheduled-enqueue-time", "a timestamp on every message"));
        }
        parsed.push(incoming);
    }
    if !entity.takes_messages() {
        let words = "Messages can be sent to a queue or a topic only.";
        return Err(Answer::failed(400, condition::NOT_ALLOWED, words));
    }
    let sent = entity.send(now_us, parsed).map_err(|refusal| {
        let error = refused(entity, refusal);
        Answer::refused(400, error)
    })?;
    let numbers = sent.into_iter().map(|number| i64::try_from(number).unwrap_or(i64::MAX));
    Ok(Answer::ok(Map::new().with_string("sequence-numbers", Value::longs(numbers))))
}

fn cancel(entity: &Entity, body: &Map, now_us: Micros) -> Result<Answer, Answer> {
    let missing: Vec<String> = sequence_numbers(body)?
        .into_iter()
        .filter(|number| !entity.cancel(now_us, *number))
        .map(|number| number.to_string())
        .collect();
    if missing.is_empty() {
        return Ok(Answer::ok(Map::new()));
    }
    let words = format!("No message is scheduled under sequence number {}.", missing.join(", "));
    Err(Answer::failed(404, condition::MESSAGE_NOT_FOUND, words))
}

fn update_disposition(entity: &Entity, body: &Map, now_us: Micros) -> Result<Answer, Answer> {
    let properties = body.get("properties-to-modify").and_then(Value::as_map).cloned().unwrap_or_default();
    let status = body.get("disposition-status").and_then(Value::as_str).unwrap_or_default();
    let decision = match status.to_ascii_lowercase().as_str() {
        "completed" => Decision::Complete,
        "abandoned" => Decision::Abandon(properties),
        // The service's own spelling, and the right one.
        "defered" | "deferred" => Decision::Defer(properties),
        "suspended" => {
            let (reason, description) = (body.get("deadletter-reason"), body.get("deadletter-description"));
            let text = |value: Option<&Value>| value.filter(|value| value.as_str().is_some()).cloned();
            let (reason, description) = (text(reason), text(description));
            Decision::DeadLetter(dead_letter_properties(properties, reason.as_ref(), description.as_ref()))
        }
        _ => return Err(bad_argument("disposition-status", "completed, abandoned, defered or suspended")),
    };
    for token in lock_tokens(body)? {
        entity.settle(now_us, token, decision.clone()).map_err(|_| lock_lost(entity))?;
    }
    Ok(Answer::ok(Map::new()))
}

fn delete_batch(entity: &Entity, body: &Map, now_us: Micros) -> Result<Answer, Answer> {
    let max = count(body, "message-count", DELETE_BATCH_MAX)?;
    let before_ms = number(body, "enqueued-time-utc")?;
    let before_us = u64::try_from(before_ms).unwrap_or(0).saturating_mul(1000);
    let deleted = entity.delete_before(now_us, before_us, max, session_id(body));
    if deleted == 0 {
        return Ok(Answer::failed(204, condition::MESSAGE_NOT_FOUND, "There was no message to delete."));
    }
    let deleted = Value::Int(i32::try_from(deleted).unwrap_or(i32::MAX));
    Ok(Answer::ok(Map::new().with_string("message-count", deleted)))
}
