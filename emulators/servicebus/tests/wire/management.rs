//! `$cbs` and `$management`: requests as the SDKs send them, and answers of exactly the types that they read.

use amqp::encode::Encode as _;
use amqp::message::{Properties, Sections};
use amqp::performative::{AnyTarget, Attach, DeliveryState, Role, SenderSettleMode, Target, Transfer};
use amqp::value::Array;
use amqp::{Map, Value};
use bytes::{Bytes, BytesMut};
use servicebus_emulator::limits::REPLY_BYTES_MAX;

use crate::support::{
    Answer, Peer, Received, Server, annotated, attach, due, message, now_ms, read_answer, request, transfer,
};

const NODE: &str = "q/$management";

fn ask(peer: &mut Peer, operation: &str, body: Map) -> Answer {
    peer.ask(NODE, &format!("com.microsoft:{operation}"), body)
}

fn messages(answer: &Answer) -> Vec<Bytes> {
    let Some(Value::List(list)) = answer.body.get("messages") else {
        panic!("a list of messages: {answer:?}")
    };
    let message = |entry: &Value| match entry.as_map().and_then(|map| map.get("message")) {
        Some(Value::Binary(message)) => message.clone(),
        other => panic!("a message is binary, not {other:?}"),
    };
    list.iter().map(message).collect()
}

fn body(message: &Bytes) -> String {
    let data = Sections::scan(message).and_then(|sections| sections.data(message)).expect("a message");
    String::from_utf8(data.concat()).expect("text")
}

fn annotation(message: &Bytes, name: &str) -> Option<Value> {
    let sections = Sections::scan(message).expect("a message");
    sections.message_annotations(message).expect("annotations").get(name).cloned()
}

fn numbers(answer: &Answer) -> Vec<i64> {
    match answer.body.get("sequence-numbers") {
        // go-amqp asserts an array of longs.
        Some(Value::Array(Array { elements, .. })) => elements
            .iter()
            .map(|number| match number {
                Value::Long(number) => *number,
                other => panic!("a long, not {other:?}"),
            })
            .collect(),
        other => panic!("an array, not {other:?}"),
    }
}

fn peek(peer: &mut Peer, from: i64, count: i32) -> Answer {
    let asked = Map::new()
        .with_string("from-sequence-number", Value::Long(from))
        .with_string("message-count", Value::Int(count));
    ask(peer, "peek-message", asked)
}

fn schedule(peer: &mut Peer, messages: &[Bytes]) -> Answer {
    let entry = |(index, message): (usize, &Bytes)| {
        Value::Map(
            Map::new()
                .with_string("message-id", Value::String(index.to_string()))
                .with_string("message", Value::Binary(message.clone())),
        )
    };
    let list = Value::List(messages.iter().enumerate().map(entry).collect());
    ask(peer, "schedule-message", Map::new().with_string("messages", list))
}

fn cancel(peer: &mut Peer, numbers: &[i64]) -> Answer {
    let asked = Map::new().with_string("sequence-numbers", Value::longs(numbers.iter().copied()));
    ask(peer, "cancel-scheduled-message", asked)
}

#[test]
fn every_token_is_accepted() {
    let server = Server::start();
    let mut peer = server.peer();
    let token =
        "SharedAccessSignature sr=sb%3A%2F%2Flocalhost%2Fq&sig=x&se=1767225600&skn=RootManageSharedAccessKey";
    let properties = Map::new()
        .with_string("operation", "put-token".into())
        .with_string("type", "servicebus.windows.net:sastoken".into())
        .with_string("name", "amqp://localhost/q".into())
        .with_string("expiration", Value::Timestamp(now_ms() + 3_600_000));
    // Python's ids are UUIDs, the others' text: the answer has the very value.
    for id in [Value::Uuid([9; 16]), Value::from("id"), Value::Ulong(3)] {
        let answer = peer.ask_with("$cbs", &properties, &token.into(), id.clone());
        assert!([200, 202].contains(&answer.status));
        assert_eq!((answer.correlation_id, answer.condition), (Some(id), None));
    }
}

#[test]
fn cbs_knows_no_other_operation() {
    let server = Server::start();
    let mut peer = server.peer();
    let answer = peer.ask("$cbs", "delete-token", Map::new());
    assert_eq!((answer.status, answer.condition.as_deref()), (400, Some("amqp:not-implemented")));
    assert_eq!(peer.ask("$cbs", "put-token", Map::new()).status, 202);
}

/// `$cbs` says `status-code`, a management node `statusCode`: each SDK looks for that one only.
#[test]
fn the_two_nodes_call_their_status_differently() {
    let server = Server::start();
    let mut peer = server.peer();
    for (node, operation, name) in [("$cbs", "put-token", "status-code"), (NODE, "none", "statusCode")] {
        let (sender, answers) = peer.request_link(node);
        let properties = Map::new().with_string("operation", operation.into());
        let asked = request(&format!("{node}-{answers}"), &properties, &Value::Map(Map::new()), "id".into());
        peer.must_send(sender, &asked);
        assert!(matches!(peer.receive(answers).property(name), Some(Value::Int(_))), "{node}");
    }
}

/// The JavaScript SDK gives its answer link no address: its name is the address for answers.
#[test]
fn an_answer_finds_the_link_by_address_by_name_and_by_being_the_only_one() {
    let server = Server::start();
    let mut peer = server.peer();
    let by_address = peer.handle();
    let target = Some(AnyTarget::Node(Target::at("the-address")));
    peer.try_attach(Attach { target, ..attach(by_address, Role::Receiver, "$cbs") }).expect("a link");
    let by_name = peer.handle();
    let (target, name) = (Some(AnyTarget::Node(Target::default())), "the-name".to_owned());
    peer.try_attach(Attach { target, name, ..attach(by_name, Role::Receiver, "$cbs") }).expect("a link");
    for handle in [by_name, by_address] {
        peer.credit(handle, 10);
    }
    let sender = peer.sender("$cbs");
    let properties = Map::new().with_string("operation", "put-token".into());
    for (reply_to, handle) in [("the-name", by_name), ("the-address", by_address), ("the-name", by_name)] {
        peer.must_send(sender, &request(reply_to, &properties, &"token".into(), reply_to.into()));
        assert_eq!(read_answer(&peer.receive(handle)).correlation_id, Some(reply_to.into()));
    }
    peer.detach(by_name);
    peer.must_send(sender, &request("unknown", &properties, &"token".into(), "x".into()));
    assert_eq!(read_answer(&peer.receive(by_address)).correlation_id, Some("x".into()));
}

#[test]
fn an_answer_waits_for_credit() {
    let server = Server::start();
    let mut peer = server.peer();
    let answers = peer.deleting_receiver("$cbs");
    let handle = peer.handle();
    // .NET sends requests settled.
    let settled =
        Attach { snd_settle_mode: SenderSettleMode::Settled, ..attach(handle, Role::Sender, "$cbs") };
    peer.try_attach(settled).expect("a link");
    let properties = Map::new().with_string("operation", "put-token".into());
    for id in 0..3 {
        let message_id = Value::Ulong(id.into());
        let asked = request("none", &properties, &"token".into(), message_id);
        peer.put_transfer(&Transfer { settled: Some(true), ..transfer(handle, id) }, &asked);
    }
    for id in 0..3_u64 {
        let answer = peer.receive_one(answers);
        assert!(answer.settled);
        assert_eq!(read_answer(&answer).correlation_id, Some(Value::Ulong(id)));
    }
}

#[test]
fn an_unknown_operation_is_not_implemented() {
    let server = Server::start();
    let mut peer = server.peer();
    for operation in ["add-rules", "none", ""] {
        let answer = ask(&mut peer, operation, Map::new());
        assert_eq!((answer.status, answer.condition.as_deref()), (501, Some("amqp:not-implemented")));
    }
}

#[test]
fn a_peek_shows_messages_in_every_state_and_changes_none() {
    let server = Server::start();
    let mut peer = server.peer();
    let sender = peer.sender("q");
    for text in ["locked", "active"] {
        peer.must_send(sender, &message(text));
    }
    peer.must_send(sender, &annotated("scheduled", &due(now_ms() + 3_600_000), None));
    let receiver = peer.receiver("q");
    let locked = peer.receive_one(receiver);
    for _ in 0..2 {
        let answer = peek(&mut peer, 0, 10);
        assert_eq!(answer.status, 200);
        let found = messages(&answer);
        assert_eq!(found.iter().map(body).collect::<Vec<_>>(), ["locked", "active", "scheduled"]);
        let states: Vec<_> = found.iter().map(|message| annotation(message, "x-opt-message-state")).collect();
        assert_eq!(states, [0, 0, 2].map(|state| Some(Value::Int(state))));
        let order: Vec<_> =
            found.iter().map(|message| annotation(message, "x-opt-sequence-number")).collect();
        assert_eq!(order, [1, 2, 3].map(|number| Some(Value::Long(number))));
    }
    assert_eq!(messages(&peek(&mut peer, 2, 1)).iter().map(body).collect::<Vec<_>>(), ["active"]);
    assert_eq!(server.count("q", "locked"), 1);
    peer.must_complete(&locked);
}

#[test]
fn a_peek_beyond_the_last_message_finds_none() {
    let server = Server::start();
    let mut peer = server.peer();
    let answer = peek(&mut peer, 0, 10);
    assert_eq!((answer.status, answer.condition.as_deref()), (204, Some("com.microsoft:message-not-found")));
    let sender = peer.sender("q");
    peer.must_send(sender, &message("one"));
    assert_eq!(peek(&mut peer, 2, 10).status, 204);
    let dead = Map::new()
        .with_string("from-sequence-number", Value::Long(0))
        .with_string("message-count", Value::Int(1));
    let answer = peer.ask("q/$DeadLetterQueue/$management", "com.microsoft:peek-message", dead);
    assert_eq!(answer.status, 204, "the dead-letter queue is another");
}

/// An answer has a size that can be received; the SDK asks on from the last message that it has seen.
#[test]
fn a_peek_at_much_shows_a_part() {
    let server = Server::start();
    let mut peer = server.peer();
    let sender = peer.sender("q");
    let large = message(&"x".repeat(60_000));
    for _ in 0..40 {
        peer.must_send(sender, &large);
    }
    let shown = messages(&peek(&mut peer, 0, 250)).len();
    assert!((10..40).contains(&shown), "{shown}");
}

#[test]
fn messages_are_scheduled_and_cancelled_under_their_numbers() {
    let server = Server::start();
    let mut peer = server.peer();
    let later = now_ms() + 3_600_000;
    let answer = schedule(&mut peer, &[annotated("a", &due(later), None), annotated("b", &due(later), None)]);
    assert_eq!((answer.status, numbers(&answer)), (200, vec![1, 2]));
    assert_eq!(server.count("q", "scheduled"), 2);
    assert_eq!(cancel(&mut peer, &[1]).status, 200);
    assert_eq!(server.count("q", "scheduled"), 1);
    // Not once more, and not what is no scheduled message.
    let sender = peer.sender("q");
    peer.must_send(sender, &message("active"));
    for number in [1, 3, 99] {
        let answer = cancel(&mut peer, &[number]);
        assert_eq!(
            (answer.status, answer.condition.as_deref()),
            (404, Some("com.microsoft:message-not-found"))
        );
    }
    assert_eq!((server.count("q", "scheduled"), server.count("q", "active")), (1, 1));
}

#[test]
fn a_scheduled_message_comes_at_its_instant_and_cannot_be_cancelled_then() {
    let server = Server::start();
    let mut peer = server.peer();
    let receiver = peer.receiver("q");
    let due_ms = now_ms() + 1000;
    let number = numbers(&schedule(&mut peer, &[annotated("later", &due(due_ms), None)]))[0];
    let received = peer.receive_one(receiver);
    assert!(now_ms() >= due_ms);
    assert_ne!(received.sequence_number(), number, "the number was a handle to cancel with");
    assert_eq!(cancel(&mut peer, &[number]).status, 404);
}

#[test]
fn scheduling_needs_an_instant_and_a_message() {
    let server = Server::start();
    let mut peer = server.peer();
    let later = due(now_ms() + 3_600_000);
    let without_instant = schedule(&mut peer, &[annotated("a", &later, None), message("b")]);
    assert_eq!(without_instant.status, 400);
    assert_eq!(without_instant.condition.as_deref(), Some("com.microsoft:argument-error"));
    assert_eq!(schedule(&mut peer, &[Bytes::from_static(b"no message")]).status, 400);
    let no_list = Map::new().with_string("messages", Value::Int(1));
    assert_eq!(ask(&mut peer, "schedule-message", no_list).status, 400);
    assert_eq!(server.count("q", "scheduled"), 0, "all or none");
}

fn deferred(peer: &mut Peer, body: &str) -> Received {
    let sender = peer.sender("q");
    peer.must_send(sender, &message(body));
    let receiver = peer.receiver("q");
    let received = peer.receive_one(receiver);
    let defer = DeliveryState::Modified(amqp::performative::Modified {
        delivery_failed: None,
        undeliverable_here: Some(true),
        message_annotations: None,
    });
    assert_eq!(peer.settle(&received, defer.clone()), defer);
    received
}

fn by_number(peer: &mut Peer, number: i64, settle_mode: u32) -> Answer {
    by_numbers(peer, &[number], settle_mode)
}

fn by_numbers(peer: &mut Peer, numbers: &[i64], settle_mode: u32) -> Answer {
    let asked = Map::new()
        .with_string("sequence-numbers", Value::longs(numbers.iter().copied()))
        .with_string("receiver-settle-mode", Value::Uint(settle_mode));
    ask(peer, "receive-by-sequence-number", asked)
}

fn update(peer: &mut Peer, token: Value, status: &str, more: Map) -> Answer {
    let tokens = Value::Array(Array { element_code: 0x98, elements: vec![token] });
    let mut asked =
        Map::new().with_string("disposition-status", status.into()).with_string("lock-tokens", tokens);
    asked.0.extend(more.0);
    ask(peer, "update-disposition", asked)
}

#[test]
fn a_deferred_message_is_locked_and_settled_through_the_node() {
    let server = Server::start();
    let mut peer = server.peer();
    let number = deferred(&mut peer, "deferred").sequence_number();
    let token = |answer: &Answer| {
        let Some(Value::List(list)) = answer.body.get("messages") else { panic!("{answer:?}") };
        list[0].as_map().and_then(|map| map.get("lock-token")).cloned().expect("a token")
    };
    let first = by_number(&mut peer, number, 1);
    assert_eq!((first.status, body(&messages(&first)[0])), (200, "deferred".to_owned()));
    let locked = by_number(&mut peer, number, 1);
    assert_eq!((locked.status, locked.condition.as_deref()), (404, Some("com.microsoft:message-not-found")));
    // Given back, it is still deferred.
    assert_eq!(update(&mut peer, token(&first), "abandoned", Map::new()).status, 200);
    let second = by_number(&mut peer, number, 1);
    assert_eq!(update(&mut peer, token(&second), "defered", Map::new()).status, 200);
    let third = by_number(&mut peer, number, 1);
    let why = Map::new()
        .with_string("deadletter-reason", "late".into())
        .with_string("deadletter-description", "too late".into());
    assert_eq!(update(&mut peer, token(&third), "suspended", why).status, 200);
    let dead = peer.receiver("q/$DeadLetterQueue");
    let letter = peer.receive_one(dead);
    assert_eq!(letter.property("DeadLetterReason"), Some("late".into()));
    assert_eq!(letter.property("DeadLetterErrorDescription"), Some("too late".into()));
    // And the lock is no more.
    let lost = update(&mut peer, token(&third), "completed", Map::new());
    assert_eq!((lost.status, lost.condition.as_deref()), (410, Some("com.microsoft:message-lock-lost")));
}

#[test]
fn a_deferred_message_is_taken_at_once_where_that_is_asked() {
    let server = Server::start();
    let mut peer = server.peer();
    let number = deferred(&mut peer, "deferred").sequence_number();
    assert_eq!(by_number(&mut peer, number, 0).status, 200);
    assert_eq!(by_number(&mut peer, number, 0).status, 404);
    assert_eq!(server.count("q", "completed_total"), 1);
}

/// What does not fit the answer is neither locked nor taken.
#[test]
fn an_answer_with_deferred_messages_has_an_end() {
    let server = Server::start();
    let mut peer = server.peer();
    let body = "x".repeat(60_000);
    let enough = REPLY_BYTES_MAX.div_ceil(body.len());
    let numbers: Vec<i64> = (0..enough + 2).map(|_| deferred(&mut peer, &body).sequence_number()).collect();
    for (settle_mode, left) in [(1, 2), (0, 0)] {
        let answer = by_numbers(&mut peer, &numbers, settle_mode);
        assert_eq!(answer.status, 200);
        assert_eq!(server.count("q", "deferred"), left);
        assert!(messages(&answer).len() <= enough);
    }
}

#[test]
fn messages_that_came_before_an_instant_are_deleted_in_one_request() {
    let server = Server::start();
    let mut peer = server.peer();
    let sender = peer.sender("q");
    for text in ["1", "2", "3"] {
        peer.must_send(sender, &message(text));
    }
    let delete = |peer: &mut Peer, count: i32, before_ms: i64| {
        let asked = Map::new()
            .with_string("message-count", Value::Int(count))
            .with_string("enqueued-time-utc", Value::Timestamp(before_ms));
        let answer = ask(peer, "batch-delete-messages", asked);
        (answer.status, answer.body.get("message-count").cloned())
    };
    assert_eq!(delete(&mut peer, 10, now_ms() - 3_600_000), (204, None));
    assert_eq!(delete(&mut peer, 2, now_ms() + 1000), (200, Some(Value::Int(2))));
    assert_eq!(server.count("q", "active"), 1);
}

/// Every wrong argument is told by its name, and the link goes on.
#[test]
fn wrong_arguments_are_named() {
    let server = Server::start();
    let mut peer = server.peer();
    let text = |key: &str| Map::new().with_string(key, "text".into());
    let none = || Value::Array(Array { element_code: 0x98, elements: vec![] });
    let cases = [
        ("renew-lock", Map::new()),
        ("renew-lock", text("lock-tokens")),
        ("renew-lock", Map::new().with_string("lock-tokens", none())),
        ("renew-lock", Map::new().with_string("lock-tokens", Value::longs([1]))),
        ("peek-message", text("from-sequence-number")),
        ("peek-message", Map::new().with_string("from-sequence-number", Value::Long(0))),
        ("receive-by-sequence-number", text("sequence-numbers")),
        ("receive-by-sequence-number", Map::new().with_string("sequence-numbers", Value::longs([-1]))),
        ("cancel-scheduled-message", Map::new()),
        ("update-disposition", text("disposition-status")),
        ("batch-delete-messages", text("message-count")),
    ];
    for (operation, body) in cases {
        let answer = ask(&mut peer, operation, body);
        assert_eq!(answer.status, 400, "{operation}");
        assert_eq!(answer.condition.as_deref(), Some("com.microsoft:argument-error"), "{operation}");
    }
    assert_eq!(peek(&mut peer, 0, -1).status, 400);
    let unknown = Map::new().with_string("lock-tokens", Value::uuids([[0; 16]]));
    let answer = ask(&mut peer, "renew-lock", unknown);
    assert_eq!((answer.status, answer.condition.as_deref()), (410, Some("com.microsoft:message-lock-lost")));
}

/// Whom to answer cannot be read from it, so the link tells.
#[test]
fn a_request_that_cannot_be_read_ends_its_link_only() {
    let server = Server::start();
    let mut peer = server.peer();
    let receiver = peer.receiver("q");
    let mut bad_ids = BytesMut::new();
    Properties { subject: Some("s".to_owned()), ..Properties::default() }.encode(&mut bad_ids);
    // The subject becomes a number where text must stand.
    let at = bad_ids.iter().position(|byte| *byte == 0xa1).expect("a string");
    bad_ids[at] = 0xa0;
    for bytes in [&b"\x00\x53\x77"[..], b"not AMQP", &bad_ids] {
        for node in ["$cbs", NODE] {
            let sender = peer.sender(node);
            let id = peer.next_delivery_id;
            peer.put_transfer(&transfer(sender, id), bytes);
            peer.next_delivery_id += 1;
            let error = peer.detached(sender).expect("it says why");
            assert_eq!(error.condition.as_str(), "amqp:decode-error", "{bytes:?}");
        }
    }
    assert!(peer.drain(receiver, 1).is_empty(), "the session goes on");
}

/// A body that is no map, no operation, no id: answered as far as it can be.
#[test]
fn a_request_without_meaning_is_answered() {
    let server = Server::start();
    let mut peer = server.peer();
    let cases = [Value::Null, Value::Int(1), Value::List(vec![]), Value::from("text")];
    for body in cases {
        let answer = peer.ask_with(NODE, &Map::new(), &body, "id".into());
        assert_eq!(answer.status, 501);
        let peek = Map::new().with_string("operation", "com.microsoft:peek-message".into());
        assert_eq!(peer.ask_with(NODE, &peek, &body, "id".into()).status, 400);
    }
}
