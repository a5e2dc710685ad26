//! When an entity was last used, for entities that are deleted when nobody uses them.
//!
//! It must not delete anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::entity::Entity;
use crate::engine::Micros;

/// See the module.
#[derive(Debug, Default)]
pub struct Idle {
    links: AtomicUsize,
    used_us: AtomicU64,
    /// When the timer looks at it next; one look is under way at a time.
    armed_us: AtomicU64,
}

impl Idle {
    /// Notes a use.
    pub fn used(&self, now_us: Micros) {
        self.used_us.fetch_max(now_us, Ordering::Relaxed);
    }

    /// When the timer looks at it next; zero before the first time.
    pub fn armed_us(&self) -> Micros {
        self.armed_us.load(Ordering::Relaxed)
    }

    /// Notes when the timer looks at it next.
    pub fn set_armed(&self, due_us: Micros) {
        self.armed_us.store(due_us, Ordering::Relaxed);
    }

    /// Since when nobody has used it; none while a link is attached.
    pub fn since_us(&self) -> Option<Micros> {
        (self.links.load(Ordering::Relaxed) == 0).then(|| self.used_us.load(Ordering::Relaxed))
    }
}

/// A link's hold on an entity that is deleted when nobody uses it.
#[derive(Debug)]
pub struct Hold(Arc<Entity>);

impl Hold {
    /// A hold, where the entity needs one.
    pub fn on(entity: &Arc<Entity>) -> Option<Self> {
        entity.idle()?.links.fetch_add(1, Ordering::Relaxed);
        Some(Self(Arc::clone(entity)))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(idle) = self.0.idle() {
            idle.links.fetch_sub(1, Ordering::Relaxed);
            self.0.note_use();
        }
    }
}
