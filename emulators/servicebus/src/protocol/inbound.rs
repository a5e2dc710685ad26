//! Messages from clients: frames put together, batches taken apart, stored, and their acceptance said.
//!
//! It must not answer requests: those are handed out whole.

use amqp::performative::{DeliveryState, Error, Rejected, Transfer};
use bytes::Bytes;

use super::context::Context;
use super::error::{Fatal, condition};
use super::link::{Node, Partial, Responder};
use super::session::{Session, append};
use crate::broker::entity::{Entity, Refusal};
use crate::message::{self, BATCH_FORMAT, ParseError};

/// A message to a node that answers.
#[derive(Debug)]
pub struct Request {
    /// The node.
    pub responder: Responder,
    /// The link on which it came.
    pub handle: u32,
    /// The message.
    pub message: Bytes,
}

/// A message whose frames are all there.
struct Delivery {
    id: u32,
    format: u32,
    settled: bool,
    /// None when it was too large to be kept.
    payload: Option<Bytes>,
}

impl Session {
    /// Works off a transfer. Returns a request, if the message is one.
    ///
    /// # Errors
    /// When the peer breaks the rules of transfers.
    pub fn on_transfer(
        &mut self,
        context: &mut Context,
        transfer: &Transfer,
        payload: Bytes,
    ) -> Result<Option<Request>, Fatal> {
        self.count_incoming(context);
        let handle = transfer.handle;
        let max_bytes = context.max_message_bytes;
        let Some(link) = self.incoming(handle)? else { return Ok(None) };
        let joined = join(&mut link.partial, transfer, payload, max_bytes)?;
        if matches!(joined, Joined::MoreFollow) {
            return Ok(None);
        }
        // Credit is renewed with the message that uses up its half, so it is never used up.
        link.credit -= link.credit.min(1);
        link.delivery_count = link.delivery_count.wrapping_add(1);
        let Joined::Whole(delivery) = joined else {
            self.replenish(context, handle, false);
            return Ok(None);
        };
        let node = link.node.clone();
        let refused = if matches!(transfer.state, Some(DeliveryState::Transactional(_))) {
            Some(Error::new(condition::NOT_IMPLEMENTED, "Transactions are not implemented."))
        } else {
            None
        };
        let (mut request, mut result) = (None, refused.map_or(Ok(()), Err));
        if result.is_ok() {
            match (node, delivery.payload) {
                (_, None) => result = Err(too_large(max_bytes)),
                (Node::Entity(entity), Some(payload)) => {
                    result = store(context, &entity, &payload, delivery.format);
                }
                (Node::Responder(responder), Some(message)) => {
                    request = Some(Request { responder, handle, message })
                }
            }
        }
        match (delivery.settled, result) {
            (true, Ok(())) => {}
            // Its sender does not look at outcomes: only the end of the link tells that the message is not here.
            (true, Err(error)) => self.end_link(context, handle, error),
            (false, Ok(())) => self.say_received(context, delivery.id, DeliveryState::Accepted),
            (false, Err(error)) => {
                let refused = DeliveryState::Rejected(Rejected { error: Some(error) });
                self.say_received(context, delivery.id, refused);
            }
        }
        self.replenish(context, handle, false);
        Ok(request)
    }
}

/// What a frame makes of a delivery.
enum Joined {
    MoreFollow,
    /// Its sender gave it up.
    Aborted,
    Whole(Delivery),
}

/// Takes in one frame.
fn join(
    partial: &mut Option<Partial>,
    transfer: &Transfer,
    payload: Bytes,
    max_bytes: usize,
) -> Result<Joined, Fatal> {
    let Some(mut begun) = partial.take() else {
        let Some(id) = transfer.delivery_id else {
            return Err(Fatal::new(
                condition::NOT_ALLOWED,
                "the first transfer of a delivery has no delivery-id",
            ));
        };
        if transfer.aborted {
            return Ok(Joined::Aborted);
        }
        let (format, settled) = (transfer.message_format.unwrap_or(0), transfer.settled.unwrap_or(false));
        if transfer.more {
            let mut kept = Some(bytes::BytesMut::new());
            append(&mut kept, &payload, max_bytes);
            *partial = Some(Partial { delivery_id: id, format, settled, payload: kept });
            return Ok(Joined::MoreFollow);
        }
        let payload = Some(payload).filter(|payload| payload.len() <= max_bytes);
        return Ok(Joined::Whole(Delivery { id, format, settled, payload }));
    };
    if transfer.delivery_id.is_some_and(|id| id != begun.delivery_id) {
        let words = format!(
            "delivery {} began before the last frame of delivery {}",
            transfer.delivery_id.unwrap_or_default(),
            begun.delivery_id
        );
        return Err(Fatal::new(condition::NOT_ALLOWED, words));
    }
    if transfer.aborted {
        return Ok(Joined::Aborted);
    }
    begun.settled |= transfer.settled.unwrap_or(false);
    append(&mut begun.payload, &payload, max_bytes);
    if transfer.more {
        *partial = Some(begun);
        return Ok(Joined::MoreFollow);
    }
    let payload = begun.payload.map(bytes::BytesMut::freeze);
    Ok(Joined::Whole(Delivery {
        id: begun.delivery_id,
        format: begun.format,
        settled: begun.settled,
        payload,
    }))
}

fn too_large(max_bytes: usize) -> Error {
    let words = format!("The message is larger than the {max_bytes} bytes that a message may have here.");
    Error::new(condition::MESSAGE_SIZE_EXCEEDED, words)
}

/// Puts a message, or all of a batch or none, into an entity.
fn store(context: &mut Context, entity: &Entity, payload: &Bytes, format: u32) -> Result<(), Error> {
    if format != BATCH_FORMAT {
        let incoming = message::parse(payload, &mut context.scratch).map_err(unreadable)?;
        return entity.send_one(context.now_us, incoming).map_err(|refusal| refused(entity, refusal));
    }
    let messages = message::unpack_batch(payload).map_err(|error| unreadable(error.into()))?;
    if messages.is_empty() {
        let words = "The batch holds no message: its body has no data section.";
        return Err(Error::new(condition::ARGUMENT_ERROR, words));
    }
    let parsed: Result<Vec<_>, _> =
        messages.iter().map(|message| message::parse(message, &mut context.scratch)).collect();
    let sent = entity.send(context.now_us, parsed.map_err(unreadable)?);
    sent.map(drop).map_err(|refusal| refused(entity, refusal))
}

/// Why a message cannot be taken anywhere, for its sender.
pub(super) fn unreadable(error: ParseError) -> Error {
    let condition = match error {
        ParseError::Decode(_) => condition::DECODE_ERROR,
        ParseError::IdTooLong(_) | ParseError::PartitionKey => condition::ARGUMENT_ERROR,
    };
    Error::new(condition, error.to_string())
}

/// Why an entity does not take a message, for its sender.
pub(super) fn refused(entity: &Entity, refusal: Refusal) -> Error {
    match refusal {
        Refusal::Disabled => {
            let words = format!("The messaging entity '{}' is disabled for sending.", entity.name());
            Error::new(condition::ENTITY_DISABLED, words)
        }
        Refusal::NoSession => {
            let words = format!(
                "The SessionId was not set on a message, and it cannot be sent to the entity '{}'. Entities that have session \
                 support enabled can only receive messages that have the SessionId set to a valid value.",
                entity.name()
            );
            Error::new(condition::NOT_ALLOWED, words)
        }
    }
}
