//! Sessions of the engine against a model: any sequence of operations keeps order, one owner a session, and every message.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use proptest::prelude::*;
use servicebus_emulator::engine::{
    Engine, LockToken, Micros, NEVER, NewMessage, ReceiveMode, SessionLock, Settings, Settlement,
};

const LOCK_US: u64 = 10;
const MAX_DELIVERY_COUNT: u32 = 2;
const IDS: [&str; 3] = ["a", "b", "c"];

#[derive(Debug, Clone)]
enum Operation {
    Wait(u64),
    Send { session: usize, lives_us: Option<u64> },
    Accept { session: Option<usize> },
    Receive { which: prop::sample::Index, max: usize },
    Complete { which: prop::sample::Index },
    Abandon { which: prop::sample::Index },
    Release { which: prop::sample::Index },
    Renew { session: usize },
    SetState { session: usize, state: bool },
}

fn operation() -> impl Strategy<Value = Operation> {
    let session = 0..IDS.len();
    let which = any::<prop::sample::Index>;
    prop_oneof![
        3 => (0_u64..7).prop_map(Operation::Wait),
        5 => (session.clone(), proptest::option::weighted(0.2, 1_u64..30))
            .prop_map(|(session, lives_us)| Operation::Send { session, lives_us }),
        4 => proptest::option::of(session.clone()).prop_map(|session| Operation::Accept { session }),
        5 => (which(), 1_usize..4).prop_map(|(which, max)| Operation::Receive { which, max }),
        4 => which().prop_map(|which| Operation::Complete { which }),
        2 => which().prop_map(|which| Operation::Abandon { which }),
        2 => which().prop_map(|which| Operation::Release { which }),
        2 => session.clone().prop_map(|session| Operation::Renew { session }),
        1 => (session, any::<bool>()).prop_map(|(session, state)| Operation::SetState { session, state }),
    ]
}

#[derive(Debug, Clone)]
struct Message {
    number: u64,
    deliveries: u32,
    expires_us: Micros,
    token: Option<LockToken>,
}

#[derive(Debug, Default)]
struct Session {
    messages: Vec<Message>,
    owner: Option<(SessionLock, Micros)>,
    /// When it got its owner, among all changes.
    owned_since: u64,
    state: bool,
    /// Since which change it has waited for an owner.
    waits_since: Option<u64>,
}

struct Model {
    now_us: Micros,
    changes: u64,
    sessions: BTreeMap<usize, Session>,
    gone: Vec<u64>,
}

impl Model {
    fn advance(&mut self) {
        let now_us = self.now_us;
        let mut ended: Vec<_> = self
            .sessions
            .iter()
            .filter_map(|(id, session)| Some((session.owner?.1, session.owned_since, *id)))
            .filter(|(until_us, ..)| *until_us <= now_us)
            .collect();
        ended.sort_unstable();
        for (_, _, id) in ended {
            self.end(id, true);
            self.settle_turns();
        }
        for session in self.sessions.values_mut() {
            let expired = session.messages.extract_if(.., |m| m.token.is_none() && m.expires_us <= now_us);
            self.gone.extend(expired.map(|message| message.number));
        }
        self.settle_turns();
    }

    fn end(&mut self, id: usize, failed: bool) {
        let now_us = self.now_us;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.owner = None;
        let mut over = Vec::new();
        for message in session.messages.iter_mut().filter(|message| message.token.is_some()) {
            message.token = None;
            message.deliveries -= u32::from(!failed);
            if message.expires_us <= now_us || failed && message.deliveries >= MAX_DELIVERY_COUNT {
                over.push(message.number);
            }
        }
        session.messages.retain(|message| !over.contains(&message.number));
        self.gone.extend(over);
    }

    fn settle_turns(&mut self) {
        for session in self.sessions.values_mut() {
            let waits = session.owner.is_none() && session.messages.iter().any(|m| m.token.is_none());
            match (waits, session.waits_since) {
                (true, None) => {
                    self.changes += 1;
                    session.waits_since = Some(self.changes);
                }
                (false, Some(_)) => session.waits_since = None,
                _ => {}
            }
        }
    }
}

struct Pair {
    engine: Engine,
    model: Model,
    locks: Vec<(usize, SessionLock)>,
    tokens: Vec<LockToken>,
    sent: u64,
}

impl Pair {
    fn new() -> Self {
        let settings = Settings {
            lock_us: LOCK_US,
            time_to_live_us: NEVER,
            max_delivery_count: MAX_DELIVERY_COUNT,
            requires_session: true,
            passes_on: false,
        };
        let model = Model { now_us: 1000, changes: 0, sessions: BTreeMap::new(), gone: Vec::new() };
        Self { engine: Engine::new(settings, 7), model, locks: Vec::new(), tokens: Vec::new(), sent: 0 }
    }

    fn apply(&mut self, operation: &Operation) -> Result<(), TestCaseError> {
        if let Operation::Wait(us) = operation {
            self.model.now_us += us;
        }
        self.model.advance();
        let now_us = self.model.now_us;
        match *operation {
            Operation::Wait(_) => self.engine.advance(now_us),
            Operation::Send { session, lives_us } => {
                self.sent += 1;
                let message = NewMessage {
                    content: Arc::from(&self.sent.to_be_bytes()[..]),
                    time_to_live_us: lives_us.unwrap_or(NEVER),
                    due_us: None,
                    delivery_count: 0,
                    enqueued_us: None,
                    session: Some(IDS[session].to_owned()),
                    tag: 0,
                };
                prop_assert_eq!(self.engine.enqueue(now_us, message), self.sent);
                let expires_us = lives_us.map_or(NEVER, |us| now_us + us);
                let message = Message { number: self.sent, deliveries: 0, expires_us, token: None };
                self.model.sessions.entry(session).or_default().messages.push(message);
            }
            Operation::Accept { session } => self.accept(session)?,
            Operation::Receive { which, max } => self.receive(which, max)?,
            Operation::Complete { which } => self.settle(which, true)?,
            Operation::Abandon { which } => self.settle(which, false)?,
            Operation::Release { which } => {
                if !self.locks.is_empty() {
                    let (id, lock) = *which.get(&self.locks);
                    self.engine.release_session(now_us, lock);
                    let owner = self.model.sessions.get(&id).and_then(|session| session.owner);
                    if owner.is_some_and(|(held, _)| held == lock) {
                        self.model.end(id, false);
                    }
                }
            }
            Operation::Renew { session } => {
                let owner = self.model.sessions.get_mut(&session).and_then(|session| session.owner.as_mut());
                let expected = owner.map(|(_, until_us)| {
                    *until_us = now_us + LOCK_US;
                    *until_us
                });
                prop_assert_eq!(self.engine.renew_session(now_us, IDS[session]).ok(), expected);
            }
            Operation::SetState { session, state } => {
                let content = state.then(|| Arc::from(&b"state"[..]));
                let set = self.engine.set_session_state(now_us, IDS[session], content).is_ok();
                let owned = self.model.sessions.get(&session).is_some_and(|session| session.owner.is_some());
                prop_assert_eq!(set, owned);
                if let Some(session) = self.model.sessions.get_mut(&session).filter(|_| owned) {
                    session.state = state;
                }
            }
        }
        self.model.settle_turns();
        self.compare()
    }

    fn accept(&mut self, session: Option<usize>) -> Result<(), TestCaseError> {
        let now_us = self.model.now_us;
        let accepted = self.engine.accept_session(now_us, session.map(|session| IDS[session]));
        let waiting =
            self.model.sessions.iter().filter_map(|(id, session)| Some((session.waits_since?, *id))).min();
        let expected = session.or(waiting.map(|(_, id)| id));
        let taken = expected.and_then(|id| self.model.sessions.get(&id)).is_some_and(|s| s.owner.is_some());
        prop_assert_eq!(accepted.is_err(), taken);
        if let Ok(accepted) = accepted {
            prop_assert_eq!(accepted.as_ref().map(|session| &*session.id), expected.map(|id| IDS[id]));
            if let (Some(accepted), Some(id)) = (accepted, expected) {
                self.model.changes += 1;
                let session = self.model.sessions.entry(id).or_default();
                session.owner = Some((accepted.lock, now_us + LOCK_US));
                session.owned_since = self.model.changes;
                prop_assert_eq!(accepted.until_us, now_us + LOCK_US);
                self.locks.push((id, accepted.lock));
            }
        }
        Ok(())
    }

    fn receive(&mut self, which: prop::sample::Index, max: usize) -> Result<(), TestCaseError> {
        if self.locks.is_empty() {
            return Ok(());
        }
        let (id, lock) = *which.get(&self.locks);
        let mut got = Vec::new();
        let result =
            self.engine.receive_in_session(self.model.now_us, lock, max, ReceiveMode::PeekLock, |delivery| {
                got.push((delivery.sequence_number, delivery.delivery_count, delivery.lock));
                ControlFlow::Continue(())
            });
        let session = self.model.sessions.entry(id).or_default();
        let owned = session.owner.filter(|(held, _)| *held == lock);
        prop_assert_eq!(result.is_ok(), owned.is_some());
        let Some((_, until_us)) = owned else { return Ok(()) };
        let waiting = session.messages.iter_mut().filter(|m| m.token.is_none()).take(max);
        let mut expected = Vec::new();
        for (message, (_, _, lock)) in waiting.zip(&got) {
            expected.push((message.number, message.deliveries));
            message.deliveries += 1;
            let (token, until) = lock.expect("a lock");
            prop_assert_eq!(until, until_us, "it ends with the session's");
            message.token = Some(token);
            self.tokens.push(token);
        }
        let seen: Vec<_> = got.iter().map(|(number, count, _)| (*number, *count)).collect();
        prop_assert_eq!(seen, expected, "in order");
        let left = session.messages.iter().filter(|m| m.token.is_none()).count();
        prop_assert!(got.len() == max || left == 0, "nothing is held back");
        Ok(())
    }

    fn settle(&mut self, which: prop::sample::Index, complete: bool) -> Result<(), TestCaseError> {
        if self.tokens.is_empty() {
            return Ok(());
        }
        let token = *which.get(&self.tokens);
        let settlement = if complete { Settlement::Complete } else { Settlement::Abandon(None) };
        let settled = self.engine.settle(self.model.now_us, token, settlement).is_ok();
        let now_us = self.model.now_us;
        let sessions = self.model.sessions.values_mut();
        let found = sessions.flat_map(|s| s.messages.iter_mut()).find(|m| m.token == Some(token));
        prop_assert_eq!(settled, found.is_some());
        let Some(message) = found else { return Ok(()) };
        message.token = None;
        let over = complete || message.expires_us <= now_us || message.deliveries >= MAX_DELIVERY_COUNT;
        let number = message.number;
        if over {
            if !complete {
                self.model.gone.push(number);
            }
            self.model.sessions.values_mut().for_each(|s| s.messages.retain(|m| m.number != number));
        }
        Ok(())
    }

    fn compare(&mut self) -> Result<(), TestCaseError> {
        let now_us = self.model.now_us;
        let mut gone: Vec<_> =
            self.engine.take_departures().into_iter().map(|departure| departure.sequence_number).collect();
        let mut expected = std::mem::take(&mut self.model.gone);
        gone.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(gone, expected);
        let waiting = self.model.sessions.values().filter(|session| session.waits_since.is_some()).count();
        prop_assert_eq!(self.engine.waiting_sessions(), waiting);
        let listed = self.engine.session_ids(now_us, None, 0, 10);
        let known = self.model.sessions.iter().filter(|(_, s)| !s.messages.is_empty() || s.state);
        let known: Vec<_> = known.map(|(id, _)| IDS[*id]).collect();
        prop_assert_eq!(listed.iter().map(|id| &**id).collect::<Vec<_>>(), known);
        Ok(())
    }
}

proptest! {
    #[test]
    fn sessions_behave_as_the_model_does(operations in prop::collection::vec(operation(), 1..60)) {
        let mut pair = Pair::new();
        for operation in &operations {
            pair.apply(operation)?;
        }
    }
}
