//! What clients say of messages that they have received, and the answer: the same outcome, or that the lock is lost.
//!
//! Clients compare the answer with what they said, kind by kind, and take an error in it for a failure; a refused message is
//! therefore answered "rejected" without one. It must not know what becomes of a message.

use amqp::Map;
use amqp::performative::{DeliveryState, Disposition, Error, Modified, Rejected, Role};
use amqp::value::Value;

use super::context::Context;
use super::error::{Fatal, condition};
use super::link::{Link, Node, Outgoing};
use super::session::Session;
use super::unsettled::Unsettled;
use crate::broker::entity::{Decision, dead_letter_properties};
use crate::engine::{LockLost, LockToken};
use crate::message::{DEAD_LETTER_DESCRIPTION, DEAD_LETTER_REASON};

impl Session {
    /// Works off a disposition.
    ///
    /// # Errors
    /// When its range is none.
    pub fn on_disposition(&mut self, context: &mut Context, disposition: Disposition) -> Result<(), Fatal> {
        // Deliveries from the client are settled here as they come, so there is nothing left to say of them.
        if disposition.role == Role::Sender {
            return Ok(());
        }
        let first = disposition.first;
        let last = disposition.last.unwrap_or(first);
        if last.wrapping_sub(first).cast_signed() < 0 {
            let words = format!("a disposition of deliveries {first} to {last}");
            return Err(Fatal::new(condition::NOT_ALLOWED, words));
        }
        let (decision, echo) = match disposition.state {
            Some(DeliveryState::Received(_)) => return Ok(()),
            None if !disposition.settled => return Ok(()),
            // Settled without an outcome: the delivery is as if it had not been (part 3, §3.4.4).
            None => (Decision::Release, DeliveryState::Released),
            Some(state) => match decide(state) {
                Ok(decided) => decided,
                Err(error) => {
                    let state = DeliveryState::Rejected(Rejected { error: Some(error) });
                    self.say_echo(context, first, last, state);
                    return Ok(());
                }
            },
        };
        let echoes = !disposition.settled;
        let mut rest = Some(first);
        while let Some(from) = rest {
            let Some((id, unsettled)) = self.deliveries.take_first(from, last) else {
                if echoes {
                    self.say_echo(context, from, last, not_found());
                }
                break;
            };
            if echoes && id != from {
                self.say_echo(context, from, id.wrapping_sub(1), not_found());
            }
            let state = match unsettled {
                Unsettled::Answer => echo.clone(),
                Unsettled::Locked { handle, token } => self
                    .settle(context, handle, token, &decision)
                    .map_or_else(|state| state, |()| echo.clone()),
            };
            if echoes {
                self.say_echo(context, id, id, state);
            }
            rest = (id != last).then(|| id.wrapping_add(1));
        }
        Ok(())
    }

    fn settle(
        &mut self,
        context: &Context,
        handle: u32,
        token: LockToken,
        decision: &Decision,
    ) -> Result<(), DeliveryState> {
        let Ok(Link::Outgoing(Outgoing { node: Node::Entity(entity), .. })) = self.link(handle) else {
            return Err(not_found());
        };
        entity.settle(context.now_us, token, decision.clone()).map_err(|LockLost| {
            let error = match entity.requires_session() {
                true => Error::new(condition::SESSION_LOCK_LOST, entity.describe_lost_session()),
                false => Error::new(condition::MESSAGE_LOCK_LOST, entity.describe_lost_lock()),
            };
            DeliveryState::Rejected(Rejected { error: Some(error) })
        })
    }
}

/// The words name no delivery, so that neighbours share an answer.
fn not_found() -> DeliveryState {
    let words = "The delivery is not known, or was settled before.";
    DeliveryState::Rejected(Rejected { error: Some(Error::new(condition::NOT_FOUND, words)) })
}

/// What a state means, and what is answered when it is done.
fn decide(state: DeliveryState) -> Result<(Decision, DeliveryState), Error> {
    match state {
        DeliveryState::Accepted => Ok((Decision::Complete, DeliveryState::Accepted)),
        DeliveryState::Released => Ok((Decision::Release, DeliveryState::Released)),
        DeliveryState::Modified(modified) => {
            let properties = modified.message_annotations.unwrap_or_default();
            let echo = Modified { message_annotations: None, ..modified };
            let defer = modified.undeliverable_here == Some(true);
            let decision = if defer { Decision::Defer(properties) } else { Decision::Abandon(properties) };
            Ok((decision, DeliveryState::Modified(echo)))
        }
        DeliveryState::Rejected(rejected) => {
            let decision = Decision::DeadLetter(rejection_properties(rejected.error));
            Ok((decision, DeliveryState::Rejected(Rejected { error: None })))
        }
        DeliveryState::Received(_) | DeliveryState::Declared(_) | DeliveryState::Transactional(_) => {
            Err(Error::new(condition::NOT_IMPLEMENTED, "Transactions are not implemented."))
        }
    }
}

/// The application properties that a rejection puts on a dead letter. Service Bus clients put them into the error's
/// info; of another client's error the condition is the reason.
fn rejection_properties(error: Option<Error>) -> Map {
    let Some(error) = error else { return Map::new() };
    let info = error.info.unwrap_or_default();
    if error.condition.as_str() == condition::DEAD_LETTER {
        let (reason, description) =
            (info.get(DEAD_LETTER_REASON).cloned(), info.get(DEAD_LETTER_DESCRIPTION).cloned());
        return dead_letter_properties(info, reason.as_ref(), description.as_ref());
    }
    let reason = Value::String(error.condition.0);
    let description = error.description.map(Value::String);
    dead_letter_properties(info, Some(&reason), description.as_ref())
}
