//! Bytes that no client would send. Each ends what it is a mistake of (connection, session or link) with the error that
//! says so, and a second connection goes on as if nothing had been.

use amqp::performative::{Begin, Open, Role};
use amqp::{Frame, Performative, ProtocolHeader};
use bytes::BytesMut;
use proptest::prelude::*;

use crate::support::{Peer, Server, attach, begin, message, open, transfer};

/// A broker and a client that has work under way while another one errs.
struct Bystander {
    server: Server,
    peer: Peer,
    sender: u32,
    receiver: u32,
}

impl Bystander {
    fn start() -> Self {
        let server = Server::start();
        let mut peer = server.peer();
        let (sender, receiver) = (peer.sender("q"), peer.receiver("q"));
        Self { server, peer, sender, receiver }
    }

    /// Sends, receives and completes one message.
    fn goes_on(&mut self) {
        self.peer.must_send(self.sender, &message("undisturbed"));
        let received = self.peer.receive_one(self.receiver);
        assert_eq!(received.body(), "undisturbed");
        self.peer.must_complete(&received);
    }
}

fn frame(size: u32, data_offset: u8, frame_type: u8, body: &[u8]) -> Vec<u8> {
    [&size.to_be_bytes()[..], &[data_offset, frame_type, 0, 0], body].concat()
}

#[test]
fn frames_that_are_none_end_the_connection() {
    let mut bystander = Bystander::start();
    let cases = [
        ("shorter than its header", frame(7, 2, 0, b""), "amqp:connection:framing-error"),
        ("data within the header", frame(8, 1, 0, b""), "amqp:connection:framing-error"),
        ("data behind the end", frame(8, 3, 0, b""), "amqp:connection:framing-error"),
        ("longer than agreed", frame(65_537, 2, 0, b""), "amqp:connection:framing-error"),
        ("as long as can be said", frame(u32::MAX, 2, 0, b"x"), "amqp:connection:framing-error"),
        ("of no known type", frame(9, 2, 7, b"x"), "amqp:connection:framing-error"),
        ("no performative", frame(11, 2, 0, b"abc"), "amqp:decode-error"),
        ("a performative that ends early", frame(12, 2, 0, b"\x00\x53\x12\xc0"), "amqp:decode-error"),
        ("an unknown performative", frame(12, 2, 0, b"\x00\x53\x7f\x45"), "amqp:decode-error"),
        ("an attach without fields", frame(12, 2, 0, b"\x00\x53\x12\x45"), "amqp:decode-error"),
        ("a descriptor of descriptors", frame(108, 2, 0, &[0; 100]), "amqp:decode-error"),
        ("SASL after the negotiation", frame(12, 2, 1, b"\x00\x53\x41\x45"), "amqp:decode-error"),
    ];
    for (what, bytes, condition) in cases {
        let mut peer = bystander.server.peer();
        peer.write(&bytes);
        assert_eq!(peer.closed_with(), condition, "{what}");
        bystander.goes_on();
    }
}

#[test]
fn performatives_out_of_place_end_the_connection() {
    let mut bystander = Bystander::start();
    let on = |channel: u16, performative: Performative| {
        let mut out = BytesMut::new();
        Frame::put(&mut out, channel, &performative);
        out
    };
    let cases = [
        ("a second open", on(0, open().into()), "amqp:not-allowed"),
        ("a second begin", on(0, begin(1).into()), "amqp:not-allowed"),
        ("an attach without session", on(5, attach(0, Role::Sender, "q").into()), "amqp:not-allowed"),
        ("a transfer without session", on(5, transfer(0, 0).into()), "amqp:not-allowed"),
        ("an end without session", on(5, amqp::performative::End { error: None }.into()), "amqp:not-allowed"),
        ("a channel above the agreed", on(5000, begin(1).into()), "amqp:connection:framing-error"),
    ];
    for (what, bytes, condition) in cases {
        let mut peer = bystander.server.peer();
        peer.write(&bytes);
        assert_eq!(peer.closed_with(), condition, "{what}");
        bystander.goes_on();
    }
}

#[test]
fn nothing_but_open_opens_a_connection() {
    let mut bystander = Bystander::start();
    for performative in [Performative::from(begin(1)), attach(0, Role::Sender, "q").into()] {
        let mut peer = Peer::connect(bystander.server.amqp);
        peer.write(ProtocolHeader::Amqp.bytes());
        peer.put(performative);
        peer.protocol_header();
        // The broker opens to be able to say close (part 2, §2.4.3).
        assert_eq!(peer.closed_with(), "amqp:not-allowed");
        bystander.goes_on();
    }
    let mut peer = Peer::connect(bystander.server.amqp);
    peer.write(ProtocolHeader::Amqp.bytes());
    peer.put(Open { container_id: "x".repeat(20_000), ..open() });
    peer.protocol_header();
    assert_eq!(peer.closed_with(), "amqp:connection:framing-error", "before open, frames are short");
}

#[test]
fn transfers_that_contradict_themselves_end_the_connection() {
    use amqp::performative::Transfer;
    let mut bystander = Bystander::start();
    let cases: [(&str, Vec<Transfer>); 3] = [
        ("no delivery id", vec![Transfer { delivery_id: None, ..transfer(0, 0) }]),
        (
            "another delivery within one",
            vec![Transfer { more: true, ..transfer(0, 0) }, Transfer { more: true, ..transfer(0, 1) }],
        ),
        ("on a link that receives", vec![transfer(1, 0)]),
    ];
    for (what, transfers) in cases {
        let mut peer = bystander.server.peer();
        assert_eq!((peer.sender("q"), peer.receiver("q")), (0, 1));
        for transfer in transfers {
            peer.put_transfer(&transfer, b"\x00\x53\x75");
        }
        assert_eq!(peer.closed_with(), "amqp:not-allowed", "{what}");
        bystander.goes_on();
    }
}

#[test]
fn a_half_frame_waits_and_its_end_is_the_end() {
    let mut bystander = Bystander::start();
    let mut whole = BytesMut::new();
    Frame::put(&mut whole, 0, &attach(0, Role::Sender, "q").into());
    for length in [1, 7, 8, 20, whole.len() - 1] {
        let mut peer = bystander.server.peer();
        peer.write(&whole[..length]);
        bystander.goes_on();
        peer.stream.shutdown(std::net::Shutdown::Write).expect("a socket");
        assert!(peer.frame().is_none(), "no word to whom has left");
    }
    bystander.goes_on();
}

/// The error must arrive although the client goes on sending what nobody reads any more.
#[test]
fn the_reason_arrives_at_a_client_that_keeps_sending() {
    let server = Server::start();
    let mut peer = server.peer();
    let mut bytes = frame(7, 2, 0, b"");
    bytes.resize(300_000, 0xff);
    peer.write(&bytes);
    assert_eq!(peer.closed_with(), "amqp:connection:framing-error");
}

#[test]
fn garbage_instead_of_sasl_ends_the_connection() {
    let mut bystander = Bystander::start();
    for bytes in [frame(u32::MAX, 2, 1, b""), frame(12, 2, 1, b"\x00\x53\x44\x45"), frame(8, 2, 0, b"")] {
        let mut peer = Peer::connect(bystander.server.amqp);
        peer.write(ProtocolHeader::Sasl.bytes());
        peer.write(&bytes);
        peer.protocol_header();
        assert!(matches!(peer.frame(), Some(Frame::Sasl(_))), "the offer");
        assert!(peer.frame().is_none(), "{bytes:?}");
        bystander.goes_on();
    }
}

/// Arrays of elements without bytes could claim any memory; so could a count that no bytes follow.
#[test]
fn a_message_that_claims_more_than_it_has_is_refused() {
    let mut bystander = Bystander::start();
    let mut peer = bystander.server.peer();
    let sender = peer.sender("q");
    let nulls: &[u8] = &[0xf0, 0, 0, 0, 5, 0x00, 0x10, 0x00, 0x00, 0x40];
    let list: &[u8] = &[0xd0, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff];
    for claim in [nulls, list] {
        let mut annotations = BytesMut::from(&[0x00, 0x53, 0x72, 0xc1][..]);
        let size = u8::try_from(1 + 3 + claim.len()).expect("short");
        annotations.extend_from_slice(&[size, 2, 0xa3, 1, b'k']);
        annotations.extend_from_slice(claim);
        let state = peer.send(sender, &annotations);
        assert_eq!(crate::support::rejected(&state), "amqp:decode-error");
    }
    bystander.goes_on();
}

/// What a client may say once its connection is open, cut and changed at random.
fn conversation() -> Vec<u8> {
    let mut out = BytesMut::from(&ProtocolHeader::Amqp.bytes()[..]);
    let begin: Begin = begin(100);
    for performative in [
        open().into(),
        begin.into(),
        attach(0, Role::Sender, "q").into(),
        attach(1, Role::Receiver, "q").into(),
        attach(2, Role::Sender, "$cbs").into(),
    ] {
        Frame::put(&mut out, 0, &performative);
    }
    Frame::put_transfer(&mut out, 0, &transfer(0, 0), &[&message("one")]);
    Frame::put_transfer(&mut out, 0, &transfer(2, 1), &[b"\x00\x53\x77\xa1\x05token"]);
    Frame::put(&mut out, 0, &amqp::performative::End { error: None }.into());
    out.to_vec()
}

#[test]
fn no_bytes_stop_the_broker() {
    let mut bystander = Bystander::start();
    let address = bystander.server.amqp;
    let config = ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() };
    let changes = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let tail = proptest::collection::vec(any::<u8>(), 0..64);
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let result = runner.run(&(changes, tail), |(changes, tail)| {
        let mut bytes = conversation();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.extend_from_slice(&tail);
        let mut peer = Peer::connect(address);
        peer.write(&bytes);
        peer.stream.shutdown(std::net::Shutdown::Write).expect("a socket");
        // Whatever it answers, it comes to an end.
        while peer.read() {}
        Ok(())
    });
    result.expect("every conversation ends");
    // What came of them stands before what follows.
    let mut peer = bystander.server.peer();
    let cleaner = peer.deleting_receiver("q");
    while !peer.drain(cleaner, 1000).is_empty() {}
    bystander.goes_on();
}
