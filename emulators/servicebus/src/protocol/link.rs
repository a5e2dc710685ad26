//! The kinds of link: on which a client sends, on which it receives, and on which it will when there is a session for it.
//!
//! It must not write frames; sessions do.

use std::collections::VecDeque;
use std::sync::Arc;

use amqp::performative::{Attach, SenderSettleMode};
use bytes::{Bytes, BytesMut};

use crate::broker::entity::Entity;
use crate::broker::idle::Hold;
use crate::engine::{Micros, ReceiveMode, SessionLock};
use crate::limits::{REPLIES_PENDING_BYTES_MAX, REPLIES_PENDING_MAX, SENDER_CREDIT};

/// What answers requests.
#[derive(Debug, Clone)]
pub enum Responder {
    /// The node that takes tokens.
    Cbs,
    /// The management node of an entity.
    Management(Arc<Entity>),
}

impl Responder {
    /// Whether two are the same node.
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Cbs, Self::Cbs) => true,
            (Self::Management(entity), Self::Management(other)) => Arc::ptr_eq(entity, other),
            _ => false,
        }
    }
}

/// What is at the broker's end of a link.
#[derive(Debug, Clone)]
pub enum Node {
    /// An entity.
    Entity(Arc<Entity>),
    /// A node that answers requests.
    Responder(Responder),
}

impl Node {
    fn hold(&self) -> Option<Hold> {
        match self {
            Self::Entity(entity) => Hold::on(entity),
            Self::Responder(_) => None,
        }
    }
}

/// A delivery of which not all frames are there.
#[derive(Debug)]
pub struct Partial {
    /// Its id.
    pub delivery_id: u32,
    /// Its message format.
    pub format: u32,
    /// Whether its sender has settled it.
    pub settled: bool,
    /// What is there; none when it is too large to be kept.
    pub payload: Option<BytesMut>,
}

/// A link on which the client sends.
#[derive(Debug)]
pub struct Incoming {
    /// Where its messages go.
    pub node: Node,
    /// Messages that may still come.
    pub credit: u32,
    /// Messages that came.
    pub delivery_count: u32,
    /// A message of which more frames follow.
    pub partial: Option<Partial>,
    _hold: Option<Hold>,
}

impl Incoming {
    /// A link that has just been attached.
    pub fn new(attach: &Attach, node: Node) -> Self {
        let delivery_count = attach.initial_delivery_count.unwrap_or(0);
        let hold = node.hold();
        Self { node, credit: SENDER_CREDIT, delivery_count, partial: None, _hold: hold }
    }
}

/// A link on which the client receives.
#[derive(Debug)]
pub struct Outgoing {
    /// Its name.
    pub name: String,
    /// Where its messages come from.
    pub node: Node,
    /// The client's end, where that has an address: where answers are sent.
    pub target: Option<String>,
    /// Whether deliveries are settled as they are sent.
    pub settled: bool,
    /// Messages that may still be sent.
    pub credit: u32,
    /// Messages that were sent.
    pub delivery_count: u32,
    /// Whether the client wants its credit used up.
    pub drain: bool,
    /// Whether the entity knows that this link waits.
    pub waiting: bool,
    /// The session whose messages it gets, where messages belong to sessions.
    pub session: Option<SessionLock>,
    answers: VecDeque<Bytes>,
    answer_bytes: usize,
    _hold: Option<Hold>,
}

impl Outgoing {
    /// A link that has just been attached.
    pub fn new(attach: &Attach, node: Node, target: Option<String>) -> Self {
        let settled = match node {
            Node::Entity(_) => attach.snd_settle_mode == SenderSettleMode::Settled,
            Node::Responder(_) => attach.snd_settle_mode != SenderSettleMode::Unsettled,
        };
        Self {
            name: attach.name.clone(),
            _hold: node.hold(),
            node,
            session: None,
            target,
            settled,
            credit: 0,
            delivery_count: 0,
            drain: false,
            waiting: false,
            answers: VecDeque::new(),
            answer_bytes: 0,
        }
    }

    /// How messages are taken from the entity.
    pub const fn mode(&self) -> ReceiveMode {
        if self.settled { ReceiveMode::ReceiveAndDelete } else { ReceiveMode::PeekLock }
    }

    /// Notes a message that was sent.
    pub fn sent(&mut self, count: u32) {
        self.credit = self.credit.saturating_sub(count);
        self.delivery_count = self.delivery_count.wrapping_add(count);
    }

    /// Has an answer sent as soon as there is credit. Returns false when too many wait already.
    pub fn push_answer(&mut self, answer: Bytes) -> bool {
        let fits = self.answers.len() < REPLIES_PENDING_MAX && self.answer_bytes < REPLIES_PENDING_BYTES_MAX;
        if fits {
            self.answer_bytes += answer.len();
            self.answers.push_back(answer);
        }
        fits
    }

    /// The next answer for which there is credit.
    pub fn pop_answer(&mut self) -> Option<Bytes> {
        if self.credit == 0 {
            return None;
        }
        let answer = self.answers.pop_front()?;
        self.answer_bytes -= answer.len();
        self.sent(1);
        Some(answer)
    }
}

/// A link whose client waits for a session.
#[derive(Debug)]
pub struct Accepting {
    /// What the client asked for.
    pub attach: Attach,
    /// Where the session is to come from.
    pub entity: Arc<Entity>,
    /// How long it waits.
    pub deadline_us: Micros,
    /// The credit that it has given already, and whether it wants that used up.
    pub credit: Option<(u32, bool)>,
    _hold: Option<Hold>,
}

impl Accepting {
    /// A link that begins to wait.
    pub fn new(attach: Attach, entity: Arc<Entity>, deadline_us: Micros) -> Self {
        let hold = Hold::on(&entity);
        Self { attach, entity, deadline_us, credit: None, _hold: hold }
    }
}

/// A link, by its handle.
#[derive(Debug)]
pub enum Link {
    /// The client waits for a session, and has no answer yet.
    Accepting(Box<Accepting>),
    /// The client sends.
    Incoming(Incoming),
    /// The client receives.
    Outgoing(Outgoing),
    /// It was refused or ended here; what the client sent before it learns of that is passed over.
    Ended,
}
