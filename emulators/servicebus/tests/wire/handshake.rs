//! From the first byte to an open connection, signs of life, and the goodbye.

use amqp::performative::{Close, Open, Role};
use amqp::sasl::{Init, Sasl};
use amqp::value::Symbol;
use amqp::{Frame, Performative, ProtocolHeader};
use bytes::{Bytes, BytesMut};

use crate::support::{Peer, Server, attach, begin, open};

fn init(mechanism: &str, response: &'static [u8]) -> BytesMut {
    let mut out = BytesMut::new();
    let init = Init {
        mechanism: mechanism.into(),
        initial_response: Some(Bytes::from_static(response)),
        hostname: Some("localhost".to_owned()),
    };
    Frame::put_sasl(&mut out, &Sasl::Init(init));
    out
}

fn outcome(peer: &mut Peer) -> u8 {
    match peer.frame() {
        Some(Frame::Sasl(Sasl::Outcome(outcome))) => outcome.code,
        other => panic!("an outcome was expected, not {other:?}"),
    }
}

fn mechanisms(peer: &mut Peer) -> Vec<Symbol> {
    match peer.frame() {
        Some(Frame::Sasl(Sasl::Mechanisms(offer))) => offer.sasl_server_mechanisms,
        other => panic!("mechanisms were expected, not {other:?}"),
    }
}

#[test]
fn every_mechanism_that_is_offered_lets_in() {
    let server = Server::start();
    let cases: [(&str, &[u8]); 4] = [
        ("MSSBCBS", b""),
        ("PLAIN", b"\0RootManageSharedAccessKey\0SAS_KEY_VALUE"),
        ("ANONYMOUS", b"RootManageSharedAccessKey"),
        ("EXTERNAL", b""),
    ];
    let names = cases.map(|(name, _)| Symbol::from(name));
    for (mechanism, response) in cases {
        let mut peer = Peer::connect(server.amqp);
        peer.write(ProtocolHeader::Sasl.bytes());
        assert_eq!(peer.protocol_header(), ProtocolHeader::Sasl);
        assert_eq!(mechanisms(&mut peer), names);
        peer.write(&init(mechanism, response));
        assert_eq!(outcome(&mut peer), 0, "{mechanism}");
        peer.write(ProtocolHeader::Amqp.bytes());
        assert_eq!(peer.protocol_header(), ProtocolHeader::Amqp);
        peer.put(open());
        peer.wait_for(|p| matches!(p, Performative::Open(_)));
    }
}

#[test]
fn an_unknown_mechanism_is_refused_and_the_connection_ends() {
    let server = Server::start();
    let mut peer = Peer::connect(server.amqp);
    peer.write(ProtocolHeader::Sasl.bytes());
    peer.protocol_header();
    mechanisms(&mut peer);
    peer.write(&init("SCRAM-SHA-256", b""));
    assert_eq!(outcome(&mut peer), 1);
    assert!(peer.frame().is_none());
}

/// rhea and others look for an array even of one mechanism, and pyamqp cannot read a list here.
#[test]
fn mechanisms_are_an_array() {
    let server = Server::start();
    let mut peer = Peer::connect(server.amqp);
    peer.write(ProtocolHeader::Sasl.bytes());
    peer.protocol_header();
    while peer.inbox.len() < 20 {
        assert!(peer.read());
    }
    // frame header, descriptor 0x40, list of one field: an array
    assert_eq!(&peer.inbox[8..11], [0x00, 0x53, 0x40]);
    assert_eq!((peer.inbox[11], peer.inbox[13], peer.inbox[14]), (0xc0, 1, 0xe0));
}

#[test]
fn a_client_may_say_everything_in_one_write() {
    let server = Server::start();
    let mut all = BytesMut::from(&ProtocolHeader::Sasl.bytes()[..]);
    all.extend_from_slice(&init("ANONYMOUS", b""));
    all.extend_from_slice(ProtocolHeader::Amqp.bytes());
    Frame::put(&mut all, 0, &open().into());
    Frame::put(&mut all, 0, &begin(100).into());
    Frame::put(&mut all, 0, &attach(0, Role::Sender, "q").into());
    // Whole, and byte by byte.
    for piece in [all.len(), 1] {
        let mut peer = Peer::connect(server.amqp);
        for bytes in all.chunks(piece) {
            peer.write(bytes);
        }
        assert_eq!(peer.protocol_header(), ProtocolHeader::Sasl);
        mechanisms(&mut peer);
        assert_eq!(outcome(&mut peer), 0);
        assert_eq!(peer.protocol_header(), ProtocolHeader::Amqp);
        peer.wait_for(|p| matches!(p, Performative::Attach(attach) if attach.target.is_some()));
    }
}

#[test]
fn another_protocol_is_answered_with_the_header_of_amqp_and_the_end() {
    let server = Server::start();
    for bytes in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], b"AMQP\x02\x01\x00\x00", b"AMQP\x00\x00\x09\x01", b"\x16\x03\x01"]
    {
        let mut peer = Peer::connect(server.amqp);
        peer.write(bytes);
        assert_eq!(peer.protocol_header(), ProtocolHeader::Amqp, "{bytes:?}");
        assert!(peer.frame().is_none());
    }
}

/// pyamqp reads performatives by position and compares the frame size with 512; go-amqp clamps to the channel number.
#[test]
fn open_and_begin_are_whole_and_name_their_limits() {
    let server = Server::start();
    let mut peer = Peer::connect(server.amqp);
    peer.write(ProtocolHeader::Amqp.bytes());
    peer.put(open());
    peer.put(begin(100));
    peer.protocol_header();
    let mut lengths = Vec::new();
    for _ in 0..2 {
        while peer.inbox.len() < 32 {
            assert!(peer.read());
        }
        let at = if peer.inbox[11] == 0xc0 { 13 } else { 19 };
        lengths.push(peer.inbox[at]);
        match peer.frame() {
            Some(Frame::Amqp { performative: Performative::Open(open), .. }) => {
                assert!(open.max_frame_size >= 512 && open.max_frame_size < u32::MAX);
                assert_eq!(open.channel_max, 4999);
                assert!(open.idle_time_out.is_some_and(|ms| ms >= 60_000));
                assert!(open.properties.is_some());
            }
            Some(Frame::Amqp { performative: Performative::Begin(begin), .. }) => {
                assert_eq!(begin.remote_channel, Some(0));
                assert!(begin.incoming_window > 0 && begin.handle_max > 0);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(lengths, [10, 8]);
}

#[test]
fn a_client_that_bears_little_silence_gets_signs_of_life() {
    let server = Server::start();
    let mut peer = Peer::open(server.amqp, &Open { idle_time_out: Some(400), ..open() });
    for _ in 0..3 {
        assert_eq!(peer.frame(), Some(Frame::Heartbeat));
    }
}

#[test]
fn a_heartbeat_of_the_client_is_no_mistake() {
    let server = Server::start();
    let mut peer = server.peer();
    let mut heartbeat = BytesMut::new();
    Frame::put_heartbeat(&mut heartbeat);
    peer.write(&heartbeat);
    peer.sender("q");
}

#[test]
fn a_close_is_answered_and_the_connection_ends() {
    let server = Server::start();
    let mut peer = server.peer();
    peer.put(Close { error: None });
    assert_eq!(peer.closed(), None);
}

#[test]
fn the_end_of_the_broker_is_told_to_everyone() {
    let server = Server::start();
    let mut peers = [server.peer(), server.peer()];
    server.stop();
    for peer in &mut peers {
        assert_eq!(peer.closed_with(), "amqp:connection:forced");
    }
}

#[test]
fn sessions_begin_and_end_on_any_channel() {
    let server = Server::start();
    let mut peer = server.peer();
    for round in 0..2 {
        for channel in [4999, 7] {
            let mut out = BytesMut::new();
            Frame::put(&mut out, channel, &begin(100).into());
            Frame::put(&mut out, channel, &attach(0, Role::Sender, "q").into());
            Frame::put(&mut out, channel, &amqp::performative::End { error: None }.into());
            peer.write(&out);
            let (_, answer, _) = peer
                .wait_for_any(|on, p| on == channel && matches!(p, Performative::Begin(_)))
                .expect("a begin");
            let Performative::Begin(answer) = answer else { unreachable!("it was matched") };
            assert_eq!(answer.remote_channel, Some(channel), "round {round}");
            peer.wait_for_any(|on, p| on == channel && matches!(p, Performative::End(_))).expect("an end");
        }
    }
}
