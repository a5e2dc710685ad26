//! Ids that came in lately, so that a message that is sent twice is taken once.
//!
//! It must not know what an id is made of.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::engine::Micros;

/// See the module.
#[derive(Debug)]
pub(super) struct Duplicates {
    window_us: u64,
    max: usize,
    /// The message that came under an id.
    numbers: HashMap<Arc<[u8]>, u64>,
    /// When each id came, in order.
    order: VecDeque<(Micros, Arc<[u8]>)>,
}

impl Duplicates {
    /// A history over this window, of at most `max` ids.
    pub(super) fn new(window_us: u64, max: usize) -> Self {
        Self { window_us, max, numbers: HashMap::new(), order: VecDeque::new() }
    }

    /// The message that came under this id within the window.
    pub(super) fn find(&mut self, now_us: Micros, identity: &[u8]) -> Option<u64> {
        while let Some((came_us, _)) = self.order.front() {
            if came_us.saturating_add(self.window_us) > now_us {
                break;
            }
            self.forget_first();
        }
        self.numbers.get(identity).copied()
    }

    /// Notes an id that is new.
    pub(super) fn remember(&mut self, now_us: Micros, identity: Arc<[u8]>, sequence_number: u64) {
        self.numbers.insert(Arc::clone(&identity), sequence_number);
        self.order.push_back((now_us, identity));
        if self.order.len() > self.max {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, identity)) = self.order.pop_front() {
            self.numbers.remove(&identity);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_known_for_the_window_and_then_forgotten_for_good() {
        let mut duplicates = Duplicates::new(10, 9);
        duplicates.remember(100, Arc::from(&b"a"[..]), 1);
        duplicates.remember(105, Arc::from(&b"b"[..]), 2);
        assert_eq!((duplicates.find(109, b"a"), duplicates.find(109, b"c")), (Some(1), None));
        assert_eq!((duplicates.find(110, b"a"), duplicates.find(114, b"b")), (None, Some(2)));
        assert_eq!(duplicates.find(115, b"b"), None);
        assert!(duplicates.order.is_empty() && duplicates.numbers.is_empty());
    }

    #[test]
    fn the_history_is_bounded() {
        let mut duplicates = Duplicates::new(u64::MAX, 9);
        let id = |number: u64| Arc::from(number.to_be_bytes());
        for number in 0..=9 {
            duplicates.remember(0, id(number), number);
        }
        assert_eq!((duplicates.find(1, &id(0)), duplicates.find(1, &id(1))), (None, Some(1)));
        assert_eq!(duplicates.numbers.len(), 9);
    }
}
