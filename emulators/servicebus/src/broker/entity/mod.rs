//! An entity: a queue, a topic, a subscription, or a dead-letter queue of one. An engine behind a lock, with those who wait for
//! messages, what becomes of messages that leave, and what is told about it.
//!
//! Every entity is made alike. A topic is one whose engine passes on every message as soon as it is active: to its subscriptions,
//! each of which is a queue with rules. A queue with `ForwardTo` does the same with one target. So schedules, duplicates and
//! times to live are the same everywhere. It must not know frames, links' credit, or HTTP.

mod departure;
mod duplicates;
mod session;

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use amqp::{Map, Value};

use super::directory::Directory;
use super::idle::Idle;
use super::recorder::{NO_ROW, Outcome, Recorder};
use super::rules::{Rules, Subscriptions};
use super::timer::Timer;
use super::wake::{LinkId, Wake};
use crate::config::EntityStatus;
use crate::engine::{
    Counts, Delivery, Departure, Engine, LockLost, LockToken, Micros, NEVER, NewMessage, ReceiveMode,
    Settings, Settlement,
};
use crate::limits::DUPLICATE_HISTORY_MAX;
use crate::message::{self, DEAD_LETTER_DESCRIPTION, DEAD_LETTER_REASON, Incoming};
pub(in crate::broker) use departure::reason as dead_letter_reason;
use duplicates::Duplicates;
use session::Owners;

/// Someone who waits for a message.
#[derive(Debug, Clone)]
pub struct Waiter {
    /// The connection.
    pub wake: Arc<Wake>,
    /// Its link.
    pub link: LinkId,
}

impl Waiter {
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.wake, &other.wake) && self.link == other.link
    }
}

/// What a receiver decides about a locked message.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Done.
    Complete,
    /// Deliver it again, with these application properties changed.
    Abandon(Map),
    /// Set it aside, with these application properties changed.
    Defer(Map),
    /// To the dead-letter queue, with these application properties changed.
    DeadLetter(Map),
    /// Deliver it again as if it had not been delivered.
    Release,
}

/// Counts since the broker started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Messages accepted.
    pub enqueued: u64,
    /// Messages completed, or taken.
    pub completed: u64,
    /// Messages moved to the dead-letter queue.
    pub dead_lettered: u64,
}

#[derive(Debug)]
struct Inner {
    engine: Engine,
    /// Who waits for a message or, where messages belong to sessions, for a session.
    waiters: VecDeque<Waiter>,
    totals: Totals,
    /// When the timer looks at this entity.
    armed_us: Micros,
    /// None where duplicates are not looked for.
    duplicates: Option<Box<Duplicates>>,
    /// None where messages belong to no sessions.
    owners: Option<Box<Owners>>,
}

/// What all entities of a broker share.
#[derive(Debug, Clone, Default)]
pub struct Shared {
    /// The timer.
    pub timer: Arc<Timer>,
    /// The recorder.
    pub recorder: Arc<Recorder>,
    /// Who else is there.
    pub directory: Weak<Directory>,
}

/// What an entity is.
#[derive(Debug)]
pub enum Kind {
    /// A queue.
    Queue,
    /// A topic and where its messages go.
    Topic(Subscriptions),
    /// A subscription and what it wants.
    Subscription(Rules),
    /// A dead-letter queue.
    DeadLetters,
}

/// See the module.
#[derive(Debug)]
pub struct Entity {
    this: Weak<Self>,
    inner: Mutex<Inner>,
    /// Empty where it is never deleted by itself.
    idle: Option<Idle>,
    options: EntityOptions,
    shared: Shared,
}

/// What makes an entity.
#[derive(Debug)]
pub struct EntityOptions {
    /// Its path, for people.
    pub name: String,
    /// A number that no other entity of this run has.
    pub id: u32,
    /// What marks its lock tokens.
    pub token_mark: u32,
    /// What it is.
    pub kind: Kind,
    /// How messages are treated.
    pub settings: Settings,
    /// What it can be used for.
    pub status: EntityStatus,
    /// For how long ids are remembered, microseconds; none where duplicates are not looked for.
    pub duplicate_window_us: Option<u64>,
    /// Whether expired messages go to the dead-letter queue.
    pub dead_letter_on_expiration: bool,
    /// Where dead letters go.
    pub dead_letters: Option<Arc<Entity>>,
    /// Where messages go that cannot be passed on.
    pub transfer_dead_letters: Option<Arc<Entity>>,
    /// The entity to which messages are passed on.
    pub forward_to: Option<String>,
    /// The entity to which dead letters are passed on.
    pub forward_dead_letters_to: Option<String>,
    /// How long nobody uses it until it is deleted, microseconds.
    pub auto_delete_us: u64,
}

impl EntityOptions {
    /// Those of an entity that keeps what it has; its number is given with its place in a broker.
    pub const fn new(kind: Kind) -> Self {
        Self {
            name: String::new(),
            id: 0,
            token_mark: 0,
            kind,
            settings: super::KEEP_ALL,
            status: EntityStatus::Active,
            duplicate_window_us: None,
            dead_letter_on_expiration: false,
            dead_letters: None,
            transfer_dead_letters: None,
            forward_to: None,
            forward_dead_letters_to: None,
            auto_delete_us: NEVER,
        }
    }
}

/// Why an entity takes a message not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It can be received from only, or not be used at all.
    Disabled,
    /// Messages belong to sessions, and this one to none.
    NoSession,
}

impl Entity {
    /// An empty entity.
    pub fn new(options: EntityOptions, shared: Shared) -> Arc<Self> {
        let inner = Inner {
            engine: Engine::new(options.settings.clone(), options.token_mark),
            waiters: VecDeque::new(),
            totals: Totals::default(),
            armed_us: NEVER,
            duplicates: options
                .duplicate_window_us
                .map(|window_us| Box::new(Duplicates::new(window_us, DUPLICATE_HISTORY_MAX))),
            owners: options.settings.requires_session.then(Box::default),
        };
        let idle = (options.auto_delete_us != NEVER).then(Idle::default);
        Arc::new_cyclic(|this| Self { this: this.clone(), inner: Mutex::new(inner), idle, options, shared })
    }

    /// The entity's path as it was configured.
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// What the entity is.
    pub const fn kind(&self) -> &Kind {
        &self.options.kind
    }

    /// What the entity can be used for.
    pub const fn status(&self) -> EntityStatus {
        self.options.status
    }

    /// Whether messages can be sent to it: not to a subscription, nor to a dead-letter queue.
    pub const fn takes_messages(&self) -> bool {
        matches!(self.options.kind, Kind::Queue | Kind::Topic(_))
    }

    /// Whether its messages leave at once, so that nothing can be received from it.
    pub const fn passes_on(&self) -> bool {
        self.options.settings.passes_on
    }

    /// Whether messages belong to sessions.
    pub const fn requires_session(&self) -> bool {
        self.options.settings.requires_session
    }

    /// The entity's dead-letter queue; none for one that is, and for a topic.
    pub const fn dead_letters(&self) -> Option<&Arc<Self>> {
        self.options.dead_letters.as_ref()
    }

    /// The dead-letter queue for messages that could not be passed on.
    pub const fn transfer_dead_letters(&self) -> Option<&Arc<Self>> {
        self.options.transfer_dead_letters.as_ref()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has to follow every change: messages that leave go where they belong, waiters are told, the timer is set.
    fn finish(&self, now_us: Micros, mut inner: MutexGuard<'_, Inner>, new_messages: usize) {
        let departures = inner.engine.take_departures();
        self.wake(&mut inner, new_messages);
        let deadline_us = inner.engine.deadline_us();
        let arm = deadline_us < inner.armed_us;
        if arm {
            inner.armed_us = deadline_us;
        }
        drop(inner);
        if arm {
            self.shared.timer.arm(deadline_us, self.options.id, self.this.clone());
        }
        if !departures.is_empty() {
            departures.into_iter().for_each(|departure| self.depart(now_us, departure));
        }
    }

    /// Wakes as many waiters as there are messages for, each once; where messages belong to sessions, as there are sessions.
    fn wake(&self, inner: &mut Inner, messages: usize) {
        let ready = match inner.engine.has_sessions() {
            true => {
                self.tell_owners(inner);
                inner.engine.waiting_sessions()
            }
            false => messages.min(usize::try_from(inner.engine.counts().active).unwrap_or(usize::MAX)),
        };
        let count = ready.min(inner.waiters.len());
        for waiter in inner.waiters.drain(..count) {
            waiter.wake.ring(waiter.link);
        }
    }

    /// Takes messages in, all or none. Returns their sequence numbers; a duplicate has that of the message that it repeats.
    ///
    /// # Errors
    /// When one of them cannot be here.
    pub fn send(&self, now_us: Micros, messages: Vec<Incoming>) -> Result<Vec<u64>, Refusal> {
        self.check_send()?;
        let sessions: Vec<_> =
            messages.iter().map(|message| self.session_of(message)).collect::<Result<_, _>>()?;
        let recording = self.is_recorded();
        let mut inner = self.lock();
        let messages = messages.into_iter().zip(sessions);
        let numbers: Vec<u64> = messages
            .map(|(incoming, session)| self.enqueue(&mut inner, now_us, incoming, session, recording))
            .collect();
        self.used(now_us);
        self.finish(now_us, inner, numbers.len());
        Ok(numbers)
    }

    /// Takes one message in.
    ///
    /// # Errors
    /// When it cannot be here.
    pub fn send_one(&self, now_us: Micros, incoming: Incoming) -> Result<(), Refusal> {
        self.check_send()?;
        let session = self.session_of(&incoming)?;
        let recording = self.is_recorded();
        let mut inner = self.lock();
        self.enqueue(&mut inner, now_us, incoming, session, recording);
        self.used(now_us);
        self.finish(now_us, inner, 1);
        Ok(())
    }

    fn check_send(&self) -> Result<(), Refusal> {
        match self.options.status {
            EntityStatus::Active | EntityStatus::ReceiveDisabled => Ok(()),
            EntityStatus::Disabled | EntityStatus::SendDisabled => Err(Refusal::Disabled),
        }
    }

    /// The session of a message, where messages belong to sessions.
    fn session_of(&self, incoming: &Incoming) -> Result<Option<String>, Refusal> {
        if !self.requires_session() {
            return Ok(None);
        }
        message::session_id(&incoming.content).map(Some).ok_or(Refusal::NoSession)
    }

    fn enqueue(
        &self,
        inner: &mut Inner,
        now_us: Micros,
        incoming: Incoming,
        session: Option<String>,
        recording: bool,
    ) -> u64 {
        let identity = inner.duplicates.as_ref().map(|_| message::identity(&incoming.content));
        if let (Some(identity), Some(duplicates)) = (&identity, &mut inner.duplicates)
            && let Some(sequence_number) = duplicates.find(now_us, identity)
        {
            return sequence_number;
        }
        let tag = if recording {
            let due_us = incoming.due_us.unwrap_or(now_us);
            self.shared.recorder.arrived(self.name(), &incoming.content, now_us, due_us)
        } else {
            NO_ROW
        };
        let message = NewMessage {
            content: incoming.content,
            time_to_live_us: incoming.time_to_live_us,
            due_us: incoming.due_us,
            delivery_count: 0,
            enqueued_us: None,
            session,
            tag,
        };
        let sequence_number = inner.engine.enqueue(now_us, message);
        inner.totals.enqueued += 1;
        if recording {
            self.shared.recorder.numbered(tag, sequence_number);
        }
        if let (Some(identity), Some(duplicates)) = (identity, &mut inner.duplicates) {
            duplicates.remember(now_us, identity, sequence_number);
        }
        sequence_number
    }

    /// A row is a message's life in the queue or subscription where receivers find it: dead-letter queues and what only passes on
    /// are not recorded.
    fn is_recorded(&self) -> bool {
        self.shared.recorder.is_on() && self.options.dead_letters.is_some() && !self.passes_on()
    }

    /// Delivers up to `max` messages, until `deliver` says stop. When there were fewer and a `waiter` is given, it is woken
    /// when there is one. Returns how many were delivered, and whether the waiter waits.
    pub fn receive(
        &self,
        now_us: Micros,
        max: usize,
        mode: ReceiveMode,
        waiter: Option<Waiter>,
        mut deliver: impl FnMut(&Delivery<'_>) -> ControlFlow<()>,
    ) -> (usize, bool) {
        let recording = self.is_recorded();
        let mut inner = self.lock();
        let delivered = inner.engine.receive(now_us, max, mode, |delivery| {
            if recording {
                self.record_delivery(now_us, delivery, mode);
            }
            deliver(delivery)
        });
        if mode == ReceiveMode::ReceiveAndDelete {
            inner.totals.completed += delivered as u64;
        }
        let none_left = delivered < max && inner.engine.counts().active == 0;
        let waiter = waiter.filter(|_| none_left);
        let waits = waiter.is_some();
        inner.waiters.extend(waiter);
        self.finish(now_us, inner, usize::MAX);
        (delivered, waits)
    }

    fn record_delivery(&self, now_us: Micros, delivery: &Delivery<'_>, mode: ReceiveMode) {
        let recorder = &self.shared.recorder;
        recorder.delivered(delivery.tag, now_us, delivery.sequence_number, delivery.delivery_count + 1);
        if mode == ReceiveMode::ReceiveAndDelete {
            recorder.settled(delivery.tag, now_us, Some(Outcome::Completed));
        }
    }

    /// Delivers one deferred message; none when there is no such message.
    pub fn receive_deferred<R>(
        &self,
        now_us: Micros,
        sequence_number: u64,
        session: Option<&str>,
        mode: ReceiveMode,
        deliver: impl FnOnce(&Delivery<'_>) -> R,
    ) -> Option<R> {
        let recording = self.is_recorded();
        let mut inner = self.lock();
        let found = inner.engine.receive_deferred(now_us, sequence_number, session, mode, |delivery| {
            if recording {
                self.record_delivery(now_us, delivery, mode);
            }
            deliver(delivery)
        });
        if mode == ReceiveMode::ReceiveAndDelete && found.is_some() {
            inner.totals.completed += 1;
        }
        self.finish(now_us, inner, 0);
        found
    }

    /// Settles a locked message.
    ///
    /// # Errors
    /// When the lock is over.
    pub fn settle(&self, now_us: Micros, token: LockToken, decision: Decision) -> Result<(), LockLost> {
        let mut inner = self.lock();
        let result = self.settle_locked(&mut inner, now_us, token, decision);
        self.finish(now_us, inner, usize::from(result.is_ok()));
        if let Some((departure, properties)) = result? {
            self.dead_letter(now_us, departure, &properties);
        }
        Ok(())
    }

    /// Settles under the queue's lock; what goes to the dead-letter queue is returned, for that needs another lock.
    fn settle_locked(
        &self,
        inner: &mut Inner,
        now_us: Micros,
        token: LockToken,
        decision: Decision,
    ) -> Result<Option<(Departure, Map)>, LockLost> {
        let engine = &mut inner.engine;
        let mut amended = |properties: Map| -> Result<_, LockLost> {
            let content = engine.locked_content(now_us, token)?;
            Ok((!properties.is_empty()).then(|| message::amend(&content, &properties)))
        };
        let (settlement, outcome) = match decision {
            Decision::Complete => (Settlement::Complete, Some(Outcome::Completed)),
            Decision::Release => (Settlement::Release, None),
            Decision::Abandon(properties) => (Settlement::Abandon(amended(properties)?), None),
            Decision::Defer(properties) => (Settlement::Defer(amended(properties)?), None),
            // A dead letter that is dead-lettered stays where it is, as if it had been set down again.
            Decision::DeadLetter(properties) if self.options.dead_letters.is_none() => {
                (Settlement::Abandon(amended(properties)?), None)
            }
            Decision::DeadLetter(properties) => {
                let departure = engine.dead_letter(now_us, token)?;
                self.shared.recorder.settled(departure.tag, now_us, Some(Outcome::DeadLettered));
                return Ok(Some((departure, properties)));
            }
        };
        let tag = engine.settle(now_us, token, settlement)?;
        if outcome == Some(Outcome::Completed) {
            inner.totals.completed += 1;
        }
        self.shared.recorder.settled(tag, now_us, outcome);
        Ok(None)
    }

    /// Makes a lock last for its whole time from now. Returns when it ends.
    ///
    /// # Errors
    /// When the lock is over.
    pub fn renew(&self, now_us: Micros, token: LockToken) -> Result<Micros, LockLost> {
        let mut inner = self.lock();
        let until = inner.engine.renew(now_us, token);
        self.finish(now_us, inner, 0);
        until
    }

    /// Takes a scheduled message off the schedule. Returns whether there was one.
    pub fn cancel(&self, now_us: Micros, sequence_number: u64) -> bool {
        let mut inner = self.lock();
        let cancelled = inner.engine.cancel(now_us, sequence_number).is_some();
        self.finish(now_us, inner, usize::MAX);
        cancelled
    }

    /// Shows up to `max` messages from a sequence number on, in any state, of one session or of all, until `show` says stop.
    pub fn peek(
        &self,
        now_us: Micros,
        from_sequence_number: u64,
        max: usize,
        session: Option<&str>,
        show: impl FnMut(&Delivery<'_>) -> ControlFlow<()>,
    ) {
        let mut inner = self.lock();
        inner.engine.peek(now_us, from_sequence_number, max, session, show);
        self.used(now_us);
        self.finish(now_us, inner, usize::MAX);
    }

    /// Removes up to `max` messages, of one session or of all, that could be delivered and came in before an instant. Returns how
    /// many.
    pub fn delete_before(
        &self,
        now_us: Micros,
        before_us: Micros,
        max: usize,
        session: Option<&str>,
    ) -> usize {
        let mut inner = self.lock();
        let gone = inner.engine.delete_before(now_us, before_us, max, session);
        inner.totals.completed += gone.len() as u64;
        self.finish(now_us, inner, usize::MAX);
        gone.iter().for_each(|&tag| self.shared.recorder.settled(tag, now_us, Some(Outcome::Completed)));
        gone.len()
    }

    /// Lets time pass.
    pub fn tick(&self, now_us: Micros) {
        let mut inner = self.lock();
        inner.armed_us = NEVER;
        inner.engine.advance(now_us);
        self.finish(now_us, inner, usize::MAX);
        self.delete_if_idle(now_us);
    }

    /// Forgets that a link waits; if it was woken already, another is woken in its place.
    pub fn stop_waiting(&self, waiter: &Waiter) {
        let mut inner = self.lock();
        inner.waiters.retain(|other| !other.is(waiter));
        self.wake(&mut inner, 1);
    }

    /// Counts now, and since the start.
    pub fn counts(&self, now_us: Micros) -> (Counts, Totals) {
        let mut inner = self.lock();
        inner.engine.advance(now_us);
        let counts = (inner.engine.counts(), inner.totals);
        self.finish(now_us, inner, usize::MAX);
        counts
    }

    /// When it was last used; none where it is never deleted by itself.
    pub(super) const fn idle(&self) -> Option<&Idle> {
        self.idle.as_ref()
    }

    fn used(&self, now_us: Micros) {
        if let Some(idle) = &self.idle {
            idle.used(now_us);
        }
    }

    /// Notes a use now, and has the timer look when it may have been the last.
    pub fn note_use(&self) {
        if let Some(idle) = &self.idle {
            let now_us = super::now_us();
            idle.used(now_us);
            if idle.armed_us() == 0 {
                self.arm_for_idle(idle, now_us.saturating_add(self.options.auto_delete_us));
            }
        }
    }

    fn arm_for_idle(&self, idle: &Idle, due_us: Micros) {
        idle.set_armed(due_us);
        self.shared.timer.arm(due_us, self.options.id, self.this.clone());
    }

    /// Deletes the entity when nobody has used it for as long as was said. Messages that wait for their instant are a use.
    fn delete_if_idle(&self, now_us: Micros) {
        let Some(idle) = self.idle.as_ref().filter(|idle| idle.armed_us() <= now_us) else { return };
        let scheduled = self.lock().engine.counts().scheduled > 0;
        let since_us = idle.since_us().filter(|_| !scheduled).unwrap_or(now_us);
        let due_us = since_us.saturating_add(self.options.auto_delete_us);
        if due_us > now_us {
            return self.arm_for_idle(idle, due_us);
        }
        let (directory, this) = (self.shared.directory.upgrade(), self.this.upgrade());
        if let (Some(directory), Some(this)) = (directory, this) {
            tracing::info!(entity = self.name(), "deleted, for nobody used it");
            directory.remove(&this);
        }
    }

    /// What a message of this queue whose lock is lost is called in an error.
    pub fn describe_lost_lock(&self) -> String {
        format!(
            "The lock supplied is invalid. Either the lock expired, or the message has already been removed from \
             the queue '{}'.",
            self.name()
        )
    }
}

/// The application properties of a dead letter: what the receiver says, and its reason and description.
pub fn dead_letter_properties(
    mut properties: Map,
    reason: Option<&Value>,
    description: Option<&Value>,
) -> Map {
    for (key, value) in [(DEAD_LETTER_REASON, reason), (DEAD_LETTER_DESCRIPTION, description)] {
        if let Some(value) = value {
            properties.set_string(key, value.clone());
        }
    }
    properties
}
