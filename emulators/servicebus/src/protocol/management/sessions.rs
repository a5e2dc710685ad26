//! What a management node does with sessions: their locks, their states, their ids.
//!
//! It must not accept a session; a link does.

use std::sync::Arc;

use amqp::encode::code;
use amqp::value::Array;
use amqp::{Map, Value};
use bytes::Bytes;

use super::{bad_argument, count, number};
use crate::broker::entity::Entity;
use crate::engine::Micros;
use crate::limits::{SESSION_IDS_MAX, SESSION_STATE_BYTES_MAX};
use crate::message::timestamp_ms;
use crate::protocol::error::condition;
use crate::protocol::request::Answer;

/// The answer for a session that nobody owns.
pub(super) fn lock_lost(entity: &Entity) -> Answer {
    Answer::failed(410, condition::SESSION_LOCK_LOST, entity.describe_lost_session())
}

fn session_id<'a>(entity: &Entity, body: &'a Map) -> Result<&'a str, Answer> {
    if !entity.requires_session() {
        let words = format!("The entity '{}' does not require sessions.", entity.name());
        return Err(Answer::failed(400, condition::NOT_ALLOWED, words));
    }
    super::session_id(body).ok_or_else(|| bad_argument("session-id", "text"))
}

pub(super) fn renew(entity: &Entity, body: &Map, now_us: Micros) -> Result<Answer, Answer> {
    let id = session_id(entity, body)?;
    let until_us = entity.renew_session(now_us, id).map_err(|_| lock_lost(entity))?;
    Ok(Answer::ok(Map::new().with_string("expiration", Value::Timestamp(timestamp_ms(until_us)))))
}

pub(super) fn get_state(entity: &Entity, body: &Map, now_us: Micros) -> Result<Answer, Answer> {
    let id = session_id(entity, body)?;
    let state = entity.session_state(now_us, id).map_err(|_| lock_lost(entity))?;
    let state = state.map_or(Value::Null, |state| Value::Binary(Bytes::copy_from_slice(&state)));
    Ok(Answer::ok(Map::new().with_string("session-state", state)))
}

pub(super) fn set_state(entity: &Entity, body: &Map, now_us: Micros) -> Result<Answer, Answer> {
    const KEY: &str = "session-state";
    let id = session_id(entity, body)?;
    let state: Option<Arc<[u8]>> = match body.get(KEY) {
        None | Some(Value::Null) => None,
        Some(Value::Binary(state)) if state.len() <= SESSION_STATE_BYTES_MAX => Some(Arc::from(&state[..])),
        Some(Value::Binary(_)) => {
            return Err(bad_argument(KEY, &format!("of at most {SESSION_STATE_BYTES_MAX} bytes")));
        }
        Some(_) => return Err(bad_argument(KEY, "binary or null")),
    };
    entity.set_session_state(now_us, id, state).map_err(|_| lock_lost(entity))?;
    Ok(Answer::ok(Map::new()))
}

pub(super) fn list(entity: &Entity, body: &Map, now_us: Micros) -> Result<Answer, Answer> {
    /// From here on an instant means "all": the last of .NET, to the second.
    const LAST_MS: i64 = 253_402_300_799_000;
    if !entity.requires_session() {
        let words = format!("The entity '{}' does not require sessions.", entity.name());
        return Err(Answer::failed(400, condition::NOT_ALLOWED, words));
    }
    let changed_ms = number(body, "last-updated-time")?;
    let changed_after_us =
        (changed_ms < LAST_MS).then(|| u64::try_from(changed_ms).unwrap_or(0).saturating_mul(1000));
    let skip = number(body, "skip")?;
    let max = count(body, "top", SESSION_IDS_MAX)?;
    let ids = entity.session_ids(now_us, changed_after_us, usize::try_from(skip).unwrap_or(0), max);
    if ids.is_empty() {
        return Ok(Answer::failed(204, condition::SESSION_NOT_FOUND, "There is no such session."));
    }
    let next = skip.saturating_add(i64::try_from(ids.len()).unwrap_or(i64::MAX));
    let elements = ids.iter().map(|id| Value::String(id.to_string())).collect();
    let ids = Value::Array(Array { element_code: code::STRING_32, elements });
    let next = Value::Int(i32::try_from(next).unwrap_or(i32::MAX));
    // The service's own spelling.
    Ok(Answer::ok(Map::new().with_string("skip", next).with_string("sessions-ids", ids)))
}
