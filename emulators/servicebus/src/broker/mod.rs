//! The entities of a namespace: found by address, each an engine with what belongs to it, under one clock and one timer.
//!
//! ```text
//! Broker ─ Directory ─┬─ queue ───────────────────────────────┬─ dead-letter queue
//!                     ├─ topic ─ Subscriptions ─┐             └─ transfer dead-letter queue
//!                     └─ topic/Subscriptions/s ◀┘ (a queue with Rules)
//! ```
//!
//! Each box is an [`entity::Entity`]. It must not know the wire: neither AMQP frames nor HTTP.

pub mod address;
mod directory;
pub mod entity;
pub mod idle;
mod json_field;
pub mod recorder;
pub mod rules;
mod timer;
pub mod wake;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use address::EntityPath;
use directory::Directory;
use entity::{Entity, EntityOptions, Kind, Shared};
use recorder::Recorder;
use rules::{Rules, Subscriptions};

use crate::config::{NamespaceConfig, QueueConfig, SubscriptionConfig, TopicConfig};
use crate::engine::{Micros, NEVER, Settings};

/// All entities of a namespace.
#[derive(Debug)]
pub struct Broker {
    directory: Arc<Directory>,
    shared: Shared,
    /// The number that the next entity gets.
    next_id: u32,
    /// What lock tokens of this run are marked with.
    seed: u32,
}

impl Broker {
    /// The namespace that a configuration describes.
    pub fn new(config: &NamespaceConfig) -> Self {
        let directory = Arc::new(Directory::default());
        let shared = Shared { directory: Arc::downgrade(&directory), ..Shared::default() };
        let seed = u32::try_from(now_us() & u64::from(u32::MAX)).unwrap_or(0);
        let mut broker = Self { directory, shared, next_id: 0, seed };
        for queue in &config.queues {
            broker.add_queue(queue.name.clone(), queue, Kind::Queue);
        }
        config.topics.iter().for_each(|topic| broker.add_topic(topic));
        broker
    }

    /// An entity of its own number. The marks of their lock tokens are spread, so that a token of one run says nothing in the
    /// next.
    fn make(&mut self, options: EntityOptions) -> Arc<Entity> {
        let id = self.next_id;
        self.next_id += 1;
        let token_mark = self.seed.wrapping_add(id).wrapping_mul(0x9e37_79b1) | 1 << 31;
        Entity::new(EntityOptions { id, token_mark, ..options }, self.shared.clone())
    }

    fn make_dead_letters(&mut self, name: String, lock_us: u64) -> Arc<Entity> {
        self.make(EntityOptions {
            name,
            settings: Settings { lock_us, ..KEEP_ALL },
            ..EntityOptions::new(Kind::DeadLetters)
        })
    }

    fn add_queue(&mut self, name: String, config: &QueueConfig, kind: Kind) -> Arc<Entity> {
        let dead_letters = self.make_dead_letters(format!("{name}/$DeadLetterQueue"), config.lock_us);
        let transfers = self.make_dead_letters(format!("{name}/$Transfer/$DeadLetterQueue"), config.lock_us);
        let entity = self.make(EntityOptions {
            name,
            settings: Settings {
                lock_us: config.lock_us,
                time_to_live_us: config.time_to_live_us,
                max_delivery_count: config.max_delivery_count,
                requires_session: config.requires_session,
                passes_on: config.forward_to.is_some(),
            },
            status: config.status,
            duplicate_window_us: config.duplicate_window_us,
            dead_letter_on_expiration: config.dead_letter_on_expiration,
            dead_letters: Some(dead_letters),
            transfer_dead_letters: Some(transfers),
            forward_to: config.forward_to.clone(),
            forward_dead_letters_to: config.forward_dead_letters_to.clone(),
            auto_delete_us: config.auto_delete_us,
            ..EntityOptions::new(kind)
        });
        self.directory.add(&entity);
        entity.note_use();
        entity
    }

    fn add_topic(&mut self, config: &TopicConfig) {
        let topic = self.make(EntityOptions {
            name: config.name.clone(),
            settings: Settings { time_to_live_us: config.time_to_live_us, passes_on: true, ..KEEP_ALL },
            status: config.status,
            duplicate_window_us: config.duplicate_window_us,
            auto_delete_us: config.auto_delete_us,
            ..EntityOptions::new(Kind::Topic(Subscriptions::default()))
        });
        self.directory.add(&topic);
        topic.note_use();
        for SubscriptionConfig { queue, dead_letter_on_filter_errors, rules } in &config.subscriptions {
            let name = format!("{}/Subscriptions/{}", config.name, queue.name);
            let rules = Rules::new(rules, *dead_letter_on_filter_errors, now_us());
            let subscription = self.add_queue(name, queue, Kind::Subscription(rules));
            if let Kind::Topic(subscriptions) = topic.kind() {
                subscriptions.add(subscription);
            }
        }
    }

    /// The entity, or part of one, at a path.
    pub fn find(&self, path: &EntityPath) -> Option<Arc<Entity>> {
        self.directory.find_part(path)
    }

    /// All queues, topics and subscriptions, in the order of the configuration.
    pub fn entities(&self) -> Vec<Arc<Entity>> {
        self.directory.list()
    }

    /// The recorder.
    pub fn recorder(&self) -> &Recorder {
        &self.shared.recorder
    }

    /// Makes things happen when they are due, for ever.
    pub async fn run_timer(&self) {
        self.shared.timer.run(now_us).await;
    }
}

/// How an entity treats messages that nothing happens to by itself.
const KEEP_ALL: Settings = Settings {
    lock_us: NEVER,
    time_to_live_us: NEVER,
    max_delivery_count: u32::MAX,
    requires_session: false,
    passes_on: false,
};

/// The broker's clock: microseconds since the Unix epoch.
pub fn now_us() -> Micros {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_micros()).unwrap_or(NEVER)
}
