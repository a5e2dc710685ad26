//! The entities of a namespace by name.
//!
//! A subscription is found by `topic/Subscriptions/name`; names are the same in any case. It must not make entities.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::address::{EntityPath, Part};
use super::entity::{Entity, Kind};

/// See the module.
#[derive(Debug, Default)]
pub struct Directory(RwLock<Entities>);

#[derive(Debug, Default)]
struct Entities {
    /// By lower-case path.
    by_path: HashMap<String, Arc<Entity>>,
    /// In the order in which they were made.
    order: Vec<Arc<Entity>>,
}

impl Directory {
    /// Adds an entity.
    pub fn add(&self, entity: &Arc<Entity>) {
        let mut entities = self.0.write().unwrap_or_else(PoisonError::into_inner);
        entities.by_path.insert(entity.name().to_lowercase(), Arc::clone(entity));
        entities.order.push(Arc::clone(entity));
    }

    /// Forgets an entity; a topic with its subscriptions, and a subscription at its topic.
    pub fn remove(&self, entity: &Arc<Entity>) {
        let mut gone = vec![Arc::clone(entity)];
        if let Kind::Topic(subscriptions) = entity.kind() {
            gone.extend(subscriptions.list().iter().cloned());
        }
        let mut entities = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for entity in &gone {
            entities.by_path.remove(&entity.name().to_lowercase());
        }
        entities.order.retain(|other| {
            if let (Kind::Topic(subscriptions), Kind::Subscription(_)) = (other.kind(), entity.kind()) {
                subscriptions.remove(entity);
            }
            !gone.iter().any(|entity| Arc::ptr_eq(entity, other))
        });
    }

    /// The entity with a name.
    pub fn find(&self, name: &str) -> Option<Arc<Entity>> {
        let entities = self.0.read().unwrap_or_else(PoisonError::into_inner);
        entities.by_path.get(&name.to_lowercase()).cloned()
    }

    /// The entity, or part of one, at a path.
    pub fn find_part(&self, path: &EntityPath) -> Option<Arc<Entity>> {
        let entity = self.find(&path.name)?;
        match path.part {
            Part::Main => Some(entity),
            Part::DeadLetter => entity.dead_letters().cloned(),
            Part::TransferDeadLetter => entity.transfer_dead_letters().cloned(),
        }
    }

    /// All entities, in the order in which they were made.
    pub fn list(&self) -> Vec<Arc<Entity>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).order.clone()
    }
}
