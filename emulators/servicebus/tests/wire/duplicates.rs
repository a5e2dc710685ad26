//! Duplicate detection: what is sent twice within the window is accepted twice and there once.

use amqp::encode::Encode as _;
use amqp::message::{Properties, put_data, put_message_annotations};
use amqp::performative::DeliveryState;
use amqp::{Map, Value};
use bytes::{Bytes, BytesMut};
use servicebus_emulator::config::QueueConfig;

use crate::support::{BATCH_FORMAT, Peer, SECOND_US, Server, now_ms, queue, subscription, topic, transfer};

fn serve(window_us: u64) -> Server {
    Server::with(vec![QueueConfig { duplicate_window_us: Some(window_us), ..queue("q") }])
}

fn with_id(id: Value, body: &str, annotations: &Map) -> Bytes {
    let mut out = BytesMut::new();
    if !annotations.is_empty() {
        put_message_annotations(&mut out, annotations);
    }
    Properties { message_id: Some(id), ..Properties::default() }.encode(&mut out);
    put_data(&mut out, &Bytes::copy_from_slice(body.as_bytes()));
    out.freeze()
}

fn plain(id: &str, body: &str) -> Bytes {
    with_id(id.into(), body, &Map::new())
}

fn bodies(peer: &mut Peer, address: &str) -> Vec<String> {
    let receiver = peer.deleting_receiver(address);
    peer.drain(receiver, 100).iter().map(crate::support::Received::body).collect()
}

#[test]
fn a_message_that_is_sent_twice_is_taken_once() {
    let server = serve(60 * SECOND_US);
    let mut peer = server.peer();
    let sender = peer.sender("q");
    for (id, body) in [("a", "1"), ("a", "2"), ("b", "3"), ("A", "4")] {
        peer.must_send(sender, &plain(id, body));
    }
    let uuid = uuid_value();
    peer.must_send(sender, &with_id(uuid.clone(), "5", &Map::new()));
    peer.must_send(sender, &with_id(uuid, "6", &Map::new()));
    assert_eq!(bodies(&mut peer, "q"), ["1", "3", "4", "5"]);
    // It is remembered though the message is gone.
    peer.must_send(sender, &plain("a", "7"));
    assert!(bodies(&mut peer, "q").is_empty());
}

/// An id is the text that it is to clients, whatever its type and however long its encoding.
#[test]
fn ids_of_every_type_and_length_are_compared_as_text() {
    let server = serve(60 * SECOND_US);
    let mut peer = server.peer();
    let sender = peer.sender("q");
    let long = "é".repeat(128);
    let text = "07070707-0707-0707-0707-070707070707";
    let ids = [
        (Value::String(long.clone()), "1"),
        (Value::String(long), "twice"),
        (Value::Ulong(7), "2"),
        ("7".into(), "twice"),
        (uuid_value(), "3"),
        (text.into(), "twice"),
        (Value::Binary(Bytes::from_static(b"7")), "4"),
    ];
    for (id, body) in ids {
        peer.must_send(sender, &with_id(id, body, &Map::new()));
    }
    assert_eq!(bodies(&mut peer, "q"), ["1", "2", "3", "4"]);
}

fn uuid_value() -> Value {
    Value::Uuid([7; 16])
}

#[test]
fn a_partition_key_makes_another_message_of_it() {
    let server = serve(60 * SECOND_US);
    let mut peer = server.peer();
    let sender = peer.sender("q");
    let key = |key: &str| Map::new().with_symbol("x-opt-partition-key", key.into());
    for (partition, body) in [("x", "1"), ("y", "2"), ("x", "3")] {
        peer.must_send(sender, &with_id("a".into(), body, &key(partition)));
    }
    assert_eq!(bodies(&mut peer, "q"), ["1", "2"]);
}

#[test]
fn messages_without_an_id_are_no_duplicates() {
    let server = serve(60 * SECOND_US);
    let mut peer = server.peer();
    let sender = peer.sender("q");
    for _ in 0..2 {
        peer.must_send(sender, &crate::support::message("same"));
    }
    assert_eq!(bodies(&mut peer, "q").len(), 2);
}

#[test]
fn an_id_is_forgotten_after_the_window() {
    let server = serve(SECOND_US / 10);
    let mut peer = server.peer();
    let sender = peer.sender("q");
    peer.must_send(sender, &plain("a", "1"));
    let sent_ms = now_ms();
    while now_ms() <= sent_ms + 110 {
        server.count("q", "active");
    }
    peer.must_send(sender, &plain("a", "2"));
    assert_eq!(bodies(&mut peer, "q"), ["1", "2"]);
}

#[test]
fn duplicates_in_a_batch_and_on_the_schedule_are_found() {
    let server = serve(60 * SECOND_US);
    let mut peer = server.peer();
    let sender = peer.sender("q");
    let mut batch = BytesMut::new();
    for (id, body) in [("a", "1"), ("a", "2"), ("b", "3")] {
        put_data(&mut batch, &plain(id, body));
    }
    let whole = amqp::performative::Transfer { message_format: Some(BATCH_FORMAT), ..transfer(sender, 0) };
    assert_eq!(peer.send_as(&whole, &batch), DeliveryState::Accepted);
    assert_eq!(bodies(&mut peer, "q"), ["1", "3"]);
    let due = crate::support::due(now_ms() + 60_000);
    let schedule = |peer: &mut Peer, body: &str| {
        let message = Value::Binary(with_id("later".into(), body, &due));
        let entry = Value::Map(Map::new().with_string("message", message));
        let asked = Map::new().with_string("messages", Value::List(vec![entry]));
        let answer = peer.ask("q/$management", "com.microsoft:schedule-message", asked);
        answer.body.get("sequence-numbers").and_then(Value::as_elements).expect("numbers").to_vec()
    };
    let first = schedule(&mut peer, "1");
    assert_eq!(schedule(&mut peer, "2"), first, "a duplicate is the message that it repeats");
    assert_eq!(server.count("q", "scheduled"), 1);
}

#[test]
fn a_topic_looks_for_duplicates_before_its_subscriptions() {
    let mut with_window = topic("t", vec![subscription("a"), subscription("b")]);
    with_window.duplicate_window_us = Some(60 * SECOND_US);
    let server = Server::with_topics(Vec::new(), vec![with_window]);
    let mut peer = server.peer();
    let sender = peer.sender("t");
    for (id, body) in [("a", "1"), ("a", "2"), ("b", "3")] {
        peer.must_send(sender, &plain(id, body));
    }
    for name in ["a", "b"] {
        assert_eq!(bodies(&mut peer, &format!("t/Subscriptions/{name}")), ["1", "3"]);
    }
}

#[test]
fn without_detection_the_same_message_is_taken_again() {
    let server = Server::start();
    let mut peer = server.peer();
    let sender = peer.sender("q");
    for _ in 0..2 {
        peer.must_send(sender, &plain("a", "same"));
    }
    assert_eq!(bodies(&mut peer, "q").len(), 2);
}
