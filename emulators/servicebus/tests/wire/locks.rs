//! Locks: that they hold, end by time, and can be renewed. Locks here are short where a test waits for their end, and it
//! waits for the message that comes again, never for a time; where a lock has to hold, it is a second long.

use amqp::performative::{DeliveryState, Modified};
use amqp::{Map, Value};
use servicebus_emulator::config::QueueConfig;

use crate::support::{Peer, Received, SECOND_US, Server, message, now_ms, queue, rejected};

fn server_with_locks_of(lock_us: u64) -> Server {
    Server::with(vec![QueueConfig { lock_us, max_delivery_count: 1000, ..queue("q") }])
}

/// Locks that nobody can hold for long.
fn server_with_short_locks() -> Server {
    server_with_locks_of(SECOND_US / 20)
}

/// Locks that end soon, yet later than an answer on a busy machine.
fn server_with_locks_of_a_second() -> Server {
    server_with_locks_of(SECOND_US)
}

fn locked_until_ms(received: &Received) -> i64 {
    match received.annotation("x-opt-locked-until") {
        Some(Value::Timestamp(ms)) => ms,
        other => panic!("an instant, not {other:?}"),
    }
}

fn renew(peer: &mut Peer, received: &Received) -> (i32, Option<String>, Vec<i64>) {
    let tokens = Map::new().with_string("lock-tokens", Value::uuids([received.lock_token()]));
    let answer = peer.ask("q/$management", "com.microsoft:renew-lock", tokens);
    let expirations = answer.body.get("expirations").map(|expirations| match expirations {
        // go-amqp asserts an array of timestamps.
        Value::Array(array) => array.elements.iter().filter_map(Value::as_i64).collect(),
        other => panic!("an array, not {other:?}"),
    });
    (answer.status, answer.condition, expirations.unwrap_or_default())
}

#[test]
fn a_lock_that_ends_gives_the_message_to_the_next() {
    let server = server_with_short_locks();
    let mut peer = server.peer();
    let sender = peer.sender("q");
    peer.must_send(sender, &message("one"));
    let receiver = peer.receiver("q");
    let first = peer.receive_one(receiver);
    // Another connection waits for it.
    let mut next = server.peer();
    let waiting = next.receiver("q");
    let second = next.receive_one(waiting);
    assert!(now_ms() >= locked_until_ms(&first), "not before the lock has ended");
    assert_eq!(second.header().delivery_count, 1, "the delivery counted once");
    // The first receiver is told, and its word does nothing.
    assert_eq!(rejected(&peer.settle(&first, DeliveryState::Accepted)), "com.microsoft:message-lock-lost");
    assert_eq!(server.count("q", "completed_total"), 0);
}

#[test]
fn every_settlement_after_the_end_of_the_lock_is_refused() {
    let server = server_with_short_locks();
    let mut peer = server.peer();
    let sender = peer.sender("q");
    let receiver = peer.receiver("q");
    let modified = |undeliverable_here| {
        DeliveryState::Modified(Modified {
            delivery_failed: None,
            undeliverable_here: Some(undeliverable_here),
            message_annotations: None,
        })
    };
    let rejection = DeliveryState::Rejected(amqp::performative::Rejected { error: None });
    for state in
        [DeliveryState::Accepted, DeliveryState::Released, modified(false), modified(true), rejection]
    {
        // The message comes again when its lock has ended.
        peer.must_send(sender, &message("one"));
        let lost = peer.receive_one(receiver);
        while peer.receive_one(receiver).sequence_number() != lost.sequence_number() {}
        assert_eq!(rejected(&peer.settle(&lost, state)), "com.microsoft:message-lock-lost");
    }
    assert_eq!((server.count("q", "dead_lettered"), server.count("q", "deferred")), (0, 0));
    let here = server.count("q", "active") + server.count("q", "locked");
    assert_eq!((here, server.count("q", "completed_total")), (5, 0));
}

#[test]
fn a_renewed_lock_holds_longer() {
    let server = server_with_locks_of_a_second();
    let mut peer = server.peer();
    let sender = peer.sender("q");
    peer.must_send(sender, &message("one"));
    let receiver = peer.receiver("q");
    let received = peer.receive_one(receiver);
    let mut until_ms = locked_until_ms(&received);
    let first_until_ms = until_ms;
    // Renewed until it would have ended without.
    while now_ms() <= first_until_ms {
        let (status, condition, expirations) = renew(&mut peer, &received);
        assert_eq!((status, condition, expirations.len()), (200, None, 1));
        assert!(expirations[0] >= until_ms && expirations[0] <= now_ms() + 1000);
        until_ms = expirations[0];
    }
    peer.must_complete(&received);
}

#[test]
fn a_lock_that_has_ended_cannot_be_renewed() {
    let server = server_with_short_locks();
    let mut peer = server.peer();
    let sender = peer.sender("q");
    peer.must_send(sender, &message("one"));
    let receiver = peer.receiver("q");
    let lost = peer.receive_one(receiver);
    peer.receive_one(receiver);
    let (status, condition, expirations) = renew(&mut peer, &lost);
    assert_eq!((status, condition.as_deref()), (410, Some("com.microsoft:message-lock-lost")));
    assert!(expirations.is_empty());
}

#[test]
fn the_lock_of_a_message_that_is_gone_cannot_be_renewed() {
    let server = Server::start();
    let mut peer = server.peer();
    let sender = peer.sender("q");
    peer.must_send(sender, &message("one"));
    let receiver = peer.receiver("q");
    let received = peer.receive_one(receiver);
    peer.must_complete(&received);
    assert_eq!(renew(&mut peer, &received).0, 410);
}

#[test]
fn the_last_lock_that_ends_is_a_failed_delivery() {
    let config = QueueConfig { lock_us: SECOND_US / 20, max_delivery_count: 2, ..queue("q") };
    let server = Server::with(vec![config]);
    let mut peer = server.peer();
    let sender = peer.sender("q");
    peer.must_send(sender, &message("one"));
    let dead = peer.receiver("q/$DeadLetterQueue");
    peer.credit(dead, 1);
    let receiver = peer.receiver("q");
    peer.receive_one(receiver);
    assert_eq!(peer.receive_one(receiver).header().delivery_count, 1);
    let letter = peer.receive(dead);
    assert_eq!(letter.property("DeadLetterReason"), Some("MaxDeliveryCountExceeded".into()));
    assert_eq!(server.count("q", "active"), 0);
}

/// The real service keeps a lock until it ends, whatever becomes of the link.
#[test]
fn a_lock_outlives_its_link_and_its_connection() {
    let server = server_with_locks_of_a_second();
    let mut peer = server.peer();
    let sender = peer.sender("q");
    peer.must_send(sender, &message("one"));
    let mut gone = server.peer();
    let receiver = gone.receiver("q");
    let first = gone.receive_one(receiver);
    gone.detach(receiver);
    // Settled over $management, as the SDKs do when the link is gone.
    drop(gone);
    let waiting = peer.receiver("q");
    assert!(peer.drain(waiting, 1).is_empty(), "still locked");
    let again = peer.receive_one(waiting);
    assert!(now_ms() >= locked_until_ms(&first));
    assert_eq!(again.header().delivery_count, 1);
    let completed = Map::new()
        .with_string("disposition-status", "completed".into())
        .with_string("lock-tokens", Value::uuids([again.lock_token()]));
    assert_eq!(peer.ask("q/$management", "com.microsoft:update-disposition", completed).status, 200);
    assert_eq!(server.count("q", "completed_total"), 1);
}
