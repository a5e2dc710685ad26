//! Attaching links: what is at this end, and the answer, which repeats what the client asked for.
//!
//! It must not look into entities; the broker finds them, and [`super::accept`] has their sessions accepted.

use amqp::performative::Error;
use amqp::performative::{AnyTarget, Attach, Role, Source, Target};
use amqp::{Frame, Map};

use super::accept;
use super::context::Context;
use super::error::{Fatal, condition};
use super::link::{Incoming, Link, Node, Outgoing, Responder};
use super::session::Session;
use crate::broker::address::Address;
use crate::broker::entity::{Entity, Kind};
use crate::config::EntityStatus;
use crate::limits::{HANDLE_MAX, NAME_CHARS_MAX};

impl Session {
    /// Works off an attach: answers it, and refuses in the answer what cannot be had.
    ///
    /// # Errors
    /// When the handle cannot be used.
    pub fn on_attach(&mut self, context: &mut Context, attach: Attach) -> Result<(), Fatal> {
        let handle = attach.handle;
        if handle > HANDLE_MAX {
            let words = format!("handle {handle} is above the agreed {HANDLE_MAX}");
            return Err(Fatal::new(condition::FRAMING_ERROR, words));
        }
        if self.links.contains_key(&handle) {
            return Err(Fatal::new(condition::HANDLE_IN_USE, format!("handle {handle} is in use")));
        }
        match find_node(context, &attach) {
            Ok(Node::Entity(entity)) if attach.role == Role::Receiver && entity.requires_session() => {
                self.begin_accept(context, attach, entity);
            }
            Ok(node) => {
                let (answer, link) = accept(context, &attach, node);
                Frame::put(&mut context.out, self.channel, &answer.into());
                self.links.insert(handle, Box::new(link));
                self.replenish(context, handle, true);
            }
            Err(error) => self.refuse(context, &attach, error),
        }
        Ok(())
    }

    /// Refuses a link, telling why.
    pub(super) fn refuse(&mut self, context: &mut Context, attach: &Attach, error: Error) {
        Frame::put(&mut context.out, self.channel, &refusal(attach).into());
        self.links.insert(attach.handle, Box::new(Link::Ended));
        self.end_link(context, attach.handle, error);
    }
}

/// What the broker's end of a link is.
fn find_node(context: &Context, attach: &Attach) -> Result<Node, Error> {
    let address = match (attach.role, &attach.target) {
        (Role::Sender, Some(AnyTarget::Coordinator(_))) => {
            return Err(Error::new(condition::NOT_IMPLEMENTED, "Transactions are not implemented."));
        }
        (Role::Sender, Some(AnyTarget::Node(target))) => target.address(),
        (Role::Receiver, _) => attach.source.as_ref().and_then(Source::address),
        (Role::Sender, None) => None,
    };
    let address = address.unwrap_or_default();
    let not_found = || {
        // An address may be as long as a frame, and the error has to fit one.
        let address: String = address.chars().take(NAME_CHARS_MAX).collect();
        let words = format!("The messaging entity '{address}' could not be found.");
        Error::new(condition::NOT_FOUND, words)
    };
    match Address::parse(address).ok_or_else(not_found)? {
        Address::Cbs => Ok(Node::Responder(Responder::Cbs)),
        Address::Management(path) => {
            let entity = context.broker.find(&path).ok_or_else(not_found)?;
            Ok(Node::Responder(Responder::Management(entity)))
        }
        Address::Entity(path) => {
            let entity = context.broker.find(&path).ok_or_else(not_found)?;
            match attach.role {
                Role::Sender => can_send(&entity)?,
                Role::Receiver => can_receive(&entity, attach)?,
            }
            Ok(Node::Entity(entity))
        }
    }
}

fn not_allowed(words: String) -> Result<(), Error> {
    Err(Error::new(condition::NOT_ALLOWED, words))
}

fn can_send(entity: &Entity) -> Result<(), Error> {
    let name = entity.name();
    match (entity.kind(), entity.status()) {
        (Kind::DeadLetters, _) => {
            not_allowed(format!("Messages cannot be sent to the dead-letter queue '{name}'."))
        }
        (Kind::Subscription(_), _) => not_allowed(format!(
            "Messages cannot be sent to the subscription '{name}'; send them to its topic."
        )),
        (_, EntityStatus::Disabled | EntityStatus::SendDisabled) => {
            let words = format!("The messaging entity '{name}' is disabled for sending.");
            Err(Error::new(condition::ENTITY_DISABLED, words))
        }
        _ => Ok(()),
    }
}

fn can_receive(entity: &Entity, attach: &Attach) -> Result<(), Error> {
    let name = entity.name();
    let wants_session = accept::session_filter(attach).is_some();
    match (entity.kind(), entity.status()) {
        (Kind::Topic(_), _) => {
            not_allowed(format!("Messages cannot be received from the topic '{name}'; use a subscription."))
        }
        (_, EntityStatus::Disabled | EntityStatus::ReceiveDisabled) => {
            let words = format!("The messaging entity '{name}' is disabled for receiving.");
            Err(Error::new(condition::ENTITY_DISABLED, words))
        }
        _ if entity.passes_on() => not_allowed(format!(
            "Messages cannot be received from the entity '{name}', for it passes them on."
        )),
        _ if wants_session && !entity.requires_session() => not_allowed(format!(
            "A sessionful message receiver cannot be created on the entity '{name}' as it does not require sessions."
        )),
        _ if !wants_session && entity.requires_session() => not_allowed(format!(
            "It is not possible for an entity that requires sessions to create a non-sessionful message receiver: '{name}'."
        )),
        _ => Ok(()),
    }
}

/// The answer to an attach, as far as it repeats the question.
fn answer(attach: &Attach) -> Attach {
    Attach {
        name: attach.name.clone(),
        handle: attach.handle,
        role: attach.role.peer(),
        snd_settle_mode: attach.snd_settle_mode,
        rcv_settle_mode: attach.rcv_settle_mode,
        source: None,
        target: None,
        unsettled: None,
        incomplete_unsettled: None,
        initial_delivery_count: (attach.role == Role::Receiver).then_some(0),
        max_message_size: None,
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    }
}

/// The answer without a terminus, which a detach follows (part 2, §2.6.3).
pub(super) fn refusal(attach: &Attach) -> Attach {
    answer(attach)
}

/// The answer to an attach, and the link.
pub(super) fn accept(context: &Context, attach: &Attach, node: Node) -> (Attach, Link) {
    let mut reply = answer(attach);
    reply.source = Some(attach.source.clone().unwrap_or_default());
    reply.target = Some(attach.target.clone().unwrap_or(AnyTarget::Node(Target::default())));
    reply.properties = Some(Map::new());
    let link = match attach.role {
        Role::Sender => {
            reply.max_message_size = u64::try_from(context.max_message_bytes).ok();
            Link::Incoming(Incoming::new(attach, node))
        }
        Role::Receiver => {
            let target = match &attach.target {
                Some(AnyTarget::Node(target)) => target.address().map(str::to_owned),
                _ => None,
            };
            Link::Outgoing(Outgoing::new(attach, node, target))
        }
    };
    (reply, link)
}
