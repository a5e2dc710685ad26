//! Sessions: messages of one id, delivered in order to one owner, whose lock covers them all.
//!
//! A session is there while it has messages, a state or an owner. Its lock ends by time, which counts as a failed delivery of
//! what its owner has, or is given back, which does not (the service's rule for sessions). It must not know who waits for one.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::{Delivery, DepartureReason, Engine, Micros, NEVER, ReceiveMode};
use crate::limits::ADVANCE_BATCH_MAX;

/// The session of a message that has none.
pub(super) const NO_SESSION: u32 = u32::MAX;

/// The name of one owner's lock on one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionLock {
    index: u32,
    generation: u64,
}

/// A session that has got an owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedSession {
    /// The owner's lock.
    pub lock: SessionLock,
    /// The session.
    pub id: Arc<str>,
    /// When the lock ends.
    pub until_us: Micros,
}

/// The session has another owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session is locked by another receiver")]
pub struct SessionTaken;

/// The session's lock is over, or never was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session's lock is no longer valid")]
pub struct SessionLockLost;

/// What an owner has to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEvent {
    /// Its session has a message that can be delivered.
    Arrived(SessionLock),
    /// Its lock ran out.
    Lost(SessionLock),
}

#[derive(Debug)]
struct Session {
    id: Arc<str>,
    /// Messages in any state.
    messages: u64,
    active: BTreeSet<u64>,
    locked: BTreeSet<u64>,
    state: Option<Arc<[u8]>>,
    state_changed_us: Micros,
    /// Generation and end.
    lock: Option<(u64, Micros)>,
    /// Its place among those that wait for an owner.
    turn: Option<u64>,
}

/// The sessions of one entity.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    by_id: BTreeMap<Arc<str>, u32>,
    all: Vec<Option<Session>>,
    free: Vec<u32>,
    /// Sessions that can have an owner, in the order in which they could.
    waiting: BTreeSet<(u64, u32)>,
    /// Ends of locks; of those that end together the one that was given first comes first.
    locks: BTreeSet<(Micros, u64, u32)>,
    /// The latest turn or generation.
    latest: u64,
    events: Vec<SessionEvent>,
}

impl Sessions {
    fn get(&self, index: u32) -> Option<&Session> {
        self.all.get(index as usize)?.as_ref()
    }

    fn get_mut(&mut self, index: u32) -> Option<&mut Session> {
        self.all.get_mut(index as usize)?.as_mut()
    }

    fn next(&mut self) -> u64 {
        self.latest += 1;
        self.latest
    }

    /// The session with an id; a new one when there is none.
    fn named(&mut self, id: &str) -> u32 {
        if let Some(&index) = self.by_id.get(id) {
            return index;
        }
        let id: Arc<str> = Arc::from(id);
        let session = Session {
            id: Arc::clone(&id),
            messages: 0,
            active: BTreeSet::new(),
            locked: BTreeSet::new(),
            state: None,
            state_changed_us: 0,
            lock: None,
            turn: None,
        };
        let index = self.free.pop().unwrap_or_else(|| {
            self.all.push(None);
            u32::try_from(self.all.len() - 1).unwrap_or(NO_SESSION)
        });
        if let Some(place) = self.all.get_mut(index as usize) {
            *place = Some(session);
        }
        self.by_id.insert(id, index);
        index
    }

    /// A message comes into a session.
    pub(super) fn enter(&mut self, id: &str) -> u32 {
        let index = self.named(id);
        if let Some(session) = self.get_mut(index) {
            session.messages += 1;
        }
        index
    }

    /// A message is gone.
    pub(super) fn leave(&mut self, index: u32, sequence_number: u64) {
        if let Some(session) = self.get_mut(index) {
            session.messages = session.messages.saturating_sub(1);
            session.active.remove(&sequence_number);
            session.locked.remove(&sequence_number);
        }
        self.changed(index);
    }

    /// A message can be delivered.
    pub(super) fn activated(&mut self, index: u32, sequence_number: u64) {
        let Some(session) = self.get_mut(index) else { return };
        session.active.insert(sequence_number);
        if let Some((generation, _)) = session.lock {
            self.events.push(SessionEvent::Arrived(SessionLock { index, generation }));
        }
        self.changed(index);
    }

    /// A message waits for its instant, or was set aside.
    pub(super) fn set_aside(&mut self, index: u32, sequence_number: u64) {
        if let Some(session) = self.get_mut(index) {
            session.active.remove(&sequence_number);
            session.locked.remove(&sequence_number);
        }
        self.changed(index);
    }

    /// A message is delivered under the session's lock. Returns when that ends.
    pub(super) fn locked(&mut self, index: u32, sequence_number: u64) -> Micros {
        let Some(session) = self.get_mut(index) else { return 0 };
        session.active.remove(&sequence_number);
        session.locked.insert(sequence_number);
        let until_us = session.lock.map_or(0, |(_, until_us)| until_us);
        self.changed(index);
        until_us
    }

    /// Puts a session in or takes it out of the line for an owner; forgets it when nothing is left of it.
    fn changed(&mut self, index: u32) {
        let turn = self.latest + 1;
        let Some(session) = self.get_mut(index) else { return };
        let waits = session.lock.is_none() && !session.active.is_empty();
        match (waits, session.turn) {
            (true, None) => {
                session.turn = Some(turn);
                self.latest = turn;
                self.waiting.insert((turn, index));
            }
            (false, Some(turn)) => {
                session.turn = None;
                self.waiting.remove(&(turn, index));
            }
            _ => {}
        }
        let is_over = |s: &Session| s.messages == 0 && s.state.is_none() && s.lock.is_none();
        if self.get(index).is_some_and(is_over)
            && let Some(session) = self.all.get_mut(index as usize).and_then(Option::take)
        {
            self.by_id.remove(&session.id);
            self.free.push(index);
        }
    }

    fn holds(&self, lock: SessionLock) -> bool {
        self.get(lock.index).and_then(|session| session.lock).is_some_and(|(held, _)| held == lock.generation)
    }

    /// The session with an id that has an owner.
    fn owned(&self, id: &str) -> Result<u32, SessionLockLost> {
        let index = *self.by_id.get(id).ok_or(SessionLockLost)?;
        self.get(index).and_then(|session| session.lock).map(|_| index).ok_or(SessionLockLost)
    }
}

impl Engine {
    /// Whether messages belong to sessions.
    pub const fn has_sessions(&self) -> bool {
        self.sessions.is_some()
    }

    /// Sessions that can have an owner.
    pub fn waiting_sessions(&self) -> usize {
        self.sessions.as_ref().map_or(0, |sessions| sessions.waiting.len())
    }

    /// What owners have to be told since the last call.
    pub fn take_session_events(&mut self) -> Vec<SessionEvent> {
        self.sessions.as_mut().map_or_else(Vec::new, |sessions| std::mem::take(&mut sessions.events))
    }

    /// Gives a session an owner: the one with an id, whether or not it has messages, or the one that has waited longest.
    /// None when no session waits.
    ///
    /// # Errors
    /// When the session has an owner.
    pub fn accept_session(
        &mut self,
        now_us: Micros,
        id: Option<&str>,
    ) -> Result<Option<AcceptedSession>, SessionTaken> {
        self.advance(now_us);
        let until_us = self.now_us.saturating_add(self.settings.lock_us);
        let Some(sessions) = &mut self.sessions else { return Ok(None) };
        let index = match id {
            Some(id) => sessions.named(id),
            None => match sessions.waiting.first() {
                Some(&(_, index)) => index,
                None => return Ok(None),
            },
        };
        let generation = sessions.next();
        let Some(session) = sessions.get_mut(index) else { return Ok(None) };
        if session.lock.is_some() {
            return Err(SessionTaken);
        }
        session.lock = Some((generation, until_us));
        let id = Arc::clone(&session.id);
        sessions.locks.insert((until_us, generation, index));
        sessions.changed(index);
        self.deadline_us = self.deadline_us.min(until_us);
        Ok(Some(AcceptedSession { lock: SessionLock { index, generation }, id, until_us }))
    }

    /// Delivers up to `max` messages of a session in order, until `deliver` says stop. Returns how many were delivered.
    ///
    /// # Errors
    /// When the lock is over.
    pub fn receive_in_session(
        &mut self,
        now_us: Micros,
        lock: SessionLock,
        max: usize,
        mode: ReceiveMode,
        mut deliver: impl FnMut(&Delivery<'_>) -> ControlFlow<()>,
    ) -> Result<usize, SessionLockLost> {
        self.advance(now_us);
        if !self.sessions.as_ref().is_some_and(|sessions| sessions.holds(lock)) {
            return Err(SessionLockLost);
        }
        let mut delivered = 0;
        while delivered < max {
            let sessions = self.sessions.as_ref().filter(|sessions| sessions.holds(lock));
            let session = sessions.and_then(|sessions| sessions.get(lock.index)).ok_or(SessionLockLost)?;
            let Some(&sequence_number) = session.active.first() else { break };
            if self.slots.get(sequence_number).is_some_and(|slot| slot.expires_us <= self.now_us) {
                self.depart(sequence_number, DepartureReason::Expired);
                continue;
            }
            delivered += 1;
            if self.deliver(sequence_number, mode, &mut deliver).is_none_or(|flow| flow.is_break()) {
                break;
            }
        }
        Ok(delivered)
    }

    /// Takes a session from its owner, who gives it back: what the owner has is as if it had not been delivered.
    pub fn release_session(&mut self, now_us: Micros, lock: SessionLock) {
        self.advance(now_us);
        if self.sessions.as_ref().is_some_and(|sessions| sessions.holds(lock)) {
            self.end_session(lock.index, false);
        }
    }

    fn end_session(&mut self, index: u32, failed: bool) {
        let Some(sessions) = &mut self.sessions else { return };
        let Some(session) = sessions.get_mut(index) else { return };
        let locked = std::mem::take(&mut session.locked);
        let Some((generation, until_us)) = session.lock.take() else { return };
        sessions.locks.remove(&(until_us, generation, index));
        if failed {
            sessions.events.push(SessionEvent::Lost(SessionLock { index, generation }));
        }
        for sequence_number in locked {
            if !failed && let Some(slot) = self.slots.get_mut(sequence_number) {
                slot.delivery_count = slot.delivery_count.saturating_sub(1);
            }
            self.unlock(sequence_number, failed);
        }
        if let Some(sessions) = &mut self.sessions {
            sessions.changed(index);
        }
    }

    /// Ends the session locks whose time is over. Returns whether all of them were.
    pub(super) fn expire_session_locks(&mut self) -> bool {
        for _ in 0..ADVANCE_BATCH_MAX {
            match self.sessions.as_ref().and_then(|sessions| sessions.locks.first()) {
                Some(&(until_us, _, index)) if until_us <= self.now_us => self.end_session(index, true),
                _ => return true,
            }
        }
        false
    }

    /// When the next session lock ends.
    pub(super) fn next_session_event(&self) -> Micros {
        let first = self.sessions.as_ref().and_then(|sessions| sessions.locks.first());
        first.map_or(NEVER, |&(until_us, _, _)| until_us)
    }

    /// Makes a session's lock last for its whole time from now. Returns when it ends.
    ///
    /// # Errors
    /// When the session has no owner.
    pub fn renew_session(&mut self, now_us: Micros, id: &str) -> Result<Micros, SessionLockLost> {
        self.advance(now_us);
        let renewed_us = self.now_us.saturating_add(self.settings.lock_us);
        let sessions = self.sessions.as_mut().ok_or(SessionLockLost)?;
        let index = sessions.owned(id)?;
        if let Some((generation, until_us)) =
            sessions.get_mut(index).and_then(|session| session.lock.as_mut())
        {
            let (generation, before_us) = (*generation, std::mem::replace(until_us, renewed_us));
            sessions.locks.remove(&(before_us, generation, index));
            sessions.locks.insert((renewed_us, generation, index));
        }
        Ok(renewed_us)
    }

    /// Whether a session has an owner.
    pub fn is_session_owned(&mut self, now_us: Micros, id: &str) -> bool {
        self.advance(now_us);
        self.sessions.as_ref().is_some_and(|sessions| sessions.owned(id).is_ok())
    }

    /// A session's state.
    ///
    /// # Errors
    /// When the session has no owner.
    pub fn session_state(&mut self, now_us: Micros, id: &str) -> Result<Option<Arc<[u8]>>, SessionLockLost> {
        self.advance(now_us);
        let sessions = self.sessions.as_ref().ok_or(SessionLockLost)?;
        let index = sessions.owned(id)?;
        Ok(sessions.get(index).and_then(|session| session.state.clone()))
    }

    /// Puts a state in a session's old one's place; none takes it away.
    ///
    /// # Errors
    /// When the session has no owner.
    pub fn set_session_state(
        &mut self,
        now_us: Micros,
        id: &str,
        state: Option<Arc<[u8]>>,
    ) -> Result<(), SessionLockLost> {
        self.advance(now_us);
        let now_us = self.now_us;
        let sessions = self.sessions.as_mut().ok_or(SessionLockLost)?;
        let index = sessions.owned(id)?;
        if let Some(session) = sessions.get_mut(index) {
            session.state = state;
            session.state_changed_us = now_us;
        }
        Ok(())
    }

    /// Ids of sessions, in their own order: of those whose state changed after an instant or, without one, of those with messages
    /// that can be or are delivered, or with a state.
    pub fn session_ids(
        &mut self,
        now_us: Micros,
        changed_after_us: Option<Micros>,
        skip: usize,
        max: usize,
    ) -> Vec<Arc<str>> {
        self.advance(now_us);
        let Some(sessions) = &self.sessions else { return Vec::new() };
        let wanted = |session: &&Session| match changed_after_us {
            Some(after_us) => session.state.is_some() && session.state_changed_us > after_us,
            None => !session.active.is_empty() || !session.locked.is_empty() || session.state.is_some(),
        };
        let found = sessions.by_id.values().filter_map(|index| sessions.get(*index)).filter(wanted);
        found.skip(skip).take(max).map(|session| Arc::clone(&session.id)).collect()
    }

    /// The number by which slots know a session that has an owner.
    pub(super) fn owned_session_index(&self, id: &str) -> Option<u32> {
        self.sessions.as_ref()?.owned(id).ok()
    }

    /// The number by which slots know a session; none when there is no such session.
    pub(super) fn session_index(&self, id: &str) -> Option<u32> {
        self.sessions.as_ref()?.by_id.get(id).copied()
    }
}
