//! The engine against a model that knows no data structure but a list: any sequence of operations, in virtual time, has
//! the same effects on both, and no message is lost or doubled.

use std::ops::ControlFlow;
use std::sync::Arc;

use proptest::prelude::*;
use servicebus_emulator::engine::{
    Counts, DepartureReason, Engine, LockToken, Micros, NEVER, NewMessage, ReceiveMode, Settings, Settlement,
    State,
};

const LOCK_US: u64 = 10;
const MAX_DELIVERY_COUNT: u32 = 3;
const SETTINGS: Settings = Settings {
    lock_us: LOCK_US,
    time_to_live_us: NEVER,
    max_delivery_count: MAX_DELIVERY_COUNT,
    requires_session: false,
    passes_on: false,
};

#[derive(Debug, Clone)]
enum Operation {
    Wait(u64),
    Send { lives_us: Option<u64>, due_in_us: Option<u64> },
    Receive { max: usize, mode: ReceiveMode },
    Settle { which: prop::sample::Index, how: How },
    Renew { which: prop::sample::Index },
    Cancel { which: prop::sample::Index },
    ReceiveDeferred { which: prop::sample::Index, mode: ReceiveMode },
    DeleteBefore { ago_us: u64, max: usize },
}

#[derive(Debug, Clone, Copy)]
enum How {
    Complete,
    Abandon,
    Release,
    Defer,
    DeadLetter,
}

fn operation() -> impl Strategy<Value = Operation> {
    let mode = prop_oneof![3 => Just(ReceiveMode::PeekLock), 1 => Just(ReceiveMode::ReceiveAndDelete)];
    let how = prop_oneof![
        Just(How::Complete),
        Just(How::Abandon),
        Just(How::Release),
        Just(How::Defer),
        Just(How::DeadLetter)
    ];
    let which = any::<prop::sample::Index>;
    prop_oneof![
        4 => (0_u64..8).prop_map(Operation::Wait),
        5 => (proptest::option::weighted(0.4, 0_u64..60), proptest::option::weighted(0.3, 0_u64..25))
            .prop_map(|(lives_us, due_in_us)| Operation::Send { lives_us, due_in_us }),
        5 => (1_usize..4, mode.clone()).prop_map(|(max, mode)| Operation::Receive { max, mode }),
        5 => (which(), how).prop_map(|(which, how)| Operation::Settle { which, how }),
        2 => which().prop_map(|which| Operation::Renew { which }),
        1 => which().prop_map(|which| Operation::Cancel { which }),
        2 => (which(), mode).prop_map(|(which, mode)| Operation::ReceiveDeferred { which, mode }),
        1 => (0_u64..20, 0_usize..3).prop_map(|(ago_us, max)| Operation::DeleteBefore { ago_us, max }),
    ]
}

#[derive(Debug, Clone, PartialEq)]
struct Message {
    sequence_number: u64,
    content: u64,
    state: State,
    delivery_count: u32,
    enqueued_us: Micros,
    /// How long it lives, once it is active.
    lives_us: u64,
    expires_us: Micros,
    /// When it is due, or its lock ends.
    until_us: Micros,
    token: Option<LockToken>,
}

/// What left: content and why.
type Gone = (u64, DepartureReason);

#[derive(Debug)]
struct Model {
    time_to_live_us: u64,
    now_us: Micros,
    next: u64,
    messages: Vec<Message>,
    gone: Vec<Gone>,
}

impl Model {
    fn is_locked(message: &Message) -> bool {
        matches!(message.state, State::Locked | State::DeferredLocked)
    }

    /// What happens by itself up to now: first what is due, then locks that end, then lives that do.
    fn advance(&mut self) {
        let now_us = self.now_us;
        let mut due: Vec<_> =
            self.messages.extract_if(.., |m| m.state == State::Scheduled && m.until_us <= now_us).collect();
        due.sort_by_key(|message| (message.until_us, message.sequence_number));
        due.into_iter().for_each(|message| self.activate(message));
        let ended: Vec<_> = self
            .messages
            .iter()
            .filter(|m| Self::is_locked(m) && m.until_us <= now_us)
            .map(|m| m.sequence_number)
            .collect();
        ended.into_iter().for_each(|sequence_number| self.unlock(sequence_number, true));
        let expired = self
            .messages
            .extract_if(.., |m| matches!(m.state, State::Active | State::Deferred) && m.expires_us <= now_us);
        self.gone.extend(expired.map(|message| (message.content, DepartureReason::Expired)));
    }

    fn activate(&mut self, message: Message) {
        let sequence_number = self.next;
        self.next += 1;
        let (state, enqueued_us) = (State::Active, self.now_us);
        let expires_us = enqueued_us.saturating_add(message.lives_us);
        self.messages.push(Message { sequence_number, state, enqueued_us, expires_us, ..message });
    }

    fn send(&mut self, content: u64, lives_us: u64, due_us: Option<Micros>) {
        let message = Message {
            sequence_number: self.next,
            content,
            state: State::Scheduled,
            delivery_count: 0,
            enqueued_us: self.now_us,
            lives_us: lives_us.min(self.time_to_live_us),
            expires_us: NEVER,
            until_us: due_us.unwrap_or(0),
            token: None,
        };
        if due_us.is_some_and(|due_us| due_us > self.now_us) {
            self.next += 1;
            self.messages.push(message);
        } else {
            self.activate(message);
        }
    }

    fn at(&mut self, sequence_number: u64) -> &mut Message {
        let found = self.messages.iter_mut().find(|m| m.sequence_number == sequence_number);
        found.expect("it was just found")
    }

    fn take(&mut self, sequence_number: u64) -> Message {
        let at = self.messages.iter().position(|m| m.sequence_number == sequence_number);
        self.messages.remove(at.expect("it was just found"))
    }

    fn first(&self, state: State) -> Option<u64> {
        let numbers = self.messages.iter().filter(|m| m.state == state).map(|m| m.sequence_number);
        numbers.min()
    }

    /// Ends a lock; `failed` when the delivery was in vain.
    fn unlock(&mut self, sequence_number: u64, failed: bool) {
        let now_us = self.now_us;
        let message = self.at(sequence_number);
        let deferred = message.state == State::DeferredLocked;
        message.state = if deferred { State::Deferred } else { State::Active };
        message.token = None;
        let (content, count) = (message.content, message.delivery_count);
        if message.expires_us <= now_us {
            self.take(sequence_number);
            self.gone.push((content, DepartureReason::Expired));
        } else if failed && !deferred && count >= MAX_DELIVERY_COUNT {
            self.take(sequence_number);
            self.gone.push((content, DepartureReason::DeliveredTooOften(count)));
        }
    }

    /// The message under a lock that holds.
    fn locked(&self, token: LockToken) -> Option<u64> {
        self.messages.iter().find(|m| m.token == Some(token)).map(|m| m.sequence_number)
    }

    fn settle(&mut self, token: LockToken, how: How) -> bool {
        let Some(sequence_number) = self.locked(token) else { return false };
        match how {
            How::Complete => drop(self.take(sequence_number)),
            How::DeadLetter => {
                let content = self.take(sequence_number).content;
                self.gone.push((content, DepartureReason::DeadLettered));
            }
            How::Abandon => self.unlock(sequence_number, true),
            How::Release => {
                self.at(sequence_number).delivery_count -= 1;
                self.unlock(sequence_number, false);
            }
            How::Defer => {
                self.at(sequence_number).state = State::DeferredLocked;
                self.unlock(sequence_number, false);
            }
        }
        true
    }

    /// The earliest instant at which something happens by itself.
    fn next_event_us(&self) -> Micros {
        let event = |m: &Message| match m.state {
            State::Scheduled | State::Locked | State::DeferredLocked => m.until_us,
            State::Active | State::Deferred => m.expires_us,
        };
        self.messages.iter().map(event).min().unwrap_or(NEVER)
    }

    fn counts(&self) -> Counts {
        let count = |wanted: &[State]| {
            let found = self.messages.iter().filter(|m| wanted.contains(&m.state)).count();
            u64::try_from(found).expect("few")
        };
        Counts {
            active: count(&[State::Active]),
            locked: count(&[State::Locked, State::DeferredLocked]),
            deferred: count(&[State::Deferred]),
            scheduled: count(&[State::Scheduled]),
        }
    }
}

/// Engine and model side by side.
struct Pair {
    engine: Engine,
    model: Model,
    /// Every token that was ever given, also of locks that ended.
    tokens: Vec<LockToken>,
    sent: u64,
    gone: Vec<Gone>,
}

fn number(content: &[u8]) -> u64 {
    u64::from_be_bytes(content.try_into().expect("eight bytes"))
}

impl Pair {
    fn new(time_to_live_us: u64) -> Self {
        let settings = Settings { time_to_live_us, ..SETTINGS };
        let model = Model { time_to_live_us, now_us: 1000, next: 1, messages: Vec::new(), gone: Vec::new() };
        Self { engine: Engine::new(settings, 7), model, tokens: Vec::new(), sent: 0, gone: Vec::new() }
    }

    fn token(&self, which: prop::sample::Index) -> Option<LockToken> {
        (!self.tokens.is_empty()).then(|| *which.get(&self.tokens))
    }

    /// Any number that was given, and a few that were not.
    fn sequence_number(&self, which: prop::sample::Index) -> u64 {
        which.index(usize::try_from(self.model.next).expect("few") + 2) as u64
    }

    fn apply(&mut self, operation: &Operation) -> Result<(), TestCaseError> {
        if let Operation::Wait(us) = operation {
            self.model.now_us += us;
        }
        self.model.advance();
        let now_us = self.model.now_us;
        match *operation {
            Operation::Wait(_) => self.engine.advance(now_us),
            Operation::Send { lives_us, due_in_us } => {
                self.sent += 1;
                let (lives_us, due_us) = (lives_us.unwrap_or(NEVER), due_in_us.map(|us| now_us + us));
                let message = NewMessage {
                    content: Arc::from(&self.sent.to_be_bytes()[..]),
                    time_to_live_us: lives_us,
                    due_us,
                    delivery_count: 0,
                    enqueued_us: None,
                    session: None,
                    tag: 0,
                };
                let expected = self.model.next;
                prop_assert_eq!(self.engine.enqueue(now_us, message), expected);
                self.model.send(self.sent, lives_us, due_us);
            }
            Operation::Receive { max, mode } => self.receive(max, mode)?,
            Operation::Settle { which, how } => self.settle(which, how)?,
            Operation::Renew { which } => {
                if let Some(token) = self.token(which) {
                    let locked = self.model.locked(token);
                    let expected = locked.map(|_| now_us + LOCK_US);
                    prop_assert_eq!(self.engine.renew(now_us, token).ok(), expected);
                    if let Some(sequence_number) = locked {
                        self.model.at(sequence_number).until_us = now_us + LOCK_US;
                    }
                }
            }
            Operation::Cancel { which } => {
                let number = self.sequence_number(which);
                let scheduled = |m: &Message| m.sequence_number == number && m.state == State::Scheduled;
                let expected = self.model.messages.iter().any(scheduled);
                prop_assert_eq!(self.engine.cancel(now_us, number).is_some(), expected);
                self.model.messages.retain(|m| !scheduled(m));
            }
            Operation::ReceiveDeferred { which, mode } => self.receive_deferred(which, mode)?,
            Operation::DeleteBefore { ago_us, max } => {
                let before_us = now_us - ago_us;
                let deleted = self.engine.delete_before(now_us, before_us, max, None).len();
                let deletable = |m: &&Message| m.state == State::Active && m.enqueued_us < before_us;
                let mut expected: Vec<_> =
                    self.model.messages.iter().filter(deletable).map(|m| m.sequence_number).collect();
                expected.sort_unstable();
                expected.truncate(max);
                prop_assert_eq!(deleted, expected.len());
                self.model.messages.retain(|m| !expected.contains(&m.sequence_number));
            }
        }
        self.compare()
    }

    fn receive(&mut self, max: usize, mode: ReceiveMode) -> Result<(), TestCaseError> {
        let now_us = self.model.now_us;
        let mut delivered = Vec::new();
        let count = self.engine.receive(now_us, max, mode, |delivery| {
            delivered.push((
                delivery.sequence_number,
                number(delivery.content),
                delivery.delivery_count,
                delivery.lock,
            ));
            ControlFlow::Continue(())
        });
        prop_assert_eq!(count, delivered.len());
        for (sequence_number, content, delivery_count, lock) in delivered {
            prop_assert_eq!(self.model.first(State::Active), Some(sequence_number), "the first one comes");
            let message = self.model.at(sequence_number);
            prop_assert_eq!((message.content, message.delivery_count), (content, delivery_count));
            self.delivered(sequence_number, mode, lock)?;
        }
        if count < max {
            prop_assert_eq!(self.model.first(State::Active), None, "nothing is held back");
        }
        Ok(())
    }

    fn receive_deferred(
        &mut self,
        which: prop::sample::Index,
        mode: ReceiveMode,
    ) -> Result<(), TestCaseError> {
        let (now_us, number) = (self.model.now_us, self.sequence_number(which));
        let lock = self.engine.receive_deferred(now_us, number, None, mode, |delivery| delivery.lock);
        let expected =
            self.model.messages.iter().any(|m| m.sequence_number == number && m.state == State::Deferred);
        prop_assert_eq!(lock.is_some(), expected);
        lock.map_or(Ok(()), |lock| self.delivered(number, mode, lock))
    }

    /// Notes in the model what a delivery did.
    fn delivered(
        &mut self,
        sequence_number: u64,
        mode: ReceiveMode,
        lock: Option<(LockToken, Micros)>,
    ) -> Result<(), TestCaseError> {
        let until_us = self.model.now_us + LOCK_US;
        let Some((token, locked_until_us)) = lock else {
            prop_assert_eq!(mode, ReceiveMode::ReceiveAndDelete);
            self.model.take(sequence_number);
            return Ok(());
        };
        prop_assert_eq!((mode, locked_until_us), (ReceiveMode::PeekLock, until_us));
        prop_assert!(!self.tokens.contains(&token), "a token is given once");
        self.tokens.push(token);
        let message = self.model.at(sequence_number);
        message.state = if message.state == State::Deferred { State::DeferredLocked } else { State::Locked };
        message.delivery_count += 1;
        (message.until_us, message.token) = (until_us, Some(token));
        Ok(())
    }

    fn settle(&mut self, which: prop::sample::Index, how: How) -> Result<(), TestCaseError> {
        let Some(token) = self.token(which) else { return Ok(()) };
        let now_us = self.model.now_us;
        let done = match how {
            How::DeadLetter => {
                let departure = self.engine.dead_letter(now_us, token);
                self.gone.extend(departure.iter().map(|gone| (number(&gone.content), gone.reason)));
                departure.is_ok()
            }
            How::Complete => self.engine.settle(now_us, token, Settlement::Complete).is_ok(),
            How::Abandon => self.engine.settle(now_us, token, Settlement::Abandon(None)).is_ok(),
            How::Release => self.engine.settle(now_us, token, Settlement::Release).is_ok(),
            How::Defer => self.engine.settle(now_us, token, Settlement::Defer(None)).is_ok(),
        };
        prop_assert_eq!(done, self.model.settle(token, how));
        Ok(())
    }

    /// Both have the same messages in the same states, and the same ones have left.
    fn compare(&mut self) -> Result<(), TestCaseError> {
        self.model.advance();
        let mut seen = Vec::new();
        self.engine.peek(self.model.now_us, 0, usize::MAX, None, |delivery| {
            let content = number(delivery.content);
            seen.push((
                delivery.sequence_number,
                content,
                delivery.state,
                delivery.delivery_count,
                delivery.enqueued_us,
            ));
            ControlFlow::Continue(())
        });
        let mut expected: Vec<_> = self
            .model
            .messages
            .iter()
            .map(|m| (m.sequence_number, m.content, m.state, m.delivery_count, m.enqueued_us))
            .collect();
        expected.sort_unstable_by_key(|message| message.0);
        prop_assert_eq!(seen, expected);
        prop_assert_eq!(self.engine.counts(), self.model.counts());
        let departures = self.engine.take_departures();
        self.gone.extend(departures.iter().map(|gone| (number(&gone.content), gone.reason)));
        let order = |gone: &Gone| gone.0;
        self.gone.sort_by_key(order);
        self.model.gone.sort_by_key(order);
        prop_assert_eq!(&self.gone, &self.model.gone);
        let deadline_us = self.engine.deadline_us();
        prop_assert!(deadline_us <= self.model.next_event_us(), "nothing happens before the deadline");
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_operations_do_what_the_model_says(
        time_to_live_us in prop_oneof![Just(NEVER), Just(30_u64)],
        operations in proptest::collection::vec(operation(), 1..120),
    ) {
        let mut pair = Pair::new(time_to_live_us);
        for operation in &operations {
            pair.apply(operation)?;
        }
        // When time has gone by, nothing is locked or scheduled; without a limit on life the rest is still there.
        pair.apply(&Operation::Wait(1_000_000))?;
        let counts = pair.engine.counts();
        prop_assert_eq!((counts.locked, counts.scheduled), (0, 0));
    }
}

fn engine(lock_us: u64) -> Engine {
    Engine::new(Settings { lock_us, max_delivery_count: u32::MAX, ..SETTINGS }, 1)
}

fn empty() -> NewMessage {
    NewMessage {
        content: Arc::from(&[][..]),
        time_to_live_us: NEVER,
        due_us: None,
        delivery_count: 0,
        enqueued_us: None,
        session: None,
        tag: 0,
    }
}

/// Thousands of events that are due at once are worked off in parts; the deadline says that there is more.
#[test]
fn a_crowd_of_due_messages_comes_in_parts_and_in_order() {
    const MESSAGES: usize = 20_000;
    let mut engine = engine(10);
    for _ in 0..MESSAGES {
        engine.enqueue(0, NewMessage { due_us: Some(100), ..empty() });
    }
    let mut parts = 0;
    while engine.deadline_us() <= 100 {
        engine.advance(100);
        parts += 1;
    }
    assert!(parts > 1, "{parts}");
    let mut last = 0;
    let count = engine.receive(100, usize::MAX, ReceiveMode::ReceiveAndDelete, |delivery| {
        assert!(delivery.sequence_number > last);
        last = delivery.sequence_number;
        ControlFlow::Continue(())
    });
    assert_eq!(count, MESSAGES);
}

#[test]
fn time_does_not_go_back() {
    let mut engine = engine(10);
    engine.enqueue(1000, empty());
    let mut token = None;
    engine.receive(1000, 1, ReceiveMode::PeekLock, |delivery| {
        token = delivery.lock;
        ControlFlow::Continue(())
    });
    // A clock that was set back neither prolongs a lock nor ends it.
    let (token, until_us) = token.expect("a lock");
    assert_eq!(until_us, 1010);
    engine.advance(5);
    assert_eq!(engine.renew(5, token), Ok(1010));
    engine.advance(1010);
    assert!(engine.renew(5, token).is_err());
}
