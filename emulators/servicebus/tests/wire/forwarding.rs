//! Messages and dead letters that are passed on from entity to entity, and where they end when they cannot be.

use amqp::encode::Encode as _;
use amqp::message::{Properties, put_data};
use amqp::performative::{DeliveryState, Rejected, Role};
use amqp::{Map, Value};
use bytes::{Bytes, BytesMut};
use servicebus_emulator::config::{EntityStatus, QueueConfig};

use crate::support::{
    Peer, Received, SECOND_US, Server, annotated, attach, due, message, now_ms, queue, subscription, topic,
};

fn to(name: &str, target: &str) -> QueueConfig {
    QueueConfig { forward_to: Some(target.to_owned()), ..queue(name) }
}

fn dead_letters_to(name: &str, target: &str) -> QueueConfig {
    QueueConfig { forward_dead_letters_to: Some(target.to_owned()), ..queue(name) }
}

fn take(peer: &mut Peer, address: &str) -> Received {
    let receiver = peer.deleting_receiver(address);
    peer.receive_one(receiver)
}

fn refuse(peer: &mut Peer, address: &str) {
    let receiver = peer.receiver(address);
    let received = peer.receive_one(receiver);
    peer.settle(&received, DeliveryState::Rejected(Rejected { error: None }));
    peer.detach(receiver);
}

#[test]
fn a_message_is_passed_on_to_a_queue() {
    let server = Server::with(vec![to("a", "B"), queue("b")]);
    let mut peer = server.peer();
    let other = peer.sender("b");
    peer.must_send(other, &message("first"));
    let sender = peer.sender("a");
    peer.must_send(sender, &message("passed on"));
    assert_eq!(take(&mut peer, "b").body(), "first");
    let received = take(&mut peer, "b");
    assert_eq!((received.body().as_str(), received.sequence_number()), ("passed on", 2));
    assert_eq!(
        received.annotation("x-opt-enqueue-sequence-number"),
        Some(Value::Long(1)),
        "its first number"
    );
    let handle = peer.handle();
    let error = peer.try_attach(attach(handle, Role::Receiver, "a")).expect_err("nothing stays there");
    assert_eq!(error.condition.as_str(), "amqp:not-allowed");
}

#[test]
fn a_message_is_passed_on_to_a_topic_and_from_a_subscription() {
    let mut onward = subscription("onward");
    onward.queue = to("onward", "end");
    let topics = vec![topic("t", vec![onward, subscription("stays")])];
    let server = Server::with_topics(vec![to("a", "t"), queue("end")], topics);
    let mut peer = server.peer();
    let sender = peer.sender("a");
    peer.must_send(sender, &message("x"));
    for address in ["end", "t/Subscriptions/stays"] {
        assert_eq!(take(&mut peer, address).body(), "x", "{address}");
    }
}

#[test]
fn a_scheduled_message_is_passed_on_when_it_is_due() {
    let server = Server::with(vec![to("a", "b"), queue("b")]);
    let mut peer = server.peer();
    let sender = peer.sender("a");
    peer.must_send(sender, &annotated("later", &due(now_ms() + 150), None));
    assert_eq!((server.count("a", "scheduled"), server.count("b", "active")), (1, 0));
    assert_eq!(take(&mut peer, "b").body(), "later");
}

#[test]
fn the_time_to_live_is_the_shortest_on_the_way() {
    let short = QueueConfig { time_to_live_us: SECOND_US / 20, ..to("a", "b") };
    let server = Server::with(vec![short, QueueConfig { dead_letter_on_expiration: true, ..queue("b") }]);
    let mut peer = server.peer();
    let sender = peer.sender("a");
    peer.must_send(sender, &message("x"));
    assert_eq!(
        take(&mut peer, "b/$DeadLetterQueue").property("DeadLetterReason"),
        Some("TTLExpiredException".into())
    );
}

#[test]
fn a_chain_of_four_ways_holds_and_a_longer_one_ends() {
    let names = ["q0", "q1", "q2", "q3", "q4", "q5"];
    let chain = |count: usize| {
        let mut queues: Vec<_> = (0..count).map(|at| to(names[at], names[at + 1])).collect();
        queues.push(queue(names[count]));
        Server::with(queues)
    };
    let four = chain(4);
    let mut peer = four.peer();
    let sender = peer.sender("q0");
    peer.must_send(sender, &message("x"));
    assert_eq!(take(&mut peer, "q4").body(), "x");
    let five = chain(5);
    let mut peer = five.peer();
    let sender = peer.sender("q0");
    peer.must_send(sender, &message("x"));
    let dead = take(&mut peer, "q4/$Transfer/$DeadLetterQueue");
    assert_eq!(dead.property("DeadLetterReason"), Some("MaxTransferHopCountExceeded".into()));
    assert_eq!(five.count("q5", "enqueued_total"), 0);
}

#[test]
fn a_circle_ends_in_a_transfer_dead_letter_queue() {
    let server = Server::with(vec![to("a", "b"), to("b", "a")]);
    let mut peer = server.peer();
    let sender = peer.sender("a");
    peer.must_send(sender, &message("x"));
    let dead = take(&mut peer, "a/$transfer/$deadletterqueue");
    assert_eq!(dead.property("DeadLetterReason"), Some("MaxTransferHopCountExceeded".into()));
}

#[test]
fn what_its_target_does_not_take_is_a_transfer_dead_letter() {
    let closed = QueueConfig { status: EntityStatus::SendDisabled, ..queue("closed") };
    let sessions = QueueConfig { requires_session: true, ..queue("sessions") };
    let queues = vec![
        to("1", "closed"),
        to("2", "sessions"),
        to("3", "t/Subscriptions/s"),
        to("4", "none"),
        closed,
        sessions,
    ];
    let server = Server::with_topics(queues, vec![topic("t", vec![subscription("s")])]);
    let mut peer = server.peer();
    for (name, reason) in [
        ("1", "MessagingEntityDisabled"),
        ("2", "Session id is null"),
        ("3", "MessagingEntityNotFound"),
        ("4", "MessagingEntityNotFound"),
    ] {
        let sender = peer.sender(name);
        peer.must_send(sender, &message("x"));
        let dead = take(&mut peer, &format!("{name}/$Transfer/$DeadLetterQueue"));
        assert_eq!(dead.property("DeadLetterReason"), Some(reason.into()), "{name}");
    }
    // One with a session goes where sessions are.
    let sender = peer.sender("2");
    let mut out = BytesMut::new();
    Properties { group_id: Some("s".to_owned()), ..Properties::default() }.encode(&mut out);
    put_data(&mut out, &Bytes::from_static(b"x"));
    peer.must_send(sender, &out);
    assert_eq!(server.count("sessions", "active"), 1);
}

#[test]
fn a_dead_letter_is_passed_on_with_its_reason_and_source() {
    let server = Server::with(vec![dead_letters_to("a", "graves"), queue("graves")]);
    let mut peer = server.peer();
    let sender = peer.sender("a");
    peer.must_send(sender, &annotated("x", &Map::new().with_symbol("x-mine", "kept".into()), Some(60_000)));
    refuse(&mut peer, "a");
    let dead = take(&mut peer, "graves");
    assert_eq!(dead.body(), "x");
    assert_eq!(dead.annotation("x-opt-deadletter-source"), Some("a".into()));
    assert_eq!(dead.annotation("x-mine"), Some("kept".into()));
    assert_eq!(dead.header().delivery_count, 0);
    assert_eq!(server.count("a", "dead_lettered"), 0, "it is not in its own dead-letter queue");
    assert_eq!(server.count("a", "dead_lettered_total"), 1);
}

#[test]
fn a_dead_letter_that_comes_back_again_and_again_ends() {
    let server = Server::with(vec![dead_letters_to("a", "a")]);
    let mut peer = server.peer();
    let sender = peer.sender("a");
    peer.must_send(sender, &message("x"));
    for _ in 0..5 {
        refuse(&mut peer, "a");
    }
    let dead = take(&mut peer, "a/$Transfer/$DeadLetterQueue");
    assert_eq!(dead.property("DeadLetterReason"), Some("MaxTransferHopCountExceeded".into()));
    assert_eq!(server.count("a", "active"), 0);
}
