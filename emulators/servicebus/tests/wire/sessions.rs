//! Sessions as links see them: accepted by name or in turn, owned by one, in order, with a state, until their lock ends.

use amqp::encode::Encode as _;
use amqp::message::{Properties, put_data};
use amqp::performative::{Attach, DeliveryState, Detach, Error, Modified, Rejected, Role, Source};
use amqp::value::Array;
use amqp::{Map, Performative, Value};
use bytes::{Bytes, BytesMut};
use servicebus_emulator::config::QueueConfig;

use crate::support::{
    Answer, BATCH_FORMAT, Peer, Received, SECOND_US, Server, annotated, attach, message, now_ms, queue,
    rejected, subscription, topic, transfer,
};

const FILTER: &str = "com.microsoft:session-filter";
const NODE: &str = "q/$management";

fn session_queue() -> QueueConfig {
    QueueConfig { requires_session: true, ..queue("q") }
}

fn serve() -> Server {
    Server::with(vec![session_queue()])
}

/// A broker whose locks last so long, microseconds.
fn serve_with_locks(lock_us: u64) -> Server {
    Server::with(vec![QueueConfig { lock_us, ..session_queue() }])
}

/// A message of a session.
fn of(session: &str, body: &str) -> Bytes {
    let mut out = BytesMut::new();
    Properties { group_id: Some(session.to_owned()), ..Properties::default() }.encode(&mut out);
    put_data(&mut out, &Bytes::copy_from_slice(body.as_bytes()));
    out.freeze()
}

fn send(peer: &mut Peer, messages: &[(&str, &str)]) {
    let sender = peer.sender("q");
    for (session, body) in messages {
        peer.must_send(sender, &of(session, body));
    }
}

/// An attach that asks for a session; null asks for the next.
fn asking(handle: u32, address: &str, session: Value, timeout_ms: u32) -> Attach {
    let filter = Some(Map::new().with_symbol(FILTER, session));
    Attach {
        source: Some(Source { filter, ..Source::at(address) }),
        properties: Some(Map::new().with_symbol("com.microsoft:timeout", Value::Uint(timeout_ms))),
        ..attach(handle, Role::Receiver, address)
    }
}

fn granted(answer: &Attach) -> Value {
    let filter = answer.source.as_ref().and_then(|source| source.filter.as_ref()).expect("a filter");
    filter.get(FILTER).expect("the session").clone()
}

fn try_accept(peer: &mut Peer, session: Value, timeout_ms: u32) -> Result<(u32, String), Error> {
    let handle = peer.handle();
    let answer = peer.try_attach(asking(handle, "q", session, timeout_ms))?;
    match granted(&answer) {
        Value::String(id) => Ok((handle, id)),
        other => panic!("a session is text, not {other:?}"),
    }
}

fn accept(peer: &mut Peer, session: &str) -> u32 {
    try_accept(peer, session.into(), 5000).expect("a session").0
}

fn accept_next(peer: &mut Peer) -> (u32, String) {
    try_accept(peer, Value::Null, 5000).expect("a session")
}

fn take(peer: &mut Peer, handle: u32, count: u32) -> Vec<Received> {
    peer.credit(handle, count);
    (0..count).map(|_| peer.receive(handle)).collect()
}

fn bodies(received: &[Received]) -> Vec<String> {
    received.iter().map(Received::body).collect()
}

fn ask(peer: &mut Peer, operation: &str, body: Map) -> Answer {
    peer.ask(NODE, &format!("com.microsoft:{operation}"), body)
}

fn id(session: &str) -> Map {
    Map::new().with_string("session-id", session.into())
}

#[test]
fn a_session_is_accepted_by_name_and_its_messages_come_in_order() {
    let server = serve();
    let mut peer = server.peer();
    send(&mut peer, &[("a", "a1"), ("b", "b1"), ("a", "a2"), ("b", "b2"), ("a", "a3")]);
    let a = accept(&mut peer, "a");
    let received = take(&mut peer, a, 3);
    assert_eq!(bodies(&received), ["a1", "a2", "a3"]);
    for message in &received {
        let group = message.sections().properties(&message.payload).expect("properties").group_id;
        assert_eq!(group.as_deref(), Some("a"));
        peer.must_complete(message);
    }
    assert!(peer.drain(a, 5).is_empty(), "another session's messages do not come");
    assert_eq!(server.count("q", "active"), 2);
}

#[test]
fn the_answer_tells_the_session_and_the_end_of_its_lock() {
    const TICKS_AT_EPOCH: i64 = 621_355_968_000_000_000;
    let server = serve();
    let mut peer = server.peer();
    let before = now_ms();
    let handle = peer.handle();
    let answer = peer.try_attach(asking(handle, "q", "s".into(), 5000)).expect("a session");
    assert_eq!(granted(&answer), Value::from("s"), "a session may be accepted before it has messages");
    let properties = answer.properties.expect("properties");
    let Some(Value::Long(ticks)) = properties.get("com.microsoft:locked-until-utc") else {
        panic!("ticks are a long")
    };
    let until_ms = (ticks - TICKS_AT_EPOCH) / 10_000;
    assert!((before + 60_000..now_ms() + 60_001).contains(&until_ms), "{until_ms}");
    // The Go SDK describes its filter, and wants it back like that.
    let described = |value: Value| Value::Described(Box::new((Value::Ulong(0x0013_7000_000c), value)));
    let handle = peer.handle();
    let answer = peer.try_attach(asking(handle, "q", described("go".into()), 5000)).expect("a session");
    assert_eq!(granted(&answer), described("go".into()));
}

#[test]
fn a_session_has_one_owner() {
    let server = serve();
    let (mut one, mut other) = (server.peer(), server.peer());
    send(&mut one, &[("a", "x")]);
    let owned = accept(&mut one, "a");
    let error = try_accept(&mut other, "a".into(), 5000).expect_err("it has an owner");
    assert_eq!(error.condition.as_str(), "com.microsoft:session-cannot-be-locked");
    one.detach(owned);
    let now_owned = accept(&mut other, "a");
    assert_eq!(bodies(&take(&mut other, now_owned, 1)), ["x"]);
}

#[test]
fn the_next_session_is_the_one_that_waited_longest() {
    let server = serve();
    let mut peer = server.peer();
    send(&mut peer, &[("b", "1"), ("a", "2"), ("c", "3"), ("b", "4")]);
    let ids: Vec<_> = (0..3).map(|_| accept_next(&mut peer).1).collect();
    assert_eq!(ids, ["b", "a", "c"]);
}

#[test]
fn who_waits_for_a_session_gets_the_first_that_comes() {
    let server = serve();
    let (mut waiting, mut other) = (server.peer(), server.peer());
    let handle = waiting.handle();
    waiting.put(asking(handle, "q", Value::Null, 10_000));
    // Its credit is there before the answer.
    waiting.credit(handle, 10);
    send(&mut other, &[("late", "x")]);
    let (answer, _) =
        waiting.wait_for(|p| matches!(p, Performative::Attach(attach) if attach.handle == handle));
    let Performative::Attach(answer) = answer else { unreachable!("it was matched") };
    assert_eq!(granted(&answer), Value::from("late"));
    assert_eq!(waiting.receive(handle).body(), "x");
}

/// The official clients wait as long as they said, and read the condition.
#[test]
fn who_waits_in_vain_is_told_so_in_time() {
    let server = serve();
    let mut peer = server.peer();
    let begun = std::time::Instant::now();
    let error = try_accept(&mut peer, Value::Null, 200).expect_err("there is none");
    assert_eq!(error.condition.as_str(), "com.microsoft:timeout");
    assert!(begun.elapsed().as_millis() >= 190, "{:?}", begun.elapsed());
    // The link is gone, and nobody waits any more.
    send(&mut peer, &[("a", "x")]);
    assert_eq!(accept_next(&mut peer).1, "a");
}

#[test]
fn a_link_that_is_closed_while_it_waits_takes_no_session() {
    let server = serve();
    let mut peer = server.peer();
    let handle = peer.handle();
    peer.put(asking(handle, "q", Value::Null, 60_000));
    peer.put(Detach { handle, closed: true, error: None });
    let (answer, _) = peer.wait_for(|p| matches!(p, Performative::Attach(a) if a.handle == handle));
    assert!(matches!(answer, Performative::Attach(Attach { source: None, .. })), "{answer:?}");
    peer.wait_for(|p| matches!(p, Performative::Detach(d) if d.handle == handle && d.error.is_none()));
    send(&mut peer, &[("a", "x")]);
    assert_eq!(accept_next(&mut peer).1, "a");
}

#[test]
fn a_connection_that_ends_gives_its_sessions_back() {
    let server = serve();
    let mut peer = server.peer();
    send(&mut peer, &[("a", "x")]);
    let mut gone = server.peer();
    let handle = accept(&mut gone, "a");
    assert_eq!(take(&mut gone, handle, 1)[0].header().delivery_count, 0);
    let waiting = peer.handle();
    peer.put(asking(waiting, "q", Value::Null, 10_000));
    drop(gone);
    peer.wait_for(|p| matches!(p, Performative::Attach(a) if a.handle == waiting && a.source.is_some()));
    let again = take(&mut peer, waiting, 1);
    assert_eq!(
        (again[0].body().as_str(), again[0].header().delivery_count),
        ("x", 0),
        "it is as if not delivered"
    );
}

#[test]
fn entity_and_receiver_agree_on_sessions() {
    let server = Server::with(vec![session_queue(), queue("plain")]);
    let mut peer = server.peer();
    let handle = peer.handle();
    let error = peer.try_attach(attach(handle, Role::Receiver, "q")).expect_err("no session");
    assert_eq!(error.condition.as_str(), "amqp:not-allowed");
    for address in ["plain", "q/$DeadLetterQueue"] {
        let handle = peer.handle();
        let error = peer.try_attach(asking(handle, address, Value::Null, 1000)).expect_err("no sessions");
        assert_eq!(error.condition.as_str(), "amqp:not-allowed", "{address}");
    }
    for wrong in [Value::Int(1), Value::String("s".repeat(129))] {
        let error = try_accept(&mut peer, wrong, 1000).expect_err("no id");
        assert_eq!(error.condition.as_str(), "com.microsoft:argument-error");
    }
}

#[test]
fn a_message_without_a_session_is_refused_and_so_is_its_batch() {
    let server = serve();
    let mut peer = server.peer();
    let sender = peer.sender("q");
    assert_eq!(rejected(&peer.send(sender, &message("x"))), "amqp:not-allowed");
    assert_eq!(rejected(&peer.send(sender, &of(&"s".repeat(129), "x"))), "com.microsoft:argument-error");
    let mut batch = BytesMut::new();
    put_data(&mut batch, &of("a", "1"));
    put_data(&mut batch, &message("2"));
    let whole = amqp::performative::Transfer {
        message_format: Some(BATCH_FORMAT),
        ..transfer(sender, peer.next_delivery_id)
    };
    assert_eq!(rejected(&peer.send_as(&whole, &batch)), "amqp:not-allowed");
    assert_eq!(server.count("q", "active"), 0, "all or none");
}

#[test]
fn a_lock_that_runs_out_ends_the_link_and_counts_the_delivery() {
    let server = serve_with_locks(SECOND_US / 10);
    let mut peer = server.peer();
    send(&mut peer, &[("a", "x")]);
    let handle = accept(&mut peer, "a");
    let received = take(&mut peer, handle, 1).remove(0);
    let error = peer.detached(handle).expect("an error");
    assert_eq!(error.condition.as_str(), "com.microsoft:session-lock-lost");
    let state = peer.settle(&received, DeliveryState::Accepted);
    assert_eq!(rejected(&state), "amqp:not-found");
    let handle = accept(&mut peer, "a");
    let again = take(&mut peer, handle, 1).remove(0);
    assert_eq!((again.body().as_str(), again.header().delivery_count), ("x", 1));
    peer.must_complete(&again);
}

#[test]
fn a_link_without_credit_is_told_of_its_lost_lock_too() {
    let server = serve_with_locks(SECOND_US / 20);
    let mut peer = server.peer();
    let handle = accept(&mut peer, "a");
    assert_eq!(
        peer.detached(handle).expect("an error").condition.as_str(),
        "com.microsoft:session-lock-lost"
    );
}

#[test]
fn a_renewed_lock_holds_and_covers_the_messages() {
    let server = serve_with_locks(SECOND_US / 2);
    let mut peer = server.peer();
    send(&mut peer, &[("a", "x")]);
    let handle = accept(&mut peer, "a");
    let received = take(&mut peer, handle, 1).remove(0);
    let accepted_ms = now_ms();
    while now_ms() < accepted_ms + 700 {
        let answer = ask(&mut peer, "renew-session-lock", id("a"));
        assert_eq!(answer.status, 200);
        assert!(matches!(answer.body.get("expiration"), Some(Value::Timestamp(ms)) if *ms > now_ms()));
    }
    peer.must_complete(&received);
    let lock_tokens = Map::new().with_string("lock-tokens", Value::uuids([received.lock_token()]));
    let refused = ask(&mut peer, "renew-lock", lock_tokens);
    assert_eq!(
        (refused.status, refused.condition.as_deref()),
        (410, Some("com.microsoft:session-lock-lost"))
    );
}

#[test]
fn abandoned_messages_come_again_in_their_place_and_others_are_settled_as_ever() {
    let server = Server::with(vec![QueueConfig { max_delivery_count: 2, ..session_queue() }]);
    let mut peer = server.peer();
    send(&mut peer, &[("a", "1"), ("a", "2"), ("a", "3")]);
    let handle = accept(&mut peer, "a");
    let received = take(&mut peer, handle, 2);
    let abandon = || {
        DeliveryState::Modified(Modified {
            delivery_failed: Some(true),
            undeliverable_here: Some(false),
            message_annotations: None,
        })
    };
    peer.settle(&received[0], abandon());
    let again = take(&mut peer, handle, 1).remove(0);
    assert_eq!((again.body().as_str(), again.header().delivery_count), ("1", 1), "before the third");
    peer.settle(&again, abandon());
    peer.settle(&received[1], DeliveryState::Rejected(Rejected { error: None }));
    let dead = peer.deleting_receiver("q/$DeadLetterQueue");
    assert_eq!(bodies(&take(&mut peer, dead, 2)), ["1", "2"]);
    assert_eq!(bodies(&take(&mut peer, handle, 1)), ["3"]);
}

#[test]
fn a_session_keeps_its_state_from_owner_to_owner() {
    let server = serve();
    let mut peer = server.peer();
    let handle = accept(&mut peer, "a");
    let get = |peer: &mut Peer| {
        let answer = ask(peer, "get-session-state", id("a"));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body.get("session-state").expect("a state").clone()
    };
    let set = |peer: &mut Peer, state: Value| {
        ask(peer, "set-session-state", id("a").with_string("session-state", state))
    };
    assert_eq!(get(&mut peer), Value::Null);
    let state = Value::Binary(Bytes::from_static(b"half done"));
    assert_eq!(set(&mut peer, state.clone()).status, 200);
    peer.detach(handle);
    let handle = accept(&mut peer, "a");
    assert_eq!(get(&mut peer), state, "it outlives its owner");
    assert_eq!(set(&mut peer, Value::Null).status, 200);
    assert_eq!(get(&mut peer), Value::Null);
    let wrong = set(&mut peer, "text".into());
    assert_eq!((wrong.status, wrong.condition.as_deref()), (400, Some("com.microsoft:argument-error")));
    peer.detach(handle);
    for operation in ["get-session-state", "set-session-state", "renew-session-lock"] {
        let answer = ask(&mut peer, operation, id("a"));
        let got = (answer.status, answer.condition.as_deref());
        assert_eq!(got, (410, Some("com.microsoft:session-lock-lost")), "{operation}");
    }
}

#[test]
fn operations_on_sessions_need_a_session_and_an_entity_that_has_them() {
    let server = Server::with(vec![session_queue(), queue("plain")]);
    let mut peer = server.peer();
    for operation in ["get-session-state", "set-session-state", "renew-session-lock"] {
        let answer = ask(&mut peer, operation, Map::new());
        assert_eq!((answer.status, answer.condition.as_deref()), (400, Some("com.microsoft:argument-error")));
    }
    for operation in ["get-session-state", "set-session-state", "renew-session-lock", "get-message-sessions"]
    {
        let answer = peer.ask("plain/$management", &format!("com.microsoft:{operation}"), id("a"));
        assert_eq!(
            (answer.status, answer.condition.as_deref()),
            (400, Some("amqp:not-allowed")),
            "{operation}"
        );
    }
}

/// The instant that clients send for "all sessions with messages or a state".
const ALL: i64 = 253_402_300_800_000;

fn sessions(peer: &mut Peer, changed_ms: i64, skip: i32, top: i32) -> Vec<String> {
    let asked = Map::new()
        .with_string("last-updated-time", Value::Timestamp(changed_ms))
        .with_string("skip", Value::Int(skip))
        .with_string("top", Value::Int(top));
    let answer = ask(peer, "get-message-sessions", asked);
    match answer.body.get("sessions-ids") {
        Some(Value::Array(Array { elements, .. })) => {
            assert_eq!(answer.status, 200);
            elements.iter().map(|id| id.as_str().expect("text").to_owned()).collect()
        }
        None => {
            let got = (answer.status, answer.condition.as_deref());
            assert_eq!(got, (204, Some("com.microsoft:session-not-found")));
            Vec::new()
        }
        other => panic!("an array, not {other:?}"),
    }
}

#[test]
fn sessions_are_listed_by_messages_by_state_and_by_page() {
    let server = serve();
    let mut peer = server.peer();
    assert!(sessions(&mut peer, ALL, 0, 10).is_empty());
    send(&mut peer, &[("b", "x"), ("a", "x"), ("c", "x")]);
    let handle = accept(&mut peer, "d");
    let state = id("d").with_string("session-state", Value::Binary(Bytes::from_static(b"s")));
    let before = now_ms() - 1;
    assert_eq!(ask(&mut peer, "set-session-state", state).status, 200);
    peer.detach(handle);
    assert_eq!(sessions(&mut peer, ALL, 0, 10), ["a", "b", "c", "d"]);
    assert_eq!(sessions(&mut peer, ALL, 1, 2), ["b", "c"]);
    assert!(sessions(&mut peer, ALL, 4, 2).is_empty());
    assert_eq!(sessions(&mut peer, before, 0, 10), ["d"], "only those whose state changed since");
    assert!(sessions(&mut peer, now_ms() + 1000, 0, 10).is_empty());
    let handle = accept(&mut peer, "a");
    let received = take(&mut peer, handle, 1).remove(0);
    peer.must_complete(&received);
    assert_eq!(sessions(&mut peer, ALL, 0, 10), ["b", "c", "d"], "one without anything is none");
}

#[test]
fn a_peek_and_a_batch_delete_can_be_limited_to_a_session() {
    let server = serve();
    let mut peer = server.peer();
    send(&mut peer, &[("a", "a1"), ("b", "b1"), ("a", "a2")]);
    let peek = |peer: &mut Peer, body: Map| {
        let body = body
            .with_string("from-sequence-number", Value::Long(0))
            .with_string("message-count", Value::Int(9));
        let answer = ask(peer, "peek-message", body);
        answer.body.get("messages").and_then(Value::as_elements).map_or(0, <[Value]>::len)
    };
    assert_eq!(
        (peek(&mut peer, id("a")), peek(&mut peer, id("none")), peek(&mut peer, Map::new())),
        (2, 0, 3)
    );
    let delete = id("a")
        .with_string("message-count", Value::Int(9))
        .with_string("enqueued-time-utc", Value::Timestamp(now_ms() + 1000));
    assert_eq!(
        ask(&mut peer, "batch-delete-messages", delete).body.get("message-count"),
        Some(&Value::Int(2))
    );
    assert_eq!(server.count("q", "active"), 1);
}

#[test]
fn a_deferred_message_is_received_by_its_sessions_owner_alone() {
    let server = serve();
    let mut peer = server.peer();
    send(&mut peer, &[("a", "x"), ("b", "y")]);
    let handle = accept(&mut peer, "a");
    let received = take(&mut peer, handle, 1).remove(0);
    let number = received.sequence_number();
    let defer = Modified { delivery_failed: None, undeliverable_here: Some(true), message_annotations: None };
    peer.settle(&received, DeliveryState::Modified(defer));
    let receive = |peer: &mut Peer, session: Option<&str>| {
        let body = session.map_or(Map::new(), id);
        let body = body
            .with_string("sequence-numbers", Value::longs([number]))
            .with_string("receiver-settle-mode", Value::Uint(1));
        ask(peer, "receive-by-sequence-number", body)
    };
    for session in [None, Some("b"), Some("none")] {
        let answer = receive(&mut peer, session);
        assert_eq!(
            (answer.status, answer.condition.as_deref()),
            (410, Some("com.microsoft:session-lock-lost"))
        );
    }
    let other = accept(&mut peer, "b");
    assert_eq!(receive(&mut peer, Some("b")).status, 404, "it is of another session");
    let answer = receive(&mut peer, Some("a"));
    let messages = answer.body.get("messages").and_then(Value::as_elements).expect("messages").to_vec();
    let Some(Value::Uuid(token)) = messages[0].as_map().and_then(|map| map.get("lock-token")) else {
        panic!("a token")
    };
    let settle = id("a")
        .with_string("disposition-status", "completed".into())
        .with_string("lock-tokens", Value::uuids([*token]));
    assert_eq!(ask(&mut peer, "update-disposition", settle.clone()).status, 200);
    let again = ask(&mut peer, "update-disposition", settle);
    assert_eq!((again.status, again.condition.as_deref()), (410, Some("com.microsoft:session-lock-lost")));
    peer.detach(other);
}

#[test]
fn a_session_with_nothing_to_deliver_is_not_the_next() {
    let server = serve();
    let mut peer = server.peer();
    let sender = peer.sender("q");
    let mut later = BytesMut::new();
    let due = Map::new().with_symbol("x-opt-scheduled-enqueue-time", Value::Timestamp(now_ms() + 60_000));
    amqp::message::put_message_annotations(&mut later, &due);
    later.extend_from_slice(&of("later", "x"));
    peer.must_send(sender, &later);
    send(&mut peer, &[("deferred", "x")]);
    let (handle, _) = accept_next(&mut peer);
    let received = take(&mut peer, handle, 1).remove(0);
    let defer = Modified { delivery_failed: None, undeliverable_here: Some(true), message_annotations: None };
    peer.settle(&received, DeliveryState::Modified(defer));
    peer.detach(handle);
    let error = try_accept(&mut peer, Value::Null, 50).expect_err("none can be delivered");
    assert_eq!(error.condition.as_str(), "com.microsoft:timeout");
}

#[test]
fn a_scheduled_message_comes_into_its_session() {
    let server = serve();
    let mut peer = server.peer();
    let handle = accept(&mut peer, "a");
    peer.credit(handle, 1);
    let mut soon = BytesMut::new();
    let due = Map::new().with_symbol("x-opt-scheduled-enqueue-time", Value::Timestamp(now_ms() + 100));
    amqp::message::put_message_annotations(&mut soon, &due);
    soon.extend_from_slice(&of("a", "soon"));
    let sender = peer.sender("q");
    peer.must_send(sender, &soon);
    assert_eq!(peer.receive(handle).body(), "soon");
}

#[test]
fn received_and_deleted_messages_of_a_session_are_gone() {
    let server = serve();
    let mut peer = server.peer();
    send(&mut peer, &[("a", "1"), ("a", "2")]);
    let handle = peer.handle();
    let attach = Attach {
        snd_settle_mode: amqp::performative::SenderSettleMode::Settled,
        rcv_settle_mode: amqp::performative::ReceiverSettleMode::First,
        ..asking(handle, "q", "a".into(), 1000)
    };
    peer.try_attach(attach).expect("a session");
    let received = take(&mut peer, handle, 2);
    assert!(received.iter().all(|message| message.settled));
    assert_eq!(server.count("q", "completed_total"), 2);
}

#[test]
fn a_subscription_with_sessions_dead_letters_what_belongs_to_none() {
    let mut sub = subscription("s");
    sub.queue.requires_session = true;
    let server = Server::with_topics(Vec::new(), vec![topic("t", vec![sub])]);
    let mut peer = server.peer();
    let sender = peer.sender("t");
    peer.must_send(sender, &of("a", "mine"));
    peer.must_send(sender, &annotated("nobody's", &Map::new(), None));
    let handle = peer.handle();
    let path = "t/Subscriptions/s";
    let answer = peer.try_attach(asking(handle, path, Value::Null, 1000)).expect("a session");
    assert_eq!(granted(&answer), Value::from("a"));
    assert_eq!(bodies(&take(&mut peer, handle, 1)), ["mine"]);
    let dead = peer.receiver(&format!("{path}/$DeadLetterQueue"));
    let dead = peer.receive_one(dead);
    assert_eq!(dead.property("DeadLetterReason"), Some("Session id is null".into()));
}
