//! One entity's messages: a state machine over enqueue, lock, settle, schedule, expire.
//!
//! Time is passed in (microseconds since the Unix epoch) and never goes back; a message's content is opaque bytes. It must
//! not do I/O, read a clock, know a client, or decode a message. What leaves by itself (expired, delivered too often) is
//! handed out as [`Departure`]s: where those go is not decided here. A dead-letter queue is an engine like any other.
//!
//! Cost: a message is one slot of 64 bytes beside its content. Locks of one entity last equally long, so they end in the
//! order in which they began, and so do messages with the entity's own time to live; only the others need sorted sets.

mod expiry;
mod lock;
mod session;
mod slots;
mod token;

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

pub use session::{AcceptedSession, SessionEvent, SessionLock, SessionLockLost, SessionTaken};
use session::{NO_SESSION, Sessions};
pub use slots::FIRST_SEQUENCE_NUMBER;
use slots::Slots;
pub use token::LockToken;

/// An instant: microseconds since the Unix epoch.
pub type Micros = u64;
/// No instant: later than every one.
pub const NEVER: Micros = Micros::MAX;
/// A message's bytes, in whatever form the caller keeps them.
pub type Content = Arc<[u8]>;

/// How an entity treats its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How long a lock lasts, microseconds.
    pub lock_us: u64,
    /// How long a message lives unless it asks for less, microseconds; [`NEVER`] for ever.
    pub time_to_live_us: u64,
    /// The delivery that, when it fails, is the last.
    pub max_delivery_count: u32,
    /// Whether messages belong to sessions and are received session by session.
    pub requires_session: bool,
    /// Whether messages that could be delivered leave at once, for another entity.
    pub passes_on: bool,
}

/// A message that comes in.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// Its bytes.
    pub content: Content,
    /// How long it wants to live, microseconds; [`NEVER`] for ever. The entity's own limit holds as well.
    pub time_to_live_us: u64,
    /// When it may be delivered; none for at once.
    pub due_us: Option<Micros>,
    /// Deliveries that it has behind it, in another entity.
    pub delivery_count: u32,
    /// When it came in, if that was before: in another entity.
    pub enqueued_us: Option<Micros>,
    /// Its session, where messages belong to sessions.
    pub session: Option<String>,
    /// A number of the caller's that stays with the message.
    pub tag: u32,
}

/// What a message's life is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It can be delivered.
    Active,
    /// It is delivered and locked.
    Locked,
    /// It was set aside: delivered only on demand, by sequence number.
    Deferred,
    /// It was set aside, then delivered on demand and locked.
    DeferredLocked,
    /// It waits for its instant.
    Scheduled,
}

impl State {
    const fn is_locked(self) -> bool {
        matches!(self, Self::Locked | Self::DeferredLocked)
    }
}

#[derive(Debug)]
struct Slot {
    content: Content,
    enqueued_us: Micros,
    /// When it expires; of a scheduled message how long it will live.
    expires_us: Micros,
    /// When the lock ends or the message is due.
    until_us: Micros,
    delivery_count: u32,
    lock_generation: u32,
    tag: u32,
    session: u32,
    state: State,
    /// Whether `expires_us` is in the sorted set, for it does not follow from the order of arrival.
    own_expiry: bool,
}

/// Whether a delivery locks a message or takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiveMode {
    /// It is locked until it is settled.
    PeekLock,
    /// It is gone.
    ReceiveAndDelete,
}

/// A message as it is delivered or looked at.
#[derive(Debug)]
pub struct Delivery<'a> {
    /// Its number in this entity.
    pub sequence_number: u64,
    /// Its state before this delivery.
    pub state: State,
    /// Deliveries before this one.
    pub delivery_count: u32,
    /// When it came in.
    pub enqueued_us: Micros,
    /// The lock and when it ends; none when it is only looked at, or taken.
    pub lock: Option<(LockToken, Micros)>,
    /// Its bytes.
    pub content: &'a Content,
    /// The caller's number.
    pub tag: u32,
}

/// Why a message left by itself, or was sent away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DepartureReason {
    /// Its time to live is over.
    Expired,
    /// Its last delivery failed; the number of them.
    DeliveredTooOften(u32),
    /// A receiver sent it to the dead-letter queue.
    DeadLettered,
    /// It is for another entity.
    PassedOn,
}

/// A message that left for another place than a receiver.
#[derive(Debug)]
pub struct Departure {
    /// Its bytes.
    pub content: Content,
    /// Its number in this entity.
    pub sequence_number: u64,
    /// When it came in.
    pub enqueued_us: Micros,
    /// How long it had to live when it left, microseconds; [`NEVER`] for ever.
    pub time_to_live_us: u64,
    /// Deliveries that it had.
    pub delivery_count: u32,
    /// The caller's number.
    pub tag: u32,
    /// Why it left.
    pub reason: DepartureReason,
}

impl Departure {
    fn new(sequence_number: u64, slot: Slot, now_us: Micros, reason: DepartureReason) -> Self {
        let time_to_live_us =
            if slot.expires_us == NEVER { NEVER } else { slot.expires_us.saturating_sub(now_us) };
        Self {
            content: slot.content,
            sequence_number,
            enqueued_us: slot.enqueued_us,
            time_to_live_us,
            delivery_count: slot.delivery_count,
            tag: slot.tag,
            reason,
        }
    }
}

/// The lock that a token names is over, or never was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the lock is no longer valid")]
pub struct LockLost;

/// What a receiver does with a message that it has locked. Content, where given, takes the old one's place.
#[derive(Debug, Clone)]
pub enum Settlement {
    /// Done: it is removed.
    Complete,
    /// Given back: it can be delivered again, at its old place, unless this was its last delivery.
    Abandon(Option<Content>),
    /// Set aside.
    Defer(Option<Content>),
    /// Given back unread: this delivery does not count.
    Release,
}

/// How many messages are in which state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// [`State::Active`]
    pub active: u64,
    /// [`State::Locked`] and [`State::DeferredLocked`]
    pub locked: u64,
    /// [`State::Deferred`]
    pub deferred: u64,
    /// [`State::Scheduled`]
    pub scheduled: u64,
}

/// One entity's messages.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    /// What makes this entity's lock tokens its own.
    entity: u32,
    now_us: Micros,
    slots: Slots<Slot>,
    counts: Counts,
    /// The first message that was never delivered; those before it that can be delivered are in `returned`.
    cursor: u64,
    returned: BinaryHeap<Reverse<u64>>,
    /// Ends of locks, in order. Entries of locks that ended otherwise stay until they come up or are too many.
    locks: VecDeque<(Micros, u64)>,
    /// Due instants of scheduled messages.
    scheduled: BTreeSet<(Micros, u64)>,
    /// Expiries that do not follow from the order of arrival.
    own_expiries: BTreeSet<(Micros, u64)>,
    /// The first message whose expiry follows from the order of arrival and has not been looked at.
    expiry_cursor: u64,
    /// None where messages belong to none.
    sessions: Option<Box<Sessions>>,
    departures: Vec<Departure>,
    /// No timed event is before this.
    deadline_us: Micros,
}

impl Engine {
    /// An empty entity. `entity` tells its lock tokens from those of others.
    pub fn new(settings: Settings, entity: u32) -> Self {
        Self {
            sessions: settings.requires_session.then(Box::default),
            settings,
            entity: entity.max(1),
            now_us: 0,
            slots: Slots::new(),
            counts: Counts::default(),
            cursor: FIRST_SEQUENCE_NUMBER,
            returned: BinaryHeap::new(),
            locks: VecDeque::new(),
            scheduled: BTreeSet::new(),
            own_expiries: BTreeSet::new(),
            expiry_cursor: FIRST_SEQUENCE_NUMBER,
            departures: Vec::new(),
            deadline_us: NEVER,
        }
    }

    /// How this entity treats its messages.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How many messages are in which state.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// An instant before which nothing happens by itself; [`NEVER`] when nothing is due.
    pub const fn deadline_us(&self) -> Micros {
        self.deadline_us
    }

    /// Messages that left by themselves or were sent away since the last call.
    pub fn take_departures(&mut self) -> Vec<Departure> {
        std::mem::take(&mut self.departures)
    }

    /// Puts a message at the end, or on the schedule when it is due later. Returns its sequence number.
    pub fn enqueue(&mut self, now_us: Micros, message: NewMessage) -> u64 {
        self.advance(now_us);
        let lives_us = message.time_to_live_us.min(self.settings.time_to_live_us);
        let session = match (&mut self.sessions, &message.session) {
            (Some(sessions), Some(id)) => sessions.enter(id),
            _ => NO_SESSION,
        };
        let mut slot = Slot {
            content: message.content,
            enqueued_us: message.enqueued_us.unwrap_or(self.now_us),
            expires_us: lives_us,
            until_us: 0,
            delivery_count: message.delivery_count,
            lock_generation: 0,
            tag: message.tag,
            session,
            state: State::Scheduled,
            own_expiry: false,
        };
        match message.due_us {
            Some(due_us) if due_us > self.now_us => {
                slot.until_us = due_us;
                let sequence_number = self.slots.push(slot);
                self.scheduled.insert((due_us, sequence_number));
                self.counts.scheduled += 1;
                self.deadline_us = self.deadline_us.min(due_us);
                sequence_number
            }
            _ => self.push_active(slot),
        }
    }

    /// Puts a message at the end; its `expires_us` is still the time that it has to live.
    fn push_active(&mut self, mut slot: Slot) -> u64 {
        let lives_us = slot.expires_us;
        slot.state = State::Active;
        slot.expires_us = self.now_us.saturating_add(lives_us);
        slot.own_expiry = lives_us < self.settings.time_to_live_us;
        let (expires_us, own_expiry, session) = (slot.expires_us, slot.own_expiry, slot.session);
        let sequence_number = self.slots.push(slot);
        if self.settings.passes_on {
            let reason = DepartureReason::PassedOn;
            let slot = self.slots.remove(sequence_number);
            let departure = slot.map(|slot| Departure::new(sequence_number, slot, self.now_us, reason));
            self.departures.extend(departure);
            return sequence_number;
        }
        if own_expiry {
            self.own_expiries.insert((expires_us, sequence_number));
        }
        self.counts.active += 1;
        self.deadline_us = self.deadline_us.min(expires_us);
        if session != NO_SESSION
            && let Some(sessions) = &mut self.sessions
        {
            sessions.activated(session, sequence_number);
        }
        sequence_number
    }

    /// Takes a scheduled message off the schedule; none when there is no such message. Returns the caller's number.
    pub fn cancel(&mut self, now_us: Micros, sequence_number: u64) -> Option<u32> {
        self.advance(now_us);
        self.slots.get(sequence_number).filter(|slot| slot.state == State::Scheduled)?;
        self.remove(sequence_number).map(|slot| slot.tag)
    }

    /// Delivers up to `max` messages in order, until `deliver` says stop. Returns how many were delivered.
    pub fn receive(
        &mut self,
        now_us: Micros,
        max: usize,
        mode: ReceiveMode,
        mut deliver: impl FnMut(&Delivery<'_>) -> ControlFlow<()>,
    ) -> usize {
        self.advance(now_us);
        let mut delivered = 0;
        while delivered < max {
            let Some(sequence_number) = self.next_active() else { break };
            if self.slots.get(sequence_number).is_some_and(|slot| slot.expires_us <= self.now_us) {
                self.depart(sequence_number, DepartureReason::Expired);
                continue;
            }
            delivered += 1;
            if self.deliver(sequence_number, mode, &mut deliver).is_some_and(|flow| flow.is_break()) {
                break;
            }
        }
        delivered
    }

    /// The message to deliver next: one that came back if it stands before those never delivered.
    fn next_active(&mut self) -> Option<u64> {
        if self.counts.active == 0 {
            return None;
        }
        while let Some(&Reverse(sequence_number)) = self.returned.peek() {
            self.returned.pop();
            if self.slots.get(sequence_number).is_some_and(|slot| slot.state == State::Active) {
                return Some(sequence_number);
            }
        }
        loop {
            let (sequence_number, slot) = self.slots.at_or_after(self.cursor)?;
            self.cursor = sequence_number + 1;
            if slot.state == State::Active {
                return Some(sequence_number);
            }
        }
    }

    /// Locks or takes one message and shows it to `deliver`.
    fn deliver<R>(
        &mut self,
        sequence_number: u64,
        mode: ReceiveMode,
        deliver: impl FnOnce(&Delivery<'_>) -> R,
    ) -> Option<R> {
        match mode {
            ReceiveMode::ReceiveAndDelete => {
                let slot = self.remove(sequence_number)?;
                Some(deliver(&slot.delivery(sequence_number, None)))
            }
            ReceiveMode::PeekLock => {
                let token = self.lock(sequence_number)?;
                let (token, until_us) = token;
                let slot = self.slots.get(sequence_number)?;
                let mut delivery = slot.delivery(sequence_number, Some((token, until_us)));
                delivery.delivery_count = slot.delivery_count.saturating_sub(1);
                Some(deliver(&delivery))
            }
        }
    }

    /// Delivers one deferred message; none when there is no such message, or it belongs to a session that is not the one named or
    /// has no owner.
    pub fn receive_deferred<R>(
        &mut self,
        now_us: Micros,
        sequence_number: u64,
        session: Option<&str>,
        mode: ReceiveMode,
        deliver: impl FnOnce(&Delivery<'_>) -> R,
    ) -> Option<R> {
        self.advance(now_us);
        let slot = self.slots.get(sequence_number).filter(|slot| slot.state == State::Deferred)?;
        if slot.session != NO_SESSION {
            let owned = session.and_then(|id| self.owned_session_index(id));
            owned.filter(|index| *index == slot.session)?;
        }
        self.deliver(sequence_number, mode, deliver)
    }

    /// Shows up to `max` messages from a sequence number on, in any state, of one session or of all, until `show` says stop.
    pub fn peek(
        &mut self,
        now_us: Micros,
        from_sequence_number: u64,
        max: usize,
        session: Option<&str>,
        mut show: impl FnMut(&Delivery<'_>) -> ControlFlow<()>,
    ) {
        self.advance(now_us);
        let Ok(session) = self.session_wanted(session) else { return };
        let (mut from, mut shown) = (from_sequence_number, 0);
        while shown < max {
            let Some((sequence_number, slot)) = self.slots.at_or_after(from) else { break };
            from = sequence_number + 1;
            if session.is_some_and(|session| session != slot.session) {
                continue;
            }
            shown += 1;
            if show(&slot.delivery(sequence_number, None)).is_break() {
                break;
            }
        }
    }

    /// The session that is asked for; an error when there is none of that id, and so no message.
    fn session_wanted(&self, id: Option<&str>) -> Result<Option<u32>, ()> {
        id.map(|id| self.session_index(id).ok_or(())).transpose()
    }

    /// Removes up to `max` messages, of one session or of all, that could be delivered and came in before an instant. Returns
    /// the caller's numbers.
    pub fn delete_before(
        &mut self,
        now_us: Micros,
        before_us: Micros,
        max: usize,
        session: Option<&str>,
    ) -> Vec<u32> {
        self.advance(now_us);
        let mut gone = Vec::new();
        let Ok(session) = self.session_wanted(session) else { return gone };
        let mut from = 0;
        while gone.len() < max {
            let Some((sequence_number, slot)) = self.slots.at_or_after(from) else { break };
            from = sequence_number + 1;
            let wanted = session.is_none_or(|session| session == slot.session);
            if wanted && slot.state == State::Active && slot.enqueued_us < before_us {
                gone.extend(self.remove(sequence_number).map(|slot| slot.tag));
            }
        }
        gone
    }

    /// Takes a message out with all that is kept about it.
    fn remove(&mut self, sequence_number: u64) -> Option<Slot> {
        let slot = self.take_out(sequence_number)?;
        if slot.session != NO_SESSION
            && let Some(sessions) = &mut self.sessions
        {
            sessions.leave(slot.session, sequence_number);
        }
        Some(slot)
    }

    /// The same for a message that comes back at once: it stays in its session.
    fn take_out(&mut self, sequence_number: u64) -> Option<Slot> {
        let slot = self.slots.remove(sequence_number)?;
        if slot.own_expiry {
            self.own_expiries.remove(&(slot.expires_us, sequence_number));
        }
        match slot.state {
            State::Active => self.counts.active -= 1,
            State::Deferred => self.counts.deferred -= 1,
            State::Locked | State::DeferredLocked => self.counts.locked -= 1,
            State::Scheduled => {
                self.scheduled.remove(&(slot.until_us, sequence_number));
                self.counts.scheduled -= 1;
            }
        }
        Some(slot)
    }

    fn depart(&mut self, sequence_number: u64, reason: DepartureReason) {
        if let Some(slot) = self.remove(sequence_number) {
            self.departures.push(Departure::new(sequence_number, slot, self.now_us, reason));
        }
    }
}

impl Slot {
    fn delivery(&self, sequence_number: u64, lock: Option<(LockToken, Micros)>) -> Delivery<'_> {
        Delivery {
            sequence_number,
            state: self.state,
            delivery_count: self.delivery_count,
            enqueued_us: self.enqueued_us,
            lock,
            content: &self.content,
            tag: self.tag,
        }
    }
}

const _: () = assert!(std::mem::size_of::<Option<Slot>>() <= 64, "1,000,000 messages pay for every byte");
