//! Messages in: single, in batches, in pieces; what is refused, and that nothing of it is stored.

use amqp::encode::Encode as _;
use amqp::message::{Header, Properties, put_application_properties, put_data, put_delivery_annotations};
use amqp::performative::{DeliveryState, Flow, Role, SenderSettleMode, TransactionalState, Transfer};
use amqp::value::Symbol;
use amqp::{Map, Performative, Value};
use bytes::{Bytes, BytesMut};

use crate::support::{
    BATCH_FORMAT, MAX_MESSAGE_BYTES, Peer, Server, annotated, attach, message, rejected, transfer,
};

fn batch(messages: &[Bytes]) -> Bytes {
    let mut out = BytesMut::new();
    messages.iter().for_each(|message| put_data(&mut out, message));
    out.freeze()
}

fn as_batch(peer: &Peer, handle: u32) -> Transfer {
    Transfer { message_format: Some(BATCH_FORMAT), ..transfer(handle, peer.next_delivery_id) }
}

/// What is in the queue, in order.
fn bodies(server: &Server) -> Vec<String> {
    let mut peer = server.peer();
    let receiver = peer.deleting_receiver("q");
    peer.drain(receiver, 1000).iter().map(|received| received.body()).collect()
}

#[test]
fn messages_come_out_in_the_order_in_which_they_went_in() {
    let server = Server::start();
    let mut peer = server.peer();
    let sender = peer.sender("q");
    for body in ["one", "two", "three"] {
        peer.must_send(sender, &message(body));
    }
    assert_eq!(bodies(&server), ["one", "two", "three"]);
}

/// Unknown annotations, ids of any type, every kind of property: what a client wrote comes back byte for byte.
#[test]
fn all_that_a_client_wrote_comes_back_as_it_was() {
    let server = Server::start();
    let mut peer = server.peer();
    let sender = peer.sender("q");
    let receiver = peer.receiver("q");
    for id in
        [Value::from("text"), Value::Uuid([7; 16]), Value::Ulong(9), Value::Binary(Bytes::from_static(b"b"))]
    {
        let properties = Properties {
            message_id: Some(id.clone()),
            correlation_id: Some(id),
            subject: Some("label".to_owned()),
            content_type: Some(Symbol::from("application/json")),
            reply_to_group_id: Some("rs".to_owned()),
            ..Properties::default()
        };
        let application = Map::new()
            .with_string("int", Value::Int(-5))
            .with_string("when", Value::Timestamp(1_767_225_600_000))
            .with_string("nothing", Value::Null);
        let mut sent = BytesMut::new();
        Header { durable: true, priority: 9, ttl: Some(600_000), ..Header::default() }.encode(&mut sent);
        put_delivery_annotations(&mut sent, &Map::new().with_symbol("x-hop", Value::Int(1)));
        let annotations = Map::new()
            .with_symbol("x-mine", Value::List(vec![Value::Int(1)]))
            .with_symbol("x-opt-partition-key", "p".into())
            .with_symbol("x-opt-sequence-number", Value::Long(99));
        amqp::message::put_message_annotations(&mut sent, &annotations);
        properties.encode(&mut sent);
        put_application_properties(&mut sent, &application);
        put_data(&mut sent, &Bytes::from_static(b"first"));
        put_data(&mut sent, &Bytes::from_static(b"second"));
        peer.must_send(sender, &sent);

        let received = peer.receive_one(receiver);
        let sections = received.sections();
        assert_eq!(sections.properties(&received.payload), Ok(properties));
        assert_eq!(sections.application_properties(&received.payload), Ok(application));
        assert_eq!(sections.data(&received.payload), Ok(vec!["first".into(), "second".into()]));
        assert_eq!(received.annotation("x-mine"), Some(Value::List(vec![Value::Int(1)])));
        assert_eq!(received.annotation("x-opt-partition-key"), Some("p".into()));
        assert_ne!(received.sequence_number(), 99, "that one is the broker's");
        let header = received.header();
        assert_eq!((header.durable, header.priority, header.ttl), (true, 9, Some(600_000)));
        peer.must_complete(&received);
    }
}

#[test]
fn a_batch_is_taken_apart_and_said_to_be_accepted_once() {
    let server = Server::start();
    let mut peer = server.peer();
    let sender = peer.sender("q");
    let batch = batch(&[message("1"), message("2"), message("3")]);
    assert_eq!(peer.send_as(&as_batch(&peer, sender), &batch), DeliveryState::Accepted);
    assert_eq!(bodies(&server), ["1", "2", "3"]);
}

#[test]
fn of_a_batch_with_one_bad_message_nothing_is_stored() {
    let server = Server::start();
    let mut peer = server.peer();
    let sender = peer.sender("q");
    let bad = batch(&[message("1"), Bytes::from_static(b"no message"), message("3")]);
    assert_eq!(rejected(&peer.send_as(&as_batch(&peer, sender), &bad)), "amqp:decode-error");
    assert_eq!(bodies(&server), Vec::<String>::new());
}

/// Accepting it would have been a promise to keep a message that is nowhere.
#[test]
fn a_batch_without_messages_is_refused() {
    let server = Server::start();
    let mut peer = server.peer();
    let sender = peer.sender("q");
    let mut value = BytesMut::new();
    amqp::message::put_value(&mut value, &"a value, no data section".into());
    for payload in [&b""[..], &value] {
        let state = peer.send_as(&as_batch(&peer, sender), payload);
        assert_eq!(rejected(&state), "com.microsoft:argument-error");
    }
    peer.must_send(sender, &message("after"));
    assert_eq!(bodies(&server), ["after"]);
}

#[test]
fn a_message_in_pieces_is_put_together() {
    let server = Server::start();
    let mut peer = server.peer();
    let sender = peer.sender("q");
    let whole = message(&"0123456789".repeat(1000));
    for piece in [1000, whole.len() - 1] {
        let id = peer.next_delivery_id;
        let pieces: Vec<_> = whole.chunks(piece).collect();
        for (index, bytes) in pieces.iter().enumerate() {
            // Later frames need not repeat what the first has said.
            let first = index == 0;
            let frame = Transfer {
                more: index + 1 < pieces.len(),
                delivery_id: first.then_some(id),
                delivery_tag: first.then(|| Bytes::from_static(b"t")),
                message_format: first.then_some(0),
                ..transfer(sender, id)
            };
            peer.put_transfer(&frame, bytes);
        }
        peer.next_delivery_id += 1;
        assert_eq!(peer.said_of(Role::Receiver, id), DeliveryState::Accepted);
    }
    assert_eq!(bodies(&server).iter().map(String::len).collect::<Vec<_>>(), [10_000, 10_000]);
}

#[test]
fn a_message_that_is_given_up_is_not_stored() {
    let server = Server::start();
    let mut peer = server.peer();
    let sender = peer.sender("q");
    let whole = message("never");
    peer.put_transfer(&Transfer { more: true, ..transfer(sender, 0) }, &whole[..5]);
    peer.put_transfer(&Transfer { aborted: true, ..transfer(sender, 0) }, b"");
    peer.next_delivery_id = 1;
    peer.must_send(sender, &message("after"));
    assert_eq!(bodies(&server), ["after"]);
}

#[test]
fn messages_that_come_settled_are_stored_without_a_word() {
    let server = Server::start();
    let mut peer = server.peer();
    let handle = peer.handle();
    let settled = amqp::performative::Attach {
        snd_settle_mode: SenderSettleMode::Settled,
        ..attach(handle, Role::Sender, "q")
    };
    peer.try_attach(settled).expect("a link");
    for id in 0..3 {
        let transfer = Transfer { settled: Some(true), ..transfer(handle, id) };
        peer.put_transfer(&transfer, &message("settled"));
    }
    // Whatever comes next on this session was said after them: no disposition among it.
    peer.next_delivery_id = 3;
    let sender = peer.sender("q");
    peer.must_send(sender, &message("told"));
    assert_eq!(bodies(&server), ["settled", "settled", "settled", "told"]);
}

#[test]
fn a_message_over_the_limit_is_refused_and_the_link_goes_on() {
    let server = Server::start();
    let mut peer = server.peer();
    let sender = peer.sender("q");
    let overhead = message(&"x".repeat(MAX_MESSAGE_BYTES)).len() - MAX_MESSAGE_BYTES;
    let send = |peer: &mut Peer, message: &[u8]| {
        let id = peer.next_delivery_id;
        let pieces: Vec<_> = message.chunks(60_000).collect();
        for (index, bytes) in pieces.iter().enumerate() {
            let frame = Transfer { more: index + 1 < pieces.len(), ..transfer(sender, id) };
            peer.put_transfer(&frame, bytes);
        }
        peer.next_delivery_id += 1;
        peer.said_of(Role::Receiver, id)
    };
    let largest = message(&"x".repeat(MAX_MESSAGE_BYTES - overhead));
    assert_eq!(largest.len(), MAX_MESSAGE_BYTES);
    let above = message(&"x".repeat(MAX_MESSAGE_BYTES - overhead + 1));
    assert_eq!(rejected(&send(&mut peer, &above)), "amqp:link:message-size-exceeded");
    assert_eq!(send(&mut peer, &largest), DeliveryState::Accepted);
    assert_eq!(bodies(&server).len(), 1);
}

/// Whoever settles with the transfer does not look at outcomes: it learns from the end of the link.
#[test]
fn a_settled_message_that_cannot_be_stored_ends_its_link() {
    let server = Server::start();
    for (bytes, condition) in
        [(50, "amqp:decode-error"), (MAX_MESSAGE_BYTES + 1, "amqp:link:message-size-exceeded")]
    {
        let mut peer = server.peer();
        let sender = peer.sender("q");
        let payload = vec![0; bytes];
        let pieces: Vec<_> = payload.chunks(50_000).collect();
        for (index, piece) in pieces.iter().enumerate() {
            let more = index + 1 < pieces.len();
            peer.put_transfer(&Transfer { settled: Some(true), more, ..transfer(sender, 0) }, piece);
        }
        assert_eq!(peer.detached(sender).expect("it says why").condition.as_str(), condition);
        let again = peer.sender("q");
        peer.next_delivery_id = 1;
        peer.must_send(again, &message("after"));
    }
}

#[test]
fn bytes_that_are_no_message_are_refused_and_the_link_goes_on() {
    let server = Server::start();
    let mut peer = server.peer();
    let sender = peer.sender("q");
    for payload in [&b"hello"[..], b"\x00\x53\x75\xa0\x10short", b"\x00\x53\x7f\x40", &[0x00; 100]] {
        assert_eq!(rejected(&peer.send(sender, payload)), "amqp:decode-error", "{payload:?}");
    }
    let mut twice = BytesMut::from(&annotated("x", &Map::new(), Some(5))[..]);
    twice.extend_from_slice(&annotated("x", &Map::new(), Some(5)));
    assert_eq!(rejected(&peer.send(sender, &twice)), "amqp:decode-error");
    peer.must_send(sender, &message("after"));
    assert_eq!(bodies(&server), ["after"]);
}

#[test]
fn a_message_within_a_transaction_is_refused() {
    let server = Server::start();
    let mut peer = server.peer();
    let sender = peer.sender("q");
    let state = TransactionalState { txn_id: Bytes::from_static(b"t"), outcome: None };
    let within = Transfer { state: Some(DeliveryState::Transactional(state)), ..transfer(sender, 0) };
    assert_eq!(rejected(&peer.send_as(&within, &message("x"))), "amqp:not-implemented");
    assert_eq!(bodies(&server), Vec::<String>::new());
}

#[test]
fn credit_is_given_at_once_and_anew() {
    let server = Server::start();
    let mut peer = server.peer();
    let handle = peer.handle();
    peer.try_attach(attach(handle, Role::Sender, "q")).expect("a link");
    let granted = |peer: &mut Peer| {
        let (flow, _) = peer.wait_for(|p| matches!(p, Performative::Flow(_)));
        let Performative::Flow(Flow { link_credit, delivery_count, handle: of, .. }) = flow else {
            unreachable!("it was matched")
        };
        assert_eq!(of, Some(handle));
        (delivery_count.expect("a count"), link_credit.expect("a credit"))
    };
    assert_eq!(granted(&mut peer), (0, 1000));
    for _ in 0..2500 {
        let id = peer.next_delivery_id;
        peer.put_transfer(&transfer(handle, id), &message("m"));
        peer.next_delivery_id += 1;
        assert_eq!(peer.said_of(Role::Receiver, id), DeliveryState::Accepted);
    }
    for round in 1..=5 {
        assert_eq!(granted(&mut peer), (round * 500, 1000));
    }
    assert_eq!(server.count("q", "active"), 2500);
}

#[test]
fn ids_have_the_clouds_length_and_a_session_is_its_own_partition() {
    let server = Server::start();
    let mut peer = server.peer();
    let sender = peer.sender("q");
    let with = |message_id: &str, session_id: Option<&str>, partition_key: Option<&str>| {
        let mut out = BytesMut::new();
        if let Some(key) = partition_key {
            let annotations = Map::new().with_symbol("x-opt-partition-key", key.into());
            amqp::message::put_message_annotations(&mut out, &annotations);
        }
        let group_id = session_id.map(str::to_owned);
        let message_id = Some(message_id.into());
        amqp::message::Properties { message_id, group_id, ..Default::default() }.encode(&mut out);
        amqp::message::put_data(&mut out, &Bytes::from_static(b"x"));
        out.freeze()
    };
    let (longest, longer) = ("é".repeat(128), "é".repeat(129));
    for message in [
        with(&longest, Some(&longest), None),
        with("a", Some("s"), Some("s")),
        with("a", None, Some(&longest)),
    ] {
        peer.must_send(sender, &message);
    }
    for message in [
        with(&longer, None, None),
        with("a", Some(&longer), None),
        with("a", None, Some(&longer)),
        with("a", Some("s"), Some("p")),
    ] {
        assert_eq!(rejected(&peer.send(sender, &message)), "com.microsoft:argument-error");
    }
}
