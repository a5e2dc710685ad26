//! Where an entity's messages live: by sequence number, in segments that go when their last message goes.
//!
//! It must not know states, locks or times; it only finds slots fast and gives memory back.

use std::collections::VecDeque;

/// Slots of a segment.
const SEGMENT_SLOTS: usize = 256;
const SEGMENT_SHIFT: u32 = SEGMENT_SLOTS.trailing_zeros();

/// The sequence number of an entity's first message.
pub const FIRST_SEQUENCE_NUMBER: u64 = 1;

#[derive(Debug)]
struct Segment<T> {
    live: usize,
    slots: Vec<Option<T>>,
}

/// Values under ascending sequence numbers, of which any may be taken out.
#[derive(Debug)]
pub struct Slots<T> {
    /// Number of the segment at the front.
    first_segment: u64,
    segments: VecDeque<Option<Segment<T>>>,
    next: u64,
}

fn segment_of(sequence_number: u64) -> u64 {
    sequence_number >> SEGMENT_SHIFT
}

fn offset_of(sequence_number: u64) -> usize {
    #[expect(clippy::cast_possible_truncation, reason = "the mask leaves eight bits")]
    let offset = (sequence_number & (SEGMENT_SLOTS as u64 - 1)) as usize;
    offset
}

impl<T> Slots<T> {
    /// No slots yet.
    pub const fn new() -> Self {
        Self { first_segment: 0, segments: VecDeque::new(), next: FIRST_SEQUENCE_NUMBER }
    }

    /// Adds a value and returns its sequence number.
    pub fn push(&mut self, value: T) -> u64 {
        let sequence_number = self.next;
        let number = segment_of(sequence_number);
        if self.segments.is_empty() {
            self.first_segment = number;
        }
        if self.index_of(number).is_none_or(|index| index >= self.segments.len()) {
            let mut slots = Vec::with_capacity(SEGMENT_SLOTS);
            slots.resize_with(offset_of(sequence_number), || None);
            self.segments.push_back(Some(Segment { live: 0, slots }));
        }
        if let Some(Some(segment)) = self.segments.back_mut() {
            segment.slots.push(Some(value));
            segment.live += 1;
        }
        self.next += 1;
        sequence_number
    }

    fn index_of(&self, segment: u64) -> Option<usize> {
        segment.checked_sub(self.first_segment).and_then(|index| usize::try_from(index).ok())
    }

    /// The value under a sequence number.
    pub fn get(&self, sequence_number: u64) -> Option<&T> {
        let index = self.index_of(segment_of(sequence_number))?;
        self.segments.get(index)?.as_ref()?.slots.get(offset_of(sequence_number))?.as_ref()
    }

    /// The value under a sequence number, to be changed.
    pub fn get_mut(&mut self, sequence_number: u64) -> Option<&mut T> {
        let index = self.index_of(segment_of(sequence_number))?;
        self.segments.get_mut(index)?.as_mut()?.slots.get_mut(offset_of(sequence_number))?.as_mut()
    }

    /// Takes a value out, and its segment's memory back when it was the last that will ever be in it.
    pub fn remove(&mut self, sequence_number: u64) -> Option<T> {
        let index = self.index_of(segment_of(sequence_number))?;
        let place = self.segments.get_mut(index)?;
        let segment = place.as_mut()?;
        let value = segment.slots.get_mut(offset_of(sequence_number))?.take()?;
        segment.live -= 1;
        if segment.live == 0 && segment.slots.len() == SEGMENT_SLOTS {
            *place = None;
            while matches!(self.segments.front(), Some(None)) {
                self.segments.pop_front();
                self.first_segment += 1;
            }
        }
        Some(value)
    }

    /// The first value at or after a sequence number.
    pub fn at_or_after(&self, sequence_number: u64) -> Option<(u64, &T)> {
        let first = self.first_segment << SEGMENT_SHIFT;
        let start = sequence_number.max(first);
        let mut index = self.index_of(segment_of(start))?;
        let mut offset = offset_of(start);
        while let Some(place) = self.segments.get(index) {
            if let Some(segment) = place {
                let found = segment
                    .slots
                    .iter()
                    .enumerate()
                    .skip(offset)
                    .find_map(|(at, slot)| slot.as_ref().map(|value| (at, value)));
                if let Some((at, value)) = found {
                    let number = (self.first_segment + index as u64) << SEGMENT_SHIFT;
                    return Some((number + at as u64, value));
                }
            }
            index += 1;
            offset = 0;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_in_order_whatever_was_taken_out() {
        let mut slots = Slots::new();
        for value in 1..=1000_u64 {
            assert_eq!(slots.push(value), value);
        }
        for gone in (1..=1000).filter(|n| n % 7 != 0) {
            assert_eq!(slots.remove(gone), Some(gone));
            assert_eq!(slots.remove(gone), None);
        }
        let mut seen = Vec::new();
        let mut from = 0;
        while let Some((at, value)) = slots.at_or_after(from) {
            assert_eq!(at, *value);
            seen.push(at);
            from = at + 1;
        }
        assert_eq!(seen, (1..=1000).filter(|n| n % 7 == 0).collect::<Vec<_>>());
    }

    #[test]
    fn a_drained_store_keeps_no_segment_but_the_last() {
        let mut slots = Slots::new();
        for _ in 0..10 {
            for _ in 0..1000 {
                slots.push(());
            }
            while let Some((at, ())) = slots.at_or_after(0) {
                slots.remove(at);
            }
            assert!(slots.segments.len() <= 1, "{} segments", slots.segments.len());
        }
        assert_eq!(slots.next, 10_001);
    }
}
