//! Renews the locks of the messages that are held (`subscription.go`, `tryRenewLocks`): all of them at each tick, a few
//! at a time; a failure is a warning, the message goes on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use amqp::client::{Connection, Requester};
use amqp::{Map, Value};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::app::causes;
use crate::limits::LOCK_RENEWALS_MAX;

/// Lock tokens of the messages that are held, by their delivery.
pub(super) type ActiveLocks = Arc<Mutex<HashMap<u32, [u8; 16]>>>;

/// The lock token behind a delivery tag. The tag has the byte order of a .NET Guid, requests that of RFC 4122.
pub(super) fn lock_token(tag: &[u8]) -> Option<[u8; 16]> {
    let mut token: [u8; 16] = tag.try_into().ok()?;
    let [first, second, third, ..] = [0..4, 4..6, 6..8].map(|range| range);
    for range in [first, second, third] {
        token.get_mut(range)?.reverse();
    }
    Some(token)
}

/// Renews until it is aborted or the connection is gone.
pub(super) async fn run(
    connection: Connection,
    queue: String,
    active: ActiveLocks,
    interval: Duration,
    timeout: Duration,
) {
    let mut management: Option<Arc<Requester>> = None;
    let Some(first) = Instant::now().checked_add(interval) else {
        tracing::warn!(queue, ?interval, "locks are never renewed: lockRenewalInSec is too long");
        return;
    };
    let mut ticks = tokio::time::interval_at(first, interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while connection.is_open() {
        ticks.tick().await;
        let held: Vec<(u32, [u8; 16])> = {
            let active = active.lock().unwrap_or_else(PoisonError::into_inner);
            active.iter().map(|(&delivery, &token)| (delivery, token)).collect()
        };
        if held.is_empty() {
            continue;
        }
        let requester = match &management {
            Some(requester) => Arc::clone(requester),
            None => match connection.requester(&format!("{queue}/$management")).await {
                Ok(requester) => Arc::clone(management.insert(Arc::new(requester))),
                Err(error) => {
                    tracing::warn!(queue, error = causes(&error), "couldn't renew active message locks");
                    continue;
                }
            },
        };
        for (delivery, error) in renew_all(&requester, held, timeout).await {
            // What was settled meanwhile has no lock any more, and needs none.
            if active.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&delivery) {
                tracing::warn!(queue, error, "couldn't renew active message lock");
                // The links may be to blame: the next tick opens new ones.
                management = None;
            }
        }
    }
}

/// Renews these locks and tells which could not be.
async fn renew_all(
    requester: &Arc<Requester>,
    held: Vec<(u32, [u8; 16])>,
    timeout: Duration,
) -> Vec<(u32, String)> {
    let slots = Arc::new(Semaphore::new(LOCK_RENEWALS_MAX));
    let mut renewals = JoinSet::new();
    for (delivery, token) in held {
        let (requester, slots) = (Arc::clone(requester), Arc::clone(&slots));
        renewals.spawn(async move {
            let _slot = slots.acquire().await;
            renew(&requester, token, timeout).await.err().map(|error| (delivery, error))
        });
    }
    renewals.join_all().await.into_iter().flatten().collect()
}

async fn renew(requester: &Requester, token: [u8; 16], timeout: Duration) -> Result<(), String> {
    let properties = Map::new().with_string("operation", "com.microsoft:renew-lock".into());
    let body = Value::Map(Map::new().with_string("lock-tokens", Value::uuids([token])));
    match tokio::time::timeout(timeout, requester.request_ok(&properties, &body)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(causes(&error)),
        Err(_) => Err("the broker did not answer in time".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::lock_token;

    #[test]
    fn a_tag_becomes_a_token() {
        let tag =
            [0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff];
        let token = lock_token(&tag).expect("16 bytes");
        assert_eq!(token[..8], [0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77]);
        assert_eq!(token[8..], tag[8..]);
        assert_eq!(lock_token(&tag[..4]), None);
    }
}
