//! Attaching and detaching: what an address names, and what the broker repeats of what it was asked.

use amqp::performative::{
    AnyTarget, Attach, Coordinator, Detach, Flow, ReceiverSettleMode, Role, SenderSettleMode, Source, Target,
};
use amqp::{Frame, Map, Performative, ProtocolHeader, Value};
use bytes::BytesMut;

use crate::support::{MAX_MESSAGE_BYTES, Peer, Server, attach, begin, message, open, queue, transfer};

/// go-amqp closes a link whose modes come back changed; Python compares the source's address with what it sent.
#[test]
fn the_answer_repeats_modes_and_termini() {
    let server = Server::start();
    let mut peer = server.peer();
    let modes = [
        (SenderSettleMode::Unsettled, ReceiverSettleMode::Second),
        (SenderSettleMode::Settled, ReceiverSettleMode::First),
        (SenderSettleMode::Mixed, ReceiverSettleMode::First),
    ];
    for role in [Role::Sender, Role::Receiver] {
        for (snd_settle_mode, rcv_settle_mode) in modes {
            let handle = peer.handle();
            let asked =
                Attach { snd_settle_mode, rcv_settle_mode, ..attach(handle, role, "sb://localhost:5672/q") };
            let answer = peer.try_attach(asked.clone()).expect("a link");
            assert_eq!(answer.name, asked.name);
            assert_eq!(answer.role, role.peer());
            assert_eq!((answer.snd_settle_mode, answer.rcv_settle_mode), (snd_settle_mode, rcv_settle_mode));
            assert_eq!((&answer.source, &answer.target), (&asked.source, &asked.target));
            match role {
                Role::Sender => {
                    assert_eq!(answer.max_message_size, Some(MAX_MESSAGE_BYTES as u64));
                    assert_eq!(answer.initial_delivery_count, None);
                }
                // A size on a link on which the client receives would be a limit on what we send (Microsoft.Azure.Amqp).
                Role::Receiver => {
                    assert_eq!(answer.max_message_size, None);
                    assert_eq!(answer.initial_delivery_count, Some(0));
                }
            }
        }
    }
}

/// pyamqp indexes fields by position, and the real broker leaves none off: every performative is whole, whatever it says.
#[test]
fn performatives_have_all_their_fields() {
    let server = Server::start();
    let mut peer = Peer::connect(server.amqp);
    let mut out = BytesMut::from(&ProtocolHeader::Amqp.bytes()[..]);
    for performative in [
        open().into(),
        begin(100).into(),
        attach(0, Role::Sender, "q").into(),
        attach(1, Role::Receiver, "q").into(),
        Performative::from(Flow { link_credit: Some(1), ..peer.flow(1, 1) }),
    ] {
        Frame::put(&mut out, 0, &performative);
    }
    Frame::put_transfer(&mut out, 0, &transfer(0, 0), &[&message("m")]);
    peer.write(&out);
    assert_eq!(peer.protocol_header(), ProtocolHeader::Amqp);
    let mut seen = std::collections::BTreeMap::new();
    let mut delivered = false;
    while seen.len() < 9 {
        while peer.inbox.len() < 4 || peer.inbox.len() < size_of_frame(&peer.inbox) {
            assert!(peer.read(), "{seen:?}");
        }
        let frame = peer.inbox.split_to(size_of_frame(&peer.inbox));
        assert_eq!(frame[8..10], [0x00, 0x53], "a descriptor of one byte");
        let count = match frame[11] {
            0xc0 => frame[13].into(),
            0xd0 => u32::from_be_bytes(frame[16..20].try_into().expect("four bytes")),
            other => panic!("a list, not {other:#x}"),
        };
        seen.insert(frame[10], count);
        if frame[10] == 0x14 && !delivered {
            delivered = true;
            peer.say(0, 0, false, amqp::performative::DeliveryState::Accepted);
            peer.put(Detach { handle: 0, closed: true, error: None });
            peer.put(amqp::performative::End { error: None });
            peer.put(amqp::performative::Close { error: None });
        }
    }
    let whole = [
        (0x10, 10),
        (0x11, 8),
        (0x12, 14),
        (0x13, 11),
        (0x14, 11),
        (0x15, 6),
        (0x16, 3),
        (0x17, 1),
        (0x18, 1),
    ];
    assert_eq!(seen, whole.into());
}

fn size_of_frame(bytes: &[u8]) -> usize {
    u32::from_be_bytes(bytes[..4].try_into().expect("four bytes")) as usize
}

#[test]
fn every_form_of_an_address_finds_its_queue() {
    let server = Server::with(vec![queue("orders/eu.West_1-a~b")]);
    let mut peer = server.peer();
    let forms = [
        "orders/eu.West_1-a~b",
        "/orders/eu.West_1-a~b",
        "ORDERS/EU.WEST_1-A~B",
        "amqps://localhost:5671/orders/eu.West_1-a~b",
        "sb://any.host/orders%2Feu.West_1-a~b",
    ];
    for (form, body) in forms.iter().zip(["a", "b", "c", "d", "e"]) {
        let sender = peer.sender(form);
        peer.must_send(sender, &message(body));
    }
    let receiver = peer.receiver(forms[0]);
    let bodies: Vec<_> = peer.drain(receiver, 10).iter().map(|received| received.body()).collect();
    assert_eq!(bodies, ["a", "b", "c", "d", "e"]);
    for form in ["orders/eu.West_1-a~b/$DeadLetterQueue", "orders/eu.West_1-a~b/$deadletterqueue"] {
        let dead = peer.receiver(form);
        assert!(peer.drain(dead, 1).is_empty());
    }
}

/// The other terminus is junk of each SDK's own, or not there.
#[test]
fn the_clients_own_terminus_does_not_matter() {
    let server = Server::start();
    let mut peer = server.peer();
    let handle = peer.handle();
    peer.try_attach(Attach { source: None, ..attach(handle, Role::Sender, "q") }).expect("a link");
    let handle = peer.handle();
    peer.try_attach(Attach { target: None, ..attach(handle, Role::Receiver, "q") }).expect("a link");
}

#[test]
fn an_unknown_entity_is_not_found_and_the_session_goes_on() {
    let server = Server::start();
    let mut peer = server.peer();
    for address in [
        "none",
        "none/$Transfer/$DeadLetterQueue",
        "q/Subscriptions/s",
        "",
        "$management",
        "none/$management",
    ] {
        for role in [Role::Sender, Role::Receiver] {
            let handle = peer.handle();
            let error = peer.try_attach(attach(handle, role, address)).expect_err("there is none");
            assert_eq!(error.condition.as_str(), "amqp:not-found", "{address}");
            let words = error.description.expect("words");
            assert_eq!(words, format!("The messaging entity '{address}' could not be found."));
        }
    }
    let handle = peer.handle();
    let nowhere = Attach { source: None, target: None, ..attach(handle, Role::Receiver, "q") };
    assert_eq!(peer.try_attach(nowhere).expect_err("no address").condition.as_str(), "amqp:not-found");
    let sender = peer.sender("q");
    peer.must_send(sender, &message("after"));
}

/// An address may be as long as a frame; what is said of it must fit the client's.
#[test]
fn the_refusal_of_a_long_address_is_short() {
    let server = Server::start();
    let mut peer = server.peer();
    let handle = peer.handle();
    let error = peer.try_attach(attach(handle, Role::Sender, &"x".repeat(20_000))).expect_err("not there");
    assert!(error.description.expect("words").len() < 400);
}

#[test]
fn what_a_queue_does_not_do_is_refused_by_its_name() {
    let server = Server::start();
    let mut peer = server.peer();
    let handle = peer.handle();
    let dead = peer.try_attach(attach(handle, Role::Sender, "q/$DeadLetterQueue")).expect_err("no sending");
    assert_eq!(dead.condition.as_str(), "amqp:not-allowed");

    for session in [Value::Null, Value::from("s1")] {
        let filter = Map::new().with_symbol("com.microsoft:session-filter", session);
        let source = Source { filter: Some(filter), ..Source::at("q") };
        let handle = peer.handle();
        let asked = Attach { source: Some(source), ..attach(handle, Role::Receiver, "q") };
        let error = peer.try_attach(asked).expect_err("the queue has no sessions");
        assert_eq!(error.condition.as_str(), "amqp:not-allowed");
    }

    let handle = peer.handle();
    let coordinator = Some(AnyTarget::Coordinator(Coordinator { capabilities: None }));
    let error = peer
        .try_attach(Attach { target: coordinator, ..attach(handle, Role::Sender, "q") })
        .expect_err("no transactions");
    assert_eq!(error.condition.as_str(), "amqp:not-implemented");
}

#[test]
fn a_name_serves_a_sender_and_a_receiver_and_a_handle_serves_again() {
    let server = Server::start();
    let mut peer = server.peer();
    for round in 0..3 {
        let both = [
            attach(0, Role::Sender, "q"),
            Attach { name: "q-0".to_owned(), ..attach(1, Role::Receiver, "q") },
        ];
        for asked in both {
            assert_eq!(peer.try_attach(asked).expect("a link").name, "q-0", "round {round}");
        }
        peer.must_send(0, &message("m"));
        peer.detach(0);
        peer.detach(1);
    }
}

/// The mistake is the session's: it ends, and the connection goes on.
#[test]
fn a_handle_that_is_taken_ends_its_session_only() {
    let server = Server::start();
    let mut peer = server.peer();
    let handle = peer.sender("q");
    peer.put(attach(handle, Role::Receiver, "q"));
    // What was on its way is passed over.
    peer.put_transfer(&transfer(handle, 0), &message("lost"));
    assert_eq!(ended(&mut peer), "amqp:session:handle-in-use");
    assert_eq!(server.count("q", "enqueued_total"), 0);
}

#[test]
fn a_handle_without_link_ends_its_session_only() {
    let server = Server::start();
    for mistake in [
        Performative::from(transfer(9, 0)),
        Detach { handle: 9, closed: true, error: None }.into(),
        server.peer().flow(9, 1).into(),
    ] {
        let mut peer = server.peer();
        peer.put(mistake);
        assert_eq!(ended(&mut peer), "amqp:session:unattached-handle");
    }
}

/// Waits for the end of the session, answers it, and begins another on the same channel.
fn ended(peer: &mut Peer) -> String {
    let (end, _) = peer.wait_for(|p| matches!(p, Performative::End(_)));
    let Performative::End(end) = end else { unreachable!("it was matched") };
    peer.put(amqp::performative::End { error: None });
    peer.put(begin(100));
    peer.wait_for(|p| matches!(p, Performative::Begin(_)));
    peer.try_attach(attach(0, Role::Receiver, "q")).expect("a link");
    end.error.expect("it says why").condition.0
}

#[test]
fn a_handle_above_the_agreed_is_a_framing_error() {
    let server = Server::start();
    let mut peer = server.peer();
    peer.put(attach(u32::MAX, Role::Sender, "q"));
    assert_eq!(peer.closed_with(), "amqp:connection:framing-error");
}

#[test]
fn a_target_that_is_only_a_name_is_repeated_as_it_came() {
    let server = Server::start();
    let mut peer = server.peer();
    let handle = peer.handle();
    let target = Some(AnyTarget::Node(Target { timeout: 7, dynamic: false, ..Target::at("client-id") }));
    let asked = Attach { target: target.clone(), ..attach(handle, Role::Receiver, "q") };
    assert_eq!(peer.try_attach(asked).expect("a link").target, target);
}
