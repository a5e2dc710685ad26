//! One timer for all entities: who has to be looked at when.
//!
//! It must not know what happens then.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::entity::Entity;
use crate::engine::{Micros, NEVER};

/// Entities by the instant at which something of theirs is due.
#[derive(Debug, Default)]
pub struct Timer {
    due: Mutex<BTreeMap<(Micros, u32), Weak<Entity>>>,
    earlier: Notify,
}

/// The longest sleep: the clock may have been set meanwhile.
const SLEEP_MAX: Duration = Duration::from_secs(1);

impl Timer {
    /// Has an entity looked at at an instant.
    pub fn arm(&self, due_us: Micros, id: u32, queue: Weak<Entity>) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let first = due.first_key_value().map_or(NEVER, |(&(due_us, _), _)| due_us);
        due.insert((due_us, id), queue);
        if due_us < first {
            self.earlier.notify_one();
        }
    }

    /// Takes out the entities that are due, and tells when the next one is.
    fn take_due(&self, now_us: Micros) -> (Vec<Weak<Entity>>, Micros) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let later = due.split_off(&(now_us.saturating_add(1), 0));
        let ready = std::mem::replace(&mut *due, later);
        let next = due.first_key_value().map_or(NEVER, |(&(due_us, _), _)| due_us);
        (ready.into_values().collect(), next)
    }

    /// Looks at entities when they are due, for ever.
    pub async fn run(&self, now_us: impl Fn() -> Micros) {
        loop {
            let now = now_us();
            let (ready, next) = self.take_due(now);
            let found_some = !ready.is_empty();
            for queue in ready.iter().filter_map(Weak::upgrade) {
                queue.tick(now);
            }
            if found_some {
                // Those that were looked at have armed anew; others get their turn first.
                tokio::task::yield_now().await;
                continue;
            }
            let wait = Duration::from_micros(next.saturating_sub(now)).min(SLEEP_MAX);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.earlier.notified() => {}
            }
        }
    }
}
