//! Locks: given with a delivery, renewed, ended by settlement or by time.
//!
//! It must not decide who may hold a lock; whoever knows the token holds it.

use std::cmp::Reverse;

use super::{
    Content, Departure, DepartureReason, Engine, LockLost, LockToken, Micros, NEVER, NO_SESSION, Settlement,
    Slot, State,
};
use crate::limits::ADVANCE_BATCH_MAX;

/// Entries of ended locks that are kept at most before they are swept, beyond as many as there are locks.
const STALE_LOCKS_MAX: usize = 1024;

impl Engine {
    /// Locks a message that is there, and counts the delivery. Returns the lock and when it ends; that of a message of a session
    /// ends with the session's.
    pub(super) fn lock(&mut self, sequence_number: u64) -> Option<(LockToken, Micros)> {
        let mut until_us = self.now_us.saturating_add(self.settings.lock_us);
        let slot = self.slots.get_mut(sequence_number)?;
        let deferred = slot.state == State::Deferred;
        slot.state = if deferred { State::DeferredLocked } else { State::Locked };
        slot.until_us = until_us;
        slot.lock_generation = slot.lock_generation.wrapping_add(1);
        slot.delivery_count = slot.delivery_count.saturating_add(1);
        let (generation, session) = (slot.lock_generation, slot.session);
        if session != NO_SESSION {
            slot.until_us = NEVER;
        }
        match deferred {
            true => self.counts.deferred -= 1,
            false => self.counts.active -= 1,
        }
        self.counts.locked += 1;
        match &mut self.sessions {
            Some(sessions) if session != NO_SESSION => until_us = sessions.locked(session, sequence_number),
            _ => self.note_lock(until_us, sequence_number),
        }
        Some((LockToken { entity: self.entity, generation, sequence_number }, until_us))
    }

    fn note_lock(&mut self, until_us: Micros, sequence_number: u64) {
        self.locks.push_back((until_us, sequence_number));
        self.deadline_us = self.deadline_us.min(until_us);
        self.sweep_locks();
    }

    /// Forgets entries of ended locks: those at the front, and all when they outnumber the others.
    fn sweep_locks(&mut self) {
        while let Some(&(until_us, sequence_number)) = self.locks.front() {
            if is_lock(self.slots.get(sequence_number), until_us) {
                break;
            }
            self.locks.pop_front();
        }
        let live = usize::try_from(self.counts.locked).unwrap_or(usize::MAX);
        if self.locks.len() > live.saturating_mul(2).saturating_add(STALE_LOCKS_MAX) {
            let slots = &self.slots;
            self.locks.retain(|&(until_us, sequence_number)| is_lock(slots.get(sequence_number), until_us));
            self.locks.shrink_to(live.saturating_mul(2));
        }
    }

    /// The message under a lock that still holds.
    fn locked(&self, token: LockToken) -> Result<&Slot, LockLost> {
        let slot = self.slots.get(token.sequence_number).ok_or(LockLost)?;
        let holds = token.entity == self.entity
            && slot.state.is_locked()
            && slot.lock_generation == token.generation
            && slot.until_us > self.now_us;
        if holds { Ok(slot) } else { Err(LockLost) }
    }

    /// The content of a locked message.
    ///
    /// # Errors
    /// When the lock is over.
    pub fn locked_content(&mut self, now_us: Micros, token: LockToken) -> Result<Content, LockLost> {
        self.advance(now_us);
        self.locked(token).map(|slot| slot.content.clone())
    }

    /// Makes a lock last for its whole time from now. Returns when it ends.
    ///
    /// # Errors
    /// When the lock is over.
    pub fn renew(&mut self, now_us: Micros, token: LockToken) -> Result<Micros, LockLost> {
        self.advance(now_us);
        self.locked(token)?;
        let until_us = self.now_us.saturating_add(self.settings.lock_us);
        let slot = self.slots.get_mut(token.sequence_number).ok_or(LockLost)?;
        if slot.session != NO_SESSION {
            // Only the session's lock is renewed.
            return Err(LockLost);
        }
        if slot.until_us != until_us {
            slot.until_us = until_us;
            self.note_lock(until_us, token.sequence_number);
        }
        Ok(until_us)
    }

    /// Settles a locked message. Returns the caller's number.
    ///
    /// # Errors
    /// When the lock is over.
    pub fn settle(
        &mut self,
        now_us: Micros,
        token: LockToken,
        settlement: Settlement,
    ) -> Result<u32, LockLost> {
        self.advance(now_us);
        let tag = self.locked(token)?.tag;
        match settlement {
            Settlement::Complete => {
                self.remove(token.sequence_number);
            }
            Settlement::Abandon(content) => {
                self.replace(token.sequence_number, content);
                self.unlock(token.sequence_number, true);
            }
            Settlement::Release => {
                if let Some(slot) = self.slots.get_mut(token.sequence_number) {
                    slot.delivery_count = slot.delivery_count.saturating_sub(1);
                }
                self.unlock(token.sequence_number, false);
            }
            Settlement::Defer(content) => {
                self.replace(token.sequence_number, content);
                if let Some(slot) = self.slots.get_mut(token.sequence_number) {
                    slot.state = State::DeferredLocked;
                }
                self.unlock(token.sequence_number, false);
            }
        }
        self.sweep_locks();
        Ok(tag)
    }

    /// Takes a locked message out, for the dead-letter queue.
    ///
    /// # Errors
    /// When the lock is over.
    pub fn dead_letter(&mut self, now_us: Micros, token: LockToken) -> Result<Departure, LockLost> {
        self.advance(now_us);
        self.locked(token)?;
        let slot = self.remove(token.sequence_number).ok_or(LockLost)?;
        self.sweep_locks();
        Ok(Departure::new(token.sequence_number, slot, self.now_us, DepartureReason::DeadLettered))
    }

    fn replace(&mut self, sequence_number: u64, content: Option<Content>) {
        if let (Some(content), Some(slot)) = (content, self.slots.get_mut(sequence_number)) {
            slot.content = content;
        }
    }

    /// Ends a lock without settling: the message goes back to where it was, or away when its time is over or, where
    /// `failed` says that the delivery was in vain, when it was its last.
    pub(super) fn unlock(&mut self, sequence_number: u64, failed: bool) {
        let Some(slot) = self.slots.get_mut(sequence_number) else { return };
        let deferred = slot.state == State::DeferredLocked;
        slot.state = if deferred { State::Deferred } else { State::Active };
        slot.until_us = 0;
        let (expires_us, delivery_count, own_expiry, session) =
            (slot.expires_us, slot.delivery_count, slot.own_expiry, slot.session);
        self.counts.locked -= 1;
        match deferred {
            true => self.counts.deferred += 1,
            false => self.counts.active += 1,
        }
        if expires_us <= self.now_us {
            self.depart(sequence_number, DepartureReason::Expired);
        } else if failed && !deferred && delivery_count >= self.settings.max_delivery_count {
            self.depart(sequence_number, DepartureReason::DeliveredTooOften(delivery_count));
        } else {
            match &mut self.sessions {
                Some(sessions) if session != NO_SESSION => {
                    sessions.set_aside(session, sequence_number);
                    if !deferred {
                        sessions.activated(session, sequence_number);
                    }
                }
                _ if !deferred => self.returned.push(Reverse(sequence_number)),
                _ => {}
            }
            if !own_expiry && expires_us != NEVER && sequence_number < self.expiry_cursor {
                self.note_own_expiry(expires_us, sequence_number);
            }
        }
    }

    /// Ends the locks whose time is over. Returns whether all of them were.
    pub(super) fn expire_locks(&mut self) -> bool {
        for _ in 0..ADVANCE_BATCH_MAX {
            self.sweep_locks();
            match self.locks.front() {
                Some(&(until_us, sequence_number)) if until_us <= self.now_us => {
                    self.locks.pop_front();
                    self.unlock(sequence_number, true);
                }
                _ => return true,
            }
        }
        false
    }
}

fn is_lock(slot: Option<&Slot>, until_us: Micros) -> bool {
    slot.is_some_and(|slot| slot.state.is_locked() && slot.until_us == until_us)
}
