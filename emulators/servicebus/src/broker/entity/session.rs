//! Sessions of an entity towards links: who waits for one, who owns one, and who has to be told.
//!
//! It must not know what a session is made of; the engine does.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::{Entity, Inner, Waiter};
use crate::engine::{
    AcceptedSession, Delivery, Micros, ReceiveMode, SessionEvent, SessionLock, SessionLockLost, SessionTaken,
};

/// The links that own sessions.
pub(super) type Owners = HashMap<SessionLock, Owner>;

/// A link that owns a session.
#[derive(Debug)]
pub(super) struct Owner {
    waiter: Waiter,
    /// Whether it waits for a message.
    waits: bool,
}

impl Entity {
    /// Tells links what has happened to their sessions.
    pub(super) fn tell_owners(&self, inner: &mut Inner) {
        let events = inner.engine.take_session_events();
        let Some(owners) = &mut inner.owners else { return };
        for event in events {
            match event {
                SessionEvent::Arrived(lock) => {
                    if let Some(owner) = owners.get_mut(&lock).filter(|owner| owner.waits) {
                        owner.waits = false;
                        owner.waiter.wake.ring(owner.waiter.link);
                    }
                }
                SessionEvent::Lost(lock) => {
                    if let Some(Owner { waiter, .. }) = owners.remove(&lock) {
                        waiter.wake.ring(waiter.link);
                    }
                }
            }
        }
    }

    /// Gives a link a session: the one with an id, or the next that has messages and no owner. None when there is none; the link
    /// then waits and is woken when there may be one.
    ///
    /// # Errors
    /// When the session has another owner.
    pub fn accept_session(
        &self,
        now_us: Micros,
        id: Option<&str>,
        waiter: Waiter,
    ) -> Result<Option<AcceptedSession>, SessionTaken> {
        let mut inner = self.lock();
        let accepted = inner.engine.accept_session(now_us, id);
        match &accepted {
            Ok(Some(session)) => {
                let owner = Owner { waiter, waits: false };
                inner.owners.get_or_insert_default().insert(session.lock, owner);
            }
            Ok(None) => inner.waiters.push_back(waiter),
            Err(SessionTaken) => {}
        }
        self.finish(now_us, inner, 0);
        accepted
    }

    /// Delivers up to `max` messages of a session, until `deliver` says stop. When there were fewer and it shall, the owner waits
    /// and is woken when there is one. Returns how many were delivered, and whether the owner waits.
    ///
    /// # Errors
    /// When the session's lock is over.
    pub fn receive_in_session(
        &self,
        now_us: Micros,
        lock: SessionLock,
        max: usize,
        mode: ReceiveMode,
        wait: bool,
        mut deliver: impl FnMut(&Delivery<'_>) -> ControlFlow<()>,
    ) -> Result<(usize, bool), SessionLockLost> {
        let recording = self.is_recorded();
        let mut inner = self.lock();
        let mut stopped = false;
        let delivered = inner.engine.receive_in_session(now_us, lock, max, mode, |delivery| {
            if recording {
                self.record_delivery(now_us, delivery, mode);
            }
            let flow = deliver(delivery);
            stopped = flow.is_break();
            flow
        });
        if mode == ReceiveMode::ReceiveAndDelete {
            inner.totals.completed += delivered.unwrap_or(0) as u64;
        }
        let waits = wait && !stopped && delivered.is_ok_and(|delivered| delivered < max);
        if waits && let Some(owner) = inner.owners.as_mut().and_then(|owners| owners.get_mut(&lock)) {
            owner.waits = true;
        }
        self.finish(now_us, inner, 0);
        delivered.map(|delivered| (delivered, waits))
    }

    /// Takes a session from its owner, who gives it back.
    pub fn release_session(&self, now_us: Micros, lock: SessionLock) {
        let mut inner = self.lock();
        if let Some(owners) = &mut inner.owners {
            owners.remove(&lock);
        }
        inner.engine.release_session(now_us, lock);
        self.finish(now_us, inner, usize::MAX);
    }

    /// Makes a session's lock last for its whole time from now. Returns when it ends.
    ///
    /// # Errors
    /// When the session has no owner.
    pub fn renew_session(&self, now_us: Micros, id: &str) -> Result<Micros, SessionLockLost> {
        let mut inner = self.lock();
        let until_us = inner.engine.renew_session(now_us, id);
        self.finish(now_us, inner, 0);
        until_us
    }

    /// Whether a session has an owner.
    pub fn is_session_owned(&self, now_us: Micros, id: &str) -> bool {
        let mut inner = self.lock();
        let owned = inner.engine.is_session_owned(now_us, id);
        self.finish(now_us, inner, 0);
        owned
    }

    /// A session's state.
    ///
    /// # Errors
    /// When the session has no owner.
    pub fn session_state(&self, now_us: Micros, id: &str) -> Result<Option<Arc<[u8]>>, SessionLockLost> {
        let mut inner = self.lock();
        let state = inner.engine.session_state(now_us, id);
        self.finish(now_us, inner, 0);
        state
    }

    /// Puts a state in a session's old one's place; none takes it away.
    ///
    /// # Errors
    /// When the session has no owner.
    pub fn set_session_state(
        &self,
        now_us: Micros,
        id: &str,
        state: Option<Arc<[u8]>>,
    ) -> Result<(), SessionLockLost> {
        let mut inner = self.lock();
        let set = inner.engine.set_session_state(now_us, id, state);
        self.finish(now_us, inner, 0);
        set
    }

    /// Ids of sessions: of those whose state changed after an instant or, without one, of all that have messages or a state.
    pub fn session_ids(
        &self,
        now_us: Micros,
        changed_after_us: Option<Micros>,
        skip: usize,
        max: usize,
    ) -> Vec<Arc<str>> {
        let mut inner = self.lock();
        let ids = inner.engine.session_ids(now_us, changed_after_us, skip, max);
        self.finish(now_us, inner, 0);
        ids
    }

    /// What a lost session of this entity is called in an error.
    pub fn describe_lost_session(&self) -> String {
        format!(
            "The session lock of the entity '{}' has expired or is not held. Accept the session again.",
            self.name()
        )
    }
}
