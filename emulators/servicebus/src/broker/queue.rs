//! A queue, or the dead-letter queue of one: an engine behind a lock, with those who wait for messages and what is
//! told about it.
//!
//! It must not know frames, links' credit, or HTTP.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use amqp::{Map, Value};

use super::recorder::{NO_ROW, Outcome, Recorder};
use super::timer::Timer;
use super::wake::{LinkId, Wake};
use crate::engine::{
    Counts, Delivery, Departure, DepartureReason, Engine, LockLost, LockToken, Micros, NEVER, NewMessage,
    ReceiveMode, Settings, Settlement,
};
use crate::message::{self, DEAD_LETTER_DESCRIPTION, DEAD_LETTER_REASON, Incoming};

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
    waiters: VecDeque<Waiter>,
    totals: Totals,
    /// When the timer looks at this queue.
    armed_us: Micros,
}

/// What all queues of a broker share.
#[derive(Debug, Clone, Default)]
pub struct Shared {
    /// The timer.
    pub timer: Arc<Timer>,
    /// The recorder.
    pub recorder: Arc<Recorder>,
}

/// See the module.
#[derive(Debug)]
pub struct Queue {
    this: Weak<Self>,
    name: String,
    id: u32,
    inner: Mutex<Inner>,
    /// Where dead letters go; none for a dead-letter queue.
    dead_letters: Option<Arc<Self>>,
    dead_letter_on_expiration: bool,
    shared: Shared,
}

/// What makes a queue.
#[derive(Debug)]
pub struct QueueOptions {
    /// Its name, for people.
    pub name: String,
    /// A number that no other queue of this run has.
    pub id: u32,
    /// What marks its lock tokens.
    pub token_mark: u32,
    /// How messages are treated.
    pub settings: Settings,
    /// Whether expired messages go to the dead-letter queue.
    pub dead_letter_on_expiration: bool,
    /// Where dead letters go.
    pub dead_letters: Option<Arc<Queue>>,
}

impl Queue {
    /// An empty queue.
    pub fn new(options: QueueOptions, shared: Shared) -> Arc<Self> {
        let inner = Inner {
            engine: Engine::new(options.settings, options.token_mark),
            waiters: VecDeque::new(),
            totals: Totals::default(),
            armed_us: NEVER,
        };
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            name: options.name,
            id: options.id,
            inner: Mutex::new(inner),
            dead_letters: options.dead_letters,
            dead_letter_on_expiration: options.dead_letter_on_expiration,
            shared,
        })
    }

    /// The queue's name as it was configured.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The queue's dead-letter queue; none for one that is.
    pub const fn dead_letters(&self) -> Option<&Arc<Self>> {
        self.dead_letters.as_ref()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has to follow every change: dead letters go where they belong, waiters are told, the timer is set.
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
            self.shared.timer.arm(deadline_us, self.id, self.this.clone());
        }
        if !departures.is_empty() {
            departures.into_iter().for_each(|departure| self.depart(now_us, departure));
        }
    }

    /// Wakes as many waiters as there are messages for, each once.
    fn wake(&self, inner: &mut Inner, messages: usize) {
        let active = usize::try_from(inner.engine.counts().active).unwrap_or(usize::MAX);
        let count = messages.min(active).min(inner.waiters.len());
        for waiter in inner.waiters.drain(..count) {
            waiter.wake.ring(waiter.link);
        }
    }

    /// A message that left by itself: to the dead-letter queue, or nowhere.
    fn depart(&self, now_us: Micros, departure: Departure) {
        let words = |reason: &str, description: String| {
            Map::new()
                .with_string(DEAD_LETTER_REASON, reason.into())
                .with_string(DEAD_LETTER_DESCRIPTION, description.as_str().into())
        };
        let recorder = &self.shared.recorder;
        let properties = match departure.reason {
            DepartureReason::Expired if !self.dead_letter_on_expiration || self.dead_letters.is_none() => {
                recorder.ended(departure.tag, Outcome::Expired);
                return;
            }
            DepartureReason::Expired => {
                words("TTLExpiredException", "The message expired and was dead lettered.".to_owned())
            }
            DepartureReason::DeliveredTooOften(times) => words(
                "MaxDeliveryCountExceeded",
                format!("Message could not be consumed after {times} delivery attempts."),
            ),
            DepartureReason::DeadLettered => Map::new(),
        };
        recorder.ended(departure.tag, Outcome::DeadLettered);
        self.move_to_dead_letters(now_us, departure, &properties);
    }

    fn move_to_dead_letters(&self, now_us: Micros, departure: Departure, properties: &Map) {
        let Some(dead_letters) = &self.dead_letters else { return };
        self.lock().totals.dead_lettered += 1;
        let content = message::amend(&departure.content, properties, Some(departure.sequence_number));
        let moved = NewMessage {
            content,
            time_to_live_us: NEVER,
            due_us: None,
            delivery_count: departure.delivery_count,
            enqueued_us: Some(departure.enqueued_us),
            tag: NO_ROW,
        };
        let mut inner = dead_letters.lock();
        inner.engine.enqueue(now_us, moved);
        dead_letters.finish(now_us, inner, 1);
    }

    /// Takes messages in, all or none. Returns their sequence numbers.
    pub fn send(&self, now_us: Micros, messages: impl IntoIterator<Item = Incoming>) -> Vec<u64> {
        let recording = self.is_recorded();
        let mut inner = self.lock();
        let numbers: Vec<u64> = messages
            .into_iter()
            .map(|incoming| self.enqueue(&mut inner, now_us, incoming, recording))
            .collect();
        self.finish(now_us, inner, numbers.len());
        numbers
    }

    /// Takes one message in.
    pub fn send_one(&self, now_us: Micros, incoming: Incoming) {
        let recording = self.is_recorded();
        let mut inner = self.lock();
        self.enqueue(&mut inner, now_us, incoming, recording);
        self.finish(now_us, inner, 1);
    }

    fn enqueue(&self, inner: &mut Inner, now_us: Micros, incoming: Incoming, recording: bool) -> u64 {
        let tag = if recording {
            let due_us = incoming.due_us.unwrap_or(now_us);
            self.shared.recorder.arrived(&self.name, &incoming.content, now_us, due_us)
        } else {
            NO_ROW
        };
        let message = NewMessage {
            content: incoming.content,
            time_to_live_us: incoming.time_to_live_us,
            due_us: incoming.due_us,
            delivery_count: 0,
            enqueued_us: None,
            tag,
        };
        let sequence_number = inner.engine.enqueue(now_us, message);
        inner.totals.enqueued += 1;
        if recording {
            self.shared.recorder.numbered(tag, sequence_number);
        }
        sequence_number
    }

    /// Dead-letter queues are not recorded: a row is a message's life in the queue it was sent to.
    fn is_recorded(&self) -> bool {
        self.dead_letters.is_some() && self.shared.recorder.is_on()
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
        mode: ReceiveMode,
        deliver: impl FnOnce(&Delivery<'_>) -> R,
    ) -> Option<R> {
        let recording = self.is_recorded();
        let mut inner = self.lock();
        let found = inner.engine.receive_deferred(now_us, sequence_number, mode, |delivery| {
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
            self.move_to_dead_letters(now_us, departure, &properties);
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
            Ok((!properties.is_empty()).then(|| message::amend(&content, &properties, None)))
        };
        let (settlement, outcome) = match decision {
            Decision::Complete => (Settlement::Complete, Some(Outcome::Completed)),
            Decision::Release => (Settlement::Release, None),
            Decision::Abandon(properties) => (Settlement::Abandon(amended(properties)?), None),
            Decision::Defer(properties) => (Settlement::Defer(amended(properties)?), None),
            // A dead letter that is dead-lettered stays where it is, as if it had been set down again.
            Decision::DeadLetter(properties) if self.dead_letters.is_none() => {
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

    /// Shows up to `max` messages from a sequence number on, in any state, until `show` says stop.
    pub fn peek(
        &self,
        now_us: Micros,
        from_sequence_number: u64,
        max: usize,
        show: impl FnMut(&Delivery<'_>) -> ControlFlow<()>,
    ) {
        let mut inner = self.lock();
        inner.engine.peek(now_us, from_sequence_number, max, show);
        self.finish(now_us, inner, usize::MAX);
    }

    /// Removes up to `max` messages that could be delivered and came in before an instant. Returns how many.
    pub fn delete_before(&self, now_us: Micros, before_us: Micros, max: usize) -> usize {
        let mut inner = self.lock();
        let gone = inner.engine.delete_before(now_us, before_us, max);
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

    /// What a message of this queue whose lock is lost is called in an error.
    pub fn describe_lost_lock(&self) -> String {
        format!(
            "The lock supplied is invalid. Either the lock expired, or the message has already been removed from \
             the queue '{}'.",
            self.name
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
