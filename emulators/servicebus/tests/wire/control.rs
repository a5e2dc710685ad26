//! The HTTP port: health, clock, recorder and queues.

use amqp::performative::{DeliveryState, Modified, Rejected};
use serde_json::{Value as Json, json};
use servicebus_emulator::config::QueueConfig;
use servicebus_emulator::limits::REPLY_BYTES_MAX;

use crate::support::{Server, annotated, due, message, now_ms, queue};

fn rows(server: &Server) -> Vec<Json> {
    let (status, body, head) = server.http("GET", "/_emulator/recorder", "");
    assert_eq!(status, 200);
    assert!(head.contains("x-recorder-dropped: 0"), "{head}");
    body.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn record(server: &Server) {
    assert_eq!(server.http("PUT", "/_emulator/recorder", r#"{"record_key":"orderId"}"#).0, 204);
}

#[test]
fn health_is_told_as_the_official_emulator_tells_it() {
    let server = Server::start();
    let (status, body, head) = server.http("GET", "/health", "");
    assert_eq!(status, 200);
    assert!(head.contains("content-type: application/json"));
    let body: Json = serde_json::from_str(&body).expect("JSON");
    assert_eq!(body, json!({ "status": "healthy", "message": "Service is healthy." }));
}

#[test]
fn the_clock_is_in_microseconds() {
    let server = Server::start();
    let before_ms = now_ms();
    let (status, body, _) = server.http("GET", "/_emulator/clock", "");
    let clock: Json = serde_json::from_str(&body).expect("JSON");
    let unix_ms = clock["unix_us"].as_i64().expect("a number") / 1000;
    assert_eq!(status, 200);
    assert!((before_ms..=now_ms()).contains(&unix_ms));
}

#[test]
fn the_recorder_tells_a_messages_life() {
    let server = Server::start();
    record(&server);
    let mut peer = server.peer();
    let sender = peer.sender("q");
    let start_us = now_ms() * 1000;
    let due_ms = now_ms() + 1000;
    peer.must_send(sender, &message(r#"{"orderId":7,"x":1}"#));
    peer.must_send(sender, &annotated(r#"{"orderId":"eight"}"#, &due(due_ms), None));
    peer.must_send(sender, &message("no JSON"));
    let receiver = peer.receiver("q");
    peer.credit(receiver, 3);
    for _ in 0..3 {
        let received = peer.receive(receiver);
        peer.must_complete(&received);
    }
    let rows = rows(&server);
    let keys: Vec<_> = rows.iter().map(|row| row["key"].clone()).collect();
    assert_eq!(keys, [json!(7), json!("eight"), Json::Null]);
    for row in &rows {
        let at = |field: &str| row[field].as_i64().unwrap_or_else(|| panic!("{field} of {row}"));
        assert_eq!((row["queue"].as_str(), row["outcome"].as_str()), (Some("q"), Some("completed")));
        assert!(start_us <= at("enqueued_us") && at("enqueued_us") <= at("due_us"));
        assert!(at("due_us") <= at("delivered_us") && at("delivered_us") <= at("settled_us"));
        assert_eq!(at("delivery_count"), 1);
    }
    assert_eq!(rows[1]["due_us"], json!(due_ms * 1000));
    assert_eq!(rows[0]["due_us"], rows[0]["enqueued_us"]);
    assert_eq!(rows[1]["sequence_number"], json!(4), "the number under which it was delivered");
}

/// A redelivered order's wait in the queue once had its lock's time in it.
#[test]
fn the_recorder_keeps_the_first_of_several_deliveries() {
    let server = Server::start();
    record(&server);
    let mut peer = server.peer();
    let sender = peer.sender("q");
    let receiver = peer.receiver("q");
    peer.must_send(sender, &message(r#"{"orderId":1}"#));
    let received = peer.receive_one(receiver);
    let first = rows(&server).remove(0);
    let abandon =
        Modified { delivery_failed: Some(true), undeliverable_here: None, message_annotations: None };
    peer.settle(&received, DeliveryState::Modified(abandon));
    let received = peer.receive_one(receiver);
    peer.must_complete(&received);
    let last = rows(&server).remove(0);
    assert_eq!(last["delivered_us"], first["delivered_us"]);
    assert_eq!((&last["delivery_count"], &last["outcome"]), (&json!(2), &json!("completed")));
    assert!(last["settled_us"].as_i64() > last["delivered_us"].as_i64());
}

#[test]
fn the_recorder_tells_how_a_life_ended() {
    let server = Server::with(vec![QueueConfig { max_delivery_count: 1, ..queue("q") }]);
    record(&server);
    let mut peer = server.peer();
    let sender = peer.sender("q");
    let receiver = peer.receiver("q");
    let abandon = || {
        DeliveryState::Modified(Modified {
            delivery_failed: None,
            undeliverable_here: None,
            message_annotations: None,
        })
    };
    let reject = DeliveryState::Rejected(Rejected { error: None });
    for (body, state) in [(r#"{"orderId":1}"#, reject), (r#"{"orderId":2}"#, abandon())] {
        peer.must_send(sender, &message(body));
        let received = peer.receive_one(receiver);
        peer.settle(&received, state);
    }
    peer.must_send(sender, &annotated(r#"{"orderId":3}"#, &amqp::Map::new(), Some(1)));
    server.until_count("q", "active", 0);
    peer.must_send(sender, &message(r#"{"orderId":4}"#));
    let outcomes: Vec<_> = rows(&server).iter().map(|row| row["outcome"].clone()).collect();
    assert_eq!(outcomes, [json!("dead-lettered"), json!("dead-lettered"), json!("expired"), Json::Null]);
}

#[test]
fn the_recorder_is_off_until_asked_and_forgets_when_asked() {
    let server = Server::start();
    let mut peer = server.peer();
    let sender = peer.sender("q");
    peer.must_send(sender, &message(r#"{"orderId":1}"#));
    assert_eq!(rows(&server), Vec::<Json>::new());
    record(&server);
    peer.must_send(sender, &message(r#"{"orderId":2}"#));
    assert_eq!(rows(&server).len(), 1);
    // A new recording begins empty, and messages of the old one write no row of it.
    record(&server);
    let receiver = peer.deleting_receiver("q");
    peer.drain(receiver, 10);
    assert_eq!(rows(&server), Vec::<Json>::new());
    peer.must_send(sender, &message(r#"{"orderId":3}"#));
    assert_eq!(server.http("DELETE", "/_emulator/recorder", "").0, 204);
    assert_eq!(rows(&server), Vec::<Json>::new());
}

#[test]
fn the_recorder_wants_a_key() {
    let server = Server::start();
    for body in ["", "{}", "[]", "x", r#"{"record_key":1}"#, r#"{"record_key":"a","more":1}"#] {
        let (status, answer, _) = server.http("PUT", "/_emulator/recorder", body);
        assert_eq!(status, 400, "{body}");
        assert!(answer.contains("record_key"), "{answer}");
    }
    assert_eq!(server.http("PUT", "/_emulator/recorder", &"x".repeat(100_000)).0, 413);
}

#[test]
fn queues_are_counted() {
    let server = Server::with(vec![queue("first"), queue("q")]);
    let mut peer = server.peer();
    let sender = peer.sender("q");
    for body in ["1", "2", "3"] {
        peer.must_send(sender, &message(body));
    }
    peer.must_send(sender, &annotated("4", &due(now_ms() + 3_600_000), None));
    let receiver = peer.receiver("q");
    peer.credit(receiver, 2);
    let (one, two) = (peer.receive(receiver), peer.receive(receiver));
    peer.must_complete(&one);
    peer.settle(&two, DeliveryState::Rejected(Rejected { error: None }));
    peer.receive_one(receiver);
    let (_, body, _) = server.http("GET", "/_emulator/queues", "");
    let rows: Json = serde_json::from_str(&body).expect("JSON");
    let empty = json!({ "name": "first", "active": 0, "scheduled": 0, "deferred": 0, "locked": 0, "dead_lettered": 0,
        "enqueued_total": 0, "completed_total": 0, "dead_lettered_total": 0 });
    let used = json!({ "name": "q", "active": 0, "scheduled": 1, "deferred": 0, "locked": 1, "dead_lettered": 1,
        "enqueued_total": 4, "completed_total": 1, "dead_lettered_total": 1 });
    assert_eq!(rows, json!([empty, used]));
}

#[test]
fn messages_are_shown_and_stay() {
    let server = Server::with(vec![queue("a/b")]);
    let mut peer = server.peer();
    let sender = peer.sender("a/b");
    peer.must_send(sender, &message(r#"{"orderId":1}"#));
    let mut binary = bytes::BytesMut::new();
    amqp::message::put_application_properties(
        &mut binary,
        &amqp::Map::new().with_string("n", amqp::Value::Int(5)),
    );
    amqp::message::put_data(&mut binary, &bytes::Bytes::from_static(b"\xff\xfe"));
    peer.must_send(sender, &binary);
    let receiver = peer.receiver("a/b");
    let received = peer.receive_one(receiver);
    let show = |query: &str| {
        let (status, body, _) = server.http("GET", &format!("/_emulator/queues/a%2Fb/messages{query}"), "");
        (status, serde_json::from_str::<Json>(&body).expect("JSON"))
    };
    let (status, shown) = show("");
    assert_eq!(status, 200);
    assert_eq!((&shown[0]["state"], &shown[0]["body"]), (&json!("locked"), &json!(r#"{"orderId":1}"#)));
    assert_eq!((&shown[0]["sequence_number"], &shown[0]["delivery_count"]), (&json!(1), &json!(1)));
    assert_eq!((&shown[1]["state"], &shown[1]["body_base64"]), (&json!("active"), &json!("//4=")));
    assert_eq!(shown[1]["application_properties"], json!({ "n": 5 }));
    assert_eq!(show("?limit=1").1.as_array().map(Vec::len), Some(1));
    assert_eq!(show("?dead_letter=true").1, json!([]));
    peer.settle(&received, DeliveryState::Rejected(Rejected { error: None }));
    assert_eq!(show("?dead_letter=true").1[0]["body"], json!(r#"{"orderId":1}"#));
    for query in ["?limit=0", "?limit=1001", "?limit=x", "?dead_letter=yes", "?other=1"] {
        assert_eq!(show(query).0, 400, "{query}");
    }
}

#[test]
fn what_is_not_there_is_said_to_be_not_there() {
    let server = Server::start();
    for path in
        ["/", "/health/", "/_emulator", "/_emulator/queues/none/messages", "/_emulator/queues/q", "/%ff"]
    {
        assert_eq!(server.http("GET", path, "").0, 404, "{path}");
    }
    for (method, path) in [("POST", "/health"), ("DELETE", "/_emulator/queues"), ("PUT", "/_emulator/clock")]
    {
        assert_eq!(server.http(method, path, "").0, 405, "{method} {path}");
    }
}

#[test]
fn large_messages_are_shown_only_as_far_as_they_fit() {
    let server = Server::start();
    let mut peer = server.peer();
    let sender = peer.sender("q");
    let body = "x".repeat(60_000);
    let enough = REPLY_BYTES_MAX.div_ceil(body.len());
    (0..enough + 2).for_each(|_| peer.must_send(sender, &message(&body)));
    let (status, shown, _) = server.http("GET", "/_emulator/queues/q/messages", "");
    let shown: Json = serde_json::from_str(&shown).expect("JSON");
    assert_eq!((status, shown.as_array().map(Vec::len)), (200, Some(enough)));
}
