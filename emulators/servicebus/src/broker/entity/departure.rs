//! Where messages go that leave an entity: to its dead-letter queue, to the entity to which they are passed on, to a topic's
//! subscriptions, or nowhere.
//!
//! No lock is held meanwhile. A message that goes from entity to entity counts its ways, so that a circle ends. It must not decide
//! when a message leaves.

use std::sync::Arc;

use amqp::Map;

use super::{Entity, Kind, Refusal};
use crate::broker::recorder::{NO_ROW, Outcome};
use crate::engine::{Content, Departure, DepartureReason, Micros, NEVER, NewMessage};
use crate::limits::HOPS_MAX;
use crate::message::{self, DEAD_LETTER_DESCRIPTION, DEAD_LETTER_REASON, Incoming};

/// The properties that say why a message is a dead letter.
pub(in crate::broker) fn reason(reason: &str, description: &str) -> Map {
    Map::new()
        .with_string(DEAD_LETTER_REASON, reason.into())
        .with_string(DEAD_LETTER_DESCRIPTION, description.into())
}

impl Entity {
    /// A message that left by itself.
    pub(super) fn depart(&self, now_us: Micros, departure: Departure) {
        let recorder = &self.shared.recorder;
        let properties = match departure.reason {
            DepartureReason::PassedOn => return self.pass_on(now_us, departure),
            DepartureReason::Expired
                if !self.options.dead_letter_on_expiration || self.options.dead_letters.is_none() =>
            {
                recorder.ended(departure.tag, Outcome::Expired);
                return;
            }
            DepartureReason::Expired => {
                reason("TTLExpiredException", "The message expired and was dead lettered.")
            }
            DepartureReason::DeliveredTooOften(times) => {
                let words = format!("Message could not be consumed after {times} delivery attempts.");
                reason("MaxDeliveryCountExceeded", &words)
            }
            DepartureReason::DeadLettered => Map::new(),
        };
        recorder.ended(departure.tag, Outcome::DeadLettered);
        self.dead_letter(now_us, departure, &properties);
    }

    fn pass_on(&self, now_us: Micros, departure: Departure) {
        let Departure { mut content, sequence_number, time_to_live_us, .. } = departure;
        message::note_sequence_number(&mut content, sequence_number);
        let incoming = Incoming { content, time_to_live_us, due_us: None };
        match (&self.options.kind, &self.options.forward_to) {
            (Kind::Topic(subscriptions), _) => subscriptions.fan_out(now_us, incoming, sequence_number),
            (_, Some(target)) => self.forward(now_us, target, incoming),
            (_, None) => {}
        }
    }

    /// Passes a message on to another entity; where that cannot be, it is a dead letter of this one's transfers.
    fn forward(&self, now_us: Micros, target: &str, mut incoming: Incoming) {
        let hops = message::count_hop(&mut incoming.content);
        let directory = self.shared.directory.upgrade();
        let found =
            directory.and_then(|directory| directory.find(target)).filter(|found| found.takes_messages());
        let (why, words) = match found {
            _ if hops > HOPS_MAX => (
                "MaxTransferHopCountExceeded",
                format!("The message was passed on more than {HOPS_MAX} times."),
            ),
            None => {
                let words = format!("The messaging entity '{target}' could not be found.");
                ("MessagingEntityNotFound", words)
            }
            Some(target) => match target.send_one(now_us, incoming.clone()) {
                Ok(()) => return,
                Err(Refusal::Disabled) => {
                    let words = format!("The messaging entity '{}' takes no messages.", target.name());
                    ("MessagingEntityDisabled", words)
                }
                Err(Refusal::NoSession) => {
                    let words = format!(
                        "The messages of '{}' belong to sessions, and this one has no session id.",
                        target.name()
                    );
                    ("Session id is null", words)
                }
            },
        };
        let Some(transfer_dead_letters) = &self.options.transfer_dead_letters else { return };
        let content = message::amend(&incoming.content, &reason(why, &words));
        transfer_dead_letters.take_dead_letter(now_us, content, 0, None);
    }

    /// A copy of a topic's message for this subscription.
    pub(in crate::broker) fn take_copy(&self, now_us: Micros, incoming: Incoming) {
        let content = Arc::clone(&incoming.content);
        if let Err(refusal) = self.send_one(now_us, incoming) {
            let properties = match refusal {
                // A subscription that takes no messages is as if it were not there.
                Refusal::Disabled => return,
                Refusal::NoSession => reason("Session id is null", "Session id is null."),
            };
            self.refuse_copy(now_us, &content, &properties);
        }
    }

    /// A topic's message that this subscription cannot have: to its dead-letter queue.
    pub(in crate::broker) fn refuse_copy(&self, now_us: Micros, content: &Content, properties: &Map) {
        let Some(dead_letters) = &self.options.dead_letters else { return };
        self.lock().totals.dead_lettered += 1;
        dead_letters.take_dead_letter(now_us, message::amend(content, properties), 0, None);
    }

    /// Moves a message that left to the dead-letter queue, or to where dead letters are passed on.
    pub(super) fn dead_letter(&self, now_us: Micros, departure: Departure, properties: &Map) {
        let Some(dead_letters) = &self.options.dead_letters else { return };
        self.lock().totals.dead_lettered += 1;
        let mut content = message::amend(&departure.content, properties);
        message::note_sequence_number(&mut content, departure.sequence_number);
        if let Some(target) = &self.options.forward_dead_letters_to {
            let content = message::with_dead_letter_source(&content, self.name());
            let incoming = Incoming { content, time_to_live_us: NEVER, due_us: None };
            return self.forward(now_us, target, incoming);
        }
        let enqueued_us = Some(departure.enqueued_us);
        dead_letters.take_dead_letter(now_us, content, departure.delivery_count, enqueued_us);
    }

    fn take_dead_letter(
        &self,
        now_us: Micros,
        content: Content,
        delivery_count: u32,
        enqueued_us: Option<Micros>,
    ) {
        let message = NewMessage {
            content,
            time_to_live_us: NEVER,
            due_us: None,
            delivery_count,
            enqueued_us,
            session: None,
            tag: NO_ROW,
        };
        let mut inner = self.lock();
        inner.engine.enqueue(now_us, message);
        self.finish(now_us, inner, 1);
    }
}
