//! What happens by itself when time passes: scheduled messages come due, locks end, messages expire.
//!
//! It must not look at more messages than have something due.

use super::{DepartureReason, Engine, Micros, NEVER, State};
use crate::limits::ADVANCE_BATCH_MAX;

impl Engine {
    /// Lets time pass: does what is due, some thousands of events at most; the rest stays due, and
    /// [`Engine::deadline_us`] says so.
    pub fn advance(&mut self, now_us: Micros) {
        self.now_us = self.now_us.max(now_us);
        if self.now_us < self.deadline_us {
            return;
        }
        let all_done = self.activate()
            & self.expire_locks()
            & (self.sessions.is_none() || self.expire_session_locks())
            & self.expire_messages();
        self.deadline_us = if all_done { self.next_event() } else { self.now_us };
    }

    fn next_event(&mut self) -> Micros {
        let lock = self.locks.front().map_or(NEVER, |&(until_us, _)| until_us);
        let due = self.scheduled.first().map_or(NEVER, |&(due_us, _)| due_us);
        let own_expiry = self.own_expiries.first().map_or(NEVER, |&(expires_us, _)| expires_us);
        let expiry = self.next_expiry_in_order().map_or(NEVER, |(expires_us, _)| expires_us);
        lock.min(due).min(own_expiry).min(expiry).min(self.next_session_event())
    }

    /// Puts due messages at the end of the queue, under new sequence numbers, in the order of their instants.
    fn activate(&mut self) -> bool {
        for _ in 0..ADVANCE_BATCH_MAX {
            match self.scheduled.first() {
                Some(&(due_us, sequence_number)) if due_us <= self.now_us => {
                    if let Some(mut slot) = self.take_out(sequence_number) {
                        slot.enqueued_us = self.now_us;
                        slot.until_us = 0;
                        self.push_active(slot);
                    }
                }
                _ => return true,
            }
        }
        false
    }

    pub(super) fn note_own_expiry(&mut self, expires_us: Micros, sequence_number: u64) {
        if let Some(slot) = self.slots.get_mut(sequence_number) {
            slot.own_expiry = true;
            self.own_expiries.insert((expires_us, sequence_number));
            self.deadline_us = self.deadline_us.min(expires_us);
        }
    }

    fn expire_messages(&mut self) -> bool {
        for _ in 0..ADVANCE_BATCH_MAX {
            let own = self.own_expiries.first().copied().filter(|&(expires_us, _)| expires_us <= self.now_us);
            if let Some((expires_us, sequence_number)) = own {
                self.expire(expires_us, sequence_number);
                continue;
            }
            match self.next_expiry_in_order() {
                Some((expires_us, sequence_number)) if expires_us <= self.now_us => {
                    self.expiry_cursor = sequence_number + 1;
                    self.depart(sequence_number, DepartureReason::Expired);
                }
                _ => return true,
            }
        }
        false
    }

    /// Removes a message whose own time is over; a locked one is left until its lock ends.
    fn expire(&mut self, expires_us: Micros, sequence_number: u64) {
        match self.slots.get_mut(sequence_number) {
            Some(slot) if slot.state.is_locked() => {
                slot.own_expiry = false;
                self.own_expiries.remove(&(expires_us, sequence_number));
            }
            Some(_) => self.depart(sequence_number, DepartureReason::Expired),
            None => {
                self.own_expiries.remove(&(expires_us, sequence_number));
            }
        }
    }

    /// The oldest message whose expiry follows from the order of arrival. Messages that are locked are passed over:
    /// they are looked at when their lock ends.
    fn next_expiry_in_order(&mut self) -> Option<(Micros, u64)> {
        if self.settings.time_to_live_us == NEVER {
            return None;
        }
        loop {
            let (sequence_number, slot) = self.slots.at_or_after(self.expiry_cursor)?;
            // What is gone before it never comes back: it is searched once.
            self.expiry_cursor = sequence_number;
            let waits = matches!(slot.state, State::Active | State::Deferred) && !slot.own_expiry;
            if waits {
                return Some((slot.expires_us, sequence_number));
            }
            self.expiry_cursor = sequence_number + 1;
        }
    }
}
