//! Deliveries of a session that are not settled, by delivery id.
//!
//! Ids are given one after the other, so the place of each follows from its id. It must not settle anything.

use std::collections::VecDeque;

use crate::engine::LockToken;
use crate::limits::UNSETTLED_SPAN_MAX;

/// A delivery that is not settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsettled {
    /// A message under a lock, delivered on a link.
    Locked {
        /// The link's handle.
        handle: u32,
        /// The lock.
        token: LockToken,
    },
    /// An answer to a request: nothing follows from its settlement.
    Answer,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Deliveries {
    /// Id of the delivery at the front.
    first: u32,
    entries: VecDeque<Option<Unsettled>>,
}

impl Deliveries {
    /// The id that the next delivery gets.
    pub fn next_id(&self) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "the span is bounded far below")]
        self.first.wrapping_add(self.entries.len() as u32)
    }

    /// Adds a delivery under the next id; none for one that is settled already.
    pub fn push(&mut self, delivery: Option<Unsettled>) {
        if delivery.is_none() && self.entries.is_empty() {
            self.first = self.first.wrapping_add(1);
            return;
        }
        self.entries.push_back(delivery);
        if self.entries.len() > UNSETTLED_SPAN_MAX {
            self.entries.pop_front();
            self.first = self.first.wrapping_add(1);
            self.trim();
        }
    }

    fn trim(&mut self) {
        while matches!(self.entries.front(), Some(None)) {
            self.entries.pop_front();
            self.first = self.first.wrapping_add(1);
        }
    }

    /// Takes a delivery out; none when it is unknown or settled.
    pub fn take(&mut self, id: u32) -> Option<Unsettled> {
        let index = usize::try_from(id.wrapping_sub(self.first)).ok()?;
        let taken = self.entries.get_mut(index)?.take();
        if index == 0 {
            self.trim();
        }
        taken
    }

    /// Of the ids from `first` to `last`, those that can still be known: first and count.
    pub fn known(&self, first: u32, last: u32) -> (u32, u32) {
        #[expect(clippy::cast_possible_truncation, reason = "the span is bounded far below")]
        let len = self.entries.len() as u32;
        // Ids are serial numbers: before and after are told by the sign of the difference.
        let from = if (first.wrapping_sub(self.first)).cast_signed() < 0 { self.first } else { first };
        let to = if last.wrapping_sub(self.next_id()).cast_signed() < 0 {
            last
        } else {
            self.next_id().wrapping_sub(1)
        };
        let count = to.wrapping_sub(from).wrapping_add(1);
        if count.cast_signed() <= 0 || count > len { (from, 0) } else { (from, count) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_go_on_over_their_wrap_and_ranges_are_cut_to_what_is_known() {
        let mut deliveries = Deliveries { first: u32::MAX - 1, entries: VecDeque::new() };
        for _ in 0..4 {
            deliveries.push(Some(Unsettled::Answer));
        }
        assert_eq!(deliveries.next_id(), 2);
        assert_eq!(deliveries.known(0, 1), (0, 2));
        assert_eq!(deliveries.known(u32::MAX - 9, 100), (u32::MAX - 1, 4));
        assert_eq!(deliveries.known(7, 9).1, 0);
        assert_eq!(deliveries.take(u32::MAX), Some(Unsettled::Answer));
        assert_eq!(deliveries.take(u32::MAX), None);
        assert_eq!(deliveries.take(u32::MAX - 1), Some(Unsettled::Answer));
        assert_eq!(deliveries.known(u32::MAX - 9, 100), (0, 2));
    }

    #[test]
    fn one_delivery_that_is_never_settled_keeps_no_endless_span() {
        let mut deliveries = Deliveries::default();
        deliveries.push(Some(Unsettled::Answer));
        for _ in 0..UNSETTLED_SPAN_MAX * 2 {
            let id = deliveries.next_id();
            deliveries.push(Some(Unsettled::Answer));
            deliveries.take(id);
        }
        assert!(deliveries.entries.len() <= UNSETTLED_SPAN_MAX);
        assert_eq!(deliveries.take(0), None);
    }
}
