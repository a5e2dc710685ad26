//! Attaching links: what is at this end, and the answer, which repeats what the client asked for.
//!
//! It must not look into entities; the broker finds them.

use amqp::performative::Error;
use amqp::performative::{AnyTarget, Attach, Role, Source, Target};
use amqp::{Frame, Map};

use super::context::Context;
use super::error::{Fatal, condition};
use super::link::{Incoming, Link, Node, Outgoing, Responder};
use super::session::Session;
use crate::broker::address::Address;
use crate::limits::{HANDLE_MAX, NAME_CHARS_MAX};

/// The filter with which a receiver asks for a session's messages.
const SESSION_FILTER: &str = "com.microsoft:session-filter";

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
        let (answer, link) = match find_node(context, &attach) {
            Ok(node) => accept(context, &attach, node),
            Err(error) => {
                Frame::put(&mut context.out, self.channel, &refusal(&attach).into());
                self.links.insert(handle, Box::new(Link::Ended));
                self.end_link(context, handle, error);
                return Ok(());
            }
        };
        Frame::put(&mut context.out, self.channel, &answer.into());
        self.links.insert(handle, Box::new(link));
        self.replenish(context, handle, true);
        Ok(())
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
            let queue = context.broker.find(&path).ok_or_else(not_found)?;
            Ok(Node::Responder(Responder::Management(queue)))
        }
        Address::Entity(path) => {
            let queue = context.broker.find(&path).ok_or_else(not_found)?;
            let filter = attach.source.as_ref().and_then(|source| source.filter.as_ref());
            if attach.role == Role::Receiver && filter.and_then(|filter| filter.get(SESSION_FILTER)).is_some()
            {
                let words = format!(
                    "A sessionful message receiver cannot be created on the entity '{}' as it does \
                                     not require sessions.",
                    queue.name()
                );
                return Err(Error::new(condition::NOT_ALLOWED, words));
            }
            if attach.role == Role::Sender && queue.dead_letters().is_none() {
                let words = format!("Messages cannot be sent to the dead-letter queue '{}'.", queue.name());
                return Err(Error::new(condition::NOT_ALLOWED, words));
            }
            Ok(Node::Queue(queue))
        }
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
fn refusal(attach: &Attach) -> Attach {
    answer(attach)
}

fn accept(context: &Context, attach: &Attach, node: Node) -> (Attach, Link) {
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
