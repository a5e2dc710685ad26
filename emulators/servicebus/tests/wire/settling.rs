//! What becomes of a locked message, and that the answer is of the kind that was said (the SDKs compare them).

use amqp::message::put_data;
use amqp::performative::{DeliveryState, Disposition, Error, Modified, Rejected, Role, Transfer};
use amqp::{Map, Value};
use bytes::BytesMut;
use servicebus_emulator::limits::UNSETTLED_SPAN_MAX;

use crate::support::{BATCH_FORMAT, Peer, Received, Server, message, rejected, transfer};

fn modified(undeliverable_here: bool, properties: Map) -> DeliveryState {
    DeliveryState::Modified(Modified {
        delivery_failed: Some(true),
        undeliverable_here: Some(undeliverable_here),
        message_annotations: Some(properties).filter(|properties| !properties.is_empty()),
    })
}

fn dead_letter(info: Map) -> DeliveryState {
    let error = Error { info: Some(info), ..Error::new("com.microsoft:dead-letter", "") };
    DeliveryState::Rejected(Rejected { error: Some(error) })
}

/// A broker with one message, delivered.
fn delivered() -> (Server, Peer, Received) {
    let server = Server::start();
    let mut peer = server.peer();
    let sender = peer.sender("q");
    peer.must_send(sender, &message("one"));
    let receiver = peer.receiver("q");
    let received = peer.receive_one(receiver);
    (server, peer, received)
}

#[test]
fn a_completed_message_is_gone() {
    let (server, mut peer, received) = delivered();
    assert_eq!(peer.settle(&received, DeliveryState::Accepted), DeliveryState::Accepted);
    assert_eq!((server.count("q", "completed_total"), server.count("q", "locked")), (1, 0));
    // Once more: there is nothing to settle.
    let again = peer.settle(&received, DeliveryState::Accepted);
    assert_eq!(rejected(&again), "amqp:not-found");
    assert!(peer.drain(received.handle, 1).is_empty());
}

#[test]
fn an_abandoned_message_comes_again_with_what_was_changed() {
    let (_server, mut peer, received) = delivered();
    let changes = Map::new().with_symbol("why", "busy".into());
    // The answer is of the same kind; properties need not be repeated.
    let echo = peer.settle(&received, modified(false, changes));
    assert_eq!(echo, modified(false, Map::new()));
    let again = peer.receive_one(received.handle);
    assert_eq!(again.sequence_number(), received.sequence_number());
    assert_eq!(again.header().delivery_count, 1);
    assert_eq!(again.property("why"), Some("busy".into()));
    assert_ne!(again.tag, received.tag, "a lock of its own");
    let removed = Map::new().with_symbol("why", Value::Null);
    peer.settle(&again, modified(false, removed));
    assert_eq!(peer.receive_one(received.handle).property("why"), None);
}

#[test]
fn an_abandoned_message_comes_before_those_that_came_after_it() {
    let server = Server::start();
    let mut peer = server.peer();
    let sender = peer.sender("q");
    ["1", "2", "3", "4"].iter().for_each(|body| peer.must_send(sender, &message(body)));
    let receiver = peer.receiver("q");
    peer.credit(receiver, 3);
    let [one, two, three] = std::array::from_fn(|_| peer.receive(receiver));
    // Given back in another order than they came.
    for received in [&three, &one] {
        peer.settle(received, modified(false, Map::new()));
    }
    peer.must_complete(&two);
    let order: Vec<_> = peer.drain(receiver, 10).iter().map(Received::body).collect();
    assert_eq!(order, ["1", "3", "4"]);
}

/// Python returns what it has buffered so when a receiver is closed: nobody has seen it.
#[test]
fn a_released_message_comes_again_and_the_delivery_does_not_count() {
    let (_server, mut peer, mut received) = delivered();
    for _ in 0..5 {
        assert_eq!(peer.settle(&received, DeliveryState::Released), DeliveryState::Released);
        received = peer.receive_one(received.handle);
        assert_eq!(received.header().delivery_count, 0);
    }
    peer.must_complete(&received);
}

#[test]
fn the_last_failed_delivery_ends_in_the_dead_letter_queue() {
    let (server, mut peer, mut received) = delivered();
    for count in 0..3 {
        assert_eq!(received.header().delivery_count, count);
        peer.settle(&received, modified(false, Map::new()));
        if count < 2 {
            received = peer.receive_one(received.handle);
        }
    }
    assert!(peer.drain(received.handle, 1).is_empty());
    assert_eq!((server.count("q", "dead_lettered"), server.count("q", "dead_lettered_total")), (1, 1));
    let dead = peer.receiver("q/$DeadLetterQueue");
    let letter = peer.receive_one(dead);
    assert_eq!((letter.body().as_str(), letter.header().delivery_count), ("one", 3));
    assert_eq!(letter.property("DeadLetterReason"), Some("MaxDeliveryCountExceeded".into()));
    let description = "Message could not be consumed after 3 delivery attempts.";
    assert_eq!(letter.property("DeadLetterErrorDescription"), Some(description.into()));
    assert_eq!(letter.annotation("x-opt-enqueue-sequence-number"), Some(Value::Long(1)));
    // In the dead-letter queue no delivery is the last.
    let mut letter = letter;
    for _ in 0..5 {
        peer.settle(&letter, modified(false, Map::new()));
        letter = peer.receive_one(dead);
    }
    peer.must_complete(&letter);
    assert_eq!(server.count("q", "dead_lettered"), 0);
}

#[test]
fn a_dead_letter_says_why() {
    let (_server, mut peer, received) = delivered();
    let info = Map::new()
        .with_symbol("DeadLetterReason", "bad order".into())
        .with_symbol("DeadLetterErrorDescription", "no delivery".into())
        .with_symbol("checked-by", "test".into());
    // An error in the answer would be a failure to every SDK.
    assert_eq!(peer.settle(&received, dead_letter(info)), DeliveryState::Rejected(Rejected { error: None }));
    let dead = peer.receiver("q/$DeadLetterQueue");
    let letter = peer.receive_one(dead);
    assert_eq!(letter.property("DeadLetterReason"), Some("bad order".into()));
    assert_eq!(letter.property("DeadLetterErrorDescription"), Some("no delivery".into()));
    assert_eq!(letter.property("checked-by"), Some("test".into()));
    // There it stays, whatever is said of it.
    peer.settle(&letter, DeliveryState::Rejected(Rejected { error: None }));
    assert_eq!(peer.receive_one(dead).body(), "one");
}

#[test]
fn a_rejection_without_error_is_a_dead_letter_without_reason() {
    let (_server, mut peer, received) = delivered();
    let without = DeliveryState::Rejected(Rejected { error: None });
    assert_eq!(peer.settle(&received, without.clone()), without);
    let dead = peer.receiver("q/$DeadLetterQueue");
    let letter = peer.receive_one(dead);
    assert_eq!(letter.property("DeadLetterReason"), None);
}

#[test]
fn the_error_of_another_client_is_the_reason() {
    let (_server, mut peer, received) = delivered();
    let error = Some(Error::new("test:broken", "it is broken"));
    peer.settle(&received, DeliveryState::Rejected(Rejected { error }));
    let dead = peer.receiver("q/$DeadLetterQueue");
    let letter = peer.receive_one(dead);
    assert_eq!(letter.property("DeadLetterReason"), Some("test:broken".into()));
    assert_eq!(letter.property("DeadLetterErrorDescription"), Some("it is broken".into()));
}

#[test]
fn a_deferred_message_comes_only_when_it_is_asked_for() {
    let (server, mut peer, received) = delivered();
    let changes = Map::new().with_symbol("later", Value::Bool(true));
    assert_eq!(peer.settle(&received, modified(true, changes)), modified(true, Map::new()));
    assert!(peer.drain(received.handle, 5).is_empty());
    assert_eq!(server.count("q", "deferred"), 1);
    let ask = Map::new()
        .with_string("sequence-numbers", Value::longs([received.sequence_number()]))
        .with_string("receiver-settle-mode", Value::Uint(0));
    let answer = peer.ask("q/$management", "com.microsoft:receive-by-sequence-number", ask);
    assert_eq!(answer.status, 200);
    assert_eq!(server.count("q", "deferred"), 0);
}

#[test]
fn deliveries_are_settled_in_ranges_too() {
    let server = Server::start();
    let mut peer = server.peer();
    let sender = peer.sender("q");
    (0..10).for_each(|number: u32| peer.must_send(sender, &message(&number.to_string())));
    let receiver = peer.receiver("q");
    peer.credit(receiver, 10);
    let received: Vec<_> = (0..10).map(|_| peer.receive(receiver)).collect();
    let (first, last) = (received[0].id, received[9].id);
    // One of them is settled before; every other is settled, and every one is answered.
    peer.must_complete(&received[4]);
    peer.say(first, last, false, DeliveryState::Accepted);
    for id in (first..=last).filter(|id| *id != received[4].id) {
        assert_eq!(peer.said_of(Role::Sender, id), DeliveryState::Accepted);
    }
    assert_eq!(rejected(&peer.said_of(Role::Sender, received[4].id)), "amqp:not-found");
    assert_eq!(server.count("q", "completed_total"), 10);
}

/// A slow client's message is settled however many others have passed on the session meanwhile.
#[test]
fn a_delivery_is_known_until_it_is_settled_however_many_follow_it() {
    const BATCHES: u32 = 9;
    const BATCH: u32 = 2000;
    let (server, mut peer, slow) = delivered();
    let (sender, fast) = (peer.sender("q"), peer.deleting_receiver("q"));
    let mut batch = BytesMut::new();
    (0..BATCH).for_each(|_| put_data(&mut batch, &message("fast")));
    for _ in 0..BATCHES {
        let as_batch =
            Transfer { message_format: Some(BATCH_FORMAT), ..transfer(sender, peer.next_delivery_id) };
        assert_eq!(peer.send_as(&as_batch, &batch), DeliveryState::Accepted);
        peer.credit(fast, BATCH);
        (0..BATCH).for_each(|_| drop(peer.receive(fast)));
    }
    assert!((BATCHES * BATCH) as usize > UNSETTLED_SPAN_MAX, "more than are kept by their place");
    peer.must_complete(&slow);
    assert_eq!(server.count("q", "locked"), 0);
    // All that has passed is answered too, in one range.
    peer.say(slow.id, slow.id + BATCH, false, DeliveryState::Accepted);
    for id in [slow.id, slow.id + BATCH] {
        assert_eq!(rejected(&peer.said_of(Role::Sender, id)), "amqp:not-found");
    }
}

#[test]
fn what_the_client_settles_by_itself_is_not_answered() {
    let (server, mut peer, received) = delivered();
    peer.say(received.id, received.id, true, DeliveryState::Accepted);
    // Answers keep their order: the next one would be the second.
    let sender = peer.sender("q");
    peer.must_send(sender, &message("two"));
    let two = peer.receive_one(received.handle);
    peer.must_complete(&two);
    assert_eq!(rejected(&peer.settle(&received, DeliveryState::Accepted)), "amqp:not-found");
    assert_eq!(server.count("q", "completed_total"), 2);
}

/// Part 3, §3.4.4: settled without an outcome is as if it had not been delivered.
#[test]
fn settled_without_an_outcome_is_released() {
    let (_server, mut peer, received) = delivered();
    peer.put(Disposition {
        role: Role::Receiver,
        first: received.id,
        last: None,
        settled: true,
        state: None,
        batchable: false,
    });
    let again = peer.receive_one(received.handle);
    assert_eq!((again.sequence_number(), again.header().delivery_count), (1, 0));
}

#[test]
fn unknown_deliveries_and_ranges_are_refused_without_harm() {
    let (server, mut peer, received) = delivered();
    peer.say(77, 77, false, DeliveryState::Accepted);
    assert_eq!(rejected(&peer.said_of(Role::Sender, 77)), "amqp:not-found");
    // A range over everything settles what is there.
    peer.say(0, i32::MAX.cast_unsigned(), false, DeliveryState::Accepted);
    assert_eq!(peer.said_of(Role::Sender, received.id), DeliveryState::Accepted);
    assert_eq!(server.count("q", "completed_total"), 1);
    // A range that ends before it begins is none.
    peer.say(9, 3, false, DeliveryState::Accepted);
    assert_eq!(peer.closed_with(), "amqp:not-allowed");
}

#[test]
fn a_settlement_within_a_transaction_is_refused_and_the_lock_holds() {
    let (_server, mut peer, received) = delivered();
    let state = amqp::performative::TransactionalState {
        txn_id: bytes::Bytes::from_static(b"t"),
        outcome: Some(Box::new(DeliveryState::Accepted)),
    };
    let echo = peer.settle(&received, DeliveryState::Transactional(state));
    assert_eq!(rejected(&echo), "amqp:not-implemented");
    peer.must_complete(&received);
}
