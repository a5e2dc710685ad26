//! Messages out: what a delivery carries, credit, drain, windows, and several receivers of one queue.

use amqp::performative::{Detach, Flow, Open};
use amqp::{Frame, Performative, Value};
use bytes::BytesMut;

use crate::support::{Peer, Received, Server, annotated, due, message, now_ms, open, transfer};

fn send(server: &Server, bodies: &[&str]) {
    let mut peer = server.peer();
    let sender = peer.sender("q");
    bodies.iter().for_each(|body| peer.must_send(sender, &message(body)));
}

fn bodies(received: &[Received]) -> Vec<String> {
    received.iter().map(Received::body).collect()
}

#[test]
fn a_locked_delivery_carries_what_the_sdks_read() {
    let server = Server::start();
    let before_ms = now_ms();
    send(&server, &["one", "two"]);
    let mut peer = server.peer();
    let receiver = peer.receiver("q");
    let received = peer.receive_one(receiver);
    assert!(!received.settled);
    assert_eq!(received.body(), "one");
    assert_eq!(received.header().delivery_count, 0, "the count of earlier deliveries");
    assert_eq!(received.sequence_number(), 1);
    let Some(Value::Timestamp(enqueued_ms)) = received.annotation("x-opt-enqueued-time") else {
        panic!("none")
    };
    let Some(Value::Timestamp(until_ms)) = received.annotation("x-opt-locked-until") else { panic!("none") };
    assert!((before_ms..=now_ms()).contains(&enqueued_ms));
    assert!((before_ms + 60_000..=now_ms() + 60_000).contains(&until_ms));
    assert_eq!(received.tag.len(), 16, "the tag is the lock token");
    assert_eq!(received.annotation("x-opt-message-state"), None);
    assert_eq!(peer.receive_one(receiver).sequence_number(), 2);
    assert_eq!((server.count("q", "locked"), server.count("q", "active")), (2, 0));
}

/// The tag has the byte order of .NET; `$management` takes the same token as a UUID.
#[test]
fn the_delivery_tag_is_the_lock_token_in_the_byte_order_of_dotnet() {
    let server = Server::start();
    send(&server, &["one"]);
    let mut peer = server.peer();
    let receiver = peer.receiver("q");
    let received = peer.receive_one(receiver);
    let tokens = amqp::Map::new().with_string("lock-tokens", Value::uuids([received.lock_token()]));
    assert_eq!(peer.ask("q/$management", "com.microsoft:renew-lock", tokens).status, 200);
    let as_it_came: [u8; 16] = received.tag[..].try_into().expect("sixteen bytes");
    let swapped = amqp::Map::new().with_string("lock-tokens", Value::uuids([as_it_came]));
    assert_eq!(peer.ask("q/$management", "com.microsoft:renew-lock", swapped).status, 410);
}

#[test]
fn what_is_received_and_deleted_is_gone_at_once() {
    let server = Server::start();
    send(&server, &["one"]);
    let mut peer = server.peer();
    let receiver = peer.deleting_receiver("q");
    let received = peer.receive_one(receiver);
    assert!(received.settled);
    assert_eq!(received.annotation("x-opt-locked-until"), None);
    assert_eq!(received.header().delivery_count, 0);
    assert_eq!(server.count("q", "completed_total"), 1);
    assert_eq!((server.count("q", "locked"), server.count("q", "active")), (0, 0));
    assert!(peer.drain(receiver, 5).is_empty());
}

#[test]
fn no_more_messages_come_than_credit_was_given() {
    let server = Server::start();
    send(&server, &["1", "2", "3", "4", "5"]);
    let mut peer = server.peer();
    let receiver = peer.receiver("q");
    peer.credit(receiver, 2);
    assert_eq!(bodies(&[peer.receive(receiver), peer.receive(receiver)]), ["1", "2"]);
    // An answer to an echo comes after all that was sent before it.
    let asked =
        Flow { handle: None, delivery_count: None, link_credit: None, echo: true, ..peer.flow(receiver, 0) };
    peer.put(asked);
    peer.wait_for(|p| matches!(p, Performative::Flow(flow) if flow.handle.is_none()));
    assert_eq!((server.count("q", "locked"), server.count("q", "active")), (2, 3));
    peer.credit(receiver, 3);
    assert_eq!(
        bodies(&[peer.receive(receiver), peer.receive(receiver), peer.receive(receiver)]),
        ["3", "4", "5"]
    );
}

#[test]
fn credit_for_what_is_not_there_yet_is_kept() {
    let server = Server::start();
    let mut peer = server.peer();
    let receiver = peer.receiver("q");
    peer.credit(receiver, 10);
    for body in ["1", "2"] {
        send(&server, &[body]);
        assert_eq!(peer.receive(receiver).body(), body);
    }
}

#[test]
fn credit_that_was_taken_back_brings_nothing() {
    let server = Server::start();
    let mut peer = server.peer();
    let receiver = peer.receiver("q");
    peer.credit(receiver, 10);
    peer.credit(receiver, 0);
    send(&server, &["1"]);
    assert!(peer.drain(receiver, 0).is_empty());
    assert_eq!(server.count("q", "active"), 1);
}

/// go-amqp and .NET ask for a batch, then drain: all that is there comes, then the rest of the credit is gone.
#[test]
fn a_drain_brings_what_is_there_and_takes_the_rest() {
    let server = Server::start();
    send(&server, &["1", "2", "3"]);
    let mut peer = server.peer();
    let receiver = peer.receiver("q");
    assert_eq!(bodies(&peer.drain(receiver, 100)), ["1", "2", "3"]);
    assert!(peer.drain(receiver, 100).is_empty());
    send(&server, &["4"]);
    assert_eq!(peer.receive_one(receiver).body(), "4");
}

#[test]
fn a_long_drain_brings_everything() {
    let server = Server::start();
    let all: Vec<String> = (0..500).map(|number| number.to_string()).collect();
    send(&server, &all.iter().map(String::as_str).collect::<Vec<_>>());
    let mut peer = server.peer();
    let receiver = peer.deleting_receiver("q");
    assert_eq!(bodies(&peer.drain(receiver, 1000)), all);
}

#[test]
fn an_echo_is_answered_with_the_state_of_the_link() {
    let server = Server::start();
    let mut peer = server.peer();
    let receiver = peer.receiver("q");
    let asked = Flow { echo: true, ..peer.flow(receiver, 7) };
    peer.put(asked);
    let (flow, _) = peer.wait_for(|p| matches!(p, Performative::Flow(flow) if flow.handle == Some(receiver)));
    let Performative::Flow(flow) = flow else { unreachable!("it was matched") };
    assert_eq!(
        (flow.link_credit, flow.delivery_count, flow.echo, flow.drain),
        (Some(7), Some(0), false, false)
    );
}

#[test]
fn a_large_message_comes_in_frames_of_the_clients_size() {
    let server = Server::start();
    let body = "0123456789".repeat(1000);
    send(&server, &[&body]);
    let mut peer = Peer::open(server.amqp, &Open { max_frame_size: 512, ..open() });
    let receiver = peer.receiver("q");
    peer.credit(receiver, 1);
    let mut sizes = Vec::new();
    while peer.inbox.len() < 10_000 {
        assert!(peer.read());
    }
    let mut at = 0;
    while let Some(size) = peer.inbox.get(at..at + 4) {
        sizes.push(u32::from_be_bytes(size.try_into().expect("four bytes")) as usize);
        at += sizes.last().expect("just pushed");
    }
    assert!(sizes.iter().all(|size| *size <= 512), "{sizes:?}");
    assert_eq!(peer.receive(receiver).body(), body);
}

/// What a client says that has seen so many frames and takes so many more.
fn window(peer: &Peer, seen: u32, incoming_window: u32) -> Flow {
    Flow {
        next_incoming_id: Some(1 + seen),
        incoming_window,
        handle: None,
        delivery_count: None,
        link_credit: None,
        ..peer.flow(0, 0)
    }
}

/// A client that takes two frames, and has got two of a message of many; the link.
fn in_the_middle_of_a_message(server: &Server) -> (Peer, u32) {
    send(server, &[&"x".repeat(2000), "next"]);
    let mut peer = Peer::open_with_window(server.amqp, &Open { max_frame_size: 512, ..open() }, 2);
    let receiver = peer.receiver("q");
    peer.put(Flow { incoming_window: 2, ..peer.flow(receiver, 1) });
    for _ in 0..2 {
        peer.wait_for(|p| matches!(p, Performative::Transfer(transfer) if transfer.more));
    }
    (peer, receiver)
}

#[test]
fn what_waits_for_the_window_ends_with_its_link() {
    let server = Server::start();
    let (mut peer, left) = in_the_middle_of_a_message(&server);
    peer.detach(left);
    let stays = peer.receiver("q");
    peer.put(Flow {
        handle: Some(stays),
        delivery_count: Some(0),
        link_credit: Some(1),
        ..window(&peer, 2, 100)
    });
    let (next, _) = peer.wait_for(|p| matches!(p, Performative::Transfer(_)));
    let Performative::Transfer(next) = next else { unreachable!("it was matched") };
    assert_eq!((next.handle, next.delivery_id, next.more), (stays, Some(1), false));
}

#[test]
fn what_waits_for_the_window_comes_though_another_link_ends() {
    let server = Server::start();
    let (mut peer, receiver) = in_the_middle_of_a_message(&server);
    let other = peer.receiver("q");
    peer.detach(other);
    peer.put(window(&peer, 2, 100));
    let (last, _) = peer.wait_for(|p| matches!(p, Performative::Transfer(transfer) if !transfer.more));
    assert!(matches!(last, Performative::Transfer(last) if last.handle == receiver));
}

/// A message of which no frame can be sent stays in the queue: ids have no gap when its link goes.
#[test]
fn no_message_begins_without_room() {
    let server = Server::start();
    send(&server, &[&"x".repeat(450), &"y".repeat(450)]);
    let mut peer = Peer::open_with_window(server.amqp, &Open { max_frame_size: 512, ..open() }, 2);
    let left = peer.receiver("q");
    peer.put(Flow { incoming_window: 2, ..peer.flow(left, 2) });
    peer.wait_for(|p| matches!(p, Performative::Transfer(transfer) if transfer.more));
    peer.wait_for(|p| matches!(p, Performative::Transfer(transfer) if !transfer.more));
    assert_eq!((server.count("q", "locked"), server.count("q", "active")), (1, 1));
    peer.detach(left);
    let stays = peer.receiver("q");
    peer.put(Flow {
        handle: Some(stays),
        delivery_count: Some(0),
        link_credit: Some(1),
        ..window(&peer, 2, 100)
    });
    let (next, _) = peer.wait_for(|p| matches!(p, Performative::Transfer(_)));
    let Performative::Transfer(next) = next else { unreachable!("it was matched") };
    assert_eq!((next.handle, next.delivery_id), (stays, Some(1)));
}

/// A client whose session takes two frames gets two; the rest comes when it says so, and so does the answer to a drain.
#[test]
fn a_sessions_window_is_respected() {
    let server = Server::start();
    send(&server, &[&"x".repeat(2000)]);
    let mut peer = Peer::open_with_window(server.amqp, &Open { max_frame_size: 512, ..open() }, 2);
    let receiver = peer.receiver("q");
    peer.put(Flow { incoming_window: 2, ..peer.flow(receiver, 1) });
    for _ in 0..2 {
        peer.wait_for(|p| matches!(p, Performative::Transfer(_)));
    }
    peer.put(Flow { echo: true, ..window(&peer, 2, 0) });
    let (next, _) = peer.wait_for(|p| matches!(p, Performative::Flow(_) | Performative::Transfer(_)));
    assert!(matches!(next, Performative::Flow(_)), "no frame beyond the window");
    // The drain comes while frames wait: it is answered when they are sent.
    peer.put(Flow { next_incoming_id: Some(3), incoming_window: 0, drain: true, ..peer.flow(receiver, 1) });
    peer.put(window(&peer, 2, 100));
    peer.wait_for(|p| matches!(p, Performative::Transfer(transfer) if !transfer.more));
    let (flow, _) = peer.wait_for(|p| matches!(p, Performative::Flow(flow) if flow.drain));
    let Performative::Flow(flow) = flow else { unreachable!("it was matched") };
    assert_eq!((flow.link_credit, flow.delivery_count), (Some(0), Some(1)));
}

#[test]
fn a_message_goes_to_one_of_several_receivers() {
    let server = Server::start();
    let mut peers: Vec<_> = (0..3)
        .map(|_| {
            let mut peer = server.peer();
            let receiver = peer.receiver("q");
            peer.credit(receiver, 1);
            (peer, receiver)
        })
        .collect();
    send(&server, &["1", "2", "3"]);
    let mut got: Vec<_> = peers.iter_mut().map(|(peer, receiver)| peer.receive(*receiver).body()).collect();
    got.sort();
    assert_eq!(got, ["1", "2", "3"]);
}

/// A waiting receiver that goes away must not take a message's wake-up with it.
#[test]
fn a_receiver_that_left_keeps_no_message_from_the_next() {
    let server = Server::start();
    let mut leaving = server.peer();
    let left = leaving.receiver("q");
    leaving.credit(left, 1);
    let mut gone = server.peer();
    let lost = gone.receiver("q");
    gone.credit(lost, 1);
    let mut staying = server.peer();
    let stays = staying.receiver("q");
    staying.credit(stays, 1);
    // An echo later, all three wait.
    for peer in [&mut leaving, &mut gone, &mut staying] {
        let asked =
            Flow { handle: None, delivery_count: None, link_credit: None, echo: true, ..peer.flow(0, 0) };
        peer.put(asked);
        peer.wait_for(|p| matches!(p, Performative::Flow(_)));
    }
    leaving.detach(left);
    gone.put(amqp::performative::Close { error: None });
    gone.closed();
    send(&server, &["1"]);
    assert_eq!(staying.receive(stays).body(), "1");
}

/// The message wakes the link that leaves with the next frame: another has to be woken in its place.
#[test]
fn a_link_that_leaves_as_a_message_comes_passes_it_on() {
    let server = Server::start();
    let mut peer = server.peer();
    let (sender, leaving) = (peer.sender("q"), peer.receiver("q"));
    let mut other = server.peer();
    let stays = other.receiver("q");
    for (peer, handle) in [(&mut peer, leaving), (&mut other, stays)] {
        let asked = Flow { echo: true, ..peer.flow(handle, 1) };
        peer.put(asked);
        peer.wait_for(|p| matches!(p, Performative::Flow(flow) if flow.handle == Some(handle)));
    }
    let mut both = BytesMut::new();
    Frame::put_transfer(&mut both, 0, &transfer(sender, 0), &[&message("1")]);
    Frame::put(&mut both, 0, &Detach { handle: leaving, closed: true, error: None }.into());
    peer.write(&both);
    assert_eq!(other.receive(stays).body(), "1");
}

#[test]
fn what_is_scheduled_does_not_come_before_its_instant() {
    let server = Server::start();
    let mut peer = server.peer();
    let sender = peer.sender("q");
    let receiver = peer.receiver("q");
    let due_ms = now_ms() + 1000;
    peer.must_send(sender, &annotated("later", &due(due_ms), None));
    peer.must_send(sender, &annotated("past", &due(now_ms() - 5000), None));
    peer.must_send(sender, &message("now"));
    assert_eq!(bodies(&peer.drain(receiver, 10)), ["past", "now"]);
    let late = peer.receive_one(receiver);
    assert!(now_ms() >= due_ms, "not before its instant");
    assert_eq!(late.body(), "later");
    assert_eq!(late.annotation("x-opt-scheduled-enqueue-time"), Some(Value::Timestamp(due_ms)));
    let Some(Value::Timestamp(enqueued_ms)) = late.annotation("x-opt-enqueued-time") else { panic!("none") };
    assert!(enqueued_ms >= due_ms);
    assert_eq!(late.sequence_number(), 4, "a number of its own when it comes due");
}
