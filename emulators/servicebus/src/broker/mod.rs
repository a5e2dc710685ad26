//! The entities of a namespace: found by address, each an engine with what belongs to it, under one clock and one timer.
//!
//! It must not know the wire: neither AMQP frames nor HTTP.

pub mod address;
mod json_field;
pub mod queue;
pub mod recorder;
mod timer;
pub mod wake;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use address::{EntityPath, Part};
use queue::{Queue, QueueOptions, Shared};
use recorder::Recorder;

use crate::config::{NamespaceConfig, QueueConfig};
use crate::engine::{Micros, NEVER, Settings};

/// All entities of a namespace.
#[derive(Debug)]
pub struct Broker {
    /// By lower-case name: names are the same in any case.
    queues: HashMap<String, Arc<Queue>>,
    /// In the order of the configuration.
    order: Vec<Arc<Queue>>,
    shared: Shared,
}

impl Broker {
    /// The namespace that a configuration describes.
    pub fn new(config: &NamespaceConfig) -> Self {
        let shared = Shared::default();
        let mut broker = Self { queues: HashMap::new(), order: Vec::new(), shared };
        config.queues.iter().for_each(|queue| broker.add_queue(queue));
        broker
    }

    fn add_queue(&mut self, config: &QueueConfig) {
        // Two numbers for each queue; the marks are spread so that a token of one run says nothing in the next.
        let id = u32::try_from(self.order.len() * 2).unwrap_or(u32::MAX);
        let seed = u32::try_from(now_us() & u64::from(u32::MAX)).unwrap_or(0);
        let mark = |id: u32| seed.wrapping_add(id).wrapping_mul(0x9e37_79b1) | 1 << 31;
        let dead_letters = QueueOptions {
            name: format!("{}/$DeadLetterQueue", config.name),
            id: id + 1,
            token_mark: mark(id + 1),
            settings: Settings {
                lock_us: config.lock_us,
                time_to_live_us: NEVER,
                max_delivery_count: u32::MAX,
            },
            dead_letter_on_expiration: false,
            dead_letters: None,
        };
        let options = QueueOptions {
            name: config.name.clone(),
            id,
            token_mark: mark(id),
            settings: Settings {
                lock_us: config.lock_us,
                time_to_live_us: config.time_to_live_us,
                max_delivery_count: config.max_delivery_count,
            },
            dead_letter_on_expiration: config.dead_letter_on_expiration,
            dead_letters: Some(Queue::new(dead_letters, self.shared.clone())),
        };
        let queue = Queue::new(options, self.shared.clone());
        self.queues.insert(config.name.to_lowercase(), Arc::clone(&queue));
        self.order.push(queue);
    }

    /// The entity, or part of one, at a path.
    pub fn find(&self, path: &EntityPath) -> Option<Arc<Queue>> {
        let queue = self.queues.get(&path.name.to_lowercase())?;
        match path.part {
            Part::Main => Some(Arc::clone(queue)),
            Part::DeadLetter => queue.dead_letters().cloned(),
            Part::TransferDeadLetter => None,
        }
    }

    /// All queues, in the order of the configuration.
    pub fn queues(&self) -> &[Arc<Queue>] {
        &self.order
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

/// The broker's clock: microseconds since the Unix epoch.
pub fn now_us() -> Micros {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_micros()).unwrap_or(NEVER)
}
