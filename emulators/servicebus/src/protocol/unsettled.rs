//! Deliveries of a session that are not settled, by delivery id.
//!
//! Ids are given one after the other, so the place of each of the latest follows from its id; those that stay unsettled
//! for long are moved to a map, so that a slow client is not forgotten because fast ones share its session. It must not
//! settle anything.

use std::collections::{BTreeMap, VecDeque};

use crate::engine::LockToken;
use crate::limits::{UNSETTLED_EARLIER_MAX, UNSETTLED_SPAN_MAX};

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
///
/// Positions count deliveries and do not wrap; an id is the low half of its position.
#[derive(Debug, Default)]
pub struct Deliveries {
    /// Position of the delivery at the front.
    first: i64,
    latest: VecDeque<Option<Unsettled>>,
    /// Those before the front, by position.
    earlier: BTreeMap<i64, Unsettled>,
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an id is the low half")]
const fn id(position: i64) -> u32 {
    position as u32
}

impl Deliveries {
    /// The id that the next delivery gets.
    pub fn next_id(&self) -> u32 {
        id(self.next())
    }

    fn next(&self) -> i64 {
        #[expect(clippy::cast_possible_wrap, reason = "the span is bounded far below")]
        let len = self.latest.len() as i64;
        self.first + len
    }

    /// Adds a delivery under the next id; none for one that is settled already.
    pub fn push(&mut self, delivery: Option<Unsettled>) {
        if delivery.is_none() && self.latest.is_empty() {
            self.first += 1;
            return;
        }
        self.latest.push_back(delivery);
        if self.latest.len() > UNSETTLED_SPAN_MAX {
            if let Some(Some(delivery)) = self.latest.pop_front() {
                self.earlier.insert(self.first, delivery);
                if self.earlier.len() > UNSETTLED_EARLIER_MAX {
                    self.earlier.pop_first();
                }
            }
            self.first += 1;
            self.trim();
        }
    }

    fn trim(&mut self) {
        while matches!(self.latest.front(), Some(None)) {
            self.latest.pop_front();
            self.first += 1;
        }
    }

    /// Takes out the first delivery with an id from `first` to `last` that is not settled; none when there is none.
    /// `last` is not before `first`.
    pub fn take_first(&mut self, first: u32, last: u32) -> Option<(u32, Unsettled)> {
        // Ids are serial numbers: before and after are told by the sign of the difference.
        let next = self.next();
        let from = next + i64::from(first.wrapping_sub(id(next)).cast_signed());
        let to = from + i64::from(last.wrapping_sub(first));
        if from < self.first
            && let Some((&position, _)) = self.earlier.range(from..=to).next()
        {
            return self.earlier.remove(&position).map(|taken| (id(position), taken));
        }
        let start = usize::try_from(from.max(self.first) - self.first).ok()?;
        let end = usize::try_from(to.min(next - 1) - self.first + 1).ok().filter(|end| start < *end)?;
        let mut places = self.latest.range_mut(start..end).zip(from.max(self.first)..);
        let (taken, position) = places.find_map(|(place, position)| Some((place.take()?, position)))?;
        if position == self.first {
            self.trim();
        }
        Some((id(position), taken))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_go_on_over_their_wrap_and_ranges_find_what_is_there() {
        let mut deliveries = Deliveries { first: i64::from(u32::MAX) - 1, ..Deliveries::default() };
        for _ in 0..4 {
            deliveries.push(Some(Unsettled::Answer));
        }
        assert_eq!(deliveries.next_id(), 2);
        assert_eq!(deliveries.take_first(2, 9), None);
        assert_eq!(deliveries.take_first(u32::MAX, u32::MAX), Some((u32::MAX, Unsettled::Answer)));
        assert_eq!(deliveries.take_first(u32::MAX, u32::MAX), None);
        assert_eq!(deliveries.take_first(u32::MAX - 9, 100), Some((u32::MAX - 1, Unsettled::Answer)));
        assert_eq!(deliveries.take_first(u32::MAX - 9, 100), Some((0, Unsettled::Answer)));
        assert_eq!(deliveries.take_first(u32::MAX - 9, 0), None);
        assert_eq!(deliveries.take_first(u32::MAX - 9, 100), Some((1, Unsettled::Answer)));
        assert_eq!(deliveries.take_first(u32::MAX - 9, 100), None);
        assert_eq!(deliveries.next_id(), 2);
    }

    #[test]
    fn a_range_of_any_length_harms_nothing() {
        let mut deliveries = Deliveries::default();
        assert_eq!(deliveries.take_first(0, u32::MAX >> 1), None);
        deliveries.push(Some(Unsettled::Answer));
        assert_eq!(deliveries.take_first(u32::MAX >> 1, u32::MAX - 1), None);
        assert_eq!(deliveries.take_first(1 << 31, u32::MAX), None);
        assert_eq!(deliveries.take_first((1 << 31) + 2, 1), Some((0, Unsettled::Answer)));
    }

    #[test]
    fn a_delivery_that_is_settled_late_is_known_and_keeps_no_endless_span() {
        let mut deliveries = Deliveries::default();
        deliveries.push(Some(Unsettled::Answer));
        for _ in 0..UNSETTLED_SPAN_MAX * 2 {
            let id = deliveries.next_id();
            deliveries.push(Some(Unsettled::Answer));
            deliveries.take_first(id, id);
        }
        assert!(deliveries.latest.len() <= UNSETTLED_SPAN_MAX);
        assert_eq!(deliveries.earlier.len(), 1);
        assert_eq!(deliveries.take_first(0, 0), Some((0, Unsettled::Answer)));
        assert_eq!(deliveries.take_first(0, 0), None);
    }

    #[test]
    fn of_deliveries_that_are_never_settled_the_oldest_are_forgotten() {
        let mut deliveries = Deliveries::default();
        for _ in 0..=UNSETTLED_SPAN_MAX + UNSETTLED_EARLIER_MAX {
            deliveries.push(Some(Unsettled::Answer));
        }
        assert_eq!(deliveries.earlier.len(), UNSETTLED_EARLIER_MAX);
        assert_eq!(deliveries.take_first(0, 9), Some((1, Unsettled::Answer)));
    }
}
